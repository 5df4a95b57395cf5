//! How much a history sees, and how often it cries wolf: seeded, so that the figures stand.

use bench_ci::history::band::{Band, drift, sides};
use bench_ci::history::change::{Search, change_points};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Logarithms of `length` points with normal noise of `noise`, and a step of `step` at `at`.
fn series(seed: u64, length: usize, noise: f64, at: usize, step: f64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    (0..length)
        .map(|index| {
            // Box and Muller.
            let normal =
                (-2.0 * (1.0 - uniform()).ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
            6.0 + noise * normal + if index >= at { step } else { 0.0 }
        })
        .collect()
}

#[test]
fn a_step_of_5_percent_in_100_points_is_found_within_5_points_of_where_it_is() {
    let step = 1.05_f64.ln();
    let (mut runs, mut found) = (0, 0);
    for at in [10, 25, 50, 75, 90] {
        for seed in 0..100 {
            let values = series(seed, 100, 0.015, at, step);
            runs += 1;
            found +=
                usize::from(change_points(&values, &Search::DEFAULT).iter().any(|point| {
                    point.index.abs_diff(at) <= 5 && (point.shift - step).abs() < 0.02
                }));
        }
    }
    // With noise of 1.5 %: 499 of 500.
    assert!(found * 100 >= runs * 99, "{found} of {runs}");
}

#[test]
fn a_step_of_5_percent_raises_an_alert_within_5_points_after_it() {
    let step = 1.05_f64.ln();
    let mut seen = 0;
    for seed in 0..200 {
        let values = series(1_000 + seed, 100, 0.01, 60, step);
        seen += usize::from((61..=65).any(|length| {
            let until = &values[..length];
            drift(&sides(until)).is_some()
                || change_points(until, &Search::DEFAULT)
                    .iter()
                    .any(|point| point.index.abs_diff(60) <= 5)
        }));
    }
    // With noise of 1 %: 200 of 200.
    assert!(seen >= 196, "{seen} of 200");
}

/// What METHODOLOGY.md states: of 1,000 series of 100 noisy points without a step.
#[test]
fn noise_alone_raises_alerts_at_the_stated_rate() {
    const RUNS: u64 = 1_000;
    for (noise, change_rate) in [(0.015, 20), (0.05, 60)] {
        let (mut changes, mut drifts, mut outside) = (0, 0, 0_usize);
        for seed in 0..RUNS {
            let values = series(50_000 + seed, 100, noise, 0, 0.0);
            changes += usize::from(!change_points(&values, &Search::DEFAULT).is_empty());
            let sides = sides(&values);
            drifts += usize::from(drift(&sides).is_some());
            outside += sides.iter().flatten().filter(|side| **side != 0).count();
        }
        assert!(changes <= change_rate, "{changes} change points with noise of {noise}");
        assert!(drifts <= 1, "{drifts} drifts with noise of {noise}");
        // The band promises one in a hundred.
        assert!(outside <= 2_000, "{outside} of 90,000 points outside");
    }
}

#[test]
fn a_few_odd_points_neither_widen_the_band_nor_make_a_change() {
    let mut values = series(7, 60, 0.01, 0, 0.0);
    let clean = Band::of(&values).unwrap();
    for index in [20, 33, 47] {
        values[index] += 0.5;
    }
    let odd = Band::of(&values).unwrap();
    assert!((odd.high - odd.low) < 1.3 * (clean.high - clean.low));
    assert_eq!(drift(&sides(&values)), None);
}
