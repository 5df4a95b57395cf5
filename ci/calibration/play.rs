//! Plays many sessions of the model and counts what the verdict's statistics make of them.
//!
//! Main functions: [`rates`], one number of pairs and one metric, and [`sequential`], the whole way
//! of a session through its looks. Shared by the tests and by the example `calibrate`.

use bench_ci::stats::Better;
use bench_ci::verdict::design::{Order, pair_order, slice_order};
use bench_ci::verdict::looks::Looks;
use bench_ci::verdict::power::{regression80, stddev};
use bench_ci::verdict::signed_rank::{SignedRank, hodges_lehmann, p_value};
use bench_ci::verdict::{
    Evidence, Judgement, MetricPairs, PairValue, Role, Rule, Session, Settled, Stage, Verdict,
    judge,
};

use super::model::{Chance, Machine, block, differences};

/// Shares of sessions of one kind, fractions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// p ≤ 0.05: false alarms where there is no effect, power where there is one.
    pub(crate) significant: f64,
    /// The interval holds the true difference.
    pub(crate) covered: f64,
    /// Median half-width of the interval, logarithm.
    pub(crate) half_width: f64,
    /// Verdicts with one look at 5 % and the default bar.
    pub(crate) regressed: f64,
    /// Likewise.
    pub(crate) no_regression: f64,
    /// Likewise.
    pub(crate) inconclusive: f64,
    /// Median of the differences that 80 % power is claimed for, logarithm.
    pub(crate) mde80: f64,
}

/// `sessions` sessions of `pairs` pairs each, one metric.
pub(crate) fn rates(
    machine: Machine,
    effect: f64,
    pairs: usize,
    sessions: usize,
    seed: u64,
) -> Rates {
    let mut chance = Chance::new(seed);
    let looks = Looks::at(&[pairs], 1);
    let truth = (effect / 100.0).ln_1p();
    let mut rates = Rates::default();
    let (mut half_widths, mut mdes) = (Vec::new(), Vec::new());
    for _ in 0..sessions {
        let order = pair_order(chance.seed(), pairs);
        let metric = metric(0.02, &order, &differences(machine, effect, &order, &mut chance));
        let judgement = judged(&[metric], &looks, Stage::Final);
        let found = judgement.comparisons[0].found.expect("every pair has a value");
        let share = 1.0 / sessions as f64;
        let count = |hit: bool| if hit { share } else { 0.0 };
        rates.significant += count(found.p <= 0.05);
        rates.covered += count(found.interval.low <= truth && truth <= found.interval.high);
        rates.regressed += count(judgement.verdict == Verdict::Regressed);
        rates.no_regression += count(judgement.verdict == Verdict::NoRegression);
        rates.inconclusive += count(judgement.verdict == Verdict::Inconclusive);
        half_widths.push(found.interval.half_width());
        mdes.push(judgement.comparisons[0].mde80.expect("two pairs or more"));
    }
    rates.half_width = middle(half_widths);
    rates.mde80 = middle(mdes);
    rates
}

/// Share of sessions with p ≤ 0.05; cheaper than [`rates`].
pub(crate) fn significant(
    machine: Machine,
    effect: f64,
    pairs: usize,
    sessions: usize,
    seed: u64,
) -> f64 {
    let mut chance = Chance::new(seed);
    let hits = (0..sessions).filter(|_| {
        let order = pair_order(chance.seed(), pairs);
        p_value(&differences(machine, effect, &order, &mut chance)) <= 0.05
    });
    hits.count() as f64 / sessions as f64
}

/// Share of sessions whose interval holds the true difference; cheaper than [`rates`].
pub(crate) fn covered(
    machine: Machine,
    effect: f64,
    pairs: usize,
    sessions: usize,
    seed: u64,
) -> f64 {
    let mut chance = Chance::new(seed);
    let truth = (effect / 100.0).ln_1p();
    let hits = (0..sessions).filter(|_| {
        let order = pair_order(chance.seed(), pairs);
        let found = SignedRank::of(&differences(machine, effect, &order, &mut chance));
        let interval = found.expect("every pair has a value").interval;
        interval.low <= truth && truth <= interval.high
    });
    hits.count() as f64 / sessions as f64
}

/// What a way through the looks came to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// Some gated metric was called regressed or improved.
    pub(crate) called: f64,
    /// The session's verdict was *regressed*.
    pub(crate) regressed: f64,
    /// The session's verdict was *no-regression*.
    pub(crate) no_regression: f64,
    /// Pairs played, on average.
    pub(crate) pairs: f64,
}

/// How a session of [`sequential`] is played.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Play {
    /// The machine.
    pub(crate) machine: Machine,
    /// What head costs more, per cent, in every metric.
    pub(crate) effect: f64,
    /// Gated metrics, with noise of their own each.
    pub(crate) metrics: usize,
    /// The bar, a fraction. Next to nothing makes *regressed* and *improved* mean "significant".
    pub(crate) bar: f64,
    /// Whether time may run out after any number of pairs, even before the first look.
    pub(crate) cut: bool,
}

/// `sessions` sessions that are looked at as planned and end as soon as they are settled.
pub(crate) fn sequential(play: Play, looks: &Looks, sessions: usize, seed: u64) -> Ends {
    let mut chance = Chance::new(seed);
    let mut ends = Ends::default();
    for _ in 0..sessions {
        let judgement = one_session(play, looks, &mut chance);
        let share = 1.0 / sessions as f64;
        let count = |hit: bool| if hit { share } else { 0.0 };
        let called = |verdict: Option<Verdict>| {
            matches!(verdict, Some(Verdict::Regressed | Verdict::Improved))
        };
        ends.called += count(judgement.comparisons.iter().any(|metric| called(metric.verdict)));
        ends.regressed += count(judgement.verdict == Verdict::Regressed);
        ends.no_regression += count(judgement.verdict == Verdict::NoRegression);
        ends.pairs += share * judgement.pairs as f64;
    }
    ends
}

/// One session, played through its looks.
pub(crate) fn one_session(play: Play, looks: &Looks, chance: &mut Chance) -> Judgement {
    let order = pair_order(chance.seed(), looks.most_pairs());
    let metrics: Vec<MetricPairs> = (0..play.metrics)
        .map(|_| metric(play.bar, &order, &differences(play.machine, play.effect, &order, chance)))
        .collect();
    let budget = if play.cut {
        5 + (chance.uniform() * (order.len() - 5) as f64).ceil() as usize
    } else {
        order.len()
    };
    let until = |pairs: usize| -> Vec<MetricPairs> {
        metrics
            .iter()
            .map(|metric| MetricPairs::of(metric.rule.clone(), metric.pairs[..pairs].to_vec()))
            .collect()
    };
    for look in looks.all().iter().filter(|look| look.pairs < budget) {
        let judgement = judged(&until(look.pairs), looks, Stage::Interim);
        if matches!(judgement.settled(), Some(Settled::Regressed | Settled::Answered)) {
            return judgement;
        }
    }
    judged(&until(budget), looks, Stage::Final)
}

/// Sessions of `pairs` pairs, judged at the planned look of so many, of which one of `gated` metrics changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OneOf {
    /// The machine.
    pub(crate) machine: Machine,
    /// Pairs.
    pub(crate) pairs: usize,
    /// Gated metrics.
    pub(crate) gated: usize,
    /// The bar, a fraction.
    pub(crate) bar: f64,
}

impl OneOf {
    /// The slow-down that is called four times out of five, of the usual session; logarithm.
    pub(crate) fn claimed(self, sessions: usize, seed: u64) -> f64 {
        let mut chance = Chance::new(seed);
        let stddevs = (0..sessions).map(|_| {
            let order = pair_order(chance.seed(), self.pairs);
            let differences = differences(self.machine, 0.0, &order, &mut chance);
            stddev(&differences).expect("two pairs or more")
        });
        let usual = middle(stddevs.collect());
        let level = Looks::planned(self.gated).level_at(self.pairs) / self.gated as f64;
        let claimed = regression80(self.pairs, usual, self.bar.ln_1p(), level);
        claimed.expect("so many pairs can call a regression")
    }

    /// How often it is: the share of sessions in which the metric that changed is *regressed*.
    pub(crate) fn called(self, effect: f64, sessions: usize, seed: u64) -> f64 {
        let mut chance = Chance::new(seed);
        let looks = Looks::planned(self.gated);
        let hits = (0..sessions).filter(|_| {
            let order = pair_order(chance.seed(), self.pairs);
            let metrics: Vec<MetricPairs> = (0..self.gated)
                .map(|place| {
                    let effect = if place == 0 { effect } else { 0.0 };
                    let differences = differences(self.machine, effect, &order, &mut chance);
                    metric(self.bar, &order, &differences)
                })
                .collect();
            let judgement = judged(&metrics, &looks, Stage::Final);
            judgement.comparisons[0].verdict == Some(Verdict::Regressed)
        });
        hits.count() as f64 / sessions as f64
    }
}

/// Of the sessions of `pairs` pairs that are inconclusive: how many there are, and the share that
/// the number of pairs they ask for does settle, played anew by the same machine.
pub(crate) fn settled_by_advice(
    machine: Machine,
    effect: f64,
    pairs: usize,
    sessions: usize,
    seed: u64,
) -> (usize, f64) {
    let mut chance = Chance::new(seed);
    let play = |pairs: usize, chance: &mut Chance| {
        let order = pair_order(chance.seed(), pairs);
        let metric = metric(0.02, &order, &differences(machine, effect, &order, chance));
        judged(&[metric], &Looks::at(&[pairs], 1), Stage::Final)
    };
    let (mut open, mut settled) = (0, 0);
    for _ in 0..sessions {
        let first = play(pairs, &mut chance);
        // Beyond 80 pairs nobody would follow the advice, and it takes long to try.
        let advice = first.comparisons[0].needed_pairs.filter(|needed| *needed <= 80);
        if let Some(needed) = advice {
            open += 1;
            settled += usize::from(play(needed, &mut chance).verdict != Verdict::Inconclusive);
        }
    }
    (open, settled as f64 / open.max(1) as f64)
}

/// False alarms of sessions of `blocks` blocks: with the block as the unit, and with their slices
/// pooled as if each were evidence of its own.
pub(crate) fn block_rates(
    machine: Machine,
    blocks: usize,
    slices: usize,
    sessions: usize,
    seed: u64,
) -> [f64; 2] {
    let mut chance = Chance::new(seed);
    let (mut by_block, mut pooled) = (0, 0);
    for _ in 0..sessions {
        let session = chance.seed();
        let mut values = Vec::with_capacity(blocks);
        let mut all = Vec::with_capacity(blocks * slices);
        for index in 0..blocks {
            let order = slice_order(session, index as u32, 0, slices);
            let differences = block(machine, 0.0, &order, &mut chance);
            values.push(hodges_lehmann(&differences).expect("slices"));
            all.extend(differences);
        }
        by_block += usize::from(p_value(&values) <= 0.05);
        pooled += usize::from(p_value(&all) <= 0.05);
    }
    [by_block, pooled].map(|hits| hits as f64 / sessions as f64)
}

/// p of several metrics of one session, each with noise of its own.
pub(crate) fn family(
    machine: Machine,
    metrics: usize,
    pairs: usize,
    chance: &mut Chance,
) -> Vec<f64> {
    let order = pair_order(chance.seed(), pairs);
    (0..metrics)
        .map(|_| {
            let found = SignedRank::of(&differences(machine, 0.0, &order, chance));
            found.expect("every pair has a value").p
        })
        .collect()
}

fn metric(bar: f64, order: &[Order], differences: &[f64]) -> MetricPairs {
    let rule = Rule::by_default("output_tokens_per_second", "tokens/s", Better::Higher, Role::Gate);
    let pairs = order.iter().zip(differences).map(|(order, difference)| PairValue {
        order: *order,
        difference: Some(*difference),
        base: 100.0,
        head: 100.0 * (-difference).exp(),
    });
    MetricPairs::of(Rule { bar, ..rule }, pairs.collect())
}

fn judged(metrics: &[MetricPairs], looks: &Looks, stage: Stage) -> Judgement {
    judge(&Session { metrics, looks, evidence: &Evidence::default(), stage })
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
