//! Enters: requests that rules match, to the real daemon. Leaves: what people are told of them afterwards, and what rules make
//! of responses whose bodies nobody holds. It must never look inside the daemon.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use http::{Method, Request};
use qantra_tests::{
    daemon::Daemon,
    leaky::{LEAK, Leaky},
    tls::{certify, connect},
};

/// Scores as CRS has them, in a few lines: so the tests need no package.
const RULES: &str = r#"
SecAction "id:1,phase:1,nolog,pass,setvar:tx.blocking_inbound_anomaly_score=0,setvar:tx.inbound_anomaly_score_threshold=5,\
    setvar:tx.blocking_outbound_anomaly_score=0,setvar:tx.outbound_anomaly_score_threshold=4"
SecAction "id:2,phase:1,nolog,pass,initcol:ip=%{REMOTE_ADDR}"
SecRule IP:errors "@ge 2" "id:6,phase:1,deny,status:429,msg:'too many errors'"
SecRule REQUEST_HEADERS:Content-Type "@beginsWith application/json" "id:3,phase:1,nolog,pass,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:4,phase:2,deny,status:400,msg:'body cannot be read'"
SecRule ARGS "@rx (?i)union\s+select" "id:942001,phase:2,pass,log,severity:CRITICAL,msg:'SQL union',tag:'attack-sqli',\
    setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule ARGS "@rx (?i)select" "id:942003,phase:2,pass,log,severity:NOTICE,msg:'a word of SQL',tag:'attack-sqli',\
    setvar:tx.blocking_inbound_anomaly_score=+2"
SecRule TX:blocking_inbound_anomaly_score "@ge 5" "id:949110,phase:2,deny,status:403"
SecRule RESPONSE_HEADERS:X-Stack "@rx ." "id:950001,phase:3,pass,log,severity:ERROR,msg:'stack trace',\
    setvar:tx.blocking_outbound_anomaly_score=+4"
SecRule RESPONSE_BODY "@contains error in your SQL syntax" "id:951001,phase:4,deny,status:500,msg:'SQL error shown'"
SecRule TX:blocking_outbound_anomaly_score "@ge 4" "id:959100,phase:4,deny,status:502"
SecRule RESPONSE_STATUS "@rx ^304" "id:7,phase:5,nolog,pass,setvar:ip.errors=+1"
"#;

const ATTACK: &str = "/?id=1%27%20UNION%20SELECT%20name,secret%20FROM%20users--%20-";

fn text<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn a_refusal_that_made_no_decision_is_found_by_its_id() -> Result<()> {
    let origin = Leaky::start()?;
    let sites = origin.sites(&[
        ("shop", ""),
        ("watched", "[site.inspect]\nengine = \"detect\""),
        ("quiet", "simulation = true"),
    ]);
    let daemon = Daemon::start(RULES, "", &sites)?;
    let answer = daemon.get("shop", ATTACK)?;
    let id = answer.field("x-request-id").context("a request id")?;
    assert_eq!(answer.status, 403);
    assert_eq!(daemon.json(&["decisions", "list"])?, serde_json::json!([]), "one rule alone bans nobody");
    for said in [daemon.say(&["explain", id])?, daemon.say(&["rules", "why", id])?] {
        for part in [
            &format!("request      GET / (id {id})"),
            "outcome      refused with 403 by rule 949110",
            "score        7 of 5",
            "looks like   sqli, 70% sure",
            "rule       942001 SQL union: args.id = 1' UNION SELECT name,secret FROM users",
        ] {
            assert!(said.contains(part), "{part:?} is not in\n{said}");
        }
    }
    for (host, outcome) in [("watched", "reported"), ("quiet", "reported")] {
        assert_eq!(daemon.get(host, ATTACK)?.status, 200);
        let found = daemon.json(&["rules", "recent", "--site", host])?;
        assert_eq!(
            (text(&found[0], "outcome"), &found[0]["rule_ids"]),
            (outcome, &serde_json::json!([942_001, 942_003]))
        );
    }
    assert_eq!(daemon.get("shop", "/?q=select+shoes")?.status, 200);
    let passed = daemon.json(&["rules", "recent", "--outcome", "passed"])?;
    assert_eq!((text(&passed[0], "site"), &passed[0]["score"]), ("shop", &2.into()));
    let top = daemon.json(&["rules", "top", "--site", "shop"])?;
    assert_eq!((&top[0]["rule"], &top[0]["requests"], &top[0]["refused"]), (&942_003.into(), &2.into(), &1.into()));
    assert!(daemon.say(&["rules", "top"])?.contains("SQL union"));
    let unknown = daemon.say(&["explain", "zzzzzzzzzzzzzzzzzzzzzzzz"]).map_err(|error| error.to_string());
    assert!(unknown.as_ref().is_err_and(|error| error.contains("is remembered")), "{unknown:?}");
    let metrics = daemon.metrics()?;
    for row in [
        r#"qantra_rules_matched_total{class="sqli",result="refused",site="shop"} 1"#,
        r#"qantra_rules_matched_total{class="sqli",result="passed",site="shop"} 1"#,
        r#"qantra_rules_matched_total{class="sqli",result="reported",site="watched"} 1"#,
    ] {
        assert!(metrics.contains(row), "{row} is not in\n{metrics}");
    }
    Ok(())
}

#[test]
fn a_document_with_too_many_values_is_refused_with_the_key_that_allows_more() -> Result<()> {
    let origin = Leaky::start()?;
    let roomy = ("roomy", "[site.inspect]\narguments_max = 5000");
    let daemon = Daemon::start(RULES, "deadline_ms = 5000", &origin.sites(&[("shop", ""), roomy]))?;
    let values: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let document = format!("[{}]", values.join(","));
    assert_eq!(daemon.post("roomy", "application/json", document.as_bytes())?.status, 200);
    let refused = daemon.post("shop", "application/json", document.as_bytes())?;
    assert_eq!(refused.status, 400);
    let said = daemon.say(&["explain", refused.field("x-request-id").context("an id")?])?;
    assert!(said.contains("more arguments than `inspect.arguments_max` allows"), "{said}");
    Ok(())
}

#[test]
fn heads_of_responses_are_looked_at_without_their_bodies() -> Result<()> {
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    let stack = daemon.get("shop", "/internal")?;
    assert_eq!(stack.status, 502, "phase 3 scores, phase 4 refuses: {}", stack.text());
    let said = daemon.say(&["explain", stack.field("x-request-id").context("an id")?])?;
    for part in
        ["response     GET /internal", "refused with 502 by rule 959100", "950001 stack trace: response_header.x-stack"]
    {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    // Nobody asked for bodies: a leak goes on, and the origin may compress.
    let gzip = b"GET /leak HTTP/1.1\r\nHost: shop\r\nAccept-Encoding: gzip\r\n\r\n";
    assert!(daemon.ask(gzip)?.text().contains(LEAK));
    let asked = origin.heads().pop().unwrap_or_default().to_lowercase();
    assert!(asked.contains("accept-encoding: gzip"), "{asked}");
    // Phase 5 sees what was answered.
    for _ in 0..2 {
        assert_eq!(daemon.get("shop", "/unchanged")?.status, 304);
    }
    assert_eq!(daemon.get("shop", "/")?.status, 429);
    Ok(())
}

/// Status, `Content-Length` and body of an answer over HTTP/2.
async fn read_whole(answer: h2::client::ResponseFuture) -> Result<(u16, Option<usize>, Vec<u8>)> {
    let answer = answer.await?;
    let length = answer.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((status, length, all))
}

#[test]
fn responses_are_held_back_over_http2_as_well() -> Result<()> {
    let (origin, folder) = (Leaky::start()?, tempfile::tempdir()?);
    let (certificate, files) = certify(folder.path(), "shop", &["shop.example"])?;
    let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let site = format!(
        "[site.tls]\ncertificate = {:?}\nkey = {:?}\n[site.inspect]\nresponse_bodies = true\nresponse_body_bytes_max = 10000",
        files.certificate, files.key
    );
    let sites = origin.sites(&[("shop.example", &site)]);
    let daemon = Daemon::start(RULES, "", &format!("{sites}[[listen]]\naddress = \"{address}\"\ntls = true\n"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let wanted = [
        ("/", 200),
        ("/leak", 500),
        ("/leak-chunked", 500),
        ("/leak-late", 200),
        ("/leak-picture", 200),
        ("/internal", 502),
        ("/nothing", 200),
        ("/long", 200),
        ("/", 200),
    ];
    runtime.block_on(async {
        let stream = connect(address, "shop.example", &certificate, "h2").await?;
        let (mut requests, connection) = h2::client::handshake(stream).await?;
        let driver = tokio::spawn(connection);
        // All at once: what is held back for one stream must not stand in another's way. All are read at once as well, since
        // they share a window.
        let mut answers = tokio::task::JoinSet::new();
        for (target, status) in wanted {
            requests = requests.ready().await?;
            let request =
                Request::builder().method(Method::GET).uri(format!("https://shop.example{target}")).body(())?;
            let answer = requests.send_request(request, true)?.0;
            answers.spawn(async move { read_whole(answer).await.map(|read| (target, status, read)) });
        }
        while let Some(answer) = answers.join_next().await {
            let (target, wanted, (status, length, body)) = answer??;
            assert_eq!(status, wanted, "{target}");
            assert!(length.is_none_or(|length| length == body.len()), "{target}: {length:?} of {}", body.len());
            let leaks = String::from_utf8_lossy(&body).contains(LEAK);
            assert_eq!(leaks, ["/leak-late", "/leak-picture"].contains(&target), "{target}");
            assert!(target != "/long" || body.len() == 700_000, "{}", body.len());
        }
        driver.abort();
        Ok::<(), anyhow::Error>(())
    })?;
    assert_eq!(daemon.get("shop.example", "/")?.status, 200);
    Ok(())
}
