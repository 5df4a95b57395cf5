//! The flags of `comment`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Everything `bench-ci comment` takes. The token is no flag: a list of processes shows flags.
#[derive(Debug, Clone, Args)]
pub struct CommentArgs {
    /// Reports, or folders or zip archives with them [default: bench-out]
    ///
    /// A folder that holds ab.json, report.json or suite.json is one configuration; any other is looked
    /// into for a folder a configuration, as actions/download-artifact leaves them. A configuration is
    /// called after its folder, without the prefix bench-ci-.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Download the artifacts bench-ci-* of this workflow run
    ///
    /// Default in a workflow_run job: the run that has ended.
    #[arg(long, value_name = "ID", conflicts_with = "paths")]
    pub run_id: Option<u64>,
    /// Which of several comments on one pull request this is
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub key: String,
    /// When to comment
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = CommentWhen::Change)]
    pub when: CommentWhen,
    /// Also set a commit status, `bench-ci / KEY` (needs statuses: write)
    #[arg(long)]
    pub status: bool,
    /// Also make a check run, `bench-ci / KEY` (needs checks: write)
    #[arg(long)]
    pub check: bool,
    /// Leave with 8 if the token may only read
    ///
    /// Otherwise the page goes to the job's summary, and the exit code is 0: a pull request from a fork
    /// has such a token, and that is nobody's fault.
    #[arg(long)]
    pub require_comment: bool,
    /// Number of the pull request, outside of its own jobs
    ///
    /// Needs --repo, or a job of the repository. In a job that a pull request or a workflow's end has
    /// started, the event says the number, and nothing else may.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pull_request: Option<u64>,
    /// The repository [default: the job's]
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: Option<String>,
    /// Print the page and every request, and send none
    #[arg(long)]
    pub dry_run: bool,
}

/// When a comment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CommentWhen {
    /// The first time if something got slower, faster or could not be measured; from then on always
    Change,
    /// Always
    Always,
    /// Never: only the status and the check, if they are asked for
    Never,
}
