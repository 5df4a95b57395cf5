//! Student's t with whole degrees of freedom.
//!
//! Main functions: [`two_sided_p`] and [`quantile`]. Closed sums over the angle atan(t/√ν), exact
//! for whole ν (Abramowitz and Stegun 26.7.3 and 26.7.4), so that no incomplete beta function is
//! needed. `stats` holds the one quantile that the intervals of a report use.

/// P(|T| ≥ |t|) with `degrees` degrees of freedom, at least 1.
#[must_use]
pub fn two_sided_p(t: f64, degrees: usize) -> f64 {
    (1.0 - inside(t.abs(), degrees.max(1))).clamp(0.0, 1.0)
}

/// The t that a share `below` of the distribution lies under; `below` strictly between 0 and 1.
///
/// By bisection to the last bit: it is called a few times a report.
#[must_use]
pub fn quantile(below: f64, degrees: usize) -> f64 {
    if below < 0.5 {
        return -quantile(1.0 - below, degrees);
    }
    let wanted = 2.0 * below - 1.0;
    let (mut low, mut high) = (0.0, 1.0);
    while inside(high, degrees.max(1)) < wanted && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if inside(middle, degrees.max(1)) < wanted {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// P(|T| ≤ t) for t ≥ 0.
fn inside(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let squared = cosine * cosine;
    let odd = degrees % 2 == 1;
    // The terms cosᵖ·(2·4·…)/(3·5·…) or cosᵖ·(1·3·…)/(2·4·…), up to the power ν − 2.
    let (mut term, mut power) = if odd { (cosine, 1) } else { (1.0, 0) };
    let mut sum = 0.0;
    while power + 2 <= degrees {
        sum += term;
        power += 2;
        term *= squared * (power as f64 - 1.0) / power as f64;
    }
    if odd { (angle + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_printed_tables() {
        // Two-sided 5 %, and 80 % one-sided, as any textbook prints them.
        let printed = [
            (0.975, 1, 12.706),
            (0.975, 2, 4.303),
            (0.975, 5, 2.571),
            (0.975, 10, 2.228),
            (0.975, 30, 2.042),
            (0.995, 4, 4.604),
            (0.80, 5, 0.920),
            (0.80, 15, 0.866),
        ];
        for (below, degrees, expected) in printed {
            let found = quantile(below, degrees);
            assert!((found - expected).abs() < 6e-4, "t({below}, {degrees}) = {found}");
            assert!((quantile(1.0 - below, degrees) + found).abs() < 1e-9);
        }
        assert!((quantile(0.5, 7)).abs() < 1e-12);
    }

    #[test]
    fn p_is_one_in_the_middle_and_falls_outwards() {
        for degrees in 1..40 {
            assert!((two_sided_p(0.0, degrees) - 1.0).abs() < 1e-12);
            let mut last = 1.0;
            for step in 1..50 {
                let p = two_sided_p(f64::from(step) / 5.0, degrees);
                assert!(p < last, "ν = {degrees}, step {step}");
                last = p;
            }
        }
        // With one degree the distribution is Cauchy's: P(|T| ≥ 1) = 1/2.
        assert!((two_sided_p(-1.0, 1) - 0.5).abs() < 1e-12);
    }
}
