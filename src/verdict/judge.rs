//! From all pairs of a session to its verdict.
//!
//! Main function: [`judge`]. It judges the same way at every look and at the end; whether to go on
//! is [`Judgement::settled`]. Correctness first: reasons why the numbers are no evidence, and a rise
//! in failed requests, stand above every number.

use super::block::{BlockValue, median};
use super::contamination::imbalance;
use super::crossover::Crossover;
use super::design::Order;
use super::evidence::{Evidence, Invalid};
use super::looks::{ALPHA, Looks, least_pairs};
use super::multiple::{benjamini_hochberg, holm};
use super::power::{mde80, pairs_to_settle, stddev};
use super::rule::{Inconclusive, Role, Rule, Verdict};
use super::scale::{change_pct, difference, slow_down_pct};
use super::sentence::{Unit, sentence};
use super::signed_rank::SignedRank;
use crate::stats::Better;

/// Everything that was measured so far.
#[derive(Debug, Clone)]
pub struct Session<'a> {
    /// The metrics, in the order of reports. Those that gate share Holm's levels, so the cells of a
    /// matrix that are judged together belong into one session.
    pub metrics: &'a [MetricPairs],
    /// The planned looks.
    pub looks: &'a Looks,
    /// What is known besides.
    pub evidence: &'a Evidence,
    /// Whether more is to come.
    pub stage: Stage,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// More pairs may follow. What can only be asked once is not asked.
    Interim,
    /// No more pairs follow.
    Final,
}

/// One metric in every pair.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPairs {
    /// The metric and its bars.
    pub rule: Rule,
    /// The pairs in the order in which they were played; those without a value are left out.
    pub pairs: Vec<PairValue>,
    /// Which side had one in those that are left out.
    pub alone: Alone,
}

/// In how many of the pairs that have no value of a metric a side has one all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alone {
    /// Pairs in which base has one.
    pub base: usize,
    /// Pairs in which head has one.
    pub head: usize,
}

impl MetricPairs {
    /// Of pairs that all have a value.
    #[must_use]
    pub fn of(rule: Rule, pairs: Vec<PairValue>) -> Self {
        Self { rule, pairs, alone: Alone::default() }
    }

    /// Adds a pair of trials, of which either may have no value.
    pub fn add(&mut self, order: Order, base: Option<f64>, head: Option<f64>) {
        match (base, head) {
            (Some(base), Some(head)) => {
                self.pairs.push(PairValue::of_trials(self.rule.better, order, base, head));
            }
            (base, head) => self.add_without(base.is_some(), head.is_some()),
        }
    }

    /// Notes a pair without a value, though a side may have one of its own.
    pub fn add_without(&mut self, base_has: bool, head_has: bool) {
        self.alone.base += usize::from(base_has);
        self.alone.head += usize::from(head_has);
    }

    fn valid_pairs(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.difference.is_some()).count()
    }

    /// Neither side ever had a value.
    fn is_absent(&self) -> bool {
        self.pairs.is_empty() && self.alone == Alone::default()
    }
}

/// One metric in one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairValue {
    /// Which side went first.
    pub order: Order,
    /// Positive is slower. `None` where the values have no ratio; the pair then does not count for
    /// this metric.
    pub difference: Option<f64>,
    /// Base's value in the metric's unit.
    pub base: f64,
    /// Head's value in the metric's unit.
    pub head: f64,
}

impl PairValue {
    /// Of two trials.
    #[must_use]
    pub fn of_trials(better: Better, order: Order, base: f64, head: f64) -> Self {
        Self { order, difference: difference(better, base, head).ok(), base, head }
    }

    /// Of a block.
    #[must_use]
    pub fn of_block(order: Order, block: &BlockValue) -> Self {
        Self { order, difference: Some(block.difference), base: block.base, head: block.head }
    }
}

/// Where the values of one side lie, in the metric's unit. Zeros where there is no pair.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Spread {
    /// Median over the pairs.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

/// What a session says about one metric. Differences are logarithms, positive is slower; the
/// methods that end in `_pct` give what people read.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The metric and its bars. A gate that has no value in any pair, on neither side, is only observed.
    pub rule: Rule,
    /// Which side has a value in pairs without one.
    pub alone: Alone,
    /// Base over the pairs.
    pub base: Spread,
    /// Head over the pairs.
    pub head: Spread,
    /// The difference of each pair that has one, in the order in which they were played; what is
    /// found was found from these.
    pub differences: Vec<f64>,
    /// Estimate, interval and raw p. `None` for exact metrics and where no pair has a value.
    pub found: Option<SignedRank>,
    /// Raw p adjusted for all that is judged together: Holm's for a gate, Benjamini and Hochberg's q
    /// for what is observed. `None` where `found` is.
    pub p_adjusted: Option<f64>,
    /// The second opinion. `None` with fewer than three pairs or one order only.
    pub crossover: Option<Crossover>,
    /// Smallest difference that 80 of 100 such sessions would find. `None` below two pairs.
    pub mde80: Option<f64>,
    /// Pairs further than three median absolute deviations from the median. Counted, never dropped.
    pub outliers: usize,
    /// `None` for exact metrics.
    pub verdict: Option<Verdict>,
    /// Why it is inconclusive; `None` unless it is.
    pub why: Option<Inconclusive>,
    /// About how many pairs would settle it; `None` unless it is inconclusive, and where it would take
    /// more than a session may have.
    pub needed_pairs: Option<usize>,
    /// All of it in words: a fragment without final full stop.
    pub sentence: String,
}

impl Comparison {
    /// The change of the metric as measured, per cent of base. From the pairs where they have
    /// differences, else from the medians; `None` where base is nothing.
    #[must_use]
    pub fn change_pct(&self) -> Option<f64> {
        match &self.found {
            Some(found) => Some(change_pct(self.rule.better, found.estimate)),
            None if self.base.median > 0.0 => {
                Some(100.0 * (self.head.median / self.base.median - 1.0))
            }
            None => None,
        }
    }

    /// The interval of [`Comparison::change_pct`], lower end first.
    #[must_use]
    pub fn ci_pct(&self) -> Option<[f64; 2]> {
        let interval = self.found.as_ref()?.interval;
        let mut ends = [interval.low, interval.high].map(|end| change_pct(self.rule.better, end));
        ends.sort_by(f64::total_cmp);
        Some(ends)
    }

    /// The change in each pair, per cent of base.
    #[must_use]
    pub fn pairs_pct(&self) -> Vec<f64> {
        let pct = |difference: &f64| change_pct(self.rule.better, *difference);
        self.differences.iter().map(pct).collect()
    }

    /// "This session can resolve ± this", per cent.
    #[must_use]
    pub fn resolution_pct(&self) -> Option<f64> {
        self.found.as_ref().map(|found| slow_down_pct(found.interval.half_width()))
    }

    /// [`Comparison::mde80`] in per cent.
    #[must_use]
    pub fn mde80_pct(&self) -> Option<f64> {
        self.mde80.map(slow_down_pct)
    }

    /// How much slower the second of a pair is, per cent.
    #[must_use]
    pub fn position_effect_pct(&self) -> Option<f64> {
        self.crossover.as_ref().map(|crossover| slow_down_pct(crossover.position_effect))
    }

    fn warning(&self) -> Option<String> {
        let effect = self.crossover.as_ref()?.position_effect;
        (self.rule.role == Role::Gate && effect.abs() > self.rule.bar.ln_1p()).then(|| {
            let slower = if effect > 0.0 { "slower" } else { "faster" };
            format!(
                "{}: the second of a pair is {slower} by {:.1} %, more than the bar of {} %",
                self.rule.metric,
                slow_down_pct(effect.abs()),
                100.0 * self.rule.bar
            )
        })
    }
}

/// The verdict on a session and everything that led to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The verdict of all.
    pub verdict: Verdict,
    /// Why, in sentences without final full stop, worst first: failures, then what makes the numbers
    /// worthless, then the metrics that gate.
    pub reasons: Vec<String>,
    /// What a reader should know besides.
    pub warnings: Vec<String>,
    /// Why the numbers are not evidence; empty where they are.
    pub invalid: Vec<Invalid>,
    /// The metrics, in the order of the session.
    pub comparisons: Vec<Comparison>,
    /// How many pairs were judged: the most that any metric has.
    pub pairs: usize,
    /// Which planned look this is, from 0; `None` between looks.
    pub look: Option<usize>,
    /// The level that p was held against.
    pub level: f64,
}

/// Why a session may end before its last pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The numbers are no evidence, and more of them would be none either.
    Invalid,
    /// A gated metric regressed; no other can take that back.
    Regressed,
    /// Every gated metric has its answer, as far as it can have one.
    Answered,
}

impl Settled {
    /// As in `ab.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Settled::Invalid => "invalid",
            Settled::Regressed => "regressed",
            Settled::Answered => "answered",
        }
    }
}

impl Judgement {
    /// Whether the session may end here. Only planned looks may end it by their result: ending
    /// between them would be a look that the levels know nothing of.
    #[must_use]
    pub fn settled(&self) -> Option<Settled> {
        if self.invalid.iter().any(|fault| !matches!(fault, Invalid::TooFewPairs { .. })) {
            return Some(Settled::Invalid);
        }
        self.look?;
        let gated =
            || self.comparisons.iter().filter(|comparison| comparison.rule.role == Role::Gate);
        // With no figure at all there is nothing that could be settled.
        gated().find(|comparison| comparison.found.is_some())?;
        let regressed = gated().any(|gate| gate.verdict == Some(Verdict::Regressed));
        // More pairs do not give a side the values that it lacks.
        let open = gated().any(|gate| {
            gate.verdict == Some(Verdict::Inconclusive) && gate.why != Some(Inconclusive::OneSided)
        });
        match (regressed, open) {
            (true, _) => Some(Settled::Regressed),
            (false, false) => Some(Settled::Answered),
            (false, true) => None,
        }
    }
}

/// Judges what was measured so far.
#[must_use]
pub fn judge(session: &Session<'_>) -> Judgement {
    let gated = session.metrics.iter().filter(|metric| metric.rule.role == Role::Gate).count();
    let pairs = session.metrics.iter().map(MetricPairs::valid_pairs).max().unwrap_or(0);
    let level = session.looks.level_at(pairs);
    let least = least_pairs(gated, ALPHA);

    let mut comparisons: Vec<Comparison> = session.metrics.iter().map(describe).collect();
    adjust(&mut comparisons, Role::Gate, holm);
    adjust(&mut comparisons, Role::Observe, benjamini_hochberg);
    // Only now: Holm's rule has kept its place among the others, so that they are judged as strictly as
    // was planned.
    let absent = let_go_of_absent(session, &mut comparisons);
    for comparison in &mut comparisons {
        decide(comparison, level, least, pairs);
        comparison.sentence = sentence(comparison, gated, least, level, Unit::Pair);
    }

    let invalid = invalid(session, least);
    let rise = session.evidence.rise_in_failures();
    let (verdict, withheld) = overall(&comparisons, &invalid, rise.is_some());
    Judgement {
        verdict,
        reasons: reasons(&comparisons, &invalid, rise, withheld),
        warnings: absent
            .into_iter()
            .chain(comparisons.iter().filter_map(Comparison::warning))
            .chain(session.evidence.doubt_about_work())
            .collect(),
        invalid,
        comparisons,
        pairs,
        look: session.looks.look_at(pairs),
        level,
    }
}

/// A gate of which neither side ever had a value has nothing to decide about: it is observed from then
/// on, and a sentence says so. Where no gate has a value, all stay: nothing was measured then.
fn let_go_of_absent(session: &Session<'_>, comparisons: &mut [Comparison]) -> Vec<String> {
    let gates = || session.metrics.iter().filter(|metric| metric.rule.role == Role::Gate);
    if gates().all(|gate| gate.valid_pairs() == 0) {
        return Vec::new();
    }
    let mut said = Vec::new();
    for (metric, comparison) in session.metrics.iter().zip(comparisons) {
        if metric.rule.role == Role::Gate && metric.is_absent() {
            comparison.rule.role = Role::Observe;
            comparison.p_adjusted = None;
            said.push(without_value(&metric.rule.metric));
        }
    }
    said
}

/// That a gate decides nothing, and what may be behind it.
fn without_value(metric: &str) -> String {
    let between_deltas = metric.starts_with("itl") || metric.starts_with("tpot");
    let why = if between_deltas {
        ": an answer of one token has no gaps, and where most of an answer comes in one read, as with \
         speculative decoding, the median gap is 0"
    } else {
        ""
    };
    format!("{metric} decides nothing, for neither side had a value of it in any pair{why}")
}

/// Everything about a metric that needs no other metric.
fn describe(metric: &MetricPairs) -> Comparison {
    let with_difference: Vec<(Order, f64)> = metric
        .pairs
        .iter()
        .filter_map(|pair| pair.difference.map(|difference| (pair.order, difference)))
        .collect();
    let differences: Vec<f64> = with_difference.iter().map(|(_, difference)| *difference).collect();
    let tested = metric.rule.role != Role::Exact;
    let found = if tested { SignedRank::of(&differences).ok() } else { None };
    Comparison {
        rule: metric.rule.clone(),
        alone: metric.alone,
        base: spread(metric.pairs.iter().map(|pair| pair.base)),
        head: spread(metric.pairs.iter().map(|pair| pair.head)),
        p_adjusted: found.as_ref().map(|found| found.p),
        crossover: if tested { Crossover::of(&with_difference) } else { None },
        mde80: stddev(&differences)
            .filter(|_| tested)
            .and_then(|stddev| mde80(differences.len(), stddev)),
        outliers: outliers(&differences),
        differences,
        found,
        verdict: None,
        why: None,
        needed_pairs: None,
        sentence: String::new(),
    }
}

fn spread(values: impl Iterator<Item = f64> + Clone) -> Spread {
    median(values.clone()).map_or_else(Spread::default, |median| Spread {
        median,
        min: values.clone().fold(f64::INFINITY, f64::min),
        max: values.fold(f64::NEG_INFINITY, f64::max),
    })
}

fn outliers(differences: &[f64]) -> usize {
    const MADS: f64 = 3.0;
    let Some(middle) = median(differences.iter().copied()) else { return 0 };
    let distances = differences.iter().map(|difference| (difference - middle).abs());
    let Some(mad) = median(distances.clone()) else { return 0 };
    distances.filter(|distance| *distance > MADS * mad).count()
}

pub(super) fn adjust(comparisons: &mut [Comparison], role: Role, rule: fn(&[f64]) -> Vec<f64>) {
    // A gate without a value keeps its place among those that were planned to decide together. What is only
    // shown was not planned: its q is that of the metrics that a reader sees.
    let counts = |comparison: &Comparison| role == Role::Gate || comparison.found.is_some();
    let of_role: Vec<&mut Comparison> = comparisons
        .iter_mut()
        .filter(|comparison| comparison.rule.role == role && counts(comparison))
        .collect();
    let raw: Vec<f64> =
        of_role.iter().map(|comparison| comparison.p_adjusted.unwrap_or(1.0)).collect();
    for (comparison, adjusted) in of_role.into_iter().zip(rule(&raw)) {
        if comparison.found.is_some() {
            comparison.p_adjusted = Some(adjusted);
        }
    }
}

/// `pairs`: the most that any metric has.
fn decide(comparison: &mut Comparison, level: f64, least: usize, pairs: usize) {
    if comparison.rule.role == Role::Exact {
        return;
    }
    let Some((found, p)) = comparison.found.zip(comparison.p_adjusted) else {
        comparison.verdict = Some(Verdict::Inconclusive);
        if pairs > 0 {
            comparison.why = Some(Inconclusive::OneSided);
            return;
        }
        comparison.why = Some(Inconclusive::BelowFloor);
        comparison.needed_pairs = Some(least);
        return;
    };
    let bar = comparison.rule.slower_bar(comparison.base.median);
    let (verdict, why, needed) = if found.pairs < least {
        (Verdict::Inconclusive, Some(Inconclusive::BelowFloor), Some(least))
    } else {
        let crossover = comparison.crossover.as_ref().map(|crossover| crossover.estimate);
        let (verdict, why) =
            comparison.rule.verdict(&found, comparison.base.median, p, level, crossover);
        let needed = why.and_then(|_| {
            pairs_to_settle(found.pairs, found.estimate, found.interval.half_width(), bar)
        });
        (verdict, why, needed)
    };
    comparison.verdict = Some(verdict);
    comparison.why = why;
    comparison.needed_pairs = needed;
}

fn invalid(session: &Session<'_>, least: usize) -> Vec<Invalid> {
    let mut faults = session.evidence.lasting_faults();
    if session.stage == Stage::Interim {
        return faults;
    }
    let unfair = imbalance(&session.evidence.probes);
    faults.extend(unfair.map(|found| Invalid::ProbeImbalance { p: found.p, pct: found.pct }));
    faults.extend(too_few_pairs(session, least));
    faults
}

/// Fewer than the floor because fewer were played is inconclusive, and so is a metric of which one side
/// alone has values; because they were lost, or because there is nothing at all, is no evidence.
fn too_few_pairs(session: &Session<'_>, least: usize) -> Option<Invalid> {
    let gated = session.metrics.iter().filter(|metric| metric.rule.role == Role::Gate);
    let counted: Vec<(&str, usize)> =
        gated.map(|metric| (metric.rule.metric.as_str(), metric.valid_pairs())).collect();
    let with_values = counted.iter().filter(|(_, valid)| *valid > 0);
    let (metric, valid) =
        with_values.min_by_key(|(_, valid)| *valid).or_else(|| counted.first())?;
    let lost = session.evidence.pairs_lost;
    (*valid == 0 || (*valid < least && valid + lost >= least)).then(|| Invalid::TooFewPairs {
        metric: (*metric).to_owned(),
        valid: *valid,
        lost,
        needed: least,
    })
}

/// The verdict of all, and whether an improvement was withheld because of failures.
pub(super) fn overall(
    comparisons: &[Comparison],
    invalid: &[Invalid],
    failures_rise: bool,
) -> (Verdict, bool) {
    if !invalid.is_empty() {
        return (Verdict::Invalid, false);
    }
    let has = |verdict: Verdict| {
        comparisons.iter().any(|comparison| {
            comparison.rule.role == Role::Gate && comparison.verdict == Some(verdict)
        })
    };
    if has(Verdict::Regressed) {
        (Verdict::Regressed, false)
    } else if has(Verdict::Inconclusive) {
        (Verdict::Inconclusive, false)
    } else if has(Verdict::Improved) {
        // Requests that fail are quick. Accepted failures do not make a server better.
        if failures_rise { (Verdict::Inconclusive, true) } else { (Verdict::Improved, false) }
    } else if has(Verdict::NoRegression) {
        (Verdict::NoRegression, false)
    } else {
        (Verdict::Inconclusive, false)
    }
}

pub(super) fn reasons(
    comparisons: &[Comparison],
    invalid: &[Invalid],
    rise: Option<String>,
    withheld: bool,
) -> Vec<String> {
    let mut reasons: Vec<String> = rise.into_iter().collect();
    if withheld {
        reasons.push("a server that fails more requests is not called improved".to_owned());
    }
    reasons.extend(invalid.iter().map(ToString::to_string));
    let gated = || comparisons.iter().filter(|comparison| comparison.rule.role == Role::Gate);
    for verdict in Verdict::ALL {
        let of_verdict = gated().filter(|comparison| comparison.verdict == Some(verdict));
        reasons.extend(
            of_verdict.map(|comparison| format!("{}: {}", verdict.name(), comparison.sentence)),
        );
    }
    if gated().next().is_none() {
        reasons.push("no metric gates, so there is nothing to decide".to_owned());
    }
    reasons
}
