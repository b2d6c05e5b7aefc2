//! What single addresses were stopped of: a bounded memory, for `blocklists check`.

use std::net::IpAddr;

use hashbrown::HashMap;

use super::ListHits;

/// Most addresses that are remembered; those stopped longest ago make room.
const ADDRESSES_MAX: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct AddressHits {
    table: HashMap<IpAddr, ListHits>,
}

impl AddressHits {
    /// Adds to what is known of an address; returns how many were forgotten for it.
    pub(super) fn add(&mut self, address: IpAddr, more: &ListHits) -> usize {
        let mut forgotten = 0;
        if self.table.len() >= ADDRESSES_MAX && !self.table.contains_key(&address) {
            forgotten = self.make_room();
        }
        self.table.entry(address).or_default().add(more);
        forgotten
    }

    pub(super) fn get(&self, address: IpAddr) -> ListHits {
        self.table.get(&address).copied().unwrap_or_default()
    }

    /// A quarter at once, so that it is rare.
    fn make_room(&mut self) -> usize {
        let mut times: Vec<Option<u64>> = self.table.values().map(|hits| hits.last_unix_ms).collect();
        let (_, oldest, _) = times.select_nth_unstable(ADDRESSES_MAX / 4);
        let (oldest, before) = (*oldest, self.table.len());
        let mut left = ADDRESSES_MAX / 4;
        // Of many equally old ones only as many as are wanted.
        self.table.retain(|_, hits| {
            let goes = left > 0 && hits.last_unix_ms <= oldest;
            left -= usize::from(goes);
            !goes
        });
        before - self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let mut hits = AddressHits::default();
        let at = |n: u64| ListHits { packets: 1, bytes: 60, requests: 0, last_unix_ms: Some(n) };
        let mut forgotten = 0;
        for n in 0..10_000_u64 {
            forgotten += hits.add(IpAddr::from((n as u32).to_be_bytes()), &at(n));
        }
        assert!(hits.table.len() <= ADDRESSES_MAX && forgotten == 10_000 - hits.table.len());
        assert_eq!(hits.get(IpAddr::from(0_u32.to_be_bytes())), ListHits::default());
        let last = IpAddr::from(9_999_u32.to_be_bytes());
        hits.add(last, &at(10_001));
        assert_eq!(hits.get(last), ListHits { packets: 2, bytes: 120, requests: 0, last_unix_ms: Some(10_001) });
    }
}
