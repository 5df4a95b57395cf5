//! A commit that is not in the clone: the command that is printed brings it, and the next call finds it.

use std::path::{Path, PathBuf};
use std::process::Command;

use bench_ci::provenance::refs::{Commits, RefsError, Wanted};

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A remote with two branches, a tag that only one of them has, and the merge of a pull request; and
/// clones of it.
struct Remote {
    folder: tempfile::TempDir,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let remote = Self { folder };
        let origin = remote.path();
        std::fs::create_dir(&origin).unwrap();
        git(&origin, &["init", "--quiet", "--initial-branch", "main"]);
        let commit = |message: &str| {
            git(&origin, &["commit", "--quiet", "--allow-empty", "-m", message]);
        };
        ["first", "second", "third", "fourth"].iter().for_each(|message| commit(message));
        git(&origin, &["checkout", "--quiet", "-b", "feature", "main~3"]);
        commit("fifth");
        git(&origin, &["tag", "-a", "v1", "-m", "one"]);
        commit("sixth");
        git(&origin, &["checkout", "--quiet", "--detach", "main"]);
        git(&origin, &["merge", "--quiet", "--no-ff", "-m", "merged", "feature"]);
        git(&origin, &["update-ref", "refs/pull/1/merge", "HEAD"]);
        git(&origin, &["checkout", "--quiet", "main"]);
        remote
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("origin")
    }

    fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn at(&self, reference: &str) -> String {
        git(&self.path(), &["rev-parse", &format!("{reference}^{{commit}}")])
    }

    fn cloned(&self, words: &[&str]) -> tempfile::TempDir {
        let clone = tempfile::tempdir().unwrap();
        let url = self.url();
        git(clone.path(), &[&["clone", "--quiet"], words, &[&url, "."]].concat());
        clone
    }

    /// As actions/checkout leaves a pull request.
    fn checked_out(&self) -> tempfile::TempDir {
        let clone = tempfile::tempdir().unwrap();
        git(clone.path(), &["init", "--quiet", "--initial-branch", "main"]);
        git(clone.path(), &["remote", "add", "origin", &self.url()]);
        let merge = "+refs/pull/1/merge:refs/remotes/pull/1/merge";
        git(clone.path(), &["fetch", "--quiet", "--no-tags", "--depth=1", "origin", merge]);
        git(clone.path(), &["checkout", "--quiet", "--detach", "refs/remotes/pull/1/merge"]);
        clone
    }
}

fn find(clone: &Path, reference: &str) -> Result<Commits, RefsError> {
    Commits::find(clone, &Wanted { base: Some(reference.to_owned()), head: None })
}

fn hint(clone: &Path, reference: &str) -> String {
    find(clone, reference).expect_err(reference).hint().expect(reference)
}

/// Does what the hint says.
fn follow(clone: &Path, hint: &str) {
    let (_, command) = hint.split_once(": git ").expect(hint);
    git(clone, &command.split(' ').collect::<Vec<_>>());
}

#[test]
fn the_printed_command_brings_a_commit_into_a_shallow_clone() {
    let remote = Remote::new();
    let feature = remote.at("feature");
    for (reference, expected) in [
        ("HEAD~1", "main~1"),
        ("HEAD^", "main~1"),
        ("main~2^", "main~3"),
        ("origin/main~1", "main~1"),
        ("HEAD^{/second}", "main~2"),
        ("feature", "feature"),
        ("feature~1", "feature~1"),
        ("origin/feature", "feature"),
        ("v1", "v1"),
        ("pull/1/merge", "refs/pull/1/merge"),
        (&feature, "feature"),
    ] {
        let clone = remote.cloned(&["--depth", "1"]);
        follow(clone.path(), &hint(clone.path(), reference));
        let found = find(clone.path(), reference).expect(reference);
        assert_eq!(found.base, Some(remote.at(expected)), "{reference}");
    }
}

#[test]
fn the_printed_command_brings_the_parents_of_the_merge_that_a_job_has_checked_out() {
    let remote = Remote::new();
    for (reference, expected) in
        [("HEAD~1", "main"), ("HEAD^2", "feature"), ("HEAD~3", "main~2"), ("main", "main")]
    {
        let clone = remote.checked_out();
        follow(clone.path(), &hint(clone.path(), reference));
        let found = find(clone.path(), reference).expect(reference);
        assert_eq!(found.base, Some(remote.at(expected)), "{reference}");
    }
}

#[test]
fn the_printed_command_brings_another_branch_into_a_clone_of_one() {
    let remote = Remote::new();
    let feature = remote.at("feature");
    for (reference, expected) in [
        ("feature", "feature"),
        ("feature~1", "feature~1"),
        ("origin/feature", "feature"),
        ("refs/heads/feature", "feature"),
        ("v1", "v1"),
        (&feature, "feature"),
    ] {
        let clone = remote.cloned(&["--single-branch"]);
        follow(clone.path(), &hint(clone.path(), reference));
        let found = find(clone.path(), reference).expect(reference);
        assert_eq!(found.base, Some(remote.at(expected)), "{reference}");
    }
    let clone = remote.cloned(&["--single-branch", "--branch", "feature"]);
    follow(clone.path(), &RefsError::NoBaseBranch.hint().unwrap());
    assert_eq!(find(clone.path(), "main").unwrap().base, Some(remote.at("main")));
}

#[test]
fn where_no_command_helps_none_is_printed() {
    let remote = Remote::new();
    std::fs::write(remote.path().join("a.txt"), "a\n").unwrap();
    git(&remote.path(), &["add", "a.txt"]);
    git(&remote.path(), &["commit", "--quiet", "-m", "a file"]);
    let clone = remote.cloned(&[]);
    for (reference, words) in [
        ("HEAD~99", "\"HEAD\" is here and has no such ancestor"),
        ("HEAD@{7}", "what this clone has noted itself"),
        ("HEAD:a.txt", "it is here as a blob"),
        ("no such name", "check its spelling"),
    ] {
        let hint = hint(clone.path(), reference);
        assert!(hint.contains(words) && !hint.contains("git fetch"), "{reference}: {hint}");
    }
    let short = hint(clone.path(), "0123abc");
    assert!(short.ends_with("all 40 digits of its hash: git fetch origin HASH"), "{short}");
    git(clone.path(), &["remote", "remove", "origin"]);
    let nowhere = hint(clone.path(), "feature");
    assert!(
        nowhere.starts_with("check its spelling") && !nowhere.contains("git fetch"),
        "{nowhere}"
    );
}
