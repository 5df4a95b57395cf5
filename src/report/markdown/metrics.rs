//! The tables of metrics: of all requests, and by the turns of conversations.
//!
//! Main functions: [`section`] and [`conversations`]; [`shown`] says which metrics make sense of a run.

use super::page::Page;
use crate::artifact::{MetricSummary, Report};
use crate::report::escape::escape;
use crate::report::number::{short, whole};
use crate::stats::{Metric, metric};

/// The metrics of the main table, in its order.
pub(crate) const SHOWN: [&Metric; 10] = [
    &metric::TTFT_MS,
    &metric::TTFT_SCHEDULED_MS,
    &metric::TIME_TO_FIRST_ANSWER_MS,
    &metric::QUEUE_MS,
    &metric::PREFILL_MS,
    &metric::ITL_MS,
    &metric::TPOT_MS,
    &metric::E2E_MS,
    &metric::DECODE_TOKENS_PER_SECOND,
    &metric::PREFILL_TOKENS_PER_SECOND,
];

/// The metrics that make sense of this run, in the order of the table: those that its route has, and
/// the time to the answer only where reasoning went before it.
pub(crate) fn shown(report: &Report) -> Vec<(&'static Metric, &MetricSummary)> {
    let scenario = &report.scenario;
    let ttft = report.metrics.get(metric::TTFT_MS.name);
    let says_more = |metric: &Metric, summary: &MetricSummary| {
        *metric != metric::TIME_TO_FIRST_ANSWER_MS
            || (summary.count > 0 && ttft.is_none_or(|ttft| ttft.mean != summary.mean))
    };
    SHOWN
        .iter()
        .filter(|metric| scenario.endpoint.lacks(metric, scenario.stream).is_none())
        .filter_map(|metric| Some((*metric, report.metrics.get(metric.name)?)))
        .filter(|(metric, summary)| says_more(metric, summary))
        .collect()
}

/// What stands in place of a number that is not known, short enough for a cell.
pub(crate) fn missing(summary: &MetricSummary, field: &str) -> String {
    match summary.unknown.reason(field) {
        // "needs n ≥ 100, has 64": the count stands in its own column.
        Some(reason) if reason.starts_with("needs n") => {
            reason.split(',').next().unwrap_or(reason).to_owned()
        }
        _ => "–".to_owned(),
    }
}

pub(super) fn section(report: &Report, page: &mut Page) {
    let found = shown(report);
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, summary)| summary.count > 0);
    if known.is_empty() {
        return;
    }
    page.heading("Latency and speed");
    let rows: Vec<Vec<String>> = known
        .iter()
        .map(|(metric, summary)| {
            let cell =
                |field, value: Option<f64>| value.map_or_else(|| missing(summary, field), short);
            vec![
                format!("`{}`", metric.name),
                escape(&summary.unit),
                whole(summary.count),
                cell("mean", summary.mean),
                cell("p50", summary.p50),
                cell("p90", summary.p90),
                cell("p95", summary.p95),
                cell("p99", summary.p99),
                cell("max", summary.max),
            ]
        })
        .collect();
    page.table(&["Metric", "Unit", "n", "mean", "p50", "p90", "p95", "p99", "max"], &rows);
    // Metrics that are unknown for one and the same reason share a line.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (metric, summary) in unknown {
        let reason = summary.unknown.reason("mean").unwrap_or("not recorded");
        let name = format!("`{}`", metric.name);
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    for (reason, names) in reasons {
        page.line("");
        page.line(&format!("No {}: {}.", names.join(", "), escape(reason)));
    }
    if let Some(reason) = in_one_piece(report) {
        page.line("");
        page.line(&format!("No first token and no time between tokens: {reason}."));
    }
}

/// Why the route has no times inside an answer; `None` where it has.
fn in_one_piece(report: &Report) -> Option<&'static str> {
    report.scenario.endpoint.lacks(&metric::TTFT_MS, report.scenario.stream)
}

pub(super) fn conversations(report: &Report, page: &mut Page) {
    let Some(found) = &report.conversations else { return };
    page.heading("Turns of conversations");
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
    let rows: Vec<Vec<String>> = found
        .turns
        .iter()
        .map(|turn| {
            vec![
                turn.turn.to_string(),
                whole(turn.requests),
                whole(turn.completed),
                cell(turn.prompt_tokens_mean),
                cell(turn.cached_tokens_mean),
                cell(turn.ttft_ms_p50),
                cell(turn.e2e_ms_p50),
            ]
        })
        .collect();
    let head = [
        "Turn",
        "requests",
        "completed",
        "prompt tokens, mean",
        "of those cached",
        "TTFT p50, ms",
        "end to end p50, ms",
    ];
    page.table(&head, &rows);
    page.line("");
    let broken = match found.broken {
        0 => String::new(),
        broken => format!(", {} ended early by a failed turn", whole(broken)),
    };
    page.line(&format!(
        "{} conversations begun, {} completed{broken}.",
        whole(found.begun),
        whole(found.completed)
    ));
}
