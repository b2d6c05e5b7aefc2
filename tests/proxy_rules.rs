//! Enters: requests to the real daemon with rules, in front of a real origin. Leaves: what was refused, how, what was
//! found, and that nothing of it stands in anybody else's way. It must never look inside the daemon.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use qantra_tests::{
    client::Client,
    daemon::Daemon,
    leaky::{LEAK, Leaky},
};

/// Scores as CRS has them, in a few lines: so the tests need no package.
const RULES: &str = r#"
SecAction "id:1,phase:1,nolog,pass,setvar:tx.blocking_inbound_anomaly_score=0,setvar:tx.inbound_anomaly_score_threshold=5"
SecRule REQUEST_HEADERS:Content-Type "@beginsWith application/json" "id:2,phase:1,nolog,pass,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" "id:3,phase:2,deny,status:400,msg:'body cannot be read'"
SecRule ARGS "@rx (?i)union\s+select" "id:942001,phase:2,pass,log,severity:CRITICAL,msg:'SQL union',tag:'attack-sqli',\
    setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule ARGS "@detectSQLi" "id:942002,phase:2,pass,log,severity:CRITICAL,msg:'SQL injection',tag:'attack-sqli',\
    setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule REQUEST_HEADERS:User-Agent "@streq odd" "id:920001,phase:1,pass,log,severity:CRITICAL,msg:'odd',tag:'attack-protocol',\
    setvar:tx.blocking_inbound_anomaly_score=+5"
SecRule TX:blocking_inbound_anomaly_score "@ge 5" "id:949110,phase:2,deny,status:403"
SecRule REQUEST_FILENAME "@streq /moved" "id:10,phase:1,redirect:'https://example.org/new'"
SecRule REQUEST_FILENAME "@streq /hangup" "id:11,phase:1,drop"
SecRule RESPONSE_HEADERS:X-Stack "@rx ." "id:950001,phase:3,deny,status:502,msg:'stack trace'"
SecRule RESPONSE_BODY "@contains error in your SQL syntax" "id:951001,phase:4,deny,status:500,msg:'SQL error shown'"
"#;

const ATTACK: &str = "/?id=1%27%20UNION%20SELECT%20name,secret%20FROM%20users--%20-";

fn from_client(client: &str, host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {client}\r\n\r\n")
}

#[test]
fn a_refusal_can_be_asked_about_after_a_restart() -> Result<()> {
    let origin = Leaky::start()?;
    let mut daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    let answer = daemon.ask(from_client("203.0.113.7", "shop", ATTACK).as_bytes())?;
    let id = answer.field("x-request-id").context("a request id")?.to_owned();
    let before = daemon.json(&["rules", "why", &id])?;
    daemon.restart()?;
    assert_eq!(daemon.json(&["rules", "why", &id])?, before);
    let top = daemon.json(&["rules", "top"])?;
    assert_eq!((&top[0]["rule"], &top[0]["refused"]), (&942_001.into(), &1.into()), "{top}");
    Ok(())
}

#[test]
fn an_attack_is_refused_found_and_its_source_banned() -> Result<()> {
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    assert_eq!(daemon.get("shop", "/?id=1")?.text(), "<html>hello</html>");
    for _ in 0..3 {
        let answer = daemon.ask(from_client("203.0.113.7", "shop", ATTACK).as_bytes())?;
        assert_eq!(answer.status, 403);
        let id = answer.field("x-request-id").context("a request id")?;
        assert!(answer.text().contains(id), "{}", answer.text());
    }
    assert_eq!(origin.heads().len(), 1, "no attack reached the origin");
    let honest = daemon.ask(from_client("203.0.113.7", "shop", "/").as_bytes())?;
    assert_eq!(honest.status, 403, "the third one bans the source");
    let decisions = daemon.json(&["decisions", "list"])?;
    let banned = decisions.as_array().into_iter().flatten().find(|decision| decision["action"] == "block");
    let id = banned.and_then(|decision| decision["id"].as_str()).context("a ban")?.to_owned();
    let said = daemon.say(&["explain", &id])?;
    for part in [
        "sqli",
        "942001 SQL union: args.id = ",
        "942002 SQL injection",
        "anomaly_score 10 (threshold 5, of the site's rules)",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    let redirect = daemon.get("shop", "/moved")?;
    assert_eq!((redirect.status, redirect.field("location")), (302, Some("https://example.org/new")));
    assert!(daemon.get("shop", "/hangup").is_err(), "`drop` answers nothing");
    Ok(())
}

#[test]
fn matters_of_form_are_refused_and_ban_nobody() -> Result<()> {
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    let odd = "GET / HTTP/1.1\r\nHost: shop\r\nUser-Agent: odd\r\nX-Forwarded-For: 203.0.113.8\r\n\r\n";
    for _ in 0..5 {
        assert_eq!(daemon.ask(odd.as_bytes())?.status, 403);
    }
    assert_eq!(daemon.json(&["decisions", "list"])?, serde_json::json!([]));
    assert_eq!(daemon.ask(from_client("203.0.113.8", "shop", "/").as_bytes())?.status, 200);
    Ok(())
}

#[test]
fn sites_differ() -> Result<()> {
    let origin = Leaky::start()?;
    let exclude = "[[site.inspect.exclude]]\nrules = [942001, 942002]\npath = \"/search\"\nparameters = [\"id\"]";
    let sites = origin.sites(&[
        ("on", ""),
        ("detect", "[site.inspect]\nengine = \"detect\""),
        ("off", "[site.inspect]\nengine = \"off\""),
        ("simulated", "simulation = true"),
        ("excluded", exclude),
    ]);
    let daemon = Daemon::start(RULES, "", &sites)?;
    let search = ATTACK.replace("/?", "/search?");
    for (host, target, status) in [
        ("on", ATTACK, 403),
        ("detect", ATTACK, 200),
        ("off", ATTACK, 200),
        ("simulated", ATTACK, 200),
        ("excluded", ATTACK, 403),
        ("excluded", search.as_str(), 200),
    ] {
        for _ in 0..4 {
            let client = format!("203.0.113.{}", host.len());
            assert_eq!(daemon.ask(from_client(&client, host, target).as_bytes())?.status, status, "{host} {target}");
            if host == "on" || host == "excluded" {
                break;
            }
        }
    }
    // `detect` and a site in simulation: decided, and not enforced.
    let decisions = daemon.json(&["decisions", "list"])?;
    let simulated = decisions.as_array().into_iter().flatten().filter(|decision| decision["state"] == "simulated");
    let scopes: Vec<_> = simulated.map(|decision| decision["scope"].clone()).collect();
    for scope in ["203.0.113.6/32", "203.0.113.9/32"] {
        assert!(scopes.contains(&serde_json::json!(scope)), "{scope} is not in {decisions}");
    }
    Ok(())
}

#[test]
fn bodies_are_looked_at_as_far_as_they_are_held() -> Result<()> {
    let origin = Leaky::start()?;
    let refusing = ("strict", "[site.inspect]\nbody_limit_action = \"refuse\"");
    let daemon = Daemon::start(RULES, "deadline_ms = 5000", &origin.sites(&[("shop", ""), refusing]))?;
    let attack = "x' UNION SELECT password FROM users-- -";
    let form = "application/x-www-form-urlencoded";
    let padded = |before: usize, after: usize| {
        format!(r#"{{"a":"{}","b":"{attack}","c":"{}"}}"#, "y".repeat(before), "z".repeat(after))
    };
    for (what, kind, body, status) in [
        ("a small form", form, format!("a=b&c={}", attack.replace(' ', "+")), 403),
        (
            "a large form, for the inspectors",
            form,
            format!("a={}&c={}", "b".repeat(30_000), attack.replace(' ', "+")),
            403,
        ),
        ("an attack before the limit", "application/json", padded(20_000, 100_000), 403),
        ("an attack behind it", "application/json", padded(100_000, 10), 200),
        ("honest and cut, which is no parse error", "application/json", padded(100_000, 10).replace(attack, "x"), 200),
        ("broken by its sender", "application/json", r#"{"a":"#.to_owned(), 400),
    ] {
        assert_eq!(daemon.post("shop", kind, body.as_bytes())?.status, status, "{what}");
    }
    assert_eq!(daemon.post("strict", "application/json", padded(100_000, 10).as_bytes())?.status, 413);
    assert_eq!(daemon.post("strict", "application/json", br#"{"a":"b"}"#)?.status, 200);
    Ok(())
}

#[test]
fn leaks_are_withheld_and_everything_else_arrives_as_it_was() -> Result<()> {
    let origin = Leaky::start()?;
    let looked = ("looked", "[site.inspect]\nresponse_bodies = true\nresponse_body_bytes_max = 10000");
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("looked", looked.1), ("plain", "")]))?;
    for (target, status) in [
        ("/", 200),
        ("/leak", 500),
        ("/leak-chunked", 500),
        // Beyond the limit: what was seen had no leak, the rest streams.
        ("/leak-late", 200),
        // Not readable, and no type that the rules look at.
        ("/leak-gzip", 200),
        ("/leak-picture", 200),
        ("/internal", 502),
        ("/unchanged", 304),
        ("/nothing", 200),
        ("/long", 200),
    ] {
        let answer = daemon.get("looked", target)?;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let plain = daemon.get("plain", target)?;
        if status == 200 {
            assert_eq!(answer.body, plain.body, "{target} is another than without rules");
            assert_eq!(answer.field("content-length"), plain.field("content-length"), "{target}");
        } else if status >= 500 {
            assert!(!answer.text().contains(LEAK), "{target}: the leak got out");
            let id = answer.field("x-request-id").context("a request id")?;
            assert!(answer.text().contains(id), "{target}");
        }
    }
    assert_eq!(
        daemon
            .ask(b"HEAD /leak HTTP/1.1\r\nHost: looked\r\nConnection: close\r\n\r\n")
            .map(|a| a.status)
            .unwrap_or(200),
        200
    );
    // One connection for several answers: what is held back leaves it in order.
    let mut client = Client::connect(daemon.address)?;
    for target in ["/", "/long", "/nothing", "/"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: looked\r\nAccept-Encoding: gzip\r\n\r\n").as_bytes())?;
        assert_eq!(client.answer()?.status, 200, "{target}");
    }
    let asked = origin.heads().into_iter().rev().find(|head| head.to_lowercase().contains("accept-encoding"));
    assert!(asked.is_some_and(|head| head.to_lowercase().contains("accept-encoding: identity")));
    Ok(())
}

#[test]
fn hostile_bodies_are_bounded_while_others_are_served() -> Result<()> {
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    let nested = "[".repeat(10 * 1024 * 1024);
    let parameters: String = (0..10_000).map(|n| format!("parameter{n}=value&")).collect();
    let mut multipart = String::new();
    for n in 0..2_000 {
        multipart
            .push_str(&format!("--X\r\nContent-Disposition: form-data; name=\"f{n}\"; filename=\"{n}\"\r\n\r\n\r\n"));
    }
    let regex_bait = format!("a={}", "union ".repeat(10_000));
    let bodies = [
        ("application/json", nested.as_str()),
        ("application/x-www-form-urlencoded", &parameters),
        ("multipart/form-data; boundary=X", &multipart),
        ("application/x-www-form-urlencoded", &regex_bait),
    ];
    let over = AtomicBool::new(false);
    let slowest = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let (mut slowest, mut count) = (Duration::ZERO, 0);
            while !over.load(Ordering::Relaxed) || count == 0 {
                let began = Instant::now();
                if daemon.get("shop", "/?q=shoes").is_ok_and(|answer| answer.status == 200) {
                    slowest = slowest.max(began.elapsed());
                    count += 1;
                }
            }
            (slowest, count)
        });
        for _ in 0..3 {
            for (kind, body) in bodies {
                let began = Instant::now();
                // A refusal may come while the body is still sent.
                let status = daemon.post("shop", kind, body.as_bytes()).map(|answer| answer.status).unwrap_or(0);
                assert!([0, 200, 400, 403, 413].contains(&status), "{kind}: {status}");
                assert!(began.elapsed() < Duration::from_secs(5), "{kind} took {:?}", began.elapsed());
            }
        }
        over.store(true, Ordering::Relaxed);
        other.join()
    });
    let Ok((slowest, count)) = slowest else { anyhow::bail!("the other client failed") };
    println!("{count} honest requests beside hostile ones, the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?} of {count}");
    Ok(())
}

/// Waits until the daemon answers an attack so.
fn until_status(daemon: &Daemon, target: &str, status: u16) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while daemon.get("shop", target)?.status != status {
        ensure!(Instant::now() < until, "{target} never gets {status}: {}", daemon.log());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn changed_files_are_put_in_force_and_broken_ones_are_not() -> Result<()> {
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    assert_eq!(daemon.get("shop", "/?x=fresh")?.status, 200);
    let fresh = "SecRule ARGS \"@streq fresh\" \"id:77,phase:2,deny,status:418\"\n";
    fs::write(daemon.rule_file(), format!("{RULES}{fresh}"))?;
    until_status(&daemon, "/?x=fresh", 418)?;
    fs::write(daemon.rule_file(), format!("{RULES}\nSecRul ARGS x\n"))?;
    let until = Instant::now() + Duration::from_secs(10);
    let problem = loop {
        let status = daemon.json(&["status"])?;
        if let Some(problem) = status["rules"]["problem"].as_str() {
            break problem.to_owned();
        }
        ensure!(Instant::now() < until, "{status}");
        thread::sleep(Duration::from_millis(50));
    };
    let line = RULES.lines().count() + 2;
    assert!(problem.contains(&format!("test.conf:{line}: ")) && problem.contains("SecRul"), "{problem}");
    assert_eq!(daemon.get("shop", "/?x=fresh")?.status, 418, "the old ones stay");
    assert!(daemon.say(&["reload"]).is_err());
    fs::write(daemon.rule_file(), RULES)?;
    daemon.say(&["reload"])?;
    assert_eq!(daemon.get("shop", "/?x=fresh")?.status, 200);
    assert_eq!(daemon.json(&["status"])?["rules"]["problem"], serde_json::Value::Null);
    Ok(())
}

/// `QANTRA_RELOADS=10000` runs it whole.
#[test]
fn reloads_under_traffic_lose_no_request_and_leak_nothing() -> Result<()> {
    let count: u32 = std::env::var("QANTRA_RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    let origin = Leaky::start()?;
    let daemon = Daemon::start(RULES, "", &origin.sites(&[("shop", "")]))?;
    let (over, requests) = (AtomicBool::new(false), AtomicU32::new(0));
    let mut resident = Vec::new();
    thread::scope(|scope| -> Result<()> {
        for _ in 0..2 {
            scope.spawn(|| {
                let Ok(mut client) = Client::connect(daemon.address) else { return };
                while !over.load(Ordering::Relaxed) {
                    let sent = client.send(b"POST /p HTTP/1.1\r\nHost: shop\r\nContent-Length: 7\r\n\r\na=b&c=d");
                    let answer = sent.and_then(|()| client.answer());
                    assert_eq!(answer.map(|answer| answer.status).unwrap_or(0), 200, "a request was lost");
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut reload = || -> Result<()> {
            for n in 0..count {
                // Every third one finds the files as they were.
                if n % 3 != 0 {
                    fs::write(daemon.rule_file(), format!("{RULES}# {n}\n"))?;
                }
                daemon.say(&["reload"])?;
                if n % (count / 10).max(1) == 0 {
                    resident.push(daemon.resident_bytes());
                }
            }
            Ok(())
        };
        let done = reload();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    println!("{count} reloads under {} requests; resident {resident:?}", requests.load(Ordering::Relaxed));
    let (warm, last) = (resident.get(3).copied().unwrap_or(0), resident.last().copied().unwrap_or(0));
    assert!(last < warm + 16 * 1024 * 1024, "memory grows: {resident:?}");
    assert!(requests.load(Ordering::Relaxed) > count, "there was traffic");
    Ok(())
}
