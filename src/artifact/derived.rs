//! The parts of `report.json` that are derived from the measurement, with what was assumed for them.
//!
//! Main type: [`Derived`]. Formulas are in `stats`; nothing is computed here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknowns::Unknowns;
use crate::stats;

/// Figures that need more than one request's stamps, or more than stamps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Derived {
    /// Tokens per second by the server's counters, beside the client's.
    pub server_rates: ServerRates,
    /// Mean in flight = rate × mean latency, as a check.
    pub littles_law: Option<LittlesLaw>,
    /// Memory bandwidth and arithmetic over what the machine could do.
    pub utilization: Utilization,
    /// Speculative decoding.
    pub drafts: Option<Drafts>,
    /// Time per output token by the difference of two lengths (`--tpot-difference`).
    pub tpot_difference: Option<TpotDifference>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Tokens per second by the server's counters, over the client's whole window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerRates {
    /// Generated tokens that the server counted, those of requests that did not complete too.
    pub output_tokens_per_second: Option<f64>,
    /// Of completed requests, as the client was told.
    pub client_output_tokens_per_second: Option<f64>,
    /// (server − client) / client.
    pub output_difference_ratio: Option<f64>,
    /// Evaluated prompt tokens that the server counted.
    pub prompt_tokens_per_second: Option<f64>,
    /// Of completed requests, without cached ones.
    pub client_prompt_tokens_per_second: Option<f64>,
    /// (server − client) / client.
    pub prompt_difference_ratio: Option<f64>,
    /// Evaluated prompt tokens per second that the server counted as spent on prompts.
    pub prompt_tokens_per_busy_second: Option<f64>,
    /// Generated tokens per second of a slot at work.
    pub output_tokens_per_slot_second: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Little's law over the steady state, or over the whole window where that is short or not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LittlesLaw {
    /// `steady_state` or `whole`.
    pub window: String,
    /// Mean number of requests in flight, of any outcome.
    pub in_flight_mean: f64,
    /// Completed requests per second.
    pub completed_per_second: f64,
    /// Their mean latency.
    pub e2e_ms_mean: f64,
    /// in flight − rate × latency.
    pub residual: f64,
    /// The same over in flight.
    pub residual_ratio: f64,
    /// What the residual may be: 5 % and one round of requests.
    pub tolerance_ratio: f64,
    /// Whether it is within.
    pub holds: bool,
}

/// What the answers needed at the least, over what the machine could do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Utilization {
    /// Model bandwidth utilization, 0 to 1.
    pub mbu: Option<f64>,
    /// Model FLOPS utilization, 0 to 1.
    pub mfu: Option<f64>,
    /// Mean number of answers written at once.
    pub decoding_mean: Option<f64>,
    /// Bytes of weights that a step of decoding reads.
    pub weight_bytes_per_step: Option<f64>,
    /// Bytes of keys and values that a step of decoding reads.
    pub kv_bytes_per_step: Option<f64>,
    /// Both over the mean TPOT.
    pub bytes_per_second: Option<f64>,
    /// Floating point operations for a generated token at the mean context.
    pub flops_per_output_token: Option<f64>,
    /// Floating point operations per second for all tokens, prompts included.
    pub flops_per_second: Option<f64>,
    /// The peak that `mbu` is a share of.
    pub peak_bytes_per_second: Option<f64>,
    /// The peak that `mfu` is a share of.
    pub peak_flops_per_second: Option<f64>,
    /// What was taken for true, in words.
    pub assumptions: Vec<String>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Speculative decoding over the whole load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drafts {
    /// `timings`, of completed requests, or `server_metrics`, of all.
    pub source: String,
    /// Tokens drafted.
    pub drafted: f64,
    /// Of those, accepted.
    pub accepted: f64,
    /// accepted / drafted.
    pub acceptance_ratio: f64,
}

/// Time per output token by the difference of two lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TpotDifference {
    /// Forced tokens of the shorter answer to each prompt; the fewest where prompts bring budgets of their
    /// own.
    pub tokens: u32,
    /// The most of them; a report from before this was told has none.
    #[serde(default)]
    pub tokens_max: Option<u32>,
    /// By how many the other is longer.
    pub step_tokens: u32,
    /// Prompts of which both answers completed.
    pub pairs: u64,
    /// Median of the differences over `step_tokens`.
    pub tpot_ms_p50: Option<f64>,
    /// 95 % interval of that median, by order statistics.
    pub ci95_ms: Option<[f64; 2]>,
    /// The ordinary `tpot_ms` of the same load, for comparison: its median.
    pub ordinary_tpot_ms_p50: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl From<&stats::ServerRates> for ServerRates {
    fn from(found: &stats::ServerRates) -> Self {
        // Destructured so that a new figure cannot be forgotten here.
        let stats::ServerRates {
            output_tokens_per_second,
            client_output_tokens_per_second,
            output_difference_ratio,
            prompt_tokens_per_second,
            client_prompt_tokens_per_second,
            prompt_difference_ratio,
            prompt_tokens_per_busy_second,
            output_tokens_per_slot_second,
        } = found.clone();
        let mut unknown = Unknowns::none();
        let mut number = |field, known| unknown.number(field, known);
        Self {
            output_tokens_per_second: number("output_tokens_per_second", output_tokens_per_second),
            client_output_tokens_per_second: number(
                "client_output_tokens_per_second",
                client_output_tokens_per_second,
            ),
            output_difference_ratio: number("output_difference_ratio", output_difference_ratio),
            prompt_tokens_per_second: number("prompt_tokens_per_second", prompt_tokens_per_second),
            client_prompt_tokens_per_second: number(
                "client_prompt_tokens_per_second",
                client_prompt_tokens_per_second,
            ),
            prompt_difference_ratio: number("prompt_difference_ratio", prompt_difference_ratio),
            prompt_tokens_per_busy_second: number(
                "prompt_tokens_per_busy_second",
                prompt_tokens_per_busy_second,
            ),
            output_tokens_per_slot_second: number(
                "output_tokens_per_slot_second",
                output_tokens_per_slot_second,
            ),
            unknown,
        }
    }
}

impl From<&stats::Little> for LittlesLaw {
    fn from(found: &stats::Little) -> Self {
        Self {
            window: if found.in_steady_state { "steady_state" } else { "whole" }.to_owned(),
            in_flight_mean: found.in_flight_mean,
            completed_per_second: found.completed_per_second,
            e2e_ms_mean: found.e2e_ms_mean,
            residual: found.residual,
            residual_ratio: found.residual_ratio,
            tolerance_ratio: found.tolerance_ratio,
            holds: found.holds(),
        }
    }
}

impl From<&stats::Drafts> for Drafts {
    fn from(found: &stats::Drafts) -> Self {
        Self {
            source: if found.from_timings { "timings" } else { "server_metrics" }.to_owned(),
            drafted: found.drafted,
            accepted: found.accepted,
            acceptance_ratio: found.acceptance_ratio(),
        }
    }
}

impl Utilization {
    /// With the peaks and what was assumed, which the formulas do not know.
    #[must_use]
    pub fn new(found: &stats::Utilization, peaks: &stats::Peaks, assumptions: Vec<String>) -> Self {
        let stats::Utilization {
            decoding_mean,
            weight_bytes_per_step,
            kv_bytes_per_step,
            bytes_per_second,
            mbu,
            flops_per_output_token,
            flops_per_second,
            mfu,
        } = found.clone();
        let mut unknown = Unknowns::none();
        let mut number = |field, known| unknown.number(field, known);
        Self {
            mbu: number("mbu", mbu),
            mfu: number("mfu", mfu),
            decoding_mean: number("decoding_mean", decoding_mean),
            weight_bytes_per_step: number("weight_bytes_per_step", weight_bytes_per_step),
            kv_bytes_per_step: number("kv_bytes_per_step", kv_bytes_per_step),
            bytes_per_second: number("bytes_per_second", bytes_per_second),
            flops_per_output_token: number("flops_per_output_token", flops_per_output_token),
            flops_per_second: number("flops_per_second", flops_per_second),
            peak_bytes_per_second: number("peak_bytes_per_second", peaks.bandwidth.clone()),
            peak_flops_per_second: number("peak_flops_per_second", peaks.flops.clone()),
            assumptions,
            unknown,
        }
    }
}

impl TpotDifference {
    /// Beside the ordinary median of the same load.
    #[must_use]
    pub fn new(found: &stats::TpotDifference, ordinary_p50: stats::Known<f64>) -> Self {
        let mut unknown = Unknowns::none();
        let [fewest, most] = found.tokens;
        Self {
            tokens: fewest,
            tokens_max: Some(most),
            step_tokens: found.step,
            pairs: found.pairs,
            tpot_ms_p50: unknown.number("tpot_ms_p50", found.median_ms.clone()),
            ci95_ms: unknown.interval("ci95_ms", found.ci95_ms.clone()),
            ordinary_tpot_ms_p50: unknown.number("ordinary_tpot_ms_p50", ordinary_p50),
            unknown,
        }
    }
}
