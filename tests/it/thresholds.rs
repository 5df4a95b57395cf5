//! Thresholds and objectives through the binary, against the simulator: what a crossed one does to
//! the exit code, to the load and to the files.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const FILES: [&str; 8] = [
    "report.json",
    "report.md",
    "requests.jsonl",
    "requests.csv",
    "server-metrics.jsonl",
    "resources.jsonl",
    "server.log",
    "events.jsonl",
];

/// A run of a few short requests against the simulator, with these flags besides. A busy machine may
/// make this client late, which is not what is tested here.
fn run(folder: &Path, flags: &[&str]) -> Output {
    const SHORT: [&str; 7] =
        ["--server", "sim", "--max-tokens", "8", "--warm-up", "0", "--accept-saturated-client"];
    command(folder).args(SHORT).args(flags).output().unwrap()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
    command
        .args(["--progress", "none", "--out-dir", "out"])
        .current_dir(folder)
        .env("HF_HOME", folder.join("hf"))
        .env("BENCH_CI_CACHE", folder.join("cache"))
        .env_remove("LLAMA_SERVER_BIN_PATH")
        .stdin(Stdio::null());
    command
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("out/report.json")).unwrap()).unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn a_crossed_threshold_is_exit_99_with_all_files_written() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--n-prompts",
        "6",
        "--threshold",
        "ttft_ms: p(95) < 0.001",
        "--threshold",
        "http_reqs: count == 6",
    ];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(99), "{}", said(&output));
    for file in FILES {
        assert!(folder.path().join("out").join(file).is_file(), "{file} is missing");
    }
    let report = report(folder.path());
    assert_eq!(report["run"]["exit_code"], 99);
    assert_eq!(report["run"]["status"], "completed");
    let [crossed, held] = report["thresholds"].as_array().unwrap().as_slice() else {
        panic!("two were asked for: {}", report["thresholds"]);
    };
    assert_eq!(crossed["expression"], "ttft_ms: p(95) < 0.001");
    assert_eq!((&crossed["ok"], &crossed["aborted"]), (&Value::from(false), &Value::from(false)));
    assert!(crossed["observed"].as_f64().is_some_and(|observed| observed > 0.001));
    assert_eq!((&held["ok"], held["observed"].as_f64()), (&Value::from(true), Some(6.0)));
    let markdown = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    let first = markdown.lines().next().unwrap();
    assert!(first.contains("1 of 2 thresholds crossed: ttft"), "{first}");
    assert!(markdown.contains("### Thresholds"), "{markdown}");
    let rows = std::fs::read_to_string(folder.path().join("out/requests.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 6);
}

#[test]
fn thresholds_that_hold_are_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--n-prompts",
        "6",
        "--threshold",
        "http_req_duration: p(95) < 60000,abort",
        "--threshold",
        "itl_ms: max < 60000",
        "--threshold",
        "http_req_failed: rate < 0.01",
        "--threshold",
        "server:llamacpp:tokens_predicted_total: count >= 6",
        "--threshold",
        "requests_per_second > 0",
    ];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report = report(folder.path());
    let judged = report["thresholds"].as_array().unwrap();
    assert_eq!(judged.len(), 5);
    assert!(
        judged.iter().all(|one| one["ok"] == true && one["observed"].is_number()),
        "{judged:?}"
    );
}

/// Far more is planned than the first look, two seconds in, lets pass.
#[test]
fn an_aborting_threshold_ends_the_load_early() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--n-prompts", "100000", "--threshold", "http_req_duration: max < 0.001,abort"];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(99), "{}", said(&output));
    let report = report(folder.path());
    assert_eq!(report["thresholds"][0]["aborted"], true);
    assert_eq!(report["thresholds"][0]["ok"], false);
    assert_eq!(report["run"]["status"], "partial");
    let completed = report["requests"]["completed"].as_u64().unwrap();
    assert!((1..100_000).contains(&completed), "{completed}");
    let cause = report["run"]["causes"][0].as_str().unwrap();
    assert!(
        cause.starts_with("threshold \"http_req_duration: max < 0.001\" was crossed"),
        "{cause}"
    );
    for file in FILES {
        assert!(folder.path().join("out").join(file).is_file(), "{file} is missing");
    }
    let markdown = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert!(markdown.starts_with("**Failed:** threshold "), "{markdown}");
}

/// The delay is longer than the load may be, so the load comes to its own end; the looks in between
/// have seen the crossing.
#[test]
fn a_delay_longer_than_the_load_lets_it_end_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let threshold = "http_req_duration: max < 0.001,abort,delay=1h";
    let output = run(folder.path(), &["--duration", "3s", "--threshold", threshold]);
    assert_eq!(output.status.code(), Some(99), "{}", said(&output));
    let report = report(folder.path());
    assert_eq!(report["thresholds"][0]["aborted"], false);
    assert_eq!(report["thresholds"][0]["ok"], false);
    assert_eq!(report["run"]["status"], "completed");
}

#[test]
fn a_run_that_is_no_evidence_stays_exit_5() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--n-prompts",
        "4",
        "--threshold",
        "http_req_failed: rate < 0.01",
        "--",
        "--sim-fault",
        "error-in-stream",
        "--sim-fault-every",
        "2",
    ];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert_eq!(report(folder.path())["thresholds"][0]["ok"], false);
}

#[test]
fn chat_only_warns_of_truncated_answers_and_a_flag_makes_it_fail() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--n-prompts", "4"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let warned = report(folder.path());
    assert_eq!(warned["thresholds"], serde_json::json!([]));
    let warnings = warned["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["code"] == "threshold"), "{warnings:?}");

    let flags = ["--n-prompts", "4", "--threshold", "llamacpp_completions_truncated_rate < 0.8"];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(99), "{}", said(&output));
    let failed = report(folder.path());
    assert_eq!(failed["thresholds"][0]["observed"].as_f64(), Some(1.0));
    let warnings = failed["warnings"].as_array().unwrap();
    assert!(warnings.iter().all(|warning| warning["code"] != "threshold"), "{warnings:?}");
}

#[test]
fn goodput_counts_requests_that_kept_every_objective() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--n-prompts",
        "6",
        "--objective",
        "ttft_ms < 60000 and tpot_ms < 60000",
        "--threshold",
        "objectives_met_ratio: rate == 1",
    ];
    let output = run(folder.path(), &flags);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let good = report(folder.path());
    assert_eq!(good["rates"]["goodput_requests_per_second"], good["rates"]["requests_per_second"]);
    assert_eq!(good["scenario"]["objectives"].as_array().unwrap().len(), 2);
    let markdown = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert!(markdown.contains("Goodput: "), "{markdown}");

    let flags = ["--n-prompts", "6", "--objective", "ttft_ms < 0"];
    assert_eq!(run(folder.path(), &flags).status.code(), Some(0));
    assert_eq!(report(folder.path())["rates"]["goodput_requests_per_second"].as_f64(), Some(0.0));

    assert_eq!(run(folder.path(), &["--n-prompts", "6"]).status.code(), Some(0));
    let none = report(folder.path());
    assert_eq!(none["rates"]["goodput_requests_per_second"], Value::Null);
    assert_eq!(none["rates"]["unknown"]["goodput_requests_per_second"], "no objectives were set");
}

#[test]
fn what_is_wrong_with_them_is_said_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "duration = \"1s\"\nobjectives = [\"ttft < 3\"]\n\n[[threshold]]\nmetric = \"ttft_ms\"\n\
                    expression = \"p95 < 3\"\nabrt = true\n\n[[threshold]]\nmetric = \"e2e_ms\"\n";
    std::fs::write(folder.path().join("own.toml"), scenario).unwrap();
    let flags = ["--scenario", "own.toml", "--threshold", "tpot: avg < 3"];
    let output = run(folder.path(), &flags);
    let words = said(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    for expected in [
        "line 2: invalid value \"ttft < 3\" for objectives: no request has a metric \"ttft\" (did you mean \"ttft_ms\"?)",
        "line 6: invalid threshold \"ttft_ms: p95 < 3\": \"ttft_ms\" is a trend and has no method \"p95\" (did you mean \"p(95)\"?)",
        "line 7: unknown key \"abrt\" in [threshold] (did you mean \"abort\"?)",
        "line 10: a threshold without expression",
        "--threshold: invalid value \"tpot: avg < 3\": unknown metric \"tpot\" (did you mean \"tpot_ms\"?)",
    ] {
        assert!(words.contains(expected), "{expected}\n\n{words}");
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_dry_run_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "duration = \"1s\"\nobjectives = [\"ttft_ms < 3 and e2e_ms < 9\"]\n\n[[threshold]]\n\
                    metric = \"ttft_ms\"\nexpression = \"p(95) < 3\"\nabort = true\ndelay = \"1m\"\n";
    std::fs::write(folder.path().join("own.toml"), scenario).unwrap();
    let output = run(folder.path(), &["--scenario", "own.toml", "--dry-run"]);
    let words = said(&output);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(
        words.contains(
            "thresholds ttft_ms: p(95) < 3, ends the load when it is crossed, not before 1m\n"
        ),
        "{words}"
    );
    assert!(words.contains("objectives ttft_ms < 3 and e2e_ms < 9\n"), "{words}");
}

#[test]
fn every_name_is_in_the_methodology() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("METHODOLOGY.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (name, _) in bench_ci::plan::subject::names() {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
}
