//! What this client is worth on this machine: `calibration.json`, schema `bench-ci.calibration/1`.
//!
//! Main types: [`Calibration`], the file, and [`CalibrationStep`], one load of the simulator, which a
//! report may also hold. What was found is compared in `calibrate`; nothing is computed here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::report::{Machine, Tool};
use super::unknowns::{Unknowns, explain_nulls};

/// The name of the schema that this build writes.
pub const CALIBRATION_SCHEMA: &str = "bench-ci.calibration/1";

/// This client against the simulator, at several numbers of users and rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// Always [`CALIBRATION_SCHEMA`].
    pub schema: String,
    /// What wrote it.
    pub tool: Tool,
    /// Where it ran.
    pub machine: Machine,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// What was tried, in the order in which it was; fewer than asked for where it was interrupted.
    pub steps: Vec<CalibrationStep>,
    /// Most users at which it was valid, all fewer ones too.
    pub valid_up_to_users: Option<u32>,
    /// Highest rate at which it was valid, all lower ones too.
    pub valid_up_to_rate_per_second: Option<f64>,
    /// The exit code.
    pub exit_code: u8,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One load of the simulator, reported by the client and told by the simulator itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalibrationStep {
    /// Concurrent users; `null` in an open loop.
    pub users: Option<u32>,
    /// Planned requests per second; `null` in a closed loop.
    pub rate_per_second: Option<f64>,
    /// Whether the client would have called its numbers evidence, and its medians are within 1 %.
    pub valid: bool,
    /// Why not; empty where `valid`.
    pub reasons: Vec<String>,
    /// Measured requests that completed.
    pub requests: u64,
    /// Content deltas that the client took in, those of the warm-up too.
    pub deltas: u64,
    /// Reported minus true TTFT.
    pub ttft_error_ms: ErrorFigures,
    /// Reported minus true ITL.
    pub itl_error_ms: ErrorFigures,
    /// Processor time of the whole process for a delta.
    pub cpu_us_per_delta: Option<f64>,
    /// Requests sent per second; `null` in a closed loop.
    pub achieved_per_second: Option<f64>,
    /// Sent later than planned, as far as it is our own doing: median.
    pub lateness_us_p50: Option<f64>,
    /// The same: 99th percentile.
    pub lateness_us_p99: Option<f64>,
    /// Read later than received: 99th percentile.
    pub client_delay_us_p99: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A reported quantile minus the same quantile of what was really sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFigures {
    /// The true median.
    pub true_p50: Option<f64>,
    /// Of the median.
    pub p50: Option<f64>,
    /// Of the 99th percentile; needs 100 values.
    pub p99: Option<f64>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

impl Calibration {
    /// The text of `calibration.json`, indented, with a final line end.
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

impl CalibrationStep {
    /// For people: `64 users`, `500 requests/s`.
    #[must_use]
    pub fn load(&self) -> String {
        match (self.users, self.rate_per_second) {
            (_, Some(rate)) => format!("{rate} requests/s"),
            (users, None) => format!("{} users", users.unwrap_or_default()),
        }
    }
}
