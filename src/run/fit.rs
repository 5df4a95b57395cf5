//! Which prompts fit the context of a slot: asked of the server, in its own tokens.
//!
//! Main function: [`leave_out_too_long`]. A prompt that is longer than a slot is refused by
//! llama-server with status 400, which would make a benchmark of a small model fail for no fault of
//! the server. It does not shorten prompts: half a text is another workload.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dataset::Prompt;
use crate::plan::{Endpoint, Workload};
use crate::scrape::ControlPlane;

/// How long the server may take to count the tokens of one prompt.
const LIMIT: Duration = Duration::from_secs(10);

/// Tokens that a chat template may add around the system prompt and the user's text; the longest
/// templates in use need about half of it. Only decides which prompts are counted at all.
const TEMPLATE_ALLOWANCE: u64 = 256;

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
    let answer =
        if workload.request.ignore_eos { u64::from(workload.request.max_tokens) } else { 1 };
    let room = context.saturating_sub(answer);
    let system_bytes = workload.request.system_prompt.as_deref().map_or(0, str::len) as u64;
    let mut fitting = Vec::with_capacity(prompts.len());
    let mut asks = true;
    for &(index, prompt) in prompts.iter() {
        // No tokenizer makes more tokens than bytes, so short texts need not be asked about.
        let at_most = prompt.text.len() as u64 + system_bytes + TEMPLATE_ALLOWANCE;
        let mut fits = true;
        if at_most > room && asks {
            let length = tokens(workload, &prompt.text, control).await;
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
async fn tokens(workload: &Workload, text: &str, control: &ControlPlane) -> Option<u64> {
    let content = match workload.endpoint {
        Endpoint::ChatCompletions => {
            let mut messages = Vec::new();
            if let Some(system) = &workload.request.system_prompt {
                messages.push(json!({ "role": "system", "content": system }));
            }
            messages.push(json!({ "role": "user", "content": text }));
            let answer = control
                .post("/apply-template", &json!({ "messages": messages }), LIMIT)
                .await
                .ok()?;
            answer.json()?.get("prompt")?.as_str()?.to_owned()
        }
        Endpoint::Completions | Endpoint::LlamaCompletion => text.to_owned(),
    };
    let ask = json!({ "content": content, "add_special": true });
    let answer = control.post("/tokenize", &ask, LIMIT).await.ok()?;
    answer.json()?.get("tokens").and_then(Value::as_array).map(|tokens| tokens.len() as u64)
}
