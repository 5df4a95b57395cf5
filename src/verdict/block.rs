//! A block of fresh starts: many pairs of slices, one value.
//!
//! Main type: [`BlockValue`]. The slices of a block share two server processes and so their luck;
//! they make the block's value precise, and they are never counted as evidence of their own.

use super::scale::difference;
use super::signed_rank::hodges_lehmann;
use crate::stats::{Better, Known, Unknown};

/// One pair of slices in the metric's unit: what base and head showed right after one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlicePair {
    /// Base's value.
    pub base: f64,
    /// Head's value.
    pub head: f64,
}

/// What a block says about one metric: one pair of the analysis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockValue {
    /// Hodges–Lehmann over the slices' differences; positive is slower.
    pub difference: f64,
    /// Median of base over the slices, in the metric's unit.
    pub base: f64,
    /// Median of head over the slices, in the metric's unit.
    pub head: f64,
    /// How many pairs of slices.
    pub slice_pairs: usize,
}

impl BlockValue {
    /// Of the pairs of slices of one block, in any order. Memory and time grow with the square of
    /// their number: a few hundred are meant.
    ///
    /// # Errors
    /// Where there is none, or one has a value that is not positive. Such a slice is not left out:
    /// a slice in which nothing was measured is a fault of the block.
    pub fn of(better: Better, slices: &[SlicePair]) -> Known<Self> {
        let differences: Vec<f64> = slices
            .iter()
            .map(|slice| difference(better, slice.base, slice.head))
            .collect::<Known<_>>()?;
        let none = || Unknown::because("the block has no pair of slices");
        Ok(Self {
            difference: hodges_lehmann(&differences).ok_or_else(none)?,
            base: median(slices.iter().map(|slice| slice.base)).ok_or_else(none)?,
            head: median(slices.iter().map(|slice| slice.head)).ok_or_else(none)?,
            slice_pairs: slices.len(),
        })
    }
}

/// The middle, or the mean of the two middles; `None` of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(f64::midpoint(sorted[(sorted.len() - 1) / 2], upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_disturbed_slices_do_not_move_a_block() {
        // Head is 3 % slower; four of forty slices met a neighbour that doubled their time.
        let slices: Vec<SlicePair> = (0..40)
            .map(|slice| {
                let base = 100.0 + f64::from(slice % 7);
                let disturbed = if slice % 10 == 3 { 2.0 } else { 1.0 };
                SlicePair { base, head: base * 1.03 * disturbed }
            })
            .collect();
        let block = BlockValue::of(Better::Lower, &slices).unwrap();
        assert!((block.difference - 1.03_f64.ln()).abs() < 1e-9, "{block:?}");
        assert_eq!(block.slice_pairs, 40);
        let mean = slices.iter().map(|slice| (slice.head / slice.base).ln()).sum::<f64>() / 40.0;
        assert!(mean - block.difference > 0.06, "the mean would have been fooled");
    }

    #[test]
    fn an_empty_slice_is_a_fault_and_not_left_out() {
        let good = SlicePair { base: 10.0, head: 10.0 };
        let empty = SlicePair { base: 10.0, head: 0.0 };
        assert!(BlockValue::of(Better::Higher, &[good, empty]).is_err());
        assert!(BlockValue::of(Better::Higher, &[]).is_err());
    }
}
