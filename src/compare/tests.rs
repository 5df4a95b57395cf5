//! When two sides get a verdict, when only an impression, and when nothing at all.

use std::collections::BTreeMap;

use super::*;
use crate::stats::Better;
use crate::verdict::Role;

fn figure(metric: &str, better: Better, value: f64, interval: Option<[f64; 2]>) -> Figure {
    let unit = if better == Better::Higher { "tokens/s" } else { "ms" };
    Figure {
        metric: metric.to_owned(),
        unit: unit.to_owned(),
        better,
        role: Role::Gate,
        value,
        interval,
        count: Some(100),
    }
}

fn run(id: &str, second: usize, rate: f64) -> Trial {
    let fact = |what: What| (what, Fact::plain(what.name()));
    Trial {
        file: format!("{id}.json"),
        source: Source::BenchCi,
        id: Some(id.to_owned()),
        started_at: Some(format!("2026-11-22T08:{:02}:{:02}.000Z", second / 60, second % 60)),
        commit: None,
        facts: What::ALL.into_iter().map(fact).collect::<BTreeMap<_, _>>(),
        doubts: Vec::new(),
        work: Some(Work {
            requests: 50,
            failed: 0,
            prompt_tokens: Some(500),
            output_tokens: Some(800),
        }),
        figures: vec![
            figure("output_tokens_per_second", Better::Higher, rate, None),
            figure("ttft_ms_p50", Better::Lower, 5e4 / rate, Some([4e4 / rate, 6e4 / rate])),
        ],
    }
}

/// Runs in turn, AB and BA, head slower by `percent`, with a small fixed pattern of noise.
fn pairs(count: usize, percent: f64) -> (Side, Side) {
    let (mut base, mut head) = (Vec::new(), Vec::new());
    for pair in 0..count {
        let noise = |run: usize| 0.2 * ((run * 7 % 5) as f64 - 2.0);
        let head_first = pair % 2 == 1;
        let at = |is_head: bool| 20 * (2 * pair + usize::from(is_head != head_first));
        base.push(run(&format!("b{pair}"), at(false), 100.0 + noise(2 * pair)));
        let rate = (100.0 + noise(2 * pair + 1)) * (1.0 - percent / 100.0);
        head.push(run(&format!("h{pair}"), at(true), rate));
    }
    (Side { trials: base }, Side { trials: head })
}

fn single(rate: f64, other: f64) -> (Side, Side) {
    (Side { trials: vec![run("b", 0, rate)] }, Side { trials: vec![run("h", 9, other)] })
}

fn words(found: &Comparison) -> String {
    format!("{} {:?} {:?}", found.headline, found.reasons, found.warnings)
}

#[test]
fn two_single_runs_only_ever_look_like_something() {
    for (other, expected) in
        [(50.0, "looks slower"), (200.0, "looks faster"), (100.5, "no difference")]
    {
        let (base, head) = single(100.0, other);
        let found = compare(&base, &head, &[]).unwrap();
        assert_eq!(found.verdict, None);
        assert!(found.headline.starts_with(expected), "{}", found.headline);
        assert!(found.headline.ends_with("run `bench-ci ab` to know"), "{}", found.headline);
        assert!(!words(&found).contains("regressed"), "{}", words(&found));
    }
}

#[test]
fn overlapping_intervals_are_no_difference() {
    let (base, head) = single(100.0, 90.0);
    let found = compare(&base, &head, &[]).unwrap();
    let impression = |place: usize| found.rows[place].impression;
    assert_eq!(impression(0), Some(Impression::LooksSlower), "no interval is known");
    assert_eq!(impression(1), Some(Impression::WithinSpread));
}

#[test]
fn runs_in_turn_get_the_verdict_of_their_pairs() {
    for (percent, expected) in
        [(5.0, Verdict::Regressed), (-5.0, Verdict::Improved), (0.0, Verdict::NoRegression)]
    {
        let (base, head) = pairs(9, percent);
        let found = compare(&base, &head, &[]).unwrap();
        assert!(
            matches!(&found.design, Design::Paired { orders } if orders.len() == 9),
            "{found:?}"
        );
        assert_eq!(found.verdict, Some(expected), "{percent}: {}", words(&found));
    }
}

#[test]
fn the_order_of_runs_is_that_of_instants_however_they_are_written() {
    let (base, mut head) = pairs(9, 5.0);
    // The same instants on a clock two hours ahead, and without fractions of a second.
    for trial in &mut head.trials {
        let at = trial.started_at.take().unwrap_or_default();
        trial.started_at = Some(at.replace("T08:", "T10:").replace(".000Z", "+02:00"));
    }
    assert_eq!(compare(&base, &head, &[]).unwrap().verdict, Some(Verdict::Regressed));
    head.trials[2].started_at = Some("yesterday".to_owned());
    let found = compare(&base, &head, &[]).unwrap();
    assert!(
        matches!(&found.design, Design::Repeated { why_not } if why_not.contains("when it began")),
        "{found:?}"
    );
}

#[test]
fn figures_that_decide_nothing_speak_where_there_are_no_others() {
    let (mut base, mut head) = single(100.0, 50.0);
    for side in [&mut base, &mut head] {
        for figure in &mut side.trials[0].figures {
            figure.role = Role::Observe;
            figure.interval = None;
        }
    }
    let found = compare(&base, &head, &[]).unwrap();
    assert!(
        found.headline.starts_with("looks slower: output_tokens_per_second −50.0 %, ttft_ms_p50"),
        "{}",
        found.headline
    );
    // Beside one that decides they are only shown.
    for side in [&mut base, &mut head] {
        side.trials[0].figures.push(figure("itl_ms_p50", Better::Lower, 9.0, None));
    }
    let found = compare(&base, &head, &[]).unwrap();
    assert!(found.headline.starts_with("no difference to be seen"), "{}", found.headline);
}

#[test]
fn runs_that_are_not_in_turn_get_none() {
    let (base, head) = pairs(9, 5.0);
    let why = |base: &Side, head: &Side| {
        let found = compare(base, head, &[]).unwrap();
        assert_eq!(found.verdict, None, "{found:?}");
        assert!(found.headline.contains("bench-ci ab"), "{}", found.headline);
        match found.design {
            Design::Repeated { why_not } => why_not,
            other => panic!("{other:?}"),
        }
    };
    let change = |side: &Side, change: &dyn Fn(usize, &mut Trial)| {
        let mut side = side.clone();
        side.trials.iter_mut().enumerate().for_each(|(place, trial)| change(place, trial));
        side
    };
    let at = |second: usize| format!("2026-11-22T09:{:02}:{:02}.000Z", second / 60, second % 60);
    let later = change(&head, &|place, trial| trial.started_at = Some(at(place)));
    assert!(why(&base, &later).contains("not run in turn"));
    let first = change(&base, &|place, trial| trial.started_at = Some(at(20 * place)));
    let second = change(&head, &|place, trial| trial.started_at = Some(at(20 * place + 5)));
    assert!(why(&first, &second).contains("always went first"));
    let few = Side { trials: head.trials[..5].to_vec() };
    assert!(why(&base, &few).contains("as many of one as of the other"));
    let elsewhere = change(&head, &|place, trial| {
        if place == 3 {
            trial.facts.insert(What::Machine, Fact::plain("another"));
        }
    });
    assert!(why(&base, &elsewhere).contains("one machine"));
    let twice = change(&head, &|_, trial| trial.id = Some("h0".to_owned()));
    assert!(why(&base, &twice).contains("given twice"));
    let uneven = change(&head, &|place, trial| {
        if let Some(work) = &mut trial.work {
            work.requests += place as u64;
        }
    });
    assert!(why(&base, &uneven).contains("--n-prompts"));
    let commits = change(&head, &|place, trial| trial.commit = Some(place.to_string()));
    assert!(why(&base, &commits).contains("several commits"));
}

#[test]
fn what_is_not_the_same_is_refused_or_told_by_name() {
    for what in What::ALL {
        let (base, mut head) = single(100.0, 50.0);
        head.trials[0].facts.insert(what, Fact::plain("something else"));
        let forbidden = matches!(what, What::Server | What::Model | What::Workload);
        match compare(&base, &head, &[]) {
            Err(error) => {
                assert!(forbidden, "{error}");
                assert!(error.to_string().contains(what.name()), "{error}");
                let found = compare(&base, &head, &[what]).unwrap();
                assert!(words(&found).contains("something else"), "accepted, and still told");
            }
            Ok(found) => {
                assert!(!forbidden, "{what:?}");
                assert!(words(&found).contains(&format!("the {} differs", what.name())));
            }
        }
    }
    let (base, mut head) = single(100.0, 50.0);
    head.trials[0].facts.insert(What::Machine, Fact::plain("another"));
    let found = compare(&base, &head, &[]).unwrap();
    assert!(found.headline.contains("the machines differ"), "{}", found.headline);
}

#[test]
fn failures_and_doubts_stand_above_every_number() {
    let (base, mut head) = single(100.0, 200.0);
    if let Some(work) = &mut head.trials[0].work {
        work.failed = 3;
    }
    let found = compare(&base, &head, &[]).unwrap();
    assert!(found.headline.starts_with("head fails more requests: 3 of 50"), "{}", found.headline);
    assert!(!found.headline.contains("faster"));
    head.trials[0].doubts.push("the client was late".to_owned());
    let found = compare(&base, &head, &[]).unwrap();
    assert!(found.headline.contains("not evidence"), "{}", found.headline);

    // Pairs with failures are invalid, however fast.
    let (base, mut head) = pairs(9, -20.0);
    if let Some(work) = &mut head.trials[4].work {
        work.failed = 1;
    }
    assert_eq!(compare(&base, &head, &[]).unwrap().verdict, Some(Verdict::Invalid));
}

#[test]
fn mixed_sides_and_empty_runs_are_refused() {
    let (base, mut head) = pairs(6, 0.0);
    head.trials[2].facts.insert(What::Flags, Fact::plain("--other"));
    assert!(matches!(compare(&base, &head, &[]), Err(CompareError::Mixed { side: "head", .. })));
    head.trials[0].figures.clear();
    assert!(matches!(compare(&base, &head, &[]), Err(CompareError::NothingMeasured { .. })));
    let (base, mut head) = single(1.0, 1.0);
    head.trials[0].figures[0].metric = "pp512".to_owned();
    head.trials[0].figures.truncate(1);
    assert!(matches!(compare(&base, &head, &[]), Err(CompareError::NothingInCommon { .. })));
}
