//! The phases of a load: what is played, one after the other.
//!
//! Main type: [`PhaseSpec`]. Every load is a sequence of phases; one without `[[phase]]` in its
//! scenario has a single one, named `load`. When a phase begins is `load`'s business.

use std::time::Duration;

use serde::Serialize;

use super::Workload;
use super::course::Course;
use super::shape::{LoadShape, Stage};

/// The name of the only phase of a load that names none.
pub const LOAD: &str = "load";
/// The name of each user's first, unmeasured requests.
pub const WARM_UP: &str = "warm_up";
/// The name of what goes on after the last measured phase.
pub const COOL_DOWN: &str = "cool_down";

/// Most requests that a plan may count on: the instants of an open loop lie in memory from before the
/// first (8 bytes each: 160 MB), and every request that is planned has a record in the end, sent or not.
pub const MOST_REQUESTS: u64 = 20_000_000;

/// One phase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseSpec {
    /// Different from those of all others.
    pub name: String,
    /// Whether it is in the figures. Those that are not stand before the first or after the last
    /// that is.
    pub measured: bool,
    /// Who sends requests, and when.
    #[serde(flatten)]
    pub shape: LoadShape,
    /// Concurrent users; `None`: those of the workload. Of no meaning to open shapes.
    pub users: Option<u32>,
    /// No request starts later than this after the phase's begin; `None`: only the number bounds.
    pub duration: Option<Duration>,
    /// So many requests; `None`: only the duration bounds, or the shape counts for itself.
    pub n_prompts: Option<u64>,
}

impl Workload {
    /// What is played, in order; never empty.
    #[must_use]
    pub fn sequence(&self) -> Vec<PhaseSpec> {
        let mut phases = self.phases.clone();
        if phases.is_empty() {
            phases.push(PhaseSpec {
                name: LOAD.to_owned(),
                measured: true,
                shape: self.shape.clone(),
                users: None,
                duration: self.duration,
                n_prompts: self.n_prompts,
            });
        }
        let cool_down = phases.last().filter(|_| !self.cool_down.is_zero()).map(|last| PhaseSpec {
            name: COOL_DOWN.to_owned(),
            measured: false,
            shape: last.shape.sustained(self.cool_down),
            users: last.users,
            duration: Some(self.cool_down),
            n_prompts: None,
        });
        phases.extend(cool_down);
        phases
    }

    /// How many requests all phases together are planned to have, as far as they are counted or come at a
    /// rate: of users whom only time bounds nobody knows it. Infinite where a rate has no bound.
    #[must_use]
    pub fn planned_requests(&self) -> f64 {
        let each = match (self.conversation, self.tpot_difference) {
            (Some(spec), _) => spec.turns,
            (None, Some(_)) => 2,
            (None, None) => 1,
        };
        let of = |phase: &PhaseSpec| phase.planned_requests(self.users, each);
        self.sequence().iter().map(of).sum()
    }

    /// Whether every phase that counts sends without waiting for answers.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.sequence().iter().filter(|phase| phase.measured).all(|phase| phase.shape.is_open())
    }
}

impl PhaseSpec {
    /// Where each of its prompts is asked `each` times; `users` are those of the workload.
    fn planned_requests(&self, users: Option<u32>, each: u32) -> f64 {
        let counted = self.n_prompts.map(|prompts| prompts as f64 * f64::from(each));
        match &self.shape {
            LoadShape::PerUserIterations { iterations } => {
                // One user at least, where the server's slots are to say how many.
                *iterations as f64 * f64::from(self.users.or(users).unwrap_or(1))
            }
            LoadShape::Arrivals { .. } | LoadShape::RampingArrivals { .. } => {
                let in_time = self.duration.map_or(f64::INFINITY, |duration| {
                    let course = Course::of(&self.shape, 0, Some(duration));
                    course.mean(0.0, duration.as_secs_f64()) * duration.as_secs_f64()
                });
                in_time.min(counted.unwrap_or(f64::INFINITY))
            }
            // As many as its file has rows.
            LoadShape::Trace { .. } => 0.0,
            LoadShape::ConstantUsers | LoadShape::RampingUsers { .. } => counted.unwrap_or(0.0),
        }
    }
}

impl LoadShape {
    /// This shape as it is at its end, going on for `length`.
    #[must_use]
    pub fn sustained(&self, length: Duration) -> Self {
        match self {
            LoadShape::PerUserIterations { .. } => LoadShape::ConstantUsers,
            LoadShape::RampingUsers { start, stages } => {
                let target = stages.last().map_or(*start, |stage| stage.target);
                let stages = vec![Stage { duration: length, target }];
                LoadShape::RampingUsers { start: target, stages }
            }
            LoadShape::RampingArrivals { process, start_rate, stages, max_in_flight } => {
                LoadShape::Arrivals {
                    process: *process,
                    rate_per_second: stages.last().map_or(*start_rate, |stage| stage.target),
                    max_in_flight: *max_in_flight,
                }
            }
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::shape::{ArrivalProcess, UserTarget};

    #[test]
    fn a_cool_down_goes_on_with_the_end_of_the_last_shape() {
        let length = Duration::from_secs(5);
        let ramp = LoadShape::RampingArrivals {
            process: ArrivalProcess::Poisson,
            start_rate: 1.0,
            stages: vec![Stage { duration: Duration::from_secs(1), target: 7.0 }],
            max_in_flight: Some(3),
        };
        assert_eq!(
            ramp.sustained(length).in_words(1),
            "7 requests/s, poisson, at most 3 in flight"
        );
        let ramp = LoadShape::RampingUsers {
            start: UserTarget::Count(1),
            stages: vec![Stage {
                duration: Duration::from_secs(1),
                target: UserTarget::Times(2.0),
            }],
        };
        assert_eq!(ramp.sustained(length).in_words(4), "8 users → 8 in 5 s");
        let iterations = LoadShape::PerUserIterations { iterations: 3 };
        assert_eq!(iterations.sustained(length), LoadShape::ConstantUsers);
    }
}
