//! Quantiles and the intervals around them.
//!
//! Main type: [`Percentile`]. A percentile is the linear interpolation at q·(n−1) of the ordered
//! values (k6's and NumPy's rule) and is given only where n carries it. Intervals of percentiles
//! come from order statistics and assume no distribution; intervals of means use Student's t.

use hdrhistogram::Histogram;

use super::{Known, Unknown};

/// The percentiles of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// The median.
    P50,
    /// 90th.
    P90,
    /// 95th.
    P95,
    /// 99th.
    P99,
}

impl Percentile {
    /// All, ascending.
    pub const ALL: [Percentile; 4] =
        [Percentile::P50, Percentile::P90, Percentile::P95, Percentile::P99];

    /// The fraction q.
    #[must_use]
    pub const fn fraction(self) -> f64 {
        match self {
            Percentile::P50 => 0.5,
            Percentile::P90 => 0.9,
            Percentile::P95 => 0.95,
            Percentile::P99 => 0.99,
        }
    }

    /// How many values it takes: 1/(1−q), so that at least one value lies beyond it; the median is
    /// always given. Spelled out because the division is not exact in binary.
    #[must_use]
    pub const fn needed(self) -> u64 {
        match self {
            Percentile::P50 => 1,
            Percentile::P90 => 10,
            Percentile::P95 => 20,
            Percentile::P99 => 100,
        }
    }

    /// Of values in ascending order.
    ///
    /// # Errors
    /// The n it needs, where there are fewer.
    pub fn of_sorted(self, sorted: &[f64]) -> Known<f64> {
        self.check(sorted.len() as u64)?;
        Ok(interpolate(sorted.len() as u64, self.fraction(), |rank| sorted[rank as usize]))
    }

    /// Of a histogram, in the histogram's own unit. Exact to the histogram's resolution; within one
    /// bucket the middle is taken, and no result leaves the recorded minimum and maximum.
    ///
    /// # Errors
    /// The n it needs, where there are fewer.
    pub fn of_histogram(self, histogram: &Histogram<u64>) -> Known<f64> {
        self.check(histogram.len())?;
        Ok(interpolate(histogram.len(), self.fraction(), |rank| value_at_rank(histogram, rank)))
    }

    fn check(self, count: u64) -> Known<()> {
        let needed = self.needed();
        if count >= needed {
            Ok(())
        } else {
            Err(Unknown::because(format!("needs n ≥ {needed}, has {count}")))
        }
    }
}

/// The value at position q·(n−1) of values in any order, which it rearranges; `values` is not empty.
/// Linear in their number: a sort of everything every two seconds would be felt.
pub(super) fn select(values: &mut [f64], fraction: f64) -> f64 {
    let position = fraction.clamp(0.0, 1.0) * (values.len() - 1) as f64;
    let below = position.floor();
    let weight = position - below;
    let (_, low, above) = values.select_nth_unstable_by(below as usize, f64::total_cmp);
    let low = *low;
    match above.iter().copied().reduce(f64::min) {
        Some(high) if weight > 0.0 => low + (high - low) * weight,
        _ => low,
    }
}

/// The same of a histogram, in its unit; `None` if it is empty.
pub(super) fn of_histogram(histogram: &Histogram<u64>, fraction: f64) -> Option<f64> {
    let value_at = |rank| value_at_rank(histogram, rank);
    (!histogram.is_empty()).then(|| interpolate(histogram.len(), fraction, value_at))
}

/// The quantile of values in ascending order by the same rule, however few they are. For those who
/// must say what k6 says; a report of ours asks [`Percentile`], which refuses where n is too small.
///
/// # Panics
/// If there is no value.
#[must_use]
pub fn interpolated(sorted: &[f64], fraction: f64) -> f64 {
    assert!(!sorted.is_empty(), "nothing has no quantile");
    interpolate(sorted.len() as u64, fraction, |rank| sorted[rank as usize])
}

/// The value at position q·(n−1), between its two neighbours in proportion. `count` is not 0.
fn interpolate(count: u64, fraction: f64, value_at: impl Fn(u64) -> f64) -> f64 {
    let position = fraction * (count - 1) as f64;
    let below = position.floor();
    let weight = position - below;
    let low = value_at(below as u64);
    if weight <= 0.0 {
        return low;
    }
    let high = value_at((below as u64 + 1).min(count - 1));
    low + (high - low) * weight
}

/// The value with this rank, from 0, in ascending order.
fn value_at_rank(histogram: &Histogram<u64>, rank: u64) -> f64 {
    let mut seen = 0;
    for step in histogram.iter_recorded() {
        seen += step.count_since_last_iteration();
        if seen > rank {
            let middle = histogram.median_equivalent(step.value_iterated_to());
            return middle.clamp(histogram.min(), histogram.max()) as f64;
        }
    }
    histogram.max() as f64
}

/// Which order statistics enclose the quantile q of whatever distribution the n values come from,
/// with at least 95 % confidence: positions from 0, both ends included.
///
/// Exact: with B binomial(n, q), the l-th smallest (from 1) lies above the quantile with probability
/// P(B ≤ l−1), the u-th below it with P(B ≥ u); each is kept at or under 2.5 %. `None` where even the
/// outermost values do not reach that: under 6 values for the median, under 72 for the 95th.
#[must_use]
pub fn order_statistic_interval(count: u64, fraction: f64) -> Option<(u64, u64)> {
    const TAIL: f64 = 0.025;
    let probabilities = binomial(count, fraction);
    let mut lower = None;
    let mut below = 0.0; // P(B ≤ l − 1) for l = position + 1
    for (position, probability) in probabilities.iter().take(count as usize).enumerate() {
        below += probability;
        if below > TAIL {
            break;
        }
        lower = Some(position as u64);
    }
    let mut upper = None;
    let mut above = 0.0; // P(B ≥ u) for u = position + 1
    for position in (0..count).rev() {
        above += probabilities[position as usize + 1];
        if above > TAIL {
            break;
        }
        upper = Some(position);
    }
    lower.zip(upper)
}

/// P(B = k) for k = 0..=n. Grown outwards from the mode by the ratio of neighbours and normalised at
/// the end, so that nothing overflows and no logarithm of a factorial is needed.
fn binomial(count: u64, fraction: f64) -> Vec<f64> {
    let odds = fraction / (1.0 - fraction);
    let n = count as f64;
    let mode = (((n + 1.0) * fraction) as usize).min(count as usize);
    let mut weights = vec![0.0; count as usize + 1];
    weights[mode] = 1.0;
    for k in mode..count as usize {
        weights[k + 1] = weights[k] * (n - k as f64) / (k as f64 + 1.0) * odds;
    }
    for k in (0..mode).rev() {
        weights[k] = weights[k + 1] * (k as f64 + 1.0) / (n - k as f64) / odds;
    }
    let total: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= total;
    }
    weights
}

/// The 97.5 % quantile of Student's t, the half-width of a 95 % interval in standard errors.
///
/// Up to 30 degrees of freedom from a table, beyond by the Cornish–Fisher expansion in 1/df, whose
/// error there is below 1e-6. `degrees` is at least 1.
#[must_use]
pub fn student_t_975(degrees: u64) -> f64 {
    const TABLE: [f64; 30] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139, 2.200_985, 2.178_813, 2.160_369, 2.144_787, 2.131_450, 2.119_905,
        2.109_816, 2.100_922, 2.093_024, 2.085_963, 2.079_614, 2.073_873, 2.068_658, 2.063_899,
        2.059_539, 2.055_529, 2.051_831, 2.048_407, 2.045_230, 2.042_272,
    ];
    let index = degrees.max(1) as usize - 1;
    if let Some(value) = TABLE.get(index) {
        return *value;
    }
    let z: f64 = 1.959_963_984_540_054;
    let v = degrees as f64;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * v)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * v.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * v.powi(3))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} is not {right}");
    }

    #[test]
    fn percentiles_agree_with_numpy() {
        // numpy.percentile([1, 2, …, 20], [50, 90, 95]) = 10.5, 18.1, 19.05
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        close(Percentile::P50.of_sorted(&values).expect("enough"), 10.5, 1e-12);
        close(Percentile::P90.of_sorted(&values).expect("enough"), 18.1, 1e-12);
        close(Percentile::P95.of_sorted(&values).expect("enough"), 19.05, 1e-12);
    }

    #[test]
    fn a_percentile_needs_its_n_and_says_so() {
        for percentile in Percentile::ALL {
            let needed = percentile.needed() as usize;
            let values = vec![1.0; needed];
            assert!(percentile.of_sorted(&values).is_ok());
            let missing = percentile.of_sorted(&values[1..]).expect_err("one too few");
            assert!(missing.reason().contains(&format!("needs n ≥ {needed}")), "{missing}");
        }
    }

    #[test]
    fn a_histogram_gives_what_the_values_give() {
        let mut histogram = Histogram::new(3).expect("3 digits");
        let mut values = Vec::new();
        for step in 0..5_000_u64 {
            let nanos = 1_000 + step * step;
            histogram.record(nanos).expect("resizes");
            values.push(nanos as f64);
        }
        for percentile in Percentile::ALL {
            let exact = percentile.of_sorted(&values).expect("enough");
            let coarse = percentile.of_histogram(&histogram).expect("enough");
            close(coarse / exact, 1.0, 0.001);
        }
    }

    #[test]
    fn a_histogram_of_one_value_gives_that_value() {
        let mut histogram = Histogram::new(3).expect("3 digits");
        histogram.record_n(123_456_789, 100).expect("resizes");
        let p99 = Percentile::P99.of_histogram(&histogram).expect("enough");
        close(p99 / 123_456_789.0, 1.0, 0.0005);
    }

    #[test]
    fn intervals_are_the_textbook_ones() {
        // Conover, Practical Nonparametric Statistics, and R's qbinom: n = 10 gives the 2nd and 9th.
        assert_eq!(order_statistic_interval(10, 0.5), Some((1, 8)));
        assert_eq!(order_statistic_interval(6, 0.5), Some((0, 5)));
        assert_eq!(order_statistic_interval(5, 0.5), None);
        assert_eq!(order_statistic_interval(100, 0.5), Some((39, 60)));
        assert_eq!(order_statistic_interval(71, 0.95), None);
        assert!(order_statistic_interval(72, 0.95).is_some_and(|(_, upper)| upper == 71));
        assert_eq!(order_statistic_interval(0, 0.5), None);
    }

    #[test]
    fn intervals_cover_at_least_95_percent_by_direct_summation() {
        for count in [6_u64, 20, 72, 173, 1_000] {
            for fraction in [0.5, 0.95] {
                let Some((lower, upper)) = order_statistic_interval(count, fraction) else {
                    continue;
                };
                let weights = binomial(count, fraction);
                let covered: f64 = weights[lower as usize + 1..=upper as usize].iter().sum();
                assert!(covered >= 0.95, "{count} {fraction} covers {covered}");
            }
        }
    }

    #[test]
    fn a_million_values_neither_overflow_nor_vanish() {
        let (lower, upper) = order_statistic_interval(1_000_000, 0.95).expect("enough");
        assert!(lower < 949_999 && upper > 949_999 && upper - lower < 1_000, "{lower} {upper}");
    }

    #[test]
    fn student_t_leaves_5_percent_outside() {
        // Guards the table and the expansion: integrates the density numerically.
        for degrees in (1..=60).chain([100, 1_000]) {
            let t = student_t_975(degrees);
            let v = degrees as f64;
            let density = |x: f64| (1.0 + x * x / v).powf(-(v + 1.0) / 2.0);
            // Substituting x = √v·tan θ makes the whole line finite: density dx ∝ cos^(v−1) θ dθ.
            let integral = |to: f64| {
                let steps = 20_000;
                let width = to / f64::from(steps);
                let at = |theta: f64| {
                    let x = v.sqrt() * theta.tan();
                    density(x) * v.sqrt() / theta.cos().powi(2)
                };
                (0..steps).map(|step| at((f64::from(step) + 0.5) * width)).sum::<f64>() * width
            };
            let inside =
                integral((t / v.sqrt()).atan()) / integral(std::f64::consts::FRAC_PI_2 - 1e-12);
            close(inside, 0.95, 1e-6);
        }
    }

    proptest! {
        #[test]
        fn percentiles_grow_with_q_and_stay_inside(mut values in prop::collection::vec(0.0..1e6_f64, 100..300)) {
            values.sort_by(f64::total_cmp);
            let results: Vec<f64> = Percentile::ALL
                .iter()
                .map(|percentile| percentile.of_sorted(&values).expect("enough"))
                .collect();
            prop_assert!(results.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(results[0] >= values[0] && results[3] <= values[values.len() - 1]);
        }
    }
}
