//! Samples of a Prometheus beside our own scrapes of the same server.
//!
//! Main function: [`compare`]. Pure. Two scrapers never ask at the same instant, so a sample of one is
//! held against all that the other saw from an interval before it to an interval after it.

use crate::artifact::{Agreement, Unknowns};

/// Seconds since 1970 and a value.
pub(super) type Point = (f64, f64);

/// Sums of many doubles may differ in their last digits.
const RELATIVE: f64 = 1e-9;

/// Both in the order of time. `None` if no sample could be compared.
pub(super) fn compare(
    samples: &[Point],
    own: &[Point],
    interval_s: f64,
    is_counter: bool,
) -> Option<Agreement> {
    let (mut compared, mut within) = (0, 0);
    for (at, value) in samples {
        let Some((least, most)) = seen_around(*at, own, interval_s) else { continue };
        let slack = RELATIVE * least.abs().max(most.abs());
        compared += 1;
        within += u64::from(least - slack <= *value && *value <= most + slack);
    }
    let mut unknown = Unknowns::none();
    let agrees = unknown.option(
        "agrees",
        is_counter.then_some(within == compared),
        "a gauge may jump between two scrapes",
    );
    (compared > 0).then_some(Agreement { compared, within, agrees, unknown })
}

/// The least and the most of ours from the last at least an interval before `at` to the first at
/// least an interval after it; `None` for what we did not see.
fn seen_around(at: f64, own: &[Point], interval_s: f64) -> Option<Point> {
    let (first, last) = (own.first()?, own.last()?);
    if at < first.0 || at > last.0 {
        return None;
    }
    let before = own.partition_point(|(when, _)| *when <= at - interval_s).saturating_sub(1);
    let after = own.partition_point(|(when, _)| *when < at + interval_s).min(own.len() - 1);
    let seen = own[before..=after].iter().map(|(_, value)| *value);
    Some(seen.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [Point; 5] = [(10.0, 0.0), (11.0, 5.0), (12.0, 9.0), (13.0, 9.0), (14.0, 20.0)];

    fn found(samples: &[Point], is_counter: bool) -> Option<(u64, u64, Option<bool>)> {
        let agreement = compare(samples, &OWN, 1.0, is_counter)?;
        Some((agreement.compared, agreement.within, agreement.agrees))
    }

    #[test]
    fn a_sample_agrees_with_what_was_seen_within_an_interval() {
        assert_eq!(found(&[(11.5, 7.0), (13.2, 12.0)], true), Some((2, 2, Some(true))));
        // At 11.5 we saw between 0 (at 10) and 9 (at 13).
        assert_eq!(found(&[(11.5, 9.5)], true), Some((1, 0, Some(false))));
        assert_eq!(found(&[(11.5, 9.0 + 1e-12)], true), Some((1, 1, Some(true))));
        assert_eq!(found(&[(14.0, 20.0), (10.0, 0.0)], true), Some((2, 2, Some(true))));
    }

    #[test]
    fn what_we_did_not_see_is_not_judged() {
        assert_eq!(found(&[(9.9, 0.0), (14.1, 99.0)], true), None);
        assert_eq!(compare(&[(1.0, 1.0)], &[], 1.0, true), None);
        assert_eq!(found(&[], true), None);
    }

    #[test]
    fn a_gauge_is_counted_and_not_judged() {
        assert_eq!(found(&[(11.5, 9.5), (12.0, 8.0)], false), Some((2, 1, None)));
    }
}
