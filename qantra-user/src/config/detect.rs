//! `[detect]` and `[policy]`: thresholds of the behaviour detectors, and what is made of findings.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    decide::Action,
    detect::{AttackClass, Severity},
};

/// `[detect]`: behaviour detectors. A detector fires when any of its windows is exceeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// Listen to the kernel's connection tracking where there is a LAN: whom its devices talk to. Without it beaconing and
    /// exfiltration are not looked for.
    pub conversations: bool,
    /// Requests per source.
    pub request_flood: RequestFloodConfig,
    /// Storms of errors over many paths.
    pub content_scan: ContentScanConfig,
    /// Failed logins.
    pub brute_force: BruteForceConfig,
    /// Connections that never become requests.
    pub slow_http: SlowHttpConfig,
    /// Many destination ports.
    pub port_scan: PortScanConfig,
    /// Many hosts.
    pub host_sweep: HostSweepConfig,
    /// Many pages.
    pub crawl: CrawlConfig,
    /// Packet floods.
    pub flood: FloodConfig,
    /// Devices of the LAN that call the same place by the clock.
    pub beaconing: BeaconingConfig,
    /// Devices of the LAN that upload what they never did.
    pub exfiltration: ExfiltrationConfig,
}

impl Default for DetectConfig {
    fn default() -> Self {
        Self {
            conversations: true,
            request_flood: RequestFloodConfig::default(),
            content_scan: ContentScanConfig::default(),
            brute_force: BruteForceConfig::default(),
            slow_http: SlowHttpConfig::default(),
            port_scan: PortScanConfig::default(),
            host_sweep: HostSweepConfig::default(),
            crawl: CrawlConfig::default(),
            flood: FloodConfig::default(),
            beaconing: BeaconingConfig::default(),
            exfiltration: ExfiltrationConfig::default(),
        }
    }
}

/// `[detect.request_flood]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestFloodConfig {
    /// Requests of one source in 10 s.
    pub requests_per_10s: u32,
    /// Requests of one source in 10 min: for those who stay just below the fast limit.
    pub requests_per_10min: u32,
}

impl Default for RequestFloodConfig {
    fn default() -> Self {
        Self { requests_per_10s: 1_500, requests_per_10min: 30_000 }
    }
}

/// `[detect.content_scan]`: 403, 404, 405 and 400 answers of the application, over distinct paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContentScanConfig {
    /// Distinct missing paths in 10 s.
    pub paths_per_10s: u32,
    /// Distinct missing paths in 10 min.
    pub paths_per_10min: u32,
    /// Distinct missing paths in a day.
    pub paths_per_day: u32,
    /// Least share of errors among the source's requests in that window, 0 to 1.
    pub error_share: f32,
}

impl Default for ContentScanConfig {
    fn default() -> Self {
        Self { paths_per_10s: 15, paths_per_10min: 60, paths_per_day: 300, error_share: 0.5 }
    }
}

/// `[detect.brute_force]`: answers 401 and 403 to logins, and repeated POSTs to a login path.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BruteForceConfig {
    /// Failed logins of one source in 1 min.
    pub failures_per_min: u32,
    /// Failed logins of one source in 1 h.
    pub failures_per_hour: u32,
    /// Failed logins of one source in a day.
    pub failures_per_day: u32,
    /// POSTs to login paths of one source in 1 min, whatever the answer: many applications answer a failure with 200.
    pub posts_per_min: u32,
    /// Distinct accounts tried by one source in 1 h: credential stuffing.
    pub accounts_per_hour: u32,
    /// Distinct sources that fail on one account in 1 h: a spread-out brute force.
    pub sources_per_account_per_hour: u32,
}

impl Default for BruteForceConfig {
    fn default() -> Self {
        Self {
            failures_per_min: 10,
            failures_per_hour: 40,
            failures_per_day: 120,
            posts_per_min: 20,
            accounts_per_hour: 12,
            sources_per_account_per_hour: 10,
        }
    }
}

/// `[detect.slow_http]`: connections that never become requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SlowHttpConfig {
    /// Connections of one source in 10 s beyond its finished requests.
    pub unanswered_per_10s: u32,
    /// The same in 10 min. A load balancer that looks every two seconds whether the port is open makes 300.
    pub unanswered_per_10min: u32,
}

impl Default for SlowHttpConfig {
    fn default() -> Self {
        Self { unanswered_per_10s: 40, unanswered_per_10min: 330 }
    }
}

/// `[detect.port_scan]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PortScanConfig {
    /// Distinct destination ports of one source in 10 s.
    pub ports_per_10s: u32,
    /// In 10 min.
    pub ports_per_10min: u32,
    /// In a day.
    pub ports_per_day: u32,
}

impl Default for PortScanConfig {
    fn default() -> Self {
        Self { ports_per_10s: 25, ports_per_10min: 60, ports_per_day: 150 }
    }
}

/// `[detect.host_sweep]`: hosts that one source tries to reach, most of them in vain, for few services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HostSweepConfig {
    /// Distinct hosts of one source in 10 s.
    pub hosts_per_10s: u32,
    /// In 10 min.
    pub hosts_per_10min: u32,
}

impl Default for HostSweepConfig {
    fn default() -> Self {
        Self { hosts_per_10s: 40, hosts_per_10min: 80 }
    }
}

/// `[detect.crawl]`: one source that takes page after page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CrawlConfig {
    /// Distinct paths of one source in 10 min. Told, and with the default policy not acted on: search engines do so.
    pub paths_per_10min: u32,
}

impl Default for CrawlConfig {
    fn default() -> Self {
        Self { paths_per_10min: 800 }
    }
}

/// `[detect.flood]`: packet rates of one source, over one second of the kernel's counters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FloodConfig {
    /// TCP SYN per second.
    pub syn_pps: u32,
    /// UDP datagrams per second.
    pub udp_pps: u32,
    /// ICMP messages per second.
    pub icmp_pps: u32,
}

impl Default for FloodConfig {
    fn default() -> Self {
        Self { syn_pps: 500, udp_pps: 10_000, icmp_pps: 200 }
    }
}

/// `[detect.beaconing]`: calls of a LAN device to one place, as regular as a timer's even with jitter, and small. Told, and acted
/// on only by a `[[policy.rule]]` that names the class: honest programs poll as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BeaconingConfig {
    /// Regular gaps before it is told, 4 to 32.
    pub intervals_min: u32,
    /// The median distance of gaps from their median, as a share of it, at most. Jitter of 30 % gives 0.15, chance 0.69.
    pub spread_max: f32,
    /// Mean bytes of a call, each way, at most.
    pub bytes_per_call_max: u32,
    /// Devices of the LAN that know the destination, at most: what many use is a service.
    pub devices_max: u32,
    /// Ports at which calls are no beacons: names, time, discovery, mail that is fetched, brokers and push services.
    pub ignored_ports: Vec<u16>,
    /// Destinations that are none: a monitored network, a vendor's cloud.
    #[schemars(with = "Vec<String>")]
    pub ignored_networks: Vec<IpNet>,
}

impl Default for BeaconingConfig {
    fn default() -> Self {
        Self {
            intervals_min: 15,
            spread_max: 0.25,
            bytes_per_call_max: 32_768,
            devices_max: 2,
            ignored_ports: vec![
                53, 67, 68, 110, 123, 143, 547, 853, 993, 995, 1883, 1900, 5222, 5223, 5228, 5353, 8883,
            ],
            ignored_networks: Vec::new(),
        }
    }
}

/// `[detect.exfiltration]`: uploads of a LAN device to one destination. Told, and acted on only by a `[[policy.rule]]` that names
/// the class: backups are uploads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExfiltrationConfig {
    /// MiB in 10 min, at least; ten times that in the first ten minutes of a device.
    pub mib_per_10min: u32,
    /// How many times what the device used to send to one destination in 10 min.
    pub factor: u32,
    /// KiB in 10 min to a resolver in questions that are too long for names: a tunnel.
    pub dns_kib_per_10min: u32,
    /// Devices of the LAN that know the destination, at most.
    pub devices_max: u32,
}

impl Default for ExfiltrationConfig {
    fn default() -> Self {
        Self { mib_per_10min: 30, factor: 5, dns_kib_per_10min: 512, devices_max: 2 }
    }
}

/// `[policy]`: from findings to decisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Least confidence of a finding that is acted on, unless a rule says otherwise.
    pub confidence: f32,
    /// How long a first decision lasts, unless a rule says otherwise.
    pub duration_s: u64,
    /// By how much the duration grows with each earlier offence.
    pub escalation_factor: f64,
    /// The longest duration.
    pub duration_max_s: u64,
    /// For how long an offence is remembered.
    pub memory_s: u64,
    /// Single requests with an injection that a source may send, in `request_window_s`, before the source itself is
    /// banned; each is refused all the same.
    pub request_strikes: u32,
    /// The window of `request_strikes`.
    pub request_window_s: u64,
    /// Prefix length that an IPv6 ban covers; 128: the address alone.
    pub ipv6_prefix: u8,
    /// Rules by class and severity; the first that fits wins, and with none the action is `block`.
    #[serde(rename = "rule")]
    pub rules: Vec<PolicyRule>,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            confidence: 0.8,
            duration_s: 3_600,
            escalation_factor: 4.0,
            duration_max_s: 7 * 86_400,
            memory_s: 30 * 86_400,
            request_strikes: 2,
            request_window_s: 600,
            ipv6_prefix: 64,
            rules: Vec::new(),
        }
    }
}

/// `[[policy.rule]]`: what is done about some classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Classes it is for; none: every class.
    #[serde(default)]
    pub classes: Vec<AttackClass>,
    /// Least severity; none: every severity.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// Site names it is for; none: every site and packets.
    #[serde(default)]
    pub sites: Vec<String>,
    /// What is done.
    pub action: Action,
    /// Least confidence; none: `policy.confidence`.
    #[serde(default)]
    pub confidence: Option<f32>,
    /// How long; none: `policy.duration_s`.
    #[serde(default)]
    pub duration_s: Option<u64>,
}
