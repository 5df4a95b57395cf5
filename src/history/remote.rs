//! The history's branch and that of a remote, made one.
//!
//! Main functions: [`pull`] and [`push`]. Histories only grow, so two of them are joined by the lines
//! that one has and the other lacks: what is not yet remote is written anew on top of the remote's
//! branch. A push that another writer overtook is tried again.

use std::collections::BTreeSet;
use std::path::PathBuf;

use git2::{Direction, ErrorCode, FetchOptions, Oid, PushOptions, RemoteCallbacks, Repository};

use super::http;
use super::store::{Branch, HistoryError, checked_out_at, git, swap, tip_of};
use crate::plan::Secret;

/// How often a push is tried while others push too.
const ATTEMPTS: usize = 64;

/// Who we are to a remote over HTTP.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// `GITHUB_TOKEN`; sent to `server` alone.
    pub token: Option<Secret>,
    /// `GITHUB_SERVER_URL`.
    pub server: String,
}

/// Brings what the remote has into the local branch. The local branch keeps what the remote lacks.
///
/// # Errors
/// Where the remote cannot be read.
pub fn pull(
    branch: &mut Branch,
    remote: &str,
    credentials: &Credentials,
) -> Result<(), HistoryError> {
    branch.refuse_checked_out()?;
    http::speak(credentials)?;
    if let Some(theirs) = fetch(branch, remote)? {
        integrate(branch, theirs)?;
    }
    Ok(())
}

/// Brings the remote's branch up to the local one, and the other way round.
///
/// # Errors
/// [`HistoryError::Push`] where the remote does not take it.
pub fn push(
    branch: &mut Branch,
    remote: &str,
    credentials: &Credentials,
) -> Result<(), HistoryError> {
    branch.refuse_checked_out()?;
    http::speak(credentials)?;
    let refused = |branch: &Branch, reason: String| HistoryError::Push {
        branch: branch.name.clone(),
        remote: shown(remote),
        reason,
    };
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let theirs = fetch(branch, remote).map_err(|error| match error {
            HistoryError::Fetch { reason, .. } => refused(branch, reason),
            other => other,
        })?;
        if let Some(theirs) = theirs {
            integrate(branch, theirs)?;
        }
        let Some(ours) = branch.tip()? else { return Ok(()) };
        if Some(ours) == theirs {
            return Ok(());
        }
        let outcome = match local(branch, remote) {
            Ok(Some(path)) => push_beside(branch, &path, theirs, ours),
            Ok(None) => push_away(branch, remote),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(None) => return Ok(()),
            Ok(Some(overtaken)) => last = overtaken,
            Err(error) => return Err(refused(branch, error.message().to_owned())),
        }
        branch.pause();
    }
    Err(refused(branch, format!("others pushed first {ATTEMPTS} times ({last})")))
}

/// Where the remote's branch is, with all its objects brought here; `None` where it has none.
fn fetch(branch: &Branch, name: &str) -> Result<Option<Oid>, HistoryError> {
    let full = branch.full_name();
    let attempt = || {
        let mut remote = remote(&branch.repository, name)?;
        let theirs = {
            let connection =
                remote.connect_auth(Direction::Fetch, Some(RemoteCallbacks::new()), None)?;
            let heads = connection.list()?;
            heads.iter().find(|head| head.name() == full).map(|head| head.oid())
        };
        if let Some(theirs) = theirs
            && branch.repository.find_commit(theirs).is_err()
        {
            // Not `fetch`: that would write FETCH_HEAD, which belongs to the user.
            let mut options = FetchOptions::new();
            options.download_tags(git2::AutotagOption::None);
            remote.download(&[&full], Some(&mut options))?;
        }
        Ok(theirs)
    };
    attempt().map_err(|error: git2::Error| HistoryError::Fetch {
        remote: shown(name),
        reason: error.message().to_owned(),
    })
}

/// The remote of this name, or else at this address.
fn remote<'a>(repository: &'a Repository, name: &str) -> Result<git2::Remote<'a>, git2::Error> {
    let named = repository.find_remote(name).or_else(|error| {
        let address = name.contains([':', '/', '\\']) || name.starts_with('.');
        if address { repository.remote_anonymous(name) } else { Err(error) }
    })?;
    let url = String::from_utf8_lossy(named.url_bytes()).into_owned();
    match place(repository, &url)? {
        // libgit2 would look for a relative path from where we happen to stand.
        Place::Beside(path) => repository.remote_anonymous(&path.to_string_lossy()),
        Place::Away => Ok(named),
    }
}

/// Where a remote is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// On this machine.
    Beside(PathBuf),
    /// Behind HTTP.
    Away,
}

/// Where an address points to; a relative path is taken from the repository, as git takes it.
fn place(repository: &Repository, url: &str) -> Result<Place, git2::Error> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Ok(Place::Away);
    }
    let path = url.strip_prefix("file://").unwrap_or(url);
    // `git@host:path` has its colon before any slash.
    let scp = path.split('/').next().is_some_and(|first| first.contains(':'));
    if path.contains("://") || scp {
        return Err(git2::Error::from_str(
            "bench-ci speaks http and https to a remote, no ssh; push the branch with git",
        ));
    }
    let root = repository.workdir().unwrap_or_else(|| repository.path());
    let path = root.join(path);
    if !path.is_dir() {
        return Err(git2::Error::from_str("there is no such folder"));
    }
    Ok(Place::Beside(path))
}

/// Moves the local branch to where it holds everything that `theirs` does.
fn integrate(branch: &mut Branch, theirs: Oid) -> Result<(), HistoryError> {
    let compare = git("compare the history with that of the remote");
    loop {
        let ours = branch.tip()?;
        let descends = |one: Oid, other: Oid| {
            branch.repository.graph_descendant_of(one, other).map_err(&compare)
        };
        let target = match ours {
            None => theirs,
            Some(ours) if ours == theirs || descends(ours, theirs)? => return Ok(()),
            Some(ours) if descends(theirs, ours)? => theirs,
            Some(ours) => join(branch, ours, theirs)?,
        };
        if Some(target) == ours || branch.swap(ours, target)?.is_none() {
            return Ok(());
        }
        branch.pause();
    }
}

/// A commit on `theirs` with the lines of `ours` that it lacks; `theirs` itself where it lacks none.
fn join(branch: &Branch, ours: Oid, theirs: Oid) -> Result<Oid, HistoryError> {
    let (our_files, mut their_files) = (branch.files(ours)?, branch.files(theirs)?);
    let mut changed = std::collections::BTreeMap::new();
    for (path, text) in our_files {
        let theirs = their_files.entry(path.clone()).or_default();
        if !path.ends_with(".jsonl") {
            if theirs.is_empty() {
                changed.insert(path, text);
            }
            continue;
        }
        let known: BTreeSet<&str> = theirs.lines().collect();
        let missing: Vec<&str> = text.lines().filter(|line| !known.contains(line)).collect();
        if !missing.is_empty() {
            let mut joined = theirs.clone();
            if !joined.is_empty() && !joined.ends_with('\n') {
                joined.push('\n');
            }
            for line in missing {
                joined.push_str(line);
                joined.push('\n');
            }
            changed.insert(path, joined);
        }
    }
    if changed.is_empty() {
        return Ok(theirs);
    }
    branch.commit(Some(theirs), &changed, "bench-ci history: join what was appended meanwhile")
}

/// The repository that a push to this remote would reach, if it lies on this machine.
fn local(branch: &Branch, name: &str) -> Result<Option<PathBuf>, git2::Error> {
    let remote = remote(&branch.repository, name)?;
    let url = remote.pushurl_bytes().unwrap_or_else(|| remote.url_bytes());
    Ok(match place(&branch.repository, &String::from_utf8_lossy(url))? {
        Place::Beside(path) => Some(path),
        Place::Away => None,
    })
}

/// To a repository on this machine. libgit2's own push there does not compare before it moves the
/// ref, and of two writers one would be lost; so the objects are brought over and the ref is moved as
/// the local one is. What was in the way, or `None`.
fn push_beside(
    branch: &Branch,
    path: &std::path::Path,
    theirs: Option<Oid>,
    ours: Oid,
) -> Result<Option<String>, git2::Error> {
    let other = Repository::open(path)?;
    let name = branch.full_name();
    if checked_out_at(&other, &name).is_some() {
        return Err(git2::Error::from_str("the branch is checked out there"));
    }
    if tip_of(&other, &name)? != theirs {
        return Ok(Some("another writer was faster".to_owned()));
    }
    let mut walk = branch.repository.revwalk()?;
    walk.push(ours)?;
    if let Some(theirs) = theirs {
        walk.hide(theirs)?;
    }
    let mut pack = branch.repository.packbuilder()?;
    pack.set_threads(1);
    pack.insert_walk(&mut walk)?;
    let mut objects = git2::Buf::new();
    pack.write_buf(&mut objects)?;
    let odb = other.odb()?;
    let mut writer = odb.packwriter()?;
    std::io::Write::write_all(&mut writer, &objects)
        .map_err(|error| git2::Error::from_str(&error.to_string()))?;
    writer.commit()?;
    swap(&other, &name, theirs, ours)
}

/// To a remote that is asked; it compares by itself. What was in the way, or `None`.
fn push_away(branch: &Branch, name: &str) -> Result<Option<String>, git2::Error> {
    let full = branch.full_name();
    let mut remote = remote(&branch.repository, name)?;
    let mut rejected: Option<String> = None;
    let outcome = {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.push_update_reference(|_, status| {
            rejected = status.map(str::to_owned);
            Ok(())
        });
        let mut options = PushOptions::new();
        options.remote_callbacks(callbacks);
        remote.push(&[format!("{full}:{full}")], Some(&mut options))
    };
    match (outcome, rejected) {
        (Ok(()), None) => Ok(None),
        (Ok(()), Some(status)) if is_contention(&status) => Ok(Some(status)),
        (Ok(()), Some(status)) => Err(git2::Error::from_str(&status)),
        (Err(error), _) if error.code() == ErrorCode::NotFastForward => {
            Ok(Some(error.message().to_owned()))
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether a server's refusal means that another writer was faster; all else is for a person.
fn is_contention(status: &str) -> bool {
    let status = status.to_ascii_lowercase();
    ["lock", "fast-forward", "fetch first", "failed to update ref", "incorrect old value", "stale"]
        .iter()
        .any(|sign| status.contains(sign))
}

/// A remote's name for people; of an address what is before the @ is left out.
fn shown(remote: &str) -> String {
    match (remote.split_once("://"), remote.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => remote.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secret() {
        assert_eq!(shown("https://me:s3cret@example.org/a.git"), "https://example.org/a.git");
        assert_eq!(shown("origin"), "origin");
        assert_eq!(shown("git@example.org:a/b"), "git@example.org:a/b");
    }

    #[test]
    fn an_address_is_beside_us_behind_http_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init(folder.path().join("work")).unwrap();
        Repository::init_bare(folder.path().join("other.git")).unwrap();
        let beside = |url: &str| place(&repository, url).ok();
        let other = folder.path().join("other.git");
        assert_eq!(beside(&other.to_string_lossy()), Some(Place::Beside(other.clone())));
        assert_eq!(beside(&format!("file://{}", other.display())), Some(Place::Beside(other)));
        assert!(matches!(beside("../other.git"), Some(Place::Beside(_))), "from the repository");
        assert_eq!(beside("https://example.org/a.git"), Some(Place::Away));
        for refused in ["git@example.org:a/b", "ssh://git@example.org/a", "../nowhere.git"] {
            assert_eq!(beside(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_protected_branch_is_no_contention() {
        assert!(is_contention("cannot lock ref 'refs/heads/x': is at 1 but expected 2"));
        assert!(is_contention("non-fast-forward"));
        assert!(!is_contention("protected branch hook declined"));
    }
}
