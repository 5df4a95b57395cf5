//! Makes the requests and notes the instants.
//!
//! Closed loops of users, and open loops of arrivals, over raw HTTP/1.1 on one thread of its own. Every read is stamped at the
//! socket before anything is parsed; every planned request becomes a [`RequestRecord`], whatever
//! became of it. Nothing here forms a latency, a percentile or a verdict.
//!
//! ```text
//! LoadPlan ─ engine::start ─▶ phases ─▶ worker (users) ─▶ request ─▶ connection ─▶ stamp     at the socket
//!           schedule, arrivals          open (arrivals)  └────▶ answer ─▶ http, sse, delta     pure
//!                                                                      └────▶ RequestRecord ─▶ sink
//! ```

mod answer;
mod arrivals;
mod chunked;
mod connection;
pub mod delta;
mod engine;
mod error;
mod http;
mod leash;
mod live;
mod open;
mod outcome;
mod pacer;
mod phases;
mod record;
mod request;
mod schedule;
pub mod sse;
mod stamp;
mod target;
mod worker;
mod workload;

pub use arrivals::Schedule;
pub use engine::{LoadHandle, start};
pub use error::LoadError;
pub use live::{LiveCounters, LivePhase};
pub use outcome::{LoadOutcome, Moments, PhaseOutcome};
pub use record::{FailureKind, Outcome, Phase, RequestRecord, Stamp, Timings, Usage};
pub use stamp::{ClockSource, clock_source, now};
pub use target::HttpTarget;
pub use workload::{LoadPhase, LoadPlan, PlannedBody, workload_hash};
