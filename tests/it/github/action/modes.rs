//! The modes that measure nothing: `report`, and `comment` and `history` with the token that only they are
//! given.

use serde_json::{Value, json};

use super::{Caller, Left, SMALL};
use crate::github::fake::{FakeGithub, JOB_TOKEN, READING_TOKEN, REPOSITORY};
use crate::github::forks;
use crate::github::job::{HEAD, NUMBER, github, pull, slower, well};
use crate::history::Place;
use crate::history::remotes::GitServer;

/// A step of a job that this event has started.
fn job(caller: &mut Caller, github: &FakeGithub, event: &str, payload: &Value) {
    let file = caller.workspace.path().join("event.json");
    std::fs::write(&file, payload.to_string()).unwrap();
    for (name, value) in [
        ("GITHUB_API_URL", github.url()),
        ("GITHUB_SERVER_URL", "https://github.test".to_owned()),
        ("GITHUB_REPOSITORY", REPOSITORY.to_owned()),
        ("GITHUB_EVENT_NAME", event.to_owned()),
        ("GITHUB_EVENT_PATH", file.display().to_string()),
    ] {
        caller.runner.insert(name.to_owned(), value);
    }
}

fn of_pull_request(github: &FakeGithub, inputs: &[(&str, &str)]) -> Caller {
    let mut caller = Caller::new(&[("mode", "comment"), ("github-token", JOB_TOKEN)]);
    for (name, value) in inputs {
        caller.set(name, value);
    }
    let pull = pull(NUMBER, HEAD, REPOSITORY, "feature");
    let payload = json!({
        "action": "synchronize", "number": NUMBER, "pull_request": pull,
        "repository": {"full_name": REPOSITORY},
    });
    job(&mut caller, github, "pull_request", &payload);
    caller
}

fn put(caller: &Caller, folder: &str, report: &Value) {
    let folder = caller.workspace().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ab.json"), report.to_string()).unwrap();
}

/// A step that measured nothing has no verdict, and nothing to upload.
fn is_silent(left: &Left) {
    for name in ["verdict", "exit-code", "change-pct", "report-json", "report-md", "artifact-name"]
    {
        assert_eq!(left.output(name), "", "{name}\n{}", left.log);
    }
    assert!(left.used.is_empty(), "{:?}", left.used);
    for token in [JOB_TOKEN, READING_TOKEN] {
        assert!(!left.log.contains(token), "{}", left.log);
    }
}

#[test]
fn a_report_is_shown_as_asked_and_no_line_of_it_is_obeyed() {
    let mut report = slower();
    report["sides"]["head"]["command"] =
        json!(["::error::pwned", "##[error]pwned", "\n::debug::x"]);
    let show = |args: &str| {
        let caller = Caller::new(&[("mode", "report"), ("args", args)]);
        put(&caller, "bench-out", &report);
        let left = caller.play();
        assert_eq!((left.code, left.summary.as_str()), (0, ""), "{}", left.log);
        is_silent(&left);
        let obeyed = |line: &&str| line.trim_start().starts_with("::") || line.contains("##[");
        assert_eq!(left.log.lines().find(obeyed), None, "{}", left.log);
        left.log
    };
    let page = show("");
    assert!(page.contains("### What decides") && page.contains(": :error::pwned"), "{page}");
    let text = show("--format go-bench");
    assert!(text.contains("Benchmark") && !text.contains("### What decides"), "{text}");
}

#[test]
fn a_comment_is_written_and_its_address_is_an_output() {
    let github = github();
    let caller = of_pull_request(&github, &[]);
    put(&caller, "bench-out", &slower());
    for _ in 0..2 {
        let left = caller.play();
        assert_eq!(left.code, 0, "{}", left.log);
        is_silent(&left);
        // The page is in the comment, and not a second time in the summary.
        assert_eq!(left.summary, "");
        let (id, count) = {
            let world = github.world();
            (world.comments[0].id, world.comments.len())
        };
        assert_eq!(count, 1, "updated in place");
        let page = format!("https://github.test/{REPOSITORY}/pull/{NUMBER}#issuecomment-{id}");
        assert_eq!(left.output("comment-url"), page);
    }
    let body = github.world().comments[0].body.clone();
    assert!(body.contains("### ❌ Server is slower"), "{body}");
}

#[test]
fn inputs_of_a_comment_are_those_of_the_command() {
    let github = github();
    let never = of_pull_request(&github, &[("when", "never")]);
    put(&never, "bench-out", &slower());
    let left = never.play();
    assert_eq!((left.code, github.world().comments.len()), (0, 0), "{}", left.log);
    assert_eq!(left.output("comment-url"), "");
    is_silent(&left);

    let inputs = [
        ("out-dir", "reports"),
        ("key", "cuda"),
        ("when", "always"),
        ("args", "--status\n--check"),
    ];
    let always = of_pull_request(&github, &inputs);
    put(&always, "reports", &well());
    let left = always.play();
    assert_eq!(left.code, 0, "{}", left.log);
    let world = github.world();
    assert_eq!((world.comments.len(), world.statuses.len(), world.checks.len()), (1, 1, 1));
    assert!(world.comments[0].body.contains("key=cuda"), "{}", world.comments[0].body);
}

#[test]
fn a_token_that_may_only_read_leaves_the_page_in_the_summary_and_is_green() {
    let github = github();
    let caller = of_pull_request(&github, &[("github-token", READING_TOKEN)]);
    put(&caller, "bench-out", &slower());
    let left = caller.play();
    assert_eq!(left.code, 0, "{}", left.log);
    is_silent(&left);
    assert!(left.summary.starts_with("### ❌ Server is slower"), "{}", left.summary);
    assert!(left.log.contains("::notice title=bench-ci::"), "{}", left.log);
    assert_eq!((left.output("comment-url"), github.world().comments.len()), ("", 0));

    let strict =
        of_pull_request(&github, &[("github-token", READING_TOKEN), ("args", "--require-comment")]);
    put(&strict, "bench-out", &slower());
    assert_eq!(strict.play().code, 8);

    let without = of_pull_request(&github, &[("github-token", "")]);
    put(&without, "bench-out", &slower());
    let left = without.play();
    assert_eq!(left.code, 8, "{}", left.log);
    assert!(left.log.contains("there is no token"), "{}", left.log);
}

/// What the action uploads of a sweep is what a comment is made of.
#[test]
fn a_sweep_is_measured_and_commented_on() {
    let github = github();
    let mut caller = of_pull_request(&github, &[("mode", "run"), ("when", "always")]);
    caller.set("server", "sim");
    caller.set("args", &format!("{SMALL}--sweep users=1,2"));
    let left = caller.play();
    assert_eq!(left.code, 0, "{}", left.log);
    assert_eq!(left.output("report-json"), "bench-out/suite.json", "{}", left.log);
    caller.set("mode", "comment");
    caller.set("args", "");
    let left = caller.play();
    assert_eq!(left.code, 0, "{}", left.log);
    let body = github.world().comments[0].body.clone();
    assert!(body.contains("### 📏 Measured: 2 of 2 cells without a complaint"), "{body}");
    for users in [1, 2] {
        let row = body.lines().find(|line| line.contains(&format!("users={users} | 4 of 4 |")));
        assert!(row.is_some_and(|row| row.ends_with("| measured |")), "{body}");
    }
}

/// `examples/workflows/bench-comment.yml`: nothing is in the workspace, the reports are artifacts.
#[test]
fn the_run_of_a_fork_is_commented_on_from_its_artifacts() {
    let github = forks::github();
    let mut caller =
        Caller::new(&[("mode", "comment"), ("upload", "false"), ("github-token", JOB_TOKEN)]);
    let payload = json!({
        "action": "completed", "workflow_run": forks::run(), "repository": {"full_name": REPOSITORY},
    });
    job(&mut caller, &github, "workflow_run", &payload);
    let left = caller.play();
    assert_eq!(left.code, 0, "{}", left.log);
    is_silent(&left);
    assert!(left.output("comment-url").starts_with("https://github.test/"), "{}", left.log);
    let world = github.world();
    assert_eq!(world.comments.len(), 1);
    assert_eq!(world.comments[0].number, NUMBER);
}

#[test]
fn a_point_is_appended_to_the_history_and_pushed_with_the_token() {
    const TOKEN: &str = "ghs_thehistorysowntoken";
    let place = Place::new();
    let remote = place.path("repository.git");
    let mut config = git2::Repository::open(&remote).unwrap().config().unwrap();
    config.set_bool("http.receivepack", true).unwrap();
    let server = GitServer::start(remote.parent().unwrap(), TOKEN);
    let play = |run: &str, token: &str| {
        let mut caller =
            Caller::new(&[("mode", "history"), ("out-dir", "reports"), ("github-token", token)]);
        caller.runner.insert("GITHUB_SERVER_URL".to_owned(), server.address.clone());
        let repository = git2::Repository::init(caller.workspace()).unwrap();
        repository.remote("origin", &format!("{}/repository.git", server.address)).unwrap();
        let report = place.report(run, 'a', 3, 100.0);
        std::fs::create_dir(caller.workspace().join("reports")).unwrap();
        std::fs::copy(report, caller.workspace().join("reports/report.json")).unwrap();
        let left = caller.play();
        assert_eq!(left.summary, "", "the history is drawn where it is asked for");
        is_silent(&left);
        assert!(!left.log.contains(TOKEN), "{}", left.log);
        left
    };
    // Each from a fresh checkout, as jobs are: the second one must fetch the first one's point.
    for (run, said) in
        [("one", "1 point appended"), ("two", "1 point appended"), ("one", "0 points appended")]
    {
        let left = play(run, TOKEN);
        assert_eq!(left.code, 0, "{}", left.log);
        assert!(left.log.contains(said), "{run}: {}", left.log);
    }
    let lines = place.lines(&remote);
    assert_eq!(lines.len(), 2, "each run once: {lines:#?}");

    let left = play("three", "ghs_anotherone");
    assert_eq!(left.code, 8, "{}", left.log);
    assert!(left.log.contains("401"), "{}", left.log);
    assert_eq!(place.lines(&remote), lines);
}
