//! The shape of a load: who sends requests, and when.
//!
//! Main type: [`LoadShape`]. Pure: which instants follow from it is `load`'s schedule.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

/// Who sends requests, and when. Closed shapes have users who wait for each answer; open shapes
/// send whether or not earlier answers have come.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "shape", rename_all = "snake_case")]
pub enum LoadShape {
    /// Closed: a constant number of users share all requests.
    ConstantUsers,
    /// Closed: every user makes exactly so many requests.
    PerUserIterations {
        /// Requests of each user.
        iterations: u64,
    },
    /// Closed: the number of users follows stages, one user at a time.
    RampingUsers {
        /// Users at the beginning.
        start: UserTarget,
        /// Never empty; the number of users moves linearly to each target in turn.
        stages: Vec<Stage<UserTarget>>,
    },
    /// Open: arrivals at a constant rate.
    Arrivals {
        /// How they are spread.
        process: ArrivalProcess,
        /// Mean rate, above zero.
        rate_per_second: f64,
        /// Most requests at once; an arrival beyond is dropped. `None`: as many as the system
        /// lets this process have open connections.
        max_in_flight: Option<u32>,
    },
    /// Open: the rate of arrivals follows stages.
    RampingArrivals {
        /// How they are spread around the rate.
        process: ArrivalProcess,
        /// Rate at the beginning, requests per second.
        start_rate: f64,
        /// Never empty; the rate moves linearly to each target (requests per second) in turn.
        stages: Vec<Stage<f64>>,
        /// As of [`LoadShape::Arrivals`].
        max_in_flight: Option<u32>,
    },
    /// Open: the instants of a trace, which is the dataset.
    Trace {
        /// How many times as fast as it was, above zero.
        speed: f64,
        /// As of [`LoadShape::Arrivals`].
        max_in_flight: Option<u32>,
    },
}

impl LoadShape {
    /// Whether requests are sent without waiting for earlier answers.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(
            self,
            LoadShape::Arrivals { .. }
                | LoadShape::RampingArrivals { .. }
                | LoadShape::Trace { .. }
        )
    }

    /// Most requests at once of an open shape; `None` where nobody set it, and for closed shapes.
    #[must_use]
    pub const fn max_in_flight(&self) -> Option<u32> {
        match self {
            LoadShape::Arrivals { max_in_flight, .. }
            | LoadShape::RampingArrivals { max_in_flight, .. }
            | LoadShape::Trace { max_in_flight, .. } => *max_in_flight,
            _ => None,
        }
    }

    /// The length of all stages together; `None` for a shape without stages.
    #[must_use]
    pub fn stages_length(&self) -> Option<Duration> {
        match self {
            LoadShape::RampingUsers { stages, .. } => Some(length(stages)),
            LoadShape::RampingArrivals { stages, .. } => Some(length(stages)),
            _ => None,
        }
    }

    /// Stretches or squeezes the stages to this length; nothing for a shape without stages.
    pub(crate) fn stretch_to(&mut self, wanted: Duration) {
        match self {
            LoadShape::RampingUsers { stages, .. } => stretch(stages, wanted),
            LoadShape::RampingArrivals { stages, .. } => stretch(stages, wanted),
            _ => {}
        }
    }

    /// Most users that this shape has at once where `base` is the constant number of users.
    #[must_use]
    pub fn most_users(&self, base: u32) -> u32 {
        match self {
            LoadShape::RampingUsers { start, stages } => {
                let targets = stages.iter().map(|stage| stage.target);
                targets.chain([*start]).map(|target| target.of(base)).max().unwrap_or(0)
            }
            _ => base,
        }
    }

    /// For people: `10 requests/s, poisson, at most 64 in flight`; `users` is the constant number.
    #[must_use]
    pub fn in_words(&self, users: u32) -> String {
        let cap = self
            .max_in_flight()
            .map_or_else(String::new, |most| format!(", at most {most} in flight"));
        match self {
            LoadShape::ConstantUsers => format!("{users} users"),
            LoadShape::PerUserIterations { iterations } => {
                format!("{users} users, {iterations} requests each")
            }
            LoadShape::RampingUsers { start, stages } => {
                let mut words = format!("{} users", start.of(users));
                for stage in stages {
                    let seconds = stage.duration.as_secs_f64();
                    words.push_str(&format!(" → {} in {seconds} s", stage.target.of(users)));
                }
                words
            }
            LoadShape::Arrivals { process, rate_per_second, .. } => {
                format!("{rate_per_second} requests/s, {process}{cap}")
            }
            LoadShape::RampingArrivals { process, start_rate, stages, .. } => {
                let mut words = format!("{start_rate} requests/s");
                for stage in stages {
                    let seconds = stage.duration.as_secs_f64();
                    words.push_str(&format!(" → {} in {seconds} s", stage.target));
                }
                format!("{words}, {process}{cap}")
            }
            LoadShape::Trace { speed, .. } => format!("a trace at {speed}x its speed{cap}"),
        }
    }
}

fn length<T>(stages: &[Stage<T>]) -> Duration {
    stages.iter().map(|stage| stage.duration).sum()
}

fn stretch<T>(stages: &mut [Stage<T>], wanted: Duration) {
    let before = length(stages).as_secs_f64();
    if before <= 0.0 {
        return; // jumps alone have no length to change
    }
    let ratio = wanted.as_secs_f64() / before;
    for stage in stages {
        stage.duration = Duration::from_secs_f64(stage.duration.as_secs_f64() * ratio);
    }
}

/// A text that is no speed of a trace. A fragment: the caller names the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a number above 0 and up to 1000000, such as 2x")]
pub struct TraceSpeedError;

/// The speed of a trace, as typed: `2x`, or the number alone.
///
/// # Errors
///
/// [`TraceSpeedError`] for anything else.
pub fn trace_speed(text: &str) -> Result<f64, TraceSpeedError> {
    let number = text.strip_suffix('x').unwrap_or(text);
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(speed) if is_plain && speed > 0.0 && speed <= 1e6 => Ok(speed),
        _ => Err(TraceSpeedError),
    }
}

/// A part of a ramp.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stage<T> {
    /// How long it takes to reach the target; zero is a jump.
    pub duration: Duration,
    /// Where it ends.
    pub target: T,
}

/// A number of users: absolute, or a multiple of the constant number (`--users`, or the slots of
/// the server), so that one scenario suits every server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UserTarget {
    /// So many.
    Count(u32),
    /// So many times the constant number, rounded up.
    Times(f64),
}

impl UserTarget {
    /// The number where `base` is the constant one.
    #[must_use]
    pub fn of(self, base: u32) -> u32 {
        match self {
            UserTarget::Count(count) => count,
            // `as` saturates, which is what a huge product should do.
            UserTarget::Times(times) => (times * f64::from(base)).ceil() as u32,
        }
    }
}

/// A text that is no multiple of users. A fragment: the caller names the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a whole number, or a multiple of the users such as \"2x\"")]
pub struct UserTargetError;

impl FromStr for UserTarget {
    type Err = UserTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let times = text.strip_suffix('x').ok_or(UserTargetError)?;
        let is_plain = times.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match times.parse::<f64>() {
            Ok(times) if is_plain && times <= 10_000.0 => Ok(UserTarget::Times(times)),
            _ => Err(UserTargetError),
        }
    }
}

/// How arrivals are spread around their rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "process", rename_all = "snake_case")]
pub enum ArrivalProcess {
    /// Equal gaps.
    Constant,
    /// Independent exponential gaps: many people who know nothing of each other.
    Poisson,
    /// Independent gamma gaps. Their coefficient of variation is 1/√shape: below 1 arrivals come
    /// in bursts, 1 is Poisson, above 1 they are more even.
    Gamma {
        /// The shape parameter; vLLM's `--burstiness`.
        shape: f64,
    },
}

impl std::fmt::Display for ArrivalProcess {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ArrivalProcess::Constant => formatter.write_str("constant"),
            ArrivalProcess::Poisson => formatter.write_str("poisson"),
            ArrivalProcess::Gamma { shape } => write!(formatter, "gamma:{shape}"),
        }
    }
}

/// A text that names no arrival process. A fragment: the caller names the value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArrivalProcessError {
    /// No known name.
    #[error("expected constant, poisson or gamma:SHAPE{}", .near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    Unknown {
        /// The nearest known name; `None` where none is near.
        near: Option<&'static str>,
    },
    /// `gamma` without a usable shape.
    #[error("expected gamma:SHAPE with a shape from 0.01 to 1000, such as gamma:0.5")]
    Shape,
}

impl FromStr for ArrivalProcess {
    type Err = ArrivalProcessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "constant" => Ok(ArrivalProcess::Constant),
            None if text == "poisson" => Ok(ArrivalProcess::Poisson),
            None if text == "gamma" => Err(ArrivalProcessError::Shape),
            Some(("gamma", shape)) => match shape.parse::<f64>() {
                Ok(shape) if (0.01..=1000.0).contains(&shape) => {
                    Ok(ArrivalProcess::Gamma { shape })
                }
                _ => Err(ArrivalProcessError::Shape),
            },
            _ => {
                let name = text.split(':').next().unwrap_or(text);
                let known = ["constant", "poisson", "gamma"];
                Err(ArrivalProcessError::Unknown { near: super::problem::nearest(name, known) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_back_from_its_own_words() {
        for text in ["constant", "poisson", "gamma:0.5", "gamma:8"] {
            assert_eq!(
                text.parse::<ArrivalProcess>().map(|found| found.to_string()),
                Ok(text.to_owned())
            );
        }
        let error = |text: &str| text.parse::<ArrivalProcess>().expect_err(text).to_string();
        assert!(error("poison").ends_with("did you mean \"poisson\"?"), "{}", error("poison"));
        for text in ["gamma", "gamma:", "gamma:0", "gamma:-1", "gamma:nan", "gamma:inf"] {
            assert!(error(text).contains("such as gamma:0.5"), "{text}");
        }
        assert!(error("constant:1").starts_with("expected constant"));
    }

    #[test]
    fn a_speed_is_a_number_with_or_without_its_x() {
        assert_eq!(trace_speed("2x"), Ok(2.0));
        assert_eq!(trace_speed("0.5"), Ok(0.5));
        for text in ["", "x", "0x", "-1", "nan", "inf", "1e3", "2 x", "2xx", "1000001"] {
            assert_eq!(trace_speed(text), Err(TraceSpeedError), "{text}");
        }
    }

    #[test]
    fn a_multiple_of_users_rounds_up() {
        assert_eq!("1.5x".parse::<UserTarget>().map(|target| target.of(3)), Ok(5));
        assert_eq!("0x".parse::<UserTarget>().map(|target| target.of(3)), Ok(0));
        for text in ["", "x", "3", "-1x", "nanx", "1e3x", "2 x"] {
            assert_eq!(text.parse::<UserTarget>(), Err(UserTargetError), "{text}");
        }
    }

    #[test]
    fn stretching_keeps_the_proportions() {
        let stage = |seconds, target| Stage { duration: Duration::from_secs(seconds), target };
        let mut shape = LoadShape::RampingArrivals {
            process: ArrivalProcess::Constant,
            start_rate: 0.0,
            stages: vec![stage(10, 5.0), stage(0, 9.0), stage(30, 0.0)],
            max_in_flight: None,
        };
        shape.stretch_to(Duration::from_secs(4));
        assert_eq!(shape.stages_length(), Some(Duration::from_secs(4)));
        assert_eq!(shape.in_words(1), "0 requests/s → 5 in 1 s → 9 in 0 s → 0 in 3 s, constant");
    }
}
