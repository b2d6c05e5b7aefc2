//! What enforcement needs of the kernel half for feeds: huge lists of addresses that change all at once. `xdp/`
//! implements it; `intel/` is its caller.

use std::net::IpAddr;

use super::PlaneError;

/// A set of addresses as inclusive ranges of numbers: sorted, disjoint, not adjacent. A prefix is one range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressRanges {
    /// IPv4, first and last address.
    pub v4: Vec<(u32, u32)>,
    /// IPv6, first and last address.
    pub v6: Vec<(u128, u128)>,
}

impl AddressRanges {
    /// Whether an address is in it, by binary search.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => covers(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => covers(&self.v6, u128::from(v6)),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn covers<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| address <= *last)
}

/// What feeds stopped of one address since it was asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedHit {
    /// The listed address: the source, or the destination of what a LAN device sent.
    pub address: IpAddr,
    /// Packets dropped.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the lists stopped since it was asked for last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedHits {
    /// By address. One may stand here more than once.
    pub by_address: Vec<FeedHit>,
    /// Packets of addresses that came when all places for single addresses were taken.
    pub other_packets: u64,
    /// Their bytes.
    pub other_bytes: u64,
}

/// The kernel half, as feeds see it.
pub trait FeedPlane: Send + Sync {
    /// Puts other lists in the place of those in force, in one step: an address in both is never let through meanwhile.
    /// `inbound` is compared with sources, `outbound` with destinations of what comes from the LAN. Returns the bytes of
    /// kernel memory that the new lists take.
    ///
    /// # Errors
    /// The kernel has no memory for them, or bpf(2) fails; then the old ones stay in force.
    fn replace_feeds(&self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError>;

    /// What the lists stopped since the last call.
    ///
    /// # Errors
    /// bpf(2) fails.
    fn take_feed_hits(&self) -> Result<FeedHits, PlaneError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_range_are_in_it() {
        let ranges = AddressRanges { v4: vec![(10, 20), (30, 30)], v6: vec![(1, 2)] };
        let inside = |number: u32| ranges.contains(IpAddr::V4(number.into()));
        assert_eq!([9, 10, 20, 21, 29, 30, 31].map(inside), [false, true, true, false, false, true, false]);
        let six = |text: &str| text.parse().is_ok_and(|address| ranges.contains(address));
        assert!(six("::2") && !six("::3"));
    }
}
