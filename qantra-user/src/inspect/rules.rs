//! Enters: a compiled rule set, a request and, when a site wants it, its response. Leaves: what rules matched and whether
//! one of them ends the request. It must never allocate while nothing matches, nor keep more of a value than an excerpt.

use std::ops::RangeInclusive;

use http::{HeaderMap, StatusCode, Version, header};
use qantra_seclang::{
    Connection, Ending, EngineMode, Host, Intervention, OwnedTransaction, Scratch, SharedRules, Transaction, Variable,
};

use super::{Field, FieldKind, RequestView, excerpt};

/// Matches that a report keeps.
const MATCHES_MAX: usize = 16;
/// Ids of matches that a report keeps.
const IDS_MAX: usize = 64;
/// How much of a message and of a value a report keeps, in bytes.
const TEXT_BYTES_MAX: usize = 160;
/// Rules that add scores up and refuse: they tell of the matches before them, and are none of their own.
const SCORING: [RangeInclusive<u64>; 3] = [INBOUND_SCORE, 959_000..=959_999, 980_000..=980_999];
/// Those that refuse a request for its score, in CRS 3 and 4.
const INBOUND_SCORE: RangeInclusive<u64> = 949_000..=949_999;
/// Settings of the configuration, as the engine's messages name them, and as people write them.
const LIMITS: [(&str, &str); 2] = [
    ("SecArgumentsLimit", "`inspect.arguments_max`"),
    ("SecRequestBodyNoFilesLimit", "`inspect.request_body_no_files_bytes_max`"),
];

/// How a request or response ends by a rule's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleEnding {
    /// The status to answer with.
    pub status: u16,
    /// The rule; 0 is a limit on bodies.
    pub rule_id: u64,
    /// Where to, when it is a redirect.
    pub location: Option<String>,
    /// Whether the connection is closed without an answer.
    pub is_drop: bool,
}

impl RuleEnding {
    /// Whether it is the request's anomaly score that refuses it, and no rule by itself.
    #[must_use]
    pub fn is_by_score(&self) -> bool {
        INBOUND_SCORE.contains(&self.rule_id)
    }
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleMatch {
    /// Its id.
    pub id: u64,
    /// Its phase, 1 to 5.
    pub phase: u8,
    /// Its message, cut.
    pub message: String,
    /// From 0 (emergency) to 7 (debug).
    pub severity: Option<u8>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The field that matched, such as `query.id`.
    pub field: String,
    /// An excerpt of the value, with what looks like a secret masked.
    pub value: String,
}

/// What rules made of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleReport {
    /// How it ends, when a rule says so.
    pub ending: Option<RuleEnding>,
    /// The rule that would end it, and its status, where the engine only detects.
    pub would_end: Option<(u64, u16)>,
    /// The rules that matched, in order; at most sixteen.
    pub matches: Vec<RuleMatch>,
    /// The ids of all that matched, those beyond `matches` too; at most 64.
    pub ids: Vec<u64>,
    /// The anomaly score: of the request, or of the response after its phases.
    pub score: u32,
    /// The score from which a request is refused; 0 where the set keeps none.
    pub threshold: u32,
}

/// The rules of one site.
#[derive(Debug, Clone)]
pub struct RuleSite<'a> {
    /// Its rules; other sites may share them.
    pub rules: SharedRules,
    /// What they may do for this site.
    pub engine: EngineMode,
    /// The site's name.
    pub name: &'a str,
}

/// One request on its way through a rule set. It owns its state, so that it can wait for the response or be handed to
/// another thread.
#[derive(Debug)]
pub struct RuleRun {
    transaction: OwnedTransaction,
    body_bytes: usize,
    /// Matches that were reported already.
    reported: usize,
}

impl RuleRun {
    /// Takes the request in; no rule runs yet.
    #[must_use]
    pub fn begin(
        site: RuleSite<'_>,
        scratch: Box<Scratch>,
        request: &RequestView<'_>,
        connection: &Connection<'_>,
    ) -> Self {
        let mut transaction = OwnedTransaction::begin(site.rules, scratch, connection);
        transaction.with(|transaction| {
            transaction.set_engine(site.engine);
            transaction.set_web_application(site.name.as_bytes());
            transaction.request_line(request.method.as_str().as_bytes(), request.target, protocol(request.version));
            // HTTP/2 names the host beside the header fields; rules look for it among them.
            if !request.headers.contains_key(header::HOST) && !request.host.is_empty() {
                transaction.request_header(b"host", request.host.as_bytes());
            }
            for (name, value) in request.headers {
                transaction.request_header(name.as_str().as_bytes(), value.as_bytes());
            }
        });
        Self { transaction, body_bytes: 0, reported: 0 }
    }

    /// Phase 1, then takes the body in. Returns whether a rule ended the request.
    pub fn head(&mut self, request: &RequestView<'_>, host: &mut Host<'_>) -> bool {
        self.body_bytes = request.body.len();
        self.transaction.with(|transaction| {
            if transaction.request_headers(host).is_some() {
                return true;
            }
            let ended = transaction.request_body(request.body).is_some();
            ended || (!request.body_is_whole && transaction.request_body_is_cut().is_some())
        })
    }

    /// Phase 2.
    pub fn body(&mut self, host: &mut Host<'_>) {
        self.transaction.with(|transaction| transaction.finish_request(host));
    }

    /// The method and the path without its query, of which at most 256 bytes are kept: for reports of responses.
    pub fn asked(&mut self) -> (String, String) {
        self.transaction.with(|transaction| {
            let first = |variable| text(transaction.first(variable), 256);
            (first(Variable::RequestMethod), first(Variable::RequestFilename))
        })
    }

    /// How much of a body phase 2 has before it.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Phase 3.
    pub fn response_head(&mut self, status: StatusCode, version: Version, headers: &HeaderMap, host: &mut Host<'_>) {
        self.transaction.with(|transaction| {
            transaction.response_line(status.as_u16(), protocol(version));
            for (name, value) in headers {
                transaction.response_header(name.as_str().as_bytes(), value.as_bytes());
            }
            transaction.response_headers(host);
        });
    }

    /// Whether the rules look at bodies of responses at all.
    #[must_use]
    pub fn may_want_response_body(&self) -> bool {
        self.transaction.rules().settings().response_body_access
    }

    /// Whether the rules look at a body of the response's type. Known after [`RuleRun::response_head`].
    pub fn wants_response_body(&mut self) -> bool {
        self.transaction.with(|transaction| transaction.wants_response_body())
    }

    /// Most of a response's body that the rules look at.
    #[must_use]
    pub fn response_bytes_max(&self) -> usize {
        self.transaction.rules().settings().response_body_limit
    }

    /// Phase 4: the body, or the beginning of it.
    pub fn response_body(&mut self, body: &[u8], host: &mut Host<'_>) {
        self.transaction.with(|transaction| {
            if transaction.response_body(body).is_none() {
                transaction.finish_response(host);
            }
        });
    }

    /// What is new since the last report; `None` while no rule matched: the usual case, which allocates nothing.
    pub fn report(&mut self) -> Option<RuleReport> {
        let reported = self.reported;
        let (report, seen) = self.transaction.with(|transaction| {
            let seen = transaction.matches().count();
            let ending = transaction.intervention();
            if seen == reported && ending.is_none() {
                return (None, seen);
            }
            (Some(report_of(transaction, ending, reported)), seen)
        });
        self.reported = seen;
        report
    }

    /// The transaction as it stands, for those who ask for more than a report.
    pub fn look<T>(&mut self, look: impl FnOnce(&mut Transaction<'_, '_>) -> T) -> T {
        self.transaction.with(look)
    }

    /// Phase 5, and the memory for the next request.
    #[must_use]
    pub fn end(mut self, host: &mut Host<'_>) -> Box<Scratch> {
        self.transaction.with(|transaction| transaction.logging(host));
        self.transaction.finish()
    }
}

/// The protocol as a request line has it.
const fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

fn report_of(transaction: &Transaction<'_, '_>, ending: Option<Intervention>, reported: usize) -> RuleReport {
    let mut ids = Vec::new();
    let mut matches = Vec::new();
    let mut would_end = None;
    for found in transaction.matches().skip(reported) {
        would_end = would_end.or_else(|| Some((found.rule_id, found.ends_with()?)));
        if !(found.logged || found.audited) || SCORING.iter().any(|range| range.contains(&found.rule_id)) {
            continue;
        }
        if matches.len() < MATCHES_MAX {
            matches.push(match_of(&found, transaction.body_error()));
        }
        if ids.len() < IDS_MAX {
            ids.push(found.rule_id);
        }
    }
    let is_response = matches.iter().any(|found| found.phase == 3 || found.phase == 4);
    // What CRS 4 calls it, and what CRS 3 does.
    let (scores, thresholds) = match is_response {
        false => (
            ["blocking_inbound_anomaly_score", "anomaly_score", "inbound_anomaly_score"],
            "inbound_anomaly_score_threshold",
        ),
        true => (
            ["blocking_outbound_anomaly_score", "outbound_anomaly_score", "outbound_anomaly_score"],
            "outbound_anomaly_score_threshold",
        ),
    };
    let number = |name: &str| transaction.score(name).and_then(|score| u32::try_from(score).ok());
    RuleReport {
        ending: ending.map(|ending| RuleEnding {
            status: ending.status,
            rule_id: ending.rule_id,
            location: (ending.ending == Ending::Redirect).then(|| text(transaction.location(), 2_048)),
            is_drop: ending.ending == Ending::Drop,
        }),
        would_end: would_end.filter(|_| ending.is_none()),
        matches,
        ids,
        score: scores.iter().filter_map(|name| number(name)).max().unwrap_or(0),
        threshold: number(thresholds).unwrap_or(0),
    }
}

fn match_of(found: &qantra_seclang::Match<'_>, body_error: &[u8]) -> RuleMatch {
    let field = field_name(found.variable.name(), found.key);
    let value = match found.variable {
        // "1" tells nobody anything.
        Variable::ReqbodyError | Variable::ReqbodyProcessorError | Variable::MultipartStrictError => {
            why_unread(body_error)
        }
        _ => excerpt(&Field { kind: FieldKind::Value, name: &field, value: found.value }, 0, TEXT_BYTES_MAX),
    };
    RuleMatch {
        id: found.rule_id,
        phase: found.phase,
        message: text(found.message, TEXT_BYTES_MAX),
        severity: found.severity,
        tags: found.tags().map(|tag| text(tag, 64)).collect(),
        value,
        field,
    }
}

/// Why a body could not be read, with limits named as the configuration names them.
fn why_unread(body_error: &[u8]) -> String {
    let said = text(body_error, TEXT_BYTES_MAX);
    match LIMITS.iter().find(|(directive, _)| said.contains(directive)) {
        Some((directive, key)) => said.replace(directive, key),
        None => said,
    }
}

/// A variable as the rest of Qantra names fields: `REQUEST_HEADERS:X` is `header.x`.
fn field_name(variable: &str, key: &[u8]) -> String {
    let place = match variable {
        "ARGS" | "ARGS_NAMES" => "args",
        "ARGS_GET" | "ARGS_GET_NAMES" | "QUERY_STRING" => "query",
        "ARGS_POST" | "ARGS_POST_NAMES" => "form",
        "REQUEST_COOKIES" | "REQUEST_COOKIES_NAMES" => "cookie",
        "REQUEST_HEADERS" | "REQUEST_HEADERS_NAMES" => "header",
        "RESPONSE_HEADERS" | "RESPONSE_HEADERS_NAMES" => "response_header",
        "REQUEST_URI" | "REQUEST_URI_RAW" | "REQUEST_FILENAME" | "REQUEST_BASENAME" => "path",
        "REQUEST_BODY" => "body",
        "FILES" | "FILES_NAMES" | "MULTIPART_FILENAME" | "MULTIPART_NAME" => "multipart",
        "XML:/*" | "XML://@*" => "xml",
        other => return other.to_ascii_lowercase(),
    };
    let key = text(&key.to_ascii_lowercase(), 64);
    if key.is_empty() { place.to_owned() } else { format!("{place}.{key}") }
}

/// Bytes of an attacker's choice as printable ASCII, cut.
fn text(bytes: &[u8], bytes_max: usize) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    bytes.iter().take(bytes_max).map(shown).collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
