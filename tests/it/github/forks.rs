//! From a fork's artifact to a comment: the job that comments has the token and no code of the fork.

use std::io::{Cursor, Write as _};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;

use super::fake::{FakeGithub, REPOSITORY, Reply, Wrong};
use super::job::{HEAD, Job, NUMBER, pull, slower, well};

/// The run that has ended.
const RUN: u64 = 500;
const FORK: &str = "eve/llama.cpp";

pub(super) fn run() -> Value {
    json!({
        "id": RUN, "run_attempt": 1, "head_sha": HEAD, "head_branch": "feat/ä b&state=closed",
        "event": "pull_request", "status": "completed", "conclusion": "success",
        "pull_requests": [],
        "repository": {"full_name": REPOSITORY},
        "head_repository": {"full_name": FORK, "owner": {"login": "eve"}},
    })
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A report as an artifact holds it.
pub(super) fn packed(report: &Value) -> Vec<u8> {
    archive(&[("ab.json", report.to_string().as_bytes())])
}

/// A GitHub with the fork's pull request, many others around it, and an artifact of its run.
pub(super) fn github() -> FakeGithub {
    let github = FakeGithub::start();
    let branch = "feat/ä b&state=closed";
    {
        let mut world = github.world();
        // Pull requests of the same branch whose commits are others, so that ours is on page two.
        for number in 10..130 {
            let other = format!("{number:040x}");
            world.pulls.push(pull(number, &other, FORK, branch));
        }
        world.pulls.push(pull(NUMBER, HEAD, FORK, branch));
        world.runs.insert(RUN, run());
        world.add_artifact(RUN, "bench-ci-cuda", packed(&slower()));
    }
    github
}

fn only(github: &FakeGithub) -> String {
    let world = github.world();
    assert_eq!(world.comments.len(), 1, "{:#?}", world.comments);
    assert_eq!(world.comments[0].number, NUMBER);
    world.comments[0].body.clone()
}

#[test]
fn an_artifact_of_a_fork_becomes_a_comment() {
    let github = github();
    {
        let mut world = github.world();
        // Not ours, and never downloaded.
        world.add_artifact(RUN, "build-logs", b"x".to_vec());
        // A hostile one beside the good one.
        let mut evil = well();
        evil["run"]["pull_request"] = json!(1);
        world.add_artifact(RUN, "bench-ci-evil", packed(&evil));
        world.add_artifact(RUN, "bench-ci-out", archive(&[("../ab.json", b"{}")]));
        let mut wrong = well();
        wrong["run"]["commit"] = json!("d".repeat(40));
        world.add_artifact(RUN, "bench-ci-wrong", packed(&wrong));
        let large = world.add_artifact(RUN, "bench-ci-large", b"x".to_vec());
        let old = world.add_artifact(RUN, "bench-ci-old", b"x".to_vec());
        for artifact in &mut world.artifacts {
            if artifact.id == large {
                artifact.announced_bytes = 1 << 40;
            }
            artifact.expired = artifact.id == old;
        }
        // The list of artifacts has pages too.
        for index in 0..150 {
            world.add_artifact(RUN, &format!("other-{index}"), Vec::new());
        }
        world.add_artifact(RUN, "bench-ci-last", packed(&well()));
    }
    let job = Job::of_workflow_run(&github, &run());
    let said = job.comment(&["--status", "--check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let body = only(&github);
    assert!(body.contains("### ❌ Server is slower: output tok/s −3.4"), "{body}");
    assert!(body.contains(" on cuda") && body.contains("| last |"), "{body}");
    assert!(body.contains("measured by code from the fork eve/llama.cpp"), "{body}");
    assert!(body.contains("/actions/runs/500)"), "the run that measured: {body}");
    assert!(body.contains("run=500 attempt=1"), "{body}");
    for (name, why) in [
        ("evil", "a field that its schema does not have"),
        ("out", "a path that is no plain file name"),
        ("wrong", "another commit than the head"),
        ("large", "larger than 8388608 bytes"),
        ("old", "it has expired"),
    ] {
        let line = body.lines().find(|line| line.starts_with(&format!("- {name}: ")));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}\n{body}");
    }
    let world = github.world();
    assert_eq!(world.statuses[0].0, HEAD);
    assert_eq!(world.checks[0]["head_sha"], HEAD);
    // Four archives, and none with the token.
    let stored: Vec<_> = world.log.iter().filter(|said| said.at == "storage").collect();
    assert_eq!(stored.len(), 5, "{stored:?}");
    assert!(stored.iter().all(|said| said.status == 200 && said.authorization.is_none()));
}

#[test]
fn whose_pull_request_it_is_is_decided_by_the_commit() {
    for (what, change) in [
        ("the branch has moved on", json!({"/head/sha": "e".repeat(40)})),
        ("it is closed", json!({"/state": "closed"})),
        ("it is for another repository", json!({"/base/repo/full_name": "eve/other"})),
        ("another fork has the commit", json!({"/head/repo/full_name": "mallory/llama.cpp"})),
    ] {
        let github = github();
        for (path, value) in change.as_object().unwrap() {
            let mut world = github.world();
            let own = world.pulls.iter_mut().find(|pull| pull["number"] == NUMBER).unwrap();
            *own.pointer_mut(path).unwrap() = value.clone();
        }
        let said = Job::of_workflow_run(&github, &run()).comment(&["--status", "--check"]);
        assert_eq!(said.code, Some(0), "{what}: {said:?}");
        assert!(
            said.stdout.starts_with("nothing was posted: no open pull request"),
            "{what}: {said:?}"
        );
        let world = github.world();
        assert_eq!((world.comments.len(), world.statuses.len()), (0, 0), "{what}");
        assert_eq!(world.count("GET", "/artifacts"), 0, "{what}: nothing was downloaded");
    }
}

#[test]
fn an_event_about_another_repository_or_none_posts_nothing() {
    let mut foreign = run();
    foreign["repository"]["full_name"] = json!("eve/llama.cpp");
    for run in [foreign, json!({}), Value::Null] {
        let github = github();
        let job = Job::of_workflow_run(&github, &run);
        job.report("bench-out", &slower());
        let said = job.comment(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("payload does not name"), "{said:?}");
        assert!(github.world().comments.is_empty());
    }
}

#[test]
fn artifacts_that_were_downloaded_by_another_step_are_taken_from_their_folder() {
    let github = github();
    let job = Job::of_workflow_run(&github, &run());
    job.report("artifacts/bench-ci-a", &slower());
    job.put("artifacts/bench-ci-b.zip.json", b"no artifact");
    let said = job.comment(&["artifacts"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let body = only(&github);
    assert!(body.contains("from the fork eve/llama.cpp") && body.contains("| a |"), "{body}");
    assert_eq!(github.world().count("GET", "/artifacts"), 0);
}

#[test]
fn of_artifacts_with_one_name_the_newest_counts() {
    let github = github();
    github.world().add_artifact(RUN, "bench-ci-cuda", packed(&well()));
    let said = Job::of_workflow_run(&github, &run()).comment(&["--when", "always"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(only(&github).contains("### ✅ Server is not slower"), "{}", only(&github));
}

#[test]
fn a_run_without_artifacts_is_no_success() {
    let github = github();
    github.world().artifacts.clear();
    let said = Job::of_workflow_run(&github, &run()).comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(only(&github).contains("Nothing was measured"), "{}", only(&github));
}

#[test]
fn at_a_desk_a_run_is_looked_up_by_its_number() {
    let github = github();
    let job = Job::desk(&github);
    let said = job.comment(&["--run-id", "500", "--repo", REPOSITORY]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(only(&github).contains("run=500"), "{}", only(&github));
    let said = job.comment(&["--run-id", "501", "--repo", REPOSITORY]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("look up the workflow run 501"), "{said:?}");
}

#[test]
fn a_download_that_fails_for_a_while_is_tried_again() {
    let github = github();
    github.fail("GET", "/zip", 1, Wrong::Answer(Reply::refusal(503, "unavailable")));
    assert_eq!(Job::of_workflow_run(&github, &run()).comment(&[]).code, Some(0));
    assert!(only(&github).contains("is slower"));
}

#[test]
fn a_dry_run_of_a_workflow_run_shows_how_the_pull_request_is_found() {
    let github = github();
    let job = Job::of_workflow_run(&github, &run());
    job.report("artifacts/bench-ci-a", &slower());
    let said = job.comment(&["artifacts", "--dry-run"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("/pulls?state=open&head=eve%3Afeat%2F"), "{said:?}");
    assert!(said.stdout.contains("/issues/NUMBER/comments"), "{said:?}");
    assert!(github.world().log.is_empty());
    let said = job.comment(&["--dry-run"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}
