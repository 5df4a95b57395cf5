//! One metric over many requests.
//!
//! Main type: [`Distribution`]. It does not know what the values mean.

use hdrhistogram::Histogram;

use super::quantile::{Percentile, order_statistic_interval, student_t_975};
use super::{Known, Moments, Unknown};

/// What a report says about one metric. All values in the metric's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// How many values; 0 where nothing could be measured.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Known<f64>,
    /// Sample standard deviation (n − 1).
    pub stddev: Known<f64>,
    /// Smallest value.
    pub min: Known<f64>,
    /// Median.
    pub p50: Known<f64>,
    /// 90th percentile.
    pub p90: Known<f64>,
    /// 95th percentile.
    pub p95: Known<f64>,
    /// 99th percentile.
    pub p99: Known<f64>,
    /// Largest value.
    pub max: Known<f64>,
    /// 95 % interval of the mean.
    pub mean_ci95: Known<[f64; 2]>,
    /// 95 % interval of the median.
    pub p50_ci95: Known<[f64; 2]>,
    /// 95 % interval of the 95th percentile.
    pub p95_ci95: Known<[f64; 2]>,
}

impl Distribution {
    /// One that holds nothing, and why.
    #[must_use]
    pub fn empty(reason: &Unknown) -> Self {
        let none = || Err(reason.clone());
        Self {
            count: 0,
            mean: none(),
            stddev: none(),
            min: none(),
            p50: none(),
            p90: none(),
            p95: none(),
            p99: none(),
            max: none(),
            mean_ci95: Err(reason.clone()),
            p50_ci95: Err(reason.clone()),
            p95_ci95: Err(reason.clone()),
        }
    }

    /// Of exact values in any order; values that are not finite are left out. `empty_because` is
    /// the reason given where nothing remains.
    #[must_use]
    pub fn of_values(mut values: Vec<f64>, empty_because: &Unknown) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (values.first().copied(), values.last().copied()) else {
            return Self::empty(empty_because);
        };
        let count = values.len() as u64;
        let mean = values.iter().sum::<f64>() / count as f64;
        // Two passes: the squares are taken of differences, so nothing cancels.
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let stddev = if count < 2 {
            Err(Unknown::because("needs n ≥ 2, has 1"))
        } else {
            Ok((squares / (count - 1) as f64).sqrt())
        };
        let mean_ci95 = stddev.clone().map(|stddev| {
            let half = student_t_975(count - 1) * stddev / (count as f64).sqrt();
            [mean - half, mean + half]
        });
        let interval = |percentile: Percentile, needed: u64| {
            order_statistic_interval(count, percentile.fraction())
                .map(|(lower, upper)| [values[lower as usize], values[upper as usize]])
                .ok_or_else(|| Unknown::because(format!("needs n ≥ {needed}, has {count}")))
        };
        Self {
            count,
            mean: Ok(mean),
            stddev,
            min: Ok(min),
            p50: Percentile::P50.of_sorted(&values),
            p90: Percentile::P90.of_sorted(&values),
            p95: Percentile::P95.of_sorted(&values),
            p99: Percentile::P99.of_sorted(&values),
            max: Ok(max),
            mean_ci95,
            p50_ci95: interval(Percentile::P50, 6),
            p95_ci95: interval(Percentile::P95, 72),
        }
    }

    /// Of a histogram of nanoseconds with its exact moments, in units of `nanos_per_unit`.
    ///
    /// The intervals are given by the caller or stay unknown: the gaps of one request depend on
    /// one another, and an interval that took them for independent would be too narrow.
    #[must_use]
    pub fn of_histogram(
        histogram: &Histogram<u64>,
        moments: &Moments,
        nanos_per_unit: f64,
        mean_ci95: Known<[f64; 2]>,
        empty_because: &Unknown,
    ) -> Self {
        if moments.count == 0 || histogram.is_empty() {
            return Self::empty(empty_because);
        }
        let scale = |nanos: f64| nanos / nanos_per_unit;
        let (min, max) = (moments.min_ns, moments.max_ns);
        let at = |percentile: Percentile| {
            percentile.of_histogram(histogram).map(|nanos| scale(nanos.clamp(min, max.max(min))))
        };
        let dependent = || {
            Err(Unknown::because(
                "pooled gaps of one request are not independent, so an interval would be too narrow",
            ))
        };
        Self {
            count: moments.count,
            mean: Ok(scale(moments.mean_ns)),
            stddev: match moments.count {
                1 => Err(Unknown::because("needs n ≥ 2, has 1")),
                _ => Ok(scale(moments.stddev_ns)),
            },
            min: Ok(scale(min)),
            p50: at(Percentile::P50),
            p90: at(Percentile::P90),
            p95: at(Percentile::P95),
            p99: at(Percentile::P99),
            max: Ok(scale(max)),
            mean_ci95,
            p50_ci95: dependent(),
            p95_ci95: dependent(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Unknown {
        Unknown::because("nothing was measured")
    }

    fn close(left: &Known<f64>, right: f64) {
        let left = *left.as_ref().expect("known");
        assert!((left - right).abs() < 1e-6, "{left} is not {right}");
    }

    #[test]
    fn moments_are_those_of_a_textbook() {
        // 2, 4, 4, 4, 5, 5, 7, 9: mean 5, sample stddev 2.13809, t(7) = 2.36462.
        let summary =
            Distribution::of_values(vec![9.0, 2.0, 4.0, 4.0, 5.0, 4.0, 5.0, 7.0], &nothing());
        close(&summary.mean, 5.0);
        close(&summary.stddev, 2.138_089_935);
        close(&summary.min, 2.0);
        close(&summary.max, 9.0);
        let [low, high] = summary.mean_ci95.expect("n ≥ 2");
        assert!((low - 3.212_512).abs() < 1e-4 && (high - 6.787_488).abs() < 1e-4, "{low} {high}");
        assert_eq!(summary.p50_ci95, Ok([2.0, 9.0]));
        assert!(summary.p95_ci95.expect_err("8 < 72").reason().contains("needs n ≥ 72, has 8"));
    }

    #[test]
    fn one_value_has_no_spread() {
        let summary = Distribution::of_values(vec![3.0], &nothing());
        close(&summary.p50, 3.0);
        assert!(summary.stddev.is_err() && summary.mean_ci95.is_err() && summary.p90.is_err());
    }

    #[test]
    fn no_value_is_no_zero() {
        let summary = Distribution::of_values(vec![f64::NAN], &nothing());
        assert_eq!(summary.count, 0);
        assert_eq!(summary.mean, Err(nothing()));
        assert_eq!(summary.max, Err(nothing()));
    }

    #[test]
    fn a_histogram_keeps_the_exact_moments() {
        let mut histogram = Histogram::new(3).expect("3 digits");
        for nanos in [1_000_000_u64, 2_000_000, 3_000_000] {
            histogram.record(nanos).expect("resizes");
        }
        let moments = Moments { count: 3, mean_ns: 2e6, stddev_ns: 1e6, min_ns: 1e6, max_ns: 3e6 };
        let summary =
            Distribution::of_histogram(&histogram, &moments, 1e6, Err(nothing()), &nothing());
        close(&summary.mean, 2.0);
        close(&summary.max, 3.0);
        assert!((summary.p50.expect("one is enough") - 2.0).abs() < 0.002);
        assert!(summary.p50_ci95.is_err() && summary.p95_ci95.is_err());
    }
}
