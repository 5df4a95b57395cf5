//! `bench-ci bisect`: which commit made it slower, found by comparisons on one machine.
//!
//! Main function: [`main`]. Every answer is a session of `ab` of its own: first bad against good; then,
//! of what lies between, the commit that halves it (`search`) against good; at last the commit that was found
//! against its parent. Only the metric that bad is slower in decides after that, with a bar half-way
//! between good and bad: so a step needs few pairs. Each answer is on disk before the next
//! question (`record`), so that a search is resumed as well as a comparison.

mod record;
mod search;
mod step;

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::AbError;
use super::{prepare, sides};
use crate::artifact::{BisectFinding, BisectOutcome, BisectPurpose, BisectStep, store};
use crate::cancel::{self, Cancel};
use crate::cli::{AbArgs, BisectArgs, DesignArgs, FailOn, SessionArgs, SideArgs};
use crate::commands::Done;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::exit::ExitCode;
use crate::plan::problem::{Place, PlanError, Problem};
use crate::plan::resolve::Surroundings;
use crate::provenance::Provenance;
use crate::provenance::range::{Commit, Line, Range};
use crate::run::{self, watchers};
use crate::verdict::looks::MOST_PAIRS;
use crate::verdict::{Rule, Verdict};
use crate::{report, signals};
use record::Record;
use search::{Next, Suspects};

pub(crate) const BISECT_JSON: &str = "bisect.json";
pub(crate) const BISECT_MD: &str = "bisect.md";
/// Where the comparisons lie.
pub(crate) const STEPS: &str = "steps";

/// Of the budget, so much is kept for the reports.
const WRITING: Duration = Duration::from_secs(1);

/// A step that cannot tell is played again with so many times the pairs.
const AGAIN: usize = 2;

/// With less than this no comparison is begun.
const LEAST_TIME: Duration = Duration::from_secs(5);

/// A search as it was asked for, checked.
struct Hunt<'a> {
    args: &'a BisectArgs,
    range: Range,
    /// Of all metrics, as for bad against good.
    rules: Vec<Rule>,
    provenance: Provenance,
    surroundings: Surroundings,
    begun: Instant,
    deadline: Instant,
    events: Events,
    cancel: Cancel,
    record: Record,
    /// How many of the recorded steps have been gone over again.
    replayed: usize,
    /// What decides once it is known that bad is slower.
    gate: Option<Gate>,
}

/// The metric that a search goes by.
#[derive(Debug, Clone, PartialEq)]
struct Gate {
    metric: String,
    /// A fraction.
    bar: f64,
}

/// What a search came to.
struct Answer {
    outcome: BisectOutcome,
    first_bad: Option<usize>,
    confirmed: bool,
    suspects: Vec<usize>,
    reasons: Vec<String>,
    warnings: Vec<String>,
}

impl Answer {
    fn of(outcome: BisectOutcome, reason: impl Into<String>) -> Self {
        Self {
            outcome,
            first_bad: None,
            confirmed: false,
            suspects: Vec::new(),
            reasons: vec![reason.into()],
            warnings: Vec::new(),
        }
    }
}

/// The `bisect` command.
///
/// # Errors
/// What kept the search from being made. What it came to is not an error.
pub(crate) fn main(args: &BisectArgs) -> Result<Done, Error> {
    let begun = Instant::now();
    let output = &args.run.output;
    let provenance = Provenance::here();
    let checked = check(args, &provenance, begun);
    let (range, rules, surroundings, plan) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            if !output.dry_run && !args.search.resume {
                run::forget_earlier(&output.out_dir);
            }
            return Err(error);
        }
    };
    if output.dry_run {
        return Ok(Done::text(show(args, &range)));
    }
    let record = if args.search.resume {
        Record::resume(&output.out_dir, &plan)?
    } else {
        run::prepare(&output.out_dir)?;
        Record::begin(&output.out_dir, plan)?
    };
    let events = watchers::listen(output, &output.out_dir)?;
    let runtime = run::runtime()?;
    let finished = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        let mut hunt = Hunt {
            args,
            range,
            rules,
            provenance,
            surroundings,
            begun,
            deadline: begun + args.search.budget.saturating_sub(WRITING),
            events,
            cancel,
            record,
            replayed: 0,
            gate: None,
        };
        let answer = hunt.answer().await;
        conclude(&hunt, answer)
    });
    runtime.shutdown_background();
    finished
}

/// Everything that can be checked before anything is built.
fn check(
    args: &BisectArgs,
    provenance: &Provenance,
    begun: Instant,
) -> Result<(Range, Vec<Rule>, Surroundings, serde_json::Value), Error> {
    let surroundings = run::surroundings(provenance)?;
    few_enough(args.search.pairs)?;
    let line = if args.search.all_parents { Line::AllParents } else { Line::FirstParent };
    let range = Range::find(Path::new("."), &args.search.good, &args.search.bad, line)
        .map_err(AbError::from)?;
    let first = comparison(args, &args.search.good, &args.search.bad, args.search.budget, false);
    let order = super::order(&first, provenance.clone(), begun)?;
    let rules = order.rules.clone();
    let side =
        sides::plan(crate::verdict::Side::Base, &first, &order.choices[0], None, &surroundings)?;
    let plan = record::plan(args, &range, &rules, &side.plan);
    Ok((range, rules, surroundings, plan))
}

/// The second comparison of a step, which has more pairs than was said, must be one that can be planned too.
fn few_enough(pairs: Option<u32>) -> Result<(), PlanError> {
    let most = MOST_PAIRS / AGAIN;
    let Some(pairs) = pairs.filter(|pairs| *pairs as usize > most) else { return Ok(()) };
    let why = format!(
        "{pairs} are too many, expected at most {most}: a step that cannot tell is played again with {AGAIN} \
         times the pairs, and a comparison has {MOST_PAIRS} at most"
    );
    let problem = Problem::new(Place::Flag("--pairs"), why)
        .hinting("ask for fewer, and look for a larger slow-down with --delta or --bar");
    Err(PlanError::Invalid { subject: "this command line".to_owned(), problems: vec![problem] })
}

/// The flags of one comparison.
fn comparison(args: &BisectArgs, base: &str, head: &str, budget: Duration, resume: bool) -> AbArgs {
    let search = &args.search;
    AbArgs {
        sides: SideArgs {
            base_server: None,
            head_server: None,
            base_ref: Some(base.to_owned()),
            head_ref: Some(head.to_owned()),
            build: Some(search.build.clone()),
            server_path: Some(search.server_path.clone()),
            base_args: None,
            head_args: None,
            base_env: Vec::new(),
            head_env: Vec::new(),
            aa: false,
        },
        design: DesignArgs {
            budget,
            pairs: search.pairs,
            delta: search.delta,
            bars: search.bars.clone(),
            floors: search.floors.clone(),
            fail_on: FailOn::Never,
            resume,
            restart_mode: search.restart_mode,
        },
        sessions: SessionArgs { sessions: Vec::new(), matrix: false },
        run: args.run.clone(),
    }
}

impl Hunt<'_> {
    /// Searches, however far it comes.
    async fn answer(&mut self) -> Result<Answer, Error> {
        let good = self.range.good.clone();
        let bad_place = self.range.commits.len() - 1;
        let bad = self.range.commits[bad_place].clone();
        let Some(step) = self.settled(BisectPurpose::Verify, &good, &bad).await? else {
            return Ok(self.unfinished((0..=bad_place).collect()));
        };
        match step.finding {
            BisectFinding::Slower => {}
            BisectFinding::NotSlower => {
                return Ok(Answer::of(
                    BisectOutcome::NotSlower,
                    format!("{} is not slower than {}: {}", bad.short(), good.short(), step.why),
                ));
            }
            BisectFinding::Unclear => {
                return Ok(Answer::of(
                    BisectOutcome::Inconclusive,
                    format!("it cannot be told whether {} is slower: {}", bad.short(), step.why),
                ));
            }
            BisectFinding::Skipped => {
                return Ok(Answer::of(
                    BisectOutcome::Invalid,
                    format!(
                        "{} and {} cannot be compared: {}",
                        good.short(),
                        bad.short(),
                        step.why
                    ),
                ));
            }
        }
        self.gate = self.gate_of(&step);
        let mut suspects = Suspects::of(self.range.parents.clone());
        loop {
            match suspects.next() {
                Next::Try(place) => {
                    let commit = self.range.commits[place].clone();
                    let Some(step) = self.settled(BisectPurpose::Search, &good, &commit).await?
                    else {
                        return Ok(self.unfinished(suspects.list()));
                    };
                    match step.finding {
                        BisectFinding::Slower => suspects.slower(place),
                        BisectFinding::NotSlower => suspects.not_slower(place),
                        BisectFinding::Unclear | BisectFinding::Skipped => suspects.skip(place),
                    }
                    let message = format!("{} commits left", suspects.left());
                    self.events.send(&Event::StageDone {
                        stage: Stage::Bisect,
                        outcome: format!("{}: {}; {message}", commit.short(), step.why),
                        elapsed_s: step.duration_s,
                    });
                }
                Next::Found(place) => return self.confirm(place).await,
                Next::OneOf(places) => {
                    let mut answer = Answer::of(
                        BisectOutcome::Narrowed,
                        format!(
                            "it is one of {} commits: those between could not be tried, or gave no answer",
                            places.len()
                        ),
                    );
                    answer.suspects = places;
                    return Ok(answer);
                }
            }
        }
    }

    /// The commit that was found against its own parent, unless that has been seen already.
    async fn confirm(&mut self, place: usize) -> Result<Answer, Error> {
        let commit = self.range.commits[place].clone();
        let mut answer = Answer::of(
            BisectOutcome::Found,
            format!("{} is the first slower commit: {}", commit.short(), commit.subject),
        );
        answer.first_bad = Some(place);
        if commit.parents.len() > 1 && !self.args.search.all_parents {
            let first = commit.parents.first().map_or("", String::as_str);
            answer.warnings.push(format!(
                "{} is a merge; to look inside it: --all-parents --good {} --bad {}",
                commit.short(),
                first.get(..10).unwrap_or(first),
                commit.short()
            ));
        }
        let unclear = self.record.steps.iter().filter(|step| {
            step.purpose == BisectPurpose::Search
                && matches!(step.finding, BisectFinding::Unclear | BisectFinding::Skipped)
        });
        answer.warnings.extend(
            unclear
                .map(|step| format!("{} was left out: {}", short(&step.commit.commit), step.why)),
        );
        let Some(parent) = commit.parents.first().cloned() else { return Ok(answer) };
        if parent == self.range.good.id {
            answer.confirmed = true;
            return Ok(answer);
        }
        let parent = Commit { id: parent, subject: String::new(), parents: Vec::new() };
        match self.settled(BisectPurpose::Confirm, &parent, &commit).await? {
            Some(step) => match step.finding {
                BisectFinding::Slower => {
                    answer.confirmed = true;
                    answer.reasons.push(format!("against its own parent: {}", step.why));
                }
                BisectFinding::NotSlower => {
                    answer.outcome = BisectOutcome::Inconclusive;
                    answer.suspects = vec![place];
                    answer.first_bad = None;
                    answer.reasons = vec![format!(
                        "the steps lead to {}, but against its own parent it is not slower: {}",
                        commit.short(),
                        step.why
                    )];
                }
                BisectFinding::Unclear | BisectFinding::Skipped => {
                    answer.warnings.push(format!("not confirmed against its parent: {}", step.why));
                }
            },
            None if self.cancel.reason().is_some() => {
                let mut unfinished = self.unfinished(vec![place]);
                unfinished.reasons.push(format!("all steps lead to {}", commit.short()));
                return Ok(unfinished);
            }
            None => answer
                .warnings
                .push("not confirmed against its parent: the budget was spent".to_owned()),
        }
        Ok(answer)
    }

    fn unfinished(&self, suspects: Vec<usize>) -> Answer {
        let why = match self.cancel.reason() {
            Some(_) => "it was interrupted",
            None => "the budget was spent",
        };
        let mut answer = Answer::of(
            BisectOutcome::Unfinished,
            format!("{why}; {} commits are left, and --resume carries on", suspects.len()),
        );
        answer.suspects = suspects;
        answer
    }

    /// The metric in which bad is slower, with a bar half-way.
    fn gate_of(&self, step: &BisectStep) -> Option<Gate> {
        let metric = step.metric.clone()?;
        let own = self.rules.iter().find(|rule| rule.metric == metric)?.bar;
        let half = (step.slow_down_pct? / 100.0).ln_1p() / 2.0;
        // Rounded, so that the bar of a resumed search is the same to the last bit.
        let half = (1e4 * half.exp_m1()).round() / 1e4;
        Some(Gate { metric, bar: own.max(half) })
    }
}

/// Writes what it came to.
fn conclude(hunt: &Hunt<'_>, answer: Result<Answer, Error>) -> Result<Done, Error> {
    let (answer, error) = match answer {
        Ok(answer) => (answer, None),
        Err(error) => {
            let causes: Vec<String> =
                error.chain().lines().map(|line| line.trim().to_owned()).collect();
            (Answer::of(BisectOutcome::Unfinished, causes.join("; ")), Some(error))
        }
    };
    let exit = match (&error, hunt.cancel.reason()) {
        (Some(error), _) => error.exit_code(),
        (None, Some(reason)) if answer.outcome == BisectOutcome::Unfinished => reason.into(),
        _ => exit_of(answer.outcome, hunt.args.search.fail_on),
    };
    let finished = answer.outcome != BisectOutcome::Unfinished;
    let report = record::report(hunt, answer, exit, error.is_some());
    let out_dir = &hunt.args.run.output.out_dir;
    store::write(&out_dir.join(BISECT_MD), report::bisect::markdown(&report).as_bytes())?;
    store::write(&out_dir.join(BISECT_JSON), report.to_json().as_bytes())?;
    for warning in &report.warnings {
        hunt.events.send(&Event::Warning { message: warning.message.clone() });
    }
    hunt.events.send(&Event::StageDone {
        stage: Stage::Report,
        outcome: out_dir.join(BISECT_MD).display().to_string(),
        elapsed_s: hunt.begun.elapsed().as_secs_f64(),
    });
    if finished {
        Record::forget(out_dir);
    }
    match error {
        Some(error) => Err(error),
        None => Ok(Done { stdout: report::bisect::text(&report), exit }),
    }
}

fn exit_of(outcome: BisectOutcome, fail_on: Option<FailOn>) -> ExitCode {
    let verdict = match outcome {
        BisectOutcome::Found | BisectOutcome::Narrowed => Verdict::Regressed,
        BisectOutcome::NotSlower => Verdict::NoRegression,
        BisectOutcome::Inconclusive | BisectOutcome::Unfinished => Verdict::Inconclusive,
        BisectOutcome::Invalid => Verdict::Invalid,
    };
    match fail_on {
        Some(fail_on) => fail_on.exit(verdict),
        // To find what was looked for is no failure.
        None if verdict == Verdict::Invalid => ExitCode::NotEvidence,
        None => ExitCode::Ok,
    }
}

fn show(args: &BisectArgs, range: &Range) -> String {
    let count = range.commits.len();
    let mut text = format!(
        "good       {} {}\ncommits    {count} after it, so about {} comparisons\nbuild      {}\nserver     {}\nbudget     {} s\n",
        range.good.short(),
        range.good.subject,
        steps_for(count) + 2,
        args.search.build,
        args.search.server_path.display(),
        args.search.budget.as_secs_f64()
    );
    for commit in &range.commits {
        text.push_str(&format!("  {} {}\n", commit.short(), commit.subject));
    }
    text
}

/// Answers that halve so many commits down to one.
fn steps_for(commits: usize) -> u32 {
    commits.max(1).next_power_of_two().trailing_zeros()
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::few_enough;

    #[test]
    fn twice_the_pairs_must_be_a_comparison_too() {
        assert!(few_enough(None).is_ok());
        assert!(few_enough(Some(100)).is_ok());
        let refused = few_enough(Some(101)).unwrap_err().to_string();
        assert!(refused.contains("--pairs: 101 are too many, expected at most 100"), "{refused}");
    }
}
