//! The artifacts of a workflow run, downloaded with distrust.
//!
//! Main function: [`of_run`]. Names and sizes are looked at before anything is downloaded; what
//! arrives is looked into by [`super::intake`] and never touches the disk.

use std::collections::BTreeMap;

use serde_json::Value;

use super::GithubError;
use super::client::Client;
use super::context::{Context, RepoName};
use super::intake::{
    ARTIFACT_PREFIX, Expected, Intake, MOST_ARCHIVE_BYTES, MOST_FILES, Refusal, take_in_archives,
};

/// One of the list.
struct Listed {
    id: u64,
    name: String,
    size: u64,
    expired: bool,
}

/// Everything that is called `bench-ci-…`.
pub(super) async fn of_run(
    client: &Client<'_>,
    context: &Context,
    repository: &RepoName,
    run: u64,
    expected: &Expected,
) -> Result<Intake, GithubError> {
    let mut url = context.url(&format!("repos/{repository}/actions/runs/{run}/artifacts"));
    url.query_pairs_mut().append_pair("per_page", "100");
    let attempt = format!("list the artifacts of the run {run}");
    let listed = client
        .list(&attempt, &url, |mut page| match page.get_mut("artifacts").map(Value::take) {
            Some(Value::Array(items)) => Some(items),
            _ => None,
        })
        .await?;
    // A job that was run again has uploaded once more under the same name: the newest counts.
    let mut newest: BTreeMap<String, Listed> = BTreeMap::new();
    for artifact in listed.iter().filter_map(read) {
        let known = newest.get(&artifact.name).map_or(0, |known| known.id);
        if artifact.name.starts_with(ARTIFACT_PREFIX) && artifact.id > known {
            newest.insert(artifact.name.clone(), artifact);
        }
    }
    let mut refused: Vec<(String, Refusal)> = Vec::new();
    let files = newest.len();
    if files > MOST_FILES {
        refused.push(("the rest".to_owned(), Refusal::TooManyFiles { files }));
    }
    let mut archives = Vec::new();
    for artifact in newest.into_values().take(MOST_FILES) {
        if artifact.expired {
            refused.push((artifact.name, Refusal::Expired));
        } else if artifact.size > MOST_ARCHIVE_BYTES {
            refused.push((artifact.name, Refusal::TooLarge));
        } else {
            let url =
                context.url(&format!("repos/{repository}/actions/artifacts/{}/zip", artifact.id));
            let attempt = format!("download the artifact {} of the run {run}", artifact.id);
            match client.download(&attempt, &url, MOST_ARCHIVE_BYTES).await {
                Ok(Some(bytes)) => archives.push((artifact.name, bytes)),
                Ok(None) => refused.push((artifact.name, Refusal::TooLarge)),
                Err(GithubError::Refused { status: 410, .. }) => {
                    refused.push((artifact.name, Refusal::Expired));
                }
                Err(error) => return Err(error),
            }
        }
    }
    let mut intake = take_in_archives(&archives, expected);
    for (name, refusal) in refused {
        intake.refuse(&name, refusal);
    }
    Ok(intake)
}

fn read(value: &Value) -> Option<Listed> {
    Some(Listed {
        id: value.get("id")?.as_u64()?,
        name: value.get("name")?.as_str()?.to_owned(),
        size: value.get("size_in_bytes").and_then(Value::as_u64).unwrap_or(0),
        expired: value.get("expired").and_then(Value::as_bool).unwrap_or(false),
    })
}
