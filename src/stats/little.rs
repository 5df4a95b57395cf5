//! Little's law as a check of the run's own accounts: mean in flight = rate × mean latency.
//!
//! Main type: [`Little`]. The three figures come by three ways from the same records: in flight from
//! the area under all requests, whatever became of them; rate and latency from the completed ones
//! alone. So a difference says how much of the server's time went into requests that are in no
//! latency, or that the load did not stand still.

use super::derive::{counts, milliseconds};
use super::rates::{Rates, in_flight, overlap};
use super::{Known, Unknown};
use crate::load::{RequestRecord, Stamp};

/// What may be left over of the mean in flight, beside one round of requests: those that are cut by
/// the edges of the window are in flight in it for a part of their latency only.
const TOLERANCE: f64 = 0.05;

/// Rounds of requests (completed over in flight) that a steady state must have to be looked at: with
/// fewer, the edges alone may be a tenth of it, and nothing would ever be found.
const LEAST_ROUNDS: f64 = 10.0;

/// Mean in flight, from both sides. Source: J. D. C. Little, "A Proof for the Queuing Formula
/// L = λW", Operations Research 9 (1961).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Little {
    /// Whether it was looked at in the steady part; else over the whole window.
    pub in_steady_state: bool,
    /// L: mean number of requests in flight, of any outcome.
    pub in_flight_mean: f64,
    /// λ: completed requests per second, at their ends.
    pub completed_per_second: f64,
    /// W: mean latency of the same, milliseconds.
    pub e2e_ms_mean: f64,
    /// L − λW.
    pub residual: f64,
    /// (L − λW) / L.
    pub residual_ratio: f64,
    /// `TOLERANCE` and one round: L / completed.
    pub tolerance_ratio: f64,
}

impl Little {
    /// Over the steady state where it lasted for enough rounds of requests, else over the whole window.
    pub fn of(records: &[RequestRecord], rates: &Rates) -> Known<Self> {
        let steady =
            rates.steady.as_ref().ok().filter(|steady| {
                steady.completed as f64 >= LEAST_ROUNDS * steady.plateau_concurrency
            });
        let window = match steady {
            Some(steady) => steady.window,
            None => rates.window.clone()?,
        };
        let area: f64 = in_flight(records)
            .map(|(_, began, ended)| overlap(began.0, ended.0, window.start.0, window.end.0))
            .sum();
        let inside = |stamp: Stamp| stamp > window.start && stamp <= window.end;
        let latencies: Vec<f64> = records
            .iter()
            .filter(|record| counts(record) && record.end.is_some_and(inside))
            .filter_map(|record| milliseconds(record.written, record.end))
            .collect();
        if latencies.is_empty() {
            return Err(Unknown::because("no measured request completed"));
        }
        let completed = latencies.len() as f64;
        let in_flight_mean = area / 1e9 / window.seconds();
        let completed_per_second = completed / window.seconds();
        let e2e_ms_mean = latencies.iter().sum::<f64>() / completed;
        let residual = in_flight_mean - completed_per_second * e2e_ms_mean / 1e3;
        Ok(Self {
            in_steady_state: steady.is_some(),
            in_flight_mean,
            completed_per_second,
            e2e_ms_mean,
            residual,
            residual_ratio: residual / in_flight_mean,
            tolerance_ratio: TOLERANCE + in_flight_mean / completed,
        })
    }

    /// Whether both sides agree within the tolerance.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.residual_ratio.abs() <= self.tolerance_ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureKind;
    use crate::stats::fixture::{at_ms, closed_loop, failed, later};

    fn check(records: &[RequestRecord]) -> Little {
        Little::of(records, &Rates::of(records)).expect("requests completed")
    }

    #[test]
    fn both_sides_agree_where_all_completed() {
        // 4 users × 5 rounds: in flight 128 of each 130 ms, over 2 … 650 ms.
        let little = check(&closed_loop(4, 5));
        assert!((little.e2e_ms_mean - 128.0).abs() < 1e-9);
        assert!(little.residual_ratio.abs() < 0.2 && little.holds(), "{little:?}");
        // Over the whole of a run in which everything completed it is an identity.
        let burst = check(&closed_loop(8, 1));
        assert!(!burst.in_steady_state);
        assert!(burst.residual.abs() < 1e-9, "{burst:?}");
        assert!((burst.in_flight_mean - 8.0).abs() < 1e-9);
    }

    #[test]
    fn requests_that_hang_are_found_in_the_residual() {
        // Beside 4 busy users, 4 hang until the end of the run and complete nothing.
        let mut records = closed_loop(4, 20);
        for user in 0..4 {
            let hanging = failed(user, FailureKind::TimeoutTotal);
            records.push(RequestRecord { end: Some(at_ms(2_600.0)), ..later(hanging, 0.0) });
        }
        let little = check(&records);
        assert!((little.residual_ratio - 0.5).abs() < 0.05, "{little:?}");
        assert!(!little.holds());
    }

    #[test]
    fn nothing_completed_is_unknown() {
        let records = [failed(0, FailureKind::Http5xx)];
        assert!(Little::of(&records, &Rates::of(&records)).is_err());
    }
}
