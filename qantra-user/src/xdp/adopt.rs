//! Enters: the pin folder as an earlier daemon left it. Leaves: a folder whose maps fit this version and this
//! configuration. aya opens a pinned map without a look at its shape, so the look is here. It must never lose a ban.
//!
//! The decision for a pin that does not fit: another type, key or value size is refused, since the bytes would mean
//! something else (a change of layout must raise the ABI version, and so the folder). Another size is a change of
//! configuration: the map is set aside, its entries are copied into the new one before any program uses that, and the old
//! programs go on with the old map until they are replaced.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use aya::maps::{MapInfo, MapType};
use qantra_common::{
    feed::FeedState,
    filter,
    map::{self, Ban, Interface, InterfaceCounters, LanNetworks},
};

use super::{PinDirs, XdpError};
use crate::config::KernelConfig;

/// What a pinned map must look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapSpec {
    pub(super) name: &'static str,
    map_type: MapType,
    key_bytes: u32,
    value_bytes: u32,
    pub(super) entries_max: u32,
}

/// Every map that is pinned.
pub(super) fn specs(config: &KernelConfig) -> [MapSpec; 16] {
    const BAN: u32 = size_of::<Ban>() as u32;
    let spec = |name, map_type, key_bytes, value_bytes, entries_max| MapSpec {
        name,
        map_type,
        key_bytes,
        value_bytes,
        entries_max,
    };
    let (bans, prefixes) = (config.bans_max, config.prefix_bans_max);
    [
        spec(map::BANS_V4, MapType::Hash, 4, BAN, bans),
        spec(map::BANS_V6, MapType::Hash, 16, BAN, bans),
        spec(map::BANS_V6_64, MapType::Hash, 8, BAN, bans),
        spec(map::PREFIX_BANS_V4, MapType::LpmTrie, 12, BAN, prefixes),
        spec(map::PREFIX_BANS_V6, MapType::LpmTrie, 20, BAN, prefixes),
        spec(map::PROTECTED_V4, MapType::LpmTrie, 8, 4, map::PROTECTED_MAX),
        spec(map::PROTECTED_V6, MapType::LpmTrie, 20, 4, map::PROTECTED_MAX),
        spec(map::FILTER, MapType::Array, 4, 8, filter::WORDS),
        spec(map::INTERFACES, MapType::Array, 4, size_of::<Interface>() as u32, map::INTERFACE_PLACES),
        spec(map::COUNTERS, MapType::PerCpuArray, 4, size_of::<InterfaceCounters>() as u32, map::INTERFACES_MAX),
        spec(map::LAN_NETWORKS, MapType::Array, 4, size_of::<LanNetworks>() as u32, 1),
        spec(map::FEED_STATE, MapType::Array, 4, size_of::<FeedState>() as u32, 1),
        spec(map::FEED_BLOCKS, MapType::ArrayOfMaps, 4, 4, 4),
        spec(map::FEED_LEAVES, MapType::ArrayOfMaps, 4, 4, 4),
        spec(map::FEED_FILTER_V6, MapType::ArrayOfMaps, 4, 4, 4),
        spec(map::FEED_CELLS, MapType::ArrayOfMaps, 4, 4, 4),
    ]
}

/// What a pin is renamed to while its entries move to a map of another size.
pub(super) const SET_ASIDE: &str = "_resized";

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Makes the pin folders, and mounts the BPF file system where it usually is if nobody has.
pub(super) fn prepare(dirs: &PinDirs) -> Result<(), XdpError> {
    let mut existing = dirs.root.as_path();
    while !existing.exists() {
        existing = existing.parent().unwrap_or(Path::new("/"));
    }
    let refused = |reason: String| XdpError::NoBpffs { path: dirs.root.clone(), reason };
    let is_bpffs = |path: &Path| rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == BPF_FS_MAGIC);
    if !is_bpffs(existing) {
        let usual = Path::new("/sys/fs/bpf");
        if !dirs.root.starts_with(usual) || !usual.exists() {
            return Err(refused("nothing of that kind is mounted there".to_owned()));
        }
        // SAFETY: NUL-terminated strings; the BPF file system takes no data.
        let result =
            unsafe { libc::mount(c"bpf".as_ptr(), c"/sys/fs/bpf".as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        if result < 0 {
            return Err(refused(format!("mounting it failed: {}", io::Error::last_os_error())));
        }
    }
    if dirs.root.exists() {
        // An earlier daemon may have become another user; the systemd unit leaves no capability to read its pins.
        give(&dirs.root, rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())?;
    }
    for dir in [&dirs.root, &dirs.maps, &dirs.links] {
        let failed = |source| XdpError::Pin { path: dir.clone(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Gives a pin folder and all that is in it to a user and group.
pub(super) fn give(path: &Path, uid: u32, gid: u32) -> Result<(), XdpError> {
    let failed = |source| XdpError::Pin { path: path.to_owned(), source };
    let before = fs::symlink_metadata(path).map_err(failed)?;
    if before.uid() != uid {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(failed)?;
    }
    if before.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            give(&entry.map_err(failed)?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// Refuses pins of another shape, and sets those of another size aside.
pub(super) fn check(dirs: &PinDirs, specs: &[MapSpec]) -> Result<(), XdpError> {
    for spec in specs {
        let path = dirs.maps.join(spec.name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(XdpError::map(spec.name))?;
        let map_type = info.map_type().map_err(XdpError::map(spec.name))?;
        for (what, found, wanted) in [
            ("type", map_type as u32, spec.map_type as u32),
            ("key size", info.key_size(), spec.key_bytes),
            ("value size", info.value_size(), spec.value_bytes),
        ] {
            if found != wanted {
                return Err(XdpError::Incompatible { path, what, found, wanted });
            }
        }
        if info.max_entries() != spec.entries_max {
            let aside = dirs.maps.join(format!("{}{SET_ASIDE}", spec.name));
            // One that is there already is from a start that was cut short: it holds the bans, the other may be half full.
            if aside.exists() {
                fs::remove_file(&path).map_err(|source| XdpError::Pin { path: path.clone(), source })?;
            } else {
                fs::rename(&path, &aside).map_err(|source| XdpError::Pin { path: path.clone(), source })?;
            }
        }
    }
    Ok(())
}
