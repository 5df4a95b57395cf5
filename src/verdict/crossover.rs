//! Student's t of a crossover: the second opinion beside the signed ranks.
//!
//! Main type: [`Crossover`]. Averaging the two orders takes out what being second costs
//! (Hills and Armitage). It assumes normal noise, so it decides nothing: the verdict only asks
//! whether it points the same way.

use super::design::Order;
use super::student_t;

/// What the two orders say, unit of the differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossover {
    /// θ_t = (mean over AB + mean over BA) / 2: the difference without the effect of position.
    pub estimate: f64,
    /// Standard error: (s/2)·√(1/n_AB + 1/n_BA), s² pooled within the orders.
    pub standard_error: f64,
    /// n − 2.
    pub degrees: usize,
    /// Two-sided p of a difference of zero. 1 where all pairs of each order are equal and there is
    /// no difference, 0 where there is one.
    pub p: f64,
    /// π̂ = (mean over AB − mean over BA) / 2: how much the second of a pair is slower.
    pub position_effect: f64,
}

impl Crossover {
    /// Of pairs with the order they were played in. `None` where one order is missing or there are
    /// fewer than three pairs.
    #[must_use]
    pub fn of(pairs: &[(Order, f64)]) -> Option<Self> {
        let of_order = |wanted: Order| -> Vec<f64> {
            pairs.iter().filter(|(order, _)| *order == wanted).map(|(_, value)| *value).collect()
        };
        let (ab, ba) = (of_order(Order::BaseFirst), of_order(Order::HeadFirst));
        if ab.is_empty() || ba.is_empty() || pairs.len() < 3 {
            return None;
        }
        let (mean_ab, mean_ba) = (mean(&ab), mean(&ba));
        let degrees = pairs.len() - 2;
        let variance = (squares(&ab, mean_ab) + squares(&ba, mean_ba)) / degrees as f64;
        let standard_error =
            variance.sqrt() / 2.0 * (1.0 / ab.len() as f64 + 1.0 / ba.len() as f64).sqrt();
        let estimate = f64::midpoint(mean_ab, mean_ba);
        let p = if standard_error > 0.0 {
            student_t::two_sided_p(estimate / standard_error, degrees)
        } else if estimate == 0.0 {
            1.0
        } else {
            0.0
        };
        let position_effect = (mean_ab - mean_ba) / 2.0;
        Some(Self { estimate, standard_error, degrees, p, position_effect })
    }
}

/// π̂ alone; `None` where one order is missing.
#[must_use]
pub fn position_effect(pairs: &[(Order, f64)]) -> Option<f64> {
    Crossover::of(pairs).map(|crossover| crossover.position_effect)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::Order::{BaseFirst, HeadFirst};
    use super::*;

    #[test]
    fn a_constant_penalty_of_the_second_goes_into_the_position_effect_alone() {
        // True difference 3, the second of a pair pays 1: AB sees 3 + 1, BA 3 − 1. Unbalanced on
        // purpose: the plain mean would be 3.2.
        let noise = [0.1, -0.1, 0.0];
        let mut pairs: Vec<_> = noise.iter().map(|noise| (BaseFirst, 4.0 + noise)).collect();
        pairs.extend(noise[..2].iter().map(|noise| (HeadFirst, 2.0 + noise)));
        let found = Crossover::of(&pairs).unwrap();
        assert!((found.estimate - 3.0).abs() < 1e-12);
        assert!((found.position_effect - 1.0).abs() < 1e-12);
        // s² = (0.02 + 0.02)/3, SE = s/2·√(1/3 + 1/2).
        let expected = (0.04_f64 / 3.0).sqrt() / 2.0 * (5.0_f64 / 6.0).sqrt();
        assert!((found.standard_error - expected).abs() < 1e-12);
        assert_eq!(found.degrees, 3);
    }

    #[test]
    fn one_order_alone_is_no_crossover() {
        assert_eq!(Crossover::of(&[(BaseFirst, 1.0), (BaseFirst, 2.0), (BaseFirst, 3.0)]), None);
        assert_eq!(Crossover::of(&[(BaseFirst, 1.0), (HeadFirst, 2.0)]), None);
        assert_eq!(position_effect(&[]), None);
    }

    #[test]
    fn without_noise_p_is_none_or_all() {
        let equal = |value| [(BaseFirst, value), (HeadFirst, value), (BaseFirst, value)];
        assert!(Crossover::of(&equal(0.0)).unwrap().p >= 1.0);
        assert!(Crossover::of(&equal(0.5)).unwrap().p <= 0.0);
    }
}
