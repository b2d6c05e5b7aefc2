//! What the store promises when things go wrong: kill -9, a broken file, a full disk.
#![expect(clippy::unwrap_used, reason = "a failure of a test's own step ends the test")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use qantra_user::{
    clock::Now,
    config::{StoreConfig, parse_net},
    decide::{Action, Decision, DecisionId, Direction, Origin, Scope},
    detect::{AttackClass, Evidence, Finding, Severity},
    enforce::{AllowEntry, BanHits, DecisionHits, EndReason, Ended},
    metrics::Metrics,
    store::{Store, StoreError, Write},
};

const WRITES: u64 = 1_000;
/// Where the child finds its store; only set for the child.
const CHILD_DIR: &str = "QANTRA_TEST_STORE_DIR";

fn open(dir: &Path) -> Store {
    Store::open(dir, &StoreConfig::default(), Arc::new(Metrics::new().unwrap())).unwrap()
}

fn decision(id: u64, created_unix_ms: u64, expires_unix_ms: Option<u64>) -> Decision {
    Decision {
        id: DecisionId(id),
        scope: Scope(parse_net(&format!("2001:db8::{id:x}")).unwrap()),
        direction: Direction::Source,
        action: Action::Block,
        class: None,
        origin: Origin::Cli,
        reason: "r".repeat(200),
        created_unix_ms,
        expires_unix_ms,
        simulated: false,
        previous_offences: 0,
        findings: Vec::new(),
    }
}

/// Not a test of its own: the process that [`kill_9_loses_nothing_that_was_acknowledged`] kills.
#[test]
fn child_that_writes() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = open(Path::new(&dir));
    for id in 1..=WRITES {
        match store.commit(Write::Decision(Arc::new(decision(id, id, None)))) {
            Ok(()) => println!("\nacknowledged {id}"),
            Err(error) => println!("\nrefused {id} {error}"),
        }
    }
}

fn child(dir: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" --exact child_that_writes --nocapture")])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped());
    command
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    for kill_after in [1, 137, 500, 901] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child(dir.path(), "").spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        let mut killed = false;
        // What the pipe still held when the child died was acknowledged as well.
        for line in lines {
            if let Some(id) = line.unwrap().strip_prefix("acknowledged ") {
                acknowledged.push(id.parse::<u64>().unwrap());
            }
            if acknowledged.len() >= kill_after && !killed {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= kill_after);
        assert!((acknowledged.len() as u64) < WRITES, "it was killed in the middle");
        let store = open(dir.path());
        assert_eq!(store.health().set_aside, None);
        for id in acknowledged {
            assert!(store.decision(DecisionId(id)).unwrap().is_some(), "{id} was acknowledged and is gone");
        }
    }
}

#[test]
fn a_full_disk_is_said_and_counted_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    // Files may grow to 256 KiB; beyond it write(2) fails with EFBIG, as SIGXFSZ is ignored.
    let output = child(dir.path(), "trap '' XFSZ; ulimit -f 512;").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let acknowledged: Vec<u64> =
        said.lines().filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).collect();
    let refused = said.lines().filter(|line| line.starts_with("refused ")).count();
    assert!(output.status.success(), "{said}");
    assert!(!acknowledged.is_empty() && refused > 0, "{} acknowledged, {refused} refused", acknowledged.len());
    let store = open(dir.path());
    for id in acknowledged {
        assert!(store.decision(DecisionId(id)).unwrap().is_some(), "{id} was acknowledged and is gone");
    }
    store.commit(Write::Decision(Arc::new(decision(5_000, 1, None)))).unwrap();
    assert_eq!(store.health().failing, None);
}

#[test]
fn which_calls_home_were_told_is_known_to_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let finding = |class: AttackClass, whom: &str| Finding {
        at: Now { boot_ns: 1, unix_ms: 1 },
        source: "192.168.1.7".parse().unwrap(),
        class,
        confidence: 0.4,
        severity: Severity::Low,
        detector: class.to_string(),
        detector_version: "1".into(),
        site: None,
        evidence: Evidence { value: Some(whom.into()), ..Evidence::default() },
    };
    let told = [
        (1, vec![finding(AttackClass::Beaconing, "203.0.113.9:443/tcp")]),
        (2, vec![finding(AttackClass::Exfiltration, "203.0.113.8:443/tcp")]),
        (3, Vec::new()),
    ];
    let store = open(dir.path());
    for (id, findings) in told {
        let about = Decision { findings, ..decision(id, id, None) };
        store.commit(Write::Decision(Arc::new(about))).unwrap();
    }
    drop(store);
    let expected = [("192.168.1.7".parse().unwrap(), "203.0.113.9:443/tcp".to_owned())];
    assert_eq!(open(dir.path()).calls_told(10).unwrap(), expected);
}

#[test]
fn a_broken_file_is_set_aside_and_a_fresh_one_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qantra.db");
    fs::write(&path, "this is no database at all, whatever its name says".repeat(100)).unwrap();
    let store = open(dir.path());
    let aside = store.health().set_aside.expect("a place");
    assert!(fs::read_to_string(aside).unwrap().starts_with("this is no database"));
    store.commit(Write::Decision(Arc::new(decision(1, 1, None)))).unwrap();
    assert!(store.decision(DecisionId(1)).unwrap().is_some());
}

#[test]
fn damage_inside_the_file_is_found_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qantra.db");
    let store = open(dir.path());
    for id in 1..=300 {
        store.record(Write::Decision(Arc::new(decision(id, id, None))));
    }
    store.flush().unwrap();
    drop(store);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes.len() > 16 * 4_096, "the log was folded into the file when it closed");
    let length = bytes.len();
    bytes[8_192..length - 4_096].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = open(dir.path());
    assert!(store.health().set_aside.is_some());
    assert!(store.newest(10).unwrap().is_empty());
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let now = Now { boot_ns: 10_000_000_000, unix_ms: 1_700_000_010_000 };
    let running = decision(1, now.unix_ms, None);
    let over = decision(2, now.unix_ms + 1, Some(now.unix_ms + 5));
    let allow = AllowEntry {
        net: parse_net("192.0.2.0/24").unwrap(),
        comment: "office".into(),
        created_unix_ms: 1,
        expires_unix_ms: None,
    };
    let kernel = BanHits { packets: 7, bytes: 420, first_boot_ns: 9_000_000_000, last_boot_ns: 9_500_000_000 };
    let hits = DecisionHits { kernel, requests: 3, ..DecisionHits::default() };
    {
        let store = open(dir.path());
        store.commit(Write::Decision(Arc::new(running.clone()))).unwrap();
        store.record(Write::Decision(Arc::new(over.clone())));
        store.record(Write::Hits { hits: vec![(DecisionId(1), hits)], now });
        let ended = Ended { decision: Arc::new(over), reason: EndReason::Deleted, hits, at_unix_ms: now.unix_ms + 2 };
        store.record(Write::Ended { ended, now });
        store.commit(Write::Allow(allow.clone())).unwrap();
        store.commit(Write::Allow(AllowEntry { net: parse_net("192.0.2.1").unwrap(), ..allow.clone() })).unwrap();
        store.commit(Write::Disallow(parse_net("192.0.2.1").unwrap())).unwrap();
    }
    let store = open(dir.path());
    let found = store.running(now.unix_ms).unwrap();
    assert_eq!(found.iter().map(|kept| &kept.decision).collect::<Vec<_>>(), [&running]);
    assert_eq!((found[0].packets, found[0].bytes, found[0].requests), (7, 420, 3));
    assert_eq!(found[0].first_drop_unix_ms, Some(now.unix_ms - 1_000));
    let newest = store.newest(10).unwrap();
    assert_eq!(newest[0].decision.id, DecisionId(2));
    assert_eq!((newest[0].end_reason.as_deref(), newest[0].ended_unix_ms), (Some("deleted"), Some(now.unix_ms + 2)));
    assert_eq!(store.allowlist(now.unix_ms).unwrap(), [allow]);
}

#[test]
fn a_later_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("qantra.db");
    // `user_version` is the big-endian number at byte 60 of the header (sqlite.org/fileformat.html).
    let mut bytes = fs::read(&path).unwrap();
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    let error = Store::open(dir.path(), &StoreConfig::default(), Arc::new(Metrics::new().unwrap())).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap()[60..64], 99_u32.to_be_bytes());
}

#[test]
fn the_oldest_ended_ones_make_room() {
    let dir = tempfile::tempdir().unwrap();
    let keep = StoreConfig { keep_days: 36_500, decisions_max: 100 };
    let store = Store::open(dir.path(), &keep, Arc::new(Metrics::new().unwrap())).unwrap();
    for id in 1..=6_000 {
        // Even ones are over, odd ones never end.
        let write = Write::Decision(Arc::new(decision(id, id, (id % 2 == 0).then_some(id + 1))));
        if id % 1_000 == 0 { store.commit(write).unwrap() } else { store.record(write) }
    }
    store.flush().unwrap();
    let rows = store.newest(10_000).unwrap();
    let running = rows.iter().filter(|row| row.decision.expires_unix_ms.is_none()).count();
    assert_eq!(running, 3_000, "what is in force is never let go");
    assert!(rows.len() < 6_000, "{}", rows.len());
}
