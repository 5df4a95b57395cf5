//! Several sessions, each on a machine of its own, put together.
//!
//! Main functions: [`pool`], one metric of several machines, and [`judge_sessions`], all of them. The
//! machine is the unit: pairs of different machines are never thrown together, because a change need
//! not cost the same everywhere, and how much it differs is part of the answer.
//!
//! **Three or more: random effects.** y_i = θ + u_i + e_i with Var u = τ² between machines and v_i
//! within one; weights 1/(v_i + τ²). τ² by Paule and Mandel (the τ² at which the weighted squares about
//! the mean come to their m − 1), which needs no normal distribution and is less biased than
//! DerSimonian and Laird's where τ² is large (Veroniki et al. 2016). Interval and p by Hartung and Knapp: Student's t with m − 1 degrees;
//! their factor on the variance is 1 at this τ², and is never let below 1 where τ² is 0 (Röver, Knapp,
//! Friede 2015), so that sessions that agree by chance do not make it narrow.
//!
//! **Two.** Of two machines nobody can tell how much machines differ: with one degree of freedom
//! t is 12.7. So both must say it. The interval reaches from the lower of the two lower ends to the
//! higher of the two upper ones, and p is the larger of the two: the intersection-union test of Berger.
//!
//! **One.** Its own interval and p: what a cell of a matrix has that ran once.

use super::block::median;
use super::evidence::{Evidence, Invalid};
use super::judge::{Alone, Comparison, Judgement, Spread, adjust, overall, reasons};
use super::looks::ALPHA;
use super::multiple::{benjamini_hochberg, holm};
use super::rule::{Role, Rule, Verdict};
use super::sentence::{Unit, sentence};
use super::signed_rank::{Interval, SignedRank};
use super::student_t;

/// Beyond so many sessions there is no advice.
const MOST_SESSIONS: usize = 100;

/// Below this, a variance is that of figures without noise. (One part in a million, squared.)
const LEAST_VARIANCE: f64 = 1e-12;

/// What one session says about one metric. Differences are logarithms, positive is slower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionEstimate {
    /// Hodges–Lehmann over its pairs.
    pub estimate: f64,
    /// The interval of that.
    pub interval: Interval,
    /// Two-sided, of its pairs.
    pub p: f64,
    /// The level that this p was held against: lower than 5 % where the session was looked at early.
    pub level: f64,
    /// How many pairs.
    pub pairs: usize,
    /// Median of base, in the metric's unit.
    pub base: f64,
    /// Median of head, in the metric's unit.
    pub head: f64,
}

impl SessionEstimate {
    /// Variance of the estimate within its machine: the half-width of its interval over Student's t
    /// for that level with n − 1 degrees of freedom, squared.
    #[must_use]
    pub fn variance(&self) -> f64 {
        let t = student_t::quantile(f64::midpoint(1.0, self.interval.level), self.pairs.max(2) - 1);
        (self.interval.half_width() / t).powi(2).max(LEAST_VARIANCE)
    }

    /// p on the scale on which 5 % is the limit, whatever look the session ended at.
    #[must_use]
    pub fn spent_p(&self) -> f64 {
        (self.p * ALPHA / self.level.clamp(1e-9, ALPHA)).min(1.0)
    }
}

/// What several machines say about one metric together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pooled {
    /// The common estimate; a logarithm, positive is slower.
    pub estimate: f64,
    /// Its interval.
    pub interval: Interval,
    /// Two-sided.
    pub p: f64,
    /// Standard error of the estimate.
    pub standard_error: f64,
    /// How much machines differ.
    pub heterogeneity: Heterogeneity,
    /// The second opinion: the median of the sessions.
    pub median: f64,
    /// How many sessions.
    pub sessions: usize,
}

/// How much the change differs from machine to machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heterogeneity {
    /// Standard deviation of the true change between machines, as a logarithm.
    pub tau: f64,
    /// I²: the share of the variation between sessions that is not noise within them, a fraction:
    /// (Q − (m − 1))/Q, at least 0.
    pub i_squared: f64,
    /// Cochran's Q: the weighted squares about the mean with τ² = 0.
    pub q: f64,
}

/// Puts one metric together; `None` of no session.
#[must_use]
pub fn pool(sessions: &[SessionEstimate]) -> Option<Pooled> {
    let values: Vec<(f64, f64)> =
        sessions.iter().map(|session| (session.estimate, session.variance())).collect();
    let (first, second) = (sessions.first()?, sessions.get(1));
    let effects = random_effects(&values);
    let (interval, p) = match (second, sessions.len()) {
        (None, _) => (first.interval, first.spent_p()),
        (Some(second), 2) => {
            let agree = first.estimate * second.estimate > 0.0;
            let interval = Interval {
                low: first.interval.low.min(second.interval.low),
                high: first.interval.high.max(second.interval.high),
                level: first.interval.level.min(second.interval.level),
            };
            (interval, if agree { first.spent_p().max(second.spent_p()) } else { 1.0 })
        }
        (Some(_), count) => {
            let half = student_t::quantile(1.0 - ALPHA / 2.0, count - 1) * effects.standard_error;
            let interval = Interval {
                low: effects.estimate - half,
                high: effects.estimate + half,
                level: 1.0 - ALPHA,
            };
            let t = effects.estimate / effects.standard_error;
            (interval, student_t::two_sided_p(t, count - 1))
        }
    };
    Some(Pooled {
        estimate: effects.estimate,
        interval,
        p,
        standard_error: effects.standard_error,
        heterogeneity: effects.heterogeneity,
        median: median(sessions.iter().map(|session| session.estimate))?,
        sessions: sessions.len(),
    })
}

/// Mean, its standard error and the variation between, of (value, variance) pairs.
struct Effects {
    estimate: f64,
    standard_error: f64,
    heterogeneity: Heterogeneity,
}

fn random_effects(values: &[(f64, f64)]) -> Effects {
    let degrees = values.len() as f64 - 1.0;
    let (_, q, _) = weighted(values, 0.0);
    let tau_squared = paule_mandel(values);
    let (estimate, squares, weights) = weighted(values, tau_squared);
    // 1 by construction where τ² > 0.
    let factor = if degrees > 0.0 { (squares / degrees).max(1.0) } else { 1.0 };
    Effects {
        estimate,
        standard_error: (factor / weights).sqrt(),
        heterogeneity: Heterogeneity {
            tau: tau_squared.sqrt(),
            i_squared: if q > degrees { (q - degrees) / q } else { 0.0 },
            q,
        },
    }
}

/// The τ² at which the weighted squares about the mean are m − 1; 0 where they are less without any.
fn paule_mandel(values: &[(f64, f64)]) -> f64 {
    let degrees = values.len() as f64 - 1.0;
    let squares = |tau_squared: f64| weighted(values, tau_squared).1;
    if degrees < 1.0 || squares(0.0) <= degrees {
        return 0.0;
    }
    // They fall with τ². Larger than the sum of all squares it cannot be.
    let (mut low, mut high) = (0.0, 1e-6);
    while squares(high) > degrees && high < 1e12 {
        high *= 4.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if squares(middle) > degrees {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Weighted mean, weighted squares about it, and the sum of the weights.
fn weighted(values: &[(f64, f64)], tau_squared: f64) -> (f64, f64, f64) {
    let weight = |variance: f64| 1.0 / (variance + tau_squared);
    let weights: f64 = values.iter().map(|(_, variance)| weight(*variance)).sum();
    let mean =
        values.iter().map(|(value, variance)| weight(*variance) * value).sum::<f64>() / weights;
    let squares =
        values.iter().map(|(value, variance)| weight(*variance) * (value - mean).powi(2)).sum();
    (mean, squares, weights)
}

/// One metric, in one cell of a matrix, in all sessions of that cell.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionMetric {
    /// The metric and its bars; its name holds the cell where there are several.
    pub rule: Rule,
    /// One a session. May be empty.
    pub sessions: Vec<SessionEstimate>,
}

/// The judgement on several sessions, and what was pooled for each of its comparisons.
#[derive(Debug, Clone, PartialEq)]
pub struct Together {
    /// `pairs` counts sessions there.
    pub judgement: Judgement,
    /// In the order of the comparisons; `None` where there was nothing to pool.
    pub pooled: Vec<Option<Pooled>>,
}

/// Judges several sessions together. Holm's rule goes over every gated metric of every cell.
/// `faults`: sessions that are no evidence; their numbers are not in `metrics`.
#[must_use]
pub fn judge_sessions(
    metrics: &[SessionMetric],
    evidence: &Evidence,
    faults: Vec<Invalid>,
) -> Together {
    let pooled: Vec<Option<Pooled>> = metrics.iter().map(|metric| pool(&metric.sessions)).collect();
    let mut comparisons: Vec<Comparison> = metrics
        .iter()
        .zip(&pooled)
        .map(|(metric, pooled)| describe(metric, pooled.as_ref()))
        .collect();
    adjust(&mut comparisons, Role::Gate, holm);
    adjust(&mut comparisons, Role::Observe, benjamini_hochberg);
    let gated = metrics.iter().filter(|metric| metric.rule.role == Role::Gate).count();
    for (comparison, pooled) in comparisons.iter_mut().zip(&pooled) {
        decide(comparison, pooled.as_ref());
        comparison.sentence = sentence(comparison, gated, 1, ALPHA, Unit::Session);
    }
    let mut invalid = faults;
    invalid.extend(evidence.lasting_faults());
    let rise = evidence.rise_in_failures();
    let (verdict, withheld) = overall(&comparisons, &invalid, rise.is_some());
    let sessions = metrics.iter().map(|metric| metric.sessions.len()).max().unwrap_or(0);
    let judgement = Judgement {
        verdict,
        reasons: reasons(&comparisons, &invalid, rise, withheld),
        warnings: evidence.doubt_about_work().into_iter().collect(),
        invalid,
        comparisons,
        pairs: sessions,
        look: None,
        level: ALPHA,
    };
    Together { judgement, pooled }
}

fn describe(metric: &SessionMetric, pooled: Option<&Pooled>) -> Comparison {
    let spread = |of: fn(&SessionEstimate) -> f64| {
        let values = metric.sessions.iter().map(of);
        median(values.clone()).map_or_else(Spread::default, |median| Spread {
            median,
            min: values.clone().fold(f64::INFINITY, f64::min),
            max: values.fold(f64::NEG_INFINITY, f64::max),
        })
    };
    let pooled = pooled.filter(|_| metric.rule.role != Role::Exact);
    let found = pooled.map(|pooled| SignedRank {
        pairs: pooled.sessions,
        estimate: pooled.estimate,
        p: pooled.p,
        interval: pooled.interval,
    });
    Comparison {
        rule: metric.rule.clone(),
        alone: Alone::default(),
        differences: metric.sessions.iter().map(|session| session.estimate).collect(),
        base: spread(|session| session.base),
        head: spread(|session| session.head),
        p_adjusted: found.as_ref().map(|found| found.p),
        found,
        crossover: None,
        mde80: None,
        outliers: 0,
        verdict: None,
        why: None,
        needed_pairs: None,
        sentence: String::new(),
    }
}

fn decide(comparison: &mut Comparison, pooled: Option<&Pooled>) {
    if comparison.rule.role == Role::Exact {
        return;
    }
    let Some((found, p)) = comparison.found.zip(comparison.p_adjusted) else {
        comparison.verdict = Some(Verdict::Inconclusive);
        return;
    };
    let second = pooled.map(|pooled| pooled.median);
    let base = comparison.base.median;
    let (verdict, why) = comparison.rule.verdict(&found, base, p, ALPHA, second);
    comparison.verdict = Some(verdict);
    comparison.why = why;
    let bar = comparison.rule.slower_bar(base);
    comparison.needed_pairs =
        pooled.filter(|_| why.is_some()).and_then(|pooled| sessions_to_settle(pooled, bar));
}

/// How many sessions bring the interval to one side of the bar, if the estimate stays where it is.
fn sessions_to_settle(pooled: &Pooled, bar: f64) -> Option<usize> {
    let of_one = pooled.standard_error * (pooled.sessions as f64).sqrt();
    let distance = if pooled.estimate < bar { bar - pooled.estimate } else { pooled.estimate };
    (pooled.sessions.max(2) + 1..=MOST_SESSIONS).find(|sessions| {
        let t = student_t::quantile(1.0 - ALPHA / 2.0, sessions - 1);
        t * of_one / (*sessions as f64).sqrt() <= distance
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Better;

    /// Thirteen trials of the BCG vaccine (Colditz et al. 1994): log relative risk and its variance,
    /// as the field's textbooks and metafor's `dat.bcg` have them.
    const BCG: [(f64, f64); 13] = [
        (-0.889_311_333_920_2, 0.325_584_765_003_9),
        (-1.585_388_657_201_4, 0.194_581_121_398_1),
        (-1.348_073_148_299_7, 0.415_367_965_368_0),
        (-1.441_551_190_021_3, 0.020_010_031_902_2),
        (-0.217_547_322_211_3, 0.051_210_172_170_0),
        (-0.786_115_585_818_9, 0.006_905_618_456_0),
        (-1.620_898_223_598_4, 0.223_017_247_572_3),
        (0.011_952_333_523_8, 0.003_961_579_297_8),
        (-0.469_417_648_738_1, 0.056_434_210_463_2),
        (-1.371_344_803_472_7, 0.073_024_793_613_0),
        (-0.339_358_828_338_4, 0.012_412_214_155_4),
        (0.445_913_400_571_4, 0.532_505_845_392_7),
        (-0.017_313_948_216_9, 0.071_404_660_013_7),
    ];

    fn near(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    #[test]
    fn heterogeneity_and_mean_of_the_vaccine_trials_are_the_published_ones() {
        // metafor 4, rma(method = "PM", test = "knha"): Q = 152.2330, I² by Q 92.12 %, τ² = 0.3181,
        // mean −0.7150 with SE 0.1809, 95 % −1.1091 … −0.3208.
        let effects = random_effects(&BCG);
        near(effects.heterogeneity.q, 152.2330, 1e-3);
        near(effects.heterogeneity.i_squared, 0.9212, 1e-4);
        near(effects.heterogeneity.tau.powi(2), 0.3181, 1e-4);
        near(effects.estimate, -0.7150, 1e-4);
        near(effects.standard_error, 0.1809, 1e-4);
        let half = student_t::quantile(0.975, 12) * effects.standard_error;
        near(effects.estimate - half, -1.1091, 1e-4);
        near(effects.estimate + half, -0.3208, 1e-4);
    }

    fn session(estimate: f64, half: f64, p: f64) -> SessionEstimate {
        SessionEstimate {
            estimate,
            interval: Interval { low: estimate - half, high: estimate + half, level: 0.95 },
            p,
            level: ALPHA,
            pairs: 12,
            base: 100.0,
            head: 100.0 * (-estimate).exp(),
        }
    }

    #[test]
    fn sessions_that_agree_by_chance_do_not_make_the_interval_narrow() {
        let agreeing = [session(0.03, 0.011, 0.001); 3];
        let pooled = pool(&agreeing).unwrap();
        let of_one = 0.011 / student_t::quantile(0.975, 11);
        near(pooled.standard_error, of_one / 3_f64.sqrt(), 1e-12);
        near(pooled.interval.half_width(), 4.302_652_7 * of_one / 3_f64.sqrt(), 1e-8);
        assert!(pooled.heterogeneity.tau == 0.0 && pooled.heterogeneity.i_squared == 0.0);
    }

    #[test]
    fn two_sessions_must_both_say_it() {
        let both = pool(&[session(0.03, 0.01, 0.001), session(0.05, 0.02, 0.02)]).unwrap();
        near(both.interval.low, 0.02, 1e-12);
        near(both.interval.high, 0.07, 1e-12);
        near(both.p, 0.02, 1e-12);
        let one = pool(&[session(0.03, 0.01, 0.001), session(0.03, 0.04, 0.2)]).unwrap();
        assert!(one.interval.low < 0.0 && one.p > 0.05);
        let opposed = pool(&[session(0.03, 0.01, 0.001), session(-0.03, 0.01, 0.001)]).unwrap();
        assert!(opposed.p >= 1.0 && opposed.interval.low < 0.0 && opposed.interval.high > 0.0);
    }

    #[test]
    fn an_early_look_spends_less() {
        let early = SessionEstimate { level: 0.0157, ..session(0.03, 0.01, 0.0157) };
        near(pool(&[early]).unwrap().p, 0.05, 1e-12);
    }

    #[test]
    fn figures_without_any_noise_are_pooled_too() {
        let exact =
            [session(0.03, 0.0, 0.001), session(0.03, 0.0, 0.001), session(0.04, 0.0, 0.001)];
        let pooled = pool(&exact).unwrap();
        assert!(pooled.standard_error.is_finite() && pooled.estimate > 0.03);
        assert!(pooled.heterogeneity.i_squared > 0.99, "{pooled:?}");
    }

    #[test]
    fn holm_goes_over_every_cell_of_a_matrix() {
        let rule = |cell: &str| {
            Rule::by_default(
                &format!("output_tokens_per_second [{cell}]"),
                "tokens/s",
                Better::Higher,
                Role::Gate,
            )
        };
        let cell = |name: &str, p| SessionMetric {
            rule: rule(name),
            sessions: vec![session(0.04, 0.015, p)],
        };
        let verdict = |metrics: &[SessionMetric]| {
            judge_sessions(metrics, &Evidence::default(), Vec::new()).judgement.verdict
        };
        assert_eq!(verdict(&[cell("a", 0.03)]), Verdict::Regressed);
        assert_eq!(verdict(&[cell("a", 0.03), cell("b", 0.04)]), Verdict::Inconclusive);
        assert_eq!(verdict(&[cell("a", 0.02), cell("b", 0.04)]), Verdict::Regressed);
    }

    #[test]
    fn a_session_that_is_no_evidence_makes_none_of_the_whole() {
        let rule =
            Rule::by_default("output_tokens_per_second", "tokens/s", Better::Higher, Role::Gate);
        let metric = SessionMetric { rule, sessions: vec![session(0.04, 0.01, 0.001); 3] };
        let fault = Invalid::Session { session: "b/ab.json".into(), why: "unequal work".into() };
        let judged = judge_sessions(&[metric], &Evidence::default(), vec![fault]).judgement;
        assert_eq!(judged.verdict, Verdict::Invalid);
        assert_eq!(judged.reasons[0], "session b/ab.json is no evidence: unequal work");
    }
}
