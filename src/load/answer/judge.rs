//! How a response ended: from what was read, and how the exchange ended, to the outcome.
//!
//! The rest of [`Answer`]: nothing is read here any more.

use super::super::delta::{error_message, reported_error};
use super::super::http::{ContentKind, Framing, Head};
use super::super::record::{FailureKind, Outcome, Timings, Usage};
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
        if !forced {
            return Outcome::Completed;
        }
        let work = Work {
            tokens: counted(story.usage, story.timings),
            deltas: Some(story.content_deltas),
            finish_reason: story.finish_reason.as_deref(),
        };
        work.judged(max_tokens)
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
        if !forced {
            return Outcome::Completed;
        }
        let work = Work {
            tokens: counted(whole.usage, whole.timings),
            deltas: None,
            finish_reason: whole.finish_reason.as_deref(),
        };
        work.judged(max_tokens)
    }

    /// A 2xx answer that is no stream.
    fn outcome_of_plain_body(&self, head: &Head) -> Outcome {
        let content_type = head.content_type.as_deref().unwrap_or("no content type");
        let (failure, detail) = if let Some(message) = reported_error(&text(&self.plain_body)) {
            (FailureKind::StreamError, format!("the server reports: {message}"))
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

/// How many tokens were made, by the server's count.
fn counted(usage: Option<Usage>, timings: Option<Timings>) -> Option<u64> {
    let timed = || timings.and_then(|timings| timings.predicted_n);
    usage.map(|usage| usage.completion_tokens).or_else(timed)
}

/// What shows how much work went into an answer whose length was forced.
struct Work<'a> {
    /// By the server's count; `None` where it does not count.
    tokens: Option<u64>,
    /// Content deltas; `None` of an answer in one piece.
    deltas: Option<u64>,
    finish_reason: Option<&'a str>,
}

impl Work<'_> {
    /// Whether it was all that was forced.
    ///
    /// Where nothing is counted, as many deltas as tokens will do, and so does the server's word that
    /// the budget is used up: a delta may hold several tokens, and too few of them prove nothing. But an
    /// answer that just ends after a few shows no work either, and must not pass for a fast one.
    fn judged(&self, max_tokens: u32) -> Outcome {
        let forced = u64::from(max_tokens);
        let detail = match self.tokens {
            Some(tokens) if tokens >= forced => return Outcome::Completed,
            Some(tokens) => format!("{tokens} tokens, expected {forced} (forced with ignore_eos)"),
            None if self.deltas.unwrap_or(0) >= forced => return Outcome::Completed,
            None if self.says_budget_is_used() => return Outcome::Completed,
            None => self.unproven(forced),
        };
        Outcome::Failed { failure: FailureKind::Short, detail }
    }

    /// `limit` is the word of llama-server's own `/completion`.
    fn says_budget_is_used(&self) -> bool {
        matches!(self.finish_reason, Some("length" | "limit"))
    }

    fn unproven(&self, forced: u64) -> String {
        let came = match self.deltas {
            Some(deltas) => format!("{deltas} content deltas"),
            None => "an answer in one piece".to_owned(),
        };
        let finish = match self.finish_reason {
            Some(reason) => format!("finish reason \"{reason}\""),
            None => "no finish reason".to_owned(),
        };
        format!(
            "nothing shows that {forced} tokens were made, as forced with ignore_eos: {came}, {finish}, no token count; let the server send usage, or force no lengths"
        )
    }
}
