//! From a finished report to text: for people Markdown and the summary on the terminal, for other
//! programs the shapes of k6, bench.py and JUnit.
//!
//! Main functions: [`markdown::render`] and [`terminal::render_summary`]. Nothing here needs a live run
//! or reads a file: a report rendered again years later gives the same text. Figures are those of the
//! report; only [`k6`] forms its own, by k6's definitions.

pub mod ab_markdown;
pub mod ab_terminal;
pub mod calibration;
pub mod comment;
pub mod compare;
mod derived;
mod drawing;
mod escape;
pub mod history;
pub mod junit;
pub mod k6;
pub mod markdown;
pub mod mermaid;
mod number;
mod phases;
mod prometheus;
pub mod results_env;
pub mod suite;
pub mod terminal;
mod verdict;

pub(crate) use escape::invisible as is_invisible;
pub use verdict::{Verdict, Word};
