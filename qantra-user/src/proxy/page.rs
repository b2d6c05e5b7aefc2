//! Enters: a status, a decision's id, what the client accepts. Leaves: the answer that Qantra gives by itself. It must
//! never say more of what is inside than the decision's id.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use pingora::{Result, http::ResponseHeader};

use crate::decide::DecisionId;

/// An answer of ours.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) head: ResponseHeader,
    pub(super) body: Bytes,
}

/// What an answer says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) status: u16,
    /// The decision it stands for, if any.
    pub(super) decision: Option<DecisionId>,
    pub(super) request_id: &'a str,
    /// Seconds for `Retry-After`.
    pub(super) retry_after_s: Option<u64>,
    /// Whether a rule refused it: then the request's id is what an administrator needs.
    pub(super) by_rule: bool,
    /// For `Location`.
    pub(super) location: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// A status and the request's id, and nothing else.
    pub(super) const fn new(status: u16, request_id: &'a str) -> Self {
        Self { status, decision: None, request_id, retry_after_s: None, by_rule: false, location: None }
    }

    /// Builds the answer: JSON where the client's `Accept` asks for it before HTML, a page otherwise.
    ///
    /// # Errors
    /// When Pingora cannot build the head, which no status in use makes happen.
    pub(super) fn page(&self, request: &HeaderMap) -> Result<Page> {
        let as_json = prefers_json(request);
        let body = if as_json { self.json() } else { self.html() };
        let kind = if as_json { "application/json" } else { "text/html; charset=utf-8" };
        let mut head = ResponseHeader::build(self.status, Some(6))?;
        head.insert_header(header::CONTENT_TYPE, kind)?;
        head.insert_header(header::CONTENT_LENGTH, body.len())?;
        head.insert_header(header::CACHE_CONTROL, "no-store")?;
        head.insert_header("X-Content-Type-Options", "nosniff")?;
        head.insert_header("X-Request-Id", self.request_id)?;
        if let Some(location) = self.location {
            head.insert_header(header::LOCATION, location)?;
        }
        if let Some(seconds) = self.retry_after_s {
            head.insert_header(header::RETRY_AFTER, seconds.to_string())?;
        }
        Ok(Page { head, body: body.into() })
    }

    fn reason(&self) -> &'static str {
        StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
    }

    fn json(&self) -> String {
        let decision = self.decision.map(|id| id.to_string());
        serde_json::json!({
            "status": self.status,
            "error": self.reason(),
            "decision": decision,
            "request": self.request_id,
        })
        .to_string()
    }

    fn html(&self) -> String {
        let (status, reason, request) = (self.status, self.reason(), self.request_id);
        let decision = match self.decision {
            Some(id) => format!(
                "<p>This request was refused by a security rule. If you think that is wrong, tell the \
                 administrator this id:</p><p><code>{id}</code></p>"
            ),
            None if self.by_rule => format!(
                "<p>This request was refused by a security rule. If you think that is wrong, tell the \
                 administrator this id:</p><p><code>{request}</code></p>"
            ),
            None => String::new(),
        };
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{status} {reason}</title><style>body{{font:16px/1.5 sans-serif;\
             max-width:36em;margin:15vh auto;padding:0 1em}}code{{font-size:1.2em}}</style><h1>{status} {reason}</h1>\
             {decision}<p><small>Request {request}</small></p></html>\n"
        )
    }
}

/// Whether `Accept` names JSON, and no HTML before it.
fn prefers_json(request: &HeaderMap) -> bool {
    let Some(accept) = request.get(header::ACCEPT) else { return false };
    let accept = accept.as_bytes();
    let find = |kind: &[u8]| memchr::memmem::find(accept, kind);
    match (find(b"json"), find(b"text/html")) {
        (Some(json), Some(html)) => json < html,
        (json, _) => json.is_some(),
    }
}

/// A whole HTTP/1.1 answer for a request whose head never reached Pingora.
pub(super) fn bare_answer(status: u16, request_id: &str) -> Vec<u8> {
    let message = Message::new(status, request_id);
    let (reason, body) = (message.reason(), message.html());
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, value.parse().unwrap());
        headers
    }

    const BLOCKED: Message<'_> = Message { decision: Some(DecisionId(77)), ..Message::new(403, "req1") };

    #[test]
    fn people_get_a_page_with_the_decision() {
        let page = BLOCKED.page(&accepts("text/html,application/xhtml+xml,*/*;q=0.8")).unwrap();
        let body = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(body.contains(&DecisionId(77).to_string()) && body.contains("req1"), "{body}");
        assert_eq!(page.head.status, 403);
        assert_eq!(page.head.headers[header::CONTENT_LENGTH], page.body.len().to_string());
    }

    #[test]
    fn programs_get_json() {
        for accept in ["application/json", "application/problem+json, text/html;q=0.1"] {
            let page = BLOCKED.page(&accepts(accept)).unwrap();
            let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
            assert_eq!(body["decision"], DecisionId(77).to_string());
            assert_eq!(body["status"], 403);
        }
        let page = BLOCKED.page(&HeaderMap::new()).unwrap();
        assert!(page.body.starts_with(b"<!doctype"));
    }

    #[test]
    fn a_rules_refusal_shows_the_requests_id_where_there_is_no_decision() {
        let message = Message { by_rule: true, ..Message::new(403, "req1") };
        let body = String::from_utf8(message.page(&HeaderMap::new()).unwrap().body.to_vec()).unwrap();
        assert!(body.contains("<code>req1</code>"), "{body}");
        let redirect = Message { location: Some("https://example.org/"), ..Message::new(302, "req1") };
        assert_eq!(redirect.page(&HeaderMap::new()).unwrap().head.headers[header::LOCATION], "https://example.org/");
    }

    #[test]
    fn retry_after_is_said() {
        let message = Message { status: 429, retry_after_s: Some(7), ..BLOCKED };
        assert_eq!(message.page(&HeaderMap::new()).unwrap().head.headers[header::RETRY_AFTER], "7");
    }

    #[test]
    fn a_bare_answer_is_whole() {
        let text = String::from_utf8(bare_answer(431, "req2")).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
    }
}
