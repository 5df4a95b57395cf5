//! What there is to show of a run, and the outputs of the step that made it.
//!
//! Main type: [`Found`]. Every output is always set, to nothing where it is not known, so that a later
//! step sees an empty value rather than that of an earlier attempt.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::command::{Command, Level};
use crate::artifact::{AbVerdict, MetricComparison};
use crate::exit::ExitCode;
use crate::github::intake::ARTIFACT_PREFIX;
use crate::report::comment::{Cell, Content, Standing};

/// GitHub shows no more of one level in a step.
const MOST_ANNOTATIONS: usize = 10;

/// An artifact's name may be longer, but nobody reads it.
const LONGEST_KEY: usize = 80;

/// What a run left behind, and how it left.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What the artifact is called after.
    pub name: String,
    /// The report under the name of its configuration; of a suite, one for each cell. Never empty.
    pub cells: Vec<Cell>,
    /// What the process leaves with.
    pub exit: ExitCode,
    /// `report.json`, `ab.json` or `suite.json`; `None` where this run wrote none.
    pub json: Option<PathBuf>,
    /// The same for people.
    pub markdown: Option<PathBuf>,
}

/// Name and value of an output.
pub type Output = (&'static str, String);

impl Found {
    /// The outputs, in the order of `action.yml`.
    #[must_use]
    pub fn outputs(&self) -> Vec<Output> {
        let standing = self.standing();
        let worst = self.cells.iter().find(|cell| cell.standing() == standing);
        let deciding = worst.and_then(|cell| cell.gated().into_iter().next());
        let of = |read: &dyn Fn(&MetricComparison) -> Option<f64>| {
            deciding.and_then(read).map(|value| format!("{value:.2}")).unwrap_or_default()
        };
        let interval =
            |end: usize| of(&|metric| metric.ci_pct.map(|ci| if end == 0 { ci[0] } else { ci[1] }));
        let pairs = match worst.map(|cell| &cell.content) {
            Some(Content::Comparison(report)) => report.design.pairs_used.to_string(),
            _ => String::new(),
        };
        let failed = self.cells.iter().map(failed_requests).collect::<Option<Vec<_>>>();
        let failed = failed.map(|failed| failed.iter().sum::<u64>().to_string());
        let path = |path: &Option<PathBuf>| {
            path.as_deref().map(|path| path.display().to_string()).unwrap_or_default()
        };
        // Without a report there is nothing to upload under the name.
        let artifact = self.json.as_ref().map(|_| format!("{ARTIFACT_PREFIX}{}", self.name));
        vec![
            ("verdict", standing.word().replace(' ', "-")),
            ("exit-code", self.exit.code().to_string()),
            ("metric", deciding.map(|metric| metric.metric.clone()).unwrap_or_default()),
            ("change-pct", of(&|metric| metric.change_pct)),
            ("ci-low", interval(0)),
            ("ci-high", interval(1)),
            ("resolution-pct", of(&|metric| metric.resolution_pct)),
            ("pairs", pairs),
            ("failed-requests", failed.unwrap_or_default()),
            ("report-json", path(&self.json)),
            ("report-md", path(&self.markdown)),
            ("artifact-name", artifact.unwrap_or_default()),
        ]
    }

    /// The worst of all cells.
    fn standing(&self) -> Standing {
        self.cells.iter().map(Cell::standing).min().unwrap_or(Standing::NotMeasured)
    }

    /// What a reader of the job must see: what got slower, what is no evidence, what failed.
    #[must_use]
    pub fn annotations(&self) -> Vec<Command> {
        if matches!(self.exit, ExitCode::Interrupted | ExitCode::Terminated) {
            // Whoever cancelled the job knows.
            return Vec::new();
        }
        let mut annotations: Vec<Command> =
            self.cells.iter().flat_map(|cell| self.about(cell)).collect();
        if let [worst, ..] = &self.cells[..]
            && annotations.is_empty()
            && self.exit != ExitCode::Ok
        {
            annotations.push(self.annotation(worst, self.exit.meaning().to_owned()));
        }
        annotations.truncate(MOST_ANNOTATIONS);
        annotations
    }

    fn about(&self, cell: &Cell) -> Vec<Command> {
        let reason = || {
            let reason = Some(cell.reason()).filter(|reason| !reason.is_empty());
            reason.unwrap_or_else(|| self.exit.meaning().to_owned())
        };
        match cell.standing() {
            Standing::Regressed => cell
                .gated()
                .into_iter()
                .filter(|metric| metric.verdict == Some(AbVerdict::Regressed))
                .map(|metric| self.annotation(cell, in_words(metric)))
                .collect(),
            Standing::Invalid | Standing::NotMeasured => vec![self.annotation(cell, reason())],
            _ => Vec::new(),
        }
    }

    fn annotation(&self, cell: &Cell, text: String) -> Command {
        Command::Annotate {
            level: if self.exit == ExitCode::Ok { Level::Warning } else { Level::Error },
            title: format!("bench-ci: {} ({})", cell.standing().word(), cell.name),
            text,
        }
    }
}

/// `None` where there is no report.
fn failed_requests(cell: &Cell) -> Option<u64> {
    match &cell.content {
        Content::Comparison(report) => Some(report.sides.base.failed + report.sides.head.failed),
        Content::Run(report) => Some(report.requests.failed),
        Content::Suite(suite) => Some(suite.cells.iter().map(|cell| cell.requests.failed).sum()),
        Content::Nothing(_) => None,
    }
}

/// `output_tokens_per_second 812 → 784 (-3.40 %, 95 % CI -4.60 … -2.30)`.
fn in_words(of: &MetricComparison) -> String {
    let Some((base, head)) = of.medians() else {
        return format!("{}: no pair has a value", of.metric);
    };
    let mut text = format!("{} {base:.4} → {head:.4}", of.metric);
    if let (Some(change), Some([low, high])) = (of.change_pct, of.ci_pct) {
        let level =
            of.ci_level.map_or_else(String::new, |level| format!("{:.0} % ", 100.0 * level));
        text.push_str(&format!(" ({change:+.2} %, {level}CI {low:+.2} … {high:+.2})"));
    }
    text
}

/// `name<<delimiter`, the value, the delimiter: a value that nothing inside can end. `None` if the
/// value holds the delimiter, and another must be drawn.
#[must_use]
pub fn assignment(name: &str, value: &str, delimiter: &str) -> Option<String> {
    if value.contains(delimiter) {
        return None;
    }
    Some(format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"))
}

/// What the configuration of a matrix job is called: the job and the values of its matrix, such as
/// `bench-q4_0-cuda`, in characters that an artifact's name may have. Where that loses anything, a
/// digest of the whole is added, so that two configurations never share a name.
#[must_use]
pub fn artifact_key(job: &str, matrix: Option<&Value>) -> String {
    let mut whole = job.to_owned();
    for value in matrix.and_then(Value::as_object).into_iter().flat_map(|matrix| matrix.values()) {
        whole.push('-');
        match value {
            Value::String(text) => whole.push_str(text),
            other => whole.push_str(&other.to_string()),
        }
    }
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let mut key: String =
        whole.chars().map(|character| if is_plain(character) { character } else { '-' }).collect();
    key = key.trim_matches(['-', '.']).to_owned();
    key.truncate(LONGEST_KEY);
    if key == whole && !key.is_empty() {
        return key;
    }
    let digest = Sha256::digest(format!("{job}\n{}", matrix.unwrap_or(&Value::Null)));
    let digest: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    if key.is_empty() { digest } else { format!("{key}-{digest}") }
}

/// The names of a run's own files, JSON first: those of one run or comparison, then those of a suite.
pub(super) fn files(is_comparison: bool, out_dir: &Path) -> Vec<[PathBuf; 2]> {
    let stems: &[&str] = if is_comparison { &["ab"] } else { &["report", "suite"] };
    let named = |stem: &&str| ["json", "md"].map(|end| out_dir.join(format!("{stem}.{end}")));
    stems.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_own_heredoc() {
        assert_eq!(assignment("a", "x\ny", "EOF_1").as_deref(), Some("a<<EOF_1\nx\ny\nEOF_1\n"));
        assert_eq!(assignment("a", "x\nEOF_1\nb=c", "EOF_1"), None);
    }

    #[test]
    fn a_key_is_a_name_that_an_artifact_may_have_and_nobody_elses() {
        let key = |job: &str, matrix: &str| {
            artifact_key(job, serde_json::from_str::<Value>(matrix).ok().as_ref())
        };
        assert_eq!(key("bench", "null"), "bench");
        assert_eq!(key("bench", r#"{"ftype": "q4_0", "users": 8}"#), "bench-q4_0-8");
        let odd = [
            key("bench", r#"{"a": "x/y"}"#),
            key("bench", r#"{"a": "x:y"}"#),
            key("bench", r#"{"a": {"b": [1]}}"#),
            key("bench", r#"{"a": "\n::set-env"}"#),
            key(&"j".repeat(500), "null"),
            key("", "null"),
        ];
        for (index, one) in odd.iter().enumerate() {
            assert!(one.len() <= LONGEST_KEY + 9, "{one}");
            assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
            assert!(!odd[..index].contains(one), "{one}");
        }
    }
}
