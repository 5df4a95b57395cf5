//! Derived figures, the drawing of a load and the calibration, through the real binary.

use bench_ci::artifact::{CALIBRATION_SCHEMA_FILE, calibration_json_schema, store};
use serde_json::Value;

use crate::run::Bench;

mod calibrate;
mod drawing;
mod figures;
mod real_llama_server;

/// Guards the public contract: the committed schema is the one of the types.
#[test]
fn the_committed_calibration_schema_is_that_of_the_types() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(CALIBRATION_SCHEMA_FILE);
    let mut text = serde_json::to_string_pretty(&calibration_json_schema()).expect("a value");
    text.push('\n');
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        store::write(&file, text.as_bytes()).expect("the checkout can be written to");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == text,
        "{CALIBRATION_SCHEMA_FILE} differs from the types: run UPDATE_SCHEMA=1 cargo test --test it derived"
    );
}

/// The numbers of a column.
fn column(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// The simulator as a run starts it, quick enough for a test.
fn sim<'a>(flags: &[&'a str], own: &[&'a str]) -> Vec<&'a str> {
    let quick = ["--", "--sim-ttft-ms", "5", "--sim-itl-ms", "1"];
    [&["--server", "sim", "--max-lateness", "1"][..], flags, &quick, own].concat()
}

fn bench() -> Bench {
    Bench::new()
}
