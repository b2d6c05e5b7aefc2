//! Enters: the peer of a connection, what a PROXY header said, the request's `X-Forwarded-For` lines. Leaves: the
//! client's address, the one that bans hang on. It must never believe a word of a peer that is not trusted: else
//! anybody could get anybody else banned.

use std::net::IpAddr;

use ipnet::IpNet;

/// The peers whose word about their clients is taken (`proxy.trusted_proxies`).
#[derive(Debug, Clone, Default)]
pub(super) struct TrustedPeers(Vec<IpNet>);

impl TrustedPeers {
    pub(super) fn new(networks: &[IpNet]) -> Self {
        Self(networks.to_vec())
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An IPv4 address that came in on an IPv6 socket is still an IPv4 address to bans and lists.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Peels off trusted hops, from the nearest to the farthest, and stops at the first that is not trusted.
///
/// `nearest` is the peer, or what a trusted peer's PROXY header named. `forwarded_for` are the request's
/// `X-Forwarded-For` values in the order sent; every proxy appends, so they are read from the right. An entry that is
/// no address ends the walk: the hop that wrote it is the last one known.
pub(super) fn client_address<'a, I>(nearest: IpAddr, forwarded_for: I, trusted: &TrustedPeers) -> IpAddr
where
    I: DoubleEndedIterator<Item = &'a [u8]>,
{
    let mut client = nearest;
    if !trusted.contains(client) {
        return client;
    }
    for line in forwarded_for.rev() {
        for entry in line.rsplit(|byte| *byte == b',') {
            let Some(hop) = parse_hop(entry) else { return client };
            client = hop;
            if !trusted.contains(client) {
                return client;
            }
        }
    }
    client
}

/// One entry of `X-Forwarded-For`: an address, in brackets or not, with a port or not.
fn parse_hop(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(canonical(address));
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(canonical(address.ip()));
    }
    let bracketed = text.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse::<IpAddr>().ok().map(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(nearest: &str, forwarded_for: &[&str], trusted: &[&str]) -> String {
        let trusted = TrustedPeers(trusted.iter().map(|net| net.parse().unwrap()).collect());
        let lines = forwarded_for.iter().map(|line| line.as_bytes());
        client_address(nearest.parse().unwrap(), lines, &trusted).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &["10.0.0.1, 198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn the_rightmost_untrusted_hop_is_the_client_not_what_the_client_wrote_before_it() {
        let trusted = &["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(client("10.0.0.1", &["198.51.100.66, 203.0.113.9"], trusted), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.66, 203.0.113.9, 10.0.0.2"], trusted), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["198.51.100.66", "203.0.113.9"], trusted), "203.0.113.9");
        assert_eq!(client("2001:db8::1", &["[2001:db9::7]:4711"], trusted), "2001:db9::7");
        assert_eq!(client("10.0.0.1", &["203.0.113.9:4711"], trusted), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["::ffff:203.0.113.9"], trusted), "203.0.113.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_hop_that_wrote_it() {
        let trusted = &["10.0.0.0/8"];
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown"], trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], trusted), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[""], trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[], trusted), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], trusted), "10.0.0.3");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_believe_a_stranger(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let stranger: IpAddr = "203.0.113.9".parse().unwrap();
            let trusted = TrustedPeers(vec!["10.0.0.0/8".parse().unwrap()]);
            proptest::prop_assert_eq!(client_address(stranger, [line.as_slice()].into_iter(), &trusted), stranger);
            client_address("10.0.0.1".parse().unwrap(), [line.as_slice()].into_iter(), &trusted);
        }
    }
}
