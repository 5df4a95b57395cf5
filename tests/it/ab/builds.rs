//! Sides that are commits: which are compared, and what is built of them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use bench_ci::server::proc;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Session, report, send};

/// A repository whose "server" is built from its own source: a script around the simulator, twice as
/// slow on the branch `feature`. Checked out is what GitHub makes of the pull request.
fn repository_with_a_pull_request(folder: &Path) -> (String, String) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(folder)
            .args([
                "-c",
                "user.name=n",
                "-c",
                "user.email=n@example.org",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(arguments)
            .env_remove("GIT_DIR")
            .output()
            .expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let source = |flags: &str| {
        let ours = env!("CARGO_BIN_EXE_bench-ci");
        let text = format!("#!/bin/sh\nexec '{ours}' sim {flags} \"$@\"\n");
        std::fs::write(folder.join("server.in"), text).unwrap();
        git(&["add", "."]);
    };
    git(&["init", "--quiet", "."]);
    source("");
    git(&["commit", "--quiet", "-m", "what there was"]);
    git(&["branch", "feature"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "base goes on"]);
    git(&["checkout", "--quiet", "feature"]);
    source("--sim-slowdown 100");
    git(&["commit", "--quiet", "-m", "slower"]);
    git(&["checkout", "--quiet", "--detach", "main"]);
    let (base, head) = (git(&["rev-parse", "main"]), git(&["rev-parse", "feature"]));
    git(&["merge", "--quiet", "--no-ff", "-m", &format!("Merge {head} into {base}"), "feature"]);
    (base, git(&["rev-parse", "HEAD"]))
}

#[test]
fn a_pull_request_is_compared_with_its_own_base_and_each_commit_is_built_once() {
    let session = Session::new();
    let repository = session.folder.path().to_owned();
    let (base, head) = repository_with_a_pull_request(&repository);
    let build = "cp server.in built && chmod +x built && git log -1 --format=%H";
    let sides = ["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", build];
    let rest = ["--server-path", "built", "--model", "synthetic", "--budget", "8s", "--pairs", "7"];
    let arguments: Vec<&str> = sides.iter().chain(&rest).copied().collect();
    let ran = session.run(&arguments);
    let first = report(&ran);
    assert_eq!(first["sides"]["base"]["commit"], base.as_str(), "{}", ran.stderr);
    assert_eq!(first["sides"]["head"]["commit"], head.as_str());
    assert_eq!(first["sides"]["head"]["build"]["cached"], false);
    // The work tree is at its commit, and the user's repository knows nothing of it.
    let log = std::fs::read_to_string(session.out().join("build-base.log")).unwrap();
    assert_eq!(log.trim(), base);
    assert!(!repository.join(".git/worktrees").exists());
    let commands = ["base", "head"].map(|side| first["sides"][side]["command"][0].clone());
    if let [Value::String(base), Value::String(head)] = &commands {
        assert_eq!(base.len(), head.len(), "paths of one length");
    }
    let ran = session.run(&arguments);
    assert_eq!(report(&ran)["sides"]["head"]["build"]["cached"], true, "{}", ran.stderr);

    let failing =
        ["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "echo no luck; exit 3"];
    let arguments: Vec<&str> = failing.iter().chain(&rest).copied().collect();
    let ran = session.run(&arguments);
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    assert!(ran.stderr.contains("exited with status 3"), "{}", ran.stderr);
    assert!(ran.stderr.contains("log: no luck"), "{}", ran.stderr);
    // What is shown comes from a file, so there is one that says what went wrong.
    let report = report(&ran);
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(
        (&report["run"]["status"], &report["run"]["exit_code"]),
        (&"failed".into(), &7.into())
    );
    assert_eq!(report["sides"]["head"]["label"], "HEAD");
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("cannot build base"), "{reason}");
}

#[test]
fn a_build_inside_a_git_hook_is_of_its_own_work_tree() {
    let session = Session::new();
    let repository = session.folder.path();
    let (base, _) = repository_with_a_pull_request(repository);
    let build = ["--build", "git log -1 --format=%H && git checkout --quiet --detach && exit 3"];
    let output = session
        .command(&["--base-ref", "merge-base", "--head-ref", "HEAD"])
        .args(build)
        .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
        .env("GIT_DIR", repository.join(".git"))
        .env("GIT_WORK_TREE", repository)
        .env("GIT_INDEX_FILE", repository.join(".git/index"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let log = std::fs::read_to_string(session.out().join("build-base.log")).unwrap();
    assert_eq!(log.trim(), base);
}

#[test]
fn a_build_without_its_submodules_is_told_how_to_get_them() {
    let session = Session::new();
    let repository = session.folder.path();
    repository_with_a_pull_request(repository);
    let git = |words: &[&str]| {
        let author = ["-c", "user.name=n", "-c", "user.email=n@example.org"];
        let output =
            Command::new("git").current_dir(repository).args(author).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["checkout", "--quiet", "feature"]);
    std::fs::write(repository.join(".gitmodules"), "").unwrap();
    git(&["add", ".gitmodules"]);
    git(&["commit", "--quiet", "-m", "with submodules"]);
    let hint = |base: &str| {
        let sides = ["--base-ref", base, "--head-ref", "main", "--build", "exit 3"];
        let rest = ["--server-path", "built", "--model", "synthetic", "--budget", "8s"];
        let ran = session.run(&[&sides[..], &rest].concat());
        assert_eq!(ran.exit, 7, "{}", ran.stderr);
        ran.stderr.contains("git submodule update --init")
    };
    assert!(hint("feature"));
    assert!(!hint("feature~1"));
}

#[test]
fn two_names_of_one_commit_are_refused_unless_something_else_differs() {
    let session = Session::new();
    let (base, _) = repository_with_a_pull_request(session.folder.path());
    let sides = ["--base-ref", "main", "--head-ref", base.as_str()];
    let build = ["--build", "echo no luck; exit 3", "--server-path", "built"];
    let rest = ["--model", "synthetic", "--budget", "8s"];
    let arguments: Vec<&str> = sides.iter().chain(&build).chain(&rest).copied().collect();
    let ran = session.run(&arguments);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
    let words = format!("base \"main\" and head \"{base}\" are the same commit");
    assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    assert!(!session.out().join("build-base.log").exists(), "nothing was built");
    // With other flags it is a question again, and comes as far as its build.
    let ran = session.run(&[&arguments[..], &["--head-args", "--flash-attn on"]].concat());
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
}

#[test]
fn a_shallow_clone_is_told_the_command_that_mends_it() {
    let origin = tempfile::tempdir().unwrap();
    repository_with_a_pull_request(origin.path());
    let session = Session::new();
    let url = format!("file://{}", origin.path().display());
    let clone = Command::new("git")
        .current_dir(session.folder.path())
        .args(["clone", "--quiet", "--depth", "1", &url, "clone"])
        .output()
        .unwrap();
    assert!(clone.status.success(), "{}", String::from_utf8_lossy(&clone.stderr));
    let output = session
        .command(&["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "true"])
        .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
        .current_dir(session.folder.path().join("clone"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("git fetch --deepen=1"), "{stderr}");
}

#[test]
fn a_partial_clone_is_told_the_command_that_mends_it() {
    let origin = tempfile::tempdir().unwrap();
    repository_with_a_pull_request(origin.path());
    let session = Session::new();
    let clone = session.folder.path().join("a clone");
    let git = |folder: &Path, words: &[&str]| {
        let output = Command::new("git").current_dir(folder).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(origin.path(), &["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", origin.path().display());
    let filter = ["clone", "--quiet", "--filter=blob:none", "-b", "feature", &url, "a clone"];
    git(session.folder.path(), &filter);
    let build = || {
        let output = session
            .command(&["--base-ref", "origin/main", "--head-ref", "HEAD", "--build", "exit 3"])
            .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
            .current_dir(&clone)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, stderr) = build();
    assert_eq!(exit, Some(2), "{stderr}");
    let command = "git fetch --refetch --no-filter origin";
    assert!(stderr.contains("the clone is partial"), "{stderr}");
    assert!(stderr.contains(command), "{stderr}");
    // And that command mends it, as far as the build.
    git(&clone, &command.split(' ').skip(1).collect::<Vec<_>>());
    let (exit, stderr) = build();
    assert_eq!(exit, Some(7), "{stderr}");
}

#[test]
fn the_branch_that_a_pull_request_wants_to_change_is_never_replaced_by_another() {
    let origin = tempfile::tempdir().unwrap();
    repository_with_a_pull_request(origin.path());
    let session = Session::new();
    let clone = session.folder.path().join("clone");
    let git = |folder: &Path, words: &[&str]| {
        let output = Command::new("git").current_dir(folder).args(words).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // The pull request left main, which is in the clone, and wants to change a branch that is not.
    let root = git(origin.path(), &["rev-list", "--max-parents=0", "feature"]);
    git(origin.path(), &["branch", "release/1.0", &root]);
    let url = format!("file://{}", origin.path().display());
    git(
        session.folder.path(),
        &["clone", "--quiet", "--single-branch", "-b", "main", &url, "clone"],
    );
    git(&clone, &["fetch", "--quiet", "origin", "feature"]);
    git(&clone, &["checkout", "--quiet", "--detach", "FETCH_HEAD"]);
    let compared = || {
        let output = session
            .command(&["--base-ref", "merge-base", "--head-ref", "HEAD", "--build", "exit 3"])
            .args(["--server-path", "built", "--model", "synthetic", "--budget", "8s"])
            .env("GITHUB_BASE_REF", "release/1.0")
            .current_dir(&clone)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, stderr) = compared();
    assert_eq!(exit, Some(2), "{stderr}");
    let cure = "git fetch origin release/1.0:refs/remotes/origin/release/1.0";
    assert!(stderr.contains(cure), "{stderr}");

    let words: Vec<&str> = cure.split(' ').skip(1).collect();
    git(&clone, &words);
    let (exit, stderr) = compared();
    assert_eq!(exit, Some(7), "{stderr}");
    assert!(stderr.contains(&format!("cannot build base ({})", &root[..10])), "{stderr}");
}

/// A commit against another whose build fails, so that it ends where base is built.
const BROKEN: [&str; 10] = [
    "--base-ref",
    "main",
    "--head-ref",
    "feature",
    "--build",
    "exit 3",
    "--server-path",
    "built",
    "--model",
    "synthetic",
];

/// The folders of what was built, by name.
fn built(session: &Session) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(session.folder.path().join("cache/builds")).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("tree").is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn after_an_update_of_any_compiler_nothing_that_the_old_one_built_is_used() {
    use std::os::unix::fs::PermissionsExt;
    let session = Session::new();
    repository_with_a_pull_request(session.folder.path());
    let tools = session.folder.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    let says = |tool: &str, release: &str| {
        // What stands before and after it is the same, as of nvcc.
        let words = format!("the {tool}\nrelease {release}\nall rights reserved\n");
        std::fs::write(tools.join(format!("{tool}.says")), words).unwrap();
    };
    let all = ["cc", "c++", "nvcc", "cmake", "rustc"];
    for tool in all {
        let script = tools.join(tool);
        std::fs::write(&script, "#!/bin/sh\ncat \"$0.says\"\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        says(tool, "1");
    }
    let path = std::env::var("PATH").unwrap();
    let builds = || {
        let mut command = session.command(&BROKEN);
        command.env("PATH", format!("{}:{path}", tools.display()));
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(7), "{stderr}");
        built(&session).len()
    };
    assert_eq!(builds(), 1);
    assert_eq!(builds(), 1, "nothing has changed");
    for (updated, tool) in all.into_iter().enumerate() {
        says(tool, "2");
        assert_eq!(builds(), updated + 2, "{tool} is another one");
    }
}

#[test]
fn of_what_was_built_the_newest_stay_and_what_a_comparison_uses() {
    let session = Session::new();
    repository_with_a_pull_request(session.folder.path());
    let place = |age: u32| session.folder.path().join(format!("cache/builds/{age:02}-old"));
    for age in 0..25 {
        std::fs::create_dir_all(place(age).join("tree")).unwrap();
        let lock = File::create(place(age).join("lock")).unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(3600) * (age + 1)).unwrap();
    }
    // Another process that plays the oldest.
    let used = File::open(place(24).join("lock")).unwrap();
    used.lock_shared().unwrap();
    let ran = session.run(&BROKEN);
    assert_eq!(ran.exit, 7, "{}", ran.stderr);
    let left = built(&session);
    let (old, new): (Vec<PathBuf>, Vec<PathBuf>) =
        left.into_iter().partition(|folder| folder.to_string_lossy().ends_with("-old"));
    assert_eq!(old, (0..19).chain([24]).map(place).collect::<Vec<_>>());
    assert_eq!(new.len(), 1, "{new:?}");
}

#[test]
fn what_was_built_is_held_as_long_as_it_is_played() {
    let session = Session::new();
    repository_with_a_pull_request(session.folder.path());
    let sides = ["--base-ref", "main", "--head-ref", "feature", "--model", "synthetic"];
    let build = ["--build", "cp server.in built && chmod +x built", "--server-path", "built"];
    let mut child =
        session.command(&[&sides[..], &build, &["--budget", "300s"]].concat()).spawn().unwrap();
    let begun = Instant::now();
    while !session.out().join("trials").is_dir() {
        assert!(begun.elapsed() < Duration::from_secs(120), "no trial was begun");
        assert!(child.try_wait().unwrap().is_none(), "it ended before a trial was begun");
        std::thread::sleep(Duration::from_millis(20));
    }
    let free = || {
        let locks = built(&session).into_iter().map(|folder| File::open(folder.join("lock")));
        locks.map(|lock| lock.unwrap().try_lock().is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(free(), [false, false]);
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(free(), [true, true]);
}

#[test]
fn kill_9_takes_a_build_along_before_another_begins_in_its_work_tree() {
    let session = Session::new();
    repository_with_a_pull_request(session.folder.path());
    // As a compiler below make: a process of its own, in a session of its own.
    let build = "echo begun; setsid sleep 300 & wait";
    let words = ["--base-ref", "main", "--head-ref", "feature", "--build", build];
    let rest = ["--server-path", "built", "--model", "synthetic"];
    let mut child = session.command(&[&words[..], &rest].concat()).spawn().unwrap();
    let mark = format!("BENCH_CI_CACHE={}", session.folder.path().join("cache").display());
    // Inherited by everything that it starts.
    let started = || proc::marked(&mark).len();
    let begun = Instant::now();
    let eventually = |what: &str, holds: &dyn Fn() -> bool| {
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(120), "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let log = session.out().join("build-base.log");
    eventually("the build is at work", &|| {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("begun")) && started() >= 3
    });
    send(&child, Signal::SIGKILL);
    child.wait().unwrap();
    eventually("nothing of it is left", &|| started() == 0);
}
