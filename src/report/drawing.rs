//! The load over time, drawn: what was planned, and what came of it.
//!
//! Main functions: [`sparklines`], for any page of text, and [`chart`], for pages that draw Mermaid.
//! Both are made of the report's `timeline` alone.

use super::number::short;
use crate::artifact::Timeline;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A row of a drawing.
struct Row<'a> {
    name: &'static str,
    values: &'a [f64],
    /// The value of a full block.
    full: f64,
    unit: &'static str,
}

/// Whether there is anything to see: a constant number of users is a straight line.
pub(super) fn is_worth_it(line: &Timeline) -> bool {
    planned(line).len() > 1 && (line.varies || !counts_users(line))
}

fn counts_users(line: &Timeline) -> bool {
    line.unit.as_deref() == Some("users")
}

/// Empty for a load without a single course, which is not drawn.
fn planned(line: &Timeline) -> &[f64] {
    line.planned.as_deref().unwrap_or_default()
}

fn achieved(line: &Timeline) -> &[f64] {
    line.achieved.as_deref().unwrap_or_default()
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

fn rows(line: &Timeline) -> [Row<'_>; 3] {
    let (name, unit) = if counts_users(line) { ("users", "users") } else { ("sent", "requests/s") };
    // The plan and what came of it are compared, so they have one scale.
    let full = most(planned(line)).max(most(achieved(line)));
    let in_flight = most(&line.in_flight);
    [
        Row { name: "planned", values: planned(line), full, unit },
        Row { name, values: achieved(line), full, unit },
        Row {
            name: "in flight",
            values: &line.in_flight,
            full: if counts_users(line) { full } else { in_flight },
            unit: "requests",
        },
    ]
}

/// One line of block characters for the plan, what came of it, and the requests in flight, each at
/// most `width` characters with its label.
pub(super) fn sparklines(line: &Timeline, width: usize) -> Vec<String> {
    const LABEL: usize = 10;
    const WORDS: usize = 22; // "  up to 1,234 requests/s"
    let columns = width.saturating_sub(LABEL + WORDS).max(8);
    rows(line)
        .iter()
        .map(|row| {
            let blocks = sparkline(row.values, row.full, columns);
            format!("{:<LABEL$}{blocks}  up to {} {}", row.name, short(most(row.values)), row.unit)
        })
        .collect()
}

fn sparkline(values: &[f64], full: f64, columns: usize) -> String {
    let columns = columns.min(values.len());
    (0..columns)
        .map(|column| {
            let (from, to) =
                (column * values.len() / columns, (column + 1) * values.len() / columns);
            let part = &values[from..to];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let height = if full > 0.0 { mean / full * 7.0 } else { 0.0 };
            // `as` saturates, also for what is no number.
            BLOCKS[(height.round() as usize).min(7)]
        })
        .collect()
}

/// A Mermaid `xychart-beta` of the plan and what came of it.
pub(super) fn chart(line: &Timeline) -> String {
    let (title, axis) = if counts_users(line) {
        ("users: planned, at work, requests in flight", "users")
    } else {
        ("requests per second: planned, sent", "requests/s")
    };
    let end_s = line.step_s * planned(line).len() as f64;
    let top = most(planned(line)).max(most(achieved(line)));
    let mut text = format!(
        "xychart-beta\n    title \"{title}\"\n    x-axis \"seconds\" 0 --> {end_s}\n    \
         y-axis \"{axis}\" 0 --> {}\n",
        plain(top.max(1.0))
    );
    let in_flight = counts_users(line).then_some(&line.in_flight[..]);
    for values in [Some(planned(line)), Some(achieved(line)), in_flight].into_iter().flatten() {
        let points: Vec<String> = values.iter().map(|value| plain(*value)).collect();
        text.push_str(&format!("    line [{}]\n", points.join(", ")));
    }
    text
}

/// Two decimals at the most.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(unit: &str) -> Timeline {
        Timeline {
            step_s: 1.0,
            unit: Some(unit.to_owned()),
            varies: true,
            planned: Some(vec![1.0, 2.0, 3.0, 4.0, 0.0]),
            achieved: Some(vec![1.0, 2.0, 2.5, 4.0, 0.0]),
            in_flight: vec![0.5, 1.0, 2.0, 3.0, 1.0],
            started: vec![1; 5],
            completed: vec![1; 5],
            failed: vec![0; 5],
            output_tokens: Some(vec![1.0; 5]),
            ..Timeline::default()
        }
    }

    #[test]
    fn the_plan_and_what_came_of_it_share_a_scale() {
        assert_eq!(
            sparklines(&ramp("users"), 80),
            [
                "planned   ▃▅▆█▁  up to 4.00 users",
                "users     ▃▅▅█▁  up to 4.00 users",
                "in flight ▂▃▅▆▃  up to 3.00 requests",
            ]
        );
    }

    #[test]
    fn a_long_line_is_averaged_to_its_width() {
        let planned: Vec<f64> = (0..120).map(f64::from).collect();
        let drawn = sparkline(&planned, 119.0, 8);
        assert_eq!(drawn, "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[0.0, 0.0], 0.0, 8), "▁▁");
    }

    #[test]
    fn a_chart_has_a_point_for_each_step() {
        assert_eq!(
            chart(&ramp("requests_per_second")),
            "xychart-beta\n    title \"requests per second: planned, sent\"\n    \
             x-axis \"seconds\" 0 --> 5\n    y-axis \"requests/s\" 0 --> 4\n    \
             line [1, 2, 3, 4, 0]\n    line [1, 2, 2.5, 4, 0]\n"
        );
        assert_eq!(chart(&ramp("users")).matches("line [").count(), 3);
    }

    #[test]
    fn a_constant_number_of_users_is_not_drawn() {
        let line = Timeline { varies: false, ..ramp("users") };
        assert!(!is_worth_it(&line));
        assert!(is_worth_it(&Timeline { varies: false, ..ramp("requests_per_second") }));
    }
}
