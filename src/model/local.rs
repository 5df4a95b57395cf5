//! A model that is already on disk.
//!
//! Main functions: [`find`], and [`parts_of`], which finds the other parts of a split model.
//! It fetches nothing.

use std::path::{Path, PathBuf};

use super::error::nearest_names;
use super::gguf::{GgufFile, GgufSummary};
use super::split::SplitName;
use super::{ModelError, ModelFile};

/// Names that a hint lists at most.
const NEAREST_COUNT: usize = 3;

/// The model at this path.
pub(super) fn find(path: &Path) -> Result<ModelFile, ModelError> {
    describe(parts_of(path)?, "path")
}

/// A [`ModelFile`] of files that are on disk, the first part first.
pub(super) fn describe(parts: Vec<PathBuf>, source: &str) -> Result<ModelFile, ModelError> {
    let mut size_bytes = 0;
    for part in &parts {
        let metadata = part.metadata().map_err(|error| ModelError::read(part, error))?;
        size_bytes += metadata.len();
    }
    let gguf = match read_parts(&parts) {
        Ok(files) => GgufSummary::of(&files),
        // A version newer than this build may well be known to the server.
        Err(ModelError::Unreadable { source, .. }) if !source.is_damage() => None,
        Err(error) => return Err(error),
    };
    Ok(ModelFile {
        path: parts.first().cloned().unwrap_or_default(),
        expected_sha256: vec![None; parts.len()],
        parts,
        source: source.to_owned(),
        hf_repo: None,
        hf_file: None,
        revision: None,
        size_bytes,
        sha256: None,
        gguf,
        downloaded_bytes: 0,
        digests: None,
    })
}

/// All files of the model that this file belongs to, the first part first.
pub(super) fn parts_of(path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ModelError::NoFile { path: path.to_owned(), nearest: nearest_to(path) });
        }
        Err(error) => return Err(ModelError::read(path, error)),
    };
    if !metadata.is_file() {
        return Err(ModelError::NotAFile { path: path.to_owned() });
    }
    let split = path.file_name().and_then(|name| name.to_str()).and_then(SplitName::parse);
    let Some(split) = split else {
        return Ok(vec![path.to_owned()]);
    };
    let mut parts = Vec::new();
    for index in 1..=split.count {
        let part = path.with_file_name(split.part(index));
        if !part.is_file() {
            let path = path.to_owned();
            return Err(ModelError::MissingPart { path, part, index, count: split.count });
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Reads what each part says about itself.
pub(super) fn read_parts(paths: &[PathBuf]) -> Result<Vec<GgufFile>, ModelError> {
    let read = |path: &PathBuf| {
        GgufFile::open(path).map_err(|source| ModelError::Unreadable { path: path.clone(), source })
    };
    paths.iter().map(read).collect()
}

/// Names of GGUF files in the same folder that are like the wanted one.
fn nearest_to(path: &Path) -> Vec<String> {
    let wanted = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".gguf"));
    nearest_names(&wanted, names, NEAREST_COUNT)
}
