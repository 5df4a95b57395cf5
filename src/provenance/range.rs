//! The commits between two, for a search among them.
//!
//! Main type: [`Range`]. The repository is only read.

use std::collections::HashMap;
use std::path::Path;

use git2::{Oid, Repository, Sort};

use super::refs::{RefsError, commit_of};

/// Which commits are between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Of a merge only its first parent: what the branch was after each merge.
    FirstParent,
    /// All.
    AllParents,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Full hash.
    pub id: String,
    /// First line of its message.
    pub subject: String,
    /// Full hashes of its parents, as the commit names them.
    pub parents: Vec<String>,
}

impl Commit {
    /// The first ten digits.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(..10).unwrap_or(&self.id)
    }
}

/// Two commits, and what was done between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Where it was good.
    pub good: Commit,
    /// After `good` up to the bad one, ancestors before descendants; never empty, the last is the bad one.
    pub commits: Vec<Commit>,
    /// Of each of `commits`, the places of its parents among them.
    pub parents: Vec<Vec<usize>>,
}

impl Range {
    /// Looks it up in the repository around `dir`.
    ///
    /// # Errors
    /// There is no repository, no such commit, or `good` is no ancestor of `bad`.
    pub fn find(dir: &Path, good: &str, bad: &str, line: Line) -> Result<Self, RefsError> {
        let repository = Repository::discover(dir).map_err(|error| RefsError::NoRepository {
            reason: super::repository::why(&error, dir),
        })?;
        let (from, to) = (commit_of(&repository, good)?, commit_of(&repository, bad)?);
        if from == to {
            return Err(RefsError::SameCommit { good: good.to_owned(), bad: bad.to_owned() });
        }
        if !repository.graph_descendant_of(to, from).unwrap_or(false) {
            return Err(if repository.is_shallow() {
                RefsError::Shallow {
                    missing: format!("the way from {good} to {bad}"),
                    cure: "git fetch --unshallow".to_owned(),
                }
            } else {
                RefsError::NotAncestor {
                    good: good.to_owned(),
                    bad: bad.to_owned(),
                    base: repository.merge_base(from, to).ok().map(|base| base.to_string()),
                }
            });
        }
        let failed = |error: git2::Error| RefsError::Git {
            attempt: format!("walk from {good} to {bad}"),
            message: error.message().to_owned(),
        };
        let mut walk = repository.revwalk().map_err(failed)?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::REVERSE).map_err(failed)?;
        if line == Line::FirstParent {
            walk.simplify_first_parent().map_err(failed)?;
        }
        walk.push(to).map_err(failed)?;
        // Everything that `good` can reach, by whichever parent.
        walk.hide(from).map_err(failed)?;
        let read = |id: Oid| -> Result<Commit, git2::Error> {
            let commit = repository.find_commit(id)?;
            let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
            Ok(Commit {
                id: id.to_string(),
                subject: message.lines().next().unwrap_or_default().to_owned(),
                parents: commit.parent_ids().map(|parent| parent.to_string()).collect(),
            })
        };
        let mut commits = Vec::new();
        for id in walk {
            commits.push(read(id.map_err(failed)?).map_err(failed)?);
        }
        let places: HashMap<&str, usize> =
            commits.iter().enumerate().map(|(place, commit)| (commit.id.as_str(), place)).collect();
        let parents = commits
            .iter()
            .map(|commit| {
                let seen = if line == Line::FirstParent { 1 } else { commit.parents.len() };
                let ids = commit.parents.iter().take(seen);
                ids.filter_map(|id| places.get(id.as_str()).copied()).collect()
            })
            .collect();
        Ok(Self { good: read(from).map_err(failed)?, commits, parents })
    }
}
