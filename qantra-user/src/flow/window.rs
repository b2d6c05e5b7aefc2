//! Enters: amounts with their time. Leaves: how much there was within a sliding window, never more than there was.

/// How many slots a window is cut into.
const SLOTS: usize = 4;

/// `N` counters over a sliding window of `MS` milliseconds, in four slots.
///
/// A sum covers the running slot and the three before it: between three quarters of the window and all of it, so it
/// may miss up to the oldest quarter and never counts anything older than `MS`. Takes `16 N + 4` bytes.
#[derive(Debug, Clone)]
pub struct Window<const MS: u64, const N: usize> {
    newest: u32,
    slots: [[u32; N]; SLOTS],
}

impl<const MS: u64, const N: usize> Default for Window<MS, N> {
    fn default() -> Self {
        Self { newest: 0, slots: [[0; N]; SLOTS] }
    }
}

impl<const MS: u64, const N: usize> Window<MS, N> {
    /// The window's length in ms.
    pub const MS: u64 = MS;

    const fn slot_of(at_ms: u64) -> u32 {
        // A slot lasts at least 250 ms, so 32 bits last for 34 years of uptime.
        (at_ms / (MS / SLOTS as u64)) as u32
    }

    /// Adds to some counters at a time; a time before the newest one counts as the newest.
    #[inline]
    pub fn add(&mut self, at_ms: u64, amounts: &[(usize, u32)]) {
        let slot = Self::slot_of(at_ms);
        if slot > self.newest {
            let stale = (slot - self.newest).min(SLOTS as u32);
            for back in 0..stale {
                self.slots[(slot - back) as usize % SLOTS] = [0; N];
            }
            self.newest = slot;
        }
        let counters = &mut self.slots[self.newest as usize % SLOTS];
        for &(counter, amount) in amounts {
            counters[counter] = counters[counter].saturating_add(amount);
        }
    }

    /// What a counter holds over the window that ends at a time.
    #[inline]
    #[must_use]
    pub fn sum(&self, at_ms: u64, counter: usize) -> u32 {
        let age = Self::slot_of(at_ms).saturating_sub(self.newest);
        let kept = (SLOTS as u32).saturating_sub(age).min(self.newest.saturating_add(1));
        let mut sum = 0_u32;
        for back in 0..kept {
            sum = sum.saturating_add(self.slots[(self.newest - back) as usize % SLOTS][counter]);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forgets_what_left_the_window_and_nothing_in_its_newest_three_quarters() {
        let mut window = Window::<1_000, 2>::default();
        window.add(10_000, &[(0, 5), (1, 7)]);
        assert_eq!(window.sum(10_000, 0), 5);
        assert_eq!(window.sum(10_749, 1), 7);
        assert_eq!(window.sum(11_000, 0), 0);
        // A jump of far more than a window leaves nothing of old laps in the ring.
        window.add(99_999, &[(0, 1)]);
        assert_eq!(window.sum(99_999, 0), 1);
    }

    #[test]
    fn a_clock_that_steps_back_neither_panics_nor_loses() {
        let mut window = Window::<1_000, 1>::default();
        window.add(5_000, &[(0, 1)]);
        window.add(10, &[(0, 1)]);
        assert_eq!(window.sum(0, 0), 2);
        assert_eq!(window.sum(5_100, 0), 2);
    }

    proptest! {
        #[test]
        fn never_more_than_was_within_the_window(mut steps in prop::collection::vec((0_u64..3_000, 0_u32..50), 1..200)) {
            let mut window = Window::<1_000, 1>::default();
            let (mut at_ms, mut seen) = (0, Vec::new());
            for (step, amount) in steps.drain(..) {
                at_ms += step / 10;
                window.add(at_ms, &[(0, amount)]);
                seen.push((at_ms, amount));
                let within = |ms: u64| seen.iter().filter(|(t, _)| t + ms > at_ms).map(|(_, a)| a).sum::<u32>();
                let sum = window.sum(at_ms, 0);
                prop_assert!(sum <= within(1_000), "{sum} counted, {} there", within(1_000));
                prop_assert!(sum >= within(750), "{sum} counted, {} in the newest three quarters", within(750));
            }
        }
    }
}
