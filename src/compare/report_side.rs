//! A trial from a `report.json`.
//!
//! Main functions: [`trial`] and [`figures`]; the history keeps the same figures.

use std::collections::BTreeMap;

use super::side::{Fact, Figure, Source, Trial, What};
use crate::artifact::{Report, RunStatus};
use crate::stats::{Better, Metric, metric};
use crate::verdict::{Role, Work};

/// What a run of bench-ci brings into a comparison. `file` is for people.
#[must_use]
pub fn trial(file: &str, report: &Report) -> Trial {
    let mut doubts: Vec<String> =
        report.client.reasons.iter().map(|note| note.message.clone()).collect();
    match report.run.status {
        RunStatus::Completed => {}
        RunStatus::Partial => doubts.push("the run did not come to its end".to_owned()),
        RunStatus::Failed => doubts.push("the run ended before anything was measured".to_owned()),
    }
    if !report.client.valid && doubts.is_empty() {
        doubts.push("the report says that its numbers are not evidence".to_owned());
    }
    Trial {
        file: file.to_owned(),
        source: Source::BenchCi,
        id: Some(report.run.id.clone()),
        started_at: Some(report.run.started_at.clone()),
        commit: report.run.commit.clone(),
        facts: facts(report),
        doubts,
        work: Some(Work {
            requests: report.requests.started,
            failed: report.requests.failed,
            prompt_tokens: report.reconciliation.tokens.usage_prompt_tokens,
            output_tokens: report.reconciliation.tokens.usage_completion_tokens,
        }),
        figures: figures(report),
    }
}

fn facts(report: &Report) -> BTreeMap<What, Fact> {
    let mut facts = BTreeMap::new();
    facts.insert(What::Server, Fact::plain(report.server.kind.name()));
    if let Some(model) = &report.model {
        let value = model.sha256.clone().or_else(|| {
            // Without a digest a name is better than nothing, and never equal to a digest.
            model.file.as_ref().map(|file| format!("file {file}"))
        });
        if let Some(value) = value {
            let digest = model.sha256.as_deref().map(|digest| first(digest, 12));
            let name = model.file.as_deref().unwrap_or(&model.source);
            let shown =
                digest.map_or_else(|| name.to_owned(), |digest| format!("{name} ({digest})"));
            facts.insert(What::Model, Fact { value, shown });
        }
    }
    if let Some(hash) = &report.scenario.workload_hash {
        let shown = format!("{} ({})", report.scenario.name, first(hash, 12));
        facts.insert(What::Workload, Fact { value: hash.clone(), shown });
    }
    if let Some(fingerprint) = &report.machine.fingerprint {
        let cpu = report.machine.cpu_model.as_deref().unwrap_or("unknown processor");
        let cores = report.machine.cores.map_or_else(String::new, |cores| format!(" × {cores}"));
        let gpus: String =
            report.machine.gpus.iter().map(|gpu| format!(", {}", gpu.name)).collect();
        let shown = format!("{cpu}{cores}{gpus} ({fingerprint})");
        facts.insert(What::Machine, Fact { value: fingerprint.clone(), shown });
    }
    if !report.server.command.is_empty() {
        let flags = server_flags(&report.server.command).join(" ");
        let shown = if flags.is_empty() { "none".to_owned() } else { flags.clone() };
        facts.insert(What::Flags, Fact { value: flags, shown });
    }
    let version = &report.tool.version;
    facts.insert(What::Tool, Fact { value: major(version), shown: version.clone() });
    facts
}

/// The part of a version within which figures keep their meaning.
#[must_use]
pub fn major(version: &str) -> String {
    version.split('.').next().unwrap_or(version).to_owned()
}

/// What the server was started with, without what differs between any two starts: program, address,
/// and where on this machine the model, logs and slots lie. The model itself is known by its digest.
#[must_use]
pub fn server_flags(command: &[String]) -> Vec<String> {
    /// Flags whose value belongs to one start or one machine.
    const WITH_VALUE: &[&str] = &[
        "--host",
        "--port",
        "-m",
        "--model",
        "-mu",
        "--model-url",
        "-hf",
        "--hf-repo",
        "-a",
        "--alias",
        "--api-key",
        "--api-key-file",
        "--log-file",
        "--slot-save-path",
    ];
    /// Those that bench-ci sets wherever the server knows them; they change no speed.
    const OURS: &[&str] = &["--metrics", "--slots"];
    let mut kept = Vec::new();
    let mut words = command.iter().skip(1).peekable();
    if command.get(1).is_some_and(|word| word == "sim") {
        words.next();
    }
    while let Some(word) = words.next() {
        let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
        if WITH_VALUE.contains(&name) {
            if name == word.as_str() {
                words.next();
            }
        } else if !OURS.contains(&name) {
            kept.push(word.clone());
        }
    }
    kept
}

/// The figures that are compared, in the order of reports. Those that are not known are absent.
#[must_use]
pub fn figures(report: &Report) -> Vec<Figure> {
    let mut found = Vec::new();
    let rates = &report.rates.whole;
    let rate = |metric: &str, unit: &str, role, value: Option<f64>| {
        value.filter(|value| value.is_finite()).map(|value| Figure {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            better: Better::Higher,
            role,
            value,
            interval: None,
            count: Some(report.requests.completed),
        })
    };
    // Prompt and total tokens per second are those of the same requests in the same window: they
    // move with this one and would only be counted twice.
    found.extend(rate(
        "output_tokens_per_second",
        "tokens/s",
        Role::Gate,
        rates.output_tokens_per_second,
    ));
    found.extend(rate(
        "requests_per_second",
        "requests/s",
        Role::Observe,
        rates.requests_per_second,
    ));
    for (metric, role) in SHOWN {
        let Some(summary) = report.metrics.get(metric.name) else { continue };
        // The fast tail of a rate says nothing; the slow tail of a latency needs many requests.
        let tail = summary.better == Better::Lower && summary.count >= LEAST_FOR_P95;
        let percentiles = [
            ("p50", summary.p50, summary.ci95.p50, role),
            ("p95", summary.p95.filter(|_| tail), summary.ci95.p95, Role::Observe),
        ];
        for (name, value, interval, role) in percentiles {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            found.push(Figure {
                metric: format!("{}_{name}", metric.name),
                unit: metric.unit.to_owned(),
                better: metric.better,
                role,
                value,
                interval: interval.filter(|ends| ends.iter().all(|end| end.is_finite())),
                count: Some(summary.count),
            });
        }
    }
    found
}

/// Values that a 95th percentile needs before it is compared: twenty beyond it.
const LEAST_FOR_P95: u64 = 400;

/// Metrics of a request whose p50 and p95 are compared, and the role of the p50.
const SHOWN: [(&Metric, Role); 6] = [
    (&metric::TTFT_MS, Role::Gate),
    (&metric::ITL_MS, Role::Gate),
    (&metric::TPOT_MS, Role::Observe),
    (&metric::E2E_MS, Role::Observe),
    (&metric::DECODE_TOKENS_PER_SECOND, Role::Observe),
    (&metric::PREFILL_TOKENS_PER_SECOND, Role::Observe),
];

fn first(digest: &str, digits: usize) -> &str {
    digest.get(..digits).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_those_that_another_start_would_have_too() {
        let command = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let flags = |words| server_flags(&command(words)).join(" ");
        assert_eq!(
            flags("llama-server -m a.gguf --host 127.0.0.1 --port 4 -np 2 --metrics -fa on"),
            "-np 2 -fa on"
        );
        assert_eq!(flags("bench-ci sim --port=17 --sim-seed 3 --slots"), "--sim-seed 3");
        assert_eq!(flags("llama-server"), "");
    }
}
