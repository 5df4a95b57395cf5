//! Prompts of asked lengths, made for the server at hand: token ids, or text counted by the server.
//!
//! Main function: [`make`]. What is drawn is decided by the recipe and its seed; what a draw means is
//! decided by the server's vocabulary, and where there is none to ask, by a list of words.

use std::collections::BTreeSet;

use super::tokenizer::Tokenizer;
use crate::dataset::{self, Content, Prompt, Recipe};
use crate::plan::{Dialect, Endpoint, Workload};
use crate::scrape::ControlPlane;

/// Short common words: most tokenizers have each of them, with the blank before it, as one token.
const WORDS: [&str; 128] = [
    "the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are",
    "as", "with", "his", "they", "at", "be", "this", "have", "from", "or", "one", "had", "by",
    "word", "but", "not", "what", "all", "were", "we", "when", "your", "can", "said", "there",
    "use", "an", "each", "which", "she", "do", "how", "their", "if", "will", "up", "other",
    "about", "out", "many", "then", "them", "these", "so", "some", "her", "would", "make", "like",
    "him", "into", "time", "has", "look", "two", "more", "write", "go", "see", "number", "no",
    "way", "could", "people", "my", "than", "first", "water", "been", "call", "who", "now", "find",
    "long", "down", "day", "did", "get", "come", "made", "may", "part", "over", "new", "sound",
    "take", "only", "little", "work", "know", "place", "year", "live", "me", "back", "give",
    "most", "very", "after", "thing", "our", "just", "name", "good", "man", "think", "say",
    "great", "where", "help", "much", "before", "line", "right",
];

/// Put behind a text that is one token short; the first that adds as many as are missing is taken.
const FILLERS: [&str; 10] = [" a", " I", ".", "!", " 1", ",", "a", "\n", " x", "?"];

/// Texts that are tried for one prompt. With words of one token the second is exact.
const TRIES: u32 = 24;

/// Characters of the corpus that are tokenized at once: some servers refuse what a model could not read.
const CHUNK_CHARACTERS: usize = 2048;

/// How the prompts were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// Ids of the vocabulary: exact by construction.
    TokenIds,
    /// Text that the server's tokenizer has counted.
    Counted,
    /// Words, since the server has no tokenizer for us.
    Approximate,
}

impl How {
    /// The word in the report.
    pub(super) const fn name(self) -> &'static str {
        match self {
            How::TokenIds => "token_ids",
            How::Counted => "server_tokenizer",
            How::Approximate => "approximate",
        }
    }
}

/// Prompts without recipes.
pub(super) struct Made {
    /// In the order of the recipes, each at its place. One that is longer than the server's context
    /// by its recipe alone is left a recipe, with its length: it does not fit, and is not sent.
    pub(super) prompts: Vec<Prompt>,
    pub(super) how: How,
    pub(super) warnings: Vec<String>,
}

/// What is known of the server.
pub(super) struct Known<'a> {
    pub(super) control: &'a ControlPlane,
    pub(super) workload: &'a Workload,
    pub(super) dialect: Dialect,
    /// Tokens of context of a slot; `None` where it does not say.
    pub(super) context: Option<u64>,
    /// Size of the vocabulary; `None` where it does not say.
    pub(super) vocabulary: Option<u32>,
}

/// Makes every recipe among `prompts` to what the workload's route carries.
pub(super) async fn make(prompts: Vec<Prompt>, known: &Known<'_>) -> Made {
    let Known { control, workload, dialect, context, vocabulary } = *known;
    let tokenizer = Tokenizer::find(control, workload).await;
    let mut warnings = Vec::new();
    let can_force = dialect == Dialect::LlamaCpp
        || tokenizer.as_ref().is_some_and(Tokenizer::can_force_lengths);
    if !can_force && prompts.iter().any(|prompt| prompt.forced) {
        warnings.push(
            "answers may be shorter than asked for: this server is not known to take ignore_eos"
                .to_owned(),
        );
    }
    let pool = match workload.endpoint {
        // Messages, queries and documents are texts.
        Endpoint::ChatCompletions | Endpoint::V1Rerank | Endpoint::Rerank => Vec::new(),
        Endpoint::Completions | Endpoint::LlamaCompletion | Endpoint::Embeddings => {
            ids(tokenizer.as_ref(), vocabulary).await
        }
    };
    let mut maker = match (tokenizer, pool.len()) {
        (_, 2..) => Maker::Ids(pool),
        (Some(tokenizer), _) => Maker::Counted(Counter::begin(tokenizer).await),
        (None, _) => Maker::Words,
    };
    let mut made = Vec::with_capacity(prompts.len());
    let (mut too_short, mut inexact) = (0_u64, 0_u64);
    for mut prompt in prompts {
        prompt.forced &= can_force;
        if let Content::Recipe(recipe) = &prompt.content {
            let asked = recipe.tokens();
            if context.is_some_and(|context| asked > context) {
                prompt.tokens = Some(asked);
            } else {
                let (content, tokens) = maker.make(recipe).await;
                too_short += u64::from(tokens.is_some_and(|tokens| tokens > asked));
                inexact += u64::from(tokens.is_some_and(|tokens| tokens < asked));
                (prompt.content, prompt.tokens) = (content, tokens);
            }
        }
        made.push(prompt);
    }
    let how = maker.how();
    if how == How::Approximate {
        warnings.push(
            "prompt lengths are approximate: this server has no /tokenize, so words stand for tokens; \
             the report has the lengths that the server counted"
                .to_owned(),
        );
    }
    if too_short > 0 {
        warnings.push(format!(
            "{too_short} prompts are longer than asked for: what the server adds to every prompt is \
             longer already"
        ));
    }
    if inexact > 0 {
        warnings.push(format!(
            "{inexact} prompts are shorter than asked for: no text of exactly that length was found"
        ));
    }
    Made { prompts: made, how, warnings }
}

/// Plain ids of the vocabulary, ascending; empty where there is no way to know any.
///
/// They are those that occur in our own corpus: whatever the vocabulary, none of them is special,
/// unused or the end of an answer. Without a tokenizer they are the middle of the vocabulary, since
/// special tokens lie at its ends in every family of models that we know.
async fn ids(tokenizer: Option<&Tokenizer<'_>>, vocabulary: Option<u32>) -> Vec<u32> {
    let mut found = BTreeSet::new();
    if let Some(tokenizer) = tokenizer {
        let corpus: Vec<char> = dataset::corpus().chars().collect();
        for chunk in corpus.chunks(CHUNK_CHARACTERS) {
            let chunk: String = chunk.iter().collect();
            found.extend(tokenizer.ids(&chunk).await.unwrap_or_default());
        }
    }
    match vocabulary {
        Some(size) if found.len() < 2 => (size / 16..size - size / 16).collect(),
        _ => found.into_iter().collect(),
    }
}

/// The ways of making a prompt.
enum Maker<'a> {
    Ids(Vec<u32>),
    Counted(Counter<'a>),
    Words,
}

impl Maker<'_> {
    fn how(&self) -> How {
        match self {
            Maker::Ids(_) => How::TokenIds,
            // A tokenizer that has not counted a chat is none for it.
            Maker::Counted(counter) if counter.counts => How::Counted,
            Maker::Counted(_) | Maker::Words => How::Approximate,
        }
    }

    /// The content, and its length as the server will count it, where that is known.
    async fn make(&mut self, recipe: &Recipe) -> (Content, Option<u64>) {
        match self {
            Maker::Ids(pool) => {
                let choices = u32::try_from(pool.len()).unwrap_or(u32::MAX);
                let draws = recipe.draws(choices);
                let ids: Vec<u32> =
                    draws.iter().filter_map(|draw| pool.get(*draw as usize).copied()).collect();
                let tokens = ids.len() as u64;
                (Content::Tokens(ids), Some(tokens))
            }
            Maker::Counted(counter) => counter.make(recipe).await,
            Maker::Words => (Content::Text(text(recipe, recipe.tokens())), None),
        }
    }
}

/// The first so many words of a recipe.
fn text(recipe: &Recipe, words: u64) -> String {
    let draws = recipe.endless_draws(WORDS.len() as u32);
    let words = draws
        .take(usize::try_from(words).unwrap_or(usize::MAX))
        .filter_map(|draw| WORDS.get(draw as usize).copied());
    words.collect::<Vec<_>>().join(" ")
}

/// Makes texts and lets the server count them.
struct Counter<'a> {
    tokenizer: Tokenizer<'a>,
    /// Whether it counts what we send.
    counts: bool,
    /// Tokens that one more word adds, seen on a long text.
    per_word: f64,
    /// Tokens of a prompt without any word.
    overhead: f64,
}

impl<'a> Counter<'a> {
    async fn begin(tokenizer: Tokenizer<'a>) -> Self {
        let sample = |words: usize| Content::Text(WORDS[..words].join(" "));
        let (one, many) = (tokenizer.count(&sample(1)).await, tokenizer.count(&sample(101)).await);
        match (one, many) {
            (Some(one), Some(many)) if many > one => {
                let per_word = (many - one) as f64 / 100.0;
                Self { tokenizer, counts: true, per_word, overhead: one as f64 - per_word }
            }
            _ => Self { tokenizer, counts: false, per_word: 1.0, overhead: 0.0 },
        }
    }

    async fn make(&self, recipe: &Recipe) -> (Content, Option<u64>) {
        let asked = recipe.tokens();
        let mut words = (((asked as f64 - self.overhead) / self.per_word).floor() as u64).max(1);
        if !self.counts {
            return (Content::Text(text(recipe, words)), None);
        }
        // The longest that is not too long, else the shortest at all.
        let mut best: Option<(Content, u64)> = None;
        let mut tries = 0;
        while tries < TRIES {
            let said = text(recipe, words);
            let content = Content::Text(said.clone());
            tries += 1;
            let Some(tokens) = self.tokenizer.count(&content).await else {
                return (content, None);
            };
            let better = best.as_ref().is_none_or(|(_, best)| {
                if *best > asked { tokens < *best } else { tokens <= asked && tokens > *best }
            });
            if better {
                best = Some((content, tokens));
            }
            if tokens == asked {
                break;
            }
            if tokens > asked {
                if words == 1 {
                    break;
                }
                let fewer = ((tokens - asked) as f64 / self.per_word).ceil() as u64;
                words = words.saturating_sub(fewer.max(1)).max(1);
                continue;
            }
            let more = ((asked - tokens) as f64 / self.per_word).floor() as u64;
            if more > 0 && tries < TRIES / 2 {
                words += more;
                continue;
            }
            if let Some(filled) = self.fill(&said, tokens, asked, &mut tries).await {
                best = Some((Content::Text(filled), asked));
                break;
            }
            words = words.saturating_sub(1).max(1);
        }
        match best {
            Some((content, tokens)) => (content, Some(tokens)),
            None => (Content::Text(text(recipe, words)), None),
        }
    }

    /// The text with as little behind it as makes it as long as asked; `None` if nothing does.
    async fn fill(&self, said: &str, tokens: u64, asked: u64, tries: &mut u32) -> Option<String> {
        let mut said = said.to_owned();
        let mut tokens = tokens;
        'fill: while tokens < asked && *tries < TRIES {
            for filler in FILLERS {
                let longer = format!("{said}{filler}");
                *tries += 1;
                let count = self.tokenizer.count(&Content::Text(longer.clone())).await?;
                if count > tokens && count <= asked {
                    (said, tokens) = (longer, count);
                    continue 'fill;
                }
            }
            return None;
        }
        (tokens == asked).then_some(said)
    }
}
