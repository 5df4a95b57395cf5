//! A SentencePiece-style vocabulary of any size, without a corpus.
//!
//! Main function: [`pieces`]. The words are English, so that real prompts tokenize into pieces of a
//! few characters as they would with a trained vocabulary; it does not claim to be one.

use std::collections::HashSet;

/// Token ids before the first piece: `<unk> <s> </s>` and 256 bytes.
pub(super) const PIECES_FROM: u32 = 3 + 256;

/// `LLAMA_TOKEN_TYPE_*` of llama.cpp.
const TYPE_NORMAL: i32 = 1;
const TYPE_UNKNOWN: i32 = 2;
const TYPE_CONTROL: i32 = 3;
const TYPE_BYTE: i32 = 6;

/// SentencePiece's mark of a word's beginning.
const WORD_START: char = '\u{2581}';

/// Frequent words; also their beginnings become pieces, which is how SentencePiece gets there.
const WORDS: &str = "the of and to in is that it was for on are as with they be at one have this \
    from or had by but not what all were when we there can an your which their said if do will \
    each about how up out them then she many some so these would other into has more her two like \
    him see time could no make than first been its who now people my made over did down only way \
    find use may water long little very after words called just where most know get through back \
    much before go good new write our used me man too any day same right look think also around \
    another came come work three word must because does part even place well such here take why \
    things help put years different away again off went old number great tell men say small every \
    found still between name should home big give air line set own under read last never us left \
    end along while might next sound below saw something thought both few those always looked show \
    large often together asked house don't world going want school important until form food keep \
    children feet land side without boy once animals life enough took sometimes four head above \
    kind began almost live page got earth need far hand high year mother light parts country father \
    let night following picture being study second eyes soon times story boys since white days ever \
    paper hard near sentence better best across during today others however sure means knew try \
    told young miles sun ways thing whole hear example heard several change answer room sea against \
    top turned learn point city play toward five using himself usually";

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: i32,
}

/// The whole vocabulary; `count` is at least [`PIECES_FROM`]. The texts are all different.
pub(super) fn tokens(count: u32) -> Vec<Token> {
    let mut tokens = vec![
        Token { text: "<unk>".to_owned(), score: 0.0, kind: TYPE_UNKNOWN },
        Token { text: "<s>".to_owned(), score: 0.0, kind: TYPE_CONTROL },
        Token { text: "</s>".to_owned(), score: 0.0, kind: TYPE_CONTROL },
    ];
    tokens.extend((0..=255u8).map(|byte| Token {
        text: format!("<0x{byte:02X}>"),
        score: 0.0,
        kind: TYPE_BYTE,
    }));
    let pieces = pieces((count - PIECES_FROM) as usize);
    // SentencePiece merges the highest score first, so earlier pieces win.
    tokens.extend(pieces.into_iter().enumerate().map(|(index, text)| Token {
        text,
        score: -(index as f32),
        kind: TYPE_NORMAL,
    }));
    tokens
}

/// So many different pieces: characters, then words with their beginnings, then syllables.
fn pieces(count: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut seen = HashSet::new();
    for piece in characters().chain(word_beginnings()).chain(syllables()).chain(numbered()) {
        if pieces.len() == count {
            break;
        }
        if seen.insert(piece.clone()) {
            pieces.push(piece);
        }
    }
    pieces
}

/// Without these, text would fall apart into byte tokens.
fn characters() -> impl Iterator<Item = String> {
    std::iter::once(WORD_START).chain('!'..='~').map(String::from)
}

/// Each word's beginnings, shortest first over all words, so that a small vocabulary still gets
/// some of each.
fn word_beginnings() -> impl Iterator<Item = String> {
    let lengths = 1..=12usize;
    lengths.flat_map(|length| {
        WORDS
            .split_whitespace()
            .filter(move |word| word.len() >= length)
            .map(move |word| format!("{WORD_START}{}", &word[..length]))
    })
}

/// `ba`, `bab`, `babab`, … inside and at the beginning of words.
fn syllables() -> impl Iterator<Item = String> {
    const CONSONANTS: &str = "tnsrhldcmfpgbvkwyxzj";
    const VOWELS: &str = "eaiou";
    let open =
        || CONSONANTS.chars().flat_map(|first| VOWELS.chars().map(move |v| format!("{first}{v}")));
    let closed =
        move || open().flat_map(|open| CONSONANTS.chars().map(move |c| format!("{open}{c}")));
    let double =
        move || open().flat_map(move |first| open().map(move |second| first.clone() + &second));
    let longer =
        move || double().flat_map(|double| CONSONANTS.chars().map(move |c| format!("{double}{c}")));
    let inside = open().chain(closed()).chain(double()).chain(longer());
    inside.flat_map(|syllable| [format!("{WORD_START}{syllable}"), syllable])
}

/// The rest of a very large vocabulary.
fn numbered() -> impl Iterator<Item = String> {
    (0u32..).map(|number| format!("{WORD_START}n{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_different_tokens_and_the_special_ones_first() {
        for count in [PIECES_FROM + 128, 1024, 32_000, 500_000] {
            let tokens = tokens(count);
            assert_eq!(tokens.len(), count as usize);
            let texts: HashSet<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
            assert_eq!(texts.len(), tokens.len(), "all different at {count}");
            assert_eq!(tokens[2].text, "</s>");
            assert_eq!(tokens[3 + 10].text, "<0x0A>");
            assert_eq!(tokens[PIECES_FROM as usize].text, "\u{2581}");
        }
    }

    #[test]
    fn words_are_ascii_so_that_their_beginnings_are_whole_characters() {
        assert!(WORDS.is_ascii());
    }
}
