//! From what the user named to a GGUF on disk, with its digest: the Hub, a path, or made here.
//!
//! Main types: [`ModelFile`], the outcome, and [`resolve`], which gets there. This and `dataset`
//! are the only rooms that know hf-hub. It does not load a model and it starts no server.

mod digest;
mod environment;
mod error;
pub mod gguf;
mod hub;
mod local;
mod split;
pub mod synthetic;

use std::path::{Path, PathBuf};

pub use environment::Environment;
pub use error::ModelError;
pub(crate) use error::free_bytes;
pub use gguf::{GgufSummary, ModelWork, TensorType};
pub use hub::{BadName, HubAsk, HubError, HubFault, HubLimits, RepoKind};

use crate::cancel::Cancel;
use crate::dataset::{FetchError, Fetched, HubFile};
use crate::event::Events;
use crate::plan::ModelSource;

/// A model on disk, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFile {
    /// The file to hand to the server; of a split model, the first part.
    pub path: PathBuf,
    /// All files of the model, in order; one unless it is split.
    pub parts: Vec<PathBuf>,
    /// `hub`, `path` or `synthetic`.
    pub source: String,
    /// The Hub's repository; `None` unless the source is `hub`.
    pub hf_repo: Option<String>,
    /// The file inside the repository, as asked for; `None` unless the source is `hub`.
    pub hf_file: Option<String>,
    /// The commit that the revision stood for; `None` unless the source is `hub`, or if the file
    /// was kept in a folder without a note of its commit and the Hub could not be asked.
    pub revision: Option<String>,
    /// All parts together, in bytes.
    pub size_bytes: u64,
    /// What [`ModelFile::digest`] would return, where getting the file has already told;
    /// `None` if it must still be computed.
    pub sha256: Option<String>,
    /// What the file says about itself; `None` if its GGUF version is newer than this build.
    pub gguf: Option<GgufSummary>,
    /// Bytes that came over the network for it in this run; 0 if it was there.
    pub downloaded_bytes: u64,
    /// Per part, the sha-256 that the Hub announced; `None` where it did not or is not involved.
    pub(crate) expected_sha256: Vec<Option<String>>,
    /// Where digests are remembered; `None` remembers none.
    pub(crate) digests: Option<PathBuf>,
}

impl ModelFile {
    /// The model's sha-256, 64 lower-case hex digits; reads the whole file unless remembered.
    ///
    /// Of a single file it is the file's. Of a split model it is the sha-256 of the parts' digests
    /// in order, each followed by a line end, so that
    /// `sha256sum PART… | cut -d' ' -f1 | sha256sum` gives the same. Reading a large file takes
    /// seconds: run it beside the start of the server. Computed digests are remembered in the cache
    /// folder by path, size and modification time.
    ///
    /// # Errors
    ///
    /// [`ModelError::Read`], and [`ModelError::CachedDigest`] if a file from the Hub is not what
    /// the Hub announced.
    pub async fn digest(&self) -> Result<String, ModelError> {
        match &self.sha256 {
            Some(known) => Ok(known.clone()),
            None => digest::of_model(self).await,
        }
    }
}

/// Finds, fetches or makes the model, reading the environment for the Hub and the caches.
///
/// `model_dir` is where model files are kept; without it that is the Hub's own cache, or for a
/// synthetic model bench-ci's. Progress is told as [`crate::event::Event::Transfer`].
///
/// # Errors
///
/// [`ModelError`] with the cause in words and a hint. Nothing that is not whole is left where a
/// later run would take it for whole.
pub async fn resolve(
    source: &ModelSource,
    model_dir: Option<&Path>,
    events: &Events,
    cancel: &Cancel,
) -> Result<ModelFile, ModelError> {
    resolve_in(source, model_dir, &Environment::read(), events, cancel).await
}

/// Like [`resolve`], with the environment handed in.
///
/// # Errors
///
/// As [`resolve`].
pub async fn resolve_in(
    source: &ModelSource,
    model_dir: Option<&Path>,
    environment: &Environment,
    events: &Events,
    cancel: &Cancel,
) -> Result<ModelFile, ModelError> {
    let mut model = match source {
        ModelSource::Hub { repo, file, revision } => {
            let ask = HubAsk::new(RepoKind::Model, repo, file, revision.as_deref(), environment)?;
            hub::fetch(&ask, model_dir, environment, events, cancel).await?
        }
        ModelSource::Path { path } => local::find(path)?,
        ModelSource::Synthetic { shape } => {
            let shape: synthetic::Shape = shape.parse()?;
            synthetic::make_cached(&shape, model_dir, environment, events, cancel).await?
        }
    };
    model.digests = environment.bench_ci_cache.as_ref().map(|cache| cache.join("digests"));
    Ok(model)
}

/// Brings a file of a dataset to disk, with the same cache, resuming and checks as a model's.
///
/// # Errors
///
/// A [`FetchError`] around the [`ModelError`], with its hint.
pub async fn fetch_dataset_file(
    file: HubFile,
    events: &Events,
    cancel: &Cancel,
) -> Result<Fetched, FetchError> {
    fetch_dataset_file_in(file, &Environment::read(), events, cancel).await
}

/// Like [`fetch_dataset_file`], with the environment handed in.
///
/// # Errors
///
/// As [`fetch_dataset_file`].
pub async fn fetch_dataset_file_in(
    file: HubFile,
    environment: &Environment,
    events: &Events,
    cancel: &Cancel,
) -> Result<Fetched, FetchError> {
    let failed = |error: ModelError| FetchError { hint: error.hint(), source: Box::new(error) };
    let ask = HubAsk::new(
        RepoKind::Dataset,
        &file.repo,
        &file.file,
        file.revision.as_deref(),
        environment,
    )
    .map_err(|error| failed(error.into()))?;
    let (path, sha256) =
        hub::fetch_file(&ask, environment, events, cancel).await.map_err(failed)?;
    Ok(Fetched { path, sha256 })
}

/// The sha-256 of a file that is no model, computed off the async threads and remembered like a
/// model's.
///
/// # Errors
///
/// [`ModelError`] if it cannot be read.
pub async fn file_digest(path: &Path) -> Result<String, ModelError> {
    let (path, digests) = (path.to_owned(), cache_dir().map(|cache| cache.join("digests")));
    aside(move || digest::of_file_remembered(&path, digests.as_deref())).await
}

/// Where bench-ci keeps what it makes: `BENCH_CI_CACHE`, else `XDG_CACHE_HOME/bench-ci`, else
/// `~/.cache/bench-ci`; `None` if there is no home either.
#[must_use]
pub fn cache_dir() -> Option<PathBuf> {
    Environment::read().bench_ci_cache
}

/// Runs what would block, such as hashing gigabytes, away from the async threads.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: nobody will look at the value.
        Err(_shut_down) => std::future::pending().await,
    }
}

/// What a GGUF is, as a table for a person; of a split model, any part stands for all.
///
/// # Errors
///
/// [`ModelError`] if the file is missing, or not a whole GGUF.
pub fn inspect(path: &Path) -> Result<String, ModelError> {
    let paths = local::parts_of(path)?;
    let parts = local::read_parts(&paths)?;
    Ok(gguf::inspect_parts(&paths, &parts))
}
