//! The clocks: what time it is, and when the kernel received what we have just read.
//!
//! Main types: [`ClockSource`] and [`Receiver`], which reads a socket into the thread's one read
//! buffer and stamps the read. Nothing here parses, allocates per read, locks or logs.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::record::Stamp;

/// Which clock stamped the reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The kernel, when it received the last byte of each read (`SO_TIMESTAMPNS`).
    Kernel,
    /// Our own clock, just after each read: it contains our own delay.
    User,
}

/// `CLOCK_MONOTONIC`, now.
#[must_use]
pub(super) fn now() -> Stamp {
    Stamp(read_clock(ClockId::CLOCK_MONOTONIC))
}

/// CPU time of the calling thread.
#[must_use]
pub(super) fn thread_cpu() -> Duration {
    Duration::from_nanos(read_clock(ClockId::CLOCK_THREAD_CPUTIME_ID))
}

fn read_clock(clock: ClockId) -> u64 {
    let time = clock_gettime(clock).expect("every supported system has these clocks");
    nanos_of(time.tv_sec(), time.tv_nsec())
}

fn nanos_of(seconds: i64, nanos: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(nanos).unwrap_or(0))
}
