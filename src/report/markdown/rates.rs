//! Requests and tokens per second, over the whole window and at the plateau.
//!
//! Main function: [`section`].

use super::page::Page;
use crate::artifact::{RateFigures, Report};
use crate::plan::Yield;
use crate::report::escape::escape;
use crate::report::number::{seconds, short};

pub(super) fn section(report: &Report, page: &mut Page) {
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
