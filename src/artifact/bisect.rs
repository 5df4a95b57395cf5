//! `bisect.json`: the types of schema `bench-ci.bisect/1`, a search for the commit that made it slower.
//!
//! Main type: [`BisectReport`]. Every step is a comparison with an `ab.json` of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ab::AbVerdict;
use super::report::{FileEntry, Machine, Run, Tool};
use super::sections::Note;
use super::unknowns::{Unknowns, explain_nulls};

/// The schema that this build writes.
pub const BISECT_SCHEMA: &str = "bench-ci.bisect/1";

/// A search, finished or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BisectReport {
    /// Always [`BISECT_SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// The call and its tags.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
    /// What everything was compared with.
    pub good: BisectCommit,
    /// What was said to be slower.
    pub bad: BisectCommit,
    /// Of merges only the first parent was followed.
    pub first_parent: bool,
    /// Commits after good, up to and with bad.
    pub commits: u64,
    /// The build command.
    pub build: String,
    /// Its executable, inside the work tree.
    pub server_path: String,
    /// The metric that the search went by; `null` before it was known that bad is slower.
    pub metric: Option<String>,
    /// How much slower than good a commit had to be to count as slower, per cent: half of what bad is
    /// slower by, or the bar of the metric where that is more.
    pub bar_pct: Option<f64>,
    /// What everything was allowed to take, seconds.
    pub budget_s: f64,
    /// What was done, in order.
    pub steps: Vec<BisectStep>,
    /// What came of it.
    pub outcome: BisectOutcome,
    /// The first slower commit; `null` unless it was found.
    pub first_bad: Option<BisectCommit>,
    /// It was compared with its own parent, and is slower than that.
    pub confirmed: bool,
    /// Places in `steps` of what was seen of the two neighbours: the last commit that is not slower, and
    /// the first that is.
    pub evidence: BisectEvidence,
    /// Commits of which one is it, in order, where it could not be told which.
    pub suspects: Vec<BisectCommit>,
    /// Why, as fragments for a reader.
    pub reasons: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<Note>,
    /// The files written beside this one.
    pub files: Vec<FileEntry>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl BisectReport {
    /// The text of `bisect.json`: no NaN, and no `null` without a reason.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut value: Value = serde_json::to_value(self)
            .expect("keys are strings, and no type here has a serializer that fails");
        explain_nulls(&mut value);
        let mut text =
            serde_json::to_string_pretty(&value).expect("a JSON value always has a text");
        text.push('\n');
        text
    }
}

/// What came of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BisectOutcome {
    /// The first slower commit is known.
    Found,
    /// It is one of `suspects`.
    Narrowed,
    /// Bad is not slower than good, so there is nothing to look for.
    NotSlower,
    /// It cannot be told whether bad is slower than good, or a step contradicts another.
    Inconclusive,
    /// Good and bad could not be compared: the numbers are no evidence.
    Invalid,
    /// It was stopped, or the budget was spent; `--resume` carries on.
    Unfinished,
}

impl BisectOutcome {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BisectOutcome::Found => "found",
            BisectOutcome::Narrowed => "narrowed",
            BisectOutcome::NotSlower => "not-slower",
            BisectOutcome::Inconclusive => "inconclusive",
            BisectOutcome::Invalid => "invalid",
            BisectOutcome::Unfinished => "unfinished",
        }
    }
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BisectCommit {
    /// Full hash.
    pub commit: String,
    /// First line of its message.
    pub subject: String,
}

/// Where the two neighbours were measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct BisectEvidence {
    /// The step that says that the last good neighbour is not slower; `null` where that is good itself.
    pub not_slower_step: Option<u64>,
    /// The step that says that the first bad one is.
    pub slower_step: Option<u64>,
    /// The step that compared both with one another.
    pub direct_step: Option<u64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a step was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BisectPurpose {
    /// Whether bad is slower than good at all.
    Verify,
    /// On which side of this commit it is.
    Search,
    /// The first slower commit against its own parent.
    Confirm,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BisectFinding {
    /// The commit is slower.
    Slower,
    /// It is not.
    NotSlower,
    /// Nobody can tell; it was left out.
    Unclear,
    /// It could not be built, or its server did not run.
    Skipped,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BisectStep {
    /// What it was for.
    pub purpose: BisectPurpose,
    /// What the commit was compared with.
    pub base: String,
    /// The commit that was tried.
    pub commit: BisectCommit,
    /// 0, or 1 where the first comparison could not tell and a longer one followed.
    pub attempt: u64,
    /// Its folder below the output folder.
    pub folder: String,
    /// What it came to.
    pub finding: BisectFinding,
    /// The verdict of the comparison; `null` where there was none.
    pub verdict: Option<AbVerdict>,
    /// The metric that decided.
    pub metric: Option<String>,
    /// The change of that metric, per cent of base.
    pub change_pct: Option<f64>,
    /// Its interval, lower end first.
    pub ci_pct: Option<[f64; 2]>,
    /// How much slower that is, per cent.
    pub slow_down_pct: Option<f64>,
    /// Pairs that were used.
    pub pairs: u64,
    /// With the build, seconds.
    pub duration_s: f64,
    /// In words.
    pub why: String,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}
