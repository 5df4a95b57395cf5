//! What an answer says that comes whole: of tokens that were not streamed, embeddings, scores.
//!
//! Main function: [`read`]. It is given the body and what was asked for; stamps and the connection
//! are not its business.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::delta::{self, Count, Said, answer_text, reported_error};
use super::record::{FailureKind, Timings, Usage};

/// What was asked for in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Generated text.
    Tokens,
    /// So many embeddings.
    Embeddings(u32),
    /// So many scores.
    Scores(u32),
}

/// What came.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Whole {
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<Usage>,
    pub(super) timings: Option<Timings>,
    /// Embeddings or scores; `None` of tokens.
    pub(super) results: Option<u32>,
    /// Numbers in each embedding.
    pub(super) dimensions: Option<u32>,
}

/// Why it is no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) failure: FailureKind,
    pub(super) detail: String,
}

impl Fault {
    fn new(failure: FailureKind, detail: impl Into<String>) -> Self {
        Self { failure, detail: detail.into() }
    }

    fn protocol(detail: impl Into<String>) -> Self {
        Self::new(FailureKind::Protocol, detail)
    }
}

/// What came, as far as it can be read, and what is wrong with it. `max_tokens` is the budget of
/// tokens: with 0 an answer without content is whole.
pub(super) fn read(body: &[u8], wanted: Wanted, max_tokens: u32) -> (Whole, Option<Fault>) {
    match wanted {
        Wanted::Tokens => tokens(body, max_tokens),
        Wanted::Embeddings(count) => of_list(body, |body| embeddings(body, count)),
        Wanted::Scores(count) => of_list(body, |body| scores(body, count)),
    }
}

/// The text of a whole answer, for the next turn of its conversation.
pub(super) fn text(body: &[u8]) -> String {
    answer_text(body)
}

fn not_json(body: &[u8], error: &dyn std::fmt::Display) -> Fault {
    let start: String = String::from_utf8_lossy(body).trim().chars().take(80).collect();
    if start.starts_with("data:") || start.starts_with("event:") {
        return Fault::protocol("the server streams its answer, although \"stream\" was false");
    }
    Fault::protocol(format!("the answer is not what was asked for: {error}, in \"{start}\""))
}

fn tokens(body: &[u8], max_tokens: u32) -> (Whole, Option<Fault>) {
    let said = match delta::read_whole(body) {
        Ok(said) => said,
        Err(error) => return (Whole::default(), Some(not_json(body, &error))),
    };
    let Said { content, finish, choices_seen, choices_finished, usage, timings, error, .. } = said;
    let any_finished = finish.is_some();
    let whole = Whole { finish_reason: finish, usage, timings, results: None, dimensions: None };
    let fault = if let Some(error) = error {
        Some(Fault::new(FailureKind::StreamError, format!("the server reports: {error}")))
    } else if any_finished && choices_seen & !choices_finished != 0 {
        Some(Fault::new(FailureKind::Truncated, "a choice of the answer has no finish reason"))
    } else if !content && max_tokens > 0 {
        Some(Fault::new(FailureKind::Empty, "the answer finished without content"))
    } else {
        None
    };
    (whole, fault)
}

/// A body that holds a list of results, after a look for an error in their place.
fn of_list(
    body: &[u8],
    results: impl FnOnce(&[u8]) -> Result<Whole, Fault>,
) -> (Whole, Option<Fault>) {
    if let Some(message) = reported_error(&String::from_utf8_lossy(body)) {
        let fault = Fault::new(FailureKind::StreamError, format!("the server reports: {message}"));
        return (Whole::default(), Some(fault));
    }
    match results(body) {
        Ok(whole) => (whole, None),
        Err(fault) => (Whole::default(), Some(fault)),
    }
}

/// Token counts as these routes give them; some say only the total.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ListUsage {
    prompt_tokens: Count,
    total_tokens: Count,
}

impl ListUsage {
    fn usage(usage: Option<Self>) -> Option<Usage> {
        let usage = usage?;
        let prompt_tokens = usage.prompt_tokens.0.or(usage.total_tokens.0)?;
        Some(Usage { prompt_tokens, ..Usage::default() })
    }
}

#[derive(Deserialize)]
struct EmbeddingsBody {
    data: Vec<EmbeddingItem>,
    #[serde(default)]
    usage: Option<ListUsage>,
}

#[derive(Deserialize)]
struct EmbeddingItem {
    #[serde(default)]
    index: Option<u32>,
    embedding: Vector,
}

fn embeddings(body: &[u8], wanted: u32) -> Result<Whole, Fault> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(not_json(body, &"a list, expected an object with \"data\""));
    }
    let read: EmbeddingsBody =
        serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
    complete(read.data.iter().map(|item| item.index), wanted, "embedding", "text")?;
    let mut dimensions = None;
    for item in &read.data {
        match item.embedding {
            Vector::Numbers(0) => {
                return Err(Fault::new(FailureKind::Empty, "an embedding has no numbers"));
            }
            Vector::Numbers(count) => {
                let first = *dimensions.get_or_insert(count);
                if first != count {
                    return Err(Fault::protocol(format!(
                        "one embedding has {first} numbers and another {count}"
                    )));
                }
            }
            Vector::Other => {
                return Err(Fault::protocol("an embedding is not a list of finite numbers"));
            }
        }
    }
    let results = u32::try_from(read.data.len()).ok();
    Ok(Whole { usage: ListUsage::usage(read.usage), results, dimensions, ..Whole::default() })
}

/// Reranking: an object with `results` (Jina, Cohere, llama-server, vLLM) or `data` (Voyage), or the
/// bare list (text-embeddings-inference).
#[derive(Deserialize)]
#[serde(untagged)]
enum ScoresBody {
    Object {
        #[serde(alias = "data")]
        results: Vec<ScoreItem>,
        #[serde(default)]
        usage: Option<ListUsage>,
    },
    Bare(Vec<ScoreItem>),
}

#[derive(Deserialize)]
struct ScoreItem {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, alias = "score")]
    relevance_score: serde_json::Value,
}

fn scores(body: &[u8], wanted: u32) -> Result<Whole, Fault> {
    let read: ScoresBody = serde_json::from_slice(body).map_err(|error| not_json(body, &error))?;
    let (items, usage) = match read {
        ScoresBody::Object { results, usage } => (results, usage),
        ScoresBody::Bare(items) => (items, None),
    };
    complete(items.iter().map(|item| item.index), wanted, "score", "document")?;
    if items.iter().any(|item| !item.relevance_score.is_number()) {
        return Err(Fault::protocol("a score is not a finite number"));
    }
    let results = u32::try_from(items.len()).ok();
    Ok(Whole { usage: ListUsage::usage(usage), results, ..Whole::default() })
}

/// One result for each thing that was sent, and no two for the same.
fn complete(
    indices: impl ExactSizeIterator<Item = Option<u32>>,
    wanted: u32,
    result: &str,
    sent: &str,
) -> Result<(), Fault> {
    let got = indices.len();
    let plural = |count: usize, word: &str| match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let words =
        || format!("{} came back for {}", plural(got, result), plural(wanted as usize, sent));
    match got.cmp(&(wanted as usize)) {
        std::cmp::Ordering::Less if got == 0 => {
            return Err(Fault::new(FailureKind::Empty, words()));
        }
        std::cmp::Ordering::Less => return Err(Fault::new(FailureKind::Short, words())),
        std::cmp::Ordering::Greater => return Err(Fault::protocol(words())),
        std::cmp::Ordering::Equal => {}
    }
    let mut seen = vec![false; got];
    for index in indices.flatten() {
        match seen.get_mut(index as usize) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => {
                return Err(Fault::protocol(format!("two {result}s came back for {sent} {index}")));
            }
            None => {
                return Err(Fault::protocol(format!(
                    "the answer has a result for {sent} {index}, which was not sent"
                )));
            }
        }
    }
    Ok(())
}

/// A list of numbers, counted as it is read: vectors are long, and nobody wants their numbers.
enum Vector {
    Numbers(u32),
    Other,
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Vector;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vector, A::Error> {
        let (mut count, mut all_numbers) = (0_u32, true);
        while let Some(is_number) = elements.next_element_seed(IsNumber)? {
            count = count.saturating_add(1);
            all_numbers &= is_number;
        }
        Ok(if all_numbers { Vector::Numbers(count) } else { Vector::Other })
    }

    fn visit_str<E>(self, _: &str) -> Result<Vector, E> {
        Ok(Vector::Other)
    }

    fn visit_unit<E>(self) -> Result<Vector, E> {
        Ok(Vector::Other)
    }
}

/// Whether a JSON value is a number; JSON has no others than finite ones.
struct IsNumber;

impl<'de> DeserializeSeed<'de> for IsNumber {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(IsNumber)
    }
}

impl<'de> Visitor<'de> for IsNumber {
    type Value = bool;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<bool, E> {
        Ok(number.is_finite())
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(true)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<bool, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<bool, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(body: &str, wanted: Wanted) -> String {
        match read(body.as_bytes(), wanted, 8) {
            (_, Some(Fault { failure, detail })) => format!("{}: {detail}", failure.name()),
            (whole, None) => format!(
                "{:?} {:?} {:?}",
                whole.results,
                whole.dimensions,
                whole.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens))
            ),
        }
    }

    #[test]
    fn embeddings_are_counted_and_measured() {
        for (body, expected) in [
            (
                r#"{"model":"m","object":"list","usage":{"prompt_tokens":11,"total_tokens":11},"data":[{"embedding":[0.5,-1,2e3],"index":1,"object":"embedding"},{"embedding":[1,2,3],"index":0}]}"#,
                "Some(2) Some(3) Some((11, 0))",
            ),
            (
                r#"{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":{"total_tokens":4}}"#,
                "Some(2) Some(1) Some((4, 0))",
            ),
            (
                r#"{"data":[{"embedding":[1]},{"embedding":[2]}],"usage":{"total_tokens":18446744073709551615}}"#,
                "Some(2) Some(1) None",
            ),
            (r#"{"data":[{"embedding":[1]}]}"#, "short: 1 embedding came back for 2 texts"),
            (r#"{"data":[]}"#, "empty: 0 embeddings came back for 2 texts"),
            (
                r#"{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[1]}]}"#,
                "protocol: 3 embeddings came back for 2 texts",
            ),
            (
                r#"{"data":[{"embedding":[]},{"embedding":[1]}]}"#,
                "empty: an embedding has no numbers",
            ),
            (
                r#"{"data":[{"embedding":[1,2]},{"embedding":[1]}]}"#,
                "protocol: one embedding has 2 numbers and another 1",
            ),
            (
                r#"{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":0}]}"#,
                "protocol: two embeddings came back for text 0",
            ),
            (
                r#"{"data":[{"embedding":[1],"index":0},{"embedding":[1],"index":7}]}"#,
                "protocol: the answer has a result for text 7, which was not sent",
            ),
            (
                r#"{"data":[{"embedding":[1,null]},{"embedding":[1,2]}]}"#,
                "protocol: an embedding is not a list of finite numbers",
            ),
            (
                r#"{"data":[{"embedding":"AAAA"},{"embedding":[1]}]}"#,
                "protocol: an embedding is not a list of finite numbers",
            ),
            (
                r#"{"error":{"message":"no such model"}}"#,
                "stream_error: the server reports: no such model",
            ),
            (
                r#"{"object":"error","message":"too long"}"#,
                "stream_error: the server reports: too long",
            ),
            (
                r#"{"error":"","data":[{"embedding":[1]},{"embedding":[2]}]}"#,
                "Some(2) Some(1) None",
            ),
        ] {
            assert_eq!(seen(body, Wanted::Embeddings(2)), expected, "{body}");
        }
        for body in [
            "",
            "[]",
            "{}",
            "null",
            "<html>",
            "{\"data\":[{\"embedding\":[NaN]},{\"embedding\":[1]}]}",
            "{\"data\":[{\"embedding\":[1e999]},{\"embedding\":[1]}]}",
            "{\"data\":7}",
            "{\"data\":[{}]}",
        ] {
            let seen = seen(body, Wanted::Embeddings(2));
            assert!(
                seen.starts_with("protocol: the answer is not what was asked for"),
                "{body}: {seen}"
            );
        }
    }

    #[test]
    fn scores_come_in_the_shapes_of_their_servers() {
        let two = "Some(2) None ";
        for (body, expected) in [
            (
                r#"{"results":[{"index":1,"relevance_score":1.5},{"index":0,"relevance_score":-2}],"usage":{"prompt_tokens":20,"total_tokens":20}}"#,
                format!("{two}Some((20, 0))"),
            ),
            (
                r#"{"data":[{"index":0,"relevance_score":1},{"index":1,"relevance_score":2}]}"#,
                format!("{two}None"),
            ),
            (r#"[{"index":0,"score":0.1},{"index":1,"score":0.2}]"#, format!("{two}None")),
            (
                r#"{"results":[{"index":0,"relevance_score":1}]}"#,
                "short: 1 score came back for 2 documents".to_owned(),
            ),
            (
                r#"{"results":[{"index":0,"relevance_score":null},{"index":1,"relevance_score":1}]}"#,
                "protocol: a score is not a finite number".to_owned(),
            ),
            (
                r#"{"results":[{"index":0},{"index":1,"relevance_score":1}]}"#,
                "protocol: a score is not a finite number".to_owned(),
            ),
        ] {
            assert_eq!(seen(body, Wanted::Scores(2)), expected, "{body}");
        }
        assert!(
            seen("{\"results\":[{\"index\":0,\"relevance_score\":NaN}]}", Wanted::Scores(1))
                .starts_with("protocol")
        );
    }

    #[test]
    fn whole_texts_are_told_from_errors_and_from_nothing() {
        let chat = r#"{"choices":[{"finish_reason":"length","index":0,"message":{"role":"assistant","content":" left\nhi"}}],"usage":{"completion_tokens":2,"prompt_tokens":70,"prompt_tokens_details":{"cached_tokens":69}},"timings":{"cache_n":69,"prompt_n":1,"prompt_ms":0.3,"predicted_n":2,"predicted_ms":0.2}}"#;
        let (whole, fault) = read(chat.as_bytes(), Wanted::Tokens, 2);
        assert_eq!(fault, None);
        assert_eq!(whole.finish_reason.as_deref(), Some("length"));
        assert_eq!(whole.usage.and_then(|usage| usage.cached_tokens), Some(69));
        assert_eq!(whole.timings.and_then(|timings| timings.predicted_n), Some(2));
        assert_eq!(text(chat.as_bytes()), " left\nhi");
        for (body, expected) in [
            (r#"{"choices":[{"text":"a","finish_reason":"stop"}]}"#, "None None None"),
            (
                r#"{"content":"a","stop":true,"stop_type":"limit","tokens_predicted":1,"tokens_evaluated":2}"#,
                "None None Some((2, 1))",
            ),
            (
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"id":"x"}]},"finish_reason":"tool_calls"}]}"#,
                "None None None",
            ),
            (
                r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#,
                "empty: the answer finished without content",
            ),
            (r#"{"choices":[{"text":"a","finish_reason":""}]}"#, "None None None"),
            (
                r#"{"choices":[{"text":"a","finish_reason":"stop"},{"index":1,"text":"b","finish_reason":""}]}"#,
                "truncated: a choice of the answer has no finish reason",
            ),
            (r#"{"choices":[]}"#, "empty: the answer finished without content"),
            (
                r#"{"error":{"message":"boom"},"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}"#,
                "stream_error: the server reports: boom",
            ),
            (
                "data: {\"choices\":[]}\n\n",
                "protocol: the server streams its answer, although \"stream\" was false",
            ),
        ] {
            assert_eq!(seen(body, Wanted::Tokens), expected, "{body}");
        }
    }
}
