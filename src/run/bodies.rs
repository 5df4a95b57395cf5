//! From prompts that fit to the bodies of all requests: batches, documents, adapters, conversations.
//!
//! Main type: [`Bodies`], made by [`plan`] or [`converse`]. What one body looks like is `plan::body`'s.

use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::fit;
use crate::dataset::Prompt;
use crate::event::Events;
use crate::load::{Conversations, PlannedBody, Script};
use crate::plan::body::messages;
use crate::plan::{Ask, Budget, Dialect, Workload, Yield, body_of};
use crate::scrape::ControlPlane;

/// Bodies of a mix of adapters where prompts are fewer, so that the shares come out.
const BODIES_OF_A_MIX: usize = 1_000;

/// The bodies of a load.
pub(super) struct Bodies {
    pub(super) bodies: Vec<PlannedBody>,
    pub(super) conversations: Option<Conversations>,
}

/// A prompt with its position in the set.
pub(super) type Numbered<'a> = (usize, &'a Prompt);

/// How many prompts one request takes.
pub(super) fn prompts_per_request(workload: &Workload) -> u64 {
    let texts = match workload.endpoint.yields() {
        Yield::Embeddings => workload.request.texts(),
        Yield::Tokens | Yield::Scores => 1,
    };
    u64::from(texts.max(workload.conversation.map_or(1, |spec| spec.turns)))
}

/// How many prompts so many requests take, so that none is in one of them twice: reranking takes the
/// documents of its last query from behind it.
pub(super) fn prompts_of(workload: &Workload, requests: u64) -> u64 {
    let behind = match workload.endpoint.yields() {
        Yield::Scores => workload.request.documents(),
        Yield::Tokens | Yield::Embeddings => 0,
    };
    requests.saturating_mul(prompts_per_request(workload)).saturating_add(u64::from(behind))
}

/// The bodies of requests that stand for themselves. `prompts` must not be empty.
pub(super) fn plan(workload: &Workload, dialect: Dialect, prompts: &[Numbered<'_>]) -> Bodies {
    let batch = prompts_per_request(workload) as usize;
    let alone = match workload.n_prompts.and_then(|count| usize::try_from(count).ok()) {
        Some(count) => count.min((prompts.len() / batch).max(1)),
        None => (prompts.len() / batch).max(1),
    };
    let count = match workload.request.lora.len() {
        0 | 1 => alone,
        _ => alone.max(BODIES_OF_A_MIX),
    };
    let nth = |position: usize| prompts.get(position % prompts.len().max(1)).copied();
    let asked = (0..count).flat_map(|position| {
        budgets(workload, position).into_iter().map(move |budget| (position, budget))
    });
    let longest = workload.request.max_tokens;
    let bodies = asked.filter_map(|(position, budget)| {
        let mut workload = std::borrow::Cow::Borrowed(workload);
        if budget != workload.request.max_tokens {
            workload.to_mut().request.max_tokens = budget;
        }
        let workload = &*workload;
        let first = position % alone * batch;
        let (index, prompt) = nth(first)?;
        // A budget of its own is longer by as much as the workload's.
        let mut prompt = std::borrow::Cow::Borrowed(prompt);
        if let (Some(step), Some(own)) = (workload.tpot_difference, prompt.max_tokens) {
            let shorter = longest.saturating_sub(step);
            prompt.to_mut().max_tokens = Some(own.saturating_add(budget.saturating_sub(shorter)));
        }
        let prompt = &*prompt;
        let others = match workload.endpoint.yields() {
            Yield::Tokens => 0,
            Yield::Embeddings => batch - 1,
            Yield::Scores => workload.request.documents() as usize,
        };
        let others: Vec<&Prompt> =
            (1..=others).filter_map(|step| nth(first + step)).map(|(_, prompt)| prompt).collect();
        let lora = lora_of(workload, position).and_then(|lora| workload.request.lora.get(lora));
        let body = body_of(workload, dialect, &Ask { prompt, others: &others, lora });
        Some(PlannedBody { body: body.into(), ..blank(workload, index, prompt) })
    });
    Bodies { bodies: bodies.collect(), conversations: None }
}

/// The budgets with which a prompt is asked; the workload's is the longer of two. Which of two comes
/// first takes turns, so that neither is always the one whose prompt the server has just seen.
fn budgets(workload: &Workload, position: usize) -> Vec<u32> {
    let longer = workload.request.max_tokens;
    match workload.tpot_difference {
        None => vec![longer],
        Some(step) if position.is_multiple_of(2) => vec![longer.saturating_sub(step), longer],
        Some(step) => vec![longer, longer.saturating_sub(step)],
    }
}

fn blank(workload: &Workload, index: usize, prompt: &Prompt) -> PlannedBody {
    let request = &workload.request;
    let (max_tokens, results) = match workload.endpoint.yields() {
        Yield::Tokens => (prompt.max_tokens.unwrap_or(request.max_tokens), None),
        Yield::Embeddings => (0, Some(request.texts())),
        Yield::Scores => (0, Some(request.documents())),
    };
    PlannedBody {
        body: Arc::from([]),
        prompt_index: index as u64,
        max_tokens,
        forced: request.ignore_eos || prompt.forced,
        results,
    }
}

/// Which adapter the body at this position is for, by the weights and the seed; `None` without any.
fn lora_of(workload: &Workload, position: usize) -> Option<usize> {
    let all = &workload.request.lora;
    let sum: f64 = all.iter().map(|lora| lora.weight).sum();
    let mut random = ChaCha12Rng::seed_from_u64(workload.seed);
    // A stream of its own for each body; those counted from 0 are for other choices.
    random.set_stream(u64::MAX - position as u64);
    let draw = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
    let mut reached = 0.0;
    let found = all.iter().position(|lora| {
        reached += lora.weight;
        draw < reached
    });
    // Rounding may leave the last one short.
    found.or(all.len().checked_sub(1))
}

/// Conversations, and what was done to make them fit.
pub(super) struct Talks {
    pub(super) bodies: Bodies,
    /// Prompts after which nobody says anything more, though after others of the dataset somebody does.
    pub(super) alone: u64,
    /// Of those that were begun: too long even for two turns.
    pub(super) left_out: u64,
    /// Of those that are held: fewer turns than were wanted.
    pub(super) shortened: u64,
    /// Prompts that nobody looked at.
    pub(super) unseen: usize,
}

/// The conversations that fit a slot's `context`, if that is known. A dataset that knows what its users
/// said next gives that, and no conversation where one said nothing; of another, each prompt begins a
/// conversation and others follow on it.
pub(super) async fn converse(
    workload: &Workload,
    dialect: Dialect,
    prompts: &[Numbered<'_>],
    wanted_turns: u32,
    context: Option<u64>,
    (control, events): (&ControlPlane, &Events),
) -> Talks {
    let most = workload.n_prompts.and_then(|count| usize::try_from(count).ok());
    let mut talks = Talks {
        bodies: Bodies { bodies: Vec::new(), conversations: None },
        alone: 0,
        left_out: 0,
        shortened: 0,
        unseen: 0,
    };
    let mut scripts = Vec::new();
    let counted = (prompts.len(), context.unwrap_or_default());
    let mut counter = fit::Counter::new(workload, control, events, counted);
    for ((index, prompt), mut turns) in begun(prompts, wanted_turns as usize) {
        if most.is_some_and(|most| scripts.len() >= most) || !counter.goes_on(scripts.len()) {
            break;
        }
        if turns.is_empty() {
            talks.alone += 1;
            continue;
        }
        let opening = messages(workload.request.system_prompt.as_deref(), &prompt.content);
        if let Some(context) = context {
            let full = turns.len();
            while !turns.is_empty() && !counter.fits_talk(prompt, &opening, &turns, context).await {
                turns.pop();
            }
            if turns.is_empty() {
                talks.left_out += 1;
                continue;
            }
            talks.shortened += u64::from(turns.len() < full);
        }
        let lora = lora_of(workload, scripts.len());
        let chosen = lora.and_then(|lora| workload.request.lora.get(lora));
        let body = body_of(workload, dialect, &Ask { prompt, others: &[], lora: chosen });
        let blank = blank(workload, index, prompt);
        talks.bodies.bodies.push(PlannedBody { body: body.into(), ..blank });
        scripts.push(Script { opening, turns, budget: Budget::of(prompt), lora });
    }
    talks.unseen = counter.finish(scripts.len());
    let workload = Arc::new(workload.clone());
    talks.bodies.conversations = Some(Conversations { scripts, workload, dialect });
    talks
}

/// Each prompt, and what its user says after each answer: nothing where only other prompts of the
/// dataset have a user who goes on.
fn begun<'a>(prompts: &'a [Numbered<'a>], turns: usize) -> Vec<(Numbered<'a>, Vec<String>)> {
    let later = turns.saturating_sub(1);
    if prompts.iter().any(|(_, prompt)| !prompt.turns.is_empty()) {
        let own =
            |prompt: &Prompt| -> Vec<String> { prompt.turns.iter().take(later).cloned().collect() };
        return prompts.iter().map(|&begins| (begins, own(begins.1))).collect();
    }
    // Every prompt begins one, so that there are many; what follows comes from far away in the list, so
    // that neighbours do not say the same.
    let stride = (prompts.len() / turns.max(1)).max(1);
    let words = |position: usize| prompts.get(position % prompts.len())?.1.last_words();
    prompts
        .iter()
        .enumerate()
        .map(|(first, &begins)| {
            (begins, (1..=later).filter_map(|turn| words(first + turn * stride)).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{ChatMessage, Content};
    use crate::plan::scenario::{Origin, Overrides, workload};
    use crate::plan::{Endpoint, LoraChoice};

    fn chat() -> Workload {
        let text = crate::plan::scenario::builtin("chat").unwrap();
        workload(text, &Origin::BuiltIn("chat"), &Overrides::default()).unwrap()
    }

    fn set(texts: &[&str]) -> Vec<Prompt> {
        texts.iter().map(|text| Prompt::of_text(*text)).collect()
    }

    fn text(body: &PlannedBody) -> String {
        String::from_utf8(body.body.to_vec()).unwrap()
    }

    #[test]
    fn batches_take_each_text_once_and_documents_follow_their_query() {
        let prompts = set(&["a", "b", "c", "d", "e"]);
        let numbered: Vec<Numbered<'_>> = prompts.iter().enumerate().collect();
        let mut workload = chat();
        workload.endpoint = Endpoint::Embeddings;
        workload.request.inputs_per_request = Some(2);
        let bodies = plan(&workload, Dialect::LlamaCpp, &numbered).bodies;
        let sent: Vec<String> = bodies.iter().map(text).collect();
        assert_eq!(sent.len(), 2);
        assert!(sent[0].starts_with(r#"{"input":["a","b"]"#), "{}", sent[0]);
        assert!(sent[1].starts_with(r#"{"input":["c","d"]"#), "{}", sent[1]);
        assert_eq!((bodies[1].prompt_index, bodies[1].results), (2, Some(2)));
        workload.endpoint = Endpoint::Rerank;
        let bodies = plan(&workload, Dialect::LlamaCpp, &numbered).bodies;
        assert_eq!(bodies.len(), 5);
        let last = text(&bodies[4]);
        assert!(last.starts_with(r#"{"query":"e","documents":["a","b"]"#), "{last}");
    }

    #[test]
    fn adapters_are_mixed_by_weight_and_seed() {
        let prompts = set(&["a"]);
        let numbered: Vec<Numbered<'_>> = prompts.iter().enumerate().collect();
        let mut workload = chat();
        let choice = |model: &str, weight| LoraChoice {
            model: Some(model.to_owned()),
            id: None,
            scale: 1.0,
            weight,
        };
        workload.request.lora = vec![choice("x", 3.0), choice("y", 1.0)];
        let sent = |workload: &Workload| -> Vec<String> {
            plan(workload, Dialect::OpenAi, &numbered).bodies.iter().map(text).collect()
        };
        let mixed = sent(&workload);
        assert_eq!(mixed.len(), BODIES_OF_A_MIX);
        let first = mixed.iter().filter(|body| body.contains(r#""model":"x""#)).count();
        // Four standard deviations of 1,000 draws around 750.
        assert!((695..=805).contains(&first), "{first}");
        assert_eq!(sent(&workload), mixed);
        workload.seed = 43;
        assert_ne!(sent(&workload), mixed);
    }

    #[test]
    fn prompts_are_chained_where_the_dataset_has_no_turns_of_its_own() {
        let mut prompts = set(&["a", "b", "c", "d"]);
        let chat = ["system", "user"].map(|role| ChatMessage::text(role, format!("{role} of b")));
        prompts[1].content = Content::Chat(chat.to_vec());
        let numbered: Vec<Numbered<'_>> = prompts.iter().enumerate().collect();
        let chained: Vec<(usize, Vec<String>)> =
            begun(&numbered, 3).into_iter().map(|((index, _), said)| (index, said)).collect();
        assert_eq!(chained.len(), 4);
        assert_eq!(chained[0], (0, vec!["user of b".to_owned(), "c".to_owned()]));
        assert_eq!(chained[3], (3, vec!["a".to_owned(), "user of b".to_owned()]));

        prompts[2].turns = vec!["x".to_owned(), "y".to_owned(), "z".to_owned()];
        let numbered: Vec<Numbered<'_>> = prompts.iter().enumerate().collect();
        let own: Vec<(usize, Vec<String>)> =
            begun(&numbered, 3).into_iter().map(|((index, _), said)| (index, said)).collect();
        let said = vec!["x".to_owned(), "y".to_owned()];
        assert_eq!(own, [(0, vec![]), (1, vec![]), (2, said), (3, vec![])], "the others are alone");
    }
}
