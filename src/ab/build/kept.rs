//! The folders of what was built: locked while one is made or used, and thrown away when they are old.
//!
//! Main types: [`Place`], one of them, and [`Held`], which keeps it there. Several calls may share the cache:
//! who builds holds a lock alone, who uses a build holds it together with others, and nothing is thrown
//! away that anybody holds. A lock ends with its process, however that ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::ab::error::AbError;
use crate::ab::turn::Until;
use crate::error::Error;

/// So many builds are kept: a bisect through a million commits takes as many, and one of llama-server with
/// CUDA has gigabytes.
pub(super) const MOST_KEPT: usize = 20;

/// Marks a build that came to its end.
const DONE: &str = "built.ok";
/// Where the work tree is.
const TREE: &str = "tree";
/// What is locked; it is written at each use, so its time is that of the last one. It is never removed: a
/// lock on a file that has gone no longer keeps two calls apart.
const LOCK: &str = "lock";

/// How often a lock is asked for that another call holds.
const LOOK: Duration = Duration::from_millis(50);

/// Keeps a build in its place as long as it lives.
#[derive(Debug)]
pub(in crate::ab) struct Held(#[expect(dead_code, reason = "its lock is what counts")] File);

/// What was found under a lock.
pub(super) enum Found {
    /// A whole build, held together with whoever else uses it.
    Built(Held),
    /// None, and no other call makes one as long as this is held.
    Nothing(Held),
}

/// Where a build lies, or will.
pub(super) struct Place {
    folder: PathBuf,
    /// The executable, from the root of the work tree.
    program: PathBuf,
}

impl Place {
    /// Makes the folder.
    pub(super) fn new(folder: PathBuf, program: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&folder).map_err(|source| failed("create", &folder, source))?;
        Ok(Self { folder, program })
    }

    pub(super) fn tree(&self) -> PathBuf {
        self.folder.join(TREE)
    }

    pub(super) fn program(&self) -> PathBuf {
        self.tree().join(&self.program)
    }

    fn is_built(&self) -> bool {
        self.folder.join(DONE).exists() && self.program().is_file()
    }

    /// Removes what an earlier call has left.
    pub(super) fn clear(&self) -> Result<(), Error> {
        clear(&self.folder).map_err(|(path, source)| failed("replace", &path, source))
    }

    /// Says that the build came to its end, and of what it is.
    pub(super) fn finish(&self, words: &str) -> Result<(), Error> {
        let done = self.folder.join(DONE);
        std::fs::write(&done, words).map_err(|source| failed("write", &done, source))
    }

    /// Holds it, once no other call builds there.
    ///
    /// The lock is asked for again and again: a thread that waits for it hears neither the deadline nor
    /// Ctrl-C.
    pub(super) async fn hold(&self, budget: Duration, until: &Until) -> Result<Found, Error> {
        let path = self.folder.join(LOCK);
        let file = File::create(&path).map_err(|source| failed("write", &path, source))?;
        loop {
            let refused = |source| failed("lock", &path, source);
            if taken(file.try_lock()).map_err(refused)? && !self.is_built() {
                used(&file).map_err(|source| failed("write", &path, source))?;
                return Ok(Found::Nothing(Held(file)));
            }
            // From alone to together the lock may be lost on the way, so what is there is looked at anew.
            if taken(file.try_lock_shared()).map_err(refused)? && self.is_built() {
                used(&file).map_err(|source| failed("write", &path, source))?;
                return Ok(Found::Built(Held(file)));
            }
            file.unlock().map_err(refused)?;
            if let Some(reason) = until.cancel.reason() {
                return Err(Error::Stopped { reason });
            }
            if Instant::now() >= until.deadline {
                return Err(AbError::no_time(budget).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Throws away all builds in `builds` but the `most` that were used last, and those that somebody holds.
/// Gives what is against it, in words: nobody's comparison fails because an old build cannot be removed.
pub(super) fn prune(builds: &Path, most: usize) -> Vec<String> {
    let mut kept: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(builds)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            folder.join(TREE).is_dir().then_some(())?;
            let last = std::fs::metadata(folder.join(LOCK)).and_then(|file| file.modified());
            Some((last.ok()?, folder))
        })
        .collect();
    kept.sort();
    let old = kept.len().saturating_sub(most);
    let removed = kept.iter().take(old).map(|(_, folder)| remove_unused(folder));
    removed.filter_map(|outcome| outcome.err()).collect()
}

/// Empties the folder of a build, unless somebody holds it.
fn remove_unused(folder: &Path) -> Result<(), String> {
    let words = |path: &Path, source: std::io::Error| {
        format!("the old build \"{}\" cannot be removed: {source}", path.display())
    };
    let path = folder.join(LOCK);
    // Neither made nor cut: its time is that of the last use.
    let file = File::options().write(true).open(&path).map_err(|source| words(&path, source))?;
    if taken(file.try_lock()).map_err(|source| words(&path, source))? {
        clear(folder).map_err(|(path, source)| words(&path, source))?;
    }
    Ok(())
}

/// The mark goes first, so that what is half removed is never taken for whole.
fn clear(folder: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    let gone = |path: PathBuf, removed: std::io::Result<()>| match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err((path, source)),
        _ => Ok(()),
    };
    let (done, tree) = (folder.join(DONE), folder.join(TREE));
    let removed = std::fs::remove_file(&done);
    gone(done, removed)?;
    let removed = std::fs::remove_dir_all(&tree);
    gone(tree, removed)
}

/// Sets the time of the last use.
fn used(mut file: &File) -> std::io::Result<()> {
    use std::io::Write as _;
    file.write_all(b"The time of this file is that of the last use.\n")
}

/// Whether a lock was got.
fn taken(locked: Result<(), TryLockError>) -> std::io::Result<bool> {
    match locked {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

fn failed(attempt: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Output { attempt, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::{self, StopReason};

    const LONG: Duration = Duration::from_secs(3600);

    /// A place in `builds`, last used so many seconds ago; `None`: not built.
    fn place(builds: &Path, name: &str, used_s: Option<u64>) -> Place {
        let place = Place::new(builds.join(name), "program".into()).unwrap();
        if let Some(ago) = used_s {
            std::fs::create_dir(place.tree()).unwrap();
            std::fs::write(place.program(), "").unwrap();
            place.finish("").unwrap();
            let lock = File::create(place.folder.join(LOCK)).unwrap();
            lock.set_modified(SystemTime::now() - Duration::from_secs(ago)).unwrap();
        }
        place
    }

    fn names(builds: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(builds).unwrap().map(|entry| entry.unwrap());
        let built = entries.filter(|entry| entry.path().join(TREE).exists());
        let mut names: Vec<String> =
            built.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn another_calls_build_is_waited_for_until_the_deadline_or_ctrl_c() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), "a", None);
        let (canceller, cancel) = cancel::pair();
        let until = |after| Until { deadline: Instant::now() + after, cancel: cancel.clone() };
        let alone = place.hold(LONG, &until(Duration::ZERO)).await.unwrap();
        assert!(matches!(alone, Found::Nothing(_)));
        let late = place.hold(LONG, &until(Duration::ZERO)).await.err().unwrap();
        assert!(matches!(late, Error::Ab(AbError::NoTime { .. })), "{late}");
        canceller.stop(StopReason::Interrupted);
        let stopped = place.hold(LONG, &until(LONG)).await.err().unwrap();
        assert!(matches!(stopped, Error::Stopped { .. }), "{stopped}");
        drop(alone);
        assert!(place.hold(LONG, &until(LONG)).await.is_ok());
    }

    #[tokio::test]
    async fn a_build_is_used_by_several_at_once_and_made_anew_by_nobody_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let built = place(folder.path(), "a", Some(5));
        let (_canceller, cancel) = cancel::pair();
        let until = Until { deadline: Instant::now(), cancel };
        let one = built.hold(LONG, &until).await.unwrap();
        let two = built.hold(LONG, &until).await.unwrap();
        assert!(matches!((&one, &two), (Found::Built(_), Found::Built(_))));
        // For another program of the same tree it would be laid out again.
        let other = Place::new(built.folder.clone(), "other".into()).unwrap();
        assert!(other.hold(LONG, &until).await.is_err());
        drop(one);
        assert!(other.hold(LONG, &until).await.is_err());
        drop(two);
        assert!(matches!(other.hold(LONG, &until).await.unwrap(), Found::Nothing(_)));
    }

    #[tokio::test]
    async fn the_builds_used_last_stay_and_those_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let builds = folder.path();
        let [oldest, old, again, _new] = [("d", 400), ("c", 300), ("b", 200), ("a", 100)]
            .map(|(name, used_s)| place(builds, name, Some(used_s)));
        let (_canceller, cancel) = cancel::pair();
        let until = Until { deadline: Instant::now() + LONG, cancel };
        // Two calls at once; and one that used it and ended.
        let held = oldest.hold(LONG, &until).await.unwrap();
        let lock = File::open(oldest.folder.join(LOCK)).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(400)).unwrap();
        drop(again.hold(LONG, &until).await.unwrap());
        assert_eq!(prune(builds, 4), [""; 0]);
        assert_eq!(names(builds), ["a", "b", "c", "d"]);
        assert_eq!(prune(builds, 1), [""; 0]);
        assert_eq!(names(builds), ["b", "d"], "used last, and in use");
        drop(held);
        assert_eq!(prune(builds, 1), [""; 0]);
        assert_eq!(names(builds), ["b"]);
        // What was thrown away is built again.
        assert!(matches!(old.hold(LONG, &until).await.unwrap(), Found::Nothing(_)));
        // A folder that is no build, and none at all.
        std::fs::create_dir_all(builds.join("x").join(TREE)).unwrap();
        assert_eq!(prune(builds, 0), [""; 0]);
        assert_eq!(names(builds), ["x"]);
        assert_eq!(prune(&builds.join("nowhere"), 0), [""; 0]);
    }
}
