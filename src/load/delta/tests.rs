//! Payloads of deltas, from their bytes to what they say, the quick way and the thorough way.

use proptest::prelude::*;

use super::*;

fn said(payload: &str) -> Said {
    DeltaReader::default().read(payload.as_bytes()).unwrap()
}

#[test]
fn only_non_empty_content_is_content() {
    // Five of six peers count a role-only or empty delta as the first token.
    for (payload, content) in [
        (r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#, false),
        (r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, false),
        (r#"{"choices":[{"delta":{}}]}"#, false),
        (r#"{"choices":[{"delta":null}]}"#, false),
        (r#"{"choices":[]}"#, false),
        (r#"{"choices":null}"#, false),
        (r#"{"choices":[{"delta":{"content":" "}}]}"#, true),
        (r#"{"choices":[{"delta":{"content":"\n"}}]}"#, true),
        (r#"{"choices":[{"delta":{"role":"assistant","content":"we"}}]}"#, true),
        (r#"{"choices":[{"delta":{"content":"","reasoning_content":"hm"}}]}"#, true),
        (r#"{"choices":[{"delta":{"reasoning":"hm"}}]}"#, true),
        (r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#, true),
        (r#"{"choices":[{"delta":{"tool_calls":[]}}]}"#, false),
        (r#"{"choices":[{"delta":{"content":[{"type":"text"}]}}]}"#, true),
        (r#"{"choices":[{"text":"x"}]}"#, true),
        (r#"{"choices":[{"text":""}]}"#, false),
        (r#"{"content":"mm","stop":false}"#, true),
        (r#"{"content":"","stop":false}"#, false),
        (r#"{"choices":[{"delta":{}}],"prompt_progress":{"total":9}}"#, false),
        (r#"{"choices":[{"index":0,"delta":{}},{"index":1,"delta":{"content":"b"}}]}"#, true),
        (r#"{"choices":[{"logprobs":{"content":["x"]},"delta":{}}]}"#, false),
    ] {
        assert_eq!(said(payload).content, content, "{payload}");
    }
}

#[test]
fn usage_only_final_chunk_is_not_a_token() {
    let last = said(
        r#"{"choices":[],"usage":{"completion_tokens":5,"prompt_tokens":44,"total_tokens":49,
        "prompt_tokens_details":{"cached_tokens":3}},"timings":{"cache_n":3,"prompt_n":41,
        "prompt_ms":7.9,"predicted_n":5,"predicted_ms":0.98,"draft_n":4,"draft_n_accepted":2}}"#,
    );
    assert!(!last.content);
    assert_eq!(
        last.usage,
        Some(Usage {
            prompt_tokens: 44,
            completion_tokens: 5,
            cached_tokens: Some(3),
            reasoning_tokens: None
        })
    );
    let timings = last.timings.unwrap();
    assert_eq!((timings.prompt_n, timings.predicted_n), (Some(41), Some(5)));
    assert_eq!((timings.cache_n, timings.draft_n_accepted), (Some(3), Some(2)));
}

#[test]
fn finish_reasons_are_found_wherever_they_stand() {
    let finish = |payload: &str| said(payload).finish;
    assert_eq!(finish(r#"{"choices":[{"finish_reason":"length","delta":{}}]}"#).unwrap(), "length");
    assert_eq!(finish(r#"{"choices":[{"finish_reason":null,"delta":{}}]}"#), None);
    assert_eq!(finish(r#"{"choices":[{"finish_reason":"","delta":{}}]}"#), None);
    let open = said(r#"{"choices":[{"index":0,"finish_reason":"","delta":{"content":"x"}}]}"#);
    assert_eq!((open.content, open.choices_seen, open.choices_finished), (true, 0b1, 0));
    assert_eq!(finish(r#"{"content":"","stop":true,"stop_type":"limit"}"#).unwrap(), "limit");
    assert_eq!(finish(r#"{"content":"","stop":true,"stopped_eos":true}"#).unwrap(), "stop");
    assert_eq!(finish(r#"{"content":"","stop":true,"stop_type":""}"#).unwrap(), "stop");
    assert_eq!(finish(r#"{"content":"a","stop":false,"stop_type":"none"}"#), None);
    let one_of_two = said(
        r#"{"choices":[{"index":0,"finish_reason":"stop"},{"index":1,"delta":{"content":"x"}}]}"#,
    );
    assert_eq!((one_of_two.choices_seen, one_of_two.choices_finished), (0b11, 0b01));
}

#[test]
fn the_final_object_of_completion_counts_tokens() {
    let last = said(
        r#"{"content":"","stop":true,"stop_type":"limit","tokens_predicted":5,
        "tokens_evaluated":44,"tokens_cached":48,"timings":{"cache_n":0,"prompt_n":44}}"#,
    );
    assert_eq!(
        last.usage,
        Some(Usage {
            prompt_tokens: 44,
            completion_tokens: 5,
            cached_tokens: Some(0),
            reasoning_tokens: None
        })
    );
}

#[test]
fn errors_are_errors_even_beside_a_finish() {
    let error = |payload: &str| said(payload).error;
    assert_eq!(error(r#"{"error":{"message":"slot lost","code":500}}"#).unwrap(), "slot lost");
    assert_eq!(error(r#"{"error":"out of memory"}"#).unwrap(), "out of memory");
    assert_eq!(error(r#"{"error":{"code":7}}"#).unwrap(), r#"{"code":7}"#);
    assert_eq!(error(r#"{"object":"error","message":"no","code":400}"#).unwrap(), "no");
    assert!(error(r#"{"error":null,"choices":[]}"#).is_none());
    // As empty as a finish reason of "" is, and as much at home in Go.
    for empty in [r#""""#, "{}", "[]", "false"] {
        let payload = format!(r#"{{"error":{empty},"choices":[{{"delta":{{"content":"x"}}}}]}}"#);
        assert_eq!((said(&payload).content, error(&payload)), (true, None), "{payload}");
    }
    let both = said(r#"{"error":{"message":"x"},"choices":[{"finish_reason":"stop"}]}"#);
    assert!(both.error.is_some() && both.finish.is_some());
}

#[test]
fn an_answer_that_the_server_gave_up_is_an_error_by_its_finish_reason() {
    for (reason, words) in [
        ("abort", Some("finish reason \"abort\"")),
        ("error", Some("finish reason \"error\"")),
        ("content_filter", None),
        ("stop", None),
    ] {
        let streamed = format!(r#"{{"choices":[{{"delta":{{}},"finish_reason":"{reason}"}}]}}"#);
        assert_eq!(said(&streamed).error.as_deref(), words, "{streamed}");
        let whole = streamed.replace("delta", "message");
        assert_eq!(read_whole(whole.as_bytes()).unwrap().error.as_deref(), words, "{whole}");
    }
    let explained =
        r#"{"error":{"message":"out of memory"},"choices":[{"finish_reason":"error"}]}"#;
    assert_eq!(said(explained).error.as_deref(), Some("out of memory"));
}

#[test]
fn the_words_of_an_answer_are_those_of_its_parts_of_text() {
    for (content, words) in [
        (r#""a\nb""#, "a\nb"),
        (r#"[{"type":"text","text":"a"},{"type":"text","text":"\u00e9"}]"#, "aé"),
        (r#"[{"type":"thinking","thinking":[{"text":"hm"}]},{"text":"a"},5,null]"#, "a"),
        ("null", ""),
        ("7", ""),
        ("{}", ""),
        ("[]", ""),
    ] {
        for said in ["delta", "message"] {
            let payload = format!(r#"{{"choices":[{{"{said}":{{"content":{content}}}}}]}}"#);
            assert_eq!(answer_text(payload.as_bytes()), words, "{payload}");
        }
    }
    assert_eq!(answer_text(br#"{"content":"a","stop":false}"#), "a");
    assert_eq!(answer_text(br#"{"choices":[{"text":"a"},{"index":1,"text":"b"}]}"#), "a");
}

#[test]
fn odd_types_count_as_absent_and_other_json_is_refused() {
    let odd = said(
        r#"{"choices":[5,null,"x",{"delta":7,"index":-1,"finish_reason":3}],"usage":[],"timings":"t",
        "stop":"yes","tokens_predicted":null}"#,
    );
    assert_eq!(odd, Said { choices_seen: 1, ..Said::default() });
    let floats = said(r#"{"choices":[],"usage":{"prompt_tokens":44.0,"completion_tokens":5}}"#);
    assert_eq!(floats.usage.unwrap().prompt_tokens, 44);
    assert_eq!(said(""), Said::default());
    assert!(said(" [DONE] ").terminator);
    let mut reader = DeltaReader::default();
    for wrong in ["5", "\"x\"", "[1]", "null"] {
        assert!(matches!(reader.read(wrong.as_bytes()), Err(DeltaError::NotAnObject)), "{wrong}");
    }
    for wrong in ["{", "{\"a\":1}}", "hello", "{'a':1}"] {
        assert!(matches!(reader.read(wrong.as_bytes()), Err(DeltaError::NotJson(_))), "{wrong}");
    }
}

#[test]
fn what_a_server_left_out_is_unknown_and_not_zero() {
    for half in [
        r#"{"usage":{"prompt_tokens":5}}"#,
        r#"{"usage":{"completion_tokens":5}}"#,
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":null}}"#,
        r#"{"stop":true,"tokens_evaluated":5}"#,
    ] {
        assert_eq!(said(half).usage, None, "{half}");
    }
    assert_eq!(said(r#"{"timings":{}}"#).timings, None);
    assert_eq!(said(r#"{"timings":{"cache_hit":true}}"#).timings, None);
    let timings = said(r#"{"timings":{"predicted_n":5}}"#).timings.unwrap();
    assert_eq!(timings, Timings { predicted_n: Some(5), ..Timings::default() });
    // A zero that was said is one.
    let zeros = said(r#"{"timings":{"prompt_n":0,"prompt_ms":0.0}}"#).timings.unwrap();
    assert_eq!((zeros.prompt_n, zeros.prompt_ms), (Some(0), Some(0.0)));
}

#[test]
fn reasoning_tokens_are_known_where_they_are_a_part_of_the_completion() {
    for (completion, reasoning, total, expected) in [
        (80, "64", "124", Some(64)),
        (80, "80", "124", Some(80)),
        (80, "0", "124", Some(0)),
        (80, "64", "null", Some(64)),
        // Counted beside the completion: the total says so, or there are more of them.
        (80, "64", "188", None),
        (80, "81", "null", None),
        (80, "null", "124", None),
        (80, "9007199254740993", "124", None),
    ] {
        let usage = format!(
            r#"{{"usage":{{"prompt_tokens":44,"completion_tokens":{completion},"total_tokens":{total},
            "completion_tokens_details":{{"reasoning_tokens":{reasoning}}}}}}}"#
        );
        assert_eq!(said(&usage).usage.unwrap().reasoning_tokens, expected, "{usage}");
    }
}

#[test]
fn a_count_beyond_all_counting_is_absent() {
    let most = said(r#"{"usage":{"prompt_tokens":9007199254740992,"completion_tokens":1}}"#);
    assert_eq!(most.usage.unwrap().prompt_tokens, 1 << 53);
    for count in ["9007199254740993", "18446744073709551615", "18446744073709551616", "1e300"] {
        let usage = format!(r#"{{"usage":{{"prompt_tokens":{count},"completion_tokens":1}}}}"#);
        assert_eq!(said(&usage).usage, None, "{count}");
        let timings = format!(r#"{{"timings":{{"prompt_n":{count},"predicted_n":1}}}}"#);
        assert_eq!(said(&timings).timings.unwrap().prompt_n, None, "{count}");
    }
}

#[test]
fn bad_utf_8_inside_a_string_is_content_all_the_same() {
    let mut reader = DeltaReader::default();
    let payload = b"{\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}";
    assert!(reader.read(payload).unwrap().content);
}

#[test]
fn a_shape_with_an_empty_finish_reason_is_learned() {
    let event = |text: &str| {
        format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":""}}]}}"#
        )
    };
    let mut reader = DeltaReader::default();
    reader.read(event("we").as_bytes()).unwrap();
    assert!(reader.plain_content(event("are").as_bytes()).is_some());
    let last = event("so").replace(r#""finish_reason":"""#, r#""finish_reason":"stop""#);
    assert_eq!(reader.read(last.as_bytes()).unwrap().finish.as_deref(), Some("stop"));
}

#[test]
fn a_learned_shape_never_invents_content() {
    // Each second payload has the learned surroundings or nearly so.
    let learned =
        r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"we"}}],"id":"a"}"#;
    for (near, content) in [
        (
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":""}}],"id":"a"}"#,
            false,
        ),
        (
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":null}}],"id":"a"}"#,
            false,
        ),
        (r#"{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"id":"a"}"#, false),
        (
            r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"x"}}],"id":"a"}"#,
            true,
        ),
    ] {
        let mut reader = DeltaReader::default();
        assert!(reader.read(learned.as_bytes()).unwrap().content);
        assert_eq!(reader.read(near.as_bytes()).unwrap().content, content, "{near}");
    }
}

/// Strings that may stand as JSON source between quotes: plain, escaped, and trying to break out.
fn string_source() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,4}",
        "\\PC{0,4}".prop_map(|text| text.replace(['"', '\\'], "")),
        Just("\\n".to_owned()),
        Just("\\u00e9".to_owned()),
        Just("x\"},\"error\":{\"a\":\"b".to_owned()),
        Just("x\",\"finish_reason\":\"stop".to_owned()),
        Just("\u{1}".to_owned()),
    ]
}

fn payload() -> impl Strategy<Value = String> {
    (string_source(), string_source(), 0..6).prop_map(|(text, other, shape)| match shape {
        0 => format!(r#"{{"choices":[{{"finish_reason":null,"delta":{{"content":"{text}"}}}}],"id":"{other}"}}"#),
        1 => format!(r#"{{"choices":[{{"delta":{{"content":"{text}","reasoning":"{other}"}}}}]}}"#),
        2 => format!(r#"{{"id":"{other}","choices":[{{"text":"{text}","finish_reason":null}}]}}"#),
        3 => format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":"{other}"}}]}}"#),
        4 => format!(r#"{{"choices":[{{"index":1,"delta":{{"content":"{text}"}}}}],"error":null}}"#),
        _ => format!(r#"{{"content":"{text}","stop":false,"choices":[{{"text":"{other}"}}]}}"#),
    })
}

proptest! {
    #[test]
    fn the_short_cut_says_what_the_full_parse_says(
        payloads in prop::collection::vec(payload(), 1..12),
    ) {
        let mut short = DeltaReader::default();
        for payload in payloads {
            let short = short.read(payload.as_bytes());
            let full = DeltaReader::default().read_in_full(payload.as_bytes());
            match (short, full) {
                (Ok(short), Ok(full)) => prop_assert_eq!(short, full),
                (short, full) => prop_assert!(short.is_err() && full.is_err()),
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(payloads in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut reader = DeltaReader::default();
        for payload in payloads {
            drop(reader.read(&payload));
        }
    }
}
