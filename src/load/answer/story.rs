//! What the events of a stream told, as they came.
//!
//! Main type: [`Story`]. It is fed decoded events with the stamp of their read; framing and outcome are
//! not its business.

use super::super::delta::{DeltaReader, PlainContent, answer_text, error_message};
use super::super::record::{Stamp, Timings, Usage};
use super::super::sse::{Item, text};

/// What the events told.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) delta: DeltaReader,
    pub(super) headers: Option<Stamp>,
    pub(super) first_content: Option<Stamp>,
    pub(super) first_answer: Option<Stamp>,
    pub(super) last_content: Option<Stamp>,
    pub(super) last_content_read: u64,
    pub(super) reasoning_deltas: u64,
    /// What was said, where that is wanted.
    pub(super) said: Option<String>,
    pub(super) finish: Option<Stamp>,
    pub(super) finish_reason: Option<String>,
    pub(super) terminated: bool,
    pub(super) choices_seen: u64,
    pub(super) choices_finished: u64,
    pub(super) usage: Option<Usage>,
    pub(super) timings: Option<Timings>,
    pub(super) content_deltas: u64,
    pub(super) coalesced_deltas: u64,
    pub(super) first_content_coalesced: bool,
    pub(super) comments: u64,
    pub(super) error: Option<String>,
    pub(super) unreadable: Option<String>,
    pub(super) gaps: Vec<u64>,
}

impl Story {
    /// Takes what one read held of the stream; `read` counts the reads.
    pub(super) fn take(&mut self, item: Item<'_>, stamp: Stamp, read: u64) {
        match item {
            Item::Event(event) => {
                match self.delta.plain_content(event.data).filter(|_| !self.terminated) {
                    Some(PlainContent { text: plain, reasoning }) => {
                        self.choices_seen |= 1;
                        self.take_content(stamp, read, reasoning);
                        if let Some(said) = self.said.as_mut().filter(|_| !reasoning) {
                            said.push_str(&text(plain));
                        }
                    }
                    None => self.take_payload(event.name, event.data, stamp, read),
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
            // Not one payload but one a line: the deltas of an event that holds several.
            Err(_) if self.begins_with_a_payload(payload) => {
                for line in payload.split(|byte| *byte == b'\n') {
                    self.take_payload(name, line, stamp, read);
                }
                return;
            }
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
            self.take_content(stamp, read, said.reasoning);
            if let Some(all) = &mut self.said {
                all.push_str(&answer_text(payload));
            }
        }
        if let Some(reason) = said.finish {
            self.finish = Some(stamp);
            self.finish_reason = Some(reason.chars().take(60).collect());
        }
        self.usage = said.usage.or(self.usage);
        self.timings = said.timings.or(self.timings);
    }

    /// Whether there are several lines, of which the first means something without the others.
    fn begins_with_a_payload(&mut self, payload: &[u8]) -> bool {
        let first = memchr::memchr(b'\n', payload).and_then(|end| payload.get(..end));
        first.is_some_and(|line| !line.trim_ascii().is_empty() && self.delta.read(line).is_ok())
    }

    fn take_content(&mut self, stamp: Stamp, read: u64, reasoning: bool) {
        self.content_deltas += 1;
        if reasoning {
            self.reasoning_deltas += 1;
        } else if self.first_answer.is_none() {
            self.first_answer = Some(stamp);
        }
        if let Some(last) = self.last_content {
            self.gaps.push(stamp.0.saturating_sub(last.0));
            if self.last_content_read == read {
                self.coalesced_deltas += 1;
                self.first_content_coalesced |= self.content_deltas == 2;
            }
        } else {
            self.first_content = Some(stamp);
        }
        self.last_content = Some(stamp);
        self.last_content_read = read;
    }
}
