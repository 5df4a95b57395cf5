//! The derived figures of a report, as sections of the page.
//!
//! Main function: [`sections`].

use super::calibration;
use super::drawing;
use super::escape::escape;
use super::markdown::Page;
use super::number::{bytes, short};
use crate::artifact::Report;
use crate::artifact::derived::{Derived, ServerRates, Utilization};

/// Columns of the drawing in a block of plain text: what GitHub shows without scrolling.
const COLUMNS: usize = 100;

/// The load over time.
pub(super) fn drawn(report: &Report, page: &mut Page) {
    let Some(line) = report.timeline.as_ref().filter(|line| drawing::is_worth_it(line)) else {
        return;
    };
    page.heading("Load over time");
    page.line("```text");
    for row in drawing::sparklines(line, COLUMNS) {
        page.line(&row);
    }
    page.line("```");
    page.line("");
    page.line("```mermaid");
    page.line(drawing::chart(line).trim_end());
    page.line("```");
}

/// What was derived, as far as anything is known.
pub(super) fn sections(report: &Report, page: &mut Page) {
    if let Some(derived) = &report.derived {
        let lines = [
            server_rates(&derived.server_rates),
            littles_law(derived),
            drafts(derived),
            tpot_difference(derived),
            utilization(&derived.utilization),
        ];
        let lines: Vec<String> = lines.into_iter().flatten().collect();
        if !lines.is_empty() {
            page.heading("Derived figures");
            for line in lines {
                page.line(&format!("- {}", escape(&line)));
            }
        }
    }
    if let Some(step) = &report.calibration {
        page.heading("This client against the simulator, just before");
        page.line(calibration::table(std::slice::from_ref(step)).trim_end());
        for reason in &step.reasons {
            page.line("");
            page.line(&format!("Not valid: {}.", escape(reason)));
        }
    }
}

fn percent(ratio: f64) -> String {
    let text = format!("{:+.2} %", ratio * 100.0);
    if text == "-0.00 %" { "+0.00 %".to_owned() } else { text }
}

fn server_rates(rates: &ServerRates) -> Option<String> {
    let side = |name: &str, server: Option<f64>, client: Option<f64>, ratio: Option<f64>| {
        let server = short(server?);
        Some(match client.zip(ratio) {
            Some((client, ratio)) => {
                format!("{server} {name} tokens/s, client {} ({})", short(client), percent(ratio))
            }
            None => format!("{server} {name} tokens/s"),
        })
    };
    let mut parts = Vec::new();
    parts.extend(side(
        "output",
        rates.output_tokens_per_second,
        rates.client_output_tokens_per_second,
        rates.output_difference_ratio,
    ));
    parts.extend(side(
        "evaluated prompt",
        rates.prompt_tokens_per_second,
        rates.client_prompt_tokens_per_second,
        rates.prompt_difference_ratio,
    ));
    if let Some(rate) = rates.output_tokens_per_slot_second {
        parts.push(format!("{} output tokens/s of a slot at work", short(rate)));
    }
    if let Some(rate) = rates.prompt_tokens_per_busy_second {
        parts.push(format!("{} prompt tokens/s while it read prompts", short(rate)));
    }
    (!parts.is_empty()).then(|| format!("By the server's counters: {}.", parts.join("; ")))
}

fn littles_law(derived: &Derived) -> Option<String> {
    let law = derived.littles_law.as_ref()?;
    let window = if law.window == "whole" { "the whole window" } else { "the steady state" };
    Some(format!(
        "Little's law over {window}: {} in flight, {} a second × {} ms = {}; left over {} of at most {:.1} %{}.",
        short(law.in_flight_mean),
        short(law.completed_per_second),
        short(law.e2e_ms_mean),
        short(law.in_flight_mean - law.residual),
        percent(law.residual_ratio),
        law.tolerance_ratio * 100.0,
        if law.holds { "" } else { ": it does not hold" }
    ))
}

fn drafts(derived: &Derived) -> Option<String> {
    let drafts = derived.drafts.as_ref()?;
    let source = if drafts.source == "timings" { "the answers' timings" } else { "/metrics" };
    Some(format!(
        "Speculative decoding: {} of {} drafted tokens accepted, {:.1} % (by {source}).",
        short(drafts.accepted),
        short(drafts.drafted),
        drafts.acceptance_ratio * 100.0
    ))
}

fn tpot_difference(derived: &Derived) -> Option<String> {
    let found = derived.tpot_difference.as_ref()?;
    let lengths = match found.tokens_max {
        Some(most) if most != found.tokens => {
            format!("{} to {most} tokens and {} more", found.tokens, found.step_tokens)
        }
        _ => {
            let longer = found.tokens.saturating_add(found.step_tokens);
            format!("{} and {longer} tokens", found.tokens)
        }
    };
    let Some(p50) = found.tpot_ms_p50 else {
        let reason = found.unknown.reason("tpot_ms_p50").unwrap_or("not recorded");
        return Some(format!("No TPOT by difference: {reason}."));
    };
    let interval = found
        .ci95_ms
        .map_or_else(String::new, |[low, high]| format!(", 95 % {} … {}", short(low), short(high)));
    let ordinary = found
        .ordinary_tpot_ms_p50
        .map_or_else(String::new, |p50| format!("; the ordinary median is {} ms", short(p50)));
    Some(format!(
        "TPOT by the difference of {lengths}: median {} ms{interval} ({} pairs){ordinary}.",
        short(p50),
        found.pairs
    ))
}

fn utilization(found: &Utilization) -> Option<String> {
    let share =
        |name: &str, field: &str, share: Option<f64>, peak: Option<f64>, unit: &str| match share
            .zip(peak)
        {
            Some((share, peak)) => {
                format!("{name} {} % of {} {unit}", short(share * 100.0), short(peak / 1e9))
            }
            None => {
                format!("no {name}: {}", found.unknown.reason(field).unwrap_or("not recorded"))
            }
        };
    // Without a model there is nothing to say but why, which is in report.json.
    let traffic = found.bytes_per_second?;
    let mut parts = vec![format!(
        "{} a step and {}/s needed at {} answers at once",
        bytes((found.weight_bytes_per_step? + found.kv_bytes_per_step?) as u64),
        bytes(traffic as u64),
        short(found.decoding_mean?)
    )];
    parts.push(share("MBU", "mbu", found.mbu, found.peak_bytes_per_second, "GB/s"));
    if let Some(flops) = found.flops_per_second {
        parts.push(format!("{} GFLOPS needed", short(flops / 1e9)));
    }
    parts.push(share("MFU", "mfu", found.mfu, found.peak_flops_per_second, "GFLOPS"));
    Some(format!("Utilization: {}. Assumed: {}.", parts.join("; "), found.assumptions.join("; ")))
}
