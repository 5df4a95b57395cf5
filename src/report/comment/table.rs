//! The part of the page that nobody has to unfold: headline, what it is about, one row a metric.

use super::Origin;
use super::cell::{Cell, Content, Standing, size};
use super::measured::Row;
use super::words::{
    arrow, change, change_in_full, clip, commit, earlier_aa, is_evidence, label, name, share, value,
};
use crate::artifact::{AbReport, AbVerdict, DesignKind, MetricComparison};
use crate::report::ab_markdown::slow_down_bound;
use crate::report::escape::escape;
use crate::report::number::{short, whole};
use crate::stats::ServerKind;

/// Reasons are sentences with numbers in them; longer ones are logs.
const LONGEST_REASON: usize = 300;
/// So many configurations have their reason above the table.
const MOST_REASONS: usize = 5;

/// The first line: what a reviewer must know, and where.
pub(super) fn headline(origin: &Origin, cells: &[&Cell]) -> String {
    let Some(worst) = cells.first() else {
        return "### ⚪ Nothing was measured: there is no report".to_owned();
    };
    let standing = worst.standing();
    let place = if cells.len() == 1 { String::new() } else { format!(" on {}", name(&worst.name)) };
    let others = cells.iter().filter(|cell| cell.standing() == standing).count() - 1;
    let others = match others {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let figure = || {
        worst.gated().first().map_or_else(
            || reason(worst),
            |of| match of.medians() {
                None => escape(&clip(&of.sentence, LONGEST_REASON)),
                Some(_) => format!("{} {}", label(&of.metric), change_in_full(of)),
            },
        )
    };
    let is_aa = worst.comparison().is_some_and(|report| report.design.aa);
    let sentence = match standing {
        Standing::Regressed if is_aa => {
            format!("False alarm, both sides are the same: {}{place}{others}", figure())
        }
        Standing::Regressed => format!("Server is slower: {}{place}{others}", figure()),
        Standing::Invalid => format!("No verdict: {}{place}{others}", reason(worst)),
        Standing::NotMeasured => format!("Not measured: {}{place}{others}", reason(worst)),
        Standing::Inconclusive => {
            let pairs = worst.gated().first().and_then(|of| of.needed_pairs);
            let settle = pairs.map_or_else(String::new, |pairs| {
                format!("; about {} pairs would settle it", whole(pairs))
            });
            format!("Cannot tell: {}{place}{settle}{others}", figure())
        }
        Standing::Improved => format!("Server is faster: {}{place}{others}", figure()),
        Standing::NoRegression if cells.len() > 1 => format!(
            "Server is not slower in any of {} configurations; most changed {}: {}",
            cells.len(),
            name(&worst.name),
            figure()
        ),
        Standing::NoRegression => format!("Server is not slower: {}", figure()),
        Standing::Measured => format!("Measured: {}{place}{others}", reason(worst)),
    };
    let resolved = match super::marker::resolved(standing, origin) {
        Some(_) => "Resolved. ",
        None => "",
    };
    format!("### {} {resolved}{sentence}", standing.sign())
}

fn reason(cell: &Cell) -> String {
    let reason = cell.reason();
    if reason.is_empty() {
        "its report says no reason".to_owned()
    } else {
        escape(&clip(&reason, LONGEST_REASON))
    }
}

/// Which commits, how much evidence, how fine.
pub(super) fn subline(origin: &Origin, cells: &[&Cell]) -> String {
    let mut facts = Vec::new();
    let short_commit = |text: &Option<String>| text.as_deref().and_then(commit).map(str::to_owned);
    match (short_commit(&origin.head), short_commit(&origin.base)) {
        (Some(head), Some(base)) => facts.push(format!("head {head} against base {base}")),
        (Some(head), None) => facts.push(format!("head {head}")),
        _ => {}
    }
    match cells {
        [only] => {
            facts.push(name(&only.name));
            facts.extend(only.comparison().map(evidence));
            let earlier = only.comparison().and_then(|report| report.earlier_aa.as_ref());
            facts.extend(earlier.map(earlier_aa));
        }
        several => facts.push(format!("{} configurations", several.len())),
    }
    if cells.iter().any(|cell| is_simulated(cell)) {
        facts.push("made with the simulator, not a real server".to_owned());
    }
    if let Some(fork) = &origin.fork {
        facts.push(format!("measured by code from the fork {}", name(fork)));
    }
    if let Some(run) = &origin.run {
        facts.push(format!("[run]({})", run.url));
    }
    facts.retain(|fact| !fact.is_empty());
    facts.join(" · ")
}

fn evidence(report: &AbReport) -> String {
    let pairs = report.design.pairs_used;
    let mut words = match (report.design.kind, pairs) {
        (DesignKind::Sessions, 1) => "1 session".to_owned(),
        (DesignKind::Sessions, _) => format!("{} sessions", whole(pairs)),
        (_, 1) => "1 pair on one machine".to_owned(),
        (_, _) => format!("{} pairs on one machine", whole(pairs)),
    };
    let resolution = finest(report, |of| of.resolution_pct.filter(|_| is_evidence(of)));
    if let Some(resolution) = resolution {
        words.push_str(&format!(", resolves ±{}", share(resolution)));
    }
    if let Some(called) = finest(report, |of| of.regression80_pct) {
        let called = share(called);
        words
            .push_str(&format!(", would call {called} slower a regression four times out of five"));
    }
    words
}

/// Of the first gated metric: the one that the headline is about.
fn finest(report: &AbReport, of: impl Fn(&MetricComparison) -> Option<f64>) -> Option<f64> {
    report.comparisons.first().and_then(of)
}

fn is_simulated(cell: &Cell) -> bool {
    match &cell.content {
        Content::Comparison(report) => {
            report.sides.base.kind == ServerKind::Sim || report.sides.head.kind == ServerKind::Sim
        }
        Content::Run(report) => report.server.kind == ServerKind::Sim,
        Content::Suite(suite) => {
            suite.cells.iter().any(|cell| cell.server_kind == Some(ServerKind::Sim))
        }
        Content::Nothing(_) => false,
    }
}

/// Failed requests first of all, then why a configuration has no verdict.
pub(super) fn reasons(cells: &[&Cell], brief: bool) -> Vec<String> {
    let mut lines: Vec<String> = cells.iter().filter_map(|cell| rise_in_failures(cell)).collect();
    let is_told =
        |cell: &Cell| matches!(cell.standing(), Standing::Invalid | Standing::NotMeasured);
    // The headline says the first one's, if it has one.
    let in_headline = cells.first().is_some_and(|cell| is_told(cell));
    let told = cells.iter().skip(usize::from(in_headline)).filter(|cell| is_told(cell));
    if !brief {
        lines.extend(told.map(|cell| format!("- {}: {}", name(&cell.name), reason(cell))));
    }
    let more = lines.len().saturating_sub(MOST_REASONS);
    lines.truncate(MOST_REASONS);
    if more > 0 {
        lines.push(format!("- and {more} more"));
    }
    if lines.is_empty() { Vec::new() } else { vec![lines.join("\n")] }
}

/// A rise in failed requests, whatever the verdict is.
fn rise_in_failures(cell: &Cell) -> Option<String> {
    let sides = &cell.comparison()?.sides;
    let (base, head) = (&sides.base, &sides.head);
    // As shares, so that sides with unequal numbers of requests are compared fairly.
    let rises = u128::from(head.failed) * u128::from(base.requests.max(1))
        > u128::from(base.failed) * u128::from(head.requests.max(1));
    rises.then(|| {
        format!(
            "- **head fails more requests** on {}: {} of {}, base {} of {}",
            name(&cell.name),
            whole(head.failed),
            whole(head.requests),
            whole(base.failed),
            whole(base.requests)
        )
    })
}

/// One row for each gated metric of each comparison, and one for each run or cell of a suite that is
/// compared with nothing.
pub(super) fn table(cells: &[&Cell], worst_only: bool) -> String {
    let shown: Vec<&Cell> = cells
        .iter()
        .filter(|cell| !worst_only || cell.standing() < Standing::Improved)
        .copied()
        .collect();
    let (alone, compared): (Vec<&Cell>, Vec<&Cell>) = shown
        .into_iter()
        .partition(|cell| matches!(cell.content, Content::Run(_) | Content::Suite(_)));
    let mut tables = Vec::new();
    if !compared.is_empty() {
        let mut rows = vec![
            "| | configuration | metric | base | head | change (95\u{a0}% CI) | verdict |"
                .to_owned(),
            "|---|---|---|---:|---:|---:|---|".to_owned(),
        ];
        rows.extend(compared.into_iter().flat_map(|cell| rows_of(cell, worst_only)));
        tables.push(rows.join("\n"));
    }
    let rows: Vec<String> = alone
        .into_iter()
        .flat_map(Row::of)
        .filter(|row| !worst_only || row.standing < Standing::Improved)
        .map(|row| row.to_string())
        .collect();
    if !rows.is_empty() {
        tables.push(format!("{}\n{}", Row::HEAD.join("\n"), rows.join("\n")));
    }
    tables.join("\n\n")
}

fn rows_of(cell: &Cell, worst_only: bool) -> Vec<String> {
    let row = |sign: &str, metric: &str, base: &str, head: &str, change: &str, verdict: &str| {
        format!(
            "| {sign} | {} | {metric} | {base} | {head} | {change} | {verdict} |",
            name(&cell.name)
        )
    };
    let standing = cell.standing();
    match &cell.content {
        Content::Comparison(_) if standing != Standing::NotMeasured => cell
            .gated()
            .into_iter()
            .filter(|of| !worst_only || of.verdict != Some(AbVerdict::NoRegression))
            .map(|of| {
                // Numbers that are no evidence have no verdict of their own.
                let own = if standing == Standing::Invalid {
                    Standing::Invalid
                } else {
                    of.verdict.map_or(Standing::Measured, Standing::from)
                };
                row(
                    own.sign(),
                    &format!("{}{}", label(&of.metric), arrow(of.better)),
                    &value(of.base, of),
                    &value(of.head, of),
                    &change(of),
                    &verdict(of, own),
                )
            })
            .collect(),
        _ => vec![row(standing.sign(), "–", "–", "–", "–", standing.word())],
    }
}

/// The word, and what it means in numbers.
fn verdict(of: &MetricComparison, standing: Standing) -> String {
    let bar = of.bar_pct.map(share);
    match (standing, bar, of.needed_pairs) {
        (Standing::NoRegression, Some(bar), _) => {
            // A slow-down of the bar itself may not be excluded; then the floor is what makes it harmless.
            let most = slow_down_bound(of).unwrap_or(0.0);
            let by_floor = of.bar_pct.is_some_and(|bar_pct| most >= bar_pct);
            let floor = || format!("{} {}", short(of.floor), escape(&clip(&of.unit, 16)));
            format!("no regression of {} or more", if by_floor { floor() } else { bar })
        }
        (Standing::Inconclusive, _, Some(pairs)) => {
            format!("inconclusive, about {} pairs needed", whole(pairs))
        }
        (standing, _, _) => standing.word().to_owned(),
    }
}

/// One line for each configuration that is not well: what stays when nothing else fits.
pub(super) fn lines(cells: &[&Cell]) -> String {
    let mut lines = Vec::new();
    for cell in cells.iter().filter(|cell| cell.standing() < Standing::Improved) {
        let mut worst: Vec<&MetricComparison> = cell.gated();
        worst.retain(|of| of.verdict == Some(AbVerdict::Regressed));
        worst.sort_by(|one, other| size(other).total_cmp(&size(one)));
        let figures: Vec<String> =
            worst.into_iter().map(|of| format!("{} {}", label(&of.metric), change(of))).collect();
        let standing = cell.standing();
        let mut line = format!("- {} {} {}", standing.sign(), standing.word(), name(&cell.name));
        if !figures.is_empty() {
            line.push_str(&format!(": {}", figures.join(", ")));
        }
        lines.push(line);
    }
    lines.join("\n")
}
