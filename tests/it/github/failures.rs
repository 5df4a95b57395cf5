//! What GitHub may refuse or leave unanswered: tried again where that helps, said plainly where not.

use std::time::{Duration, Instant};

use serde_json::json;

use super::fake::{FakeGithub, READING_TOKEN, Reply, Wrong};
use super::job::{HEAD, Job, github};

#[test]
fn a_token_that_may_only_read_is_nobodys_fault() {
    let github = github();
    let mut job = Job::of_pull_request(&github, (100, 1));
    job.set("GITHUB_TOKEN", READING_TOKEN);
    job.put("summary.md", b"from an earlier step\n");
    let said = job.comment(&["--status", "--check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let notices = said.stderr.lines().filter(|line| line.starts_with("::notice title=bench-ci::"));
    let notices: Vec<&str> = notices.collect();
    assert_eq!(notices.len(), 3, "{said:?}");
    assert!(notices[0].starts_with("::notice title=bench-ci::cannot comment on"), "{said:?}");
    assert!(said.stderr.contains("in the job's summary instead"), "{said:?}");
    let summary = job.summary();
    assert!(summary.starts_with("from an earlier step\n"), "{summary}");
    assert!(summary.contains("### ❌ Server is slower"), "{summary}");
    assert_eq!(github.world().comments, []);

    let said = job.comment(&["--require-comment"]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("hint: the job needs `permissions: pull-requests: write`"));
}

#[test]
fn no_token_and_a_wrong_token_say_what_to_do() {
    let github = github();
    let mut job = Job::of_pull_request(&github, (100, 1));
    job.set("GITHUB_TOKEN", "wrong");
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("401: Bad credentials") && said.stderr.contains("hint:"));
    assert!(!said.stderr.contains("wrong"), "{said:?}");
    // An empty one is none.
    job.set("GITHUB_TOKEN", " ");
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("there is no token"), "{said:?}");
    job.set("GITHUB_TOKEN", "two\nlines");
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(!said.stderr.contains("two"), "{said:?}");
}

#[test]
fn what_passes_is_waited_for() {
    let soon = (chrono::Utc::now().timestamp() + 1).to_string();
    for (what, method, path, wrong) in [
        ("502", "GET", "/issues/7/comments", Wrong::Answer(Reply::refusal(502, "Server Error"))),
        ("an HTML page", "GET", "/issues/7/comments", Wrong::Answer(Reply::empty(503))),
        ("500 to a POST", "POST", "/issues/7", Wrong::Answer(Reply::refusal(500, "Server Error"))),
        (
            "429",
            "GET",
            "/issues/7",
            Wrong::Answer(Reply::refusal(429, "slow down").with("Retry-After", "1")),
        ),
        (
            "a secondary limit",
            "POST",
            "/issues/7/comments",
            Wrong::Answer(
                Reply::refusal(403, "You have exceeded a secondary rate limit.")
                    .with("Retry-After", "1"),
            ),
        ),
        (
            "the limit itself",
            "GET",
            "/issues/7/comments",
            Wrong::Answer(
                Reply::refusal(403, "API rate limit exceeded")
                    .with("X-RateLimit-Remaining", "0")
                    .with("X-RateLimit-Reset", &soon),
            ),
        ),
        ("a closed connection", "GET", "/issues/7/comments", Wrong::HangUp),
        ("a closed connection after a POST", "POST", "/issues/7/comments", Wrong::HangUp),
    ] {
        let github = github();
        github.fail(method, path, 2, wrong);
        let said = Job::of_pull_request(&github, (100, 1)).comment(&[]);
        assert_eq!(said.code, Some(0), "{what}: {said:?}");
        let world = github.world();
        assert_eq!(world.comments.len(), 1, "{what}: {said:?}");
        assert!(world.faults.iter().all(|fault| fault.times == 0), "{what}");
    }
}

#[test]
fn what_does_not_pass_ends_with_8_in_bounded_time() {
    let later = (chrono::Utc::now().timestamp() + 3_000).to_string();
    for (what, wrong, part) in [
        ("502", Wrong::Answer(Reply::refusal(502, "Server Error")), "failed with 502"),
        (
            "an hour",
            Wrong::Answer(Reply::refusal(429, "slow down").with("Retry-After", "3600")),
            "lasts another 3600 s",
        ),
        (
            "a limit for long",
            Wrong::Answer(
                Reply::refusal(403, "API rate limit exceeded")
                    .with("X-RateLimit-Remaining", "0")
                    .with("X-RateLimit-Reset", &later),
            ),
            "limit on requests",
        ),
        ("silence", Wrong::HangUp, "no answer from 127.0.0.1"),
        ("not found", Wrong::Answer(Reply::refusal(404, "Not Found")), "(404)"),
        ("gone", Wrong::Answer(Reply::refusal(410, "Gone")), "answered 410"),
        (
            "no JSON",
            Wrong::Answer(Reply { status: 200, headers: vec![], body: b"<html>".to_vec() }),
            "makes no sense",
        ),
        ("not a list", Wrong::Answer(Reply::json(200, &json!({"a": 1}))), "it is no list"),
    ] {
        let github = github();
        github.fail("GET", "/issues/7/comments", u32::MAX, wrong);
        let job = Job::of_pull_request(&github, (100, 1));
        let said = job.comment(&[]);
        assert_eq!(said.code, Some(8), "{what}: {said:?}");
        assert!(said.stderr.contains(part) && said.stderr.contains("hint:"), "{what}: {said:?}");
        assert!(job.summary().contains("is slower"), "{what}: the page is in the summary");
        assert!(github.world().log.len() < 12, "{what}");
    }
}

#[test]
fn a_comment_that_cannot_be_made_is_tried_a_few_times_and_no_more() {
    let github = github();
    let broken = Reply::refusal(500, "Server Error");
    github.fail("POST", "/issues/7/comments", u32::MAX, Wrong::Answer(broken));
    let said = Job::of_pull_request(&github, (100, 1)).comment(&[]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("failed with 500 5 times"), "{said:?}");
    assert_eq!(github.world().count("POST", "/issues/7/comments"), 5);
}

#[test]
fn a_page_that_github_finds_too_long_is_sent_shorter_once() {
    let refused = || {
        let message = "Body is too long (maximum is 65536 characters)";
        Wrong::Answer(Reply::invalid("IssueComment", "data", message))
    };
    for times in [1, u32::MAX] {
        let github = github();
        github.fail("POST", "/issues/7/comments", times, refused());
        let said = Job::of_pull_request(&github, (100, 1)).comment(&[]);
        let world = github.world();
        if times == 1 {
            assert_eq!(said.code, Some(0), "{said:?}");
            assert!(world.comments[0].body.len() <= 16_000);
            assert!(world.comments[0].body.contains("is slower"));
        } else {
            assert_eq!(said.code, Some(8), "{said:?}");
            assert!(said.stderr.contains("422: Validation Failed; Body is too long"), "{said:?}");
            assert_eq!(world.count("POST", "/issues/7/comments"), 2);
        }
    }
}

#[test]
fn a_failed_status_does_not_keep_the_comment_from_being_made() {
    let github = github();
    github.fail("POST", "/statuses/", u32::MAX, Wrong::Answer(Reply::refusal(404, "Not Found")));
    let said = Job::of_pull_request(&github, (100, 1)).comment(&["--status", "--check"]);
    assert_eq!(said.code, Some(8), "{said:?}");
    assert!(said.stderr.contains("set the status"), "{said:?}");
    let world = github.world();
    assert_eq!((world.comments.len(), world.checks.len()), (1, 1));
}

#[test]
fn a_repository_that_was_renamed_is_followed_and_another_host_is_not() {
    let github = github();
    let elsewhere = FakeGithub::start();
    let there = format!("{}/repos/x/y", elsewhere.url());
    let moved = |to: &str| Wrong::Answer(Reply::refusal(301, "Moved").with("Location", to));
    github.fail(
        "GET",
        "/issues/7/comments",
        1,
        moved("/repos/ggml-org/llama.cpp/issues/7/comments"),
    );
    let job = Job::of_pull_request(&github, (100, 1));
    assert_eq!(job.comment(&[]).code, Some(0));
    github.fail("GET", "/issues/7/comments", u32::MAX, {
        Wrong::Answer(Reply::refusal(301, "Moved").with("Location", &there))
    });
    assert_eq!(job.comment(&[]).code, Some(8));
    // Nor to the next page of a list that is there.
    github.world().faults.clear();
    let link = format!("<{there}>; rel=\"next\"");
    let listed = Reply::json(200, &json!([])).with("Link", &link);
    github.fail("GET", "/issues/7/comments", u32::MAX, Wrong::Answer(listed));
    assert_eq!(job.comment(&[]).code, Some(8));
    assert!(elsewhere.world().log.is_empty(), "the token has stayed at home");
}

#[test]
fn a_check_of_another_app_is_left_alone() {
    let github = github();
    github.world().checks.push(json!({
        "id": 1, "name": "bench-ci / default", "head_sha": HEAD, "conclusion": "neutral",
        "external_id": "somebody's", "output": {},
    }));
    assert_eq!(Job::of_pull_request(&github, (100, 1)).comment(&["--check"]).code, Some(0));
    let world = github.world();
    assert_eq!(world.checks.len(), 2);
    assert_eq!(world.checks[0]["external_id"], "somebody's");
}

#[test]
fn ctrl_c_ends_the_waiting() {
    let github = github();
    let wait = Reply::refusal(429, "slow down").with("Retry-After", "120");
    github.fail("GET", "/issues/7/comments", u32::MAX, Wrong::Answer(wait));
    let job = Job::of_pull_request(&github, (100, 1));
    let mut child = job.command(&[]).spawn().unwrap();
    // It waits as soon as it was refused.
    let until = Instant::now() + Duration::from_secs(60);
    while github.world().count("GET", "/issues/7/comments") == 0 {
        assert!(Instant::now() < until, "it never asked");
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
