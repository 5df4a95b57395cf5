//! Welch's t test: whether two samples of unequal variance have one mean.
//!
//! Main function: [`p_value`]. Its degrees of freedom are no whole number, so the distribution is
//! taken from the incomplete beta function.

use crate::stats::incomplete_beta;

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
