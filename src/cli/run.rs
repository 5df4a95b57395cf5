//! The flags of `run`, grouped as its help page shows them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::request::RequestArgs;
use super::{DerivedArgs, PrometheusArgs, TypedFlags};
use crate::plan::search::SearchOver;
use crate::plan::{ArrivalProcess, duration, shape};

/// Everything `bench-ci run` takes.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Model flags.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Server flags.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Workload flags.
    #[command(flatten)]
    pub workload: WorkloadArgs,
    /// Request flags.
    #[command(flatten)]
    pub request: RequestArgs,
    /// Sweeps and searches.
    #[command(flatten)]
    pub suite: SuiteArgs,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Limits of our own client.
    #[command(flatten)]
    pub client_limits: ClientLimitArgs,
    /// Derived figures.
    #[command(flatten)]
    pub derived: DerivedArgs,
    /// Prometheus, in and out.
    #[command(flatten)]
    pub prometheus: PrometheusArgs,
    /// Tags.
    #[command(flatten)]
    pub tags: TagArgs,
    /// Output flags.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where the model comes from.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Repository on the Hugging Face Hub
    ///
    /// Downloads are cached where other Hub tools look for them, and resumed. HF_TOKEN, HF_ENDPOINT,
    /// HF_HOME and the others are honoured; `bench-ci help environment` names them.
    #[arg(long, value_name = "REPO", requires = "hf_file", conflicts_with = "model")]
    pub hf_repo: Option<String>,
    /// File in that repository; of a split model, any part
    #[arg(long, value_name = "FILE", requires = "hf_repo")]
    pub hf_file: Option<String>,
    /// Branch, tag or commit of that repository [default: main]
    #[arg(long, value_name = "REVISION", requires = "hf_repo")]
    pub hf_revision: Option<String>,
    /// A GGUF on disk, or one made on the spot
    ///
    /// SHAPE is tiny (the default), 15m, 100m, 1b, or a list such as layers=4,embd=256,type=q8_0.
    /// Speed does not depend on the weights, so any shape can be benchmarked with nothing to download.
    #[arg(long, short = 'm', value_name = "PATH|synthetic[:SHAPE]")]
    pub model: Option<String>,
    /// Folder in which model files are kept [default: the Hub's cache]
    #[arg(long, value_name = "DIR")]
    pub model_path_prefix: Option<PathBuf>,
}

/// The server that is loaded.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// Which of these were typed.
    #[command(flatten)]
    pub typed: TypedFlags,
    /// The llama-server to start, or `sim` for the simulator inside this binary
    ///
    /// Without it: the variable, then `llama-server` on PATH. The simulator is never chosen silently,
    /// and a report made with it says so in its first line.
    #[arg(long, value_name = "PATH|sim", env = "LLAMA_SERVER_BIN_PATH", hide_env_values = true)]
    pub server: Option<String>,
    /// Load a server that is already running; nothing is started or stopped
    ///
    /// Its base address, with or without /v1: http://host:8000/v1, https://host/v1, unix:/path/to.sock,
    /// or http+unix://%2Fpath%2Fto.sock/v1. Flags of a server that bench-ci starts are refused beside
    /// it.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// HTTP version
    ///
    /// 2 is agreed on with a https server, and spoken at once to a http one. auto takes what a https
    /// server prefers, and 1.1 elsewhere.
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = HttpVersionArg::Http1)]
    pub http_version: HttpVersionArg,
    /// Speak HTTP/2: the same as --http-version 2
    #[arg(long, conflicts_with = "http_version")]
    pub http2: bool,
    /// Trust the certificates of this PEM file, in place of the system's
    ///
    /// The system's are looked for where OpenSSL has them, or where SSL_CERT_FILE says.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub cacert: Option<PathBuf>,
    /// Believe any certificate of the server; the report says so
    #[arg(long, requires = "url", conflicts_with = "cacert")]
    pub insecure: bool,
    /// Reach the server through this HTTP proxy
    ///
    /// `http://[USER:PASSWORD@]HOST[:PORT]`. Without this flag no proxy is used, whatever HTTP_PROXY and
    /// HTTPS_PROXY say: a benchmark must not take another way than the one that was asked for.
    #[arg(long, value_name = "URL", requires = "url")]
    pub proxy: Option<String>,
    /// Sent as `Authorization: Bearer KEY`
    ///
    /// Better in the variable than here, where every process of the machine can read it.
    #[arg(long, value_name = "KEY", env = "BENCH_CI_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// A further request header; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// The `model` field of each request [default: none]
    ///
    /// With --url, without this flag: the first model that the server lists.
    #[arg(long, value_name = "NAME", env = "SERVER_BENCH_MODEL_ALIAS", hide_env_values = true)]
    pub request_model: Option<String>,
    /// Where the started server listens
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the started server; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Slots: requests worked on at once (passed on) [default: its own]
    #[arg(long, short = None, value_name = "N")]
    pub parallel: Option<u32>,
    /// Layers kept on the GPU (passed on, also -ngl) [default: its own]
    #[arg(long, alias = "gpu-layers", value_name = "N", allow_hyphen_values = true)]
    pub n_gpu_layers: Option<String>,
    /// Context of all slots together, in tokens (passed on) [default: its own]
    #[arg(long, value_name = "N")]
    pub ctx_size: Option<u32>,
    /// Logical batch, in tokens (passed on) [default: its own]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<u32>,
    /// Physical batch, in tokens (passed on) [default: its own]
    #[arg(long, value_name = "N")]
    pub ubatch_size: Option<u32>,
    /// How long the server may take to become healthy
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration::parse)]
    pub start_timeout: Duration,
    /// How long the server may take to stop after SIGINT before it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub stop_grace: Duration,
    /// Further llama-server arguments, verbatim, such as -- --threads 8
    #[arg(last = true, value_name = "SERVER ARGS")]
    pub extra_args: Vec<String>,
}

/// What the server is loaded with; each flag overrides the scenario.
#[derive(Debug, Clone, Args)]
#[command(
    next_help_heading = "Workload (each overrides the scenario; --dry-run shows the outcome)"
)]
pub struct WorkloadArgs {
    /// The workload: chat, load, soak, spike, breakpoint, conversation, or a TOML file
    ///
    /// chat is people talking to an assistant, after llama.cpp's script.js; the others are its users in
    /// growing and shrinking numbers. What holds a / or ends in
    /// .toml is a file; scenarios/chat.toml of the source explains every key.
    #[arg(long, value_name = "NAME|FILE", default_value = "chat")]
    pub scenario: String,
    /// How long new requests are started, such as 90s or 5m
    ///
    /// Those in flight then may finish, for as long as the scenario's graceful_stop. The stages of a ramp
    /// are stretched to this length.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub duration: Option<Duration>,
    /// Concurrent users [default: as many as the server has slots]
    #[arg(long, value_name = "N")]
    pub users: Option<u32>,
    /// Requests per second, in place of users: an open loop
    ///
    /// They are sent at planned instants, whether or not earlier ones have been answered.
    #[arg(long, value_name = "R", conflicts_with = "users")]
    pub rate: Option<f64>,
    /// Spread of an open loop [default: poisson]
    ///
    /// constant, poisson or gamma:SHAPE. gamma below shape 1 comes in bursts, above it is more even.
    #[arg(long, value_name = "PROCESS", conflicts_with = "users")]
    pub arrivals: Option<ArrivalProcess>,
    /// Most requests of an open loop at once
    ///
    /// Arrivals beyond are dropped and counted as such. Without it: as many as this process may open
    /// connections.
    #[arg(long, value_name = "N", conflicts_with = "users")]
    pub max_in_flight: Option<u32>,
    /// N prompts, each sent once; without it they go round until --duration
    ///
    /// The run ends after N measured requests or --duration, whichever is first.
    #[arg(long, value_name = "N", env = "SERVER_BENCH_N_PROMPTS", hide_env_values = true)]
    pub n_prompts: Option<u64>,
    /// Leave out dataset prompts of more words than this
    ///
    /// The name is bench.py's; what is counted are words, as its script counts them.
    #[arg(long, value_name = "N", env = "SERVER_BENCH_MAX_PROMPT_TOKENS", hide_env_values = true)]
    pub max_prompt_tokens: Option<u64>,
    /// Each answer's budget in tokens
    #[arg(long, value_name = "N", env = "SERVER_BENCH_MAX_TOKENS", hide_env_values = true)]
    pub max_tokens: Option<u32>,
    /// Leave out dataset prompts that with their answer have more words than this
    ///
    /// Counted like --max-prompt-tokens. Prompts that do not fit the server's own context are left out in
    /// any case, with a warning.
    #[arg(long, value_name = "N", env = "SERVER_BENCH_MAX_CONTEXT", hide_env_values = true)]
    pub max_context: Option<u64>,
    /// builtin, sharegpt, a file, hf:OWNER/NAME/FILE, or synthetic:input=512,output=128
    ///
    /// FILE is JSON (ShareGPT, or an array of records), JSONL, Parquet, CSV or text of one prompt a line.
    /// A record has a prompt, messages, text or prompt_token_ids, and may have max_tokens and id. sharegpt
    /// is the public file, from the Hub. synthetic prompts have exactly the asked lengths, in the server's
    /// tokens: a number, uniform:FROM-TO, normal:MEAN,STDDEV or lognormal:MEAN,STDDEV; with prefix=N
    /// they share N tokens more in front, in prefix_groups=N groups; count=N is how many there are.
    #[arg(long, value_name = "NAME|FILE", env = "SERVER_BENCH_DATASET", hide_env_values = true)]
    pub dataset: Option<String>,
    /// Send the requests of a trace at its instants: an open loop
    ///
    /// JSON, JSONL or CSV with a timestamp and a prompt or its length, as of Mooncake, Azure or
    /// BurstGPT. --duration cuts it. Instants count from the first; a number is seconds, or
    /// milliseconds beside Mooncake's input_length.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "rate", "arrivals"])]
    pub trace: Option<PathBuf>,
    /// How many times as fast as it was the trace is sent, such as 2x
    #[arg(long, value_name = "SPEED", value_parser = shape::trace_speed)]
    pub trace_speed: Option<f64>,
    /// Seed sent with each request, and of all that bench-ci draws
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// When connections are opened
    ///
    /// `fresh` is what k6 calls --no-connection-reuse. Connecting is never inside TTFT either way.
    #[arg(long, value_name = "WHEN", value_enum)]
    pub connections: Option<ConnectionsArg>,
    /// Force exactly --max-tokens tokens from every request; fewer are a failure
    #[arg(long)]
    pub ignore_eos: bool,
    /// Ask each prompt twice, for --max-tokens and for K more, both forced
    ///
    /// The time per output token is then also found from the difference, (T(M + K) − T(M)) / K, in which
    /// everything that both answers share falls out. --n-prompts N then makes 2N requests. Where the dataset
    /// gives a prompt a budget of its own, M is that.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub tpot_difference: Option<u32>,
    /// Unmeasured requests per user before measuring
    #[arg(long, value_name = "N")]
    pub warm_up: Option<u32>,
    /// Exit 99 unless it holds, such as "ttft_ms: p(95) < 200"; may be repeated
    ///
    /// k6's grammar: METRIC: METHOD OPERATOR NUMBER, with the methods avg min max med p(N) of a trend,
    /// count and rate of a counter, rate of a share, value of a gauge. The server's own metrics are
    /// written server:NAME. Behind it may stand ",abort" (end the load as soon as it is crossed),
    /// ",delay=1m" (but not earlier than this) and ",warn" (warn, and exit as if it held).
    #[arg(long = "threshold", value_name = "EXPR")]
    pub thresholds: Vec<String>,
    /// What a request must keep to count in goodput, such as "ttft_ms < 200"
    ///
    /// Several are joined by "and", or by giving the flag again: "ttft_ms < 200 and tpot_ms < 50".
    #[arg(long = "objective", value_name = "EXPR")]
    pub objectives: Vec<String>,
}

/// Several runs in one: sweeps, suites and searches.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sweep and search")]
pub struct SuiteArgs {
    /// Play every value, such as users=1,2,4; may be repeated
    ///
    /// Swept are users, rate, max_tokens, max_prompt_tokens, max_context, dataset, n_prompts and seed, and
    /// any long flag of the server, such as ubatch-size=64,512. Every combination is a cell with a report
    /// of its own below cells/; suite.md compares them. The server is started anew only where its flags
    /// change. A scenario file may hold the same as `[matrix]`, and several scenarios as `[[scenario]]`.
    #[arg(long, value_name = "NAME=V1,V2,…")]
    pub sweep: Vec<String>,
    /// Go on with a suite that was interrupted
    ///
    /// Cells that were played to their end are kept; a plan that has changed since is refused.
    #[arg(long)]
    pub resume: bool,
    /// Find the highest load that keeps every --objective
    ///
    /// Without objectives: the knee, where more load brings no more output. Each trial lasts --duration,
    /// or the scenario's, but then at most 30s.
    #[arg(long, value_name = "WHAT", value_enum)]
    pub search: Option<SearchOver>,
    /// Share of requests that must keep the objectives [default: 0.95]
    #[arg(long, value_name = "RATIO")]
    pub goodput_ratio: Option<f64>,
    /// Width of the found interval, as a share, at which a search ends [default: 0.05]
    #[arg(long, value_name = "RATIO")]
    pub search_precision: Option<f64>,
    /// Least load that a search tries
    #[arg(long, value_name = "LOAD")]
    pub search_from: Option<f64>,
    /// Most load that a search tries
    #[arg(long, value_name = "LOAD")]
    pub search_to: Option<f64>,
    /// No trial of a search begins later than this [default: 30m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub budget: Option<Duration>,
}

/// HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HttpVersionArg {
    /// HTTP/1.1
    #[value(name = "1.1")]
    Http1,
    /// HTTP/2
    #[value(name = "2")]
    Http2,
    /// What a https server prefers
    Auto,
}

/// When connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ConnectionsArg {
    /// Ahead of time
    Ahead,
    /// A new one inside every request
    Fresh,
}

/// When the numbers are not evidence.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits (crossing one is exit code 5)")]
pub struct LimitArgs {
    /// Failed requests that are still accepted
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_failed: u64,
    /// Where time stamps come from
    #[arg(long, value_enum, default_value_t = ClockArg::Auto)]
    pub clock: ClockArg,
}

/// When our own client was too slow to measure.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits (crossing one is exit code 5)")]
pub struct ClientLimitArgs {
    /// Highest share of a user's mean cycle that our own lateness may have
    ///
    /// The cycle is latency and pause; lateness lengthens it, and so lowers every rate.
    #[arg(long, value_name = "RATIO", default_value_t = ClientLimitArgs::SHARE)]
    pub max_lateness: f64,
    /// Highest share of a median metric that our own delay may have
    ///
    /// Judged only where the kernel gives no time stamps; where it does, the delay is in no figure.
    #[arg(long, value_name = "RATIO", default_value_t = ClientLimitArgs::SHARE)]
    pub max_client_delay: f64,
    /// Least share of the planned arrivals' rate that must be sent
    ///
    /// Of an open loop: --rate, --trace, or a scenario with arrivals.
    #[arg(long, value_name = "RATIO", default_value_t = ClientLimitArgs::LEAST_RATE)]
    pub min_achieved_rate: f64,
    /// Highest share of the median TTFT that our own lateness may have at p99
    ///
    /// Of an open loop. What comes in one piece has no TTFT: there it is a share of the median latency.
    #[arg(long, value_name = "RATIO", default_value_t = ClientLimitArgs::ARRIVAL_SHARE)]
    pub max_arrival_lateness: f64,
    /// Lateness of arrivals at p99 that is accepted however quick the answers are
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = duration::parse)]
    pub arrival_lateness_floor: Duration,
    /// Report that this client was too slow, but do not fail because of it
    #[arg(long)]
    pub accept_saturated_client: bool,
}

impl ClientLimitArgs {
    /// A client that could have moved a figure by more cannot judge a change of a few per cent.
    const SHARE: f64 = 0.01;
    /// What a slower load leaves of its rate is another load.
    const LEAST_RATE: f64 = 0.98;
    /// Arrivals that are late by more are not those that were planned.
    const ARRIVAL_SHARE: f64 = 0.05;
    /// Quick answers would otherwise ask for more than a timer can do.
    const ARRIVAL_FLOOR: Duration = Duration::from_millis(1);
}

impl Default for ClientLimitArgs {
    fn default() -> Self {
        Self {
            max_lateness: Self::SHARE,
            max_client_delay: Self::SHARE,
            min_achieved_rate: Self::LEAST_RATE,
            max_arrival_lateness: Self::ARRIVAL_SHARE,
            arrival_lateness_floor: Self::ARRIVAL_FLOOR,
            accept_saturated_client: false,
        }
    }
}

/// Where time stamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClockArg {
    /// The kernel's receive stamps where there are any, else our own clock
    Auto,
    /// Our own clock, for comparison
    User,
}

/// What the report is tagged with.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tags")]
pub struct TagArgs {
    /// Title of the report [default: the scenario's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The machine's label [default: RUNNER_NAME or the host's name]
    #[arg(long, value_name = "LABEL")]
    pub runner_label: Option<String>,
    /// Branch under test [default: from GITHUB_* or git]
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
    /// Commit under test [default: from GITHUB_* or git]
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
}

/// Where results go and what is shown meanwhile.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// All files go here and nowhere else
    #[arg(long, value_name = "DIR", default_value = "bench-out")]
    pub out_dir: PathBuf,
    /// How often metrics, processes, machine and GPUs are looked at under load
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration::parse)]
    pub scrape_interval: Duration,
    /// Not a flag: `bench-py` writes k6's summary under bench.py's name too.
    #[arg(skip)]
    pub bench_py_names: bool,
    /// Print the whole plan (commands, requests, files) and stop
    #[arg(long)]
    pub dry_run: bool,
    /// How progress is shown, on stderr
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ProgressMode::Auto)]
    pub progress: ProgressMode,
    /// Show nothing but errors and the final summary
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show the server's log as it is written
    #[arg(long, short)]
    pub verbose: bool,
    /// Shape of the lines on stderr
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// In a job of GitHub Actions, leave its summary, outputs and annotations alone
    #[arg(long, env = "BENCH_CI_NO_GITHUB", value_parser = clap::builder::FalseyValueParser::new())]
    pub no_github: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// A live view on a terminal, plain lines elsewhere
    Auto,
    /// A plain line now and then
    Plain,
    /// Nothing
    None,
}

/// Shape of the lines on stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object an event
    Json,
}
