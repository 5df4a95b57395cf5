//! The phases of a load in the report: as planned, and each with figures of its own.
//!
//! Main types and functions: [`planned`], and [`MeasuredPhase`], made by [`measured`].

use super::findings::{Findings, WorkloadFacts};
use crate::artifact::{self, Unknowns};
use crate::load::{RequestRecord, Stamp};
use crate::plan::phase::WARM_UP;
use crate::plan::{Limits, LoadShape, PhaseSpec, RunPlan, Workload};
use crate::stats::{self, LoadFigures, Part, ServerFate, Summary, Validity};

/// One phase that counts, with its figures.
#[derive(Debug)]
pub(super) struct MeasuredPhase {
    name: String,
    summary: Summary,
    load: LoadFigures,
    closed: Stamp,
}

impl MeasuredPhase {
    /// For the report.
    pub(super) fn figures(&self) -> artifact::PhaseFigures {
        let Self { name, summary, load, closed } = self;
        artifact::phase_figures(name, summary, load, *closed)
    }
}

/// Every phase that counts and has begun.
pub(super) fn measured(
    plan: &RunPlan,
    findings: &Findings,
    whole: &Summary,
    load: &LoadFigures,
) -> Vec<MeasuredPhase> {
    let Some(outcome) = &findings.load else { return Vec::new() };
    let sequence = plan.workload.sequence();
    let played = outcome.phases.iter().zip(&sequence).enumerate();
    played
        .filter(|(_, (_, spec))| spec.measured)
        .map(|(position, (phase, spec))| {
            let records = of_phase(&findings.records, position + 1);
            let ended = records.iter().filter_map(|record| record.end).max();
            let load = LoadFigures {
                itl_ns: phase.itl.clone(),
                itl: phase.itl_moments,
                dispatch_lateness_ns: phase.dispatch_lateness.clone(),
                dispatch_lateness_mean_ns: phase.dispatch_lateness_moments.mean(),
                window_start: phase.started,
                window_end: ended.unwrap_or(phase.closed).max(phase.closed).min(outcome.ended),
                open_loop: spec.shape.is_open(),
                // They were read before the first phase and after the last.
                counters: stats::ServerCounters::default(),
                ..load.clone()
            };
            let mut summary = stats::summarise_by(records, &load, whole.split.clone());
            summary.rates.judge_objectives(records, &summary.split, &plan.workload.objectives);
            MeasuredPhase { name: spec.name.clone(), summary, load, closed: phase.closed }
        })
        .collect()
}

/// The records of one phase; they lie phase by phase.
fn of_phase(records: &[RequestRecord], phase_index: usize) -> &[RequestRecord] {
    let place = |record: &RequestRecord| usize::from(record.phase_index);
    let from = records.partition_point(|record| place(record) < phase_index);
    let to = records.partition_point(|record| place(record) <= phase_index);
    records.get(from..to).unwrap_or_default()
}

/// Whether the numbers are evidence.
pub(super) fn judge(
    phases: &[MeasuredPhase],
    summary: &Summary,
    load: &LoadFigures,
    limits: &Limits,
    fate: ServerFate,
) -> Validity {
    let parts: Vec<Part<'_>> = phases
        .iter()
        .filter(|phase| phase.summary.requests.planned > 0)
        .map(|phase| Part { name: &phase.name, summary: &phase.summary, load: &phase.load })
        .collect();
    stats::judge_parts(summary, load, &parts, limits, fate)
}

/// `scenario.phases`: each user's warm-up, then what the scenario says.
pub(super) fn planned(workload: &Workload, facts: Option<&WorkloadFacts>) -> Vec<artifact::Phase> {
    let users = facts.map(|facts| facts.users).or(workload.users);
    let per_user = u64::from(workload.warm_up_requests_per_user);
    let warm_up = PhaseSpec {
        name: WARM_UP.to_owned(),
        measured: false,
        shape: LoadShape::ConstantUsers,
        users: None,
        duration: None,
        n_prompts: users.map(|users| per_user * u64::from(users)),
    };
    let mut phases = vec![phase(workload, &warm_up, users, warm_up.n_prompts)];
    for (position, spec) in workload.sequence().iter().enumerate() {
        let counted = facts.and_then(|facts| facts.requests.get(position).copied());
        phases.push(phase(workload, spec, users, counted.unwrap_or(spec.n_prompts)));
    }
    phases
}

fn phase(
    workload: &Workload,
    spec: &PhaseSpec,
    users: Option<u32>,
    requests: Option<u64>,
) -> artifact::Phase {
    let slots_untold = "the run ended before the server said how many slots it has";
    let users = spec.users.or(users);
    let is_open = spec.shape.is_open();
    let mut unknown = Unknowns::none();
    artifact::Phase {
        name: spec.name.clone(),
        measured: spec.measured,
        shape: match users {
            None if !is_open => "as many users as the server has slots".to_owned(),
            users => spec.shape.in_words(users.unwrap_or_default()),
        },
        users: unknown.option(
            "users",
            users.filter(|_| !is_open).map(|users| spec.shape.most_users(users)),
            if is_open { "requests arrive at a rate, whatever the users" } else { slots_untold },
        ),
        duration_s: unknown.option(
            "duration_s",
            spec.duration.map(|duration| duration.as_secs_f64()),
            "only a number of requests bounds it",
        ),
        requests: unknown.option(
            "requests",
            requests,
            if spec.name == WARM_UP { slots_untold } else { "only time bounds it" },
        ),
        think_time_s: workload.think_time.as_secs_f64(),
        max_tokens: workload.request.max_tokens,
        unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::completed;

    #[test]
    fn the_records_of_a_phase_are_those_of_its_index() {
        let at = |index, phase_index| RequestRecord { phase_index, ..completed(index) };
        let records = [at(0, 0), at(1, 1), at(2, 1), at(4, 1), at(3, 3)];
        let indices = |phase| -> Vec<u64> {
            of_phase(&records, phase).iter().map(|record| record.index).collect()
        };
        assert_eq!([indices(1), indices(2), indices(3)], [vec![1, 2, 4], vec![], vec![3]]);
    }
}
