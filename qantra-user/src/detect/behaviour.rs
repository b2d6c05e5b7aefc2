//! Enters: observations, one by one. Leaves: a finding at the very observation by which a source crosses a line.

use super::{
    Evidence, Finding, Measurement, ThresholdOrigin,
    episode::{Detector, Episodes, Line, confidence_of},
    http, packets,
    pairs::PairDetectors,
    source,
};
use crate::{
    clock::Now,
    config::{DetectConfig, Role, SiteIndex},
    flow::{
        AccountTable, ConnectionObservation, FlowTable, HOUR_MS, HttpFlow, LocalNetworks, LoginOutcome, Observation,
        PacketFlow, PacketObservation, RequestMarks, RequestObservation, SourceFlow, TEN_SECONDS_MS, Tracked,
    },
    model::SourceClaim,
};

/// What a finding says that one could be wrong about: below the default policy's threshold.
const UNSURE: f32 = 0.6;

/// Version of the detectors in findings: that of the program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How full the tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DetectorStats {
    /// Sources in the table.
    pub sources: usize,
    /// Sources that had to make room.
    pub sources_evicted: u64,
    /// Accounts in the table.
    pub accounts: usize,
    /// Accounts that had to make room.
    pub accounts_evicted: u64,
    /// Pairs of a LAN device and a destination in the table.
    pub pairs: usize,
    /// Of pairs, devices and destinations, those that had to make room.
    pub pairs_evicted: u64,
}

/// Behaviour detectors over bounded tables of sources and accounts.
#[derive(Debug)]
pub struct BehaviourDetectors {
    config: DetectConfig,
    sites: Vec<String>,
    flows: FlowTable<Episodes>,
    accounts: AccountTable,
    pairs: PairDetectors,
}

impl BehaviourDetectors {
    /// Detectors with these thresholds. The seed keeps strangers from choosing table collisions: take a random one.
    #[must_use]
    pub fn new(config: &DetectConfig, seed: u64) -> Self {
        let flows = FlowTable::new(FlowTable::<Episodes>::LIMIT, LocalNetworks::default(), seed);
        Self {
            config: config.clone(),
            sites: Vec::new(),
            flows,
            accounts: AccountTable::new(seed.rotate_left(31)),
            pairs: PairDetectors::new(seed.rotate_left(41)),
        }
    }

    /// Names for findings, in the order of [`Config::sites`](crate::config::Config::sites).
    #[must_use]
    pub fn with_sites(mut self, names: Vec<String>) -> Self {
        self.sites = names;
        self
    }

    /// The LAN's networks: an IPv6 address in them is a device of its own, elsewhere a /64 is one source.
    #[must_use]
    pub fn with_local(mut self, local: LocalNetworks) -> Self {
        self.set_local(local);
        self
    }

    /// Calls of LAN devices that were told before: devices, and destinations as findings name them.
    #[must_use]
    pub fn with_calls_told(mut self, told: impl IntoIterator<Item = (std::net::IpAddr, String)>) -> Self {
        self.pairs.set_told(told);
        self
    }

    /// The same, when they are others than before.
    pub fn set_local(&mut self, local: LocalNetworks) {
        self.pairs.set_local(local.clone());
        self.flows.set_local(local);
    }

    /// New thresholds and site names; what was counted stays.
    pub fn reconfigure(&mut self, config: &DetectConfig, site_names: Vec<String>) {
        self.config = config.clone();
        self.sites = site_names;
    }

    /// How full the tables are.
    #[must_use]
    pub fn stats(&self) -> DetectorStats {
        DetectorStats {
            sources: self.flows.len(),
            sources_evicted: self.flows.evicted(),
            accounts: self.accounts.len(),
            accounts_evicted: self.accounts.evicted(),
            pairs: self.pairs.table().len(),
            pairs_evicted: self.pairs.table().evicted(),
        }
    }

    /// Flows of sources seen since a moment (ms since boot), in no order: what the source models look at.
    pub fn active_since(&self, since_ms: u64) -> impl Iterator<Item = &SourceFlow> {
        self.flows.iter().map(|tracked| &tracked.flow).filter(move |flow| flow.last_ms >= since_ms)
    }

    /// Counts one observation and adds what it gives away to `out`.
    pub fn observe(&mut self, observation: &Observation, now: Now, out: &mut Vec<Finding>) {
        let now_ms = now.boot_ms();
        match observation {
            Observation::Request(request) => {
                self.request(observation, request, request.at_ms.min(now_ms), now, out);
            }
            Observation::Connection(connection) => {
                self.connection(observation, connection, connection.at_ms.min(now_ms), now, out);
            }
            Observation::Packets(seen) => self.packets(observation, seen, seen.at_ms.min(now_ms), now, out),
            Observation::Conversation(seen) => {
                let at_ms = seen.at_ms.min(now_ms);
                if let Some(line) = self.pairs.observe(&self.config, seen, at_ms, now, out) {
                    let (Tracked { state: episodes, .. }, _) = self.flows.source_of(observation, at_ms);
                    // A monitor of very many devices does the same, so nobody can be sure.
                    Report { flow_address: seen.source, at_ms, now, episodes, out }.tell(
                        Detector::HostSweep,
                        &line,
                        Some(UNSURE),
                        None,
                        Vec::new(),
                    );
                }
            }
        }
    }

    /// Makes a finding of what the source models claim, once per episode like every other.
    pub fn claim(&mut self, claim: &SourceClaim, now: Now, out: &mut Vec<Finding>) {
        // A source that made room in the meantime has no episode, and will be back if it goes on.
        let Some(episodes) = self.flows.state_mut(claim.address) else { return };
        if episodes.is_news(Detector::SourceModel, now.boot_ms(), TEN_SECONDS_MS, true) {
            out.push(source::from_claim(claim, now));
        }
    }

    fn request(
        &mut self,
        observation: &Observation,
        request: &RequestObservation,
        at_ms: u64,
        now: Now,
        out: &mut Vec<Finding>,
    ) {
        let (Tracked { flow, state: episodes }, source_hash) = self.flows.source_of(observation, at_ms);
        let http = flow.http.get_or_insert_default();
        let marks = http.request(at_ms, request);
        let mut report = Report { flow_address: request.source, at_ms, now, episodes, out };
        let site = site_name(&self.sites, request.site);
        if let Some(line) = http::request_flood(http, at_ms, &self.config.request_flood) {
            report.tell(Detector::RequestFlood, &line, None, site, Vec::new());
        }
        if marks.missing
            && let Some(line) = http::content_scan(http, at_ms, &self.config.content_scan)
        {
            let beside = vec![
                measured("error_answers_per_10min", http.missing_10min(at_ms)),
                measured("requests_per_10min", http.requests_10min(at_ms)),
            ];
            report.tell(Detector::ContentScan, &line, None, site, beside);
        }
        // A search engine does the same, so nobody can be sure.
        if !request.answered_by_us
            && let Some(line) = http::crawling(http, at_ms, &self.config.crawl)
        {
            let beside = vec![measured("requests_per_10min", http.requests_10min(at_ms))];
            report.tell(Detector::Crawling, &line, Some(UNSURE), site, beside);
        }
        if marks.login.is_some() || marks.unauthorised {
            let context = LoginContext { marks, source_hash, account_hash: request.account_hash, site };
            logins(&self.config, &mut self.accounts, http, &context, &mut report);
        }
    }

    fn connection(
        &mut self,
        observation: &Observation,
        connection: &ConnectionObservation,
        at_ms: u64,
        now: Now,
        out: &mut Vec<Finding>,
    ) {
        let (Tracked { flow, state: episodes }, _) = self.flows.source_of(observation, at_ms);
        let http = flow.http.get_or_insert_default();
        http.connection(at_ms);
        let Some(line) = http::slow_http(http, at_ms, &self.config.slow_http) else { return };
        let mut beside = vec![
            measured("connections_per_10s", http.connections_10s(at_ms)),
            measured("requests_per_10s", http.requests_10s(at_ms)),
        ];
        if let Some(packets) = &flow.packets {
            beside.push(measured("syn_per_10s", packets.syn_10s(at_ms)));
        }
        Report { flow_address: connection.source, at_ms, now, episodes, out }.tell(
            Detector::SlowHttp,
            &line,
            None,
            None,
            beside,
        );
    }

    fn packets(
        &mut self,
        observation: &Observation,
        seen: &PacketObservation,
        at_ms: u64,
        now: Now,
        out: &mut Vec<Finding>,
    ) {
        let (Tracked { flow, state: episodes }, _) = self.flows.source_of(observation, at_ms);
        let packets = flow.packets.get_or_insert_default();
        packets.packets(at_ms, seen);
        let mut report = Report { flow_address: seen.source, at_ms, now, episodes, out };
        packet_lines(&self.config, packets, seen.role, &mut report);
    }
}

fn packet_lines(config: &DetectConfig, flow: &PacketFlow, role: Role, report: &mut Report<'_>) {
    let at_ms = report.at_ms;
    let beside =
        || vec![measured("packets_per_s", flow.packets_1s(at_ms)), measured("bytes_per_s", flow.bytes_1s(at_ms))];
    if let Some((line, sure)) = packets::udp_flood(flow, at_ms, &config.flood) {
        report.tell(Detector::UdpFlood, &line, (!sure).then_some(UNSURE), None, beside());
    }
    if let Some(line) = packets::icmp_flood(flow, at_ms, &config.flood) {
        report.tell(Detector::IcmpFlood, &line, None, None, beside());
    }
    let scan = packets::port_scan(flow, role, at_ms, &config.port_scan);
    if let Some(line) = &scan {
        let beside =
            vec![measured("syn_per_10s", flow.syn_10s(at_ms)), measured("packets_per_10s", flow.packets_10s(at_ms))];
        report.tell(Detector::PortScan, line, None, None, beside);
    }
    let sweep = packets::host_sweep(flow, at_ms, &config.host_sweep);
    if let Some(line) = &sweep {
        let beside =
            vec![measured("syn_per_10s", flow.syn_10s(at_ms)), measured("packets_per_10s", flow.packets_10s(at_ms))];
        report.tell(Detector::HostSweep, line, None, None, beside);
    }
    // A fast scan is no flood: what one is called should be what it is.
    if let Some(line) = packets::syn_flood(flow, at_ms, &config.flood)
        && !(scan.is_some() && packets::is_spread_over_ports(flow, at_ms))
        && sweep.is_none()
    {
        report.tell(Detector::SynFlood, &line, None, None, beside());
    }
}

/// What a login attempt is, besides its source's flow.
struct LoginContext<'a> {
    marks: RequestMarks,
    source_hash: u64,
    account_hash: Option<u64>,
    site: Option<&'a str>,
}

/// Failures of one source from which on it is part of a spread-out brute force, and not the account's owner.
const SPREAD_FAILURES_SURE: u32 = 3;

fn logins(
    config: &DetectConfig,
    accounts: &mut AccountTable,
    http: &HttpFlow,
    login: &LoginContext<'_>,
    report: &mut Report<'_>,
) {
    let at_ms = report.at_ms;
    let config = &config.brute_force;
    if let Some(line) = http::brute_force(http, at_ms, config) {
        report.tell(Detector::BruteForce, &line, None, login.site, Vec::new());
    }
    if let Some(line) = http::credential_stuffing(http, at_ms, config) {
        let beside = vec![measured("login_failures_per_hour", http.login_failures_hour(at_ms))];
        report.tell(Detector::CredentialStuffing, &line, None, login.site, beside);
    }
    if login.marks.login == Some(LoginOutcome::Failed)
        && let Some(account) = login.account_hash
    {
        let sources = accounts.failure(at_ms, account, login.source_hash).sources_hour(at_ms);
        let line = Line::new("sources_per_account_per_hour", sources, config.sources_per_account_per_hour, HOUR_MS);
        if line.is_crossed() {
            let failures = http.login_failures_hour(at_ms);
            let unsure = (failures < SPREAD_FAILURES_SURE).then_some(UNSURE);
            let beside = vec![measured("login_failures_per_hour", failures)];
            report.tell(Detector::SpreadBruteForce, &line, unsure, login.site, beside);
        }
    }
}

fn site_name(sites: &[String], index: Option<SiteIndex>) -> Option<&str> {
    sites.get(usize::from(index?.0)).map(String::as_str)
}

/// A measurement that only explains: it has no line of its own.
fn measured(name: &str, value: u32) -> Measurement {
    Measurement { name: name.to_owned(), value: f64::from(value), threshold: 0.0, origin: None }
}

/// Where findings of one observation go.
struct Report<'a> {
    flow_address: std::net::IpAddr,
    at_ms: u64,
    now: Now,
    episodes: &'a mut Episodes,
    out: &'a mut Vec<Finding>,
}

impl Report<'_> {
    /// Makes a finding of a crossing, when it is news. An unsure crossing opens no episode that would keep a sure one
    /// quiet.
    fn tell(
        &mut self,
        detector: Detector,
        line: &Line,
        confidence: Option<f32>,
        site: Option<&str>,
        beside: Vec<Measurement>,
    ) {
        if !self.episodes.is_news(detector, self.at_ms, line.window_ms, confidence.is_none()) {
            return;
        }
        let origin = Some(ThresholdOrigin::Config { key: format!("detect.{}", detector.section()) });
        let crossed = Measurement { threshold: f64::from(line.threshold), origin, ..measured(line.name, line.value) };
        let mut measurements = vec![crossed];
        measurements.extend(beside);
        self.out.push(Finding {
            at: self.now,
            source: self.flow_address,
            class: detector.class(),
            confidence: confidence.unwrap_or_else(|| confidence_of(line)),
            severity: detector.severity(),
            detector: detector.name().to_owned(),
            detector_version: VERSION.to_owned(),
            site: site.map(str::to_owned),
            evidence: Evidence { measurements, ..Evidence::default() },
        });
    }
}
