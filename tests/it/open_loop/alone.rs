//! Latencies that are held against arithmetic.

use super::{SIM, quantile, report, run, said};

#[test]
fn a_stall_of_the_server_is_in_the_latency_of_every_arrival_that_fell_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let ours = ["--rate", "20", "--arrivals", "constant", "--duration", "6s", "--warm-up", "0"];
    let sim = [&SIM[..], &["--sim-fault", "stall:2000:1"]].concat();
    let ours = [&ours[..], &["--parallel", "1024"]].concat();
    let output = run(folder.path(), &ours, &sim);
    let report = report(folder.path());
    assert_eq!(report["requests"]["completed"], 120, "{}", said(&output));
    // The stall lasts from second 1 to second 3; who is due in it is read at its end.
    let waits: Vec<f64> = (0..120)
        .map(|arrival| f64::from(arrival) / 20.0)
        .map(|at| if (1.0..3.0).contains(&at) { 3_005.0 - at * 1e3 } else { 5.0 })
        .collect();
    let analytic = quantile(waits, 0.99);
    for metric in ["ttft_scheduled_ms", "ttft_ms"] {
        // The client went on sending, so what was seen is what was waited.
        let found = report["metrics"][metric]["p99"].as_f64().unwrap();
        assert!((found / analytic - 1.0).abs() < 0.02, "{metric}: {found}, expected {analytic}");
    }
    let page = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    for needle in ["`ttft_scheduled_ms`", "`ttft_ms`", "20 requests/s, constant"] {
        assert!(page.contains(needle), "no {needle} in {page}");
    }
}
