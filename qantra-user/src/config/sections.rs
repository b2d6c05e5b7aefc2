//! Sections of the configuration about the box: process, kernel half, interfaces, models, store, metrics.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[daemon]`: the process itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// Where the store lives.
    pub state_dir: PathBuf,
    /// The control socket of the command line.
    pub control_socket: PathBuf,
    /// The group that may use the control socket besides root; none: root alone.
    pub control_group: Option<String>,
    /// What is logged, in `tracing`'s filter syntax.
    pub log: String,
    /// Decide, log and count, but enforce nothing.
    pub simulation: bool,
    /// The user to become after start, keeping CAP_BPF, CAP_NET_ADMIN and CAP_NET_BIND_SERVICE; empty: stay.
    pub user: String,
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/qantra".into(),
            control_socket: "/run/qantra/control.sock".into(),
            control_group: None,
            log: "info".into(),
            simulation: false,
            user: String::new(),
        }
    }
}

/// `[kernel]`: the kernel half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KernelConfig {
    /// The eBPF object to load.
    pub object: PathBuf,
    /// Where programs, links and maps are pinned, below a mounted bpffs; a `v<ABI>` folder is made in it.
    pub pin_dir: PathBuf,
    /// How many sources are counted at once; the least recently seen make room.
    pub sources_max: u32,
    /// How many addresses can be banned at once, per family.
    pub bans_max: u32,
    /// How many prefixes can be banned at once, per family.
    pub prefix_bans_max: u32,
    /// One in how many dropped packets is reported as an event; 0: none.
    pub drop_sample: u32,
    /// The counting window of sources.
    pub window_ms: u32,
    /// A source's packets in one window from which its counters are reported at once, not at the next scan.
    pub report_packets: u32,
    /// What one source may send.
    pub limits: LimitsConfig,
    /// Answering connection requests in the network stack's place.
    pub syn_cookies: SynCookiesConfig,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            object: "/usr/lib/qantra/qantra.bpf.o".into(),
            pin_dir: "/sys/fs/bpf/qantra".into(),
            sources_max: 32_768,
            bans_max: 65_536,
            prefix_bans_max: 16_384,
            drop_sample: 1_024,
            window_ms: 1_000,
            report_packets: 200,
            limits: LimitsConfig::default(),
            syn_cookies: SynCookiesConfig::default(),
        }
    }
}

/// `[kernel.limits]`: what each source from the WAN may send, as packets a second; 0 is no limit. What is above is dropped.
/// An IPv6 source is a /64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// All packets.
    pub packets_pps: u32,
    /// TCP connection requests.
    pub syn_pps: u32,
    /// UDP datagrams.
    pub udp_pps: u32,
    /// ICMP messages.
    pub icmp_pps: u32,
    /// New flows: connection requests, and datagrams between ports not seen together of late.
    pub flows_pps: u32,
    /// How many ms of its rate a source can save up and send at once.
    pub burst_ms: u32,
    /// When so many sources of one /24 or /48 went over within 16 s, all of it has the budget of one; 0: never.
    pub neighbours: u32,
    /// All answers from one port that is abused for reflection (DNS, NTP, SSDP, memcached and the like) together.
    pub reflection_pps: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            packets_pps: 0,
            syn_pps: 2_000,
            udp_pps: 0,
            icmp_pps: 1_000,
            flows_pps: 5_000,
            burst_ms: 2_000,
            neighbours: 8,
            reflection_pps: 20_000,
        }
    }
}

/// `[kernel.syn_cookies]`: connection requests to sockets of this box, answered before the network stack sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SynCookiesConfig {
    /// When they are.
    pub mode: SynCookieMode,
    /// Of `auto`: connection requests a second on one interface from the WAN above which they are.
    pub above_syn_pps: u32,
}

impl Default for SynCookiesConfig {
    fn default() -> Self {
        Self { mode: SynCookieMode::Auto, above_syn_pps: 2_000 }
    }
}

/// When connection requests are answered with SYN cookies. In every mode the network stack has its say: with
/// `net.ipv4.tcp_syncookies = 1` it wants cookies only while the queue of the socket is full, with 2 always, with 0 never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SynCookieMode {
    /// Never: they have their budgets, and the stack its own cookies.
    Off,
    /// While an interface sees too many.
    #[default]
    Auto,
    /// At any rate.
    Always,
}

/// On which side of the box an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Towards the Internet.
    Wan,
    /// Towards the devices that the box serves.
    Lan,
}

/// Which rung of the hook ladder an interface may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// The highest rung that works: native XDP, then TCX ingress, then clsact, then nftables.
    #[default]
    Auto,
    /// Native XDP or an error.
    Native,
    /// TCX ingress or an error.
    Tcx,
    /// A filter at clsact ingress or an error: what `auto` takes on kernels before 6.6.
    Clsact,
    /// XDP on socket buffers or an error. It copies what the network card has merged; `auto` never takes it.
    Generic,
    /// No program, but the same bans, protected set and feeds as nftables sets.
    Nftables,
}

/// `[[interface]]`: one network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceConfig {
    /// Its name, as `ip link` shows it.
    pub name: String,
    /// On which side of the box it is.
    pub role: Role,
    /// Which rung of the hook ladder it may use.
    #[serde(default)]
    pub hook: Hook,
    /// Whether packets are dropped whose source is on the other side of the box. Needs the LAN's networks to be complete.
    #[serde(default)]
    pub check_sources: bool,
    /// Of a LAN interface: networks behind it besides its own, for `check_sources`.
    #[serde(default, deserialize_with = "super::net::nets")]
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
}

/// `[protect]`: what may never be banned. The box's own addresses, its gateways and resolvers are added by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProtectConfig {
    /// Addresses and prefixes.
    #[schemars(with = "Vec<String>")]
    #[serde(deserialize_with = "super::net::nets")]
    pub networks: Vec<IpNet>,
    /// Whether default gateways and resolvers are found out and protected.
    pub auto: bool,
}

impl Default for ProtectConfig {
    fn default() -> Self {
        Self { networks: Vec::new(), auto: true }
    }
}

/// `[models]`: where models are and how they are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Off: rules and behaviour detectors work alone.
    pub enabled: bool,
    /// The folder with `manifest.toml` and the ONNX files.
    pub dir: PathBuf,
    /// ONNX Runtime's shared library.
    pub runtime: PathBuf,
    /// How long a request waits for the classifier; when it is late the request goes on.
    pub deadline_ms: u64,
    /// Most requests in one batch of the classifier.
    pub batch_max: usize,
    /// Most requests that wait for the classifier; more go on unclassified, and are counted.
    pub queue_max: usize,
    /// The classifier's confidence from which a flagged request is a finding; none: the manifest's.
    pub request_confidence: Option<f32>,
    /// The classifier's confidence from which a flagged source is a finding; none: the manifest's.
    pub source_confidence: Option<f32>,
    /// minisign public keys, in base64, whose signature of `manifest.toml` is trusted.
    pub trusted_keys: Vec<String>,
    /// Whether loaded models need a signature by a trusted key. The models of `dir` do not: whoever can write there can
    /// write here.
    pub require_signature: bool,
    /// Most versions of loaded models that are kept; those in force, in shadow and before always are.
    pub keep_versions: u32,
    /// Requests a second, at most, that are looked at for drift, shadows and promoted models; 0: none.
    pub samples_per_s: u32,
    /// The share of a site's honest requests that the request models may refuse: learnt thresholds rise until it is kept. Promoted
    /// models that refuse more than that of what the ones before let pass go back by themselves.
    pub max_false_positive_rate: f64,
    /// For how long promoted models are guarded.
    pub guard_s: u64,
    /// Most resident memory, in MiB, because of models, as their trials measure it: ONNX Runtime, the version in force,
    /// one that is about to be, and a second copy of two while a shadow or a promoted version is compared. What would go
    /// above is not loaded.
    pub max_resident_mb: u32,
}

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            dir: "/usr/share/qantra/models".into(),
            runtime: "/usr/lib/qantra/libonnxruntime.so".into(),
            deadline_ms: 20,
            batch_max: 32,
            queue_max: 1_024,
            request_confidence: None,
            source_confidence: None,
            trusted_keys: Vec::new(),
            require_signature: false,
            keep_versions: 5,
            samples_per_s: 20,
            max_false_positive_rate: 0.001,
            guard_s: 3_600,
            max_resident_mb: 160,
        }
    }
}

/// `[store]`: the embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// For how long ended decisions stay searchable.
    pub keep_days: u32,
    /// How many decisions are kept at most; the oldest ended ones make room.
    pub decisions_max: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { keep_days: 90, decisions_max: 100_000 }
    }
}

/// `[metrics]`: the Prometheus listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where `/metrics` is served; none: nowhere. Loopback unless you mean it.
    pub listen: Option<SocketAddr>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))) }
    }
}
