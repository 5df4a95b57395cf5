//! The load over time on the real llama-server.

use std::path::Path;

use super::{NO_LIBRARY, column, integral, known, play, sum, whole};
use crate::run::{Bench, real_server};

#[test]
fn its_metrics_tokens_and_processor_time_are_on_one_clock() {
    let bench = Bench::new();
    let server = real_server();
    let flags = ["--server", &server, "--model", "synthetic", "--parallel", "2"];
    let load = ["--n-prompts", "24", "--max-tokens", "64", "--ignore-eos"];
    let more =
        ["--scenario", "./brisk.toml", "--max-lateness", "100", "--scrape-interval", "100ms"];
    let arguments = [&flags[..], &load, &more].concat();
    let ran = play(&bench, Path::new(NO_LIBRARY), "", &arguments).checked(0);
    let report = ran.report();
    let line = &report["timeline"];
    whole(line);
    assert!((sum(&column(&line["completed"])) - 24.0).abs() < 1e-9);
    let tokens = sum(&column(&line["output_tokens"]));
    assert!((tokens - 24.0 * 64.0).abs() < 0.5, "{tokens}");
    for in_flight in known(&line["in_flight"]) {
        assert!((0.0..=2.0).contains(&in_flight), "{in_flight}");
    }
    for name in [
        "prompt_tokens_seconds",
        "predicted_tokens_seconds",
        "requests_processing",
        "requests_deferred",
        "tokens_predicted_total",
    ] {
        let metric = &line["server_metrics"][format!("llamacpp:{name}")];
        assert!(!known(&metric["values"]).is_empty(), "{name}: {metric}");
        assert_eq!(metric["per_second"], name.ends_with("_total"), "{name}");
    }
    assert!(known(&line["slots_busy_ratio"]).iter().all(|share| (0.0..=1.0).contains(share)));
    let used = report["resources"]["server"]["cpu_s"].as_f64().unwrap();
    let seen = integral(line, &line["resources"]["server"]["cpu_cores"]);
    assert!(seen > 0.0 && seen <= used + 0.011, "{seen} of {used} s");
}
