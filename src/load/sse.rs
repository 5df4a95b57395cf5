//! Server-sent events, byte by byte as the WHATWG specification says.
//!
//! Main type: [`Decoder`]. It is fed slices of a stream, cut anywhere, and calls back with items
//! that borrow from the slice wherever a line lies whole in it; only a line or an event that spans
//! slices is copied. It reads no clock, and does not know what the data means.
//!
//! Text is UTF-8 decoded by whoever wants text ([`text`]): line ends are ASCII, so decoding a line
//! gives what decoding the stream would give.

#![deny(clippy::indexing_slicing)] // the bytes come from a stranger; a panic is his to cause

use std::borrow::Cow;

use memchr::{memchr, memchr2};

/// Default limit of one event: far above any delta, far below what hurts.
pub const DEFAULT_EVENT_LIMIT: usize = 16 << 20;

/// Buffers larger than this are given back after the event that needed them, so that one large
/// event does not pin memory for each of thousands of streams.
const KEPT_CAPACITY: usize = 16 << 10;

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// Something the stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A dispatched event.
    Event(Event<'a>),
    /// A comment line, without its colon. Never a token, whatever it holds.
    Comment(&'a [u8]),
    /// A valid `retry` field: milliseconds.
    Retry(u64),
    /// The value of an `error` field: not in the specification, which ignores it, but how older
    /// llama-servers report an error inside a stream.
    ErrorLine(&'a [u8]),
}

/// A dispatched event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event type; `message` if none was given.
    pub name: &'a [u8],
    /// The data lines joined by line feeds; may be empty.
    pub data: &'a [u8],
    /// The last event id of the stream so far; empty if none was given.
    pub id: &'a [u8],
}

/// The stream cannot be decoded any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// One event, or one line, is larger than the limit.
    #[error("an event is larger than {limit} bytes")]
    EventTooLarge {
        /// The limit, bytes.
        limit: usize,
    },
}

/// The bytes as text: borrowed when they are UTF-8, else with U+FFFD for each bad sequence.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Decodes one stream. An incomplete event at its end is dropped, as the specification demands:
/// there is nothing to call at the end.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// Bytes of the byte order mark seen at the start; `None` once past it.
    bom_seen: Option<usize>,
    /// The last line ended with CR: one LF that follows belongs to it.
    swallow_line_feed: bool,
    /// The part of an unfinished line that earlier slices held.
    line: Vec<u8>,
    fields: Fields,
}

/// The fields of the event that is being gathered.
#[derive(Debug, Default)]
struct Fields {
    /// Data lines of this event that could not be borrowed, joined by line feeds.
    data: Vec<u8>,
    /// A `data` field was seen (its value may be empty).
    has_data: bool,
    name: Vec<u8>,
    id: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(DEFAULT_EVENT_LIMIT)
    }
}

impl Decoder {
    /// A decoder at the start of a stream. `limit` bounds the data of one event and each line.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bom_seen: Some(0),
            swallow_line_feed: false,
            line: Vec::new(),
            fields: Fields::default(),
        }
    }

    /// Back to the start of a stream; buffers are kept unless they grew large.
    pub fn reset(&mut self) {
        self.bom_seen = Some(0);
        self.swallow_line_feed = false;
        clear(&mut self.line);
        clear(&mut self.fields.data);
        clear(&mut self.fields.name);
        clear(&mut self.fields.id);
        self.fields.has_data = false;
    }

    /// Takes the next bytes and calls `on_item` for each item that they complete, in order.
    ///
    /// # Errors
    ///
    /// [`SseError::EventTooLarge`]; the decoder is then of no further use until [`Self::reset`].
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut on_item: impl FnMut(Item<'_>),
    ) -> Result<(), SseError> {
        let mut rest = self.skip_bom(bytes);
        if rest.is_empty() {
            return Ok(());
        }
        if self.swallow_line_feed {
            self.swallow_line_feed = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        // The first data line of an event stays borrowed until a second one comes or the slice
        // ends: nearly every event is one line, and then its data is never copied.
        let mut borrowed: Option<&[u8]> = None;
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let Some((line, after)) = split_line(rest, end) else { break };
            let is_carriage_return = rest.get(end) == Some(&b'\r');
            rest = after;
            if is_carriage_return {
                match after.split_first() {
                    Some((b'\n', after_both)) => rest = after_both,
                    Some(_) => {}
                    None => self.swallow_line_feed = true,
                }
            }
            if self.line.is_empty() {
                self.fields.take_line(line, &mut borrowed, self.limit, &mut on_item)?;
            } else {
                self.extend_line(line)?;
                let mut whole = std::mem::take(&mut self.line);
                let mut own: Option<&[u8]> = None;
                self.fields.keep(&mut borrowed, self.limit)?;
                self.fields.take_line(&whole, &mut own, self.limit, &mut on_item)?;
                self.fields.keep(&mut own, self.limit)?;
                clear(&mut whole);
                self.line = whole;
            }
        }
        self.fields.keep(&mut borrowed, self.limit)?;
        if !rest.is_empty() {
            self.extend_line(rest)?;
        }
        Ok(())
    }

    fn extend_line(&mut self, part: &[u8]) -> Result<(), SseError> {
        if self.line.len() + part.len() > self.limit {
            return Err(SseError::EventTooLarge { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// The bytes after a byte order mark at the very start of the stream, which may come in parts.
    fn skip_bom<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(mut seen) = self.bom_seen else { return bytes };
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if BOM.get(seen) != Some(byte) {
                // It was none: what looked like its start is the start of the first line.
                self.line.extend(BOM.iter().take(seen));
                self.bom_seen = None;
                return rest;
            }
            rest = after;
            seen += 1;
            if seen == BOM.len() {
                self.bom_seen = None;
                return rest;
            }
        }
        self.bom_seen = Some(seen);
        rest
    }
}

impl Fields {
    /// Processes one whole line. `borrowed` is the event's only data line so far, if it is not in
    /// `self.data` yet.
    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        borrowed: &mut Option<&'a [u8]>,
        limit: usize,
        on_item: &mut impl FnMut(Item<'_>),
    ) -> Result<(), SseError> {
        if line.is_empty() {
            self.dispatch(borrowed, on_item);
            return Ok(());
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => match (line.get(..colon), line.get(colon + 1..)) {
                (Some(field), Some(value)) => (field, value.strip_prefix(b" ").unwrap_or(value)),
                _ => (line, &b""[..]),
            },
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if !self.has_data {
                    self.has_data = true;
                    *borrowed = Some(value);
                } else {
                    self.keep(borrowed, limit)?;
                    if self.data.len() + 1 + value.len() > limit {
                        return Err(SseError::EventTooLarge { limit });
                    }
                    self.data.push(b'\n');
                    self.data.extend_from_slice(value);
                }
            }
            b"" => on_item(Item::Comment(line.get(1..).unwrap_or_default())),
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            b"id" if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Digits only, so what cannot be parsed is merely too large to mean anything.
                let milliseconds = text(value).parse().unwrap_or(u64::MAX);
                on_item(Item::Retry(milliseconds));
            }
            b"error" => on_item(Item::ErrorLine(value)),
            _unknown => {}
        }
        Ok(())
    }

    /// Moves the borrowed data line into the buffer, because its slice is about to go away.
    fn keep(&mut self, borrowed: &mut Option<&[u8]>, limit: usize) -> Result<(), SseError> {
        if let Some(data) = borrowed.take() {
            if data.len() > limit {
                return Err(SseError::EventTooLarge { limit });
            }
            self.data.extend_from_slice(data);
        }
        Ok(())
    }

    fn dispatch(&mut self, borrowed: &mut Option<&[u8]>, on_item: &mut impl FnMut(Item<'_>)) {
        if self.has_data {
            let data = borrowed.take().unwrap_or(&self.data);
            let name: &[u8] = if self.name.is_empty() { b"message" } else { &self.name };
            on_item(Item::Event(Event { name, data, id: &self.id }));
            self.has_data = false;
            clear(&mut self.data);
        }
        self.name.clear();
    }
}

/// The line before `end` and what follows its one-byte terminator.
fn split_line(bytes: &[u8], end: usize) -> Option<(&[u8], &[u8])> {
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

fn clear(buffer: &mut Vec<u8>) {
    buffer.clear();
    if buffer.capacity() > KEPT_CAPACITY {
        buffer.shrink_to(0);
    }
}
