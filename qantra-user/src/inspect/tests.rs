//! What leaves `inspect` for what enters, case by case, and the limits under random input.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::*;

use super::{BYTES_MAX, FIELDS_MAX, Fields, RequestView};

fn read(target: &[u8], headers: &[(&str, &str)], body: &[u8]) -> Fields {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::try_from(*name).ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect();
    let mut fields = Fields::new();
    fields.read(&RequestView {
        method: &Method::POST,
        target,
        host: "site.example",
        version: Version::HTTP_11,
        headers: &headers,
        body,
        body_is_whole: true,
    });
    fields
}

fn rendered(fields: &Fields) -> Vec<String> {
    fields.iter().map(|field| format!("{}={}", field.name, String::from_utf8_lossy(field.value))).collect()
}

#[track_caller]
fn check(target: &str, headers: &[(&str, &str)], body: &str, expected: &[&str]) {
    assert_eq!(rendered(&read(target.as_bytes(), headers, body.as_bytes())), expected);
}

#[test]
fn target_is_taken_apart() {
    check(
        "/a%20b/c?id=1%27+or+1&flag&x[y]=%253Cb",
        &[],
        "",
        &["path=/a b/c", "query.id=1' or 1", "query=flag", "query.x[y]=<b"],
    );
    check("/?<i>=1", &[], "", &["path=/", "query.<i>=<i>", "query.<i>=1"]);
}

#[test]
fn headers_and_cookies_are_fields() {
    let headers =
        [("user-agent", "curl/8;id"), ("host", "h"), ("cookie", "sid=a%27; theme=dark"), ("x-forwarded-for", "'")];
    check(
        "/",
        &headers,
        "",
        &["path=/", "header.user-agent=curl/8;id", "cookie.sid=a'", "cookie.theme=dark", "header.x-forwarded-for='"],
    );
    let plain = [("user-agent", "Mozilla/5.0 (X11)"), ("accept", "*/*"), ("referer", "https://h/a?q=x%27&b=c")];
    let referer = ["path=/", "header.referer=https://h/a", "header.referer.q=x'", "header.referer.b=c"];
    check("/", &plain, "", &referer);
}

#[test]
fn bodies_are_taken_apart_by_what_they_are() {
    let form = [("content-type", "application/x-www-form-urlencoded")];
    check("/", &form, "a=1&b=O%27Brien", &["path=/", "form.a=1", "form.b=O'Brien"]);
    check("/", &[], r#"{"a":{"b":["x\u0027",1,true]},"c":"d"}"#, &["path=/", "json.a.b=x'", "json.c=d"]);
    check("/", &[], r#"{"a b":"c"}"#, &["path=/", "json.a?b=a b", "json.a?b=c"]);
    check("/", &[], "{not json", &["path=/", "body={not json"]);
    check("/", &[], "<?xml version='1.0'?>", &["path=/", "body=<?xml version='1.0'?>"]);
}

#[test]
fn multipart_gives_names_filenames_and_contents() {
    let body = "--XX\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nHello\r\n--XX\r\n\
                Content-Disposition: form-data; name=\"f\"; filename=\"../a.php\"\r\n\
                Content-Type: image/png\r\n\r\n<?php x ?>\r\n--XX--\r\n";
    let head = [("content-type", "multipart/form-data; boundary=XX")];
    let expected = ["path=/", "multipart.title=Hello", "multipart.f.filename=../a.php", "multipart.f=<?php x ?>"];
    check("/", &head, body, &expected);
}

#[test]
fn of_a_binary_file_only_readable_runs_are_kept() {
    let mut body = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0".to_vec();
    body.extend_from_slice(b"\0\x01\x02<?php system($_GET[0]); ?>\0\0\x01\x02short\0\0");
    let fields = read(b"/", &[("content-type", "image/png")], &body);
    assert_eq!(rendered(&fields)[1], "body=<?php system($_GET[0]); ?>\n");
}

#[test]
fn layers_are_opened() {
    check(
        "/?q=PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
        &[],
        "",
        &["path=/", "query.q=PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", "query.q=<script>alert(1)</script>"],
    );
    check("/?q=%26%23x3c%3bb", &[], "", &["path=/", "query.q=&#x3c;b", "query.q=<b"]);
    check("/?q=%7B%22a%22:%22b%27%22%7D", &[], "", &["path=/", "query.q.a=b'"]);
}

#[test]
fn what_goes_over_the_limit_is_reported_and_still_looked_at() {
    let many: String = (0..1000).map(|n| format!("p{n}=1&")).collect();
    let fields = read(format!("/?{many}last=%27evil").as_bytes(), &[], b"");
    assert!(fields.truncated().fields && fields.len() <= FIELDS_MAX);
    assert!(rendered(&fields).iter().any(|field| field.contains("last='evil")));
    let deep = "[".repeat(500) + "\"x'\"";
    let fields = read(b"/", &[], deep.as_bytes());
    assert!(fields.truncated().depth && rendered(&fields)[1].ends_with("\"x'\""));
}

#[test]
fn a_second_request_leaves_nothing_of_the_first() {
    let mut fields = read(b"/first?a=b", &[], b"x=y");
    let headers = HeaderMap::new();
    let view = RequestView {
        method: &Method::GET,
        target: b"/second",
        host: "",
        version: Version::HTTP_11,
        headers: &headers,
        body: b"",
        body_is_whole: true,
    };
    fields.read(&view);
    assert_eq!(rendered(&fields), ["path=/second"]);
}

/// Bytes that lean towards what the decoders look for.
fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..24),
        proptest::sample::select(vec![
            "%",
            "%2",
            "%25",
            "%u0027",
            "%c0%af",
            "&#x",
            "&#60;",
            "&lt;",
            "\\u",
            "\\x3c",
            "\\u{3c}",
            "{\"",
            "\":",
            "[",
            "]",
            "}",
            "\"",
            "\\\"",
            "=",
            "&",
            "+",
            "--XX",
            "\r\n\r\n",
            "name=\"",
            "filename=",
            "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
            "／",
            "null",
            "1e9",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    proptest::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_input_panics_or_breaks_a_limit(target in hostile_bytes(), body in hostile_bytes(), cookie in hostile_bytes(), kind in 0..4_usize) {
        let kinds = ["multipart/form-data; boundary=XX", "application/json", "application/x-www-form-urlencoded", "image/png"];
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(kinds[kind]));
        if let Ok(cookie) = HeaderValue::from_bytes(&cookie) {
            headers.insert("cookie", cookie);
        }
        let mut fields = Fields::new();
        let view = RequestView { method: &Method::POST, target: &target, host: "", version: Version::HTTP_11, headers: &headers, body: &body, body_is_whole: true };
        fields.read(&view);
        prop_assert!(fields.len() <= FIELDS_MAX && fields.total_bytes() <= BYTES_MAX);
        for field in fields.iter() {
            prop_assert!(!field.name.is_empty() && field.name.is_ascii());
        }
        let first = rendered(&fields);
        fields.read(&view);
        prop_assert_eq!(first, rendered(&fields));
    }

    #[test]
    fn repeated_tricks_stay_within_the_limits(piece in hostile_bytes(), times in 1..2000_usize) {
        let mut body = piece.repeat(times);
        body.truncate(64 * 1024);
        let fields = read(b"/", &[], &body);
        prop_assert!(fields.len() <= FIELDS_MAX && fields.total_bytes() <= BYTES_MAX);
    }
}
