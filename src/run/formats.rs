//! The files of other tools that every run leaves: k6's, bench.py's and JUnit's.
//!
//! Main function: [`write`]. The texts are `report`'s. The server's gauges are read back from their
//! file, so that what is written here is what `bench-ci report` would make of the folder later.

use std::path::Path;

use super::under_load::SERVER_METRICS;
use crate::artifact::{Note, Report, RequestRow, store};
use crate::error::Error;
use crate::report::{junit, k6, mermaid, results_env};

/// Name, and what it is for the list in the report.
pub(super) const FILES: [(&str, &str); 10] = [
    (K6_SUMMARY, "k6's --summary-export"),
    (K6_CSV, "k6's --out csv"),
    (K6_RESULTS, "k6-summary.json under bench.py's name"),
    (RESULTS_ENV, "bench.py's variables for later steps of a job"),
    ("prompt_tokens_seconds.mermaid", "bench.py's chart of a gauge of the server"),
    ("predicted_tokens_seconds.mermaid", "bench.py's chart of a gauge of the server"),
    ("kv_cache_usage_ratio.mermaid", "bench.py's chart of a gauge of the server"),
    ("requests_processing.mermaid", "bench.py's chart of a gauge of the server"),
    ("requests_deferred.mermaid", "bench.py's chart of a gauge of the server"),
    (JUNIT, "a test suite that every CI system shows"),
];

const K6_SUMMARY: &str = "k6-summary.json";
const K6_CSV: &str = "k6-results.csv";
const K6_RESULTS: &str = "k6-results.json";
const RESULTS_ENV: &str = "results.github.env";
const JUNIT: &str = "junit.xml";

/// Writes them, and says in the report where the server's gauges could not be read back. `rows` is
/// `None` where nothing was measured; then there is only the suite, which says so.
pub(super) fn write(
    out_dir: &Path,
    report: &mut Report,
    rows: Option<impl Iterator<Item = RequestRow>>,
    bench_py_names: bool,
) -> Result<(), Error> {
    let write = |name: &str, text: &str| store::write(&out_dir.join(name), text.as_bytes());
    let Some(rows) = rows else { return Ok(write(JUNIT, &junit::render(report))?) };
    let scrapes = store::read_scrapes(&out_dir.join(SERVER_METRICS)).unwrap_or_else(|error| {
        let message = format!("{error}; the server's gauges are in no chart");
        report.warnings.push(Note { code: "server_metrics_file".to_owned(), message });
        Vec::new()
    });
    write(JUNIT, &junit::render(report))?;
    let samples = k6::Samples::of(report, rows, &scrapes);
    let summary = k6::Summary::of(&samples);
    let iterations = samples.completed();
    let exported = k6::summary_json(&summary);
    write(K6_SUMMARY, &exported)?;
    if bench_py_names {
        write(K6_RESULTS, &exported)?;
    }
    store::write_with(&out_dir.join(K6_CSV), |file| k6::write_csv(&samples, file))?;
    write(RESULTS_ENV, &results_env::render(report, &summary, iterations, &scrapes))?;
    for (gauge, chart) in mermaid::charts(report, iterations, &scrapes) {
        write(&format!("{gauge}.mermaid"), &chart)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the list: a file that is not on it would survive from an earlier run.
    #[test]
    fn every_chart_is_on_the_list() {
        for gauge in mermaid::GAUGES {
            let name = format!("{gauge}.mermaid");
            assert!(FILES.iter().any(|(listed, _)| *listed == name), "{name}");
        }
    }
}
