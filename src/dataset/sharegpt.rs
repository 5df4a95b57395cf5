//! Reads JSON one record at a time, whatever its size; of a ShareGPT conversation only what counts.
//!
//! Main function: [`read`]. A JSON array of records, or one after the other. Only the record at hand
//! is ever in memory, and of a conversation only its first two turns; where conversations are held, also
//! what its human says later. It does not choose: the caller's closure does.

use std::fmt;
use std::io::{BufReader, Cursor, Read};
use std::ops::ControlFlow;
use std::path::Path;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::de::Read as JsonRead;

use super::DatasetError;
use super::pick::Conversation;
use super::prompt::Prompt;
use super::record::{Carries, Record, RecordFor};
use super::words::words;
use crate::cancel::Cancel;

/// Hands every record of `source` to `on`, in order, until that says stop.
pub(super) fn read(
    mut source: impl Read,
    path: &Path,
    carries: Carries,
    cancel: &Cancel,
    on: &mut dyn FnMut(Conversation) -> ControlFlow<()>,
) -> Result<(), DatasetError> {
    let mut progress = Progress { on, carries, cancel, index: 0, stopped: false };
    let outcome = match first_byte(&mut source) {
        Ok(Some(b'[')) => {
            let mut json = serde_json::Deserializer::from_reader(buffered(b"[".to_vec(), source));
            Array { progress: &mut progress }.deserialize(&mut json).and_then(|()| json.end())
        }
        Ok(first) => {
            let first: Vec<u8> = first.into_iter().collect();
            let mut json = serde_json::Deserializer::from_reader(buffered(first, source));
            one_by_one(&mut json, &mut progress)
        }
        Err(error) => Err(serde_json::Error::io(error)),
    };
    if let Some(reason) = cancel.reason() {
        return Err(DatasetError::Cancelled(reason));
    }
    match outcome {
        // Leaving an array early is an error to the parser and what was asked for to us.
        Err(_unread) if progress.stopped => Ok(()),
        Ok(()) => Ok(()),
        Err(source) => Err(DatasetError::Malformed {
            path: path.to_path_buf(),
            record: progress.index + 1,
            source,
        }),
    }
}

/// The source with the bytes already read put back before it.
///
/// The buffer must be outermost: the parser asks for single bytes, and the standard library answers
/// those quickly for a `BufReader` only. With the chain around the buffer reading takes three times as long.
fn buffered(before: Vec<u8>, source: impl Read) -> BufReader<impl Read> {
    BufReader::with_capacity(super::reading::READ_BYTES, Cursor::new(before).chain(source))
}

/// The first byte that is no blank and no byte order mark; lines before it are lost to the
/// line numbers of errors, and nobody has any.
fn first_byte(source: &mut impl Read) -> std::io::Result<Option<u8>> {
    let mut byte = [0];
    loop {
        match source.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte[0].is_ascii_whitespace() || [0xef, 0xbb, 0xbf].contains(&byte[0]) => {}
            Ok(_) => return Ok(Some(byte[0])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn one_by_one<'de>(
    json: &mut serde_json::Deserializer<impl JsonRead<'de>>,
    progress: &mut Progress<'_>,
) -> serde_json::Result<()> {
    // What is left of the source is one more record, or an error with its own words.
    while json.end().is_err() {
        let record = RecordFor(progress.carries).deserialize(&mut *json)?;
        if progress.take::<serde_json::Error>(record)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Where the reading is, and whom it tells.
struct Progress<'f> {
    on: &'f mut dyn FnMut(Conversation) -> ControlFlow<()>,
    carries: Carries,
    cancel: &'f Cancel,
    /// Records that were read whole.
    index: u64,
    stopped: bool,
}

impl Progress<'_> {
    fn take<E: serde::de::Error>(&mut self, record: Record) -> Result<ControlFlow<()>, E> {
        let conversation = record.conversation(self.carries).map_err(E::custom)?;
        self.index += 1;
        let flow = if self.cancel.reason().is_some() {
            ControlFlow::Break(())
        } else {
            (self.on)(conversation)
        };
        self.stopped = flow.is_break();
        Ok(flow)
    }
}

/// The array of all records, which is never built.
struct Array<'p, 'f> {
    progress: &'p mut Progress<'f>,
}

impl<'de> DeserializeSeed<'de> for Array<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        let seed = RecordFor(self.progress.carries);
        while let Some(record) = records.next_element_seed(seed)? {
            if self.progress.take::<A::Error>(record)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The first two turns, and what the human says after the first.
pub(super) struct Turns {
    first: Option<Turn>,
    second: Option<Turn>,
    /// Empty where no conversations are held.
    said_later: Vec<String>,
}

impl Turns {
    /// What script.js makes of them.
    ///
    /// # Errors
    ///
    /// A turn that it looks at and that has no text.
    pub(super) fn conversation(self) -> Result<Conversation, &'static str> {
        let Turns { first: Some(first), second: Some(second), said_later } = self else {
            return Ok(Conversation::NotHumanFirst);
        };
        if !first.is_of_human() {
            return Ok(Conversation::NotHumanFirst);
        }
        let prompt = first.value.ok_or("the first turn has no text \"value\"")?.0;
        let answer = second.value.ok_or("the second turn has no text \"value\"")?.0;
        let answer_words = Some(words(&answer));
        let prompt = Prompt { answer_words, turns: said_later, ..Prompt::of_text(prompt) };
        Ok(Conversation::Asked(prompt))
    }
}

/// Reads the turns that requests which carry this need; the others are skipped unread.
pub(super) struct TurnsFor(pub(super) Carries);

impl<'de> DeserializeSeed<'de> for TurnsFor {
    type Value = Turns;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Turns, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for TurnsFor {
    type Value = Turns;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<Turns, A::Error> {
        let (first, second) = (turns.next_element()?, turns.next_element::<Turn>()?);
        let mut said_later = Vec::new();
        match self.0 {
            Carries::Conversations => {
                said_later.extend(second.as_ref().and_then(Turn::said_by_human));
                while let Some(turn) = turns.next_element::<Turn>()? {
                    said_later.extend(turn.said_by_human());
                }
            }
            Carries::Chats | Carries::Texts => {
                while turns.next_element::<IgnoredAny>()?.is_some() {}
            }
        }
        Ok(Turns { first, second, said_later })
    }
}

/// One turn.
#[derive(serde::Deserialize)]
#[serde(expecting = "a turn, such as {\"from\": \"human\", \"value\": \"…\"}")]
struct Turn {
    from: Option<Text>,
    value: Option<Text>,
}

impl Turn {
    fn is_of_human(&self) -> bool {
        self.from.as_ref().is_some_and(|from| from.0 == "human")
    }

    /// The words of a human who says anything.
    fn said_by_human(&self) -> Option<String> {
        let Text(text) = self.value.as_ref().filter(|_| self.is_of_human())?;
        (!text.trim().is_empty()).then(|| text.clone())
    }
}

/// A JSON string that may hold half of a surrogate pair, as JavaScript's and Python's may and
/// Rust's may not. Texts cut at a length in the wild have them; one must not end the whole reading.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;
        impl Visitor<'_> for Lenient {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(match std::str::from_utf8(bytes) {
                    Ok(text) => text.to_owned(),
                    Err(_) => without_lone_surrogates(bytes),
                }))
            }
        }
        // serde_json hands lone surrogates out only where bytes are asked for.
        deserializer.deserialize_bytes(Lenient)
    }
}

/// Each lone surrogate (three bytes, ED A0..BF xx) becomes one U+FFFD, as when JavaScript sends it.
fn without_lone_surrogates(bytes: &[u8]) -> String {
    let mut clean = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match rest {
            [0xed, 0xa0..=0xbf, 0x80..=0xbf, after @ ..] => {
                clean.extend_from_slice("\u{fffd}".as_bytes());
                rest = after;
            }
            _ => {
                clean.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&clean).into_owned()
}
