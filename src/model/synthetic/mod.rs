//! Models made on the spot: the llama architecture with random weights and a usable vocabulary.
//!
//! Main types: [`Shape`], what to make, and `make_cached`, which makes it once. Speed does not
//! depend on the weights, so any shape can be benchmarked with nothing to download. The weights
//! come from `ChaCha8` seeded by `seed_from_u64(seed)`, one stream a tensor, one byte a weight, so
//! that a file is the same on every platform. It does not make a model that says anything.

mod shape;
mod vocabulary;
mod write;

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub use shape::{Shape, ShapeError, WeightType};

use super::environment::Environment;
use super::error::free_bytes;
use super::{ModelError, ModelFile, digest, local};
use crate::cancel::Cancel;
use crate::event::{Event, Events, Stage};

/// Changes whenever the same shape would give other bytes; part of the file's name.
const GENERATOR_VERSION: u32 = 1;
/// Between two progress events.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Disk writes are gathered to this size.
const WRITE_BYTES: usize = 1 << 20;

/// The size that a model of this shape has on disk, in bytes.
#[must_use]
pub fn file_size_bytes(shape: &Shape) -> u64 {
    write::file_size_bytes(shape)
}

/// Makes the model at this path, whole or not at all.
///
/// # Errors
///
/// [`ModelError::DiskFull`], [`ModelError::Write`], or [`ModelError::Cancelled`].
pub fn make(
    shape: &Shape,
    path: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<(), ModelError> {
    let total_bytes = file_size_bytes(shape);
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(|error| ModelError::write(folder, error, None))?;
    let free_bytes = free_bytes(folder);
    if free_bytes.is_some_and(|free| free < total_bytes) {
        let path = path.to_owned();
        return Err(ModelError::DiskFull { path, needed_bytes: Some(total_bytes), free_bytes });
    }

    let failed = |error| ModelError::write(path, error, Some(total_bytes));
    // Until it is whole it has another name, and it is deleted if it never gets there.
    let mut temporary = tempfile::Builder::new()
        .prefix(".making-")
        .suffix(".gguf.incomplete")
        .tempfile_in(folder)
        .map_err(failed)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tell = |bytes| {
        let total_bytes = Some(total_bytes);
        let (stage, file) = (Stage::Model, file.clone());
        events.send(&Event::Transfer { stage, file, bytes, total_bytes });
    };
    tell(0);
    let mut told = Instant::now();
    let mut sink = BufWriter::with_capacity(WRITE_BYTES, temporary.as_file_mut());
    let whole = write::write_to(shape, &mut sink, |bytes| {
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            tell(bytes);
        }
        cancel.reason().is_none()
    })
    .and_then(|whole| sink.flush().map(|()| whole))
    .map_err(failed)?;
    drop(sink);
    match cancel.reason() {
        Some(reason) if !whole => return Err(ModelError::Cancelled(reason)),
        _ => {}
    }
    temporary.persist(path).map_err(|error| failed(error.error))?;
    open_to_readers(path).map_err(failed)?;
    tell(total_bytes);
    Ok(())
}

/// The model in the cache, made if it is not there.
///
/// It is kept in `model_dir`, else in bench-ci's own cache, under a name made of its shape.
///
/// # Errors
///
/// As [`make`], and [`ModelError::NoCacheFolder`].
pub(super) async fn make_cached(
    shape: &Shape,
    model_dir: Option<&Path>,
    environment: &Environment,
    events: &Events,
    cancel: &Cancel,
) -> Result<ModelFile, ModelError> {
    let folder: PathBuf = match (model_dir, &environment.bench_ci_cache) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(cache)) => cache.join("models"),
        (None, None) => return Err(ModelError::NoCacheFolder),
    };
    let path = folder.join(file_name(shape));
    let (shape, events, cancel) = (shape.clone(), events.clone(), cancel.clone());
    super::aside(move || {
        if !is_there(&path, &shape) {
            make(&shape, &path, &events, &cancel)?;
        }
        local::describe(vec![path], "synthetic")
    })
    .await
}

/// The file's name in the cache: readable, and different for every shape.
fn file_name(shape: &Shape) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{GENERATOR_VERSION} {} {shape}", shape.name));
    let hash = digest::in_hex(hasher);
    format!("synthetic-{}-{}-{}.gguf", shape.name, shape.kind.word(), &hash[..12])
}

/// Whether the whole file is there. It got its name only when it was whole; the size is compared
/// because a disk may have failed since.
fn is_there(path: &Path, shape: &Shape) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() == file_size_bytes(shape))
}

/// A temporary file is for its owner alone; a cached model is for whoever may see the cache.
fn open_to_readers(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests;
