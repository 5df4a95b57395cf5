//! What a Prometheus had of the server, beside our own scrape, as a section of the page.
//!
//! Main function: [`section`].

use super::escape::escape;
use super::markdown::Page;
use super::number::short;
use crate::artifact::{PrometheusSeries, Report};

/// One row a metric that it had; metrics that it did not have are only in `report.json`.
pub(super) fn section(report: &Report, page: &mut Page) {
    let Some(found) = &report.prometheus else { return };
    let figure = |figure: Option<f64>| figure.map_or_else(|| "–".to_owned(), short);
    let rows: Vec<Vec<String>> = found
        .series
        .iter()
        .filter(|(_, series)| !series.values.is_empty())
        .map(|(name, series)| {
            let own = report.server_metrics.get(name);
            vec![
                format!("`{}`", escape(name)),
                series.values.len().to_string(),
                figure(series.min),
                figure(series.mean),
                figure(series.max),
                figure(own.and_then(|own| own.mean)),
                agreement(series),
            ]
        })
        .collect();
    page.heading("The server by Prometheus");
    let labels: Vec<String> =
        found.instance.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let of = if labels.is_empty() { "it".to_owned() } else { labels.join(", ") };
    page.line(&format!("{} scraped {}.", escape(&found.url), escape(&of)));
    page.line("");
    if rows.is_empty() {
        page.line("It took no sample during the load.");
        return;
    }
    page.table(&["Metric", "samples", "min", "mean", "max", "our mean", "agree"], &rows);
}

/// `7 of 7`: samples that lie within one interval of our own scrapes.
fn agreement(series: &PrometheusSeries) -> String {
    series.agreement.as_ref().map_or_else(
        || "–".to_owned(),
        |agreement| format!("{} of {}", agreement.within, agreement.compared),
    )
}
