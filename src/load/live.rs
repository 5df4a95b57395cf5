//! How a run stands right now, for a progress bar on another thread.
//!
//! Main type: [`LiveCounters`]. The load thread alone writes; nothing here is a measurement.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::record::{Phase, Stamp};

/// Upper ends of the classes in which gaps between content deltas are counted live, nanoseconds; a
/// gap belongs to the first that is not below it, or to one more class behind them.
pub const GAP_BOUNDS_NS: [u64; 16] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    300_000_000,
    400_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
];

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LivePhase {
    /// Addresses and connections are being made.
    Preparing = 0,
    /// Unmeasured requests.
    WarmUp = 1,
    /// Measured requests.
    Measuring = 2,
    /// No request starts any more; those in flight may still end.
    Draining = 3,
    /// Over.
    Done = 4,
}

/// Counts that may be read at any time. They are relaxed: two of them may be a moment apart.
#[derive(Debug, Default)]
pub struct LiveCounters {
    phase: AtomicU8,
    planned: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicU64,
    content_deltas: AtomicU64,
    warm_up_ended: AtomicU64,
    gaps: [AtomicU64; GAP_BOUNDS_NS.len() + 1],
    gaps_ns: AtomicU64,
    /// When the first phase that counts began; 0 as long as none has.
    measured_from: AtomicU64,
    /// When the last of them closed, or its last request ended; 0 as long as nothing follows on them.
    measured_until: AtomicU64,
}

impl LiveCounters {
    /// Where the run stands.
    #[must_use]
    pub fn phase(&self) -> LivePhase {
        match self.phase.load(Ordering::Relaxed) {
            0 => LivePhase::Preparing,
            1 => LivePhase::WarmUp,
            2 => LivePhase::Measuring,
            3 => LivePhase::Draining,
            _ => LivePhase::Done,
        }
    }

    /// Measured requests that are planned in all; 0 when only time bounds the run.
    #[must_use]
    pub fn planned(&self) -> u64 {
        self.planned.load(Ordering::Relaxed)
    }

    /// Measured requests started so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Measured requests completed so far.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Measured requests failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Requests in flight now, warm-up included.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Content deltas seen so far, warm-up included.
    #[must_use]
    pub fn content_deltas(&self) -> u64 {
        self.content_deltas.load(Ordering::Relaxed)
    }

    /// Warm-up requests ended so far, however they ended.
    #[must_use]
    pub fn warm_up_ended(&self) -> u64 {
        self.warm_up_ended.load(Ordering::Relaxed)
    }

    /// Gaps between content deltas of completed measured requests so far, one count a class.
    #[must_use]
    pub fn gaps(&self) -> [u64; GAP_BOUNDS_NS.len() + 1] {
        std::array::from_fn(|class| self.gaps[class].load(Ordering::Relaxed))
    }

    /// The sum of those gaps, nanoseconds.
    #[must_use]
    pub fn gaps_ns(&self) -> u64 {
        self.gaps_ns.load(Ordering::Relaxed)
    }

    /// For how long phases that count have been played; it stands still once others follow on them.
    #[must_use]
    pub fn measured_for(&self, now: Stamp) -> Duration {
        let instant = |of: &AtomicU64| Some(of.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0);
        let Some(from) = instant(&self.measured_from) else { return Duration::ZERO };
        instant(&self.measured_until).map_or(now, Stamp).since(Stamp(from))
    }

    pub(super) fn enter(&self, phase: LivePhase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn plan(&self, requests: u64) {
        self.planned.store(requests, Ordering::Relaxed);
    }

    /// A phase begins; those that count lie beside one another.
    pub(super) fn begin_phase(&self, phase: Phase, begun: Stamp) {
        let instant = match phase {
            Phase::WarmUp => return,
            Phase::Measured => &self.measured_from,
            Phase::CoolDown => &self.measured_until,
        };
        if instant.load(Ordering::Relaxed) == 0 {
            instant.store(begun.0, Ordering::Relaxed);
        }
    }

    /// A measured request has ended, maybe in a phase that does not count.
    pub(super) fn measured_ended(&self, end: Stamp) {
        let until = self.measured_until.load(Ordering::Relaxed);
        if until > 0 && end.0 > until {
            self.measured_until.store(end.0, Ordering::Relaxed);
        }
    }

    pub(super) fn count_started(&self) {
        add(&self.started, 1);
    }

    pub(super) fn count_completed(&self) {
        add(&self.completed, 1);
    }

    pub(super) fn count_failed(&self) {
        add(&self.failed, 1);
    }

    pub(super) fn count_warm_up_ended(&self) {
        add(&self.warm_up_ended, 1);
    }

    pub(super) fn take_off(&self) {
        add(&self.in_flight, 1);
    }

    pub(super) fn land(&self) {
        add(&self.in_flight, u64::MAX);
    }

    pub(super) fn count_gap(&self, gap_ns: u64) {
        add(&self.gaps[GAP_BOUNDS_NS.partition_point(|bound| *bound < gap_ns)], 1);
        add(&self.gaps_ns, gap_ns);
    }

    pub(super) fn count_deltas(&self, deltas: u64) {
        if deltas > 0 {
            add(&self.content_deltas, deltas);
        }
    }
}

/// One thread writes, so load and store suffice: no locked instruction for each delta.
fn add(counter: &AtomicU64, delta: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(delta), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_in_the_first_class_that_holds_it() {
        let live = LiveCounters::default();
        for gap in [0, 1_000_000, 1_000_001, 2_500_000_000, 2_500_000_001] {
            live.count_gap(gap);
        }
        let gaps = live.gaps();
        assert_eq!((gaps[0], gaps[1], gaps[15], gaps[16]), (2, 1, 1, 1));
        assert_eq!((gaps.iter().sum::<u64>(), live.gaps_ns()), (5, 5_002_000_002));
    }

    #[test]
    fn time_counts_from_the_first_measured_phase_to_the_last_of_its_requests() {
        let live = LiveCounters::default();
        let seen = |now: u64| live.measured_for(Stamp(now)).as_nanos();
        live.begin_phase(Phase::WarmUp, Stamp(100));
        assert_eq!(seen(150), 0);
        live.begin_phase(Phase::Measured, Stamp(200));
        live.begin_phase(Phase::Measured, Stamp(300));
        live.measured_ended(Stamp(340));
        assert_eq!(seen(350), 150);
        live.begin_phase(Phase::CoolDown, Stamp(400));
        live.begin_phase(Phase::CoolDown, Stamp(500));
        assert_eq!(seen(900), 200);
        live.measured_ended(Stamp(450));
        live.measured_ended(Stamp(430));
        assert_eq!(seen(900), 250);
    }
}
