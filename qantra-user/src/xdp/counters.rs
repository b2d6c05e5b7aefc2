//! Enters: the kernel's per-CPU interface table. Leaves: verdict counters by interface, summed. It must never reset a
//! counter of an interface that is still watched: Prometheus wants them to grow.

use aya::{
    maps::{Array, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use ipnet::IpNet;
use qantra_common::{
    Verdict,
    map::{
        self, CHECK_LIMITS, CHECK_SOURCE, INTERFACE_PLACES, INTERFACE_PROBES, INTERFACES_MAX, IS_LOOPBACK, Interface,
        InterfaceCounters, LAN_NETWORKS_MAX, LanNetworks, ROLE_LAN, ROLE_WAN,
    },
    source::CpuState,
};

use super::{XdpError, interface::Found};
use crate::config::Role;

/// How often one verdict happened on one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictCount {
    /// The interface's name.
    pub interface: String,
    /// On which side of the box it is.
    pub role: Role,
    /// The verdict.
    pub verdict: Verdict,
    /// Packets; below GRO, the segments that were merged.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

/// What the kernel half could not do for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KernelLosses {
    /// Events that found the ring buffer full.
    pub events: u64,
    /// Packets whose source could not be counted.
    pub sources: u64,
    /// Packets of sources that the sketch alone counted: too many at once, and each of them too quiet.
    pub sketched: u64,
}

/// The interface table and its counters.
pub(super) struct InterfaceTable {
    places: Array<MapData, Interface>,
    counters: PerCpuArray<MapData, InterfaceCounters>,
    lan: Array<MapData, LanNetworks>,
    cpus: PerCpuArray<MapData, CpuState>,
    watched: Vec<Watched>,
}

#[derive(Debug, Clone)]
struct Watched {
    ifindex: u32,
    name: String,
    role: Role,
    counters: u32,
}

impl InterfaceTable {
    pub(super) fn new(places: Map, counters: Map, lan: Map, cpus: Map) -> Result<Self, XdpError> {
        Ok(Self {
            places: places.try_into().map_err(XdpError::map(map::INTERFACES))?,
            counters: counters.try_into().map_err(XdpError::map(map::COUNTERS))?,
            lan: lan.try_into().map_err(XdpError::map(map::LAN_NETWORKS))?,
            cpus: cpus.try_into().map_err(XdpError::map(map::CPU_STATE))?,
            watched: Vec::new(),
        })
    }

    /// Watches exactly these interfaces; counters of those that were watched before go on.
    pub(super) fn watch(&mut self, interfaces: &[Found]) -> Result<(), XdpError> {
        self.set_lan(interfaces.iter().filter(|i| i.role == Role::Lan).flat_map(|i| &i.networks))?;
        for place in 0..INTERFACE_PLACES {
            let entry = self.place(place)?;
            if entry.ifindex != 0 && interfaces.iter().all(|i| i.ifindex != entry.ifindex) {
                self.set_place(place, Interface::default())?;
            }
        }
        self.watched.clear();
        for interface in interfaces {
            let mut flags = if interface.role == Role::Wan { CHECK_LIMITS } else { 0 };
            flags |= if interface.check_sources { CHECK_SOURCE } else { 0 };
            flags |= if interface.is_loopback { IS_LOOPBACK } else { 0 };
            self.enter(interface.ifindex, interface.name.clone(), interface.role, flags)?;
        }
        Ok(())
    }

    /// Watches one more interface, of which only the index is known.
    pub(super) fn watch_index(&mut self, ifindex: u32, role: Role, lan: Option<&[IpNet]>) -> Result<(), XdpError> {
        self.watched.retain(|watched| watched.ifindex != ifindex);
        let flags = CHECK_LIMITS | if lan.is_some() { CHECK_SOURCE } else { 0 };
        self.set_lan(lan.unwrap_or_default().iter())?;
        self.enter(ifindex, format!("#{ifindex}"), role, flags)
    }

    /// Enters an interface, or changes what is known of it; its counters go on.
    fn enter(&mut self, ifindex: u32, name: String, role: Role, flags: u32) -> Result<(), XdpError> {
        let places = (0..INTERFACE_PROBES).map(|probe| (ifindex + probe) & (INTERFACE_PLACES - 1));
        let mut free = None;
        let mut found = None;
        for place in places {
            let entry = self.place(place)?;
            if entry.ifindex == ifindex {
                found = Some((place, entry));
            } else if entry.ifindex == 0 && free.is_none() {
                free = Some(place);
            }
        }
        let (place, counters) = match (found, free) {
            (Some((place, entry)), _) => (place, entry.counters),
            (None, Some(place)) => (place, self.free_counters(&name)?),
            (None, None) => return Err(XdpError::TooManyInterfaces { name }),
        };
        let bits = match role {
            Role::Wan => ROLE_WAN,
            Role::Lan => ROLE_LAN,
        };
        self.set_place(place, Interface { ifindex, role: bits, flags, counters })?;
        self.watched.push(Watched { ifindex, name, role, counters });
        Ok(())
    }

    /// Counters that no interface has, set to zero.
    fn free_counters(&mut self, name: &str) -> Result<u32, XdpError> {
        let mut used = Vec::new();
        for place in 0..INTERFACE_PLACES {
            let entry = self.place(place)?;
            if entry.ifindex != 0 {
                used.push(entry.counters);
            }
        }
        let free = (0..INTERFACES_MAX).find(|counters| !used.contains(counters));
        let free = free.ok_or_else(|| XdpError::TooManyInterfaces { name: name.to_owned() })?;
        let cpus = nr_cpus().map_err(|(call, source)| XdpError::Call { call, source })?;
        let zeros = PerCpuValues::try_from(vec![InterfaceCounters::NONE; cpus])
            .map_err(|source| XdpError::Call { call: "per-CPU values", source })?;
        self.counters.set(free, zeros, 0).map_err(XdpError::map(map::COUNTERS))?;
        Ok(free)
    }

    /// Tells the kernel which networks are on the LAN side.
    fn set_lan<'a>(&mut self, networks: impl Iterator<Item = &'a IpNet>) -> Result<(), XdpError> {
        let mut lan = LanNetworks::default();
        for net in networks {
            match net {
                IpNet::V4(v4) if (lan.v4_count as usize) < LAN_NETWORKS_MAX => {
                    let words = [v4.network(), v4.netmask()].map(|address| u32::from_ne_bytes(address.octets()));
                    lan.v4[lan.v4_count as usize] = words;
                    lan.v4_count += 1;
                }
                IpNet::V6(v6) if (lan.v6_count as usize) < LAN_NETWORKS_MAX => {
                    let upper = |address: std::net::Ipv6Addr| ((u128::from(address) >> 64) as u64).to_be();
                    lan.v6[lan.v6_count as usize] = [upper(v6.network()), upper(v6.netmask())];
                    lan.v6_count += 1;
                }
                _ => tracing::warn!(%net, "more LAN networks than can be told apart: sources are not checked"),
            }
        }
        self.lan.set(0, lan, 0).map_err(XdpError::map(map::LAN_NETWORKS))
    }

    fn place(&self, place: u32) -> Result<Interface, XdpError> {
        self.places.get(&place, 0).map_err(XdpError::map(map::INTERFACES))
    }

    fn set_place(&mut self, place: u32, interface: Interface) -> Result<(), XdpError> {
        self.places.set(place, interface, 0).map_err(XdpError::map(map::INTERFACES))
    }

    fn states(&self, watched: &Watched) -> Result<PerCpuValues<InterfaceCounters>, XdpError> {
        self.counters.get(&watched.counters, 0).map_err(XdpError::map(map::COUNTERS))
    }

    pub(super) fn verdicts(&self) -> Result<Vec<VerdictCount>, XdpError> {
        let mut counts = Vec::new();
        for watched in &self.watched {
            let states = self.states(watched)?;
            for slot in 0..Verdict::SLOTS {
                let Some(verdict) = Verdict::from_slot(slot) else { continue };
                let packets = states.iter().map(|state| state.verdicts[slot].packets).sum();
                let bytes = states.iter().map(|state| state.verdicts[slot].bytes).sum();
                if packets > 0 {
                    let (interface, role) = (watched.name.clone(), watched.role);
                    counts.push(VerdictCount { interface, role, verdict, packets, bytes });
                }
            }
        }
        Ok(counts)
    }

    pub(super) fn losses(&self) -> Result<KernelLosses, XdpError> {
        let cpus = self.cpus.get(&0, 0).map_err(XdpError::map(map::CPU_STATE))?;
        let sketched = cpus.iter().map(|cpu| cpu.uncounted).sum();
        let mut losses = KernelLosses { sketched, ..KernelLosses::default() };
        for watched in &self.watched {
            let states = self.states(watched)?;
            losses.events += states.iter().map(|state| state.events_lost).sum::<u64>();
            losses.sources += states.iter().map(|state| state.sources_lost).sum::<u64>();
        }
        Ok(losses)
    }
}
