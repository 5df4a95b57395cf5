//! From a finished report to text: for people Markdown and the summary on the terminal, for other
//! programs the shapes that they read (docs/formats.md lists them).
//!
//! Main functions: [`markdown::render`] and [`terminal::render_summary`]. Nothing here needs a live run
//! or reads a file: a report rendered again years later gives the same text. Figures are those of the
//! report; only [`k6`] and [`llama_bench`] form their own, by those tools' definitions.

pub mod ab_markdown;
mod ab_sessions;
pub mod ab_terminal;
pub mod bencher;
pub mod benchmark_action;
pub mod bisect;
pub mod calibration;
pub mod comment;
pub mod compare;
mod derived;
mod drawing;
pub(crate) mod escape;
pub mod figures;
pub mod formats;
pub mod go_bench;
pub mod hdr_log;
pub mod history;
pub mod html;
pub mod junit;
pub mod k6;
pub mod llama_bench;
pub mod markdown;
pub mod mermaid;
pub(crate) mod number;
pub mod parquet;
mod phases;
mod prometheus;
pub mod results_env;
pub mod suite;
pub mod terminal;
pub mod trend;
mod verdict;
pub mod vllm;

pub(crate) use escape::invisible as is_invisible;
pub use verdict::{Verdict, Word};

/// Indented, with a final line end.
fn pretty(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("a JSON value always has a text");
    text.push('\n');
    text
}
