//! Reports on disk: written whole or not at all, read with their version checked.
//!
//! Main functions: [`write()`] for any file of a run, [`read_report`] for `report.json`. The only file of
//! this room that touches the disk.

use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    AB_SCHEMA, AB_SCHEMA_VERSION, AbReport, DesignKind, Report, RequestRow, SCHEMA, SCHEMA_VERSION,
    SUITE_SCHEMA, SUITE_SCHEMA_VERSION, ScrapeRow, SuiteReport, scrape_rows,
};
use crate::exit::ExitCode;
use crate::verdict::looks::MOST_PAIRS;

/// Why a report file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused.
    #[error("cannot write \"{}\"", path.display())]
    Write {
        /// The file wanted.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be opened or read.
    #[error("cannot read report \"{}\"", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("report \"{}\" is not JSON", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it stops being JSON.
        source: serde_json::Error,
    },
    /// The file is JSON, but not a report of ours.
    #[error(
        "\"{}\" is not a bench-ci report: expected schema \"{expected}\", got {found}",
        path.display()
    )]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// The schema wanted.
        expected: &'static str,
        /// The schema it names, quoted, or that it names none.
        found: String,
    },
    /// A later bench-ci wrote it.
    #[error(
        "report \"{}\" is newer than this build: it has schema version {version}, this build reads up to {SCHEMA_VERSION}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it names.
        version: u32,
    },
    /// A line of `requests.jsonl` or `server-metrics.jsonl` is not what it should be.
    #[error("\"{}\" is damaged at line {line}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It says that it is a report of this version, but a field is missing or of another type.
    #[error("report \"{}\" is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which field.
        source: serde_json::Error,
    },
    /// A comparison of more pairs than a session may have: what is computed from them would take for ever.
    #[error(
        "report \"{}\" is damaged: it has {pairs} pairs of \"{metric}\", a session has {MOST_PAIRS} at most",
        path.display()
    )]
    TooManyPairs {
        /// The file.
        path: PathBuf,
        /// Of which metric.
        metric: String,
        /// How many it claims.
        pairs: u64,
    },
}

impl StoreError {
    /// The code to leave with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            StoreError::Write { .. } => ExitCode::Tool,
            _ => ExitCode::Report,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            StoreError::Write { .. } => {
                "check that the folder of --out-dir can be written to and that the disk is not full"
            }
            StoreError::Read { path, .. } if path.extension().is_some_and(|end| end == "jsonl") => {
                "this format is made of the requests: keep the whole folder of --out-dir together"
            }
            StoreError::Read { .. } => {
                "give the path of a report.json that bench-ci wrote, or of the folder it is in"
            }
            StoreError::NotJson { .. } => {
                "the file may have been cut short; run the benchmark again"
            }
            StoreError::NotAReport { expected: AB_SCHEMA, .. } => {
                "give an ab.json that bench-ci ab wrote"
            }
            StoreError::NotAReport { found, .. } if found.contains(family(AB_SCHEMA)) => {
                "it is a finished comparison: `bench-ci report` shows it, and `bench-ci ab --sessions` puts several together"
            }
            StoreError::NotAReport { .. } => "give a report.json that bench-ci wrote",
            StoreError::Newer { .. } => "update bench-ci to at least the version that wrote it",
            StoreError::Damaged { .. }
            | StoreError::Row { .. }
            | StoreError::TooManyPairs { .. } => {
                "the file was changed after it was written; run the benchmark again"
            }
        };
        Some(hint.to_owned())
    }
}

/// Writes a file so that a reader sees the old one or the whole new one, never a part: a temporary
/// file in the same folder, synced, then renamed. The folder is made if it is missing.
///
/// # Errors
/// [`StoreError::Write`]; nothing is left behind then.
pub fn write(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    write_with(path, |file| file.write_all(text))
}

/// The same for what is too long to be in memory as a whole: `fill` writes it piece by piece.
///
/// # Errors
/// [`StoreError::Write`], of `fill` too; nothing is left behind then.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), StoreError> {
    let attempt = || {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(folder)?;
        // A temporary file is private by default; a report is for everybody the umask allows.
        let mut file = tempfile::Builder::new()
            .prefix(".bench-ci-")
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        let mut buffer = BufWriter::new(file.as_file_mut());
        fill(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

/// Writes `report.json`.
///
/// # Errors
/// [`StoreError::Write`].
pub fn write_report(path: &Path, report: &Report) -> Result<(), StoreError> {
    write(path, report.to_json().as_bytes())
}

/// Reads `report.json`, or the `report.json` of a folder. Fields that this build does not know are
/// ignored; a newer version is refused.
///
/// # Errors
/// Every variant but [`StoreError::Write`].
pub fn read_report(path: &Path) -> Result<Report, StoreError> {
    let path = if path.is_dir() { path.join("report.json") } else { path.to_owned() };
    report_of(&bytes_of(&path)?, &path)
}

/// A `report.json` that was read already; `path` is for messages.
///
/// # Errors
/// As [`read_report`].
pub fn report_of(bytes: &[u8], path: &Path) -> Result<Report, StoreError> {
    parse(bytes, path, SCHEMA, SCHEMA_VERSION)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|source| StoreError::Read { path: path.to_owned(), source })
}

/// Writes `ab.json`.
///
/// # Errors
/// [`StoreError::Write`].
pub fn write_ab(path: &Path, report: &AbReport) -> Result<(), StoreError> {
    write(path, report.to_json().as_bytes())
}

/// Reads `ab.json`, or the `ab.json` of a folder, as [`read_report`] does.
///
/// # Errors
/// Every variant but [`StoreError::Write`].
pub fn read_ab(path: &Path) -> Result<AbReport, StoreError> {
    let path = if path.is_dir() { path.join("ab.json") } else { path.to_owned() };
    ab_of(&bytes_of(&path)?, &path)
}

fn ab_of(bytes: &[u8], path: &Path) -> Result<AbReport, StoreError> {
    let report: AbReport = parse(bytes, path, AB_SCHEMA, AB_SCHEMA_VERSION)?;
    match too_many_pairs(&report) {
        Some((metric, pairs)) => {
            Err(StoreError::TooManyPairs { path: path.to_owned(), metric, pairs })
        }
        None => Ok(report),
    }
}

/// The first metric with more pairs than a session may have, and how many it claims. Where sessions were
/// put together `pairs` counts those, and nobody computes with it.
fn too_many_pairs(report: &AbReport) -> Option<(String, u64)> {
    let of_sessions = report.design.kind == DesignKind::Sessions;
    let most = MOST_PAIRS as u64;
    report.comparisons.iter().find_map(|comparison| {
        let claimed = if of_sessions { 0 } else { comparison.pairs };
        let pairs = claimed.max(comparison.pairs_pct.len() as u64);
        (pairs > most).then(|| (comparison.metric.clone(), pairs))
    })
}

/// Reads `suite.json`, or the `suite.json` of a folder, by the same rules.
///
/// # Errors
/// Every variant but [`StoreError::Write`].
pub fn read_suite(path: &Path) -> Result<SuiteReport, StoreError> {
    let path = if path.is_dir() { path.join("suite.json") } else { path.to_owned() };
    parse(&bytes_of(&path)?, &path, SUITE_SCHEMA, SUITE_SCHEMA_VERSION)
}

/// A finished report of whatever kind.
#[derive(Debug)]
pub enum Stored {
    /// Of a run.
    Run(Box<Report>),
    /// Of a comparison.
    Ab(Box<AbReport>),
    /// Of a suite.
    Suite(Box<SuiteReport>),
}

/// Reads what a path names: a file by the schema that it says it has, or of a folder its `report.json`, or
/// else the `suite.json` or `ab.json` in it. A file is read once, since a pipe has nothing left to say then.
///
/// # Errors
/// Every variant but [`StoreError::Write`].
pub fn read(path: &Path) -> Result<Stored, StoreError> {
    let path = if path.is_dir() { file_of(path) } else { path.to_owned() };
    let bytes = bytes_of(&path)?;
    let is_of = |name: &str| schema_of(&bytes).is_some_and(|said| said.starts_with(family(name)));
    Ok(if is_of(SUITE_SCHEMA) {
        Stored::Suite(Box::new(parse(&bytes, &path, SUITE_SCHEMA, SUITE_SCHEMA_VERSION)?))
    } else if is_of(AB_SCHEMA) {
        Stored::Ab(Box::new(ab_of(&bytes, &path)?))
    } else {
        Stored::Run(Box::new(report_of(&bytes, &path)?))
    })
}

/// The report in a folder.
fn file_of(folder: &Path) -> PathBuf {
    let mut named =
        ["report.json", "suite.json", "ab.json"].map(|name| folder.join(name)).into_iter();
    let first = named.next().expect("there are three");
    if first.exists() {
        return first;
    }
    named.find(|file| file.is_file()).unwrap_or(first)
}

/// Only the schema is looked at; whether the rest is whole is for the reader.
fn schema_of(bytes: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.get("schema")?.as_str().map(str::to_owned)
}

/// `bench-ci.report/` of `bench-ci.report/1`.
fn family(schema: &str) -> &str {
    schema.trim_end_matches(|letter: char| letter.is_ascii_digit())
}

/// The file of this name in the folder of a report, which is given by itself or by its folder.
#[must_use]
pub fn beside(report: &Path, name: &str) -> PathBuf {
    if report.is_dir() { report.join(name) } else { report.with_file_name(name) }
}

/// Reads the `requests.jsonl` beside a report, in its order.
///
/// # Errors
/// [`StoreError::Read`] where there is none, [`StoreError::Row`] where it is damaged.
pub fn read_rows(report: &Path) -> Result<Vec<RequestRow>, StoreError> {
    let path = beside(report, "requests.jsonl");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    let row = |(index, line): (usize, &str)| {
        RequestRow::read(line.as_bytes()).map_err(|source| StoreError::Row {
            path: path.clone(),
            line: index + 1,
            source,
        })
    };
    text.lines().enumerate().map(row).collect()
}

/// Hands every line of a file on, without its end, in pieces of memory that do not grow with the file:
/// of a line that is longer than `most` bytes only so much.
///
/// # Errors
/// [`StoreError::Read`].
pub fn each_line(path: &Path, most: usize, mut take: impl FnMut(&[u8])) -> Result<(), StoreError> {
    let mut attempt = || {
        let mut file = BufReader::new(std::fs::File::open(path)?);
        let mut line = Vec::new();
        loop {
            let piece = file.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let there = &piece[..end.unwrap_or(piece.len())];
            line.extend_from_slice(&there[..there.len().min(most.saturating_sub(line.len()))]);
            let used = there.len() + usize::from(end.is_some());
            file.consume(used);
            if end.is_some() {
                take(&line);
                line.clear();
            }
        }
        if !line.is_empty() {
            take(&line);
        }
        Ok(())
    };
    attempt().map_err(|source| StoreError::Read { path: path.to_owned(), source })
}

/// Hands every row of the `requests.jsonl` beside a report on, in its order.
///
/// # Errors
/// As [`read_rows`].
pub fn each_row(report: &Path, mut take: impl FnMut(RequestRow)) -> Result<(), StoreError> {
    let path = beside(report, "requests.jsonl");
    let (mut number, mut damaged) = (0, None);
    each_line(&path, usize::MAX, |line| {
        number += 1;
        match RequestRow::read(line) {
            Ok(row) if damaged.is_none() => take(row),
            Ok(_) => {}
            Err(source) => damaged = damaged.take().or(Some((number, source))),
        }
    })?;
    damaged.map_or(Ok(()), |(line, source)| Err(StoreError::Row { path, line, source }))
}

/// Reads a `server-metrics.jsonl`. A server that was never scraped has none, so a missing file is
/// no rows.
///
/// # Errors
/// [`StoreError::Read`] where there is one that cannot be read, [`StoreError::Row`] where it is
/// damaged.
pub fn read_scrapes(path: &Path) -> Result<Vec<ScrapeRow>, StoreError> {
    let path = path.to_owned();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StoreError::Read { path, source }),
    };
    scrape_rows(&text).map_err(|(line, source)| StoreError::Row { path, line, source })
}

/// A report of the schema `name`, of which this build reads up to `newest`.
fn parse<T: DeserializeOwned>(
    bytes: &[u8],
    path: &Path,
    name: &'static str,
    newest: u32,
) -> Result<T, StoreError> {
    let path = path.to_owned();
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(source) => return Err(StoreError::NotJson { path, source }),
    };
    let family = family(name);
    let schema = value.get("schema").and_then(Value::as_str);
    match schema.and_then(|schema| schema.strip_prefix(family)?.parse::<u32>().ok()) {
        Some(version) if version > newest => Err(StoreError::Newer { path, version }),
        Some(version) if version == newest => {
            serde_json::from_value(value).map_err(|source| StoreError::Damaged { path, source })
        }
        _ => {
            let found = schema.map_or_else(|| "none".to_owned(), |name| format!("{name:?}"));
            Err(StoreError::NotAReport { path, expected: name, found })
        }
    }
}
