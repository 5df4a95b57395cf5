//! The JSON and the server-sent events of an answer, byte for byte like a real server's.
//!
//! Main type: [`Frame`], everything in an answer that does not change from token to token,
//! rendered once. It does not decide what is sent; that is `job`.

use std::io::Write as _;

use serde_json::{Value, json};

/// Which shape an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
    /// `/completion`.
    Llama,
    /// Embeddings or scores: never streamed, no tokens.
    Vectors,
}

/// What a content event carries its text as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Plain content.
    Plain,
    /// A chat's `reasoning_content`.
    Reasoning,
    /// A chat's `tool_calls`; the first names the tool.
    ToolCall {
        /// Whether it is the first.
        first: bool,
    },
}

/// What has been counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) prompt_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) completion_tokens: u64,
    /// Slot start to first token, in whole microseconds as a real server counts.
    pub(super) prompt_us: u64,
    /// First to last token, likewise.
    pub(super) predicted_us: u64,
}

impl Tally {
    fn usage(&self) -> Value {
        json!({
            "completion_tokens": self.completion_tokens,
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        })
    }

    fn timings(&self) -> Value {
        let per = |whole: f64, parts: u64| if parts == 0 { 0.0 } else { whole / parts as f64 };
        let rate = |parts: u64, ms: f64| {
            if parts == 0 || ms <= 0.0 { 0.0 } else { parts as f64 * 1e3 / ms }
        };
        let prompt_n = self.prompt_tokens.saturating_sub(self.cached_tokens);
        let prompt_ms = self.prompt_us as f64 / 1e3;
        // The first token belongs to the prompt, so that n tokens have n − 1 steps between them.
        let steps = self.completion_tokens.saturating_sub(1);
        // A real server never says 0 here.
        let predicted_ms = self.predicted_us.max(1) as f64 / 1e3;
        json!({
            "cache_n": self.cached_tokens,
            "prompt_n": prompt_n,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": per(prompt_ms, prompt_n),
            "prompt_per_second": rate(prompt_n, prompt_ms),
            "predicted_n": self.completion_tokens,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": per(predicted_ms, steps),
            "predicted_per_second": rate(steps, predicted_ms),
        })
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finish<'a> {
    /// `None` leaves the finish reason out (and the final object of `/completion`).
    pub(super) reason: Option<&'a str>,
    pub(super) tally: Tally,
    /// Whether usage and timings are told at all.
    pub(super) tells_usage: bool,
    /// Whether a chat was asked for the usage chunk.
    pub(super) include_usage: bool,
    pub(super) truncated: bool,
}

/// What an answer is rendered from.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) shape: Shape,
    /// Ends each line of an event.
    pub(super) line_end: &'static str,
    pub(super) id: String,
    pub(super) created: i64,
    /// As a JSON string, quotes included.
    pub(super) model: String,
    /// `,"created":…` up to `"object":"…"`; for completions without the id.
    meta: String,
}

/// The `system_fingerprint` and `build_info`.
pub(super) const FINGERPRINT: &str = concat!("sim-", env!("CARGO_PKG_VERSION"));

impl Frame {
    pub(super) fn new(
        shape: Shape,
        line_end: &'static str,
        id: &str,
        created: i64,
        model: &str,
    ) -> Frame {
        let model = Value::from(model).to_string();
        let meta = match shape {
            Shape::Chat => format!(
                r#","created":{created},"id":"{id}","model":{model},"system_fingerprint":"{FINGERPRINT}","object":"chat.completion.chunk""#
            ),
            Shape::Text => format!(
                r#","created":{created},"model":{model},"system_fingerprint":"{FINGERPRINT}","object":"text_completion""#
            ),
            Shape::Llama | Shape::Vectors => String::new(),
        };
        Frame { shape, line_end, id: id.to_owned(), created, model, meta }
    }

    /// Appends a chat's first event, the role; the other shapes have none.
    pub(super) fn role(&self, out: &mut Vec<u8>) {
        if self.shape == Shape::Chat {
            let open = r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]"#;
            self.event(out, &[open, &self.meta, "}"]);
        }
    }

    /// Appends one content event. `text` needs no escape. `told` repeats the counts so far.
    pub(super) fn content(
        &self,
        out: &mut Vec<u8>,
        content: Content,
        text: &str,
        token: u32,
        tally: &Tally,
        told: Told,
    ) {
        let usage = if told == Told::Usage {
            format!(r#","usage":{}"#, tally.usage())
        } else {
            String::new()
        };
        let timings = if told == Told::Timings {
            format!(r#","timings":{}"#, tally.timings())
        } else {
            String::new()
        };
        match (self.shape, content) {
            (Shape::Chat, Content::Plain | Content::Reasoning) => {
                let open = if content == Content::Plain {
                    r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":""#
                } else {
                    r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":""#
                };
                self.event(out, &[open, text, r#""}}]"#, &self.meta, &usage, &timings, "}"]);
            }
            (Shape::Chat, Content::ToolCall { first }) => {
                let open = if first {
                    r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_sim","type":"function","function":{"name":"lookup","arguments":""#
                } else {
                    r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""#
                };
                self.event(out, &[open, text, r#""}}]}}]"#, &self.meta, &usage, &timings, "}"]);
            }
            (Shape::Text, _) => {
                let open = r#"{"choices":[{"text":""#;
                let middle = r#"","index":0,"logprobs":null,"finish_reason":null}]"#;
                let id = [r#","id":""#, &self.id, r#"""#].concat();
                self.event(out, &[open, text, middle, &self.meta, &usage, &id, &timings, "}"]);
            }
            (Shape::Llama | Shape::Vectors, _) => {
                let rest = format!(
                    r#"","tokens":[{token}],"stop":false,"id_slot":-1,"tokens_predicted":{},"tokens_evaluated":{}"#,
                    tally.completion_tokens, tally.prompt_tokens,
                );
                self.event(out, &[r#"{"index":0,"content":""#, text, &rest, &usage, &timings, "}"]);
            }
        }
    }

    /// Appends the events after the last token, without `[DONE]`. `llama` is what only the final
    /// object of `/completion` has.
    pub(super) fn finish(&self, out: &mut Vec<u8>, finish: &Finish<'_>, llama: &LlamaFinal<'_>) {
        let usage = || format!(r#","usage":{}"#, finish.tally.usage());
        let timings = || format!(r#","timings":{}"#, finish.tally.timings());
        match self.shape {
            Shape::Chat => {
                if let Some(reason) = finish.reason {
                    let open = format!(
                        r#"{{"choices":[{{"finish_reason":"{reason}","index":0,"delta":{{}}}}]"#
                    );
                    let timings = if finish.tells_usage && !finish.include_usage {
                        timings()
                    } else {
                        String::new()
                    };
                    self.event(out, &[&open, &self.meta, &timings, "}"]);
                }
                if finish.tells_usage && finish.include_usage {
                    self.event(out, &[r#"{"choices":[]"#, &self.meta, &usage(), &timings(), "}"]);
                }
            }
            Shape::Text => {
                let reason = finish
                    .reason
                    .map_or_else(|| "null".to_owned(), |reason| format!(r#""{reason}""#));
                let open = format!(
                    r#"{{"choices":[{{"text":"","index":0,"logprobs":null,"finish_reason":{reason}}}]"#
                );
                let id = format!(r#","id":"{}""#, self.id);
                let (usage, timings) = if finish.tells_usage {
                    (usage(), timings())
                } else {
                    (String::new(), String::new())
                };
                self.event(out, &[&open, &self.meta, &usage, &id, &timings, "}"]);
            }
            Shape::Llama | Shape::Vectors => {
                if finish.reason.is_some() {
                    self.event(out, &[&self.llama_final(finish, llama, "", "[]")]);
                }
            }
        }
    }

    /// The body of an answer that is not streamed.
    pub(super) fn whole(
        &self,
        finish: &Finish<'_>,
        llama: &LlamaFinal<'_>,
        text: &str,
        reasoning: &str,
    ) -> String {
        let reason = Value::from(finish.reason).to_string();
        let content = Value::from(text).to_string();
        let model = &self.model;
        let (created, id) = (self.created, &self.id);
        let (usage, timings) = if finish.tells_usage {
            (
                format!(r#","usage":{}"#, finish.tally.usage()),
                format!(r#","timings":{}"#, finish.tally.timings()),
            )
        } else {
            (String::new(), String::new())
        };
        match self.shape {
            Shape::Chat => {
                let message = match (finish.reason, reasoning.is_empty()) {
                    (Some("tool_calls"), _) => format!(
                        r#""content":null,"tool_calls":[{{"type":"function","id":"call_sim","function":{{"name":"lookup","arguments":{content}}}}}]"#
                    ),
                    (_, true) => format!(r#""content":{content}"#),
                    (_, false) => format!(
                        r#""content":{content},"reasoning_content":{}"#,
                        Value::from(reasoning)
                    ),
                };
                format!(
                    r#"{{"choices":[{{"finish_reason":{reason},"index":0,"message":{{"role":"assistant",{message}}}}}],"created":{created},"model":{model},"system_fingerprint":"{FINGERPRINT}","object":"chat.completion"{usage},"id":"{id}"{timings}}}"#
                )
            }
            Shape::Text => format!(
                r#"{{"choices":[{{"text":{content},"index":0,"logprobs":null,"finish_reason":{reason}}}],"created":{created},"model":{model},"system_fingerprint":"{FINGERPRINT}","object":"text_completion"{usage},"id":"{id}"{timings}}}"#
            ),
            Shape::Llama | Shape::Vectors => self.llama_final(finish, llama, text, "[]"),
        }
    }

    fn llama_final(
        &self,
        finish: &Finish<'_>,
        llama: &LlamaFinal<'_>,
        text: &str,
        tokens: &str,
    ) -> String {
        let stop_type = if finish.reason == Some("length") { "limit" } else { "eos" };
        let tally = &finish.tally;
        let timings = if finish.tells_usage {
            format!(r#","timings":{}"#, tally.timings())
        } else {
            String::new()
        };
        let counts = if finish.tells_usage {
            format!(
                r#","tokens_predicted":{},"tokens_evaluated":{}"#,
                tally.completion_tokens, tally.prompt_tokens
            )
        } else {
            String::new()
        };
        format!(
            r#"{{"index":0,"content":{content},"tokens":{tokens},"id_slot":{slot},"stop":true,"model":{model}{counts},"generation_settings":{settings},"prompt":{prompt},"has_new_line":false,"truncated":{truncated},"stop_type":"{stop_type}","stopping_word":"","tokens_cached":{cached}{timings}}}"#,
            content = Value::from(text),
            slot = llama.slot,
            model = self.model,
            settings = llama.settings,
            prompt = Value::from(llama.prompt),
            truncated = finish.truncated,
            cached = (tally.prompt_tokens + tally.completion_tokens).saturating_sub(1),
        )
    }

    /// Appends one event made of these parts.
    pub(super) fn event(&self, out: &mut Vec<u8>, parts: &[&str]) {
        out.extend_from_slice(b"data: ");
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(self.line_end.as_bytes());
        out.extend_from_slice(self.line_end.as_bytes());
    }

    /// Appends the comment of silence that a real server sends.
    pub(super) fn ping(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b":");
        out.extend_from_slice(self.line_end.as_bytes());
        out.extend_from_slice(self.line_end.as_bytes());
    }
}

/// Which counts a content event repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// None.
    Nothing,
    /// `timings`, on request (`timings_per_token`).
    Timings,
    /// `usage`, as some other servers do.
    Usage,
}

/// What only `/completion` tells at its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct LlamaFinal<'a> {
    pub(super) slot: u32,
    /// `generation_settings`, as JSON.
    pub(super) settings: &'a str,
    pub(super) prompt: &'a str,
}

/// The error object of llama-server, as an event's data or a body.
pub(super) fn error_json(status: u16, kind: &str, message: &str) -> String {
    json!({"error": {"code": status, "message": message, "type": kind}}).to_string()
}

/// Appends `payload` as one HTTP chunk.
pub(super) fn chunk(out: &mut Vec<u8>, payload: &[u8]) {
    write!(out, "{:x}\r\n", payload.len()).expect("writing to a vector cannot fail");
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// The chunk that ends a chunked body.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const TALLY: Tally = Tally {
        prompt_tokens: 45,
        cached_tokens: 44,
        completion_tokens: 3,
        prompt_us: 9506,
        predicted_us: 412,
    };

    fn text(shape: Shape, write: impl FnOnce(&Frame, &mut Vec<u8>)) -> String {
        let frame = Frame::new(shape, "\n", "chatcmpl-1", 17, "m");
        let mut out = Vec::new();
        write(&frame, &mut out);
        String::from_utf8(out).expect("text")
    }

    // The expected bytes are those of a real server, with its id, time, model and build replaced.
    #[test]
    fn chat_events_are_those_of_a_real_server() {
        let meta = format!(
            r#""created":17,"id":"chatcmpl-1","model":"m","system_fingerprint":"{FINGERPRINT}","object":"chat.completion.chunk""#
        );
        assert_eq!(
            text(Shape::Chat, |frame, out| frame.role(out)),
            format!(
                "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":null}}}}],{meta}}}\n\n"
            )
        );
        assert_eq!(
            text(Shape::Chat, |frame, out| frame.content(
                out,
                Content::Plain,
                "zw",
                7,
                &TALLY,
                Told::Nothing
            )),
            format!(
                "data: {{\"choices\":[{{\"finish_reason\":null,\"index\":0,\"delta\":{{\"content\":\"zw\"}}}}],{meta}}}\n\n"
            )
        );
        let finish = Finish {
            reason: Some("length"),
            tally: TALLY,
            tells_usage: true,
            include_usage: true,
            truncated: false,
        };
        let llama = LlamaFinal { slot: 0, settings: "{}", prompt: "" };
        let end = text(Shape::Chat, |frame, out| frame.finish(out, &finish, &llama));
        let (first, second) = end.split_once("\n\n").expect("two events");
        assert_eq!(
            first,
            format!(
                r#"data: {{"choices":[{{"finish_reason":"length","index":0,"delta":{{}}}}],{meta}}}"#
            )
        );
        assert_eq!(
            second,
            format!(
                r#"data: {{"choices":[],{meta},"usage":{{"completion_tokens":3,"prompt_tokens":45,"total_tokens":48,"prompt_tokens_details":{{"cached_tokens":44}}}},"timings":{{"cache_n":44,"prompt_n":1,"prompt_ms":9.506,"prompt_per_token_ms":9.506,"prompt_per_second":105.19671786240269,"predicted_n":3,"predicted_ms":0.412,"predicted_per_token_ms":0.206,"predicted_per_second":4854.368932038835}}}}"#
            ) + "\n\n"
        );
    }

    #[test]
    fn one_token_has_the_timings_that_a_real_server_gives_it() {
        let timings = Tally { completion_tokens: 1, predicted_us: 0, ..TALLY }.timings();
        assert_eq!(timings["predicted_ms"], 0.001);
        assert_eq!(timings["predicted_per_token_ms"], 0.0);
        assert_eq!(timings["predicted_per_second"], 0.0);
    }

    #[test]
    fn every_event_and_body_is_valid_json() {
        let finish = Finish {
            reason: None,
            tally: TALLY,
            tells_usage: true,
            include_usage: false,
            truncated: false,
        };
        let llama = LlamaFinal { slot: 1, settings: r#"{"seed":1}"#, prompt: "a \"b\"\n" };
        for shape in [Shape::Chat, Shape::Text, Shape::Llama] {
            for reason in [None, Some("stop"), Some("length"), Some("tool_calls")] {
                let finish = Finish { reason, ..finish };
                let events = text(shape, |frame, out| {
                    frame.role(out);
                    for content in
                        [Content::Plain, Content::Reasoning, Content::ToolCall { first: true }]
                    {
                        for told in [Told::Nothing, Told::Timings, Told::Usage] {
                            frame.content(out, content, " word", 300, &TALLY, told);
                        }
                    }
                    frame.finish(out, &finish, &llama);
                });
                for event in events.split("\n\n").filter(|event| !event.is_empty()) {
                    let data = event.strip_prefix("data: ").expect("a data line");
                    serde_json::from_str::<Value>(data).expect("valid JSON");
                }
                let body =
                    Frame::new(shape, "\n", "i", 1, "m").whole(&finish, &llama, "say \"x\"", "why");
                serde_json::from_str::<Value>(&body).expect("valid JSON");
            }
        }
    }

    #[test]
    fn a_chunk_is_its_size_in_hex_and_its_bytes() {
        let mut out = Vec::new();
        chunk(&mut out, &[b'x'; 31]);
        assert_eq!(out, [b"1f\r\n".as_slice(), &[b'x'; 31], b"\r\n"].concat());
    }
}
