//! The server's own tokenizer, asked over HTTP: llama-server's `/tokenize`, or vLLM's and SGLang's.
//!
//! Main type: [`Tokenizer`]. It counts what a request really holds, template and special tokens
//! included, so that no tokenizer of ours has to guess.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dataset::Content;
use crate::plan::body::messages;
use crate::plan::{Endpoint, Workload};
use crate::scrape::ControlPlane;

/// How long the server may take to count the tokens of one prompt.
const LIMIT: Duration = Duration::from_secs(10);

/// Whose way of asking the server understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// `{"content": …}`, and `/apply-template` for a chat.
    LlamaCpp,
    /// `{"prompt": …}` or `{"messages": …}`.
    Vllm,
}

/// A tokenizer that has answered once.
pub(super) struct Tokenizer<'a> {
    control: &'a ControlPlane,
    workload: &'a Workload,
    manner: Manner,
}

impl<'a> Tokenizer<'a> {
    /// Finds out how the server is asked; `None` if it has no tokenizer for us.
    pub(super) async fn find(control: &'a ControlPlane, workload: &'a Workload) -> Option<Self> {
        for manner in [Manner::LlamaCpp, Manner::Vllm] {
            let tokenizer = Self { control, workload, manner };
            if tokenizer.ids("Hello").await.is_some_and(|ids| !ids.is_empty()) {
                return Some(tokenizer);
            }
        }
        None
    }

    /// Whether the server is known to take `ignore_eos`.
    pub(super) fn can_force_lengths(&self) -> bool {
        // Both kinds of servers that tokenize for others do.
        match self.manner {
            Manner::LlamaCpp | Manner::Vllm => true,
        }
    }

    /// The ids of a bare text, without what a prompt begins with, and with special tokens written out
    /// in it taken for plain text where the server can tell them apart.
    pub(super) async fn ids(&self, text: &str) -> Option<Vec<u32>> {
        let ask = match self.manner {
            Manner::LlamaCpp => {
                json!({ "content": text, "add_special": false, "parse_special": false })
            }
            Manner::Vllm => self.named(json!({ "prompt": text, "add_special_tokens": false })),
        };
        let tokens = self.tokens(&ask).await?;
        tokens.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    }

    /// The length of the whole prompt that the server will see; `None` if it does not say.
    pub(super) async fn count(&self, content: &Content) -> Option<u64> {
        let ask = match (self.workload.endpoint, content, self.manner) {
            (_, Content::Tokens(ids), _) => return Some(ids.len() as u64),
            (_, Content::Recipe(_), _) => return None,
            (Endpoint::ChatCompletions, content, Manner::LlamaCpp) => {
                let messages = messages(self.workload.request.system_prompt.as_deref(), content);
                let ask = json!({ "messages": messages });
                let answer = self.control.post("/apply-template", &ask, LIMIT).await.ok()?;
                let prompt = answer.json()?.get("prompt")?.as_str()?.to_owned();
                json!({ "content": prompt, "add_special": true, "parse_special": true })
            }
            (Endpoint::ChatCompletions, content, Manner::Vllm) => {
                let messages = messages(self.workload.request.system_prompt.as_deref(), content);
                self.named(json!({ "messages": messages, "add_generation_prompt": true }))
            }
            (_, Content::Text(text), Manner::LlamaCpp) => {
                json!({ "content": text, "add_special": true, "parse_special": true })
            }
            (_, Content::Text(text), Manner::Vllm) => {
                self.named(json!({ "prompt": text, "add_special_tokens": true }))
            }
            (_, Content::Chat(_), _) => return None,
        };
        self.tokens(&ask).await.map(|tokens| tokens.len() as u64)
    }

    /// The same question, with the model's name where requests carry one.
    fn named(&self, mut ask: Value) -> Value {
        if let (Some(model), Some(fields)) = (&self.workload.request.model, ask.as_object_mut()) {
            fields.insert("model".to_owned(), Value::from(model.as_str()));
        }
        ask
    }

    async fn tokens(&self, ask: &Value) -> Option<Vec<Value>> {
        let answer = self.control.post("/tokenize", ask, LIMIT).await.ok()?;
        if answer.status != 200 {
            return None;
        }
        answer.json()?.get("tokens")?.as_array().cloned()
    }
}
