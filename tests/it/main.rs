//! The one integration binary: each feature is a module.

mod report;
mod sim;
mod sse;
mod tidy;
