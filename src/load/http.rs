//! The head of an HTTP/1.1 response, and how its body is delimited.
//!
//! Main types: [`HeadReader`] and [`Head`]. Parsing only; the body's bytes are `answer`'s business.

#![deny(clippy::indexing_slicing)] // the bytes come from a stranger; a panic is his to cause

use std::collections::BTreeMap;

use super::chunked::ChunkedDecoder;

/// Limit of a response head: nginx and hyper are in this region too.
const HEAD_LIMIT: usize = 64 << 10;
/// Limit of the number of headers.
const HEADERS_LIMIT: usize = 128;
/// Limit of interim (1xx) responses before one answer: a server that sends more never answers.
const INTERIM_LIMIT: u32 = 32;

/// Limit of the headers that are kept of one response.
const KEPT_HEADERS: usize = 16;

/// Why a response cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeadError {
    /// httparse refused it.
    #[error("the response is not HTTP/1.1: {0}")]
    NotHttp(httparse::Error),
    /// A TLS record, from a server that was asked in plain HTTP.
    #[error("the server speaks TLS here; begin its URL with https://")]
    Tls,
    /// Above [`HEAD_LIMIT`].
    #[error("the response head is larger than {HEAD_LIMIT} bytes")]
    TooLarge,
    /// Several lengths, or one that is no number.
    #[error("the content length is not one number")]
    BadLength,
    /// Another transfer coding than chunked.
    #[error("unknown transfer coding \"{0}\", expected \"chunked\"")]
    UnknownCoding(String),
    /// `101 Switching Protocols`, which was not asked for.
    #[error("the server switches to another protocol")]
    Switched,
    /// Above [`INTERIM_LIMIT`].
    #[error("the server sends interim responses without end")]
    InterimForever,
}

/// A response head, as far as it matters here.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) content: ContentKind,
    /// The `Content-Type` as sent, at most 100 characters; for error messages.
    pub(super) content_type: Option<String>,
    /// `Content-Encoding` other than `identity`.
    pub(super) content_encoding: Option<String>,
    /// The server says that the connection may be used again (it may not keep its word).
    pub(super) keep_alive: bool,
    /// Headers in which the server says times or what it calls this request, names in lower case.
    pub(super) server_headers: BTreeMap<String, String>,
}

/// How the end of a body is found.
#[derive(Debug)]
pub(super) enum Framing {
    /// No body at all.
    Empty,
    Chunked(ChunkedDecoder),
    /// This many bytes are still to come.
    Length(u64),
    /// Until the connection is closed.
    Close,
}

/// What a body claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKind {
    /// `text/event-stream`, or nothing that speaks against it.
    Stream,
    Json,
    Other,
}

/// Reads heads that may come in parts.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    /// What earlier slices held of an unfinished head.
    carried: Vec<u8>,
    interim: u32,
}

impl HeadReader {
    /// Before a new response; the buffer is given back, heads are rarely cut.
    pub(super) fn reset(&mut self) {
        self.carried = Vec::new();
        self.interim = 0;
    }

    /// Reads a head from the start of `input`, which is advanced past it. `None` while it is
    /// incomplete (then all of `input` was kept). Interim responses are skipped.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, HeadError> {
        loop {
            let before = self.carried.len();
            let parsed = if before == 0 {
                parse(input)?
            } else {
                // Keeping at most the limit bounds the memory and the time of parsing again.
                let room = (HEAD_LIMIT + 1).saturating_sub(before);
                self.carried.extend(input.iter().take(room));
                parse(&self.carried)?
            };
            let Some((length, head)) = parsed else {
                if before == 0 {
                    self.carried.extend(input.iter().take(HEAD_LIMIT + 1));
                }
                if self.carried.len() > HEAD_LIMIT {
                    return Err(HeadError::TooLarge);
                }
                *input = &[];
                return Ok(None);
            };
            if length > HEAD_LIMIT {
                return Err(HeadError::TooLarge);
            }
            *input = input.get(length.saturating_sub(before)..).unwrap_or_default();
            self.carried.clear();
            match head.status {
                101 => return Err(HeadError::Switched),
                100..=199 => {
                    self.interim += 1;
                    if self.interim > INTERIM_LIMIT {
                        return Err(HeadError::InterimForever);
                    }
                }
                _ => return Ok(Some(head)),
            }
        }
    }
}

/// The length of the head and what it says; `None` while it is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, HeadError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    // An alert, and the major version that every TLS has.
    if bytes.starts_with(&[0x15, 0x03]) {
        return Err(HeadError::Tls);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_LIMIT];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes).map_err(HeadError::NotHttp)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => Ok(Some((length, Head::of(&response)?))),
    }
}

impl Head {
    fn of(response: &httparse::Response<'_, '_>) -> Result<Self, HeadError> {
        let status = response.code.unwrap_or(0);
        let mut lengths: Option<u64> = None;
        let mut chunked = false;
        let mut close = response.version == Some(0);
        let (mut content_type, mut content_encoding) = (None, None);
        let mut server_headers = BTreeMap::new();
        for header in response.headers.iter() {
            let value = String::from_utf8_lossy(header.value);
            let value = value.trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                for part in value.split(',') {
                    let part = part.trim();
                    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
                    let length =
                        part.parse().ok().filter(|_| digits).ok_or(HeadError::BadLength)?;
                    if lengths.is_some_and(|other| other != length) {
                        return Err(HeadError::BadLength);
                    }
                    lengths = Some(length);
                }
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") || chunked {
                    return Err(HeadError::UnknownCoding(shortened(value)));
                }
                chunked = true;
            } else if header.name.eq_ignore_ascii_case("connection") {
                for option in value.split(',').map(str::trim) {
                    if option.eq_ignore_ascii_case("close") {
                        close = true;
                    } else if option.eq_ignore_ascii_case("keep-alive")
                        && response.version == Some(0)
                    {
                        close = false;
                    }
                }
            } else if header.name.eq_ignore_ascii_case("content-type") {
                content_type = Some(shortened(value));
            } else if header.name.eq_ignore_ascii_case("content-encoding")
                && !value.eq_ignore_ascii_case("identity")
                && !value.is_empty()
            {
                content_encoding = Some(shortened(value));
            } else if server_headers.len() < KEPT_HEADERS && is_kept(header.name) {
                // Of several with one name, the list that they stand for.
                let kept: &mut String =
                    server_headers.entry(header.name.to_ascii_lowercase()).or_default();
                let comma = if kept.is_empty() { "" } else { ", " };
                *kept = format!("{kept}{comma}{}", shortened(value));
            }
        }
        let framing = match (status, chunked, lengths) {
            (204 | 304, _, _) => Framing::Empty,
            (_, true, _) => Framing::Chunked(ChunkedDecoder::new()),
            (_, false, Some(0)) => Framing::Empty,
            (_, false, Some(length)) => Framing::Length(length),
            (_, false, None) => Framing::Close,
        };
        let keep_alive = !close && !matches!(framing, Framing::Close);
        let content = ContentKind::of(content_type.as_deref());
        Ok(Self {
            status,
            framing,
            content,
            content_type,
            content_encoding,
            keep_alive,
            server_headers,
        })
    }
}

impl ContentKind {
    /// Servers that stream but say `text/plain`, or nothing, exist; ones that stream and say
    /// `text/html` do not.
    fn of(content_type: Option<&str>) -> Self {
        let Some(content_type) = content_type else { return ContentKind::Stream };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        match essence.as_str() {
            "" | "text/event-stream" | "text/plain" | "application/octet-stream" => {
                ContentKind::Stream
            }
            json if json.ends_with("json") => ContentKind::Json,
            _ => ContentKind::Other,
        }
    }
}

/// Headers that are kept: what gateways and inference servers tell of their time.
fn is_kept(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "server-timing",
        "x-envoy-upstream-service-time",
        "openai-processing-ms",
        "x-request-id",
        "x-response-time",
        "x-runtime",
        "x-compute-type",
        "x-compute-time",
        "x-process-time",
    ];
    // Text Generation Inference and its kin: `x-queue-time`, `x-time-per-token`, ….
    const ENDS: [&str; 5] = ["-time", "-time-ms", "-duration", "-duration-ms", "-latency-ms"];
    let bytes = name.as_bytes();
    let ends = |end: &&str| {
        let tail = bytes.len().checked_sub(end.len()).and_then(|start| bytes.get(start..));
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end.as_bytes()))
    };
    let is_ours = bytes.first().is_some_and(|first| first.eq_ignore_ascii_case(&b'x'));
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        || name.eq_ignore_ascii_case("x-time-per-token")
        || (is_ours && ENDS.iter().any(ends))
}

/// For error messages and rows: a hostile header must not fill the report.
fn shortened(value: &str) -> String {
    value.chars().filter(|character| !character.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a head byte by byte and at once; both must agree.
    fn read(input: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
        let mut whole = input;
        let mut reader = HeadReader::default();
        let at_once = reader.read(&mut whole)?.map(|head| (head, whole.len()));
        let mut reader = HeadReader::default();
        let mut apart = None;
        for (position, byte) in input.chunks(1).enumerate() {
            let mut rest = byte;
            if let Some(head) = reader.read(&mut rest)? {
                apart = Some((head, input.len() - position - 1));
                break;
            }
        }
        assert_eq!(format!("{at_once:?}"), format!("{apart:?}"));
        Ok(at_once)
    }

    fn head(input: &str) -> Head {
        read(input.replace('\n', "\r\n").as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn the_body_is_delimited_as_the_head_says() {
        let stream = head(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: text/event-stream; charset=utf-8\n\n",
        );
        assert!(matches!(stream.framing, Framing::Chunked(_)));
        assert_eq!((stream.content, stream.keep_alive), (ContentKind::Stream, true));

        let json = head(
            "HTTP/1.1 500 X\ncontent-length: 7\ncontent-type: application/json\nConnection: close\n\n",
        );
        assert!(matches!(json.framing, Framing::Length(7)));
        assert_eq!((json.content, json.keep_alive), (ContentKind::Json, false));

        let old = head("HTTP/1.0 200 OK\n\n");
        assert!(matches!(old.framing, Framing::Close));
        assert!(!old.keep_alive);
        assert!(matches!(head("HTTP/1.1 204 No Content\n\n").framing, Framing::Empty));
        // RFC 9112 6.3: the transfer coding wins over the length.
        let both = head("HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: Chunked\n\n");
        assert!(matches!(both.framing, Framing::Chunked(_)));
    }

    #[test]
    fn headers_that_tell_times_are_kept_and_no_others() {
        let head = head(
            "HTTP/1.1 200 OK\nServer-Timing: db;dur=53, app;dur=47.2\nX-Request-Id: a1\nX-Queue-Time: 3\n\
             x-time-per-token: 9\nOpenAI-Processing-MS: 12\nX-Secret: s\nSet-Cookie: c\nDate: d\n\
             server-timing: cache\n\n",
        );
        let kept: Vec<(&str, &str)> = head
            .server_headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            kept,
            [
                ("openai-processing-ms", "12"),
                ("server-timing", "db;dur=53, app;dur=47.2, cache"),
                ("x-queue-time", "3"),
                ("x-request-id", "a1"),
                ("x-time-per-token", "9"),
            ]
        );
    }

    #[test]
    fn an_alert_of_tls_is_told_from_other_nonsense() {
        assert_eq!(read(&[0x15, 3, 3, 0, 2, 2, 40]).unwrap_err(), HeadError::Tls);
    }

    #[test]
    fn interim_responses_are_skipped() {
        let (head, left) =
            read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest")
                .unwrap()
                .unwrap();
        assert_eq!((head.status, left), (200, 4));
    }

    #[test]
    fn hostile_heads_are_errors_and_not_panics() {
        let error = |input: &str| read(input.replace('\n', "\r\n").as_bytes()).unwrap_err();
        assert!(matches!(error("nonsense\n\n"), HeadError::NotHttp(_)));
        assert!(matches!(error("HTTP/2 200\n\n"), HeadError::NotHttp(_)));
        assert_eq!(error("HTTP/1.1 200 OK\nContent-Length: -1\n\n"), HeadError::BadLength);
        assert_eq!(error("HTTP/1.1 200 OK\nContent-Length: +1\n\n"), HeadError::BadLength);
        assert_eq!(
            error("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\n"),
            HeadError::BadLength
        );
        assert_eq!(
            error("HTTP/1.1 200 OK\nContent-Length: 99999999999999999999999\n\n"),
            HeadError::BadLength
        );
        assert!(matches!(
            error("HTTP/1.1 200 OK\nTransfer-Encoding: gzip, chunked\n\n"),
            HeadError::UnknownCoding(_)
        ));
        assert_eq!(error("HTTP/1.1 101 Switching\n\n"), HeadError::Switched);
        assert_eq!(
            error(&"HTTP/1.1 100 Continue\n\n".repeat(INTERIM_LIMIT as usize + 1)),
            HeadError::InterimForever
        );
        let many = format!("HTTP/1.1 200 OK\n{}\n", "a: b\n".repeat(HEADERS_LIMIT + 1));
        assert!(matches!(error(&many), HeadError::NotHttp(httparse::Error::TooManyHeaders)));
        let mut endless = &vec![b'a'; 2 * HEAD_LIMIT][..];
        let mut start = &b"HTTP/1.1 200 OK\r\nx: "[..];
        let mut reader = HeadReader::default();
        assert!(reader.read(&mut start).unwrap().is_none());
        assert_eq!(reader.read(&mut endless).unwrap_err(), HeadError::TooLarge);
    }
}
