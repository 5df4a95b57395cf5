//! Sides from files: reports, folders of reports, and what other tools wrote.
//!
//! Main function: [`side`]. The only file of this room that touches the disk.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Side, Trial, is_k6, is_llama_bench, k6_trial, llama_bench_trial, trial};
use crate::artifact::store::{self, StoreError};

/// A folder with more runs than this is not a side of a comparison.
const MAX_RUNS: usize = 10_000;

/// Reads a side. A folder stands for the `report.json` in it, or else for those in its subfolders,
/// in the order of their names.
///
/// # Errors
/// Where a file cannot be read or is nothing that is known.
pub fn side(paths: &[PathBuf]) -> Result<Side, StoreError> {
    let mut trials = Vec::new();
    for path in paths {
        for file in expand(path)? {
            trials.push(read(&file)?);
        }
    }
    Ok(Side { trials })
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !path.is_dir() || path.join("report.json").is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| StoreError::Read { path: path.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)?.take(MAX_RUNS) {
        let inside = entry.map_err(failed)?.path();
        let report = inside.join("report.json");
        if report.is_file() {
            found.push(report);
        }
    }
    if found.is_empty() {
        let none = "no report.json in this folder or in one below it";
        return Err(failed(std::io::Error::new(std::io::ErrorKind::NotFound, none)));
    }
    found.sort();
    Ok(found)
}

/// One run, whoever measured it.
fn read(path: &Path) -> Result<Trial, StoreError> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Ok(trial(&name, &store::read_report(path)?));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if is_llama_bench(&value) => {
            let rows = value.as_array().cloned().unwrap_or_else(|| vec![value]);
            Ok(llama_bench_trial(&name, &rows))
        }
        Ok(value) if is_k6(&value) => Ok(k6_trial(&name, &value)),
        // Our own reader knows best what is wrong with the rest.
        Ok(_) => Ok(trial(&name, &store::report_of(text.as_bytes(), path)?)),
        Err(source) => match lines(&text) {
            Some(rows) => Ok(llama_bench_trial(&name, &rows)),
            None => Err(StoreError::NotJson { path: path.to_owned(), source }),
        },
    }
}

/// llama-bench's JSON lines; `None` of anything else.
fn lines(text: &str) -> Option<Vec<Value>> {
    let rows: Vec<Value> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).ok().filter(is_llama_bench))
        .collect::<Option<_>>()?;
    (!rows.is_empty()).then_some(rows)
}
