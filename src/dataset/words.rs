//! The word count of llama.cpp's script.js, which it calls tokens.
//!
//! Main function: [`words`]. It is no tokenizer: it exists so that the same prompts are picked.

/// The number of pieces of JavaScript's `text.split(/[\s,'".?]/)`, empty pieces counted: one more
/// than there are separators. Never 0.
///
/// Source: the `tokenizer` of script.js. The expression has no `u` flag and works on UTF-16 units;
/// every separator is one unit, so counting characters gives the same.
#[must_use]
pub fn words(text: &str) -> u64 {
    text.chars().filter(|c| is_separator(*c)).count() as u64 + 1
}

/// ECMAScript's `\s` (WhiteSpace and LineTerminator) and the five marks.
///
/// It differs from `char::is_whitespace`: U+FEFF is in, U+0085 is not.
const fn is_separator(c: char) -> bool {
    matches!(
        c,
        ',' | '\'' | '"' | '.' | '?'
            | '\t'..='\r'
            | ' '
            | '\u{a0}'
            | '\u{1680}'
            | '\u{2000}'..='\u{200a}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202f}'
            | '\u{205f}'
            | '\u{3000}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A literal transliteration: UTF-16 units, pieces really made, the class written out from the
    /// tables of ECMA-262 (12.2, 12.3) and from Unicode's category Zs.
    fn split_as_javascript_does(text: &str) -> u64 {
        const CLASS: [u16; 30] = [
            0x0009, 0x000b, 0x000c, 0x0020, 0x00a0, 0xfeff, 0x000a, 0x000d, 0x2028, 0x2029, 0x1680,
            0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a,
            0x202f, 0x205f, 0x3000, 0x002c, 0x0027, 0x0022, 0x002e, 0x003f,
        ];
        let mut pieces: Vec<Vec<u16>> = vec![Vec::new()];
        for unit in text.encode_utf16() {
            if CLASS.contains(&unit) {
                pieces.push(Vec::new());
            } else if let Some(last) = pieces.last_mut() {
                last.push(unit);
            }
        }
        pieces.len() as u64
    }

    #[test]
    fn every_single_character_counts_as_in_javascript() {
        // Exhaustive over all of Unicode: cheap, and the class cannot hide a gap.
        for c in '\0'..=char::MAX {
            let text = format!("a{c}b");
            assert_eq!(words(&text), split_as_javascript_does(&text), "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn node_gives_the_same_counts() {
        // The fixture was made with Node.js; see its first line.
        let fixture = include_str!("../../tests/fixtures/script_js_words.jsonl");
        let mut seen = 0;
        for line in fixture.lines().filter(|line| !line.starts_with("//")) {
            let (text, count): (String, u64) =
                serde_json::from_str(line).expect("a pair of text and count");
            assert_eq!(words(&text), count, "{text:?}");
            seen += 1;
        }
        assert!(seen > 100, "only {seen} cases");
    }

    proptest! {
        #[test]
        fn any_text_counts_as_in_javascript(text in "([a-z]|\\PC|[ \t\r\n,'\".?\u{a0}\u{feff}\u{2028}\u{3000}\u{85}]){0,60}") {
            prop_assert_eq!(words(&text), split_as_javascript_does(&text));
        }
    }
}
