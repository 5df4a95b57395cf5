//! `bisect` on a repository made for it: what is refused, what does not build, what it leaves behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bench_ci::artifact::{bisect_json_schema, unexplained_nulls};
use serde_json::Value;

/// Short answers, two users, few pairs: a slow-down of half the speed is seen by the fewest there can be.
const SMALL: [&str; 16] = [
    "--model",
    "synthetic",
    "--users",
    "2",
    "--max-tokens",
    "16",
    "--progress",
    "none",
    "--build",
    "cp server.in built && chmod +x built && echo built >> ../built.log",
    "--server-path",
    "built",
    "--out-dir",
    "out",
    "--pairs",
    "7",
];

/// Whose "server" is built from its own source.
pub(super) struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    pub(super) fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        repository.git(&["init", "--quiet", "."]);
        std::fs::write(repository.path().join(".gitignore"), "cache\nout\n").unwrap();
        repository
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.path())
            .args(["-c", "user.name=n", "-c", "user.email=n@example.org"])
            .args(["-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .env_remove("GIT_DIR")
            .output()
            .expect("git is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A commit whose server has these flags; `None` leaves nothing to build from.
    pub(super) fn commit(&self, subject: &str, flags: Option<&str>) -> String {
        let source = self.path().join("server.in");
        match flags {
            Some(flags) => {
                let ours = env!("CARGO_BIN_EXE_bench-ci");
                std::fs::write(
                    source,
                    format!("#!/bin/sh\n# {subject}\nexec '{ours}' sim {flags} \"$@\"\n"),
                )
                .unwrap();
            }
            None => std::fs::remove_file(source).unwrap(),
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BENCH_CI_CACHE", self.path().join("cache"))
            .arg("bisect")
            .args(SMALL)
            .args(arguments);
        if !arguments.contains(&"--budget") {
            command.args(["--budget", "120s"]);
        }
        command
    }

    pub(super) fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    pub(super) fn report(&self) -> Option<Value> {
        let text = std::fs::read(self.out().join("bisect.json")).ok()?;
        let report: Value = serde_json::from_slice(&text).unwrap();
        let validator = jsonschema::validator_for(&bisect_json_schema()).unwrap();
        let violations: Vec<String> =
            validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert_eq!(violations, [""; 0]);
        assert_eq!(unexplained_nulls(&report), [""; 0]);
        assert!(self.out().join("bisect.md").is_file());
        Some(report)
    }
}

pub(super) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(super) const SLOW: &str = "--sim-slowdown 150";

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_an_interrupted_search_leaves_holds_no_key() {
    const KEY: &str = "key-5d41402abc4b2a76";
    let repository = Repository::new();
    let good = repository.commit("fast", Some(""));
    repository.commit("slow", Some(SLOW));
    let arguments = ["--good", good.as_str(), "--budget", "600s", "--", "--api-key", KEY];
    let mut child = repository.command(&arguments).spawn().unwrap();
    let states = || {
        let names = ["bisect-state.json", "ab-state.json"];
        let all = files(&repository.out());
        names.map(|name| all.iter().any(|file| file.ends_with(name)))
    };
    let begun = Instant::now();
    while states() != [true, true] {
        assert!(begun.elapsed() < Duration::from_secs(180), "no comparison was begun");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(states(), [true, true], "--resume finds them");
    for file in files(&repository.out()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = memchr::memmem::find(&bytes, KEY.as_bytes()).is_some();
        assert!(!found, "the key is in {}", file.display());
    }
    // Another key may be another server.
    let another = ["--good", good.as_str(), "--budget", "600s", "--resume", "--", "--api-key", "k"];
    let another = repository.command(&another).output().unwrap();
    assert_eq!(another.status.code(), Some(2), "{}", said(&another));
    assert!(said(&another).contains("\"side.arguments\""), "{}", said(&another));
}

#[test]
fn what_cannot_be_searched_is_refused_before_anything_is_built() {
    let repository = Repository::new();
    let good = repository.commit("fast", Some(""));
    let other = repository.commit("main", Some("--sim-decode-ms 1.6"));
    repository.git(&["checkout", "--quiet", "-b", "aside", &good]);
    repository.commit("aside", Some("--sim-decode-ms 1.7"));
    let check = |arguments: &[&str], words: &str| {
        let output = repository.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(words), "{arguments:?}: {}", said(&output));
        assert!(!repository.path().join("cache/builds").exists(), "{arguments:?}");
    };
    check(&["--good", &other], "is no ancestor of bad");
    check(&["--good", &other], &good[..10]);
    check(&["--good", "HEAD"], "are the same commit");
    check(&["--good", "nowhere"], "no commit \"nowhere\"");
    check(&["--good", &good, "--bar", "speed=3%"], "no metric \"speed\"");
    check(&["--good", &good, "--resume"], "no interrupted comparison");
    check(&["--good", &good, "--rate", "3"], "--rate");
    let output = Command::new("git")
        .args(["clone", "--quiet", "--depth", "1"])
        .arg(format!("file://{}", repository.path().display()))
        .arg(repository.path().join("out/clone"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let output = repository
        .command(&["--good", &good])
        .current_dir(repository.path().join("out/clone"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("git fetch"), "{}", said(&output));
}

#[test]
fn a_good_that_does_not_build_ends_the_search() {
    let repository = Repository::new();
    repository.commit("first", Some(""));
    let good = repository.commit("broken", None);
    repository.commit("slow", Some(SLOW));
    let output = repository.command(&["--good", &good]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert!(said(&output).contains("the build command exited with status"), "{}", said(&output));
    assert_eq!(repository.report().unwrap()["outcome"], "unfinished");
}
