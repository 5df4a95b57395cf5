//! What happened, for whoever watches: the terminal, plain lines in CI, the JSON log, tests.
//!
//! Main types: [`Event`], and [`Events`], the sender that rooms are handed. Rooms never print;
//! they say what happened here and the listeners decide what a person sees.

use std::sync::Arc;

use serde::Serialize;

use crate::load::{LiveCounters, RequestRecord};

/// Something that happened during a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A new stage of the corridor began.
    StageStarted {
        /// Which stage.
        stage: Stage,
        /// What it works on, for a person: a file name, a command.
        what: String,
    },
    /// The stage ended well.
    StageDone {
        /// Which stage.
        stage: Stage,
        /// What came of it, for a person.
        outcome: String,
        /// How long it took, in seconds.
        elapsed_s: f64,
    },
    /// The next cell of a suite begins.
    CellStarted {
        /// From 1.
        number: u64,
        /// How many there are; `None` in a search, which does not know yet.
        cells: Option<u64>,
        /// Its name.
        name: String,
    },
    /// Bytes of a download or of a file being made have arrived.
    Transfer {
        /// What it is for: [`Stage::Model`] or [`Stage::Dataset`].
        stage: Stage,
        /// The file's name.
        file: String,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all; `None` while unknown.
        total_bytes: Option<u64>,
    },
    /// So many prompts have been held against the context of a slot; sent where that takes long.
    Fitting {
        /// What it is part of: [`Stage::Dataset`].
        stage: Stage,
        /// Prompts so far.
        prompts: u64,
        /// Prompts in all.
        total_prompts: u64,
    },
    /// How the load stands; sent about once a second, from the warm-up on.
    LoadProgress(LoadProgress),
    /// How a comparison of two servers stands; sent after each pair and before long waits.
    Comparison(ComparisonProgress),
    /// Our own metrics can be had.
    MetricsServed {
        /// Where: `http://127.0.0.1:9464/metrics`.
        url: String,
    },
    /// Something the user should know; also stored in the report.
    Warning {
        /// The sentence.
        message: String,
    },
    /// A line that the server wrote (shown with `-v`).
    ServerLog {
        /// Without its line end.
        line: String,
    },
}

/// The stages of the corridor, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Building a server from its commit.
    Build,
    /// One comparison of a search for a commit.
    Bisect,
    /// Measuring this client against the simulator, and the machine's peaks.
    Calibrate,
    /// Finding, downloading or making the model.
    Model,
    /// Finding, downloading or making the prompts.
    Dataset,
    /// Starting the server and waiting until it is healthy.
    Server,
    /// Unmeasured requests.
    WarmUp,
    /// The measured load.
    Load,
    /// Stopping the server.
    Stop,
    /// Writing the reports.
    Report,
}

impl Stage {
    /// A word for a person.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Build => "build",
            Stage::Bisect => "bisect",
            Stage::Calibrate => "calibrate",
            Stage::Model => "model",
            Stage::Dataset => "dataset",
            Stage::Server => "server",
            Stage::WarmUp => "warm-up",
            Stage::Load => "load",
            Stage::Stop => "stop",
            Stage::Report => "report",
        }
    }
}

/// A snapshot of the load while it runs. Its figures are for the eye: those of the report are made of
/// all records, when the load is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct LoadProgress {
    /// What is going on.
    pub step: LoadStep,
    /// Which of several measured or unmeasured phases this is; `None` where there is one, or where
    /// their ends are counted in requests.
    pub phase: Option<PhaseOf>,
    /// Seconds since the warm-up or the measured load began.
    pub elapsed_s: f64,
    /// Seconds left at most; `None` when only a number of requests bounds the run.
    pub remaining_s: Option<f64>,
    /// Measured requests that ended well; in the warm-up, requests that ended.
    pub completed: u64,
    /// Measured requests that failed.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests planned in all; `None` when only time bounds the run.
    pub planned: Option<u64>,
    /// Measured requests that ended well per second over the last interval.
    pub requests_per_second: f64,
    /// Content deltas per second over the last interval.
    pub deltas_per_second: f64,
    /// Of the measured requests that ended well so far; `None` before the first.
    pub latency: Option<LiveLatency>,
    /// What the server last said of itself; `None` where it has said nothing.
    pub server: Option<LiveServer>,
}

/// What the load is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadStep {
    /// Unmeasured requests.
    WarmUp,
    /// Measured requests.
    #[default]
    Measuring,
    /// No request starts any more; those in flight may still end.
    Draining,
}

/// A phase among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PhaseOf {
    /// From 1.
    pub number: u64,
    /// How many there are.
    pub phases: u64,
}

/// Latencies so far, known to about one per cent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LiveLatency {
    /// Time to the first content; `None` for answers that have none, such as embeddings.
    pub ttft_ms: Option<LiveQuantiles>,
    /// Mean time between the tokens of an answer; `None` where no answer had two.
    pub tpot_ms: Option<LiveQuantiles>,
    /// From the first byte sent to the end of the answer.
    pub e2e_ms: LiveQuantiles,
}

/// Two quantiles of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LiveQuantiles {
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
}

/// The server's own gauges at the last scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LiveServer {
    /// Slots at work.
    pub slots_busy: u64,
    /// Slots there are; `None` where the server does not say.
    pub slots: Option<u64>,
    /// Requests that wait for a slot; `None` where the server does not say.
    pub deferred: Option<u64>,
}

/// A snapshot of a comparison of two servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonProgress {
    /// What is done now, for a person.
    pub doing: String,
    /// Pairs that count so far.
    pub pairs: u64,
    /// Pairs at the last look; `None` until that is known.
    pub pairs_planned: Option<u64>,
    /// Seconds until the budget is spent.
    pub remaining_s: f64,
    /// The gated metrics as they stand; empty before the first pair.
    pub metrics: Vec<Standing>,
}

/// One metric of a comparison so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// Its public name.
    pub metric: String,
    /// Change so far, per cent of base.
    pub change_pct: f64,
    /// Its interval, lower end first.
    pub ci_pct: [f64; 2],
}

/// Receives every event, in the order in which they were sent.
pub trait Listener: Send + Sync {
    /// Called on the thread that sent the event; must return quickly.
    fn on_event(&self, event: &Event);

    /// A load begins, of so many users; its counts may be read at any time from now on.
    fn on_load(&self, _live: &Arc<LiveCounters>, _users: u32) {}

    /// A request has ended. Called on the thread that writes records, never on the load's; must
    /// return quickly.
    fn on_record(&self, _record: &RequestRecord) {}
}

/// The sending half that rooms are handed; cheap to clone, never blocks on a listener's purpose.
#[derive(Clone, Default)]
pub struct Events {
    listeners: Arc<Vec<Arc<dyn Listener>>>,
}

impl Events {
    /// Events that go to these listeners, in this order.
    #[must_use]
    pub fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { listeners: Arc::new(listeners.into_iter().map(Arc::from).collect()) }
    }

    /// The same, with one more listener behind the others.
    #[must_use]
    pub fn with(&self, listener: Arc<dyn Listener>) -> Self {
        let listeners = self.listeners.iter().cloned().chain([listener]).collect();
        Self { listeners: Arc::new(listeners) }
    }

    /// Tells every listener.
    pub fn send(&self, event: &Event) {
        for listener in self.listeners.iter() {
            listener.on_event(event);
        }
    }

    /// Tells every listener that a load begins.
    pub fn load(&self, live: &Arc<LiveCounters>, users: u32) {
        for listener in self.listeners.iter() {
            listener.on_load(live, users);
        }
    }

    /// Tells every listener of a request that has ended.
    pub fn record(&self, record: &RequestRecord) {
        for listener in self.listeners.iter() {
            listener.on_record(record);
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Events").field("listeners", &self.listeners.len()).finish()
    }
}
