//! Where this job runs, and which pull request it is about, as far as the event says.
//!
//! Main types: [`Context`], [`Subject`]. The event's payload is GitHub's own and is trusted; what it
//! quotes (names of branches and forks) is somebody's, and is only ever compared or encoded.

use std::path::PathBuf;

use reqwest::Url;
use serde_json::Value;

use super::GithubError;
use crate::plan::Secret;
use crate::provenance::{Env, event_payload};

/// `owner/name`, of characters that need no encoding in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName(String);

impl RepoName {
    /// `None` if it is not a name that GitHub would give.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part.len() <= 100
                && part != "."
                && part != ".."
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let (owner, name) = text.split_once('/')?;
        (is_name(owner) && is_name(name)).then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same repository: GitHub's names know no case.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other)
    }
}

impl std::fmt::Display for RepoName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A pull request, verified or from its own event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// The commit at its head, full hash.
    pub head: String,
    /// The repository that its code comes from, where that is another; an empty one was deleted.
    pub fork: Option<String>,
}

/// A workflow run that has ended, as GitHub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedRun {
    /// Its number.
    pub id: u64,
    /// 1, or more where it was run again.
    pub attempt: u64,
    /// The commit it ran on: of a pull request its head.
    pub head: String,
    /// The branch; whoever made the pull request chose its name.
    pub branch: String,
    /// Owner of the repository that has the branch.
    pub owner: String,
    /// That repository, `owner/name`.
    pub repository: String,
}

impl FinishedRun {
    /// From `workflow_run` of an event, or from the API, which says it alike.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let text =
            |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            id: value.get("id")?.as_u64()?,
            attempt: value.get("run_attempt").and_then(Value::as_u64).unwrap_or(1),
            head: text("/head_sha").filter(|sha| is_commit(sha))?,
            branch: text("/head_branch")?,
            owner: text("/head_repository/owner/login").or_else(|| {
                Some(text("/head_repository/full_name")?.split_once('/')?.0.to_owned())
            })?,
            repository: text("/head_repository/full_name")?,
        })
    }
}

/// What the job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A pull request, from its own event.
    PullRequest(PullRequest),
    /// A workflow run that has ended; its pull request is still to be found.
    Run(FinishedRun),
    /// A commit without a pull request.
    Commit(String),
    /// Nothing that could be commented on: why not.
    Nothing(String),
}

/// The job, or the desk.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where the API is, without a slash at its end.
    pub api: Url,
    /// Where its other API is.
    pub graphql: Url,
    /// Where people look, without a slash at its end.
    pub server: String,
    /// The repository that the workflow runs in.
    pub repository: Option<RepoName>,
    /// Number and attempt of this workflow run.
    pub run: Option<(u64, u64)>,
    /// Whether this is a GitHub Actions job.
    pub is_job: bool,
    /// What it is about.
    pub subject: Subject,
    /// Never printed.
    pub token: Option<Secret>,
    /// Where the job's summary is written to.
    pub summary: Option<PathBuf>,
    /// Where the outputs of the step are written to.
    pub outputs: Option<PathBuf>,
}

impl Context {
    /// Reads `GITHUB_*` and the event's payload.
    ///
    /// # Errors
    /// An address of the API that is none, or a repository's name that is none.
    pub fn read(env: Env<'_>) -> Result<Self, GithubError> {
        let variable = |name: &str| {
            env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let api = variable("GITHUB_API_URL").unwrap_or_else(|| "https://api.github.com".to_owned());
        let api = address("GITHUB_API_URL", &api)?;
        let graphql = match variable("GITHUB_GRAPHQL_URL") {
            Some(url) => address("GITHUB_GRAPHQL_URL", &url)?,
            None => graphql_beside(&api),
        };
        let server =
            variable("GITHUB_SERVER_URL").unwrap_or_else(|| "https://github.com".to_owned());
        let server = address("GITHUB_SERVER_URL", &server)?;
        let repository = match variable("GITHUB_REPOSITORY") {
            None => None,
            Some(name) => Some(RepoName::parse(&name).ok_or_else(|| no_repository(&name))?),
        };
        let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
        let run = number("GITHUB_RUN_ID").map(|id| (id, number("GITHUB_RUN_ATTEMPT").unwrap_or(1)));
        let event = variable("GITHUB_EVENT_NAME");
        let subject = match (&event, &repository) {
            (Some(event), Some(repository)) => {
                subject(event, repository, event_payload(env), variable("GITHUB_SHA"))
            }
            _ => Subject::Nothing("this is no GitHub Actions job".to_owned()),
        };
        Ok(Self {
            api,
            graphql,
            server: server.as_str().trim_end_matches('/').to_owned(),
            repository,
            run,
            is_job: event.is_some(),
            subject,
            token: variable("BENCH_CI_GITHUB_TOKEN")
                .or_else(|| variable("GITHUB_TOKEN"))
                .map(Secret::new),
            summary: variable("GITHUB_STEP_SUMMARY").map(PathBuf::from),
            outputs: variable("GITHUB_OUTPUT").map(PathBuf::from),
        })
    }

    /// Below the API's address: `repos/o/r/pulls`.
    #[must_use]
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.api.clone();
        let whole = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        url
    }

    /// A run's page.
    #[must_use]
    pub fn run_page(&self, repository: &RepoName, id: u64) -> String {
        format!("{}/{repository}/actions/runs/{id}", self.server)
    }
}

/// The error of a repository's name that is none.
pub(super) fn no_repository(name: &str) -> GithubError {
    GithubError::Usage {
        what: format!("\"{}\" is no repository", name.escape_debug()),
        hint: "expected OWNER/NAME, such as ggml-org/llama.cpp",
    }
}

fn address(variable: &str, text: &str) -> Result<Url, GithubError> {
    let bad = |why: String| GithubError::Usage {
        what: format!("{variable} is no address: {why}"),
        hint: "leave it unset for github.com; GitHub Enterprise Server has https://HOST/api/v3",
    };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => {}
        _ => return Err(bad("expected https://".to_owned())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user or a password".to_owned()));
    }
    Ok(url)
}

/// `https://api.github.com/graphql`, or on GitHub Enterprise Server `https://HOST/api/graphql`.
fn graphql_beside(api: &Url) -> Url {
    let mut url = api.clone();
    let path = api.path().trim_end_matches('/');
    let path = format!("{}/graphql", path.strip_suffix("/v3").unwrap_or(path));
    url.set_path(&path);
    url
}

/// Forty hexadecimal digits, or sixty-four.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn subject(
    event: &str,
    repository: &RepoName,
    payload: Result<Value, String>,
    sha: Option<String>,
) -> Subject {
    let of_payload = |read: &dyn Fn(&Value) -> Option<Subject>, what: &str| match &payload {
        Err(reason) => Subject::Nothing(format!("{what} is not known: {reason}")),
        Ok(payload) => read(payload).unwrap_or_else(|| {
            Subject::Nothing(format!("the event's payload does not name {what}"))
        }),
    };
    match event {
        "workflow_run" => of_payload(
            &|payload| {
                // An event of another repository would be a forged one.
                let own = payload.pointer("/workflow_run/repository/full_name");
                let own = own.or_else(|| payload.pointer("/repository/full_name"));
                let is_own = own.and_then(Value::as_str).is_none_or(|name| repository.is(name));
                let run = payload.get("workflow_run").and_then(FinishedRun::read)?;
                is_own.then_some(Subject::Run(run))
            },
            "the workflow run that has ended",
        ),
        event if event.starts_with("pull_request") => of_payload(
            &|payload| {
                pull_request(payload.get("pull_request")?, repository).map(Subject::PullRequest)
            },
            "the pull request",
        ),
        _ => match sha.filter(|sha| is_commit(sha)) {
            Some(sha) => Subject::Commit(sha),
            None => Subject::Nothing(format!("a job of {event} has no pull request")),
        },
    }
}

/// A pull request of this repository, as events and the API describe it.
pub(super) fn pull_request(value: &Value, repository: &RepoName) -> Option<PullRequest> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if text("/base/repo/full_name").is_some_and(|name| !repository.is(name)) {
        return None;
    }
    let source = text("/head/repo/full_name");
    Some(PullRequest {
        number: value.get("number")?.as_u64().filter(|number| *number > 0)?,
        head: text("/head/sha").filter(|sha| is_commit(sha))?.to_owned(),
        fork: match source {
            Some(name) if repository.is(name) => None,
            Some(name) => Some(name.to_owned()),
            // A fork that was deleted meanwhile.
            None => Some("that was deleted".to_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_repositories_become_part_of_an_address() {
        for good in ["ggml-org/llama.cpp", "o/r", "a_b/c.d-e"] {
            assert!(RepoName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "o", "o/", "/r", "o/r/x", "o/..", "o/r?x=1", "o/r#", "o/ä", "o/r\n"] {
            assert_eq!(RepoName::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn enterprise_has_its_paths() {
        let context = |api: &str| {
            Context::read(&|name| (name == "GITHUB_API_URL").then(|| api.to_owned())).unwrap()
        };
        for (api, path, graphql) in [
            (
                "https://api.github.com",
                "https://api.github.com/user",
                "https://api.github.com/graphql",
            ),
            (
                "https://ghe.corp/api/v3",
                "https://ghe.corp/api/v3/user",
                "https://ghe.corp/api/graphql",
            ),
            (
                "https://ghe.corp/api/v3/",
                "https://ghe.corp/api/v3/user",
                "https://ghe.corp/api/graphql",
            ),
        ] {
            assert_eq!(context(api).url("user").as_str(), path);
            assert_eq!(context(api).graphql.as_str(), graphql);
        }
        for bad in ["ftp://x", "nonsense", "https://user:secret@ghe.corp/api/v3"] {
            let error = Context::read(&|name| (name == "GITHUB_API_URL").then(|| bad.to_owned()))
                .unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
