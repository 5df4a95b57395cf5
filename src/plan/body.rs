//! The body of a request: the same workload and prompt give the same bytes, always.
//!
//! Main function: [`body`]. It does not send anything and knows no connection.

use serde_json::{Map, Value, json};

use super::{Endpoint, Workload};

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

/// The JSON body of the request for `prompt`, UTF-8.
///
/// Keys stand in a fixed order, so the bytes depend on the arguments alone. Fields of
/// `request.extra` come last; one that the body already has is replaced in its place, and where
/// both are objects (`stream_options`) they are joined one level deep.
#[must_use]
pub fn body(workload: &Workload, dialect: Dialect, prompt: &str) -> Vec<u8> {
    let request = &workload.request;
    let mut fields = Map::new();
    match workload.endpoint {
        Endpoint::ChatCompletions => {
            let mut messages = Vec::with_capacity(2);
            if let Some(system) = &request.system_prompt {
                messages.push(json!({ "role": "system", "content": system }));
            }
            messages.push(json!({ "role": "user", "content": prompt }));
            fields.insert("messages".to_owned(), Value::Array(messages));
        }
        Endpoint::Completions | Endpoint::LlamaCompletion => {
            fields.insert("prompt".to_owned(), Value::from(prompt));
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
    fields.insert(budget.to_owned(), Value::from(request.max_tokens));
    if !request.stop.is_empty() {
        fields.insert("stop".to_owned(), Value::from(request.stop.clone()));
    }
    if let Some(temperature) = request.temperature {
        fields.insert("temperature".to_owned(), Value::from(temperature));
    }
    if request.ignore_eos {
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
        String::from_utf8(body(workload, dialect, "Hi \"you\"\n")).expect("JSON is UTF-8")
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
