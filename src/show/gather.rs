//! Finds and reads many reports.
//!
//! Main functions: [`trend`] and [`reports`]. A file that is named must be a report, and one that is
//! found in a folder may be anything: what says that it is no report of ours is passed over in silence,
//! and everything else that cannot be read is named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::artifact::Report;
use crate::artifact::store::{self, StoreError};
use crate::history::point::About;
use crate::report::trend::{Run, Skipped, Trend};

/// How deep folders are looked into: an archive of days, of jobs, of suites, of their cells.
const MAX_DEPTH: usize = 6;

/// More files than this are no folder of reports.
const MAX_FILES: usize = 100_000;

/// Whether a path is a folder that stands for many reports, and not for one thing of ours.
pub(super) fn is_folder_of_reports(path: &Path) -> bool {
    let ours = ["report.json", "suite.json", "ab.json"];
    path.is_dir() && !ours.iter().any(|name| path.join(name).exists())
}

/// Series of all reports in these files and folders.
///
/// # Errors
/// Where a folder cannot be read, or nothing was found in it.
pub(super) fn trend(paths: &[PathBuf]) -> Result<Trend, StoreError> {
    let mut runs = Vec::new();
    let mut skipped = Vec::new();
    each(paths, |file, read| match read {
        // A report may be large; what a trend shows of it is not.
        Ok(report) => runs.push((About::of(&report), Run::of(&file, &report))),
        Err(error) => skipped.push(Skipped { file, why: words(&error) }),
    })?;
    Ok(Trend::of(runs, skipped))
}

/// The reports themselves, by the time at which they began.
///
/// # Errors
/// Likewise.
pub(super) fn reports(paths: &[PathBuf]) -> Result<(Vec<Report>, Vec<Skipped>), StoreError> {
    let mut reports = Vec::new();
    let mut skipped = Vec::new();
    each(paths, |file, read| match read {
        Ok(report) => reports.push(report),
        Err(error) => skipped.push(Skipped { file, why: words(&error) }),
    })?;
    reports.sort_by(|one: &Report, other| one.run.started_at.cmp(&other.run.started_at));
    Ok((reports, skipped))
}

/// The error with its cause, without the path, which stands before it.
fn words(error: &StoreError) -> String {
    let why = match error {
        StoreError::Newer { version, .. } => {
            format!("it has schema version {version}, which is newer than this build reads")
        }
        StoreError::Read { source, .. } => format!("it cannot be read: {source}"),
        StoreError::NotJson { source, .. } => format!("it is not JSON: {source}"),
        StoreError::Damaged { source, .. } => format!("it is damaged: {source}"),
        other => other.to_string(),
    };
    why.chars().take(300).collect()
}

fn each(
    paths: &[PathBuf],
    mut take: impl FnMut(String, Result<Report, StoreError>),
) -> Result<(), StoreError> {
    let mut seen = BTreeSet::new();
    let mut first_time =
        |path: &Path| seen.insert(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
    for path in paths {
        if !is_folder_of_reports(path) {
            let file = if path.is_dir() { path.join("report.json") } else { path.clone() };
            if first_time(&file) {
                take(path.display().to_string(), store::read_report(&file));
            }
            continue;
        }
        let mut files = Vec::new();
        walk(path, 0, &mut files)
            .map_err(|source| StoreError::Read { path: path.clone(), source })?;
        files.sort();
        let mut found = false;
        for file in files {
            if is_something_else(&file) || !first_time(&file) {
                continue;
            }
            found = true;
            take(file.display().to_string(), store::read_report(&file));
        }
        if !found {
            let none = "no report in this folder or in those below it";
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, none);
            return Err(StoreError::Read { path: path.clone(), source });
        }
    }
    Ok(())
}

/// All `.json` files, without following links.
fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    // The trials of a comparison are slices of one, and no runs.
    if depth > MAX_DEPTH || folder.join("ab.json").is_file() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if files.len() >= MAX_FILES {
            return Ok(());
        }
        if kind.is_dir() {
            // One folder that is not ours to read must not hide the others.
            drop(walk(&path, depth + 1, files));
        } else if kind.is_file() && path.extension().is_some_and(|end| end == "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a file that lies in a folder says itself that it is no report: k6's summary beside one, a
/// suite, the settings of an editor. `report.json` is always meant.
fn is_something_else(file: &Path) -> bool {
    if file.file_name().is_some_and(|name| name == "report.json") {
        return false;
    }
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(_) => return false,
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => {
            let schema = value.get("schema").and_then(Value::as_str);
            !schema.is_some_and(|schema| schema.starts_with("bench-ci.report/"))
        }
        Err(_) => false,
    }
}
