//! Which prompts fit the context of a slot: asked of the server, in its own tokens.
//!
//! Main function: [`leave_out_too_long`]. A prompt that is longer than a slot is refused by
//! llama-server with status 400, which would make a benchmark of a small model fail for no fault of
//! the server. It does not shorten prompts: half a text is another workload.

use super::tokenizer::Tokenizer;
use crate::dataset::Prompt;
use crate::plan::Workload;
use crate::scrape::ControlPlane;

/// Tokens that a chat template may add around the system prompt and the user's text; the longest
/// templates in use need about half of it. Only decides which prompts are counted at all.
const TEMPLATE_ALLOWANCE: u64 = 256;

/// Removes the prompts that do not fit `context` tokens with their answer; says how many.
///
/// The answer counts in full where its length is forced, and as one token where the server may end
/// it at the context's end. A prompt whose length the server does not tell is kept: the server's own
/// refusal is then the record.
pub(super) async fn leave_out_too_long(
    prompts: &mut Vec<(usize, &Prompt)>,
    workload: &Workload,
    context: u64,
    control: &ControlPlane,
) -> u64 {
    let system_bytes = workload.request.system_prompt.as_deref().map_or(0, str::len) as u64;
    let mut fitting = Vec::with_capacity(prompts.len());
    let mut tokenizer = Asked::NotYet;
    for &(index, prompt) in prompts.iter() {
        let answer = if workload.request.ignore_eos || prompt.forced {
            u64::from(prompt.max_tokens.unwrap_or(workload.request.max_tokens))
        } else {
            1
        };
        let room = context.saturating_sub(answer);
        // No tokenizer makes more tokens than bytes, so short texts need not be asked about.
        let at_most = prompt.content.most_tokens() + system_bytes + TEMPLATE_ALLOWANCE;
        let mut fits = true;
        if let Some(tokens) = prompt.tokens {
            fits = tokens <= room;
        } else if at_most > room {
            if let Asked::NotYet = tokenizer {
                tokenizer = match Tokenizer::find(control, workload).await {
                    Some(found) => Asked::Found(found),
                    None => Asked::Silent,
                };
            }
            if let Asked::Found(found) = &tokenizer {
                let length = found.count(&prompt.content).await;
                fits = length.is_none_or(|tokens| tokens <= room);
                // A server that does not say it once, or hangs, is not asked hundreds of times.
                if length.is_none() {
                    tokenizer = Asked::Silent;
                }
            }
        }
        if fits {
            fitting.push((index, prompt));
        }
    }
    let left_out = (prompts.len() - fitting.len()) as u64;
    *prompts = fitting;
    left_out
}

/// What is known of the server's tokenizer.
enum Asked<'a> {
    NotYet,
    Found(Tokenizer<'a>),
    Silent,
}
