//! The corridor: model → server → load → records → artifact. The only place that joins the rooms.
//!
//! Main functions: [`main`], the `run` command; [`execute`], the same for programs, with a plan in
//! and a finished run out. A server that is held across several loads is a `host::Host`. Measuring is in
//! `measure`; making a report of what was found, however
//! far that went, is in `conclude`. This room formats nothing and computes no statistic.

mod bodies;
pub(crate) mod conclude;
mod derived;
pub(crate) mod dry;
pub(crate) mod findings;
pub(crate) mod fit;
mod formats;
mod gates;
pub(crate) mod host;
mod make;
pub(crate) mod measure;
mod memory;
pub(crate) mod page;
mod phases;
mod progress;
mod prompts;
pub(crate) mod sections;
mod series;
mod so_far;
mod spool;
mod stage;
mod tokenizer;
mod tongue;
mod under_load;
pub(crate) mod watchers;
mod words;

use std::path::Path;

pub(crate) use dry::show as dry;
pub use findings::Finished;
pub(crate) use watchers::{listen, person_alone};

use crate::cancel::{self, Cancel};
use crate::cli::RunArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::event::Events;
use crate::plan::RunPlan;
use crate::plan::resolve::{Intention, Surroundings, intention};
use crate::prometheus::{About, Publisher};
use crate::provenance::Provenance;
use crate::scrape::RESOURCES_FILE;
use crate::{report, server, signals};
use findings::Findings;

/// Files that a run leaves in its folder; those of an earlier run are removed first, so that nobody
/// takes yesterday's report for today's.
pub(crate) const OUTPUT_FILES: [&str; 20] = [
    conclude::REPORT_JSON,
    conclude::REPORT_MD,
    page::REPORT_HTML,
    conclude::REQUESTS_JSONL,
    conclude::REQUESTS_CSV,
    under_load::SERVER_METRICS,
    RESOURCES_FILE,
    measure::SERVER_LOG,
    watchers::EVENTS_FILE,
    spool::FILE,
    formats::FILES[0].0,
    formats::FILES[1].0,
    formats::FILES[2].0,
    formats::FILES[3].0,
    formats::FILES[4].0,
    formats::FILES[5].0,
    formats::FILES[6].0,
    formats::FILES[7].0,
    formats::FILES[8].0,
    formats::FILES[9].0,
];

/// The `run` command.
///
/// # Errors
/// What kept the run from being carried out. A run that was carried out and is no evidence is not
/// an error but a [`Done`] with its exit code. Wherever there is anything to report, it is written
/// before this returns.
pub fn main(args: &RunArgs) -> Result<Done, Error> {
    let provenance = Provenance::here();
    let plan = match intention(args, &surroundings(&provenance)?) {
        Ok(Intention::Run(plan)) => plan,
        Ok(Intention::Suite(plan)) => return crate::suite::main(&plan, args, provenance),
        Err(error) => {
            // What is to be gone on with is not yesterday's.
            if !args.output.dry_run && !args.suite.resume {
                forget_earlier(&args.output.out_dir);
            }
            return Err(error);
        }
    };
    if args.output.dry_run {
        return dry::show(&plan).map(Done::text);
    }
    prepare(&plan.out_dir)?;
    let events = watchers::listen(&args.output, &plan.out_dir)?;
    let runtime = runtime()?;
    let finished = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        execute(&plan, provenance, &events, &cancel).await
    });
    // A name look-up or a file read that hangs must not keep us from leaving.
    runtime.shutdown_background();
    drop(events);
    let finished = finished?;
    let colour = console::colors_enabled();
    let summary = report::terminal::render_summary(
        &finished.report,
        crate::commands::terminal_width(),
        colour,
    );
    match finished.error {
        // The reports are written; what is left to say is why it ended.
        Some(error) => Err(error),
        None => Ok(Done { stdout: summary, exit: finished.exit }),
    }
}

/// Carries out a plan: measures, and writes all files into the plan's folder, which must exist.
///
/// # Errors
/// If the results could not be written, or metrics not be served where they were asked for. What kept the run from its end is in [`Finished::error`].
pub async fn execute(
    plan: &RunPlan,
    provenance: Provenance,
    events: &Events,
    cancel: &Cancel,
) -> Result<Finished, Error> {
    // The command line is read, which takes much of the code.
    memory::give_back();
    let about = About { tags: plan.tags.clone(), scenario: plan.workload.scenario.clone() };
    let publisher = Publisher::begin(&plan.prometheus, &about)?;
    let events = &publisher.as_ref().map_or_else(|| events.clone(), |it| it.listening(events));
    let mut findings = Findings::begin(provenance);
    let error = measure::measure(plan, &mut findings, events, cancel).await.err();
    if let Some(publisher) = &publisher {
        findings.published = publisher.settle(cancel).await;
    }
    // What is left to do is the reports, with code of their own.
    memory::give_back();
    conclude::conclude(plan, findings, error, events, cancel)
}

/// Everything that an earlier run, suite or comparison may have left in a folder, and that would be
/// taken for what comes now.
fn stale_files() -> impl Iterator<Item = &'static str> {
    OUTPUT_FILES.into_iter().chain(crate::suite::FILES).chain(crate::ab::REPORTS)
}

/// Removes an earlier run's files where this one ends before it has a folder: a later step of a CI
/// job that always runs must not publish yesterday's report as today's.
pub(crate) fn forget_earlier(out_dir: &Path) {
    for name in stale_files() {
        // The command line is what is wrong; a folder that cannot be written is not today's news.
        drop(std::fs::remove_file(out_dir.join(name)));
    }
}

/// Where a run keeps what its server wrote.
pub(crate) fn server_log(out_dir: &Path) -> std::path::PathBuf {
    out_dir.join(measure::SERVER_LOG)
}

/// By which other programs find a proxy. We only say that we do not.
const PROXY_VARIABLES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// What the flags do not say.
pub(crate) fn surroundings(provenance: &Provenance) -> Result<Surroundings, Error> {
    let own_executable = server::own_executable()
        .map_err(|source| Error::System { attempt: "find the path of this executable", source })?;
    Ok(Surroundings {
        tags: provenance.tags(),
        search_path: std::env::var_os("PATH"),
        proxy_variables: PROXY_VARIABLES
            .into_iter()
            .filter(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
            .map(str::to_owned)
            .collect(),
        own_executable,
    })
}

/// The runtime of everything but the load, which has a thread and a runtime of its own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { attempt: "start the runtime", source })
}

/// Makes the output folder, empty of an earlier run's files; says so now rather than after the load
/// if it cannot be written to.
pub(crate) fn prepare(out_dir: &Path) -> Result<(), Error> {
    let failed =
        |attempt, path: &Path, source| Error::Output { attempt, path: path.to_owned(), source };
    std::fs::create_dir_all(out_dir).map_err(|source| failed("create", out_dir, source))?;
    for name in stale_files() {
        let path = out_dir.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("replace", &path, source));
            }
            _ => {}
        }
    }
    Ok(())
}
