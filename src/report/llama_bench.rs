//! llama-bench's `-o jsonl` and `-o sql`: a row for prefill and a row for decode, in its own fields.
//!
//! Main functions: [`jsonl`] and [`sql`]. llama-bench repeats one test in an idle process; here each
//! completed request of a server under load is one repetition, and lengths are the means of what was
//! sent, rounded. What a report does not know is `null`. Fields, order and types are those that
//! llama-bench b11434 printed.

use std::borrow::Borrow;

use serde_json::{Map, Value, json};

use super::escape::clean;
use super::figures::value_of;
use crate::artifact::{Report, RequestRow};
use crate::stats::ServerKind;

/// One object a line, with the samples.
#[must_use]
pub fn jsonl(report: &Report, rows: &[impl Borrow<RequestRow>]) -> String {
    tests(report, rows)
        .into_iter()
        .map(|test| {
            let mut object = fields(report, &test);
            object.insert("samples_ns".to_owned(), json!(test.samples_ns));
            object.insert("samples_ts".to_owned(), json!(test.samples_ts));
            Value::Object(object).to_string() + "\n"
        })
        .collect()
}

/// The table and an `INSERT` for each test; without a test the table alone.
#[must_use]
pub fn sql(report: &Report, rows: &[impl Borrow<RequestRow>]) -> String {
    let columns: Vec<String> =
        COLUMNS.iter().map(|(name, kind)| format!("  {name} {kind}")).collect();
    let mut text =
        format!("CREATE TABLE IF NOT EXISTS llama_bench (\n{}\n);\n\n", columns.join(",\n"));
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    for test in tests(report, rows) {
        let values: Vec<String> = fields(report, &test).values().map(literal).collect();
        text.push_str(&format!(
            "INSERT INTO llama_bench ({}) VALUES ({});\n",
            names.join(", "),
            values.join(", ")
        ));
    }
    text
}

/// A literal of SQL. Everything that is known is quoted, as llama-bench does; the column's type makes
/// a number of it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(truth) => format!("'{}'", u8::from(*truth)),
        Value::String(text) => format!("'{}'", clean(text).replace('\'', "''")),
        other => format!("'{other}'"),
    }
}

const COLUMNS: [(&str, &str); 42] = [
    ("build_commit", "TEXT"),
    ("build_number", "INTEGER"),
    ("cpu_info", "TEXT"),
    ("gpu_info", "TEXT"),
    ("backends", "TEXT"),
    ("model_filename", "TEXT"),
    ("model_type", "TEXT"),
    ("model_size", "INTEGER"),
    ("model_n_params", "INTEGER"),
    ("n_batch", "INTEGER"),
    ("n_ubatch", "INTEGER"),
    ("n_threads", "INTEGER"),
    ("cpu_mask", "TEXT"),
    ("cpu_strict", "INTEGER"),
    ("poll", "INTEGER"),
    ("type_k", "TEXT"),
    ("type_v", "TEXT"),
    ("n_gpu_layers", "INTEGER"),
    ("n_cpu_moe", "INTEGER"),
    ("split_mode", "TEXT"),
    ("main_gpu", "INTEGER"),
    ("no_kv_offload", "INTEGER"),
    ("flash_attn", "INTEGER"),
    ("devices", "TEXT"),
    ("tensor_split", "TEXT"),
    ("tensor_buft_overrides", "TEXT"),
    ("load_mode", "TEXT"),
    ("lazy_mode", "TEXT"),
    ("embeddings", "INTEGER"),
    ("no_op_offload", "INTEGER"),
    ("no_host", "INTEGER"),
    ("repack", "INTEGER"),
    ("fit_target", "INTEGER"),
    ("fit_min_ctx", "INTEGER"),
    ("n_prompt", "INTEGER"),
    ("n_gen", "INTEGER"),
    ("n_depth", "INTEGER"),
    ("test_time", "TEXT"),
    ("avg_ns", "INTEGER"),
    ("stddev_ns", "INTEGER"),
    ("avg_ts", "REAL"),
    ("stddev_ts", "REAL"),
];

/// Prefill or decode of all requests; at least one sample.
struct Test {
    n_prompt: u64,
    n_gen: u64,
    n_depth: u64,
    samples_ns: Vec<u64>,
    samples_ts: Vec<f64>,
}

fn tests(report: &Report, rows: &[impl Borrow<RequestRow>]) -> Vec<Test> {
    let completed = || {
        let measured = |row: &&RequestRow| row.phase == "measured" && row.outcome == "completed";
        rows.iter().map(Borrow::borrow).filter(measured)
    };
    let mut tests = Vec::new();
    let prefills: Vec<(&RequestRow, f64, f64)> = completed()
        .filter_map(|row| Some((row, row.prefill_ms? * 1e6, row.prefill_tokens_per_second?)))
        .collect();
    let cached = |row: &RequestRow| row.cached_tokens.unwrap_or(0);
    if !prefills.is_empty() {
        let evaluated =
            |row: &RequestRow| row.prompt_tokens.unwrap_or(0).saturating_sub(cached(row));
        tests.push(Test {
            n_prompt: rounded_mean(&prefills, evaluated),
            n_gen: 0,
            n_depth: rounded_mean(&prefills, cached),
            samples_ns: prefills.iter().map(|(_, ns, _)| ns.round() as u64).collect(),
            samples_ts: prefills.iter().map(|(_, _, rate)| *rate).collect(),
        });
    }
    let decodes: Vec<(&RequestRow, f64, f64)> = completed()
        .filter_map(|row| {
            let seconds = row.last_content_s? - row.first_content_s?;
            Some((row, seconds * 1e9, row.decode_tokens_per_second?))
        })
        .collect();
    if !decodes.is_empty() {
        tests.push(Test {
            n_prompt: 0,
            n_gen: rounded_mean(&decodes, |row| row.completion_tokens.unwrap_or(0)),
            // It decodes behind its prompt, which llama-bench calls depth.
            n_depth: rounded_mean(&decodes, |row| row.prompt_tokens.unwrap_or(0)),
            samples_ns: decodes.iter().map(|(_, ns, _)| ns.round() as u64).collect(),
            samples_ts: decodes.iter().map(|(_, _, rate)| *rate).collect(),
        });
    }
    // A route without tokens has neither.
    if report.requests.completed == 0 { Vec::new() } else { tests }
}

fn rounded_mean(rows: &[(&RequestRow, f64, f64)], of: impl Fn(&RequestRow) -> u64) -> u64 {
    let sum = rows.iter().map(|(row, ..)| of(row)).fold(0, u64::saturating_add);
    (sum as f64 / rows.len() as f64).round() as u64
}

/// The row without its samples: every column, in order.
fn fields(report: &Report, test: &Test) -> Map<String, Value> {
    let command = &report.server.command;
    let model = report.model.as_ref();
    let gguf = model.and_then(|model| model.gguf.as_ref());
    let number = |flags: &[&str]| value_of(command, flags)?.parse::<i64>().ok();
    let word = |flags: &[&str]| value_of(command, flags).map(str::to_owned);
    let flash_attention = word(&["--flash-attn", "-fa"]).and_then(|word| match word.as_str() {
        "on" | "1" => Some(1),
        "off" | "0" => Some(0),
        "auto" => Some(-1),
        _ => None,
    });
    let (build_number, build_commit) = build(report.server.version.as_deref());
    let gpus: Vec<&str> = report.machine.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let kind = gguf.and_then(|gguf| {
        let words = [gguf.architecture.as_deref(), gguf.quantization.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(" "))
    });
    let simulator = (report.server.kind == ServerKind::Sim).then_some("none: bench-ci's simulator");
    let ns: Vec<f64> = test.samples_ns.iter().map(|ns| *ns as f64).collect();
    let [(avg_ns, stddev_ns), (avg_ts, stddev_ts)] = [spread(&ns), spread(&test.samples_ts)];
    let known = [
        ("build_commit", json!(build_commit)),
        ("build_number", json!(build_number)),
        ("cpu_info", json!(report.machine.cpu_model)),
        ("gpu_info", json!(gpus.join(", "))),
        ("backends", json!(simulator)),
        ("model_filename", json!(model.and_then(|model| model.file.as_ref()))),
        ("model_type", json!(kind)),
        ("model_size", json!(model.and_then(|model| model.size_bytes))),
        ("model_n_params", json!(gguf.and_then(|gguf| gguf.parameters))),
        ("n_batch", json!(number(&["--batch-size", "-b"]))),
        ("n_ubatch", json!(number(&["--ubatch-size", "-ub"]))),
        ("n_threads", json!(number(&["--threads", "-t"]))),
        ("type_k", json!(word(&["--cache-type-k", "-ctk"]))),
        ("type_v", json!(word(&["--cache-type-v", "-ctv"]))),
        ("n_gpu_layers", json!(number(&["--n-gpu-layers", "--gpu-layers", "-ngl"]))),
        ("split_mode", json!(word(&["--split-mode", "-sm"]))),
        ("main_gpu", json!(number(&["--main-gpu", "-mg"]))),
        ("flash_attn", json!(flash_attention)),
        ("n_prompt", json!(test.n_prompt)),
        ("n_gen", json!(test.n_gen)),
        ("n_depth", json!(test.n_depth)),
        ("test_time", json!(report.run.started_at)),
        ("avg_ns", json!(avg_ns.round() as u64)),
        ("stddev_ns", json!(stddev_ns.map(|spread| spread.round() as u64))),
        ("avg_ts", json!(avg_ts)),
        ("stddev_ts", json!(stddev_ts)),
    ];
    COLUMNS
        .iter()
        .map(|(name, _)| {
            let found = known.iter().find(|(known, _)| known == name);
            ((*name).to_owned(), found.map_or(Value::Null, |(_, value)| value.clone()))
        })
        .collect()
}

/// Mean and sample standard deviation; of one value there is no deviation.
fn spread(values: &[f64]) -> (f64, Option<f64>) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt()))
}

/// llama-server calls itself `b4242` or `version: 4242 (abcdef12)`.
fn build(version: Option<&str>) -> (Option<u64>, Option<String>) {
    let is_hex = |word: &str| word.len() >= 7 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = || version.into_iter().flat_map(|version| version.split([' ', ',', '-', ':']));
    let number = words().find_map(|word| word.strip_prefix('b').unwrap_or(word).parse().ok());
    let commit = words()
        .map(|word| word.trim_matches(['(', ')']))
        .find(|word| is_hex(word) && word.parse::<u64>().is_err());
    (number, commit.map(str::to_owned))
}

#[cfg(test)]
mod tests_of_words {
    use super::*;

    #[test]
    fn a_build_is_told_in_two_ways() {
        assert_eq!(build(Some("b4242")), (Some(4242), None));
        assert_eq!(
            build(Some("version: 4242 (abcdef12)")),
            (Some(4242), Some("abcdef12".to_owned()))
        );
        assert_eq!(build(Some("b11434-8cf427ff")), (Some(11434), Some("8cf427ff".to_owned())));
        assert_eq!(build(Some("vLLM 0.9.1")), (None, None));
        assert_eq!(build(None), (None, None));
    }

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal(&json!("a'); DROP TABLE x; --")), "'a''); DROP TABLE x; --'");
        assert_eq!(literal(&Value::Null), "NULL");
        assert_eq!(literal(&json!(true)), "'1'");
        assert_eq!(literal(&json!(1.5)), "'1.5'");
    }
}
