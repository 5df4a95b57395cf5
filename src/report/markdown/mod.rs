//! A report as Markdown (`report.md`), for a pull request, a job summary or a person.
//!
//! Main function: [`render`]. The first line is the verdict. Every string that came from outside is
//! escaped: a model's name or a server's error must not make a table, a mention or a link.

mod client;
mod configuration;
mod metrics;
mod page;
mod rates;
mod requests;
mod resources;
mod server;

use std::fmt::Write as _;

pub(in crate::report) use metrics::{missing, shown};
pub(in crate::report) use page::Page;

use super::derived;
use super::escape::escape;
use super::number::{bytes, short};
use super::phases;
use super::prometheus;
use super::verdict::Verdict;
use crate::artifact::{Report, Threshold};
use crate::stats::ServerKind;

/// The whole report. Ends with a line end.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    let verdict = Verdict::of(report);
    page.line(&format!("**{}:** {}", verdict.word.text(), escape(&verdict.sentence)));
    page.line("");
    page.line(&tags(report));
    page.line("");
    page.line(&escape(&what_ran(report)));
    thresholds(report, &mut page);
    requests::section(report, &mut page);
    metrics::section(report, &mut page);
    rates::section(report, &mut page);
    phases::section(report, &mut page);
    derived::drawn(report, &mut page);
    metrics::conversations(report, &mut page);
    server::beside_client(report, &mut page);
    prometheus::section(report, &mut page);
    server::headers(report, &mut page);
    resources::section(report, &mut page);
    derived::sections(report, &mut page);
    client::section(report, &mut page);
    warnings(report, &mut page);
    configuration::section(report, &mut page);
    page.text
}

fn tags(report: &Report) -> String {
    let run = &report.run;
    let mut parts = vec![format!("**{}**", escape(&run.name))];
    if let Some(branch) = &run.branch {
        parts.push(format!("branch {}", escape(branch)));
    }
    if let Some(commit) = &run.commit {
        let short: String = commit.chars().take(10).collect();
        let dirty = if run.dirty == Some(true) { " with local changes" } else { "" };
        parts.push(format!("commit {}{dirty}", escape(&short)));
    }
    if let Some(label) = &run.runner_label {
        parts.push(format!("runner {}", escape(label)));
    }
    parts.push(escape(&run.started_at));
    parts.join(" · ")
}

/// One line, not yet escaped.
pub(crate) fn what_ran(report: &Report) -> String {
    let mut parts = Vec::new();
    let server = &report.server;
    let kind = match server.kind {
        ServerKind::External => "running server",
        other => other.name(),
    };
    let mut words = match &server.version {
        // A version that names its program is not named twice.
        Some(version) if version.contains(kind) => version.clone(),
        Some(version) => format!("{kind} {version}"),
        None => kind.to_owned(),
    };
    if server.command.is_empty() {
        write!(words, " at {}", server.base_url).expect("a string takes any text");
    }
    if let Some(slots) = server.total_slots {
        write!(words, ", {slots} slots").expect("a string takes any text");
    }
    parts.push(words);
    if let Some(model) = &report.model {
        let name = model.hf_file.as_ref().or(model.file.as_ref()).unwrap_or(&model.source);
        let mut details = Vec::new();
        if let Some(gguf) = &model.gguf {
            details.extend(gguf.quantization.clone());
        }
        details.extend(model.size_bytes.map(bytes));
        let details =
            if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
        parts.push(format!("model {name}{details}"));
    }
    let scenario = &report.scenario;
    let shapes: Vec<&str> = scenario.measured_phases().map(|phase| phase.shape.as_str()).collect();
    let mut words = format!("scenario {} on {}", scenario.name, scenario.endpoint.path());
    if scenario.endpoint.can_stream() && !scenario.stream {
        words.push_str(", not streamed");
    }
    if !shapes.is_empty() {
        write!(words, ", {}", shapes.join(", then ")).expect("a string takes any text");
    }
    parts.push(words);
    parts.extend(report.machine.cpu_model.clone());
    parts.join(" · ")
}

/// One line, not yet escaped.
pub(crate) fn threshold_in_words(threshold: &Threshold) -> String {
    let mut words = threshold.expression.clone();
    match (threshold.observed, threshold.unknown.reason("observed")) {
        (Some(observed), _) => write!(words, " (observed {})", short(observed)),
        (None, Some(reason)) => write!(words, " ({reason})"),
        (None, None) => write!(words, " (not observed)"),
    }
    .expect("a string takes any text");
    if threshold.aborted {
        words.push_str("; it ended the load");
    }
    words
}

fn thresholds(report: &Report, page: &mut Page) {
    if report.thresholds.is_empty() {
        return;
    }
    page.heading("Thresholds");
    for threshold in &report.thresholds {
        let word = if threshold.ok { "holds" } else { "**crossed**" };
        page.line(&format!("- {word}: {}", escape(&threshold_in_words(threshold))));
    }
}

fn warnings(report: &Report, page: &mut Page) {
    if report.warnings.is_empty() {
        return;
    }
    page.heading("Warnings");
    for warning in &report.warnings {
        page.line(&format!("- {}", escape(&warning.message)));
    }
}
