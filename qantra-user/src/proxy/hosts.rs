//! Enters: the host of a request or of a TLS handshake. Leaves: which site claims it. A lookup must never allocate:
//! it is asked for every request.

use std::collections::HashMap;

use crate::config::SiteIndex;

/// The longest host name DNS knows (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Host names and the sites that claim them. The longest match wins: exact, then the nearest `*.suffix`, then `*`.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<Box<[u8]>, SiteIndex, foldhash::fast::RandomState>,
    /// Suffixes without `*.`, as in `example.org`.
    suffixes: HashMap<Box<[u8]>, SiteIndex, foldhash::fast::RandomState>,
    fallback: Option<SiteIndex>,
}

/// Two sites claim one host.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) host: String,
    pub(super) by: SiteIndex,
}

impl HostTable {
    /// Adds a host as written in the config.
    ///
    /// # Errors
    /// [`Claimed`] when another site has it already.
    pub(super) fn add(&mut self, host: &str, site: SiteIndex) -> Result<(), Claimed> {
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        let before = if host == "*" {
            self.fallback.replace(site)
        } else if let Some(suffix) = host.strip_prefix("*.") {
            self.suffixes.insert(suffix.as_bytes().into(), site)
        } else {
            self.exact.insert(host.as_bytes().into(), site)
        };
        match before {
            Some(by) if by != site => Err(Claimed { host, by }),
            _ => Ok(()),
        }
    }

    /// The site that claims a host, given without port.
    pub(super) fn find(&self, host: &str) -> Option<SiteIndex> {
        self.find_named(host).or(self.fallback)
    }

    fn find_named(&self, host: &str) -> Option<SiteIndex> {
        let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
        let mut buffer = [0_u8; HOST_BYTES_MAX];
        let lower = buffer.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let lower: &[u8] = lower;
        if let Some(site) = self.exact.get(lower) {
            return Some(*site);
        }
        if self.suffixes.is_empty() {
            return None;
        }
        let dots = lower.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        dots.map(|(at, _)| &lower[at + 1..]).find_map(|suffix| self.suffixes.get(suffix)).copied()
    }
}

/// A host without its port: `example.org:8080` is `example.org`, `[2001:db8::1]:443` is `[2001:db8::1]`.
pub(super) fn without_port(authority: &str) -> &str {
    if authority.starts_with('[') {
        return authority.find(']').map_or(authority, |end| &authority[..=end]);
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_match_wins() {
        let mut table = HostTable::default();
        for (host, site) in [("example.org", 0), ("*.example.org", 1), ("*.api.example.org", 2), ("*", 3)] {
            table.add(host, SiteIndex(site)).unwrap();
        }
        let found = |host: &str| table.find(host).map(|site| site.0);
        assert_eq!(found("example.org"), Some(0));
        assert_eq!(found("EXAMPLE.org."), Some(0));
        assert_eq!(found("www.Example.Org"), Some(1));
        assert_eq!(found("a.b.example.org"), Some(1));
        assert_eq!(found("v1.api.example.org"), Some(2));
        assert_eq!(found("badexample.org"), Some(3));
        assert_eq!(found(&"a".repeat(400)), Some(3));
        assert_eq!(found(""), Some(3));
    }

    #[test]
    fn without_a_fallback_an_unknown_host_is_nobodys() {
        let mut table = HostTable::default();
        table.add("example.org", SiteIndex(0)).unwrap();
        assert_eq!(table.find("example.com"), None);
        assert_eq!(table.find(&"a".repeat(400)), None);
    }

    #[test]
    fn two_sites_may_not_claim_one_host() {
        let mut table = HostTable::default();
        table.add("example.org", SiteIndex(0)).unwrap();
        table.add("example.org", SiteIndex(0)).unwrap();
        let claimed = table.add("Example.ORG", SiteIndex(1)).unwrap_err();
        assert_eq!(claimed, Claimed { host: "example.org".into(), by: SiteIndex(0) });
    }

    #[test]
    fn ports_are_cut_off() {
        assert_eq!(without_port("example.org:8080"), "example.org");
        assert_eq!(without_port("example.org"), "example.org");
        assert_eq!(without_port("[2001:db8::1]:443"), "[2001:db8::1]");
        assert_eq!(without_port("[2001:db8::1]"), "[2001:db8::1]");
    }
}
