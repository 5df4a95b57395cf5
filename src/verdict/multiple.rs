//! Several metrics in one report.
//!
//! Main functions: [`holm`] for those that gate, [`benjamini_hochberg`] for those that are only
//! shown. Both keep the order of what they are given.

/// Holm's adjusted p: the largest (k − i + 1)·p₍i₎ so far, at most 1. A metric is significant at α
/// if its adjusted p ≤ α; then the chance of one false alarm *in the whole report* is at most α,
/// however the metrics depend on one another. Each p is between 0 and 1.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; p.len()];
    let mut so_far: f64 = 0.0;
    for (position, index) in ascending(p).into_iter().enumerate() {
        so_far = so_far.max((p.len() - position) as f64 * p[index]);
        adjusted[index] = so_far.min(1.0);
    }
    adjusted
}

/// The q of Benjamini and Hochberg: the smallest k·p₍j₎/j over j ≥ i. Among the metrics with q ≤ x,
/// a share of at most x is expected to be false, if they are independent or positively dependent.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![1.0; p.len()];
    let mut so_far: f64 = 1.0;
    for (position, index) in ascending(p).into_iter().enumerate().rev() {
        so_far = so_far.min(p[index] * p.len() as f64 / (position + 1) as f64);
        adjusted[index] = so_far;
    }
    adjusted
}

/// Positions of the values in ascending order.
fn ascending(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (one, other) in found.iter().zip(expected) {
            assert!((one - other).abs() < 1e-12, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn adjusted_values_are_those_worked_out_by_hand() {
        let p = [0.01, 0.04, 0.03, 0.005];
        close(&holm(&p), &[0.03, 0.06, 0.06, 0.02]);
        close(&benjamini_hochberg(&p), &[0.02, 0.04, 0.04, 0.02]);
        close(&holm(&[0.4, 0.9]), &[0.8, 0.9]);
        close(&holm(&[0.02]), &[0.02]);
        close(&holm(&[]), &[]);
        close(&benjamini_hochberg(&[]), &[]);
    }

    proptest! {
        #[test]
        fn adjusting_keeps_the_order_and_never_helps(p in prop::collection::vec(0.0..=1.0_f64, 1..20)) {
            let (holm, q) = (holm(&p), benjamini_hochberg(&p));
            for i in 0..p.len() {
                prop_assert!(p[i] <= q[i] + 1e-15 && q[i] <= holm[i] + 1e-12 && holm[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || (holm[i] <= holm[j] && q[i] <= q[j]));
                }
            }
        }
    }
}
