//! The one integration binary: each feature is a module.

mod sim;
mod sse;
mod tidy;
