//! What a user may type; no behaviour.
//!
//! Main type: [`Cli`]. Doc comments here are the help pages: the first line stands alone for `-h`,
//! the rest is for `--help`. Values are parsed at this edge, so that later rooms see no text
//! where they need a choice or a duration. Nothing is decided here; that is `plan::resolve`.

mod bench_py;
mod run;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub use bench_py::BenchPyArgs;
pub use run::{
    ClockArg, ConnectionsArg, LimitArgs, LogFormat, ModelArgs, OutputArgs, ProgressMode, RunArgs,
    ServerArgs, TagArgs, WorkloadArgs,
};

/// Did this change make the LLM server slower?
///
/// bench-ci starts llama-server with the flags you ask for, waits until it is healthy, loads it
/// over streaming HTTP from inside its own process, reads the server's own metrics, stops it, and
/// writes what it saw to report.md and report.json.
///
/// New here? Try it with nothing to download:
///
///   bench-ci --server sim --duration 10s
///
/// then with a real server and a model made on the spot:
///
///   bench-ci --server ./llama-server --model synthetic --parallel 4 --n-prompts 64
///
/// and when something is in the way: bench-ci doctor
#[derive(Debug, Parser)]
#[command(
    name = "bench-ci",
    version,
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done · 2 bad flag · 5 not evidence (failed requests, saturated client) · 6 no model · \
                  7 server died.\nAll of them: bench-ci help exit-codes"
)]
pub struct Cli {
    /// Without a subcommand: the flags of `run`.
    #[command(flatten)]
    pub run: RunArgs,
    /// The subcommand, if there is one.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Benchmark a server: the main job, and the default
    ///
    /// Gets the model, starts the server (or uses the one at --url), loads it, writes the reports.
    #[command(verbatim_doc_comment)]
    Run(Box<RunArgs>),
    /// Check everything a run needs, send one request, explain what is missing
    ///
    /// Takes the flags of `run`. Looks at the server binary, the model, the port, the output folder,
    /// kernel time stamps and limits of this machine, then starts the server and sends one request.
    #[command(verbatim_doc_comment)]
    Doctor(Box<RunArgs>),
    /// Run llama.cpp's bench.py command lines as they are
    ///
    /// Accepts bench.py's own flags with bench.py's own meaning and prints the equivalent `run` command.
    #[command(verbatim_doc_comment, infer_long_args = true)]
    BenchPy(Box<BenchPyArgs>),
    /// Render a finished report again
    Report(ReportArgs),
    /// Make a synthetic GGUF of a wanted shape, or inspect a GGUF
    #[command(subcommand)]
    Model(ModelCommand),
    /// Run the simulated llama-server in the foreground
    ///
    /// It takes llama-server's flags, speaks its API and keeps exact truth about what it sent.
    #[command(verbatim_doc_comment, disable_help_flag = true)]
    Sim {
        /// llama-server's flags and the simulator's own; see `bench-ci sim --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff)
    Man,
    /// Explain a subcommand, or a topic: exit-codes
    Help {
        /// A subcommand, or `exit-codes`
        topic: Vec<String>,
    },
}

/// `bench-ci report`
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// A report.json written by `run`
    pub file: PathBuf,
    /// How to show it
    #[arg(long, value_enum, default_value_t = ReportFormat::Markdown)]
    pub format: ReportFormat,
}

/// How a finished report can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// The page that `run` writes as report.md
    Markdown,
    /// The summary that `run` prints on a terminal
    Text,
}

/// `bench-ci model`
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Print what a GGUF file is
    Inspect {
        /// The file
        file: PathBuf,
    },
    /// Write a deterministic random-weight GGUF
    ///
    /// SHAPE is a name (tiny, 15m, 100m, 1b) or a list such as
    /// layers=4,embd=256,heads=4,ff=688,vocab=1024,ctx=4096,type=q8_0
    #[command(verbatim_doc_comment)]
    Make {
        /// A name or a list of key=value
        shape: String,
        /// The file to write
        file: PathBuf,
    },
}
