//! Embeddings and scores: made up from the tokens of their texts, the same for the same text.
//!
//! Main type: [`Batch`], the texts of one request. Their time is that of a prompt of as many tokens.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::fault::{FaultKind, FaultSet};
use super::http::{Request, Response};
use super::model::{BOS, Vocabulary, fraction, mix};

/// Numbers in an embedding; what `/v1/models` says.
pub(super) const DIMENSIONS: u64 = 64;

/// The texts of one request, as tokens. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Batch {
    /// To be embedded.
    Texts(Vec<Vec<u32>>),
    /// To be ranked: a query with one document each; most results wanted.
    Pairs(Vec<Vec<u32>>, usize),
}

/// What a route of texts was asked for.
pub(super) fn read(path: &str, body: &Value) -> Option<Result<Batch, String>> {
    match path {
        "/v1/embeddings" | "/embeddings" => Some(texts(body).map(Batch::Texts)),
        "/rerank" | "/reranking" | "/v1/rerank" | "/v1/reranking" => Some(pairs(body)),
        _ => None,
    }
}

/// The refusal of a server that was not started for this; `None` where it was.
pub(super) fn unsupported(path: &str, embeddings: bool, reranking: bool) -> Option<&'static str> {
    match path {
        "/v1/embeddings" | "/embeddings" if !embeddings => {
            Some("This server does not support embeddings. Start it with `--embeddings`")
        }
        "/rerank" | "/reranking" | "/v1/rerank" | "/v1/reranking" if !reranking => {
            Some("This server does not support reranking. Start it with `--reranking`")
        }
        _ => None,
    }
}

fn texts(body: &Value) -> Result<Vec<Vec<u32>>, String> {
    let input = body.get("input").or_else(|| body.get("content"));
    let Some(input) = input else {
        return Err("\"input\" or \"content\" must be provided".to_owned());
    };
    if body.get("encoding_format").is_some_and(|format| format != "float") {
        return Err("the simulator knows the encoding_format float alone".to_owned());
    }
    let one = |value: &Value| tokens(value).ok_or_else(|| "input is no text".to_owned());
    match input {
        Value::Array(items) if items.is_empty() => Err("\"input\" must not be empty".to_owned()),
        // A list of numbers is one text as token ids.
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            items.iter().map(one).collect()
        }
        input => one(input).map(|text| vec![text]),
    }
}

fn pairs(body: &Value) -> Result<Batch, String> {
    let query = body.get("query").and_then(Value::as_str);
    let Some(query) = query else { return Err("\"query\" must be provided".to_owned()) };
    let documents = body.get("documents").or_else(|| body.get("texts")).and_then(Value::as_array);
    let documents: Option<Vec<&str>> =
        documents.and_then(|documents| documents.iter().map(Value::as_str).collect());
    let Some(documents) = documents.filter(|documents| !documents.is_empty()) else {
        return Err("\"documents\" must be a non-empty string array".to_owned());
    };
    let most = body.get("top_n").and_then(Value::as_u64).map_or(usize::MAX, |n| n as usize);
    let pairs = documents.into_iter().map(|document| {
        let mut pair = vec![BOS];
        Vocabulary::shared().tokenize(query, &mut pair);
        pair.push(BOS);
        Vocabulary::shared().tokenize(document, &mut pair);
        pair
    });
    Ok(Batch::Pairs(pairs.collect(), most))
}

fn tokens(value: &Value) -> Option<Vec<u32>> {
    match value {
        Value::String(text) => {
            let mut tokens = vec![BOS];
            Vocabulary::shared().tokenize(text, &mut tokens);
            Some(tokens)
        }
        Value::Array(ids) if !ids.is_empty() => ids
            .iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<Vec<u32>>>(),
        _ => None,
    }
}

impl Batch {
    /// Each text.
    pub(super) fn all(&self) -> &[Vec<u32>] {
        match self {
            Batch::Texts(texts) | Batch::Pairs(texts, _) => texts,
        }
    }

    /// All tokens, one text after the other.
    pub(super) fn prompt(&self) -> Vec<u32> {
        self.all().concat()
    }

    /// The body of the answer.
    pub(super) fn answer(&self, model: &str, seed: u64, faults: &FaultSet) -> String {
        let tokens: usize = self.all().iter().map(Vec::len).sum();
        let usage = match faults.has(FaultKind::NoUsage) {
            true => String::new(),
            false => {
                format!(r#","usage":{}"#, json!({"prompt_tokens": tokens, "total_tokens": tokens}))
            }
        };
        let all = self.all().len();
        let most =
            match (faults.has(FaultKind::Empty), faults.number(FaultKind::Short, all as f64 / 2.0))
            {
                (true, _) => 0,
                (false, Some(short)) => short as usize,
                (false, None) => usize::MAX,
            };
        let spoiled = faults.has(FaultKind::Nan);
        let (name, results) = match self {
            Batch::Texts(texts) => ("data", embeddings(texts, seed, spoiled, most)),
            Batch::Pairs(pairs, top) => ("results", scores(pairs, seed, spoiled, most.min(*top))),
        };
        let model = Value::from(model);
        format!(r#"{{"model":{model},"object":"list"{usage},"{name}":[{}]}}"#, results.join(","))
    }
}

fn hash(seed: u64, text: &[u32]) -> u64 {
    text.iter().fold(mix(seed), |hash, &token| mix(hash ^ u64::from(token)))
}

fn embeddings(texts: &[Vec<u32>], seed: u64, spoiled: bool, most: usize) -> Vec<String> {
    let one = |(index, text): (usize, &Vec<u32>)| {
        let hash = hash(seed, text);
        let numbers: Vec<f64> = (0..DIMENSIONS).map(|at| fraction(hash, at) - 0.5).collect();
        let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
        let mut written = String::new();
        for (at, number) in numbers.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Python's JSON writes the word, which is no JSON.
            let written = match spoiled && at == 1 {
                true => write!(written, "{comma}NaN"),
                false => write!(written, "{comma}{}", number / length),
            };
            written.expect("writing to a string cannot fail");
        }
        format!(r#"{{"embedding":[{written}],"index":{index},"object":"embedding"}}"#)
    };
    texts.iter().enumerate().take(most).map(one).collect()
}

/// The best first, as a real server has them.
fn scores(pairs: &[Vec<u32>], seed: u64, spoiled: bool, most: usize) -> Vec<String> {
    let mut scored: Vec<(usize, f64)> = pairs
        .iter()
        .enumerate()
        .map(|(index, pair)| (index, 4.0 * fraction(hash(seed, pair), 0) - 2.0))
        .collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let one = |(index, score): (usize, f64)| {
        let score = if spoiled { "NaN".to_owned() } else { score.to_string() };
        format!(r#"{{"index":{index},"relevance_score":{score}}}"#)
    };
    scored.into_iter().take(most).map(one).collect()
}

/// The request as a whole, checked against what the server was started for.
pub(super) fn requested(
    request: &Request,
    parse: impl FnOnce(&Request) -> Result<Value, Response>,
) -> Option<Result<Batch, Response>> {
    let is_ours = read(&request.path, &Value::Null).is_some();
    if request.method != "POST" || !is_ours {
        return None;
    }
    let body = match parse(request) {
        Ok(body) => body,
        Err(response) => return Some(Err(response)),
    };
    let read = read(&request.path, &body)?;
    Some(read.map_err(|message| Response::error(400, "invalid_request_error", &message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(path: &str, body: &Value, faults: &str) -> String {
        let faults = FaultSet::from_header(faults).expect("known faults");
        let batch = read(path, body).expect("a route of texts").expect("a valid request");
        batch.answer("m", 42, &faults)
    }

    #[test]
    fn each_text_has_its_own_vector_and_always_the_same() {
        let body = json!({"input": ["Hello world", "Hello", [1, 300]], "encoding_format": "float"});
        let text = answer("/v1/embeddings", &body, "");
        assert_eq!(answer("/v1/embeddings", &body, ""), text);
        let read: Value = serde_json::from_str(&text).expect("JSON");
        let data = read["data"].as_array().expect("a list");
        assert_eq!(data.len(), 3);
        assert_ne!(data[0]["embedding"], data[1]["embedding"]);
        assert!(data.iter().all(|one| one["embedding"].as_array().is_some_and(|v| v.len() == 64)));
        assert_eq!(read["usage"]["prompt_tokens"], read["usage"]["total_tokens"]);
    }

    #[test]
    fn scores_are_sorted_and_faults_break_them() {
        let body = json!({"query": "a", "documents": ["b", "c", "d"], "top_n": 2});
        let read: Value = serde_json::from_str(&answer("/rerank", &body, "")).expect("JSON");
        let scores: Vec<f64> = read["results"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["relevance_score"].as_f64())
            .collect();
        assert_eq!(scores.len(), 2);
        assert!(scores[0] >= scores[1]);
        assert!(answer("/rerank", &body, "nan").contains("NaN"));
        assert!(answer("/rerank", &body, "empty").contains("\"results\":[]"));
        assert_eq!(answer("/rerank", &body, "short:1").matches("relevance_score").count(), 1);
    }

    #[test]
    fn what_a_real_server_refuses_is_refused() {
        for (path, body) in [
            ("/v1/embeddings", json!({})),
            ("/v1/embeddings", json!({"input": []})),
            ("/v1/embeddings", json!({"input": {"a": 1}})),
            ("/rerank", json!({"documents": ["b"]})),
            ("/rerank", json!({"query": "a", "documents": []})),
        ] {
            assert!(read(path, &body).expect("a route of texts").is_err(), "{path} {body}");
        }
        assert!(read("/v1/chat/completions", &json!({})).is_none());
    }
}
