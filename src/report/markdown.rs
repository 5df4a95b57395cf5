//! A report as Markdown (`report.md`), for a pull request, a job summary or a person.
//!
//! Main function: [`render`]. The first line is the verdict. Every string that came from outside is
//! escaped: a model's name or a server's error must not make a table, a mention or a link.

use std::fmt::Write as _;

use super::derived;
use super::escape::{escape, fenced};
use super::number::{bytes, seconds, short, whole};
use super::phases;
use super::prometheus;
use super::verdict::Verdict;
use crate::artifact::{MetricSummary, RateFigures, Report, ResidualFigures, Spread, Threshold};
use crate::load::{ClockSource, FailureKind};
use crate::plan::Yield;
use crate::stats::{Metric, ServerKind, metric};

/// The metrics of the main table, in its order.
pub(crate) const SHOWN: [&Metric; 10] = [
    &metric::TTFT_MS,
    &metric::TTFT_SCHEDULED_MS,
    &metric::TIME_TO_FIRST_ANSWER_MS,
    &metric::QUEUE_MS,
    &metric::PREFILL_MS,
    &metric::ITL_MS,
    &metric::TPOT_MS,
    &metric::E2E_MS,
    &metric::DECODE_TOKENS_PER_SECOND,
    &metric::PREFILL_TOKENS_PER_SECOND,
];

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
    failures(report, &mut page);
    metrics(report, &mut page);
    rates(report, &mut page);
    phases::section(report, &mut page);
    derived::drawn(report, &mut page);
    conversations(report, &mut page);
    server_beside_client(report, &mut page);
    prometheus::section(report, &mut page);
    server_headers(report, &mut page);
    resources(report, &mut page);
    derived::sections(report, &mut page);
    client(report, &mut page);
    warnings(report, &mut page);
    configuration(report, &mut page);
    page.text
}

/// Text that grows by lines and tables.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    pub(super) fn heading(&mut self, words: &str) {
        self.line("");
        self.line(&format!("### {words}"));
        self.line("");
    }

    /// Cells are Markdown: escape what comes from outside before.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.line(&format!("| {} |", head.join(" | ")));
        // Numbers to the right, words to the left.
        let align: Vec<&str> = head
            .iter()
            .enumerate()
            .map(|(column, name)| match *name {
                "Unit" | "for example" => ":--",
                _ if column == 0 => ":--",
                _ => "--:",
            })
            .collect();
        self.line(&format!("| {} |", align.join(" | ")));
        for row in rows {
            self.line(&format!("| {} |", row.join(" | ")));
        }
    }
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

/// What stands in place of a number that is not known, short enough for a cell.
pub(crate) fn missing(summary: &MetricSummary, field: &str) -> String {
    match summary.unknown.reason(field) {
        // "needs n ≥ 100, has 64": the count stands in its own column.
        Some(reason) if reason.starts_with("needs n") => {
            reason.split(',').next().unwrap_or(reason).to_owned()
        }
        _ => "–".to_owned(),
    }
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

/// The metrics that make sense of this run, in the order of the table: those that its route has, and
/// the time to the answer only where reasoning went before it.
pub(crate) fn shown(report: &Report) -> Vec<(&'static Metric, &MetricSummary)> {
    let scenario = &report.scenario;
    let ttft = report.metrics.get(metric::TTFT_MS.name);
    let says_more = |metric: &Metric, summary: &MetricSummary| {
        *metric != metric::TIME_TO_FIRST_ANSWER_MS
            || (summary.count > 0 && ttft.is_none_or(|ttft| ttft.mean != summary.mean))
    };
    SHOWN
        .iter()
        .filter(|metric| scenario.endpoint.lacks(metric, scenario.stream).is_none())
        .filter_map(|metric| Some((*metric, report.metrics.get(metric.name)?)))
        .filter(|(metric, summary)| says_more(metric, summary))
        .collect()
}

/// Why the route has no times inside an answer; `None` where it has.
fn in_one_piece(report: &Report) -> Option<&'static str> {
    report.scenario.endpoint.lacks(&metric::TTFT_MS, report.scenario.stream)
}

fn metrics(report: &Report, page: &mut Page) {
    let found = shown(report);
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, summary)| summary.count > 0);
    if known.is_empty() {
        return;
    }
    page.heading("Latency and speed");
    let rows: Vec<Vec<String>> = known
        .iter()
        .map(|(metric, summary)| {
            let cell =
                |field, value: Option<f64>| value.map_or_else(|| missing(summary, field), short);
            vec![
                format!("`{}`", metric.name),
                escape(&summary.unit),
                whole(summary.count),
                cell("mean", summary.mean),
                cell("p50", summary.p50),
                cell("p90", summary.p90),
                cell("p95", summary.p95),
                cell("p99", summary.p99),
                cell("max", summary.max),
            ]
        })
        .collect();
    page.table(&["Metric", "Unit", "n", "mean", "p50", "p90", "p95", "p99", "max"], &rows);
    // Metrics that are unknown for one and the same reason share a line.
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (metric, summary) in unknown {
        let reason = summary.unknown.reason("mean").unwrap_or("not recorded");
        let name = format!("`{}`", metric.name);
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => reasons.push((reason, vec![name])),
        }
    }
    for (reason, names) in reasons {
        page.line("");
        page.line(&format!("No {}: {}.", names.join(", "), escape(reason)));
    }
    if let Some(reason) = in_one_piece(report) {
        page.line("");
        page.line(&format!("No first token and no time between tokens: {reason}."));
    }
}

fn conversations(report: &Report, page: &mut Page) {
    let Some(found) = &report.conversations else { return };
    page.heading("Turns of conversations");
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
    let rows: Vec<Vec<String>> = found
        .turns
        .iter()
        .map(|turn| {
            vec![
                turn.turn.to_string(),
                whole(turn.requests),
                whole(turn.completed),
                cell(turn.prompt_tokens_mean),
                cell(turn.cached_tokens_mean),
                cell(turn.ttft_ms_p50),
                cell(turn.e2e_ms_p50),
            ]
        })
        .collect();
    let head = [
        "Turn",
        "requests",
        "completed",
        "prompt tokens, mean",
        "of those cached",
        "TTFT p50, ms",
        "end to end p50, ms",
    ];
    page.table(&head, &rows);
    page.line("");
    let broken = match found.broken {
        0 => String::new(),
        broken => format!(", {} ended early by a failed turn", whole(broken)),
    };
    page.line(&format!(
        "{} conversations begun, {} completed{broken}.",
        whole(found.begun),
        whole(found.completed)
    ));
}

fn rates(report: &Report, page: &mut Page) {
    let rates = &report.rates;
    let Some(window) = rates.window else { return };
    page.heading("Throughput");
    let yields = report.scenario.endpoint.yields();
    let row = |name: String, figures: &RateFigures| {
        let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let more = match yields {
            Yield::Tokens => [figures.output_tokens_per_second, figures.prompt_tokens_per_second]
                .into_iter()
                .chain([figures.total_tokens_per_second])
                .collect::<Vec<_>>(),
            Yield::Embeddings => {
                vec![figures.embeddings_per_second, figures.prompt_tokens_per_second]
            }
            Yield::Scores => vec![figures.documents_per_second, figures.prompt_tokens_per_second],
        };
        let mut row = vec![name, cell(figures.requests_per_second)];
        row.extend(more.into_iter().map(cell));
        row
    };
    let mut rows = vec![row(format!("whole window, {}", seconds(window.duration_s)), &rates.whole)];
    if let Some(steady) = &rates.steady_state {
        let name = format!(
            "steady state, {} at {} in flight",
            seconds(steady.window.duration_s),
            short(steady.plateau_concurrency)
        );
        rows.push(row(name, &steady.rates));
    }
    let head: &[&str] = match yields {
        Yield::Tokens => {
            &["Window", "requests/s", "output tokens/s", "prompt tokens/s", "total tokens/s"]
        }
        Yield::Embeddings => &["Window", "requests/s", "embeddings/s", "input tokens/s"],
        Yield::Scores => &["Window", "requests/s", "documents/s", "input tokens/s"],
    };
    page.table(head, &rows);
    if !report.scenario.objectives.is_empty() {
        let kept = report.scenario.objectives.join(" and ");
        let words = match rates.whole.goodput_requests_per_second {
            Some(goodput) => format!("Goodput: {} requests/s kept {kept}.", short(goodput)),
            None => {
                let reason = rates.unknown.reason("goodput_requests_per_second");
                format!("No goodput for {kept}: {}.", reason.unwrap_or("not recorded"))
            }
        };
        page.line("");
        page.line(&escape(&words));
    }
    let tokens = match yields {
        Yield::Tokens => "output_tokens_per_second",
        Yield::Embeddings | Yield::Scores => "prompt_tokens_per_second",
    };
    if let Some(reason) = rates.unknown.reason(tokens) {
        page.line("");
        page.line(&format!("No tokens/s: {}.", escape(reason)));
    }
    if rates.steady_state.is_none() {
        page.line("");
        let reason = rates.unknown.reason("steady_state").unwrap_or("not recorded");
        page.line(&format!("No steady state: {}.", escape(reason)));
    }
}

fn failures(report: &Report, page: &mut Page) {
    let requests = &report.requests;
    if requests.failed + requests.dropped + requests.cut + requests.cancelled == 0 {
        return;
    }
    page.heading("Requests that did not complete");
    let mut rows: Vec<Vec<String>> = FailureKind::ALL
        .iter()
        .filter_map(|kind| {
            let count = requests.by_error.get(kind)?;
            let example = requests.error_examples.get(kind).map_or("", String::as_str);
            Some(vec![format!("`{}`", kind.name()), whole(*count), escape(example)])
        })
        .collect();
    for (name, count, meaning) in [
        ("dropped", requests.dropped, "planned, but never sent"),
        ("cut", requests.cut, "still in flight when the run ended"),
        ("cancelled", requests.cancelled, "hung up on purpose, as the workload says"),
    ] {
        if count > 0 {
            rows.push(vec![format!("`{name}`"), whole(count), meaning.to_owned()]);
        }
    }
    page.table(&["Kind", "requests", "for example"], &rows);
}

fn server_headers(report: &Report, page: &mut Page) {
    if report.server_headers.is_empty() {
        return;
    }
    page.heading("Times in the server's response headers");
    let rows: Vec<Vec<String>> = report
        .server_headers
        .iter()
        .map(|(name, found)| {
            let figures = [found.mean, found.min, found.p50, found.max].map(short);
            [vec![format!("`{}`", escape(name)), whole(found.count)], figures.to_vec()].concat()
        })
        .collect();
    page.table(&["Header, in its own unit", "n", "mean", "min", "p50", "max"], &rows);
}

fn server_beside_client(report: &Report, page: &mut Page) {
    let found = &report.reconciliation;
    let tokens = &found.tokens;
    if report.requests.planned == 0 {
        return; // a load that never began has nothing to compare
    }
    let token_row = |name: &str, counts: [Option<u64>; 3]| {
        let mut row = vec![name.to_owned()];
        row.extend(counts.map(|count| count.map_or_else(|| "–".to_owned(), whole)));
        counts.iter().any(Option::is_some).then_some(row)
    };
    let token_rows: Vec<Vec<String>> = [
        token_row(
            "prompt tokens",
            [tokens.usage_prompt_tokens, tokens.timings_prompt_tokens, None],
        ),
        token_row(
            "of those not cached",
            [None, tokens.timings_prompt_tokens_evaluated, tokens.counter_prompt_tokens_evaluated],
        ),
        token_row(
            "generated tokens",
            [
                tokens.usage_completion_tokens,
                tokens.timings_completion_tokens,
                tokens.counter_completion_tokens,
            ],
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    if token_rows.is_empty() && found.ttft.is_none() && found.disagreements.is_empty() {
        return;
    }
    page.heading("The server's own figures beside the client's");
    if !token_rows.is_empty() {
        page.table(&["Counted by", "usage", "timings", "/metrics"], &token_rows);
        page.line("");
        page.line(&format!("The client saw {} content deltas.", whole(tokens.content_deltas)));
    }
    if let Some(split) = &found.ttft {
        page.line("");
        page.line(&format!(
            "Mean TTFT {} ms = queue {} ms + the server's prefill {} ms + left over {} ms ({} requests).",
            short(split.ttft_ms_mean),
            short(split.queue_ms_mean),
            short(split.server_prefill_ms_mean),
            short(split.residual_ms_mean),
            whole(split.count)
        ));
    }
    for (name, residual) in
        [("Prefill", &found.prefill_residual), ("Decode", &found.decode_residual)]
    {
        if let Some(line) = residual_line(name, residual) {
            page.line("");
            page.line(&line);
        }
    }
    if !found.disagreements.is_empty() {
        page.line("");
        page.line("The accounts disagree:");
        page.line("");
        for disagreement in &found.disagreements {
            page.line(&format!("- {}", escape(&disagreement.message)));
        }
    }
}

fn residual_line(name: &str, residual: &ResidualFigures) -> Option<String> {
    let known = [("mean", residual.mean_ms), ("p95", residual.p95_ms), ("p99", residual.p99_ms)];
    let known: String = known
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {} ms, ", short(value?))))
        .collect();
    Some(format!(
        "{name}, client minus server: p50 {} ms, {known}at most {} ms ({} requests).",
        short(residual.p50_ms?),
        short(residual.max_ms?),
        whole(residual.count)
    ))
}

fn resources(report: &Report, page: &mut Page) {
    let resources = &report.resources;
    let cell = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    let mut rows = Vec::new();
    for (name, used) in [("server", &resources.server), ("client", &resources.client)] {
        if let Some(used) = used
            && (used.cpu_s.is_some() || used.rss_peak_bytes.is_some())
        {
            rows.push(vec![
                name.to_owned(),
                cell(used.cpu_s.map(seconds)),
                cell(used.rss_peak_bytes.map(bytes)),
            ]);
        }
    }
    for gpu in &resources.gpus {
        rows.push(vec![
            escape(&gpu.name),
            cell(gpu.utilization_mean.map(|share| format!("{} % busy", short(share * 100.0)))),
            cell(gpu.memory_peak_bytes.map(bytes)),
        ]);
    }
    if rows.is_empty() {
        return;
    }
    page.heading("Resources");
    page.table(&["Process", "processor time", "peak memory"], &rows);
}

fn client(report: &Report, page: &mut Page) {
    let client = &report.client;
    if client.dispatch_lateness_us.count + client.client_delay_us.count == 0 {
        return;
    }
    page.heading("The client's own error");
    let row = |name: &str, spread: &Spread| {
        let cell = |field: &str, value: Option<f64>| {
            value.map_or_else(
                || match spread.unknown.reason(field) {
                    Some(reason) if reason.starts_with("needs n") => {
                        reason.split(',').next().unwrap_or(reason).to_owned()
                    }
                    _ => "–".to_owned(),
                },
                short,
            )
        };
        vec![
            name.to_owned(),
            whole(spread.count),
            cell("mean", spread.mean),
            cell("p50", spread.p50),
            cell("p99", spread.p99),
            cell("max", spread.max),
        ]
    };
    page.table(
        &["In µs", "n", "mean", "p50", "p99", "max"],
        &[
            row("sent later than planned", &client.dispatch_lateness_us),
            row("read later than received", &client.client_delay_us),
        ],
    );
    page.line("");
    if let Some(arrivals) = &client.arrivals {
        page.line(&format!(
            "Arrivals: {} planned at {} a second, sent at {} a second, {} dropped.",
            whole(arrivals.planned),
            short(arrivals.planned_per_second),
            short(arrivals.achieved_per_second),
            whole(arrivals.dropped),
        ));
        page.line("");
    }
    page.line(match client.clock_source {
        ClockSource::Kernel => {
            "Received: stamped by the kernel, so a late read is not in the figures above."
        }
        ClockSource::User => {
            "Received: stamped by the client after the read, so a late read is in the figures above."
        }
    });
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

fn configuration(report: &Report, page: &mut Page) {
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
