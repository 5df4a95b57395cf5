//! `suite.json`: the types of schema `bench-ci.suite/1`.
//!
//! Main type: [`SuiteReport`]. It holds what the combined table shows, so that the table can be made
//! again from it alone; everything else about a cell is in the `report.json` of its folder.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::{Machine, Report, RunStatus, ServerExit, Tool};
use super::sections::{Arrivals, Client, Note, RateFigures};
use super::unknowns::{Unknowns, explain_nulls};
use crate::plan::search::SearchOver;
use crate::stats::ServerKind;
use crate::stats::metric::Better;

/// The version that this build writes, and the newest it reads.
pub const SUITE_SCHEMA_VERSION: u32 = 1;

/// The name of that version.
pub const SUITE_SCHEMA: &str = "bench-ci.suite/1";

/// A suite, finished or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteReport {
    /// Always [`SUITE_SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// The suite as a whole.
    pub suite: SuiteRun,
    /// Where it ran.
    pub machine: Machine,
    /// The names of all axes, in the order of tables.
    pub axes: Vec<String>,
    /// Every planned cell in the order of playing, those not played yet too. Of a search, its trials.
    pub cells: Vec<SuiteCell>,
    /// Every start of a server, in order; empty where the server was not ours.
    pub servers: Vec<SuiteServer>,
    /// What was searched; `null` where nothing was.
    pub search: Option<SearchReport>,
    /// What a reader should know.
    pub warnings: Vec<Note>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl SuiteReport {
    /// The JSON as it is written: no NaN, and no `null` without a reason.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::to_value(self)
            .expect("keys are strings, and no type here has a serializer that fails");
        explain_nulls(&mut value);
        value
    }

    /// The text of `suite.json`, indented, with a final line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&self.to_value()).expect("a JSON value always has a text");
        text.push('\n');
        text
    }
}

/// The suite as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteRun {
    /// Its name.
    pub name: String,
    /// `--runner-label`.
    pub runner_label: Option<String>,
    /// Branch under test.
    pub branch: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// RFC 3339, UTC: when it was first begun.
    pub started_at: String,
    /// RFC 3339, UTC; `null` where cells are still to be played.
    pub finished_at: Option<String>,
    /// The worst exit code of all cells, by the order in METHODOLOGY.md; `null` while it runs.
    pub exit_code: Option<u8>,
    /// Servers that the plan needs, one after the other.
    pub planned_server_starts: u64,
    /// How often it was resumed.
    pub resumed_count: u64,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How far a cell came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CellStatus {
    /// To its planned end. Says nothing about whether requests failed.
    Completed,
    /// It was interrupted, or its server died.
    Partial,
    /// It ended before anything was measured.
    Failed,
    /// Not played, or not yet.
    NotRun,
}

impl From<RunStatus> for CellStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Completed => CellStatus::Completed,
            RunStatus::Partial => CellStatus::Partial,
            RunStatus::Failed => CellStatus::Failed,
        }
    }
}

/// Where a cell stands on one axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AxisValue {
    /// The axis.
    pub name: String,
    /// The value, as typed.
    pub value: String,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteCell {
    /// Its name.
    pub name: String,
    /// The scenario's name.
    pub scenario: String,
    /// Its coordinates, in the order of the axes.
    pub axes: Vec<AxisValue>,
    /// Which of the planned servers it needs, from 0.
    pub server_index: u64,
    /// Its folder inside the output folder.
    pub folder: String,
    /// How far it came.
    pub status: CellStatus,
    /// What a run of this cell alone would have left with; `null` where it was not played.
    pub exit_code: Option<u8>,
    /// What was loaded: `sim` is bench-ci's own simulator, which infers nothing; `null` where it was not
    /// played, and in reports of the first release.
    #[serde(default)]
    pub server_kind: Option<ServerKind>,
    /// Why it is not `completed`, or why it is no evidence; empty where nothing is wrong.
    pub causes: Vec<String>,
    /// Whether this client was the limit of the load, and not the server: the figures are of how much the
    /// client can do. Not told (`false`) by reports of the first release.
    #[serde(default)]
    pub client_limited: bool,
    /// SHA-256 over its plan: what `--resume` compares.
    pub plan_digest: String,
    /// Digest over every request body and its planned time.
    pub workload_hash: Option<String>,
    /// Measured requests by what became of them.
    pub requests: CellRequests,
    /// Completed requests that met every objective; `null` where none was asked for.
    pub objectives_met: Option<u64>,
    /// Metrics by name; empty where nothing was measured.
    pub metrics: BTreeMap<String, CellMetric>,
    /// Rates over the whole window; `null` where nothing was measured.
    pub rates: Option<CellRates>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Measured requests of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CellRequests {
    /// Planned.
    pub planned: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
    /// Never sent.
    pub dropped: u64,
    /// In flight at the end.
    pub cut: u64,
}

/// Rates of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellRates {
    /// Over the whole window.
    #[serde(flatten)]
    pub figures: RateFigures,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One metric of a cell, in `unit`. What needs more values than there were is `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CellMetric {
    /// `ms`, `tokens`, `tokens/s` or `ratio`.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// How many values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// Needs 10 values.
    pub p90: Option<f64>,
    /// Needs 20 values.
    pub p95: Option<f64>,
    /// Needs 100 values.
    pub p99: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl SuiteCell {
    /// The same cell with what its report says.
    #[must_use]
    pub fn with(mut self, report: &Report) -> Self {
        let requests = &report.requests;
        self.status = report.run.status.into();
        self.exit_code = report.run.exit_code;
        self.server_kind = Some(report.server.kind);
        self.causes.clone_from(&report.run.causes);
        if self.causes.is_empty() && report.run.exit_code == Some(5) {
            self.causes = report.client.reasons.iter().map(|note| note.message.clone()).collect();
        }
        self.client_limited = is_client_limited(&report.client);
        self.workload_hash.clone_from(&report.scenario.workload_hash);
        self.requests = CellRequests {
            planned: requests.planned,
            completed: requests.completed,
            failed: requests.failed,
            dropped: requests.dropped,
            cut: requests.cut,
        };
        let goodput = report.rates.whole.goodput_requests_per_second;
        let met = goodput.zip(report.rates.window).map(|(rate, window)| rate * window.duration_s);
        // A count divided by its window and multiplied again, so it is whole but for rounding.
        self.objectives_met = met.map(|met| met.round() as u64);
        if met.is_none() {
            let reason = report.rates.unknown.reason("goodput_requests_per_second");
            self.unknown.note("objectives_met", reason.unwrap_or("nothing was measured"));
        }
        self.metrics = report
            .metrics
            .iter()
            .filter(|(_, metric)| metric.count > 0)
            .map(|(name, metric)| {
                let figures = CellMetric {
                    unit: metric.unit.clone(),
                    better: metric.better,
                    count: metric.count,
                    mean: metric.mean,
                    p50: metric.p50,
                    p90: metric.p90,
                    p95: metric.p95,
                    p99: metric.p99,
                    unknown: metric.unknown.clone(),
                };
                (name.clone(), figures)
            })
            .collect();
        self.rates = (requests.planned > 0).then(|| CellRates {
            figures: report.rates.whole,
            unknown: report.rates.unknown.clone(),
        });
        self
    }
}

/// Whether any reason against the figures is this client's own limit. A rate that was not achieved may be
/// the server's doing as well.
fn is_client_limited(client: &Client) -> bool {
    client.reasons.iter().any(|reason| match reason.code.as_str() {
        "dispatch_lateness" | "client_delay" => true,
        "achieved_rate" => client
            .arrivals
            .is_some_and(|arrivals| held_up(&arrivals, client.dispatch_lateness_us.max)),
        _ => false,
    })
}

/// Whether the client held the arrivals up itself. Dropped ones found too many in flight, which is the
/// server's doing; and where the client began in time what it wrote late, it waited for a connection.
fn held_up(arrivals: &Arrivals, lateness_us_max: Option<f64>) -> bool {
    let gaps = arrivals.planned.saturating_sub(1) as f64;
    let behind_s = gaps / arrivals.achieved_per_second - gaps / arrivals.planned_per_second;
    // Half of it, because the latest request need not be the last, by which the rate is judged.
    arrivals.dropped == 0 && lateness_us_max.is_some_and(|late| late / 1e6 >= behind_s / 2.0)
}

/// One start of a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuiteServer {
    /// Which of the planned servers, from 0.
    pub server_index: u64,
    /// Program and arguments, secrets left out; empty where it did not start.
    pub command: Vec<String>,
    /// Seconds from spawn to healthy; `null` where it never was.
    pub start_s: Option<f64>,
    /// Its log inside the output folder.
    pub log: String,
    /// The cells that were played on it.
    pub cells: Vec<String>,
    /// How it ended.
    pub exit: Option<ServerExit>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchReport {
    /// What was raised.
    #[schemars(with = "String")]
    pub over: SearchOver,
    /// `goodput`: the highest load that keeps the objectives; `knee`: where more load brings no more
    /// output.
    pub kind: SearchKind,
    /// What each request had to keep; empty for a knee.
    pub objectives: Vec<String>,
    /// Share of requests that had to keep them; `null` for a knee.
    pub goodput_ratio: Option<f64>,
    /// The load that was found, in users or requests per second.
    pub value: Option<f64>,
    /// The load at which this client was the limit and not the server, so that the search ended there:
    /// of `goodput` the server then bears `value` at least, and how much more is not known. `null` where
    /// the client kept up, or was allowed not to.
    #[serde(default)]
    pub client_limit: Option<f64>,
    /// Where the true value lies: of `goodput` from a load that was shown to be borne to one that was
    /// shown not to be; of a `knee` the 95 % interval of the bootstrap.
    pub interval: Option<[f64; 2]>,
    /// Whether the interval is as narrow as asked for.
    pub precise: bool,
    /// How it ended, in words.
    pub reasons: Vec<String>,
    /// Every load with a trial that counts, ascending. One in which this client was the limit does not,
    /// unless that was accepted.
    pub points: Vec<SearchPoint>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a search looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchKind {
    /// The highest load that keeps the objectives.
    Goodput,
    /// Where more load brings no more output.
    Knee,
}

/// A load that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchPoint {
    /// Users or requests per second.
    pub load: f64,
    /// The trials that count, by the names of their cells.
    pub trials: Vec<String>,
    /// Planned requests of all trials.
    pub requests: u64,
    /// Those that kept every objective.
    pub good: u64,
    /// 95 % interval of the true share of good ones; `null` for a knee.
    pub ratio_interval: Option<[f64; 2]>,
    /// Mean completed requests per second over the trials.
    pub requests_per_second: Option<f64>,
    /// `borne`, `not_borne` or `undecided`; `null` for a knee.
    pub verdict: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_was_not_kept_is_the_clients_limit_where_the_client_was_late() {
        // A second of arrivals that took two.
        let arrivals = Arrivals {
            planned: 101,
            dropped: 0,
            planned_per_second: 100.0,
            achieved_per_second: 50.0,
        };
        assert!(held_up(&arrivals, Some(1e6)));
        assert!(!held_up(&arrivals, Some(1e3)), "it waited for connections");
        assert!(!held_up(&Arrivals { dropped: 1, ..arrivals }, Some(1e6)), "too many in flight");
        assert!(!held_up(&arrivals, None), "nothing was sent");
    }
}
