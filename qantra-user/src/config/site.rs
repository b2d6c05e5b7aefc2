//! `[[site]]`: one web site behind the proxy.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A site's place in [`Config::sites`](super::Config::sites).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SiteIndex(pub u16);

/// `[[site]]`: one web site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// A name for logs, metrics and findings.
    pub name: String,
    /// Host names it answers to; `*.example.org` covers one level and more; `*` is every host no other site claims.
    pub hosts: Vec<String>,
    /// The origin servers.
    #[serde(rename = "target")]
    pub targets: Vec<TargetConfig>,
    /// Active health checks; none: targets count as healthy until a connect fails.
    #[serde(default)]
    pub health: Option<HealthConfig>,
    /// Certificate and key for TLS listeners.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Where requests of a `forward` decision go, as `host:port`; none: such requests are blocked.
    #[serde(default)]
    pub decoy: Option<String>,
    /// Login pages, for the brute force detectors.
    #[serde(default)]
    pub login: LoginConfig,
    /// What happens to response headers.
    #[serde(default)]
    pub headers: HeadersConfig,
    /// What differs from `[inspect]`.
    #[serde(default)]
    pub inspect: super::SiteInspectConfig,
    /// Largest request body, in bytes; none: `proxy.body_bytes_max`.
    #[serde(default)]
    pub body_bytes_max: Option<u64>,
    /// Decide, log and count for this site, but refuse no request of it.
    #[serde(default)]
    pub simulation: bool,
}

/// `[[site.target]]`: one origin server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// `host:port` or `address:port`.
    pub address: String,
    /// Its share of the requests, beside the other targets' weights.
    #[serde(default = "one")]
    pub weight: usize,
    /// Speak TLS to it.
    #[serde(default)]
    pub tls: bool,
    /// The name to verify its certificate against and to send as SNI; none: the address's host.
    #[serde(default)]
    pub server_name: Option<String>,
}

const fn one() -> usize {
    1
}

/// `[site.health]`: active health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// Path to ask for; none: a TCP connect is enough.
    pub path: Option<String>,
    /// How often.
    pub interval_ms: u64,
    /// How long a check may take.
    pub timeout_ms: u64,
    /// Failures in a row that take a target out.
    pub unhealthy_after: usize,
    /// Successes in a row that bring it back.
    pub healthy_after: usize,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { path: None, interval_ms: 2_000, timeout_ms: 1_000, unhealthy_after: 2, healthy_after: 2 }
    }
}

/// `[site.tls]`: certificate files; they are watched, and read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// `[site.login]`: how a login looks on this site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginConfig {
    /// Paths that take credentials.
    pub paths: Vec<String>,
    /// Form, JSON or query fields that name the account.
    pub account_fields: Vec<String>,
}

impl Default for LoginConfig {
    fn default() -> Self {
        let text = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Self {
            paths: text(&["/login", "/signin", "/user/login", "/api/login", "/wp-login.php", "/admin/login"]),
            account_fields: text(&["username", "user", "login", "email", "log"]),
        }
    }
}

/// `[site.headers]`: each switch stands for one group of response headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersConfig {
    /// Remove `Server`, `X-Powered-By` and others that tell what the application runs on.
    pub hide_technology: bool,
    /// `Strict-Transport-Security` on TLS listeners, this many seconds; 0: leave alone.
    pub hsts_seconds: u64,
    /// `Content-Security-Policy` where the application sends none; empty: leave alone.
    pub content_security_policy: String,
    /// `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// `X-Frame-Options` where the application sends none; empty: leave alone.
    pub frame_options: String,
    /// `Referrer-Policy` where the application sends none; empty: leave alone.
    pub referrer_policy: String,
    /// Give cookies `Secure` (on TLS), `HttpOnly` and `SameSite=Lax` where they are missing.
    pub secure_cookies: bool,
}

impl Default for HeadersConfig {
    fn default() -> Self {
        Self {
            hide_technology: true,
            hsts_seconds: 31_536_000,
            content_security_policy: "frame-ancestors 'self'; object-src 'none'; base-uri 'self'".into(),
            nosniff: true,
            frame_options: "SAMEORIGIN".into(),
            referrer_policy: "strict-origin-when-cross-origin".into(),
            secure_cookies: true,
        }
    }
}
