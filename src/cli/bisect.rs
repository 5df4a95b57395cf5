//! The flags of `bisect`: between which commits to look, and how they are built.
//!
//! Main type: [`BisectArgs`]. Everything of `run` is taken for every commit.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{BarArg, BothArgs, FailOn, FloorArg};
use crate::plan::{duration, percent};

/// Everything `bench-ci bisect` takes.
#[derive(Debug, Clone, Args)]
pub struct BisectArgs {
    /// The search.
    #[command(flatten)]
    pub search: SearchArgs,
    /// For every commit.
    #[command(flatten)]
    pub run: BothArgs,
}

/// Between which commits, and how.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Search")]
pub struct SearchArgs {
    /// A commit that was still fast: a branch, tag or hash; an ancestor of --bad
    #[arg(long, value_name = "REF")]
    pub good: String,
    /// A commit that is slower
    #[arg(long, value_name = "REF", default_value = "HEAD")]
    pub bad: String,
    /// Shell command that builds a server in a work tree of its commit
    ///
    /// Each commit is built once; what was built is kept in bench-ci's cache by commit, command and what
    /// compilers and CMake say of their versions. The 20 builds that were used last stay there. A commit
    /// that does not build is gone round.
    #[arg(long, value_name = "COMMAND")]
    pub build: String,
    /// The built executable, from the root of the work tree
    #[arg(long, value_name = "PATH")]
    pub server_path: PathBuf,
    /// Look inside merges too; without it a merge is one step of its branch
    #[arg(long)]
    pub all_parents: bool,
    /// Time that everything may take, builds included
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration::parse)]
    pub budget: Duration,
    /// Most pairs of one comparison [default: 16, with looks before]
    ///
    /// More than 100 are refused, for a comparison that cannot tell is played again with twice as many.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pairs: Option<u32>,
    /// The least slow-down that is looked for [default: 2 %, of TTFT 3 %]
    #[arg(long, value_name = "PERCENT", value_parser = percent::parse)]
    pub delta: Option<f64>,
    /// The same of one metric; may be repeated
    #[arg(long = "bar", value_name = "METRIC=PERCENT")]
    pub bars: Vec<BarArg>,
    /// A change of a metric that never matters; may be repeated [default: 1ms]
    #[arg(long = "floor", value_name = "METRIC=VALUE")]
    pub floors: Vec<FloorArg>,
    /// Which outcomes fail the call [default: no evidence alone, exit 5]
    ///
    /// regressed: exit 3 where bad is slower, whether or not the commit was found. inconclusive: also exit 4
    /// where it cannot be told whether it is. never: 0 in any case.
    #[arg(long, value_name = "VERDICT", value_enum)]
    pub fail_on: Option<FailOn>,
    /// Carry on with the search in --out-dir, after Ctrl-C, a crash or a spent budget
    #[arg(long)]
    pub resume: bool,
    /// Run one server at a time; several times coarser
    #[arg(long)]
    pub restart_mode: bool,
}
