//! The flags of llama.cpp's bench.py, with its spelling, its defaults and its meaning.

use std::path::PathBuf;

use clap::Args;

use super::{ClientLimitArgs, LimitArgs, OutputArgs};

/// Everything `bench-ci bench-py` takes: bench.py's own flags, then ours for output and limits.
#[derive(Debug, Clone, Args)]
pub struct BenchPyArgs {
    /// Bench name
    #[arg(long)]
    pub name: String,
    /// Runner label
    #[arg(long)]
    pub runner_label: String,
    /// Branch name
    #[arg(long, default_value = "detached")]
    pub branch: String,
    /// Commit name
    #[arg(long, default_value = "dirty")]
    pub commit: String,
    /// Server listen host
    #[arg(long, default_value = "0.0.0.0")]
    pub host: String,
    /// Server listen port
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Prefix where to store the model files
    #[arg(long, default_value = "models")]
    pub model_path_prefix: PathBuf,
    /// Prompts to select, and requests to send (SERVER_BENCH_N_PROMPTS)
    #[arg(long)]
    pub n_prompts: u64,
    /// Longest prompt that is kept (SERVER_BENCH_MAX_PROMPT_TOKENS)
    #[arg(long)]
    pub max_prompt_tokens: u64,
    /// Longest prompt + answer that is kept (SERVER_BENCH_MAX_CONTEXT)
    ///
    /// Not the answer's budget, whatever its name says; that is --answer-tokens.
    #[arg(long)]
    pub max_tokens: u64,
    /// Hugging Face model repository
    #[arg(long, required_unless_present = "model")]
    pub hf_repo: Option<String>,
    /// Hugging Face model file
    #[arg(long, required_unless_present = "model")]
    pub hf_file: Option<String>,
    /// Not bench.py's: a GGUF on disk, or one made on the spot
    #[arg(long, short = 'm', value_name = "PATH|synthetic[:SHAPE]", conflicts_with_all = ["hf_repo", "hf_file"])]
    pub model: Option<String>,
    /// Layers to the GPU for computation (also -ngl)
    #[arg(long, allow_hyphen_values = true)]
    pub n_gpu_layers: i64,
    /// Set the size of the prompt context
    #[arg(long)]
    pub ctx_size: u32,
    /// Set the number of slots for process requests
    #[arg(long)]
    pub parallel: u32,
    /// Set the batch size for prompt processing
    #[arg(long)]
    pub batch_size: u32,
    /// Physical maximum batch size
    #[arg(long)]
    pub ubatch_size: u32,
    /// Scenario to run; script.js is the built-in `chat`
    #[arg(long)]
    pub scenario: String,
    /// Longest time in which requests are started, such as 5m
    #[arg(long)]
    pub duration: String,
    /// The answer's budget in tokens; bench.py took it from the variable alone
    #[arg(
        long = "answer-tokens",
        env = "SERVER_BENCH_MAX_TOKENS",
        hide_env_values = true,
        default_value_t = 512
    )]
    pub answer_tokens: u32,
    /// The dataset; bench.py took it from the variable alone
    #[arg(long, env = "SERVER_BENCH_DATASET", hide_env_values = true)]
    pub dataset: Option<String>,
    /// The server; bench.py took it from the variable alone
    #[arg(long, env = "LLAMA_SERVER_BIN_PATH", hide_env_values = true)]
    pub server: Option<String>,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Limits of our own client.
    #[command(flatten)]
    pub client_limits: ClientLimitArgs,
    /// Output flags.
    #[command(flatten)]
    pub output: OutputArgs,
}
