//! The share of good requests, and how sure it is.
//!
//! Main function: [`interval`], Clopper and Pearson's, from the beta distribution.

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
        if beta_below(middle, a, b) < below {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.midpoint(high)
}

/// The regularised incomplete beta function, by its continued fraction (Lentz's way of computing it).
fn beta_below(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_below(1.0 - x, b, a);
    }
    let front =
        (a * x.ln() + b * (1.0 - x).ln() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    const TINY: f64 = 1e-300;
    let clear = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / clear(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for numerator in [even, odd] {
            d = 1.0 / clear(1.0 + numerator * d);
            c = clear(1.0 + numerator / c);
            fraction *= d * c;
        }
        if (d * c - 1.0).abs() < 1e-14 {
            break;
        }
    }
    front * fraction
}

/// Lanczos' approximation with 9 terms, good to 15 digits above 0.5.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        // The reflection, for completeness: our arguments are counts plus one, or fractions of them.
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = TERMS
        .iter()
        .skip(1)
        .zip(1..)
        .fold(TERMS[0], |sum, (term, step)| sum + term / (x + f64::from(step)));
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
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
