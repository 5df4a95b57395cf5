//! Several jobs at once, and runs out of order: one comment in the end, and never an older one.

use super::fake::{FakeGithub, Reply, Wrong};
use super::job::{Job, NUMBER, at_once, github, slower, well};

/// The one comment that there must be.
fn only(github: &FakeGithub) -> String {
    let world = github.world();
    assert_eq!(world.comments.len(), 1, "{:#?}", world.comments);
    world.comments[0].body.clone()
}

fn matrix_job(github: &FakeGithub, name: &str) -> Job {
    let job = Job::of_pull_request(github, (100, 1));
    std::fs::remove_dir_all(job.path().join("bench-out")).unwrap();
    job.report(name, &slower());
    job
}

#[test]
fn two_jobs_of_a_matrix_make_one_comment_with_both() {
    for _ in 0..3 {
        let github = github();
        // Both see that there is no comment, and both make one.
        github.world().meet = 2;
        let (cuda, cpu) = (matrix_job(&github, "cuda"), matrix_job(&github, "cpu"));
        for said in at_once(&[(&cuda, &["cuda"]), (&cpu, &["cpu"])]) {
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        assert_eq!(github.world().count("POST", "/issues/7/comments"), 2, "it was a race");
        let body = only(&github);
        assert!(body.contains("| cuda | output tok/s"), "{body}");
        assert!(body.contains("| cpu | output tok/s"), "{body}");
        assert!(body.contains("2 configurations"), "{body}");
    }
}

#[test]
fn six_jobs_of_a_matrix_make_one_comment_with_all() {
    let github = github();
    github.world().meet = 6;
    let names = ["a", "b", "c", "d", "e", "f"];
    let jobs: Vec<Job> = names.iter().map(|name| matrix_job(&github, name)).collect();
    let arguments: Vec<[&str; 1]> = names.iter().map(|name| [*name]).collect();
    let racing: Vec<(&Job, &[&str])> =
        jobs.iter().zip(&arguments).map(|(job, arguments)| (job, &arguments[..])).collect();
    for said in at_once(&racing) {
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let body = only(&github);
    for name in names {
        assert!(body.contains(&format!("| {name} | output tok/s")), "{name} is lost\n{body}");
    }
}

#[test]
fn a_job_that_is_run_again_replaces_its_own_configuration_and_keeps_the_others() {
    let github = github();
    let (cuda, cpu) = (matrix_job(&github, "cuda"), matrix_job(&github, "cpu"));
    assert_eq!(cuda.comment(&["cuda"]).code, Some(0));
    assert_eq!(cpu.comment(&["cpu"]).code, Some(0));
    let mut again = matrix_job(&github, "cpu");
    again.set("GITHUB_RUN_ATTEMPT", "2");
    again.report("cpu", &well());
    assert_eq!(again.comment(&["cpu"]).code, Some(0));
    let body = only(&github);
    assert!(body.contains("| ❌ | cuda |") && body.contains("| ✅ | cpu |"), "{body}");
    // Another run begins anew.
    let next = Job::of_pull_request(&github, (101, 1));
    assert_eq!(next.comment(&[]).code, Some(0));
    let body = only(&github);
    assert!(!body.contains("| cuda |"), "{body}");
}

#[test]
fn jobs_with_keys_of_their_own_have_comments_of_their_own() {
    let github = github();
    github.world().meet = 2;
    let (cuda, cpu) = (matrix_job(&github, "cuda"), matrix_job(&github, "cpu"));
    let racing: [(&Job, &[&str]); 2] =
        [(&cuda, &["cuda", "--key", "cuda"]), (&cpu, &["cpu", "--key", "cpu"])];
    for said in at_once(&racing) {
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    assert_eq!(github.world().comments.len(), 2);
}

#[test]
fn an_older_run_does_not_overwrite_a_newer_one() {
    let github = github();
    assert_eq!(Job::of_pull_request(&github, (101, 2)).comment(&[]).code, Some(0));
    let newest = only(&github);
    for run in [(100, 1), (100, 3), (101, 1)] {
        let older = Job::of_pull_request(&github, run);
        older.report("bench-out", &well());
        let said = older.comment(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with("left the comment of a newer run"), "{said:?}");
        assert_eq!(only(&github), newest);
    }
}

#[test]
fn an_older_and_a_newer_run_at_once_end_with_the_newer() {
    for _ in 0..3 {
        let github = github();
        github.world().meet = 2;
        let newer = Job::of_pull_request(&github, (101, 1));
        let older = Job::of_pull_request(&github, (100, 1));
        older.report("bench-out", &well());
        for said in at_once(&[(&newer, &["--when", "always"]), (&older, &["--when", "always"])]) {
            assert_eq!(said.code, Some(0), "{said:?}");
        }
        let body = only(&github);
        assert!(body.contains("run=101") && body.contains("is slower"), "{body}");
    }
}

#[test]
fn a_list_that_lags_behind_makes_no_second_comment() {
    let github = github();
    github.world().lagging_lists = 3;
    assert_eq!(Job::of_pull_request(&github, (100, 1)).comment(&[]).code, Some(0));
    only(&github);
}

#[test]
fn a_comment_that_was_made_without_an_answer_is_not_made_twice() {
    let broken = Reply::refusal(502, "Server Error");
    for wrong in [Wrong::DoneButHangUp, Wrong::DoneBut(broken)] {
        let github = github();
        github.fail("POST", "/issues/7/comments", 1, wrong);
        let said = Job::of_pull_request(&github, (100, 1)).comment(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.starts_with("commented on"), "{said:?}");
        only(&github);
    }
}

#[test]
fn second_comments_of_ours_are_removed_and_the_oldest_stays() {
    let github = github();
    let mark = "<!-- bench-ci:report v=1 key=default -->\n";
    let oldest = github.world().add_comment(NUMBER, "github-actions[bot]", mark);
    for _ in 0..2 {
        github.world().add_comment(NUMBER, "github-actions[bot]", mark);
    }
    let said = Job::of_pull_request(&github, (100, 1)).comment(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    only(&github);
    assert_eq!(github.world().comments[0].id, oldest);
}
