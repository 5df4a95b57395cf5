//! `ab.json`: the types of schema `bench-ci.ab/1`, a comparison of two servers.
//!
//! Main type: [`AbReport`]. Changes are per cent of base as the metric shows them: a slow-down is a
//! minus on a throughput and a plus on a latency. Every `Option` is written as `null`, with its
//! reason in `unknown` beside it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::{FileEntry, Machine, Model, Run, Scenario, Tool};
use super::sections::Note;
use super::unknowns::{Unknowns, explain_nulls};
use crate::stats::{Better, ServerKind};
use crate::verdict::{Role, Verdict};

/// The version that this build writes, and the newest it reads.
pub const AB_SCHEMA_VERSION: u32 = 1;

/// The name of that version.
pub const AB_SCHEMA: &str = "bench-ci.ab/1";

/// A finished comparison, or what there is of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AbReport {
    /// Always [`AB_SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// The session and its tags.
    pub run: Run,
    /// Where it ran; of several machines, the first one's.
    pub machine: Machine,
    /// The model; `null` where none was named.
    pub model: Option<Model>,
    /// What both sides were loaded with.
    pub scenario: Scenario,
    /// How the comparison was made.
    pub design: Design,
    /// The two that were compared.
    pub sides: Sides,
    /// Every trial in the order in which they were played, spoilt ones too.
    pub trials: Vec<Trial>,
    /// One a metric: gates first, then what is observed, then what is counted exactly.
    pub comparisons: Vec<MetricComparison>,
    /// What was looked at besides the numbers.
    pub checks: Vec<Check>,
    /// The reports that were put together by `--sessions`; empty for one session.
    #[serde(default)]
    pub sessions: Vec<SessionSummary>,
    /// How much the change differs between those sessions, one a metric; empty for one session.
    #[serde(default)]
    pub heterogeneity: Vec<Heterogeneity>,
    /// What earlier sessions of this runner came to in which both sides were the same, as the history knows
    /// them. Earlier versions did not say.
    #[serde(default)]
    pub earlier_aa: Option<EarlierAa>,
    /// What it comes to.
    pub verdict: AbVerdict,
    /// Why, worst first, as fragments for a reader.
    pub reasons: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<Note>,
    /// The files written beside this one.
    pub files: Vec<FileEntry>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl AbReport {
    /// The JSON as it is written: no NaN, and no `null` without a reason.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::to_value(self)
            .expect("keys are strings, and no type here has a serializer that fails");
        explain_nulls(&mut value);
        value
    }

    /// The text of `ab.json`, indented, with a final line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&self.to_value()).expect("a JSON value always has a text");
        text.push('\n');
        text
    }
}

/// What a comparison comes to, and the verdict on one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AbVerdict {
    /// Slower, for sure, and by enough to matter.
    Regressed,
    /// Faster, likewise.
    Improved,
    /// Not slower by as much as the bar.
    NoRegression,
    /// This session cannot tell.
    Inconclusive,
    /// The numbers are not evidence.
    Invalid,
}

impl AbVerdict {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AbVerdict::Regressed => "regressed",
            AbVerdict::Improved => "improved",
            AbVerdict::NoRegression => "no-regression",
            AbVerdict::Inconclusive => "inconclusive",
            AbVerdict::Invalid => "invalid",
        }
    }
}

impl From<Verdict> for AbVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Regressed => AbVerdict::Regressed,
            Verdict::Improved => AbVerdict::Improved,
            Verdict::NoRegression => AbVerdict::NoRegression,
            Verdict::Inconclusive => AbVerdict::Inconclusive,
            Verdict::Invalid => AbVerdict::Invalid,
        }
    }
}

impl From<AbVerdict> for Verdict {
    fn from(verdict: AbVerdict) -> Self {
        match verdict {
            AbVerdict::Regressed => Verdict::Regressed,
            AbVerdict::Improved => Verdict::Improved,
            AbVerdict::NoRegression => Verdict::NoRegression,
            AbVerdict::Inconclusive => Verdict::Inconclusive,
            AbVerdict::Invalid => Verdict::Invalid,
        }
    }
}

/// What the last sessions with `--aa` of a runner came to, of the same question: how often a verdict is a false
/// alarm there, and how small a change it shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EarlierAa {
    /// Label of the runner; of one without a label, the fingerprint of the machine.
    pub runner: String,
    /// How many there were, 30 at most. Those that were no evidence are not among them.
    pub sessions: u64,
    /// Those that called one of the two faster.
    pub alarms: u64,
    /// Median of the resolutions of their first gated metrics, per cent.
    pub median_resolution_pct: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How the comparison was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Design {
    /// What a pair is.
    pub kind: DesignKind,
    /// Both sides are the same thing: the session measures the machine and the method.
    pub aa: bool,
    /// Seed of every order.
    pub seed: u64,
    /// Which side went first in each pair of `pairs_planned`: `AB` (base) or `BA` (head).
    pub order: Vec<String>,
    /// Pairs at the last look.
    pub pairs_planned: u64,
    /// Pairs that the figures are made of.
    pub pairs_used: u64,
    /// The planned looks, ascending.
    pub looks: Vec<PlannedLook>,
    /// The pairs after which the session ended; `null` where it came to its last look.
    pub stopped_at: Option<u64>,
    /// Why it ended then: `answered`, `regressed`, `invalid`, `budget`, `interrupted`; `null` where
    /// it came to its last look.
    pub stopped_because: Option<String>,
    /// Chance of a false alarm, all looks and all gated metrics together.
    pub alpha: f64,
    /// The slow-down that matters, per cent; metrics may have a bar of their own.
    pub delta_pct: f64,
    /// The level that p was held against at the end.
    pub level: f64,
    /// Pairs of slices in a block, their median: each is sized by the time that is left. `null` in
    /// restart mode.
    pub slice_pairs: Option<u64>,
    /// Requests of one slice; in restart mode of one trial.
    pub requests_per_slice: Option<u64>,
    /// Tokens that every request was made to generate.
    pub tokens_per_request: Option<u64>,
    /// The same, where a flag or the scenario said so; `null` where it was chosen by how fast the servers
    /// were at first. Earlier versions did not say.
    #[serde(default)]
    pub tokens_asked: Option<u64>,
    /// Users at once.
    pub users: Option<u32>,
    /// Why there is no block with both servers at once; `null` where there is, or nobody wondered.
    pub restart_reason: Option<String>,
    /// What the whole call was allowed, seconds.
    pub budget_s: f64,
    /// Digest over everything that must stay the same for a session to be resumed.
    pub plan_digest: String,
    /// The sittings that it took; more than one if it was resumed.
    pub sittings: Vec<Sitting>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DesignKind {
    /// Both servers at once, started anew for each block, loaded in short turns.
    Blocks,
    /// One server at a time, started anew for each trial; two neighbours are a pair. Several times
    /// coarser.
    Restart,
    /// Several sessions put together; a pair is a session.
    Sessions,
}

/// One planned look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedLook {
    /// After how many pairs.
    pub pairs: u64,
    /// The level that the gated metrics share.
    pub level: f64,
}

/// One call of `bench-ci ab`, from start to end or interruption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sitting {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Until its last completed pair, or its end.
    pub duration_s: f64,
}

/// The two that were compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sides {
    /// What there was.
    pub base: SideReport,
    /// What is proposed.
    pub head: SideReport,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SideReport {
    /// A short name for a reader: a commit, a file name, a set of flags.
    pub label: String,
    /// Whether it was real: `sim` is bench-ci's own simulator, which infers nothing.
    pub kind: ServerKind,
    /// The reference as it was typed; `null` for a side given as a binary.
    pub r#ref: Option<String>,
    /// The commit that was built; `null` for a side given as a binary.
    pub commit: Option<String>,
    /// How it was built; `null` for a side given as a binary.
    pub build: Option<Build>,
    /// The server's own word about itself.
    pub version: Option<String>,
    /// Program and arguments of its last start, secrets left out.
    pub command: Vec<String>,
    /// Arguments that only this side has.
    pub args: Vec<String>,
    /// Names of the environment variables that only this side has.
    pub env: Vec<String>,
    /// Median seconds from spawn to healthy.
    pub start_s: Option<f64>,
    /// Measured requests in the pairs that were used.
    pub requests: u64,
    /// Those of them that failed, and those that failed in a pair that broke off.
    pub failed: u64,
    /// Examples of failures, by kind.
    pub failures: BTreeMap<String, String>,
    /// Prompt tokens as the server counted them; `null` where a request came without a count.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens, likewise.
    pub output_tokens: Option<u64>,
    /// How it died under load, in words; `null` if it did not.
    pub crash: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How a side was built from its commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// The build command.
    pub command: String,
    /// Its executable, inside the work tree.
    pub server_path: String,
    /// It lay in the cache already.
    pub cached: bool,
    /// How long it took; `null` where it was cached.
    pub duration_s: Option<f64>,
    /// The compilers and CMake, a line of what each says of its version, and the variables that change
    /// what they make: what the cache is keyed by.
    pub toolchain: String,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One server from its start to its stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Which pair, from 0.
    pub pair: u64,
    /// How often this pair had been tried before: 0, or more where the machine spoilt it.
    pub attempt: u64,
    /// 0 for the side that went first, 1 for the other.
    pub slot: u64,
    /// `base` or `head`.
    pub side: String,
    /// Its folder below the output folder.
    pub folder: String,
    /// Seconds from spawn to healthy.
    pub start_s: f64,
    /// The warm-up.
    pub warmup: TrialWarmUp,
    /// Slices of load that were measured.
    pub slices: u64,
    /// Measured requests.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// What the requests amounted to.
    pub tokens: TrialTokens,
    /// Median over the slices of each metric, or in restart mode over the requests; metrics without
    /// a value are left out.
    pub metrics: BTreeMap<String, f64>,
    /// Its slowest answers. `null` in reports of before there was this field.
    pub tails: Option<TrialTails>,
    /// The fixed work around it.
    pub probe: TrialProbe,
    /// Processor time that the hypervisor gave to others meanwhile, per cent; of a block, of both
    /// its trials together.
    pub steal_pct: Option<f64>,
    /// Load average of the machine over the last minute, at the end.
    pub load_average: Option<f64>,
    /// Mean clock of the processors at the end, MHz.
    pub cpu_mhz: Option<f64>,
    /// The graphics processors at the end; empty where NVML finds none.
    #[serde(default)]
    pub gpus: Vec<TrialGpu>,
    /// Processor time of this server while the other one was loaded, as a share of that time; `null`
    /// in restart mode.
    pub idle_cpu_ratio: Option<f64>,
    /// How late our own client sent its requests, as a share of the time that their answers took: by so
    /// much it lowered the rates itself. `null` where no request was answered.
    pub client_late_ratio: Option<f64>,
    /// Whether it counts.
    pub valid: bool,
    /// Why it does not count; `null` where it does.
    pub reason: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// The warm-up of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialWarmUp {
    /// Waves of one request a user.
    pub waves: u64,
    /// The last three took equally long.
    pub settled: bool,
    /// Requests that failed in it.
    pub failed: u64,
}

/// A graphics processor right after the load: one that is hot or throttled is another machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialGpu {
    /// NVML's number of it, from 0.
    pub index: u32,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Clock of its multiprocessors, MHz.
    pub sm_clock_mhz: Option<f64>,
    /// Clock of its memory, MHz.
    pub memory_clock_mhz: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Percentiles over all completed requests of a trial, milliseconds; each `null` below 20/(1 − q) of
/// them: 400 for p95, 2,000 for p99.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialTails {
    /// Of the time to first token.
    pub ttft_ms_p95: Option<f64>,
    /// Likewise.
    pub ttft_ms_p99: Option<f64>,
    /// Of the end-to-end latency.
    pub e2e_ms_p95: Option<f64>,
    /// Likewise.
    pub e2e_ms_p99: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What the requests of a trial amounted to, as the server counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialTokens {
    /// Prompt tokens of completed requests.
    pub prompt: Option<u64>,
    /// Generated tokens of completed requests.
    pub output: Option<u64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How long the fixed work took on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrialProbe {
    /// Before, milliseconds.
    pub before_ms: Option<f64>,
    /// After, milliseconds.
    pub after_ms: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a metric is for in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ComparisonRole {
    /// It decides.
    Gate,
    /// It is shown with its q, and decides nothing.
    Observe,
    /// It is counted without noise and compared as it is.
    Exact,
}

impl From<Role> for ComparisonRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Gate => ComparisonRole::Gate,
            Role::Observe => ComparisonRole::Observe,
            Role::Exact => ComparisonRole::Exact,
        }
    }
}

/// Where the values of one side lie, over the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairSpread {
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// One metric of base and head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricComparison {
    /// The public name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// What it is for.
    pub role: ComparisonRole,
    /// Base over the pairs; `null` where none has a value.
    pub base: Option<PairSpread>,
    /// Head over the pairs, likewise.
    pub head: Option<PairSpread>,
    /// The change of the metric as measured, per cent of base; `null` where base is nothing.
    pub change_pct: Option<f64>,
    /// Its interval, lower end first; `null` for exact metrics.
    pub ci_pct: Option<[f64; 2]>,
    /// The confidence that the interval really has, a fraction.
    pub ci_level: Option<f64>,
    /// Two-sided, exact.
    pub p: Option<f64>,
    /// Adjusted by Holm's rule over all gated metrics; `null` for others.
    pub p_holm: Option<f64>,
    /// The q of Benjamini and Hochberg over all observed metrics; `null` for others.
    pub q: Option<f64>,
    /// "This session can resolve ± this", per cent: half the width of the interval.
    pub resolution_pct: Option<f64>,
    /// Student's smallest visible change, per cent: what a t test at 5 % of this metric alone would find
    /// in 80 of 100 such sessions. A verdict takes more.
    pub mde80_pct: Option<f64>,
    /// The smallest slow-down that about 80 of 100 such sessions would call regressed, per cent, by pairs,
    /// spread, level and bar; `null` for what does not gate, and in reports of before there was this field.
    pub regression80_pct: Option<f64>,
    /// Pairs with a value.
    pub pairs: u64,
    /// The change in each of them, per cent of base, in the order in which they were played; empty in
    /// reports of the first release, and for exact metrics.
    #[serde(default)]
    pub pairs_pct: Vec<f64>,
    /// Pairs further than three median absolute deviations from the median; they count.
    pub outliers: u64,
    /// How much slower the second of a pair is, per cent.
    pub position_effect_pct: Option<f64>,
    /// The slow-down that matters, per cent; `null` where no bar decides.
    pub bar_pct: Option<f64>,
    /// A change of less than this never matters, in the metric's unit; 0 where there is no such.
    pub floor: f64,
    /// `null` for exact metrics.
    pub verdict: Option<AbVerdict>,
    /// About how many pairs would settle it; `null` unless it is inconclusive, or where it would take more
    /// than a session may have.
    pub needed_pairs: Option<u64>,
    /// All of it in words: a fragment without final full stop.
    pub sentence: String,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl MetricComparison {
    /// The middle of base and of head; `None` where no pair has a value.
    #[must_use]
    pub fn medians(&self) -> Option<(f64, f64)> {
        Some((self.base?.median, self.head?.median))
    }
}

/// Something that was looked at besides the numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Such as `equal_work`.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was seen.
    pub detail: String,
}

/// A session that was put together with others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionSummary {
    /// The file as it was named.
    pub file: String,
    /// Its cell, where several configurations are judged together; else empty.
    #[serde(default)]
    pub cell: String,
    /// `run.id` of that report.
    pub id: String,
    /// The machine's label.
    pub runner_label: Option<String>,
    /// Digest over what makes two machines comparable.
    pub fingerprint: Option<String>,
    /// Pairs that its figures are made of.
    pub pairs: u64,
    /// What it came to by itself.
    pub verdict: AbVerdict,
    /// The change of each gated metric, per cent of base.
    pub change_pct: BTreeMap<String, f64>,
    /// Its interval, lower end first.
    #[serde(default)]
    pub ci_pct: BTreeMap<String, [f64; 2]>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How much a change differs from machine to machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heterogeneity {
    /// As in `comparisons`.
    pub metric: String,
    /// Sessions with a value.
    pub sessions: u64,
    /// How they were put together: `random-effects` of three or more, `both` of two, `one`.
    pub method: String,
    /// τ: standard deviation of the true change between machines, per cent (Paule and Mandel).
    pub tau_pct: f64,
    /// I²: the share of the variation between sessions that is not noise within them, per cent.
    pub i_squared_pct: f64,
    /// Cochran's Q.
    pub q: f64,
    /// The middle one of the sessions' changes, per cent of base: the second opinion.
    pub median_pct: f64,
}
