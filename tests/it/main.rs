//! The one integration binary: each feature is a module.

mod hub_server;
mod load;
mod model;
mod report;
mod scrape;
mod server;
mod sim;
mod sse;
mod tidy;
