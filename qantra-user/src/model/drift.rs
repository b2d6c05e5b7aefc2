//! Enters: values of features, live and from training. Leaves: the population stability index of each: how far live
//! traffic has moved from what a model learned. Pure; it must never keep a value, only counts.

use serde::{Deserialize, Serialize};

/// Parts of a histogram that is learned: tenths of the first values.
const BINS: usize = 10;
/// Most parts of a histogram in a manifest.
const BINS_MAX: usize = 64;
/// Values from which a reference is learned, when the manifest has none.
const LEARN: usize = 2_000;
/// Least live values before an index says something.
const LIVE_MIN: u64 = 500;
/// From this many live values on, older ones count half as much: drift is about now.
const LIVE_MAX: u64 = 20_000;
/// A share that is taken for an empty part: the logarithm of nothing is not a number.
const SHARE_MIN: f64 = 1e-4;

/// How a feature was spread: shares of values between edges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Inner edges, ascending: a value is in the part before the first edge that is not below it.
    pub edges: Vec<f32>,
    /// The share of each part; one more than edges.
    pub shares: Vec<f32>,
}

impl Reference {
    /// Whether edges ascend, and shares fit and add up.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let sum: f32 = self.shares.iter().sum();
        self.shares.len() == self.edges.len() + 1
            && (2..=BINS_MAX).contains(&self.shares.len())
            && self.edges.iter().all(|edge| edge.is_finite())
            && self.edges.is_sorted_by(|a, b| a < b)
            && self.shares.iter().all(|share| (0.0..=1.0).contains(share))
            && (sum - 1.0).abs() < 0.01
    }

    /// The histogram of values, by tenths where they differ.
    #[must_use]
    pub fn of(values: &[f32]) -> Option<Self> {
        let mut sorted: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f32::total_cmp);
        let last = *sorted.last()?;
        let mut edges: Vec<f32> = (1..BINS).map(|tenth| sorted[sorted.len() * tenth / BINS]).collect();
        edges.dedup();
        // The last edge must leave something above it, and there must be two parts.
        edges.retain(|edge| *edge < last);
        if edges.is_empty() {
            edges.push(last);
        }
        let mut counts = vec![0_u32; edges.len() + 1];
        for value in &sorted {
            counts[edges.partition_point(|edge| edge < value)] += 1;
        }
        let shares = counts.iter().map(|count| *count as f32 / sorted.len() as f32).collect();
        Some(Self { edges, shares })
    }
}

/// One feature over live traffic.
#[derive(Debug, Clone)]
pub struct FeatureDrift {
    reference: Option<Reference>,
    is_trained: bool,
    learning: Vec<f32>,
    counts: Vec<f64>,
    total: f64,
}

impl FeatureDrift {
    /// Compared with training, or with the first live values where that is not known.
    #[must_use]
    pub fn new(reference: Option<&Reference>) -> Self {
        let counts = vec![0.0; reference.map_or(0, |reference| reference.shares.len())];
        let is_trained = reference.is_some();
        Self { reference: reference.cloned(), is_trained, learning: Vec::new(), counts, total: 0.0 }
    }

    /// Counts a live value.
    pub fn add(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        let Some(reference) = &self.reference else {
            self.learning.push(value);
            if self.learning.len() >= LEARN {
                self.reference = Reference::of(&self.learning);
                self.counts = vec![0.0; self.reference.as_ref().map_or(0, |reference| reference.shares.len())];
                self.learning = Vec::new();
            }
            return;
        };
        self.counts[reference.edges.partition_point(|edge| *edge < value)] += 1.0;
        self.total += 1.0;
        if self.total >= LIVE_MAX as f64 {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
    }

    /// The index: below 0.1 nothing happened, above 0.25 the model sees something else than it learned. `None` while too
    /// little was seen.
    #[must_use]
    pub fn psi(&self) -> Option<f64> {
        let reference = self.reference.as_ref()?;
        if self.total < LIVE_MIN as f64 {
            return None;
        }
        let term = |(live, trained): (&f64, &f32)| {
            let (live, trained) = ((live / self.total).max(SHARE_MIN), f64::from(*trained).max(SHARE_MIN));
            (live - trained) * (live / trained).ln()
        };
        Some(self.counts.iter().zip(&reference.shares).map(term).sum())
    }

    /// Whether the reference comes from training.
    #[must_use]
    pub const fn is_trained(&self) -> bool {
        self.is_trained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(from: f32, count: usize) -> impl Iterator<Item = f32> {
        (0..count).map(move |n| from + (n * 37 % 100) as f32)
    }

    #[test]
    fn the_same_traffic_does_not_drift_and_other_traffic_does() {
        let values: Vec<f32> = spread(0.0, 5_000).collect();
        let reference = Reference::of(&values).unwrap();
        assert!(reference.is_sound(), "{reference:?}");
        let mut drift = FeatureDrift::new(Some(&reference));
        spread(0.0, 499).for_each(|value| drift.add(value));
        assert_eq!(drift.psi(), None);
        spread(0.0, 4_000).for_each(|value| drift.add(value));
        assert!(drift.psi().unwrap() < 0.02, "{:?}", drift.psi());
        spread(60.0, 40_000).for_each(|value| drift.add(value));
        assert!(drift.psi().unwrap() > 0.25, "{:?}", drift.psi());
    }

    #[test]
    fn a_worked_example() {
        // Halves against a quarter and three quarters: (0.5 - 0.25) ln 2 + (0.5 - 0.75) ln (2/3).
        let reference = Reference { edges: vec![0.0], shares: vec![0.25, 0.75] };
        let mut drift = FeatureDrift::new(Some(&reference));
        (0..1_000).for_each(|n| drift.add(if n % 2 == 0 { -1.0 } else { 1.0 }));
        let expected = 0.25 * 2.0_f64.ln() - 0.25 * (2.0_f64 / 3.0).ln();
        assert!((drift.psi().unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn without_a_reference_the_first_values_are_one() {
        let mut drift = FeatureDrift::new(None);
        spread(0.0, LEARN + 600).for_each(|value| drift.add(value));
        assert!(!drift.is_trained() && drift.psi().unwrap() < 0.05);
        let mut constant = FeatureDrift::new(None);
        (0..LEARN + 600).for_each(|_| constant.add(3.0));
        assert!(constant.psi().unwrap().abs() < 1e-3);
        constant.add(f32::NAN);
        (0..600).for_each(|_| constant.add(4.0));
        assert!(constant.psi().unwrap() > 0.25);
    }

    #[test]
    fn unsound_references_are_seen() {
        for (edges, shares) in [
            (vec![], vec![1.0]),
            (vec![1.0, 1.0], vec![0.5, 0.25, 0.25]),
            (vec![f32::NAN], vec![0.5, 0.5]),
            (vec![1.0], vec![0.5, 0.6]),
            (vec![1.0], vec![1.5, -0.5]),
            (vec![1.0], vec![0.5, 0.25, 0.25]),
        ] {
            assert!(!Reference { edges: edges.clone(), shares }.is_sound(), "{edges:?}");
        }
    }
}
