//! Enters: what was counted since the last look at a promoted version. Leaves: whether it must go. Pure: the policy of
//! automatic rollbacks, and nothing else.
//!
//! What counts as a false positive: a sampled request that the promoted version refuses and the one before let pass.
//! Without a person's word nothing better is known. Each source counts once, and there must be [`REFUSED_MIN`] of them, so
//! that an attacker whose attacks only the new version finds needs that many addresses to have it taken back. The rate must
//! be above the budget with 95 % confidence (Wilson's lower bound), at two looks in a row; a look that is fine begins anew. Lateness likewise: more
//! than [`LATE_SHARE_MAX`] of the classifier's answers past the deadline, at three looks in a row.

/// Least sources with a newly refused request before the rate is judged.
const REFUSED_MIN: u64 = 5;
/// Least requests before the rate is judged.
const REQUESTS_MIN: u64 = 200;
/// Looks in a row with a rate above the budget.
const RATE_LOOKS: u8 = 2;
/// Share of late answers that is too much.
pub(super) const LATE_SHARE_MAX: f64 = 0.05;
/// Least answers of a look before lateness is judged.
const ANSWERS_MIN: u64 = 20;
/// Looks in a row with too many late answers.
const LATE_LOOKS: u8 = 3;
/// The normal quantile of a one-sided 95 %.
const Z: f64 = 1.645;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Requests compared since the promotion.
    pub requests: u64,
    /// Sources with a request that the promoted version alone refuses.
    pub newly_refused: u64,
    /// Answers of the classifier since the last look, the late ones among them.
    pub answers: u64,
    /// Late ones since the last look.
    pub late: u64,
}

/// The guard of one promotion.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guard {
    rate_max: f64,
    rate_looks: u8,
    late_looks: u8,
}

impl Guard {
    /// With the budget of `models.max_false_positive_rate`.
    #[must_use]
    pub(super) const fn new(rate_max: f64) -> Self {
        Self { rate_max, rate_looks: 0, late_looks: 0 }
    }

    /// One look. The reason, when the version must go.
    pub(super) fn look(&mut self, counted: Counted) -> Option<String> {
        let Counted { requests, newly_refused, answers, late } = counted;
        let is_over = requests >= REQUESTS_MIN && is_over_budget(newly_refused, requests, self.rate_max);
        self.rate_looks = if is_over { self.rate_looks + 1 } else { 0 };
        if self.rate_looks >= RATE_LOOKS {
            return Some(format!(
                "of {requests} sampled requests it refused some from {newly_refused} sources that the version before let \
                 pass; the budget (`models.max_false_positive_rate`) is {}",
                self.rate_max
            ));
        }
        if answers >= ANSWERS_MIN {
            let is_late = late as f64 > answers as f64 * LATE_SHARE_MAX;
            self.late_looks = if is_late { self.late_looks + 1 } else { 0 };
        }
        (self.late_looks >= LATE_LOOKS).then(|| {
            format!("{late} of the last {answers} answers came after `models.deadline_ms`, three looks in a row")
        })
    }
}

/// Whether a rate is over a budget with 95 % confidence.
#[must_use]
pub(super) fn is_over_budget(newly_refused: u64, requests: u64, rate_max: f64) -> bool {
    newly_refused >= REFUSED_MIN && requests >= newly_refused && lower_bound(newly_refused, requests) > rate_max
}

/// Wilson's lower bound of a share.
fn lower_bound(found: u64, of: u64) -> f64 {
    let (share, n) = (found as f64 / of as f64, of as f64);
    let middle = share + Z * Z / (2.0 * n);
    let width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - width) / (1.0 + Z * Z / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(newly_refused: u64, requests: u64) -> Counted {
        Counted { newly_refused, requests, ..Counted::default() }
    }

    fn late(late: u64, answers: u64) -> Counted {
        Counted { late, answers, ..Counted::default() }
    }

    #[test]
    fn a_rate_above_the_budget_must_be_sure_and_last() {
        let mut guard = Guard::new(0.001);
        // Few requests, few refusals, and refusals within the budget are no reason.
        for counted in [rate(100, 100), rate(1, 300), rate(4, 300), rate(2, 1_000), rate(10, 10_000), rate(0, 1 << 40)]
        {
            assert_eq!(guard.look(counted), None, "{counted:?}");
            assert_eq!(guard.look(counted), None, "{counted:?}");
        }
        assert_eq!(guard.look(rate(10, 300)), None);
        assert_eq!(guard.look(rate(10, 100_000)), None, "the bad look was forgotten");
        assert_eq!(guard.look(rate(10, 300)), None);
        assert!(
            guard
                .look(rate(11, 320))
                .is_some_and(|reason| reason.contains("of 320 sampled requests it refused some from 11 sources"))
        );
    }

    #[test]
    fn lateness_must_last_three_looks() {
        let mut guard = Guard::new(0.001);
        assert_eq!([0; 2].map(|_| guard.look(late(10, 100))), [None, None]);
        assert_eq!(guard.look(late(5, 100)), None);
        assert_eq!([0; 2].map(|_| guard.look(late(10, 100))), [None, None]);
        // A quiet look neither counts nor forgives.
        assert_eq!(guard.look(late(3, 3)), None);
        assert!(guard.look(late(90, 100)).is_some_and(|reason| reason.contains("90 of the last 100")));
    }
}
