//! Every way to fail, by stage of the corridor.
//!
//! Main type: [`Error`]. Each variant wraps the error of the room it came from; the exit code and
//! the hint are that room's. Bugs are panics (exit code 101), not variants.

use std::path::PathBuf;

use crate::exit::ExitCode;

/// A run that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be planned.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
    /// The model could not be had.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// The prompts could not be had.
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
    /// The server did not start, or died.
    #[error(transparent)]
    Server(#[from] crate::server::ServerError),
    /// The load could not be made.
    #[error(transparent)]
    Load(#[from] crate::load::LoadError),
    /// A report could not be written or read.
    #[error(transparent)]
    Artifact(#[from] crate::artifact::store::StoreError),
    /// Two servers could not be compared.
    #[error(transparent)]
    Ab(#[from] crate::ab::AbError),
    /// Two sides cannot be put beside one another.
    #[error(transparent)]
    Compare(#[from] crate::compare::CompareError),
    /// The history cannot be read or written.
    #[error(transparent)]
    History(#[from] crate::history::HistoryError),
    /// No prompt fits the server.
    #[error("none of {prompts} prompts of the dataset \"{dataset}\" fits {place}")]
    NothingFits {
        /// Which dataset.
        dataset: String,
        /// How many prompts it has.
        prompts: u64,
        /// What they do not fit, such as `the 512 tokens of a slot`.
        place: String,
        /// The flag that makes more room there.
        flag: &'static str,
    },
    /// Our own metrics cannot be told.
    #[error(transparent)]
    Prometheus(#[from] crate::prometheus::PrometheusError),
    /// GitHub could not be told.
    #[error(transparent)]
    Github(#[from] crate::github::GithubError),
    /// A file or folder of the output could not be written.
    #[error("cannot {attempt} \"{}\"", path.display())]
    Output {
        /// Such as `create`.
        attempt: &'static str,
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Something that the operating system should always grant.
    #[error("cannot {attempt}")]
    System {
        /// Such as `watch for signals`.
        attempt: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// Asked to stop before the load had begun; there is nothing to report.
    #[error("stopped by {} before the load began", match reason {
        crate::cancel::StopReason::Interrupted => "SIGINT",
        crate::cancel::StopReason::Terminated => "SIGTERM",
    })]
    Stopped {
        /// By which signal.
        reason: crate::cancel::StopReason,
    },
    /// A suite cannot be gone on with.
    #[error("cannot resume: {why}")]
    Resume {
        /// Why not.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A run of `bench-py` failed; its `run` command is of use all the same.
    #[error("{source}")]
    BenchPy {
        /// The equivalent `run` command.
        command_line: String,
        /// What kept it from its end.
        source: Box<Error>,
    },
    /// A stored report could not be shown.
    #[error(transparent)]
    Show(#[from] crate::show::ShowError),
    /// A topic of `bench-ci help` that does not exist.
    #[error("no help on \"{topic}\"")]
    HelpTopic {
        /// What was asked for.
        topic: String,
    },
}

impl Error {
    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Plan(_)
            | Error::HelpTopic { .. }
            | Error::NothingFits { .. }
            | Error::Resume { .. } => ExitCode::Usage,
            Error::BenchPy { source, .. } => source.exit_code(),
            Error::Show(error) => error.exit_code(),
            Error::Model(error) => error.exit_code(),
            Error::Dataset(error) => error.exit_code(),
            Error::Server(error) => error.exit_code(),
            Error::Load(error) => match error {
                crate::load::LoadError::Panicked { .. } => ExitCode::Bug,
                crate::load::LoadError::System { .. } => ExitCode::Tool,
                crate::load::LoadError::Resolve { .. } => ExitCode::Server,
                _ => ExitCode::Usage,
            },
            Error::Artifact(error) => error.exit_code(),
            Error::Prometheus(error) => error.exit_code(),
            Error::Github(error) => error.exit_code(),
            Error::Ab(error) => error.exit_code(),
            Error::Compare(error) => error.exit_code(),
            Error::History(error) => error.exit_code(),
            Error::Output { .. } | Error::System { .. } => ExitCode::Tool,
            Error::Stopped { reason } => (*reason).into(),
        }
    }

    /// The message with all its causes, as one sentence. A cause whose words the message before it
    /// holds already is not said twice.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let words = error.to_string();
            if !sentence.contains(&words) {
                sentence.push_str(": ");
                sentence.push_str(&words);
            }
            cause = error.source();
        }
        sentence
    }

    /// What the user can do about it; `None` where the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Plan(error) => error.hint(),
            Error::Model(error) => error.hint(),
            Error::Dataset(error) => error.hint(),
            Error::Server(error) => error.hint(),
            Error::Load(error) => error.hint(),
            Error::Artifact(error) => error.hint(),
            Error::Prometheus(error) => error.hint(),
            Error::Github(error) => error.hint(),
            Error::Ab(error) => error.hint(),
            Error::Compare(error) => error.hint(),
            Error::History(error) => error.hint(),
            Error::Output { .. } => {
                Some("choose another folder with --out-dir, or make room on the disk".to_owned())
            }
            Error::NothingFits { flag: "--ctx-size", .. } => Some(
                "raise --ctx-size (the slots share it), lower --parallel, or name another --dataset".to_owned(),
            ),
            Error::NothingFits { flag, .. } => {
                Some(format!("raise {flag}, or name another --dataset"))
            }
            Error::HelpTopic { .. } => {
                Some(
                    "there is help on each command, on exit-codes and on environment; `bench-ci --help` lists the commands"
                        .to_owned(),
                )
            }
            Error::Resume { hint, .. } => Some(hint.clone()),
            Error::BenchPy { command_line, source } => {
                let before = source.hint().map_or_else(String::new, |hint| format!("{hint}\n"));
                Some(format!("{before}{}", crate::bench_py::equivalent(command_line)))
            }
            Error::Show(error) => error.hint(),
            Error::System { .. } | Error::Stopped { .. } => None,
        }
    }
}

impl From<crate::cancel::StopReason> for ExitCode {
    fn from(reason: crate::cancel::StopReason) -> Self {
        match reason {
            crate::cancel::StopReason::Interrupted => ExitCode::Interrupted,
            crate::cancel::StopReason::Terminated => ExitCode::Terminated,
        }
    }
}
