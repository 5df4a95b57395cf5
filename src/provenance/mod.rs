//! Which commit, which machine, when: what the report is tagged with.
//!
//! Main type: [`Provenance`]. The only room that reads the wall clock and, with `ab/` and the
//! history, the only one with git2. It only reads: no repository is changed and no name resolved.
//! Whatever cannot be known is `None` with a reason, never an error: a benchmark does not fail
//! because a machine will not say its name.

mod ci;
mod command;
mod cpu_limit;
mod fetching;
mod files;
mod machine;
pub mod range;
pub mod refs;
mod repository;

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use crate::plan::{Secret, Tags};

pub use ci::CiContext;
pub(crate) use ci::event_payload;
pub(crate) use files::behind as files_behind;
pub use machine::{Gpu, Machine};
pub use repository::Repository;

/// The environment, as a function, so that a test need not change its own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Everything that is known about what is measured, where and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// `owner/name` of the repository that the workflow runs in; `None` outside GitHub Actions.
    pub repository: Option<String>,
    /// Branch under test: GitHub's (of a pull request its head branch), else the repository's.
    pub branch: Option<String>,
    /// Commit under test, full hash: GitHub's (of a pull request its head, not the merge commit
    /// that GitHub makes of it), else the repository's.
    pub commit: Option<String>,
    /// Whether tracked files differ from the commit in the repository; untracked files do not count.
    pub dirty: Option<bool>,
    /// Tag that the job was started for.
    pub tag: Option<String>,
    /// Number of the pull request.
    pub pull_request: Option<u64>,
    /// The merge commit that GitHub made of pull request and base, where the job runs on one.
    pub merge_commit: Option<String>,
    /// GitHub's event name, such as `push`; `None` outside GitHub Actions.
    pub event: Option<String>,
    /// What is checked out in the folder; `None` where there is no repository.
    pub checked_out: Option<String>,
    /// Label of the machine: `RUNNER_NAME`, or of a GitHub-hosted one, whose name is another each
    /// time, its image; else the host's name.
    pub runner_label: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// When this was asked: wall clock, UTC, RFC 3339 with milliseconds.
    pub started_at: String,
    /// Why something above is `None`: field name and reason.
    pub unknown: BTreeMap<&'static str, String>,
    /// What a reader of the report should know, such as that the checked out commit is not the
    /// one that the job was started for.
    pub notes: Vec<String>,
}

impl Provenance {
    /// Of this process: its environment and its working directory.
    #[must_use]
    pub fn here() -> Self {
        Self::discover(&|name| std::env::var(name).ok(), Path::new("."))
    }

    /// The same as of now: for the next of several runs in one process.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { started_at: now(), ..self.clone() }
    }

    /// What a report is tagged with; `name` is left to the caller.
    #[must_use]
    pub fn tags(&self) -> Tags {
        Tags {
            name: String::new(),
            runner_label: self.runner_label.clone(),
            branch: self.branch.clone(),
            commit: self.commit.clone(),
            dirty: self.dirty,
        }
    }

    /// Why a field is `None`, in words.
    #[must_use]
    pub fn why_not(&self, field: &str) -> &str {
        self.unknown.get(field).map_or("not given", String::as_str)
    }

    /// Finds out everything, from the environment first, then from the repository around `dir`.
    ///
    /// Takes milliseconds: the dirty check stops at a deadline, and `nvidia-smi` is only asked
    /// where it is on `PATH`, for at most two seconds. Blocking; call it off the event loop.
    #[must_use]
    pub fn discover(env: Env<'_>, dir: &Path) -> Self {
        Self::from_parts(CiContext::read(env), Repository::read(dir), Machine::discover(env), env)
    }

    fn from_parts(
        ci: Option<CiContext>,
        repository: Result<Repository, String>,
        machine: Machine,
        env: Env<'_>,
    ) -> Self {
        let mut unknown = BTreeMap::new();
        let mut notes = Vec::new();
        let ci = ci.unwrap_or_default();
        let (found, no_repository) = match repository {
            Ok(repository) => (Some(repository), None),
            Err(reason) => (None, Some(reason)),
        };
        notes.extend(ci.notes.iter().cloned());

        let repository_branch = found.as_ref().map(|repository| repository.branch.clone());
        let branch = match (&ci.branch, repository_branch) {
            (Some(branch), _) => Some(branch.clone()),
            // A tag or an odd ref: what is checked out for it is detached and says no more.
            (None, _) if ci.tag.is_some() => {
                unknown.insert("branch", "the job was started for a tag".to_owned());
                None
            }
            (None, Some(Ok(branch))) => Some(branch),
            (None, Some(Err(reason))) => {
                unknown.insert("branch", reason);
                None
            }
            (None, None) => {
                unknown.insert("branch", no_repository.clone().unwrap_or_default());
                None
            }
        };

        let checked_out = match found.as_ref().map(|repository| repository.commit.clone()) {
            Some(Ok(commit)) => Some(commit),
            Some(Err(reason)) => {
                unknown.insert("checked_out", reason);
                None
            }
            None => {
                unknown.insert("checked_out", no_repository.clone().unwrap_or_default());
                None
            }
        };
        // Of a pull request whose payload cannot be read, the merge commit still names its head.
        let merged_head = found
            .as_ref()
            .filter(|_| ci.merge_commit.is_some() && ci.merge_commit == checked_out)
            .and_then(|repository| repository.second_parent.clone());
        let commit = ci.commit.clone().or(merged_head).or_else(|| checked_out.clone());
        if commit.is_none() {
            let reason = unknown.get("checked_out").cloned().unwrap_or_default();
            unknown.insert("commit", reason);
        }
        if let (Some(commit), Some(checked_out)) = (&commit, &checked_out)
            && ci.is_github
            && commit != checked_out
            && ci.merge_commit.as_ref() != Some(checked_out)
        {
            notes.push(format!(
                "the job was started for {}, but {} is checked out",
                short(commit),
                short(checked_out)
            ));
        }
        if commit.is_some()
            && ci.merge_commit.is_some()
            && ci.merge_commit == checked_out
            && commit != checked_out
        {
            notes.push(format!(
                "checked out is {}, the merge of the pull request into its base, not its head alone",
                short(checked_out.as_deref().unwrap_or_default())
            ));
        }

        let dirty = match found.as_ref().map(|repository| repository.dirty.clone()) {
            Some(Ok(dirty)) => Some(dirty),
            Some(Err(reason)) => {
                unknown.insert("dirty", reason);
                None
            }
            None => {
                unknown.insert("dirty", no_repository.unwrap_or_default());
                None
            }
        };
        let runner_label = ci::runner_label(env).or_else(machine::host_name);
        if runner_label.is_none() {
            unknown.insert("runner_label", "neither RUNNER_NAME nor a host name".to_owned());
        }
        Self {
            repository: ci.repository,
            branch,
            commit,
            dirty,
            tag: ci.tag,
            pull_request: ci.pull_request,
            merge_commit: ci.merge_commit,
            event: ci.event,
            checked_out,
            runner_label,
            machine,
            started_at: now(),
            unknown,
            notes,
        }
    }
}

/// The token of the job, where there is one, and the server that it is for.
#[must_use]
pub fn github_access() -> (Option<Secret>, String) {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let server = read("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
    (read("GITHUB_TOKEN").map(|token| Secret::new(token.trim().to_owned())), server)
}

/// The wall clock: UTC, RFC 3339 with milliseconds, such as `2026-11-22T06:00:00.000Z`.
#[must_use]
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The first ten digits of a hash, for a sentence.
fn short(hash: &str) -> &str {
    hash.get(..10).unwrap_or(hash)
}
