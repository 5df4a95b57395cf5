//! `bisect` on a repository made for it, whose "server" is built from its own source.

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

struct Repository {
    folder: tempfile::TempDir,
}

impl Repository {
    fn new() -> Self {
        let repository = Self { folder: tempfile::tempdir().unwrap() };
        repository.git(&["init", "--quiet", "."]);
        std::fs::write(repository.path().join(".gitignore"), "cache\nout\n").unwrap();
        repository
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
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
    fn commit(&self, subject: &str, flags: Option<&str>) -> String {
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

    fn command(&self, arguments: &[&str]) -> Command {
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

    fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    fn report(&self) -> Option<Value> {
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

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const SLOW: &str = "--sim-slowdown 150";

/// Eight commits after good: the sixth is slower, the fourth does not build.
fn eight(repository: &Repository) -> (String, Vec<String>) {
    let good = repository.commit("fast", Some(""));
    let commits = (1..=8)
        .map(|number| {
            let flags = match number {
                4 => None,
                number if number >= 6 => Some(SLOW),
                _ => Some(""),
            };
            repository.commit(&format!("commit {number}"), flags)
        })
        .collect();
    (good, commits)
}

#[test]
fn the_slower_one_of_eight_commits_is_found_past_one_that_does_not_build_and_through_ctrl_c() {
    let repository = Repository::new();
    let (good, commits) = eight(&repository);
    let arguments = ["--good", good.as_str(), "--bad", "main"];
    let mut child = repository.command(&arguments).spawn().unwrap();
    let state = repository.out().join("bisect-state.json");
    let steps = || {
        let text = std::fs::read(&state).ok()?;
        let state: Value = serde_json::from_slice(&text).ok()?;
        Some(state["steps"].as_array()?.len())
    };
    let begun = Instant::now();
    while steps().is_none_or(|steps| steps < 1) {
        assert!(begun.elapsed() < Duration::from_secs(180), "the first step never ended");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let partial = repository.report().unwrap();
    assert_eq!(partial["outcome"], "unfinished");
    assert_eq!(partial["run"]["status"], "partial");
    let other = repository.command(&["--good", &commits[0], "--resume"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2), "another search: {}", said(&other));

    let output = repository.command(&[&arguments[..], &["--resume"]].concat()).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report = repository.report().unwrap();
    for field in ["folder", "finding", "pairs", "why"] {
        let (before, now) = (&partial["steps"][0][field], &report["steps"][0][field]);
        assert_eq!(before, now, "what was measured before is in it as it was");
    }
    assert_eq!(report["outcome"], "found", "{said}");
    assert_eq!(report["first_bad"]["commit"], commits[5].as_str(), "{said}");
    assert_eq!(report["first_bad"]["subject"], "commit 6");
    assert!(said.contains("made it slower: commit 6"), "{said}");
    let steps = report["steps"].as_array().unwrap();
    assert_eq!(steps[0]["purpose"], "verify");
    assert_eq!(steps[0]["commit"]["commit"], commits[7].as_str());
    // Half-way between good and bad, so that noise on either side is no answer.
    let verified = steps.iter().rev().find(|step| step["purpose"] == "verify").unwrap();
    let slower = verified["slow_down_pct"].as_f64().unwrap();
    let bar = report["bar_pct"].as_f64().unwrap();
    assert!(slower > 50.0 && bar > 20.0 && bar < slower, "bar {bar} of {slower}");
    let broken: Vec<&Value> = steps.iter().filter(|step| step["finding"] == "skipped").collect();
    assert_eq!(broken.len(), 1, "{said}");
    assert_eq!(broken[0]["commit"]["commit"], commits[3].as_str(), "{said}");
    for step in steps.iter().filter(|step| step["finding"] != "skipped") {
        let folder = repository.out().join(step["folder"].as_str().unwrap());
        assert!(folder.join("ab.json").is_file(), "{folder:?}");
    }
    // The neighbours: commit 5 is not slower, commit 6 is, and it is slower than commit 5.
    let evidence = |name: &str| {
        let place = report["evidence"][name].as_u64().unwrap_or_else(|| panic!("{name}: {said}"));
        steps[place as usize].clone()
    };
    assert_eq!(evidence("not_slower_step")["commit"]["commit"], commits[4].as_str());
    assert_eq!(evidence("slower_step")["commit"]["commit"], commits[5].as_str());
    if report["confirmed"] == true {
        assert_eq!(evidence("direct_step")["base"], commits[4].as_str());
    }
    assert!(!state.exists(), "nothing is left to resume");
}

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
fn a_bad_that_is_not_slower_is_said_to_be_so() {
    let repository = Repository::new();
    let good = repository.commit("fast", Some(""));
    repository.commit("faster", Some("--sim-decode-ms 0.6"));
    let output = repository
        .command(&["--good", &good, "--budget", "40s", "--fail-on", "inconclusive"])
        .output()
        .unwrap();
    let report = repository.report().unwrap_or_else(|| panic!("{}", said(&output)));
    // On a busy machine a metric may stay open; it is never called slower.
    let outcome = report["outcome"].as_str().unwrap();
    let expected = if outcome == "not-slower" { 0 } else { 4 };
    assert!(["not-slower", "inconclusive"].contains(&outcome), "{}", said(&output));
    assert_eq!(output.status.code(), Some(expected), "{}", said(&output));
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["purpose"] == "verify"));
    assert!(report["first_bad"].is_null() && report["unknown"]["first_bad"].is_string());
}

#[test]
fn a_merge_is_one_step_and_with_all_parents_its_own_commit_is_found() {
    let repository = Repository::new();
    let good = repository.commit("fast", Some(""));
    repository.git(&["checkout", "--quiet", "-b", "feature"]);
    let slower = repository.commit("slower on a branch", Some(SLOW));
    repository.git(&["checkout", "--quiet", "main"]);
    repository.git(&["merge", "--quiet", "--no-ff", "-m", "merge feature", "feature"]);
    let merge = repository.git(&["rev-parse", "HEAD"]);
    let shown = repository.command(&["--good", &good, "--dry-run"]).output().unwrap();
    assert!(!said(&shown).contains("slower on a branch"), "{}", said(&shown));
    let output = repository.command(&["--good", &good, "--budget", "40s"]).output().unwrap();
    let report = repository.report().unwrap_or_else(|| panic!("{}", said(&output)));
    assert_eq!(report["first_bad"]["commit"], merge.as_str(), "{}", said(&output));
    assert!(report["warnings"].to_string().contains("--all-parents"), "{}", report["warnings"]);
    let output = repository
        .command(&["--good", &good, "--all-parents", "--budget", "60s"])
        .output()
        .unwrap();
    let report = repository.report().unwrap();
    assert_eq!(report["first_bad"]["commit"], slower.as_str(), "{}", said(&output));
    assert_eq!(report["confirmed"], true, "its parent is good itself");
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
