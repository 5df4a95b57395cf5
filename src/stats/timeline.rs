//! The load over time: what was planned and what came of it, in at most 300 steps.
//!
//! Main type: [`Timeline`]. It is for drawing; no figure of a report is computed from it.

use std::time::Duration;

use super::columns::{Column, Steps};
use super::derive::{TokenCounts, counts};
use super::rates::in_flight;
use super::{Known, Unknown};
use crate::load::{GapBin, GapsOverTime, Outcome, RequestRecord, Stamp};
use crate::plan::{Course, CourseUnit};

/// Columns of equal length, one value a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Where each step lies.
    pub steps: Steps,
    /// The plan beside what came of it.
    pub course: Known<CourseColumns>,
    /// Mean number of requests in flight.
    pub in_flight: Vec<f64>,
    /// Requests sent.
    pub started: Vec<u64>,
    /// Requests that ended well, at their ends.
    pub completed: Vec<u64>,
    /// Requests that ended badly, at their ends.
    pub failed: Vec<u64>,
    /// Generated tokens of completed requests, evenly between first and last content; of an answer in one
    /// piece at its end.
    pub output_tokens: Known<Vec<f64>>,
    /// The same per second.
    pub output_tokens_per_second: Known<Vec<f64>>,
    /// TTFT of completed requests, at their first content, milliseconds.
    pub ttft_ms: Band,
    /// Gaps between content deltas of completed requests, at their ends, milliseconds.
    pub itl_ms: Band,
}

/// What was planned, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CourseColumns {
    /// What both count.
    pub unit: CourseUnit,
    /// Whether the plan changes at all; a constant one is not worth a drawing.
    pub varies: bool,
    /// The plan's mean over the step.
    pub planned: Vec<f64>,
    /// Of users: the mean number that had a request in flight or paused after one. Of arrivals:
    /// requests sent per second.
    pub achieved: Vec<f64>,
}

/// A distribution in each step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Band {
    /// Median.
    pub p50: Column,
    /// 95th percentile; needs 20 values.
    pub p95: Column,
    /// Largest.
    pub max: Column,
}

/// A 95th percentile of fewer values is their largest under another name.
const NEEDED_FOR_P95: u64 = 20;

impl Timeline {
    /// From all records of a load between `start` and `end`, with the gaps of its deltas. `think_time`
    /// is a user's pause.
    pub fn of(
        records: &[RequestRecord],
        gaps: &GapsOverTime,
        course: Known<&Course>,
        think_time: Duration,
        (start, end): (Stamp, Stamp),
    ) -> Known<Self> {
        let steps = Steps::between(start, end)
            .filter(|_| in_flight(records).next().is_some())
            .ok_or_else(|| Unknown::because("no measured request was sent"))?;
        let zeros = || vec![0.0; steps.count()];
        let (mut busy, mut users) = (zeros(), zeros());
        let none = || vec![0_u64; steps.count()];
        let (mut started, mut completed, mut failed) = (none(), none(), none());
        for (record, began, ended) in in_flight(records) {
            steps.occupy(began, ended, &mut busy);
            steps.occupy(record.planned.max(start), ended.after(think_time), &mut users);
            started[steps.index_of(began)] += u64::from(record.written.is_some());
            let over = steps.index_of(record.end.unwrap_or(ended));
            match record.outcome {
                Outcome::Completed => completed[over] += 1,
                Outcome::Failed { .. } => failed[over] += 1,
                Outcome::Dropped | Outcome::Cut | Outcome::Cancelled => {}
            }
        }
        let course = course.map(|course| CourseColumns {
            unit: course.unit,
            varies: course.varies(),
            planned: steps.offsets_s().map(|(from, to)| course.mean(from, to)).collect(),
            achieved: match course.unit {
                CourseUnit::Users => users,
                CourseUnit::RequestsPerSecond => {
                    per_second(&steps, started.iter().map(|sent| *sent as f64))
                }
            },
        });
        let output_tokens = output_tokens(records, &steps);
        Ok(Self {
            course,
            in_flight: busy,
            started,
            completed,
            failed,
            output_tokens_per_second: output_tokens
                .clone()
                .map(|tokens| per_second(&steps, tokens.into_iter())),
            output_tokens,
            ttft_ms: ttft_ms(records, &steps),
            itl_ms: itl_ms(gaps, &steps),
            steps,
        })
    }
}

fn per_second(steps: &Steps, values: impl Iterator<Item = f64>) -> Vec<f64> {
    values.zip(steps.seconds()).map(|(value, seconds)| value / seconds).collect()
}

fn output_tokens(records: &[RequestRecord], steps: &Steps) -> Known<Vec<f64>> {
    let mut column = vec![0.0; steps.count()];
    for record in records.iter().filter(|record| counts(record)) {
        if record.results.is_some() {
            return Err(Unknown::because("no tokens are generated"));
        }
        let Some(tokens) = TokenCounts::of(record) else {
            return Err(Unknown::because("a completed request came without a count of tokens"));
        };
        let tokens = tokens.completion as f64;
        match (record.first_content, record.last_content, record.end) {
            (Some(first), Some(last), _) if last > first => {
                steps.spread(first, last, tokens, &mut column);
            }
            // What comes whole is there where it ends.
            (first, _, end) => {
                if let Some(at) = first.or(end) {
                    column[steps.index_of(at)] += tokens;
                }
            }
        }
    }
    Ok(column)
}

fn ttft_ms(records: &[RequestRecord], steps: &Steps) -> Band {
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); steps.count()];
    for record in records.iter().filter(|record| counts(record)) {
        if let Some((written, first)) = record.written.zip(record.first_content) {
            values[steps.index_of(first)].push(first.since(written).as_secs_f64() * 1e3);
        }
    }
    let mut band = Band::default();
    for values in &mut values {
        values.sort_by(f64::total_cmp);
        let at = |fraction| super::quantile::interpolated(values, fraction);
        let count = values.len() as u64;
        band.p50.push((count > 0).then(|| at(0.5)));
        band.p95.push((count >= NEEDED_FOR_P95).then(|| at(0.95)));
        band.max.push(values.last().copied());
    }
    band
}

fn itl_ms(gaps: &GapsOverTime, steps: &Steps) -> Band {
    let mut bins = vec![GapBin::new(); steps.count()];
    for (at, bin) in gaps.bins() {
        bins[steps.index_of(at)].merge(bin);
    }
    let ms = |nanos: Option<f64>| nanos.map(|nanos| nanos / 1e6);
    Band {
        p50: bins.iter().map(|bin| ms(bin.quantile_ns(0.5))).collect(),
        p95: bins
            .iter()
            .map(|bin| ms(bin.quantile_ns(0.95).filter(|_| bin.count() >= NEEDED_FOR_P95)))
            .collect(),
        max: bins.iter().map(|bin| ms(bin.max_ns().map(|nanos| nanos as f64))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::FailureKind;
    use crate::plan::LoadShape;
    use crate::stats::fixture::{at_ms, closed_loop, completed, failed};

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    fn users(count: u32) -> Course {
        Course::of(&LoadShape::ConstantUsers, count, None)
    }

    fn of(records: &[RequestRecord], course: &Course, end_ms: f64) -> Timeline {
        let gaps = GapsOverTime::since(at_ms(0.0));
        let span = (at_ms(0.0), at_ms(end_ms));
        Timeline::of(records, &gaps, Ok(course), Duration::ZERO, span).unwrap()
    }

    #[test]
    fn a_closed_loop_keeps_its_users_through_their_pauses() {
        // 4 users × 5 rounds of 130 ms without a pause: written 2 ms after planned, over at 650 ms.
        let records = closed_loop(4, 5);
        let line = of(&records, &users(4), 650.0);
        assert_eq!(line.steps.step(), Duration::from_millis(125));
        let course = line.course.as_ref().unwrap();
        assert_eq!(course.planned.len(), 6);
        for (planned, achieved) in course.planned.iter().zip(&course.achieved) {
            close(*planned, 4.0);
            close(*achieved, 4.0);
        }
        // In the first 125 ms nobody is in flight for 2 ms.
        close(line.in_flight[0], 4.0 * 123.0 / 125.0);
        assert_eq!(line.started.iter().sum::<u64>(), 20);
        assert_eq!(line.completed.iter().sum::<u64>(), 20);
        close(line.output_tokens.as_ref().unwrap().iter().sum(), 220.0);
        let rates = line.output_tokens_per_second.unwrap();
        close(rates.iter().zip(line.steps.seconds()).map(|(rate, s)| rate * s).sum(), 220.0);
        assert!(!course.varies);
    }

    #[test]
    fn sent_per_second_counts_a_short_last_step_by_its_own_length() {
        let process = crate::plan::ArrivalProcess::Constant;
        let shape = LoadShape::Arrivals { process, rate_per_second: 10.0, max_in_flight: None };
        let course = Course::of(&shape, 1, Some(Duration::from_millis(100)));
        let records = [completed(0)]; // written at 2 ms, over at 130 ms
        let line = of(&records, &course, 150.0);
        let course = line.course.unwrap();
        close(course.achieved[0], 8.0); // one in 125 ms
        close(course.achieved[1], 0.0);
        close(line.in_flight[1], 0.2); // 5 of 25 ms
        close(course.planned[1], 0.0);
    }

    #[test]
    fn a_failed_request_stands_where_it_ended_and_adds_no_tokens() {
        let records = [failed(0, FailureKind::StreamError), completed(1)];
        let line = of(&records, &users(2), 200.0);
        assert_eq!((line.failed.iter().sum::<u64>(), line.completed.iter().sum::<u64>()), (1, 1));
        close(line.output_tokens.unwrap().iter().sum(), 11.0);
    }

    #[test]
    fn tokens_of_an_answer_in_one_piece_stand_where_it_ends() {
        let whole = RequestRecord { first_content: None, last_content: None, ..completed(0) };
        let line = of(std::slice::from_ref(&whole), &users(1), 200.0);
        assert_eq!(line.output_tokens, Ok(vec![0.0, 11.0])); // over at 130 ms, in the second step
        let vectors = of(&[RequestRecord { results: Some(1), ..whole }], &users(1), 200.0);
        assert_eq!(vectors.output_tokens.unwrap_err().reason(), "no tokens are generated");
        assert!(vectors.output_tokens_per_second.is_err());
    }

    #[test]
    fn a_request_that_was_never_written_was_not_sent_and_failed_where_it_was_given_up() {
        let unsent = RequestRecord {
            connect_started: Some(at_ms(1.0)),
            written: None,
            end: Some(at_ms(190.0)),
            ..failed(1, FailureKind::Connect)
        };
        let line = of(&[completed(0), unsent], &users(2), 200.0);
        assert_eq!((line.started.as_slice(), line.failed.as_slice()), (&[1, 0][..], &[0, 1][..]));
    }

    #[test]
    fn latencies_stand_where_they_were_seen_and_a_p95_needs_twenty() {
        let mut records = vec![completed(0); 20];
        records[19].first_content = Some(at_ms(45.0));
        let mut late = crate::stats::fixture::later(completed(20), 250.0);
        late.first_content = Some(at_ms(302.0)); // written at 252
        records.push(late);
        let mut gaps = GapsOverTime::since(at_ms(0.0));
        (0..25).for_each(|_| gaps.add(at_ms(0.0), &[10_000_000]));
        let course = users(1);
        let line =
            Timeline::of(&records, &gaps, Ok(&course), Duration::ZERO, (at_ms(0.0), at_ms(500.0)))
                .unwrap();
        close(line.ttft_ms.p50[0].unwrap(), 23.0);
        close(line.ttft_ms.max[0].unwrap(), 43.0);
        assert!(line.ttft_ms.p95[0].unwrap() > 23.0);
        assert_eq!((line.ttft_ms.p50[1], line.ttft_ms.p95[2]), (None, None));
        close(line.ttft_ms.p50[2].unwrap(), 50.0);
        let itl = line.itl_ms.p95[0].unwrap();
        assert!((itl / 10.0 - 1.0).abs() < 0.04, "{itl}");
        assert_eq!(line.itl_ms.max, [Some(10.0), None, None, None]);
    }

    #[test]
    fn a_load_without_a_single_course_still_has_its_requests() {
        let why = Unknown::because("several phases");
        let gaps = GapsOverTime::since(at_ms(0.0));
        let span = (at_ms(0.0), at_ms(650.0));
        let line = Timeline::of(&closed_loop(4, 5), &gaps, Err(why), Duration::ZERO, span).unwrap();
        assert!(line.course.is_err());
        assert_eq!(line.started.iter().sum::<u64>(), 20);
    }

    #[test]
    fn nothing_sent_has_no_line() {
        let gaps = GapsOverTime::since(at_ms(0.0));
        let (course, span) = (users(1), (at_ms(0.0), at_ms(9.0)));
        assert!(Timeline::of(&[], &gaps, Ok(&course), Duration::ZERO, span).is_err());
    }
}
