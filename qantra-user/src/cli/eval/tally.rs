//! Enters: for each request of a corpus its label and what was said of it. Leaves: rates with intervals. It does no IO
//! and must never hide a small number: every rate stands beside its count.

use std::collections::BTreeMap;

use serde::Serialize;

/// What one mode said of the requests of one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    malicious: u64,
    malicious_found: u64,
    benign: u64,
    benign_found: u64,
}

/// The rates of one mode over one group of requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Share of malicious requests that were found; none without any.
    pub(super) tpr: Option<f64>,
    /// Share of benign requests that were refused; none without any.
    pub(super) fpr: Option<f64>,
    /// 95 % interval of `tpr` (Wilson).
    pub(super) tpr_ci: Option<[f64; 2]>,
    /// 95 % interval of `fpr` (Wilson).
    pub(super) fpr_ci: Option<[f64; 2]>,
    /// Mean of `tpr` and `1 - fpr`.
    pub(super) balanced_accuracy: Option<f64>,
    /// Malicious requests.
    pub(super) n_malicious: u64,
    /// Benign requests.
    pub(super) n_benign: u64,
}

impl Tally {
    pub(super) fn add(&mut self, is_malicious: bool, is_found: bool) {
        if is_malicious {
            self.malicious += 1;
            self.malicious_found += u64::from(is_found);
        } else {
            self.benign += 1;
            self.benign_found += u64::from(is_found);
        }
    }

    pub(super) fn rates(&self) -> Rates {
        let share = |found: u64, of: u64| (of > 0).then(|| found as f64 / of as f64);
        let tpr = share(self.malicious_found, self.malicious);
        let fpr = share(self.benign_found, self.benign);
        Rates {
            tpr,
            fpr,
            tpr_ci: wilson(self.malicious_found, self.malicious),
            fpr_ci: wilson(self.benign_found, self.benign),
            balanced_accuracy: tpr.zip(fpr).map(|(tpr, fpr)| f64::midpoint(tpr, 1.0 - fpr)),
            n_malicious: self.malicious,
            n_benign: self.benign,
        }
    }
}

/// Wilson's score interval for a share, at 95 % (E. B. Wilson, 1927): right for small counts and shares near 0 and 1.
pub(in crate::cli) fn wilson(found: u64, of: u64) -> Option<[f64; 2]> {
    const Z: f64 = 1.959_964;
    if of == 0 {
        return None;
    }
    let (n, p) = (of as f64, found as f64 / of as f64);
    let centre = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    Some([((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0)])
}

/// Tallies of one corpus: all of it, and by origin and class.
#[derive(Debug, Clone, Default)]
pub(super) struct Tallies {
    pub(super) all: Tally,
    by_source: BTreeMap<String, Tally>,
    by_class: BTreeMap<String, Tally>,
}

impl Tallies {
    pub(super) fn add(&mut self, source: &str, class: Option<&str>, is_malicious: bool, is_found: bool) {
        self.all.add(is_malicious, is_found);
        self.by_source.entry(source.to_owned()).or_default().add(is_malicious, is_found);
        if let (true, Some(class)) = (is_malicious, class) {
            self.by_class.entry(class.to_owned()).or_default().add(is_malicious, is_found);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_source.is_empty()
    }

    pub(super) fn by_source(&self) -> BTreeMap<String, Rates> {
        self.by_source.iter().map(|(name, tally)| (name.clone(), tally.rates())).collect()
    }

    /// Recall by the corpus's own class names.
    pub(super) fn by_class(&self) -> BTreeMap<String, Rates> {
        self.by_class.iter().map(|(name, tally)| (name.clone(), tally.rates())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Tallies, wilson};

    #[test]
    fn intervals_are_wilsons() {
        // Reference values: R's prop.test(…, correct = FALSE).
        let close = |found, of, low: f64, high: f64| {
            let [a, b] = wilson(found, of).unwrap_or_default();
            assert!((a - low).abs() < 5e-4 && (b - high).abs() < 5e-4, "{found}/{of}: {a} {b}");
        };
        close(0, 10, 0.0, 0.2775);
        close(5, 10, 0.2366, 0.7634);
        close(90, 100, 0.8256, 0.9448);
        assert_eq!(wilson(0, 0), None);
    }

    #[test]
    fn groups_are_counted_apart() {
        let mut tallies = Tallies::default();
        tallies.add("a", Some("sqli"), true, true);
        tallies.add("a", Some("sqli"), true, false);
        tallies.add("b", None, false, false);
        let all = tallies.all.rates();
        assert_eq!((all.tpr, all.fpr, all.balanced_accuracy), (Some(0.5), Some(0.0), Some(0.75)));
        assert_eq!(tallies.by_source()["b"].tpr, None);
        assert_eq!(tallies.by_class()["sqli"].n_malicious, 2);
    }
}
