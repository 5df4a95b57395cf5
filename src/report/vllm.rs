//! The JSON of `vllm bench serve --save-result --save-detailed`, which its plots and scripts read.
//!
//! Main function: [`render`]. Names and units are those of `vllm/benchmarks/serve.py`: latencies of
//! the whole in milliseconds, those of a request in seconds. The lists have one entry a request that
//! was sent. What vLLM fills with 0 or an empty text where a request failed is `null` here. No instant
//! of each token is stored, so that every entry of `itls` is empty, and `mean_itl_ms` and its kin come
//! from the report; answers are not stored, so that `generated_texts` holds `null`.

use std::borrow::Borrow;

use serde_json::{Map, Value, json};

use super::figures::value_of;
use crate::artifact::{MetricSummary, Report, RequestRow, unix_s};
use crate::load::FailureKind;
use crate::plan::Endpoint;
use crate::stats::{ServerKind, metric};

/// The text: one object in one line, as vLLM writes it.
#[must_use]
pub fn render(report: &Report, rows: &[impl Borrow<RequestRow>]) -> String {
    let mut sent: Vec<&RequestRow> = rows
        .iter()
        .map(Borrow::borrow)
        .filter(|row| row.phase == "measured" && row.written_s.is_some())
        .collect();
    sent.sort_by(|one, other| {
        one.written_s.unwrap_or(0.0).total_cmp(&other.written_s.unwrap_or(0.0))
    });
    let mut object = head(report);
    let completed: Vec<&RequestRow> =
        sent.iter().copied().filter(|row| row.outcome == "completed").collect();
    let total = |of: fn(&RequestRow) -> Option<u64>| -> Option<u64> {
        let add = |sum: u64, row: &&RequestRow| Some(sum.saturating_add(of(row)?));
        if completed.is_empty() { None } else { completed.iter().try_fold(0, add) }
    };
    let rates = &report.rates.whole;
    let seconds = |milliseconds: Option<f64>| milliseconds.map(|value| value / 1e3);
    let list =
        |of: &dyn Fn(&RequestRow) -> Value| -> Value { sent.iter().map(|row| of(row)).collect() };
    let results = [
        ("duration", json!(report.rates.window.map(|window| window.duration_s))),
        ("completed", json!(report.requests.completed)),
        ("failed", json!(report.requests.failed)),
        ("total_input_tokens", json!(total(|row| row.prompt_tokens))),
        ("total_output_tokens", json!(total(|row| row.completion_tokens))),
        ("request_throughput", json!(rates.requests_per_second)),
        ("request_goodput", json!(rates.goodput_requests_per_second)),
        ("output_throughput", json!(rates.output_tokens_per_second)),
        ("total_token_throughput", json!(rates.total_tokens_per_second)),
        ("input_lens", list(&|row| json!(row.prompt_tokens))),
        ("output_lens", list(&|row| json!(row.completion_tokens))),
        ("ttfts", list(&|row| json!(seconds(row.ttft_ms)))),
        ("itls", list(&|_| json!([]))),
        ("start_times", list(&|row| json!(row.written_s))),
        ("generated_texts", list(&|_| Value::Null)),
        ("errors", list(&|row| json!(error(row)))),
        ("max_output_tokens_per_s", Value::Null),
        ("max_concurrent_requests", json!(most_in_flight(&sent))),
    ];
    object.extend(results.map(|(name, value)| (name.to_owned(), value)));
    for (name, metric) in [
        ("ttft", metric::TTFT_MS),
        ("tpot", metric::TPOT_MS),
        ("itl", metric::ITL_MS),
        ("e2el", metric::E2E_MS),
    ] {
        let summary = report.metrics.get(metric.name);
        let figure = |of: fn(&MetricSummary) -> Option<f64>| json!(summary.and_then(of));
        for (statistic, value) in [
            ("mean", figure(|summary| summary.mean)),
            ("median", figure(|summary| summary.p50)),
            ("std", figure(|summary| summary.stddev)),
            ("p99", figure(|summary| summary.p99)),
        ] {
            object.insert(format!("{statistic}_{name}_ms"), value);
        }
    }
    Value::Object(object).to_string() + "\n"
}

/// What was run, and, as vLLM's `--metadata` would add it, by what.
fn head(report: &Report) -> Map<String, Value> {
    // vLLM's names of what it asks.
    let backend = match report.scenario.endpoint {
        Endpoint::ChatCompletions => "openai-chat",
        Endpoint::Completions => "openai",
        Endpoint::LlamaCompletion => "llama.cpp",
        Endpoint::Embeddings => "openai-embeddings",
        Endpoint::V1Rerank | Endpoint::Rerank => "vllm-rerank",
    };
    let model = report.model.as_ref().and_then(|model| {
        let on_the_hub = model.hf_repo.clone().filter(|repo| !repo.is_empty());
        on_the_hub.or_else(|| model.file.clone())
    });
    let model =
        model.or_else(|| value_of(&report.server.command, &["--alias", "-a"]).map(str::to_owned));
    // vLLM writes a closed loop as an infinite rate.
    let rate = report.client.arrivals.map_or(json!("inf"), |found| json!(found.planned_per_second));
    let users = report.scenario.measured_phases().map(|phase| phase.users);
    let users = users.collect::<Option<Vec<u32>>>().and_then(|users| users.into_iter().max());
    let simulated = report.server.kind == ServerKind::Sim;
    let verdict = super::Verdict::of(report);
    [
        ("date", json!(date(&report.run.started_at))),
        ("endpoint_type", json!(backend)),
        ("backend", json!(backend)),
        ("label", json!(report.run.name)),
        ("model_id", json!(model)),
        ("tokenizer_id", Value::Null),
        ("num_prompts", json!(report.requests.planned)),
        ("tool", json!(format!("{} {}", report.tool.name, report.tool.version))),
        ("run_id", json!(report.run.id)),
        ("server", json!(report.server.kind.name())),
        ("simulator", json!(simulated)),
        ("outcome", json!(format!("{}: {}", verdict.word.text(), verdict.sentence))),
        ("request_rate", rate),
        ("burstiness", Value::Null),
        ("max_concurrency", json!(users)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect()
}

/// `20261122-061500`, in UTC; `None` of a date that is none.
fn date(started_at: &str) -> Option<String> {
    unix_s(started_at)?;
    let digits: String = started_at.chars().take(19).filter(char::is_ascii_digit).collect();
    Some(format!("{}-{}", digits.get(..8)?, digits.get(8..)?))
}

/// Empty for a completed request, as in vLLM.
fn error(row: &RequestRow) -> String {
    let kind = row.failure.map_or("", FailureKind::name);
    match (row.outcome.as_str(), &row.failure_detail) {
        ("completed", _) => String::new(),
        ("failed", Some(detail)) => format!("{kind}: {detail}"),
        ("failed", None) => kind.to_owned(),
        // Neither a success nor a failure.
        (other, _) => other.to_owned(),
    }
}

/// At the busiest instant; `None` where nothing was sent.
fn most_in_flight(sent: &[&RequestRow]) -> Option<u64> {
    let mut changes: Vec<(f64, i8)> = Vec::new();
    for row in sent {
        let last_seen = [row.end_s, row.finish_s, row.last_content_s, row.headers_s];
        // One that was cut without an end, as rows of older versions say it, is in flight until the end.
        let until =
            if row.outcome == "cut" { row.end_s } else { last_seen.into_iter().flatten().next() };
        changes.push((row.written_s?, 1));
        changes.push((until.unwrap_or(f64::INFINITY), -1));
    }
    changes.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        now += i64::from(change);
        most = most.max(now);
    }
    u64::try_from(most).ok().filter(|most| *most > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_vllm_writes_it() {
        assert_eq!(date("2026-11-22T06:15:00.25Z").as_deref(), Some("20261122-061500"));
        assert_eq!(date("yesterday"), None);
        assert_eq!(date(""), None);
    }
}
