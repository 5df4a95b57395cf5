//! Which commit, in every state that a checkout on a CI machine is found in.

mod fetching;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bench_ci::provenance::{CiContext, Provenance, Repository};
use git2::{Oid, Signature};

/// A repository in a temporary folder with one commit of `a.txt` on the branch `main`.
struct Sandbox {
    folder: tempfile::TempDir,
    git: git2::Repository,
    first: Oid,
}

impl Sandbox {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = git2::RepositoryInitOptions::new();
        let git = git2::Repository::init_opts(folder.path(), options.initial_head("main"))
            .expect("a repository");
        let mut sandbox = Self { folder, git, first: Oid::ZERO_SHA1 };
        sandbox.write("a.txt", "one\n");
        sandbox.first = sandbox.commit("HEAD", &[]);
        sandbox
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).expect("a file");
    }

    fn stage(&self, name: &str) {
        let mut index = self.git.index().expect("an index");
        index.add_path(Path::new(name)).expect("added");
        index.write().expect("written");
    }

    /// Commits `a.txt` as it is.
    fn commit(&self, target: &str, parents: &[Oid]) -> Oid {
        self.stage("a.txt");
        let tree = self.git.index().expect("an index").write_tree().expect("a tree");
        let tree = self.git.find_tree(tree).expect("a tree");
        let author = Signature::now("a", "a@example.org").expect("an author");
        let parents: Vec<_> =
            parents.iter().map(|id| self.git.find_commit(*id).expect("a commit")).collect();
        let target = Some(target).filter(|target| !target.is_empty());
        self.git
            .commit(target, &author, &author, "m", &tree, &parents.iter().collect::<Vec<_>>())
            .expect("a commit")
    }

    /// A merge of two commits, checked out detached, as actions/checkout leaves a pull request.
    fn pull_request(&self) -> (Oid, Oid) {
        let head = self.commit("", &[self.first]);
        let merge = self.commit("", &[self.first, head]);
        self.git.set_head_detached(merge).expect("checked out");
        (head, merge)
    }

    fn dirty(&self) -> Result<bool, String> {
        Repository::read(self.path()).expect("a repository").dirty
    }

    /// What is found with these variables.
    fn with(&self, variables: &[(&str, &str)]) -> Provenance {
        discover(variables, self.path())
    }
}

fn discover(variables: &[(&str, &str)], dir: &Path) -> Provenance {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Provenance::discover(&|name| variables.get(name).map(|value| (*value).to_owned()), dir)
}

fn payload(folder: &Path, json: &str) -> PathBuf {
    let path = folder.join(".git").join("event.json");
    fs::write(&path, json).expect("a payload");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const HEAD: &str = "89abcdef0123456789abcdef0123456789abcdef";

#[test]
fn a_branch_at_a_desk_is_read_from_git() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("sub")).expect("a folder");
    let found = discover(&[], &sandbox.path().join("sub"));
    assert_eq!(found.branch.as_deref(), Some("main"));
    assert_eq!(found.commit, Some(sandbox.first.to_string()));
    assert_eq!(found.dirty, Some(false));
    assert_eq!(
        (found.event, found.tag, found.pull_request, found.merge_commit),
        (None, None, None, None)
    );
    assert_eq!(found.notes, Vec::<String>::new());
    assert_eq!(found.unknown.keys().collect::<Vec<_>>(), Vec::<&&str>::new());
    assert!(chrono_like(&found.started_at), "{}", found.started_at);
}

/// `2026-11-22T06:00:00.000Z`
fn chrono_like(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

#[test]
fn no_repository_is_a_reason_and_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let found = discover(&[], folder.path());
    assert_eq!((&found.branch, &found.commit, found.dirty), (&None, &None, None));
    for field in ["branch", "commit", "dirty", "checked_out"] {
        assert!(
            found.unknown[field].starts_with("no git repository around "),
            "{field}: {:?}",
            found.unknown
        );
    }
    // GitHub's word is enough without one: the job may not check anything out.
    let found = discover(&[("GITHUB_SHA", SHA), ("GITHUB_REF_NAME", "main")], folder.path());
    assert_eq!((found.branch.as_deref(), found.commit.as_deref()), (Some("main"), Some(SHA)));
    assert!(!found.unknown.contains_key("commit") && found.unknown.contains_key("dirty"));
}

#[test]
fn a_detached_head_has_a_commit_and_no_branch() {
    let sandbox = Sandbox::new();
    sandbox.git.set_head_detached(sandbox.first).expect("detached");
    let found = sandbox.with(&[]);
    assert_eq!((found.branch, found.commit), (None, Some(sandbox.first.to_string())));
    assert_eq!(found.unknown["branch"], "HEAD is detached: a commit is checked out, not a branch");
}

#[test]
fn an_unborn_branch_has_a_name_and_no_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = git2::RepositoryInitOptions::new();
    git2::Repository::init_opts(folder.path(), options.initial_head("feat/x"))
        .expect("a repository");
    let found = discover(&[], folder.path());
    assert_eq!((found.branch.as_deref(), found.commit), (Some("feat/x"), None));
    assert_eq!(found.unknown["commit"], "the branch has no commit yet");
    assert_eq!(found.dirty, Some(false));
}

#[test]
fn a_worktree_is_read_like_a_repository() {
    let sandbox = Sandbox::new();
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("side");
    sandbox.git.worktree("side", &path, None).expect("a worktree");
    let found = discover(&[], &path);
    assert_eq!(found.branch.as_deref(), Some("side"));
    assert_eq!(found.commit, Some(sandbox.first.to_string()));
    assert_eq!(found.dirty, Some(false));
    fs::write(path.join("a.txt"), "two, longer\n").expect("a file");
    assert_eq!(discover(&[], &path).dirty, Some(true));
}

#[test]
fn a_bare_repository_has_no_files_to_differ() {
    let folder = tempfile::tempdir().expect("a folder");
    git2::Repository::init_bare(folder.path()).expect("a repository");
    let found = Repository::read(folder.path()).expect("a repository");
    assert_eq!(found.dirty, Err("the repository is bare: it has no files to differ".to_owned()));
}

#[test]
fn a_shallow_clone_still_knows_what_its_merge_merged() {
    let sandbox = Sandbox::new();
    let (head, merge) = sandbox.pull_request();
    // What `git fetch --depth 1` leaves: the merge, and a note that its parents are not here.
    fs::write(sandbox.git.path().join("shallow"), format!("{merge}\n")).expect("a shallow file");
    let found = Repository::read(sandbox.path()).expect("a repository");
    assert!(found.is_shallow);
    assert_eq!(found.second_parent, Some(head.to_string()));
    assert_eq!(found.commit, Ok(merge.to_string()));
}

#[test]
fn every_change_of_a_tracked_file_is_dirty_and_nothing_else_is() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.dirty(), Ok(false), "clean");

    sandbox.write("model.gguf", "untracked");
    assert_eq!(sandbox.dirty(), Ok(false), "untracked");

    sandbox.write("a.txt", "one\n");
    assert_eq!(sandbox.dirty(), Ok(false), "written again with the same content");

    // Same length and, on a coarse clock, the same time: only the content tells.
    sandbox.write("a.txt", "two\n");
    assert_eq!(sandbox.dirty(), Ok(true), "changed");

    sandbox.stage("a.txt");
    assert_eq!(sandbox.dirty(), Ok(true), "staged");

    sandbox.commit("HEAD", &[sandbox.first]);
    assert_eq!(sandbox.dirty(), Ok(false), "committed");

    fs::remove_file(sandbox.path().join("a.txt")).expect("removed");
    assert_eq!(sandbox.dirty(), Ok(true), "removed");
}

#[test]
fn line_ends_that_git_converts_are_no_change() {
    let sandbox = Sandbox::new();
    sandbox.git.config().expect("a configuration").set_str("core.autocrlf", "true").expect("set");
    sandbox.write("a.txt", "one\r\n");
    sandbox.stage("a.txt");
    // Written again: its time says nothing, its bytes are not the blob's, and yet git sees no change.
    sandbox.write("a.txt", "one\r\n");
    assert_eq!(sandbox.dirty(), Ok(false));
    sandbox.write("a.txt", "two\r\n");
    assert_eq!(sandbox.dirty(), Ok(true));
}

#[cfg(unix)]
#[test]
fn a_changed_mode_and_a_file_that_became_a_link_are_changes() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("a.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    assert_eq!(sandbox.dirty(), Ok(true), "executable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert_eq!(sandbox.dirty(), Ok(false), "as it was");
    fs::remove_file(&path).expect("removed");
    symlink("elsewhere", &path).expect("a link");
    assert_eq!(sandbox.dirty(), Ok(true), "a link");
    sandbox.stage("a.txt");
    sandbox.commit("HEAD", &[sandbox.first]);
    assert_eq!(sandbox.dirty(), Ok(false), "a committed link");
}

#[test]
fn a_submodule_is_dirty_when_another_commit_is_checked_out_in_it() {
    let sandbox = Sandbox::new();
    let inner = git2::Repository::init(sandbox.path().join("lib")).expect("a repository");
    let author = Signature::now("a", "a@example.org").expect("an author");
    let commit = |parents: &[&git2::Commit<'_>]| {
        let tree = inner.index().expect("an index").write_tree().expect("a tree");
        let tree = inner.find_tree(tree).expect("a tree");
        inner.commit(Some("HEAD"), &author, &author, "m", &tree, parents).expect("a commit")
    };
    let first = commit(&[]);
    sandbox.stage("lib");
    sandbox.commit("HEAD", &[sandbox.first]);
    assert_eq!(sandbox.dirty(), Ok(false), "as recorded");
    // Inside it, the submodule's own state counts.
    let found = Repository::read(&sandbox.path().join("lib")).expect("a repository");
    assert_eq!(found.commit, Ok(first.to_string()));
    commit(&[&inner.find_commit(first).expect("a commit")]);
    assert_eq!(sandbox.dirty(), Ok(true), "another commit");
    fs::remove_dir_all(sandbox.path().join("lib")).expect("removed");
    assert_eq!(sandbox.dirty(), Ok(false), "not checked out");
}

#[test]
fn a_push_is_its_branch_and_commit() {
    let sandbox = Sandbox::new();
    let sha = sandbox.first.to_string();
    let found = sandbox.with(&[
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_HEAD_REF", ""),
        ("GITHUB_REF", "refs/heads/feat/x"),
        ("GITHUB_REF_NAME", "feat/x"),
        ("GITHUB_REF_TYPE", "branch"),
        ("GITHUB_SHA", &sha),
        ("RUNNER_NAME", "gpu-1"),
    ]);
    assert_eq!(
        (found.branch.as_deref(), found.commit.as_deref()),
        (Some("feat/x"), Some(sha.as_str()))
    );
    assert_eq!(
        (found.event.as_deref(), found.runner_label.as_deref()),
        (Some("push"), Some("gpu-1"))
    );
    assert_eq!((found.dirty, found.notes), (Some(false), Vec::new()));
}

#[test]
fn a_pull_request_is_its_head_and_not_the_merge_commit() {
    let sandbox = Sandbox::new();
    let (head, merge) = sandbox.pull_request();
    let (head, merge) = (head.to_string(), merge.to_string());
    let event = payload(
        sandbox.path(),
        &format!(
            r#"{{"number": 7, "pull_request": {{"number": 7, "head": {{"sha": "{head}", "ref": "feat/x"}}}}}}"#
        ),
    );
    let variables = [
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_HEAD_REF", "feat/x"),
        ("GITHUB_BASE_REF", "main"),
        ("GITHUB_REF_NAME", "7/merge"),
        ("GITHUB_REF_TYPE", "branch"),
        ("GITHUB_SHA", &merge),
        ("GITHUB_EVENT_PATH", text(&event)),
    ];
    let found = sandbox.with(&variables);
    assert_eq!((found.branch.as_deref(), found.commit.as_ref()), (Some("feat/x"), Some(&head)));
    assert_eq!((found.merge_commit.as_ref(), found.pull_request), (Some(&merge), Some(7)));
    assert!(
        found.notes[0].contains("the merge of the pull request into its base"),
        "{:?}",
        found.notes
    );

    // Without the payload, the merge commit that is checked out names its second parent.
    let found = sandbox.with(&variables[..6]);
    assert_eq!((found.branch.as_deref(), found.commit.as_ref()), (Some("feat/x"), Some(&head)));
    assert_eq!(found.pull_request, Some(7));
    assert!(found.notes[0].contains("GITHUB_EVENT_PATH is not set"), "{:?}", found.notes);
}

#[test]
fn a_pull_request_that_checks_its_head_out_has_nothing_to_note() {
    let sandbox = Sandbox::new();
    let head = sandbox.first.to_string();
    let event =
        payload(sandbox.path(), &format!(r#"{{"pull_request": {{"head": {{"sha": "{head}"}}}}}}"#));
    let found = sandbox.with(&[
        ("GITHUB_EVENT_NAME", "pull_request"),
        ("GITHUB_HEAD_REF", "feat/x"),
        ("GITHUB_REF_NAME", "7/merge"),
        ("GITHUB_SHA", SHA),
        ("GITHUB_EVENT_PATH", text(&event)),
    ]);
    assert_eq!((found.commit.as_ref(), found.pull_request), (Some(&head), Some(7)));
    assert_eq!(found.notes, Vec::<String>::new());
}

#[test]
fn pull_request_target_never_takes_the_base_for_the_head() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |payload: Option<&str>| {
        let path = folder.path().join("event.json");
        if let Some(json) = payload {
            fs::write(&path, json).expect("a payload");
        }
        CiContext::read(&|name| {
            Some(match name {
                "GITHUB_EVENT_NAME" => "pull_request_target".to_owned(),
                "GITHUB_HEAD_REF" => "feat/x".to_owned(),
                "GITHUB_REF_NAME" => "main".to_owned(),
                "GITHUB_SHA" => SHA.to_owned(),
                "GITHUB_EVENT_PATH" if payload.is_some() => text(&path).to_owned(),
                _ => return None,
            })
        })
        .expect("a job")
    };
    let found =
        read(Some(&format!(r#"{{"pull_request": {{"number": 3, "head": {{"sha": "{HEAD}"}}}}}}"#)));
    assert_eq!(
        (found.commit.as_deref(), found.merge_commit, found.pull_request),
        (Some(HEAD), None, Some(3))
    );
    let found = read(None);
    assert_eq!(
        (found.commit, found.merge_commit, found.branch.as_deref()),
        (None, None, Some("feat/x"))
    );
    for broken in ["", "{", "[]", r#"{"pull_request": 5}"#] {
        let found = read(Some(broken));
        assert_eq!((found.commit, found.notes.len()), (None, 1), "{broken}");
    }
}

#[test]
fn dispatch_schedule_and_merge_queue_are_their_branch_and_commit() {
    for (event, ref_name, number) in [
        ("workflow_dispatch", "feat/x", None),
        ("schedule", "main", None),
        ("merge_group", "gh-readonly-queue/main/pr-12-0123456789", Some(12)),
    ] {
        let sandbox = Sandbox::new();
        let sha = sandbox.first.to_string();
        let found = sandbox.with(&[
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_REF_NAME", ref_name),
            ("GITHUB_REF_TYPE", "branch"),
            ("GITHUB_SHA", &sha),
        ]);
        assert_eq!(
            (found.branch.as_deref(), found.commit.as_ref(), found.pull_request),
            (Some(ref_name), Some(&sha), number),
            "{event}"
        );
    }
}

#[test]
fn a_tag_is_a_tag_and_no_branch() {
    let sandbox = Sandbox::new();
    let found = sandbox.with(&[
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF", "refs/tags/v1.2"),
        ("GITHUB_REF_NAME", "v1.2"),
        ("GITHUB_REF_TYPE", "tag"),
        ("GITHUB_SHA", &sandbox.first.to_string()),
    ]);
    assert_eq!((found.tag.as_deref(), found.branch), (Some("v1.2"), None));
    assert_eq!(found.unknown["branch"], "the job was started for a tag");
}

#[test]
fn a_job_after_another_workflow_takes_that_ones_commit() {
    let sandbox = Sandbox::new();
    let event = payload(
        sandbox.path(),
        &format!(r#"{{"workflow_run": {{"head_sha": "{HEAD}", "head_branch": "feat/x"}}}}"#),
    );
    let found = sandbox.with(&[
        ("GITHUB_EVENT_NAME", "workflow_run"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_SHA", SHA),
        ("GITHUB_EVENT_PATH", text(&event)),
    ]);
    assert_eq!((found.branch.as_deref(), found.commit.as_deref()), (Some("feat/x"), Some(HEAD)));
}

#[test]
fn another_checkout_than_the_jobs_commit_is_noted() {
    let sandbox = Sandbox::new();
    let found = sandbox.with(&[
        ("GITHUB_EVENT_NAME", "push"),
        ("GITHUB_REF_NAME", "main"),
        ("GITHUB_SHA", SHA),
    ]);
    assert_eq!(found.commit.as_deref(), Some(SHA));
    assert_eq!(found.checked_out, Some(sandbox.first.to_string()));
    let expected = format!(
        "the job was started for 0123456789, but {:.10} is checked out",
        sandbox.first.to_string()
    );
    assert_eq!(found.notes, [expected]);
}

#[test]
fn this_machine_is_described() {
    let machine = bench_ci::provenance::Machine::discover(&|_| None);
    assert!(machine.cores.is_some_and(|cores| cores >= 1));
    assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(machine.fingerprint, bench_ci::provenance::Machine::discover(&|_| None).fingerprint);
}
