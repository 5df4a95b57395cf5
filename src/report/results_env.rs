//! bench.py's `results.github.env`: lines `NAME=value` for the environment of later steps of a job.
//!
//! Main function: [`render`]. Names and values are bench.py's: each of k6's numbers rounded to two
//! decimals, then a line short enough for a commit status, then two titles.

use super::escape::clean;
use super::figures::value_of;
use super::k6::{Summary, is_whole};
use crate::artifact::{Report, ScrapeRow};
use crate::plan::duration;

/// What a commit status holds. bench.py hoped to stay below; this does.
const STATUS_MAX: usize = 140;

/// The text. `summary` and `iterations` are those of `k6-summary.json`.
#[must_use]
pub fn render(
    report: &Report,
    summary: &Summary,
    iterations: u64,
    scrapes: &[ScrapeRow],
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // A line end inside a value would begin a variable of somebody else's choice.
        text.push_str(&format!("{name}={}\n", clean(value)));
    };
    for (metric, values) in summary.iter() {
        for (stat, value) in values.stats() {
            line(&format!("{}_{}", upper(metric), upper(stat)), &rounded(value, 2));
        }
    }
    line("BENCH_RESULTS", &status(summary, iterations, scrapes));
    line("BENCH_ITERATIONS", &iterations.to_string());
    line("BENCH_GRAPH_TITLE", &title(report, iterations));
    line("BENCH_GRAPH_XLABEL", &labels(report));
    text
}

/// As bench.py makes a name of a variable: capitals and digits, all else an underscore.
fn upper(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(letter).collect()
}

/// Rounded and written as Python does: what k6 wrote without decimals stays so, and all else keeps
/// at least one.
fn rounded(value: f64, decimals: usize) -> String {
    if is_whole(value) {
        return format!("{}", value as i64);
    }
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        Some((whole, places)) => {
            let places = places.trim_end_matches('0');
            format!("{whole}.{}", if places.is_empty() { "0" } else { places })
        }
        None => text + ".0",
    }
}

/// The line for a commit status. A number that there is not is `null`, which bench.py would have
/// died of; the means of the server's gauges are 0 where there are none, as bench.py has it.
fn status(summary: &Summary, iterations: u64, scrapes: &[ScrapeRow]) -> String {
    let with = |decimals: usize| {
        let stat = |metric: &str, stat: &str| {
            summary.stat(metric, stat).map_or("null".to_owned(), |value| rounded(value, decimals))
        };
        let mean = |gauge: &str| {
            let values: Vec<f64> = scrapes.iter().filter_map(|row| row.value(gauge)).collect();
            if values.is_empty() {
                return "0".to_owned();
            }
            float(values.iter().sum::<f64>() / values.len() as f64, decimals)
        };
        let request = "http_req_duration";
        let [prompt, tokens] = ["llamacpp_prompt_processing_second", "llamacpp_tokens_second"];
        format!(
            "{{\"i\":{iterations},\"req\":{{\"p95\":{},\"avg\":{}}},\
             \"pp\":{{\"p95\":{},\"avg\":{},\"0\":{}}},\"tg\":{{\"p95\":{},\"avg\":{},\"0\":{}}}}}",
            stat(request, "p(95)"),
            stat(request, "avg"),
            stat(prompt, "p(95)"),
            stat(prompt, "avg"),
            mean("llamacpp:prompt_tokens_seconds"),
            stat(tokens, "p(95)"),
            stat(tokens, "avg"),
            mean("llamacpp:predicted_tokens_seconds"),
        )
    };
    let line = with(2);
    if line.len() <= STATUS_MAX { line } else { with(0).replace(".0", "") }
}

/// A number that bench.py read as one with decimals, whole or not.
pub(super) fn float(value: f64, decimals: usize) -> String {
    let text = rounded(value, decimals);
    if text.contains('.') { text } else { text + ".0" }
}

/// bench.py's title of a graph, in one line.
pub(super) fn title(report: &Report, iterations: u64) -> String {
    let run = &report.run;
    let runner = run.runner_label.as_deref().unwrap_or("unknown");
    let planned = report.scenario.measured_phases().map(|phase| phase.duration_s);
    let seconds = planned.sum::<Option<f64>>().or(run.duration_s).unwrap_or(0.0);
    let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
    // Two spaces: bench.py replaced a line end before a space.
    format!(
        "llama.cpp {} on {runner}  duration={} {iterations} iterations",
        run.name,
        duration::format(time)
    )
}

/// bench.py's legend, with what this run knows; what it does not know is left out.
fn labels(report: &Report) -> String {
    let mut words = Vec::new();
    if let Some(model) = &report.model {
        match (&model.hf_repo, &model.hf_file) {
            (Some(repo), Some(file)) => words.push(format!("{repo}/{file}")),
            _ => words.extend(model.file.clone()),
        }
    }
    let command = &report.server.command;
    for (label, flags) in [
        ("parallel", &["--parallel", "-np"][..]),
        ("ctx-size", &["--ctx-size", "-c"]),
        ("ngl", &["--n-gpu-layers", "--gpu-layers", "-ngl"]),
        ("batch-size", &["--batch-size", "-b"]),
        ("ubatch-size", &["--ubatch-size", "-ub"]),
    ] {
        words.extend(value_of(command, flags).map(|value| format!("{label}={value}")));
    }
    let scenario = &report.scenario;
    words.extend(scenario.max_prompt_words.map(|count| format!("pp={count}")));
    words.extend(scenario.max_context_words.map(|count| format!("pp+tg={count}")));
    words.extend(report.run.branch.as_ref().map(|branch| format!("branch={branch}")));
    words.extend(report.run.commit.as_ref().map(|commit| format!("commit={commit}")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_writes_them() {
        // python3 -c 'print(round(4.999, 2), round(0.125, 2), round(0.375, 2), round(2.675, 2), …)'
        for (value, text) in [
            (5.0, "5"),
            (4.999, "5.0"),
            (0.125, "0.12"),
            (0.375, "0.38"),
            (2.675, "2.67"),
            (12.30, "12.3"),
            (0.001, "0.0"),
            (1234.567, "1234.57"),
        ] {
            assert_eq!(rounded(value, 2), text, "{value}");
        }
        assert_eq!(float(3.0, 2), "3.0");
    }

    #[test]
    fn names_are_capitals_digits_and_underscores() {
        assert_eq!(upper("http_req_duration"), "HTTP_REQ_DURATION");
        assert_eq!(upper("p(95)"), "P_95_");
    }
}
