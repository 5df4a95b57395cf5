//! Requests and tokens per second, over the whole measured window and over the steady part of it.
//!
//! Main type: [`Rates`]. Only completed requests add to a rate, while every measured request that was
//! sent stretches the window: no request that ended badly can make a server look faster.

use super::derive::{TokenCounts, counts};
use super::{Known, Unknown};
use crate::load::{Outcome, Phase, RequestRecord, Stamp};

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first instant.
    pub start: Stamp,
    /// Its last instant, after `start`.
    pub end: Stamp,
}

impl Window {
    /// Seconds; more than 0.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.end.since(self.start).as_secs_f64()
    }
}

/// Rates over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct RateSet {
    /// Completed requests per second.
    pub requests_per_second: Known<f64>,
    /// Prompt tokens of completed requests per second, cached ones included.
    pub prompt_tokens_per_second: Known<f64>,
    /// Generated tokens of completed requests per second.
    pub output_tokens_per_second: Known<f64>,
    /// The sum of both.
    pub total_tokens_per_second: Known<f64>,
    /// Embeddings or scores per second.
    pub results_per_second: Known<f64>,
    /// Completed requests per second that met every objective.
    pub goodput_requests_per_second: Known<f64>,
}

impl RateSet {
    fn unknown(reason: &Unknown) -> Self {
        Self {
            requests_per_second: Err(reason.clone()),
            prompt_tokens_per_second: Err(reason.clone()),
            output_tokens_per_second: Err(reason.clone()),
            total_tokens_per_second: Err(reason.clone()),
            results_per_second: Err(reason.clone()),
            goodput_requests_per_second: Err(reason.clone()),
        }
    }

    fn new(
        requests: f64,
        prompt: Known<f64>,
        output: Known<f64>,
        results: Known<f64>,
        seconds: f64,
    ) -> Self {
        let total = prompt.clone().and_then(|prompt| Ok(prompt + output.clone()?));
        let per_second = |sum: Known<f64>| sum.map(|sum| sum / seconds);
        Self {
            requests_per_second: Ok(requests / seconds),
            prompt_tokens_per_second: per_second(prompt),
            output_tokens_per_second: per_second(output),
            total_tokens_per_second: per_second(total),
            results_per_second: per_second(results),
            goodput_requests_per_second: Err(Unknown::because("no objectives were set")),
        }
    }
}

/// The part of the run in which concurrency stood at its plateau.
#[derive(Debug, Clone, PartialEq)]
pub struct SteadyState {
    /// From the first to the last instant at which concurrency was at least 95 % of the plateau.
    pub window: Window,
    /// Mean number of requests in flight over the middle half of the measured window.
    pub plateau_concurrency: f64,
    /// Completed requests that ended inside.
    pub completed: u64,
    /// Requests are counted where they end; prompt tokens at the first content; generated tokens
    /// evenly between first and last content, as far as that lies inside.
    pub rates: RateSet,
}

/// Both sets of rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// From the first write of a measured request to the last end of one, whatever its outcome.
    pub window: Known<Window>,
    /// Over that window.
    pub whole: RateSet,
    /// Over the steady part.
    pub steady: Known<SteadyState>,
}

impl Rates {
    /// From all records.
    #[must_use]
    pub fn of(records: &[RequestRecord]) -> Self {
        let window = measured_window(records);
        let whole = match &window {
            Ok(window) => whole_rates(records, window),
            Err(reason) => RateSet::unknown(reason),
        };
        let steady = window.clone().and_then(|window| steady_state(records, window));
        Self { window, whole, steady }
    }
}

/// Measured requests that were sent or at least tried, with the instant at which that began.
fn tried(records: &[RequestRecord]) -> impl Iterator<Item = (&RequestRecord, Stamp)> {
    records
        .iter()
        .filter(|record| record.phase == Phase::Measured && record.outcome != Outcome::Dropped)
        .filter_map(|record| Some((record, record.written.or(record.connect_started)?)))
}

fn measured_window(records: &[RequestRecord]) -> Known<Window> {
    let start = tried(records).map(|(_, began)| began).min();
    let end = tried(records).map(|(record, began)| record.end.unwrap_or(began)).max();
    match start.zip(end) {
        Some((start, end)) if end > start => Ok(Window { start, end }),
        Some(_) => Err(Unknown::because("the measured window has no length")),
        None => Err(Unknown::because("no measured request was sent")),
    }
}

/// Sums a count over completed requests; unknown if one of them did not say, for a sum with gaps
/// would be a rate that is too low without anybody seeing it.
fn sum_tokens(
    records: &[RequestRecord],
    what: &str,
    tokens: impl Fn(&RequestRecord) -> Option<f64>,
) -> Known<f64> {
    let completed = records.iter().filter(|record| counts(record)).count();
    let said: Vec<f64> =
        records.iter().filter(|record| counts(record)).filter_map(tokens).collect();
    if said.len() == completed {
        // The empty sum of floats is −0, which would be shown.
        Ok(said.iter().sum::<f64>() + 0.0)
    } else {
        Err(Unknown::because(format!(
            "{} of {completed} completed requests came without a count of {what} tokens",
            completed - said.len()
        )))
    }
}

fn prompt_tokens(record: &RequestRecord) -> Option<f64> {
    TokenCounts::of(record)?.prompt.map(|count| count as f64)
}

/// Embeddings and scores of the requests that end within; unknown where tokens were asked for.
fn sum_results(records: &[RequestRecord], within: impl Fn(&RequestRecord) -> bool) -> Known<f64> {
    let completed = || records.iter().filter(|record| counts(record));
    if completed().any(|record| record.results.is_none()) || completed().next().is_none() {
        return Err(Unknown::because("neither embeddings nor scores were asked for"));
    }
    let inside = completed().filter(|record| within(record));
    Ok(inside.filter_map(|record| record.results).map(f64::from).sum())
}

/// Generated tokens; unknown where none are generated.
fn sum_output(
    records: &[RequestRecord],
    tokens: impl Fn(&RequestRecord) -> Option<f64>,
) -> Known<f64> {
    if records.iter().any(|record| counts(record) && record.results.is_some()) {
        return Err(Unknown::because("no tokens are generated"));
    }
    sum_tokens(records, "generated", tokens)
}

fn completion_tokens(record: &RequestRecord) -> Option<f64> {
    Some(TokenCounts::of(record)?.completion as f64)
}

fn whole_rates(records: &[RequestRecord], window: &Window) -> RateSet {
    let completed = records.iter().filter(|record| counts(record)).count();
    RateSet::new(
        completed as f64,
        sum_tokens(records, "prompt", prompt_tokens),
        sum_output(records, completion_tokens),
        sum_results(records, |_| true),
        window.seconds(),
    )
}

/// Measured requests that were sent or at least tried, each with the span in which it was in flight.
/// One that was never written has an empty span: counting it would call an empty server busy.
pub(super) fn in_flight(
    records: &[RequestRecord],
) -> impl Iterator<Item = (&RequestRecord, Stamp, Stamp)> {
    tried(records)
        .map(|(record, began)| (record, began, record.written.and(record.end).unwrap_or(began)))
}

/// A stretch of time with a constant number of requests in flight.
struct Stretch {
    start: u64,
    end: u64,
    in_flight: u64,
}

fn stretches(records: &[RequestRecord]) -> Vec<Stretch> {
    let mut edges: Vec<(u64, i64)> = Vec::new();
    for (_, began, ended) in in_flight(records) {
        if ended > began {
            edges.push((began.0, 1));
            edges.push((ended.0, -1));
        }
    }
    edges.sort_unstable();
    let mut result = Vec::new();
    let mut in_flight = 0_i64;
    for (position, (instant, change)) in edges.iter().enumerate() {
        in_flight += change;
        if let Some((next, _)) = edges.get(position + 1)
            && next > instant
        {
            let in_flight = u64::try_from(in_flight).unwrap_or(0);
            result.push(Stretch { start: *instant, end: *next, in_flight });
        }
    }
    result
}

fn steady_state(records: &[RequestRecord], window: Window) -> Known<SteadyState> {
    let stretches = stretches(records);
    let length = window.end.0 - window.start.0;
    let (from, to) = (window.start.0 + length / 4, window.end.0 - length / 4);
    let weighted: f64 = stretches
        .iter()
        .map(|stretch| overlap(stretch.start, stretch.end, from, to) * stretch.in_flight as f64)
        .sum();
    let plateau = weighted / (to - from).max(1) as f64;
    if plateau <= 0.0 {
        return Err(Unknown::because("nothing was in flight in the middle of the run"));
    }
    let high = |stretch: &&Stretch| stretch.in_flight as f64 >= 0.95 * plateau;
    let start = stretches.iter().find(high).map(|stretch| stretch.start);
    let end = stretches.iter().rev().find(high).map(|stretch| stretch.end);
    let Some((start, end)) = start.zip(end) else {
        return Err(Unknown::because("concurrency never reached 95 % of its plateau"));
    };
    let window = Window { start: Stamp(start), end: Stamp(end) };
    let inside = |stamp: Option<Stamp>| {
        stamp.is_some_and(|stamp| stamp > window.start && stamp <= window.end)
    };
    let completed =
        records.iter().filter(|record| counts(record) && inside(record.end)).count() as u64;
    let needed = (2.0 * plateau).ceil().max(2.0) as u64;
    if completed < needed {
        return Err(Unknown::because(format!(
            "too short: {completed} requests completed at {plateau:.1} in flight, needs at least {needed}"
        )));
    }
    let prompt = sum_tokens(records, "prompt", |record| {
        prompt_tokens(record)
            .map(|count| if inside(record.first_content.or(record.end)) { count } else { 0.0 })
    });
    let output = sum_output(records, |record| {
        let count = completion_tokens(record)?;
        let share = match record.first_content.zip(record.last_content) {
            Some((first, last)) if last > first => {
                overlap(first.0, last.0, start, end) / (last.0 - first.0) as f64
            }
            Some((first, _)) => f64::from(u8::from(inside(Some(first)))),
            // What comes whole is counted where it ends.
            None => f64::from(u8::from(inside(record.end))),
        };
        Some(count * share)
    });
    let results = sum_results(records, |record| inside(record.end));
    let rates = RateSet::new(completed as f64, prompt, output, results, window.seconds());
    Ok(SteadyState { window, plateau_concurrency: plateau, completed, rates })
}

/// Length of the common part of two spans, in their unit.
pub(super) fn overlap(start: u64, end: u64, from: u64, to: u64) -> f64 {
    end.min(to).saturating_sub(start.max(from)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureKind;
    use crate::stats::fixture::{at_ms, closed_loop, completed, failed, later};

    fn close(left: &Known<f64>, right: f64) {
        let left = *left.as_ref().expect("known");
        assert!((left - right).abs() < 1e-9 * right.abs().max(1.0), "{left} is not {right}");
    }

    #[test]
    fn the_whole_window_runs_from_first_write_to_last_end() {
        // 4 users × 5 rounds of 130 ms: written at 2, last end at 650.
        let rates = Rates::of(&closed_loop(4, 5));
        assert_eq!(rates.window, Ok(Window { start: at_ms(2.0), end: at_ms(650.0) }));
        close(&rates.whole.requests_per_second, 20.0 / 0.648);
        close(&rates.whole.prompt_tokens_per_second, 800.0 / 0.648);
        close(&rates.whole.output_tokens_per_second, 220.0 / 0.648);
        close(&rates.whole.total_tokens_per_second, 1_020.0 / 0.648);
    }

    #[test]
    fn a_request_that_ended_badly_never_raises_a_rate() {
        // Whatever one request is turned into, no rate may exceed that of the run in which it completed.
        let good = closed_loop(4, 5);
        let before = Rates::of(&good).whole;
        let mut endings = vec![
            failed(0, FailureKind::StreamError),
            RequestRecord { outcome: Outcome::Cut, ..completed(0) },
        ];
        for kind in FailureKind::ALL {
            endings.push(failed(0, kind));
        }
        for (position, record) in good.iter().enumerate() {
            for ending in &endings {
                let mut records = good.clone();
                let delay = record.planned.since(at_ms(0.0)).as_secs_f64() * 1e3;
                records[position] = later(ending.clone(), delay);
                if record.end == Some(at_ms(650.0)) {
                    records[position].end = record.end; // the failure is noticed when the stream ends
                }
                let after = Rates::of(&records).whole;
                for (before, after) in [
                    (&before.requests_per_second, &after.requests_per_second),
                    (&before.prompt_tokens_per_second, &after.prompt_tokens_per_second),
                    (&before.output_tokens_per_second, &after.output_tokens_per_second),
                ] {
                    assert!(after.clone().expect("known") < before.clone().expect("known"));
                }
            }
        }
    }

    #[test]
    fn a_hanging_request_keeps_the_window_open_until_it_is_given_up_and_no_longer() {
        let mut records = closed_loop(2, 5);
        let hanging = failed(10, FailureKind::TimeoutTotal);
        records.push(RequestRecord { end: Some(at_ms(60_000.0)), ..hanging });
        let before = Rates::of(&records);
        assert_eq!(before.window.clone().map(|window| window.end), Ok(at_ms(60_000.0)));
        // The load goes on with a phase that does not count.
        for second in 60..90 {
            let cooling = later(completed(11), 1e3 * f64::from(second));
            records.push(RequestRecord { phase: Phase::CoolDown, ..cooling });
        }
        assert_eq!(Rates::of(&records), before);
    }

    #[test]
    fn a_request_that_never_reached_the_server_stretches_the_window_and_keeps_nothing_busy() {
        let mut records = closed_loop(2, 5);
        let unsent = RequestRecord {
            connect_started: Some(at_ms(100.0)),
            written: None,
            end: Some(at_ms(900.0)),
            ..failed(10, FailureKind::Connect)
        };
        records.push(unsent);
        assert_eq!(Rates::of(&records).window.map(|window| window.end), Ok(at_ms(900.0)));
        let spans: Vec<_> = in_flight(&records).map(|(_, began, ended)| (began, ended)).collect();
        assert_eq!(spans[10], (at_ms(100.0), at_ms(100.0)));
    }

    #[test]
    fn warm_up_and_dropped_requests_leave_no_trace() {
        let mut records = closed_loop(4, 5);
        let before = Rates::of(&records);
        records.push(RequestRecord { phase: Phase::WarmUp, ..later(completed(20), 9_000.0) });
        records.push(RequestRecord { outcome: Outcome::Dropped, ..later(completed(21), 9_000.0) });
        assert_eq!(Rates::of(&records), before);
    }

    #[test]
    fn a_missing_count_is_not_a_smaller_sum() {
        let mut records = closed_loop(4, 5);
        (records[3].usage, records[3].timings) = (None, None);
        let rates = Rates::of(&records).whole;
        let reason = rates.output_tokens_per_second.expect_err("one did not say");
        assert!(reason.reason().starts_with("1 of 20 completed requests"), "{reason}");
        assert!(rates.requests_per_second.is_ok());
    }

    #[test]
    fn the_steady_window_leaves_out_ramp_and_drain() {
        // Four users that start 130 ms apart and each make 20 requests.
        let mut records = Vec::new();
        for user in 0..4 {
            for round in 0..20 {
                records.push(later(completed(0), 130.0 * f64::from(user + round)));
            }
        }
        let rates = Rates::of(&records);
        let steady = rates.steady.expect("a long plateau");
        assert!(steady.plateau_concurrency > 3.8 && steady.plateau_concurrency <= 4.0);
        assert_eq!(steady.window.start, at_ms(3.0 * 130.0 + 2.0));
        assert_eq!(steady.window.end, at_ms(19.0 * 130.0 + 130.0));
        let whole = rates.whole.requests_per_second.expect("known");
        assert!(steady.rates.requests_per_second.expect("known") > whole);
    }

    #[test]
    fn one_burst_has_no_steady_state() {
        let reason = Rates::of(&closed_loop(8, 1)).steady.expect_err("one burst");
        assert!(reason.reason().contains("needs at least 16"), "{reason}");
    }

    #[test]
    fn nothing_sent_is_unknown_and_not_zero() {
        let rates = Rates::of(&[]);
        assert!(rates.window.is_err() && rates.steady.is_err());
        assert!(rates.whole.requests_per_second.is_err());
    }

    #[test]
    fn all_failed_is_a_known_zero() {
        let records: Vec<_> = (0..3).map(|index| failed(index, FailureKind::StreamError)).collect();
        close(&Rates::of(&records).whole.requests_per_second, 0.0);
    }
}
