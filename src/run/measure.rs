//! From a plan to findings: model, prompts, server, load, stop. Everything that takes time or can
//! fail happens here, in this order.
//!
//! Main function: [`measure`].

use super::findings::{Findings, ServerFacts};
use super::stage::{Running, size};
use super::under_load::UnderLoad;
use crate::cancel::Cancel;
use crate::dataset::{self, Ask, Carries, PromptSet};
use crate::error::Error;
use crate::event::{Events, Stage};
use crate::model::{self, ModelFile};
use crate::plan::{Endpoint, RunPlan, Secret, ServerSpec, Target};
use crate::scrape::ControlPlane;
use crate::server::{
    self, Capabilities, Ending, Guard, Launch, Program, RunningServer, ServerError,
};

/// Everything that the server wrote.
pub(super) const SERVER_LOG: &str = "server.log";

/// How many prompts are read for each that is wanted: some may not fit the server's context.
const SPARE_PROMPTS: u64 = 2;

/// Plays the whole plan; what was found before an error is in `findings`.
pub(super) async fn measure(
    plan: &RunPlan,
    findings: &mut Findings,
    events: &Events,
    cancel: &Cancel,
) -> Result<(), Error> {
    check_stop(cancel)?;
    if let Some(source) = &plan.model {
        let stage = Running::begin(events, Stage::Model, source.to_string());
        let file = model::resolve(source, plan.model_dir.as_deref(), events, cancel).await?;
        stage.done(format!("{}, {}", file.path.display(), size(file.size_bytes)));
        findings.model = Some(file);
    }
    check_stop(cancel)?;
    let prompts = prompts(plan, events, cancel).await?;
    check_stop(cancel)?;
    match &plan.target {
        Target::External { base_url } => {
            findings.server = Some(ServerFacts {
                base_url: base_url.clone(),
                command: Vec::new(),
                version: None,
                start_s: None,
            });
            let control = ControlPlane::of_external(base_url, &plan.credentials)
                .map_err(|source| ServerError::Client { base_url: base_url.clone(), source })?;
            let api_key = plan.credentials.api_key.clone();
            let under_load = UnderLoad { plan, prompts: &prompts, control, base_url, api_key };
            under_load.play(None, findings, events, cancel).await
        }
        Target::Start(spec) => started(plan, spec, &prompts, findings, events, cancel).await,
    }
}

/// Starts the server, loads it, and stops it whatever the load came to.
async fn started(
    plan: &RunPlan,
    spec: &ServerSpec,
    prompts: &PromptSet,
    findings: &mut Findings,
    events: &Events,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut server = start(plan, spec, findings, events, cancel).await?;
    findings.warnings.extend(server.warnings.iter().cloned());
    findings.server = Some(ServerFacts {
        base_url: server.base_url.clone(),
        command: server.command.display_redacted(),
        version: server.version.clone(),
        start_s: Some(server.healthy_s),
    });
    let base_url = server.base_url.clone();
    let api_key = server.api_key.clone().or_else(|| plan.credentials.api_key.clone());
    let outcome = match ControlPlane::of_child(&base_url, api_key.as_ref()) {
        Ok(control) => {
            let under_load = UnderLoad { plan, prompts, control, base_url: &base_url, api_key };
            under_load.play(Some(&mut server), findings, events, cancel).await
        }
        Err(source) => Err(ServerError::Client { base_url: base_url.clone(), source }.into()),
    };
    let stage = Running::begin(events, Stage::Stop, "SIGINT to the server".to_owned());
    if let Some(problem) = server.log_error() {
        findings.warnings.push(format!("{SERVER_LOG} is not complete: {problem}"));
    }
    let exit = server.stop_unless_hurried(cancel).await;
    stage.done(exit.words());
    if exit.how == Ending::Killed {
        let seconds = spec.stop_grace.as_secs_f64();
        findings.warnings.push(format!(
            "the server did not stop within {seconds} s of SIGINT (--stop-grace) and was killed"
        ));
    }
    findings.server_exit = Some(exit);
    outcome
}

async fn start(
    plan: &RunPlan,
    spec: &ServerSpec,
    findings: &mut Findings,
    events: &Events,
    cancel: &Cancel,
) -> Result<RunningServer, Error> {
    let program = Program::from_plan(&spec.program)?;
    let stage = Running::begin(events, Stage::Server, program_in_words(&program));
    let guard = match Guard::start() {
        Ok(guard) => Some(guard),
        Err(error) => {
            let message = format!(
                "no watchdog beside the server ({error}): a grandchild may outlive a kill -9"
            );
            findings.warnings.push(message);
            None
        }
    };
    let capabilities = if program.is_simulator {
        Capabilities::of_simulator()
    } else {
        unless_stopped(cancel, async { Ok(server::probe(&program.path, guard.as_ref()).await?) })
            .await?
    };
    let launch = Launch {
        spec,
        program: &program,
        model: findings.model.as_ref().map(|model| model.path.as_path()),
        capabilities: &capabilities,
        log: &plan.out_dir.join(SERVER_LOG),
        inherited_api_key: std::env::var("LLAMA_API_KEY")
            .ok()
            .filter(|key| !key.is_empty())
            .map(Secret::new),
        log_events: Some(events.clone()),
        guard,
    };
    let (server, digest) = start_beside_digest(&launch, findings.model.as_ref(), cancel).await?;
    findings.model_sha256 = digest;
    stage.done(format!("healthy on {} after {:.2} s", server.base_url, server.healthy_s));
    Ok(server)
}

/// Reading the whole model for its digest takes seconds and warms the page cache too, so it is done
/// while the server starts, and ends before the load. A server that does not start is told at once.
async fn start_beside_digest(
    launch: &Launch<'_>,
    model: Option<&ModelFile>,
    cancel: &Cancel,
) -> Result<(RunningServer, Option<String>), Error> {
    let mut digest = std::pin::pin!(digest(model));
    let mut known = None;
    let server = {
        let mut starting = std::pin::pin!(server::start(launch, cancel));
        loop {
            tokio::select! {
                biased;
                server = &mut starting => break server?,
                digest = &mut digest, if known.is_none() => known = Some(digest?),
            }
        }
    };
    let digest = match known {
        Some(digest) => Ok(digest),
        None => unless_stopped(cancel, digest).await,
    };
    match digest {
        Ok(digest) => Ok((server, digest)),
        Err(error) => {
            server.stop_unless_hurried(cancel).await;
            Err(error)
        }
    }
}

async fn digest(model: Option<&ModelFile>) -> Result<Option<String>, Error> {
    match model {
        Some(model) => Ok(Some(model.digest().await?)),
        None => Ok(None),
    }
}

async fn prompts(plan: &RunPlan, events: &Events, cancel: &Cancel) -> Result<PromptSet, Error> {
    let workload = &plan.workload;
    let stage = Running::begin(events, Stage::Dataset, workload.dataset.to_string());
    let fetch = |file| model::fetch_dataset_file(file, events, cancel);
    let cache = model::cache_dir();
    let spare = |wanted: u64| match workload.dataset.sets_its_own_lengths() {
        // What is asked for is not read on in the hope of something shorter.
        true => wanted,
        false => wanted.saturating_mul(SPARE_PROMPTS).saturating_add(64),
    };
    let ask = Ask {
        spec: workload.dataset.clone(),
        filter: workload.filter,
        limit: workload.n_prompts.map(spare),
        carries: match workload.endpoint {
            Endpoint::ChatCompletions => Carries::Chats,
            _ => Carries::Texts,
        },
        seed: workload.seed,
    };
    let mut prompts = dataset::load(&ask, cache.as_deref(), &fetch, events, cancel).await?;
    if let Some(file) = &mut prompts.file
        && file.sha256.is_none()
    {
        // A pipe can be read only once, and has no digest then.
        let is_file = file.path.is_file();
        let path = file.path.clone();
        let digest = async { Ok(model::file_digest(&path).await?) };
        file.sha256 = if is_file { Some(unless_stopped(cancel, digest).await?) } else { None };
    }
    stage.done(format!("{} of {} prompts", prompts.kept, prompts.seen));
    Ok(prompts)
}

/// `work`, dropped where a stop is asked for: for what does not look itself.
pub(super) async fn unless_stopped<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        done = work => done,
        reason = cancel.cancelled() => Err(Error::Stopped { reason }),
    }
}

fn check_stop(cancel: &Cancel) -> Result<(), Error> {
    match cancel.reason() {
        Some(reason) => Err(Error::Stopped { reason }),
        None => Ok(()),
    }
}

fn program_in_words(program: &Program) -> String {
    if program.is_simulator {
        "the simulator".to_owned()
    } else {
        program.path.display().to_string()
    }
}
