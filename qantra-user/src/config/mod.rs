//! Enters: the text of `qantra.toml`. Leaves: a [`Config`] that every stage can trust. It must never bind a port,
//! load a program or read a clock: a bad file is refused before anything is started.

mod detect;
mod errors;
mod feeds;
mod inspect;
mod learn;
mod load;
mod net;
mod position;
mod proxy;
mod schema;
mod sections;
mod site;
#[cfg(test)]
mod tests;
mod validate;

pub use detect::{
    BeaconingConfig, BruteForceConfig, ContentScanConfig, CrawlConfig, DetectConfig, ExfiltrationConfig, FloodConfig,
    HostSweepConfig, PolicyConfig, PolicyRule, PortScanConfig, RequestFloodConfig, SlowHttpConfig,
};
pub use errors::{ConfigErrors, Problem};
pub use feeds::FeedsConfig;
pub use inspect::{
    BodyLimitAction, ExclusionConfig, InspectConfig, LateAction, RuleRange, RulesConfirm, RulesEngine, Ruleset,
    SiteInspectConfig,
};
pub use learn::LearnConfig;
pub use load::{load, parse};
pub use net::{BadNet, canonical_net, parse_net};
pub use proxy::{ListenConfig, ProxyConfig};
pub use schema::json_schema;
pub use sections::{
    DaemonConfig, Hook, InterfaceConfig, KernelConfig, LimitsConfig, MetricsConfig, ModelsConfig, ProtectConfig, Role,
    StoreConfig, SynCookieMode, SynCookiesConfig,
};
pub use site::{HeadersConfig, HealthConfig, LoginConfig, SiteConfig, SiteIndex, TargetConfig, TlsConfig};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole of `/etc/qantra/qantra.toml`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process itself.
    pub daemon: DaemonConfig,
    /// The kernel half.
    pub kernel: KernelConfig,
    /// Network interfaces that the kernel half watches.
    #[serde(rename = "interface")]
    pub interfaces: Vec<InterfaceConfig>,
    /// What may never be banned, besides what the box finds out by itself.
    pub protect: ProtectConfig,
    /// The reverse proxy.
    pub proxy: ProxyConfig,
    /// Sockets that the proxy listens on.
    #[serde(rename = "listen")]
    pub listeners: Vec<ListenConfig>,
    /// Rules that requests and responses are looked at with.
    pub inspect: InspectConfig,
    /// Web sites behind the proxy.
    #[serde(rename = "site")]
    pub sites: Vec<SiteConfig>,
    /// Behaviour detectors.
    pub detect: DetectConfig,
    /// Models.
    pub models: ModelsConfig,
    /// What is learnt from the box's own traffic.
    pub learn: LearnConfig,
    /// From findings to decisions.
    pub policy: PolicyConfig,
    /// Block list feeds.
    pub feeds: FeedsConfig,
    /// The embedded store.
    pub store: StoreConfig,
    /// The metrics listener.
    pub metrics: MetricsConfig,
}
