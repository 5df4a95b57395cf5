//! `bench-ci ab` end to end, against the simulator: verdicts of times, and what takes its time to be right.
//!
//! Effects are large and no other test runs beside these, so that a busy machine cannot hide them; nothing
//! here asserts a speed.

mod bisect;
mod bounds;
mod real_llama_server;
mod verdicts;

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Session, report};

#[test]
fn a_head_that_is_half_as_fast_regressed() {
    let session = Session::new();
    let ran = session.concluded(&[
        "--head-args",
        "--sim-slowdown 100",
        "--budget",
        "60s",
        "--pairs",
        "7",
        "--restart-mode",
        "--seed",
        "7",
    ]);
    assert_eq!(ran.exit, 3, "{}", ran.stderr);
    let report = report(&ran);
    assert_eq!(report["verdict"], "regressed");
    assert_eq!(report["design"]["seed"], 7);
    assert_eq!(report["design"]["kind"], "restart");
    let rate = &report["comparisons"][0];
    assert_eq!(rate["metric"], "output_tokens_per_second");
    let change = rate["change_pct"].as_f64().unwrap();
    assert!((-65.0..-35.0).contains(&change), "{change}");
    let page = std::fs::read_to_string(session.out().join("ab.md")).unwrap();
    assert!(page.starts_with("**❌ regressed:** Head is slower: "), "{page}");
}

#[test]
fn blocks_hold_both_servers_and_equal_work() {
    let session = Session::new();
    let ran = session.run(&["--aa", "--budget", "12s", "--pairs", "7"]);
    assert!(ran.exit == 0 || ran.exit == 5, "{}: {}", ran.exit, ran.stderr);
    let report = report(&ran);
    assert_eq!(report["design"]["kind"], "blocks");
    assert_eq!(report["design"]["aa"], true);
    assert_eq!(report["sides"]["base"]["output_tokens"], report["sides"]["head"]["output_tokens"]);
    for side in ["base", "head"] {
        let command = report["sides"][side]["command"].as_array().unwrap();
        assert!(command.windows(2).any(|words| words == ["--fit", "off"]), "{command:?}");
    }
    let trials = report["trials"].as_array().unwrap();
    assert!(!trials.is_empty(), "{}", ran.stderr);
    for pair in trials.chunks(2) {
        assert_eq!(pair[0]["pair"], pair[1]["pair"]);
        let order = report["design"]["order"][pair[0]["pair"].as_u64().unwrap() as usize].clone();
        let first = if order == "AB" { "base" } else { "head" };
        assert_eq!(pair[0]["side"], first);
        assert_eq!(pair[0]["requests"], pair[1]["requests"]);
    }
    for trial in trials {
        assert!(trial["client_late_ratio"].as_f64().is_some_and(|ratio| ratio >= 0.0), "{trial}");
        // A percentile, or how many answers it takes.
        let (tails, few) = (&trial["tails"], trial["requests"].as_u64().unwrap() < 400);
        assert_eq!(tails["ttft_ms_p95"].is_null(), few, "{trial}");
        let why = &tails["unknown"]["ttft_ms_p95"];
        assert!(!few || why.as_str().unwrap().contains("takes 400 answers"), "{trial}");
    }
}

#[test]
fn a_killed_session_is_resumed_with_the_same_order() {
    let session = Session::new();
    let arguments = ["--aa", "--budget", "60s", "--pairs", "4", "--restart-mode", "--seed", "11"];
    let mut child = session.command(&arguments).spawn().unwrap();
    let state = session.out().join("ab-state.json");
    let begun = Instant::now();
    // In the middle of the third pair.
    let pairs = || {
        let text = std::fs::read(&state).ok()?;
        let state: Value = serde_json::from_slice(&text).ok()?;
        Some(state["pairs"].as_array()?.len())
    };
    while pairs().is_none_or(|pairs| pairs < 2) {
        assert!(begun.elapsed() < Duration::from_secs(120), "two pairs never came");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();

    let other = session.run(&[
        "--aa",
        "--budget",
        "60s",
        "--pairs",
        "5",
        "--restart-mode",
        "--seed",
        "11",
        "--resume",
    ]);
    assert_eq!(other.exit, 2, "another plan must not be mixed in: {}", other.stderr);

    let mut again = arguments.to_vec();
    again.push("--resume");
    let ran = session.run(&again);
    let report = report(&ran);
    assert_eq!(report["design"]["seed"], 11);
    assert_eq!(report["design"]["sittings"].as_array().unwrap().len(), 2);
    let trials = report["trials"].as_array().unwrap();
    assert_eq!(trials.len(), 8, "{}", ran.stderr);
    // What was measured before is in it as it was.
    for (pair, record) in before["pairs"].as_array().unwrap().iter().enumerate() {
        assert_eq!(record["trials"][0]["metrics"], trials[2 * pair]["metrics"]);
    }
    assert!(!state.exists(), "nothing is left to be resumed");
    let ran = session.run(&again);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("no interrupted comparison"), "{}", ran.stderr);
}
