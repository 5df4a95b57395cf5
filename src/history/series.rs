//! The points of one series in their order, and its epochs.
//!
//! Main type: [`Series`]. Order is that of the first parents of a branch where the commits are known,
//! for commits are measured in any order and measured again; a point whose commit is not among them
//! takes its place by time.

use std::collections::BTreeMap;

use super::point::{About, Annotation, Point, instant_ms};

/// One series, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its key.
    pub key: String,
    /// What its points have in common; `None` where the branch does not say, or says it wrongly.
    pub about: Option<About>,
    /// The points, oldest first.
    pub points: Vec<Point>,
    /// Where new epochs begin, ascending: index of the first point and what was said.
    pub epochs: Vec<(usize, Annotation)>,
}

/// Place of a commit along the first parents, oldest 0.
pub type Places = BTreeMap<String, usize>;

impl Series {
    /// Puts points in order and finds the epochs. A point that is there twice counts once.
    #[must_use]
    pub fn new(
        key: String,
        about: Option<About>,
        points: Vec<Point>,
        annotations: &[Annotation],
        places: &Places,
    ) -> Self {
        let points = in_order(points, places);
        let mut epochs: Vec<(usize, Annotation)> = annotations
            .iter()
            .filter(|annotation| annotation.series.as_ref().is_none_or(|series| *series == key))
            .map(|annotation| (begin(&points, annotation, places), annotation.clone()))
            .collect();
        epochs.sort_by_key(|(begin, _)| *begin);
        Self { key, about, points, epochs }
    }

    /// Index of the first point of the current epoch; the number of points where none is in it yet.
    #[must_use]
    pub fn current_epoch(&self) -> usize {
        self.epochs.last().map_or(0, |(begin, _)| *begin)
    }

    /// Names of all metrics, sorted.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.points.iter().flat_map(|point| point.metrics.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The newest point by time.
    #[must_use]
    pub fn newest(&self) -> Option<&Point> {
        self.points.iter().max_by_key(|point| instant_ms(&point.at))
    }
}

fn in_order(mut points: Vec<Point>, places: &Places) -> Vec<Point> {
    points.sort_by(|one, other| {
        (instant_ms(&one.at), &one.id).cmp(&(instant_ms(&other.at), &other.id))
    });
    let mut seen = std::collections::BTreeSet::new();
    points.retain(|point| seen.insert(point.id.clone()));
    let place =
        |point: &Point| point.commit.as_ref().and_then(|commit| places.get(commit)).copied();
    let (mut placed, others): (Vec<Point>, Vec<Point>) =
        points.into_iter().partition(|point| place(point).is_some());
    // Stable: measured again, a commit's points stay in the order of time.
    placed.sort_by_key(|point| place(point));
    let mut ordered: Vec<Point> = Vec::with_capacity(placed.len() + others.len());
    let mut others = others.into_iter().peekable();
    for point in placed {
        let at = instant_ms(&point.at);
        while let Some(other) = others.next_if(|other| instant_ms(&other.at) < at) {
            ordered.push(other);
        }
        ordered.push(point);
    }
    ordered.extend(others);
    ordered
}

/// The first point of the epoch that an annotation begins.
fn begin(points: &[Point], annotation: &Annotation, places: &Places) -> usize {
    let by_commit = annotation.commit.as_ref().and_then(|commit| {
        let exactly = points.iter().position(|point| point.commit.as_ref() == Some(commit));
        // The commit itself may never have been measured; then the first one after it.
        exactly.or_else(|| {
            let wanted = *places.get(commit)?;
            let later = |point: &Point| {
                point
                    .commit
                    .as_ref()
                    .and_then(|commit| places.get(commit))
                    .is_some_and(|at| *at >= wanted)
            };
            Some(points.iter().position(later).unwrap_or(points.len()))
        })
    });
    by_commit.unwrap_or_else(|| {
        let at = instant_ms(&annotation.at);
        points.iter().rposition(|point| instant_ms(&point.at) <= at).map_or(0, |last| last + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(id: &str, at: &str, commit: Option<&str>) -> Point {
        Point {
            id: id.to_owned(),
            at: format!("2026-11-{at}T00:00:00.000Z"),
            commit: commit.map(str::to_owned),
            branch: None,
            name: String::new(),
            tool: "0.1.0".to_owned(),
            trials: 1,
            metrics: BTreeMap::new(),
            aa: None,
        }
    }

    fn note(at: &str, commit: Option<&str>, series: Option<&str>) -> Annotation {
        Annotation {
            at: format!("2026-11-{at}T12:00:00.000Z"),
            commit: commit.map(str::to_owned),
            series: series.map(str::to_owned),
            author: "a".to_owned(),
            reason: "b".to_owned(),
        }
    }

    fn ids(series: &Series) -> String {
        series.points.iter().map(|point| point.id.as_str()).collect()
    }

    #[test]
    fn commits_stand_in_the_order_of_first_parents_whenever_they_were_measured() {
        let places: Places =
            [("c1", 0), ("c2", 1), ("c3", 2)].map(|(c, p)| (c.to_owned(), p)).into();
        let points = vec![
            point("x", "05", None),
            point("c", "03", Some("c3")),
            point("a", "04", Some("c1")),
            point("b", "06", Some("c2")),
            point("a", "04", Some("c1")),
        ];
        let series = Series::new("k".to_owned(), None, points, &[], &places);
        assert_eq!(ids(&series), "axbc", "a was measured last of the first two, and counts once");
    }

    #[test]
    fn an_epoch_begins_after_its_date_or_with_its_commit() {
        let places: Places =
            [("c1", 0), ("c2", 1), ("c3", 2)].map(|(c, p)| (c.to_owned(), p)).into();
        let points = || {
            vec![point("a", "01", Some("c1")), point("b", "02", None), point("c", "03", Some("c3"))]
        };
        let current = |annotations: &[Annotation]| {
            Series::new("k".to_owned(), None, points(), annotations, &places).current_epoch()
        };
        assert_eq!(current(&[]), 0);
        assert_eq!(current(&[note("01", None, None)]), 1);
        assert_eq!(current(&[note("09", None, None)]), 3, "none in it yet");
        assert_eq!(current(&[note("09", Some("c1"), None)]), 0);
        assert_eq!(
            current(&[note("09", Some("c2"), None)]),
            2,
            "never measured: the first after it"
        );
        assert_eq!(current(&[note("01", None, Some("other"))]), 0);
    }
}
