//! Enters: the bytes of one address, prefix or range. Leaves: its first and last address. By hand, since a list has a
//! million lines: no allocation, no text conversion for IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Reason;

/// Longest text of a range of two IPv6 addresses with blanks around; what is longer is none.
const TEXT_BYTES_MAX: usize = 128;

/// Some consecutive addresses, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

impl Span {
    /// The first address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(first, _) => Ipv4Addr::from_bits(first).into(),
            Self::V6(first, _) => Ipv6Addr::from_bits(first).into(),
        }
    }

    /// Whether it is one address.
    #[must_use]
    pub const fn is_single(self) -> bool {
        match self {
            Self::V4(first, last) => first == last,
            Self::V6(first, last) => first == last,
        }
    }

    /// Reads `a`, `a/len`, `a/netmask` or `a-b`. Host bits of a prefix are cleared. An IPv4 address in IPv6 clothes
    /// (`::ffff:a.b.c.d`, RFC 4291) is the IPv4 address.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &[u8]) -> Result<Self, Reason> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Reason::NotAnAddress);
        }
        match memchr::memchr2(b'/', b'-', text) {
            None => Ok(match address(text)? {
                Number::V4(bits) => Self::V4(bits, bits),
                Number::V6(bits) => Self::V6(bits, bits),
            }),
            Some(at) if text[at] == b'/' => prefix(&text[..at], &text[at + 1..]),
            Some(at) => range(text[..at].trim_ascii_end(), text[at + 1..].trim_ascii_start()),
        }
    }
}

#[derive(Clone, Copy)]
enum Number {
    V4(u32),
    V6(u128),
}

fn address(text: &[u8]) -> Result<Number, Reason> {
    if let Some(bits) = ipv4(text)? {
        return Ok(Number::V4(bits));
    }
    let text = text.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(text);
    let text = std::str::from_utf8(text).map_err(|_| Reason::NotUtf8)?;
    let bits = text.parse::<Ipv6Addr>().map_err(|_| Reason::NotAnAddress)?;
    Ok(bits.to_ipv4_mapped().map_or(Number::V6(bits.to_bits()), |v4| Number::V4(v4.to_bits())))
}

/// Four decimal numbers; `None` when a colon says that it is none of IPv4.
fn ipv4(text: &[u8]) -> Result<Option<u32>, Reason> {
    let (mut bits, mut octet, mut digits, mut dots) = (0_u32, 0_u32, 0_u8, 0_u8);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                if digits > 0 && octet == 0 {
                    // `010` is eight to some programs and ten to others.
                    return not_ipv4(text, Reason::LeadingZero);
                }
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
                if octet > 255 || digits > 3 {
                    return not_ipv4(text, Reason::NotAnAddress);
                }
            }
            b'.' if digits > 0 && dots < 3 => {
                bits = bits << 8 | octet;
                (octet, digits, dots) = (0, 0, dots + 1);
            }
            _ => return not_ipv4(&text[at..], Reason::NotAnAddress),
        }
    }
    if dots == 3 && digits > 0 { Ok(Some(bits << 8 | octet)) } else { Err(Reason::NotAnAddress) }
}

fn not_ipv4(rest: &[u8], reason: Reason) -> Result<Option<u32>, Reason> {
    if memchr::memchr(b':', rest).is_some() { Ok(None) } else { Err(reason) }
}

fn prefix(text: &[u8], length: &[u8]) -> Result<Span, Reason> {
    match address(text)? {
        Number::V4(bits) => {
            let mask = ipv4_mask(length, is_mapped(text))?;
            Ok(Span::V4(bits & mask, bits | !mask))
        }
        Number::V6(bits) => {
            let length = decimal(length).filter(|length| *length <= 128).ok_or(Reason::PrefixLength)?;
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Ok(Span::V6(bits & mask, bits | !mask))
        }
    }
}

fn is_mapped(text: &[u8]) -> bool {
    memchr::memchr(b':', text).is_some()
}

/// `24` and `255.255.255.0` are the same; the length of a mapped address counts 96 bits before it.
fn ipv4_mask(length: &[u8], mapped: bool) -> Result<u32, Reason> {
    if !mapped && memchr::memchr(b'.', length).is_some() {
        let mask = ipv4(length)?.ok_or(Reason::PrefixLength)?;
        return if mask.leading_ones() + mask.trailing_zeros() >= 32 { Ok(mask) } else { Err(Reason::PrefixLength) };
    }
    let before = if mapped { 96 } else { 0 };
    let length = decimal(length).and_then(|length| length.checked_sub(before)).filter(|length| *length <= 32);
    let length = length.ok_or(Reason::PrefixLength)?;
    Ok(u32::MAX.checked_shl(32 - length).unwrap_or(0))
}

fn range(first: &[u8], last: &[u8]) -> Result<Span, Reason> {
    let span = match (address(first)?, address(last)?) {
        (Number::V4(first), Number::V4(last)) if first <= last => Span::V4(first, last),
        (Number::V6(first), Number::V6(last)) if first <= last => Span::V6(first, last),
        (Number::V4(_), Number::V4(_)) | (Number::V6(_), Number::V6(_)) => return Err(Reason::ReversedRange),
        _ => return Err(Reason::MixedRange),
    };
    Ok(span)
}

/// One to nine digits.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    let is_number = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| text.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().to_bits()
    }

    fn v6(text: &str) -> u128 {
        text.parse::<Ipv6Addr>().unwrap().to_bits()
    }

    #[test]
    fn addresses_prefixes_and_ranges_are_read() {
        for (text, first, last) in [
            ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
            ("0.0.0.0", "0.0.0.0", "0.0.0.0"),
            ("255.255.255.255/32", "255.255.255.255", "255.255.255.255"),
            ("192.0.2.7/24", "192.0.2.0", "192.0.2.255"),
            ("192.0.2.0/255.255.254.0", "192.0.2.0", "192.0.3.255"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("192.0.2.7-192.0.2.9", "192.0.2.7", "192.0.2.9"),
            ("192.0.2.7 - 192.0.3.9", "192.0.2.7", "192.0.3.9"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.0", "192.0.2.255"),
        ] {
            assert_eq!(Span::parse(text.as_bytes()), Ok(Span::V4(v4(first), v4(last))), "{text}");
        }
        for (text, first, last) in [
            ("2001:db8::1", "2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1", "2001:db8::1"),
            ("2001:db8::1/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::-2001:db8::ff", "2001:db8::", "2001:db8::ff"),
        ] {
            assert_eq!(Span::parse(text.as_bytes()), Ok(Span::V6(v6(first), v6(last))), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, reason) in [
            ("", Reason::NotAnAddress),
            ("example.org", Reason::NotAnAddress),
            ("1.2.3", Reason::NotAnAddress),
            ("1.2.3.", Reason::NotAnAddress),
            ("1.2.3.4.", Reason::NotAnAddress),
            ("1.2.3.4.5", Reason::NotAnAddress),
            ("1..3.4", Reason::NotAnAddress),
            ("1.2.3.256", Reason::NotAnAddress),
            ("1.2.3.4444444444", Reason::NotAnAddress),
            ("+1.2.3.4", Reason::NotAnAddress),
            ("0x1.2.3.4", Reason::NotAnAddress),
            ("01.2.3.4", Reason::LeadingZero),
            ("1.2.3.00", Reason::LeadingZero),
            ("1.2.3.4/33", Reason::PrefixLength),
            ("1.2.3.4/", Reason::PrefixLength),
            ("1.2.3.4/-1", Reason::PrefixLength),
            ("1.2.3.4/24/8", Reason::PrefixLength),
            ("1.2.3.4/255.0.255.0", Reason::PrefixLength),
            ("2001:db8::/129", Reason::PrefixLength),
            ("::ffff:1.2.3.4/95", Reason::PrefixLength),
            ("1.2.3.9-1.2.3.4", Reason::ReversedRange),
            ("1.2.3.4-2001:db8::", Reason::MixedRange),
            ("1.2.3.4-", Reason::NotAnAddress),
            ("-1.2.3.4", Reason::NotAnAddress),
            ("fe80::1%eth0", Reason::NotAnAddress),
            ("\u{661}.2.3.4", Reason::NotAnAddress),
        ] {
            assert_eq!(Span::parse(text.as_bytes()), Err(reason), "{text}");
        }
        assert_eq!(Span::parse(b"::\xff"), Err(Reason::NotUtf8));
        assert_eq!(Span::parse(&[b'1'; 4_000]), Err(Reason::NotAnAddress));
    }

    proptest! {
        #[test]
        fn every_address_and_prefix_of_the_standard_library_is_read_the_same(bits: u32, six: u128, length in 0_u8..=32) {
            let four = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(Span::parse(four.to_string().as_bytes()), Ok(Span::V4(bits, bits)));
            let address = Ipv6Addr::from_bits(six);
            if address.to_ipv4_mapped().is_none() {
                prop_assert_eq!(Span::parse(address.to_string().as_bytes()), Ok(Span::V6(six, six)));
            }
            let net = ipnet::Ipv4Net::new(four, length).unwrap();
            let expected = Span::V4(net.network().to_bits(), net.broadcast().to_bits());
            prop_assert_eq!(Span::parse(net.to_string().as_bytes()), Ok(expected));
        }

        #[test]
        fn what_the_standard_library_refuses_is_refused(text in "[0-9a-fx.:]{0,20}") {
            let known = text.parse::<IpAddr>().is_ok();
            prop_assert_eq!(Span::parse(text.as_bytes()).is_ok(), known, "{}", text);
        }
    }
}
