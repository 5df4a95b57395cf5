//! What `bisect` finds, on a repository made for it, whose "server" is built from its own source.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ab::bisect::{Repository, SLOW, said};

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
    let search = ["--good", good.as_str(), "--all-parents", "--budget", "60s"];
    let mut output = repository.command(&search).output().unwrap();
    // On a busy machine a session may have to be played twice, and the budget is spent before the end.
    for _ in 0..2 {
        if said(&output).starts_with("unfinished") {
            let again = [&search[..], &["--resume"]].concat();
            output = repository.command(&again).output().unwrap();
        }
    }
    let report = repository.report().unwrap();
    assert_eq!(report["first_bad"]["commit"], slower.as_str(), "{}", said(&output));
    assert_eq!(report["confirmed"], true, "its parent is good itself");
}
