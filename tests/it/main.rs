//! The one integration binary: each feature is a module.

#![expect(clippy::unwrap_used, reason = "in a test a failed unwrap is a failed test")]

mod ab;
mod bench_py;
mod dataset;
mod help;
mod hub_server;
mod lifecycle;
mod load;
mod model;
mod open_loop;
mod provenance;
mod report;
mod run;
mod scrape;
mod server;
mod sim;
mod sse;
mod thresholds;
mod tidy;
mod verdict;
