//! The one integration binary: whole rooms against real servers, files and processes.

mod hub_server;
mod model;
