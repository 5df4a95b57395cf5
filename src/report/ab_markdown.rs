//! A comparison as Markdown (`ab.md`), for a pull request, a job summary or a person.
//!
//! Main functions: [`render`], the page; [`headline`], its first line without markup. What comes from
//! outside is escaped.

use std::fmt::Write as _;

use super::ab_sessions;
use super::escape::{escape, fenced};
use super::number::{seconds, short, whole};
use crate::artifact::{
    AbReport, AbVerdict, ComparisonRole, Design, DesignKind, EarlierAa, MetricComparison,
    PairSpread, RunStatus, SideReport, Sides,
};
use crate::stats::{Better, ServerKind};
use crate::verdict::{Evidence, Settled, Work};

/// The verdict in words, and the metric that decided it; without markup, with what comes from outside.
#[must_use]
pub fn headline(report: &AbReport) -> String {
    let rise = rise_in_failures(&report.sides);
    let said = sentence(report, rise.is_some());
    let mut line = match rise.filter(|_| report.verdict != AbVerdict::Invalid) {
        // Correctness stands above every number, accepted or not. What is invalid says its own reason.
        Some(rise) => format!("{rise}; {}", uncapitalised(&said)),
        None => said,
    };
    if let Some(sessions) = ab_sessions::confirmed_by(report) {
        line.push_str(&format!("; confirmed by {sessions} sessions"));
    }
    if report.run.status != RunStatus::Completed && report.verdict != AbVerdict::Invalid {
        line.push_str("; it was interrupted, --resume carries on");
    }
    let simulated = |side: &SideReport| side.kind == ServerKind::Sim;
    match (simulated(&report.sides.base), simulated(&report.sides.head)) {
        (true, true) => {
            line.push_str("; made with the simulator (bench-ci sim), not a real server");
        }
        (true, false) => line.push_str("; base is the simulator (bench-ci sim), no real server"),
        (false, true) => line.push_str("; head is the simulator (bench-ci sim), no real server"),
        (false, false) => {}
    }
    line
}

/// Of the two sides; `None` where head fails no larger share of its requests than base.
fn rise_in_failures(sides: &Sides) -> Option<String> {
    let work = |side: &SideReport| Work {
        requests: side.requests,
        failed: side.failed,
        ..Work::default()
    };
    let (base, head) = (work(&sides.base), work(&sides.head));
    Evidence { base, head, ..Evidence::default() }.rise_in_failures()
}

/// To follow other words in the same sentence.
fn uncapitalised(said: &str) -> String {
    let mut letters = said.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn sentence(report: &AbReport, fails_more: bool) -> String {
    let gates = || gated(report);
    let with = |verdict: AbVerdict| {
        gates().filter(move |comparison| comparison.verdict == Some(verdict)).max_by(
            |one, other| {
                let size =
                    |comparison: &MetricComparison| comparison.change_pct.unwrap_or(0.0).abs();
                size(one).total_cmp(&size(other))
            },
        )
    };
    match report.verdict {
        AbVerdict::Invalid => {
            let why = report.reasons.first().map_or("the numbers are no evidence", String::as_str);
            format!("No evidence: {why}")
        }
        AbVerdict::Regressed => match with(AbVerdict::Regressed) {
            Some(found) => format!("Head is slower: {}", change(found)),
            None => "Head is slower".to_owned(),
        },
        AbVerdict::Improved => match with(AbVerdict::Improved) {
            Some(found) => format!("Head is faster: {}", change(found)),
            None => "Head is faster".to_owned(),
        },
        AbVerdict::NoRegression => {
            let least = gates().filter_map(|comparison| comparison.resolution_pct);
            let least = least.fold(0.0, f64::max);
            let resolves = if report.design.kind == DesignKind::Sessions {
                "these sessions resolve"
            } else {
                "this session resolves"
            };
            format!("No slow-down that matters ({resolves} ±{} %)", short(least))
        }
        AbVerdict::Inconclusive => match with(AbVerdict::Inconclusive) {
            Some(found) => {
                let most = slow_down_bound(found).map_or_else(String::new, |most| {
                    format!("; a slow-down up to {} % cannot be excluded", short(most))
                });
                let needed = found.needed_pairs.map_or_else(String::new, |pairs| {
                    let unit = if report.design.kind == DesignKind::Sessions {
                        "sessions"
                    } else {
                        "pairs"
                    };
                    format!(", about {pairs} {unit} would settle it")
                });
                format!("Cannot tell: {}{most}{needed}", change(found))
            }
            None if fails_more => {
                "Cannot tell: a server that fails more requests is not called improved".to_owned()
            }
            None => "Cannot tell: no pair was measured".to_owned(),
        },
    }
}

/// Of the interval, the end at which head is slower, as a slow-down in per cent.
pub(crate) fn slow_down_bound(of: &MetricComparison) -> Option<f64> {
    let [low, high] = of.ci_pct?;
    let bound = match of.better {
        Better::Higher => 100.0 * (100.0 / (100.0 + low) - 1.0),
        Better::Lower | Better::None => high,
    };
    (bound.is_finite() && bound > 0.0).then_some(bound)
}

/// `output_tokens_per_second −3.4 % (95.8 % CI −4.6 … −2.3)`.
fn change(of: &MetricComparison) -> String {
    match of.change_pct {
        Some(change) => format!("{} {}{}", of.metric, percent(change), interval(of)),
        // It names the metric, and why there is no figure.
        None => of.sentence.clone(),
    }
}

fn interval(of: &MetricComparison) -> String {
    match (of.ci_pct, of.ci_level) {
        (Some([low, high]), Some(level)) => {
            format!(" ({} % CI {} … {})", short(100.0 * level), signed(low), signed(high))
        }
        _ => String::new(),
    }
}

/// One decimal, with a real minus sign, and a plus where it rises.
pub(crate) fn signed(value: f64) -> String {
    let digits = format!("{:.1}", value.abs());
    match digits.as_str() {
        "0.0" => digits,
        _ if value < 0.0 => format!("−{digits}"),
        _ => format!("+{digits}"),
    }
}

pub(crate) fn percent(value: f64) -> String {
    format!("{} %", signed(value))
}

/// What a runner makes of two sides that are the same: how far a verdict of it can be believed. With the
/// runner's name, which comes from outside.
pub(crate) fn in_words(earlier: &EarlierAa) -> String {
    let alarms = match earlier.alarms {
        0 => "no alarm".to_owned(),
        1 => "1 alarm".to_owned(),
        more => format!("{} alarms", whole(more)),
    };
    let resolution = earlier.median_resolution_pct;
    let resolution = resolution.map_or_else(String::new, |pct| format!(", ±{} %", short(pct)));
    format!("A-A on {}, last {}: {alarms}{resolution}", earlier.runner, whole(earlier.sessions))
}

/// The metrics that decide.
pub(crate) fn gated(report: &AbReport) -> impl Iterator<Item = &MetricComparison> {
    report.comparisons.iter().filter(|comparison| comparison.role == ComparisonRole::Gate)
}

/// A sign and a word: colours alone are not for everybody.
pub(super) const fn mark(verdict: AbVerdict) -> &'static str {
    match verdict {
        AbVerdict::Regressed => "❌ regressed",
        AbVerdict::Improved => "✅ improved",
        AbVerdict::NoRegression => "✅ no regression",
        AbVerdict::Inconclusive => "❔ inconclusive",
        AbVerdict::Invalid => "⚠️ invalid",
    }
}

/// The whole page. Ends with a line end.
#[must_use]
pub fn render(report: &AbReport) -> String {
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text.trim_end());
        page.push('\n');
    };
    line(&format!("**{}:** {}", mark(report.verdict), escape(&headline(report))));
    let head = &report.sides.head;
    let base = &report.sides.base;
    if rise_in_failures(&report.sides).is_some() {
        line("");
        line(&format!(
            "**Head fails more requests:** {} of {}, base {} of {}{}",
            whole(head.failed),
            whole(head.requests),
            whole(base.failed),
            whole(base.requests),
            examples(head)
        ));
    }
    line("");
    line(&format!(
        "base {} · head {} · {} · {}",
        escape(&base.label),
        escape(&head.label),
        pairs_in_words(report),
        escape(report.machine.cpu_model.as_deref().unwrap_or("an unknown processor")),
    ));
    if let Some(earlier) = &report.earlier_aa {
        line("");
        line(&format!("{}.", escape(&in_words(earlier))));
    }
    if !report.reasons.is_empty() {
        line("");
        for reason in &report.reasons {
            line(&format!("- {}", escape(reason)));
        }
    }
    for (role, heading) in [
        (ComparisonRole::Gate, "What decides"),
        (ComparisonRole::Observe, "What was seen besides (decides nothing)"),
    ] {
        let rows: Vec<&MetricComparison> =
            report.comparisons.iter().filter(|comparison| comparison.role == role).collect();
        if rows.is_empty() {
            continue;
        }
        line("");
        line(&format!("### {heading}"));
        line("");
        line("| Metric | base | head | change (interval) | resolves | verdict |");
        line("| :-- | --: | --: | --: | --: | :-- |");
        for row in rows {
            line(&table_row(row));
        }
    }
    let gates: Vec<&MetricComparison> = gated(report).collect();
    if report.design.kind == DesignKind::Sessions {
        ab_sessions::table(report, &mut line);
    } else if !gates.is_empty() {
        line("");
        line(
            "The smallest slow-down that about 80 of 100 sessions like this one would call regressed \
             (as many pairs, as far apart, at this look, with this bar): ",
        );
        let seen: Vec<String> = gates
            .iter()
            .filter_map(|comparison| {
                Some(format!("{} {} %", comparison.metric, short(comparison.regression80_pct?)))
            })
            .collect();
        line(&format!(
            "{}.",
            if seen.is_empty() { "not known".to_owned() } else { seen.join(", ") }
        ));
    }
    line("");
    line("### Checks");
    line("");
    for check in &report.checks {
        let word = if check.ok { "ok" } else { "**look here**" };
        line(&format!("- {word}: `{}`, {}", check.name, escape(&check.detail)));
    }
    if !report.warnings.is_empty() {
        line("");
        line("### Warnings");
        line("");
        for warning in &report.warnings {
            line(&format!("- {}", escape(&warning.message)));
        }
    }
    if report.design.kind == DesignKind::Sessions {
        return page;
    }
    line("");
    line("<details><summary>Every pair</summary>");
    line("");
    every_pair(report, &mut line);
    line("");
    line("</details>");
    line("");
    line("### How to repeat it");
    line("");
    line(&format!(
        "Scenario {} (`{}`), {}; order seed {}, budget {}.",
        escape(&report.scenario.name),
        report.scenario.endpoint.path(),
        escape(
            &report.scenario.phases.first().map_or_else(String::new, |phase| phase.shape.clone())
        ),
        report.design.seed,
        seconds(report.design.budget_s)
    ));
    line("");
    for (name, side) in [("base", base), ("head", head)] {
        line(&format!("{name}:"));
        line("");
        let command = side.command.join(" ");
        line(&fenced([command.as_str()].into_iter()));
        line("");
    }
    page
}

fn examples(side: &SideReport) -> String {
    let examples: Vec<String> = side
        .failures
        .iter()
        .map(|(kind, example)| format!("{}: {}", escape(kind), escape(example)))
        .collect();
    if examples.is_empty() { String::new() } else { format!(" ({})", examples.join("; ")) }
}

/// `12 pairs of fresh starts, 34 turns each way`.
fn pairs_in_words(report: &AbReport) -> String {
    let design = &report.design;
    let mut words = match design.kind {
        DesignKind::Blocks => format!("{} pairs of fresh starts", design.pairs_used),
        DesignKind::Restart => format!("{} pairs, one server at a time", design.pairs_used),
        DesignKind::Sessions => {
            format!("{} of {} sessions put together", design.pairs_used, design.pairs_planned)
        }
    };
    if let Some(turns) = design.slice_pairs {
        write!(words, " of {turns} pairs of turns").expect("a string takes any text");
    }
    if let (Some(at), Some(why)) = (design.stopped_at, &design.stopped_because) {
        let place = stopped_at_look(design).map_or_else(
            || format!("stopped after {at}"),
            |look| format!("stopped at look {look} of {}, after {at}", design.looks.len()),
        );
        write!(words, ", {place}: {why}").expect("a string takes any text");
    }
    words
}

/// Of a session that its result ended: at which of the planned looks, from 1. Its intervals are those
/// of that look. `None` where something else ended it, or nothing did.
fn stopped_at_look(design: &Design) -> Option<usize> {
    let at = design.stopped_at?;
    let by_result = [Settled::Answered, Settled::Regressed].map(Settled::name);
    design.stopped_because.as_deref().filter(|why| by_result.contains(why))?;
    Some(1 + design.looks.iter().position(|look| look.pairs == at)?)
}

fn table_row(row: &MetricComparison) -> String {
    let arrow = match row.better {
        Better::Higher => " ↑",
        Better::Lower => " ↓",
        Better::None => "",
    };
    let verdict = match (row.verdict, row.q) {
        (Some(verdict), _) => mark(verdict).to_owned(),
        (None, Some(q)) => format!("q = {q:.3}"),
        (None, None) => "–".to_owned(),
    };
    let value = |of: Option<PairSpread>| {
        let text = |of: PairSpread| format!("{} {}", short(of.median), escape(&row.unit));
        of.map_or_else(|| "–".to_owned(), text)
    };
    format!(
        "| `{}`{arrow} | {} | {} | {}{} | {} | {verdict} |",
        row.metric,
        value(row.base),
        value(row.head),
        row.change_pct.map_or_else(|| "–".to_owned(), percent),
        interval(row),
        row.resolution_pct.map_or_else(|| "–".to_owned(), |pct| format!("±{} %", short(pct))),
    )
}

fn every_pair(report: &AbReport, line: &mut impl FnMut(&str)) {
    let metrics: Vec<&str> = gated(report).map(|comparison| comparison.metric.as_str()).collect();
    let heads: Vec<String> = metrics.iter().map(|metric| format!(" `{metric}` |")).collect();
    line(&format!(
        "| pair | side | start |{} failed | probe before, after | counts |",
        heads.concat()
    ));
    line(&format!("| --: | :-- | --: |{} --: | --: | :-- |", " --: |".repeat(metrics.len())));
    for trial in &report.trials {
        let values: Vec<String> = metrics
            .iter()
            .map(|metric| {
                trial
                    .metrics
                    .get(*metric)
                    .map_or_else(|| " – |".to_owned(), |value| format!(" {} |", short(*value)))
            })
            .collect();
        let probe =
            |ms: Option<f64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{} ms", short(ms)));
        line(&format!(
            "| {} | {} | {} |{} {} | {}, {} | {} |",
            trial.pair.saturating_add(1),
            escape(&trial.side),
            seconds(trial.start_s),
            values.concat(),
            trial.failed,
            probe(trial.probe.before_ms),
            probe(trial.probe.after_ms),
            trial.reason.as_deref().map_or_else(|| "yes".to_owned(), escape),
        ));
    }
}
