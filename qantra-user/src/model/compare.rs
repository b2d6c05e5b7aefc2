//! Enters: requests and sources, and two versions of the models. Leaves: where they agree, and by how much their scores
//! differ. It must never decide anything: what is compared here has no say.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{InlineRequestModels, Manifest, ModelError, RequestOpinion, Runtime, Scratch, SourceModels};
use crate::{features::source::SourceVector, inspect::RequestView};

/// One version, with sessions of its own.
#[derive(Debug)]
pub struct Side {
    request: InlineRequestModels,
    source: SourceModels,
    scratch: Scratch,
}

impl Side {
    /// Loads all models of a folder.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(
        dir: &Path,
        runtime: &Path,
        request_confidence: Option<f32>,
        source_confidence: Option<f32>,
    ) -> Result<Self, ModelError> {
        let request = InlineRequestModels::load(dir, runtime, request_confidence)?;
        let source = SourceModels::load(&Runtime::load(runtime)?, &Manifest::read(dir)?, source_confidence)?;
        Ok(Self { request, source, scratch: Scratch::new() })
    }

    /// What it says of a request.
    ///
    /// # Errors
    /// [`ModelError`] when a model does not run.
    pub fn request(&mut self, request: &RequestView<'_>) -> Result<RequestOpinion, ModelError> {
        self.request.opinion(request, &mut self.scratch)
    }
}

/// What came of comparing two versions: `first` is in force or meant as the standard, `second` is the candidate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// Requests that both judged.
    pub requests: u64,
    /// Refused by both.
    pub both: u64,
    /// Refused by the first alone.
    pub only_first: u64,
    /// Refused by the second alone.
    pub only_second: u64,
    /// Refused by both, with the same class.
    pub same_class: u64,
    /// Requests that the first sent to its classifier.
    pub flagged_first: u64,
    /// Requests that the second sent to its classifier.
    pub flagged_second: u64,
    /// Sum of the differences of confidence, second less first.
    pub shift: f64,
    /// Sum of the sizes of these differences.
    pub shift_size: f64,
    /// Sources that both judged.
    pub sources: u64,
    /// Sources that one of them alone makes a claim about, or another one.
    pub sources_differ: u64,
    /// Requests or looks that one of them failed at.
    pub failed: u64,
}

impl Comparison {
    /// Adds a request.
    pub fn request(&mut self, first: &RequestOpinion, second: &RequestOpinion) {
        self.requests += 1;
        match (first.class, second.class) {
            (Some(first), Some(second)) => {
                self.both += 1;
                self.same_class += u64::from(first == second);
            }
            (Some(_), None) => self.only_first += 1,
            (None, Some(_)) => self.only_second += 1,
            (None, None) => {}
        }
        self.flagged_first += u64::from(first.flagged);
        self.flagged_second += u64::from(second.flagged);
        let shift = f64::from(second.confidence) - f64::from(first.confidence);
        self.shift += shift;
        self.shift_size += shift.abs();
    }

    /// Has both judge a request; returns whether the second alone refuses it.
    pub fn judge(&mut self, first: &mut Side, second: &mut Side, request: &RequestView<'_>) -> bool {
        self.opinions((first.request(request), second.request(request)))
    }

    /// Adds what both said; returns whether the second alone refuses it.
    pub(super) fn opinions(
        &mut self,
        opinions: (Result<RequestOpinion, ModelError>, Result<RequestOpinion, ModelError>),
    ) -> bool {
        let (Ok(first), Ok(second)) = opinions else {
            self.failed += 1;
            return false;
        };
        self.request(&first, &second);
        first.class.is_none() && second.class.is_some()
    }

    /// Adds the sources of another comparison.
    pub(super) const fn add_sources(&mut self, other: &Self) {
        self.sources += other.sources;
        self.sources_differ += other.sources_differ;
        self.failed += other.failed;
    }

    /// Has both judge sources.
    pub fn judge_sources(&mut self, first: &mut Side, second: &mut Side, vectors: &[SourceVector]) {
        let (Ok(first), Ok(second)) = (first.source.score_batch(vectors), second.source.score_batch(vectors)) else {
            self.failed += 1;
            return;
        };
        self.sources += vectors.len() as u64;
        let claim = |scores: &super::SourceScores, address| {
            scores.claims.iter().find(|claim| claim.address == address).map(|claim| claim.class.clone())
        };
        let differs = |vector: &&SourceVector| claim(&first, vector.address) != claim(&second, vector.address);
        self.sources_differ += vectors.iter().filter(differs).count() as u64;
    }

    /// Share of requests with the same verdict; none without any.
    #[must_use]
    pub fn agreement(&self) -> Option<f64> {
        let same = self.requests.saturating_sub(self.only_first + self.only_second);
        (self.requests > 0).then(|| same as f64 / self.requests as f64)
    }

    /// Mean difference of confidence and its mean size.
    #[must_use]
    pub fn mean_shift(&self) -> Option<(f64, f64)> {
        let n = self.requests as f64;
        (self.requests > 0).then(|| (self.shift / n, self.shift_size / n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::AttackClass;

    #[test]
    fn what_differs_is_counted() {
        let opinion = |class, confidence| RequestOpinion { class, confidence, flagged: confidence > 0.0 };
        let (pass, sqli, xss) =
            (opinion(None, 0.0), opinion(Some(AttackClass::Sqli), 0.9), opinion(Some(AttackClass::Xss), 0.95));
        let mut comparison = Comparison::default();
        for (first, second) in [(&pass, &pass), (&pass, &sqli), (&sqli, &pass), (&sqli, &xss), (&sqli, &sqli)] {
            comparison.request(first, second);
        }
        let Comparison { requests, both, only_first, only_second, same_class, .. } = comparison;
        assert_eq!((requests, both, only_first, only_second, same_class), (5, 2, 1, 1, 1));
        assert_eq!(comparison.agreement(), Some(0.6));
        let (shift, size) = comparison.mean_shift().unwrap();
        assert!((shift - 0.01).abs() < 1e-6 && (size - 0.37).abs() < 1e-6, "{shift} {size}");
        assert_eq!(Comparison::default().agreement(), None);
    }
}
