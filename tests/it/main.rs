//! The one integration binary: each feature is a module.

#![expect(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod ab;
mod bench_py;
mod compare;
mod dataset;
mod derived;
mod github;
mod help;
mod history;
mod hub_server;
mod lifecycle;
mod load;
mod model;
mod open_loop;
mod phases;
mod prometheus;
mod provenance;
mod real_chromium;
mod real_mermaid;
mod real_readers;
pub(crate) mod report;
mod requests;
mod run;
mod scrape;
mod series;
mod server;
mod sim;
mod sse;
mod suite;
mod terminal;
mod thresholds;
mod tidy;
mod transport;
mod verdict;
