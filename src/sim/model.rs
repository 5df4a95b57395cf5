//! The model that is not there: its vocabulary, its tokenizer and the words it answers with.
//!
//! Main type: [`Vocabulary`]. Tokenizing is deterministic and can be undone; it is not the
//! tokenizer of any real model. Nothing here knows about time.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Size of the vocabulary as `/v1/models` states it; ids without a piece of their own are valid.
pub(super) const VOCABULARY_SIZE: u32 = 32_000;
/// Context length of the model as `/v1/models` states it.
pub(super) const TRAIN_CONTEXT: u32 = 32_768;
/// Tokens of a slot where no size is asked for. A real server divides the context of its model; the
/// simulator has no memory to run out of, so that any number of slots is usable.
pub(super) const SLOT_CONTEXT: u32 = 8192;
/// The token that begins a prompt.
pub(super) const BOS: u32 = 1;

const FIRST_BYTE: u32 = 3;
const FIRST_PIECE: u32 = FIRST_BYTE + 256;
/// Longest piece in bytes: `<|im_start|>`.
const LONGEST_PIECE: usize = 12;

/// What answers are made of; with a blank before each they are the first pieces.
const WORDS: &str = "the of and to in is that it for as with was on are be this have from or had by but \
not what all were when we there can an your which their said if do will each about how up out them then \
she many some so these would other into has more her two like him see time could no make than first been \
its who now people my made over did down only way find use may water long little very after words called \
just where most know get through back much before go good new write our used me man too any day same right \
look think also around another came come work three word must because does part even place well such here \
take why things help put years different away again off went old number great tell men say small every \
found still between name should home big give air line set own under read last never us left end along \
while might next sound below saw something thought both few those always looked show large often together \
asked house world going want school important until form food keep children feet land side without boy once \
animals life enough took four head above kind began almost live page got earth need far hand high year \
mother light parts country father let night following picture being study second eyes soon times story \
boys since white days ever paper hard near sentence better best across during today others however sure \
means knew try told young miles sun ways thing whole hear example heard several change answer room sea \
against top turned learn point city play toward five using himself usually server model token request \
latency value system number measure result question answer computer language simple fast slow memory";

/// Characters of two or three bytes for answers that must be split inside a character.
pub(super) const WIDE_CHARACTERS: [&str; 8] = ["é", "ü", "ß", "日", "本", "語", "→", "🦙"];

/// Pieces and their ids.
pub(super) struct Vocabulary {
    pieces: Vec<String>,
    ids: HashMap<Vec<u8>, u32>,
    words: u32,
}

impl Vocabulary {
    /// The one vocabulary, built on first use.
    pub(super) fn shared() -> &'static Vocabulary {
        static SHARED: OnceLock<Vocabulary> = OnceLock::new();
        SHARED.get_or_init(Vocabulary::build)
    }

    fn build() -> Vocabulary {
        let mut pieces: Vec<String> =
            WORDS.split_whitespace().map(|word| format!(" {word}")).collect();
        pieces.sort();
        pieces.dedup();
        let words = u32::try_from(pieces.len()).expect("a few hundred words");
        pieces.extend(
            ["<|im_start|>", "<|im_end|>", "system", "user", "assistant", "\n\n"]
                .map(str::to_owned),
        );
        pieces.extend((' '..='~').map(String::from));
        pieces.push("\n".to_owned());
        let letters = || 'a'..='z';
        pieces.extend(letters().map(|letter| format!(" {letter}")));
        pieces.extend(
            letters().flat_map(|first| letters().map(move |second| format!("{first}{second}"))),
        );
        pieces.extend(WORDS.split_whitespace().filter(|word| word.len() > 2).map(str::to_owned));
        let mut ids = HashMap::new();
        for (id, piece) in (FIRST_PIECE..).zip(&pieces) {
            ids.entry(piece.clone().into_bytes()).or_insert(id);
        }
        Vocabulary { pieces, ids, words }
    }

    /// Appends the tokens of `text`: the longest known piece at each place, else a byte token.
    pub(super) fn tokenize(&self, text: &str, tokens: &mut Vec<u32>) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let longest = LONGEST_PIECE.min(bytes.len() - at);
            let known = (1..=longest).rev().find_map(|length| {
                let id = self.ids.get(&bytes[at..at + length])?;
                Some((*id, length))
            });
            let (id, length) = known.unwrap_or((FIRST_BYTE + u32::from(bytes[at]), 1));
            tokens.push(id);
            at += length;
        }
    }

    /// The text of tokens; bytes that are not UTF-8 become replacement characters.
    pub(super) fn detokenize(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            self.push_piece(token, &mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn push_piece(&self, token: u32, bytes: &mut Vec<u8>) {
        if let Some(byte) = token.checked_sub(FIRST_BYTE).and_then(|byte| u8::try_from(byte).ok()) {
            bytes.push(byte);
        } else if let Some(piece) =
            token.checked_sub(FIRST_PIECE).and_then(|at| self.pieces.get(at as usize))
        {
            bytes.extend_from_slice(piece.as_bytes());
        } else if token >= FIRST_PIECE {
            bytes.extend_from_slice(format!(" w{token}").as_bytes());
        }
    }

    /// The token at place `index` of an answer: a plain word that needs no escape in JSON.
    pub(super) fn answer_token(&self, seed: u64, index: u64) -> u32 {
        let word = mix(seed ^ mix(index)) % u64::from(self.words);
        FIRST_PIECE + u32::try_from(word).expect("below the number of words")
    }

    /// The text of a token that [`Vocabulary::answer_token`] gave.
    pub(super) fn word(&self, token: u32) -> &str {
        token
            .checked_sub(FIRST_PIECE)
            .and_then(|at| self.pieces.get(at as usize))
            .map_or("", String::as_str)
    }
}

/// SplitMix64: one well mixed number for each input. Stable for ever, which no library promises.
pub(super) fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in `[0, 1)` for each seed and place.
pub(super) fn fraction(seed: u64, index: u64) -> f64 {
    (mix(seed.wrapping_add(mix(!index))) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back_from_its_tokens() {
        let vocabulary = Vocabulary::shared();
        for text in [
            "",
            "the server is slow",
            "Hello, World!\n\n\tπ 🦙 end",
            "<|im_start|>user\nx<|im_end|>",
        ] {
            let mut tokens = Vec::new();
            vocabulary.tokenize(text, &mut tokens);
            assert_eq!(vocabulary.detokenize(&tokens), text);
            assert!(tokens.iter().all(|&token| token < VOCABULARY_SIZE));
        }
    }

    #[test]
    fn words_take_about_as_many_tokens_as_with_a_real_model() {
        let text = "people often think that a computer can answer any question about the world";
        let mut tokens = Vec::new();
        Vocabulary::shared().tokenize(text, &mut tokens);
        assert!((13..=20).contains(&tokens.len()), "{} tokens", tokens.len());
    }

    #[test]
    fn answers_are_words_that_json_does_not_escape_and_follow_the_seed() {
        let vocabulary = Vocabulary::shared();
        let words = |seed| (0..200).map(move |i| vocabulary.word(vocabulary.answer_token(seed, i)));
        assert!(
            words(1)
                .all(|word| word.starts_with(' ')
                    && word[1..].bytes().all(|b| b.is_ascii_lowercase()))
        );
        assert!(words(1).eq(words(1)) && !words(1).eq(words(2)));
    }

    #[test]
    fn fractions_stay_in_the_half_open_unit_interval() {
        let mean = (0..10_000)
            .map(|i| fraction(3, i))
            .inspect(|f| assert!((0.0..1.0).contains(f)))
            .sum::<f64>();
        assert!((4_800.0..5_200.0).contains(&mean));
    }
}
