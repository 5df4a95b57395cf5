//! A comparison on a terminal: the verdict, one line a metric, and where to read on.
//!
//! Main function: [`render`].

use std::fmt::Write as _;

use super::ab_markdown::{gated, headline, percent, signed};
use super::escape::clean;
use super::number::short;
use crate::artifact::{AbReport, AbVerdict, DesignKind};

/// Ends with a line end. Escape codes only with `colour`.
#[must_use]
pub fn render(report: &AbReport, colour: bool) -> String {
    let mut text = String::new();
    let paint = |words: &str| {
        if !colour {
            return words.to_owned();
        }
        let code = match report.verdict {
            AbVerdict::Regressed | AbVerdict::Invalid => 31,
            AbVerdict::Inconclusive => 33,
            AbVerdict::Improved | AbVerdict::NoRegression => 32,
        };
        format!("\u{1b}[1;{code}m{words}\u{1b}[0m")
    };
    let mut line = |words: String| writeln!(text, "{words}").expect("a string takes any text");
    line(format!("{}  {}", paint(report.verdict.name()), clean(&headline(report))));
    for comparison in gated(report) {
        let change = comparison.change_pct.map_or_else(|| "–".to_owned(), percent);
        let interval = comparison.ci_pct.map_or_else(String::new, |[low, high]| {
            format!(" ({} … {})", signed(low), signed(high))
        });
        line(format!(
            "  {:<26} {:>9} → {:<9} {:<9} {change}{interval}  {}",
            comparison.metric,
            short(comparison.base.median),
            short(comparison.head.median),
            comparison.unit,
            comparison.verdict.map_or("", AbVerdict::name),
        ));
    }
    for check in report.checks.iter().filter(|check| !check.ok) {
        line(format!("  look here: {}, {}", check.name, clean(&check.detail)));
    }
    line(format!(
        "  base {} · head {} · {} of {} {}",
        clean(&report.sides.base.label),
        clean(&report.sides.head.label),
        report.design.pairs_used,
        report.design.pairs_planned,
        if report.design.kind == DesignKind::Sessions { "sessions" } else { "pairs" },
    ));
    text
}
