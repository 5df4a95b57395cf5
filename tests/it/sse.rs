//! The event stream decoder against the Web Platform Tests' vectors, the traps of other parsers,
//! and an independent crate.

use bench_ci::load::sse::{Decoder, Item, SseError, text};
use proptest::prelude::*;

/// An event as text: name, data, last event id.
type Seen = (String, String, String);

#[derive(Debug, Default, PartialEq)]
struct Heard {
    events: Vec<Seen>,
    comments: usize,
    retries: Vec<u64>,
    error_lines: Vec<String>,
}

fn hear<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut decoder = Decoder::default();
    let mut heard = Heard::default();
    for part in parts {
        decoder
            .feed(part, |item| match item {
                Item::Event(event) => heard.events.push((
                    text(event.name).into_owned(),
                    text(event.data).into_owned(),
                    text(event.id).into_owned(),
                )),
                Item::Comment(_) => heard.comments += 1,
                Item::Retry(milliseconds) => heard.retries.push(milliseconds),
                Item::ErrorLine(value) => heard.error_lines.push(text(value).into_owned()),
            })
            .unwrap();
    }
    heard
}

/// Decodes at every chunking: whole, every cut in two, parts of one, two and three bytes, and with
/// empty reads in between.
fn hear_at_every_chunking(input: &[u8]) -> Heard {
    let whole = hear([input]);
    for cut in 0..=input.len() {
        let heard = hear([&input[..cut], &b""[..], &input[cut..]]);
        assert_eq!(heard, whole, "cut at {cut} of {}", input.escape_ascii());
    }
    for size in 1..=3 {
        assert_eq!(hear(input.chunks(size)), whole, "parts of {size}");
    }
    whole
}

/// Name, data and last event id of an event.
type Expected = (&'static str, &'static str, &'static str);

/// A stream by its name in the literature, and what it must be heard as at every chunking.
struct Vector {
    name: &'static str,
    input: Vec<u8>,
    events: Vec<Expected>,
    /// Valid `retry` fields, milliseconds.
    retries: &'static [u64],
}

fn vector(name: &'static str, input: impl AsRef<[u8]>, events: impl Into<Vec<Expected>>) -> Vector {
    Vector { name, input: input.as_ref().to_vec(), events: events.into(), retries: &[] }
}

impl Vector {
    fn retrying(self, retries: &'static [u64]) -> Self {
        Self { retries, ..self }
    }

    fn check(&self) {
        let heard = hear_at_every_chunking(&self.input);
        let events: Vec<_> = heard
            .events
            .iter()
            .map(|(name, data, id)| (name.as_str(), data.as_str(), id.as_str()))
            .collect();
        assert_eq!(events, self.events, "{}", self.name);
        assert_eq!(heard.retries, self.retries, "{}", self.name);
    }
}

/// An event without name and id.
fn message(data: &'static str) -> Expected {
    ("message", data, "")
}

/// The Web Platform Tests `eventsource/…` that are about the stream, by their file names. Where
/// their message.py ends the message with a blank line, so does the vector. Those about the
/// response's type, `format-mime-…`, are with the HTTP answer in `load`.
fn web_platform_vectors() -> Vec<Vector> {
    let long = "x".repeat(2048);
    vec![
        vector(
            "format-bom",
            "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n",
            [message("1"), message("3")],
        ),
        vector(
            "format-bom-2",
            "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n",
            [message("2"), message("3")],
        ),
        // Cut inside the mark, as every vector is cut everywhere.
        vector("format-bom-split", "\u{feff}data:1\n\n", [message("1")]),
        vector(
            "format-bom-utf-16",
            b"\xfe\xffdata:1\n\ndata:2\n\ndata:3\n\n",
            [message("2"), message("3")],
        ),
        vector(
            "format-comments",
            format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n"),
            [message("1\n2\n3\n4")],
        ),
        vector(
            "format-data-before-final-empty-line",
            "retry:1000\ndata:test1\n\nid:test\ndata:test2",
            [message("test1")],
        )
        .retrying(&[1000]),
        vector(
            "format-field-data",
            "data:\n\ndata\ndata\n\ndata:test\n\n",
            [message(""), message("\n"), message("test")],
        ),
        vector(
            "format-field-event",
            "event:test\ndata:x\n\ndata:x\n\n",
            [("test", "x", ""), message("x")],
        ),
        vector("format-field-event-empty", "event: \ndata:data\n\n", [message("data")]),
        vector("format-field-id", "id: …\ndata: hello\n\n", [("message", "hello", "…")]),
        vector(
            "format-field-id-2",
            "id\ndata:hello\n\nid:…\ndata:hello\n\ndata:hello\n\n",
            [message("hello"), ("message", "hello", "…"), ("message", "hello", "…")],
        ),
        vector(
            "format-field-id-3",
            "id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\nid\ndata:4\n\ndata:5\n\n",
            [
                ("message", "1", "1"),
                ("message", "2", "1"),
                ("message", "3", "2"),
                message("4"),
                message("5"),
            ],
        ),
        vector("format-field-id-null", "id:\0\0\ndata:hello\n\n", [message("hello")]),
        vector(
            "format-field-parsing",
            "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
            [message("\0\n 2\n1\n3\n\n4")],
        ),
        vector("format-field-retry", "retry:3000\ndata:x\n\n", [message("x")]).retrying(&[3000]),
        vector("format-field-retry-bogus", "retry:3000\nretry:1000x\ndata:x\n\n", [message("x")])
            .retrying(&[3000]),
        vector("format-field-retry-empty", "retry\ndata:test\n\n", [message("test")]),
        vector(
            "format-field-unknown",
            "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
            [message("test\n\ntest")],
        ),
        vector(
            "format-leading-space",
            "data:\ttest\rdata: \ndata:test\n\n",
            [message("\ttest\n\ntest")],
        ),
        vector("format-newlines", "data:test\r\ndata\ndata:test\r\n\r", [message("test\n\ntest")]),
        vector("format-null-character", "data:\0\n\n\n\n", [message("\0")]),
        vector("format-utf-8", "data:ok…\n\n", [message("ok…")]),
        vector(
            "event-data",
            "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
            [message("msg\nmsg"), message(""), message("end")],
        ),
    ]
}

/// The 26 vectors that parsers for k6 and Rust were compared by when this decoder was designed; all
/// of those failed some.
fn comparison_vectors() -> [Vector; 26] {
    [
        vector("BOM at start", "\u{feff}data: a\n\n", [message("a")]),
        vector("double BOM", "\u{feff}\u{feff}data: a\n\ndata: b\n\n", [message("b")]),
        vector("UTF-16 BOM bytes", b"\xff\xfedata: a\n\ndata: b\n\n", [message("b")]),
        vector("comment with NUL", ":\0\ndata: a\n\n", [message("a")]),
        vector("comment ended by CR", ": x\rdata: a\n\n", [message("a")]),
        vector("comment ended by CRLF", ": x\r\ndata: a\r\n\r\n", [message("a")]),
        vector(
            "mixed newlines",
            "data: a\ndata: b\r\ndata: c\rdata: d\n\r\n",
            [message("a\nb\nc\nd")],
        ),
        vector("field parsing", "data:a:b: c\nDATA:x\ndata :y\n\n", [message("a:b: c")]),
        vector("unknown fields", "foo: x\ndata: a\nbar:y\n\n", [message("a")]),
        vector("field without colon", "data\nevent\nid\nfoo\ndata\n\n", [message("\n")]),
        vector("CR only", "data: a\r\rdata: b\r\r", [message("a"), message("b")]),
        vector("CRLF multi-line", "data: a\r\ndata: b\r\n\r\n", [message("a\nb")]),
        vector(
            "extra blank lines",
            "\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n",
            [message("a"), message("b")],
        ),
        vector("comment-only block", ": x\n: y\n\ndata: a\n\n", [message("a")]),
        vector("event without data", "event: x\n\ndata: a\n\n", [message("a")]),
        vector(
            "id persistence",
            "id: 7\ndata: a\n\ndata: b\n\n",
            [("message", "a", "7"), ("message", "b", "7")],
        ),
        vector(
            "id with NUL",
            "id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n",
            [("message", "a", "7"), ("message", "b", "7")],
        ),
        vector(
            "empty id",
            "id: 7\ndata: a\n\nid:\ndata: b\n\n",
            [("message", "a", "7"), message("b")],
        ),
        vector("leading space", "data:  a\n\n", [message(" a")]),
        vector("leading tab", "data:\ta\n\n", [message("\ta")]),
        vector("trailing empty data line", "data: a\ndata:\n\n", [message("a\n")]),
        vector("NUL data", "data: a\0b\n\n", [message("a\0b")]),
        vector("empty event name", "event:\ndata: a\n\n", [message("a")]),
        vector(
            "invalid UTF-8 must become U+FFFD",
            b"data: a\xffb\n\ndata: \xf0\x9f\n\ndata: c\n\n",
            [message("a\u{fffd}b"), message("\u{fffd}"), message("c")],
        ),
        vector("old-style error line", "error: {\"code\":500}\n\ndata: a\n\n", [message("a")]),
        vector("incomplete last event at EOF", "data: a\n\ndata: b\n", [message("a")]),
    ]
}

#[test]
fn the_web_platform_tests_hold_at_every_chunking() {
    web_platform_vectors().iter().for_each(Vector::check);
}

#[test]
fn the_vectors_of_the_comparison_of_parsers_hold_at_every_chunking() {
    comparison_vectors().iter().for_each(Vector::check);
}

#[test]
fn no_two_vectors_share_a_name_or_an_input() {
    // A copied vector would make the table look fuller than it is.
    let all: Vec<Vector> = web_platform_vectors().into_iter().chain(comparison_vectors()).collect();
    for (position, vector) in all.iter().enumerate() {
        for other in &all[position + 1..] {
            assert_ne!(vector.name, other.name);
            assert_ne!(vector.input, other.input, "{} and {}", vector.name, other.name);
        }
    }
}

#[test]
fn further_traps_hold_at_every_chunking() {
    for vector in [
        vector("half a BOM", b"\xef\xbbdata: a\n\ndata: b\n\n", [message("b")]),
        vector("BOM, then nothing", "\u{feff}", []),
        vector("CR LF LF", "data: a\r\n\ndata: b\r\n\n", [message("a"), message("b")]),
        vector("LF CR", "data: a\n\rdata: b\n\r", [message("a"), message("b")]),
        vector("id without data", "id: 3\n\n", []),
        vector("split UTF-8", "data: ré😀\n\n", [message("ré😀")]),
        vector("end inside a line", "data: a\n\ndata: b", [message("a")]),
        vector("a carriage return is the last byte", "data: a\r\r", [message("a")]),
        vector("space before the field name", " data: a\n\n", []),
        vector("nothing", "", []),
        vector("the name does not last", "event: a\n\ndata: b\n\n", [message("b")]),
        vector("retry with a plus sign", "retry:+5\n\n", []),
        vector("retry with a minus sign", "retry:-5\n\n", []),
    ] {
        vector.check();
    }
}

#[test]
fn comments_are_heard_and_are_never_events() {
    let heard = hear_at_every_chunking(b":\n\n: ping\n\n:data: x\r\n\r\ndata: a\n\n:\n\n");
    assert_eq!((heard.events.len(), heard.comments), (1, 4));
}

#[test]
fn old_style_error_lines_are_heard() {
    let heard = hear_at_every_chunking(b"error: {\"code\":500}\n\n");
    assert_eq!((heard.events.len(), heard.error_lines.len()), (0, 1));
    assert_eq!(heard.error_lines[0], "{\"code\":500}");
}

#[test]
fn an_event_above_the_limit_is_an_error_and_not_a_memory_leak() {
    let limit = 1000;
    for (what, unit) in [("one line", "x"), ("many lines", "x\ndata:")] {
        let mut decoder = Decoder::new(limit);
        let mut fed = decoder.feed(b"data:", |_| panic!("{what}: nothing is complete"));
        for _ in 0..2 * limit {
            fed = fed.and_then(|()| decoder.feed(unit.as_bytes(), |_| panic!("{what}")));
        }
        assert_eq!(fed, Err(SseError::EventTooLarge { limit }), "{what}");
        decoder.reset();
        let mut events = 0;
        decoder.feed(b"data: a\n\n", |_| events += 1).unwrap();
        assert_eq!(events, 1, "{what}: usable again after a reset");
    }
}

#[test]
fn five_megabytes_in_one_event_pass() {
    let input = format!("data: {}\n\n", "x".repeat(5 << 20));
    let heard = hear(input.as_bytes().chunks(64 << 10));
    assert_eq!(heard.events[0].1.len(), 5 << 20);
}

/// The same stream through the crate `sse-stream`: name and data of all events.
fn hear_independently(parts: &[Vec<u8>]) -> Vec<(String, String)> {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use futures_util::{Stream, stream};
    use sse_stream::SseByteStream;

    let parts: Vec<Result<std::io::Cursor<Vec<u8>>, std::convert::Infallible>> =
        parts.iter().cloned().map(|part| Ok(std::io::Cursor::new(part))).collect();
    let mut decoded = SseByteStream::new(stream::iter(parts));
    let mut events = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    loop {
        match Pin::new(&mut decoded).poll_next(&mut context) {
            Poll::Ready(Some(event)) => {
                let event = event.unwrap();
                // It hands out blocks without data too; the specification does not dispatch them.
                if let Some(data) = event.data {
                    let name = event.event.filter(|name| !name.is_empty());
                    events.push((name.unwrap_or_else(|| "message".to_owned()), data));
                }
            }
            Poll::Ready(None) => return events,
            Poll::Pending => panic!("a stream of ready parts is never pending"),
        }
    }
}

/// Streams made of the pieces that parsers get wrong.
fn stream_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("data".to_owned()),
        4 => Just(":".to_owned()),
        2 => Just(" ".to_owned()),
        4 => Just("\n".to_owned()),
        2 => Just("\r".to_owned()),
        2 => Just("\r\n".to_owned()),
        3 => Just("\n\n".to_owned()),
        1 => Just("event".to_owned()),
        1 => Just("id".to_owned()),
        1 => Just("retry".to_owned()),
        1 => Just("\u{feff}".to_owned()),
        1 => Just("\0".to_owned()),
        2 => "[a-zé😀0-9]{1,4}",
        2 => Just("data: {\"content\":\"x\"}\n\n".to_owned()),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn an_independent_decoder_agrees_under_any_chunking(
        input in stream_text(),
        sizes in prop::collection::vec(1_usize..12, 1..8),
    ) {
        let mut parts = Vec::new();
        let mut rest = input.as_bytes();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*size).min(rest.len()));
            parts.push(part.to_vec());
            rest = after;
        }
        let ours: Vec<_> = hear(parts.iter().map(Vec::as_slice))
            .events
            .into_iter()
            .map(|(name, data, _)| (name, data))
            .collect();
        prop_assert_eq!(ours, hear_independently(&parts));
    }

    #[test]
    fn any_bytes_decode_alike_at_every_chunking(
        input in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\n'), Just(b'\r'), Just(b':'), Just(b'd')], 0..60),
    ) {
        hear_at_every_chunking(&input);
    }
}
