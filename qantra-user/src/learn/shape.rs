//! Enters: a path, a value. Leaves: their shapes: the endpoint with what varies left out; type, kinds of characters and
//! length of a value. Shapes say nothing that could be turned back into the value.

/// Longest name of an endpoint.
const NAME_BYTES_MAX: usize = 72;
/// Segments of a path that tell endpoints apart; what lies deeper is one.
const SEGMENTS_MAX: usize = 6;
/// Longest value that is looked at for a narrow type.
const TYPED_BYTES_MAX: usize = 64;
/// Bytes of a value that are looked at for their kinds.
const LOOKED_AT_MAX: usize = 4_096;

/// A method and the shape of a path: `GET /item/#`. Numbers are `#`, ids and the like `*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    bytes: [u8; NAME_BYTES_MAX],
    length: u8,
}

impl Endpoint {
    /// The endpoint of a request; what follows `?` is left out.
    #[must_use]
    pub fn of(method: &str, target: &[u8]) -> Self {
        let mut endpoint = Self { bytes: [0; NAME_BYTES_MAX], length: 0 };
        endpoint.push(&method.as_bytes()[..method.len().min(8)]);
        endpoint.push(b" ");
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        for (number, segment) in path.split(|byte| *byte == b'/').enumerate() {
            endpoint.push(b"/");
            if number == SEGMENTS_MAX {
                endpoint.push(b"*");
                break;
            }
            endpoint.push_segment(segment);
        }
        endpoint
    }

    /// One by its name, as [`as_str`](Self::as_str) gave it.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut endpoint = Self { bytes: [0; NAME_BYTES_MAX], length: 0 };
        endpoint.push(name.as_bytes());
        endpoint
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }

    /// A file's ending says more than its stem: `/img/*.png`.
    fn push_segment(&mut self, segment: &[u8]) {
        let dot = segment.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
        let (stem, ending) = segment.split_at(dot.unwrap_or(segment.len()));
        let is_ending = ending.len() <= 6 && ending.iter().skip(1).all(u8::is_ascii_alphanumeric);
        let (stem, ending) = if is_ending { (stem, ending) } else { (segment, &[][..]) };
        let digits = stem.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits > 0 && digits == stem.len() {
            self.push(b"#");
        } else if stem.len() > 32 || (digits >= 2 && stem.len() >= 8) {
            self.push(b"*");
        } else {
            self.push(stem);
        }
        self.push(ending);
    }

    fn push(&mut self, text: &[u8]) {
        for byte in text {
            let Some(place) = self.bytes.get_mut(usize::from(self.length)) else { return };
            *place = if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'?' };
            self.length += 1;
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The narrowest type that a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ValueType {
    /// Digits, perhaps with a sign.
    Integer,
    /// Digits with one point.
    Number,
    /// `8-4-4-4-12` hexadecimal digits.
    Uuid,
    /// Hexadecimal digits, eight and more.
    Hex,
    /// `2026-11-21`, perhaps with a time.
    Date,
    /// Letters, digits, `-` and `_`.
    Word,
    /// `name@host`.
    Email,
    /// Anything else.
    Text,
}

impl ValueType {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// The type of a value.
    #[must_use]
    pub fn of(value: &[u8]) -> Self {
        if value.is_empty() || value.len() > TYPED_BYTES_MAX {
            return Self::Text;
        }
        let unsigned = value.strip_prefix(b"-").unwrap_or(value);
        let all = |part: &[u8], is: fn(&u8) -> bool| !part.is_empty() && part.iter().all(is);
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let dashes = value.iter().filter(|byte| **byte == b'-').count();
        if all(unsigned, u8::is_ascii_digit) {
            Self::Integer
        } else if unsigned.iter().filter(|byte| **byte == b'.').count() == 1
            && unsigned.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
            && unsigned.len() > 1
        {
            Self::Number
        } else if value.len() == 36 && dashes == 4 && value.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-') {
            Self::Uuid
        } else if value.len() >= 8 && value.iter().all(u8::is_ascii_hexdigit) {
            Self::Hex
        } else if is_date(value) {
            Self::Date
        } else if value.iter().all(is_word) {
            Self::Word
        } else if is_email(value) {
            Self::Email
        } else {
            Self::Text
        }
    }
}

fn is_date(value: &[u8]) -> bool {
    let form = b"0000-00-00";
    let fits = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    value.len() >= form.len()
        && value.len() <= 32
        && value.iter().zip(form).all(fits)
        && value[form.len()..].iter().all(|byte| byte.is_ascii_digit() || b"T:.Z+- ".contains(byte))
}

fn is_email(value: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    match value.iter().position(|byte| *byte == b'@') {
        Some(at @ 1..) => at + 1 < value.len() && value.iter().enumerate().all(|(i, byte)| i == at || is_part(byte)),
        _ => false,
    }
}

/// Which kinds of characters a value has, one bit each: letters, digits, blanks, and almost every sign by itself.
#[must_use]
pub(super) fn characters(value: &[u8]) -> u32 {
    value.iter().take(LOOKED_AT_MAX).fold(0, |mask, byte| mask | 1 << BIT[usize::from(*byte)])
}

/// The length in steps of a factor of two.
#[must_use]
pub(super) const fn length_step(value: &[u8]) -> u8 {
    (usize::BITS - value.len().leading_zeros()) as u8
}

/// The bit of each byte. Signs that mean the same to most parsers share one.
const BIT: [u8; 256] = {
    const SIGNS: [&[u8]; 26] = [
        b"-_", b".", b",", b":", b";", b"!?", b"@", b"#", b"$", b"%", b"^~", b"&", b"*", b"()", b"+", b"=", b"[]",
        b"{}", b"<", b">", b"/", b"\\", b"|", b"'", b"\"", b"`",
    ];
    let mut table = [5_u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => 0,
            b'0'..=b'9' => 1,
            b' ' => 2,
            b'\t' | b'\n' | b'\r' => 3,
            0x80..=0xFF => 4,
            _ => 5,
        };
        byte += 1;
    }
    let mut sign = 0;
    while sign < SIGNS.len() {
        let mut at = 0;
        while at < SIGNS[sign].len() {
            table[SIGNS[sign][at] as usize] = 6 + sign as u8;
            at += 1;
        }
        sign += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Endpoint, ValueType, characters};

    #[test]
    fn endpoints_leave_out_what_varies() {
        let of = |target: &str| Endpoint::of("GET", target.as_bytes()).as_str().to_owned();
        assert_eq!(of("/item/42?x=1"), of("/item/7"));
        assert_eq!(of("/item/42"), "GET /item/#");
        assert_eq!(of("/img/9f86d081884c7d65.png"), "GET /img/*.png");
        assert_eq!(of("/user/2f1c9d58-1b9c-4a52-8f0e-1d2c3b4a5f60/edit"), "GET /user/*/edit");
        assert_eq!(of("/"), "GET /");
        assert_ne!(Endpoint::of("POST", b"/item/42"), Endpoint::of("GET", b"/item/42"));
    }

    #[test]
    fn types_are_the_narrowest() {
        for (value, expected) in [
            ("42", ValueType::Integer),
            ("-42", ValueType::Integer),
            ("4.2", ValueType::Number),
            (".", ValueType::Text),
            ("2f1c9d58-1b9c-4a52-8f0e-1d2c3b4a5f60", ValueType::Uuid),
            ("deadbeef", ValueType::Hex),
            ("2026-11-21T12:00:00Z", ValueType::Date),
            ("blue-ish", ValueType::Word),
            ("a.b@example.org", ValueType::Email),
            ("1' or 1=1", ValueType::Text),
            ("a@b@c", ValueType::Text),
            ("", ValueType::Text),
        ] {
            assert_eq!(ValueType::of(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn every_sign_that_attacks_are_made_of_is_told_apart() {
        let signs = b"'\"`<>;|&$\\/=%#(";
        let bits: std::collections::BTreeSet<u32> = signs.iter().map(|sign| characters(&[*sign])).collect();
        assert_eq!(bits.len(), signs.len());
    }

    proptest! {
        #[test]
        fn no_path_is_too_odd(target in proptest::collection::vec(any::<u8>(), 0..300)) {
            let endpoint = Endpoint::of("GET", &target);
            prop_assert!(endpoint.as_str().starts_with("GET /") && endpoint.as_str().len() <= 72);
        }
    }
}
