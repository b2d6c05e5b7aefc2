//! Enters: bytes of a field. Leaves: the same bytes decoded in place, never longer than before. No decoder may fail:
//! what is not validly encoded stays as it is, as it does in lenient applications.

use std::ops::Range;

/// Undoes percent-encoding and `+`, as `application/x-www-form-urlencoded` has it (WHATWG URL, 5.1).
pub(super) fn form(bytes: &mut [u8]) -> usize {
    for byte in bytes.iter_mut().filter(|byte| **byte == b'+') {
        *byte = b' ';
    }
    percent(bytes)
}

/// Undoes `%XX` and IIS's `%uXXXX`, and folds overlong two-byte UTF-8 (`%c0%af`) into the ASCII that it stands for.
pub(super) fn percent(bytes: &mut [u8]) -> usize {
    if !bytes.contains(&b'%') {
        return fold_overlong(bytes);
    }
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        if bytes[read] == b'%' {
            if let Some(byte) = hex_pair(bytes, read + 1) {
                bytes[write] = byte;
                read += 3;
                write += 1;
                continue;
            }
            if matches!(bytes.get(read + 1), Some(b'u' | b'U'))
                && let Some(code) = hex_number(bytes, read + 2, 4)
            {
                write += put_char(bytes, write, code);
                read += 6;
                continue;
            }
        }
        bytes[write] = bytes[read];
        read += 1;
        write += 1;
    }
    fold_overlong(&mut bytes[..write])
}

/// Folds UTF-8 that is longer than it need be (`C0 AF`, `E0 80 AF`, up to six bytes) into the ASCII that it stands for:
/// no valid encoder writes that, and old path checks are fooled by it. After `C0` and `C1`, which are never valid, any
/// byte counts, as it did in old web servers.
fn fold_overlong(bytes: &mut [u8]) -> usize {
    if !bytes.iter().any(|byte| matches!(byte, 0xC0 | 0xC1 | 0xE0 | 0xF0 | 0xF8 | 0xFC)) {
        return bytes.len();
    }
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        let (byte, length) = overlong(&bytes[read..]).unwrap_or((bytes[read], 1));
        bytes[write] = byte;
        read += length;
        write += 1;
    }
    write
}

/// The ASCII character that an overlong sequence at the beginning stands for, and the sequence's length.
fn overlong(bytes: &[u8]) -> Option<(u8, usize)> {
    let (lead, rest) = bytes.split_first()?;
    let length = match lead {
        0xC0 | 0xC1 => {
            let next = rest.first()?;
            return Some(((lead & 1) << 6 | next & 0x3F, 2)).filter(|_| *next < 0xC0);
        }
        0xE0 => 3,
        0xF0 => 4,
        0xF8 => 5,
        0xFC => 6,
        _ => return None,
    };
    // All but the last two bytes carry nothing: with a bit set there it would be a character of its own.
    let (last, zeros) = rest.get(..length - 1)?.split_last()?;
    let (high, zeros) = zeros.split_last()?;
    let fits = zeros.iter().all(|byte| *byte == 0x80) && matches!(high, 0x80 | 0x81) && last & 0xC0 == 0x80;
    fits.then_some(((high & 1) << 6 | last & 0x3F, length))
}

/// Whether [`escapes`] can change anything.
pub(super) fn may_be_escaped(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, b'&' | b'\\' | 0xE2 | 0xE3 | 0xEE | 0xEF))
}

/// Undoes HTML character references, JavaScript and JSON escapes, and letters that applications with an older character
/// set fit to ASCII: full-width forms (U+FF01 to U+FF5E), slashes, dots and angle brackets of other blocks.
pub(super) fn escapes(bytes: &mut [u8]) -> usize {
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        let decoded = match bytes[read] {
            b'&' => entity(bytes, read),
            b'\\' => backslash(bytes, read),
            0xE2 | 0xE3 | 0xEE | 0xEF => full_width(bytes, read).or_else(|| best_fit(bytes, read)),
            _ => None,
        };
        match decoded {
            Some((code, length)) => {
                write += put_char(bytes, write, code);
                read += length;
            }
            None => {
                bytes[write] = bytes[read];
                read += 1;
                write += 1;
            }
        }
    }
    write
}

/// `&#60;`, `&#x3c;`, with or without the semicolon, and the named references that matter.
fn entity(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    const NAMED: [(&[u8], u8); 17] = [
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&amp;", b'&'),
        (b"&quot;", b'"'),
        (b"&apos;", b'\''),
        (b"&colon;", b':'),
        (b"&lpar;", b'('),
        (b"&rpar;", b')'),
        (b"&sol;", b'/'),
        (b"&tab;", b'\t'),
        (b"&newline;", b'\n'),
        (b"&nbsp;", b' '),
        (b"&period;", b'.'),
        (b"&grave;", b'`'),
        (b"&equals;", b'='),
        (b"&lbrace;", b'{'),
        (b"&dollar;", b'$'),
    ];
    if bytes.get(at + 1) != Some(&b'#') {
        let rest = &bytes[at..];
        let fits = |name: &[u8]| rest.len() >= name.len() && rest[..name.len()].eq_ignore_ascii_case(name);
        return NAMED.iter().find(|(name, _)| fits(name)).map(|(name, byte)| (u32::from(*byte), name.len()));
    }
    let is_hex = matches!(bytes.get(at + 2), Some(b'x' | b'X'));
    let (first, base) = if is_hex { (at + 3, 16) } else { (at + 2, 10) };
    let mut code: u32 = 0;
    let mut end = first;
    // Browsers take any number of leading zeros; ten digits are enough to undo and keep the time linear.
    while end < first + 10 {
        let Some(digit) = bytes.get(end).and_then(|byte| char::from(*byte).to_digit(base)) else { break };
        code = code.saturating_mul(base).saturating_add(digit);
        end += 1;
    }
    // At least as many bytes are read as the longest UTF-8 form that may be written.
    if end == first || code > 0xFFFF || (code > 0x7FF && end - at < 3) {
        return None;
    }
    end += usize::from(bytes.get(end) == Some(&b';'));
    Some((code, end - at))
}

/// `\x3c`, `\u003c`, `\u{3c}` and the one-letter escapes of JSON.
fn backslash(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    match bytes.get(at + 1)? {
        b'x' => hex_number(bytes, at + 2, 2).map(|code| (code, 4)),
        b'u' if bytes.get(at + 2) == Some(&b'{') => {
            let digits = bytes[at + 3..].iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let closed = bytes.get(at + 3 + digits) == Some(&b'}');
            let code = if closed { hex_number(bytes, at + 3, digits)? } else { return None };
            (code <= 0xFFFF).then_some((code, digits + 4))
        }
        b'u' => hex_number(bytes, at + 2, 4).map(|code| (code, 6)),
        b'/' => Some((u32::from(b'/'), 2)),
        b'"' => Some((u32::from(b'"'), 2)),
        b'\'' => Some((u32::from(b'\''), 2)),
        _ => None,
    }
}

fn full_width(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    match (bytes.get(at + 1)?, bytes.get(at + 2)?) {
        (0xBC, last @ 0x81..=0xBF) => Some((u32::from(*last) - 0x60, 3)),
        (0xBD, last @ 0x80..=0x9E) => Some((u32::from(*last) - 0x20, 3)),
        _ => None,
    }
}

/// What looks like a separator, a dot or a bracket: U+2024, U+2039, U+203A, U+2044, U+2215, U+2216, U+29F8, U+29F9,
/// U+3002, U+3008, U+3009, U+FE68, and U+EFC8 and U+F025, which a code page of Windows fits to separators.
fn best_fit(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let ascii = match bytes.get(at..at + 3)? {
        [0xE2, 0x80, 0xA4] | [0xE3, 0x80, 0x82] => b'.',
        [0xE2, 0x80, 0xB9] | [0xE3, 0x80, 0x88] => b'<',
        [0xE2, 0x80, 0xBA] | [0xE3, 0x80, 0x89] => b'>',
        [0xE2, 0x81, 0x84] | [0xE2, 0x88, 0x95] | [0xE2, 0xA7, 0xB8] | [0xEF, 0x80, 0xA5] => b'/',
        [0xE2, 0x88, 0x96] | [0xE2, 0xA7, 0xB9] | [0xEF, 0xB9, 0xA8] | [0xEE, 0xBF, 0x88] => b'\\',
        _ => return None,
    };
    Some((u32::from(ascii), 3))
}

/// Undoes the escapes of a JSON string (RFC 8259, 7), the one-letter ones included.
pub(super) fn json_string(bytes: &mut [u8]) -> usize {
    if !bytes.contains(&b'\\') {
        return bytes.len();
    }
    let (mut read, mut write) = (0, 0);
    while read < bytes.len() {
        let decoded = match (bytes[read], bytes.get(read + 1)) {
            (b'\\', Some(b'n')) => Some((u32::from(b'\n'), 2)),
            (b'\\', Some(b't')) => Some((u32::from(b'\t'), 2)),
            (b'\\', Some(b'r')) => Some((u32::from(b'\r'), 2)),
            (b'\\', Some(b'b' | b'f')) => Some((u32::from(b' '), 2)),
            (b'\\', Some(b'\\')) => Some((u32::from(b'\\'), 2)),
            (b'\\', _) => backslash(bytes, read),
            _ => None,
        };
        match decoded {
            Some((code, length)) => {
                write += put_char(bytes, write, code);
                read += length;
            }
            None => {
                bytes[write] = bytes[read];
                read += 1;
                write += 1;
            }
        }
    }
    write
}

/// Where base64 of something worth opening stands: all of the bytes, or what follows a `;base64,` of an embedded document
/// (RFC 2397), up to what is no base64. Each such part ends before the next mark, so all are looked at once.
pub(super) fn base64_in(bytes: &[u8]) -> Option<Range<usize>> {
    const MARK: &[u8] = b";base64,";
    let is_mark = |at: &usize| bytes[*at..].get(..MARK.len()).is_some_and(|part| part.eq_ignore_ascii_case(MARK));
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b' ');
    if may_be_base64(bytes) {
        return Some(0..bytes.len());
    }
    memchr::memchr_iter(b';', bytes).filter(is_mark).find_map(|at| {
        let start = at + MARK.len();
        let length = bytes[start..].iter().take_while(|byte| is_digit(byte)).count();
        may_be_base64(&bytes[start..start + length]).then_some(start..start + length)
    })
}

/// Whether bytes look like base64 of something worth opening: long enough, only its alphabets, and not just a word,
/// a number or a hexadecimal string.
fn may_be_base64(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    if bytes.len() < 16 {
        return false;
    }
    let (mut upper, mut lower, mut padding) = (0_usize, 0_usize, 0_usize);
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'A'..=b'Z' => upper += 1,
            b'a'..=b'z' => lower += 1,
            b'0'..=b'9' | b'+' | b'/' | b'-' | b'_' | b' ' | b'\r' | b'\n' => {}
            b'=' if index + 3 > bytes.len() => padding += 1,
            _ => return false,
        }
    }
    padding <= 2 && upper > 0 && lower > 0
}

/// Undoes base64 of either alphabet, padded or not, in place; a blank stands for the `+` that form decoding made it.
pub(super) fn base64(bytes: &mut [u8]) -> usize {
    let (mut bits, mut held, mut write) = (0_u32, 0_u32, 0);
    for read in 0..bytes.len() {
        let six = match bytes[read] {
            byte @ b'A'..=b'Z' => byte - b'A',
            byte @ b'a'..=b'z' => byte - b'a' + 26,
            byte @ b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' | b' ' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            // Six bits are read for each eight that are written, so `write` never overtakes `read`.
            bytes[write] = (bits >> held) as u8;
            bits &= (1 << held) - 1;
            write += 1;
        }
    }
    write
}

/// Whether bytes read as text: hardly any control characters, and valid UTF-8 where many are above ASCII.
pub(super) fn is_mostly_text(bytes: &[u8]) -> bool {
    let is_control = |byte: &&u8| matches!(byte, 0..=8 | 11 | 12 | 14..=31 | 127);
    let controls = bytes.iter().filter(is_control).count();
    if controls * 20 > bytes.len() {
        return false;
    }
    let high = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    high * 10 <= bytes.len() || valid_utf8_share(bytes)
}

/// UTF-8 up to a character that is cut off at the end.
fn valid_utf8_share(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.valid_up_to() + 4 > bytes.len(),
    }
}

fn hex_pair(bytes: &[u8], at: usize) -> Option<u8> {
    hex_number(bytes, at, 2).map(|number| number as u8)
}

fn hex_number(bytes: &[u8], at: usize, digits: usize) -> Option<u32> {
    let digits = bytes.get(at..at + digits).filter(|digits| !digits.is_empty())?;
    digits.iter().try_fold(0, |number, byte| Some(number << 4 | char::from(*byte).to_digit(16)?))
}

/// Writes a character as UTF-8, and half a surrogate pair as `?`; gives its length, at most 3 for what callers decode.
fn put_char(bytes: &mut [u8], at: usize, code: u32) -> usize {
    let mut buffer = [0; 4];
    let encoded = char::from_u32(code).unwrap_or('?').encode_utf8(&mut buffer).as_bytes();
    bytes[at..at + encoded.len()].copy_from_slice(encoded);
    encoded.len()
}

#[cfg(test)]
mod tests {
    use super::{base64, base64_in, escapes, form, is_mostly_text, json_string, may_be_base64, percent};

    fn check(decoder: fn(&mut [u8]) -> usize, input: &[u8], expected: &[u8]) {
        let mut bytes = input.to_vec();
        let length = decoder(&mut bytes);
        assert_eq!(String::from_utf8_lossy(&bytes[..length]), String::from_utf8_lossy(expected));
    }

    #[test]
    fn encodings_are_undone() {
        check(form, b"a+b%20c%2", b"a b c%2");
        check(percent, b"%27%zz+%u003cscript", b"'%zz+<script");
        check(percent, b"..%c0%af..%c1%1c", b"../..\\");
        check(percent, b"%e0%80%ae%f0%80%80%ae%f8%80%80%80%af%fc%80%80%80%80%ae", b"../.");
        check(percent, "%e0%a0%80 à ÀÁ".as_bytes(), "\u{800} à ÀÁ".as_bytes());
        check(escapes, b"&#x3c;img&#62 &LT;b&gt; &unknown; &#;", b"<img> <b> &unknown; &#;");
        check(escapes, br"\x3cscript\u003e\u{3c}\q\", br"<script><\q\");
        check(escapes, "／etc＜".as_bytes(), b"/etc<");
        check(escapes, "..∕..∖〈‹…".as_bytes(), "../..\\<<…".as_bytes());
        check(json_string, br#"a\n\"\u00e9\\"#, "a\n\"é\\".as_bytes());
        check(base64, b"PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", b"<script>alert(1)</script>");
    }

    #[test]
    fn base64_is_told_from_words() {
        assert!(may_be_base64(b"PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="));
        assert!(!may_be_base64(b"hello"));
        assert!(!may_be_base64(b"0123456789abcdef0123456789abcdef"));
        assert!(!may_be_base64(b"what is the best pizza?"));
        let embedded = |around: [&str; 2]| {
            let text = [around[0], "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg", around[1]].concat();
            base64_in(text.as_bytes()).map(|part| text[part].to_owned())
        };
        let expected = Some("PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg".to_owned());
        assert_eq!(embedded(["data:text/html;charset=x;Base64,", "=="]), expected);
        assert_eq!(embedded(["<iframe src=\"data:text/html;base64,", "==\">"]), expected);
        assert_eq!(embedded([";base64,!;base64,;base64,", ";base64,"]), expected, "decoys around it");
        assert_eq!(base64_in(b"a;base64,b;c"), None);
    }

    #[test]
    fn binary_is_told_from_text() {
        assert!(is_mostly_text("Größe: 3 µm\n".as_bytes()));
        assert!(!is_mostly_text(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01"));
    }
}
