//! SYN cookies (RFC 4987, 3.6): Enters: a SYN to a listening socket of the box, and the sequence number that the kernel made
//! of it. Leaves: the SYN-ACK that carries it. It must never make a cookie by itself: the network stack has to know it
//! again.
//!
//! A cookie holds the client's maximum segment size and nothing else. What more the client can do (window scale, selective
//! acknowledgements) only fits into the timestamp that it sends back, as Linux's own cookies have it, and the stack takes
//! it from there only when it adds no secret offset to its timestamps (`tcp_timestamps = 2`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`SynCookies::mode`]: every SYN goes to the network stack.
pub const OFF: u32 = 0;
/// [`SynCookies::mode`]: SYNs are answered while an interface sees too many.
pub const AUTO: u32 = 1;
/// [`SynCookies::mode`]: SYNs are answered wherever the network stack would send a cookie itself.
pub const ALWAYS: u32 = 2;

/// [`SynCookies::options`]: the stack reads the client's options from its timestamp.
pub const IN_TIMESTAMP: u32 = 1;
/// [`SynCookies::options`]: the stack takes selective acknowledgements.
pub const SACK: u32 = 2;
/// [`SynCookies::options`]: the stack takes a window scale.
pub const SCALE: u32 = 4;

/// SYNs of an interface are counted in windows of 134 ms: a power of two in ns.
pub const WINDOW_SHIFT: u32 = 27;
/// How long SYNs are answered after the last window that had too many: 4.3 s.
pub const HOLD_NS: u64 = 1 << 32;
/// Most of the box's own addresses.
pub const LOCAL_ADDRESSES_MAX: u32 = 1_024;

/// How SYNs are answered. All zero: not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SynCookies {
    /// [`OFF`], [`AUTO`] or [`ALWAYS`].
    pub mode: u32,
    /// Of [`AUTO`]: SYNs on an interface in one window above which they are answered.
    pub window_syns: u32,
    /// The largest segment to ask for by IPv4: what fits into a frame of the interface.
    pub mss_max_v4: u32,
    /// The same by IPv6.
    pub mss_max_v6: u32,
    /// [`IN_TIMESTAMP`], [`SACK`], [`SCALE`].
    pub options: u32,
    /// The window scale that the stack will assume to have offered.
    pub window_scale: u32,
}

/// How many SYNs one interface saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SynRate {
    /// The window of `syns`: monotonic time shifted by [`WINDOW_SHIFT`].
    pub window: u64,
    /// SYNs in it.
    pub syns: u64,
    /// Until when SYNs are answered, in monotonic ns.
    pub until_ns: u64,
}

/// What became of SYNs that might have been answered, on one CPU. Those that were are a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CookieCounts {
    /// The network stack wanted none: its queue has room, and `tcp_syncookies` is 1.
    pub not_needed: u64,
    /// The SYN-ACK could not be written into the frame.
    pub failed: u64,
}

/// What a client offers in the options of its SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Offer {
    /// Not 0 when the options are well formed, and none of them demands what a cookie cannot give: signed segments (RFC 2385,
    /// RFC 5925).
    pub is_answerable: u32,
    /// Not 0 when there is a timestamp.
    pub has_timestamp: u32,
    /// It, as it lies in memory.
    pub timestamp: u32,
    /// Not 0 when selective acknowledgements are offered.
    pub has_sack: u32,
    /// The window scale; [`NO_SCALE`] for none.
    pub scale: u32,
}

/// [`Offer::scale`] of a client that offers none.
pub const NO_SCALE: u32 = 15;
/// Most options that are looked at; a SYN with more is left to the stack.
const OPTIONS_MAX: u32 = 16;
const HAS_SACK: u32 = 1;
const HAS_TIMESTAMP: u32 = 2;
const SCALE_MAX: u32 = 14;

impl Offer {
    /// Reads the options of a TCP header of `header_bytes` (20 to 60). Bytes past it are not looked at. `forget` returns what
    /// it gets; in the kernel the verifier does not know that, so that it sees the same state before each option, not one
    /// for each way to get there.
    #[inline(always)]
    pub fn read(&mut self, tcp: &[u8; 64], header_bytes: u32, forget: impl Fn(u32) -> u32) {
        self.is_answerable = 0;
        let (mut at, mut known, mut timestamp, mut scale) = (20, 0, 0, NO_SCALE);
        for _ in 0..OPTIONS_MAX {
            at = forget(at) & 63;
            (known, timestamp, scale) = (forget(known), forget(timestamp), forget(scale));
            let byte = |offset: u32| u32::from(tcp[((at + offset) & 63) as usize]);
            let (kind, length) = (byte(0), byte(1));
            // 0 ends the list.
            if at >= header_bytes || kind == 0 {
                self.is_answerable = 1;
                break;
            }
            if kind == 1 {
                at += 1;
                continue;
            }
            if length < 2 || at + length > header_bytes || kind == 19 || kind == 29 {
                break;
            }
            if kind == 3 && length == 3 {
                scale = if byte(2) > SCALE_MAX { SCALE_MAX } else { byte(2) };
            } else if kind == 4 && length == 2 {
                known |= HAS_SACK;
            } else if kind == 8 && length == 10 {
                known |= HAS_TIMESTAMP;
                timestamp = byte(2) | byte(3) << 8 | byte(4) << 16 | byte(5) << 24;
            }
            at += length;
        }
        self.has_sack = known & HAS_SACK;
        self.has_timestamp = known & HAS_TIMESTAMP;
        self.timestamp = timestamp;
        self.scale = scale & NO_SCALE;
    }
}

/// The headers of a SYN-ACK, in words as they lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Answer {
    /// IPv4 (5 words) or IPv6 (10 words).
    pub ip: [u32; 10],
    /// TCP (6 or 10 words), its checksum 0.
    pub tcp: [u32; 10],
    /// Bytes of `tcp`.
    pub tcp_bytes: u32,
    /// The sum of the pseudo header, not folded to its complement.
    pub pseudo_sum: u32,
    /// The sum of `tcp`.
    pub tcp_sum: u32,
}

/// A TCP header with a maximum segment size.
pub const SHORT_BYTES: u32 = 24;
/// A TCP header with that, timestamps and window scale.
pub const LONG_BYTES: u32 = 40;
/// The window of a SYN-ACK: what Linux's usually is.
const WINDOW: u32 = 64_240;
const SYN_ACK: u32 = 0x12;
const HOP_LIMIT: u32 = 64;
const TCP: u32 = 6;

impl Answer {
    /// Nothing yet.
    pub const NONE: Self = Self { ip: [0; 10], tcp: [0; 10], tcp_bytes: 0, pseudo_sum: 0, tcp_sum: 0 };

    /// Writes the answer to a SYN with these headers. `now_ms` is what the stack makes timestamps of.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "it is the whole of what a SYN-ACK says")]
    pub fn write(
        &mut self,
        ip: &[u32; 10],
        is_v6: bool,
        tcp: &[u32; 16],
        offer: &Offer,
        cookie: u32,
        mss: u32,
        now_ms: u32,
        settings: &SynCookies,
    ) {
        let mss_max = if is_v6 { settings.mss_max_v6 } else { settings.mss_max_v4 };
        let mss = if mss > mss_max { mss_max } else { mss };
        self.tcp_bytes = SHORT_BYTES;
        self.tcp[0] = tcp[0].rotate_left(16);
        self.tcp[1] = cookie.to_be();
        self.tcp[2] = u32::from_be(tcp[1]).wrapping_add(1).to_be();
        self.tcp[4] = 0;
        self.tcp[5] = (0x0204 << 16 | mss).to_be();
        let mut sum = sum_of(&[self.tcp[0], self.tcp[1], self.tcp[2], self.tcp[5]]);
        if settings.options & IN_TIMESTAMP != 0 && offer.has_timestamp != 0 {
            let sack = settings.options & SACK != 0 && offer.has_sack != 0;
            let scale = settings.options & SCALE != 0 && offer.scale != NO_SCALE;
            self.tcp_bytes = LONG_BYTES;
            self.tcp[6] = if sack { 0x0402_080a_u32 } else { 0x0101_080a }.to_be();
            self.tcp[7] = timestamp(now_ms, if scale { offer.scale } else { NO_SCALE }, sack).to_be();
            self.tcp[8] = offer.timestamp;
            self.tcp[9] = if scale { 0x0103_0300 | settings.window_scale } else { 0x0101_0101 }.to_be();
            sum += sum_of(&[self.tcp[6], self.tcp[7], self.tcp[8], self.tcp[9]]);
        }
        self.tcp[3] = ((self.tcp_bytes / 4) << 28 | SYN_ACK << 16 | WINDOW).to_be();
        self.tcp_sum = fold(sum + u64::from(self.tcp[3]));
        if is_v6 { self.ipv6(ip) } else { self.ipv4(ip) }
    }

    #[inline(always)]
    fn ipv4(&mut self, ip: &[u32; 10]) {
        const DO_NOT_FRAGMENT: u32 = 0x4000;
        self.ip[0] = (0x4500 << 16 | (20 + self.tcp_bytes)).to_be();
        self.ip[1] = DO_NOT_FRAGMENT.to_be();
        self.ip[2] = (HOP_LIMIT << 24 | TCP << 16).to_be();
        self.ip[3] = ip[4];
        self.ip[4] = ip[3];
        let addresses = sum_of(&[ip[3], ip[4]]);
        let sum = fold(addresses + sum_of(&[self.ip[0], self.ip[1], self.ip[2]]));
        self.ip[2] |= (!sum & 0xffff) << 16;
        self.pseudo_sum = fold(addresses + u64::from(TCP.to_be()) + u64::from(self.tcp_bytes.to_be()));
    }

    #[inline(always)]
    fn ipv6(&mut self, ip: &[u32; 10]) {
        self.ip[0] = 0x6000_0000_u32.to_be();
        self.ip[1] = (self.tcp_bytes << 16 | TCP << 8 | HOP_LIMIT).to_be();
        let mut sum = u64::from(TCP.to_be()) + u64::from(self.tcp_bytes.to_be());
        for word in 0..4 {
            self.ip[2 + word] = ip[6 + word];
            self.ip[6 + word] = ip[2 + word];
            sum += sum_of(&[ip[2 + word], ip[6 + word]]);
        }
        self.pseudo_sum = fold(sum);
    }

    /// The TCP checksum, as it lies in memory.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(&self) -> u16 {
        !(fold(self.pseudo_sum as u64 + self.tcp_sum as u64) as u16)
    }
}

/// A timestamp whose last six bits say what the client can do; not in the future, or later ones would seem old.
#[inline(always)]
const fn timestamp(now_ms: u32, scale: u32, sack: bool) -> u32 {
    let timestamp = now_ms & !63 | scale | if sack { 16 } else { 0 };
    if timestamp > now_ms { timestamp.wrapping_sub(64) } else { timestamp }
}

#[inline(always)]
const fn sum_of<const WORDS: usize>(words: &[u32; WORDS]) -> u64 {
    let mut sum = 0;
    let mut index = 0;
    while index < WORDS {
        sum += words[index] as u64;
        index += 1;
    }
    sum
}

/// To sixteen bits (RFC 1071): the sum is the same in whichever order bytes lie, if it is stored as it was read.
#[inline(always)]
const fn fold(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u32
}

#[cfg(feature = "user")]
mod pod {
    #![expect(unsafe_code, reason = "aya's `Pod` is an unsafe trait")]

    // SAFETY: `repr(C)`, `Copy`, `'static`, and zerocopy's derives prove that there is no padding and that every bit
    // pattern is valid.
    unsafe impl aya::Pod for super::CookieCounts {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::SynRate {}
}

const _: () = assert!(size_of::<SynCookies>() == 24);
const _: () = assert!(size_of::<SynRate>() == 24);
const _: () = assert!(size_of::<CookieCounts>() == 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer(options: &[u8]) -> Offer {
        let mut tcp = [0xee; 64];
        tcp[20..20 + options.len()].copy_from_slice(options);
        let mut offer = Offer { is_answerable: 9, has_timestamp: 9, timestamp: 9, has_sack: 9, scale: 9 };
        offer.read(&tcp, 20 + options.len() as u32, |same| same);
        offer
    }

    #[test]
    fn options_as_clients_send_them_are_read() {
        let linux = offer(&[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        let timestamp = u32::from_ne_bytes([1, 2, 3, 4]);
        assert_eq!(linux, Offer { is_answerable: 1, has_timestamp: 2, timestamp, has_sack: 1, scale: 7 });
        let windows = offer(&[2, 4, 5, 180, 1, 3, 3, 200, 1, 1, 4, 2]);
        assert_eq!((windows.is_answerable, windows.has_timestamp, windows.scale), (1, 0, SCALE_MAX));
        assert_eq!(offer(&[]).is_answerable, 1, "none at all");
        assert_eq!(offer(&[2, 4, 5, 180, 0, 9, 9, 9]).is_answerable, 1, "nothing counts after the end of the list");
    }

    #[test]
    fn what_a_cookie_cannot_promise_is_left_to_the_stack() {
        let md5 = [&[2, 4, 5, 180, 19, 18][..], &[7; 16], &[1, 1]].concat();
        let authentication = [&[29, 16][..], &[7; 14]].concat();
        for options in [&md5[..], &authentication, &[2, 1, 0, 0], &[2, 0, 0, 0], &[3, 9, 1, 1], &[1; 17]] {
            assert_eq!(offer(options).is_answerable, 0, "{options:?}");
        }
    }

    #[test]
    fn timestamps_say_what_the_client_can_do_and_are_never_ahead() {
        for now_ms in [0, 1, 63, 64, 1_000_000, u32::MAX] {
            let value = timestamp(now_ms, 7, true);
            assert_eq!(value & 63, 16 | 7);
            assert!(now_ms.wrapping_sub(value) < 64 + 63, "{value} at {now_ms}");
        }
        assert_eq!(timestamp(6_400, NO_SCALE, false) & 63, 15);
    }

    fn ones_complement(bytes: &[u8]) -> u16 {
        let pairs = bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0)));
        let mut sum: u64 = pairs.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn hostile_options_are_read_without_a_panic(bytes in any::<[u8; 32]>(), more in any::<[u8; 32]>(), words in 5_u32..=15) {
            let mut tcp = [0; 64];
            tcp[..32].copy_from_slice(&bytes);
            tcp[32..].copy_from_slice(&more);
            let mut offer = Offer { is_answerable: 0, has_timestamp: 0, timestamp: 0, has_sack: 0, scale: 0 };
            offer.read(&tcp, words * 4, |same| same);
            prop_assert!(offer.scale <= NO_SCALE && offer.is_answerable <= 1);
        }

        #[test]
        fn checksums_are_right(
            ip in any::<[u32; 10]>(), ports in any::<u32>(), sequence in any::<u32>(), cookie in any::<u32>(),
            mss in 1_u32..=65_535, now_ms in any::<u32>(), is_v6 in any::<bool>(), has_timestamp in 0_u32..2, options in 0_u32..8,
        ) {
            let mut tcp = [0; 16];
            (tcp[0], tcp[1]) = (ports, sequence);
            let offer = Offer { is_answerable: 1, has_timestamp, timestamp: 5, has_sack: 1, scale: 3 };
            let settings = SynCookies { mss_max_v4: 1_460, mss_max_v6: 1_440, options, window_scale: 7, ..Default::default() };
            let mut answer = Answer::NONE;
            answer.write(&ip, is_v6, &tcp, &offer, cookie, mss, now_ms, &settings);
            let words = answer.tcp_bytes as usize / 4;
            prop_assert_eq!(words, if has_timestamp != 0 && options & IN_TIMESTAMP != 0 { 10 } else { 6 });
            answer.tcp[4] |= u32::from(answer.checksum());
            let header: Vec<u8> = answer.tcp[..words].iter().flat_map(|word| word.to_ne_bytes()).collect();
            let ip_bytes: Vec<u8> = answer.ip.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let addresses = if is_v6 { &ip_bytes[8..40] } else { &ip_bytes[12..20] };
            let pseudo = [addresses, &[0, 6], &(header.len() as u16).to_be_bytes()].concat();
            prop_assert_eq!(ones_complement(&[pseudo, header.clone()].concat()), 0xffff);
            if !is_v6 {
                prop_assert_eq!(ones_complement(&ip_bytes[..20]), 0xffff);
                prop_assert_eq!(usize::from(u16::from_be_bytes([ip_bytes[2], ip_bytes[3]])), 20 + header.len());
            }
            prop_assert_eq!(u32::from_be_bytes([header[8], header[9], header[10], header[11]]), u32::from_be(sequence).wrapping_add(1));
            prop_assert!(u16::from_be_bytes([header[22], header[23]]) <= 1_460);
        }
    }
}
