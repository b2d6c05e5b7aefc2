//! Enters: bytes, or their hexadecimal or base64 form. Leaves: the other form, or a digest.

use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::{hex_digit, hex_pair};

/// Decodes up to the first byte that is no base64; the forgiving form leaves such bytes out.
pub(super) fn base64_decode(input: &[u8], forgiving: bool, out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u32, 0);
    for byte in input {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            b'\r' | b'\n' => continue,
            _ if forgiving => continue,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count).to_le_bytes()[0]);
        }
    }
}

pub(super) fn base64_encode(input: &[u8], out: &mut Vec<u8>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in input.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { letter } else { b'=' });
        }
    }
}

pub(super) fn hex_decode(input: &[u8], out: &mut Vec<u8>) {
    // What is no digit counts as ModSecurity counts it.
    let digit = |byte: u8| {
        if byte >= b'A' { (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10) } else { byte.wrapping_sub(b'0') }
    };
    out.extend(input.chunks_exact(2).map(|pair| digit(pair[0]).wrapping_mul(16).wrapping_add(digit(pair[1]))));
}

pub(super) fn hex_encode(input: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(input.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}

/// `0x4142` becomes `AB`.
pub(super) fn sql_hex_decode(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        if *byte == b'0' && matches!(input.get(at + 1), Some(b'x' | b'X')) && hex_pair(input, at + 2).is_some() {
            at += 2;
            while let Some(decoded) = hex_pair(input, at) {
                out.push(decoded);
                at += 2;
            }
            // A digit left alone goes with the number.
            at += usize::from(input.get(at).copied().and_then(hex_digit).is_some());
        } else {
            out.push(*byte);
            at += 1;
        }
    }
}

pub(super) fn md5(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&Md5::digest(input));
}

pub(super) fn sha1(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&Sha1::digest(input));
}

/// The byte with its eighth bit set so that the count of ones is even (0) or odd (1).
pub(super) const fn parity(byte: u8, wanted: u32) -> u8 {
    let low = byte & 0x7f;
    if low.count_ones() % 2 == wanted { low } else { low | 0x80 }
}
