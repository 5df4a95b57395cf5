//! The flags of `history`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

/// `bench-ci history`
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Append finished reports to the history
    ///
    /// Reports of one commit on one machine become one point, the median of each metric. A report
    /// that is there already is not appended again.
    #[command(verbatim_doc_comment)]
    Append {
        /// report.json or ab.json (its head side), or folders that hold them
        #[arg(required = true, value_name = "REPORT")]
        reports: Vec<PathBuf>,
        /// Then push the branch, by default to origin; joins what others appended
        ///
        /// GITHUB_TOKEN in the environment is sent to GITHUB_SERVER_URL [default: `https://github.com`]
        /// and to nobody else.
        #[arg(long, value_name = "REMOTE", num_args = 0..=1, default_missing_value = "origin", verbatim_doc_comment)]
        push: Option<String>,
        /// Where the history is kept
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Say what is unusual, what changed, and whether the history is still kept
    ///
    /// Advisory: a history is taken on machines that differ from day to day, and bench-ci ab decides.
    /// Leaves with exit code 8 if the newest point is too old.
    #[command(verbatim_doc_comment)]
    Check {
        /// Oldest that the newest point may be
        #[arg(long, value_name = "DURATION", default_value = "7d")]
        max_age: String,
        /// What fails: stale (exit code 8), regressed (exit code 3), never
        #[arg(long, value_name = "WHAT", default_value = "stale", value_delimiter = ',')]
        fail_on: Vec<HistoryFailOn>,
        /// Which part
        #[command(flatten)]
        choice: ChoiceArgs,
        /// Where the history is kept
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Draw the history, in the terminal or as one HTML page
    Show {
        /// Write a page with charts to this file; it needs no network
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
        /// Which part
        #[command(flatten)]
        choice: ChoiceArgs,
        /// Where the history is kept
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Print all points
    Export {
        /// Shape
        #[arg(long, value_name = "FORMAT", default_value = "csv")]
        format: HistoryFormat,
        /// Which part
        #[command(flatten)]
        choice: ChoiceArgs,
        /// Where the history is kept
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Accept a change: what comes after is judged anew
    Annotate {
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// First commit of the new epoch [default: whatever comes from now on]
        #[arg(long, value_name = "COMMIT")]
        commit: Option<String>,
        /// Only this series [default: all]
        #[arg(long, value_name = "KEY")]
        series: Option<String>,
        /// Who says so [default: user.name of git]
        #[arg(long, value_name = "NAME")]
        author: Option<String>,
        /// Then push the branch, by default to origin
        #[arg(long, value_name = "REMOTE", num_args = 0..=1, default_missing_value = "origin")]
        push: Option<String>,
        /// Where the history is kept
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// Where the history is kept.
#[derive(Debug, Clone, clap::Args)]
pub struct PlaceArgs {
    /// A folder of the repository, which may be a bare one
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repo: PathBuf,
    /// The branch that holds the history and nothing else
    #[arg(long, value_name = "NAME", default_value = Self::BRANCH)]
    pub history_branch: String,
    /// First bring in what this remote has, by default origin
    #[arg(long, value_name = "REMOTE", num_args = 0..=1, default_missing_value = "origin")]
    pub fetch: Option<String>,
}

impl PlaceArgs {
    /// The branch, unless another one is named.
    pub const BRANCH: &str = "bench-ci-history";
}

/// Which part of the history.
#[derive(Debug, Clone, clap::Args)]
pub struct ChoiceArgs {
    /// Only the series whose key begins so
    #[arg(long, value_name = "KEY")]
    pub series: Option<String>,
    /// Only this metric; may be given several times
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,
}

/// What makes a check fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HistoryFailOn {
    /// The newest point is too old, or there is none
    Stale,
    /// A metric moved for the worse
    Regressed,
    /// Nothing
    Never,
}

/// Shape of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HistoryFormat {
    /// A row a point and metric
    Csv,
    /// All series with their points: schema bench-ci.history/1
    Json,
}
