//! Enters: the bytes of one HTTP/1.1 request, as a corpus holds them. Leaves: an owned request to make a
//! [`RequestView`] of. For corpora and tests, not for the wire: it must never refuse a request for its form.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::RequestView;

/// One request of a corpus.
#[derive(Debug, Clone, Default)]
pub struct RawRequest {
    /// The method; `GET` where it is no valid one.
    pub method: Method,
    /// Path and query.
    pub target: Vec<u8>,
    /// The header fields that have valid names and values.
    pub headers: HeaderMap,
    /// All that follows the head.
    pub body: Vec<u8>,
}

impl RawRequest {
    /// Takes a request apart, leniently.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let (head, body) = match raw.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(at) => (&raw[..at], &raw[at + 4..]),
            None => match raw.windows(2).position(|two| two == b"\n\n") {
                Some(at) => (&raw[..at], &raw[at + 2..]),
                None => (raw, &[][..]),
            },
        };
        let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let (method, rest) = split_at_blank(first);
        let target = match rest.windows(6).rposition(|window| window == b" HTTP/") {
            Some(at) => &rest[..at],
            None => rest,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = HeaderName::from_bytes(line[..colon].trim_ascii());
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                // Full at 32,768 fields; a corpus with more than that per request is cut.
                if headers.try_append(name, value).is_err() {
                    break;
                }
            }
        }
        Self {
            method: Method::from_bytes(method).unwrap_or(Method::GET),
            target: origin_form(target).to_vec(),
            headers,
            body: body.to_vec(),
        }
    }

    /// The request as the proxy would hand it over.
    #[must_use]
    pub fn view(&self) -> RequestView<'_> {
        RequestView {
            method: &self.method,
            target: &self.target,
            host: self.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
            version: Version::HTTP_11,
            headers: &self.headers,
            body: &self.body,
            body_is_whole: true,
        }
    }
}

fn split_at_blank(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, b"/"),
    }
}

/// Path and query of an absolute-form target.
fn origin_form(target: &[u8]) -> &[u8] {
    for scheme in [&b"http://"[..], b"https://"] {
        if let Some(rest) = target.strip_prefix(scheme) {
            return rest.iter().position(|byte| *byte == b'/').map_or(b"/", |slash| &rest[slash..]);
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::RawRequest;

    #[test]
    fn odd_requests_are_taken_as_they_are() {
        let request =
            RawRequest::parse(b"POST http://h/a b?c HTTP/1.1\r\nHost: h\r\nBad Name: x\r\nX: y\r\n\r\nbody\r\n\r\n");
        assert_eq!(request.method, "POST");
        assert_eq!(request.target, b"/a b?c");
        assert_eq!(request.headers.len(), 2);
        assert_eq!(request.body, b"body\r\n\r\n");
        assert_eq!(RawRequest::parse(b"").target, b"/");
    }
}
