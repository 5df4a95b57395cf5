//! Branch, commit, base, repository and pull request of a job, for every event that starts one.
//!
//! The payloads are in `tests/fixtures/github/`.

use std::path::{Path, PathBuf};

use bench_ci::provenance::CiContext;
use proptest::prelude::*;

pub(super) const OWN: &str = "grove-llm/grove.cpp";
pub(super) const HEAD: &str = "9f2c41d6a07b4e8c8f3d5b1a6e0c7d2f4b8a9e13";
const BASE: &str = "3b7e0a5c92d84f16a1c0e9b8d7f6a5c4e3b2d1f0";
const MERGE: &str = "c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7";
/// Head of the default branch, which some events say in place of what they are about.
const DEFAULT: &str = "5e4d3c2b1a0f9e8d7c6b5a493827160504030201";
const QUEUED: &str = "gh-readonly-queue/main/pr-57-3b7e0a5c92d84f16a1c0e9b8d7f6a5c4e3b2d1f0";

pub(super) fn payload(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/github/{name}.json"))
}

/// Variables as GitHub sets them: `GITHUB_HEAD_REF` and `GITHUB_BASE_REF` are empty outside of pull
/// requests.
fn variables(event: &str, path: &Path) -> Vec<(&'static str, String)> {
    let (full, sha, head, base) = match event {
        "push" | "schedule" => ("refs/heads/main", HEAD, "", ""),
        "push_new_branch" | "workflow_dispatch" => ("refs/heads/kv-reuse", HEAD, "", ""),
        "push_tag" | "release" => ("refs/tags/v1.4.0", HEAD, "", ""),
        "pull_request" => ("refs/pull/57/merge", MERGE, "kv-reuse", "main"),
        "pull_request_fork" | "pull_request_fork_deleted" => {
            ("refs/pull/58/merge", MERGE, "main", "main")
        }
        "pull_request_target" => ("refs/heads/main", DEFAULT, "main", "main"),
        "workflow_run" | "workflow_run_fork" => ("refs/heads/main", DEFAULT, "", ""),
        "merge_group" => ("", HEAD, "", ""),
        other => panic!("no variables for {other}"),
    };
    let full =
        if event == "merge_group" { format!("refs/heads/{QUEUED}") } else { full.to_owned() };
    let name = match event {
        "push_new_branch" | "push_tag" => "push",
        "pull_request_fork" | "pull_request_fork_deleted" => "pull_request",
        "workflow_run_fork" => "workflow_run",
        other => other,
    };
    let short = full.splitn(3, '/').nth(2).unwrap().to_owned();
    let kind = if full.starts_with("refs/tags/") { "tag" } else { "branch" };
    vec![
        ("GITHUB_EVENT_NAME", name.to_owned()),
        ("GITHUB_EVENT_PATH", path.display().to_string()),
        ("GITHUB_REF", full),
        ("GITHUB_REF_NAME", short),
        ("GITHUB_REF_TYPE", kind.to_owned()),
        ("GITHUB_SHA", sha.to_owned()),
        ("GITHUB_HEAD_REF", head.to_owned()),
        ("GITHUB_BASE_REF", base.to_owned()),
        ("GITHUB_REPOSITORY", OWN.to_owned()),
        ("GITHUB_RUN_ID", "19200000999".to_owned()),
        ("GITHUB_RUN_ATTEMPT", "3".to_owned()),
        ("GITHUB_SERVER_URL", "https://github.com".to_owned()),
        ("GITHUB_JOB", "bench".to_owned()),
    ]
}

fn read(event: &str, path: &Path) -> CiContext {
    let variables = variables(event, path);
    CiContext::read(&|wanted| {
        variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    })
    .unwrap()
}

/// What a job of an event is about.
#[derive(Debug, Default, PartialEq)]
struct About<'a> {
    branch: Option<&'a str>,
    tag: Option<&'a str>,
    commit: Option<&'a str>,
    merge: Option<&'a str>,
    base: Option<&'a str>,
    base_branch: Option<&'a str>,
    fork: Option<&'a str>,
    pull_request: Option<u64>,
}

#[test]
fn every_event_is_read_for_what_it_is_about() {
    let commit = Some(HEAD);
    let (own, main) = (Some("kv-reuse"), Some("main"));
    let pull = About {
        branch: own,
        commit,
        merge: Some(MERGE),
        base: Some(BASE),
        base_branch: main,
        pull_request: Some(57),
        ..About::default()
    };
    let from_fork = || About {
        branch: main,
        fork: Some("mila-q/grove.cpp"),
        pull_request: Some(58),
        ..About {
            merge: Some(MERGE),
            base: Some(BASE),
            base_branch: main,
            commit,
            ..About::default()
        }
    };
    let table = [
        (
            "push",
            About { branch: main, commit, base: Some(BASE), base_branch: main, ..About::default() },
        ),
        ("push_new_branch", About { branch: own, commit, base_branch: main, ..About::default() }),
        ("push_tag", About { tag: Some("v1.4.0"), commit, base_branch: main, ..About::default() }),
        ("pull_request", pull),
        ("pull_request_fork", from_fork()),
        ("pull_request_fork_deleted", About { fork: Some(""), ..from_fork() }),
        // It runs on the base branch, so that there is no merge commit.
        ("pull_request_target", About { merge: None, ..from_fork() }),
        (
            "workflow_run",
            About {
                branch: own,
                commit,
                base: Some(BASE),
                base_branch: main,
                pull_request: Some(57),
                ..About::default()
            },
        ),
        (
            "workflow_run_fork",
            About { branch: main, commit, fork: Some("mila-q/grove.cpp"), ..About::default() },
        ),
        ("workflow_dispatch", About { branch: own, commit, ..About::default() }),
        ("schedule", About { branch: main, commit, ..About::default() }),
        (
            "merge_group",
            About {
                branch: Some(QUEUED),
                commit,
                base: Some(BASE),
                base_branch: main,
                pull_request: Some(57),
                ..About::default()
            },
        ),
        ("release", About { tag: Some("v1.4.0"), commit, ..About::default() }),
    ];
    for (event, expected) in table {
        let path = payload(event);
        assert!(path.exists(), "{event}");
        let found = read(event, &path);
        let about = About {
            branch: found.branch.as_deref(),
            tag: found.tag.as_deref(),
            commit: found.commit.as_deref(),
            merge: found.merge_commit.as_deref(),
            base: found.base_commit.as_deref(),
            base_branch: found.base_branch.as_deref(),
            fork: found.fork(),
            pull_request: found.pull_request,
        };
        assert_eq!(about, expected, "{event}");
        assert_eq!(found.repository.as_deref(), Some(OWN), "{event}");
        assert_eq!((found.run_id, found.run_attempt), (Some(19_200_000_999), Some(3)), "{event}");
        assert_eq!(
            found.run_page().as_deref(),
            Some("https://github.com/grove-llm/grove.cpp/actions/runs/19200000999"),
        );
        assert_eq!(found.notes, [""; 0], "{event}");
    }
}

#[test]
fn without_its_payload_no_event_claims_what_it_cannot_know() {
    for event in ["pull_request", "pull_request_target", "workflow_run", "push", "merge_group"] {
        let found = read(event, Path::new("there-is-no-such-file.json"));
        assert_eq!(found.base_commit, None, "{event}");
        // A job that does not know whose code it runs does not call it the repository's own.
        if event.starts_with("pull_request") || event == "workflow_run" {
            assert_eq!(found.head_repository, None, "{event}");
            assert_eq!(found.notes.len(), 1, "{event}");
        }
    }
}

#[test]
fn a_payload_that_is_cut_anywhere_or_holds_nonsense_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    for event in ["push", "pull_request_fork", "workflow_run", "merge_group"] {
        let whole = std::fs::read(payload(event)).unwrap();
        for end in (0..whole.len()).step_by(97) {
            std::fs::write(&path, &whole[..end]).unwrap();
            let found = read(event, &path);
            assert_eq!(found.base_commit, None, "{event} cut at {end}");
        }
    }
    for nonsense in [
        "null",
        "[]",
        r#"{"pull_request": null, "workflow_run": [], "merge_group": "x", "before": 5}"#,
        r#"{"pull_request": {"number": -5, "head": {"sha": "$(touch x)", "ref": "a\nb"}, "base": {"sha": 7}}}"#,
        r#"{"pull_request": {"number": 1e300, "head": {"sha": "", "repo": {"full_name": "a\u0000b"}}}}"#,
        r#"{"workflow_run": {"head_sha": "../../etc", "pull_requests": [null, 5]}}"#,
        r#"{"before": "0000000000000000000000000000000000000000", "base_ref": {"a": 1}}"#,
        "\u{feff}{}",
    ] {
        std::fs::write(&path, nonsense).unwrap();
        for event in ["push", "pull_request", "pull_request_target", "workflow_run", "merge_group"]
        {
            let found = read(event, &path);
            assert_eq!(found.base_commit, None, "{event}: {nonsense}");
            assert_eq!(found.fork(), None, "{event}: {nonsense}");
            for commit in found.commit.iter().chain(&found.base_commit) {
                assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()));
            }
            for name in found.branch.iter().chain(&found.head_repository) {
                assert!(!name.contains(char::is_control), "{event}: {nonsense}");
            }
        }
    }
}

#[test]
fn a_payload_of_very_deep_nesting_is_no_stack_overflow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("event.json");
    std::fs::write(&path, "[".repeat(500_000)).unwrap();
    assert_eq!(read("pull_request", &path).notes.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("event.json");
        std::fs::write(&path, bytes).unwrap();
        let found = read("workflow_run", &path);
        prop_assert_eq!(found.commit.as_deref(), Some(DEFAULT));
    }
}
