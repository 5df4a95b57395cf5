//! How the values of one metric are spread: a histogram and a percentile curve, from all of them.
//!
//! Main type: [`Spread`].

use serde_json::{Value, json};

use super::columns::rounded;
use crate::stats::quantile::interpolated;

/// Bars of a histogram: as many as can be told apart on a page.
const BARS: usize = 60;

/// Values further apart than this factor are spread over a logarithmic axis.
const WIDE: f64 = 25.0;

/// The values of a metric, gathered.
#[derive(Debug, Default, Clone)]
pub(super) struct Spread {
    /// Single precision: twice as many digits as are shown, in half the memory.
    values: Vec<f32>,
}

impl Spread {
    pub(super) fn add(&mut self, value: Option<f64>) {
        self.values.extend(value.map(|value| value as f32).filter(|value| value.is_finite()));
    }

    /// `null` of nothing. `edges` has one entry more than `counts`; `curve` is `[percentile, value]`.
    pub(super) fn to_value(&self) -> Value {
        let mut sorted: Vec<f64> = self.values.iter().copied().map(f64::from).collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(low), Some(high)) = (sorted.first().copied(), sorted.last().copied()) else {
            return Value::Null;
        };
        let log = low > 0.0 && high / low > WIDE;
        let edges = edges(low, high, log);
        let mut counts = vec![0_u64; edges.len() - 1];
        for value in &sorted {
            // The last bar takes its upper edge too.
            let bar = edges[1..edges.len() - 1].partition_point(|edge| edge <= value);
            counts[bar] += 1;
        }
        json!({
            "count": sorted.len(),
            "log": log,
            "edges": edges.iter().map(|edge| rounded(*edge, 5)).collect::<Vec<_>>(),
            "counts": counts,
            "curve": curve(&sorted),
        })
    }
}

fn edges(low: f64, high: f64, log: bool) -> Vec<f64> {
    if low >= high {
        // One value: a bar around it.
        let room = (low.abs() * 0.01).max(1e-9);
        return vec![low - room, high + room];
    }
    let at = |place: usize| {
        let share = place as f64 / BARS as f64;
        if log { low * (high / low).powf(share) } else { low + (high - low) * share }
    };
    (0..=BARS).map(at).collect()
}

/// Every per cent, and finer towards the end as far as there are values beyond.
fn curve(sorted: &[f64]) -> Vec<Value> {
    let whole = (0..99).map(f64::from);
    let fine = (0..9).map(|step| 99.0 + f64::from(step) / 10.0);
    let finest = (0..10).map(|step| 99.9 + f64::from(step) / 100.0);
    let count = sorted.len() as f64;
    whole
        .chain(fine)
        .chain(finest)
        .filter(|percent| count * (1.0 - percent / 100.0) >= 1.0)
        .chain([100.0])
        .map(|percent| {
            json!([rounded(percent, 5), rounded(interpolated(sorted, percent / 100.0), 5)])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: impl IntoIterator<Item = f64>) -> Value {
        let mut spread = Spread::default();
        values.into_iter().for_each(|value| spread.add(Some(value)));
        spread.to_value()
    }

    fn total(spread: &Value) -> u64 {
        spread["counts"].as_array().expect("bars").iter().filter_map(Value::as_u64).sum()
    }

    #[test]
    fn every_value_is_in_one_bar_whatever_the_axis() {
        for values in [vec![1.0, 2.0, 3.0], vec![1.0, 1_000.0], vec![0.0; 5], vec![-3.0, 7.0, 7.0]]
        {
            let count = values.len() as u64;
            let found = spread(values);
            assert_eq!(total(&found), count, "{found}");
            let edges = found["edges"].as_array().expect("edges").len();
            assert_eq!(edges, found["counts"].as_array().expect("bars").len() + 1);
        }
    }

    #[test]
    fn the_curve_rises_and_goes_no_finer_than_the_values() {
        let found = spread((1..=200).map(f64::from));
        let curve = found["curve"].as_array().expect("a curve");
        let value = |point: &Value| point[1].as_f64().expect("a value");
        assert!(curve.windows(2).all(|two| value(&two[0]) <= value(&two[1])));
        assert_eq!(
            curve.last().map(|point| (point[0].as_f64(), value(point))),
            Some((Some(100.0), 200.0))
        );
        let finest = curve[curve.len() - 2][0].as_f64().expect("a percentile");
        assert!(finest <= 99.5, "{finest}");
    }

    #[test]
    fn nothing_is_null() {
        let mut spread = Spread::default();
        spread.add(None);
        spread.add(Some(f64::NAN));
        assert_eq!(spread.to_value(), Value::Null);
    }
}
