//! Numbers from records: what the stamps of the load engine amount to.
//!
//! Main types: [`Summary`], made by [`summarise`], and [`Validity`], made by [`judge`]. Nothing here
//! reads a clock or a file, and nothing here is serialised: `artifact` turns these types into the
//! report. A number that is not known is an [`Unknown`] with its reason, never a zero.

mod arrivals;
mod beta;
mod columns;
mod derive;
mod difference;
mod distribution;
mod goodput;
mod known;
mod little;
pub mod metric;
pub mod quantile;
mod rates;
mod reconcile;
mod server_headers;
mod server_side;
mod summary;
pub mod threshold;
mod timeline;
pub mod turns;
mod utilization;
mod validity;

#[cfg(test)]
pub(crate) mod fixture;

pub use arrivals::Arrivals;
pub use beta::incomplete_beta;
pub use columns::{Column, Steps};
pub use derive::{HeaderSplit, RequestMetrics, ServerKind, TokenCounts};
pub use difference::TpotDifference;
pub use distribution::Distribution;
pub use known::{Known, Unknown};
pub use little::Little;
pub use metric::{Better, Metric};
pub use rates::{RateSet, Rates, SteadyState, Window};
pub use reconcile::{
    CounterSpan, Disagreement, Reconciliation, Residual, ServerCounters, TokenTotals, TtftSplit,
    decode_residual_ms, ttft_residual_ms,
};
pub use server_headers::{HeaderFigures, figures as server_headers};
pub use server_side::{Drafts, ServerRates, ServerWork};
pub use summary::{
    LoadFigures, RequestAccounting, Summary, UnmeasuredAccounting, summarise, summarise_by,
};
pub use timeline::{Band, CourseColumns, Timeline};
pub use utilization::{Peaks, TokenCost, Traffic, Utilization};
pub use validity::{Blame, Caution, Part, Reason, ServerFate, Validity, judge, judge_parts};
