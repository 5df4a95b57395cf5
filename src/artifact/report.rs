//! `report.json`: the types of schema `bench-ci.report/1`.
//!
//! Main type: [`Report`]. What comes from the measurement itself is in `sections`. Every `Option` is
//! written as `null`, with its reason in `unknown` beside it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibration::CalibrationStep;
use super::derived::Derived;
use super::pretty::pretty;
use super::prometheus::Prometheus;
use super::prompts::Prompts;
use super::sections::{
    Client, Conversations, HeaderFigures, MetricSummary, Note, PhaseFigures, Rates, Reconciliation,
    RequestsSection, Resources, ServerMetric, Threshold,
};
use super::timeline::Timeline;
use super::unknowns::{Unknowns, explain_nulls};
use crate::plan::Endpoint;
use crate::stats::ServerKind;

/// The version that this build writes, and the newest it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The name of that version.
pub const SCHEMA: &str = "bench-ci.report/1";

/// A finished run, or what there is of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// The run and its tags.
    pub run: Run,
    /// Where it ran.
    pub machine: Machine,
    /// The model; `null` where a running server was loaded and its model is not known.
    pub model: Option<Model>,
    /// The server that was loaded.
    pub server: Server,
    /// What it was loaded with.
    pub scenario: Scenario,
    /// What became of the requests.
    pub requests: RequestsSection,
    /// Every metric by name; the names are those of METHODOLOGY.md.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// Requests and tokens per second.
    pub rates: Rates,
    /// By turn; `null` where requests stand for themselves.
    #[serde(default)]
    pub conversations: Option<Conversations>,
    /// The measured phases, each by itself, in order; empty where nothing was measured.
    #[serde(default)]
    pub phases: Vec<PhaseFigures>,
    /// Client against server.
    pub reconciliation: Reconciliation,
    /// The server's own `/metrics` over the run, by name; empty where they were not there.
    pub server_metrics: BTreeMap<String, ServerMetric>,
    /// The same as a Prometheus scraped it (`--prometheus`); `null` where none was asked, or it was of no
    /// help.
    #[serde(default)]
    pub prometheus: Option<Prometheus>,
    /// Times that the server told in its response headers, by name (`server-timing:db`); empty where
    /// it told none.
    #[serde(default)]
    pub server_headers: BTreeMap<String, HeaderFigures>,
    /// Processor, memory, GPU.
    pub resources: Resources,
    /// Whether the numbers are evidence, and the client's own error.
    pub client: Client,
    /// Figures derived from the measurement; `null` where nothing was measured.
    pub derived: Option<Derived>,
    /// The load over time; `null` where nothing was measured.
    pub timeline: Option<Timeline>,
    /// This client against the simulator, just before (`--calibrate`).
    pub calibration: Option<CalibrationStep>,
    /// Thresholds that were asked for.
    pub thresholds: Vec<Threshold>,
    /// What a reader should know.
    pub warnings: Vec<Note>,
    /// The files written beside this one.
    pub files: Vec<FileEntry>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl Report {
    /// The JSON as it is written: no NaN, and no `null` without a reason.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut value = serde_json::to_value(self)
            .expect("keys are strings, and no type here has a serializer that fails");
        explain_nulls(&mut value);
        value
    }

    /// The text of `report.json`, indented, columns of numbers on one line, with a final line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = pretty(&self.to_value());
        text.push('\n');
        text
    }
}

/// What wrote the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `bench-ci`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The commit it was built from; `null` for builds outside a repository.
    pub commit: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How far a run came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// To its planned end. Says nothing about whether requests failed.
    Completed,
    /// It was interrupted, or the server died under it; the figures cover what was done until then.
    Partial,
    /// It ended before anything was measured.
    Failed,
}

/// The run and its tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// Different for every run.
    pub id: String,
    /// `--name`.
    pub name: String,
    /// `--runner-label`.
    pub runner_label: Option<String>,
    /// `owner/name` of the repository that the workflow ran in; `null` outside GitHub Actions.
    #[serde(default)]
    pub repository: Option<String>,
    /// Branch under test.
    pub branch: Option<String>,
    /// Commit under test, full hash.
    pub commit: Option<String>,
    /// Whether the work tree differed from the commit.
    pub dirty: Option<bool>,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC; `null` in a report written before the end.
    pub finished_at: Option<String>,
    /// Seconds from start to finish, everything included.
    pub duration_s: Option<f64>,
    /// How far it came.
    pub status: RunStatus,
    /// Why it did not come further, in words; empty where `status` is `completed`.
    pub causes: Vec<String>,
    /// The exit code of `bench-ci`; `null` in a report written before the end.
    pub exit_code: Option<u8>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Where it ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Such as `Ubuntu 24.04`.
    pub os: Option<String>,
    /// Such as `6.8.0-45-generic`.
    pub kernel: Option<String>,
    /// Such as `AMD EPYC 7763 64-Core Processor`.
    pub cpu_model: Option<String>,
    /// Logical processors that this process may use.
    pub cores: Option<u32>,
    /// Main memory.
    pub memory_bytes: Option<u64>,
    /// Graphics processors; empty where none was found.
    pub gpus: Vec<Gpu>,
    /// Processors allowed by the control group; `null` where there is no limit.
    pub cgroup_cpu_limit: Option<f64>,
    /// Digest over what makes two machines comparable.
    pub fingerprint: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    /// Such as `Tesla T4`.
    pub name: String,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// Its driver.
    pub driver: Option<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// The model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// `hub`, `path`, `synthetic` or `external`.
    pub source: String,
    /// Repository on the Hub.
    pub hf_repo: Option<String>,
    /// File in it.
    pub hf_file: Option<String>,
    /// Commit of the repository that was used.
    pub revision: Option<String>,
    /// The file's name, without the machine's folders.
    pub file: Option<String>,
    /// All parts together.
    pub size_bytes: Option<u64>,
    /// Of the file; of a split model, of the first part.
    pub sha256: Option<String>,
    /// What the file says it is.
    pub gguf: Option<Gguf>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a GGUF says it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gguf {
    /// Such as `llama`.
    pub architecture: Option<String>,
    /// Number of parameters.
    pub parameters: Option<u64>,
    /// Such as `Q4_0`.
    pub quantization: Option<String>,
    /// Context length it was trained with, in tokens.
    pub context_length: Option<u64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// The server that was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Server {
    /// Whether it was real: `sim` is bench-ci's own simulator, which infers nothing.
    pub kind: ServerKind,
    /// Its own word.
    pub version: Option<String>,
    /// Program and arguments, secrets left out; empty for a server that was already running.
    pub command: Vec<String>,
    /// Where it was asked.
    pub base_url: String,
    /// Seconds from spawn to healthy.
    pub start_s: Option<f64>,
    /// Requests that it works on at once.
    pub total_slots: Option<u32>,
    /// Tokens of context of each.
    pub slot_context: Option<u64>,
    /// How it ended.
    pub exit: Option<ServerExit>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// How the server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerExit {
    /// Exit status; `null` where a signal ended it.
    pub code: Option<i32>,
    /// Name of the signal that ended it, such as `SIGKILL`; `null` where it exited.
    pub signal: Option<String>,
    /// Whether we had asked it to stop. False means that it died under the load.
    pub requested: bool,
    /// Whether it had to be killed after the grace period.
    pub killed: bool,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What the server was loaded with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// Its file; `null` for a built-in one.
    pub file: Option<String>,
    /// Digest over every request body and its planned time. Equal hashes: equal work.
    pub workload_hash: Option<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// The route that was asked.
    #[schemars(with = "String")]
    pub endpoint: Endpoint,
    /// Whether answers were streamed.
    #[serde(default = "streamed")]
    pub stream: bool,
    /// Such as `builtin` or `sharegpt`.
    pub dataset: String,
    /// The prompts themselves.
    #[serde(default)]
    pub prompts: Option<Prompts>,
    /// What a request had to keep to count in goodput; empty where nothing was asked for.
    #[serde(default)]
    pub objectives: Vec<String>,
    /// Prompts of more words than this were left out; `null` where none was for its length.
    pub max_prompt_words: Option<u64>,
    /// So were those that with their answer have more words than this.
    pub max_context_words: Option<u64>,
    /// The parts of the load, in order.
    pub phases: Vec<Phase>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Reports that do not say it are of streams.
fn streamed() -> bool {
    true
}

/// A part of the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// `warm_up` for each user's first requests, `load` where the scenario names no phases.
    pub name: String,
    /// Whether it is in the figures; earlier versions did not say.
    #[serde(default = "yes")]
    pub measured: bool,
    /// Who sends requests and when, in words.
    pub shape: String,
    /// Most concurrent users; `null` in an open loop.
    pub users: Option<u32>,
    /// Longest planned duration; `null` where only a number of requests bounds it.
    pub duration_s: Option<f64>,
    /// Planned requests; `null` where only time bounds it.
    pub requests: Option<u64>,
    /// Pause of a user between two requests.
    pub think_time_s: f64,
    /// Token budget of each answer.
    pub max_tokens: u32,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl Scenario {
    /// The phases that are in the figures.
    pub fn measured_phases(&self) -> impl Iterator<Item = &Phase> {
        self.phases.iter().filter(|phase| phase.measured && phase.name != "warm_up")
    }
}

fn yes() -> bool {
    true
}

/// A file beside the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Name inside the output folder.
    pub name: String,
    /// What it holds, for a person.
    pub what: String,
}
