//! What a session never exceeds and never loses: its budget, and when it is killed what was measured and its
//! order.

use serde_json::Value;

use super::{Session, report};

/// A machine that is shared may hold us up; half as much again is no longer its fault.
const PATIENCE: f64 = 1.5;

#[test]
fn the_whole_call_ends_within_its_budget() {
    let session = Session::new();
    let ran = session.run(&["--aa", "--budget", "14s"]);
    let report = report(&ran);
    let whole = report["run"]["duration_s"].as_f64().unwrap();
    assert!(whole <= PATIENCE * 14.0, "{whole} s of 14");
    let sittings = report["design"]["sittings"].as_array().unwrap();
    let played: f64 = sittings.iter().map(|sitting| sitting["duration_s"].as_f64().unwrap()).sum();
    assert!(played <= whole, "{played} of {whole}");
}

#[test]
fn a_server_that_hangs_does_not_overrun_the_budget() {
    let session = Session::new();
    let ran =
        session.run(&["--head-args", "--sim-fault hang-mid --sim-fault-at 9", "--budget", "14s"]);
    let report = report(&ran);
    let whole = report["run"]["duration_s"].as_f64().unwrap();
    assert!(whole <= PATIENCE * 14.0, "{whole} s of 14: {}", ran.stderr);
    assert_ne!(report["verdict"], "improved");
    assert_ne!(report["verdict"], "no-regression", "{}", ran.stderr);
}

/// Times, what was measured, what is sized by how fast the machine was just then, and what is said of
/// those. Everything else must be the same in two sessions of one plan.
const VARIES: [&str; 38] = [
    "id",
    "started_at",
    "finished_at",
    "duration_s",
    "sittings",
    "start_s",
    "exit_code",
    "causes",
    "status",
    "requests",
    "failed",
    "prompt_tokens",
    "output_tokens",
    "failures",
    "slice_pairs",
    "requests_per_slice",
    "stopped_at",
    "stopped_because",
    "pairs_used",
    "level",
    "workload_hash",
    "change_pct",
    "ci_pct",
    "ci_level",
    "p",
    "p_holm",
    "q",
    "resolution_pct",
    "mde80_pct",
    "regression80_pct",
    "pairs",
    "pairs_pct",
    "outliers",
    "position_effect_pct",
    "needed_pairs",
    "sentence",
    "unknown",
    "warnings",
];

/// What is left of a report; of the trials, which were played and in which order.
fn skeleton(report: &Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !VARIES.contains(&name.as_str()));
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut report = report.clone();
    let mut trials: Vec<(u64, u64, String)> = report["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| {
            let number = |name: &str| trial[name].as_u64().unwrap();
            (number("pair"), number("slot"), trial["side"].as_str().unwrap().to_owned())
        })
        .collect();
    // A pair that the machine spoilt was played twice.
    trials.sort();
    trials.dedup();
    report["trials"] = serde_json::json!(trials);
    for side in ["base", "head"] {
        // The port that was free.
        report["sides"][side]["command"] = Value::Null;
    }
    let comparisons = report["comparisons"].as_array_mut().unwrap();
    // Whether there is a tail depends on how many requests a trial had.
    let is_tail = |metric: &Value| {
        ["_p95", "_p99"].iter().any(|tail| metric.as_str().unwrap().ends_with(tail))
    };
    comparisons.retain(|comparison| !is_tail(&comparison["metric"]));
    for comparison in comparisons {
        let fields = comparison.as_object_mut().unwrap();
        fields.retain(|name, _| !["base", "head", "verdict"].contains(&name.as_str()));
    }
    for check in report["checks"].as_array_mut().unwrap() {
        check.as_object_mut().unwrap().retain(|name, _| name == "name");
    }
    let fields = report.as_object_mut().unwrap();
    fields.remove("verdict");
    fields.remove("reasons");
    strip(&mut report);
    report
}

#[test]
fn a_session_killed_in_its_fifth_block_ends_as_one_that_was_never_killed() {
    let arguments = ["--aa", "--budget", "28s", "--pairs", "7", "--seed", "11"];
    let killed = Session::new();
    let mut child = killed.command(&arguments).spawn().unwrap();
    killed.wait_for(&mut child, 4);
    // In the middle of the fifth.
    child.kill().unwrap();
    child.wait().unwrap();
    let state = std::fs::read(killed.out().join("ab-state.json")).unwrap();
    let before: Value = serde_json::from_slice(&state).unwrap();
    let resumed = killed.complete(&[&arguments[..], &["--resume"]].concat());
    let resumed_report = report(&resumed);
    let whole = Session::new();
    let whole = whole.complete(&arguments);
    let whole_report = report(&whole);
    assert_eq!(resumed_report["design"]["order"], whole_report["design"]["order"]);
    // With time for all pairs both have them all, and only figures tell them apart.
    assert_eq!(
        skeleton(resumed_report),
        skeleton(whole_report),
        "{} / {}",
        resumed.stderr,
        whole.stderr
    );
    assert!(resumed_report["design"]["sittings"].as_array().unwrap().len() >= 2);
    let trials = resumed_report["trials"].as_array().unwrap();
    let measured = before["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|pair| pair["trials"].as_array().unwrap());
    for (earlier, kept) in measured.zip(trials) {
        assert_eq!(earlier["metrics"], kept["metrics"]);
        assert_eq!(earlier["folder"], kept["folder"]);
    }
}
