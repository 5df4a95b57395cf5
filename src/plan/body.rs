//! The body of a request: the same workload and prompt give the same bytes, always.
//!
//! Main function: [`body`]. It does not send anything and knows no connection.

use serde_json::{Map, Value, json};

use super::{Endpoint, Workload};
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

/// The JSON body of the request for `prompt`, UTF-8. The prompt's own budget goes before the workload's.
///
/// Keys stand in a fixed order, so the bytes depend on the arguments alone. Fields of
/// `request.extra` come last; one that the body already has is replaced in its place, and where
/// both are objects (`stream_options`) they are joined one level deep.
#[must_use]
pub fn body(workload: &Workload, dialect: Dialect, prompt: &Prompt) -> Vec<u8> {
    let request = &workload.request;
    let mut fields = Map::new();
    match workload.endpoint {
        Endpoint::ChatCompletions => {
            let messages = messages(request.system_prompt.as_deref(), &prompt.content);
            let messages = serde_json::to_value(messages).expect("messages are JSON");
            fields.insert("messages".to_owned(), messages);
        }
        Endpoint::Completions | Endpoint::LlamaCompletion => {
            fields.insert("prompt".to_owned(), bare(&prompt.content));
        }
    }
    if let Some(model) = &request.model {
        fields.insert("model".to_owned(), Value::from(model.as_str()));
    }
    fields.insert("stream".to_owned(), Value::from(true));
    // `/completion` has no usage chunk to ask for: its last event always carries the timings.
    if request.include_usage && workload.endpoint != Endpoint::LlamaCompletion {
        fields.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(seed) = request.seed {
        fields.insert("seed".to_owned(), Value::from(seed));
    }
    let budget = match workload.endpoint {
        Endpoint::LlamaCompletion => "n_predict",
        Endpoint::ChatCompletions | Endpoint::Completions => "max_tokens",
    };
    fields.insert(budget.to_owned(), Value::from(prompt.max_tokens.unwrap_or(request.max_tokens)));
    let forced = request.ignore_eos || prompt.forced;
    // A stop string would end an answer early whose length is forced.
    if !request.stop.is_empty() && !prompt.forced {
        fields.insert("stop".to_owned(), Value::from(request.stop.clone()));
    }
    if let Some(temperature) = request.temperature {
        fields.insert("temperature".to_owned(), Value::from(temperature));
    }
    if forced {
        fields.insert("ignore_eos".to_owned(), Value::from(true));
    }
    // Only llama-server has the route `/completion`, whatever it was taken for.
    if dialect == Dialect::LlamaCpp || workload.endpoint == Endpoint::LlamaCompletion {
        fields.insert("cache_prompt".to_owned(), Value::from(request.cache_prompt));
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

/// The `prompt` field of a completion.
fn bare(content: &Content) -> Value {
    match content {
        Content::Text(text) => Value::from(text.as_str()),
        Content::Tokens(ids) => Value::from(ids.as_slice()),
        Content::Chat(_) => unreachable!("the dataset refuses a chat for a completion"),
        Content::Recipe(_) => unreachable!("recipes are made to prompts before this"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        workload.request.temperature = Some(0.0);
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
