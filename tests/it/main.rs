//! The one integration binary: one module per room.

mod sse;
