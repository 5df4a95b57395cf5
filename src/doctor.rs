//! `bench-ci doctor`: everything that a run needs, looked at one by one, then one request.
//!
//! Main function: [`main`]. It uses the rooms of a real run, so that what it finds is what a run
//! would find; the only thing of its own is the list.

use crate::cancel;
use crate::cli::RunArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::event::Events;
use crate::exit::ExitCode;
use crate::load::{self, ClockSource};
use crate::plan::resolve::resolve;
use crate::provenance::Provenance;
use crate::run::{self, Finished};
use crate::signals;

/// Open files below which a few hundred users would run into the limit.
const OPEN_FILES_WANTED: u64 = 1024;

/// What the list shows of one thing.
enum Mark {
    Good,
    /// A run will work, but a reader should know.
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

    fn bad(&mut self, what: &str, error: &Error) {
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

    let mut args = args.clone();
    args.workload.n_prompts = Some(1);
    args.workload.users = Some(1);
    args.workload.warm_up = Some(0);
    if let Err(error) = run::prepare(&args.output.out_dir) {
        list.bad("output folder", &error);
        let exit = error.exit_code();
        return Ok(list.end(exit));
    }
    list.add(
        &Mark::Good,
        "output folder",
        &format!("\"{}\" can be written to", args.output.out_dir.display()),
    );

    let plan = match resolve(&args, &run::surroundings(&provenance)?) {
        Ok(plan) => plan,
        Err(error) => {
            list.bad("plan", &error);
            let exit = error.exit_code();
            return Ok(list.end(exit));
        }
    };
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
            finished.error.as_ref().map_or(finished.exit, Error::exit_code)
        }
        Err(error) => {
            list.bad("run", error);
            error.exit_code()
        }
    };
    Ok(list.end(exit))
}

fn machine(list: &mut List, provenance: &Provenance) {
    let machine = &provenance.machine;
    let unknown = || "unknown".to_owned();
    let words = format!(
        "{}, {} cores, {}, {}",
        machine.cpu_model.clone().unwrap_or_else(unknown),
        machine.cores.map_or_else(unknown, |cores| cores.to_string()),
        machine
            .memory_bytes
            .map_or_else(unknown, |bytes| indicatif::BinaryBytes(bytes).to_string()),
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
        ClockSource::Kernel => {
            list.add(&Mark::Good, "time stamps", "the kernel stamps what arrives")
        }
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
    if report.server.start_s.is_some() || report.requests.planned > 0 {
        let version =
            report.server.version.clone().unwrap_or_else(|| "of unknown version".to_owned());
        list.add(&Mark::Good, "server", &format!("{version} at {}", report.server.base_url));
    }
    for warning in &report.warnings {
        list.add(&Mark::Note, "warning", &warning.message);
    }
    if report.requests.completed > 0 {
        list.add(&Mark::Good, "one request", "answered whole");
    }
    for (kind, example) in &report.requests.error_examples {
        list.add(&Mark::Bad, "one request", &format!("{}: {example}", kind.name()));
    }
    if let Some(error) = &finished.error {
        list.bad("run", error);
    }
}
