//! How the run stands, as metrics: added up from the load's live counts and from finished records.
//!
//! Main type: [`Board`]. It is written by the thread that writes records and read by the one that
//! publishes; the load's own thread never waits for it. Latencies are formed by METHODOLOGY.md, of
//! measured requests alone. Pure.

use std::sync::Arc;

use super::family::{Family, Histogram, Kind, Label, Sample};
use super::k6::Trends;
use crate::load::{FailureKind, LiveCounters, LivePhase, Outcome, Phase, RequestRecord};
use crate::plan::MetricNames;
use crate::stats::{HeaderSplit, RequestMetrics};

/// Upper ends of times to a first token and of whole answers, seconds.
const LONG_BOUNDS_S: [f64; 22] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 20.0, 40.0, 80.0, 160.0, 320.0,
];

/// Upper ends of gaps: [`crate::load::GAP_BOUNDS_NS`] in seconds.
const GAP_BOUNDS_S: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

const PHASES: [(LivePhase, &str); 5] = [
    (LivePhase::Preparing, "preparing"),
    (LivePhase::WarmUp, "warm_up"),
    (LivePhase::Measuring, "measuring"),
    (LivePhase::Draining, "draining"),
    (LivePhase::Done, "done"),
];

/// Counts of the load thread that go on from one load to the next of a suite.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    started: u64,
    warm_up_ended: u64,
    content_deltas: u64,
}

/// How the run stands.
#[derive(Debug)]
pub(super) struct Board {
    names: MetricNames,
    /// What the run is tagged with.
    tags: Vec<Label>,
    live: Option<Arc<LiveCounters>>,
    pub(super) users: u32,
    /// Of loads that are over.
    before: Counts,
    gaps_before: Histogram,
    pub(super) completed: u64,
    failed: [u64; FailureKind::ALL.len()],
    pub(super) dropped: u64,
    cut: u64,
    cancelled: u64,
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    pub(super) received_bytes: u64,
    ttft: Histogram,
    tpot: Histogram,
    e2e: Histogram,
    pub(super) trends: Trends,
}

impl Board {
    /// Nothing has happened yet.
    pub(super) fn new(names: MetricNames, tags: Vec<Label>) -> Self {
        Self {
            names,
            tags,
            live: None,
            users: 0,
            before: Counts::default(),
            gaps_before: Histogram::new(&GAP_BOUNDS_S),
            completed: 0,
            failed: [0; FailureKind::ALL.len()],
            dropped: 0,
            cut: 0,
            cancelled: 0,
            prompt_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            received_bytes: 0,
            ttft: Histogram::new(&LONG_BOUNDS_S),
            tpot: Histogram::new(&GAP_BOUNDS_S),
            e2e: Histogram::new(&LONG_BOUNDS_S),
            trends: Trends::default(),
        }
    }

    /// A load begins. What the one before it has counted stays: a counter never falls.
    pub(super) fn begin(&mut self, live: Arc<LiveCounters>, users: u32) {
        self.before = self.counts();
        if let Some(over) = self.live.replace(live) {
            self.gaps_before.add_counts(&over.gaps(), seconds(over.gaps_ns()));
        }
        self.users = users;
    }

    /// A request has ended.
    pub(super) fn add(&mut self, record: &RequestRecord) {
        if record.phase != Phase::Measured {
            return;
        }
        self.received_bytes += record.bytes_received;
        match &record.outcome {
            Outcome::Completed => {}
            Outcome::Failed { failure, .. } => {
                let kinds = FailureKind::ALL.iter().zip(&mut self.failed);
                for (_, count) in kinds.filter(|(kind, _)| *kind == failure) {
                    *count += 1;
                }
                return;
            }
            Outcome::Dropped => return self.dropped += 1,
            Outcome::Cut => return self.cut += 1,
            Outcome::Cancelled => return self.cancelled += 1,
        }
        self.completed += 1;
        // What headers mark is of no meaning to what is told here.
        let metrics = RequestMetrics::of(record, &HeaderSplit::Marked);
        for (sum, tokens) in [
            (&mut self.prompt_tokens, metrics.prompt_tokens),
            (&mut self.cached_tokens, metrics.cached_tokens),
            (&mut self.output_tokens, metrics.completion_tokens),
        ] {
            *sum = sum.saturating_add(tokens.unwrap_or(0));
        }
        for (histogram, value_ms) in [
            (&mut self.ttft, metrics.ttft_ms),
            (&mut self.tpot, metrics.tpot_ms),
            (&mut self.e2e, metrics.e2e_ms),
        ] {
            if let Some(value_ms) = value_ms {
                histogram.add(value_ms / 1e3);
            }
        }
        if self.names == MetricNames::K6 {
            self.trends.add(record);
        }
    }

    /// All that is told, under the names that were asked for.
    pub(super) fn families(&self) -> Vec<Family> {
        match self.names {
            MetricNames::BenchCi => self.own(),
            MetricNames::K6 => super::k6::families(self),
        }
    }

    /// Requests that failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Tokens of prompts and of answers, of completed requests.
    pub(super) fn tokens(&self) -> (u64, u64) {
        (self.prompt_tokens, self.output_tokens)
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.live.as_ref().map_or(0, |live| live.in_flight())
    }

    fn counts(&self) -> Counts {
        let Some(live) = &self.live else { return self.before };
        Counts {
            started: self.before.started + live.started(),
            warm_up_ended: self.before.warm_up_ended + live.warm_up_ended(),
            content_deltas: self.before.content_deltas + live.content_deltas(),
        }
    }

    fn own(&self) -> Vec<Family> {
        let counts = self.counts();
        let mut gaps = self.gaps_before.clone();
        if let Some(live) = &self.live {
            gaps.add_counts(&live.gaps(), seconds(live.gaps_ns()));
        }
        let now = self.live.as_ref().map_or(LivePhase::Preparing, |live| live.phase());
        let phases = PHASES.iter().map(|(phase, name)| Sample {
            suffix: "",
            labels: vec![("phase".to_owned(), (*name).to_owned())],
            value: f64::from(u8::from(*phase == now)),
        });
        let failures = FailureKind::ALL.iter().zip(self.failed).map(|(kind, count)| {
            Sample::total(vec![("kind".to_owned(), kind.name().to_owned())], count as f64)
        });
        let info = Sample { suffix: "_info", labels: self.tags.clone(), value: 1.0 };
        let counter = |name: &str, help, value: u64| {
            Family::counter(format!("bench_ci_{name}"), help, value as f64)
        };
        vec![
            Family::of("bench_ci_run", Kind::Info, "The tags of this run.", vec![info]),
            Family::of(
                "bench_ci_phase",
                Kind::Gauge,
                "1 for the part of the load that it is in, 0 for the others.",
                phases.collect(),
            ),
            counter("requests_started", "Measured requests begun.", counts.started),
            counter("requests_completed", "Measured requests that ended well.", self.completed),
            Family::of(
                "bench_ci_requests_failed",
                Kind::Counter,
                "Measured requests that ended badly, by what failed.",
                failures.collect(),
            ),
            counter(
                "requests_dropped",
                "Measured requests planned and never sent, as far as they are known.",
                self.dropped,
            ),
            counter("requests_cut", "Measured requests that the end of the run cut off.", self.cut),
            counter("requests_cancelled", "Measured requests hung up on purpose.", self.cancelled),
            counter("warm_up_requests", "Warm-up requests that have ended.", counts.warm_up_ended),
            Family::gauge(
                "bench_ci_requests_in_flight",
                "Requests in flight, those of the warm-up too.",
                self.in_flight() as f64,
            ),
            Family::gauge(
                "bench_ci_users",
                "Concurrent users planned; in an open loop those of the warm-up.",
                f64::from(self.users),
            ),
            counter(
                "prompt_tokens",
                "Prompt tokens of completed requests, as the server said them.",
                self.prompt_tokens,
            ),
            counter("cached_tokens", "Of those, taken from its cache.", self.cached_tokens),
            counter(
                "output_tokens",
                "Tokens of completed answers, as the server said them.",
                self.output_tokens,
            ),
            counter(
                "content_deltas",
                "Pieces of content received, those of the warm-up too.",
                counts.content_deltas,
            ),
            counter("received_bytes", "Bytes of responses, heads included.", self.received_bytes),
            self.ttft.family(
                "bench_ci_ttft_seconds",
                "From the write of a request to its first content; completed requests.",
            ),
            gaps.family(
                "bench_ci_itl_seconds",
                "Between two pieces of content of one answer; completed requests.",
            ),
            self.tpot.family(
                "bench_ci_tpot_seconds",
                "Mean time of an output token after the first; one value a completed request.",
            ),
            self.e2e.family(
                "bench_ci_e2e_seconds",
                "From the write of a request to the end of its answer; completed requests.",
            ),
        ]
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::GAP_BOUNDS_NS;
    use crate::stats::fixture::completed;

    fn value(board: &Board, name: &str) -> f64 {
        let families = board.families();
        let found = families.iter().flat_map(Family::series).find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.value
    }

    #[test]
    fn the_two_lists_of_bounds_are_one() {
        let of_live: Vec<f64> = GAP_BOUNDS_NS.iter().map(|bound| seconds(*bound)).collect();
        assert_eq!(of_live, GAP_BOUNDS_S);
        for bounds in [&LONG_BOUNDS_S[..], &GAP_BOUNDS_S] {
            assert!(bounds.is_sorted_by(|left, right| left < right));
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are counts")]
    fn each_outcome_has_a_count_of_its_own_and_only_completed_ones_a_time() {
        let mut board = Board::new(MetricNames::BenchCi, Vec::new());
        board.add(&completed(0));
        board.add(&RequestRecord { phase: Phase::WarmUp, ..completed(1) });
        let failed = Outcome::Failed { failure: FailureKind::Empty, detail: String::new() };
        for outcome in [failed, Outcome::Dropped, Outcome::Cut, Outcome::Cancelled] {
            board.add(&RequestRecord { outcome, ..completed(2) });
        }
        for name in ["requests_completed", "requests_dropped", "requests_cut", "requests_cancelled"]
        {
            assert_eq!(value(&board, &format!("bench_ci_{name}_total")), 1.0, "{name}");
        }
        assert_eq!(board.failed(), 1);
        for name in ["ttft", "e2e", "tpot"] {
            assert_eq!(value(&board, &format!("bench_ci_{name}_seconds_count")), 1.0, "{name}");
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are counts")]
    fn a_second_load_goes_on_where_the_first_ended() {
        let mut board = Board::new(MetricNames::BenchCi, Vec::new());
        assert_eq!(value(&board, "bench_ci_requests_started_total"), 0.0);
        board.begin(Arc::new(LiveCounters::default()), 4);
        board.before.started = 7;
        board.begin(Arc::new(LiveCounters::default()), 2);
        assert_eq!(value(&board, "bench_ci_requests_started_total"), 7.0);
        assert_eq!(value(&board, "bench_ci_users"), 2.0);
    }
}
