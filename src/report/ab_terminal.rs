//! A comparison on a terminal: the verdict, one line a metric, and where to read on.
//!
//! Main function: [`render`].

use super::ab_markdown::{gated, headline, percent, signed};
use super::escape::clean;
use super::number::short;
use super::terminal::{Screen, Tone};
use crate::artifact::{AbReport, AbVerdict, DesignKind, MetricComparison, PairSpread};

/// Ends with a line end; no line has more than `width` columns (at least 60, at most 200 are used).
/// Escape codes, which take no column, only with `colour`.
#[must_use]
pub fn render(report: &AbReport, width: usize, colour: bool) -> String {
    let mut screen = Screen::new(width, colour);
    let verdict = format!("{}:", report.verdict.name());
    screen.paragraph(&verdict, tone(report.verdict), &headline(report), 0);
    let rows: Vec<MetricRow> = gated(report).map(MetricRow::of).collect();
    let widest = |part: fn(&MetricRow) -> &str| {
        rows.iter().map(|row| part(row).chars().count()).max().unwrap_or(0)
    };
    let [name, base, head, unit, change] = [
        widest(|row| &row.name),
        widest(|row| &row.base),
        widest(|row| &row.head),
        widest(|row| &row.unit),
        widest(|row| &row.change),
    ];
    for row in &rows {
        let values = format!("{:>base$} → {:<head$} {:<unit$}", row.base, row.head, row.unit);
        let change = format!("{:<change$}", row.change);
        let line = format!("  {:<name$}  {values}  {change}", row.name);
        let verdict = screen.paint(row.verdict, row.tone);
        // On a narrow terminal what was measured stands below.
        let lines = match line.chars().count() + 2 + row.verdict.len() <= screen.width {
            true => format!("{line}  {verdict}\n"),
            false => format!("  {:<name$}  {verdict}\n    {values}  {}\n", row.name, row.change),
        };
        screen.text.push_str(&lines);
    }
    for check in report.checks.iter().filter(|check| !check.ok) {
        let words = format!("{}, {}", check.name, check.detail);
        screen.paragraph("look here:", Tone::Caution, &words, 2);
    }
    let words = format!(
        "base {} · head {} · {} of {} {}",
        report.sides.base.label,
        report.sides.head.label,
        report.design.pairs_used,
        report.design.pairs_planned,
        if report.design.kind == DesignKind::Sessions { "sessions" } else { "pairs" },
    );
    screen.paragraph("", Tone::Plain, &words, 2);
    screen.text
}

fn tone(verdict: AbVerdict) -> Tone {
    match verdict {
        AbVerdict::Regressed | AbVerdict::Invalid => Tone::Bad,
        AbVerdict::Inconclusive => Tone::Caution,
        AbVerdict::Improved | AbVerdict::NoRegression => Tone::Good,
    }
}

/// A gated metric in words.
struct MetricRow {
    name: String,
    base: String,
    head: String,
    unit: String,
    change: String,
    verdict: &'static str,
    tone: Tone,
}

impl MetricRow {
    fn of(of: &MetricComparison) -> Self {
        let value = |of_side: Option<PairSpread>| {
            of_side.map_or_else(|| "–".to_owned(), |spread| short(spread.median))
        };
        let change = of.change_pct.map_or_else(|| "–".to_owned(), percent);
        let interval = of.ci_pct.map_or_else(String::new, |[low, high]| {
            format!(" ({} … {})", signed(low), signed(high))
        });
        Self {
            name: clean(&of.metric),
            base: value(of.base),
            head: value(of.head),
            unit: clean(&of.unit),
            change: format!("{change}{interval}"),
            verdict: of.verdict.map_or("", AbVerdict::name),
            tone: of.verdict.map_or(Tone::Plain, tone),
        }
    }
}
