//! `--url` at servers of other makers: what they do wrong is a failure and the first line says so; what
//! they do not say is unknown and has a reason.

use super::stranger::{Asked, Stranger, chunked, plain, stream};
use super::{Bench, Ran, metric};

const MODELS: &str = r#"{"object":"list","data":[{"id":"meta/llama","object":"model","max_model_len":4096},{"id":"other"}]}"#;
const TOKEN: &str = r#"data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#;

/// Answers like any OpenAI-compatible server to all but the load.
fn with_models(
    answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Vec<u8> {
    move |asked| match asked.method.as_str() {
        "POST" => answer(asked),
        _ if asked.path.ends_with("/v1/models") => plain(200, "application/json", MODELS),
        _ => plain(404, "application/json", r#"{"detail":"Not Found"}"#),
    }
}

fn load(bench: &Bench, url: &str, more: &[&str]) -> Ran {
    load_scenario(bench, "./brisk.toml", url, more)
}

fn load_scenario(bench: &Bench, scenario: &str, url: &str, more: &[&str]) -> Ran {
    let flags = ["--url", url, "--scenario", scenario, "--users", "2", "--n-prompts", "4"];
    // These servers answer in no time and users do not pause, so any lateness is much of the cycle.
    bench.run("out", &[&flags[..], &["--max-lateness", "1000"], more].concat())
}

/// All four requests fail as `failure`, the exit code is 5, and the first line says so.
fn check_failing(name: &str, failure: &str, detail: &str, answer: Vec<u8>) {
    let server = Stranger::answering(with_models(move |_| answer.clone()));
    let bench = Bench::new();
    let ran = load(&bench, &server.url("/v1"), &[]).checked(5);
    let first = ran.first_line();
    let said = format!("4 of 4 requests failed (4 {failure})");
    assert!(first.contains(&said), "{name}: {first}");
    assert!(first.contains("none of 4 planned requests completed"), "{name}: {first}");
    let rates = &ran.report()["rates"];
    assert_eq!(rates["requests_per_second"], 0.0, "{name}: {rates}");
    let rate = rates["output_tokens_per_second"].as_f64();
    assert!(rate.is_none_or(|rate| rate <= 0.0), "{name}: {rates}");
    let rows = ran.rows();
    let told = rows[0]["failure_detail"].as_str().unwrap();
    assert!(told.contains(detail), "{name}: {told}");
    assert!(ran.file("report.md").contains(failure), "{name}");
}

#[test]
fn an_error_inside_a_200_is_a_failure_whatever_its_shape() {
    let object = r#"data: {"error":{"message":"out of memory","type":"server_error","code":500}}"#;
    check_failing("at once", "stream_error", "out of memory", stream(&[object]));
    check_failing(
        "after two tokens",
        "stream_error",
        "out of memory",
        stream(&[TOKEN, TOKEN, object, "data: [DONE]"]),
    );
    check_failing(
        "a text",
        "stream_error",
        "overloaded",
        stream(&[TOKEN, r#"data: {"error":"overloaded"}"#]),
    );
    check_failing(
        "an event of that name",
        "stream_error",
        "boom",
        stream(&[TOKEN, "event: error\ndata: {\"message\":\"boom\"}"]),
    );
    check_failing(
        "vLLM's",
        "stream_error",
        "engine is dead",
        stream(&[
            r#"data: {"object":"error","message":"engine is dead","type":"InternalServerError","code":500}"#,
            "data: [DONE]",
        ]),
    );
}

#[test]
fn a_stream_that_stops_after_two_tokens_is_a_failure() {
    check_failing("closed", "truncated", "", stream(&[TOKEN, TOKEN]));
    let empty = TOKEN.replace(r#""finish_reason":null"#, r#""finish_reason":"""#);
    check_failing("an empty finish reason", "truncated", "", stream(&[&empty, &empty]));
    let two = [format!("{TOKEN}\n\n"), format!("{TOKEN}\n\n")];
    check_failing("ended by its last chunk", "truncated", "", chunked(&two));
    let whole = chunked(&two);
    check_failing("inside a chunk", "truncated", "", whole[..whole.len() - 20].to_vec());
}

#[test]
fn an_answer_of_two_deltas_is_no_forced_one_unless_the_server_says_so() {
    let done = "data: [DONE]";
    let finish = |reason: &str| {
        let finish = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"REASON"}]}"#;
        finish.replace("REASON", reason)
    };
    check_failing("cut", "short", "2 content deltas", stream(&[TOKEN, TOKEN, done]));
    let stopped = stream(&[TOKEN, TOKEN, &finish("stop"), done]);
    check_failing("ended by itself", "short", "finish reason \"stop\"", stopped);
    // Without a count, several tokens in a delta are no failure; the reader is told.
    let budget_used = stream(&[TOKEN, TOKEN, &finish("length"), done]);
    let server = Stranger::answering(with_models(move |_| budget_used.clone()));
    let bench = Bench::new();
    let report = load(&bench, &server.url(""), &[]).checked(0).report();
    assert!(report["warnings"].to_string().contains("forced_length_unchecked"), "{report}");
    assert!(report["rates"]["output_tokens_per_second"].is_null(), "{}", report["rates"]);
}

#[test]
fn a_status_of_500_is_a_failure_and_its_message_is_kept() {
    let body = r#"{"error":{"message":"no GPU left","type":"server_error","code":500}}"#;
    check_failing("JSON", "http_5xx", "no GPU left", plain(500, "application/json", body));
    check_failing(
        "a page of a proxy",
        "http_5xx",
        "502",
        plain(502, "text/html", "<html><h1>Bad Gateway</h1></html>"),
    );
    check_failing("not found", "http_4xx", "404", plain(404, "text/plain", "nothing here"));
    check_failing(
        "an answer that is no stream",
        "empty",
        "",
        plain(200, "text/event-stream", "data: [DONE]\n\n"),
    );
}

/// As vLLM with a reasoning parser streams, with CR LF and no usage.
fn reasoning_stream() -> Vec<u8> {
    let event = |delta: &str, finish: &str| {
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\r\n\r\n"
        )
    };
    chunked(&[
        event(r#"{"role":"assistant","content":""}"#, "null"),
        event(r#"{"reasoning_content":"let me"}"#, "null"),
        event(r#"{"reasoning_content":" think"}"#, "null"),
        event(r#"{"content":"42"}"#, "null"),
        event(r#"{"content":"."}"#, "null"),
        event("{}", r#""stop""#),
        "data: [DONE]\r\n\r\n".to_owned(),
    ])
}

/// `ignore_eos` is llama-server's; this scenario asks for nothing that OpenAI does not know.
fn load_plain(bench: &Bench, url: &str) -> Ran {
    let plain_scenario = super::BRISK.replace("ignore_eos = true", "");
    std::fs::write(bench.path("plain.toml"), plain_scenario).unwrap();
    load_scenario(bench, "./plain.toml", url, &[])
}

#[test]
fn counts_that_are_wild_or_left_out_are_unknown_and_no_zeros() {
    let most = "18446744073709551615";
    for told in [
        format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":{most},"completion_tokens":{most}}}}}"#
        ),
        r#"{"choices":[],"usage":{"prompt_tokens":5}}"#.to_owned(),
        r#"{"choices":[],"timings":{}}"#.to_owned(),
        format!(r#"{{"choices":[],"timings":{{"prompt_n":{most},"cache_n":{most}}}}}"#),
    ] {
        let told = format!("data: {told}");
        let finish = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        let answer = stream(&[TOKEN, TOKEN, finish, &told, "data: [DONE]"]);
        let server = Stranger::answering(with_models(move |_| answer.clone()));
        let bench = Bench::new();
        let ran = load_plain(&bench, &server.url("")).checked(0);
        let report = ran.report();
        let tokens = &report["reconciliation"]["tokens"];
        for count in ["usage_prompt_tokens", "usage_completion_tokens", "timings_completion_tokens"]
        {
            assert!(tokens[count].is_null(), "{told}: {tokens}");
            assert!(tokens["unknown"][count].is_string(), "{told}: {tokens}");
        }
        assert!(report["rates"]["output_tokens_per_second"].is_null(), "{told}");
        for row in ran.rows() {
            assert!(row["completion_tokens"].is_null(), "{told}: {row}");
            assert!(row["server_prefill_ms"].is_null(), "{told}: {row}");
        }
    }
}

#[test]
fn a_server_that_says_little_completes_and_the_rest_is_unknown() {
    let server = Stranger::answering(with_models(|_| reasoning_stream()));
    let bench = Bench::new();
    let ran = load_plain(&bench, &server.url("")).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 4);
    assert_eq!(report["reconciliation"]["tokens"]["content_deltas"], 16, "reasoning is content");
    assert_eq!(report["requests"]["by_finish_reason"]["stop"], 4);
    assert!(metric(&report, "ttft_ms", "p50") > 0.0);
    for pointer in [
        "/rates/output_tokens_per_second",
        "/metrics/queue_ms/p50",
        "/metrics/completion_tokens/p50",
        "/server/total_slots",
        "/server/exit",
        "/model",
        "/resources/server",
    ] {
        assert!(report.pointer(pointer).is_none_or(serde_json::Value::is_null), "{pointer}");
    }
    assert_eq!(report["server"]["kind"], "external");
    // Nothing of llama-server's dialect is sent to a server that did not show that it speaks it.
    let sent = server.posts()[0].json();
    for field in ["cache_prompt", "ignore_eos", "n_predict", "id_slot"] {
        assert!(sent.get(field).is_none(), "{field}: {sent}");
    }
    assert_eq!(sent["stream_options"]["include_usage"], true);
}

#[test]
fn reasoning_that_is_counted_and_never_streamed_is_told() {
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":12,"total_tokens":17,"completion_tokens_details":{"reasoning_tokens":10}}}"#;
    let finish = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let answer = stream(&[TOKEN, TOKEN, finish, usage, "data: [DONE]"]);
    let server = Stranger::answering(with_models(move |_| answer.clone()));
    let bench = Bench::new();
    let ran = load_plain(&bench, &server.url("")).checked(0);
    let report = ran.report();
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("of 4 of 4 completed requests the server counted reasoning"),
        "{warnings}"
    );
    assert_eq!(report["reconciliation"]["tokens"]["usage_completion_tokens"], 48);
    for row in ran.rows() {
        assert_eq!((&row["completion_tokens"], &row["reasoning_tokens"]), (&12.into(), &10.into()));
    }
}

#[test]
fn urls_are_taken_with_and_without_v1_and_with_a_prefix() {
    for (path, asked) in [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/gateway", "/gateway/v1/chat/completions"),
        ("/gateway/v1", "/gateway/v1/chat/completions"),
    ] {
        let server = Stranger::answering(with_models(|_| reasoning_stream()));
        let bench = Bench::new();
        let ran = load(&bench, &server.url(path), &[]);
        assert_ne!(ran.exit, 2, "{}", ran.stderr);
        let posts = server.posts();
        assert_eq!(posts.len(), 4, "{path}");
        assert!(posts.iter().all(|post| post.path == asked), "{path}: {}", posts[0].path);
        let models = asked.replace("chat/completions", "models");
        assert!(server.log().iter().any(|asked| asked.path == models), "{path}: {models}");
    }
}

#[test]
fn the_model_the_key_and_the_headers_are_sent_and_the_key_is_never_shown() {
    let answer = |asked: &Asked| match asked.header("authorization") {
        Some("Bearer s3cret-key") => reasoning_stream(),
        _ => plain(401, "application/json", r#"{"error":{"message":"wrong key"}}"#),
    };
    let server = Stranger::answering(with_models(answer));
    let bench = Bench::new();
    let flags = ["--api-key", "s3cret-key", "--header", "X-Team=blue-s3cret", "--max-tokens", "3"];
    let ran = load(&bench, &server.url("/v1"), &flags);
    let post = server.posts().pop().unwrap();
    assert_eq!(post.json()["model"], "meta/llama", "the first model that it offers");
    assert_eq!(post.header("x-team"), Some("blue-s3cret"));
    assert_eq!(post.json()["max_tokens"], 3);
    assert_eq!(post.header("x-bench-ci-request"), None, "our own tag is for servers of ours");
    let models = server.log().into_iter().find(|asked| asked.path == "/v1/models").unwrap();
    assert_eq!(models.header("authorization"), Some("Bearer s3cret-key"));
    assert!(!ran.rows().is_empty(), "{}", ran.stderr);
    for entry in std::fs::read_dir(&ran.out).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("s3cret"), "{} holds a secret", path.display());
    }
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("s3cret"));

    let ran = load(&bench, &server.url("/v1"), &["--request-model", "other"]).checked(5);
    assert!(ran.first_line().contains("4 http_4xx"), "{}", ran.first_line());
    assert_eq!(server.posts().pop().unwrap().json()["model"], "other");
}
