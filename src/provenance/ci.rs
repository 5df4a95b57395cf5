//! What GitHub Actions says about the job.
//!
//! Main type: [`CiContext`]. It trusts variables for what they say and looks into the event's
//! payload only where they say it wrong: of a pull request `GITHUB_SHA` is a merge commit.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::Env;

/// The job, as its environment and its event describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CiContext {
    /// Whether this is a GitHub Actions job at all.
    pub is_github: bool,
    /// `owner/name` of the repository that the workflow runs in: of a pull request its base.
    pub repository: Option<String>,
    /// Such as `push`, `pull_request`, `schedule`.
    pub event: Option<String>,
    /// Branch under test.
    pub branch: Option<String>,
    /// Tag the job was started for.
    pub tag: Option<String>,
    /// Commit under test.
    pub commit: Option<String>,
    /// GitHub's merge of a pull request into its base.
    pub merge_commit: Option<String>,
    /// Number of the pull request.
    pub pull_request: Option<u64>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// GitHub limits a payload to 25 MB; more than that is not one.
const LARGEST_PAYLOAD_BYTES: u64 = 26_000_000;

impl CiContext {
    /// Reads `GITHUB_*` and, for the events that need it, the payload; `None` where none is set.
    #[must_use]
    pub fn read(env: Env<'_>) -> Option<Self> {
        let variable = |name: &str| {
            env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let event = variable("GITHUB_EVENT_NAME");
        let sha = variable("GITHUB_SHA");
        let head_ref = variable("GITHUB_HEAD_REF");
        let ref_name = variable("GITHUB_REF_NAME").or_else(|| {
            let full = variable("GITHUB_REF")?;
            ["refs/heads/", "refs/tags/", "refs/pull/"]
                .iter()
                .find_map(|prefix| full.strip_prefix(prefix).map(str::to_owned))
        });
        if sha.is_none() && head_ref.is_none() && ref_name.is_none() {
            return None;
        }
        let is_tag = variable("GITHUB_REF_TYPE").as_deref() == Some("tag")
            || variable("GITHUB_REF").is_some_and(|full| full.starts_with("refs/tags/"));
        let mut context = Self {
            is_github: true,
            repository: variable("GITHUB_REPOSITORY"),
            event,
            ..Self::default()
        };
        let payload = || read_payload(variable("GITHUB_EVENT_PATH"));
        // GITHUB_HEAD_REF is set for the pull_request events alone, review and target included.
        let is_pull_request = head_ref.is_some()
            || context.event.as_deref().is_some_and(|event| event.starts_with("pull_request"));
        if is_pull_request {
            context.pull_request(sha, head_ref, ref_name, payload());
        } else if context.event.as_deref() == Some("workflow_run") {
            context.workflow_run(sha, ref_name, payload());
        } else if is_tag {
            context.tag = ref_name;
            context.commit = sha;
        } else {
            if context.event.as_deref() == Some("merge_group") {
                context.pull_request = ref_name.as_deref().and_then(queued_number);
            }
            context.branch = ref_name;
            context.commit = sha;
        }
        Some(context)
    }

    fn pull_request(
        &mut self,
        sha: Option<String>,
        head_ref: Option<String>,
        ref_name: Option<String>,
        payload: Result<Value, String>,
    ) {
        // For pull_request_target GITHUB_SHA and GITHUB_REF_NAME are the base branch's.
        let targets_base = self.event.as_deref() == Some("pull_request_target");
        let merge_number = ref_name
            .as_deref()
            .and_then(|name| name.strip_suffix("/merge"))
            .and_then(|number| number.parse().ok());
        self.pull_request = merge_number;
        if !targets_base && merge_number.is_some() {
            self.merge_commit.clone_from(&sha);
        }
        self.branch = head_ref;
        match payload {
            Ok(payload) => {
                let text = |pointer: &str| {
                    payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
                };
                self.commit = text("/pull_request/head/sha");
                self.branch = self.branch.take().or_else(|| text("/pull_request/head/ref"));
                self.pull_request = payload
                    .pointer("/pull_request/number")
                    .or_else(|| payload.pointer("/number"))
                    .and_then(Value::as_u64)
                    .or(self.pull_request);
                if self.commit.is_none() {
                    self.notes.push(
                        "the event's payload names no head commit of the pull request".to_owned(),
                    );
                }
            }
            Err(reason) => self
                .notes
                .push(format!("the head commit of the pull request is not known: {reason}")),
        }
        if self.commit.is_none() && self.merge_commit.is_none() && !targets_base {
            self.commit = sha;
        }
    }

    /// A job that another workflow's end has started: `GITHUB_SHA` is the default branch's, and
    /// what was built is in the payload.
    fn workflow_run(
        &mut self,
        sha: Option<String>,
        ref_name: Option<String>,
        payload: Result<Value, String>,
    ) {
        let text = |pointer: &str| {
            payload
                .as_ref()
                .ok()
                .and_then(|payload| payload.pointer(pointer))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        self.commit = text("/workflow_run/head_sha");
        self.branch = text("/workflow_run/head_branch");
        if self.commit.is_none() {
            let reason = payload
                .as_ref()
                .err()
                .cloned()
                .unwrap_or_else(|| "the payload does not say".to_owned());
            self.notes.push(format!(
                "the commit that the finished workflow ran on is not known ({reason}); \
                 the default branch's stands instead"
            ));
            self.commit = sha;
            self.branch = ref_name;
        }
    }
}

/// The number in the branch of a merge queue: `gh-readonly-queue/main/pr-12-<base commit>`.
fn queued_number(branch: &str) -> Option<u64> {
    let (_, after) = branch.strip_prefix("gh-readonly-queue/")?.rsplit_once("/pr-")?;
    after.split('-').next()?.parse().ok()
}

/// The payload of the job's event; why not, as a fragment.
pub(crate) fn event_payload(env: Env<'_>) -> Result<Value, String> {
    read_payload(env("GITHUB_EVENT_PATH").filter(|path| !path.trim().is_empty()))
}

fn read_payload(path: Option<String>) -> Result<Value, String> {
    let path = path.ok_or("GITHUB_EVENT_PATH is not set")?;
    let path = Path::new(&path);
    let shown = path.display();
    let file =
        std::fs::File::open(path).map_err(|error| format!("cannot open \"{shown}\": {error}"))?;
    let mut text = Vec::new();
    file.take(LARGEST_PAYLOAD_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| format!("cannot read \"{shown}\": {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("\"{shown}\" is no JSON: {error}"))
}

/// Label of the runner; `None` outside a job.
///
/// Hosted runners are called `GitHub Actions 12`, with another number each time: reports of one
/// kind of machine would never share a label. Their image and architecture do.
pub(super) fn runner_label(env: Env<'_>) -> Option<String> {
    let variable = |name: &str| {
        env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let name = variable("RUNNER_NAME")?;
    let is_numbered =
        ["GitHub Actions ", "Hosted Agent"].iter().any(|hosted| name.starts_with(hosted));
    match variable("ImageOS").or_else(|| variable("RUNNER_OS")) {
        Some(image) if is_numbered => {
            let architecture =
                variable("RUNNER_ARCH").map(|arch| format!(" {arch}")).unwrap_or_default();
            Some(format!("GitHub-hosted {image}{architecture}"))
        }
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_changing_names_of_hosted_runners_are_replaced() {
        let label = |variables: &[(&str, &str)]| {
            runner_label(&|name| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(label(&[]), None);
        assert_eq!(label(&[("RUNNER_NAME", "")]), None);
        assert_eq!(label(&[("RUNNER_NAME", "gpu-1"), ("ImageOS", "x")]).as_deref(), Some("gpu-1"));
        let hosted =
            [("RUNNER_NAME", "GitHub Actions 12"), ("ImageOS", "ubuntu24"), ("RUNNER_ARCH", "X64")];
        assert_eq!(label(&hosted).as_deref(), Some("GitHub-hosted ubuntu24 X64"));
        assert_eq!(label(&hosted[..1]).as_deref(), Some("GitHub Actions 12"));
    }

    #[test]
    fn the_merge_queue_names_its_pull_request() {
        assert_eq!(queued_number("gh-readonly-queue/main/pr-12-abc"), Some(12));
        assert_eq!(queued_number("gh-readonly-queue/feat/x/pr-7-abc"), Some(7));
        assert_eq!(queued_number("main"), None);
    }
}
