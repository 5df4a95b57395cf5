//! The keys and flags that give a load its shape.
//!
//! Main functions: [`overlay`], [`apply`] and [`check`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::MOST_USERS;
use super::reader::Section;
use crate::plan::problem::{Place, Problem};
use crate::plan::shape::{ArrivalProcess, LoadShape, Stage, UserTarget, trace_speed};
use crate::plan::{DatasetSpec, Workload};

/// Fastest rate that makes sense on one thread; anything above it is a typing error.
const HIGHEST_RATE: f64 = 1_000_000.0;

/// The shape that a file names, over that of the workload; of a trace also its file, as written.
/// `users` beside arrivals that stood there before make a closed loop again, and the other way round.
pub(super) fn overlay(
    workload: &mut Workload,
    top: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    let named = ["iterations_per_user", "ramp", "arrivals", "trace"].map(|key| top.has(key));
    let (shape, trace) = read(top, problems);
    if named.contains(&true) {
        workload.shape = shape;
        if workload.shape.is_open() {
            workload.users = None;
        }
    } else if top.has("users") && workload.shape.is_open() {
        workload.shape = LoadShape::ConstantUsers;
    }
    trace
}

/// `[arrivals]`, `[ramp]`, `[trace]` or `iterations_per_user`; none of them is a constant number of
/// users. Of a trace also its file, as written.
pub(super) fn read(
    top: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) -> (LoadShape, Option<PathBuf>) {
    let given: Vec<&'static str> = ["iterations_per_user", "ramp", "arrivals", "trace"]
        .into_iter()
        .filter(|key| top.has(key))
        .collect();
    if let [first, second, ..] = given[..] {
        let message = format!("{second} has no place beside {first}: a load has one shape");
        problems.push(Problem::new(top.place(second), message).hinting("remove one of them"));
    }
    for open in ["arrivals", "trace"] {
        if top.has(open) && top.has("users") {
            let message =
                format!("users has no place beside {open}, whose requests come whatever users do");
            problems.push(Problem::new(top.place("users"), message).hinting("remove one of them"));
        }
    }
    if top.has("trace") && top.has("dataset") {
        let message = "dataset has no place beside trace, which holds the prompts or their lengths";
        problems.push(Problem::new(top.place("dataset"), message).hinting("remove one of them"));
    }
    let arrivals_place = top.place("arrivals");
    let iterations = top.whole(problems, "iterations_per_user", 1..=u64::from(u32::MAX));
    let mut ramp = top.section(problems, "ramp");
    let users = ramping_users(&mut ramp, problems);
    ramp.finish(problems);
    let mut section = top.section(problems, "arrivals");
    let arrivals = arrivals(&mut section, arrivals_place, problems);
    section.finish(problems);
    let mut section = top.section(problems, "trace");
    let file = section.string(problems, "file").map(PathBuf::from);
    let speed = if section.has_string("speed") {
        section.parsed(problems, "speed", trace_speed)
    } else {
        let number = section.number(problems, "speed");
        if number.is_some_and(|speed| speed <= 0.0 || speed > FASTEST_TRACE) {
            let message = format!("trace.speed must be above 0 and at most {FASTEST_TRACE}");
            problems.push(Problem::new(section.place("speed"), message));
        }
        number
    };
    let max_in_flight = section.whole_u32(problems, "max_in_flight", 1..=MOST_USERS);
    let file = if given.contains(&"trace") { section.needed(problems, "file", file) } else { None };
    section.finish(problems);
    let shape = match given.first() {
        Some(&"iterations_per_user") => {
            iterations.map(|iterations| LoadShape::PerUserIterations { iterations })
        }
        Some(&"ramp") => users,
        Some(&"arrivals") => arrivals,
        Some(_) => Some(LoadShape::Trace { speed: speed.unwrap_or(1.0), max_in_flight }),
        None => None,
    };
    (shape.unwrap_or(LoadShape::ConstantUsers), file)
}

fn ramping_users(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<LoadShape> {
    let start = target(section, problems, "start_users");
    let stages = stages(section, problems, |stage, problems| target(stage, problems, "users"))?;
    Some(LoadShape::RampingUsers { start: start.unwrap_or(UserTarget::Count(1)), stages })
}

/// A whole number, or a multiple such as `"2x"`.
fn target(
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
    key: &'static str,
) -> Option<UserTarget> {
    let found = if section.has_string(key) {
        section.parsed(problems, key, str::parse)
    } else {
        section.whole_u32(problems, key, 0..=MOST_USERS).map(UserTarget::Count)
    };
    if key == "users" { section.needed(problems, key, found) } else { found }
}

fn stages<T>(
    section: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
    mut read_target: impl FnMut(&mut Section<'_, '_>, &mut Vec<Problem>) -> Option<T>,
) -> Option<Vec<Stage<T>>> {
    let tables = section.sections(problems, "stages");
    let tables = section.needed(problems, "stages", tables)?;
    if tables.is_empty() {
        let message = "stages must hold at least one stage";
        problems.push(Problem::new(section.place("stages"), message));
    }
    let mut stages = Vec::new();
    for mut table in tables {
        let duration = table.duration(problems, "duration");
        let duration = table.needed(problems, "duration", duration);
        let target = read_target(&mut table, problems);
        table.finish(problems);
        stages.extend(duration.zip(target).map(|(duration, target)| Stage { duration, target }));
    }
    Some(stages)
}

fn arrivals(
    section: &mut Section<'_, '_>,
    place: Place,
    problems: &mut Vec<Problem>,
) -> Option<LoadShape> {
    let process = section.parsed(problems, "process", str::parse::<ArrivalProcess>);
    let process = process.unwrap_or(ArrivalProcess::Poisson);
    let max_in_flight = section.whole_u32(problems, "max_in_flight", 1..=MOST_USERS);
    let rate = rate_of(section, problems);
    if !section.has("stages") {
        let rate_per_second = section.needed(problems, "rate", rate)?;
        if rate_per_second <= 0.0 {
            problems.push(Problem::new(place, "arrivals.rate must be above zero"));
        }
        return Some(LoadShape::Arrivals { process, rate_per_second, max_in_flight });
    }
    let stages = stages(section, problems, |stage, problems| {
        let found = rate_of(stage, problems);
        stage.needed(problems, "rate", found)
    })?;
    Some(LoadShape::RampingArrivals {
        process,
        start_rate: rate.unwrap_or(0.0),
        stages,
        max_in_flight,
    })
}

fn rate_of(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<f64> {
    let rate = section.number(problems, "rate")?;
    if rate > HIGHEST_RATE {
        let message = format!("rate must be at most {HIGHEST_RATE} requests per second");
        problems.push(Problem::new(section.place("rate"), message));
        return None;
    }
    Some(rate)
}

/// Fastest speed of a trace, as [`trace_speed`] has it.
const FASTEST_TRACE: f64 = 1e6;

/// Puts `--trace` and `--trace-speed` over the shape.
pub(super) fn apply_trace(
    workload: &mut Workload,
    file: Option<&Path>,
    speed: Option<f64>,
    problems: &mut Vec<Problem>,
) {
    if let Some(path) = file {
        let max_in_flight = workload.shape.max_in_flight();
        workload.shape = LoadShape::Trace { speed: 1.0, max_in_flight };
        workload.dataset = DatasetSpec::Trace { path: path.to_path_buf() };
        workload.users = None;
    }
    match (&mut workload.shape, speed) {
        (LoadShape::Trace { speed, .. }, Some(wanted)) => *speed = wanted,
        (_, Some(_)) => problems.push(
            Problem::new(Place::Flag("--trace-speed"), "there is no trace")
                .hinting("pass --trace, or choose a scenario with [trace]"),
        ),
        (_, None) => {}
    }
}

/// Puts the flags over the shape, and the shape's own length over the duration.
pub(super) fn apply(
    workload: &mut Workload,
    rate: Option<f64>,
    arrivals: Option<ArrivalProcess>,
    most: Option<u32>,
    problems: &mut Vec<Problem>,
) {
    if let Some(rate) = rate {
        if !(rate.is_finite() && rate > 0.0 && rate <= HIGHEST_RATE) {
            let message = format!("must be above 0 and at most {HIGHEST_RATE} requests per second");
            problems.push(Problem::new(Place::Flag("--rate"), message));
            return;
        }
        let process = match &workload.shape {
            LoadShape::Arrivals { process, .. } | LoadShape::RampingArrivals { process, .. } => {
                *process
            }
            _ => ArrivalProcess::Poisson,
        };
        let max_in_flight = workload.shape.max_in_flight();
        let length = workload.shape.stages_length();
        workload.duration = workload.duration.or(length);
        workload.shape = LoadShape::Arrivals { process, rate_per_second: rate, max_in_flight };
        workload.users = None;
    }
    match &mut workload.shape {
        LoadShape::Arrivals { process, max_in_flight, .. }
        | LoadShape::RampingArrivals { process, max_in_flight, .. } => {
            *process = arrivals.unwrap_or(*process);
            *max_in_flight = most.or(*max_in_flight);
            // Nobody waits for an answer, so nobody pauses after one.
            workload.think_time = Duration::ZERO;
        }
        LoadShape::Trace { max_in_flight, .. } => {
            *max_in_flight = most.or(*max_in_flight);
            workload.think_time = std::time::Duration::ZERO;
            if arrivals.is_some() {
                let message = "the instants are those of the trace";
                problems.push(
                    Problem::new(Place::Flag("--arrivals"), message)
                        .hinting("leave it out, or leave out the trace"),
                );
            }
        }
        _ => {
            let given = [("--arrivals", arrivals.is_some()), ("--max-in-flight", most.is_some())];
            for (flag, _) in given.into_iter().filter(|(_, given)| *given) {
                let message = "it is for arrivals at a rate, and this load has users who wait";
                problems.push(
                    Problem::new(Place::Flag(flag), message)
                        .hinting("pass --rate, or choose a scenario with [arrivals]"),
                );
            }
        }
    }
}

/// What does not fit together once everything is applied.
pub(super) fn check(workload: &mut Workload, users_flag: bool, problems: &mut Vec<Problem>) {
    if workload.shape.is_open() && users_flag {
        let message = "the scenario has arrivals at a rate, and users have no place beside them";
        problems.push(
            Problem::new(Place::Flag("--users"), message)
                .hinting("leave it out, or choose a scenario with users"),
        );
    }
    let is_trace = matches!(workload.shape, LoadShape::Trace { .. });
    if is_trace && workload.tpot_difference.is_some() {
        let message =
            "a trace sends each prompt once, and the difference method would send it twice";
        problems.push(
            Problem::new(Place::Whole, message)
                .hinting("leave out --tpot-difference, or the trace"),
        );
    }
    if is_trace != matches!(workload.dataset, DatasetSpec::Trace { .. }) {
        // --dataset over a scenario with a trace, or --rate over one.
        let message = "a trace brings its own prompts and its own instants";
        problems.push(
            Problem::new(Place::Whole, message)
                .hinting("leave out --dataset (SERVER_BENCH_DATASET) and --rate, or the trace"),
        );
    }
    let Workload { shape, duration, n_prompts, users, .. } = workload;
    check_shape("", shape, duration, *n_prompts, *users, problems);
}

/// What does not fit together in one shape; `of` begins every message.
pub(super) fn check_shape(
    of: &str,
    shape: &mut LoadShape,
    duration: &mut Option<Duration>,
    n_prompts: Option<u64>,
    users: Option<u32>,
    problems: &mut Vec<Problem>,
) {
    if let Some(length) = shape.stages_length() {
        if n_prompts.is_some() {
            let message = format!("{of}stages end by themselves, and n_prompts would cut them off");
            problems.push(
                Problem::new(Place::Whole, message)
                    .hinting("leave out --n-prompts (SERVER_BENCH_N_PROMPTS), or the stages"),
            );
        }
        match *duration {
            Some(duration) if !length.is_zero() => shape.stretch_to(duration),
            _ if length.is_zero() => problems.push(Problem::new(
                Place::Whole,
                format!("{of}the stages have no length: each of them is a jump"),
            )),
            _ => *duration = Some(length),
        }
    }
    if let LoadShape::PerUserIterations { .. } = shape
        && n_prompts.is_some()
    {
        let message = format!(
            "{of}iterations_per_user counts the requests, and n_prompts would count them again"
        );
        problems.push(Problem::new(Place::Whole, message).hinting("leave out one of them"));
    }
    if let LoadShape::RampingUsers { start, stages } = shape {
        let most = users.unwrap_or(1);
        let targets = stages.iter().map(|stage| stage.target).chain([*start]);
        let most = targets.map(|target| target.of(most)).max().unwrap_or(0);
        if most > MOST_USERS {
            let message =
                format!("{of}the ramp has up to {most} users, at most {MOST_USERS} are possible");
            problems.push(Problem::new(Place::Whole, message));
        } else if most == 0 && !stages.is_empty() {
            problems.push(Problem::new(Place::Whole, format!("{of}the ramp never has a user")));
        }
    }
}
