//! The flags of `compare`.

use std::path::PathBuf;

use clap::ValueEnum;

use super::FailOn;

/// `bench-ci compare`
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The report before: report.json or its folder
    ///
    /// Also k6's --summary-export and llama-bench's -o json or jsonl: of those, the metrics that
    /// they hold.
    #[arg(value_name = "BASE", required_unless_present = "base", conflicts_with_all = ["base", "head"])]
    pub base_file: Option<PathBuf>,
    /// The report after, likewise
    #[arg(value_name = "HEAD", required_unless_present = "base")]
    pub head_file: Option<PathBuf>,
    /// Several reports of base, or a folder of their folders
    ///
    /// Six or more of each side, taken in turn on one machine (base, head, head, base, …) with
    /// --n-prompts, are pairs and get a verdict. `bench-ci ab` takes them so by itself.
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "head", verbatim_doc_comment)]
    pub base: Vec<PathBuf>,
    /// Several reports of head, or a folder of their folders
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "base")]
    pub head: Vec<PathBuf>,
    /// Compare although this differs; may be given several times
    #[arg(long, value_name = "WHAT")]
    pub accept: Vec<AcceptArg>,
    /// How to show it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: CompareFormat,
    /// Which verdicts fail the call; without repeated runs there is no verdict
    ///
    /// regressed: exit 3 where head is slower. inconclusive: also exit 4 where it cannot tell. improved: also
    /// exit 3 where head is faster. Numbers that are no evidence always end in exit 5, except with never.
    #[arg(long, value_name = "VERDICT", value_enum)]
    pub fail_on: Option<FailOn>,
}

/// A difference that forbids a comparison unless it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AcceptArg {
    /// Simulator, llama-server or a server that was there already
    Server,
    /// The model
    Model,
    /// The requests
    Workload,
}

/// How a comparison is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For a terminal
    Text,
    /// For a pull request
    Markdown,
    /// For a program: schema bench-ci.compare/1
    Json,
}
