//! The page in the step's summary.
//!
//! Main function: [`append_summary`], which everything of ours that writes there goes through. What to
//! leave out of a page that is too long is decided where pages are made, not here.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use crate::report::comment::{Cell, MOST_SUMMARY_BYTES, Origin, summary_below};

/// GitHub drops a step's summary above this, all that the step has written counted together.
const MOST_OF_A_STEP: u64 = 1024 * 1024;

/// Appends the page to the file of `GITHUB_STEP_SUMMARY`, shortened in the stated order to the room
/// that other steps have left; of no room at all, nothing is written.
///
/// # Errors
/// In words for a warning: that the file cannot be written, or that the page was shortened because of
/// what stood there. The page is there all the same in the second case, as far as there was room.
pub fn append_summary(path: &Path, origin: &Origin, cells: &[Cell]) -> Result<(), String> {
    let there = std::fs::metadata(path).map_or(0, |about| about.len());
    let room = usize::try_from(MOST_OF_A_STEP.saturating_sub(there)).unwrap_or(0);
    // What stood there may not have ended its line, or its paragraph.
    let gap = if there == 0 { "" } else { "\n" };
    let text = summary_below(room.saturating_sub(gap.len()), origin, cells);
    if !text.is_empty() {
        append("GITHUB_STEP_SUMMARY", path, &format!("{gap}{text}"))?;
    }
    if room < MOST_SUMMARY_BYTES && text != summary_below(MOST_SUMMARY_BYTES, origin, cells) {
        return Err(
            "the summary was shortened: the step has written nearly the 1 MiB that GitHub shows"
                .to_owned(),
        );
    }
    Ok(())
}

/// Appends to a file that the steps of a job share; the error is a sentence that names its variable.
pub(super) fn append(variable: &str, path: &Path, text: &str) -> Result<(), String> {
    let write =
        || OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes());
    write().map_err(|error| format!("cannot append to {variable} \"{}\": {error}", path.display()))
}
