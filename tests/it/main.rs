//! The one integration binary: each feature is a module.

mod dataset;
mod hub_server;
mod load;
mod model;
mod provenance;
mod report;
mod scrape;
mod server;
mod sim;
mod sse;
mod tidy;
