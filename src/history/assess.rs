//! What a history says today: what is unusual, what moved, and whether it is still kept.
//!
//! Main function: [`assess`]. Advisory: machines of a history differ more from day to day than a
//! change under test, and `bench-ci ab` decides.

use super::band::{Band, drift, sides};
use super::change::{ChangePoint, Search, change_points};
use super::point::{Point, instant_ms};
use super::series::Series;
use crate::stats::Better;
use crate::verdict::change_pct;

/// One metric of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Its name.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Which direction is good news.
    pub better: Better,
    /// Values in their order, and the index of the point of each.
    pub values: Vec<(usize, f64)>,
    /// For each value its side of the band, from the point's epoch on.
    pub sides: Vec<Option<i8>>,
    /// Where the next value is expected; `None` with fewer than ten in the current epoch.
    pub band: Option<Band>,
    /// Change points of the current epoch, as indices of `values`.
    pub change_points: Vec<ChangePoint>,
    /// What is to be said of it.
    pub alerts: Vec<Alert>,
    /// Whether the newest point lies outside its band; no alert by itself.
    pub unusual: bool,
}

/// Something that moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Alert {
    /// Three of the last four points outside the band on one side.
    Drift {
        /// Whether that is bad news.
        worse: bool,
    },
    /// The level changed.
    Change {
        /// Index of the first point of the new level, of the series.
        point: usize,
        /// As measured, per cent.
        change_pct: f64,
        /// Whether that is bad news.
        worse: bool,
    },
}

impl Alert {
    /// Whether it is bad news.
    #[must_use]
    pub const fn worse(&self) -> bool {
        match self {
            Alert::Drift { worse } | Alert::Change { worse, .. } => *worse,
        }
    }
}

/// All metrics of a series. Each is looked at from the current epoch on.
#[must_use]
pub fn assess(series: &Series) -> Vec<Course> {
    series.metrics().into_iter().filter_map(|metric| course(series, metric)).collect()
}

fn course(series: &Series, metric: &str) -> Option<Course> {
    let values: Vec<(usize, f64)> = series
        .points
        .iter()
        .enumerate()
        .filter_map(|(index, point)| Some((index, point.metrics.get(metric)?.value)))
        .collect();
    let reading = series.points.iter().rev().find_map(|point| point.metrics.get(metric))?;
    let begin = values.partition_point(|(index, _)| *index < series.current_epoch());
    let logs: Vec<f64> = values[begin..].iter().map(|(_, value)| value.ln()).collect();
    let mut all_sides = vec![None; begin];
    all_sides.extend(sides(&logs));
    let points: Vec<ChangePoint> = change_points(&logs, &Search::DEFAULT)
        .into_iter()
        .map(|point| ChangePoint { index: point.index + begin, ..point })
        .collect();
    let worse = |direction: f64| match reading.better {
        Better::Higher => direction < 0.0,
        Better::Lower | Better::None => direction > 0.0,
    };
    let mut alerts = Vec::new();
    if let Some(side) = drift(&all_sides) {
        alerts.push(Alert::Drift { worse: worse(f64::from(side)) });
    }
    alerts.extend(points.iter().map(|point| Alert::Change {
        point: values[point.index].0,
        change_pct: change_pct(Better::Lower, point.shift),
        worse: worse(point.shift),
    }));
    Some(Course {
        metric: metric.to_owned(),
        unit: reading.unit.clone(),
        better: reading.better,
        band: Band::of(&logs),
        unusual: all_sides.last().copied().flatten().is_some_and(|side| side != 0),
        sides: all_sides,
        values,
        change_points: points,
        alerts,
    })
}

/// How many days ago the newest point of all series was; `None` without any. A date in the future,
/// by a wrong clock, is 0 days.
#[must_use]
pub fn age_days(series: &[Series], now: &str) -> Option<f64> {
    const DAY_MS: f64 = 86_400_000.0;
    let newest = series.iter().filter_map(Series::newest).filter_map(at_ms).max()?;
    let now = instant_ms(now)?;
    Some(((now - newest) as f64 / DAY_MS).max(0.0))
}

fn at_ms(point: &Point) -> Option<i64> {
    instant_ms(&point.at)
}
