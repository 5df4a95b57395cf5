//! The simulated llama-server and its truth.
//!
//! Main types: [`SimArgs`], what a user may type after `bench-ci sim`; [`Sim`], a bound simulator
//! that can be served on any thread; [`TruthRecord`], what it really sent and when. It speaks
//! llama-server's routes byte for byte as far as a benchmark client can tell, on a schedule that
//! is absolute, and it can be made to misbehave in every way in [`fault`].
//!
//! It does not load models, does not compute anything, and is never chosen silently: whoever
//! starts it says so in the report.

mod args;
mod clock;
mod connection;
mod engine;
pub mod fault;
mod flags;
mod http;
mod job;
mod listener;
mod metrics;
mod model;
mod pacer;
mod render;
mod routes;
mod server;
mod slots;
mod tls;
mod truth;
mod vectors;

pub use args::{CommandLineEnd, SimArgs, version_text};
pub use flags::LIST as FLAGS;
pub use server::{Sim, SimError, main, run};
pub use truth::{
    Quantiles, ReceiveClock, Truth, TruthEnd, TruthError, TruthLine, TruthRecord, TruthSummary,
    quantile,
};
