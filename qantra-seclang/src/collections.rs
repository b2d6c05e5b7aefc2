//! Enters: what rules write about an address, a session or a user. Leaves: the same on later requests, until it expires.
//! The engine keeps none of it: a host hands in a [`Collections`], and the time. A table must never grow without bound.

use std::collections::HashMap;

use crate::variable::Variable;

/// State that outlives a transaction: `IP`, `GLOBAL`, `SESSION`, `USER`, `RESOURCE`.
pub trait Collections {
    /// Appends the value of a variable to `out`; `false` when there is none.
    fn get(&mut self, of: Instance<'_>, name: &[u8], now_s: u64, out: &mut Vec<u8>) -> bool;
    /// Writes a variable; its collection lives `timeout_s` from now.
    fn set(&mut self, of: Instance<'_>, name: &[u8], value: &[u8], now_s: u64, timeout_s: u64);
    /// Removes a variable.
    fn remove(&mut self, of: Instance<'_>, name: &[u8]);
    /// Lets a variable end at a time.
    fn expire(&mut self, of: Instance<'_>, name: &[u8], at_s: u64);
    /// Calls with every name and value.
    fn each(&mut self, of: Instance<'_>, now_s: u64, take: &mut dyn FnMut(&[u8], &[u8]));
}

/// One collection: which, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance<'a> {
    /// `IP`, `SESSION`, …
    pub collection: Variable,
    /// The key that `initcol` named.
    pub key: &'a [u8],
}

/// Keeps nothing: rules that count over requests find nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoCollections;

impl Collections for NoCollections {
    fn get(&mut self, _of: Instance<'_>, _name: &[u8], _now_s: u64, _out: &mut Vec<u8>) -> bool {
        false
    }
    fn set(&mut self, _of: Instance<'_>, _name: &[u8], _value: &[u8], _now_s: u64, _timeout_s: u64) {}
    fn remove(&mut self, _of: Instance<'_>, _name: &[u8]) {}
    fn expire(&mut self, _of: Instance<'_>, _name: &[u8], _at_s: u64) {}
    fn each(&mut self, _of: Instance<'_>, _now_s: u64, _take: &mut dyn FnMut(&[u8], &[u8])) {}
}

/// Variables of one collection at most.
const VARIABLES_MAX: usize = 256;
/// Candidates looked at to find one to evict.
const SAMPLE: usize = 16;

#[derive(Debug, Default)]
struct Record {
    variables: HashMap<Box<[u8]>, (Vec<u8>, u64)>,
    ends_s: u64,
}

/// A bounded table in memory. When it is full, the collection that ends first among a few is evicted, and counted.
#[derive(Debug)]
pub struct MemoryCollections {
    records: HashMap<(Variable, Box<[u8]>), Record>,
    limit: usize,
    evicted: u64,
}

impl MemoryCollections {
    /// A table of at most `limit` collections.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { records: HashMap::new(), limit: limit.max(1), evicted: 0 }
    }

    /// How many collections were dropped to make room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How many collections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn record(&mut self, of: Instance<'_>) -> Option<&mut Record> {
        self.records.get_mut(&(of.collection, of.key.into()))
    }
}

impl Collections for MemoryCollections {
    fn get(&mut self, of: Instance<'_>, name: &[u8], now_s: u64, out: &mut Vec<u8>) -> bool {
        let Some(record) = self.record(of).filter(|record| record.ends_s > now_s) else { return false };
        let name = name.to_ascii_lowercase();
        match record.variables.get(name.as_slice()) {
            Some((value, ends_s)) if *ends_s > now_s => {
                out.extend_from_slice(value);
                true
            }
            _ => false,
        }
    }

    fn set(&mut self, of: Instance<'_>, name: &[u8], value: &[u8], now_s: u64, timeout_s: u64) {
        let key = (of.collection, of.key.into());
        if self.records.len() >= self.limit && !self.records.contains_key(&key) {
            let first = self.records.iter().take(SAMPLE).min_by_key(|(_, record)| record.ends_s);
            if let Some(oldest) = first.map(|(key, _)| key.clone()) {
                self.records.remove(&oldest);
                self.evicted += 1;
            }
        }
        let record = self.records.entry(key).or_default();
        if record.ends_s <= now_s {
            record.variables.clear();
        }
        record.ends_s = now_s.saturating_add(timeout_s);
        if record.variables.len() >= VARIABLES_MAX {
            return;
        }
        let entry = record.variables.entry(name.to_ascii_lowercase().into()).or_insert((Vec::new(), u64::MAX));
        if entry.1 <= now_s {
            entry.1 = u64::MAX;
        }
        entry.0.clear();
        entry.0.extend_from_slice(value);
    }

    fn remove(&mut self, of: Instance<'_>, name: &[u8]) {
        if let Some(record) = self.record(of) {
            record.variables.remove(name.to_ascii_lowercase().as_slice());
        }
    }

    fn expire(&mut self, of: Instance<'_>, name: &[u8], at_s: u64) {
        let name = name.to_ascii_lowercase();
        if let Some((_, ends_s)) = self.record(of).and_then(|record| record.variables.get_mut(name.as_slice())) {
            *ends_s = at_s;
        }
    }

    fn each(&mut self, of: Instance<'_>, now_s: u64, take: &mut dyn FnMut(&[u8], &[u8])) {
        let Some(record) = self.record(of).filter(|record| record.ends_s > now_s) else { return };
        for (name, (value, ends_s)) in &record.variables {
            if *ends_s > now_s {
                take(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expire_and_tables_are_bounded() {
        let mut table = MemoryCollections::new(2);
        let of = |key| Instance { collection: Variable::Ip, key };
        let get = |table: &mut MemoryCollections, key, now_s| {
            let mut out = Vec::new();
            table.get(of(key), b"count", now_s, &mut out).then_some(out)
        };
        table.set(of(b"a"), b"Count", b"1", 0, 100);
        assert_eq!(get(&mut table, b"a", 99).as_deref(), Some(b"1".as_slice()));
        assert_eq!(get(&mut table, b"a", 100), None);
        table.expire(of(b"a"), b"count", 10);
        assert_eq!(get(&mut table, b"a", 11), None);
        table.set(of(b"b"), b"count", b"2", 0, 200);
        table.set(of(b"c"), b"count", b"3", 0, 200);
        assert_eq!((table.len(), table.evicted()), (2, 1));
        assert_eq!(get(&mut table, b"a", 5), None, "the one that ended first went");
    }
}
