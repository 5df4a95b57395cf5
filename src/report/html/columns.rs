//! The requests of a run, small enough for a page: columns of points, spreads of all values, and a
//! few requests in full.
//!
//! Main type: [`Requests`]. It is filled row by row in memory that does not grow with the points: of
//! a long run every second, fourth, … request is drawn, while spreads are of all of them and the
//! slowest and the failed ones are kept whole.

use std::collections::BTreeMap;

use serde_json::{Number, Value, json};

use super::spread::Spread;
use crate::artifact::RequestRow;
use crate::load::FailureKind;

/// Points at most; more of them lie on top of each other.
const MOST_POINTS: usize = 12_000;
/// Requests drawn in full.
const SLOWEST: usize = 40;
/// Failed ones told in full.
const FAILURES: usize = 60;
/// Characters of what was seen.
const DETAIL: usize = 300;

/// The metrics whose spread is shown.
type Read = fn(&RequestRow) -> Option<f64>;
const SPREADS: [(&str, Read); 7] = [
    ("ttft_ms", |row| row.ttft_ms),
    ("tpot_ms", |row| row.tpot_ms),
    ("e2e_ms", |row| row.e2e_ms),
    ("queue_ms", |row| row.queue_ms),
    ("prefill_ms", |row| row.prefill_ms),
    ("decode_tokens_per_second", |row| row.decode_tokens_per_second),
    ("prefill_tokens_per_second", |row| row.prefill_tokens_per_second),
];

/// A request as a point.
#[derive(Debug, Clone)]
struct Point {
    index: u64,
    at_ms: i64,
    ttft_ms: Option<f64>,
    tpot_ms: Option<f64>,
    e2e_ms: Option<f64>,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    outcome: char,
}

/// The measured requests of a run.
#[derive(Debug)]
pub struct Requests {
    count: u64,
    /// Every so many are drawn.
    every: u64,
    points: Vec<Point>,
    spreads: Vec<Spread>,
    slowest: Vec<(f64, Value)>,
    failures: Vec<Value>,
    by_kind: BTreeMap<FailureKind, u64>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            count: 0,
            every: 1,
            points: Vec::new(),
            spreads: vec![Spread::default(); SPREADS.len()],
            slowest: Vec::new(),
            failures: Vec::new(),
            by_kind: BTreeMap::new(),
        }
    }
}

impl Requests {
    /// Of all rows of a run in their order.
    pub fn of(rows: impl IntoIterator<Item = RequestRow>) -> Self {
        let mut requests = Self::default();
        for row in rows {
            requests.add(&row);
        }
        requests
    }

    /// The next row; only measured ones are taken.
    pub fn add(&mut self, row: &RequestRow) {
        if row.phase != "measured" {
            return;
        }
        for (spread, (_, value)) in self.spreads.iter_mut().zip(SPREADS) {
            spread.add(value(row));
        }
        if self.count.is_multiple_of(self.every) {
            self.points.push(point(row));
            if self.points.len() >= MOST_POINTS {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every *= 2;
            }
        }
        self.count += 1;
        if let Some(e2e_ms) = row.e2e_ms {
            self.offer(e2e_ms, row);
        }
        if let Some(kind) = row.failure {
            *self.by_kind.entry(kind).or_default() += 1;
            if self.failures.len() < FAILURES {
                self.failures.push(failure(row, kind));
            }
        }
    }

    /// Keeps it if it is among the slowest so far; they are sorted, slowest first.
    fn offer(&mut self, e2e_ms: f64, row: &RequestRow) {
        let place = self.slowest.partition_point(|(slower, _)| *slower >= e2e_ms);
        if place < SLOWEST {
            self.slowest.insert(place, (e2e_ms, in_full(row)));
            self.slowest.truncate(SLOWEST);
        }
    }

    /// Columns by name. `at_ms` and `index` are differences to the entry before.
    pub(super) fn to_value(&self) -> Value {
        let mut points = self.points.clone();
        points.sort_by_key(|point| (point.at_ms, point.index));
        let differences = |value: &dyn Fn(&Point) -> i64| -> Vec<i64> {
            let mut before = 0;
            let step = |point: &Point| {
                let value = value(point);
                value - std::mem::replace(&mut before, value)
            };
            points.iter().map(step).collect()
        };
        let numbers = |value: &dyn Fn(&Point) -> Option<f64>| -> Vec<Value> {
            points
                .iter()
                .map(|point| value(point).map_or(Value::Null, |value| rounded(value, 4)))
                .collect()
        };
        let spreads: serde_json::Map<String, Value> = SPREADS
            .iter()
            .zip(&self.spreads)
            .map(|((name, _), spread)| ((*name).to_owned(), spread.to_value()))
            .filter(|(_, spread)| !spread.is_null())
            .collect();
        json!({
            "count": self.count,
            "every": self.every,
            "points": {
                "index": differences(&|point| i64::try_from(point.index).unwrap_or(i64::MAX)),
                "at_ms": differences(&|point| point.at_ms),
                "ttft_ms": numbers(&|point| point.ttft_ms),
                "tpot_ms": numbers(&|point| point.tpot_ms),
                "e2e_ms": numbers(&|point| point.e2e_ms),
                "prompt_tokens": points.iter().map(|point| point.prompt_tokens).collect::<Vec<_>>(),
                "completion_tokens":
                    points.iter().map(|point| point.completion_tokens).collect::<Vec<_>>(),
                "outcome": points.iter().map(|point| point.outcome).collect::<String>(),
            },
            "spreads": spreads,
            "slowest": self.slowest.iter().map(|(_, row)| row).collect::<Vec<_>>(),
            "failures": self.failures,
            "failed": self.by_kind.values().sum::<u64>(),
        })
    }
}

fn point(row: &RequestRow) -> Point {
    let at_s = row.written_s.or(row.connect_started_s).unwrap_or(row.planned_s);
    Point {
        index: row.index,
        // `as` saturates.
        at_ms: (at_s * 1e3).round() as i64,
        ttft_ms: row.ttft_ms,
        tpot_ms: row.tpot_ms,
        e2e_ms: row.e2e_ms,
        prompt_tokens: row.prompt_tokens,
        completion_tokens: row.completion_tokens,
        outcome: match row.outcome.as_str() {
            "completed" => 'c',
            "failed" => 'f',
            "dropped" => 'd',
            "cancelled" => 'k',
            _ => 'x',
        },
    }
}

/// Stamps in milliseconds since it was planned.
fn in_full(row: &RequestRow) -> Value {
    let since = |stamp: Option<f64>| {
        stamp.map_or(Value::Null, |stamp| rounded((stamp - row.planned_s) * 1e3, 6))
    };
    json!({
        "index": row.index,
        "user": row.user_index,
        "planned_s": rounded(row.planned_s, 6),
        "written_ms": since(row.written_s),
        "headers_ms": since(row.headers_s),
        "first_ms": since(row.first_content_s),
        "last_ms": since(row.last_content_s),
        "end_ms": since(row.end_s),
        "e2e_ms": row.e2e_ms.map(|value| rounded(value, 6)),
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
        "finish_reason": row.finish_reason,
    })
}

fn failure(row: &RequestRow, kind: FailureKind) -> Value {
    let detail = row.failure_detail.as_deref().unwrap_or_default();
    json!({
        "index": row.index,
        "at_s": rounded(row.written_s.unwrap_or(row.planned_s), 6),
        "end_s": row.end_s.map(|value| rounded(value, 6)),
        "kind": kind,
        "status": row.status,
        "detail": detail.chars().take(DETAIL).collect::<String>(),
    })
}

/// With so many significant digits, and as few characters as they take.
pub(super) fn rounded(value: f64, digits: usize) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    let text = format!("{value:.*e}", digits.saturating_sub(1));
    let value: f64 = text.parse().unwrap_or(value);
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Stamp;
    use crate::stats::HeaderSplit;
    use crate::stats::fixture::{ORIGIN, completed, failed, later};

    fn rows(count: u64) -> impl Iterator<Item = RequestRow> {
        (0..count).map(|index| {
            let record = later(completed(index), index as f64 * 10.0);
            RequestRow::new(&record, &HeaderSplit::Marked, Stamp(ORIGIN))
        })
    }

    #[test]
    fn a_number_takes_no_more_characters_than_its_digits() {
        for (value, text) in [
            (12.345_678, "12.35"),
            (1234.5678, "1235"),
            (1_234_567.0, "1235000"),
            (0.001_234_56, "0.001235"),
            (0.0, "0"),
            (-7.0, "-7"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(rounded(value, 4).to_string(), text);
        }
    }

    #[test]
    fn a_long_run_is_thinned_and_its_spread_is_not() {
        let requests = Requests::of(rows(30_000)).to_value();
        assert_eq!((&requests["count"], &requests["every"]), (&json!(30_000), &json!(4)));
        let points = requests["points"]["at_ms"].as_array().expect("a column");
        assert_eq!(points.len(), 7_500);
        assert_eq!(requests["spreads"]["ttft_ms"]["count"], 30_000);
        assert_eq!(requests["points"]["outcome"].as_str().map(str::len), Some(7_500));
    }

    #[test]
    fn the_slowest_come_first_and_failures_are_told() {
        let mut records: Vec<_> = (0..100).map(completed).collect();
        records[7].end = records[7].end.map(|end| Stamp(end.0 + 5_000_000_000));
        records.push(failed(100, FailureKind::Reset));
        let rows = records
            .iter()
            .map(|record| RequestRow::new(record, &HeaderSplit::Marked, Stamp(ORIGIN)));
        let requests = Requests::of(rows).to_value();
        assert_eq!(requests["slowest"][0]["index"], 7);
        assert_eq!(requests["slowest"].as_array().map(Vec::len), Some(SLOWEST));
        assert_eq!(requests["failures"][0]["kind"], "reset");
        assert_eq!(requests["failed"], 1);
    }

    #[test]
    fn ten_thousand_requests_take_less_than_half_a_megabyte() {
        let text = Requests::of(rows(10_000)).to_value().to_string();
        assert!(text.len() < 500_000, "{}", text.len());
    }
}
