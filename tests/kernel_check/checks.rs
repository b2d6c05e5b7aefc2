//! Enters: a rung of the hook ladder and the object. Leaves: a line for each thing that must hold on it: bans, prefixes,
//! the protected set, expiry, counters, events, adoption, test runs. It must never trust a verdict that it did not see
//! as a datagram that came or did not.

use std::{
    net::IpAddr,
    sync::atomic::Ordering::Relaxed,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use qantra_common::source::FLUSH_PACKETS;
use qantra_tests::{
    kernel::{ban, interface},
    packet::PacketBuilder,
};
use qantra_user::{
    collect::Collector,
    config::{Hook, KernelConfig, Role},
    decide::Direction,
    enforce::KernelPlane,
    flow::Observation,
    xdp::{self, Entry, Kernel, Rung, Verdict},
};

use crate::{cable::PORT, lists, report::Report, wire::Wire};

/// Not banned by anybody.
pub(crate) const INNOCENT: [&str; 2] = ["192.0.2.20", "2001:db8:0:2::20"];
/// Banned one by one.
pub(crate) const BANNED: [&str; 2] = ["192.0.2.10", "2001:db8:0:1::10"];
/// Banned as prefixes, and an address in each.
const PREFIXES: [&str; 2] = ["192.0.2.128/26", "2001:db8:0:3::/64"];
pub(crate) const IN_PREFIX: [&str; 2] = ["192.0.2.130", "2001:db8:0:3::99"];
/// Banned for a moment.
const SHORTLY: [&str; 2] = ["192.0.2.30", "2001:db8:0:1::30"];
/// Sends much.
const HEAVY: &str = "192.0.2.40";
const HEAVY_PACKETS: u32 = 600;

/// How long reports may take on an emulated machine.
const REPORT_WAIT: Duration = Duration::from_secs(20);

/// The checks of one rung.
pub(crate) struct Checks<'a> {
    pub(crate) name: &'a str,
    pub(crate) hook: Hook,
    /// What the hook must come to.
    pub(crate) rung: Rung,
    pub(crate) config: &'a KernelConfig,
    pub(crate) report: &'a mut Report,
}

/// What stands while checks run: pins and cable end with it.
pub(crate) struct Stand {
    config: KernelConfig,
    hook: Hook,
    wire: Wire,
}

impl Stand {
    fn new(name: &str, hook: Hook, config: &KernelConfig) -> Result<Self> {
        let pin_dir = format!("/sys/fs/bpf/qantra-check-{}-{name}", std::process::id());
        Ok(Self { config: KernelConfig { pin_dir: pin_dir.into(), ..config.clone() }, hook, wire: Wire::new()? })
    }

    fn start(&self) -> Result<Kernel> {
        self.start_on(PORT)
    }

    fn start_on(&self, name: &str) -> Result<Kernel> {
        Ok(Kernel::start(&self.config, &[interface(name, Role::Wan, self.hook)], false)?)
    }

    /// Sends from every source and expects that all pass, or none.
    pub(crate) fn expect(&mut self, what: &str, sources: &[&str], pass: bool) -> Result<()> {
        for (source, came) in sources.iter().zip(self.wire.passes(sources).context(what.to_owned())?) {
            ensure!(came == pass, "{what}: {source} {}", if came { "came through" } else { "was dropped" });
        }
        Ok(())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let _gone = xdp::detach(&self.config.pin_dir);
    }
}

/// A check that has nothing to tell but that it holds.
pub(crate) type Done = Result<((), String)>;

type Check = fn(&mut Stand, &mut Kernel) -> Done;

/// It holds.
pub(crate) fn done(detail: impl Into<String>) -> Done {
    Ok(((), detail.into()))
}

impl Checks<'_> {
    /// Every check, in order; without a loaded kernel half none but the first.
    pub(crate) fn run(&mut self) {
        let made = Stand::new(self.name, self.hook, self.config);
        let started = made.and_then(|stand| Ok(((stand.start()?, stand), String::new())));
        let Some((mut kernel, mut stand)) = self.add("load and attach", started) else { return };
        let result = rung_holds(&kernel, self.rung);
        self.add("rung", result);
        let checks: [(&str, Check); 8] = [
            ("test runs", test_runs),
            ("innocent and banned", addresses),
            ("banned prefixes", prefixes),
            ("the protected set wins", protected),
            ("a ban ends by itself", expiry),
            ("lists are exchanged", lists::exchanged),
            ("verdict counters", counters),
            ("events and sources", events),
        ];
        for (name, check) in checks {
            let result = no_bans(&kernel).and_then(|()| check(&mut stand, &mut kernel));
            self.add(name, result);
        }
        let result = no_bans(&kernel).and_then(|()| adoption(&mut stand, kernel));
        self.add("adoption", result);
    }

    /// The rung is not there on this kernel: the start must say so, and leave nothing.
    pub(crate) fn run_refused(&mut self) {
        let refused = || {
            let stand = Stand::new(self.name, self.hook, self.config)?;
            let error = stand.start().err().context("the rung works, on a kernel that should not have it")?;
            let text = format!("{error:#}");
            ensure!(text.contains("no hook works") && text.contains("before 6.6"), "{text}");
            done(text)
        };
        let result = refused();
        self.add("refused in words", result);
    }

    /// What an interface gets whose driver has no XDP.
    pub(crate) fn run_without_native(&mut self) {
        let started = || {
            let stand = Stand::new(self.name, self.hook, self.config)?;
            let kernel = stand.start_on("lo")?;
            rung_holds(&kernel, self.rung)
        };
        let result = started();
        self.add("no native XDP", result);
    }

    fn add<T>(&mut self, check: &str, result: Result<(T, String)>) -> Option<T> {
        self.report.add(&format!("{}: {check}", self.name), result)
    }
}

/// So that a check that failed half-way does not fail the next.
fn no_bans(kernel: &Kernel) -> Result<()> {
    let plane = kernel.plane();
    plane.protect(&[])?;
    for ban in plane.bans()? {
        plane.unban(ban.net)?;
    }
    Ok(())
}

/// The rung, newly attached; nothing lower will do.
fn rung_holds(kernel: &Kernel, rung: Rung) -> Done {
    let status = kernel.status().first().context("no interface")?;
    let why = status.why_not_higher.as_deref().unwrap_or("that is the highest allowed");
    ensure!(status.rung == rung, "{} instead of {}: {why}", status.rung.as_str(), rung.as_str());
    ensure!(!status.adopted, "{status:?}");
    done(format!("{}: {why}", rung.as_str()))
}

fn addresses(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    stand.expect("before any ban", &[INNOCENT, BANNED].concat(), true)?;
    ban_all(kernel, &BANNED, None)?;
    stand.expect("banned", &BANNED, false)?;
    stand.expect("not banned", &INNOCENT, true)?;
    unban_all(kernel, &BANNED)?;
    stand.expect("ban ended by hand", &BANNED, true)?;
    done("IPv4 and IPv6")
}

fn ban_all(kernel: &Kernel, nets: &[&str], life_ms: Option<u64>) -> Result<()> {
    for net in nets {
        kernel.plane().ban(&ban(net, Direction::Source, life_ms))?;
    }
    Ok(())
}

fn unban_all(kernel: &Kernel, nets: &[&str]) -> Result<()> {
    for net in nets {
        kernel.plane().unban(ban(net, Direction::Source, None).net)?.with_context(|| format!("{net} is not banned"))?;
    }
    Ok(())
}

fn prefixes(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    ban_all(kernel, &PREFIXES, None)?;
    stand.expect("in a banned prefix", &IN_PREFIX, false)?;
    stand.expect("beside a banned prefix", &INNOCENT, true)?;
    unban_all(kernel, &PREFIXES)?;
    stand.expect("ban ended by hand", &IN_PREFIX, true)?;
    done(PREFIXES.join(", "))
}

fn protected(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    ban_all(kernel, &PREFIXES, None)?;
    ban_all(kernel, &BANNED, None)?;
    let sources = [IN_PREFIX, BANNED].concat();
    stand.expect("banned", &sources, false)?;
    let protected = sources.iter().map(|text| text.parse::<IpAddr>().map(Into::into));
    kernel.plane().protect(&protected.collect::<Result<Vec<_>, _>>()?)?;
    stand.expect("protected", &sources, true)?;
    kernel.plane().protect(&[])?;
    stand.expect("no longer protected", &sources, false)?;
    done("over bans of addresses and of prefixes")
}

fn expiry(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    // On a busy machine a volley may take longer than the ban lives; then the ban must live longer.
    for life_ms in [300, 1_200, 4_800] {
        let begun = Instant::now();
        ban_all(kernel, &SHORTLY, Some(life_ms))?;
        // The last of them begins, and ends, later than the first.
        let all_banned = Instant::now();
        let came = stand.wire.passes(&SHORTLY)?;
        let life = Duration::from_millis(life_ms);
        if begun.elapsed() >= life {
            continue;
        }
        ensure!(came == [false, false], "banned for {life:?}: {came:?}");
        sleep(life.saturating_sub(all_banned.elapsed()) + Duration::from_millis(20));
        stand.expect("after its end", &SHORTLY, true)?;
        return done(format!("after {life_ms} ms, in the kernel"));
    }
    anyhow::bail!("sending a few datagrams took longer than every ban")
}

fn packets(kernel: &Kernel, wanted: impl Fn(Verdict) -> bool) -> Result<u64> {
    Ok(kernel.verdicts()?.iter().filter(|count| wanted(count.verdict)).map(|count| count.packets).sum())
}

fn counters(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    const SENT: u32 = 200;
    let is_drop = |verdict| matches!(verdict, Verdict::Drop(_));
    let source = BANNED[0];
    ban_all(kernel, &[source], None)?;
    let before = (packets(kernel, is_drop)?, packets(kernel, |verdict| verdict == Verdict::Pass)?);
    stand.wire.send_many(source, SENT)?;
    stand.expect("not banned", &INNOCENT, true)?;
    let dropped = packets(kernel, is_drop)? - before.0;
    let passed = packets(kernel, |verdict| verdict == Verdict::Pass)? - before.1;
    ensure!(dropped == u64::from(SENT), "{dropped} drops are counted, {SENT} packets of a banned source were sent");
    // The two innocent ones, and the two that end a volley.
    ensure!(passed >= 4, "{passed} packets are counted as passed");
    let hits = kernel.plane().unban(source.parse::<IpAddr>()?.into())?.context("no ban to end")?;
    ensure!(hits.packets == u64::from(SENT), "the ban has {} hits, {SENT} were dropped", hits.packets);
    ensure!(hits.first_boot_ns > 0 && hits.first_boot_ns <= hits.last_boot_ns, "{hits:?}");
    let losses = kernel.losses()?;
    done(format!("{dropped} drops, {} bytes; losses {losses:?}", hits.bytes))
}

/// By the daemon's own collector: sampled drops, the report of a heavy source, and its count.
fn events(stand: &mut Stand, kernel: &mut Kernel) -> Done {
    let (events, sources) = kernel.take_events().context("the first to ask")?;
    let (sender, receiver) = crossbeam_channel::bounded(10_000);
    let (on_drop, drops) = crossbeam_channel::bounded(10_000);
    let collector = Collector::spawn(events, sources, 1_000, sender, move |drop| {
        let _full = on_drop.try_send(*drop);
    })?;
    let banned = ban(BANNED[1], Direction::Source, None);
    kernel.plane().ban(&banned)?;
    stand.expect("banned", &[BANNED[1]], false)?;
    // Those of the checks before come first.
    let seen = loop {
        let seen = drops.recv_timeout(REPORT_WAIT).context("no event of a dropped packet")?;
        if xdp::ip_of(seen.source).to_string() == BANNED[1] {
            break seen;
        }
    };
    ensure!(seen.decision == banned.decision.0, "another decision: {:#x}", seen.decision);
    kernel.plane().unban(banned.net)?;

    stand.wire.send_many(HEAVY, HEAVY_PACKETS)?;
    let (mut counted, end) = (0, Instant::now() + REPORT_WAIT);
    // The last of them may wait in a slot for more, on each processor that the sender has been on: seldom a third one.
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get().min(3)) as u32;
    let enough = u64::from(HEAVY_PACKETS - processors * FLUSH_PACKETS);
    while counted < enough && Instant::now() < end {
        let Ok(Observation::Packets(seen)) = receiver.recv_timeout(Duration::from_millis(100)) else { continue };
        if seen.source.to_string() == HEAVY {
            ensure!(seen.udp == seen.packets && seen.role == Role::Wan, "{seen:?}");
            counted += seen.packets;
        }
    }
    let reports = collector.stats().reports.load(Relaxed);
    ensure!(
        (enough..=u64::from(HEAVY_PACKETS)).contains(&counted),
        "{counted} of {HEAVY_PACKETS} packets of a heavy source are counted"
    );
    ensure!(reports >= 1, "no report of a source that sent {HEAVY_PACKETS} packets");
    done(format!("{counted} of {HEAVY_PACKETS} packets of one source, {reports} reports by the ring buffer"))
}

/// The daemon ends and another starts; then everything is detached.
fn adoption(stand: &mut Stand, kernel: Kernel) -> Done {
    ban_all(&kernel, &[BANNED[0], PREFIXES[1]], None)?;
    drop(kernel);
    let banned = [BANNED[0], IN_PREFIX[1]];
    stand.expect("without a daemon", &banned, false)?;
    stand.expect("without a daemon", &INNOCENT, true)?;
    let mut kernel = stand.start()?;
    adopted(stand, &kernel)?;
    if stand.hook == Hook::Auto {
        // Again with tables of another size: the bans move to new maps before the programs do.
        stand.config.bans_max *= 2;
        drop(kernel);
        kernel = stand.start()?;
        adopted(stand, &kernel)?;
    }
    kernel.detach()?;
    ensure!(!stand.config.pin_dir.exists(), "pins are left");
    stand.expect("detached", &banned, true)?;
    done("the bans and their hits were there; detached in the end")
}

/// The two bans that [`adoption`] made.
fn adopted(stand: &mut Stand, kernel: &Kernel) -> Result<()> {
    ensure!(kernel.status().iter().all(|status| status.adopted), "{:?}", kernel.status());
    let bans = kernel.plane().bans()?;
    ensure!(bans.len() == 2, "{} bans were found again, not 2", bans.len());
    ensure!(bans.iter().all(|ban| ban.hits.packets > 0), "hits are lost: {bans:?}");
    stand.expect("adopted", &[BANNED[0], IN_PREFIX[1]], false)?;
    stand.expect("adopted", &INNOCENT, true)
}

fn test_runs(_stand: &mut Stand, kernel: &mut Kernel) -> Done {
    kernel.watch_index(1, Role::Wan)?;
    let frame =
        |source: &str, to: &str| -> Result<Vec<u8>> { Ok(PacketBuilder::new(source.parse()?, to.parse()?).build()) };
    let innocent = [frame(INNOCENT[0], "198.51.100.1")?, frame(INNOCENT[1], "2001:db8:1::1")?];
    let banned = [frame(BANNED[0], "198.51.100.1")?, frame(BANNED[1], "2001:db8:1::1")?];
    ban_all(kernel, &BANNED, None)?;
    for entry in [Entry::Xdp, Entry::XdpFrags, Entry::Tc] {
        for (frames, wanted) in [(&innocent, false), (&banned, true)] {
            for frame in frames {
                let dropped = kernel.drops_frame(entry, frame).with_context(|| format!("{entry:?}"))?;
                ensure!(dropped == wanted, "{entry:?}: dropped is {dropped}: {frame:02x?}");
            }
        }
        let mut malformed = innocent[0].clone();
        malformed[14] = 0x44;
        ensure!(kernel.drops_frame(entry, &malformed)?, "{entry:?}: an IP header of 16 bytes passed");
    }
    done("XDP, XDP with fragments, TC")
}
