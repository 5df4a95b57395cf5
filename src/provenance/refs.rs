//! Which commits are compared, and their files laid out in a folder.
//!
//! Main type: [`Commits`]. The repository itself is only read: a work tree is a repository of its own
//! that borrows the objects, so no branch, index or list of work trees of the user's changes.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::{CiContext, fetching};
use crate::exit::ExitCode;

/// Finds the commit from which the changes of a pull request begin.
pub const MERGE_BASE: &str = "merge-base";

/// Variables in which CI systems name the branch that a pull request wants to change.
const TARGET_BRANCH: [&str; 4] = [
    "GITHUB_BASE_REF",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
    "CHANGE_TARGET",
    "BITBUCKET_PR_DESTINATION_BRANCH",
];

/// The references that are asked for; `None` for a side that is no commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A branch, tag, hash, or [`MERGE_BASE`].
    pub base: Option<String>,
    /// A branch, tag or hash.
    pub head: Option<String>,
}

/// The commits that were meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commits {
    /// Full hash; `None` where base is no commit.
    pub base: Option<String>,
    /// Full hash; `None` where head is no commit.
    pub head: Option<String>,
    /// What a reader should know about the choice.
    pub notes: Vec<String>,
    /// The repository's own folder, where the objects are.
    git_dir: PathBuf,
}

/// Why a commit is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefsError {
    /// There is no repository.
    #[error("{reason}")]
    NoRepository {
        /// In words.
        reason: String,
    },
    /// It has no such branch, tag or commit.
    #[error("the repository has no commit \"{reference}\"")]
    Unknown {
        /// As typed.
        reference: String,
        /// What to do about it.
        cure: String,
    },
    /// The history that is needed is not in a shallow clone.
    #[error("the clone is shallow: {missing} is not in it")]
    Shallow {
        /// What is needed.
        missing: String,
        /// The command that brings it.
        cure: String,
    },
    /// The clone has the commit and not its files; git itself would fetch them when it needs them.
    #[error("the clone is partial: files of commit {commit} are not in it")]
    Partial {
        /// Short hash.
        commit: String,
        /// The remote that has them.
        remote: String,
    },
    /// Nobody says which branch a pull request wants to change.
    #[error(
        "there is no base branch to find the merge base with: neither origin/HEAD nor main nor master"
    )]
    NoBaseBranch,
    /// The branch that the pull request wants to change is not in the clone. Another one in its place
    /// would be another comparison.
    #[error("the branch \"{branch}\", which the pull request wants to change, is not in the clone")]
    NoTarget {
        /// As the CI system names it.
        branch: String,
    },
    /// The two have no history in common.
    #[error("{head} and its base branch {branch} have no commit in common")]
    Unrelated {
        /// Short hash.
        head: String,
        /// Its name.
        branch: String,
    },
    /// Both are one commit.
    #[error("good \"{good}\" and bad \"{bad}\" are the same commit")]
    SameCommit {
        /// As typed.
        good: String,
        /// As typed.
        bad: String,
    },
    /// The way from one to the other does not exist.
    #[error("good \"{good}\" is no ancestor of bad \"{bad}\", so nothing lies between them")]
    NotAncestor {
        /// As typed.
        good: String,
        /// As typed.
        bad: String,
        /// Where both come from, full hash.
        base: Option<String>,
    },
    /// The files could not be written, or the repository not read.
    #[error("git cannot {attempt}: {message}")]
    Git {
        /// Such as `lay out abc in "…"`.
        attempt: String,
        /// What libgit2 said.
        message: String,
    },
}

impl RefsError {
    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RefsError::Git { .. } => ExitCode::Tool,
            _ => ExitCode::Usage,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            RefsError::NoRepository { .. } => {
                Some("run bench-ci inside the repository whose commits are compared".to_owned())
            }
            RefsError::Unknown { cure, .. } => Some(cure.clone()),
            RefsError::Shallow { cure, .. } => Some(format!("bring it into the clone: {cure}")),
            RefsError::Partial { remote, .. } => Some(format!(
                "bring all files into the clone: git fetch --refetch --no-filter {remote}"
            )),
            // With both names, for a clone of a single branch keeps no other one that is fetched.
            RefsError::NoBaseBranch => Some(
                "name the base with --base-ref, or bring its branch here, such as: git fetch origin main:refs/remotes/origin/main"
                    .to_owned(),
            ),
            RefsError::NoTarget { branch } => Some(format!(
                "bring it into the clone: git fetch origin {branch}:refs/remotes/origin/{branch}, or name the base with --base-ref"
            )),
            RefsError::Unrelated { .. } => Some("name the base with --base-ref".to_owned()),
            RefsError::SameCommit { .. } => {
                Some("name the last commit that was fast with --good".to_owned())
            }
            RefsError::NotAncestor { base: Some(base), .. } => Some(format!(
                "both come from {}: try --good {0}, or change the two about",
                short(base)
            )),
            RefsError::NotAncestor { base: None, .. } => {
                Some("the two have no commit in common".to_owned())
            }
            RefsError::Git { .. } => None,
        }
    }
}

impl Commits {
    /// Looks them up in the repository around `dir`, with the environment of this process.
    ///
    /// # Errors
    /// There is no repository, or a commit that is needed is not in it.
    pub fn find(dir: &Path, wanted: &Wanted) -> Result<Self, RefsError> {
        let env = |name: &str| std::env::var(name).ok();
        let repository = Repository::discover(dir).map_err(|error| RefsError::NoRepository {
            reason: super::repository::why(&error, dir),
        })?;
        let target = TARGET_BRANCH
            .iter()
            .find_map(|name| env(name).filter(|branch| !branch.trim().is_empty()));
        let merge = CiContext::read(&env).and_then(|ci| ci.merge_commit);
        let found = Finder { repository: &repository, target, merge }.find(wanted)?;
        Ok(Self { git_dir: repository.commondir().to_owned(), ..found })
    }

    /// Writes the files of a commit into `tree`, which must not exist. It becomes a repository of its
    /// own, at that commit, with the objects of the other.
    ///
    /// # Errors
    /// What the disk or the repository has against it.
    pub fn lay_out(&self, commit: &str, tree: &Path) -> Result<(), RefsError> {
        let attempt = || format!("lay out {} in \"{}\"", short(commit), tree.display());
        let git = |error: git2::Error| RefsError::Git {
            attempt: attempt(),
            message: error.message().to_owned(),
        };
        let disk = |error: std::io::Error| RefsError::Git {
            attempt: attempt(),
            message: error.to_string(),
        };
        Repository::init(tree).map_err(git)?;
        let objects = self.git_dir.join("objects");
        let objects = objects.canonicalize().unwrap_or(objects);
        let borrowed = tree.join(".git/objects/info");
        std::fs::create_dir_all(&borrowed).map_err(disk)?;
        std::fs::write(borrowed.join("alternates"), format!("{}\n", objects.display()))
            .map_err(disk)?;
        let cut = self.git_dir.join("shallow");
        if cut.is_file() {
            std::fs::copy(cut, tree.join(".git/shallow")).map_err(disk)?;
        }
        // Opened again, now that it knows where its objects are.
        let repository = Repository::open(tree).map_err(git)?;
        let oid = Oid::from_str(commit).map_err(git)?;
        repository.set_head_detached(oid).map_err(git)?;
        let mut checkout = git2::build::CheckoutBuilder::new();
        repository.checkout_head(Some(checkout.force())).map_err(|error| {
            match (error.code(), promisor(&self.git_dir)) {
                (ErrorCode::NotFound, Some(remote)) => {
                    RefsError::Partial { commit: short(commit), remote }
                }
                _ => git(error),
            }
        })
    }
}

struct Finder<'a> {
    repository: &'a Repository,
    /// The branch that the pull request wants to change, as its CI system names it.
    target: Option<String>,
    /// The merge commit that GitHub made of it, likewise.
    merge: Option<String>,
}

impl Finder<'_> {
    fn find(&self, wanted: &Wanted) -> Result<Commits, RefsError> {
        let mut notes = Vec::new();
        let head_name = wanted.head.as_deref().unwrap_or("HEAD");
        let needs_head = wanted.head.is_some() || wanted.base.as_deref() == Some(MERGE_BASE);
        let head = if needs_head { Some(self.commit(head_name)?) } else { None };
        let base = match (wanted.base.as_deref(), head) {
            (None, _) => None,
            (Some(MERGE_BASE), Some(head)) => Some(self.merge_base(head, &mut notes)?),
            (Some(reference), _) => Some(self.commit(reference)?),
        };
        if wanted.head.as_deref() == Some("HEAD") {
            let here = super::repository::Repository::read(self.repository.path());
            if here.is_ok_and(|here| here.dirty == Ok(true)) {
                notes.push(
                    "the local changes are not part of HEAD, so they are not compared; commit them first"
                        .to_owned(),
                );
            }
        }
        Ok(Commits {
            base: base.map(|commit| commit.to_string()),
            head: head.filter(|_| wanted.head.is_some()).map(|commit| commit.to_string()),
            notes,
            git_dir: PathBuf::new(),
        })
    }

    fn commit(&self, reference: &str) -> Result<Oid, RefsError> {
        commit_of(self.repository, reference)
    }

    /// The commit from which the changes of `head` begin.
    fn merge_base(&self, head: Oid, notes: &mut Vec<String>) -> Result<Oid, RefsError> {
        let parents = self.parents(head)?;
        if let [first, second] = parents.as_slice()
            && self.is_merge_of_a_pull_request(head, *first, *second)?
        {
            notes.push(format!(
                "{} is the merge of a pull request into its base; base is its first parent, {}",
                short(&head.to_string()),
                short(&first.to_string())
            ));
            return self.here(*first);
        }
        let Some((branch, tip)) = self.base_branch()? else {
            // A merge that nobody has a name for, checked out by its hash: what CI systems do.
            if let ([first, _], Ok(true)) = (parents.as_slice(), self.repository.head_detached()) {
                return self.here(*first);
            }
            return Err(RefsError::NoBaseBranch);
        };
        match self.repository.merge_base(head, tip) {
            Ok(base) if base == head => {
                let Some(first) = parents.first() else {
                    return Err(RefsError::Unrelated { head: short(&head.to_string()), branch });
                };
                notes.push(format!(
                    "{} is on {branch} itself; base is its parent, {}",
                    short(&head.to_string()),
                    short(&first.to_string())
                ));
                self.here(*first)
            }
            Ok(base) => Ok(base),
            Err(_) if self.repository.is_shallow() => Err(RefsError::Shallow {
                missing: format!("where {} left {branch}", short(&head.to_string())),
                cure: "git fetch --unshallow".to_owned(),
            }),
            Err(_) => Err(RefsError::Unrelated { head: short(&head.to_string()), branch }),
        }
    }

    /// The parents as the commit itself names them: in a shallow clone a parsed commit has none.
    fn parents(&self, commit: Oid) -> Result<Vec<Oid>, RefsError> {
        let commit = self.read(commit)?;
        let header = String::from_utf8_lossy(commit.raw_header_bytes()).into_owned();
        Ok(header
            .lines()
            .filter_map(|line| Oid::from_str(line.strip_prefix("parent ")?).ok())
            .collect())
    }

    fn read(&self, commit: Oid) -> Result<git2::Commit<'_>, RefsError> {
        self.repository.find_commit(commit).map_err(|error| match error.code() {
            ErrorCode::NotFound if self.repository.is_shallow() => RefsError::Shallow {
                missing: format!("commit {}", short(&commit.to_string())),
                cure: "git fetch --deepen=1".to_owned(),
            },
            _ => RefsError::Git {
                attempt: format!("read commit {}", short(&commit.to_string())),
                message: error.message().to_owned(),
            },
        })
    }

    fn here(&self, commit: Oid) -> Result<Oid, RefsError> {
        self.read(commit).map(|commit| commit.id())
    }

    /// GitHub calls it "Merge HEAD into BASE", by their hashes; its own variables name it too.
    fn is_merge_of_a_pull_request(
        &self,
        commit: Oid,
        first: Oid,
        second: Oid,
    ) -> Result<bool, RefsError> {
        if self.merge.as_deref() == Some(commit.to_string().as_str()) {
            return Ok(true);
        }
        let message = self.read(commit)?;
        let message = String::from_utf8_lossy(message.message_bytes()).into_owned();
        let words: Vec<&str> =
            message.lines().next().unwrap_or_default().split_whitespace().collect();
        let names = |word: &str, oid: Oid| word.len() >= 7 && oid.to_string().starts_with(word);
        Ok(matches!(words.as_slice(), ["Merge", head, "into", base]
            if names(head, second) && names(base, first)))
    }

    /// The branch that is changed, and its tip: the one that the CI system names, and no other in its
    /// place; else the usual ones.
    fn base_branch(&self) -> Result<Option<(String, Oid)>, RefsError> {
        if let Some(branch) = &self.target {
            let names = [format!("refs/remotes/origin/{branch}"), format!("refs/heads/{branch}")];
            let found = names.iter().find_map(|name| self.branch(name));
            return found.map(Some).ok_or_else(|| RefsError::NoTarget { branch: branch.clone() });
        }
        let usual = [
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/main",
            "refs/remotes/origin/master",
            "refs/heads/main",
            "refs/heads/master",
        ];
        Ok(usual.iter().find_map(|name| self.branch(name)))
    }

    /// What the branch is called for people, and its tip; `None` where there is no such reference.
    fn branch(&self, name: &str) -> Option<(String, Oid)> {
        let tip = self.repository.find_reference(name).ok()?.peel_to_commit().ok()?.id();
        let short = ["refs/remotes/", "refs/heads/"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))
            .unwrap_or(name);
        Some((short.to_owned(), tip))
    }
}

/// The commit that a branch, of the remote too, a tag or a hash stands for.
pub(super) fn commit_of(repository: &Repository, reference: &str) -> Result<Oid, RefsError> {
    let unknown = |cure| RefsError::Unknown { reference: reference.to_owned(), cure };
    let named = found(repository, reference)
        .ok_or_else(|| unknown(fetching::cure(repository, reference)))?;
    let commit = named.peel(ObjectType::Commit).map_err(|_not_a_commit| {
        let kind = named.kind().map_or("something else", |kind| kind.str());
        unknown(format!("it is here as a {kind}: name a branch, a tag or a hash"))
    })?;
    Ok(commit.id())
}

/// What a reference stands for, by itself or as a branch of the remote.
pub(super) fn found<'here>(
    repository: &'here Repository,
    reference: &str,
) -> Option<git2::Object<'here>> {
    [reference.to_owned(), format!("refs/remotes/origin/{reference}")]
        .iter()
        .find_map(|name| repository.revparse_single(name).ok())
}

/// The remote that has promised what a partial clone lacks; `None` of any other clone.
fn promisor(git_dir: &Path) -> Option<String> {
    let repository = Repository::open(git_dir).ok()?;
    let config = repository.config().ok()?;
    let remotes = repository.remotes().ok()?;
    let names = remotes.iter_bytes().map(|name| String::from_utf8_lossy(name).into_owned());
    let mut promised = names
        .filter(|name| config.get_bool(&format!("remote.{name}.promisor")).unwrap_or_default());
    promised.next()
}

/// The first ten digits of a hash, for a sentence.
fn short(hash: &str) -> String {
    hash.get(..10).unwrap_or(hash).to_owned()
}
