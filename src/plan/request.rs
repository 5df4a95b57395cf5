//! What each request carries and how long its client waits, hangs up or goes on.
//!
//! Main type: [`RequestSpec`]. The bytes are made in `body`; requests are sent by `load`.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// What stands for the prompt in a template.
pub const PLACEHOLDER: &str = "{prompt}";

/// The body of each request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestSpec {
    /// The `model` field; `None` leaves it out.
    pub model: Option<String>,
    /// System message of a chat; `None` sends none.
    pub system_prompt: Option<String>,
    /// What is put around each text that is no chat; holds [`PLACEHOLDER`]. `None` sends the text.
    pub prompt_template: Option<String>,
    /// Whether the answer is streamed; never true where the route cannot.
    pub stream: bool,
    /// The answer's budget in tokens.
    pub max_tokens: u32,
    /// Texts of one embeddings request, documents of one reranking request; `None`: 1 and 8.
    pub inputs_per_request: Option<u32>,
    /// Stop strings.
    pub stop: Vec<String>,
    /// The `seed` field; `None` leaves it out.
    pub seed: Option<u64>,
    /// How the next token is chosen.
    #[serde(flatten)]
    pub sampling: Sampling,
    /// llama-server's `cache_prompt`; always sent to a server that we start.
    pub cache_prompt: bool,
    /// Force exactly `max_tokens` tokens.
    pub ignore_eos: bool,
    /// Ask for the usage chunk.
    pub include_usage: bool,
    /// Adapters, one of which each request is given; empty leaves the server's own.
    pub lora: Vec<LoraChoice>,
    /// Further fields, merged into the body last.
    pub extra: Map<String, Value>,
}

impl RequestSpec {
    /// Texts of one embeddings request.
    #[must_use]
    pub fn texts(&self) -> u32 {
        self.inputs_per_request.unwrap_or(1)
    }

    /// Documents of one reranking request. Eight: enough for a batch, few enough for a small context.
    #[must_use]
    pub fn documents(&self) -> u32 {
        self.inputs_per_request.unwrap_or(8)
    }
}

/// How the next token is chosen; what is `None` is not sent, and the server's default stands.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Sampling {
    /// `temperature`.
    pub temperature: Option<f64>,
    /// `top_p`.
    pub top_p: Option<f64>,
    /// `top_k`.
    pub top_k: Option<u32>,
    /// `min_p`.
    pub min_p: Option<f64>,
    /// `repeat_penalty`; vLLM and others call it `repetition_penalty`.
    pub repeat_penalty: Option<f64>,
    /// `presence_penalty`.
    pub presence_penalty: Option<f64>,
    /// `frequency_penalty`.
    pub frequency_penalty: Option<f64>,
}

impl Sampling {
    /// The fields that are sent, by name, in a fixed order.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        // Destructured, so that a new one cannot be forgotten here.
        let Self {
            temperature,
            top_p,
            top_k,
            min_p,
            repeat_penalty,
            presence_penalty,
            frequency_penalty,
        } = *self;
        let number = |value: Option<f64>| value.map(Value::from);
        let fields = [
            ("temperature", number(temperature)),
            ("top_p", number(top_p)),
            ("top_k", top_k.map(Value::from)),
            ("min_p", number(min_p)),
            ("repeat_penalty", number(repeat_penalty)),
            ("presence_penalty", number(presence_penalty)),
            ("frequency_penalty", number(frequency_penalty)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// What is given here, over the rest.
    #[must_use]
    pub fn or(self, rest: Self) -> Self {
        Self {
            temperature: self.temperature.or(rest.temperature),
            top_p: self.top_p.or(rest.top_p),
            top_k: self.top_k.or(rest.top_k),
            min_p: self.min_p.or(rest.min_p),
            repeat_penalty: self.repeat_penalty.or(rest.repeat_penalty),
            presence_penalty: self.presence_penalty.or(rest.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(rest.frequency_penalty),
        }
    }
}

/// One of several adapters. Neither `model` nor `id` is the bare model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoraChoice {
    /// Name of the adapter as a model, which is how vLLM and others take it.
    pub model: Option<String>,
    /// llama-server's number of the adapter, in the order of its `--lora` flags.
    pub id: Option<u32>,
    /// How strongly it acts.
    pub scale: f64,
    /// Its share of the requests, in proportion to the other weights; above zero.
    pub weight: f64,
}

/// Hanging up on purpose, as people do who have read enough.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CancelSpec {
    /// The part of requests that are hung up, 0 to 1.
    pub share: f64,
    /// When.
    #[serde(flatten)]
    pub after: CancelAfter,
}

/// When a request is hung up that is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelAfter {
    /// After so many content deltas, which is how a client can count tokens; at least 1.
    AfterTokens(u32),
    /// So long after the request was written.
    After(Duration),
}

/// Conversations: requests of a user that build on the answers to its earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ConversationSpec {
    /// Most turns of each; at least 2.
    pub turns: u32,
}

/// Limits of one request, each from the moment it was written (connect: from its start).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RequestTimeouts {
    /// To an open connection.
    pub connect: Duration,
    /// To the first content.
    pub first: Duration,
    /// Between two bytes once the stream runs (pings count as life).
    pub idle: Duration,
    /// To the end.
    pub total: Duration,
}
