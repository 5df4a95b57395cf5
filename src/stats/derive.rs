//! From the stamps of one request to its metrics, by the formulas of METHODOLOGY.md.
//!
//! Main types: [`RequestMetrics`] and [`HeaderSplit`]. It knows one request at a time, but for the
//! question whether this server's headers mark the start of the prompt, which only many can answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;
use super::metric::{self, Metric};
use crate::load::{Phase, RequestRecord, Stamp, Timings};

/// What kind of server was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerKind {
    /// A real llama-server that bench-ci started.
    #[serde(rename = "llama-server")]
    LlamaServer,
    /// The simulator inside bench-ci: no model, no inference.
    #[serde(rename = "sim")]
    Sim,
    /// A server that was already running; whose, nobody told us.
    #[serde(rename = "external")]
    External,
}

impl ServerKind {
    /// The public name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ServerKind::LlamaServer => "llama-server",
            ServerKind::Sim => "sim",
            ServerKind::External => "external",
        }
    }
}

/// Whether response headers mark the start of the prompt, so that TTFT splits into queue and prefill.
///
/// llama-server sends headers when a slot starts the prompt; other servers send them when they accept
/// the request, and proxies sometimes only with the first content. The server's own `timings` decide:
/// where headers are such a mark, first content − headers is `timings.prompt_ms` plus little. Where
/// nothing queued, early headers and marking headers are the same instant, and the split is right
/// either way. One answer holds for the whole run: dropping only the requests that disagree would
/// keep the flattering ones.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderSplit {
    /// They do.
    Marked,
    /// They do not, or nothing shows that they do.
    Unmarked(Unknown),
}

impl HeaderSplit {
    /// The part of requests that may disagree before the split is given up.
    ///
    /// A first token that is half a character or a control token is held back by the server and
    /// arrives some tokens later; a tenth leaves room for those that the tolerance did not cover.
    const MAX_DISAGREEING: f64 = 0.1;

    /// The part of requests whose headers may have come late, before the split is given up.
    ///
    /// Headers that are held back until there is content are so in every answer. Those of a server
    /// whose HTTP thread waits for a processor (small prompts on a small machine) are late in some:
    /// up to a fifth was seen of a real llama-server on two busy cores.
    const MAX_LATE: f64 = 0.5;

    /// Prompts that took the server less than this, in milliseconds, cannot tell late from held back.
    const SHORTEST_TELLING_PREFILL_MS: f64 = 0.5;

    /// Decides from the completed measured requests.
    #[must_use]
    pub fn detect(records: &[RequestRecord], server: ServerKind) -> Self {
        let (mut witnesses, mut telling) = (0_u64, 0_u64);
        let (mut longer, mut shorter) = (0_u64, 0_u64);
        for record in records.iter().filter(|record| counts(record)) {
            let Some(timings) = record.timings else { continue };
            let (Some(prompt_ms), Some(prefill), Some(ttft)) = (
                timings.prompt_ms,
                milliseconds(record.headers, record.first_content),
                milliseconds(record.written, record.first_content),
            ) else {
                continue;
            };
            witnesses += 1;
            let per_token = match (timings.predicted_ms, timings.predicted_n) {
                (Some(predicted_ms), Some(tokens)) if tokens > 0 => predicted_ms / tokens as f64,
                _ => 0.0,
            };
            // Longer: 5 ms of scheduling, a tenth of TTFT, or eight held-back tokens, whichever is most.
            let tolerance = 5.0_f64.max(0.1 * ttft).max(8.0 * per_token);
            longer += u64::from(prefill - prompt_ms > tolerance);
            // Shorter: held-back headers leave next to nothing, while headers that a busy machine
            // sent late mostly leave more.
            telling += u64::from(prompt_ms > Self::SHORTEST_TELLING_PREFILL_MS);
            shorter += u64::from(prefill + 0.25 < 0.5 * prompt_ms);
        }
        if witnesses == 0 {
            return match server {
                ServerKind::LlamaServer | ServerKind::Sim => HeaderSplit::Marked,
                ServerKind::External => HeaderSplit::Unmarked(Unknown::because(
                    "the server sends no timings, so nothing shows that its headers mark the start of the prompt",
                )),
            };
        }
        if longer as f64 > Self::MAX_DISAGREEING * witnesses as f64 {
            HeaderSplit::Unmarked(Unknown::because(format!(
                "the server sends headers before it starts the prompt: in {longer} of {witnesses} requests first content - headers is far above its own timings.prompt_ms"
            )))
        } else if shorter as f64 > Self::MAX_LATE * telling as f64 {
            HeaderSplit::Unmarked(Unknown::because(format!(
                "headers come long after the prompt was begun, or only when it is done: in {shorter} of {telling} requests first content - headers is far below the server's own timings.prompt_ms"
            )))
        } else {
            HeaderSplit::Marked
        }
    }

    /// Why `queue_ms` and `prefill_ms` are unknown; `None` where they are known.
    #[must_use]
    pub fn reason(&self) -> Option<&Unknown> {
        match self {
            HeaderSplit::Marked => None,
            HeaderSplit::Unmarked(reason) => Some(reason),
        }
    }
}

/// Only these enter distributions: measured, and completed.
pub(crate) fn counts(record: &RequestRecord) -> bool {
    record.phase == Phase::Measured && record.is_completed()
}

/// From `earlier` to `later`, in milliseconds. `None` if either is missing, or if they are the wrong
/// way round: a negative latency is a clock error, and clamping it to zero would hide that.
pub(crate) fn milliseconds(earlier: Option<Stamp>, later: Option<Stamp>) -> Option<f64> {
    let nanos = later?.0.checked_sub(earlier?.0)?;
    Some(nanos as f64 / 1e6)
}

/// Token counts as the server said them: `usage` where there is one, else `timings`. Deltas are
/// never taken for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCounts {
    /// Of the prompt, cached ones included; `None` where `timings` does not say how many were evaluated
    /// and how many cached.
    pub prompt: Option<u64>,
    /// Of those, taken from the cache; `None` where the server does not say.
    pub cached: Option<u64>,
    /// Generated.
    pub completion: u64,
}

impl TokenCounts {
    /// Of one request; `None` where the server did not say how many it generated.
    #[must_use]
    pub fn of(record: &RequestRecord) -> Option<Self> {
        let timings = record.timings;
        if let Some(usage) = record.usage {
            return Some(Self {
                prompt: Some(usage.prompt_tokens),
                cached: usage.cached_tokens.or(timings.and_then(|timings| timings.cache_n)),
                completion: usage.completion_tokens,
            });
        }
        let timings = timings?;
        Some(Self {
            prompt: prompt_tokens(&timings),
            cached: timings.cache_n,
            completion: timings.predicted_n?,
        })
    }
}

/// Of the prompt by `timings`, cached ones included.
pub(crate) fn prompt_tokens(timings: &Timings) -> Option<u64> {
    Some(timings.prompt_n?.saturating_add(timings.cache_n?))
}

/// The metrics of one request; each `None` where its formula has no answer, never zero-filled.
/// `itl_ms` is not here: a request has many gaps, and they are pooled where they are stamped.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
pub struct RequestMetrics {
    /// See [`metric::TTFT_MS`].
    pub ttft_ms: Option<f64>,
    /// See [`metric::TTFT_SCHEDULED_MS`].
    pub ttft_scheduled_ms: Option<f64>,
    /// See [`metric::TIME_TO_FIRST_ANSWER_MS`].
    pub time_to_first_answer_ms: Option<f64>,
    /// See [`metric::QUEUE_MS`].
    pub queue_ms: Option<f64>,
    /// See [`metric::PREFILL_MS`].
    pub prefill_ms: Option<f64>,
    /// See [`metric::TPOT_MS`]. `None` for fewer than two deltas: no gap was seen then, however many
    /// tokens that one delta held.
    pub tpot_ms: Option<f64>,
    /// See [`metric::E2E_MS`].
    pub e2e_ms: Option<f64>,
    /// See [`metric::E2E_SCHEDULED_MS`].
    pub e2e_scheduled_ms: Option<f64>,
    /// See [`metric::PROMPT_TOKENS`].
    pub prompt_tokens: Option<u64>,
    /// See [`metric::CACHED_TOKENS`].
    pub cached_tokens: Option<u64>,
    /// See [`metric::COMPLETION_TOKENS`].
    pub completion_tokens: Option<u64>,
    /// See [`metric::PREFILL_TOKENS_PER_SECOND`]. `None` where everything came from the cache.
    pub prefill_tokens_per_second: Option<f64>,
    /// See [`metric::DECODE_TOKENS_PER_SECOND`].
    pub decode_tokens_per_second: Option<f64>,
    /// See [`metric::SERVER_PREFILL_MS`].
    pub server_prefill_ms: Option<f64>,
    /// See [`metric::SERVER_DECODE_MS`].
    pub server_decode_ms: Option<f64>,
    /// See [`metric::DRAFT_ACCEPTANCE`].
    pub draft_acceptance: Option<f64>,
}

impl RequestMetrics {
    /// Of one request. A request that did not complete has no metrics: what its stamps say stays
    /// readable in its row, and no average can pick it up by accident.
    #[must_use]
    pub fn of(record: &RequestRecord, split: &HeaderSplit) -> Self {
        if !record.is_completed() {
            return Self::default();
        }
        let first = record.first_content;
        // The headers of an answer that is not streamed come with its end.
        let marked = *split == HeaderSplit::Marked && first.is_some();
        let queue_ms = milliseconds(record.written, record.headers).filter(|_| marked);
        let prefill_ms = milliseconds(record.headers, first).filter(|_| marked);
        let tokens = TokenCounts::of(record);
        let completion =
            tokens.map(|tokens| tokens.completion).filter(|_| record.results.is_none());
        let decode_ms = milliseconds(first, record.last_content)
            .filter(|decode| record.content_deltas >= 2 && *decode > 0.0);
        // What was not streamed was made before the first content, or at least not seen between it and
        // the last.
        let streamed = completion.and_then(|count| count.checked_sub(record.hidden_tokens()));
        let steps = streamed.filter(|count| *count >= 2).map(|count| (count - 1) as f64);
        let evaluated = tokens
            .and_then(|tokens| tokens.prompt?.checked_sub(tokens.cached?))
            .filter(|evaluated| *evaluated > 0);
        let timings = record.timings;
        Self {
            ttft_ms: milliseconds(record.written, first),
            ttft_scheduled_ms: milliseconds(Some(record.planned), first),
            time_to_first_answer_ms: milliseconds(record.written, record.first_answer),
            queue_ms,
            prefill_ms,
            tpot_ms: decode_ms.zip(steps).map(|(decode, steps)| decode / steps),
            e2e_ms: milliseconds(record.written, record.end),
            e2e_scheduled_ms: milliseconds(Some(record.planned), record.end),
            prompt_tokens: tokens.and_then(|tokens| tokens.prompt),
            cached_tokens: tokens.and_then(|tokens| tokens.cached),
            completion_tokens: completion,
            prefill_tokens_per_second: prefill_ms
                .filter(|prefill| *prefill > 0.0)
                .zip(evaluated)
                .map(|(prefill, evaluated)| evaluated as f64 / prefill * 1e3),
            decode_tokens_per_second: decode_ms
                .zip(steps)
                .map(|(decode, steps)| steps / decode * 1e3),
            server_prefill_ms: timings.and_then(|timings| timings.prompt_ms),
            server_decode_ms: timings.and_then(|timings| timings.predicted_ms),
            draft_acceptance: timings.and_then(|timings| {
                let drafted = timings.draft_n.filter(|drafted| *drafted > 0)?;
                Some(timings.draft_n_accepted? as f64 / drafted as f64)
            }),
        }
    }

    /// Every metric of a request with its value, in the order of tables.
    #[must_use]
    pub fn named(&self) -> [(&'static Metric, Option<f64>); 16] {
        // Destructured so that a new field cannot be forgotten here.
        let Self {
            ttft_ms,
            ttft_scheduled_ms,
            time_to_first_answer_ms,
            queue_ms,
            prefill_ms,
            tpot_ms,
            e2e_ms,
            e2e_scheduled_ms,
            prompt_tokens,
            cached_tokens,
            completion_tokens,
            prefill_tokens_per_second,
            decode_tokens_per_second,
            server_prefill_ms,
            server_decode_ms,
            draft_acceptance,
        } = *self;
        let count = |tokens: Option<u64>| tokens.map(|tokens| tokens as f64);
        [
            (&metric::TTFT_MS, ttft_ms),
            (&metric::TTFT_SCHEDULED_MS, ttft_scheduled_ms),
            (&metric::TIME_TO_FIRST_ANSWER_MS, time_to_first_answer_ms),
            (&metric::QUEUE_MS, queue_ms),
            (&metric::PREFILL_MS, prefill_ms),
            (&metric::TPOT_MS, tpot_ms),
            (&metric::E2E_MS, e2e_ms),
            (&metric::E2E_SCHEDULED_MS, e2e_scheduled_ms),
            (&metric::PROMPT_TOKENS, count(prompt_tokens)),
            (&metric::CACHED_TOKENS, count(cached_tokens)),
            (&metric::COMPLETION_TOKENS, count(completion_tokens)),
            (&metric::PREFILL_TOKENS_PER_SECOND, prefill_tokens_per_second),
            (&metric::DECODE_TOKENS_PER_SECOND, decode_tokens_per_second),
            (&metric::SERVER_PREFILL_MS, server_prefill_ms),
            (&metric::SERVER_DECODE_MS, server_decode_ms),
            (&metric::DRAFT_ACCEPTANCE, draft_acceptance),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{FailureKind, Outcome};
    use crate::stats::fixture::{at_ms, completed, failed};

    fn close(left: Option<f64>, right: f64) {
        let left = left.expect("known");
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn every_formula_of_one_request() {
        // planned 0, written 2, headers 5, content 25…125, end 130 ms; 40 prompt (8 cached), 11 generated.
        let record = completed(0);
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        close(metrics.ttft_ms, 23.0);
        close(metrics.ttft_scheduled_ms, 25.0);
        close(metrics.queue_ms, 3.0);
        close(metrics.prefill_ms, 20.0);
        close(metrics.tpot_ms, 10.0);
        close(metrics.e2e_ms, 128.0);
        close(metrics.e2e_scheduled_ms, 130.0);
        assert_eq!(metrics.prompt_tokens, Some(40));
        assert_eq!(metrics.cached_tokens, Some(8));
        assert_eq!(metrics.completion_tokens, Some(11));
        close(metrics.prefill_tokens_per_second, 1_600.0);
        close(metrics.decode_tokens_per_second, 100.0);
        close(metrics.server_prefill_ms, 19.5);
        close(metrics.server_decode_ms, 99.0);
        assert_eq!(metrics.draft_acceptance, None);
    }

    #[test]
    fn a_failed_request_has_no_metrics() {
        let record = failed(0, FailureKind::StreamError);
        assert_eq!(RequestMetrics::of(&record, &HeaderSplit::Marked), RequestMetrics::default());
    }

    #[test]
    fn stamps_the_wrong_way_round_give_nothing_rather_than_zero() {
        let mut record = completed(0);
        record.first_content = Some(at_ms(1.0));
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!(metrics.ttft_ms, None);
        assert_eq!(metrics.prefill_ms, None);
        assert!(metrics.e2e_ms.is_some());
    }

    #[test]
    fn one_token_has_no_time_per_output_token() {
        let mut record = completed(0);
        record.usage =
            record.usage.map(|usage| crate::load::Usage { completion_tokens: 1, ..usage });
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!((metrics.tpot_ms, metrics.decode_tokens_per_second), (None, None));
    }

    #[test]
    fn reasoning_that_is_counted_and_not_streamed_is_not_between_first_and_last_content() {
        // 11 of 1,011 tokens were streamed, 10 ms apart.
        let mut record = completed(0);
        let usage = record.usage.as_mut().expect("has usage");
        (usage.completion_tokens, usage.reasoning_tokens) = (1_011, Some(1_000));
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!(metrics.completion_tokens, Some(1_011), "the server's count stays");
        close(metrics.tpot_ms, 10.0);
        close(metrics.decode_tokens_per_second, 100.0);
        // Where it was streamed, it is.
        record.reasoning_deltas = 6;
        close(RequestMetrics::of(&record, &HeaderSplit::Marked).tpot_ms, 100.0 / 1_010.0);
        // Nothing but one token is left: no time between tokens was seen.
        record.reasoning_deltas = 0;
        record.usage.as_mut().expect("has usage").reasoning_tokens = Some(1_010);
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!((metrics.tpot_ms, metrics.decode_tokens_per_second), (None, None));
    }

    #[test]
    fn many_tokens_in_one_delta_are_not_infinitely_fast() {
        let mut record = completed(0);
        record.last_content = record.first_content;
        record.content_deltas = 1;
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!((metrics.tpot_ms, metrics.decode_tokens_per_second), (None, None));
    }

    #[test]
    fn a_fully_cached_prompt_has_no_prefill_rate() {
        let mut record = completed(0);
        record.usage =
            record.usage.map(|usage| crate::load::Usage { cached_tokens: Some(40), ..usage });
        let metrics = RequestMetrics::of(&record, &HeaderSplit::Marked);
        assert_eq!(metrics.prefill_tokens_per_second, None);
    }

    #[test]
    fn without_usage_the_timings_count() {
        let mut record = completed(0);
        record.usage = None;
        let counts = TokenCounts::of(&record).expect("timings are there");
        assert_eq!((counts.prompt, counts.cached, counts.completion), (Some(40), Some(8), 11));
        record.timings = None;
        assert_eq!(TokenCounts::of(&record), None);
    }

    #[test]
    fn timings_without_a_time_are_no_witness_and_no_zero() {
        let mut records: Vec<_> = (0..8).map(completed).collect();
        for record in &mut records {
            record.usage = None;
            record.timings = Some(Timings { predicted_n: Some(5), ..Timings::default() });
        }
        // Taken for a prompt of 0 ms they would show that headers come before the prompt is begun.
        assert_eq!(HeaderSplit::detect(&records, ServerKind::LlamaServer), HeaderSplit::Marked);
        let metrics = RequestMetrics::of(&records[0], &HeaderSplit::Marked);
        assert_eq!((metrics.server_prefill_ms, metrics.server_decode_ms), (None, None));
        assert_eq!((metrics.prompt_tokens, metrics.completion_tokens), (None, Some(5)));
        records[0].timings = Some(Timings { prompt_n: Some(5), ..Timings::default() });
        assert_eq!(TokenCounts::of(&records[0]), None);
    }

    #[test]
    fn draft_acceptance_is_a_ratio_of_what_was_drafted() {
        let mut record = completed(0);
        let timings = record.timings.as_mut().expect("has timings");
        (timings.draft_n, timings.draft_n_accepted) = (Some(8), Some(6));
        close(RequestMetrics::of(&record, &HeaderSplit::Marked).draft_acceptance, 0.75);
        record.timings.as_mut().expect("has timings").draft_n = Some(0);
        assert_eq!(RequestMetrics::of(&record, &HeaderSplit::Marked).draft_acceptance, None);
    }

    #[test]
    fn headers_that_mark_the_prompt_are_believed_from_any_server_with_timings() {
        let records: Vec<_> = (0..8).map(completed).collect();
        for server in [ServerKind::LlamaServer, ServerKind::Sim, ServerKind::External] {
            assert_eq!(HeaderSplit::detect(&records, server), HeaderSplit::Marked);
        }
    }

    #[test]
    fn headers_at_once_before_a_queue_are_found_out() {
        // Headers 0.1 ms after written, then 400 ms of waiting that the server does not call prompt.
        let mut records: Vec<_> = (0..8).map(completed).collect();
        for record in records.iter_mut().skip(4) {
            record.headers = record.written.map(|stamp| Stamp(stamp.0 + 100_000));
            for stamp in [&mut record.first_content, &mut record.last_content, &mut record.end] {
                *stamp = stamp.map(|stamp| Stamp(stamp.0 + 400_000_000));
            }
        }
        let split = HeaderSplit::detect(&records, ServerKind::LlamaServer);
        let reason = split.reason().expect("found out").reason().to_owned();
        assert!(reason.contains("before it starts the prompt: in 4 of 8"), "{reason}");
        let metrics = RequestMetrics::of(&records[7], &split);
        assert_eq!((metrics.queue_ms, metrics.prefill_ms), (None, None));
        assert_eq!(metrics.prefill_tokens_per_second, None);
        assert!(metrics.ttft_ms.is_some());
    }

    #[test]
    fn headers_held_back_to_the_first_content_are_found_out() {
        let mut records: Vec<_> = (0..8).map(completed).collect();
        for record in &mut records {
            record.headers = record.first_content;
        }
        let split = HeaderSplit::detect(&records, ServerKind::Sim);
        assert!(split.reason().expect("found out").reason().contains("or only when it is done"));
    }

    #[test]
    fn headers_that_a_busy_server_sometimes_sends_late_still_split_ttft() {
        // A real llama-server on two busy cores: prompts of 1 to 6 ms, a fifth of the headers late.
        let mut records: Vec<_> = (0..20).map(completed).collect();
        for record in records.iter_mut().take(4) {
            record.headers = record.first_content;
        }
        assert_eq!(HeaderSplit::detect(&records, ServerKind::LlamaServer), HeaderSplit::Marked);
        for record in records.iter_mut().take(11) {
            record.headers = record.first_content;
        }
        assert!(HeaderSplit::detect(&records, ServerKind::LlamaServer).reason().is_some());
    }

    #[test]
    fn without_timings_only_a_known_server_is_believed() {
        let mut records: Vec<_> = (0..8).map(completed).collect();
        for record in &mut records {
            record.timings = None;
        }
        assert_eq!(HeaderSplit::detect(&records, ServerKind::LlamaServer), HeaderSplit::Marked);
        assert!(HeaderSplit::detect(&records, ServerKind::External).reason().is_some());
    }

    #[test]
    fn failed_and_warm_up_requests_bear_no_witness() {
        let mut stray = completed(0);
        stray.headers = stray.first_content;
        stray.phase = Phase::WarmUp;
        let mut broken = stray.clone();
        broken.phase = Phase::Measured;
        broken.outcome = Outcome::Cut;
        let records = [stray, broken, completed(1)];
        assert_eq!(HeaderSplit::detect(&records, ServerKind::Sim), HeaderSplit::Marked);
    }
}
