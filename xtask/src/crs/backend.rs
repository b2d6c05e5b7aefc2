//! Enters: a request that the rules let through. Leaves: the response of CRS's test backend: empty for most requests, and
//! for `POST /reflect` what the request's JSON asks for.

use anyhow::Result;
use base64::Engine as _;
use serde::Deserialize;

use super::{case::Answer, wire::Request};

/// A response.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
struct Asked {
    status: u16,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
    #[serde(rename = "encodedBody")]
    encoded_body: String,
}

/// The backend's answer.
pub(super) fn answer(request: &Request) -> Response {
    let path = request.target.split(|b| *b == b'?').next().unwrap_or_default();
    if request.method != b"POST" || !(path == b"/reflect" || path.starts_with(b"/reflect/")) {
        return finished(Response { status: 200, ..Response::default() });
    }
    let failed =
        |message: &str| finished(Response { status: 400, headers: Vec::new(), body: message.as_bytes().to_vec() });
    let Ok(asked) = serde_json::from_slice::<Asked>(&request.body) else {
        return failed("Invalid JSON in request body");
    };
    let body = if asked.body.is_empty() {
        match base64::engine::general_purpose::STANDARD.decode(&asked.encoded_body) {
            Ok(body) => body,
            Err(_) => return failed("invalid base64 encoding of response body"),
        }
    } else {
        asked.body.into_bytes()
    };
    let status = if asked.status == 0 { 200 } else { asked.status };
    finished(Response { status, headers: asked.headers.into_iter().collect(), body })
}

/// The answer that a case spells out.
pub(super) fn told(answer: &Answer) -> Result<Response> {
    let body = if answer.body.0.is_empty() {
        let clean: String = answer.encoded_body.0.split_whitespace().collect();
        base64::engine::general_purpose::STANDARD.decode(clean)?
    } else {
        answer.body.0.clone().into_bytes()
    };
    let status = if answer.status == 0 { 200 } else { answer.status };
    Ok(finished(Response { status, headers: answer.headers.0.clone(), body }))
}

fn finished(mut response: Response) -> Response {
    let has_type = response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if !response.body.is_empty() && !has_type {
        response.headers.push(("Content-Type".to_owned(), sniffed(&response.body).to_owned()));
    }
    response.headers.push(("Content-Length".to_owned(), response.body.len().to_string()));
    response
}

/// The type that Go's server guesses (the WHATWG's algorithm, as far as text goes).
fn sniffed(body: &[u8]) -> &'static str {
    const TAGS: [&str; 17] = [
        "<!DOCTYPE HTML",
        "<HTML",
        "<HEAD",
        "<SCRIPT",
        "<IFRAME",
        "<H1",
        "<DIV",
        "<FONT",
        "<TABLE",
        "<A",
        "<STYLE",
        "<TITLE",
        "<B",
        "<BODY",
        "<BR",
        "<P",
        "<!--",
    ];
    let start = body.trim_ascii_start();
    let is_tag = |tag: &&str| {
        start.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes()))
            && (*tag == "<!--" || matches!(start.get(tag.len()), Some(b' ' | b'>')))
    };
    if TAGS.iter().any(is_tag) {
        return "text/html; charset=utf-8";
    }
    if start.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    let binary = |b: &u8| *b < 0x09 || *b == 0x0b || (0x0e..=0x1a).contains(b) || (0x1c..=0x1f).contains(b);
    if body.starts_with(b"\x1f\x8b\x08") {
        "application/x-gzip"
    } else if body.iter().take(512).any(binary) {
        "application/octet-stream"
    } else {
        "text/plain; charset=utf-8"
    }
}
