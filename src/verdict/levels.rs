//! Levels for several looks at one session, found by simulation.
//!
//! Main type: [`FirstCrossings`]. Under "no difference" the signs are fair coins and the order of
//! the sizes is any order, whatever the noise is; so the chance that *some* look comes out
//! significant needs no model of a machine. [`super::looks`] uses it and holds its committed table.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::signed_rank::null_distribution;

/// For each simulated session, how far the levels would have to be lowered to keep every look
/// silent.
#[derive(Debug, Clone)]
pub(super) struct FirstCrossings {
    /// The least of p/level over the looks, ascending, one a session.
    ratios: Vec<f64>,
}

impl FirstCrossings {
    /// Plays `sessions` sessions without any difference and looks after `pairs[j]` pairs with
    /// `levels[j]`. `pairs` ascending, both of one length.
    #[must_use]
    pub(super) fn simulate(pairs: &[usize], levels: &[f64], sessions: usize, seed: u64) -> Self {
        let ratio_of: Vec<Vec<f64>> = pairs
            .iter()
            .zip(levels)
            .map(|(pairs, level)| two_sided(*pairs).into_iter().map(|p| p / level).collect())
            .collect();
        let last = pairs.last().copied().unwrap_or(0);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut by_size: Vec<u32> = Vec::with_capacity(last);
        let mut ratios: Vec<f64> = (0..sessions)
            .map(|_| {
                by_size.clear();
                let mut least = f64::INFINITY;
                let mut look = 0;
                for played in 1..=last {
                    // 31 bits of size, one of sign.
                    let difference = random.next_u32();
                    let place = by_size.partition_point(|other| other >> 1 < difference >> 1);
                    by_size.insert(place, difference);
                    if played == pairs[look] {
                        let positive: usize = by_size
                            .iter()
                            .enumerate()
                            .map(|(index, difference)| (index + 1) * (*difference & 1) as usize)
                            .sum();
                        least = least.min(ratio_of[look][positive]);
                        look += 1;
                    }
                }
                least
            })
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        Self { ratios }
    }

    /// The chance of a false alarm in a report of `gated` metrics, none of which changed, if each
    /// level is multiplied by `factor` and shared by Holm's rule: at most this, however the metrics
    /// depend on one another.
    ///
    /// The worst over 1 to `gated` metrics without a change (the others did change, and are out of
    /// Holm's way): with m of them, one is falsely called with at most m times the chance of a
    /// single one at the levels over m.
    #[must_use]
    pub(super) fn family_error(&self, gated: usize, factor: f64) -> f64 {
        (1..=gated.max(1)).map(|left| self.error_of(left, factor)).fold(0.0, f64::max)
    }

    fn error_of(&self, left: usize, factor: f64) -> f64 {
        let limit = factor / left as f64;
        // A p that equals its level is significant; the quotient of the two may be a bit off 1.
        let crossed = self.ratios.partition_point(|ratio| *ratio <= limit * (1.0 + 1e-12));
        left as f64 * crossed as f64 / self.ratios.len() as f64
    }

    /// The largest factor, in steps of a hundredth and at most `most`, for which
    /// [`FirstCrossings::family_error`] stays under `alpha` with two standard errors of the
    /// simulation to spare. 0 where none does.
    #[must_use]
    pub(super) fn largest_factor(&self, gated: usize, alpha: f64, most: f64) -> f64 {
        let holds = |factor: f64| {
            (1..=gated.max(1)).all(|left| {
                let share = self.error_of(left, factor) / left as f64;
                let spare = 2.0 * (share * (1.0 - share) / self.ratios.len() as f64).sqrt();
                left as f64 * (share + spare) <= alpha
            })
        };
        let steps = (most * 100.0).floor() as u32;
        (1..=steps)
            .rev()
            .map(|step| f64::from(step) / 100.0)
            .find(|factor| holds(*factor))
            .unwrap_or(0.0)
    }
}

/// The two-sided p of every W⁺ = 0 ..= n(n+1)/2.
fn two_sided(pairs: usize) -> Vec<f64> {
    let distribution = null_distribution(pairs);
    let mut p = vec![1.0; distribution.len()];
    let mut tail = 0.0;
    for statistic in 0..distribution.len().div_ceil(2) {
        tail += distribution[statistic];
        let both = (2.0 * tail).min(1.0);
        p[statistic] = both;
        p[distribution.len() - 1 - statistic] = both;
    }
    p
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::signed_rank::p_value;

    #[test]
    fn p_of_a_statistic_is_p_of_differences_with_it() {
        let differences = [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0];
        for statistic in [1 + 3 + 4 + 6 + 7, 2 + 5] {
            assert!((two_sided(7)[statistic] - p_value(&differences)).abs() < 1e-15);
        }
    }

    #[test]
    fn a_single_look_errs_as_often_as_its_exact_level() {
        // n = 8: the largest attainable p under 5 % is 2·5/256.
        let crossings = FirstCrossings::simulate(&[8], &[0.05], 40_000, 1);
        let error = crossings.family_error(1, 1.0);
        assert!((error - 10.0 / 256.0).abs() < 0.004, "{error}");
    }
}
