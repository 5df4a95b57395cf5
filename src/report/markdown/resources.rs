//! What the processes and the graphics processors used.
//!
//! Main function: [`section`].

use super::page::Page;
use crate::artifact::Report;
use crate::report::escape::escape;
use crate::report::number::{bytes, seconds, short};

pub(super) fn section(report: &Report, page: &mut Page) {
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
        let whose = match gpu.used_by_server {
            Some(true) => " (the server's)",
            Some(false) => " (not the server's)",
            None => "",
        };
        rows.push(vec![
            format!("{}{whose}", escape(&gpu.name)),
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
