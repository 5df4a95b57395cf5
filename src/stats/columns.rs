//! Values over time, in steps of equal length.
//!
//! Main type: [`Steps`]. It is for drawing; no figure of a report is computed from it.

use std::time::Duration;

use super::rates::overlap;
use crate::load::Stamp;

/// Lengths of a step at first, nanoseconds; longer ones are twice as long each.
const SHORTEST_NS: u64 = 125_000_000;

/// As many as a page can draw with one point for a few pixels.
const MOST_STEPS: u64 = 300;

/// Steps shorter than a second are for runs that would be a dot otherwise, and then so many do.
const MOST_SHORT_STEPS: u64 = 40;

/// One value a step; `None` where that step has none.
pub type Column = Vec<Option<f64>>;

/// Steps of equal length between two instants; the last may be shorter. There is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    start: Stamp,
    end: Stamp,
    step_ns: u64,
}

impl Steps {
    /// At most 300 for the time between two instants; `None` if there is no time between them.
    ///
    /// Their length is 125 ms, doubled as often as it takes, and never what would part a bin of
    /// [`crate::load::GapsOverTime`], which are made in the same way and are at most as long.
    #[must_use]
    pub fn between(start: Stamp, end: Stamp) -> Option<Self> {
        let length = end.0.checked_sub(start.0).filter(|length| *length > 0)?;
        let mut step_ns = SHORTEST_NS;
        loop {
            let most = if step_ns < 1_000_000_000 { MOST_SHORT_STEPS } else { MOST_STEPS };
            if length.div_ceil(step_ns) <= most {
                return Some(Self { start, end, step_ns });
            }
            step_ns = step_ns.checked_mul(2)?;
        }
    }

    /// Length of a step.
    #[must_use]
    pub fn step(&self) -> Duration {
        Duration::from_nanos(self.step_ns)
    }

    /// Length of all.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.end.since(self.start)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from((self.end.0 - self.start.0).div_ceil(self.step_ns)).unwrap_or(usize::MAX)
    }

    /// The step of an instant; what lies before or after all is in the first or last.
    #[must_use]
    pub fn index_of(&self, stamp: Stamp) -> usize {
        let index = stamp.0.saturating_sub(self.start.0) / self.step_ns;
        usize::try_from(index).unwrap_or(usize::MAX).min(self.count() - 1)
    }

    /// First and last instant of each step, nanoseconds.
    pub(super) fn bounds(&self) -> impl Iterator<Item = (u64, u64)> + use<> {
        let Self { start, end, step_ns } = *self;
        (0..self.count() as u64).map(move |index| {
            let from = start.0 + index * step_ns;
            (from, (from + step_ns).min(end.0))
        })
    }

    /// Seconds from the start to the begin and the end of each step.
    pub(super) fn offsets_s(&self) -> impl Iterator<Item = (f64, f64)> + use<> {
        let start = self.start.0;
        let offset = move |at: u64| (at - start) as f64 / 1e9;
        self.bounds().map(move |(from, to)| (offset(from), offset(to)))
    }

    /// Seconds of each step.
    pub(super) fn seconds(&self) -> impl Iterator<Item = f64> + use<> {
        self.bounds().map(|(from, to)| (to - from) as f64 / 1e9)
    }

    /// Adds `amount` to the steps between two instants, evenly.
    pub(super) fn spread(&self, began: Stamp, ended: Stamp, amount: f64, column: &mut [f64]) {
        let length = ended.since(began).as_nanos() as f64;
        let first = self.index_of(began);
        for ((from, to), value) in self.bounds().zip(column).skip(first) {
            if from >= ended.0 {
                break;
            }
            *value += amount * overlap(began.0, ended.0, from, to) / length;
        }
    }

    /// Adds to each step the part of it that lies between two instants.
    pub(super) fn occupy(&self, began: Stamp, ended: Stamp, column: &mut [f64]) {
        let first = self.index_of(began);
        for ((from, to), value) in self.bounds().zip(column).skip(first) {
            if from >= ended.0 {
                break;
            }
            *value += overlap(began.0, ended.0, from, to) / (to - from) as f64;
        }
    }

    /// The growth per second of a quantity that only grows, from readings of it in order of time.
    ///
    /// What it grew between two readings is spread evenly over the time between them, so that the
    /// steps add up to what it grew. A `None` among the readings, or a value that fell, is a time in
    /// which nothing is known. A step half of which is not known has no value.
    #[must_use]
    pub fn growth(&self, readings: impl IntoIterator<Item = (Stamp, Option<f64>)>) -> Column {
        let mut sums = Sums::new(self);
        let mut before: Option<(Stamp, f64)> = None;
        for (at, value) in readings {
            if let (Some((began, first)), Some(value)) = (before, value)
                && at > began
                && value >= first
            {
                let rate = (value - first) / at.since(began).as_secs_f64();
                sums.add(began, at, rate);
            }
            before = value.filter(|value| value.is_finite()).map(|value| (at, value));
        }
        sums.means()
    }

    /// The mean of a quantity of which each reading holds until the next, but at most for `longest`.
    ///
    /// A step half of which is not known has no value.
    #[must_use]
    pub fn held(
        &self,
        readings: impl IntoIterator<Item = (Stamp, Option<f64>)>,
        longest: Duration,
    ) -> Column {
        let mut sums = Sums::new(self);
        let mut before: Option<(Stamp, f64)> = None;
        for (at, value) in readings {
            if let Some((began, value)) = before {
                sums.add(began, at.min(began.after(longest)), value);
            }
            before = value.filter(|value| value.is_finite()).map(|value| (at, value));
        }
        if let Some((began, value)) = before {
            sums.add(began, self.end.min(began.after(longest)), value);
        }
        sums.means()
    }
}

/// Sums of values over time, and of the time in which they were known.
struct Sums<'a> {
    steps: &'a Steps,
    sums: Vec<f64>,
    known_ns: Vec<f64>,
}

impl<'a> Sums<'a> {
    fn new(steps: &'a Steps) -> Self {
        let count = steps.count();
        Self { steps, sums: vec![0.0; count], known_ns: vec![0.0; count] }
    }

    fn add(&mut self, began: Stamp, ended: Stamp, value: f64) {
        if ended <= began || ended.0 <= self.steps.start.0 || began.0 >= self.steps.end.0 {
            return;
        }
        let first = self.steps.index_of(began);
        for (index, (from, to)) in self.steps.bounds().enumerate().skip(first) {
            if from >= ended.0 {
                break;
            }
            let known = overlap(began.0, ended.0, from, to);
            self.sums[index] += value * known;
            self.known_ns[index] += known;
        }
    }

    fn means(self) -> Column {
        let parts = self.sums.iter().zip(&self.known_ns).zip(self.steps.bounds());
        parts
            .map(|((sum, known), (from, to))| {
                (*known > 0.0 && *known * 2.0 >= (to - from) as f64).then(|| sum / known)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::at_ms;

    fn steps(milliseconds: f64) -> Steps {
        Steps::between(at_ms(0.0), at_ms(milliseconds)).unwrap()
    }

    fn known(column: &Column) -> Vec<f64> {
        column.iter().map(|value| (value.unwrap_or(-1.0) * 1e3).round() / 1e3).collect()
    }

    #[test]
    fn there_are_never_more_than_300_steps() {
        for seconds in [0.001, 0.5, 3.9, 5.1, 19.0, 60.0, 301.0, 3_600.0, 86_400.0, 10_000_000.0] {
            let steps = steps(seconds * 1e3);
            assert!((1..=300).contains(&steps.count()), "{seconds} s: {}", steps.count());
            let shortest = Duration::from_nanos(SHORTEST_NS);
            let times = steps.step().as_nanos() / shortest.as_nanos();
            assert!(
                times.is_power_of_two()
                    && steps.step().as_nanos().is_multiple_of(shortest.as_nanos())
            );
        }
        assert_eq!(steps(60_000.0).step(), Duration::from_secs(1));
        assert_eq!(steps(3_000.0).step(), Duration::from_millis(125));
        assert_eq!(steps(300_000.1).step(), Duration::from_secs(2));
        assert_eq!(Steps::between(at_ms(1.0), at_ms(1.0)), None);
        assert_eq!(Steps::between(at_ms(1.0), at_ms(0.0)), None);
    }

    #[test]
    fn growth_adds_up_to_what_it_grew_wherever_the_readings_lie() {
        let steps = steps(450.0); // 125, 125, 125, 75 ms
        let readings = [(-50.0, 10.0), (100.0, 25.0), (300.0, 25.0), (500.0, 45.0)];
        let column = steps.growth(
            readings
                .map(|(at, value)| (Stamp((at_ms(0.0).0 as f64 + at * 1e6) as u64), Some(value))),
        );
        let sum: f64 = column.iter().zip(steps.seconds()).map(|(rate, s)| rate.unwrap() * s).sum();
        // 100 of 150 ms of 15, nothing, 150 of 200 ms of 20.
        assert!((sum - (10.0 + 15.0)).abs() < 1e-6, "{column:?}");
        assert_eq!(known(&column), [80.0, 0.0, 60.0, 100.0]);
    }

    #[test]
    fn a_counter_that_fell_and_a_reading_that_failed_are_gaps() {
        let steps = steps(500.0);
        let at = |index: u32| at_ms(f64::from(index) * 125.0);
        let fell = [(at(0), Some(5.0)), (at(1), Some(6.0)), (at(2), Some(1.0)), (at(4), Some(2.0))];
        assert_eq!(known(&steps.growth(fell)), [8.0, -1.0, 4.0, 4.0]);
        let failed = [(at(0), Some(5.0)), (at(1), None), (at(2), Some(9.0)), (at(4), Some(9.0))];
        assert_eq!(known(&steps.growth(failed)), [-1.0, -1.0, 0.0, 0.0]);
        let odd = [(at(0), Some(f64::NAN)), (at(4), Some(1.0))];
        assert_eq!(known(&steps.growth(odd)), [-1.0; 4]);
        assert_eq!(known(&steps.growth([])), [-1.0; 4]);
    }

    #[test]
    fn a_value_holds_until_the_next_and_not_for_ever() {
        let steps = steps(500.0);
        let at = |index: u32| at_ms(f64::from(index) * 125.0);
        let readings = [(at(0), Some(4.0)), (at_ms(62.5), Some(8.0)), (at(1), Some(2.0))];
        let column = steps.held(readings, Duration::from_millis(250));
        assert_eq!(known(&column), [6.0, 2.0, 2.0, -1.0]);
        let none = steps.held([(at(0), Some(1.0)), (at(1), None)], Duration::from_secs(9));
        assert_eq!(known(&none), [1.0, -1.0, -1.0, -1.0]);
    }
}
