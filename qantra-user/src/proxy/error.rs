//! Enters: what went wrong while the proxy was set up. Leaves: one line that says what, where and what to do.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why the proxy cannot start, or keeps its old configuration.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The port is taken.
    #[error("cannot listen on {0}: the port is in use; stop what holds it (`ss -ltnp`) or change `[[listen]] address`")]
    PortInUse(SocketAddr),
    /// Not allowed to bind the port.
    #[error("cannot listen on {0}: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    PermissionDenied(SocketAddr),
    /// The address is not this machine's.
    #[error("cannot listen on {0}: no interface has this address; correct `[[listen]] address`")]
    NoSuchAddress(SocketAddr),
    /// Any other failure of a socket.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which `[[listen]]`.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its runtime could not be started.
    #[error("cannot start the proxy's threads: {0}")]
    Threads(#[from] io::Error),
    /// More sites than an index can name.
    #[error("too many `[[site]]` sections: at most 65535")]
    TooManySites,
    /// Two sites claim one host.
    #[error("site `{site}`: host `{host}` belongs to site `{other}` already; let one of them have it")]
    HostTwice {
        /// The second.
        site: String,
        /// The host.
        host: String,
        /// The first.
        other: String,
    },
    /// A site without a target.
    #[error("site `{0}` has no `[[site.target]]`: add one, with `address = \"host:port\"`")]
    NoTarget(String),
    /// A target that is no `host:port`, or whose name does not resolve.
    #[error("site `{site}`: `{address}` is no address to connect to: {source}; give `host:port`")]
    Target {
        /// The site.
        site: String,
        /// As configured.
        address: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// A text that cannot stand in a header.
    #[error("site `{site}`: `headers.{key}` holds characters that cannot stand in a header")]
    HeaderText {
        /// The site.
        site: String,
        /// The key.
        key: &'static str,
    },
    /// A health check's path that is none.
    #[error("site `{site}`: `health.path` must be a path that begins with `/`, not `{path}`")]
    HealthPath {
        /// The site.
        site: String,
        /// As configured.
        path: String,
    },
    /// A certificate or key file that cannot be read.
    #[error("site `{site}`: cannot read {path}: {source}")]
    TlsFile {
        /// The site.
        site: String,
        /// The file.
        path: PathBuf,
        /// What the system or the PEM parser said.
        source: io::Error,
    },
    /// A certificate and key that cannot serve.
    #[error("site `{site}`: {certificate} and its key cannot be used: {source}")]
    TlsPair {
        /// The site.
        site: String,
        /// The certificate's file.
        certificate: PathBuf,
        /// What TLS said.
        source: rustls::Error,
    },
    /// A TLS listener, and no certificate.
    #[error("`[[listen]] {0}` speaks TLS, but no site has a certificate: add `[site.tls]`")]
    NoCertificate(SocketAddr),
    /// TLS could not be set up at all.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// Listeners cannot change while the daemon runs.
    #[error("`[[listen]]` or `proxy.threads` changed: restart the daemon for that; nothing was changed")]
    NeedsRestart,
}
