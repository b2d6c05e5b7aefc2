//! Enters: the validated config. Leaves: what the filters look things up in, built once and swapped whole on reload.
//! It must never be half new: a config that cannot be built leaves the old one in force.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{
    Judge, ProxyCounters, ProxyError,
    client::TrustedPeers,
    harden::Hardening,
    head::HeadLimits,
    hosts::HostTable,
    login::SeededHash,
    request_id::RequestIds,
    target::{Target, Targets},
    throttle::Throttle,
};
use crate::config::{Config, HealthConfig, LoginConfig, SiteConfig, SiteIndex, TargetConfig};

/// What every worker shares.
pub(super) struct Shared {
    pub(super) live: ArcSwap<Live>,
    pub(super) judge: Arc<dyn Judge>,
    pub(super) counters: Arc<ProxyCounters>,
    pub(super) throttle: Throttle,
    pub(super) ids: RequestIds,
    pub(super) hash: SeededHash,
}

/// Everything that comes from the config.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) trusted: TrustedPeers,
    pub(super) hosts: HostTable,
    pub(super) sites: Vec<Site>,
    pub(super) head: HeadLimits,
    pub(super) inspect_body_bytes: usize,
    pub(super) body_bytes_max: u64,
    pub(super) client_header_timeout: Duration,
    pub(super) client_body_timeout: Duration,
    pub(super) keepalive_timeout: Duration,
    pub(super) connect_retries: usize,
    pub(super) throttle_delay: Duration,
    pub(super) throttle_rps: f64,
}

/// One site.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) targets: Targets,
    pub(super) decoy: Option<Target>,
    pub(super) health: Option<HealthConfig>,
    pub(super) hardening: Hardening,
    pub(super) login: LoginConfig,
    pub(super) body_bytes_max: u64,
    pub(super) simulation: bool,
}

impl Live {
    /// # Errors
    /// [`ProxyError`], naming the site and the key.
    pub(super) fn new(config: &Config) -> Result<Self, ProxyError> {
        let proxy = &config.proxy;
        let mut hosts = HostTable::default();
        let mut sites = Vec::with_capacity(config.sites.len());
        for (index, site) in config.sites.iter().enumerate() {
            let index = u16::try_from(index).map_err(|_| ProxyError::TooManySites)?;
            for host in &site.hosts {
                hosts.add(host, SiteIndex(index)).map_err(|claimed| ProxyError::HostTwice {
                    site: site.name.clone(),
                    host: claimed.host,
                    other: config.sites[usize::from(claimed.by.0)].name.clone(),
                })?;
            }
            sites.push(Site::new(site, config)?);
        }
        Ok(Self {
            trusted: TrustedPeers::new(&proxy.trusted_proxies),
            hosts,
            sites,
            head: HeadLimits { bytes_max: proxy.header_bytes_max, fields_max: proxy.headers_max.min(255) },
            inspect_body_bytes: proxy.inspect_body_bytes,
            body_bytes_max: proxy.body_bytes_max,
            client_header_timeout: Duration::from_millis(proxy.client_header_timeout_ms),
            client_body_timeout: Duration::from_millis(proxy.client_body_timeout_ms),
            keepalive_timeout: Duration::from_millis(proxy.keepalive_timeout_ms),
            connect_retries: proxy.connect_retries,
            throttle_delay: Duration::from_millis(proxy.throttle_delay_ms),
            throttle_rps: proxy.throttle_rps,
        })
    }

    pub(super) fn site(&self, index: Option<SiteIndex>) -> Option<&Site> {
        self.sites.get(usize::from(index?.0))
    }
}

impl Site {
    fn new(config: &SiteConfig, whole: &Config) -> Result<Self, ProxyError> {
        let target = |target: &TargetConfig| {
            Target::new(target, &whole.proxy).map_err(|source| ProxyError::Target {
                site: config.name.clone(),
                address: target.address.clone(),
                source,
            })
        };
        if config.targets.is_empty() {
            return Err(ProxyError::NoTarget(config.name.clone()));
        }
        if let Some(path) = config.health.as_ref().and_then(|health| health.path.as_ref())
            && (!path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic()))
        {
            return Err(ProxyError::HealthPath { site: config.name.clone(), path: path.clone() });
        }
        let weights: Vec<usize> = config.targets.iter().map(|target| target.weight).collect();
        let decoy = config.decoy.as_ref().map(|address| {
            target(&TargetConfig { address: address.clone(), weight: 1, tls: false, server_name: None })
        });
        Ok(Self {
            name: config.name.clone(),
            targets: Targets::new(config.targets.iter().map(target).collect::<Result<_, _>>()?, &weights),
            decoy: decoy.transpose()?,
            health: config.health.clone(),
            hardening: Hardening::new(&config.headers)
                .map_err(|key| ProxyError::HeaderText { site: config.name.clone(), key })?,
            login: config.login.clone(),
            body_bytes_max: config.body_bytes_max.unwrap_or(whole.proxy.body_bytes_max),
            simulation: config.simulation,
        })
    }
}
