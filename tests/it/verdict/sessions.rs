//! How often several sessions put together err, by simulation with fixed seeds.
//!
//! Each session is played through its looks as `ab` plays it, on a machine that has a change of its own;
//! then all are pooled.

use bench_ci::verdict::looks::Looks;
use bench_ci::verdict::sessions::{Pooled, SessionEstimate, pool};

use super::model::{Chance, Machine, NOISY, QUIET};
use super::play::{Play, one_session};

/// What many sets of sessions came to, as shares.
#[derive(Debug, Default)]
struct Rates {
    /// Called faster or slower.
    called: f64,
    /// Called slower by the bar of 2 % or more.
    regressed: f64,
    /// The interval holds the mean change of all machines.
    covered: f64,
}

/// `sets` sets of `count` sessions each; machines differ in the change by a standard deviation of
/// `between`, per cent, about `effect`.
fn rates(
    machine: Machine,
    effect: f64,
    between: f64,
    count: usize,
    sets: usize,
    seed: u64,
) -> Rates {
    let mut chance = Chance::new(seed);
    let looks = Looks::planned(1);
    let truth = (effect / 100.0).ln_1p();
    let mut rates = Rates::default();
    for _ in 0..sets {
        let sessions: Vec<SessionEstimate> = (0..count)
            .map(|_| {
                let effect = effect + between * chance.normal();
                let play = Play { machine, effect, metrics: 1, bar: 0.02, cut: false };
                let judged = one_session(play, &looks, &mut chance);
                let found = judged.comparisons[0].found.expect("every pair has a value");
                SessionEstimate {
                    estimate: found.estimate,
                    interval: found.interval,
                    p: found.p,
                    level: judged.level,
                    pairs: found.pairs,
                    base: 100.0,
                    head: 100.0,
                }
            })
            .collect();
        let Pooled { estimate, interval, p, .. } = pool(&sessions).expect("there are sessions");
        let share = 1.0 / sets as f64;
        let count = |hit: bool| if hit { share } else { 0.0 };
        let outside = interval.low > 0.0 || interval.high < 0.0;
        rates.called += count(p <= 0.05 && outside);
        rates.regressed += count(p <= 0.05 && interval.low > 0.0 && estimate >= 0.02_f64.ln_1p());
        rates.covered += count(interval.low <= truth && truth <= interval.high);
    }
    rates
}

#[test]
fn false_alarms_of_several_sessions_stay_under_5_pct() {
    for (machine, name) in [(NOISY, "noisy"), (QUIET, "quiet")] {
        for count in [2, 3, 5] {
            let found = rates(machine, 0.0, 0.0, count, 400, 41);
            assert!(found.called <= 0.05, "{name}, {count} sessions: {found:?}");
            assert!(found.regressed <= 0.005, "{name}, {count} sessions: {found:?}");
        }
    }
}

#[test]
fn machines_that_differ_raise_no_more_of_them() {
    // As much between machines as within them, and three times as much: what pools the pairs of all
    // machines, as if there were one, errs in every second set.
    for (count, between) in [(3, 0.6), (3, 1.8), (5, 1.8), (2, 0.6)] {
        let found = rates(QUIET, 0.0, between, count, 500, 42);
        // Two standard errors of 500 sets are 2 points.
        assert!(found.called <= 0.07, "{count} sessions, ± {between} %: {found:?}");
    }
}

#[test]
fn intervals_of_several_sessions_cover() {
    for (machine, effect, between, count) in [
        (NOISY, 3.0, 0.0, 2),
        (NOISY, 3.0, 0.0, 3),
        (QUIET, 3.0, 0.0, 5),
        (QUIET, 3.0, 1.0, 3),
        (QUIET, 0.0, 1.0, 5),
    ] {
        let found = rates(machine, effect, between, count, 400, 43);
        let least = if between > 0.0 { 0.93 } else { 0.95 };
        assert!(found.covered >= least, "{count} sessions, {effect} ± {between} %: {found:?}");
    }
}

#[test]
fn three_sessions_confirm_what_one_sees() {
    let found = rates(QUIET, 3.0, 0.0, 3, 300, 44);
    assert!(found.regressed >= 0.9, "{found:?}");
    let found = rates(QUIET, 3.0, 0.0, 2, 300, 45);
    assert!(found.regressed >= 0.9, "{found:?}");
    let found = rates(NOISY, 5.0, 0.0, 3, 300, 46);
    assert!(found.regressed >= 0.9, "{found:?}");
}
