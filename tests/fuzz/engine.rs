//! Enters: bytes of the fuzzer's. Leaves: what the engine says of them. Every run is made twice, with a new and with a used
//! scratch and with the body in other pieces: it must never matter.

use std::net::{IpAddr, Ipv4Addr};

use qantra_seclang::{Connection, Host, MemoryCollections, NoLookups, RuleSet, Scratch};

/// A request as a server would hand it in.
pub struct Request<'a> {
    /// Its method.
    pub method: &'a [u8],
    /// Its target.
    pub target: &'a [u8],
    /// Its protocol.
    pub protocol: &'a [u8],
    /// Its headers.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    /// Its body, which is the response's body as well.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes bytes apart as a lenient server would; nothing is refused.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        let (line, mut rest) = next_line(bytes);
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let method = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or_default();
        let protocol = parts.next().unwrap_or_default();
        let mut headers = Vec::new();
        while !rest.is_empty() {
            let (line, tail) = next_line(rest);
            rest = tail;
            if line.is_empty() {
                break;
            }
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            headers.push((&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii()));
        }
        Self { method, target, protocol, headers, body: rest }
    }

    /// A form of one body.
    #[must_use]
    pub fn post(content_type: &'a [u8], body: &'a [u8]) -> Self {
        Self {
            method: b"POST",
            target: b"/",
            protocol: b"HTTP/1.1",
            headers: vec![(b"Host".as_slice(), b"localhost".as_slice()), (b"Content-Type".as_slice(), content_type)],
            body,
        }
    }
}

fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => (bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]), &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// Runs a request with a new scratch and with a used one.
///
/// # Panics
/// When the two runs differ: memory of one request reached another, or the pieces of a body mattered.
pub fn inspect(rules: &RuleSet, used: &mut Scratch, request: &Request<'_>) {
    let fresh = run(rules, &mut Scratch::new(), request, request.body.len());
    let again = run(rules, used, request, 7);
    assert_eq!(fresh, again, "a used scratch, or a body in pieces, made a difference");
}

/// What matched: rule and value.
type Matches = Vec<(u64, Vec<u8>)>;

fn run(rules: &RuleSet, scratch: &mut Scratch, request: &Request<'_>, piece: usize) -> Matches {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection = Connection { client: local, client_port: 1, server: local, server_port: 80, unique_id: "fuzz" };
    let mut collections = MemoryCollections::new(8);
    let mut host = Host { now_s: 1_750_000_000, elapsed_ms: 0, collections: &mut collections, lookups: &NoLookups };
    let mut transaction = rules.transaction(scratch, &connection);
    transaction.request_line(request.method, request.target, request.protocol);
    for (name, value) in &request.headers {
        transaction.request_header(name, value);
    }
    let _ = transaction.request_headers(&mut host);
    for part in request.body.chunks(piece.max(1)) {
        let _ = transaction.request_body(part);
    }
    let _ = transaction.finish_request(&mut host);
    transaction.response_line(200, b"HTTP/1.1");
    transaction.response_header(b"Content-Type", b"text/html");
    let _ = transaction.response_headers(&mut host);
    for part in request.body.chunks(piece.max(1)) {
        let _ = transaction.response_body(part);
    }
    let _ = transaction.finish_response(&mut host);
    transaction.logging(&mut host);
    transaction.matches().map(|found| (found.rule_id, found.value.to_vec())).collect()
}

/// Rules that look at every value that a body's reader makes.
///
/// # Panics
/// When they do not load.
#[must_use]
pub fn body_rules(processor: &str) -> RuleSet {
    let text = format!(
        r#"SecRuleEngine DetectionOnly
        SecRequestBodyAccess On
        SecArgumentsLimit 50
        SecRequestBodyJsonDepthLimit 20
        SecAction "id:1,phase:1,pass,nolog,ctl:requestBodyProcessor={processor},ctl:forceRequestBodyVariable=On"
        SecRule ARGS|ARGS_NAMES|XML:/*|XML://@*|FILES|FILES_NAMES|FILES_SIZES|FILES_TMP_CONTENT|MULTIPART_PART_HEADERS "@rx (?s)^.*$" "id:2,phase:2,pass,capture,t:none,setvar:'tx.v_%{{MATCHED_VAR_NAME}}=+1'"
        SecRule REQBODY_ERROR|MULTIPART_STRICT_ERROR|MULTIPART_UNMATCHED_BOUNDARY "@eq 1" "id:3,phase:2,pass,logdata:'%{{reqbody_error_msg}}'"
        SecRule REQUEST_BODY "@rx ." "id:4,phase:2,pass,t:none,t:urlDecodeUni,t:htmlEntityDecode""#
    );
    RuleSet::from_text(&text).unwrap_or_else(|error| panic!("{error}"))
}
