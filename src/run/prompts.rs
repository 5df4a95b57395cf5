//! Which of the dataset's prompts a run needs, when a trace sends them, and what the report says of
//! them.
//!
//! Main types: [`PromptFacts`] and [`Spread`]. Nothing is read or asked here.

use std::time::Duration;

use super::bodies::prompts_of;
use super::make::How;
use crate::artifact::{LengthSpread, Prompts, Unknowns};
use crate::dataset::{Content, Prompt, PromptSet};
use crate::load::Schedule;
use crate::plan::{LoadShape, Workload};

/// The first prompts of the set, as many as the run can come to.
pub(super) fn needed(set: &PromptSet, workload: &Workload) -> Vec<Prompt> {
    let most = workload.n_prompts.map(|requests| prompts_of(workload, requests));
    let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let due = |prompt: &&Prompt| match (trace_offset(&workload.shape, prompt), workload.duration) {
        (Some(offset), Some(duration)) => offset < nanos(duration),
        _ => true,
    };
    set.prompts.iter().take_while(due).take(most).cloned().collect()
}

/// The arrivals of a trace's prompts.
pub(super) fn trace_schedule(shape: &LoadShape, sent: &[(usize, &Prompt)]) -> Schedule {
    let offsets = sent.iter().filter_map(|(_, prompt)| trace_offset(shape, prompt));
    Schedule::of_trace(offsets.collect())
}

/// When a trace sends the prompt, nanoseconds from the start of measuring; `None` outside of traces.
fn trace_offset(shape: &LoadShape, prompt: &Prompt) -> Option<u64> {
    let LoadShape::Trace { speed, .. } = shape else { return None };
    let offset = prompt.arrival.map(nanos)?;
    // Below 2^53 ns, that is for 104 days, a double holds nanoseconds exactly.
    Some((offset as f64 / speed).round() as u64)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the report says of the prompts.
#[derive(Debug, Clone)]
pub(crate) struct PromptFacts {
    pub(super) kind: &'static str,
    pub(super) file_sha256: Option<String>,
    pub(super) sha256: String,
    pub(super) seen: u64,
    pub(super) kept: u64,
    pub(super) repeated: u64,
    /// Kept ones that do not fit the server's context.
    pub(super) not_fitting: u64,
    /// Those that the run sends.
    pub(super) used: u64,
    /// Their length in the words of the filter; of token ids, in tokens.
    pub(super) length: Spread,
    /// In tokens, as asked for; `None` where no length was asked for.
    pub(super) asked: Option<Spread>,
    /// The same prompts as they were made, in the server's tokens; `None` where it did not count.
    pub(super) made: Option<Spread>,
    /// Largest difference between the two of one prompt.
    pub(super) largest_deviation: Option<u64>,
    pub(super) how: Option<How>,
    /// Lengths of answers, in tokens, where prompts have their own; `None` where none has.
    pub(super) answers: Option<Spread>,
}

/// Least, mean and most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(super) min: u64,
    pub(super) mean: f64,
    pub(super) max: u64,
}

impl Spread {
    /// `None` of nothing.
    fn of(numbers: impl Iterator<Item = u64> + Clone) -> Option<Self> {
        let (min, max) = (numbers.clone().min()?, numbers.clone().max()?);
        let (sum, count) =
            numbers.fold((0.0, 0.0), |(sum, count), n| (sum + n as f64, count + 1.0));
        Some(Self { min, mean: sum / count, max })
    }
}

impl PromptFacts {
    /// Of the prompts that are sent, out of a set; `how` they were made, if they were.
    pub(super) fn of(
        set: &PromptSet,
        sent: &[(usize, &Prompt)],
        not_fitting: u64,
        how: Option<How>,
    ) -> Self {
        let asked = |index: usize| match set.prompts.get(index).map(|prompt| &prompt.content) {
            Some(Content::Recipe(recipe)) => Some(recipe.tokens()),
            _ => None,
        };
        let pairs: Vec<(u64, Option<u64>)> = sent
            .iter()
            .filter_map(|(index, prompt)| Some((asked(*index)?, prompt.tokens)))
            .collect();
        let made: Option<Vec<u64>> = pairs.iter().map(|(_, made)| *made).collect();
        let made = made.filter(|_| how != Some(How::Approximate));
        let deviations = pairs.iter().filter_map(|(asked, made)| Some(asked.abs_diff((*made)?)));
        Self {
            kind: set.kind,
            file_sha256: set.file.as_ref().and_then(|file| file.sha256.clone()),
            sha256: set.sha256.clone(),
            seen: set.seen,
            kept: set.kept,
            repeated: set.repeated,
            not_fitting,
            used: sent.len() as u64,
            length: Spread::of(sent.iter().map(|(_, prompt)| prompt.prompt_words))
                .unwrap_or(Spread { min: 0, mean: 0.0, max: 0 }),
            asked: Spread::of(pairs.iter().map(|(asked, _)| *asked)),
            largest_deviation: made.as_ref().and_then(|_| deviations.max()),
            made: made.and_then(|made| Spread::of(made.into_iter())),
            how,
            answers: Spread::of(
                sent.iter().filter_map(|(_, prompt)| prompt.max_tokens).map(u64::from),
            ),
        }
    }

    /// The same on the wire.
    pub(super) fn for_report(&self) -> Prompts {
        let mut unknown = Unknowns::none();
        let spread = |Spread { min, mean, max }: Spread| LengthSpread { min, mean, max };
        let not_made = "no length was asked for";
        let not_counted =
            if self.asked.is_some() { "the server has no tokenizer to ask" } else { not_made };
        Prompts {
            kind: self.kind.to_owned(),
            file_sha256: unknown.option(
                "file_sha256",
                self.file_sha256.clone(),
                "the dataset is no file that can be read twice",
            ),
            sha256: self.sha256.clone(),
            seen: self.seen,
            kept: self.kept,
            repeated: self.repeated,
            not_fitting: self.not_fitting,
            used: self.used,
            length: spread(self.length),
            asked_tokens: unknown.option("asked_tokens", self.asked.map(spread), not_made),
            made_tokens: unknown.option("made_tokens", self.made.map(spread), not_counted),
            largest_deviation_tokens: unknown.option(
                "largest_deviation_tokens",
                self.largest_deviation,
                not_counted,
            ),
            made_by: unknown.option("made_by", self.how.map(|how| how.name().to_owned()), not_made),
            answer_tokens: unknown.option(
                "answer_tokens",
                self.answers.map(spread),
                "no prompt brings a budget along",
            ),
            unknown,
        }
    }
}
