//! Enters: requests over real sockets. Leaves: what the origin received and what the client got back. It must never
//! look inside the proxy.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use anyhow::Result;
use qantra_tests::{
    client::Client,
    proxy::{Running, assert_becomes, one_site, site},
    upstream::Origin,
};
use qantra_user::{
    config::{Config, HealthConfig, TargetConfig},
    proxy::ProxyError,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn each_host_goes_to_its_site() -> Result<()> {
    let (a, b, rest) = (Origin::start("a")?, Origin::start("b")?, Origin::start("rest")?);
    let mut config = one_site(vec![]);
    config.sites = vec![
        site("a", &["a.example"], vec![a.target(1)]),
        site("b", &["*.b.example"], vec![b.target(1)]),
        site("rest", &["*"], vec![rest.target(1)]),
    ];
    let proxy = Running::start(config.clone())?;
    for (host, expected) in [("a.example", "a"), ("A.Example:8080", "a"), ("www.b.example", "b"), ("c.example", "rest")]
    {
        assert_eq!(proxy.ask(&get(host))?.text(), expected, "{host}");
    }
    config.sites.truncate(1);
    let strict = Running::start(config)?;
    assert_eq!(strict.ask(&get("c.example"))?.status, 421);
    assert_eq!(strict.judge.requests(1)[0].site, None);
    Ok(())
}

#[test]
fn connections_are_kept_on_both_sides() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let mut client = proxy.connect()?;
    for _ in 0..20 {
        client.send(GET.as_bytes())?;
        assert_eq!(client.answer()?.status, 200);
    }
    assert_eq!(proxy.judge.connections().len(), 1);
    assert_eq!(origin.connections(), 1);
    assert_eq!(proxy.judge.requests(20).len(), 20);
    Ok(())
}

#[test]
fn weights_are_kept() -> Result<()> {
    let (a, b) = (Origin::start("a")?, Origin::start("b")?);
    let proxy = Running::start(one_site(vec![a.target(3), b.target(1)]))?;
    let mut client = proxy.connect()?;
    for _ in 0..40 {
        client.send(GET.as_bytes())?;
        client.answer()?;
    }
    assert_eq!((a.received().len(), b.received().len()), (30, 10));
    Ok(())
}

fn dead_target() -> Result<TargetConfig> {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(TargetConfig { address: unused.to_string(), weight: 1, tls: false, server_name: None })
}

#[test]
fn a_failed_connect_goes_to_another_target_even_with_a_body() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![dead_target()?, origin.target(1)]))?;
    for _ in 0..4 {
        let answer = proxy.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    assert!(proxy.counters.connect_failures.get() >= 1);
    let alone = Running::start(one_site(vec![dead_target()?]))?;
    let answer = alone.ask(GET)?;
    assert_eq!(answer.status, 502);
    assert!(alone.judge.requests(1)[0].answered_by_us);
    assert_becomes(&alone.counters.origin_failures, 1);
    Ok(())
}

#[test]
fn health_checks_take_a_target_out_and_bring_it_back() -> Result<()> {
    let (good, ill) = (Origin::start("good")?, Origin::start("ill")?);
    let mut config = one_site(vec![good.target(1), ill.target(1)]);
    let fast = HealthConfig { path: None, interval_ms: 50, timeout_ms: 200, unhealthy_after: 2, healthy_after: 2 };
    config.sites[0].health = Some(HealthConfig { path: Some("/status/503".into()), ..fast.clone() });
    let proxy = Running::start(config.clone())?;
    thread::sleep(Duration::from_millis(400));
    assert!(ill.received().iter().any(|request| request.field("user-agent") == Some("qantra-health")));
    // Both are ill then, and both are asked all the same: a site is never left without a target.
    assert_eq!(proxy.ask(GET)?.status, 200);

    config.sites[0].targets = vec![good.target(1), dead_target()?];
    let (site, targets) = (config.sites[0].name.clone(), config.sites[0].targets.clone());
    config.sites[0].health = Some(fast);
    config.proxy.connect_retries = 0;
    proxy.reload.reload(Arc::new(config.clone()))?;
    thread::sleep(Duration::from_millis(800));
    let known = |target: &TargetConfig| proxy.reload.target_health(&site, &target.address);
    assert_eq!((known(&targets[0]), known(&targets[1])), (Some(true), Some(false)), "as `qantra status` shows them");
    let failures = proxy.counters.connect_failures.get();
    assert!((0..10).all(|_| proxy.ask(GET).is_ok_and(|answer| answer.text() == "good")));
    assert_eq!(proxy.counters.connect_failures.get(), failures, "the dead target was asked");

    config.sites[0].health = None;
    proxy.reload.reload(Arc::new(config))?;
    assert_eq!(proxy.reload.target_health(&site, &targets[1].address), None, "nobody checks any more");
    Ok(())
}

#[test]
fn technology_is_hidden_and_answers_are_hardened() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    let proxy = Running::start(config.clone())?;
    let answer = proxy.ask(GET)?;
    assert_eq!((answer.field("server"), answer.field("x-powered-by")), (None, None));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("x-frame-options"), Some("SAMEORIGIN"));
    assert!(answer.field("content-security-policy").is_some() && answer.field("referrer-policy").is_some());
    assert_eq!(answer.field("strict-transport-security"), None);
    assert_eq!(answer.field("set-cookie"), Some("session=1; Path=/; HttpOnly; SameSite=Lax"));

    config.sites[0].headers.hide_technology = false;
    config.sites[0].headers.secure_cookies = false;
    proxy.reload.reload(Arc::new(config))?;
    let answer = proxy.ask(GET)?;
    assert_eq!(answer.field("server"), Some("Origin/1.0"));
    assert_eq!(answer.field("set-cookie"), Some("session=1; Path=/"));
    Ok(())
}

#[test]
fn the_origin_is_told_who_asks() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    proxy.ask(
        "GET /x?y=%20z HTTP/1.1\r\nHost: example.org:81\r\nX-Forwarded-For: 10.9.8.7\r\nX-Real-IP: 10.9.8.7\r\n\r\n",
    )?;
    let request = &origin.received()[0];
    assert!(request.head.starts_with("GET /x?y=%20z HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.field("host"), Some("example.org:81"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), None);
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("example.org:81"));
    assert_eq!(request.field("x-request-id").map(str::len), Some(24));
    Ok(())
}

#[test]
fn an_absolute_target_reaches_the_origin_in_origin_form() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    assert_eq!(proxy.ask("GET http://example.org/p?q HTTP/1.1\r\nHost: example.org\r\n\r\n")?.status, 200);
    let head = &origin.received()[0].head;
    assert!(head.starts_with("GET /p?q HTTP/1.1\r\n"), "{head}");
    Ok(())
}

#[test]
fn websockets_pass_both_ways() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let mut client = proxy.connect()?;
    client.send(
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    )?;
    assert_eq!(client.answer()?.status, 101);
    for _ in 0..3 {
        client.send(b"\x81\x05hello")?;
        assert_eq!(client.read_until("hello")?, "\u{fffd}\u{5}hello");
    }
    Ok(())
}

#[test]
fn a_streamed_answer_is_not_held_back() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let mut client = proxy.connect()?;
    client.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")?;
    client.read_until("first \r\n")?;
    origin.release();
    client.read_until("0\r\n\r\n")?;
    Ok(())
}

#[test]
fn a_streamed_upload_is_held_only_as_far_as_it_is_inspected() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    config.proxy.inspect_body_bytes = 1_000;
    let proxy = Running::start(config)?;
    let mut client = proxy.connect()?;
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n")?;
    client.send(&[b'a'; 500])?;
    thread::sleep(Duration::from_millis(300));
    assert!(origin.received().is_empty(), "the origin was asked before the body was inspected");
    client.send(b"\r\n3e8\r\n")?;
    client.send(&[b'b'; 1_000])?;
    client.send(b"\r\n")?;
    thread::sleep(Duration::from_millis(300));
    assert!(origin.received()[0].content().len() >= 1_400, "the rest does not stream");
    client.send(b"0\r\n\r\n")?;
    assert_eq!(client.answer()?.body.len(), 1_500);
    let bodies = proxy.judge.bodies();
    assert_eq!((bodies[0].0.len(), bodies[0].1), (1_000, false));
    Ok(())
}

#[test]
fn bodies_of_every_size_and_framing_arrive_whole() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    for size in [0, 1, 100, 4_095, 4_096, 16_384, 65_535, 65_536, 65_537, 70_000, 131_072, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut client = proxy.connect()?;
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").as_bytes())?;
        // In another thread: the echo of a large body comes before all of it is sent.
        let answer = send_all(&mut client, &[&body])?;
        assert!(answer == body, "{size} bytes with a length");

        let mut client = proxy.connect()?;
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let mut chunked = Vec::new();
        for chunk in body.chunks(10_000) {
            chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
            chunked.extend(chunk);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let answer = send_all(&mut client, &[&chunked])?;
        assert!(answer == body, "{size} bytes in chunks");
    }
    let judged: Vec<usize> = proxy.judge.bodies().iter().map(|(body, _)| body.len()).collect();
    assert!(judged.iter().all(|length| *length <= 65_536), "{judged:?}");
    assert!(judged.iter().filter(|length| **length == 65_536).count() >= 8, "{judged:?}");
    Ok(())
}

fn send_all(client: &mut Client, parts: &[&[u8]]) -> Result<Vec<u8>> {
    for part in parts {
        client.send(part)?;
    }
    Ok(client.answer()?.body)
}

#[test]
fn expect_100_continue_is_answered_once_and_by_us() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let mut client = proxy.connect()?;
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")?;
    assert_eq!(client.answer()?.status, 100);
    client.send(b"hello")?;
    let answer = client.answer()?;
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(origin.received()[0].field("expect"), None);
    Ok(())
}

#[test]
fn requests_are_observed_without_their_secrets() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let login = |account: &str| {
        let body = format!("username={account}&password=x");
        let length = body.len();
        proxy.ask(&format!("POST /login?next=/ HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"))
    };
    login("alice")?;
    login("Alice")?;
    login("bob")?;
    proxy.ask("GET /status/404 HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let seen = proxy.judge.requests(4);
    assert!(seen[..3].iter().all(|request| request.is_login && request.is_write && !request.answered_by_us));
    assert!(seen[0].account_hash.is_some() && seen[0].account_hash == seen[1].account_hash);
    assert_ne!(seen[0].account_hash, seen[2].account_hash);
    assert_eq!(seen[0].path_hash, seen[1].path_hash);
    assert_ne!(seen[0].path_hash, seen[3].path_hash);
    assert_eq!((seen[3].status, seen[3].is_login, seen[3].is_write), (404, false, false));
    assert_eq!(seen[0].source, std::net::IpAddr::from([127, 0, 0, 1]));
    assert!(seen[0].request_bytes > 60 && seen[0].response_bytes == 6, "{:?}", seen[0]);
    Ok(())
}

#[test]
fn a_taken_port_and_bad_sites_are_told_before_anything_starts() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut config = one_site(vec![dead_target()?]);
    config.listeners[0].address = taken.local_addr()?;
    let told = |config: Config| match Running::start(config) {
        Ok(_) => "it started".to_owned(),
        Err(error) => error.to_string(),
    };
    let text = told(config.clone());
    assert!(text.contains("the port is in use") && text.contains(&taken.local_addr()?.to_string()), "{text}");
    config.listeners[0].address = SocketAddr::from(([192, 0, 2, 1], 0));
    assert!(told(config.clone()).contains("no interface has this address"));
    config.listeners[0].address = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sites[0].targets[0].address = "nonsense".into();
    assert!(told(config.clone()).contains("`nonsense` is no address"));
    config.sites[0].targets.clear();
    assert!(told(config.clone()).contains("has no `[[site.target]]`"));
    config.listeners[0].tls = true;
    config.sites[0].targets.push(dead_target()?);
    assert!(told(config).contains("no site has a certificate"));
    Ok(())
}

#[test]
fn a_reload_is_whole_or_not_at_all() -> Result<()> {
    let (a, b) = (Origin::start("a")?, Origin::start("b")?);
    let mut config = one_site(vec![a.target(1)]);
    let proxy = Running::start(config.clone())?;
    let mut client = proxy.connect()?;
    let mut ask = || -> Result<String> {
        client.send(GET.as_bytes())?;
        Ok(client.answer()?.text())
    };
    assert_eq!(ask()?, "a");
    config.sites[0].targets = vec![b.target(1)];
    proxy.reload.reload(Arc::new(config.clone()))?;
    assert_eq!(ask()?, "b", "a connection kept open sees the new sites");
    config.sites[0].targets.clear();
    assert!(matches!(proxy.reload.reload(Arc::new(config.clone())), Err(ProxyError::NoTarget(_))));
    config.listeners.clear();
    assert!(matches!(proxy.reload.reload(Arc::new(config)), Err(ProxyError::NeedsRestart)));
    assert_eq!(ask()?, "b");
    Ok(())
}

#[test]
fn a_stop_lets_requests_finish_and_closes_the_rest() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let mut idle = proxy.connect()?;
    idle.send(GET.as_bytes())?;
    idle.answer()?;
    let mut busy = proxy.connect()?;
    busy.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")?;
    busy.read_until("first \r\n")?;
    let address = proxy.address();
    let finished = thread::spawn(move || -> Result<String> {
        thread::sleep(Duration::from_millis(300));
        origin.release();
        busy.read_until("0\r\n\r\n")
    });
    let took = proxy.stop();
    assert!(finished.join().is_ok_and(|text| text.is_ok_and(|text| text.contains("second"))));
    assert!((Duration::from_millis(200)..Duration::from_secs(5)).contains(&took), "{took:?}");
    assert!(idle.closed_within(Duration::from_secs(1))?.is_some());
    assert!(Client::connect(address).is_err(), "it still listens");
    Ok(())
}
