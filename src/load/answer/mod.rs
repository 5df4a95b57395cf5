//! One response, from its bytes and stamps to what the record says about it.
//!
//! Main type: [`Answer`]. It is fed stamped reads cut anywhere, reads no clock and touches no
//! socket, so that a recording can be replayed through it split at every byte.

mod judge;
mod story;

use self::story::Story;
use super::chunked::ChunkedDecoder;
use super::http::{ContentKind, Framing, Head, HeadReader};
use super::record::{FailureKind, RequestRecord, Stamp};
use super::sse::Decoder;
use super::whole::{self, Wanted, Whole};

/// How much of a body that is no stream is kept, for its error message.
const PLAIN_BODY_LIMIT: usize = 8 << 10;
/// How much of a whole answer is taken: a thousand embeddings of 4,096 numbers are about 50 MiB.
const WHOLE_BODY_LIMIT: usize = 64 << 20;
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
    /// We hung up on purpose.
    Cancelled,
    /// Never sent: no connection.
    Unconnected(FailureKind, String),
    /// We stopped it.
    Stopped,
}

/// What the answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Expected {
    /// In one piece; `None` for a stream.
    pub(super) whole: Option<Wanted>,
    /// Its text is wanted for the next turn of a conversation.
    pub(super) keep_text: bool,
}

/// One response being read. Reused by its user for every request, buffers and all.
#[derive(Debug, Default)]
pub(super) struct Answer {
    head_reader: HeadReader,
    head: Option<Head>,
    decoder: Decoder,
    expected: Expected,
    /// The body is, as far as the head says, the whole answer that was asked for.
    takes_whole: bool,
    /// A body that is no stream: all of one that was wanted whole, else its first bytes.
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

impl Answer {
    /// Before a new response.
    pub(super) fn reset(&mut self, expected: Expected) {
        self.expected = expected;
        self.takes_whole = false;
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
        let said = expected.keep_text.then(String::new);
        self.story = Story { delta, gaps, said, ..Story::default() };
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
        let is_plain_success = (200..300).contains(&head.status) && head.content_encoding.is_none();
        self.takes_whole = is_plain_success && !self.is_stream();
        let expects_stream =
            is_plain_success && self.is_stream() && head.content == ContentKind::Stream;
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
            let limit = if self.takes_whole { WHOLE_BODY_LIMIT } else { PLAIN_BODY_LIMIT };
            let room = limit.saturating_sub(self.plain_body.len());
            self.plain_body.extend_from_slice(data.get(..room).unwrap_or(data));
            if self.takes_whole && data.len() > room {
                return self.broken(format!("the answer is longer than {limit} bytes"));
            }
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

    /// Whether the limits between the parts of a stream apply.
    pub(super) fn is_stream(&self) -> bool {
        self.expected.whole.is_none()
    }

    /// The text that was said, once; empty where it was not wanted.
    pub(super) fn take_text(&mut self) -> String {
        match self.story.said.take() {
            Some(_) if !self.is_stream() => whole::text(&self.plain_body),
            Some(said) => said,
            None => String::new(),
        }
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
    pub(super) fn conclude(&mut self, ending: &Ending, record: &mut RequestRecord) {
        let whole = self.whole_answer(record.max_tokens);
        record.outcome = self.outcome(ending, record.forced, record.max_tokens, whole.as_ref());
        let story = &mut self.story;
        if let Some((whole, _)) = whole {
            let Whole { finish_reason, usage, timings, results, dimensions } = whole;
            story.finish_reason = finish_reason.map(|reason| reason.chars().take(60).collect());
            (story.usage, story.timings) = (usage, timings);
            (record.results, record.dimensions) = (results, dimensions);
        }
        record.first_answer = story.first_answer;
        record.reasoning_deltas = story.reasoning_deltas;
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
        record.first_content_coalesced = story.first_content_coalesced;
        record.comments = story.comments;
        record.bytes_received = self.bytes;
    }
}

#[cfg(test)]
mod tests;
