//! Enters: nothing. Leaves: what one packet costs Qantra's programs, with everything on and lists of several sizes, what it
//! costs Debian's `xdp-filter`, and what is left when a program does nothing, as rows for `cargo xtask bench xdp`. All in
//! turns, by `BPF_PROG_TEST_RUN`, on one processor.
//!
//! `cargo run --release --package qantra-tests --example xdp_cost [-- ROUNDS]`

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd},
};

use anyhow::{Context, Result, ensure};
use qantra_tests::{
    kernel::{Pins, ban},
    netns::{NetNs, join},
    packet::{PacketBuilder, Transport::Udp},
    program::{self, Kind, empty, repeat},
    random::{self, Random, addresses, listed},
    receiver::pin,
    rows::Rows,
    xdp_filter::{DROPPED, XdpFilter},
};
use qantra_user::{
    config::{KernelConfig, Role},
    decide::Direction,
    enforce::{AddressRanges, FeedPlane, KernelPlane},
    xdp::{Entry, EventStream, Kernel},
};

/// Frames of one case, each from another address.
const FRAMES: usize = 4;
/// Runs of one case in one round.
const REPEAT: u32 = 1_000_000;
const ROUNDS: usize = 7;
/// Bans by decisions, beside the lists.
const BANS: usize = 1_000;
const SIZES: [(&str, usize, random::Kind); 5] = [
    ("0", 0, random::Kind::Single),
    ("1k", 1_000, random::Kind::Single),
    ("100k", 100_000, random::Kind::Single),
    ("1m", 1_000_000, random::Kind::Single),
    ("1m_mixed", 1_000_000, random::Kind::Mixed),
];
const ENTRIES: [(&str, Entry); 3] = [("", Entry::Xdp), ("_frags", Entry::XdpFrags), ("_tc", Entry::Tc)];
const DESTINATION_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const DESTINATION_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1));

/// Frames that a program must answer alike, and what they cost.
struct Case<'a> {
    name: String,
    program: BorrowedFd<'a>,
    frames: Vec<Vec<u8>>,
    answer: u32,
}

const PASS: u32 = 2;
const DROP: u32 = 1;
const TC_PASS: u32 = u32::MAX;
const TC_DROP: u32 = 2;

impl Case<'_> {
    fn measure(&self) -> Result<f64> {
        let mut sum_ns = 0.0;
        for frame in &self.frames {
            let timed = repeat(self.program, frame, REPEAT / FRAMES as u32)?;
            ensure!(timed.code == self.answer, "{}: answer {} instead of {}", self.name, timed.code, self.answer);
            sum_ns += timed.ns;
        }
        Ok(sum_ns / self.frames.len() as f64)
    }
}

/// One loaded object with its lists and bans.
struct Loaded {
    size: &'static str,
    kernel: Kernel,
    events: EventStream,
    list: AddressRanges,
    banned: Vec<IpAddr>,
    _pins: Pins,
}

impl Loaded {
    fn new(size: &'static str, prefixes: usize, kind: random::Kind) -> Result<Self> {
        let pins = Pins::new();
        let config =
            KernelConfig { object: pins.config().object, pin_dir: pins.path().to_owned(), ..KernelConfig::default() };
        let mut kernel = Kernel::start(&config, &[], false).context("starting the kernel half")?;
        // `BPF_PROG_TEST_RUN` says that frames come in by the interface of this index.
        kernel.watch_index(1, Role::Wan)?;
        let mut random = Random::new(prefixes as u64 + 1);
        let list = random::list(kind, prefixes, &mut random);
        let plane = kernel.plane();
        let mut banned = Vec::new();
        for v6 in [false, true] {
            banned.extend(addresses(BANS, &mut random, v6, |address| !list.contains(address)));
        }
        plane.replace_feeds(&list, &AddressRanges::default())?;
        for address in &banned {
            plane.ban(&ban(&address.to_string(), Direction::Source, Some(3_600_000)))?;
        }
        for net in ["203.0.113.0/24", "198.18.0.0/15", "2001:db8:bad::/48"] {
            plane.ban(&ban(net, Direction::Source, None))?;
        }
        plane.protect(&["192.0.2.1/32".parse()?, "192.168.0.0/16".parse()?, "2001:db8::/64".parse()?])?;
        let (events, _) = kernel.take_events().context("the first to ask")?;
        Ok(Self { size, kernel, events, list, banned, _pins: pins })
    }

    fn cases(&self) -> Result<Vec<Case<'_>>> {
        let mut random = Random::new(99);
        let mut cases = Vec::new();
        for v6 in [false, true] {
            let family = if v6 { "v6" } else { "v4" };
            let innocent = addresses(FRAMES, &mut random, v6, |a| !self.list.contains(a) && !self.banned.contains(&a));
            let feed = listed(FRAMES, &mut random, v6, &self.list);
            let own = self.banned.iter().filter(|a| a.is_ipv6() == v6).take(FRAMES).copied().collect();
            for (what, sources, passes) in [("innocent", innocent, true), ("feed", feed, false), ("ban", own, false)] {
                if sources.is_empty() {
                    continue;
                }
                for (suffix, entry) in ENTRIES {
                    if entry != Entry::Xdp && !matches!(self.size, "0" | "1m") {
                        continue;
                    }
                    let answer = match (entry, passes) {
                        (Entry::Tc, true) => TC_PASS,
                        (Entry::Tc, false) => TC_DROP,
                        (_, true) => PASS,
                        (_, false) => DROP,
                    };
                    cases.push(Case {
                        name: format!("{what}_{family}_{}{suffix}_ns", self.size),
                        program: self.kernel.program(entry)?,
                        frames: frames(&sources),
                        answer,
                    });
                }
            }
        }
        Ok(cases)
    }

    /// As the daemon does: a ring buffer that nobody reads would be full, and reports cheaper than they are.
    fn drain(&mut self) {
        while self.events.next_event().is_some() {}
    }
}

fn frames(sources: &[IpAddr]) -> Vec<Vec<u8>> {
    let build = |source: &IpAddr| {
        let destination = if source.is_ipv4() { DESTINATION_V4 } else { DESTINATION_V6 };
        PacketBuilder::new(*source, destination).transport(Udp(5_000, 443)).payload(&[7; 64]).build()
    };
    sources.iter().map(build).collect()
}

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    pin(None, std::thread::available_parallelism()?.get() - 1)?;
    // Others wait, so that their work is not in our caches.
    rustix::process::setpriority_process(None, -20)?;
    let (far, near) = (NetNs::new("qx-far")?, NetNs::new("qx-near")?);
    let interface = format!("xf{}", std::process::id());
    join((&far, "eth0", &[]), (&near, &interface, &[]))?;
    let filter = XdpFilter::load(&near, &interface)?;
    let (nothing, nothing_tc) = (empty(Kind::Xdp)?, empty(Kind::Tc)?);
    let mut random = Random::new(98);
    let innocent = [false, true].map(|v6| frames(&addresses(FRAMES, &mut random, v6, |_| true)));
    let [innocent_v4, innocent_v6] = innocent;
    let dropped = frames(&[DROPPED.parse()?; FRAMES]);
    let peers = [
        ("empty_xdp_ns", nothing.as_fd(), &innocent_v4, PASS),
        ("empty_tc_ns", nothing_tc.as_fd(), &innocent_v4, TC_PASS),
        ("xdp_filter_innocent_v4_ns", filter.program(), &innocent_v4, PASS),
        ("xdp_filter_innocent_v6_ns", filter.program(), &innocent_v6, PASS),
        ("xdp_filter_drop_v4_ns", filter.program(), &dropped, DROP),
    ];
    let peers: Vec<Case<'_>> = peers
        .into_iter()
        .map(|(name, program, frames, answer)| Case { name: name.to_owned(), program, frames: frames.clone(), answer })
        .collect();
    let mut loaded = Vec::new();
    for (size, prefixes, kind) in SIZES {
        loaded.push(Loaded::new(size, prefixes, kind)?);
    }
    let mut rows = Rows::default();
    for round in 0..=rounds {
        for one in &mut loaded {
            one.drain();
        }
        let own = loaded.iter().map(Loaded::cases).collect::<Result<Vec<_>>>()?;
        for case in peers.iter().chain(own.iter().flatten()) {
            let ns = case.measure()?;
            // The first round fills caches.
            if round > 0 {
                rows.add(&case.name, "ns", ns);
            }
        }
    }
    // Those of a million are measured by `xdp_scale`, list after list.
    for one in loaded.iter().filter(|one| !one.size.starts_with("1m")) {
        let bytes = program::map_memory(one.kernel.program(Entry::Xdp)?)?.iter().map(|(_, bytes)| bytes).sum::<u64>();
        rows.add(format!("kernel_memory_{}_bytes", one.size), "bytes", bytes as f64);
    }
    rows.print();
    Ok(())
}
