//! A calibration as text: a page, a table on the terminal, a sentence.
//!
//! Main functions: [`markdown`], [`terminal`], [`sentence`].

use super::escape::{clean, escape};
use super::number::{short, whole};
use crate::artifact::{Calibration, CalibrationStep};

const HEAD: [&str; 10] = [
    "load",
    "valid",
    "requests",
    "TTFT p50",
    "TTFT p99",
    "ITL p50",
    "ITL p99",
    "µs/delta",
    "late p99",
    "achieved/s",
];

const LEGEND: &str = "TTFT and ITL: reported minus true, in ms. µs/delta: processor time of this process for a \
                      content delta. late p99: requests sent later than planned, in µs.";

/// `calibration.md`. Ends with a line end.
#[must_use]
pub fn markdown(calibration: &Calibration) -> String {
    let mut text = format!("**{}**\n\n", escape(&verdict(calibration)));
    text.push_str(&format!("{}\n\n", escape(&machine(calibration))));
    if !calibration.steps.is_empty() {
        text.push_str(&table(&calibration.steps));
        text.push_str(&format!("\n{LEGEND}\n"));
    }
    for (load, reason) in against(calibration) {
        text.push_str(&format!("\n- {load}: {}", escape(reason)));
    }
    if against(calibration).next().is_some() {
        text.push('\n');
    }
    text
}

/// The table of [`markdown`], for the report of a run that was calibrated, too.
pub(super) fn table(steps: &[CalibrationStep]) -> String {
    let mut text =
        format!("| {} |\n| :--{} |\n", HEAD.join(" | "), " | --:".repeat(HEAD.len() - 1));
    for step in steps {
        text.push_str(&format!("| {} |\n", row(step).join(" | ")));
    }
    text
}

/// For stdout: every line ends with a line end.
#[must_use]
pub fn terminal(calibration: &Calibration) -> String {
    let mut text =
        format!("{}\n{}\n\n", clean(&verdict(calibration)), clean(&machine(calibration)));
    if calibration.steps.is_empty() {
        text.truncate(text.trim_end().len());
        text.push('\n');
        return text;
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(calibration.steps.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            // Words to the left, numbers to the right.
            line.push_str(&if column == 0 {
                format!("  {cell}{padding}")
            } else {
                format!("  {padding}{cell}")
            });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(&format!("\n{LEGEND}\n"));
    for (load, reason) in against(calibration) {
        text.push_str(&format!("not valid at {load}: {}\n", clean(reason)));
    }
    text
}

/// One step in a few words, for a line of progress.
#[must_use]
pub fn sentence(step: &CalibrationStep) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), signed);
    format!(
        "{}; reported − true, p50 / p99: TTFT {} / {} ms, ITL {} / {} ms",
        if step.valid { "valid" } else { "not valid" },
        ms(step.ttft_error_ms.p50),
        ms(step.ttft_error_ms.p99),
        ms(step.itl_error_ms.p50),
        ms(step.itl_error_ms.p99),
    )
}

fn verdict(calibration: &Calibration) -> String {
    let up_to = |known: Option<String>, field: &str, what: &str| match known {
        Some(size) => Some(format!("valid up to {size} {what}")),
        None if calibration.unknown.reason(field) == Some("not at the lowest") => {
            Some(format!("not valid at the fewest {what}"))
        }
        None => None,
    };
    let parts: Vec<String> = [
        up_to(
            calibration.valid_up_to_users.map(|users| whole(u64::from(users))),
            "valid_up_to_users",
            "users",
        ),
        up_to(
            calibration.valid_up_to_rate_per_second.map(|rate| rate.to_string()),
            "valid_up_to_rate_per_second",
            "requests/s",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    let words =
        if parts.is_empty() { "nothing was tried to its end".to_owned() } else { parts.join(", ") };
    format!("This client, on this machine, as far as it was tried: {words}")
}

fn machine(calibration: &Calibration) -> String {
    let mut parts = vec![format!("bench-ci {}", calibration.tool.version)];
    parts.extend(calibration.machine.cpu_model.clone());
    parts.extend(calibration.machine.cores.map(|cores| format!("{cores} cores")));
    parts.push(calibration.started_at.clone());
    parts.join(" · ")
}

fn against(calibration: &Calibration) -> impl Iterator<Item = (String, &String)> {
    let reasons = |step: &CalibrationStep| step.load();
    calibration
        .steps
        .iter()
        .flat_map(move |step| step.reasons.iter().map(move |reason| (reasons(step), reason)))
}

/// An error in milliseconds: its sign matters, and below a microsecond nothing does.
fn signed(value: f64) -> String {
    let text = format!("{value:+.3}");
    if text == "-0.000" { "+0.000".to_owned() } else { text }
}

fn row(step: &CalibrationStep) -> [String; 10] {
    let dash = || "–".to_owned();
    let error = |value: Option<f64>| value.map_or_else(dash, signed);
    let number = |value: Option<f64>| value.map_or_else(dash, short);
    [
        step.load(),
        if step.valid { "yes" } else { "no" }.to_owned(),
        whole(step.requests),
        error(step.ttft_error_ms.p50),
        error(step.ttft_error_ms.p99),
        error(step.itl_error_ms.p50),
        error(step.itl_error_ms.p99),
        number(step.cpu_us_per_delta),
        number(step.lateness_us_p99),
        number(step.achieved_per_second),
    ]
}
