//! Scenarios of several phases through the real binary against the simulator.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const SCENARIO: &str = r#"
name = "mixed"
think_time = "0s"
cool_down = "200ms"
[request]
max_tokens = 2
ignore_eos = true
[filter]
max_prompt_words = 60

[[phase]]
name = "ramp in"
measured = false
users = 1
n_prompts = 3

[[phase]]
name = "calm"
users = 2
n_prompts = 30

[[phase]]
name = "rush"
duration = "1s"
[phase.arrivals]
rate = 100
process = "constant"

[[phase]]
name = "climb"
[phase.ramp]
start_users = 1
stages = [{ duration = "400ms", users = 3 }]
"#;

fn run(folder: &Path, scenario: &str, ours: &[&str]) -> Output {
    std::fs::write(folder.join("mixed.toml"), scenario).unwrap();
    Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(["run", "--server", "sim", "--parallel", "128", "--ctx-size", "262144"])
        .args(["--scenario", "./mixed.toml", "--out-dir", "out", "--progress", "none"])
        .args(ours)
        .args(["--", "--sim-ttft-ms", "5", "--sim-itl-ms", "1"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("BENCH_CI_CACHE", folder.join("cache"))
        .env("GIT_CEILING_DIRECTORIES", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_phase_has_its_row_and_one_report_holds_them_all() {
    let folder = tempfile::tempdir().unwrap();
    // A busy machine may read and send late; that is not what this is about.
    let output = run(folder.path(), SCENARIO, &["--accept-saturated-client", "--users", "2"]);
    let text = std::fs::read_to_string(folder.path().join("out/report.json"))
        .unwrap_or_else(|_| panic!("{}", said(&output)));
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let named = |list: &Value| -> Vec<(String, Value)> {
        let phases = list.as_array().unwrap().iter();
        phases.map(|phase| (phase["name"].as_str().unwrap().to_owned(), phase.clone())).collect()
    };
    let planned = named(&report["scenario"]["phases"]);
    let names: Vec<(&str, bool)> = planned
        .iter()
        .map(|(name, phase)| (name.as_str(), phase["measured"].as_bool().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("warm_up", false),
            ("ramp in", false),
            ("calm", true),
            ("rush", true),
            ("climb", true),
            ("cool_down", false)
        ]
    );
    let phases = named(&report["phases"]);
    let names: Vec<&str> = phases.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["calm", "rush", "climb"]);
    let [calm, rush, climb] = [0, 1, 2].map(|position| &phases[position].1);
    assert_eq!(calm["requests"]["completed"], 30);
    assert_eq!(rush["requests"]["completed"], 100);
    assert_eq!(calm["metrics"]["ttft_ms"]["count"], 30);
    assert_eq!(calm["metrics"]["itl_ms"]["count"], 30);
    assert_eq!(rush["metrics"]["itl_ms"]["count"], 100);
    assert!(calm["arrivals"].is_null() && rush["arrivals"]["planned"] == 100);
    assert_eq!(rush["started_s"], calm["closed_s"]);
    assert_eq!(climb["started_s"], rush["closed_s"]);
    let completed = report["requests"]["completed"].as_u64().unwrap();
    assert_eq!(completed, 130 + climb["requests"]["completed"].as_u64().unwrap());
    assert_eq!(report["metrics"]["ttft_ms"]["count"], completed);
    assert_eq!(report["metrics"]["itl_ms"]["count"], completed);
    assert_eq!(report["requests"]["warm_up"]["planned"], 2 + 3);
    assert!(report["requests"]["cool_down"]["completed"].as_u64() > Some(0));
    // The server's counters cover the phases that do not count too; the accounts must still agree.
    assert_eq!(report["reconciliation"]["disagreements"], serde_json::json!([]));

    let rows = std::fs::read_to_string(folder.path().join("out/requests.jsonl")).unwrap();
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |index: usize| rows.iter().filter(move |row| row["phase_index"] == index).count();
    assert_eq!([of(0), of(1), of(2), of(3)], [2, 3, 30, 100]);
    for row in &rows {
        let expected = match row["phase_index"].as_u64().unwrap() {
            0 | 1 => "warm_up",
            5 => "cool_down",
            _ => "measured",
        };
        assert_eq!(row["phase"], expected);
    }
    let page = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert!(page.contains("### Phases"), "{page}");
    for row in ["| calm |", "| rush |", "| climb |"] {
        assert!(page.contains(row), "no {row} in {page}");
    }
}

/// Neither what lies before the phases that count nor what follows is in anything that their requests
/// are divided by.
#[test]
fn rates_and_thresholds_are_over_the_phases_that_count() {
    let folder = tempfile::tempdir().unwrap();
    // No answer is waited for at the end of a phase, so that most of the last ones are cut.
    let scenario = "think_time = \"0s\"\ngraceful_stop = \"0s\"\ncool_down = \"600ms\"\n\
                    [request]\nmax_tokens = 100\nignore_eos = true\n[filter]\nmax_prompt_words = 60\n\
                    [[phase]]\nname = \"fill\"\nmeasured = false\nusers = 2\nduration = \"400ms\"\n\
                    [[phase]]\nname = \"calm\"\nusers = 4\nduration = \"700ms\"\n";
    let ours = ["--accept-saturated-client", "--users", "2", "--threshold", "http_reqs: rate > 0"];
    let output = run(folder.path(), scenario, &ours);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report.json")).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let close = |left: f64, right: f64| {
        assert!((left / right - 1.0).abs() < 1e-6, "{left} is not {right}");
    };
    assert!(report["requests"]["cool_down"]["completed"].as_u64() > Some(0));
    let rows = read("requests.jsonl");
    let last_end = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| row["phase"] == "measured")
        .map(|row| number(&row["end_s"]))
        .fold(0.0, f64::max);
    close(number(&report["rates"]["window"]["end_s"]), last_end);
    let calm = &report["phases"][0];
    let begun = number(&calm["started_s"]);
    let measured_s = last_end.max(number(&calm["closed_s"])) - begun;
    let completed = number(&report["requests"]["completed"]);
    close(number(&report["thresholds"][0]["observed"]), completed / measured_s);
    let k6: Value = serde_json::from_str(&read("k6-summary.json")).unwrap();
    let reqs = &k6["metrics"]["http_reqs"];
    close(number(&reqs["rate"]), number(&reqs["count"]) / (last_end - begun));

    let by_counters = &report["derived"]["server_rates"];
    for figure in ["tokens_per_second", "difference_ratio"] {
        for side in ["output", "prompt"] {
            let figure = format!("{side}_{figure}");
            assert!(by_counters[&figure].is_null(), "{by_counters}");
            let reason = by_counters["unknown"][&figure].as_str().unwrap();
            assert!(reason.contains("also cover phases that do not count"), "{reason}");
        }
    }
    assert!(by_counters["client_output_tokens_per_second"].is_number(), "{by_counters}");
    assert!(by_counters["output_tokens_per_slot_second"].is_number(), "{by_counters}");
    assert!(read("report.md").contains("By the server's counters: "));
}

#[test]
fn mistakes_of_phases_are_told_all_at_once_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "duration = \"9s\"\n[[phase]]\nname = \"a\"\nn_prompts = 1\n[[phase]]\nname = \"a\"\n\
                    measured = false\nuser = 3\n[[phase]]\nname = \"cool_down\"\nusers = 1\n\
                    [phase.arrivals]\nrate = 3\n";
    let output = run(folder.path(), scenario, &["--rate", "3", "--dry-run"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    for needle in [
        "duration has no place beside phase",
        "two phases named \"a\"",
        "the name \"cool_down\" is taken",
        "did you mean \"users\"",
        "users has no place beside arrivals",
        "--rate",
        "phase \"cool_down\": neither duration nor n_prompts bounds it",
        "phase \"a\" is not measured, between phases that are",
    ] {
        assert!(said(&output).contains(needle), "no {needle} in {}", said(&output));
    }
}

#[test]
fn the_flag_for_the_length_stretches_all_phases_together() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "[[phase]]\nname = \"a\"\nduration = \"10s\"\n[[phase]]\nname = \"b\"\nusers = 9\nduration = \"30s\"\n";
    let output = run(folder.path(), scenario, &["--duration", "4s", "--users", "3", "--dry-run"]);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("a: 3 users, at most 1 s"), "{shown}{}", said(&output));
    assert!(shown.contains("b: 9 users, at most 3 s"), "{shown}");
}

/// Of arrivals this rare none need come by chance, which is no reason to give up a run.
#[test]
fn a_cool_down_in_which_nothing_arrives_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "cool_down = \"200ms\"\n[request]\nmax_tokens = 2\n[filter]\nmax_prompt_words = 60\n\
                    [arrivals]\nrate = 200\nstages = [{ duration = \"500ms\", rate = 200 }, \
                    { duration = \"1ms\", rate = 0.001 }]\n";
    let output = run(folder.path(), scenario, &["--accept-saturated-client"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = std::fs::read_to_string(folder.path().join("out/report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(report["requests"]["completed"].as_u64() > Some(0), "{}", report["requests"]);
    assert_eq!(report["requests"]["cool_down"]["planned"], 0);
}
