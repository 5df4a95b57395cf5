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
    /// Generated tokens of completed requests, evenly between first and last content; of an answer in one
    /// piece at its end.
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
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

fn column(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| rounded(*value)).collect()
}

/// A column as it is written, with the reason for its gaps under its name; `None`, with that reason,
/// if it has nothing else.
pub(crate) fn column_with_gaps(
    unknown: &mut Unknowns,
    name: &str,
    values: &stats::Column,
    why: &str,
) -> Option<Column> {
    let value = |value: &Option<f64>| value.filter(|value| value.is_finite()).map(rounded);
    let column: Column = values.iter().map(value).collect();
    let missing = column.iter().filter(|value| value.is_none()).count();
    if missing == column.len() {
        unknown.note(name, why);
        return None;
    }
    if missing > 0 {
        unknown.note(name, format!("{missing} of {} steps: {why}", column.len()));
    }
    Some(column)
}

impl From<&stats::Timeline> for Timeline {
    fn from(line: &stats::Timeline) -> Self {
        // Destructured so that a new column cannot be forgotten here.
        let stats::Timeline {
            steps,
            course,
            in_flight,
            started,
            completed,
            failed,
            output_tokens,
            output_tokens_per_second,
            ttft_ms,
            itl_ms,
        } = line;
        let mut unknown = Unknowns::none();
        let course = course.as_ref();
        if let Err(reason) = course {
            for field in ["unit", "planned", "achieved"] {
                unknown.note(field, reason.reason());
            }
        }
        let course = course.ok();
        let unit = |course: &stats::CourseColumns| match course.unit {
            CourseUnit::Users => "users".to_owned(),
            CourseUnit::RequestsPerSecond => "requests_per_second".to_owned(),
        };
        let mut known = |name: &str, found: &stats::Known<Vec<f64>>| {
            unknown.take(name, found.clone()).map(|values| column(&values))
        };
        let output_tokens = known("output_tokens", output_tokens);
        let output_tokens_per_second = known("output_tokens_per_second", output_tokens_per_second);
        let mut band = |name: &str, values: &stats::Column, why: &str| {
            column_with_gaps(&mut unknown, name, values, why)
        };
        let (no_content, no_gap) = ("no first content came", "no gap between deltas ended");
        let too_few = "needs 20 values";
        Self {
            step_s: steps.step().as_secs_f64(),
            duration_s: Some(steps.length().as_secs_f64()),
            started_at: None,
            unit: course.map(unit),
            varies: course.is_some_and(|course| course.varies),
            planned: course.map(|course| column(&course.planned)),
            achieved: course.map(|course| column(&course.achieved)),
            in_flight: column(in_flight),
            started: started.clone(),
            completed: completed.clone(),
            failed: failed.clone(),
            output_tokens,
            output_tokens_per_second,
            ttft_ms_p50: band("ttft_ms_p50", &ttft_ms.p50, no_content),
            ttft_ms_p95: band("ttft_ms_p95", &ttft_ms.p95, too_few),
            ttft_ms_max: band("ttft_ms_max", &ttft_ms.max, no_content),
            itl_ms_p50: band("itl_ms_p50", &itl_ms.p50, no_gap),
            itl_ms_p95: band("itl_ms_p95", &itl_ms.p95, too_few),
            itl_ms_max: band("itl_ms_max", &itl_ms.max, no_gap),
            slots_busy_ratio: None,
            server_metrics: BTreeMap::new(),
            resources: None,
            unknown,
        }
    }
}
