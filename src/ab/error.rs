//! Every way in which a comparison cannot be made or carried on.
//!
//! Main type: [`AbError`]. What a comparison came to is a verdict, not an error.

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::exit::ExitCode;
use crate::provenance::refs::RefsError;
use crate::verdict::Side;

/// Why there is no comparison, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum AbError {
    /// A commit could not be found or laid out.
    #[error(transparent)]
    Refs(#[from] RefsError),
    /// Two names of one commit, so that a server would be compared with itself.
    #[error("base \"{}\" and head \"{}\" are the same commit, {commit}", both[0], both[1])]
    SameCommit {
        /// Base and head as typed.
        both: [String; 2],
        /// Its short hash.
        commit: String,
    },
    /// A commit could not be built.
    #[error("cannot build {side} ({commit}): the build command {how}{}", .lines.iter().map(|line| format!("\n      log: {line}")).collect::<String>())]
    Build {
        /// Whose.
        side: Side,
        /// Its short hash.
        commit: String,
        /// Such as `exited with status 2`.
        how: String,
        /// The last lines that it wrote.
        lines: Vec<String>,
        /// All of them.
        log: PathBuf,
        /// The commit has submodules, whose folders are empty until the command fills them.
        submodules: bool,
    },
    /// The build left no executable where it was looked for.
    #[error("the build of {side} made no \"{}\"", path.display())]
    NotBuilt {
        /// Whose.
        side: Side,
        /// Where it should be.
        path: PathBuf,
    },
    /// A side's server could not be started or asked.
    #[error("the server of {side}")]
    Side {
        /// Whose.
        side: Side,
        /// What went wrong.
        source: Box<Error>,
    },
    /// There is nothing to resume.
    #[error("there is no interrupted comparison in \"{}\"", out_dir.display())]
    NothingToResume {
        /// Where one was looked for.
        out_dir: PathBuf,
    },
    /// What is there was begun with other settings.
    #[error("the comparison in \"{}\" was begun with another \"{what}\"", out_dir.display())]
    OtherPlan {
        /// Where it lies.
        out_dir: PathBuf,
        /// The first setting that differs.
        what: String,
    },
    /// The state of an interrupted comparison cannot be read.
    #[error("the state of the comparison \"{}\" is damaged", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// Builds, model and first starts left no time to measure.
    #[error("the budget of {budget_s:.0} s was spent before a pair could be played")]
    NoTime {
        /// Seconds.
        budget_s: f64,
    },
}

impl AbError {
    /// Of this whole budget nothing was left to measure in.
    pub(super) fn no_time(budget: Duration) -> Self {
        AbError::NoTime { budget_s: budget.as_secs_f64() }
    }

    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            AbError::Refs(error) => error.exit_code(),
            AbError::Build { .. } | AbError::NotBuilt { .. } => ExitCode::Server,
            AbError::Side { source, .. } => source.exit_code(),
            AbError::SameCommit { .. }
            | AbError::NothingToResume { .. }
            | AbError::OtherPlan { .. } => ExitCode::Usage,
            AbError::State { .. } => ExitCode::Report,
            AbError::NoTime { .. } => ExitCode::NotEvidence,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            AbError::Refs(error) => error.hint(),
            AbError::SameCommit { .. } => Some(
                "name two commits (merge-base finds the one before the changes), or pass --aa to compare one with itself"
                    .to_owned(),
            ),
            AbError::Build { log, submodules, .. } => {
                let submodules = if *submodules {
                    "; submodules are empty there until it calls: git submodule update --init"
                } else {
                    ""
                };
                Some(format!(
                    "the command runs in a work tree of its commit, by sh -c{submodules}; full log in {}",
                    log.display()
                ))
            }
            AbError::NotBuilt { .. } => Some(
                "name the executable that the build makes with --server-path, from the root of the repository"
                    .to_owned(),
            ),
            AbError::Side { source, .. } => source.hint(),
            AbError::NothingToResume { .. } => {
                Some("leave --resume out, or name the folder of the interrupted call with --out-dir".to_owned())
            }
            AbError::OtherPlan { .. } => Some(
                "pass the same flags as then, or leave --resume out to begin anew".to_owned(),
            ),
            AbError::State { .. } => Some("leave --resume out to begin anew".to_owned()),
            AbError::NoTime { .. } => Some("raise --budget".to_owned()),
        }
    }
}
