//! What people see of a running daemon under traffic: `qantra top` and `qantra capture`, with the real kernel half.

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    binary,
    edge::{BOX, CLIENT, Edge},
    flood::Flood,
};
use qantra_user::capture::Frames;
use serde_json::Value;

fn done(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Bans the client; returns the decision's id.
fn ban(edge: &Edge) -> Result<String> {
    done(edge.ask(&["decisions", "add", "--ip", CLIENT, "--reason", "watched"])?)?;
    let listed: Value = serde_json::from_str(&edge.decisions()?)?;
    Ok(listed[0]["id"].as_str().context("an id")?.to_owned())
}

/// The last of some looks, and the row of the client in it.
fn look(edge: &Edge) -> Result<(Value, Value)> {
    let said = done(edge.ask(&["top", "-o", "json", "--interval", "1", "--count", "3"])?)?;
    let last: Value = serde_json::from_str(said.lines().last().context("a look")?)?;
    let sources = last["sources"].as_array().context("sources")?;
    let client = sources.iter().find(|source| source["address"] == CLIENT).cloned();
    Ok((last, client.unwrap_or_default()))
}

#[test]
fn top_shows_who_sends_and_what_stops_it() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    let (_, before) = flood.during(Duration::from_millis(100));
    assert!(before > 10, "the flood does not come through");
    let sent = flood.sent();
    let (last, client) = look(&edge)?;
    let sent_per_s = (flood.sent() - sent) as f64 / 3.0;
    let seen_per_s = client["packets_per_s"].as_f64().context("a rate")?;
    assert!((0.5..2.0).contains(&(seen_per_s / sent_per_s)), "{seen_per_s} seen, {sent_per_s} sent: {last}");
    assert!(client["decision"].is_null() && client["dropped_per_s"] == 0.0, "{client}");
    assert_eq!(
        (&last["interfaces"][0]["name"], &last["interfaces"][0]["hook"]),
        (&"wan0".into(), &"native_frags".into())
    );
    let cost_ns = last["ns_per_packet"].as_f64().context("root measures what a packet costs")?;
    assert!((10.0..100_000.0).contains(&cost_ns), "{cost_ns} ns");

    let id = ban(&edge)?;
    // The rates of what passed before go with the kernel's next windows.
    sleep(Duration::from_millis(2_500));
    let (last, client) = look(&edge)?;
    assert!(client["dropped_per_s"].as_f64().is_some_and(|rate| rate > 100.0), "{last}");
    assert_eq!((&client["decision"], &client["action"]), (&id.clone().into(), &"block".into()));
    assert_eq!((&last["decisions"][0]["id"], &last["decisions"][0]["reason"]), (&id.into(), &"watched".into()));
    assert_eq!(last["reasons"][0]["reason"], "banned_source");
    assert!(last["interfaces"][0]["drops_per_s"].as_f64().is_some_and(|rate| rate > 100.0), "{last}");
    daemon.stop()
}

#[test]
fn a_capture_holds_what_was_dropped_and_why() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    let id = ban(&edge)?;
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    for classic in [false, true] {
        let file = edge.folder.path().join(if classic { "classic.pcap" } else { "out.pcap" });
        let path = file.display().to_string();
        let mut arguments =
            vec!["capture", "--dropped", "--sample", "1", "--count", "50", "--reason", "banned_source", "-w", &path];
        if classic {
            arguments.push("--classic");
        }
        done(edge.ask(&arguments)?)?;
        let bytes = fs::read(&file)?;
        let frames = Frames::new(&bytes)?.collect::<Result<Vec<_>, _>>()?;
        assert_eq!(frames.len(), 50);
        // As another program reads it.
        let read = done(Command::new("tcpdump").args(["-n", "-r", &path]).output().context("tcpdump")?)?;
        let packets: Vec<&str> = read.lines().filter(|line| line.contains(&format!("IP {CLIENT}."))).collect();
        assert_eq!(packets.len(), 50, "{read}");
        assert!(packets.iter().all(|line| line.contains(&format!("> {BOX}."))), "{read}");
        let comment = format!("dropped: banned_source; decision {id}");
        let comments = bytes.windows(comment.len()).filter(|window| *window == comment.as_bytes()).count();
        assert_eq!(comments, if classic { 0 } else { 50 });
    }
    let lines = done(edge.ask(&["capture", "--dropped", "--sample", "1", "--count", "3"])?)?;
    assert!(
        lines.lines().all(|line| line.contains(" wan0 banned_source 192.0.2.10:") && line.ends_with(&id)),
        "{lines}"
    );
    drop(flood);
    daemon.stop()
}

#[test]
fn a_capture_that_vanished_takes_its_sampling_with_it() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    ban(&edge)?;
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    let count = |arguments: &[&str]| -> Result<(usize, u64)> {
        let sent = flood.sent();
        let said = done(edge.ask(&[&["capture", "--dropped", "--seconds", "2"], arguments].concat())?)?;
        Ok((said.lines().count(), flood.sent() - sent))
    };
    let mut killed = Command::new(binary::qantra());
    killed.arg("-c").arg(edge.folder.path().join("qantra.toml")).args(["capture", "--dropped", "--sample", "1"]);
    let mut killed = killed.stdout(Stdio::null()).spawn()?;
    sleep(Duration::from_millis(500));
    killed.kill()?;
    killed.wait()?;
    // Noticed at the next heartbeat.
    sleep(Duration::from_millis(1_000));
    let (few, sent) = count(&[])?;
    assert!((few as u64) < sent / 100 + 10, "{few} of {sent} drops are sampled still");
    let (many, sent) = count(&["--sample", "1"])?;
    assert!(many as u64 > sent / 4, "only {many} of {sent} drops with --sample 1");
    daemon.stop()
}
