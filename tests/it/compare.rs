//! `bench-ci compare` as a user calls it: files in, words and exit codes out.

use std::path::PathBuf;
use std::process::Command;

use bench_ci::artifact::{Report, compare_json_schema};
use serde_json::{Value, json};

use crate::report::fixture;

struct Desk {
    folder: tempfile::TempDir,
}

struct Said {
    exit: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, text: &str) {
        let file: PathBuf = self.folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn report(&self, name: &str, change: impl FnOnce(&mut Report)) {
        let mut report = fixture::ok();
        report.run.id = name.to_owned();
        change(&mut report);
        self.write(name, &report.to_json());
    }

    fn compare(&self, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
            .arg("compare")
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        if stdout.starts_with('{') {
            let validator = jsonschema::validator_for(&compare_json_schema()).unwrap();
            let json: Value = serde_json::from_str(&stdout).unwrap();
            let violations: Vec<String> =
                validator.iter_errors(&json).map(|error| error.to_string()).collect();
            assert_eq!(violations, [""; 0]);
        }
        Said {
            exit: output.status.code().unwrap_or(-1),
            stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn two_reports_are_shown_in_every_format() {
    let desk = Desk::new();
    desk.report("base.json", |_| {});
    desk.report("head/report.json", |report| {
        report.rates.whole.output_tokens_per_second =
            report.rates.whole.output_tokens_per_second.map(|rate| 0.9 * rate);
    });
    for format in ["text", "markdown", "json"] {
        let said = desk.compare(&["base.json", "head", "--format", format]);
        assert_eq!(said.exit, 0, "{}", said.stderr);
        insta::assert_snapshot!(format!("compare_{format}"), said.stdout);
    }
    let json: Value =
        serde_json::from_str(&desk.compare(&["base.json", "head", "--format", "json"]).stdout)
            .unwrap();
    assert_eq!(json["verdict"], Value::Null);
    assert_eq!(json["comparisons"][0]["looks"], "looks slower");
}

#[test]
fn fail_on_has_nothing_to_act_on_without_repeated_runs() {
    let desk = Desk::new();
    desk.report("base.json", |_| {});
    desk.report("head.json", |report| report.rates.whole.output_tokens_per_second = Some(1.0));
    let said = desk.compare(&["base.json", "head.json", "--fail-on", "regressed"]);
    assert_eq!(said.exit, 0);
    assert!(said.stdout.contains("--fail-on has nothing to act on"), "{}", said.stdout);
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_exit_code() {
    let desk = Desk::new();
    desk.report("base.json", |_| {});
    desk.report("model.json", |report| {
        report.model.as_mut().unwrap().sha256 = Some("f".repeat(64))
    });
    desk.report("work.json", |report| report.scenario.workload_hash = Some("e".repeat(64)));
    desk.write("sim.json", &fixture::simulator().to_json());
    desk.write("never.json", &fixture::never_began().to_json());
    desk.write(
        "newer.json",
        &fixture::ok().to_json().replace("bench-ci.report/1", "bench-ci.report/2"),
    );
    desk.write("other.json", "{\"schema\": \"another/1\"}");
    desk.write("cut.json", "{\"schema\": \"bench-ci.rep");
    desk.write("empty.json", "");
    desk.write("folder/readme", "");
    for (head, exit, named) in [
        ("model.json", 2, "the model differs"),
        ("work.json", 2, "the workload differs"),
        ("sim.json", 2, "the server differs"),
        ("never.json", 5, "no measurement"),
        ("newer.json", 9, "newer than this build"),
        ("other.json", 9, "not a bench-ci report"),
        ("cut.json", 9, "not JSON"),
        ("empty.json", 9, "not JSON"),
        ("folder", 9, "no report.json"),
        ("nowhere.json", 9, "cannot read"),
    ] {
        let said = desk.compare(&["base.json", head]);
        assert_eq!(said.exit, exit, "{head}: {} {}", said.stdout, said.stderr);
        assert!(said.stderr.contains(named), "{head}: {}", said.stderr);
        assert!(said.stdout.is_empty(), "{head}: {}", said.stdout);
    }
    let said = desk.compare(&["base.json", "model.json", "--accept", "model"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert!(said.stdout.contains("warning: the model differs"), "{}", said.stdout);
    for words in [
        &["base.json"][..],
        &["base.json", "base.json", "--base", "base.json"],
        &["--base", "base.json"],
    ] {
        assert_eq!(desk.compare(words).exit, 2, "{words:?}");
    }
}

#[test]
fn the_simulator_is_named_in_the_headline() {
    let desk = Desk::new();
    desk.write("sim.json", &fixture::simulator().to_json());
    let said = desk.compare(&["sim.json", "sim.json", "--format", "json"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(json["headline"].as_str().unwrap().ends_with("not a real server"), "{}", said.stdout);
}

#[test]
fn a_run_that_is_no_evidence_is_marked() {
    let desk = Desk::new();
    desk.report("base.json", |_| {});
    desk.write("head.json", &fixture::failed().to_json());
    let said = desk.compare(&["base.json", "head.json"]);
    assert_eq!(said.exit, 5, "{}", said.stdout);
    assert!(said.stdout.starts_with("these runs are not evidence"), "{}", said.stdout);
    assert_eq!(desk.compare(&["base.json", "head.json", "--fail-on", "never"]).exit, 0);
}

/// Folders of repeated runs in turn; head's rate is `factor` of base's.
fn repeated(desk: &Desk, factor: f64) {
    for pair in 0..9 {
        let noise = 1.0 + 0.001 * f64::from(pair * 7 % 5);
        for (name, slot, factor) in [("base", pair % 2, 1.0), ("head", 1 - pair % 2, factor)] {
            desk.report(&format!("{name}/{pair}/report.json"), |report| {
                report.run.started_at = format!("2026-11-22T08:{:02}:{:02}.000Z", pair, 30 * slot);
                let rate = report.rates.whole.output_tokens_per_second.unwrap();
                report.rates.whole.output_tokens_per_second = Some(rate * noise * factor);
            });
        }
    }
}

#[test]
fn repeated_runs_in_turn_get_a_verdict_and_its_exit_code() {
    for (factor, fail_on, exit, verdict) in [
        (0.9, "regressed", 3, "regressed"),
        (0.9, "never", 0, "regressed"),
        (1.1, "regressed", 0, "improved"),
        (1.1, "improved", 3, "improved"),
        (1.0, "inconclusive", 0, "no-regression"),
    ] {
        let desk = Desk::new();
        repeated(&desk, factor);
        let words = ["--base", "base", "--head", "head", "--fail-on", fail_on];
        let said = desk.compare(&[&words[..], &["--format", "json"]].concat());
        let json: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(json["verdict"], verdict, "{}", said.stdout);
        assert_eq!(json["design"]["pairs"], 9);
        assert_eq!(said.exit, exit, "{factor} {fail_on}");
        assert!(desk.compare(&words).stdout.contains("9 pairs of runs in turn on one machine"));
    }
}

#[test]
fn k6_and_llama_bench_can_be_a_side() {
    let desk = Desk::new();
    let k6 = |first_token_s: f64| {
        json!({"metrics": {
            "http_req_duration": {"avg": 800.0, "med": 750.0, "p(95)": 900.0},
            "llamacpp_emit_first_token_second": {"med": first_token_s, "p(95)": 2.0 * first_token_s},
            "iterations": {"count": 10, "rate": 1.0},
            "checks": {"passes": 10, "fails": 0},
        }, "root_group": {}})
        .to_string()
    };
    desk.write("base-k6.json", &k6(0.1));
    desk.write("head-k6.json", &k6(0.2));
    let said = desk.compare(&["base-k6.json", "head-k6.json", "--format", "json"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert!(said.stdout.contains("do not say of which machine"), "{}", said.stdout);
    let json: Value = serde_json::from_str(&said.stdout).unwrap();
    let ttft =
        json["comparisons"].as_array().unwrap().iter().find(|row| row["metric"] == "ttft_ms_p50");
    assert_eq!(ttft.unwrap()["base"]["value"], 100.0, "seconds became milliseconds");
    assert!(json["headline"].as_str().unwrap().starts_with("looks slower: ttft_ms_p50 +100.0 %"));

    let row = |prompt: u32, generated: u32, rate: f64| {
        json!({"build_commit": "abc", "cpu_info": "a cpu", "gpu_info": "", "model_filename": "dir/m.gguf",
               "model_size": 7, "n_prompt": prompt, "n_gen": generated, "n_depth": 0, "n_threads": 4,
               "avg_ts": rate, "stddev_ts": 1.0, "samples_ts": [rate - 1.0, rate, rate + 1.0]})
    };
    desk.write("base-bench.json", &json!([row(512, 0, 900.0), row(0, 128, 40.0)]).to_string());
    let lines = format!("{}\n{}\n", row(512, 0, 901.0), row(0, 128, 20.0));
    desk.write("head-bench.jsonl", &lines);
    let said = desk.compare(&["base-bench.json", "head-bench.jsonl"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert!(said.stdout.starts_with("looks slower: tg128 −50.0 %"), "{}", said.stdout);
    assert!(said.stdout.contains("pp512"), "{}", said.stdout);

    desk.report("ours.json", |_| {});
    let said =
        desk.compare(&["ours.json", "base-bench.json", "--accept", "server", "--accept", "model"]);
    assert_eq!(said.exit, 2, "{}", said.stdout);
    assert!(said.stderr.contains("no metric in common"), "{}", said.stderr);
    let said = desk.compare(&["ours.json", "head-k6.json"]);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    assert!(said.stdout.contains("their stamps and windows are not the same"), "{}", said.stdout);
}
