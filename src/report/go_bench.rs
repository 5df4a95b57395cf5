//! Go's benchmark text, which benchstat reads: a line a run, or a line a trial of a comparison.
//!
//! Main functions: [`render`] for runs, [`render_ab`] for a comparison. Repeated lines of one name are
//! benchstat's samples. Units are our metric names, declared with their direction. Keys before the
//! lines are only what two runs must have in common to be compared, for benchstat makes a table for
//! each set of keys; `side` is what tells base and head apart: `benchstat -col side FILE`. Source:
//! Go's "Benchmark Data Format" and the documentation of `golang.org/x/perf/benchfmt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::clean;
use super::figures::{figures, is_evidence};
use crate::artifact::{AbReport, Machine, Model, Report, Scenario, SideReport, Trial};
use crate::stats::{Better, ServerKind, metric};

/// Runs in their order; each is one line below its keys. One that is not evidence is a comment, and
/// no sample.
#[must_use]
pub fn render<'a>(reports: impl IntoIterator<Item = &'a Report>) -> String {
    let mut text = String::new();
    let mut units = BTreeMap::new();
    for report in reports {
        let run = &report.run;
        let about = [Some(&run.id), run.branch.as_ref(), run.commit.as_ref()];
        let about: Vec<&str> = about.into_iter().flatten().map(String::as_str).collect();
        comment(&mut text, &format!("{} {}", run.name, about.join(" ")));
        if !is_evidence(report) {
            comment(&mut text, "left out: it is not evidence");
            continue;
        }
        let kind = report.server.kind;
        keys(&mut text, kind, report.model.as_ref(), &report.machine, &report.scenario);
        let values: Vec<(String, f64)> = figures(report)
            .into_iter()
            .filter(|figure| figure.better != Better::None)
            .map(|figure| {
                units.insert(figure.name.clone(), figure.better);
                (figure.name, figure.value)
            })
            .collect();
        line(&mut text, &report.scenario, report.requests.completed, &values);
    }
    declared(&units) + &text
}

/// Every trial of a comparison that counts, base before head.
#[must_use]
pub fn render_ab(report: &AbReport) -> String {
    let mut text = String::new();
    let mut units = BTreeMap::new();
    for comparison in &report.comparisons {
        units.insert(comparison.metric.clone(), comparison.better);
    }
    comment(&mut text, &format!("{} {}", report.run.name, report.run.id));
    for (name, side) in [("base", &report.sides.base), ("head", &report.sides.head)] {
        let SideReport { label, kind, .. } = side;
        comment(&mut text, &format!("{name}: {label}"));
        keys(&mut text, *kind, report.model.as_ref(), &report.machine, &report.scenario);
        writeln!(text, "side: {name}").expect("a string takes any text");
        for trial in report.trials.iter().filter(|trial| trial.valid && trial.side == name) {
            let Trial { requests, failed, metrics, .. } = trial;
            let values: Vec<(String, f64)> = metrics
                .iter()
                .filter(|(_, value)| value.is_finite())
                .map(|(name, value)| {
                    let known = metric::ALL.iter().find(|metric| metric.name == *name);
                    if let Some(metric) = known {
                        units.entry(name.clone()).or_insert(metric.better);
                    }
                    (name.clone(), *value)
                })
                .collect();
            line(&mut text, &report.scenario, requests.saturating_sub(*failed), &values);
        }
    }
    declared(&units) + &text
}

/// Lines that benchstat has no other name for are passed over by it.
fn comment(text: &mut String, words: &str) {
    writeln!(text, "# {}", clean(words).trim_end()).expect("a string takes any text");
}

/// What two runs must have in common. A key begins with a small letter; its value is the rest of the
/// line.
fn keys(
    text: &mut String,
    server: ServerKind,
    model: Option<&Model>,
    machine: &Machine,
    scenario: &Scenario,
) {
    let kind = match server {
        ServerKind::Sim => "sim (simulator, not a real server)",
        other => other.name(),
    };
    let model = model.map(|model| {
        let name = model.file.as_ref().unwrap_or(&model.source);
        let digest = model.sha256.as_deref().map(|digest| digest.get(..12).unwrap_or(digest));
        match digest {
            Some(digest) => format!("{name} {digest}"),
            None => name.clone(),
        }
    });
    let pairs = [
        ("server", Some(kind.to_owned())),
        ("model", model),
        ("cpu", machine.cpu_model.clone()),
        ("machine", machine.fingerprint.clone()),
        ("workload", scenario.workload_hash.clone()),
    ];
    for (key, value) in pairs {
        // An empty value unsets the key of an earlier run.
        let value = value.map_or_else(String::new, |value| clean(&value));
        writeln!(text, "{}", format!("{key}: {value}").trim_end())
            .expect("a string takes any text");
    }
}

/// One sample. Where nothing completed, or nothing is known, there is none.
fn line(text: &mut String, scenario: &Scenario, completed: u64, values: &[(String, f64)]) {
    if completed == 0 || values.is_empty() {
        return;
    }
    write!(text, "{} {completed}", name(scenario)).expect("a string takes any text");
    for (unit, value) in values {
        write!(text, " {value} {unit}").expect("a string takes any text");
    }
    text.push('\n');
}

/// `BenchmarkChat/users=4`. A name has no blanks, and a letter that is not small after its first word.
fn name(scenario: &Scenario) -> String {
    let safe = |character: char| {
        if character.is_ascii_alphanumeric() || ".-".contains(character) { character } else { '_' }
    };
    let mut letters = scenario.name.chars().map(safe);
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let mut name: String = "Benchmark".chars().chain(first).chain(letters).collect();
    let users: Vec<Option<u32>> = scenario.measured_phases().map(|phase| phase.users).collect();
    if let [Some(users)] = users[..] {
        write!(name, "/users={users}").expect("a string takes any text");
    }
    name
}

/// Which direction is good news, for each unit.
fn declared(units: &BTreeMap<String, Better>) -> String {
    let word = |better: Better| match better {
        Better::Higher => Some("higher"),
        Better::Lower => Some("lower"),
        Better::None => None,
    };
    units
        .iter()
        .filter_map(|(unit, better)| Some(format!("Unit {unit} better={}\n", word(*better)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_scenario_becomes_one_of_a_benchmark() {
        let report: Scenario = serde_json::from_value(serde_json::json!({
            "name": "größe 2/β", "file": null, "workload_hash": null, "seed": 1,
            "endpoint": "/v1/chat/completions", "dataset": "builtin", "max_prompt_words": null,
            "max_context_words": null, "phases": [],
        }))
        .expect("a scenario");
        assert_eq!(name(&report), "BenchmarkGr__e_2__");
    }
}
