//! Enters: parsed packets with their time. Leaves: what connection tracking would tell of the conversations that devices of
//! the LAN begin or take part in. It must never hold more of them than its limit.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use qantra_common::packet::{Address, PROTOCOL_TCP, PROTOCOL_UDP, Packet};

use crate::flow::{ConversationEvent, ConversationObservation, MINUTE_MS, SECOND_MS, Transport};

/// Most conversations at once; what begins when it is full is not seen, as by a kernel whose table is.
const CONVERSATIONS_MAX: usize = 65_536;
/// How often those that ended by silence are looked for.
const SWEEP_MS: u64 = 10 * SECOND_MS;
/// Silence after which one is over, as the kernel has it by default; an open TCP connection has days there.
const CLOSED_MS: u64 = 10 * SECOND_MS;
const UNANSWERED_UDP_MS: u64 = 30 * SECOND_MS;
const ANSWERED_MS: u64 = 2 * MINUTE_MS;
const OPEN_TCP_MS: u64 = 60 * MINUTE_MS;
/// What a conversation that goes on carried is told as often as this.
const TOLD_EVERY_MS: u64 = MINUTE_MS;

const FIN: u8 = 0x01;
const RST: u8 = 0x04;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Tuple {
    source: Address,
    destination: Address,
    source_port: u16,
    destination_port: u16,
    transport: Transport,
}

impl Tuple {
    const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            transport: self.transport,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Live {
    last_ms: u64,
    told_ms: u64,
    sent_bytes: u64,
    received_bytes: u64,
    sent_packets: u64,
    is_answered: bool,
    is_closed: bool,
}

/// Follows the conversations of a capture by their addresses and ports.
#[derive(Debug)]
pub struct ConversationTracker {
    lan: Vec<IpNet>,
    live: HashMap<Tuple, Live>,
    swept_ms: u64,
}

impl ConversationTracker {
    /// Addresses in `lan` are those of devices.
    #[must_use]
    pub fn new(lan: Vec<IpNet>) -> Self {
        Self { lan, live: HashMap::new(), swept_ms: 0 }
    }

    /// Counts a packet.
    pub fn packet(&mut self, at_ms: u64, bytes: u32, packet: &Packet, emit: &mut impl FnMut(ConversationObservation)) {
        let transport = match packet.protocol {
            PROTOCOL_TCP => Transport::Tcp,
            PROTOCOL_UDP => Transport::Udp,
            _ => return,
        };
        if self.lan.is_empty() || packet.is_later_fragment {
            return;
        }
        if at_ms >= self.swept_ms + SWEEP_MS {
            self.sweep(at_ms, emit);
        }
        let tuple = Tuple {
            source: packet.source,
            destination: packet.destination,
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            transport,
        };
        let begins = transport == Transport::Udp || packet.is_tcp_syn();
        if let Some(live) =
            self.live.get_mut(&tuple).filter(|live| !(begins && (live.is_closed || live.is_over(transport, at_ms))))
        {
            live.count(at_ms, bytes, packet, true);
        } else if let Some(live) = self.live.get_mut(&tuple.reversed()) {
            live.count(at_ms, bytes, packet, false);
        } else if begins {
            self.begin(at_ms, bytes, packet, tuple, emit);
        }
    }

    fn begin(
        &mut self,
        at_ms: u64,
        bytes: u32,
        packet: &Packet,
        tuple: Tuple,
        emit: &mut impl FnMut(ConversationObservation),
    ) {
        let is_device = |address: Address| self.lan.iter().any(|net| net.contains(&ip_of(address)));
        if !is_device(tuple.source) && !is_device(tuple.destination) {
            return;
        }
        // The same ports once more: what was before is over.
        if let Some(before) = self.live.remove(&tuple) {
            before.tell(&tuple, at_ms, emit);
        }
        if self.live.len() >= CONVERSATIONS_MAX {
            return;
        }
        let mut live = Live {
            last_ms: at_ms,
            told_ms: at_ms,
            sent_bytes: 0,
            received_bytes: 0,
            sent_packets: 0,
            is_answered: false,
            is_closed: false,
        };
        live.count(at_ms, bytes, packet, true);
        self.live.insert(tuple, live);
        emit(tuple.observation(at_ms, ConversationEvent::Began));
    }

    /// Tells what the conversations that are left carried.
    pub fn flush(&mut self, at_ms: u64, emit: &mut impl FnMut(ConversationObservation)) {
        for (tuple, live) in sorted(self.live.drain().collect()) {
            live.tell(&tuple, at_ms, emit);
        }
    }

    fn sweep(&mut self, at_ms: u64, emit: &mut impl FnMut(ConversationObservation)) {
        self.swept_ms = at_ms;
        let due = |tuple: &Tuple, live: &Live| {
            live.is_over(tuple.transport, at_ms) || at_ms.saturating_sub(live.told_ms) >= TOLD_EVERY_MS
        };
        let told = self.live.iter().filter(|(tuple, live)| due(tuple, live)).map(|(tuple, live)| (*tuple, *live));
        for (tuple, live) in sorted(told.collect()) {
            live.tell(&tuple, at_ms, emit);
            if live.is_over(tuple.transport, at_ms) {
                self.live.remove(&tuple);
            } else if let Some(live) = self.live.get_mut(&tuple) {
                (live.told_ms, live.sent_bytes, live.received_bytes, live.sent_packets) = (at_ms, 0, 0, 0);
            }
        }
    }
}

impl Tuple {
    fn observation(&self, at_ms: u64, event: ConversationEvent) -> ConversationObservation {
        ConversationObservation {
            at_ms,
            source: ip_of(self.source),
            destination: ip_of(self.destination),
            port: self.destination_port,
            transport: self.transport,
            event,
        }
    }
}

impl Live {
    fn count(&mut self, at_ms: u64, bytes: u32, packet: &Packet, is_sent: bool) {
        self.last_ms = self.last_ms.max(at_ms);
        if is_sent {
            self.sent_bytes += u64::from(bytes);
            self.sent_packets += 1;
        } else {
            self.received_bytes += u64::from(bytes);
            self.is_answered = true;
        }
        self.is_closed |= packet.protocol == PROTOCOL_TCP && packet.tcp_flags & (FIN | RST) != 0;
    }

    fn is_over(&self, transport: Transport, at_ms: u64) -> bool {
        let silence_ms = match transport {
            _ if self.is_closed => CLOSED_MS,
            Transport::Tcp if self.is_answered => OPEN_TCP_MS,
            Transport::Udp if !self.is_answered => UNANSWERED_UDP_MS,
            _ => ANSWERED_MS,
        };
        at_ms.saturating_sub(self.last_ms) >= silence_ms
    }

    fn tell(&self, tuple: &Tuple, at_ms: u64, emit: &mut impl FnMut(ConversationObservation)) {
        let Self { sent_bytes, received_bytes, sent_packets, .. } = *self;
        if sent_bytes + received_bytes > 0 {
            emit(tuple.observation(at_ms, ConversationEvent::Carried { sent_bytes, received_bytes, sent_packets }));
        }
    }
}

/// In one order, so that the same capture gives the same observations each time.
fn sorted(mut all: Vec<(Tuple, Live)>) -> Vec<(Tuple, Live)> {
    all.sort_by_key(|(tuple, live)| (live.last_ms, tuple.source.bytes(), tuple.source_port, tuple.destination_port));
    all
}

fn ip_of(address: Address) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address.bytes())).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: [u8; 4] = [10, 0, 0, 9];
    const SERVER: [u8; 4] = [203, 0, 113, 7];
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;

    fn packet(from: [u8; 4], to: [u8; 4], ports: (u16, u16), protocol: u8, tcp_flags: u8) -> Packet {
        Packet {
            source: Address::v4(u32::from_ne_bytes(from)),
            destination: Address::v4(u32::from_ne_bytes(to)),
            vlan: 0,
            is_v6: false,
            protocol,
            tcp_flags,
            source_port: ports.0,
            destination_port: ports.1,
            is_later_fragment: false,
        }
    }

    fn sent(port: u16, flags: u8) -> Packet {
        packet(DEVICE, SERVER, (port, 443), PROTOCOL_TCP, flags)
    }

    fn answered(port: u16, flags: u8) -> Packet {
        packet(SERVER, DEVICE, (443, port), PROTOCOL_TCP, flags)
    }

    fn told(packets: &[(u64, u32, Packet)]) -> Vec<(u64, ConversationEvent)> {
        let mut tracker = ConversationTracker::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut seen = Vec::new();
        let mut emit = |told: ConversationObservation| {
            assert_eq!((told.source, told.destination), (IpAddr::from(DEVICE), IpAddr::from(SERVER)), "who began it");
            seen.push((told.at_ms, told.event));
        };
        for (at_ms, bytes, packet) in packets {
            tracker.packet(*at_ms, *bytes, packet, &mut emit);
        }
        tracker.flush(1_000_000, &mut emit);
        seen
    }

    fn carried(sent_bytes: u64, received_bytes: u64, sent_packets: u64) -> ConversationEvent {
        ConversationEvent::Carried { sent_bytes, received_bytes, sent_packets }
    }

    #[test]
    fn a_connection_begins_once_and_is_told_of_with_both_directions() {
        let seen = told(&[
            (1_000, 60, sent(40_000, SYN)),
            (1_010, 60, answered(40_000, SYN | ACK)),
            (1_020, 500, sent(40_000, ACK)),
            (1_030, 1_400, answered(40_000, ACK)),
            (1_040, 60, sent(40_000, ACK | FIN)),
            // The same port once more, before the first is forgotten; and what never began.
            (5_000, 60, sent(40_000, SYN)),
            (6_000, 60, sent(40_001, ACK)),
        ]);
        assert_eq!(
            seen,
            [
                (1_000, ConversationEvent::Began),
                (5_000, carried(620, 1_460, 3)),
                (5_000, ConversationEvent::Began),
                (1_000_000, carried(60, 0, 1)),
            ]
        );
    }

    #[test]
    fn datagrams_of_one_socket_are_one_conversation_until_silence_ends_it() {
        let datagram = || packet(DEVICE, SERVER, (5_000, 53), PROTOCOL_UDP, 0);
        let seen = told(&[(1_000, 100, datagram()), (20_000, 100, datagram()), (80_000, 100, datagram())]);
        assert_eq!(
            seen,
            [
                (1_000, ConversationEvent::Began),
                (80_000, carried(200, 0, 2)),
                (80_000, ConversationEvent::Began),
                (1_000_000, carried(100, 0, 1)),
            ]
        );
    }

    #[test]
    fn what_goes_on_is_told_of_each_minute_and_adds_up() {
        let mut packets = vec![(1_000, 60, sent(40_000, SYN))];
        packets.extend((1..200_u64).map(|second| (1_000 + second * 1_000, 1_000, sent(40_000, ACK))));
        let seen = told(&packets);
        let bytes = seen.iter().map(|(_, event)| match event {
            ConversationEvent::Carried { sent_bytes, .. } => *sent_bytes,
            ConversationEvent::Began => 0,
        });
        assert_eq!((seen.len(), bytes.sum::<u64>()), (5, 60 + 199 * 1_000));
    }
}
