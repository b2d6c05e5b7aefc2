//! Longest-prefix questions without a trie: which prefix lengths occur, and one hash lookup for each. Few lengths occur
//! at once (/32, /64, a handful of ranges), so an address costs a handful of lookups at most.

use std::net::IpAddr;

use hashbrown::HashMap;
use ipnet::IpNet;

/// Which prefix lengths occur, as bits: 33 of IPv4, 129 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lengths {
    pub(super) v4: u64,
    /// Lengths 0 to 127.
    pub(super) v6: u128,
    pub(super) v6_single: bool,
}

impl Lengths {
    pub(super) fn insert(&mut self, net: &IpNet) {
        match (net, net.prefix_len()) {
            (IpNet::V4(_), len) => self.v4 |= 1 << len,
            (IpNet::V6(_), 128) => self.v6_single = true,
            (IpNet::V6(_), len) => self.v6 |= 1 << len,
        }
    }

    /// The prefixes of these lengths that cover an address, longest first.
    pub(super) fn covering(self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let address = address.to_canonical();
        let (single, mut rest) = match address {
            IpAddr::V4(_) => (false, u128::from(self.v4)),
            IpAddr::V6(_) => (self.v6_single, self.v6),
        };
        let shorter = std::iter::from_fn(move || {
            let len = rest.checked_ilog2()? as u8;
            rest &= !(1 << len);
            IpNet::new(address, len).ok().map(|net| net.trunc())
        });
        single.then(|| IpNet::from(address)).into_iter().chain(shorter)
    }
}

/// An immutable map from prefixes to values.
#[derive(Debug, Clone)]
pub(super) struct PrefixMap<V> {
    lengths: Lengths,
    map: HashMap<IpNet, V, foldhash::fast::RandomState>,
}

impl<V> FromIterator<(IpNet, V)> for PrefixMap<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(entries: I) -> Self {
        let mut this = Self { lengths: Lengths::default(), map: HashMap::default() };
        for (net, value) in entries {
            this.lengths.insert(&net);
            this.map.insert(net, value);
        }
        this
    }
}

impl<V> PrefixMap<V> {
    /// The values of the prefixes that cover an address, longest first.
    pub(super) fn covering(&self, address: IpAddr) -> impl Iterator<Item = &V> {
        self.lengths.covering(address).filter_map(|net| self.map.get(&net))
    }
}
