//! Makes the requests and notes the instants.

mod record;

pub use record::{FailureKind, Outcome, Phase, RequestRecord, Stamp, Timings, Usage};
