//! A history as text, page, CSV and JSON.
//!
//! Main functions: [`text`], [`check`], [`csv`], [`json()`] and [`html::page`]. Everything that is shown
//! comes from the branch, which others can write to: it is cleaned or escaped.

pub mod html;

use serde_json::{Value, json};

use super::ab_markdown::in_words;
use super::compare::wrap;
use super::escape::clean;
use super::number::short;
use crate::history::assess::{Alert, Course};
use crate::history::noise;
use crate::history::series::Series;

/// Name of the JSON of a history.
pub const SCHEMA: &str = "bench-ci.history/1";

/// A series and what is to be said of its metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The series.
    pub series: Series,
    /// Its metrics, those that were asked for.
    pub courses: Vec<Course>,
}

/// Every series with a line a metric: a sparkline, the newest value, what moved.
#[must_use]
pub fn text(views: &[View], width: usize) -> String {
    let width = width.clamp(60, 200);
    let mut page = String::new();
    for view in views {
        if !page.is_empty() {
            page.push('\n');
        }
        wrap(&mut page, &title(&view.series), 0, width);
        let name =
            view.courses.iter().map(|course| course.metric.chars().count()).max().unwrap_or(0);
        for course in &view.courses {
            let newest = course.values.last().map_or(0.0, |(_, value)| *value);
            let value = format!("{} {}", short(newest), course.unit);
            let room = width.saturating_sub(name + 22).clamp(8, 60);
            let blanks = " ".repeat(name - course.metric.chars().count());
            let line =
                format!("  {}{blanks}  {:<16}{}", course.metric, value, sparkline(course, room));
            page.push_str(clean(line.trim_end()).as_str());
            page.push('\n');
        }
        for earlier in noise::by_runner(view.series.points.iter()) {
            wrap(&mut page, &in_words(&earlier), 2, width);
        }
        for course in &view.courses {
            for words in remarks(&view.series, course) {
                wrap(&mut page, &words, 2, width);
            }
        }
    }
    page
}

/// Only what is to be said; ends with a line end unless empty.
#[must_use]
pub fn check(views: &[View], width: usize) -> String {
    let mut page = String::new();
    for view in views {
        let remarks: Vec<String> =
            view.courses.iter().flat_map(|course| remarks(&view.series, course)).collect();
        if !remarks.is_empty() {
            wrap(&mut page, &title(&view.series), 0, width.clamp(60, 200));
        }
        for words in remarks {
            wrap(&mut page, &words, 2, width.clamp(60, 200));
        }
    }
    page
}

/// `series 1a2b: chat, model.gguf, AMD EPYC × 4 (…), llama-server -np 4; 31 points`.
fn title(series: &Series) -> String {
    let points = series.points.len();
    let plural = if points == 1 { "" } else { "s" };
    let about = series.about.as_ref().map_or_else(
        || "nothing is known about it".to_owned(),
        |about| {
            let flags =
                if about.flags.is_empty() { String::new() } else { format!(" {}", about.flags) };
            format!(
                "{}, {}, {}{flags}, {}",
                about.scenario, about.model, about.server, about.machine
            )
        },
    );
    format!("series {}: {about}; {points} point{plural}", series.key)
}

/// What is to be said of one metric: alerts, else whether the newest is unusual.
fn remarks(series: &Series, course: &Course) -> Vec<String> {
    let mut words: Vec<String> =
        course.alerts.iter().map(|alert| alert_in_words(series, course, alert)).collect();
    if words.is_empty()
        && course.unusual
        && let (Some((_, value)), Some(_)) = (course.values.last(), course.band)
    {
        words.push(format!(
            "{}: the newest point, {} {}, is unusual; one is no alert",
            course.metric,
            short(*value),
            course.unit
        ));
    }
    words
}

fn alert_in_words(series: &Series, course: &Course, alert: &Alert) -> String {
    let word = if alert.worse() { "worse" } else { "better" };
    match alert {
        Alert::Drift { .. } => {
            format!(
                "{} {word}: 3 of the last 4 points lie outside the expected band",
                course.metric
            )
        }
        Alert::Change { point, change_pct, .. } => {
            let at = series.points.get(*point);
            let commit =
                at.and_then(|point| point.commit.as_deref()).unwrap_or("an unknown commit");
            let before = point
                .checked_sub(1)
                .and_then(|before| series.points.get(before))
                .and_then(|point| point.commit.as_deref());
            let sign = if *change_pct < 0.0 { '−' } else { '+' };
            let settle = before.map_or_else(String::new, |before| {
                format!(
                    "; to know: bench-ci ab --base-ref {} --head-ref {}",
                    short_hash(before),
                    short_hash(commit)
                )
            });
            format!(
                "{} {word}: its level changed by {sign}{:.1} % at {}{settle}",
                course.metric,
                change_pct.abs(),
                short_hash(commit)
            )
        }
    }
}

pub(super) fn short_hash(commit: &str) -> &str {
    if commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        commit.get(..10).unwrap_or(commit)
    } else {
        commit
    }
}

/// The last values as a row of blocks, lowest to highest.
fn sparkline(course: &Course, room: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = &course.values[course.values.len().saturating_sub(room)..];
    let low = last.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let high = last.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
    last.iter()
        .map(|(_, value)| {
            let share = if high > low { (value - low) / (high - low) } else { 0.5 };
            BLOCKS[((share * 7.0).round() as usize).min(7)]
        })
        .collect()
}

/// A row a point and metric, RFC 4180.
#[must_use]
pub fn csv(views: &[View]) -> String {
    let mut text = String::from(
        "series,scenario,machine_fingerprint,at,commit,branch,name,trials,metric,value,unit,better,epoch\n",
    );
    for View { series, courses } in views {
        let about = series.about.as_ref();
        for course in courses {
            for (index, value) in &course.values {
                let Some(point) = series.points.get(*index) else { continue };
                let epoch = series.epochs.iter().filter(|(begin, _)| begin <= index).count();
                let fields = [
                    series.key.clone(),
                    about.map_or_else(String::new, |about| about.scenario.clone()),
                    about.map_or_else(String::new, |about| about.machine_fingerprint.clone()),
                    point.at.clone(),
                    point.commit.clone().unwrap_or_default(),
                    point.branch.clone().unwrap_or_default(),
                    point.name.clone(),
                    point.trials.to_string(),
                    course.metric.clone(),
                    value.to_string(),
                    course.unit.clone(),
                    json!(course.better).as_str().unwrap_or_default().to_owned(),
                    epoch.to_string(),
                ];
                text.push_str(&fields.map(|field| quoted(&field)).join(","));
                text.push('\n');
            }
        }
    }
    text
}

/// A field that no spreadsheet takes for a formula.
fn quoted(field: &str) -> String {
    let field = clean(field);
    let formula = field.starts_with(['=', '+', '@'])
        || (field.starts_with('-') && field.parse::<f64>().is_err());
    let field = if formula { format!("'{field}") } else { field };
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

/// All of it: schema `bench-ci.history/1`.
#[must_use]
pub fn json(views: &[View]) -> String {
    let series: Vec<Value> = views
        .iter()
        .map(|View { series, courses }| {
            let metrics: Vec<&str> = courses.iter().map(|course| course.metric.as_str()).collect();
            let points: Vec<Value> = series
                .points
                .iter()
                .map(|point| {
                    let mut point = point.clone();
                    point.metrics.retain(|metric, _| metrics.contains(&metric.as_str()));
                    json!(point)
                })
                .collect();
            let epochs: Vec<Value> = series
                .epochs
                .iter()
                .map(|(begin, said)| json!({"first_point": begin, "annotation": said}))
                .collect();
            let alerts: Vec<Value> = courses
                .iter()
                .flat_map(|course| course.alerts.iter().map(move |alert| alert_json(course, alert)))
                .collect();
            json!({"key": series.key, "about": series.about, "points": points, "epochs": epochs, "alerts": alerts})
        })
        .collect();
    let document = json!({"schema": SCHEMA, "series": series});
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value always has a text");
    text.push('\n');
    text
}

fn alert_json(course: &Course, alert: &Alert) -> Value {
    match alert {
        Alert::Drift { worse } => json!({"metric": course.metric, "kind": "drift", "worse": worse}),
        Alert::Change { point, change_pct, worse } => json!({
            "metric": course.metric, "kind": "change", "worse": worse,
            "first_point": point, "change_pct": change_pct,
        }),
    }
}
