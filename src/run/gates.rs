//! Thresholds of a run: looked at while it goes on, judged when it is over.
//!
//! Main types: [`LiveGates`], which may end the load early, and [`GateOutcome`], made by [`judge`]
//! from everything that was found. What holds is decided in `stats::threshold`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::findings::Findings;
use crate::artifact::{self, Note, Unknowns};
use crate::load::{self, LiveCounters, RequestRecord};
use crate::plan::subject::CHECK_INTERVAL;
use crate::plan::threshold::Crossing;
use crate::plan::{RunPlan, Target, Threshold};
use crate::scrape::{Scraper, SeriesSummary};
use crate::stats::threshold::{Board, End, Judged, Moment, ServerReading};
use crate::stats::{HeaderSplit, Known, LoadFigures, ServerKind, Summary, Unknown};

/// A threshold that ended the load.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Abort {
    /// Its position among the plan's thresholds.
    position: usize,
    /// What crossed it.
    observed: Known<f64>,
    /// How long the load had gone on.
    elapsed: Duration,
}

/// The thresholds that may end the load, with their running values. Others wait for the end, and so
/// cost nothing while requests are in flight.
#[derive(Debug, Clone)]
pub(super) struct LiveGates {
    board: Arc<Mutex<Board>>,
    /// Where each threshold of the board stands in the plan.
    positions: Vec<usize>,
}

impl LiveGates {
    /// Those of a plan.
    pub(super) fn of(plan: &RunPlan) -> Self {
        let (positions, aborting): (Vec<usize>, Vec<Threshold>) = plan
            .workload
            .thresholds
            .iter()
            .enumerate()
            .filter(|(_, threshold)| threshold.abort)
            .map(|(position, threshold)| (position, threshold.clone()))
            .unzip();
        let kind = match plan.target {
            Target::External { .. } => ServerKind::External,
            Target::Start(_) => ServerKind::LlamaServer,
        };
        // Nobody has seen an answer yet; what headers mark is judged by the kind of server alone.
        let split = HeaderSplit::detect(&[], kind);
        let board = Board::new(&aborting, &plan.workload.objectives, split);
        Self { board: Arc::new(Mutex::new(board)), positions }
    }

    /// Takes a finished request in. Called on the thread that writes records, never on the load's:
    /// a check that takes long must not hold a request up.
    pub(super) fn add(&self, record: &RequestRecord) {
        if !self.positions.is_empty() {
            // A panic elsewhere leaves the board as it was before that record.
            self.board.lock().unwrap_or_else(PoisonError::into_inner).add(record);
        }
    }

    /// Completes when a threshold is crossed that ends the load; it may never.
    pub(super) async fn until_crossed(&self, live: &LiveCounters, scraper: &Scraper) -> Abort {
        if self.positions.is_empty() {
            return std::future::pending().await;
        }
        let begun = load::now();
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            let server = readings(&scraper.so_far());
            let now = load::now();
            let (elapsed, measured) = (now.since(begun), live.measured_for(now));
            let moment = Moment { elapsed, measured, server: &server, end: None };
            if let Some(abort) = self.check(&moment) {
                return abort;
            }
        }
    }

    fn check(&self, moment: &Moment<'_>) -> Option<Abort> {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = board.judge(moment);
        let crossed = board.aborting(&answers, moment.elapsed)?;
        let answer = answers.into_iter().nth(crossed).flatten();
        let observed = answer.expect("only a judged threshold ends a load").observed;
        Some(Abort { position: self.positions[crossed], observed, elapsed: moment.elapsed })
    }
}

/// What became of the thresholds.
#[derive(Debug, Default)]
pub(super) struct GateOutcome {
    /// For the report, in the order of the plan; those that only warn are not among them.
    pub(super) thresholds: Vec<artifact::Threshold>,
    /// Those that only warn and were crossed.
    pub(super) warnings: Vec<Note>,
    /// Why the load ended early, in words.
    pub(super) cause: Option<String>,
    /// Whether one was crossed that fails the run.
    pub(super) crossed: bool,
}

/// Judges every threshold over all that was found.
pub(super) fn judge(
    plan: &RunPlan,
    findings: &Findings,
    summary: &Summary,
    load: &LoadFigures,
) -> GateOutcome {
    let thresholds = &plan.workload.thresholds;
    let mut outcome = GateOutcome::default();
    let measured = findings.load.is_some();
    let answers = if let Some(played) = &findings.load {
        let mut board = Board::new(thresholds, &plan.workload.objectives, summary.split.clone());
        findings.records.iter().for_each(|record| board.add(record));
        let series = findings.scrape.as_ref().map(|scrape| readings(&scrape.series));
        board.judge(&Moment {
            elapsed: played.ended.since(played.started),
            measured: load.window_end.since(load.window_start),
            server: &series.unwrap_or_default(),
            end: Some(End { rates: &summary.rates.whole, itl_ns: &load.itl_ns, itl: &load.itl }),
        })
    } else {
        vec![None; thresholds.len()]
    };
    for (position, (threshold, answer)) in thresholds.iter().zip(answers).enumerate() {
        let unmeasured =
            || Judged { ok: false, observed: Err(Unknown::because("nothing was measured")) };
        let mut answer = answer.unwrap_or_else(unmeasured);
        let aborted = findings.abort.as_ref().filter(|abort| abort.position == position);
        if let Some(abort) = aborted {
            // What came in afterwards does not undo the decision.
            answer = Judged { ok: false, observed: abort.observed.clone() };
            outcome.cause = Some(format!(
                "threshold \"{threshold}\" was crossed ({}) and ended the load after {:.1} s",
                in_words(&answer.observed),
                abort.elapsed.as_secs_f64()
            ));
        }
        if threshold.crossing == Crossing::Warns && aborted.is_none() {
            if !answer.ok && measured {
                let message = format!(
                    "threshold \"{threshold}\" was crossed: {}; it only warns",
                    in_words(&answer.observed)
                );
                outcome.warnings.push(Note { code: "threshold".to_owned(), message });
            }
            continue;
        }
        outcome.crossed |= !answer.ok;
        let mut unknown = Unknowns::none();
        outcome.thresholds.push(artifact::Threshold {
            expression: threshold.to_string(),
            ok: answer.ok,
            observed: unknown.number("observed", answer.observed),
            aborted: aborted.is_some(),
            unknown,
        });
    }
    outcome
}

fn in_words(observed: &Known<f64>) -> String {
    match observed {
        Ok(value) => format!("observed {}", (value * 1e4).round() / 1e4),
        Err(reason) => reason.to_string(),
    }
}

fn readings(series: &BTreeMap<String, SeriesSummary>) -> BTreeMap<String, ServerReading> {
    let reading = |series: &SeriesSummary| ServerReading {
        last: series.last,
        min: series.min,
        mean: series.mean,
        max: series.max,
        delta: series.delta,
    };
    series.iter().map(|(name, series)| (name.clone(), reading(series))).collect()
}
