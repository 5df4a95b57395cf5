//! The history of one metric over a run, in a few numbers.
//!
//! Main types: [`Series`], which is fed, and [`SeriesSummary`], which it gives. Pure. It knows
//! nothing of what a metric means, except [`ServerThroughput`], which knows llama-server's counters.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::Kind;

/// One metric, scrape after scrape.
#[derive(Debug, Clone)]
pub struct Series {
    kind: Kind,
    first: f64,
    last: f64,
    increase: f64,
    resets: u32,
    min: f64,
    max: f64,
    sum: f64,
    count: u64,
}

/// What is reported of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SeriesSummary {
    /// First value.
    pub first: f64,
    /// Last value.
    pub last: f64,
    /// Counters only: by how much it grew, resets taken into account; `None` for others, and if it
    /// was seen only once.
    pub delta: Option<f64>,
    /// Smallest value seen.
    pub min: f64,
    /// Mean of the values seen, one a scrape; between scrapes nothing is known.
    pub mean: f64,
    /// Largest value seen.
    pub max: f64,
    /// Counters only: how often it fell, which means that the server was restarted.
    pub resets: u32,
    /// Scrapes with a finite value.
    pub count: u64,
}

impl Series {
    /// Begins with its first value; `None` if that is not finite.
    #[must_use]
    pub fn begin(kind: Kind, value: f64) -> Option<Self> {
        value.is_finite().then_some(Self {
            kind,
            first: value,
            last: value,
            increase: 0.0,
            resets: 0,
            min: value,
            max: value,
            sum: value,
            count: 1,
        })
    }

    /// Takes the next value; one that is not finite is passed over.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        if value < self.last {
            // As Prometheus does: after a reset the counter began at 0.
            self.resets += 1;
            self.increase += value;
        } else {
            self.increase += value - self.last;
        }
        self.last = value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += value;
        self.count += 1;
    }

    /// What is reported of it.
    #[must_use]
    pub fn summary(&self) -> SeriesSummary {
        let is_counter = self.kind == Kind::Counter;
        // Without a reset the plain difference has no rounding of many small steps in it.
        let grown = if self.resets == 0 { self.last - self.first } else { self.increase };
        SeriesSummary {
            first: self.first,
            last: self.last,
            delta: (is_counter && self.count > 1).then_some(grown),
            min: self.min,
            mean: self.sum / self.count as f64,
            max: self.max,
            resets: if is_counter { self.resets } else { 0 },
            count: self.count,
        }
    }
}

/// What llama-server itself says it did between the first and the last scrape.
///
/// Each is `None` if the server has no such counter, or, for the rates, did no such work. Its own
/// `*_seconds` gauges are not used: they are averages since somebody last asked.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct ServerThroughput {
    /// Prompt tokens evaluated (`llamacpp:prompt_tokens_total`).
    pub prompt_tokens: Option<f64>,
    /// Prompt tokens taken from the cache (`llamacpp:prompt_tokens_cached_total`).
    pub cached_tokens: Option<f64>,
    /// Seconds spent on prompts (`llamacpp:prompt_seconds_total`).
    pub prompt_s: Option<f64>,
    /// Tokens generated (`llamacpp:tokens_predicted_total`).
    pub output_tokens: Option<f64>,
    /// Seconds spent generating, added over the slots (`llamacpp:tokens_predicted_seconds_total`).
    pub output_s: Option<f64>,
    /// `prompt_tokens / prompt_s`.
    pub prompt_tokens_per_second: Option<f64>,
    /// `output_tokens / output_s`: the mean rate of one slot at work, not of the server.
    pub output_tokens_per_second_per_slot: Option<f64>,
}

impl ServerThroughput {
    /// Derives it from the counters' differences.
    #[must_use]
    pub fn of(series: &BTreeMap<String, SeriesSummary>) -> Self {
        let delta = |name: &str| series.get(&format!("llamacpp:{name}"))?.delta;
        let rate = |tokens: Option<f64>, seconds: Option<f64>| match (tokens, seconds) {
            (Some(tokens), Some(seconds)) if seconds > 0.0 => Some(tokens / seconds),
            _ => None,
        };
        let (prompt_tokens, prompt_s) =
            (delta("prompt_tokens_total"), delta("prompt_seconds_total"));
        let (output_tokens, output_s) =
            (delta("tokens_predicted_total"), delta("tokens_predicted_seconds_total"));
        Self {
            prompt_tokens,
            cached_tokens: delta("prompt_tokens_cached_total"),
            prompt_s,
            output_tokens,
            output_s,
            prompt_tokens_per_second: rate(prompt_tokens, prompt_s),
            output_tokens_per_second_per_slot: rate(output_tokens, output_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(kind: Kind, values: &[f64]) -> SeriesSummary {
        let mut series = Series::begin(kind, values[0]).expect("finite");
        values[1..].iter().for_each(|value| series.push(*value));
        series.summary()
    }

    #[test]
    fn a_counter_has_a_delta_and_a_gauge_has_none() {
        let counter = summary(Kind::Counter, &[10.0, 12.0, 17.0]);
        assert_eq!((counter.first, counter.last, counter.delta), (10.0, 17.0, Some(7.0)));
        assert_eq!((counter.min, counter.mean, counter.max), (10.0, 13.0, 17.0));
        let gauge = summary(Kind::Gauge, &[3.0, 1.0]);
        assert_eq!((gauge.delta, gauge.resets), (None, 0));
    }

    #[test]
    fn a_reset_is_noticed_and_does_not_make_the_delta_negative() {
        let counter = summary(Kind::Counter, &[100.0, 110.0, 4.0, 9.0]);
        assert_eq!((counter.delta, counter.resets), (Some(19.0), 1));
    }

    #[test]
    fn one_scrape_has_no_delta() {
        assert_eq!(summary(Kind::Counter, &[5.0]).delta, None);
    }

    #[test]
    fn values_that_are_not_finite_are_passed_over() {
        assert!(Series::begin(Kind::Gauge, f64::NAN).is_none());
        let gauge = summary(Kind::Gauge, &[1.0, f64::INFINITY, f64::NAN, 3.0]);
        assert_eq!((gauge.mean, gauge.max, gauge.count), (2.0, 3.0, 2));
    }

    #[test]
    fn throughput_comes_from_differences_and_is_absent_without_work() {
        let series = |values: &[(&str, f64)]| -> BTreeMap<String, SeriesSummary> {
            let one = |delta: f64| summary(Kind::Counter, &[1.0, 1.0 + delta]);
            values.iter().map(|(name, delta)| (format!("llamacpp:{name}"), one(*delta))).collect()
        };
        let worked = ServerThroughput::of(&series(&[
            ("prompt_tokens_total", 100.0),
            ("prompt_seconds_total", 2.0),
            ("tokens_predicted_total", 30.0),
        ]));
        assert_eq!(worked.prompt_tokens_per_second, Some(50.0));
        assert_eq!(worked.output_tokens, Some(30.0));
        assert_eq!(worked.output_tokens_per_second_per_slot, None);
        let idle = ServerThroughput::of(&series(&[
            ("prompt_tokens_total", 0.0),
            ("prompt_seconds_total", 0.0),
        ]));
        assert_eq!(idle.prompt_tokens_per_second, None);
        assert_eq!(ServerThroughput::of(&BTreeMap::new()), ServerThroughput::default());
    }
}
