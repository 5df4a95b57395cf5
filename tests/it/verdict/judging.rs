//! Sessions made by hand, and what they must come to.

use bench_ci::stats::Better;
use bench_ci::verdict::design::{Order, pair_order};
use bench_ci::verdict::looks::Looks;
use bench_ci::verdict::{
    Evidence, Inconclusive, Judgement, MetricPairs, PairValue, Role, Rule, Session, Settled, Stage,
    Verdict, Work, judge,
};
use proptest::prelude::*;

/// Deviations in per cent, symmetric and without ties, of which the first n of any session are
/// drawn.
const NOISE: [f64; 16] = [
    0.31, -0.42, 0.13, -0.24, 0.55, -0.16, 0.07, -0.38, 0.29, -0.51, 0.02, -0.33, 0.44, -0.05,
    0.26, -0.17,
];

/// A metric of `pairs` pairs whose head costs `slower` per cent more; noise is multiplied by `noise`.
fn metric(rule: &Rule, base: f64, slower: f64, noise: f64, pairs: usize) -> MetricPairs {
    let order = pair_order(1, pairs);
    let pairs = order.iter().zip(NOISE).map(|(order, deviation)| {
        let cost = (1.0 + slower / 100.0) * (1.0 + noise * deviation / 100.0);
        let head = if rule.better == Better::Higher { base / cost } else { base * cost };
        PairValue::of_trials(rule.better, *order, base, head)
    });
    MetricPairs::of(rule.clone(), pairs.collect())
}

fn rate() -> Rule {
    Rule::by_default("output_tokens_per_second", "tokens/s", Better::Higher, Role::Gate)
}

fn latency(name: &str) -> Rule {
    Rule::by_default(name, "ms", Better::Lower, Role::Gate)
}

fn sound() -> Evidence {
    let work =
        Work { requests: 960, failed: 0, prompt_tokens: Some(9600), output_tokens: Some(30_720) };
    Evidence { base: work, head: work, ..Evidence::default() }
}

fn judged(metrics: &[MetricPairs], evidence: &Evidence, stage: Stage) -> Judgement {
    let gated = metrics.iter().filter(|metric| metric.rule.role == Role::Gate).count();
    judge(&Session { metrics, looks: &Looks::planned(gated), evidence, stage })
}

fn at_the_end(metrics: &[MetricPairs]) -> Judgement {
    judged(metrics, &sound(), Stage::Final)
}

#[track_caller]
fn check(found: &Judgement, verdict: Verdict, reasons: &[&str]) {
    assert_eq!(found.verdict, verdict, "{:#?}", found.reasons);
    assert_eq!(found.reasons, reasons);
}

#[test]
fn each_verdict_says_what_it_found() {
    check(
        &at_the_end(&[metric(&rate(), 812.0, 3.5, 1.0, 12)]),
        Verdict::Regressed,
        &[
            "regressed: output_tokens_per_second 812 → 785 tokens/s (−3.3 %, 95.8 % CI −3.6 … −3.1, \
           12 pairs, bar 2 %)",
        ],
    );
    check(
        &at_the_end(&[metric(&latency("itl_ms"), 41.2, -6.0, 1.0, 12)]),
        Verdict::Improved,
        &["improved: itl_ms 41.2 → 38.7 ms (−6.1 %, 95.8 % CI −6.3 … −5.8, 12 pairs, bar 2 %)"],
    );
    check(
        &at_the_end(&[metric(&rate(), 812.0, 0.8, 1.0, 12)]),
        Verdict::NoRegression,
        &["no-regression: output_tokens_per_second 812 → 806 tokens/s (−0.7 %, 95.8 % CI −1.0 … \
           −0.5, 12 pairs, bar 2 %): slower by 0.7 %, below the 2 % bar"],
    );
    check(
        &at_the_end(&[metric(&rate(), 812.0, 0.0, 1.0, 12)]),
        Verdict::NoRegression,
        &["no-regression: output_tokens_per_second 812 → 813 tokens/s (+0.1 %, 95.8 % CI −0.2 … \
           +0.3, 12 pairs, bar 2 %): no slow-down of 2 % or more"],
    );
    check(
        &at_the_end(&[metric(&rate(), 812.0, 1.0, 12.0, 12)]),
        Verdict::Inconclusive,
        &["inconclusive: output_tokens_per_second 812 → 811 tokens/s (−0.2 %, 95.8 % CI −3.1 … \
           +2.8, 12 pairs, bar 2 %): cannot exclude a slow-down up to 3.2 %; about 27 pairs would \
           settle it"],
    );
    check(
        &at_the_end(&[metric(&latency("ttft_ms"), 5.0, 8.0, 1.0, 12)]),
        Verdict::NoRegression,
        &["no-regression: ttft_ms 5 → 5.4 ms (+7.9 %, 95.8 % CI +7.7 … +8.2, 12 pairs, bar 3 %): \
           slower by 7.9 %, below the floor of 1 ms"],
    );
    // Up to 7 % cannot be excluded, and that is more than the bar: what is excluded is the floor.
    let found = at_the_end(&[metric(&latency("ttft_ms"), 5.0, 0.0, 24.0, 12)]);
    assert_eq!(found.verdict, Verdict::NoRegression, "{:?}", found.reasons);
    assert!(
        found.reasons[0].ends_with("bar 3 %): no slow-down of 1 ms or more"),
        "{:?}",
        found.reasons
    );
    // Where the bar is excluded too, it says more.
    let found = at_the_end(&[metric(&latency("ttft_ms"), 5.0, 0.0, 1.0, 12)]);
    assert!(found.reasons[0].ends_with(": no slow-down of 3 % or more"), "{:?}", found.reasons);
}

#[test]
fn the_q_of_what_is_observed_is_over_those_that_have_a_value() {
    let observed = |name: &str, slower, noise, pairs| {
        metric(&Rule { role: Role::Observe, ..latency(name) }, 50.0, slower, noise, pairs)
    };
    let metrics = [
        metric(&rate(), 812.0, 0.0, 1.0, 12),
        observed("e2e_ms_p50", 0.4, 1.0, 12),
        observed("ttft_ms_p95", 0.0, 1.0, 0),
        observed("tpot_ms_p50", 0.05, 3.0, 12),
        observed("ttft_ms_p99", 0.0, 1.0, 0),
    ];
    let found = at_the_end(&metrics);
    let of = |place: usize| &found.comparisons[place];
    let p = |place: usize| of(place).found.map(|found| found.p).unwrap();
    let (one, other) = (p(1), p(3));
    assert!(one < other && other < 1.0, "{one} {other}");
    // Two values, whatever was not seen: the smaller p twice, but at most the larger.
    assert_eq!(of(1).p_adjusted, Some((2.0 * one).min(other)));
    assert_eq!(of(3).p_adjusted, Some(other));
    assert_eq!((of(2).p_adjusted, of(4).p_adjusted), (None, None));
    // Of gates the absent one keeps its place, so that the levels are those that were planned.
    let gates =
        [metric(&latency("itl_ms"), 50.0, 0.4, 1.0, 12), MetricPairs::of(rate(), Vec::new())];
    let found = at_the_end(&gates);
    assert_eq!(found.comparisons[0].p_adjusted, Some(2.0 * found.comparisons[0].found.unwrap().p));
}

#[test]
fn a_faster_head_that_fails_requests_is_never_improved() {
    let faster = [metric(&rate(), 812.0, -17.0, 1.0, 12)];
    assert_eq!(at_the_end(&faster).verdict, Verdict::Improved, "but for the failures");
    let mut evidence = sound();
    evidence.head.failed = 10;
    let found = judged(&faster, &evidence, Stage::Interim);
    assert_eq!(found.verdict, Verdict::Invalid);
    assert_eq!(found.settled(), Some(Settled::Invalid));
    assert_eq!(found.reasons[0], "head fails more requests: 10 of 960, base 0 of 960");
    assert!(found.reasons[1].starts_with("head failed 10 of 960 requests"), "{:?}", found.reasons);
    // Accepted failures do not turn it into praise.
    evidence.failures_allowed = 20;
    let found = judged(&faster, &evidence, Stage::Final);
    assert_eq!(found.verdict, Verdict::Inconclusive);
    assert_eq!(found.reasons[0], "head fails more requests: 10 of 960, base 0 of 960");
}

#[test]
fn a_head_that_generates_fewer_tokens_is_invalid() {
    let mut evidence = sound();
    evidence.head.output_tokens = Some(30_000);
    let found = judged(&[metric(&rate(), 812.0, -2.5, 1.0, 12)], &evidence, Stage::Final);
    assert_eq!(found.verdict, Verdict::Invalid);
    assert_eq!(found.reasons[0], "unequal work: base 30720 output tokens, head 30000");
}

#[test]
fn an_unfair_machine_and_lost_pairs_are_invalid_at_the_end_only() {
    let metrics = [metric(&rate(), 812.0, 3.5, 1.0, 12)];
    let probes = (0..12).map(|pair| (200.0, 203.0 + f64::from(pair) / 10.0)).collect();
    let unfair = Evidence { probes, ..sound() };
    let found = judged(&metrics, &unfair, Stage::Final);
    assert_eq!(found.verdict, Verdict::Invalid);
    assert!(found.reasons[0].contains("faster for one side"), "{:?}", found.reasons);
    assert_eq!(judged(&metrics, &unfair, Stage::Interim).verdict, Verdict::Regressed);

    let few = [metric(&rate(), 812.0, 3.5, 1.0, 5)];
    let lost = Evidence { pairs_lost: 4, ..sound() };
    let found = judged(&few, &lost, Stage::Final);
    assert_eq!(found.verdict, Verdict::Invalid);
    assert_eq!(
        found.reasons[0],
        "output_tokens_per_second: only 5 pairs could be used, 4 were lost, 6 are needed"
    );
    assert_eq!(at_the_end(&[metric(&rate(), 812.0, 3.5, 1.0, 0)]).verdict, Verdict::Invalid);
}

#[test]
fn fewer_pairs_than_could_decide_are_inconclusive_by_construction() {
    let found = at_the_end(&[metric(&rate(), 812.0, 20.0, 1.0, 5)]);
    assert_eq!(found.verdict, Verdict::Inconclusive);
    assert_eq!(found.comparisons[0].why, Some(Inconclusive::BelowFloor));
    assert_eq!(found.comparisons[0].needed_pairs, Some(6));
    assert!(
        found.reasons[0].ends_with(
            "5 of at least 6 pairs; with fewer, 1 gated metric cannot become significant"
        )
    );
}

#[test]
fn the_worst_metric_decides_and_stands_first() {
    let (good, bad, open) = (latency("e2e_ms"), rate(), latency("itl_ms"));
    let fine = metric(&good, 900.0, -5.0, 1.0, 12);
    let regressed = metric(&bad, 812.0, 3.5, 1.0, 12);
    let unclear = metric(&open, 40.0, 1.0, 15.0, 12);
    let verdict_of = |metrics: &[MetricPairs]| at_the_end(metrics).verdict;
    let words: Vec<String> = at_the_end(&[fine.clone(), unclear.clone(), regressed])
        .reasons
        .iter()
        .map(|reason| reason.split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["regressed", "inconclusive", "improved"]);
    assert_eq!(verdict_of(&[fine.clone(), unclear]), Verdict::Inconclusive);
    let harmless = metric(&open, 40.0, 0.0, 1.0, 12);
    assert_eq!(verdict_of(&[fine, harmless]), Verdict::Improved);
}

#[test]
fn what_is_observed_never_gates_and_what_is_exact_is_not_tested() {
    let observed = Rule { role: Role::Observe, ..latency("e2e_ms") };
    let exact = Rule {
        role: Role::Exact,
        ..Rule::by_default("peak_vram_bytes", "bytes", Better::Lower, Role::Exact)
    };
    let mut vram = metric(&exact, 1000.0, 0.0, 0.0, 12);
    for pair in &mut vram.pairs {
        pair.head = 1250.0;
    }
    let found = at_the_end(&[
        metric(&rate(), 812.0, 0.0, 1.0, 12),
        metric(&observed, 900.0, 10.0, 1.0, 12),
        vram,
    ]);
    assert_eq!(found.verdict, Verdict::NoRegression);
    assert_eq!(found.reasons.len(), 1);
    assert_eq!(found.comparisons[1].verdict, Some(Verdict::Regressed), "shown all the same");
    assert_eq!(found.comparisons[2].verdict, None);
    assert_eq!(found.comparisons[2].change_pct(), Some(25.0));
    assert_eq!(found.comparisons[2].p_adjusted, None);
    let only_observed = at_the_end(&[metric(&observed, 900.0, 10.0, 1.0, 12)]);
    check(
        &only_observed,
        Verdict::Inconclusive,
        &["no metric gates, so there is nothing to decide"],
    );
}

#[test]
fn a_session_ends_at_a_planned_look_and_nowhere_else() {
    let settled = |slower, noise, pairs| {
        judged(&[metric(&rate(), 812.0, slower, noise, pairs)], &sound(), Stage::Interim).settled()
    };
    assert_eq!(settled(10.0, 1.0, 9), Some(Settled::Regressed));
    assert_eq!(settled(0.0, 1.0, 9), Some(Settled::Answered));
    assert_eq!(settled(10.0, 1.0, 10), None, "10 pairs are no look");
    assert_eq!(settled(1.0, 15.0, 9), None, "nothing is settled");

    // One metric that regressed settles it, one that improved does not.
    let open = metric(&latency("itl_ms"), 40.0, 1.0, 15.0, 9);
    let with = |slower| {
        let metrics = [open.clone(), metric(&rate(), 812.0, slower, 1.0, 9)];
        judged(&metrics, &sound(), Stage::Interim).settled()
    };
    assert_eq!(with(10.0), Some(Settled::Regressed));
    assert_eq!(with(-10.0), None);
}

#[test]
fn what_being_second_costs_is_warned_of_above_the_bar() {
    let with_penalty = |penalty: f64| {
        let mut metric = metric(&latency("itl_ms"), 100.0, 0.0, 0.1, 12);
        for pair in &mut metric.pairs {
            let sign = if pair.order == Order::BaseFirst { 1.0 } else { -1.0 };
            pair.head *= (sign * penalty / 100.0).exp();
            *pair = PairValue::of_trials(Better::Lower, pair.order, pair.base, pair.head);
        }
        at_the_end(&[metric]).warnings
    };
    assert_eq!(with_penalty(1.8), [""; 0]);
    assert_eq!(
        with_penalty(3.0),
        ["itl_ms: the second of a pair is slower by 3.0 %, more than the bar of 2 %"]
    );
}

#[test]
fn a_value_that_cannot_be_compared_leaves_its_pair_out_of_that_metric_alone() {
    let mut gap = metric(&rate(), 812.0, 3.5, 1.0, 12);
    gap.pairs[4] = PairValue::of_trials(Better::Higher, gap.pairs[4].order, 812.0, 0.0);
    let found = at_the_end(&[gap, metric(&latency("itl_ms"), 40.0, 0.0, 1.0, 12)]);
    let pairs: Vec<usize> =
        found.comparisons.iter().map(|comparison| comparison.found.unwrap().pairs).collect();
    assert_eq!(pairs, [11, 12]);
}

/// A gate of `pairs` pairs of which only one side, or none, has a value.
fn valueless(pairs: usize, base_has: bool, head_has: bool) -> MetricPairs {
    let mut metric = MetricPairs::of(latency("itl_ms_p50"), Vec::new());
    (0..pairs).for_each(|_| metric.add_without(base_has, head_has));
    metric
}

#[test]
fn a_gate_that_neither_side_has_is_let_go_by_name_and_the_others_decide_as_strictly_as_planned() {
    let gap = || valueless(9, false, false);
    let with = |slower, noise| {
        judged(&[metric(&rate(), 812.0, slower, noise, 9), gap()], &sound(), Stage::Final)
    };
    let found = with(10.0, 1.0);
    assert_eq!(found.verdict, Verdict::Regressed, "{:?}", found.reasons);
    assert_eq!(found.reasons.len(), 1, "{:?}", found.reasons);
    assert_eq!(found.comparisons[1].rule.role, Role::Observe);
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].starts_with("itl_ms_p50 decides nothing, for neither side"));
    assert!(found.warnings[0].contains("speculative decoding"), "{:?}", found.warnings);
    // Holm's rule goes over both: the p of the one that is left counts twice.
    let p = found.comparisons[0].found.unwrap().p;
    assert_eq!(found.comparisons[0].p_adjusted, Some(2.0 * p));
    assert_eq!(found.settled(), Some(Settled::Regressed));
    assert_eq!(with(0.0, 1.0).settled(), Some(Settled::Answered), "nobody waits for it");
    assert_eq!(with(0.0, 1.0).verdict, Verdict::NoRegression);
    assert_eq!(with(1.0, 15.0).settled(), None, "but for the other");

    // Nothing was measured at all: no metric is let go.
    let nothing = judged(&[gap(), valueless(9, false, false)], &sound(), Stage::Final);
    assert_eq!(nothing.verdict, Verdict::Invalid);
    assert_eq!(
        nothing.reasons[0],
        "itl_ms_p50: only 0 pairs could be used, 0 were lost, 7 are needed"
    );
}

#[test]
fn a_gate_that_one_side_lacks_is_inconclusive_by_name_and_no_pair_more_is_played_for_it() {
    let with = |slower| {
        let metrics = [metric(&rate(), 812.0, slower, 1.0, 9), valueless(9, true, false)];
        judged(&metrics, &sound(), Stage::Final)
    };
    let found = with(0.0);
    check(
        &Judgement { reasons: found.reasons[..1].to_vec(), ..found.clone() },
        Verdict::Inconclusive,
        &[
            "inconclusive: itl_ms_p50: no pair has a value of both sides (base has one in 9, head in 0), \
           so there is nothing to compare",
        ],
    );
    assert_eq!(found.comparisons[1].why, Some(Inconclusive::OneSided));
    assert_eq!(found.comparisons[1].needed_pairs, None);
    assert_eq!(found.settled(), Some(Settled::Answered));
    assert_eq!(found.warnings, [""; 0]);
    assert_eq!(with(10.0).verdict, Verdict::Regressed, "the other can still tell");
    assert_eq!(with(-10.0).verdict, Verdict::Inconclusive);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn swapping_the_sides_mirrors_the_verdict(
        differences in prop::collection::vec(-0.04..0.08_f64, 6..17), seed in any::<u64>()
    ) {
        let order = pair_order(seed, differences.len());
        let session = |sign: f64| {
            let pairs = order.iter().zip(&differences).map(|(order, difference)| {
                let order = match (sign > 0.0, *order) {
                    (true, order) => order,
                    (false, Order::BaseFirst) => Order::HeadFirst,
                    (false, Order::HeadFirst) => Order::BaseFirst,
                };
                PairValue { order, difference: Some(sign * difference), base: 100.0, head: 100.0 }
            });
            at_the_end(&[MetricPairs::of(rate(), pairs.collect())])
        };
        let (one, other) = (session(1.0), session(-1.0));
        prop_assert_eq!(one.verdict == Verdict::Regressed, other.verdict == Verdict::Improved);
        prop_assert_eq!(one.verdict == Verdict::Improved, other.verdict == Verdict::Regressed);
        let (one, other) = (&one.comparisons[0], &other.comparisons[0]);
        prop_assert!((one.position_effect_pct().unwrap() - other.position_effect_pct().unwrap()).abs() < 1e-9);
        prop_assert!((one.resolution_pct().unwrap() - other.resolution_pct().unwrap()).abs() < 1e-9);
    }

    #[test]
    fn a_slower_head_never_gets_a_better_verdict(
        differences in prop::collection::vec(-0.03..0.03_f64, 9..17), more in 0.0..0.05_f64
    ) {
        let badness = |shift: f64| {
            let order = pair_order(3, differences.len());
            let pairs = order.iter().zip(&differences).map(|(order, difference)| PairValue {
                order: *order, difference: Some(difference + shift), base: 100.0, head: 100.0,
            });
            let found = at_the_end(&[MetricPairs::of(rate(), pairs.collect())]);
            // A disagreement of the estimators can stand between any two.
            match (found.verdict, found.comparisons[0].why) {
                (_, Some(Inconclusive::EstimatorsDisagree)) => None,
                (Verdict::Improved, _) => Some(0),
                (Verdict::NoRegression, _) => Some(1),
                (Verdict::Inconclusive, _) => Some(2),
                (Verdict::Regressed | Verdict::Invalid, _) => Some(3),
            }
        };
        if let Some((before, after)) = badness(0.0).zip(badness(more)) {
            prop_assert!(before <= after);
        }
    }
}
