//! The lines of `server-metrics.jsonl`, read back: what the server said of itself over the run.
//!
//! Main type: [`ScrapeRow`]. Pure: text in, rows out. `scrape` writes the file; nothing here asks a
//! server.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::report::Report;

/// One scrape. Only what a reader of a finished run needs; other fields of the line are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ScrapeRow {
    /// Seconds from the begin of the first scrape to the begin of this one.
    pub t_s: f64,
    /// Wall time at which it began, RFC 3339.
    pub at: String,
    /// `before`, `during` or `after` the load.
    pub phase: String,
    /// How long the answer took.
    pub took_ms: f64,
    /// Value by metric name, labels included; `None` where the server gave no page. A value that was
    /// not finite is `None`, and never zero.
    pub metrics: Option<BTreeMap<String, Option<f64>>>,
}

impl ScrapeRow {
    /// Seconds since 1970; `None` if `at` is no date.
    #[must_use]
    pub fn unix_s(&self) -> Option<f64> {
        unix_s(&self.at)
    }

    /// The value of one metric, if this scrape has a finite one.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        *self.metrics.as_ref()?.get(name)?
    }
}

/// Seconds since 1970 of an RFC 3339 date.
pub(crate) fn unix_s(date: &str) -> Option<f64> {
    let date = chrono::DateTime::parse_from_rfc3339(date).ok()?;
    Some(date.timestamp_micros() as f64 / 1e6)
}

/// Seconds since 1970 at which the measured load began: when the first scrape was done, and without one
/// when the run began. 0 where neither is a date.
#[must_use]
pub fn began_unix_s(report: &Report, scrapes: &[ScrapeRow]) -> f64 {
    let first = scrapes.first().filter(|scrape| scrape.phase == "before");
    first
        .and_then(|scrape| Some(scrape.unix_s()? + scrape.took_ms / 1e3))
        .or_else(|| unix_s(&report.run.started_at))
        .unwrap_or(0.0)
}

/// The rows of the file, in its order.
///
/// A last line without its end is what a crash left behind, and is passed over.
///
/// # Errors
/// The number of the line, from 1, that is not such a row, and why.
pub fn scrape_rows(text: &str) -> Result<Vec<ScrapeRow>, (usize, serde_json::Error)> {
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines = text[..whole].lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| serde_json::from_str(line).map_err(|error| (index + 1, error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"t_s":1.5,"at":"2026-11-22T06:15:01.500Z","phase":"during","took_ms":0.4,"metrics":{"llamacpp:requests_processing":4.0,"llamacpp:odd":null},"server":null,"client":null}"#;

    #[test]
    fn a_line_is_read_with_its_nulls() {
        let rows = scrape_rows(&format!("{LINE}\n")).expect("a row");
        assert_eq!(rows[0].value("llamacpp:requests_processing"), Some(4.0));
        assert_eq!(rows[0].value("llamacpp:odd"), None, "never zero");
        assert_eq!(rows[0].value("llamacpp:absent"), None);
        assert_eq!(rows[0].unix_s(), Some(1_795_328_101.5));
    }

    #[test]
    fn a_line_cut_off_by_a_crash_is_passed_over_and_a_damaged_one_is_named() {
        let cut = format!("{LINE}\n{}", &LINE[..40]);
        assert_eq!(scrape_rows(&cut).expect("the whole lines").len(), 1);
        let damaged = format!("{LINE}\n{}\n{LINE}\n", &LINE[..40]);
        assert_eq!(scrape_rows(&damaged).expect_err("a damaged line").0, 2);
        assert_eq!(scrape_rows("").expect("nothing"), []);
    }
}
