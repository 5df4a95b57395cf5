//! A finished run, comparison or suite as one HTML page that opens anywhere and asks nobody.
//!
//! Main functions: [`run`], [`ab`] and [`suite`]. The page holds its figures as JSON and draws them
//! itself, with the scripts of this folder. Its first lines stand in it as text, so that the verdict is
//! there without a script too. What lies beside a report ([`Requests`], [`LogExcerpt`]) is read by
//! others and handed in.

mod columns;
mod comparison;
mod log;
mod page;
mod spread;

pub use columns::Requests;
pub use log::LogExcerpt;
pub(crate) use page::{BASE_STYLE, document};

use serde_json::{Value, json};

use self::page::{Lead, Tone};
use super::ab_markdown;
use super::suite as suite_text;
use super::verdict::{Verdict, Word};
use crate::artifact::{AbReport, AbVerdict, Report, RunStatus, SuiteReport};

/// What lies beside a `report.json`, or why it does not.
#[derive(Debug)]
pub struct Beside {
    /// The rows of `requests.jsonl`.
    pub requests: Result<Requests, String>,
    /// What of `server.log` is worth a look.
    pub log: Result<LogExcerpt, String>,
}

/// The page of a run (`report.html`).
#[must_use]
pub fn run(report: &Report, beside: &Beside) -> String {
    let verdict = Verdict::of(report);
    let tone = match verdict.word {
        Word::Ok => Tone::Good,
        Word::Partial | Word::Accepted => Tone::Careful,
        Word::Failed => Tone::Bad,
    };
    let run = &report.run;
    let lead = Lead {
        tone,
        word: verdict.word.text().to_owned(),
        sentence: verdict.sentence,
        name: run.name.clone(),
        tags: run_tags(
            run.branch.as_ref(),
            run.commit.as_ref(),
            run.dirty,
            &[
                ("runner", run.runner_label.clone()),
                ("server", report.server.version.clone()),
                ("model", report.model.as_ref().and_then(|model| model.file.clone())),
                ("scenario", Some(report.scenario.name.clone())),
                ("started", Some(run.started_at.clone())),
            ],
        ),
    };
    let part = |found: &Result<Value, &String>| match found {
        Ok(value) => json!({"value": value}),
        Err(why) => json!({"missing": why}),
    };
    let data = json!({
        "kind": "run",
        "report": report.to_value(),
        "requests": part(&beside.requests.as_ref().map(Requests::to_value)),
        "log": part(&beside.log.as_ref().map(LogExcerpt::to_value)),
    });
    page::render(&lead, data)
}

/// The page of a comparison.
#[must_use]
pub fn ab(report: &AbReport) -> String {
    let tone = match report.verdict {
        AbVerdict::Improved | AbVerdict::NoRegression => Tone::Good,
        AbVerdict::Inconclusive => Tone::Careful,
        AbVerdict::Regressed | AbVerdict::Invalid => Tone::Bad,
    };
    let tone =
        if report.run.status == RunStatus::Completed { tone } else { tone.at_best_careful() };
    let run = &report.run;
    let lead = Lead {
        tone,
        word: report.verdict.name().replace('-', " "),
        sentence: ab_markdown::headline(report),
        name: run.name.clone(),
        tags: run_tags(
            run.branch.as_ref(),
            run.commit.as_ref(),
            run.dirty,
            &[
                ("base", Some(report.sides.base.label.clone())),
                ("head", Some(report.sides.head.label.clone())),
                ("runner", run.runner_label.clone()),
                ("scenario", Some(report.scenario.name.clone())),
                ("started", Some(run.started_at.clone())),
            ],
        ),
    };
    let data = json!({
        "kind": "ab",
        "report": report.to_value(),
        "courses": comparison::courses(report),
    });
    page::render(&lead, data)
}

/// The page of a suite, a sweep or a search.
#[must_use]
pub fn suite(suite: &SuiteReport) -> String {
    let (good, sentence) = suite_text::verdict(suite);
    let unfinished = suite.suite.finished_at.is_none();
    let (tone, word) = match (good, unfinished) {
        (true, _) => (Tone::Good, "OK"),
        (false, true) => (Tone::Careful, "Partial"),
        (false, false) => (Tone::Bad, "Failed"),
    };
    let run = &suite.suite;
    let lead = Lead {
        tone,
        word: word.to_owned(),
        sentence,
        name: run.name.clone(),
        tags: run_tags(
            run.branch.as_ref(),
            run.commit.as_ref(),
            None,
            &[("runner", run.runner_label.clone()), ("started", Some(run.started_at.clone()))],
        ),
    };
    page::render(&lead, json!({"kind": "suite", "report": suite.to_value()}))
}

/// The tags that are known, by name.
fn run_tags(
    branch: Option<&String>,
    commit: Option<&String>,
    dirty: Option<bool>,
    others: &[(&'static str, Option<String>)],
) -> Vec<(&'static str, String)> {
    let changed = if dirty == Some(true) { " with local changes" } else { "" };
    let commit = commit.map(|commit| {
        let short: String = commit.chars().take(10).collect();
        format!("{short}{changed}")
    });
    [("branch", branch.cloned()), ("commit", commit)]
        .into_iter()
        .chain(others.iter().cloned())
        .filter_map(|(name, tag)| Some((name, tag?)))
        .collect()
}
