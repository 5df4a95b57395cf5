//! Prompts: the corpus inside this binary, the public ShareGPT file, or a file of that shape.
//!
//! Main types: [`PromptSet`], what [`load`] gives, and [`Fetch`], how it is handed the way to the
//! Hub. Which prompts are kept, and in which order, is exactly what llama.cpp's script.js does.
//! It opens no connection of its own and never holds a whole ShareGPT file in memory.

mod error;
mod extract;
mod pick;
mod prompt;
mod sharegpt;
pub mod words;

use std::future::Future;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::event::{Event, Events};
use crate::plan::{DatasetSpec, PromptFilter};

pub use error::{DatasetError, FetchError};
pub use pick::{LeftOut, PromptSet};
pub use prompt::{ChatMessage, Content, Prompt};

use pick::Picker;

/// A file of a dataset repository on the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubFile {
    /// Such as `owner/name`; the repository is of the Hub's kind `dataset`.
    pub repo: &'static str,
    /// Its path inside the repository.
    pub file: &'static str,
}

/// The public ShareGPT file that script.js and bench.py use: about 640 MB.
pub const SHAREGPT: HubFile = HubFile {
    repo: "anon8231489123/ShareGPT_Vicuna_unfiltered",
    file: "ShareGPT_V3_unfiltered_cleaned_split.json",
};

/// A file of the Hub that is on disk now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies, complete.
    pub path: PathBuf,
    /// Its SHA-256 in hex, where the Hub or the download knows it; `None` otherwise. It keys the
    /// extract; without it path, size and modification time do.
    pub sha256: Option<String>,
}

/// The one way to the Hub, handed in by the caller: this room downloads nothing itself.
/// Any `Fn(HubFile) -> impl Future<Output = Result<Fetched, FetchError>>` is one.
pub trait Fetch: Sync {
    /// Brings the file to disk, from the cache where it is there.
    fn fetch(&self, file: HubFile) -> impl Future<Output = Result<Fetched, FetchError>> + Send;
}

impl<F, Answer> Fetch for F
where
    F: Fn(HubFile) -> Answer + Sync,
    Answer: Future<Output = Result<Fetched, FetchError>> + Send,
{
    fn fetch(&self, file: HubFile) -> impl Future<Output = Result<Fetched, FetchError>> + Send {
        self(file)
    }
}

/// The corpus inside this binary: our own, written for bench-ci, one prompt a line.
const BUILT_IN: &str = include_str!("builtin.jsonl");

/// Loads the prompts that pass `filter`, in the dataset's order, at most `limit`.
///
/// `cache_dir` is where a compact extract of the public ShareGPT file is kept, so that it is read
/// once; `None` keeps none. Fewer prompts than `limit` are no error, none at all is one.
/// Reading is done on a blocking thread, which stops at the next conversation after `cancel`.
///
/// # Errors
///
/// [`DatasetError`]: no file, not its shape (with the line), nothing left, or cancelled.
pub async fn load(
    spec: &DatasetSpec,
    filter: &PromptFilter,
    limit: Option<u64>,
    cache_dir: Option<&Path>,
    fetch: &impl Fetch,
    events: &Events,
    cancel: &Cancel,
) -> Result<PromptSet, DatasetError> {
    let source = spec.to_string();
    let reading = Reading {
        picker: Picker::new(source, *filter, limit),
        events: events.clone(),
        cancel: cancel.clone(),
    };
    let set = match spec {
        DatasetSpec::Builtin => blocking(move || reading.builtin()).await,
        DatasetSpec::ShareGptFile { path } => {
            let path = path.clone();
            blocking(move || reading.file(&path)).await
        }
        DatasetSpec::ShareGptHub => {
            let fetched = tokio::select! {
                // The fetch may see the stop first and call it a failure.
                fetched = fetch.fetch(SHAREGPT) => fetched.map_err(|error| match cancel.reason() {
                    Some(reason) => DatasetError::Cancelled(reason),
                    None => DatasetError::Fetch(error),
                })?,
                reason = cancel.cancelled() => return Err(DatasetError::Cancelled(reason)),
            };
            let cache_dir = cache_dir.map(Path::to_path_buf);
            blocking(move || reading.hub(&fetched, cache_dir.as_deref())).await
        }
    }?;
    Ok(set)
}

/// Runs the reading on a thread that may block; a panic there is a panic here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being torn down drops its tasks, and then nobody asks.
            Err(_runtime_is_gone) => std::future::pending().await,
        },
    }
}

/// What the readers share.
struct Reading {
    picker: Picker,
    events: Events,
    cancel: Cancel,
}

impl Reading {
    fn builtin(mut self) -> Result<PromptSet, DatasetError> {
        extract::read_plain(BUILT_IN, &mut self.picker);
        self.picker.finish()
    }

    fn file(mut self, path: &Path) -> Result<PromptSet, DatasetError> {
        let source = self.open(path)?;
        sharegpt::read(source, path, &self.cancel, &mut |conversation| {
            self.picker.offer(conversation)
        })?;
        self.picker.finish()
    }

    /// The public file, or its extract if there is one.
    ///
    /// A run with a limit reads the file only as far as it needs, which takes milliseconds and
    /// is no reason to write an extract; a run over all prompts reads it whole, once.
    fn hub(
        mut self,
        fetched: &Fetched,
        cache_dir: Option<&Path>,
    ) -> Result<PromptSet, DatasetError> {
        let extract_path =
            cache_dir.and_then(|dir| Some(dir.join(extract::file_name(&extract::key(fetched)?))));
        if let Some(path) = &extract_path {
            match extract::read(path, &mut self.picker, &self.cancel) {
                Ok(extract::Outcome::Done) => return self.picker.finish(),
                Ok(extract::Outcome::Absent) => {}
                Err(extract::ReadError::Cancelled(reason)) => {
                    return Err(DatasetError::Cancelled(reason));
                }
                Err(extract::ReadError::Damaged(cause)) => {
                    self.picker = self.picker.restarted();
                    self.warn(format!(
                        "the extract \"{}\" is damaged ({cause}) and is made anew",
                        path.display()
                    ));
                }
            }
        }
        let source = self.open(&fetched.path)?;
        let mut writer = match extract_path.as_deref().filter(|_| !self.picker.has_limit()) {
            Some(path) => match extract::Writer::create(path) {
                Ok(writer) => Some(writer),
                Err(cause) => {
                    self.warn(format!(
                        "cannot keep an extract of the dataset in \"{}\": {cause}",
                        path.display()
                    ));
                    None
                }
            },
            None => None,
        };
        sharegpt::read(source, &fetched.path, &self.cancel, &mut |conversation| {
            if let Some(writer) = &mut writer {
                writer.add(&conversation);
            }
            self.picker.offer(conversation)
        })?;
        if let Some(Err(cause)) = writer.map(extract::Writer::finish) {
            self.warn(format!("cannot keep an extract of the dataset: {cause}"));
        }
        self.picker.finish()
    }

    fn open(&self, path: &Path) -> Result<impl Read + use<>, DatasetError> {
        let refused = |source| DatasetError::Open { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(refused)?;
        let about = file.metadata().map_err(refused)?;
        if about.is_dir() {
            return Err(refused(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Counted {
            inner: file,
            events: self.events.clone(),
            file: name,
            bytes: 0,
            told: 0,
            total_bytes: about.is_file().then_some(about.len()),
        })
    }

    fn warn(&self, message: String) {
        self.events.send(&Event::Warning { message });
    }
}

/// One read from disk.
const READ_BYTES: usize = 256 * 1024;

/// How often a reader tells how far it is: small files never, the public one some twenty times.
const TELL_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Tells the listeners how far a long file has been read.
struct Counted<R> {
    inner: R,
    events: Events,
    file: String,
    bytes: u64,
    told: u64,
    total_bytes: Option<u64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes - self.told >= TELL_EVERY_BYTES
            || (count == 0 && self.told > 0 && self.told < self.bytes)
        {
            self.told = self.bytes;
            self.events.send(&Event::Transfer {
                file: self.file.clone(),
                bytes: self.bytes,
                total_bytes: self.total_bytes,
            });
        }
        Ok(count)
    }
}
