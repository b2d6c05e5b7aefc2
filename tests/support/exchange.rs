//! Enters: a hook and a number. Leaves: how many packets of sources that are always listed came through while lists were
//! exchanged so often, under traffic without a pause. It must never call silence a success: it says what was sent.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use qantra_user::{
    config::{Hook, Role},
    enforce::{AddressRanges, FeedPlane},
};

use crate::{
    cable::{BOX, BOX_V6, CLIENT, CLIENT_V6, Cable, verdicts},
    flood::Flood,
    kernel::Pins,
    random::{Kind, Random, list},
};

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub struct Exchanged {
    /// Exchanges of one list for another.
    pub exchanges: usize,
    /// How long they took.
    pub time: Duration,
    /// Packets of listed sources meanwhile, by both families.
    pub sent: u64,
    /// Those of them that were dropped.
    pub dropped: u64,
    /// Those of them that came through.
    pub passed: u64,
}

/// A list of others with the client in it: alone, or in the middle of a wider range.
///
/// # Errors
/// Never, but for a mistake in an address here.
pub fn with_client(seed: u64, others: usize, around: u32) -> Result<AddressRanges> {
    let mut ranges = list(Kind::Mixed, others, &mut Random::new(seed));
    let v4 = u32::from(CLIENT.parse::<Ipv4Addr>()?);
    let v6 = u128::from(CLIENT_V6.parse::<Ipv6Addr>()?);
    ranges.v4.retain(|(first, last)| *last < v4 - around - 1 || *first > v4 + around + 1);
    ranges.v6.retain(|(first, last)| *last < v6 - u128::from(around) - 1 || *first > v6 + u128::from(around) + 1);
    ranges.v4.push((v4 - around, v4 + around));
    ranges.v6.push((v6 - u128::from(around), v6 + u128::from(around)));
    ranges.v4.sort_unstable();
    ranges.v6.sort_unstable();
    Ok(ranges)
}

/// Exchanges three lists in turns, all with the client in them, while it sends: at most so often, and no longer than this.
///
/// # Errors
/// The kernel half does not start, or packets do not come through where nothing is listed.
pub fn exchange(hook: Hook, most: usize, longest: Duration) -> Result<Exchanged> {
    let (cable, pins) = (Cable::new("qx-swap")?, Pins::new());
    let kernel = cable.start(&pins, &pins.config(), Role::Wan, hook)?;
    let plane = kernel.plane();
    let nobody = AddressRanges::default();
    let lists = [with_client(1, 3_000, 0)?, with_client(2, 3_000, 5)?, with_client(3, 50, 200)?];
    let mut all = Exchanged { exchanges: 0, time: Duration::ZERO, sent: 0, dropped: 0, passed: 0 };
    // A flood ends by itself after a minute.
    while all.exchanges < most && all.time < longest {
        let floods = [
            Flood::at_full_speed(&cable.client, &cable.gateway, BOX)?,
            Flood::at_full_speed(&cable.client, &cable.gateway, BOX_V6)?,
        ];
        for flood in &floods {
            let (_, received) = flood.during(Duration::from_millis(200));
            ensure!(received > 100, "{hook:?}: only {received} came through before any list");
        }
        plane.replace_feeds(&lists[0], &nobody)?;
        // What was in the box already may still be on its way to its socket.
        sleep(Duration::from_millis(200));
        let sum = |each: fn(&Flood) -> u64| floods.iter().map(each).sum::<u64>();
        let dropped = || -> Result<u64> { Ok(verdicts(&kernel)?.get("feed_source").copied().unwrap_or(0)) };
        let (sent, passed, dropped_before) = (sum(Flood::sent), sum(Flood::received), dropped()?);
        let begun = Instant::now();
        while all.exchanges < most && begun.elapsed() < longest.saturating_sub(all.time).min(Duration::from_secs(45)) {
            all.exchanges += 1;
            plane.replace_feeds(&lists[all.exchanges % lists.len()], &nobody)?;
        }
        all.time += begun.elapsed();
        all.sent += sum(Flood::sent) - sent;
        all.passed += sum(Flood::received) - passed;
        all.dropped += dropped()? - dropped_before;
        plane.replace_feeds(&nobody, &nobody)?;
        for flood in &floods {
            let (_, received) = flood.during(Duration::from_millis(200));
            ensure!(received > 100, "{hook:?}: only {received} came through after the last list");
        }
    }
    Ok(all)
}
