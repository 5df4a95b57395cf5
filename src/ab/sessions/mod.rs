//! `bench-ci ab --sessions`: finished comparisons of several machines, put together.
//!
//! Main function: [`main`]. Nothing is played: it reads `ab.json` files, makes sure that they belong
//! together (`belong`), has `verdict::sessions` judge them, and writes an `ab.json` of its own
//! (`together`).

mod belong;
mod together;

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{AB_JSON, AB_MD, exit_of};
use crate::artifact::{AbReport, AbVerdict, DesignKind, store};
use crate::cli::AbArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::event::{Event, Stage};
use crate::plan::problem::{Place, PlanError, Problem};
use crate::provenance::Provenance;
use crate::report;
use crate::run::{self, watchers};

/// Fewer pairs than this have no interval of 95 %, and so no say.
const LEAST_PAIRS: u64 = 6;

/// A report that takes part.
struct Entry {
    /// As it was named.
    file: String,
    /// Its cell; empty where there is one only.
    cell: String,
    report: AbReport,
}

impl Entry {
    /// Whether its figures may be pooled.
    fn is_usable(&self) -> bool {
        self.report.verdict != AbVerdict::Invalid && self.report.design.pairs_used >= LEAST_PAIRS
    }
}

/// Carries out `ab --sessions`.
///
/// # Errors
/// A file that cannot be read, or files that do not belong together.
pub(super) fn main(args: &AbArgs, provenance: &Provenance, begun: Instant) -> Result<Done, Error> {
    let out_dir = &args.run.output.out_dir;
    let files = &args.sessions.sessions;
    if let Some(input) = files.iter().find(|file| lies_in(file, out_dir)) {
        let problem = Problem::new(
            Place::Flag("--out-dir"),
            format!(
                "what is put together would be written over \"{}\", which it is made of",
                input.display()
            ),
        )
        .hinting("name another folder with --out-dir");
        return Err(invalid(vec![problem]));
    }
    let entries = read(args).inspect_err(|_error| {
        if !args.run.output.dry_run {
            run::forget_earlier(out_dir);
        }
    })?;
    let report = together::together(args, &entries, provenance, begun.elapsed().as_secs_f64());
    let exit = exit_of(report.verdict, args.design.fail_on, None);
    let width = crate::commands::terminal_width();
    let stdout = report::ab_terminal::render(&report, width, console::colors_enabled());
    if args.run.output.dry_run {
        return Ok(Done { stdout, exit });
    }
    run::prepare(out_dir)?;
    let events = watchers::listen(&args.run.output, out_dir)?;
    store::write(&out_dir.join(AB_MD), report::ab_markdown::render(&report).as_bytes())?;
    store::write_ab(&out_dir.join(AB_JSON), &report)?;
    for warning in &report.warnings {
        events.send(&Event::Warning { message: warning.message.clone() });
    }
    events.send(&Event::StageDone {
        stage: Stage::Report,
        outcome: out_dir.join(AB_MD).display().to_string(),
        elapsed_s: begun.elapsed().as_secs_f64(),
    });
    Ok(Done { stdout, exit })
}

/// All of them, each with its cell.
fn read(args: &AbArgs) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    for file in &args.sessions.sessions {
        entries.push(Entry {
            file: file.display().to_string(),
            cell: String::new(),
            report: store::read_ab(file)?,
        });
    }
    let mut problems = belong::problems(&entries, args.sessions.matrix);
    if entries.len() < 2 {
        problems.push(
            Problem::new(
                Place::Flag("--sessions"),
                "one session has nothing to be put together with",
            )
            .hinting("name the ab.json of each machine"),
        );
    }
    if !problems.is_empty() {
        return Err(invalid(problems));
    }
    if args.sessions.matrix {
        belong::name_cells(&mut entries);
    }
    Ok(entries)
}

fn invalid(problems: Vec<Problem>) -> Error {
    PlanError::Invalid { subject: "these sessions".to_owned(), problems }.into()
}

/// Whether an input is the file that would be written.
fn lies_in(file: &Path, out_dir: &Path) -> bool {
    let file = if file.is_dir() { file.join(AB_JSON) } else { file.to_owned() };
    let real = |path: PathBuf| path.canonicalize().ok();
    match (real(file), real(out_dir.join(AB_JSON))) {
        (Some(file), Some(written)) => file == written,
        _ => false,
    }
}

/// Whether a report is one of a single machine.
fn is_single(report: &AbReport) -> bool {
    report.design.kind != DesignKind::Sessions
}
