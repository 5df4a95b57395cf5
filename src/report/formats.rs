//! The list of formats: what each is, and who reads it.
//!
//! Main function: [`list`]. docs/formats.md says how each is checked.

/// Name of the format, the usual name of its file, who reads it.
pub const FORMATS: [(&str, &str, &str); 22] = [
    ("markdown", "report.md", "people, in a pull request or a job summary"),
    (
        "html",
        "report.html",
        "people, in a browser: charts, without any network; of a run, a comparison or a suite",
    ),
    ("text", "–", "people, on a terminal"),
    ("json", "report.json", "programs: schema/bench-ci.report.1.json"),
    ("csv", "requests.csv", "spreadsheets; a row a request"),
    ("jsonl", "requests.jsonl", "jq, pandas; a row a request"),
    ("parquet", "requests.parquet", "DuckDB, pandas, Polars; a row a request; needs --output"),
    ("junit", "junit.xml", "Jenkins, GitLab and other CI systems"),
    ("k6", "k6-summary.json", "what reads k6's --summary-export, such as bench.py"),
    ("k6-csv", "k6-results.csv", "what reads k6's --out csv"),
    ("k6-json", "k6-results.jsonl", "what reads k6's --out json"),
    ("github-env", "results.github.env", "later steps of a job that ran bench.py"),
    ("mermaid", "METRIC.mermaid", "Markdown pages; bench.py's charts of the server's gauges"),
    ("benchmark-action-smaller", "smaller.json", "github-action-benchmark: customSmallerIsBetter"),
    ("benchmark-action-bigger", "bigger.json", "github-action-benchmark: customBiggerIsBetter"),
    ("bencher", "bmf.json", "bencher run --adapter json"),
    ("go-bench", "bench.txt", "benchstat; of several reports, or of an ab.json, with its trials"),
    ("llama-bench-jsonl", "llama-bench.jsonl", "what reads llama-bench -o jsonl"),
    ("llama-bench-sql", "llama-bench.sql", "sqlite3, as llama-bench -o sql"),
    ("vllm", "vllm.json", "what reads vllm bench serve --save-detailed"),
    ("hlog", "latency.hlog", "HdrHistogram's log analysers and libraries"),
    ("list", "–", "this list"),
];

/// A line a format: name, file, reader.
#[must_use]
pub fn list() -> String {
    let width = |of: fn(&(&str, &str, &str)) -> usize| FORMATS.iter().map(of).max().unwrap_or(0);
    let names = width(|(name, ..)| name.chars().count());
    let files = width(|(_, file, _)| file.chars().count());
    FORMATS
        .iter()
        .map(|(name, file, reader)| {
            let pad = |text: &str, width: usize| " ".repeat(width - text.chars().count());
            format!("{name}{}  {file}{}  {reader}\n", pad(name, names), pad(file, files))
        })
        .collect()
}
