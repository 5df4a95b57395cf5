//! Shapes of load through the real binary against the simulator: open loops, ramps, iterations.

mod alone;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Quick answers.
const SIM: [&str; 4] = ["--sim-ttft-ms", "5", "--sim-itl-ms", "1"];

fn run(folder: &Path, ours: &[&str], sim: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench-ci"))
        .args(["run", "--server", "sim", "--out-dir", "out", "--progress", "none"])
        .args([
            "--max-tokens",
            "2",
            "--ignore-eos",
            "--max-prompt-tokens",
            "60",
            "--ctx-size",
            "262144",
        ])
        .args(ours)
        .arg("--")
        .args(sim)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder)
        .env("HF_HOME", folder.join("hf"))
        .env("BENCH_CI_CACHE", folder.join("cache"))
        .env("GIT_CEILING_DIRECTORIES", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn report(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("out/report.json")).unwrap()).unwrap()
}

/// The measured rows, in the order of planning.
fn rows(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("out/requests.jsonl")).unwrap();
    let mut rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|row| row["phase"] == "measured")
        .collect();
    rows.sort_by_key(|row| row["index"].as_u64());
    rows
}

fn seconds(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))
}

fn said(output: &Output) -> String {
    format!(
        "{}{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Quantile by linear interpolation at q·(n−1).
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let below = values[place as usize];
    let above = values[(place as usize + 1).min(values.len() - 1)];
    below + (above - below) * place.fract()
}

#[test]
fn arrivals_beyond_the_limit_are_dropped_rows_and_the_run_is_no_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let ours = [
        "--rate",
        "100",
        "--arrivals",
        "constant",
        "--duration",
        "1s",
        "--max-in-flight",
        "5",
        "--warm-up",
        "0",
        "--parallel",
        "64",
    ];
    let output = run(folder.path(), &ours, &["--sim-ttft-ms", "200", "--sim-itl-ms", "1"]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    let report = report(folder.path());
    let rows = rows(folder.path());
    let begun = seconds(&rows[0], "planned_s");
    assert_eq!(rows.len(), 100);
    for (index, row) in rows.iter().enumerate() {
        let due = seconds(row, "planned_s") - begun;
        assert!((due - index as f64 / 100.0).abs() < 1e-6, "arrival {index} at {due}");
        assert_eq!(row["outcome"] == "dropped", row["written_s"].is_null());
    }
    let dropped = rows.iter().filter(|row| row["outcome"] == "dropped").count();
    assert!(dropped >= 70, "5 at once for 0.2 s each are 25 a second: {dropped}");
    assert_eq!(report["requests"]["dropped"], dropped);
    assert_eq!(report["client"]["arrivals"]["dropped"], dropped);
    assert_eq!(report["client"]["reasons"][0]["code"], "achieved_rate");
    let sent: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row["outcome"] == "completed")
        .map(|row| (seconds(row, "written_s"), seconds(row, "end_s")))
        .collect();
    let most = sent
        .iter()
        .map(|(at, _)| sent.iter().filter(|(from, to)| from <= at && at < to).count())
        .max();
    assert_eq!(most, Some(5));
}

/// No assertion on a time: nobody sends three times what was planned, or with less than no delay.
#[test]
fn the_limits_of_an_open_loop_are_flags_and_stand_in_the_report() {
    let arrivals = ["--rate", "40", "--arrivals", "constant", "--n-prompts", "8", "--warm-up", "0"];
    let lax = ["--max-arrival-lateness", "1000", "--arrival-lateness-floor", "1m"];
    let none = ["--max-arrival-lateness", "0", "--arrival-lateness-floor", "0ms"];
    for (rate, lateness, code) in [
        ("0.01", lax, None),
        ("3", lax, Some("achieved_rate")),
        ("0.01", none, Some("dispatch_lateness")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let limits = [&["--min-achieved-rate", rate][..], &lateness].concat();
        let output = run(folder.path(), &[&arrivals[..], &limits].concat(), &SIM);
        let exit = if code.is_some() { 5 } else { 0 };
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        let client = report(folder.path())["client"].clone();
        assert_eq!(client["reasons"][0]["code"].as_str(), code, "{client}");
        let told = |name: &str| client["limits"][name].as_f64().unwrap();
        assert_eq!(told("min_achieved_rate_ratio").to_string(), rate);
        assert_eq!(told("max_arrival_lateness_ratio").to_string(), lateness[1]);
        let floor_ms = if lateness == lax { "60000" } else { "0" };
        assert_eq!(told("arrival_lateness_floor_ms").to_string(), floor_ms);
    }
}

#[test]
fn the_same_seed_plans_the_same_arrivals() {
    let folder = tempfile::tempdir().unwrap();
    let plan_of = |seed: &str| {
        let ours = [
            "--rate",
            "400",
            "--arrivals",
            "gamma:0.5",
            "--n-prompts",
            "40",
            "--seed",
            seed,
            "--accept-saturated-client",
            "--parallel",
            "64",
        ];
        let output = run(folder.path(), &ours, &SIM);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let rows = rows(folder.path());
        let begun = seconds(&rows[0], "planned_s");
        let instants: Vec<i64> = rows
            .iter()
            .map(|row| ((seconds(row, "planned_s") - begun) * 1e6).round() as i64)
            .collect();
        assert_eq!(instants.len(), 40);
        (instants, report(folder.path())["scenario"]["workload_hash"].clone())
    };
    let first = plan_of("7");
    let again = plan_of("7");
    let apart = first.0.iter().zip(&again.0).map(|(one, two)| (one - two).abs()).max();
    assert!(apart <= Some(1), "{first:?} and {again:?}");
    assert_eq!(first.1, again.1);
    let other = plan_of("8");
    assert_ne!(first.1, other.1);
    assert_ne!(first.0, other.0);
}

#[test]
fn shapes_that_contradict_each_other_are_errors_that_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("open.toml"), "duration = \"1s\"\n[arrivals]\nrate = 5\n")
        .unwrap();
    std::fs::write(
        folder.path().join("wrong.toml"),
        "duration = \"1s\"\nusers = 4\n[arrivals]\nproces = \"poison\"\nrate = 0\n\
         [ramp]\nstages = [\n{ duration = \"1s\", user = 3 },\n]\n",
    )
    .unwrap();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["--rate", "5", "--users", "3"], &["'--rate <R>' cannot be used with '--users <N>'"]),
        (&["--arrivals", "poisson"], &["--arrivals: it is for arrivals at a rate", "pass --rate"]),
        (&["--max-in-flight", "5"], &["--max-in-flight: it is for arrivals at a rate"]),
        (&["--rate", "0"], &["--rate: must be above 0"]),
        (
            &["--rate", "1000000", "--duration", "1h"],
            &["3600000000 requests are planned, at most 20000000", "lower the rate, the duration"],
        ),
        (&["--rate", "5", "--arrivals", "poison"], &["did you mean \"poisson\"?"]),
        (
            &["--scenario", "open.toml", "--users", "3"],
            &["error: this command line: --users: the scenario has arrivals"],
        ),
        (
            &["--scenario", "wrong.toml"],
            &[
                "error: scenario file \"wrong.toml\" has ",
                "line 2: users has no place beside arrivals",
                "line 4: unknown key \"proces\" in [arrivals] (did you mean \"process\"?)",
                "arrivals.rate must be above zero",
                "arrivals has no place beside ramp",
                "line 8: unknown key \"user\" in [stages] (did you mean \"users\"?)",
                "line 8: stages.users is needed here",
            ],
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(folder.path(), arguments, &SIM);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in expected {
            assert!(said.contains(part), "no {part:?} for {arguments:?} in:\n{said}");
        }
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn every_user_makes_its_own_number_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "iterations_per_user = 7\nusers = 3\n";
    std::fs::write(folder.path().join("each.toml"), scenario).unwrap();
    let output = run(folder.path(), &["--scenario", "each.toml", "--parallel", "3"], &SIM);
    let mut per_user = BTreeMap::new();
    for row in rows(folder.path()) {
        assert_eq!(row["outcome"], "completed", "{}", said(&output));
        *per_user.entry(row["user_index"].as_u64().unwrap()).or_insert(0) += 1;
    }
    assert_eq!(per_user, BTreeMap::from([(0, 7), (1, 7), (2, 7)]));
}

#[test]
fn the_named_shapes_run_and_have_as_many_users_as_they_say() {
    for (name, most) in [("load", 4), ("soak", 3), ("spike", 20), ("breakpoint", 32)] {
        let folder = tempfile::tempdir().unwrap();
        let ours = ["--scenario", name, "--users", "4", "--duration", "2s", "--parallel", "64"];
        // Longer than the shortest step, so that all users are seen at work.
        let output = run(folder.path(), &ours, &["--sim-ttft-ms", "30", "--sim-itl-ms", "1"]);
        let report = report(folder.path());
        assert_eq!(report["requests"]["failed"], 0, "{name}: {}", said(&output));
        assert_eq!(report["scenario"]["phases"][1]["users"], most, "{name}");
        let rows = rows(folder.path());
        let users = rows.iter().filter_map(|row| row["user_index"].as_u64()).max().unwrap() + 1;
        // The last user of a climb that never rests comes when it is over.
        let seen = if name == "breakpoint" { most - 1 } else { most };
        assert_eq!(users, seen, "{name}");
        let begun = rows.iter().map(|row| seconds(row, "planned_s")).reduce(f64::min).unwrap();
        assert!(rows.iter().all(|row| seconds(row, "planned_s") < begun + 2.0), "{name}");
    }
}
