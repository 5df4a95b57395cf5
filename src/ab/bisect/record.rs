//! What a search must not forget, and what it writes in the end.
//!
//! Main types: [`Record`], the file `bisect-state.json`, and the [`report`] that is made of it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, BISECT_JSON, BISECT_MD, Hunt, STEPS};
use crate::ab::{essence, state};
use crate::artifact::{
    BISECT_SCHEMA, BisectCommit, BisectEvidence, BisectFinding, BisectOutcome, BisectPurpose,
    BisectReport, BisectStep, FileEntry, Note, Run, RunStatus, Unknowns,
};
use crate::cli::BisectArgs;
use crate::error::Error;
use crate::exit::ExitCode;
use crate::plan::RunPlan;
use crate::provenance;
use crate::provenance::range::{Commit, Range};
use crate::run::findings::Findings;
use crate::run::sections::{machine, tool};
use crate::run::watchers;
use crate::verdict::Rule;

/// Inside the output folder; gone once the search is over.
const FILE: &str = "bisect-state.json";

/// Everything that a search has come to so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// Everything that must stay the same for the search to be carried on.
    plan: Value,
    /// Every answer, in order.
    pub(super) steps: Vec<BisectStep>,
}

/// Everything that must stay the same.
pub(super) fn plan(args: &BisectArgs, range: &Range, rules: &[Rule], plan: &RunPlan) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|rule| json!([rule.metric, rule.role.name(), rule.bar, rule.floor]))
        .collect();
    json!({
        "good": range.good.id,
        "bad": range.commits.last().map(|bad| &bad.id),
        "all_parents": args.search.all_parents,
        "build": args.search.build,
        "server_path": args.search.server_path,
        "pairs": args.search.pairs,
        "restart_mode": args.search.restart_mode,
        "gates": rules,
        "side": essence::essence(plan),
    })
}

impl Record {
    /// Of a search that begins; an earlier one in this folder is forgotten.
    pub(super) fn begin(out_dir: &Path, plan: Value) -> Result<Self, Error> {
        let failed = |path: &Path, source| Error::Output {
            attempt: "replace",
            path: path.to_owned(),
            source,
        };
        let steps = out_dir.join(STEPS);
        for entry in std::fs::read_dir(&steps).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Only what we made: somebody else's folder of that name is left alone.
            if name
                .get(..2)
                .is_some_and(|number| number.chars().all(|digit| digit.is_ascii_digit()))
            {
                let path = entry.path();
                std::fs::remove_dir_all(&path).map_err(|source| failed(&path, source))?;
            }
        }
        let record = Self { plan, steps: Vec::new() };
        record.save(out_dir)?;
        Ok(record)
    }

    /// Of a search that was interrupted in this folder.
    pub(super) fn resume(out_dir: &Path, plan: &Value) -> Result<Self, Error> {
        state::interrupted(out_dir, FILE, plan, |record: &Self| &record.plan)
    }

    /// Writes it: whole, or not at all.
    pub(super) fn save(&self, out_dir: &Path) -> Result<(), Error> {
        state::keep(self, out_dir, FILE)
    }

    /// Nothing is left to be resumed. One that stays does no harm: its plan is checked.
    pub(super) fn forget(out_dir: &Path) {
        drop(std::fs::remove_file(out_dir.join(FILE)));
    }
}

/// The report of what it came to.
pub(super) fn report(
    hunt: &Hunt<'_>,
    answer: Answer,
    exit: ExitCode,
    broken: bool,
) -> BisectReport {
    let Answer { outcome, first_bad, confirmed, suspects, reasons, warnings } = answer;
    let commits = &hunt.range.commits;
    let steps = hunt.record.steps.clone();
    let mut unknown = Unknowns::none();
    let unverified = "it is not known that bad is slower";
    let found = first_bad.map(|place| commit(&commits[place]));
    let notes = hunt.provenance.notes.iter().map(|message| ("provenance", message.clone()));
    BisectReport {
        schema: BISECT_SCHEMA.to_owned(),
        tool: tool(),
        run: run(hunt, outcome, &reasons, exit, broken),
        machine: machine(&hunt.provenance.machine),
        good: commit(&hunt.range.good),
        bad: commit(commits.last().expect("a range holds the bad commit")),
        first_parent: !hunt.args.search.all_parents,
        commits: commits.len() as u64,
        build: hunt.args.search.build.clone(),
        server_path: hunt.args.search.server_path.display().to_string(),
        metric: unknown.option(
            "metric",
            hunt.gate.as_ref().map(|gate| gate.metric.clone()),
            unverified,
        ),
        bar_pct: unknown.option(
            "bar_pct",
            hunt.gate.as_ref().map(|gate| 100.0 * gate.bar),
            unverified,
        ),
        budget_s: hunt.args.search.budget.as_secs_f64(),
        evidence: evidence(hunt, first_bad, &steps),
        steps,
        outcome,
        first_bad: unknown.option("first_bad", found, "it was not found"),
        confirmed,
        suspects: suspects.into_iter().map(|place| commit(&commits[place])).collect(),
        reasons,
        warnings: warnings
            .into_iter()
            .map(|message| ("bisect", message))
            .chain(notes)
            .map(|(code, message)| Note { code: code.to_owned(), message })
            .collect(),
        files: [
            (BISECT_JSON, "this file"),
            (BISECT_MD, "the same for people"),
            (STEPS, "every comparison: its ab.json, ab.md and trials"),
            (watchers::EVENTS_FILE, "what happened, with times"),
        ]
        .map(|(name, what)| FileEntry { name: name.to_owned(), what: what.to_owned() })
        .to_vec(),
        unknown,
    }
}

fn commit(of: &Commit) -> BisectCommit {
    BisectCommit { commit: of.id.clone(), subject: of.subject.clone() }
}

fn evidence(hunt: &Hunt<'_>, first_bad: Option<usize>, steps: &[BisectStep]) -> BisectEvidence {
    let mut unknown = Unknowns::none();
    let found = first_bad.map(|place| &hunt.range.commits[place]);
    let parent = found.and_then(|found| found.parents.first());
    // The last answer about a commit is the one that stands.
    let place = |wanted: Option<&String>, finding: BisectFinding, confirm: bool| {
        let place = steps.iter().rposition(|step| {
            Some(&step.commit.commit) == wanted
                && step.finding == finding
                && (step.purpose == BisectPurpose::Confirm) == confirm
        });
        place.map(|place| place as u64)
    };
    let id = found.map(|found| &found.id);
    let why = match found {
        None => "no commit was found",
        Some(_) if parent == Some(&hunt.range.good.id) => "its parent is good itself",
        Some(_) => "there was no such step",
    };
    let mut step = |name: &str, found| unknown.option(name, found, why);
    BisectEvidence {
        not_slower_step: step("not_slower_step", place(parent, BisectFinding::NotSlower, false)),
        slower_step: step("slower_step", place(id, BisectFinding::Slower, false)),
        direct_step: step("direct_step", place(id, BisectFinding::Slower, true)),
        unknown,
    }
}

fn run(
    hunt: &Hunt<'_>,
    outcome: BisectOutcome,
    reasons: &[String],
    exit: ExitCode,
    broken: bool,
) -> Run {
    let provenance = &hunt.provenance;
    let typed = &hunt.args.run.tags;
    let mut unknown = Unknowns::none();
    let mut tag = |field: &str, typed: &Option<String>, found: &Option<String>| {
        unknown.option(field, typed.clone().or_else(|| found.clone()), provenance.why_not(field))
    };
    let runner_label = tag("runner_label", &typed.runner_label, &provenance.runner_label);
    let branch = tag("branch", &typed.branch, &provenance.branch);
    let commit = tag("commit", &typed.commit, &provenance.commit);
    let repository = provenance.repository.clone();
    let unfinished = outcome == BisectOutcome::Unfinished;
    Run {
        id: Findings::begin(provenance.clone()).id,
        name: typed.name.clone().unwrap_or_else(|| "bisect".to_owned()),
        repository: unknown.option("repository", repository, "only GitHub Actions names one"),
        runner_label,
        branch,
        commit,
        dirty: unknown.option("dirty", provenance.dirty, provenance.why_not("dirty")),
        started_at: provenance.started_at.clone(),
        finished_at: Some(provenance::now()),
        duration_s: Some(hunt.begun.elapsed().as_secs_f64()),
        status: match (unfinished, broken && hunt.record.steps.is_empty()) {
            (_, true) => RunStatus::Failed,
            (true, false) => RunStatus::Partial,
            (false, false) => RunStatus::Completed,
        },
        causes: if unfinished { reasons.to_vec() } else { Vec::new() },
        exit_code: Some(exit.code()),
        unknown,
    }
}
