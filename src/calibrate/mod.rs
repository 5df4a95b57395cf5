//! `bench-ci calibrate`: this client measured against the simulator, whose truth is known.
//!
//! Main functions: [`main`], the command, which tries several numbers of users and rates; [`step`],
//! one of them, which `run --calibrate` also plays. It loads the simulator by the same corridor as
//! any run, so that what is judged is what is used.

mod compare;
mod step;

use std::path::Path;

pub(crate) use step::BESIDE_A_RUN;
pub use step::{Load, load_of, step};

use crate::artifact::{CALIBRATION_SCHEMA, Calibration, CalibrationStep, Unknowns, store};
use crate::cancel::{self, Cancel};
use crate::cli::CalibrateArgs;
use crate::commands::Done;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::exit::ExitCode;
use crate::plan::problem::{Place, PlanError, Problem};
use crate::provenance::Provenance;
use crate::run::{self, sections};
use crate::{report, signals};

const CALIBRATION_JSON: &str = "calibration.json";
const CALIBRATION_MD: &str = "calibration.md";

/// What is tried where nobody says.
const USERS: [u32; 3] = [8, 64, 256];
const RATES: [f64; 3] = [100.0, 500.0, 2_000.0];

/// The `calibrate` command.
///
/// # Errors
/// What kept the simulator from being loaded. A client that is not valid is not an error but a
/// [`Done`] with exit code 5.
pub fn main(args: &CalibrateArgs) -> Result<Done, Error> {
    if args.duration.is_zero() {
        let problem = Problem::new(Place::Flag("--duration"), "must be longer than zero");
        let subject = "this command line".to_owned();
        return Err(PlanError::Invalid { subject, problems: vec![problem] }.into());
    }
    let provenance = Provenance::here();
    prepare(&args.out_dir)?;
    let events = run::person_alone(args.progress, args.quiet);
    let runtime = run::runtime()?;
    let (steps, stopped) = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        let steps = try_all(&loads(args), args, &provenance, &events, &cancel).await?;
        Ok::<_, Error>((steps, cancel.reason()))
    })?;
    runtime.shutdown_background();
    let exit = match stopped {
        Some(reason) => reason.into(),
        None if lowest_are_valid(&steps) => ExitCode::Ok,
        None => ExitCode::NotEvidence,
    };
    let calibration = calibration(steps, &provenance, exit);
    let write = |name, text: String| store::write(&args.out_dir.join(name), text.as_bytes());
    write(CALIBRATION_JSON, calibration.to_json())?;
    write(CALIBRATION_MD, report::calibration::markdown(&calibration))?;
    Ok(Done { stdout: report::calibration::terminal(&calibration), exit })
}

/// Users first, each list from low to high and without repetition.
fn loads(args: &CalibrateArgs) -> Vec<Load> {
    let neither = args.users.is_empty() && args.rates.is_empty();
    let mut users = if neither { USERS.to_vec() } else { args.users.clone() };
    let mut rates = if neither { RATES.to_vec() } else { args.rates.clone() };
    users.sort_unstable();
    users.dedup();
    rates.sort_by(f64::total_cmp);
    rates.dedup_by(|left, right| left.total_cmp(right).is_eq());
    users.into_iter().map(Load::Users).chain(rates.into_iter().map(Load::Rate)).collect()
}

/// What was tried until all of it was, or somebody asked to stop.
async fn try_all(
    loads: &[Load],
    args: &CalibrateArgs,
    provenance: &Provenance,
    events: &Events,
    cancel: &Cancel,
) -> Result<Vec<CalibrationStep>, Error> {
    let mut steps = Vec::with_capacity(loads.len());
    for load in loads {
        if cancel.reason().is_some() {
            break;
        }
        let stage = Stage::Calibrate;
        let begun = std::time::Instant::now();
        events.send(&Event::StageStarted { stage, what: load.to_string() });
        match step(*load, args.duration, provenance, cancel).await {
            Ok(step) => {
                let outcome = report::calibration::sentence(&step);
                let elapsed_s = begun.elapsed().as_secs_f64();
                events.send(&Event::StageDone { stage, outcome, elapsed_s });
                steps.push(step);
            }
            // Half a step says nothing, whichever room was the one that saw the stop.
            Err(_) if cancel.reason().is_some() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(steps)
}

/// Whether the lowest of the users and the lowest of the rates, as far as they were tried, are valid.
fn lowest_are_valid(steps: &[CalibrationStep]) -> bool {
    let lowest_users = steps.iter().find(|step| step.users.is_some());
    let lowest_rate = steps.iter().find(|step| step.rate_per_second.is_some());
    [lowest_users, lowest_rate].into_iter().flatten().all(|step| step.valid)
}

fn calibration(
    steps: Vec<CalibrationStep>,
    provenance: &Provenance,
    exit: ExitCode,
) -> Calibration {
    let mut unknown = Unknowns::none();
    let mut valid_up_to = |field, of: &dyn Fn(&CalibrationStep) -> Option<f64>| {
        let tried = || steps.iter().filter_map(|step| Some((of(step)?, step.valid)));
        let last = tried().take_while(|(_, valid)| *valid).last().map(|(size, _)| size);
        let why = if tried().next().is_none() { "none was tried" } else { "not at the lowest" };
        unknown.option(field, last, why)
    };
    let users = valid_up_to("valid_up_to_users", &|step| step.users.map(f64::from));
    let rate = valid_up_to("valid_up_to_rate_per_second", &|step| step.rate_per_second);
    Calibration {
        schema: CALIBRATION_SCHEMA.to_owned(),
        tool: sections::tool(),
        machine: sections::machine(&provenance.machine),
        started_at: provenance.started_at.clone(),
        // Users were given as whole numbers.
        valid_up_to_users: users.map(|users| users as u32),
        valid_up_to_rate_per_second: rate,
        steps,
        exit_code: exit.code(),
        unknown,
    }
}

/// Says now rather than after a minute if the folder cannot be written to, and removes what an earlier
/// calibration left.
fn prepare(out_dir: &Path) -> Result<(), Error> {
    let failed =
        |attempt, path: &Path, source| Error::Output { attempt, path: path.to_owned(), source };
    std::fs::create_dir_all(out_dir).map_err(|source| failed("create", out_dir, source))?;
    for name in [CALIBRATION_JSON, CALIBRATION_MD] {
        let path = out_dir.join(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("replace", &path, source));
            }
            _ => {}
        }
    }
    let probe = tempfile::Builder::new().prefix(".bench-ci-").tempfile_in(out_dir);
    drop(probe.map_err(|source| failed("write to", out_dir, source))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(words: &[&str]) -> Vec<String> {
        let argv = [&["bench-ci", "calibrate"], words].concat();
        let Some(Command::Calibrate(args)) = Cli::try_parse_from(argv).unwrap().command else {
            panic!("not calibrate");
        };
        loads(&args).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_list_alone_is_all_that_is_tried() {
        assert_eq!(asked(&[]).len(), 6);
        assert_eq!(asked(&["--users", "64,8,64"]), ["8 users", "64 users"]);
        assert_eq!(asked(&["--rates", "100,50.5"]), ["50.5 requests/s", "100 requests/s"]);
    }

    #[test]
    fn what_cannot_be_tried_is_refused() {
        for words in [["--users", "0"], ["--users", "-1"], ["--rates", "0"], ["--rates", "nan"]] {
            let argv = [&["bench-ci", "calibrate"][..], &words].concat();
            assert!(Cli::try_parse_from(argv).is_err(), "{words:?}");
        }
    }
}
