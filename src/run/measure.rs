//! From a plan to findings: model, prompts, server, load, stop. Everything that takes time or can
//! fail happens here, in this order.
//!
//! Main function: [`measure`].

use super::findings::{Findings, ReadyModel};
use super::host::Host;
use super::stage::{Running, size};
use crate::cancel::Cancel;
use crate::dataset::{self, PromptSet};
use crate::error::Error;
use crate::event::{Events, Stage};
use crate::model;
use crate::plan::RunPlan;

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
    findings.model = model(plan, events, cancel).await?;
    let prompts = prompts(plan, events, cancel).await?;
    check_stop(cancel)?;
    let log = plan.out_dir.join(SERVER_LOG);
    let mut host = Host::ready(plan, &log, findings, events, cancel).await?;
    let played = host.play(plan, &prompts, findings, events, cancel).await;
    // Whatever the load came to.
    if let Some(exit) = host.stop(&mut findings.warnings, events, cancel).await {
        findings.server_exit = Some(exit);
    }
    played
}

/// The plan's model, on disk; `None` where it has none.
pub(crate) async fn model(
    plan: &RunPlan,
    events: &Events,
    cancel: &Cancel,
) -> Result<Option<ReadyModel>, Error> {
    check_stop(cancel)?;
    let Some(source) = &plan.model else { return Ok(None) };
    let stage = Running::begin(events, Stage::Model, source.to_string());
    let file = model::resolve(source, plan.model_dir.as_deref(), events, cancel).await?;
    stage.done(format!("{}, {}", file.path.display(), size(file.size_bytes)));
    Ok(Some(ReadyModel { file, sha256: None }))
}

/// The plan's prompts, before it is known which of them fit the server's context.
pub(crate) async fn prompts(
    plan: &RunPlan,
    events: &Events,
    cancel: &Cancel,
) -> Result<PromptSet, Error> {
    check_stop(cancel)?;
    let workload = &plan.workload;
    let stage = Running::begin(events, Stage::Dataset, workload.dataset.to_string());
    let fetch = |file| model::fetch_dataset_file(file, events, cancel);
    let cache = model::cache_dir();
    let limit =
        workload.n_prompts.map(|wanted| wanted.saturating_mul(SPARE_PROMPTS).saturating_add(64));
    let prompts = dataset::load(
        &workload.dataset,
        &workload.filter,
        limit,
        cache.as_deref(),
        &fetch,
        events,
        cancel,
    )
    .await?;
    stage.done(format!("{} of {} prompts", prompts.kept, prompts.seen));
    Ok(prompts)
}

/// `work`, dropped where a stop is asked for: for what does not look itself.
pub(crate) async fn unless_stopped<T>(
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
