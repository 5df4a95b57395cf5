//! Our metrics under the names that k6's Prometheus output gives them, with those of llama.cpp's
//! `script.js`, so that dashboards made for them go on.
//!
//! Main function: [`families`]. Pure. What each of them means is what `report::k6` says of it: k6's
//! prefix and suffixes (`_total`, `_rate`, and one gauge for each statistic of a trend), times in
//! seconds, values from our stamps.

use hdrhistogram::Histogram;

use super::board::Board;
use super::family::Family;
use crate::load::{RequestRecord, Stamp};

/// Percentiles of a trend, by k6's suffix.
const QUANTILES: [(&str, f64); 4] = [("med", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)];

/// Values are kept as whole millionths, with three digits.
const SCALE: f64 = 1e6;

/// The trends of completed requests.
#[derive(Debug)]
pub(super) struct Trends {
    request: Trend,
    waiting: Trend,
    iteration: Trend,
    first_token: Trend,
    prompt_rate: Trend,
    token_rate: Trend,
    prompt_tokens: Trend,
    completion_tokens: Trend,
    truncated: u64,
    stopped: u64,
}

impl Default for Trends {
    fn default() -> Self {
        let trend = || Trend(Histogram::new(3).expect("three digits are valid"));
        Self {
            request: trend(),
            waiting: trend(),
            iteration: trend(),
            first_token: trend(),
            prompt_rate: trend(),
            token_rate: trend(),
            prompt_tokens: trend(),
            completion_tokens: trend(),
            truncated: 0,
            stopped: 0,
        }
    }
}

#[derive(Debug)]
struct Trend(Histogram<u64>);

impl Trend {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite() && *value >= 0.0) {
            let value = (value * SCALE).round() as u64;
            self.0.record(value).expect("a histogram without bounds grows with its values");
        }
    }

    /// One gauge for each statistic; none before the first value.
    fn families(&self, name: &str, help: &'static str) -> Vec<Family> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let one = |statistic: &str, value: f64| {
            Family::gauge(format!("k6_{name}_{statistic}"), help, value / SCALE)
        };
        let mut families = vec![
            one("avg", self.0.mean()),
            one("min", self.0.min() as f64),
            one("max", self.0.max() as f64),
        ];
        families.extend(
            QUANTILES.iter().map(|(suffix, q)| one(suffix, self.0.value_at_quantile(*q) as f64)),
        );
        families
    }
}

impl Trends {
    /// Takes a completed request in.
    pub(super) fn add(&mut self, record: &RequestRecord) {
        let began = record.connect_started.or(record.written).unwrap_or(record.planned);
        let since = |from: Stamp, to: Option<Stamp>| Some(to?.since(from).as_secs_f64());
        let first_token = since(began, record.first_content);
        let decode = record.first_content.and_then(|first| since(first, record.end));
        let rate = |tokens: Option<u64>, time: Option<f64>| {
            Some(tokens? as f64 / time.filter(|time| *time > 0.0)?)
        };
        let prompt = record.usage.map(|usage| usage.prompt_tokens);
        let completion = record.usage.map(|usage| usage.completion_tokens);
        self.request.add(since(began, record.end));
        self.waiting.add(since(began, record.headers));
        self.iteration.add(since(record.planned, record.end));
        self.first_token.add(first_token);
        self.prompt_rate.add(rate(prompt, first_token));
        self.token_rate.add(rate(completion, decode));
        self.prompt_tokens.add(prompt.map(|tokens| tokens as f64));
        self.completion_tokens.add(completion.map(|tokens| tokens as f64));
        match record.finish_reason.as_deref() {
            Some("length" | "limit") => self.truncated += 1,
            Some("stop" | "eos" | "word") => self.stopped += 1,
            _ => {}
        }
    }
}

/// Everything on the board, as k6 would call it.
pub(super) fn families(board: &Board) -> Vec<Family> {
    let trends = &board.trends;
    let ended = board.completed + board.failed();
    let (prompt_tokens, completion_tokens) = board.tokens();
    let counter =
        |name: &str, help, value: u64| Family::counter(format!("k6_{name}"), help, value as f64);
    let gauge =
        |name: &str, help, value: u64| Family::gauge(format!("k6_{name}"), help, value as f64);
    let mut families = vec![
        counter("http_reqs", "Requests that ended.", ended),
        counter("iterations", "Requests that ended.", ended),
        counter("dropped_iterations", "Planned and never begun.", board.dropped),
        counter("data_received", "Bytes of responses.", board.received_bytes),
        counter(
            "llamacpp_prompt_tokens_total_counter",
            "Prompt tokens, as the server said them.",
            prompt_tokens,
        ),
        counter(
            "llamacpp_completion_tokens_total_counter",
            "Tokens of answers, as the server said them.",
            completion_tokens,
        ),
        gauge("vus", "Requests in flight.", board.in_flight()),
        gauge("vus_max", "Users planned.", u64::from(board.users)),
    ];
    if ended > 0 {
        let mut rate = |name: &str, help, part: u64| {
            let share = part as f64 / ended as f64;
            families.push(Family::gauge(format!("k6_{name}_rate"), help, share));
        };
        rate("checks", "Share of requests that completed.", board.completed);
        rate("http_req_failed", "Share of requests that failed.", board.failed());
        rate(
            "llamacpp_completions_truncated_rate",
            "Share of answers that their budget ended.",
            trends.truncated,
        );
        rate(
            "llamacpp_completions_stop_rate",
            "Share of answers that the model ended.",
            trends.stopped,
        );
    }
    for (trend, name, help) in [
        (&trends.request, "http_req_duration", "Whole requests that completed, seconds."),
        (&trends.waiting, "http_req_waiting", "To the head of the response, seconds."),
        (&trends.iteration, "iteration_duration", "From planned to end, seconds."),
        (&trends.first_token, "llamacpp_emit_first_token_second", "To the first content, seconds."),
        (
            &trends.prompt_rate,
            "llamacpp_prompt_processing_second",
            "Prompt tokens over the time to the first content.",
        ),
        (
            &trends.token_rate,
            "llamacpp_tokens_second",
            "Tokens of an answer over the time from its first content.",
        ),
        (&trends.prompt_tokens, "llamacpp_prompt_tokens", "Tokens of a prompt."),
        (&trends.completion_tokens, "llamacpp_completion_tokens", "Tokens of an answer."),
    ] {
        families.extend(trend.families(name, help));
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::MetricNames;
    use crate::stats::fixture::completed;

    #[test]
    fn names_are_those_of_k6s_output() {
        let mut board = Board::new(MetricNames::K6, Vec::new());
        let before: Vec<String> = board.families().into_iter().map(|family| family.name).collect();
        assert!(!before.iter().any(|name| name.ends_with("_p99")), "no value is no zero");
        board.add(&completed(0));
        let families = board.families();
        let names: Vec<String> =
            families.iter().flat_map(Family::series).map(|(name, _)| name).collect();
        for expected in [
            "k6_http_reqs_total",
            "k6_http_req_duration_p99",
            "k6_http_req_duration_med",
            "k6_http_req_failed_rate",
            "k6_llamacpp_tokens_second_avg",
            "k6_llamacpp_prompt_tokens_total_counter_total",
            "k6_llamacpp_completions_stop_rate_rate",
            "k6_vus",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
        }
        assert!(names.iter().all(|name| name.starts_with("k6_")), "{names:?}");
    }

    #[test]
    fn the_statistics_of_a_trend_are_those_of_its_values() {
        let mut trend = Trends::default().request;
        for thousandth in 1..=1000 {
            trend.add(Some(f64::from(thousandth) / 1e3));
        }
        trend.add(None);
        trend.add(Some(f64::NAN));
        let families = trend.families("x", "Help.");
        for (name, expected) in [
            ("k6_x_avg", 0.5005),
            ("k6_x_min", 0.001),
            ("k6_x_med", 0.5),
            ("k6_x_p90", 0.9),
            ("k6_x_p99", 0.99),
            ("k6_x_max", 1.0),
        ] {
            let family = families.iter().find(|family| family.name == name).expect(name);
            let value = family.samples[0].value;
            assert!((value - expected).abs() <= 0.002 * expected, "{name}: {value}");
        }
    }
}
