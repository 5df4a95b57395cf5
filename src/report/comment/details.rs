//! What a reader may unfold: observed metrics, every pair, machines and how to repeat it.

use std::collections::BTreeMap;

use super::cell::{Cell, Content};
use super::words::{arrow, change, commit, earlier_aa, label, name, signed, value};
use crate::artifact::{AbReport, ComparisonRole, DesignKind, Machine, SuiteReport, Trial};
use crate::report::escape::{escape, fenced};
use crate::report::mermaid::quoted;
use crate::report::number::{bytes, seconds, short, whole};

/// A suite may start a server for each of its cells; its own page has all commands.
const MOST_COMMANDS: usize = 8;

/// The metrics that decide nothing.
pub(super) fn observed(cells: &[&Cell]) -> Option<String> {
    let mut rows = vec![
        "| configuration | metric | base | head | change (95\u{a0}% CI) | q |".to_owned(),
        "|---|---|---:|---:|---:|---:|".to_owned(),
    ];
    let head = rows.len();
    for (cell, report) in comparisons(cells) {
        for of in report.comparisons.iter().filter(|of| of.role != ComparisonRole::Gate) {
            rows.push(format!(
                "| {} | {}{} | {} | {} | {} | {} |",
                name(&cell.name),
                label(&of.metric),
                arrow(of.better),
                value(of.base, of),
                value(of.head, of),
                change(of),
                of.q.map_or_else(|| "–".to_owned(), short)
            ));
        }
    }
    (rows.len() > head).then(|| folded("Observed metrics, which decide nothing", &rows.join("\n")))
}

/// How the first gated metric came out in each pair.
pub(super) fn pairs(cells: &[&Cell]) -> Option<String> {
    let mut blocks = Vec::new();
    for (cell, report) in comparisons(cells) {
        blocks.extend(pairs_of(cell, report));
    }
    (!blocks.is_empty()).then(|| folded("Every pair", &blocks.join("\n\n")))
}

/// The changes as a chart, for those who see more in a line than in a table.
fn chart(label: &str, changes: &[f64]) -> String {
    let low = changes.iter().copied().fold(0.0, f64::min).floor();
    let high = changes.iter().copied().fold(0.0, f64::max).ceil().max(low + 1.0);
    let points: Vec<String> = changes.iter().map(|change| format!("{change:.2}")).collect();
    let pairs: Vec<String> = (1..=changes.len()).map(|pair| pair.to_string()).collect();
    format!(
        "```mermaid\nxychart-beta\n    title {}\n    x-axis \"pair\" [{}]\n    \
         y-axis \"change in per cent\" {low:.0} --> {high:.0}\n    line [{}]\n```",
        quoted(&format!("{label}, head against base")),
        pairs.join(", "),
        points.join(", ")
    )
}

fn pairs_of(cell: &Cell, report: &AbReport) -> Option<String> {
    let metric = &report.comparisons.iter().find(|of| of.role == ComparisonRole::Gate)?.metric;
    let mut pairs: BTreeMap<u64, [Option<&Trial>; 2]> = BTreeMap::new();
    for trial in report.trials.iter().filter(|trial| trial.valid) {
        let [base, head] = pairs.entry(trial.pair).or_default();
        match trial.side.as_str() {
            "base" => *base = Some(trial),
            "head" => *head = Some(trial),
            _ => {}
        }
    }
    let mut rows = Vec::new();
    let mut changes = Vec::new();
    for (pair, sides) in &pairs {
        let [Some(base), Some(head)] = sides else { continue };
        let (Some(old), Some(new)) = (base.metrics.get(metric), head.metrics.get(metric)) else {
            continue;
        };
        let first = if base.slot <= head.slot { "base" } else { "head" };
        let ratio = 100.0 * (new / old - 1.0);
        // Of nothing there is no change in per cent.
        if !ratio.is_finite() {
            continue;
        }
        changes.push(ratio);
        rows.push(format!(
            "| {} | {first} | {} | {} | {}\u{a0}% |",
            pair.saturating_add(1),
            short(*old),
            short(*new),
            signed(ratio)
        ));
    }
    if rows.is_empty() {
        return None;
    }
    let spoilt = report.trials.iter().filter(|trial| !trial.valid).count();
    let spoilt = match spoilt {
        0 => String::new(),
        some => format!("; {} trials were spoilt by the machine and left out", whole(some as u64)),
    };
    Some(format!(
        "{}, {} in each pair: {}{spoilt}\n\n{}\n\n\
         | pair | first | base | head | change |\n|---:|---|---:|---:|---:|\n{}",
        name(&cell.name),
        label(metric),
        sparkline(&changes),
        chart(&label(metric), &changes),
        rows.join("\n")
    ))
}

/// One character for each value, from the smallest to the largest.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: &f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        // `as` saturates, and a share that is no number is the lowest bar.
        let step = (share * (BARS.len() - 1) as f64).round() as usize;
        BARS.get(step).copied().unwrap_or('█')
    };
    values.iter().map(height).collect()
}

/// Where it ran, with what, and how to do it again.
pub(super) fn machines(cells: &[&Cell]) -> Option<String> {
    // Cells of one machine with one model say the same; it is said once.
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    for cell in cells {
        let Some(text) = machine_of(cell) else { continue };
        match blocks.iter_mut().find(|(known, _)| *known == text) {
            Some((_, names)) => names.push(name(&cell.name)),
            None => blocks.push((text, vec![name(&cell.name)])),
        }
    }
    let blocks: Vec<String> =
        blocks.into_iter().map(|(text, names)| format!("{}: {text}", names.join(", "))).collect();
    (!blocks.is_empty())
        .then(|| folded("Machine, model, flags, how to repeat", &blocks.join("\n\n")))
}

fn machine_of(cell: &Cell) -> Option<String> {
    match &cell.content {
        Content::Nothing(_) => None,
        Content::Comparison(report) => {
            let mut facts = vec![in_words(&report.machine)];
            facts.extend(report.model.as_ref().and_then(|model| model.file.as_deref()).map(name));
            facts.push(format!("scenario {}", name(&report.scenario.name)));
            facts.push(format!("seed {}", report.design.seed));
            facts.push(design(report));
            facts.extend(report.earlier_aa.as_ref().map(earlier_aa));
            facts.push(format!("bench-ci {}", name(&report.tool.version)));
            let sides = [("base", &report.sides.base), ("head", &report.sides.head)];
            let commands = sides.map(|(side, of)| {
                let built = of.commit.as_deref().and_then(commit).unwrap_or("");
                format!("{}\n{}", format!("# {side} {built}").trim_end(), of.command.join(" "))
            });
            Some(block(&facts, &commands))
        }
        Content::Run(report) => {
            let mut facts = vec![in_words(&report.machine)];
            facts.extend(report.model.as_ref().and_then(|model| model.file.as_deref()).map(name));
            facts.push(format!("scenario {}", name(&report.scenario.name)));
            facts.push(format!("seed {}", report.scenario.seed));
            facts.push(format!("bench-ci {}", name(&report.tool.version)));
            Some(block(&facts, &[report.server.command.join(" ")]))
        }
        Content::Suite(suite) => {
            let facts = [
                in_words(&suite.machine),
                format!("suite {}", name(&suite.suite.name)),
                format!("bench-ci {}", name(&suite.tool.version)),
            ];
            Some(block(&facts, &commands(suite)))
        }
    }
}

/// Each command that a suite started servers with, once.
fn commands(suite: &SuiteReport) -> Vec<String> {
    let mut commands = Vec::new();
    for server in &suite.servers {
        let command = server.command.join(" ");
        if commands.len() < MOST_COMMANDS && !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

fn block(facts: &[String], commands: &[String]) -> String {
    let lines = commands.iter().flat_map(|command| command.lines()).filter(|line| !line.is_empty());
    // A server's command line may be as long as its author wished.
    let lines: Vec<String> = lines.map(|line| super::words::clip(line, 1_000)).collect();
    format!("{}\n\n{}", facts.join(", "), fenced(lines.iter().map(String::as_str)))
}

fn design(report: &AbReport) -> String {
    let design = &report.design;
    let pairs = whole(design.pairs_used);
    let s = if design.pairs_used == 1 { "" } else { "s" };
    let what = match design.kind {
        DesignKind::Blocks => format!("{pairs} pair{s} of fresh starts, loaded in turns"),
        DesignKind::Restart => format!("{pairs} pair{s} of single starts"),
        DesignKind::Sessions => format!("{pairs} session{s} put together"),
    };
    let took: f64 = design.sittings.iter().map(|sitting| sitting.duration_s).sum();
    if took > 0.0 { format!("{what} in {}", seconds(took)) } else { what }
}

fn in_words(machine: &Machine) -> String {
    let mut words = Vec::new();
    words.extend(machine.cpu_model.as_deref().map(name));
    words.extend(machine.cores.map(|cores| format!("{cores} cores")));
    words.extend(machine.memory_bytes.map(bytes));
    words.extend(machine.gpus.iter().take(8).map(|gpu| name(&gpu.name)));
    words.extend(machine.os.as_deref().map(name));
    if words.is_empty() { "an unknown machine".to_owned() } else { words.join(", ") }
}

fn folded(title: &str, content: &str) -> String {
    format!("<details><summary>{}</summary>\n\n{content}\n\n</details>", escape(title))
}

fn comparisons<'a>(cells: &'a [&Cell]) -> impl Iterator<Item = (&'a Cell, &'a AbReport)> {
    cells.iter().filter_map(|cell| Some((*cell, cell.comparison()?)))
}
