//! The two marks in a comment: by the first it is found again, by the last it is known how new it is.
//!
//! Main types: [`Marker`], [`State`]. Both are HTML comments, which GitHub does not show.

use super::cell::{Cell, Standing};
use super::{Origin, worst};

/// The first line of our comments: which of several it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    key: String,
}

impl Marker {
    /// Of a key. Characters that could end the mark, or that GitHub might change, become `-`.
    #[must_use]
    pub fn of(key: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let mut key: String =
            key.chars().map(|c| if plain(c) { c } else { '-' }).take(64).collect();
        // Two dashes and a bracket would end the comment; two dashes alone end it in old parsers.
        while key.contains("--") {
            key = key.replace("--", "-");
        }
        if key.is_empty() {
            key.push_str("default");
        }
        Self { key }
    }

    /// Whether a comment's text begins with it.
    #[must_use]
    pub fn is_in(&self, body: &str) -> bool {
        body.trim_start().lines().next().is_some_and(|line| line.trim_end() == self.to_string())
    }
}

impl std::fmt::Display for Marker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "<!-- bench-ci:report v=1 key={} -->", self.key)
    }
}

/// The last line of our comments: what they were made from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The measured commit.
    pub head: Option<String>,
    /// Number and attempt of the workflow run, which grow with time; `None` outside of one.
    pub run: Option<(u64, u64)>,
    /// How it stood.
    pub standing: Option<Standing>,
    /// What it said to be resolved.
    pub resolved: Option<Standing>,
}

impl State {
    /// Of a page.
    #[must_use]
    pub fn of(origin: &Origin, cells: &[Cell]) -> Self {
        let is_hash = |text: &&String| super::words::commit(text).is_some();
        let standing = worst(cells);
        Self {
            head: origin.head.as_ref().filter(is_hash).cloned(),
            run: origin.run.as_ref().map(|run| (run.id, run.attempt)),
            standing: Some(standing),
            resolved: resolved(standing, origin),
        }
    }

    /// What the next page, about `head`, may say to be resolved: what this one showed, or for the same
    /// commit what this one said already, so that a job that is run again does not take it back.
    #[must_use]
    pub fn before(&self, head: Option<&str>) -> Option<Standing> {
        let same = self.head.as_deref() == head;
        self.standing.filter(|standing| standing.is_bad()).or(self.resolved.filter(|_| same))
    }

    /// Reads it back from a comment; `None` where there is none.
    #[must_use]
    pub fn read(body: &str) -> Option<Self> {
        let line = body.lines().rev().find(|line| line.starts_with("<!-- bench-ci:state "))?;
        let words = line.strip_prefix("<!-- bench-ci:state ")?.strip_suffix("-->")?;
        let value = |name: &str| {
            words.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let number = |name: &str| value(name).and_then(|text| text.parse().ok());
        Some(Self {
            head: value("head").filter(|head| *head != "-").map(str::to_owned),
            run: number("run").zip(number("attempt")),
            standing: value("stands").and_then(Standing::of_word),
            resolved: value("resolved").and_then(Standing::of_word),
        })
    }

    /// Whether a comment in this state was made later than one in the other, which must then not
    /// replace it.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        matches!((self.run, other.run), (Some(own), Some(others)) if own > others)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "<!-- bench-ci:state head={}", self.head.as_deref().unwrap_or("-"))?;
        if let Some((run, attempt)) = self.run {
            write!(formatter, " run={run} attempt={attempt}")?;
        }
        let word = |standing: Standing| standing.word().replace(' ', "-");
        if let Some(standing) = self.standing {
            write!(formatter, " stands={}", word(standing))?;
        }
        if let Some(standing) = self.resolved {
            write!(formatter, " resolved={}", word(standing))?;
        }
        formatter.write_str(" -->")
    }
}

/// What is resolved on a page that stands so; `None` where nothing was wrong before, or still is.
pub(super) fn resolved(standing: Standing, origin: &Origin) -> Option<Standing> {
    let well = standing > Standing::Inconclusive;
    origin.before.filter(|before| well && before.is_bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_can_leave_its_mark() {
        for (key, shown) in [
            ("", "default"),
            ("cuda t4", "cuda-t4"),
            ("--> <b>", "-b-"),
            ("a--b", "a-b"),
            ("Ünï\n", "-n-"),
        ] {
            assert_eq!(
                Marker::of(key).to_string(),
                format!("<!-- bench-ci:report v=1 key={shown} -->"),
                "{key}"
            );
        }
        assert_eq!(Marker::of(&"x".repeat(500)).key.len(), 64);
    }

    #[test]
    fn a_comment_is_ours_only_if_it_begins_with_the_mark() {
        let marker = Marker::of("default");
        assert!(marker.is_in(&format!("{marker}\n### ✅")));
        assert!(marker.is_in(&format!("\r\n{marker}\r\ntext")));
        assert!(!marker.is_in(&format!("look at this: {marker}")));
        assert!(!marker.is_in(&format!("text\n{marker}")));
        assert!(!Marker::of("other").is_in(&format!("{marker}\n")));
    }

    #[test]
    fn a_state_is_read_back_and_put_in_order() {
        let state = |run, attempt| State {
            head: Some("abcdef0".to_owned()),
            run: Some((run, attempt)),
            standing: Some(Standing::NoRegression),
            resolved: Some(Standing::NotMeasured),
        };
        let newer = state(12, 2);
        assert_eq!(State::read(&format!("text\n{newer}\n")), Some(newer.clone()));
        assert!(newer.is_newer_than(&state(12, 1)) && newer.is_newer_than(&state(11, 9)));
        assert!(!newer.is_newer_than(&newer) && !newer.is_newer_than(&state(13, 1)));
        // Made at a desk: nobody knows which is the newer, so the last one stands.
        assert!(!newer.is_newer_than(&State::default()) && !State::default().is_newer_than(&newer));
        assert_eq!(State::read("<!-- bench-ci:state head=- -->"), Some(State::default()));
        assert_eq!(State::read("nothing"), None);
    }
}
