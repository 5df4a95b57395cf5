//! From what a user typed to the complete plan; every problem is found here, before anything starts.
//!
//! Main functions: [`intention`], one plan or many, and [`resolve`], one plan. The only place of this room that reads the disk (a scenario file) and
//! the environment (where the server is). It starts nothing and writes nothing.

pub(crate) mod prometheus;
mod suite;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::problem::{Place, PlanError, Problem, subject_of};
use super::request::PLACEHOLDER;
use super::scenario::{self, Origin, Overrides, RequestOverrides};
use super::{
    ClockChoice, Connections, Credentials, DatasetSpec, HttpVersion, Limits, ModelSource,
    PeaksSpec, Proxy, RunPlan, Sampling, Secret, ServerProgram, ServerSpec, Tags, Target,
    Transport, Workload, Yield,
};
use crate::cli::{ConnectionsArg, HttpVersionArg, RunArgs};
use crate::model::{BadName, synthetic};
use crate::server::command;

pub use suite::{Intention, intention};

/// More often than this, looking would be much of what is seen.
const SHORTEST_SCRAPE_INTERVAL: Duration = Duration::from_millis(10);

/// What the surroundings say where the flags are silent.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Branch, commit and runner as found in the environment and the repository.
    pub tags: Tags,
    /// The value of `PATH`.
    pub search_path: Option<OsString>,
    /// Variables that name a proxy, such as `HTTPS_PROXY`, as far as they are set.
    pub proxy_variables: Vec<String>,
    /// This executable, which is also the simulator.
    pub own_executable: std::path::PathBuf,
}

/// The plan of a single run; of a suite, that of its first cell.
///
/// # Errors
/// [`PlanError`] with every problem of the command line and the scenario, or what keeps the server
/// from being found.
pub fn resolve(
    args: &RunArgs,
    surroundings: &Surroundings,
) -> Result<RunPlan, crate::error::Error> {
    match intention(args, surroundings)? {
        Intention::Run(plan) => Ok(*plan),
        Intention::Suite(suite) => {
            let first = suite.cells.into_iter().next().expect("a suite has at least one cell");
            let mut plan = first.plan;
            plan.out_dir.clone_from(&args.output.out_dir);
            Ok(plan)
        }
    }
}

/// The plan of a scenario that is no suite.
fn plain(args: &RunArgs, surroundings: &Surroundings) -> Result<RunPlan, crate::error::Error> {
    resolve_with(args, surroundings, |overrides| {
        let origin = Origin::of(&args.workload.scenario)?;
        match &origin {
            Origin::BuiltIn(name) => {
                let text = scenario::builtin(name)
                    .expect("Origin::of names only scenarios that are compiled in");
                scenario::workload(text, &origin, overrides)
            }
            Origin::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| unreadable_scenario(path, &error))?;
                scenario::workload(&text, &origin, overrides)
            }
        }
    })
}

/// The plan of a workload that is handed the flags over it.
fn resolve_with(
    args: &RunArgs,
    surroundings: &Surroundings,
    workload_of: impl FnOnce(&Overrides) -> Result<Workload, PlanError>,
) -> Result<RunPlan, crate::error::Error> {
    let mut problems = Vec::new();
    let model = model_source(args, &mut problems);
    let headers = headers(&args.server.headers, &mut problems);
    let dataset = dataset(args, &mut problems);
    let mut transport = transport(args, &mut problems);
    let environment = |name: &str| std::env::var(name).ok();
    let prometheus = prometheus::prometheus(&args.prometheus, &environment, &mut problems);
    check_ratio("--max-lateness", args.client_limits.max_lateness, &mut problems);
    check_ratio("--max-client-delay", args.client_limits.max_client_delay, &mut problems);
    check_ratio("--min-achieved-rate", args.client_limits.min_achieved_rate, &mut problems);
    check_ratio("--max-arrival-lateness", args.client_limits.max_arrival_lateness, &mut problems);
    if args.output.scrape_interval < SHORTEST_SCRAPE_INTERVAL {
        let given = args.output.scrape_interval.as_secs_f64() * 1e3;
        problems.push(Problem::new(
            Place::Flag("--scrape-interval"),
            format!("invalid value \"{given}ms\": expected 10ms or longer"),
        ));
    }
    if args.server.url.is_some() {
        refuse_with_url(args, model.as_ref(), &mut problems);
    } else {
        refuse_two_models(args, model.as_ref(), &mut problems);
    }
    let template = prompt_template(args, &mut problems);
    let mut scenario = String::new();
    let workload = match workload_of(&overrides(args, dataset, template)) {
        Ok(workload) => Some(workload),
        Err(PlanError::Invalid { subject, problems: found }) => {
            scenario = subject;
            problems.extend(found);
            None
        }
        Err(other) => return Err(other.into()),
    };
    let (true, Some(workload)) = (problems.is_empty(), workload) else {
        return Err(
            PlanError::Invalid { subject: subject_of(&scenario, &problems), problems }.into()
        );
    };
    let api_key = args.server.api_key.clone().filter(|key| !key.is_empty()).map(Secret::new);
    let target = match &args.server.url {
        Some(url) => Target::External { base_url: url.clone() },
        None => Target::Start(server_spec(args, surroundings, &workload, model.as_ref())?),
    };
    // What cannot be sent is said before a server is started for it, and before a password inside a
    // URL could get into a report.
    let base_url = match &target {
        Target::External { base_url } => base_url,
        Target::Start(_) => "http://127.0.0.1",
    };
    crate::load::HttpTarget::parse(base_url, workload.endpoint.path(), &headers, api_key.as_ref())?
        .through(&transport)?;
    let url = crate::transport::ServerUrl::parse(base_url).expect("the same URL was read above");
    if url.secure {
        crate::transport::client_config(&transport).map_err(crate::load::LoadError::Tls)?;
    }
    transport.ignored_proxy_variable = ignored_proxy(&url, &transport, surroundings);
    if let (
        None,
        Target::Start(ServerSpec {
            program: ServerProgram::Executable(program), extra_args, ..
        }),
    ) = (&model, &target)
        && !command::names_a_model(extra_args)
    {
        let problem = Problem::new(Place::Flag("--model"), format!("no model for \"{}\"", program.display())).hinting(
            "three ways: --hf-repo REPO --hf-file FILE (downloaded), --model PATH (a GGUF on disk), or \
             --model synthetic (made on the spot)",
        );
        return Err(PlanError::Invalid {
            subject: "this command line".to_owned(),
            problems: vec![problem],
        }
        .into());
    }
    Ok(RunPlan {
        tags: tags(args, &surroundings.tags, &workload),
        model,
        model_dir: args.model.model_path_prefix.clone(),
        target,
        transport,
        credentials: Credentials { api_key, headers },
        workload,
        limits: Limits {
            max_failed: args.limits.max_failed,
            max_lateness_ratio: args.client_limits.max_lateness,
            max_client_delay_ratio: args.client_limits.max_client_delay,
            min_achieved_rate_ratio: args.client_limits.min_achieved_rate,
            max_arrival_lateness_ratio: args.client_limits.max_arrival_lateness,
            arrival_lateness_floor: args.client_limits.arrival_lateness_floor,
            accept_saturated_client: args.client_limits.accept_saturated_client,
        },
        clock: match args.limits.clock {
            crate::cli::ClockArg::Auto => ClockChoice::Auto,
            crate::cli::ClockArg::User => ClockChoice::User,
        },
        out_dir: args.output.out_dir.clone(),
        bench_py_names: args.output.bench_py_names,
        scrape_interval: args.output.scrape_interval,
        peaks: PeaksSpec {
            bandwidth: args.derived.peak_bandwidth,
            flops: args.derived.peak_flops,
            measure: args.derived.measure_peaks,
        },
        calibrate: args.derived.calibrate,
        prometheus,
    })
}

fn model_source(args: &RunArgs, problems: &mut Vec<Problem>) -> Option<ModelSource> {
    let model = &args.model;
    if let (Some(repo), Some(file)) = (&model.hf_repo, &model.hf_file) {
        let (repo, file, revision) = (repo.trim(), file.trim(), model.hf_revision.clone());
        if let Err(bad) = BadName::check(repo, file, revision.as_deref()) {
            let BadName { flag, value, expected } = bad;
            let message = format!("invalid value \"{value}\": expected {expected}");
            problems.push(Problem::new(Place::Flag(flag), message).hinting(BadName::HINT));
            return None;
        }
        return Some(ModelSource::Hub { repo: repo.to_owned(), file: file.to_owned(), revision });
    }
    let named = model.model.as_deref()?;
    if named.is_empty() {
        problems.push(
            Problem::new(Place::Flag("--model"), "the path is empty")
                .hinting("leave the flag out, or name a GGUF"),
        );
        return None;
    }
    if named == "synthetic" {
        return Some(ModelSource::Synthetic { shape: "tiny".to_owned() });
    }
    let Some(shape) = named.strip_prefix("synthetic:") else {
        return Some(ModelSource::Path { path: named.into() });
    };
    if let Err(error) = shape.parse::<synthetic::Shape>() {
        let message = format!("invalid value \"{named}\": {error}");
        problems.push(Problem::new(Place::Flag("--model"), message).hinting(error.hint()));
        return None;
    }
    Some(ModelSource::Synthetic { shape: shape.to_owned() })
}

fn headers(typed: &[String], problems: &mut Vec<Problem>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for header in typed {
        match header.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                headers.push((name.trim().to_owned(), Secret::new(value.to_owned())));
            }
            // The value may be a secret: only what stands before a colon or blank is shown.
            _ => problems.push(
                Problem::new(Place::Flag("--header"), "no NAME=VALUE")
                    .hinting("write it as --header X-My-Header=value, with an equals sign"),
            ),
        }
    }
    headers
}

fn transport(args: &RunArgs, problems: &mut Vec<Problem>) -> Transport {
    let server = &args.server;
    let proxy = server.proxy.as_deref().and_then(|typed| match typed.parse::<Proxy>() {
        Ok(proxy) => Some(proxy),
        Err(why) => {
            problems.push(
                Problem::new(Place::Flag("--proxy"), format!("no proxy: {why}"))
                    .hinting("write it as --proxy http://host:3128, with user:password@ before the host where it wants them"),
            );
            None
        }
    });
    Transport {
        http_version: match server.http_version {
            _ if server.http2 => HttpVersion::Http2,
            HttpVersionArg::Http1 => HttpVersion::Http1,
            HttpVersionArg::Http2 => HttpVersion::Http2,
            HttpVersionArg::Auto => HttpVersion::Auto,
        },
        ca_file: server.cacert.clone(),
        insecure: server.insecure,
        proxy,
        ignored_proxy_variable: None,
    }
}

/// The variable by which other programs would go through a proxy to this server.
fn ignored_proxy(
    url: &crate::transport::ServerUrl,
    transport: &Transport,
    surroundings: &Surroundings,
) -> Option<String> {
    if transport.proxy.is_some() || url.is_loopback() {
        return None;
    }
    let scheme = if url.secure { "https_proxy" } else { "http_proxy" };
    let mut set = surroundings.proxy_variables.iter();
    set.find(|name| [scheme, "all_proxy"].contains(&name.to_ascii_lowercase().as_str())).cloned()
}

fn dataset(args: &RunArgs, problems: &mut Vec<Problem>) -> Option<DatasetSpec> {
    let typed = args.workload.dataset.as_deref().filter(|typed| !typed.is_empty())?;
    match typed.parse() {
        Ok(dataset) => Some(dataset),
        Err(error) => {
            problems.push(Problem::new(
                Place::Flag("--dataset"),
                format!("invalid value \"{typed}\": {error}"),
            ));
            None
        }
    }
}

fn check_ratio(flag: &'static str, ratio: f64, problems: &mut Vec<Problem>) {
    if !(ratio.is_finite() && ratio >= 0.0) {
        problems.push(Problem::new(
            Place::Flag(flag),
            format!("invalid value \"{ratio}\": expected a share such as 0.01"),
        ));
    }
}

/// Beside a model behind `--` that of the plan would be in the report and not be loaded.
fn refuse_two_models(args: &RunArgs, model: Option<&ModelSource>, problems: &mut Vec<Problem>) {
    if model.is_none() || !command::names_a_model(&args.server.extra_args) {
        return;
    }
    let flag = if args.model.hf_repo.is_some() { "--hf-repo" } else { "--model" };
    problems.push(Problem::new(Place::Flag(flag), command::TWO_MODELS).hinting(command::ONE_MODEL));
}

/// With `--url` nothing is started, so a flag of the started server would be silently lost.
fn refuse_with_url(args: &RunArgs, model: Option<&ModelSource>, problems: &mut Vec<Problem>) {
    let server = &args.server;
    let given = [
        ("--model or --hf-repo", model.is_some()),
        ("--model-path-prefix", args.model.model_path_prefix.is_some()),
        ("--parallel", server.parallel.is_some()),
        ("--n-gpu-layers", server.n_gpu_layers.is_some()),
        ("--ctx-size", server.ctx_size.is_some()),
        ("--batch-size", server.batch_size.is_some()),
        ("--ubatch-size", server.ubatch_size.is_some()),
        ("arguments after --", !server.extra_args.is_empty()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag);
    for flag in given.chain(server.typed.0.iter().copied()) {
        problems.push(
            Problem::new(
                Place::Flag(flag),
                "it is for a server that bench-ci starts, and --url names one that runs already",
            )
            .hinting("leave out one of the two"),
        );
    }
}

/// The text of `--prompt-template`: what holds the placeholder is the template, all else its file.
fn prompt_template(args: &RunArgs, problems: &mut Vec<Problem>) -> Option<String> {
    let typed = args.request.prompt_template.as_deref()?;
    if typed.contains(PLACEHOLDER) {
        return Some(typed.to_owned());
    }
    match std::fs::read_to_string(typed) {
        Ok(text) => Some(text),
        Err(error) => {
            problems.push(
                Problem::new(
                    Place::Flag("--prompt-template"),
                    format!("cannot read \"{typed}\": {error}"),
                )
                .hinting(format!("give a text with {PLACEHOLDER} in it, or the path of its file")),
            );
            None
        }
    }
}

fn request_overrides(args: &RunArgs, prompt_template: Option<String>) -> RequestOverrides {
    let flags = &args.request;
    RequestOverrides {
        endpoint: flags.endpoint,
        stream: flags.no_stream.then_some(false),
        deadline: flags.deadline,
        sampling: Sampling {
            temperature: flags.temperature,
            top_p: flags.top_p,
            top_k: flags.top_k,
            min_p: flags.min_p,
            repeat_penalty: flags.repeat_penalty,
            presence_penalty: flags.presence_penalty,
            frequency_penalty: flags.frequency_penalty,
        },
        extra_body: flags.extra_body.clone(),
        prompt_template,
        inputs_per_request: flags.inputs_per_request,
        turns: flags.turns,
    }
}

fn overrides(
    args: &RunArgs,
    dataset: Option<DatasetSpec>,
    prompt_template: Option<String>,
) -> Overrides {
    let flags = &args.workload;
    Overrides {
        duration: flags.duration,
        users: flags.users,
        rate: flags.rate,
        arrivals: flags.arrivals,
        max_in_flight: flags.max_in_flight,
        n_prompts: flags.n_prompts,
        max_prompt_tokens: flags.max_prompt_tokens,
        max_tokens: flags.max_tokens,
        max_context: flags.max_context,
        dataset,
        trace: flags.trace.clone(),
        trace_speed: flags.trace_speed,
        seed: flags.seed,
        request_model: args.server.request_model.clone().filter(|name| !name.is_empty()),
        warm_up_requests_per_user: flags.warm_up,
        connections: flags.connections.map(|connections| match connections {
            ConnectionsArg::Ahead => Connections::Ahead,
            ConnectionsArg::Fresh => Connections::Fresh,
        }),
        requests: request_overrides(args, prompt_template),
        cache_prompt: args.request.cache_prompt,
        ignore_eos: flags.ignore_eos.then_some(true),
        tpot_difference: flags.tpot_difference,
        thresholds: flags.thresholds.clone(),
        objectives: flags.objectives.clone(),
        ..Overrides::default()
    }
}

fn unreadable_scenario(path: &Path, error: &std::io::Error) -> PlanError {
    PlanError::Invalid {
        subject: "this command line".to_owned(),
        problems: vec![
            Problem::new(
                Place::Flag("--scenario"),
                format!("cannot read \"{}\": {error}", path.display()),
            )
            .hinting(format!(
                "give the path of a scenario file, or a built-in name: {}",
                scenario::builtin_names().join(", ")
            )),
        ],
    }
}

fn server_spec(
    args: &RunArgs,
    surroundings: &Surroundings,
    workload: &Workload,
    model: Option<&ModelSource>,
) -> Result<ServerSpec, crate::error::Error> {
    let server = &args.server;
    let choice = match server.server.as_deref().filter(|choice| !choice.is_empty()) {
        Some("sim") => Some(ServerProgram::Sim),
        Some(path) => Some(ServerProgram::Executable(path.into())),
        None => None,
    };
    // clap has read LLAMA_SERVER_BIN_PATH into --server already.
    let program = crate::server::resolve_program(
        choice.as_ref(),
        None,
        surroundings.search_path.as_deref(),
        &surroundings.own_executable,
    )?;
    Ok(ServerSpec {
        program: program.to_plan(),
        // As in a URL or not: a server is told the bare address.
        host: server.host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: server.port,
        parallel: server.parallel,
        n_gpu_layers: server.n_gpu_layers.clone(),
        ctx_size: server.ctx_size,
        batch_size: server.batch_size,
        ubatch_size: server.ubatch_size,
        fit_off: false,
        env: Vec::new(),
        extra_args: with_flags_of_the_route(&server.extra_args, workload, model),
        start_timeout: server.start_timeout,
        stop_grace: server.stop_grace,
    })
}

/// llama-server offers embeddings and reranking only where it is told to; what was typed goes first.
fn with_flags_of_the_route(
    typed: &[String],
    workload: &Workload,
    model: Option<&ModelSource>,
) -> Vec<String> {
    let has = |names: &[&str]| {
        typed.iter().any(|typed| {
            let name = typed.split_once('=').map_or(typed.as_str(), |(name, _)| name);
            names.contains(&name)
        })
    };
    let mut all = typed.to_vec();
    let mut add = |flags: &[&str]| all.extend(flags.iter().map(|flag| (*flag).to_owned()));
    match workload.endpoint.yields() {
        Yield::Tokens => {}
        Yield::Embeddings => {
            if !has(&["--embedding", "--embeddings"]) {
                add(&["--embeddings"]);
            }
            // Real embedding models say themselves how they pool; ours cannot know.
            let synthetic = matches!(model, Some(ModelSource::Synthetic { .. }));
            if synthetic && !has(&["--pooling"]) {
                add(&["--pooling", "mean"]);
            }
        }
        Yield::Scores if !has(&["--rerank", "--reranking"]) => add(&["--reranking"]),
        Yield::Scores => {}
    }
    all
}

fn tags(args: &RunArgs, found: &Tags, workload: &Workload) -> Tags {
    let typed = |flag: &Option<String>, found: &Option<String>| {
        flag.clone().filter(|text| !text.trim().is_empty()).or_else(|| found.clone())
    };
    // A commit that was typed says nothing about the state of the work tree that we found.
    let dirty = if args.tags.commit.is_some() { None } else { found.dirty };
    Tags {
        name: typed(&args.tags.name, &None).unwrap_or_else(|| workload.scenario.clone()),
        runner_label: typed(&args.tags.runner_label, &found.runner_label),
        branch: typed(&args.tags.branch, &found.branch),
        commit: typed(&args.tags.commit, &found.commit),
        dirty,
    }
}
