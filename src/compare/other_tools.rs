//! Sides that other tools measured: k6's end-of-test summary and llama-bench's results.
//!
//! Main functions: [`k6_trial`] and [`llama_bench_trial`]. Only what the file holds becomes a figure.
//! Where k6's definition is not ours, the figure keeps k6's name, so that nothing is compared with
//! something else. Units: k6's trends of requests are in milliseconds, those of `script.js` whose
//! names end in `_second` in seconds or in tokens per second.

use std::collections::BTreeMap;

use serde_json::Value;

use super::side::{Fact, Figure, Source, Trial, What};
use crate::stats::{Better, quantile};
use crate::verdict::{Role, Work};

/// Whether this is k6's summary: `--summary-export` or the data of `handleSummary`.
#[must_use]
pub fn is_k6(value: &Value) -> bool {
    value.get("metrics").is_some_and(Value::is_object)
        && (value.get("root_group").is_some() || value["metrics"].get("iterations").is_some())
        && value.get("schema").is_none()
}

/// Of k6's summary.
#[must_use]
pub fn k6_trial(file: &str, value: &Value) -> Trial {
    let stat = |metric: &str, stat: &str| {
        let metric = value["metrics"].get(metric)?;
        // `handleSummary` puts the numbers one level deeper than `--summary-export`.
        let number = metric.get("values").unwrap_or(metric).get(stat)?.as_f64()?;
        number.is_finite().then_some(number)
    };
    let mut figures = Vec::new();
    let mut add = |metric: &str, unit: &str, better, role, value: Option<f64>| {
        figures.extend(value.map(|value| Figure {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            better,
            role,
            value,
            interval: None,
            count: None,
        }));
    };
    let (higher, lower) = (Better::Higher, Better::Lower);
    let generated = stat("llamacpp_completion_tokens_total_counter", "rate");
    add("output_tokens_per_second", "tokens/s", higher, Role::Gate, generated);
    let done = stat("iterations", "rate");
    add("requests_per_second", "requests/s", higher, Role::Observe, done);
    for (percentile, name, role) in [("med", "p50", Role::Gate), ("p(95)", "p95", Role::Observe)] {
        let first = stat("llamacpp_emit_first_token_second", percentile).map(|s| 1e3 * s);
        add(&format!("ttft_ms_{name}"), "ms", lower, role, first);
        let whole = stat("http_req_duration", percentile);
        add(&format!("e2e_ms_{name}"), "ms", lower, Role::Observe, whole);
        for metric in ["llamacpp_prompt_processing_second", "llamacpp_tokens_second"] {
            let rate = stat(metric, percentile);
            add(&format!("{metric}_{name}"), "tokens/s", higher, Role::Observe, rate);
        }
    }
    let count = |metric: &str, name: &str| stat(metric, name).map(|count| count.max(0.0) as u64);
    let total = |metric: &str| count(&format!("llamacpp_{metric}_tokens_total_counter"), "count");
    // A script without checks has k6's own count, which "passes" where a request failed.
    let checked = count("checks", "passes").zip(count("checks", "fails"));
    let sent = count("http_req_failed", "fails").zip(count("http_req_failed", "passes"));
    let work = checked.or(sent).map(|(passed, failed)| Work {
        requests: passed.saturating_add(failed),
        failed,
        prompt_tokens: total("prompt"),
        output_tokens: total("completion"),
    });
    trial(file, Source::K6, BTreeMap::new(), work, figures)
}

/// Whether this is a result of llama-bench: a row or a list of rows.
#[must_use]
pub fn is_llama_bench(value: &Value) -> bool {
    let row = value.as_array().map_or(Some(value), |rows| rows.first());
    row.is_some_and(|row| row.get("avg_ts").is_some() && row.get("n_prompt").is_some())
}

/// Of llama-bench's rows: a figure a test, named as llama-bench's tables name it (`pp512`, `tg128`).
/// Repetitions are of one process: they give an interval, and never count as trials.
#[must_use]
pub fn llama_bench_trial(file: &str, rows: &[Value]) -> Trial {
    let mut figures: Vec<Figure> = Vec::new();
    for row in rows {
        let Some(value) = row["avg_ts"].as_f64().filter(|value| value.is_finite()) else {
            continue;
        };
        let samples: Vec<f64> = row["samples_ts"]
            .as_array()
            .map(|samples| samples.iter().filter_map(Value::as_f64).collect())
            .unwrap_or_default();
        let mut metric = test_name(row);
        // A sweep over flags has the same test several times; what differs is said once.
        let again = format!("{metric} #");
        let same = figures
            .iter()
            .filter(|figure| figure.metric == metric || figure.metric.starts_with(&again))
            .count();
        if same > 0 {
            metric.push_str(&format!(" #{}", same + 1));
        }
        figures.push(Figure {
            metric,
            unit: "tokens/s".to_owned(),
            better: Better::Higher,
            role: Role::Gate,
            value,
            interval: mean_interval(value, row["stddev_ts"].as_f64(), samples.len()),
            count: u64::try_from(samples.len()).ok().filter(|count| *count > 0),
        });
    }
    let facts = facts_of_all(rows);
    let mut trial = trial(file, Source::LlamaBench, facts, None, figures);
    if let Some(row) = rows.first() {
        trial.commit = text(row, "build_commit");
        trial.started_at = text(row, "test_time");
    }
    trial
}

/// `pp512`, `tg128`, `pp512+tg128`, with ` @ d1024` where the context was filled before.
fn test_name(row: &Value) -> String {
    let count = |name: &str| row[name].as_u64().unwrap_or(0);
    let (prompt, generated, depth) = (count("n_prompt"), count("n_gen"), count("n_depth"));
    let mut name = match (prompt, generated) {
        (0, generated) => format!("tg{generated}"),
        (prompt, 0) => format!("pp{prompt}"),
        (prompt, generated) => format!("pp{prompt}+tg{generated}"),
    };
    if depth > 0 {
        name.push_str(&format!(" @ d{depth}"));
    }
    name
}

/// Mean ± t·s/√n, as in our own reports.
fn mean_interval(mean: f64, stddev: Option<f64>, count: usize) -> Option<[f64; 2]> {
    let stddev = stddev.filter(|stddev| stddev.is_finite() && count > 1)?;
    let half = quantile::student_t_975(count as u64 - 1) * stddev / (count as f64).sqrt();
    Some([mean - half, mean + half])
}

/// What all rows say, each thing once and in their order: one file may hold several models, and a sweep over
/// flags. Another second model is another file, and so is the same sweep in another order, for tests are
/// told apart by their place.
fn facts_of_all(rows: &[Value]) -> BTreeMap<What, Fact> {
    let mut said: BTreeMap<What, Vec<Fact>> = BTreeMap::new();
    for (what, fact) in rows.iter().flat_map(llama_bench_facts) {
        let known = said.entry(what).or_default();
        if !known.contains(&fact) {
            known.push(fact);
        }
    }
    let all =
        |facts: &[Fact], of: fn(&Fact) -> &str| facts.iter().map(of).collect::<Vec<_>>().join("; ");
    said.into_iter()
        .map(|(what, facts)| {
            let value = all(&facts, |fact| fact.value.as_str());
            (what, Fact { value, shown: all(&facts, |fact| fact.shown.as_str()) })
        })
        .collect()
}

fn llama_bench_facts(row: &Value) -> BTreeMap<What, Fact> {
    /// What a row says of how it was measured, and not of what or where.
    const FLAGS: &[&str] = &[
        "backends",
        "n_batch",
        "n_ubatch",
        "n_threads",
        "cpu_mask",
        "type_k",
        "type_v",
        "n_gpu_layers",
        "split_mode",
        "main_gpu",
        "no_kv_offload",
        "flash_attn",
        "tensor_split",
        "use_mmap",
        "embeddings",
    ];
    let mut facts = BTreeMap::new();
    facts.insert(What::Server, Fact::plain("llama-bench"));
    let joined = |names: &[&str]| {
        let parts: Vec<String> = names.iter().filter_map(|name| text(row, name)).collect();
        Some(parts.join(", ")).filter(|joined| !joined.is_empty())
    };
    if let Some(machine) = joined(&["cpu_info", "gpu_info"]) {
        facts.insert(What::Machine, Fact::plain(machine));
    }
    if let Some(name) = text(row, "model_filename") {
        // The folder is one machine's; the size tells apart what has the same name.
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let size = row["model_size"].as_u64().unwrap_or(0);
        facts.insert(What::Model, Fact { value: format!("{name} {size}"), shown: name });
    }
    let flags: Vec<String> = FLAGS
        .iter()
        .filter_map(|name| row.get(*name).map(|value| format!("{name}={value}")))
        .collect();
    if !flags.is_empty() {
        facts.insert(What::Flags, Fact::plain(flags.join(" ")));
    }
    facts
}

fn text(row: &Value, name: &str) -> Option<String> {
    row[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn trial(
    file: &str,
    source: Source,
    facts: BTreeMap<What, Fact>,
    work: Option<Work>,
    figures: Vec<Figure>,
) -> Trial {
    Trial {
        file: file.to_owned(),
        source,
        id: None,
        started_at: None,
        commit: None,
        facts,
        doubts: Vec::new(),
        work,
        figures,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(trial: &Trial, metric: &str) -> Option<f64> {
        trial.figures.iter().find(|figure| figure.metric == metric).map(|figure| figure.value)
    }

    #[test]
    fn k6_seconds_become_milliseconds_and_milliseconds_stay() {
        let summary = json!({"root_group": {}, "metrics": {
            "http_req_duration": {"med": 812.5, "p(95)": 1200.0},
            "llamacpp_emit_first_token_second": {"med": 0.25, "p(95)": 0.5},
            "llamacpp_tokens_second": {"med": 31.0},
            "llamacpp_completion_tokens_total_counter": {"count": 640, "rate": 64.0},
            "checks": {"passes": 9, "fails": 1},
        }});
        assert!(is_k6(&summary));
        let trial = k6_trial("k6.json", &summary);
        let found = |metric| value(&trial, metric);
        assert_eq!(found("ttft_ms_p50"), Some(250.0));
        assert_eq!(found("e2e_ms_p95"), Some(1200.0));
        assert_eq!(found("llamacpp_tokens_second_p50"), Some(31.0));
        assert_eq!(found("output_tokens_per_second"), Some(64.0));
        assert_eq!(found("decode_tokens_per_second_p50"), None, "k6's formula is another one");
        let work = trial.work.unwrap_or_default();
        assert_eq!((work.requests, work.failed, work.output_tokens), (10, 1, Some(640)));
    }

    #[test]
    fn without_checks_the_failures_are_those_that_k6_counts() {
        let work = |metrics: Value| {
            let summary = json!({"root_group": {}, "metrics": metrics});
            k6_trial("k6.json", &summary).work.map(|work| (work.requests, work.failed))
        };
        // Of this rate a "pass" is a request that failed.
        let failed = json!({"passes": 3, "fails": 97, "value": 0.03});
        assert_eq!(work(json!({"http_req_failed": failed})), Some((100, 3)));
        let nested = json!({"type": "rate", "values": {"passes": 3, "fails": 97, "rate": 0.03}});
        assert_eq!(work(json!({"http_req_failed": nested})), Some((100, 3)));
        let checks = json!({"passes": 9, "fails": 1});
        assert_eq!(work(json!({"checks": checks, "http_req_failed": failed})), Some((10, 1)));
        assert_eq!(work(json!({})), None);
    }

    #[test]
    fn a_file_of_several_models_or_flags_is_known_by_all_of_them() {
        let row = |model: &str, threads: u32| {
            json!({"n_prompt": 512, "n_gen": 0, "avg_ts": 100.0, "model_filename": model,
                   "model_size": 7, "n_threads": threads, "cpu_info": "one"})
        };
        let fact = |rows: &[Value], what: What| {
            let facts = llama_bench_trial("lb.json", rows).facts;
            facts.get(&what).map(|fact| fact.value.clone()).unwrap_or_default()
        };
        let [ab, ac] = [["a.gguf", "b.gguf"], ["a.gguf", "c.gguf"]]
            .map(|models| models.map(|model| row(model, 2)));
        assert_eq!(fact(&ab, What::Model), "a.gguf 7; b.gguf 7");
        assert_ne!(fact(&ab, What::Model), fact(&ac, What::Model));
        assert_eq!(fact(&ab, What::Machine), "one", "what is the same is said once");
        let [up, down] = [[1, 2], [2, 1]].map(|sweep| sweep.map(|threads| row("a.gguf", threads)));
        assert_ne!(fact(&up, What::Flags), fact(&down, What::Flags));
    }

    #[test]
    fn counts_beyond_any_are_as_many_as_can_be_counted() {
        let summary =
            json!({"root_group": {}, "metrics": {"checks": {"passes": 1e30, "fails": 9}}});
        let work = k6_trial("k6.json", &summary).work.unwrap_or_default();
        assert_eq!((work.requests, work.failed), (u64::MAX, 9));
    }

    #[test]
    fn handle_summary_nests_its_numbers() {
        let summary = json!({"root_group": {}, "metrics": {
            "http_req_duration": {"type": "trend", "contains": "time", "values": {"med": 7.0}},
        }});
        assert_eq!(value(&k6_trial("k6.json", &summary), "e2e_ms_p50"), Some(7.0));
    }

    #[test]
    fn llama_bench_tests_have_the_names_of_its_tables() {
        let row = |prompt: u32, generated: u32, depth: u32| {
            json!({"n_prompt": prompt, "n_gen": generated, "n_depth": depth, "avg_ts": 100.0,
                   "stddev_ts": 2.0, "samples_ts": [98.0, 100.0, 102.0]})
        };
        let rows = [row(512, 0, 0), row(0, 128, 0), row(512, 128, 1024), row(0, 128, 0)];
        assert!(is_llama_bench(&Value::Array(rows.to_vec())));
        let trial = llama_bench_trial("lb.json", &rows);
        let names: Vec<&str> = trial.figures.iter().map(|figure| figure.metric.as_str()).collect();
        assert_eq!(names, ["pp512", "tg128", "pp512+tg128 @ d1024", "tg128 #2"]);
        // A name that another one begins with is a test of its own.
        let longer = llama_bench_trial("lb.json", &[row(0, 1280, 0), row(0, 128, 0)]);
        let names: Vec<&str> = longer.figures.iter().map(|figure| figure.metric.as_str()).collect();
        assert_eq!(names, ["tg1280", "tg128"]);
        // t(0.975, 2) = 4.303; 4.303 · 2 / √3 = 4.968
        let [low, high] = trial.figures[0].interval.unwrap_or_default();
        assert!((low - 95.032).abs() < 0.01 && (high - 104.968).abs() < 0.01, "{low} {high}");
    }
}
