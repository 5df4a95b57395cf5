//! Whether sessions may be put together at all.
//!
//! Main functions: [`problems`], everything that is against it, by name; [`warnings`], what a reader
//! should know; [`name_cells`], which of them are of one cell of a matrix.

use std::collections::BTreeMap;

use super::{Entry, LEAST_PAIRS, is_single};
use crate::artifact::{AbReport, AbVerdict, ComparisonRole, RunStatus, SideReport};
use crate::plan::problem::{Place, Problem};

/// The longest name of a cell, letters.
const LONGEST_CELL: usize = 48;

/// One thing that sessions must have in common.
struct Fact {
    what: &'static str,
    value: String,
    /// Where it differs there is another cell of a matrix, not a mistake.
    of_cell: bool,
}

/// Everything that keeps these from being put together.
pub(super) fn problems(entries: &[Entry], matrix: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    let flag = Place::Flag("--sessions");
    for entry in entries.iter().filter(|entry| !is_single(&entry.report)) {
        problems.push(
            Problem::new(flag, format!("\"{}\" was itself put together of several", entry.file))
                .hinting("name the sessions that it was made of"),
        );
    }
    for (index, entry) in entries.iter().enumerate() {
        let earlier = &entries[..index];
        if let Some(same) = earlier.iter().find(|one| one.report.run.id == entry.report.run.id) {
            problems.push(
                Problem::new(
                    flag,
                    format!(
                        "\"{}\" and \"{}\" are one session, given twice",
                        same.file, entry.file
                    ),
                )
                .hinting("name each once"),
            );
        }
    }
    let Some(first) = entries.first() else { return problems };
    let facts_of_first = facts(&first.report);
    for entry in &entries[1..] {
        for (one, other) in facts_of_first.iter().zip(facts(&entry.report)) {
            if one.value == other.value || (matrix && one.of_cell) {
                continue;
            }
            let mut problem = Problem::new(
                flag,
                format!(
                    "\"{}\" and \"{}\" differ in {}: {} and {}",
                    first.file, entry.file, one.what, one.value, other.value
                ),
            );
            if one.of_cell {
                problem = problem.hinting("pass --matrix to judge several configurations together");
            }
            problems.push(problem);
        }
    }
    problems
}

fn facts(report: &AbReport) -> Vec<Fact> {
    let fact = |what, value: String| Fact { what, value, of_cell: false };
    let of_cell = |what, value: String| Fact { what, value, of_cell: true };
    let scenario = &report.scenario;
    let (base, head) = (&report.sides.base, &report.sides.head);
    let load = scenario.phases.first();
    vec![
        fact("the kind of server", format!("{} and {}", base.kind.name(), head.kind.name())),
        fact("--aa", report.design.aa.to_string()),
        fact("base", identity(base)),
        fact("head", identity(head)),
        fact("what base's environment has", base.env.join(" ")),
        fact("what head's environment has", head.env.join(" ")),
        fact("the bars", bars(report)),
        of_cell("the model", model(report)),
        of_cell("the workload", workload(report)),
        of_cell(
            "the users",
            load.and_then(|load| load.users)
                .map_or_else(|| "unknown".to_owned(), |users| users.to_string()),
        ),
        of_cell("the flags of both", flags(&base.command, &base.args)),
        of_cell("the flags of base alone", base.args.join(" ")),
        of_cell("the flags of head alone", head.args.join(" ")),
    ]
}

/// A commit where there is one, else the server's own word.
fn identity(side: &SideReport) -> String {
    match (&side.commit, &side.version) {
        (Some(commit), _) => format!("commit {}", commit.get(..10).unwrap_or(commit)),
        (None, Some(version)) => version.clone(),
        (None, None) => "unknown".to_owned(),
    }
}

fn model(report: &AbReport) -> String {
    let Some(model) = &report.model else { return "none".to_owned() };
    let name = model.file.as_deref().map_or("unnamed", file_name);
    match &model.sha256 {
        Some(digest) => format!("{name} ({})", digest.get(..10).unwrap_or(digest)),
        None => name.to_owned(),
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn workload(report: &AbReport) -> String {
    let scenario = &report.scenario;
    let words = |name: &str, limit: Option<u64>| {
        limit.map_or_else(String::new, |limit| format!(", {name} {limit}"))
    };
    format!(
        "{} at {}, dataset {}{}{}",
        scenario.name,
        scenario.endpoint.path(),
        scenario.dataset,
        words("prompts up to", scenario.max_prompt_words),
        words("with answers up to", scenario.max_context_words),
    )
}

/// Every metric that decides, with its bar and floor.
fn bars(report: &AbReport) -> String {
    let gates = report.comparisons.iter().filter(|one| one.role == ComparisonRole::Gate);
    let mut bars: Vec<String> = gates
        .map(|gate| {
            let bar = gate.bar_pct.map_or_else(|| "?".to_owned(), |bar| format!("{bar:.4}"));
            let bar = bar.trim_end_matches('0').trim_end_matches('.').to_owned();
            format!("{} {bar} % (floor {} {})", gate.metric, gate.floor, gate.unit)
        })
        .collect();
    bars.sort();
    if bars.is_empty() { "none".to_owned() } else { bars.join(", ") }
}

/// The arguments of a start that are no place of this machine: no paths, no ports.
fn flags(command: &[String], own: &[String]) -> String {
    const OF_THIS_START: [&str; 6] =
        ["--model", "-m", "--host", "--port", "--sim-truth", "--log-file"];
    let mut words = Vec::new();
    let mut arguments = command.iter().skip(1).peekable();
    while let Some(word) = arguments.next() {
        if OF_THIS_START.contains(&word.as_str()) {
            arguments.next();
        } else if !word.contains('/') && !own.contains(word) {
            words.push(word.as_str());
        }
    }
    words.join(" ")
}

/// What a reader should know about machines and sessions.
pub(super) fn warnings(entries: &[Entry]) -> Vec<String> {
    let mut warnings = Vec::new();
    for entry in entries {
        let report = &entry.report;
        let pairs = report.design.pairs_used;
        if report.verdict != AbVerdict::Invalid && pairs < LEAST_PAIRS {
            let plural = if pairs == 1 { "" } else { "s" };
            warnings.push(format!(
                "{} has {pairs} pair{plural}, fewer than the {LEAST_PAIRS} that an interval takes, and is left out",
                entry.file
            ));
        } else if report.run.status != RunStatus::Completed {
            warnings.push(format!("{} was interrupted; what it has counts", entry.file));
        }
    }
    warnings.extend(one_kind_of_machine(entries));
    let differing = |what: &str, value: fn(&AbReport) -> Option<u64>| {
        let mut values: Vec<u64> =
            entries.iter().filter_map(|entry| value(&entry.report)).collect();
        values.sort_unstable();
        values.dedup();
        (values.len() > 1).then(|| {
            let values: Vec<String> = values.iter().map(u64::to_string).collect();
            format!("the sessions differ in {what}, as their machines do: {}", values.join(", "))
        })
    };
    if entries.iter().all(|entry| entry.cell.is_empty()) {
        warnings
            .extend(differing("tokens of a request", |report| report.design.tokens_per_request));
    }
    warnings
}

/// Machines that cannot be told apart: they may be one, and then it shows nothing about others.
fn one_kind_of_machine(entries: &[Entry]) -> Vec<String> {
    let mut of_kind: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let machine = &entry.report.machine;
        let label = entry.report.run.runner_label.as_deref().unwrap_or_default();
        if let Some(fingerprint) = &machine.fingerprint {
            let files = of_kind.entry((&entry.cell, fingerprint, label)).or_default();
            files.push(&entry.file);
        }
    }
    of_kind
        .into_values()
        .filter(|files| files.len() > 1)
        .map(|files| {
            format!(
                "{} come from machines that cannot be told apart (one fingerprint, one label); if it was \
                 one machine, they show nothing about another",
                files.join(" and ")
            )
        })
        .collect()
}

/// Gives every session the name of its cell: `run.name` where that tells the cells apart, else what
/// differs between them.
pub(super) fn name_cells(entries: &mut [Entry]) {
    let keys: Vec<Vec<String>> = entries
        .iter()
        .map(|entry| {
            let facts = facts(&entry.report);
            facts.into_iter().filter(|fact| fact.of_cell).map(|fact| fact.value).collect()
        })
        .collect();
    let mut cells: Vec<&Vec<String>> = Vec::new();
    for key in &keys {
        if !cells.contains(&key) {
            cells.push(key);
        }
    }
    if cells.len() < 2 {
        return;
    }
    let position = |key: &Vec<String>| cells.iter().position(|cell| *cell == key).unwrap_or(0);
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let by_name = entries.iter().zip(&keys).all(|(entry, key)| {
        let cell = position(key);
        *names.entry(&entry.report.run.name).or_insert(cell) == cell
    }) && names.len() == cells.len();
    let differs: Vec<bool> = (0..keys[0].len())
        .map(|index| keys.iter().any(|key| key[index] != keys[0][index]))
        .collect();
    let cell_names: Vec<String> = entries
        .iter()
        .zip(&keys)
        .map(|(entry, key)| {
            let name = if by_name {
                entry.report.run.name.clone()
            } else {
                let parts = key.iter().zip(&differs).filter(|(_, differs)| **differs);
                let parts: Vec<&str> = parts.map(|(part, _)| part.as_str()).collect();
                format!("{} {}", position(key) + 1, parts.join(" "))
            };
            plain(&name)
        })
        .collect();
    for (entry, name) in entries.iter_mut().zip(cell_names) {
        entry.cell = name;
    }
}

/// Short, and without a letter that means something in a table or a metric's name.
fn plain(name: &str) -> String {
    let letter = |letter: char| {
        if letter.is_alphanumeric() || " ._-+=".contains(letter) { letter } else { '_' }
    };
    let name: String = name.trim().chars().map(letter).take(LONGEST_CELL).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}
