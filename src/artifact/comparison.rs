//! What `compare --format json` prints: the types of schema `bench-ci.compare/1`.
//!
//! Main type: [`CompareReport`]. Of two single runs there is no verdict, and rows without an interval.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ab::{AbVerdict, ComparisonRole};
use crate::stats::Better;

/// The schema that this build writes.
pub const COMPARE_SCHEMA: &str = "bench-ci.compare/1";

/// Finished reports beside one another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareReport {
    /// Always [`COMPARE_SCHEMA`].
    pub schema: String,
    /// What may be said, and what may not, in one line.
    pub headline: String,
    /// `null` where the runs carry none: of single runs, always.
    pub verdict: Option<AbVerdict>,
    /// Why, worst first, as fragments.
    pub reasons: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
    /// Why the numbers are no evidence; empty where they are.
    pub doubts: Vec<String>,
    /// How the runs were taken.
    pub design: CompareDesign,
    /// The runs.
    pub sides: CompareSides,
    /// Whether both are of the same thing.
    pub checks: Vec<CompareCheck>,
    /// One a metric that both sides have.
    pub comparisons: Vec<CompareRow>,
}

/// How the runs were taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompareDesign {
    /// `single`, `repeated` or `paired`.
    pub kind: String,
    /// Pairs that were judged; `null` where there are none.
    pub pairs: Option<u64>,
    /// Which side went first in each pair: `AB` or `BA`.
    pub order: Vec<String>,
    /// Why repeated runs carry no verdict; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_no_verdict: Option<String>,
}

/// The runs of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompareSides {
    /// What there was.
    pub base: Vec<CompareRun>,
    /// What is proposed.
    pub head: Vec<CompareRun>,
}

/// One finished run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompareRun {
    /// As it was named.
    pub file: String,
    /// `bench-ci`, `k6` or `llama-bench`.
    pub tool: String,
    /// Different for every run of bench-ci; `null` of other tools.
    pub run: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// Measured requests; `null` where the tool does not count.
    pub requests: Option<u64>,
    /// Those of them that failed, likewise.
    pub failed: Option<u64>,
    /// `doubts` is empty.
    pub evidence: bool,
    /// Why its numbers are no evidence.
    pub doubts: Vec<String>,
}

/// One thing that both should have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompareCheck {
    /// Such as `model`.
    pub what: String,
    /// `null` where one side does not say.
    pub same: Option<bool>,
    /// Of base; `unknown` where it does not say.
    pub base: String,
    /// Of head, likewise.
    pub head: String,
}

/// One metric of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareRow {
    /// The public name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// What it is for.
    pub role: ComparisonRole,
    /// The slow-down that matters, per cent.
    pub bar_pct: f64,
    /// Of base.
    pub base: CompareValue,
    /// Of head.
    pub head: CompareValue,
    /// The change as measured, per cent of base; `null` where base is nothing.
    pub change_pct: Option<f64>,
    /// An impression where there is no verdict, such as `looks slower`.
    pub looks: Option<String>,
    /// Of paired runs: what the pairs say.
    #[serde(flatten)]
    pub judged: Option<CompareJudged>,
}

/// One side of one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareValue {
    /// Of one run its value, of several their median.
    pub value: f64,
    /// Of several runs the smallest and the largest, of one run its own interval; `null` where there is
    /// neither.
    pub spread: Option<[f64; 2]>,
    /// How many runs.
    pub runs: u64,
}

/// What pairs of runs say about one metric. As in `ab.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompareJudged {
    /// `null` for what decides nothing.
    pub verdict: Option<AbVerdict>,
    /// The interval of the change, lower end first.
    pub ci_pct: Option<[f64; 2]>,
    /// The confidence that it really has, a fraction.
    pub ci_level: Option<f64>,
    /// Two-sided, exact.
    pub p: Option<f64>,
    /// Adjusted by Holm's rule; `null` for what decides nothing.
    pub p_holm: Option<f64>,
    /// The q of Benjamini and Hochberg; `null` for what decides.
    pub q: Option<f64>,
    /// Half the width of the interval, per cent.
    pub resolution_pct: Option<f64>,
    /// Student's smallest visible change, per cent: what a t test at 5 % of this metric alone would find
    /// in 80 of 100 such sets of runs. A verdict takes more.
    pub mde80_pct: Option<f64>,
    /// Pairs with a value.
    pub pairs: Option<u64>,
    /// How much slower the second of a pair is, per cent.
    pub position_effect_pct: Option<f64>,
    /// About how many pairs would settle it.
    pub needed_pairs: Option<u64>,
    /// All of it in words.
    pub sentence: String,
}
