//! What a run has to say besides its records: gaps, our own lag, clocks.
//!
//! Main type: [`LoadOutcome`]. No percentile or rate is formed here; `stats` does.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::gaps::GapsOverTime;
use super::record::Stamp;
use super::stamp::ClockSource;

/// What one phase has to say besides its records.
#[derive(Debug, Clone)]
pub struct PhaseOutcome {
    /// It began: its first requests are planned for this instant.
    pub started: Stamp,
    /// No request of it began later. The next phase begins here; those in flight still end.
    pub closed: Stamp,
    /// As of [`LoadOutcome::itl`], also of a phase that does not count.
    pub itl: Histogram<u64>,
    /// The same gaps, exactly.
    pub itl_moments: Moments,
    /// As of [`LoadOutcome::dispatch_lateness`], also of a phase that does not count.
    pub dispatch_lateness: Histogram<u64>,
    /// The same lateness, exactly.
    pub dispatch_lateness_moments: Moments,
}

impl PhaseOutcome {
    pub(super) fn beginning(started: Stamp) -> Self {
        Self {
            started,
            closed: started,
            itl: histogram(),
            itl_moments: Moments::default(),
            dispatch_lateness: histogram(),
            dispatch_lateness_moments: Moments::default(),
        }
    }
}

/// The end of a load run.
#[derive(Debug)]
pub struct LoadOutcome {
    /// One for each phase that began, in order. Figures of all below are of those that count.
    pub phases: Vec<PhaseOutcome>,
    /// The first phase began, whether or not it counts: its first requests are planned for this
    /// instant. Where the run was interrupted before that, the instant of the interruption.
    pub started: Stamp,
    /// The last request of the last phase ended or was cut, whether or not it counts.
    pub ended: Stamp,
    /// The first phase that counts began; `ended` where none did.
    pub measured_from: Stamp,
    /// The last phase that counts closed, or the last measured request ended or was cut where that is
    /// later; `ended` where none began.
    pub measured_until: Stamp,
    /// The last warm-up request ended; `None` if there was no warm-up.
    pub warm_up_ended: Option<Stamp>,
    /// The run was cancelled before it was over.
    pub interrupted: bool,
    /// Gaps between consecutive content deltas of completed measured requests, nanoseconds.
    ///
    /// A gap is between *deltas*, not tokens. Deltas that came in one read share a stamp, so the
    /// gap between them is 0 and is counted here as it is; `coalesced_deltas` of the records says
    /// how many there are.
    pub itl: Histogram<u64>,
    /// The same gaps, exactly.
    pub itl_moments: Moments,
    /// The same gaps, roughly, by when they ended.
    pub itl_over_time: GapsOverTime,
    /// How long received bytes waited for our read, nanoseconds; one entry for each read of a
    /// measured request. Where the kernel gives no stamps it holds the lag of the event loop
    /// instead (how late a timer of ours was served, every 10 ms).
    pub client_delay: Histogram<u64>,
    /// Acted − planned of each measured request that was started, nanoseconds.
    pub dispatch_lateness: Histogram<u64>,
    /// The same lateness, exactly.
    pub dispatch_lateness_moments: Moments,
    /// Which clock stamped the reads.
    pub clock_source: ClockSource,
    /// Reads stamped by our own clock although the kernel's was wanted: its stamp was missing, in
    /// the future, or older than a second.
    pub rejected_stamps: u64,
    /// CPU time of the load thread.
    pub thread_cpu: Duration,
}

/// Exact moments of a series of nanoseconds, kept as it is seen (Welford's method).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    /// Sum of squared differences from the mean.
    squares: f64,
    min: u64,
    max: u64,
}

impl Moments {
    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        let difference = value as f64 - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (value as f64 - self.mean);
    }

    /// Adds all values of another series (Chan, Golub and LeVeque).
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let count = self.count + other.count;
        let difference = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        self.squares += other.squares + difference * difference * self.count as f64 * share;
        self.mean += difference * share;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count = count;
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean, nanoseconds; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The sample standard deviation, nanoseconds; `None` below two values.
    #[must_use]
    pub fn stddev(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.squares / (self.count - 1) as f64).sqrt())
    }

    /// The smallest value, nanoseconds; `None` without values.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest value, nanoseconds; `None` without values.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }
}

/// One nanosecond to one hour at three digits: 270 kB, and no error above 0.1 %.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3)
        .expect("the bounds and the number of digits are valid constants")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_textbook() {
        let mut moments = Moments::default();
        assert_eq!((moments.mean(), moments.stddev(), moments.min()), (None, None, None));
        for value in [2, 4, 4, 4, 5, 5, 7, 9] {
            moments.add(value);
        }
        assert_eq!((moments.count(), moments.min(), moments.max()), (8, Some(2), Some(9)));
        let of = |values: &[u64]| {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.add(*value));
            moments
        };
        let mut merged = Moments::default();
        for part in [&[][..], &[2, 4, 4], &[4, 5, 5, 7, 9], &[]] {
            merged.merge(&of(part));
        }
        assert_eq!((merged.count(), merged.min(), merged.max()), (8, Some(2), Some(9)));
        assert!((merged.mean().unwrap() - 5.0).abs() < 1e-12);
        assert!((merged.stddev().unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert!((moments.mean().unwrap() - 5.0).abs() < 1e-12);
        assert!((moments.stddev().unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
    }
}
