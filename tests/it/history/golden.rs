//! The same numbers as SciPy, NumPy and Apache Otava: `ci/history-golden.py` computes them.

use bench_ci::history::band::Band;
use bench_ci::history::change::{Search, change_points};
use bench_ci::history::welch;
use serde_json::Value;

fn list(name: &str) -> Vec<Value> {
    let golden: Value =
        serde_json::from_str(include_str!("../../fixtures/history/golden.json")).unwrap();
    let list = golden[name].as_array().unwrap().clone();
    assert!(!list.is_empty(), "{name}");
    list
}

fn numbers(of: &Value, name: &str) -> Vec<f64> {
    of[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn welchs_p_is_scipys() {
    for case in list("welch") {
        let found = welch::p_value(&numbers(&case, "one"), &numbers(&case, "other"));
        let expected = case["p"].as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-11 * expected.max(1e-3), "{found} {expected}");
    }
}

#[test]
fn bands_are_numpys_and_scipys() {
    for case in list("bands") {
        let band = Band::of(&numbers(&case, "values")).unwrap();
        for (found, expected) in [(band.low, &case["low"]), (band.high, &case["high"])] {
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() <= 1e-11 * expected.abs(), "{found} {expected}");
        }
    }
}

#[test]
fn the_best_split_is_where_the_energy_statistic_is_largest() {
    for case in list("splits") {
        // A level that every split passes leaves the place alone to be judged; the first split is it.
        let values = numbers(&case, "values");
        let all = Search { window: values.len(), p: 0.099, magnitude: 0.0, least: 5 };
        let at = case["at"].as_u64().unwrap() as usize;
        let found: Vec<usize> =
            change_points(&values, &all).iter().map(|point| point.index).collect();
        assert!(found.contains(&at), "{found:?} lacks {at}");
    }
}

#[test]
fn clear_change_points_are_those_of_otava() {
    for case in list("change_points") {
        let values = numbers(&case, "values");
        let search = Search { window: 2 * values.len(), ..Search::DEFAULT };
        let found: Vec<f64> =
            change_points(&values, &search).iter().map(|point| point.index as f64).collect();
        assert_eq!(found, numbers(&case, "at"));
        // Windows of 50 that overlap find the same.
        let found: Vec<f64> = change_points(&values, &Search::DEFAULT)
            .iter()
            .map(|point| point.index as f64)
            .collect();
        assert_eq!(found, numbers(&case, "at"), "in windows");
    }
}
