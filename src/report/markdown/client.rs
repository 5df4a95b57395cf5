//! The client's own error: how late it sent, how late it read.
//!
//! Main function: [`section`].

use super::page::Page;
use crate::artifact::{Report, Spread};
use crate::load::ClockSource;
use crate::report::number::{short, whole};

pub(super) fn section(report: &Report, page: &mut Page) {
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
            "Received: stamped by the kernel, so a late read is in the figures above only where it brought several deltas."
        }
        ClockSource::User => {
            "Received: stamped by the client after the read, so a late read is in the figures above."
        }
    });
}
