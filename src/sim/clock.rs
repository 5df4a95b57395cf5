//! The two clocks of the simulator: `CLOCK_MONOTONIC`, and the kernel's receive stamps converted
//! to it.
//!
//! Main function: [`now_ns`]. It does not pace anything; that is `pacer`.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::truth::ReceiveClock;

/// Nanoseconds in one millisecond.
pub(super) const NS_PER_MS: f64 = 1_000_000.0;
/// A kernel stamp older than this is taken for a step of the wall clock and not believed.
const OLDEST_STAMP_NS: i128 = 1_000_000_000;

/// Now, in nanoseconds on `CLOCK_MONOTONIC`.
pub(super) fn now_ns() -> u64 {
    nanos(read(ClockId::CLOCK_MONOTONIC)).try_into().unwrap_or(0)
}

/// Milliseconds as nanoseconds; negative and not finite values are 0.
pub(super) fn ms_to_ns(ms: f64) -> u64 {
    // `as` saturates, and turns a NaN into 0.
    (ms * NS_PER_MS).round() as u64
}

/// Time between two stamps in milliseconds; 0 if the readings are the other way round.
pub(super) fn ms_between(earlier_ns: u64, later_ns: u64) -> f64 {
    later_ns.saturating_sub(earlier_ns) as f64 / NS_PER_MS
}

/// When bytes arrived, and who says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// Nanoseconds on `CLOCK_MONOTONIC`.
    pub(super) at_ns: u64,
    /// Whose clock it is.
    pub(super) by: ReceiveClock,
}

impl Received {
    /// The instant of a read whose kernel stamp (on `CLOCK_REALTIME`) is `stamp`.
    ///
    /// The age of the stamp is taken from two readings of the wall clock close together, so that
    /// its offset and slew cancel. An impossible age falls back to our own clock.
    pub(super) fn from_kernel(stamp: Option<TimeSpec>) -> Received {
        let user = now_ns();
        let Some(stamp) = stamp else {
            return Received { at_ns: user, by: ReceiveClock::User };
        };
        let age = nanos(read(ClockId::CLOCK_REALTIME)) - nanos(stamp);
        if !(0..=OLDEST_STAMP_NS).contains(&age) {
            return Received { at_ns: user, by: ReceiveClock::User };
        }
        let age = u64::try_from(age).expect("the age was just bounded");
        Received { at_ns: user.saturating_sub(age), by: ReceiveClock::Kernel }
    }
}

fn read(clock: ClockId) -> TimeSpec {
    clock_gettime(clock).expect("both clocks exist on every system that this builds for")
}

fn nanos(time: TimeSpec) -> i128 {
    i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
}
