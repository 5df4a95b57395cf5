//! Files of every kind, whole and hostile: what is kept, and which line is blamed.

use std::time::Duration;

use bench_ci::cancel::Cancel;
use bench_ci::dataset::{Ask, Carries, Content, DatasetError, Prompt, PromptSet};
use bench_ci::event::Events;
use bench_ci::exit::ExitCode;
use bench_ci::plan::{DatasetSpec, PromptFilter};
use serde_json::json;

use super::{no_hub, said};

/// chat's own lengths, which hold for conversations and not for prompts that somebody wrote down.
const FILTER: PromptFilter =
    PromptFilter { min_words: 4, max_prompt_words: Some(1024), max_context_words: Some(2048) };

async fn read_as(
    name: &str,
    text: &[u8],
    carries: Carries,
    limit: Option<u64>,
) -> Result<PromptSet, DatasetError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    let spec = match name.strip_prefix("trace.") {
        Some(_) => DatasetSpec::Trace { path },
        None => DatasetSpec::File { path },
    };
    let ask = Ask { spec, filter: FILTER, limit, carries, seed: 42 };
    bench_ci::dataset::load(&ask, None, &no_hub, &Events::default(), &Cancel::never()).await
}

async fn prompts(name: &str, text: &str) -> Vec<Prompt> {
    let read = read_as(name, text.as_bytes(), Carries::Chats, None).await;
    read.unwrap_or_else(|error| panic!("{name} {text:?}: {}", said(&error))).prompts
}

async fn texts(name: &str, text: &str) -> Vec<String> {
    let prompts = prompts(name, text).await;
    prompts.iter().map(|prompt| prompt.text().expect("a text").to_owned()).collect()
}

#[tokio::test]
async fn every_kind_of_file_gives_its_prompts_in_order() {
    let expected = ["Hi", "How are you, then?"];
    for (name, text) in [
        ("a.jsonl", "{\"prompt\": \"Hi\"}\n{\"text\": \"How are you, then?\", \"x\": 1}\n"),
        ("a.ndjson", "\u{feff}{\"prompt\": \"Hi\"}\r\n\r\n{\"prompt\": \"How are you, then?\"}"),
        ("a.json", "[{\"prompt\": \"Hi\"},\n{\"question\": \"How are you, then?\"}]"),
        ("a.json", "{\"prompt\": \"Hi\"}\n{\"prompt\": \"How are you, then?\"}"),
        ("a.jsonl", "[{\"prompt\": \"Hi\"}, {\"prompt\": \"How are you, then?\"}]"),
        ("a.csv", "id,prompt\n1,Hi\n2,\"How are you, then?\"\n"),
        ("a.csv", "\u{feff} Prompt \r\nHi\r\n\"How are you, then?\"\r\n"),
        ("a.tsv", "text\tx\nHi\t1\nHow are you, then?\t2"),
        ("a.txt", "\u{feff}Hi\r\n\r\nHow are you, then?\r\n"),
        ("a", "Hi\nHow are you, then?"),
    ] {
        assert_eq!(texts(name, text).await, expected, "{name} {text:?}");
    }
    let quoted = "prompt,max_tokens\n\"one \"\"two\"\"\nthree\",7\nfour,\n";
    let read = prompts("a.csv", quoted).await;
    assert_eq!(read[0].text(), Some("one \"two\"\nthree"));
    assert_eq!((read[0].max_tokens, read[1].max_tokens), (Some(7), None));
}

#[tokio::test]
async fn a_record_brings_its_name_its_budget_and_its_chat() {
    let lines = [
        r#"{"id": "a", "prompt": "Hi", "max_tokens": 5}"#,
        r#"{"question_id": 81, "turns": ["First", "Then"], "output_tokens": 6.0}"#,
        r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "one two three"}]}"#,
        r#"{"custom_id": "b", "method": "POST", "body": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}}"#,
        r#"{"conversations": [{"from": "human", "value": "one two three four"}, {"from": "gpt", "value": "a b c d"}]}"#,
        r#"{"prompt": "half \ud83d of a pair"}"#,
    ];
    let read = prompts("a.jsonl", &lines.join("\n")).await;
    let names: Vec<_> = read.iter().map(|prompt| prompt.id.as_deref()).collect();
    assert_eq!(names, [Some("a"), Some("81"), None, Some("b"), None, None]);
    let budgets: Vec<_> = read.iter().map(|prompt| prompt.max_tokens).collect();
    assert_eq!(budgets, [Some(5), Some(6), None, Some(9), None, None]);
    assert_eq!(read[1].turns, ["Then"]);
    let Content::Chat(messages) = &read[2].content else { panic!("{:?}", read[2]) };
    assert_eq!((messages.len(), read[2].answer_words), (1, Some(3)));
    assert!(matches!(&read[3].content, Content::Chat(_)));
    assert_eq!(read[4].text(), Some("one two three four"));
    assert_eq!(read[5].text(), Some("half \u{fffd} of a pair"));

    let both = br#"{"prompt": "Hi", "prompt_token_ids": [1, 2]}"#;
    let of = async |carries| {
        let set = read_as("a.jsonl", both, carries, None).await.expect("prompts");
        set.prompts[0].content.clone()
    };
    assert_eq!(of(Carries::Chats).await, Content::Text("Hi".to_owned()));
    assert_eq!(of(Carries::Texts).await, Content::Tokens(vec![1, 2]));
    assert_eq!(of(Carries::Words).await, Content::Text("Hi".to_owned()));
}

/// In whatever field it stands, and of whatever kind the file is.
#[tokio::test]
async fn half_a_surrogate_pair_ends_no_reading() {
    let records = [
        r#"{"prompt": "cut \ud83d"}"#,
        r#"{"messages": [{"role": "user", "content": "\ude00 cut"}], "id": "\ud83d"}"#,
        r#"{"\ud83d": 1, "prompt": "whole \ud83d\ude00", "note": "\ud83d"}"#,
        r#"{"conversations": [{"from": "human", "value": "it is cut here \ud83d"}, {"from": "gpt", "value": "a b c d \ud83d"}]}"#,
    ];
    let expected = ["cut \u{fffd}", "\u{fffd} cut", "whole \u{1f600}", "it is cut here \u{fffd}"];
    let lines = records.join("\n");
    let array = format!("[{}]", records.join(","));
    for (name, text) in [("a.jsonl", &lines), ("a.json", &lines), ("a.json", &array)] {
        let read = prompts(name, text).await;
        let read: Vec<_> = read.iter().map(|prompt| prompt.last_words().expect("words")).collect();
        assert_eq!(read, expected, "{name} {text}");
    }
    let request = r#"{"timestamp": 0, "prompt": "cut \ud83d"}"#;
    for (name, text) in
        [("trace.jsonl", request.to_owned()), ("trace.json", format!("[{request}]"))]
    {
        assert_eq!(texts(name, &text).await, ["cut \u{fffd}"], "{name}");
    }
}

#[tokio::test]
async fn a_trace_may_be_an_array_or_have_line_ends_inside() {
    let requests = [
        "{\n  \"timestamp\": 100,\n  \"input_length\": 6\n}",
        "{\n  \"timestamp\": 350,\n  \"input_length\": 5\n}",
    ];
    let [array, in_a_row] = [format!(" [\n{}\n]\n", requests.join(",\n")), requests.join("\n")];
    for (name, text) in [
        ("trace.json", &array),
        ("trace.jsonl", &array),
        ("trace.", &array),
        ("trace.json", &in_a_row),
    ] {
        let read = read_as(name, text.as_bytes(), Carries::Chats, None).await;
        let set = read.unwrap_or_else(|error| panic!("{name} {text}: {}", said(&error)));
        let read: Vec<_> =
            set.prompts.iter().map(|prompt| (prompt.arrival, prompt.prompt_words)).collect();
        let after = Duration::from_millis(250);
        assert_eq!(read, [(Some(Duration::ZERO), 6), (Some(after), 5)], "{name} {text}");
        assert_eq!(set.kind, "trace");
    }
}

/// Of one line: the roles of what opens the conversation, what its user says later, and the length of
/// the dataset's first answer.
async fn begun(line: &str) -> (Vec<String>, Vec<String>, Option<u64>) {
    let set = read_as("a.jsonl", line.as_bytes(), Carries::Conversations, None).await;
    let prompt = set.unwrap_or_else(|error| panic!("{line}: {}", said(&error))).prompts.remove(0);
    let roles = match &prompt.content {
        Content::Chat(messages) => messages.iter().map(|message| message.role.clone()).collect(),
        _ => vec!["text".to_owned()],
    };
    (roles, prompt.turns, prompt.answer_words)
}

#[tokio::test]
async fn a_chat_is_taken_apart_where_conversations_are_held() {
    let chat = |messages: &[(&str, &str)]| {
        let messages = messages.iter().map(|(role, text)| json!({"role": role, "content": text}));
        json!({"messages": messages.collect::<Vec<_>>()}).to_string()
    };
    let (system, user, assistant) = ("system", "user", "assistant");
    for (messages, roles, later, answer) in [
        (
            &[(system, "s"), (user, "a"), (assistant, "one two"), (user, "b"), (assistant, "x")][..],
            &["system", "user"][..],
            &["b"][..],
            Some(2),
        ),
        (
            &[
                (user, "a"),
                (user, "b"),
                (assistant, "x"),
                (user, "c"),
                (assistant, "y"),
                (user, "d"),
            ],
            &["user", "user"],
            &["c", "d"],
            Some(1),
        ),
        (
            &[(assistant, "Hello"), (user, "a"), (assistant, "x")],
            &["assistant", "user"],
            &[],
            Some(1),
        ),
        (&[(user, "a")], &["user"], &[], None),
    ] {
        let owned =
            |list: &[&str]| -> Vec<String> { list.iter().map(|text| (*text).to_owned()).collect() };
        let expected = (owned(roles), owned(later), answer);
        assert_eq!(begun(&chat(messages)).await, expected, "{messages:?}");
    }
    let parts = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]}]}"#;
    assert_eq!(begun(parts).await.1, ["b\nc"]);
    // Whoever sends one request sends all of it.
    let whole = prompts("a.jsonl", parts).await;
    assert!(matches!(&whole[0].content, Content::Chat(messages) if messages.len() == 3));
    assert_eq!(whole[0].turns, [""; 0]);
    for (last, words) in [
        (r#"{"role": "tool", "content": "5"}"#, "messages[2] is of the role \"tool\""),
        (
            r#"{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}"#,
            "messages[2] holds more than text",
        ),
    ] {
        let line = format!(
            r#"{{"messages": [{{"role": "user", "content": "a"}}, {{"role": "assistant", "content": "x"}}, {last}, {{"role": "user", "content": "b"}}]}}"#
        );
        let read = read_as("a.jsonl", line.as_bytes(), Carries::Conversations, None).await;
        let error = read.expect_err(words);
        assert!(said(&error).contains(words), "{}", said(&error));
        assert_eq!(prompts("a.jsonl", &line).await.len(), 1);
    }
}

/// What is wrong is an error with its line, never a line left out.
#[tokio::test]
async fn a_hostile_file_is_told_with_its_line() {
    let good = "{\"prompt\": \"Hi\"}\n".repeat(16);
    let jsonl = |line: &str| format!("{good}{line}\n{good}").into_bytes();
    let cases: [(&str, Vec<u8>, &str); 32] = [
        ("a.jsonl", jsonl("{\"prompt\": \"Hi\""), "at line 17: "),
        ("a.jsonl", jsonl("{'prompt': 'Hi'}"), "at line 17: "),
        ("a.jsonl", jsonl("\"Hi\""), "at line 17: invalid type: string \"Hi\", expected a record"),
        ("a.jsonl", jsonl("{}"), "at line 17: no prompt: expected \"prompt\""),
        ("a.jsonl", jsonl("{\"promt\": \"Hi\"}"), "did you mean \"prompt\"?"),
        (
            "a.jsonl",
            jsonl("{\"prompt\": 5}"),
            "at line 17: \"prompt\" is a number; expected a text",
        ),
        ("a.jsonl", jsonl("{\"prompt\": \"\"}"), "at line 17: \"prompt\" is empty"),
        ("a.jsonl", jsonl("{\"prompt\": null}"), "at line 17: no prompt"),
        (
            "a.jsonl",
            jsonl("{\"prompt\": \"a\", \"max_tokens\": 0}"),
            "\"max_tokens\" is 0; expected",
        ),
        ("a.jsonl", jsonl("{\"prompt\": \"a\", \"max_tokens\": -1}"), "whole number from 1"),
        ("a.jsonl", jsonl("{\"prompt\": \"a\", \"output_tokens\": 1.5}"), "whole number from 1"),
        ("a.jsonl", jsonl("{\"prompt\": \"a\", \"max_tokens\": \"b\"}"), "whole number from 1"),
        ("a.jsonl", jsonl("{\"messages\": []}"), "holds nothing that a user says"),
        (
            "a.jsonl",
            jsonl("{\"messages\": [{\"content\": \"a\"}]}"),
            "messages[0] has no text \"role\"",
        ),
        ("a.jsonl", jsonl("{\"messages\": \"a\"}"), "\"messages\" is a text; expected a list"),
        ("a.jsonl", jsonl("{\"prompt_token_ids\": [1, 2]}"), "which the chat route does not take"),
        ("a.jsonl", jsonl("{\"prompt\": \"a\0b\"}"), "at line 17: byte 14 of the line is zero"),
        (
            "a.jsonl",
            [good.as_bytes(), b"{\"prompt\": \"\xff\"}"].concat(),
            "at line 17: byte 13 of the line is not UTF-8",
        ),
        ("a.jsonl", b"\xff\xfe{\0".to_vec(), "UTF-16"),
        ("a.jsonl", b"\x1f\x8b\x08".to_vec(), "gzip"),
        ("a.parquet", b"PAR1....".to_vec(), "Parquet"),
        (
            "a.json",
            b"[{\"prompt\": \"a\"}, {\"prompt\": 5}]".to_vec(),
            "at record 2: \"prompt\" is a number",
        ),
        (
            "a.csv",
            b"a,b\n1,2\n".to_vec(),
            "at line 1: no column \"prompt\" or \"text\"; there is \"a\", \"b\"",
        ),
        (
            "a.csv",
            b"prompt,x\na,1\nb\n".to_vec(),
            "at line 3: the row has 1 cells and the header 2",
        ),
        ("a.csv", b"prompt\n\"a\nb\nc\n".to_vec(), "a quote is opened and never closed"),
        ("a.csv", b"prompt,max_tokens\na,1\nb,x\n".to_vec(), "at line 3: \"max_tokens\""),
        ("a.csv", b"prompt\n\xff\n".to_vec(), "at line 2: a cell is not UTF-8"),
        (
            "trace.jsonl",
            b"{\"timestamp\": 2, \"prompt\": \"a\"}\n{\"timestamp\": 1, \"prompt\": \"a\"}"
                .to_vec(),
            "at line 2: its timestamp lies 1 s before",
        ),
        (
            "trace.json",
            b"[{\"timestamp\": 2, \"prompt\": \"a\"},\n{\"timestamp\": 1, \"prompt\": \"a\"}]"
                .to_vec(),
            "at record 2: its timestamp lies 1 s before",
        ),
        (
            "trace.json",
            b"[{\"prompt\": \"a\"}]".to_vec(),
            "hint: expected [{\"timestamp\": 0, \"input_length\": 512",
        ),
        ("trace.txt", b"Hi".to_vec(), "a trace is a JSON, JSONL or CSV file"),
        (
            "trace.csv",
            b"TIMESTAMP,Tokens\n1,2\n".to_vec(),
            "at line 1: no column with the prompt or its length",
        ),
    ];
    for (name, text, words) in cases {
        let read = read_as(name, &text, Carries::Chats, None).await;
        let error = read.expect_err(words);
        assert!(said(&error).contains(words), "{name}: {} instead of {words}", said(&error));
        assert_eq!(error.exit_code(), ExitCode::Usage, "{name}: {}", said(&error));
    }
    for (name, text) in [
        ("a.jsonl", ""),
        ("a.jsonl", "\n \n"),
        ("a.csv", "prompt\n"),
        ("a.csv", ""),
        ("a.txt", "\n"),
        ("a.json", "[]"),
    ] {
        let error = read_as(name, text.as_bytes(), Carries::Chats, None).await.expect_err(name);
        assert!(matches!(error, DatasetError::Empty { .. }), "{name} {text:?}: {}", said(&error));
    }
    // A chat needs a chat.
    let chat = b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}";
    let error = read_as("a.jsonl", chat, Carries::Texts, None).await.expect_err("a chat");
    assert!(said(&error).contains("/v1/chat/completions"), "{}", said(&error));
    let ids = b"{\"prompt_token_ids\": [1, 2]}";
    let error = read_as("a.jsonl", ids, Carries::Words, None).await.expect_err("token ids");
    assert!(said(&error).contains("reranking does not take"), "{}", said(&error));
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_a_prompt_and_a_limit_ends_the_reading() {
    let long = "a".repeat(10_000_000);
    let text = format!("{{\"prompt\": \"{long}\"}}\n{{\"prompt\": \"b\"}}\nno JSON");
    let set = read_as("a.jsonl", text.as_bytes(), Carries::Chats, Some(2)).await.expect("two");
    assert_eq!(set.prompts[0].text().map(str::len), Some(10_000_000));
    assert_eq!((set.kind, set.kept), ("jsonl", 2));
}

#[tokio::test]
async fn a_table_of_azure_is_a_trace() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
                2023-11-16 18:15:46.6805900,374,44\r\n\
                2023-11-16 18:15:50.9951690,396,109\r\n";
    let read = prompts("trace.csv", text).await;
    let arrivals: Vec<_> = read.iter().map(|prompt| prompt.arrival).collect();
    assert_eq!(arrivals, [Some(Duration::ZERO), Some(Duration::from_nanos(4_314_579_000))]);
    let lengths: Vec<_> =
        read.iter().map(|prompt| (prompt.prompt_words, prompt.max_tokens)).collect();
    assert_eq!(lengths, [(374, Some(44)), (396, Some(109))]);
}
