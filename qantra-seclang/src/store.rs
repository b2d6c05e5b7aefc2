//! Enters: the values of one transaction. Leaves: the same values, grouped by variable, each transformed at most once for
//! every chain and scanned at most once. Nothing is freed between requests, so that a warm store allocates nothing. It
//! must never grow beyond what the body limits allow times the chains that rules use.

use std::{fmt::Display, hash::BuildHasher as _, io::Write as _};

use foldhash::fast::FixedState;

use crate::{
    bytes::ByteSet,
    chain::{ChainId, Chains},
    filter::{Filter, has_bit},
    patterns::PatternSet,
    rule::Bundle,
    transform::Transform,
    variable::Variable,
};

/// A piece of the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, end: 0 };

    /// A part of the piece.
    pub(crate) const fn part(self, start: u32, end: u32) -> Self {
        Self { start: self.start + start, end: self.start + end }
    }

    pub(crate) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}

/// One value of a variable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) key: Span,
    pub(crate) node: u32,
}

/// Bytes that rules look at: a value, or what a chain made of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) present: ByteSet,
    /// Where its filter bits are, once they are known.
    bits: u32,
    /// Where its row of the chain table is; only values have one.
    row: u32,
    /// Where its row of the table of single transformations is, once it was transformed.
    memo: u32,
    /// A node with the same letters, but for their case: the literals found there are found here.
    like: u32,
}

/// All values of a group, seen through a chain.
#[derive(Debug, Clone, Copy)]
struct Joined {
    /// The shortest chain that makes the same of these values.
    chain: ChainId,
    /// The bytes that occur in any of them.
    present: ByteSet,
    /// Where their joined filter bits are, or unknown.
    bits: u32,
}

const UNKNOWN: u32 = u32::MAX;
/// How many values are remembered, to find equal ones. A power of two.
const RECENT: usize = 256;
/// Longer texts than this together are not kept: the host's limits are far below.
const ARENA_MAX: usize = 1 << 30;

/// All values of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) arena: Vec<u8>,
    groups: Vec<Vec<Item>>,
    nodes: Vec<Node>,
    /// For each value and chain: the node, or unknown.
    rows: Vec<u32>,
    /// For each transformed node and transformation: the node, or unknown. Chains that meet at the same bytes go on
    /// together.
    memos: Vec<u32>,
    bits: Vec<u64>,
    /// For each group and chain: where what is known of its values together is, or unknown.
    views: Vec<u32>,
    joined: Vec<Joined>,
    /// For each bundle: where the joined bits of its groups are, or unknown.
    bundle_bits: Vec<u32>,
    /// For each set of patterns: whether one matches any value of its bundle, once they were tried.
    sets: Vec<Option<bool>>,
    /// A group changed since bundles were joined.
    bundles_stale: bool,
    chains: usize,
    /// Values seen lately, by their hash: nodes, or unknown.
    recent: Vec<u32>,
    spare: Vec<u8>,
    /// What the reader of JSON needs while it reads.
    pub(crate) json: crate::body::json::Memory,
}

impl Store {
    /// Forgets the last transaction and keeps its memory.
    pub(crate) fn reset(&mut self, chains: usize, bundles: usize, sets: usize) {
        self.arena.clear();
        self.groups.resize_with(Variable::COUNT, Vec::new);
        self.groups.iter_mut().for_each(Vec::clear);
        self.nodes.clear();
        self.rows.clear();
        self.memos.clear();
        self.bits.clear();
        self.views.clear();
        self.views.resize(Variable::COUNT * chains, UNKNOWN);
        self.joined.clear();
        self.recent.clear();
        self.recent.resize(RECENT, UNKNOWN);
        self.sets.clear();
        self.sets.resize(sets, None);
        self.bundle_bits.clear();
        self.bundle_bits.resize(bundles, UNKNOWN);
        self.bundles_stale = false;
        self.chains = chains;
    }

    /// About how many bytes the tables hold.
    pub(crate) const fn held_bytes(&self) -> usize {
        let words = self.rows.capacity() + self.memos.capacity() + self.views.capacity();
        self.arena.capacity()
            + self.nodes.capacity() * size_of::<Node>()
            + self.bits.capacity() * size_of::<u64>()
            + words * size_of::<u32>()
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        self.arena.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Copies bytes into the arena.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.arena.len();
        if start + bytes.len() > ARENA_MAX {
            return Span::EMPTY;
        }
        self.arena.extend_from_slice(bytes);
        self.since(start)
    }

    /// Writes a number or an address into the arena.
    pub(crate) fn keep_shown(&mut self, value: impl Display) -> Span {
        let start = self.arena.len();
        let _ = write!(self.arena, "{value}");
        self.since(start)
    }

    /// Copies a piece with small letters.
    pub(crate) fn keep_lower(&mut self, span: Span) -> Span {
        let start = self.arena.len();
        self.arena.extend_from_within(span.start as usize..span.end as usize);
        self.arena[start..].make_ascii_lowercase();
        self.since(start)
    }

    /// Copies several pieces, one behind the other.
    pub(crate) fn keep_joined(&mut self, parts: &[&[u8]]) -> Span {
        let start = self.arena.len();
        for part in parts {
            self.arena.extend_from_slice(part);
        }
        self.since(start)
    }

    /// The piece from a place to the end of the arena.
    pub(crate) fn since(&self, start: usize) -> Span {
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { start: at(start), end: at(self.arena.len()) }
    }

    /// Adds a value to a variable.
    pub(crate) fn add(&mut self, variable: Variable, key: &[u8], value: &[u8]) {
        let key = self.keep(key);
        let value = self.keep(value);
        self.add_span(variable, key, value);
    }

    /// Adds a value without a key of its own.
    pub(crate) fn add_single(&mut self, variable: Variable, value: &[u8]) {
        let value = self.keep(value);
        self.add_span(variable, Span::EMPTY, value);
    }

    /// Replaces all values of a variable by one.
    pub(crate) fn set_single(&mut self, variable: Variable, value: &[u8]) {
        self.forget(variable);
        self.add_single(variable, value);
    }

    /// Replaces all values of a variable by a number or an address.
    pub(crate) fn set_shown(&mut self, variable: Variable, value: impl Display) {
        self.forget(variable);
        let span = self.keep_shown(value);
        self.add_span(variable, Span::EMPTY, span);
    }

    /// Drops the values of a variable.
    pub(crate) fn forget(&mut self, variable: Variable) {
        self.groups[variable.index()].clear();
        self.stale(variable);
    }

    /// Adds a value that is in the arena already.
    pub(crate) fn add_span(&mut self, variable: Variable, key: Span, value: Span) {
        let node = self.value_node(value);
        self.groups[variable.index()].push(Item { key, node });
        self.stale(variable);
    }

    /// What was joined from a group's values holds no more.
    fn stale(&mut self, variable: Variable) {
        self.bundles_stale = true;
        let begin = variable.index() * self.chains;
        self.views[begin..begin + self.chains].fill(UNKNOWN);
    }

    /// The node of a value. Equal values have one, so that a list with the same price fifty times costs one.
    fn value_node(&mut self, value: Span) -> u32 {
        let text = self.get(value);
        let place = (FixedState::default().hash_one(text) & (RECENT as u64 - 1)) as usize;
        if let Some(Node { span, .. }) = self.recent.get(place).and_then(|node| self.nodes.get(*node as usize))
            && self.get(*span) == text
        {
            return self.recent[place];
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(UNKNOWN);
        self.rows.resize(self.rows.len() + self.chains, UNKNOWN);
        let node = self.new_node(value, row);
        self.recent[place] = node;
        node
    }

    fn new_node(&mut self, span: Span, row: u32) -> u32 {
        let present = ByteSet::present(self.get(span));
        let number = u32::try_from(self.nodes.len()).unwrap_or(UNKNOWN);
        self.nodes.push(Node { span, present, bits: UNKNOWN, row, memo: UNKNOWN, like: UNKNOWN });
        number
    }

    pub(crate) fn items(&self, variable: Variable) -> &[Item] {
        &self.groups[variable.index()]
    }

    pub(crate) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// The first value of a variable.
    pub(crate) fn first(&self, variable: Variable) -> &[u8] {
        self.items(variable).first().map_or(&[], |item| self.get(self.node(item.node).span))
    }

    /// The first value of a variable that has a key.
    pub(crate) fn by_key(&self, variable: Variable, key: &[u8]) -> Option<&[u8]> {
        let found = self.items(variable).iter().find(|item| self.get(item.key).eq_ignore_ascii_case(key));
        found.map(|item| self.get(self.node(item.node).span))
    }

    /// The node that a chain makes of a value.
    pub(crate) fn transformed(&mut self, chains: &Chains, base: u32, chain: ChainId) -> u32 {
        if chain.is_none() {
            return base;
        }
        let place = self.nodes[base as usize].row as usize + chain.index();
        let known = self.rows[place];
        if known != UNKNOWN {
            return known;
        }
        let (parent, transform) = chains.step(chain);
        let from = self.transformed(chains, base, parent);
        let present = self.nodes[from as usize].present;
        let made = if chains.trigger(chain).is_some_and(|trigger| !trigger.meets(&present)) {
            from
        } else {
            self.transformed_once(chains, from, transform)
        };
        self.rows[place] = made;
        made
    }

    /// The node that one transformation makes of a node.
    fn transformed_once(&mut self, chains: &Chains, from: u32, transform: Transform) -> u32 {
        let Node { span, memo, .. } = self.nodes[from as usize];
        let memo = if memo == UNKNOWN {
            let begin = self.memos.len();
            self.memos.resize(begin + Transform::ALL.len(), UNKNOWN);
            self.nodes[from as usize].memo = u32::try_from(begin).unwrap_or(UNKNOWN);
            begin
        } else {
            memo as usize
        };
        let place = memo + transform as usize;
        if self.memos[place] != UNKNOWN {
            return self.memos[place];
        }
        let mut spare = std::mem::take(&mut self.spare);
        transform.apply_mapped(self.get(span), chains.unicode_map(), &mut spare);
        let made = if spare == self.get(span) {
            from
        } else {
            let span = self.keep(&spare);
            let made = self.new_node(span, UNKNOWN);
            if matches!(transform, Transform::Lowercase | Transform::Uppercase) {
                self.nodes[made as usize].like = from;
            }
            made
        };
        self.spare = spare;
        self.memos[place] = made;
        made
    }

    /// Transforms bytes that are in no group.
    pub(crate) fn transform_once(&mut self, chains: &Chains, span: Span, chain: ChainId) -> Span {
        if chain.is_none() {
            return span;
        }
        let (parent, transform) = chains.step(chain);
        let from = self.transform_once(chains, span, parent);
        let mut spare = std::mem::take(&mut self.spare);
        transform.apply_mapped(self.get(from), chains.unicode_map(), &mut spare);
        let made = self.keep(&spare);
        self.spare = spare;
        made
    }

    /// The filter bits of a node.
    pub(crate) fn bits_of(&mut self, filter: &Filter, node: u32) -> &[u64] {
        let begin = self.bits_at(filter, node);
        &self.bits[begin..begin + filter.words]
    }

    fn bits_at(&mut self, filter: &Filter, node: u32) -> usize {
        let Node { span, present, bits, like, .. } = self.nodes[node as usize];
        if bits != UNKNOWN {
            return bits as usize;
        }
        let known = (like != UNKNOWN).then(|| self.bits_at(filter, like));
        let begin = self.bits.len();
        if let Some(known) = known {
            self.bits.extend_from_within(known..known + filter.words);
            filter.set_bytes(&present, &mut self.bits[begin..]);
        } else {
            self.bits.resize(begin + filter.words, 0);
            let text = self.arena.get(span.start as usize..span.end as usize).unwrap_or_default();
            filter.scan(text, &present, &mut self.bits[begin..]);
        }
        self.nodes[node as usize].bits = u32::try_from(begin).unwrap_or(UNKNOWN);
        begin
    }

    /// The joined filter bits of all values of a group, transformed by a chain.
    pub(crate) fn group_bits(
        &mut self,
        filter: &Filter,
        chains: &Chains,
        variable: Variable,
        chain: ChainId,
    ) -> &[u64] {
        let begin = self.group_bits_at(filter, chains, variable, chain);
        &self.bits[begin..begin + filter.words]
    }

    fn group_bits_at(&mut self, filter: &Filter, chains: &Chains, variable: Variable, chain: ChainId) -> usize {
        let view = self.view(chains, variable, chain);
        let Joined { chain, bits, .. } = self.joined[view];
        if bits != UNKNOWN {
            return bits as usize;
        }
        let begin = self.bits.len();
        self.bits.resize(begin + filter.words, 0);
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
                self.bits[begin + word] |= self.bits[from + word];
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
    pub(crate) fn set_matches(&mut self, set: &PatternSet, chains: &Chains, bundles: &[Bundle], at: u16) -> bool {
        self.refresh();
        let at = usize::from(at);
        if let Some(known) = self.sets.get(at).copied().flatten() {
            return known;
        }
        let found = bundles.get(usize::from(set.bundle)).is_none_or(|bundle| {
            bundle.groups.iter().any(|group| self.set_matches_group(set, chains, *group, bundle.chain))
        });
        if let Some(place) = self.sets.get_mut(at) {
            *place = Some(found);
        }
        found
    }

    fn set_matches_group(&mut self, set: &PatternSet, chains: &Chains, group: Variable, chain: ChainId) -> bool {
        if self.groups[group.index()].is_empty() {
            return false;
        }
        let chain = self.shortest(chains, group, chain);
        let mut before = UNKNOWN;
        for at in 0..self.groups[group.index()].len() {
            let node = self.transformed(chains, self.groups[group.index()][at].node, chain);
            if node != before && set.matches(self.get(self.nodes[node as usize].span)) {
                return true;
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
        has_bit(&self.bits[begin..begin + filter.words], slot)
    }

    fn join_bundle(&mut self, filter: &Filter, chains: &Chains, bundle: &Bundle, at: usize) {
        let begin = self.bits.len();
        self.bits.resize(begin + filter.words, 0);
        for group in &bundle.groups {
            if self.groups[group.index()].is_empty() {
                continue;
            }
            let from = self.group_bits_at(filter, chains, *group, bundle.chain);
            for word in 0..filter.words {
                self.bits[begin + word] |= self.bits[from + word];
            }
        }
        self.bundle_bits[at] = u32::try_from(begin).unwrap_or(UNKNOWN);
    }
}
