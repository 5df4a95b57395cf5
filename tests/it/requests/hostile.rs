//! Servers that answer whole requests wrongly, or in a shape of their own.

use serde_json::{Value, json};

use super::scenario;
use crate::run::stranger::{Asked, Stranger, plain};
use crate::run::{Bench, Ran};

fn posting(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Stranger {
    Stranger::answering(move |asked| match asked.method.as_str() {
        "POST" => answer(asked),
        _ => plain(404, "application/json", "{}"),
    })
}

fn load(bench: &Bench, server: &Stranger, lines: &str, more: &[&str]) -> Ran {
    let scenario =
        scenario(bench, lines, "[timeouts]\nfirst = \"20s\"\nidle = \"20s\"\ntotal = \"20s\"");
    let url = server.url("/v1");
    let flags = ["--url", &url, "--scenario", &scenario, "--users", "1", "--n-prompts", "2"];
    bench.run("out", &[&flags[..], &["--max-lateness", "1000"], more].concat())
}

/// Both requests fail as this kind, with these words.
fn check_failing(lines: &str, answer: Vec<u8>, kind: &str, words: &str) {
    let server = posting(move |_| answer.clone());
    let bench = Bench::new();
    let ran = load(&bench, &server, lines, &["--inputs-per-request", "2"]).checked(5);
    assert_eq!(ran.failures(), [(kind.to_owned(), 2)], "{words}");
    let told = ran.rows()[0]["failure_detail"].as_str().unwrap().to_owned();
    assert!(told.contains(words), "{told}");
}

fn json(body: &str) -> Vec<u8> {
    plain(200, "application/json", body)
}

#[test]
fn embeddings_that_are_none_are_failures() {
    let lines = "endpoint = \"/v1/embeddings\"";
    for (body, kind, words) in [
        (r#"{"error":{"message":"no such model"}}"#, "stream_error", "no such model"),
        (r#"{"object":"error","message":"too long","code":400}"#, "stream_error", "too long"),
        ("<html>hello</html>", "protocol", "not what was asked for"),
        ("", "protocol", "not what was asked for"),
        (r#"{"data":[{"embedding":[0.1]}]}"#, "short", "1 embedding came back for 2 texts"),
        (r#"{"data":[]}"#, "empty", "0 embeddings"),
        (r#"{"data":[{"embedding":[]},{"embedding":[]}]}"#, "empty", "has no numbers"),
        (r#"{"data":[{"embedding":[NaN]},{"embedding":[1]}]}"#, "protocol", "not what was asked"),
        (
            r#"{"data":[{"embedding":[1,2]},{"embedding":[1]}]}"#,
            "protocol",
            "2 numbers and another 1",
        ),
        (r#"{"data":[{"embedding":[null]},{"embedding":[1]}]}"#, "protocol", "finite numbers"),
        (
            r#"{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":0}]}"#,
            "protocol",
            "two embeddings came back for text 0",
        ),
    ] {
        check_failing(lines, json(body), kind, words);
    }
    let cut = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{\"data\":[".to_vec();
    check_failing(lines, cut, "truncated", "closed inside the body");
    check_failing(
        lines,
        plain(429, "application/json", r#"{"detail":"slow down"}"#),
        "http_4xx",
        "slow down",
    );
}

#[test]
fn a_model_whose_vectors_change_their_length_is_a_failure() {
    let calls = std::sync::atomic::AtomicUsize::new(1);
    let server = posting(move |_| {
        let n = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        json(&format!(
            r#"{{"data":[{{"embedding":{:?}}}],"usage":{{"total_tokens":3}}}}"#,
            vec![1.0; n]
        ))
    });
    let bench = Bench::new();
    let ran = load(&bench, &server, "endpoint = \"/v1/embeddings\"", &[]).checked(5);
    assert_eq!(ran.failures(), [("protocol".to_owned(), 1)]);
    let rows = ran.rows();
    assert_eq!(rows[0]["outcome"], "completed");
    let told = rows[1]["failure_detail"].as_str().unwrap();
    assert_eq!(told, "embeddings of 2 numbers, where the first answer had 1");
}

#[test]
fn scores_of_three_makers_are_read() {
    for body in [
        r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}],"usage":{"total_tokens":7}}"#,
        r#"{"data":[{"index":0,"relevance_score":0.9},{"index":1,"relevance_score":0.1}],"usage":{"total_tokens":7}}"#,
        r#"[{"index":0,"score":0.9},{"index":1,"score":0.1}]"#,
    ] {
        let server = posting(move |_| json(body));
        let more = ["--inputs-per-request", "2"];
        let bench = Bench::new();
        let ran = load(&bench, &server, "endpoint = \"/v1/rerank\"", &more).checked(0);
        let report = ran.report();
        assert!(report["rates"]["documents_per_second"].as_f64().unwrap() > 0.0);
        assert_eq!(report["rates"]["prompt_tokens_per_second"].is_null(), body.starts_with('['));
        assert_eq!(server.posts()[0].path, "/v1/rerank");
        let asked = server.posts()[0].json();
        assert_eq!(asked["documents"].as_array().unwrap().len(), 2);
    }
    let missing = json(r#"{"results":[{"index":0,"relevance_score":0.9}]}"#);
    check_failing(
        "endpoint = \"/v1/rerank\"",
        missing,
        "short",
        "1 score came back for 2 documents",
    );
}

#[test]
fn documents_of_asked_lengths_are_texts_and_none_comes_twice() {
    let scored = r#"{"results":[{"index":0,"relevance_score":1},{"index":1,"relevance_score":2},{"index":2,"relevance_score":3}]}"#;
    let server = posting(move |_| json(scored));
    let more = ["--inputs-per-request", "3", "--dataset", "synthetic:input=6"];
    let bench = Bench::new();
    let ran = load(&bench, &server, "endpoint = \"/v1/rerank\"", &more).checked(0);
    assert_eq!(ran.report()["scenario"]["prompts"]["used"], 2);
    // Beside them it was asked in vain for the tokens of words.
    for asked in server.posts().iter().filter(|asked| asked.path == "/v1/rerank") {
        let asked = asked.json();
        let documents = asked["documents"].as_array().unwrap();
        let texts = documents.iter().chain([&asked["query"]]);
        let texts: std::collections::BTreeSet<_> =
            texts.map(|text| text.as_str().unwrap()).collect();
        assert_eq!(texts.len(), 4, "{asked}");
    }
}

#[test]
fn a_whole_answer_of_a_server_that_streams_all_the_same_is_a_failure() {
    let stream = plain(
        200,
        "text/event-stream",
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n",
    );
    let server = posting(move |_| stream.clone());
    let bench = Bench::new();
    let ran = load(&bench, &server, "", &["--no-stream"]).checked(5);
    assert_eq!(ran.failures(), [("protocol".to_owned(), 2)]);
    let told = ran.rows()[0]["failure_detail"].as_str().unwrap().to_owned();
    assert!(told.contains("although \"stream\" was false"), "{told}");
    let asked = server.posts()[0].json();
    assert_eq!(asked["stream"], false);
    assert!(asked.get("stream_options").is_none(), "{asked}");
}

#[test]
fn whole_answers_without_usage_complete_without_token_rates() {
    let server = posting(|_| {
        json(
            r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}"#,
        )
    });
    let bench = Bench::new();
    let ran = load(&bench, &server, "", &["--no-stream"]).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["by_finish_reason"]["stop"], 2);
    assert!(report["rates"]["output_tokens_per_second"].is_null());
    assert!(report["rates"]["requests_per_second"].as_f64().unwrap() > 0.0);
}

/// The server hears what it said itself, escapes and all, and the user's next words after it.
#[test]
fn a_conversation_repeats_the_servers_own_words() {
    let server = posting(|_| {
        let event = |text: &str| {
            format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}}}}]}}\n\n")
        };
        let body = [
            event("\"one\""),
            event("\" \\\"two\\\"\\n\""),
            event("\" three é\""),
            event("\" four\""),
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n".to_owned(),
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n".to_owned(),
        ];
        plain(200, "text/event-stream", &body.concat())
    });
    let bench = Bench::new();
    let ran = load(&bench, &server, "", &["--turns", "3"]).checked(0);
    assert_eq!(ran.report()["requests"]["completed"], 6);
    let posts = server.posts();
    let said = |post: usize| posts[post].json()["messages"].as_array().unwrap().clone();
    let roles = |post: usize| -> Vec<String> {
        said(post).iter().map(|one| one["role"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(roles(0), ["user"]);
    assert_eq!(roles(2), ["user", "assistant", "user", "assistant", "user"]);
    assert_eq!(said(1)[1]["content"], "one \"two\"\n three é four");
    assert_eq!(said(2)[..3], said(1)[..3]);
}

/// What its users say next is the dataset's own, and its answers are the model's own.
#[test]
fn a_conversation_of_a_dataset_goes_on_with_its_own_words() {
    let share = |number: usize| {
        let turn = |from: &str, text: &str| json!({"from": from, "value": format!("{text} of number {number}")});
        json!({"conversations": [
            turn("human", "The first words"), turn("gpt", "An old answer"), turn("human", "The second words"),
            turn("gpt", "An old answer"), turn("human", "The third words")
        ]})
    };
    let chat = |number: usize| {
        let turn = |role: &str, text: &str| json!({"role": role, "content": format!("{text} of number {number}")});
        json!({"messages": [
            turn("user", "The first words"), turn("assistant", "An old answer"), turn("user", "The second words"),
            turn("assistant", "An old answer"), turn("user", "The third words"), turn("assistant", "An old answer")
        ]})
    };
    // A prompt after which nothing is said begins no conversation.
    let alone = json!({"conversations": [{"from": "human", "value": "I say no more than this"}, {"from": "gpt", "value": "As you like it, then"}]});
    let lines =
        |records: &[Value]| -> String { records.iter().map(|one| format!("{one}\n")).collect() };
    for (text, left_out) in
        [(lines(&[alone, share(0), share(1)]), true), (lines(&[chat(0), chat(1)]), false)]
    {
        let server = posting(|_| {
            let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"new\"}}]}\n\n";
            let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
            plain(200, "text/event-stream", &[event, end].concat())
        });
        let bench = Bench::new();
        std::fs::write(bench.path("talks.jsonl"), &text).unwrap();
        let flags = ["--turns", "3", "--dataset", "./talks.jsonl"];
        let ran = load(&bench, &server, "", &flags).checked(0);
        assert_eq!(ran.report()["requests"]["completed"], 6, "{text}");
        let told = "1 prompts of the dataset were left out: nobody says anything after";
        assert_eq!(ran.stderr.contains(told), left_out, "{}", ran.stderr);
        let posts = server.posts();
        for number in 0..2 {
            let last = posts[3 * number + 2].json();
            let said: Vec<&str> = last["messages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|message| message["content"].as_str().unwrap())
                .collect();
            let own = |words: &str| format!("The {words} words of number {number}");
            let new = || "new".to_owned();
            assert_eq!(said, [own("first"), new(), own("second"), new(), own("third")]);
        }
    }
}

/// Chats of one question each: what a user says next comes from elsewhere in the list.
#[test]
fn chats_of_one_question_are_strung_together() {
    let server = posting(|_| {
        let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"new\"},\"finish_reason\":\"stop\"}]}\n\n";
        plain(200, "text/event-stream", &[event, "data: [DONE]\n\n"].concat())
    });
    let bench = Bench::new();
    let line = |number: usize| {
        let messages = json!([{"role": "user", "content": format!("Question {number}")}]);
        format!("{}\n", json!({"messages": messages}))
    };
    let text: String = (0..4).map(line).collect();
    std::fs::write(bench.path("talks.jsonl"), text).unwrap();
    let flags = ["--turns", "2", "--dataset", "./talks.jsonl"];
    let ran = load(&bench, &server, "", &flags).checked(0);
    assert_eq!(ran.report()["requests"]["completed"], 4);
    let last = server.posts()[1].json();
    let said = |index: usize| last["messages"][index]["content"].clone();
    assert_eq!((said(0), said(2)), ("Question 0".into(), "Question 2".into()));
}
