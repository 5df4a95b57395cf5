//! From what `stats` found to what the report says: names, units, nulls and reasons.
//!
//! Main type: [`Sections`], made by [`sections`]. Nothing is computed here but changes of unit.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::sections::{
    Arrivals, Ci95, Client, Conversations, Limits, MetricSummary, Note, PhaseFigures, RateFigures,
    Rates, Reconciliation, RequestsSection, ResidualFigures, Spread, SteadyState, Tokens,
    TtftFigures, Turn, Unmeasured, WindowFigures,
};
use super::unknowns::Unknowns;
use crate::load::Stamp;
use crate::plan::{self, Yield};
use crate::stats::quantile::Percentile;
use crate::stats::{self, Distribution, Known, LoadFigures, Metric, Summary, Unknown, Validity};

/// The parts of a report that come from the measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Sections {
    /// `requests`.
    pub requests: RequestsSection,
    /// `metrics`.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// `rates`.
    pub rates: Rates,
    /// `conversations`.
    pub conversations: Option<Conversations>,
    /// `reconciliation`.
    pub reconciliation: Reconciliation,
    /// `client`; peak memory is left to the caller, who fills `rss_peak_bytes`.
    pub client: Client,
    /// The warnings that come from the measurement; the caller adds its own.
    pub warnings: Vec<Note>,
}

/// Converts.
#[must_use]
pub fn sections(
    summary: &Summary,
    load: &LoadFigures,
    validity: &Validity,
    limits: &plan::Limits,
) -> Sections {
    Sections {
        requests: requests(&summary.requests),
        metrics: metrics(summary),
        rates: rates(&summary.rates, load.origin, load.endpoint.yields()),
        conversations: summary.conversations.as_ref().map(conversations),
        reconciliation: reconciliation(&summary.reconciliation),
        client: client(summary, load, validity, limits),
        warnings: validity
            .warnings
            .iter()
            .map(|warning| note(warning.code, &warning.message))
            .collect(),
    }
}

/// One measured phase: `closed` is when its last request could begin.
#[must_use]
pub fn phase_figures(
    name: &str,
    summary: &Summary,
    load: &LoadFigures,
    closed: Stamp,
) -> PhaseFigures {
    let mut unknown = Unknowns::none();
    PhaseFigures {
        name: name.to_owned(),
        started_s: offset(load.window_start, load.origin),
        closed_s: offset(closed, load.origin),
        requests: requests(&summary.requests),
        metrics: metrics(summary),
        rates: rates(&summary.rates, load.origin, load.endpoint.yields()),
        arrivals: arrivals(summary, load, &mut unknown),
        dispatch_lateness_us: lateness(load),
        unknown,
    }
}

fn metrics(summary: &Summary) -> BTreeMap<String, MetricSummary> {
    let named = summary.metrics.iter();
    named.map(|(metric, found)| (metric.name.to_owned(), metric_summary(metric, found))).collect()
}

fn arrivals(summary: &Summary, load: &LoadFigures, unknown: &mut Unknowns) -> Option<Arrivals> {
    unknown.option(
        "arrivals",
        summary.arrivals.map(|arrivals| Arrivals {
            planned: arrivals.planned,
            dropped: arrivals.dropped,
            planned_per_second: arrivals.planned_per_second,
            achieved_per_second: arrivals.achieved_per_second,
        }),
        if load.open_loop {
            "fewer than two arrivals have no rate"
        } else {
            "users waited for each answer: a closed loop"
        },
    )
}

fn lateness(load: &LoadFigures) -> Spread {
    spread(
        &load.dispatch_lateness_ns,
        load.dispatch_lateness_mean_ns,
        "no measured request was sent",
    )
}

/// Seconds from `origin`; negative before it.
fn offset(stamp: Stamp, origin: Stamp) -> f64 {
    (stamp.0 as i128 - origin.0 as i128) as f64 / 1e9
}

fn note(code: &str, message: &str) -> Note {
    Note { code: code.to_owned(), message: message.to_owned() }
}

fn requests(requests: &stats::RequestAccounting) -> RequestsSection {
    // Destructured so that a new count cannot be forgotten here.
    let stats::RequestAccounting {
        planned,
        started,
        completed,
        failed,
        dropped,
        cut,
        cancelled,
        by_error,
        by_finish_reason,
        examples,
        resent,
        warm_up,
        cool_down,
    } = requests.clone();
    let unmeasured = |stats::UnmeasuredAccounting { planned, completed, failed }| Unmeasured {
        planned,
        completed,
        failed,
    };
    RequestsSection {
        planned,
        started,
        completed,
        failed,
        dropped,
        cut,
        cancelled,
        resent,
        by_error,
        error_examples: examples,
        by_finish_reason,
        warm_up: unmeasured(warm_up),
        cool_down: unmeasured(cool_down),
    }
}

fn metric_summary(metric: &Metric, found: &Distribution) -> MetricSummary {
    let Distribution {
        count,
        mean,
        stddev,
        min,
        p50,
        p90,
        p95,
        p99,
        max,
        mean_ci95,
        p50_ci95,
        p95_ci95,
    } = found.clone();
    let mut unknown = Unknowns::none();
    let mut unknown_intervals = Unknowns::none();
    MetricSummary {
        unit: metric.unit.to_owned(),
        better: metric.better,
        count,
        mean: unknown.number("mean", mean),
        stddev: unknown.number("stddev", stddev),
        min: unknown.number("min", min),
        p50: unknown.number("p50", p50),
        p90: unknown.number("p90", p90),
        p95: unknown.number("p95", p95),
        p99: unknown.number("p99", p99),
        max: unknown.number("max", max),
        ci95: Ci95 {
            mean: unknown_intervals.interval("mean", mean_ci95),
            p50: unknown_intervals.interval("p50", p50_ci95),
            p95: unknown_intervals.interval("p95", p95_ci95),
            unknown: unknown_intervals,
        },
        unknown,
    }
}

fn conversations(found: &stats::turns::Conversations) -> Conversations {
    let turn = |turn: &stats::turns::Turn| {
        let mut unknown = Unknowns::none();
        let mut number = |field, known: &Known<f64>| unknown.number(field, known.clone());
        Turn {
            turn: turn.turn,
            requests: turn.requests,
            completed: turn.completed,
            prompt_tokens_mean: number("prompt_tokens_mean", &turn.prompt_tokens_mean),
            cached_tokens_mean: number("cached_tokens_mean", &turn.cached_tokens_mean),
            ttft_ms_p50: number("ttft_ms_p50", &turn.ttft_ms_p50),
            e2e_ms_p50: number("e2e_ms_p50", &turn.e2e_ms_p50),
            unknown,
        }
    };
    Conversations {
        begun: found.begun,
        completed: found.completed,
        broken: found.broken,
        turns: found.turns.iter().map(turn).collect(),
    }
}

fn rate_figures(rates: stats::RateSet, yields: Yield, unknown: &mut Unknowns) -> RateFigures {
    let of = |wanted: Yield, words: &'static str| match yields == wanted {
        true => rates.results_per_second.clone(),
        false => Err(Unknown::because(words)),
    };
    let embeddings = of(Yield::Embeddings, "no embeddings were asked for");
    let documents = of(Yield::Scores, "no documents were ranked");
    let mut number = |field, known| unknown.number(field, known);
    RateFigures {
        requests_per_second: number("requests_per_second", rates.requests_per_second),
        prompt_tokens_per_second: number(
            "prompt_tokens_per_second",
            rates.prompt_tokens_per_second,
        ),
        output_tokens_per_second: number(
            "output_tokens_per_second",
            rates.output_tokens_per_second,
        ),
        total_tokens_per_second: number("total_tokens_per_second", rates.total_tokens_per_second),
        embeddings_per_second: number("embeddings_per_second", embeddings),
        documents_per_second: number("documents_per_second", documents),
        goodput_requests_per_second: number(
            "goodput_requests_per_second",
            rates.goodput_requests_per_second,
        ),
    }
}

fn window(window: &stats::Window, origin: Stamp) -> WindowFigures {
    WindowFigures {
        start_s: offset(window.start, origin),
        end_s: offset(window.end, origin),
        duration_s: window.seconds(),
    }
}

fn rates(rates: &stats::Rates, origin: Stamp, yields: Yield) -> Rates {
    let mut unknown = Unknowns::none();
    let steady_state = unknown.take("steady_state", rates.steady.clone()).map(|steady| {
        let mut unknown = Unknowns::none();
        SteadyState {
            window: window(&steady.window, origin),
            plateau_concurrency: steady.plateau_concurrency,
            completed: steady.completed,
            rates: rate_figures(steady.rates, yields, &mut unknown),
            unknown,
        }
    });
    Rates {
        whole: rate_figures(rates.whole.clone(), yields, &mut unknown),
        window: unknown.take("window", rates.window.clone()).map(|found| window(&found, origin)),
        steady_state,
        unknown,
    }
}

fn residual(residual: stats::Residual) -> ResidualFigures {
    let mut unknown = Unknowns::none();
    ResidualFigures {
        count: residual.count,
        mean_ms: unknown.number("mean_ms", residual.mean_ms),
        min_ms: unknown.number("min_ms", residual.min_ms),
        p50_ms: unknown.number("p50_ms", residual.p50_ms),
        p95_ms: unknown.number("p95_ms", residual.p95_ms),
        p99_ms: unknown.number("p99_ms", residual.p99_ms),
        max_ms: unknown.number("max_ms", residual.max_ms),
        unknown,
    }
}

fn tokens(tokens: stats::TokenTotals) -> Tokens {
    let mut unknown = Unknowns::none();
    let mut take = |field, known: Known<u64>| unknown.take(field, known);
    Tokens {
        usage_prompt_tokens: take("usage_prompt_tokens", tokens.usage_prompt_tokens),
        timings_prompt_tokens: take("timings_prompt_tokens", tokens.timings_prompt_tokens),
        timings_prompt_tokens_evaluated: take(
            "timings_prompt_tokens_evaluated",
            tokens.timings_prompt_tokens_evaluated,
        ),
        counter_prompt_tokens_evaluated: take(
            "counter_prompt_tokens_evaluated",
            tokens.counter_prompt_tokens_evaluated,
        ),
        usage_completion_tokens: take("usage_completion_tokens", tokens.usage_completion_tokens),
        timings_completion_tokens: take(
            "timings_completion_tokens",
            tokens.timings_completion_tokens,
        ),
        counter_completion_tokens: take(
            "counter_completion_tokens",
            tokens.counter_completion_tokens,
        ),
        content_deltas: tokens.content_deltas,
        unknown,
    }
}

fn reconciliation(found: &stats::Reconciliation) -> Reconciliation {
    let stats::Reconciliation {
        tokens: totals,
        ttft,
        prefill_residual,
        decode_residual,
        disagreements,
    } = found.clone();
    let mut unknown = Unknowns::none();
    Reconciliation {
        tokens: tokens(totals),
        ttft: unknown.take("ttft", ttft).map(|split| TtftFigures {
            count: split.count,
            ttft_ms_mean: split.ttft_ms,
            queue_ms_mean: split.queue_ms,
            server_prefill_ms_mean: split.server_prefill_ms,
            residual_ms_mean: split.residual_ms,
        }),
        prefill_residual: residual(prefill_residual),
        decode_residual: residual(decode_residual),
        disagreements: disagreements.iter().map(|found| note(found.code, &found.message)).collect(),
        unknown,
    }
}

/// A histogram of nanoseconds in microseconds.
fn spread(histogram: &Histogram<u64>, exact_mean_ns: Option<f64>, empty_because: &str) -> Spread {
    let mut unknown = Unknowns::none();
    let empty = || Unknown::because(empty_because.to_owned());
    let present = !histogram.is_empty();
    let micros = |nanos: f64| nanos / 1e3;
    let mut at = |field, percentile: Percentile| {
        let value = if present { percentile.of_histogram(histogram) } else { Err(empty()) };
        unknown.number(field, value.map(micros))
    };
    let (p50, p95, p99) =
        (at("p50", Percentile::P50), at("p95", Percentile::P95), at("p99", Percentile::P99));
    let mean = exact_mean_ns.or_else(|| present.then(|| histogram.mean()));
    Spread {
        count: histogram.len(),
        mean: unknown.number("mean", mean.map(micros).ok_or_else(empty)),
        p50,
        p95,
        p99,
        max: unknown
            .number("max", present.then(|| micros(histogram.max() as f64)).ok_or_else(empty)),
        unknown,
    }
}

fn client(
    summary: &Summary,
    load: &LoadFigures,
    validity: &Validity,
    limits: &plan::Limits,
) -> Client {
    let plan::Limits {
        max_failed,
        max_lateness_ratio,
        max_client_delay_ratio,
        min_achieved_rate_ratio,
        max_arrival_lateness_ratio,
        arrival_lateness_floor,
        accept_saturated_client,
    } = *limits;
    let mut unknown = Unknowns::none();
    unknown
        .note("rss_peak_bytes", "this system does not say how much memory a process used at most");
    unknown.note("sampling_cpu_s", "nothing was sampled to its end");
    Client {
        valid: validity.valid,
        reasons: validity.reasons.iter().map(|reason| note(reason.code, &reason.message)).collect(),
        clock_source: load.clock,
        rejected_stamps: load.rejected_stamps,
        arrivals: arrivals(summary, load, &mut unknown),
        dispatch_lateness_us: lateness(load),
        client_delay_us: spread(&load.client_delay_ns, None, "no read was stamped"),
        cpu_s: unknown.option(
            "cpu_s",
            load.thread_cpu.map(|cpu| cpu.as_secs_f64()),
            "this system does not say how much processor time a thread used",
        ),
        rss_peak_bytes: None,
        sampling_cpu_s: None,
        limits: Limits {
            max_failed,
            max_lateness_ratio,
            max_client_delay_ratio,
            min_achieved_rate_ratio: Some(min_achieved_rate_ratio),
            max_arrival_lateness_ratio: Some(max_arrival_lateness_ratio),
            arrival_lateness_floor_ms: Some(arrival_lateness_floor.as_secs_f64() * 1e3),
            accept_saturated_client,
        },
        unknown,
    }
}
