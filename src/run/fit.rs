//! Which prompts fit the context of a slot: asked of the server, in its own tokens.
//!
//! Main function: [`leave_out_too_long`]; conversations are counted by a [`Counter`]. A prompt that
//! is longer than a slot is refused by llama-server with status 400, which would make a benchmark of
//! a small model fail for no fault of the server. It does not shorten prompts: half a text is another workload.

use super::tokenizer::Tokenizer;
use crate::dataset::{ChatMessage, Content, Prompt};
use crate::plan::{Workload, Yield};
use crate::scrape::ControlPlane;

/// Tokens that a chat template may add around the system prompt and the user's text; the longest
/// templates in use need about half of it. Only decides which prompts are counted at all.
const TEMPLATE_ALLOWANCE: u64 = 256;

/// Tokens that a template may add around each further turn.
const TURN_ALLOWANCE: u64 = 32;

/// A slot with so much context, for a message.
pub(crate) fn slot(context: u64) -> String {
    format!("the {context} tokens of a slot")
}

/// Counts prompts and conversations.
pub(super) struct Counter<'a> {
    workload: &'a Workload,
    control: &'a ControlPlane,
    tokenizer: Asked<'a>,
}

impl<'a> Counter<'a> {
    pub(super) fn new(workload: &'a Workload, control: &'a ControlPlane) -> Self {
        Self { workload, control, tokenizer: Asked::NotYet }
    }

    /// The length of the whole prompt in the server's tokens, template included; `None` if it does not
    /// say. A server that does not say it once, or hangs, is not asked hundreds of times.
    async fn length(&mut self, content: &Content) -> Option<u64> {
        if let Asked::NotYet = self.tokenizer {
            let found = Tokenizer::find(self.control, self.workload).await;
            self.tokenizer = found.map_or(Asked::Silent, Asked::Found);
        }
        let Asked::Found(tokenizer) = &self.tokenizer else { return None };
        let length = tokenizer.count(content).await;
        if length.is_none() {
            self.tokenizer = Asked::Silent;
        }
        length
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
        if at_most <= room {
            return true;
        }
        let mut messages = opening.to_vec();
        for turn in turns {
            // Most templates want the two to take turns.
            messages.push(ChatMessage::text("assistant", "."));
            messages.push(ChatMessage::text("user", turn.as_str()));
        }
        let length = self.length(&Content::Chat(messages)).await;
        length.map_or(room > 0, |tokens| tokens <= room)
    }
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
    let mut counter = Counter::new(workload, control);
    for &(index, prompt) in prompts.iter() {
        let answer = if workload.endpoint.yields() != Yield::Tokens {
            0
        } else if workload.request.ignore_eos || prompt.forced {
            longest_answer(workload, prompt)
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
            let length = counter.length(&prompt.content).await;
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

/// The longest of the answers to a prompt, in tokens. The workload's own budget is that of the longer of
/// two already; a budget of the prompt's is that of the shorter.
fn longest_answer(workload: &Workload, prompt: &Prompt) -> u64 {
    match prompt.max_tokens {
        Some(own) => u64::from(own) + u64::from(workload.tpot_difference.unwrap_or(0)),
        None => u64::from(workload.request.max_tokens),
    }
}

/// What is known of the server's tokenizer.
enum Asked<'a> {
    NotYet,
    Found(Tokenizer<'a>),
    Silent,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scenario::{Origin, Overrides, builtin, workload};

    #[test]
    fn the_longer_of_two_answers_is_what_must_fit() {
        let text = builtin("chat").unwrap();
        let flags = Overrides { tpot_difference: Some(16), ..Overrides::default() };
        let mut workload = workload(text, &Origin::BuiltIn("chat"), &flags).unwrap();
        // As the load is planned with.
        workload.request.max_tokens = 80;
        let mut prompt = Prompt::of_text("a");
        assert_eq!(longest_answer(&workload, &prompt), 80);
        prompt.max_tokens = Some(32);
        assert_eq!(longest_answer(&workload, &prompt), 48);
    }
}
