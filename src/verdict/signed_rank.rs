//! The one-sample signed-rank test of Wilcoxon, exactly, and the estimate and interval that belong
//! to it.
//!
//! Main type: [`SignedRank`]. It takes differences that are symmetric about an unknown shift, no
//! more: the random order within each pair makes them so under "no difference", whatever the noise
//! of the machine looks like. No normal approximation anywhere.

use crate::stats::{Known, Unknown};

/// What the signed ranks of some differences say about their centre. Unit: that of the differences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// How many differences.
    pub pairs: usize,
    /// Hodges–Lehmann: the median of the Walsh averages.
    pub estimate: f64,
    /// Two-sided p of "the centre is zero"; see [`p_value`].
    pub p: f64,
    /// The interval of the centre.
    pub interval: Interval,
}

impl SignedRank {
    /// Of at least one finite difference, with the interval that comes closest to 95 % from above.
    ///
    /// # Errors
    /// Where there is none, or one that is not finite.
    pub fn of(differences: &[f64]) -> Known<Self> {
        if differences.is_empty() {
            return Err(Unknown::because("no pair was measured"));
        }
        if differences.iter().any(|difference| !difference.is_finite()) {
            return Err(Unknown::because("a difference is not a finite number"));
        }
        let walsh = walsh_averages(differences);
        let depth = Depth::of(differences.len());
        let interval = Interval {
            low: walsh[depth.rank - 1],
            high: walsh[walsh.len() - depth.rank],
            level: depth.level,
        };
        Ok(Self {
            pairs: differences.len(),
            estimate: middle(&walsh),
            p: p_value(differences),
            interval,
        })
    }
}

/// An interval with the confidence that it really has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Achieved level, a fraction: at least 0.95 from 6 pairs on, and what there is below.
    pub level: f64,
}

impl Interval {
    /// Half its width.
    #[must_use]
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// How deep into the sorted Walsh averages the ends of an interval lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Depth {
    /// k: the ends are the k-th smallest and the k-th largest of the M averages, counted from 1:
    /// W₍k₎ and W₍M+1−k₎. (One further in, from 6 pairs on, would cover less than 95 %.)
    pub rank: usize,
    /// The confidence of that interval, a fraction: 1 − 2·P(W⁺ ≤ k − 1).
    pub level: f64,
}

impl Depth {
    /// The deepest with at least 95 %; with fewer than 6 pairs, where none reaches that, the
    /// outermost averages and the level that they have. `pairs` is at least 1.
    #[must_use]
    pub fn of(pairs: usize) -> Self {
        const TAIL: f64 = 0.025;
        let mut depth = Depth { rank: 1, level: 1.0 };
        let mut below = 0.0;
        for (statistic, probability) in null_distribution(pairs).into_iter().enumerate() {
            below += probability;
            if below > TAIL && statistic > 0 {
                break;
            }
            depth = Depth { rank: statistic + 1, level: 1.0 - 2.0 * below };
        }
        depth
    }
}

/// Median of the Walsh averages; `None` of nothing. Values must be finite.
#[must_use]
pub fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| middle(&walsh_averages(values)))
}

/// The exact two-sided p of a shift of zero: twice the smaller tail, at most 1.
///
/// Zeros are split: they take the lowest ranks, half of which counts for either sign, so they hold
/// the others' ranks up and decide nothing. Ties take their middle rank. The distribution is that
/// of the signs given *these* ranks, so p is exact with ties and zeros too; the smallest p there
/// can be is 2^(1−n) of the n differences that are not zero. Without any of those it is 1.
#[must_use]
pub fn p_value(differences: &[f64]) -> f64 {
    let mut ordered = differences.to_vec();
    ordered.sort_by(|left, right| left.abs().total_cmp(&right.abs()));
    let zeros = ordered.iter().take_while(|difference| **difference == 0.0).count();

    // Doubled, so that the middle of two ranks is a whole number.
    let mut doubled_ranks = Vec::with_capacity(ordered.len());
    let mut positive = 0;
    let mut start = zeros;
    while start < ordered.len() {
        let size = ordered[start].abs();
        let tied = ordered[start..].iter().take_while(|other| other.abs() <= size).count();
        let doubled = 2 * start + tied + 1;
        for difference in &ordered[start..start + tied] {
            doubled_ranks.push(doubled);
            if *difference > 0.0 {
                positive += doubled;
            }
        }
        start += tied;
    }
    let total: usize = doubled_ranks.iter().sum();
    let extreme = positive.min(total - positive);
    let tail: f64 = distribution_of_sum(&doubled_ranks)[..=extreme].iter().sum();
    (2.0 * tail).min(1.0)
}

/// P(W⁺ = w) for w = 0 ..= n(n+1)/2 where no two differences are equal and none is zero.
#[must_use]
pub fn null_distribution(pairs: usize) -> Vec<f64> {
    distribution_of_sum(&(1..=pairs).collect::<Vec<_>>())
}

/// The distribution of the sum of those ranks whose sign comes up positive, each with an even
/// chance: the counting recurrence. Probabilities instead of counts, because they cannot overflow;
/// up to 53 ranks each is a whole number over a power of two that a double holds exactly.
fn distribution_of_sum(ranks: &[usize]) -> Vec<f64> {
    let mut distribution = vec![0.0; ranks.iter().sum::<usize>() + 1];
    distribution[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= *rank { distribution[sum - rank] } else { 0.0 };
            distribution[sum] = (distribution[sum] + with) / 2.0;
        }
    }
    distribution
}

/// (dᵢ + dⱼ)/2 for all i ≤ j, ascending.
pub(super) fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut averages = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, one) in values.iter().enumerate() {
        averages.extend(values[index..].iter().map(|other| f64::midpoint(*one, *other)));
    }
    averages.sort_unstable_by(f64::total_cmp);
    averages
}

/// The median of sorted values, of which there is at least one.
pub(super) fn middle(sorted: &[f64]) -> f64 {
    f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() <= 1e-12 * right.abs().max(1.0), "{left} is not {right}");
    }

    #[test]
    fn counts_are_those_of_every_assignment_of_signs() {
        for pairs in 1..=12_usize {
            let mut counts = vec![0_u32; pairs * (pairs + 1) / 2 + 1];
            for signs in 0..1_u32 << pairs {
                let sum: usize = (1..=pairs).filter(|rank| signs >> (rank - 1) & 1 == 1).sum();
                counts[sum] += 1;
            }
            let all = f64::from(1_u32 << pairs);
            let expected: Vec<f64> =
                counts.into_iter().map(|count| f64::from(count) / all).collect();
            assert_eq!(null_distribution(pairs), expected, "n = {pairs}");
        }
    }

    #[test]
    fn fifty_pairs_are_counted_exactly() {
        // Whole numbers over 2^50 that add up to 1 without a rounding error; the number of ways to
        // make 10 from distinct whole numbers is 10.
        let distribution = null_distribution(50);
        let ways: Vec<f64> = distribution.iter().map(|p| p * 2_f64.powi(50)).collect();
        assert!(ways.iter().all(|ways| ways.fract() == 0.0));
        assert_eq!(ways.iter().sum::<f64>().to_bits(), 2_f64.powi(50).to_bits());
        assert_eq!(ways[..11], [1.0, 1.0, 1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
        assert_eq!(distribution.len(), 1276);
    }

    #[test]
    fn critical_values_are_those_of_the_printed_tables() {
        // Two-sided 5 %: the largest W with 2·P(W⁺ ≤ W) ≤ 0.05, as printed since Wilcoxon and Wilcox.
        let printed = [
            (6, 0),
            (7, 2),
            (8, 3),
            (9, 5),
            (10, 8),
            (11, 10),
            (12, 13),
            (13, 17),
            (14, 21),
            (15, 25),
            (16, 29),
            (17, 34),
            (18, 40),
            (19, 46),
            (20, 52),
            (21, 58),
            (22, 65),
            (23, 73),
            (24, 81),
            (25, 89),
            (30, 137),
            (40, 264),
            (50, 434),
        ];
        for (pairs, critical) in printed {
            assert_eq!(Depth::of(pairs).rank, critical + 1, "n = {pairs}");
        }
    }

    #[test]
    fn the_ends_of_intervals_lie_as_deep_as_the_specification_says() {
        let table = [
            (6, 1, 96.9),
            (7, 3, 95.3),
            (8, 4, 96.1),
            (10, 9, 95.1),
            (12, 14, 95.8),
            (16, 30, 95.6),
            (20, 53, 95.2),
            (24, 82, 95.1),
        ];
        for (pairs, rank, percent) in table {
            let depth = Depth::of(pairs);
            assert_eq!(depth.rank, rank, "n = {pairs}");
            assert!((100.0 * depth.level - percent).abs() < 0.05, "n = {pairs}: {}", depth.level);
        }
    }

    #[test]
    fn below_six_pairs_the_level_is_told_and_not_claimed() {
        for (pairs, level) in [(1, 0.0), (2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375)] {
            assert_eq!(Depth::of(pairs), Depth { rank: 1, level });
        }
        let few = SignedRank::of(&[1.0, 2.0, 4.0]).unwrap();
        assert_eq!((few.interval.low, few.interval.high, few.interval.level), (1.0, 4.0, 0.75));
    }

    #[test]
    fn the_classical_example_comes_out() {
        // Darwin's maize, cross- minus self-fertilised in eighths of an inch: W⁻ = 24 and exact
        // p = 0.04126, as R's wilcox.test prints it.
        let darwin = [
            49.0, -67.0, 8.0, 16.0, 6.0, 23.0, 28.0, 41.0, 14.0, 29.0, 56.0, 24.0, 75.0, 60.0,
            -48.0,
        ];
        let found = SignedRank::of(&darwin).unwrap();
        assert!((found.p - 0.041_26).abs() < 5e-6, "{}", found.p);
        close(found.estimate, 25.0);
    }

    #[test]
    fn the_smallest_p_halves_with_every_pair() {
        for pairs in 1..=50 {
            let differences: Vec<f64> = (1..=pairs).map(f64::from).collect();
            close(p_value(&differences), 2_f64.powi(1 - pairs).min(1.0));
        }
    }

    #[test]
    fn zeros_decide_nothing_and_ties_share_their_rank() {
        close(p_value(&[0.0, -0.0, 0.0]), 1.0);
        // One zero: three signs decide.
        close(p_value(&[0.0, 1.0, 2.0, 3.0]), 0.25);
        // Ranks 1.5, 1.5 and 3, so the sums 0, 1.5, 1.5, 3, 3, 4.5, 4.5, 6; here 4.5: 3 of 8 reach it.
        close(p_value(&[1.0, -1.0, 2.0]), 0.75);
    }

    #[test]
    fn nothing_and_what_is_not_a_number_have_no_test() {
        assert!(SignedRank::of(&[]).is_err());
        assert!(SignedRank::of(&[1.0, f64::NAN]).is_err());
        assert_eq!(hodges_lehmann(&[]), None);
        assert_eq!(hodges_lehmann(&[1.0, 2.0, 10.0]), Some(3.75));
    }

    /// Multiples of 1/8, so that ties and zeros are common and scaling by powers of two is exact.
    fn differences() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-40_i32..40).prop_map(|eighths| f64::from(eighths) / 8.0), 1..26)
    }

    proptest! {
        #[test]
        fn flipping_every_sign_mirrors_everything(differences in differences()) {
            let flipped: Vec<f64> = differences.iter().map(|difference| -difference).collect();
            let (one, other) = (SignedRank::of(&differences).unwrap(), SignedRank::of(&flipped).unwrap());
            close(one.p, other.p);
            close(one.estimate, -other.estimate);
            close(one.interval.low, -other.interval.high);
        }

        #[test]
        fn another_unit_changes_the_unit_only(differences in differences()) {
            let scaled: Vec<f64> = differences.iter().map(|difference| 4.0 * difference).collect();
            let (one, other) = (SignedRank::of(&differences).unwrap(), SignedRank::of(&scaled).unwrap());
            close(one.p, other.p);
            close(4.0 * one.estimate, other.estimate);
            close(4.0 * one.interval.high, other.interval.high);
        }

        #[test]
        fn a_shift_moves_estimate_and_interval_along(differences in differences()) {
            let moved: Vec<f64> = differences.iter().map(|difference| difference + 2.5).collect();
            let (one, other) = (SignedRank::of(&differences).unwrap(), SignedRank::of(&moved).unwrap());
            close(one.estimate + 2.5, other.estimate);
            close(one.interval.low + 2.5, other.interval.low);
            prop_assert!(one.interval.low <= one.estimate && one.estimate <= one.interval.high);
        }

        #[test]
        fn more_of_the_same_sign_never_weakens_the_evidence(mut differences in differences(), at in 0_usize..26) {
            // All positive but one: turning that one positive too cannot raise p.
            for difference in &mut differences { *difference = difference.abs() + 0.125; }
            let all = p_value(&differences);
            let at = at % differences.len();
            differences[at] = -differences[at];
            prop_assert!(all <= p_value(&differences) + 1e-15);
        }

        #[test]
        fn test_and_interval_agree_where_nothing_is_tied(seed in prop::collection::vec(-1.0..1.0_f64, 6..26)) {
            // p > 1 − level exactly when zero lies inside.
            let found = SignedRank::of(&seed).unwrap();
            let inside = found.interval.low < 0.0 && found.interval.high > 0.0;
            prop_assert_eq!(inside, found.p > 1.0 - found.interval.level + 1e-12);
        }

        #[test]
        fn p_with_ties_and_zeros_is_that_of_every_assignment_of_signs(
            differences in prop::collection::vec((-4_i32..5).prop_map(f64::from), 1..10)
        ) {
            // W of every assignment of signs to these very sizes, by brute force.
            let rank = |value: f64| {
                let below = differences.iter().filter(|other| other.abs() < value.abs()).count();
                let equal = differences.iter().filter(|other| (other.abs() - value.abs()).abs() < 0.5).count();
                below as f64 + (equal as f64 + 1.0) / 2.0
            };
            let statistic = |signs: u32| -> f64 {
                differences.iter().enumerate().map(|(index, value)| {
                    if *value == 0.0 { rank(*value) / 2.0 } else if signs >> index & 1 == 1 { rank(*value) } else { 0.0 }
                }).sum()
            };
            let observed_signs = differences.iter().enumerate()
                .fold(0, |signs, (index, value)| signs | u32::from(*value > 0.0) << index);
            let observed = statistic(observed_signs);
            let all = 1_u32 << differences.len();
            let at_most = (0..all).filter(|signs| statistic(*signs) <= observed + 1e-9).count();
            let at_least = (0..all).filter(|signs| statistic(*signs) >= observed - 1e-9).count();
            let expected = (2.0 * at_most.min(at_least) as f64 / f64::from(all)).min(1.0);
            close(p_value(&differences), expected);
        }
    }
}
