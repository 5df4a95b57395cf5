//! The load over time: what was planned and what came of it, in at most 120 steps.
//!
//! Main type: [`Timeline`]. It is for drawing; no figure of a report is computed from it.

use std::time::Duration;

use super::derive::{TokenCounts, counts};
use super::rates::{in_flight, overlap};
use super::{Known, Unknown};
use crate::load::{Outcome, RequestRecord, Stamp};
use crate::plan::{Course, CourseUnit};

/// Lengths of a step, in milliseconds. The smallest that gives no more than [`MOST_STEPS`] is taken.
const STEPS_MS: [u64; 15] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    1_800_000, 3_600_000,
];

/// As many as a chart shows apart and a person scrolls past in a report.
const MOST_STEPS: u64 = 120;

/// Steps shorter than a second are for runs that would be a dot otherwise, and then so many do.
const MOST_SHORT_STEPS: u64 = 40;

/// Columns of equal length, one value a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Length of a step.
    pub step: Duration,
    /// What `planned` and `achieved` count.
    pub unit: CourseUnit,
    /// Whether the plan changes at all; a constant one is not worth a drawing.
    pub varies: bool,
    /// The plan's mean over the step.
    pub planned: Vec<f64>,
    /// Of users: the mean number that had a request in flight or paused after one. Of arrivals:
    /// requests sent per second.
    pub achieved: Vec<f64>,
    /// Mean number of requests in flight.
    pub in_flight: Vec<f64>,
    /// Requests sent.
    pub started: Vec<u64>,
    /// Requests that ended well, at their ends.
    pub completed: Vec<u64>,
    /// Requests that ended badly, at their ends.
    pub failed: Vec<u64>,
    /// Generated tokens of completed requests, evenly between first and last content.
    pub output_tokens: Known<Vec<f64>>,
}

impl Timeline {
    /// From all records of a load between `start` and `end`. `think_time` is a user's pause.
    pub fn of(
        records: &[RequestRecord],
        course: &Course,
        think_time: Duration,
        start: Stamp,
        end: Stamp,
    ) -> Known<Self> {
        if end <= start || in_flight(records, end).next().is_none() {
            return Err(Unknown::because("no measured request was sent"));
        }
        let step_ns = step(end.0 - start.0);
        let count = (end.0 - start.0).div_ceil(step_ns);
        let steps: Vec<Step> = (0..count)
            .map(|index| {
                let from = start.0 + index * step_ns;
                Step { from, to: (from + step_ns).min(end.0) }
            })
            .collect();
        let index_of = |stamp: Stamp| {
            let index = stamp.0.saturating_sub(start.0) / step_ns;
            usize::try_from(index.min(count - 1)).unwrap_or(0)
        };
        let zeros = || vec![0.0; steps.len()];
        let (mut busy, mut users) = (zeros(), zeros());
        let (mut started, mut completed, mut failed) =
            (vec![0; steps.len()], vec![0; steps.len()], vec![0; steps.len()]);
        for (record, began, ended) in in_flight(records, end) {
            spread(&steps, index_of(began), began, ended, 1.0, &mut busy);
            let free = ended.after(think_time);
            let took_up = record.planned.max(start);
            spread(&steps, index_of(took_up), took_up, free, 1.0, &mut users);
            started[index_of(began)] += 1;
            match record.outcome {
                Outcome::Completed => completed[index_of(ended)] += 1,
                Outcome::Failed { .. } => failed[index_of(ended)] += 1,
                Outcome::Dropped | Outcome::Cut | Outcome::Cancelled => {}
            }
        }
        let seconds = |step: &Step| (step.to - step.from) as f64 / 1e9;
        let achieved = match course.unit {
            CourseUnit::Users => users,
            CourseUnit::RequestsPerSecond => steps
                .iter()
                .zip(&started)
                .map(|(step, sent)| *sent as f64 / seconds(step))
                .collect(),
        };
        let offset_s = |stamp: u64| (stamp - start.0) as f64 / 1e9;
        Ok(Self {
            step: Duration::from_nanos(step_ns),
            unit: course.unit,
            varies: course.varies(),
            planned: steps
                .iter()
                .map(|step| course.mean(offset_s(step.from), offset_s(step.to)))
                .collect(),
            achieved,
            in_flight: busy,
            started,
            completed,
            failed,
            output_tokens: output_tokens(records, &steps, index_of),
        })
    }
}

struct Step {
    from: u64,
    to: u64,
}

/// Nanoseconds of a step for a load of this length.
fn step(length_ns: u64) -> u64 {
    let fits = |step_ms: &&u64| {
        let most = if **step_ms < 1_000 { MOST_SHORT_STEPS } else { MOST_STEPS };
        length_ns.div_ceil(**step_ms * 1_000_000) <= most
    };
    let longest = length_ns.div_ceil(MOST_STEPS).max(1);
    STEPS_MS.iter().find(fits).map_or(longest, |step_ms| step_ms * 1_000_000)
}

/// Adds `weight` to each step for the part of it that lies between two instants.
fn spread(
    steps: &[Step],
    first: usize,
    began: Stamp,
    ended: Stamp,
    weight: f64,
    column: &mut [f64],
) {
    for (step, value) in steps.iter().zip(column).skip(first) {
        if step.from >= ended.0 {
            break;
        }
        let length = (step.to - step.from) as f64;
        *value += weight * overlap(began.0, ended.0, step.from, step.to) / length;
    }
}

fn output_tokens(
    records: &[RequestRecord],
    steps: &[Step],
    index_of: impl Fn(Stamp) -> usize,
) -> Known<Vec<f64>> {
    let mut column = vec![0.0; steps.len()];
    for record in records.iter().filter(|record| counts(record)) {
        let Some(tokens) = TokenCounts::of(record) else {
            return Err(Unknown::because("a completed request came without a count of tokens"));
        };
        let tokens = tokens.completion as f64;
        let Some((first, last)) = record.first_content.zip(record.last_content) else { continue };
        let at = index_of(first);
        if last <= first {
            column[at] += tokens;
            continue;
        }
        let length = (last.0 - first.0) as f64;
        for (step, value) in steps.iter().zip(&mut column).skip(at) {
            *value += tokens * overlap(first.0, last.0, step.from, step.to) / length;
        }
    }
    Ok(column)
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

    #[test]
    fn a_closed_loop_keeps_its_users_through_their_pauses() {
        // 4 users × 5 rounds of 130 ms without a pause: written 2 ms after planned, over at 650 ms.
        let records = closed_loop(4, 5);
        let line =
            Timeline::of(&records, &users(4), Duration::ZERO, at_ms(0.0), at_ms(650.0)).unwrap();
        assert_eq!(line.step, Duration::from_millis(100));
        assert_eq!(line.planned.len(), 7);
        for (planned, achieved) in line.planned.iter().zip(&line.achieved) {
            close(*planned, 4.0);
            close(*achieved, 4.0);
        }
        // In the first 100 ms nobody is in flight for 2 ms.
        close(line.in_flight[0], 4.0 * 0.98);
        assert_eq!(line.started.iter().sum::<u64>(), 20);
        assert_eq!(line.completed.iter().sum::<u64>(), 20);
        close(line.output_tokens.unwrap().iter().sum(), 220.0);
        assert!(!line.varies);
    }

    #[test]
    fn sent_per_second_counts_a_short_last_step_by_its_own_length() {
        let process = crate::plan::ArrivalProcess::Constant;
        let shape = LoadShape::Arrivals { process, rate_per_second: 10.0, max_in_flight: None };
        let course = Course::of(&shape, 1, Some(Duration::from_millis(100)));
        let records = [completed(0)]; // written at 2 ms, over at 130 ms
        let line =
            Timeline::of(&records, &course, Duration::ZERO, at_ms(0.0), at_ms(150.0)).unwrap();
        close(line.achieved[0], 10.0);
        close(line.achieved[1], 0.0);
        close(line.in_flight[1], 0.6); // 30 of 50 ms
        close(line.planned[1], 0.0);
    }

    #[test]
    fn a_failed_request_stands_where_it_ended_and_adds_no_tokens() {
        let records = [failed(0, FailureKind::StreamError), completed(1)];
        let line =
            Timeline::of(&records, &users(2), Duration::ZERO, at_ms(0.0), at_ms(200.0)).unwrap();
        assert_eq!((line.failed.iter().sum::<u64>(), line.completed.iter().sum::<u64>()), (1, 1));
        close(line.output_tokens.unwrap().iter().sum(), 11.0);
    }

    #[test]
    fn there_are_never_more_than_120_steps() {
        for seconds in [0.001, 0.5, 3.9, 4.1, 19.0, 60.0, 121.0, 3_600.0, 86_400.0, 10_000_000.0] {
            let length_ns = (seconds * 1e9) as u64;
            let steps = length_ns.div_ceil(step(length_ns));
            assert!((1..=120).contains(&steps), "{seconds} s: {steps} steps");
        }
        assert_eq!(step(60_000_000_000), 1_000_000_000);
        assert_eq!(step(3_000_000_000), 100_000_000);
    }

    #[test]
    fn nothing_sent_has_no_line() {
        let none = Timeline::of(&[], &users(1), Duration::ZERO, at_ms(0.0), at_ms(9.0));
        assert!(none.is_err());
    }
}
