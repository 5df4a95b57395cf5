//! Whether an open loop was what was planned.
//!
//! Main type: [`Arrivals`]. Whether it was near enough is `validity`'s question.

use crate::load::{Outcome, Phase, RequestRecord, Stamp};

/// Arrivals of an open loop, as planned and as sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    /// Arrivals planned until the load ended.
    pub planned: u64,
    /// Of those, dropped because too many requests were in flight.
    pub dropped: u64,
    /// Of those, begun and never written: there was no connection, or no time left for one.
    pub unsent: u64,
    /// Planned rate, from the first to the last arrival.
    pub planned_per_second: f64,
    /// Rate at which they were sent, from the first planned instant to the last one sent.
    pub achieved_per_second: f64,
    /// Achieved over planned.
    pub ratio: f64,
}

impl Arrivals {
    /// Of measured requests that were planned no later than `load_end`: an interrupted load is
    /// judged by what it came to. `None` below two arrivals, which have no rate.
    #[must_use]
    pub fn of(records: &[RequestRecord], load_end: Stamp) -> Option<Self> {
        let arrivals = || {
            records
                .iter()
                .filter(|record| record.phase == Phase::Measured && record.planned <= load_end)
        };
        let first = arrivals().map(|record| record.planned).min()?;
        let last = arrivals().map(|record| record.planned).max()?;
        let last_sent = arrivals().filter_map(|record| record.written).max().unwrap_or(last);
        let planned = arrivals().count() as u64;
        let is_dropped = |record: &&RequestRecord| record.outcome == Outcome::Dropped;
        let is_unsent = |record: &&RequestRecord| record.written.is_none() && !is_dropped(record);
        let dropped = arrivals().filter(is_dropped).count() as u64;
        let unsent = arrivals().filter(is_unsent).count() as u64;
        if last <= first {
            return None;
        }
        // n arrivals have n − 1 gaps.
        let planned_s = last.since(first).as_secs_f64();
        let sent_s = last_sent.max(last).since(first).as_secs_f64();
        let gaps = planned.saturating_sub(1) as f64;
        let planned_per_second = gaps / planned_s;
        let sent = planned - dropped - unsent;
        let achieved_per_second = sent as f64 / planned as f64 * gaps / sent_s;
        Some(Self {
            planned,
            dropped,
            unsent,
            planned_per_second,
            achieved_per_second,
            ratio: achieved_per_second / planned_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureKind;
    use crate::stats::fixture::{at_ms, completed, failed, later};

    #[test]
    fn late_and_dropped_arrivals_lower_the_achieved_rate() {
        let mut records: Vec<_> =
            (0..11).map(|index| later(completed(index), 100.0 * index as f64)).collect();
        let punctual = Arrivals::of(&records, at_ms(5_000.0)).expect("a rate");
        assert!((punctual.planned_per_second - 10.0).abs() < 1e-9, "{punctual:?}");
        // The fixture writes 2 ms after the plan.
        assert!((punctual.achieved_per_second - 10.0 / 1.002).abs() < 1e-9, "{punctual:?}");
        records[10].written = Some(at_ms(2_000.0));
        let late = Arrivals::of(&records, at_ms(5_000.0)).expect("a rate");
        assert!((late.ratio - 0.5).abs() < 1e-9, "{late:?}");
        records[3].outcome = Outcome::Dropped;
        let dropped = Arrivals::of(&records, at_ms(5_000.0)).expect("a rate");
        assert!((dropped.ratio - 0.5 * 10.0 / 11.0).abs() < 1e-9, "{dropped:?}");
        assert_eq!((dropped.planned, dropped.dropped, dropped.unsent), (11, 1, 0));
    }

    #[test]
    fn an_arrival_that_was_never_written_was_not_sent() {
        let mut records: Vec<_> =
            (0..11).map(|index| later(completed(index), 100.0 * index as f64)).collect();
        let refused = later(failed(4, FailureKind::Connect), 400.0);
        records[4] = RequestRecord { written: None, ..refused };
        // Cut while it was connecting.
        (records[10].outcome, records[10].written) = (Outcome::Cut, None);
        // What reached the server was sent, whatever became of it.
        records[7] = later(failed(7, FailureKind::Http5xx), 700.0);
        let found = Arrivals::of(&records, at_ms(5_000.0)).expect("a rate");
        assert_eq!((found.planned, found.dropped, found.unsent), (11, 0, 2));
        assert!((found.ratio - 9.0 / 11.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn what_an_interruption_left_undone_is_no_fault_of_the_client() {
        let mut records: Vec<_> =
            (0..100).map(|index| later(completed(index), 100.0 * index as f64)).collect();
        for record in &mut records[50..] {
            record.outcome = Outcome::Dropped;
            record.written = None;
        }
        let found = Arrivals::of(&records, at_ms(4_950.0)).expect("a rate");
        assert_eq!((found.planned, found.dropped), (50, 0));
        assert_eq!(Arrivals::of(&records[..1], at_ms(1.0)), None);
    }
}
