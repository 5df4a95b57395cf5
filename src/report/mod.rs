//! From a finished report to text: Markdown and the summary on the terminal.
//!
//! Main functions: [`markdown::render`] and [`terminal::render_summary`]. Nothing here needs a live run,
//! computes a figure or reads a file: a report rendered again years later gives the same text.

mod escape;
pub mod markdown;
mod number;
pub mod terminal;
mod verdict;

pub use verdict::{Verdict, Word};
