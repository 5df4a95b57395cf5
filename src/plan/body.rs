//! The body of a request: the same workload and prompt give the same bytes, always.
//!
//! Main functions: [`body_of`], and [`continued`] for the later turns of a conversation. It does not send anything and knows no connection.

use serde_json::{Map, Value, json};

use super::request::PLACEHOLDER;
use super::{Endpoint, LoraChoice, Workload, Yield};
use crate::dataset::{ChatMessage, Content, Prompt};

/// Which server is spoken to. Fields that only one of them knows are sent to that one only, because
/// a strict gateway refuses a request with a field it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// llama-server (or the simulator): `cache_prompt` is always sent, so that neither its default
    /// nor a change of its default decides what is measured.
    LlamaCpp,
    /// Any OpenAI-compatible server: only what that interface has, and what the scenario adds in
    /// `request.extra`. `ignore_eos` is sent where it is asked for: vLLM and SGLang know it too.
    OpenAi,
}

/// What differs between the requests of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What is asked.
    pub prompt: &'a Prompt,
    /// Where several texts make one request: those after the first, and the documents to be ranked.
    pub others: &'a [&'a Prompt],
    /// The adapter; `None` leaves the server's own.
    pub lora: Option<&'a LoraChoice>,
}

/// The JSON body of the request for `prompt` alone, UTF-8. See [`body_of`].
#[must_use]
pub fn body(workload: &Workload, dialect: Dialect, prompt: &Prompt) -> Vec<u8> {
    let lora = workload.request.lora.first();
    body_of(workload, dialect, &Ask { prompt, others: &[], lora })
}

/// The JSON body of a request, UTF-8. The prompt's own budget goes before the workload's.
///
/// Keys stand in a fixed order, so the bytes depend on the arguments alone. Fields of
/// `request.extra` come last; one that the body already has is replaced in its place, and where
/// both are objects (`stream_options`) they are joined one level deep.
#[must_use]
pub fn body_of(workload: &Workload, dialect: Dialect, ask: &Ask<'_>) -> Vec<u8> {
    let request = &workload.request;
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let text = |prompt: &Prompt| text_or_ids(&prompt.content, request.prompt_template.as_deref());
    match workload.endpoint {
        Endpoint::ChatCompletions => {
            let messages = messages(request.system_prompt.as_deref(), &ask.prompt.content);
            put("messages", serde_json::to_value(messages).expect("messages are JSON"));
        }
        Endpoint::Completions | Endpoint::LlamaCompletion => {
            put("prompt", text(ask.prompt));
        }
        Endpoint::Embeddings => {
            let input = match ask.others {
                [] => text(ask.prompt),
                others => {
                    std::iter::once(ask.prompt).chain(others.iter().copied()).map(text).collect()
                }
            };
            put("input", input);
            // Nothing is counted in what some servers pack into a string.
            put("encoding_format", Value::from("float"));
        }
        Endpoint::V1Rerank | Endpoint::Rerank => {
            put("query", text(ask.prompt));
            let documents = ask.others.iter().map(|other| text_or_ids(&other.content, None));
            put("documents", documents.collect());
        }
    }
    finished(workload, dialect, ask.lora, Budget::of(ask.prompt), fields)
}

/// The body of a chat's later turn: everything said so far.
#[must_use]
pub fn continued(
    workload: &Workload,
    dialect: Dialect,
    messages: &[ChatMessage],
    budget: Budget,
    lora: Option<&LoraChoice>,
) -> Vec<u8> {
    let mut fields = Map::new();
    let messages = serde_json::to_value(messages).expect("messages are JSON");
    fields.insert("messages".to_owned(), messages);
    finished(workload, dialect, lora, budget, fields)
}

/// The length of an answer, where a prompt brings it along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens at most; `None`: the workload's.
    pub max_tokens: Option<u32>,
    /// Exactly so many, whatever the model says.
    pub forced: bool,
}

impl Budget {
    /// Of a prompt.
    #[must_use]
    pub fn of(prompt: &Prompt) -> Self {
        Self { max_tokens: prompt.max_tokens, forced: prompt.forced }
    }
}

/// Adds everything that is not the prompt.
fn finished(
    workload: &Workload,
    dialect: Dialect,
    lora: Option<&LoraChoice>,
    own: Budget,
    mut fields: Map<String, Value>,
) -> Vec<u8> {
    let request = &workload.request;
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    let model = lora.and_then(|lora| lora.model.as_ref()).or(request.model.as_ref());
    if let Some(model) = model {
        put("model", Value::from(model.as_str()));
    }
    if workload.endpoint.yields() == Yield::Tokens {
        put("stream", Value::from(request.stream));
        // `/completion` has no usage chunk to ask for: its last event always carries the timings. A
        // whole answer holds its usage unasked, and strict servers refuse the question.
        let may_ask = request.stream && workload.endpoint != Endpoint::LlamaCompletion;
        if request.include_usage && may_ask {
            put("stream_options", json!({ "include_usage": true }));
        }
        if let Some(seed) = request.seed {
            put("seed", Value::from(seed));
        }
        let budget = match workload.endpoint {
            Endpoint::LlamaCompletion => "n_predict",
            _ => "max_tokens",
        };
        put(budget, Value::from(own.max_tokens.unwrap_or(request.max_tokens)));
        // A stop string would end an answer early whose length is forced.
        if !request.stop.is_empty() && !own.forced {
            put("stop", Value::from(request.stop.clone()));
        }
        for (name, value) in request.sampling.fields() {
            put(name, value);
        }
        if request.ignore_eos || own.forced {
            put("ignore_eos", Value::from(true));
        }
        // Only llama-server has the route `/completion`, whatever it was taken for.
        if dialect == Dialect::LlamaCpp || workload.endpoint == Endpoint::LlamaCompletion {
            put("cache_prompt", Value::from(request.cache_prompt));
        }
    }
    match lora {
        Some(LoraChoice { id: Some(id), scale, .. }) => {
            put("lora", json!([{ "id": id, "scale": scale }]));
        }
        // An empty list is llama-server's word for the bare model.
        Some(LoraChoice { model: None, .. }) if request.lora.iter().any(|one| one.id.is_some()) => {
            put("lora", json!([]));
        }
        _ => {}
    }
    for (key, extra) in &request.extra {
        match (fields.get_mut(key), extra) {
            (Some(Value::Object(present)), Value::Object(more)) => {
                present.extend(more.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (Some(present), _) => *present = extra.clone(),
            (None, _) => {
                fields.insert(key.clone(), extra.clone());
            }
        }
    }
    serde_json::to_vec(&fields).expect("a map of JSON values is JSON")
}

/// The chat that a prompt opens. A dataset's chat that begins with a system message of its own is
/// not given a second one, which most chat templates refuse.
#[must_use]
pub fn messages(system_prompt: Option<&str>, content: &Content) -> Vec<ChatMessage> {
    let said = match content {
        Content::Text(text) => vec![ChatMessage::text("user", text)],
        Content::Chat(messages) => messages.clone(),
        Content::Tokens(_) => unreachable!("the dataset refuses token ids for a chat"),
        Content::Recipe(_) => unreachable!("recipes are made to prompts before this"),
    };
    let has_system = said.first().is_some_and(|first| first.role == "system");
    let system = system_prompt.filter(|_| !has_system);
    system.map(|system| ChatMessage::text("system", system)).into_iter().chain(said).collect()
}

/// A text with the template around it, or the token ids. Of a chat, where no chat can be sent, what
/// is said in it.
fn text_or_ids(content: &Content, template: Option<&str>) -> Value {
    let around = |text: &str| match template {
        Some(template) => Value::from(template.replace(PLACEHOLDER, text)),
        None => Value::from(text),
    };
    match content {
        Content::Text(text) => around(text),
        Content::Tokens(ids) => Value::from(ids.as_slice()),
        Content::Chat(messages) => {
            let said: Vec<&str> = messages.iter().flat_map(ChatMessage::texts).collect();
            around(&said.join("\n"))
        }
        Content::Recipe(_) => unreachable!("recipes are made to prompts before this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Sampling;
    use crate::plan::scenario::{Origin, Overrides, workload};

    fn chat() -> Workload {
        workload(
            crate::plan::scenario::builtin("chat").expect("there is a chat scenario"),
            &Origin::BuiltIn("chat"),
            &Overrides::default(),
        )
        .expect("the chat scenario is valid")
    }

    fn text(workload: &Workload, dialect: Dialect) -> String {
        String::from_utf8(body(workload, dialect, &Prompt::of_text("Hi \"you\"\n")))
            .expect("JSON is UTF-8")
    }

    #[test]
    fn the_chat_body_is_script_js_plus_an_explicit_cache_prompt() {
        let messages = r#""messages":[{"role":"system","content":"You are ChatGPT, an AI assistant."},{"role":"user","content":"Hi \"you\"\n"}]"#;
        let rest = r#""stream":true,"stream_options":{"include_usage":true},"seed":42,"max_tokens":512,"stop":["<|im_end|>"]"#;
        assert_eq!(text(&chat(), Dialect::OpenAi), format!("{{{messages},{rest}}}"));
        assert_eq!(
            text(&chat(), Dialect::LlamaCpp),
            format!("{{{messages},{rest},\"cache_prompt\":false}}")
        );
    }

    #[test]
    fn each_endpoint_has_its_own_names() {
        let mut workload = chat();
        workload.request.stop.clear();
        workload.request.seed = None;
        workload.request.model = Some("m".to_owned());
        workload.request.sampling.temperature = Some(0.0);
        workload.request.ignore_eos = true;
        workload.endpoint = Endpoint::Completions;
        assert_eq!(
            text(&workload, Dialect::OpenAi),
            r#"{"prompt":"Hi \"you\"\n","model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":512,"temperature":0.0,"ignore_eos":true}"#
        );
        workload.endpoint = Endpoint::LlamaCompletion;
        assert_eq!(
            text(&workload, Dialect::OpenAi),
            r#"{"prompt":"Hi \"you\"\n","model":"m","stream":true,"n_predict":512,"temperature":0.0,"ignore_eos":true,"cache_prompt":false}"#
        );
    }

    fn bytes(workload: &Workload, prompt: &Prompt) -> String {
        String::from_utf8(body(workload, Dialect::OpenAi, prompt)).expect("JSON is UTF-8")
    }

    #[test]
    fn a_chat_of_the_dataset_is_sent_as_it_stands() {
        let message = |text: &str| serde_json::from_str::<ChatMessage>(text).expect("a message");
        let user = r#"{"role":"user","content":[{"type":"text","text":"Hi"}],"name":"me"}"#;
        let chatting =
            |messages: Vec<ChatMessage>| bytes(&chat(), &Prompt::new(Content::Chat(messages)));
        let own = r#"{"role":"system","content":"You are ChatGPT, an AI assistant."}"#;
        let sent = chatting(vec![message(user)]);
        assert!(sent.starts_with(&format!(r#"{{"messages":[{own},{user}],"#)), "{sent}");
        // A second system message would be refused by most templates.
        let theirs = r#"{"role":"system","content":"Be brief."}"#;
        let sent = chatting(vec![message(theirs), message(user)]);
        assert!(sent.starts_with(&format!(r#"{{"messages":[{theirs},{user}],"#)), "{sent}");
    }

    #[test]
    fn a_prompt_brings_its_own_tokens_and_budget() {
        let mut workload = chat();
        workload.endpoint = Endpoint::LlamaCompletion;
        let prompt = Prompt {
            max_tokens: Some(7),
            ..Prompt::new(Content::Tokens(vec![1, 2, 4_000_000_000]))
        };
        let sent = bytes(&workload, &prompt);
        assert!(sent.starts_with(r#"{"prompt":[1,2,4000000000],"#), "{sent}");
        assert!(sent.contains(r#""n_predict":7,"#), "{sent}");
    }

    #[test]
    fn an_answer_that_is_not_streamed_is_not_asked_for_a_usage_chunk() {
        let mut workload = chat();
        workload.request.stream = false;
        let sent = bytes(&workload, &Prompt::of_text("x"));
        assert!(sent.contains(r#""stream":false,"seed":42"#), "{sent}");
    }

    #[test]
    fn embeddings_and_reranking_send_texts_and_nothing_about_tokens() {
        let mut workload = chat();
        workload.request.model = Some("m".to_owned());
        workload.request.prompt_template = Some("query: {prompt}".to_owned());
        workload.endpoint = Endpoint::Embeddings;
        let (one, two) = (Prompt::of_text("a"), Prompt::new(Content::Tokens(vec![5, 6])));
        let sent = |workload: &Workload, others: &[&Prompt]| {
            let ask = Ask { prompt: &one, others, lora: None };
            String::from_utf8(body_of(workload, Dialect::LlamaCpp, &ask)).expect("JSON is UTF-8")
        };
        assert_eq!(
            sent(&workload, &[]),
            r#"{"input":"query: a","encoding_format":"float","model":"m"}"#
        );
        assert_eq!(
            sent(&workload, &[&two]),
            r#"{"input":["query: a",[5,6]],"encoding_format":"float","model":"m"}"#
        );
        workload.endpoint = Endpoint::Rerank;
        let (b, c) = (Prompt::of_text("b"), Prompt::of_text("c"));
        assert_eq!(
            sent(&workload, &[&b, &c]),
            r#"{"query":"query: a","documents":["b","c"],"model":"m"}"#
        );
    }

    #[test]
    fn an_adapter_is_a_model_here_and_a_number_there() {
        let mut workload = chat();
        let choice = |model: Option<&str>, id| LoraChoice {
            model: model.map(str::to_owned),
            id,
            scale: 0.5,
            weight: 1.0,
        };
        workload.request.lora = vec![choice(None, Some(1)), choice(None, None)];
        workload.request.extra = Map::new();
        let sent = |workload: &Workload, lora: &LoraChoice| {
            let prompt = Prompt::of_text("x");
            let ask = Ask { prompt: &prompt, others: &[], lora: Some(lora) };
            String::from_utf8(body_of(workload, Dialect::OpenAi, &ask)).expect("JSON is UTF-8")
        };
        let first = sent(&workload, &workload.request.lora[0]);
        assert!(first.ends_with(r#","lora":[{"id":1,"scale":0.5}]}"#), "{first}");
        let bare = sent(&workload, &workload.request.lora[1]);
        assert!(bare.ends_with(r#","lora":[]}"#), "{bare}");
        workload.request.lora = vec![choice(Some("sql"), None)];
        let named = sent(&workload, &workload.request.lora[0]);
        assert!(named.contains(r#""model":"sql""#) && !named.contains("lora"), "{named}");
    }

    #[test]
    fn sampling_stands_in_a_fixed_order() {
        let mut workload = chat();
        workload.request.sampling = Sampling {
            repeat_penalty: Some(1.1),
            top_k: Some(40),
            top_p: Some(0.5),
            ..Sampling::default()
        };
        let sent = bytes(&workload, &Prompt::of_text("x"));
        assert!(sent.ends_with(r#""top_p":0.5,"top_k":40,"repeat_penalty":1.1}"#), "{sent}");
    }

    #[test]
    fn a_later_turn_repeats_what_was_said() {
        let said = [ChatMessage::text("user", "a"), ChatMessage::text("assistant", "b\n")];
        let sent = continued(
            &chat(),
            Dialect::LlamaCpp,
            &said,
            Budget { max_tokens: Some(3), forced: false },
            None,
        );
        let sent = String::from_utf8(sent).expect("JSON is UTF-8");
        assert!(
            sent.starts_with(
                r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b\n"}],"stream":true"#
            ),
            "{sent}"
        );
        assert!(sent.contains(r#""max_tokens":3"#), "{sent}");
    }

    #[test]
    fn extra_fields_come_last_and_join_objects() {
        let mut workload = chat();
        workload.request.extra = json!({
            "stream_options": { "continuous_usage_stats": true },
            "seed": 7,
            "cache_prompt": true,
            "top_k": 40
        })
        .as_object()
        .expect("an object")
        .clone();
        let text = text(&workload, Dialect::OpenAi);
        assert!(
            text.contains(
                r#""stream_options":{"include_usage":true,"continuous_usage_stats":true},"seed":7,"#
            ),
            "{text}"
        );
        assert!(text.ends_with(r#""cache_prompt":true,"top_k":40}"#), "{text}");
    }
}
