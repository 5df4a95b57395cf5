//! Which pull request a workflow run is about: found by its branch, believed by its commit.
//!
//! Main function: [`of_run`]. An artifact never has a say in it: whoever writes the artifact would
//! choose whose pull request is commented on.

use serde_json::Value;

use super::GithubError;
use super::client::Client;
use super::context::{Context, FinishedRun, PullRequest, RepoName, pull_request};

/// The open pull request that has the run's commit at its head now; why there is none, as a fragment.
///
/// Of several (one branch into two others) the oldest. The event's own list of pull requests is not
/// used: it is empty for forks.
pub(super) async fn of_run(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    run: &FinishedRun,
) -> Result<Result<PullRequest, String>, GithubError> {
    let mut url = context.url(&format!("repos/{repository}/pulls"));
    url.query_pairs_mut()
        .append_pair("state", "open")
        .append_pair("head", &format!("{}:{}", run.owner, run.branch))
        .append_pair("per_page", "100");
    let listed = client
        .list("find the pull request of the run", &url, |page| match page {
            Value::Array(items) => Some(items),
            _ => None,
        })
        .await?;
    // GitHub ignores a filter that it does not understand and lists every pull request.
    let mut found: Vec<PullRequest> = listed
        .iter()
        .filter(|value| value.get("state").and_then(Value::as_str) == Some("open"))
        .filter(|value| {
            let source = value.pointer("/head/repo/full_name").and_then(Value::as_str);
            source.is_none_or(|name| name.eq_ignore_ascii_case(&run.repository))
        })
        .filter_map(|value| pull_request(value, repository))
        .filter(|found| found.head == run.head)
        .collect();
    found.sort_by_key(|found| found.number);
    Ok(found.into_iter().next().ok_or_else(|| {
        format!("no open pull request of {repository} has the commit {} at its head", short(run))
    }))
}

fn short(run: &FinishedRun) -> &str {
    run.head.get(..7).unwrap_or(&run.head)
}

/// A workflow run, by its number.
pub(super) async fn run(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    id: u64,
) -> Result<FinishedRun, GithubError> {
    let attempt = format!("look up the workflow run {id} of {repository}");
    let value = client
        .get(&attempt, &context.url(&format!("repos/{repository}/actions/runs/{id}")))
        .await?;
    FinishedRun::read(&value)
        .filter(|run| run.id == id)
        .ok_or_else(|| GithubError::Answer { attempt, cause: "it describes no run".to_owned() })
}

/// A pull request, by its number.
pub(super) async fn by_number(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    number: u64,
) -> Result<PullRequest, GithubError> {
    let attempt = format!("look up the pull request {number} of {repository}");
    let value =
        client.get(&attempt, &context.url(&format!("repos/{repository}/pulls/{number}"))).await?;
    pull_request(&value, repository).filter(|found| found.number == number).ok_or_else(|| {
        GithubError::Answer { attempt, cause: "it describes no pull request".to_owned() }
    })
}
