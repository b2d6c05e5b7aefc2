//! Enters: nothing. Leaves: the only list of reasons to drop a packet. Kernel counters, metric labels, `explain` and
//! the dashboard all use it; no other place may invent a reason.

/// Declares the enum, its names and the list of all from one table, so that they cannot drift apart.
macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// Why a packet was dropped. The number is the slot in [`map::InterfaceCounters`](crate::map::InterfaceCounters) and
        /// stands in events: numbers are never given a new meaning within one ABI version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl DropReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As written in metrics and output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The reason of a counter slot or event; `None` for a number of another version.
            #[must_use]
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

drop_reasons! {
    /// The source address is banned.
    BannedSource = 1, "banned_source";
    /// A prefix that holds the source address is banned.
    BannedSourcePrefix = 2, "banned_source_prefix";
    /// A packet from the LAN to a banned address.
    BannedDestination = 3, "banned_destination";
    /// A packet from the LAN into a banned prefix.
    BannedDestinationPrefix = 4, "banned_destination_prefix";
    /// The frame ends before the Ethernet, VLAN or IP header does, or before the IP header says the packet does.
    Truncated = 5, "truncated";
    /// IPv4: wrong version, header shorter than 20 bytes, or total length shorter than the header (RFC 791).
    Ipv4Header = 6, "ipv4_header";
    /// IPv6: wrong version (RFC 8200).
    Ipv6Header = 7, "ipv6_header";
    /// IPv6: more extension headers than [`packet::EXTENSIONS_MAX`](crate::packet::EXTENSIONS_MAX) (RFC 8504, 5.3, lets a
    /// host set such a limit), or a chain that runs past the packet's end.
    Ipv6Extensions = 8, "ipv6_extensions";
    /// TCP: the packet is shorter than a TCP header, or the data offset is below 5 or past the packet's end (RFC 9293).
    TcpHeader = 9, "tcp_header";
    /// UDP: the packet is shorter than a UDP header, or its length field says less than 8 or more than there is (RFC 768).
    UdpHeader = 10, "udp_header";
    /// A first fragment without a whole TCP header, or a TCP fragment at offset 1 that would overwrite the flags
    /// (RFC 1858, RFC 3128).
    TinyFragment = 11, "tiny_fragment";
    /// A fragment that would end past 65,535 bytes: the ping of death.
    FragmentOverrun = 12, "fragment_overrun";
    /// A source that no host has: multicast, broadcast, or IPv4-mapped IPv6 on the wire (RFC 1812 5.3.7, RFC 4291).
    MartianSource = 13, "martian_source";
    /// A feed lists the source address.
    FeedSource = 14, "feed_source";
    /// A packet from the LAN to an address that a feed lists.
    FeedDestination = 15, "feed_destination";
    /// Source and destination are the same address: the land attack, when the ports are the same as well.
    Land = 16, "land";
    /// TCP without any flag: a null scan (RFC 9293: every segment but the first SYN has ACK).
    TcpNull = 17, "tcp_null";
    /// TCP with FIN, PSH and URG: an Xmas scan.
    TcpXmas = 18, "tcp_xmas";
    /// TCP with flags that exclude each other: SYN with FIN or RST, FIN with RST.
    TcpFlags = 19, "tcp_flags";
    /// A later TCP fragment that begins inside the header that the first one carries (RFC 1858).
    FragmentOverlap = 20, "fragment_overlap";
    /// From the LAN with a source that is not of the LAN, or from the WAN with one that is (RFC 2827).
    SpoofedSource = 21, "spoofed_source";
    /// The source sent more packets than its budget.
    LimitPackets = 22, "limit_packets";
    /// The source sent more connection requests than its budget.
    LimitSyn = 23, "limit_syn";
    /// The source sent more UDP than its budget.
    LimitUdp = 24, "limit_udp";
    /// The source sent more ICMP than its budget.
    LimitIcmp = 25, "limit_icmp";
    /// The source began more flows than its budget.
    LimitFlows = 26, "limit_flows";
    /// Too many neighbours went over their budgets: their prefix has one budget for all.
    LimitPrefix = 27, "limit_prefix";
    /// Answers of a protocol that is abused for reflection, beyond that protocol's budget.
    UdpReflection = 28, "udp_reflection";
}

/// What the kernel half did with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on to the network stack.
    Pass,
    /// It was dropped.
    Drop(DropReason),
    /// A connection request that was answered with a SYN cookie, and went no further.
    SynCookie,
}

impl Verdict {
    /// How many counters an interface has: room for 30 reasons, so that a new one does not move anything.
    pub const SLOTS: usize = 32;

    const SYN_COOKIE: usize = Self::SLOTS - 1;

    /// Its counter: 0 for pass, the last for a SYN cookie, else the reason's number.
    #[must_use]
    pub const fn slot(self) -> usize {
        match self {
            Self::Pass => 0,
            Self::Drop(reason) => reason as usize,
            Self::SynCookie => Self::SYN_COOKIE,
        }
    }

    /// The verdict of a counter; `None` for a slot that no reason has.
    #[must_use]
    pub const fn from_slot(slot: usize) -> Option<Self> {
        if slot == 0 {
            return Some(Self::Pass);
        }
        if slot == Self::SYN_COOKIE {
            return Some(Self::SynCookie);
        }
        match DropReason::from_u32(slot as u32) {
            Some(reason) => Some(Self::Drop(reason)),
            None => None,
        }
    }

    /// As written in metrics and output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop(reason) => reason.as_str(),
            Self::SynCookie => "syn_cookie",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_slot_and_a_name_of_its_own() {
        let mut names = std::collections::HashSet::from(["pass", "syn_cookie"]);
        for reason in DropReason::ALL {
            let verdict = Verdict::Drop(*reason);
            assert!(verdict.slot() > 0 && verdict.slot() < Verdict::SLOTS - 1);
            assert_eq!(Verdict::from_slot(verdict.slot()), Some(verdict));
            assert!(names.insert(reason.as_str()), "{} stands for two reasons", reason.as_str());
        }
        assert_eq!(Verdict::from_slot(0), Some(Verdict::Pass));
        assert_eq!(Verdict::from_slot(Verdict::SLOTS - 1), Some(Verdict::SynCookie));
        assert_eq!(Verdict::from_slot(Verdict::SLOTS - 2), None);
    }
}
