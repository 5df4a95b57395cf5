//! A trend for programs: CSV with a line a run, and JSON.
//!
//! Main functions: [`csv`] and [`json()`].

use serde_json::{Value, json};

use super::{ADVICE, SCHEMA, Trend};
use crate::artifact::csv_line;

/// A line a run, then a line for each file that was left out, with only its name and why. What is not
/// known is empty.
#[must_use]
pub fn csv(trend: &Trend) -> String {
    let mut names: Vec<&str> = Vec::new();
    for run in trend.series.iter().flat_map(|series| &series.runs) {
        for figure in &run.figures {
            if !names.contains(&figure.name.as_str()) {
                names.push(&figure.name);
            }
        }
    }
    let fixed = [
        "series",
        "scenario",
        "model",
        "server",
        "machine",
        "flags",
        "workload",
        "file",
        "id",
        "name",
        "branch",
        "commit",
        "started_at",
        "exit_code",
        "evidence",
        "requests_planned",
        "requests_completed",
        "left_out",
    ];
    let head: Vec<Value> = fixed.iter().chain(&names).map(|name| json!(name)).collect();
    let mut text = csv_line(&head);
    for series in &trend.series {
        let about = &series.about;
        for run in &series.runs {
            let mut cells = vec![
                json!(series.key),
                json!(about.scenario),
                json!(about.model),
                json!(about.server),
                json!(about.machine),
                json!(about.flags),
                json!(about.workload),
                json!(run.file),
                json!(run.id),
                json!(run.name),
                json!(run.branch),
                json!(run.commit),
                json!(run.started_at),
                json!(run.exit_code),
                json!(run.evidence),
                json!(run.requests_planned),
                json!(run.requests_completed),
                Value::Null,
            ];
            cells.extend(
                names.iter().map(|name| json!(run.figure(name).map(|figure| figure.value))),
            );
            text.push_str(&csv_line(&cells));
        }
    }
    for skipped in &trend.skipped {
        let cells: Vec<Value> = fixed
            .iter()
            .map(|name| match *name {
                "file" => json!(skipped.file),
                "left_out" => json!(skipped.why),
                _ => Value::Null,
            })
            .chain(names.iter().map(|_| Value::Null))
            .collect();
        text.push_str(&csv_line(&cells));
    }
    text
}

/// Everything, with `schema` [`SCHEMA`]; a figure that is not known is absent.
#[must_use]
pub fn json(trend: &Trend) -> String {
    crate::report::pretty(&json!({
        "schema": SCHEMA,
        "advice": ADVICE.replace('`', ""),
        "series": trend.series,
        "skipped": trend.skipped,
    }))
}
