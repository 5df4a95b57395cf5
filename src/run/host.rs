//! A server that is ready, held across as many loads as are wanted: one of ours from its start to its
//! stop, or one that was there before us.
//!
//! Main type: [`Host`]. It decides nothing about the load; that is in `under_load`.

use std::path::Path;

use super::findings::{Findings, ReadyModel, ServerFacts};
use super::measure::{SERVER_LOG, unless_stopped};
use super::stage::Running;
use super::under_load::UnderLoad;
use super::words;
use crate::cancel::Cancel;
use crate::dataset::PromptSet;
use crate::error::Error;
use crate::event::{Events, Stage};
use crate::load::HttpTarget;
use crate::plan::{RunPlan, Secret, ServerSpec, Target};
use crate::scrape::ControlPlane;
use crate::server::running::CpuClock;
use crate::server::{
    self, Capabilities, Ending, Guard, Launch, Program, RunningServer, ServerError, ServerExit,
};

/// A server that can be loaded.
///
/// One of ours should be stopped by [`Host::stop`]; dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Host {
    facts: ServerFacts,
    control: ControlPlane,
    api_key: Option<Secret>,
    /// With its grace period in seconds, for a message; `None` if it is not ours.
    ours: Option<(RunningServer, f64)>,
}

impl Host {
    /// The server of a plan: started, or only addressed where it runs already. `log` is where one of
    /// ours writes; what is worth a warning goes to the findings, and the model's digest too.
    ///
    /// # Errors
    /// If there is no healthy server; nothing of it is left running then.
    pub(crate) async fn ready(
        plan: &RunPlan,
        log: &Path,
        findings: &mut Findings,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        match &plan.target {
            Target::External { base_url } => Self::external(base_url, plan),
            Target::Start(spec) => Self::start(plan, spec, log, findings, events, cancel).await,
        }
    }

    fn external(base_url: &str, plan: &RunPlan) -> Result<Self, Error> {
        let control = ControlPlane::of_external(base_url, &plan.credentials, &plan.transport)
            .map_err(|source| ServerError::Client { base_url: base_url.to_owned(), source })?;
        Ok(Self {
            facts: ServerFacts {
                base_url: base_url.to_owned(),
                command: Vec::new(),
                version: None,
                start_s: None,
            },
            control,
            api_key: plan.credentials.api_key.clone(),
            ours: None,
        })
    }

    async fn start(
        plan: &RunPlan,
        spec: &ServerSpec,
        log: &Path,
        findings: &mut Findings,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Self, Error> {
        let server = start(plan, spec, log, findings, events, cancel).await?;
        findings.warnings.extend(server.warnings.iter().cloned());
        let facts = ServerFacts {
            base_url: server.base_url.clone(),
            command: server.command.display_redacted(),
            version: server.version.clone(),
            start_s: Some(server.healthy_s),
        };
        // Also where its control cannot be had: it is said of which server.
        findings.server = Some(facts.clone());
        let api_key = server.api_key.clone().or_else(|| plan.credentials.api_key.clone());
        match ControlPlane::of_child(&facts.base_url, api_key.as_ref()) {
            Ok(control) => {
                let ours = Some((server, spec.stop_grace.as_secs_f64()));
                Ok(Self { facts, control, api_key, ours })
            }
            Err(source) => {
                findings.server_exit = Some(server.stop_unless_hurried(cancel).await);
                Err(ServerError::Client { base_url: facts.base_url, source }.into())
            }
        }
    }

    /// Plays the workload of a plan once. May be called again, with another workload, as long as the
    /// server [is alive](Host::is_alive).
    ///
    /// # Errors
    /// What kept the load from being played. What was found until then is in the findings, the death
    /// of the server too.
    pub(crate) async fn play(
        &mut self,
        plan: &RunPlan,
        prompts: &PromptSet,
        findings: &mut Findings,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        findings.server = Some(self.facts.clone());
        findings.warnings.extend(words::on_the_way(&plan.way(), self.ours.is_some()));
        let under_load = UnderLoad {
            plan,
            prompts,
            control: &self.control,
            base_url: &self.facts.base_url,
            api_key: self.api_key.as_ref(),
        };
        let server = self.ours.as_mut().map(|(server, _)| server);
        under_load.play(server, findings, events, cancel).await
    }

    /// Where the requests of this plan go.
    ///
    /// # Errors
    /// If its address, path or headers cannot be sent.
    pub(crate) fn target(&self, plan: &RunPlan) -> Result<HttpTarget, Error> {
        let path = plan.workload.endpoint.path();
        let headers = &plan.credentials.headers;
        Ok(HttpTarget::parse(&self.facts.base_url, path, headers, self.api_key.as_ref())?)
    }

    /// For questions beside the load.
    pub(crate) fn control(&self) -> &ControlPlane {
        &self.control
    }

    /// What is known of it.
    pub(crate) fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The processor time of its processes; `None` if they are not ours.
    pub(crate) fn cpu_clock(&self) -> Option<CpuClock> {
        self.ours.as_ref().map(|(server, _)| server.group().cpu_clock())
    }

    /// How it ended, with its cause if the log tells it; `None` while it runs.
    pub(crate) fn death_in_words(&self) -> Option<String> {
        let (server, _) = self.ours.as_ref()?;
        Some(server.death_in_words(&server.exited()?))
    }

    /// Whether it has not been seen to end. Of a server that is not ours nothing is seen.
    pub(crate) fn is_alive(&self) -> bool {
        self.ours.as_ref().is_none_or(|(server, _)| server.exited().is_none())
    }

    /// Stops one of ours; `None` for one that is not. What is worth a warning is added to `warnings`.
    pub(crate) async fn stop(
        self,
        warnings: &mut Vec<String>,
        events: &Events,
        cancel: &Cancel,
    ) -> Option<ServerExit> {
        let what = if self.is_alive() { "SIGINT to the server" } else { "the server has ended" };
        let (server, grace_s) = self.ours?;
        let stage = Running::begin(events, Stage::Stop, what.to_owned());
        if let Some(problem) = server.log_error() {
            warnings.push(format!("{SERVER_LOG} is not complete: {problem}"));
        }
        let exit = server.stop_unless_hurried(cancel).await;
        stage.done(exit.words());
        if exit.how == Ending::Killed {
            warnings.push(format!(
                "the server did not stop within {grace_s} s of SIGINT (--stop-grace) and was killed"
            ));
        }
        Some(exit)
    }
}

async fn start(
    plan: &RunPlan,
    spec: &ServerSpec,
    log: &Path,
    findings: &mut Findings,
    events: &Events,
    cancel: &Cancel,
) -> Result<RunningServer, Error> {
    let program = Program::from_plan(&spec.program)?;
    let stage = Running::begin(events, Stage::Server, in_words(&program));
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
    let path = findings.model.as_ref().map(|model| model.file.path.clone());
    let launch = Launch {
        spec,
        program: &program,
        model: path.as_deref(),
        capabilities: &capabilities,
        log,
        inherited_api_key: std::env::var("LLAMA_API_KEY")
            .ok()
            .and_then(|keys| server::command::first_key(&keys)),
        secrets: secrets(plan),
        log_events: Some(events.clone()),
        guard,
    };
    let server = start_beside_digest(&launch, findings.model.as_mut(), cancel).await?;
    stage.done(format!("healthy on {} after {:.2} s", server.base_url, server.healthy_s));
    Ok(server)
}

/// A header with a shorter value names a way to answer, and is no key.
const LEAST_HEADER_BYTES: usize = 8;

/// What a server of ours is sent, and what it inherits: it, or a script around it, may write that to its log.
fn secrets(plan: &RunPlan) -> Vec<Secret> {
    let headers = plan.credentials.headers.iter().map(|(_, value)| value);
    let headers = headers.filter(|value| value.expose().len() >= LEAST_HEADER_BYTES);
    let sent = plan.credentials.api_key.iter().chain(headers).cloned();
    let set = ["LLAMA_API_KEY", "HF_TOKEN"].into_iter().filter_map(|name| std::env::var(name).ok());
    let each: Vec<Secret> = set
        .flat_map(|keys| keys.split(',').map(|key| Secret::new(key.to_owned())).collect::<Vec<_>>())
        .collect();
    sent.chain(each).collect()
}

/// Reading the whole model for its digest takes seconds and warms the page cache too, so it is done
/// while the server starts, and ends before the load. A server that does not start is told at once.
async fn start_beside_digest(
    launch: &Launch<'_>,
    model: Option<&mut ReadyModel>,
    cancel: &Cancel,
) -> Result<RunningServer, Error> {
    let mut digest = std::pin::pin!(digest(model));
    let mut known = None;
    let server = {
        let mut starting = std::pin::pin!(server::start(launch, cancel));
        loop {
            tokio::select! {
                biased;
                server = &mut starting => break server?,
                digest = &mut digest, if known.is_none() => { digest?; known = Some(()); }
            }
        }
    };
    let digest = match known {
        Some(()) => Ok(()),
        None => unless_stopped(cancel, digest).await,
    };
    match digest {
        Ok(()) => Ok(server),
        Err(error) => {
            server.stop_unless_hurried(cancel).await;
            Err(error)
        }
    }
}

/// Taken once, however many servers are started with the model.
async fn digest(model: Option<&mut ReadyModel>) -> Result<(), Error> {
    if let Some(model) = model
        && model.sha256.is_none()
    {
        model.sha256 = Some(model.file.digest().await?);
    }
    Ok(())
}

fn in_words(program: &Program) -> String {
    if program.is_simulator {
        "the simulator".to_owned()
    } else {
        program.path.display().to_string()
    }
}
