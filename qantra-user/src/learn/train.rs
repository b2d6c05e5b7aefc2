//! Enters: a [`Corpus`] and the weights in force. Leaves: new weights that are no worse on what nobody trained on, or the
//! reason why there are none. Pure, and without chance: the same input gives the same weights.
//!
//! Three things keep few sources from teaching that attacks are usual. A group of samples has only its share of the
//! weight. The weights in force pull everything back to themselves, and no update is longer than a share of them. And
//! what is learnt has to find the golden set's attacks as before: n-grams that one of them rests on get their weight back.

use super::{
    Label, Sample,
    corpus::{Bag, Corpus},
};
use crate::{
    features::http::{GRAM_BUCKETS, GRAMS_PER_POSITION, for_each_position},
    inspect::FieldKind,
};

/// The gate's windows: see `model/gate.rs`; a test there compares the two.
const WINDOWS: [usize; 3] = [16, 32, 64];
const LENGTH_PRIOR: f32 = 4.0;
/// Steps of an update that are tried, the whole of it first.
const STEPS: [f32; 4] = [1.0, 0.5, 0.25, 0.1];
/// What is given back for one golden sample may turn another: so often it is looked at again.
const SPARE_ROUNDS: u32 = 4;
/// One group in so many is held out.
const HELD_OUT: u64 = 5;

/// A linear model of fields and the threshold of each kind.
#[derive(Debug, Clone, PartialEq)]
pub struct GateWeights {
    /// One weight for each n-gram's id.
    pub weights: Vec<f32>,
    /// By kind, in the order of [`FieldKind::ALL`].
    pub thresholds: [f32; FieldKind::ALL.len()],
}

/// How training goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainOptions {
    /// How often each sample is looked at.
    pub epochs: u32,
    /// Adagrad's first step.
    pub rate: f32,
    /// How strongly the weights in force pull back.
    pub pull: f32,
    /// The share of its class's weight that one group which nobody chose may have.
    pub group_share_max: f64,
    /// Longest update, as a share of the length of the weights in force.
    pub update_max: f32,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { epochs: 4, rate: 0.3, pull: 0.01, group_share_max: 0.02, update_max: 0.25 }
    }
}

/// What a model says of labelled things.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct Figures {
    /// Attacks.
    pub malicious: u64,
    /// Attacks that are flagged.
    pub found: u64,
    /// Honest fields.
    pub benign: u64,
    /// Honest fields that are flagged.
    pub flagged: u64,
}

impl Figures {
    fn count(&mut self, is_malicious: bool, is_flagged: bool) {
        let (all, hit) = match is_malicious {
            true => (&mut self.malicious, &mut self.found),
            false => (&mut self.benign, &mut self.flagged),
        };
        *all += 1;
        *hit += u64::from(is_flagged);
    }

    /// Whether more attacks are missed or more honest fields flagged than by another model on the same things.
    #[must_use]
    pub const fn is_worse_than(&self, other: &Self) -> bool {
        self.found < other.found || self.flagged > other.flagged
    }

    const fn errors(&self) -> u64 {
        self.malicious - self.found + self.flagged
    }
}

/// Before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub struct BeforeAfter {
    /// By the weights in force.
    pub before: Figures,
    /// By the new ones.
    pub after: Figures,
}

/// What was trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// The new weights, with the thresholds as they were.
    pub gate: GateWeights,
    /// Which part of the update passed.
    pub step: f32,
    /// The golden set.
    pub golden: BeforeAfter,
    /// Local data that nothing was trained on.
    pub held_out: BeforeAfter,
    /// What was trained on.
    pub trained: BeforeAfter,
}

/// There is no new model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotTrained {
    /// Nothing to learn from.
    #[error("there is nothing to learn from: label findings with `qantra model label`, or name a file with --data")]
    NoData,
    /// The models in force are not what they must be.
    #[error("the weights in force are not finite, or not {GRAM_BUCKETS}")]
    BadPrior,
    /// No part of the update was as good as before.
    #[error(
        "what was learnt is worse than what is in force, at every part of the update: of the golden set it finds {} of {} \
         attacks ({} before) and flags {} of {} honest fields ({} before); held out, {} of {} ({}) and {} of {} ({}). The \
         models in force stay; look at the labels with `qantra dataset export`",
        golden.after.found, golden.after.malicious, golden.before.found,
        golden.after.flagged, golden.after.benign, golden.before.flagged,
        held_out.after.found, held_out.after.malicious, held_out.before.found,
        held_out.after.flagged, held_out.after.benign, held_out.before.flagged
    )]
    Worse {
        /// Of the smallest part that was tried.
        golden: Box<BeforeAfter>,
        /// The same.
        held_out: Box<BeforeAfter>,
    },
    /// Nothing changed for the better.
    #[error("the models in force already say of everything labelled what it is: there is nothing to gain")]
    NothingToGain,
}

impl GateWeights {
    /// By how much a field's worst window is above its kind's threshold.
    #[must_use]
    pub fn excess(&self, kind: FieldKind, value: &[u8], scratch: &mut TrainScratch) -> f32 {
        self.worst(kind, value, scratch).excess
    }

    fn worst(&self, kind: FieldKind, value: &[u8], scratch: &mut TrainScratch) -> Worst {
        let TrainScratch { ids, sums } = scratch;
        ids.clear();
        sums.clear();
        sums.push(0.0);
        let mut sum = 0.0_f64;
        for_each_position(kind, value, |position| {
            for id in position.ids {
                sum += f64::from(self.weights[usize::from(id) % GRAM_BUCKETS]);
            }
            ids.push(position.ids);
            sums.push(sum);
        });
        let length = ids.len();
        let mut best = Worst { excess: f32::NEG_INFINITY, start: 0, end: 0, norm: 0.0 };
        let threshold = self.thresholds[kind as usize];
        let mut consider = |start: usize, end: usize| {
            let norm = 1.0 / ((end - start) as f32 + LENGTH_PRIOR).sqrt();
            let excess = (sums[end] - sums[start]) as f32 * norm - threshold;
            if excess > best.excess {
                best = Worst { excess, start, end, norm };
            }
        };
        if length <= WINDOWS[WINDOWS.len() - 1] {
            consider(0, length);
        }
        for window in WINDOWS {
            if length <= window {
                break;
            }
            for start in (0..length - window).step_by(window / 2) {
                consider(start, start + window);
            }
            consider(length - window, length);
        }
        best
    }

    /// What these weights say of a part of a corpus.
    fn figures(&self, corpus: &Corpus, is_chosen: impl Fn(&Bag) -> bool, scratch: &mut TrainScratch) -> Figures {
        let mut figures = Figures::default();
        for bag in corpus.bags().iter().filter(|bag| is_chosen(bag)) {
            let mut excess = corpus.fields(bag).map(|(kind, value)| self.excess(kind, value, scratch));
            figures.count(bag.is_malicious, excess.any(|excess| excess > 0.0));
        }
        figures
    }

    /// What they say of the golden set.
    #[must_use]
    pub fn golden(&self, golden: &[Sample], scratch: &mut TrainScratch) -> Figures {
        let mut figures = Figures::default();
        for sample in golden {
            let excess = self.excess(sample.kind, sample.text.as_bytes(), scratch);
            figures.count(sample.label == Label::Malicious, excess > 0.0);
        }
        figures
    }

    /// Gives n-grams their weights back that a golden sample rests on of which another thing is said now: an attack that is lost, an
    /// honest field that is flagged. So one sample that is like what was learnt does not stand against all of it.
    fn spare(&mut self, prior: &Self, golden: &[Sample], scratch: &mut TrainScratch) {
        for _ in 0..SPARE_ROUNDS {
            let mut is_whole = true;
            for sample in golden {
                let is_attack = sample.label == Label::Malicious;
                let (kind, value) = (sample.kind, sample.text.as_bytes());
                let now = self.worst(kind, value, scratch);
                let before = prior.worst(kind, value, scratch);
                if (before.excess > 0.0) != is_attack || (now.excess > 0.0) == is_attack {
                    continue;
                }
                is_whole = false;
                let window = if is_attack { before } else { now };
                for id in scratch.ids[window.start..window.end].iter().flatten() {
                    let id = usize::from(*id) % GRAM_BUCKETS;
                    let (own, old) = (&mut self.weights[id], prior.weights[id]);
                    *own = if is_attack { own.max(old) } else { own.min(old) };
                }
            }
            if is_whole {
                return;
            }
        }
    }

    /// These weights, moved by a part of the way to others.
    fn towards(&self, other: &[f32], step: f32) -> Self {
        let moved = self.weights.iter().zip(other).map(|(own, other)| own + step * (other - own));
        Self { weights: moved.collect(), thresholds: self.thresholds }
    }
}

/// Buffers of one thread.
#[derive(Debug, Default)]
pub struct TrainScratch {
    ids: Vec<[u16; GRAMS_PER_POSITION]>,
    sums: Vec<f64>,
}

struct Worst {
    excess: f32,
    start: usize,
    end: usize,
    norm: f32,
}

/// Trains on a corpus, from the weights in force. `progress` hears of each round and says whether to go on.
///
/// # Errors
/// [`NotTrained`]; the weights in force stay.
pub fn train(
    prior: &GateWeights,
    corpus: &Corpus,
    golden: &[Sample],
    options: &TrainOptions,
    mut progress: impl FnMut(u32),
) -> Result<Trained, NotTrained> {
    if prior.weights.len() != GRAM_BUCKETS || prior.weights.iter().any(|weight| !weight.is_finite()) {
        return Err(NotTrained::BadPrior);
    }
    let held_out = |bag: &Bag| is_held_out(corpus, bag);
    let weight = bag_weights(corpus, options);
    if corpus.bags().iter().all(held_out) {
        return Err(NotTrained::NoData);
    }
    let mut scratch = TrainScratch::default();
    let learnt = descend(prior, corpus, &weight, options, &mut scratch, &mut progress);
    let before = [
        prior.golden(golden, &mut scratch),
        prior.figures(corpus, held_out, &mut scratch),
        prior.figures(corpus, |bag| !held_out(bag), &mut scratch),
    ];
    let compare = |before: Figures, after: Figures| BeforeAfter { before, after };
    let assess = |gate: &GateWeights, scratch: &mut TrainScratch| {
        let golden = compare(before[0], gate.golden(golden, scratch));
        let held = compare(before[1], gate.figures(corpus, held_out, scratch));
        (!golden.after.is_worse_than(&golden.before) && !is_worse(&held), golden, held)
    };
    let mut last = None;
    for step in STEPS {
        let mut gate = prior.towards(&learnt, step);
        let (mut is_taken, mut golden_said, mut held) = assess(&gate, &mut scratch);
        if !is_taken {
            last = Some((golden_said, held));
            gate.spare(prior, golden, &mut scratch);
            (is_taken, golden_said, held) = assess(&gate, &mut scratch);
        }
        if !is_taken {
            continue;
        }
        let trained = compare(before[2], gate.figures(corpus, |bag| !held_out(bag), &mut scratch));
        let gain = |pair: &BeforeAfter| pair.after.errors() < pair.before.errors();
        if gain(&trained) || gain(&held) {
            return Ok(Trained { gate, step, golden: golden_said, held_out: held, trained });
        }
        if last.is_none() {
            return Err(NotTrained::NothingToGain);
        }
    }
    let (golden, held_out) = last.unwrap_or_default();
    Err(NotTrained::Worse { golden: Box::new(golden), held_out: Box::new(held_out) })
}

/// Of data nobody trained on, no more than one in a thousand may get worse either way, and errors must not grow.
const fn is_worse(pair: &BeforeAfter) -> bool {
    let (before, after) = (&pair.before, &pair.after);
    after.found + after.malicious / 1_000 < before.found
        || after.flagged > before.flagged + after.benign / 1_000
        || after.errors() > before.errors()
}

/// By group: what one visitor or one origin sent is never on both sides.
fn is_held_out(corpus: &Corpus, bag: &Bag) -> bool {
    corpus.groups()[bag.group as usize].key.is_multiple_of(HELD_OUT)
}

/// Weights of the bags: a group counts by the root of its size, no group that nobody chose for more than its share, and
/// honest fields together for twice as much as attacks.
fn bag_weights(corpus: &Corpus, options: &TrainOptions) -> Vec<f32> {
    let groups = corpus.groups();
    let mut count = vec![[0_u32; 2]; groups.len()];
    for bag in corpus.bags().iter().filter(|bag| !is_held_out(corpus, bag)) {
        count[bag.group as usize][usize::from(bag.is_malicious)] += 1;
    }
    let mut scale = vec![[0.0_f64; 2]; groups.len()];
    for class in [0, 1] {
        let total: f64 = count.iter().map(|count| f64::from(count[class]).sqrt()).sum();
        let most = options.group_share_max * total;
        for (group, count) in count.iter().enumerate().filter(|(_, count)| count[class] > 0) {
            let own = f64::from(count[class]).sqrt();
            let own = if groups[group].is_trusted { own } else { own.min(most) };
            scale[group][class] = own / f64::from(count[class]);
        }
    }
    let total = |class: usize| -> f64 { scale.iter().zip(&count).map(|(s, c)| s[class] * f64::from(c[class])).sum() };
    let bags = corpus.bags().len() as f64;
    let norm = [2.0 / 3.0 * bags / total(0).max(1.0), 1.0 / 3.0 * bags / total(1).max(1.0)];
    let of = |bag: &Bag| {
        let class = usize::from(bag.is_malicious);
        // A few labels beside nothing else must not count as a whole corpus.
        (scale[bag.group as usize][class] * norm[class]).min(8.0) as f32
    };
    corpus.bags().iter().map(of).collect()
}

/// Adagrad on the worst window of the worst field of each bag, pulled back to where it began.
fn descend(
    prior: &GateWeights,
    corpus: &Corpus,
    weight: &[f32],
    options: &TrainOptions,
    scratch: &mut TrainScratch,
    progress: &mut impl FnMut(u32),
) -> Vec<f32> {
    let mut gate = prior.clone();
    let mut squares = vec![1e-6_f32; GRAM_BUCKETS];
    let mut order: Vec<u32> = (0..corpus.bags().len() as u32).collect();
    order.retain(|bag| !is_held_out(corpus, &corpus.bags()[*bag as usize]));
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    for epoch in 0..options.epochs {
        shuffle(&mut order, &mut random);
        for number in &order {
            let bag = &corpus.bags()[*number as usize];
            let worst = corpus.fields(bag).map(|(kind, value)| (gate.excess(kind, value, scratch), kind, value));
            let Some((_, kind, value)) = worst.max_by(|a, b| a.0.total_cmp(&b.0)) else { continue };
            let worst = gate.worst(kind, value, scratch);
            let target = if bag.is_malicious { 1.0 } else { 0.0 };
            let slope = (1.0 / (1.0 + (-worst.excess).exp()) - target) * weight[*number as usize];
            if slope.abs() < 1e-3 {
                continue;
            }
            for id in scratch.ids[worst.start..worst.end].iter().flatten() {
                let id = usize::from(*id) % GRAM_BUCKETS;
                let gradient = slope * worst.norm + options.pull * (gate.weights[id] - prior.weights[id]);
                squares[id] += gradient * gradient;
                gate.weights[id] -= options.rate * gradient / squares[id].sqrt();
            }
        }
        clip(&mut gate.weights, &prior.weights, options.update_max);
        progress(epoch + 1);
    }
    gate.weights
}

/// Keeps the update no longer than a share of the weights that it began with.
fn clip(weights: &mut [f32], prior: &[f32], share: f32) {
    let length = |sum: f64| sum.sqrt();
    let own = length(prior.iter().map(|weight| f64::from(*weight).powi(2)).sum());
    let update = length(weights.iter().zip(prior).map(|(new, old)| f64::from(new - old).powi(2)).sum());
    let most = own * f64::from(share);
    if update > most {
        let scale = (most / update) as f32;
        for (new, old) in weights.iter_mut().zip(prior) {
            *new = old + (*new - old) * scale;
        }
    }
}

/// Fisher and Yates, with a generator that is the same everywhere.
fn shuffle(order: &mut [u32], random: &mut u64) {
    for last in (1..order.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        order.swap(last, (*random % (last as u64 + 1)) as usize);
    }
}
