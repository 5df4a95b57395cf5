//! The dashboard and the rules of the repository ask for metrics that there are.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use super::{BRISK, ask};
use crate::run::Bench;

pub(super) fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(example(path)).unwrap()
}

/// The names of metrics in a query, by what ours and llama-server's begin with.
fn metrics(query: &str) -> BTreeSet<String> {
    let is_part = |c: char| c == '_' || c == ':' || c.is_ascii_alphanumeric();
    let words = query.split(|c: char| !is_part(c));
    let ours =
        |word: &&str| ["bench_ci_", "llamacpp:", "k6_"].iter().any(|it| word.starts_with(it));
    words.filter(ours).map(str::to_owned).collect()
}

/// Every value under one of these keys, at any depth.
fn under(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if keys.contains(&name.as_str()) => {
                        found.push(text.clone());
                    }
                    value => under(value, keys, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| under(item, keys, found)),
        _ => {}
    }
}

/// All names on the page that a run serves, and those that a real llama-server was recorded to have.
fn exposed() -> BTreeSet<String> {
    let bench = Bench::new();
    let mut command = bench.command(&BRISK);
    command.args(["--users", "1", "--serve-metrics", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut address = None;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(url) = line.strip_prefix("metrics: http://") {
            address = Some(url.trim_end_matches("/metrics").to_owned());
            break;
        }
    }
    let page = address.map(|address| ask(&address, "GET /metrics", "").unwrap().2);
    child.kill().unwrap();
    child.wait().unwrap();
    let recorded = include_str!("../../fixtures/llama-server/metrics-11434.txt");
    let text = page.expect("an address") + recorded;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    lines.map(name).collect()
}

#[test]
fn every_query_of_the_examples_names_metrics_that_are_exposed() {
    let dashboard: Value = serde_json::from_str(&read("grafana/bench-ci.json")).unwrap();
    let mut queries = Vec::new();
    under(&dashboard, &["expr", "query"], &mut queries);
    let rules = read("prometheus/alerts.yml");
    let rules: Vec<&str> = rules.lines().filter(|line| !line.trim().starts_with('#')).collect();
    let asked: BTreeSet<String> =
        queries.iter().flat_map(|query| metrics(query)).chain(metrics(&rules.join("\n"))).collect();
    assert!(asked.len() > 15, "{asked:?}");
    let exposed = exposed();
    let missing: Vec<&String> = asked.difference(&exposed).collect();
    assert!(missing.is_empty(), "{missing:?} in {exposed:?}");
}

#[test]
fn every_panel_of_the_dashboard_has_a_place_and_a_query() {
    let dashboard: Value = serde_json::from_str(&read("grafana/bench-ci.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert!(!panel["title"].as_str().unwrap().is_empty(), "{panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
        }
    }
}
