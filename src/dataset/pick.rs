//! Which conversations become prompts: script.js's filters, and an account of what they left out.
//!
//! Main types: [`PromptSet`] and the `Picker` that makes it. It reads nothing.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::DatasetError;
use super::prompt::{Content, Prompt};
use crate::plan::PromptFilter;

/// The prompts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptSet {
    /// In the dataset's order; never empty.
    pub prompts: Vec<Prompt>,
    /// The dataset, as `--dataset` names it.
    pub source: String,
    /// Of which kind it is: `builtin`, `sharegpt` (the public file), `json`, `jsonl`, `parquet`, `csv`,
    /// `text`, `synthetic` or `trace`.
    pub kind: &'static str,
    /// The file that was read; `None` where there is none.
    pub file: Option<DatasetFile>,
    /// Conversations read, up to the last one that was kept where a limit ended the reading.
    pub seen: u64,
    /// Prompts kept: the length of `prompts`.
    pub kept: u64,
    /// Conversations read and not kept, by reason; with `kept` they add up to `seen`.
    pub left_out: LeftOut,
    /// Prompts whose content an earlier prompt already has: a server that caches answers those faster.
    pub repeated: u64,
    /// SHA-256 in hex over the kept prompts: of each its length in bytes (64 bits, little endian)
    /// and its text, or what else it consists of. Two sets with the same digest send the same prompts
    /// in the same order.
    pub sha256: String,
}

/// The file behind a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256 in hex as the Hub announced it; `None` where it must be computed.
    pub sha256: Option<String>,
}

/// Conversations that were not kept, by the first rule that left them out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Fewer than two turns, or not begun by a human.
    pub not_human_first: u64,
    /// Prompt or answer below `min_words`.
    pub too_short: u64,
    /// Prompt above `max_prompt_words`.
    pub prompt_too_long: u64,
    /// Prompt and answer together above `max_context_words`.
    pub context_too_long: u64,
}

impl LeftOut {
    /// What would let most of them pass.
    pub(super) fn cure(&self, filter: &PromptFilter) -> String {
        let most = self
            .not_human_first
            .max(self.too_short)
            .max(self.prompt_too_long)
            .max(self.context_too_long);
        if most == 0 {
            "the dataset is empty; use another, such as --dataset builtin".to_owned()
        } else if most == self.prompt_too_long {
            format!(
                "raise --max-prompt-tokens, which is {}",
                filter.max_prompt_words.unwrap_or_default()
            )
        } else if most == self.context_too_long {
            format!(
                "raise --max-context, which is {}",
                filter.max_context_words.unwrap_or_default()
            )
        } else if most == self.too_short {
            format!("lower filter.min_words in the scenario, which is {}", filter.min_words)
        } else {
            "conversations need two turns, the first from \"human\"; use another dataset, such as --dataset builtin"
                .to_owned()
        }
    }
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            (self.not_human_first, "without two turns or not begun by a human"),
            (self.too_short, "too short"),
            (self.prompt_too_long, "with too long a prompt"),
            (self.context_too_long, "too long with their answer"),
        ];
        let mut first = true;
        for (count, why) in parts.into_iter().filter(|(count, _)| *count > 0) {
            if !first {
                formatter.write_str(", ")?;
            }
            first = false;
            write!(formatter, "{count} {why}")?;
        }
        if first { formatter.write_str("none left out") } else { Ok(()) }
    }
}

/// What a reader found at one place of the dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Conversation {
    /// Not one that script.js looks at.
    NotHumanFirst,
    /// One that script.js looks at, held to all of its rules.
    Asked(Prompt),
    /// A prompt that somebody wrote down to be sent: only too long a one is left out.
    Given(Prompt),
}

/// Takes conversations in the dataset's order and keeps what passes.
#[derive(Debug)]
pub(super) struct Picker {
    source: String,
    kind: &'static str,
    file: Option<DatasetFile>,
    filter: PromptFilter,
    limit: Option<u64>,
    prompts: Vec<Prompt>,
    left_out: LeftOut,
    seen: u64,
}

impl Picker {
    pub(super) fn new(source: String, filter: PromptFilter, limit: Option<u64>) -> Self {
        Self {
            source,
            kind: "builtin",
            file: None,
            filter,
            limit,
            prompts: Vec::new(),
            left_out: LeftOut::default(),
            seen: 0,
        }
    }

    /// Notes what the prompts come from.
    pub(super) fn reads(&mut self, kind: &'static str, file: Option<DatasetFile>) {
        self.kind = kind;
        self.file = file;
    }

    /// The same, as if nothing had been offered.
    pub(super) fn restarted(self) -> Self {
        let Self { source, kind, file, filter, limit, prompts: _, left_out: _, seen: _ } = self;
        Self { kind, file, ..Self::new(source, filter, limit) }
    }

    pub(super) fn has_limit(&self) -> bool {
        self.limit.is_some()
    }

    /// Looks at the next conversation; `Break` once the limit is reached.
    pub(super) fn offer(&mut self, conversation: Conversation) -> ControlFlow<()> {
        if self.is_full() {
            return ControlFlow::Break(());
        }
        self.seen += 1;
        let (prompt, min_words) = match conversation {
            Conversation::NotHumanFirst => {
                self.left_out.not_human_first += 1;
                return ControlFlow::Continue(());
            }
            Conversation::Asked(prompt) => (prompt, self.filter.min_words),
            Conversation::Given(prompt) => (prompt, 0),
        };
        // The order of script.js's filters: turns, too short, too long, first N.
        let Prompt { prompt_words, .. } = prompt;
        // Beside a prompt that is counted in tokens its answer is too: as long as it may become.
        let answer_words = match prompt.content {
            Content::Text(_) | Content::Chat(_) => prompt.answer_words,
            Content::Tokens(_) | Content::Recipe(_) => prompt.max_tokens.map(u64::from),
        };
        let filter = &self.filter;
        if prompt_words < min_words || answer_words.is_some_and(|words| words < min_words) {
            self.left_out.too_short += 1;
        } else if filter.max_prompt_words.is_some_and(|most| prompt_words > most) {
            self.left_out.prompt_too_long += 1;
        } else if filter
            .max_context_words
            .is_some_and(|most| prompt_words + answer_words.unwrap_or(0) > most)
        {
            self.left_out.context_too_long += 1;
        } else {
            self.prompts.push(prompt);
        }
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.prompts.len() as u64 >= limit)
    }

    pub(super) fn finish(self) -> Result<PromptSet, DatasetError> {
        let Self { source, kind, file, filter, limit: _, prompts, left_out, seen } = self;
        if seen == 0 {
            return Err(DatasetError::Empty { source_name: source });
        }
        if prompts.is_empty() {
            return Err(DatasetError::NothingLeft { source_name: source, seen, left_out, filter });
        }
        let mut digest = Sha256::new();
        let mut contents = HashSet::with_capacity(prompts.len());
        let mut repeated = 0;
        for prompt in &prompts {
            prompt.add_to(&mut digest);
            repeated += u64::from(!contents.insert(&prompt.content));
        }
        let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(PromptSet {
            kept: prompts.len() as u64,
            prompts,
            source,
            kind,
            file,
            seen,
            left_out,
            repeated,
            sha256,
        })
    }
}
