//! A commit status and a check run: what stands beside a commit, in one line and in full.
//!
//! Main functions: [`set_status`], [`set_check`].

use reqwest::Method;
use serde_json::{Value, json};

use super::GithubError;
use super::client::{Client, Repeat};
use super::context::{Context, RepoName};
use crate::report::comment::{Cell, Origin, Standing, check_text, status_line, worst};

/// What both are called: `bench-ci / KEY`.
pub(super) fn name(key: &str) -> String {
    let key: String = key.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("bench-ci / {key}")
}

/// The body of a status.
pub(super) fn status_body(origin: &Origin, cells: &[Cell]) -> Value {
    let state = match worst(cells) {
        Standing::Regressed => "failure",
        // What was not measured is no success, and there is no neutral here.
        Standing::Invalid | Standing::NotMeasured => "error",
        Standing::Inconclusive
        | Standing::Improved
        | Standing::NoRegression
        | Standing::Measured => "success",
    };
    let mut body = json!({
        "state": state, "context": name(&origin.key), "description": status_line(cells),
    });
    if let Some(run) = &origin.run {
        body["target_url"] = json!(run.url);
    }
    body
}

/// The body of a check run.
pub(super) fn check_body(origin: &Origin, head: &str, cells: &[Cell]) -> Value {
    let conclusion = match worst(cells) {
        Standing::Regressed => "failure",
        Standing::Invalid | Standing::NotMeasured | Standing::Inconclusive => "neutral",
        Standing::Improved | Standing::NoRegression | Standing::Measured => "success",
    };
    let mut body = json!({
        "name": name(&origin.key), "head_sha": head, "status": "completed", "conclusion": conclusion,
        "output": { "title": status_line(cells), "summary": check_text(origin, cells) },
    });
    if let Some(run) = &origin.run {
        body["details_url"] = json!(run.url);
        body["external_id"] = json!(format!("{}.{}", run.id, run.attempt));
    }
    body
}

/// Where statuses of a commit are made.
pub(super) fn status_url(context: &Context, repository: &RepoName, head: &str) -> reqwest::Url {
    context.url(&format!("repos/{repository}/statuses/{head}"))
}

/// Where check runs are made.
pub(super) fn check_url(context: &Context, repository: &RepoName) -> reqwest::Url {
    context.url(&format!("repos/{repository}/check-runs"))
}

/// One more status; GitHub shows the last of a name.
pub(super) async fn set_status(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    head: &str,
    body: &Value,
) -> Result<(), GithubError> {
    let attempt = format!("set the status of {}", short(head));
    let url = status_url(context, repository, head);
    client.send(&attempt, Method::POST, &url, body, Repeat::Harmless).await.map(drop)
}

/// The check run of this name, made or brought up to date; `false` if a newer run has written it.
pub(super) async fn set_check(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    head: &str,
    body: &Value,
) -> Result<bool, GithubError> {
    let attempt = format!("make a check run of {}", short(head));
    let mut url = context.url(&format!("repos/{repository}/commits/{head}/check-runs"));
    url.query_pairs_mut()
        .append_pair("check_name", body["name"].as_str().unwrap_or_default())
        .append_pair("filter", "latest")
        .append_pair("per_page", "100");
    let listed = client
        .list(&attempt, &url, |mut page| match page.get_mut("check_runs").map(Value::take) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        })
        .await?;
    let order = |value: &Value| {
        let (run, count) = value.get("external_id")?.as_str()?.split_once('.')?;
        Some((run.parse::<u64>().ok()?, count.parse::<u64>().ok()?))
    };
    // Another app's check may have the same name; only what has our kind of number is ours.
    let own = listed.iter().filter(|check| check.get("name") == body.get("name"));
    let own = own.filter(|check| order(check).is_some()).max_by_key(|check| order(check));
    let (known, ours) = (own.and_then(order), order(body));
    if known.is_some() && ours.is_some() && known > ours {
        return Ok(false);
    }
    if let Some(id) = own.and_then(|check| check.get("id")?.as_u64()) {
        let mut url = check_url(context, repository);
        let path = format!("{}/{id}", url.path());
        url.set_path(&path);
        match client.send(&attempt, Method::PATCH, &url, body, Repeat::Harmless).await {
            Ok(_) => return Ok(true),
            // Another app's after all.
            Err(GithubError::Forbidden { .. } | GithubError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let url = check_url(context, repository);
    client.send(&attempt, Method::POST, &url, body, Repeat::Harmless).await.map(|_| true)
}

fn short(head: &str) -> &str {
    head.get(..7).unwrap_or(head)
}
