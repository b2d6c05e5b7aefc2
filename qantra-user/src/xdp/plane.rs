//! Enters: bans, the protected set, feeds. Leaves: map entries that the kernel compares packets with. It must never keep
//! a copy of what the kernel holds: the map is the truth, also after a restart.

use std::collections::HashSet;

use aya::maps::{Array, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use parking_lot::Mutex;
use qantra_common::{
    cookie::SynCookies,
    map::{Ban, DIRECTION_DESTINATION, DIRECTION_SOURCE, PROTECTED_MAX, Tunables},
};

use super::{
    XdpError,
    ban_table::{AddressBytes, BanTable, Exact, PaddedV4, Prefixes, lpm_key, plane_error},
    feed::{FeedHitReader, FeedMaps},
    filter::Filter,
    tunables,
};
use crate::{
    config::{KernelConfig, LimitsConfig},
    decide::{DecisionId, Direction},
    enforce::{AddressRanges, BanHits, FeedHits, FeedPlane, KernelBan, KernelPlane, PlaneError},
};

/// The maps behind it, as the object gave them.
pub(super) struct PlaneMaps {
    pub(super) bans_v4: Map,
    pub(super) bans_v6: Map,
    pub(super) bans_v6_64: Map,
    pub(super) prefix_bans_v4: Map,
    pub(super) prefix_bans_v6: Map,
    pub(super) protected_v4: Map,
    pub(super) protected_v6: Map,
    pub(super) filter: Map,
    pub(super) tunables: Map,
}

/// The kernel's ban tables, protected set and feeds.
pub struct BanPlane {
    tables: Mutex<Tables>,
    feeds: Mutex<FeedMaps>,
    feed_hits: Mutex<FeedHitReader>,
}

struct Tables {
    bans: [Box<dyn BanTable>; 5],
    protected_v4: LpmTrie<MapData, [u8; 4], u32>,
    protected_v6: LpmTrie<MapData, [u8; 16], u32>,
    filter: Filter,
    tunables: Tunables,
    tunables_map: Array<MapData, Tunables>,
}

impl BanPlane {
    /// Takes the maps over, counts what they hold, and tells the kernel half its tunables.
    pub(super) fn new(
        maps: PlaneMaps,
        feeds: FeedMaps,
        feed_hits: FeedHitReader,
        config: &KernelConfig,
    ) -> Result<Self, XdpError> {
        let fail = |map| XdpError::map(map);
        let (exact, prefixes) = (config.bans_max, config.prefix_bans_max);
        let bans: [Box<dyn BanTable>; 5] = [
            Box::new(Exact::<[u8; 4]>(maps.bans_v4.try_into().map_err(fail("BANS_V4"))?, exact)),
            Box::new(Exact::<[u8; 16]>(maps.bans_v6.try_into().map_err(fail("BANS_V6"))?, exact)),
            Box::new(Exact::<[u8; 8]>(maps.bans_v6_64.try_into().map_err(fail("BANS_V6_64"))?, exact)),
            Box::new(Prefixes::<PaddedV4>(maps.prefix_bans_v4.try_into().map_err(fail("PREFIX_BANS_V4"))?, prefixes)),
            Box::new(Prefixes::<[u8; 16]>(maps.prefix_bans_v6.try_into().map_err(fail("PREFIX_BANS_V6"))?, prefixes)),
        ];
        let mut tables = Tables {
            bans,
            protected_v4: maps.protected_v4.try_into().map_err(fail("PROTECTED_V4"))?,
            protected_v6: maps.protected_v6.try_into().map_err(fail("PROTECTED_V6"))?,
            filter: Filter::new(maps.filter.try_into().map_err(fail("FILTER"))?),
            tunables: tunables::of(config),
            tunables_map: maps.tunables.try_into().map_err(fail("TUNABLES"))?,
        };
        tables.adopt_filter().map_err(fail("FILTER"))?;
        tables.publish().map_err(fail("TUNABLES"))?;
        Ok(Self { tables: Mutex::new(tables), feeds: Mutex::new(feeds), feed_hits: Mutex::new(feed_hits) })
    }

    /// Changes what fraction of dropped packets is reported: one in `one_in`, rounded up to a power of two; 0: none.
    /// Returns what it was before.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn set_drop_sample(&self, one_in: u32) -> Result<u32, PlaneError> {
        let mut tables = self.tables.lock();
        let before = tunables::drop_sample(&tables.tunables);
        tunables::set_drop_sample(&mut tables.tunables, one_in);
        tables.publish().map_err(|error| plane_error(error, "tunables", 1, "drop_sample"))?;
        Ok(before)
    }

    /// Changes how SYNs are answered.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub(super) fn set_syn_cookies(&self, settings: SynCookies) -> Result<(), PlaneError> {
        let mut tables = self.tables.lock();
        tables.tunables.syn_cookies = settings;
        tables.publish().map_err(|error| plane_error(error, "tunables", 1, "syn_cookies"))
    }

    /// Changes the budgets of sources.
    ///
    /// # Errors
    /// bpf(2) fails.
    pub fn set_limits(&self, limits: &LimitsConfig) -> Result<(), PlaneError> {
        let mut tables = self.tables.lock();
        tables.tunables.limits = tunables::limits(limits);
        tables.publish().map_err(|error| plane_error(error, "tunables", 1, "limits"))
    }
}

impl Tables {
    fn publish(&mut self) -> Result<(), MapError> {
        self.tunables_map.set(0, self.tunables, 0)
    }

    /// Sets the bits of every ban and protected prefix that is pinned, and only then clears what nothing stands for.
    fn adopt_filter(&mut self) -> Result<(), MapError> {
        for table in &self.bans {
            for (net, _) in table.all()? {
                self.filter.add_ban(net)?;
            }
        }
        let v4 = self.protected_v4.keys().collect::<Result<Vec<_>, _>>()?;
        let v6 = self.protected_v6.keys().collect::<Result<Vec<_>, _>>()?;
        for net in v4.iter().filter_map(net_of).chain(v6.iter().filter_map(net_of)) {
            self.filter.add_protected(net)?;
        }
        self.filter.clear_strays()
    }
}

/// Which of the five tables a prefix belongs to.
fn table_of(net: IpNet) -> usize {
    match (net, net.prefix_len()) {
        (IpNet::V4(_), 32) => 0,
        (IpNet::V6(_), 128) => 1,
        (IpNet::V6(_), 64) => 2,
        (IpNet::V4(_), _) => 3,
        (IpNet::V6(_), _) => 4,
    }
}

impl KernelPlane for BanPlane {
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError> {
        let net = ban.net.trunc();
        let index = table_of(net);
        let mut tables = self.tables.lock();
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
            // Before the insert: the other way round, the kernel would not look for an entry that is there.
            tables.filter.add_ban(net).map_err(filter_error)?;
        }
        let inserted = tables.bans[index].put(net, entry);
        if inserted.is_err() && old.is_none() {
            tables.filter.remove_ban(net).map_err(filter_error)?;
        }
        inserted.map_err(|error| tables.bans[index].failure(error))
    }

    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let mut tables = self.tables.lock();
        let table = &mut tables.bans[table_of(net)];
        let Some(old) = table.get(net).map_err(|error| table.failure(error))? else { return Ok(None) };
        table.remove(net).map_err(|error| table.failure(error))?;
        tables.filter.remove_ban(net).map_err(filter_error)?;
        Ok(Some(hits_of(&old)))
    }

    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let tables = self.tables.lock();
        let table = &tables.bans[table_of(net)];
        Ok(table.get(net).map_err(|error| table.failure(error))?.map(|ban| hits_of(&ban)))
    }

    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError> {
        let tables = self.tables.lock();
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
        let mut tables = self.tables.lock();
        let v4 = networks.iter().filter(|net| net.addr().is_ipv4()).map(lpm_key).collect::<Vec<_>>();
        let v6 = networks.iter().filter(|net| net.addr().is_ipv6()).map(lpm_key).collect::<Vec<_>>();
        let failure = |error| plane_error(error, "protected prefixes", PROTECTED_MAX, "protect.networks");
        let Tables { protected_v4, protected_v6, filter, .. } = &mut *tables;
        replace_keys(protected_v4, &v4, filter).map_err(failure)?;
        replace_keys(protected_v6, &v6, filter).map_err(failure)
    }
}

impl FeedPlane for BanPlane {
    fn replace_feeds(&self, inbound: &AddressRanges, outbound: &AddressRanges) -> Result<u64, PlaneError> {
        self.feeds.lock().replace(inbound, outbound)
    }

    fn take_feed_hits(&self) -> Result<FeedHits, PlaneError> {
        self.feed_hits.lock().take()
    }
}

fn filter_error(error: MapError) -> PlaneError {
    plane_error(error, "filter bits", qantra_common::filter::WORDS, "bans_max")
}

fn net_of<K: AddressBytes>(key: &Key<K>) -> Option<IpNet> {
    IpNet::new(key.data().address(), u8::try_from(key.prefix_len()).ok()?).ok()
}

/// Adds what is missing, then removes what is no longer wanted.
fn replace_keys<K: AddressBytes>(
    map: &mut LpmTrie<MapData, K, u32>,
    wanted: &[Key<K>],
    filter: &mut Filter,
) -> Result<(), MapError> {
    let same = |key: &Key<K>| (key.prefix_len(), key.data());
    let present = map.keys().collect::<Result<Vec<_>, _>>()?;
    let (had, kept): (HashSet<_>, HashSet<_>) = (present.iter().map(same).collect(), wanted.iter().map(same).collect());
    for key in wanted {
        if !had.contains(&same(key))
            && let Some(net) = net_of(key)
        {
            filter.add_protected(net)?;
        }
        map.insert(key, 1, 0)?;
    }
    for key in present.iter().filter(|key| !kept.contains(&same(key))) {
        map.remove(key)?;
        if let Some(net) = net_of(key) {
            filter.remove_protected(net)?;
        }
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
