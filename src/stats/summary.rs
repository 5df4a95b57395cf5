//! Everything that a report says about a load, from its records.
//!
//! Main type: [`Summary`], made by [`summarise`]. Whether the numbers are evidence is `validity`'s
//! question; how they look on the wire is `artifact`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::arrivals::Arrivals;
use super::derive::{HeaderSplit, RequestMetrics, ServerKind, TokenCounts, counts};
use super::quantile::student_t_975;
use super::rates::Rates;
use super::reconcile::{Reconciliation, ServerCounters};
use super::turns::Conversations;
use super::{Distribution, Known, Metric, Unknown, metric};
use crate::load::{ClockSource, FailureKind, Moments, Outcome, Phase, RequestRecord, Stamp};
use crate::plan::Endpoint;

/// What the load engine measures besides its records.
#[derive(Debug, Clone)]
pub struct LoadFigures {
    /// What kind of server answered.
    pub server: ServerKind,
    /// Gaps between consecutive content deltas of completed measured requests, nanoseconds.
    pub itl_ns: Histogram<u64>,
    /// The exact moments of the same gaps.
    pub itl: Moments,
    /// Our read minus the kernel's stamp, for every read, nanoseconds; with the user-space clock the
    /// event loop's own lag. Empty where neither could be seen.
    pub client_delay_ns: Histogram<u64>,
    /// Written minus planned of measured requests, as far as it is our own doing, nanoseconds.
    pub dispatch_lateness_ns: Histogram<u64>,
    /// The exact mean of the same; `None` if nothing was sent.
    pub dispatch_lateness_mean_ns: Option<f64>,
    /// A user's pause between two requests: with the latency, the cycle that lateness lengthens.
    pub think_time: Duration,
    /// Where the receive stamps come from.
    pub clock: ClockSource,
    /// Kernel stamps that were impossible (in the future, or older than a second), so that the
    /// user-space clock was taken for that read.
    pub rejected_stamps: u64,
    /// Processor time of the thread that loads; `None` where it cannot be had.
    pub thread_cpu: Option<Duration>,
    /// Begin of the first phase, whether or not it counts: where the clock of a report starts.
    pub origin: Stamp,
    /// Begin of the first phase that counts.
    pub window_start: Stamp,
    /// The last phase that counts had closed, and its last request had ended or was cut.
    pub window_end: Stamp,
    /// Which route was asked, and whether its answers were streamed.
    pub endpoint: Endpoint,
    /// See `endpoint`.
    pub stream: bool,
    /// A signal ended the load early.
    pub interrupted: bool,
    /// Requests were sent at planned instants, whatever became of earlier ones.
    pub open_loop: bool,
    /// How the server's own counters moved; all `None` without a scrape.
    pub counters: ServerCounters,
}

impl LoadFigures {
    /// Of a run that ended before its load began.
    #[must_use]
    pub fn nothing(server: ServerKind) -> Self {
        let empty = || Histogram::new(3).expect("3 digits are allowed");
        Self {
            server,
            itl_ns: empty(),
            itl: Moments::default(),
            client_delay_ns: empty(),
            dispatch_lateness_ns: empty(),
            dispatch_lateness_mean_ns: None,
            think_time: Duration::ZERO,
            clock: ClockSource::User,
            rejected_stamps: 0,
            thread_cpu: None,
            origin: Stamp(0),
            window_start: Stamp(0),
            window_end: Stamp(0),
            endpoint: Endpoint::ChatCompletions,
            stream: true,
            interrupted: false,
            open_loop: false,
            counters: ServerCounters::default(),
        }
    }
}

/// What became of the measured requests: planned = completed + failed + cancelled + dropped + cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestAccounting {
    /// Measured requests planned.
    pub planned: u64,
    /// Of those, begun: all but the dropped ones.
    pub started: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
    /// Never sent.
    pub dropped: u64,
    /// In flight when the run ended.
    pub cut: u64,
    /// Hung up by us on purpose.
    pub cancelled: u64,
    /// Failed ones by kind; kinds that did not occur are absent.
    pub by_error: BTreeMap<FailureKind, u64>,
    /// Completed ones by the server's word.
    pub by_finish_reason: BTreeMap<String, u64>,
    /// One example of what was seen for each kind of failure.
    pub examples: BTreeMap<FailureKind, String>,
    /// Requests sent a second time because the idle connection had been closed.
    pub resent: u64,
    /// The unmeasured ones before.
    pub warm_up: UnmeasuredAccounting,
    /// The unmeasured ones after.
    pub cool_down: UnmeasuredAccounting,
}

/// What became of the unmeasured requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnmeasuredAccounting {
    /// Planned.
    pub planned: u64,
    /// Ended well.
    pub completed: u64,
    /// Ended badly.
    pub failed: u64,
}

/// Everything that a report says about a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What became of the requests.
    pub requests: RequestAccounting,
    /// Every metric, in the order of [`metric::ALL`]; of those without a value `count` is 0.
    pub metrics: Vec<(&'static Metric, Distribution)>,
    /// Requests and tokens per second.
    pub rates: Rates,
    /// Arrivals of an open loop, as planned and as sent; `None` for a closed one.
    pub arrivals: Option<Arrivals>,
    /// Client against server.
    pub reconciliation: Reconciliation,
    /// By turn, where requests are turns of conversations.
    pub conversations: Option<Conversations>,
    /// Whether TTFT could be split into queue and prefill.
    pub split: HeaderSplit,
    /// Completed requests that asked for as much of a prompt as an earlier one, so that the server's cache
    /// may answer them. The two lengths of `--tpot-difference` are its design and no repetition, and so are
    /// the turns of a conversation.
    pub repeated_prompts: u64,
    /// Content deltas of completed measured requests that shared a read with an earlier one, and all.
    pub coalesced: (u64, u64),
    /// Completed measured requests whose second content delta came in one read with the first, and all
    /// whose first content has a stamp.
    pub first_content_coalesced: (u64, u64),
    /// Completed measured requests of which the server counted reasoning that it did not stream.
    pub with_hidden_tokens: u64,
    /// Completed measured requests whose length was forced and whose tokens nobody counted.
    pub forced_uncounted: u64,
}

impl Summary {
    /// The distribution of a metric.
    #[must_use]
    pub fn distribution(&self, wanted: &Metric) -> Option<&Distribution> {
        self.metrics.iter().find(|(metric, _)| *metric == wanted).map(|(_, found)| found)
    }
}

/// Sums up a load. Only completed measured requests enter the metrics.
#[must_use]
pub fn summarise(records: &[RequestRecord], load: &LoadFigures) -> Summary {
    summarise_by(records, load, HeaderSplit::detect(records, load.server))
}

/// The same where it is known what headers mark: of one phase, whose requests alone do not tell.
#[must_use]
pub fn summarise_by(records: &[RequestRecord], load: &LoadFigures, split: HeaderSplit) -> Summary {
    let completed: Vec<&RequestRecord> = records.iter().filter(|record| counts(record)).collect();
    let asked = |record: &&RequestRecord| (record.prompt_index, record.max_tokens, record.turn);
    let mut prompts: Vec<(u64, u32, Option<u32>)> = completed.iter().map(asked).collect();
    prompts.sort_unstable();
    prompts.dedup();
    Summary {
        requests: account(records),
        metrics: distributions(&completed, &split, load),
        rates: Rates::of(records),
        arrivals: load.open_loop.then(|| Arrivals::of(records, load.window_end)).flatten(),
        reconciliation: Reconciliation::of(records, &split, &load.counters),
        conversations: Conversations::of(records, &split),
        repeated_prompts: (completed.len() - prompts.len()) as u64,
        coalesced: (
            completed.iter().map(|record| record.coalesced_deltas).sum(),
            completed.iter().map(|record| record.content_deltas).sum(),
        ),
        first_content_coalesced: (
            count_of(&completed, |record| record.first_content_coalesced),
            count_of(&completed, |record| record.first_content.is_some()),
        ),
        with_hidden_tokens: count_of(&completed, |record| record.hidden_tokens() > 0),
        forced_uncounted: count_of(&completed, |record| {
            record.forced && record.results.is_none() && TokenCounts::of(record).is_none()
        }),
        split,
    }
}

fn count_of(records: &[&RequestRecord], is_one: impl Fn(&RequestRecord) -> bool) -> u64 {
    records.iter().filter(|record| is_one(record)).count() as u64
}

fn account(records: &[RequestRecord]) -> RequestAccounting {
    let mut requests = RequestAccounting::default();
    for record in records {
        let unmeasured = match record.phase {
            Phase::WarmUp => Some(&mut requests.warm_up),
            Phase::CoolDown => Some(&mut requests.cool_down),
            Phase::Measured => None,
        };
        if let Some(unmeasured) = unmeasured {
            unmeasured.planned += 1;
            match &record.outcome {
                Outcome::Completed => unmeasured.completed += 1,
                Outcome::Failed { .. } => unmeasured.failed += 1,
                Outcome::Dropped | Outcome::Cut | Outcome::Cancelled => {}
            }
            continue;
        }
        requests.planned += 1;
        requests.resent += u64::from(record.resent);
        match &record.outcome {
            Outcome::Completed => {
                requests.completed += 1;
                let reason =
                    record.finish_reason.clone().unwrap_or_else(|| "none given".to_owned());
                *requests.by_finish_reason.entry(reason).or_default() += 1;
            }
            Outcome::Failed { failure, detail } => {
                requests.failed += 1;
                *requests.by_error.entry(*failure).or_default() += 1;
                requests.examples.entry(*failure).or_insert_with(|| detail.clone());
            }
            Outcome::Dropped => requests.dropped += 1,
            Outcome::Cut => requests.cut += 1,
            Outcome::Cancelled => requests.cancelled += 1,
        }
    }
    requests.started = requests.planned - requests.dropped;
    requests
}

fn distributions(
    completed: &[&RequestRecord],
    split: &HeaderSplit,
    load: &LoadFigures,
) -> Vec<(&'static Metric, Distribution)> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for record in completed {
        for (metric, value) in RequestMetrics::of(record, split).named() {
            values.entry(metric.name).or_default().extend(value);
        }
    }
    metric::ALL
        .iter()
        .map(|metric| {
            let reason = match load.endpoint.lacks(metric, load.stream) {
                Some(reason) if !completed.is_empty() => Unknown::because(reason),
                _ => empty_because(metric, completed.is_empty(), split),
            };
            let distribution = if **metric == metric::ITL_MS {
                let mean_ci95 = clustered_itl_mean(completed);
                Distribution::of_histogram(&load.itl_ns, &load.itl, 1e6, mean_ci95, &reason)
            } else {
                Distribution::of_values(values.remove(metric.name).unwrap_or_default(), &reason)
            };
            (*metric, distribution)
        })
        .collect()
}

/// Why a metric has no value at all.
fn empty_because(metric: &Metric, nothing_completed: bool, split: &HeaderSplit) -> Unknown {
    if nothing_completed {
        return Unknown::because("no measured request completed");
    }
    let of_split = [&metric::QUEUE_MS, &metric::PREFILL_MS, &metric::PREFILL_TOKENS_PER_SECOND];
    if let Some(reason) = split.reason()
        && of_split.contains(&metric)
    {
        return reason.clone();
    }
    Unknown::because(match *metric {
        metric::SERVER_PREFILL_MS | metric::SERVER_DECODE_MS => {
            "the server sends no timings with it"
        }
        metric::DRAFT_ACCEPTANCE => "the server did not draft tokens",
        metric::CACHED_TOKENS => "the server does not say how many prompt tokens were cached",
        metric::PROMPT_TOKENS | metric::COMPLETION_TOKENS => {
            "the server counts them neither in usage nor in timings"
        }
        metric::PREFILL_TOKENS_PER_SECOND => {
            "no completed request has a prefill and a count of prompt tokens that were not cached"
        }
        metric::TPOT_MS | metric::DECODE_TOKENS_PER_SECOND | metric::ITL_MS => {
            "no completed request has two streamed tokens in two content deltas"
        }
        metric::TIME_TO_FIRST_ANSWER_MS => "all that came is reasoning",
        _ => "no completed request has the stamps for it",
    })
}

/// Interval of the mean gap that takes requests, not gaps, as the independent units: the ratio
/// estimator Σ spans / Σ gaps with its linearised variance. The plain interval over pooled gaps
/// would be too narrow by the square root of a request's length where its gaps move together.
fn clustered_itl_mean(completed: &[&RequestRecord]) -> Known<[f64; 2]> {
    let clusters: Vec<(f64, f64)> = completed
        .iter()
        .filter(|record| record.content_deltas >= 2)
        .filter_map(|record| {
            let span = super::derive::milliseconds(record.first_content, record.last_content)?;
            Some((span, (record.content_deltas - 1) as f64))
        })
        .collect();
    let count = clusters.len();
    if count < 2 {
        return Err(Unknown::because(format!("needs 2 requests with gaps, has {count}")));
    }
    let spans: f64 = clusters.iter().map(|(span, _)| span).sum();
    let gaps: f64 = clusters.iter().map(|(_, gaps)| gaps).sum();
    let mean = spans / gaps;
    let squares: f64 = clusters.iter().map(|(span, gaps)| (span - mean * gaps).powi(2)).sum();
    let n = count as f64;
    let error = (squares * n / (n - 1.0)).sqrt() / gaps;
    let half = student_t_975(count as u64 - 1) * error;
    Ok([mean - half, mean + half])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::{closed_loop, completed, failed, figures};

    #[test]
    fn every_planned_request_is_accounted_for_once() {
        let mut records = closed_loop(2, 3);
        records.push(failed(6, FailureKind::StreamError));
        records.push(failed(7, FailureKind::StreamError));
        records.push(failed(8, FailureKind::Http5xx));
        records.push(RequestRecord { outcome: Outcome::Dropped, written: None, ..completed(9) });
        records.push(RequestRecord { outcome: Outcome::Cut, end: None, ..completed(10) });
        records.push(RequestRecord { phase: Phase::WarmUp, ..completed(11) });
        records.push(RequestRecord { phase: Phase::WarmUp, ..failed(12, FailureKind::Reset) });
        records.push(RequestRecord { phase: Phase::CoolDown, ..completed(13) });
        let requests = summarise(&records, &figures(400.0)).requests;
        assert_eq!((requests.planned, requests.started, requests.completed), (11, 10, 6));
        assert_eq!((requests.failed, requests.dropped, requests.cut), (3, 1, 1));
        assert_eq!(requests.by_error[&FailureKind::StreamError], 2);
        assert_eq!(requests.by_error.values().sum::<u64>(), requests.failed);
        assert_eq!(requests.by_finish_reason.values().sum::<u64>(), requests.completed);
        assert_eq!(
            requests.cool_down,
            UnmeasuredAccounting { planned: 1, completed: 1, failed: 0 }
        );
        assert_eq!(requests.warm_up, UnmeasuredAccounting { planned: 2, completed: 1, failed: 1 });
    }

    #[test]
    fn only_completed_measured_requests_enter_a_distribution() {
        let mut records = closed_loop(2, 3);
        let before = summarise(&records, &figures(400.0)).metrics;
        records.push(failed(6, FailureKind::StreamError));
        records.push(RequestRecord { outcome: Outcome::Cut, ..completed(7) });
        records.push(RequestRecord { phase: Phase::WarmUp, ..completed(8) });
        assert_eq!(summarise(&records, &figures(400.0)).metrics, before);
        assert_eq!(
            before.iter().find(|(metric, _)| **metric == metric::TTFT_MS).map(|(_, d)| d.count),
            Some(6)
        );
    }

    #[test]
    fn every_metric_is_there_even_when_it_is_unknown() {
        let summary = summarise(
            &[failed(0, FailureKind::Connect)],
            &LoadFigures { itl: Moments::default(), ..figures(50.0) },
        );
        assert_eq!(summary.metrics.len(), metric::ALL.len());
        for (metric, distribution) in &summary.metrics {
            assert_eq!(distribution.count, 0, "{}", metric.name);
            assert!(distribution.mean.is_err() && distribution.p50.is_err(), "{}", metric.name);
        }
    }

    #[test]
    fn gaps_are_milliseconds_and_their_interval_counts_requests() {
        let mut records = closed_loop(2, 3);
        let steady = summarise(&records, &figures(400.0));
        let itl = steady.distribution(&metric::ITL_MS).expect("always there");
        assert!((itl.mean.clone().expect("known") - 10.0).abs() < 1e-9);
        assert!((itl.p99.clone().expect("1000 gaps") - 10.0).abs() < 0.01);
        let [low, high] = itl.mean_ci95.clone().expect("6 requests");
        assert!((low - 10.0).abs() < 1e-9 && (high - 10.0).abs() < 1e-9);

        // One slow request of six widens it as one unit, however many gaps it has.
        records[0].last_content =
            records[0].first_content.map(|stamp| stamp.after(Duration::from_millis(200)));
        let [low, high] =
            clustered_itl_mean(&records.iter().collect::<Vec<_>>()).expect("6 requests");
        assert!(high - low > 8.0, "{low} {high}");
    }

    #[test]
    fn repeated_prompts_are_noticed() {
        let mut records = closed_loop(2, 3);
        assert_eq!(summarise(&records, &figures(400.0)).repeated_prompts, 0);
        for record in &mut records {
            record.prompt_index %= 4;
        }
        assert_eq!(summarise(&records, &figures(400.0)).repeated_prompts, 2);
        for record in &mut records[4..] {
            record.max_tokens += 16;
        }
        let both_lengths = summarise(&records, &figures(400.0));
        assert_eq!(both_lengths.repeated_prompts, 0, "what --tpot-difference asks for");
        for (record, turn) in records.iter_mut().zip([1, 2, 3, 1, 2, 3]) {
            (record.prompt_index, record.max_tokens) = (u64::from(turn == 1), 16);
            record.turn = Some(turn);
        }
        let talks = summarise(&records, &figures(400.0));
        assert_eq!(
            talks.repeated_prompts, 3,
            "a conversation that is held twice, and no turn of one"
        );
    }
}
