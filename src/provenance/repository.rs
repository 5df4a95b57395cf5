//! What git says about a folder.
//!
//! Main type: [`Repository`]. It reads; it never writes an index, an object or a ref, and it runs
//! no hook and no filter program.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use git2::{ErrorCode, FileMode, IndexEntry, ObjectType, Oid};

/// A repository's state. Each part is its value or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The branch that is checked out, without `refs/heads/`.
    pub branch: Result<String, String>,
    /// The commit that is checked out, full hash.
    pub commit: Result<String, String>,
    /// Its second parent, full hash, where it is a merge.
    pub second_parent: Option<String>,
    /// Whether tracked files differ from that commit, staged or not. Untracked files do not count,
    /// as with `git describe --dirty`: a model or a build folder beside the sources changes nothing.
    pub dirty: Result<bool, String>,
    /// Whether history is cut off (`fetch-depth: 1`).
    pub is_shallow: bool,
}

impl Repository {
    /// Reads the repository around `dir`.
    ///
    /// # Errors
    ///
    /// Why there is none to read, in words.
    pub fn read(dir: &Path) -> Result<Self, String> {
        Self::read_within(dir, DIRTY_LIMIT)
    }

    fn read_within(dir: &Path, limit: Duration) -> Result<Self, String> {
        let repository = git2::Repository::discover(dir).map_err(|error| why(&error, dir))?;
        let head = head_commit(&repository);
        Ok(Self {
            branch: branch(&repository),
            second_parent: head.as_ref().ok().and_then(second_parent),
            dirty: is_dirty(&repository, head.as_ref().ok(), limit),
            commit: head.map(|commit| commit.id().to_string()),
            is_shallow: repository.is_shallow(),
        })
    }
}

/// How long the dirty check may look. A checkout of llama.cpp takes some milliseconds; the largest
/// repositories take a second, and a benchmark does not wait for that.
const DIRTY_LIMIT: Duration = Duration::from_millis(500);

/// Why libgit2 gives no repository, for a person.
pub(super) fn why(error: &git2::Error, dir: &Path) -> String {
    match error.code() {
        ErrorCode::NotFound => format!("no git repository around \"{}\"", dir.display()),
        ErrorCode::Owner => format!(
            "the git repository belongs to another user; trust it with: git config --global --add safe.directory \"{}\"",
            dir.display()
        ),
        _ => format!("git cannot read the repository: {}", error.message()),
    }
}

fn branch(repository: &git2::Repository) -> Result<String, String> {
    let head = repository
        .find_reference("HEAD")
        .map_err(|error| format!("git cannot read HEAD: {}", error.message()))?;
    // Not `repository.head()`: that follows the branch to its commit, which an unborn one lacks.
    match head.symbolic_target_bytes() {
        Some(target) => {
            let target = String::from_utf8_lossy(target);
            Ok(target.strip_prefix("refs/heads/").unwrap_or(&target).to_owned())
        }
        None => Err("HEAD is detached: a commit is checked out, not a branch".to_owned()),
    }
}

fn head_commit(repository: &git2::Repository) -> Result<git2::Commit<'_>, String> {
    repository.head().and_then(|head| head.peel_to_commit()).map_err(|error| match error.code() {
        ErrorCode::UnbornBranch => "the branch has no commit yet".to_owned(),
        _ => format!("git cannot read the commit of HEAD: {}", error.message()),
    })
}

/// Read from the commit's own text: in a shallow clone the parsed commit has no parents.
fn second_parent(commit: &git2::Commit<'_>) -> Option<String> {
    let header = String::from_utf8_lossy(commit.raw_header_bytes()).into_owned();
    header.lines().filter_map(|line| line.strip_prefix("parent ")).nth(1).map(str::to_owned)
}

/// Compares commit, index and files, without looking for untracked ones: the cost is one `lstat` a
/// tracked file, whatever else lies in the folder.
fn is_dirty(
    repository: &git2::Repository,
    head: Option<&git2::Commit<'_>>,
    limit: Duration,
) -> Result<bool, String> {
    let Some(folder) = repository.workdir() else {
        return Err("the repository is bare: it has no files to differ".to_owned());
    };
    let failed = |error: git2::Error| format!("git cannot compare the files: {}", error.message());
    let deadline = Instant::now() + limit;
    let index = repository.index().map_err(failed)?;
    let tree = head.map(git2::Commit::tree).transpose().map_err(failed)?;
    let staged =
        repository.diff_tree_to_index(tree.as_ref(), Some(&index), None).map_err(failed)?;
    if staged.deltas().len() > 0 {
        return Ok(true);
    }
    let index_written =
        index.path().and_then(|path| fs::metadata(path).ok()).map(|about| modified(&about));
    let mut suspects = Vec::new();
    for (position, entry) in index.iter().enumerate() {
        if position % 256 == 0 && Instant::now() > deadline {
            return Err(too_slow(limit));
        }
        match look(&entry, folder, index_written) {
            Look::Clean => {}
            Look::Dirty => return Ok(true),
            Look::Unsure => suspects.push(entry),
        }
    }
    for entry in suspects {
        if Instant::now() > deadline {
            return Err(too_slow(limit));
        }
        let relative = path_of(&entry);
        // The content as it lies there; where line ends make it differ from what is committed,
        // or its mode is another, libgit2 compares it as git would.
        let path = folder.join(relative);
        let same = fs::symlink_metadata(&path)
            .is_ok_and(|about| is_executable_as_said(&entry, &about))
            && Oid::hash_file(ObjectType::Blob, &path).is_ok_and(|id| id == entry.id);
        if same {
            continue;
        }
        let filter =
            repository.get_attr(relative, "filter", git2::AttrCheckFlags::default()).ok().flatten();
        if let Some(filter) = filter {
            return Err(format!(
                "\"{}\" goes through the filter \"{filter}\", which is not run here",
                relative.display()
            ));
        }
        if !repository.status_file(relative).map_err(failed)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn too_slow(limit: Duration) -> String {
    format!("the repository is too large to compare within {} ms", limit.as_millis())
}

/// What `lstat` alone says about a tracked file.
enum Look {
    Clean,
    Dirty,
    /// Its time or size is not the index's, or as young as the index: the content decides.
    Unsure,
}

/// `GIT_INDEX_ENTRY_VALID`: "assume unchanged", set by the user.
const ASSUMED_UNCHANGED: u16 = 1 << 15;
/// The stage of a conflict; 0 outside one.
const STAGE: u16 = 0x3000;
/// `GIT_INDEX_ENTRY_SKIP_WORKTREE`: left out by a sparse checkout.
const SKIPPED: u16 = 1 << 14;

fn look(entry: &IndexEntry, folder: &Path, index_written: Option<(i64, u32)>) -> Look {
    if entry.flags & STAGE != 0 {
        return Look::Dirty;
    }
    if entry.flags & ASSUMED_UNCHANGED != 0 || entry.flags_extended & SKIPPED != 0 {
        return Look::Clean;
    }
    let path = folder.join(path_of(entry));
    if entry.mode == u32::from(FileMode::Commit) {
        return look_at_submodule(entry, &path);
    }
    let Ok(about) = fs::symlink_metadata(&path) else { return Look::Dirty };
    let is_link = entry.mode == u32::from(FileMode::Link);
    if about.is_dir() || (cfg!(unix) && about.is_symlink() != is_link) {
        return Look::Dirty;
    }
    let (seconds, nanoseconds) = modified(&about);
    // The index keeps 32 bits of each; one without nanoseconds was written by a git without them.
    let same_time = i64::from(entry.mtime.seconds()) == i64::from(seconds as i32)
        && (entry.mtime.nanoseconds() == 0 || entry.mtime.nanoseconds() == nanoseconds);
    let same_size = entry.file_size == about.len() as u32;
    // A file changed in the very moment in which the index was written looks unchanged ("racy").
    let older = index_written.is_some_and(|written| (seconds, nanoseconds) < written);
    if same_time && same_size && older && is_executable_as_said(entry, &about) {
        Look::Clean
    } else {
        Look::Unsure
    }
}

/// A submodule is dirty if another commit is checked out in it; its own files are its own matter.
fn look_at_submodule(entry: &IndexEntry, path: &Path) -> Look {
    // Not `discover`: an empty folder, as of a clone without submodules, is not a difference.
    let commit = git2::Repository::open(path).and_then(|inside| {
        inside.head().and_then(|head| head.peel_to_commit()).map(|commit| commit.id())
    });
    match commit {
        Ok(commit) if commit != entry.id => Look::Dirty,
        _ => Look::Clean,
    }
}

#[cfg(unix)]
fn is_executable_as_said(entry: &IndexEntry, about: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    // A changed mode is for libgit2 to judge: `core.fileMode` may say that it means nothing here.
    let said = entry.mode == u32::from(FileMode::BlobExecutable);
    about.is_symlink() || (about.permissions().mode() & 0o100 != 0) == said
}

#[cfg(not(unix))]
fn is_executable_as_said(_entry: &IndexEntry, _about: &fs::Metadata) -> bool {
    true
}

/// Seconds since 1970 and nanoseconds, or zeros where the file system keeps none.
fn modified(about: &fs::Metadata) -> (i64, u32) {
    about
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or((0, 0), |since| (i64::try_from(since.as_secs()).unwrap_or(0), since.subsec_nanos()))
}

#[cfg(unix)]
fn path_of(entry: &IndexEntry) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(&entry.path))
}

#[cfg(not(unix))]
fn path_of(entry: &IndexEntry) -> &Path {
    // git's own paths are UTF-8 there; one that is not names no file, which reads as dirty.
    Path::new(std::str::from_utf8(&entry.path).unwrap_or("\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_of_another_user_says_how_to_trust_it() {
        let error = git2::Error::new(ErrorCode::Owner, git2::ErrorClass::Config, "not owned");
        let reason = why(&error, Path::new("/src"));
        assert!(reason.ends_with("git config --global --add safe.directory \"/src\""), "{reason}");
    }

    #[test]
    fn a_check_that_would_take_too_long_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = git2::Repository::init(folder.path()).expect("a repository");
        fs::write(folder.path().join("a"), "a").expect("a file");
        let mut index = repository.index().expect("an index");
        index.add_path(Path::new("a")).expect("added");
        index.write().expect("written");
        let tree = repository.find_tree(index.write_tree().expect("a tree")).expect("a tree");
        let author = git2::Signature::now("a", "a@example.org").expect("an author");
        repository.commit(Some("HEAD"), &author, &author, "a", &tree, &[]).expect("a commit");
        let found = Repository::read_within(folder.path(), Duration::ZERO).expect("a repository");
        assert_eq!(
            found.dirty,
            Err("the repository is too large to compare within 0 ms".to_owned())
        );
    }
}
