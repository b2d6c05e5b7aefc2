//! Enters: TLS clients over HTTP/1.1 and HTTP/2. Leaves: the certificate they were shown and what they got. It must
//! never look inside the proxy.

use std::{
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use http::{Method, Request, StatusCode};
use qantra_tests::{
    proxy::{DECISION, Running, assert_becomes, one_site, site, standing},
    tls::{Certificate, certify, connect},
    upstream::Origin,
};
use qantra_user::{
    config::{Config, ListenConfig, TlsConfig},
    decide::Action,
    proxy::Judgement,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

fn tls_config(origin: &Origin, files: Vec<(&str, &[&str], TlsConfig)>) -> Config {
    let mut config = one_site(vec![]);
    let site = |(name, hosts, tls): (&str, &[&str], TlsConfig)| {
        let mut site = site(name, hosts, vec![origin.target(1)]);
        site.tls = Some(tls);
        site
    };
    config.sites = files.into_iter().map(site).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    config.listeners = vec![ListenConfig { address, tls: true, proxy_protocol: false }];
    config
}

async fn get_http1(proxy: SocketAddr, host: &str, trust: &Certificate) -> Result<String> {
    let mut stream = connect(proxy, host, trust, "http/1.1").await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn run<T>(test: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await? })
}

#[test]
fn the_certificate_is_chosen_by_name_and_answers_get_hsts() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (a, a_files) = certify(folder.path(), "a", &["a.example"])?;
    let (b, b_files) = certify(folder.path(), "b", &["*.b.example"])?;
    let sites: Vec<(&str, &[&str], TlsConfig)> = vec![("a", &["a.example"], a_files), ("b", &["*.b.example"], b_files)];
    let proxy = Running::start(tls_config(&origin, sites))?;
    run(async {
        let text = get_http1(proxy.address(), "a.example", &a).await?;
        assert!(
            text.contains("strict-transport-security: max-age=31536000\r\n")
                || text.contains("Strict-Transport-Security: max-age=31536000\r\n"),
            "{text}"
        );
        assert!(text.contains("Secure; HttpOnly; SameSite=Lax"), "{text}");
        get_http1(proxy.address(), "www.b.example", &b).await?;
        assert!(get_http1(proxy.address(), "a.example", &b).await.is_err(), "the wrong certificate");
        assert!(get_http1(proxy.address(), "c.example", &a).await.is_err(), "a name nobody has");
        Ok(())
    })?;
    assert_eq!(origin.received()[0].field("x-forwarded-proto"), Some("https"));
    assert_becomes(&proxy.counters.tls_failures, 2);
    Ok(())
}

#[test]
fn a_changed_certificate_is_taken_and_a_broken_one_is_not() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (old, files) = certify(folder.path(), "a", &["a.example"])?;
    let proxy = Running::start(tls_config(&origin, vec![("a", &["a.example"], files.clone())]))?;
    let works = |trust: &Certificate| run(get_http1(proxy.address(), "a.example", trust)).is_ok();
    let becomes = |what: &dyn Fn() -> bool| {
        let until = Instant::now() + Duration::from_secs(8);
        while Instant::now() < until && !what() {
            thread::sleep(Duration::from_millis(50));
        }
        what()
    };
    assert!(works(&old));
    // The watch is set up by another thread.
    thread::sleep(Duration::from_millis(300));
    fs::write(&files.certificate, "no certificate")?;
    assert!(becomes(&|| proxy.counters.certificate_failures.get() > 0), "the broken file went unseen");
    assert!(works(&old), "a broken file took the good certificate out");
    let (new, _) = certify(folder.path(), "a", &["a.example"])?;
    assert!(becomes(&|| works(&new)), "the new certificate was not taken");
    assert!(!works(&old));
    Ok(())
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused_at_start() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (_, mut files) = certify(folder.path(), "a", &["a.example"])?;
    files.key = certify(folder.path(), "b", &["a.example"])?.1.key;
    let error = Running::start(tls_config(&origin, vec![("a", &["a.example"], files)])).err().context("it started")?;
    assert!(error.to_string().contains("cannot be used"), "{error}");
    Ok(())
}

struct Http2 {
    requests: h2::client::SendRequest<std::io::Cursor<Vec<u8>>>,
}

impl Http2 {
    async fn connect(proxy: SocketAddr, host: &str, trust: &Certificate) -> Result<Self> {
        let stream = connect(proxy, host, trust, "h2").await?;
        ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "no HTTP/2");
        let (requests, connection) = h2::client::Builder::new().handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { requests })
    }

    async fn ask(&self, request: Request<()>, body: &[&[u8]]) -> Result<(http::response::Parts, Vec<u8>)> {
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut send) = requests.send_request(request, body.is_empty())?;
        for (index, part) in body.iter().enumerate() {
            send.send_data(std::io::Cursor::new(part.to_vec()), index + 1 == body.len())?;
        }
        let (parts, mut receive) = answer.await?.into_parts();
        let mut content = Vec::new();
        while let Some(data) = receive.data().await {
            let data = data?;
            receive.flow_control().release_capacity(data.len())?;
            content.extend_from_slice(&data);
        }
        Ok((parts, content))
    }
}

fn request(method: Method, path: &str) -> Result<Request<()>> {
    let uri = format!("https://a.example{path}");
    Ok(Request::builder().version(http::Version::HTTP_2).method(method).uri(uri).body(())?)
}

#[test]
fn http2_is_forwarded_judged_and_hardened_like_http1() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (trust, files) = certify(folder.path(), "a", &["a.example"])?;
    let proxy = Running::start(tls_config(&origin, vec![("a", &["a.example"], files)]))?;
    proxy.judge.set_verdict(|request| {
        let bad = request.host == "a.example" && request.body.windows(6).any(|window| window == b"attack");
        if bad { Judgement::Act(standing(Action::Block)) } else { Judgement::Pass }
    });
    run(async {
        let client = Http2::connect(proxy.address(), "a.example", &trust).await?;
        let (head, body) = client.ask(request(Method::GET, "/x?y=1")?, &[]).await?;
        assert_eq!((head.status, body.as_slice()), (StatusCode::OK, b"origin".as_slice()));
        assert!(head.headers.contains_key("strict-transport-security") && !head.headers.contains_key("server"));

        let (head, body) = client.ask(request(Method::POST, "/echo")?, &[b"in ", b"parts"]).await?;
        assert_eq!((head.status, body.as_slice()), (StatusCode::OK, b"in parts".as_slice()));
        for size in [1_000, 50_000, 65_536, 200_000] {
            let large = vec![b'x'; size];
            let (_, body) = client.ask(request(Method::POST, "/echo")?, &[&large]).await?;
            assert_eq!(body.len(), size);
        }
        let seen = origin.received().len();
        let (head, body) = client.ask(request(Method::POST, "/")?, &[b"an att", b"ack"]).await?;
        assert_eq!(head.status, StatusCode::FORBIDDEN);
        assert!(String::from_utf8_lossy(&body).contains(&DECISION.to_string()));
        assert_eq!(origin.received().len(), seen, "a refused body reached the origin");
        Ok(())
    })?;
    let first = &origin.received()[0];
    assert!(first.head.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{}", first.head);
    assert_eq!((first.field("host"), first.field("x-forwarded-host")), (Some("a.example"), Some("a.example")));
    assert_eq!((first.field("x-forwarded-proto"), first.field("x-forwarded-for")), (Some("https"), Some("127.0.0.1")));
    assert_eq!(proxy.judge.connections().len(), 1);
    Ok(())
}

#[test]
fn http2_shapes_that_would_smuggle_never_reach_the_origin() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (trust, files) = certify(folder.path(), "a", &["a.example"])?;
    let mut config = tls_config(&origin, vec![("a", &["a.example"], files)]);
    config.proxy.header_bytes_max = 4_096;
    config.proxy.headers_max = 20;
    config.proxy.body_bytes_max = 1_000;
    let proxy = Running::start(config)?;
    run(async {
        for (name, value) in
            [("transfer-encoding", "chunked"), ("connection", "close"), ("content-length", "1"), ("host", "b.example")]
        {
            let client = Http2::connect(proxy.address(), "a.example", &trust).await?;
            let mut bad = request(Method::POST, "/")?;
            bad.headers_mut().insert(name, value.parse()?);
            let answer = client.ask(bad, &[b"GET /hidden HTTP/1.1\r\n\r\n"]).await;
            assert!(!answer.is_ok_and(|(head, _)| head.status.is_success()), "{name}: {value} passed");
        }
        let client = Http2::connect(proxy.address(), "a.example", &trust).await?;
        let mut many = request(Method::GET, "/")?;
        for index in 0..40 {
            many.headers_mut().insert(http::HeaderName::try_from(format!("x-{index}"))?, "y".parse()?);
        }
        assert_eq!(client.ask(many, &[]).await?.0.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let (head, _) = client.ask(request(Method::POST, "/")?, &[&[b'x'; 1_500]]).await?;
        assert_eq!(head.status, StatusCode::PAYLOAD_TOO_LARGE);
        Ok(())
    })?;
    let whole: Vec<_> = origin.received().into_iter().filter(|request| !request.body.is_empty()).collect();
    assert!(whole.is_empty(), "{whole:?}");
    assert!(origin.received().iter().all(|request| !request.head.contains("hidden")));
    Ok(())
}

/// What became of a stream whose frames were written by hand.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Refused,
    Reset,
    GoneAway,
}

/// Sends one request with these fields, as no HTTP/2 library would, and says what became of it.
async fn raw_http2(mut stream: TlsStream<TcpStream>, fields: &[(&str, &str)], body: &[u8]) -> Result<Fate> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // RFC 7541, section 6.2.2: literal field without indexing, new name, no Huffman code.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len())?);
            block.extend(text.bytes());
        }
    }
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 4 | u8::from(body.is_empty()), 1, &block));
    if !body.is_empty() {
        bytes.extend(frame(0, 1, 1, body));
    }
    stream.write_all(&bytes).await?;
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return Ok(Fate::GoneAway);
        }
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await?;
        match head[3] {
            // The first field of an answer is its status; 0x88 is 200 (RFC 7541, appendix A).
            1 if payload.first() == Some(&0x88) => return Ok(Fate::Passed),
            1 => return Ok(Fate::Refused),
            3 => return Ok(Fate::Reset),
            7 => return Ok(Fate::GoneAway),
            _ => {}
        }
    }
}

#[test]
fn http2_fields_that_belong_to_a_connection_never_reach_the_origin() -> Result<()> {
    let (folder, origin) = (tempfile::tempdir()?, Origin::start("origin")?);
    let (trust, files) = certify(folder.path(), "a", &["a.example"])?;
    let proxy = Running::start(tls_config(&origin, vec![("a", &["a.example"], files)]))?;
    let ask = |extra: &'static [(&'static str, &'static str)]| {
        run(async {
            let stream = connect(proxy.address(), "a.example", &trust, "h2").await?;
            let own = [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];
            raw_http2(stream, &[&own, extra].concat(), b"GET /hidden HTTP/1.1\r\n\r\n").await
        })
    };
    assert_eq!(ask(&[("x", "y")])?, Fate::Passed, "what is in order passes");
    let seen = origin.received().len();
    for extra in [
        &[("transfer-encoding", "chunked")][..],
        &[("connection", "keep-alive")],
        &[("keep-alive", "timeout=5")],
        &[("proxy-connection", "close")],
        &[("upgrade", "websocket")],
        &[("te", "gzip")],
        &[("host", "b.example")],
        &[("content-length", "5")],
        &[("content-length", "23"), ("content-length", "24")],
        &[("x", "a\r\nTransfer-Encoding: chunked")],
        &[("x\r\ny", "z")],
        &[("X-Upper", "y")],
        &[(":path", "/second")],
    ] {
        assert_ne!(ask(extra)?, Fate::Passed, "{extra:?}");
    }
    assert_eq!(origin.received().len(), seen, "{:?}", origin.received());
    Ok(())
}
