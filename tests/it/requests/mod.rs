//! What requests are and how they end: routes, whole answers, options, conversations, deadlines and
//! hanging up. Against the simulator, against strangers, and against the real llama-server.

mod against_sim;
mod hostile;
mod real_llama_server;

use serde_json::Value;

use crate::run::{Bench, Ran};

/// Users without a pause and without warm-up, on a route and with lines of TOML of the test's own.
pub(crate) fn scenario(bench: &Bench, lines: &str, tables: &str) -> String {
    let text = format!(
        "name = \"mine\"\ndataset = \"builtin\"\nduration = \"60s\"\nwarm_up_requests_per_user = 0\n{lines}\n{tables}"
    );
    std::fs::write(bench.path("mine.toml"), text).unwrap();
    "./mine.toml".to_owned()
}

/// Plays a scenario on the simulator with so many users and prompts.
pub(crate) fn on_sim(bench: &Bench, lines: &str, tables: &str, more: &[&str]) -> Ran {
    let scenario = scenario(bench, lines, tables);
    let flags = ["--server", "sim", "--scenario", &scenario, "--max-lateness", "1000"];
    bench.run("out", &[&flags[..], more].concat())
}

/// Mean cached and prompt tokens by turn.
pub(crate) fn turns(report: &Value) -> Vec<(f64, f64)> {
    let turns = report["conversations"]["turns"].as_array().unwrap();
    let figure = |turn: &Value, name: &str| turn[name].as_f64().unwrap_or_else(|| panic!("{turn}"));
    turns
        .iter()
        .map(|turn| (figure(turn, "cached_tokens_mean"), figure(turn, "prompt_tokens_mean")))
        .collect()
}
