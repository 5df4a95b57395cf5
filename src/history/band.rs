//! The band in which the next point of a series is expected.
//!
//! Main type: [`Band`]. Median and MAD, so that a few odd points neither move nor widen it; a
//! prediction interval, so that it is about the next point and not about the mean.

use super::median;
use crate::verdict::student_t;

/// Most points that a band is made of.
pub const MOST: usize = 50;
/// Fewest.
pub const LEAST: usize = 10;
/// Of the last points, how many are looked at, and how many outside on one side are an alert.
pub const LAST: usize = 4;
/// See [`LAST`].
pub const OUTSIDE: usize = 3;

/// Half of a band is never narrower than a tenth of a per cent: where all points are equal to the
/// last digit, the next one will still differ.
const LEAST_HALF_WIDTH: f64 = 0.001;

/// Makes the MAD of a normal distribution its standard deviation: 1/Φ⁻¹(3/4).
const MAD_TO_SD: f64 = 1.4826;

/// Where the next point is expected, in logarithms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// Median of the points before.
    pub middle: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Band {
    /// Of the points before, oldest first; `None` with fewer than ten. Of more than fifty, the last.
    #[must_use]
    pub fn of(before: &[f64]) -> Option<Self> {
        let last = &before[before.len().saturating_sub(MOST)..];
        if last.len() < LEAST {
            return None;
        }
        let middle = median(last)?;
        let distances: Vec<f64> = last.iter().map(|value| (value - middle).abs()).collect();
        let m = last.len() as f64;
        let t = student_t::quantile(0.995, last.len() - 1);
        let half = t * MAD_TO_SD * median(&distances)? * (1.0 + 1.0 / m).sqrt();
        let half = half.max(LEAST_HALF_WIDTH);
        Some(Self { middle, low: middle - half, high: middle + half })
    }

    /// −1 below, 1 above, 0 inside.
    #[must_use]
    pub fn side(&self, value: f64) -> i8 {
        if value < self.low {
            -1
        } else if value > self.high {
            1
        } else {
            0
        }
    }
}

/// For each point, on which side of the band of those before it lies; `None` where there is no band.
#[must_use]
pub fn sides(values: &[f64]) -> Vec<Option<i8>> {
    let side = |index: usize| Band::of(&values[..index]).map(|band| band.side(values[index]));
    (0..values.len()).map(side).collect()
}

/// The side on which three of the last four lie: −1 or 1; `None` where they do not.
#[must_use]
pub fn drift(sides: &[Option<i8>]) -> Option<i8> {
    let last = &sides[sides.len().saturating_sub(LAST)..];
    [-1, 1]
        .into_iter()
        .find(|wanted| last.iter().filter(|side| **side == Some(*wanted)).count() >= OUTSIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_is_that_of_the_formula() {
        // Median 0, distances 1, 1, 2, 2, 3, 3, 4, 4, 5, 5: MAD 3. t(0.995, 9) = 3.2498.
        let before: Vec<f64> =
            (1..=5).flat_map(|size| [f64::from(size), -f64::from(size)]).collect();
        let band = Band::of(&before).unwrap();
        let half = 3.249_836 * 1.4826 * 3.0 * 1.1_f64.sqrt();
        assert!((band.high - half).abs() < 1e-5 && (band.low + half).abs() < 1e-5, "{band:?}");
        assert_eq!(Band::of(&before[..9]), None);
        assert_eq!([-16.0, 0.0, 16.0].map(|value| band.side(value)), [-1, 0, 1]);
    }

    #[test]
    fn only_the_last_fifty_count() {
        let mut values = vec![100.0; 60];
        values.extend(std::iter::repeat_n(1.0, 50));
        assert!((Band::of(&values).unwrap().middle - 1.0).abs() < 1e-12);
    }

    #[test]
    fn three_of_the_last_four_on_one_side_are_a_drift() {
        let (low, high, inside) = (Some(-1), Some(1), Some(0));
        assert_eq!(drift(&[high, inside, high, high]), Some(1));
        assert_eq!(drift(&[high, high, high, inside, inside]), None);
        assert_eq!(drift(&[low, low, high, low]), Some(-1));
        assert_eq!(drift(&[high, high, low, low]), None);
        assert_eq!(drift(&[None, high, high, high]), Some(1));
        assert_eq!(drift(&[high, high]), None);
    }
}
