//! The runner's workflow commands: lines of a log that it obeys.
//!
//! Main type: [`Command`]. The runner takes `::name …::text` at the start of a line, blanks before it
//! included, and of an older kind `##[name …]text` anywhere in a line.

use std::fmt;

/// A line that the runner obeys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Shows the text beside the job, at most ten of each level in a step.
    Annotate {
        /// How bad it is.
        level: Level,
        /// Above the text.
        title: String,
        /// From outside; may have several lines.
        text: String,
    },
    /// What follows is folded in the log, under this title.
    Group(String),
    /// The end of what is folded.
    EndGroup,
    /// This text is shown as `***` from now on.
    Mask(String),
    /// Nothing is obeyed until [`Command::Resume`] with the same token.
    Stop(String),
    /// Commands are obeyed again.
    Resume(String),
}

/// How bad an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The step has failed because of it.
    Error,
    /// It should be known.
    Warning,
    /// It is worth knowing, and nothing is wrong.
    Notice,
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Annotate { level, title, text } => {
                let level = match level {
                    Level::Error => "error",
                    Level::Warning => "warning",
                    Level::Notice => "notice",
                };
                write!(formatter, "::{level} title={}::{}", property(title), data(text))
            }
            Command::Group(title) => write!(formatter, "::group::{}", data(title)),
            Command::EndGroup => formatter.write_str("::endgroup::"),
            Command::Mask(secret) => write!(formatter, "::add-mask::{}", data(secret)),
            Command::Stop(token) => write!(formatter, "::stop-commands::{token}"),
            Command::Resume(token) => write!(formatter, "::{token}::"),
        }
    }
}

/// The text of a command: the per cent sign first, or it would escape the escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property, which also ends at a comma, and the command's name at two colons.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The text with no line in it that the runner obeys, and otherwise as it was.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    // The runner also ends a line at a lone carriage return.
    for line in text.split_inclusive(['\n', '\r']) {
        let line = line.replace("##[", "## [");
        let indent = line.len() - line.trim_start().len();
        match line.get(indent..) {
            Some(rest) if rest.starts_with("::") => {
                safe.push_str(&line[..indent]);
                safe.push_str(": :");
                safe.push_str(&rest[2..]);
            }
            _ => safe.push_str(&line),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_command() {
        let command = Command::Annotate {
            level: Level::Error,
            title: "a: b, c%\n::x".to_owned(),
            text: "100 %\r\n::add-mask::x, y: z".to_owned(),
        };
        assert_eq!(
            command.to_string(),
            "::error title=a%3A b%2C c%25%0A%3A%3Ax::100 %25%0D%0A::add-mask::x, y: z"
        );
        assert_eq!(Command::Mask("a%0Ab\nc".to_owned()).to_string(), "::add-mask::a%250Ab%0Ac");
        assert_eq!(Command::Group("a\n::x".to_owned()).to_string(), "::group::a%0A::x");
    }

    #[test]
    fn no_line_of_a_harmless_text_is_obeyed() {
        for (text, safe) in [
            ("::error::x", ": :error::x"),
            ("a\n  ::error::x\nb", "a\n  : :error::x\nb"),
            ("a\r::error::x", "a\r: :error::x"),
            ("\u{a0}::error::x", "\u{a0}: :error::x"),
            ("x ##[error]y ##[group]z", "x ## [error]y ## [group]z"),
            ("std::fs and a::b", "std::fs and a::b"),
            ("", ""),
            ("größer\n", "größer\n"),
        ] {
            assert_eq!(harmless(text), safe);
        }
    }
}
