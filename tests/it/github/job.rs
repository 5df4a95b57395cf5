//! A job of GitHub Actions, as far as `bench-ci comment` sees one: variables, event, folder.
//!
//! Main type: [`Job`].

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bench_ci::artifact::AbReport;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fake::{FakeGithub, JOB_TOKEN, PERSONAL_TOKEN, READING_TOKEN, REPOSITORY};
use crate::report::comparison::{SAME, SLOWER, comparing};

/// The commit at the head of the pull request, as the reports have it.
pub(crate) const HEAD: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// The pull request's number.
pub(crate) const NUMBER: u64 = 7;

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Whatever it did, it has not shown a token.
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        for token in [JOB_TOKEN, READING_TOKEN, PERSONAL_TOKEN] {
            assert!(!said.stdout.contains(token) && !said.stderr.contains(token), "{said:?}");
        }
        said
    }
}

/// A job, or a desk.
pub(crate) struct Job {
    folder: TempDir,
    variables: BTreeMap<String, String>,
}

impl Job {
    /// No job at all, but a token and an address.
    pub(crate) fn desk(github: &FakeGithub) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables = [("GITHUB_API_URL", github.url()), ("GITHUB_TOKEN", JOB_TOKEN.to_owned())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Self { folder, variables }
    }

    fn new(github: &FakeGithub, event: &str, payload: &Value, run: (u64, u64)) -> Self {
        let mut job = Self::desk(github);
        job.put("event.json", payload.to_string().as_bytes());
        let path = |name: &str| job.folder.path().join(name).display().to_string();
        let more = [
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("GITHUB_EVENT_NAME", event.to_owned()),
            ("GITHUB_EVENT_PATH", path("event.json")),
            ("GITHUB_REPOSITORY", REPOSITORY.to_owned()),
            ("GITHUB_SERVER_URL", "https://github.test".to_owned()),
            ("GITHUB_SHA", "c".repeat(40)),
            ("GITHUB_RUN_ID", run.0.to_string()),
            ("GITHUB_RUN_ATTEMPT", run.1.to_string()),
            ("GITHUB_STEP_SUMMARY", path("summary.md")),
            ("GITHUB_OUTPUT", path("output.txt")),
        ];
        job.variables.extend(more.map(|(name, value)| (name.to_owned(), value)));
        job
    }

    /// A job that the pull request 7 has started, with one report that got slower in `bench-out`.
    pub(crate) fn of_pull_request(github: &FakeGithub, run: (u64, u64)) -> Self {
        let pull = pull(NUMBER, HEAD, REPOSITORY, "feature");
        let payload = json!({
            "action": "synchronize", "number": NUMBER, "pull_request": pull,
            "repository": {"full_name": REPOSITORY},
        });
        let job = Self::new(github, "pull_request", &payload, run);
        job.report("bench-out", &slower());
        job
    }

    /// A job that the end of run 500, of a fork's pull request, has started.
    pub(crate) fn of_workflow_run(github: &FakeGithub, run: &Value) -> Self {
        let payload = json!({
            "action": "completed", "workflow_run": run, "repository": {"full_name": REPOSITORY},
        });
        // Its own number is another than that of the run that has ended.
        Self::new(github, "workflow_run", &payload, (900, 1))
    }

    pub(crate) fn of_push(github: &FakeGithub) -> Self {
        let job = Self::new(github, "push", &json!({"after": "c".repeat(40)}), (600, 1));
        job.report("bench-out", &slower());
        job
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// A report in a folder, in place of what was there.
    pub(crate) fn report(&self, folder: &str, report: &Value) {
        self.put(&format!("{folder}/ab.json"), report.to_string().as_bytes());
    }

    pub(crate) fn summary(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("summary.md")).unwrap_or_default()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command
            .arg("comment")
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `bench-ci comment` with these arguments.
    pub(crate) fn comment(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().expect("the binary can be started"))
    }
}

/// Several at once; in their order.
pub(crate) fn at_once(jobs: &[(&Job, &[&str])]) -> Vec<Said> {
    let running: Vec<std::process::Child> =
        jobs.iter().map(|(job, arguments)| job.command(arguments).spawn().unwrap()).collect();
    running.into_iter().map(|child| Said::of(&child.wait_with_output().unwrap())).collect()
}

/// As the API and the events describe it.
pub(crate) fn pull(number: u64, head: &str, source: &str, branch: &str) -> Value {
    let owner = source.split('/').next().unwrap_or_default();
    json!({
        "number": number, "state": "open",
        "head": {
            "sha": head, "ref": branch, "user": {"login": owner}, "repo": {"full_name": source},
        },
        "base": {"sha": "b".repeat(40), "ref": "master", "repo": {"full_name": REPOSITORY}},
    })
}

/// A GitHub on which the pull request 7 is open.
pub(crate) fn github() -> FakeGithub {
    let github = FakeGithub::start();
    github.world().pulls.push(pull(NUMBER, HEAD, REPOSITORY, "feature"));
    github
}

fn with_repository(report: &AbReport) -> Value {
    let mut value = report.to_value();
    value["run"]["repository"] = json!(REPOSITORY);
    value
}

/// A report that got slower.
pub(crate) fn slower() -> Value {
    with_repository(&comparing(&[SLOWER], "regressed"))
}

/// A report in which all is well.
pub(crate) fn well() -> Value {
    with_repository(&comparing(&[SAME], "no-regression"))
}
