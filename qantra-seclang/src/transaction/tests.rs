//! Small rule sets and requests: what each action, variable and phase does.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::{Connection, Ending, Host, Intervention, NoLookups, Scratch, Transaction};
use crate::{Collections, MemoryCollections, NoCollections, Options, RuleSet, StdFiles, source::MemoryFiles};

const ON: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n";

fn rules(text: &str) -> RuleSet {
    RuleSet::from_text(&format!("{ON}{}\n{text}", crate::RECOMMENDED)).expect("loads")
}

fn connection() -> Connection<'static> {
    let local = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    Connection { client: local, client_port: 1, server: local, server_port: 443, unique_id: "u1" }
}

struct Sent<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
    response: &'a str,
}

const GET: Sent<'_> = Sent { method: "GET", target: "/", headers: &[], body: "", response: "" };

fn run(
    rules: &RuleSet,
    sent: &Sent<'_>,
    collections: &mut dyn Collections,
) -> (Option<Intervention>, Vec<u64>, Vec<String>) {
    let mut scratch = Scratch::new();
    let mut host = Host { now_s: 1_000_000, elapsed_ms: 5, collections, lookups: &NoLookups };
    let mut transaction = rules.transaction(&mut scratch, &connection());
    drive(&mut transaction, sent, &mut host);
    let ids = transaction.matches().map(|found| found.rule_id).collect();
    let messages = transaction.matches().map(|found| String::from_utf8_lossy(found.message).into_owned()).collect();
    (transaction.intervention(), ids, messages)
}

fn drive(transaction: &mut Transaction<'_, '_>, sent: &Sent<'_>, host: &mut Host<'_>) {
    transaction.request_line(sent.method.as_bytes(), sent.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in sent.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let _ = transaction.request_headers(host);
    let _ = transaction.request_body(sent.body.as_bytes());
    let _ = transaction.finish_request(host);
    transaction.response_line(200, b"HTTP/1.1");
    transaction.response_header(b"Content-Type", b"text/html; charset=utf-8");
    let _ = transaction.response_headers(host);
    let _ = transaction.response_body(sent.response.as_bytes());
    let _ = transaction.finish_response(host);
    transaction.logging(host);
}

#[track_caller]
fn check(text: &str, sent: &Sent<'_>, ids: &[u64]) {
    let (_, found, _) = run(&rules(text), sent, &mut NoCollections);
    assert_eq!(found, ids);
}

fn target(target: &str) -> Sent<'_> {
    Sent { target, ..GET }
}

#[test]
fn variables_and_selectors() {
    let text = r#"
        SecRule ARGS:a "@streq 1" "id:1,phase:1,pass"
        SecRule ARGS|!ARGS:a "@streq 1" "id:2,phase:1,pass"
        SecRule &ARGS "@eq 2" "id:3,phase:1,pass"
        SecRule ARGS:/^b/ "@streq 2" "id:4,phase:1,pass"
        SecRule REQUEST_FILENAME "@streq /x y" "id:5,phase:1,pass"
        SecRule REQUEST_BASENAME "@streq x y" "id:6,phase:1,pass"
        SecRule ARGS_NAMES "@streq bc" "id:7,phase:1,pass"
        SecRule QUERY_STRING "@streq A=1&bc=2" "id:8,phase:1,pass"
        SecRule REMOTE_ADDR "@ipMatch 192.0.2.0/24" "id:9,phase:1,pass"
        SecRule REQUEST_COOKIES:s|REQUEST_HEADERS:x-y "@streq v" "id:10,phase:1,pass""#;
    let sent = Sent { headers: &[("Cookie", "q=1; s=v"), ("X-Y", "w")], ..target("/x%20y?A=1&bc=2") };
    check(text, &sent, &[1, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn chains_captures_and_scores() {
    let text = r#"
        SecRule ARGS "@rx ^(\w+)=(\w+)$" "id:1,phase:2,pass,capture,chain,msg:'%{TX.1} in %{MATCHED_VAR_NAME}',\
            setvar:tx.seen=+1"
            SecRule TX:1 "@streq %{TX.2}" "setvar:tx.score=+5,setvar:tx.last=%{MATCHED_VAR}"
        SecRule TX:score "@ge 10" "id:2,phase:2,deny,status:406"
        SecRule TX:score "@eq 5" "id:3,phase:2,pass,msg:'%{tx.last} of %{tx.seen}'""#;
    let (ended, ids, messages) = run(&rules(text), &target("/?a=x=y&b=z=z"), &mut NoCollections);
    assert_eq!((ended, ids), (None, vec![1, 3]));
    assert_eq!(messages, ["z in TX:1", "z of 2"]);
}

#[test]
fn disruptive_actions_and_modes() {
    let deny = r#"SecRule ARGS:a "@streq 1" "id:1,phase:2,deny,status:406"
        SecRule ARGS:a "@streq 1" "id:2,phase:2,pass"
        SecAction "id:3,phase:5,pass""#;
    let (ended, ids, _) = run(&rules(deny), &target("/?a=1"), &mut NoCollections);
    assert_eq!(ended, Some(Intervention { status: 406, ending: Ending::Deny, rule_id: 1 }));
    assert_eq!(ids, [1, 3], "nothing runs after the end but logging");
    let (ended, ids, _) =
        run(&rules(&format!("SecRuleEngine DetectionOnly\n{deny}")), &target("/?a=1"), &mut NoCollections);
    assert_eq!((ended, ids), (None, vec![1, 2, 3]));
    check(&format!("SecRuleEngine Off\n{deny}"), &target("/?a=1"), &[]);
    check(&deny.replace("deny,status:406", "allow"), &target("/?a=1"), &[1, 3]);
    check(
        &format!("SecDefaultAction \"phase:2,deny,status:418\"\n{}", deny.replace("deny,status:406", "block")),
        &target("/?a=1"),
        &[1, 3],
    );
}

#[test]
fn jumps() {
    let text = r#"
        SecRule ARGS:a "@streq 1" "id:1,phase:1,pass,nolog,skipAfter:END"
        SecAction "id:2,phase:1,pass"
        SecAction "id:3,phase:1,pass"
        SecMarker END
        SecRule ARGS:b "@streq 1" "id:4,phase:1,pass,nolog,skip:1"
        SecAction "id:5,phase:1,pass"
        SecAction "id:6,phase:1,pass""#;
    check(text, &target("/?a=1"), &[5, 6]);
    check(text, &target("/?b=1"), &[2, 3, 6]);
}

#[test]
fn controls_take_rules_and_targets_out() {
    let text = r#"
        SecRule ARGS:off "@streq 1" "id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10-11,ctl:ruleRemoveTargetByTag=web;ARGS:a"
        SecRule ARGS:a "@streq 1" "id:10,phase:2,pass"
        SecRule ARGS:b "@streq 1" "id:12,phase:2,pass,tag:'web'"
        SecRule ARGS "@streq 2" "id:13,phase:2,pass,tag:'web'"
        SecRuleRemoveById 14
        SecAction "id:14,phase:2,pass"
        SecRuleUpdateTargetById 15 "!ARGS:c"
        SecRule ARGS "@streq 3" "id:15,phase:2,pass"
        SecRuleUpdateActionById 16 "deny,status:409"
        SecRule ARGS:d "@streq 1" "id:16,phase:2,pass""#;
    check(text, &target("/?a=1&b=1"), &[10, 12]);
    check(text, &target("/?off=1&a=1&b=1"), &[12]);
    check(text, &target("/?a=2"), &[13]);
    check(text, &target("/?off=1&a=2"), &[]);
    check(text, &target("/?c=3"), &[]);
    let (ended, ..) = run(&rules(text), &target("/?d=1"), &mut NoCollections);
    assert_eq!(ended.map(|ended| ended.status), Some(409));
}

#[test]
fn bodies_and_responses() {
    let text = r#"
        SecRule ARGS_POST:json.a "@streq x" "id:1,phase:2,pass"
        SecRule XML:/* "@contains evil" "id:2,phase:2,pass"
        SecRule XML://@* "@streq v" "id:3,phase:2,pass"
        SecRule ARGS_POST:f "@streq 1 2" "id:4,phase:2,pass"
        SecRule RESPONSE_BODY "@contains secret" "id:5,phase:4,pass"
        SecRule RESPONSE_STATUS "@eq 200" "id:6,phase:3,pass""#;
    let post = |content_type, body| (content_type, body);
    for ((content_type, body), ids) in [
        (post("application/json", r#"{"a":"x"}"#), vec![1, 6]),
        (post("text/xml", "<r k='v'>ev<!-- -->il</r>"), vec![2, 3, 6]),
        (post("application/x-www-form-urlencoded", "f=1+2"), vec![4, 6]),
    ] {
        let headers = [("Content-Type", content_type)];
        check(text, &Sent { method: "POST", headers: &headers, body, ..GET }, &ids);
    }
    check(text, &Sent { response: "a secret", ..GET }, &[6, 5]);
    let headers = [("Content-Type", "application/json")];
    let (ended, ..) =
        run(&rules(text), &Sent { method: "POST", headers: &headers, body: "{", ..GET }, &mut NoCollections);
    assert_eq!(ended.map(|ended| (ended.status, ended.rule_id)), Some((400, 200_002)));
}

#[test]
fn collections_count_over_requests() {
    let text = r#"
        SecAction "id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR},setvar:ip.hits=+1,expirevar:ip.hits=60"
        SecRule IP:hits "@ge 3" "id:2,phase:1,deny,status:429""#;
    let rules = rules(text);
    let mut table = MemoryCollections::new(10);
    let statuses: Vec<_> = (0..4).map(|_| run(&rules, &GET, &mut table).0.map(|ended| ended.status)).collect();
    assert_eq!(statuses, [None, None, Some(429), Some(429)]);
}

#[test]
fn names_made_at_run_time_and_multi_match() {
    let text = r#"
        SecRule ARGS_NAMES "@rx ." "id:1,phase:2,pass,nolog,setvar:'tx.count_%{MATCHED_VAR}=+1'"
        SecRule TX:/^count_/ "@ge 2" "id:2,phase:2,pass,msg:'%{MATCHED_VAR_NAME}'"
        SecRule ARGS "@contains <" "id:3,phase:2,pass,t:none,t:urlDecode,t:htmlEntityDecode,multiMatch"
        SecRule MATCHED_VARS "@rx ." "id:4,phase:2,pass""#;
    let (_, ids, messages) = run(&rules(text), &target("/?a=1&b=2&a=%253c"), &mut NoCollections);
    assert_eq!(ids, [2, 3, 4]);
    assert_eq!(messages[0], "TX:count_a");
}

#[test]
fn constant_rules_fold_and_change_nothing() {
    let text = r#"
        SecRule &TX:level "@eq 0" "id:1,phase:1,pass,nolog,setvar:tx.level=1"
        SecRule TX:level "@lt 2" "id:2,phase:1,pass,nolog,skipAfter:END"
        SecRule ARGS "@streq 1" "id:3,phase:1,pass"
        SecMarker END
        SecRule ARGS "@streq 1" "id:4,phase:1,pass,setvar:tx.seen=%{tx.level}"
        SecRule TX:seen "@eq 1" "id:5,phase:1,pass""#;
    let folded = rules(text);
    assert!(folded.summary().folded >= 3, "{:?}", folded.summary());
    assert!(!folded.ids().any(|id| id == 3));
    check(text, &target("/?a=1"), &[4, 5]);
    // A rule of the request's before it keeps a default from folding.
    let text = format!("SecRule ARGS:l \"@streq 4\" \"id:9,phase:1,pass,nolog,setvar:tx.level=4\"\n{text}");
    check(&text, &target("/?a=1"), &[4, 5]);
    check(&text, &target("/?l=4&a=1"), &[3, 4]);
}

#[test]
fn limits_end_or_cut() {
    let text = "SecRequestBodyLimit 10\nSecRule REQUEST_BODY \"@rx .\" \"id:1,phase:2,pass\"";
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let sent = Sent { method: "POST", headers: &headers, body: "a=345678901", ..GET };
    let (ended, ..) = run(&rules(text), &sent, &mut NoCollections);
    assert_eq!(ended.map(|ended| (ended.status, ended.rule_id)), Some((413, 0)));
    check(&format!("{text}\nSecRequestBodyLimitAction ProcessPartial"), &sent, &[1]);
}

#[test]
fn a_body_without_files_has_its_own_limit() {
    let text = "SecRequestBodyNoFilesLimit 100\nSecRule ARGS \"@rx .\" \"id:1,phase:2,pass\"";
    let long = format!("a={}", "b".repeat(200));
    let part =
        |head: &str| format!("--X\r\nContent-Disposition: form-data; name=\"f\"{head}\r\n\r\n{long}\r\n--X--\r\n");
    let (field, file) = (part(""), part("; filename=\"g\""));
    let (form, multipart) = ("application/x-www-form-urlencoded", "multipart/form-data; boundary=X");
    for (content_type, body, status) in [
        (form, &long, Some(413)),
        (multipart, &field, Some(413)),
        (multipart, &file, None),
        ("text/plain", &long, None),
    ] {
        let headers = [("Content-Type", content_type)];
        let sent = Sent { method: "POST", headers: &headers, body, ..GET };
        let (ended, ..) = run(&rules(text), &sent, &mut NoCollections);
        assert_eq!(ended.map(|ended| ended.status), status, "{content_type} {body}");
    }
    let headers = [("Content-Type", form)];
    let sent = Sent { method: "POST", headers: &headers, body: &long, ..GET };
    check(&format!("{text}\nSecRequestBodyLimitAction ProcessPartial"), &sent, &[1]);
}

#[test]
fn heads_have_limits() {
    let text = "SecRule INBOUND_DATA_ERROR \"@eq 1\" \"id:1,phase:1,pass\"";
    let long = "a".repeat(130 * 1024);
    let cookies = "a=b;".repeat(1001);
    for (headers, status) in [
        (vec![("X", "y"); 1000], None),
        (vec![("X", "y"); 1001], Some(431)),
        (vec![("Cookie", cookies.as_str())], Some(431)),
        (vec![("X", long.as_str())], Some(431)),
    ] {
        let (ended, ..) = run(&rules(text), &Sent { headers: &headers, ..GET }, &mut NoCollections);
        assert_eq!(ended.map(|ended| (ended.status, ended.rule_id)), status.map(|status| (status, 0)));
        let matched: &[u64] = if status.is_some() { &[1] } else { &[] };
        check(&format!("{text}\nSecRuleEngine DetectionOnly"), &Sent { headers: &headers, ..GET }, matched);
    }
    let (ended, ..) = run(&rules(text), &target(&format!("/{long}")), &mut NoCollections);
    assert_eq!(ended.map(|ended| ended.status), Some(431));
}

/// A thousand values that match must not make a thousand exceptions, nor copy a long value for every rule.
#[test]
fn what_every_value_asks_for_is_kept_once() {
    let text = r#"
        SecRule ARGS "@rx ." "id:1,phase:2,pass,nolog,ctl:ruleRemoveTargetById=2;ARGS:a,setenv:x=%{MATCHED_VAR}"
        SecRule ARGS "@rx ." "id:2,phase:2,pass,logdata:'%{MATCHED_VAR}%{MATCHED_VAR}'"
        SecRule &ENV "@eq 1" "id:3,phase:2,pass""#;
    let rules = rules(text);
    let mut scratch = Scratch::new();
    let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let long = "b".repeat(1000);
    let mut transaction = rules.transaction(&mut scratch, &connection());
    drive(&mut transaction, &target(&format!("/?{}&c={long}", "a=1&".repeat(900))), &mut host);
    assert_eq!(transaction.s.exceptions.len(), 1);
    let found: Vec<_> = transaction.matches().map(|found| (found.rule_id, found.data.len())).collect();
    assert_eq!(found, [(2, 256), (3, 0)]);
}

#[test]
fn rules_see_that_a_pattern_was_given_up() {
    let text = r#"
        SecPcreMatchLimit 100
        SecRule ARGS "@rx ^(?:(?!x).)*y" "id:1,phase:1,pass"
        SecRule TX:/^MSC_/ "!@streq 0" "id:2,phase:2,pass,msg:'%{MATCHED_VAR_NAME}'"
        SecRule TX:MSC_PCRE_LIMITS_EXCEEDED "@eq 1" "id:3,phase:2,pass""#;
    check(text, &target("/?a=zy"), &[1]);
    check(text, &target(&format!("/?a={}y", "z".repeat(500))), &[2, 3]);
}

#[test]
fn refusals_tell_file_line_and_name() {
    for (text, said) in [
        ("SecRuleScript x.lua", "rules:1: directive `SecRuleScript` is not supported"),
        ("SecParseXmlIntoArgs On", "`SecParseXmlIntoArgs On` is not supported"),
        ("SecAction \"id:1,phase:1,pass,ctl:parseXmlIntoArgs=On\"", "ctl `parseXmlIntoArgs=On` is not supported"),
        ("SecRule ARGS \"@rx \\g{a-b}\" \"id:1\"", "the group `a-b` is not supported"),
        ("\nSecNonsense On", "rules:2: unknown directive `SecNonsense`"),
        ("SecAction \"phase:1\"", "the rule has no id"),
        (
            "SecAction \"id:1,phase:1,pass\"\nSecAction \"id:1,phase:1,pass\"",
            "rules:2: rule id 1 is taken already, at rules:1",
        ),
        ("SecAction \"id:1,phase:1,pass,skipAfter:X\"", "unknown skipAfter label `X`"),
        ("SecRule ARGS \"@rx (\" \"id:1\"", "rules:1: pattern `(` does not compile"),
        ("SecRule ARGS \"@rx %{ARGS.a}\" \"id:1\"", "`@rx with a macro` is not supported"),
        ("SecRule ARGS a \"id:1,chain\"", "`chain` and nothing follows"),
        ("Include none.conf", "cannot read `none.conf`"),
    ] {
        let error = RuleSet::from_text(text).expect_err(text).to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

/// A host that looks at the beginning alone must find what is in it, and must not take its own cut for the client's error.
#[test]
fn a_body_that_was_cut_is_looked_at_and_is_no_error() {
    let rules = rules(
        r#"SecRequestBodyLimitAction ProcessPartial
           SecRule ARGS "@contains evil" "id:2,phase:2,pass"
           SecRule INBOUND_DATA_ERROR "@eq 1" "id:3,phase:2,pass""#,
    );
    let part = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nan evil te";
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "a=b&c=an evil te"),
        ("application/json", r#"{"a":1,"b":["an evil te"#),
        ("multipart/form-data; boundary=X", part),
    ] {
        for cut in [true, false] {
            let mut scratch = Scratch::new();
            let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
            let mut transaction = rules.transaction(&mut scratch, &connection());
            transaction.request_line(b"POST", b"/", b"HTTP/1.1");
            transaction.request_header(b"content-type", kind.as_bytes());
            let _ = transaction.request_headers(&mut host);
            let _ = transaction.request_body(body.as_bytes());
            if cut {
                let _ = transaction.request_body_is_cut();
            }
            let _ = transaction.finish_request(&mut host);
            let ids: Vec<_> = transaction.matches().map(|found| found.rule_id).collect();
            let broken = kind != "application/x-www-form-urlencoded";
            match cut {
                true => assert_eq!(ids, [2, 3], "{kind}"),
                false => assert_eq!(ids.iter().any(|id| (200_002..=200_004).contains(id)), broken, "{kind}: {ids:?}"),
            }
        }
    }
}

#[test]
fn includes_follow_globs_in_order() {
    let files = MemoryFiles::new()
        .with("d/main", "SecRuleEngine On\nInclude r-*.conf\nIncludeOptional none.conf")
        .with("d/r-2.conf", "SecAction \"id:2,phase:1,pass\"")
        .with("d/r-1.conf", "SecAction \"id:1,phase:1,pass\"");
    let rules = RuleSet::load(&files, &["d/main"], &Options::default()).expect("loads");
    assert_eq!(rules.ids().collect::<Vec<_>>(), [1, 2]);
    assert!(RuleSet::load(&StdFiles, &["no/such/file"], &Options::default()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No text makes the loader panic.
    /// A scratch that has seen other requests, and other rules, says the same as a new one.
    #[test]
    fn what_is_remembered_changes_no_verdict(
        requests in prop::collection::vec(("/[a-c]{0,2}[?][ab]=[a-c'1%+ <]{0,6}&c=[A-C1]{0,2}", "[a-c;= 1']{0,5}", any::<bool>()), 1..12),
    ) {
        let other = rules("SecRule ARGS|REQUEST_HEADERS \"@rx .\" \"id:90,phase:2,pass\"");
        let rules = rules(concat!(
            "SecRule ARGS \"@rx (a+)b\" \"id:1,phase:2,pass,capture,msg:'%{TX.1}'\"\n",
            "SecRule ARGS|REQUEST_COOKIES \"@rx b[^c]\" \"id:2,phase:2,pass,t:lowercase,msg:'%{MATCHED_VAR}'\"\n",
            "SecRule ARGS \"!@rx ^[a-c]\" \"id:3,phase:2,pass,t:urlDecodeUni\"\n",
            "SecRule ARGS_NAMES|REQUEST_URI \"@pm bc a1\" \"id:4,phase:2,pass,chain\"\n",
            "SecRule MATCHED_VARS \"@rx c(?!c)\" \"t:none\"\n",
            "SecRule ARGS \"@detectSQLi\" \"id:5,phase:2,pass,multiMatch,t:none,t:lowercase,t:removeWhitespace\"\n",
            "SecRule REQUEST_COOKIES \"@rx ^$\" \"id:6,phase:1,pass\"\n",
        ));
        let mut warm = Scratch::new();
        let run = |rules: &RuleSet, scratch: &mut Scratch, sent: &Sent<'_>| {
            let mut host = Host { now_s: 1, elapsed_ms: 5, collections: &mut NoCollections, lookups: &NoLookups };
            let mut transaction = rules.transaction(scratch, &connection());
            drive(&mut transaction, sent, &mut host);
            let told = |found: super::Match<'_>| (found.rule_id, found.key.to_vec(), found.value.to_vec(), found.message.to_vec());
            transaction.matches().map(told).collect::<Vec<_>>()
        };
        for (target, cookie, is_other) in &requests {
            let sent = Sent { target, headers: &[("Cookie", cookie)], ..GET };
            if *is_other {
                run(&other, &mut warm, &sent);
            }
            prop_assert_eq!(run(&rules, &mut warm, &sent), run(&rules, &mut Scratch::new(), &sent));
        }
    }

    #[test]
    fn random_rules_never_panic(text in "(SecRule|SecAction|Include|[A-Z]{3,5}|[ \"'@!&|:,.%{}/\\\\\n]|id:1|rx|phase:2|t:none){0,40}") {
        let _ = RuleSet::from_text(&text);
    }

    /// No request makes a transaction panic, and a used scratch gives what a new one gives.
    #[test]
    fn random_requests_never_panic(
        target in "[ -~]{0,40}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof!["application/json", "text/xml", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded"],
    ) {
        let rules = rules(
            r#"SecRule ARGS|ARGS_NAMES|XML:/*|REQUEST_BODY|FILES "@rx (?i)a.?b|\d+<" "id:1,phase:2,pass,capture,t:none,t:urlDecodeUni,t:htmlEntityDecode,t:jsDecode,multiMatch,setvar:'tx.n_%{MATCHED_VAR_NAME}=+1'"
               SecRule ARGS "@detectSQLi" "id:2,phase:2,pass"
               SecRule ARGS "@detectXSS" "id:3,phase:2,pass""#,
        );
        let mut scratch = Scratch::new();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut host = Host { now_s: 0, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
            let mut transaction = rules.transaction(&mut scratch, &connection());
            transaction.request_line(b"POST", target.as_bytes(), b"HTTP/1.1");
            transaction.request_header(b"content-type", kind.as_bytes());
            let _ = transaction.request_headers(&mut host);
            let _ = transaction.request_body(&body);
            let _ = transaction.finish_request(&mut host);
            seen.push(transaction.matches().map(|found| found.rule_id).collect::<Vec<_>>());
        }
        prop_assert_eq!(&seen[0], &seen[1]);
    }
}
