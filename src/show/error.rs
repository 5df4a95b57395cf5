//! Why a report could not be shown.
//!
//! Main type: [`ShowError`]. What is wrong with a file is `artifact::store`'s to say.

use crate::exit::ExitCode;

/// Why a report could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// Nothing was given.
    #[error("no report was given")]
    NoFile,
    /// The format is no text, and there is no file to write it to.
    #[error("the format {format} is not text and cannot go to stdout")]
    NotText {
        /// As on the command line.
        format: String,
    },
    /// A suite is not shown so.
    #[error("a suite is not shown as {format}: expected markdown, html, text, csv or json")]
    NotOfSuite {
        /// As on the command line.
        format: String,
    },
    /// A comparison is not shown so.
    #[error(
        "a comparison is not shown as {format}: expected markdown, html, text, json or go-bench"
    )]
    NotOfComparison {
        /// As on the command line.
        format: String,
    },
    /// Several runs are not shown so.
    #[error(
        "several reports are not shown as {format}: expected markdown, text, csv, json or go-bench"
    )]
    NotOfMany {
        /// As on the command line.
        format: String,
    },
    /// Parquet could not be made.
    #[error("cannot write Parquet")]
    Parquet(#[source] parquet::errors::ParquetError),
}

impl ShowError {
    /// The code to leave with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ShowError::Parquet(_) => ExitCode::Tool,
            _ => ExitCode::Usage,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            ShowError::NoFile => {
                "give a report.json, its folder, or a folder of many; `--format list` tells the formats"
            }
            ShowError::NotText { .. } => "name a file with --output FILE",
            ShowError::NotOfSuite { .. } => "name one of the reports in its folder cells/",
            ShowError::NotOfComparison { .. } | ShowError::NotOfMany { .. } => {
                "name one report.json for the others"
            }
            ShowError::Parquet(_) => return None,
        };
        Some(hint.to_owned())
    }
}
