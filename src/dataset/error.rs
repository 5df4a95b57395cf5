//! Every way in which there are no prompts.
//!
//! Main types: [`DatasetError`], and [`FetchError`] for whoever hands in the way to the Hub.

use std::path::PathBuf;

use thiserror::Error;

use super::pick::LeftOut;
use crate::cancel::StopReason;
use crate::exit::ExitCode;
use crate::plan::PromptFilter;

/// Why there are no prompts.
#[derive(Debug, Error)]
pub enum DatasetError {
    /// The public file could not be had.
    #[error("cannot get the dataset \"sharegpt\" from the Hub")]
    Fetch(#[source] FetchError),
    /// The file cannot be opened.
    #[error("cannot open the dataset \"{}\"", .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file cannot be read, or is not of the shape. The source says line and column.
    #[error("cannot read the dataset \"{}\" at conversation {conversation}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which conversation, from 1.
        conversation: u64,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// Every conversation was left out.
    #[error(
        "no prompt of the dataset \"{source_name}\" is left: {seen} conversations seen, {left_out}"
    )]
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
            DatasetError::Fetch(error) => Some(
                error.hint.clone().unwrap_or_else(|| {
                    "--dataset builtin needs no download; --dataset FILE takes a copy on disk".to_owned()
                }),
            ),
            DatasetError::Open { .. } => {
                Some("give the path of a ShareGPT-shaped JSON file, or use --dataset builtin".to_owned())
            }
            DatasetError::Malformed { source, .. } if source.is_eof() => {
                Some("the file ends in the middle; a download may have been cut, get it again".to_owned())
            }
            DatasetError::Malformed { source, .. } if source.is_io() => None,
            DatasetError::Malformed { .. } => Some(
                "expected [{\"conversations\": [{\"from\": \"human\", \"value\": \"…\"}, {\"from\": \"gpt\", \"value\": \"…\"}]}, …]"
                    .to_owned(),
            ),
            DatasetError::NothingLeft { left_out, filter, .. } => Some(left_out.cure(filter)),
            DatasetError::Cancelled(_) => None,
        }
    }

    /// How to leave.
    #[must_use]
    pub const fn exit_code(&self) -> ExitCode {
        match self {
            DatasetError::Fetch(_) => ExitCode::Model,
            DatasetError::Open { .. }
            | DatasetError::Malformed { .. }
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
