//! The course of a load as planned: users or arrivals per second over time.
//!
//! Main type: [`Course`]. It is what a drawing of the load is compared with; what is really sent,
//! and when, follows from the shape itself in `load`.

use std::time::Duration;

use super::shape::{LoadShape, Stage};

/// What a course counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CourseUnit {
    /// Concurrent users of a closed loop.
    Users,
    /// Arrivals per second of an open loop.
    RequestsPerSecond,
}

/// Users or arrivals per second over time: straight pieces, and nothing after the last.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// What it counts.
    pub unit: CourseUnit,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    begins_s: f64,
    /// May be infinite where only a number of requests bounds the load; then `from` equals `to`.
    length_s: f64,
    from: f64,
    to: f64,
}

impl Course {
    /// Of a shape with `users` as its constant number, within `duration`.
    #[must_use]
    pub fn of(shape: &LoadShape, users: u32, duration: Option<Duration>) -> Self {
        let longest = duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64());
        match shape {
            LoadShape::ConstantUsers | LoadShape::PerUserIterations { .. } => {
                Self::constant(CourseUnit::Users, f64::from(users), longest)
            }
            LoadShape::Arrivals { rate_per_second, .. } => {
                Self::constant(CourseUnit::RequestsPerSecond, *rate_per_second, longest)
            }
            LoadShape::RampingUsers { start, stages } => {
                let start = f64::from(start.of(users));
                Self::ramp(CourseUnit::Users, start, stages, |target| f64::from(target.of(users)))
            }
            LoadShape::RampingArrivals { start_rate, stages, .. } => {
                Self::ramp(CourseUnit::RequestsPerSecond, *start_rate, stages, |target| *target)
            }
            // A trace's course is in its file alone, which no plan has read.
            LoadShape::Trace { .. } => {
                Self { unit: CourseUnit::RequestsPerSecond, pieces: Vec::new() }
            }
        }
    }

    fn constant(unit: CourseUnit, value: f64, length_s: f64) -> Self {
        Self { unit, pieces: vec![Piece { begins_s: 0.0, length_s, from: value, to: value }] }
    }

    fn ramp<T>(
        unit: CourseUnit,
        start: f64,
        stages: &[Stage<T>],
        target: impl Fn(&T) -> f64,
    ) -> Self {
        let (mut begins_s, mut from) = (0.0, start);
        let mut pieces = Vec::with_capacity(stages.len());
        for stage in stages {
            let (length_s, to) = (stage.duration.as_secs_f64(), target(&stage.target));
            if length_s > 0.0 {
                pieces.push(Piece { begins_s, length_s, from, to });
            }
            (begins_s, from) = (begins_s + length_s, to);
        }
        Self { unit, pieces }
    }

    /// Whether it ever changes before its end: a constant one is not worth a drawing.
    #[must_use]
    pub fn varies(&self) -> bool {
        let mut levels = self.pieces.iter().flat_map(|piece| [piece.from, piece.to]);
        let first = levels.next();
        first.is_some_and(|first| levels.any(|level| (level - first).abs() > f64::EPSILON))
    }

    /// The mean between two instants, seconds after the begin; 0 past the end.
    #[must_use]
    pub fn mean(&self, from_s: f64, to_s: f64) -> f64 {
        let area: f64 = self.pieces.iter().map(|piece| piece.area(from_s, to_s)).sum();
        if to_s > from_s { area / (to_s - from_s) } else { 0.0 }
    }
}

impl Piece {
    /// Its integral over the part of it between two instants.
    fn area(&self, from_s: f64, to_s: f64) -> f64 {
        let (first, last) = (from_s.max(self.begins_s), to_s.min(self.begins_s + self.length_s));
        if last <= first {
            return 0.0;
        }
        let at = |instant_s: f64| {
            let share = (instant_s - self.begins_s) / self.length_s; // 0 where it never ends
            self.from + (self.to - self.from) * share
        };
        f64::midpoint(at(first), at(last)) * (last - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::shape::{ArrivalProcess, UserTarget};

    fn close(left: f64, right: f64) {
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn a_ramp_of_users_rises_jumps_and_ends() {
        let stage = |seconds, target| Stage { duration: Duration::from_secs(seconds), target };
        let shape = LoadShape::RampingUsers {
            start: UserTarget::Count(1),
            stages: vec![
                stage(10, UserTarget::Times(2.0)),
                stage(0, UserTarget::Count(4)),
                stage(10, UserTarget::Count(4)),
            ],
        };
        let course = Course::of(&shape, 4, Some(Duration::from_secs(20)));
        assert_eq!(course.unit, CourseUnit::Users);
        assert!(course.varies());
        close(course.mean(0.0, 10.0), 4.5); // from 1 to 2 × 4
        close(course.mean(0.0, 1.0), 1.35);
        close(course.mean(9.0, 11.0), f64::midpoint(7.65, 4.0));
        close(course.mean(15.0, 25.0), 2.0); // half of it is past the end
        close(course.mean(20.0, 30.0), 0.0);
    }

    #[test]
    fn a_rate_without_an_end_stays_what_it_is() {
        let process = ArrivalProcess::Poisson;
        let shape = LoadShape::Arrivals { process, rate_per_second: 7.5, max_in_flight: None };
        let course = Course::of(&shape, 1, None);
        assert_eq!(course.unit, CourseUnit::RequestsPerSecond);
        assert!(!course.varies());
        close(course.mean(100.0, 101.0), 7.5);
        close(course.mean(3.0, 3.0), 0.0);
    }
}
