//! The one integration binary: each feature is a module.

mod hub_server;
mod model;
mod report;
mod sim;
mod sse;
mod tidy;
