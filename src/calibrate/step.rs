//! One load of the simulator, from its flags to the comparison.
//!
//! Main functions: [`step`], and [`load_of`], which finds the load that stands for a run's own.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};

use super::compare;
use crate::artifact::{CalibrationStep, store};
use crate::cancel::Cancel;
use crate::cli::Cli;
use crate::commands::without_variable;
use crate::error::Error;
use crate::event::Events;
use crate::plan::resolve::resolve;
use crate::plan::{LoadShape, RunPlan, Target, Workload};
use crate::provenance::Provenance;
use crate::run;
use crate::sim::{Truth, TruthError};

/// How long the client is measured before a run.
pub(crate) const BESIDE_A_RUN: Duration = Duration::from_secs(3);

/// Users where neither the run nor its server's flags say how many there will be.
const USERS_UNTOLD: u32 = 4;

/// What the simulator sends, in milliseconds: the first token of an answer, and each one after it.
const TTFT_MS: &str = "20";
const ITL_MS: &str = "10";
/// Long enough for gaps, short enough for many requests in a few seconds.
const TOKENS: &str = "24";

/// Of an open loop: the connections come and go, and that is what is tried.
const OPEN_TTFT_MS: &str = "5";
const OPEN_ITL_MS: &str = "1";
const OPEN_TOKENS: &str = "4";
/// Slots enough for two thousand requests a second of some 10 ms, should the machine stall for a while.
const OPEN_SLOTS: &str = "512";

/// What the client is loaded with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// A closed loop of so many users.
    Users(u32),
    /// An open loop of so many requests per second, equally spaced.
    Rate(f64),
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Users(users) => write!(formatter, "{users} users"),
            Load::Rate(rate) => write!(formatter, "{rate} requests/s"),
        }
    }
}

/// The load that stands for a run's own: the highest rate of all its phases or, where users send all
/// requests, the most users.
#[must_use]
pub fn load_of(workload: &Workload, target: &Target) -> Load {
    let sequence = workload.sequence();
    let rates = sequence.iter().filter_map(|phase| highest_rate(&phase.shape));
    if let Some(rate) = rates.filter(|rate| *rate > 0.0).max_by(f64::total_cmp) {
        return Load::Rate(rate);
    }
    let slots = match target {
        Target::Start(spec) => spec.parallel,
        Target::External { .. } => None,
    };
    let users = sequence.iter().map(|phase| {
        let constant = phase.users.or(workload.users).or(slots);
        phase.shape.most_users(constant.unwrap_or(USERS_UNTOLD))
    });
    Load::Users(users.max().unwrap_or(0).max(1))
}

/// Of arrivals that have a rate; that of a trace is in its file alone.
fn highest_rate(shape: &LoadShape) -> Option<f64> {
    match shape {
        LoadShape::Arrivals { rate_per_second, .. } => Some(*rate_per_second),
        LoadShape::RampingArrivals { start_rate, stages, .. } => {
            Some(stages.iter().map(|stage| stage.target).fold(*start_rate, f64::max))
        }
        LoadShape::ConstantUsers
        | LoadShape::PerUserIterations { .. }
        | LoadShape::RampingUsers { .. }
        | LoadShape::Trace { .. } => None,
    }
}

/// Loads a simulator of its own for `duration`, and compares.
///
/// # Errors
/// What kept the run from its end, and [`Error::Stopped`] where it was asked to stop. A client that
/// is not valid is not an error.
pub async fn step(
    load: Load,
    duration: Duration,
    provenance: &Provenance,
    cancel: &Cancel,
) -> Result<CalibrationStep, Error> {
    let folder = tempfile::Builder::new()
        .prefix("bench-ci-calibrate-")
        .tempdir()
        .map_err(|source| Error::System { attempt: "make a temporary folder", source })?;
    let truth_file = folder.path().join("truth.jsonl");
    let plan = plan(load, duration, folder.path(), &truth_file, provenance)?;
    run::prepare(&plan.out_dir)?;
    let before = compare::process_cpu();
    let finished = run::execute(&plan, provenance.clone(), &Events::default(), cancel).await?;
    let cpu = compare::process_cpu().zip(before).map(|(after, before)| after - before);
    if let Some(error) = finished.error {
        return Err(error);
    }
    if let Some(reason) = cancel.reason() {
        return Err(Error::Stopped { reason });
    }
    let rows = store::read_rows(&plan.out_dir)?;
    let truth = Truth::read(&truth_file).map_err(|error| Error::System {
        attempt: "read what the simulator has sent",
        source: match error {
            TruthError::Read { source, .. } => source,
            TruthError::Line { source, .. } => source.into(),
        },
    })?;
    Ok(compare::compare(load, &finished.report, &rows, &truth, cpu))
}

/// The plan of a run against the simulator, by the same way as that of any run.
fn plan(
    load: Load,
    duration: Duration,
    folder: &Path,
    truth_file: &Path,
    provenance: &Provenance,
) -> Result<RunPlan, Error> {
    let size = match load {
        Load::Users(users) => users.to_string(),
        Load::Rate(rate) => rate.to_string(),
    };
    let mut words: Vec<OsString> =
        ["bench-ci", "run", "--server", "sim", "--ignore-eos", "--max-prompt-tokens", "60"]
            .map(OsString::from)
            .to_vec();
    let (ttft, itl) = match load {
        Load::Users(_) => {
            words.extend(["--users", &size, "--parallel", &size].map(OsString::from));
            words.extend(["--max-tokens", TOKENS].map(OsString::from));
            (TTFT_MS, ITL_MS)
        }
        Load::Rate(_) => {
            words.extend(["--rate", &size, "--arrivals", "constant"].map(OsString::from));
            words.extend(["--parallel", OPEN_SLOTS, "--warm-up", "0"].map(OsString::from));
            words.extend(["--max-tokens", OPEN_TOKENS].map(OsString::from));
            (OPEN_TTFT_MS, OPEN_ITL_MS)
        }
    };
    words.extend(["--", "--sim-ttft-ms", ttft, "--sim-itl-ms", itl].map(OsString::from));
    words.push("--sim-truth".into());
    words.push(truth_file.into());
    // What somebody set for a run of their own is not for this one.
    let command = Cli::command().mut_args(without_variable);
    let command = command.mut_subcommand("run", |run| run.mut_args(without_variable));
    let cli = Cli::from_arg_matches(&command.get_matches_from(words))
        .expect("the words above are flags of `run`");
    let Some(crate::cli::Command::Run(mut args)) = cli.command else {
        unreachable!("the second word is `run`");
    };
    args.workload.duration = Some(duration);
    let mut plan = resolve(&args, &run::surroundings(provenance)?)?;
    plan.out_dir = folder.join("out");
    // All of them at work all the time: that is the load that their number stands for.
    plan.workload.think_time = Duration::ZERO;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scenario::{Origin, Overrides, workload};

    #[test]
    fn a_run_of_phases_is_tried_at_the_most_that_any_of_them_asks() {
        let load = |phases: &str| {
            let text = format!("users = 2\n{phases}");
            let origin = Origin::File("mine.toml".into());
            let workload = workload(&text, &origin, &Overrides::default()).expect("valid");
            load_of(&workload, &Target::External { base_url: "http://h".to_owned() })
        };
        let calm = "[[phase]]\nname = \"calm\"\nduration = \"1s\"\n";
        let crowd = "[[phase]]\nname = \"crowd\"\nduration = \"1s\"\nusers = 9\n";
        let rush = "[[phase]]\nname = \"rush\"\nduration = \"1s\"\n[phase.arrivals]\nrate = 20\n";
        assert_eq!(load("duration = \"1s\""), Load::Users(2));
        assert_eq!(load(calm), Load::Users(2));
        assert_eq!(load(&format!("{calm}{crowd}")), Load::Users(9));
        assert_eq!(load(&format!("{calm}{rush}{crowd}")), Load::Rate(20.0));
    }
}
