//! One response, from its bytes and stamps to what the record says about it.
//!
//! Main type: [`Answer`]. It is fed stamped reads cut anywhere, reads no clock and touches no
//! socket, so that a recording can be replayed through it split at every byte.

use super::chunked::ChunkedDecoder;
use super::delta::{DeltaReader, error_message};
use super::http::{ContentKind, Framing, Head, HeadReader};
use super::record::{FailureKind, Outcome, RequestRecord, Stamp, Timings, Usage};
use super::sse::{Decoder, Item, text};

/// How much of a body that is no stream is kept, for its error message.
const PLAIN_BODY_LIMIT: usize = 8 << 10;
/// A gap buffer larger than this (deltas of one request) is given back afterwards.
const KEPT_GAPS: usize = 1 << 10;

/// What a read did to the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// The body is over.
    Over,
    /// It cannot be read any further; the reason is kept.
    Broken,
}

/// How an exchange ended, as the connection saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The body is over, by its own framing.
    Over,
    /// The terminator came, but not the end of the body soon after it.
    Lingered,
    /// What came cannot be read.
    Broken,
    /// End of file.
    Closed,
    /// The connection broke; what the system said.
    Reset(String),
    /// One of the limits was reached.
    TimedOut(FailureKind, std::time::Duration),
    /// Never sent: no connection.
    Unconnected(FailureKind, String),
    /// We stopped it.
    Stopped,
}

/// One response being read. Reused by its user for every request, buffers and all.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head_reader: HeadReader,
    head: Option<Head>,
    decoder: Decoder,
    /// First bytes of a body that is no stream.
    plain_body: Vec<u8>,
    body: BodyKind,
    /// Bytes came that do not belong to this response.
    surplus: bool,
    reads: u64,
    bytes: u64,
    latest: Option<Stamp>,
    story: Story,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum BodyKind {
    /// No byte that is not a blank came yet.
    #[default]
    Unknown,
    Stream,
    Plain,
}

/// What the events told.
#[derive(Debug, Default)]
struct Story {
    delta: DeltaReader,
    headers: Option<Stamp>,
    first_content: Option<Stamp>,
    last_content: Option<Stamp>,
    last_content_read: u64,
    finish: Option<Stamp>,
    finish_reason: Option<String>,
    terminated: bool,
    choices_seen: u64,
    choices_finished: u64,
    usage: Option<Usage>,
    timings: Option<Timings>,
    content_deltas: u64,
    coalesced_deltas: u64,
    comments: u64,
    error: Option<String>,
    unreadable: Option<String>,
    gaps: Vec<u64>,
}

impl Answer {
    /// Before a new response.
    pub(super) fn reset(&mut self) {
        self.head_reader.reset();
        self.head = None;
        self.decoder.reset();
        self.plain_body = Vec::new();
        self.body = BodyKind::Unknown;
        self.surplus = false;
        self.reads = 0;
        self.bytes = 0;
        self.latest = None;
        let mut gaps = std::mem::take(&mut self.story.gaps);
        gaps.clear();
        gaps.shrink_to(KEPT_GAPS);
        let delta = std::mem::take(&mut self.story.delta);
        self.story = Story { delta, gaps, ..Story::default() };
        self.story.delta.reset();
    }

    /// Takes the bytes of one read. `stamp` is when they were received; stamps that run backwards
    /// by the jitter of a clock conversion are held at the latest one.
    pub(super) fn read(&mut self, bytes: &[u8], stamp: Stamp) -> Progress {
        let stamp = self.latest.map_or(stamp, |latest| latest.max(stamp));
        self.latest = Some(stamp);
        self.reads += 1;
        self.bytes += bytes.len() as u64;
        let mut input = bytes;
        if self.head.is_none() {
            match self.head_reader.read(&mut input) {
                Ok(None) => return Progress::More,
                Ok(Some(head)) => {
                    self.story.headers = Some(stamp);
                    self.head = Some(head);
                }
                Err(error) => return self.broken(error.to_string()),
            }
        }
        // Taken out so that the body's bytes can be handed to the rest of `self`.
        let Some(mut head) = self.head.take() else { return Progress::More };
        let progress = self.read_body(&mut head, &mut input, stamp);
        self.surplus |= progress == Progress::Over && !input.is_empty();
        self.head = Some(head);
        progress
    }

    fn read_body(&mut self, head: &mut Head, input: &mut &[u8], stamp: Stamp) -> Progress {
        let expects_stream = (200..300).contains(&head.status)
            && head.content == ContentKind::Stream
            && head.content_encoding.is_none();
        match &mut head.framing {
            Framing::Empty => Progress::Over,
            Framing::Close => self.take(std::mem::take(input), expects_stream, stamp),
            Framing::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (data, after) = input.split_at_checked(take).unwrap_or((input, &[]));
                *input = after;
                *left -= data.len() as u64;
                let over = *left == 0;
                match self.take(data, expects_stream, stamp) {
                    Progress::More if over => Progress::Over,
                    other => other,
                }
            }
            Framing::Chunked(decoder) => self.read_chunks(decoder, input, expects_stream, stamp),
        }
    }

    fn read_chunks(
        &mut self,
        decoder: &mut ChunkedDecoder,
        input: &mut &[u8],
        expects_stream: bool,
        stamp: Stamp,
    ) -> Progress {
        loop {
            match decoder.next(input) {
                Ok(Some(data)) => {
                    if self.take(data, expects_stream, stamp) == Progress::Broken {
                        return Progress::Broken;
                    }
                }
                Ok(None) if decoder.is_done() => return Progress::Over,
                Ok(None) => return Progress::More,
                Err(error) => return self.broken(error.to_string()),
            }
        }
    }

    /// Takes bytes of the body.
    fn take(&mut self, data: &[u8], expects_stream: bool, stamp: Stamp) -> Progress {
        if self.body == BodyKind::Unknown {
            // An event stream never starts with a brace, and a JSON document always does here.
            self.body = match data.iter().find(|byte| !byte.is_ascii_whitespace()) {
                _ if !expects_stream => BodyKind::Plain,
                Some(b'{') => BodyKind::Plain,
                Some(_) => BodyKind::Stream,
                None => BodyKind::Unknown,
            };
        }
        if self.body == BodyKind::Plain {
            let room = PLAIN_BODY_LIMIT.saturating_sub(self.plain_body.len());
            self.plain_body.extend(data.iter().take(room));
            return Progress::More;
        }
        let (story, reads) = (&mut self.story, self.reads);
        match self.decoder.feed(data, |item| story.take(item, stamp, reads)) {
            Ok(()) if story.unreadable.is_some() => Progress::Broken,
            Ok(()) => Progress::More,
            Err(error) => self.broken(error.to_string()),
        }
    }

    fn broken(&mut self, why: String) -> Progress {
        self.story.unreadable.get_or_insert(why);
        Progress::Broken
    }

    /// What came below HTTP cannot be read any further.
    pub(super) fn give_up(&mut self, why: String) {
        self.story.unreadable.get_or_insert(why);
    }

    /// No byte has come.
    pub(super) fn is_untouched(&self) -> bool {
        self.bytes == 0
    }

    /// The first content has come, so that the limit of the first delta is met.
    pub(super) fn has_content(&self) -> bool {
        self.story.first_content.is_some()
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.story.terminated
    }

    pub(super) fn content_deltas(&self) -> u64 {
        self.story.content_deltas
    }

    /// Stamp of the last read.
    pub(super) fn latest(&self) -> Option<Stamp> {
        self.latest
    }

    /// Gaps between consecutive content deltas, nanoseconds, in order.
    pub(super) fn gaps(&self) -> &[u64] {
        &self.story.gaps
    }

    /// End of file is a proper end of this body.
    pub(super) fn ends_by_closing(&self) -> bool {
        matches!(self.head, Some(Head { framing: Framing::Close, .. }))
    }

    /// After [`Ending::Over`]: the connection may be used again, if the server keeps its word.
    pub(super) fn may_keep_connection(&self) -> bool {
        !self.surplus && self.head.as_ref().is_some_and(|head| head.keep_alive)
    }

    /// Writes what was seen into the record, the outcome included. The outcome's detail still
    /// needs to be cleaned of secrets.
    pub(super) fn conclude(&mut self, ending: &Ending, forced: bool, record: &mut RequestRecord) {
        record.outcome = self.outcome(ending, forced, record.max_tokens);
        let story = &mut self.story;
        record.headers = story.headers;
        record.first_content = story.first_content;
        record.last_content = story.last_content;
        record.finish = story.finish;
        record.status = self.head.as_ref().map(|head| head.status);
        record.server_headers = self
            .head
            .as_mut()
            .map(|head| std::mem::take(&mut head.server_headers))
            .unwrap_or_default();
        record.finish_reason = story.finish_reason.take();
        record.terminated = story.terminated;
        record.usage = story.usage;
        record.timings = story.timings;
        record.content_deltas = story.content_deltas;
        record.coalesced_deltas = story.coalesced_deltas;
        record.comments = story.comments;
        record.bytes_received = self.bytes;
    }

    fn outcome(&self, ending: &Ending, forced: bool, max_tokens: u32) -> Outcome {
        let failed = |failure, detail: String| Outcome::Failed { failure, detail };
        if *ending == Ending::Stopped {
            return Outcome::Cut;
        }
        if let Ending::Unconnected(failure, detail) = ending {
            return failed(*failure, detail.clone());
        }
        let Some(head) = &self.head else {
            return match ending {
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
            200..=299 => self.outcome_of_answer(head, ending, forced, max_tokens),
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
        if *ending == Ending::Broken {
            return failed(FailureKind::Protocol, self.unreadable());
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
        let timed = story.timings.map(|timings| timings.predicted_n);
        let tokens = counted.or(timed).unwrap_or(story.content_deltas);
        if forced && tokens < u64::from(max_tokens) {
            return failed(
                FailureKind::Short,
                format!("{tokens} tokens, expected {max_tokens} (forced with ignore_eos)"),
            );
        }
        Outcome::Completed
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

impl Story {
    fn take(&mut self, item: Item<'_>, stamp: Stamp, read: u64) {
        match item {
            Item::Event(event) => {
                if self.delta.is_plain_content(event.data) && !self.terminated {
                    self.choices_seen |= 1;
                    self.take_content(stamp, read);
                } else {
                    self.take_payload(event.name, event.data, stamp, read);
                }
            }
            Item::Comment(_) => self.comments += 1,
            Item::Retry(_) => {}
            Item::ErrorLine(value) => {
                let value = text(value);
                let message = error_message(&value).unwrap_or_else(|| value.trim().to_owned());
                self.error.get_or_insert(message);
            }
        }
    }

    fn take_payload(&mut self, name: &[u8], payload: &[u8], stamp: Stamp, read: u64) {
        if name == b"error" {
            let payload = text(payload);
            let message = error_message(&payload).unwrap_or_else(|| payload.trim().to_owned());
            self.error.get_or_insert(message);
            return;
        }
        let said = match self.delta.read(payload) {
            Ok(said) => said,
            // After the terminator nothing is expected, so nothing can be wrong.
            Err(_) if self.terminated => return,
            Err(error) => {
                let start: String = text(payload).chars().take(80).collect();
                self.unreadable.get_or_insert(format!("{error}, in \"{start}\""));
                return;
            }
        };
        if let Some(error) = said.error {
            self.error.get_or_insert(error);
        }
        if self.terminated {
            return;
        }
        self.terminated = said.terminator;
        self.choices_seen |= said.choices_seen;
        self.choices_finished |= said.choices_finished;
        if said.content {
            self.take_content(stamp, read);
        }
        if let Some(reason) = said.finish {
            self.finish = Some(stamp);
            self.finish_reason = Some(reason.chars().take(60).collect());
        }
        self.usage = said.usage.or(self.usage);
        self.timings = said.timings.or(self.timings);
    }

    fn take_content(&mut self, stamp: Stamp, read: u64) {
        self.content_deltas += 1;
        if let Some(last) = self.last_content {
            self.gaps.push(stamp.0.saturating_sub(last.0));
            if self.last_content_read == read {
                self.coalesced_deltas += 1;
            }
        } else {
            self.first_content = Some(stamp);
        }
        self.last_content = Some(stamp);
        self.last_content_read = read;
    }
}

#[cfg(test)]
mod tests;
