//! Enters: one decoded field. Leaves: hashed 1- to 4-grams of its normalised bytes, four ids for each position. It
//! must never change without its schema hash: models are trained on these very ids.
//!
//! Normalising keeps what attacks are made of (punctuation, its neighbours, words) and drops what merely varies: case,
//! digits, kinds of blanks, letters beyond ASCII, long repetitions.

use std::ops::Range;

use libinjectionrs::{detect_sqli, detect_xss};

use crate::{features::Schema, inspect::FieldKind};

/// Buckets that n-grams are hashed into.
pub const GRAM_BUCKETS: usize = 1 << 15;
/// N-grams that end at one position: one of each length from 1 to 4.
pub const GRAMS_PER_POSITION: usize = 4;
/// The first id of the field kinds, which follow the n-grams in a classifier's input.
pub const KIND_ID_BASE: u16 = GRAM_BUCKETS as u16;
/// The first id of what is said of a stretch of a field as a whole. The judge reads these ids as steps; a classifier has rows for
/// them and is not given them.
pub const SHAPE_ID_BASE: u16 = KIND_ID_BASE + FieldKind::ALL.len() as u16;
/// Ids of a stretch as a whole: eight steps each of length, share of punctuation, kinds of punctuation and share of
/// digits; and what libinjection says, neither, of SQL, of scripts, both.
pub const SHAPE_IDS: u16 = 4 * 8 + 4;
/// How many ids [`shape`] gives.
pub const SHAPES: usize = 5;
/// The id that fills short lists; it adds nothing.
pub const PADDING_ID: u16 = SHAPE_ID_BASE + SHAPE_IDS;
/// Ids that a classifier knows, the padding included.
pub const CLASSIFIER_IDS: usize = PADDING_ID as usize + 1;
/// Most positions of a field that a classifier is shown: those around the n-grams that the gate found worst.
pub const CLASSIFIER_POSITIONS_MAX: usize = 96;

/// Most bytes of a field that [`shape`] looks at.
const SHAPE_BYTES_MAX: usize = 2048;

/// Any letter or sign beyond ASCII.
const HIGH: u8 = 0x80;
/// A byte that is no part of valid UTF-8.
const INVALID: u8 = 0x81;
const NUL: u8 = 0x1E;
const CONTROL: u8 = 0x1D;
const END: u8 = 0x1C;
/// The mark at a field's start is this plus its kind, so that n-grams there know the kind.
const START: u8 = 0x01;

const MASKS: [u32; GRAMS_PER_POSITION] = [0xFF, 0xFFFF, 0xFF_FFFF, 0xFFFF_FFFF];
const SALTS: [u32; GRAMS_PER_POSITION] = [0x68E3_1DA4, 0xB529_7A4D, 0x1B56_C4E9, 0x9C7F_03D1];

/// Where a position of the normalised field comes from, and the ids of the n-grams that end there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the byte in the field's value; the value's length at the end mark.
    pub at: usize,
    /// Ids below [`GRAM_BUCKETS`], for n-grams of length 1, 2, 3 and 4.
    pub ids: [u16; GRAMS_PER_POSITION],
}

/// Walks over a field's positions: the start mark, each normalised byte, the end mark.
#[inline]
pub fn for_each_position(kind: FieldKind, value: &[u8], mut visit: impl FnMut(Position)) {
    let mut last_four = u32::from(START + kind as u8);
    visit(Position { at: 0, ids: ids(last_four) });
    let (mut previous, mut run) = (0_u8, 0_u8);
    let mut valid = Valid::of(value);
    for (at, byte) in value.iter().enumerate() {
        let class = match NORMAL[usize::from(*byte)] {
            HIGH if !valid.holds(value, at) => INVALID,
            class => class,
        };
        if class == previous {
            run += u8::from(run < 8);
            let run_max = match class {
                b' ' => 1,
                HIGH => 2,
                _ => 4,
            };
            if run > run_max {
                continue;
            }
        } else {
            previous = class;
            run = 1;
        }
        last_four = last_four << 8 | u32::from(class);
        visit(Position { at, ids: ids(last_four) });
    }
    visit(Position { at: value.len(), ids: ids(last_four << 8 | u32::from(END)) });
}

/// Up to where a field is known to be valid UTF-8, or not to be.
struct Valid {
    valid_end: usize,
    invalid_end: usize,
}

impl Valid {
    fn of(value: &[u8]) -> Self {
        Self::from(value, 0)
    }

    /// The next stretch of valid bytes, and of those behind it that are not.
    fn from(value: &[u8], at: usize) -> Self {
        match std::str::from_utf8(&value[at..]) {
            Ok(_) => Self { valid_end: value.len(), invalid_end: value.len() },
            Err(error) => {
                let valid_end = at + error.valid_up_to();
                // A character that is cut off at the end was cut by a limit.
                let length = error.error_len().unwrap_or(0);
                let valid_end = if length == 0 { value.len() } else { valid_end };
                Self { valid_end, invalid_end: valid_end + length }
            }
        }
    }

    #[inline]
    fn holds(&mut self, value: &[u8], at: usize) -> bool {
        while at >= self.invalid_end && self.invalid_end < value.len() {
            *self = Self::from(value, self.invalid_end);
        }
        at < self.valid_end
    }
}

/// The positions of a field that a classifier is shown, of a window among so many: the window, and as much on both sides as
/// there is room for.
#[must_use]
pub fn shown(window: Range<usize>, positions: usize) -> Range<usize> {
    let spare = CLASSIFIER_POSITIONS_MAX.saturating_sub(window.len());
    let end = positions.min(window.end + spare / 2);
    let start = end.saturating_sub(CLASSIFIER_POSITIONS_MAX);
    start..positions.min(start + CLASSIFIER_POSITIONS_MAX)
}

/// The bytes of a value that some of its positions stand for. Of a long field that which is shown, as if it were all: text
/// around an attack must not make it look harmless.
#[must_use]
pub fn stretch<'a>(value: &'a [u8], positions: &[Position], shown: &Range<usize>) -> &'a [u8] {
    match (positions.get(shown.start), positions.get(shown.end.saturating_sub(1))) {
        (Some(first), Some(last)) if shown.len() < positions.len() => &value[first.at..last.at],
        _ => value,
    }
}

/// What is said of a field, or of the stretch of it that is shown, as a whole: for the judge, of the few that get there.
#[must_use]
pub fn shape(value: &[u8]) -> [u16; SHAPES] {
    let value = &value[..value.len().min(SHAPE_BYTES_MAX)];
    let (mut punctuation, mut digits, mut kinds) = (0_usize, 0_usize, 0_u128);
    for byte in value {
        if byte.is_ascii_punctuation() {
            punctuation += 1;
            kinds |= 1 << byte;
        }
        digits += usize::from(byte.is_ascii_digit());
    }
    let share = |count: usize| (count * 16 / value.len().max(1)).min(7) as u16;
    let length = (usize::BITS - value.len().leading_zeros()).saturating_sub(1).min(7) as u16;
    let injection = u16::from(is_sqli(value)) + 2 * u16::from(detect_xss(value).is_injection());
    [
        SHAPE_ID_BASE + length,
        SHAPE_ID_BASE + 8 + share(punctuation),
        SHAPE_ID_BASE + 16 + kinds.count_ones().min(7) as u16,
        SHAPE_ID_BASE + 24 + share(digits),
        SHAPE_ID_BASE + 32 + injection,
    ]
}

/// Whether libinjection takes a value for SQL; a word or a number alone is a single token, and none.
fn is_sqli(value: &[u8]) -> bool {
    let is_word = value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    !is_word && detect_sqli(value).is_injection()
}

/// The n-gram of a length that ends at one of a field's positions, as text for evidence: normalised, the marks at the
/// field's ends as `^` and `$`. `positions` are all of the field's.
#[must_use]
pub fn gram_text(value: &[u8], positions: &[Position], last: usize, length: usize) -> String {
    let first = (last + 1).saturating_sub(length);
    let shown = |(index, position): (usize, &Position)| match value.get(position.at) {
        _ if index == 0 => '^',
        None => '$',
        Some(byte) => match NORMAL[usize::from(*byte)] {
            HIGH => '\u{FFFD}',
            NUL => '\u{2400}',
            byte if byte == b' ' || byte.is_ascii_graphic() => char::from(byte),
            _ => '\u{2426}',
        },
    };
    positions.iter().enumerate().take(last + 1).skip(first).map(shown).collect()
}

#[inline]
fn ids(last_four: u32) -> [u16; GRAMS_PER_POSITION] {
    std::array::from_fn(|n| {
        // Fibonacci hashing: the product's upper bits depend on every bit of the n-gram.
        let hashed = ((last_four & MASKS[n]) ^ SALTS[n]).wrapping_mul(0x9E37_79B1);
        (hashed >> (32 - GRAM_BUCKETS.trailing_zeros())) as u16
    })
}

/// What each byte is normalised to.
const NORMAL: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0 => NUL,
            b'\t' | b'\n' | 0x0B | 0x0C | b'\r' | b' ' => b' ',
            1..=31 | 127 => CONTROL,
            b'0'..=b'9' => b'0',
            letter @ b'A'..=b'Z' => letter + 32,
            high @ 0x80..=0xFF => {
                let _ = high;
                HIGH
            }
            other => other,
        };
        byte += 1;
    }
    table
};

/// The schema of these features. Its parameters hold a hash of the ids of probe strings, so that no change of the
/// code goes unseen.
#[must_use]
pub fn http_schema() -> Schema {
    const PROBES: [&[u8]; 4] =
        [b"", b"1' OR 10=10 --", b"../../etc/passwd\0\xFF", b"<Script>\t\n  aaaaaaaa \xC3\xA9\xC3\xA9\xC3\xA9 ${x}"];
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for (probe, kind) in PROBES.iter().zip([FieldKind::Path, FieldKind::Value, FieldKind::Header, FieldKind::Text]) {
        for_each_position(kind, probe, |position| {
            for id in position.ids {
                hash = (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01B3);
            }
        });
        for id in shape(probe) {
            hash = (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01B3);
        }
    }
    let kinds: Vec<&str> = FieldKind::ALL.iter().map(|kind| kind.as_str()).collect();
    Schema {
        name: "http-field-ngrams",
        columns: &[],
        parameters: vec![
            format!("buckets={GRAM_BUCKETS}"),
            format!("lengths=1..={GRAMS_PER_POSITION}"),
            format!("kinds={}", kinds.join(",")),
            format!("classifier_ids={CLASSIFIER_IDS}"),
            format!("classifier_positions={CLASSIFIER_POSITIONS_MAX}"),
            format!("probe={hash:016x}"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        FieldKind, GRAM_BUCKETS, PADDING_ID, Position, SHAPE_ID_BASE, for_each_position, gram_text, http_schema, shape,
    };

    fn positions(kind: FieldKind, value: &[u8]) -> Vec<Position> {
        let mut all = Vec::new();
        for_each_position(kind, value, |position| all.push(position));
        all
    }

    fn ids(kind: FieldKind, value: &[u8]) -> Vec<[u16; 4]> {
        positions(kind, value).iter().map(|position| position.ids).collect()
    }

    #[test]
    fn what_merely_varies_makes_no_difference() {
        let kind = FieldKind::Value;
        assert_eq!(ids(kind, b"UNION  Select 1"), ids(kind, b"union\tselect 7"));
        assert_eq!(ids(kind, "größe".as_bytes()), ids(kind, "gräße".as_bytes()));
        assert_eq!(ids(kind, &[b'a'; 10]), ids(kind, &[b'a'; 4]));
        assert_ne!(ids(kind, b"a'b"), ids(kind, b"a\"b"));
        assert_ne!(ids(kind, b"a"), ids(FieldKind::Path, b"a"));
    }

    #[test]
    fn grams_are_shown_as_they_were_hashed() {
        let value = b"x' OR 1";
        let all = positions(FieldKind::Value, value);
        assert_eq!(gram_text(value, &all, 2, 4), "^x'");
        assert_eq!(gram_text(value, &all, 5, 4), "' or");
        assert_eq!(gram_text(value, &all, all.len() - 1, 3), " 0$");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_told_from_letters() {
        let kind = FieldKind::Value;
        assert_ne!(ids(kind, b"a\xC3\xA9b"), ids(kind, b"a\xE9\xE9b"));
        assert_eq!(ids(kind, b"a\xFFb\xC3\xA9"), ids(kind, b"a\xFEb\xC3\xA8"));
    }

    #[test]
    fn shapes_tell_an_injection_from_words() {
        assert_eq!(shape(b"O'Brien")[4], SHAPE_ID_BASE + 32);
        assert_eq!(shape(b"1' OR '1'='1")[4], SHAPE_ID_BASE + 33);
        assert_eq!((shape(b"<script>alert(1)</script>")[4] - SHAPE_ID_BASE - 32) & 2, 2);
        assert!(shape(b"").iter().chain(&shape(&[b'%'; 5000])).all(|id| (SHAPE_ID_BASE..PADDING_ID).contains(id)));
    }

    #[test]
    fn the_schema_is_this_one() {
        // When this fails on purpose: train again, the shipped models no longer fit.
        assert_eq!(http_schema().hash(), "038482e016410632");
    }

    proptest! {
        #[test]
        fn positions_are_bounded_and_in_order(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let all = positions(FieldKind::Text, &value);
            prop_assert!(all.len() >= 2 && all.len() <= value.len() + 2);
            prop_assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at));
            prop_assert!(all.iter().flat_map(|position| position.ids).all(|id| usize::from(id) < GRAM_BUCKETS));
        }
    }
}
