//! What of a server's log is worth a look: lines that speak of failure, with their neighbours, and
//! the end.
//!
//! Main type: [`LogExcerpt`]. It is filled line by line and stays small, however long the log is.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Lines kept at the end of the log.
const TAIL: usize = 40;
/// Lines kept before and after one that speaks of failure.
const AROUND: usize = 3;
/// Lines kept before the tail, at most: what comes later of the same is rarely new.
const MOST: usize = 240;
/// Characters of a line, at most.
const WIDTH: usize = 400;

/// What such a line contains, in lower case.
const SIGNS: [&str; 14] = [
    "error",
    "fail",
    "abort",
    "assert",
    "fatal",
    "panic",
    "exception",
    "out of memory",
    "segmentation",
    "terminate",
    "killed",
    "cannot",
    "unable",
    "warn",
];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    number: u64,
    text: String,
    marked: bool,
}

/// What was kept of a log.
#[derive(Debug, Default)]
pub struct LogExcerpt {
    kept: Vec<Line>,
    recent: VecDeque<Line>,
    count: u64,
    marked: u64,
    /// Lines after a marked one that are still to be kept.
    after: usize,
}

impl LogExcerpt {
    /// Of all lines in order; bytes that are no UTF-8 are shown as such.
    pub fn of(lines: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut excerpt = Self::default();
        for line in lines {
            excerpt.add(&line);
        }
        excerpt
    }

    /// The next line.
    pub fn add(&mut self, line: &[u8]) {
        self.count += 1;
        // A few bytes for every character, and a guard against a line of gigabytes.
        let line = &line[..line.len().min(4 * WIDTH)];
        let text: String = String::from_utf8_lossy(line).trim_end().chars().take(WIDTH).collect();
        let lower = text.to_lowercase();
        let marked = SIGNS.iter().any(|sign| lower.contains(sign));
        if marked {
            self.marked += 1;
            self.after = AROUND + 1;
        }
        self.recent.push_back(Line { number: self.count, text, marked });
        if self.after > 0 {
            self.after -= 1;
            self.keep_recent(if marked { AROUND + 1 } else { 1 });
        }
        if self.recent.len() > TAIL {
            self.recent.pop_front();
        }
    }

    /// Keeps the newest lines that are not kept yet.
    fn keep_recent(&mut self, count: usize) {
        let newest = self.kept.last().map_or(0, |line| line.number);
        let from = self.recent.len().saturating_sub(count);
        for line in self.recent.range(from..).filter(|line| line.number > newest) {
            if self.kept.len() < MOST {
                self.kept.push(line.clone());
            }
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let newest = self.kept.last().map_or(0, |line| line.number);
        let tail = self.recent.iter().filter(|line| line.number > newest);
        let lines: Vec<Value> = self
            .kept
            .iter()
            .chain(tail)
            .map(|line| json!([line.number, line.text, u8::from(line.marked)]))
            .collect();
        json!({"lines": lines, "count": self.count, "marked": self.marked})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(lines: impl IntoIterator<Item = String>) -> Vec<(u64, bool)> {
        let excerpt = LogExcerpt::of(lines.into_iter().map(String::into_bytes)).to_value();
        let lines = excerpt["lines"].as_array().expect("lines").clone();
        lines.iter().map(|line| (line[0].as_u64().unwrap_or(0), line[2] == 1)).collect()
    }

    #[test]
    fn failures_are_kept_with_their_neighbours_and_the_end_is_kept_too() {
        let line = |number: u64| match number {
            50 => "E ggml: CUDA error: out of memory".to_owned(),
            _ => format!("I slot {number}"),
        };
        let kept = excerpt((1..=200).map(line));
        let numbers: Vec<u64> = kept.iter().map(|(number, _)| *number).collect();
        let expected: Vec<u64> = (47..=53).chain(161..=200).collect();
        assert_eq!(numbers, expected);
        assert_eq!(kept.iter().filter(|(_, marked)| *marked).count(), 1);
    }

    #[test]
    fn a_log_full_of_errors_stays_small_and_in_order() {
        let kept = excerpt((0..100_000).map(|_| "error".repeat(1_000)));
        assert!(kept.len() <= MOST + TAIL, "{}", kept.len());
        assert!(kept.windows(2).all(|two| two[0].0 < two[1].0));
        assert_eq!(kept.last().map(|line| line.0), Some(100_000));
    }

    #[test]
    fn a_short_log_is_kept_whole_and_an_empty_one_is_empty() {
        assert_eq!(excerpt((0..5).map(|line| line.to_string())).len(), 5);
        assert!(excerpt([]).is_empty());
        let odd = LogExcerpt::of([vec![0xff, 0xfe, b'a']]).to_value();
        assert_eq!(odd["lines"][0][1], "\u{fffd}\u{fffd}a");
    }
}
