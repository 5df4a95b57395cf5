//! Which prompts fit the context of a slot: asked of the server, in its own tokens.
//!
//! Main function: [`leave_out_too_long`]; conversations are counted by a [`Counter`]. A prompt that is longer than a slot is refused by
//! llama-server with status 400, which would make a benchmark of a small model fail for no fault of
//! the server. It does not shorten prompts: half a text is another workload.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dataset::{ChatMessage, Content, Prompt};
use crate::plan::body::messages;
use crate::plan::{Endpoint, Workload, Yield};
use crate::scrape::ControlPlane;

/// How long the server may take to count the tokens of one prompt.
const LIMIT: Duration = Duration::from_secs(10);

/// Tokens that a chat template may add around the system prompt and the user's text; the longest
/// templates in use need about half of it. Only decides which prompts are counted at all.
const TEMPLATE_ALLOWANCE: u64 = 256;

/// Tokens that a template may add around each further turn.
const TURN_ALLOWANCE: u64 = 32;

/// Counts conversations.
pub(super) struct Counter<'a> {
    workload: &'a Workload,
    control: &'a ControlPlane,
    /// A server that does not say it once, or hangs, is not asked hundreds of times.
    asks: bool,
}

impl<'a> Counter<'a> {
    pub(super) fn new(workload: &'a Workload, control: &'a ControlPlane) -> Self {
        Self { workload, control, asks: true }
    }

    /// Whether a conversation with all its answers, each as long as it may be, fits `context` tokens.
    pub(super) async fn fits_talk(
        &mut self,
        prompt: &Prompt,
        opening: &[ChatMessage],
        turns: &[String],
        context: u64,
    ) -> bool {
        let budget = prompt.max_tokens.unwrap_or(self.workload.request.max_tokens);
        let answers = u64::from(budget) * (turns.len() as u64 + 1);
        let room = context.saturating_sub(answers);
        let said: usize = turns.iter().map(String::len).sum();
        let system = self.workload.request.system_prompt.as_deref().map_or(0, str::len);
        let at_most = prompt.content.most_tokens()
            + (said + system) as u64
            + TEMPLATE_ALLOWANCE
            + TURN_ALLOWANCE * turns.len() as u64;
        if at_most <= room || !self.asks {
            return at_most <= room || room > 0;
        }
        let mut messages = opening.to_vec();
        for turn in turns {
            // Most templates want the two to take turns.
            messages.push(ChatMessage::text("assistant", "."));
            messages.push(ChatMessage::text("user", turn.as_str()));
        }
        let templated = chat_text(&messages, self.control).await;
        let length = match templated {
            Some(text) => count(&text, self.control).await,
            None => None,
        };
        self.asks = length.is_some();
        length.is_none_or(|tokens| tokens <= room)
    }
}

/// A chat as the server's template has it.
async fn chat_text(messages: &[ChatMessage], control: &ControlPlane) -> Option<String> {
    let ask = json!({ "messages": messages });
    let answer = control.post("/apply-template", &ask, LIMIT).await.ok()?;
    Some(answer.json()?.get("prompt")?.as_str()?.to_owned())
}

/// Removes the prompts that do not fit `context` tokens with their answer; says how many.
///
/// The answer counts in full where its length is forced, and as one token where the server may end
/// it at the context's end. A prompt whose length the server does not tell is kept: the server's own
/// refusal is then the record.
pub(crate) async fn leave_out_too_long(
    prompts: &mut Vec<(usize, &Prompt)>,
    workload: &Workload,
    context: u64,
    control: &ControlPlane,
) -> u64 {
    let system_bytes = workload.request.system_prompt.as_deref().map_or(0, str::len) as u64;
    let mut fitting = Vec::with_capacity(prompts.len());
    let mut asks = true;
    for &(index, prompt) in prompts.iter() {
        let answer = if workload.endpoint.yields() != Yield::Tokens {
            0
        } else if workload.request.ignore_eos {
            u64::from(prompt.max_tokens.unwrap_or(workload.request.max_tokens))
        } else {
            1
        };
        let room = context.saturating_sub(answer);
        // No tokenizer makes more tokens than bytes, so short texts need not be asked about.
        let at_most = prompt.content.most_tokens() + system_bytes + TEMPLATE_ALLOWANCE;
        let mut fits = true;
        if at_most > room && asks {
            let length = tokens(workload, &prompt.content, control).await;
            // A server that does not say it once, or hangs, is not asked hundreds of times.
            asks = length.is_some();
            fits = length.is_none_or(|tokens| tokens <= room);
        }
        if fits {
            fitting.push((index, prompt));
        }
    }
    let left_out = (prompts.len() - fitting.len()) as u64;
    *prompts = fitting;
    left_out
}

/// The length of the whole prompt in the server's tokens, template included; `None` if it does not say.
async fn tokens(workload: &Workload, content: &Content, control: &ControlPlane) -> Option<u64> {
    let text = match (workload.endpoint, content) {
        (_, Content::Tokens(ids)) => return Some(ids.len() as u64),
        (Endpoint::ChatCompletions, content) => {
            let messages = messages(workload.request.system_prompt.as_deref(), content);
            chat_text(&messages, control).await?
        }
        (_, Content::Text(text)) => text.clone(),
        (_, Content::Chat(_)) => return None,
    };
    count(&text, control).await
}

async fn count(text: &str, control: &ControlPlane) -> Option<u64> {
    let ask = json!({ "content": text, "add_special": true });
    let answer = control.post("/tokenize", &ask, LIMIT).await.ok()?;
    answer.json()?.get("tokens").and_then(Value::as_array).map(|tokens| tokens.len() as u64)
}
