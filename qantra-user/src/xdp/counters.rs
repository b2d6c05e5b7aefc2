//! Enters: the kernel's per-CPU interface table. Leaves: verdict counters by interface, summed. It must never reset a
//! counter of an interface that is still watched: Prometheus wants them to grow.

use aya::{
    maps::{Map, MapData, MapError, PerCpuHashMap, PerCpuValues},
    util::nr_cpus,
};
use qantra_common::{
    Verdict,
    map::{InterfaceState, ROLE_LAN, ROLE_WAN},
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
}

/// The interface table.
pub(super) struct InterfaceTable {
    map: PerCpuHashMap<MapData, u32, InterfaceState>,
    watched: Vec<(u32, String, Role)>,
}

const MAP: &str = qantra_common::map::INTERFACES;

impl InterfaceTable {
    pub(super) fn new(map: Map) -> Result<Self, XdpError> {
        Ok(Self { map: map.try_into().map_err(XdpError::map(MAP))?, watched: Vec::new() })
    }

    /// Watches exactly these interfaces; counters of those that were watched before go on.
    pub(super) fn watch(&mut self, interfaces: &[Found]) -> Result<(), XdpError> {
        let present = self.map.keys().collect::<Result<Vec<_>, _>>().map_err(XdpError::map(MAP))?;
        for ifindex in present.iter().filter(|ifindex| interfaces.iter().all(|i| i.ifindex != **ifindex)) {
            self.map.remove(ifindex).map_err(XdpError::map(MAP))?;
        }
        for interface in interfaces {
            self.set_role(interface.ifindex, interface.role)?;
        }
        self.watched = interfaces.iter().map(|i| (i.ifindex, i.name.clone(), i.role)).collect();
        Ok(())
    }

    /// Watches one more interface, of which only the index is known.
    pub(super) fn watch_index(&mut self, ifindex: u32, role: Role) -> Result<(), XdpError> {
        self.set_role(ifindex, role)?;
        self.watched.retain(|(watched, ..)| *watched != ifindex);
        self.watched.push((ifindex, format!("#{ifindex}"), role));
        Ok(())
    }

    /// Sets a role; counters go on.
    fn set_role(&mut self, ifindex: u32, role: Role) -> Result<(), XdpError> {
        let bits = match role {
            Role::Wan => ROLE_WAN,
            Role::Lan => ROLE_LAN,
        };
        let states = match self.map.get(&ifindex, 0) {
            // Written only on a change: between reading and writing, packets go uncounted.
            Ok(states) if states.iter().all(|state| state.role == bits) => return Ok(()),
            Ok(states) => states.iter().map(|state| InterfaceState { role: bits, ..*state }).collect(),
            Err(MapError::KeyNotFound) => {
                let cpus = nr_cpus().map_err(|(call, source)| XdpError::Call { call, source })?;
                vec![InterfaceState::new(bits); cpus]
            }
            Err(error) => return Err(XdpError::map(MAP)(error)),
        };
        let values =
            PerCpuValues::try_from(states).map_err(|source| XdpError::Call { call: "per-CPU values", source })?;
        self.map.insert(ifindex, values, 0).map_err(XdpError::map(MAP))
    }

    pub(super) fn verdicts(&self) -> Result<Vec<VerdictCount>, XdpError> {
        let mut counts = Vec::new();
        for (ifindex, name, role) in &self.watched {
            let states = self.map.get(ifindex, 0).map_err(XdpError::map(MAP))?;
            for slot in 0..Verdict::SLOTS {
                let Some(verdict) = Verdict::from_slot(slot) else { continue };
                let packets = states.iter().map(|state| state.verdicts[slot].packets).sum();
                let bytes = states.iter().map(|state| state.verdicts[slot].bytes).sum();
                if packets > 0 {
                    counts.push(VerdictCount { interface: name.clone(), role: *role, verdict, packets, bytes });
                }
            }
        }
        Ok(counts)
    }

    pub(super) fn losses(&self) -> Result<KernelLosses, XdpError> {
        let mut losses = KernelLosses::default();
        for (ifindex, ..) in &self.watched {
            let states = self.map.get(ifindex, 0).map_err(XdpError::map(MAP))?;
            losses.events += states.iter().map(|state| u64::from(state.events_lost)).sum::<u64>();
            losses.sources += states.iter().map(|state| state.sources_lost).sum::<u64>();
        }
        Ok(losses)
    }
}
