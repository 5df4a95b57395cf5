//! Every way in which there are no prompts.
//!
//! Main types: [`DatasetError`], and [`FetchError`] for whoever hands in the way to the Hub.

use std::path::PathBuf;

use thiserror::Error;

use super::lines::Fault;
use super::pick::LeftOut;
use crate::cancel::StopReason;
use crate::exit::ExitCode;
use crate::plan::PromptFilter;

/// Why there are no prompts.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// A file of the Hub could not be had.
    #[error("cannot get the dataset \"{dataset}\" from the Hub")]
    Fetch {
        /// As `--dataset` names it.
        dataset: String,
        /// Why not.
        source: FetchError,
    },
    /// The file cannot be opened.
    #[error("cannot open the dataset \"{}\"", .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be read, or is not of the shape. The source says line and column.
    #[error("cannot read the dataset \"{}\" at record {record}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which record, from 1.
        record: u64,
        /// What its records look like.
        expected: &'static str,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A line of a file is not what it should be.
    #[error("cannot read the dataset \"{}\" at line {line}", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        source: Fault,
    },
    /// A file of a kind that is not read.
    #[error("cannot read the dataset \"{}\": {why}", .path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Which kind it is, and what would make it one that is.
        why: &'static str,
    },
    /// There is no prompt in it at all.
    #[error("the dataset \"{source_name}\" is empty")]
    Empty {
        /// Which dataset.
        source_name: String,
    },
    /// Every conversation was left out.
    #[error("no prompt of the dataset \"{source_name}\" is left: {seen} seen, {left_out}")]
    NothingLeft {
        /// Which dataset.
        source_name: String,
        /// Conversations in it.
        seen: u64,
        /// Why they were left out.
        left_out: LeftOut,
        /// The limits that they met.
        filter: PromptFilter,
    },
    /// Somebody asked to stop.
    #[error("stopped while reading the dataset")]
    Cancelled(StopReason),
}

impl DatasetError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            DatasetError::Fetch { source: error, .. } => Some(
                error.hint.clone().unwrap_or_else(|| {
                    "--dataset builtin needs no download; --dataset FILE takes a copy on disk".to_owned()
                }),
            ),
            DatasetError::Open { .. } => {
                Some("give the path of a JSON, JSONL, Parquet, CSV or text file, or use --dataset builtin".to_owned())
            }
            DatasetError::Malformed { source, .. } if source.is_eof() => {
                Some("the file ends in the middle; a download may have been cut, get it again".to_owned())
            }
            DatasetError::Malformed { source, .. } if source.is_io() => None,
            DatasetError::Malformed { expected, .. } => Some((*expected).to_owned()),
            DatasetError::Line { source: Fault::Io(_), .. } | DatasetError::Format { .. } => None,
            DatasetError::Line { path, .. } => match path.extension().and_then(|name| name.to_str()) {
                Some("csv" | "tsv") => {
                    Some("expected a header with a column \"prompt\" or \"text\", and UTF-8".to_owned())
                }
                Some("txt" | "md") => Some("expected one prompt a line, in UTF-8".to_owned()),
                _ => Some(
                    "expected one object a line, such as {\"prompt\": \"…\", \"max_tokens\": 128}".to_owned(),
                ),
            },
            DatasetError::Empty { .. } => {
                Some("use another, such as --dataset builtin".to_owned())
            }
            DatasetError::NothingLeft { left_out, filter, .. } => Some(left_out.cure(filter)),
            DatasetError::Cancelled(_) => None,
        }
    }

    /// How to leave.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            DatasetError::Fetch { .. } => ExitCode::Model,
            DatasetError::Open { .. }
            | DatasetError::Malformed { .. }
            | DatasetError::Line { .. }
            | DatasetError::Format { .. }
            | DatasetError::Empty { .. }
            | DatasetError::NothingLeft { .. } => ExitCode::Usage,
            DatasetError::Cancelled(StopReason::Interrupted) => ExitCode::Interrupted,
            DatasetError::Cancelled(StopReason::Terminated) => ExitCode::Terminated,
        }
    }
}

/// Why a file of the Hub could not be had, from whoever was handed in to get it.
#[derive(Debug)]
pub struct FetchError {
    /// The downloader's own error.
    pub source: Box<dyn std::error::Error + Send + Sync>,
    /// What it says to do.
    pub hint: Option<String>,
}

// Transparent by hand: thiserror's `transparent` wants a single field, and the same text must not
// stand twice in a chain.
impl std::fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(formatter)
    }
}

impl std::error::Error for FetchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}
