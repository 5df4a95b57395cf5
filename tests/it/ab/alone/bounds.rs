//! What a session never exceeds and never loses: its budget, what was measured when it is stopped or killed,
//! and its order.

use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Session, report, sound};
use crate::hub_server::{Behaviour, HubServer};

impl Session {
    /// Waits until so many pairs are on disk.
    fn wait_for(&self, child: &mut Child, wanted: usize) {
        let state = self.out().join("ab-state.json");
        let pairs = || {
            let text = std::fs::read(&state).ok()?;
            let state: Value = serde_json::from_slice(&text).ok()?;
            Some(state["pairs"].as_array()?.len())
        };
        let begun = Instant::now();
        while pairs().is_none_or(|pairs| pairs < wanted) {
            assert!(begun.elapsed() < Duration::from_secs(180), "{wanted} pairs never came");
            assert!(child.try_wait().unwrap().is_none(), "it ended before {wanted} pairs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kept(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.out().join("ab.json")).unwrap()).unwrap()
    }
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

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

/// The budget is the user's; that it is short says nothing about the server.
#[test]
fn a_server_that_needs_more_time_than_there_is_has_not_failed() {
    let session = Session::new();
    let ran = session.run(&["--aa", "--budget", "8s", "--", "--sim-fault", "slow-load:60000"]);
    assert_eq!(ran.exit, 5, "{}", ran.stderr);
    assert!(ran.stderr.contains("the budget of 8 s was spent"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("not healthy"), "{}", ran.stderr);
    assert_eq!(report(&ran)["verdict"], "invalid");
}

#[test]
fn a_model_that_does_not_come_does_not_overrun_the_budget() {
    let hub = HubServer::start();
    hub.add("o/n", "m.gguf", b"GGUF");
    hub.behave(Behaviour { hang: true, ..Behaviour::default() });
    let session = Session::new();
    let model = ["--aa", "--hf-repo", "o/n", "--hf-file", "m.gguf", "--budget", "6s"];
    let mut command = session.command(&model);
    command.env("HF_ENDPOINT", hub.url()).env("HF_HOME", session.folder.path().join("hub"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Not 6, which is what it would leave with after minutes.
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("the budget of 6 s was spent"), "{stderr}");
    sound(&session.kept(), &session.out());
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_a_second_one_does_not_wait() {
    let session = Session::new();
    let mut child =
        session.command(&["--aa", "--budget", "120s", "--restart-mode"]).spawn().unwrap();
    session.wait_for(&mut child, 1);
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let kept = session.kept();
    assert_eq!(kept["run"]["status"], "partial");
    assert_eq!(kept["run"]["exit_code"], 130);
    assert_eq!(kept["design"]["stopped_because"], "interrupted");
    assert!(kept["trials"].as_array().unwrap().len() >= 2);
    assert!(session.out().join("ab-state.json").is_file(), "--resume finds it");

    let session = Session::new();
    let stubborn =
        ["--stop-grace", "300s", "--base-args", "--sim-fault refuse-stop", "--head-args"];
    let stubborn = [&stubborn[..], &["--sim-fault refuse-stop", "--budget", "600s"]].concat();
    let mut child = session.command(&stubborn).spawn().unwrap();
    let begun = Instant::now();
    while !session.out().join("trials").is_dir() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    send(&child, Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(60), "the grace of 300 s was waited for");
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
fn a_session_is_not_carried_on_with_another_variable_or_dataset() {
    let session = Session::new();
    let prompts = session.folder.path().join("prompts.txt");
    std::fs::write(&prompts, "What is a tide?\nWhat is a wave?\n").unwrap();
    let arguments = |variable: &'static str| {
        let sides = ["--head-env", variable, "--dataset", "prompts.txt", "--restart-mode"];
        [&sides[..], &["--pairs", "2", "--budget", "120s"]].concat()
    };
    let mut child = session.command(&arguments("X=2")).spawn().unwrap();
    session.wait_for(&mut child, 0);
    child.kill().unwrap();
    child.wait().unwrap();
    let refused = |variable: &'static str, what: &str| {
        let ran = session.run(&[&arguments(variable)[..], &["--resume"]].concat());
        assert_eq!(ran.exit, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(what), "no {what} in {}", ran.stderr);
    };
    refused("X=4", "\"head.env.X\"");
    std::fs::write(&prompts, "What is a current?\n").unwrap();
    refused("X=2", "\"base.files.dataset.");
}

#[test]
fn a_session_killed_in_its_fifth_block_ends_as_one_that_was_never_killed() {
    let arguments = ["--aa", "--budget", "40s", "--pairs", "7", "--seed", "11"];
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
