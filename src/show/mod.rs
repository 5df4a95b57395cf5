//! `bench-ci report`: from stored reports to every text that is made of them.
//!
//! Main function: [`main`]. The texts are `report`'s; here files are found and read, and what a format
//! is made of is held against what was given. Nothing is measured, and no server is asked.

mod error;
mod gather;

use std::path::Path;

pub use error::ShowError;

use crate::artifact::store::{self, Stored};
use crate::artifact::{self, AbReport, Report, SuiteReport};
use crate::cli::{ReportArgs, ReportFormat};
use crate::commands::{Done, terminal_width};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::report::{self, k6, trend};
use crate::run::page;
use crate::stats::Better;

/// Shows what was asked for, on stdout or in `--output`.
///
/// # Errors
/// Where a format is not made of what was given, or a single report cannot be read. Of many reports
/// those that cannot be read are named and left out, and the exit code says that there were some.
pub fn main(args: &ReportArgs) -> Result<Done, Error> {
    if args.format == ReportFormat::List {
        return Ok(Done::text(report::formats::list()));
    }
    let (bytes, exit) = match args.files.as_slice() {
        [] => return Err(ShowError::NoFile.into()),
        [one] if !gather::is_folder_of_reports(one) => (single(args, one)?, ExitCode::Ok),
        many => of_many(args, many)?,
    };
    let stdout = match &args.output {
        Some(path) => {
            store::write(path, &bytes)?;
            String::new()
        }
        None => String::from_utf8(bytes).map_err(|_| ShowError::NotText { format: name(args) })?,
    };
    Ok(Done { stdout, exit })
}

fn name(args: &ReportArgs) -> String {
    use clap::ValueEnum as _;
    let value = args.format.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn single(args: &ReportArgs, file: &Path) -> Result<Vec<u8>, Error> {
    let report = match store::read(file)? {
        Stored::Suite(report) => return suite(args, &report).map(String::into_bytes),
        Stored::Ab(report) => return comparison(args, &report).map(String::into_bytes),
        Stored::Run(report) => report,
    };
    if args.format == ReportFormat::Parquet {
        let rows = store::read_rows(file)?;
        let mut bytes = Vec::new();
        report::parquet::write(&report, &rows, &mut bytes).map_err(ShowError::Parquet)?;
        return Ok(bytes);
    }
    run(args.format, file, &report).map(String::into_bytes)
}

fn suite(args: &ReportArgs, suite: &SuiteReport) -> Result<String, Error> {
    Ok(match args.format {
        ReportFormat::Markdown => report::suite::markdown(suite),
        ReportFormat::Html => report::html::suite(suite),
        ReportFormat::Text => report::suite::text(suite, terminal_width()),
        ReportFormat::Csv => report::suite::csv(suite),
        ReportFormat::Json => suite.to_json(),
        _ => return Err(ShowError::NotOfSuite { format: name(args) }.into()),
    })
}

fn comparison(args: &ReportArgs, ab: &AbReport) -> Result<String, Error> {
    Ok(match args.format {
        ReportFormat::Markdown => report::ab_markdown::render(ab),
        ReportFormat::Html => report::html::ab(ab),
        ReportFormat::Text => report::ab_terminal::render(ab, terminal_width(), false),
        ReportFormat::Json => ab.to_json(),
        ReportFormat::GoBench => report::go_bench::render_ab(ab),
        _ => return Err(ShowError::NotOfComparison { format: name(args) }.into()),
    })
}

/// Of one run; what needs its rows or scrapes reads them beside it.
fn run(format: ReportFormat, file: &Path, report: &Report) -> Result<String, Error> {
    let rows = || store::read_rows(file);
    let scrapes = || store::read_scrapes(&store::beside(file, "server-metrics.jsonl"));
    let samples = || Ok::<_, Error>(k6::Samples::of(report, &rows()?, &scrapes()?));
    Ok(match format {
        ReportFormat::Markdown => report::markdown::render(report),
        ReportFormat::Html => report::html::run(report, &page::of_folder(file)),
        ReportFormat::Text => report::terminal::render_summary(report, terminal_width(), false),
        ReportFormat::Json => report.to_json(),
        ReportFormat::Csv => artifact::csv(&rows()?),
        ReportFormat::Jsonl => artifact::jsonl(&rows()?),
        ReportFormat::Junit => report::junit::render(report),
        ReportFormat::K6 => k6::summary_json(&k6::Summary::of(&samples()?)),
        ReportFormat::K6Csv => k6::csv(&samples()?),
        ReportFormat::K6Json => k6::json(&samples()?),
        ReportFormat::GithubEnv => {
            let samples = samples()?;
            let summary = k6::Summary::of(&samples);
            report::results_env::render(report, &summary, samples.completed(), &scrapes()?)
        }
        ReportFormat::Mermaid => {
            report::mermaid::charts(report, report.requests.completed, &scrapes()?)
                .into_iter()
                .map(|(_, chart)| format!("```mermaid\n{chart}```\n"))
                .collect()
        }
        ReportFormat::BenchmarkActionSmaller => {
            report::benchmark_action::render(report, Better::Lower)
        }
        ReportFormat::BenchmarkActionBigger => {
            report::benchmark_action::render(report, Better::Higher)
        }
        ReportFormat::Bencher => report::bencher::render(report),
        ReportFormat::GoBench => report::go_bench::render([report]),
        ReportFormat::LlamaBenchJsonl => report::llama_bench::jsonl(report, &rows()?),
        ReportFormat::LlamaBenchSql => report::llama_bench::sql(report, &rows()?),
        ReportFormat::Vllm => report::vllm::render(report, &rows()?),
        ReportFormat::Hlog => report::hdr_log::render(report, &rows()?, &scrapes()?),
        ReportFormat::Parquet | ReportFormat::List => {
            unreachable!("they are shown before a text is made")
        }
    })
}

fn of_many(args: &ReportArgs, paths: &[std::path::PathBuf]) -> Result<(Vec<u8>, ExitCode), Error> {
    let page: fn(&trend::Trend) -> String = match args.format {
        ReportFormat::Markdown => trend::markdown,
        ReportFormat::Text => trend::text,
        ReportFormat::Csv => trend::csv,
        ReportFormat::Json => trend::json,
        ReportFormat::GoBench => {
            let (reports, skipped) = gather::reports(paths)?;
            let page = report::go_bench::render(&reports);
            return Ok((page.into_bytes(), exit(skipped.len())));
        }
        _ => return Err(ShowError::NotOfMany { format: name(args) }.into()),
    };
    let found = gather::trend(paths)?;
    Ok((page(&found).into_bytes(), exit(found.skipped.len())))
}

fn exit(skipped: usize) -> ExitCode {
    if skipped == 0 { ExitCode::Ok } else { ExitCode::Report }
}
