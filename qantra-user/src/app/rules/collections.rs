//! Enters: what rules keep of addresses, sessions and users. Leaves: the same for the next request, on any thread. Its
//! locks are taken only by rules that use such state; it must never hold one while a rule runs.

use std::hash::BuildHasher as _;

use parking_lot::Mutex;
use qantra_seclang::{Collections, Instance, MemoryCollections};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Collections in all; those that end first make room.
const COLLECTIONS_MAX: usize = 65_536;

/// Collections that all threads share.
pub(super) struct SharedCollections {
    shards: [Mutex<MemoryCollections>; SHARDS],
    hash: foldhash::fast::RandomState,
}

impl Default for SharedCollections {
    fn default() -> Self {
        let shard = |_| Mutex::new(MemoryCollections::new(COLLECTIONS_MAX / SHARDS));
        Self { shards: std::array::from_fn(shard), hash: foldhash::fast::RandomState::default() }
    }
}

impl SharedCollections {
    fn shard(&self, of: Instance<'_>) -> &Mutex<MemoryCollections> {
        &self.shards[self.hash.hash_one((of.collection, of.key)) as usize % SHARDS]
    }

    /// How many collections there are, and how many were dropped to make room.
    pub(super) fn counts(&self) -> (usize, u64) {
        self.shards.iter().fold((0, 0), |(len, evicted), shard| {
            let shard = shard.lock();
            (len + shard.len(), evicted + shard.evicted())
        })
    }
}

impl Collections for &SharedCollections {
    fn get(&mut self, of: Instance<'_>, name: &[u8], now_s: u64, out: &mut Vec<u8>) -> bool {
        self.shard(of).lock().get(of, name, now_s, out)
    }

    fn set(&mut self, of: Instance<'_>, name: &[u8], value: &[u8], now_s: u64, timeout_s: u64) {
        self.shard(of).lock().set(of, name, value, now_s, timeout_s);
    }

    fn remove(&mut self, of: Instance<'_>, name: &[u8]) {
        self.shard(of).lock().remove(of, name);
    }

    fn expire(&mut self, of: Instance<'_>, name: &[u8], at_s: u64) {
        self.shard(of).lock().expire(of, name, at_s);
    }

    fn each(&mut self, of: Instance<'_>, now_s: u64, take: &mut dyn FnMut(&[u8], &[u8])) {
        self.shard(of).lock().each(of, now_s, take);
    }
}

#[cfg(test)]
mod tests {
    use qantra_seclang::Variable;

    use super::*;

    #[test]
    fn what_one_thread_writes_another_reads_and_the_table_is_bounded() {
        let shared = SharedCollections::default();
        fn of(key: &[u8]) -> Instance<'_> {
            Instance { collection: Variable::Ip, key }
        }
        std::thread::scope(|scope| {
            scope.spawn(|| (&mut &shared).set(of(b"192.0.2.1"), b"count", b"3", 0, 60));
        });
        let mut out = Vec::new();
        assert!((&mut &shared).get(of(b"192.0.2.1"), b"count", 1, &mut out) && out == b"3");
        assert!(!(&mut &shared).get(of(b"192.0.2.1"), b"count", 61, &mut out), "it has ended");
        for n in 0..COLLECTIONS_MAX as u32 * 2 {
            let key = n.to_be_bytes();
            (&mut &shared).set(of(&key), b"x", b"1", 0, 60);
        }
        let (len, evicted) = shared.counts();
        assert!(len <= COLLECTIONS_MAX && evicted as usize >= COLLECTIONS_MAX, "{len} {evicted}");
    }
}
