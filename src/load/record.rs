//! What the load engine notes about one request: raw instants, counts and an outcome.
//!
//! Main type: [`RequestRecord`]. Latencies are never stored here; `stats` derives them from the
//! stamps, so that a formula can change without measuring again. A request that failed, was
//! dropped or was cut is a record like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant in nanoseconds on `CLOCK_MONOTONIC` of this machine.
///
/// Comparable between processes on one machine (the simulator's truth file uses the same clock),
/// meaningless between machines and across reboots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Time from `earlier` to `self`; zero if the clock readings are the other way round.
    #[must_use]
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `delay` after this one.
    #[must_use]
    pub fn after(self, delay: Duration) -> Stamp {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Stamp(self.0.saturating_add(nanos))
    }
}

/// Which part of the run a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before measuring; never counted in any figure.
    WarmUp,
    /// Counted.
    Measured,
    /// After measuring; never counted in any figure.
    CoolDown,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// Status 2xx, at least one content delta (unless none was asked for), a finish reason or the
    /// terminator, and no error inside the stream.
    Completed,
    /// Anything else that had begun and ended by itself.
    Failed {
        /// The class, one of the names in METHODOLOGY.md.
        failure: FailureKind,
        /// What was seen, in words, for the reader of the report; at most 300 characters, with
        /// control characters removed. Never holds a secret.
        detail: String,
    },
    /// Planned but never sent (open loop without a free user, or the run ended first).
    Dropped,
    /// Still in flight when the run ended: right-censored, neither a success nor a failure.
    Cut,
    /// Hung up by us on purpose, as the workload says: neither a success nor a failure.
    Cancelled,
}

/// Why a planned request was never sent, where something else than time or a cap kept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropCause {
    /// An earlier turn of its conversation did not complete, so there is no answer to go on from.
    ConversationBroken,
}

impl DropCause {
    /// The public wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DropCause::ConversationBroken => "conversation_broken",
        }
    }
}

/// The classes of failure. The wire names are public.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// TLS handshake or certificate failure.
    Tls,
    /// No content within the limit for the first delta.
    TimeoutFirst,
    /// The stream went silent for longer than the idle limit.
    TimeoutIdle,
    /// The whole request took longer than its limit.
    TimeoutTotal,
    /// Status 400 to 499.
    #[serde(rename = "http_4xx")]
    Http4xx,
    /// Status 500 to 599.
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// A 2xx answer that carried an error: an object, or a finish reason that says so.
    StreamError,
    /// The stream ended without a finish reason or terminator, or inside a chunk.
    Truncated,
    /// Not HTTP, not SSE, not JSON, an unexpected status, or something else we cannot read.
    Protocol,
    /// The peer reset or closed the connection before the response was whole.
    Reset,
    /// A finished answer without any content.
    Empty,
    /// Less than was asked for: fewer tokens than were forced with `ignore_eos`, or nothing that shows as
    /// many; fewer embeddings or scores than texts.
    Short,
    /// The workload's own deadline for a request passed, and we hung up.
    Deadline,
}

impl FailureKind {
    /// All kinds in wire order, for tables and tests.
    pub const ALL: [FailureKind; 14] = [
        FailureKind::Connect,
        FailureKind::Tls,
        FailureKind::TimeoutFirst,
        FailureKind::TimeoutIdle,
        FailureKind::TimeoutTotal,
        FailureKind::Http4xx,
        FailureKind::Http5xx,
        FailureKind::StreamError,
        FailureKind::Truncated,
        FailureKind::Protocol,
        FailureKind::Reset,
        FailureKind::Empty,
        FailureKind::Short,
        FailureKind::Deadline,
    ];

    /// The public wire name, such as `http_5xx`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FailureKind::Connect => "connect",
            FailureKind::Tls => "tls",
            FailureKind::TimeoutFirst => "timeout_first",
            FailureKind::TimeoutIdle => "timeout_idle",
            FailureKind::TimeoutTotal => "timeout_total",
            FailureKind::Http4xx => "http_4xx",
            FailureKind::Http5xx => "http_5xx",
            FailureKind::StreamError => "stream_error",
            FailureKind::Truncated => "truncated",
            FailureKind::Protocol => "protocol",
            FailureKind::Reset => "reset",
            FailureKind::Empty => "empty",
            FailureKind::Short => "short",
            FailureKind::Deadline => "deadline",
        }
    }
}

/// The token counts of the final `usage` object, as the server said them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// `usage.prompt_tokens`.
    pub prompt_tokens: u64,
    /// `usage.completion_tokens`.
    pub completion_tokens: u64,
    /// `usage.prompt_tokens_details.cached_tokens`; `None` where the server does not say.
    pub cached_tokens: Option<u64>,
    /// `usage.completion_tokens_details.reasoning_tokens`, a part of `completion_tokens`; `None` where
    /// the server does not say, or counts them beside those.
    #[serde(default)]
    pub reasoning_tokens: Option<u64>,
}

/// llama-server's own `timings` object, as it said them. All durations in milliseconds. Each is `None`
/// where the server did not say it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Prompt tokens taken from the cache; older builds do not say.
    pub cache_n: Option<u64>,
    /// Prompt tokens that were evaluated.
    pub prompt_n: Option<u64>,
    /// Time spent on the prompt.
    pub prompt_ms: Option<f64>,
    /// Tokens generated.
    pub predicted_n: Option<u64>,
    /// Time spent generating.
    pub predicted_ms: Option<f64>,
    /// Speculative decoding: tokens drafted.
    pub draft_n: Option<u64>,
    /// Speculative decoding: drafted tokens accepted.
    pub draft_n_accepted: Option<u64>,
}

/// Everything noted about one planned request. One per planned request, failed ones too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Position in the order of planning, from 0, warm-up first.
    pub index: u64,
    /// Which prompt of the prompt set was sent, from 0.
    pub prompt_index: u64,
    /// Which user sent it, from 0.
    pub user_index: u32,
    /// Whether it counts.
    pub phase: Phase,
    /// Which conversation it is a turn of, in the order in which they began, from 0 and over all phases;
    /// `None` where a request stands for itself.
    #[serde(default)]
    pub conversation_index: Option<u64>,
    /// Which turn of it, from 1.
    #[serde(default)]
    pub turn: Option<u32>,
    /// How many turns that conversation has when it is held to its end.
    #[serde(default)]
    pub turns: Option<u32>,
    /// To which phase of the load it belongs: 0 is each user's warm-up before the first, 1 the first.
    #[serde(default)]
    pub phase_index: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was dropped, where something else than time or a cap did it.
    #[serde(default)]
    pub dropped_because: Option<DropCause>,

    /// Closed loop: when the user became free (after think time). Open loop: the instant of the arrival.
    pub planned: Stamp,
    /// Connecting began; `None` if the connection was already there.
    pub connect_started: Option<Stamp>,
    /// Connection ready; `None` if it was already there or never became ready.
    pub connected: Option<Stamp>,
    /// Just before the write that carries the last request byte; `None` if never sent.
    pub written: Option<Stamp>,
    /// Status line and headers complete (receive stamp of that read).
    pub headers: Option<Stamp>,
    /// First delta with content.
    pub first_content: Option<Stamp>,
    /// First delta with content that is no reasoning; `None` where all of it was, and in answers that
    /// are not streamed.
    #[serde(default)]
    pub first_answer: Option<Stamp>,
    /// Last delta with content; equals `first_content` if there was one delta.
    pub last_content: Option<Stamp>,
    /// The event that carried a finish reason.
    pub finish: Option<Stamp>,
    /// It was over: the response body ended, the connection broke, or we gave the request up. `None` only
    /// if it never began.
    pub end: Option<Stamp>,

    /// HTTP status; `None` if no status line arrived.
    pub status: Option<u16>,
    /// Response headers in which the server tells times or what it calls this request, such as
    /// `server-timing`; names in lower case, values at most 100 characters each. Empty where there
    /// are none.
    #[serde(default)]
    pub server_headers: BTreeMap<String, String>,
    /// `finish_reason` (or `stop_type`) as the server said it.
    pub finish_reason: Option<String>,
    /// The terminator `[DONE]` was seen.
    pub terminated: bool,
    /// Token counts from the server, if it said them.
    pub usage: Option<Usage>,
    /// llama-server's timings, if it said them.
    pub timings: Option<Timings>,

    /// The number of tokens the request asked for at most.
    pub max_tokens: u32,
    /// Exactly that many were forced (`ignore_eos`).
    #[serde(default)]
    pub forced: bool,
    /// Content deltas seen. A delta is not a token.
    pub content_deltas: u64,
    /// Of those, how many shared their stamp with an earlier one because they came in one read.
    pub coalesced_deltas: u64,
    /// The second content delta came in the read that held the first. Such a read has the stamp of its
    /// last byte, so that the first content may have been there before `first_content`.
    #[serde(default)]
    pub first_content_coalesced: bool,
    /// Of the content deltas, how many held nothing but reasoning.
    #[serde(default)]
    pub reasoning_deltas: u64,
    /// Embeddings or scores in a whole answer; `None` where tokens were asked for.
    #[serde(default)]
    pub results: Option<u32>,
    /// Numbers in each embedding.
    #[serde(default)]
    pub dimensions: Option<u32>,
    /// Comment lines (pings) seen.
    pub comments: u64,
    /// Response bytes, headers included.
    pub bytes_received: u64,
    /// The request was sent a second time because the idle connection it first met was closed
    /// before any byte came back. Stamps are those of the second sending.
    pub resent: bool,
}

impl RequestRecord {
    /// Of the counted tokens, those that were never streamed: reasoning that the server counts and keeps
    /// to itself. 0 where it streams its reasoning, or says nothing of it.
    #[must_use]
    pub fn hidden_tokens(&self) -> u64 {
        let counted = self.usage.and_then(|usage| usage.reasoning_tokens);
        counted.filter(|_| self.reasoning_deltas == 0).unwrap_or(0)
    }

    /// True if the request counts as a success.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.outcome == Outcome::Completed
    }
}
