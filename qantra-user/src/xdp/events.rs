//! Enters: the ring buffer and the source table. Leaves: records, read by zerocopy and never cast, and the sources'
//! counters of one window, which are taken out of the table by one system call per few thousand. It must never block.

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use aya::maps::{Map, MapData, RingBuf};
use libbpf_sys as bpf;
use qantra_common::{
    event::{DropEvent, KIND_DROP, KIND_SOURCE, SourceReport},
    map::SourceCounters,
    packet::Address,
};
use zerocopy::{FromBytes, FromZeros};

use super::{XdpError, link::check};

/// One record of the ring buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelEvent {
    /// A source crossed a threshold within its window.
    Source(SourceReport),
    /// A dropped packet, sampled.
    Drop(DropEvent),
}

/// The ring buffer. Its descriptor is readable when there is a record.
pub struct EventStream(RingBuf<MapData>);

impl EventStream {
    pub(super) fn new(map: Map) -> Result<Self, XdpError> {
        map.try_into().map(Self).map_err(XdpError::map(qantra_common::map::EVENTS))
    }

    /// The next record; `None` when there is none now. Records of an unknown kind are skipped.
    pub fn next_event(&mut self) -> Option<KernelEvent> {
        loop {
            let item = self.0.next()?;
            let Ok((kind, _)) = u32::read_from_prefix(&item) else { continue };
            let event = match kind {
                KIND_SOURCE => SourceReport::read_from_bytes(&item).ok().map(KernelEvent::Source),
                KIND_DROP => DropEvent::read_from_bytes(&item).ok().map(KernelEvent::Drop),
                _ => None,
            };
            if event.is_some() {
                return event;
            }
        }
    }
}

impl AsFd for EventStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring buffer owns the descriptor for as long as we are borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// The table of sources in their running window.
pub struct SourceTable {
    map: MapData,
    keys: Vec<Address>,
    values: Vec<SourceCounters>,
}

/// Entries taken out by one system call. A hash bucket larger than this would stop the scan; with 65,536 buckets and a
/// seeded hash none comes near.
const BATCH: usize = 2_048;

impl SourceTable {
    pub(super) fn new(map: Map) -> Result<Self, XdpError> {
        let wrong = aya::maps::MapError::InvalidMapType { map_type: 0 };
        let Map::LruHashMap(map) = map else { return Err(XdpError::map(qantra_common::map::SOURCES)(wrong)) };
        let zeroed = (Address::NONE, SourceCounters::new_zeroed());
        Ok(Self { map, keys: vec![zeroed.0; BATCH], values: vec![zeroed.1; BATCH] })
    }

    /// Ends every source's window: hands each out and removes it. Packets that come between may be lost to the count.
    ///
    /// # Errors
    /// bpf(2) fails; what was handed out before stays so.
    pub fn drain(&mut self, mut each: impl FnMut(Address, &SourceCounters)) -> Result<usize, XdpError> {
        let (mut position, mut is_first, mut total) = (0_u32, true, 0);
        loop {
            let mut count = BATCH as u32;
            let start = if is_first { std::ptr::null_mut() } else { (&raw mut position).cast() };
            // SAFETY: keys and values have room for `count` entries of the map's sizes (checked by const assertions in
            // qantra-common and by the loader); `position` is the four bytes a hash map's cursor has.
            let result = unsafe {
                bpf::bpf_map_lookup_and_delete_batch(
                    self.map.fd().as_fd().as_raw_fd(),
                    start,
                    (&raw mut position).cast(),
                    self.keys.as_mut_ptr().cast(),
                    self.values.as_mut_ptr().cast(),
                    &raw mut count,
                    std::ptr::null(),
                )
            };
            let ended = match check(result) {
                Ok(()) => false,
                // The end of the table; `count` entries came with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => true,
                Err(source) => return Err(XdpError::Call { call: "bpf_map_lookup_and_delete_batch", source }),
            };
            for (key, counters) in self.keys.iter().zip(&self.values).take(count as usize) {
                each(*key, counters);
                total += 1;
            }
            if ended {
                return Ok(total);
            }
            is_first = false;
        }
    }
}

/// An address of a map key or event.
#[must_use]
pub fn ip_of(address: Address) -> IpAddr {
    Ipv6Addr::from(address.bytes()).to_canonical()
}
