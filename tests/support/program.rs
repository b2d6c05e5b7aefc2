//! Enters: BPF programs by descriptor, id or instructions. Leaves: their verdict and time on one frame, what the kernel
//! counted of their runs, the memory of their maps, and frames sent by the kernel itself as fast as it can. Qantra's
//! programs and their peers are measured by this same code. It must never be used by what is measured.

#![expect(unsafe_code, reason = "libbpf-sys is C; each call says why it is sound")]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use libbpf_sys as bpf;
use rustix::time::{ClockId, clock_gettime};

/// What a repeated run came to.
#[derive(Debug, Clone, Copy)]
pub struct Timed {
    /// The program's return value.
    pub code: u32,
    /// CPU time of one run in ns, harness included.
    pub ns: f64,
}

/// What the kernel counted of a program's runs while statistics are on: see [`RunStatistics`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Runs {
    /// How often it ran.
    pub count: u64,
    /// How long it ran in all.
    pub ns: u64,
}

/// A program that lets everything pass: what is left of a measurement when the program does nothing.
///
/// # Errors
/// bpf(2) fails.
pub fn empty(kind: Kind) -> Result<OwnedFd> {
    let pass = match kind {
        Kind::Xdp => 2,
        Kind::Tc => -1,
    };
    load(kind, c"empty", &[Op::set(0, pass), Op::EXIT])
}

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A driver's XDP hook.
    Xdp,
    /// TC's classifiers.
    Tc,
}

/// Attaches an XDP program to an interface of the calling thread's namespace, in its driver, until the link is dropped.
///
/// # Errors
/// bpf(2) fails.
pub fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32) -> Result<OwnedFd> {
    let options = bpf::bpf_link_create_opts {
        sz: size_of::<bpf::bpf_link_create_opts>() as _,
        flags: bpf::XDP_FLAGS_DRV_MODE,
        ..Default::default()
    };
    let ifindex = ifindex.cast_signed();
    // SAFETY: the descriptor is open; the options live through the call and say their own size.
    owned(unsafe { bpf::bpf_link_create(program.as_raw_fd(), ifindex, bpf::BPF_XDP, &raw const options) })
        .context("attaching an XDP program")
}

/// Opens a loaded program.
///
/// # Errors
/// There is none of that id.
pub fn by_id(id: u32) -> Result<OwnedFd> {
    // SAFETY: the call takes a number.
    owned(unsafe { bpf::bpf_prog_get_fd_by_id(id) }).with_context(|| format!("BPF program {id}"))
}

/// Runs a frame through a program many times by `BPF_PROG_TEST_RUN`. The time is the calling thread's own: what other
/// threads take of its CPU is not in it.
///
/// # Errors
/// bpf(2) fails.
pub fn repeat(program: BorrowedFd<'_>, frame: &[u8], times: u32) -> Result<Timed> {
    let mut out = vec![0_u8; frame.len() + 256];
    let mut options = bpf::bpf_test_run_opts {
        sz: size_of::<bpf::bpf_test_run_opts>() as _,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        data_out: out.as_mut_ptr().cast(),
        data_size_out: out.len() as u32,
        repeat: times.cast_signed(),
        ..Default::default()
    };
    let before = thread_ns();
    // SAFETY: the descriptor is open; frame, room for the result and options live through the call and say their sizes.
    check(unsafe { bpf::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) })
        .context("BPF_PROG_TEST_RUN")?;
    Ok(Timed { code: options.retval, ns: (thread_ns() - before) as f64 / f64::from(times) })
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Keeps the kernel's run statistics on (they cost some 20 ns a run) until dropped.
#[derive(Debug)]
pub struct RunStatistics(#[expect(dead_code, reason = "open is what keeps them on")] OwnedFd);

impl RunStatistics {
    /// Turns them on.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn begin() -> Result<Self> {
        // SAFETY: the call takes a number.
        owned(unsafe { bpf::bpf_enable_stats(bpf::BPF_STATS_RUN_TIME) }).map(Self).context("BPF_ENABLE_STATS")
    }
}

/// How often and how long a program ran since it was loaded.
///
/// # Errors
/// bpf(2) fails.
pub fn runs(program: BorrowedFd<'_>) -> Result<Runs> {
    let info = info(program, &mut [])?;
    Ok(Runs { count: info.run_cnt, ns: info.run_time_ns })
}

fn info(program: BorrowedFd<'_>, map_ids: &mut [u32]) -> Result<bpf::bpf_prog_info> {
    // SAFETY: a plain structure of integers, for which zero is valid.
    let mut info: bpf::bpf_prog_info = unsafe { std::mem::zeroed() };
    info.nr_map_ids = map_ids.len() as u32;
    info.map_ids = map_ids.as_mut_ptr().addr() as u64;
    let mut length = size_of::<bpf::bpf_prog_info>() as u32;
    // SAFETY: the descriptor is open, the length is the structure's, and there is room for as many ids as it says.
    check(unsafe { bpf::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut length) })
        .context("BPF_OBJ_GET_INFO_BY_FD")?;
    Ok(info)
}

/// Bytes of kernel memory of every map that a program uses, maps inside maps included.
///
/// # Errors
/// bpf(2) fails, or `/proc` does not tell.
pub fn map_memory(program: BorrowedFd<'_>) -> Result<Vec<(String, u64)>> {
    let mut ids = vec![0_u32; 256];
    let used = info(program, &mut ids)?.nr_map_ids as usize;
    let mut memory = Vec::new();
    for id in ids.into_iter().take(used) {
        let (map, info) = map_by_id(id)?;
        // SAFETY: the kernel ends names with a NUL.
        let name = unsafe { CStr::from_ptr(info.name.as_ptr()) }.to_string_lossy().into_owned();
        memory.push((name.clone(), locked_bytes(&map)?));
        let is_outer = matches!(info.type_, bpf::BPF_MAP_TYPE_ARRAY_OF_MAPS | bpf::BPF_MAP_TYPE_HASH_OF_MAPS);
        for key in 0..if is_outer { info.max_entries } else { 0 } {
            let mut inner = 0_u32;
            // SAFETY: key and value are four bytes, as in every map of maps; both live through the call.
            let found =
                unsafe { bpf::bpf_map_lookup_elem(map.as_raw_fd(), (&raw const key).cast(), (&raw mut inner).cast()) };
            if found == 0 && inner != 0 {
                memory.push((format!("{name}[{key}]"), locked_bytes(&map_by_id(inner)?.0)?));
            }
        }
    }
    Ok(memory)
}

fn map_by_id(id: u32) -> Result<(OwnedFd, bpf::bpf_map_info)> {
    // SAFETY: the call takes a number.
    let map = owned(unsafe { bpf::bpf_map_get_fd_by_id(id) }).with_context(|| format!("BPF map {id}"))?;
    // SAFETY: a plain structure of integers, for which zero is valid.
    let mut info: bpf::bpf_map_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<bpf::bpf_map_info>() as u32;
    // SAFETY: the descriptor is open, and the length is the structure's.
    check(unsafe { bpf::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut length) })?;
    Ok((map, info))
}

fn locked_bytes(map: &OwnedFd) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).context("no memlock in a map's fdinfo")
}

/// A program that gives each frame one of some sources, drawn at random, and sends it out of the interface it came from.
/// Run with live frames, it is the fastest sender there is: no socket, no copy, and the receiver sees what a driver
/// would hand it.
#[derive(Debug)]
pub struct Sender {
    program: OwnedFd,
    #[expect(dead_code, reason = "the program reads them")]
    maps: [OwnedFd; 2],
}

impl Sender {
    /// `frames` are Ethernet and IPv4 headers that differ in source and checksum alone; their number is rounded down to a
    /// power of two. One is sent every `interval_ns`; 0: as fast as can be.
    ///
    /// # Errors
    /// bpf(2) fails, or there are none.
    pub fn new<'a>(frames: impl Iterator<Item = &'a [u8]>, interval_ns: u64) -> Result<Self> {
        let mut values: Vec<[u8; 8]> = frames
            .map(|frame| {
                let at = |offset: usize| frame.get(offset).copied().unwrap_or_default();
                [at(26), at(27), at(28), at(29), at(24), at(25), 0, 0]
            })
            .collect();
        values.truncate(1 << values.len().checked_ilog2().context("no source to send from")?);
        let sources = array(&values)?;
        let mut pace = [[0; 8]; 2];
        pace[1] = interval_ns.to_ne_bytes();
        let pace = array(&[pace.concat().try_into().unwrap_or([0; 16])])?;
        let program = load(Kind::Xdp, c"sender", &sender_program(&sources, values.len() as u32 - 1, &pace))?;
        Ok(Self { program, maps: [sources, pace] })
    }

    /// Runs `count` times like `frame` out of an interface of the calling thread's namespace; when it is paced, not every
    /// run sends. Frames for which the other end has no room are lost, as on a wire.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn send(&self, frame: &[u8], ifindex: u32, count: u32) -> Result<()> {
        let context = bpf::xdp_md { data_end: frame.len() as u32, ingress_ifindex: ifindex, ..Default::default() };
        let mut options = bpf::bpf_test_run_opts {
            sz: size_of::<bpf::bpf_test_run_opts>() as _,
            data_in: frame.as_ptr().cast(),
            data_size_in: frame.len() as u32,
            ctx_in: (&raw const context).cast(),
            ctx_size_in: size_of::<bpf::xdp_md>() as u32,
            repeat: count.cast_signed(),
            flags: bpf::BPF_F_TEST_XDP_LIVE_FRAMES,
            batch_size: 64,
            ..Default::default()
        };
        // SAFETY: the descriptor is open; frame, context and options live through the call and say their sizes.
        match check(unsafe { bpf::bpf_prog_test_run_opts(self.program.as_raw_fd(), &raw mut options) }) {
            // Some of them were sent.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result.context("sending live frames"),
        }
    }
}

/// An array map with these values.
fn array<const BYTES: usize>(values: &[[u8; BYTES]]) -> Result<OwnedFd> {
    let count = values.len() as u32;
    // SAFETY: a NUL-terminated name; no options.
    let map = owned(unsafe {
        bpf::bpf_map_create(bpf::BPF_MAP_TYPE_ARRAY, c"sender".as_ptr(), 4, BYTES as u32, count, std::ptr::null())
    })
    .context("BPF_MAP_CREATE")?;
    for (key, value) in (0..count).zip(values) {
        // SAFETY: a key of four bytes and a value of as many as the map was made for; both live through the call.
        check(unsafe { bpf::bpf_map_update_elem(map.as_raw_fd(), (&raw const key).cast(), value.as_ptr().cast(), 0) })?;
    }
    Ok(map)
}

/// Unless it is too early for the next one, `sources[random & mask]` becomes the frame's source and checksum; then `XDP_TX`.
fn sender_program(sources: &OwnedFd, mask: u32, pace: &OwnedFd) -> Vec<Op> {
    const MAP_LOOKUP: i32 = 1;
    const TIME_NS: i32 = 5;
    const RANDOM: i32 = 7;
    const XDP_DROP: i32 = 1;
    const XDP_TX: i32 = 3;
    // A sender that was held up does not make up for more than this: the receiver has room for 256 frames.
    const LATE_NS: i32 = 50_000;
    [
        // r6: the frame, r7: its end, r8: the next time to send and the interval.
        vec![Op::load(4, 6, 1, 0), Op::load(4, 7, 1, 4), Op::store_number(10, -4, 0)],
        vec![Op::copy(2, 10), Op::add(2, -4)],
        Op::map(1, pace.as_raw_fd()).to_vec(),
        vec![Op::call(MAP_LOOKUP), Op::jump_if_zero(0, 31), Op::copy(8, 0)],
        vec![Op::load(8, 1, 8, 8), Op::jump_if_zero(1, 10)],
        vec![Op::call(TIME_NS), Op::load(8, 1, 8, 0), Op::jump_if_above(1, 0, 25), Op::load(8, 2, 8, 8)],
        vec![Op::sum(1, 2), Op::copy(3, 1), Op::add(3, LATE_NS), Op::jump_if_above(3, 0, 1), Op::copy(1, 0)],
        vec![Op::store(8, 8, 0, 1)],
        vec![Op::copy(2, 6), Op::add(2, 34), Op::jump_if_above(2, 7, 15)],
        vec![Op::call(RANDOM), Op::and(0, mask), Op::store(4, 10, -4, 0), Op::copy(2, 10), Op::add(2, -4)],
        Op::map(1, sources.as_raw_fd()).to_vec(),
        vec![Op::call(MAP_LOOKUP), Op::jump_if_zero(0, 6)],
        vec![Op::load(4, 1, 0, 0), Op::store(4, 6, 26, 1), Op::load(2, 1, 0, 4), Op::store(2, 6, 24, 1)],
        vec![Op::set(0, XDP_TX), Op::EXIT],
        vec![Op::set(0, XDP_DROP), Op::EXIT],
    ]
    .concat()
}

/// One BPF instruction (RFC 9669).
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct Op(u64);

impl Op {
    const EXIT: Self = Self(0x95);

    const fn new(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Self {
        let registers = to | from << 4;
        Self(u64::from_le_bytes([
            code,
            registers,
            offset.to_le_bytes()[0],
            offset.to_le_bytes()[1],
            number.to_le_bytes()[0],
            number.to_le_bytes()[1],
            number.to_le_bytes()[2],
            number.to_le_bytes()[3],
        ]))
    }

    const fn set(to: u8, number: i32) -> Self {
        Self::new(0xb7, to, 0, 0, number)
    }

    const fn copy(to: u8, from: u8) -> Self {
        Self::new(0xbf, to, from, 0, 0)
    }

    const fn add(to: u8, number: i32) -> Self {
        Self::new(0x07, to, 0, 0, number)
    }

    const fn sum(to: u8, from: u8) -> Self {
        Self::new(0x0f, to, from, 0, 0)
    }

    const fn and(to: u8, mask: u32) -> Self {
        Self::new(0x57, to, 0, 0, mask.cast_signed())
    }

    const fn call(helper: i32) -> Self {
        Self::new(0x85, 0, 0, 0, helper)
    }

    const fn map(to: u8, fd: i32) -> [Self; 2] {
        [Self::new(0x18, to, 1, 0, fd), Self(0)]
    }

    const fn jump_if_above(left: u8, right: u8, over: i16) -> Self {
        Self::new(0x2d, left, right, over, 0)
    }

    const fn jump_if_zero(register: u8, over: i16) -> Self {
        Self::new(0x15, register, 0, over, 0)
    }

    /// `to = *(from + offset)`, of so many bytes.
    const fn load(bytes: u8, to: u8, from: u8, offset: i16) -> Self {
        Self::new(0x61 | Self::width(bytes), to, from, offset, 0)
    }

    /// `*(to + offset) = from`, of so many bytes.
    const fn store(bytes: u8, to: u8, offset: i16, from: u8) -> Self {
        Self::new(0x63 | Self::width(bytes), to, from, offset, 0)
    }

    /// `*(to + offset) = number`, of four bytes.
    const fn store_number(to: u8, offset: i16, number: i32) -> Self {
        Self::new(0x62, to, 0, offset, number)
    }

    const fn width(bytes: u8) -> u8 {
        match bytes {
            8 => 0x18,
            2 => 0x08,
            _ => 0,
        }
    }
}

fn load(kind: Kind, name: &CStr, program: &[Op]) -> Result<OwnedFd> {
    let program_type = match kind {
        Kind::Xdp => bpf::BPF_PROG_TYPE_XDP,
        Kind::Tc => bpf::BPF_PROG_TYPE_SCHED_CLS,
    };
    // SAFETY: NUL-terminated strings; `Op` has the size and, on little-endian machines, the layout of an instruction.
    owned(unsafe {
        bpf::bpf_prog_load(
            program_type,
            name.as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr().cast(),
            program.len() as _,
            std::ptr::null_mut(),
        )
    })
    .with_context(|| format!("loading BPF program {name:?}"))
}

/// libbpf returns `-errno`.
fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(()) }
}

fn owned(result: i32) -> io::Result<OwnedFd> {
    check(result)?;
    // SAFETY: the call just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}
