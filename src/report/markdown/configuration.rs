//! Everything that a reader needs to run the same again, folded away.
//!
//! Main function: [`section`].

use super::page::Page;
use crate::artifact::Report;
use crate::plan::Yield;
use crate::report::escape::{escape, fenced};
use crate::report::number::{bytes, seconds, whole};

pub(super) fn section(report: &Report, page: &mut Page) {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            rows.push(vec![name.to_owned(), escape(&value)]);
        }
    };
    row("bench-ci", Some(report.tool.version.clone()));
    row("run", Some(report.run.id.clone()));
    row("server ready after", report.server.start_s.map(seconds));
    row("slots", report.server.total_slots.map(|slots| slots.to_string()));
    row(
        "context of a slot",
        report.server.slot_context.map(|tokens| format!("{} tokens", whole(tokens))),
    );
    if let Some(model) = &report.model {
        row("model source", Some(model.source.clone()));
        row("model repository", model.hf_repo.clone());
        row("model revision", model.revision.clone());
        row("model sha-256", model.sha256.clone());
        if let Some(gguf) = &model.gguf {
            row("architecture", gguf.architecture.clone());
            row("parameters", gguf.parameters.map(whole));
        }
    }
    row("dataset", Some(report.scenario.dataset.clone()));
    row("seed", Some(report.scenario.seed.to_string()));
    row("workload", report.scenario.workload_hash.clone());
    for phase in &report.scenario.phases {
        let mut parts = vec![escape(&phase.shape)];
        parts.extend(phase.requests.map(|count| format!("{} requests", whole(count))));
        parts.extend(phase.duration_s.map(|longest| format!("at most {}", seconds(longest))));
        parts.push(format!("{} think time", seconds(phase.think_time_s)));
        if report.scenario.endpoint.yields() == Yield::Tokens {
            parts.push(format!("{} tokens at most", phase.max_tokens));
        }
        if !phase.measured {
            parts.push("not measured".to_owned());
        }
        row(&format!("phase {}", escape(&phase.name)), Some(parts.join(", ")));
    }
    row("operating system", report.machine.os.clone());
    row("kernel", report.machine.kernel.clone());
    row("processor", report.machine.cpu_model.clone());
    row("processors", report.machine.cores.map(|cores| cores.to_string()));
    row("memory", report.machine.memory_bytes.map(bytes));
    for gpu in &report.machine.gpus {
        row("GPU", Some(gpu.name.clone()));
    }
    page.line("");
    page.line("<details><summary>Configuration</summary>");
    page.line("");
    page.line("| What | Value |");
    page.line("| :-- | :-- |");
    for row in rows {
        page.line(&format!("| {} |", row.join(" | ")));
    }
    page.line("");
    let command = report.server.command.join(" ");
    let lines = [command.as_str(), report.server.base_url.as_str()];
    page.line(&fenced(lines.into_iter().filter(|line| !line.is_empty())));
    if !report.files.is_empty() {
        page.line("");
        for file in &report.files {
            page.line(&format!("- {}: {}", escape(&file.name), escape(&file.what)));
        }
    }
    page.line("");
    page.line("</details>");
}
