//! Enters: feeds as ranges. Leaves: sets that are loaded beside those in force and then take their place in one step. It
//! must never leave an address unlisted that is in both the old and the new feeds.
//!
//! Single addresses go into hash sets, ranges into interval sets: a hash is faster to look up, and half the memory. Both
//! generations are in the kernel for a moment, under names that end in `a` and `b`; the swap changes the rules.

use std::{io, net::IpAddr};

use netlink_packet_netfilter::nftables::SetFlags;

use super::{
    Batch, NftPlane, Table,
    bans::following,
    element, failed,
    message::{self, End, Ip, NewSet},
};
use crate::enforce::{AddressRanges, BanHits, FeedHit, FeedHits, FeedPlane, PlaneError};

/// Elements put in by one transaction, until the swap makes them count.
const ELEMENTS_PER_TRANSACTION: usize = 16_384;
/// Listed addresses whose drops are counted at once; packets of more are dropped uncounted.
const HITS_MAX: u32 = 65_536;
/// For how long an address that stopped sending keeps its place among them.
const HIT_TIMEOUT_MS: u64 = 600_000;
/// What an element takes in the kernel, for want of a way to ask (`struct nft_hash_elem`, `struct nft_rbtree_elem`, with
/// key and allocator's rounding).
const BYTES_PER_ADDRESS: u64 = 64;
const BYTES_PER_RANGE: u64 = 2 * 96;

/// One of the two generations of feed sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    A,
    B,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::A, Self::B];

    const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// What a feed set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Addresses,
    Ranges,
}

/// A feed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FeedSet {
    end: End,
    ip: Ip,
    kind: Kind,
    slot: Slot,
}

impl FeedSet {
    fn name(self) -> String {
        let kind = match self.kind {
            Kind::Addresses => "addresses",
            Kind::Ranges => "ranges",
        };
        format!("feed_{}{}_{kind}_{}", self.end.as_str(), self.ip.digit(), self.slot.letter())
    }

    fn all(slot: Slot) -> impl Iterator<Item = Self> {
        End::BOTH.into_iter().flat_map(move |end| {
            Ip::BOTH
                .into_iter()
                .flat_map(move |ip| [Kind::Addresses, Kind::Ranges].map(|kind| Self { end, ip, kind, slot }))
        })
    }
}

/// The chain whose rules look addresses up in feeds.
fn feed_chain(end: End) -> String {
    format!("feed_{}", end.as_str())
}

/// The chain that counts and drops what a feed lists.
fn hit_chain(end: End, ip: Ip) -> String {
    format!("feed_{}{}_hit", end.as_str(), ip.digit())
}

fn hit_set(ip: Ip) -> String {
    format!("feed_hits{}", ip.digit())
}

/// What is always there, behind the protected set: the chains, and the sets of what was stopped.
pub(super) fn make(table: &Table, batch: &mut Batch) {
    for (id, ip) in (100..).zip(Ip::BOTH) {
        let flags = SetFlags::Timeout | SetFlags::Eval;
        let counts = Some(element::counter(&BanHits::default()));
        let set = NewSet { name: &hit_set(ip), ip, flags, limit: Some(HITS_MAX), counts };
        table.add(batch, message::new_set(set, id));
    }
    for end in End::BOTH {
        for ip in Ip::BOTH {
            let chain = hit_chain(end, ip);
            table.add(batch, message::new_chain(&chain));
            let mut note = message::address(ip, end, ip.bits());
            // A rule of its own: when the set of hits is full, it ends there, and the next one drops all the same.
            note.push(message::note_in(&hit_set(ip), HIT_TIMEOUT_MS));
            table.append(batch, message::new_rule(&chain, note));
            table.append(batch, message::new_rule(&chain, vec![message::drop()]));
        }
        table.add(batch, message::new_chain(&feed_chain(end)));
        table.append(batch, message::new_rule(end.as_str(), vec![message::jump(&feed_chain(end))]));
    }
}

/// The feed sets that the rules use, and their generation.
#[derive(Debug, Clone)]
pub(super) struct InForce {
    slot: Slot,
    sets: Vec<FeedSet>,
}

impl Default for InForce {
    fn default() -> Self {
        Self { slot: Slot::B, sets: Vec::new() }
    }
}

/// What an earlier daemon left in force. Sets of a swap that was cut short are removed.
pub(super) fn in_force(table: &mut Table, present: &[String]) -> io::Result<InForce> {
    let mut found = InForce::default();
    for slot in Slot::BOTH {
        for set in FeedSet::all(slot).filter(|set| present.contains(&set.name())) {
            match table.remove_set(set) {
                // A rule refers to it.
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    found.slot = slot;
                    found.sets.push(set);
                }
                done => done?,
            }
        }
    }
    Ok(found)
}

impl FeedPlane for NftPlane {
    fn replace_feeds(&self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError> {
        let mut table = self.0.lock();
        let slot = table.feeds.slot.other();
        let mut loaded = Vec::new();
        let mut bytes = 0;
        let filled =
            [(End::Source, inbound), (End::Destination, outbound)].into_iter().try_for_each(|(end, ranges)| {
                for ip in Ip::BOTH {
                    let (addresses, wide) = split(ip, ranges);
                    bytes += addresses.len() as u64 * BYTES_PER_ADDRESS + wide.len() as u64 * BYTES_PER_RANGE;
                    table.load(FeedSet { end, ip, kind: Kind::Addresses, slot }, addresses, &mut loaded)?;
                    table.load(FeedSet { end, ip, kind: Kind::Ranges, slot }, wide, &mut loaded)?;
                }
                Ok(())
            });
        if let Err(error) = filled.and_then(|()| table.swap(&loaded)) {
            for set in loaded {
                // One that stays takes memory until the next start, and no more.
                let _removed = table.remove_set(set);
            }
            return Err(failed("replacing feeds")(error));
        }
        table.feeds = InForce { slot, sets: loaded };
        Ok(bytes)
    }

    fn take_feed_hits(&self) -> Result<FeedHits, PlaneError> {
        let mut table = self.0.lock();
        let mut hits = FeedHits::default();
        for ip in Ip::BOTH {
            let failed = failed("reading what feeds stopped");
            let elements = table.elements(&hit_set(ip)).map_err(&failed)?;
            if elements.is_empty() {
                continue;
            }
            hits.by_address.extend(elements.iter().map(|element| FeedHit {
                address: element.address,
                packets: element.hits.packets,
                bytes: element.hits.bytes,
            }));
            // What comes between the two is not counted.
            let mut batch = Vec::new();
            table.empty_set(&mut batch, &hit_set(ip));
            table.transact(batch).map_err(&failed)?;
        }
        Ok(hits)
    }
}

/// The addresses of a family that stand alone, and the ranges of more than one: the first address and the last.
fn split(ip: Ip, ranges: &AddressRanges) -> (Vec<IpAddr>, Vec<(IpAddr, IpAddr)>) {
    let v4 = ranges.v4.iter().map(|(first, last)| (IpAddr::V4((*first).into()), IpAddr::V4((*last).into())));
    let v6 = ranges.v6.iter().map(|(first, last)| (IpAddr::V6((*first).into()), IpAddr::V6((*last).into())));
    let (mut addresses, mut wide) = (Vec::new(), Vec::new());
    let mut put = |(first, last): (IpAddr, IpAddr)| {
        if first == last { addresses.push(first) } else { wide.push((first, last)) }
    };
    match ip {
        Ip::V4 => v4.for_each(&mut put),
        Ip::V6 => v6.for_each(&mut put),
    }
    (addresses, wide)
}

/// What a feed set is filled with.
trait Listed {
    fn elements(&self) -> Vec<element::Element>;
}

impl Listed for IpAddr {
    fn elements(&self) -> Vec<element::Element> {
        vec![element::bare(*self)]
    }
}

impl Listed for (IpAddr, IpAddr) {
    fn elements(&self) -> Vec<element::Element> {
        element::range(self.0, following(self.1)).collect()
    }
}

impl Table {
    /// Makes a set that no rule refers to yet, and fills it.
    fn load(&mut self, set: FeedSet, listed: Vec<impl Listed>, loaded: &mut Vec<FeedSet>) -> io::Result<()> {
        if listed.is_empty() {
            return Ok(());
        }
        let name = set.name();
        let (flags, per) = match set.kind {
            Kind::Addresses => (SetFlags::empty(), 1),
            Kind::Ranges => (SetFlags::Interval, 2),
        };
        let limit = u32::try_from(listed.len() * per).ok();
        let mut batch = Vec::new();
        self.add(&mut batch, message::new_set(NewSet { name: &name, ip: set.ip, flags, limit, counts: None }, 1));
        loaded.push(set);
        for chunk in listed.chunks(ELEMENTS_PER_TRANSACTION / per) {
            self.add_elements(&mut batch, &name, chunk.iter().flat_map(Listed::elements).collect());
            self.transact(std::mem::take(&mut batch))?;
        }
        Ok(())
    }

    /// Lets the rules look addresses up in these sets and in no others, and removes those that were in force.
    fn swap(&mut self, sets: &[FeedSet]) -> io::Result<()> {
        let mut batch = Vec::new();
        for end in End::BOTH {
            self.push(&mut batch, message::flush_chain(&feed_chain(end)), 0);
            for set in sets.iter().filter(|set| set.end == end) {
                let mut rule = message::is_ip(set.ip);
                rule.extend(message::address(set.ip, end, set.ip.bits()));
                rule.extend([message::is_in(&set.name()), message::go_to(&hit_chain(end, set.ip))]);
                self.append(&mut batch, message::new_rule(&feed_chain(end), rule));
            }
        }
        for set in &self.feeds.sets {
            self.push(&mut batch, message::delete_set(&set.name()), 0);
        }
        self.transact(batch)
    }

    fn remove_set(&mut self, set: FeedSet) -> io::Result<()> {
        let mut batch = Vec::new();
        self.push(&mut batch, message::delete_set(&set.name()), 0);
        self.transact(batch)
    }
}
