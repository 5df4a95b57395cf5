//! The one integration binary: one module per room.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test, with its line")]

mod load;
mod sse;
