//! The routes that can be asked, and what comes back from each.
//!
//! Main type: [`Endpoint`]. It builds no body and reads no answer.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::problem::{any_of, nearest};
use crate::stats::metric::{self, Metric};

/// Which route is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// `POST /v1/chat/completions`.
    #[serde(rename = "/v1/chat/completions")]
    ChatCompletions,
    /// `POST /v1/completions`.
    #[serde(rename = "/v1/completions")]
    Completions,
    /// llama-server's `POST /completion`.
    #[serde(rename = "/completion")]
    LlamaCompletion,
    /// `POST /v1/embeddings`.
    #[serde(rename = "/v1/embeddings")]
    Embeddings,
    /// `POST /v1/rerank`, the path of Jina and Cohere.
    #[serde(rename = "/v1/rerank")]
    V1Rerank,
    /// `POST /rerank`, the same below the server's root.
    #[serde(rename = "/rerank")]
    Rerank,
}

/// What a route gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    /// Generated tokens, streamed or not.
    Tokens,
    /// A vector for each text, whole.
    Embeddings,
    /// A score for each document, whole.
    Scores,
}

/// A text that names no route. A fragment: the caller names the value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected {}{}", any_of(&Endpoint::ALL.map(Endpoint::path)), .near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
pub struct EndpointError {
    near: Option<&'static str>,
}

impl Endpoint {
    /// Every route.
    pub const ALL: [Endpoint; 6] = [
        Endpoint::ChatCompletions,
        Endpoint::Completions,
        Endpoint::LlamaCompletion,
        Endpoint::Embeddings,
        Endpoint::V1Rerank,
        Endpoint::Rerank,
    ];

    /// The path below the server's root.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
            Endpoint::LlamaCompletion => "/completion",
            Endpoint::Embeddings => "/v1/embeddings",
            Endpoint::V1Rerank => "/v1/rerank",
            Endpoint::Rerank => "/rerank",
        }
    }

    /// What it gives back.
    #[must_use]
    pub const fn yields(self) -> Yield {
        match self {
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::LlamaCompletion => {
                Yield::Tokens
            }
            Endpoint::Embeddings => Yield::Embeddings,
            Endpoint::V1Rerank | Endpoint::Rerank => Yield::Scores,
        }
    }

    /// Whether its answers can be streamed.
    #[must_use]
    pub const fn can_stream(self) -> bool {
        matches!(self.yields(), Yield::Tokens)
    }

    /// Why no request to this route can have a metric; `None` where one can.
    #[must_use]
    pub fn lacks(self, metric: &Metric, stream: bool) -> Option<&'static str> {
        const OF_A_STREAM: [&Metric; 9] = [
            &metric::TTFT_MS,
            &metric::TTFT_SCHEDULED_MS,
            &metric::TIME_TO_FIRST_ANSWER_MS,
            &metric::QUEUE_MS,
            &metric::PREFILL_MS,
            &metric::ITL_MS,
            &metric::TPOT_MS,
            &metric::PREFILL_TOKENS_PER_SECOND,
            &metric::DECODE_TOKENS_PER_SECOND,
        ];
        const OF_GENERATION: [&Metric; 5] = [
            &metric::CACHED_TOKENS,
            &metric::COMPLETION_TOKENS,
            &metric::SERVER_PREFILL_MS,
            &metric::SERVER_DECODE_MS,
            &metric::DRAFT_ACCEPTANCE,
        ];
        let (of_stream, of_generation) =
            (OF_A_STREAM.contains(&metric), OF_GENERATION.contains(&metric));
        match self.yields() {
            Yield::Tokens if of_stream && !stream => {
                Some("answers are not streamed: they come in one piece")
            }
            Yield::Embeddings if of_stream || of_generation => {
                Some("embeddings come in one piece, and no tokens are generated")
            }
            Yield::Scores if of_stream || of_generation => {
                Some("scores come in one piece, and no tokens are generated")
            }
            Yield::Tokens | Yield::Embeddings | Yield::Scores => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Its path; also `chat`, `completions`, `completion`, `embeddings` and `rerank`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHORT: [(&str, Endpoint); 5] = [
            ("chat", Endpoint::ChatCompletions),
            ("completions", Endpoint::Completions),
            ("completion", Endpoint::LlamaCompletion),
            ("embeddings", Endpoint::Embeddings),
            ("rerank", Endpoint::Rerank),
        ];
        let named = SHORT.into_iter().chain(Self::ALL.map(|endpoint| (endpoint.path(), endpoint)));
        named
            .clone()
            .find(|(name, _)| *name == text)
            .map(|(_, endpoint)| endpoint)
            .ok_or_else(|| EndpointError { near: nearest(text, named.map(|(name, _)| name)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_short_names_are_read_back() {
        for endpoint in Endpoint::ALL {
            assert_eq!(endpoint.path().parse(), Ok(endpoint));
            let json = serde_json::to_value(endpoint).expect("a unit variant");
            assert_eq!(json, endpoint.path());
        }
        assert_eq!("chat".parse(), Ok(Endpoint::ChatCompletions));
        assert_eq!("completion".parse(), Ok(Endpoint::LlamaCompletion));
        let error = "embedding".parse::<Endpoint>().expect_err("misspelt").to_string();
        assert!(error.ends_with("; did you mean \"embeddings\"?"), "{error}");
        assert!("".parse::<Endpoint>().is_err());
    }

    #[test]
    fn only_what_a_route_can_tell_is_expected_of_it() {
        let lacks = |endpoint: Endpoint, stream, metric| endpoint.lacks(metric, stream).is_some();
        assert!(!lacks(Endpoint::ChatCompletions, true, &metric::TTFT_MS));
        assert!(lacks(Endpoint::ChatCompletions, false, &metric::TTFT_MS));
        assert!(!lacks(Endpoint::ChatCompletions, false, &metric::COMPLETION_TOKENS));
        assert!(lacks(Endpoint::Embeddings, false, &metric::COMPLETION_TOKENS));
        for endpoint in Endpoint::ALL {
            assert!(!lacks(endpoint, false, &metric::E2E_MS), "{endpoint:?}");
            assert!(!lacks(endpoint, false, &metric::PROMPT_TOKENS), "{endpoint:?}");
        }
    }
}
