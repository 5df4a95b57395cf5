//! The share of good requests, and how sure it is.
//!
//! Main function: [`interval`], Clopper and Pearson's, from the beta distribution.

use crate::stats::incomplete_beta;

/// The exact 95 % interval of a share of which `good` of `all` were seen. `all` may be a fraction:
/// requests that depend on one another count for less than one each. Of nothing, `[0, 1]`.
#[must_use]
pub fn interval(good: f64, all: f64) -> [f64; 2] {
    const TAIL: f64 = 0.025;
    let bad = (all - good).max(0.0);
    let low = if good <= 0.0 { 0.0 } else { beta_quantile(TAIL, good, bad + 1.0) };
    let high = if bad <= 0.0 { 1.0 } else { beta_quantile(1.0 - TAIL, good + 1.0, bad) };
    [low, high]
}

/// Where the beta distribution reaches `below`; by halving, to the last digit that means anything.
fn beta_quantile(below: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = low.midpoint(high);
        if incomplete_beta(middle, a, b) < below {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.midpoint(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values are R's `binom.test(good, all)$conf.int`.
    #[test]
    fn intervals_are_those_of_clopper_and_pearson() {
        for (good, all, low, high) in [
            (10.0, 10.0, 0.691_503, 1.0),
            (0.0, 20.0, 0.0, 0.168_433),
            (95.0, 100.0, 0.887_165, 0.983_568),
            (1.0, 2.0, 0.012_579, 0.987_421),
            (950.0, 1000.0, 0.934_592, 0.962_647),
        ] {
            let [found_low, found_high] = interval(good, all);
            assert!((found_low - low).abs() < 1e-4, "{good} of {all}: {found_low}");
            assert!((found_high - high).abs() < 1e-4, "{good} of {all}: {found_high}");
        }
        let [low, high] = interval(0.0, 0.0);
        assert!(low <= 0.0 && high >= 1.0, "of nothing nothing is known");
    }
}
