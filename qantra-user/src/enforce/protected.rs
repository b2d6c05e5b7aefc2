//! What must never be banned, found out from the configuration and from `/proc`.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::{Config, canonical_net};

/// Why something is protected.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// An address of this box.
    Own,
    /// A default gateway of this box.
    Gateway,
    /// A resolver of this box.
    Resolver,
    /// An origin server or decoy of this site: banning it would take the site down.
    Target(String),
    /// Listed in `protect.networks`.
    Config,
    /// Listed in `proxy.trusted_proxies`.
    TrustedProxy,
    /// On the allowlist, with this comment.
    Allowlist(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("an address of this box"),
            Self::Gateway => f.write_str("the default gateway"),
            Self::Resolver => f.write_str("a resolver of this box"),
            Self::Target(site) => write!(f, "an origin server of site `{site}`"),
            Self::Config => f.write_str("listed in `protect.networks`"),
            Self::TrustedProxy => f.write_str("listed in `proxy.trusted_proxies`"),
            Self::Allowlist(comment) if comment.is_empty() => f.write_str("on the allowlist"),
            Self::Allowlist(comment) => write!(f, "on the allowlist ({comment})"),
        }
    }
}

/// What must never be banned, each with the reason. The allowlist is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProtectedSet {
    entries: Vec<(IpNet, Why)>,
}

impl ProtectedSet {
    /// What the configuration names, and what this box knows of itself now. Addresses change (DHCP, a new interface):
    /// call it again from time to time.
    #[must_use]
    pub fn discover(config: &Config) -> Self {
        let mut set = Self::from_config(config);
        // `/proc/self/net` is that of the process's own network namespace.
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        set.extend(own_ipv4(&read("/proc/self/net/fib_trie")), &Why::Own);
        set.extend(own_ipv6(&read("/proc/self/net/if_inet6")), &Why::Own);
        if config.protect.auto {
            set.extend(gateways_ipv4(&read("/proc/self/net/route")), &Why::Gateway);
            set.extend(gateways_ipv6(&read("/proc/self/net/ipv6_route")), &Why::Gateway);
            set.extend(resolvers(&read("/etc/resolv.conf")), &Why::Resolver);
        }
        set.finish()
    }

    /// What the configuration names, and loopback.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let mut set = Self::default();
        let loopback = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
        set.extend(loopback.into_iter().filter_map(|(address, len)| IpNet::new(address, len).ok()), &Why::Own);
        set.extend(config.protect.networks.iter().copied(), &Why::Config);
        set.extend(config.proxy.trusted_proxies.iter().copied(), &Why::TrustedProxy);
        for site in &config.sites {
            let addresses = site.targets.iter().map(|target| &target.address).chain(&site.decoy);
            let nets = addresses.filter_map(|text| text.parse::<SocketAddr>().ok()).map(|address| address.ip().into());
            set.extend(nets, &Why::Target(site.name.clone()));
        }
        set.finish()
    }

    /// The entries, ordered and without doubles.
    #[must_use]
    pub fn entries(&self) -> &[(IpNet, Why)] {
        &self.entries
    }

    fn extend(&mut self, nets: impl IntoIterator<Item = IpNet>, why: &Why) {
        self.entries.extend(nets.into_iter().map(|net| (canonical_net(net), why.clone())));
    }

    /// Sorted, so that two discoveries of the same box are equal; the first reason of a prefix stays.
    fn finish(mut self) -> Self {
        self.entries.sort();
        self.entries.dedup_by_key(|(net, _)| *net);
        self
    }
}

/// `/proc/net/fib_trie`: a leaf line names an address, the line below its prefix length and type.
fn own_ipv4(text: &str) -> Vec<IpNet> {
    let mut leaf = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse::<Ipv4Addr>().ok();
        } else if let Some(len) = line.strip_suffix(" host LOCAL").and_then(|rest| rest.strip_prefix('/'))
            && let (Some(address), Ok(len)) = (leaf, len.parse())
            && let Ok(net) = IpNet::new(address.into(), len)
        {
            found.push(net);
        }
    }
    found
}

/// `/proc/net/if_inet6`: 32 hex digits, then index, length, scope, flags and name.
fn own_ipv6(text: &str) -> Vec<IpNet> {
    text.lines().filter_map(|line| hex_ipv6(line.split_whitespace().next()?)).map(IpNet::from).collect()
}

/// `/proc/net/route`: the address is printed as one number in the machine's own byte order.
fn gateways_ipv4(text: &str) -> Vec<IpNet> {
    let gateway = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (destination, gateway) = (columns.next()?, columns.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0).then(|| IpNet::from(IpAddr::from(gateway.to_ne_bytes())))
    };
    text.lines().filter_map(gateway).collect()
}

/// `/proc/net/ipv6_route`: destination, its length, source, its length, next hop.
fn gateways_ipv6(text: &str) -> Vec<IpNet> {
    let gateway = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (length, next_hop) = (columns.get(1)?, hex_ipv6(columns.get(4)?)?);
        (*length == "00" && next_hop != IpAddr::V6(Ipv6Addr::UNSPECIFIED)).then(|| IpNet::from(next_hop))
    };
    text.lines().filter_map(gateway).collect()
}

/// resolv.conf(5); a zone such as `%eth0` is no part of what a packet carries.
fn resolvers(text: &str) -> Vec<IpNet> {
    let resolver = |line: &str| {
        let address = line.trim().strip_prefix("nameserver")?.split_whitespace().next()?;
        address.split('%').next()?.parse::<IpAddr>().ok().map(IpNet::from)
    };
    text.lines().filter_map(resolver).collect()
}

fn hex_ipv6(text: &str) -> Option<IpAddr> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(|bits| Ipv6Addr::from(bits).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(nets: Vec<IpNet>) -> Vec<String> {
        nets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_of_the_box_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\nLocal:\n     |-- 127.0.0.0\n        /8 host LOCAL\n     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(texts(own_ipv4(trie)), ["127.0.0.0/8", "192.0.2.7/32"]);
        let inet6 = "20010db8000000000000000000000001 02 40 00 80 eth0\nnonsense\n";
        assert_eq!(texts(own_ipv6(inet6)), ["2001:db8::1/128"]);
    }

    #[test]
    fn gateways_and_resolvers_are_read() {
        let number = u32::from_ne_bytes([192, 0, 2, 1]);
        let route = format!(
            "Iface\tDestination\tGateway\tFlags\neth0\t00000000\t{number:08X}\t0003\neth0\t000200C0\t00000000\t0001\n"
        );
        assert_eq!(texts(gateways_ipv4(&route)), ["192.0.2.1/32"]);
        let zeros = "0".repeat(32);
        let route6 = format!(
            "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 1 0 00000003 eth0\n{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 00200200 lo\n"
        );
        assert_eq!(texts(gateways_ipv6(&route6)), ["fe80::1/128"]);
        let resolv = "# comment\nnameserver 192.0.2.53\nnameserver fe80::53%eth0\nsearch example.org\n";
        assert_eq!(texts(resolvers(resolv)), ["192.0.2.53/32", "fe80::53/128"]);
    }

    #[test]
    fn this_box_protects_its_loopback() {
        let set = ProtectedSet::discover(&Config::default());
        assert!(set.entries().iter().any(|(net, why)| net.to_string() == "127.0.0.0/8" && *why == Why::Own));
    }
}
