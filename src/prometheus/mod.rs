//! Prometheus, in and out: what a running Prometheus scraped of the server, brought back after the
//! load, and our own metrics, served and pushed while it lasts.
//!
//! Main types: [`Publisher`], which tells, and [`ask`], which asks. All of it is beside the run: it has
//! a thread of its own, and whatever goes wrong there is a warning. Nothing here measures; what is told
//! comes from the load's own counts and records.
//!
//! ```text
//! Events ─ on_load, on_record ─▶ Board ─▶ Family … ─┬─▶ text ─▶ serve, Pushgateway
//!                                                   └─▶ remote_write
//! query_range ─▶ answer ─▶ agreement with server-metrics.jsonl ─▶ artifact::Prometheus
//! ```

mod agreement;
mod answer;
mod ask;
mod board;
mod client;
mod family;
mod k6;
mod publisher;
mod push;
mod remote_write;
mod serve;
mod text;

pub use ask::{Asked, Window, ask};
pub use publisher::{About, PrometheusError, Publisher, Settled};
