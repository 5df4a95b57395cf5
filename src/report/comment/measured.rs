//! What is compared with nothing, a run or the cells of a suite: how it stands, and its rows.
//!
//! Main type: [`Row`]. A suite is one configuration with a row for each of its cells, made of `suite.json`
//! alone, which holds what a row shows.

use super::cell::{Cell, Content, Standing};
use super::words::name;
use crate::artifact::{SuiteCell, SuiteReport};
use crate::report::number::{short, whole};
use crate::report::suite::verdict;
use crate::stats::metric::{ITL_MS, TTFT_MS};

/// So many cells of a suite are named with what went wrong: the others are in the table.
const MOST_CAUSES: usize = 3;

/// One row of the table.
pub(super) struct Row {
    pub(super) standing: Standing,
    /// Escaped.
    name: String,
    completed: u64,
    planned: u64,
    output_tokens_per_second: Option<f64>,
    ttft_ms: Option<f64>,
    itl_ms: Option<f64>,
}

impl Row {
    /// What the rows have in their columns.
    pub(super) const HEAD: [&'static str; 2] = [
        "| | configuration | requests | output tok/s | TTFT p50 | inter-token p50 | |",
        "|---|---|---:|---:|---:|---:|---|",
    ];

    /// Those of a configuration; none of a comparison, and of one that left nothing behind.
    pub(super) fn of(cell: &Cell) -> Vec<Self> {
        match &cell.content {
            Content::Run(report) => {
                let median = |metric: &str| report.metrics.get(metric)?.p50;
                vec![Self {
                    standing: cell.standing(),
                    name: name(&cell.name),
                    completed: report.requests.completed,
                    planned: report.requests.planned,
                    output_tokens_per_second: report.rates.whole.output_tokens_per_second,
                    ttft_ms: median(TTFT_MS.name),
                    itl_ms: median(ITL_MS.name),
                }]
            }
            Content::Suite(suite) => {
                suite.cells.iter().map(|played| Self::of_suite(cell, suite, played)).collect()
            }
            Content::Comparison(_) | Content::Nothing(_) => Vec::new(),
        }
    }

    fn of_suite(cell: &Cell, suite: &SuiteReport, played: &SuiteCell) -> Self {
        let median = |metric: &str| played.metrics.get(metric)?.p50;
        Self {
            standing: standing_of(suite, played),
            name: format!("{} {}", name(&cell.name), name(&played.name)),
            completed: played.requests.completed,
            planned: played.requests.planned,
            output_tokens_per_second: played
                .rates
                .as_ref()
                .and_then(|rates| rates.figures.output_tokens_per_second),
            ttft_ms: median(TTFT_MS.name),
            itl_ms: median(ITL_MS.name),
        }
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
        let ms = |value: Option<f64>| known(value.map(|ms| format!("{}\u{a0}ms", short(ms))));
        write!(
            formatter,
            "| {} | {} | {} of {} | {} | {} | {} | {} |",
            self.standing.sign(),
            self.name,
            whole(self.completed),
            whole(self.planned),
            known(self.output_tokens_per_second.map(short)),
            ms(self.ttft_ms),
            ms(self.itl_ms),
            self.standing.word()
        )
    }
}

/// How a suite stands as a whole. Its own exit code decides, and not that of its worst cell: a search also
/// plays what the server does not bear.
pub(super) fn standing(suite: &SuiteReport) -> Standing {
    let is_measured = suite.cells.iter().any(|cell| !cell.metrics.is_empty());
    match suite.suite.exit_code {
        _ if !is_measured => Standing::NotMeasured,
        Some(0) => Standing::Measured,
        _ => Standing::Invalid,
    }
}

/// How a cell of it stands.
fn standing_of(suite: &SuiteReport, cell: &SuiteCell) -> Standing {
    if cell.metrics.is_empty() {
        Standing::NotMeasured
    } else if suite.search.is_some() || cell.exit_code == Some(0) {
        Standing::Measured
    } else {
        Standing::Invalid
    }
}

/// What became of it, and of the first cells that are not well; from outside.
pub(super) fn reason(suite: &SuiteReport) -> String {
    let (_, mut words) = verdict(suite);
    if suite.search.is_some() {
        return words;
    }
    let unwell = suite.cells.iter().filter(|cell| !cell.causes.is_empty());
    for cell in unwell.take(MOST_CAUSES) {
        words.push_str(&format!("; {}: {}", cell.name, cell.causes.join(", ")));
    }
    words
}
