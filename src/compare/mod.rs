//! Finished reports against one another, and how much may be said of it.
//!
//! Main function: [`compare`]. Two runs are two server starts, perhaps on two machines: whatever
//! their requests say, the luck of a start is in every one of them. So two single reports never get
//! more than an [`Impression`]. A verdict needs repeated runs of one machine that were taken in turn,
//! and then comes from [`crate::verdict`] like any other. Everything is pure but [`read`].

mod command;
mod other_tools;
pub mod read;
mod report_side;
mod sameness;
mod side;

use crate::history::point::instant_ms;
use crate::verdict::{
    Evidence, MetricPairs, Rule, Session, Stage, Verdict, Work, design::Order, difference, judge,
    looks::Looks,
};

pub use command::main;
pub use other_tools::{is_k6, is_llama_bench, k6_trial, llama_bench_trial};
pub use report_side::{figures, major, server_flags, trial};
pub use sameness::{Check, checks};
pub use side::{Fact, Figure, Side, Source, Trial, What};

/// Fewest pairs of runs that get a verdict: with fewer, not even one metric can be significant.
pub const LEAST_PAIRS: usize = 6;

/// Why two sides cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They are not of the same thing.
    #[error("these runs cannot be compared: {}", differences.join("; "))]
    Different {
        /// Each in words.
        differences: Vec<String>,
        /// What to accept to compare them all the same.
        accept: Vec<What>,
    },
    /// The runs of one side are not of the same thing.
    #[error("the runs of {side} are not of one kind: {}", differences.join("; "))]
    Mixed {
        /// `base` or `head`.
        side: &'static str,
        /// Each in words.
        differences: Vec<String>,
    },
    /// There is nothing that both hold.
    #[error("base and head have no metric in common: base is of {base}, head of {head}")]
    NothingInCommon {
        /// Tool of base.
        base: &'static str,
        /// Tool of head.
        head: &'static str,
    },
    /// A run in which nothing was measured.
    #[error("\"{file}\" holds no measurement: {reason}")]
    NothingMeasured {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

impl CompareError {
    /// What the process leaves with.
    #[must_use]
    pub const fn exit_code(&self) -> crate::exit::ExitCode {
        match self {
            CompareError::NothingMeasured { .. } => crate::exit::ExitCode::NotEvidence,
            _ => crate::exit::ExitCode::Usage,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            CompareError::Different { accept, .. } => {
                let flags: Vec<String> = accept
                    .iter()
                    .map(|what| format!("--accept {}", what.name().replace(' ', "-")))
                    .collect();
                Some(format!("if that is what you want to compare, say {}", flags.join(" ")))
            }
            CompareError::Mixed { .. } => {
                Some("give each side runs of one model, workload, server and commit".to_owned())
            }
            CompareError::NothingInCommon { .. } => {
                Some("compare files of the same tool".to_owned())
            }
            CompareError::NothingMeasured { .. } => Some(
                "run the benchmark again; server.log beside the report may say more".to_owned(),
            ),
        }
    }
}

/// How the runs were taken, and so what may be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Design {
    /// One run a side.
    Single,
    /// Several runs, but not such that they carry a verdict.
    Repeated {
        /// Why not, a fragment.
        why_not: String,
    },
    /// Runs in turn on one machine: pairs.
    Paired {
        /// Which side went first in each, in the order of time.
        orders: Vec<Order>,
    },
}

/// What two values look like beside one another. Never a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impression {
    /// Worse by the bar or more, beyond the spread of the runs as far as that is known.
    LooksSlower,
    /// Better, likewise.
    LooksFaster,
    /// They differ by less than the bar.
    Alike,
    /// They differ by more than the bar, but by less than anybody notices.
    BelowFloor,
    /// They differ by more, but the runs' own spread holds both.
    WithinSpread,
}

impl Impression {
    /// For people and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Impression::LooksSlower => "looks slower",
            Impression::LooksFaster => "looks faster",
            Impression::Alike => "about the same",
            Impression::BelowFloor => "below what matters",
            Impression::WithinSpread => "within the spread of the runs",
        }
    }
}

/// One metric of one side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SideValue {
    /// Of one run its value, of several their median.
    pub value: f64,
    /// Of one run its own 95 % interval, of several the smallest and the largest.
    pub spread: Option<[f64; 2]>,
    /// How many runs.
    pub trials: usize,
}

/// One metric of both sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name, unit, direction and bar.
    pub rule: Rule,
    /// Base.
    pub base: SideValue,
    /// Head.
    pub head: SideValue,
    /// Change as measured, per cent of base; `None` where base or head is not above 0.
    pub change_pct: Option<f64>,
    /// What it looks like; `None` where there is no ratio.
    pub impression: Option<Impression>,
    /// What the pairs say; `None` unless the design is paired.
    pub judged: Option<crate::verdict::Comparison>,
}

/// Two sides beside one another.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What they have in common.
    pub checks: Vec<Check>,
    /// How they were taken.
    pub design: Design,
    /// The metrics that both hold, in the order of base.
    pub rows: Vec<Row>,
    /// The verdict; `None` unless the design is paired.
    pub verdict: Option<Verdict>,
    /// The first sentence: what this comparison comes to, without final full stop.
    pub headline: String,
    /// Why, and what stands above the numbers; fragments.
    pub reasons: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
    /// Why the numbers are no evidence; empty where nothing is against them.
    pub doubts: Vec<String>,
}

/// Puts two sides beside one another. `accepted` are the differences that the user wants compared.
///
/// # Errors
/// Where the sides are not of the same thing, or nothing was measured.
pub fn compare(base: &Side, head: &Side, accepted: &[What]) -> Result<Comparison, CompareError> {
    for trial in base.trials.iter().chain(&head.trials) {
        if trial.figures.is_empty() {
            let reason = trial.doubts.first().map_or("it has no figure", String::as_str).to_owned();
            return Err(CompareError::NothingMeasured { file: trial.file.clone(), reason });
        }
    }
    let checks = checks(base, head);
    let forbidden =
        || checks.iter().filter(|check| check.forbids() && !accepted.contains(&check.what));
    let accept: Vec<What> = forbidden().map(|check| check.what).collect();
    if !accept.is_empty() {
        let differences = forbidden().filter_map(Check::difference).collect();
        return Err(CompareError::Different { differences, accept });
    }
    for (name, side) in [("base", base), ("head", head)] {
        let differences: Vec<String> = sameness::unlike(side)
            .into_iter()
            .filter(|(what, _)| *what != What::Machine && *what != What::Tool)
            .map(|(_, sentence)| sentence)
            .collect();
        if !differences.is_empty() {
            return Err(CompareError::Mixed { side: name, differences });
        }
    }

    let mut rows = rows(base, head);
    if rows.is_empty() {
        let tool = |side: &Side| side.trials.first().map_or("nothing", |trial| trial.source.name());
        return Err(CompareError::NothingInCommon { base: tool(base), head: tool(head) });
    }
    let doubts = doubts(base, head);
    let mut warnings: Vec<String> = checks.iter().filter_map(Check::difference).collect();
    warnings.extend(unknown(&checks));
    if checks.is_empty() {
        warnings
            .push("these files do not say of which machine, model and work they are".to_owned());
    }
    warnings.extend(mixed_tools(base, head));
    let work = [base, head].map(total_work);
    let rise = match &work {
        [Some(base), Some(head)] => {
            Evidence { base: *base, head: *head, ..Evidence::default() }.rise_in_failures()
        }
        _ => None,
    };
    warnings.extend(unequal_answers(&work));

    let design = design(base, head, &checks, &rows);
    let mut reasons: Vec<String> = rise.iter().cloned().collect();
    let mut verdict = None;
    if let Design::Paired { orders } = &design {
        let judgement = judge_pairs(base, head, orders, &mut rows, &work, &doubts);
        reasons = judgement.reasons.clone();
        warnings.extend(judgement.warnings.clone());
        verdict = Some(if doubts.is_empty() { judgement.verdict } else { Verdict::Invalid });
    }
    reasons.extend(doubts.iter().cloned());
    let mut headline = headline(&design, &rows, verdict, &checks, rise.as_deref(), &doubts);
    let simulated =
        |trial: &Trial| trial.facts.get(&What::Server).is_some_and(|kind| kind.value == "sim");
    if base.trials.iter().chain(&head.trials).any(simulated) {
        headline.push_str("; made with the simulator (bench-ci sim), not a real server");
    }
    Ok(Comparison { checks, design, rows, verdict, headline, reasons, warnings, doubts })
}

fn doubts(base: &Side, head: &Side) -> Vec<String> {
    let mut doubts = Vec::new();
    for (name, side) in [("base", base), ("head", head)] {
        for trial in &side.trials {
            doubts.extend(
                trial.doubts.iter().map(|doubt| format!("{name} \"{}\": {doubt}", trial.file)),
            );
        }
    }
    doubts
}

fn unknown(checks: &[Check]) -> Option<String> {
    let names: Vec<&str> =
        checks.iter().filter(|check| check.same.is_none()).map(|check| check.what.name()).collect();
    (!names.is_empty())
        .then(|| format!("it is not known whether these are the same: {}", names.join(", ")))
}

fn mixed_tools(base: &Side, head: &Side) -> Option<String> {
    let tool = |side: &Side| side.trials.first().map(|trial| trial.source);
    let (base, head) = (tool(base)?, tool(head)?);
    (base != head).then(|| {
        format!(
            "base was measured by {}, head by {}: their stamps and windows are not the same",
            base.name(),
            head.name()
        )
    })
}

/// Sums over a side; `None` where a run does not count.
fn total_work(side: &Side) -> Option<Work> {
    side.trials.iter().map(|trial| trial.work).try_fold(Work::default(), |sum, work| {
        let work = work?;
        let add = |sum: Option<u64>, more: Option<u64>| Some(sum?.saturating_add(more?));
        let first = sum == Work::default();
        Some(Work {
            requests: sum.requests.saturating_add(work.requests),
            failed: sum.failed.saturating_add(work.failed),
            prompt_tokens: if first {
                work.prompt_tokens
            } else {
                add(sum.prompt_tokens, work.prompt_tokens)
            },
            output_tokens: if first {
                work.output_tokens
            } else {
                add(sum.output_tokens, work.output_tokens)
            },
        })
    })
}

/// Runs bounded by time do unequally many requests; answers of unequal length are another matter.
fn unequal_answers(work: &[Option<Work>; 2]) -> Option<String> {
    /// What sampling and stop words may change without making other work of it.
    const TOLERATED: f64 = 0.01;
    let length = |work: &Option<Work>| {
        let work = work.as_ref()?;
        let completed = work.requests.saturating_sub(work.failed);
        (completed > 0).then_some(work.output_tokens? as f64 / completed as f64)
    };
    let (base, head) = (length(&work[0])?, length(&work[1])?);
    (base.max(head) > base.min(head) * (1.0 + TOLERATED)).then(|| {
        format!("answers have unequal lengths: base {base:.1} tokens, head {head:.1} on average")
    })
}

fn rows(base: &Side, head: &Side) -> Vec<Row> {
    let Some(first) = base.trials.first() else { return Vec::new() };
    first
        .figures
        .iter()
        .filter_map(|figure| {
            let rule = Rule::by_default(&figure.metric, &figure.unit, figure.better, figure.role);
            let (base, head) =
                (side_value(base, &figure.metric)?, side_value(head, &figure.metric)?);
            let slower = difference(rule.better, base.value, head.value).ok();
            let impression = slower.map(|slower| impression(&rule, slower, &base, &head));
            let change_pct = slower.map(|slower| crate::verdict::change_pct(rule.better, slower));
            Some(Row { rule, base, head, change_pct, impression, judged: None })
        })
        .collect()
}

/// `None` unless every run of the side has it.
fn side_value(side: &Side, metric: &str) -> Option<SideValue> {
    let figures: Vec<&Figure> = side
        .trials
        .iter()
        .map(|trial| trial.figures.iter().find(|figure| figure.metric == metric))
        .collect::<Option<_>>()?;
    let mut values: Vec<f64> = figures.iter().map(|figure| figure.value).collect();
    values.sort_by(f64::total_cmp);
    let (low, high) = (*values.first()?, *values.last()?);
    let spread = if values.len() == 1 { figures[0].interval } else { Some([low, high]) };
    Some(SideValue { value: crate::history::median(&values)?, spread, trials: values.len() })
}

fn impression(rule: &Rule, slower: f64, base: &SideValue, head: &SideValue) -> Impression {
    let beyond = slower >= rule.slower_bar(base.value) || slower <= -rule.faster_bar(base.value);
    let overlap = base
        .spread
        .zip(head.spread)
        .is_some_and(|(base, head)| base[0] <= head[1] && head[0] <= base[1]);
    match (beyond, overlap) {
        (false, _) if slower.abs() >= rule.bar.ln_1p() => Impression::BelowFloor,
        (false, _) => Impression::Alike,
        (true, true) => Impression::WithinSpread,
        (true, false) if slower > 0.0 => Impression::LooksSlower,
        (true, false) => Impression::LooksFaster,
    }
}

/// Whether the runs are pairs: in the order of time, each two neighbours one of base and one of head,
/// both orders among them, on one machine, of equal work.
fn design(base: &Side, head: &Side, checks: &[Check], rows: &[Row]) -> Design {
    let (runs_of_base, runs_of_head) = (base.trials.len(), head.trials.len());
    if runs_of_base == 1 && runs_of_head == 1 {
        return Design::Single;
    }
    let no = |why_not: String| Design::Repeated { why_not };
    if runs_of_base != runs_of_head || runs_of_base < LEAST_PAIRS {
        return no(format!(
            "a verdict needs at least {LEAST_PAIRS} runs of each side, and as many of one as of the \
             other; there are {runs_of_base} and {runs_of_head}"
        ));
    }
    for (name, side) in [("base", base), ("head", head)] {
        let commits = |trial: &Trial| trial.commit.clone();
        let first = side.trials.first().and_then(commits);
        if side.trials.iter().any(|trial| trial.commit != first) {
            return no(format!("the runs of {name} are of several commits"));
        }
    }
    let trials = || base.trials.iter().chain(&head.trials);
    let mut ids: Vec<&str> = trials().filter_map(|trial| trial.id.as_deref()).collect();
    ids.sort_unstable();
    let known = ids.len();
    ids.dedup();
    if known < runs_of_base + runs_of_head || trials().any(|trial| began_ms(trial).is_none()) {
        return no("not every run says which it is and when it began".to_owned());
    }
    if ids.len() < known {
        return no("a run was given twice".to_owned());
    }
    let one_machine =
        checks.iter().any(|check| check.what == What::Machine && check.same == Some(true))
            && [base, head]
                .iter()
                .all(|side| sameness::unlike(side).iter().all(|(what, _)| *what != What::Machine));
    if !one_machine {
        return no("the runs are not all of one machine".to_owned());
    }
    let requests: Vec<Option<u64>> =
        trials().map(|trial| trial.work.map(|work| work.requests)).collect();
    if requests.iter().any(|count| *count != requests[0]) {
        return no("the runs did unequal work; bound them by --n-prompts, not by time".to_owned());
    }
    if rows.iter().all(|row| row.rule.role != crate::verdict::Role::Gate) {
        return no("none of the metrics that decide is known of every run".to_owned());
    }
    let turns = in_time(base, head);
    let mut orders = Vec::with_capacity(runs_of_base);
    for pair in turns.chunks(2) {
        match pair {
            [(_, Of::Base, _), (_, Of::Head, _)] => orders.push(Order::BaseFirst),
            [(_, Of::Head, _), (_, Of::Base, _)] => orders.push(Order::HeadFirst),
            _ => {
                return no("base and head were not run in turn, and machines drift".to_owned());
            }
        }
    }
    let head_first = orders.iter().filter(|order| **order == Order::HeadFirst).count();
    if head_first == 0 || head_first == orders.len() {
        return no(
            "the same side always went first, and the second of two runs has another machine"
                .to_owned(),
        );
    }
    Design::Paired { orders }
}

#[derive(Clone, Copy)]
enum Of {
    Base,
    Head,
}

/// When a run began; `None` where it does not say.
fn began_ms(trial: &Trial) -> Option<i64> {
    instant_ms(trial.started_at.as_deref()?)
}

/// All runs in the order of time.
fn in_time<'a>(base: &'a Side, head: &'a Side) -> Vec<(Option<i64>, Of, &'a Trial)> {
    let of =
        |side: &'a Side, of: Of| side.trials.iter().map(move |trial| (began_ms(trial), of, trial));
    let mut all: Vec<_> = of(base, Of::Base).chain(of(head, Of::Head)).collect();
    all.sort_by_key(|(began, ..)| *began);
    all
}

fn judge_pairs(
    base: &Side,
    head: &Side,
    orders: &[Order],
    rows: &mut [Row],
    work: &[Option<Work>; 2],
    doubts: &[String],
) -> crate::verdict::Judgement {
    let turns = in_time(base, head);
    let metrics: Vec<MetricPairs> = rows
        .iter()
        .map(|row| {
            let value = |trial: &Trial| {
                let same = |figure: &&Figure| figure.metric == row.rule.metric;
                trial.figures.iter().find(same).map(|figure| figure.value)
            };
            let mut metric = MetricPairs::of(row.rule.clone(), Vec::new());
            for (pair, order) in turns.chunks(2).zip(orders) {
                let (first, second) = (value(pair[0].2), value(pair[1].2));
                let (base, head) = match order {
                    Order::BaseFirst => (first, second),
                    Order::HeadFirst => (second, first),
                };
                metric.add(*order, base, head);
            }
            metric
        })
        .collect();
    let gated =
        metrics.iter().filter(|metric| metric.rule.role == crate::verdict::Role::Gate).count();
    let evidence = Evidence {
        base: work[0].unwrap_or_default(),
        head: work[1].unwrap_or_default(),
        ..Evidence::default()
    };
    let looks = Looks::at(&[orders.len()], gated);
    let session =
        Session { metrics: &metrics, looks: &looks, evidence: &evidence, stage: Stage::Final };
    let judgement = judge(&session);
    // Runs that are no evidence carry no verdict on a metric either.
    if doubts.is_empty() {
        for (row, comparison) in rows.iter_mut().zip(&judgement.comparisons) {
            row.judged = Some(comparison.clone());
        }
    }
    judgement
}

fn headline(
    design: &Design,
    rows: &[Row],
    verdict: Option<Verdict>,
    checks: &[Check],
    rise: Option<&str>,
    doubts: &[String],
) -> String {
    if !doubts.is_empty() {
        return "these runs are not evidence, so nothing follows from their figures".to_owned();
    }
    if let Some(verdict) = verdict {
        return format!("{}, by pairs of runs in turn on one machine", verdict.name());
    }
    if let Some(rise) = rise {
        return format!("{rise}; failures come before speed");
    }
    // Of a file that has none of the metrics that decide, what it has speaks for itself.
    let is_gate = |row: &Row| row.rule.role == crate::verdict::Role::Gate;
    let any_gate = rows.iter().any(is_gate);
    let names = |wanted: Impression| {
        let names: Vec<String> = rows
            .iter()
            .filter(|row| is_gate(row) || !any_gate)
            .filter(|row| row.impression == Some(wanted))
            .map(|row| {
                let change = row.change_pct.unwrap_or_default();
                let sign = if change < 0.0 { '−' } else { '+' };
                format!("{} {sign}{:.1} %", row.rule.metric, change.abs())
            })
            .collect();
        names.join(", ")
    };
    let (slower, faster) = (names(Impression::LooksSlower), names(Impression::LooksFaster));
    let looks = match (slower.is_empty(), faster.is_empty()) {
        (false, true) => format!("looks slower: {slower}"),
        (false, false) => format!("looks slower in {slower}, faster in {faster}"),
        (true, false) => format!("looks faster: {faster}"),
        (true, true) => "no difference to be seen".to_owned(),
    };
    let machine =
        checks.iter().any(|check| check.what == What::Machine && check.same == Some(false));
    let but = match design {
        _ if machine => "but the machines differ, which alone is often 4 to 15 %",
        Design::Single => "but two single runs cannot tell a change from luck",
        _ => "but these runs cannot tell a change from luck",
    };
    format!("{looks}, {but}; run `bench-ci ab` to know")
}

#[cfg(test)]
mod tests;
