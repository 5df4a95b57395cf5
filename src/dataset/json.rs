//! Reads JSON one record at a time, whatever its size: an array of records, or one after the other.
//!
//! Main function: [`read`]. Only the record at hand is ever in memory. What of a record counts is the
//! business of the caller's seed, and what becomes of it that of its closure.

use std::fmt;
use std::io::{Cursor, Read};
use std::ops::ControlFlow;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::de::Read as JsonRead;

use super::surrogates::mended;

/// An error, with the record at which it was seen, from 1.
pub(super) type At = (u64, serde_json::Error);

/// Hands every record of `source` to `on`, in order, until that says stop.
pub(super) fn read<T, S>(
    mut source: impl Read,
    seed: S,
    on: &mut dyn FnMut(T) -> Result<ControlFlow<()>, String>,
) -> Result<(), At>
where
    S: for<'de> DeserializeSeed<'de, Value = T> + Copy,
{
    let mut progress = Progress { seed, on, index: 0, stopped: false };
    let outcome = match first_byte(&mut source) {
        Ok(first) => {
            let before: Vec<u8> = first.into_iter().collect();
            let source = mended(Cursor::new(before).chain(source));
            let mut json = serde_json::Deserializer::from_reader(source);
            if first == Some(b'[') {
                Array { progress: &mut progress }.deserialize(&mut json).and_then(|()| json.end())
            } else {
                one_by_one(&mut json, &mut progress)
            }
        }
        Err(error) => Err(serde_json::Error::io(error)),
    };
    match outcome {
        // Leaving an array early is an error to the parser and what was asked for to us.
        Err(_unread) if progress.stopped => Ok(()),
        outcome => outcome.map_err(|error| (progress.index + 1, error)),
    }
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

fn one_by_one<'de, T, S>(
    json: &mut serde_json::Deserializer<impl JsonRead<'de>>,
    progress: &mut Progress<'_, T, S>,
) -> serde_json::Result<()>
where
    S: DeserializeSeed<'de, Value = T> + Copy,
{
    // What is left of the source is one more record, or an error with its own words.
    while json.end().is_err() {
        let record = progress.seed.deserialize(&mut *json)?;
        if progress.take(record).map_err(serde_json::Error::custom)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Where the reading is, and whom it tells.
struct Progress<'f, T, S> {
    seed: S,
    on: &'f mut dyn FnMut(T) -> Result<ControlFlow<()>, String>,
    /// Records that were read whole.
    index: u64,
    stopped: bool,
}

impl<T, S> Progress<'_, T, S> {
    fn take(&mut self, record: T) -> Result<ControlFlow<()>, String> {
        let flow = (self.on)(record)?;
        self.index += 1;
        self.stopped = flow.is_break();
        Ok(flow)
    }
}

/// The array of all records, which is never built.
struct Array<'p, 'f, T, S> {
    progress: &'p mut Progress<'f, T, S>,
}

impl<'de, T, S> DeserializeSeed<'de> for Array<'_, '_, T, S>
where
    S: DeserializeSeed<'de, Value = T> + Copy,
{
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T, S> Visitor<'de> for Array<'_, '_, T, S>
where
    S: DeserializeSeed<'de, Value = T> + Copy,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element_seed(self.progress.seed)? {
            if self.progress.take(record).map_err(A::Error::custom)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
