//! Several runs in one: cell after cell, on servers that are started anew only where their flags
//! change, with one table in the end.
//!
//! Main function: `main`. A cell that fails is recorded and the rest goes on. What is played is in
//! `plan::suite`; a single cell is played and reported by the corridor, `run`, like any run.

mod folder;
mod search;
mod stand;

use crate::artifact::{SuiteReport, store};
use crate::cancel;
use crate::cli::RunArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::exit::ExitCode;
use crate::plan::suite::SuitePlan;
use crate::prometheus::{About, Publisher};
use crate::provenance::{self, Provenance};
use crate::{report, run, signals};

use stand::Stand;

pub(crate) use folder::FILES;

/// From the best to the worst: the last one that any cell came to is that of the suite.
const WORSE_AND_WORSE: [ExitCode; 12] = [
    ExitCode::Ok,
    ExitCode::Publish,
    ExitCode::Threshold,
    ExitCode::NotEvidence,
    ExitCode::Report,
    ExitCode::Server,
    ExitCode::Model,
    ExitCode::Usage,
    ExitCode::Tool,
    ExitCode::Bug,
    ExitCode::Interrupted,
    ExitCode::Terminated,
];

/// The worst of these exit codes, by the order of METHODOLOGY.md; 0 of none.
fn worst(codes: impl Iterator<Item = u8>) -> ExitCode {
    let rank = |code: u8| WORSE_AND_WORSE.iter().position(|known| known.code() == code);
    let worst = codes.filter_map(rank).max().unwrap_or(0);
    WORSE_AND_WORSE[worst]
}

/// Plays a suite: the `run` command where there is more than one cell, or something to search.
///
/// # Errors
/// What kept it from being begun, or its results from being written. A cell that failed is no error.
pub(crate) fn main(
    plan: &SuitePlan,
    args: &RunArgs,
    provenance: Provenance,
) -> Result<Done, Error> {
    if args.output.dry_run {
        return dry(plan).map(Done::text);
    }
    let resume = args.suite.resume;
    let earlier = if resume { Some(folder::resumed(plan)?) } else { None };
    folder::prepare(plan, resume)?;
    let publisher = publisher(plan)?;
    let events = run::listen(&args.output, &plan.out_dir)?;
    let events = publisher.as_ref().map_or_else(|| events.clone(), |it| it.listening(&events));
    let runtime = run::runtime()?;
    let report = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        let mut stand = Stand::new(plan, provenance, earlier, &events, &cancel);
        match plan.search {
            Some(spec) => search::play(spec, &mut stand).await?,
            None => stand.play_all().await?,
        }
        stand.finish(publisher.as_ref()).await
    });
    runtime.shutdown_background();
    drop(events);
    let report = report?;
    let exit = report.suite.exit_code.map_or(ExitCode::Ok, |code| worst(std::iter::once(code)));
    let mut stdout = report::suite::text(&report, crate::commands::terminal_width());
    if report.suite.finished_at.is_none() && plan.search.is_none() {
        stdout.push_str("\ninterrupted; the same command with --resume goes on where this ended\n");
    }
    Ok(Done { stdout, exit })
}

/// One for all cells: counters go on from one to the next.
fn publisher(plan: &SuitePlan) -> Result<Option<Publisher>, Error> {
    let Some(first) = plan.cells.first().map(|cell| &cell.plan) else { return Ok(None) };
    let about = About { tags: first.tags.clone(), scenario: plan.name.clone() };
    Ok(Publisher::begin(&first.prometheus, &about)?)
}

/// `--dry-run`: every cell, the servers between them, and the whole plan of the first.
fn dry(plan: &SuitePlan) -> Result<String, Error> {
    let mut text = format!("suite      {}\n", plan.name);
    match plan.search {
        Some(search) => text.push_str(&format!(
            "search     the {} {}\n",
            if plan.cells[0].plan.workload.objectives.is_empty() {
                "knee of"
            } else {
                "most that keeps the objectives:"
            },
            search.over.name()
        )),
        None => text.push_str(&format!("cells      {}\n", plan.cells.len())),
    }
    let starts = plan.server_starts();
    text.push_str(&format!("servers    {starts} started one after the other\n"));
    let mut before = None;
    for cell in &plan.cells {
        if before != Some(cell.server_index) && starts > 0 {
            text.push_str(&format!("\nserver {}\n", cell.server_index + 1));
        }
        before = Some(cell.server_index);
        text.push_str(&format!("  {}\n", cell.name));
    }
    text.push_str(&format!("\nthe first of them, {}:\n\n", plan.cells[0].name));
    text.push_str(&run::dry(&plan.cells[0].plan)?);
    Ok(text)
}

/// Writes the files of a suite.
fn save(plan: &SuitePlan, report: &SuiteReport) -> Result<(), Error> {
    let write = |name: &str, text: String| store::write(&plan.out_dir.join(name), text.as_bytes());
    write(folder::SUITE_CSV, report::suite::csv(report))?;
    write(folder::SUITE_MD, report::suite::markdown(report))?;
    write(folder::SUITE_HTML, report::html::suite(report))?;
    write(folder::SUITE_JSON, report.to_json())?;
    Ok(())
}

fn now() -> String {
    provenance::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_is_that_of_the_suite() {
        for (codes, expected) in [
            (&[][..], 0),
            (&[0, 0], 0),
            (&[0, 99, 0], 99),
            (&[99, 5], 5),
            (&[5, 7, 99], 7),
            (&[7, 130, 0], 130),
            (&[6, 7], 6),
        ] {
            assert_eq!(worst(codes.iter().copied()).code(), expected, "{codes:?}");
        }
    }
}
