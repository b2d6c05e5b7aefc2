//! Enters: nothing. Leaves: what a million listed prefixes take to load and to hold, and how well honest sources are counted
//! among a million spoofed ones, as rows for `cargo xtask bench xdp`.
//!
//! `cargo run --release --package qantra-tests --example xdp_scale [-- ROUNDS]`

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use anyhow::{Context, Result};
use qantra_tests::{
    kernel::Pins,
    packet::{PacketBuilder, Transport::Udp},
    program::{map_memory, repeat},
    random::{Kind, Random, addresses, list},
    receiver::pin,
    rows::Rows,
};
use qantra_user::{
    config::{KernelConfig, Role},
    enforce::{AddressRanges, FeedPlane},
    xdp::{Entry, Kernel, SourceTable, ip_of},
};

const ROUNDS: usize = 5;
const PREFIXES: usize = 1_000_000;
const SPOOFED: u64 = 1_000_000;
const HONEST: u64 = 100;
/// Packets of each honest source.
const PACKETS: u64 = 5_000;

fn main() -> Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |text| text.parse())?;
    // One core.
    pin(None, std::thread::available_parallelism()?.get() - 1)?;
    let mut rows = Rows::default();
    for (name, kind) in [("1m", Kind::Single), ("1m_mixed", Kind::Mixed)] {
        load(name, kind, rounds, &mut rows)?;
    }
    for round in 0..rounds.min(3) {
        spoofed(round as u64, &mut rows)?;
    }
    rows.print();
    Ok(())
}

/// The daemon's own defaults.
fn start(pins: &Pins) -> Result<Kernel> {
    let config = KernelConfig { object: pins.config().object, pin_dir: pins.path().into(), ..KernelConfig::default() };
    let mut kernel = Kernel::start(&config, &[], false).context("starting the kernel half")?;
    kernel.watch_index(1, Role::Wan)?;
    Ok(kernel)
}

/// Puts a new list of a million in the place of another, again and again.
fn load(name: &str, kind: Kind, rounds: usize, rows: &mut Rows) -> Result<()> {
    let pins = Pins::new();
    let kernel = start(&pins)?;
    let plane = kernel.plane();
    for round in 0..=rounds {
        let list = list(kind, PREFIXES, &mut Random::new(round as u64 + 1));
        let begun = Instant::now();
        let bytes = plane.replace_feeds(&list, &AddressRanges::default())?;
        let seconds = begun.elapsed().as_secs_f64();
        // The first finds no list in its place.
        if round > 0 {
            rows.add(format!("map_load_{name}_seconds"), "s", seconds);
            rows.add(format!("feed_memory_{name}_bytes"), "bytes", bytes as f64);
            rows.add(format!("kernel_memory_{name}_bytes"), "bytes", map_bytes(&kernel)? as f64);
        }
    }
    Ok(())
}

fn map_bytes(kernel: &Kernel) -> Result<u64> {
    Ok(map_memory(kernel.program(Entry::Xdp)?)?.iter().map(|(_, bytes)| bytes).sum())
}

/// A packet from each of a million spoofed sources, and between them honest ones whose number is known.
fn spoofed(round: u64, rows: &mut Rows) -> Result<()> {
    let pins = Pins::new();
    let mut kernel = start(&pins)?;
    let (mut events, mut table) = kernel.take_events().context("the first to ask")?;
    let mut random = Random::new(round + 100);
    let honest = addresses(HONEST as usize, &mut random, false, |_| true);
    let mut counts: HashMap<IpAddr, u64> = honest.iter().map(|address| (*address, 0)).collect();
    let destination = Ipv4Addr::new(198, 51, 100, 1).into();
    let frame = |source: IpAddr| PacketBuilder::new(source, destination).transport(Udp(4_000, 443)).build();
    let honest: Vec<Vec<u8>> = honest.into_iter().map(frame).collect();
    let before = map_bytes(&kernel)?;
    let program = kernel.program(Entry::Xdp)?;
    let bursts = HONEST * PACKETS / 10;
    let mut window = Instant::now();
    for burst in 0..bursts {
        for _ in 0..SPOOFED / bursts {
            repeat(program, &frame(Ipv4Addr::from_bits(random.v4()).into()), 1)?;
        }
        let source = honest.get((burst % HONEST) as usize).context("an honest source")?;
        // One by one: before it repeats, the kernel waits for all processors, to make the program's call a direct one.
        for _ in 0..10 {
            repeat(program, source, 1)?;
        }
        // As the daemon does, once a window.
        if window.elapsed().as_millis() >= u128::from(KernelConfig::default().window_ms) {
            take(&mut table, &mut counts)?;
            while events.next_event().is_some() {}
            window = Instant::now();
        }
    }
    take(&mut table, &mut counts)?;
    let worst = counts.values().map(|count| PACKETS.abs_diff(*count)).max().unwrap_or(PACKETS);
    rows.add("spoofed_1m_worst_error_percent", "%", 100.0 * worst as f64 / PACKETS as f64);
    rows.add("spoofed_1m_memory_before_bytes", "bytes", before as f64);
    rows.add("spoofed_1m_memory_after_bytes", "bytes", map_bytes(&kernel)? as f64);
    Ok(())
}

fn take(table: &mut SourceTable, counts: &mut HashMap<IpAddr, u64>) -> Result<()> {
    table.drain(|source, counters| {
        if let Some(count) = counts.get_mut(&ip_of(source)) {
            *count += counters.packets;
        }
    })?;
    Ok(())
}
