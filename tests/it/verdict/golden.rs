//! The same numbers as SciPy, NumPy and statsmodels: `ci/verdict-golden.py` computes them.

use bench_ci::verdict::crossover::Crossover;
use bench_ci::verdict::design::Order;
use bench_ci::verdict::multiple::{benjamini_hochberg, holm};
use bench_ci::verdict::signed_rank::{SignedRank, null_distribution};
use bench_ci::verdict::student_t;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../fixtures/verdict/golden.json")).unwrap()
}

/// The entries of one list, never none.
fn list(of: &Value, name: &str) -> Vec<Value> {
    let list = of[name].as_array().unwrap().clone();
    assert!(!list.is_empty(), "{name}");
    list
}

fn numbers(of: &Value, name: &str) -> Vec<f64> {
    list(of, name).iter().map(|number| number.as_f64().unwrap()).collect()
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("{name} of {of}"))
}

#[track_caller]
fn close(found: f64, expected: f64, of: &Value) {
    let tolerance = 1e-11 * expected.abs().max(1e-3);
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} of {of}");
}

#[test]
fn counts_are_the_coefficients_of_the_generating_function() {
    for case in list(&golden(), "counts") {
        let pairs = case["pairs"].as_u64().unwrap() as i32;
        let found: Vec<f64> =
            null_distribution(pairs as usize).iter().map(|p| p * 2_f64.powi(pairs)).collect();
        assert_eq!(found, numbers(&case, "ways"), "n = {pairs}");
    }
}

#[test]
fn estimate_and_p_agree_with_numpy_and_scipy_with_ties_and_zeros_too() {
    for case in list(&golden(), "cases") {
        let found = SignedRank::of(&numbers(&case, "differences")).unwrap();
        close(found.p, number(&case, "p"), &case);
        close(found.estimate, number(&case, "hodges_lehmann"), &case);
    }
}

#[test]
fn intervals_end_where_scipys_test_turns() {
    let golden = golden();
    let with_interval: Vec<Value> =
        list(&golden, "cases").into_iter().filter(|case| case.get("low").is_some()).collect();
    assert!(with_interval.len() > 10);
    for case in with_interval {
        let found = SignedRank::of(&numbers(&case, "differences")).unwrap().interval;
        close(found.low, number(&case, "low"), &case);
        close(found.high, number(&case, "high"), &case);
        close(found.level, number(&case, "level"), &case);
    }
}

#[test]
fn the_crossover_is_scipys_pooled_t_test_of_ab_against_mirrored_ba() {
    for case in list(&golden(), "crossovers") {
        let of_order = |order, name| numbers(&case, name).into_iter().map(move |d| (order, d));
        let pairs: Vec<(Order, f64)> =
            of_order(Order::BaseFirst, "ab").chain(of_order(Order::HeadFirst, "ba")).collect();
        let found = Crossover::of(&pairs).unwrap();
        close(found.estimate, number(&case, "estimate"), &case);
        close(found.position_effect, number(&case, "position_effect"), &case);
        close(found.estimate / found.standard_error, number(&case, "t"), &case);
        close(found.p, number(&case, "p"), &case);
    }
}

#[test]
fn students_t_is_scipys() {
    let golden = golden();
    for case in list(&golden, "t_quantiles") {
        let degrees = case["degrees"].as_u64().unwrap() as usize;
        close(student_t::quantile(number(&case, "below"), degrees), number(&case, "t"), &case);
    }
    for case in list(&golden, "t_tails") {
        let degrees = case["degrees"].as_u64().unwrap() as usize;
        close(student_t::two_sided_p(number(&case, "t"), degrees), number(&case, "p"), &case);
    }
}

#[test]
fn adjusted_p_values_are_those_of_statsmodels_and_scipy() {
    for case in list(&golden(), "families") {
        let p = numbers(&case, "p");
        for (found, expected) in holm(&p).into_iter().zip(numbers(&case, "holm")) {
            close(found, expected, &case);
        }
        for (found, expected) in benjamini_hochberg(&p).into_iter().zip(numbers(&case, "q")) {
            close(found, expected, &case);
        }
    }
}
