//! The four named scenarios, shortened, from their files: their reports draw what was planned and
//! what came of it.

use serde_json::Value;

use super::{bench, column, most, sim};
use crate::real_mermaid::{assert_charts_parse, blocks};

/// Plays a named scenario from its file in the repository and gives its timeline, after what holds for
/// any: as many points as steps, and the drawings in the page are those of the columns.
fn played(name: &str, duration: &str) -> Value {
    let bench = bench();
    let file = format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let flags =
        ["--scenario", &file, "--duration", duration, "--parallel", "2", "--max-tokens", "8"];
    let ran = bench.run("out", &sim(&flags, &[])).checked(0);
    let line = ran.report()["timeline"].clone();
    let steps = column(&line["planned"]).len();
    assert!((2..=120).contains(&steps), "{name}: {steps} steps");
    for name in ["achieved", "in_flight", "started", "completed", "failed", "output_tokens"] {
        assert_eq!(line[name].as_array().unwrap().len(), steps, "{name}");
    }
    let count = |name: &str| column(&line[name]).iter().sum::<f64>() as u64;
    let requests = ran.report()["requests"].clone();
    assert_eq!(count("started"), requests["started"].as_u64().unwrap());
    assert_eq!(count("completed"), requests["completed"].as_u64().unwrap());

    let page = ran.file("report.md");
    let chart = page.split("```mermaid\n").nth(1).unwrap_or_else(|| panic!("no chart: {page}"));
    let chart = chart.split("```").next().unwrap();
    assert!(chart.starts_with("xychart-beta\n"), "{chart}");
    let lines: Vec<&str> = chart.lines().filter(|line| line.contains("line [")).collect();
    assert_eq!(lines.len(), 3, "{chart}");
    for drawn in lines {
        assert_eq!(drawn.matches(", ").count() + 1, steps, "{drawn}");
    }
    for label in ["planned ", "users ", "in flight "] {
        assert!(page.lines().any(|line| line.starts_with(label)), "{label}: {page}");
        assert!(ran.stdout.lines().any(|line| line.trim_start().starts_with(label)), "{label}");
    }
    line
}

/// Nobody is at work who was not planned, but for those who finish; and the plan's most were there.
fn follows(line: &Value, base: f64) {
    let (planned, achieved) = (column(&line["planned"]), column(&line["achieved"]));
    let (wanted, seen) = (most(&planned), most(&achieved));
    assert!(seen <= wanted.ceil() + 1e-6, "{seen} users, {wanted} planned");
    assert!(seen >= wanted * 0.6, "only {seen} users, {wanted} planned");
    assert!(wanted >= base, "{wanted}");
}

#[test]
fn load_rises_stays_and_falls() {
    let line = played("load", "6s");
    follows(&line, 2.0);
    let planned = column(&line["planned"]);
    let middle = planned[planned.len() / 2];
    assert!((middle - most(&planned)).abs() < 1e-6, "{planned:?}");
    assert!(planned[0] < middle, "{planned:?}");
}

#[test]
fn soak_stays_at_its_users() {
    let line = played("soak", "6s");
    follows(&line, 2.0);
    let planned = column(&line["planned"]);
    let high = planned.iter().filter(|users| **users > most(&planned) - 1e-6).count();
    assert!(high * 2 > planned.len(), "{planned:?}");
}

#[test]
fn spike_goes_up_at_once_and_comes_back() {
    let line = played("spike", "6s");
    follows(&line, 10.0); // five times the two slots
    let planned = column(&line["planned"]);
    assert!((planned[0] - 2.0).abs() < 1e-6, "{planned:?}");
    let top = planned.iter().position(|users| *users > most(&planned) - 1e-6).unwrap();
    assert!(planned[top + 1..].iter().any(|users| (*users - 2.0).abs() < 1e-6), "{planned:?}");
}

#[test]
fn breakpoint_only_rises() {
    let line = played("breakpoint", "6s");
    let planned = column(&line["planned"]);
    let rising = planned.iter().take_while(|users| **users > 0.0).copied().collect::<Vec<_>>();
    assert!(rising.len() > planned.len() / 2, "{planned:?}");
    let within = &rising[..rising.len() - 1]; // the last step may reach past the end
    assert!(within.windows(2).all(|pair| pair[1] > pair[0]), "{planned:?}");
    assert!(most(&column(&line["achieved"])) > 8.0, "{line}");
}

#[test]
fn arrivals_are_drawn_as_a_rate() {
    let bench = bench();
    let flags = ["--rate", "40", "--arrivals", "constant", "--duration", "3s", "--max-tokens", "2"];
    let flags = [&flags[..], &["--accept-saturated-client", "--ignore-eos"]].concat();
    let ran = bench.run("out", &sim(&flags, &[]));
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let line = ran.report()["timeline"].clone();
    assert_eq!(line["unit"], "requests_per_second");
    let planned = column(&line["planned"]);
    assert!(planned.iter().take(10).all(|rate| (rate - 40.0).abs() < 1e-6), "{planned:?}");
    let sent: f64 = column(&line["started"]).iter().sum();
    assert!((sent - 120.0).abs() < 0.5, "{line}");
    assert!(ran.file("report.md").contains("    line [40, 40, 40"), "{}", ran.file("report.md"));
}

#[test]
fn a_constant_number_of_users_is_not_drawn() {
    let bench = bench();
    let ran = bench.run("out", &sim(&["--n-prompts", "8", "--max-tokens", "8"], &[])).checked(0);
    assert_eq!(ran.report()["timeline"]["varies"], false);
    assert!(!ran.file("report.md").contains("xychart"), "{}", ran.file("report.md"));
}

#[test]
fn real_mermaid_takes_the_charts() {
    let bench = bench();
    let users = ["--scenario", "spike", "--duration", "2s", "--parallel", "1", "--max-tokens", "4"];
    let rates = ["--rate", "20.5", "--duration", "1s", "--max-tokens", "2"];
    let mut charts = Vec::new();
    for flags in [&users[..], &rates] {
        let flags = [flags, &["--accept-saturated-client"]].concat();
        let ran = bench.run("out", &sim(&flags, &[]));
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        charts.extend(blocks(&ran.file("report.md")));
    }
    assert_eq!(charts.len(), 2);
    assert_charts_parse(&charts);
}
