//! Where a fetched file is kept: in the cache that all Hub tools share, or in a folder of its own.
//!
//! Main type: [`Place`]. Both layouts are huggingface_hub's (and so hf-hub's), down to the note
//! beside a file in a folder, so that those tools find what we fetched and we what they did. A file
//! gets its place by a rename and only when it is whole. It asks nothing of the network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::ask::{HubAsk, RepoKind, is_plain_name};
use super::metadata::Metadata;
use super::{HubFault, HubLimits};
use crate::cancel::Cancel;
use crate::model::split::SplitName;
use crate::model::{ModelError, digest};

/// Between two looks at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Where files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `CACHE/models--OWNER--NAME/{blobs,refs,snapshots}`.
    Cache(PathBuf),
    /// `FOLDER/FILE`, with a note in `FOLDER/.cache/huggingface/download`.
    Folder(PathBuf),
}

/// A file that is already there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    /// Its commit; `None` if nothing tells.
    pub(super) commit: Option<String>,
    /// What the Hub announced as its digest; `None` if nothing tells.
    pub(super) sha256: Option<String>,
}

/// A file that is there and whole.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Why it has not the name by which this and other tools find it; `None` where it has.
    pub(super) unnamed: Option<ModelError>,
}

impl Place {
    /// The folder itself, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Place::Cache(path) | Place::Folder(path) => path,
        }
    }

    fn repo_folder(cache: &Path, ask: &HubAsk) -> PathBuf {
        let kind = match ask.kind {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        };
        cache.join(format!("{kind}--{}", ask.repo.replace('/', "--")))
    }

    /// Where the bytes of this file go once they are whole.
    pub(super) fn target(&self, ask: &HubAsk, metadata: &Metadata) -> PathBuf {
        match self {
            Place::Cache(cache) => Self::repo_folder(cache, ask).join("blobs").join(&metadata.etag),
            Place::Folder(folder) => folder.join(&ask.file),
        }
    }

    /// Where they go until then. The etag is in the name: bytes of another version never mix.
    pub(super) fn incomplete(&self, ask: &HubAsk, metadata: &Metadata) -> PathBuf {
        match self {
            Place::Cache(_) => with_suffix(&self.target(ask, metadata), ".incomplete"),
            Place::Folder(folder) => {
                with_suffix(&note_base(folder, ask), &format!(".{}.incomplete", metadata.etag))
            }
        }
    }

    fn lock_path(&self, ask: &HubAsk, metadata: &Metadata) -> PathBuf {
        match self {
            Place::Cache(cache) => {
                let repo = Self::repo_folder(cache, ask);
                let name = repo.file_name().unwrap_or_default();
                cache.join(".locks").join(name).join(format!("{}.lock", metadata.etag))
            }
            Place::Folder(folder) => with_suffix(&note_base(folder, ask), ".lock"),
        }
    }

    /// Waits until nobody else fetches the same file. The lock ends with the returned file.
    pub(super) async fn lock(
        &self,
        ask: &HubAsk,
        metadata: &Metadata,
        limits: &HubLimits,
        cancel: &Cancel,
    ) -> Result<File, ModelError> {
        let path = self.lock_path(ask, metadata);
        create_parent(&path)?;
        let file = File::create(&path).map_err(|error| ModelError::write(&path, error, None))?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) => {}
                // A file system without locks: two processes at once are then the user's care.
                Err(std::fs::TryLockError::Error(_)) => return Ok(file),
            }
            if began.elapsed() >= limits.lock_wait {
                let fault = HubFault::Locked { lock: path, limit: limits.lock_wait };
                return Err(ask.failed(fault).into());
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_POLL) => {}
                reason = cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
            }
        }
    }

    /// What is kept of a file, without asking whether it is still what the Hub has.
    ///
    /// In the cache this is what hf-hub itself finds there.
    pub(super) async fn kept(&self, client: &hf_hub::HFClient, ask: &HubAsk) -> Option<Kept> {
        match self {
            Place::Cache(cache) => {
                let (owner, name) = hf_hub::split_id(&ask.repo);
                let cached = match ask.kind {
                    RepoKind::Model => {
                        let download = client.model(owner, name);
                        let download = download.download_file().filename(ask.file.as_str());
                        download.revision(ask.revision()).local_files_only(true).send().await
                    }
                    RepoKind::Dataset => {
                        let download = client.dataset(owner, name);
                        let download = download.download_file().filename(ask.file.as_str());
                        download.revision(ask.revision()).local_files_only(true).send().await
                    }
                };
                let path = cached.ok()?;
                let snapshots = Self::repo_folder(cache, ask).join("snapshots");
                let inside = path.strip_prefix(&snapshots).ok()?;
                let commit = inside.components().next()?.as_os_str().to_str()?.to_owned();
                let blob = std::fs::read_link(&path).ok();
                let etag = blob.and_then(|blob| Some(blob.file_name()?.to_str()?.to_owned()));
                let sha256 = etag.filter(|etag| digest::is_sha256(etag));
                Some(Kept { path, commit: Some(commit), sha256 })
            }
            Place::Folder(folder) => {
                let path = folder.join(&ask.file);
                path.is_file().then_some(())?;
                let note = Note::read(folder, ask).filter(|note| note.is_about(&path));
                let (commit, etag) = note.map(|note| (note.commit, note.etag)).unzip();
                let sha256 = etag.filter(|etag| digest::is_sha256(etag));
                Some(Kept { path, commit, sha256 })
            }
        }
    }

    /// The file, if exactly this version of it is there and whole.
    ///
    /// What is there under its name but has another size is removed: it was left by a program
    /// that does not check.
    pub(super) fn find(
        &self,
        ask: &HubAsk,
        metadata: &Metadata,
    ) -> Result<Option<Found>, ModelError> {
        let target = self.target(ask, metadata);
        let Ok(on_disk) = target.metadata() else {
            return Ok(None);
        };
        let size_fits = metadata.size_bytes.is_none_or(|size| size == on_disk.len());
        match self {
            Place::Cache(_) if !size_fits => {
                std::fs::remove_file(&target)
                    .map_err(|error| ModelError::write(&target, error, None))?;
                Ok(None)
            }
            Place::Cache(_) => self.found(ask, metadata).map(Some),
            Place::Folder(_) if !size_fits => Ok(None),
            Place::Folder(folder) => {
                let noted = Note::read(folder, ask).filter(|note| note.is_about(&target));
                let same = match (noted, &metadata.sha256) {
                    (Some(note), _) if note.etag == metadata.etag => {
                        return Ok(Some(Found { path: target, unnamed: None }));
                    }
                    // Somebody put it there; its own bytes tell whether it is the one.
                    (_, Some(expected)) => digest::of_file(&target)? == *expected,
                    (_, None) => false,
                };
                if same { self.found(ask, metadata).map(Some) } else { Ok(None) }
            }
        }
    }

    /// A whole file under its name, or wherever it can be read: a cache that jobs may only read has
    /// the bytes and takes no further name for them, as where a branch has moved and the file has not.
    fn found(&self, ask: &HubAsk, metadata: &Metadata) -> Result<Found, ModelError> {
        match self.finish(ask, metadata) {
            Ok(path) => Ok(Found { path, unnamed: None }),
            Err(error) => match self.other_name(ask, metadata) {
                Some(path) => Ok(Found { path, unnamed: Some(error) }),
                None => Err(error),
            },
        }
    }

    /// Under which name a whole file can be read that has not its own: that of another commit, else
    /// where its bytes lie. `None` for a part of a split model without a name: a server finds the
    /// others by it.
    fn other_name(&self, ask: &HubAsk, metadata: &Metadata) -> Option<PathBuf> {
        let target = self.target(ask, metadata);
        let Place::Cache(cache) = self else { return Some(target) };
        let bytes = target.canonicalize().ok()?;
        let commits = std::fs::read_dir(Self::repo_folder(cache, ask).join("snapshots"));
        let names = commits.into_iter().flatten().flatten().map(|it| it.path().join(&ask.file));
        // Of several always the same, so that the parts of a split model come from one commit.
        let named = names.filter(|name| name.canonicalize().is_ok_and(|it| it == bytes)).max();
        named.or_else(|| SplitName::parse(&ask.file).is_none().then_some(target))
    }

    /// Gives a whole file its place and its name.
    pub(super) fn keep(
        &self,
        ask: &HubAsk,
        metadata: &Metadata,
        incomplete: &Path,
    ) -> Result<PathBuf, ModelError> {
        let target = self.target(ask, metadata);
        create_parent(&target)?;
        std::fs::rename(incomplete, &target)
            .map_err(|error| ModelError::write(&target, error, None))?;
        self.finish(ask, metadata)
    }

    /// Writes what lets this and other tools find a file that is in place; returns its path.
    fn finish(&self, ask: &HubAsk, metadata: &Metadata) -> Result<PathBuf, ModelError> {
        match self {
            Place::Cache(cache) => {
                let repo = Self::repo_folder(cache, ask);
                let pointer = repo.join("snapshots").join(&metadata.commit).join(&ask.file);
                let up = "../".repeat(ask.file.split('/').count() + 1);
                point(&pointer, Path::new(&format!("{up}blobs/{}", metadata.etag)))?;
                if ask.revision() != metadata.commit {
                    let reference = repo.join("refs").join(ask.revision());
                    write_whole(&reference, metadata.commit.as_bytes())?;
                }
                Ok(pointer)
            }
            Place::Folder(folder) => {
                Note { commit: metadata.commit.clone(), etag: metadata.etag.clone(), at: now_s() }
                    .write(folder, ask)?;
                Ok(folder.join(&ask.file))
            }
        }
    }
}

/// huggingface_hub's note about a file in a folder: commit, etag and time, a line each.
struct Note {
    commit: String,
    etag: String,
    /// Seconds since 1970.
    at: f64,
}

impl Note {
    fn path(folder: &Path, ask: &HubAsk) -> PathBuf {
        with_suffix(&note_base(folder, ask), ".metadata")
    }

    fn read(folder: &Path, ask: &HubAsk) -> Option<Self> {
        let text = std::fs::read_to_string(Self::path(folder, ask)).ok()?;
        let mut lines = text.lines().map(str::trim);
        let (commit, etag, at) = (lines.next()?, lines.next()?, lines.next()?);
        (is_plain_name(commit) && is_plain_name(etag)).then_some(())?;
        Some(Self { commit: commit.to_owned(), etag: etag.to_owned(), at: at.parse().ok()? })
    }

    fn write(&self, folder: &Path, ask: &HubAsk) -> Result<(), ModelError> {
        let text = format!("{}\n{}\n{}\n", self.commit, self.etag, self.at);
        write_whole(&Self::path(folder, ask), text.as_bytes())
    }

    /// Whether the file has not been written since.
    fn is_about(&self, path: &Path) -> bool {
        let modified = path.metadata().and_then(|metadata| metadata.modified());
        let since = modified.map(|time| time.duration_since(UNIX_EPOCH));
        matches!(since, Ok(Ok(since)) if since.as_secs_f64() <= self.at)
    }
}

fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn note_base(folder: &Path, ask: &HubAsk) -> PathBuf {
    folder.join(".cache/huggingface/download").join(&ask.file)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes the folders above a path.
pub(super) fn create_parent(path: &Path) -> Result<(), ModelError> {
    match path.parent() {
        Some(parent) => {
            std::fs::create_dir_all(parent).map_err(|error| ModelError::write(parent, error, None))
        }
        None => Ok(()),
    }
}

/// Replaces a small file at once.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    if std::fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    create_parent(path)?;
    let temporary = with_suffix(path, &format!(".{}.tmp", std::process::id()));
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| ModelError::write(path, error, None))
}

/// Replaces a pointer at once; one that already points there is left alone.
fn point(pointer: &Path, target: &Path) -> Result<(), ModelError> {
    if std::fs::read_link(pointer).is_ok_and(|present| present == target) {
        return Ok(());
    }
    create_parent(pointer)?;
    let temporary = with_suffix(pointer, &format!(".{}.tmp", std::process::id()));
    std::os::unix::fs::symlink(target, &temporary)
        .and_then(|()| std::fs::rename(&temporary, pointer))
        .map_err(|error| ModelError::write(pointer, error, None))
}
