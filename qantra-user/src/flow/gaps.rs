//! Enters: the moments of calls. Leaves: how regular they are, by statistics that a few odd gaps do not move.

/// How many of the newest gaps are kept.
const KEPT: usize = 32;

/// Starts closer than this are one call: programs open several connections for one task.
const ONE_CALL_MS: u64 = 3_000;

/// How regular the kept gaps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Regularity {
    /// Gaps looked at.
    pub gaps: usize,
    /// Their median.
    pub median_ms: u32,
    /// The median distance from it, as a share of it. Jitter of 30 % either way gives 0.15, chance alone 0.69.
    pub spread: f32,
    /// Bowley's skewness, -1 to 1: people and errands leave long gaps now and then, timers do not.
    pub skew: f32,
    /// The share of gaps within half of the median of it.
    pub near: f32,
}

/// Gaps between the calls of one pair: the newest 32 of them, 140 bytes.
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    last_ms: u64,
    next: u8,
    kept: u8,
    gaps_ms: [u32; KEPT],
}

impl Gaps {
    /// Counts a start and says whether it is a call of its own.
    pub fn start(&mut self, at_ms: u64) -> bool {
        if self.last_ms == 0 {
            self.last_ms = at_ms;
            return true;
        }
        let gap_ms = at_ms.saturating_sub(self.last_ms);
        if gap_ms < ONE_CALL_MS {
            return false;
        }
        self.last_ms = at_ms;
        self.gaps_ms[usize::from(self.next) % KEPT] = u32::try_from(gap_ms).unwrap_or(u32::MAX);
        self.next = (self.next + 1) % KEPT as u8;
        self.kept = (self.kept + 1).min(KEPT as u8);
        true
    }

    /// How regular they are; `None` with less than four of them.
    #[must_use]
    pub fn regularity(&self) -> Option<Regularity> {
        let kept = usize::from(self.kept).min(KEPT);
        if kept < 4 {
            return None;
        }
        let mut sorted = self.gaps_ms;
        let sorted = &mut sorted[..kept];
        sorted.sort_unstable();
        let (low, median_ms, high) = (sorted[kept / 4], sorted[kept / 2], sorted[kept * 3 / 4]);
        let near = sorted.iter().filter(|gap| gap.abs_diff(median_ms) <= median_ms / 2).count();
        for gap in sorted.iter_mut() {
            *gap = gap.abs_diff(median_ms);
        }
        sorted.sort_unstable();
        let (q1, q2, q3) = (f64::from(low), f64::from(median_ms), f64::from(high));
        let skew = if q3 > q1 { (q1 + q3 - 2.0 * q2) / (q3 - q1) } else { 0.0 };
        Some(Regularity {
            gaps: kept,
            median_ms,
            spread: (f64::from(sorted[kept / 2]) / q2.max(1.0)) as f32,
            skew: skew as f32,
            near: near as f32 / kept as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sequence in [0, 1) that depends on its seed alone.
    fn uniform(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        })
    }

    fn regularity_of(gaps_ms: impl Iterator<Item = f64>) -> Regularity {
        let (mut gaps, mut at_ms) = (Gaps::default(), 1_000.0);
        for gap_ms in gaps_ms {
            gaps.start(at_ms as u64);
            at_ms += gap_ms;
        }
        gaps.start(at_ms as u64);
        gaps.regularity().unwrap()
    }

    #[test]
    fn timers_with_jitter_are_regular_and_chance_is_not() {
        for seed in 1..200 {
            let timer = regularity_of(uniform(seed).take(20).map(|u| 60_000.0 * (0.7 + 0.6 * u)));
            assert!(timer.spread <= 0.25 && timer.near >= 0.99, "{seed}: {timer:?}");
            let chance = regularity_of(uniform(seed).take(20).map(|u| 4_000.0 - 60_000.0 * u.max(1e-9).ln()));
            assert!(chance.spread > 0.25 || chance.near < 0.8, "{seed}: {chance:?}");
        }
    }

    #[test]
    fn a_device_that_slept_is_as_regular_as_before() {
        let asleep = |n: usize| if n % 7 == 3 { 5_000_000.0 } else { 30_000.0 };
        let seen = regularity_of((0..28).map(asleep));
        assert_eq!((seen.gaps, seen.median_ms, seen.spread), (28, 30_000, 0.0));
        assert!(seen.near > 0.8, "{seen:?}");
    }

    #[test]
    fn connections_of_one_task_are_one_call() {
        let mut gaps = Gaps::default();
        let calls =
            (0..20_u64).flat_map(|n| [0, 40, 900].map(|ms| 1_000 + n * 25_000 + ms)).filter(|at| gaps.start(*at));
        assert_eq!(calls.count(), 20);
        assert_eq!(gaps.regularity().map(|seen| (seen.median_ms, seen.gaps)), Some((25_000, 19)));
    }

    proptest! {
        #[test]
        fn hostile_moments_never_panic(moments in prop::collection::vec(any::<u64>(), 0..100)) {
            let mut gaps = Gaps::default();
            for at_ms in moments {
                gaps.start(at_ms);
                if let Some(seen) = gaps.regularity() {
                    prop_assert!(seen.spread.is_finite() && seen.gaps <= KEPT);
                    prop_assert!((-1.0..=1.0).contains(&seen.skew) && (0.0..=1.0).contains(&seen.near));
                }
            }
        }
    }
}
