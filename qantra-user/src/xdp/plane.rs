//! Enters: bans and the protected set. Leaves: map entries that the kernel compares packets with. It must never keep a
//! copy of what the kernel holds: the map is the truth, also after a restart.

use std::{
    collections::HashSet,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use parking_lot::Mutex;
use qantra_common::{
    ABI_VERSION,
    map::{Ban, DIRECTION_DESTINATION, DIRECTION_SOURCE, PROTECTED_MAX, Tunables},
};

use super::XdpError;
use crate::{
    config::KernelConfig,
    decide::{DecisionId, Direction},
    enforce::{BanHits, KernelBan, KernelPlane, PlaneError},
};

/// Port bits at which a source is reported before its window ends: well below what any detector calls a scan.
const REPORT_PORT_BITS: u32 = 16;

/// The maps behind it, as the object gave them.
pub(super) struct PlaneMaps {
    pub(super) bans_v4: Map,
    pub(super) bans_v6: Map,
    pub(super) prefix_bans_v4: Map,
    pub(super) prefix_bans_v6: Map,
    pub(super) protected_v4: Map,
    pub(super) protected_v6: Map,
    pub(super) tunables: Map,
}

/// The kernel's ban tables and protected set.
pub struct BanPlane(Mutex<Tables>);

struct Tables {
    bans: [Box<dyn BanTable>; 4],
    protected_v4: LpmTrie<MapData, [u8; 4], u32>,
    protected_v6: LpmTrie<MapData, [u8; 16], u32>,
    tunables: Tunables,
    tunables_map: Array<MapData, Tunables>,
}

impl BanPlane {
    /// Takes the maps over, counts what they hold, and tells the kernel half its tunables.
    pub(super) fn new(maps: PlaneMaps, config: &KernelConfig) -> Result<Self, XdpError> {
        let fail = |map| XdpError::map(map);
        let (exact, prefixes) = (config.bans_max, config.prefix_bans_max);
        let bans: [Box<dyn BanTable>; 4] = [
            Box::new(Exact::<[u8; 4]>(maps.bans_v4.try_into().map_err(fail("BANS_V4"))?, exact)),
            Box::new(Exact::<[u8; 16]>(maps.bans_v6.try_into().map_err(fail("BANS_V6"))?, exact)),
            Box::new(Prefixes::<[u8; 4]>(maps.prefix_bans_v4.try_into().map_err(fail("PREFIX_BANS_V4"))?, prefixes)),
            Box::new(Prefixes::<[u8; 16]>(maps.prefix_bans_v6.try_into().map_err(fail("PREFIX_BANS_V6"))?, prefixes)),
        ];
        let mut tunables = Tunables {
            abi_version: ABI_VERSION,
            drop_sample: config.drop_sample,
            report_packets: config.report_packets,
            report_port_bits: REPORT_PORT_BITS,
            ..Tunables::default()
        };
        for (index, table) in bans.iter().enumerate() {
            *count(&mut tunables, index) = table.len().map_err(fail("bans"))?;
        }
        let mut tables = Tables {
            bans,
            protected_v4: maps.protected_v4.try_into().map_err(fail("PROTECTED_V4"))?,
            protected_v6: maps.protected_v6.try_into().map_err(fail("PROTECTED_V6"))?,
            tunables,
            tunables_map: maps.tunables.try_into().map_err(fail("TUNABLES"))?,
        };
        tables.publish().map_err(fail("TUNABLES"))?;
        Ok(Self(Mutex::new(tables)))
    }
}

impl Tables {
    fn publish(&mut self) -> Result<(), MapError> {
        self.tunables_map.set(0, self.tunables, 0)
    }
}

/// Which of the four tables a prefix belongs to.
fn table_of(net: IpNet) -> usize {
    let is_prefix = net.prefix_len() < net.max_prefix_len();
    usize::from(net.addr().is_ipv6()) + 2 * usize::from(is_prefix)
}

fn count(tunables: &mut Tunables, table: usize) -> &mut u32 {
    match table {
        0 => &mut tunables.bans_v4,
        1 => &mut tunables.bans_v6,
        2 => &mut tunables.prefix_bans_v4,
        _ => &mut tunables.prefix_bans_v6,
    }
}

impl KernelPlane for BanPlane {
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError> {
        let net = ban.net.trunc();
        let index = table_of(net);
        let mut tables = self.0.lock();
        let table = &tables.bans[index];
        let old = table.get(net).map_err(|error| table.failure(error))?;
        let entry = Ban {
            decision: ban.decision.0,
            expires_boot_ns: ban.expires_boot_ns.unwrap_or(0),
            direction: direction_bits(ban.direction),
            prefix_len: u32::from(net.prefix_len()),
            ..old.unwrap_or_default()
        };
        if old.is_none() {
            // Raised before the insert: the other way round, the kernel could skip a table that is not empty.
            *count(&mut tables.tunables, index) += 1;
            tables.publish().map_err(|error| tables.bans[index].failure(error))?;
        }
        let inserted = tables.bans[index].put(net, entry);
        if inserted.is_err() && old.is_none() {
            *count(&mut tables.tunables, index) -= 1;
            let _still_higher = tables.publish();
        }
        inserted.map_err(|error| tables.bans[index].failure(error))
    }

    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let index = table_of(net);
        let mut tables = self.0.lock();
        let table = &mut tables.bans[index];
        let Some(old) = table.get(net).map_err(|error| table.failure(error))? else { return Ok(None) };
        table.remove(net).map_err(|error| table.failure(error))?;
        let left = count(&mut tables.tunables, index);
        *left = left.saturating_sub(1);
        tables.publish().map_err(|error| tables.bans[index].failure(error))?;
        Ok(Some(hits_of(&old)))
    }

    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let tables = self.0.lock();
        let table = &tables.bans[table_of(net)];
        Ok(table.get(net).map_err(|error| table.failure(error))?.map(|ban| hits_of(&ban)))
    }

    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError> {
        let tables = self.0.lock();
        let mut all = Vec::new();
        for table in &tables.bans {
            for (net, ban) in table.all().map_err(|error| table.failure(error))? {
                all.push(KernelBan {
                    net,
                    direction: direction_of(ban.direction),
                    decision: DecisionId(ban.decision),
                    expires_boot_ns: (ban.expires_boot_ns != 0).then_some(ban.expires_boot_ns),
                    hits: hits_of(&ban),
                });
            }
        }
        Ok(all)
    }

    fn protect(&self, networks: &[IpNet]) -> Result<(), PlaneError> {
        let mut tables = self.0.lock();
        let v4 = networks.iter().filter(|net| net.addr().is_ipv4()).map(lpm_key).collect::<Vec<_>>();
        let v6 = networks.iter().filter(|net| net.addr().is_ipv6()).map(lpm_key).collect::<Vec<_>>();
        let failure = |error| plane_error(error, "protected prefixes", PROTECTED_MAX, "protect.networks");
        replace_keys(&mut tables.protected_v4, &v4).map_err(failure)?;
        replace_keys(&mut tables.protected_v6, &v6).map_err(failure)
    }
}

/// Adds what is missing, then removes what is no longer wanted.
fn replace_keys<K: AddressBytes>(map: &mut LpmTrie<MapData, K, u32>, wanted: &[Key<K>]) -> Result<(), MapError> {
    for key in wanted {
        map.insert(key, 1, 0)?;
    }
    let kept: HashSet<_> = wanted.iter().map(|key| (key.prefix_len(), key.data())).collect();
    let present = map.keys().collect::<Result<Vec<_>, _>>()?;
    for key in present.iter().filter(|key| !kept.contains(&(key.prefix_len(), key.data()))) {
        map.remove(key)?;
    }
    Ok(())
}

const fn direction_bits(direction: Direction) -> u32 {
    match direction {
        Direction::Source => DIRECTION_SOURCE,
        Direction::Destination => DIRECTION_DESTINATION,
        Direction::Both => DIRECTION_SOURCE | DIRECTION_DESTINATION,
    }
}

const fn direction_of(bits: u32) -> Direction {
    match bits {
        DIRECTION_SOURCE => Direction::Source,
        DIRECTION_DESTINATION => Direction::Destination,
        _ => Direction::Both,
    }
}

const fn hits_of(ban: &Ban) -> BanHits {
    BanHits { packets: ban.packets, bytes: ban.bytes, first_boot_ns: ban.first_boot_ns, last_boot_ns: ban.last_boot_ns }
}

/// One of the four ban tables.
trait BanTable: Send {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError>;
    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError>;
    fn remove(&mut self, net: IpNet) -> Result<(), MapError>;
    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError>;
    fn len(&self) -> Result<u32, MapError>;
    fn failure(&self, error: MapError) -> PlaneError;
}

/// Banned addresses, and how many there can be.
struct Exact<K: AddressBytes>(HashMap<MapData, K, Ban>, u32);

/// Banned prefixes, and how many there can be.
struct Prefixes<K: AddressBytes>(LpmTrie<MapData, K, Ban>, u32);

impl<K: AddressBytes> BanTable for Exact<K> {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError> {
        found(self.0.get(&K::of(net.addr()), 0))
    }

    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError> {
        self.0.insert(K::of(net.addr()), ban, 0)
    }

    fn remove(&mut self, net: IpNet) -> Result<(), MapError> {
        self.0.remove(&K::of(net.addr()))
    }

    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError> {
        self.0.iter().map(|entry| entry.map(|(key, ban)| (IpNet::from(key.address()), ban))).collect()
    }

    fn len(&self) -> Result<u32, MapError> {
        self.0.keys().try_fold(0, |count, key| key.map(|_| count + 1))
    }

    fn failure(&self, error: MapError) -> PlaneError {
        plane_error(error, "banned addresses", self.1, "bans_max")
    }
}

impl<K: AddressBytes> BanTable for Prefixes<K> {
    fn get(&self, net: IpNet) -> Result<Option<Ban>, MapError> {
        // The trie answers with the longest prefix that holds the key's; only the very same one counts.
        let ban = found(self.0.get(&lpm_key(&net), 0))?;
        Ok(ban.filter(|ban| ban.prefix_len == u32::from(net.prefix_len())))
    }

    fn put(&mut self, net: IpNet, ban: Ban) -> Result<(), MapError> {
        self.0.insert(&lpm_key(&net), ban, 0)
    }

    fn remove(&mut self, net: IpNet) -> Result<(), MapError> {
        self.0.remove(&lpm_key(&net))
    }

    fn all(&self) -> Result<Vec<(IpNet, Ban)>, MapError> {
        let net = |key: Key<K>| IpNet::new(key.data().address(), key.prefix_len() as u8).ok();
        let entries = self.0.iter().collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().filter_map(|(key, ban)| net(key).map(|net| (net, ban))).collect())
    }

    fn len(&self) -> Result<u32, MapError> {
        self.0.keys().try_fold(0, |count, key| key.map(|_| count + 1))
    }

    fn failure(&self, error: MapError) -> PlaneError {
        plane_error(error, "banned prefixes", self.1, "prefix_bans_max")
    }
}

fn found(result: Result<Ban, MapError>) -> Result<Option<Ban>, MapError> {
    match result {
        Ok(ban) => Ok(Some(ban)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

fn lpm_key<K: AddressBytes>(net: &IpNet) -> Key<K> {
    let net = net.trunc();
    Key::new(u32::from(net.prefix_len()), K::of(net.addr()))
}

fn plane_error(error: MapError, what: &'static str, limit: u32, key: &'static str) -> PlaneError {
    let source = match error {
        MapError::SyscallError(error) => error.io_error,
        error => std::io::Error::other(error),
    };
    match source.raw_os_error() {
        // A full hash map says the first, a full trie the second.
        Some(libc::E2BIG) | Some(libc::ENOSPC) => PlaneError::Full { what, limit, key },
        _ => PlaneError::Map { what, source },
    }
}

/// An address as the bytes of a map key.
trait AddressBytes: aya::Pod + Eq + Hash + Send {
    /// Of an address of the right family; zeros for the other, which the tables' callers rule out.
    fn of(address: IpAddr) -> Self;
    fn address(self) -> IpAddr;
}

impl AddressBytes for [u8; 4] {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(_) => [0; 4],
        }
    }

    fn address(self) -> IpAddr {
        Ipv4Addr::from(self).into()
    }
}

impl AddressBytes for [u8; 16] {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => [0; 16],
            IpAddr::V6(address) => address.octets(),
        }
    }

    fn address(self) -> IpAddr {
        Ipv6Addr::from(self).into()
    }
}
