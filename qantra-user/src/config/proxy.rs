//! `[proxy]` and `[[listen]]`: the reverse proxy's sockets, limits and timeouts.

use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[proxy]`: limits and timeouts for every site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Threads of the proxy; none: one per core.
    pub threads: Option<usize>,
    /// Peers whose PROXY protocol header and `X-Forwarded-For` are believed, such as a load balancer or CDN. They are
    /// protected from bans.
    #[schemars(with = "Vec<String>")]
    #[serde(deserialize_with = "super::net::nets")]
    pub trusted_proxies: Vec<IpNet>,
    /// Largest request head, in bytes; more is answered with 431.
    pub header_bytes_max: usize,
    /// Most request header fields; more is answered with 431.
    pub headers_max: usize,
    /// Largest request body, in bytes, unless the site says otherwise; more is answered with 413.
    pub body_bytes_max: u64,
    /// How much of a request body is looked at before it is passed on, at most 64 KiB (48 KiB over HTTP/2); the rest
    /// streams.
    pub inspect_body_bytes: usize,
    /// How long a client may take to send a request head.
    pub client_header_timeout_ms: u64,
    /// How long a client may pause inside a body.
    pub client_body_timeout_ms: u64,
    /// How long an idle client connection is kept.
    pub keepalive_timeout_ms: u64,
    /// Idle connections kept to origins, all together.
    pub upstream_keepalive_max: usize,
    /// How long an origin may take to accept a connection.
    pub connect_timeout_ms: u64,
    /// How long an origin may pause.
    pub upstream_read_timeout_ms: u64,
    /// How often a failed connect is tried at another target.
    pub connect_retries: usize,
    /// How long running requests may take to finish at shutdown.
    pub drain_timeout_ms: u64,
    /// How long a throttled request waits before it goes on.
    pub throttle_delay_ms: u64,
    /// Requests per second that a throttled source keeps; more gets 429 with `Retry-After`.
    pub throttle_rps: f64,
}

impl ProxyConfig {
    /// Most of a request body that can be looked at: what Pingora keeps of it for a second try.
    pub const INSPECT_BODY_BYTES_MAX: usize = 64 * 1024;
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            threads: None,
            trusted_proxies: Vec::new(),
            header_bytes_max: 32 * 1024,
            headers_max: 128,
            body_bytes_max: 16 * 1024 * 1024,
            inspect_body_bytes: Self::INSPECT_BODY_BYTES_MAX,
            client_header_timeout_ms: 10_000,
            client_body_timeout_ms: 30_000,
            keepalive_timeout_ms: 60_000,
            upstream_keepalive_max: 256,
            connect_timeout_ms: 3_000,
            upstream_read_timeout_ms: 60_000,
            connect_retries: 2,
            drain_timeout_ms: 10_000,
            throttle_delay_ms: 250,
            throttle_rps: 2.0,
        }
    }
}

/// `[[listen]]`: one socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it speaks TLS, with the sites' certificates by SNI.
    #[serde(default)]
    pub tls: bool,
    /// Whether trusted peers begin with a PROXY protocol header (v1 or v2).
    #[serde(default)]
    pub proxy_protocol: bool,
}
