//! `bench-ci comment` in a job of a pull request, and at a desk.

use serde_json::{Value, json};

use super::fake::{FakeGithub, PERSONAL_TOKEN, REPOSITORY};
use super::forks::packed;
use super::job::{HEAD, Job, NUMBER, github, pull, slower, well};

const BOT: &str = "github-actions[bot]";

/// The bodies of this author's comments.
fn bodies(github: &FakeGithub, login: &str) -> Vec<String> {
    let world = github.world();
    let own = world.comments.iter().filter(|comment| comment.login == login);
    own.map(|comment| comment.body.clone()).collect()
}

#[test]
fn a_comment_is_made_once_and_then_kept_up_to_date() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("commented on the pull request 7: https://"), "{said:?}");
    let first = bodies(&github, BOT);
    assert_eq!(first.len(), 1);
    let output = std::fs::read_to_string(job.path().join("output.txt")).unwrap();
    let id = github.world().comments[0].id;
    let page = format!("https://github.test/{REPOSITORY}/pull/7#issuecomment-{id}");
    assert_eq!(output, format!("comment-url={page}\n"));
    assert!(first[0].contains("### ❌ Server is slower: output tok/s −3.4"), "{}", first[0]);
    assert!(first[0].contains("https://github.test/ggml-org/llama.cpp/actions/runs/100"));
    assert!(first[0].contains("run=100 attempt=1"), "{}", first[0]);

    for _ in 0..10 {
        let said = job.comment(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with("the comment says so already"), "{said:?}");
    }
    assert_eq!(bodies(&github, BOT), first, "nothing was written again");
    assert_eq!(github.world().count("PATCH", "/comments/"), 0);

    // The next push is well again.
    let next = Job::of_pull_request(&github, (101, 1));
    next.report("bench-out", &well());
    let said = next.comment(&[]);
    assert!(said.stdout.starts_with("updated the comment"), "{said:?}");
    let now = bodies(&github, BOT);
    assert_eq!(now.len(), 1);
    assert!(now[0].contains("### ✅ Resolved. Server is not slower"), "{}", now[0]);
    let said = next.comment(&[]);
    assert!(said.stdout.starts_with("the comment says so already"), "{said:?}");
}

#[test]
fn what_is_no_news_is_no_first_comment() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    job.report("bench-out", &well());
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("no comment: nothing got slower"), "{said:?}");
    assert_eq!(github.world().comments, []);
    let said = job.comment(&["--when", "never"]);
    assert_eq!((said.code, github.world().comments.len()), (Some(0), 0), "{said:?}");
    let said = job.comment(&["--when", "always"]);
    assert_eq!((said.code, github.world().comments.len()), (Some(0), 1), "{said:?}");

    for (verdict, comments) in [("inconclusive", 0), ("improved", 1), ("invalid", 1)] {
        let github = self::github();
        let job = Job::of_pull_request(&github, (100, 1));
        let mut report = well();
        report["verdict"] = json!(verdict);
        job.report("bench-out", &report);
        assert_eq!(job.comment(&[]).code, Some(0));
        assert_eq!(github.world().comments.len(), comments, "{verdict}");
    }
}

#[test]
fn ours_is_found_on_the_third_page_and_those_of_others_are_left_alone() {
    let github = github();
    let mark = "<!-- bench-ci:report v=1 key=default -->\n";
    {
        let mut world = github.world();
        // Ann has copied our mark, before us and after us.
        world.add_comment(NUMBER, "ann", &format!("{mark}look what I found"));
        for index in 0..240 {
            world.add_comment(NUMBER, "bob", &format!("comment {index}"));
        }
        world.add_comment(NUMBER, BOT, &format!("quoting: {mark}"));
        world.add_comment(NUMBER, BOT, "<!-- bench-ci:report v=1 key=other -->\nanother key");
        world.add_comment(
            NUMBER,
            BOT,
            &format!("{mark}old\n<!-- bench-ci:state head=- run=5 attempt=1 -->"),
        );
        world.add_comment(NUMBER, "ann", &format!("{mark}again"));
    }
    let before: Vec<_> = github.world().comments.clone();
    let job = Job::of_pull_request(&github, (100, 1));
    let said = job.comment(&[]);
    assert!(said.stdout.starts_with("updated the comment"), "{said:?}");
    let after = github.world().comments.clone();
    assert_eq!(after.len(), before.len());
    let changed: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].0.body.contains("old") && changed[0].1.body.contains("is slower"));
}

#[test]
fn a_person_comments_as_that_person() {
    let github = github();
    github.world().add_comment(NUMBER, BOT, "<!-- bench-ci:report v=1 key=default -->\nthe bot's");
    let mut job = Job::desk(&github);
    job.set("GITHUB_TOKEN", "not-the-right-one");
    job.set("BENCH_CI_GITHUB_TOKEN", PERSONAL_TOKEN);
    job.report("mine", &slower());
    let arguments = ["mine", "--repo", REPOSITORY, "--pull-request", "7"];
    for expected in ["commented on", "the comment says so already"] {
        let said = job.comment(&arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with(expected), "{said:?}");
    }
    assert_eq!(bodies(&github, "ann").len(), 1);
    assert!(bodies(&github, BOT)[0].ends_with("the bot's"));
}

#[test]
fn where_github_does_not_say_who_we_are_it_is_the_one_that_every_job_is() {
    let github = github();
    github.world().no_graphql = true;
    let job = Job::of_pull_request(&github, (100, 1));
    for expected in ["commented on", "the comment says so already"] {
        let said = job.comment(&[]);
        assert!(said.stdout.starts_with(expected), "{said:?}");
    }
}

#[test]
fn an_enterprise_server_has_its_api_below_a_path() {
    let github = FakeGithub::enterprise();
    github.world().pulls.push(pull(NUMBER, HEAD, REPOSITORY, "feature"));
    let job = Job::of_pull_request(&github, (100, 1));
    let said = job.comment(&["--status", "--check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let world = github.world();
    assert_eq!((world.comments.len(), world.statuses.len(), world.checks.len()), (1, 1, 1));
    assert!(world.log.iter().all(|said| said.path.starts_with("/api/")));
    assert_eq!(world.log.iter().filter(|said| said.status == 404).count(), 0, "{:?}", world.log);
}

#[test]
fn a_status_and_a_check_stand_beside_the_head_of_the_pull_request() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    for _ in 0..2 {
        let said = job.comment(&["--status", "--check", "--key", "cuda t4"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let world = github.world();
    let (sha, status) = &world.statuses[0];
    assert_eq!(sha, HEAD, "not the merge commit");
    assert_eq!(status["context"], "bench-ci / cuda t4");
    assert_eq!(status["state"], "failure");
    let description = status["description"].as_str().unwrap();
    assert!(description.starts_with("output tok/s −3.4%"), "{description}");
    assert_eq!(world.checks.len(), 1, "the second run updates the check of the first");
    let check = &world.checks[0];
    assert_eq!((&check["head_sha"], &check["conclusion"]), (&json!(HEAD), &json!("failure")));
    assert!(check["output"]["summary"].as_str().unwrap().contains("Server is slower"));
    drop(world);

    // An older run does not take it back.
    let older = Job::of_pull_request(&github, (99, 1));
    older.report("bench-out", &well());
    let said = older.comment(&["--check", "--when", "never", "--key", "cuda t4"]);
    assert!(said.stdout.contains("newer run"), "{said:?}");
    assert_eq!(github.world().checks[0]["conclusion"], "failure");
}

#[test]
fn a_dry_run_shows_the_page_and_every_request_and_sends_none() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    let said = job.comment(&["--dry-run", "--status", "--check"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(github.world().log.is_empty(), "{:?}", github.world().log);
    let mut lines = said.stdout.lines();
    assert_eq!(lines.next(), Some("<!-- bench-ci:report v=1 key=default -->"));
    assert!(lines.next().unwrap().starts_with("### ❌ Server is slower"), "{said:?}");
    let api = github.url();
    for request in [
        format!("GET {api}/user"),
        format!("GET {api}/repos/{REPOSITORY}/issues/7/comments?per_page=100"),
        format!("POST {api}/repos/{REPOSITORY}/issues/7/comments"),
        format!("PATCH {api}/repos/{REPOSITORY}/issues/comments/ID"),
        format!("POST {api}/repos/{REPOSITORY}/statuses/{HEAD}"),
        format!("POST {api}/repos/{REPOSITORY}/check-runs"),
    ] {
        assert!(said.stdout.lines().any(|line| line == request), "{request} in {}", said.stdout);
    }
    // The body is what is really sent.
    let body = said.stdout.lines().find(|line| line.starts_with("{\"body\":")).unwrap();
    assert_eq!(job.comment(&[]).code, Some(0));
    let world = github.world();
    let sent =
        world.log.iter().find(|said| said.method == "POST" && said.path.ends_with("comments"));
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parse(body), parse(&sent.unwrap().body));
}

/// What strangers wrote is shown in the log of a step, which the runner reads.
#[test]
fn no_line_of_a_report_and_no_name_of_one_is_obeyed() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    let mut evil = slower();
    evil["sides"]["head"]["command"] =
        json!(["::error::pwned", "a\n ::warning::pwned\nb ##[error]pwned"]);
    job.report("evil/bench-ci-good", &evil);
    job.report("evil/bench-ci-##[group]x", &evil);
    job.put("evil/bench-ci-##[set-output name=report-json;]x/ab.json", b"junk");
    for arguments in [&["evil", "--dry-run", "--status", "--check"][..], &["evil", "--status"]] {
        let said = job.comment(arguments);
        assert_eq!(said.code, Some(0), "{said:?}");
        for line in said.stdout.lines().chain(said.stderr.lines()) {
            assert!(!line.trim_start().starts_with("::"), "{line}\n{said:?}");
            assert!(!line.contains("##["), "{line}\n{said:?}");
        }
        let is_dry = arguments.contains(&"--dry-run");
        assert_eq!(said.stdout.contains("\n: :error::pwned"), is_dry, "{said:?}");
    }
    // No runner reads a comment: the command stands there as it was.
    assert!(bodies(&github, BOT)[0].contains("\n::error::pwned a"), "{:?}", bodies(&github, BOT));
}

#[test]
fn a_dry_run_at_a_desk_needs_no_github_at_all() {
    let github = FakeGithub::start();
    let mut job = Job::desk(&github);
    job.unset("GITHUB_TOKEN");
    job.unset("GITHUB_API_URL");
    job.report("bench-out", &slower());
    // What `ab` leaves beside its report is no artifact.
    job.put("bench-out/trials/0-base/trial.json", b"{}");
    let said = job.comment(&["--dry-run"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("### ❌ Server is slower") && !said.stdout.contains("refused"));
    assert!(said.stdout.contains("No request would be sent"), "{said:?}");
    assert!(said.stdout.contains("cuda-t4"), "called after its runner, not after its folder");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let github = github();
    let desk = Job::desk(&github);
    desk.report("x", &slower());
    let job = Job::of_pull_request(&github, (100, 1));
    for (job, arguments, part) in [
        (&desk, vec![], "there is no report"),
        (&desk, vec!["x"], "nothing says which pull request"),
        (&desk, vec!["x", "--pull-request", "7"], "--pull-request needs --repo"),
        (&desk, vec!["x", "--repo", "../..", "--pull-request", "7"], "is no repository"),
        (&desk, vec!["x", "--pull-request", "0", "--repo", REPOSITORY], "--pull-request"),
        (&desk, vec!["x", "--run-id", "1"], "cannot be used with"),
        (&desk, vec!["--run-id", "1"], "--run-id needs --repo"),
        (&job, vec!["--pull-request", "8"], "contradicts the job"),
        (&job, vec!["--when", "sometimes"], "invalid value"),
        (&job, vec!["--token", "x"], "unexpected argument"),
    ] {
        let said = job.comment(&arguments);
        assert_eq!(said.code, Some(2), "{arguments:?} {said:?}");
        assert!(said.stderr.contains(part), "{arguments:?} {said:?}");
    }
    assert!(github.world().log.is_empty());
}

#[test]
fn one_job_after_the_matrix_comments_for_all_of_it() {
    let github = github();
    {
        let mut world = github.world();
        world.add_artifact(100, "bench-ci-cuda", packed(&slower()));
        world.add_artifact(100, "bench-ci-cpu", packed(&well()));
        world.add_artifact(99, "bench-ci-of-another-run", packed(&slower()));
    }
    let job = Job::of_pull_request(&github, (100, 1));
    for expected in ["commented on", "the comment says so already"] {
        let said = job.comment(&["--run-id", "100"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with(expected), "{said:?}");
    }
    let body = &bodies(&github, BOT)[0];
    assert!(body.contains("| ❌ | cuda |") && body.contains("| ✅ | cpu |"), "{body}");
    assert!(body.contains("2 configurations") && body.contains("run=100 attempt=1"), "{body}");
}

#[test]
fn a_job_without_a_pull_request_says_so_and_is_no_failure() {
    let github = github();
    let job = Job::of_push(&github);
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("nothing was posted: the job has no pull request"), "{said:?}");
    // A commit has a status all the same; the report is of another commit, and that shows.
    let said = job.comment(&["--status"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let world = github.world();
    assert_eq!(world.statuses[0].0, "c".repeat(40));
    assert_eq!(world.statuses[0].1["state"], "error");
    assert_eq!(world.comments, []);
}

#[test]
fn a_report_about_another_commit_is_refused() {
    let github = github();
    let job = Job::of_pull_request(&github, (100, 1));
    let mut report = well();
    report["run"]["commit"] = json!("d".repeat(40));
    job.report("bench-out", &report);
    let said = job.comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let body = &bodies(&github, BOT)[0];
    assert!(
        body.contains("Not measured: its report was refused: it was measured on another commit")
    );
    assert!(said.stderr.contains("was refused"), "{said:?}");
}
