//! The Finding noun: who, what class, how sure, how severe, with the evidence.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::Now;

/// What an attack is called everywhere: config, metrics, CLI, models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the field's standard terms")]
pub enum AttackClass {
    Sqli,
    Xss,
    Rce,
    Traversal,
    Rfi,
    Ssrf,
    Ssti,
    Xxe,
    Deserialisation,
    Upload,
    Scanner,
    Redirect,
    Spam,
    /// A malicious request that no narrower class fits.
    OtherInjection,
    /// Request smuggling shapes and other protocol violations.
    Protocol,
    RequestFlood,
    /// Looking for what is there: storms of 404 and 403 over many paths.
    ContentScan,
    /// Taking everything that a site has.
    Crawling,
    BruteForce,
    CredentialStuffing,
    SlowHttp,
    PortScan,
    /// One service of many hosts: what a worm does first.
    HostSweep,
    SynFlood,
    UdpFlood,
    IcmpFlood,
    /// A LAN device calls the same place by the clock.
    Beaconing,
    /// A LAN device uploads what it never did.
    Exfiltration,
    /// Behaviour unlike what was learnt, with no class to name it.
    Anomaly,
}

impl AttackClass {
    /// Every class, in the order of the enum.
    pub const ALL: [Self; 29] = [
        Self::Sqli,
        Self::Xss,
        Self::Rce,
        Self::Traversal,
        Self::Rfi,
        Self::Ssrf,
        Self::Ssti,
        Self::Xxe,
        Self::Deserialisation,
        Self::Upload,
        Self::Scanner,
        Self::Redirect,
        Self::Spam,
        Self::OtherInjection,
        Self::Protocol,
        Self::RequestFlood,
        Self::ContentScan,
        Self::Crawling,
        Self::BruteForce,
        Self::CredentialStuffing,
        Self::SlowHttp,
        Self::PortScan,
        Self::HostSweep,
        Self::SynFlood,
        Self::UdpFlood,
        Self::IcmpFlood,
        Self::Beaconing,
        Self::Exfiltration,
        Self::Anomaly,
    ];

    /// The class as it is written in config, metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sqli => "sqli",
            Self::Xss => "xss",
            Self::Rce => "rce",
            Self::Traversal => "traversal",
            Self::Rfi => "rfi",
            Self::Ssrf => "ssrf",
            Self::Ssti => "ssti",
            Self::Xxe => "xxe",
            Self::Deserialisation => "deserialisation",
            Self::Upload => "upload",
            Self::Scanner => "scanner",
            Self::Redirect => "redirect",
            Self::Spam => "spam",
            Self::OtherInjection => "other_injection",
            Self::Protocol => "protocol",
            Self::RequestFlood => "request_flood",
            Self::ContentScan => "content_scan",
            Self::Crawling => "crawling",
            Self::BruteForce => "brute_force",
            Self::CredentialStuffing => "credential_stuffing",
            Self::SlowHttp => "slow_http",
            Self::PortScan => "port_scan",
            Self::HostSweep => "host_sweep",
            Self::SynFlood => "syn_flood",
            Self::UdpFlood => "udp_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::Beaconing => "beaconing",
            Self::Exfiltration => "exfiltration",
            Self::Anomaly => "anomaly",
        }
    }

    /// Whether it is told and nothing more, unless a rule of the policy names it: honest programs do the same, and a device of
    /// one's own is not cut off for that.
    #[must_use]
    pub const fn is_only_told(self) -> bool {
        matches!(self, Self::Beaconing | Self::Exfiltration)
    }
}

impl std::fmt::Display for AttackClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad it would be if the finding is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line in a log.
    Low,
    /// Reconnaissance, nuisance.
    Medium,
    /// An attempt to break in or to put a service down.
    High,
}

/// A detector's claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// When the detector was sure.
    pub at: Now,
    /// Who.
    pub source: IpAddr,
    /// What.
    pub class: AttackClass,
    /// How sure, 0 to 1.
    pub confidence: f32,
    /// How severe.
    pub severity: Severity,
    /// Name of the detector, rule or model.
    pub detector: String,
    /// Its version.
    pub detector_version: String,
    /// The configured site's name, for findings from requests.
    pub site: Option<String>,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What a finding rests on. Everything in it is bounded and secrets are masked before they get here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// The field that matched, such as `query.id` or `header.referer`.
    pub field: Option<String>,
    /// The field's decoded value: an excerpt, with what looks like a secret masked.
    pub value: Option<String>,
    /// The features that weighed most, heaviest first.
    pub weights: Vec<Weight>,
    /// The rates and counts that were measured, each with its threshold.
    pub measurements: Vec<Measurement>,
    /// The rules that matched, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleEvidence>,
    /// The request, for findings from requests.
    pub request: Option<RequestRef>,
}

/// A rule that matched, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleEvidence {
    /// The rule's id.
    pub id: u64,
    /// Its message.
    pub message: String,
    /// The field that matched.
    pub field: String,
    /// An excerpt of the value, with what looks like a secret masked.
    pub value: String,
}

/// A feature and how much it added to a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Weight {
    /// The feature's name, or the n-gram.
    pub feature: String,
    /// What it added.
    pub weight: f32,
}

/// A number that was measured, beside the threshold it crossed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// What was measured, with its unit, such as `requests_per_10s`.
    pub name: String,
    /// The measured value.
    pub value: f64,
    /// The threshold.
    pub threshold: f64,
    /// Where the threshold came from; `None`: there is none, or an older version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ThresholdOrigin>,
}

/// Where a threshold came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ThresholdOrigin {
    /// The manifest of the models in force.
    Model {
        /// The model's name.
        name: String,
        /// Its version.
        version: String,
    },
    /// The configuration, be it written there or its default.
    Config {
        /// The key, or the table that it is in.
        key: String,
    },
    /// The rules of the site: `inspect.inbound_threshold` or what the rule set sets itself.
    Rules,
    /// The traffic of the site itself, by `[learn]`.
    Traffic {
        /// Whether it is the whole site's: the endpoint alone has not been seen enough.
        of_site: bool,
        /// Requests that it rests on.
        requests: u64,
        /// Distinct networks that they came from, at least.
        sources: u32,
        /// When counting began; `None`: an older version began it.
        since_unix_ms: Option<u64>,
        /// The share of those requests that may reach it (`models.max_false_positive_rate`).
        max_false_positive_rate: f64,
    },
}

/// Which request a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestRef {
    /// The request's id, as in the `X-Request-Id` that the origin gets.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path, cut to 256 bytes, without query.
    pub path: String,
}
