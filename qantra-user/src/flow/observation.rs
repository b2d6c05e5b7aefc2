//! The Observation noun: what the proxy and the kernel saw, small, `Copy` and free of any text.

use std::net::IpAddr;

use crate::config::{Role, SiteIndex};

/// Anything the behaviour side is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observation {
    /// One request that got its answer.
    Request(RequestObservation),
    /// A TCP connection the proxy accepted.
    Connection(ConnectionObservation),
    /// One source's kernel counters over one window.
    Packets(PacketObservation),
    /// What connection tracking tells of a conversation that passes the box.
    Conversation(ConversationObservation),
}

impl Observation {
    /// When it was made: ms since boot, or of the file that it was read from.
    #[must_use]
    pub const fn at_ms(&self) -> u64 {
        match self {
            Self::Request(seen) => seen.at_ms,
            Self::Connection(seen) => seen.at_ms,
            Self::Packets(seen) => seen.at_ms,
            Self::Conversation(seen) => seen.at_ms,
        }
    }

    /// The same at another time.
    #[must_use]
    pub const fn at(self, at_ms: u64) -> Self {
        match self {
            Self::Request(seen) => Self::Request(RequestObservation { at_ms, ..seen }),
            Self::Connection(seen) => Self::Connection(ConnectionObservation { at_ms, ..seen }),
            Self::Packets(seen) => Self::Packets(PacketObservation { at_ms, ..seen }),
            Self::Conversation(seen) => Self::Conversation(ConversationObservation { at_ms, ..seen }),
        }
    }
}

/// One request that got its answer, from the origin or from Qantra itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestObservation {
    /// When the answer was sent: ms since boot.
    pub at_ms: u64,
    /// The client, after trusted proxies were peeled off.
    pub source: IpAddr,
    /// Which configured site; `None` where no site claims the host.
    pub site: Option<SiteIndex>,
    /// Whether the method was POST, PUT or PATCH.
    pub is_write: bool,
    /// Whether Qantra answered by itself (block, limit, error): such answers say nothing of the application.
    pub answered_by_us: bool,
    /// The status that the client got.
    pub status: u16,
    /// Seeded hash of the path, without query.
    pub path_hash: u64,
    /// Seeded hash of the login's account field, when the path is a login path of the site.
    pub account_hash: Option<u64>,
    /// Whether the path is one of the site's login paths.
    pub is_login: bool,
    /// Bytes of the request, headers and body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
    /// From the first byte of the request to the end of the answer.
    pub duration_ms: u32,
}

/// A TCP connection that the proxy accepted, or one that ended; one that never sends a whole request is how
/// slow-header attacks look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionObservation {
    /// When: ms since boot.
    pub at_ms: u64,
    /// The peer of the TCP connection.
    pub source: IpAddr,
}

/// One source's kernel counters over one window, as a delta.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PacketObservation {
    /// The window's end: ms since boot.
    pub at_ms: u64,
    /// How long the window was, at least 1.
    pub window_ms: u32,
    /// Source address of the packets.
    pub source: IpAddr,
    /// On which side of the box it came in.
    pub role: Role,
    /// All packets.
    pub packets: u64,
    /// All bytes, as on the wire without the frame check sequence.
    pub bytes: u64,
    /// TCP segments with SYN and without ACK.
    pub tcp_syn: u64,
    /// TCP segments with RST.
    pub tcp_rst: u64,
    /// UDP datagrams.
    pub udp: u64,
    /// ICMP and ICMPv6 messages.
    pub icmp: u64,
    /// Estimate of distinct destination ports (linear counting over a 256-bit map; saturates near 1,400).
    ///
    /// Only what opens or probes counts: TCP segments without ACK and RST, and UDP datagrams to ports below 32,768.
    /// Answers to what the other side opened go to ephemeral ports and must not look like a scan.
    pub distinct_ports: u32,
    /// The map behind [`distinct_ports`](Self::distinct_ports): one bit for each port's hash, the same hash in
    /// every window, so that windows can be joined to find slow scans.
    pub port_map: [u64; 4],
    /// Likewise, one bit for each hash of a host that it tried to reach, by TCP SYN, ICMP or at a port that was new.
    pub host_map: [u64; 4],
}

/// What a conversation runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the protocols' names")]
pub enum Transport {
    Tcp,
    Udp,
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What happened to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConversationEvent {
    /// Its first packet.
    Began,
    /// What it carried since that was told last; once more at its end.
    Carried {
        /// Bytes from the one who began it.
        sent_bytes: u64,
        /// Bytes to the one who began it.
        received_bytes: u64,
        /// Packets from the one who began it.
        sent_packets: u64,
    },
}

/// A TCP connection or an exchange of UDP datagrams that passes the box, as connection tracking sees it: who began it
/// and with whom, before any translation of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConversationObservation {
    /// When: ms since boot.
    pub at_ms: u64,
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// The destination's port.
    pub port: u16,
    /// Over what.
    pub transport: Transport,
    /// What happened.
    pub event: ConversationEvent,
}
