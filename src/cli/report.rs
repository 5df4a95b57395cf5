//! The flags of `report`.

use std::path::PathBuf;

use clap::ValueEnum;

/// `bench-ci report`
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// report.json, ab.json or suite.json, or its folder; several, or a folder of many
    ///
    /// Formats of requests also read requests.jsonl, and those with times of the server
    /// server-metrics.jsonl, beside the report. html draws what it finds, the end of server.log too.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = ReportFormat::Markdown)]
    pub format: ReportFormat,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// How a finished report can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// The page that `run` writes as report.md
    Markdown,
    /// The page with charts, in one file (report.html); of a run, a comparison or a suite
    Html,
    /// The summary that `run` prints on a terminal
    Text,
    /// The report itself; of several, their series
    Json,
    /// One line a request, for a spreadsheet (requests.csv)
    Csv,
    /// One JSON object a request (requests.jsonl)
    Jsonl,
    /// One row a request, for DuckDB, pandas and Polars; needs --output
    Parquet,
    /// A test suite that every CI system shows (junit.xml)
    Junit,
    /// k6's --summary-export, which bench.py reads (k6-summary.json)
    K6,
    /// k6's --out csv (k6-results.csv)
    K6Csv,
    /// k6's --out json
    K6Json,
    /// bench.py's variables for later steps of a job (results.github.env)
    GithubEnv,
    /// bench.py's charts of the server's gauges, as blocks for a Markdown page
    Mermaid,
    /// github-action-benchmark's customSmallerIsBetter: latencies
    BenchmarkActionSmaller,
    /// github-action-benchmark's customBiggerIsBetter: rates
    BenchmarkActionBigger,
    /// Bencher Metric Format, for bencher run --adapter json
    Bencher,
    /// Go's benchmark text, for benchstat; of several reports, or of an ab.json with its trials
    GoBench,
    /// llama-bench -o jsonl: prefill and decode
    LlamaBenchJsonl,
    /// llama-bench -o sql, for sqlite3
    LlamaBenchSql,
    /// vllm bench serve --save-detailed
    Vllm,
    /// HdrHistogram log of latencies, for its analysers
    Hlog,
    /// All of these, each with its usual file and who reads it
    List,
}
