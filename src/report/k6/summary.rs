//! k6's metrics at the end of a test, and the JSON of its `--summary-export`.
//!
//! Main types: [`Summary`] and [`Metric`]; [`summary_json`] is the text.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CHECK, Samples, Timing};
use crate::stats::quantile;

/// A metric as k6 exports it, by its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// Of many values; at least one.
    Trend {
        /// Arithmetic mean.
        avg: f64,
        /// Largest.
        max: f64,
        /// Median.
        med: f64,
        /// Smallest.
        min: f64,
        /// 90th percentile, whatever the number of values, as k6 gives it.
        p90: f64,
        /// 95th percentile.
        p95: f64,
    },
    /// A sum, and the sum per second of the test.
    Counter {
        /// The sum.
        count: f64,
        /// Per second.
        rate: f64,
    },
    /// The last value and its bounds.
    Gauge {
        /// Largest.
        max: f64,
        /// Smallest.
        min: f64,
        /// Last.
        value: f64,
    },
    /// How often something was true.
    Rate {
        /// False.
        fails: u64,
        /// True.
        passes: u64,
    },
}

impl Metric {
    fn trend(mut values: Vec<f64>) -> Option<Self> {
        // k6 adds in the order of arrival, so the sum is formed before sorting.
        let sum: f64 = values.iter().sum();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let at = |fraction| quantile::interpolated(&values, fraction);
        Some(Metric::Trend {
            avg: sum / values.len() as f64,
            max,
            med: at(0.5),
            min,
            p90: at(0.9),
            p95: at(0.95),
        })
    }

    /// k6's names and values, in the order of its file.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, f64)> {
        match *self {
            Metric::Trend { avg, max, med, min, p90, p95 } => vec![
                ("avg", avg),
                ("max", max),
                ("med", med),
                ("min", min),
                ("p(90)", p90),
                ("p(95)", p95),
            ],
            Metric::Counter { count, rate } => vec![("count", count), ("rate", rate)],
            Metric::Gauge { max, min, value } => vec![("max", max), ("min", min), ("value", value)],
            Metric::Rate { fails, passes } => vec![
                ("fails", fails as f64),
                ("passes", passes as f64),
                ("value", share(passes, fails)),
            ],
        }
    }

    /// One of its values by k6's name, such as `p(95)`.
    #[must_use]
    pub fn stat(&self, name: &str) -> Option<f64> {
        self.stats().into_iter().find(|(stat, _)| *stat == name).map(|(_, value)| value)
    }
}

fn share(passes: u64, fails: u64) -> f64 {
    if passes + fails == 0 { 0.0 } else { passes as f64 / (passes + fails) as f64 }
}

/// All metrics at the end. One without a sample is absent, as in k6.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    metrics: BTreeMap<&'static str, Metric>,
}

impl Summary {
    /// Of the samples of a run.
    #[must_use]
    pub fn of(samples: &Samples) -> Self {
        let iterations = &samples.iterations;
        let mut metrics = BTreeMap::new();
        let timings = || iterations.iter().filter_map(|iteration| iteration.timing.as_ref());
        let mut trend = |name: &'static str, values: Vec<f64>| {
            if let Some(trend) = Metric::trend(values) {
                metrics.insert(name, trend);
            }
        };
        let values = |of: fn(&Timing) -> Option<f64>| timings().filter_map(of).collect();
        trend("http_req_duration", values(|timing| Some(timing.request_ms)));
        // Twice each: the percentiles of doubled values are not those of the single ones.
        trend(
            "http_req_sending",
            timings().flat_map(|timing| [timing.sending_ms, timing.sending_ms]).collect(),
        );
        trend("iteration_duration", values(|timing| Some(timing.iteration_ms)));
        trend("llamacpp_emit_first_token_second", values(|timing| timing.first_token_s));
        trend(
            "llamacpp_prompt_processing_second",
            values(|timing| timing.prompt_tokens_per_second),
        );
        trend("llamacpp_tokens_second", values(|timing| timing.tokens_per_second));
        let completed = || iterations.iter().filter(|one| one.completed);
        let prompt: Vec<f64> =
            completed().filter_map(|one| one.prompt_tokens).map(|count| count as f64).collect();
        let completion: Vec<f64> =
            completed().filter_map(|one| one.completion_tokens).map(|count| count as f64).collect();
        let totals = [prompt.iter().sum::<f64>(), completion.iter().sum::<f64>()];
        let said = [!prompt.is_empty(), !completion.is_empty()];
        trend("llamacpp_prompt_tokens", prompt);
        trend("llamacpp_completion_tokens", completion);

        let mut counter = |name: &'static str, count: f64| {
            metrics.insert(name, Metric::Counter { count, rate: count / samples.measured_s });
        };
        counter("data_received", samples.bytes_received as f64);
        if !iterations.is_empty() {
            counter("http_reqs", iterations.len() as f64);
            counter("iterations", iterations.len() as f64);
        }
        if samples.dropped > 0 {
            counter("dropped_iterations", samples.dropped as f64);
        }
        for (name, (total, said)) in
            ["llamacpp_prompt_tokens_total_counter", "llamacpp_completion_tokens_total_counter"]
                .into_iter()
                .zip(totals.into_iter().zip(said))
        {
            if said {
                counter(name, total);
            }
        }

        let mut rate = |name: &'static str, passes: u64| {
            let fails = iterations.len() as u64 - passes;
            metrics.insert(name, Metric::Rate { fails, passes });
        };
        if !iterations.is_empty() {
            rate("checks", samples.completed());
            rate(TRUNCATED, completed().filter(|one| one.truncated).count() as u64);
            rate(STOPPED, completed().filter(|one| one.stopped).count() as u64);
        }

        let at_work = || samples.users_at_work.iter().map(|users| f64::from(*users));
        let users = f64::from(samples.users);
        metrics.insert(
            "vus",
            Metric::Gauge {
                max: at_work().fold(f64::MIN, f64::max),
                min: at_work().fold(f64::MAX, f64::min),
                value: at_work().next_back().unwrap_or(users),
            },
        );
        metrics.insert("vus_max", Metric::Gauge { max: users, min: users, value: users });
        Self { metrics }
    }

    /// All, by name, in the order of k6's file.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Metric)> {
        self.metrics.iter().map(|(name, metric)| (*name, metric))
    }

    /// One value, such as `http_req_duration`, `p(95)`; `None` where k6 would have no such metric.
    #[must_use]
    pub fn stat(&self, metric: &str, stat: &str) -> Option<f64> {
        self.metrics.get(metric)?.stat(stat)
    }
}

pub(super) const TRUNCATED: &str = "llamacpp_completions_truncated_rate";
pub(super) const STOPPED: &str = "llamacpp_completions_stop_rate";

/// The budget ended it. `limit` is the word of llama-server's own `/completion`.
pub(super) fn is_truncated(row: &crate::artifact::RequestRow) -> bool {
    matches!(row.finish_reason.as_deref(), Some("length" | "limit"))
}

/// The model ended it. `eos` and `word` are those of `/completion`.
pub(super) fn is_stopped(row: &crate::artifact::RequestRow) -> bool {
    matches!(row.finish_reason.as_deref(), Some("stop" | "eos" | "word"))
}

/// `script.js` ends the test where most answers are cut off by their budget.
const MAX_TRUNCATED: f64 = 0.8;
pub(super) const TRUNCATED_THRESHOLD: &str = "rate < 0.8";

/// MD5 of the empty text, k6's id of the root group, and of `::success completion`.
const ROOT_ID: &str = "d41d8cd98f00b204e9800998ecf8427e";
const CHECK_ID: &str = "0e109dc524ca078d1af1bce3ccb3c011";

/// The text of `k6-summary.json`: keys and their order as k6 writes them, indented by four.
#[must_use]
pub fn summary_json(summary: &Summary) -> String {
    let mut metrics = Map::new();
    for (name, metric) in summary.iter() {
        let mut stats = Map::new();
        for (stat, value) in metric.stats() {
            if (name, stat) == (TRUNCATED, "value") {
                // k6 wrote true for a threshold that was crossed.
                let crossed = value >= MAX_TRUNCATED;
                stats.insert("thresholds".to_owned(), json!({ TRUNCATED_THRESHOLD: crossed }));
            }
            stats.insert(stat.to_owned(), number(value));
        }
        metrics.insert(name.to_owned(), Value::Object(stats));
    }
    let mut checks = Map::new();
    if let Some(Metric::Rate { fails, passes }) = summary.metrics.get("checks") {
        let check = json!({
            "name": CHECK,
            "path": format!("::{CHECK}"),
            "id": CHECK_ID,
            "passes": passes,
            "fails": fails,
        });
        checks.insert(CHECK.to_owned(), check);
    }
    let document = json!({
        "metrics": metrics,
        "root_group": {"name": "", "path": "", "id": ROOT_ID, "groups": {}, "checks": checks},
    });
    let mut text = Vec::new();
    let four = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    document
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, four))
        .expect("a JSON value always has a text");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Go writes a whole number without decimals, and Python then reads it as an integer.
pub(super) fn number(value: f64) -> Value {
    if is_whole(value) { Value::from(value as i64) } else { Value::from(value) }
}

/// Whether k6's file holds it without decimals.
pub(in crate::report) fn is_whole(value: f64) -> bool {
    /// Up to here every whole number is exact.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.abs() <= EXACT && (value - value.trunc()).abs() <= 0.0
}
