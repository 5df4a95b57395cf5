//! The one integration binary; one module a room.

mod scrape;
mod server;
