//! The two that are compared, from the flags to two complete plans.
//!
//! Main types: [`SidePlan`], one side; [`SideChoice`], where its server comes from. Building is in
//! `build`; nothing is started here.

use std::path::{Component, Path, PathBuf};

use crate::artifact::Build;
use crate::cli::{AbArgs, KeyValue, RunArgs};
use crate::error::Error;
use crate::plan::problem::{Place, PlanError, Problem};
use crate::plan::resolve::{Surroundings, resolve};
use crate::plan::{DatasetSpec, RunPlan, Secret, ServerProgram, ServerSpec, Target, Yield};
use crate::server::command;
use crate::verdict::Side;
use crate::verdict::looks::MOST_PAIRS;

use super::words;

/// Evens out the size of both environments.
pub(super) const PADDING: &str = "BENCH_CI_AB_PADDING";

/// The longest prompt of the corpus that is compiled in, where nobody asks for longer ones: the
/// shorter a turn, the less of the machine's moods it meets.
const SHORT_PROMPT_WORDS: u64 = 40;

/// Where a side's server comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SideChoice {
    /// An executable, or `sim`; `None` is what `--server` says.
    Program(Option<String>),
    /// A commit that is built here.
    Reference(String),
}

/// One side, ready to be started.
#[derive(Debug, Clone)]
pub(super) struct SidePlan {
    /// Everything as for a run of its own.
    pub(super) plan: RunPlan,
    /// For a reader.
    pub(super) label: String,
    /// As typed, and its commit; `None` for a side given as a program.
    pub(super) commit: Option<(String, String)>,
    /// How it was built; likewise.
    pub(super) build: Option<Build>,
    /// Arguments that only this side has.
    pub(super) args: Vec<String>,
    /// Names of the variables that only this side has.
    pub(super) env: Vec<String>,
}

/// Both sides as they were typed.
pub(super) fn choices(args: &AbArgs) -> [SideChoice; 2] {
    let sides = &args.sides;
    let choice = |reference: &Option<String>, server: &Option<String>| match reference {
        Some(reference) => SideChoice::Reference(reference.clone()),
        None => SideChoice::Program(server.clone()),
    };
    let base = choice(&sides.base_ref, &sides.base_server);
    let head = if sides.aa { base.clone() } else { choice(&sides.head_ref, &sides.head_server) };
    [base, head]
}

/// Whether both sides may be the same program: it is asked for, or each has flags or variables of its own.
pub(super) fn may_be_one(args: &AbArgs) -> bool {
    let sides = &args.sides;
    let own_words = [&sides.base_args, &sides.head_args].into_iter().flatten().next().is_some();
    sides.aa || own_words || !sides.base_env.is_empty() || !sides.head_env.is_empty()
}

/// Everything that is wrong with the flags of this room alone.
pub(super) fn problems(args: &AbArgs) -> Vec<Problem> {
    let sides = &args.sides;
    let mut problems = Vec::new();
    let [base, head] = choices(args);
    if base == head && !may_be_one(args) {
        problems.push(
            Problem::new(Place::Whole, "base and head are the same server").hinting(
                "name two servers (--base-server, --head-server), two commits (--base-ref, --head-ref), \
                 two sets of flags (--base-args, --head-args), or pass --aa to compare one with itself",
            ),
        );
    }
    for (flag, line) in [("--base-args", &sides.base_args), ("--head-args", &sides.head_args)] {
        if let Some(Err(why)) = line.as_deref().map(words::split) {
            problems.push(Problem::new(Place::Flag(flag), why));
        }
    }
    let by_reference =
        [&base, &head].iter().any(|choice| matches!(choice, SideChoice::Reference(_)));
    if by_reference && (sides.build.is_none() || sides.server_path.is_none()) {
        problems.push(
            Problem::new(Place::Whole, "a commit is compared by the server that is built from it")
                .hinting("pass --build COMMAND and --server-path PATH, such as --build 'make' --server-path ./llama-server"),
        );
    }
    // One program for both commits, or somebody else's: whatever the commits hold, they would be equal.
    let leaves = |path: &PathBuf| {
        path.is_absolute() || path.components().any(|part| part == Component::ParentDir)
    };
    if let Some(path) = sides.server_path.as_ref().filter(|path| leaves(path)) {
        problems.push(
            Problem::new(
                Place::Flag("--server-path"),
                format!("\"{}\" is not inside the work tree of a commit", path.display()),
            )
            .hinting("name the executable that the build makes from the root of the repository, such as build/bin/llama-server"),
        );
    }
    if !by_reference && sides.build.is_some() {
        problems.push(
            Problem::new(Place::Flag("--build"), "there is no --base-ref or --head-ref to build")
                .hinting("name the commits, or leave it out"),
        );
    }
    if args.run.server.url.is_some() {
        problems.push(
            Problem::new(
                Place::Flag("--url"),
                "a comparison starts its servers itself, many times",
            )
            .hinting("name the executables with --base-server and --head-server"),
        );
    }
    if args.run.server.port != 0 && !args.design.restart_mode {
        problems.push(
            Problem::new(Place::Flag("--port"), "two servers run at the same time")
                .hinting("leave it out, or pass --restart-mode"),
        );
    }
    if args.run.workload.rate.is_some() {
        problems.push(
            Problem::new(
                Place::Flag("--rate"),
                "a comparison gives both sides the same requests, as fast as they can",
            )
            .hinting("leave it out and set --users"),
        );
    }
    if args.run.workload.tpot_difference.is_some() {
        problems.push(
            Problem::new(
                Place::Flag("--tpot-difference"),
                "a comparison forces all answers to one length",
            )
            .hinting("leave it out; tpot_ms_p50 is compared in any case"),
        );
    }
    match args.design.pairs {
        Some(0) => problems.push(Problem::new(Place::Flag("--pairs"), "expected at least 1")),
        Some(pairs) if pairs as usize > MOST_PAIRS => {
            let why = format!(
                "{pairs} are too many, expected at most {MOST_PAIRS}: judging n pairs exactly takes time in \
                 proportion to n³"
            );
            problems.push(Problem::new(Place::Flag("--pairs"), why).hinting(
                "play several sessions and put them together with --sessions, or accept a wider --bar",
            ));
        }
        _ => {}
    }
    problems
}

/// The plan of one side. `program` is its server, where it was built here.
///
/// # Errors
/// Whatever `run` would say to the same flags.
pub(super) fn plan(
    side: Side,
    args: &AbArgs,
    choice: &SideChoice,
    program: Option<&Path>,
    surroundings: &Surroundings,
) -> Result<SidePlan, Error> {
    let mut run = RunArgs::from(args.run.clone());
    match (choice, program) {
        (_, Some(program)) => run.server.server = Some(program.display().to_string()),
        // Not built yet: any executable will do to see what else is wrong.
        (SideChoice::Reference(_), None) => {
            run.server.server = Some(surroundings.own_executable.display().to_string());
        }
        (SideChoice::Program(Some(named)), None) => run.server.server = Some(named.clone()),
        (SideChoice::Program(None), None) => {}
    }
    let (line, env): (&Option<String>, &[KeyValue]) = match side {
        Side::Base => (&args.sides.base_args, &args.sides.base_env),
        Side::Head => (&args.sides.head_args, &args.sides.head_env),
    };
    let own_args = line.as_deref().map(words::split).and_then(Result::ok).unwrap_or_default();
    run.server.extra_args.extend(own_args.iter().cloned());
    let mut plan = resolve(&run, surroundings)?;
    let workload = &mut plan.workload;
    let nobody_says = workload.file.is_none() && args.run.workload.max_prompt_tokens.is_none();
    if workload.dataset == DatasetSpec::Builtin && nobody_says {
        workload.filter.max_prompt_words = Some(SHORT_PROMPT_WORDS);
    }
    if plan.workload.endpoint.yields() != Yield::Tokens {
        let problem = Problem::new(
            Place::Flag("--endpoint"),
            format!("{} generates no tokens to compare", plan.workload.endpoint.path()),
        )
        .hinting("choose a route that generates, such as /v1/chat/completions");
        return Err(PlanError::Invalid {
            subject: "this command line".to_owned(),
            problems: vec![problem],
        }
        .into());
    }
    if plan.workload.shape.is_open() {
        let problem = Problem::new(
            Place::Flag("--scenario"),
            "an open loop cannot be compared: a comparison gives both sides the same requests, as fast as they can",
        )
        .hinting("choose a scenario of users, such as chat");
        return Err(PlanError::Invalid {
            subject: "this command line".to_owned(),
            problems: vec![problem],
        }
        .into());
    }
    if let Target::Start(spec) = &mut plan.target {
        spec.fit_off = !says_how_to_fit(args);
        spec.env =
            env.iter().map(|pair| (pair.name.clone(), Secret::new(pair.value.clone()))).collect();
    }
    let program = match &plan.target {
        Target::Start(ServerSpec { program: ServerProgram::Executable(path), .. }) => {
            path.display().to_string()
        }
        _ => "sim".to_owned(),
    };
    let mut label = match choice {
        SideChoice::Reference(reference) => reference.clone(),
        SideChoice::Program(_) => short(&program),
    };
    let names = env.iter().map(|pair| pair.name.clone());
    // The label is in every report.
    for word in command::redacted(&own_args).into_iter().chain(names) {
        label.push(' ');
        label.push_str(&word);
    }
    Ok(SidePlan {
        plan,
        label,
        commit: None,
        build: None,
        args: own_args,
        env: env.iter().map(|pair| pair.name.clone()).collect(),
    })
}

/// Whether the user says of either side if its server may fit itself to the memory that is free. Else none
/// may: where two run at once, the second would get fewer layers or less context than the first, and
/// would be called slower for it.
fn says_how_to_fit(args: &AbArgs) -> bool {
    let sides = &args.sides;
    let lines = [&sides.base_args, &sides.head_args].into_iter().flatten();
    let mut own = lines.filter_map(|line| words::split(line).ok());
    let mut variables = [&sides.base_env, &sides.head_env].into_iter().flatten();
    command::says_how_to_fit(&args.run.server.extra_args)
        || own.any(|words| command::says_how_to_fit(&words))
        || variables.any(|variable| variable.name == command::FIT_VARIABLE)
        || std::env::var_os(command::FIT_VARIABLE).is_some()
}

/// The last two parts of a path: the folder tells two builds apart.
fn short(program: &str) -> String {
    let parts: Vec<&str> = program.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// Gives both sides the same number of bytes of arguments and environment: they lie at the top of the
/// stack, and where that begins decides what else falls together in the caches.
pub(super) fn even_out(base: &mut SidePlan, head: &mut SidePlan) {
    let sizes = [stack_bytes(&base.plan), stack_bytes(&head.plan)];
    let larger = sizes[0].max(sizes[1]);
    for (side, size) in [(base, sizes[0]), (head, sizes[1])] {
        if sizes[0] != sizes[1]
            && let Target::Start(spec) = &mut side.plan.target
        {
            let padding = "x".repeat(larger - size);
            spec.env.push((PADDING.to_owned(), Secret::new(padding)));
        }
    }
}

/// Bytes that differ between the sides: the program's path, which is there twice, further arguments
/// and variables, each with its end.
fn stack_bytes(plan: &RunPlan) -> usize {
    let Target::Start(spec) = &plan.target else { return 0 };
    let program = match &spec.program {
        ServerProgram::Executable(path) => path.as_os_str().len(),
        ServerProgram::Sim => 0,
    };
    // A string and its pointer.
    let word = |length: usize| length + 1 + size_of::<usize>();
    2 * program
        + spec.extra_args.iter().map(|arg| word(arg.len())).sum::<usize>()
        + spec
            .env
            .iter()
            .map(|(name, value)| word(name.len() + 1 + value.expose().len()))
            .sum::<usize>()
}

/// The folder of everything that is written.
pub(super) fn out_dir(args: &AbArgs) -> PathBuf {
    args.run.output.out_dir.clone()
}
