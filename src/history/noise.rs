//! What a runner makes of two sides that are the same: the sessions with `--aa` in a history.
//!
//! Main functions: [`by_runner`], of any points; [`earlier_aa`], of those that asked what a comparison asks.

use std::collections::BTreeMap;

use super::point::{AaOutcome, About, Point, instant_ms, runner};
use super::series::Series;
use crate::artifact::{AbReport, EarlierAa, Unknowns};

/// Older sessions say little about a runner: its image and its neighbours change.
const LAST: usize = 30;

/// The last sessions of each runner, by its name.
#[must_use]
pub fn by_runner<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<EarlierAa> {
    let mut runners: BTreeMap<&str, Vec<(Option<i64>, &AaOutcome)>> = BTreeMap::new();
    for point in points {
        if let Some(outcome) = &point.aa {
            runners.entry(&outcome.runner).or_default().push((instant_ms(&point.at), outcome));
        }
    }
    runners
        .into_iter()
        .map(|(runner, mut outcomes)| {
            outcomes.sort_by_key(|(at, _)| *at);
            let last = &outcomes[outcomes.len().saturating_sub(LAST)..];
            let resolutions: Vec<f64> =
                last.iter().filter_map(|(_, outcome)| outcome.resolution_pct).collect();
            let mut unknown = Unknowns::none();
            EarlierAa {
                runner: runner.to_owned(),
                sessions: last.len() as u64,
                alarms: last.iter().filter(|(_, outcome)| outcome.alarm).count() as u64,
                median_resolution_pct: unknown.option(
                    "median_resolution_pct",
                    super::median(&resolutions),
                    "none of them had an interval",
                ),
                unknown,
            }
        })
        .collect()
}

/// Those of a comparison's runner that asked what it asks; `None` where there was none.
#[must_use]
pub fn earlier_aa(series: &[Series], report: &AbReport) -> Option<EarlierAa> {
    let about = About::of_ab(report);
    let same = series
        .iter()
        .filter(|series| series.about.as_ref().is_some_and(|other| other.asks_the_same(&about)));
    let runners = by_runner(same.flat_map(|series| &series.points));
    runners.into_iter().find(|of| of.runner == runner(report))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(day: u32, aa: Option<(&str, bool, Option<f64>)>) -> Point {
        Point {
            id: day.to_string(),
            at: format!("2026-{:02}-{:02}T00:00:00.000Z", 1 + day / 28, 1 + day % 28),
            commit: None,
            branch: None,
            name: String::new(),
            tool: "0.1.0".to_owned(),
            trials: 16,
            metrics: BTreeMap::new(),
            aa: aa.map(|(runner, alarm, resolution_pct)| AaOutcome {
                runner: runner.to_owned(),
                alarm,
                resolution_pct,
            }),
        }
    }

    #[test]
    fn the_last_thirty_of_each_runner_count() {
        let of_a = (0..40).map(|day| point(day, Some(("a", day < 11, Some(f64::from(day))))));
        let of_b = [point(3, Some(("b", true, None))), point(4, None)];
        let mut points: Vec<Point> = of_a.chain(of_b).collect();
        points.reverse();
        let found = by_runner(points.iter());
        assert_eq!(found.len(), 2);
        let [a, b] = [&found[0], &found[1]];
        // Days 10 to 39, of which the first was an alarm.
        assert_eq!((a.runner.as_str(), a.sessions, a.alarms), ("a", 30, 1));
        assert_eq!(a.median_resolution_pct, Some(24.5));
        assert_eq!((b.runner.as_str(), b.sessions, b.alarms), ("b", 1, 1));
        assert_eq!(b.median_resolution_pct, None);
        assert!(!b.unknown.is_empty());
    }
}
