//! One server of a comparison, from its start to its stop, and the turns that it is loaded for.
//!
//! Main types: [`Stay`], a server that is up; [`Turn`], what came of one turn. Whose turn it is, is
//! decided elsewhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::course::Course;
use super::metrics;
use super::sides::SidePlan;
use crate::cancel::{self, Cancel, StopReason};
use crate::error::Error;
use crate::event::Events;
use crate::load::{self, HttpTarget, LoadPlan, Outcome, Phase, PlannedBody, RequestRecord};
use crate::plan::Target;
use crate::run::conclude::figures_of;
use crate::run::findings::Findings;
use crate::run::host::Host;
use crate::scrape::ServerIdentity;
use crate::server::Ending;
use crate::server::running::CpuClock;
use crate::stats::metric::E2E_MS;
use crate::stats::{self, ServerCounters, TokenCounts};
use crate::verdict::Work;

/// How much a wave may be longer or shorter than the one before, for the server to count as settled.
const SETTLED_SLOPE: f64 = 0.02;

/// How long the other server may take to fall silent before a turn.
const SILENCE_LIMIT: Duration = Duration::from_millis(50);

/// Of a silent server's processors, at most this share of time is used.
const SILENT_SHARE: f64 = 0.1;

/// Past the deadline a server has so long to stop by itself.
const LAST_PATIENCE: Duration = Duration::from_millis(800);

/// A request that hangs must leave time to say so: it has half of the time that is left, or this.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

/// A request that takes less than so many times as long as the longest wave is slow, not hung, however
/// little time is left. Prompts differ, and so do machines from one moment to the next.
const NOT_YET_HUNG: u32 = 3;

/// When everything must end.
#[derive(Debug, Clone)]
pub(super) struct Until {
    /// No turn lasts longer.
    pub(super) deadline: Instant,
    /// Ctrl-C.
    pub(super) cancel: Cancel,
}

/// A server that is up.
pub(super) struct Stay {
    host: Host,
    /// What it said of itself when it was up.
    pub(super) identity: ServerIdentity,
    target: HttpTarget,
    clock: Option<CpuClock>,
    /// Everything that was asked of it.
    pub(super) records: Vec<RequestRecord>,
    /// What the measured turns amounted to.
    pub(super) work: Work,
    /// One example of each kind of failure.
    pub(super) failures: BTreeMap<String, String>,
    /// Waves of warm-up, whether they settled, and failed requests of all that was not measured.
    pub(super) warm_up: (usize, bool, u64),
    /// Of the unmeasured turns that came whole, whatever they were for: one request a user.
    longest_wave: Duration,
    /// Measured turns.
    pub(super) turns: usize,
    /// Processor time at the begin of the first measured turn.
    cpu_at_begin: Option<Duration>,
}

/// What came of one turn.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// By public name.
    pub(super) values: BTreeMap<&'static str, f64>,
    /// From the first write to the last end.
    pub(super) lasted: Duration,
    /// With its beginning, its end and the sums over it.
    pub(super) took: Duration,
    /// What it amounted to.
    pub(super) work: Work,
    /// It was cut short by the deadline or by Ctrl-C.
    pub(super) cut: bool,
    /// How late our own client sent its requests; mean, milliseconds.
    pub(super) late_ms: f64,
    /// How long its answers took; mean, milliseconds. 0 where there was none.
    pub(super) answered_ms: f64,
}

impl Stay {
    /// Starts it. Its log lies in `folder`.
    ///
    /// # Errors
    /// If there is no healthy server; nothing of it is left running then.
    pub(super) async fn begin(
        side: &SidePlan,
        findings: &mut Findings,
        folder: &Path,
        events: &Events,
        until: &Until,
    ) -> Result<Self, Error> {
        let mut plan = side.plan.clone();
        if let Target::Start(spec) = &mut plan.target {
            let left = until.deadline.saturating_duration_since(Instant::now());
            spec.start_timeout = spec.start_timeout.min(left.max(Duration::from_secs(1)));
        }
        let log = folder.join("server.log");
        let host = Host::ready(&plan, &log, findings, events, &until.cancel).await?;
        let target = host.target(&plan)?;
        let clock = host.cpu_clock();
        let identity = ServerIdentity::ask(host.control()).await;
        Ok(Self {
            host,
            identity,
            target,
            clock,
            records: Vec::new(),
            work: Work { prompt_tokens: Some(0), output_tokens: Some(0), ..Work::default() },
            failures: BTreeMap::new(),
            warm_up: (0, false, 0),
            longest_wave: Duration::ZERO,
            turns: 0,
            cpu_at_begin: None,
        })
    }

    /// For what is asked besides the load.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Whether it has not been seen to end.
    pub(super) fn is_alive(&self) -> bool {
        self.host.is_alive()
    }

    /// Waves until three in a row take equally long.
    pub(super) async fn warm_up(&mut self, course: &Course, until: &Until) -> Result<(), Error> {
        let mut lasted = Vec::new();
        while lasted.len() < course.warm_up_waves && !is_settled(&lasted) {
            let turn = self.play(course, course.warm_up_wave(), Phase::WarmUp, until).await?;
            if turn.cut || !self.is_alive() {
                break;
            }
            lasted.push(turn.lasted.as_secs_f64());
        }
        self.warm_up.0 += lasted.len();
        self.warm_up.1 = is_settled(&lasted);
        Ok(())
    }

    /// One measured turn.
    pub(super) async fn turn(
        &mut self,
        course: &Course,
        bodies: Vec<PlannedBody>,
        until: &Until,
    ) -> Result<Turn, Error> {
        if self.cpu_at_begin.is_none() {
            self.cpu_at_begin = self.cpu();
        }
        self.turns += 1;
        let turn = self.play(course, bodies, Phase::Measured, until).await?;
        self.work.requests += turn.work.requests;
        self.work.failed += turn.work.failed;
        Ok(turn)
    }

    /// One turn of load; `phase` is what its records are marked with.
    pub(super) async fn play(
        &mut self,
        course: &Course,
        bodies: Vec<PlannedBody>,
        phase: Phase,
        until: &Until,
    ) -> Result<Turn, Error> {
        let begun_at = Instant::now();
        let plan = self.load_plan(course, bodies, until);
        let (canceller, load_cancel) = cancel::pair();
        let gathered = Arc::new(Mutex::new(Vec::with_capacity(plan.bodies.len())));
        let sink = Arc::clone(&gathered);
        let handle = load::start(
            plan,
            move |record| sink.lock().unwrap_or_else(PoisonError::into_inner).push(record),
            load_cancel,
        )?;
        let mut playing = std::pin::pin!(handle.join());
        let deadline = tokio::time::Instant::from_std(until.deadline);
        let mut cut = false;
        let outcome = loop {
            tokio::select! {
                outcome = &mut playing => break outcome?,
                _reason = until.cancel.cancelled(), if !cut => {
                    cut = true;
                    canceller.stop(StopReason::Terminated);
                }
                () = tokio::time::sleep_until(deadline), if !cut => {
                    cut = true;
                    canceller.stop(StopReason::Terminated);
                }
            }
        };
        let mut records =
            std::mem::take(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner));
        records.sort_by_key(|record: &RequestRecord| record.index);
        let figures =
            figures_of(&outcome, course.server_kind, Duration::ZERO, ServerCounters::default());
        let summary = stats::summarise(&records, &figures);
        let work = work_of(&records);
        for record in &records {
            if let Outcome::Failed { failure, detail } = &record.outcome {
                let kind = failure.name().to_owned();
                self.failures.entry(kind).or_insert_with(|| detail.clone());
            }
        }
        let begun = records.iter().filter_map(|record| record.written).min();
        let lasted = begun.map_or(Duration::ZERO, |begun| outcome.ended.since(begun));
        if phase == Phase::WarmUp {
            self.warm_up.2 += work.failed;
            if !cut && work.failed == 0 {
                self.longest_wave = self.longest_wave.max(lasted);
            }
        }
        let offset = self.records.len() as u64;
        self.records.extend(records.into_iter().map(|mut record| {
            record.index += offset;
            record.phase = phase;
            record
        }));
        let values = metrics::of_turn(&summary);
        let late_ms = figures.dispatch_lateness_mean_ns.unwrap_or(0.0) / 1e6;
        let answered_ms = summary.distribution(&E2E_MS).and_then(|found| found.mean.clone().ok());
        Ok(Turn {
            values,
            lasted,
            took: begun_at.elapsed(),
            work,
            cut,
            late_ms,
            answered_ms: answered_ms.unwrap_or(0.0),
        })
    }

    fn load_plan(&self, course: &Course, bodies: Vec<PlannedBody>, until: &Until) -> LoadPlan {
        let left = until.deadline.saturating_duration_since(Instant::now());
        let mut timeouts = course.timeouts;
        let longest = patience(left, self.longest_wave);
        for limit in [&mut timeouts.first, &mut timeouts.idle, &mut timeouts.total] {
            *limit = (*limit).min(longest);
        }
        course.load_plan(self.target.clone(), bodies, timeouts)
    }

    /// Processor time of all its processes so far; `None` where the system does not say.
    pub(super) fn cpu(&self) -> Option<Duration> {
        self.clock.as_ref()?.now()
    }

    /// Processor time since the first measured turn.
    pub(super) fn cpu_used(&self) -> Option<Duration> {
        self.cpu()?.checked_sub(self.cpu_at_begin?)
    }

    /// Waits until it is silent, for a moment: its threads spin for a while after their last work.
    /// Says whether it is; `true` where that cannot be seen.
    pub(super) async fn falls_silent(&self) -> bool {
        const LOOK: Duration = Duration::from_millis(1);
        let begun = Instant::now();
        loop {
            let (Some(before), looked) = (self.cpu(), Instant::now()) else { return true };
            tokio::time::sleep(LOOK).await;
            let Some(after) = self.cpu() else { return true };
            let share = after.saturating_sub(before).as_secs_f64()
                / looked.elapsed().as_secs_f64().max(f64::EPSILON);
            if share < SILENT_SHARE {
                return true;
            }
            if begun.elapsed() > SILENCE_LIMIT {
                return false;
            }
        }
    }

    /// Stops it; says how it died if it had died by itself.
    pub(super) async fn end(self, warnings: &mut Vec<String>, until: &Until) -> Option<String> {
        let death = self.host.death_in_words();
        let quiet = Events::default();
        let (hurrier, cancel) = cancel::pair();
        let patience = until.deadline + LAST_PATIENCE;
        let mut stopping = std::pin::pin!(self.host.stop(warnings, &quiet, &cancel));
        let mut patient = true;
        let exit = loop {
            tokio::select! {
                exit = &mut stopping => break exit?,
                () = until.cancel.hurried(), if patient => patient = false,
                () = tokio::time::sleep_until(patience.into()), if patient => patient = false,
            }
            hurrier.hurry();
        };
        (exit.how == Ending::Died).then(|| death.unwrap_or_else(|| exit.words()))
    }
}

/// How long a request may take with so much time left, where one request a user took `wave` at most. What is
/// longer has failed; what the deadline cuts has not.
fn patience(left: Duration, wave: Duration) -> Duration {
    (left / 2).max(LEAST_PATIENCE).max(NOT_YET_HUNG * wave)
}

/// The last three waves took equally long: the slope of a straight line through them is within the
/// limit, per wave, of their mean.
fn is_settled(lasted: &[f64]) -> bool {
    let [.., first, middle, last] = lasted else { return false };
    let mean = (first + middle + last) / 3.0;
    ((last - first) / 2.0).abs() <= SETTLED_SLOPE * mean
}

/// What the server counted for completed requests; `None` where one came without a count.
fn work_of(records: &[RequestRecord]) -> Work {
    let mut work = Work { prompt_tokens: Some(0), output_tokens: Some(0), ..Work::default() };
    for record in records {
        match record.outcome {
            Outcome::Completed => {
                work.requests += 1;
                let counts = TokenCounts::of(record);
                let add = |sum: Option<u64>, count: Option<u64>| Some(sum?.saturating_add(count?));
                work.prompt_tokens = add(work.prompt_tokens, counts.and_then(|all| all.prompt));
                work.output_tokens = add(work.output_tokens, counts.map(|all| all.completion));
            }
            Outcome::Failed { .. } => {
                work.requests += 1;
                work.failed += 1;
            }
            Outcome::Cut | Outcome::Dropped | Outcome::Cancelled => {}
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{is_settled, patience};

    #[test]
    fn a_healthy_request_is_not_hung_up_because_the_budget_ends() {
        let s = Duration::from_secs;
        assert_eq!(patience(s(60), s(1)), s(30));
        assert_eq!(patience(s(1), Duration::ZERO), s(2));
        // Answers of 8 s: one that takes 10 s is slow. The deadline cuts it, and it has not failed.
        assert_eq!(patience(s(9), s(8)), s(24));
    }

    #[test]
    fn three_waves_of_equal_length_are_settled() {
        assert!(!is_settled(&[1.0, 1.0]));
        assert!(is_settled(&[9.0, 1.0, 1.01, 1.03]));
        assert!(!is_settled(&[1.0, 1.0, 1.05]));
    }
}
