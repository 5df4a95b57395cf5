//! Whole responses, from their bytes to the record, cut anywhere.

use super::*;
use crate::load::record::{Outcome, Phase};

/// What llama-server sent for five tokens (recorded in tests/fixtures/llama-server), one chunk an event.
const EVENTS: [&str; 9] = [
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"we"}}],"created":1,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" a\n"}}],"created":1,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"ré"}}],"created":1,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    ":",
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"!"}}],"created":2,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    r#"data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"created":2,"id":"chatcmpl-x","model":"m","object":"chat.completion.chunk"}"#,
    r#"data: {"choices":[],"created":2,"id":"chatcmpl-x","usage":{"completion_tokens":5,"prompt_tokens":44,"total_tokens":49,"prompt_tokens_details":{"cached_tokens":0}},"timings":{"cache_n":0,"prompt_n":44,"prompt_ms":7.9,"predicted_n":5,"predicted_ms":0.98}}"#,
    "data: [DONE]",
];

const HEAD: &str = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\nContent-Type: text/event-stream\r\nServer: llama.cpp\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(events: &[&str]) -> Vec<u8> {
    let mut bytes = HEAD.as_bytes().to_vec();
    for event in events {
        let event = format!("{event}\n\n");
        bytes.extend(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn blank() -> RequestRecord {
    RequestRecord {
        index: 0,
        prompt_index: 0,
        user_index: 0,
        phase: Phase::Measured,
        conversation_index: None,
        turn: None,
        turns: None,
        phase_index: 1,
        outcome: Outcome::Cut,
        dropped_because: None,
        planned: Stamp(0),
        connect_started: None,
        connected: None,
        written: None,
        headers: None,
        first_content: None,
        first_answer: None,
        last_content: None,
        finish: None,
        end: None,
        status: None,
        server_headers: Default::default(),
        finish_reason: None,
        terminated: false,
        usage: None,
        timings: None,
        max_tokens: 5,
        forced: false,
        content_deltas: 0,
        coalesced_deltas: 0,
        first_content_coalesced: false,
        reasoning_deltas: 0,
        results: None,
        dimensions: None,
        comments: 0,
        bytes_received: 0,
        resent: false,
    }
}

/// Plays the reads and concludes; `Closed` where the body was not over by itself.
fn play(answer: &mut Answer, reads: &[&[u8]], forced: bool) -> RequestRecord {
    answer.reset(Expected::default());
    let mut ending = Ending::Closed;
    for (position, read) in reads.iter().enumerate() {
        if read.is_empty() {
            continue;
        }
        match answer.read(read, Stamp(1000 * (position as u64 + 1))) {
            Progress::More => {}
            Progress::Over => ending = Ending::Over,
            Progress::Broken => ending = Ending::Broken,
        }
        if ending == Ending::Broken {
            break;
        }
    }
    let mut record = RequestRecord { forced, ..blank() };
    answer.conclude(&ending, &mut record);
    record
}

fn outcome(bytes: &[u8]) -> String {
    match play(&mut Answer::default(), &[bytes], false).outcome {
        Outcome::Failed { failure, detail } => format!("{}: {detail}", failure.name()),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_recorded_answer_gives_the_same_record_split_at_every_byte() {
    let bytes = chunked(&EVENTS);
    let mut answer = Answer::default();
    let without_stamps = |mut record: RequestRecord| {
        record.headers = None;
        record.first_content = None;
        record.first_answer = None;
        record.last_content = None;
        record.finish = None;
        record.coalesced_deltas = 0;
        record.first_content_coalesced = false;
        record
    };
    let whole = play(&mut answer, &[&bytes], true);
    assert_eq!(whole.outcome, Outcome::Completed);
    assert_eq!((whole.content_deltas, whole.coalesced_deltas, whole.comments), (4, 3, 1));
    assert_eq!(whole.finish_reason.as_deref(), Some("length"));
    assert_eq!(whole.usage.unwrap().completion_tokens, 5);
    assert!(whole.terminated);
    let whole = without_stamps(whole);
    for cut in 0..=bytes.len() {
        let record = play(&mut answer, &[&bytes[..cut], &bytes[cut..]], true);
        assert_eq!(without_stamps(record), whole, "cut at {cut}");
    }
    for size in [1, 2, 3, 7] {
        let parts: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(without_stamps(play(&mut answer, &parts, true)), whole, "parts of {size}");
    }
}

#[test]
fn an_answer_cut_anywhere_before_its_end_is_never_a_success_too_early() {
    // The terminator may do without the last chunk; nothing before it may.
    let bytes = chunked(&EVENTS);
    let finish = bytes.windows(8).position(|window| window == b"\"length\"").unwrap();
    for cut in 1..finish {
        let record = play(&mut Answer::default(), &[&bytes[..cut]], false);
        let Outcome::Failed { failure, .. } = record.outcome else { panic!("cut at {cut}") };
        let expected = if cut < HEAD.len() { FailureKind::Reset } else { FailureKind::Truncated };
        assert_eq!(failure, expected, "cut at {cut}");
    }
    assert_eq!(outcome(&bytes[..bytes.len() - 5]), "Completed");
}

#[test]
fn an_event_may_hold_several_deltas() {
    let delta = |text: &str| {
        format!(r#"data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#)
    };
    let (one, two, three) = (delta("a"), delta("b"), delta("c"));
    let both = format!("{one}\n{two}");
    let last = format!("{three}\n{}\ndata: [DONE]", EVENTS[6]);
    let mut answer = Answer::default();
    answer.reset(Expected { keep_text: true, ..Expected::default() });
    assert_eq!(answer.read(&chunked(&[&both, &last]), Stamp(1000)), Progress::Over);
    let mut record = blank();
    answer.conclude(&Ending::Over, &mut record);
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!((record.content_deltas, record.coalesced_deltas), (3, 2));
    assert_eq!((record.finish_reason.as_deref(), record.terminated), (Some("length"), true));
    assert_eq!(answer.take_text(), "abc");
    // One payload over several lines is one, and what is none stays none.
    let broken = format!("{one}\ndata: {{oops");
    assert!(outcome(&chunked(&[&broken, "data: [DONE]"])).starts_with("protocol: an event is not"));
    let spread = "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"x\"}}]}";
    assert_eq!(outcome(&chunked(&[spread, "data: [DONE]"])), "Completed");
    // Two in one payload are said both.
    let twice =
        r#"{"choices":[{"index":0,"delta":{"content":"a"}},{"index":0,"delta":{"content":"b"}}]}"#;
    assert_eq!(crate::load::delta::answer_text(twice.as_bytes()), "ab");
}

#[test]
fn stamps_are_those_of_the_reads() {
    let bytes = chunked(&EVENTS);
    let position = |text: &str| {
        bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
    };
    // Reads end inside the second delta, after the third event, and inside the finish.
    let cuts = [position("\"we\""), position("\"ré\""), position("\"length\"")];
    let mut answer = Answer::default();
    let record = play(
        &mut answer,
        &[&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..cuts[2]], &bytes[cuts[2]..]],
        false,
    );
    assert_eq!(record.headers, Some(Stamp(1000)));
    // The role-only delta came in the first read and is no content.
    assert_eq!(record.first_content, Some(Stamp(2000)));
    assert_eq!(record.last_content, Some(Stamp(3000)));
    assert_eq!(record.finish, Some(Stamp(4000)));
    assert_eq!(answer.gaps(), [0, 1000, 0]);
    assert_eq!((record.coalesced_deltas, record.first_content_coalesced), (2, true));
    // The first content in a read of its own, and the three others in one.
    let second = position("\" a\\n\"");
    let record = play(&mut answer, &[&bytes[..second], &bytes[second..]], false);
    assert_eq!((record.coalesced_deltas, record.first_content_coalesced), (2, false));
}

#[test]
fn an_error_inside_the_stream_is_a_failure_whatever_else_it_says() {
    let error = r#"data: {"error":{"message":"slot lost","code":500}}"#;
    let expected = "stream_error: the server reports: slot lost";
    assert_eq!(outcome(&chunked(&[error])), expected);
    assert_eq!(outcome(&chunked(&[EVENTS[1], error, EVENTS[6], "data: [DONE]"])), expected);
    assert_eq!(outcome(&chunked(&[EVENTS[1], EVENTS[6], "data: [DONE]", error])), expected);
    let old = r#"error: {"message":"slot lost"}"#;
    assert_eq!(outcome(&chunked(&[EVENTS[1], old])), expected);
    let named = "event: error\ndata: slot lost";
    assert_eq!(outcome(&chunked(&[EVENTS[1], named, "data: [DONE]"])), expected);
}

#[test]
fn what_is_missing_is_named() {
    let done = "data: [DONE]";
    assert_eq!(
        outcome(&chunked(&[EVENTS[1], EVENTS[2]])),
        "truncated: the stream ended after 2 content deltas without a finish reason or [DONE]"
    );
    assert_eq!(outcome(&chunked(&[EVENTS[1], EVENTS[6]])), "Completed");
    assert_eq!(outcome(&chunked(&[EVENTS[1], done])), "Completed");
    assert_eq!(
        outcome(&chunked(&[EVENTS[0], EVENTS[6], done])),
        "empty: the answer finished without content"
    );
    assert!(outcome(&chunked(&[])).starts_with("truncated"));
    assert!(
        outcome(&chunked(&["data: {oops", done])).starts_with("protocol: an event is not JSON")
    );
    assert_eq!(outcome(&chunked(&[EVENTS[1], done, "data: {oops"])), "Completed");
    // Servers written in Go say "" where others say null.
    let open = r#"data: {"choices":[{"finish_reason":"","index":0,"delta":{"content":"x"}}]}"#;
    assert_eq!(
        outcome(&chunked(&[open, open])),
        "truncated: the stream ended after 2 content deltas without a finish reason or [DONE]"
    );
    let whole = play(&mut Answer::default(), &[&chunked(&[open, open, done])], false);
    assert_eq!((whole.outcome, whole.finish_reason), (Outcome::Completed, None));
    assert_eq!(outcome(&chunked(&[open, open, EVENTS[6]])), "Completed");
    // One of two choices never finishes.
    let two = r#"data: {"choices":[{"index":1,"delta":{"content":"x"}}]}"#;
    assert!(outcome(&chunked(&[EVENTS[1], two, EVENTS[6]])).starts_with("truncated"));
}

#[test]
fn forced_tokens_are_counted_by_usage_else_timings() {
    let forced = |events: &[&str]| play(&mut Answer::default(), &[&chunked(events)], true).outcome;
    assert_eq!(forced(&EVENTS), Outcome::Completed);
    let short = |outcome: Outcome| {
        let Outcome::Failed { failure: FailureKind::Short, detail } = outcome else {
            panic!("expected a short answer, got {outcome:?}");
        };
        detail
    };
    let usage = r#"data: {"choices":[],"usage":{"completion_tokens":4,"prompt_tokens":1}}"#;
    assert_eq!(
        short(forced(&[EVENTS[1], EVENTS[6], usage])),
        "4 tokens, expected 5 (forced with ignore_eos)"
    );
    let timings = r#"data: {"choices":[],"timings":{"predicted_n":5}}"#;
    assert_eq!(forced(&[EVENTS[1], EVENTS[6], timings]), Outcome::Completed);
}

#[test]
fn forced_tokens_that_nobody_counts_need_deltas_or_the_server_s_word() {
    let done = "data: [DONE]";
    let stop = EVENTS[6].replace("length", "stop");
    let forced = |events: &[&str]| play(&mut Answer::default(), &[&chunked(events)], true).outcome;
    for (events, finish) in [
        // What a server does that cuts its answers, and what one does that heeds the end of the text.
        (vec![EVENTS[1], EVENTS[2], done], "no finish reason"),
        (vec![EVENTS[1], EVENTS[2], &stop, done], "finish reason \"stop\""),
    ] {
        assert_eq!(
            forced(&events),
            Outcome::Failed {
                failure: FailureKind::Short,
                detail: format!(
                    "nothing shows that 5 tokens were made, as forced with ignore_eos: 2 content deltas, {finish}, no token count; let the server send usage, or force no lengths"
                ),
            }
        );
    }
    // Two deltas may well be five tokens, and the server says that they are.
    assert_eq!(forced(&[EVENTS[1], EVENTS[2], EVENTS[6], done]), Outcome::Completed);
    assert_eq!(forced(&[[EVENTS[1]; 5].as_slice(), &[done]].concat()), Outcome::Completed);
    // Where nothing is forced, nothing needs to be shown.
    let free = play(&mut Answer::default(), &[&chunked(&[EVENTS[1], done])], false);
    assert_eq!(free.outcome, Outcome::Completed);
}

#[test]
fn a_forced_answer_in_one_piece_needs_a_count_or_the_server_s_word() {
    let answered = |finish: &str| {
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"we"}},"finish_reason":{finish}}}]}}"#);
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut answer = Answer::default();
        answer.reset(Expected { whole: Some(Wanted::Tokens), keep_text: false });
        assert_eq!(answer.read(bytes.as_bytes(), Stamp(1000)), Progress::Over);
        let mut record = RequestRecord { forced: true, ..blank() };
        answer.conclude(&Ending::Over, &mut record);
        record.outcome
    };
    assert_eq!(answered("\"length\""), Outcome::Completed);
    for (finish, said) in [("null", "no finish reason"), ("\"stop\"", "finish reason \"stop\"")] {
        let Outcome::Failed { failure: FailureKind::Short, detail } = answered(finish) else {
            panic!("{finish} is no short answer");
        };
        let said = format!("ignore_eos: an answer in one piece, {said}, no token count;");
        assert!(detail.contains(&said), "{detail}");
    }
}

#[test]
fn answers_that_are_no_streams_say_what_they_are() {
    let answer = |head: &str, body: &str| {
        let length = body.len();
        outcome(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
    };
    let json = "\r\nContent-Type: application/json";
    insta::assert_snapshot!(
        [
            answer(&format!("503 X{json}"), r#"{"error":{"message":"Loading model"}}"#),
            answer(&format!("400 X{json}"), r#"{"error":"bad"}"#),
            answer("429 X", "slow down"),
            answer("500 X", ""),
            answer("301 X", ""),
            answer(&format!("200 OK{json}"), r#"{"choices":[{"message":{"content":"hi"}}]}"#),
            answer("200 OK", r#"{"choices":[{"message":{"content":"hi"}}]}"#),
            answer(&format!("200 OK{json}"), r#"{"error":{"message":"no"}}"#),
            answer("200 OK\r\nContent-Type: text/html", "<html>"),
            answer("200 OK\r\nContent-Encoding: gzip", "xyz"),
            answer("204 No", ""),
        ]
        .join("\n"),
        @r#"
    http_5xx: status 503: Loading model
    http_4xx: status 400: bad
    http_4xx: status 429: slow down
    http_5xx: status 500
    protocol: status 301
    protocol: the server answers with "application/json" instead of an event stream (it ignores "stream": true)
    protocol: the server answers with "no content type" instead of an event stream (it ignores "stream": true)
    stream_error: the server reports: no
    protocol: the server answers with "text/html" instead of an event stream (it ignores "stream": true)
    protocol: the server answers with content encoding "gzip", expected none
    truncated: the stream ended after 0 content deltas without a finish reason or [DONE]
    "#
    );
}

#[test]
fn the_web_platform_tests_of_the_response_s_type_hold() {
    // wpt/eventsource/format-mime-*: what may be an event stream by its content type.
    let body: String = EVENTS.iter().map(|event| format!("{event}\n\n")).collect();
    for (name, content_type, expected) in [
        ("format-mime-bogus", "x bogus", "protocol: the server answers with \"x bogus\""),
        ("format-mime-trailing-semicolon", "text/event-stream;", "Completed"),
        ("format-mime-valid-bogus", "text/event-stream;x bogus", "Completed"),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n{body}");
        assert!(outcome(bytes.as_bytes()).starts_with(expected), "{name}");
    }
}

#[test]
fn every_delimitation_of_the_body_is_read() {
    let body: String = EVENTS.iter().map(|event| format!("{event}\r\n\r\n")).collect();
    let stream = "Content-Type: text/event-stream\r\n";
    let length = body.len();
    assert_eq!(outcome(format!("HTTP/1.1 200 OK\r\n{stream}\r\n{body}").as_bytes()), "Completed");
    let sized = format!("HTTP/1.1 200 OK\r\n{stream}Content-Length: {length}\r\n\r\n{body}");
    assert_eq!(outcome(sized.as_bytes()), "Completed");
    assert!(outcome(&sized.as_bytes()[..sized.len() - 1]).starts_with("truncated"));
    let broken = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{body}");
    assert!(outcome(broken.as_bytes()).starts_with("protocol: a chunk size"));
}

#[test]
fn surplus_bytes_forbid_using_the_connection_again() {
    let mut bytes = chunked(&EVENTS);
    let mut answer = Answer::default();
    play(&mut answer, &[&bytes], false);
    assert!(answer.may_keep_connection());
    bytes.extend(b"HTTP/1.1 200 OK\r\n");
    play(&mut answer, &[&bytes], false);
    assert!(!answer.may_keep_connection());
}
