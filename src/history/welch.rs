//! Welch's t test: whether two samples of unequal variance have one mean.
//!
//! Main function: [`p_value`]. Its degrees of freedom are no whole number, so the distribution is
//! taken from the incomplete beta function.

/// Two-sided p of the hypothesis that both have the same mean; variances with n − 1. Samples of fewer
/// than two values decide nothing: 1. Without any variance, 1 where the means agree, else 0.
#[must_use]
pub fn p_value(one: &[f64], other: &[f64]) -> f64 {
    let (Some((mean, error, n)), Some((other_mean, other_error, m))) =
        (moments(one), moments(other))
    else {
        return 1.0;
    };
    let squared = error + other_error;
    let apart = (mean - other_mean).abs();
    // What is left of equal values when they are added up is no variance.
    let rounding = f64::EPSILON * mean.abs().max(other_mean.abs());
    if squared <= rounding * rounding {
        return if apart <= 4.0 * rounding { 1.0 } else { 0.0 };
    }
    let degrees =
        squared * squared / (error * error / (n - 1.0) + other_error * other_error / (m - 1.0));
    let t_squared = apart * apart / squared;
    // P(|T| ≥ t) = I_x(ν/2, 1/2) with x = ν / (ν + t²).
    incomplete_beta(degrees / (degrees + t_squared), degrees / 2.0, 0.5)
}

/// Mean, squared standard error and count; `None` below two values.
fn moments(values: &[f64]) -> Option<(f64, f64, f64)> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some((mean, squares / (n - 1.0) / n, n))
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz's method),
/// on the side where that converges fast.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(x, a, b) / a
    } else {
        1.0 - front * fraction(1.0 - x, b, a) / b
    }
}

fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let safe = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / safe(1.0 - (a + b) * x / (a + 1.0));
    let mut result = d;
    for step in 1..500 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / safe(1.0 + even * d);
        c = safe(1.0 + even / c);
        result *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / safe(1.0 + odd * d);
        c = safe(1.0 + odd / c);
        let change = d * c;
        result *= change;
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    result
}

/// ln Γ(x) for x > 0: Lanczos' approximation with g = 7 and nine terms, good to 15 digits.
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
        return (std::f64::consts::PI / (std::f64::consts::PI * x).sin()).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let mut sum = TERMS[0];
    for (index, term) in TERMS.iter().enumerate().skip(1) {
        sum += term / (x + index as f64);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_variance_are_the_same_or_not() {
        assert!((p_value(&[2.0; 5], &[2.0; 7]) - 1.0).abs() < 1e-15);
        assert!(p_value(&[2.0; 5], &[2.1; 7]) < 1e-15);
        assert!((p_value(&[2.0], &[2.1; 7]) - 1.0).abs() < 1e-15, "one value decides nothing");
        let same = [0.1 + 0.2; 6];
        assert!((p_value(&same, &[0.3; 6]) - 1.0).abs() < 1e-15, "rounding is no change");
    }

    #[test]
    fn equal_sizes_and_variances_give_students_t() {
        // Then ν is whole: t = 1, ν = 8, p = 0.3466 in any table.
        let one = [-2.0, -1.0, 0.0, 1.0, 2.0];
        let other = one.map(|value| value + 1.0);
        assert!(
            (p_value(&one, &other) - crate::verdict::student_t::two_sided_p(1.0, 8)).abs() < 1e-13
        );
    }
}
