//! The real binary against a real control socket, enforcer and store. Of the daemon only the proxy, the kernel half and
//! the models are missing: their answers are fixed.
#![expect(clippy::unwrap_used, reason = "a failure of a test's own step ends the test")]

#[path = "cli_daemon/daemon.rs"]
mod daemon;

use std::sync::{Arc, atomic::Ordering};

use qantra_tests::binary::{command, transcript};
use qantra_user::{
    capture::Frames,
    clock::Now,
    config::parse_net,
    decide::{Action, Decision, DecisionId, Direction, Origin, Scope, Standing},
    detect::{
        AttackClass, Evidence, Finding, Measurement, RequestRef, RuleEvidence, Severity, ThresholdOrigin, Weight,
    },
    enforce::{BanHits, DecisionHits, EndReason, Ended},
    store::Write,
};

use daemon::{Daemon, socket_in};

const THERE_IS_NO_KERNEL: &str = "warning: there is no kernel half: the proxy enforces it alone\n";

#[test]
fn a_ban_is_added_listed_explained_and_deleted() {
    let daemon = Daemon::start();
    let added =
        daemon.run(&["decisions", "add", "--ip", "203.0.113.7", "--duration", "4h", "--reason", "scans our ports"]);
    let id = added.split("decision ").nth(1).and_then(|rest| rest.get(..13)).unwrap().to_owned();
    assert_eq!(
        added,
        format!("exit code 0\n--- stdout\n203.0.113.7 blocked for 4h: decision {id}\n--- stderr\n{THERE_IS_NO_KERNEL}")
    );
    assert_eq!(daemon.standing("203.0.113.7").unwrap().action, Action::Block);

    let list = daemon.json(&["decisions", "list"]);
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["scope"], &list[0]["requests"]), (&"203.0.113.7/32".into(), &1.into()));
    let raw = daemon.run(&["decisions", "list", "--ip", "203.0.113.7", "-o", "raw"]);
    assert!(raw.contains(&format!("{id}\t203.0.113.7\tblock\t-\tcli\tactive\t")), "{raw}");
    assert!(daemon.run(&["decisions", "list", "--ip", "203.0.113.8"]).contains("No decision covers 203.0.113.8."));
    assert_eq!(daemon.json(&["explain", &id])["decision"]["reason"], "scans our ports");

    let deleted = daemon.run(&["decisions", "delete", "--ip", "203.0.113.7"]);
    assert_eq!(deleted, "exit code 0\n--- stdout\n1 decision deleted\n--- stderr\n");
    assert_eq!(daemon.standing("203.0.113.7"), None);
    let again = daemon.run(&["decisions", "delete", "--id", &id]);
    assert!(again.starts_with("exit code 1\n") && again.contains(&format!("there is no decision {id};")), "{again}");
    let ended = daemon.json(&["decisions", "list", "--all"]);
    assert_eq!(ended[0]["state"], "ended");
    assert_eq!(daemon.json(&["explain", &id])["end_reason"], "deleted");
}

#[test]
fn what_a_decision_stopped_is_told_with_when_and_how_fast() {
    let daemon = Daemon::start();
    let now = Now::read();
    let added = daemon.run(&["decisions", "add", "--ip", "203.0.113.7"]);
    let id = added.split("decision ").nth(1).and_then(|rest| rest.get(..13)).unwrap().to_owned();
    assert!(!daemon.run(&["explain", &id]).contains("last request"), "there was none");
    for _ in 0..3 {
        assert!(daemon.standing("203.0.113.7").is_some());
    }
    let said = daemon.run(&["explain", &id]);
    assert!(said.contains("stopped      0 packets (0 B), 3 requests\n") && said.contains("\nlast request "), "{said}");
    let hits = &daemon.json(&["explain", &id])["hits"];
    assert!(hits["last_request_unix_ms"].as_u64().unwrap() >= now.unix_ms, "{hits}");

    // As the kernel half counted before the daemon was started again: 301 packets within 30 s.
    let ended = daemon.desk.enforcer.end(id.parse().unwrap(), EndReason::Deleted, now).unwrap();
    let (first_boot_ns, last_boot_ns) = (now.boot_ns, now.boot_ns + 30_000_000_000);
    let kernel = BanHits { packets: 301, bytes: 18_060, first_boot_ns, last_boot_ns };
    let ended = Ended { hits: DecisionHits { kernel, ..ended.hits }, ..ended };
    daemon.desk.store.commit(Write::Ended { ended, now }).unwrap();
    let said = daemon.run(&["explain", &id]);
    assert!(said.contains("stopped      301 packets (18.1 kB), 3 requests\n"), "{said}");
    assert!(said.contains("rate         10.0 packets/s from the first to the last drop\n"), "{said}");
}

#[test]
fn what_was_acknowledged_survives_a_restart() {
    let daemon = Daemon::start();
    daemon.run(&["decisions", "add", "--range", "203.0.113.0/24", "--type", "throttle", "--duration", "forever"]);
    daemon.run(&["decisions", "add", "--ip", "198.51.100.9"]);
    daemon.run(&["decisions", "delete", "--ip", "198.51.100.9"]);
    daemon.run(&["allowlists", "add", "203.0.113.9", "--comment", "office"]);
    let daemon = daemon.restart();
    assert_eq!(daemon.standing("203.0.113.7").unwrap().action, Action::Throttle);
    assert_eq!(daemon.standing("203.0.113.9"), None, "allowlisted");
    assert_eq!(daemon.standing("198.51.100.9"), None, "deleted");
    assert_eq!(daemon.json(&["allowlists", "list"])[0]["comment"], "office");
}

#[test]
fn the_protected_set_wins_and_says_why() {
    let daemon = Daemon::start();
    let said = [
        daemon.run(&["decisions", "add", "--ip", "192.0.2.1"]),
        daemon.run(&["decisions", "add", "--range", "0.0.0.0/0"]),
        daemon.run(&["allowlists", "add", "198.51.100.0/24", "--comment", "office", "--duration", "7d"]),
        daemon.run(&["decisions", "add", "--ip", "198.51.100.9"]),
        daemon.run(&["allowlists", "check", "198.51.100.9"]),
        daemon.run(&["allowlists", "check", "203.0.113.1"]),
        daemon.run(&["allowlists", "delete", "198.51.100.0/24"]),
        daemon.run(&["allowlists", "delete", "198.51.100.0/24"]),
        daemon.run(&["allowlists", "add", "::/0"]),
        daemon.run(&["allowlists", "list"]),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

/// A measurement for each origin that a threshold can have, and one whose threshold an older version wrote.
fn measurements() -> Vec<Measurement> {
    let learnt = |of_site, since_unix_ms| ThresholdOrigin::Traffic {
        of_site,
        requests: 12_345,
        sources: 40,
        since_unix_ms,
        max_false_positive_rate: 0.001,
    };
    let origins = [
        ("request_confidence", Some(ThresholdOrigin::Model { name: "request-judge".into(), version: "7".into() })),
        ("request_confidence", Some(ThresholdOrigin::Config { key: "models.request_confidence".into() })),
        ("anomaly_score", Some(ThresholdOrigin::Rules)),
        ("endpoint_threshold", Some(learnt(false, Some(1_690_000_000_000)))),
        ("site_threshold", Some(learnt(true, None))),
        ("strikes_per_600s", None),
    ];
    let measured = |(name, origin): (&str, _)| Measurement { name: name.into(), value: 3.0, threshold: 2.0, origin };
    origins.into_iter().map(measured).collect()
}

/// A decision about an injection, with its finding.
fn injection() -> Decision {
    let at = Now { boot_ns: 5_000_000_000, unix_ms: 1_700_000_000_000 };
    let finding = Finding {
        at,
        source: "203.0.113.7".parse().unwrap(),
        class: AttackClass::Sqli,
        confidence: 0.987,
        severity: Severity::High,
        detector: "request_classifier".into(),
        detector_version: "3".into(),
        site: Some("shop".into()),
        evidence: Evidence {
            field: Some("query.id".into()),
            value: Some("1' OR 1=1-- \u{1b}[2J".into()),
            weights: vec![Weight { feature: "' OR".into(), weight: 4.25 }],
            measurements: measurements(),
            rules: vec![RuleEvidence {
                id: 942_100,
                message: "SQL injection\u{7}".into(),
                field: "args.id".into(),
                value: "1' OR 1=1".into(),
            }],
            request: Some(RequestRef { id: "r-1".into(), method: "GET".into(), path: "/item".into() }),
        },
    };
    Decision {
        id: DecisionId(0x1234_5678_9abc_def0),
        scope: Scope(parse_net("203.0.113.7").unwrap()),
        direction: Direction::Source,
        action: Action::Block,
        class: Some(AttackClass::Sqli),
        origin: Origin::Detector,
        reason: "sqli in query.id of shop".into(),
        created_unix_ms: at.unix_ms,
        expires_unix_ms: Some(at.unix_ms + 3_600_000),
        simulated: false,
        previous_offences: 1,
        findings: vec![finding],
    }
}

#[test]
fn a_detectors_decision_is_explained_whole() {
    let daemon = Daemon::start();
    let decision = injection();
    // Only in the store, as one that ended while Qantra was not running.
    daemon.desk.store.commit(Write::Decision(Arc::new(decision))).unwrap();
    let said = daemon.run(&["explain", &DecisionId(0x1234_5678_9abc_def0).to_string()]);
    assert!(!said.contains('\u{1b}'));
    let ago = said
        .split('(')
        .find(|part| part.contains(" ago)"))
        .and_then(|part| part.split(' ').next())
        .unwrap_or("-")
        .to_owned();
    insta::assert_snapshot!(said.replace(&format!("({ago} ago)"), "(AGO ago)"));
}

#[test]
fn a_list_is_imported_with_every_complaint_and_its_line() {
    let daemon = Daemon::start();
    let csv = "duration,scope,value,type,reason\n24h,ip,203.0.113.7,ban,listed\n,ip,192.0.2.1,ban,own gateway\n\
               1h,range,198.51.100.0/24,throttle,slow\n1h,ip,nonsense,ban,x\n0s,ip,203.0.113.8,ban,x\n2h,ip,203.0.113.7,ban,again\n";
    let file = daemon.dir.path().join("bans.csv");
    std::fs::write(&file, csv).unwrap();
    let file = file.to_str().unwrap();
    let import = |more: &[&str]| daemon.run(&[&["decisions", "import", file], more].concat()).replace(file, "bans.csv");
    let said = [
        import(&["--dry-run"]),
        import(&[]),
        daemon.run_with_input(&["decisions", "import", "-", "--format", "plain"], b"192.0.2.1\nnonsense\n0.0.0.0/0\n"),
        daemon.run_with_input(&["decisions", "import", "-", "--format", "values"], b""),
        daemon.run_with_input(&["decisions", "import", "-"], b""),
        daemon.run_with_input(
            &["decisions", "import", "-", "--format", "plain", "-o", "json", "--reason", "my list"],
            b"203.0.113.20-203.0.113.23 # four\n192.0.2.1\n",
        ),
        daemon.run(&["decisions", "import", "/nonexistent.txt"]),
    ];
    insta::assert_snapshot!(said.join("\n"));
    assert_eq!(daemon.standing("203.0.113.7").unwrap().action, Action::Block);
    assert_eq!(daemon.standing("198.51.100.77").unwrap().action, Action::Throttle);
    assert_eq!(daemon.standing("192.0.2.1"), None);
    let listed = daemon.json(&["decisions", "list", "--ip", "203.0.113.7"]);
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["reason"]), (1, &"again".into()));
    let listed = daemon.json(&["decisions", "list", "--ip", "203.0.113.21"]);
    assert_eq!((&listed[0]["scope"], &listed[0]["reason"]), (&"203.0.113.20/30".into(), &"my list".into()));
}

/// Scope, action, direction, reason and whether it ends: what an export must carry.
fn in_force(daemon: &Daemon) -> Vec<String> {
    let list = daemon.json(&["decisions", "list"]);
    let row = |view: &serde_json::Value| {
        let end = if view["expires_unix_ms"].is_null() { "forever" } else { "ends" };
        format!("{} {} {} {} {end}", view["scope"], view["action"], view["direction"], view["reason"])
    };
    let mut rows: Vec<String> = list.as_array().unwrap().iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn what_is_exported_can_be_imported_elsewhere() {
    let daemon = Daemon::start();
    daemon.run(&["decisions", "add", "--ip", "203.0.113.7", "--reason", "says \"no\", and more; #1"]);
    daemon.run(&["decisions", "add", "--range", "2001:db8:bad::/48", "--duration", "forever"]);
    daemon.run(&["decisions", "add", "--ip", "198.51.100.9", "--type", "throttle", "--duration", "7d"]);
    daemon.run(&["decisions", "add", "--ip", "198.51.100.66", "--direction", "destination"]);
    let whole = in_force(&daemon);
    assert_eq!(whole.len(), 4);
    for format in ["json", "csv"] {
        let list = daemon.run(&["decisions", "export", "--format", format]);
        let list = list.split("--- stdout\n").nth(1).and_then(|rest| rest.split("--- stderr").next()).unwrap();
        let other = Daemon::start();
        let said = other.run_with_input(&["decisions", "import", "-", "--format", format], list.as_bytes());
        assert!(said.contains("4 of 4 entries taken"), "{said}");
        assert_eq!(in_force(&other), whole, "{format}");
    }
    // The time that is left differs from run to run, and more on a busy machine.
    let rounded = |list: String| {
        (0..60).fold(list, |list, s| list.replace(&format!("3h59m{s}s"), "4h").replace(&format!("167h59m{s}s"), "168h"))
    };
    let said: Vec<String> = ["json", "csv", "plain", "nft", "mikrotik"]
        .map(|format| daemon.run(&["decisions", "export", "--format", format, "--name", "bad"]))
        .map(rounded)
        .into();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn thousands_are_imported_at_once_and_survive_a_restart() {
    let daemon = Daemon::start();
    let list: String = (0..5_000).map(|n| format!("198.18.{}.{}\n", n / 256, n % 256)).collect();
    let said = daemon.run_with_input(&["decisions", "import", "-", "--format", "values"], list.as_bytes());
    assert!(said.contains("5000 of 5000 entries taken"), "{said}");
    let daemon = daemon.restart();
    assert!(daemon.standing("198.18.19.135").is_some() && daemon.standing("198.18.19.136").is_none());
    let list = daemon.run(&["decisions", "export", "--format", "plain"]);
    assert_eq!(list.lines().filter(|line| line.starts_with("198.18.")).count(), 5_000);
}

#[test]
fn top_prints_a_look_each_time_where_there_is_no_terminal() {
    let daemon = Daemon::start();
    let said = daemon.run(&["top", "--interval", "0.1", "--count", "3", "-o", "json"]);
    let lines: Vec<serde_json::Value> =
        said.lines().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let rates: Vec<f64> = lines.iter().filter_map(|look| look["packets_per_s"].as_f64()).collect();
    // The first look only takes the counts that the next one is compared with.
    assert_eq!(rates, [2.0, 3.0, 4.0], "{said}");
    let said = daemon.run(&["top", "--once", "--interval", "0.1"]);
    assert!(said.starts_with("exit code 0\n") && said.contains("2 packets/s, 0 dropped/s"), "{said}");
    assert!(daemon.run(&["top", "--interval", "0"]).starts_with("exit code 2\n"));
    // Watchers that went make room for others.
    for _ in 0..12 {
        assert!(daemon.run(&["top", "--once", "--interval", "0.1"]).starts_with("exit code 0\n"));
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
}

#[test]
fn drops_are_captured_as_lines_and_as_files_that_say_why() {
    let daemon = Daemon::start();
    let said = daemon.run(&["capture", "--dropped", "--count", "3"]);
    let bare: String = said.lines().map(|line| line.get(16..).unwrap_or(line).to_owned() + "\n").collect();
    insta::assert_snapshot!(bare);
    let only = daemon.run(&["capture", "--dropped", "--reason", "truncated", "--interface", "eth0", "--seconds", "1"]);
    assert_eq!(only.lines().filter(|line| line.contains("eth0 truncated")).count(), 1, "{only}");

    let file = daemon.dir.path().join("out.pcap");
    let path = file.to_str().unwrap();
    let said = daemon.run(&["capture", "--dropped", "--count", "2", "-w", path, "--sample", "4"]);
    assert!(said.contains("2 dropped packets captured") && said.contains("4 sampled drops were lost"), "{said}");
    let bytes = std::fs::read(&file).unwrap();
    let frames: Vec<_> = Frames::new(&bytes).unwrap().map(Result::unwrap).collect();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.wire_bytes == 1_514 && frame.bytes == [0xab; 60]));
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("dropped: banned_source; decision 0000000000007").count(), 2);

    for mistake in [
        &["capture", "--dropped", "--reason", "weather"][..],
        &["capture"],
        &["capture", "--dropped", "--sample", "0"],
        &["capture", "--dropped", "--reason", "a&b"],
        &["capture", "--dropped", "--classic"],
    ] {
        let said = daemon.run(mistake);
        assert!(said.starts_with("exit code 2\n"), "{mistake:?}: {said}");
    }
    // Each capture ends within a heartbeat of its client.
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(daemon.desk.taps.load(Ordering::SeqCst), 0);
}

#[test]
fn top_obeys_its_keys_on_a_terminal_and_leaves_it_as_it_was() {
    use std::{io::Write as _, process::Stdio, time::Duration};
    let daemon = Daemon::start();
    let binary = qantra_tests::binary::qantra().display().to_string();
    // script(1) is the terminal: what it prints is what the screen was told.
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &format!("stty cols 100 rows 20; {binary} top --interval 0.2; stty -a"), "/dev/null"]);
    terminal.env("QANTRA_CONTROL_SOCKET", socket_in(daemon.dir.path())).env("TERM", "xterm");
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    for key in ["", "s", "p", "", "q"] {
        std::thread::sleep(Duration::from_millis(600));
        keys.write_all(key.as_bytes()).unwrap();
        keys.flush().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    drop(keys);
    let screen = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{screen}");
    let at = |text: &str| screen.find(text).unwrap();
    let (sorted, paused) = (at("s sort: bytes"), at("PAUSED"));
    assert!(at("s sort: packets") < sorted && sorted < paused, "{screen}");
    assert!(screen.contains("2 packets/s, 0 dropped/s"), "{screen}");
    let left = at("\u{1b}[?1049l");
    assert!(at("\u{1b}[?1049h") < left && left > paused, "the other screen is entered and left: {screen}");
    let ended = &screen[left..];
    assert!(ended.contains(" icanon ") && ended.contains(" echo "), "the terminal is not as it was: {ended}");
}

#[test]
fn simulation_and_the_rest() {
    let daemon = Daemon::start();
    daemon.run(&["decisions", "add", "--ip", "203.0.113.7"]);
    let said = [
        daemon.run(&["simulation", "status"]),
        daemon.run(&["simulation", "on"]),
        daemon.run(&["simulation", "off", "-o", "raw"]),
        daemon.run(&["model", "list"]),
        daemon.run(&["model", "load", "/nonexistent"]),
        daemon.run(&["reload"]),
        daemon.run(&["status"]),
    ];
    insta::assert_snapshot!(said.join("\n"));
    daemon.run(&["simulation", "on"]);
    assert_eq!(daemon.standing("203.0.113.7"), None);
    daemon.run(&["simulation", "off"]);
    assert!(daemon.standing("203.0.113.7").is_some());
}

/// A list with something of everything.
const LIST: &str = "; a list of our own\n45.9.148.0/24 ; SBL1\n45.9.149.7\n2a06:f680::/29\n\n0.0.0.0/0\n192.168.1.1\n\
                    45.9.150.0-45.9.150.9\n192.0.2.1\n1.2.3.4.5 \u{1b}[2J\n";

#[test]
fn block_lists_are_added_explained_and_removed() {
    let daemon = Daemon::start();
    let list = daemon.dir.path().join("own.txt");
    std::fs::write(&list, LIST).unwrap();
    let list = list.to_str().unwrap().to_owned();
    let said = [
        daemon.run(&["blocklists", "list"]),
        daemon.run(&["blocklists", "add", &list, "--name", "own", "--refresh", "1d", "--confidence", "95"]),
        daemon.run(&["blocklists", "rejected", "own"]),
        daemon.run(&["blocklists", "rejected", "own", "-o", "raw"]),
        daemon.run(&["blocklists", "check", "45.9.150.3"]),
        daemon.run(&["blocklists", "check", "192.0.2.1"]),
        daemon.run(&["blocklists", "check", "45.10.0.1"]),
        daemon.run(&["blocklists", "add", &list, "--name", "own"]),
        daemon.run(&["blocklists", "add", &list, "--name", "No Name"]),
        daemon.run(&["blocklists", "add", &list, "--name", "x", "--refresh", "forever"]),
        daemon.run(&["blocklists", "add", "ftp://example.org/x", "--name", "x"]),
        daemon.run(&["blocklists", "add", "/nonexistent/list", "--name", "gone"]),
        daemon.run(&["blocklists", "refresh", "own"]),
        daemon.run(&["blocklists", "refresh", "nobody"]),
        daemon.run(&["blocklists", "rejected", "gone"]),
        daemon.run(&["blocklists", "remove", "gone"]),
        daemon.run(&["blocklists", "remove", "gone"]),
        daemon.run(&["status", "-o", "raw"]),
    ];
    let said = said.join("\n").replace(daemon.dir.path().to_str().unwrap(), "DIR");
    assert!(!said.contains('\u{1b}'));
    insta::assert_snapshot!(said);
    assert_eq!(daemon.standing("45.9.148.200"), Some(Standing { action: Action::Block, decision: None }));
    assert_eq!(daemon.standing("192.0.2.1"), None);
    let rejected = daemon.json(&["blocklists", "rejected", "own"]);
    assert_eq!((rejected.as_array().unwrap().len(), &rejected[0]["line"]), (4, &6.into()));
    let check = daemon.json(&["blocklists", "check", "45.9.148.200"]);
    assert_eq!((&check["listings"][0]["feed"], &check["blocked_inbound"]), (&"own".into(), &true.into()));
}

#[test]
fn block_lists_survive_a_restart_and_follow_the_allowlist() {
    let daemon = Daemon::start();
    let list = daemon.dir.path().join("own.txt");
    std::fs::write(&list, LIST).unwrap();
    daemon.run(&["blocklists", "add", list.to_str().unwrap(), "--name", "own", "--direction", "both"]);
    std::fs::remove_file(&list).unwrap();
    let daemon = daemon.restart();
    let becomes = |listed: bool| {
        for _ in 0..400 {
            if daemon.standing("45.9.149.7").is_some() == listed {
                return true;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        false
    };
    assert!(becomes(true), "the last good list is loaded without its source");
    let feeds = daemon.json(&["blocklists", "list"]);
    assert_eq!((&feeds["feeds"][0]["direction"], &feeds["feeds"][0]["report"]["entries"]), (&"both".into(), &4.into()));
    let failed = daemon.run(&["blocklists", "refresh"]);
    assert!(failed.starts_with("exit code 1\n") && failed.contains("the last good list stays"), "{failed}");
    assert!(becomes(true));
    let raw = daemon.run(&["blocklists", "list", "-o", "raw"]);
    assert!(raw.contains("\tplain\tboth\t80\t3600\t4\t4\t"), "{raw}");
    daemon.run(&["allowlists", "add", "45.9.149.0/24"]);
    assert!(becomes(false));
    daemon.run(&["blocklists", "remove", "own"]);
    assert!(daemon.run(&["blocklists", "list"]).contains("There are no feeds"));
}

#[test]
fn a_daemon_that_hangs_up_or_talks_nonsense_is_told_apart_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let socket = socket_in(dir.path());
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let thread = std::thread::spawn(move || drop(listener.accept()));
    let said = transcript(&command(&["status", "--socket", socket.to_str().unwrap()]).output().unwrap());
    thread.join().unwrap();
    assert!(said.starts_with("exit code 1\n") && said.contains("broke off"), "{said}");
    // The listener is gone and its file is still there: a daemon that died.
    let said = transcript(&command(&["status", "--socket", socket.to_str().unwrap()]).output().unwrap());
    assert!(said.starts_with("exit code 3\n") && said.contains("not reachable"), "{said}");
}

#[test]
fn a_finding_is_labelled_and_its_label_goes_to_another_box() {
    let (berlin, paris) = (Daemon::start(), Daemon::start());
    berlin.desk.store.commit(Write::Decision(Arc::new(injection()))).unwrap();
    let id = injection().id.to_string();
    let said = berlin.run(&["model", "label", &id, "fp"]);
    assert!(said.starts_with("exit code 0") && said.contains("no attack") && said.contains("query.id"), "{said}");
    assert!(!said.contains('\u{1b}'), "{said}");

    let file = |name: &str| berlin.dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second, pooled) = (file("first.jsonl"), file("second.jsonl"), file("pooled.jsonl"));
    assert!(berlin.run(&["dataset", "export", &first]).contains("1 samples, 0 of them attacks"));
    let text = std::fs::read_to_string(&first).unwrap();
    assert!(text.contains("OR 1=1") && !text.contains("203.0.113.7"), "the value and no address: {text}");
    assert!(paris.run(&["dataset", "import", &first]).contains("1 taken, 0 known already"));
    assert!(paris.run(&["dataset", "import", &first]).contains("0 taken, 1 known already"));

    // The request's id works as well, and a later word replaces an earlier one here; elsewhere it is a conflict.
    let said = berlin.run(&["model", "label", "r-1", "tp", "-o", "json"]);
    assert!(said.contains("\"class\": \"sqli\"") || said.contains("\"class\":\"sqli\""), "{said}");
    assert!(berlin.run(&["dataset", "export", &second]).contains("1 samples, 1 of them attacks"));
    assert!(paris.run(&["dataset", "import", &second]).contains("0 taken, 0 known already, 1 labelled otherwise"));
    let said = berlin.run(&["dataset", "merge", &first, &second, "--to", &pooled]);
    assert!(said.contains("exit code 1") && said.contains("there is no sample"), "they disagree about all: {said}");
    assert!(berlin.run(&["dataset", "merge", &first, &first, "--to", &pooled]).contains("1 taken, 1 known already"));
    assert!(berlin.run(&["dataset", "export", &first]).contains("exit code 1"), "nothing is overwritten");
}

#[test]
fn what_cannot_be_labelled_or_read_is_one_line() {
    let daemon = Daemon::start();
    daemon.desk.store.commit(Write::Decision(Arc::new(injection()))).unwrap();
    daemon.run(&["decisions", "add", "--ip", "203.0.113.9"]);
    let by_hand = daemon.desk.enforcer.active()[0].0.id.to_string();
    let cut = daemon.dir.path().join("cut.jsonl");
    std::fs::write(&cut, "{\"format\":\"qantra-dataset\",\"version\":7}\n").unwrap();
    for (case, code, expected) in [
        (vec!["model", "label", "nobody", "fp"], 2, "there is no decision or request `nobody`"),
        (vec!["model", "label", "\u{1b}[31m", "fp"], 2, "there is no decision or request `[31m`"),
        (vec!["model", "label", &by_hand, "fp"], 2, "has no finding about a field of a request"),
        (vec!["dataset", "import", cut.to_str().unwrap()], 1, "line 1: no header: missing field `schema`"),
        (vec!["dataset", "import", "/nonexistent/set"], 1, "/nonexistent/set: No such file"),
    ] {
        let said = daemon.run(&case);
        let stderr = said.split("--- stderr\n").nth(1).unwrap();
        let is_said = stderr.lines().count() == 1 && stderr.contains(expected);
        assert!(said.starts_with(&format!("exit code {code}\n")) && is_said, "{said}");
    }
    let nothing = daemon.run(&["model", "thresholds"]);
    assert!(
        nothing.contains("Nothing was learnt yet.") && nothing.contains("10000 requests of 16 networks"),
        "{nothing}"
    );
}
