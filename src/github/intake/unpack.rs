//! From folders and archives to files, without ever writing one: nothing is unpacked to disk, no link
//! is followed, no more is read than a report has.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;

use super::{MOST_ARCHIVE_BYTES, MOST_FILE_BYTES, MOST_FILES, Parcel, REPORTS, Refusal};

/// What lies at this path.
pub(super) fn read(path: &Path) -> Vec<Parcel> {
    let name = file_name(path);
    let unreadable = |error: std::io::Error| {
        vec![refused(&name, Refusal::Unreadable { cause: error.to_string() })]
    };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return unreadable(error),
    };
    if metadata.is_dir() {
        return match folder(path) {
            Ok(parcels) if parcels.is_empty() => vec![refused(&name, Refusal::Empty)],
            Ok(parcels) => parcels,
            Err(error) => unreadable(error),
        };
    }
    if path.extension().is_some_and(|extension| extension == "zip") {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        return match bounded(path, MOST_ARCHIVE_BYTES) {
            Ok(bytes) => unzip(&stem.unwrap_or(name), &bytes),
            Err(refusal) => vec![refused(&name, refusal)],
        };
    }
    // A report given by itself is called after the folder it lies in.
    let folder = fs::canonicalize(path).ok();
    let folder = folder.as_deref().and_then(Path::parent).map(file_name);
    let artifact = folder.filter(|folder| !folder.is_empty()).unwrap_or(name);
    vec![Parcel { artifact, content: bounded(path, MOST_FILE_BYTES) }]
}

/// A folder with a report, or with a folder for each artifact. What lies beside a report (the trials
/// of a comparison, for instance) is no artifact.
fn folder(path: &Path) -> std::io::Result<Vec<Parcel>> {
    let own = fs::canonicalize(path)?;
    let mut parcels: Vec<Parcel> = REPORTS
        .iter()
        .map(|report| path.join(report))
        .filter(|report| fs::symlink_metadata(report).is_ok())
        .filter_map(|report| in_artifact(&file_name(&own), &report))
        .collect();
    if !parcels.is_empty() {
        return Ok(parcels);
    }
    for entry in sorted(path)? {
        let kind = fs::symlink_metadata(&entry)?.file_type();
        if kind.is_dir() {
            let name = file_name(&entry);
            let files = sorted(&entry)?;
            let mut found: Vec<Parcel> =
                files.iter().filter_map(|file| in_artifact(&name, file)).collect();
            if found.is_empty() {
                found.push(refused(&name, Refusal::Empty));
            }
            parcels.extend(found);
        }
        if parcels.len() > MOST_FILES {
            break;
        }
    }
    Ok(parcels)
}

/// A file of an artifact's folder; `None` for what the artifact may hold beside its report.
fn in_artifact(artifact: &str, path: &Path) -> Option<Parcel> {
    let name = file_name(path);
    let content = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_symlink() => Err(Refusal::Path),
        Ok(metadata) if !metadata.is_file() => return None,
        Ok(_) if !REPORTS.contains(&name.as_str()) => return None,
        Ok(_) => bounded(path, MOST_FILE_BYTES),
        Err(error) => Err(Refusal::Unreadable { cause: error.to_string() }),
    };
    Some(Parcel { artifact: artifact.to_owned(), content })
}

fn sorted(path: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)?.take(4 * MOST_FILES) {
        entries.push(entry?.path());
    }
    entries.sort();
    Ok(entries)
}

/// The whole file, if it is no larger.
fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: std::io::Error| Refusal::Unreadable { cause: error.to_string() };
    read_bounded(File::open(path).map_err(unreadable)?, most, unreadable)
}

/// Never trusts a size that a header names: it reads one byte more than allowed, and no further.
fn read_bounded(
    source: impl Read,
    most: u64,
    broken: impl Fn(std::io::Error) -> Refusal,
) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    source.take(most + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > most { Err(Refusal::TooLarge) } else { Ok(bytes) }
}

/// The reports in an artifact's archive.
pub(super) fn unzip(artifact: &str, bytes: &[u8]) -> Vec<Parcel> {
    let broken = |cause: String| refused(artifact, Refusal::Archive { cause });
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => return vec![broken(error.to_string())],
    };
    if archive.len() > MOST_FILES {
        return vec![refused(artifact, Refusal::TooManyFiles { files: archive.len() })];
    }
    let mut parcels = Vec::new();
    for index in 0..archive.len() {
        let broken = |error: &dyn std::error::Error| Refusal::Archive { cause: error.to_string() };
        let content = match archive.by_index(index) {
            Err(error) => Err(broken(&error)),
            Ok(entry) if entry.is_dir() => continue,
            Ok(entry) => match entry.name().map(|name| name.into_owned()) {
                Err(_no_text) => Err(Refusal::Path),
                Ok(name) if entry.is_symlink() || is_path(&name) => Err(Refusal::Path),
                Ok(name) if !REPORTS.contains(&name.as_str()) => Err(Refusal::NotAReport),
                Ok(_) => read_bounded(entry, MOST_FILE_BYTES, |error| broken(&error)),
            },
        };
        parcels.push(Parcel { artifact: artifact.to_owned(), content });
    }
    if parcels.is_empty() {
        parcels.push(refused(artifact, Refusal::Empty));
    }
    parcels
}

/// Anything but the name of a file right in the archive.
fn is_path(name: &str) -> bool {
    name.contains(['/', '\\', '\0', ':']) || name.starts_with('.') || name.is_empty()
}

fn refused(artifact: &str, refusal: Refusal) -> Parcel {
    Parcel { artifact: artifact.to_owned(), content: Err(refusal) }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
