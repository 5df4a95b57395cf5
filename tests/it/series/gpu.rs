//! Graphics processors, by a library that answers as NVML does and is loaded in its way.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{SIM, known, play, whole};
use crate::run::{Bench, Ran, json_lines};

/// The fake, compiled.
fn library(bench: &Bench, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nvml/fake.c");
    let library = bench.path("libfake-nvml.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(source)
        .args(flags)
        .status()
        .expect("a C compiler, which linking needs too");
    assert!(compiled.success());
    library
}

fn load(bench: &Bench, library: &Path, fake: &str) -> Ran {
    let load = ["--n-prompts", "32", "--max-tokens", "16"];
    let server = ["--", "--sim-ttft-ms", "20", "--sim-itl-ms", "10"];
    play(bench, library, fake, &[&SIM[..], &load, &server].concat()).checked(0)
}

fn close(value: &Value, wanted: f64) {
    let found = value.as_f64().unwrap_or_else(|| panic!("{value} is not {wanted}"));
    assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
}

fn constant(value: &Value, wanted: f64) {
    for value in known(value) {
        assert!((value - wanted).abs() < 1e-9, "{value} is not {wanted}");
    }
}

#[test]
fn two_devices_are_told_apart_and_the_servers_is_known() {
    let bench = Bench::new();
    let library = library(&bench, &[]);
    let ran = load(&bench, &library, "");
    let report = ran.report();
    whole(&report["timeline"]);
    let machine = report["machine"]["gpus"].as_array().unwrap();
    assert_eq!(machine.len(), 2);
    assert_eq!(machine[0]["name"], "Fake L4 0");
    assert_eq!(machine[1]["memory_bytes"], 24_u64 << 30);
    assert_eq!(machine[1]["driver"], "550.90.07");

    let gpus = report["resources"]["gpus"].as_array().unwrap();
    assert_eq!((gpus.len(), &gpus[1]["index"]), (2, &json!(1)));
    assert_eq!(
        (&gpus[0]["used_by_server"], &gpus[1]["used_by_server"]),
        (&json!(true), &json!(false))
    );
    close(&gpus[0]["utilization_mean"], 0.8);
    close(&gpus[1]["utilization_mean"], 0.0);
    close(&gpus[0]["power_mean_w"], 71.5);
    close(&gpus[0]["temperature_max_c"], 51.0);
    assert_eq!(gpus[0]["memory_peak_bytes"], 5_u64 << 30);
    // The guard is a child too, and not the server: of 3 GiB each, one is the server's.
    assert_eq!(gpus[0]["server_memory_peak_bytes"], 3_u64 << 30);
    assert_eq!(gpus[1]["server_memory_peak_bytes"], 0);

    let columns = &report["timeline"]["resources"]["gpus"];
    constant(&columns[0]["utilization_ratio"], 0.8);
    constant(&columns[0]["memory_used_bytes"], (5_u64 << 30) as f64);
    constant(&columns[1]["power_w"], 71.5);
    constant(&columns[1]["temperature_c"], 51.0);
    constant(&columns[0]["sm_clock_mhz"], 2040.0);
    constant(&columns[0]["memory_clock_mhz"], 6251.0);
    let lines = json_lines(&ran.file("resources.jsonl"));
    assert!(lines.iter().all(|line| line["gpus"].as_array().unwrap().len() == 2));
    let page = ran.file("report.md");
    assert!(page.contains("| Fake L4 0 (the server's) |"), "{page}");
    assert!(page.contains("| Fake L4 1 (not the server's) |"), "{page}");
}

#[test]
fn what_a_device_cannot_say_is_null_with_its_words() {
    let bench = Bench::new();
    let library = library(&bench, &[]);
    let report = load(&bench, &library, "no-power silent").report();
    whole(&report["timeline"]);
    let (gpu, column) =
        (&report["resources"]["gpus"][0], &report["timeline"]["resources"]["gpus"][0]);
    assert!(gpu["power_mean_w"].is_null() && column["power_w"].is_null());
    assert_eq!(gpu["unknown"]["power_mean_w"], "NVML: Not Supported");
    assert_eq!(column["unknown"]["power_w"], "NVML: Not Supported");
    close(&gpu["utilization_mean"], 0.8);
    close(&report["resources"]["gpus"][1]["power_mean_w"], 71.5);
    assert_eq!(gpu["used_by_server"], true);
    assert!(gpu["server_memory_peak_bytes"].is_null());
}

#[test]
fn a_device_that_is_lost_under_load_leaves_gaps_and_the_run_goes_on() {
    let bench = Bench::new();
    let library = library(&bench, &[]);
    let ran = load(&bench, &library, "lost");
    let report = ran.report();
    whole(&report["timeline"]);
    let columns = &report["timeline"]["resources"]["gpus"];
    let lost = &columns[1];
    let values = super::column(&lost["temperature_c"]);
    let end = values.iter().position(Option::is_none).expect("it was lost");
    assert!(end > 0 && values[end..].iter().all(Option::is_none), "{values:?}");
    assert!(lost["unknown"]["temperature_c"].as_str().unwrap().ends_with("NVML: GPU is lost"));
    constant(&columns[0]["temperature_c"], 51.0);
    assert!(super::column(&columns[0]["temperature_c"]).iter().all(Option::is_some));
    let lines = json_lines(&ran.file("resources.jsonl"));
    let last = &lines.last().unwrap()["gpus"][1];
    assert_eq!(last["unknown"]["power_w"], "NVML: GPU is lost");
    // What it had said before is not forgotten.
    close(&report["resources"]["gpus"][1]["temperature_max_c"], 51.0);
    assert_eq!(report["resources"]["gpus"][1]["used_by_server"], false);
}

#[test]
fn a_comparison_notes_clocks_and_temperature_with_each_trial() {
    let bench = Bench::new();
    let library = library(&bench, &[]);
    let mut command = bench.command(&["ab", "--aa", "--server", "sim", "--out-dir", "out"]);
    command.args(["--users", "2", "--max-tokens", "16", "--pairs", "1", "--budget", "8s"]);
    command.env("BENCH_CI_NVML_LIBRARY", &library);
    let ran = bench.finish("out", command);
    let report: Value = serde_json::from_str(&ran.file("ab.json")).unwrap();
    let trials = report["trials"].as_array().unwrap();
    assert!(!trials.is_empty(), "{report}");
    for trial in trials {
        let gpus = trial["gpus"].as_array().unwrap();
        assert_eq!((gpus.len(), &gpus[1]["index"]), (2, &json!(1)));
        close(&gpus[0]["temperature_c"], 51.0);
        close(&gpus[0]["sm_clock_mhz"], 2040.0);
        close(&gpus[0]["memory_clock_mhz"], 6251.0);
    }
}

#[test]
fn without_driver_device_or_call_there_is_a_reason_and_no_warning() {
    let bench = Bench::new();
    let new = library(&bench, &[]);
    for (fake, reason) in
        [("no-driver", "NVML: Driver Not Loaded"), ("none", "NVML knows no graphics processor")]
    {
        let ran = load(&bench, &new, fake);
        let report = ran.report();
        assert_eq!(report["timeline"]["resources"]["unknown"]["gpus"], reason);
        assert_eq!(report["resources"]["gpus"], json!([]));
        assert_eq!(report["machine"]["gpus"], json!([]));
        let codes = report["warnings"].as_array().unwrap().iter();
        assert!(codes.clone().all(|note| !note["message"].as_str().unwrap().contains("NVML")));
    }
    let old = library(&bench, &["-DOLD"]);
    let gpus = load(&bench, &old, "").report()["resources"]["gpus"].clone();
    assert!(gpus[0]["used_by_server"].is_null());
    let reason = gpus[0]["unknown"]["used_by_server"].as_str().unwrap();
    assert!(reason.contains("nvmlDeviceGetComputeRunningProcesses_v3"), "{reason}");
    close(&gpus[0]["utilization_mean"], 0.8);
}

#[test]
fn a_library_that_is_something_else_is_a_reason() {
    let bench = Bench::new();
    let text = bench.path("text.so");
    std::fs::write(&text, "no library").unwrap();
    let report = load(&bench, &text, "").report();
    let reason = report["timeline"]["resources"]["unknown"]["gpus"].as_str().unwrap().to_owned();
    assert!(reason.contains("text.so") && reason.contains("cannot be loaded"), "{reason}");
}
