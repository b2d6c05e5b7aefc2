//! One request as the pure core sees it, borrowed from whoever received it.

use http::{HeaderMap, Method, Version};

/// One request: what was sent, not yet decoded.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target as sent, in origin form: path and query, still percent-encoded.
    pub target: &'a [u8],
    /// The host, from `Host` or `:authority`, without port.
    pub host: &'a str,
    /// The protocol version the client spoke.
    pub version: Version,
    /// The header fields as sent.
    pub headers: &'a HeaderMap,
    /// The beginning of the body: at most `proxy.inspect_body_bytes`.
    pub body: &'a [u8],
    /// Whether [`body`](Self::body) is the whole body.
    pub body_is_whole: bool,
}
