//! JSON with half a surrogate pair in it: JavaScript and Python write such halves where a text was cut,
//! and Rust's texts cannot hold them. Each reads as U+FFFD, as when JavaScript sends it.
//!
//! Main function: [`mended`], through which all JSON of datasets is read, so that one text in a large
//! file does not end the reading. Nothing is parsed here.

use std::io::{BufReader, Read};

use super::reading::READ_BYTES;

/// Bytes of an escaped pair, such as `\ud83d\ude00`.
const PAIR: usize = 12;

/// Bytes of half a pair. U+FFFD has as many, so that the places in errors stay those of the file.
const HALF: usize = 6;

/// The same source without halves of pairs.
///
/// The buffer must be outermost: the parser asks for single bytes, and the standard library answers
/// those quickly for a `BufReader` only. Any other way reading takes three times as long.
pub(super) fn mended<R: Read>(source: R) -> BufReader<Mended<R>> {
    let mended = Mended { source, buffer: Vec::new(), settled: 0, given: 0 };
    BufReader::with_capacity(READ_BYTES, mended)
}

/// A source that is mended as it is read.
pub(super) struct Mended<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are as they will be; behind them is the beginning of an escape at most.
    settled: usize,
    /// Of those, what has been handed on.
    given: usize,
}

impl<R: Read> Mended<R> {
    fn fill(&mut self) -> std::io::Result<()> {
        self.buffer.drain(..self.settled);
        (self.settled, self.given) = (0, 0);
        let more = (&mut self.source).take(READ_BYTES as u64).read_to_end(&mut self.buffer)?;
        self.settled = mend(&mut self.buffer, more < READ_BYTES);
        Ok(())
    }
}

impl<R: Read> Read for Mended<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.given == self.settled {
            self.fill()?;
        }
        let mut ready = self.buffer.get(self.given..self.settled).unwrap_or_default();
        let count = ready.read(into)?;
        self.given += count;
        Ok(count)
    }
}

/// Writes U+FFFD over each half of a pair and gives how many bytes are settled: all of them, unless more
/// are to come and the last few could be a pair's beginning.
fn mend(json: &mut [u8], is_all: bool) -> usize {
    let mut at = 0;
    while let Some(next) = json.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += next;
        let escape = json.get_mut(at..).unwrap_or_default();
        if escape.len() < PAIR && !is_all {
            return at;
        }
        let second = || escape.get(HALF..).and_then(unit);
        at += match unit(escape) {
            Some(0xd800..=0xdbff) if matches!(second(), Some(0xdc00..=0xdfff)) => PAIR,
            Some(0xd800..=0xdfff) => {
                if let Some(half) = escape.get_mut(..HALF) {
                    half.copy_from_slice(b"\\ufffd");
                }
                HALF
            }
            // Whatever a backslash escapes, another one too, is no backslash of its own.
            _ => 2,
        };
    }
    json.len()
}

/// The unit of UTF-16 that is escaped here; `None` of any other escape.
fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> String {
        let mut text = String::new();
        mended(json.as_bytes()).read_to_string(&mut text).expect("text stays text");
        text
    }

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, clean) in [
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\uD83D""#, r#""\ufffd""#),
            (r#""\ude00\ud83d x""#, r#""\ufffd\ufffd x""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\\ud83d \u00e9 \é""#, r#""\\ud83d \u00e9 \é""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r"\ud83", r"\ud83"),
            (r"\", r"\"),
            ("", ""),
        ] {
            assert_eq!(read(json), clean);
        }
    }

    /// A pair must not be taken for two halves where one read ends and the next begins.
    #[test]
    fn the_end_of_a_read_may_lie_anywhere() {
        for before in READ_BYTES - 20..=READ_BYTES + 1 {
            let padding = "a".repeat(before);
            let json = format!(r"{padding}\ud83d\ude00\\ud83d\ud83d end");
            let clean = format!(r"{padding}\ud83d\ude00\\ud83d\ufffd end");
            assert!(read(&json) == clean, "{before} bytes before");
        }
    }
}
