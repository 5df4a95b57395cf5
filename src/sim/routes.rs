//! Which request gets which answer: everything but the making of tokens.
//!
//! Main function: [`reply`]. What has to wait for a slot is only read here, as a [`Generation`].

use serde_json::{Value, json};

use super::engine::SharedEngine;
use super::fault::FaultSet;
use super::http::{Request, Response};
use super::model::{BOS, TRAIN_CONTEXT, VOCABULARY_SIZE, Vocabulary};
use super::render::{FINGERPRINT, Shape};
use super::vectors::{self, Batch};

/// What a request leads to.
pub(super) enum Reply {
    /// This, now.
    Now(Response),
    /// Tokens, once there is a slot.
    Generate(Box<Generation>),
}

/// A request for tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Generation {
    pub(super) shape: Shape,
    /// The texts that are to be embedded or ranked, in place of tokens to be made.
    pub(super) batch: Option<Batch>,
    pub(super) stream: bool,
    /// Whether the client wants the connection to stay.
    pub(super) keep_alive: bool,
    pub(super) prompt: Vec<u32>,
    /// Most tokens of the answer; `None` where the request does not say.
    pub(super) budget: Option<u64>,
    pub(super) ignore_eos: bool,
    pub(super) cache_prompt: bool,
    pub(super) include_usage: bool,
    pub(super) timings_per_token: bool,
    pub(super) seed: Option<u64>,
    /// The slot that it asks for.
    pub(super) slot: Option<u32>,
    /// From the request's header; `None` leaves them to the flags.
    pub(super) faults: Option<FaultSet>,
}

const TEMPLATE: &str = "{%- for message in messages -%}\n  {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n  {{- '<|im_start|>assistant\\n' -}}\n{%- endif -%}";

/// The answer to a request, in the order of checks of a real server.
pub(super) fn reply(engine: &SharedEngine, request: &Request) -> Reply {
    let path = request.path.as_str();
    if request.method == "OPTIONS" {
        return Reply::Now(Response {
            status: 200,
            content_type: "text/html",
            headers: "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Methods: GET, POST, DELETE, OPTIONS\r\nAccess-Control-Allow-Headers: *\r\n".to_owned(),
            body: String::new(),
        });
    }
    let is_health = matches!(path, "/health" | "/v1/health");
    if !is_health && !is_authorised(engine, request) {
        return Reply::Now(plain_error(401, "authentication_error", "Invalid API Key"));
    }
    if engine.borrow().is_loading() {
        return Reply::Now(plain_error(503, "unavailable_error", "Loading model"));
    }
    if let ("POST", Some(shape)) = (request.method.as_str(), shape_of(path)) {
        return match read_generation(shape, request) {
            Ok(generation) => Reply::Generate(Box::new(generation)),
            Err(response) => Reply::Now(response),
        };
    }
    if let Some(batch) = vectors::requested(request, parse_body) {
        let (embeddings, reranking) = {
            let engine = engine.borrow();
            (engine.args.embeddings, engine.args.reranking)
        };
        if let Some(why) = vectors::unsupported(path, embeddings, reranking) {
            return Reply::Now(not_supported(why));
        }
        return match batch.and_then(|batch| read_batch(batch, request)) {
            Ok(generation) => Reply::Generate(Box::new(generation)),
            Err(response) => Reply::Now(response),
        };
    }
    Reply::Now(match (request.method.as_str(), path) {
        ("GET", "/health" | "/v1/health") => Response::json(r#"{"status":"ok"}"#.to_owned()),
        ("GET", "/metrics") => metrics(engine),
        ("GET", "/slots") => slots(engine),
        ("GET", "/props") => props(engine),
        ("GET", "/v1/models" | "/models") => models(engine),
        ("POST", "/tokenize") => tokenize(request),
        ("POST", "/detokenize") => detokenize(request),
        ("POST", "/apply-template") => apply_template(request),
        ("POST", "/props") => not_supported(
            "This server does not support changing global properties. Start it with `--props`",
        ),
        ("GET", "/") => Response {
            content_type: "text/html; charset=utf-8",
            ..Response::json("<!doctype html><title>bench-ci sim</title>".to_owned())
        },
        _ => plain_error(404, "not_found_error", "File Not Found"),
    })
}

fn is_authorised(engine: &SharedEngine, request: &Request) -> bool {
    let engine = engine.borrow();
    let Some(keys) = &engine.args.api_key else { return true };
    keys.split(',').any(|key| request.api_key.as_deref() == Some(key))
}

fn shape_of(path: &str) -> Option<Shape> {
    match path {
        "/v1/chat/completions" | "/chat/completions" => Some(Shape::Chat),
        "/v1/completions" | "/completions" => Some(Shape::Text),
        "/completion" => Some(Shape::Llama),
        _ => None,
    }
}

/// An error in the key order of those that a real server writes by hand.
fn plain_error(status: u16, kind: &str, message: &str) -> Response {
    let error = json!({"error": {"message": message, "type": kind, "code": status}});
    Response { status, ..Response::json(error.to_string()) }
}

fn invalid(message: &str) -> Response {
    Response::error(400, "invalid_request_error", message)
}

fn not_supported(message: &str) -> Response {
    Response::error(501, "not_supported_error", message)
}

fn parse_body(request: &Request) -> Result<Value, Response> {
    serde_json::from_slice(&request.body)
        .map_err(|error| invalid(&format!("[json.exception.parse_error.101] parse error: {error}")))
}

fn read_generation(shape: Shape, request: &Request) -> Result<Generation, Response> {
    let body = parse_body(request)?;
    let mut prompt = Vec::new();
    if shape == Shape::Chat {
        let Some(messages) = body.get("messages").and_then(Value::as_array) else {
            return Err(invalid("'messages' is required"));
        };
        // As of a real server, whose template leaves the beginning to the tokenizer.
        prompt.push(BOS);
        Vocabulary::shared().tokenize(&render_chat(messages)?, &mut prompt);
    } else {
        let Some(given) = body.get("prompt") else {
            return Err(invalid("[json.exception.out_of_range.403] key 'prompt' not found"));
        };
        read_prompt(given, &mut prompt)?;
    }
    let flag =
        |name: &str, default: bool| body.get(name).and_then(Value::as_bool).unwrap_or(default);
    let faults = read_faults(request)?;
    let budget = ["max_completion_tokens", "max_tokens", "n_predict"]
        .iter()
        .find_map(|name| body.get(*name).and_then(Value::as_i64));
    Ok(Generation {
        shape,
        batch: None,
        stream: flag("stream", false),
        keep_alive: request.keep_alive,
        prompt,
        budget: budget.and_then(|budget| u64::try_from(budget).ok()),
        ignore_eos: flag("ignore_eos", false),
        cache_prompt: flag("cache_prompt", true),
        include_usage: body.pointer("/stream_options/include_usage").and_then(Value::as_bool)
            == Some(true),
        timings_per_token: flag("timings_per_token", false),
        seed: body.get("seed").and_then(Value::as_u64),
        slot: body.get("id_slot").and_then(Value::as_u64).and_then(|slot| u32::try_from(slot).ok()),
        faults,
    })
}

fn read_faults(request: &Request) -> Result<Option<FaultSet>, Response> {
    let faults = request.faults.as_deref().map(FaultSet::from_header).transpose();
    faults.map_err(|error| invalid(&error.to_string()))
}

/// Embeddings and scores take a slot for as long as reading their texts does.
fn read_batch(batch: Batch, request: &Request) -> Result<Generation, Response> {
    Ok(Generation {
        shape: Shape::Vectors,
        prompt: batch.prompt(),
        batch: Some(batch),
        stream: false,
        keep_alive: request.keep_alive,
        budget: Some(0),
        ignore_eos: false,
        cache_prompt: false,
        include_usage: false,
        timings_per_token: false,
        seed: None,
        slot: None,
        faults: read_faults(request)?,
    })
}

/// Text, token ids, or a mixture of both; a list of one prompt is that prompt.
fn read_prompt(given: &Value, prompt: &mut Vec<u32>) -> Result<(), Response> {
    let invalid_prompt = || {
        invalid(
            "\"prompt\" must be a string, a list of tokens, or a list of mixed strings & tokens",
        )
    };
    match given {
        Value::String(text) => {
            prompt.push(BOS);
            Vocabulary::shared().tokenize(text, prompt);
        }
        Value::Array(parts) if parts.iter().all(Value::is_array) => match parts.as_slice() {
            [only] => read_prompt(only, prompt)?,
            _ => return Err(invalid("the simulator takes one prompt per request")),
        },
        Value::Array(parts) => {
            if parts.len() > 1 && parts.iter().all(Value::is_string) {
                return Err(invalid("the simulator takes one prompt per request"));
            }
            for (index, part) in parts.iter().enumerate() {
                match part {
                    Value::String(text) => {
                        if index == 0 {
                            prompt.push(BOS);
                        }
                        Vocabulary::shared().tokenize(text, prompt);
                    }
                    part => {
                        let token = part.as_u64().and_then(|token| u32::try_from(token).ok());
                        let token = token.filter(|&token| token < VOCABULARY_SIZE);
                        prompt
                            .push(token.ok_or_else(|| invalid("Prompt contains invalid tokens"))?);
                    }
                }
            }
        }
        _ => return Err(invalid_prompt()),
    }
    if prompt.is_empty() {
        // A real server falls back to the token that begins a text.
        prompt.push(BOS);
    }
    Ok(())
}

fn render_chat(messages: &[Value]) -> Result<String, Response> {
    let mut text = String::new();
    for message in messages {
        let Some(role) = message.get("role").and_then(Value::as_str) else {
            return Err(invalid("Missing 'role' in a message"));
        };
        text.push_str("<|im_start|>");
        text.push_str(role);
        text.push('\n');
        match message.get("content") {
            Some(Value::String(content)) => text.push_str(content),
            Some(Value::Array(parts)) => {
                for part in parts {
                    text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
                }
            }
            Some(Value::Null) | None => {}
            Some(_) => return Err(invalid("Invalid 'content' type: expected string or array")),
        }
        text.push_str("<|im_end|>\n");
    }
    text.push_str("<|im_start|>assistant\n");
    Ok(text)
}

fn metrics(engine: &SharedEngine) -> Response {
    let mut engine = engine.borrow_mut();
    if !engine.args.metrics {
        return not_supported(
            "This server does not support metrics endpoint. Start it with `--metrics`",
        );
    }
    let (processing, deferred) = (engine.slots.busy(), engine.deferred());
    // A real server gives its monotonic clock in microseconds here, whatever the name says.
    let began_us = engine.began_ns / 1_000;
    Response {
        status: 200,
        content_type: "text/plain; version=0.0.4",
        headers: format!("Process-Start-Time-Unix: {began_us}\r\n"),
        body: engine.counters.scrape(processing, deferred),
    }
}

fn slots(engine: &SharedEngine) -> Response {
    let engine = engine.borrow();
    if engine.args.no_slots {
        return not_supported(
            "This server does not support slots endpoint. Start it with `--slots`",
        );
    }
    let slots = engine.slots.all().iter().enumerate().map(|(id, slot)| {
        let job = slot.job.and_then(|job| engine.job(job));
        let made = job.map_or(0, super::job::Job::made);
        let prompt = job.map_or(slot.cached_tokens() as u64, |job| job.record.prompt_tokens);
        json!({
            "id": id,
            "n_ctx": engine.args.slot_context(),
            "speculative": false,
            "is_processing": job.is_some(),
            "id_task": slot.last_job.map_or(-1, |job| i64::try_from(job).unwrap_or(i64::MAX)),
            "n_prompt_tokens": prompt,
            "n_prompt_tokens_processed": job.map_or(0, |job| job.record.prompt_tokens - job.record.cached_tokens),
            "n_prompt_tokens_cache": job.map_or(0, |job| job.record.cached_tokens),
            "params": job.map_or_else(|| settings(None), |job| settings(Some(&job.generation))),
            "next_token": [{
                "has_next_token": job.is_some(),
                "has_new_line": false,
                "n_remain": job.map_or(-1, |job| {
                    i64::try_from(job.answer.tokens.saturating_sub(made)).unwrap_or(i64::MAX)
                }),
                "n_decoded": made,
            }],
        })
    });
    Response::json(Value::Array(slots.collect()).to_string())
}

fn props(engine: &SharedEngine) -> Response {
    let engine = engine.borrow();
    let args = &engine.args;
    Response::json(
        json!({
            "default_generation_settings": {"params": settings(None), "n_ctx": args.slot_context()},
            "total_slots": args.slot_count(),
            "model_alias": args.model_name(),
            "model_ftype": "simulated",
            "model_path": args.model.as_deref().unwrap_or("sim"),
            "modalities": {"vision": false, "video": false, "audio": false},
            "endpoint_slots": !args.no_slots,
            "endpoint_props": args.props,
            "endpoint_metrics": args.metrics,
            "ui": false,
            "ui_settings": {},
            "chat_template": TEMPLATE,
            "chat_template_caps": {
                "supports_string_content": true,
                "supports_system_role": true,
                "supports_tool_calls": false,
                "supports_tools": false,
                "supports_typed_content": false,
            },
            "bos_token": "<s>",
            "eos_token": "</s>",
            "build_info": FINGERPRINT,
            "is_sleeping": false,
        })
        .to_string(),
    )
}

fn models(engine: &SharedEngine) -> Response {
    let engine = engine.borrow();
    let name = engine.args.model_name();
    Response::json(
        json!({
            "models": [{
                "name": name, "model": name, "modified_at": "", "size": "", "digest": "", "type": "model",
                "description": "", "tags": [""], "capabilities": ["completion"], "parameters": "",
                "details": {
                    "parent_model": "", "format": "gguf", "family": "", "families": [""],
                    "parameter_size": "", "quantization_level": "",
                },
            }],
            "object": "list",
            "data": [{
                "id": name,
                "aliases": [name],
                "tags": [],
                "object": "model",
                "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
                "created": engine.began_ns / 1_000_000_000,
                "owned_by": "llamacpp",
                "meta": {
                    "vocab_type": 1,
                    "n_vocab": VOCABULARY_SIZE,
                    "n_ctx": engine.args.slot_context(),
                    "n_ctx_train": TRAIN_CONTEXT,
                    "n_embd": vectors::DIMENSIONS,
                    "n_params": 213_312,
                    "size": 853_248,
                    "ftype": "simulated",
                },
            }],
        })
        .to_string(),
    )
}

fn tokenize(request: &Request) -> Response {
    let body = match parse_body(request) {
        Ok(body) => body,
        Err(response) => return response,
    };
    let flag = |name: &str| body.get(name).and_then(Value::as_bool) == Some(true);
    let mut tokens = Vec::new();
    if flag("add_special") {
        tokens.push(BOS);
    }
    let vocabulary = Vocabulary::shared();
    vocabulary
        .tokenize(body.get("content").and_then(Value::as_str).unwrap_or_default(), &mut tokens);
    if flag("with_pieces") {
        let pieces: Vec<_> = tokens
            .iter()
            .map(|&id| json!({"id": id, "piece": vocabulary.detokenize(&[id])}))
            .collect();
        return Response::json(json!({"tokens": pieces}).to_string());
    }
    Response::json(json!({"tokens": tokens}).to_string())
}

fn detokenize(request: &Request) -> Response {
    let body = match parse_body(request) {
        Ok(body) => body,
        Err(response) => return response,
    };
    let tokens: Option<Vec<u32>> = body.get("tokens").and_then(Value::as_array).map(|tokens| {
        tokens
            .iter()
            .filter_map(|token| token.as_u64().and_then(|token| u32::try_from(token).ok()))
            .collect()
    });
    let content = Vocabulary::shared().detokenize(&tokens.unwrap_or_default());
    Response::json(json!({"content": content}).to_string())
}

fn apply_template(request: &Request) -> Response {
    let body = match parse_body(request) {
        Ok(body) => body,
        Err(response) => return response,
    };
    match body.get("messages").and_then(Value::as_array).map(|messages| render_chat(messages)) {
        Some(Ok(prompt)) => Response::json(json!({"prompt": prompt}).to_string()),
        Some(Err(response)) => response,
        None => invalid("'messages' is required"),
    }
}

/// `generation_settings` of `/completion`, as JSON.
pub(super) fn generation_settings(generation: &Generation) -> String {
    settings(Some(generation)).to_string()
}

/// The sampling settings that a real server repeats; those of a request, or the defaults.
fn settings(generation: Option<&Generation>) -> Value {
    let budget = generation.and_then(|generation| generation.budget).map_or(-1, |budget| {
        // Budgets were read from `i64`.
        i64::try_from(budget).unwrap_or(i64::MAX)
    });
    json!({
        "seed": generation.and_then(|generation| generation.seed).unwrap_or(u64::from(u32::MAX)),
        "temperature": 0.8, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0,
        "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0,
        "repeat_last_n": 64, "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "max_tokens": budget, "n_predict": budget, "n_keep": 0, "n_discard": 0,
        "ignore_eos": generation.is_some_and(|generation| generation.ignore_eos),
        "stream": generation.is_some_and(|generation| generation.stream),
        "n_probs": 0, "min_keep": 0, "chat_format": "Content-only",
        "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"],
        "timings_per_token": generation.is_some_and(|generation| generation.timings_per_token),
        "lora": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::clock::Received;

    fn read(shape: Shape, body: &Value) -> Result<Generation, Response> {
        let request = Request {
            method: "POST".to_owned(),
            path: "/".to_owned(),
            keep_alive: true,
            api_key: None,
            faults: None,
            client_request: None,
            body: body.to_string().into_bytes(),
            received: Received::from_kernel(None),
        };
        read_generation(shape, &request)
    }

    #[test]
    fn token_ids_are_the_prompt_as_they_are() {
        let generation = read(
            Shape::Llama,
            &json!({"prompt": [5, 300, 301], "n_predict": 4, "ignore_eos": true, "cache_prompt": false, "id_slot": 1}),
        )
        .expect("valid");
        assert_eq!(generation.prompt, [5, 300, 301]);
        assert_eq!((generation.budget, generation.slot), (Some(4), Some(1)));
        assert!(generation.ignore_eos && !generation.cache_prompt && !generation.stream);
        let nested =
            read(Shape::Text, &json!({"prompt": [[5, 6]], "n_predict": -1})).expect("valid");
        assert_eq!((nested.prompt, nested.budget), (vec![5, 6], None));
    }

    #[test]
    fn prompts_that_a_real_server_refuses_are_refused() {
        for (shape, body) in [
            (Shape::Llama, json!({})),
            (Shape::Llama, json!({"prompt": {"a": 1}})),
            (Shape::Llama, json!({"prompt": [1, 99_999_999]})),
            (Shape::Chat, json!({"prompt": "x"})),
            (Shape::Chat, json!({"messages": [{"content": "x"}]})),
        ] {
            assert_eq!(read(shape, &body).expect_err("refused").status, 400, "{body}");
        }
    }

    #[test]
    fn a_chat_takes_text_parts_and_both_names_of_the_budget() {
        let parts = json!([{"role": "user", "content": [{"type": "text", "text": "hi"}]}]);
        let text = json!([{"role": "user", "content": "hi"}]);
        let a = read(Shape::Chat, &json!({"messages": parts, "max_completion_tokens": 3}))
            .expect("valid");
        let b = read(Shape::Chat, &json!({"messages": text, "max_tokens": 3})).expect("valid");
        assert_eq!(a, b);
    }
}
