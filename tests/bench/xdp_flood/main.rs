//! Enters: nothing. Leaves: how many packets a second each rung of the hook ladder and nftables really drop, and what an
//! honest TCP client still gets through meanwhile, as rows for `cargo xtask bench xdp`. It must never count a packet that the
//! dropping side did not count itself.
//!
//! The kernel itself sends, by live frames, each from one of 8,192 banned sources drawn at random. The other end of the
//! cable is polled by a thread of its own, as a network card is by its interrupt. For the floods both take turns on one
//! processor, the receiver first, so that neither waits for the other's caches and locks: a second of the receiver's time
//! is what drops are counted by. For the client each has a processor, and the flood comes at a fixed pace.
//!
//! Sender, receiver and client are real-time threads, so that other work on the machine is not measured; this program
//! must be above them: `chrt --fifo 3 target/release/examples/xdp_flood [ROUNDS]`

mod client;
mod defence;
mod sender;

use std::{os::fd::BorrowedFd, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    netns::{NetNs, join},
    program::{RunStatistics, runs},
    receiver::Receiver,
    rows::Rows,
    xdp_filter::XdpFilter,
};

use defence::{Active, Defence};
use sender::{Flood, Sources};

const ROUNDS: usize = 3;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(1_000);
/// What the client is given to settle, and how long it is counted then.
const WARM_UP: Duration = Duration::from_millis(300);
const TRANSFER: Duration = Duration::from_millis(700);
/// The smallest frames that a gigabit line carries: 1,488,095 a second. The client has a gigabit line of its own.
const INTERVAL_NS: u64 = 672;

/// Where the box receives.
const RECEIVING_CPU: usize = 1;
/// Where the client sends, and the flood that it has to get through.
const SENDING_CPU: usize = 0;

/// The attacker's side and the box, joined by one cable.
struct Cable {
    outside: NetNs,
    gateway: NetNs,
    /// The outside's end.
    from: String,
    /// The box's end.
    to: String,
    receiver: Receiver,
}

impl Cable {
    fn new() -> Result<Self> {
        let (outside, gateway) = (NetNs::new("qx-outside")?, NetNs::new("qx-box")?);
        let [from, to] = ["fo", "fb"].map(|end| format!("{end}{}", std::process::id()));
        join((&outside, &from, &["192.0.2.10/24"]), (&gateway, &to, &["192.0.2.1/24"]))?;
        let (outer, inner) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
        // Known once and for all: a flood would drown the question.
        for (netns, interface, own, peer, peer_address) in
            [(&outside, &from, outer, inner, "192.0.2.1"), (&gateway, &to, inner, outer, "192.0.2.10")]
        {
            netns.ip(&["link", "set", interface, "address", own])?;
            netns.ip(&["neigh", "replace", peer_address, "lladdr", peer, "dev", interface, "nud", "permanent"])?;
        }
        let receiver = Receiver::of(&gateway, &to, RECEIVING_CPU)?;
        Ok(Self { outside, gateway, from, to, receiver })
    }

    /// Frames that the flood sent, and those of them for which the receiver had no room any more.
    fn sent(&self) -> Result<(u64, u64)> {
        let output = self.outside.run("ethtool", &["--statistics", &self.from])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let sum = |ending: &str| {
            let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
            lines.filter(|(name, _)| name.ends_with(ending)).filter_map(|(_, n)| n.parse::<u64>().ok()).sum::<u64>()
        };
        let (arrived, lost) = (sum("_xdp_xmit"), sum("_xdp_xmit_errors"));
        Ok((arrived + lost, lost))
    }

    fn defend(&self, defence: Defence) -> Result<Active<'_>> {
        Active::begin(defence, &self.gateway, &self.to).with_context(|| format!("starting {}", defence.name()))
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, interface, cpu, interval_ns] = arguments.as_slice() {
        let sources = if command == "banned" { Sources::Banned } else { Sources::Innocent };
        return sender::send(sources, interface, cpu.parse()?, interval_ns.parse()?);
    }
    let rounds = arguments.first().map_or(Ok(ROUNDS), |text| text.parse())?;
    let cpus = std::thread::available_parallelism()?.get();
    ensure!(cpus > RECEIVING_CPU, "a flood needs a processor to send and one to receive, and there is one");
    let cable = Cable::new()?;
    client::shape(&cable)?;
    let mut rows = Rows::default();
    for _ in 0..rounds {
        for defence in Defence::ALL {
            flood(&cable, defence, &mut rows)?;
        }
    }
    for _ in 0..rounds {
        stream(&cable, &mut rows)?;
    }
    for _ in 0..rounds {
        for defence in [Defence::None, Defence::Native, Defence::Tcx, Defence::NftRaw, Defence::NftNetdev] {
            honest(&cable, defence, &mut rows)?;
        }
    }
    rows.print();
    Ok(())
}

/// As many frames as can be. Counters are read before and after: to read those of a large nftables set takes longer than a
/// flood should last.
fn flood(cable: &Cable, defence: Defence, rows: &mut Rows) -> Result<()> {
    let active = cable.defend(defence)?;
    let (dropped, busy_ns) = (active.dropped()?, cable.receiver.busy_ns()?);
    let flood = Flood::begin(cable, Sources::Banned, RECEIVING_CPU, 0)?;
    sleep(FLOOD);
    let seconds = flood.end()?;
    let busy_ns = (cable.receiver.busy_ns()? - busy_ns) as f64;
    let dropped = (active.dropped()? - dropped) as f64;
    let name = defence.name();
    ensure!(dropped > 0.0, "{name} dropped nothing");
    rows.add(format!("flood_{name}_pps"), "packets/s", dropped / busy_ns * 1e9);
    rows.add(format!("flood_{name}_with_sender_pps"), "packets/s", dropped / seconds);
    rows.add(format!("flood_{name}_ns"), "ns", busy_ns / dropped);
    Ok(())
}

/// Innocent packets, each from another source than the one before: what the program alone takes, by the kernel's own
/// statistics. One frame again and again, as in `BPF_PROG_TEST_RUN`, finds all that it needs in the caches; these do not.
fn stream(cable: &Cable, rows: &mut Rows) -> Result<()> {
    let mut measure = |name: &str, program: BorrowedFd<'_>| -> Result<()> {
        let _on = RunStatistics::begin()?;
        let before = runs(program)?;
        let flood = Flood::begin(cable, Sources::Innocent, RECEIVING_CPU, 0)?;
        sleep(FLOOD / 2);
        flood.end()?;
        let after = runs(program)?;
        let count = after.count - before.count;
        ensure!(count > 10_000, "{name} ran {count} times only");
        rows.add(format!("stream_{name}_ns"), "ns", (after.ns - before.ns) as f64 / count as f64);
        Ok(())
    };
    let active = cable.defend(Defence::Native)?;
    measure("innocent", active.program().context("native XDP has a program")?)?;
    drop(active);
    let filter = XdpFilter::load(&cable.gateway, &cable.to)?;
    measure("xdp_filter", filter.program())
}

/// A flood at a fixed pace, and a client that wants its whole line.
fn honest(cable: &Cable, defence: Defence, rows: &mut Rows) -> Result<()> {
    let active = cable.defend(defence)?;
    let transfer = client::Transfer::begin(cable)?;
    sleep(WARM_UP);
    let alone = transfer.during(TRANSFER);
    let (dropped, (sent, lost)) = (active.dropped()?, cable.sent()?);
    let flood = Flood::begin(cable, Sources::Banned, SENDING_CPU, INTERVAL_NS)?;
    sleep(WARM_UP);
    let flooded = transfer.during(TRANSFER);
    let seconds = flood.end()?;
    let dropped = (active.dropped()? - dropped) as f64 / seconds;
    transfer.end()?;
    let (all_sent, all_lost) = cable.sent()?;
    let name = defence.name();
    rows.add(format!("client_{name}_flood_pps"), "packets/s", (all_sent - sent) as f64 / seconds);
    rows.add(format!("client_{name}_lost_percent"), "%", 100.0 * (all_lost - lost) as f64 / (all_sent - sent) as f64);
    rows.add(format!("client_{name}_alone_mbit"), "Mbit/s", alone / 1e6);
    rows.add(format!("client_{name}_flooded_mbit"), "Mbit/s", flooded / 1e6);
    rows.add(format!("client_{name}_kept_percent"), "%", 100.0 * flooded / alone);
    if defence != Defence::None {
        rows.add(format!("client_{name}_dropped_pps"), "packets/s", dropped);
    }
    Ok(())
}
