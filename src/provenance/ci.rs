//! What GitHub Actions says about the job.
//!
//! Main type: [`CiContext`]. It trusts variables for what they say and looks into the event's
//! payload only where they say it wrong (of a pull request `GITHUB_SHA` is a merge commit) or not at
//! all (what a change started from).

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
    /// Number of the pull request. After another workflow's end it is GitHub's word for a branch of the
    /// repository itself; of a fork GitHub does not say it.
    pub pull_request: Option<u64>,
    /// What the change started from: of a push the commit before it, of a pull request and in the merge
    /// queue the head of the base branch at that time, which need not be the merge base.
    pub base_commit: Option<String>,
    /// The branch that the base is on; of a push the branch itself.
    pub base_branch: Option<String>,
    /// `owner/name` of the repository that the code comes from: of a pull request from a fork, the
    /// fork. An empty name is a fork that was deleted meanwhile.
    pub head_repository: Option<String>,
    /// Number of the workflow run.
    pub run_id: Option<u64>,
    /// 1, or more where the run was started again.
    pub run_attempt: Option<u64>,
    /// Name of the job in its workflow.
    pub job: Option<String>,
    /// Where people look at it, such as `https://github.com`, without a slash at its end.
    pub server_url: Option<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// GitHub limits a payload to 25 MB; more than that is not one.
const LARGEST_PAYLOAD_BYTES: u64 = 26_000_000;

/// Of a branch or repository, in bytes. Git has no branch with a longer name than a path may have.
const LONGEST_NAME: usize = 1024;

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
        let number = |name: &str| variable(name).and_then(|text| text.parse().ok());
        let mut context = Self {
            is_github: true,
            head_repository: variable("GITHUB_REPOSITORY"),
            repository: variable("GITHUB_REPOSITORY"),
            run_id: number("GITHUB_RUN_ID"),
            run_attempt: number("GITHUB_RUN_ATTEMPT"),
            job: variable("GITHUB_JOB"),
            server_url: variable("GITHUB_SERVER_URL")
                .map(|url| url.trim_end_matches('/').to_owned()),
            event,
            ..Self::default()
        };
        let payload = || read_payload(variable("GITHUB_EVENT_PATH"));
        // GITHUB_HEAD_REF is set for the pull_request events alone, review and target included.
        let is_pull_request = head_ref.is_some()
            || context.event.as_deref().is_some_and(|event| event.starts_with("pull_request"));
        if is_pull_request {
            context.base_branch = variable("GITHUB_BASE_REF");
            context.pull_request(sha, head_ref, ref_name, payload());
        } else if context.event.as_deref() == Some("workflow_run") {
            context.workflow_run(sha, ref_name, payload());
        } else if is_tag {
            context.tag = ref_name;
            context.commit = sha;
            if context.event.as_deref() == Some("push") {
                context.push(payload());
            }
        } else {
            context.branch = ref_name;
            context.commit = sha;
            match context.event.as_deref() {
                Some("merge_group") => context.merge_group(payload()),
                Some("push") => context.push(payload()),
                _ => {}
            }
        }
        Some(context)
    }

    /// `owner/name` of the fork that the code comes from; `None` for the repository itself, and where
    /// it is not known.
    #[must_use]
    pub fn fork(&self) -> Option<&str> {
        let (head, own) = (self.head_repository.as_deref()?, self.repository.as_deref()?);
        // GitHub's names know no case.
        (!head.eq_ignore_ascii_case(own)).then_some(head)
    }

    /// The page of the workflow run.
    #[must_use]
    pub fn run_page(&self) -> Option<String> {
        let server = self.server_url.as_deref().unwrap_or("https://github.com");
        Some(format!("{server}/{}/actions/runs/{}", self.repository.as_ref()?, self.run_id?))
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
                let said = Said(&payload);
                self.commit = said.commit("/pull_request/head/sha");
                self.branch = self.branch.take().or_else(|| said.name("/pull_request/head/ref"));
                self.base_commit = said.commit("/pull_request/base/sha");
                self.base_branch =
                    said.name("/pull_request/base/ref").or_else(|| self.base_branch.take());
                self.pull_request = said
                    .number("/pull_request/number")
                    .or_else(|| said.number("/number"))
                    .or(self.pull_request);
                self.head_repository = match payload.pointer("/pull_request/head/repo") {
                    // GitHub's way to say that the fork is gone.
                    Some(Value::Null) => Some(String::new()),
                    _ => said.name("/pull_request/head/repo/full_name"),
                };
                if self.commit.is_none() {
                    self.notes.push(
                        "the event's payload names no head commit of the pull request".to_owned(),
                    );
                }
            }
            Err(reason) => {
                self.head_repository = None;
                self.notes
                    .push(format!("the head commit of the pull request is not known: {reason}"));
            }
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
        let (payload, reason) = match payload {
            Ok(payload) => (payload, "the payload does not say".to_owned()),
            Err(reason) => (Value::Null, reason),
        };
        let said = Said(&payload);
        self.commit = said.commit("/workflow_run/head_sha");
        if self.commit.is_none() {
            self.notes.push(format!(
                "the commit that the finished workflow ran on is not known ({reason}); \
                 the default branch's stands instead"
            ));
            self.commit = sha;
            self.branch = ref_name;
            self.head_repository = None;
            return;
        }
        self.branch = said.name("/workflow_run/head_branch");
        self.head_repository = said.name("/workflow_run/head_repository/full_name");
        // Empty for a fork. Of several with one head nobody can say which is meant.
        let pulls = payload.pointer("/workflow_run/pull_requests").and_then(Value::as_array);
        if let Some([pull]) = pulls.map(Vec::as_slice)
            && Said(pull).commit("/head/sha") == self.commit
        {
            let pull = Said(pull);
            self.pull_request = pull.number("/number");
            self.base_commit = pull.commit("/base/sha");
            self.base_branch = pull.name("/base/ref");
        }
    }

    /// What was pushed to a branch, or a new tag.
    fn push(&mut self, payload: Result<Value, String>) {
        // Nothing of it is needed to know what was pushed, so that one that is missing is no news.
        let Ok(payload) = payload else { return };
        let said = Said(&payload);
        self.base_commit = said.commit("/before");
        // Of a new branch or tag: the branch that its commit is on already.
        let grown_from = said
            .name("/base_ref")
            .and_then(|full| full.strip_prefix("refs/heads/").map(str::to_owned));
        self.base_branch = match self.base_commit {
            Some(_) => self.branch.clone(),
            None => grown_from,
        };
    }

    fn merge_group(&mut self, payload: Result<Value, String>) {
        self.pull_request = self.branch.as_deref().and_then(queued_number);
        self.base_branch = self.branch.as_deref().and_then(queued_base).map(str::to_owned);
        let Ok(payload) = payload else { return };
        let said = Said(&payload);
        self.base_commit = said.commit("/merge_group/base_sha");
        if let Some(full) = said.name("/merge_group/base_ref") {
            self.base_branch = Some(full.strip_prefix("refs/heads/").unwrap_or(&full).to_owned());
        }
    }
}

/// What a payload says, as far as it can be what it claims to be. GitHub writes it, but a runner that
/// is not GitHub's may hand on another.
struct Said<'a>(&'a Value);

impl Said<'_> {
    /// A commit's hash; `None` also for the one of zeros, which means that there is none.
    fn commit(&self, pointer: &str) -> Option<String> {
        let hash = self.0.pointer(pointer)?.as_str()?;
        let is_hash = matches!(hash.len(), 40 | 64)
            && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
            && hash.bytes().any(|digit| digit != b'0');
        is_hash.then(|| hash.to_ascii_lowercase())
    }

    /// Of a branch or repository.
    fn name(&self, pointer: &str) -> Option<String> {
        let name = self.0.pointer(pointer)?.as_str()?;
        let is_name =
            !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(char::is_control);
        is_name.then(|| name.to_owned())
    }

    /// Of a pull request: they begin at 1.
    fn number(&self, pointer: &str) -> Option<u64> {
        self.0.pointer(pointer)?.as_u64().filter(|number| *number > 0)
    }
}

/// The branch that a branch of the merge queue is for: `gh-readonly-queue/main/pr-12-<base commit>`.
fn queued_base(branch: &str) -> Option<&str> {
    Some(branch.strip_prefix("gh-readonly-queue/")?.rsplit_once("/pr-")?.0)
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
