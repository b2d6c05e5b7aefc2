//! Enters: one decoded field. Leaves: hashed 1- to 4-grams of its normalised bytes, four ids for each position. It
//! must never change without its schema hash: models are trained on these very ids.
//!
//! Normalising keeps what attacks are made of (punctuation, its neighbours, words) and drops what merely varies: case,
//! digits, kinds of blanks, letters beyond ASCII, long repetitions.

use crate::{features::Schema, inspect::FieldKind};

/// Buckets that n-grams are hashed into.
pub const GRAM_BUCKETS: usize = 1 << 15;
/// N-grams that end at one position: one of each length from 1 to 4.
pub const GRAMS_PER_POSITION: usize = 4;
/// The first id of the field kinds, which follow the n-grams in a classifier's input.
pub const KIND_ID_BASE: u16 = GRAM_BUCKETS as u16;
/// The id that fills short lists; it adds nothing.
pub const PADDING_ID: u16 = KIND_ID_BASE + FieldKind::ALL.len() as u16;
/// Ids that a classifier knows, the padding included.
pub const CLASSIFIER_IDS: usize = PADDING_ID as usize + 1;
/// Most positions of a field that a classifier is shown: those around the n-grams that the gate found worst.
pub const CLASSIFIER_POSITIONS_MAX: usize = 96;

/// Any letter or sign beyond ASCII.
const HIGH: u8 = 0x80;
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
    for (at, byte) in value.iter().enumerate() {
        let class = NORMAL[usize::from(*byte)];
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
        [b"", b"1' OR 10=10 --", b"../../etc/passwd\0", b"<Script>\t\n  aaaaaaaa \xC3\xA9\xC3\xA9\xC3\xA9 ${x}"];
    let mut hash: u64 = 0xCBF2_9CE4_8422_2325;
    for (probe, kind) in PROBES.iter().zip([FieldKind::Path, FieldKind::Value, FieldKind::Header, FieldKind::Text]) {
        for_each_position(kind, probe, |position| {
            for id in position.ids {
                hash = (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01B3);
            }
        });
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

    use super::{FieldKind, GRAM_BUCKETS, Position, for_each_position, gram_text, http_schema};

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
    fn the_schema_is_this_one() {
        // When this fails on purpose: train again, the shipped models no longer fit.
        assert_eq!(http_schema().hash(), "30ed0b6a84a31257");
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
