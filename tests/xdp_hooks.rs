//! The kernel half on real interfaces: veth pairs between namespaces, at each rung of the hook ladder. Bans begin at once
//! and end by themselves, the protected set wins, and everything outlives a daemon that is killed.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    flood::Flood,
    kernel::{Pins, ban, config, interface},
    netns::{NetNs, join},
};
use qantra_user::{
    clock::boot_ns,
    collect::Collector,
    config::{Hook, KernelConfig, Role},
    decide::Direction,
    enforce::KernelPlane,
    flow::Observation,
    xdp::{self, Kernel, Rung, Verdict},
};

const CLIENT: &str = "192.0.2.10";
const BOX: &str = "192.0.2.1";
const BOX_V6: &str = "2001:db8::1";
/// The box's interface in every test.
const PORT: &str = "port0";

/// A client and the box, joined by one cable.
struct Cable {
    client: NetNs,
    gateway: NetNs,
}

impl Cable {
    fn new() -> Result<Self> {
        let (client, gateway) = (NetNs::new("qx-client")?, NetNs::new("qx-box")?);
        join(
            (&client, "eth0", &["192.0.2.10/24", "2001:db8::10/64"]),
            (&gateway, PORT, &["192.0.2.1/24", "2001:db8::1/64"]),
        )?;
        let cable = Self { client, gateway };
        // IPv6 takes a moment to come up.
        let ready = (0..20).any(|_| cable.pings().is_ok_and(|answers| answers == [true, true]));
        ensure!(ready, "no answer over a cable without any program");
        Ok(cable)
    }

    fn start(&self, pins: &Pins, role: Role, hook: Hook) -> Result<Kernel> {
        let _inside = self.gateway.enter()?;
        pins.start(&[interface(PORT, role, hook)])
    }

    fn pings(&self) -> Result<[bool; 2]> {
        Ok([self.client.pings(BOX)?, self.client.pings(BOX_V6)?])
    }
}

const HOOKS: [(Hook, Rung); 4] = [
    (Hook::Native, Rung::NativeFrags),
    (Hook::Tcx, Rung::Tcx),
    (Hook::Clsact, Rung::Clsact),
    (Hook::Generic, Rung::Generic),
];

#[test]
fn bans_begin_at_once_and_end_by_themselves() -> Result<()> {
    for (hook, rung) in HOOKS {
        let (cable, pins) = (Cable::new()?, Pins::new());
        let kernel = cable.start(&pins, Role::Wan, hook)?;
        let status = kernel.status().first().context("one interface")?;
        assert_eq!((status.rung, status.driver.as_str()), (rung, "veth"));
        assert_eq!(cable.pings()?, [true, true], "{rung:?}: nobody is banned");

        let plane = kernel.plane();
        plane.ban(&ban(CLIENT, Direction::Source, Some(1_500)))?;
        plane.ban(&ban("2001:db8::/64", Direction::Source, None))?;
        assert_eq!(cable.pings()?, [false, false], "{rung:?}: both are banned");
        let hits = plane.hits(CLIENT.parse::<std::net::IpAddr>()?.into())?.context("the ban")?;
        assert!(hits.packets >= 1 && hits.bytes >= 60, "{rung:?}: {hits:?}");
        assert!(hits.first_boot_ns > 0 && hits.last_boot_ns <= boot_ns(), "{rung:?}: {hits:?}");

        sleep(Duration::from_millis(1_500));
        assert_eq!(cable.pings()?, [true, false], "{rung:?}: the first has ended, though nobody removed it");
        plane.protect(&["2001:db8::10/128".parse()?])?;
        assert_eq!(cable.pings()?, [true, true], "{rung:?}: the protected set wins");
        plane.protect(&[])?;
        assert_eq!(cable.pings()?, [true, false], "{rung:?}: and no longer");
        plane.unban("2001:db8::/64".parse()?)?.context("it was banned")?;
        assert_eq!(cable.pings()?, [true, true], "{rung:?}: nobody is banned any more");
    }
    Ok(())
}

#[test]
fn banned_destinations_are_dropped_from_the_lan_alone() -> Result<()> {
    for (role, passes) in [(Role::Lan, false), (Role::Wan, true)] {
        let (cable, pins) = (Cable::new()?, Pins::new());
        let kernel = cable.start(&pins, role, Hook::Auto)?;
        kernel.plane().ban(&ban(BOX, Direction::Destination, None))?;
        kernel.plane().ban(&ban(BOX_V6, Direction::Destination, None))?;
        assert_eq!(cable.pings()?, [passes, passes], "{role:?}");
    }
    Ok(())
}

#[test]
fn the_ladder_says_why_it_went_no_higher() -> Result<()> {
    let (cable, pins) = (Cable::new()?, Pins::new());
    // Loopback has no native XDP, as most of a Pi's network cards.
    let _inside = cable.gateway.enter()?;
    let kernel = pins.start(&[interface("lo", Role::Wan, Hook::Auto)])?;
    let status = kernel.status().first().context("one interface")?;
    assert_eq!(status.rung, Rung::Tcx);
    let why = status.why_not_higher.as_deref().unwrap_or_default();
    assert!(why.contains("no native XDP"), "{why}");

    let refused = Pins::new().start(&[interface("lo", Role::Wan, Hook::Native)]);
    let text = format!("{:#}", refused.err().context("native is impossible there")?);
    assert!(text.contains("interface `lo`") && text.contains("no native XDP"), "{text}");
    let missing = Pins::new().start(&[interface("nothere0", Role::Wan, Hook::Auto)]);
    let text = format!("{:#}", missing.err().context("there is no such interface")?);
    assert!(text.contains("`nothere0` does not exist"), "{text}");
    Ok(())
}

#[test]
fn the_rung_changes_without_a_gap() -> Result<()> {
    let (cable, pins) = (Cable::new()?, Pins::new());
    let flood = Flood::start(&cable.client, &cable.gateway, BOX)?;
    let mut kernel = cable.start(&pins, Role::Wan, Hook::Auto)?;
    kernel.plane().ban(&ban(CLIENT, Direction::Source, None))?;
    let _settled = flood.during(Duration::from_millis(50));
    let passed = flood.received();
    // Every change between two of them, the two XDP modes that exclude each other among them.
    let order = [0, 1, 2, 3, 0, 2, 0, 3, 1, 3, 2, 1, 0];
    for (hook, rung) in order.map(|index| HOOKS[index]) {
        drop(kernel);
        kernel = cable.start(&pins, Role::Wan, hook)?;
        assert_eq!(kernel.status().first().map(|status| status.rung), Some(rung));
        let (sent, came) = flood.during(Duration::from_millis(100));
        assert!(sent > 50, "{rung:?}: the flood has stopped");
        assert_eq!((came, flood.received()), (0, passed), "{rung:?}: a packet slipped through");
        let links = std::fs::read_dir(pins.path().join("links"))?.count();
        assert_eq!(links, 1, "{rung:?}: the rung that was left is still there");
    }
    drop(kernel);
    let _inside = cable.gateway.enter()?;
    xdp::detach(pins.path())?;
    let (_, received) = flood.during(Duration::from_millis(300));
    assert!(received > 100, "only {received} came through after all was detached");
    Ok(())
}

#[test]
fn clsact_leaves_the_filters_of_others_alone() -> Result<()> {
    let (cable, pins) = (Cable::new()?, Pins::new());
    let tc = |arguments: &str| -> Result<String> {
        let output = cable.gateway.run("tc", &arguments.split(' ').collect::<Vec<_>>())?;
        ensure!(output.status.success(), "tc {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    tc("qdisc add dev port0 clsact")?;
    tc("filter add dev port0 ingress protocol all pref 9 u32 match u32 0 0 flowid 1:1")?;
    let kernel = cable.start(&pins, Role::Wan, Hook::Clsact)?;
    let filters = tc("filter show dev port0 ingress")?;
    assert!(filters.contains("qantra_tc direct-action") && filters.contains("u32"), "{filters}");
    {
        let _inside = cable.gateway.enter()?;
        kernel.detach()?;
    }
    let filters = tc("filter show dev port0 ingress")?;
    assert!(!filters.contains("qantra_tc") && filters.contains("u32"), "{filters}");

    // One of another kind at our priority is in the way, and stays.
    tc("filter add dev port0 ingress protocol all pref 7 u32 match u32 0 0 flowid 1:1")?;
    let filters = tc("filter show dev port0 ingress")?;
    let refused = cable.start(&pins, Role::Wan, Hook::Clsact);
    let text = format!("{:#}", refused.err().context("the place is taken")?);
    assert!(text.contains("clsact: "), "{text}");
    assert_eq!(tc("filter show dev port0 ingress")?, filters);
    Ok(())
}

#[test]
fn segments_are_counted_and_not_the_buffers_they_were_merged_into() -> Result<()> {
    const BYTES: usize = 4_000_000;
    for (hook, rung) in [HOOKS[1], HOOKS[2]] {
        let (cable, pins) = (Cable::new()?, Pins::new());
        let kernel = cable.start(&pins, Role::Wan, hook)?;
        let listener = {
            let _inside = cable.gateway.enter()?;
            TcpListener::bind((BOX, 5_000))?
        };
        let reader = std::thread::spawn(move || std::io::copy(&mut listener.accept()?.0, &mut std::io::sink()));
        {
            let _inside = cable.client.enter()?;
            TcpStream::connect((BOX, 5_000))?.write_all(&vec![7; BYTES])?;
        }
        let read = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        assert_eq!(read, BYTES as u64);
        let counts = kernel.verdicts()?;
        let passed = counts.iter().filter(|count| count.verdict == Verdict::Pass);
        let (packets, bytes) = passed.fold((0, 0), |sum, count| (sum.0 + count.packets, sum.1 + count.bytes));
        // A veth hands over what TCP merged, up to 64 KiB at once; on a wire it would be 1,448 bytes each.
        let least = (BYTES / 1_460) as u64;
        assert!(packets >= least, "{rung:?}: {packets} packets, at least {least} segments were sent");
        assert!(bytes >= BYTES as u64 + least * 54, "{rung:?}: {bytes} bytes: each segment has headers of its own");
    }
    Ok(())
}

#[test]
fn a_start_that_fails_leaves_nothing_attached() -> Result<()> {
    let (cable, pins) = (Cable::new()?, Pins::new());
    let _inside = cable.gateway.enter()?;
    let failed = pins.start(&[interface(PORT, Role::Wan, Hook::Auto), interface("lo", Role::Lan, Hook::Native)]);
    assert!(failed.is_err());
    assert_eq!(std::fs::read_dir(pins.path().join("links"))?.count(), 0, "links that stay");
    Ok(())
}

/// Another process that holds the kernel half, as the daemon does; this test binary plays it.
struct Holder(Child);

impl Holder {
    fn start(cable: &Cable, pins: &Path, hook: Hook, bans_max: u32) -> Result<Self> {
        let mut child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", cable.gateway.name()))
            .arg(std::env::current_exe()?)
            .args(["--exact", "holder", "--ignored", "--nocapture"])
            .env("QANTRA_TEST_PINS", pins)
            .env("QANTRA_TEST_HOOK", serde_json::to_string(&hook)?)
            .env("QANTRA_TEST_BANS_MAX", bans_max.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let holder = Self(child);
        let ready = lines.find(|line| line.as_ref().map_or(true, |line| line.ends_with("holding")));
        ensure!(matches!(ready, Some(Ok(_))), "the other process did not start the kernel half");
        Ok(holder)
    }

    /// SIGKILL: it has no chance to clean up.
    fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
#[ignore = "the other process of the tests of adoption"]
fn holder() -> Result<()> {
    let Some(pins) = std::env::var_os("QANTRA_TEST_PINS") else { return Ok(()) };
    let hook = serde_json::from_str(&std::env::var("QANTRA_TEST_HOOK")?)?;
    let bans_max = std::env::var("QANTRA_TEST_BANS_MAX")?.parse()?;
    let config = KernelConfig { bans_max, ..config(Path::new(&pins)) };
    let kernel = Kernel::start(&config, &[interface(PORT, Role::Wan, hook)], false)?;
    if kernel.plane().bans()?.is_empty() {
        kernel.plane().ban(&ban(CLIENT, Direction::Source, None))?;
    }
    println!("holding");
    // The parent kills us long before.
    sleep(Duration::from_secs(60));
    Ok(())
}

#[test]
fn bans_outlive_a_killed_daemon_and_are_adopted() -> Result<()> {
    for (hook, rung) in HOOKS {
        let (cable, pins) = (Cable::new()?, Pins::new());
        let flood = Flood::start(&cable.client, &cable.gateway, BOX)?;
        let (_, received) = flood.during(Duration::from_millis(300));
        assert!(received > 100, "{rung:?}: only {received} came through before any ban");

        let holder = Holder::start(&cable, pins.path(), hook, 4_096)?;
        let settled = flood.during(Duration::from_millis(50));
        let quiet = |what: &str, step: &mut dyn FnMut() -> Result<()>| -> Result<()> {
            let before = (flood.sent(), flood.received());
            step()?;
            let (sent, came) = flood.during(Duration::from_millis(300));
            assert!(sent > 100, "{rung:?}, {what}: the flood has stopped");
            assert_eq!(flood.received(), before.1, "{rung:?}, {what}: {came} came through ({settled:?})");
            Ok(())
        };
        quiet("banned", &mut || Ok(()))?;
        let mut holder = Some(holder);
        quiet("killed", &mut || holder.take().map_or(Ok(()), Holder::kill))?;
        // Again with tables of another size: the bans move to new maps before the programs do.
        for bans_max in [4_096, 8_192, 4_096] {
            quiet("adopted", &mut || {
                Holder::start(&cable, pins.path(), hook, bans_max).map(|next| drop(holder.replace(next)))
            })?;
        }
        drop(holder);

        let kernel = cable.start(&pins, Role::Wan, hook)?;
        assert!(kernel.status().iter().all(|status| status.adopted), "{rung:?}");
        let bans = kernel.plane().bans()?;
        assert_eq!(bans.len(), 1);
        assert!(bans[0].hits.packets > 100, "{rung:?}: hits before the kill are kept: {:?}", bans[0].hits);
        kernel.plane().unban(bans[0].net)?;
        let (_, received) = flood.during(Duration::from_millis(300));
        assert!(received > 100, "{rung:?}: only {received} came through after the ban");
    }
    Ok(())
}

#[test]
fn detaching_removes_every_pin_and_every_ban() -> Result<()> {
    let (cable, pins) = (Cable::new()?, Pins::new());
    let kernel = cable.start(&pins, Role::Wan, Hook::Auto)?;
    kernel.plane().ban(&ban(CLIENT, Direction::Source, None))?;
    assert_eq!(cable.pings()?, [false, true]);
    kernel.detach()?;
    assert!(!pins.path().exists());
    assert_eq!(cable.pings()?, [true, true]);
    assert_eq!(xdp::detach(pins.path())?, Vec::<String>::new(), "nothing is left, and that is no error");
    Ok(())
}

#[test]
fn a_source_that_sends_much_is_reported_within_its_window() -> Result<()> {
    for (hook, rung) in HOOKS {
        let (cable, pins) = (Cable::new()?, Pins::new());
        let mut kernel = cable.start(&pins, Role::Wan, hook)?;
        let (events, sources) = kernel.take_events().context("the first to ask")?;
        let (sender, receiver) = crossbeam_channel::bounded(1_000);
        // A window so long that only reports can be in time.
        let collector = Collector::spawn(events, sources, 30_000, sender, |_| ())?;
        let flood = Flood::start(&cable.client, &cable.gateway, BOX)?;
        let begin = Instant::now();
        let seen = loop {
            let Observation::Packets(seen) = receiver.recv_timeout(Duration::from_secs(5))? else { continue };
            if seen.source.to_string() == CLIENT {
                break seen;
            }
        };
        assert!(seen.packets >= 200 && seen.udp >= 199, "{rung:?}: {seen:?}");
        assert_eq!((seen.role, seen.distinct_ports), (Role::Wan, 1), "{rung:?}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{rung:?}: {:?}", begin.elapsed());
        assert!(collector.stats().reports.load(Relaxed) >= 1);
        drop(flood);
        let passed = kernel.verdicts()?.into_iter().filter(|count| count.verdict == Verdict::Pass);
        assert!(passed.map(|count| count.packets).sum::<u64>() >= 200);
    }
    Ok(())
}
