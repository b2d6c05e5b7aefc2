//! Enters: JavaScript, CSS, C and HTML escapes. Leaves: what they stand for. It must never stop at a broken escape.

use super::{SPACES, hex_digit, hex_pair, url::full_width};

/// Up to three octal digits; three only while they fit a byte.
fn octal(input: &[u8]) -> Option<(u8, usize)> {
    let digits = input.iter().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    if digits == 0 {
        return None;
    }
    let used = if digits == 3 && input[0] > b'3' { 2 } else { digits };
    let value = input[..used].iter().fold(0_u8, |value, digit| value << 3 | (digit - b'0'));
    Some((value, used))
}

fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        _ => return None,
    })
}

pub(super) fn js(input: &[u8], out: &mut Vec<u8>) {
    unescape(input, out, |letter, at| match letter {
        b'u' => Some((full_width(hex_pair(input, at)?, hex_pair(input, at + 2)?), 4)),
        b'x' => Some((hex_pair(input, at)?, 2)),
        _ => None,
    });
}

pub(super) fn ansi_c(input: &[u8], out: &mut Vec<u8>) {
    unescape(input, out, |letter, at| match letter {
        b'x' | b'X' => Some((hex_pair(input, at)?, 2)),
        _ => None,
    });
}

/// Backslashes with octal digits or a letter. `hexadecimal` is asked first, with the letter and the place behind it: what
/// it decodes, and how many digits that took.
fn unescape(input: &[u8], out: &mut Vec<u8>, hexadecimal: impl Fn(u8, usize) -> Option<(u8, usize)>) {
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        at += 1;
        let Some(letter) = input.get(at).copied().filter(|_| *byte == b'\\') else {
            out.push(*byte);
            continue;
        };
        if let Some((decoded, digits)) = hexadecimal(letter, at + 1) {
            out.push(decoded);
            at += 1 + digits;
        } else if let Some((decoded, used)) = octal(&input[at..]) {
            out.push(decoded);
            at += used;
        } else {
            out.push(control(letter).unwrap_or(letter));
            at += 1;
        }
    }
}

/// A backslash and one to six hexadecimal digits, of which the last two count, and one white space after them.
pub(super) fn css(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        at += 1;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let digits = input[at..].iter().take(6).take_while(|b| hex_digit(**b).is_some()).count();
        if digits == 0 {
            match input.get(at) {
                // A continued line, or a backslash at the end.
                None | Some(b'\n') => {}
                Some(other) => out.push(*other),
            }
            at += 1;
            continue;
        }
        let number = &input[at..at + digits];
        let (last, before) = number.split_at(digits.saturating_sub(2));
        let low = before.iter().fold(0_u8, |value, digit| value << 4 | hex_digit(*digit).unwrap_or(0));
        // Full width counts only when what stands before it is zero.
        let leading = last.len().saturating_sub(2);
        let high = match last.len() {
            2.. if last[..leading].iter().all(|digit| *digit == b'0') => hex_pair(last, leading).unwrap_or(0),
            _ => 0,
        };
        out.push(full_width(high, low));
        at += digits;
        if input.get(at).is_some_and(|b| SPACES.contains(b)) {
            at += 1;
        }
    }
}

/// Numbers and the five names that ModSecurity knows; the semicolon may be missing.
pub(super) fn html(input: &[u8], out: &mut Vec<u8>) {
    const NAMES: [(&[u8], u8); 5] = [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 0xa0)];
    let mut at = 0;
    while let Some(byte) = input.get(at) {
        at += 1;
        if *byte != b'&' {
            out.push(*byte);
            continue;
        }
        let rest = &input[at..];
        let (decoded, used) = match rest {
            [b'#', b'x' | b'X', digits @ ..] => {
                let length = digits.iter().take_while(|b| hex_digit(**b).is_some()).count();
                let value = digits[..length].iter().fold(0_u8, |value, d| value << 4 | hex_digit(*d).unwrap_or(0));
                (Some(value).filter(|_| length > 0), 2 + length)
            }
            [b'#', digits @ ..] => {
                let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
                let value = digits[..length]
                    .iter()
                    .fold(0_u32, |value, d| value.wrapping_mul(10).wrapping_add(u32::from(d - b'0')));
                (Some(value.to_le_bytes()[0]).filter(|_| length > 0), 1 + length)
            }
            letters => {
                let length = letters.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
                let found = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&letters[..length]));
                (found.map(|(_, value)| *value), length)
            }
        };
        match decoded {
            Some(value) => {
                out.push(value);
                at += used;
                if input.get(at) == Some(&b';') {
                    at += 1;
                }
            }
            None => out.push(b'&'),
        }
    }
}
