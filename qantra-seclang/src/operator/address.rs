//! Enters: addresses and networks. Leaves: whether one is inside.

use std::net::IpAddr;

use crate::error::{Reason, cut};

/// A set of networks, kept as sorted ranges that do not touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressSet(Vec<(u128, u128)>);

impl AddressSet {
    /// `1.2.3.4,10.0.0.0/8,2001:db8::/32`.
    pub(super) fn list(text: &str) -> Result<Self, Reason> {
        Self::of(text.split(',').map(str::trim).filter(|part| !part.is_empty()))
    }

    /// One network a line, `#` begins a comment.
    pub(super) fn lines(bytes: &[u8]) -> Result<Self, Reason> {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        Self::of(lines.filter(|line| !line.is_empty()))
    }

    fn of<'a>(networks: impl Iterator<Item = &'a str>) -> Result<Self, Reason> {
        let mut ranges = networks.map(range).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self(merged))
    }

    pub(super) fn contains(&self, value: &[u8]) -> bool {
        let address = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
        address.is_some_and(|address| {
            let address = wide(address);
            let after = self.0.partition_point(|(first, _)| *first <= address);
            after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
        })
    }
}

/// IPv4 lies inside IPv6, as mapped addresses do.
fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn range(text: &str) -> Result<(u128, u128), Reason> {
    let invalid = || Reason::Invalid { what: "network", value: cut(text), expected: "address or network" };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| invalid())?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.unwrap_or(bits);
    if length > bits {
        return Err(invalid());
    }
    let host_bits = bits - length;
    let mask = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
    let first = wide(address) & !mask;
    Ok((first, first | mask))
}
