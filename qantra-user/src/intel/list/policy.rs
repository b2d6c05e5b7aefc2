//! Which entries are taken. A list is written by strangers: it may not ban what is private or protected, nor a large
//! part of the Internet in one line.

use ipnet::IpNet;

use crate::enforce::{AddressRanges, Protection};

use super::{
    Reason, Span,
    merge::{Bits, RangeBuilder, without},
};

/// Addresses of an IPv4 /8 and of an IPv6 /19, the largest blocks that registries hand out whole.
const V4_ADDRESSES_MAX: u32 = 1 << 24;
const V6_ADDRESSES_MAX: u128 = 1 << 109;

/// IPv4 that nobody on the Internet sends from: IANA's special-purpose registry (RFC 6890 and its updates) where it
/// says "globally reachable: false", and multicast (RFC 5771).
const SPECIAL_V4: [(u32, u32); 15] = [
    (0x0000_0000, 8),  // 0.0.0.0/8, this network
    (0x0a00_0000, 8),  // 10.0.0.0/8, private
    (0x6440_0000, 10), // 100.64.0.0/10, carriers' NAT
    (0x7f00_0000, 8),  // 127.0.0.0/8, loopback
    (0xa9fe_0000, 16), // 169.254.0.0/16, link local
    (0xac10_0000, 12), // 172.16.0.0/12, private
    (0xc000_0000, 24), // 192.0.0.0/24, protocol assignments
    (0xc000_0200, 24), // 192.0.2.0/24, documentation
    (0xc058_6300, 24), // 192.88.99.0/24, former 6to4 relays
    (0xc0a8_0000, 16), // 192.168.0.0/16, private
    (0xc612_0000, 15), // 198.18.0.0/15, benchmarks
    (0xc633_6400, 24), // 198.51.100.0/24, documentation
    (0xcb00_7100, 24), // 203.0.113.0/24, documentation
    (0xe000_0000, 4),  // 224.0.0.0/4, multicast
    (0xf000_0000, 4),  // 240.0.0.0/4, reserved and broadcast
];

/// The same for IPv6; multicast is RFC 4291's. 2001::/32 and 2002::/16 are left out: tunnels carry real sources.
const SPECIAL_V6: [(u128, u32); 13] = [
    (0, 128),                                        // ::, nobody
    (1, 128),                                        // ::1, loopback
    (0x0000_0000_0000_0000_0000_ffff_0000_0000, 96), // ::ffff:0:0/96, IPv4 in IPv6 clothes
    (0x0064_ff9b_0001_0000_0000_0000_0000_0000, 48), // 64:ff9b:1::/48, local translation
    (0x0100_0000_0000_0000_0000_0000_0000_0000, 64), // 100::/64, discard
    (0x0100_0000_0000_0001_0000_0000_0000_0000, 64), // 100:0:0:1::/64, dummy
    (0x2001_0002_0000_0000_0000_0000_0000_0000, 48), // 2001:2::/48, benchmarks
    (0x2001_0db8_0000_0000_0000_0000_0000_0000, 32), // 2001:db8::/32, documentation
    (0x3fff_0000_0000_0000_0000_0000_0000_0000, 20), // 3fff::/20, documentation
    (0x5f00_0000_0000_0000_0000_0000_0000_0000, 16), // 5f00::/16, segment routing
    (0xfc00_0000_0000_0000_0000_0000_0000_0000, 7),  // fc00::/7, private
    (0xfe80_0000_0000_0000_0000_0000_0000_0000, 10), // fe80::/10, link local
    (0xff00_0000_0000_0000_0000_0000_0000_0000, 8),  // ff00::/8, multicast
];

/// What is refused, as ranges.
#[derive(Debug, Clone, Default)]
pub struct EntryPolicy {
    special: AddressRanges,
    protected: AddressRanges,
    protections: Vec<Protection>,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Whole,
    /// But for a part; why.
    InPart(Reason),
}

impl EntryPolicy {
    /// Refuses what is protected, and what is private or reserved unless that is allowed.
    #[must_use]
    pub fn new(protections: Vec<Protection>, allow_private: bool) -> Self {
        let mut protected = RangeBuilder::default();
        protections.iter().for_each(|protection| protected.add(span_of(&protection.net)));
        let mut special = RangeBuilder::default();
        if !allow_private {
            for (bits, length) in SPECIAL_V4 {
                special.add(Span::V4(bits, bits | !(u32::MAX << (32 - length))));
            }
            for (bits, length) in SPECIAL_V6 {
                special.add(Span::V6(bits, bits | !u128::MAX.checked_shl(128 - length).unwrap_or(0)));
            }
        }
        Self { special: special.finish(), protected: protected.finish(), protections }
    }

    /// Hands on what is taken of an entry.
    pub(super) fn take(&self, span: Span, piece: impl FnMut(Span)) -> Result<Taken, Reason> {
        match span {
            Span::V4(first, last) => {
                if last - first >= V4_ADDRESSES_MAX {
                    return Err(Reason::TooWide);
                }
                cut(first, last, &self.special.v4, &self.protected.v4, Span::V4, piece)
            }
            Span::V6(first, last) => {
                if last - first >= V6_ADDRESSES_MAX {
                    return Err(Reason::TooWide);
                }
                cut(first, last, &self.special.v6, &self.protected.v6, Span::V6, piece)
            }
        }
    }

    /// What protects an entry or a part of it: for the complaint only.
    pub(super) fn protection(&self, span: Span) -> Option<&Protection> {
        let touches = |net: &IpNet| match (span, span_of(net)) {
            (Span::V4(first, last), Span::V4(from, to)) => from <= last && first <= to,
            (Span::V6(first, last), Span::V6(from, to)) => from <= last && first <= to,
            _ => false,
        };
        self.protections.iter().find(|protection| touches(&protection.net))
    }
}

fn cut<T: Bits>(
    first: T,
    last: T,
    special: &[(T, T)],
    protected: &[(T, T)],
    span: impl Fn(T, T) -> Span,
    mut piece: impl FnMut(Span),
) -> Result<Taken, Reason> {
    let (is_special, is_protected) = (touches(first, last, special), touches(first, last, protected));
    if !is_special && !is_protected {
        piece(span(first, last));
        return Ok(Taken::Whole);
    }
    let (mut outside, mut taken) = (false, false);
    without(first, last, special, |from, to| {
        outside = true;
        without(from, to, protected, |from, to| {
            taken = true;
            piece(span(from, to));
        });
    });
    match (outside, taken) {
        (false, _) => Err(Reason::Special),
        (true, false) => Err(Reason::Protected),
        (true, true) => Ok(Taken::InPart(if is_protected { Reason::ProtectedCut } else { Reason::SpecialCut })),
    }
}

fn touches<T: Bits>(first: T, last: T, set: &[(T, T)]) -> bool {
    let from = set.partition_point(|range| range.1 < first);
    set.get(from).is_some_and(|range| range.0 <= last)
}

fn span_of(net: &IpNet) -> Span {
    match net {
        IpNet::V4(net) => Span::V4(net.network().to_bits(), net.broadcast().to_bits()),
        IpNet::V6(net) => Span::V6(net.network().to_bits(), net.broadcast().to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::parse_net, enforce::Why};

    fn policy(allow_private: bool) -> EntryPolicy {
        let protect = |net| Protection { net: parse_net(net).unwrap(), why: Why::Gateway };
        EntryPolicy::new(vec![protect("9.9.9.9"), protect("8.8.0.0/16"), protect("2620:fe::/48")], allow_private)
    }

    fn take(policy: &EntryPolicy, text: &str) -> (Result<Taken, Reason>, Vec<Span>) {
        let mut pieces = Vec::new();
        let taken = policy.take(Span::parse(text.as_bytes()).unwrap(), |piece| pieces.push(piece));
        (taken, pieces)
    }

    #[test]
    fn what_is_special_is_refused_unless_allowed() {
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.255.255",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.7",
            "224.0.0.1",
            "230.0.0.0-250.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fe80::1",
            "ff02::1",
            "2001:db8::/32",
            "3fff::1",
            "100::1",
        ];
        for text in special {
            let (taken, pieces) = take(&policy(false), text);
            let wide = text.contains("250");
            assert_eq!(taken, Err(if wide { Reason::TooWide } else { Reason::Special }), "{text}");
            assert!(pieces.is_empty());
            assert_eq!(take(&policy(true), text).0.is_ok(), !wide, "{text}");
        }
        for text in
            ["1.0.0.0/8", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2001:470::/32", "2002::1"]
        {
            assert_eq!(take(&policy(false), text).0, Ok(Taken::Whole), "{text}");
        }
    }

    #[test]
    fn too_wide_is_refused_whatever_is_allowed() {
        for text in ["0.0.0.0/0", "8.0.0.0/7", "1.0.0.0-2.0.0.0", "::/0", "2000::/3", "2000::/18"] {
            assert_eq!(take(&policy(true), text).0, Err(Reason::TooWide), "{text}");
        }
        for text in ["44.0.0.0/8", "2400::/19"] {
            assert_eq!(take(&policy(true), text).0, Ok(Taken::Whole), "{text}");
        }
    }

    #[test]
    fn what_is_protected_is_refused_or_cut_out() {
        let bits = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().to_bits();
        assert_eq!(take(&policy(false), "9.9.9.9").0, Err(Reason::Protected));
        assert_eq!(take(&policy(false), "8.8.8.0/24").0, Err(Reason::Protected));
        assert_eq!(take(&policy(false), "2620:fe::9").0, Err(Reason::Protected));
        let (taken, pieces) = take(&policy(false), "9.9.9.8/30");
        assert_eq!(taken, Ok(Taken::InPart(Reason::ProtectedCut)));
        assert_eq!(pieces, [Span::V4(bits("9.9.9.8"), bits("9.9.9.8")), Span::V4(bits("9.9.9.10"), bits("9.9.9.11"))]);
        let (taken, pieces) = take(&policy(false), "192.0.0.0/16");
        assert_eq!((taken, pieces.len()), (Ok(Taken::InPart(Reason::SpecialCut)), 2));
        let covering = policy(false).protection(Span::parse(b"9.9.9.0/24").unwrap()).unwrap().clone();
        assert_eq!((covering.net.to_string().as_str(), covering.why), ("9.9.9.9/32", Why::Gateway));
    }
}
