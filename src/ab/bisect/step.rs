//! One question of a search: is this commit slower than that one?
//!
//! Main function: [`Hunt::settled`]. It builds both commits on the search's own time, plays a session of `ab`
//! in a folder of its own, and once more with twice the pairs where the first cannot tell.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{AGAIN, Hunt, LEAST_TIME, STEPS, comparison, prepare, steps_for};
use crate::ab::error::AbError;
use crate::ab::metrics::gates_first;
use crate::ab::turn::Until;
use crate::ab::{build, order, play, state};
use crate::artifact::{
    AbReport, AbVerdict, BisectCommit, BisectFinding, BisectPurpose, BisectStep, ComparisonRole,
    MetricComparison, Unknowns,
};
use crate::error::Error;
use crate::event::{Event, Stage};
use crate::provenance::range::Commit;
use crate::provenance::refs::{Commits, Wanted};
use crate::stats::Better;
use crate::verdict::looks::Looks;
use crate::verdict::{Role, Side};

/// Pairs of a step that only has to say on which side of the middle a commit lies.
const SEARCH_PAIRS: [usize; 3] = [8, 12, 16];

/// Pairs of the second comparison, where the first could not tell.
const MORE_PAIRS: [usize; 2] = [12, 24];

/// A comparison takes so many times as long as its pairs did before: the last one may take longer, and
/// the servers are stopped.
const SPARE: f64 = 1.4;

impl Hunt<'_> {
    /// The answer, of a second comparison where the first has none; `None` where time or patience ended.
    pub(super) async fn settled(
        &mut self,
        purpose: BisectPurpose,
        base: &Commit,
        head: &Commit,
    ) -> Result<Option<BisectStep>, Error> {
        let first = self.ask(purpose, base, head, 0).await?;
        match first {
            Some(step) if step.finding == BisectFinding::Unclear => {
                // Without the time for a better answer this one stands.
                Ok(self
                    .ask(purpose, base, head, 1)
                    .await?
                    .or_else(|| self.cancel.reason().is_none().then_some(step)))
            }
            other => Ok(other),
        }
    }

    async fn ask(
        &mut self,
        purpose: BisectPurpose,
        base: &Commit,
        head: &Commit,
        attempt: u64,
    ) -> Result<Option<BisectStep>, Error> {
        if let Some(step) = self.record.steps.get(self.replayed) {
            let same = step.purpose == purpose
                && step.base == base.id
                && step.commit.commit == head.id
                && step.attempt == attempt;
            if same {
                self.replayed += 1;
                return Ok(Some(step.clone()));
            }
            // Answers are a function of the ones before, so this cannot be unless the file was changed.
            self.record.steps.truncate(self.replayed);
        }
        if self.cancel.reason().is_some() || self.left() < LEAST_TIME {
            return Ok(None);
        }
        let begun = Instant::now();
        let again = if attempt > 0 { "-again" } else { "" };
        let folder = format!("{STEPS}/{:02}-{}{again}", self.record.steps.len() + 1, head.short());
        let path = self.args.run.output.out_dir.join(&folder);
        self.events.send(&Event::StageStarted {
            stage: Stage::Bisect,
            what: format!("{} against {}", head.short(), base.short()),
        });
        let resume = path.join(state::FILE).is_file();
        prepare(&path, resume)?;
        let found = match self.build(purpose, base, head, &path).await? {
            Built::Ready => self.play(purpose, base, head, attempt, &path, resume).await?,
            Built::Broken(why) => Some(Found::skipped(why)),
            Built::Stopped => None,
        };
        let Some(found) = found else { return Ok(None) };
        let step = found.step(purpose, base, head, attempt, folder, begun.elapsed());
        self.record.steps.push(step.clone());
        self.record.save(&self.args.run.output.out_dir)?;
        self.replayed = self.record.steps.len();
        Ok(Some(step))
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Both builds, on the time of the whole search: what takes long is the compiler, not the comparison.
    async fn build(
        &self,
        purpose: BisectPurpose,
        base: &Commit,
        head: &Commit,
        path: &Path,
    ) -> Result<Built, Error> {
        let args = comparison(self.args, &base.id, &head.id, self.left(), false);
        let wanted = Wanted { base: Some(base.id.clone()), head: Some(head.id.clone()) };
        let commits = Commits::find(Path::new("."), &wanted).map_err(AbError::from)?;
        let until = Until { deadline: self.deadline, cancel: self.cancel.clone() };
        for (side, commit) in [(Side::Base, base), (Side::Head, head)] {
            let built =
                build::one(side, &args, &commits, &commit.id, path, &self.events, &until).await;
            match built {
                Ok(_) => {}
                Err(Error::Stopped { .. } | Error::Ab(AbError::NoTime { .. })) => {
                    return Ok(Built::Stopped);
                }
                Err(Error::Ab(error @ (AbError::Build { .. } | AbError::NotBuilt { .. }))) => {
                    if self.left().is_zero() {
                        return Ok(Built::Stopped);
                    }
                    // Without good, or without bad, there is no search.
                    let of_search = side == Side::Head && purpose == BisectPurpose::Search;
                    if of_search || purpose == BisectPurpose::Confirm {
                        return Ok(Built::Broken(one_line(&error.into())));
                    }
                    return Err(error.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Built::Ready)
    }

    async fn play(
        &self,
        purpose: BisectPurpose,
        base: &Commit,
        head: &Commit,
        attempt: u64,
        path: &Path,
        resume: bool,
    ) -> Result<Option<Found>, Error> {
        let begun = Instant::now();
        let args = {
            let mut args =
                comparison(self.args, &base.id, &head.id, self.share(purpose, attempt), resume);
            args.run.output.out_dir = path.to_owned();
            args
        };
        let mut order = order(&args, self.provenance.again(), begun)?;
        if let Some(gate) = &self.gate {
            for rule in order.rules.iter_mut().filter(|rule| rule.role == Role::Gate) {
                if rule.metric == gate.metric {
                    rule.bar = gate.bar;
                } else {
                    rule.role = Role::Observe;
                }
            }
            gates_first(&mut order.rules);
        }
        let gated = order.rules.iter().filter(|rule| rule.role == Role::Gate).count();
        order.looks = match (self.args.search.pairs, attempt) {
            (Some(pairs), 0) => crate::ab::looks(Some(pairs), gated),
            (Some(pairs), _) => Looks::at(&[AGAIN * pairs as usize], gated),
            (None, 0) if self.gate.is_some() => Looks::at(&SEARCH_PAIRS, gated),
            (None, 0) => order.looks,
            (None, _) => Looks::at(&MORE_PAIRS, gated),
        };
        let played = play(&order, &self.surroundings, path, &self.events, &self.cancel).await;
        let interrupted = self.cancel.reason().is_some();
        match played {
            Ok((_, None)) if interrupted => Ok(None),
            Ok((report, None)) => Ok(Some(Found::of(&report))),
            Ok((_, Some(Error::Ab(AbError::NoTime { .. }))))
            | Err(Error::Ab(AbError::NoTime { .. }))
                if !interrupted =>
            {
                Ok(Some(Found::unclear("its share of the budget was too short for a pair")))
            }
            Ok((_, Some(error))) | Err(error) => match error {
                Error::Stopped { .. } => Ok(None),
                error if interrupted => Err(error),
                // Its server does not start, or dies: no answer, and no reason to give up.
                Error::Ab(AbError::Side { side: Side::Head, .. })
                    if purpose == BisectPurpose::Search =>
                {
                    Ok(Some(Found::skipped(one_line(&error))))
                }
                error => Err(error),
            },
        }
    }

    /// The time that this comparison may take: of what is left, a like share for every one to come.
    fn share(&self, purpose: BisectPurpose, attempt: u64) -> Duration {
        let left = self.left();
        let searched =
            self.record.steps.iter().filter(|step| step.purpose == BisectPurpose::Search).count();
        let to_search = steps_for(self.range.commits.len()).saturating_sub(searched as u32);
        let to_come = match purpose {
            BisectPurpose::Verify => 2 + to_search,
            BisectPurpose::Search => 1 + to_search.max(1),
            BisectPurpose::Confirm => 1,
        };
        let share = left / to_come;
        // A share that is too short for the first look would be spent for nothing.
        let pace = self.record.steps.iter().filter(|step| step.pairs > 0);
        let pace = pace.map(|step| step.duration_s / step.pairs as f64).reduce(f64::min);
        let pairs = self.args.search.pairs.map_or(SEARCH_PAIRS[0], |pairs| pairs as usize);
        let least = pace.map_or(0.0, |pace| SPARE * pairs as f64 * pace);
        let share = share.max(Duration::from_secs_f64(least.max(0.0)));
        if attempt > 0 { (2 * share).min(left) } else { share.min(left) }
    }
}

enum Built {
    Ready,
    Broken(String),
    Stopped,
}

/// What a comparison came to.
struct Found {
    finding: BisectFinding,
    verdict: Option<AbVerdict>,
    gate: Option<MetricComparison>,
    pairs: u64,
    why: String,
}

impl Found {
    fn skipped(why: String) -> Self {
        Self { finding: BisectFinding::Skipped, verdict: None, gate: None, pairs: 0, why }
    }

    fn unclear(why: &str) -> Self {
        let why = why.to_owned();
        Self { finding: BisectFinding::Unclear, verdict: None, gate: None, pairs: 0, why }
    }

    fn of(report: &AbReport) -> Self {
        let gates = || report.comparisons.iter().filter(|one| one.role == ComparisonRole::Gate);
        // The one that speaks for the verdict, and of several the clearest.
        let gate = gates()
            .filter(|gate| gate.verdict == Some(report.verdict))
            .max_by(|one, other| clearness(one).total_cmp(&clearness(other)))
            .or_else(|| gates().next());
        let finding = match report.verdict {
            AbVerdict::Regressed => BisectFinding::Slower,
            AbVerdict::NoRegression | AbVerdict::Improved => BisectFinding::NotSlower,
            AbVerdict::Inconclusive => BisectFinding::Unclear,
            AbVerdict::Invalid if machine_alone(report) => BisectFinding::Unclear,
            AbVerdict::Invalid => BisectFinding::Skipped,
        };
        let why = match (report.verdict, gate) {
            (AbVerdict::Invalid, _) | (_, None) => {
                report.reasons.first().cloned().unwrap_or_else(|| "no evidence".to_owned())
            }
            (_, Some(gate)) => gate.sentence.clone(),
        };
        Self {
            finding,
            verdict: Some(report.verdict),
            gate: gate.cloned(),
            pairs: report.design.pairs_used,
            why,
        }
    }

    fn step(
        self,
        purpose: BisectPurpose,
        base: &Commit,
        head: &Commit,
        attempt: u64,
        folder: String,
        took: Duration,
    ) -> BisectStep {
        let mut unknown = Unknowns::none();
        let none = "there was no comparison";
        let gate = self.gate.as_ref();
        BisectStep {
            purpose,
            base: base.id.clone(),
            commit: BisectCommit { commit: head.id.clone(), subject: head.subject.clone() },
            attempt,
            folder,
            finding: self.finding,
            verdict: unknown.option("verdict", self.verdict, none),
            metric: unknown.option("metric", gate.map(|gate| gate.metric.clone()), none),
            change_pct: unknown.option("change_pct", gate.and_then(|gate| gate.change_pct), none),
            ci_pct: unknown.option("ci_pct", gate.and_then(|gate| gate.ci_pct), none),
            slow_down_pct: unknown.option("slow_down_pct", gate.and_then(slow_down), none),
            pairs: self.pairs,
            duration_s: took.as_secs_f64(),
            why: self.why,
            unknown,
        }
    }
}

/// Nothing is wrong with either server, so that another try may go well.
fn machine_alone(report: &AbReport) -> bool {
    let of_servers = ["failed_requests", "equal_work", "servers_alive"];
    report.checks.iter().all(|check| check.ok || !of_servers.contains(&check.name.as_str()))
}

/// How much slower, per cent.
fn slow_down(of: &MetricComparison) -> Option<f64> {
    let change = of.change_pct?;
    let slower = match of.better {
        Better::Higher => 100.0 * (100.0 / (100.0 + change) - 1.0),
        Better::Lower | Better::None => change,
    };
    slower.is_finite().then_some(slower)
}

/// The change in half-widths of its interval.
fn clearness(of: &MetricComparison) -> f64 {
    match (of.change_pct, of.resolution_pct) {
        (Some(change), Some(half)) => change.abs() / half.max(1e-6),
        _ => 0.0,
    }
}

fn one_line(error: &Error) -> String {
    error.chain().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
