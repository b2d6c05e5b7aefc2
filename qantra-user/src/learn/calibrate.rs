//! Enters: scores of one endpoint's requests. Leaves: the threshold that no more than a share of them reaches. Nobody can
//! move it alone: a source counts for no more than its share, and the threshold never rises above what as many sources
//! as the quorum have sent.

use serde::{Deserialize, Serialize};

/// Steps of the score, a quarter of a unit of log-odds each: from 0.5 to 0.9999999.
const STEPS: usize = 64;
const STEP_LOG_ODDS: f32 = 0.25;
/// Counters that sources share by their hash: enough to tell a quorum of them apart.
const SOURCES: usize = 128;
/// What each source may always add.
const SOURCE_FLOOR: u64 = 64;
/// When so many requests were counted all counts are halved, so that the present weighs more than the past.
const HALVED_AT: u64 = 1 << 20;

/// What a threshold has to fulfil.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quorum {
    /// Requests that must have been counted.
    pub requests_min: u64,
    /// Distinct sources that they must have come from.
    pub sources_min: u32,
    /// The share of honest requests that may be refused.
    pub max_false_positive_rate: f64,
}

/// The scores of one endpoint, or of a whole site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    counted: u64,
    left_out: u64,
    steps: Vec<u32>,
    by_source: Vec<u16>,
    /// The sources with the highest scores, at most as many as the quorum.
    highest: Vec<(u64, u8)>,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { counted: 0, left_out: 0, steps: vec![0; STEPS], by_source: vec![0; SOURCES], highest: Vec::new() }
    }
}

impl Calibration {
    /// Counts one request.
    pub fn count(&mut self, source: u64, score: f32, sources_min: u32) {
        let share = self.counted / u64::from(sources_min.max(1));
        let own = &mut self.by_source[source as usize % SOURCES];
        if u64::from(*own) >= share.max(SOURCE_FLOOR) {
            self.left_out += 1;
            return;
        }
        *own = own.saturating_add(1);
        let step = step_of(score);
        self.counted += 1;
        self.steps[step] += 1;
        if step > 0 {
            self.note_high(source, step as u8, sources_min as usize);
        }
        if self.counted >= HALVED_AT {
            self.halve();
        }
    }

    fn note_high(&mut self, source: u64, step: u8, limit: usize) {
        if let Some(known) = self.highest.iter_mut().find(|(known, _)| *known == source) {
            known.1 = known.1.max(step);
            return;
        }
        if self.highest.len() < limit {
            self.highest.push((source, step));
            return;
        }
        if let Some(lowest) = self.highest.iter_mut().min_by_key(|(_, step)| *step).filter(|(_, low)| *low < step) {
            *lowest = (source, step);
        }
    }

    fn halve(&mut self) {
        self.steps.iter_mut().for_each(|count| *count /= 2);
        self.by_source.iter_mut().for_each(|count| *count /= 2);
        self.counted = self.steps.iter().map(|count| u64::from(*count)).sum();
        // Who sent such scores long ago vouches for no threshold of today.
        self.highest.clear();
    }

    /// Requests counted.
    #[must_use]
    pub const fn counted(&self) -> u64 {
        self.counted
    }

    /// Requests that were not counted because their source had its share.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Distinct sources, at least: those that share a counter are one.
    #[must_use]
    pub fn sources(&self) -> u32 {
        self.by_source.iter().filter(|count| **count > 0).count() as u32
    }

    /// Whether enough was seen.
    #[must_use]
    pub fn is_calibrated(&self, quorum: &Quorum) -> bool {
        self.counted >= quorum.requests_min && self.sources() >= quorum.sources_min
    }

    /// The confidence that no more than the share reaches; `None` until enough was seen, and 0 when every score is low.
    /// Above 1 when even the highest confidence is common here: then the model has no say.
    #[must_use]
    pub fn threshold(&self, quorum: &Quorum) -> Option<f32> {
        if !self.is_calibrated(quorum) {
            return None;
        }
        let allowed = (self.counted as f64 * quorum.max_false_positive_rate) as u64;
        let mut above = 0;
        let mut step = 0;
        for (number, count) in self.steps.iter().enumerate().skip(1).rev() {
            above += u64::from(*count);
            if above > allowed {
                step = number;
                break;
            }
        }
        let vouched = match self.highest.len() >= quorum.sources_min as usize {
            true => self.highest.iter().map(|(_, step)| usize::from(*step)).min().unwrap_or(0),
            false => 0,
        };
        Some(above_step(step.min(vouched)))
    }

    /// Whether a stored one has the form that the code relies on.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.steps.len() == STEPS
            && self.by_source.len() == SOURCES
            && self.highest.len() <= SOURCES
            && self.highest.iter().all(|(_, step)| usize::from(*step) < STEPS)
            && self.counted == self.steps.iter().map(|count| u64::from(*count)).sum::<u64>()
    }
}

/// Log-odds of a confidence, finite for every number.
#[must_use]
pub fn log_odds(confidence: f32) -> f32 {
    let confidence = if confidence.is_nan() { 0.0 } else { confidence.clamp(1e-7, 1.0 - 1e-7) };
    (confidence / (1.0 - confidence)).ln()
}

/// A confidence with its log-odds lowered.
#[must_use]
pub fn lowered(confidence: f32, by: f32) -> f32 {
    if by > 0.0 { 1.0 / (1.0 + (by - log_odds(confidence)).exp()) } else { confidence }
}

fn step_of(score: f32) -> usize {
    ((log_odds(score) / STEP_LOG_ODDS).max(0.0) as usize).min(STEPS - 1)
}

/// The confidence above everything in a step.
fn above_step(step: usize) -> f32 {
    match step {
        0 => 0.0,
        // Full confidence is common: no threshold that a confidence can reach holds the share.
        step if step == STEPS - 1 => 1.01,
        step => 1.0 / (1.0 + (-STEP_LOG_ODDS * (step + 1) as f32).exp()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUORUM: Quorum = Quorum { requests_min: 10_000, sources_min: 16, max_false_positive_rate: 0.001 };

    /// Traffic of 100 sources, each of which sends one request in 200 that scores high.
    fn odd_site(calibration: &mut Calibration, requests: u64) {
        for number in 0..requests {
            let score = if number / 100 % 200 == 7 { 0.97 } else { 0.0 };
            calibration.count(number % 100, score, QUORUM.sources_min);
        }
    }

    #[test]
    fn the_threshold_keeps_to_the_budget() {
        let mut calibration = Calibration::default();
        odd_site(&mut calibration, 9_000);
        assert_eq!(calibration.threshold(&QUORUM), None, "too little was seen");
        odd_site(&mut calibration, 31_000);
        let threshold = calibration.threshold(&QUORUM).unwrap();
        assert!(threshold > 0.97 && threshold < 0.985, "{threshold}");
    }

    #[test]
    fn quiet_traffic_raises_nothing() {
        let mut calibration = Calibration::default();
        for number in 0..20_000 {
            calibration.count(number % 100, 0.0, QUORUM.sources_min);
        }
        assert_eq!(calibration.threshold(&QUORUM), Some(0.0));
    }

    #[test]
    fn one_loud_source_cannot_raise_the_threshold_nor_lower_it() {
        let mut calibration = Calibration::default();
        for number in 0..20_000 {
            calibration.count(number % 100, 0.0, QUORUM.sources_min);
            // As many attacks, all of one source.
            calibration.count(7_777, 0.9999, QUORUM.sources_min);
        }
        assert_eq!(calibration.threshold(&QUORUM), Some(0.0));
        let mut calibration = Calibration::default();
        odd_site(&mut calibration, 40_000);
        let before = calibration.threshold(&QUORUM).unwrap();
        for _ in 0..400_000 {
            calibration.count(7_777, 0.0, QUORUM.sources_min);
        }
        assert_eq!(calibration.threshold(&QUORUM).unwrap(), before, "a million clean requests dilute nothing");
    }

    #[test]
    fn fewer_sources_than_the_quorum_cannot_raise_it_however_much_they_send() {
        // What would happen without the quorum: the share alone is over the budget by far.
        let naive = Quorum { sources_min: 1, ..QUORUM };
        let mut calibration = Calibration::default();
        let mut without = Calibration::default();
        for number in 0..40_000_u64 {
            let (source, score) =
                if number % 10 == 0 { (1_000 + number / 10 % 15, 0.9999) } else { (number % 100, 0.0) };
            calibration.count(source, score, QUORUM.sources_min);
            without.count(source, score, naive.sources_min);
        }
        assert_eq!(calibration.threshold(&QUORUM), Some(0.0));
        assert!(without.threshold(&naive).unwrap() > 0.99, "the test must be able to fail");
    }

    #[test]
    fn lowering_lowers() {
        assert!((lowered(0.95, 0.0) - 0.95).abs() < 1e-6);
        assert!(lowered(0.95, 2.0) < 0.8 && lowered(1.0, 2.0) > 0.999);
        assert!(lowered(f32::NAN, 2.0) < 0.01);
    }

    proptest! {
        #[test]
        fn a_threshold_is_never_reached_by_more_than_the_share_of_what_was_counted(
            scores in proptest::collection::vec((0_u64..60, 0.0_f32..1.0), 500..3_000),
        ) {
            let quorum = Quorum { requests_min: 100, sources_min: 2, max_false_positive_rate: 0.01 };
            let mut calibration = Calibration::default();
            for (source, score) in &scores {
                calibration.count(*source, *score, 2);
            }
            prop_assert!(calibration.is_sound());
            let threshold = calibration.threshold(&quorum).unwrap();
            let over = calibration.steps.iter().enumerate().filter(|(step, _)| above_step(*step) > threshold);
            let over: u64 = over.map(|(_, count)| u64::from(*count)).sum();
            let allowed = (calibration.counted as f64 * 0.01) as u64;
            // The quorum alone may hold the threshold down.
            let vouched = calibration.highest.iter().map(|(_, step)| above_step(usize::from(*step))).fold(1.01, f32::min);
            prop_assert!(over <= allowed || threshold >= vouched || calibration.highest.len() < 2);
        }
    }
}
