//! Rust source as the rules see it: code without comments, without test code, with or without the
//! contents of string literals. Line numbers stay as they were.

use std::fs;
use std::path::Path;

/// One file of `src/`.
#[derive(Debug)]
pub(crate) struct Source {
    /// Below the root of the repository, with `/`: `src/plan/mod.rs`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Without comments and test code.
    pub(crate) code: String,
    /// Without comments, test code and the contents of literals.
    pub(crate) bare: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let (code, bare) = if is_test_file(&path) {
            (String::new(), String::new())
        } else {
            let (code, bare) = blank(&text);
            let tests = test_modules(&bare);
            (blank_ranges(&code, &tests), blank_ranges(&bare, &tests))
        };
        Self { path, text, code, bare }
    }

    /// The numbers, from 1, of the lines of `code` or `bare` in which `found` is true.
    pub(crate) fn lines(view: &str, found: impl Fn(&str) -> bool) -> Vec<usize> {
        view.lines()
            .enumerate()
            .filter(|(_, line)| found(line))
            .map(|(index, _)| index + 1)
            .collect()
    }
}

/// All Rust files of a folder and those below, sorted by path.
pub(crate) fn read_sources(root: &Path, folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the source tree can be read") {
            let path = entry.expect("the source tree can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is UTF-8");
                let below = path.strip_prefix(root).expect("it was found below the root");
                sources.push(Source::new(below.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// Test code in files of its own is known by its name.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side. A word that
/// ends with `!` or `::` needs only its left side free.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let free_before = !line[..at].chars().next_back().is_some_and(is_part);
        let free_after = !line[at + word.len()..].chars().next().is_some_and(is_part);
        let open_end = word.ends_with(|last: char| !is_part(last));
        free_before && (free_after || open_end)
    })
}

/// The text with its comments blanked, once with and once without the contents of literals.
fn blank(text: &str) -> (String, String) {
    let characters: Vec<char> = text.chars().collect();
    let (mut code, mut bare) = (String::new(), String::new());
    let space = |character: char| if character == '\n' { '\n' } else { ' ' };
    let mut at = 0;
    while at < characters.len() {
        let (kind, end) = token(&characters, at);
        for &character in &characters[at..end] {
            code.push(if kind == Kind::Comment { space(character) } else { character });
            // ASCII alone, so that a byte of `bare` is a character of the source.
            let kept = kind == Kind::Code && character.is_ascii();
            bare.push(if kept { character } else { space(character) });
        }
        at = end;
    }
    (code, bare)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// What begins at `at`, and where it ends. Code comes one character at a time.
fn token(characters: &[char], at: usize) -> (Kind, usize) {
    let is = |offset: usize, wanted: char| characters.get(at + offset) == Some(&wanted);
    let previous = at.checked_sub(1).map(|before| characters[before]);
    let in_word = previous.is_some_and(|character| character.is_alphanumeric() || character == '_');
    match characters[at] {
        '/' if is(1, '/') => {
            let length =
                characters[at..].iter().take_while(|&&character| character != '\n').count();
            (Kind::Comment, at + length)
        }
        '/' if is(1, '*') => (Kind::Comment, block_comment_end(characters, at)),
        '"' => (Kind::Literal, string_end(characters, at + 1)),
        'r' if !in_word || previous == Some('b') || previous == Some('c') => {
            let hashes = characters[at + 1..].iter().take_while(|&&hash| hash == '#').count();
            if is(1 + hashes, '"') {
                (Kind::Literal, raw_string_end(characters, at + 2 + hashes, hashes))
            } else {
                (Kind::Code, at + 1)
            }
        }
        // A lifetime has no closing quote right behind its first character.
        '\'' if is(1, '\\') => (Kind::Literal, char_end(characters, at + 1)),
        '\'' if is(2, '\'') => (Kind::Literal, at + 3),
        _ => (Kind::Code, at + 1),
    }
}

fn block_comment_end(characters: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < characters.len() {
        match (characters[at], characters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    characters.len()
}

fn string_end(characters: &[char], mut at: usize) -> usize {
    while at < characters.len() {
        match characters[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    characters.len()
}

fn raw_string_end(characters: &[char], mut at: usize, hashes: usize) -> usize {
    while at < characters.len() {
        let closes = characters[at] == '"'
            && characters[at + 1..].iter().take(hashes).filter(|&&hash| hash == '#').count()
                == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    characters.len()
}

/// The end of a character literal whose backslash is at `at`.
fn char_end(characters: &[char], at: usize) -> usize {
    let closing = characters.iter().skip(at + 2).position(|&character| character == '\'');
    closing.map_or(characters.len(), |offset| at + 2 + offset + 1)
}

/// Where code under `#[cfg(test)]` stands, counted in characters: to the end of its block, or of its statement.
fn test_modules(bare: &str) -> Vec<std::ops::Range<usize>> {
    const MARK: &str = "#[cfg(test)]";
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(start) = bare[from..].find(MARK).map(|offset| from + offset) {
        let mut depth = 0_usize;
        let end = bare[start + MARK.len()..].char_indices().find_map(|(offset, character)| {
            match character {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = depth == 0 && matches!(character, '}' | ';');
            ends.then_some(start + MARK.len() + offset + 1)
        });
        let end = end.unwrap_or(bare.len());
        ranges.push(start..end);
        from = end;
    }
    ranges
}

/// The text with these ranges of characters blanked. Both views hold one character for each of
/// the source, so the ranges found in one fit the other.
fn blank_ranges(text: &str, ranges: &[std::ops::Range<usize>]) -> String {
    let mut blanked: Vec<char> = text.chars().collect();
    for range in ranges {
        for character in &mut blanked[range.clone()] {
            if *character != '\n' {
                *character = ' ';
            }
        }
    }
    blanked.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_told_from_code() {
        let source = Source::new(
            "src/x.rs",
            "//! tokio\nfn f<'a>(x: &'a str) { /* a /* tokio */ b */ g(\"tokio // no\", 'c', '\\'', r#\"\"tokio\"\"#); }\n",
        );
        assert!(!has_word(&source.bare, "tokio"));
        assert!(source.bare.contains("fn f<'a>(x: &'a str)"));
        assert!(source.bare.trim_end().ends_with("); }"));
        assert!(source.code.contains("\"tokio // no\""));
        assert!(!source.code.contains("b */"));
        assert_eq!(source.code.lines().count(), source.text.lines().count());
    }

    #[test]
    fn test_code_is_left_out_and_what_follows_it_is_not() {
        let source = Source::new(
            "src/x.rs",
            "fn a() {}\n#[cfg(test)]\nmod tests { fn é(x: [u8; 3]) { tokio(\"}\"); } }\nfn reqwest() {}\n#[cfg(test)]\nuse tokio;\nfn c() {}\n",
        );
        assert!(!has_word(&source.bare, "tokio"));
        assert_eq!(Source::lines(&source.bare, |line| has_word(line, "reqwest")), [4]);
        assert!(source.bare.contains("fn c() {}"));
        assert!(Source::new("src/x_tests.rs", "use tokio;").bare.is_empty());
    }

    #[test]
    fn words_have_edges() {
        assert!(has_word("use tokio::net;", "tokio"));
        assert!(!has_word("let my_tokio = 1;", "tokio"));
        assert!(!has_word("tokios", "tokio"));
        assert!(has_word("println!(\"\")", "println!"));
        assert!(!has_word("eprintln!(\"\")", "println!"));
    }
}
