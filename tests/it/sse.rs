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

/// Checks the data of all events.
fn check(what: &str, input: impl AsRef<[u8]>, expected: &[&str]) {
    let heard = hear_at_every_chunking(input.as_ref());
    let data: Vec<_> = heard.events.iter().map(|(_, data, _)| data.as_str()).collect();
    assert_eq!(data, expected, "{what}");
}

/// Checks name, data and id of all events.
fn check_all(what: &str, input: impl AsRef<[u8]>, expected: &[(&str, &str, &str)]) {
    let heard = hear_at_every_chunking(input.as_ref());
    let events: Vec<_> = heard
        .events
        .iter()
        .map(|(name, data, id)| (name.as_str(), data.as_str(), id.as_str()))
        .collect();
    assert_eq!(events, expected, "{what}");
}

#[test]
fn the_web_platform_tests_format_vectors_hold_at_every_chunking() {
    // Inputs of wpt/eventsource/format-*; where its message.py ends the message with a blank line,
    // so does the vector.
    let long = "x".repeat(2048);
    check("bom", "\u{feff}data:1\n\n\u{feff}data:2\n\ndata:3\n\n", &["1", "3"]);
    check("bom-2", "\u{feff}\u{feff}data:1\n\ndata:2\n\ndata:3\n\n", &["2", "3"]);
    check("bom-utf-16", b"\xfe\xffdata:1\n\ndata:2\n\n", &["2"]);
    check(
        "comments",
        format!("data:1\r:\0\n:\r\ndata:2\n:{long}\rdata:3\n:data:fail\r:{long}\ndata:4\n\n"),
        &["1\n2\n3\n4"],
    );
    check(
        "data-before-final-empty-line",
        "retry:1000\ndata:test1\n\nid:test\ndata:test2",
        &["test1"],
    );
    check("field-data", "data:\n\ndata\ndata\n\ndata:test\n\n", &["", "\n", "test"]);
    check_all(
        "field-event",
        "event:test\ndata:x\n\ndata:x\n\n",
        &[("test", "x", ""), ("message", "x", "")],
    );
    check_all("field-event-empty", "event: \ndata:data\n\n", &[("message", "data", "")]);
    check_all("field-id", "id: …\ndata: hello\n\n", &[("message", "hello", "…")]);
    check_all(
        "field-id-2",
        "id\ndata:hello\n\nid:…\ndata:hello\n\n",
        &[("message", "hello", ""), ("message", "hello", "…")],
    );
    check_all(
        "field-id-3: persists, changes, resets",
        "id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\nid\ndata:4\n\ndata:5\n\n",
        &[
            ("message", "1", "1"),
            ("message", "2", "1"),
            ("message", "3", "2"),
            ("message", "4", ""),
            ("message", "5", ""),
        ],
    );
    check_all("field-id-null", "id:\0\0\ndata:hello\n\n", &[("message", "hello", "")]);
    check(
        "field-parsing",
        "data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        &["\0\n 2\n1\n3\n\n4"],
    );
    check(
        "field-unknown",
        "data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        &["test\n\ntest"],
    );
    check("leading-space", "data:\ttest\rdata: \ndata:test\n\n", &["\ttest\n\ntest"]);
    check("newlines", "data:test\r\ndata\ndata:test\r\n\r", &["test\n\ntest"]);
    check("null-character", "data:\0\n\n\n\n", &["\0"]);
    check("utf-8", "data:ok…\n\n", &["ok…"]);
    check(
        "event-data",
        "data:msg\ndata: msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
        &["msg\nmsg", "", "end"],
    );
    for (what, input, retries) in [
        ("field-retry", "retry:3000\ndata:x\n\n", &[3000][..]),
        ("field-retry-bogus", "retry:3000\nretry:1000x\ndata:x\n\n", &[3000]),
        ("field-retry-empty", "retry\ndata:test\n\n", &[]),
        ("plus sign", "retry:+5\n\n", &[]),
        ("minus sign", "retry:-5\n\n", &[]),
    ] {
        assert_eq!(hear_at_every_chunking(input.as_bytes()).retries, retries, "{what}");
    }
}

#[test]
fn the_traps_other_parsers_fall_into_are_none_at_every_chunking() {
    check("bom", "\u{feff}data: a\n\n", &["a"]);
    check("half a bom", b"\xef\xbbdata: a\n\ndata: b\n\n", &["b"]);
    check("bom then nothing", "\u{feff}", &[]);
    check("carriage returns only", "data: a\r\rdata: b\r\r", &["a", "b"]);
    check("crlf", "data: a\r\ndata: b\r\n\r\n", &["a\nb"]);
    check("mixed", "data: a\ndata: b\r\ndata: c\r\ndata: d\n\r\n", &["a\nb\nc\nd"]);
    check("cr lf lf", "data: a\r\n\ndata: b\r\n\n", &["a", "b"]);
    check("lf cr", "data: a\n\rdata: b\n\r", &["a", "b"]);
    check("extra blank lines", "\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", &["a", "b"]);
    check("event without data", "event: x\n\ndata: a\n\n", &["a"]);
    check("id without data", "id: 3\n\n", &[]);
    check("trailing empty data line", "data: a\ndata:\n\n", &["a\n"]);
    check("two spaces lose one", "data:  a\n\n", &[" a"]);
    check("tab stays", "data:\ta\n\n", &["\ta"]);
    check("colons in the value", "data: a: b\n\n", &["a: b"]);
    check("invalid utf-8", b"data: a\xffb\n\ndata: \xf0\x9f\n\n", &["a\u{fffd}b", "\u{fffd}"]);
    check("split utf-8", "data: ré😀\n\n", &["ré😀"]);
    check("end without a blank line", "data: a\n\ndata: b\n", &["a"]);
    check("end inside a line", "data: a\n\ndata: b", &["a"]);
    check("a carriage return is the last byte", "data: a\r\r", &["a"]);
    check("space before the field name", " data: a\n\n", &[]);
    check("nothing", "", &[]);
    check_all("the name does not last", "event: a\n\ndata: b\n\n", &[("message", "b", "")]);
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
