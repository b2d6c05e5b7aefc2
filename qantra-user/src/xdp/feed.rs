//! Enters: ranges of listed addresses. Leaves: the tables of one generation, put in force in one step, and what feeds
//! stopped. It must never change a table that the kernel may be reading.
//!
//! A generation's tables are made aside and filled through mmap(2). Then one word says that they are in force. The old
//! ones go after a grace period: the kernel waits for every running program when a map of maps is written.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    thread,
    time::Duration,
};

use aya::{
    maps::{Array, Map, MapData},
    util::nr_cpus,
};
use libbpf_sys as bpf;
use qantra_common::{
    feed::{self, Block, Cell, FeedHead, FeedState},
    map::{self, Counter, FEED_HIT_PLACES, FeedHits},
    packet::Address,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::{XdpError, events::ip_of, feed_table::FeedTables, link::check};
use crate::enforce::{self, AddressRanges, FeedHit, PlaneError};

/// The maps of feeds.
pub(super) struct FeedMaps {
    state: Array<MapData, FeedState>,
    outer: [MapData; 4],
}

impl FeedMaps {
    pub(super) fn new(state: Map, blocks: Map, leaves: Map, filter: Map, cells: Map) -> Result<Self, XdpError> {
        let outer = |map: Map, name: &'static str| match map {
            Map::ArrayOfMaps(data) => Ok(data),
            _ => Err(XdpError::map(name)(aya::maps::MapError::InvalidMapType { map_type: 0 })),
        };
        Ok(Self {
            state: state.try_into().map_err(XdpError::map(map::FEED_STATE))?,
            outer: [
                outer(blocks, map::FEED_BLOCKS)?,
                outer(leaves, map::FEED_LEAVES)?,
                outer(filter, map::FEED_FILTER_V6)?,
                outer(cells, map::FEED_CELLS)?,
            ],
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
        let tables = [&sources, destinations.as_ref().unwrap_or(&sources)];
        // Not empty only when an exchange was cut short.
        clear(&self.outer, new)?;
        let writes = writes(&self.outer, new, tables);
        write_all(&writes)?;
        for (is_destination, tables) in [(false, tables[0]), (true, tables[1])] {
            state.heads[feed::table_slot(new, is_destination) as usize] = tables.head;
        }
        // Heads first: those of the generation in force do not change.
        publish(&mut self.state, state)?;
        state.generation = new;
        publish(&mut self.state, state)?;
        // One written again, for the wait alone: no program that read the old generation runs any more when this returns.
        // With nothing listed there is no address that could slip through.
        if let Some(write) = writes.first() {
            write.run()?;
        }
        clear(&self.outer, old)?;
        Ok(bytes)
    }
}

/// Everything to be written for a generation: tables of sources, then of destinations.
fn writes<'a>(outer: &'a [MapData; 4], generation: u32, tables: [&'a FilledTables; 2]) -> Vec<Write<'a>> {
    let mut writes = Vec::new();
    for (is_destination, tables) in [(false, tables[0]), (true, tables[1])] {
        let slot = feed::table_slot(generation, is_destination);
        let inner = [&tables.blocks, &tables.leaves, &tables.filter, &tables.cells];
        for (outer, inner) in outer.iter().zip(inner).filter(|(_, inner)| inner.is_some()) {
            writes.push(Write { outer, slot, inner: inner.as_ref() });
        }
    }
    writes
}

/// Empties a generation's places; what is empty is left alone.
fn clear(outer: &[MapData; 4], generation: u32) -> Result<(), PlaneError> {
    let mut writes = Vec::new();
    for slot in [false, true].map(|is_destination| feed::table_slot(generation, is_destination)) {
        for outer in outer {
            if has_inner(outer, slot)? {
                writes.push(Write { outer, slot, inner: None });
            }
        }
    }
    write_all(&writes)
}

fn publish(map: &mut Array<MapData, FeedState>, state: FeedState) -> Result<(), PlaneError> {
    map.set(0, state, 0).map_err(|error| failed(io::Error::other(error)))
}

/// A map to be put into a place of a map of maps, or nothing.
#[derive(Clone, Copy)]
struct Write<'a> {
    outer: &'a MapData,
    slot: u32,
    inner: Option<&'a OwnedFd>,
}

/// All at once: the kernel waits for a grace period at each write, and waits that begin together end together.
fn write_all(writes: &[Write<'_>]) -> Result<(), PlaneError> {
    thread::scope(|scope| {
        let running: Vec<_> = writes.iter().map(|write| scope.spawn(|| write.run())).collect();
        let ended = running.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(failed(io::Error::other("a thread that writes a map failed"))))
        });
        ended.fold(Ok(()), Result::and)
    })
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

impl Write<'_> {
    fn run(&self) -> Result<(), PlaneError> {
        let (outer, slot) = (self.outer.fd().as_fd().as_raw_fd(), self.slot);
        let result = match self.inner {
            Some(inner) => {
                let inner = inner.as_raw_fd();
                // SAFETY: open descriptors; key and value are four bytes each, as in every map of maps.
                check(unsafe {
                    bpf::bpf_map_update_elem(outer, (&raw const slot).cast(), (&raw const inner).cast(), 0)
                })
            }
            // SAFETY: as above.
            None => match check(unsafe { bpf::bpf_map_delete_elem(outer, (&raw const slot).cast()) }) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        result.map_err(failed)
    }
}

/// Places of one turn.
const TURN_PLACES: usize = FEED_HIT_PLACES as usize + 1;
/// How long the turn of a half is over before it is read: longer than a program runs. What one that was held up for longer
/// adds is counted with the next turn's.
const LAST_RUNS: Duration = Duration::from_millis(2);

/// Reads what feeds stopped. The kernel counts in one half of the places while the other is read and emptied.
pub(super) struct FeedHitReader {
    hits: MapData,
    turn: Array<MapData, u32>,
    /// By place and CPU.
    read: Vec<FeedHits>,
    cpus: usize,
}

impl FeedHitReader {
    pub(super) fn new(hits: Map, turn: Map) -> Result<Self, XdpError> {
        let Map::PerCpuArray(hits) = hits else {
            return Err(XdpError::map(map::FEED_HITS)(aya::maps::MapError::InvalidMapType { map_type: 0 }));
        };
        let turn = turn.try_into().map_err(XdpError::map(map::FEED_HIT_TURN))?;
        let cpus = nr_cpus().map_err(|(call, source)| XdpError::Call { call, source })?;
        let read = vec![FeedHits::new_zeroed(); cpus * TURN_PLACES];
        Ok(Self { hits, turn, read, cpus })
    }

    /// What was stopped since the last call.
    pub(super) fn take(&mut self) -> Result<enforce::FeedHits, PlaneError> {
        let turn = self.turn.get(&0, 0).map_err(|error| failed(io::Error::other(error)))? & 1;
        self.turn.set(0, 1 - turn, 0).map_err(|error| failed(io::Error::other(error)))?;
        thread::sleep(LAST_RUNS);
        self.read_turn(turn).map_err(failed)?;
        let mut taken = enforce::FeedHits::default();
        for FeedHits { address, dropped: Counter { packets, bytes } } in self.read.iter().copied() {
            if packets == 0 {
                continue;
            }
            if address == Address::NONE {
                taken.other_packets += packets;
                taken.other_bytes += bytes;
            } else {
                taken.by_address.push(FeedHit { address: ip_of(address), packets, bytes });
            }
        }
        if taken.by_address.is_empty() && taken.other_packets == 0 {
            return Ok(taken);
        }
        self.empty_turn(turn).map_err(failed)?;
        Ok(taken)
    }

    fn read_turn(&mut self, turn: u32) -> io::Result<()> {
        let stride = self.cpus;
        for (key, values) in (turn * TURN_PLACES as u32..).zip(self.read.chunks_exact_mut(stride)) {
            // SAFETY: there is room for a value of each CPU; values are a multiple of eight bytes.
            check(unsafe {
                bpf::bpf_map_lookup_elem(
                    self.hits.fd().as_fd().as_raw_fd(),
                    (&raw const key).cast(),
                    values.as_mut_ptr().cast(),
                )
            })?;
        }
        Ok(())
    }

    fn empty_turn(&self, turn: u32) -> io::Result<()> {
        let empty = vec![FeedHits::new_zeroed(); self.cpus];
        for (key, values) in (turn * TURN_PLACES as u32..).zip(self.read.chunks_exact(self.cpus)) {
            if values.iter().all(|hits| hits.dropped.packets == 0) {
                continue;
            }
            // SAFETY: a value for each CPU; values are a multiple of eight bytes.
            check(unsafe {
                bpf::bpf_map_update_elem(
                    self.hits.fd().as_fd().as_raw_fd(),
                    (&raw const key).cast(),
                    empty.as_ptr().cast(),
                    0,
                )
            })?;
        }
        Ok(())
    }
}
