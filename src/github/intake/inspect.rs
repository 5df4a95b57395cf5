//! One report, looked into: is it what it says, and is it about what it must be about.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::artifact::{
    AB_SCHEMA, AbReport, AbVerdict, ComparisonRole, Report, SCHEMA, SUITE_SCHEMA, SuiteReport,
};
use crate::github::surfaces::harmless as harmless_to_runners;
use crate::report::comment::Content;

/// No text of ours is longer: a server's last words are cut to less than this.
const LONGEST_TEXT: usize = 16 * 1024;
/// Names of artifacts.
const LONGEST_NAME: usize = 100;
/// Names of fields: a server's metric has its labels in it.
const LONGEST_KEY: usize = 1024;
/// A comparison has some thousands of values, the largest suite that is shown three hundred thousand.
const MOST_VALUES: usize = 500_000;
/// Each is a row of the page.
const MOST_CELLS: usize = 512;
/// Nothing that is measured is larger, and what is larger fills a line with digits.
const LARGEST_NUMBER: f64 = 1e18;

/// What GitHub says that a report must be about; `None` where nobody can say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The commit at the head of the pull request, full hash.
    pub head: Option<String>,
    /// `owner/name` of the repository that the workflow ran in.
    pub repository: Option<String>,
}

/// Why a report is not shown. As text: a fragment that repeats nothing of the report unescaped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The folder or file cannot be read.
    #[error("it cannot be read ({cause})")]
    Unreadable {
        /// What the system said.
        cause: String,
    },
    /// The archive is broken, encrypted, or packed in a way that nobody needs.
    #[error("its archive cannot be unpacked ({cause})")]
    Archive {
        /// What is wrong with it.
        cause: String,
    },
    /// GitHub has deleted it.
    #[error("it has expired")]
    Expired,
    /// A path that leads out of the artifact, or a link.
    #[error("it holds a path that is no plain file name")]
    Path,
    /// Something else than a report.
    #[error("it holds a file that is none of {}", super::REPORTS.join(", "))]
    NotAReport,
    /// Nothing at all.
    #[error("it holds no report")]
    Empty,
    /// More files than a matrix has.
    #[error("there are {files} files, more than {}", super::MOST_FILES)]
    TooManyFiles {
        /// How many there are.
        files: usize,
    },
    /// More bytes than a report has, packed or unpacked.
    #[error("it is larger than {} bytes", super::MOST_FILE_BYTES)]
    TooLarge,
    /// A name with characters that no artifact's name has, or a very long one.
    #[error(
        "its name is empty, longer than {LONGEST_NAME} characters, or has characters that no name needs"
    )]
    Name,
    /// Two reports of one name.
    #[error("there are two reports of this name")]
    Twice,
    /// No JSON, or JSON with numbers that are none.
    #[error("it is not JSON (line {line}, column {column})")]
    NotJson {
        /// Where it stops being JSON, from 1.
        line: usize,
        /// Likewise.
        column: usize,
    },
    /// JSON of another kind.
    #[error("its schema is none of {AB_SCHEMA}, {SCHEMA}, {SUITE_SCHEMA}")]
    Schema,
    /// A field is missing, of another type or given twice.
    #[error("it does not follow its schema (line {line}, column {column})")]
    Damaged {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// A field that the schema does not have.
    #[error("it has a field that its schema does not have")]
    UnknownField,
    /// A text that is no text of ours.
    #[error(
        "it holds a text longer than {LONGEST_TEXT} bytes, or a name longer than {LONGEST_KEY}"
    )]
    LongText,
    /// More values than a report has.
    #[error("it holds more than {MOST_VALUES} values")]
    TooManyValues,
    /// A suite of more cells than a page has rows for.
    #[error("it has more than {MOST_CELLS} cells")]
    TooManyCells,
    /// A number that nothing measures.
    #[error("it holds a number that nothing can measure")]
    Number,
    /// It is about other code.
    #[error("it was measured on another commit than the head of the pull request")]
    OtherCommit,
    /// It is about another repository.
    #[error("it was measured for another repository")]
    OtherRepository,
    /// Its verdict is not that of its own figures.
    #[error("it contradicts itself: {what}")]
    Contradiction {
        /// In which way.
        what: &'static str,
    },
}

/// A name that may stand on a page once it is escaped.
pub(super) fn name(name: &str) -> Result<(), Refusal> {
    let odd = |c: char| crate::report::is_invisible(c) || "/\\\"<>|*?:".contains(c);
    let length = name.chars().count();
    let good =
        (1..=LONGEST_NAME).contains(&length) && !name.starts_with('.') && !name.contains(odd);
    if good { Ok(()) } else { Err(Refusal::Name) }
}

/// The name of something that was refused, for a log: short, and nothing that a terminal or a runner obeys.
pub(super) fn harmless(text: &str) -> String {
    let plain = |c: char| if crate::report::is_invisible(c) { ' ' } else { c };
    let plain: String = text.chars().map(plain).take(LONGEST_NAME).collect();
    harmless_to_runners(&plain)
}

/// A report of any kind, checked.
pub(super) fn report(bytes: &[u8], expected: &Expected) -> Result<Content, Refusal> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::NotJson { line: error.line(), column: error.column() })?;
    let mut values = 0;
    within_limits(&value, &mut values)?;
    match value.get("schema").and_then(Value::as_str) {
        Some(AB_SCHEMA) => {
            let report: AbReport = typed(bytes, &value)?;
            about(report.run.commit.as_deref(), report.run.repository.as_deref(), expected)?;
            consistent(&report)?;
            Ok(Content::Comparison(Box::new(report)))
        }
        Some(SCHEMA) => {
            let report: Report = typed(bytes, &value)?;
            about(report.run.commit.as_deref(), report.run.repository.as_deref(), expected)?;
            Ok(Content::Run(Box::new(report)))
        }
        Some(SUITE_SCHEMA) => {
            let suite: SuiteReport = typed(bytes, &value)?;
            // A suite does not say which repository it was measured for; its commit does.
            about(suite.suite.commit.as_deref(), None, expected)?;
            consistent_suite(&suite)?;
            Ok(Content::Suite(Box::new(suite)))
        }
        _ => Err(Refusal::Schema),
    }
}

fn within_limits(value: &Value, values: &mut usize) -> Result<(), Refusal> {
    *values += 1;
    if *values > MOST_VALUES {
        return Err(Refusal::TooManyValues);
    }
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        // Whole numbers may be as large as they are: seeds and sizes are.
        Value::Number(number) if number.is_u64() || number.is_i64() => Ok(()),
        Value::Number(number) => match number.as_f64() {
            Some(number) if number.abs() <= LARGEST_NUMBER => Ok(()),
            _ => Err(Refusal::Number),
        },
        Value::String(text) if text.len() > LONGEST_TEXT => Err(Refusal::LongText),
        Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|item| within_limits(item, values)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| {
            if key.len() > LONGEST_KEY {
                Err(Refusal::LongText)
            } else {
                within_limits(item, values)
            }
        }),
    }
}

/// The type, and nothing beside it: what is written again must hold every field that was read.
fn typed<T: DeserializeOwned + Serialize>(bytes: &[u8], value: &Value) -> Result<T, Refusal> {
    let report: T = serde_json::from_slice(bytes)
        .map_err(|error| Refusal::Damaged { line: error.line(), column: error.column() })?;
    let again = serde_json::to_value(&report).map_err(|_error| Refusal::Number)?;
    if has_all_of(&again, value) { Ok(report) } else { Err(Refusal::UnknownField) }
}

/// Whether every field of `value` is in `again`. A field that is left out when it is empty may be
/// missing there.
fn has_all_of(again: &Value, value: &Value) -> bool {
    match (again, value) {
        (Value::Object(ours), Value::Object(theirs)) => theirs.iter().all(|(key, item)| {
            ours.get(key).map_or_else(|| is_empty(item), |own| has_all_of(own, item))
        }),
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(own, item)| has_all_of(own, item))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn about(
    commit: Option<&str>,
    repository: Option<&str>,
    expected: &Expected,
) -> Result<(), Refusal> {
    if expected.head.is_some() && commit != expected.head.as_deref() {
        return Err(Refusal::OtherCommit);
    }
    match (repository, &expected.repository) {
        // GitHub's names know no case.
        (Some(own), Some(wanted)) if !own.eq_ignore_ascii_case(wanted) => {
            Err(Refusal::OtherRepository)
        }
        _ => Ok(()),
    }
}

/// A forger who changes one field should have to change them all.
fn consistent(report: &AbReport) -> Result<(), Refusal> {
    let contradiction = |what| Err(Refusal::Contradiction { what });
    let mut gates =
        report.comparisons.iter().filter(|comparison| comparison.role == ComparisonRole::Gate);
    let regressed = gates.any(|gate| gate.verdict == Some(AbVerdict::Regressed));
    if regressed && !matches!(report.verdict, AbVerdict::Regressed | AbVerdict::Invalid) {
        return contradiction("a gated metric got slower, and its verdict says otherwise");
    }
    let sides = [&report.sides.base, &report.sides.head];
    if sides.iter().any(|side| side.failed > side.requests) {
        return contradiction("more requests failed than were sent");
    }
    let broken = |comparison: &crate::artifact::MetricComparison| {
        let inside = |[low, high]: [f64; 2], change: f64| low <= change && change <= high;
        matches!((comparison.ci_pct, comparison.change_pct), (Some(ci), Some(change)) if !inside(ci, change))
    };
    if report.comparisons.iter().any(broken) {
        return contradiction("a change lies outside its own interval");
    }
    Ok(())
}

/// The same for a suite. A search also plays what the server does not bear, and is well all the same.
fn consistent_suite(suite: &SuiteReport) -> Result<(), Refusal> {
    let contradiction = |what| Err(Refusal::Contradiction { what });
    if suite.cells.len() > MOST_CELLS {
        return Err(Refusal::TooManyCells);
    }
    if suite.cells.iter().any(|cell| cell.requests.completed > cell.requests.planned) {
        return contradiction("more requests completed than were planned");
    }
    let is_well = suite.cells.iter().all(|cell| cell.exit_code == Some(0));
    if suite.suite.exit_code == Some(0) && suite.search.is_none() && !is_well {
        return contradiction("a cell is not well, and the suite says that it is");
    }
    Ok(())
}
