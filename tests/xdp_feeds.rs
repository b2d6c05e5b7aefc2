//! Block lists in the kernel, under traffic: nothing that is listed slips through while lists are exchanged, and a host of
//! spoofed sources neither hides the honest ones nor takes memory.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::{Context, Result};
use qantra_tests::{
    cable::{BOX, CLIENT, CLIENT_V6, Cable},
    exchange::{exchange, with_client},
    kernel::Pins,
    packet::{PacketBuilder, Transport::Udp},
    program::{map_memory, repeat},
    random::{Random, addresses},
    receiver::pin,
};
use qantra_user::{
    config::{Hook, KernelConfig, Role},
    enforce::{AddressRanges, FeedPlane},
    xdp::{Entry, Kernel, SourceTable, ip_of},
};

#[test]
fn nothing_listed_slips_through_while_lists_are_exchanged() -> Result<()> {
    // A thousand are exchanged by `cargo xtask bench xdp`.
    for (hook, most) in [(Hook::Native, 300), (Hook::Tcx, 100)] {
        let all = exchange(hook, most, Duration::from_secs(30))?;
        assert!(all.exchanges > 20, "{hook:?}: too few to say anything: {all:?}");
        assert_eq!(all.passed, 0, "{hook:?}: {all:?}");
        assert!(all.sent > 40 * all.exchanges as u64 && all.dropped > 40 * all.exchanges as u64, "{hook:?}: {all:?}");
    }
    Ok(())
}

#[test]
fn hits_of_a_list_come_back_by_address() -> Result<()> {
    for hook in [Hook::Native, Hook::Tcx] {
        let (cable, pins) = (Cable::new("qx-hits")?, Pins::new());
        let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
        let plane = kernel.plane();
        plane.replace_feeds(&with_client(4, 100, 3)?, &AddressRanges::default())?;
        assert_eq!(cable.pings()?, [false, false], "{hook:?}");
        let hits = plane.take_feed_hits()?.by_address;
        for client in [CLIENT, CLIENT_V6] {
            let client: IpAddr = client.parse()?;
            let hit = hits.iter().find(|hit| hit.address == client);
            assert!(hit.is_some_and(|hit| hit.packets >= 1 && hit.bytes >= 60), "{hook:?} {client}: {hits:?}");
        }
        let rest: u64 = plane.take_feed_hits()?.by_address.iter().map(|hit| hit.packets).sum();
        assert!(rest <= 4, "{hook:?}: {rest} were told a second time");
    }
    Ok(())
}

const SPOOFED: usize = 200_000;
const HONEST: usize = 100;
/// Packets of each honest source. What a processor has not handed over yet, up to `FLUSH_PACKETS` (128) of each, is missing
/// at the end: of 2,000 packets that alone may be 6 %.
const PACKETS: u64 = 5_000;

/// What the kernel half counted of some sources, summed over windows.
fn take(table: &mut SourceTable, counts: &mut HashMap<IpAddr, u64>) -> Result<()> {
    table.drain(|source, counters| {
        if let Some(count) = counts.get_mut(&ip_of(source)) {
            *count += counters.packets;
        }
    })?;
    Ok(())
}

fn map_bytes(kernel: &Kernel) -> Result<u64> {
    Ok(map_memory(kernel.program(Entry::Xdp)?)?.iter().map(|(_, bytes)| bytes).sum())
}

#[test]
fn spoofed_sources_neither_hide_the_honest_nor_take_memory() -> Result<()> {
    let pins = Pins::new();
    // The shipped sizes, and one processor, as one receive queue has.
    pin(None, 0)?;
    let config = KernelConfig { object: pins.config().object, pin_dir: pins.path().into(), ..KernelConfig::default() };
    let mut kernel = Kernel::start(&config, &[], false)?;
    kernel.watch_index(1, Role::Wan)?;
    let (_events, mut table) = kernel.take_events().context("the first to ask")?;
    let mut random = Random::new(11);
    let honest = addresses(HONEST, &mut random, false, |_| true);
    let mut counts: HashMap<IpAddr, u64> = honest.iter().map(|address| (*address, 0)).collect();
    let destination: IpAddr = BOX.parse()?;
    let frame = |source: IpAddr| PacketBuilder::new(source, destination).transport(Udp(4_000, 443)).build();
    let honest: Vec<Vec<u8>> = honest.into_iter().map(frame).collect();
    let before = map_bytes(&kernel)?;
    let program = kernel.program(Entry::Xdp)?;
    // Ten spoofed packets for each of an honest source, in turns; windows end meanwhile.
    let rounds = HONEST as u64 * PACKETS / 10;
    let per_round = SPOOFED as u64 / rounds;
    for round in 0..rounds {
        for _ in 0..per_round {
            repeat(program, &frame(Ipv4Addr::from_bits(random.v4()).into()), 1)?;
        }
        let source = &honest[(round % HONEST as u64) as usize];
        // One by one: before it repeats, the kernel waits for all processors, to make the program's call a direct one.
        for _ in 0..10 {
            repeat(program, source, 1)?;
        }
        if round % (rounds / 4) == rounds / 8 {
            take(&mut table, &mut counts)?;
        }
    }
    take(&mut table, &mut counts)?;
    let worst = counts.values().map(|count| PACKETS.abs_diff(*count)).max().unwrap_or(PACKETS);
    assert!(worst * 20 <= PACKETS, "one of {PACKETS} packets is off by {worst}: {counts:?}");
    let after = map_bytes(&kernel)?;
    assert!(after <= before + before / 20, "{before} bytes of maps grew to {after}");
    Ok(())
}
