//! Enters: hostile bytes over raw sockets, and decisions. Leaves: what was refused, how, and that nothing of it reached
//! the origin. It must never look inside the proxy.

use std::{
    net::IpAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use qantra_tests::{
    client::Client,
    proxy::{DECISION, Running, assert_becomes, one_site, standing},
    upstream::Origin,
};
use qantra_user::{decide::Action, proxy::Judgement};

const GET: &str = "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A request whose body hides a second one, should anybody read the framing another way.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: example.org\r\n\r\n";

#[test]
fn smuggling_shapes_get_400_and_never_reach_the_origin() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let shapes: [(&str, &str); 22] = [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", "both"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
            "more than one Content-Length",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "more than one Content-Length",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 44\r\n\r\n", "no single number"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "no single number"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "no single number"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "other than chunked"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", "other than chunked"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", "other than chunked"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "field name"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            "more than one Transfer",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", "folded"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control character"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rContent-Length: 44\r\n\r\n", "control character"),
        ("GET / HTTP/1.1\r\nHost: a\nContent-Length: 44\r\n\r\n", "bare LF"),
        ("GET http://internal.example/ HTTP/1.1\r\nHost: example.org\r\n\r\n", "different hosts"),
        ("GET / HTTP/1.1\r\n\r\n", "no Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "more than one Host"),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "malformed Host"),
        ("GET /\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n", "control character"),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "request line"),
    ];
    for (count, (shape, name)) in shapes.iter().enumerate() {
        let mut client = proxy.connect()?;
        client.send(format!("{shape}{HIDDEN}").as_bytes())?;
        assert_eq!(client.answer()?.status, 400, "{shape:?}");
        assert!(client.closed_within(Duration::from_secs(2))?.is_some(), "{shape:?} left the connection open");
        let violations = proxy.judge.violations();
        assert_eq!(violations.len(), count + 1, "{shape:?}: {violations:?}");
        assert!(violations[count].contains(name), "{shape:?}: {:?} is not {name:?}", violations[count]);
    }
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    assert_eq!(proxy.judge.requests(shapes.len()).len(), shapes.len());
    assert!(proxy.judge.requests(1).iter().all(|request| request.answered_by_us && request.status == 400));
    Ok(())
}

#[test]
fn malformed_chunks_get_400_and_the_origin_never_sees_a_whole_request() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!!0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ] {
        let answer = proxy.ask(&format!("{head}{body}"))?;
        assert_eq!(answer.status, 400, "{body:?}");
    }
    assert_eq!(proxy.judge.violations(), ["malformed chunk"; 6]);
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    Ok(())
}

#[test]
fn what_follows_a_request_is_never_taken_for_part_of_it() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    // A body where none belongs: the bytes after the head are another request, or nothing, but no body.
    let mut client = proxy.connect()?;
    client.send(format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{HIDDEN}").as_bytes())?;
    client.answer()?;
    thread::sleep(Duration::from_millis(200));
    let seen = origin.received();
    assert!(seen[0].head.starts_with("GET /first ") && seen[0].body.is_empty(), "{seen:?}");
    assert!(seen.len() == 1 || seen[1].head.starts_with("GET /hidden "), "{seen:?}");
    Ok(())
}

#[test]
fn limits_of_heads_and_bodies_are_told() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    config.proxy.header_bytes_max = 2_048;
    config.proxy.headers_max = 20;
    config.proxy.body_bytes_max = 100_000;
    config.proxy.inspect_body_bytes = 1_000;
    let proxy = Running::start(config)?;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(3_000));
    assert_eq!(proxy.ask(&long)?.status, 431);
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(10_000));
    assert_eq!(proxy.ask(&endless)?.status, 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(300));
    assert_eq!(proxy.ask(&many)?.status, 431);
    assert_eq!(proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")?.status, 413);
    assert!(origin.received().is_empty());

    let mut client = proxy.connect()?;
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for _ in 0..12 {
        client.send(b"2710\r\n")?;
        client.send(&[b'a'; 10_000])?;
        client.send(b"\r\n")?;
    }
    assert_eq!(client.answer()?.status, 413);
    assert_becomes(&proxy.counters.bodies_too_large, 2);
    assert_eq!(proxy.judge.violations(), [""; 0]);
    Ok(())
}

#[test]
fn slow_clients_end() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    config.proxy.client_header_timeout_ms = 600;
    config.proxy.client_body_timeout_ms = 400;
    config.proxy.keepalive_timeout_ms = 700;
    let proxy = Running::start(config)?;
    let mut silent = proxy.connect()?;
    assert!(silent.closed_within(Duration::from_secs(3))?.is_some(), "a silent client stays");

    // A byte now and then must not buy time.
    let mut dripping = proxy.connect()?;
    let started = Instant::now();
    dripping.send(b"GET / HTTP/1.1\r\nHost: a\r\n")?;
    while started.elapsed() < Duration::from_secs(3) && dripping.send(b"X: y\r\n").is_ok() {
        if dripping.closed_within(Duration::from_millis(100))?.is_some() {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(2), "a dripping head stays: {:?}", started.elapsed());

    let mut half = proxy.connect()?;
    half.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhell")?;
    assert_eq!(half.answer()?.status, 408);

    // The dripping body is let go on for a multiple of the pause, and ends all the same.
    let mut body = proxy.connect()?;
    let started = Instant::now();
    body.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")?;
    while started.elapsed() < Duration::from_secs(6) && body.send(b"x").is_ok() {
        if body.closed_within(Duration::from_millis(200))?.is_some() {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(4), "a dripping body stays: {:?}", started.elapsed());

    let mut idle = proxy.connect()?;
    idle.send(GET.as_bytes())?;
    idle.answer()?;
    assert!(idle.closed_within(Duration::from_secs(3))?.is_some(), "an idle client stays");
    assert!(proxy.counters.slow_heads.get() >= 2);
    assert!(origin.received().len() == 1, "{:?}", origin.received());
    Ok(())
}

#[test]
fn a_blocked_client_gets_the_decisions_id_as_it_likes_to_read_it() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    proxy.judge.set_standing(LOOPBACK, Action::Block);
    let page = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*\r\n\r\n")?;
    assert_eq!(page.status, 403);
    assert!(page.text().contains(&DECISION.to_string()) && page.text().starts_with("<!doctype html>"));
    let json = proxy.ask("POST /api HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\n{}")?;
    let fields: serde_json::Value = serde_json::from_slice(&json.body)?;
    assert_eq!((json.status, &fields["decision"]), (403, &serde_json::json!(DECISION.to_string())));
    assert!(origin.received().is_empty());
    assert!(proxy.judge.bodies().is_empty(), "a blocked client's request was judged");
    assert!(proxy.judge.requests(2).iter().all(|request| request.answered_by_us && request.status == 403));
    Ok(())
}

#[test]
fn a_request_is_judged_before_any_of_it_reaches_the_origin() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    proxy.judge.set_verdict(|request| {
        let bad = request.body.windows(6).any(|window| window == b"attack") || request.target.starts_with(b"/attack");
        if bad { Judgement::Act(standing(Action::Block)) } else { Judgement::Pass }
    });
    for late in [false, true] {
        if late {
            proxy.judge.answer_late(false);
        }
        assert_eq!(proxy.ask("GET /attack HTTP/1.1\r\nHost: a\r\n\r\n")?.status, 403);
        assert_eq!(proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nan attack!")?.status, 403);
        let chunked =
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\natt\r\n3\r\nack\r\n0\r\n\r\n";
        assert_eq!(proxy.ask(chunked)?.status, 403);
    }
    assert!(origin.received().is_empty(), "{:?}", origin.received());
    assert_eq!(proxy.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ngood")?.text(), "good");
    Ok(())
}

#[test]
fn a_judge_that_misses_its_deadline_lets_the_request_pass() -> Result<()> {
    let origin = Origin::start("origin")?;
    let proxy = Running::start(one_site(vec![origin.target(1)]))?;
    proxy.judge.answer_late(true);
    assert_eq!(proxy.ask(GET)?.status, 200);
    assert_becomes(&proxy.counters.judge_late, 1);
    Ok(())
}

#[test]
fn a_throttled_client_waits_and_then_gets_429() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    config.proxy.throttle_rps = 1.0;
    config.proxy.throttle_delay_ms = 200;
    let proxy = Running::start(config)?;
    proxy.judge.set_standing(LOOPBACK, Action::Throttle);
    let started = Instant::now();
    assert_eq!(proxy.ask(GET)?.status, 200);
    assert!(started.elapsed() >= Duration::from_millis(200));
    let refused = proxy.ask(GET)?;
    assert_eq!((refused.status, refused.field("retry-after")), (429, Some("1")));
    assert!(refused.text().contains(&DECISION.to_string()));
    assert_eq!(origin.received().len(), 1);
    Ok(())
}

#[test]
fn a_forwarded_client_talks_to_the_decoy() -> Result<()> {
    let (origin, decoy) = (Origin::start("origin")?, Origin::start("decoy")?);
    let mut config = one_site(vec![origin.target(1)]);
    config.sites[0].decoy = Some(decoy.address.to_string());
    let proxy = Running::start(config.clone())?;
    proxy.judge.set_standing(LOOPBACK, Action::Forward);
    assert_eq!(proxy.ask(GET)?.text(), "decoy");
    assert!(origin.received().is_empty());
    config.sites[0].decoy = None;
    proxy.reload.reload(Arc::new(config))?;
    assert_eq!(proxy.ask(GET)?.status, 403, "without a decoy it is blocked");
    Ok(())
}

#[test]
fn a_site_in_simulation_refuses_nobody_and_an_observed_client_passes() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    let proxy = Running::start(config.clone())?;
    proxy.judge.set_standing(LOOPBACK, Action::Observe);
    assert_eq!(proxy.ask(GET)?.status, 200);
    config.sites[0].simulation = true;
    proxy.reload.reload(Arc::new(config))?;
    proxy.judge.set_standing(LOOPBACK, Action::Block);
    assert_eq!(proxy.ask(GET)?.status, 200);
    assert_becomes(&proxy.counters.simulated, 1);
    Ok(())
}

#[test]
fn only_a_trusted_peer_is_believed_about_its_client() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    let spoof = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n\r\n";
    let stranger = Running::start(config.clone())?;
    stranger.judge.set_standing("203.0.113.9".parse()?, Action::Block);
    assert_eq!(stranger.ask(spoof)?.status, 200);
    assert_eq!(stranger.judge.clients(), [LOOPBACK]);
    assert_eq!(origin.received()[0].field("x-forwarded-for"), Some("127.0.0.1"));

    config.proxy.trusted_proxies = vec!["127.0.0.0/8".parse()?];
    let trusting = Running::start(config)?;
    trusting.judge.set_standing("203.0.113.9".parse()?, Action::Block);
    assert_eq!(trusting.ask(spoof)?.status, 403);
    // The left-most entry is what the client itself wrote: it must neither be banned nor used to get round a ban.
    let other = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.1\r\n\r\n";
    assert_eq!(trusting.ask(other)?.status, 200);
    assert_eq!(trusting.judge.clients(), ["198.51.100.1".parse::<IpAddr>()?]);
    assert_eq!(origin.received()[1].field("x-forwarded-for"), Some("203.0.113.9, 198.51.100.1, 127.0.0.1"));
    assert!(trusting.judge.connections().is_empty(), "a trusted proxy's connections are not its clients'");
    Ok(())
}

#[test]
fn a_proxy_header_is_taken_from_trusted_peers_alone() -> Result<()> {
    let origin = Origin::start("origin")?;
    let mut config = one_site(vec![origin.target(1)]);
    config.listeners[0].proxy_protocol = true;
    let v1 = format!("PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n{GET}");
    let stranger = Running::start(config.clone())?;
    assert_eq!(stranger.ask(&v1)?.status, 400, "a stranger's header is no request");
    assert_eq!(stranger.ask(GET)?.status, 200, "a stranger speaks HTTP at once");

    config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse()?];
    let trusting = Running::start(config)?;
    assert_eq!(trusting.ask(&v1)?.status, 200);
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 9, 192, 0, 2, 1, 18, 103, 0, 80]);
    v2.extend(GET.bytes());
    let mut client = trusting.connect()?;
    client.send(&v2)?;
    assert_eq!(client.answer()?.status, 200);
    let named: IpAddr = "203.0.113.9".parse()?;
    assert_eq!(trusting.judge.clients(), [named, named]);
    assert_eq!(trusting.judge.connections(), [named, named]);
    let told = origin.received();
    assert!(told[1..].iter().all(|request| request.field("x-forwarded-for") == Some("203.0.113.9")), "{told:?}");
    assert!(trusting.ask(GET).is_err(), "a trusted peer without the header");
    let mut slow = Client::connect(trusting.address())?;
    slow.send(b"PROXY TCP4 203.")?;
    slow.send(b"0.113.9 192.0.2.1 4711 80\r\n")?;
    slow.send(GET.as_bytes())?;
    assert_eq!(slow.answer()?.status, 200, "a header in two segments");
    Ok(())
}
