//! What each turn of a conversation cost, over all conversations.
//!
//! Main type: [`Conversations`]. Only completed measured requests enter the figures of a turn.

use std::collections::{BTreeMap, BTreeSet};

use super::derive::{HeaderSplit, RequestMetrics, counts};
use super::quantile::Percentile;
use super::{Known, Unknown};
use crate::load::{Outcome, Phase, RequestRecord};

/// The conversations of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversations {
    /// Those of which at least one turn was sent.
    pub begun: u64,
    /// Those that were held to their end, every turn completed: one that the end of the load left with
    /// turns to go is not among them.
    pub completed: u64,
    /// Those that a failed turn ended.
    pub broken: u64,
    /// By turn, from the first.
    pub turns: Vec<Turn>,
}

/// One turn over all conversations.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Which, from 1.
    pub turn: u32,
    /// Requests sent.
    pub requests: u64,
    /// Of those, completed.
    pub completed: u64,
    /// Mean `prompt_tokens`.
    pub prompt_tokens_mean: Known<f64>,
    /// Mean `cached_tokens`.
    pub cached_tokens_mean: Known<f64>,
    /// Median `ttft_ms`.
    pub ttft_ms_p50: Known<f64>,
    /// Median `e2e_ms`.
    pub e2e_ms_p50: Known<f64>,
}

impl Conversations {
    /// Of a load; `None` where its requests stand for themselves.
    #[must_use]
    pub fn of(records: &[RequestRecord], split: &HeaderSplit) -> Option<Self> {
        let mut turns: BTreeMap<u32, Vec<&RequestRecord>> = BTreeMap::new();
        let (mut begun, mut broken) = (BTreeSet::new(), BTreeSet::new());
        // Turns still to be completed: where only time bounds the load, those that it left are no records.
        let mut to_go: BTreeMap<u64, u32> = BTreeMap::new();
        for record in records.iter().filter(|record| record.phase == Phase::Measured) {
            let (Some(conversation), Some(turn)) = (record.conversation_index, record.turn) else {
                continue;
            };
            match record.outcome {
                Outcome::Dropped => {}
                _ => {
                    begun.insert(conversation);
                    turns.entry(turn).or_default().push(record);
                }
            }
            if record.is_completed() {
                let to_go = to_go.entry(conversation).or_insert(record.turns.unwrap_or(u32::MAX));
                *to_go = to_go.saturating_sub(1);
            }
            if matches!(record.outcome, Outcome::Failed { .. }) {
                broken.insert(conversation);
            }
        }
        if turns.is_empty() {
            return None;
        }
        let turns = turns.into_iter().map(|(turn, records)| Turn::of(turn, &records, split));
        Some(Self {
            begun: begun.len() as u64,
            completed: to_go.values().filter(|to_go| **to_go == 0).count() as u64,
            broken: broken.len() as u64,
            turns: turns.collect(),
        })
    }
}

impl Turn {
    fn of(turn: u32, records: &[&RequestRecord], split: &HeaderSplit) -> Self {
        let completed: Vec<RequestMetrics> = records
            .iter()
            .filter(|record| counts(record))
            .map(|record| RequestMetrics::of(record, split))
            .collect();
        let values = |value: &dyn Fn(&RequestMetrics) -> Option<f64>| -> Known<Vec<f64>> {
            let mut values: Vec<f64> = completed.iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            match (values.len(), completed.len()) {
                (_, 0) => Err(Unknown::because("no request of this turn completed")),
                (0, _) => Err(Unknown::because("no completed request of this turn has it")),
                // The mean of those that said would be taken for that of all.
                (some, all) if some < all => Err(Unknown::because(format!(
                    "{} of {all} completed requests of this turn do not have it",
                    all - some
                ))),
                _ => Ok(values),
            }
        };
        let mean = |values: Known<Vec<f64>>| {
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let median =
            |values: Known<Vec<f64>>| values.and_then(|values| Percentile::P50.of_sorted(&values));
        let tokens = |count: Option<u64>| count.map(|count| count as f64);
        Self {
            turn,
            requests: records.len() as u64,
            completed: completed.len() as u64,
            prompt_tokens_mean: mean(values(&|metrics| tokens(metrics.prompt_tokens))),
            cached_tokens_mean: mean(values(&|metrics| tokens(metrics.cached_tokens))),
            ttft_ms_p50: median(values(&|metrics| metrics.ttft_ms)),
            e2e_ms_p50: median(values(&|metrics| metrics.e2e_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{FailureKind, Usage};
    use crate::stats::fixture::{completed, failed};

    fn turn(mut record: RequestRecord, conversation: u64, turn: u32, tokens: u64) -> RequestRecord {
        record.conversation_index = Some(conversation);
        (record.turn, record.turns) = (Some(turn), Some(if conversation == 0 { 2 } else { 3 }));
        record.usage = Some(Usage {
            prompt_tokens: tokens,
            completion_tokens: 11,
            cached_tokens: Some(tokens / 2),
            reasoning_tokens: None,
        });
        record
    }

    #[test]
    fn turns_are_gathered_over_all_conversations() {
        let dropped = RequestRecord { outcome: Outcome::Dropped, written: None, ..completed(3) };
        let records = [
            turn(completed(0), 0, 1, 40),
            turn(completed(1), 0, 2, 80),
            turn(completed(2), 1, 1, 60),
            turn(failed(3, FailureKind::Reset), 1, 2, 0),
            turn(dropped, 1, 3, 0),
            // The load ended after its second turn of three.
            turn(completed(4), 2, 1, 60),
            turn(completed(5), 2, 2, 120),
        ];
        let found = Conversations::of(&records, &HeaderSplit::Marked).expect("conversations");
        assert_eq!((found.begun, found.completed, found.broken), (3, 1, 1));
        let seen: Vec<_> = found
            .turns
            .iter()
            .map(|turn| (turn.turn, turn.requests, turn.completed, turn.cached_tokens_mean.clone()))
            .collect();
        assert_eq!(seen, [(1, 3, 3, Ok(80.0 / 3.0)), (2, 3, 2, Ok(50.0))]);
        assert!((found.turns[0].ttft_ms_p50.clone().expect("known") - 23.0).abs() < 1e-9);
    }

    #[test]
    fn requests_that_stand_for_themselves_have_no_turns() {
        assert_eq!(Conversations::of(&[completed(0)], &HeaderSplit::Marked), None);
    }
}
