//! Enters: the raw bytes of one HTTP/1 request head, or the fields of one HTTP/2 head. Leaves: whether its form is
//! beyond doubt. What two servers could read in two ways is refused here, before any parser repairs it: request
//! smuggling lives off such repairs (RFC 9112, sections 2.2, 3.2, 5.1, 5.2, 6.1 and 6.3).
//! It must never forgive a shape because a common client sends it; none does.

use http::{HeaderMap, Method};

/// Limits of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes_max: usize,
    pub(super) fields_max: usize,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400: its form breaks the protocol, in the way that the text names.
    Violation(&'static str),
    /// 405: `CONNECT`, which a reverse proxy does not do.
    Method,
    /// 431: too long, or too many fields.
    TooLarge,
}

/// What is known of a head whose form is in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HeadFacts {
    /// Some field's name has an underscore; CGI cannot tell such a name from one with a hyphen.
    pub(super) underscored: bool,
}

/// Where a head ends, if it does: the index after its empty line. `from` is where the search may go on.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    // Step back, so that an empty line across two reads is seen.
    let start = from.saturating_sub(3);
    memchr::memchr_iter(b'\n', &bytes[start..]).map(|at| start + at).find_map(|at| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

/// How many bytes of empty lines stand before a request line; RFC 9112, section 2.2, has them skipped.
pub(super) fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// Checks a whole HTTP/1 head, empty line included.
///
/// # Errors
/// [`Refusal`], with the shape it was refused for.
pub(super) fn check_http1(head: &[u8], limits: HeadLimits) -> Result<HeadFacts, Refusal> {
    if head.len() > limits.bytes_max {
        return Err(Refusal::TooLarge);
    }
    let mut lines = Lines(head);
    let request = request_line(lines.next().ok_or(Refusal::Violation("empty head"))??)?;
    let mut fields = Fields::default();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            return fields.judge(&request);
        }
        fields.count += 1;
        if fields.count > limits.fields_max {
            return Err(Refusal::TooLarge);
        }
        fields.take(line)?;
    }
    Err(Refusal::Violation("head without end"))
}

/// Checks an HTTP/2 head. Connection-specific fields are a stream error to the `h2` crate already; what it lets by is
/// checked here.
///
/// # Errors
/// [`Refusal`], with the shape it was refused for.
pub(super) fn check_http2(
    method: &Method,
    authority: Option<&str>,
    fields: &HeaderMap,
    limits: HeadLimits,
) -> Result<HeadFacts, Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if fields.len() > limits.fields_max || bytes > limits.bytes_max.max(limits.fields_max * 32) {
        return Err(Refusal::TooLarge);
    }
    const CONNECTION_SPECIFIC: [&str; 5] =
        ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection"];
    if CONNECTION_SPECIFIC.iter().any(|name| fields.contains_key(*name)) {
        return Err(Refusal::Violation("connection-specific field in HTTP/2"));
    }
    if fields.get_all(http::header::HOST).iter().count() > 1 {
        return Err(Refusal::Violation("more than one Host"));
    }
    if let (Some(host), Some(authority)) = (fields.get(http::header::HOST), authority)
        && !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())
    {
        return Err(Refusal::Violation("authority and Host name different hosts"));
    }
    let lengths = fields.get_all(http::header::CONTENT_LENGTH);
    if lengths.iter().count() > 1 || lengths.iter().any(|length| !is_length(length.as_bytes())) {
        return Err(Refusal::Violation("Content-Length is no single number"));
    }
    Ok(HeadFacts { underscored: fields.keys().any(|name| name.as_str().contains('_')) })
}

/// The request target in origin form, cut out of an absolute one; `None` when it is in origin form already.
pub(super) fn origin_form(target: &[u8]) -> Option<&[u8]> {
    let (_, path) = absolute_form(target)?;
    Some(if path.is_empty() { b"/" } else { path })
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Some(line.strip_suffix(b"\r").ok_or(Refusal::Violation("bare LF")))
    }
}

struct RequestLine<'a> {
    is_http_11: bool,
    /// Authority of a target in absolute form.
    authority: Option<&'a [u8]>,
}

fn request_line(line: &[u8]) -> Result<RequestLine<'_>, Refusal> {
    const MALFORMED: Refusal = Refusal::Violation("malformed request line");
    let method_end = memchr::memchr(b' ', line).ok_or(MALFORMED)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    let target_end = memchr::memchr(b' ', rest).ok_or(MALFORMED)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    let is_http_11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(MALFORMED),
    };
    if method.is_empty() || target.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(MALFORMED);
    }
    if target.iter().any(|byte| *byte < 0x21 || *byte == 0x7f) {
        return Err(Refusal::Violation("control character in the target"));
    }
    if method == b"CONNECT" {
        return Err(Refusal::Method);
    }
    let authority = match target {
        [b'/', ..] => None,
        b"*" if method == b"OPTIONS" => None,
        _ => match absolute_form(target) {
            Some((authority, _)) => Some(authority),
            None => return Err(Refusal::Violation("target in no known form")),
        },
    };
    Ok(RequestLine { is_http_11, authority })
}

/// Authority and rest of an `http` or `https` target.
fn absolute_form(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let scheme_end = target.iter().take(6).position(|byte| *byte == b':')?;
    let scheme = &target[..scheme_end];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = target[scheme_end..].strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // `http://host?x` has no path to send on: such a target is in no form an origin knows.
    (path.is_empty() || path[0] == b'/').then_some((authority, path))
}

#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a [u8]>,
    has_length: bool,
    has_coding: bool,
    facts: HeadFacts,
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Violation("folded field line"));
        }
        let colon = memchr::memchr(b':', line).ok_or(Refusal::Violation("field without a colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Refusal::Violation("malformed field name"));
        }
        if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
            return Err(Refusal::Violation("control character in a field value"));
        }
        let value = value.trim_ascii();
        self.facts.underscored |= memchr::memchr(b'_', name).is_some();
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.take_host(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.take_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.take_coding(value),
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.host.replace(value).is_some() {
            return Err(Refusal::Violation("more than one Host"));
        }
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']');
        if value.iter().all(fits) { Ok(()) } else { Err(Refusal::Violation("malformed Host")) }
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.has_length {
            return Err(Refusal::Violation("more than one Content-Length"));
        }
        self.has_length = true;
        if is_length(value) { Ok(()) } else { Err(Refusal::Violation("Content-Length is no single number")) }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.has_coding {
            return Err(Refusal::Violation("more than one Transfer-Encoding"));
        }
        self.has_coding = true;
        let known = value.eq_ignore_ascii_case(b"chunked");
        if known { Ok(()) } else { Err(Refusal::Violation("Transfer-Encoding other than chunked")) }
    }

    fn judge(&self, request: &RequestLine<'_>) -> Result<HeadFacts, Refusal> {
        if self.has_coding && self.has_length {
            return Err(Refusal::Violation("both Content-Length and Transfer-Encoding"));
        }
        if self.has_coding && !request.is_http_11 {
            return Err(Refusal::Violation("Transfer-Encoding in HTTP/1.0"));
        }
        if self.host.is_none() && request.is_http_11 {
            return Err(Refusal::Violation("no Host"));
        }
        let host = self.host.unwrap_or_default();
        match request.authority {
            Some(authority) if !authority.eq_ignore_ascii_case(host) => {
                Err(Refusal::Violation("target and Host name different hosts"))
            }
            _ => Ok(self.facts),
        }
    }
}

/// At most 18 digits: no length that overflows anybody's integer.
fn is_length(value: &[u8]) -> bool {
    (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes_max: 4_096, fields_max: 16 };

    fn check(head: &str) -> Result<HeadFacts, Refusal> {
        check_http1(head.as_bytes(), LIMITS)
    }

    #[test]
    fn ordinary_heads_pass() {
        let browser = "GET /a?b=%20 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x/1 (y; z)\r\nAccept: */*\r\n\r\n";
        assert_eq!(check(browser), Ok(HeadFacts::default()));
        for head in [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "GET http://A.example:81/x HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nX:\r\nY: a\tb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n\r\n",
        ] {
            assert!(check(head).is_ok(), "{head:?}");
        }
        assert_eq!(check("GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\n\r\n"), Ok(HeadFacts { underscored: true }));
    }

    #[test]
    fn each_smuggling_shape_is_refused_by_its_name() {
        for (head, shape) in [
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                "both Content-Length and Transfer-Encoding",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
                "more than one Content-Length",
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", "Content-Length is no single number"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", "Content-Length is no single number"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", "Content-Length is no single number"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "Content-Length is no single number"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "Transfer-Encoding other than chunked",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
                "Transfer-Encoding other than chunked",
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
                "control character in a field value",
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", "malformed field name"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "more than one Transfer-Encoding",
            ),
            ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in HTTP/1.0"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n y\r\n\r\n", "folded field line"),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded field line"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control character in a field value"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "control character in a field value"),
            ("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "bare LF"),
            ("GET / HTTP/1.1\nHost: a\n\n", "bare LF"),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "target and Host name different hosts"),
            ("GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "target and Host name different hosts"),
            ("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "target and Host name different hosts"),
            ("GET / HTTP/1.1\r\nX: a\r\n\r\n", "no Host"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed Host"),
            ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "malformed Host"),
            ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", "control character in the target"),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "malformed request line"),
            ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", "malformed request line"),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "malformed request line"),
            ("GET /\r\n\r\n", "malformed request line"),
            ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", "target in no known form"),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "target in no known form"),
            ("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "target in no known form"),
            ("GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", "field without a colon"),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", "malformed field name"),
        ] {
            assert_eq!(check(head), Err(Refusal::Violation(shape)), "{head:?}");
        }
        assert_eq!(check("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), Err(Refusal::Method));
    }

    #[test]
    fn limits_are_told_from_malformed_heads() {
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(16));
        assert_eq!(check(&many), Err(Refusal::TooLarge));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(4_096));
        assert_eq!(check(&long), Err(Refusal::TooLarge));
    }

    #[test]
    fn the_end_is_found_wherever_a_read_stopped() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        for stop in 0..head.len() {
            let found = end_of_head(head, stop);
            if stop <= 27 {
                assert_eq!(found, Some(27), "from {stop}");
            }
        }
        assert_eq!(end_of_head(b"GET / HTTP/1.1\r\nHost: a\r\n", 0), None);
        assert_eq!(end_of_head(b"a\n\nb", 0), Some(3));
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
        assert_eq!(leading_empty_lines(b"GET"), 0);
    }

    #[test]
    fn absolute_targets_are_cut_to_origin_form() {
        assert_eq!(origin_form(b"http://a/x?y"), Some(b"/x?y".as_slice()));
        assert_eq!(origin_form(b"HTTPS://a"), Some(b"/".as_slice()));
        assert_eq!(origin_form(b"/x"), None);
    }

    #[test]
    fn http2_heads_carry_no_connection_fields() {
        let mut fields = HeaderMap::new();
        fields.insert("te", http::HeaderValue::from_static("trailers"));
        let check = |fields: &HeaderMap| check_http2(&Method::GET, Some("a"), fields, LIMITS);
        assert!(check(&fields).is_ok());
        fields.insert("host", http::HeaderValue::from_static("b"));
        assert_eq!(check(&fields), Err(Refusal::Violation("authority and Host name different hosts")));
        fields.insert("host", http::HeaderValue::from_static("A"));
        assert!(check(&fields).is_ok());
        fields.insert("connection", http::HeaderValue::from_static("close"));
        assert_eq!(check(&fields), Err(Refusal::Violation("connection-specific field in HTTP/2")));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_none_with_two_framings_pass(
            middle in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
        ) {
            let mut head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n".to_vec();
            head.extend(&middle);
            head.extend(b"\r\nTransfer-Encoding: chunked\r\n\r\n");
            let end = end_of_head(&head, 0);
            proptest::prop_assert!(end.is_some());
            if end == Some(head.len()) {
                proptest::prop_assert!(check_http1(&head, LIMITS).is_err());
            }
            let _ = check_http1(&middle, LIMITS);
            let _ = end_of_head(&middle, middle.len() / 2);
            let _ = origin_form(&middle);
        }
    }
}
