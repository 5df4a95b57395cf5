//! What the server says of itself: its token counts and times beside ours, and its headers.
//!
//! Main functions: [`beside_client`] and [`headers`].

use super::page::Page;
use crate::artifact::{Report, ResidualFigures};
use crate::report::escape::escape;
use crate::report::number::{short, whole};

pub(super) fn beside_client(report: &Report, page: &mut Page) {
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

pub(super) fn headers(report: &Report, page: &mut Page) {
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
