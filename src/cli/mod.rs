//! What a user may type; no behaviour.
//!
//! Main type: [`Cli`]. Doc comments here are the help pages: the first line stands alone for `-h`,
//! the rest is for `--help`. Values are parsed at this edge, so that later rooms see no text
//! where they need a choice or a duration. Nothing is decided here; that is `plan::resolve`.

mod ab;
mod bench_py;
mod bisect;
mod calibrate;
mod comment;
mod compare;
mod derived;
pub mod environment;
mod fail_on;
mod history;
mod prometheus;
mod report;
mod request;
mod run;
mod typed;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use ab::{AbArgs, BarArg, BothArgs, DesignArgs, FloorArg, KeyValue, SessionArgs, SideArgs};
pub use bench_py::BenchPyArgs;
pub use bisect::{BisectArgs, SearchArgs};
pub use calibrate::CalibrateArgs;
pub use comment::{CommentArgs, CommentWhen};
pub use compare::{AcceptArg, CompareArgs, CompareFormat};
pub use derived::DerivedArgs;
pub use fail_on::FailOn;
pub use history::{ChoiceArgs, HistoryCommand, HistoryFailOn, HistoryFormat, PlaceArgs};
pub use prometheus::{MetricNamesArg, PrometheusArgs};
pub use report::{ReportArgs, ReportFormat};
pub use request::RequestArgs;
pub use run::{
    ClientLimitArgs, ClockArg, ConnectionsArg, HttpVersionArg, LimitArgs, LogFormat, ModelArgs,
    OutputArgs, ProgressMode, RunArgs, ServerArgs, SuiteArgs, TagArgs, WorkloadArgs,
};
pub use typed::TypedFlags;

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
/// and read bench-out/report.md. Then with a real server and a model made on the spot:
///
///   bench-ci --server ./llama-server --model synthetic --parallel 4 --n-prompts 64
///
/// or a server that runs already:
///
///   bench-ci --url http://127.0.0.1:8080 --users 4 --duration 1m
///
/// When something is in the way, bench-ci doctor with the same flags says what.
#[derive(Debug, Parser)]
#[command(
    name = "bench-ci",
    version,
    verbatim_doc_comment,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "Start here:   bench-ci --server sim --duration 10s\n\
                  Not working?  bench-ci doctor, with the same flags\n\
                  More help:    bench-ci help COMMAND, help exit-codes, help environment\n\
                  Exit codes:   0 done, 2 bad flag, 5 not evidence, 6 no model, 7 server died"
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
    /// `bench-ci` followed by flags means the same.
    #[command(verbatim_doc_comment)]
    Run(Box<RunArgs>),
    /// Compare two servers on this machine, in randomised pairs, and say which is slower
    ///
    /// Both servers are started, loaded in short turns, and started anew for each block, so that
    /// neither the machine's drift nor the luck of one start is taken for a change. Takes flags of
    /// `run` for both sides. The sides are two binaries, two commits, or two sets of flags:
    ///
    ///   bench-ci ab --base-server OLD --head-server NEW --model MODEL.gguf
    ///   bench-ci ab --base-ref merge-base --head-ref HEAD --build make --server-path ./llama-server ...
    ///   bench-ci ab --server PATH --base-args '--ubatch-size 512' --head-args '--ubatch-size 256' ...
    ///
    /// Writes ab.json and ab.md. Exit codes: 0, 3 regressed, 5 no evidence, 4 where --fail-on says so.
    #[command(verbatim_doc_comment)]
    Ab(Box<AbArgs>),
    /// Find the commit that made it slower, by comparisons on this machine
    ///
    /// First compares --bad with --good: only if it is slower is there something to find. Then halves what lies
    /// between, each commit against --good, and at last compares the commit that it found with its own parent.
    /// A commit that does not build is gone round; one that cannot be told gets a longer comparison.
    ///
    ///   bench-ci bisect --good v1.2 --bad main --build make --server-path ./llama-server --model MODEL.gguf
    ///
    /// Writes bisect.json and bisect.md; every comparison is kept below steps/. Exit codes: 0, 5 no evidence,
    /// 3 and 4 where --fail-on says so.
    #[command(verbatim_doc_comment)]
    Bisect(Box<BisectArgs>),
    /// Check everything a run needs, send one request, explain what is missing
    ///
    /// Takes the flags of `run`, so put `doctor` before those that you want to run with. Looks at the
    /// machine, time stamps, limits, output folder, model and server, starts it, and sends one request.
    /// Leaves with the exit code that the run would leave with, as far as one request can tell.
    #[command(verbatim_doc_comment)]
    Doctor(Box<RunArgs>),
    /// Measure this client itself, against the simulator, on this machine
    ///
    /// For each number of users and each rate it starts the simulator, loads it, and compares what
    /// was reported with what the simulator really sent: the error of TTFT and ITL, the processor
    /// time of an event, how late requests were sent, and where the client stops being valid.
    /// Leaves with 5 if it is not even valid at the lowest.
    #[command(verbatim_doc_comment)]
    Calibrate(CalibrateArgs),
    /// Run llama.cpp's bench.py command lines as they are
    ///
    /// Put `bench-ci bench-py` where `python bench.py` stood: it takes bench.py's own flags with bench.py's
    /// own meaning (flags may be shortened, as there) and prints the equivalent `run` command.
    /// Its files (k6-results.json, k6-results.csv, results.github.env, a METRIC.mermaid for each gauge
    /// of the server) are in --out-dir, where bench.py had them in the working directory: a later step
    /// reads bench-out/results.github.env. No Prometheus server is needed, and no .jpg is drawn.
    #[command(verbatim_doc_comment, infer_long_args = true)]
    BenchPy(Box<BenchPyArgs>),
    /// Show finished reports again: in any format, or many of them in series over time
    ///
    /// Everything is made of stored files, with the server long gone:
    ///
    ///   bench-ci report bench-out --format vllm
    ///   bench-ci report ab.json --format go-bench | benchstat -col side /dev/stdin
    ///   bench-ci report archive/ --format markdown
    ///
    /// A folder of reports, or several of them, are shown in series: runs of the same model, requests,
    /// server, flags and machine by time, and the series beside one another. That is never a verdict.
    /// Reports that cannot be read are named and left out, and the exit code is 9 in the end.
    #[command(verbatim_doc_comment)]
    Report(ReportArgs),
    /// Post or update the comment on a pull request
    ///
    /// One comment for all configurations of a matrix, found again by a mark and its author, verdict
    /// first, worst first. In a job of a pull request it comments on that one, with the reports given.
    /// In a workflow_run job it downloads the artifacts bench-ci-* of the run that has ended, finds its
    /// pull request by branch and commit, and comments there; so a fork's code never sees the token.
    /// Reports are taken in with distrust, and no text of theirs is shown as anything but text.
    ///
    /// The token is read from GITHUB_TOKEN or BENCH_CI_GITHUB_TOKEN. A verdict is no failure here: 0 means
    /// that GitHub was told what there was to tell, 8 that it was not.
    #[command(verbatim_doc_comment)]
    Comment(Box<CommentArgs>),
    /// Put two finished reports beside one another
    ///
    /// Says first whether they can be compared: the same model, requests, kind of server, machine and
    /// flags. Two single runs never show more than what *looks* slower: the luck of a server's start
    /// is in both. To know, run bench-ci ab.
    #[command(verbatim_doc_comment)]
    Compare(CompareArgs),
    /// Keep, check and draw figures over time in a git branch
    ///
    /// Points are JSON lines in a branch of their own; the work tree is never touched. What a history
    /// says is advisory: machines differ from day to day more than a change under test.
    #[command(subcommand, verbatim_doc_comment)]
    History(HistoryCommand),
    /// Make a synthetic GGUF of a wanted shape, or inspect a GGUF
    #[command(subcommand)]
    Model(ModelCommand),
    /// Run the simulated llama-server in the foreground
    ///
    /// It takes llama-server's flags, speaks its API and keeps exact truth about what it sent. Its own
    /// flags begin with --sim. `run --server sim` starts one by itself.
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
    /// Print the manual page (roff): bench-ci man | man -l -
    Man,
    /// Do what the inputs of action.yml say: variables INPUT_NAME
    #[command(hide = true)]
    Action,
    /// Explain a subcommand, or a topic: exit-codes, environment
    Help {
        /// A subcommand, `exit-codes` or `environment`
        topic: Vec<String>,
    },
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
