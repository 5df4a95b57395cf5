//! Change points: where the level of a series moved for good.
//!
//! Main function: [`change_points`]. E-divisive with hierarchical splits in sliding windows and a
//! merging pass, as Apache Otava has it (split at ten times the p, keep what holds at p and is large
//! enough), on logarithms, and tested by Welch's t with n − 1 in the variances in place of random
//! permutations: the same series always gives the same points.

use super::welch;

/// How points are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Points seen at once; windows overlap by half.
    pub window: usize,
    /// A point is kept below this p. The first pass accepts ten times as much.
    pub p: f64,
    /// Smallest change that is kept, as a difference of logarithms.
    pub magnitude: f64,
    /// Fewest points on each side.
    pub least: usize,
}

impl Search {
    /// Window 50, p 0.001, 2 %, 5 points on each side.
    pub const DEFAULT: Self =
        Self { window: 50, p: 0.001, magnitude: 0.019_802_627_296_179_713, least: 5 };
}

/// A change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub index: usize,
    /// Mean after minus mean before, up to the neighbouring change points.
    pub shift: f64,
    /// Of Welch's test between the two.
    pub p: f64,
}

/// The change points of a series of logarithms, ascending.
#[must_use]
pub fn change_points(values: &[f64], search: &Search) -> Vec<ChangePoint> {
    merge(values, split(values, search), search)
}

/// Candidates at ten times the level, ascending.
fn split(values: &[f64], search: &Search) -> Vec<usize> {
    let window = search.window.max(2 * search.least).max(4);
    let mut found: Vec<usize> = Vec::new();
    let mut start = 0;
    while start < values.len() {
        let end = (start + window).min(values.len());
        let inside = divide(&values[start..end], search);
        let last = inside.last().map_or(0, |index| index + start);
        found.extend(inside.into_iter().map(|index| index + start));
        start = last.max(start + window / 2);
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// All splits of one window, ascending: always the best one of all segments, as long as it is
/// significant.
fn divide(values: &[f64], search: &Search) -> Vec<usize> {
    let mut ends = vec![0, values.len()];
    loop {
        let best = ends
            .windows(2)
            .filter_map(|segment| {
                let (at, q) = best_split(&values[segment[0]..segment[1]], search.least)?;
                Some((segment[0] + at, q, (segment[0], segment[1])))
            })
            .max_by(|one, other| one.1.total_cmp(&other.1));
        let Some((at, _, (from, to))) = best else { break };
        if welch::p_value(&values[from..at], &values[at..to]) > 10.0 * search.p {
            break;
        }
        let place = ends.partition_point(|end| *end < at);
        ends.insert(place, at);
    }
    ends[1..ends.len() - 1].to_vec()
}

/// Where the energy distance Q̂ of the parts is largest, and how large. `None` where a part would have
/// fewer than `least` values.
fn best_split(values: &[f64], least: usize) -> Option<(usize, f64)> {
    let least = least.max(2);
    let count = values.len();
    if count < 2 * least {
        return None;
    }
    let distance = |one: usize, other: usize| (values[one] - values[other]).abs();
    // Sums of distances within the left part, within the right one, and between them, moved by one
    // value at a time.
    let mut within_left: f64 = 0.0;
    let (mut within_right, mut between): (f64, f64) = (0.0, 0.0);
    for one in 0..count {
        within_right += (one + 1..count).map(|other| distance(one, other)).sum::<f64>();
    }
    let mut best: Option<(usize, f64)> = None;
    for at in 1..=count - least {
        let moved = at - 1;
        let to_left: f64 = (0..moved).map(|other| distance(moved, other)).sum();
        let to_right: f64 = (at..count).map(|other| distance(moved, other)).sum();
        within_left += to_left;
        within_right -= to_right;
        between += to_right - to_left;
        if at < least {
            continue;
        }
        let (m, n) = (at as f64, (count - at) as f64);
        let pairs = |size: f64| size * (size - 1.0) / 2.0;
        let energy = 2.0 / (m * n) * between - within_left / pairs(m) - within_right / pairs(n);
        let q = m * n / (m + n) * energy;
        if best.is_none_or(|(_, most)| q > most) {
            best = Some((at, q));
        }
    }
    best
}

/// Drops the weakest until all that are left hold.
fn merge(values: &[f64], mut candidates: Vec<usize>, search: &Search) -> Vec<ChangePoint> {
    loop {
        let points: Vec<ChangePoint> = (0..candidates.len())
            .map(|place| {
                let from = place.checked_sub(1).map_or(0, |before| candidates[before]);
                let to = candidates.get(place + 1).copied().unwrap_or(values.len());
                let index = candidates[place];
                let (before, after) = (&values[from..index], &values[index..to]);
                ChangePoint {
                    index,
                    shift: mean(after) - mean(before),
                    p: welch::p_value(before, after),
                }
            })
            .collect();
        let by_p = points.iter().enumerate().max_by(|one, other| one.1.p.total_cmp(&other.1.p));
        let by_size = points
            .iter()
            .enumerate()
            .min_by(|one, other| one.1.shift.abs().total_cmp(&other.1.shift.abs()));
        let weakest = match (by_p, by_size) {
            (Some((place, point)), _) if point.p >= search.p => place,
            (_, Some((place, point))) if point.shift.abs() < search.magnitude => place,
            _ => return points,
        };
        candidates.remove(weakest);
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_step_is_found_where_it_is() {
        for at in 5..36 {
            let values: Vec<f64> = (0..40)
                .map(|index| f64::from(u8::from(index >= at)) * 0.05 + 0.001 * f64::from(index % 3))
                .collect();
            let found = change_points(&values, &Search::DEFAULT);
            assert_eq!(found.iter().map(|point| point.index as i32).collect::<Vec<_>>(), [at]);
            assert!((found[0].shift - 0.05).abs() < 0.002 && found[0].p < 0.001);
        }
    }

    #[test]
    fn nothing_and_no_change_have_no_change_point() {
        for length in [0, 1, 4, 9, 10, 200] {
            assert_eq!(change_points(&vec![1.0; length], &Search::DEFAULT), []);
        }
    }

    #[test]
    fn a_change_below_the_magnitude_is_none_however_sure() {
        let values: Vec<f64> = (0..80).map(|index| if index < 40 { 0.0 } else { 0.015 }).collect();
        assert_eq!(change_points(&values, &Search::DEFAULT), []);
        let all = Search { magnitude: 0.0, ..Search::DEFAULT };
        assert_eq!(change_points(&values, &all).len(), 1);
    }
}
