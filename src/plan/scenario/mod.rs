//! Scenario files: what a server is loaded with, and why.
//!
//! Main types: [`Scenario`], one TOML file; [`Overrides`], the flags over it; the main function is
//! [`workload`], text and flags to a checked [`Workload`]. It reads no file: the caller hands in
//! the text, or takes a compiled-in one from [`builtin`].

mod gates;
mod load_shape;
mod phases;
mod reader;
mod requests;
mod suite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::problem::{Place, PlanError, Problem};
use super::{
    ArrivalProcess, Connections, DatasetSpec, Endpoint, LoadShape, MOST_REQUESTS, PromptFilter,
    RequestSpec, RequestTimeouts, Sampling, Workload,
};
pub use gates::Gate;
use reader::Section;
pub use requests::RequestOverrides;

pub use suite::{Entry, Suite, read_suite};

/// The compiled-in scenarios: name and text.
const BUILT_IN: [(&str, &str); 6] = [
    ("chat", include_str!("../../../scenarios/chat.toml")),
    ("load", include_str!("../../../scenarios/load.toml")),
    ("soak", include_str!("../../../scenarios/soak.toml")),
    ("spike", include_str!("../../../scenarios/spike.toml")),
    ("breakpoint", include_str!("../../../scenarios/breakpoint.toml")),
    ("conversation", include_str!("../../../scenarios/conversation.toml")),
];

/// The names of the compiled-in scenarios.
#[must_use]
pub fn builtin_names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

/// The text of a compiled-in scenario; `None` where there is none of that name.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Where a scenario's text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Compiled in, under this name.
    BuiltIn(&'static str),
    /// A file on disk.
    File(PathBuf),
}

impl Origin {
    /// What `--scenario` means: a path where it holds a `/`, a `\` or ends in `.toml` or `.json`, else
    /// the name of a built-in scenario.
    ///
    /// # Errors
    ///
    /// [`PlanError::UnknownScenario`] with the names there are and the nearest as hint.
    pub fn of(argument: &str) -> Result<Self, PlanError> {
        if argument.contains(['/', '\\'])
            || [".toml", ".json"].iter().any(|end| argument.ends_with(end))
        {
            return Ok(Origin::File(PathBuf::from(argument)));
        }
        BUILT_IN
            .iter()
            .find(|(known, _)| *known == argument)
            .map(|(known, _)| Origin::BuiltIn(known))
            .ok_or_else(|| PlanError::UnknownScenario {
                name: argument.to_owned(),
                known: builtin_names(),
            })
    }

    /// The file; `None` for a built-in scenario.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Origin::BuiltIn(_) => None,
            Origin::File(path) => Some(path),
        }
    }

    /// For a message.
    pub(crate) fn subject(&self) -> String {
        match self {
            Origin::BuiltIn(name) => format!("scenario \"{name}\""),
            Origin::File(path) => format!("scenario file \"{}\"", path.display()),
        }
    }

    /// The name of a scenario that does not give itself one.
    fn name(&self) -> String {
        match self {
            Origin::BuiltIn(name) => (*name).to_owned(),
            Origin::File(path) => path
                .file_stem()
                .map_or_else(|| "scenario".to_owned(), |stem| stem.to_string_lossy().into_owned()),
        }
    }
}

/// What the flags of `run` (and the variables of bench.py) change of a scenario. `None` leaves the
/// scenario's own value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// `--duration`; stretches or squeezes stages.
    pub duration: Option<Duration>,
    /// `--users`.
    pub users: Option<u32>,
    /// `--rate`: an open loop of so many requests per second.
    pub rate: Option<f64>,
    /// `--arrivals`: how the requests of an open loop are spread.
    pub arrivals: Option<ArrivalProcess>,
    /// `--max-in-flight`: most requests of an open loop at once.
    pub max_in_flight: Option<u32>,
    /// `--n-prompts`.
    pub n_prompts: Option<u64>,
    /// `--max-prompt-tokens`: longest prompt picked, in the words of the dataset filter.
    pub max_prompt_tokens: Option<u64>,
    /// `--max-tokens`: each request's budget.
    pub max_tokens: Option<u32>,
    /// `--max-context`: longest prompt and answer picked, in the words of the dataset filter.
    pub max_context: Option<u64>,
    /// `--dataset`.
    pub dataset: Option<DatasetSpec>,
    /// `--trace`: an open loop of the requests of this file.
    pub trace: Option<PathBuf>,
    /// `--trace-speed`: how many times as fast.
    pub trace_speed: Option<f64>,
    /// `--seed`: the plan's seed, and each request's where the scenario sends one.
    pub seed: Option<u64>,
    /// `--request-model`.
    pub request_model: Option<String>,
    /// Pause of a user between two requests.
    pub think_time: Option<Duration>,
    /// How long requests in flight at the end may still take.
    pub graceful_stop: Option<Duration>,
    /// Unmeasured requests per user before measuring.
    pub warm_up_requests_per_user: Option<u32>,
    /// When connections are opened.
    pub connections: Option<Connections>,
    /// llama-server's `cache_prompt`.
    pub cache_prompt: Option<bool>,
    /// What the flags about requests change.
    pub requests: RequestOverrides,
    /// Force exactly the budget. `Some(true)` also drops the scenario's stop strings, which would
    /// end an answer early all the same.
    pub ignore_eos: Option<bool>,
    /// `--tpot-difference`: tokens by which the longer of two answers is longer.
    pub tpot_difference: Option<u32>,
    /// `--threshold`, as typed. Those of the scenario about the same metric give way to them.
    pub thresholds: Vec<String>,
    /// `--objective`, as typed. Any takes the place of all of the scenario's.
    pub objectives: Vec<String>,
}

/// The workload of a scenario text with the flags over it.
///
/// # Errors
///
/// [`PlanError::Invalid`] with everything that is wrong with the text and with the flags.
pub fn workload(text: &str, origin: &Origin, overrides: &Overrides) -> Result<Workload, PlanError> {
    let (scenario, problems) = read(text, origin)?;
    scenario.check(overrides, problems)
}

/// One scenario file, read: a workload that nobody has checked as a whole yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    origin: Origin,
    workload: Workload,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    ///
    /// [`PlanError::Invalid`] with every mistake of the text, each with its line.
    pub fn parse(text: &str, origin: &Origin) -> Result<Self, PlanError> {
        let (scenario, problems) = read(text, origin)?;
        if problems.is_empty() {
            Ok(scenario)
        } else {
            Err(PlanError::Invalid { subject: origin.subject(), problems })
        }
    }

    /// What a file means that says nothing.
    pub(crate) fn silent(origin: &Origin) -> Self {
        Self { origin: origin.clone(), workload: silent(origin) }
    }

    /// A workload that did not come from TOML.
    pub(crate) fn of(origin: Origin, workload: Workload) -> Self {
        Self { origin, workload }
    }

    /// What has been read so far.
    pub(crate) fn workload(&self) -> &Workload {
        &self.workload
    }

    /// Applies the flags and checks the whole.
    ///
    /// # Errors
    ///
    /// [`PlanError::Invalid`] with everything that does not fit together.
    pub fn into_workload(self, overrides: &Overrides) -> Result<Workload, PlanError> {
        self.check(overrides, Vec::new())
    }

    fn check(
        mut self,
        overrides: &Overrides,
        mut problems: Vec<Problem>,
    ) -> Result<Workload, PlanError> {
        apply(&mut self.workload, overrides, &mut problems);
        if self.workload.phases.is_empty() {
            load_shape::check(&mut self.workload, overrides.users.is_some(), &mut problems);
        } else {
            phases::check(&mut self.workload, overrides, &mut problems);
        }
        phases::check_cool_down(&self.workload, &mut problems);
        together(&self.workload, &mut problems);
        if problems.is_empty() {
            Ok(self.workload)
        } else {
            Err(PlanError::Invalid { subject: self.origin.subject(), problems })
        }
    }
}

/// What a scenario file means where it is silent. Neutral on purpose: a pause, a system prompt or
/// a longest prompt is only there if the file says so.
fn silent(origin: &Origin) -> Workload {
    Workload {
        scenario: origin.name(),
        file: origin.file().map(Path::to_path_buf),
        endpoint: Endpoint::ChatCompletions,
        dataset: DatasetSpec::Builtin,
        filter: PromptFilter { min_words: 4, max_prompt_words: None, max_context_words: None },
        n_prompts: None,
        shape: LoadShape::ConstantUsers,
        phases: Vec::new(),
        cool_down: Duration::ZERO,
        users: None,
        think_time: Duration::ZERO,
        duration: None,
        graceful_stop: Duration::from_secs(30),      // k6's
        graceful_ramp_down: Duration::from_secs(30), // k6's
        warm_up_requests_per_user: 1,
        request: RequestSpec {
            model: None,
            system_prompt: None,
            prompt_template: None,
            stream: true,
            max_tokens: 512,
            inputs_per_request: None,
            stop: Vec::new(),
            seed: None,
            sampling: Sampling::default(),
            cache_prompt: false,
            ignore_eos: false,
            include_usage: true,
            lora: Vec::new(),
            extra: serde_json::Map::new(),
        },
        tpot_difference: None,
        timeouts: RequestTimeouts {
            connect: Duration::from_secs(10),
            // A CPU server may read a long prompt for minutes while all slots are busy.
            first: Duration::from_secs(300),
            // llama-server pings after 30 s of silence; four missed pings are a dead stream, and
            // an older build that does not ping may pause that long for another slot's prompt.
            idle: Duration::from_secs(120),
            total: Duration::from_secs(600),
        },
        deadline: None,
        cancel: None,
        conversation: None,
        connections: Connections::Ahead,
        seed: 42,
        thresholds: Vec::new(),
        objectives: Vec::new(),
        gates: Vec::new(),
    }
}

/// The same for what may be absent altogether.
fn keep<T>(field: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *field = given;
    }
}

/// Reads as much as can be read; what is wrong is in the list, by line, and left at its silent
/// value.
///
/// # Errors
///
/// Text that is no TOML. Keys that were understood mean little then, and a second list of
/// consequences would hide the cause.
fn read(text: &str, origin: &Origin) -> Result<(Scenario, Vec<Problem>), PlanError> {
    let mut scenario = Scenario { origin: origin.clone(), workload: silent(origin) };
    let table = toml_table(text, origin)?;
    let mut problems = Vec::new();
    let mut top = Section::top(text, table.get_ref());
    read_keys(&mut scenario.workload, &mut top, origin, &mut problems);
    // What belongs to a suite is read by `read_suite`.
    for key in suite::KEYS {
        let _known = top.has(key);
    }
    top.finish(&mut problems);
    problems.sort_by_key(|problem| problem.place);
    Ok((scenario, problems))
}

/// # Errors
///
/// Text that is no TOML.
fn toml_table<'t>(text: &'t str, origin: &Origin) -> Result<Spanned<DeTable<'t>>, PlanError> {
    let (table, mistakes) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = mistakes
        .iter()
        .map(|mistake| {
            let place =
                mistake.span().map_or(Place::Whole, |span| reader::line_of(text, span.start));
            Problem::new(place, mistake.message().trim_end().replace('\n', ", "))
        })
        .collect();
    // The parser goes on after a mistake and stumbles over its rest: one is enough for a line.
    problems.dedup_by_key(|problem| problem.place);
    if problems.is_empty() {
        Ok(table)
    } else {
        Err(PlanError::Invalid { subject: origin.subject(), problems })
    }
}

/// Puts what the file gives over what silence means.
fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

/// Puts what the file says over the workload; what it does not name stays as it is.
fn read_keys(
    workload: &mut Workload,
    top: &mut Section<'_, '_>,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) {
    set(&mut workload.scenario, top.string(problems, "name"));
    set(&mut workload.endpoint, top.parsed(problems, "endpoint", str::parse));
    let dataset = top.parsed(problems, "dataset", str::parse::<DatasetSpec>);
    let folder = origin.file().and_then(Path::parent);
    set(
        &mut workload.dataset,
        dataset.map(|dataset| folder.map_or(dataset.clone(), |folder| dataset.relative_to(folder))),
    );
    keep(&mut workload.n_prompts, top.whole(problems, "n_prompts", 1..=u64::MAX));
    keep(&mut workload.users, top.whole_u32(problems, "users", 1..=MOST_USERS));
    let phases = phases::read(top, problems);
    if !phases.is_empty() {
        workload.phases = phases;
    }
    let trace = load_shape::overlay(workload, top, problems);
    if let Some(path) = trace {
        let trace = DatasetSpec::Trace { path };
        workload.dataset = folder.map_or(trace.clone(), |folder| trace.relative_to(folder));
    }
    set(&mut workload.cool_down, top.duration(problems, "cool_down"));
    set(&mut workload.think_time, top.duration(problems, "think_time"));
    keep(&mut workload.duration, top.duration_above_zero(problems, "duration"));
    set(&mut workload.graceful_stop, top.duration(problems, "graceful_stop"));
    set(&mut workload.graceful_ramp_down, top.duration(problems, "graceful_ramp_down"));
    set(
        &mut workload.warm_up_requests_per_user,
        top.whole_u32(problems, "warm_up_requests_per_user", 0..=1_000),
    );
    let connections = [("ahead", Connections::Ahead), ("fresh", Connections::Fresh)];
    set(&mut workload.connections, top.choice(problems, "connections", &connections));
    set(&mut workload.seed, top.whole(problems, "seed", 0..=LARGEST_SEED));
    keep(&mut workload.tpot_difference, top.whole_u32(problems, "tpot_difference", 1..=u32::MAX));

    let mut filter = top.section(problems, "filter");
    set(&mut workload.filter.min_words, filter.whole(problems, "min_words", 0..=u64::MAX));
    keep(
        &mut workload.filter.max_prompt_words,
        filter.whole(problems, "max_prompt_words", 1..=u64::MAX),
    );
    keep(
        &mut workload.filter.max_context_words,
        filter.whole(problems, "max_context_words", 1..=u64::MAX),
    );
    filter.finish(problems);

    requests::read(workload, top, problems);

    let mut timeouts = top.section(problems, "timeouts");
    set(&mut workload.timeouts.connect, timeouts.duration_above_zero(problems, "connect"));
    set(&mut workload.timeouts.first, timeouts.duration_above_zero(problems, "first"));
    set(&mut workload.timeouts.idle, timeouts.duration_above_zero(problems, "idle"));
    set(&mut workload.timeouts.total, timeouts.duration_above_zero(problems, "total"));
    timeouts.finish(problems);
    gates::read(workload, top, problems);
}

/// Most users that can be asked for; one connection each, and no machine has more ports.
const MOST_USERS: u32 = 60_000;

/// llama-server reads a seed as 32 bits, and 4294967295 means "random" to it, which would undo the
/// promise of "same seed, same plan".
const LARGEST_SEED: u64 = 4_294_967_294;

fn apply(workload: &mut Workload, overrides: &Overrides, problems: &mut Vec<Problem>) {
    // Destructured, so that a new override cannot be forgotten here.
    let Overrides {
        duration,
        users,
        rate,
        arrivals,
        max_in_flight,
        n_prompts,
        max_prompt_tokens,
        max_tokens,
        max_context,
        dataset,
        trace,
        trace_speed,
        seed,
        request_model,
        think_time,
        graceful_stop,
        warm_up_requests_per_user,
        connections,
        cache_prompt,
        requests,
        ignore_eos,
        tpot_difference,
        thresholds,
        objectives,
    } = overrides;
    let at_least_one = [
        ("--users", users.map(u64::from)),
        ("--n-prompts", *n_prompts),
        ("--max-prompt-tokens", *max_prompt_tokens),
        ("--max-tokens", max_tokens.map(u64::from)),
        ("--max-context", *max_context),
        ("--max-in-flight", max_in_flight.map(u64::from)),
    ];
    for (flag, given) in at_least_one {
        if given == Some(0) {
            problems.push(Problem::new(Place::Flag(flag), "must be at least 1"));
        }
    }
    if users.is_some_and(|users| users > MOST_USERS) {
        problems
            .push(Problem::new(Place::Flag("--users"), format!("must be at most {MOST_USERS}")));
    }
    if duration.is_some_and(|duration| duration.is_zero()) {
        problems.push(Problem::new(Place::Flag("--duration"), "must be longer than zero"));
    }
    if seed.is_some_and(|seed| seed > LARGEST_SEED) {
        problems
            .push(Problem::new(Place::Flag("--seed"), format!("must be at most {LARGEST_SEED}")));
    }
    workload.duration = duration.or(workload.duration);
    workload.users = users.or(workload.users);
    workload.n_prompts = n_prompts.or(workload.n_prompts);
    if trace.is_some() || dataset.as_ref().is_some_and(DatasetSpec::sets_its_own_lengths) {
        // The scenario's filter was written for the scenario's dataset. Whoever asks for a length
        // gets it, unless a flag says otherwise.
        (workload.filter.max_prompt_words, workload.filter.max_context_words) = (None, None);
    }
    workload.filter.max_prompt_words = max_prompt_tokens.or(workload.filter.max_prompt_words);
    workload.filter.max_context_words = max_context.or(workload.filter.max_context_words);
    set(&mut workload.request.max_tokens, *max_tokens);
    set(&mut workload.dataset, dataset.clone());
    if trace.is_some() && dataset.is_some() {
        let message =
            "--dataset has no place beside it: a trace holds the prompts or their lengths";
        problems.push(
            Problem::new(Place::Flag("--trace"), message)
                .hinting("leave out one of them; SERVER_BENCH_DATASET counts as --dataset"),
        );
    }
    load_shape::apply_trace(workload, trace.as_deref(), *trace_speed, problems);
    if let Some(seed) = seed {
        workload.seed = *seed;
        workload.request.seed = workload.request.seed.map(|_scenario_seed| *seed);
    }
    if request_model.is_some() {
        workload.request.model.clone_from(request_model);
    }
    set(&mut workload.think_time, *think_time);
    set(&mut workload.graceful_stop, *graceful_stop);
    set(&mut workload.warm_up_requests_per_user, *warm_up_requests_per_user);
    set(&mut workload.connections, *connections);
    requests::apply(workload, requests, problems);
    set(&mut workload.request.cache_prompt, *cache_prompt);
    set(&mut workload.request.ignore_eos, *ignore_eos);
    if workload.phases.is_empty() {
        load_shape::apply(workload, *rate, *arrivals, *max_in_flight, problems);
    }
    workload.tpot_difference = tpot_difference.or(workload.tpot_difference);
    if let Some(step) = workload.tpot_difference {
        // A difference of two lengths that nobody forced would be one of two other lengths.
        workload.request.ignore_eos = true;
        workload.request.stop.clear();
        if workload.request.max_tokens.checked_add(step).is_none() {
            let message = "max_tokens and tpot_difference together are more than 4,294,967,295";
            problems.push(Problem::new(Place::Whole, message));
        }
    }
    if *ignore_eos == Some(true) {
        workload.request.stop.clear();
    }
    gates::apply(workload, thresholds, objectives, problems);
}

/// What does not fit together once everything is applied.
fn together(workload: &Workload, problems: &mut Vec<Problem>) {
    let counts_itself =
        matches!(workload.shape, LoadShape::PerUserIterations { .. } | LoadShape::Trace { .. });
    let is_bounded = workload.duration.is_some() || workload.n_prompts.is_some() || counts_itself;
    // Each phase is bounded for itself.
    if !is_bounded && workload.phases.is_empty() {
        // A value that was given but is wrong is already in the list; it is not also missing.
        let already = problems.iter().any(|problem| {
            ["duration", "n_prompts"].iter().any(|key| problem.message.contains(key))
        });
        if !already {
            problems.push(
                Problem::new(
                    Place::Whole,
                    "nothing bounds the run: neither duration nor n_prompts is given",
                )
                .hinting("pass --duration or --n-prompts, or set one of them in the scenario"),
            );
        }
    }
    let planned = workload.planned_requests();
    // What nothing bounds is in the list already.
    if planned.is_finite() && planned > MOST_REQUESTS as f64 {
        let message = format!(
            "{planned:.0} requests are planned, at most {MOST_REQUESTS} are possible: each of them has a record"
        );
        problems.push(Problem::new(Place::Whole, message).hinting(
            "lower the rate, the duration or the number of requests, or play several runs one after the other",
        ));
    }
    requests::together(workload, problems);
    let filter = &workload.filter;
    for (name, most) in [
        ("max_prompt_words", filter.max_prompt_words),
        ("max_context_words", filter.max_context_words),
    ] {
        if most.is_some_and(|most| most < filter.min_words) {
            let message = format!(
                "no prompt can pass: filter.{name} is {}, below filter.min_words, which is {}",
                most.unwrap_or_default(),
                filter.min_words
            );
            problems.push(
                Problem::new(Place::Whole, message).hinting("raise the one or lower the other"),
            );
        }
    }
    if workload.timeouts.first > workload.timeouts.total {
        problems.push(
            Problem::new(
                Place::Whole,
                "timeouts.first is longer than timeouts.total and could never be reached",
            )
            .hinting("raise timeouts.total"),
        );
    }
    gates::together(workload, problems);
}

#[cfg(test)]
mod tests;
