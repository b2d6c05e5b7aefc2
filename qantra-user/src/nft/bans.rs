//! Enters: bans and the protected set. Leaves: set elements with a timeout and a count each. It must never keep a copy of
//! what the kernel holds: the sets are the truth, also after a restart.

use std::{collections::HashMap, io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetFlags};

use super::{
    Batch, NftPlane, Table, element, failed,
    message::{self, End, Ip, NewSet},
    protected_set,
};
use crate::{
    clock::boot_ns,
    decide::Direction,
    enforce::{BanHits, KernelBan, KernelPlane, PlaneError},
};

/// The set of all bans of one prefix length, by one end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BanSet {
    end: End,
    ip: Ip,
    prefix_len: u8,
}

impl BanSet {
    fn of(net: &IpNet, end: End) -> Self {
        Self { end, ip: Ip::of(net), prefix_len: net.prefix_len() }
    }

    fn name(self) -> String {
        format!("{}{}_{}", self.end.as_str(), self.ip.digit(), self.prefix_len)
    }

    /// The set of that name; `None` for other sets.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (set, prefix_len) = name.split_once('_')?;
        let prefix_len = prefix_len.parse().ok()?;
        let mut sets = End::BOTH.into_iter().flat_map(|end| Ip::BOTH.map(|ip| Self { end, ip, prefix_len }));
        sets.find(|of| set == format!("{}{}", of.end.as_str(), of.ip.digit()) && prefix_len <= of.ip.bits())
    }
}

const fn ends(direction: Direction) -> &'static [End] {
    match direction {
        Direction::Source => &[End::Source],
        Direction::Destination => &[End::Destination],
        Direction::Both => &End::BOTH,
    }
}

/// When a ban was first and last seen to have stopped something, and how much that was then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sighting {
    packets: u64,
    first_boot_ns: u64,
    last_boot_ns: u64,
}

/// What bans of one prefix stopped at both ends.
fn sum(a: BanHits, b: BanHits) -> BanHits {
    let (packets, bytes) = (a.packets.saturating_add(b.packets), a.bytes.saturating_add(b.bytes));
    BanHits { packets, bytes, ..BanHits::default() }
}

impl KernelPlane for NftPlane {
    fn ban(&self, ban: &KernelBan) -> Result<(), PlaneError> {
        let ban = KernelBan { net: ban.net.trunc(), ..*ban };
        let mut table = self.0.lock();
        match table.ban(&ban) {
            // What was there ended on its own between the question and the transaction.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => table.ban(&ban),
            done => done,
        }
        .map_err(|error| table.refused(&ban.net, error))
    }

    fn unban(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let mut table = self.0.lock();
        match table.unban(&net) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => table.unban(&net),
            done => done,
        }
        .map_err(failed("lifting a ban"))
    }

    fn hits(&self, net: IpNet) -> Result<Option<BanHits>, PlaneError> {
        let net = net.trunc();
        let mut table = self.0.lock();
        let found = table.find(&net).map_err(failed("reading what a ban stopped"))?;
        Ok(table.sight(&net, found.into_iter().map(|(_, hits)| hits).reduce(sum)))
    }

    fn bans(&self) -> Result<Vec<KernelBan>, PlaneError> {
        let mut table = self.0.lock();
        let mut bans: HashMap<IpNet, KernelBan> = HashMap::new();
        for set in table.ban_sets.clone() {
            let elements = table.elements(&set.name()).map_err(failed("reading bans"))?;
            for ban in elements.into_iter().filter_map(|element| element.ban(set.prefix_len)) {
                let same = bans.entry(ban.net).or_insert(KernelBan { hits: BanHits::default(), ..ban });
                same.hits = sum(same.hits, ban.hits);
            }
        }
        let seen = |ban: KernelBan, table: &mut Table| KernelBan {
            hits: table.sight(&ban.net, Some(ban.hits)).unwrap_or(ban.hits),
            ..ban
        };
        Ok(bans.into_values().map(|ban| seen(ban, &mut table)).collect())
    }

    fn protect(&self, networks: &[IpNet]) -> Result<(), PlaneError> {
        let mut table = self.0.lock();
        let mut batch = Vec::new();
        for ip in Ip::BOTH {
            let name = protected_set(ip);
            table.empty_set(&mut batch, &name);
            let ranges = ranges(networks.iter().filter(|net| Ip::of(net) == ip));
            let elements = ranges.into_iter().flat_map(|(first, behind)| element::range(first, behind)).collect();
            table.add_elements(&mut batch, &name, elements);
        }
        table.transact(batch).map_err(failed("writing the protected set"))
    }
}

impl Table {
    fn ban(&mut self, ban: &KernelBan) -> io::Result<()> {
        let now_boot_ns = boot_ns();
        let before = self.find(&ban.net)?;
        let mut batch = Vec::new();
        self.take_out(&mut batch, &ban.net, before.iter().map(|(set, _)| *set));
        let mut made = Vec::new();
        for end in ends(ban.direction) {
            let set = BanSet::of(&ban.net, *end);
            if !self.ban_sets.contains(&set) {
                let id = made.len() as u32 + 1;
                self.make_ban_set(&mut batch, set, id);
                made.push(set);
            }
            let hits = before.iter().find(|(old, _)| *old == set).map(|(_, hits)| *hits).unwrap_or_default();
            self.add_elements(&mut batch, &set.name(), vec![element::ban(ban, &hits, now_boot_ns)]);
        }
        self.transact(batch)?;
        self.ban_sets.extend(made);
        Ok(())
    }

    fn unban(&mut self, net: &IpNet) -> io::Result<Option<BanHits>> {
        let before = self.find(net)?;
        let mut batch = Vec::new();
        self.take_out(&mut batch, net, before.iter().map(|(set, _)| *set));
        self.transact(batch)?;
        let hits = self.sight(net, before.into_iter().map(|(_, hits)| hits).reduce(sum));
        self.sightings.remove(net);
        Ok(hits)
    }

    /// Adds when a ban was seen to have stopped something; nftables only counts. Of a ban that is over it is forgotten.
    fn sight(&mut self, net: &IpNet, hits: Option<BanHits>) -> Option<BanHits> {
        let Some(hits) = hits else {
            self.sightings.remove(net);
            return None;
        };
        if hits.packets == 0 {
            return Some(hits);
        }
        let now_boot_ns = boot_ns();
        let fresh = Sighting { packets: 0, first_boot_ns: now_boot_ns, last_boot_ns: now_boot_ns };
        let sighting = self.sightings.entry(*net).or_insert(fresh);
        if sighting.packets != hits.packets {
            *sighting = Sighting { packets: hits.packets, last_boot_ns: now_boot_ns, ..*sighting };
        }
        Some(BanHits { first_boot_ns: sighting.first_boot_ns, last_boot_ns: sighting.last_boot_ns, ..hits })
    }

    /// The sets that hold this very prefix, and what each stopped.
    fn find(&mut self, net: &IpNet) -> io::Result<Vec<(BanSet, BanHits)>> {
        let mut found = Vec::new();
        for set in End::BOTH.map(|end| BanSet::of(net, end)) {
            if self.ban_sets.contains(&set)
                && let Some(element) = self.element(&set.name(), element::bare(net.addr()))?
            {
                found.push((set, element.hits));
            }
        }
        Ok(found)
    }

    fn take_out(&self, batch: &mut Batch, net: &IpNet, sets: impl Iterator<Item = BanSet>) {
        for set in sets {
            let elements = message::of_set(&set.name(), vec![element::bare(net.addr())]);
            self.push(batch, NfTablesMessage::DeleteSetElement(elements), 0);
        }
    }

    /// A set for a prefix length that did not occur before, and the rule that drops what is in it.
    fn make_ban_set(&self, batch: &mut Batch, set: BanSet, id: u32) {
        let name = set.name();
        let is_whole = set.prefix_len == set.ip.bits();
        let limit = if is_whole { self.limits.bans_max } else { self.limits.prefix_bans_max };
        let counts = Some(element::counter(&BanHits::default()));
        let new = NewSet { name: &name, ip: set.ip, flags: SetFlags::Timeout, limit: Some(limit), counts };
        self.add(batch, message::new_set(new, id));
        let mut rule = message::is_ip(set.ip);
        rule.extend(message::address(set.ip, set.end, set.prefix_len));
        rule.extend([message::is_in(&name), message::drop()]);
        self.append(batch, message::new_rule(set.end.as_str(), rule));
    }

    fn refused(&self, net: &IpNet, error: io::Error) -> PlaneError {
        let is_prefix = net.prefix_len() < net.max_prefix_len();
        let (what, limit, key) = match is_prefix {
            false => ("banned addresses", self.limits.bans_max, "bans_max"),
            true => ("banned prefixes", self.limits.prefix_bans_max, "prefix_bans_max"),
        };
        match error.raw_os_error() {
            Some(libc::ENFILE) => PlaneError::Full { what, limit, key },
            _ => failed("banning")(error),
        }
    }
}

/// Prefixes of one family as ranges that neither overlap nor touch: the first address, and the one behind the last.
fn ranges<'a>(networks: impl Iterator<Item = &'a IpNet>) -> Vec<(IpAddr, Option<IpAddr>)> {
    IpNet::aggregate(&networks.map(IpNet::trunc).collect())
        .into_iter()
        .map(|net| (net.network(), following(net.broadcast())))
        .fold(Vec::new(), |mut merged: Vec<(IpAddr, Option<IpAddr>)>, range| {
            match merged.last_mut() {
                Some(last) if last.1 == Some(range.0) => last.1 = range.1,
                _ => merged.push(range),
            }
            merged
        })
}

/// The next address; `None` after the very last.
pub(super) fn following(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| IpAddr::V4(next.into())),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_known_by_its_name() {
        for name in ["source4_32", "source4_0", "destination6_128", "destination4_24", "source6_64"] {
            assert_eq!(BanSet::parse(name).map(BanSet::name).as_deref(), Some(name));
        }
        for name in ["source4_33", "source6_129", "source_4", "protected4", "feed_source4_one_a", "sourceX_4", ""] {
            assert_eq!(BanSet::parse(name), None, "{name}");
        }
    }

    #[test]
    fn prefixes_become_ranges_that_neither_overlap_nor_touch() {
        let nets = ["10.0.0.0/24", "10.0.0.7/32", "10.0.1.0/24", "10.0.2.0/32", "255.0.0.0/8"];
        let nets: Vec<IpNet> = nets.iter().filter_map(|net| net.parse().ok()).collect();
        let found: Vec<String> = ranges(nets.iter())
            .into_iter()
            .map(|(first, behind)| format!("{first}-{}", behind.map(|b| b.to_string()).unwrap_or_default()))
            .collect();
        assert_eq!(found, ["10.0.0.0-10.0.2.1", "255.0.0.0-"]);
    }
}
