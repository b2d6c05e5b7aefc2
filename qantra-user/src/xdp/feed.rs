//! Enters: ranges of listed addresses. Leaves: the tables of one generation, put in force in one step, and what feeds
//! stopped. It must never change a table that the kernel may be reading.
//!
//! A generation's tables are made aside and filled through mmap(2). Then one word says that they are in force. The old
//! ones go after a grace period: the kernel waits for every running program when a map of maps is written.

use std::{
    collections::HashMap,
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya::{
    maps::{Array, Map, MapData},
    util::nr_cpus,
};
use libbpf_sys as bpf;
use qantra_common::{
    feed::{self, Block, Cell, FeedHead, FeedState},
    map::{self, Counter, FEED_HIT_PLACES, FEED_HITS_OLD_MAX, FeedHits},
    packet::Address,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::{XdpError, events::ip_of, feed_table::FeedTables, link::check};
use crate::enforce::{AddressRanges, FeedHit, PlaneError};

/// The maps of feeds.
pub(super) struct FeedMaps {
    state: Array<MapData, FeedState>,
    blocks: MapData,
    leaves: MapData,
    filter: MapData,
    cells: MapData,
}

impl FeedMaps {
    pub(super) fn new(state: Map, blocks: Map, leaves: Map, filter: Map, cells: Map) -> Result<Self, XdpError> {
        let outer = |map: Map, name: &'static str| match map {
            Map::ArrayOfMaps(data) => Ok(data),
            _ => Err(XdpError::map(name)(aya::maps::MapError::InvalidMapType { map_type: 0 })),
        };
        Ok(Self {
            state: state.try_into().map_err(XdpError::map(map::FEED_STATE))?,
            blocks: outer(blocks, map::FEED_BLOCKS)?,
            leaves: outer(leaves, map::FEED_LEAVES)?,
            filter: outer(filter, map::FEED_FILTER_V6)?,
            cells: outer(cells, map::FEED_CELLS)?,
        })
    }

    /// Puts other lists in force. Returns the bytes of kernel memory that they take.
    pub(super) fn replace(&mut self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError> {
        let seed = rand::random();
        let sources = FilledTables::make(FeedTables::build(inbound, seed))?;
        let destinations =
            if inbound == outbound { None } else { Some(FilledTables::make(FeedTables::build(outbound, seed))?) };
        let bytes = sources.bytes + destinations.as_ref().map_or(0, |tables| tables.bytes);
        let mut state = self.state.get(&0, 0).map_err(|error| failed(io::Error::other(error)))?;
        let (old, new) = (state.generation & 1, 1 - (state.generation & 1));
        let new_tables = [(false, &sources), (true, destinations.as_ref().unwrap_or(&sources))];
        for (is_destination, tables) in new_tables {
            let slot = feed::table_slot(new, is_destination);
            // Not empty only when an exchange was cut short.
            self.clear(slot)?;
            self.put(slot, tables)?;
            state.heads[slot as usize] = tables.head;
        }
        // Heads first: those of the generation in force do not change.
        self.publish(state)?;
        state.generation = new;
        self.publish(state)?;
        // Written again for the wait alone: no program that read the old generation runs any more when this returns.
        // With nothing listed there is no address that could slip through.
        for (is_destination, tables) in new_tables {
            if let Some((outer, inner)) = self.pairs(tables).into_iter().find(|(_, inner)| inner.is_some()) {
                set_inner(outer, feed::table_slot(new, is_destination), inner.as_ref())?;
                break;
            }
        }
        for is_destination in [false, true] {
            self.clear(feed::table_slot(old, is_destination))?;
        }
        Ok(bytes)
    }

    fn publish(&mut self, state: FeedState) -> Result<(), PlaneError> {
        self.state.set(0, state, 0).map_err(|error| failed(io::Error::other(error)))
    }

    /// Empties a place. Each write to a map of maps waits for a grace period, so what is empty is left alone.
    fn clear(&self, slot: u32) -> Result<(), PlaneError> {
        for outer in [&self.blocks, &self.leaves, &self.filter, &self.cells] {
            if has_inner(outer, slot)? {
                set_inner(outer, slot, None)?;
            }
        }
        Ok(())
    }

    fn pairs<'a>(&'a self, tables: &'a FilledTables) -> [(&'a MapData, &'a Option<OwnedFd>); 4] {
        [
            (&self.blocks, &tables.blocks),
            (&self.leaves, &tables.leaves),
            (&self.filter, &tables.filter),
            (&self.cells, &tables.cells),
        ]
    }

    /// The place was emptied before.
    fn put(&self, slot: u32, tables: &FilledTables) -> Result<(), PlaneError> {
        for (outer, inner) in self.pairs(tables).into_iter().filter(|(_, inner)| inner.is_some()) {
            set_inner(outer, slot, inner.as_ref())?;
        }
        Ok(())
    }
}

fn failed(source: io::Error) -> PlaneError {
    PlaneError::Map { what: "feeds", source }
}

/// One direction's tables, in kernel memory.
struct FilledTables {
    head: FeedHead,
    blocks: Option<OwnedFd>,
    leaves: Option<OwnedFd>,
    filter: Option<OwnedFd>,
    cells: Option<OwnedFd>,
    bytes: u64,
}

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`: of any size.
const ANY_SIZE: u32 = 1 << 12;

impl FilledTables {
    fn make(tables: FeedTables) -> Result<Self, PlaneError> {
        // IPv4 without a partly listed /24 has no leaf, and a map has at least one entry.
        let leaves = if tables.blocks.is_empty() { &[] } else { &tables.leaves[..] };
        let no_leaf = [0_u64];
        let leaves = if leaves.is_empty() && !tables.blocks.is_empty() { &no_leaf } else { leaves };
        Ok(Self {
            head: tables.head,
            bytes: tables.bytes(),
            blocks: fill::<Block>(c"FEED_BLOCKS_in", MMAPABLE, &tables.blocks).map_err(failed)?,
            leaves: fill::<u64>(c"FEED_LEAVES_in", MMAPABLE | ANY_SIZE, leaves).map_err(failed)?,
            filter: fill::<u64>(c"FEED_FILTER_in", MMAPABLE, &tables.filter).map_err(failed)?,
            cells: fill::<Cell>(c"FEED_CELLS_in", MMAPABLE | ANY_SIZE, &tables.cells).map_err(failed)?,
        })
    }
}

/// Makes an array map of these values; none for no values.
fn fill<T: IntoBytes + Immutable>(name: &CStr, flags: u32, values: &[T]) -> io::Result<Option<OwnedFd>> {
    if values.is_empty() {
        return Ok(None);
    }
    let entries = u32::try_from(values.len()).map_err(io::Error::other)?;
    let options = bpf::bpf_map_create_opts {
        sz: size_of::<bpf::bpf_map_create_opts>() as _,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: name and options live through the call, and the options say their own size.
    let fd = unsafe {
        bpf::bpf_map_create(bpf::BPF_MAP_TYPE_ARRAY, name.as_ptr(), 4, size_of::<T>() as u32, entries, &options)
    };
    check(fd)?;
    // SAFETY: the call just returned this descriptor, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    write_mapped(fd.as_fd(), values.as_bytes())?;
    Ok(Some(fd))
}

/// Copies bytes into an array map: values of a multiple of eight bytes lie there without gaps.
fn write_mapped(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes.len(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is that long and nobody else's; no program has the map yet. It is not used after it is undone.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), address.cast::<u8>(), bytes.len());
        libc::munmap(address, bytes.len());
    }
    Ok(())
}

/// Whether a map stands in a place of a map of maps.
fn has_inner(outer: &MapData, slot: u32) -> Result<bool, PlaneError> {
    let mut id = 0_u32;
    let outer = outer.fd().as_fd().as_raw_fd();
    // SAFETY: an open descriptor; key and value are four bytes each, as in every map of maps.
    match check(unsafe { bpf::bpf_map_lookup_elem(outer, (&raw const slot).cast(), (&raw mut id).cast()) }) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Puts a map into a place of a map of maps, or nothing.
fn set_inner(outer: &MapData, slot: u32, inner: Option<&OwnedFd>) -> Result<(), PlaneError> {
    let outer = outer.fd().as_fd().as_raw_fd();
    let result = match inner {
        Some(inner) => {
            let inner = inner.as_raw_fd();
            // SAFETY: open descriptors; key and value are four bytes each, as in every map of maps.
            check(unsafe { bpf::bpf_map_update_elem(outer, (&raw const slot).cast(), (&raw const inner).cast(), 0) })
        }
        // SAFETY: as above.
        None => match check(unsafe { bpf::bpf_map_delete_elem(outer, (&raw const slot).cast()) }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        },
    };
    result.map_err(failed)
}

/// Reads what feeds stopped, as differences.
pub(super) struct FeedHitReader {
    hits: MapData,
    old: MapData,
    /// By CPU and place, as read last.
    seen: Vec<FeedHits>,
    read: Vec<FeedHits>,
    cpus: usize,
    /// What was told of an address whose own count is still on its way from [`map::FEED_HITS_OLD`].
    ahead: HashMap<Address, Counter>,
}

impl FeedHitReader {
    pub(super) fn new(hits: Map, old: Map) -> Result<Self, XdpError> {
        let wrong = |name| XdpError::map(name)(aya::maps::MapError::InvalidMapType { map_type: 0 });
        let Map::PerCpuArray(hits) = hits else { return Err(wrong(map::FEED_HITS)) };
        let Map::LruHashMap(old) = old else { return Err(wrong(map::FEED_HITS_OLD)) };
        let cpus = nr_cpus().map_err(|(call, source)| XdpError::Call { call, source })?;
        let empty = vec![FeedHits::new_zeroed(); cpus * FEED_HIT_PLACES as usize];
        Ok(Self { hits, old, seen: empty.clone(), read: empty, cpus, ahead: HashMap::new() })
    }

    /// What was stopped since the last call.
    pub(super) fn take(&mut self) -> Result<Vec<FeedHit>, PlaneError> {
        let mut fresh: HashMap<Address, (i64, i64)> = HashMap::new();
        let mut add = |address: Address, dropped: Counter, sign: i64| {
            let entry = fresh.entry(address).or_default();
            entry.0 += sign * dropped.packets.cast_signed();
            entry.1 += sign * dropped.bytes.cast_signed();
        };
        for (address, dropped) in self.ahead.drain() {
            add(address, dropped, -1);
        }
        // Before the places: what leaves a place in between comes with the next call.
        drain_old(&self.old, |address, dropped| add(address, dropped, 1)).map_err(failed)?;
        self.read_places().map_err(failed)?;
        for (now, before) in self.read.iter().zip(&self.seen) {
            if before.dropped.packets != 0 {
                add(before.address, before.dropped, -1);
            }
            if now.dropped.packets != 0 {
                add(now.address, now.dropped, 1);
            }
        }
        std::mem::swap(&mut self.read, &mut self.seen);
        let mut hits = Vec::new();
        for (address, (packets, bytes)) in fresh {
            if packets < 0 {
                let told = Counter { packets: packets.unsigned_abs(), bytes: bytes.min(0).unsigned_abs() };
                self.ahead.insert(address, told);
            } else if packets > 0 {
                hits.push(FeedHit {
                    address: ip_of(address),
                    packets: packets.unsigned_abs(),
                    bytes: bytes.max(0).unsigned_abs(),
                });
            }
        }
        Ok(hits)
    }

    fn read_places(&mut self) -> io::Result<()> {
        let mut keys = vec![0_u32; FEED_HIT_PLACES as usize];
        let mut position = 0_u32;
        let mut count = FEED_HIT_PLACES;
        // SAFETY: there is room for so many keys, and for so many values on each CPU; values are a multiple of eight bytes.
        let result = unsafe {
            bpf::bpf_map_lookup_batch(
                self.hits.fd().as_fd().as_raw_fd(),
                std::ptr::null_mut(),
                (&raw mut position).cast(),
                keys.as_mut_ptr().cast(),
                self.read.as_mut_ptr().cast(),
                &raw mut count,
                std::ptr::null(),
            )
        };
        debug_assert_eq!(self.read.len(), self.cpus * keys.len());
        match check(result) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Takes every entry out of the table of what lost its place.
fn drain_old(map: &MapData, mut each: impl FnMut(Address, Counter)) -> io::Result<()> {
    let mut keys = vec![Address::NONE; FEED_HITS_OLD_MAX as usize];
    let mut values = vec![Counter::default(); FEED_HITS_OLD_MAX as usize];
    let (mut position, mut count) = (0_u32, FEED_HITS_OLD_MAX);
    // SAFETY: there is room for as many entries as the table holds; the cursor of a hash table is four bytes.
    let result = unsafe {
        bpf::bpf_map_lookup_and_delete_batch(
            map.fd().as_fd().as_raw_fd(),
            std::ptr::null_mut(),
            (&raw mut position).cast(),
            keys.as_mut_ptr().cast(),
            values.as_mut_ptr().cast(),
            &raw mut count,
            std::ptr::null(),
        )
    };
    match check(result) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for (address, dropped) in keys.into_iter().zip(values).take(count as usize) {
        each(address, dropped);
    }
    Ok(())
}
