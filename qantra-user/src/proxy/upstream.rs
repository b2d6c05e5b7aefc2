//! Enters: a request's head on its way to the origin, and who the client is. Leaves: the head that the origin gets. It
//! must never let a client say by itself who it is: what only proxies may say is taken out or written anew.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::{Result, http::RequestHeader};

use super::{request_id::RequestId, stream::Conn};

/// What the origin is told of a request.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) conn: &'a Conn,
    /// As the client sent it, port included.
    pub(super) host: Option<&'a HeaderValue>,
    pub(super) request_id: RequestId,
    /// Some field's name has an underscore.
    pub(super) underscored: bool,
}

const HTTP: HeaderValue = HeaderValue::from_static("http");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Writes the forwarding fields.
///
/// # Errors
/// When Pingora refuses a field, which these never make happen.
pub(super) fn tell_origin(request: &mut RequestHeader, told: Told<'_>) -> Result<()> {
    let conn = told.conn;
    let believed = conn.trusted;
    remove_claims(request, believed, told.underscored);
    let hops = if believed { append_hop(&request.headers, conn) } else { None };
    request.insert_header("X-Forwarded-For", hops.unwrap_or_else(|| conn.nearest_text.clone()))?;
    if !believed || !request.headers.contains_key("x-forwarded-proto") {
        request.insert_header("X-Forwarded-Proto", if conn.tls { HTTPS } else { HTTP })?;
    }
    match told.host {
        Some(host) if !believed || !request.headers.contains_key("x-forwarded-host") => {
            request.insert_header("X-Forwarded-Host", host.clone())?;
        }
        _ => {}
    }
    request.insert_header("X-Request-Id", told.request_id.header_value())
}

/// What a trusted proxy sent, and the hop we saw by ourselves.
fn append_hop(headers: &HeaderMap, conn: &Conn) -> Option<HeaderValue> {
    let mut hops = Vec::with_capacity(64);
    for line in headers.get_all("x-forwarded-for") {
        hops.extend_from_slice(line.as_bytes());
        hops.extend_from_slice(b", ");
    }
    if hops.is_empty() {
        return None;
    }
    hops.extend_from_slice(conn.nearest_text.as_bytes());
    HeaderValue::from_bytes(&hops).ok()
}

fn remove_claims(request: &mut RequestHeader, believed: bool, underscored: bool) {
    if underscored {
        // To CGI, WSGI and PHP `X_Forwarded_For` is `X-Forwarded-For`.
        let is_disguise = |name: &&HeaderName| {
            let name = name.as_str();
            name.contains('_') && {
                let plain = name.replace('_', "-");
                is_claim(&plain) || plain.starts_with("x-forwarded-") || plain == "x-request-id"
            }
        };
        while let Some(name) = request.headers.keys().find(is_disguise).cloned() {
            request.remove_header(&name);
        }
    }
    if !believed {
        while let Some(name) = request.headers.keys().find(|name| is_claim(name.as_str())).cloned() {
            request.remove_header(&name);
        }
    }
    if request.headers.contains_key(header::HeaderName::from_static("proxy")) {
        // CGI makes it the environment's HTTP_PROXY (CVE-2016-5385).
        request.remove_header("proxy");
    }
}

/// Fields by which proxies speak of clients, but for those written anew for every request.
fn is_claim(name: &str) -> bool {
    match name.strip_prefix("x-") {
        Some(rest) => matches!(
            rest,
            "real-ip"
                | "client-ip"
                | "cluster-client-ip"
                | "original-forwarded-for"
                | "original-url"
                | "rewrite-url"
                | "forwarded-by"
                | "forwarded-port"
                | "forwarded-prefix"
                | "forwarded-scheme"
                | "forwarded-server"
                | "forwarded-ssl"
        ),
        None => matches!(name, "forwarded" | "true-client-ip" | "cf-connecting-ip" | "client-ip"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::proxy::request_id::RequestIds;

    fn told(fields: &[(&'static str, &str)], trusted: bool, tls: bool) -> HeaderMap {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        let peer: IpAddr = "203.0.113.9".parse().unwrap();
        let conn = Conn::new(peer, peer, trusted, tls);
        let host = HeaderValue::from_static("example.org");
        let request_id = RequestIds::new(1).next();
        tell_origin(&mut request, Told { conn: &conn, host: Some(&host), request_id, underscored: true }).unwrap();
        request.headers.clone()
    }

    #[test]
    fn a_strangers_claims_are_replaced() {
        let headers = told(
            &[
                ("X-Forwarded-For", "127.0.0.1"),
                ("X-Forwarded-For", "10.0.0.1"),
                ("X-Forwarded-Proto", "https"),
                ("X-Forwarded-Host", "admin.example"),
                ("X-Real-IP", "127.0.0.1"),
                ("X_Forwarded_For", "127.0.0.1"),
                ("X_Real_IP", "127.0.0.1"),
                ("Forwarded", "for=127.0.0.1"),
                ("X-Original-URL", "/admin"),
                ("Proxy", "http://x"),
                ("X-Request-Id", "mine"),
                ("User_Id", "kept"),
            ],
            false,
            false,
        );
        let all: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
        assert_eq!(all, ["203.0.113.9"]);
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "example.org");
        assert_eq!(headers["x-request-id"].len(), 24);
        assert_eq!(headers["user_id"], "kept");
        assert_eq!(headers.len(), 5, "{headers:?}");
    }

    #[test]
    fn a_trusted_proxys_words_are_kept_and_its_own_address_appended() {
        let headers = told(&[("X-Forwarded-For", "198.51.100.7"), ("X-Forwarded-Proto", "https")], true, false);
        assert_eq!(headers["x-forwarded-for"], "198.51.100.7, 203.0.113.9");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(told(&[], true, true)["x-forwarded-proto"], "https");
    }
}
