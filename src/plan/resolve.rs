//! From what a user typed to the complete plan; every problem is found here, before anything starts.
//!
//! Main function: [`resolve`]. The only file of this room that reads the disk (a scenario file) and
//! the environment (where the server is). It starts nothing and writes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::problem::{Place, PlanError, Problem};
use super::scenario::{self, Origin, Overrides};
use super::{
    ClockChoice, Connections, Credentials, DatasetSpec, Limits, ModelSource, RunPlan, Secret,
    ServerProgram, ServerSpec, Tags, Target, Workload,
};
use crate::cli::{ConnectionsArg, RunArgs};

/// Seconds between two scrapes: llama-server's own averages are over about as long.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// What the surroundings say where the flags are silent.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Branch, commit and runner as found in the environment and the repository.
    pub tags: Tags,
    /// The value of `PATH`.
    pub search_path: Option<OsString>,
    /// This executable, which is also the simulator.
    pub own_executable: std::path::PathBuf,
}

/// The plan of `run`.
///
/// # Errors
/// [`PlanError`] with every problem of the command line and the scenario, or what keeps the server
/// from being found.
pub fn resolve(
    args: &RunArgs,
    surroundings: &Surroundings,
) -> Result<RunPlan, crate::error::Error> {
    let mut problems = Vec::new();
    let model = model_source(args, &mut problems);
    let headers = headers(&args.server.headers, &mut problems);
    let dataset = dataset(args, &mut problems);
    check_ratio("--max-lateness", args.limits.max_lateness, &mut problems);
    check_ratio("--max-client-delay", args.limits.max_client_delay, &mut problems);
    if args.server.url.is_some() {
        refuse_with_url(args, model.as_ref(), &mut problems);
    }
    let workload = match workload(args, dataset) {
        Ok(workload) => Some(workload),
        Err(PlanError::Invalid { problems: found, .. }) => {
            problems.extend(found);
            None
        }
        Err(other) => return Err(other.into()),
    };
    let (true, Some(workload)) = (problems.is_empty(), workload) else {
        return Err(PlanError::Invalid { subject: "this command line".to_owned(), problems }.into());
    };
    let api_key = args.server.api_key.clone().filter(|key| !key.is_empty()).map(Secret::new);
    let target = match &args.server.url {
        Some(url) => Target::External { base_url: url.clone() },
        None => Target::Start(server_spec(args, surroundings)?),
    };
    // What cannot be sent is said before a server is started for it, and before a password inside a
    // URL could get into a report.
    let base_url = match &target {
        Target::External { base_url } => base_url,
        Target::Start(_) => "http://127.0.0.1",
    };
    crate::load::HttpTarget::parse(base_url, workload.endpoint.path(), &headers, api_key.as_ref())?;
    if let (
        None,
        Target::Start(ServerSpec {
            program: ServerProgram::Executable(program), extra_args, ..
        }),
    ) = (&model, &target)
        && !names_a_model(extra_args)
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
        credentials: Credentials { api_key, headers },
        workload,
        limits: Limits {
            max_failed: args.limits.max_failed,
            max_lateness_ratio: args.limits.max_lateness,
            max_client_delay_ratio: args.limits.max_client_delay,
            accept_saturated_client: args.limits.accept_saturated_client,
        },
        clock: match args.limits.clock {
            crate::cli::ClockArg::Auto => ClockChoice::Auto,
            crate::cli::ClockArg::User => ClockChoice::User,
        },
        out_dir: args.output.out_dir.clone(),
        bench_py_names: args.output.bench_py_names,
        scrape_interval: SCRAPE_INTERVAL,
    })
}

fn model_source(args: &RunArgs, problems: &mut Vec<Problem>) -> Option<ModelSource> {
    let model = &args.model;
    if let (Some(repo), Some(file)) = (&model.hf_repo, &model.hf_file) {
        return Some(ModelSource::Hub {
            repo: repo.trim().to_owned(),
            file: file.trim().to_owned(),
            revision: model.hf_revision.clone(),
        });
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
    match named.strip_prefix("synthetic:") {
        Some(shape) => Some(ModelSource::Synthetic { shape: shape.to_owned() }),
        None => Some(ModelSource::Path { path: named.into() }),
    }
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

/// With `--url` nothing is started, so a flag of the started server would be silently lost.
fn refuse_with_url(args: &RunArgs, model: Option<&ModelSource>, problems: &mut Vec<Problem>) {
    let server = &args.server;
    let given = [
        ("--model or --hf-repo", model.is_some()),
        ("--parallel", server.parallel.is_some()),
        ("--n-gpu-layers", server.n_gpu_layers.is_some()),
        ("--ctx-size", server.ctx_size.is_some()),
        ("--batch-size", server.batch_size.is_some()),
        ("--ubatch-size", server.ubatch_size.is_some()),
        ("arguments after --", !server.extra_args.is_empty()),
    ];
    for (flag, _) in given.into_iter().filter(|(_, given)| *given) {
        problems.push(
            Problem::new(
                Place::Flag(flag),
                "it is for a server that bench-ci starts, and --url names one that runs already",
            )
            .hinting("leave out one of the two"),
        );
    }
}

fn workload(args: &RunArgs, dataset: Option<DatasetSpec>) -> Result<Workload, PlanError> {
    let flags = &args.workload;
    let overrides = Overrides {
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
        seed: flags.seed,
        request_model: args.server.request_model.clone().filter(|name| !name.is_empty()),
        warm_up_requests_per_user: flags.warm_up,
        connections: flags.connections.map(|connections| match connections {
            ConnectionsArg::Ahead => Connections::Ahead,
            ConnectionsArg::Fresh => Connections::Fresh,
        }),
        ignore_eos: flags.ignore_eos.then_some(true),
        thresholds: flags.thresholds.clone(),
        objectives: flags.objectives.clone(),
        ..Overrides::default()
    };
    let origin = Origin::of(&flags.scenario)?;
    match &origin {
        Origin::BuiltIn(name) => {
            let text = scenario::builtin(name)
                .expect("Origin::of names only scenarios that are compiled in");
            scenario::workload(text, &origin, &overrides)
        }
        Origin::File(path) => {
            let text =
                std::fs::read_to_string(path).map_err(|error| unreadable_scenario(path, &error))?;
            scenario::workload(&text, &origin, &overrides)
        }
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
        extra_args: server.extra_args.clone(),
        env: Vec::new(),
        start_timeout: server.start_timeout,
        stop_grace: server.stop_grace,
    })
}

/// Whether llama-server's own arguments already say which model it takes.
fn names_a_model(extra_args: &[String]) -> bool {
    const FLAGS: [&str; 10] = [
        "-m",
        "--model",
        "-mu",
        "--model-url",
        "-hf",
        "-hfr",
        "--hf-repo",
        "-dr",
        "--docker-repo",
        "--models-dir",
    ];
    extra_args.iter().any(|argument| {
        let name = argument.split_once('=').map_or(argument.as_str(), |(name, _)| name);
        FLAGS.contains(&name)
    })
}

fn tags(args: &RunArgs, found: &Tags, workload: &Workload) -> Tags {
    let typed = |flag: &Option<String>, found: &Option<String>| {
        flag.clone().filter(|text| !text.is_empty()).or_else(|| found.clone())
    };
    // A commit that was typed says nothing about the state of the work tree that we found.
    let dirty = if args.tags.commit.is_some() { None } else { found.dirty };
    Tags {
        name: args.tags.name.clone().unwrap_or_else(|| workload.scenario.clone()),
        runner_label: typed(&args.tags.runner_label, &found.runner_label),
        branch: typed(&args.tags.branch, &found.branch),
        commit: typed(&args.tags.commit, &found.commit),
        dirty,
    }
}
