//! Enters: a case's request. Leaves: the bytes that go-ftw would send, and what a strict HTTP/1 server makes of them:
//! a request, or a refusal with 400. It must never mend a request that servers refuse.

use anyhow::{Result, bail};
use base64::Engine as _;

use super::case::{Input, Text};

/// A request as a server hands it to the rules.
#[derive(Debug, Default, Clone)]
pub(super) struct Request {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    pub(super) version: Vec<u8>,
    pub(super) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The first header of a name.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.as_slice())
    }
}

/// The bytes that go-ftw sends, with one of several targets when there are several.
pub(super) fn bytes(input: &Input, target: Option<&Text>) -> Result<Vec<u8>> {
    if let Some(encoded) = &input.encoded_request {
        let clean: String = encoded.0.split_whitespace().collect();
        return Ok(base64::engine::general_purpose::STANDARD.decode(clean)?);
    }
    let text =
        |text: &Option<Text>, default: &str| text.as_ref().map_or_else(|| default.to_owned(), |text| text.0.clone());
    let method = text(&input.method, "GET");
    let version = text(&input.version, "HTTP/1.1");
    let mut headers = [input.headers.0.as_slice(), input.ordered_headers.0.as_slice()].concat();
    let has = |headers: &[(String, String)], name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let value = |headers: &[(String, String)], name: &str| {
        headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or_else(String::new, |(_, value)| value.clone())
    };
    let complete = input.autocomplete_headers.unwrap_or(input.stop_magic != Some(true));
    let mut data = text(&input.data, "");
    let encoded = match &input.encoded_data {
        Some(encoded) => {
            let clean: String = encoded.0.split_whitespace().collect();
            Some(base64::engine::general_purpose::STANDARD.decode(clean)?)
        }
        None => None,
    };
    const FORM: &str = "application/x-www-form-urlencoded";
    if complete && !data.is_empty() {
        if !has(&headers, "Content-Type") {
            headers.push(("Content-Type".to_owned(), FORM.to_owned()));
        }
        if value(&headers, "Content-Type") == FORM {
            data = encoded_form(&data);
        }
    }
    if value(&headers, "Content-Type").starts_with("multipart/form-data;") {
        data = data.replace('\n', "\r\n").replace("\r\r\n", "\r\n");
    }
    if complete {
        if !has(&headers, "Connection") {
            headers.push(("Connection".to_owned(), "close".to_owned()));
        }
        let takes_body = method.starts_with("POST")
            || method.contains("PUT")
            || method.contains("PATCH")
            || method.ends_with("DELETE");
        let length = encoded.as_ref().map_or(data.len(), Vec::len);
        if (length > 0 || takes_body) && !has(&headers, "Content-Length") {
            headers.push(("Content-Length".to_owned(), length.to_string()));
        }
    }
    let mut out =
        format!("{method} {} {version}\r\n", target.map_or_else(|| text(&input.uri, "/"), |target| target.0.clone()))
            .into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(encoded.as_deref().unwrap_or(data.as_bytes()));
    Ok(out)
}

/// Forms that hold no escape are written with escapes, parameter by parameter.
fn encoded_form(data: &str) -> String {
    let broken = |data: &str| {
        data.as_bytes().iter().enumerate().any(|(at, byte)| {
            let pair = data.as_bytes().get(at + 1..at + 3);
            *byte == b'%' && !pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit))
        })
    };
    if broken(data) || data.contains(['%', '+']) {
        return data.to_owned();
    }
    let pairs = data.split('&').map(|pair| match pair.split_once('=') {
        Some((key, value)) => format!("{}={}", escaped(key), escaped(value)),
        None => escaped(pair),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// What a strict server makes of the bytes (RFC 9112).
pub(super) fn receive(bytes: &[u8]) -> Result<Request> {
    let (line, mut rest) = next_line(bytes);
    let parts: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = parts.as_slice() else { bail!("a request line has three parts") };
    if !is_token(method) {
        bail!("the method is no token");
    }
    check_target(method, target)?;
    match version {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if (b'1'..=b'9').contains(major) && minor.is_ascii_digit() => {}
        _ => bail!("the protocol is not HTTP/1"),
    }
    let mut request =
        Request { method: method.to_vec(), target: target.to_vec(), version: version.to_vec(), ..Request::default() };
    loop {
        let (line, tail) = next_line(rest);
        rest = tail;
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { bail!("a header without a colon") };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            bail!("a header's name is no token");
        }
        if value.iter().any(|b| matches!(b, b'\r' | 0)) {
            bail!("a header has a control character");
        }
        request.headers.push((name.to_vec(), value.to_vec()));
    }
    check_headers(&request)?;
    let chunked = request.header("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().ends_with(b"chunked"));
    request.body = if chunked {
        // Who frames by chunks drops the length (RFC 9112, 6.3).
        request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"content-length"));
        unchunked(rest)?
    } else {
        let length = request.header("content-length").and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        rest[..rest.len().min(length.unwrap_or(0))].to_vec()
    };
    Ok(request)
}

fn check_target(method: &[u8], target: &[u8]) -> Result<()> {
    let well_formed = match target {
        [b'/', ..] => true,
        b"*" => method == b"OPTIONS",
        _ if method == b"CONNECT" => target
            .iter()
            .rposition(|b| *b == b':')
            .is_some_and(|at| !target[at + 1..].is_empty() && target[at + 1..].iter().all(u8::is_ascii_digit)),
        _ => target.windows(3).any(|part| part == b"://"),
    };
    // A fragment is the browser's own (RFC 9112, 3.2).
    if !well_formed || target.iter().any(|b| *b <= b' ' || *b == 0x7f || *b == b'#') {
        bail!("the target is malformed");
    }
    Ok(())
}

fn check_headers(request: &Request) -> Result<()> {
    if let Some(length) = request.header("content-length")
        && (length.is_empty() || !length.iter().all(u8::is_ascii_digit))
    {
        bail!("the content length is no number");
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]".contains(b);
    match request.header("host") {
        Some(b"") if request.version != b"HTTP/1.0" => bail!("the host is empty"),
        Some(host) if !host.iter().all(allowed) => bail!("the host is malformed"),
        _ => Ok(()),
    }
}

fn next_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|b| *b == b'\n') {
        Some(at) => (bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]), &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

fn unchunked(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut rest = bytes;
    loop {
        let (line, tail) = next_line(rest);
        let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let length = usize::from_str_radix(std::str::from_utf8(digits)?, 16)?;
        if length == 0 {
            return Ok(body);
        }
        let Some(chunk) = tail.get(..length) else { bail!("a chunk is cut") };
        body.extend_from_slice(chunk);
        (_, rest) = next_line(&tail[length..]);
    }
}
