//! The phases of a load beside one another, for `report.md`.
//!
//! Main function: [`section`]. A load of one phase has none: its figures are the report's.

use super::escape::escape;
use super::markdown::Page;
use super::number::{seconds, short, whole};
use crate::artifact::{PhaseFigures, Report};
use crate::stats::{Metric, metric};

/// What is shown of each phase, as median and 95th percentile.
const SHOWN: [&Metric; 3] = [&metric::TTFT_MS, &metric::TTFT_SCHEDULED_MS, &metric::ITL_MS];

/// One row a measured phase.
pub(super) fn section(report: &Report, page: &mut Page) {
    if report.phases.len() < 2 {
        return;
    }
    page.heading("Phases");
    let mut head =
        ["Phase", "length", "requests", "completed", "failed", "requests/s", "output tokens/s"]
            .map(str::to_owned)
            .to_vec();
    for metric in SHOWN {
        head.extend(["p50", "p95"].map(|share| format!("`{}` {share}", metric.name)));
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = report.phases.iter().map(row).collect();
    page.table(&head, &rows);
    page.line("");
    page.line(
        "A phase begins when the one before it closes; a request belongs to the phase in which it began. All other figures of this report are over all phases together.",
    );
}

fn row(phase: &PhaseFigures) -> Vec<String> {
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
    let mut row = vec![
        escape(&phase.name),
        seconds(phase.closed_s - phase.started_s),
        whole(phase.requests.planned),
        whole(phase.requests.completed),
        whole(phase.requests.failed),
        cell(phase.rates.whole.requests_per_second),
        cell(phase.rates.whole.output_tokens_per_second),
    ];
    for metric in SHOWN {
        let found = phase.metrics.get(metric.name);
        row.push(cell(found.and_then(|found| found.p50)));
        row.push(cell(found.and_then(|found| found.p95)));
    }
    row
}
