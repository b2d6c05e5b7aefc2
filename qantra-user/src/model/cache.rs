//! Enters: fields that were scored. Leaves: their scores when the same bytes come again, as headers do. It must never
//! give one field the score of another: the bytes are compared, the hash only finds the place.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use crate::inspect::FieldKind;

/// Places; a newer field takes the place of an older one with the same hash.
const PLACES: usize = 512;
/// Longest field that is kept.
const BYTES_MAX: usize = 192;

/// A direct-mapped cache, one per thread: about 110 KiB.
#[derive(Debug, Clone)]
pub(super) struct ScoreCache {
    hasher: FixedState,
    places: Box<[Place]>,
}

#[derive(Debug, Clone)]
struct Place {
    kind: FieldKind,
    length: u8,
    score: f32,
    bytes: [u8; BYTES_MAX],
}

/// Where a field's score is, or would be kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lookup {
    Found(f32),
    Missing(usize),
    TooLong,
}

impl ScoreCache {
    pub(super) fn new() -> Self {
        let empty = Place { kind: FieldKind::Path, length: 0, score: 0.0, bytes: [0; BYTES_MAX] };
        Self { hasher: FixedState::with_seed(rand::random()), places: vec![empty; PLACES].into_boxed_slice() }
    }

    /// Forgets everything: another model scores differently.
    pub(super) fn clear(&mut self) {
        for place in &mut self.places {
            place.length = 0;
        }
    }

    #[inline]
    pub(super) fn find(&self, kind: FieldKind, bytes: &[u8]) -> Lookup {
        if bytes.len() > BYTES_MAX || bytes.is_empty() {
            return Lookup::TooLong;
        }
        let index = self.hasher.hash_one((kind, bytes)) as usize % PLACES;
        let place = &self.places[index];
        if place.kind == kind && usize::from(place.length) == bytes.len() && place.bytes[..bytes.len()] == *bytes {
            Lookup::Found(place.score)
        } else {
            Lookup::Missing(index)
        }
    }

    #[inline]
    pub(super) fn keep(&mut self, index: usize, kind: FieldKind, bytes: &[u8], score: f32) {
        let place = &mut self.places[index];
        place.kind = kind;
        place.length = bytes.len() as u8;
        place.score = score;
        place.bytes[..bytes.len()].copy_from_slice(bytes);
    }
}
