//! A search for a commit as Markdown (`bisect.md`) and for a terminal.
//!
//! Main functions: [`markdown`] and [`text`]. What comes from outside is escaped.

use std::fmt::Write as _;

use super::ab_markdown::percent;
use super::escape::{clean, escape, fenced};
use super::number::{seconds, short};
use crate::artifact::{BisectFinding, BisectOutcome, BisectPurpose, BisectReport, BisectStep};

/// What it came to, in one line, with what comes from outside.
#[must_use]
pub fn headline(report: &BisectReport) -> String {
    let why = report.reasons.first().map_or("", String::as_str);
    match (&report.first_bad, report.outcome) {
        (Some(found), _) => {
            let confirmed =
                if report.confirmed { "" } else { " (not confirmed against its parent)" };
            format!("{} made it slower: {}{confirmed}", hash(&found.commit), found.subject)
        }
        (None, BisectOutcome::Narrowed) => {
            format!("One of {} commits made it slower", report.suspects.len())
        }
        (None, BisectOutcome::NotSlower) => format!("Nothing to look for: {why}"),
        (None, BisectOutcome::Inconclusive) => format!("Cannot tell: {why}"),
        (None, BisectOutcome::Invalid) => format!("No evidence: {why}"),
        (None, _) => format!("Not finished: {why}"),
    }
}

/// The whole page. Ends with a line end.
#[must_use]
pub fn markdown(report: &BisectReport) -> String {
    let mut page = String::new();
    let mut line = |text: &str| {
        page.push_str(text.trim_end());
        page.push('\n');
    };
    line(&format!("**{}:** {}", report.outcome.name(), escape(&headline(report))));
    line("");
    line(&format!(
        "good {} · bad {} · {} commits after good{} · {}",
        hash(&report.good.commit),
        hash(&report.bad.commit),
        report.commits,
        if report.first_parent { ", merges as one" } else { "" },
        escape(report.machine.cpu_model.as_deref().unwrap_or("an unknown processor")),
    ));
    if let (Some(metric), Some(bar)) = (&report.metric, report.bar_pct) {
        line("");
        line(&format!("Slower means: `{metric}` at least {} % slower than good.", short(bar)));
    }
    line("");
    for reason in &report.reasons {
        line(&format!("- {}", escape(reason)));
    }
    if !report.suspects.is_empty() {
        line("");
        line("It is one of:");
        line("");
        for suspect in &report.suspects {
            line(&format!("- `{}` {}", hash(&suspect.commit), escape(&suspect.subject)));
        }
    }
    line("");
    line("### Steps");
    line("");
    line("| step | commit | against | change (interval) | pairs | took | finding |");
    line("| --: | :-- | :-- | --: | --: | --: | :-- |");
    for (index, step) in report.steps.iter().enumerate() {
        line(&format!(
            "| {} | `{}` {} | `{}` | {} | {} | {} | {} |",
            index + 1,
            hash(&step.commit.commit),
            escape(&step.commit.subject),
            hash(&step.base),
            change(step),
            step.pairs,
            seconds(step.duration_s),
            finding(step),
        ));
    }
    let odd = report.steps.iter().enumerate().filter(|(_, step)| {
        matches!(step.finding, BisectFinding::Unclear | BisectFinding::Skipped)
    });
    for (index, step) in odd {
        line("");
        line(&format!("Step {}: {}", index + 1, escape(&step.why)));
    }
    if !report.warnings.is_empty() {
        line("");
        line("### Warnings");
        line("");
        for warning in &report.warnings {
            line(&format!("- {}", escape(&warning.message)));
        }
    }
    line("");
    line("Built by, each commit once:");
    line("");
    line(&fenced([report.build.as_str()].into_iter()));
    page
}

/// For a terminal. Ends with a line end.
#[must_use]
pub fn text(report: &BisectReport) -> String {
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes any text");
    line(format!("{}  {}", report.outcome.name(), clean(&headline(report))));
    for step in &report.steps {
        line(format!(
            "  {} against {}  {:<11} {}",
            hash(&step.commit.commit),
            hash(&step.base),
            finding(step),
            change(step),
        ));
    }
    for suspect in &report.suspects {
        line(format!("  one of: {} {}", hash(&suspect.commit), clean(&suspect.subject)));
    }
    text
}

fn finding(step: &BisectStep) -> String {
    let word = match step.finding {
        BisectFinding::Slower => "slower",
        BisectFinding::NotSlower => "not slower",
        BisectFinding::Unclear => "unclear",
        BisectFinding::Skipped => "skipped",
    };
    let purpose = match step.purpose {
        BisectPurpose::Verify => " (bad against good)",
        BisectPurpose::Search => "",
        BisectPurpose::Confirm => " (against its parent)",
    };
    let again = if step.attempt > 0 { ", second try" } else { "" };
    format!("{word}{purpose}{again}")
}

fn change(step: &BisectStep) -> String {
    let Some(change) = step.change_pct else { return "–".to_owned() };
    let interval = step
        .ci_pct
        .map_or_else(String::new, |[low, high]| format!(" ({} … {})", percent(low), percent(high)));
    format!("{}{interval}", percent(change))
}

fn hash(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
