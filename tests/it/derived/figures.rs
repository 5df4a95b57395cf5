//! Figures that are derived from a whole run, against what the simulator is known to do.

use super::{bench, sim};
use crate::run::json_lines;

#[test]
fn the_servers_counters_give_the_clients_rates() {
    let bench = bench();
    let flags = ["--n-prompts", "12", "--max-tokens", "16", "--ignore-eos"];
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    let derived = ran.report()["derived"].clone();
    let rates = &derived["server_rates"];
    for side in ["output", "prompt"] {
        let (server, client) = (
            &rates[format!("{side}_tokens_per_second")],
            &rates[format!("client_{side}_tokens_per_second")],
        );
        let (server, client) = (server.as_f64().unwrap(), client.as_f64().unwrap());
        assert!((server / client - 1.0).abs() < 1e-9, "{side}: {server} and {client}");
        assert!(server > 0.0);
        let ratio = rates[format!("{side}_difference_ratio")].as_f64().unwrap();
        assert!(ratio.abs() < 1e-9, "{ratio}");
    }
    let page = ran.file("report.md");
    assert!(page.contains("By the server's counters: "), "{page}");
    let law = &derived["littles_law"];
    assert_eq!(law["holds"], true, "{law}");
    assert_eq!(derived["utilization"]["mbu"], serde_json::Value::Null);
    let reason = derived["utilization"]["unknown"]["weight_bytes_per_step"].as_str().unwrap();
    assert!(reason.contains("simulator"), "{reason}");
    assert!(derived["unknown"]["drafts"].as_str().unwrap().contains("did not draft"), "{derived}");
}

#[test]
fn residuals_stand_beside_each_request() {
    let bench = bench();
    let flags = ["--n-prompts", "8", "--max-tokens", "8", "--ignore-eos"];
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    for row in ran.rows().iter().filter(|row| row["phase"] == "measured") {
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name}: {row}"));
        let left = number("ttft_ms") - number("queue_ms") - number("server_prefill_ms");
        assert!((left - number("ttft_residual_ms")).abs() < 1e-9, "{row}");
        let seen = (number("last_content_s") - number("first_content_s")) * 1e3;
        let left = seen - number("server_decode_ms");
        assert!((left - number("decode_residual_ms")).abs() < 1e-4, "{row}");
    }
    let residual = &ran.report()["reconciliation"]["decode_residual"];
    assert!(residual["mean_ms"].is_f64() && residual["min_ms"].is_f64(), "{residual}");
    assert!(residual["unknown"]["p99_ms"].as_str().unwrap().starts_with("needs n ≥ 100"));
}

/// 1 ms a token in the simulator, whatever the first took.
#[test]
fn tpot_by_difference_pairs_each_prompt_with_itself() {
    let bench = bench();
    let flags = ["--n-prompts", "10", "--max-tokens", "8", "--tpot-difference", "32"];
    let flags = [&flags[..], &["--users", "1"]].concat();
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 20, "each prompt twice");
    let found = &report["derived"]["tpot_difference"];
    assert_eq!((&found["pairs"], &found["step_tokens"]), (&10.into(), &32.into()), "{found}");
    let [low, high] = [0, 1].map(|end| found["ci95_ms"][end].as_f64().unwrap());
    let median = found["tpot_ms_p50"].as_f64().unwrap();
    assert!(low <= median && median <= high, "{found}");
    assert!((0.5..2.0).contains(&median), "{found}");
    assert!(ran.file("report.md").contains("TPOT by the difference of 8 and 40 tokens"));
    let mut lengths: Vec<(u64, u64)> = ran
        .rows()
        .iter()
        .filter(|row| row["phase"] == "measured")
        .map(|row| (row["prompt_index"].as_u64().unwrap(), row["max_tokens"].as_u64().unwrap()))
        .collect();
    lengths.sort_unstable();
    for pair in lengths.chunks(2) {
        assert_eq!(pair[0].0, pair[1].0, "{lengths:?}");
        assert_eq!((pair[0].1, pair[1].1), (8, 40), "{lengths:?}");
    }
    let warnings = report["warnings"].to_string();
    assert!(!warnings.contains("repeated_prompts"), "the method's own doing: {warnings}");
}

#[test]
fn tpot_by_difference_takes_prompts_with_budgets_of_their_own() {
    let bench = bench();
    let lengths = ["--dataset", "synthetic:input=64,output=12", "--n-prompts", "10"];
    let flags = [&lengths[..], &["--tpot-difference", "16", "--users", "1"]].concat();
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    let found = ran.report()["derived"]["tpot_difference"].clone();
    assert_eq!((&found["pairs"], &found["tokens"]), (&10.into(), &12.into()), "{found}");
    assert_eq!(found["tokens_max"], 12, "{found}");
    assert!(found["tpot_ms_p50"].is_f64() && found["ci95_ms"].is_array(), "{found}");
    assert!(ran.file("report.md").contains("TPOT by the difference of 12 and 28 tokens"));
}

#[test]
fn peaks_without_a_unit_and_differences_of_nothing_are_misuse() {
    let bench = bench();
    for flags in [
        ["--peak-bandwidth", "50"],
        ["--peak-bandwidth", "0GB/s"],
        ["--peak-flops", "1GB/s"],
        ["--tpot-difference", "0"],
        ["--tpot-difference", "-1"],
    ] {
        let ran = bench.run("out", &sim(&flags, &[]));
        assert_eq!(ran.exit, 2, "{flags:?}: {}", ran.stderr);
    }
}

#[test]
fn a_saturated_client_that_was_accepted_is_no_failure_and_no_evidence() {
    let bench = bench();
    let flags = ["--n-prompts", "8", "--max-tokens", "8", "--accept-saturated-client"];
    // Nobody sends with less than no delay at all.
    let flags = [&["--server", "sim", "--max-lateness", "0"][..], &flags].concat();
    let ran = bench.run("out", &flags);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(ran.report()["client"]["valid"], false);
    let first = ran.first_line();
    assert!(first.starts_with("**Not evidence:** 8 of 8 requests completed"), "{first}");
    assert!(first.contains("accepted by --accept-saturated-client"), "{first}");
}

#[test]
fn a_run_with_the_simulator_warns_of_no_truncated_answers() {
    let bench = bench();
    let fast = ["--", "--sim-itl-ms", "0.1", "--sim-ttft-ms", "1"];
    let flags = ["--server", "sim", "--n-prompts", "12", "--max-lateness", "1"];
    let ran = bench.run("out", &[&flags[..], &fast].concat()).checked(0);
    let reasons = &ran.report()["requests"]["by_finish_reason"];
    assert_eq!(reasons["stop"], 12, "{reasons}");
    let warnings = ran.report()["warnings"].clone();
    assert!(!warnings.to_string().contains("truncated"), "{warnings}");
    let endless = [&flags[..], &["--max-tokens", "150"], &fast, &["--sim-eos", "0"]].concat();
    let ran = bench.run("endless", &endless).checked(0);
    assert_eq!(ran.report()["requests"]["by_finish_reason"]["length"], 12);
}

#[test]
fn a_run_calibrates_itself_before_its_server_is_there() {
    let bench = bench();
    let flags = ["--n-prompts", "4", "--max-tokens", "4", "--users", "3", "--calibrate"];
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    let step = ran.report()["calibration"].clone();
    assert_eq!(step["users"], 3, "{step}");
    assert!(step["ttft_error_ms"]["p50"].is_f64(), "{step}");
    assert!(ran.file("report.md").contains("This client against the simulator"));
    let events = json_lines(&ran.file("events.jsonl"));
    let stages: Vec<_> = events
        .iter()
        .filter(|event| event["event"] == "stage_started")
        .map(|event| event["stage"].clone())
        .collect();
    assert_eq!(stages[0], "calibrate", "{stages:?}");
    assert_eq!(stages.iter().filter(|stage| **stage == "server").count(), 1, "{stages:?}");
}
