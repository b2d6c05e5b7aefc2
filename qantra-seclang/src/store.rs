//! Enters: the values of one transaction. Leaves: the same values, grouped by variable, each transformed at most once for
//! every chain and scanned at most once. Nothing is freed between requests, so that a warm store allocates nothing, and
//! what values are like is remembered: those of headers come again and again. It must never grow beyond what the body limits
//! allow times the chains that rules use, and never take one value for another.

mod joined;

use std::{fmt::Display, hash::BuildHasher as _, io::Write as _};

use foldhash::fast::FixedState;

use crate::{
    bytes::ByteSet,
    chain::{ChainId, Chains},
    compile::RuleSet,
    filter::Filter,
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
    /// Where it is kept which tests fail on it and which hold, once any is known.
    tested: u32,
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
/// How many values can be found again. A power of two.
const RECENT: usize = 2048;
/// When values and what is known of them take more bytes than this, the next transaction begins with none: some dozens of
/// ordinary requests.
const REMEMBERED_BYTES: usize = 128 * 1024;
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
    /// Of values: two bits for every test, whether it is known to fail and whether it is known to hold.
    tested: Vec<u64>,
    /// The filter bits of several values together.
    joined_bits: Vec<u64>,
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
    /// How many words hold two bits for every test.
    test_words: usize,
    /// The rule set whose chains, filter and tests the values were seen through.
    rules: u64,
    /// Values seen lately, by their hash: nodes, or unknown.
    recent: Vec<u32>,
    spare: Vec<u8>,
    /// What the reader of JSON needs while it reads.
    pub(crate) json: crate::body::json::Memory,
}

impl Store {
    /// Forgets the last transaction. Its memory is kept, and what its values were like.
    pub(crate) fn reset(&mut self, rules: &RuleSet) {
        if self.rules != rules.number || self.used_bytes() > REMEMBERED_BYTES {
            self.forget_values();
        }
        self.rules = rules.number;
        self.chains = rules.chains.len();
        self.test_words = (rules.rules.len() + rules.sets_of_patterns.len()).div_ceil(32);
        self.groups.resize_with(Variable::COUNT, Vec::new);
        self.groups.iter_mut().for_each(Vec::clear);
        self.joined_bits.clear();
        self.views.clear();
        self.views.resize(Variable::COUNT * self.chains, UNKNOWN);
        self.joined.clear();
        self.sets.clear();
        self.sets.resize(rules.sets_of_patterns.len(), None);
        self.bundle_bits.clear();
        self.bundle_bits.resize(rules.bundles.len(), UNKNOWN);
        self.bundles_stale = false;
    }

    /// Forgets all values and what they were like.
    pub(crate) fn forget_values(&mut self) {
        self.arena.clear();
        self.nodes.clear();
        self.rows.clear();
        self.memos.clear();
        self.bits.clear();
        self.tested.clear();
        self.recent.clear();
        self.recent.resize(RECENT, UNKNOWN);
    }

    /// How many bytes values and what is known of them take.
    fn used_bytes(&self) -> usize {
        let words = self.rows.len() + self.memos.len();
        let bits = self.bits.len() + self.tested.len();
        self.arena.len() + self.nodes.len() * size_of::<Node>() + words * size_of::<u32>() + bits * size_of::<u64>()
    }

    /// About how many bytes the tables hold.
    pub(crate) const fn held_bytes(&self) -> usize {
        let words = self.rows.capacity() + self.memos.capacity() + self.views.capacity();
        self.arena.capacity()
            + self.nodes.capacity() * size_of::<Node>()
            + (self.bits.capacity() + self.joined_bits.capacity() + self.tested.capacity()) * size_of::<u64>()
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
        let key = self.keep_value(key);
        let value = self.keep_value(value);
        self.add_span(variable, key, value);
    }

    /// Adds a value without a key of its own.
    pub(crate) fn add_single(&mut self, variable: Variable, value: &[u8]) {
        let value = self.keep_value(value);
        self.add_span(variable, Span::EMPTY, value);
    }

    /// A place in the arena where a value is: the one where it was lately, or a new one.
    pub(crate) fn keep_value(&mut self, text: &[u8]) -> Span {
        let place = recent_place(text);
        match self.recent_node(place, text) {
            Some(node) => self.nodes[node as usize].span,
            None => self.keep(text),
        }
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

    /// The node of a value. Equal values have one, so that a list with the same price fifty times costs one, and so does a
    /// header that every request of a client has.
    fn value_node(&mut self, value: Span) -> u32 {
        let text = self.get(value);
        let place = recent_place(text);
        if let Some(known) = self.recent_node(place, text) {
            return known;
        }
        let row = u32::try_from(self.rows.len()).unwrap_or(UNKNOWN);
        self.rows.resize(self.rows.len() + self.chains, UNKNOWN);
        let node = self.new_node(value, row);
        self.recent[place] = node;
        node
    }

    fn recent_node(&self, place: usize, text: &[u8]) -> Option<u32> {
        let node = *self.recent.get(place)?;
        let known = self.nodes.get(node as usize)?;
        (self.get(known.span) == text).then_some(node)
    }

    /// What is known of a test on a node: whether it holds.
    pub(crate) fn verdict(&self, node: u32, test: usize) -> Option<bool> {
        let at = self.nodes[node as usize].tested;
        if at == UNKNOWN {
            return None;
        }
        match self.tested[at as usize + test / 32] >> (test % 32 * 2) & 3 {
            0 => None,
            bits => Some(bits == 2),
        }
    }

    /// Remembers whether a test holds on a node.
    pub(crate) fn remember(&mut self, node: u32, test: usize, holds: bool) {
        let known = &mut self.nodes[node as usize].tested;
        if *known == UNKNOWN {
            *known = u32::try_from(self.tested.len()).unwrap_or(UNKNOWN);
            self.tested.resize(self.tested.len() + self.test_words, 0);
        }
        if let Some(word) = self.tested.get_mut(*known as usize + test / 32) {
            *word |= (1 + u64::from(holds)) << (test % 32 * 2);
        }
    }

    fn new_node(&mut self, span: Span, row: u32) -> u32 {
        let present = ByteSet::present(self.get(span));
        let number = u32::try_from(self.nodes.len()).unwrap_or(UNKNOWN);
        self.nodes.push(Node { span, present, bits: UNKNOWN, row, memo: UNKNOWN, like: UNKNOWN, tested: UNKNOWN });
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
}

/// Where a value is looked for among those seen lately. Whoever makes texts that meet here makes them be looked at again, no more.
fn recent_place(text: &[u8]) -> usize {
    (FixedState::default().hash_one(text) & (RECENT as u64 - 1)) as usize
}
