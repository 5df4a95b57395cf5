//! Prompts: built in, from a file on disk or on the Hub, of asked lengths, or from a trace.
//!
//! Main types: [`PromptSet`], what [`load`] gives for an [`Ask`], and [`Fetch`], how it is handed the
//! way to the Hub. Which ShareGPT prompts are kept, and in which order, is exactly what llama.cpp's
//! script.js does. It opens no connection of its own and never holds a whole JSON file in memory.

mod error;
mod extract;
mod format;
mod json;
mod lines;
mod parquet;
mod pick;
mod prompt;
mod reading;
mod recipe;
mod record;
mod sharegpt;
mod surrogates;
mod table;
mod trace;
pub mod words;

use std::borrow::Cow;
use std::future::Future;
use std::path::{Path, PathBuf};

use crate::cancel::Cancel;
use crate::event::Events;
use crate::plan::{DatasetSpec, PromptFilter};

pub use error::{DatasetError, FetchError};
pub use lines::Fault;
pub use pick::{DatasetFile, LeftOut, PromptSet};
pub use prompt::{ChatMessage, Content, Prompt};
pub use recipe::{Block, BlockKey, Recipe};
pub use record::Carries;

use reading::Reading;

/// What is asked of a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Which one.
    pub spec: DatasetSpec,
    /// Which of its prompts.
    pub filter: PromptFilter,
    /// At most so many, the first ones; `None` takes all.
    pub limit: Option<u64>,
    /// What the requests can carry.
    pub carries: Carries,
    /// Of everything drawn.
    pub seed: u64,
}

/// A file of a dataset repository on the Hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Such as `owner/name`; the repository is of the Hub's kind `dataset`.
    pub repo: Cow<'static, str>,
    /// Its path inside the repository.
    pub file: Cow<'static, str>,
    /// Branch, tag or commit; `None` is `main`.
    pub revision: Option<String>,
}

/// The public ShareGPT file that script.js and bench.py use: about 640 MB.
pub const SHAREGPT: HubFile = HubFile {
    repo: Cow::Borrowed("anon8231489123/ShareGPT_Vicuna_unfiltered"),
    file: Cow::Borrowed("ShareGPT_V3_unfiltered_cleaned_split.json"),
    revision: None,
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

/// Loads the prompts that are asked for, in the dataset's order.
///
/// `cache_dir` is where a compact extract of the public ShareGPT file is kept, so that it is read
/// once; `None` keeps none. Fewer prompts than the limit are no error, none at all is one. Prompts
/// of asked lengths are [`Content::Recipe`]: what they say depends on the server's vocabulary.
/// Reading is done on a blocking thread, which stops at the next record after `cancel`.
///
/// # Errors
///
/// [`DatasetError`]: no file, not its shape (with the line), nothing left, or cancelled.
pub async fn load(
    ask: &Ask,
    cache_dir: Option<&Path>,
    fetch: &impl Fetch,
    events: &Events,
    cancel: &Cancel,
) -> Result<PromptSet, DatasetError> {
    let reading = Reading::new(ask, events, cancel);
    let fetched = match &ask.spec {
        DatasetSpec::ShareGptHub => Some(SHAREGPT),
        DatasetSpec::Hub { repo, file, revision } => Some(HubFile {
            repo: Cow::Owned(repo.clone()),
            file: Cow::Owned(file.clone()),
            revision: revision.clone(),
        }),
        _ => None,
    };
    let fetched = match fetched {
        None => None,
        Some(file) => Some(tokio::select! {
            // The fetch may see the stop first and call it a failure.
            fetched = fetch.fetch(file) => fetched.map_err(|source| match cancel.reason() {
                Some(reason) => DatasetError::Cancelled(reason),
                None => DatasetError::Fetch { dataset: ask.spec.to_string(), source },
            })?,
            reason = cancel.cancelled() => return Err(DatasetError::Cancelled(reason)),
        }),
    };
    let cache_dir = cache_dir.map(Path::to_path_buf);
    match (ask.spec.clone(), fetched) {
        (DatasetSpec::Inline { prompts }, _) => reading.inline(prompts),
        (DatasetSpec::Builtin, _) => blocking(move || reading.builtin()).await,
        (DatasetSpec::Synthetic(spec), _) => blocking(move || reading.synthetic(&spec)).await,
        (DatasetSpec::File { path }, _) => blocking(move || reading.file(&path, None)).await,
        (DatasetSpec::Trace { path }, _) => blocking(move || reading.trace(&path)).await,
        (DatasetSpec::ShareGptHub, Some(fetched)) => {
            blocking(move || reading.sharegpt(&fetched, cache_dir.as_deref())).await
        }
        (DatasetSpec::Hub { .. }, Some(fetched)) => {
            blocking(move || reading.file(&fetched.path, fetched.sha256)).await
        }
        (DatasetSpec::ShareGptHub | DatasetSpec::Hub { .. }, None) => {
            unreachable!("whatever is on the Hub was fetched above")
        }
    }
}

/// The texts of the built-in corpus, one after the other: a sample of what people write.
#[must_use]
pub fn corpus() -> String {
    let mut picker = pick::Picker::new(String::new(), PromptFilter::default(), None);
    extract::read_plain(reading::BUILT_IN, &mut picker);
    let prompts = picker.finish().map(|set| set.prompts).unwrap_or_default();
    prompts.iter().filter_map(Prompt::text).collect::<Vec<_>>().join("\n")
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
