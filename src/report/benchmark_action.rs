//! What github-action-benchmark takes with `tool: customSmallerIsBetter` and `customBiggerIsBetter`.
//!
//! Main function: [`render`]. An array of entries, each of a name, a unit, a value, and where known a
//! range and more words. The tool judges all entries of a file in one direction, so that a run is two
//! files. Source: the type `BenchmarkResult` of its `src/extract.ts`.

use serde_json::{Value, json};

use super::Verdict;
use super::escape::clean;
use super::figures::{figures, is_evidence, title};
use super::markdown::what_ran;
use super::number::short;
use crate::artifact::Report;
use crate::stats::Better;

/// The text: the figures of which `better` is the good direction, the others not.
#[must_use]
pub fn render(report: &Report, better: Better) -> String {
    let title = clean(&title(report));
    let verdict = Verdict::of(report);
    let mut about = what_ran(report);
    if !is_evidence(report) {
        about = format!("not evidence: {}\n{about}", verdict.sentence);
    }
    let about: Vec<String> = about.lines().map(clean).collect();
    let entries: Vec<Value> = figures(report)
        .into_iter()
        .filter(|figure| figure.better == better)
        .map(|figure| {
            let mut entry = json!({
                "name": format!("{title} {}", figure.name),
                "unit": figure.unit,
                "value": figure.value,
            });
            if let Some([low, high]) = figure.interval {
                entry["range"] = format!("95 % CI {} … {}", short(low), short(high)).into();
            }
            let of = format!("{} values", figure.count);
            entry["extra"] = [&about[..], &[of]].concat().join("\n").into();
            entry
        })
        .collect();
    super::pretty(&Value::Array(entries))
}
