//! From a plan to findings: model, prompts, server, load, stop. Everything that takes time or can
//! fail happens here, in this order.
//!
//! Main function: [`measure`].

use super::bodies::prompts_of;
use super::findings::{Findings, MeasuredPeaks, ReadyModel};
use super::host::Host;
use super::stage::Running;
use crate::calibrate;
use crate::cancel::Cancel;
use crate::dataset::{self, Ask, Carries, PromptSet};
use crate::error::Error;
use crate::event::{Events, Stage};
use crate::model;
use crate::peaks;
use crate::plan::{Endpoint, RunPlan};
use crate::report;
use crate::report::number::binary_bytes as size;

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
    before(plan, findings, events, cancel).await?;
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

/// What is measured of this machine while it is idle: no server is there yet, and no model in memory.
pub(crate) async fn before(
    plan: &RunPlan,
    findings: &mut Findings,
    events: &Events,
    cancel: &Cancel,
) -> Result<(), Error> {
    if plan.peaks.measure {
        let stage = Running::begin(events, Stage::Calibrate, "the machine's peaks".to_owned());
        let (bandwidth, flops) = (plan.peaks.bandwidth.is_none(), plan.peaks.flops.is_none());
        findings.peaks = model::aside(move || MeasuredPeaks {
            bandwidth: bandwidth.then(peaks::bandwidth),
            flops: flops.then(peaks::flops),
        })
        .await;
        let found = [&findings.peaks.bandwidth, &findings.peaks.flops];
        let words: Vec<&str> =
            found.into_iter().flatten().map(|measured| measured.how.as_str()).collect();
        stage.done(words.join("; "));
        check_stop(cancel)?;
    }
    if plan.calibrate {
        let load = calibrate::load_of(&plan.workload, &plan.target);
        let stage = Running::begin(events, Stage::Calibrate, load.to_string());
        let duration = calibrate::BESIDE_A_RUN;
        let step = calibrate::step(load, duration, &findings.provenance, cancel);
        // A run that calibrates itself by a run: of unknown size unless it is boxed.
        let step = Box::pin(step).await?;
        stage.done(report::calibration::sentence(&step));
        findings.calibration = Some(step);
        check_stop(cancel)?;
    }
    Ok(())
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
    let ask = ask_of(plan);
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

/// What a plan asks of its dataset: equal asks have equal prompts.
pub(crate) fn ask_of(plan: &RunPlan) -> Ask {
    let workload = &plan.workload;
    let spare = |requests: u64| {
        let wanted = prompts_of(workload, requests);
        match workload.dataset.sets_its_own_lengths() {
            // What is asked for is not read on in the hope of something shorter.
            true => wanted,
            false => wanted.saturating_mul(SPARE_PROMPTS).saturating_add(64),
        }
    };
    Ask {
        spec: workload.dataset.clone(),
        filter: workload.filter,
        limit: workload.n_prompts.map(spare),
        carries: match (workload.endpoint, workload.conversation) {
            (Endpoint::ChatCompletions, Some(_)) => Carries::Conversations,
            (Endpoint::ChatCompletions, None) => Carries::Chats,
            (Endpoint::V1Rerank | Endpoint::Rerank, _) => Carries::Words,
            (Endpoint::Completions | Endpoint::LlamaCompletion | Endpoint::Embeddings, _) => {
                Carries::Texts
            }
        },
        seed: workload.seed,
    }
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
