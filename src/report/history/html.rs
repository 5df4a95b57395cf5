//! A history as one HTML page: no script, no network, light and dark.
//!
//! Main function: [`page`].

use std::fmt::Write as _;

use super::{View, remarks, short_hash, title};
use crate::history::assess::Course;
use crate::history::series::Series;
use crate::report::escape::html as escaped;
use crate::report::html::{BASE_STYLE, document};
use crate::report::number::short;

const STYLE: &str = "\
svg text{font-size:11px;fill:var(--faint)}\
.rule{stroke:var(--rule)}.band{fill:var(--band)}.course{fill:none;stroke:var(--line);stroke-width:1.5}.point{fill:var(--line)}\
.odd{fill:var(--bad)}.epoch{stroke:var(--faint);stroke-dasharray:3 3}.moved{stroke:var(--bad);stroke-width:1.5}.moved.better{stroke:var(--good)}";

/// The page. `written` is when, RFC 3339.
#[must_use]
pub fn page(views: &[View], written: &str) -> String {
    let mut page = format!(
        "<h1>bench-ci history</h1>\n<p class=\"faint\">Written {}. Advisory: machines differ from day to \
         day more than a change under test; <code>bench-ci ab</code> decides. Shaded: where the next point \
         is expected. Dashed: a change that was accepted. Full line: the level changed.</p>\n",
        escaped(written)
    );
    if views.is_empty() {
        page.push_str("<p>There is no point yet.</p>\n");
    }
    for view in views {
        // Writing to a string cannot fail.
        let _infallible = writeln!(page, "<section><h2>{}</h2>", escaped(&title(&view.series)));
        for (_, said) in &view.series.epochs {
            let _infallible = writeln!(
                page,
                "<p class=\"faint\">{} accepted by {}: {}</p>",
                escaped(said.at.get(..10).unwrap_or_default()),
                escaped(&said.author),
                escaped(&said.reason)
            );
        }
        for course in &view.courses {
            let newest = course.values.last().map_or(0.0, |(_, value)| *value);
            let _infallible = writeln!(
                page,
                "<h3>{} <span class=\"faint\">{} {}</span></h3>",
                escaped(&course.metric),
                short(newest),
                escaped(&course.unit)
            );
            page.push_str(&chart(&view.series, course));
            let worse = course.alerts.iter().any(|alert| alert.worse());
            let class = match (course.alerts.is_empty(), worse) {
                (true, _) => "faint",
                (false, true) => "worse",
                (false, false) => "better",
            };
            for words in remarks(&view.series, course) {
                let _infallible = writeln!(page, "<p class=\"{class}\">{}</p>", escaped(&words));
            }
        }
        page.push_str("</section>\n");
    }
    document("history", &format!("{BASE_STYLE}{STYLE}"), None, &page)
}

/// Points in a chart at most; the page stays small and every point stays visible.
const MOST_POINTS: usize = 400;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

fn chart(series: &Series, course: &Course) -> String {
    let skipped = course.values.len().saturating_sub(MOST_POINTS);
    let shown = &course.values[skipped..];
    let band = course.band.map(|band| [band.low.exp(), band.high.exp()]);
    let all = || shown.iter().map(|(_, value)| *value).chain(band.into_iter().flatten());
    let (low, high) =
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    // A tenth of room on both sides, and of a flat line a hundredth of the value.
    let room = (0.1 * (high - low)).max(0.01 * high.abs());
    let (low, high) = (low - room, high + room);
    let step = (WIDTH - LEFT - RIGHT) / shown.len().max(2) as f64;
    let x = |place: usize| LEFT + step * (place as f64 + 0.5);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over {} points\">",
        escaped(&course.metric),
        course.values.len()
    );
    if let Some([from, to]) = band {
        let _infallible = write!(
            svg,
            "<rect class=\"band\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            y(to),
            WIDTH - LEFT - RIGHT,
            (y(from) - y(to)).max(1.0)
        );
    }
    for value in [low + room, high - room] {
        let at = y(value);
        let _infallible = write!(
            svg,
            "<line class=\"rule\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    let upright = |svg: &mut String, class: &str, place: f64| {
        let _infallible = write!(
            svg,
            "<line class=\"{class}\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
    };
    for (begin, _) in &series.epochs {
        let place = shown.partition_point(|(index, _)| index < begin);
        upright(&mut svg, "epoch", x(place) - step / 2.0);
    }
    for moved in course.change_points.iter().filter(|moved| moved.index >= skipped) {
        let worse = course.alerts.iter().any(|alert| match alert {
            crate::history::assess::Alert::Change { point, worse, .. } => {
                *worse && *point == course.values[moved.index].0
            }
            crate::history::assess::Alert::Drift { .. } => false,
        });
        let class = if worse { "moved" } else { "moved better" };
        upright(&mut svg, class, x(moved.index - skipped) - step / 2.0);
    }
    let line: Vec<String> = shown
        .iter()
        .enumerate()
        .map(|(place, (_, value))| format!("{:.1},{:.1}", x(place), y(*value)))
        .collect();
    let _infallible = write!(svg, "<polyline class=\"course\" points=\"{}\"/>", line.join(" "));
    for (place, (index, value)) in shown.iter().enumerate() {
        let odd =
            course.sides.get(skipped + place).copied().flatten().is_some_and(|side| side != 0);
        let Some(point) = series.points.get(*index) else { continue };
        let _infallible = write!(
            svg,
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\"><title>{} {}\n{} {}</title></circle>",
            if odd { "odd" } else { "point" },
            x(place),
            y(*value),
            if odd { 4 } else { 2 },
            escaped(&point.at),
            escaped(point.commit.as_deref().map_or("no commit", short_hash)),
            value,
            escaped(&course.unit)
        );
    }
    let day = |place: Option<&(usize, f64)>| {
        let point = place.and_then(|(index, _)| series.points.get(*index));
        point.and_then(|point| point.at.get(..10)).unwrap_or_default().to_owned()
    };
    let _infallible = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{HEIGHT}\">{}</text><text x=\"{:.1}\" y=\"{HEIGHT}\" text-anchor=\"end\">{}</text></svg>",
        escaped(&day(shown.first())),
        WIDTH - RIGHT,
        escaped(&day(shown.last()))
    );
    svg
}
