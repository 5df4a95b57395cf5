//! A server that is ready, under load: fit, warm-up, scrape, measured load, scrape.
//!
//! Main type: [`UnderLoad`]. Whose server it is does not matter here, except that one of ours can
//! be seen to die.

use std::convert::Infallible;
use std::time::Duration;

use super::bodies::{self, Bodies, Numbered};
use super::findings::{Findings, WorkloadFacts};
use super::fit;
use super::gates::{Abort, LiveGates};
use super::make::{self, Known};
use super::measure::unless_stopped;
use super::memory;
use super::progress::{self, Measuring};
use super::prompts::{self, PromptFacts};
use super::so_far::SoFar;
use super::spool::Spool;
use super::stage::Running;
use super::tongue;
use crate::cancel::{self, Cancel, StopReason};
use crate::dataset::{Content, Prompt, PromptSet};
use crate::error::Error;
use crate::event::{Events, Stage};
use crate::load::{
    self, HttpTarget, LiveCounters, LoadHandle, LoadOutcome, LoadPhase, LoadPlan, Phase, Schedule,
};
use crate::plan::{
    DatasetSpec, Dialect, LoadShape, PhaseSpec, RunPlan, Secret, ServerProgram, Target, Workload,
    Yield,
};
use crate::prometheus;
use crate::scrape::{ControlPlane, ScrapeSummary, Scraper, ServerIdentity};
use crate::server::{RunningServer, ServerError, ServerExit};

/// Every scrape of the run.
pub(super) const SERVER_METRICS: &str = "server-metrics.jsonl";

/// llama-server's own physical batch.
const UBATCH: u32 = 512;

/// Tokens around a query and a document that are read together.
const TOKENS_OF_A_PAIR: u64 = 8;

/// Users where neither the plan nor the server says how many slots there are.
const USERS_WITHOUT_SLOTS: u32 = 4;

/// After its death the server's open connections break within milliseconds. So long they may take,
/// so that requests in flight are recorded as what they are, failed, and not as cut by us.
const DEATH_GRACE: Duration = Duration::from_millis(250);

/// A server that is ready, and what it is loaded with.
pub(super) struct UnderLoad<'a> {
    pub(super) plan: &'a RunPlan,
    pub(super) prompts: &'a PromptSet,
    pub(super) control: &'a ControlPlane,
    pub(super) base_url: &'a str,
    pub(super) api_key: Option<&'a Secret>,
}

impl UnderLoad<'_> {
    /// Loads it; `server` is `None` if it is not ours.
    pub(super) async fn play(
        &self,
        mut server: Option<&mut RunningServer>,
        findings: &mut Findings,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let asking = async {
            let identity = ServerIdentity::ask(self.control).await;
            // One of ours that dies just now is told as a death, by the load.
            if let (Some(why), None) = (&identity.unreachable, &server) {
                return Err(ServerError::Unreachable {
                    base_url: self.base_url.to_owned(),
                    why: why.clone(),
                    cure: identity.cure,
                }
                .into());
            }
            if identity.mute
                && server.is_none()
                && let Some((why, cure)) = tongue::instead(self.base_url, &self.plan.way()).await
            {
                let (base_url, cure) = (self.base_url.to_owned(), Some(cure));
                return Err(ServerError::Unreachable { base_url, why, cure }.into());
            }
            let load_plan = self.load_plan(&identity, findings, events).await?;
            findings.identity = Some(identity);
            Ok(load_plan)
        };
        let load_plan = unless_stopped(cancel, asking).await?;

        let group = server.as_deref().map(RunningServer::group);
        let gates = LiveGates::of(self.plan);
        let (watching, telling) = (gates.clone(), events.clone());
        let so_far = SoFar::new();
        let seen = so_far.clone();
        let (mut spool, sender) = Spool::begin(&self.plan.out_dir, move |record| {
            watching.add(record);
            seen.add(record);
            telling.record(record);
        })?;
        let (load_canceller, load_cancel) = cancel::pair();
        let brake = Brake { gates: &gates, canceller: &load_canceller };
        let (bounds, users) = (Bounds::of(&load_plan), load_plan.users);
        memory::give_back();
        // A send fails only if the writer has failed, which ends the load and is told by `finish`.
        let handle = load::start(load_plan, move |record| drop(sender.send(record)), load_cancel)?;
        events.load(&handle.live, users);

        let slots = findings.identity.as_ref().and_then(|identity| identity.total_slots);
        let watched = (bounds, so_far, slots.map(u64::from));
        let playing = self.warm_up_and_measure(handle, group, watched, &brake, events, cancel);
        tokio::pin!(playing);
        let mut asked = false;
        let mut spool_broke = false;
        let played = loop {
            tokio::select! {
                played = &mut playing => break played,
                () = spool.broke(), if !spool_broke => {
                    spool_broke = true;
                    load_canceller.stop(StopReason::Terminated);
                }
                reason = cancel.cancelled(), if !asked => {
                    asked = true;
                    load_canceller.stop(reason);
                }
                exit = death(&mut server), if findings.server_exit.is_none() => {
                    findings.death = server.as_deref().map(|server| server.death_in_words(&exit));
                    findings.server_exit = Some(exit);
                    tokio::select! {
                        played = &mut playing => break played,
                        () = tokio::time::sleep(DEATH_GRACE) => {}
                    }
                    // Requests not yet sent would only fail, thousands a second.
                    load_canceller.stop(StopReason::Terminated);
                }
            }
        };
        // What was measured is kept even where something beside it failed.
        findings.records = spool.finish()?;
        let (outcome, scrape, abort) = played?;
        if let Some(spec) = &self.plan.prometheus.query {
            let window = prometheus::Window {
                start: outcome.started,
                end: outcome.ended,
                own_interval: self.plan.scrape_interval,
            };
            let scrapes = self.plan.out_dir.join(SERVER_METRICS);
            let asked = prometheus::ask(spec, window, self.base_url, &scrapes, cancel).await;
            findings.warnings.extend(asked.warnings);
            findings.prometheus = Some(asked.found);
        }
        findings.load = Some(outcome);
        findings.scrape = Some(scrape);
        findings.abort = abort;
        Ok(())
    }

    async fn warm_up_and_measure(
        &self,
        mut handle: LoadHandle,
        group: Option<crate::server::ServerGroup>,
        (bounds, so_far, slots): (Bounds, SoFar, Option<u64>),
        brake: &Brake<'_>,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<(LoadOutcome, ScrapeSummary, Option<Abort>), Error> {
        let stage = Running::begin(events, Stage::WarmUp, format!("{} requests", bounds.warm_up));
        let live = std::sync::Arc::clone(&handle.live);
        tokio::select! {
            () = handle.warmed_up() => {}
            never = progress::warm_up(&live, bounds.warm_up, events) => match never {},
        }
        stage.done(format!("{} ended", handle.live.warm_up_ended()));

        let path = self.plan.out_dir.join(SERVER_METRICS);
        let scraper = Scraper::start(
            self.control.clone(),
            group,
            self.plan.scrape_interval,
            &path,
            cancel.clone(),
        )
        .await
        .map_err(|source| Error::Output { attempt: "write", path, source })?;
        let stage = Running::begin(events, Stage::Load, bounds.in_words());
        handle.measure();
        let mut abort = None;
        let watched =
            Measuring { live: &live, so_far: &so_far, scraper: &scraper, slots, bounds: &bounds };
        let outcome = tokio::select! {
            outcome = handle.join() => outcome,
            never = progress::measure(&watched, events) => match never {},
            never = brake.watch(&live, &scraper, &mut abort) => match never {},
        };
        // The counters are read before anything else happens to the server.
        let scrape = scraper.finish().await;
        let outcome = outcome?;
        stage.done(format!("{} completed, {} failed", live.completed(), live.failed()));
        Ok((outcome, scrape, abort))
    }

    /// The plan to the last request, for the server as it turned out to be.
    async fn load_plan(
        &self,
        identity: &ServerIdentity,
        findings: &mut Findings,
        events: &Events,
    ) -> Result<LoadPlan, Error> {
        let mut workload = self.plan.workload.clone();
        // What must fit a slot is the longer of two answers.
        workload.request.max_tokens += workload.tpot_difference.unwrap_or(0);
        let ours = matches!(self.plan.target, Target::Start(_));
        // Only llama-server has /props with its slots.
        let dialect = if ours || identity.total_slots.is_some() {
            Dialect::LlamaCpp
        } else {
            Dialect::OpenAi
        };
        if !ours && workload.request.model.is_none() {
            workload.request.model.clone_from(&identity.model_id);
        }
        let mut users = workload.users.or(identity.total_slots).unwrap_or(USERS_WITHOUT_SLOTS);
        let sequence = workload.sequence();
        let caps = sequence.iter().map(|phase| phase.shape.max_in_flight());
        if let Some(most) = caps.collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().max())
        {
            users = users.min(most); // those of the warm-up
        }
        let context = identity.slot_context.filter(|_| dialect == Dialect::LlamaCpp);
        let mut needed = match workload.dataset.sets_its_own_lengths() {
            true => prompts::needed(self.prompts, &workload),
            false => self.prompts.prompts.clone(),
        };
        let mut how = None;
        if needed.iter().any(|prompt| matches!(prompt.content, Content::Recipe(_))) {
            let known = Known {
                control: self.control,
                workload: &workload,
                dialect,
                context,
                vocabulary: identity.vocabulary,
            };
            let what = format!("{} prompts of asked lengths", needed.len());
            let stage = Running::begin(events, Stage::Dataset, what);
            let made = make::make(needed, &known).await;
            stage.done(format!("made by {}", made.how.name()));
            findings.warnings.extend(made.warnings);
            needed = made.prompts;
            how = Some(made.how);
        }
        let known = (dialect, context);
        let told = (&mut findings.warnings, events);
        let (bodies, sent) = self.bodies(&workload, known, &needed, told).await?;
        let budgets_per_prompt = if workload.tpot_difference.is_some() { 2 } else { 1 };
        let credentials = &self.plan.credentials;
        let load_plan = LoadPlan {
            target: HttpTarget::parse(
                self.base_url,
                workload.endpoint.path(),
                &credentials.headers,
                self.api_key,
            )?
            .through(&self.plan.way())?,
            bodies: bodies.bodies,
            conversations: bodies.conversations,
            phases: load_phases(&workload, &sequence, &sent.prompts, budgets_per_prompt),
            users,
            think_time: workload.think_time,
            graceful_stop: workload.graceful_stop,
            graceful_ramp_down: workload.graceful_ramp_down,
            warm_up_requests_per_user: workload.warm_up_requests_per_user,
            timeouts: workload.timeouts,
            deadline: workload.deadline,
            cancel: workload.cancel,
            seed: workload.seed,
            connections: workload.connections,
            clock: self.plan.clock,
            endpoint: workload.endpoint,
            stream: workload.request.stream,
            tag_requests: ours,
        };
        findings.workload = Some(WorkloadFacts {
            hash: load::workload_hash(&load_plan),
            users,
            requests: load_plan.requests_by_phase(),
            dataset: self.prompts.source.clone(),
            prompts: PromptFacts::of(self.prompts, &sent.prompts, sent.not_fitting, how),
        });
        Ok(load_plan)
    }

    /// The bodies of all requests, of the prompts that fit this server, and those prompts; warns of
    /// what was left out.
    ///
    /// # Errors
    /// If that is all of them.
    async fn bodies<'p>(
        &self,
        workload: &Workload,
        (dialect, context): (Dialect, Option<u64>),
        needed: &'p [Prompt],
        (warnings, events): (&mut Vec<String>, &Events),
    ) -> Result<(Bodies, Sent<'p>), Error> {
        let mut prompts: Vec<Numbered<'p>> = needed.iter().enumerate().collect();
        if let Some(spec) = workload.conversation {
            let asked = (self.control, events);
            let talks =
                bodies::converse(workload, dialect, &prompts, spec.turns, context, asked).await;
            let slot = fit::slot(context.unwrap_or_default());
            if talks.alone > 0 {
                warnings.push(format!(
                    "{} prompts of the dataset were left out: nobody says anything after their first \
                     answer, as somebody does after that of others",
                    talks.alone
                ));
            }
            if talks.left_out > 0 {
                if talks.bodies.bodies.is_empty() {
                    return Err(self.nothing_fits(slot, "--ctx-size"));
                }
                warnings.push(format!(
                    "{} conversations do not fit {slot} and were left out; raise --ctx-size, or lower \
                     --max-tokens or --max-prompt-tokens",
                    talks.left_out
                ));
            }
            if talks.shortened > 0 {
                warnings.push(format!(
                    "{} conversations have fewer than {} turns, to fit {slot} with all their answers; \
                     raise --ctx-size, or lower --max-tokens",
                    talks.shortened, spec.turns
                ));
            }
            warnings.extend(fit::only_the_first(talks.unseen, prompts.len()));
            prompts.truncate(prompts.len() - talks.unseen);
            warnings.extend(repeats(workload, talks.bodies.bodies.len() as u64, "conversations"));
            return Ok((talks.bodies, Sent { prompts, not_fitting: talks.left_out }));
        }
        let mut not_fitting = 0;
        if let Some((room, place, cure)) = context.map(|context| self.room(workload, context)) {
            let fit::LeftOut { too_long, unseen } =
                fit::leave_out_too_long(&mut prompts, workload, room, self.control, events).await;
            not_fitting = too_long;
            warnings.extend(fit::only_the_first(unseen, needed.len()));
            if not_fitting > 0 {
                if prompts.is_empty() {
                    return Err(self.nothing_fits(place, cure));
                }
                warnings.push(format!(
                    "{not_fitting} prompts of the dataset do not fit {place} and were left out; \
                     raise {cure}, or choose shorter ones with --max-prompt-tokens"
                ));
            }
        }
        let batch = bodies::prompts_per_request(workload);
        warnings.extend(repeats(workload, prompts.len() as u64 / batch, "requests"));
        let bodies = bodies::plan(workload, dialect, &prompts);
        if let Some(wanted) = workload.n_prompts {
            let wanted = wanted.saturating_mul(batch);
            prompts.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
        }
        Ok((bodies, Sent { prompts, not_fitting }))
    }

    fn nothing_fits(&self, place: String, flag: &'static str) -> Error {
        let (dataset, prompts) = (self.prompts.source.clone(), self.prompts.kept);
        Error::NothingFits { dataset, prompts, place, flag }
    }

    /// How many tokens a text may have, which part of the server says so, and which flag.
    fn room(&self, workload: &Workload, context: u64) -> (u64, String, &'static str) {
        let slot = (context, fit::slot(context), "--ctx-size");
        let Target::Start(spec) = &self.plan.target else { return slot };
        if workload.endpoint.yields() == Yield::Tokens || spec.program == ServerProgram::Sim {
            return slot;
        }
        // What is not generated from is read in one physical batch; so is a query with a document.
        let batch = u64::from(spec.ubatch_size.unwrap_or(UBATCH));
        let room = match workload.endpoint.yields() {
            Yield::Scores => (batch / 2).saturating_sub(TOKENS_OF_A_PAIR),
            _ => batch,
        };
        if room >= context {
            return slot;
        }
        (room, format!("a physical batch of {batch} tokens"), "--ubatch-size")
    }
}

/// The prompts that are sent.
struct Sent<'a> {
    prompts: Vec<Numbered<'a>>,
    /// Those that were left out for their length.
    not_fitting: u64,
}

/// The phases with the instants of their arrivals; each prompt is asked with so many budgets.
fn load_phases(
    workload: &Workload,
    sequence: &[PhaseSpec],
    sent: &[Numbered<'_>],
    budgets_per_prompt: u64,
) -> Vec<LoadPhase> {
    let first = sequence.iter().position(|phase| phase.measured).unwrap_or(0);
    let phases = sequence.iter().enumerate();
    phases
        .map(|(position, spec)| {
            let requests = spec.n_prompts.map(|wanted| wanted.saturating_mul(budgets_per_prompt));
            LoadPhase {
                phase: match (spec.measured, position < first) {
                    (true, _) => Phase::Measured,
                    (false, true) => Phase::WarmUp,
                    (false, false) => Phase::CoolDown,
                },
                shape: spec.shape.clone(),
                // Phases of one rate must not have the same arrivals.
                schedule: match spec.shape {
                    LoadShape::Trace { .. } => Some(prompts::trace_schedule(&spec.shape, sent)),
                    _ => Schedule::of(
                        &spec.shape,
                        workload.seed.wrapping_add(position as u64),
                        spec.duration,
                        requests,
                    ),
                },
                users: spec.users,
                duration: spec.duration,
                total_requests: requests,
            }
        })
        .collect()
}

/// `--n-prompts` promises that each prompt is sent once; where the dataset has fewer, it says so.
fn repeats(workload: &Workload, there_are: u64, what: &str) -> Option<String> {
    // Prompts that somebody wrote into the file are meant to go round.
    if matches!(workload.dataset, DatasetSpec::Inline { .. }) {
        return None;
    }
    let wanted =
        workload.n_prompts.filter(|_| !matches!(workload.shape, LoadShape::Trace { .. }))?;
    (there_are < wanted).then(|| match what {
        "requests" if bodies::prompts_per_request(workload) == 1 => format!(
            "--n-prompts {wanted}: the dataset has only {there_are} that fit; they go round"
        ),
        what => format!(
            "--n-prompts {wanted}: the dataset gives only {there_are} {what} that fit; they go round"
        ),
    })
}

/// What ends the load when a threshold is crossed.
struct Brake<'a> {
    gates: &'a LiveGates,
    canceller: &'a cancel::Canceller,
}

impl Brake<'_> {
    /// Pulls once, notes why, and lets the load come to its end.
    async fn watch(
        &self,
        live: &LiveCounters,
        scraper: &Scraper,
        abort: &mut Option<Abort>,
    ) -> Infallible {
        let crossed = self.gates.until_crossed(live, scraper).await;
        *abort = Some(crossed);
        // The load does not care why it ends; the reason that counts is in `abort`.
        self.canceller.stop(StopReason::Terminated);
        std::future::pending().await
    }
}

async fn death(server: &mut Option<&mut RunningServer>) -> ServerExit {
    match server {
        Some(server) => server.died().await,
        None => std::future::pending().await,
    }
}

/// What ends the load.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    warm_up: u64,
    pub(super) duration: Option<Duration>,
    pub(super) requests: Option<u64>,
    /// Of each phase, measured or not; `None` where requests end it.
    pub(super) phases: Vec<Option<Duration>>,
}

impl Bounds {
    fn of(plan: &LoadPlan) -> Self {
        Self {
            warm_up: u64::from(plan.users) * u64::from(plan.warm_up_requests_per_user),
            duration: plan.duration(),
            requests: plan.requests(),
            phases: plan.phases.iter().map(|phase| phase.duration).collect(),
        }
    }

    fn in_words(&self) -> String {
        let time = self.duration.map(|duration| format!("{} s", duration.as_secs_f64()));
        match (self.requests, time) {
            (Some(requests), Some(time)) => format!("{requests} requests, or {time}"),
            (Some(requests), None) => format!("{requests} requests"),
            (None, Some(time)) => time,
            (None, None) => "until it is stopped".to_owned(),
        }
    }
}
