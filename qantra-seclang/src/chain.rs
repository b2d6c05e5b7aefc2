//! Enters: the transformation chains of all rules. Leaves: a tree of their prefixes, so that what two chains begin with is
//! done once. It must never reorder transformations.

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    bytes::ByteSet,
    transform::{Transform, UnicodeMap},
};

/// A chain: a node of the tree. The first is the chain that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct ChainId(u16);

impl ChainId {
    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// All chains of a rule set.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// Parent, last step, and the bytes without which the step changes nothing.
    steps: Vec<(ChainId, Transform, Option<ByteSet>)>,
    known: HashMap<(ChainId, Transform), ChainId>,
    unicode_map: Option<UnicodeMap>,
}

impl Chains {
    pub(crate) fn new(unicode_map: Option<UnicodeMap>) -> Self {
        Self { steps: Vec::new(), known: HashMap::new(), unicode_map }
    }

    /// The chain of some transformations; `None` when there are too many chains.
    pub(crate) fn intern(&mut self, transforms: &[Transform]) -> Option<ChainId> {
        let mut chain = ChainId::default();
        for transform in transforms {
            if let Some(known) = self.known.get(&(chain, *transform)) {
                chain = *known;
                continue;
            }
            self.steps.push((chain, *transform, transform.trigger()));
            let next = ChainId(u16::try_from(self.steps.len()).ok()?);
            self.known.insert((chain, *transform), next);
            chain = next;
        }
        Some(chain)
    }

    /// How many chains there are, with the empty one.
    pub(crate) fn len(&self) -> usize {
        self.steps.len() + 1
    }

    /// The chain without its last step, and that step.
    pub(crate) fn step(&self, chain: ChainId) -> (ChainId, Transform) {
        let (parent, transform, _) = self.steps[chain.index() - 1];
        (parent, transform)
    }

    pub(crate) fn trigger(&self, chain: ChainId) -> Option<&ByteSet> {
        self.steps[chain.index() - 1].2.as_ref()
    }

    /// The chain that goes on from another by one step, when some rule has it.
    pub(crate) fn after(&self, parent: ChainId, transform: Transform) -> Option<ChainId> {
        self.known.get(&(parent, transform)).copied()
    }

    pub(crate) fn unicode_map(&self) -> Option<&UnicodeMap> {
        self.unicode_map.as_ref()
    }

    /// The transformations of a chain, first to last.
    pub(crate) fn transforms(&self, chain: ChainId) -> Vec<Transform> {
        let mut found = Vec::new();
        let mut at = chain;
        while !at.is_none() {
            let (parent, transform) = self.step(at);
            found.push(transform);
            at = parent;
        }
        found.reverse();
        found
    }
}
