//! The phases of a scenario file.
//!
//! Main functions: [`read`] and [`check`]. A phase has the keys that a scenario with one shape has at
//! its top.

use super::reader::Section;
use super::{MOST_USERS, Overrides, load_shape};
use crate::plan::phase::{COOL_DOWN, LOAD, PhaseSpec, WARM_UP};
use crate::plan::problem::{Place, Problem};
use crate::plan::shape::LoadShape;
use crate::plan::{UserTarget, Workload};

/// Most phases of a scenario; each has histograms of its own.
const MOST: usize = 100;

/// `[[phase]]`, in the order of the file; empty where there is none.
pub(super) fn read(top: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<PhaseSpec> {
    let Some(tables) = top.sections(problems, "phase") else { return Vec::new() };
    for key in ["duration", "n_prompts", "iterations_per_user", "ramp", "arrivals"] {
        if top.has(key) {
            let message = format!("{key} has no place beside phase: each phase has its own");
            problems.push(
                Problem::new(top.place(key), message).hinting("move it below one of the [[phase]]"),
            );
        }
    }
    let mut phases: Vec<PhaseSpec> = Vec::new();
    for mut table in tables {
        let phase = one(&mut table, problems);
        if phases.iter().any(|other| other.name == phase.name) {
            let message = format!("there are two phases named \"{}\"", phase.name);
            problems.push(Problem::new(table.place("name"), message).hinting("rename one of them"));
        }
        if [WARM_UP, COOL_DOWN].contains(&phase.name.as_str()) {
            let message = format!("the name \"{}\" is taken", phase.name);
            let hint = "write measured = false below a phase of another name, or use warm_up_requests_per_user and cool_down";
            problems.push(Problem::new(table.place("name"), message).hinting(hint));
        }
        table.finish(problems);
        phases.push(phase);
    }
    if phases.is_empty() {
        problems.push(Problem::new(top.place("phase"), "phase must hold at least one phase"));
    }
    phases
}

fn one(table: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> PhaseSpec {
    let name = table.string(problems, "name");
    let name = table.needed(problems, "name", name).unwrap_or_else(|| LOAD.to_owned());
    if table.has("trace") {
        let message = "a trace is a whole load, and has no place in a phase";
        let hint = "put [trace] at the top of a scenario without [[phase]]";
        problems.push(Problem::new(table.place("trace"), message).hinting(hint));
    }
    PhaseSpec {
        name,
        measured: table.switch(problems, "measured").unwrap_or(true),
        users: table.whole_u32(problems, "users", 1..=MOST_USERS),
        duration: table.duration_above_zero(problems, "duration"),
        n_prompts: table.whole(problems, "n_prompts", 1..=u64::MAX),
        shape: load_shape::read(table, problems).0,
    }
}

/// What does not fit together, phase by phase, once the flags are applied.
pub(super) fn check(workload: &mut Workload, overrides: &Overrides, problems: &mut Vec<Problem>) {
    let flags = [
        ("--rate", overrides.rate.is_some()),
        ("--arrivals", overrides.arrivals.is_some()),
        ("--max-in-flight", overrides.max_in_flight.is_some()),
        ("--n-prompts", overrides.n_prompts.is_some()),
    ];
    for (flag, _) in flags.into_iter().filter(|(_, given)| *given) {
        let message = "the scenario has phases, each with a shape of its own";
        problems.push(
            Problem::new(Place::Flag(flag), message)
                .hinting("change the scenario, or choose one without [[phase]]"),
        );
    }
    if matches!(workload.shape, LoadShape::Trace { .. }) {
        let message = "a trace is a whole load, and has no place beside phases";
        problems.push(
            Problem::new(Place::Whole, message)
                .hinting("leave out the trace, or choose a scenario without [[phase]]"),
        );
    }
    if workload.phases.len() > MOST {
        let message = format!("{} phases, at most {MOST} are possible", workload.phases.len());
        problems.push(Problem::new(Place::Whole, message));
    }
    let users = workload.users;
    for phase in &mut workload.phases {
        let PhaseSpec { name, shape, users: own, duration, n_prompts, .. } = phase;
        let of = format!("phase \"{name}\": ");
        let before = problems.len();
        load_shape::check_shape(&of, shape, duration, *n_prompts, own.or(users), problems);
        let counts_itself = matches!(shape, LoadShape::PerUserIterations { .. });
        let is_bounded = duration.is_some() || n_prompts.is_some() || counts_itself;
        // A value that was given but is wrong is already in the list; it is not also missing.
        let already = problems.iter().any(|problem| {
            ["phase.duration", "phase.n_prompts"].iter().any(|key| problem.message.contains(key))
        });
        if !is_bounded && !already && problems.len() == before {
            let message = format!("{of}neither duration nor n_prompts bounds it");
            problems.push(Problem::new(Place::Whole, message));
        }
    }
    // The flag, for the file cannot have it here.
    if let Some(wanted) = workload.duration {
        stretch(workload, wanted, problems);
    }
    workload.duration = workload.phases.iter().map(|phase| phase.duration).sum();
    let counted = |phase: &PhaseSpec| phase.measured;
    let first = workload.phases.iter().position(counted);
    let last = workload.phases.iter().rposition(counted);
    let Some((first, last)) = first.zip(last) else {
        let message = "no phase is measured, so there would be no figures";
        problems.push(
            Problem::new(Place::Whole, message)
                .hinting("leave out measured = false in one of them"),
        );
        return;
    };
    let between = &workload.phases[first..=last];
    for phase in between.iter().filter(|phase| !phase.measured) {
        let message = format!("phase \"{}\" is not measured, between phases that are", phase.name);
        problems.push(
            Problem::new(Place::Whole, message)
                .hinting("measured = false is for what warms up before, or cools down after"),
        );
    }
}

/// Stretches or squeezes all phases together to a length.
fn stretch(workload: &mut Workload, wanted: std::time::Duration, problems: &mut Vec<Problem>) {
    let lengths = workload.phases.iter().map(|phase| phase.duration);
    let Some(length) = lengths.sum::<Option<std::time::Duration>>() else {
        let message =
            "a phase of the scenario is bounded by its requests alone, and has no length to change";
        problems.push(Problem::new(Place::Flag("--duration"), message).hinting("leave it out"));
        return;
    };
    let ratio = wanted.as_secs_f64() / length.as_secs_f64().max(f64::MIN_POSITIVE);
    for phase in &mut workload.phases {
        let own = phase.duration.unwrap_or_default().mul_f64(ratio);
        phase.shape.stretch_to(own);
        phase.duration = Some(own);
    }
}

/// A cool-down goes on with what there is at the end; there must be something.
pub(super) fn check_cool_down(workload: &Workload, problems: &mut Vec<Problem>) {
    if workload.cool_down.is_zero() {
        return;
    }
    if matches!(workload.shape, LoadShape::Trace { .. }) {
        let message =
            "cool_down goes on with the end of the load, and behind a trace there is nothing";
        problems.push(Problem::new(Place::Whole, message).hinting("leave out cool_down"));
        return;
    }
    let ends_with_nobody = match workload.sequence().last().map(|phase| &phase.shape) {
        Some(LoadShape::RampingUsers { start, .. }) => match start {
            UserTarget::Count(count) => *count == 0,
            UserTarget::Times(times) => *times <= 0.0,
        },
        Some(LoadShape::Arrivals { rate_per_second, .. }) => *rate_per_second <= 0.0,
        _ => false,
    };
    if ends_with_nobody {
        let message = "cool_down goes on with the end of the load, and there is nobody left then";
        problems.push(Problem::new(Place::Whole, message).hinting("leave out cool_down"));
    }
}
