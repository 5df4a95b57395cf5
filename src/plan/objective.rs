//! Objectives: what one request must keep to count as good, such as `ttft_ms < 200 and tpot_ms < 50`.
//!
//! Main type: [`Objective`]. Goodput, the rate of completed requests that met all of them, is formed
//! in `stats`.

use serde::Serialize;
use thiserror::Error;

use super::problem::nearest;
use super::threshold::{Operator, ThresholdError, number};
use crate::stats::metric::{self, Metric};

/// A bound on one metric of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    /// Which metric; never `itl_ms`, of which a request has many.
    pub metric: &'static Metric,
    /// How it is compared.
    pub operator: Operator,
    /// With what, in the metric's unit.
    pub limit: f64,
    typed: String,
}

/// Why a text is no objective; a fragment, the caller names the value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ObjectiveError {
    /// Nothing is compared.
    #[error("no comparison in \"{term}\"")]
    NoComparison {
        /// The part at fault.
        term: String,
    },
    /// No metric of a request has this name.
    #[error("no request has a metric \"{name}\"")]
    UnknownMetric {
        /// What was typed.
        name: String,
        /// What was most likely meant.
        near: Option<&'static str>,
    },
    /// `itl_ms` is pooled over all requests.
    #[error("\"itl_ms\" is pooled over requests: a request has many gaps")]
    Pooled,
    /// The right side is no number.
    #[error(transparent)]
    Number(#[from] ThresholdError),
    /// Objectives have no alternatives.
    #[error("objectives are joined by \"and\", there is no \"or\"")]
    Or,
}

impl ObjectiveError {
    /// What to do about it, for a line of its own.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ObjectiveError::NoComparison { .. } => {
                "write METRIC OPERATOR NUMBER, such as \"ttft_ms < 200 and tpot_ms < 50\""
                    .to_owned()
            }
            ObjectiveError::UnknownMetric { near: Some(near), .. } => {
                format!("did you mean \"{near}\"?")
            }
            ObjectiveError::UnknownMetric { near: None, .. } => {
                "such as ttft_ms, tpot_ms or e2e_ms; METHODOLOGY.md lists all".to_owned()
            }
            ObjectiveError::Pooled => {
                "take tpot_ms, the mean time a token of one request".to_owned()
            }
            ObjectiveError::Number(error) => error.hint(),
            ObjectiveError::Or => "give the bounds that must all hold, or measure twice".to_owned(),
        }
    }
}

impl Objective {
    /// Reads one or more, joined by `and`.
    ///
    /// # Errors
    /// What does not fit; see [`ObjectiveError`].
    pub fn parse_all(typed: &str) -> Result<Vec<Self>, ObjectiveError> {
        let words: Vec<&str> = typed.split_whitespace().collect();
        if words.iter().any(|word| word.eq_ignore_ascii_case("or") || *word == "||") {
            return Err(ObjectiveError::Or);
        }
        words
            .split(|word| word.eq_ignore_ascii_case("and") || *word == "&&")
            .map(|term| Self::parse(&term.join(" ")))
            .collect()
    }

    fn parse(term: &str) -> Result<Self, ObjectiveError> {
        let (name, operator, limit) =
            Operator::split(term)
                .filter(|(name, ..)| !name.is_empty())
                .ok_or_else(|| ObjectiveError::NoComparison { term: term.to_owned() })?;
        let known = || metric::ALL.iter().filter(|metric| ***metric != metric::ITL_MS);
        if name == metric::ITL_MS.name {
            return Err(ObjectiveError::Pooled);
        }
        let metric = known().find(|metric| metric.name == name).ok_or_else(|| {
            let near = nearest(name, known().map(|metric| metric.name));
            ObjectiveError::UnknownMetric { name: name.to_owned(), near }
        })?;
        Ok(Self { metric, operator, limit: number(limit)?, typed: term.to_owned() })
    }
}

/// As it was typed.
impl std::fmt::Display for Objective {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.typed)
    }
}

impl Serialize for Objective {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_joined_by_and() {
        let read = Objective::parse_all("ttft_ms < 200 and tpot_ms<=50 && e2e_ms != 3e3").unwrap();
        let parts: Vec<(&str, Operator, f64)> =
            read.iter().map(|one| (one.metric.name, one.operator, one.limit)).collect();
        assert_eq!(
            parts,
            [
                ("ttft_ms", Operator::Below, 200.0),
                ("tpot_ms", Operator::AtMost, 50.0),
                ("e2e_ms", Operator::Unequal, 3000.0),
            ]
        );
        assert_eq!(read[0].to_string(), "ttft_ms < 200");
    }

    #[test]
    fn what_is_no_objective_is_explained() {
        for (typed, message, hint) in [
            ("ttft < 200", "no request has a metric \"ttft\"", "did you mean \"ttft_ms\"?"),
            (
                "itl_ms < 5",
                "\"itl_ms\" is pooled over requests: a request has many gaps",
                "take tpot_ms, the mean time a token of one request",
            ),
            (
                "ttft_ms",
                "no comparison in \"ttft_ms\"",
                "write METRIC OPERATOR NUMBER, such as \"ttft_ms < 200 and tpot_ms < 50\"",
            ),
            (
                "ttft_ms < 1 and",
                "no comparison in \"\"",
                "write METRIC OPERATOR NUMBER, such as \"ttft_ms < 200 and tpot_ms < 50\"",
            ),
            (
                "ttft_ms < 200ms",
                "\"200ms\" is not a number",
                "a threshold ends with a plain number, in the metric's own unit and without it",
            ),
            (
                "ttft_ms < 1 or e2e_ms < 2",
                "objectives are joined by \"and\", there is no \"or\"",
                "give the bounds that must all hold, or measure twice",
            ),
            ("requests_per_second > 3", "no request has a metric \"requests_per_second\"", ""),
        ] {
            let error = Objective::parse_all(typed).expect_err(typed);
            assert_eq!(error.to_string(), message);
            assert!(hint.is_empty() || error.hint() == hint, "{typed}: {}", error.hint());
        }
    }
}
