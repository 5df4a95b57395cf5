//! The figures of a run that other tools keep over time: each a name, a unit and a number.
//!
//! Main function: [`figures`]. What is not known is absent, never 0. Which of them a verdict is made of
//! is `compare`'s, and not said here.

use serde::Serialize;

use super::markdown::shown;
use crate::artifact::{Report, RunStatus};
use crate::exit::ExitCode;
use crate::stats::{Better, ServerKind};

/// One number of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The public name of the metric, with the statistic where it is one: `ttft_ms_p50`.
    #[serde(rename = "metric")]
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// Finite.
    pub value: f64,
    /// 95 % interval within this run, low end first; it knows nothing of the luck of a server's start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Values that it was made of.
    pub count: u64,
}

/// Rates, then mean, p50, p95 and p99 of each metric of the report's main table, then how many requests
/// failed. Empty where nothing was measured.
#[must_use]
pub fn figures(report: &Report) -> Vec<Figure> {
    let mut found = Vec::new();
    let completed = report.requests.completed;
    let mut add = |name: String, unit: &str, better, value: Option<f64>, interval, count| {
        let finite = |ends: &[f64; 2]| ends.iter().all(|end| end.is_finite());
        found.extend(value.filter(|value| value.is_finite()).map(|value| Figure {
            name,
            unit: unit.to_owned(),
            better,
            value,
            interval: Option::filter(interval, finite),
            count,
        }));
    };
    let rates = &report.rates.whole;
    for (name, unit, value) in [
        ("requests_per_second", "requests/s", rates.requests_per_second),
        ("output_tokens_per_second", "tokens/s", rates.output_tokens_per_second),
        ("prompt_tokens_per_second", "tokens/s", rates.prompt_tokens_per_second),
        ("total_tokens_per_second", "tokens/s", rates.total_tokens_per_second),
        ("embeddings_per_second", "embeddings/s", rates.embeddings_per_second),
        ("documents_per_second", "documents/s", rates.documents_per_second),
        ("goodput_requests_per_second", "requests/s", rates.goodput_requests_per_second),
    ] {
        add(name.to_owned(), unit, Better::Higher, value, None, completed);
    }
    for (metric, summary) in shown(report) {
        for (statistic, value, interval) in [
            ("mean", summary.mean, summary.ci95.mean),
            ("p50", summary.p50, summary.ci95.p50),
            ("p95", summary.p95, summary.ci95.p95),
            ("p99", summary.p99, None),
        ] {
            let name = format!("{}_{statistic}", metric.name);
            add(name, &summary.unit, summary.better, value, interval, summary.count);
        }
    }
    if report.requests.planned > 0 {
        let failed = Some(report.requests.failed as f64);
        let planned = report.requests.planned;
        add("requests_failed".to_owned(), "requests", Better::Lower, failed, None, planned);
    }
    found
}

/// Whether its numbers may stand as a point of a series. A crossed threshold is no reason against them.
pub(super) fn is_evidence(report: &Report) -> bool {
    let good = [ExitCode::Ok.code(), ExitCode::Threshold.code()];
    report.run.status == RunStatus::Completed
        && report.client.valid
        && report.run.exit_code.is_some_and(|code| good.contains(&code))
}

/// Name and scenario, as other tools call the benchmark; a simulated one says so.
pub(super) fn title(report: &Report) -> String {
    let simulated = match report.server.kind {
        ServerKind::Sim => " (simulator)",
        _ => "",
    };
    format!("{}/{}{simulated}", report.run.name, report.scenario.name)
}

/// Program and arguments' value: the last one of a flag, as the server itself would take it.
pub(super) fn value_of<'a>(command: &'a [String], flags: &[&str]) -> Option<&'a str> {
    let with_value = |word: &'a String| {
        let (name, value) = word.split_once('=')?;
        flags.contains(&name).then_some(value)
    };
    let position = command
        .iter()
        .rposition(|word| flags.contains(&word.as_str()) || with_value(word).is_some())?;
    with_value(&command[position]).or_else(|| command.get(position + 1).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_given_twice_counts_as_the_last() {
        let command = ["llama-server", "-c", "1", "--ctx-size=2"].map(str::to_owned);
        assert_eq!(value_of(&command, &["--ctx-size", "-c"]), Some("2"));
        assert_eq!(value_of(&command[..3], &["--ctx-size", "-c"]), Some("1"));
        assert_eq!(value_of(&command[..2], &["-c"]), None);
    }
}
