//! Asks `/metrics` before, during and after the load, and has the system sampled meanwhile.
//!
//! Main types: [`Scraper`], the running task, and [`ScrapeSummary`], what it found. Every scrape is a
//! line of `server-metrics.jsonl`. It runs on the corridor's runtime, never on the threads that stamp;
//! what the system says is `sampler`'s, on a thread of its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::cancel::Cancel;
use crate::load::now;
use crate::server::ServerGroup;

use super::cost::timed;
use super::history::{ResourceHistory, ResourceSummary};
use super::http::ControlPlane;
use super::metrics::{self, Page, Scrape};
use super::sampler::Sampler;
use super::series::{Series, SeriesSummary, ServerThroughput};
use super::track::Tracks;

/// Every sample of the system, beside the scrapes.
pub const RESOURCES_FILE: &str = "resources.jsonl";

/// llama-server answers `/metrics` between two batches, so a long prompt on a small machine delays
/// the answer by seconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Once a stop was asked for nobody should wait long for the last figures.
const LIMIT_WHEN_CANCELLED: Duration = Duration::from_secs(1);

/// The running task. Dropping it ends it without a last scrape.
#[derive(Debug)]
pub struct Scraper {
    finish: Option<oneshot::Sender<()>>,
    task: JoinHandle<ScrapeSummary>,
    sampler: Option<Sampler>,
    series: Shared,
}

/// What has been found so far; written by the task alone, and never locked across a wait.
type Shared = Arc<Mutex<BTreeMap<String, Series>>>;

fn locked(series: &Shared) -> MutexGuard<'_, BTreeMap<String, Series>> {
    // A series is whole after each of its steps, so a panic elsewhere spoils nothing.
    series.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was found over the run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScrapeSummary {
    /// One entry a metric, by its name with labels. Empty if the server offers none.
    pub series: BTreeMap<String, SeriesSummary>,
    /// Why `series` is empty; `None` if it is not.
    pub absent: Option<String>,
    /// Pages that were read.
    pub pages: u64,
    /// Requests for a page that failed, except where the server offers none.
    pub failures: u64,
    /// The server's process was another one at the end than at the beginning.
    pub restarted: bool,
    /// The server's processes; `None` for a server that we did not start, or without `/proc`.
    pub server: Option<ResourceSummary>,
    /// This process; `None` without `/proc`.
    pub client: Option<ResourceSummary>,
    /// The server's metrics over time.
    pub tracks: Tracks,
    /// Processes, machine and graphics processors over time.
    pub resources: ResourceHistory,
    /// Processor time of all scraping and sampling.
    pub sampling_cpu: Duration,
    /// What the user should know, in words.
    pub warnings: Vec<String>,
}

impl ScrapeSummary {
    /// What llama-server itself says it did.
    #[must_use]
    pub fn throughput(&self) -> ServerThroughput {
        ServerThroughput::of(&self.series)
    }
}

impl Scraper {
    /// Scrapes once, and begins to scrape at every `interval` from then on.
    ///
    /// The first scrape is complete when this returns, so that all that follows is in the counters'
    /// differences. `group`: the server's processes, if they are ours. `sink`: the file for one JSON
    /// line a scrape, made anew; [`RESOURCES_FILE`] is made beside it.
    ///
    /// # Errors
    /// If a file cannot be made.
    pub async fn start(
        control: ControlPlane,
        group: Option<ServerGroup>,
        interval: Duration,
        sink: &Path,
        cancel: Cancel,
    ) -> std::io::Result<Self> {
        let resources = sink.with_file_name(RESOURCES_FILE);
        let sink = File::create(sink)?;
        let sampler = Sampler::begin(group, interval, &resources).await?;
        let mut recorder = Recorder::new(control, sink);
        let series = Arc::clone(&recorder.series);
        recorder.scrape(Phase::Before, LIMIT).await;
        let (finish, finished) = oneshot::channel();
        let task = tokio::spawn(recorder.run(interval, cancel, finished));
        Ok(Self { finish: Some(finish), task, sampler: Some(sampler), series })
    }

    /// What has been found so far, by name with labels.
    #[must_use]
    pub fn so_far(&self) -> BTreeMap<String, SeriesSummary> {
        summaries(&self.series)
    }

    /// Scrapes a last time and tells what was found.
    pub async fn finish(mut self) -> ScrapeSummary {
        drop(self.finish.take());
        // At once: a last page that takes its time is none of the load.
        let resources = match self.sampler.take() {
            Some(sampler) => sampler.finish().await,
            None => ResourceHistory::default(),
        };
        let mut summary = (&mut self.task).await.unwrap_or_else(|error| ScrapeSummary {
            absent: Some("the scraping task ended early".to_owned()),
            warnings: vec![format!("the scraping task ended early: {error}")],
            ..ScrapeSummary::default()
        });
        summary.server = resources.server();
        summary.client = resources.client();
        summary.sampling_cpu += resources.sampling_cpu;
        summary.warnings.extend(resources.warnings.iter().cloned());
        summary.resources = resources;
        summary
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        // Ended already if it was finished.
        self.task.abort();
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Before,
    During,
    After,
}

/// One line of `server-metrics.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since the first scrape began.
    t_s: f64,
    /// Wall time at which the scrape began.
    at: String,
    phase: Phase,
    /// How long the answer took.
    took_ms: f64,
    /// `null` if there was no page; a value that is not finite is `null` too.
    metrics: Option<BTreeMap<&'a str, Option<f64>>>,
    /// Why there was no page.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

struct Recorder {
    control: ControlPlane,
    sink: File,
    began: Instant,
    series: Shared,
    process_start: Option<String>,
    /// Why asking for metrics is useless.
    offers_none: Option<String>,
    last_failure: Option<String>,
    sink_error: Option<String>,
    unreadable_lines: u64,
    summary: ScrapeSummary,
}

impl Recorder {
    fn new(control: ControlPlane, sink: File) -> Self {
        Self {
            control,
            sink,
            began: Instant::now(),
            series: Shared::default(),
            process_start: None,
            offers_none: None,
            last_failure: None,
            sink_error: None,
            unreadable_lines: 0,
            summary: ScrapeSummary::default(),
        }
    }

    async fn run(
        mut self,
        interval: Duration,
        cancel: Cancel,
        mut finished: oneshot::Receiver<()>,
    ) -> ScrapeSummary {
        // An interval of zero would never let anybody else work.
        let interval = interval.max(Duration::from_millis(10));
        let mut ticks = interval_at(self.began + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                // Dropping the sender is the message.
                _ = &mut finished => break,
                _ = cancel.cancelled() => {
                    let _sender_dropped = (&mut finished).await;
                    break;
                }
                _ = ticks.tick() => {}
            }
            tokio::select! {
                biased;
                // The last scrape says more than one that hangs.
                _ = &mut finished => break,
                () = self.scrape(Phase::During, LIMIT) => {}
            }
        }
        let limit = if cancel.reason().is_some() { LIMIT_WHEN_CANCELLED } else { LIMIT };
        self.scrape(Phase::After, limit).await;
        self.finish()
    }

    async fn scrape(&mut self, phase: Phase, limit: Duration) {
        let mut spent = Duration::ZERO;
        timed(self.scrape_once(phase, limit), &mut spent).await;
        self.summary.sampling_cpu += spent;
    }

    async fn scrape_once(&mut self, phase: Phase, limit: Duration) {
        let (t_s, at) = (self.began.elapsed().as_secs_f64(), chrono::Utc::now());
        let asked = Instant::now();
        let scrape = match &self.offers_none {
            Some(reason) => Scrape::Absent { reason: reason.clone() },
            None => metrics::scrape(&self.control, limit).await,
        };
        let (took, answered) = (asked.elapsed(), now());
        let (page, reason) = match &scrape {
            Scrape::Page(page) => {
                self.take(page);
                (Some(page), None)
            }
            Scrape::Absent { reason } => {
                self.offers_none = Some(reason.clone());
                (None, Some(reason.as_str()))
            }
            Scrape::Failed { reason } => {
                self.summary.failures += 1;
                self.last_failure = Some(reason.clone());
                (None, Some(reason.as_str()))
            }
        };
        self.summary.tracks.push(answered, page);
        self.write(&Line {
            t_s,
            at: at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            phase,
            took_ms: took.as_secs_f64() * 1e3,
            metrics: page.map(|page| {
                let finite = |value: f64| value.is_finite().then_some(value);
                page.samples.iter().map(|s| (s.name.as_str(), finite(s.value))).collect()
            }),
            reason,
        });
    }

    fn take(&mut self, page: &Page) {
        self.summary.pages += 1;
        self.unreadable_lines = self.unreadable_lines.max(page.unreadable_lines);
        let mut known = locked(&self.series);
        for sample in &page.samples {
            match known.get_mut(&sample.name) {
                Some(series) => series.push(sample.value),
                None => {
                    if let Some(series) = Series::begin(sample.kind, sample.value) {
                        known.insert(sample.name.clone(), series);
                    }
                }
            }
        }
        drop(known);
        if let Some(started) = &page.process_start {
            let first = self.process_start.get_or_insert_with(|| started.clone());
            self.summary.restarted |= first != started;
        }
    }

    fn write(&mut self, line: &Line<'_>) {
        let mut text = serde_json::to_string(line).expect("a line has only plain values");
        text.push('\n');
        // One write a line, so that an interrupted run leaves whole lines.
        if let Err(error) = self.sink.write_all(text.as_bytes()) {
            self.sink_error.get_or_insert_with(|| error.to_string());
        }
    }

    fn finish(mut self) -> ScrapeSummary {
        let mut summary = std::mem::take(&mut self.summary);
        summary.series = summaries(&self.series);
        if summary.series.is_empty() {
            let reason = self.offers_none.take().or_else(|| self.last_failure.clone());
            summary.absent = Some(reason.unwrap_or_else(|| "the page is empty".to_owned()));
        }
        let resets = summary.series.values().filter(|series| series.resets > 0).count();
        if summary.restarted || resets > 0 {
            summary.restarted = true;
            summary.warnings.push(format!(
                "the server was restarted while it was measured ({resets} counters began again)"
            ));
        }
        if summary.failures > 0 && !summary.series.is_empty() {
            let last = self.last_failure.as_deref().unwrap_or("no reason given");
            let failures = summary.failures;
            summary
                .warnings
                .push(format!("{failures} scrapes of /metrics failed, the last: {last}"));
        }
        if self.unreadable_lines > 0 {
            let lines = self.unreadable_lines;
            summary.warnings.push(format!("{lines} lines of /metrics could not be read"));
        }
        if let Some(error) = self.sink_error {
            summary.warnings.push(format!("server-metrics.jsonl is not complete: {error}"));
        }
        summary
    }
}

fn summaries(series: &Shared) -> BTreeMap<String, SeriesSummary> {
    locked(series).iter().map(|(name, series)| (name.clone(), series.summary())).collect()
}
