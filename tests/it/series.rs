//! The load over time and what was used, through the real binary: every column against the rows of the
//! same run, and against the totals of its report.

use std::path::Path;

use serde_json::Value;

use crate::run::{Bench, Ran};

mod gpu;
mod over_time;
mod real_llama_server;

/// Where there is surely no library: machines of the tests may have a graphics processor.
const NO_LIBRARY: &str = "/nonexistent/libnvidia-ml.so.1";

/// Runs `bench-ci` with this library in the place of NVML's.
fn play(bench: &Bench, library: &Path, fake: &str, arguments: &[&str]) -> Ran {
    let mut command = bench.command(&[&["--out-dir", "out"], arguments].concat());
    command.env("BENCH_CI_NVML_LIBRARY", library).env("FAKE_NVML", fake);
    bench.finish("out", command)
}

/// The simulator with four slots, sampled often enough for a short run.
const SIM: [&str; 11] = [
    "--server",
    "sim",
    "--scenario",
    "./brisk.toml",
    "--parallel",
    "4",
    "--max-lateness",
    "100",
    "--ignore-eos",
    "--scrape-interval",
    "50ms",
];

/// A column; `None` where a step has no value.
fn column(value: &Value) -> Vec<Option<f64>> {
    let items = value.as_array().unwrap_or_else(|| panic!("no column: {value}"));
    items.iter().map(Value::as_f64).collect()
}

fn sum(values: &[Option<f64>]) -> f64 {
    values.iter().flatten().sum()
}

fn known(value: &Value) -> Vec<f64> {
    column(value).into_iter().flatten().collect()
}

/// What holds for any timeline: as many values as steps in each column, and every gap has its reason.
fn whole(line: &Value) -> usize {
    let (step, length) = (line["step_s"].as_f64().unwrap(), line["duration_s"].as_f64().unwrap());
    let steps = (length / step - 1e-9).ceil() as usize;
    assert!((1..=300).contains(&steps), "{steps} steps");
    check(line, steps);
    steps
}

fn check(value: &Value, steps: usize) {
    for (name, field) in value.as_object().unwrap() {
        match field {
            Value::Array(items) if items.iter().all(|item| item.is_number() || item.is_null()) => {
                assert_eq!(items.len(), steps, "{name}");
                assert!(items.iter().any(Value::is_number), "{name} has nothing but gaps");
                if items.iter().any(Value::is_null) {
                    let reason = value["unknown"][name].as_str().unwrap_or_default();
                    assert!(reason.contains(&format!("of {steps} steps: ")), "{name}: {reason}");
                }
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, steps)),
            Value::Object(_) if name != "unknown" => check(field, steps),
            _ => {}
        }
    }
}

/// The integral of a rate over the load.
fn integral(line: &Value, rates: &Value) -> f64 {
    let (step, length) = (line["step_s"].as_f64().unwrap(), line["duration_s"].as_f64().unwrap());
    let seconds = |index: usize| (length - index as f64 * step).min(step);
    column(rates).iter().enumerate().map(|(index, rate)| rate.unwrap_or(0.0) * seconds(index)).sum()
}
