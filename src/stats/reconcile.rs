//! The client's figures beside the server's, and what is left over between them.
//!
//! Main type: [`Reconciliation`]. A disagreement is a sentence with a count; it is never averaged
//! away and never settled in favour of one side.

use super::derive::{counts, milliseconds, prompt_tokens};
use super::quantile::Percentile;
use super::{HeaderSplit, Known, RequestMetrics, Unknown};
use crate::load::{Outcome, Phase, RequestRecord, Timings};

/// Which requests the differences of the server's counters cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CounterSpan {
    /// The first scrape was taken after the warm-up.
    #[default]
    Measured,
    /// Phases that do not count lie between the scrapes too.
    AllPhases,
}

/// Differences of the server's counters between the scrape before and the scrape after the load.
/// `None` where the server has no such counter or could not be scraped.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ServerCounters {
    /// Which requests lie between the two scrapes.
    pub span: CounterSpan,
    /// `llamacpp:prompt_tokens_total`: prompt tokens evaluated, without those from the cache.
    pub prompt_tokens_delta: Option<f64>,
    /// `llamacpp:prompt_tokens_cached_total`; older builds lack it.
    pub cached_tokens_delta: Option<f64>,
    /// `llamacpp:tokens_predicted_total`: generated tokens.
    pub predicted_tokens_delta: Option<f64>,
}

/// Sums over the completed measured requests, counted three ways; counters beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenTotals {
    /// Σ `usage.prompt_tokens`, cached ones included.
    pub usage_prompt_tokens: Known<u64>,
    /// Σ `timings.prompt_n + timings.cache_n`.
    pub timings_prompt_tokens: Known<u64>,
    /// Σ `timings.prompt_n`: evaluated, without cached ones. What the server's counter counts.
    pub timings_prompt_tokens_evaluated: Known<u64>,
    /// Difference of the server's counter of evaluated prompt tokens.
    pub counter_prompt_tokens_evaluated: Known<u64>,
    /// Σ `usage.completion_tokens`.
    pub usage_completion_tokens: Known<u64>,
    /// Σ `timings.predicted_n`.
    pub timings_completion_tokens: Known<u64>,
    /// Difference of the server's counter of generated tokens.
    pub counter_completion_tokens: Known<u64>,
    /// Σ content deltas seen by the client.
    pub content_deltas: u64,
}

/// What is left of a client's time when the server's own is taken away, over the completed measured
/// requests that have both. In milliseconds; negative where the server says more than the client saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual {
    /// Requests that have both times.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: Known<f64>,
    /// Smallest, with its sign.
    pub min_ms: Known<f64>,
    /// Needs 20 values.
    pub p95_ms: Known<f64>,
    /// Needs 100 values.
    pub p99_ms: Known<f64>,
    /// Median.
    pub p50_ms: Known<f64>,
    /// The one of largest size, with its sign.
    pub max_ms: Known<f64>,
}

/// Mean TTFT in its parts, over the same requests, so that they add up.
#[derive(Debug, Clone, PartialEq)]
pub struct TtftSplit {
    /// Requests that have all parts.
    pub count: u64,
    /// first content − written.
    pub ttft_ms: f64,
    /// headers − written.
    pub queue_ms: f64,
    /// The server's `timings.prompt_ms`.
    pub server_prefill_ms: f64,
    /// What is left over: network, scheduling, held-back tokens.
    pub residual_ms: f64,
}

/// One way in which two accounts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// A stable word for machines.
    pub code: &'static str,
    /// The sentence, with its counts.
    pub message: String,
}

/// Client against server.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconciliation {
    /// Tokens, counted in every way there is.
    pub tokens: TokenTotals,
    /// Mean TTFT = queue + server prefill + residual.
    pub ttft: Known<TtftSplit>,
    /// (first content − headers) − `timings.prompt_ms`.
    pub prefill_residual: Residual,
    /// (last − first content) − `timings.predicted_ms`.
    pub decode_residual: Residual,
    /// Every way in which the accounts differ; empty where they agree.
    pub disagreements: Vec<Disagreement>,
}

impl Reconciliation {
    /// Compares.
    #[must_use]
    pub fn of(records: &[RequestRecord], split: &HeaderSplit, counters: &ServerCounters) -> Self {
        let completed: Vec<&RequestRecord> =
            records.iter().filter(|record| counts(record)).collect();
        let mut disagreements = Vec::new();
        per_request_disagreements(&completed, &mut disagreements);
        counter_disagreements(records, counters, &mut disagreements);
        Self {
            tokens: totals(&completed, counters),
            ttft: ttft_split(&completed, split),
            prefill_residual: residual(&completed, split.reason(), |record, timings| {
                Some(milliseconds(record.headers, record.first_content)? - timings.prompt_ms?)
            }),
            decode_residual: residual(&completed, None, |record, _| decode_residual_ms(record)),
            disagreements,
        }
    }
}

/// TTFT − queue − the server's prefill, of one request; `None` where a part is not known.
#[must_use]
pub fn ttft_residual_ms(metrics: &RequestMetrics) -> Option<f64> {
    Some(metrics.ttft_ms? - metrics.queue_ms? - metrics.server_prefill_ms?)
}

/// (last − first content) − the server's decode, of one completed request; `None` for fewer than two
/// deltas, between which no time passed that could be compared.
#[must_use]
pub fn decode_residual_ms(record: &RequestRecord) -> Option<f64> {
    if record.content_deltas < 2 || !record.is_completed() {
        return None;
    }
    Some(milliseconds(record.first_content, record.last_content)? - record.timings?.predicted_ms?)
}

/// A sum that is only given where every request has the number. It saturates: what a server says is
/// no reason to panic.
fn sum(
    completed: &[&RequestRecord],
    source: &str,
    value: impl Fn(&RequestRecord) -> Option<u64>,
) -> Known<u64> {
    let values: Vec<u64> = completed.iter().filter_map(|record| value(record)).collect();
    if completed.is_empty() {
        Err(Unknown::because("no request completed"))
    } else if values.len() == completed.len() {
        Ok(values.into_iter().fold(0, u64::saturating_add))
    } else {
        Err(Unknown::because(format!(
            "{} of {} completed requests came without {source}",
            completed.len() - values.len(),
            completed.len()
        )))
    }
}

fn counter(delta: Option<f64>) -> Known<u64> {
    match delta {
        Some(delta) if delta >= 0.0 => Ok(delta.round() as u64),
        Some(_) => Err(Unknown::because("the counter went backwards: the server restarted")),
        None => {
            Err(Unknown::because("the server's /metrics has no such counter, or was not there"))
        }
    }
}

fn totals(completed: &[&RequestRecord], counters: &ServerCounters) -> TokenTotals {
    TokenTotals {
        usage_prompt_tokens: sum(completed, "usage", |record| Some(record.usage?.prompt_tokens)),
        timings_prompt_tokens: sum(completed, "timings with a cached count", |record| {
            prompt_tokens(&record.timings?)
        }),
        timings_prompt_tokens_evaluated: sum(completed, "timings.prompt_n", |record| {
            record.timings?.prompt_n
        }),
        counter_prompt_tokens_evaluated: counter(counters.prompt_tokens_delta),
        usage_completion_tokens: sum(completed, "usage", |record| {
            Some(record.usage?.completion_tokens)
        }),
        timings_completion_tokens: sum(completed, "timings.predicted_n", |record| {
            record.timings?.predicted_n
        }),
        counter_completion_tokens: counter(counters.predicted_tokens_delta),
        content_deltas: completed.iter().map(|record| record.content_deltas).sum(),
    }
}

fn ttft_split(completed: &[&RequestRecord], split: &HeaderSplit) -> Known<TtftSplit> {
    if let Some(reason) = split.reason() {
        return Err(reason.clone());
    }
    let parts: Vec<[f64; 3]> = completed
        .iter()
        .filter_map(|record| {
            Some([
                milliseconds(record.written, record.first_content)?,
                milliseconds(record.written, record.headers)?,
                record.timings?.prompt_ms?,
            ])
        })
        .collect();
    if parts.is_empty() {
        return Err(Unknown::because("the server sent no timings.prompt_ms"));
    }
    let mean =
        |part: usize| parts.iter().map(|parts| parts[part]).sum::<f64>() / parts.len() as f64;
    let (ttft_ms, queue_ms, server_prefill_ms) = (mean(0), mean(1), mean(2));
    Ok(TtftSplit {
        count: parts.len() as u64,
        ttft_ms,
        queue_ms,
        server_prefill_ms,
        residual_ms: ttft_ms - queue_ms - server_prefill_ms,
    })
}

fn residual(
    completed: &[&RequestRecord],
    unknown: Option<&Unknown>,
    left_over: impl Fn(&RequestRecord, &Timings) -> Option<f64>,
) -> Residual {
    let none = |reason: Unknown| Residual {
        count: 0,
        mean_ms: Err(reason.clone()),
        min_ms: Err(reason.clone()),
        p50_ms: Err(reason.clone()),
        p95_ms: Err(reason.clone()),
        p99_ms: Err(reason.clone()),
        max_ms: Err(reason),
    };
    if let Some(reason) = unknown {
        return none(reason.clone());
    }
    let mut values: Vec<f64> =
        completed.iter().filter_map(|record| left_over(record, record.timings.as_ref()?)).collect();
    values.sort_by(f64::total_cmp);
    match values.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())) {
        Some(max) => Residual {
            count: values.len() as u64,
            mean_ms: Ok(values.iter().sum::<f64>() / values.len() as f64),
            min_ms: Ok(values[0]),
            p50_ms: Percentile::P50.of_sorted(&values),
            p95_ms: Percentile::P95.of_sorted(&values),
            p99_ms: Percentile::P99.of_sorted(&values),
            max_ms: Ok(max),
        },
        None => none(Unknown::because(
            "no completed request has both the stamps and the server's timings",
        )),
    }
}

fn per_request_disagreements(completed: &[&RequestRecord], found: &mut Vec<Disagreement>) {
    let total = completed.len();
    let mut note = |code, count: usize, words: &str| {
        if count > 0 {
            let message = format!("in {count} of {total} completed requests {words}");
            found.push(Disagreement { code, message });
        }
    };
    let count = |differs: &dyn Fn(&RequestRecord) -> Option<bool>| {
        completed.iter().filter(|record| differs(record) == Some(true)).count()
    };
    note(
        "completion_tokens",
        count(&|record| Some(record.usage?.completion_tokens != record.timings?.predicted_n?)),
        "usage.completion_tokens differs from timings.predicted_n",
    );
    note(
        "prompt_tokens",
        count(&|record| Some(record.usage?.prompt_tokens != prompt_tokens(&record.timings?)?)),
        "usage.prompt_tokens differs from timings.prompt_n + cache_n",
    );
    note(
        "cached_tokens",
        count(&|record| Some(record.usage?.cached_tokens? != record.timings?.cache_n?)),
        "usage's cached_tokens differs from timings.cache_n",
    );
    note(
        "more_deltas_than_tokens",
        count(&|record| Some(record.content_deltas > super::TokenCounts::of(record)?.completion)),
        "more content deltas arrived than tokens were counted by the server",
    );
    note(
        "more_tokens_than_asked",
        count(&|record| {
            let tokens = super::TokenCounts::of(record)?.completion;
            Some(record.max_tokens > 0 && tokens > u64::from(record.max_tokens))
        }),
        "the server counted more tokens than max_tokens allowed",
    );
    note(
        "stamps_out_of_order",
        count(&|record| {
            let order = [
                record.written,
                record.headers,
                record.first_content,
                record.last_content,
                record.end,
            ];
            let present: Vec<_> = order.into_iter().flatten().collect();
            Some(present.windows(2).any(|pair| pair[0] > pair[1]))
        }),
        "stamps are out of order, so a clock was wrong; the latencies concerned are left out",
    );
    let longer = count(&|record| {
        // The client's span cannot be much shorter than the work it waited for, unless content
        // was held back: 5 ms of scheduling and a twentieth.
        let seen = milliseconds(record.first_content, record.end)?;
        let said = record.timings?.predicted_ms?;
        Some(record.content_deltas >= 2 && said > seen * 1.05 + 5.0)
    });
    // Counts must agree in every request, times cannot: where the server's own threads wait for a
    // processor, some answers begin to arrive late (an eighth, of a real one on two crowded cores).
    // In more than half of them it is the server's way.
    note(
        "server_decode_longer",
        if longer * 2 > total { longer } else { 0 },
        "the server says that it generated for longer than the client saw the stream run",
    );
}

/// Whether a request may have moved the counters by an amount that the client was never told.
fn untold(record: &RequestRecord) -> bool {
    !record.is_completed() && record.outcome != Outcome::Dropped
}

fn counter_disagreements(
    records: &[RequestRecord],
    counters: &ServerCounters,
    found: &mut Vec<Disagreement>,
) {
    let covered: Vec<&RequestRecord> = records
        .iter()
        .filter(|record| {
            // The warm-up before the first phase ends before the first scrape.
            let in_a_phase = record.phase_index > 0 && counters.span == CounterSpan::AllPhases;
            record.phase == Phase::Measured || in_a_phase
        })
        .collect();
    let completed: Vec<&RequestRecord> =
        covered.iter().copied().filter(|record| record.is_completed()).collect();
    let untold = covered.iter().filter(|record| untold(record)).count();
    let client_completion =
        sum(&completed, "counts", |record| Some(super::TokenCounts::of(record)?.completion));
    let client_evaluated = sum(&completed, "counts", |record| {
        let counts = super::TokenCounts::of(record)?;
        record
            .timings
            .and_then(|timings| timings.prompt_n)
            // What is not generated from is not kept, so nothing of it is cached.
            .or_else(|| counts.prompt?.checked_sub(counts.cached.or(record.results.map(|_| 0))?))
    });
    let mut compare = |code, what: &str, delta: Option<f64>, client: &Known<u64>| {
        let (Ok(server), Ok(client)) = (counter(delta), client) else { return };
        // Requests that were cut or failed were worked on too: then the server may only have more.
        let agrees = if untold == 0 { server == *client } else { server >= *client };
        if !agrees {
            found.push(Disagreement {
                code,
                message: format!(
                    "the server's counter of {what} moved by {server}, its answers to {} completed requests add up to {client}",
                    completed.len()
                ),
            });
        }
    };
    compare(
        "counter_completion_tokens",
        "generated tokens",
        counters.predicted_tokens_delta,
        &client_completion,
    );
    compare(
        "counter_prompt_tokens",
        "evaluated prompt tokens",
        counters.prompt_tokens_delta,
        &client_evaluated,
    );

    let client_cached = sum(&completed, "counts", |record| super::TokenCounts::of(record)?.cached);
    compare(
        "counter_cached_tokens",
        "cached prompt tokens",
        counters.cached_tokens_delta,
        &client_cached,
    );
    // The counters of seconds are not compared: requests that share a batch each count the whole of it
    // in their own timings, and the server counts it once.
}

#[cfg(test)]
mod tests;
