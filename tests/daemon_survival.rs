//! The whole daemon on a real interface, killed and started again under traffic without a pause: bans go on, the next
//! start adopts them, and not one packet of a banned source passes.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use qantra_tests::{
    edge::{BOX, CLIENT, Edge},
    flood::Flood,
    netns::join,
};

/// How long the daemon may take to follow.
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_killed_daemon_lets_no_banned_packet_through_and_the_next_adopts() -> Result<()> {
    let edge = Edge::new()?;
    let mut daemon = edge.start()?;
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    let (_, received) = flood.during(Duration::from_millis(300));
    assert!(received > 100, "only {received} came through before any ban");

    let banned = edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    let _settled = flood.during(Duration::from_millis(50));
    let passed = flood.received();
    for round in 0..3 {
        daemon.kill()?;
        let (sent, received) = flood.during(Duration::from_millis(300));
        assert!(sent > 100, "the flood has stopped");
        assert_eq!(received, 0, "round {round}: while no daemon runs");
        daemon = edge.start()?;
        assert_eq!(flood.received(), passed, "round {round}: while the next daemon started");
        let decisions = edge.decisions()?;
        assert!(decisions.contains(CLIENT), "round {round}: not adopted: {decisions}");
    }

    let lifted = edge.ask(&["decisions", "delete", "--ip", CLIENT])?;
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    let (_, received) = flood.during(Duration::from_millis(300));
    assert!(received > 100, "only {received} came through after the ban");
    daemon.stop()
}

#[test]
fn interfaces_that_come_go_or_are_renamed_are_followed() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    let banned = edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    let passes = || -> Result<(u64, u64)> {
        let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
        Ok(flood.during(Duration::from_millis(300)))
    };
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "{came} of {sent} came through");

    edge.gateway.ip(&["link", "delete", "wan0"])?;
    edge.wait_for_hook(None)?;
    join((&edge.client, "eth0", &["192.0.2.10/24"]), (&edge.gateway, "wan0", &["192.0.2.1/24"]))?;
    edge.wait_for_hook(Some("native_frags"))?;
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "made anew: {came} of {sent} came through");

    // Under another name it is none of ours; its addresses stay.
    let rename = |from: &str, to: &str| -> Result<()> {
        edge.gateway.ip(&["link", "set", from, "down"])?;
        edge.gateway.ip(&["link", "set", from, "name", to])?;
        edge.gateway.ip(&["link", "set", to, "up"])
    };
    rename("wan0", "spare0")?;
    edge.wait_for_hook(None)?;
    let (_, came) = passes()?;
    assert!(came > 100, "renamed away: only {came} came through");
    rename("spare0", "wan0")?;
    edge.wait_for_hook(Some("native_frags"))?;
    let (sent, came) = passes()?;
    assert!(sent > 100 && came == 0, "renamed back: {came} of {sent} came through");

    let metrics = edge.metrics()?;
    for line in [
        r#"qantra_interface_changes_total{change="attached",iface="wan0"} 2"#,
        r#"qantra_interface_changes_total{change="detached",iface="wan0"} 2"#,
        r#"qantra_kernel_hook{hook="native_frags",iface="wan0"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(!metrics.contains(r#"hook="none""#), "{metrics}");
    daemon.stop()
}

#[test]
fn an_interface_moves_between_a_program_and_nftables_without_a_gap() -> Result<()> {
    let edge = Edge::new()?;
    let automatic = fs::read_to_string(edge.config())?;
    let by_nftables = automatic.replace("role = \"wan\"", "role = \"wan\"\nhook = \"nftables\"");
    fs::write(edge.config(), &by_nftables)?;
    let mut daemon = edge.start()?;
    assert_eq!(edge.hook()?, "nftables");
    let flood = Flood::start(&edge.client, &edge.gateway, BOX)?;
    let (_, came) = flood.during(Duration::from_millis(300));
    assert!(came > 100, "only {came} came through before any ban");
    let banned = edge.ask(&["decisions", "add", "--ip", CLIENT, "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    let _settled = flood.during(Duration::from_millis(50));
    let passed = flood.received();
    let order = [
        (&by_nftables, "nftables"),
        (&automatic, "native_frags"),
        (&by_nftables, "nftables"),
        (&automatic, "native_frags"),
    ];
    for (config, hook) in order {
        daemon.kill()?;
        fs::write(edge.config(), config)?;
        daemon = edge.start()?;
        assert_eq!(edge.hook()?, hook);
        let (sent, came) = flood.during(Duration::from_millis(300));
        assert!(sent > 20, "{hook}: only {sent} were sent");
        assert_eq!((came, flood.received()), (0, passed), "{hook}: a packet slipped through");
        let table = edge.gateway.run("nft", &["list", "table", "netdev", "qantra"])?.status.success();
        assert_eq!(table, hook == "nftables", "{hook}: the table is there when it is in use, and only then");
        let explained = String::from_utf8(edge.ask(&["decisions", "list", "-o", "json"])?.stdout)?;
        assert!(explained.contains(CLIENT), "{hook}: {explained}");
    }
    let refused = edge.detach()?;
    assert!(!refused.status.success(), "while the daemon runs");
    daemon.stop()?;
    let (sent, came) = flood.during(Duration::from_millis(200));
    assert!(sent > 100 && came == 0, "{came} of {sent} came through after the daemon had ended");
    let detached = edge.detach()?;
    assert!(detached.status.success(), "{}", String::from_utf8_lossy(&detached.stderr));
    let (_, came) = flood.during(Duration::from_millis(300));
    assert!(came > 100, "only {came} came through after `qantra detach`");
    Ok(())
}

#[test]
fn an_interface_that_comes_later_gets_the_bans_by_nftables() -> Result<()> {
    let edge = Edge::new()?;
    let config = fs::read_to_string(edge.config())?;
    let second = "[[interface]]\nname = \"wan1\"\nrole = \"wan\"\nhook = \"nftables\"\n[models]";
    fs::write(edge.config(), config.replace("[models]", second))?;
    let daemon = edge.start()?;
    let banned = edge.ask(&["decisions", "add", "--ip", "198.51.100.10", "--duration", "1h", "--reason", "test"])?;
    assert!(banned.status.success(), "{}", String::from_utf8_lossy(&banned.stderr));
    join((&edge.client, "eth1", &["198.51.100.10/24"]), (&edge.gateway, "wan1", &["198.51.100.1/24"]))?;
    let begun = Instant::now();
    let listed = || edge.gateway.run("nft", &["list", "table", "netdev", "qantra"]);
    while !String::from_utf8(listed()?.stdout)?.contains("device \"wan1\"") {
        ensure!(begun.elapsed() < LIMIT, "nftables does not drop on wan1");
        sleep(Duration::from_millis(20));
    }
    assert!(!edge.client.pings("198.51.100.1")?, "banned before its interface came");
    let lifted = edge.ask(&["decisions", "delete", "--ip", "198.51.100.10"])?;
    assert!(lifted.status.success(), "{}", String::from_utf8_lossy(&lifted.stderr));
    assert!(edge.client.pings("198.51.100.1")?);
    edge.gateway.ip(&["link", "delete", "wan1"])?;
    while listed()?.status.success() {
        ensure!(begun.elapsed() < LIMIT, "the table is not removed");
        sleep(Duration::from_millis(20));
    }
    daemon.stop()
}

#[test]
fn a_daemon_that_is_no_longer_root_attaches_to_interfaces_that_come() -> Result<()> {
    let edge = Edge::run_as("nobody")?;
    let daemon = edge.start()?;
    edge.gateway.ip(&["link", "delete", "wan0"])?;
    edge.wait_for_hook(None)?;
    join((&edge.client, "eth0", &["192.0.2.10/24"]), (&edge.gateway, "wan0", &["192.0.2.1/24"]))?;
    edge.wait_for_hook(Some("native_frags"))?;
    daemon.stop()?;
    // The next start is root again, and adopts what that user pinned.
    edge.start()?.stop()
}

#[test]
fn no_thread_keeps_more_than_two_capabilities() -> Result<()> {
    let edge = Edge::new()?;
    let daemon = edge.start()?;
    // CAP_NET_ADMIN is bit 12, CAP_BPF is bit 39.
    let expected = format!("{:016x}", 1_u64 << 12 | 1_u64 << 39);
    for held in daemon.capabilities()? {
        assert_eq!(held, expected);
    }
    daemon.stop()
}
