//! Text from outside, made harmless before it stands in our pages.
//!
//! Main functions: [`escape`] for Markdown, [`fenced`] for code, [`html`] for pages, [`clean`]
//! for a terminal.

/// Makes text from outside harmless in a paragraph and in a table cell.
///
/// Line ends and control characters become blanks; Markdown and HTML lose their meaning; a
/// zero-width space keeps `@name`, `#12`, `GH-12`, `https://` and `www.` from becoming a mention, a
/// reference, a link.
pub(crate) fn escape(text: &str) -> String {
    const ZERO_WIDTH_SPACE: char = '\u{200b}';
    let characters: Vec<char> = text.chars().collect();
    let mut escaped = String::with_capacity(text.len() + 8);
    for (position, character) in characters.iter().copied().enumerate() {
        let previous = position.checked_sub(1).and_then(|before| characters.get(before)).copied();
        let next = characters.get(position + 1).copied();
        let word = |neighbour: Option<char>| neighbour.is_some_and(char::is_alphanumeric);
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An underscore inside a word means nothing in GitHub's Markdown, and our names have many.
            '_' if word(previous) && word(next) => escaped.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '|' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '@' => escaped.extend(['@', ZERO_WIDTH_SPACE]),
            '#' => {
                escaped.push('#');
                if word(next) {
                    escaped.push(ZERO_WIDTH_SPACE);
                }
            }
            ':' if next == Some('/') => escaped.extend([':', ZERO_WIDTH_SPACE]),
            '.' if before(&characters[..position], "www").is_some() => {
                escaped.extend([ZERO_WIDTH_SPACE, '.'])
            }
            '-' if next.is_some_and(|next| next.is_ascii_digit())
                && before(&characters[..position], "gh")
                    .is_some_and(|before| !word(before.last().copied())) =>
            {
                escaped.extend([ZERO_WIDTH_SPACE, '-']);
            }
            character if invisible(character) => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

/// What stands before this ending, in whatever case it is written; `None` where the text ends otherwise.
fn before<'a>(text: &'a [char], ending: &str) -> Option<&'a [char]> {
    let (before, end) = text.split_at_checked(text.len().checked_sub(ending.len())?)?;
    let alike = end.iter().zip(ending.chars()).all(|(is, wanted)| is.eq_ignore_ascii_case(&wanted));
    alike.then_some(before)
}

/// Control characters, and those that turn the direction of text round.
pub(crate) fn invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A block of code, a line of it for each item, that no content can leave.
pub(crate) fn fenced<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let text: Vec<String> = lines.map(clean).collect();
    let text = text.join("\n");
    let (mut longest, mut run) = (0, 0);
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat((longest + 1).max(3));
    format!("{fence}text\n{text}\n{fence}")
}

/// Without anything that a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|character| if invisible(character) { ' ' } else { character }).collect()
}

/// For the text of an element of HTML and for a quoted attribute.
pub(crate) fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in clean(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_text() {
        for (hostile, harmless) in [
            ("plain text, 3.5 ms", "plain text, 3.5 ms"),
            ("stream_error", "stream_error"),
            ("_emphasis_", "\\_emphasis\\_"),
            ("a|b", "a\\|b"),
            ("a\\|b", "a\\\\\\|b"),
            ("line\r\nnext", "line  next"),
            ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
            ("`code`", "\\`code\\`"),
            ("@team", "@\u{200b}team"),
            ("#12", "#\u{200b}12"),
            ("https://x", "https:\u{200b}//x"),
            ("see www.x.org", "see www\u{200b}.x.org"),
            ("(WwW.x", "(WwW\u{200b}.x"),
            ("ww.x awww", "ww.x awww"),
            ("GH-12", "GH\u{200b}-12"),
            ("fixes gh-1", "fixes gh\u{200b}-1"),
            ("GH-x high-12", "GH-x high-12"),
            ("[a](b)", "\\[a\\](b)"),
            ("![a](b)", "\\!\\[a\\](b)"),
            ("\u{1b}[31m", " \\[31m"),
            ("\u{202e}desrever", " desrever"),
        ] {
            assert_eq!(escape(hostile), harmless);
        }
    }

    #[test]
    fn code_cannot_leave_its_fence() {
        assert_eq!(fenced(["a ``` b\n````", "c"].into_iter()), "`````text\na ``` b ````\nc\n`````");
    }
}
