//! Enters: percent signs and UTF-8. Leaves: what they stand for. It must never stop at a broken escape: that is copied.

use super::{hex_digit, hex_pair};

/// Code points → bytes, of `SecUnicodeMapFile`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct UnicodeMap(Vec<(u32, u8)>);

impl UnicodeMap {
    /// Reads the pairs of one code page from a `unicode.mapping` file: `20127 (US-ASCII)`, then lines of `00a1:21 …`.
    pub(crate) fn parse(text: &str, page: u32) -> Option<Self> {
        let number = |line: &str| line.split([' ', '\t']).next().and_then(|word| word.parse::<u32>().ok());
        let mut lines = text.lines().map(str::trim).skip_while(|line| line.contains(':') || number(line) != Some(page));
        lines.next()?;
        let mut pairs = Vec::new();
        for line in lines.take_while(|line| line.is_empty() || line.contains(':')) {
            for pair in line.split_whitespace() {
                let (from, to) = pair.split_once(':')?;
                pairs.push((u32::from_str_radix(from, 16).ok()?, u8::from_str_radix(to, 16).ok()?));
            }
        }
        pairs.sort_unstable();
        Some(Self(pairs))
    }

    fn get(&self, code: u32) -> Option<u8> {
        self.0.binary_search_by_key(&code, |(from, _)| *from).ok().and_then(|at| self.0.get(at)).map(|(_, to)| *to)
    }
}

/// Appends a text with its escapes decoded, as forms have them.
pub(crate) fn decode(input: &[u8], out: &mut Vec<u8>) {
    unescape(input, out, |_| None);
}

pub(super) fn decode_unicode(input: &[u8], map: Option<&UnicodeMap>, out: &mut Vec<u8>) {
    unescape(input, out, |at| {
        input.get(at).filter(|letter| matches!(letter, b'u' | b'U'))?;
        let (high, low) = (hex_pair(input, at + 1)?, hex_pair(input, at + 3)?);
        let mapped = map.and_then(|map| map.get(u32::from(high) << 8 | u32::from(low)));
        Some((mapped.unwrap_or_else(|| full_width(high, low)), 5))
    });
}

/// Percent signs with two digits, and `+`. `other` is asked first, with the place behind the sign: what it decodes, and how
/// many bytes that took.
fn unescape(input: &[u8], out: &mut Vec<u8>, other: impl Fn(usize) -> Option<(u8, usize)>) {
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        at += 1;
        match byte {
            b'%' => match other(at).or_else(|| Some((hex_pair(input, at)?, 2))) {
                Some((decoded, used)) => {
                    out.push(decoded);
                    at += used;
                }
                None => out.push(b'%'),
            },
            b'+' => out.push(b' '),
            plain => out.push(*plain),
        }
    }
}

/// The low byte; full-width forms (U+FF01 to U+FF5E) become their ASCII letters.
pub(super) const fn full_width(high: u8, low: u8) -> u8 {
    if high == 0xff && low > 0x00 && low < 0x5f { low + 0x20 } else { low }
}

pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in input {
        match byte {
            b' ' => out.push(b'+'),
            b'*' | b'-' | b'.' | b'_' => out.push(*byte),
            _ if byte.is_ascii_alphanumeric() => out.push(*byte),
            _ => out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

/// Writes every UTF-8 sequence beyond ASCII as `%uHHHH`; what is no UTF-8 is copied.
pub(super) fn utf8_to_unicode(input: &[u8], out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some(first) = rest.first() {
        let length = match first {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let code = rest.get(..length).filter(|_| length > 1).and_then(|part| std::str::from_utf8(part).ok());
        match code.and_then(|part| part.chars().next()) {
            Some(c) => {
                push_code(u32::from(c), out);
                rest = &rest[length..];
            }
            None => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
}

fn push_code(code: u32, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"%u");
    let width = if code > 0xf_ffff {
        6
    } else if code > 0xffff {
        5
    } else {
        4
    };
    out.extend((0..width).rev().map(|digit| DIGITS[(code >> (4 * digit) & 15) as usize]));
}

/// Whether every `%` of a text begins an escape of two hexadecimal digits.
pub(crate) fn is_well_encoded(input: &[u8]) -> bool {
    memchr::memchr_iter(b'%', input).all(|at| {
        input.get(at + 1).copied().and_then(hex_digit).is_some()
            && input.get(at + 2).copied().and_then(hex_digit).is_some()
    })
}
