//! Makes the requests and notes the instants.
//!
//! Closed loops of users, and open loops of arrivals, over HTTP/1.1 or HTTP/2, plain or TLS, on one
//! thread of its own. Every read is stamped at the socket before anything is parsed; every planned request
//! becomes a [`RequestRecord`], whatever became of it. Nothing here forms a latency, a percentile or a
//! verdict.
//!
//! ```text
//! LoadPlan ─ engine::start ─▶ phases ─▶ users, open ─▶ request ─▶ connection ─▶ stamp        at the socket
//!           schedule, arrivals           stage            └────▶ answer ─▶ http, sse, delta     pure
//!                                                                └────▶ RequestRecord ─▶ sink
//! ```

mod answer;
mod arrivals;
mod chunked;
mod connection;
mod conversation;
pub mod delta;
mod dial;
mod engine;
mod error;
mod gaps;
mod http;
mod http2;
mod leash;
mod limits;
mod live;
mod open;
mod outcome;
mod pacer;
mod phases;
mod record;
mod request;
mod schedule;
mod socket;
pub mod sse;
mod stage;
mod stamp;
mod target;
mod tls;
mod users;
mod whole;
mod workload;

pub use arrivals::Schedule;
pub use conversation::{Conversations, Script};
pub use engine::{LoadHandle, start};
pub use error::LoadError;
pub use gaps::{GapBin, GapsOverTime};
pub use live::{GAP_BOUNDS_NS, LiveCounters, LivePhase};
pub use outcome::{LoadOutcome, Moments, PhaseOutcome};
pub use record::{DropCause, FailureKind, Outcome, Phase, RequestRecord, Stamp, Timings, Usage};
pub use stamp::{ClockSource, clock_source, now};
pub use target::HttpTarget;
pub use workload::{LoadPhase, LoadPlan, PlannedBody, workload_hash};
