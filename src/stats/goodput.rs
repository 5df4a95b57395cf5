//! Which requests were good enough, and how many of them there were in a second.
//!
//! Main function: [`met`]. What good enough means is `plan::objective`'s; here it is held against
//! the metrics of each request.

use super::derive::{HeaderSplit, RequestMetrics, TokenCounts, counts};
use super::metric;
use super::rates::{Rates, Window};
use super::{Known, Unknown};
use crate::load::RequestRecord;
use crate::plan::Objective;

/// Whether a completed request met every objective.
///
/// An answer of one token, or one that came all at once, has no time between tokens to complain of:
/// objectives on `tpot_ms` and `decode_tokens_per_second` are met by it, as other tools hold it.
///
/// # Errors
/// The request has no value for an objective, and broke none of the others.
pub(super) fn met(
    objectives: &[Objective],
    record: &RequestRecord,
    metrics: &RequestMetrics,
) -> Known<bool> {
    let values = metrics.named();
    let mut silent = None;
    for objective in objectives {
        let value = values.iter().find(|(metric, _)| *metric == objective.metric);
        match value.and_then(|(_, value)| *value) {
            Some(value) if objective.operator.holds(value, objective.limit) => {}
            Some(_) => return Ok(false),
            None if has_no_gaps(objective, record) => {}
            None => silent = Some(objective.metric.name),
        }
    }
    match silent {
        Some(name) => Err(Unknown::because(format!("a completed request has no {name}"))),
        None => Ok(true),
    }
}

/// The objective is on the time between tokens, and there were no two moments with content.
fn has_no_gaps(objective: &Objective, record: &RequestRecord) -> bool {
    let between = [&metric::TPOT_MS, &metric::DECODE_TOKENS_PER_SECOND];
    let counted = TokenCounts::of(record);
    between.contains(&objective.metric)
        && counted.is_some_and(|tokens| {
            tokens.completion < 2
                || record.content_deltas < 2
                || record.first_content == record.last_content
        })
}

impl Rates {
    /// Fills in goodput; without objectives it stays unknown.
    pub fn judge_objectives(
        &mut self,
        records: &[RequestRecord],
        split: &HeaderSplit,
        objectives: &[Objective],
    ) {
        if objectives.is_empty() {
            return;
        }
        let good = |within: &dyn Fn(&RequestRecord) -> bool| -> Known<f64> {
            let mut count = 0_u64;
            for record in records.iter().filter(|record| counts(record) && within(record)) {
                let metrics = RequestMetrics::of(record, split);
                count += u64::from(met(objectives, record, &metrics)?);
            }
            Ok(count as f64)
        };
        if let Ok(window) = &self.window {
            let seconds = window.seconds();
            self.whole.goodput_requests_per_second = good(&|_| true).map(|count| count / seconds);
        }
        if let Ok(steady) = &mut self.steady {
            // The same requests that count as completed there.
            let Window { start, end } = steady.window;
            let inside = |record: &RequestRecord| {
                record.end.is_some_and(|stamp| stamp > start && stamp <= end)
            };
            let seconds = steady.window.seconds();
            steady.rates.goodput_requests_per_second = good(&inside).map(|count| count / seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureKind;
    use crate::stats::fixture::{closed_loop, completed, failed};

    fn goodput(records: &[RequestRecord], objectives: &str) -> Known<f64> {
        let objectives = Objective::parse_all(objectives).unwrap();
        let mut rates = Rates::of(records);
        rates.judge_objectives(records, &HeaderSplit::Marked, &objectives);
        rates.whole.goodput_requests_per_second
    }

    #[test]
    fn only_completed_requests_that_met_everything_count() {
        // TTFT 23 ms and TPOT 10 ms for all; one is made slow, one fails.
        let mut records = closed_loop(4, 5);
        let seconds = 0.648;
        let close = |found: Known<f64>, count: f64| {
            let found = found.expect("known");
            assert!((found - count / seconds).abs() < 1e-9, "{found} is not {count} / {seconds}");
        };
        close(goodput(&records, "ttft_ms < 23.5 and tpot_ms < 10.5"), 20.0);
        close(goodput(&records, "ttft_ms < 23.5 and tpot_ms < 9"), 0.0);
        records[7].first_content =
            records[7].first_content.map(|stamp| stamp.after(std::time::Duration::from_millis(5)));
        close(goodput(&records, "ttft_ms < 23.5"), 19.0);
        records[8] = crate::load::RequestRecord {
            end: records[8].end,
            ..failed(8, FailureKind::StreamError)
        };
        close(goodput(&records, "ttft_ms < 23.5"), 18.0);
    }

    #[test]
    fn without_objectives_it_is_unknown_with_its_reason() {
        let records = closed_loop(4, 5);
        let mut rates = Rates::of(&records);
        rates.judge_objectives(&records, &HeaderSplit::Marked, &[]);
        let reason = rates.whole.goodput_requests_per_second.expect_err("none were given");
        assert_eq!(reason.reason(), "no objectives were set");
    }

    #[test]
    fn one_token_has_no_pace_to_break_but_a_missing_count_is_unknown() {
        let mut record = completed(0);
        record.content_deltas = 1;
        record.last_content = record.first_content;
        let objectives = Objective::parse_all("tpot_ms < 1").unwrap();
        let held = |record: &RequestRecord| {
            met(&objectives, record, &RequestMetrics::of(record, &HeaderSplit::Marked))
        };
        assert_eq!(held(&record), Ok(true));
        let mut silent = completed(0);
        (silent.usage, silent.timings) = (None, None);
        assert_eq!(
            held(&silent).expect_err("no count, no TPOT").reason(),
            "a completed request has no tpot_ms"
        );
    }
}
