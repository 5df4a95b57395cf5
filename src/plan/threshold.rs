//! Thresholds in k6's grammar: `p(95) < 200` over a metric, read and checked before anything starts.
//!
//! Main type: [`Threshold`]. Whether one holds is judged in `stats::threshold`; what a crossed one
//! does to a run is the corridor's business.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::duration;
use super::problem::{any_of, nearest};
use super::subject::{Kind, SERVER_PREFIX, Subject};

/// A condition on the whole load.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// What it is about.
    pub subject: Subject,
    /// Which number of it.
    pub method: Method,
    /// How that is compared.
    pub operator: Operator,
    /// With what.
    pub limit: f64,
    /// Whether crossing it ends the load early (k6's `abortOnFail`).
    pub abort: bool,
    /// Only a longer load is ended early (k6's `delayAbortEval`); zero: at once.
    pub delay: Duration,
    /// What crossing it means.
    pub crossing: Crossing,
    /// Its metric, as it was typed.
    metric: String,
    /// Its expression, as it was typed.
    expression: String,
}

/// What crossing a threshold means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Crossing {
    /// Exit code 99.
    Fails,
    /// A warning, unless it also aborts and has ended the load: that is always exit code 99.
    Warns,
}

/// Which number of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Arithmetic mean.
    Avg,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Median.
    Med,
    /// Percentile, 0 to 100.
    Percentile(f64),
    /// Sum of a counter.
    Count,
    /// Of a counter: the sum per second of load. Of a rate: the share, 0 to 1.
    Rate,
    /// Of a gauge: its value.
    Value,
}

impl Method {
    /// Reads one; `None` where there is none of that name.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "avg" => Method::Avg,
            "min" => Method::Min,
            "max" => Method::Max,
            "med" => Method::Med,
            "count" => Method::Count,
            "rate" => Method::Rate,
            "value" => Method::Value,
            _ => {
                let inner = text.strip_prefix("p(")?.strip_suffix(')')?;
                let percent: f64 = inner.trim().parse().ok()?;
                return (0.0..=100.0).contains(&percent).then_some(Method::Percentile(percent));
            }
        })
    }

    fn suits(self, kind: Kind) -> bool {
        match kind {
            Kind::Trend => matches!(
                self,
                Method::Avg | Method::Min | Method::Max | Method::Med | Method::Percentile(_)
            ),
            Kind::Counter => matches!(self, Method::Count | Method::Rate),
            Kind::Rate => self == Method::Rate,
            Kind::Gauge => self == Method::Value,
            Kind::Server => !matches!(self, Method::Med | Method::Percentile(_)),
        }
    }
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<=`
    AtMost,
    /// `<`
    Below,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `==` or `===`
    Equal,
    /// `!=`
    Unequal,
}

impl Operator {
    /// In the order in which k6 looks for them, so that `<=` is never read as `<`.
    const SCANNED: [(&'static str, Operator); 7] = [
        ("<=", Operator::AtMost),
        ("<", Operator::Below),
        (">=", Operator::AtLeast),
        (">", Operator::Above),
        ("===", Operator::Equal),
        ("==", Operator::Equal),
        ("!=", Operator::Unequal),
    ];

    /// What stands before the operator, the operator, and what stands behind; blanks trimmed.
    pub(super) fn split(text: &str) -> Option<(&str, Operator, &str)> {
        Self::SCANNED.iter().find_map(|(sign, operator)| {
            let (left, right) = text.split_once(sign)?;
            Some((left.trim(), *operator, right.trim()))
        })
    }

    /// Whether `left OPERATOR right` is true. Exact, as in k6: no tolerance.
    #[must_use]
    #[expect(clippy::float_cmp, reason = "the user asked for equality, and k6 has no tolerance")]
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Operator::AtMost => left <= right,
            Operator::Below => left < right,
            Operator::AtLeast => left >= right,
            Operator::Above => left > right,
            Operator::Equal => left == right,
            Operator::Unequal => left != right,
        }
    }
}

/// Why a text is no threshold; a fragment, the caller names the value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// Nothing is compared.
    #[error("no comparison in \"{expression}\"")]
    NoComparison {
        /// What was typed.
        expression: String,
    },
    /// It does not say what it is about.
    #[error("it names no metric")]
    NoMetric,
    /// There is no such metric.
    #[error("unknown metric \"{name}\"")]
    UnknownMetric {
        /// What was typed.
        name: String,
        /// What was most likely meant.
        near: Option<&'static str>,
    },
    /// k6's `metric{tag:value}`.
    #[error("metric \"{name}\" has no tags")]
    Tags {
        /// What was typed.
        name: String,
    },
    /// There is no such method, or it does not suit the metric.
    #[error("\"{metric}\" is {} and has no method \"{method}\"", .kind.words())]
    Method {
        /// The metric, as it was typed.
        metric: String,
        /// The method, as it was typed.
        method: String,
        /// What the metric is.
        kind: Kind,
    },
    /// The right side is no number.
    #[error("\"{typed}\" is not a number")]
    NotANumber {
        /// What was typed.
        typed: String,
    },
    /// Behind the comma stands something unknown.
    #[error("unknown option \"{option}\"")]
    Option {
        /// What was typed.
        option: String,
    },
    /// The delay is no duration.
    #[error("invalid delay \"{typed}\": {source}")]
    Delay {
        /// What was typed.
        typed: String,
        /// What was expected.
        source: duration::DurationError,
    },
    /// It can only be judged at the end.
    #[error("\"{metric}\" is known only when the load ends, and so it cannot abort it")]
    NotLive {
        /// The metric, as it was typed.
        metric: String,
    },
}

impl ThresholdError {
    /// What to do about it, for a line of its own.
    #[must_use]
    pub fn hint(&self) -> String {
        const FORM: &str = "write METRIC: METHOD OPERATOR NUMBER, such as \"ttft_ms: p(95) < 200\"";
        match self {
            ThresholdError::NoComparison { .. } => {
                format!("{FORM}; operators are < <= > >= == === !=")
            }
            ThresholdError::NoMetric => FORM.to_owned(),
            ThresholdError::UnknownMetric { near: Some(near), .. } => {
                format!("did you mean \"{near}\"?")
            }
            ThresholdError::UnknownMetric { near: None, .. } => format!(
                "METHODOLOGY.md lists the metrics; those of the server are written {SERVER_PREFIX}NAME"
            ),
            ThresholdError::Tags { .. } => {
                "leave the braces out: a threshold is about all measured requests".to_owned()
            }
            ThresholdError::Method { method, kind, .. } => method_hint(method, *kind),
            ThresholdError::NotANumber { .. } => {
                "a threshold ends with a plain number, in the metric's own unit and without it"
                    .to_owned()
            }
            ThresholdError::Option { option } => {
                let name = option.split('=').next().unwrap_or(option).trim();
                match nearest(name, ["abort", "delay", "warn"]) {
                    Some("delay") => "did you mean \"delay=1m\"?".to_owned(),
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "behind the expression may stand ,abort ,delay=1m or ,warn".to_owned(),
                }
            }
            ThresholdError::Delay { .. } => "write it as delay=1m".to_owned(),
            ThresholdError::NotLive { .. } => {
                "leave out abort, or take tpot_ms, which is known with each request".to_owned()
            }
        }
    }
}

/// The method that was most likely meant, or those there are.
fn method_hint(typed: &str, kind: Kind) -> String {
    let methods = kind.methods();
    let lower = typed.to_lowercase();
    let percent = lower.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(')');
    if kind == Kind::Trend && lower.starts_with('p') && percent.parse::<f64>().is_ok() {
        let percent: f64 = percent.parse().unwrap_or(95.0);
        return match percent {
            0.0..=100.0 => format!("did you mean \"p({percent})\"?"),
            _ => "a percentile is from p(0) to p(100)".to_owned(),
        };
    }
    let near = match lower.as_str() {
        "mean" | "average" if kind != Kind::Counter => Some("avg"),
        "median" | "p50" => Some("med"),
        "last" => Some("value"),
        "sum" | "total" => Some("count"),
        _ => nearest(&lower, methods.iter().copied().filter(|method| *method != "p(N)")),
    };
    match near.filter(|near| methods.contains(near)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("{} has {}", kind.words(), any_of(methods)),
    }
}

impl Threshold {
    /// From a metric and an expression of k6's grammar: `METHOD OPERATOR NUMBER`.
    ///
    /// A metric with a single method may go without: `OPERATOR NUMBER`.
    ///
    /// # Errors
    /// What does not fit; see [`ThresholdError`].
    pub fn new(metric: &str, expression: &str) -> Result<Self, ThresholdError> {
        let (metric, expression) = (metric.trim(), expression.trim());
        if metric.is_empty() {
            return Err(ThresholdError::NoMetric);
        }
        let subject = Subject::named(metric).map_err(|near| {
            let bare = metric.split('{').next().unwrap_or(metric);
            if bare != metric && Subject::named(bare).is_ok() {
                ThresholdError::Tags { name: bare.to_owned() }
            } else {
                ThresholdError::UnknownMetric { name: metric.to_owned(), near }
            }
        })?;
        let (method, operator, limit) = Operator::split(expression)
            .ok_or_else(|| ThresholdError::NoComparison { expression: expression.to_owned() })?;
        let kind = subject.kind();
        let only = match kind {
            Kind::Rate => Some(Method::Rate),
            Kind::Gauge | Kind::Server => Some(Method::Value),
            Kind::Trend | Kind::Counter => None,
        };
        let parsed = if method.is_empty() { only } else { Method::parse(method) };
        let method = parsed.filter(|method| method.suits(kind)).ok_or_else(|| {
            ThresholdError::Method { metric: metric.to_owned(), method: method.to_owned(), kind }
        })?;
        let limit = number(limit)?;
        Ok(Self {
            subject,
            method,
            operator,
            limit,
            abort: false,
            delay: Duration::ZERO,
            crossing: Crossing::Fails,
            metric: metric.to_owned(),
            expression: expression.to_owned(),
        })
    }

    /// Reads the form of a flag: `METRIC: EXPRESSION[,abort][,delay=TIME][,warn]`.
    ///
    /// # Errors
    /// What does not fit; see [`ThresholdError`].
    pub fn parse(typed: &str) -> Result<Self, ThresholdError> {
        // The labels of a server's metric may hold anything, and stand before all the rest.
        let labels_end = typed.rfind('}').map_or(0, |brace| brace + 1);
        let (labels, rest) = typed.split_at(labels_end);
        let mut parts = rest.split(',');
        let comparison = parts.next().unwrap_or_default();
        let none = || ThresholdError::NoComparison { expression: typed.trim().to_owned() };
        let (left, ..) = Operator::split(comparison).ok_or_else(none)?;
        let (metric, expression) = match left.rsplit_once(':') {
            // `server:llamacpp:requests_deferred < 1` has no method, but colons all the same.
            Some((_, last))
                if (labels.trim_start().starts_with(SERVER_PREFIX)
                    || left.starts_with(SERVER_PREFIX))
                    && Method::parse(last.trim()).is_none()
                    && !last.trim().is_empty()
                    && !last.starts_with(char::is_whitespace) =>
            {
                (left, comparison.trim_start().split_at(left.len()).1)
            }
            Some((before, _)) => (before, comparison.trim_start().split_at(before.len() + 1).1),
            None => (left, comparison.trim_start().split_at(left.len()).1),
        };
        let mut threshold = Self::new(&format!("{labels}{metric}"), expression)?;
        for option in parts.map(str::trim) {
            match option.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
                None if option == "abort" => threshold.abort = true,
                None if option == "warn" => threshold.crossing = Crossing::Warns,
                Some(("delay", typed)) => {
                    threshold.delay = duration::parse(typed).map_err(|source| {
                        ThresholdError::Delay { typed: typed.to_owned(), source }
                    })?;
                }
                _ => return Err(ThresholdError::Option { option: option.to_owned() }),
            }
        }
        threshold.checked()
    }

    /// The same, if its options fit together.
    pub(super) fn checked(self) -> Result<Self, ThresholdError> {
        let live = match self.subject {
            Subject::Own(figure) => figure.is_live(),
            Subject::Server(_) => true,
        };
        if self.abort && !live {
            return Err(ThresholdError::NotLive { metric: self.metric });
        }
        Ok(self)
    }

    /// The metric, as it was typed.
    #[must_use]
    pub fn metric(&self) -> &str {
        &self.metric
    }
}

/// As it was typed, without its options: `ttft_ms: p(95) < 200`.
impl std::fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let starts_with_method = self.expression.starts_with(char::is_alphabetic);
        let colon = if starts_with_method { ":" } else { "" };
        write!(formatter, "{}{colon} {}", self.metric, self.expression)
    }
}

impl Serialize for Threshold {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut shown = serializer.serialize_struct("Threshold", 5)?;
        shown.serialize_field("metric", &self.metric)?;
        shown.serialize_field("expression", &self.expression)?;
        shown.serialize_field("abort", &self.abort)?;
        shown.serialize_field("delay", &duration::format(self.delay))?;
        shown.serialize_field("crossing", &self.crossing)?;
        shown.end()
    }
}

/// A finite number.
pub(super) fn number(typed: &str) -> Result<f64, ThresholdError> {
    let not = || ThresholdError::NotANumber { typed: typed.to_owned() };
    typed.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(not)
}

#[cfg(test)]
#[path = "threshold_tests.rs"]
mod tests;
