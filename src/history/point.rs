//! What a history is made of: points, and what people said about them.
//!
//! Main types: [`Point`], a line of a shard, [`Annotation`], a line of the annotations, and [`About`],
//! what all points of a series have in common. A history is semi-trusted: whoever may push to the
//! branch wrote it. So a line that is not what it should be is skipped and named, never obeyed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::artifact::{
    AbReport, AbVerdict, ComparisonRole, Design, DesignKind, Report, RunStatus, Scenario,
};
use crate::compare::{self, What};
use crate::stats::Better;
use crate::verdict::looks::least_pairs;

/// The longest line that is read; one that is written has at most a quarter of it.
pub const MAX_LINE_BYTES: usize = 16 * 1024;

/// The longest text in a line that is read, in bytes.
const MAX_TEXT_BYTES: usize = 1_000;

/// Metrics of a comparison that follow from how long its answers are.
const OF_WHOLE_ANSWERS: [&str; 2] = ["e2e_ms_p50", "prompt_tokens_per_second"];

/// The most metrics of one point.
const MAX_METRICS: usize = 64;

/// One commit on one machine: a line of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Digest of the runs it was made of: the same runs give the same point.
    pub id: String,
    /// When the first of them began: RFC 3339, UTC.
    pub at: String,
    /// Commit under test, full hash; `null` where it is not known.
    pub commit: Option<String>,
    /// Branch under test.
    pub branch: Option<String>,
    /// `--name` of the run.
    pub name: String,
    /// Version of bench-ci.
    pub tool: String,
    /// How many runs; the values are their medians.
    pub trials: u32,
    /// The values by metric.
    pub metrics: BTreeMap<String, Reading>,
    /// What came of a comparison whose sides were the same; absent of everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa: Option<AaOutcome>,
}

/// What a session with `--aa` came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AaOutcome {
    /// Label of the runner; of one without a label, the fingerprint of the machine.
    pub runner: String,
    /// Whether it called one of the two sides faster.
    pub alarm: bool,
    /// How small a change its first gated metric could have shown, per cent.
    pub resolution_pct: Option<f64>,
}

impl AaOutcome {
    /// `None` also of a session that was too short to raise an alarm, whatever it saw: it would speak well of
    /// any machine.
    fn of(report: &AbReport) -> Option<Self> {
        let design = &report.design;
        let gates =
            report.comparisons.iter().filter(|found| found.role == ComparisonRole::Gate).count();
        let is_whole = report.run.status == RunStatus::Completed
            && design.kind != DesignKind::Sessions
            && design.pairs_used >= least_pairs(gates, design.level) as u64;
        (design.aa && is_whole).then(|| Self {
            runner: bounded(runner(report)),
            alarm: matches!(report.verdict, AbVerdict::Regressed | AbVerdict::Improved),
            resolution_pct: report.comparisons.first().and_then(|first| first.resolution_pct),
        })
    }
}

/// What a comparison's machine is called: its label, else its fingerprint.
pub fn runner(report: &AbReport) -> &str {
    let name = report.run.runner_label.as_ref().or(report.machine.fingerprint.as_ref());
    name.map_or("unknown", String::as_str)
}

/// One metric of a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// In `unit`; above 0.
    pub value: f64,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
}

/// A change that somebody accepted: from here on, a new epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Annotation {
    /// When it was made: RFC 3339, UTC. Points after it are of the new epoch.
    pub at: String,
    /// The first commit of the new epoch, full hash; `null`: whatever comes after `at`.
    pub commit: Option<String>,
    /// The series it is about; `null`: all.
    pub series: Option<String>,
    /// Who.
    pub author: String,
    /// Why.
    pub reason: String,
}

/// A line of the branch, or the `about.json` of a series.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is there for its schema alone")]
enum Record {
    /// A line of a shard.
    Point(Point),
    /// A line of the annotations.
    Annotation(Annotation),
    /// What a series is of.
    About(About),
}

/// Where the schema of the branch's lines is committed.
pub const SCHEMA_FILE: &str = "schema/bench-ci.history.1.json";

/// JSON Schema of everything in the branch, draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    schemars::schema_for!(Record).to_value()
}

/// What all points of a series have in common; its digest is the key of the series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// Name of the scenario.
    pub scenario: String,
    /// Digest over all its requests; of a comparison, what was asked in words.
    pub workload: String,
    /// The model for people.
    pub model: String,
    /// Its digest.
    pub model_digest: String,
    /// `llama-server`, `sim` or `external`.
    pub server: String,
    /// What the server was started with.
    pub flags: String,
    /// Major version of bench-ci.
    pub tool_major: String,
    /// The machine for people.
    pub machine: String,
    /// Its fingerprint.
    pub machine_fingerprint: String,
}

impl About {
    /// Of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let trial = compare::trial("", report);
        let fact = |what: What| trial.facts.get(&what).cloned();
        let value = |what| fact(what).map_or_else(|| "unknown".to_owned(), |fact| fact.value);
        let shown = |what| fact(what).map_or_else(|| "unknown".to_owned(), |fact| fact.shown);
        Self {
            scenario: bounded(&report.scenario.name),
            workload: value(What::Workload),
            model: bounded(&shown(What::Model)),
            model_digest: bounded(&value(What::Model)),
            server: value(What::Server),
            flags: bounded(&value(What::Flags)),
            tool_major: value(What::Tool),
            machine: bounded(&shown(What::Machine)),
            machine_fingerprint: value(What::Machine),
        }
    }

    /// Of a comparison: of its head.
    #[must_use]
    pub fn of_ab(report: &AbReport) -> Self {
        let unknown = || "unknown".to_owned();
        let model = report.model.as_ref();
        let side = &report.sides.head;
        Self {
            scenario: bounded(&report.scenario.name),
            workload: asked_in_ab(report),
            model: model.and_then(|model| model.file.as_deref()).map_or_else(unknown, bounded),
            model_digest: model.and_then(|model| model.sha256.clone()).unwrap_or_else(unknown),
            server: side.kind.name().to_owned(),
            flags: bounded(&compare::server_flags(&side.command).join(" ")),
            tool_major: compare::major(&report.tool.version),
            machine: report.machine.cpu_model.as_deref().map_or_else(unknown, bounded),
            machine_fingerprint: report.machine.fingerprint.clone().unwrap_or_else(unknown),
        }
    }

    /// Whether both are of one question, whatever the machine and the server's flags were.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let question = |of: &Self| {
            let Self { scenario, workload, model_digest, server, tool_major, .. } = of.clone();
            [scenario, workload, model_digest, server, tool_major]
        };
        question(self) == question(other)
    }

    /// 16 hex digits. What is only for people is not in it.
    #[must_use]
    pub fn key(&self) -> String {
        let Self {
            scenario,
            workload,
            model_digest,
            server,
            flags,
            tool_major,
            machine_fingerprint,
            ..
        } = self;
        let parts =
            [scenario, workload, model_digest, server, flags, tool_major, machine_fingerprint];
        digest("bench-ci series 1", parts.into_iter().map(String::as_str))
    }
}

/// What the sides of a comparison were asked, as far as that was settled before it began.
///
/// Not the hash of its requests: where the length of answers is left to `ab`, a slower server is asked for fewer
/// tokens, so that whatever slowed it down would begin a new series and never be seen as a change. And the
/// figures of a block are not those of a whole run, even of the same requests.
fn asked_in_ab(report: &AbReport) -> String {
    let Scenario { endpoint, dataset, max_prompt_words, max_context_words, .. } = &report.scenario;
    let Design { kind, users, tokens_asked, .. } = &report.design;
    let number = |of: Option<u64>| of.map_or_else(|| "any".to_owned(), |number| number.to_string());
    format!(
        "{} users of {} in an ab, {kind:?}: prompts of {} words at most, {} with their answers, of {} tokens: {}",
        number(users.map(u64::from)),
        endpoint.path(),
        number(*max_prompt_words),
        number(*max_context_words),
        number(*tokens_asked),
        bounded(dataset),
    )
}

/// Why runs are no point.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoPoint {
    /// The numbers are not evidence.
    #[error("the run \"{id}\" is not evidence: {reason}")]
    NotEvidence {
        /// Of the run.
        id: String,
        /// Why not.
        reason: String,
    },
    /// There is no number in any of them.
    #[error("the run \"{id}\" has no figure")]
    NoFigure {
        /// Of the run.
        id: String,
    },
}

impl Point {
    /// Of runs of one series and one commit, at least one: the median of each metric that all have.
    ///
    /// # Errors
    /// Where a run is no evidence, or there is no figure.
    pub fn of(reports: &[&Report]) -> Result<Self, NoPoint> {
        let mut values: BTreeMap<String, (Vec<f64>, String, Better)> = BTreeMap::new();
        for report in reports {
            let trial = compare::trial("", report);
            if let Some(reason) = trial.doubts.first() {
                return Err(NoPoint::NotEvidence {
                    id: report.run.id.clone(),
                    reason: reason.clone(),
                });
            }
            for figure in trial.figures.into_iter().filter(|figure| figure.value > 0.0) {
                let entry = values
                    .entry(figure.metric)
                    .or_insert_with(|| (Vec::new(), figure.unit, figure.better));
                entry.0.push(figure.value);
            }
        }
        let metrics: BTreeMap<String, Reading> = values
            .into_iter()
            .filter(|(_, (values, ..))| values.len() == reports.len())
            .filter_map(|(metric, (values, unit, better))| {
                Some((metric, Reading { value: super::median(&values)?, unit, better }))
            })
            .collect();
        let first =
            reports.iter().min_by(|one, other| one.run.started_at.cmp(&other.run.started_at));
        let Some(first) = first.filter(|_| !metrics.is_empty()) else {
            let id = reports.first().map_or("", |report| &report.run.id).to_owned();
            return Err(NoPoint::NoFigure { id });
        };
        let mut ids: Vec<&str> = reports.iter().map(|report| report.run.id.as_str()).collect();
        ids.sort_unstable();
        Ok(Self {
            id: digest("bench-ci point 1", ids.into_iter()),
            at: first.run.started_at.clone(),
            commit: first.run.commit.clone(),
            branch: first.run.branch.as_deref().map(bounded),
            name: bounded(&first.run.name),
            tool: first.tool.version.clone(),
            trials: u32::try_from(reports.len()).unwrap_or(u32::MAX),
            metrics,
            aa: None,
        })
    }

    /// Of a comparison: the medians of its head over the pairs.
    ///
    /// # Errors
    /// Where it is no evidence, or there is no figure.
    pub fn of_ab(report: &AbReport) -> Result<Self, NoPoint> {
        let id = || report.run.id.clone();
        if report.verdict == AbVerdict::Invalid {
            let reason =
                report.reasons.first().map_or("its verdict is invalid", String::as_str).to_owned();
            return Err(NoPoint::NotEvidence { id: id(), reason });
        }
        // Answers whose length is left to `ab` take about as long whatever the server is like.
        let is_chosen = report.design.tokens_asked.is_none();
        let metrics: BTreeMap<String, Reading> = report
            .comparisons
            .iter()
            .filter(|found| found.role != ComparisonRole::Exact)
            .filter(|found| !(is_chosen && OF_WHOLE_ANSWERS.contains(&found.metric.as_str())))
            .filter_map(|found| {
                let value = found.head?.median;
                let (unit, better) = (found.unit.clone(), found.better);
                let reading = Reading { value, unit, better };
                (value.is_finite() && value > 0.0).then(|| (found.metric.clone(), reading))
            })
            .collect();
        if metrics.is_empty() {
            return Err(NoPoint::NoFigure { id: id() });
        }
        Ok(Self {
            id: digest("bench-ci point 1", std::iter::once(report.run.id.as_str())),
            at: report.run.started_at.clone(),
            commit: report.sides.head.commit.clone().or_else(|| report.run.commit.clone()),
            branch: report.run.branch.as_deref().map(bounded),
            name: bounded(&report.run.name),
            tool: report.tool.version.clone(),
            trials: u32::try_from(report.design.pairs_used).unwrap_or(u32::MAX),
            metrics,
            aa: AaOutcome::of(report),
        })
    }

    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        line(self)
    }

    /// Whether a line that could be parsed holds what it should.
    fn fault(&self) -> Option<&'static str> {
        let texts = [&self.id, &self.name, &self.tool]
            .into_iter()
            .chain(&self.commit)
            .chain(&self.branch)
            .chain(self.metrics.keys())
            .chain(self.metrics.values().map(|reading| &reading.unit))
            .chain(self.aa.as_ref().map(|aa| &aa.runner));
        if month(&self.at).is_none() {
            Some("\"at\" is no date")
        } else if texts.clone().any(|text| text.len() > MAX_TEXT_BYTES) {
            Some("a text in it is too long")
        } else if self.metrics.len() > MAX_METRICS {
            Some("it has too many metrics")
        } else if self
            .metrics
            .values()
            .any(|reading| !(reading.value.is_finite() && reading.value > 0.0))
        {
            Some("a value in it is not above 0")
        } else if self
            .aa
            .as_ref()
            .and_then(|aa| aa.resolution_pct)
            .is_some_and(|resolution| !(resolution.is_finite() && resolution >= 0.0))
        {
            Some("its resolution is no share")
        } else {
            None
        }
    }
}

impl Annotation {
    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        line(self)
    }

    fn fault(&self) -> Option<&'static str> {
        if month(&self.at).is_none() {
            Some("\"at\" is no date")
        } else if self.reason.len().max(self.author.len()) > MAX_TEXT_BYTES {
            Some("a text in it is too long")
        } else {
            None
        }
    }
}

/// Parses the points of a shard. What is none is skipped; `complain` is told the line, from 1, and why.
#[must_use]
pub fn points(text: &str, complain: impl FnMut(usize, String)) -> Vec<Point> {
    parse(text, Point::fault, complain)
}

/// Parses annotations, likewise.
#[must_use]
pub fn annotations(text: &str, complain: impl FnMut(usize, String)) -> Vec<Annotation> {
    parse(text, Annotation::fault, complain)
}

fn parse<T: for<'a> Deserialize<'a>>(
    text: &str,
    fault: impl Fn(&T) -> Option<&'static str>,
    mut complain: impl FnMut(usize, String),
) -> Vec<T> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > MAX_LINE_BYTES {
            complain(index + 1, format!("it is longer than {MAX_LINE_BYTES} bytes"));
            continue;
        }
        match serde_json::from_str::<T>(line) {
            Ok(parsed) => match fault(&parsed) {
                None => found.push(parsed),
                Some(fault) => complain(index + 1, fault.to_owned()),
            },
            Err(error) => complain(index + 1, error.to_string()),
        }
    }
    found
}

fn line<T: Serialize>(of: &T) -> String {
    let mut line = serde_json::to_string(of).expect("keys are strings, and all numbers are finite");
    line.push('\n');
    line
}

/// `2026-11` of an RFC 3339 date; `None` of anything else.
#[must_use]
pub fn month(at: &str) -> Option<&str> {
    chrono::DateTime::parse_from_rfc3339(at).ok()?;
    at.get(..7).filter(|month| {
        month.bytes().enumerate().all(|(position, byte)| {
            if position == 4 { byte == b'-' } else { byte.is_ascii_digit() }
        })
    })
}

/// Milliseconds since 1970 of an RFC 3339 date.
#[must_use]
pub fn instant_ms(at: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(at).ok().map(|at| at.timestamp_millis())
}

/// Cut at a character's end, so that a line stays within what is read.
fn bounded(text: &str) -> String {
    const MOST: usize = 400;
    let end = text
        .char_indices()
        .map(|(at, one)| at + one.len_utf8())
        .take_while(|end| *end <= MOST)
        .last();
    text[..end.unwrap_or(0)].to_owned()
}

fn digest<'a>(what: &str, parts: impl Iterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    hash.update(what);
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
