//! bench-ci: did this change make the LLM server slower?
//!
//! The rooms, in reading order.

pub mod artifact;
pub mod cancel;
pub mod cli;
pub mod dataset;
pub mod event;
pub mod exit;
pub mod load;
pub mod model;
pub mod plan;
pub mod provenance;
pub mod report;
pub mod scrape;
pub mod server;
pub mod sim;
pub mod stats;
