//! The load over time in `report.json`: requests, the server's metrics and what was used, on one clock.
//!
//! Main type: [`Timeline`]. It is for drawing; no figure of a report is computed from it, and nothing
//! is computed here.
//!
//! All columns have one value a step. A step in which a value is not known is `null` in the column,
//! and the column's name has the reason in `unknown`; a column of which nothing is known is `null`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::unknowns::Unknowns;
use crate::plan::CourseUnit;
use crate::stats;

/// One value a step; `null` where that step has none.
pub type Column = Vec<Option<f64>>;

/// The load over time, in at most 300 steps of equal length; one value a step in each column.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// Length of a step; the last may be shorter.
    pub step_s: f64,
    /// Length of all steps; the last ends here.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// Wall time at which the first step begins, RFC 3339, UTC.
    #[serde(default)]
    pub started_at: Option<String>,
    /// What `planned` and `achieved` count: `users` or `requests_per_second`.
    pub unit: Option<String>,
    /// Whether the plan changes over time.
    pub varies: bool,
    /// The plan's mean over the step.
    pub planned: Option<Vec<f64>>,
    /// Users at work or pausing; in an open loop, requests sent per second.
    pub achieved: Option<Vec<f64>>,
    /// Mean number of requests in flight.
    pub in_flight: Vec<f64>,
    /// Requests sent.
    pub started: Vec<u64>,
    /// Requests that ended well.
    pub completed: Vec<u64>,
    /// Requests that ended badly.
    pub failed: Vec<u64>,
    /// Generated tokens of completed requests, evenly between first and last content.
    pub output_tokens: Option<Vec<f64>>,
    /// The same per second.
    #[serde(default)]
    pub output_tokens_per_second: Option<Vec<f64>>,
    /// Median TTFT of the completed requests whose first content came in the step.
    #[serde(default)]
    pub ttft_ms_p50: Option<Column>,
    /// Their 95th percentile; needs 20 values in the step.
    #[serde(default)]
    pub ttft_ms_p95: Option<Column>,
    /// Their largest.
    #[serde(default)]
    pub ttft_ms_max: Option<Column>,
    /// Median of the gaps between content deltas that ended in the step, of completed requests.
    #[serde(default)]
    pub itl_ms_p50: Option<Column>,
    /// Their 95th percentile; needs 20 values in the step.
    #[serde(default)]
    pub itl_ms_p95: Option<Column>,
    /// Their largest.
    #[serde(default)]
    pub itl_ms_max: Option<Column>,
    /// Requests at work in the server over its slots, 0 to 1.
    #[serde(default)]
    pub slots_busy_ratio: Option<Column>,
    /// The server's own `/metrics`, by name; those without labels, and no buckets.
    #[serde(default)]
    pub server_metrics: BTreeMap<String, MetricColumn>,
    /// What processes, machine and graphics processors did.
    #[serde(default)]
    pub resources: Option<ResourceColumns>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// One metric of the server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MetricColumn {
    /// Whether `values` is the growth of a counter per second; else the value itself, which holds
    /// from one scrape to the next.
    pub per_second: bool,
    /// Mean over the step.
    pub values: Column,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// What was used over time, from samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ResourceColumns {
    /// Seconds between two samples.
    pub interval_s: f64,
    /// Samples that were taken.
    pub samples: u64,
    /// The server's processes together; `null` where they are not ours.
    pub server: Option<ProcessColumns>,
    /// This process.
    pub client: Option<ProcessColumns>,
    /// The whole machine.
    pub machine: Option<MachineColumns>,
    /// Each graphics processor that NVML knows, in its order; `null` where it cannot be asked.
    pub gpus: Option<Vec<GpuColumns>>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// Processes over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProcessColumns {
    /// Processor seconds per second, user and system.
    pub cpu_cores: Option<Column>,
    /// Resident memory.
    pub rss_bytes: Option<Column>,
    /// Largest resident memory so far.
    pub rss_peak_bytes: Option<Column>,
    /// Threads.
    pub threads: Option<Column>,
    /// Page faults that needed no disk.
    pub minor_faults_per_second: Option<Column>,
    /// Page faults that did.
    pub major_faults_per_second: Option<Column>,
    /// Bytes fetched from storage.
    pub read_bytes_per_second: Option<Column>,
    /// Bytes sent to storage.
    pub written_bytes_per_second: Option<Column>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// The machine over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MachineColumns {
    /// The system's load average over one minute.
    pub load_average: Option<Column>,
    /// Share of all processors' time that was not idle.
    pub cpu_busy_ratio: Option<Column>,
    /// Share of all processors' time that the hypervisor gave to others.
    pub steal_ratio: Option<Column>,
    /// Mean clock of the processors, of at most 16 of them.
    pub cpu_frequency_mhz: Option<Column>,
    /// Times a second that a core was slowed down for its heat, of at most 16 processors.
    pub thermal_throttles_per_second: Option<Column>,
    /// Seconds per second that this control group was held back for its quota.
    pub quota_throttled_ratio: Option<Column>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// A graphics processor over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct GpuColumns {
    /// NVML's number of it, from 0.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Share of the time in which anything ran on it, 0 to 1.
    pub utilization_ratio: Option<Column>,
    /// Memory in use, by anybody.
    pub memory_used_bytes: Option<Column>,
    /// Power drawn.
    pub power_w: Option<Column>,
    /// Temperature.
    pub temperature_c: Option<Column>,
    /// Clock of its multiprocessors.
    pub sm_clock_mhz: Option<Column>,
    /// Clock of its memory.
    pub memory_clock_mhz: Option<Column>,
    /// Why a field of this object is `null`.
    #[serde(default, skip_serializing_if = "Unknowns::is_empty")]
    pub unknown: Unknowns,
}

/// With three decimals: what is drawn needs no more, and a report is read by people too.
fn column(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| (value * 1e3).round() / 1e3).collect()
}

impl From<&stats::Timeline> for Timeline {
    fn from(line: &stats::Timeline) -> Self {
        let mut unknown = Unknowns::none();
        Self {
            step_s: line.step.as_secs_f64(),
            unit: Some(
                match line.unit {
                    CourseUnit::Users => "users",
                    CourseUnit::RequestsPerSecond => "requests_per_second",
                }
                .to_owned(),
            ),
            varies: line.varies,
            planned: Some(column(&line.planned)),
            achieved: Some(column(&line.achieved)),
            in_flight: column(&line.in_flight),
            started: line.started.clone(),
            completed: line.completed.clone(),
            failed: line.failed.clone(),
            output_tokens: unknown
                .take("output_tokens", line.output_tokens.clone())
                .map(|tokens| column(&tokens)),
            unknown,
            ..Self::default()
        }
    }
}
