//! Enters: nothing. Leaves: the requests that every engine is given, the same bytes in every run.

use std::fmt::Write as _;

/// One request.
pub(super) struct Case {
    pub(super) name: &'static str,
    method: &'static str,
    uri: String,
    pub(super) headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Headers of a browser.
fn browser() -> Vec<(String, String)> {
    [
        ("Host", "www.example.org"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Connection", "keep-alive"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

pub(super) fn get(name: &'static str, uri: &str) -> Case {
    Case { name, method: "GET", uri: uri.to_owned(), headers: browser(), body: Vec::new() }
}

pub(super) fn post(name: &'static str, uri: &str, content_type: &str, body: Vec<u8>) -> Case {
    let mut headers = browser();
    headers.push(("Content-Type".to_owned(), content_type.to_owned()));
    headers.push(("Content-Length".to_owned(), body.len().to_string()));
    Case { name, method: "POST", uri: uri.to_owned(), headers, body }
}

/// All requests.
pub(super) fn all() -> Vec<Case> {
    let mut cookie = get("long_cookie", "/account/orders");
    let mut value = String::new();
    for at in 0..40 {
        let _ = write!(value, "{}pref_{at}=v{}x{at:04}abcdef0123456789", if at > 0 { "; " } else { "" }, at * 7919);
    }
    cookie.headers.push(("Cookie".to_owned(), value));
    vec![
        get("get", "/index.html"),
        get("get_five_parameters", "/search?q=red+shoes&page=2&sort=price_asc&category=sports&lang=en"),
        post(
            "form",
            "/login",
            "application/x-www-form-urlencoded",
            b"user=maria.lopez&password=correct-horse-battery&remember=1&next=%2Faccount%2Forders&token=8f14e45fceea167a".to_vec(),
        ),
        post("json", "/api/orders", "application/json", json()),
        post("multipart", "/upload", "multipart/form-data; boundary=----formdata7d93b1", multipart()),
        get("sqli", "/product?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-"),
        cookie,
    ]
}

/// An order of 4 kB.
fn json() -> Vec<u8> {
    let mut text = String::from(r#"{"customer":{"name":"Maria Lopez","email":"maria@example.org"},"items":["#);
    for at in 0..48 {
        let comma = if at > 0 { "," } else { "" };
        let _ = write!(
            text,
            r#"{comma}{{"sku":"SKU-{at:05}","title":"Running shoe {at}","quantity":{},"price":49.95}}"#,
            at % 5 + 1
        );
    }
    text.push_str("]}");
    text.into_bytes()
}

/// Two fields and a file, 64 kB.
fn multipart() -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [("title", "Holiday pictures"), ("album", "2026")] {
        let part =
            format!("------formdata7d93b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(
        b"------formdata7d93b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"beach.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
    );
    // A linear congruential generator stands for compressed data.
    let mut state = 1_u32;
    while body.len() < 64 * 1024 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        body.push(state.to_be_bytes()[0]);
    }
    body.extend_from_slice(b"\r\n------formdata7d93b1--\r\n");
    body
}

/// The requests as the programs read them: lines, and a body of a told length.
pub(super) fn file(cases: &[Case]) -> Vec<u8> {
    let mut out = Vec::new();
    for case in cases {
        let head = format!("{}\n{}\nHTTP/1.1\n{}\n", case.method, case.uri, case.headers.len());
        out.extend_from_slice(head.as_bytes());
        for (name, value) in &case.headers {
            out.extend_from_slice(format!("{name}\n{value}\n").as_bytes());
        }
        out.extend_from_slice(format!("{}\n", case.body.len()).as_bytes());
        out.extend_from_slice(&case.body);
    }
    out
}
