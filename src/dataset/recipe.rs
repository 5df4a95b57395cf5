//! Prompts that are asked for by their length: which tokens they share, and how they are drawn.
//!
//! Main type: [`Recipe`]. It is made to a prompt once the server's vocabulary is known, by whoever
//! knows the server; here is only what follows from the seed.

use libm::{exp, log, sqrt};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::pick::Conversation;
use super::prompt::{Content, Prompt};
use crate::plan::{Lengths, SyntheticSpec};

/// A prompt of an asked length, as a row of blocks of random tokens. Blocks of one key are the same
/// tokens wherever they stand; of two lengths, the shorter is the beginning of the longer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// In order, never empty.
    pub blocks: Vec<Block>,
    /// Seed of the run.
    pub seed: u64,
}

/// A row of random tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Block {
    /// Whose it is.
    pub key: BlockKey,
    /// How many tokens, at least 1.
    pub tokens: u64,
}

/// Whose a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockKey {
    /// One prompt's alone, by its number.
    Own(u64),
    /// All of a group's, or of a trace's prompts that name it.
    Shared(u64),
}

impl Recipe {
    /// The asked length in tokens.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.blocks.iter().map(|block| block.tokens).sum()
    }

    /// For each token in order a number below `choices`: which of the vocabulary's tokens (or of a
    /// list of words) it is. The same on every machine.
    #[must_use]
    pub fn draws(&self, choices: u32) -> Vec<u32> {
        let blocks = self.blocks.iter();
        blocks.flat_map(|block| block.draws(self.seed, choices, block.tokens)).collect()
    }

    /// The draws of the last block, without an end: to make a prompt longer than its tokens.
    pub fn endless_draws(&self, choices: u32) -> impl Iterator<Item = u32> + use<'_> {
        let (last, before) = self.blocks.split_last().expect("a recipe has a block");
        let before =
            before.iter().flat_map(move |block| block.draws(self.seed, choices, block.tokens));
        before.chain(last.draws(self.seed, choices, u64::MAX))
    }
}

impl Block {
    fn draws(&self, seed: u64, choices: u32, many: u64) -> impl Iterator<Item = u32> + use<> {
        let (kind, number) = match self.key {
            BlockKey::Own(number) => (b'o', number),
            BlockKey::Shared(number) => (b's', number),
        };
        let mut digest = Sha256::new();
        digest.update(b"bench-ci block 1\n");
        digest.update(seed.to_le_bytes());
        digest.update([kind]);
        digest.update(number.to_le_bytes());
        let mut random = ChaCha12Rng::from_seed(digest.finalize().into());
        (0..many).map(move |_| below(choices, &mut random))
    }
}

/// A number below `bound`, each as often as any other up to one part in 2^32.
fn below(bound: u32, random: &mut impl Rng) -> u32 {
    ((u128::from(random.next_u64()) * u128::from(bound)) >> 64) as u32
}

/// The prompts of a synthetic dataset, in order.
pub(super) fn synthetic(
    spec: &SyntheticSpec,
    seed: u64,
    wanted: Option<u64>,
) -> impl Iterator<Item = Conversation> {
    let wanted = wanted.map(|wanted| wanted.min(SyntheticSpec::MOST_PROMPTS));
    let count = spec.count.or(wanted).unwrap_or(SyntheticSpec::DEFAULT_COUNT);
    let draw = |stream: u64| {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        // Streams of their own, so that asking for answers does not change the prompts.
        random.set_stream(stream);
        random
    };
    let (mut inputs, mut outputs) = (draw(1), draw(2));
    let SyntheticSpec { input, output, prefix, prefix_groups, count: _ } = *spec;
    (0..count).map(move |number| {
        let own = Block { key: BlockKey::Own(number), tokens: length(input, &mut inputs) };
        let shared = Block { key: BlockKey::Shared(number % prefix_groups), tokens: prefix };
        let blocks = if prefix > 0 { vec![shared, own] } else { vec![own] };
        let answer = output.map(|output| length(output, &mut outputs));
        Conversation::Given(of_recipe(Recipe { blocks, seed }, answer))
    })
}

/// A prompt to be made, with its answer's exact length where that is asked for.
pub(super) fn of_recipe(recipe: Recipe, answer_tokens: Option<u64>) -> Prompt {
    Prompt {
        max_tokens: answer_tokens.map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
        forced: answer_tokens.is_some(),
        answer_words: answer_tokens,
        ..Prompt::new(Content::Recipe(recipe))
    }
}

/// A length of this spread, at least 1.
fn length(lengths: Lengths, random: &mut impl Rng) -> u64 {
    let whole = |length: f64| (length + 0.5).floor();
    match lengths {
        Lengths::Fixed { tokens } => tokens,
        Lengths::Uniform { from, to } => {
            // Spans are below 2^32, since lengths are.
            let span = u32::try_from(to - from + 1).unwrap_or(u32::MAX);
            from + u64::from(below(span, random))
        }
        Lengths::Normal { mean, stddev } => loop {
            let drawn = whole(mean + stddev * normal(random));
            if drawn >= 1.0 {
                return drawn as u64;
            }
        },
        Lengths::LogNormal { mean, stddev } => {
            // The parameters of the logarithm from the moments of the lengths.
            let variance = log(1.0 + (stddev / mean) * (stddev / mean));
            let drawn = exp(log(mean) - variance / 2.0 + sqrt(variance) * normal(random));
            whole(drawn).max(1.0) as u64
        }
    }
}

/// Uniform in (0, 1), 53 bits, never 0 or 1.
fn uniform(random: &mut impl Rng) -> f64 {
    ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// Marsaglia's polar method. The logarithm is libm's and not the system's, whose last bit differs
/// from machine to machine.
fn normal(random: &mut impl Rng) -> f64 {
    loop {
        let (x, y) = (2.0 * uniform(random) - 1.0, 2.0 * uniform(random) - 1.0);
        let square = x * x + y * y;
        if square > 0.0 && square < 1.0 {
            return x * sqrt(-2.0 * log(square) / square);
        }
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
