//! Enters: `[kernel.syn_cookies]`, and what the network stack of this box would do with a SYN. Leaves: the kernel half told
//! when it may answer SYNs and in whose name, and why it may not. It must never change a setting of the box.
//!
//! The stack checks the cookie that comes back, so what it would not take must not be sent: `tcp_syncookies` says whether it
//! takes any, `tcp_timestamps` whether it finds more in them than a segment size. Addresses of the box are listed, because a
//! listener without an address would seem to listen for every host behind it.

use std::{collections::HashSet, fs, net::IpAddr};

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use qantra_common::{
    cookie::{self, CookieCounts, LOCAL_ADDRESSES_MAX, SynCookies},
    map,
    packet::Address,
};

use super::{InterfaceStatus, Kernel, Rung, XdpError, interface::Found};
use crate::config::{Role, SynCookieMode, SynCookiesConfig};

/// How SYNs are answered, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SynCookieStatus {
    /// Whether the kernel half answers at all.
    pub is_on: bool,
    /// What keeps it from that, or makes it worse than it could be.
    pub problem: Option<String>,
    /// SYNs that the network stack was asked about, and wanted to have itself: its queue had room.
    pub not_needed: u64,
    /// SYN-ACKs that could not be written into their frame.
    pub failed: u64,
}

/// The maps behind it.
pub(super) struct CookieTable {
    local: HashMap<MapData, [u8; 16], u32>,
    counts: PerCpuArray<MapData, CookieCounts>,
    config: SynCookiesConfig,
    /// What the kernel half was told last, and what is wrong with it.
    told: SynCookies,
    problem: Option<String>,
}

impl CookieTable {
    pub(super) fn new(local: Map, counts: Map, config: &SynCookiesConfig) -> Result<Self, XdpError> {
        Ok(Self {
            local: local.try_into().map_err(XdpError::map(map::LOCAL_ADDRESSES))?,
            counts: counts.try_into().map_err(XdpError::map(map::COOKIE_COUNTS))?,
            config: config.clone(),
            told: SynCookies::default(),
            problem: None,
        })
    }

    /// Puts the box's addresses of now in the place of those before.
    fn list(&mut self, addresses: &HashSet<[u8; 16]>) -> Result<(), XdpError> {
        let failed = XdpError::map(map::LOCAL_ADDRESSES);
        let before = self.local.keys().collect::<Result<HashSet<_>, _>>().map_err(&failed)?;
        for gone in before.difference(addresses) {
            self.local.remove(gone).map_err(&failed)?;
        }
        for new in addresses.difference(&before).take(LOCAL_ADDRESSES_MAX as usize) {
            self.local.insert(new, 1, 0).map_err(&failed)?;
        }
        Ok(())
    }
}

impl Kernel {
    /// Looks again at what decides about SYN cookies: the box's addresses, the network stack's settings, the interfaces. To be
    /// called now and then: addresses come and go. The log says what is wrong when that is not what it was.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn refresh_syn_cookies(&mut self) -> Result<(), XdpError> {
        let (settings, problem) = settings(&self.cookies.config, &Stack::read(), self.interfaces.found());
        if settings.mode != cookie::OFF {
            let is_native = |status: &InterfaceStatus| matches!(status.rung, Rung::NativeFrags | Rung::Native);
            let left_out = if self.statuses.iter().any(is_native) { vlans() } else { HashSet::new() };
            self.cookies.list(&own_addresses(&left_out))?;
        }
        if settings != self.cookies.told {
            self.plane
                .set_syn_cookies(settings)
                .map_err(|error| XdpError::Call { call: "SYN cookies", source: std::io::Error::other(error) })?;
            self.cookies.told = settings;
        }
        if problem != self.cookies.problem {
            match &problem {
                Some(problem) => tracing::warn!("{problem}"),
                None => tracing::info!("SYN cookies work again"),
            }
            self.cookies.problem = problem;
        }
        Ok(())
    }

    /// How SYNs are answered.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn syn_cookies(&self) -> Result<SynCookieStatus, XdpError> {
        let counts = self.cookies.counts.get(&0, 0).map_err(XdpError::map(map::COOKIE_COUNTS))?;
        Ok(SynCookieStatus {
            is_on: self.cookies.told.mode != cookie::OFF,
            problem: self.cookies.problem.clone(),
            not_needed: counts.iter().map(|cpu| cpu.not_needed).sum(),
            failed: counts.iter().map(|cpu| cpu.failed).sum(),
        })
    }
}

/// What keeps SYN cookies from working with this configuration on this box; `None` when nothing does.
#[must_use]
pub fn syn_cookie_problem(config: &SynCookiesConfig) -> Option<String> {
    settings(config, &Stack::read(), &[]).1
}

/// The VLAN interfaces of this thread's network namespace. Native XDP does not see a tag that the network card took out of
/// the frame, and its answer would go to another VLAN.
fn vlans() -> HashSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/vlan/config").unwrap_or_default();
    // Two lines of heading, then `NAME | VLAN | BELOW`.
    text.lines().skip(2).filter_map(|line| Some(line.split_once('|')?.0.trim().to_owned())).collect()
}

/// The addresses of all interfaces but some: a host answers for each by any of them.
fn own_addresses(left_out: &HashSet<String>) -> HashSet<[u8; 16]> {
    let address = |found: nix::ifaddrs::InterfaceAddress| {
        if left_out.contains(&found.interface_name) {
            return None;
        }
        let address = found.address?;
        let v4 = || Some(IpAddr::from(address.as_sockaddr_in()?.ip()));
        let v6 = || Some(IpAddr::from(address.as_sockaddr_in6()?.ip()));
        let bytes = match v4().or_else(v6)? {
            IpAddr::V4(v4) => Address::v4(u32::from_ne_bytes(v4.octets())).bytes(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Some(bytes)
    };
    nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(address).collect()
}

/// Settings of the network stack; `None` where the kernel has no such setting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stack {
    syncookies: Option<u64>,
    timestamps: Option<u64>,
    sack: Option<u64>,
    window_scaling: Option<u64>,
    /// The most that receive buffers grow to.
    receive_bytes_max: u64,
    /// Whether connections that are seen from their middle on are tracked.
    tracks_loosely: Option<u64>,
}

impl Stack {
    /// Of the network namespace of this thread.
    fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/sys/net/{name}")).ok();
        let last = |name: &str| text(name)?.split_whitespace().last()?.parse().ok();
        Self {
            syncookies: last("ipv4/tcp_syncookies"),
            timestamps: last("ipv4/tcp_timestamps"),
            sack: last("ipv4/tcp_sack"),
            window_scaling: last("ipv4/tcp_window_scaling"),
            receive_bytes_max: last("ipv4/tcp_rmem").max(last("core/rmem_max")).unwrap_or(0),
            tracks_loosely: last("netfilter/nf_conntrack_tcp_loose"),
        }
    }

    /// What its cookies can hold.
    fn options(&self) -> u32 {
        if self.timestamps != Some(2) {
            return 0;
        }
        let option = |is_on: Option<u64>, bit| if is_on.is_some_and(|value| value != 0) { bit } else { 0 };
        cookie::IN_TIMESTAMP | option(self.sack, cookie::SACK) | option(self.window_scaling, cookie::SCALE)
    }

    /// The window scale that it takes itself to have offered (`tcp_select_initial_window`).
    fn window_scale(&self) -> u32 {
        self.receive_bytes_max.checked_ilog2().unwrap_or(0).saturating_sub(15).min(14)
    }
}

/// What the kernel half is told, and what the user is.
fn settings(config: &SynCookiesConfig, stack: &Stack, interfaces: &[Found]) -> (SynCookies, Option<String>) {
    const IPV4_AND_TCP: u32 = 40;
    const IPV6_AND_TCP: u32 = 60;
    if config.mode == SynCookieMode::Off {
        return (SynCookies::default(), None);
    }
    let off = |why: &str| (SynCookies::default(), Some(format!("SYN cookies are off: {why}")));
    match stack.syncookies {
        None => return off("the kernel was built without them; connection requests have their budgets alone"),
        Some(0) => return off("net.ipv4.tcp_syncookies is 0; set it to 1, or `kernel.syn_cookies.mode` to \"off\""),
        Some(_) => {}
    }
    let problem = (stack.tracks_loosely == Some(0)).then(|| {
        "SYN cookies: net.netfilter.nf_conntrack_tcp_loose is 0, so a firewall that tracks connections calls the clients' \
         answers invalid; set it to 1, or exempt your ports from tracking"
            .to_owned()
    });
    let mtu = interfaces.iter().filter(|found| found.role == Role::Wan).map(|found| found.mtu).min().unwrap_or(1_500);
    let windows_per_s = 1_000_000_000 >> cookie::WINDOW_SHIFT;
    let settings = SynCookies {
        mode: if config.mode == SynCookieMode::Always { cookie::ALWAYS } else { cookie::AUTO },
        window_syns: config.above_syn_pps / windows_per_s,
        mss_max_v4: mtu.saturating_sub(IPV4_AND_TCP).clamp(536, 65_495),
        mss_max_v6: mtu.saturating_sub(IPV6_AND_TCP).clamp(1_220, 65_475),
        options: stack.options(),
        window_scale: stack.window_scale(),
    };
    (settings, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: Stack = Stack {
        syncookies: Some(1),
        timestamps: Some(1),
        sack: Some(1),
        window_scaling: Some(1),
        receive_bytes_max: 6_291_456,
        tracks_loosely: None,
    };

    #[test]
    fn what_the_stack_would_not_take_is_not_sent() {
        let config = SynCookiesConfig::default();
        assert_eq!(config.mode, SynCookieMode::Auto);
        let (plain, problem) = settings(&config, &STACK, &[]);
        assert_eq!((plain.mode, plain.options, problem), (cookie::AUTO, 0, None));
        assert_eq!((plain.mss_max_v4, plain.mss_max_v6), (1_460, 1_440));
        let (whole, _) = settings(&config, &Stack { timestamps: Some(2), ..STACK }, &[]);
        assert_eq!((whole.options, whole.window_scale), (cookie::IN_TIMESTAMP | cookie::SACK | cookie::SCALE, 7));
        let (no_scale, _) = settings(&config, &Stack { timestamps: Some(2), window_scaling: Some(0), ..STACK }, &[]);
        assert_eq!(no_scale.options, cookie::IN_TIMESTAMP | cookie::SACK);
    }

    #[test]
    fn it_is_never_silently_inert() {
        let config = SynCookiesConfig::default();
        for syncookies in [None, Some(0)] {
            let (off, problem) = settings(&config, &Stack { syncookies, ..STACK }, &[]);
            assert_eq!(off, SynCookies::default());
            assert!(problem.is_some_and(|text| text.starts_with("SYN cookies are off: ")));
        }
        let (on, problem) = settings(&config, &Stack { tracks_loosely: Some(0), ..STACK }, &[]);
        assert!(on.mode == cookie::AUTO && problem.is_some_and(|text| text.contains("nf_conntrack_tcp_loose")));
        let off = SynCookiesConfig { mode: SynCookieMode::Off, ..config };
        assert_eq!(settings(&off, &Stack { syncookies: Some(0), ..STACK }, &[]), (SynCookies::default(), None));
    }
}
