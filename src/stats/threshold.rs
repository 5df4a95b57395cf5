//! Whether thresholds hold, over values that run: after each request while the load goes on, and
//! over all of them at its end. By k6's rules.
//!
//! Main types: [`Board`], which is fed records, and [`Judged`], its answer for one threshold. Memory
//! is bounded by one column of exact values for each trend that a threshold is about.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::derive::{HeaderSplit, RequestMetrics, TokenCounts, milliseconds};
use super::goodput::met;
use super::rates::RateSet;
use super::{Known, Unknown, metric, quantile};
use crate::load::{Moments, Outcome, Phase, RequestRecord};
use crate::plan::Objective;
use crate::plan::problem::nearest;
use crate::plan::subject::{Figure, Kind, Subject};
use crate::plan::threshold::{Method, Threshold};

/// Thresholds with the running values that they are about.
#[derive(Debug)]
pub struct Board {
    thresholds: Vec<Threshold>,
    objectives: Vec<Objective>,
    split: HeaderSplit,
    /// One for each figure that a threshold is about.
    columns: Vec<(Figure, Column)>,
}

/// The answer for one threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Whether it holds.
    pub ok: bool,
    /// What was compared; unknown where there was nothing, with what was made of that.
    pub observed: Known<f64>,
}

/// One metric of the server as far as it has been scraped; see `scrape` for what each is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServerReading {
    /// Last value.
    pub last: f64,
    /// Smallest value.
    pub min: f64,
    /// Mean of the scrapes.
    pub mean: f64,
    /// Largest value.
    pub max: f64,
    /// Counters only: by how much it grew.
    pub delta: Option<f64>,
}

/// Everything besides records that thresholds are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// Since the first phase began, whether or not it counts: what the server's counters cover.
    pub elapsed: Duration,
    /// Of it, the phases that count: what measured requests are divided by.
    pub measured: Duration,
    /// The server's metrics by name, as far as they are known.
    pub server: &'a BTreeMap<String, ServerReading>,
    /// What only the end knows; `None` while the load runs.
    pub end: Option<End<'a>>,
}

/// What only the end of a load knows.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Rates over the whole window.
    pub rates: &'a RateSet,
    /// Gaps between content deltas, nanoseconds.
    pub itl_ns: &'a Histogram<u64>,
    /// The exact moments of the same.
    pub itl: &'a Moments,
}

#[derive(Debug, Clone)]
enum Column {
    Trend {
        values: Vec<f64>,
        sum: f64,
        /// Completed requests without a value.
        silent: u64,
    },
    Sum {
        sum: f64,
        samples: u64,
        /// Completed requests that did not say.
        silent: u64,
    },
    Share {
        trues: u64,
        total: u64,
        /// Completed requests of which it cannot be said.
        silent: u64,
    },
}

/// What a threshold is compared with.
enum Value {
    /// There has been no sample.
    Empty,
    Known(f64),
    Unknown(Unknown),
}

impl Board {
    /// An empty board. `split` says whether `queue_ms` and `prefill_ms` are known.
    #[must_use]
    pub fn new(thresholds: &[Threshold], objectives: &[Objective], split: HeaderSplit) -> Self {
        let mut columns: Vec<(Figure, Column)> = Vec::new();
        for threshold in thresholds {
            let Subject::Own(figure) = threshold.subject else { continue };
            if columns.iter().any(|(known, _)| *known == figure) {
                continue;
            }
            let column = match figure.kind() {
                Kind::Trend => Column::Trend { values: Vec::new(), sum: 0.0, silent: 0 },
                Kind::Counter | Kind::Gauge | Kind::Server => {
                    Column::Sum { sum: 0.0, samples: 0, silent: 0 }
                }
                Kind::Rate => Column::Share { trues: 0, total: 0, silent: 0 },
            };
            columns.push((figure, column));
        }
        Self { thresholds: thresholds.to_vec(), objectives: objectives.to_vec(), split, columns }
    }

    /// Takes a request in. Requests that do not count and those that were cut or cancelled leave no
    /// trace.
    pub fn add(&mut self, record: &RequestRecord) {
        let is_neither = matches!(record.outcome, Outcome::Cut | Outcome::Cancelled);
        if record.phase != Phase::Measured || is_neither {
            return;
        }
        let metrics = RequestMetrics::of(record, &self.split);
        for (figure, column) in &mut self.columns {
            column.add(*figure, record, &metrics, &self.objectives);
        }
    }

    /// Judges every threshold, in their order. While the load runs, `None` for those without a
    /// sample yet; at its end never: an empty trend or counter is then taken as 0 and an empty share
    /// holds, which are k6's rules.
    pub fn judge(&mut self, moment: &Moment<'_>) -> Vec<Option<Judged>> {
        let mut answers = Vec::with_capacity(self.thresholds.len());
        for threshold in &self.thresholds {
            let value = match &threshold.subject {
                Subject::Server(name) => server_value(threshold, name, moment),
                Subject::Own(figure) => {
                    let column = self.columns.iter_mut().find(|(known, _)| known == figure);
                    let (_, column) = column.expect("each figure was given a column");
                    own_value(*figure, threshold.method, column, moment)
                }
            };
            answers.push(answer(threshold, value, moment.end.is_some()));
        }
        answers
    }

    /// The first threshold that ends a load of this length, by its position: crossed, told to abort,
    /// and its delay is over.
    #[must_use]
    pub fn aborting(&self, answers: &[Option<Judged>], elapsed: Duration) -> Option<usize> {
        self.thresholds.iter().zip(answers).position(|(threshold, answer)| {
            threshold.abort
                && elapsed > threshold.delay
                && answer.as_ref().is_some_and(|answer| !answer.ok)
        })
    }
}

fn answer(threshold: &Threshold, value: Value, at_end: bool) -> Option<Judged> {
    let holds = |value| threshold.operator.holds(value, threshold.limit);
    match (value, at_end) {
        (Value::Known(value), _) => Some(Judged { ok: holds(value), observed: Ok(value) }),
        (Value::Empty | Value::Unknown(_), false) => None,
        (Value::Unknown(reason), true) => Some(Judged { ok: false, observed: Err(reason) }),
        (Value::Empty, true) => Some(match threshold.subject.kind() {
            Kind::Rate => Judged {
                ok: true,
                observed: Err(Unknown::because("nothing ended; an empty share holds, as in k6")),
            },
            Kind::Counter => Judged { ok: holds(0.0), observed: Ok(0.0) },
            Kind::Trend | Kind::Gauge | Kind::Server => Judged {
                ok: holds(0.0),
                observed: Err(Unknown::because("nothing completed; judged as 0, as in k6")),
            },
        }),
    }
}

impl Column {
    fn add(
        &mut self,
        figure: Figure,
        record: &RequestRecord,
        metrics: &RequestMetrics,
        objectives: &[Objective],
    ) {
        let completed = record.is_completed();
        let dropped = record.outcome == Outcome::Dropped;
        match self {
            Column::Trend { values, sum, silent } if completed => {
                match trend_value(figure, record, metrics) {
                    Some(value) => {
                        values.push(value);
                        *sum += value;
                    }
                    None => *silent += 1,
                }
            }
            Column::Trend { .. } => {}
            Column::Sum { sum, samples, silent } => {
                match summand(figure, record, || met(objectives, record, metrics).ok()) {
                    Some(Some(value)) => {
                        *sum += value;
                        *samples += 1;
                    }
                    Some(None) => *silent += 1,
                    None => {}
                }
            }
            Column::Share { .. } if dropped => {}
            Column::Share { trues, total, silent } => {
                let finish = |reason: &str| {
                    completed && record.finish_reason.as_deref().is_some_and(|said| said == reason)
                };
                let is_true = match figure {
                    Figure::FailedRatio => !completed,
                    Figure::CompletedRatio => completed,
                    // llama-server's own endpoint says `limit` and `eos` or `word`.
                    Figure::TruncatedRatio => finish("length") || finish("limit"),
                    Figure::StoppedRatio => finish("stop") || finish("eos") || finish("word"),
                    _ if !completed => false,
                    _ => match met(objectives, record, metrics) {
                        Ok(met) => met,
                        Err(_) => {
                            *silent += 1;
                            return;
                        }
                    },
                };
                *total += 1;
                *trues += u64::from(is_true);
            }
        }
    }
}

/// The value of a completed request.
fn trend_value(figure: Figure, record: &RequestRecord, metrics: &RequestMetrics) -> Option<f64> {
    let begun = record.connect_started.or(record.written);
    let tokens = || TokenCounts::of(record);
    let per_second = |count: Option<u64>, ms: Option<f64>| {
        let ms = ms.filter(|ms| *ms > 0.0)?;
        Some(count? as f64 / ms * 1e3)
    };
    match figure {
        Figure::Metric(wanted) => {
            metrics.named().into_iter().find(|(metric, _)| *metric == wanted)?.1
        }
        Figure::WaitingMs => milliseconds(record.written, record.headers),
        Figure::ReceivingMs => milliseconds(record.headers, record.end),
        Figure::ConnectingMs => match record.connect_started {
            None => Some(0.0),
            started => milliseconds(started, record.connected),
        },
        Figure::ScriptTokensPerSecond => per_second(
            tokens().map(|tokens| tokens.completion),
            milliseconds(record.first_content, record.end),
        ),
        Figure::ScriptPromptTokensPerSecond => per_second(
            tokens().and_then(|tokens| tokens.prompt),
            milliseconds(begun, record.first_content),
        ),
        Figure::ScriptFirstTokenSeconds => {
            milliseconds(begun, record.first_content).map(|ms| ms / 1e3)
        }
        _ => None,
    }
}

/// What a request adds; `None` nothing, and it is no sample; `Some(None)` it should and did not say.
fn summand(
    figure: Figure,
    record: &RequestRecord,
    good: impl FnOnce() -> Option<bool>,
) -> Option<Option<f64>> {
    let completed = record.is_completed();
    let failed = matches!(record.outcome, Outcome::Failed { .. });
    let dropped = record.outcome == Outcome::Dropped;
    let one = |counts: bool| counts.then_some(Some(1.0));
    let tokens = |count: fn(TokenCounts) -> Option<u64>| {
        completed.then(|| Some(count(TokenCounts::of(record)?)? as f64))
    };
    match figure {
        Figure::Requests => one(!dropped),
        Figure::CompletedRequests | Figure::RequestsPerSecond => one(completed),
        Figure::FailedRequests => one(failed),
        Figure::DroppedRequests => one(dropped),
        Figure::PromptTokensTotal | Figure::PromptTokensPerSecond => tokens(|tokens| tokens.prompt),
        Figure::CompletionTokensTotal | Figure::OutputTokensPerSecond => {
            tokens(|tokens| Some(tokens.completion))
        }
        Figure::TotalTokensPerSecond => {
            tokens(|tokens| Some(tokens.prompt?.saturating_add(tokens.completion)))
        }
        Figure::GoodputRequestsPerSecond => {
            completed.then(|| good().map(|good| f64::from(u8::from(good))))
        }
        Figure::BytesReceived => (!dropped).then_some(Some(record.bytes_received as f64)),
        _ => None,
    }
}

fn own_value(figure: Figure, method: Method, column: &mut Column, moment: &Moment<'_>) -> Value {
    if let Some(end) = moment.end {
        if figure == Figure::Metric(&metric::ITL_MS) {
            return pooled(method, end);
        }
        let rates = end.rates;
        let rate = match figure {
            Figure::RequestsPerSecond => Some(&rates.requests_per_second),
            Figure::PromptTokensPerSecond => Some(&rates.prompt_tokens_per_second),
            Figure::OutputTokensPerSecond => Some(&rates.output_tokens_per_second),
            Figure::TotalTokensPerSecond => Some(&rates.total_tokens_per_second),
            Figure::GoodputRequestsPerSecond => Some(&rates.goodput_requests_per_second),
            _ => None,
        };
        if let Some(rate) = rate {
            return match rate {
                Ok(rate) => Value::Known(*rate),
                Err(reason) => Value::Unknown(reason.clone()),
            };
        }
    }
    let unsaid = |silent: u64| {
        Value::Unknown(Unknown::because(format!("{silent} completed requests have no value")))
    };
    match column {
        Column::Trend { values, silent, .. } if values.is_empty() => match *silent {
            0 => Value::Empty,
            silent => unsaid(silent),
        },
        Column::Trend { values, sum, .. } => Value::Known(match method {
            Method::Avg => *sum / values.len() as f64,
            Method::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Method::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Method::Percentile(percent) => quantile::select(values, percent / 100.0),
            _ => quantile::select(values, 0.5),
        }),
        // A sum with gaps would be too low without anybody seeing it.
        Column::Sum { silent, .. } if *silent > 0 => unsaid(*silent),
        Column::Sum { samples: 0, .. } => Value::Empty,
        Column::Sum { sum, .. } => match method {
            Method::Count => Value::Known(*sum),
            _ => match moment.measured.as_secs_f64() {
                seconds if seconds > 0.0 => Value::Known(*sum / seconds),
                _ => Value::Empty,
            },
        },
        Column::Share { silent, .. } if *silent > 0 => unsaid(*silent),
        Column::Share { total: 0, .. } => Value::Empty,
        Column::Share { trues, total, .. } => Value::Known(*trues as f64 / *total as f64),
    }
}

/// `itl_ms`, whose gaps are pooled over requests.
fn pooled(method: Method, end: End<'_>) -> Value {
    let End { itl_ns, itl, .. } = end;
    let nanos = match method {
        Method::Avg => itl.mean(),
        Method::Min => itl.min().map(|gap| gap as f64),
        Method::Max => itl.max().map(|gap| gap as f64),
        Method::Percentile(percent) => quantile::of_histogram(itl_ns, percent / 100.0),
        _ => quantile::of_histogram(itl_ns, 0.5),
    };
    nanos.map_or(Value::Empty, |nanos| Value::Known(nanos / 1e6))
}

fn server_value(threshold: &Threshold, name: &str, moment: &Moment<'_>) -> Value {
    let Some(reading) = moment.server.get(name) else {
        let near = nearest(name, moment.server.keys().map(String::as_str));
        return Value::Unknown(Unknown::because(match near {
            Some(near) => {
                format!("the server offers no metric \"{name}\"; did you mean \"{near}\"?")
            }
            None => format!("the server offers no metric \"{name}\""),
        }));
    };
    let no_counter = || Unknown::because("it is no counter, or was seen only once");
    let known = match threshold.method {
        Method::Avg => Ok(reading.mean),
        Method::Min => Ok(reading.min),
        Method::Max => Ok(reading.max),
        Method::Count => reading.delta.ok_or_else(no_counter),
        Method::Rate => match moment.elapsed.as_secs_f64() {
            seconds if seconds > 0.0 => {
                reading.delta.map(|delta| delta / seconds).ok_or_else(no_counter)
            }
            _ => Err(Unknown::because("the load had no length")),
        },
        _ => Ok(reading.last),
    };
    known.map_or_else(Value::Unknown, Value::Known)
}

#[cfg(test)]
#[path = "threshold_tests.rs"]
mod tests;
