//! The complete, validated intention of a run: everything is decided here, nothing starts here.
//!
//! Main types: [`RunPlan`], which `--dry-run` prints, and [`scenario::Scenario`], the TOML file
//! behind its workload. This room does not read files, the environment or the clock; what a user
//! typed is resolved by the caller and handed in.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

pub mod body;
pub mod course;
pub mod dataset_spec;
pub mod duration;
pub mod endpoint;
pub mod matrix;
pub mod objective;
pub mod percent;
pub mod phase;
pub mod problem;
pub mod prometheus;
pub mod quantity;
pub mod request;
pub mod resolve;
pub mod scenario;
pub mod search;
pub mod shape;
pub mod subject;
pub mod suite;
pub mod suite_json;
pub mod synthetic_spec;
pub mod threshold;
pub mod transport;

pub use body::{Ask, Budget, Dialect, body, body_of, continued};
pub use course::{Course, CourseUnit};
pub use dataset_spec::DatasetSpec;
pub use endpoint::{Endpoint, Yield};
pub use objective::Objective;
pub use phase::{MOST_REQUESTS, PhaseSpec};
pub use problem::{PlanError, Problem};
pub use prometheus::{MetricNames, PrometheusSpec};
pub use quantity::{Bandwidth, Flops};
pub use request::{
    CancelAfter, CancelSpec, ConversationSpec, LoraChoice, RequestSpec, RequestTimeouts, Sampling,
};
pub use scenario::{Gate, Overrides, Scenario};
pub use shape::{ArrivalProcess, LoadShape, UserTarget};
pub use synthetic_spec::{Lengths, SyntheticSpec};
pub use threshold::Threshold;
pub use transport::{HttpVersion, Proxy, Transport};

/// Everything a run will do.
#[derive(Debug, Clone, Serialize)]
pub struct RunPlan {
    /// The tags of the report.
    pub tags: Tags,
    /// Where the model comes from; `None` with `--url` or where the simulator needs none.
    pub model: Option<ModelSource>,
    /// Where model files are kept; `None` is the Hub's own cache.
    pub model_dir: Option<PathBuf>,
    /// The server that is loaded.
    pub target: Target,
    /// How it is reached besides its address.
    pub transport: Transport,
    /// What our requests carry besides their body.
    pub credentials: Credentials,
    /// What it is loaded with.
    pub workload: Workload,
    /// Which clock stamps what arrives.
    pub clock: ClockChoice,
    /// When the numbers are not evidence.
    pub limits: Limits,
    /// The only folder that is written to.
    pub out_dir: PathBuf,
    /// Whether k6's summary is written under bench.py's name too.
    pub bench_py_names: bool,
    /// Interval between two scrapes of `/metrics`.
    pub scrape_interval: Duration,
    /// What the machine can do at most, as far as it was given or is to be measured.
    pub peaks: PeaksSpec,
    /// Whether this client is first measured against the simulator.
    pub calibrate: bool,
    /// What is told to Prometheus and its kin, and asked of them.
    #[serde(skip_serializing_if = "PrometheusSpec::is_idle")]
    pub prometheus: PrometheusSpec,
}

/// What the machine can do at most.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PeaksSpec {
    /// `--peak-bandwidth`, bytes per second.
    pub bandwidth: Option<Bandwidth>,
    /// `--peak-flops`, floating point operations per second.
    pub flops: Option<Flops>,
    /// Whether those that were not given are measured before the server is started.
    pub measure: bool,
}

impl RunPlan {
    /// The way to the server of this plan.
    #[must_use]
    pub fn way(&self) -> Transport {
        match &self.target {
            Target::External { .. } => self.transport.clone(),
            Target::Start(_) => self.transport.to_child(),
        }
    }
}

/// What the report is tagged with.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Tags {
    /// `--name`: a title for the run.
    pub name: String,
    /// `--runner-label`, `RUNNER_NAME`, or the host's name.
    pub runner_label: Option<String>,
    /// Branch under test.
    pub branch: Option<String>,
    /// Commit under test, full hash.
    pub commit: Option<String>,
    /// Whether the work tree differs from the commit; `None` where there is no repository.
    pub dirty: Option<bool>,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum ModelSource {
    /// A file of a repository on the Hub.
    Hub {
        /// Such as `ggml-org/models`.
        repo: String,
        /// Such as `phi-2/ggml-model-q4_0.gguf`; of a split model, any part.
        file: String,
        /// Branch, tag or commit; `None` is `main`.
        revision: Option<String>,
    },
    /// A GGUF on disk.
    Path {
        /// The file; of a split model, the first part.
        path: PathBuf,
    },
    /// A deterministic random-weight GGUF made on the spot.
    Synthetic {
        /// A name such as `tiny`, or `layers=…,embd=…`.
        shape: String,
    },
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelSource::Hub { repo, file, revision: None } => write!(formatter, "{repo}/{file}"),
            ModelSource::Hub { repo, file, revision: Some(revision) } => {
                write!(formatter, "{repo}/{file} at {revision}")
            }
            ModelSource::Path { path } => write!(formatter, "{}", path.display()),
            ModelSource::Synthetic { shape } => write!(formatter, "synthetic {shape}"),
        }
    }
}

/// The server that is loaded.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// One that we start and stop.
    Start(ServerSpec),
    /// One that is already running.
    External {
        /// Such as `http://host:8000/v1` or `http://host:8080`.
        base_url: String,
    },
}

/// A server to be started.
#[derive(Debug, Clone, Serialize)]
pub struct ServerSpec {
    /// What to start.
    pub program: ServerProgram,
    /// Address to listen on.
    pub host: String,
    /// Port; 0 picks a free one.
    pub port: u16,
    /// `--parallel`; `None` leaves the server's own default.
    pub parallel: Option<u32>,
    /// `--n-gpu-layers`; a number, or a word such as `all` or `auto` on newer builds.
    pub n_gpu_layers: Option<String>,
    /// `--ctx-size`.
    pub ctx_size: Option<u32>,
    /// `--batch-size`.
    pub batch_size: Option<u32>,
    /// `--ubatch-size`.
    pub ubatch_size: Option<u32>,
    /// Whether a build that fits what is unset (layers on the GPU, context) to the memory that is free
    /// just then is told not to: `--fit off`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fit_off: bool,
    /// Further arguments, verbatim.
    pub extra_args: Vec<String>,
    /// Variables that its environment has besides ours, in order.
    pub env: Vec<(String, Secret)>,
    /// How long it may take to become healthy.
    pub start_timeout: Duration,
    /// How long it may take to stop after SIGINT before it is killed.
    pub stop_grace: Duration,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerProgram {
    /// An executable that takes llama-server's flags.
    Executable(PathBuf),
    /// The simulator inside this binary.
    Sim,
}

/// What our requests carry besides their body.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Credentials {
    /// Sent as `Authorization: Bearer …`, unless a server that we start names its key itself
    /// (its own `--api-key`, or `LLAMA_API_KEY`). Never printed.
    pub api_key: Option<Secret>,
    /// Further headers, in order. Values are never printed.
    pub headers: Vec<(String, Secret)>,
}

/// A string that must never reach a log, a report or a process list.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the secret.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// What the server is loaded with: a scenario with every override applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Workload {
    /// The scenario's name.
    pub scenario: String,
    /// The scenario file; `None` for a built-in one.
    pub file: Option<PathBuf>,
    /// Which route is asked.
    pub endpoint: Endpoint,
    /// Where prompts come from.
    pub dataset: DatasetSpec,
    /// Which prompts are kept, in the dataset's order.
    pub filter: PromptFilter,
    /// Take the first N kept prompts and send each once; `None`: all kept prompts, round and round.
    pub n_prompts: Option<u64>,
    /// Who sends requests, and when; of no meaning where there are `phases`.
    #[serde(flatten)]
    pub shape: LoadShape,
    /// The phases of a scenario that has several; else empty. [`Workload::sequence`] is what is played.
    pub phases: Vec<PhaseSpec>,
    /// How long the load goes on, unmeasured, after the last measured phase.
    pub cool_down: Duration,
    /// Concurrent users, from which ramps of users take their multiples; `None`: as many as the server
    /// has slots. Of no meaning to open shapes.
    pub users: Option<u32>,
    /// Pause of a user between two requests.
    pub think_time: Duration,
    /// No measured request starts later than this after the first; `None`: only `n_prompts` bounds.
    pub duration: Option<Duration>,
    /// How long requests in flight at the end may still take before they are cut.
    pub graceful_stop: Duration,
    /// How long the request of a user that a ramp takes off may still take before it is cut.
    pub graceful_ramp_down: Duration,
    /// Unmeasured requests per user before measuring.
    pub warm_up_requests_per_user: u32,
    /// The body of each request.
    pub request: RequestSpec,
    /// Each prompt is asked for `max_tokens` and for so many tokens more; `None`: once.
    pub tpot_difference: Option<u32>,
    /// Limits of one request.
    pub timeouts: RequestTimeouts,
    /// After this time from its writing a measured request that is not answered is hung up, and has
    /// failed; `None`: only `timeouts` bound it.
    pub deadline: Option<Duration>,
    /// Measured requests that are hung up on purpose; `None`: none.
    pub cancel: Option<CancelSpec>,
    /// Whether requests are turns of conversations.
    pub conversation: Option<ConversationSpec>,
    /// Whether connections are opened ahead of time or inside each request.
    pub connections: Connections,
    /// Seed of everything random, and of each request where the scenario says so.
    pub seed: u64,
    /// Conditions on the whole load, in the order of the file, then of the flags.
    pub thresholds: Vec<Threshold>,
    /// What each request must keep to count as good; empty: goodput is not asked for.
    pub objectives: Vec<Objective>,
    /// What decides a comparison of two servers; of no meaning to a single run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
}

/// Which prompts are kept. Lengths are in the words of llama.cpp's script.js (split at blanks and
/// ``,'".?``, empty pieces counted), which it calls tokens; of token ids and of prompts that are made
/// to a length, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PromptFilter {
    /// Prompts and answers of conversations (built in, ShareGPT) shorter than this are left out.
    pub min_words: u64,
    /// Prompts longer than this are left out; `None` keeps all.
    pub max_prompt_words: Option<u64>,
    /// Prompts that with their answer are longer than this are left out; `None` keeps all.
    pub max_context_words: Option<u64>,
}

/// When connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Connections {
    /// Ahead of time, so that connecting is never inside TTFT.
    Ahead,
    /// A new one inside every request (k6's `--no-connection-reuse`).
    Fresh,
}

/// Which clock stamps what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockChoice {
    /// The kernel's receive stamps where there are any.
    #[default]
    Auto,
    /// Our own clock, just after each read.
    User,
}

/// When the numbers are not evidence; see METHODOLOGY.md.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Failed measured requests that are still accepted.
    pub max_failed: u64,
    /// Mean dispatch lateness over a user's mean cycle (latency and think time) above which a closed
    /// loop is not evidence.
    pub max_lateness_ratio: f64,
    /// p99 of the client's delay over the median metric above which a user-space clock is not evidence.
    pub max_client_delay_ratio: f64,
    /// Share of the planned rate that an open loop must have sent.
    pub min_achieved_rate_ratio: f64,
    /// p99 of an open loop's lateness over the median TTFT (of what comes in one piece, the median latency)
    /// above which it is not evidence.
    pub max_arrival_lateness_ratio: f64,
    /// A p99 of its lateness that is accepted however quick the answers are.
    pub arrival_lateness_floor: Duration,
    /// Report the reasons but do not fail the run because of the client.
    pub accept_saturated_client: bool,
}
