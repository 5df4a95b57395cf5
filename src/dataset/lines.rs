//! A file line by line, checked to be text: numbers from 1, LF or CRLF, UTF-8 with or without a mark.
//!
//! Main types: [`Lines`], and [`Fault`], what can be wrong with a line. Nothing is parsed here.

use std::io::{BufRead, BufReader, Read};

use thiserror::Error;

/// Longest line; a prompt of ten million tokens fits, a file without line ends does not.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// What is wrong with a line, or with the record in it.
#[derive(Debug, Error)]
pub enum Fault {
    /// No JSON, or not of the types that were expected.
    #[error("{}, column {}", without_place(.0), .0.column())]
    Json(serde_json::Error),
    /// Something else, in words.
    #[error("{0}")]
    Said(String),
    /// Bytes that are no text.
    #[error("byte {byte} of the line is not UTF-8")]
    NotUtf8 {
        /// Which, from 1.
        byte: usize,
    },
    /// A zero byte, as in UTF-16 and in what is no text at all.
    #[error("byte {byte} of the line is zero, so this is no text in UTF-8")]
    Nul {
        /// Which, from 1.
        byte: usize,
    },
    /// No line end for too long.
    #[error("the line is longer than {} MiB", .most_bytes >> 20)]
    TooLong {
        /// The bound.
        most_bytes: u64,
    },
    /// It cannot be read.
    #[error("{0}")]
    Io(std::io::Error),
}

/// The parser's words without its own line number, which is 1 for a single line.
fn without_place(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    words.strip_suffix(&place).map(str::to_owned).unwrap_or(words)
}

/// The lines of a file.
pub(super) struct Lines<R> {
    source: BufReader<R>,
    number: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(source: BufReader<R>) -> Self {
        Self { source, number: 0, buffer: Vec::new() }
    }

    /// The number of the line read last, from 1; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line without its end; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Fault> {
        self.buffer.clear();
        self.number += 1;
        let mut bounded = (&mut self.source).take(MOST_BYTES + 1);
        let read = bounded.read_until(b'\n', &mut self.buffer).map_err(Fault::Io)?;
        if read == 0 {
            return Ok(None);
        }
        if read as u64 > MOST_BYTES {
            return Err(Fault::TooLong { most_bytes: MOST_BYTES });
        }
        let mut line = self.buffer.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if let Some(position) = memchr::memchr(0, line) {
            return Err(Fault::Nul { byte: position + 1 });
        }
        let text = std::str::from_utf8(line);
        text.map(Some).map_err(|error| Fault::NotUtf8 { byte: error.valid_up_to() + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_any_way_and_are_counted_from_one() {
        let text = b"\xef\xbb\xbfone\r\n\ntwo\n\xef\xbb\xbfthree";
        let mut lines = Lines::new(BufReader::new(&text[..]));
        let mut seen = Vec::new();
        while let Some(line) = lines.next().expect("text") {
            let line = line.to_owned();
            seen.push((lines.number(), line));
        }
        let expected = [(1, "one"), (2, ""), (3, "two"), (4, "\u{feff}three")];
        assert_eq!(seen, expected.map(|(number, line)| (number, line.to_owned())));
    }

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        let fault = |bytes: &[u8]| {
            let mut lines = Lines::new(BufReader::new(bytes));
            loop {
                match lines.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no fault in {bytes:?}"),
                    Err(fault) => return (lines.number(), fault.to_string()),
                }
            }
        };
        assert_eq!(fault(b"a\nb\xffc\n"), (2, "byte 2 of the line is not UTF-8".to_owned()));
        let nul = "byte 3 of the line is zero, so this is no text in UTF-8".to_owned();
        assert_eq!(fault(b"ab\0"), (1, nul));
    }
}
