//! Datasets as they are found on disk and on the Hub: whole, cut, odd, huge.

mod files;
mod parquet;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bench_ci::cancel::{self, Cancel, StopReason};
use bench_ci::dataset::{
    Ask, Carries, DatasetError, FetchError, Fetched, HubFile, LeftOut, Prompt, PromptSet, SHAREGPT,
};
use bench_ci::event::{Event, Events, Listener};
use bench_ci::exit::ExitCode;
use bench_ci::plan::{DatasetSpec, PromptFilter};
use serde_json::{Value, json};

const ALL: PromptFilter =
    PromptFilter { min_words: 0, max_prompt_words: None, max_context_words: None };
const SCRIPT_JS: PromptFilter =
    PromptFilter { min_words: 4, max_prompt_words: Some(1024), max_context_words: Some(2048) };

/// A way to the Hub that nobody may take.
async fn no_hub(_file: HubFile) -> Result<Fetched, FetchError> {
    Err(FetchError { source: "the Hub was asked".into(), hint: None })
}

/// Of this dataset, for a chat.
async fn load(
    spec: &DatasetSpec,
    filter: &PromptFilter,
    limit: Option<u64>,
    cache_dir: Option<&Path>,
    fetch: &impl bench_ci::dataset::Fetch,
    events: &Events,
    cancel: &Cancel,
) -> Result<PromptSet, DatasetError> {
    let (spec, filter, carries) = (spec.clone(), *filter, Carries::Chats);
    let ask = Ask { spec, filter, limit, carries, seed: 42 };
    bench_ci::dataset::load(&ask, cache_dir, fetch, events, cancel).await
}

/// What its people say later, prompt by prompt, where conversations are held.
fn later(set: &PromptSet) -> Vec<Vec<&str>> {
    set.prompts.iter().map(|prompt| prompt.turns.iter().map(String::as_str).collect()).collect()
}

async fn load_file(
    path: &Path,
    filter: PromptFilter,
    limit: Option<u64>,
) -> Result<PromptSet, DatasetError> {
    let spec = DatasetSpec::File { path: path.to_path_buf() };
    load(&spec, &filter, limit, None, &no_hub, &Events::default(), &Cancel::never()).await
}

async fn load_text(
    text: impl AsRef<[u8]>,
    filter: PromptFilter,
    limit: Option<u64>,
) -> Result<PromptSet, DatasetError> {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_ref()).expect("written");
    load_file(file.path(), filter, limit).await
}

fn text(prompt: &Prompt) -> &str {
    prompt.text().expect("a text")
}

fn texts(set: &PromptSet) -> Vec<&str> {
    set.prompts.iter().map(text).collect()
}

fn talk(prompt: &str, answer: &str) -> Value {
    json!({"id": "x", "conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]})
}

/// A text of this many words.
fn long(words: usize) -> String {
    vec!["w"; words].join(" ")
}

/// The whole error chain and hint.
fn said(error: &DatasetError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    error.hint().map_or(text.clone(), |hint| format!("{text}\nhint: {hint}"))
}

#[derive(Clone, Default)]
struct Heard(std::sync::Arc<Mutex<Vec<Event>>>);

impl Listener for Heard {
    fn on_event(&self, event: &Event) {
        self.0.lock().expect("no listener panics").push(event.clone());
    }
}

impl Heard {
    fn events(&self) -> Events {
        Events::new(vec![Box::new(self.clone())])
    }

    fn warnings(&self) -> Vec<String> {
        let events = self.0.lock().expect("no listener panics");
        events
            .iter()
            .filter_map(|event| match event {
                Event::Warning { message } => Some(message.clone()),
                _ => None,
            })
            .collect()
    }
}

#[tokio::test]
async fn the_filters_are_those_of_script_js_in_file_order() {
    let records = json!([
        {"conversations": []},
        {"conversations": [{"from": "human", "value": "only one turn here"}]},
        {"conversations": [{"from": "gpt", "value": "the assistant speaks first"}, {"from": "human", "value": "b"}]},
        talk("too few words", "one two three four"),
        talk("enough words are here", "not here, no"),          // 4 pieces: "not", "here", "", "no"
        talk("too short an answer", "one two three"),
        talk(&long(1024), &long(1024)),
        talk(&long(1025), "one two three four"),
        talk(&long(1024), &long(1025)),
        {"conversations": [
            {"from": "human", "value": "the answer's speaker does not matter"},
            {"from": "system", "value": "as in the script itself"},
            {"from": "human", "value": null},
            {"value": 5, "markdown": {"deep": [1, 2, {"a": "\u{1f600}"}]}}
        ], "id": 7},
        {"conversations": [{"value": "nobody says this"}, {"value": "nor this"}]},
    ]);
    let set = load_text(records.to_string(), SCRIPT_JS, None).await.expect("prompts");
    assert_eq!(
        texts(&set),
        ["enough words are here", &long(1024), "the answer's speaker does not matter"]
    );
    assert_eq!(
        set.left_out,
        LeftOut { not_human_first: 4, too_short: 2, prompt_too_long: 1, context_too_long: 1 }
    );
    assert_eq!((set.seen, set.kept, set.repeated), (11, 3, 0));
    assert_eq!((set.prompts[0].prompt_words, set.prompts[0].answer_words), (4, Some(4)));
    assert_eq!(set.prompts[2].prompt_words, 7, "the apostrophe splits");
}

/// Who begins, and in which order, is script.js's business; conversations only know more of each.
#[tokio::test]
async fn a_conversation_keeps_what_its_human_says_later() {
    let turn = |from: &str, value: &str| json!({"from": from, "value": value});
    let records = json!([
        {"conversations": [
            turn("human", "the first words of all"), turn("gpt", "an answer of four words"),
            turn("human", "and then this"), turn("gpt", "x"), turn("human", "at last")
        ]},
        {"conversations": [turn("gpt", "nobody asked me for this"), turn("human", "a b c d e")]},
        talk("nothing comes after this one", "one two three four"),
        {"conversations": [
            turn("human", "said in two pieces here"), turn("human", "which is the other piece"),
            turn("system", "x"), turn("human", " "), {"from": "human"}, turn("human", "cut \u{fffd}")
        ]},
    ]);
    let text = records.to_string().replace('\u{fffd}', "\\ud83d");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    let of = async |carries| {
        let spec = DatasetSpec::File { path: file.path().to_path_buf() };
        let ask = Ask { spec, filter: SCRIPT_JS, limit: None, carries, seed: 42 };
        let (events, cancel) = (Events::default(), Cancel::never());
        let read = bench_ci::dataset::load(&ask, None, &no_hub, &events, &cancel).await;
        read.unwrap_or_else(|error| panic!("{}", said(&error)))
    };
    let (chats, held) = (of(Carries::Chats).await, of(Carries::Conversations).await);
    assert_eq!(texts(&held), texts(&chats));
    assert_eq!((held.seen, held.left_out), (chats.seen, chats.left_out));
    let none: [&str; 0] = [];
    assert_eq!(later(&chats), [none; 3]);
    let cut = ["which is the other piece", "cut \u{fffd}"];
    assert_eq!(later(&held), [&["and then this", "at last"][..], &none, &cut]);
    // What is sent is other work, and has another digest.
    assert_ne!(held.sha256, chats.sha256);
}

#[tokio::test]
async fn a_limit_ends_the_reading() {
    // What follows the second prompt is no JSON at all, and nobody looks at it.
    let text = format!("[{},{},{}, this is broken", talk("a", "b"), talk("c", "d"), talk("e", "f"));
    let set = load_text(&text, ALL, Some(2)).await.expect("prompts");
    assert_eq!((texts(&set), set.seen), (vec!["a", "c"], 2));
    assert!(load_text(&text, ALL, Some(4)).await.is_err());
    assert!(load_text(&text, ALL, None).await.is_err());
}

#[tokio::test]
async fn too_few_prompts_for_a_limit_are_a_warning() {
    let heard = Heard::default();
    let spec = DatasetSpec::Builtin;
    let cancel = Cancel::never();
    let all = load(&spec, &SCRIPT_JS, None, None, &no_hub, &heard.events(), &cancel)
        .await
        .expect("prompts");
    assert_eq!(heard.warnings(), Vec::<String>::new());
    let more =
        load(&spec, &SCRIPT_JS, Some(all.kept + 1), None, &no_hub, &heard.events(), &cancel).await;
    assert_eq!(more.expect("prompts").kept, all.kept);
    assert_eq!(
        heard.warnings(),
        Vec::<String>::new(),
        "how many are enough is the caller's to say"
    );
}

#[tokio::test]
async fn one_record_a_line_is_read_too() {
    let text = format!("\u{feff}\n{}\n\n{}\n", talk("a", "b"), talk("c", "d"));
    assert_eq!(texts(&load_text(&text, ALL, None).await.expect("prompts")), ["a", "c"]);
}

#[tokio::test]
async fn half_a_surrogate_pair_does_not_end_the_reading() {
    let text = r#"[{"conversations":[{"from":"human","value":"cut \ud83d here"},{"from":"gpt","value":"\ude00 x"}]},
        {"conversations":[{"from":"human","value":"whole \ud83d\ude00 é"},{"from":"gpt","value":"x"}]}]"#;
    let set = load_text(text, ALL, None).await.expect("prompts");
    assert_eq!(texts(&set), ["cut \u{fffd} here", "whole \u{1f600} é"]);
    assert_eq!(set.prompts[0].answer_words, Some(2));
}

#[tokio::test]
async fn a_broken_file_says_where_and_what_to_do() {
    let good = talk("a", "b");
    for (text, part, hint) in [
        (
            format!("[{good},\n{{\"conversations\": [{{\"from\": \"hum"),
            "record 2: EOF",
            "ends in the middle",
        ),
        (
            format!("[{good},\n{good}"),
            "record 3: EOF while parsing a list at line 2",
            "ends in the middle",
        ),
        (
            format!("[{good},\n5]"),
            "record 2: invalid type: integer `5`, expected a record",
            "expected [{",
        ),
        (format!("[{good} {good}]"), "record 2: expected `,` or `]` at line 1", "expected [{"),
        (
            "[{\"conversations\":[{\"from\":\"human\"},{\"value\":\"x\"}]}]".to_owned(),
            "record 1: the first turn has no text \"value\" at line 1",
            "expected [{",
        ),
        ("[{\"chat\":[]}]".to_owned(), "record 1: no prompt: expected \"prompt\"", "expected [{"),
        (format!("[{good}] x"), "record 2: trailing characters", "expected [{"),
    ] {
        let error = load_text(&text, ALL, None).await.expect_err("it is broken");
        let said = said(&error);
        assert!(said.contains(part) && said.contains(hint), "{text}\n{said}");
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
}

#[tokio::test]
async fn a_missing_file_and_a_folder_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, part) in [
        (folder.path().join("absent.json"), "No such file"),
        (folder.path().to_path_buf(), "is a directory"),
    ] {
        let said = said(&load_file(&path, ALL, None).await.expect_err("no file"));
        assert!(said.starts_with("cannot open the dataset \"") && said.contains(part), "{said}");
        assert!(
            said.contains("hint: give the path of a JSON, JSONL, Parquet, CSV or text file"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn nothing_left_says_how_many_were_seen_and_what_removed_them() {
    let text =
        json!([talk(&long(50), &long(5)), talk(&long(60), &long(5)), talk("a", "b")]).to_string();
    let filter = PromptFilter { max_prompt_words: Some(20), ..SCRIPT_JS };
    let error = load_text(&text, filter, None).await.expect_err("nothing is left");
    let said = said(&error);
    assert!(said.contains("is left: 3 seen, 1 too short, 2 with too long a prompt"), "{said}");
    assert!(said.ends_with("hint: raise --max-prompt-tokens, which is 20"), "{said}");
    let error = load_text("[]", ALL, None).await.expect_err("nothing is there");
    assert!(matches!(error, DatasetError::Empty { .. }), "{error:?}");
    assert!(load_text("", ALL, None).await.is_err());
}

#[tokio::test]
async fn repeated_prompts_are_counted_and_the_digest_tells_sets_apart() {
    let one =
        load_text(json!([talk("a", "x"), talk("b", "x"), talk("a", "y")]).to_string(), ALL, None)
            .await;
    let one = one.expect("prompts");
    assert_eq!((one.kept, one.repeated), (3, 1));
    let other =
        load_text(json!([talk("ab", "x"), talk("", "x"), talk("a", "y")]).to_string(), ALL, None)
            .await;
    assert_ne!(one.sha256, other.expect("prompts").sha256);
    assert_eq!(one.sha256.len(), 64);
}

#[tokio::test]
async fn a_stop_ends_the_reading() {
    let (canceller, cancel) = cancel::pair();
    canceller.stop(StopReason::Interrupted);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(json!([talk("a", "b")]).to_string().as_bytes()).expect("written");
    let spec = DatasetSpec::File { path: file.path().to_path_buf() };
    let stopped = load(&spec, &ALL, None, None, &no_hub, &Events::default(), &cancel).await;
    assert_eq!(stopped.expect_err("stopped").exit_code(), ExitCode::Interrupted);
    let forever = |_file: HubFile| std::future::pending::<Result<Fetched, FetchError>>();
    let stopped =
        load(&DatasetSpec::ShareGptHub, &ALL, None, None, &forever, &Events::default(), &cancel)
            .await;
    assert!(
        matches!(stopped, Err(DatasetError::Cancelled(StopReason::Interrupted))),
        "{stopped:?}"
    );
}

/// The built-in corpus is what a first run measures; these are the promises made about it.
#[tokio::test]
async fn the_built_in_corpus_is_varied_and_passes_the_chat_filters() {
    let set = load(
        &DatasetSpec::Builtin,
        &SCRIPT_JS,
        None,
        None,
        &no_hub,
        &Events::default(),
        &Cancel::never(),
    )
    .await
    .expect("prompts");
    assert_eq!((set.kept, set.seen, set.repeated), (set.seen, set.kept, 0), "{:?}", set.left_out);
    assert!((110..=160).contains(&set.kept), "{}", set.kept);
    let mut words: Vec<u64> = set.prompts.iter().map(|prompt| prompt.prompt_words).collect();
    words.sort_unstable();
    let (shortest, median, longest) = (words[0], words[words.len() / 2], words[words.len() - 1]);
    assert!(
        shortest <= 8 && (15..=120).contains(&median) && (400..=900).contains(&longest),
        "{words:?}"
    );
    let bytes: usize = set.prompts.iter().map(|prompt| text(prompt).len()).sum();
    assert!(bytes < 200_000, "{bytes}");
    assert!(
        set.prompts.iter().any(|prompt| text(prompt).contains("日")),
        "other scripts are there"
    );
    assert!(set.prompts.iter().any(|prompt| text(prompt).contains("```")), "code is there");
    assert!(
        set.prompts.iter().all(|prompt| text(prompt).trim() == text(prompt)),
        "no stray blanks"
    );
}

/// A Hub that hands out one file and counts how often it is asked.
struct Hub {
    path: PathBuf,
    sha256: Option<String>,
    asked: AtomicUsize,
}

impl bench_ci::dataset::Fetch for Hub {
    async fn fetch(&self, file: HubFile) -> Result<Fetched, FetchError> {
        assert_eq!(file, SHAREGPT);
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(Fetched { path: self.path.clone(), sha256: self.sha256.clone() })
    }
}

struct HubCase {
    folder: tempfile::TempDir,
    hub: Hub,
    carries: Carries,
    heard: Heard,
}

impl HubCase {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("source.json");
        fs::write(&path, text).expect("written");
        let hub = Hub { path, sha256: Some("abc".to_owned()), asked: AtomicUsize::new(0) };
        Self { folder, hub, carries: Carries::Chats, heard: Heard::default() }
    }

    async fn load(&self, limit: Option<u64>) -> Result<PromptSet, DatasetError> {
        let cache = self.folder.path().join("cache");
        let (spec, filter, carries) = (DatasetSpec::ShareGptHub, SCRIPT_JS, self.carries);
        let ask = Ask { spec, filter, limit, carries, seed: 42 };
        let (events, cancel) = (self.heard.events(), Cancel::never());
        bench_ci::dataset::load(&ask, Some(&cache), &self.hub, &events, &cancel).await
    }

    fn extracts(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("cache")) else { return Vec::new() };
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }
}

fn mixed() -> String {
    json!([
        {"conversations": []},
        {"conversations": [
            {"from": "human", "value": "the first prompt is here"},
            {"from": "gpt", "value": "and an answer of words"},
            {"from": "human", "value": "and on I go"}
        ]},
        talk("no", "no"),
        {"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "x"}]},
        {"conversations": []},
        talk("the second prompt, \"quoted\"\nand\u{2028}broken", "an answer of more words"),
        {"conversations": []},
    ])
    .to_string()
}

#[tokio::test]
async fn the_public_file_is_read_whole_once_and_then_from_its_extract() {
    let case = HubCase::new(&mixed());
    let from_source = case.load(None).await.expect("prompts");
    assert_eq!(
        (from_source.seen, from_source.kept, from_source.source.as_str()),
        (7, 2, "sharegpt")
    );
    assert_eq!(case.extracts().len(), 1);
    // The source is gone: only the extract can answer, and it answers the same.
    fs::write(&case.hub.path, "gone").expect("written");
    assert_eq!(case.load(None).await.expect("prompts"), from_source);
    let one = case.load(Some(1)).await.expect("prompts");
    assert_eq!((one.seen, one.kept), (2, 1));
    assert_eq!(case.heard.warnings(), Vec::<String>::new());
    assert_eq!(case.hub.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn conversations_have_an_extract_of_their_own() {
    let mut case = HubCase::new(&mixed());
    let chats = case.load(None).await.expect("prompts");
    case.carries = Carries::Conversations;
    let held = case.load(None).await.expect("prompts");
    assert_eq!(texts(&held), texts(&chats));
    assert_eq!(later(&held), [vec!["and on I go"], vec![]]);
    assert_eq!(case.extracts().len(), 2);
    fs::write(&case.hub.path, "gone").expect("written");
    assert_eq!(case.load(None).await.expect("prompts"), held);
    case.carries = Carries::Chats;
    assert_eq!(case.load(None).await.expect("prompts"), chats);
    assert_eq!(case.heard.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_limited_run_writes_no_extract_and_sees_the_same() {
    let case = HubCase::new(&mixed());
    let limited = case.load(Some(2)).await.expect("prompts");
    assert_eq!(case.extracts(), Vec::<PathBuf>::new());
    assert_eq!((limited.seen, limited.kept), (6, 2));
    assert_eq!(limited.prompts, case.load(None).await.expect("prompts").prompts);
    assert_eq!(case.load(Some(2)).await.expect("prompts"), limited, "from the extract");
}

#[tokio::test]
async fn a_damaged_extract_is_made_anew_and_never_believed() {
    let case = HubCase::new(&mixed());
    let whole = case.load(None).await.expect("prompts");
    let path = case.extracts().remove(0);
    let text = fs::read_to_string(&path).expect("an extract");
    let lines: Vec<&str> = text.lines().collect();
    let without_end = lines[..lines.len() - 1].join("\n");
    let missing_line = lines[1..].join("\n");
    for damaged in
        [without_end.as_str(), &missing_line, &text[..text.len() / 2], "", "nonsense", "{}"]
    {
        fs::write(&path, damaged).expect("written");
        let before = case.heard.warnings().len();
        assert_eq!(case.load(None).await.expect("prompts"), whole, "{damaged}");
        assert!(case.heard.warnings()[before].contains("is damaged"), "{damaged}");
        assert_eq!(fs::read_to_string(&path).expect("an extract"), text);
    }
}

#[tokio::test]
async fn another_source_has_another_extract() {
    let mut case = HubCase::new(&mixed());
    case.load(None).await.expect("prompts");
    case.hub.sha256 = Some("def".to_owned());
    fs::write(
        &case.hub.path,
        json!([talk("a new prompt is here", "with an answer too")]).to_string(),
    )
    .expect("written");
    assert_eq!(case.load(None).await.expect("prompts").kept, 1);
    case.hub.sha256 = None;
    assert_eq!(case.load(None).await.expect("prompts").kept, 1);
    assert_eq!(case.extracts().len(), 3);
}

#[tokio::test]
async fn a_broken_source_leaves_no_extract() {
    let case =
        HubCase::new(&format!("[{},", talk("the first prompt is here", "and an answer of words")));
    assert!(matches!(case.load(None).await, Err(DatasetError::Malformed { .. })));
    assert_eq!(case.extracts(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_only_a_warning() {
    let case = HubCase::new(&mixed());
    fs::write(case.folder.path().join("cache"), "a file, not a folder").expect("written");
    assert_eq!(case.load(None).await.expect("prompts").kept, 2);
    assert!(!case.heard.warnings().is_empty());
}

#[tokio::test]
async fn a_download_that_fails_keeps_its_own_words() {
    let failing = |_file: HubFile| async {
        Err(FetchError { source: "the Hub says 401".into(), hint: Some("set HF_TOKEN".to_owned()) })
    };
    let spec = DatasetSpec::ShareGptHub;
    let error = load(&spec, &ALL, None, None, &failing, &Events::default(), &Cancel::never()).await;
    let error = error.expect_err("no Hub");
    assert_eq!(
        said(&error),
        "cannot get the dataset \"sharegpt\" from the Hub: the Hub says 401\nhint: set HF_TOKEN"
    );
    assert_eq!(error.exit_code(), ExitCode::Model);
}
