//! A line of arguments, split as a shell would split it.
//!
//! Main function: [`split`]. Quotes and backslashes only: no variables, no globs, no substitution.

/// The arguments of a line.
///
/// # Errors
/// Which quote is not closed, or that the line ends with a backslash.
pub(super) fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('\'') => break,
                        Some(letter) => word.push(letter),
                        None => return Err("a single quote is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some('"') => break,
                        Some('\\') => match letters.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                            Some(other) => word.extend(['\\', other]),
                            None => return Err("a double quote is not closed"),
                        },
                        Some(letter) => word.push(letter),
                        None => return Err("a double quote is not closed"),
                    }
                }
            }
            '\\' => match letters.next() {
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err("it ends with a backslash"),
            },
            blank if blank.is_whitespace() => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn lines_are_split_as_a_shell_splits_them() {
        let check = |line: &str, expected: &[&str]| assert_eq!(split(line).unwrap(), expected);
        check("", &[]);
        check("  --ubatch-size 256\t-fa  on ", &["--ubatch-size", "256", "-fa", "on"]);
        check(
            r#"--alias "two words" 'and "three"' a\ b"#,
            &["--alias", "two words", "and \"three\"", "a b"],
        );
        check(r#"pre"fix"'ed' "" ''"#, &["prefixed", "", ""]);
        check(r#""a\"b\\c\n""#, &[r#"a"b\c\n"#]);
        for broken in ["'open", "\"open", "end\\"] {
            assert!(split(broken).is_err(), "{broken}");
        }
    }
}
