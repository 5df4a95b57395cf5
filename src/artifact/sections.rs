//! The parts of `report.json` that come from the measurement.
//!
//! Main types: [`MetricSummary`], [`Rates`], [`Reconciliation`], [`Client`]. They hold what `stats`
//! found; nothing is computed here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknowns::Unknowns;
use crate::load::{ClockSource, FailureKind};
use crate::stats::Better;

/// What became of the measured requests: planned = completed + failed + cancelled + dropped + cut.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RequestsSection {
    /// Planned.
    pub planned: u64,
    /// Begun: all but the dropped ones.
    pub started: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
    /// Never sent.
    pub dropped: u64,
    /// In flight when the run ended; neither a success nor a failure.
    pub cut: u64,
    /// Hung up by us on purpose; neither a success nor a failure.
    #[serde(default)]
    pub cancelled: u64,
    /// Sent a second time because the idle connection had been closed by the server.
    pub resent: u64,
    /// Failed ones by kind; kinds that did not occur are absent.
    pub by_error: BTreeMap<FailureKind, u64>,
    /// One example in words for each kind.
    pub error_examples: BTreeMap<FailureKind, String>,
    /// Completed ones by the server's finish reason.
    pub by_finish_reason: BTreeMap<String, u64>,
    /// The unmeasured requests before; in no figure.
    pub warm_up: Unmeasured,
    /// The unmeasured requests after; in no figure.
    #[serde(default)]
    pub cool_down: Unmeasured,
}

/// What became of the unmeasured requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Unmeasured {
    /// Planned.
    pub planned: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
}

/// One measured phase by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseFigures {
    /// As in `scenario.phases`.
    pub name: String,
    /// When it began, seconds since the begin of the measured load.
    pub started_s: f64,
    /// When its last request could begin; those in flight ended later.
    pub closed_s: f64,
    /// What became of its requests.
    pub requests: RequestsSection,
    /// Every metric over its completed requests, by name.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// Requests and tokens per second, from its first write to the end of its last request.
    pub rates: Rates,
    /// Arrivals as planned and as sent; `null` in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// Sent minus planned, as far as it is our own doing.
    pub dispatch_lateness_us: Spread,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One metric over the completed measured requests, in `unit`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricSummary {
    /// `ms`, `tokens`, `tokens/s` or `ratio`.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// How many values; 0 where there is none, and then everything else is `null`.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Sample standard deviation.
    pub stddev: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// Needs 10 values.
    pub p90: Option<f64>,
    /// Needs 20 values.
    pub p95: Option<f64>,
    /// Needs 100 values.
    pub p99: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// 95 % intervals.
    pub ci95: Ci95,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// 95 % intervals of one metric, each `[low, high]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ci95 {
    /// Of the mean, by Student's t.
    pub mean: Option<[f64; 2]>,
    /// Of the median, by order statistics; needs 6 values.
    pub p50: Option<[f64; 2]>,
    /// Of the 95th percentile, by order statistics; needs 72 values.
    pub p95: Option<[f64; 2]>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Requests and tokens per second. Only completed requests add; every measured request that was sent
/// stretches the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Over the whole window.
    #[serde(flatten)]
    pub whole: RateFigures,
    /// From the first write to the last end of a measured request, whatever its outcome.
    pub window: Option<WindowFigures>,
    /// The part in which concurrency was at least 95 % of its plateau.
    pub steady_state: Option<SteadyState>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Rates over one window.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RateFigures {
    /// Completed requests per second.
    pub requests_per_second: Option<f64>,
    /// Prompt tokens of completed requests per second, cached ones included.
    pub prompt_tokens_per_second: Option<f64>,
    /// Generated tokens of completed requests per second.
    pub output_tokens_per_second: Option<f64>,
    /// The sum of both.
    pub total_tokens_per_second: Option<f64>,
    /// Embeddings per second.
    #[serde(default)]
    pub embeddings_per_second: Option<f64>,
    /// Documents scored per second.
    #[serde(default)]
    pub documents_per_second: Option<f64>,
    /// Completed requests per second that met every objective.
    pub goodput_requests_per_second: Option<f64>,
}

/// The conversations of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversations {
    /// Those of which at least one turn was sent.
    pub begun: u64,
    /// Those that were held to their end, every turn completed.
    pub completed: u64,
    /// Those that a failed turn ended; their later turns are among the dropped.
    pub broken: u64,
    /// By turn, from the first.
    pub turns: Vec<Turn>,
}

/// One turn over all conversations; figures are of its completed requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Turn {
    /// Which, from 1.
    pub turn: u32,
    /// Requests sent.
    pub requests: u64,
    /// Of those, completed.
    pub completed: u64,
    /// Mean prompt tokens, cached ones included.
    pub prompt_tokens_mean: Option<f64>,
    /// Mean prompt tokens that came from the server's cache.
    pub cached_tokens_mean: Option<f64>,
    /// Median time to the first content.
    pub ttft_ms_p50: Option<f64>,
    /// Median time to the end.
    pub e2e_ms_p50: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A span of time, relative to the begin of the measured load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowFigures {
    /// Its first instant.
    pub start_s: f64,
    /// Its last instant.
    pub end_s: f64,
    /// The difference.
    pub duration_s: f64,
}

/// The part of the run at the plateau.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SteadyState {
    /// From the first to the last instant at 95 % of the plateau.
    pub window: WindowFigures,
    /// Mean number of requests in flight over the middle half of the measured window.
    pub plateau_concurrency: f64,
    /// Completed requests that ended inside.
    pub completed: u64,
    /// Requests counted where they end, prompt tokens at the first content, generated tokens evenly
    /// between first and last content.
    #[serde(flatten)]
    pub rates: RateFigures,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Client against server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reconciliation {
    /// Tokens of completed measured requests, in every way there is to count them.
    pub tokens: Tokens,
    /// Mean TTFT = queue + server prefill + residual.
    pub ttft: Option<TtftFigures>,
    /// (first content − headers) − `timings.prompt_ms`.
    pub prefill_residual: ResidualFigures,
    /// (last − first content) − `timings.predicted_ms`.
    pub decode_residual: ResidualFigures,
    /// Every way in which the accounts differ, with counts; empty where they agree.
    pub disagreements: Vec<Note>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Tokens, counted in every way there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Σ `usage.prompt_tokens`, cached ones included.
    pub usage_prompt_tokens: Option<u64>,
    /// Σ `timings.prompt_n + cache_n`.
    pub timings_prompt_tokens: Option<u64>,
    /// Σ `timings.prompt_n`, cached ones left out: what the server's counter counts.
    pub timings_prompt_tokens_evaluated: Option<u64>,
    /// How far the server's counter of evaluated prompt tokens moved.
    pub counter_prompt_tokens_evaluated: Option<u64>,
    /// Σ `usage.completion_tokens`.
    pub usage_completion_tokens: Option<u64>,
    /// Σ `timings.predicted_n`.
    pub timings_completion_tokens: Option<u64>,
    /// How far the server's counter of generated tokens moved.
    pub counter_completion_tokens: Option<u64>,
    /// Σ content deltas that the client saw. A delta is not a token.
    pub content_deltas: u64,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Mean TTFT in its parts, over the same requests, so that they add up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TtftFigures {
    /// Requests that have all parts.
    pub count: u64,
    /// first content − written.
    pub ttft_ms_mean: f64,
    /// headers − written.
    pub queue_ms_mean: f64,
    /// The server's `timings.prompt_ms`.
    pub server_prefill_ms_mean: f64,
    /// What is left over.
    pub residual_ms_mean: f64,
}

/// What is left of the client's time without the server's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResidualFigures {
    /// Requests that have both times.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: Option<f64>,
    /// Smallest, with its sign.
    pub min_ms: Option<f64>,
    /// Median; negative where the server says more than the client saw.
    pub p50_ms: Option<f64>,
    /// Needs 20 values.
    pub p95_ms: Option<f64>,
    /// Needs 100 values.
    pub p99_ms: Option<f64>,
    /// The one of largest size, with its sign.
    pub max_ms: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One series of the server's `/metrics` over the run, in the server's own unit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ServerMetric {
    /// Before the load.
    pub first: Option<f64>,
    /// After the load.
    pub last: Option<f64>,
    /// last − first; of a counter, what the load added.
    pub delta: Option<f64>,
    /// Smallest of all scrapes.
    pub min: Option<f64>,
    /// Mean of all scrapes.
    pub mean: Option<f64>,
    /// Largest of all scrapes.
    pub max: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Processor, memory, GPU.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// The server's process; `null` where it is not ours.
    pub server: Option<ProcessUse>,
    /// Ourselves.
    pub client: Option<ProcessUse>,
    /// Graphics processors; empty where none was sampled.
    pub gpus: Vec<GpuUse>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a process used.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessUse {
    /// Processor time, user and system.
    pub cpu_s: Option<f64>,
    /// Peak resident memory.
    pub rss_peak_bytes: Option<u64>,
    /// Most threads at a sample.
    #[serde(default)]
    pub threads_max: Option<u32>,
    /// Page faults that needed no disk.
    #[serde(default)]
    pub minor_faults: Option<u64>,
    /// Page faults that did.
    #[serde(default)]
    pub major_faults: Option<u64>,
    /// Bytes fetched from storage.
    #[serde(default)]
    pub read_bytes: Option<u64>,
    /// Bytes sent to storage.
    #[serde(default)]
    pub written_bytes: Option<u64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What a graphics processor did while it was sampled.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuUse {
    /// NVML's number of it, from 0.
    #[serde(default)]
    pub index: Option<u32>,
    /// Its name.
    pub name: String,
    /// Whether a process of the server was seen on it.
    #[serde(default)]
    pub used_by_server: Option<bool>,
    /// Mean utilisation, 0 to 1.
    pub utilization_mean: Option<f64>,
    /// Peak memory in use, by anybody.
    pub memory_peak_bytes: Option<u64>,
    /// Of that, the most that the server's processes had.
    #[serde(default)]
    pub server_memory_peak_bytes: Option<u64>,
    /// Mean power.
    pub power_mean_w: Option<f64>,
    /// Highest temperature.
    #[serde(default)]
    pub temperature_max_c: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Whether the numbers are evidence, and the client's own error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Client {
    /// False if there is any reason against the numbers.
    pub valid: bool,
    /// Why they are not evidence; empty where `valid`.
    pub reasons: Vec<Note>,
    /// Where receive stamps come from.
    pub clock_source: ClockSource,
    /// Impossible kernel stamps that were replaced by the client's own clock.
    pub rejected_stamps: u64,
    /// Arrivals of an open loop, as planned and as sent; `null` in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// Sent minus planned, as far as it is our own doing.
    pub dispatch_lateness_us: Spread,
    /// Our read minus the kernel's stamp, or the event loop's own lag.
    pub client_delay_us: Spread,
    /// Processor time of the thread that loads.
    pub cpu_s: Option<f64>,
    /// Peak resident memory of this process.
    pub rss_peak_bytes: Option<u64>,
    /// Processor time of everything that sampled while the load ran; not part of `cpu_s`.
    #[serde(default)]
    pub sampling_cpu_s: Option<f64>,
    /// The limits that `valid` was judged by.
    pub limits: Limits,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Arrivals of an open loop, as planned and as sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Arrivals {
    /// Arrivals planned until the load ended.
    pub planned: u64,
    /// Of those, dropped because too many requests were in flight.
    pub dropped: u64,
    /// Planned requests per second, from the first to the last.
    pub planned_per_second: f64,
    /// Sent requests per second.
    pub achieved_per_second: f64,
}

/// When the numbers are not evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Failed requests that are accepted.
    pub max_failed: u64,
    /// Mean dispatch lateness over a user's mean cycle: end-to-end latency and think time.
    pub max_lateness_ratio: f64,
    /// p99 of the client's delay over the median of the metric it sits in.
    pub max_client_delay_ratio: f64,
    /// Share of the planned rate that an open loop must have sent. This and the next two are not told by
    /// reports from before they could be chosen: they were 0.98, 0.05 and 1 ms.
    #[serde(default)]
    pub min_achieved_rate_ratio: Option<f64>,
    /// p99 of an open loop's lateness over the median TTFT (of what comes in one piece, the median
    /// latency).
    #[serde(default)]
    pub max_arrival_lateness_ratio: Option<f64>,
    /// A p99 of its lateness that is accepted however quick the answers are.
    #[serde(default)]
    pub arrival_lateness_floor_ms: Option<f64>,
    /// Whether a saturated client was told not to fail the run.
    pub accept_saturated_client: bool,
}

/// A distribution of the client's own delays, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// How many values.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// Needs 20 values.
    pub p95: Option<f64>,
    /// Needs 100 values.
    pub p99: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A threshold that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// As it was typed.
    pub expression: String,
    /// Whether it held.
    pub ok: bool,
    /// What was observed.
    pub observed: Option<f64>,
    /// Whether crossing it ended the run early.
    pub aborted: bool,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A sentence for a person with a word for machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Note {
    /// A stable word.
    pub code: String,
    /// The sentence.
    pub message: String,
}

/// Numbers of one response header, in whatever unit the server sends them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderFigures {
    /// Requests whose answer had it; at least 1.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The largest.
    pub max: f64,
}

impl From<crate::stats::HeaderFigures> for HeaderFigures {
    fn from(found: crate::stats::HeaderFigures) -> Self {
        // Destructured so that a new figure cannot be forgotten here.
        let crate::stats::HeaderFigures { count, mean, min, p50, max } = found;
        Self { count, mean, min, p50, max }
    }
}
