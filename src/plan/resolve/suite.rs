//! From what a user typed to one plan or to many: sweeps, suites and searches.
//!
//! Main function: [`intention`]. It opens the scenario files; each cell is then resolved like a run.

use std::path::Path;

use super::{Surroundings, plain, resolve_with, unreadable_scenario};
use crate::cli::RunArgs;
use crate::error::Error;
use crate::plan::matrix::{self, Axis, Coordinate, Knob, MOST_CELLS, Setting};
use crate::plan::problem::{Place, PlanError, Problem, subject_of};
use crate::plan::scenario::{self, Entry, Origin, Suite, read_suite};
use crate::plan::search::{
    BUDGET, FINEST_PRECISION, GOODPUT_RATIO, PRECISION, SearchOver, SearchSpec, TRIAL,
};
use crate::plan::suite::{CellPlan, SuitePlan};
use crate::plan::{LoadShape, RunPlan, Secret, suite_json};

/// What a command line asks for.
#[derive(Debug, Clone)]
pub enum Intention {
    /// One run.
    Run(Box<RunPlan>),
    /// Several, with one table in the end.
    Suite(Box<SuitePlan>),
}

/// Everything that the command line and its files ask for, decided and checked.
///
/// # Errors
/// Every problem of the command line and of the files, or what keeps the server from being found.
pub fn intention(args: &RunArgs, surroundings: &Surroundings) -> Result<Intention, Error> {
    let origin = Origin::of(&args.workload.scenario)?;
    let mut args = args.clone();
    let suite = match origin.file().filter(|path| suite_json::is_json(path)) {
        Some(path) => {
            let (suite, server) = suite_json::read(&text_of(path)?, &origin)?;
            // What is typed goes before what is written.
            args.server.url = args.server.url.or(server.url);
            args.server.request_model = args.server.request_model.or(server.model);
            let given = args.server.api_key.take().filter(|key| !key.is_empty());
            args.server.api_key =
                given.or_else(|| server.auth_token.as_ref().map(Secret::expose).map(str::to_owned));
            if args.server.url.is_some() {
                // The file names a server that runs; a variable that names one to start is for others.
                args.server.server = None;
            }
            suite
        }
        None => {
            let text = text(&origin)?;
            match read_suite(&text, &origin, &open) {
                Ok(suite) => suite,
                Err(error) if text.contains("[[scenario]]") => return Err(error.into()),
                Err(error) => return Err(with_mistakes_of_flags(error, &args, surroundings)),
            }
        }
    };
    let mut problems = Vec::new();
    let swept = flags(&args, &mut problems);
    let suite = with_flags(suite, &args, swept, &mut problems);
    if let (false, None, [only]) = (suite.named, suite.search, suite.entries.as_slice())
        && only.axes.is_empty()
        && problems.is_empty()
    {
        if args.suite.resume {
            return Err(Error::Resume {
                why: "a single run has no cells to go on with".to_owned(),
                hint: "leave out --resume".to_owned(),
            });
        }
        return plain(&args, surroundings).map(|plan| Intention::Run(Box::new(plan)));
    }
    check(&suite, &args, &mut problems);
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    cells(&suite, &args, surroundings).map(|suite| Intention::Suite(Box::new(suite)))
}

/// A plain file's mistakes are told together with those of the flags.
fn with_mistakes_of_flags(error: PlanError, args: &RunArgs, surroundings: &Surroundings) -> Error {
    let PlanError::Invalid { subject, problems } = error else { return error.into() };
    match plain(args, surroundings) {
        Err(Error::Plan(PlanError::Invalid { problems: mut all, .. })) => {
            all.extend(
                problems.into_iter().filter(|problem| !all.contains(problem)).collect::<Vec<_>>(),
            );
            all.sort_by_key(|problem| problem.place);
            PlanError::Invalid { subject: subject_of(&subject, &all), problems: all }.into()
        }
        _ => PlanError::Invalid { subject, problems }.into(),
    }
}

fn invalid(problems: Vec<Problem>) -> Error {
    PlanError::Invalid { subject: "this command line".to_owned(), problems }.into()
}

fn text(origin: &Origin) -> Result<String, PlanError> {
    match origin {
        Origin::BuiltIn(name) => Ok(scenario::builtin(name)
            .expect("Origin::of names only scenarios that are compiled in")
            .to_owned()),
        Origin::File(path) => text_of(path),
    }
}

fn text_of(path: &Path) -> Result<String, PlanError> {
    std::fs::read_to_string(path).map_err(|error| unreadable_scenario(path, &error))
}

/// A scenario that a suite names.
fn open(named: &str, folder: Option<&Path>) -> Result<(String, Origin), PlanError> {
    let origin = match (Origin::of(named)?, folder) {
        (Origin::File(path), Some(folder)) => Origin::File(folder.join(path)),
        (origin, _) => origin,
    };
    Ok((text(&origin)?, origin))
}

/// The axes behind `--sweep`.
fn flags(args: &RunArgs, problems: &mut Vec<Problem>) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for typed in &args.suite.sweep {
        match Axis::parse(typed) {
            Ok(axis) if axes.iter().any(|known| known.name == axis.name) => {
                let message = format!("\"{}\" is swept twice", axis.name);
                problems.push(Problem::new(Place::Flag("--sweep"), message));
            }
            Ok(axis) => axes.push(axis),
            Err((message, hint)) => {
                let problem = Problem::new(Place::Flag("--sweep"), message);
                problems.push(match hint {
                    Some(hint) => problem.hinting(hint),
                    None => problem,
                });
            }
        }
    }
    axes
}

fn with_flags(
    mut suite: Suite,
    args: &RunArgs,
    swept: Vec<Axis>,
    problems: &mut Vec<Problem>,
) -> Suite {
    for entry in &mut suite.entries {
        entry.axes = matrix::overlay(&entry.axes, &swept);
    }
    let flags = &args.suite;
    if let Some(over) = flags.search {
        let silent = SearchSpec {
            over,
            goodput_ratio: GOODPUT_RATIO,
            precision: PRECISION,
            at_least: None,
            at_most: None,
            budget: BUDGET,
        };
        suite.search = Some(SearchSpec { over, ..suite.search.unwrap_or(silent) });
    }
    match &mut suite.search {
        Some(search) => {
            search.goodput_ratio = flags.goodput_ratio.unwrap_or(search.goodput_ratio);
            search.precision = flags.search_precision.unwrap_or(search.precision);
            search.at_least = flags.search_from.or(search.at_least);
            search.at_most = flags.search_to.or(search.at_most);
            search.budget = flags.budget.unwrap_or(search.budget);
            let share = |ratio: f64, above: f64| ratio > above && ratio < 1.0;
            let bound =
                |bound: Option<f64>| bound.is_none_or(|load| load.is_finite() && load > 0.0);
            let a_load = "a load above 0";
            let a_share = |above: f64| format!("a share above {above} and below 1");
            let (ratio, precision) = (search.goodput_ratio, search.precision);
            for (flag, good, expected) in [
                ("--goodput-ratio", share(ratio, 0.0), a_share(0.0)),
                (
                    "--search-precision",
                    share(precision, FINEST_PRECISION),
                    a_share(FINEST_PRECISION),
                ),
                ("--search-from", bound(search.at_least), a_load.to_owned()),
                ("--search-to", bound(search.at_most), a_load.to_owned()),
            ] {
                if !good {
                    let message = format!("invalid value: expected {expected}");
                    problems.push(Problem::new(Place::Flag(flag), message));
                }
            }
            if let (Some(least), Some(most)) = (search.at_least, search.at_most)
                && least >= most
            {
                let message = format!("{least} is not below --search-to, which is {most}");
                problems.push(Problem::new(Place::Flag("--search-from"), message));
            }
        }
        None => {
            let given = [
                ("--goodput-ratio", flags.goodput_ratio.is_some()),
                ("--search-precision", flags.search_precision.is_some()),
                ("--search-from", flags.search_from.is_some()),
                ("--search-to", flags.search_to.is_some()),
                ("--budget", flags.budget.is_some()),
            ];
            for (flag, _) in given.into_iter().filter(|(_, given)| *given) {
                problems.push(
                    Problem::new(Place::Flag(flag), "it is for a search, and nothing is searched")
                        .hinting("pass --search users or --search rate"),
                );
            }
        }
    }
    suite
}

/// What does not fit together before any cell is looked at.
fn check(suite: &Suite, args: &RunArgs, problems: &mut Vec<Problem>) {
    let workload = &args.workload;
    let server = &args.server;
    let given = [
        ("--users", "users", workload.users.is_some()),
        ("--rate", "rate", workload.rate.is_some()),
        ("--max-tokens", "max_tokens", workload.max_tokens.is_some()),
        ("--max-prompt-tokens", "max_prompt_tokens", workload.max_prompt_tokens.is_some()),
        ("--max-context", "max_context", workload.max_context.is_some()),
        ("--dataset", "dataset", workload.dataset.is_some()),
        ("--n-prompts", "n_prompts", workload.n_prompts.is_some()),
        ("--seed", "seed", workload.seed.is_some()),
        ("--parallel", "parallel", server.parallel.is_some()),
        ("--n-gpu-layers", "n-gpu-layers", server.n_gpu_layers.is_some()),
        ("--ctx-size", "ctx-size", server.ctx_size.is_some()),
        ("--batch-size", "batch-size", server.batch_size.is_some()),
        ("--ubatch-size", "ubatch-size", server.ubatch_size.is_some()),
    ];
    let sets =
        |axis: &Axis, name: &str| {
            axis.name.replace('_', "-") == name.replace('_', "-")
                || axis.values.iter().flat_map(|value| &value.settings).any(
                    |setting| matches!(setting, Setting::Flag { name: flag, .. } if flag == name),
                )
        };
    let axes = || suite.entries.iter().flat_map(|entry| &entry.axes);
    for (flag, name, _) in given.into_iter().filter(|(_, _, given)| *given) {
        if axes().any(|axis| sets(axis, name)) {
            problems.push(
                Problem::new(Place::Flag(flag), format!("\"{name}\" is swept"))
                    .hinting(format!("leave it out, or sweep one value: --sweep {name}=…")),
            );
        }
    }
    if server.url.is_some()
        && let Some(axis) = axes().find(|axis| axis.is_of_server())
    {
        let message = format!(
            "\"{}\" is a flag of a server that bench-ci starts, and --url names one that runs already",
            axis.name
        );
        problems.push(Problem::new(Place::Flag("--sweep"), message));
    }
    for entry in &suite.entries {
        let has = |knob| entry.axes.iter().any(|axis| axis.knob() == Some(knob));
        if has(Knob::Users) && has(Knob::Rate) {
            let message = "users and rate cannot be swept together: a load has one shape";
            problems.push(Problem::new(Place::Whole, message));
        }
    }
    let count: usize = suite
        .entries
        .iter()
        .map(|entry| entry.axes.iter().map(|axis| axis.values.len()).product::<usize>())
        .fold(0, usize::saturating_add);
    if count > MOST_CELLS {
        let message = format!("{count} cells are more than the {MOST_CELLS} that can be meant");
        problems.push(Problem::new(Place::Whole, message));
    }
    if suite.search.is_some() && (count > 1 || axes().next().is_some()) {
        problems.push(
            Problem::new(Place::Whole, "a search has no place beside a sweep or several scenarios")
                .hinting("search one scenario at a time"),
        );
    }
}

fn cells(suite: &Suite, args: &RunArgs, surroundings: &Surroundings) -> Result<SuitePlan, Error> {
    let mut axes: Vec<String> = Vec::new();
    for axis in suite.entries.iter().flat_map(|entry| &entry.axes) {
        if !axes.contains(&axis.name) {
            axes.push(axis.name.clone());
        }
    }
    let mut cells: Vec<CellPlan> = Vec::new();
    for entry in &suite.entries {
        for coordinates in matrix::cells(&entry.axes) {
            let cell = cell(suite, entry, &coordinates, args, surroundings)?;
            if let Some(earlier) = cells.iter().find(|earlier| earlier.name == cell.name) {
                let message = format!("two cells would share the folder \"{}\"", earlier.name);
                return Err(invalid(vec![Problem::new(Place::Whole, message)]));
            }
            cells.push(cell);
        }
    }
    let name = args.tags.name.clone().unwrap_or_else(|| suite.name.clone());
    let out_dir = args.output.out_dir.clone();
    Ok(SuitePlan::ordered(name, axes, cells, suite.search, out_dir))
}

fn cell(
    suite: &Suite,
    entry: &Entry,
    coordinates: &[Coordinate],
    args: &RunArgs,
    surroundings: &Surroundings,
) -> Result<CellPlan, Error> {
    let mut args = args.clone();
    let settings = coordinates.iter().flat_map(|here| &here.value.settings);
    settings.for_each(|setting| apply(setting, &mut args));
    if let Some(search) = suite.search {
        match search.over {
            // A first guess, so that the plan can be checked; each trial has its own.
            SearchOver::Rate => {
                args.workload.rate = Some(args.workload.rate.or(search.at_least).unwrap_or(1.0));
            }
            SearchOver::Users => args.workload.users = args.workload.users.or(Some(1)),
        }
        if args.workload.n_prompts.is_none() {
            // A scenario of minutes is not meant to be played twenty times.
            let own = entry.scenario.workload().duration.map_or(TRIAL, |own| own.min(TRIAL));
            args.workload.duration = args.workload.duration.or(Some(own));
        }
    }
    let plan = resolve_with(&args, surroundings, |overrides| {
        entry.scenario.clone().into_workload(overrides)
    })?;
    if let Some(search) = suite.search
        && search.over == SearchOver::Users
        && plan.workload.shape != LoadShape::ConstantUsers
    {
        return Err(invalid(vec![
            Problem::new(Place::Flag("--search"), "users are searched with a constant number of them, and the scenario has another shape")
                .hinting("choose a scenario such as chat"),
        ]));
    }
    if suite.search.is_some() && !plan.workload.phases.is_empty() {
        let message = "a search raises one load, and the scenario has phases of its own";
        return Err(invalid(vec![Problem::new(Place::Flag("--search"), message)]));
    }
    let named = suite.named.then_some(entry.name.as_str());
    let name = match (named, coordinates) {
        (None, []) => matrix::name(Some(&entry.name), &[]),
        (named, coordinates) => matrix::name(named, coordinates),
    };
    Ok(CellPlan {
        name,
        scenario: entry.name.clone(),
        axes: coordinates
            .iter()
            .map(|here| (here.axis.clone(), here.value.label.clone()))
            .collect(),
        server_index: 0,
        plan,
    })
}

/// Puts one setting where the same flag of the command line would put it.
fn apply(setting: &Setting, args: &mut RunArgs) {
    let whole = |value: &str| value.parse::<u64>().ok();
    let small = |value: &str| value.parse::<u32>().ok();
    // Values were checked when the axis was made; one that does not parse would set nothing.
    match setting {
        Setting::Workload { knob, value } => {
            let workload = &mut args.workload;
            match knob {
                Knob::Users => workload.users = small(value),
                Knob::Rate => workload.rate = value.parse().ok(),
                Knob::MaxTokens => workload.max_tokens = small(value),
                Knob::MaxPromptTokens => workload.max_prompt_tokens = whole(value),
                Knob::MaxContext => workload.max_context = whole(value),
                Knob::Dataset => workload.dataset = Some(value.clone()),
                Knob::NPrompts => workload.n_prompts = whole(value),
                Knob::Seed => workload.seed = whole(value),
            }
        }
        Setting::Flag { name, value } => {
            let server = &mut args.server;
            let number = value.as_deref().and_then(small);
            match (name.as_str(), number) {
                ("parallel", Some(count)) => server.parallel = Some(count),
                ("ctx-size", Some(count)) => server.ctx_size = Some(count),
                ("batch-size", Some(count)) => server.batch_size = Some(count),
                ("ubatch-size", Some(count)) => server.ubatch_size = Some(count),
                ("n-gpu-layers" | "gpu-layers", _) => server.n_gpu_layers.clone_from(value),
                _ => {
                    server.extra_args.push(format!("--{name}"));
                    server.extra_args.extend(value.clone());
                }
            }
        }
    }
}
