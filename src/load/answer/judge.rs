//! How a response ended: from what was read, and how the exchange ended, to the outcome.
//!
//! The rest of [`Answer`]: nothing is read here any more.

use super::super::delta::error_message;
use super::super::http::{ContentKind, Framing, Head};
use super::super::record::{FailureKind, Outcome};
use super::super::sse::text;
use super::super::whole::{self, Whole};
use super::{Answer, BodyKind, Ending};

impl Answer {
    /// What a whole answer says; `None` of streams and of refusals.
    pub(super) fn whole_answer(&self, max_tokens: u32) -> Option<(Whole, Option<whole::Fault>)> {
        let wanted = self.expected.whole.filter(|_| self.takes_whole)?;
        Some(whole::read(&self.plain_body, wanted, max_tokens))
    }

    /// What became of the request.
    pub(super) fn outcome(
        &self,
        ending: &Ending,
        forced: bool,
        max_tokens: u32,
        whole: Option<&(Whole, Option<whole::Fault>)>,
    ) -> Outcome {
        let failed = |failure, detail: String| Outcome::Failed { failure, detail };
        if *ending == Ending::Stopped {
            return Outcome::Cut;
        }
        if let Ending::Unconnected(failure, detail) = ending {
            return failed(*failure, detail.clone());
        }
        let Some(head) = &self.head else {
            return match ending {
                Ending::Cancelled => Outcome::Cancelled,
                Ending::TimedOut(failure, limit) => {
                    failed(*failure, format!("no response head within {limit:?}"))
                }
                Ending::Reset(cause) => failed(
                    FailureKind::Reset,
                    format!("the connection broke before a response: {cause}"),
                ),
                Ending::Broken => failed(FailureKind::Protocol, self.unreadable()),
                _ => failed(
                    FailureKind::Reset,
                    "the server closed the connection before a whole response head".to_owned(),
                ),
            };
        };
        match head.status {
            200..=299 => match whole {
                Some((whole, fault)) => {
                    self.outcome_of_whole(head, ending, forced, max_tokens, whole, fault.as_ref())
                }
                None => self.outcome_of_answer(head, ending, forced, max_tokens),
            },
            status => {
                let failure = match status {
                    400..=499 => FailureKind::Http4xx,
                    500..=599 => FailureKind::Http5xx,
                    _ => FailureKind::Protocol,
                };
                failed(failure, format!("status {status}{}", self.plain_message()))
            }
        }
    }

    /// The outcome of an exchange whose status is 2xx.
    fn outcome_of_answer(
        &self,
        head: &Head,
        ending: &Ending,
        forced: bool,
        max_tokens: u32,
    ) -> Outcome {
        let failed = |failure, detail: String| Outcome::Failed { failure, detail };
        let story = &self.story;
        if let Some(error) = &story.error {
            return failed(FailureKind::StreamError, format!("the server reports: {error}"));
        }
        if self.body == BodyKind::Plain || head.content != ContentKind::Stream {
            return self.outcome_of_plain_body(head);
        }
        match ending {
            Ending::Broken => return failed(FailureKind::Protocol, self.unreadable()),
            Ending::Cancelled => return Outcome::Cancelled,
            _ => {}
        }
        // The answer is whole once it says so itself; what the connection does after that between
        // two chunks is not the answer's fault.
        let is_cut_inside = match &head.framing {
            Framing::Chunked(decoder) => !decoder.is_done() && !decoder.is_between_chunks(),
            Framing::Length(left) => *left > 0,
            Framing::Close | Framing::Empty => false,
        };
        match ending {
            Ending::TimedOut(failure, limit) => {
                let deltas = story.content_deltas;
                return failed(*failure, format!("{limit:?} passed after {deltas} content deltas"));
            }
            Ending::Reset(cause) if !story.terminated || is_cut_inside => {
                let deltas = story.content_deltas;
                return failed(
                    FailureKind::Reset,
                    format!("the connection broke after {deltas} content deltas: {cause}"),
                );
            }
            Ending::Closed if is_cut_inside => {
                let deltas = story.content_deltas;
                return failed(
                    FailureKind::Truncated,
                    format!(
                        "the connection was closed inside the body, after {deltas} content deltas"
                    ),
                );
            }
            _ => {}
        }
        let all_finished =
            story.finish.is_some() && story.choices_seen & !story.choices_finished == 0;
        if !story.terminated && !all_finished {
            let deltas = story.content_deltas;
            return failed(
                FailureKind::Truncated,
                format!(
                    "the stream ended after {deltas} content deltas without a finish reason or [DONE]"
                ),
            );
        }
        if story.content_deltas == 0 && max_tokens > 0 {
            return failed(FailureKind::Empty, "the answer finished without content".to_owned());
        }
        let counted = story.usage.map(|usage| usage.completion_tokens);
        let timed = story.timings.and_then(|timings| timings.predicted_n);
        let tokens = counted.or(timed).unwrap_or(story.content_deltas);
        enough(forced, Some(tokens), max_tokens)
    }

    /// The outcome of a whole answer whose status is 2xx.
    fn outcome_of_whole(
        &self,
        head: &Head,
        ending: &Ending,
        forced: bool,
        max_tokens: u32,
        whole: &Whole,
        fault: Option<&whole::Fault>,
    ) -> Outcome {
        let failed = |failure, detail: String| Outcome::Failed { failure, detail };
        let bytes = self.plain_body.len();
        match ending {
            Ending::Over | Ending::Lingered => {}
            Ending::Cancelled => return Outcome::Cancelled,
            Ending::Broken => return failed(FailureKind::Protocol, self.unreadable()),
            Ending::TimedOut(failure, limit) => {
                let words = format!("{limit:?} passed after {bytes} bytes of the answer");
                return failed(*failure, words);
            }
            Ending::Reset(cause) => {
                let words =
                    format!("the connection broke after {bytes} bytes of the answer: {cause}");
                return failed(FailureKind::Reset, words);
            }
            _ if matches!(head.framing, Framing::Close) => {}
            _ => {
                let words = format!(
                    "the connection was closed inside the body, after {bytes} bytes of the answer"
                );
                return failed(FailureKind::Truncated, words);
            }
        }
        if let Some(whole::Fault { failure, detail }) = fault {
            return failed(*failure, detail.clone());
        }
        let counted = whole.usage.map(|usage| usage.completion_tokens);
        let tokens = counted.or(whole.timings.and_then(|timings| timings.predicted_n));
        enough(forced, tokens, max_tokens)
    }

    /// A 2xx answer that is no stream.
    fn outcome_of_plain_body(&self, head: &Head) -> Outcome {
        let body = text(&self.plain_body);
        let has_error = serde_json::from_str::<serde_json::Value>(&body)
            .is_ok_and(|value| value.get("error").is_some_and(|error| !error.is_null()));
        let content_type = head.content_type.as_deref().unwrap_or("no content type");
        let (failure, detail) = if has_error {
            (FailureKind::StreamError, format!("the server reports{}", self.plain_message()))
        } else if let Some(encoding) = &head.content_encoding {
            (
                FailureKind::Protocol,
                format!("the server answers with content encoding \"{encoding}\", expected none"),
            )
        } else {
            (
                FailureKind::Protocol,
                format!(
                    "the server answers with \"{content_type}\" instead of an event stream (it ignores \"stream\": true)"
                ),
            )
        };
        Outcome::Failed { failure, detail }
    }

    /// `: ` and what the body says, or nothing.
    fn plain_message(&self) -> String {
        let body = text(&self.plain_body);
        let body = body.trim();
        match error_message(body) {
            Some(message) => format!(": {message}"),
            None if body.is_empty() => String::new(),
            None => format!(": {body}"),
        }
    }

    fn unreadable(&self) -> String {
        self.story.unreadable.clone().unwrap_or_else(|| "the response cannot be read".to_owned())
    }
}

/// Whether the work was equal to what was forced; a server that does not count is believed.
fn enough(forced: bool, tokens: Option<u64>, max_tokens: u32) -> Outcome {
    match tokens {
        Some(tokens) if forced && tokens < u64::from(max_tokens) => Outcome::Failed {
            failure: FailureKind::Short,
            detail: format!("{tokens} tokens, expected {max_tokens} (forced with ignore_eos)"),
        },
        _ => Outcome::Completed,
    }
}
