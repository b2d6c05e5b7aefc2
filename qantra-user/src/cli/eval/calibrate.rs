//! `qantra eval --calibrate`: enters the benign requests of a corpus. Leaves the confidence that no more than a share of
//! them reaches. It must never look at a malicious request: a threshold that has seen attacks proves nothing.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{Row, judges::Judges};
use crate::{cli::corpus, model::Answer};

/// Sets the models' confidence by the benign requests of a file, without rules and with them, and gives how many there
/// were.
pub(super) fn run(path: &Path, max_false_positive_rate: f64, judges: &mut Judges) -> Result<usize> {
    let ways: &[bool] = if judges.has_rules() { &[false, true] } else { &[false] };
    // Whatever is asked about now comes back with its confidence.
    ways.iter().for_each(|with_rules| judges.set_confidence(*with_rules, 0.0));
    let mut confidences = [Vec::new(), Vec::new()];
    corpus::each_line(path, |line| {
        let row: Row = serde_json::from_slice(line)?;
        if row.label != "benign" {
            return Ok(());
        }
        let verdict = judges.judge(&corpus::request(&row.raw)?.view())?;
        for (confidences, answer) in confidences.iter_mut().zip([&verdict.by_fields, &verdict.by_all]) {
            confidences.push(match answer {
                Answer::Attack(attack) => attack.confidence,
                Answer::Pass => 0.0,
            });
        }
        Ok(())
    })?;
    let count = confidences[0].len();
    for (with_rules, confidences) in [false, true].into_iter().zip(confidences) {
        let confidence = threshold(confidences, max_false_positive_rate).with_context(|| path.display().to_string())?;
        judges.set_confidence(with_rules, confidence);
    }
    Ok(count)
}

/// The lowest confidence that at most this share of the requests reaches.
fn threshold(mut confidences: Vec<f32>, share: f64) -> Result<f32> {
    let allowed = (confidences.len() as f64 * share) as usize;
    if allowed == 0 {
        let needed = (1.0 / share).ceil();
        bail!("{} benign requests are too few for a rate of {share}: {needed} are needed", confidences.len());
    }
    confidences.sort_unstable_by(|a, b| b.total_cmp(a));
    // Above the first that must not be refused; half is the least that any claim of an attack should have.
    Ok(confidences.get(allowed).map_or(0.5, |first| first.next_up().max(0.5)))
}

#[cfg(test)]
mod tests {
    use super::threshold;

    #[test]
    fn no_more_than_the_share_reaches_the_threshold() -> anyhow::Result<()> {
        let confidences: Vec<f32> = (0..2000).map(|n| n as f32 / 2000.0).collect();
        let at = threshold(confidences.clone(), 0.001)?;
        assert_eq!(confidences.iter().filter(|confidence| **confidence >= at).count(), 2);
        // Many equal ones: either all of them are refused or none.
        let at = threshold(vec![0.9; 5000], 0.001)?;
        assert!(at > 0.9);
        assert_eq!(threshold(vec![0.0; 5000], 0.001)?, 0.5);
        assert!(threshold(vec![0.0; 999], 0.001).is_err(), "too few to tell");
        Ok(())
    }
}
