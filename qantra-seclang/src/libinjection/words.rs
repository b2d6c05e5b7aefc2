//! Enters: words of a value. Leaves: what kind of token each is. The list is libinjectionrs's; it is put into a table of
//! hashes once for the whole program.

use std::sync::LazyLock;

use libinjectionrs::sqli::sqli_data::SQL_KEYWORDS;

use super::{fold::TOKENS_MAX, token::kind};

/// Words are shorter than this.
pub(super) const WORD_MAX: usize = 32;

/// A word in capitals, filled up with zeros.
type Padded = [u8; WORD_MAX];

const SLOTS: usize = 1 << 12;
const PRINT_SLOTS: usize = 1 << 15;

/// The tables.
#[derive(Debug)]
pub(super) struct Words {
    /// For each hash: 16 bits more of it, and the number of the word, from 1.
    slots: Box<[u32]>,
    words: Vec<(Padded, u8)>,
    /// Fingerprints of SQL, packed; 0 is none.
    prints: Box<[u64]>,
}

static WORDS: LazyLock<Words> = LazyLock::new(Words::build);

impl Words {
    pub(super) fn get() -> &'static Self {
        &WORDS
    }

    fn build() -> Self {
        let mut table = Self { slots: vec![0; SLOTS].into(), words: Vec::new(), prints: vec![0; PRINT_SLOTS].into() };
        for known in SQL_KEYWORDS {
            // Fingerprints stand in the same list, behind a 0.
            if known.token_type == b'F' {
                let packed = pack(known.word.as_bytes().get(1..).unwrap_or_default());
                let mut at = print_slot(packed);
                while table.prints[at] != 0 {
                    at = (at + 1) % PRINT_SLOTS;
                }
                table.prints[at] = packed;
            } else if let Some(word) = padded(&[known.word.as_bytes()]) {
                let hash = hash(&word);
                let mut at = slot(hash);
                while table.slots[at] != 0 {
                    at = (at + 1) % SLOTS;
                }
                table.words.push((word, known.token_type));
                let number = u32::try_from(table.words.len()).unwrap_or(u32::MAX);
                table.slots[at] = tag(hash) | number & 0xffff;
            }
        }
        table
    }

    /// The kind of a word, and the word as the list has it.
    pub(super) fn find(&self, parts: &[&[u8]]) -> Option<(u8, &[u8])> {
        let word = padded(parts)?;
        let hash = hash(&word);
        let mut at = slot(hash);
        loop {
            let found = self.slots[at];
            if found == 0 {
                return None;
            }
            if found & !0xffff == tag(hash) {
                let (known, kind) = self.words.get((found & 0xffff) as usize - 1)?;
                if *known == word {
                    let length: usize = parts.iter().map(|part| part.len()).sum();
                    return Some((*kind, &known[..length]));
                }
            }
            at = (at + 1) % SLOTS;
        }
    }

    /// The kind of a word: a bareword when it is in no list.
    pub(super) fn kind(&self, word: &[u8]) -> u8 {
        self.find(&[word]).map_or(kind::BAREWORD, |(kind, _)| kind)
    }

    /// Whether a fingerprint is one of SQL.
    pub(super) fn is_fingerprint(&self, kinds: &[u8]) -> bool {
        if kinds.is_empty() {
            return false;
        }
        let packed = pack(kinds);
        let mut at = print_slot(packed);
        loop {
            match self.prints[at] {
                0 => return false,
                known if known == packed => return true,
                _ => at = (at + 1) % PRINT_SLOTS,
            }
        }
    }
}

/// Joins parts, in capitals. `None` when they are longer than any word.
fn padded(parts: &[&[u8]]) -> Option<Padded> {
    let mut word = [0; WORD_MAX];
    let mut at = 0;
    for part in parts {
        word.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    if at == 0 || at == WORD_MAX {
        return None;
    }
    for byte in &mut word {
        *byte = byte.to_ascii_uppercase();
    }
    Some(word)
}

fn hash(word: &Padded) -> u64 {
    let (chunks, _) = word.as_chunks::<8>();
    let mixed = chunks.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |hash, chunk| {
        (hash.rotate_left(29) ^ u64::from_le_bytes(*chunk)).wrapping_mul(0xd6e8_feb8_6659_fd93)
    });
    mixed ^ mixed >> 32
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
const fn slot(hash: u64) -> usize {
    hash as usize % SLOTS
}

#[expect(clippy::cast_possible_truncation, reason = "some middle bits are wanted")]
const fn tag(hash: u64) -> u32 {
    (hash >> 16) as u32 & !0xffff
}

/// Kinds as the list has them: capitals, each a byte.
fn pack(kinds: &[u8]) -> u64 {
    kinds.iter().take(TOKENS_MAX).fold(0, |packed, kind| packed << 8 | u64::from(kind.to_ascii_uppercase()))
}

const fn print_slot(packed: u64) -> usize {
    (packed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % PRINT_SLOTS
}
