//! Which prompts fit the context of a slot: asked of the server, in its own tokens.
//!
//! Main function: [`leave_out_too_long`]; conversations are counted by a [`Counter`]. A prompt that
//! is longer than a slot is refused by llama-server with status 400, which would make a benchmark of
//! a small model fail for no fault of the server. It does not shorten prompts: half a text is another workload.

use super::stage::Running;
use super::tokenizer::Tokenizer;
use crate::dataset::{ChatMessage, Content, Prompt};
use crate::event::{Event, Events, Stage};
use crate::plan::{LoadShape, Workload, Yield};
use crate::scrape::ControlPlane;

/// Tokens that a chat template may add around the system prompt and the user's text; the longest
/// templates in use need about half of it. Only decides which prompts are counted at all.
const TEMPLATE_ALLOWANCE: u64 = 256;

/// Tokens that a template may add around each further turn.
const TURN_ALLOWANCE: u64 = 32;

/// Prompts that the server counts at most where the load takes prompts in turn until its time is over:
/// each is a question or two of some milliseconds, and a dataset may have tens of thousands that no such
/// load comes to. A number and no time, so that a dataset is the same work on every machine.
const MOST_COUNTED: u64 = 2_000;

/// Prompts that are counted between two words about it. Fewer are counted in silence: they take a moment.
const TELL_EVERY: u64 = 250;

/// How many prompts may be counted; `None` where each is sent once, however many there are.
fn most_counted(workload: &Workload) -> Option<u64> {
    let each_once =
        workload.n_prompts.is_some() || matches!(workload.shape, LoadShape::Trace { .. });
    (!each_once).then_some(MOST_COUNTED)
}

/// Says that nobody looked at the last of all prompts; `None` where there are none such.
pub(crate) fn only_the_first(unseen: usize, all: usize) -> Option<String> {
    (unseen > 0).then(|| {
        format!(
            "only the first {} of {all} prompts were looked at, since the server had to count {MOST_COUNTED} \
             of them; those that fit go round. Give --n-prompts for more, or leave long ones out with \
             --max-prompt-tokens",
            all - unseen
        )
    })
}

/// A slot with so much context, for a message.
pub(crate) fn slot(context: u64) -> String {
    format!("the {context} tokens of a slot")
}

/// Counts prompts and conversations.
pub(super) struct Counter<'a> {
    workload: &'a Workload,
    control: &'a ControlPlane,
    tokenizer: Asked<'a>,
    events: &'a Events,
    /// Begun once there is something to tell.
    stage: Option<Running<'a>>,
    /// What prompts must fit, in tokens.
    context: u64,
    prompts: usize,
    looked_at: usize,
    /// Of those, how many the server has counted.
    counted: u64,
    /// The last of these, from 1: a conversation is counted again with each turn less.
    last_counted: usize,
}

impl<'a> Counter<'a> {
    /// For so many prompts, that are to fit `context` tokens.
    pub(super) fn new(
        workload: &'a Workload,
        control: &'a ControlPlane,
        events: &'a Events,
        (prompts, context): (usize, u64),
    ) -> Self {
        Self {
            workload,
            control,
            tokenizer: Asked::NotYet,
            events,
            stage: None,
            context,
            prompts,
            looked_at: 0,
            counted: 0,
            last_counted: 0,
        }
    }

    /// Whether the next prompt is looked at, after so many that fit. Those behind the last one that is
    /// counted are not kept for being short: the load would be of shorter prompts than the dataset.
    pub(super) fn goes_on(&mut self, fitting: usize) -> bool {
        let most = most_counted(self.workload);
        let goes_on = fitting == 0 || most.is_none_or(|most| self.counted < most);
        self.looked_at += usize::from(goes_on);
        goes_on
    }

    /// Ends the counting, of which so many prompts were found to fit; gives how many nobody looked at.
    pub(super) fn finish(self, fitting: usize) -> usize {
        if let Some(stage) = self.stage {
            stage.done(format!("{fitting} of {} prompts fit", self.looked_at));
        }
        // Of a load of so many requests those behind are not needed.
        most_counted(self.workload).map_or(0, |_| self.prompts - self.looked_at)
    }

    fn note_counted(&mut self) {
        if self.last_counted == self.looked_at {
            return;
        }
        self.last_counted = self.looked_at;
        self.counted += 1;
        if !self.counted.is_multiple_of(TELL_EVERY) {
            return;
        }
        let stage = Stage::Dataset;
        if self.stage.is_none() {
            let what = format!("which of {} prompts fit {} tokens", self.prompts, self.context);
            self.stage = Some(Running::begin(self.events, stage, what));
        }
        let (prompts, total_prompts) = (self.looked_at as u64, self.prompts as u64);
        self.events.send(&Event::Fitting { stage, prompts, total_prompts });
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
        self.note_counted();
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

/// Prompts that were left out.
pub(crate) struct LeftOut {
    /// They do not fit.
    pub(crate) too_long: u64,
    /// Nobody looked at them; see [`only_the_first`].
    pub(crate) unseen: usize,
}

/// Removes the prompts that do not fit `context` tokens with their answer.
///
/// The answer counts in full where its length is forced, and as one token where the server may end
/// it at the context's end. A prompt whose length the server does not tell is kept: the server's own
/// refusal is then the record.
pub(crate) async fn leave_out_too_long(
    prompts: &mut Vec<(usize, &Prompt)>,
    workload: &Workload,
    context: u64,
    control: &ControlPlane,
    events: &Events,
) -> LeftOut {
    let system_bytes = workload.request.system_prompt.as_deref().map_or(0, str::len) as u64;
    let mut fitting = Vec::with_capacity(prompts.len());
    let mut counter = Counter::new(workload, control, events, (prompts.len(), context));
    for &(index, prompt) in prompts.iter() {
        if !counter.goes_on(fitting.len()) {
            break;
        }
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
    let unseen = counter.finish(fitting.len());
    let too_long = (prompts.len() - fitting.len() - unseen) as u64;
    *prompts = fitting;
    LeftOut { too_long, unseen }
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
    fn only_prompts_that_go_round_are_counted_up_to_a_number() {
        let with = |flags: Overrides| {
            let origin = Origin::BuiltIn("chat");
            most_counted(&workload(builtin("chat").unwrap(), &origin, &flags).unwrap())
        };
        let duration = Some(std::time::Duration::from_secs(60));
        assert_eq!(with(Overrides { duration, ..Overrides::default() }), Some(MOST_COUNTED));
        let n_prompts = Some(5_000);
        assert_eq!(with(Overrides { duration, n_prompts, ..Overrides::default() }), None);
        let trace = Some("t.jsonl".into());
        assert_eq!(with(Overrides { trace, ..Overrides::default() }), None);
    }

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
