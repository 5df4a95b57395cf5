//! The pairs of a session: which comes next, which is repeated, when it is enough.
//!
//! Main function: [`play`]. Pairs are played by `pair`, judged by `verdict`; here is the order of
//! things, the budget, and what survives a crash.

use std::path::Path;
use std::time::{Duration, Instant};

use super::course::{Ahead, AnswerLength, Cost, resized};
use super::pair::{Arena, Broken, Number, SideState};
use super::state::{PairRecord, State};
use super::turn::Until;
use crate::artifact::Sitting;
use crate::dataset::PromptSet;
use crate::error::Error;
use crate::event::{ComparisonProgress, Event, Events, Standing};
use crate::stats::ServerKind;
use crate::verdict::contamination::{BlockMachine, contaminated, repeats_allowed};
use crate::verdict::design::pair_order;
use crate::verdict::looks::Looks;
use crate::verdict::{
    Evidence, Judgement, MetricPairs, PairValue, Role, Rule, Session, Settled, Side, Stage, Work,
    judge,
};

/// Blocks from which on there is telling what is usual for the machine.
const FEWEST_FOR_USUAL: usize = 5;

/// Of the time that is left when a session is sized, so much is planned with.
const SIZED_SHARE: f64 = 0.88;

/// Once pairs have shown what one takes, so much of one is kept back: the last one still fits where one
/// before it took longer than was thought.
const KEPT_BACK: f64 = 0.5;

/// Of the pairs that are still to be played, so many may have to be played again.
const REPEATED: f64 = 1.0 / 8.0;

/// A pair is not begun unless so many times the longest of the last ones fits into what is left.
const FORESIGHT: f64 = 1.1;

/// Everything that a session is played with.
pub(super) struct Table<'a> {
    pub(super) sides: &'a mut [SideState; 2],
    pub(super) prompts: &'a PromptSet,
    pub(super) out_dir: &'a Path,
    pub(super) events: &'a Events,
    pub(super) until: &'a Until,
    pub(super) answer: AnswerLength,
    pub(super) server_kind: ServerKind,
    pub(super) rules: &'a [Rule],
    pub(super) looks: &'a Looks,
    pub(super) failures_allowed: u64,
    /// Restart mode was asked for.
    pub(super) restart: bool,
    /// Both sides are the same.
    pub(super) aa: bool,
    /// When this call began, on both clocks.
    pub(super) begun: Instant,
    pub(super) begun_at: String,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// All pairs were played.
    Complete,
    /// The answer was clear at a planned look, or never can be.
    Settled(Settled),
    /// Another pair does not fit.
    Budget,
    /// Ctrl-C.
    Interrupted,
}

impl Ending {
    /// As in `ab.json`; `None` where it came to its end.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Ending::Complete => None,
            Ending::Settled(settled) => Some(settled.name()),
            Ending::Budget => Some("budget"),
            Ending::Interrupted => Some("interrupted"),
        }
    }
}

/// Plays what is missing. The state is on disk after each pair.
///
/// # Errors
/// What keeps it from going on; what was played until then is in the state.
pub(super) async fn play(table: &mut Table<'_>, state: &mut State) -> Result<Ending, Error> {
    let planned = table.looks.most_pairs();
    let order = pair_order(state.seed, planned);
    let mut restart = state.sizing.as_ref().map_or(table.restart, |sizing| sizing.restart);
    let mut restart_reason = None;
    let most_pairs = planned + (planned as f64 * REPEATED).ceil() as usize;
    let first_look = table.looks.all().first().map_or(planned, |look| look.pairs);
    state.sittings.push(Sitting { started_at: table.begun_at.clone(), duration_s: 0.0 });
    state.save(table.out_dir)?;
    // A session that was interrupted after its last pair has its answer.
    if let Some(settled) = look(table, state) {
        return Ok(Ending::Settled(settled));
    }
    loop {
        let Some((pair, attempt)) = next(&state.pairs, planned) else {
            return Ok(Ending::Complete);
        };
        if table.until.cancel.reason().is_some() {
            return Ok(Ending::Interrupted);
        }
        if !fits(&state.pairs, table.until) {
            return Ok(Ending::Budget);
        }
        let number = Number { pair, attempt, order: order[pair] };
        tell(table, state, format!("pair {}, {} first", pair + 1, number.sides()[0]));
        let left = table.until.deadline.saturating_duration_since(Instant::now());
        let mut arena = Arena {
            sides: &mut *table.sides,
            prompts: table.prompts,
            out_dir: table.out_dir,
            events: table.events,
            until: table.until,
            seed: state.seed,
            answer: table.answer,
            // The rest is for what takes longer than the first waves did.
            time: left.mul_f64(SIZED_SHARE),
            most_pairs,
            first_look,
            server_kind: table.server_kind,
            warnings: &mut state.warnings,
            sized_in: Duration::ZERO,
        };
        let mut sizing = state.sizing.take();
        let played = arena.play(&mut sizing, number, restart).await;
        state.sizing = sizing;
        if let Some(sizing) = &mut state.sizing {
            sizing.restart_reason = sizing.restart_reason.take().or_else(|| restart_reason.take());
        }
        dedup(&mut state.warnings);
        match played {
            Ok(record) => {
                state.pairs.push(record);
                mark_spoilt(&mut state.pairs, !restart);
                resize(table, state, planned, first_look);
            }
            Err(Broken::Cut) => {
                let asked = table.until.cancel.reason().is_some();
                return Ok(if asked { Ending::Interrupted } else { Ending::Budget });
            }
            Err(Broken::DoesNotFit(why)) => {
                let message =
                    format!("one server at a time, which is several times coarser: {why}");
                table.events.send(&Event::Warning { message: message.clone() });
                state.warnings.push(message);
                restart = true;
                restart_reason = Some(why);
                state.sizing = None;
                continue;
            }
            Err(Broken::Failed(error)) => return Err(error),
        }
        if let Some(sitting) = state.sittings.last_mut() {
            sitting.duration_s = table.begun.elapsed().as_secs_f64();
        }
        if state.model_sha256.is_none() {
            let model = table.sides[0].findings.model.as_ref();
            state.model_sha256 = model.and_then(|model| model.sha256.clone());
        }
        state.save(table.out_dir)?;
        if let Some(settled) = look(table, state) {
            return Ok(Ending::Settled(settled));
        }
    }
}

/// The pair to be played now: the first that has no record that counts, unless it was spoilt and no more
/// may be repeated.
fn next(played: &[PairRecord], planned: usize) -> Option<(usize, u32)> {
    let repeats = played.iter().filter(|record| record.attempt > 0).count();
    (0..planned).find_map(|pair| {
        let of_pair = || played.iter().filter(|record| record.pair == pair);
        if of_pair().any(PairRecord::counts) {
            return None;
        }
        match of_pair().next_back() {
            None => Some((pair, 0)),
            Some(last) if repeats < repeats_allowed(planned) => Some((pair, last.attempt + 1)),
            Some(_) => None,
        }
    })
}

/// Whether another pair fits into the time that is left.
fn fits(played: &[PairRecord], until: &Until) -> bool {
    let left = until.deadline.saturating_duration_since(Instant::now());
    let longest = played.iter().rev().take(3).map(|record| record.took_s).fold(0.0, f64::max);
    left > Duration::ZERO && left.as_secs_f64() >= FORESIGHT * longest
}

/// Sizes the next pair by all that were played to their end.
fn resize(table: &Table<'_>, state: &mut State, planned: usize, first_look: usize) {
    let Some(sizing) = &mut state.sizing else { return };
    let played = state.pairs.iter().filter(|record| record.complete);
    let costs: Vec<Cost> = played.map(|record| record.cost(sizing.restart)).collect();
    if costs.is_empty() {
        return;
    }
    let counting = state.pairs.iter().filter(|record| record.counts()).count();
    let left = table.until.deadline.saturating_duration_since(Instant::now());
    let one_s = costs.iter().map(|cost| cost.took_s).sum::<f64>() / costs.len() as f64;
    let ahead = Ahead {
        time: left.saturating_sub(Duration::from_secs_f64(KEPT_BACK * one_s)),
        pairs: (1.0 + REPEATED) * planned.saturating_sub(counting) as f64,
        first_look: (first_look + 1).saturating_sub(counting).max(1),
    };
    *sizing = resized(sizing, &costs, ahead);
}

/// Each pair is held against the rule once, as soon as it is known what is usual: a rule that changed
/// its mind would let a look be taken twice.
fn mark_spoilt(pairs: &mut [PairRecord], interleaved: bool) {
    let complete: Vec<usize> = (0..pairs.len()).filter(|place| pairs[*place].complete).collect();
    let machines: Vec<BlockMachine> =
        complete.iter().map(|place| pairs[*place].machine()).collect();
    let judged = contaminated(&machines, interleaved);
    let first = complete.len() <= FEWEST_FOR_USUAL;
    for (position, (place, found)) in complete.iter().zip(judged).enumerate() {
        let newest = position + 1 == complete.len();
        if newest || (first && complete.len() == FEWEST_FOR_USUAL) {
            let reason = found.map(|found| found.to_string());
            if let Some(reason) = reason.filter(|_| pairs[*place].spoilt.is_none()) {
                pairs[*place].spoilt = Some(reason);
            }
        }
    }
    for record in pairs {
        let reason = match (&record.spoilt, record.complete) {
            (Some(reason), _) => reason.clone(),
            (None, false) => "it broke off".to_owned(),
            (None, true) => continue,
        };
        for trial in &mut record.trials {
            trial.valid = false;
            trial.unknown.forget("reason");
            trial.reason = Some(reason.clone());
        }
    }
}

/// Judges what there is; says whether that ends the session.
fn look(table: &Table<'_>, state: &State) -> Option<Settled> {
    if state.pairs.is_empty() {
        return None;
    }
    let judged = judgement(state, table.rules, table.looks, table.failures_allowed, Stage::Interim);
    // That a server is no slower than itself is known; how much this machine can resolve is the question.
    judged.settled().filter(|settled| !(table.aa && *settled == Settled::Answered))
}

/// What the pairs so far come to.
pub(super) fn judgement(
    state: &State,
    rules: &[Rule],
    looks: &Looks,
    failures_allowed: u64,
    stage: Stage,
) -> Judgement {
    let metrics: Vec<MetricPairs> =
        rules.iter().map(|rule| metric_pairs(rule, &state.pairs)).collect();
    let evidence = evidence(state, failures_allowed);
    judge(&Session { metrics: &metrics, looks, evidence: &evidence, stage })
}

/// One metric in the pairs that count.
fn metric_pairs(rule: &Rule, played: &[PairRecord]) -> MetricPairs {
    let mut metric = MetricPairs::of(rule.clone(), Vec::new());
    for record in played.iter().filter(|record| record.counts()) {
        match record.points.get(&rule.metric) {
            Some(point) => metric.pairs.push(PairValue {
                order: record.order(),
                difference: point.difference,
                base: point.base,
                head: point.head,
            }),
            None => {
                let has = |side: Side| record.has_value(side, &rule.metric);
                metric.add_without(has(Side::Base), has(Side::Head));
            }
        }
    }
    metric
}

/// What is known besides the numbers. Failures count wherever they happened; tokens only in pairs that
/// count, so that a pair that broke off in the middle is not taken for unequal work.
pub(super) fn evidence(state: &State, failures_allowed: u64) -> Evidence {
    let none = Work { prompt_tokens: Some(0), output_tokens: Some(0), ..Work::default() };
    let mut evidence = Evidence { base: none, head: none, failures_allowed, ..Evidence::default() };
    for record in &state.pairs {
        if record.counts() {
            record.base.add(&mut evidence.base);
            record.head.add(&mut evidence.head);
        } else {
            evidence.base.failed += record.base.failed;
            evidence.head.failed += record.head.failed;
            // As many for both: where it broke off, one may have had a turn more.
            let requests = record.base.requests.max(record.head.requests);
            evidence.base.requests += requests;
            evidence.head.requests += requests;
            evidence.pairs_lost += 1;
        }
        if let Some((side, _)) = &record.crash {
            evidence.crashed.push(if side == "base" { Side::Base } else { Side::Head });
        }
        evidence.probes.extend(record.probes_by_side.filter(|_| record.counts()));
    }
    evidence.crashed.dedup();
    evidence
}

/// Tells those who watch how it stands.
fn tell(table: &Table<'_>, state: &State, doing: String) {
    let counting = state.pairs.iter().filter(|record| record.counts()).count();
    let judged = (counting > 0).then(|| {
        judgement(state, table.rules, table.looks, table.failures_allowed, Stage::Interim)
    });
    let metrics = judged.iter().flat_map(|judged| &judged.comparisons).filter_map(|comparison| {
        if comparison.rule.role != Role::Gate {
            return None;
        }
        Some(Standing {
            metric: comparison.rule.metric.clone(),
            change_pct: comparison.change_pct()?,
            ci_pct: comparison.ci_pct()?,
        })
    });
    table.events.send(&Event::Comparison(ComparisonProgress {
        doing,
        pairs: counting as u64,
        pairs_planned: Some(table.looks.most_pairs() as u64),
        remaining_s: table.until.deadline.saturating_duration_since(Instant::now()).as_secs_f64(),
        metrics: metrics.collect(),
    }));
}

/// The same is said once.
fn dedup(warnings: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
}
