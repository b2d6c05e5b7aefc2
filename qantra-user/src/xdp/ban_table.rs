//! Enters: bans as the kernel holds them. Leaves: the five tables of them behind one trait, and their keys. It must never
//! keep a copy of what the kernel holds.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::maps::{HashMap, LpmTrie, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use qantra_common::map::Ban;

use crate::enforce::PlaneError;

/// One of the ban tables.
pub(super) trait BanTable: Send {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError>;
    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError>;
    fn remove(&mut self, net: IpNet) -> Result<(), MapError>;
    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError>;
    fn failure(&self, error: MapError) -> PlaneError;
}

/// Banned addresses, and how many there can be.
pub(super) struct Exact<K: AddressBytes>(pub(super) HashMap<MapData, K, Ban>, pub(super) u32);

/// Banned prefixes, and how many there can be.
pub(super) struct Prefixes<K: AddressBytes>(pub(super) LpmTrie<MapData, K, Ban>, pub(super) u32);

impl<K: AddressBytes> BanTable for Exact<K> {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError> {
        found(self.0.get(&K::of(net.addr()), 0))
    }

    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError> {
        self.0.insert(K::of(net.addr()), ban, 0)
    }

    fn remove(&mut self, net: IpNet) -> Result<(), MapError> {
        self.0.remove(&K::of(net.addr()))
    }

    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError> {
        let net = |key: K| IpNet::new(key.address(), K::PREFIX_LEN).ok();
        let entries = self.0.iter().collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(|(key, ban)| net(key).map(|net| (net, ban))).collect())
    }

    fn failure(&self, error: MapError) -> PlaneError {
        plane_error(error, "banned addresses", self.1, "bans_max")
    }
}

impl<K: AddressBytes> BanTable for Prefixes<K> {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError> {
        // The trie answers with the longest prefix that holds the key's; only the very same one counts.
        let ban = found(self.0.get(&lpm_key(&net), 0))?;
        Ok(ban.filter(|ban| ban.prefix_len == u32::from(net.prefix_len())))
    }

    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError> {
        self.0.insert(&lpm_key(&net), ban, 0)
    }

    fn remove(&mut self, net: IpNet) -> Result<(), MapError> {
        self.0.remove(&lpm_key(&net))
    }

    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError> {
        let net = |key: Key<K>| IpNet::new(key.data().address(), key.prefix_len() as u8).ok();
        let entries = self.0.iter().collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(|(key, ban)| net(key).map(|net| (net, ban))).collect())
    }

    fn failure(&self, error: MapError) -> PlaneError {
        plane_error(error, "banned prefixes", self.1, "prefix_bans_max")
    }
}

fn found(result: Result<Ban, MapError>) -> Result<Option<Ban>, MapError> {
    match result {
        Ok(ban) => Ok(Some(ban)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn lpm_key<K: AddressBytes>(net: &IpNet) -> Key<K> {
    let net = net.trunc();
    Key::new(u32::from(net.prefix_len()), K::of(net.addr()))
}

pub(super) fn plane_error(error: MapError, what: &'static str, limit: u32, key: &'static str) -> PlaneError {
    let source = match error {
        MapError::SyscallError(error) => error.io_error,
        error => std::io::Error::other(error),
    };
    match source.raw_os_error() {
        // A full hash map says the first, a full trie the second.
        Some(libc::E2BIG) | Some(libc::ENOSPC) => PlaneError::Full { what, limit, key },
        _ => PlaneError::Map { what, source },
    }
}

/// An address, or its upper half, as the bytes of a map key.
pub(super) trait AddressBytes: aya::Pod + Eq + Hash + Send {
    /// How long the prefix is that a key of an exact table stands for.
    const PREFIX_LEN: u8;
    /// Of an address of the right family; zeros for the other, which the tables' callers rule out.
    fn of(address: IpAddr) -> Self;
    fn address(self) -> IpAddr;
}

impl AddressBytes for [u8; 4] {
    const PREFIX_LEN: u8 = 32;

    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        }
    }

    fn address(self) -> IpAddr {
        Ipv4Addr::from(self).into()
    }
}

impl AddressBytes for [u8; 16] {
    const PREFIX_LEN: u8 = 128;

    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => [0; 16],
            IpAddr::V6(address) => address.octets(),
        }
    }

    fn address(self) -> IpAddr {
        Ipv6Addr::from(self).into()
    }
}

/// An IPv4 address and four zeros: in the kernel's trie of bans, so that what follows lies at a multiple of eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct PaddedV4([u8; 8]);

// SAFETY: bytes alone.
unsafe impl aya::Pod for PaddedV4 {}

impl AddressBytes for PaddedV4 {
    const PREFIX_LEN: u8 = 32;

    fn of(address: IpAddr) -> Self {
        let [a, b, c, d] = <[u8; 4]>::of(address);
        Self([a, b, c, d, 0, 0, 0, 0])
    }

    fn address(self) -> IpAddr {
        let [a, b, c, d, ..] = self.0;
        Ipv4Addr::new(a, b, c, d).into()
    }
}

/// A /64.
impl AddressBytes for [u8; 8] {
    const PREFIX_LEN: u8 = 64;

    fn of(address: IpAddr) -> Self {
        let mut upper = [0; 8];
        if let IpAddr::V6(address) = address {
            upper.copy_from_slice(&address.octets()[..8]);
        }
        upper
    }

    fn address(self) -> IpAddr {
        Ipv6Addr::from(u128::from(u64::from_be_bytes(self)) << 64).into()
    }
}
