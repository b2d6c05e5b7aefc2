//! What leaves a rule set for a request, and that nothing of one request is told of the next.

use std::{net::IpAddr, sync::Arc};

use http::Method;
use qantra_seclang::{Connection, Host, NoCollections, NoLookups, RuleSet};

use super::*;
use crate::inspect::RawRequest;

const RULES: &str = r#"
    SecRuleEngine On
    SecRequestBodyAccess On
    SecResponseBodyAccess On
    SecResponseBodyMimeType text/html
    SecAction "id:1,phase:1,nolog,pass,setvar:tx.blocking_inbound_anomaly_score=0,setvar:tx.inbound_anomaly_score_threshold=5"
    SecRule ARGS "@rx (?i)union\s+select" "id:942,phase:2,pass,log,severity:CRITICAL,msg:'SQL in %{MATCHED_VAR_NAME}',\
        tag:'attack-sqli',setvar:tx.blocking_inbound_anomaly_score=+5"
    SecRule TX:blocking_inbound_anomaly_score "@ge %{tx.inbound_anomaly_score_threshold}" "id:949110,phase:2,deny,status:403"
    SecRule REQUEST_HEADERS:Host "@streq other.example" "id:5,phase:1,redirect:'https://example.org/'"
    SecRule RESPONSE_BODY "@contains root:x:0" "id:950,phase:4,deny,status:502,msg:'leak'"
"#;

fn run(rules: &SharedRules, raw: &[u8]) -> RuleRun {
    let request = RawRequest::parse(raw);
    let client = IpAddr::from([192, 0, 2, 1]);
    let connection = Connection { client, client_port: 1, server: client, server_port: 80, unique_id: "u" };
    let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut run = RuleRun::begin(site(rules), Box::default(), &request.view(), &connection);
    if !run.head(&request.view(), &mut host) {
        run.body(&mut host);
    }
    run
}

fn site(rules: &SharedRules) -> RuleSite<'static> {
    RuleSite { rules: Arc::clone(rules), engine: EngineMode::On, name: "shop" }
}

fn rules() -> SharedRules {
    Arc::new(RuleSet::from_text(RULES).unwrap())
}

#[test]
fn an_attack_is_reported_with_rule_field_value_and_score() {
    let raw = b"GET /?Id=1%20UNION%20SELECT%202 HTTP/1.1\r\nHost: h\r\n\r\n";
    let report = run(&rules(), raw).report().unwrap();
    assert_eq!(report.ending.map(|ending| (ending.status, ending.rule_id)), Some((403, 949_110)));
    assert_eq!((report.score, report.threshold), (5, 5));
    assert_eq!(report.matches.len(), 1, "what adds scores up is no match of its own");
    let found = &report.matches[0];
    assert_eq!((found.id, found.severity, found.field.as_str()), (942, Some(2), "args.id"));
    assert_eq!((found.message.as_str(), found.value.as_str()), ("SQL in ARGS:Id", "1 UNION SELECT 2"));
    assert_eq!(found.tags, ["attack-sqli"]);
}

#[test]
fn nothing_is_reported_of_an_honest_request() {
    let mut run = run(&rules(), b"GET /?id=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(run.report(), None);
}

#[test]
fn a_secret_does_not_reach_the_report() {
    let raw = b"GET /?password=hunter2%20union%20select HTTP/1.1\r\nHost: h\r\n\r\n";
    let report = run(&rules(), raw).report().unwrap();
    assert!(!report.matches[0].value.contains("hunter2"), "{report:?}");
}

#[test]
fn http2_has_its_host_among_the_headers() {
    let mut raw = RawRequest::parse(b"GET / HTTP/1.1\r\n\r\n");
    raw.method = Method::GET;
    let view = RequestView { host: "other.example", version: Version::HTTP_2, ..raw.view() };
    let client = IpAddr::from([192, 0, 2, 1]);
    let connection = Connection { client, client_port: 1, server: client, server_port: 80, unique_id: "u" };
    let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut run = RuleRun::begin(site(&rules()), Box::default(), &view, &connection);
    assert!(run.head(&view, &mut host));
    let ending = run.report().unwrap().ending.unwrap();
    assert_eq!((ending.status, ending.location.as_deref()), (302, Some("https://example.org/")));
}

#[test]
fn a_response_is_reported_apart_from_its_request() {
    let rules = rules();
    let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut run = run(&rules, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "image/png".parse().unwrap());
    run.response_head(StatusCode::OK, Version::HTTP_11, &headers, &mut host);
    assert!(!run.wants_response_body(), "a picture");
    let mut run = self::run(&rules, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    headers.insert("content-type", "text/html".parse().unwrap());
    run.response_head(StatusCode::OK, Version::HTTP_11, &headers, &mut host);
    assert!(run.wants_response_body());
    assert_eq!(run.report(), None);
    run.response_body(b"root:x:0:0:", &mut host);
    let report = run.report().unwrap();
    assert_eq!(report.ending.map(|ending| ending.status), Some(502));
    assert_eq!(report.matches[0].id, 950);
    // What was used is clean again.
    let scratch = run.end(&mut host);
    let request = RawRequest::parse(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let client = IpAddr::from([192, 0, 2, 1]);
    let connection = Connection { client, client_port: 1, server: client, server_port: 80, unique_id: "u" };
    let mut next = RuleRun::begin(site(&rules), scratch, &request.view(), &connection);
    assert!(!next.head(&request.view(), &mut host));
    next.body(&mut host);
    assert_eq!(next.report(), None);
}
