//! One line for a commit status.

use super::cell::{Cell, Standing, worst_first};
use super::words::{clip, is_evidence, label, signed};
use crate::artifact::DesignKind;
use crate::report::escape::clean;
use crate::report::number::whole;

/// GitHub refuses a longer description.
const MOST_CHARACTERS: usize = 140;

/// What it comes to, in at most 140 characters of plain text:
/// `output tok/s −3.4% [−4.6,−2.3] · TTFT p50 +0.6% [−0.9,+2.0] · 12 pairs · regressed`.
#[must_use]
pub fn status_line(cells: &[Cell]) -> String {
    let cells = worst_first(cells);
    let Some(worst) = cells.first() else { return "no report".to_owned() };
    let standing = worst.standing();
    // The end is what must not be cut: the word, and of how many configurations it is the worst.
    let mut end = standing.word().to_owned();
    if cells.len() > 1 {
        let alike = cells.iter().filter(|cell| cell.standing() == standing).count();
        end.push_str(&format!(" ({alike} of {}: {})", cells.len(), clip(&clean(&worst.name), 40)));
    }
    let mut facts: Vec<String> = match standing {
        Standing::Invalid | Standing::NotMeasured | Standing::Measured => {
            vec![clean(&worst.reason())]
        }
        _ => worst
            .gated()
            .into_iter()
            .filter(|of| is_evidence(of))
            .filter_map(|of| {
                let (change, [low, high]) = (of.change_pct?, of.ci_pct?);
                let (change, low, high) = (signed(change), signed(low), signed(high));
                // Plain text: nothing here is read as Markdown.
                Some(format!("{} {change}% [{low},{high}]", clean(&label(&of.metric))))
            })
            .collect(),
    };
    if let Some(report) = worst.comparison()
        && report.design.pairs_used > 0
    {
        let sessions = report.design.kind == DesignKind::Sessions;
        let noun = if sessions { "session" } else { "pair" };
        let plural = if report.design.pairs_used == 1 { "" } else { "s" };
        facts.push(format!("{} {noun}{plural}", whole(report.design.pairs_used)));
    }
    facts.retain(|fact| !fact.is_empty());
    let room = MOST_CHARACTERS - end.chars().count() - " · ".chars().count();
    while facts.len() > 1 && facts.join(" · ").chars().count() > room {
        facts.pop();
    }
    let facts = clip(&facts.join(" · "), room);
    if facts.is_empty() { end } else { format!("{facts} · {end}") }
}
