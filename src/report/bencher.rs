//! Bencher Metric Format (BMF): what `bencher run --adapter json` takes.
//!
//! Main function: [`render`]. One benchmark a run, a measure a figure, with the 95 % interval as its
//! lower and upper value. Source: Bencher's reference, page "Bencher Metric Format".

use serde_json::{Map, Value, json};

use super::escape::clean;
use super::figures::{figures, is_evidence, title};
use crate::artifact::Report;

/// The longest name of a benchmark.
const MAX_NAME: usize = 1024;

/// Bencher strips it from the name, and raises no alert for the benchmark.
const NO_ALERT: &str = "-bencher-ignore";

/// The text. A run without a figure is no benchmark; one that is not evidence raises no alert.
#[must_use]
pub fn render(report: &Report) -> String {
    let measures: Map<String, Value> = figures(report)
        .into_iter()
        .map(|figure| {
            let metric = match figure.interval {
                Some([low, high]) => {
                    json!({"value": figure.value, "lower_value": low, "upper_value": high})
                }
                None => json!({"value": figure.value}),
            };
            (figure.name, metric)
        })
        .collect();
    let suffix = if is_evidence(report) { "" } else { NO_ALERT };
    let name: String = clean(&title(report)).chars().take(MAX_NAME - suffix.len()).collect();
    let mut benchmarks = Map::new();
    if !measures.is_empty() {
        benchmarks.insert(name + suffix, Value::Object(measures));
    }
    super::pretty(&Value::Object(benchmarks))
}
