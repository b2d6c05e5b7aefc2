//! Enters: the values of a group, or of several. Leaves: what is known of all of them together, so that one look spares a rule
//! all of them. It must never outlive a change of the group.

use super::{Joined, Store, UNKNOWN};
use crate::{
    bytes::ByteSet,
    chain::{ChainId, Chains},
    compile::RuleSet,
    filter::{Filter, has_bit},
    patterns::PatternSet,
    rule::Bundle,
    variable::Variable,
};

impl Store {
    /// The joined filter bits of all values of a group, transformed by a chain.
    pub(crate) fn group_bits(
        &mut self,
        filter: &Filter,
        chains: &Chains,
        variable: Variable,
        chain: ChainId,
    ) -> &[u64] {
        let begin = self.group_bits_at(filter, chains, variable, chain);
        &self.joined_bits[begin..begin + filter.words]
    }

    fn group_bits_at(&mut self, filter: &Filter, chains: &Chains, variable: Variable, chain: ChainId) -> usize {
        let view = self.view(chains, variable, chain);
        let Joined { chain, bits, .. } = self.joined[view];
        if bits != UNKNOWN {
            return bits as usize;
        }
        let begin = self.joined_bits.len();
        self.joined_bits.resize(begin + filter.words, 0);
        let mut before = UNKNOWN;
        for at in 0..self.groups[variable.index()].len() {
            let base = self.groups[variable.index()][at].node;
            let node = self.transformed(chains, base, chain);
            if node == before {
                continue;
            }
            before = node;
            let from = self.bits_at(filter, node);
            for word in 0..filter.words {
                self.joined_bits[begin + word] |= self.bits[from + word];
            }
        }
        self.joined[view].bits = u32::try_from(begin).unwrap_or(UNKNOWN);
        begin
    }

    /// The shortest chain that makes the same of a group's values. Most values have no byte that most transformations
    /// could change: what is known of them then serves many chains.
    pub(crate) fn shortest(&mut self, chains: &Chains, variable: Variable, chain: ChainId) -> ChainId {
        let view = self.view(chains, variable, chain);
        self.joined[view].chain
    }

    fn view(&mut self, chains: &Chains, variable: Variable, chain: ChainId) -> usize {
        let place = variable.index() * self.chains + chain.index();
        if self.views[place] != UNKNOWN {
            return self.views[place] as usize;
        }
        let view = if chain.is_none() {
            self.join(chains, variable, chain, None)
        } else {
            let (parent, transform) = chains.step(chain);
            let before = self.view(chains, variable, parent);
            let Joined { chain: shortest, present, .. } = self.joined[before];
            if chains.trigger(chain).is_some_and(|trigger| !trigger.meets(&present)) {
                before
            } else {
                match chains.after(shortest, transform).filter(|shorter| *shorter != chain) {
                    Some(shorter) => self.view(chains, variable, shorter),
                    None => self.join(chains, variable, chain, Some(before)),
                }
            }
        };
        self.views[place] = u32::try_from(view).unwrap_or(UNKNOWN);
        view
    }

    /// Joins what values are seen through a chain; the view before its last step serves when that changed nothing.
    fn join(&mut self, chains: &Chains, variable: Variable, chain: ChainId, before: Option<usize>) -> usize {
        let parent = before.map(|before| self.joined[before].chain);
        let mut present = ByteSet::EMPTY;
        let mut changed = before.is_none();
        for at in 0..self.groups[variable.index()].len() {
            let base = self.groups[variable.index()][at].node;
            let node = self.transformed(chains, base, chain);
            present = present.union(&self.nodes[node as usize].present);
            changed = changed || parent.is_some_and(|parent| self.transformed(chains, base, parent) != node);
        }
        if let Some(before) = before.filter(|_| !changed) {
            return before;
        }
        self.joined.push(Joined { chain, present, bits: UNKNOWN });
        self.joined.len() - 1
    }

    /// Whether any pattern of a set matches any value of their bundle.
    pub(crate) fn set_matches(&mut self, rules: &RuleSet, set: &PatternSet, at: u16) -> bool {
        self.refresh();
        let at = usize::from(at);
        if let Some(known) = self.sets.get(at).copied().flatten() {
            return known;
        }
        // The tests of sets come behind those of rules.
        let test = rules.rules.len() + at;
        let found = rules.bundles.get(usize::from(set.bundle)).is_none_or(|bundle| {
            let mut groups = bundle.groups.iter();
            groups.any(|group| self.set_matches_group(set, &rules.chains, *group, bundle.chain, test))
        });
        if let Some(place) = self.sets.get_mut(at) {
            *place = Some(found);
        }
        found
    }

    fn set_matches_group(
        &mut self,
        set: &PatternSet,
        chains: &Chains,
        group: Variable,
        chain: ChainId,
        test: usize,
    ) -> bool {
        if self.groups[group.index()].is_empty() {
            return false;
        }
        let chain = self.shortest(chains, group, chain);
        let mut before = UNKNOWN;
        for at in 0..self.groups[group.index()].len() {
            let node = self.transformed(chains, self.groups[group.index()][at].node, chain);
            if node != before {
                let known = self.verdict(node, test);
                let holds = known.unwrap_or_else(|| set.matches(self.get(self.nodes[node as usize].span)));
                if known.is_none() {
                    self.remember(node, test, holds);
                }
                if holds {
                    return true;
                }
            }
            before = node;
        }
        false
    }

    /// Forgets what was joined from groups that have changed since.
    fn refresh(&mut self) {
        if self.bundles_stale {
            self.bundle_bits.fill(UNKNOWN);
            self.sets.fill(None);
            self.bundles_stale = false;
        }
    }

    /// Whether any value of a bundle's groups holds what a slot stands for.
    pub(crate) fn bundle_has(
        &mut self,
        filter: &Filter,
        chains: &Chains,
        bundles: &[Bundle],
        at: u16,
        slot: u16,
    ) -> bool {
        self.refresh();
        let at = usize::from(at);
        if self.bundle_bits[at] == UNKNOWN {
            self.join_bundle(filter, chains, &bundles[at], at);
        }
        let begin = self.bundle_bits[at] as usize;
        has_bit(&self.joined_bits[begin..begin + filter.words], slot)
    }

    fn join_bundle(&mut self, filter: &Filter, chains: &Chains, bundle: &Bundle, at: usize) {
        let begin = self.joined_bits.len();
        self.joined_bits.resize(begin + filter.words, 0);
        for group in &bundle.groups {
            if self.groups[group.index()].is_empty() {
                continue;
            }
            let from = self.group_bits_at(filter, chains, *group, bundle.chain);
            for word in 0..filter.words {
                self.joined_bits[begin + word] |= self.joined_bits[from + word];
            }
        }
        self.bundle_bits[at] = u32::try_from(begin).unwrap_or(UNKNOWN);
    }
}
