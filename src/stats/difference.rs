//! Time per output token by the difference of two lengths.
//!
//! Main type: [`TpotDifference`]. The same prompt is answered once with M and once with M + k forced
//! tokens; M is the workload's, or the prompt's own. What both have in common (sending, queue, prefill,
//! the first M tokens) falls out of the difference, and with it everything by which the two ends of a
//! stream differ from the work: held back tokens, buffers, coalesced deltas.

use std::collections::BTreeMap;

use super::derive::{counts, milliseconds};
use super::quantile::{interpolated, order_statistic_interval};
use super::{Known, Unknown};
use crate::load::RequestRecord;

/// (T(M + k) − T(M)) / k, where T is last content − written.
#[derive(Debug, Clone, PartialEq)]
pub struct TpotDifference {
    /// M: the shorter answers' tokens, the fewest and the most of all pairs; without pairs those that the
    /// workload asks for.
    pub tokens: [u32; 2],
    /// k: by how many tokens the others are longer.
    pub step: u32,
    /// Prompts of which both answers completed.
    pub pairs: u64,
    /// Median over the pairs, milliseconds.
    pub median_ms: Known<f64>,
    /// 95 % interval of the median, by order statistics; needs 6 pairs.
    pub ci95_ms: Known<[f64; 2]>,
}

impl TpotDifference {
    /// Of a load in which every prompt was asked at `tokens`, or a budget of its own, and at `step` more.
    #[must_use]
    pub fn of(records: &[RequestRecord], tokens: u32, step: u32) -> Self {
        // By the prompt and what it was asked for.
        let mut seen: BTreeMap<(u64, u32), Vec<f64>> = BTreeMap::new();
        for record in records.iter().filter(|record| counts(record)) {
            if let Some(took) = milliseconds(record.written, record.last_content) {
                seen.entry((record.prompt_index, record.max_tokens)).or_default().push(took);
            }
        }
        let (mut values, mut shorter) = (Vec::new(), Vec::new());
        for (&(prompt, asked), short) in &seen {
            let longer = asked.checked_add(step).and_then(|longer| seen.get(&(prompt, longer)));
            let Some(long) = longer else { continue };
            shorter.push(asked);
            // A prompt that came round several times is paired in the order of planning.
            let both = short.iter().zip(long);
            values.extend(both.map(|(short, long)| (long - short) / f64::from(step)));
        }
        values.sort_by(f64::total_cmp);
        let fewest = shorter.iter().copied().min().unwrap_or(tokens);
        let tokens = [fewest, shorter.iter().copied().max().unwrap_or(tokens)];
        let pairs = values.len() as u64;
        let median_ms = if values.is_empty() {
            Err(Unknown::because("no prompt was answered at both lengths"))
        } else {
            Ok(interpolated(&values, 0.5))
        };
        let ci95_ms = order_statistic_interval(pairs, 0.5)
            .and_then(|(low, high)| {
                let at = |position: u64| values.get(usize::try_from(position).ok()?);
                Some([*at(low)?, *at(high)?])
            })
            .ok_or_else(|| Unknown::because(format!("needs n ≥ 6, has {pairs}")));
        Self { tokens, step, pairs, median_ms, ci95_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::{at_ms, completed};

    /// An answer of `tokens` tokens to prompt `prompt`: 20 ms to the first, then 8 ms each, and 5 ms
    /// more that every answer loses at its end.
    fn answer(prompt: u64, tokens: u32) -> RequestRecord {
        let last = at_ms(2.0 + 20.0 + 8.0 * f64::from(tokens - 1) + 5.0);
        RequestRecord {
            prompt_index: prompt,
            max_tokens: tokens,
            last_content: Some(last),
            end: Some(last),
            ..completed(0)
        }
    }

    #[test]
    fn what_both_lengths_share_falls_out() {
        let records: Vec<_> =
            (0..6).flat_map(|prompt| [answer(prompt, 16), answer(prompt, 48)]).collect();
        let found = TpotDifference::of(&records, 16, 32);
        assert_eq!((found.pairs, found.tokens), (6, [16, 16]));
        assert!((found.median_ms.unwrap() - 8.0).abs() < 1e-9);
        let [low, high] = found.ci95_ms.unwrap();
        assert!((low - 8.0).abs() < 1e-9 && (high - 8.0).abs() < 1e-9);
    }

    #[test]
    fn prompts_with_budgets_of_their_own_are_paired_by_them() {
        let mut records: Vec<_> = (0..6)
            .flat_map(|prompt| {
                let own = 20 + 10 * prompt as u32;
                [answer(prompt, own), answer(prompt, own + 32)]
            })
            .collect();
        // No budget is 32 tokens longer than these.
        records.extend([answer(6, u32::MAX - 3), answer(6, u32::MAX)]);
        let found = TpotDifference::of(&records, 16, 32);
        assert_eq!((found.pairs, found.tokens), (6, [20, 70]));
        assert!((found.median_ms.unwrap() - 8.0).abs() < 1e-9);
    }

    #[test]
    fn a_prompt_without_its_other_half_is_no_pair() {
        let mut records = vec![answer(0, 16), answer(1, 48), answer(2, 16), answer(2, 48)];
        records[3].outcome = crate::load::Outcome::Cut;
        let found = TpotDifference::of(&records, 16, 32);
        assert_eq!((found.pairs, found.tokens), (0, [16, 16]));
        assert!(found.median_ms.is_err() && found.ci95_ms.is_err());
    }

    #[test]
    fn five_pairs_have_a_median_and_no_interval() {
        let records: Vec<_> =
            (0..5).flat_map(|prompt| [answer(prompt, 16), answer(prompt, 17)]).collect();
        let found = TpotDifference::of(&records, 16, 1);
        assert!((found.median_ms.unwrap() - 8.0).abs() < 1e-9);
        assert_eq!(found.ci95_ms.unwrap_err().reason(), "needs n ≥ 6, has 5");
    }
}
