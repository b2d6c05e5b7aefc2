//! Enters: the object file and the checked pin folder. Leaves: loaded programs and typed maps. It must never attach.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, lpm_trie},
    programs::{Program, SchedClassifier, Xdp},
    util::nr_cpus,
};
use parking_lot::Mutex;
use qantra_common::{
    map::{self, Ban},
    source::CPU_SLOTS,
};

use super::{
    BanPlane, EventStream, PinDirs, SourceTable, XdpError,
    abi::ObjectFile,
    adopt::{MapSpec, SET_ASIDE},
    ban_table::PaddedV4,
    cookies::CookieTable,
    counters::InterfaceTable,
    feed::{FeedHitReader, FeedMaps},
    plane::PlaneMaps,
};
use crate::config::KernelConfig;

/// XDP for frames in one buffer.
pub(super) const XDP: &str = "qantra_xdp";
/// XDP for frames in several buffers.
pub(super) const XDP_FRAGS: &str = "qantra_xdp_frags";
/// TCX ingress.
pub(super) const TC: &str = "qantra_tc";

/// The loaded object.
pub(super) struct Object {
    path: PathBuf,
    ebpf: Ebpf,
    /// Why a program is not there, for those that this kernel may refuse.
    refused: Vec<(&'static str, String)>,
}

impl Object {
    /// Loads maps and programs. `specs` have been checked against the pins.
    pub(super) fn load(
        ObjectFile { path, bytes }: ObjectFile,
        config: &KernelConfig,
        dirs: &PinDirs,
        specs: &[MapSpec],
    ) -> Result<Self, XdpError> {
        let mut loader = EbpfLoader::new();
        for spec in specs {
            loader.map_max_entries(spec.name, spec.entries_max).map_pin_path(spec.name, dirs.maps.join(spec.name));
        }
        loader.map_max_entries(map::SOURCES, config.sources_max);
        let cpus = nr_cpus().map_err(|(call, source)| XdpError::Call { call, source })? as u32;
        loader.map_max_entries(map::SOURCE_SLOTS, cpus * CPU_SLOTS);
        let ebpf =
            loader.load(&bytes).map_err(|source| XdpError::Object { path: path.clone(), source: Box::new(source) })?;
        for spec in specs {
            bring_back(&ebpf, dirs, spec.name)?;
        }
        let mut object = Self { path, ebpf, refused: Vec::new() };
        object.load_programs()?;
        Ok(object)
    }

    /// TCX is what every kernel can load; the others may be refused, and the reason is kept for the hook ladder.
    fn load_programs(&mut self) -> Result<(), XdpError> {
        for name in [TC, XDP_FRAGS, XDP] {
            let program =
                self.ebpf.program_mut(name).ok_or_else(|| XdpError::Foreign { path: self.path.clone(), what: name })?;
            let loaded = match program {
                Program::Xdp(xdp) => xdp.load(),
                Program::SchedClassifier(tc) => tc.load(),
                _ => return Err(XdpError::Foreign { path: self.path.clone(), what: name }),
            };
            if loaded.is_ok() {
                let info = match program {
                    Program::Xdp(xdp) => xdp.info(),
                    Program::SchedClassifier(tc) => tc.info(),
                    _ => continue,
                };
                let verified = info.ok().and_then(|info| info.verified_instruction_count());
                tracing::debug!(program = name, verified_instructions = verified, "eBPF program loaded");
            }
            match loaded {
                Ok(()) => {}
                Err(error) if name == XDP_FRAGS => self.refused.push((name, one_line(&error))),
                Err(error) => return Err(XdpError::Program { program: name, reason: one_line(&error) }),
            }
        }
        Ok(())
    }

    /// A loaded program, or why there is none.
    pub(super) fn program(&self, name: &'static str) -> Result<BorrowedFd<'_>, String> {
        if let Some((_, reason)) = self.refused.iter().find(|(refused, _)| *refused == name) {
            return Err(reason.clone());
        }
        let fd = match self.ebpf.program(name) {
            Some(Program::Xdp(program)) => program.fd(),
            Some(Program::SchedClassifier(program)) => program.fd(),
            _ => return Err("not in the object".to_owned()),
        };
        fd.map(|fd| fd.as_fd()).map_err(|error| one_line(&error))
    }

    /// An XDP program by name, for test runs.
    pub(super) fn xdp(&self, name: &str) -> Option<&Xdp> {
        self.ebpf.program(name).and_then(|program| program.try_into().ok())
    }

    /// The TC program, for test runs.
    pub(super) fn tc(&self) -> Option<&SchedClassifier> {
        self.ebpf.program(TC).and_then(|program| program.try_into().ok())
    }

    /// Passes the programs' own log lines on, from a thread that ends with the process. Only `--bpf-log` asks for it.
    pub(super) fn follow_log(&mut self) {
        match aya_log::EbpfLogger::init(&mut self.ebpf) {
            Ok(logger) => {
                let logger = Mutex::new(logger);
                let follow = move || {
                    loop {
                        logger.lock().flush();
                        std::thread::sleep(Duration::from_millis(100));
                    }
                };
                if let Err(error) = std::thread::Builder::new().name("bpf-log".to_owned()).spawn(follow) {
                    tracing::warn!(%error, "no thread for the eBPF programs' log");
                }
            }
            Err(error) => tracing::warn!(%error, "the eBPF programs' log is not readable"),
        }
    }

    fn take(&mut self, name: &'static str) -> Result<Map, XdpError> {
        self.ebpf.take_map(name).ok_or_else(|| XdpError::Foreign { path: self.path.clone(), what: name })
    }

    /// The ban tables; to be taken once.
    pub(super) fn plane(&mut self, config: &KernelConfig) -> Result<BanPlane, XdpError> {
        let feeds = FeedMaps::new(
            self.take(map::FEED_STATE)?,
            self.take(map::FEED_BLOCKS)?,
            self.take(map::FEED_LEAVES)?,
            self.take(map::FEED_FILTER_V6)?,
            self.take(map::FEED_CELLS)?,
        )?;
        let feed_hits = FeedHitReader::new(self.take(map::FEED_HITS)?, self.take(map::FEED_HIT_TURN)?)?;
        let maps = PlaneMaps {
            bans_v4: self.take(map::BANS_V4)?,
            bans_v6: self.take(map::BANS_V6)?,
            bans_v6_64: self.take(map::BANS_V6_64)?,
            prefix_bans_v4: self.take(map::PREFIX_BANS_V4)?,
            prefix_bans_v6: self.take(map::PREFIX_BANS_V6)?,
            protected_v4: self.take(map::PROTECTED_V4)?,
            protected_v6: self.take(map::PROTECTED_V6)?,
            filter: self.take(map::FILTER)?,
            tunables: self.take(map::TUNABLES)?,
        };
        BanPlane::new(maps, feeds, feed_hits, config)
    }

    /// The interface table; to be taken once.
    pub(super) fn interfaces(&mut self) -> Result<InterfaceTable, XdpError> {
        InterfaceTable::new(
            self.take(map::INTERFACES)?,
            self.take(map::COUNTERS)?,
            self.take(map::LAN_NETWORKS)?,
            self.take(map::CPU_STATE)?,
        )
    }

    /// The tables of SYN cookies; to be taken once.
    pub(super) fn cookies(&mut self, config: &KernelConfig) -> Result<CookieTable, XdpError> {
        CookieTable::new(self.take(map::LOCAL_ADDRESSES)?, self.take(map::COOKIE_COUNTS)?, &config.syn_cookies)
    }

    /// The ring buffer; to be taken once.
    pub(super) fn events(&mut self) -> Result<EventStream, XdpError> {
        EventStream::new(self.take(map::EVENTS)?)
    }

    /// The source table; to be taken once.
    pub(super) fn sources(&mut self) -> Result<SourceTable, XdpError> {
        SourceTable::new(self.take(map::SOURCES)?)
    }
}

/// What failed, and the verifier's last word: its whole log would fill a screen, and is in the debug log.
pub(super) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    tracing::debug!(error = ?error, "eBPF program refused");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    let first = text.lines().next().unwrap_or_default().chars().take(200);
    // The very last lines are statistics; the complaint stands above them.
    let is_complaint = |line: &&str| {
        let statistics = ["processed ", "stack depth ", "verification time "];
        !line.is_empty() && statistics.iter().all(|start| !line.starts_with(start))
    };
    let last = text.lines().skip(1).filter(is_complaint).last().unwrap_or_default();
    if last.is_empty() { first.collect() } else { first.chain(" … ".chars()).chain(last.chars().take(200)).collect() }
}

/// Copies the entries of a map that was set aside into its successor, which no program uses yet.
fn bring_back(ebpf: &Ebpf, dirs: &PinDirs, name: &'static str) -> Result<(), XdpError> {
    let aside = dirs.maps.join(format!("{name}{SET_ASIDE}"));
    if !aside.exists() {
        return Ok(());
    }
    let failed = XdpError::map(name);
    let old = MapData::from_pin(&aside).map_err(&failed)?;
    let new = MapData::from_pin(dirs.maps.join(name)).map_err(&failed)?;
    let copied = match ebpf.map(name) {
        Some(Map::HashMap(_)) if name == map::BANS_V4 => copy_exact::<[u8; 4]>(old, new),
        Some(Map::HashMap(_)) if name == map::BANS_V6_64 => copy_exact::<[u8; 8]>(old, new),
        Some(Map::HashMap(_)) => copy_exact::<[u8; 16]>(old, new),
        Some(Map::LpmTrie(_)) if name == map::PREFIX_BANS_V4 => copy_prefixes::<PaddedV4>(old, new),
        Some(Map::LpmTrie(_)) if name == map::PREFIX_BANS_V6 => copy_prefixes::<[u8; 16]>(old, new),
        // The protected set is written anew at each start, and counters may begin anew.
        _ => Ok(()),
    };
    copied.map_err(&failed)?;
    fs::remove_file(&aside).map_err(|source| XdpError::Pin { path: aside, source })
}

/// An entry that is there already is newer.
const NO_EXIST: u64 = 1;

fn is_there(error: &aya::maps::MapError) -> bool {
    matches!(error, aya::maps::MapError::SyscallError(e) if e.io_error.raw_os_error() == Some(libc::EEXIST))
}

fn copy_exact<K: aya::Pod>(old: MapData, new: MapData) -> Result<(), aya::maps::MapError> {
    let old = aya::maps::HashMap::<_, K, Ban>::try_from(Map::HashMap(old))?;
    let mut new = aya::maps::HashMap::<_, K, Ban>::try_from(Map::HashMap(new))?;
    for entry in old.iter() {
        let (key, ban) = entry?;
        new.insert(key, ban, NO_EXIST).or_else(|error| if is_there(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

fn copy_prefixes<K: aya::Pod>(old: MapData, new: MapData) -> Result<(), aya::maps::MapError> {
    let old = lpm_trie::LpmTrie::<_, K, Ban>::try_from(Map::LpmTrie(old))?;
    let mut new = lpm_trie::LpmTrie::<_, K, Ban>::try_from(Map::LpmTrie(new))?;
    for entry in old.iter() {
        let (key, ban) = entry?;
        new.insert(&key, ban, NO_EXIST).or_else(|error| if is_there(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}
