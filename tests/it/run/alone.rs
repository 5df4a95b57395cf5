//! What is reported against what was really sent: the simulator's truth file, request by request.

use bench_ci::sim::{Truth, TruthRecord, quantile};
use serde_json::Value;

use super::{Bench, metric};

/// Milliseconds that a reported figure may be off the truth, by quantile.
const ALLOWED_MS: [(&str, f64, f64); 2] = [("p50", 0.5, 0.3), ("p99", 0.99, 1.0)];

fn check_accuracy(users: u32, requests: u64) {
    let bench = Bench::new();
    let truth_file = bench.path("truth.jsonl");
    let (users, requests) = (users.to_string(), requests.to_string());
    let flags = ["--server", "sim", "--parallel", &users, "--users", &users];
    let load = ["--n-prompts", &requests, "--max-tokens", "100", "--ignore-eos"];
    let schedule = ["--", "--sim-ttft-ms", "20", "--sim-itl-ms", "10", "--sim-truth"];
    let truth_path = truth_file.to_str().unwrap();
    // Others share the machine: a late client is not what is in question here.
    let excused = ["--max-lateness", "1"];
    let ran = bench.run("out", &[&flags[..], &load, &excused, &schedule, &[truth_path]].concat());
    let report = ran.report();
    assert_eq!(report["requests"]["completed"].to_string(), requests, "{}", ran.stderr);
    assert_eq!(report["client"]["clock_source"], "kernel");

    let rows = ran.rows();
    let measured = |record: &&TruthRecord| {
        let index = record.client_request.expect("requests to a server of ours are tagged");
        rows.iter().any(|row| row["index"] == index && row["phase"] == "measured")
    };
    let truth = Truth::read(&truth_file).unwrap();
    let sent: Vec<&TruthRecord> = truth.records.iter().filter(measured).collect();
    assert_eq!(sent.len().to_string(), requests);
    let ttft = sent.iter().map(|record| ms(record.received_ns, record.deltas[0])).collect();
    let gaps = |record: &&&TruthRecord| -> Vec<f64> {
        record.deltas.windows(2).map(|pair| ms(pair[0], pair[1])).collect()
    };
    let itl = sent.iter().flat_map(|record| gaps(&record)).collect();
    check_metric(&report, "ttft_ms", ttft);
    check_metric(&report, "itl_ms", itl);
}

fn check_metric(report: &Value, name: &str, mut truth: Vec<f64>) {
    truth.sort_by(f64::total_cmp);
    assert_eq!(report["metrics"][name]["count"], truth.len(), "{name}");
    for (figure, q, allowed) in ALLOWED_MS {
        let (told, sent) = (metric(report, name, figure), quantile(&truth, q).unwrap());
        let error = told - sent;
        assert!(error.abs() <= allowed, "{name} {figure}: {told} reported, {sent} sent");
    }
}

fn ms(earlier: u64, later: u64) -> f64 {
    (later - earlier) as f64 / 1e6
}

#[test]
fn ttft_and_itl_of_8_users_are_those_that_were_sent() {
    check_accuracy(8, 160);
}

#[test]
fn ttft_and_itl_of_64_users_are_those_that_were_sent() {
    check_accuracy(64, 256);
}
