//! `bench-ci doctor`: everything that a run needs, looked at one by one, then one request.
//!
//! Main function: [`main`]. It uses the rooms of a real run, so that what it finds is what a run
//! would find; the only thing of its own is the list. What that run writes goes to a temporary
//! folder: a look must not replace the report of an earlier run in `--out-dir`.

use std::path::Path;

use crate::cancel;
use crate::cli::RunArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::event::Events;
use crate::exit::ExitCode;
use crate::load::{self, ClockSource};
use crate::model;
use crate::plan::resolve::resolve;
use crate::plan::{PrometheusSpec, RunPlan, ServerProgram, Target};
use crate::provenance::Provenance;
use crate::report::number::binary_bytes;
use crate::run::{self, Finished};
use crate::signals;
use crate::stats::metric;

/// Open files below which a few hundred users would run into the limit.
const OPEN_FILES_WANTED: u64 = 1024;

/// Tokens of the one answer: enough to see text flow, few enough for a large model on a slow machine.
const ANSWER_TOKENS: u32 = 16;

/// What the list shows of one thing.
enum Mark {
    Good,
    /// A run works, but a reader should know.
    Note,
    Bad,
}

/// The list, as text for stdout.
#[derive(Default)]
struct List {
    text: String,
    hints: Vec<String>,
}

impl List {
    fn add(&mut self, mark: &Mark, what: &str, found: &str) {
        let sign = match mark {
            Mark::Good => "ok  ",
            Mark::Note => "note",
            Mark::Bad => "BAD ",
        };
        self.text.push_str(&format!("{sign}  {what:<14} {found}\n"));
    }

    fn bad(&mut self, error: &Error) {
        let what = match error {
            Error::Plan(_) => "flags",
            Error::Model(_) => "model",
            Error::Dataset(_) | Error::NothingFits { .. } => "prompts",
            Error::Server(_) => "server",
            Error::Load(_) => "one request",
            Error::Artifact(_) | Error::Output { .. } => "output folder",
            Error::Resume { .. } => "suite",
            Error::System { .. }
            | Error::Stopped { .. }
            | Error::HelpTopic { .. }
            | Error::Github(_)
            | Error::Prometheus(_)
            | Error::Ab(_)
            | Error::Compare(_)
            | Error::History(_)
            | Error::Show(_) => "run",
        };
        self.add(&Mark::Bad, what, &error.chain());
        self.hints.extend(error.hint());
    }

    fn end(mut self, exit: ExitCode) -> Done {
        for hint in &self.hints {
            self.text.push_str(&format!("hint: {hint}\n"));
        }
        let last = if exit == ExitCode::Ok {
            "everything a run needs is here".to_owned()
        } else {
            format!("a run would end with exit code {}: {}", exit.code(), exit.meaning())
        };
        self.text.push_str(&format!("{last}\n"));
        Done { stdout: self.text, exit }
    }
}

/// The `doctor` command: the flags of `run`, one request.
///
/// # Errors
/// If the operating system refuses what doctor itself needs. What is wrong with the run is in the
/// list, and its exit code is that of the run.
pub fn main(args: &RunArgs) -> Result<Done, Error> {
    let mut list = List::default();
    let provenance = Provenance::here();
    machine(&mut list, &provenance);
    stamps(&mut list);
    open_files(&mut list);

    if let Err(error) = output_folder(&mut list, &args.output.out_dir) {
        list.bad(&error);
        return Ok(list.end(error.exit_code()));
    }
    let folder = tempfile::Builder::new()
        .prefix("bench-ci-doctor-")
        .tempdir()
        .map_err(|source| Error::System { attempt: "make a temporary folder", source })?;
    let mut args = args.clone();
    args.output.out_dir = folder.path().to_owned();
    args.workload.n_prompts = Some(1);
    args.workload.users = Some(1);
    args.workload.warm_up = Some(0);
    args.workload.max_tokens = Some(ANSWER_TOKENS);
    // One request says nothing about how much this client can do.
    args.client_limits.accept_saturated_client = true;
    let mut plan = match resolve(&args, &run::surroundings(&provenance)?) {
        Ok(plan) => plan,
        Err(error) => {
            list.bad(&error);
            return Ok(list.end(error.exit_code()));
        }
    };
    // Nobody wants to be told of one request, and what is wrong with these flags is known by now.
    plan.prometheus = PrometheusSpec::default();
    target(&mut list, &plan);
    let runtime = run::runtime()?;
    let finished = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        run::execute(&plan, provenance, &Events::default(), &cancel).await
    });
    runtime.shutdown_background();
    let exit = match &finished {
        Ok(finished) => {
            run_parts(&mut list, finished);
            finished.exit
        }
        Err(error) => {
            list.bad(error);
            error.exit_code()
        }
    };
    if exit != ExitCode::Ok && run::server_log(folder.path()).exists() {
        // The hints name the log in it.
        let _path = folder.keep();
    }
    Ok(list.end(exit))
}

/// Whether `run` could write there. Nothing of an earlier run is touched, and nothing is left.
fn output_folder(list: &mut List, out_dir: &Path) -> Result<(), Error> {
    let refused = |source| Error::Output { attempt: "write to", path: out_dir.to_owned(), source };
    // An empty parent is the working directory, spelt as nothing.
    let spelt = |path: &Path| path.as_os_str().is_empty();
    let existing = out_dir.ancestors().find(|folder| spelt(folder) || folder.exists());
    let existing = existing.filter(|folder| !spelt(folder)).unwrap_or(Path::new("."));
    let probe = tempfile::Builder::new().prefix(".bench-ci-").tempfile_in(existing);
    drop(probe.map_err(refused)?);
    let free = model::free_bytes(existing)
        .map_or_else(String::new, |bytes| format!(", {} free", binary_bytes(bytes)));
    list.add(
        &Mark::Good,
        "output folder",
        &format!("\"{}\" can be written to{free}", out_dir.display()),
    );
    Ok(())
}

/// What would be loaded, before it is tried.
fn target(list: &mut List, plan: &RunPlan) {
    match &plan.target {
        Target::External { base_url } => {
            list.add(&Mark::Good, "target", &format!("{base_url}, already running"));
        }
        Target::Start(spec) => match &spec.program {
            ServerProgram::Sim => list.add(
                &Mark::Note,
                "target",
                "the simulator inside this binary: for trying bench-ci out, not for measuring",
            ),
            ServerProgram::Executable(path) => {
                list.add(&Mark::Good, "target", &path.display().to_string());
            }
        },
    }
}

fn machine(list: &mut List, provenance: &Provenance) {
    let machine = &provenance.machine;
    let unknown = || "unknown".to_owned();
    let words = format!(
        "{}, {} cores, {}, {}",
        machine.cpu_model.clone().unwrap_or_else(unknown),
        machine.cores.map_or_else(unknown, |cores| cores.to_string()),
        machine.memory_bytes.map_or_else(unknown, binary_bytes),
        machine.os,
    );
    list.add(&Mark::Good, "machine", &words);
    let tags = provenance.tags();
    match (&tags.branch, &tags.commit) {
        (None, None) => list.add(
            &Mark::Note,
            "tags",
            "no branch and no commit found: pass --branch and --commit",
        ),
        (branch, commit) => {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
            list.add(
                &Mark::Good,
                "tags",
                &format!("branch {}, commit {}", or_none(branch), or_none(commit)),
            );
        }
    }
}

fn stamps(list: &mut List) {
    match load::clock_source() {
        ClockSource::Kernel => list.add(
            &Mark::Good,
            "time stamps",
            "the kernel stamps what arrives; `bench-ci calibrate` says how exact that is here",
        ),
        ClockSource::User => list.add(
            &Mark::Note,
            "time stamps",
            "no kernel stamps on this system: our own delay is inside the figures",
        ),
    }
}

fn open_files(list: &mut List) {
    match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        Ok((soft, _hard)) if soft >= OPEN_FILES_WANTED => {
            list.add(&Mark::Good, "open files", &format!("up to {soft}"));
        }
        Ok((soft, _hard)) => {
            list.add(
                &Mark::Note,
                "open files",
                &format!("only {soft}: each user needs one; raise `ulimit -n`"),
            );
        }
        Err(error) => list.add(&Mark::Note, "open files", &format!("limit unknown: {error}")),
    }
}

fn run_parts(list: &mut List, finished: &Finished) {
    let report = &finished.report;
    if let Some(model) = &report.model {
        let file = model.file.clone().unwrap_or_else(|| model.source.clone());
        list.add(&Mark::Good, "model", &file);
    }
    // Where no server became ready, the error below says why.
    if finished.error.is_none() {
        let version =
            report.server.version.clone().unwrap_or_else(|| "of unknown version".to_owned());
        let started = report
            .server
            .start_s
            .map_or_else(String::new, |seconds| format!(", healthy after {seconds:.2} s"));
        list.add(
            &Mark::Good,
            "server",
            &format!("{version} at {}{started}", report.server.base_url),
        );
    }
    if let Some(step) = &report.calibration {
        let mark = if step.valid { Mark::Good } else { Mark::Note };
        list.add(&mark, "this client", &crate::report::calibration::sentence(step));
    }
    // What is said about the quality of figures says nothing about one request.
    let about_the_run = ["run", "provenance", "scrape", "no_server_metrics"];
    for warning in report.warnings.iter().filter(|note| about_the_run.contains(&&*note.code)) {
        list.add(&Mark::Note, "warning", &warning.message);
    }
    for cause in report.run.causes.iter().filter(|_| finished.error.is_none()) {
        list.add(&Mark::Bad, "run", cause);
    }
    if report.requests.completed > 0 {
        let ttft = report.metrics.get(metric::TTFT_MS.name).and_then(|found| found.p50);
        let ttft = ttft.map_or_else(String::new, |ms| format!(", first token after {ms:.1} ms"));
        list.add(&Mark::Good, "one request", &format!("answered whole{ttft}"));
    }
    for (kind, example) in &report.requests.error_examples {
        list.add(&Mark::Bad, "one request", &format!("{}: {example}", kind.name()));
    }
    if let Some(error) = &finished.error {
        list.bad(error);
    }
}
