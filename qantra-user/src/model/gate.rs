//! Enters: the fields of a request. Leaves: which of them the linear n-gram model flags. It runs on the proxy's
//! threads for every request, so it must never lock, and in the steady state never allocate.
//!
//! The ONNX file holds an additive model: a sum over n-gram ids. Such a model is fully described by what it says of each
//! id alone, so it is run once for all of them when it is loaded, and evaluated from that table afterwards. A field's
//! score is its worst window: the sum over a stretch of positions, divided by the square root of its length, over
//! stretches of several lengths. That way neither a long harmless text nor padding around an attack hides it.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use super::{
    cache::{Lookup, ScoreCache},
    error::ModelError,
    manifest::ManifestEntry,
    session::{IdSession, Runtime},
};
use crate::{
    detect::Weight,
    features::http::{
        GRAM_BUCKETS, GRAMS_PER_POSITION, KIND_ID_BASE, PADDING_ID, Position, SHAPES, for_each_position, gram_text,
        shape, shown, stretch,
    },
    features::request::ASKED_MAX,
    inspect::{Field, FieldKind, Fields, RequestView, RuleSigns},
};

/// Lengths of the windows, in positions. A field of at most the longest is a window as a whole, too.
const WINDOWS: [usize; 3] = [16, 32, 64];
const WINDOW_MAX: usize = 64;
/// Added to a window's length under the root, so that a few positions alone do not decide.
const LENGTH_PRIOR: f32 = 4.0;
/// Table entries are multiples of the largest weight's share of this.
const TABLE_STEPS: f32 = 32_000.0;

/// What a thread needs to score requests: reused from one to the next.
#[derive(Debug)]
pub struct Scratch {
    fields: Fields,
    sums: Vec<i32>,
    cache: ScoreCache,
    cached_gate: u64,
    kinds: [f32; FieldKind::ALL.len()],
    worst: Vec<Worst>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            fields: Fields::new(),
            sums: Vec::new(),
            cache: ScoreCache::new(),
            cached_gate: 0,
            kinds: [f32::NEG_INFINITY; FieldKind::ALL.len()],
            worst: Vec::with_capacity(ASKED_MAX + 1),
        }
    }
}

impl Scratch {
    /// Empty buffers; they grow to what requests need and stay there.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the scores of fields seen before: to measure what they cost.
    pub fn forget(&mut self) {
        self.cache.clear();
    }

    /// The fields of the request that was scored last.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }
}

#[derive(Debug, Clone, Copy)]
struct Worst {
    field: usize,
    excess: f32,
}

/// What the gate says of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateScore {
    /// By how much the worst field's score is above its kind's threshold.
    pub excess: f32,
    /// The worst field: an index into [`Scratch::fields`]. `None` for a request without any field.
    pub field: Option<usize>,
    /// Whether the classifier should be asked.
    pub flagged: bool,
}

/// A request on its way to the classifier and the judge: it owns what they need, the request may be gone by then.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its worst fields, worst first: no more than [`ASKED_MAX`].
    pub fields: Vec<FlaggedField>,
    /// Of each kind of field the worst score above its threshold; `NEG_INFINITY` where there is none.
    pub kinds: [f32; FieldKind::ALL.len()],
    /// What its site's rules matched; `None` where there are no rules, or they are not done yet.
    pub signs: Option<RuleSigns>,
}

/// One of the worst fields of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct FlaggedField {
    /// The field's name.
    pub name: String,
    /// An excerpt of its decoded value, with secrets masked.
    pub excerpt: String,
    /// The classifier's input.
    pub ids: Vec<u16>,
    /// What is said of that stretch as a whole.
    pub shape: [u16; SHAPES],
    /// The gate's score.
    pub score: f32,
    /// The threshold that it crossed.
    pub threshold: f32,
    /// The n-grams that weighed most, heaviest first.
    pub weights: Vec<Weight>,
    /// By how much the log-odds of an attack are lowered, because the site knows such values. The caller sets it.
    pub lowered_by: f32,
}

impl FlaggedField {
    /// The gate's score above its threshold.
    #[must_use]
    pub fn excess(&self) -> f32 {
        self.score - self.threshold
    }
}

/// The linear model, tabulated.
#[derive(Debug)]
pub struct RequestGate {
    table: Box<[i16; GRAM_BUCKETS]>,
    scale: f32,
    thresholds: [f32; FieldKind::ALL.len()],
    /// From which score on a field is a reason to ask classifier and judge: a little above the threshold, since what stands
    /// just above it is hardly ever an attack, and common header fields do.
    asks: [f32; FieldKind::ALL.len()],
    /// Tells caches of one model from those of another.
    number: u64,
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// The best window of a field: its score and its positions.
#[derive(Debug, Clone, Copy)]
struct Window {
    score: f32,
    start: usize,
    end: usize,
}

impl RequestGate {
    /// Tabulates the model and checks that the table says what the model says.
    ///
    /// # Errors
    /// [`ModelError`] when the file does not load, is not additive, or lacks a threshold (`flag_<kind>`).
    pub fn load(runtime: &Runtime, entry: &ManifestEntry, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut session = IdSession::new(runtime, &entry.name, bytes, 1)?;
        let every: Vec<i32> = (0..GRAM_BUCKETS as i32).collect();
        let weights = session.run(&every, 1)?;
        let shape = |reason: &str| ModelError::Shape { model: entry.name.clone(), reason: reason.into() };
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(shape("a weight is not a finite number"));
        }
        check_additive(&mut session, &weights)?.then_some(()).ok_or_else(|| shape("is not additive over its ids"))?;
        let largest = weights.iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()));
        let scale = largest / TABLE_STEPS;
        let mut table = Box::new([0_i16; GRAM_BUCKETS]);
        for (slot, weight) in table.iter_mut().zip(&weights) {
            *slot = (weight / scale).round() as i16;
        }
        let mut thresholds = [0.0; FieldKind::ALL.len()];
        let mut asks = [0.0; FieldKind::ALL.len()];
        for kind in FieldKind::ALL {
            thresholds[kind as usize] = entry.threshold(&format!("flag_{}", kind.as_str()))?;
            asks[kind as usize] = entry.threshold(&format!("ask_{}", kind.as_str()))?;
        }
        Ok(Self { table, scale, thresholds, asks, number: NUMBER.fetch_add(1, Ordering::Relaxed) })
    }

    /// The weight of each n-gram, as it is used: what training begins with.
    #[must_use]
    pub fn table_weights(&self) -> Vec<f32> {
        self.table.iter().map(|steps| f32::from(*steps) * self.scale).collect()
    }

    /// The thresholds, by kind.
    #[must_use]
    pub const fn thresholds(&self) -> &[f32; FieldKind::ALL.len()] {
        &self.thresholds
    }

    /// Takes a request apart and scores every field.
    pub fn score(&self, request: &RequestView<'_>, scratch: &mut Scratch) -> GateScore {
        let Scratch { fields, sums, cache, cached_gate, kinds, worst } = scratch;
        if *cached_gate != self.number {
            cache.clear();
            *cached_gate = self.number;
        }
        fields.read(request);
        worst.clear();
        *kinds = [f32::NEG_INFINITY; FieldKind::ALL.len()];
        let mut is_flagged = false;
        for (index, field) in fields.iter().enumerate() {
            let score = match cache.find(field.kind, field.value) {
                Lookup::Found(score) => score,
                Lookup::TooLong => self.window(&field, sums).score,
                Lookup::Missing(place) => {
                    let score = self.window(&field, sums).score;
                    cache.keep(place, field.kind, field.value, score);
                    score
                }
            };
            let excess = score - self.thresholds[field.kind as usize];
            is_flagged |= score > self.asks[field.kind as usize];
            let of_kind = &mut kinds[field.kind as usize];
            *of_kind = of_kind.max(excess);
            keep_worst(worst, Worst { field: index, excess }, fields);
        }
        let first = worst.first();
        GateScore {
            excess: first.map_or(f32::NEG_INFINITY, |one| one.excess),
            field: first.map(|one| one.field),
            flagged: is_flagged,
        }
    }

    /// What classifier and judge need of the request that was scored last on this scratch. Allocates: it is for the few
    /// requests that are flagged.
    #[must_use]
    pub fn case(&self, scratch: &mut Scratch, signs: Option<RuleSigns>) -> Case {
        let Scratch { fields, sums, kinds, worst, .. } = scratch;
        let described = worst.iter().filter_map(|one| Some(self.describe(&fields.get(one.field)?, sums)));
        Case { fields: described.collect(), kinds: *kinds, signs }
    }

    fn describe(&self, field: &Field<'_>, sums: &mut Vec<i32>) -> FlaggedField {
        let window = self.window(field, sums);
        let mut positions = Vec::with_capacity(sums.len());
        for_each_position(field.kind, field.value, |position| positions.push(position));
        let shown = shown(window.start..window.end, positions.len());
        let mut ids: Vec<u16> = positions[shown.clone()].iter().flat_map(|position| position.ids).collect();
        ids.push(KIND_ID_BASE + field.kind as u16);
        let shape = shape(stretch(field.value, &positions, &shown));
        FlaggedField {
            name: field.name.to_owned(),
            excerpt: crate::inspect::excerpt(field, positions.get(window.start).map_or(0, |first| first.at), 120),
            ids,
            shape,
            score: window.score,
            threshold: self.thresholds[field.kind as usize],
            weights: self.weights(field, &positions, window),
            lowered_by: 0.0,
        }
    }

    /// The n-grams of a window that weighed most.
    fn weights(&self, field: &Field<'_>, positions: &[Position], window: Window) -> Vec<Weight> {
        let norm = self.norm(window.end - window.start);
        let mut heaviest: Vec<(i16, usize, usize)> = Vec::with_capacity(WINDOW_MAX * GRAMS_PER_POSITION);
        for (index, position) in positions.iter().enumerate().take(window.end).skip(window.start) {
            for (n, id) in position.ids.iter().enumerate() {
                heaviest.push((self.table[usize::from(*id)], index, n + 1));
            }
        }
        heaviest.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut weights: Vec<Weight> = Vec::with_capacity(6);
        for (weight, last, length) in heaviest.into_iter().take(32) {
            if weight <= 0 || weights.len() == 6 {
                break;
            }
            let feature = format!("\"{}\"", gram_text(field.value, positions, last, length));
            if !weights.iter().any(|known| known.feature == feature) {
                weights.push(Weight { feature, weight: f32::from(weight) * norm });
            }
        }
        weights
    }

    /// The field's window with the highest score.
    fn window(&self, field: &Field<'_>, sums: &mut Vec<i32>) -> Window {
        sums.clear();
        sums.push(0);
        let mut sum = 0_i32;
        for_each_position(field.kind, field.value, |position| {
            for id in position.ids {
                // Ids are below the table's length by construction; the mask says so to the compiler.
                sum = sum.wrapping_add(i32::from(self.table[usize::from(id) % GRAM_BUCKETS]));
            }
            sums.push(sum);
        });
        let length = sums.len() - 1;
        let mut best = Window { score: f32::NEG_INFINITY, start: 0, end: 0 };
        let (mut size, mut norm) = (0, 0.0);
        let mut consider = |start: usize, end: usize| {
            if end - start != size {
                (size, norm) = (end - start, self.norm(end - start));
            }
            let score = sums[end].wrapping_sub(sums[start]) as f32 * norm;
            if score > best.score {
                best = Window { score, start, end };
            }
        };
        for_each_window(length, |window| consider(window.start, window.end));
        best
    }

    fn norm(&self, length: usize) -> f32 {
        self.scale / (length as f32 + LENGTH_PRIOR).sqrt()
    }
}

/// The windows of a field of so many positions: stretches of several lengths, shorter ones first, from the field's beginning
/// on; of a field that is not longer than the longest, the whole of it before them.
#[inline]
pub fn for_each_window(positions: usize, mut visit: impl FnMut(Range<usize>)) {
    if positions <= WINDOW_MAX {
        visit(0..positions);
    }
    for window in WINDOWS {
        if positions <= window {
            break;
        }
        for start in (0..positions - window).step_by(window / 2) {
            visit(start..start + window);
        }
        visit(positions - window..positions);
    }
}

/// Keeps the worst few, worst first, and of equal fields one: what stands in ten places is still one thing to look at.
#[inline]
fn keep_worst(worst: &mut Vec<Worst>, one: Worst, fields: &Fields) {
    if worst.len() == ASKED_MAX && worst.last().is_some_and(|last| last.excess >= one.excess) {
        return;
    }
    let at = worst.partition_point(|other| other.excess >= one.excess);
    let is_same = |other: &Worst| {
        let pair = fields.get(other.field).zip(fields.get(one.field));
        pair.is_some_and(|(a, b)| a.kind == b.kind && a.value == b.value)
    };
    if worst[..at].iter().rev().take_while(|other| other.excess == one.excess).any(is_same) {
        return;
    }
    worst.insert(at, one);
    worst.truncate(ASKED_MAX);
}

/// Whether the model's answer for lists of ids is the sum of its answers for the single ids.
fn check_additive(session: &mut IdSession, weights: &[f32]) -> Result<bool, ModelError> {
    const WIDTH: usize = 4 * GRAMS_PER_POSITION;
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut ids = Vec::with_capacity(64 * WIDTH);
    for list in 0..64 {
        for place in 0..WIDTH {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (state >> 40) as i32 % GRAM_BUCKETS as i32;
            ids.push(if place > list % WIDTH { i32::from(PADDING_ID) } else { id });
        }
    }
    let sums = session.run(&ids, WIDTH)?;
    Ok(ids.chunks_exact(WIDTH).zip(&sums).all(|(list, sum)| {
        let expected: f32 = list.iter().filter_map(|id| weights.get(*id as usize)).sum();
        let size: f32 = list.iter().filter_map(|id| weights.get(*id as usize)).map(|weight| weight.abs()).sum();
        (sum - expected).abs() <= 1e-4 * (1.0 + size)
    }))
}
