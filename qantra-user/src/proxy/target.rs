//! Enters: a site's `[[site.target]]` sections, results of connects and health checks. Leaves: which target gets a
//! request. It must never leave a site without a target: when all look ill, each is tried all the same.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use pingora::upstreams::peer::HttpPeer;

use crate::config::{ProxyConfig, TargetConfig};

/// How long a target without health checks is avoided after a failed connect.
const AVOID_MS: u64 = 5_000;
/// Slots of the weighted round; weights are scaled down to fit.
const ROUND_MAX: usize = 1_024;

/// One origin server.
#[derive(Debug)]
pub(super) struct Target {
    /// As configured, for messages.
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) peer: HttpPeer,
    healthy: AtomicBool,
    avoid_until_ms: AtomicU64,
}

impl Target {
    /// Resolves the address.
    ///
    /// # Errors
    /// When it is no `host:port` or the name does not resolve.
    pub(super) fn new(config: &TargetConfig, proxy: &ProxyConfig) -> io::Result<Self> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let address = config.address.to_socket_addrs()?.next().ok_or_else(none)?;
        let host = config.address.rsplit_once(':').map_or(config.address.as_str(), |(host, _)| host);
        let sni = match (&config.server_name, config.tls) {
            (Some(name), _) => name.clone(),
            (None, true) => host.to_owned(),
            (None, false) => String::new(),
        };
        let mut peer = HttpPeer::new(address, config.tls, sni);
        peer.options.connection_timeout = Some(Duration::from_millis(proxy.connect_timeout_ms));
        peer.options.total_connection_timeout = Some(Duration::from_millis(proxy.connect_timeout_ms * 2));
        peer.options.read_timeout = Some(Duration::from_millis(proxy.upstream_read_timeout_ms));
        peer.options.write_timeout = Some(Duration::from_millis(proxy.upstream_read_timeout_ms));
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        Ok(Self {
            name: config.address.clone(),
            address,
            peer,
            healthy: AtomicBool::new(true),
            avoid_until_ms: AtomicU64::new(0),
        })
    }

    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// A connect failed: others come first for a while.
    pub(super) fn avoid(&self, now_ms: u64) {
        self.avoid_until_ms.store(now_ms + AVOID_MS, Ordering::Relaxed);
    }

    fn looks_well(&self, now_ms: u64) -> bool {
        self.is_healthy() && self.avoid_until_ms.load(Ordering::Relaxed) <= now_ms
    }
}

/// Targets of one request that were tried already; of the 65th and later ones nothing is remembered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tried(u64);

impl Tried {
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= 1_u64.checked_shl(index as u32).unwrap_or(0);
    }

    fn has(self, index: usize) -> bool {
        self.0 & 1_u64.checked_shl(index as u32).unwrap_or(0) != 0
    }
}

/// A site's targets, in a round that meets each as often as its weight says.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) all: Vec<Target>,
    round: Vec<u16>,
    next: AtomicUsize,
}

impl Targets {
    pub(super) fn new(all: Vec<Target>, weights: &[usize]) -> Self {
        Self { round: weighted_round(weights), all, next: AtomicUsize::new(0) }
    }

    /// The next target, by preference: well and untried, then untried, then any.
    pub(super) fn pick(&self, tried: Tried, now_ms: u64) -> Option<(usize, &Target)> {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let nth = |step: usize| {
            let index = usize::from(*self.round.get((start + step) % self.round.len().max(1))?);
            Some((index, self.all.get(index)?))
        };
        let round = || (0..self.round.len()).filter_map(nth);
        round()
            .find(|(index, target)| !tried.has(*index) && target.looks_well(now_ms))
            .or_else(|| round().find(|(index, _)| !tried.has(*index)))
            .or_else(|| nth(0))
    }
}

/// Smooth weighted round robin, written out once: 3 and 1 make `a a b a`, not `a a a b`.
fn weighted_round(weights: &[usize]) -> Vec<u16> {
    let weights: Vec<i64> = weights.iter().map(|weight| (*weight).clamp(1, 1_000_000) as i64).collect();
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let sum: i64 = weights.iter().map(|weight| weight / divisor).sum();
    let scale = (sum as usize).div_ceil(ROUND_MAX).max(1) as i64;
    let weights: Vec<i64> = weights.iter().map(|weight| (weight / divisor / scale).max(1)).collect();
    let sum: i64 = weights.iter().sum();
    let mut current = vec![0_i64; weights.len()];
    let mut round = Vec::with_capacity(sum as usize);
    for _ in 0..sum {
        for (place, weight) in current.iter_mut().zip(&weights) {
            *place += weight;
        }
        let highest = (0..current.len()).rev().max_by_key(|index| current[*index]).unwrap_or(0);
        current[highest] -= sum;
        round.push(highest as u16);
    }
    round
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(weights: &[usize]) -> Targets {
        let target = |port: usize| {
            let config = TargetConfig {
                address: format!("127.0.0.1:{}", 8_000 + port),
                weight: 1,
                tls: false,
                server_name: None,
            };
            Target::new(&config, &ProxyConfig::default()).unwrap()
        };
        Targets::new((0..weights.len()).map(target).collect(), weights)
    }

    #[test]
    fn weights_share_the_round_smoothly() {
        assert_eq!(weighted_round(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(weighted_round(&[2, 2]), [0, 1]);
        assert_eq!(weighted_round(&[0]), [0]);
        let long = weighted_round(&[1_000_000, 1]);
        assert!(long.len() <= ROUND_MAX + 2 && long.contains(&1));
    }

    #[test]
    fn the_ill_and_the_tried_come_last() {
        let targets = targets(&[1, 1, 1]);
        targets.all[1].set_healthy(false);
        let mut tried = Tried::default();
        let (first, _) = targets.pick(tried, 0).unwrap();
        assert_ne!(first, 1);
        tried.add(first);
        let (second, _) = targets.pick(tried, 0).unwrap();
        assert!(second != first && second != 1);
        tried.add(second);
        assert_eq!(targets.pick(tried, 0).unwrap().0, 1);
        tried.add(1);
        assert!(targets.pick(tried, 0).is_some());
    }

    #[test]
    fn a_failed_connect_is_avoided_for_a_while() {
        let targets = targets(&[1, 1]);
        targets.all[0].avoid(1_000);
        assert!((0..10).all(|_| targets.pick(Tried::default(), 2_000).unwrap().0 == 1));
        assert!((0..10).any(|_| targets.pick(Tried::default(), 1_000 + AVOID_MS).unwrap().0 == 0));
    }

    #[test]
    fn a_target_must_resolve() {
        let config = TargetConfig { address: "nonsense".into(), weight: 1, tls: false, server_name: None };
        assert!(Target::new(&config, &ProxyConfig::default()).is_err());
    }
}
