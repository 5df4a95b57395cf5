//! How the interval of each metric of a comparison narrowed, pair by pair.
//!
//! Main function: [`courses`]. The estimate and the interval are `verdict`'s, over the first pairs.

use serde_json::{Map, Value, json};

use super::columns::rounded;
use crate::artifact::{AbReport, ComparisonRole, MetricComparison};
use crate::verdict::looks::MOST_PAIRS;
use crate::verdict::scale::{change_pct, difference};
use crate::verdict::signed_rank::SignedRank;

/// Pairs that an interval is worth drawing from.
const LEAST: usize = 3;

/// By metric: the change of each pair, per cent of base, and estimate and interval after so many.
pub(super) fn courses(report: &AbReport) -> Value {
    let courses: Map<String, Value> = report
        .comparisons
        .iter()
        .filter(|comparison| comparison.role != ComparisonRole::Exact)
        .filter_map(|comparison| Some((comparison.metric.clone(), course(report, comparison)?)))
        .collect();
    Value::Object(courses)
}

fn course(report: &AbReport, of: &MetricComparison) -> Option<Value> {
    let exact = !of.pairs_pct.is_empty();
    let sign = |pct: f64| difference(of.better, 100.0, 100.0 + pct).ok();
    let differences: Vec<f64> = if exact {
        of.pairs_pct.iter().filter_map(|pct| sign(*pct)).collect()
    } else {
        by_trials(report, of)
    };
    let pct = |difference: f64| rounded(change_pct(of.better, difference), 4);
    let narrowing: Vec<Value> = (LEAST..=differences.len())
        .filter_map(|pairs| {
            let found = SignedRank::of(differences.get(..pairs)?).ok()?;
            let mut ends =
                [found.interval.low, found.interval.high].map(|end| change_pct(of.better, end));
            ends.sort_by(f64::total_cmp);
            Some(json!([pairs, pct(found.estimate), rounded(ends[0], 4), rounded(ends[1], 4)]))
        })
        .collect();
    (!differences.is_empty()).then(|| {
        json!({
            "exact": exact,
            "pairs": differences.iter().map(|difference| pct(*difference)).collect::<Vec<_>>(),
            "narrowing": narrowing,
        })
    })
}

/// From the medians of the trials, for reports that do not have the pairs themselves.
fn by_trials(report: &AbReport, of: &MetricComparison) -> Vec<f64> {
    let value = |pair: u64, side: &str| {
        let mut trials = report.trials.iter().filter(|trial| trial.valid);
        trials
            .find(|trial| trial.pair == pair && trial.side == side)?
            .metrics
            .get(&of.metric)
            .copied()
    };
    let last = report.trials.iter().map(|trial| trial.pair).max();
    let pairs = last.map_or(0..0, |last| 0..last.saturating_add(1).min(MOST_PAIRS as u64));
    pairs
        .filter_map(|pair| difference(of.better, value(pair, "base")?, value(pair, "head")?).ok())
        .collect()
}
