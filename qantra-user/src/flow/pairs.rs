//! Enters: conversations of LAN devices with others, as connection tracking tells of them. Leaves: for each device and
//! whom it talks to, when it calls and how much goes each way; how many devices know a destination; and what is usual for a
//! device. Bounded: some 4 MB with every table full.

use std::{hash::BuildHasher, net::IpAddr};

use foldhash::quality::FixedState;

use super::{
    BoundedTable, ConversationEvent, ConversationObservation, DAY_MS, Distinct, Gaps, TEN_MINUTES_MS, TEN_SECONDS_MS,
    Transport, Window, Worth,
};

/// A device, whom it talks to, and at which port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PairKey {
    /// The device's address.
    pub device: IpAddr,
    /// Whom it talks to.
    pub destination: IpAddr,
    /// The port that it asks for.
    pub port: u16,
    /// Over what.
    pub transport: Transport,
}

#[derive(Debug, Clone, Copy)]
enum Count {
    SentKib,
    ReceivedKib,
    SentPackets,
}
const COUNTS: usize = 3;

/// What goes on between a device and one destination. About 290 bytes.
#[derive(Debug, Clone, Default)]
pub struct PairFlow {
    /// When the first and the newest call began: ms since boot.
    pub first_ms: u64,
    /// The newest.
    pub last_ms: u64,
    /// Calls so far.
    pub calls: u32,
    /// When calls are made.
    pub gaps: Gaps,
    /// Bytes in all, from the device.
    pub sent_bytes: u64,
    /// Bytes in all, to the device.
    pub received_bytes: u64,
    /// Whether a finding about its calls was made.
    pub is_told: bool,
    /// When one about what it sends was made: 0 for never.
    pub upload_told_ms: u64,
    /// Whether it was counted among the device's regular ones.
    pub is_regular: bool,
    carried: Window<TEN_MINUTES_MS, COUNTS>,
}

impl PairFlow {
    /// KiB from the device in 10 min.
    #[must_use]
    pub fn sent_kib_10min(&self, at_ms: u64) -> u32 {
        self.carried.sum(at_ms, Count::SentKib as usize)
    }

    /// KiB to the device in 10 min.
    #[must_use]
    pub fn received_kib_10min(&self, at_ms: u64) -> u32 {
        self.carried.sum(at_ms, Count::ReceivedKib as usize)
    }

    /// Packets from the device in 10 min.
    #[must_use]
    pub fn sent_packets_10min(&self, at_ms: u64) -> u32 {
        self.carried.sum(at_ms, Count::SentPackets as usize)
    }

    fn carry(&mut self, at_ms: u64, sent_bytes: u64, received_bytes: u64, sent_packets: u64) {
        let before = (self.sent_bytes / 1_024, self.received_bytes / 1_024);
        self.sent_bytes = self.sent_bytes.saturating_add(sent_bytes);
        self.received_bytes = self.received_bytes.saturating_add(received_bytes);
        // By the totals, so that many small conversations lose nothing to rounding.
        let kib = |total: u64, before: u64| u32::try_from(total / 1_024 - before).unwrap_or(u32::MAX);
        let amounts = [
            (Count::SentKib as usize, kib(self.sent_bytes, before.0)),
            (Count::ReceivedKib as usize, kib(self.received_bytes, before.1)),
            (Count::SentPackets as usize, u32::try_from(sent_packets).unwrap_or(u32::MAX)),
        ];
        self.carried.add(at_ms, &amounts);
    }
}

impl Worth for PairFlow {
    /// One more doubling of calls outweighs ten idle minutes, so a habit outlives a page's hundred hosts.
    fn worth(&self, now_ms: u64) -> i64 {
        let idle_ms = now_ms.saturating_sub(self.last_ms);
        i64::from(self.calls.max(1).ilog2()) * TEN_MINUTES_MS as i64 - idle_ms as i64
    }
}

/// How many devices know a destination.
#[derive(Debug, Clone, Default)]
struct Destination {
    devices: Distinct<DAY_MS, 1>,
    last_ms: u64,
}

impl Worth for Destination {
    fn worth(&self, now_ms: u64) -> i64 {
        -(now_ms.saturating_sub(self.last_ms) as i64)
    }
}

/// A regular caller of a device that was told of: at which port, how often, and when it called last (ms since boot).
#[derive(Debug, Clone, Copy, Default)]
struct Habit {
    port: u16,
    median_ms: u32,
    last_ms: u64,
}

impl Habit {
    /// Timers drift and are jittered; half as often is another habit.
    fn is_like(&self, port: u16, median_ms: u32) -> bool {
        self.last_ms > 0 && self.port == port && self.median_ms.abs_diff(median_ms) <= self.median_ms / 4
    }
}

/// Habits that are kept of a device.
const HABITS: usize = 4;

/// What is usual for a device.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// When it was seen first: ms since boot.
    pub first_ms: u64,
    /// When one of its habits that are as old as itself was told: 0 for never.
    pub habit_told_ms: u64,
    last_ms: u64,
    regular: Distinct<DAY_MS, 1>,
    asked_fast: Distinct<TEN_SECONDS_MS, 4>,
    asked_medium: Distinct<TEN_MINUTES_MS, 4>,
    habits: [Habit; HABITS],
    usual_kib: u32,
    slot: u64,
    slot_kib: u32,
}

/// Ports below this are services; above are peers, games and calls, which ask many hosts honestly.
const SERVICE_PORTS: u16 = 1_024;
/// Names, time and web pages: of these one asks many hosts all the time.
const ASKED_OF_MANY: [u16; 4] = [53, 123, 443, 853];

fn is_probe(seen: &ConversationObservation) -> bool {
    seen.transport == Transport::Udp && seen.port < SERVICE_PORTS && !ASKED_OF_MANY.contains(&seen.port)
}

/// Of what was usual, a quarter is forgotten in a day's 144 slots.
const KEPT_PER_SLOT: f64 = 0.998;

impl Device {
    /// The most that it used to send to one destination in ten minutes, before the running ones.
    #[must_use]
    pub const fn usual_kib(&self) -> u32 {
        self.usual_kib
    }

    /// About how many pairs of it are regular, over half a day to a day.
    #[must_use]
    pub fn regular_pairs(&self, at_ms: u64) -> u32 {
        self.regular.estimate(at_ms)
    }

    /// About how many hosts it asked for a service by UDP in 10 s.
    #[must_use]
    pub fn asked_10s(&self, at_ms: u64) -> u32 {
        self.asked_fast.estimate(at_ms)
    }

    /// The same in 10 min.
    #[must_use]
    pub fn asked_10min(&self, at_ms: u64) -> u32 {
        self.asked_medium.estimate(at_ms)
    }

    /// A habit that was told of goes on; of more than are kept the one that is silent longest is forgotten.
    pub fn keeps_habit(&mut self, port: u16, median_ms: u32, at_ms: u64) {
        let known = self.habits.iter().position(|habit| habit.is_like(port, median_ms));
        let oldest = || (0..HABITS).min_by_key(|at| self.habits[*at].last_ms).unwrap_or(0);
        let at = known.unwrap_or_else(oldest);
        self.habits[at] = Habit { port, median_ms, last_ms: at_ms };
    }

    /// Whether calls that began then are a habit that was told of, at another address: names lead elsewhere from day to day. The
    /// calls before must have ended as these began; who calls beside them is somebody else.
    #[must_use]
    pub fn moved_habit(&self, port: u16, median_ms: u32, first_ms: u64) -> bool {
        let ended = |habit: &Habit| habit.last_ms < first_ms + u64::from(median_ms);
        self.habits.iter().any(|habit| habit.is_like(port, median_ms) && ended(habit))
    }

    fn sent(&mut self, at_ms: u64, kib_10min: u32) {
        let slot = at_ms / TEN_MINUTES_MS;
        if slot > self.slot {
            let passed = i32::try_from(slot - self.slot).unwrap_or(i32::MAX);
            let kept = f64::from(self.usual_kib) * KEPT_PER_SLOT.powi(passed);
            self.usual_kib = (kept as u32).max(self.slot_kib);
            (self.slot, self.slot_kib) = (slot, 0);
        }
        self.slot_kib = self.slot_kib.max(kib_10min);
    }
}

impl Worth for Device {
    fn worth(&self, now_ms: u64) -> i64 {
        -(now_ms.saturating_sub(self.last_ms) as i64)
    }
}

/// A pair after an observation, and what surrounds it.
#[derive(Debug)]
pub struct PairView<'a> {
    /// The pair.
    pub pair: &'a mut PairFlow,
    /// Its device.
    pub device: &'a mut Device,
    /// Whether the observation was a call of its own.
    pub is_call: bool,
    /// About how many devices know the destination, this one among them.
    pub devices: u32,
}

/// Pairs, devices and destinations. Each table has a limit; the least worthy of eight drawn at random makes room.
#[derive(Debug)]
pub struct PairTable {
    pairs: BoundedTable<PairKey, PairFlow>,
    devices: BoundedTable<IpAddr, Device>,
    destinations: BoundedTable<IpAddr, Destination>,
    hasher: FixedState,
}

impl PairTable {
    /// How many pairs are watched; as many destinations.
    pub const LIMIT: usize = 8_192;
    /// How many devices.
    pub const DEVICES: usize = 1_024;

    /// Empty tables.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            pairs: BoundedTable::new(Self::LIMIT, seed),
            devices: BoundedTable::new(Self::DEVICES, seed.rotate_left(7)),
            destinations: BoundedTable::new(Self::LIMIT, seed.rotate_left(13)),
            hasher: FixedState::with_seed(seed.rotate_left(23)),
        }
    }

    /// Counts one observation.
    pub fn observe(&mut self, seen: &ConversationObservation, at_ms: u64) -> PairView<'_> {
        let key =
            PairKey { device: seen.source, destination: seen.destination, port: seen.port, transport: seen.transport };
        let fresh = || Device { first_ms: at_ms, slot: at_ms / TEN_MINUTES_MS, ..Device::default() };
        let device = self.devices.get_or_insert_with(key.device, at_ms, fresh);
        device.last_ms = device.last_ms.max(at_ms);
        let destination = self.destinations.get_or_insert_with(key.destination, at_ms, Destination::default);
        destination.last_ms = destination.last_ms.max(at_ms);
        destination.devices.insert(at_ms, self.hasher.hash_one(key.device));
        let fresh = || PairFlow { first_ms: at_ms, ..PairFlow::default() };
        let pair = self.pairs.get_or_insert_with(key, at_ms, fresh);
        let mut is_call = false;
        match seen.event {
            ConversationEvent::Began => {
                pair.last_ms = pair.last_ms.max(at_ms);
                if is_probe(seen) {
                    let hash = self.hasher.hash_one(seen.destination);
                    device.asked_fast.insert(at_ms, hash);
                    device.asked_medium.insert(at_ms, hash);
                }
                is_call = pair.gaps.start(at_ms);
                pair.calls = pair.calls.saturating_add(u32::from(is_call));
            }
            ConversationEvent::Carried { sent_bytes, received_bytes, sent_packets } => {
                pair.carry(at_ms, sent_bytes, received_bytes, sent_packets);
                device.sent(at_ms, pair.sent_kib_10min(at_ms));
            }
        }
        PairView { pair, device, is_call, devices: destination.devices.estimate(at_ms) }
    }

    /// Counts a pair among the regular ones of its device, once.
    pub fn regular(&mut self, seen: &ConversationObservation, at_ms: u64) {
        let hash = self.hasher.hash_one((seen.destination, seen.port));
        if let Some(device) = self.devices.get_mut(seen.source) {
            device.regular.insert(at_ms, hash);
        }
    }

    /// How many pairs are in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many pairs, devices and destinations had to make room.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.pairs.evicted() + self.devices.evicted() + self.destinations.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(device: u8, destination: u32, at_ms: u64) -> ConversationObservation {
        ConversationObservation {
            at_ms,
            source: IpAddr::from([10, 0, 0, device]),
            destination: IpAddr::V4(destination.into()),
            port: 443,
            transport: Transport::Tcp,
            event: ConversationEvent::Began,
        }
    }

    #[test]
    fn the_tables_stay_within_their_stated_memory() {
        use std::mem::size_of;
        let slot = 24;
        let pair = size_of::<PairKey>() + size_of::<PairFlow>() + slot;
        let destination = size_of::<IpAddr>() + size_of::<Destination>() + slot;
        let device = size_of::<IpAddr>() + size_of::<Device>() + slot;
        let worst = (pair + destination) * PairTable::LIMIT + device * PairTable::DEVICES;
        assert!(worst <= 4_400_000, "{pair} bytes a pair, {worst} in all");
    }

    #[test]
    fn a_habit_outlives_a_flood_of_other_destinations() {
        let mut table = PairTable::new(5);
        let mut calls = 0;
        for minute in 0..60_u64 {
            calls = table.observe(&began(7, 1, 1_000 + minute * 60_000), 1_000 + minute * 60_000).pair.calls;
            for n in 0..2_000_u32 {
                let at_ms = 2_000 + minute * 60_000 + u64::from(n);
                table.observe(&began(8, 1_000 + n + minute as u32 * 2_000, at_ms), at_ms);
            }
        }
        assert_eq!((calls, table.len()), (60, PairTable::LIMIT));
        assert!(table.evicted() > 100_000);
    }

    #[test]
    fn who_knows_a_destination_and_what_is_usual_are_counted_by_device() {
        let mut table = PairTable::new(5);
        for device in 1..=5 {
            table.observe(&began(device, 9, 1_000), 1_000);
        }
        assert_eq!(table.observe(&began(1, 9, 2_000), 2_000).devices, 5);
        let carried = |at_ms: u64, mib: u64| ConversationObservation {
            event: ConversationEvent::Carried { sent_bytes: mib << 20, received_bytes: 0, sent_packets: mib },
            ..began(1, 9, at_ms)
        };
        let usual = |table: &mut PairTable, at_ms, mib| {
            let view = table.observe(&carried(at_ms, mib), at_ms);
            (view.pair.sent_kib_10min(at_ms) >> 10, view.device.usual_kib() >> 10)
        };
        assert_eq!(usual(&mut table, 10_000, 40), (40, 0), "the running ten minutes are not what is usual");
        assert_eq!(usual(&mut table, 20_000, 10), (50, 0));
        assert_eq!(usual(&mut table, 1_300_000, 200), (200, 50));
    }
}
