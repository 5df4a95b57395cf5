//! From a finished report to text: for people Markdown and the summary on the terminal, for other
//! programs the shapes of k6, bench.py and JUnit.
//!
//! Main functions: [`markdown::render`] and [`terminal::render_summary`]. Nothing here needs a live run
//! or reads a file: a report rendered again years later gives the same text. Figures are those of the
//! report; only [`k6`] forms its own, by k6's definitions.

pub mod ab_markdown;
pub mod ab_terminal;
mod escape;
pub mod junit;
pub mod k6;
pub mod markdown;
pub mod mermaid;
mod number;
pub mod results_env;
pub mod terminal;
mod verdict;

pub use verdict::{Verdict, Word};
