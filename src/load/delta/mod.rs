//! What one event of a stream says: content, a finish, token counts, an error.
//!
//! Main types: [`Said`], and [`DeltaReader`], which reads the payloads of one stream and knows the
//! common shape again without parsing it anew. It reads no clock; whether an event is the first
//! content is `answer`'s business.

mod lenient;
mod template;

use std::borrow::Cow;

use serde::Deserialize;

pub(super) use self::lenient::Count;
use self::lenient::{Choices, Number, Present, Reason, Truth, Words};
pub use self::template::PlainContent;
use self::template::Template;
use super::record::{Timings, Usage};

/// What a payload says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Said {
    /// Non-empty `content`, `reasoning_content`, `reasoning`, `tool_calls`, `function_call`, `refusal`
    /// or `text` in some choice.
    pub content: bool,
    /// All of that content is reasoning.
    pub reasoning: bool,
    /// A finish reason (`finish_reason`, or `stop` with its `stop_type`); an empty one is none.
    pub finish: Option<String>,
    /// Bit *i* is set if choice *i* is spoken of; choices above 63 share the last bit.
    pub choices_seen: u64,
    /// Bit *i* is set if choice *i* has a finish reason.
    pub choices_finished: u64,
    /// Token counts: of `usage`, or of `/completion`'s final object. Half of them is none: a count that
    /// was left out is not 0.
    pub usage: Option<Usage>,
    /// llama-server's `timings`; `None` where they hold nothing that is known here.
    pub timings: Option<Timings>,
    /// The server says that something went wrong; the message, as far as there is one.
    pub error: Option<String>,
    /// The terminator `[DONE]`.
    pub terminator: bool,
}

/// The payload is not what an event of such a stream may hold.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// Not JSON.
    #[error("an event is not JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no object.
    #[error("an event is JSON but no object")]
    NotAnObject,
}

/// Reads the payloads of one stream.
#[derive(Debug, Default)]
pub struct DeltaReader {
    template: Template,
}

impl DeltaReader {
    /// Before a new stream. What was learned of the shape is kept: it is checked byte by byte on
    /// each use, so an old one costs time at worst.
    pub fn reset(&mut self) {
        self.template.reset();
    }

    /// The text, only if the payload is known, without parsing, to say content of choice 0 and
    /// nothing else; `None` if it must be read.
    #[must_use]
    pub fn plain_content<'p>(&self, payload: &'p [u8]) -> Option<PlainContent<'p>> {
        self.template.text(payload)
    }

    /// Reads the payload of one event.
    ///
    /// # Errors
    ///
    /// The payload is neither empty, nor the terminator, nor a JSON object.
    pub fn read(&mut self, payload: &[u8]) -> Result<Said, DeltaError> {
        if let Some(PlainContent { reasoning, .. }) = self.plain_content(payload) {
            return Ok(Said { content: true, reasoning, choices_seen: 1, ..Said::default() });
        }
        self.read_in_full(payload)
    }

    /// The same without the template's short cut.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn read_in_full(&mut self, payload: &[u8]) -> Result<Said, DeltaError> {
        let payload = payload.trim_ascii();
        if payload.is_empty() {
            return Ok(Said::default());
        }
        if payload == b"[DONE]" {
            return Ok(Said { terminator: true, ..Said::default() });
        }
        if payload.first() != Some(&b'{') {
            return match serde_json::from_slice::<serde::de::IgnoredAny>(payload) {
                Ok(_) => Err(DeltaError::NotAnObject),
                Err(error) => Err(DeltaError::NotJson(error)),
            };
        }
        let text: Cow<'_, str> = String::from_utf8_lossy(payload);
        let chunk: Chunk<'_> = serde_json::from_str(&text).map_err(DeltaError::NotJson)?;
        if let (Some(content), Cow::Borrowed(text)) = (chunk.only_content(), &text) {
            self.template.learn(text, content, chunk.choices.reasonings > 0);
        }
        Ok(chunk.said(&text))
    }
}

/// Reads a whole answer, one that is not streamed.
///
/// # Errors
///
/// It is no JSON object.
pub fn read_whole(body: &[u8]) -> Result<Said, DeltaError> {
    let text = String::from_utf8_lossy(body.trim_ascii());
    if !text.starts_with('{') {
        return match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Err(DeltaError::NotAnObject),
            Err(error) => Err(DeltaError::NotJson(error)),
        };
    }
    let chunk: Chunk<'_> = serde_json::from_str(&text).map_err(DeltaError::NotJson)?;
    let in_messages = chunk.choices.whole_contents > 0;
    let mut said = chunk.said(&text);
    said.content |= in_messages;
    Ok(said)
}

/// The text of the answer (not the reasoning) in one event or in a whole answer, of its first
/// choice; empty where it has none.
#[must_use]
pub fn answer_text(json: &[u8]) -> String {
    let text = String::from_utf8_lossy(json);
    let Ok(spoken) = serde_json::from_str::<Spoken<'_>>(&text) else { return String::new() };
    let mut all = spoken.content.0.into_owned();
    for choice in spoken.choices.into_iter().filter(|choice| choice.index.0.unwrap_or(0) == 0) {
        let said = [choice.delta, choice.message].map(|said| said.0.unwrap_or_default().content);
        for said in std::iter::once(choice.text).chain(said) {
            all.push_str(&said.0);
        }
    }
    all
}

/// The words of a payload.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Spoken<'a> {
    #[serde(borrow)]
    content: Words<'a>,
    #[serde(borrow)]
    choices: Vec<SpokenChoice<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpokenChoice<'a> {
    index: Count,
    #[serde(borrow)]
    text: Words<'a>,
    #[serde(borrow)]
    delta: lenient::Object<SpokenDelta<'a>>,
    #[serde(borrow)]
    message: lenient::Object<SpokenDelta<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpokenDelta<'a> {
    #[serde(borrow)]
    content: Words<'a>,
}

/// Finish reasons by which a server says that it gave the answer up: vLLM and SGLang say so of requests
/// that they dropped, gateways of what broke behind them, and what had come until then stands before it.
const GIVEN_UP: [&str; 2] = ["abort", "error"];

/// Whether a document with these fields is an error. An empty one is none: servers written in Go send
/// `"error": ""` where others leave it out.
fn is_error(error: Present<'_>, object: &Reason<'_>) -> bool {
    error.is_non_empty() || object.0.as_deref() == Some("error")
}

/// What an answer in one piece says went wrong; `None` where it says nothing of the kind.
#[must_use]
pub(super) fn reported_error(json: &str) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Errors<'a> {
        #[serde(borrow)]
        error: Present<'a>,
        #[serde(borrow)]
        object: Reason<'a>,
    }
    // A list would be read as the fields of the struct in their order.
    let is_object = json.trim_ascii_start().starts_with('{');
    let errors: Errors<'_> = is_object.then(|| serde_json::from_str(json).ok()).flatten()?;
    is_error(errors.error, &errors.object).then(|| error_message(json).unwrap_or_default())
}

/// The message of an error object: `error.message`, `error` if it is text, `message`, else the
/// whole JSON; at most 300 characters. Also for the bodies of answers that are no streams.
#[must_use]
pub fn error_message(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let error = value.get("error").filter(|error| !error.is_null());
    let said = match error {
        Some(serde_json::Value::String(text)) => Some(text.as_str()),
        Some(object) => object.get("message").and_then(|message| message.as_str()),
        None => ["message", "detail"]
            .iter()
            .find_map(|key| value.get(key).and_then(|message| message.as_str())),
    };
    let said = match said {
        Some(text) => text.to_owned(),
        None => error.unwrap_or(&value).to_string(),
    };
    Some(said.chars().take(300).collect())
}

/// One payload, borrowed. Unknown fields are skipped; known ones of an unexpected type count as
/// absent, because a server that adds to the format must not become a failed request.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Choices<'a>,
    /// `/completion`.
    #[serde(borrow)]
    content: Present<'a>,
    stop: Truth,
    #[serde(borrow)]
    stop_type: Reason<'a>,
    tokens_predicted: Count,
    tokens_evaluated: Count,
    usage: lenient::Object<UsageObject>,
    timings: lenient::Object<TimingsObject>,
    #[serde(borrow)]
    error: Present<'a>,
    /// `"object":"error"` is how older vLLM reports an error inside a stream.
    #[serde(borrow)]
    object: Reason<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct UsageObject {
    prompt_tokens: Count,
    completion_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: lenient::Object<PromptDetails>,
    completion_tokens_details: lenient::Object<CompletionDetails>,
}

impl UsageObject {
    /// The counts, if both are there.
    fn counts(self) -> Option<Usage> {
        let prompt_tokens = self.prompt_tokens.0?;
        let completion_tokens = self.completion_tokens.0?;
        // Some gateways count reasoning beside the completion, so that the total is the sum of three.
        let is_part = |reasoning: &u64| {
            let apart = prompt_tokens + completion_tokens + reasoning;
            *reasoning <= completion_tokens
                && (*reasoning == 0 || self.total_tokens.0 != Some(apart))
        };
        let details = self.completion_tokens_details.0;
        Some(Usage {
            prompt_tokens,
            completion_tokens,
            cached_tokens: self.prompt_tokens_details.0.and_then(|details| details.cached_tokens.0),
            reasoning_tokens: details
                .and_then(|details| details.reasoning_tokens.0)
                .filter(is_part),
        })
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CompletionDetails {
    reasoning_tokens: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TimingsObject {
    cache_n: Count,
    prompt_n: Count,
    prompt_ms: Number,
    predicted_n: Count,
    predicted_ms: Number,
    draft_n: Count,
    draft_n_accepted: Count,
}

impl<'a> Chunk<'a> {
    /// The content's text if content of one first choice is all that this payload says; then every
    /// payload that differs from it in that text alone says the same.
    fn only_content(&self) -> Option<&'a str> {
        let silent = !self.stop.0
            && self.usage.0.is_none()
            && self.timings.0.is_none()
            && !is_error(self.error, &self.object)
            && self.choices.finish.is_none()
            && self.choices.seen == 1
            && self.choices.contents + u32::from(self.content.is_non_empty()) == 1;
        if silent { self.choices.content_text } else { None }
    }

    fn said(self, text: &str) -> Said {
        let mut error =
            is_error(self.error, &self.object).then(|| error_message(text).unwrap_or_default());
        let timings = self.timings.0.map(|timings| Timings {
            cache_n: timings.cache_n.0,
            prompt_n: timings.prompt_n.0,
            prompt_ms: timings.prompt_ms.0,
            predicted_n: timings.predicted_n.0,
            predicted_ms: timings.predicted_ms.0,
            draft_n: timings.draft_n.0,
            draft_n_accepted: timings.draft_n_accepted.0,
        });
        let timings = timings.filter(|timings| *timings != Timings::default());
        // `/completion` has no usage object; its final object says the same under other names.
        let named_otherwise = || match (self.tokens_evaluated.0, self.tokens_predicted.0) {
            (Some(prompt_tokens), Some(completion_tokens)) if self.stop.0 => Some(Usage {
                prompt_tokens,
                completion_tokens,
                cached_tokens: timings.and_then(|timings| timings.cache_n),
                reasoning_tokens: None,
            }),
            _ => None,
        };
        let usage = self.usage.0.and_then(UsageObject::counts).or_else(named_otherwise);
        let mut finish = self.choices.finish.map(Cow::into_owned);
        let (mut seen, mut finished) = (self.choices.seen, self.choices.finished);
        if self.content.is_there() {
            seen |= 1;
        }
        if self.stop.0 {
            seen |= 1;
            finished |= 1;
            let reason = self.stop_type.given();
            finish = Some(reason.map_or_else(|| "stop".to_owned(), Cow::into_owned));
        }
        if let Some(reason) = finish.as_deref().filter(|reason| GIVEN_UP.contains(reason)) {
            error.get_or_insert_with(|| format!("finish reason \"{reason}\""));
        }
        Said {
            content: self.choices.contents > 0 || self.content.is_non_empty(),
            reasoning: self.choices.contents > 0
                && self.choices.contents == self.choices.reasonings
                && !self.content.is_non_empty(),
            finish,
            choices_seen: seen,
            choices_finished: finished,
            usage,
            timings,
            error,
            terminator: false,
        }
    }
}

#[cfg(test)]
mod tests;
