//! Who is in the lab and at which address. Enters: nothing. Leaves: names and addresses. Every address is from the
//! documentation ranges (RFC 5737, RFC 3849): they are routed nowhere. It must never name another one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};

/// The name of the shop, in every hosts file of the lab.
pub(crate) const SHOP_HOST: &str = "shop.example";
/// A server on the Internet side, for the LAN's outward traffic.
pub(crate) const FILES_HOST: &str = "files.example";

/// The gateway's address in the LAN.
pub(crate) const GATEWAY_LAN_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The gateway's address in the LAN.
pub(crate) const GATEWAY_LAN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 1, 0, 0, 0, 1);

/// Which side of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Wan,
    Lan,
}

impl Side {
    /// The namespace that holds this side's bridge.
    pub(crate) const fn switch(self) -> &'static str {
        match self {
            Self::Wan => "wan",
            Self::Lan => "lan",
        }
    }
}

/// Which family a host's hosts file offers for the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// One host: a namespace with one interface, `eth0`, cabled to its side's bridge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) side: Side,
    /// The last byte of its IPv4 address, and the fourth group of its IPv6 address: a /64 of its own.
    number: u8,
    /// Which family it reaches the shop by.
    pub(crate) family: Family,
}

const fn wan(name: &'static str, number: u8, family: Family) -> Host {
    Host { name, side: Side::Wan, number, family }
}

const fn lan(name: &'static str, number: u8) -> Host {
    Host { name, side: Side::Lan, number, family: Family::V4 }
}

/// Each attack has a host of its own, so that bans do not mix.
const HOSTS: [Host; 21] = [
    wan("gateway", 1, Family::V4),
    wan("nmap", 11, Family::V4),
    wan("syn", 12, Family::V4),
    wan("udp", 13, Family::V4),
    wan("icmp", 14, Family::V4),
    wan("gobuster", 15, Family::V4),
    wan("ffuf", 16, Family::V6),
    wan("sqlmap", 17, Family::V4),
    wan("hydra", 18, Family::V4),
    wan("slowhead", 19, Family::V4),
    wan("slowbody", 20, Family::V4),
    wan("curl", 101, Family::V4),
    wan("crawler", 102, Family::V4),
    wan("shopper", 103, Family::V6),
    wan("api", 104, Family::V4),
    wan("browser", 105, Family::V4),
    wan("files", 200, Family::V4),
    lan("origin", 10),
    lan("laptop", 20),
    lan("camera", 66),
    lan("printer", 67),
];

/// Every host; the gateway is the first, with its address on the WAN side.
pub(crate) const fn hosts() -> &'static [Host] {
    &HOSTS
}

/// A host by name.
///
/// # Errors
/// There is none.
pub(crate) fn host(name: &str) -> Result<Host> {
    HOSTS.into_iter().find(|host| host.name == name).with_context(|| format!("the lab has no host `{name}`"))
}

impl Host {
    /// Its address.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        let number = self.number;
        match (family, self.side) {
            (Family::V4, Side::Wan) => Ipv4Addr::new(198, 51, 100, number).into(),
            (Family::V4, Side::Lan) => Ipv4Addr::new(203, 0, 113, number).into(),
            (Family::V6, Side::Wan) => Ipv6Addr::new(0x2001, 0xdb8, 0xa, number.into(), 0, 0, 0, 1).into(),
            (Family::V6, Side::Lan) => Ipv6Addr::new(0x2001, 0xdb8, 0xb, number.into(), 0, 0, 0, 1).into(),
        }
    }

    /// The address that it shows when it visits the shop.
    pub(crate) fn source(&self) -> IpAddr {
        self.address(self.family)
    }

    /// Prefix length of the side's network.
    pub(crate) const fn prefix(family: Family) -> u8 {
        match family {
            Family::V4 => 24,
            Family::V6 => 48,
        }
    }

    /// Its `/etc/hosts`.
    pub(crate) fn hosts_file(&self) -> String {
        let shop: IpAddr = match (self.side, self.family) {
            (Side::Wan, family) => HOSTS[0].address(family),
            (Side::Lan, Family::V4) => GATEWAY_LAN_V4.into(),
            (Side::Lan, Family::V6) => GATEWAY_LAN_V6.into(),
        };
        let files = HOSTS.iter().find(|host| host.name == "files").map(|host| host.address(Family::V4).to_string());
        format!("127.0.0.1 localhost\n{shop} {SHOP_HOST}\n{} {FILES_HOST}\n", files.unwrap_or_default())
    }
}

/// The name of a namespace: all of a lab's begin alike.
pub(crate) fn namespace(id: &str, host: &str) -> String {
    format!("qlab-{id}-{host}")
}

/// Whether a destination of a route may be in the lab: documentation, loopback, link-local and multicast ranges.
pub(crate) fn is_lab_destination(destination: &str) -> bool {
    let (address, prefix) = destination.split_once('/').unwrap_or((destination, ""));
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let full = if address.is_ipv4() { 32 } else { 128 };
    let Ok(prefix) = (if prefix.is_empty() { Ok(full) } else { prefix.parse::<u8>() }) else { return false };
    match address {
        IpAddr::V4(v4) => {
            let net = v4.octets();
            (matches!(net, [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _]) && prefix >= 24)
                || (net[0] == 127 && prefix >= 8)
        }
        IpAddr::V6(v6) => {
            let net = v6.segments();
            (net[0] == 0x2001 && net[1] == 0xdb8 && prefix >= 32)
                || (v6.is_loopback() && prefix == 128)
                || (net[0] & 0xffc0 == 0xfe80 && prefix >= 10)
                || (net[0] >> 8 == 0xff && prefix >= 8)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_a_documentation_address_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for host in hosts() {
            for family in [Family::V4, Family::V6] {
                let address = host.address(family);
                assert!(is_lab_destination(&address.to_string()), "{address}");
                assert!(seen.insert(address), "{address} is given twice");
            }
        }
        assert!(seen.insert(GATEWAY_LAN_V4.into()) && seen.insert(GATEWAY_LAN_V6.into()));
    }

    #[test]
    fn ways_out_are_told_from_the_labs_own_routes() {
        for inside in
            ["198.51.100.0/24", "203.0.113.7", "127.0.0.0/8", "2001:db8:a::/48", "fe80::/64", "ff00::/8", "::1"]
        {
            assert!(is_lab_destination(inside), "{inside}");
        }
        for outside in
            ["default", "0.0.0.0/0", "::/0", "198.51.100.0/23", "192.168.0.0/16", "2001::/16", "2000::/3", "8.8.8.8"]
        {
            assert!(!is_lab_destination(outside), "{outside}");
        }
    }
}
