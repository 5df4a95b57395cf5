//! The chunked transfer coding of HTTP/1.1, decoded without copying.
//!
//! Main type: [`ChunkedDecoder`]. It is fed slices cut anywhere and hands out the body's bytes as
//! slices of what it was fed. Strict where leniency would let two readers disagree: sizes are hex
//! digits, lines end with CR LF.

#![deny(clippy::indexing_slicing)] // the bytes come from a stranger; a panic is his to cause

/// Limit of a chunk extension and of all trailers together: nobody sends more on purpose.
const LINE_LIMIT: usize = 16 << 10;

/// The body is not chunked as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChunkError {
    /// A size line without a size, with another character in it, or above 2⁶⁰.
    #[error("a chunk size is not a hexadecimal number")]
    BadSize,
    /// A line that does not end with CR LF where it must.
    #[error("a chunk does not end with a line end")]
    BadLineEnd,
    /// Extension or trailers above the limit.
    #[error("a chunk extension or trailer is too long")]
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    /// Within the digits.
    Size(u64),
    /// Blanks or an extension after the digits, up to CR.
    Extension(u64, usize),
    /// CR of the size line seen.
    SizeLineFeed(u64),
    /// This many bytes of data are left.
    Data(u64),
    DataCarriageReturn,
    DataLineFeed,
    /// At the start of a trailer line; bytes of trailers so far.
    TrailerStart(usize),
    Trailer(usize),
    TrailerLineFeed(usize),
    /// CR of the last, empty line seen.
    LastLineFeed,
    Done,
}

/// Decodes one body.
#[derive(Debug)]
pub(super) struct ChunkedDecoder {
    state: State,
}

impl ChunkedDecoder {
    pub(super) fn new() -> Self {
        Self { state: State::SizeStart }
    }

    /// True after the last chunk and the trailers.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// True where a new chunk would begin: what came so far is whole, only the last chunk is missing.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.state == State::SizeStart
    }

    /// The next piece of body in `input`, which is advanced past it; `None` when `input` is used up
    /// or the body is over (then `input` holds what does not belong to it).
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<&'a [u8]>, ChunkError> {
        loop {
            if let State::Data(left) = self.state {
                if input.is_empty() {
                    return Ok(None);
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (data, after) = input.split_at_checked(take).unwrap_or((input, &[]));
                *input = after;
                let left = left - data.len() as u64;
                self.state = if left == 0 { State::DataCarriageReturn } else { State::Data(left) };
                return Ok(Some(data));
            }
            if self.state == State::Done {
                return Ok(None);
            }
            let Some((&byte, after)) = input.split_first() else { return Ok(None) };
            *input = after;
            self.state = self.step(byte)?;
        }
    }

    /// One byte outside of data.
    fn step(&self, byte: u8) -> Result<State, ChunkError> {
        let line_feed = |next| if byte == b'\n' { Ok(next) } else { Err(ChunkError::BadLineEnd) };
        match self.state {
            State::SizeStart => match hex(byte) {
                Some(digit) => Ok(State::Size(digit)),
                None => Err(ChunkError::BadSize),
            },
            State::Size(size) => match (hex(byte), byte) {
                (Some(_), _) if size >> 56 != 0 => Err(ChunkError::BadSize),
                (Some(digit), _) => Ok(State::Size(size << 4 | digit)),
                (None, b'\r') => Ok(State::SizeLineFeed(size)),
                (None, b'\n') => Err(ChunkError::BadLineEnd),
                (None, b';' | b' ' | b'\t') => Ok(State::Extension(size, 0)),
                (None, _) => Err(ChunkError::BadSize),
            },
            State::Extension(size, length) => match byte {
                b'\r' => Ok(State::SizeLineFeed(size)),
                b'\n' => Err(ChunkError::BadLineEnd),
                _ if length >= LINE_LIMIT => Err(ChunkError::TooLong),
                _ => Ok(State::Extension(size, length + 1)),
            },
            State::SizeLineFeed(0) => line_feed(State::TrailerStart(0)),
            State::SizeLineFeed(size) => line_feed(State::Data(size)),
            State::DataCarriageReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataCarriageReturn => Err(ChunkError::BadLineEnd),
            State::DataLineFeed => line_feed(State::SizeStart),
            State::TrailerStart(_) if byte == b'\r' => Ok(State::LastLineFeed),
            State::TrailerStart(length) | State::Trailer(length) => match byte {
                b'\r' => Ok(State::TrailerLineFeed(length)),
                b'\n' => Err(ChunkError::BadLineEnd),
                _ if length >= LINE_LIMIT => Err(ChunkError::TooLong),
                _ => Ok(State::Trailer(length + 1)),
            },
            State::TrailerLineFeed(length) => line_feed(State::TrailerStart(length)),
            State::LastLineFeed => line_feed(State::Done),
            // Both are handled by `next` before a byte is taken.
            State::Data(_) | State::Done => Ok(self.state),
        }
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, bytes after it, and whether it was whole, for every way of cutting the input in two.
    fn decode(input: &[u8]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut seen = Vec::new();
        for cut in 0..=input.len() {
            seen.push(decode_parts(&[&input[..cut], &input[cut..]]));
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        seen.push(decode_parts(&bytes));
        let first = seen[0].clone();
        assert!(seen.iter().all(|other| *other == first), "{seen:?}");
        first
    }

    fn decode_parts(parts: &[&[u8]]) -> Result<(Vec<u8>, usize, bool), ChunkError> {
        let mut decoder = ChunkedDecoder::new();
        let (mut body, mut after) = (Vec::new(), 0);
        for part in parts {
            let mut input = *part;
            while let Some(data) = decoder.next(&mut input)? {
                body.extend_from_slice(data);
            }
            after += input.len();
        }
        Ok((body, after, decoder.is_done()))
    }

    #[test]
    fn chunks_extensions_and_trailers_are_read_however_they_are_cut() {
        let whole = |input: &[u8]| decode(input).unwrap();
        assert_eq!(whole(b"3\r\nabc\r\n0\r\n\r\n"), (b"abc".to_vec(), 0, true));
        assert_eq!(whole(b"A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n").0.len(), 10);
        assert_eq!(
            whole(b"1 \r\na\r\n00 ;e\r\nT: 1\r\nU: 2\r\n\r\nHTTP"),
            (b"a".to_vec(), 4, true)
        );
        assert_eq!(whole(b"3\r\nab"), (b"ab".to_vec(), 0, false));
        assert_eq!(whole(b"0\r\n\r\n"), (Vec::new(), 0, true));
    }

    #[test]
    fn what_is_not_chunked_is_an_error() {
        for (input, error) in [
            (&b"x\r\n"[..], ChunkError::BadSize),
            (b"\r\n", ChunkError::BadSize),
            (b"-1\r\n", ChunkError::BadSize),
            (b"0x3\r\n", ChunkError::BadSize),
            (b"fffffffffffffffff\r\n", ChunkError::BadSize),
            (b"3\nabc", ChunkError::BadLineEnd),
            (b"3\r\nabcd", ChunkError::BadLineEnd),
            (b"3\r\nabc\n", ChunkError::BadLineEnd),
        ] {
            assert_eq!(decode(input), Err(error), "{}", input.escape_ascii());
        }
        let long = [b"1;".as_slice(), &vec![b'x'; LINE_LIMIT + 1]].concat();
        assert_eq!(decode_parts(&[&long]), Err(ChunkError::TooLong));
    }

    #[test]
    fn a_cut_between_chunks_is_told_from_a_cut_inside() {
        let between = |input: &[u8]| {
            let mut decoder = ChunkedDecoder::new();
            let mut rest = input;
            while decoder.next(&mut rest).unwrap().is_some() {}
            decoder.is_between_chunks()
        };
        assert!(between(b"1\r\na\r\n"));
        assert!(!between(b"1\r\na"));
        assert!(!between(b"2\r\na"));
        assert!(!between(b"1\r\na\r\n4"));
    }
}
