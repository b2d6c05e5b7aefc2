//! Enters: what a source sent, and when. Leaves: which of its budgets are used up. Token buckets, refilled by the boot
//! clock; it must never divide on the usual way.
//!
//! A source is charged in arrears, some packets at a time (see [`source`](crate::source)), so tokens may go below zero by
//! as many: the debt is paid back before anything more passes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// All packets.
pub const PACKETS: usize = 0;
/// TCP connection requests.
pub const SYN: usize = 1;
/// UDP datagrams.
pub const UDP: usize = 2;
/// ICMP and ICMPv6 messages.
pub const ICMP: usize = 3;
/// New flows: connection requests, and datagrams between ports not seen together of late.
pub const FLOWS: usize = 4;
/// How many kinds there are.
pub const KINDS: usize = 5;
/// The mask bit of a source whose prefix is limited; the kinds' bits are `1 << kind`.
pub const PREFIX_BIT: u32 = 1 << KINDS;

/// One token.
pub const TOKEN: i64 = 1 << 16;
/// Longest time that is refilled at once, in ns: two seconds.
const REFILL_NS_MAX: u64 = 1 << 31;
/// Highest rate: its gain fits into 32 bits.
pub const RATE_PPS_MAX: u32 = 62_000_000;
/// Deepest bucket.
pub const BURST_MAX: u32 = 1 << 24;

/// A rate and how much of it can be saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Budget {
    /// Tokens × 2^16 in 2^20 ns; 0: no limit.
    pub gain: u32,
    /// Tokens that a full bucket has.
    pub burst: u32,
}

impl Budget {
    /// Of packets a second, and packets at once; a rate of 0 is no limit.
    #[must_use]
    pub const fn new(rate_pps: u32, burst: u32) -> Self {
        let rate_pps = if rate_pps > RATE_PPS_MAX { RATE_PPS_MAX } else { rate_pps };
        let burst = if burst > BURST_MAX { BURST_MAX } else { burst };
        let gain = ((rate_pps as u64) << 36).div_ceil(1_000_000_000) as u32;
        Self { gain, burst: if burst == 0 { 1 } else { burst } }
    }

    /// What a full bucket holds.
    #[inline(always)]
    #[must_use]
    pub const fn full(&self) -> i64 {
        self.burst as i64 * TOKEN
    }

    /// What a time adds.
    #[inline(always)]
    #[must_use]
    pub const fn refill(&self, elapsed_ns: u64) -> i64 {
        let elapsed_ns = if elapsed_ns > REFILL_NS_MAX { REFILL_NS_MAX } else { elapsed_ns };
        ((elapsed_ns * self.gain as u64) >> 20) as i64
    }

    /// How long until so many tokens below zero, and some on top so that not every packet asks again, are there.
    #[inline(always)]
    #[must_use]
    pub const fn wait_ns(&self, tokens: i64) -> u64 {
        let wanted = (self.full() >> 5) + TOKEN - tokens;
        if self.gain == 0 || wanted <= 0 { 0 } else { ((wanted as u64) << 20) / self.gain as u64 }
    }
}

/// What sources may send. All zero: everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Limits {
    /// Of each source, by kind.
    pub source: [Budget; KINDS],
    /// Of all answers from one port that is abused for reflection.
    pub reflection: Budget,
    /// Whether any budget of a source is set.
    pub is_on: u32,
    /// Neighbours over their budgets within [`ESCALATION_NS`] from which their prefix has the budget of one source; 0: never.
    pub neighbours: u32,
}

/// How long neighbours are counted, and how long their prefix is limited after the last of them went over: 16 s.
pub const ESCALATION_NS: u64 = 1 << 34;

/// What is left of one source's budgets, or of one prefix's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bucket {
    /// When it was refilled last; 0: never, it is full.
    pub refilled_boot_ns: u64,
    /// By kind; two's complement, below zero is debt.
    pub tokens: [u64; KINDS],
    /// Of a prefix: when the first of the neighbours that are counted now went over.
    pub since_boot_ns: u64,
    /// Of a prefix: how many went over.
    pub neighbours: u64,
    /// Of a prefix: until when it is limited.
    pub until_boot_ns: u64,
}

/// Ports whose services answer small questions at length, so that attackers ask in a victim's name: quotd, chargen, DNS,
/// TFTP, portmap, NTP, NetBIOS, SNMP, LDAP, RIP, SSDP, WS-Discovery, CoAP, mDNS, memcached and others of CISA's alert
/// TA14-017A.
#[inline(always)]
#[must_use]
pub const fn is_reflector(port: u16) -> bool {
    matches!(
        port,
        17 | 19
            | 53
            | 69
            | 111
            | 123
            | 137
            | 161
            | 389
            | 520
            | 1434
            | 1900
            | 3283
            | 3702
            | 5093
            | 5353
            | 5683
            | 10001
            | 11211
            | 27960
            | 37810
    )
}

const _: () = assert!(size_of::<Budget>() == 8);
const _: () = assert!(size_of::<Limits>() == 56);
const _: () = assert!(size_of::<Bucket>() == 72);

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's `Pod` is an unsafe trait")]

    // SAFETY: `repr(C)`, `Copy`, `'static`, and zerocopy's derives prove that there is no padding and that every bit
    // pattern is valid.
    unsafe impl aya::Pod for super::Bucket {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_second_refills_the_rate(rate_pps in 1..=RATE_PPS_MAX) {
            let budget = Budget::new(rate_pps, BURST_MAX);
            let tokens = budget.refill(1_000_000_000) as f64 / TOKEN as f64;
            let error = (tokens - f64::from(rate_pps)).abs() / f64::from(rate_pps);
            prop_assert!(error < 0.016, "{rate_pps} became {tokens}");
        }

        #[test]
        fn after_the_wait_there_is_at_least_a_token(rate_pps in 1..=RATE_PPS_MAX, burst in 1..=BURST_MAX, debt in 0..2_000_i64) {
            let budget = Budget::new(rate_pps, burst);
            let wait_ns = budget.wait_ns(-debt * TOKEN);
            let mut tokens = -debt * TOKEN;
            let mut left = wait_ns + 1;
            while left > 0 && tokens < TOKEN {
                let step = left.min(REFILL_NS_MAX);
                tokens += budget.refill(step);
                left -= step;
            }
            prop_assert!(tokens >= TOKEN - 1);
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(
            (Budget::new(0, 5).gain, Budget::default().refill(u64::MAX), Budget::default().wait_ns(-5)),
            (0, 0, 0)
        );
    }
}
