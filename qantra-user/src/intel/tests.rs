//! Feeds against files and servers on loopback.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    list::{Format, Reason},
    *,
};
use crate::{
    clock::Now,
    config::{Config, FeedsConfig, parse_net},
    decide::Standing,
    enforce::{AddressRanges, AllowEntry, Enforcer, FeedHit, FeedHits, FeedPlane, PlaneError, ProtectedSet},
    metrics::Metrics,
};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// The kernel half in memory.
#[derive(Default)]
struct Plane {
    lists: Mutex<(AddressRanges, AddressRanges)>,
    hits: Mutex<FeedHits>,
    refuses: Mutex<bool>,
}

impl FeedPlane for Plane {
    fn replace_feeds(&self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError> {
        if *self.refuses.lock() {
            return Err(PlaneError::Map { what: "feeds", source: std::io::Error::from_raw_os_error(12) });
        }
        *self.lists.lock() = (inbound.clone(), outbound.clone());
        Ok(4_711)
    }

    fn take_feed_hits(&self) -> Result<FeedHits, PlaneError> {
        Ok(std::mem::take(&mut *self.hits.lock()))
    }
}

struct Edge {
    dir: tempfile::TempDir,
    plane: Arc<Plane>,
    enforcer: Arc<Enforcer>,
    metrics: Arc<Metrics>,
    feeds: Option<Feeds>,
}

fn limits() -> FeedsConfig {
    FeedsConfig { timeout_s: 2, download_max_mb: 1, unpacked_max_mb: 4, ..FeedsConfig::default() }
}

impl Edge {
    fn new() -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let enforcer = Arc::new(Enforcer::new(None, Arc::clone(&metrics), false));
        let mut config = Config::default();
        config.protect.networks = vec![parse_net("45.9.148.66").unwrap()];
        enforcer.set_protected(ProtectedSet::from_config(&config), Now::read()).unwrap();
        let mut this =
            Self { dir: tempfile::tempdir().unwrap(), plane: Arc::default(), enforcer, metrics, feeds: None };
        this.start(limits());
        this
    }

    fn start(&mut self, config: FeedsConfig) {
        self.feeds = None;
        let start = FeedsStart {
            state_dir: self.dir.path(),
            config,
            enforcer: Arc::clone(&self.enforcer),
            plane: Some(Arc::clone(&self.plane) as Arc<dyn FeedPlane>),
            metrics: Arc::clone(&self.metrics),
        };
        self.feeds = Some(Feeds::start(start).unwrap());
    }

    fn feeds(&self) -> &Feeds {
        self.feeds.as_ref().unwrap()
    }

    fn status(&self, name: &str) -> FeedStatus {
        self.feeds().list().feeds.into_iter().find(|feed| feed.spec.name == name).unwrap()
    }

    /// Adds, waits until it was tried, and says how it went.
    fn add(&self, spec: FeedSpec) -> FeedStatus {
        let name = spec.name.clone();
        self.feeds().add(spec).unwrap();
        self.tried(&name, 0)
    }

    fn refresh(&self, name: &str, believe: bool) -> FeedStatus {
        let before = self.status(name).attempts;
        self.feeds().refresh(Some(name), believe).unwrap();
        self.tried(name, before)
    }

    fn tried(&self, name: &str, before: u64) -> FeedStatus {
        wait_for(|| self.status(name).attempts > before);
        self.status(name)
    }

    fn in_kernel(&self, address: &str) -> bool {
        self.plane.lists.lock().0.contains(address.parse().unwrap())
    }

    fn standing(&self, address: &str) -> Option<Standing> {
        self.enforcer.standing(address.parse().unwrap(), Now::read().boot_ns)
    }

    fn rejected(&self, name: &str) -> Vec<String> {
        let mut said = Vec::new();
        let each = &mut |complaint: &list::Complaint| {
            said.push(format!("{} {}", complaint.line, complaint.reason.as_str()));
            true
        };
        self.feeds().rejected(name, each).unwrap();
        said
    }
}

#[track_caller]
fn wait_for(mut is_so: impl FnMut() -> bool) {
    let until = Now::read().boot_ns + PATIENCE.as_nanos() as u64;
    while !is_so() {
        assert!(Now::read().boot_ns < until, "it did not become so");
        thread::sleep(Duration::from_millis(5));
    }
}

fn spec(name: &str, source: impl ToString) -> FeedSpec {
    FeedSpec {
        name: name.into(),
        source: source.to_string(),
        format: Format::Auto,
        refresh_s: 3_600,
        confidence: 80,
        direction: FeedDirection::In,
        allow_private: false,
    }
}

/// A web server on loopback whose answers a test sets; it keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (heard, said) = (Arc::clone(&asked), Arc::clone(&answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (heard, said) = (Arc::clone(&heard), Arc::clone(&said));
                thread::spawn(move || serve(stream, &heard, &said));
            }
        });
        Self { address, asked, answer }
    }

    fn url(&self) -> String {
        format!("http://{}/list.txt", self.address)
    }

    fn says(&self, status: &str, headers: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
        *self.answer.lock() = [head.as_bytes(), body].concat();
    }

    fn lists(&self, etag: &str, body: &[u8]) {
        self.says("200 OK", &format!("ETag: \"{etag}\"\r\nContent-Length: {}\r\n", body.len()), body);
    }

    fn last(&self) -> String {
        self.asked.lock().last().cloned().unwrap_or_default().to_lowercase()
    }
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<String>>, answer: &Mutex<Vec<u8>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
    }
    asked.lock().push(String::from_utf8_lossy(&head).into_owned());
    let answer = answer.lock().clone();
    if answer.is_empty() {
        // A server that has gone to sleep.
        thread::sleep(Duration::from_secs(10));
    }
    // Whoever asked may have had enough.
    let _ = stream.write_all(&answer);
}

#[test]
fn a_list_is_fetched_put_in_force_and_asked_for_by_condition() {
    let (server, mut this) = (Server::start(), Edge::new());
    server.lists("v1", b"# test\n45.9.148.0/24\n2a06:f680::/32\n10.0.0.1\nnonsense\n");
    let status = this.add(spec("drop", server.url()));
    assert_eq!(status.problem, None);
    assert_eq!((status.report.entries, status.report.rejected, status.ranges), (2, 2, 3));
    assert_eq!(status.report.by_reason[&Reason::ProtectedCut], 1);
    assert!(this.in_kernel("45.9.148.65") && !this.in_kernel("45.9.148.66") && this.in_kernel("2a06:f680::9"));
    assert_eq!(this.standing("45.9.148.7").map(|standing| standing.decision), Some(None));
    assert_eq!(this.standing("::ffff:45.9.148.7").map(|standing| standing.decision), Some(None));
    assert_eq!((this.standing("45.9.148.66"), this.standing("45.9.149.1")), (None, None));
    assert_eq!(this.rejected("drop"), ["2 protected_cut", "4 special", "5 not_an_address"]);
    assert_eq!(this.feeds().summary().kernel_bytes, 4_711);
    assert!(server.last().contains("accept-encoding: gzip") && server.last().contains("user-agent: qantra/"));

    server.says("304 Not Modified", "", b"");
    let status = this.refresh("drop", false);
    assert!(server.last().contains("if-none-match: \"v1\""), "{}", server.last());
    assert_eq!((status.problem, status.report.entries), (None, 2));
    let counted = this.metrics.text().unwrap();
    assert!(counted.contains("qantra_feed_fetches_total{feed=\"drop\",result=\"unchanged\"} 1"), "{counted}");

    // The last good list is loaded before anything is fetched, and its files are nobody else's.
    let asked = server.asked.lock().len();
    *this.plane.lists.lock() = Default::default();
    this.start(limits());
    wait_for(|| this.in_kernel("45.9.148.65"));
    assert_eq!(server.asked.lock().len(), asked);
    for path in ["feeds/feeds.json", "feeds/drop/list", "feeds/drop/facts.json"] {
        let mode = fs::metadata(this.dir.path().join(path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    this.feeds().remove("drop").unwrap();
    wait_for(|| !this.in_kernel("45.9.148.65"));
    assert_eq!(this.standing("45.9.148.7"), None);
    assert!(!this.dir.path().join("feeds/drop").exists());
    assert!(!this.metrics.text().unwrap().contains("feed=\"drop\""));
}

#[test]
fn what_is_broken_short_or_gone_keeps_the_last_good_list() {
    let (server, this) = (Server::start(), Edge::new());
    let good: String = (0..100).map(|n| format!("45.9.{n}.7\n")).collect();
    server.lists("v1", good.as_bytes());
    assert_eq!(this.add(spec("ips", server.url())).problem, None);

    let fails = |why: &str| {
        let status = this.refresh("ips", false);
        let problem = status.problem.unwrap_or_default();
        assert!(problem.contains(why) && problem.contains("the last good list stays"), "{problem}");
        assert_eq!(status.report.entries, 100);
        assert!(this.in_kernel("45.9.99.7"));
        status.next_unix_ms.saturating_sub(Now::read().unix_ms) / 1_000
    };
    server.says("500 Internal Server Error", "Content-Length: 0\r\n", b"");
    // Tried again soon, then with growing pauses.
    assert!((50..70).contains(&fails("500")));
    assert!((100..140).contains(&fails("500")));
    server.lists("v2", b"<!DOCTYPE html><html>Sign in</html>");
    fails("web page");
    server.lists("v3", b"45.9.0.7\n45.9.1.7\n");
    fails("--believe");
    server.lists("v4", b"# nothing\n");
    fails("none of its 1 lines");
    server.lists("v5", &[b'\n'; 1_000_001]);
    fails("download_max_mb");
    server.says("200 OK", "Content-Length: 5000\r\n", b"45.9.0.7\n");
    fails("not fetched");
    server.says("200 OK", "Transfer-Encoding: chunked\r\n", &[b"1e8480\r\n".as_slice(), &[b'\n'; 2_000_000]].concat());
    fails("download_max_mb");
    server.says("302 Found", "Location: /again\r\nContent-Length: 0\r\n", b"");
    fails("redirect");
    server.lists("v6", b"\xff\xfe4\x005\x00");
    fails("UTF-16");
    server.answer.lock().clear();
    fails("timeout");

    server.lists("v7", b"45.9.0.7\n45.9.1.7\n");
    let status = this.refresh("ips", true);
    assert_eq!((status.problem, status.report.entries), (None, 2));
    assert!(!this.in_kernel("45.9.99.7") && this.in_kernel("45.9.1.7"));
}

#[test]
fn a_bomb_is_refused_and_gzip_is_read() {
    let (server, this) = (Server::start(), Edge::new());
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    let packed = gzip(b"45.9.148.3\n");
    let headers = format!("Content-Encoding: gzip\r\nContent-Length: {}\r\n", packed.len());
    server.says("200 OK", &headers, &packed);
    assert_eq!(this.add(spec("packed", server.url())).report.entries, 1);
    server.lists("bomb", &gzip(&vec![b'\n'; 20_000_000]));
    assert!(this.refresh("packed", false).problem.unwrap().contains("unpacked_max_mb"));
    assert!(this.in_kernel("45.9.148.3"));
}

#[test]
fn tls_is_verified_and_never_left() {
    let this = Edge::new();
    // It answers, but not in TLS.
    let server = Server::start();
    server.lists("x", b"45.9.148.3\n");
    let problem = this.add(spec("plain", server.url().replace("http:", "https:"))).problem.unwrap();
    assert!(problem.starts_with("not fetched:"), "{problem}");
    assert!(server.asked.lock().iter().all(|asked| !asked.starts_with("GET")), "it was asked without TLS");
    // A certificate that nobody vouches for.
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(config);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        }
    });
    let problem = this.add(spec("unknown", format!("https://localhost:{port}/x"))).problem.unwrap();
    assert!(problem.to_lowercase().contains("certificate"), "{problem}");
}

#[test]
fn files_are_followed_and_kept_when_they_go() {
    let this = Edge::new();
    let path = this.dir.path().join("own.txt");
    fs::write(&path, "45.9.148.3\n").unwrap();
    let own = FeedSpec { allow_private: true, ..spec("own", path.display()) };
    assert_eq!(this.add(own).report.entries, 1);
    let unchanged = this.refresh("own", false);
    assert_eq!(unchanged.problem, None);
    fs::write(&path, "45.9.148.3\n10.9.9.9\n").unwrap();
    let status = this.refresh("own", false);
    assert_eq!(status.report.entries, 2);
    assert!(this.in_kernel("10.9.9.9"));
    fs::remove_file(&path).unwrap();
    let problem = this.refresh("own", false).problem.unwrap();
    assert!(problem.contains("own.txt") && this.in_kernel("10.9.9.9"), "{problem}");
    assert!(this.add(spec("folder", this.dir.path().display())).problem.unwrap().contains("no regular file"));
    assert!(this.add(spec("device", "/dev/zero")).problem.unwrap().contains("no regular file"));
}

#[test]
fn definitions_are_checked_and_kept() {
    let mut this = Edge::new();
    let file = this.dir.path().join("x");
    fs::write(&file, "45.9.148.3\n").unwrap();
    this.add(spec("a", file.display()));
    assert!(matches!(this.feeds().add(spec("a", "/x")), Err(FeedError::Taken(_))));
    assert!(matches!(this.feeds().add(spec("../a", "/x")), Err(FeedError::Bad(BadFeed::Name(_)))));
    assert!(matches!(this.feeds().add(spec("b", "x")), Err(FeedError::Bad(BadFeed::Source(_)))));
    assert!(matches!(this.feeds().remove("b"), Err(FeedError::Unknown(_))));
    assert!(matches!(this.feeds().refresh(Some("b"), false), Err(FeedError::Unknown(_))));
    assert!(matches!(this.feeds().rejected("b", &mut |_| true), Err(FeedError::Unknown(_))));
    this.start(limits());
    assert_eq!(
        this.feeds().list().feeds.iter().map(|feed| feed.spec.clone()).collect::<Vec<_>>(),
        [spec("a", file.display())]
    );
    // A damaged file is said, not overwritten.
    this.feeds = None;
    let path = this.dir.path().join("feeds/feeds.json");
    fs::write(&path, "[{").unwrap();
    let start = FeedsStart {
        state_dir: this.dir.path(),
        config: limits(),
        enforcer: Arc::clone(&this.enforcer),
        plane: None,
        metrics: Arc::clone(&this.metrics),
    };
    let error = Feeds::start(start).err().unwrap().to_string();
    assert!(error.contains("feeds.json"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "[{");
}

#[test]
fn the_allowlist_wins_over_lists_at_once_and_they_follow() {
    let this = Edge::new();
    let path = list_in(this.dir.path(), "45.9.148.3\n45.9.148.4\n");
    this.add(spec("a", &path));
    assert!(this.standing("45.9.148.3").is_some());
    let entry = |net| AllowEntry {
        net: parse_net(net).unwrap(),
        comment: "office".into(),
        created_unix_ms: 0,
        expires_unix_ms: None,
    };
    this.enforcer.set_allowlist(vec![entry("45.9.148.3")], Now::read()).unwrap();
    assert_eq!(this.standing("45.9.148.3"), None, "before the list is read again");
    this.feeds().protection_changed();
    wait_for(|| !this.in_kernel("45.9.148.3"));
    assert_eq!(this.rejected("a"), ["1 protected"]);
    assert!(this.feeds().check("45.9.148.3".parse().unwrap()).protection.is_some());
    this.enforcer.set_allowlist(Vec::new(), Now::read()).unwrap();
    this.feeds().protection_changed();
    wait_for(|| this.in_kernel("45.9.148.3"));
}

fn list_in(dir: &Path, text: &str) -> String {
    let path = dir.join("list.txt");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn simulation_enforces_no_list() {
    let this = Edge::new();
    this.add(spec("a", list_in(this.dir.path(), "45.9.148.3\n")));
    this.enforcer.set_simulation(true);
    this.feeds().simulation_changed();
    wait_for(|| !this.in_kernel("45.9.148.3"));
    assert_eq!(this.standing("45.9.148.3"), None);
    this.enforcer.set_simulation(false);
    this.feeds().simulation_changed();
    wait_for(|| this.in_kernel("45.9.148.3"));
}

#[test]
fn hits_are_told_by_feed_and_by_address() {
    let this = Edge::new();
    let address = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    let path = list_in(this.dir.path(), "45.9.148.0/24\n");
    this.add(spec("wide", &path));
    let one = this.dir.path().join("one.txt");
    fs::write(&one, "45.9.148.3\n").unwrap();
    this.add(FeedSpec { direction: FeedDirection::Both, confidence: 30, ..spec("one", one.display()) });
    let hit = |text: &str, packets: u64| FeedHit { address: address(text), packets, bytes: 60 * packets };
    this.plane.hits.lock().by_address = vec![hit("45.9.148.3", 5), hit("45.9.148.4", 2)];
    assert!(this.standing("45.9.148.3").is_some() && this.standing("45.9.148.3").is_some());
    this.feeds().take_hits(Now { boot_ns: 1, unix_ms: 1_700_000_000_000 });
    let hits = |name: &str| this.status(name).hits;
    assert_eq!((hits("wide").packets, hits("wide").bytes, hits("wide").requests), (7, 420, 2));
    assert_eq!((hits("one").packets, hits("one").requests, hits("one").last_unix_ms), (5, 2, Some(1_700_000_000_000)));
    let check = this.feeds().check(address("::ffff:45.9.148.3"));
    assert_eq!(check.listings.iter().map(|listing| listing.feed.as_str()).collect::<Vec<_>>(), ["wide", "one"]);
    assert_eq!((check.blocked_inbound, check.blocked_outbound, check.hits.packets), (true, true, 5));
    assert!(this.metrics.text().unwrap().contains("qantra_feed_packets_total{feed=\"wide\"} 7"));

    // Packets of addresses that found no place of their own: by the shares of those that did, 3 of 4 and all.
    *this.plane.hits.lock() = FeedHits {
        by_address: vec![hit("45.9.148.3", 3), hit("45.9.148.4", 1)],
        other_packets: 400,
        other_bytes: 24_000,
    };
    this.feeds().take_hits(Now { boot_ns: 2, unix_ms: 1_700_000_001_000 });
    assert_eq!((hits("wide").packets, hits("wide").bytes), (7 + 404, 420 + 404 * 60));
    assert_eq!((hits("one").packets, hits("one").bytes), (5 + 303, 300 + 303 * 60));
}

#[test]
fn what_does_not_fit_is_left_out_said_and_exported() {
    let mut this = Edge::new();
    let sure = list_in(this.dir.path(), "45.9.148.3\n");
    let many = this.dir.path().join("many.txt");
    let text: String =
        (0..200_000_u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits((46 << 24) + n * 256))).collect();
    fs::write(&many, text.lines().take(60_000).map(|line| line.to_owned() + "\n").collect::<String>()).unwrap();
    let limits = || FeedsConfig { download_max_mb: 8, unpacked_max_mb: 8, ..limits() };
    this.start(FeedsConfig { kernel_memory_max_mb: Some(1), ..limits() });
    // Not even the fixed part fits.
    this.add(FeedSpec { confidence: 90, ..spec("sure", &sure) });
    assert!(this.feeds().summary().is_shed && !this.in_kernel("45.9.148.3"));
    this.feeds().reconfigure(FeedsConfig { kernel_memory_max_mb: Some(7), ..limits() });
    wait_for(|| this.in_kernel("45.9.148.3"));
    this.add(FeedSpec { confidence: 10, ..spec("many", many.display()) });
    assert!(!this.feeds().summary().is_shed, "240 kB of addresses do fit");
    fs::write(&many, &text).unwrap();
    this.refresh("many", false);
    let list = this.feeds().list();
    assert!(list.summary.is_shed && list.warnings.iter().any(|warning| warning.contains("kernel_memory_max_mb")));
    assert!(this.in_kernel("45.9.148.3"), "the surer one stays");
    let left = this.rejected("many");
    let held = list.summary.inbound_ranges - 1;
    assert_eq!((left.len() + held, left[0].ends_with(" shed")), (200_000, true));
    assert!(held > 170_000, "{held}");
    assert!(this.rejected("sure").is_empty());
}

#[test]
fn a_kernel_that_refuses_leaves_the_proxy_to_it() {
    let this = Edge::new();
    *this.plane.refuses.lock() = true;
    this.add(spec("a", list_in(this.dir.path(), "45.9.148.3\n")));
    assert!(!this.in_kernel("45.9.148.3") && this.standing("45.9.148.3").is_some());
    assert!(this.feeds().list().warnings.iter().any(|warning| warning.contains("older lists")));
    *this.plane.refuses.lock() = false;
    this.feeds().simulation_changed();
    wait_for(|| this.in_kernel("45.9.148.3"));
    assert!(this.feeds().list().warnings.is_empty());
}
