//! Latencies while the load runs, for whoever watches.
//!
//! Main type: [`SoFar`]. Filled on the thread that writes records, read by the one that shows progress;
//! the load's own thread knows nothing of it. None of it reaches a report.

use std::sync::{Arc, Mutex, PoisonError};

use hdrhistogram::Histogram;

use crate::event::{LiveLatency, LiveQuantiles};
use crate::load::{Phase, RequestRecord};
use crate::stats::{HeaderSplit, RequestMetrics};

/// Distributions of the measured requests that ended well so far.
#[derive(Debug, Clone)]
pub(super) struct SoFar {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug)]
struct Seen {
    /// In microseconds, with two significant digits: a few kilobytes each.
    ttft: Histogram<u64>,
    tpot: Histogram<u64>,
    e2e: Histogram<u64>,
}

impl SoFar {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let empty = || Histogram::new(2).expect("two significant digits are within its bounds");
        let seen = Seen { ttft: empty(), tpot: empty(), e2e: empty() };
        Self { seen: Arc::new(Mutex::new(seen)) }
    }

    /// Takes a finished request in.
    pub(super) fn add(&self, record: &RequestRecord) {
        if record.phase != Phase::Measured || !record.is_completed() {
            return;
        }
        // Only TTFT's parts depend on what headers mean, and they are not shown.
        let metrics = RequestMetrics::of(record, &HeaderSplit::Marked);
        // A panic elsewhere leaves at worst one request uncounted.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { ttft, tpot, e2e } = &mut *seen;
        for (histogram, milliseconds) in
            [(ttft, metrics.ttft_ms), (tpot, metrics.tpot_ms), (e2e, metrics.e2e_ms)]
        {
            if let Some(milliseconds) = milliseconds {
                // It grows as it must; a value that no memory could hold is left out of the picture.
                let _left_out = histogram.record((milliseconds * 1e3) as u64).is_err();
            }
        }
    }

    /// How they stand; `None` before the first request ended well.
    pub(super) fn latency(&self) -> Option<LiveLatency> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Some(LiveLatency {
            ttft_ms: quantiles(&seen.ttft),
            tpot_ms: quantiles(&seen.tpot),
            e2e_ms: quantiles(&seen.e2e)?,
        })
    }
}

fn quantiles(histogram: &Histogram<u64>) -> Option<LiveQuantiles> {
    if histogram.is_empty() {
        return None;
    }
    let at = |fraction| histogram.value_at_quantile(fraction) as f64 / 1e3;
    Some(LiveQuantiles { p50: at(0.5), p95: at(0.95) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_measured_requests_that_ended_well_are_seen() {
        let so_far = SoFar::new();
        assert_eq!(so_far.latency(), None);
        let record = crate::stats::fixture::completed(0);
        let mut warm_up = record.clone();
        warm_up.phase = Phase::WarmUp;
        let mut failed = record.clone();
        failed.outcome = crate::load::Outcome::Cut;
        so_far.add(&warm_up);
        so_far.add(&failed);
        assert_eq!(so_far.latency(), None);
        let exact = RequestMetrics::of(&record, &HeaderSplit::Marked);
        so_far.add(&record);
        let seen = so_far.latency().unwrap();
        for (found, exact) in [
            (seen.ttft_ms, exact.ttft_ms),
            (seen.tpot_ms, exact.tpot_ms),
            (Some(seen.e2e_ms), exact.e2e_ms),
        ] {
            let (found, exact) = (found.unwrap(), exact.unwrap());
            assert!((found.p50 - exact).abs() <= exact * 0.01, "{found:?} {exact}");
            assert!((found.p95 - exact).abs() <= exact * 0.01, "{found:?} {exact}");
        }
    }
}
