//! Enters: a packet and the interface it came in by. Leaves: the reason when its source cannot be there: its own
//! destination, or on the wrong side of the box (RFC 2827). It must never refuse what a host sends before it has an
//! address.

use qantra_common::{
    DropReason,
    map::{CHECK_SOURCE, IS_LOOPBACK, LAN_NETWORKS_MAX, ROLE_LAN},
    packet::Packet,
};

use crate::{interface::Interface, map::LAN_NETWORKS};

/// The reason to drop a packet because of where its source is.
#[inline(always)]
pub(crate) fn impossible_source(packet: &Packet, interface: &Interface) -> Option<DropReason> {
    if interface.flags & IS_LOOPBACK != 0 {
        return None;
    }
    if packet.source == packet.destination {
        return Some(DropReason::Land);
    }
    if interface.flags & CHECK_SOURCE == 0 || is_local_only(packet) {
        return None;
    }
    (is_of_lan(packet)? != (interface.role == ROLE_LAN)).then_some(DropReason::SpoofedSource)
}

/// Sources without a network: unspecified (DHCP, duplicate address detection) and link-local (RFC 3927, RFC 4291).
#[inline(always)]
fn is_local_only(packet: &Packet) -> bool {
    if packet.is_v6 {
        let upper = packet.source.upper_number();
        return upper >> 54 == 0xfe80 >> 6 || upper | packet.source.lower_number() == 0;
    }
    let address = u32::from_be(packet.source.low());
    address == 0 || address >> 16 == 0xa9fe
}

/// Whether a source is of the LAN; `None` when its networks are not known.
#[inline(always)]
fn is_of_lan(packet: &Packet) -> Option<bool> {
    let networks = LAN_NETWORKS.get(0)?;
    let count = if packet.is_v6 { networks.v6_count } else { networks.v4_count };
    if count == 0 {
        return None;
    }
    for index in 0..LAN_NETWORKS_MAX {
        if index as u32 >= count {
            break;
        }
        let is_inside = if packet.is_v6 {
            let [network, mask] = networks.v6[index];
            packet.source.upper() & mask == network
        } else {
            let [network, mask] = networks.v4[index];
            packet.source.low() & mask == network
        };
        if is_inside {
            return Some(true);
        }
    }
    Some(false)
}
