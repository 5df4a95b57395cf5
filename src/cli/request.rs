//! The flags of `run` about requests: their route, their body, and how long their client waits.

use std::time::Duration;

use clap::Args;

use crate::plan::{Endpoint, duration};

/// What each request is; each flag overrides the scenario.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Requests (each overrides the scenario)")]
pub struct RequestArgs {
    /// The route that is asked [default: the scenario's]
    ///
    /// /v1/chat/completions (chat), /v1/completions (completions), llama-server's /completion
    /// (completion), /v1/embeddings (embeddings), /rerank or /v1/rerank (rerank). What of the scenario
    /// has no place in another route, such as a system prompt, is left out.
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<Endpoint>,
    /// Ask for whole answers instead of streams
    ///
    /// Then nothing is known about first tokens and the time between them. Embeddings and scores always
    /// come whole.
    #[arg(long)]
    pub no_stream: bool,
    /// Texts to embed, or documents to rank, in one request [default: 1, or 8]
    #[arg(long, value_name = "N")]
    pub inputs_per_request: Option<u32>,
    /// Hold conversations of so many turns, each with the model's own answers
    ///
    /// A user holds one conversation from its first turn to its last. --n-prompts then counts
    /// conversations, and llama-server's prompt cache is on.
    #[arg(long, value_name = "N")]
    pub turns: Option<u32>,
    /// Hang up on requests that are not answered after this time: they have failed
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub deadline: Option<Duration>,
    /// Whether llama-server may reuse prompts that it has seen
    #[arg(long, value_name = "BOOL")]
    pub cache_prompt: Option<bool>,
    /// The `temperature` field [default: not sent]
    #[arg(long, value_name = "X")]
    pub temperature: Option<f64>,
    /// The `top_p` field [default: not sent]
    #[arg(long, value_name = "X")]
    pub top_p: Option<f64>,
    /// The `top_k` field [default: not sent]
    #[arg(long, value_name = "N")]
    pub top_k: Option<u32>,
    /// The `min_p` field [default: not sent]
    #[arg(long, value_name = "X")]
    pub min_p: Option<f64>,
    /// The `repeat_penalty` field [default: not sent]
    #[arg(long, value_name = "X")]
    pub repeat_penalty: Option<f64>,
    /// The `presence_penalty` field [default: not sent]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub presence_penalty: Option<f64>,
    /// The `frequency_penalty` field [default: not sent]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub frequency_penalty: Option<f64>,
    /// Further fields of each body, as a JSON object; may be repeated
    ///
    /// Such as '{"top_a": 0.2}'. They are merged over the scenario's request.extra, later ones over
    /// earlier ones.
    #[arg(long, value_name = "JSON")]
    pub extra_body: Vec<String>,
    /// What stands around each text that is no chat: a text with {prompt}, or its file
    #[arg(long, value_name = "TEXT|FILE")]
    pub prompt_template: Option<String>,
}
