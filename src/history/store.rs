//! The branch that holds a history.
//!
//! Main type: [`Branch`]. It reads and appends without touching the work tree or the index: a tree is
//! made in the object database, and the branch moved to it if it still is where it was (compare and
//! swap under git's own lock of the ref). Whoever loses that race begins anew on what the winner left.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use git2::{ErrorCode, FileMode, ObjectType, Oid, Repository};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::point::NoPoint;
use crate::artifact::store::StoreError;
use crate::exit::ExitCode;

/// Where everything of this version of the format lies.
pub const ROOT: &str = "v1";

/// A shard that would grow beyond this is followed by another of the same month.
const MAX_SHARD_BYTES: usize = 1 << 20;

/// A blob larger than this is not read: no history of ours has one.
const MAX_READ_BYTES: usize = 16 << 20;

/// How long to try to move a branch that others keep moving.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a history cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// There is no repository.
    #[error("no git repository at \"{dir}\"")]
    NoRepository {
        /// Where it was looked for.
        dir: String,
        /// What git said.
        source: git2::Error,
    },
    /// There is no such branch.
    #[error("there is no history: the repository has no branch \"{branch}\"")]
    NoBranch {
        /// Its name.
        branch: String,
    },
    /// A name that git does not take for a branch.
    #[error("\"{branch}\" is no name for a branch")]
    BadBranch {
        /// What was given.
        branch: String,
    },
    /// The branch is checked out; moving it would make the work tree differ from it.
    #[error("the branch \"{branch}\" is checked out in \"{folder}\"")]
    CheckedOut {
        /// Its name.
        branch: String,
        /// The work tree.
        folder: String,
    },
    /// The branch exists, and is something else.
    #[error("the branch \"{branch}\" is not a history of bench-ci: it has no folder \"{ROOT}\"")]
    NotAHistory {
        /// Its name.
        branch: String,
    },
    /// git failed.
    #[error("cannot {attempt}")]
    Git {
        /// Such as `write the point`.
        attempt: &'static str,
        /// What git said.
        source: git2::Error,
    },
    /// Somebody holds the lock, or moves the branch faster than we do.
    #[error("the branch \"{branch}\" could not be moved within {} s: {reason}", PATIENCE.as_secs())]
    Busy {
        /// Its name.
        branch: String,
        /// What was in the way at last.
        reason: String,
    },
    /// The local branch holds the point, the remote does not.
    #[error(
        "the point is kept in the branch \"{branch}\", but \"{remote}\" did not take it: {reason}"
    )]
    Push {
        /// The local branch.
        branch: String,
        /// The remote, without secrets.
        remote: String,
        /// What it said.
        reason: String,
    },
    /// The remote cannot be read.
    #[error("cannot fetch from \"{remote}\": {reason}")]
    Fetch {
        /// The remote, without secrets.
        remote: String,
        /// What it said.
        reason: String,
    },
    /// The runs are no point.
    #[error(transparent)]
    Point(#[from] NoPoint),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] StoreError),
    /// A flag that fits nothing that is there.
    #[error("{0}")]
    Usage(String),
}

impl HistoryError {
    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            HistoryError::NoRepository { .. }
            | HistoryError::NoBranch { .. }
            | HistoryError::BadBranch { .. }
            | HistoryError::CheckedOut { .. }
            | HistoryError::NotAHistory { .. }
            | HistoryError::Usage(_) => ExitCode::Usage,
            HistoryError::Git { .. } => ExitCode::Tool,
            HistoryError::Busy { .. } | HistoryError::Push { .. } | HistoryError::Fetch { .. } => {
                ExitCode::Publish
            }
            HistoryError::Point(_) => ExitCode::NotEvidence,
            HistoryError::File(error) => error.exit_code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            HistoryError::NoRepository { source, .. } if source.code() == ErrorCode::Owner => Some(
                "it belongs to another user; trust it with: git config --global --add safe.directory DIR"
                    .to_owned(),
            ),
            HistoryError::NoRepository { .. } => {
                Some("run inside the repository, or name it with --repo DIR".to_owned())
            }
            HistoryError::NoBranch { branch } => Some(format!(
                "`bench-ci history append` makes it; if the remote has it, add --fetch origin, or: git fetch origin {branch}:{branch}"
            )),
            HistoryError::BadBranch { .. } => {
                Some("a branch is named like bench-ci-history, without refs/heads/".to_owned())
            }
            HistoryError::CheckedOut { .. } => {
                Some("check out another branch, or name another one with --history-branch".to_owned())
            }
            HistoryError::NotAHistory { .. } => {
                Some("name a branch of its own with --history-branch".to_owned())
            }
            HistoryError::Busy { .. } => Some(
                "if no other bench-ci or git is at work, a lock was left behind: remove the .lock file beside the ref"
                    .to_owned(),
            ),
            HistoryError::Push { branch, .. } => Some(format!(
                "in GitHub Actions the job needs `permissions: contents: write` and GITHUB_TOKEN in its env; by hand: git push origin {branch}"
            )),
            HistoryError::Fetch { .. } => {
                Some("check the name of the remote, the network, and GITHUB_TOKEN for a private repository".to_owned())
            }
            HistoryError::Point(_) => {
                Some("a history holds evidence only; see the report for why it is none".to_owned())
            }
            HistoryError::File(error) => error.hint(),
            HistoryError::Git { .. } | HistoryError::Usage(_) => None,
        }
    }
}

/// Wraps what git says.
pub(super) fn git(attempt: &'static str) -> impl Fn(git2::Error) -> HistoryError {
    move |source| HistoryError::Git { attempt, source }
}

/// A history's branch in a repository, there or not yet there.
pub struct Branch {
    pub(super) repository: Repository,
    /// Without `refs/heads/`.
    pub name: String,
    random: ChaCha8Rng,
}

/// A file of the branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Path in the branch.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A line to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Folder below the root of the format: a series, or `annotations`.
    pub folder: String,
    /// Such as `2026-11`.
    pub month: String,
    /// The line, with its end.
    pub line: String,
    /// A piece of text that is in the branch if the line is there already; `None`: always append.
    pub mark: Option<String>,
    /// A file of the folder that is written if it is missing: name and text.
    pub beside: Option<(&'static str, String)>,
}

impl Branch {
    /// The branch `name` of the repository around `dir`; a bare one will do.
    ///
    /// # Errors
    /// Where there is no repository, or the name is none.
    pub fn open(dir: &Path, name: &str) -> Result<Self, HistoryError> {
        let repository = Repository::discover(dir).map_err(|source| {
            HistoryError::NoRepository { dir: dir.display().to_string(), source }
        })?;
        if !git2::Branch::name_is_valid(name).unwrap_or(false) {
            return Err(HistoryError::BadBranch { branch: name.to_owned() });
        }
        // Only for how long to wait: two processes must not wait equally long.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(0, |now| u64::from(now.subsec_nanos()));
        let address = std::ptr::from_ref(&repository) as usize as u64;
        let seed = nanos ^ (u64::from(std::process::id()) << 32) ^ address.rotate_left(17);
        Ok(Self { repository, name: name.to_owned(), random: ChaCha8Rng::seed_from_u64(seed) })
    }

    /// The full name of the ref.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("refs/heads/{}", self.name)
    }

    /// Where the branch is; `None` where there is none.
    ///
    /// # Errors
    /// Where git cannot say.
    pub fn tip(&self) -> Result<Option<Oid>, HistoryError> {
        tip_of(&self.repository, &self.full_name()).map_err(git("read the branch of the history"))
    }

    /// What the branch holds ends here: at its tip or, where there is no local branch, at that of the
    /// remote-tracking one (`origin/…`), as after a clone. `None` where there is neither.
    fn newest(&self) -> Result<Option<Oid>, HistoryError> {
        if let Some(tip) = self.tip()? {
            return Ok(Some(tip));
        }
        let tracked = format!("refs/remotes/origin/{}", self.name);
        tip_of(&self.repository, &tracked).map_err(git("read the branch of the history"))
    }

    /// All files of the format, by path. Where there is no local branch, those of the remote-tracking
    /// one.
    ///
    /// # Errors
    /// [`HistoryError::NoBranch`] where there is neither.
    pub fn read(&self) -> Result<Vec<Shard>, HistoryError> {
        let Some(newest) = self.newest()? else {
            return Err(HistoryError::NoBranch { branch: self.name.clone() });
        };
        let files = self.files(newest)?;
        Ok(files.into_iter().map(|(path, text)| Shard { path, text }).collect())
    }

    /// Path and text of every file below the root of the format, by path.
    pub(super) fn files(&self, commit: Oid) -> Result<BTreeMap<String, String>, HistoryError> {
        let read = git("read the branch of the history");
        let tree = self.tree(commit)?;
        let mut found = BTreeMap::new();
        let Some(entry) =
            tree.get_name(ROOT).filter(|entry| entry.kind() == Some(ObjectType::Tree))
        else {
            return Ok(found);
        };
        let root = self.repository.find_tree(entry.id()).map_err(&read)?;
        let mut blobs = Vec::new();
        root.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
            if entry.kind() == Some(ObjectType::Blob) {
                let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
                blobs.push((format!("{ROOT}/{folder}{name}"), entry.id()));
            }
            git2::TreeWalkResult::Ok
        })
        .map_err(&read)?;
        for (path, id) in blobs {
            let blob = self.repository.find_blob(id).map_err(&read)?;
            let bytes = blob.content();
            if bytes.len() <= MAX_READ_BYTES {
                found.insert(path, String::from_utf8_lossy(bytes).into_owned());
            }
        }
        Ok(found)
    }

    fn tree(&self, commit: Oid) -> Result<git2::Tree<'_>, HistoryError> {
        let commit = self.repository.find_commit(commit).and_then(|commit| commit.tree());
        commit.map_err(git("read the branch of the history"))
    }

    /// Appends lines, all in one commit; returns how many were new.
    ///
    /// # Errors
    /// Where the branch cannot be written, or others never let go of it.
    pub fn append(&mut self, additions: &[Addition], message: &str) -> Result<usize, HistoryError> {
        self.refuse_checked_out()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let tip = self.tip()?;
            // In a fresh clone the local branch begins where the remote's ends: one that began anew
            // would hide what is there from every reader.
            let newest = self.newest()?;
            let (changed, new) = self.changes(newest, additions)?;
            if new == 0 {
                return Ok(0);
            }
            let commit = self.commit(newest, &changed, message)?;
            match self.swap(tip, commit)? {
                None => return Ok(new),
                Some(reason) if Instant::now() > deadline => {
                    return Err(HistoryError::Busy { branch: self.name.clone(), reason });
                }
                Some(_) => self.pause(),
            }
        }
    }

    /// A moment that is another for each of those who wait.
    pub(super) fn pause(&mut self) {
        let millis = 2 + self.random.next_u64() % 60;
        std::thread::sleep(Duration::from_millis(millis));
    }

    /// Whoever has the branch checked out, in whichever work tree of the repository, would see every
    /// appended line as deleted, and delete it with the next commit.
    pub(super) fn refuse_checked_out(&self) -> Result<(), HistoryError> {
        match checked_out_at(&self.repository, &self.full_name()) {
            None => Ok(()),
            Some(folder) => Err(HistoryError::CheckedOut { branch: self.name.clone(), folder }),
        }
    }

    /// The files that these additions change, and how many of them were not there yet.
    fn changes(
        &self,
        tip: Option<Oid>,
        additions: &[Addition],
    ) -> Result<(BTreeMap<String, String>, usize), HistoryError> {
        let mut files = match tip {
            Some(tip) => {
                let tree = self.tree(tip)?;
                if tree.get_name(ROOT).is_none() && !tree.is_empty() {
                    return Err(HistoryError::NotAHistory { branch: self.name.clone() });
                }
                self.files(tip)?
            }
            None => BTreeMap::new(),
        };
        let mut changed = BTreeMap::new();
        let mut new = 0;
        for addition in additions {
            let folder = format!("{ROOT}/{}/", addition.folder);
            let in_folder = |path: &str| path.starts_with(&folder) && path.ends_with(".jsonl");
            let there = addition.mark.as_ref().is_some_and(|mark| {
                files.iter().any(|(path, text)| in_folder(path) && text.contains(mark.as_str()))
            });
            if there {
                continue;
            }
            new += 1;
            if let Some((name, text)) = &addition.beside {
                let path = format!("{folder}{name}");
                if !files.contains_key(&path) {
                    files.insert(path.clone(), text.clone());
                    changed.insert(path, text.clone());
                }
            }
            let path = shard_with_room(&files, &folder, &addition.month, addition.line.len());
            let text = files.entry(path.clone()).or_default();
            // A line that somebody cut short must not swallow ours.
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&addition.line);
            changed.insert(path, text.clone());
        }
        Ok((changed, new))
    }

    /// A commit on `tip` with these files changed; the branch does not move.
    pub(super) fn commit(
        &self,
        tip: Option<Oid>,
        changed: &BTreeMap<String, String>,
        message: &str,
    ) -> Result<Oid, HistoryError> {
        let attempt = || {
            let repository = &self.repository;
            let base = match tip {
                Some(tip) => repository.find_commit(tip)?.tree()?,
                None => repository.find_tree(repository.treebuilder(None)?.write()?)?,
            };
            let mut update = git2::build::TreeUpdateBuilder::new();
            for (path, text) in changed {
                update.upsert(path.as_str(), repository.blob(text.as_bytes())?, FileMode::Blob);
            }
            let tree = repository.find_tree(update.create_updated(repository, &base)?)?;
            let author = self.signature()?;
            let parent = tip.map(|tip| repository.find_commit(tip)).transpose()?;
            let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
            repository.commit(None, &author, &author, message, &tree, &parents)
        };
        attempt().map_err(git("write the history"))
    }

    fn signature(&self) -> Result<git2::Signature<'static>, git2::Error> {
        // A runner has no user.name, and a history needs none.
        self.repository
            .signature()
            .or_else(|_| git2::Signature::now("bench-ci", "bench-ci@localhost"))
    }

    /// Who writes, for an annotation.
    #[must_use]
    pub fn author(&self) -> String {
        let signature = self.signature().ok();
        let name = signature.as_ref().map(|signature| signature.name_bytes());
        name.map_or_else(
            || "bench-ci".to_owned(),
            |name| String::from_utf8_lossy(name).into_owned(),
        )
    }

    /// Moves the branch if it still is where it was; the reason where it is not.
    pub(super) fn swap(&self, from: Option<Oid>, to: Oid) -> Result<Option<String>, HistoryError> {
        swap(&self.repository, &self.full_name(), from, to)
            .map_err(git("move the branch of the history"))
    }

    /// Place of each commit along the first parents of what is checked out, oldest 0; empty where there
    /// is nothing, as in a bare repository without the code. A shallow clone knows the newest only.
    #[must_use]
    pub fn places(&self) -> super::series::Places {
        let walk = || {
            let mut walk = self.repository.revwalk()?;
            walk.simplify_first_parent()?;
            walk.push_head()?;
            walk.collect::<Result<Vec<Oid>, git2::Error>>()
        };
        let mut commits = walk().unwrap_or_default();
        commits.reverse();
        commits.into_iter().enumerate().map(|(place, commit)| (commit.to_string(), place)).collect()
    }

    /// The full hash of what was typed for a commit; as it was typed where the repository does not
    /// know it but it is a full hash.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn resolve(&self, typed: &str) -> Result<String, HistoryError> {
        let found = self.repository.revparse_single(typed).and_then(|found| found.peel_to_commit());
        match found {
            Ok(commit) => Ok(commit.id().to_string()),
            Err(_) if typed.len() == 40 && Oid::from_str(typed).is_ok() => Ok(typed.to_owned()),
            Err(_) => {
                Err(HistoryError::Usage(format!("the repository knows no commit \"{typed}\"")))
            }
        }
    }
}

/// The ref's commit; `None` where there is no such ref.
pub(super) fn tip_of(repository: &Repository, name: &str) -> Result<Option<Oid>, git2::Error> {
    match repository.refname_to_id(name) {
        Ok(id) => Ok(Some(id)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compare and swap under git's lock of the ref: `None` if the ref was moved, else what was in the way.
/// libgit2 can also compare by itself, but not with "there is none yet".
pub(super) fn swap(
    repository: &Repository,
    name: &str,
    from: Option<Oid>,
    to: Oid,
) -> Result<Option<String>, git2::Error> {
    let mut transaction = repository.transaction()?;
    if let Err(error) = transaction.lock_ref(name) {
        return match error.code() {
            // What stands in the way of a lock is another lock; a folder that vanishes under us is one too.
            ErrorCode::Locked | ErrorCode::Exists => Ok(Some(error.message().to_owned())),
            _ if error.class() == git2::ErrorClass::Os => Ok(Some(error.message().to_owned())),
            _ => Err(error),
        };
    }
    if tip_of(repository, name)? != from {
        return Ok(Some("another writer was faster".to_owned()));
    }
    transaction.set_target(name, to, None, "bench-ci history")?;
    transaction.commit()?;
    Ok(None)
}

/// The work tree of the repository in which the branch is checked out: its own, that of the repository
/// that it is linked to, or another linked one. `None` where there is none.
pub(super) fn checked_out_at(repository: &Repository, full_name: &str) -> Option<String> {
    let folder_of = |other: &Repository| {
        let head = other.find_reference("HEAD").ok()?;
        let here = head.symbolic_target_bytes() == Some(full_name.as_bytes());
        other.workdir().filter(|_| here).map(|folder| folder.display().to_string())
    };
    let names = repository.worktrees().ok();
    let linked = || {
        names.iter().flat_map(|names| names.iter_bytes()).find_map(|name| {
            let worktree = repository.find_worktree(std::str::from_utf8(name).ok()?).ok()?;
            folder_of(&Repository::open_from_worktree(&worktree).ok()?)
        })
    };
    folder_of(repository)
        .or_else(|| folder_of(&Repository::open(repository.commondir()).ok()?))
        .or_else(linked)
}

/// `2026-11.jsonl`, or `2026-11.2.jsonl` and so on where those before are full.
fn shard_with_room(
    files: &BTreeMap<String, String>,
    folder: &str,
    month: &str,
    more: usize,
) -> String {
    let mut number = 1;
    loop {
        let path = match number {
            1 => format!("{folder}{month}.jsonl"),
            _ => format!("{folder}{month}.{number}.jsonl"),
        };
        let used = files.get(&path).map_or(0, String::len);
        if used == 0 || used + more <= MAX_SHARD_BYTES {
            return path;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_shard_is_followed_by_another() {
        let full = "x".repeat(MAX_SHARD_BYTES);
        let mut files = BTreeMap::new();
        assert_eq!(shard_with_room(&files, "v1/k/", "2026-11", 10), "v1/k/2026-11.jsonl");
        files.insert("v1/k/2026-11.jsonl".to_owned(), full.clone());
        assert_eq!(shard_with_room(&files, "v1/k/", "2026-11", 10), "v1/k/2026-11.2.jsonl");
        files.insert("v1/k/2026-11.2.jsonl".to_owned(), full);
        assert_eq!(shard_with_room(&files, "v1/k/", "2026-11", 10), "v1/k/2026-11.3.jsonl");
    }
}
