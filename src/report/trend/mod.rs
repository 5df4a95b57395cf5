//! Many runs beside one another: series over time, and the series beside each other.
//!
//! Main type: [`Trend`], with [`markdown`], [`text`], [`csv`] and [`json()`] made of it; a page with charts
//! is made of the same. Runs are of one series where model, requests, server and its flags, machine and
//! major version of bench-ci are the same, as in a history. Nothing here is a verdict: single runs
//! never show one.

mod pages;
mod tables;

use serde::Serialize;

pub use pages::{markdown, text};
pub use tables::{csv, json};

use super::figures::{Figure, figures, is_evidence};
use super::verdict::Verdict;
use crate::artifact::{Report, unix_s};
use crate::history::point::About;

/// Name of the JSON of a trend.
pub const SCHEMA: &str = "bench-ci.trend/1";

/// What every page says, for nobody reads two numbers without comparing them.
pub const ADVICE: &str = "Advisory: these are single runs, and the luck of a server's start is in each. \
                          `bench-ci ab` decides whether a change is slower.";

/// Runs in series, and what could not be read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    /// In the order of their first runs.
    pub series: Vec<Series>,
    /// Files that are in no series.
    pub skipped: Vec<Skipped>,
}

/// Runs that may stand in one line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Digest of what they have in common.
    pub key: String,
    /// What they have in common.
    pub about: About,
    /// At least one, by the time at which they began.
    pub runs: Vec<Run>,
    /// The newest run against those before; `None` unless there are two that are evidence.
    pub newest: Option<Newest>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// As it was named or found.
    pub file: String,
    /// `run.id` of the report.
    pub id: String,
    /// `--name`.
    pub name: String,
    /// Branch under test.
    pub branch: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// RFC 3339.
    pub started_at: String,
    /// Exit code of the run; `None` in a report written before the end.
    pub exit_code: Option<u8>,
    /// Whether its numbers may be compared at all.
    pub evidence: bool,
    /// The first line of its report.
    pub outcome: String,
    /// Planned requests.
    pub requests_planned: u64,
    /// Those that completed; only they are in the figures.
    pub requests_completed: u64,
    /// What is known of it, in the order of reports.
    pub figures: Vec<Figure>,
}

impl Run {
    /// Of a stored report.
    #[must_use]
    pub fn of(file: &str, report: &Report) -> Self {
        let verdict = Verdict::of(report);
        Self {
            file: file.to_owned(),
            id: report.run.id.clone(),
            name: report.run.name.clone(),
            branch: report.run.branch.clone(),
            commit: report.run.commit.clone(),
            started_at: report.run.started_at.clone(),
            exit_code: report.run.exit_code,
            evidence: is_evidence(report),
            outcome: format!("{}: {}", verdict.word.text(), verdict.sentence),
            requests_planned: report.requests.planned,
            requests_completed: report.requests.completed,
            figures: figures(report),
        }
    }

    /// A figure by its name; `None` where it is not known.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

/// The newest run that is evidence against the median of those before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Newest {
    /// Its `run.id`.
    pub id: String,
    /// How many runs before it are evidence.
    pub before: u64,
    /// Per cent of the median, by figure; those that only some runs have are of those.
    pub changes_pct: Vec<Change>,
}

/// How far one figure of the newest run is from the median of the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Name of the figure.
    pub metric: String,
    /// Median of the runs before.
    pub median: f64,
    /// Per cent of it, with its sign.
    pub change_pct: f64,
}

/// A file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// As it was named or found.
    pub file: String,
    /// Why, as a fragment.
    pub why: String,
}

impl Trend {
    /// Of runs in any order.
    #[must_use]
    pub fn of(runs: Vec<(About, Run)>, skipped: Vec<Skipped>) -> Self {
        let mut runs = runs;
        // The same instant leaves the order of their files, so that a page is always the same.
        runs.sort_by(|(_, one), (_, other)| {
            let at = |run: &Run| unix_s(&run.started_at).unwrap_or(f64::INFINITY);
            at(one).total_cmp(&at(other)).then_with(|| one.file.cmp(&other.file))
        });
        let mut series: Vec<Series> = Vec::new();
        for (about, run) in runs {
            let key = about.key();
            match series.iter_mut().find(|series| series.key == key) {
                Some(series) => series.runs.push(run),
                None => series.push(Series { key, about, runs: vec![run], newest: None }),
            }
        }
        for series in &mut series {
            series.newest = newest(&series.runs);
        }
        Self { series, skipped }
    }

    /// How many runs there are in all.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.series.iter().map(|series| series.runs.len()).sum()
    }
}

fn newest(runs: &[Run]) -> Option<Newest> {
    let evidence: Vec<&Run> = runs.iter().filter(|run| run.evidence).collect();
    let (last, before) = evidence.split_last()?;
    if before.is_empty() {
        return None;
    }
    let change = |figure: &Figure| {
        let mut values: Vec<f64> =
            before.iter().filter_map(|run| Some(run.figure(&figure.name)?.value)).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) =
            (values.get((values.len().checked_sub(1)?) / 2)?, values.get(values.len() / 2)?);
        let median = (low + high) / 2.0;
        // Of nothing there is no per cent.
        (median.abs() > 0.0).then(|| Change {
            metric: figure.name.clone(),
            median,
            change_pct: (figure.value - median) / median.abs() * 100.0,
        })
    };
    Some(Newest {
        id: last.id.clone(),
        before: before.len() as u64,
        changes_pct: last.figures.iter().filter_map(change).collect(),
    })
}
