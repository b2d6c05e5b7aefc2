//! Enters: keys and their values. Leaves: a table that never holds more than its limit.

use std::hash::{BuildHasher, Hash};

use foldhash::quality::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

/// How many entries are looked at to find one that goes.
const SAMPLE: usize = 8;

/// What an entry is worth when one has to go: the least of a sample goes first.
pub trait Worth {
    /// Its worth at a time, on any scale of its own.
    fn worth(&self, now_ms: u64) -> i64;
}

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
}

/// A hash table with a limit. When it is full a newcomer takes the place of the least worthy of eight entries drawn
/// at random: no list to keep in order, and where worthless entries are many, as in a flood from forged addresses,
/// a worthy one is hardly ever drawn eight times beside none of them.
#[derive(Debug)]
pub struct BoundedTable<K, V> {
    index: HashTable<u32>,
    slots: Vec<Slot<K, V>>,
    hasher: FixedState,
    limit: usize,
    evicted: u64,
    random: u64,
}

impl<K: Hash + Eq + Copy, V: Worth> BoundedTable<K, V> {
    /// A table for at most `limit` entries, at least one. The seed keeps strangers from choosing collisions.
    #[must_use]
    pub fn new(limit: usize, seed: u64) -> Self {
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            hasher: FixedState::with_seed(seed),
            limit: limit.clamp(1, u32::MAX as usize),
            evicted: 0,
            random: seed | 1,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many entries had to make room so far.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: K) -> Option<&V> {
        let hash = self.hasher.hash_one(key);
        let slot = *self.index.find(hash, |&i| self.slots[i as usize].key == key)?;
        Some(&self.slots[slot as usize].value)
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let hash = self.hasher.hash_one(key);
        let slot = *self.index.find(hash, |&i| self.slots[i as usize].key == key)?;
        Some(&mut self.slots[slot as usize].value)
    }

    /// The value of a key, made when it is missing; another entry may have to go for it.
    pub fn get_or_insert_with(&mut self, key: K, now_ms: u64, make: impl FnOnce() -> V) -> &mut V {
        let hash = self.hasher.hash_one(key);
        let found = self.index.find(hash, |&i| self.slots[i as usize].key == key).copied();
        let slot = match found {
            Some(slot) => slot as usize,
            None if self.slots.len() < self.limit => {
                self.slots.push(Slot { key, value: make() });
                self.link(hash, self.slots.len() - 1)
            }
            None => {
                let slot = self.victim(now_ms);
                self.unlink(slot);
                self.slots[slot] = Slot { key, value: make() };
                self.evicted += 1;
                self.link(hash, slot)
            }
        };
        &mut self.slots[slot].value
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let slot = *self.index.find(hash, |&i| self.slots[i as usize].key == key)? as usize;
        self.unlink(slot);
        let last = self.slots.len() - 1;
        if slot != last {
            // The last entry moves into the gap.
            self.unlink(last);
            let hash = self.hasher.hash_one(self.slots[last].key);
            let removed = self.slots.swap_remove(slot);
            self.link(hash, slot);
            return Some(removed.value);
        }
        self.slots.pop().map(|slot| slot.value)
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// Every entry's value, to be changed, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.value)
    }

    fn link(&mut self, hash: u64, slot: usize) -> usize {
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, slot as u32, |&i| hasher.hash_one(slots[i as usize].key));
        slot
    }

    fn unlink(&mut self, slot: usize) {
        let hash = self.hasher.hash_one(self.slots[slot].key);
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |&i: &u32| hasher.hash_one(slots[i as usize].key);
        if let Entry::Occupied(entry) = self.index.entry(hash, |&i| i as usize == slot, rehash) {
            entry.remove();
        }
    }

    fn victim(&mut self, now_ms: u64) -> usize {
        let mut least = (i64::MAX, 0);
        for _ in 0..SAMPLE {
            // xorshift64: cheap, and nobody outside sees its output.
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let slot = ((u128::from(self.random) * self.slots.len() as u128) >> 64) as usize;
            let worth = self.slots[slot].value.worth(now_ms);
            if worth < least.0 {
                least = (worth, slot);
            }
        }
        least.1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    struct Fixed(i64);
    impl Worth for Fixed {
        fn worth(&self, _: u64) -> i64 {
            self.0
        }
    }

    #[test]
    fn a_flood_of_worthless_entries_leaves_the_worthy_ones() {
        let mut table = BoundedTable::new(1_000, 3);
        for key in 0..200_u64 {
            table.get_or_insert_with(key, 0, || Fixed(100));
        }
        for key in 1_000..101_000_u64 {
            table.get_or_insert_with(key, 0, || Fixed(1));
        }
        assert_eq!(table.len(), 1_000);
        assert_eq!(table.evicted(), 200 + 100_000 - 1_000);
        let kept = (0..200).filter(|key| table.get(*key).is_some()).count();
        // One eviction takes a worthy entry with chance 0.2^8; 100,000 of them take 0.26 on average.
        assert!(kept >= 195, "only {kept} of 200 worthy entries are left");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_below_its_limit(steps in prop::collection::vec((0_u8..3, 0_u64..40), 1..300)) {
            let mut table = BoundedTable::new(64, 11);
            let mut map = HashMap::new();
            for (what, key) in steps {
                match what {
                    0 => {
                        let value = table.get_or_insert_with(key, 0, || Fixed(0));
                        value.0 += 1;
                        *map.entry(key).or_insert(0) += 1;
                    }
                    1 => prop_assert_eq!(table.remove(key).map(|v| v.0), map.remove(&key)),
                    _ => prop_assert_eq!(table.get(key).map(|v| v.0), map.get(&key).copied()),
                }
                prop_assert_eq!(table.len(), map.len());
            }
        }

        #[test]
        fn never_above_its_limit(keys in prop::collection::vec(0_u64..10_000, 1..500), limit in 1_usize..50) {
            let mut table = BoundedTable::new(limit, 5);
            for key in keys {
                table.get_or_insert_with(key, 0, || Fixed(key as i64));
                prop_assert!(table.len() <= limit);
                prop_assert!(table.get(key).is_some(), "a newcomer has its place");
            }
        }
    }
}
