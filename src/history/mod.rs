//! The history: figures of commits over time, kept in a branch of the repository itself.
//!
//! Main function: [`main`]. Points are JSON lines in an orphan branch, in a shard a series and month:
//! append-only, so that two writers never disagree, and readable without any service. Advisory: it
//! raises questions, and `bench-ci ab` answers them. `point`, `series`, `band`, `change`, `welch`,
//! `assess` and `noise` are pure; [`store`] and [`remote`] know git.

pub mod assess;
pub mod band;
pub mod change;
mod command;
mod http;
pub mod noise;
pub mod point;
pub mod remote;
pub mod series;
pub mod store;
pub mod welch;

pub use command::{aa_sessions, main};
pub use store::HistoryError;

/// The middle, or the mean of the two middles; `None` of nothing. Any order.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    Some(f64::midpoint(sorted[(sorted.len() - 1) / 2], upper))
}
