//! Enters: a seed. Leaves: addresses and block lists that look drawn at random and are the same in every run. It must
//! never give an address that hosts on the Internet cannot have.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use qantra_user::enforce::AddressRanges;

/// Numbers by SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub const fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// An IPv4 address outside 0/8, 10/8, 127/8 and everything from 224/4 on.
    pub fn v4(&mut self) -> u32 {
        loop {
            let address = self.number() as u32;
            let first = address >> 24;
            if !matches!(first, 0 | 10 | 127 | 224..) {
                return address;
            }
        }
    }

    /// An address in 2000::/3, where all of the Internet's are.
    pub fn v6(&mut self) -> u128 {
        let number = u128::from(self.number()) << 64 | u128::from(self.number());
        (number >> 3) | 0x2000 << 112
    }
}

/// What a list is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Single IPv4 addresses, and one IPv6 /64 for fifteen of them: what most feeds are, spread as widely as can be.
    Single,
    /// The same numbers, of all lengths: of twenty IPv4 entries 17 are /32, two are /24, one is between /28 and /16; IPv6
    /// from /128 to /32.
    Mixed,
}

/// A list of `prefixes` prefixes, merged as feeds are. Overlaps make it a little shorter.
#[must_use]
pub fn list(kind: Kind, prefixes: usize, random: &mut Random) -> AddressRanges {
    let v6 = prefixes / 16;
    let mut ranges = AddressRanges::default();
    for _ in 0..prefixes - v6 {
        let length = match (kind, random.below(20), random.below(1_000)) {
            (Kind::Single, ..) | (Kind::Mixed, 0..=16, _) => 32,
            (Kind::Mixed, 17 | 18, _) => 24,
            (Kind::Mixed, _, 0..=9) => 16,
            (Kind::Mixed, _, 10..=99) => 20,
            (Kind::Mixed, ..) => 28,
        };
        let host = (u64::from(u32::MAX) >> length) as u32;
        let first = random.v4() & !host;
        ranges.v4.push((first, first | host));
    }
    for _ in 0..v6 {
        let length = match (kind, random.below(20)) {
            (Kind::Single, _) | (Kind::Mixed, 0..=11) => 64,
            (Kind::Mixed, 12..=15) => 128,
            (Kind::Mixed, 16..=18) => 48,
            (Kind::Mixed, _) => 32,
        };
        let host = u128::MAX.checked_shr(length).unwrap_or(0);
        let first = random.v6() & !host;
        ranges.v6.push((first, first | host));
    }
    ranges.v4 = merged(ranges.v4, |last| last.checked_add(1));
    ranges.v6 = merged(ranges.v6, |last| last.checked_add(1));
    ranges
}

fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if after(*end).is_none_or(|next| first <= next) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// `count` different addresses of which `wanted` is true.
pub fn addresses(count: usize, random: &mut Random, v6: bool, mut wanted: impl FnMut(IpAddr) -> bool) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        let address: IpAddr = match v6 {
            false => Ipv4Addr::from_bits(random.v4()).into(),
            true => Ipv6Addr::from_bits(random.v6()).into(),
        };
        if wanted(address) && seen.insert(address) {
            found.push(address);
        }
    }
    found
}

/// `count` addresses of a list, one in each of as many ranges.
#[must_use]
pub fn listed(count: usize, random: &mut Random, v6: bool, list: &AddressRanges) -> Vec<IpAddr> {
    let index = |random: &mut Random, length: usize| random.below(length.max(1) as u64) as usize;
    (0..count)
        .filter_map(|_| match v6 {
            false => list.v4.get(index(random, list.v4.len())).map(|range| Ipv4Addr::from_bits(range.0).into()),
            true => list.v6.get(index(random, list.v6.len())).map(|range| Ipv6Addr::from_bits(range.1).into()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_merged_and_as_long_as_asked() {
        for kind in [Kind::Single, Kind::Mixed] {
            let list = list(kind, 20_000, &mut Random::new(7));
            assert!(list.v4.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{kind:?}");
            assert!(list.v6.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "{kind:?}");
            assert!((18_000..=20_000).contains(&(list.v4.len() + list.v6.len())), "{kind:?}");
            let inside = listed(100, &mut Random::new(8), true, &list);
            assert!(inside.iter().all(|address| list.contains(*address)));
        }
    }
}
