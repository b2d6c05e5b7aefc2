//! Enters: conversations of LAN devices. Leaves: findings about calls home, of each pair one, and about uploads, of each pair at
//! most one a day. Honest programs poll and back up, so these are told and never acted on unless a rule of the policy names their class.
//! It must never look at anybody but devices of the LAN.

use std::{collections::HashSet, net::IpAddr};

use super::{
    AttackClass, Evidence, Finding, Measurement, Severity, ThresholdOrigin,
    episode::{Line, furthest},
};
use crate::{
    clock::Now,
    config::{BeaconingConfig, DetectConfig, ExfiltrationConfig, HostSweepConfig},
    flow::{
        ConversationEvent, ConversationObservation, DAY_MS, Device, LocalNetworks, MINUTE_MS, PairFlow, PairTable,
        PairView, Regularity, TEN_MINUTES_MS, TEN_SECONDS_MS,
    },
};

/// Version of the detectors in findings: that of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A habit that is as old as what the box knows of the device may always have been there.
const UNSURE: f32 = 0.4;
/// One that began later, or an upload: still what an honest program that somebody installed does.
const LIKELY: f32 = 0.6;
/// From here on something is known of a device.
const SETTLED_MS: u64 = TEN_MINUTES_MS;
/// Calls that go on for less are a page's that somebody reads.
const SPAN_MIN_MS: u64 = 3 * MINUTE_MS;
/// Shorter gaps are the chatter of one task.
const GAP_MIN_MS: u32 = 4_000;
/// Gaps within half of their median: of a timer all, but for those of a device that slept.
const NEAR_MIN: f32 = 0.8;
/// A device with more regular pairs is one that watches others.
const REGULAR_MAX: u32 = 3;
/// Who uploads gets acknowledgements; whose answers weigh more than a tenth converses.
const UPLOAD_RATIO: u32 = 10;
/// Of a device about which nothing is known, an upload has to be so many times the least.
const UNSETTLED_FACTOR: u32 = 10;
const DNS_PORT: u16 = 53;
/// A question for a name, with its headers, has 50 to 80 bytes; one that carries something else has many more.
const DNS_QUERY_BYTES: u64 = 120;

/// Finds calls home and uploads over a bounded table of pairs.
#[derive(Debug)]
pub(super) struct PairDetectors {
    table: PairTable,
    local: LocalNetworks,
    /// Devices and whom they call, told before this process began.
    told_before: HashSet<(IpAddr, String)>,
}

impl PairDetectors {
    pub(super) fn new(seed: u64) -> Self {
        Self { table: PairTable::new(seed), local: LocalNetworks::default(), told_before: HashSet::new() }
    }

    /// Calls that need not be told again: devices, and destinations as findings name them.
    pub(super) fn set_told(&mut self, told: impl IntoIterator<Item = (IpAddr, String)>) {
        self.told_before = told.into_iter().collect();
    }

    pub(super) fn set_local(&mut self, local: LocalNetworks) {
        self.local = local;
    }

    pub(super) const fn table(&self) -> &PairTable {
        &self.table
    }

    /// Counts one observation and adds what it gives away to `out`. Returns the line that it crossed by asking many hosts.
    pub(super) fn observe(
        &mut self,
        config: &DetectConfig,
        seen: &ConversationObservation,
        at_ms: u64,
        now: Now,
        out: &mut Vec<Finding>,
    ) -> Option<Line> {
        if !self.is_watched(seen) {
            return None;
        }
        let mut newly_regular = false;
        let PairView { pair, device, is_call, devices } = self.table.observe(seen, at_ms);
        let sweep = udp_sweep(&config.host_sweep, device, at_ms);
        match seen.event {
            ConversationEvent::Began if is_call && calls_home_at_all(&config.beaconing, seen) => {
                if let Some(regularity) = regular(&config.beaconing, pair, at_ms) {
                    newly_regular = !pair.is_regular;
                    // Told at the next call: by then every pair of a device that watches others is known as regular.
                    if !newly_regular && !pair.is_told && is_beacon(&config.beaconing, pair, device, devices, at_ms) {
                        pair.is_told = device.moved_habit(seen.port, regularity.median_ms, pair.first_ms)
                            || self.told_before.contains(&(seen.source, whom(seen)));
                        if is_news(pair, device, at_ms) {
                            out.push(beaconing(config, seen, pair, device, &regularity, now));
                        }
                    }
                    if pair.is_told {
                        device.keeps_habit(seen.port, regularity.median_ms, at_ms);
                    }
                    pair.is_regular = true;
                }
            }
            ConversationEvent::Began => {}
            ConversationEvent::Carried { .. } => {
                let upload = upload(config, seen, pair, device, devices, at_ms);
                if let Some(measurements) = upload.filter(|_| !is_recent(pair.upload_told_ms, at_ms)) {
                    pair.upload_told_ms = at_ms;
                    out.push(finding(AttackClass::Exfiltration, LIKELY, seen, measurements, now));
                }
            }
        }
        if newly_regular {
            self.table.regular(seen, at_ms);
        }
        sweep
    }

    /// A device of the LAN, and somebody outside of it; or any resolver, since names that are asked for leave the LAN.
    fn is_watched(&self, seen: &ConversationObservation) -> bool {
        let is_outside = !self.local.contains(seen.destination) && is_one_host(seen.destination);
        self.local.contains(seen.source) && (is_outside || seen.port == DNS_PORT)
    }
}

/// Many hosts asked for a service by UDP. The kernel half counts hosts by TCP and ICMP: of datagrams to one port it does not know
/// which are the first to somebody.
fn udp_sweep(config: &HostSweepConfig, device: &Device, at_ms: u64) -> Option<Line> {
    let lines = [
        Line::new("udp_hosts_per_10s", device.asked_10s(at_ms), config.hosts_per_10s, TEN_SECONDS_MS),
        Line::new("udp_hosts_per_10min", device.asked_10min(at_ms), config.hosts_per_10min, TEN_MINUTES_MS),
    ];
    furthest(&lines).copied()
}

fn is_one_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !(address.is_multicast() || address.is_loopback() || address.is_unspecified() || is_broadcast)
}

const fn is_recent(told_ms: u64, at_ms: u64) -> bool {
    told_ms != 0 && at_ms.saturating_sub(told_ms) < DAY_MS
}

/// Whether the pair began when the device was known already.
const fn is_new_habit(pair: &PairFlow, device: &Device) -> bool {
    pair.first_ms.saturating_sub(device.first_ms) >= SETTLED_MS
}

/// A habit is told once. Of those that are as old as the device, which things with a maker to ask have, one a day, and
/// none that nobody answers: a maker who is gone.
fn is_news(pair: &mut PairFlow, device: &mut Device, at_ms: u64) -> bool {
    let is_answered = pair.received_bytes > 0 || pair.sent_bytes == 0;
    let is_new = is_new_habit(pair, device);
    if pair.is_told || !is_new && (is_recent(device.habit_told_ms, at_ms) || !is_answered) {
        return false;
    }
    pair.is_told = true;
    if !is_new {
        device.habit_told_ms = at_ms;
    }
    true
}

fn calls_home_at_all(config: &BeaconingConfig, seen: &ConversationObservation) -> bool {
    !config.ignored_ports.contains(&seen.port)
        && !config.ignored_networks.iter().any(|net| net.contains(&seen.destination))
}

/// Regular gaps, enough of them, over long enough.
fn regular(config: &BeaconingConfig, pair: &PairFlow, at_ms: u64) -> Option<Regularity> {
    let seen = pair.gaps.regularity()?;
    let is_long = at_ms.saturating_sub(pair.first_ms) >= SPAN_MIN_MS;
    let is_timer = seen.spread <= config.spread_max && seen.near >= NEAR_MIN && seen.median_ms >= GAP_MIN_MS;
    (is_long && is_timer && seen.gaps >= config.intervals_min as usize).then_some(seen)
}

fn is_beacon(config: &BeaconingConfig, pair: &PairFlow, device: &Device, devices: u32, at_ms: u64) -> bool {
    let is_small = |bytes: u64| bytes / u64::from(pair.calls.max(1)) <= u64::from(config.bytes_per_call_max);
    devices <= config.devices_max
        && device.regular_pairs(at_ms) <= REGULAR_MAX
        && is_small(pair.sent_bytes)
        && is_small(pair.received_bytes)
}

fn beaconing(
    config: &DetectConfig,
    seen: &ConversationObservation,
    pair: &PairFlow,
    device: &Device,
    regularity: &Regularity,
    now: Now,
) -> Finding {
    let per_call = |bytes: u64| (bytes / u64::from(pair.calls.max(1))) as f64;
    let limit = f64::from(config.beaconing.bytes_per_call_max);
    let measurements = vec![
        measurement("regular_gaps", regularity.gaps as f64, f64::from(config.beaconing.intervals_min)),
        measurement("gap_spread", f64::from(regularity.spread), f64::from(config.beaconing.spread_max)),
        measurement("gap_median_s", f64::from(regularity.median_ms) / 1_000.0, 0.0),
        measurement("gap_skew", f64::from(regularity.skew), 0.0),
        measurement("calls", f64::from(pair.calls), 0.0),
        measurement("sent_bytes_per_call", per_call(pair.sent_bytes), limit),
        measurement("received_bytes_per_call", per_call(pair.received_bytes), limit),
    ];
    finding(AttackClass::Beaconing, if is_new_habit(pair, device) { LIKELY } else { UNSURE }, seen, measurements, now)
}

/// Far more than the device used to send to anybody in such a time, hardly anything back, and to whom few talk.
fn upload(
    config: &DetectConfig,
    seen: &ConversationObservation,
    pair: &PairFlow,
    device: &Device,
    devices: u32,
    at_ms: u64,
) -> Option<Vec<Measurement>> {
    let config = &config.exfiltration;
    let (sent_kib, received_kib) = (pair.sent_kib_10min(at_ms), pair.received_kib_10min(at_ms));
    if seen.port == DNS_PORT {
        return names(config, pair, at_ms);
    }
    let least_kib = config.mib_per_10min.saturating_mul(1_024);
    let is_settled = at_ms.saturating_sub(device.first_ms) >= SETTLED_MS;
    let line_kib = if is_settled {
        least_kib.max(device.usual_kib().saturating_mul(config.factor))
    } else {
        least_kib.saturating_mul(UNSETTLED_FACTOR)
    };
    let is_one_way = sent_kib >= received_kib.saturating_mul(UPLOAD_RATIO);
    (sent_kib >= line_kib && is_one_way && devices <= config.devices_max).then(|| {
        vec![
            measurement("sent_kib_per_10min", f64::from(sent_kib), f64::from(line_kib)),
            measurement("received_kib_per_10min", f64::from(received_kib), 0.0),
            measurement("usual_kib_per_10min", f64::from(device.usual_kib()), 0.0),
        ]
    })
}

/// Questions that are too long and too many to be for names.
fn names(config: &ExfiltrationConfig, pair: &PairFlow, at_ms: u64) -> Option<Vec<Measurement>> {
    let (sent_kib, packets) = (pair.sent_kib_10min(at_ms), pair.sent_packets_10min(at_ms));
    let bytes_per_query = u64::from(sent_kib) * 1_024 / u64::from(packets.max(1));
    (sent_kib >= config.dns_kib_per_10min && bytes_per_query >= DNS_QUERY_BYTES).then(|| {
        vec![
            measurement("dns_kib_per_10min", f64::from(sent_kib), f64::from(config.dns_kib_per_10min)),
            measurement("bytes_per_query", bytes_per_query as f64, 0.0),
        ]
    })
}

/// The destination as findings name it.
fn whom(seen: &ConversationObservation) -> String {
    let ConversationObservation { destination, port, transport, .. } = seen;
    match destination {
        IpAddr::V4(v4) => format!("{v4}:{port}/{transport}"),
        IpAddr::V6(v6) => format!("[{v6}]:{port}/{transport}"),
    }
}

fn measurement(name: &str, value: f64, threshold: f64) -> Measurement {
    Measurement { name: name.to_owned(), value, threshold, origin: None }
}

fn finding(
    class: AttackClass,
    confidence: f32,
    seen: &ConversationObservation,
    mut measurements: Vec<Measurement>,
    now: Now,
) -> Finding {
    for measured in measurements.iter_mut().filter(|measured| measured.threshold > 0.0) {
        measured.origin = Some(ThresholdOrigin::Config { key: format!("detect.{class}") });
    }
    Finding {
        at: now,
        source: seen.source,
        class,
        confidence,
        severity: Severity::Low,
        detector: class.as_str().to_owned(),
        detector_version: VERSION.to_owned(),
        site: None,
        evidence: Evidence {
            field: Some("destination".to_owned()),
            value: Some(whom(seen)),
            measurements,
            ..Evidence::default()
        },
    }
}
