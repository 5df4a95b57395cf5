//! What a session could have seen, and what it would take to see more.
//!
//! Main functions: [`regression80`], [`mde80`] and [`pairs_needed`]. The resolution is the half-width of
//! the interval itself, [`super::signed_rank::Interval::half_width`].

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::looks::MOST_PAIRS;
use super::signed_rank::{middle, null_distribution, walsh_averages};
use super::student_t;

/// Simulated sessions behind [`regression80`], and their seed: one standard error of 80 % is 0.6 points.
const SESSIONS: usize = 4_000;
const SEED: u64 = 20_260_102;

/// Walsh averages of all of them together at most, so that 200 pairs take no longer than a fraction of a
/// second; there are then 500 sessions, and one standard error is 1.8 points.
const MOST_AVERAGES: usize = 10_050_000;

/// Student's smallest visible difference. A verdict takes more: see [`regression80`].
///
/// The smallest true difference that a test at 5 % finds in 80 of 100 sessions of n pairs whose
/// differences have this standard deviation: (t₀.₉₇₅ + t₀.₈₀)·s/√n with n − 1 degrees of freedom.
/// `None` below two pairs.
#[must_use]
pub fn mde80(pairs: usize, stddev: f64) -> Option<f64> {
    Some(mde80_factor(pairs)? * stddev)
}

/// The smallest slow-down that is called a regression in 80 of 100 sessions of n pairs whose differences
/// are normal and showed this standard deviation. Unit of `stddev`, `bar` and the answer: that of the
/// differences.
///
/// `level` is what p must not exceed: the level of the look over the number of gated metrics, the first
/// step of Holm's rule; where others regressed too, it is called a little more often. `None` where that
/// many pairs never reach the level, or where no slow-down reaches the bar.
///
/// A slow-down moves all Walsh averages of a session by itself. So each simulated session of noise alone
/// tells from which slow-down on it says *regressed*: where so many averages are above 0 that p reaches
/// the level, and their median reaches the bar. The answer is what suffices for 80 of 100 of them. With
/// p at or below 5 % the interval lies above 0 by itself.
#[must_use]
pub fn regression80(pairs: usize, stddev: f64, bar: f64, level: f64) -> Option<f64> {
    let below = most_averages_below(pairs, level)?;
    if !bar.is_finite() || !stddev.is_finite() {
        return None;
    }
    let averages = pairs * (pairs + 1) / 2;
    let stddev = stddev * usual_shortfall(pairs);
    let sessions = (MOST_AVERAGES / averages).clamp(1, SESSIONS);
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut enough: Vec<f64> = (0..sessions)
        .map(|_| {
            let noise: Vec<f64> = (0..pairs).map(|_| stddev * normal(&mut random)).collect();
            let averages = walsh_averages(&noise);
            (bar - middle(&averages)).max(-averages[below])
        })
        .collect();
    let eighty = (0.8 * enough.len() as f64).ceil() as usize;
    let (_, answer, _) = enough.select_nth_unstable_by(eighty.saturating_sub(1), f64::total_cmp);
    Some(*answer)
}

/// By how much more the noise usually is than the standard deviation of so few values says: √(ν/χ²), with
/// the median of χ² by Wilson and Hilferty. Without it the claim would be 75 for 80 with nine pairs.
fn usual_shortfall(pairs: usize) -> f64 {
    let degrees = pairs.saturating_sub(1).max(1) as f64;
    (1.0 - 2.0 / (9.0 * degrees)).powf(-1.5)
}

/// How many Walsh averages may lie below 0 while the two-sided p is at most `level`.
fn most_averages_below(pairs: usize, level: f64) -> Option<usize> {
    let mut tail = 0.0;
    let reached = null_distribution(pairs).into_iter().take_while(|probability| {
        tail += probability;
        2.0 * tail <= level
    });
    reached.count().checked_sub(1)
}

/// Standard normal, by Box and Muller.
fn normal(random: &mut impl Rng) -> f64 {
    // In (0, 1].
    let mut uniform = || ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let (size, angle) = (uniform(), uniform());
    (-2.0 * libm::log(size)).sqrt() * libm::cos(TAU * angle)
}

/// c_n of [`mde80`]: standard deviations.
#[must_use]
pub fn mde80_factor(pairs: usize) -> Option<f64> {
    let degrees = pairs.checked_sub(1).filter(|degrees| *degrees > 0)?;
    let t = student_t::quantile(0.975, degrees) + student_t::quantile(0.80, degrees);
    Some(t / (pairs as f64).sqrt())
}

/// How many pairs bring the half-width down to `wanted`: ⌈n·(half-width/wanted)²⌉. `None` where
/// that is more than a session may have ([`MOST_PAIRS`]), or `wanted` is not positive.
#[must_use]
pub fn pairs_needed(pairs: usize, half_width: f64, wanted: f64) -> Option<usize> {
    if wanted <= 0.0 || !half_width.is_finite() {
        return None;
    }
    let needed = (pairs as f64 * (half_width / wanted).powi(2)).ceil();
    (needed <= MOST_PAIRS as f64).then_some(needed as usize)
}

/// How many pairs would settle a question that `pairs` pairs left open.
///
/// That is [`pairs_needed`] for a half-width of the bar, the rule of the specification. Where the
/// session is already finer than the bar and still undecided, because the estimate lies beside
/// it, that rule would ask for fewer pairs than were played; then it is the number that brings
/// the interval to the bar if the estimate stays where it is. `None`: more than a session may have
/// ([`MOST_PAIRS`]). Unit of `estimate`, `half_width` and `bar`: that of the differences.
#[must_use]
pub fn pairs_to_settle(pairs: usize, estimate: f64, half_width: f64, bar: f64) -> Option<usize> {
    let by_rule = pairs_needed(pairs, half_width, bar)?;
    if by_rule > pairs {
        return Some(by_rule);
    }
    let distance = if estimate < bar { bar - estimate } else { estimate };
    let needed = pairs_needed(pairs, half_width, distance)?.max(pairs + 1);
    (needed <= MOST_PAIRS).then_some(needed)
}

/// How many requests a trial needs before its percentile q may be compared: 20/(1 − q), so 400 for
/// p95 and 2000 for p99. `q_percent` below 100.
#[must_use]
pub const fn tail_requests_needed(q_percent: u64) -> u64 {
    2000 / (100 - q_percent)
}

/// Sample standard deviation; `None` below two values.
#[must_use]
pub fn stddev(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_specification() {
        let table = [(6, 1.42), (8, 1.15), (10, 0.99), (12, 0.89), (16, 0.75), (20, 0.66)];
        for (pairs, expected) in table {
            let factor = mde80_factor(pairs).unwrap();
            assert!((factor - expected).abs() < 0.0051, "c_{pairs} = {factor}");
        }
        assert_eq!(mde80_factor(1), None);
        assert_eq!(mde80_factor(0), None);
    }

    #[test]
    fn a_regression_that_is_called_four_times_out_of_five_is_above_the_bar_and_above_the_noise() {
        let (level, bar) = (0.02 / 3.0, 0.02_f64.ln_1p());
        let of = |pairs, stddev, bar| regression80(pairs, stddev, bar, level);
        // Without noise the bar itself is enough.
        assert_eq!(of(12, 0.0, bar), Some(bar));
        // Of little noise the estimate's own error decides: 0.84·s/√n above the bar, and 2 % more for
        // signed ranks.
        let quiet = of(12, 0.004, bar).unwrap();
        assert!((quiet - bar - 0.84 * 1.02 * 0.004 / 12_f64.sqrt()).abs() < 2e-4, "{quiet}");
        // Of much noise the level decides, and more than Student's claim at 5 % is needed.
        let noisy = of(12, 0.04, bar).unwrap();
        assert!(noisy > 1.15 * mde80(12, 0.04).unwrap(), "{noisy}");
        assert!(
            (noisy / of(12, 0.08, bar).unwrap() - 0.5).abs() < 0.01,
            "it scales with the noise"
        );
        // Nine pairs reach a third of 0.0157 only if all agree: Φ(x)⁹ = 0.8 at x = 1.97. Half of the
        // standard deviations of nine values are below 0.957 of the true one.
        let nine = regression80(9, 1.0, 0.0, 0.0157 / 3.0).unwrap();
        assert!((nine - 1.97 / 0.957).abs() < 0.05, "{nine}");
        assert_eq!(regression80(8, 1.0, 0.0, 0.0157 / 3.0), None, "never significant");
        assert_eq!(of(12, 0.01, f64::INFINITY), None);
        assert_eq!(regression80(0, 0.01, bar, level), None);
    }

    #[test]
    fn half_the_width_takes_four_times_the_pairs() {
        assert_eq!(pairs_needed(12, 0.04, 0.02), Some(48));
        assert_eq!(pairs_needed(12, 0.041, 0.02), Some(51));
        assert_eq!(pairs_needed(12, 0.04, 0.0), None);
        assert_eq!(pairs_needed(12, 4.0, 0.02), None);
    }

    #[test]
    fn nobody_is_told_to_play_more_pairs_than_can_be_asked_for() {
        // 12·(half-width/bar)²: 192, and 217.
        assert_eq!(pairs_needed(12, 0.08, 0.02), Some(192));
        assert_eq!(pairs_needed(12, 0.085, 0.02), None);
        assert_eq!(pairs_to_settle(12, 0.0, 0.085, 0.02), None);
        assert_eq!(pairs_to_settle(MOST_PAIRS, 0.01, 0.01, 0.02), None, "one more than the most");
    }

    #[test]
    fn an_estimate_beside_the_bar_asks_for_more_pairs_than_were_played() {
        // By the rule alone 16·(1/2)² = 4 pairs would do, and 16 did not.
        assert_eq!(pairs_to_settle(16, 0.015, 0.01, 0.02), Some(64));
        assert_eq!(pairs_to_settle(16, 0.0, 0.04, 0.02), Some(64));
        assert_eq!(pairs_to_settle(16, 0.02 - 1e-9, 0.01, 0.02), None);
        assert_eq!(pairs_to_settle(8, 0.025, 0.019, 0.02), Some(9));
    }

    #[test]
    fn tails_need_their_requests() {
        assert_eq!(tail_requests_needed(95), 400);
        assert_eq!(tail_requests_needed(99), 2000);
        assert_eq!(tail_requests_needed(50), 40);
    }
}
