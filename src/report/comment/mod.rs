//! What a pull request shows: one page for all configurations of a matrix, verdict first, worst first.
//!
//! Main functions: [`comment`] and [`summary`], the same page for a comment and for a job's summary;
//! [`status_line`], one line for a commit status. Everything is rendered here from reports that may
//! have been written by strangers: no text of theirs reaches the page unescaped, and what does not
//! fit is left out in a stated order, never the configurations that got slower.

mod cell;
mod details;
mod marker;
mod measured;
mod status;
mod table;
mod words;

pub use cell::{Cell, Content, Standing};
pub use marker::{Marker, State};
pub use status::status_line;

use cell::worst_first;

/// GitHub refuses a comment above 65,536 characters, and was seen to count bytes: this is below both.
pub const MOST_COMMENT_BYTES: usize = 60_000;

/// GitHub drops a step's summary above 1 MiB; other steps of ours may have written to it too.
pub const MOST_SUMMARY_BYTES: usize = 900 * 1024;

/// What the page is about, from where it may be trusted: the event and the API, never a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Tells several pages on one pull request apart, such as `cuda` and `cpu`.
    pub key: String,
    /// The commit that was measured, full hash.
    pub head: Option<String>,
    /// The commit that it is compared with, full hash.
    pub base: Option<String>,
    /// The workflow run.
    pub run: Option<WorkflowRun>,
    /// `owner/name` of the fork whose code made the measurements; `None` for the repository itself.
    pub fork: Option<String>,
    /// How the page that this one replaces stood, where that was worse than well: once all is well,
    /// the page says that it is resolved.
    pub before: Option<Standing>,
}

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowRun {
    /// Its number, which grows from run to run.
    pub id: u64,
    /// 1, or more where it was run again.
    pub attempt: u64,
    /// Its page, where the artifacts are.
    pub url: String,
}

/// The page as a comment: with the marks by which it is found again, below [`MOST_COMMENT_BYTES`].
#[must_use]
pub fn comment(origin: &Origin, cells: &[Cell]) -> String {
    comment_below(MOST_COMMENT_BYTES, origin, cells)
}

/// The same in fewer bytes, for a server that refuses longer ones, or where something is to follow.
#[must_use]
pub fn comment_below(most: usize, origin: &Origin, cells: &[Cell]) -> String {
    let first = Marker::of(&origin.key).to_string();
    let last = State::of(origin, cells).to_string();
    let room = most.min(MOST_COMMENT_BYTES).saturating_sub(first.len() + last.len() + 4);
    format!("{first}\n{}\n{last}\n", page(origin, cells, room))
}

/// The page without marks, for a check run, whose text has the limit of a comment.
#[must_use]
pub fn check_text(origin: &Origin, cells: &[Cell]) -> String {
    page(origin, cells, MOST_COMMENT_BYTES)
}

/// How all of them stand together: as the worst does.
#[must_use]
pub fn worst(cells: &[Cell]) -> Standing {
    cells.iter().map(Cell::standing).min().unwrap_or(Standing::NotMeasured)
}

/// The page as a job's summary, below [`MOST_SUMMARY_BYTES`].
#[must_use]
pub fn summary(origin: &Origin, cells: &[Cell]) -> String {
    summary_below(MOST_SUMMARY_BYTES, origin, cells)
}

/// The same in fewer bytes, where other steps have written to the summary before. Its first lines at the
/// least, or nothing where not even the first one fits.
#[must_use]
pub fn summary_below(most: usize, origin: &Origin, cells: &[Cell]) -> String {
    let mut text = page(origin, cells, most.min(MOST_SUMMARY_BYTES).saturating_sub(1));
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// What is left out where the page would be too long, first things first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Degree {
    /// Everything is there.
    Whole,
    /// Without the pairs.
    NoPairs,
    /// Nor the metrics that decide nothing.
    NoObserved,
    /// Nor machines, models and flags.
    NoMachines,
    /// Nor the metrics of configurations that are well.
    WorstOnly,
    /// One line for each configuration that is not well.
    Lines,
}

impl Degree {
    const ALL: [Self; 6] = [
        Self::Whole,
        Self::NoPairs,
        Self::NoObserved,
        Self::NoMachines,
        Self::WorstOnly,
        Self::Lines,
    ];

    /// What a reader misses; `None` where nothing is.
    const fn left_out(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::NoPairs => Some("the pairs"),
            Self::NoObserved => Some("the pairs and the observed metrics"),
            Self::NoMachines => Some("the pairs, the observed metrics and the machines"),
            Self::WorstOnly | Self::Lines => {
                Some("the pairs, the observed metrics, the machines and what is well")
            }
        }
    }
}

/// The page in the first degree that fits into so many bytes.
fn page(origin: &Origin, cells: &[Cell], room: usize) -> String {
    let cells = worst_first(cells);
    let mut text = String::new();
    for degree in Degree::ALL {
        text = at(degree, origin, &cells);
        if text.len() <= room {
            return text;
        }
    }
    // Hundreds of configurations that all got slower: the first lines say the worst of it.
    let most = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last();
    let cut = text.get(..most.unwrap_or(0)).unwrap_or_default();
    // Only whole lines, so that no mark-up is left open.
    cut.rsplit_once('\n').map_or("", |(whole, _)| whole).to_owned()
}

fn at(degree: Degree, origin: &Origin, cells: &[&Cell]) -> String {
    let mut parts = vec![table::headline(origin, cells), table::subline(origin, cells)];
    parts.extend(table::reasons(cells, degree == Degree::Lines));
    if degree == Degree::Lines {
        parts.push(table::lines(cells));
    } else {
        parts.push(table::table(cells, degree >= Degree::WorstOnly));
    }
    if degree < Degree::NoObserved {
        parts.extend(details::observed(cells));
    }
    if degree < Degree::NoPairs {
        parts.extend(details::pairs(cells));
    }
    if degree < Degree::NoMachines {
        parts.extend(details::machines(cells));
    }
    if let Some(left_out) = degree.left_out() {
        let place = origin.run.as_ref().map_or_else(
            || "the report files have it".to_owned(),
            |run| format!("it is in the [artifacts of the run]({})", run.url),
        );
        parts.push(format!("Left out, to keep this short: {left_out}; {place}."));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}
