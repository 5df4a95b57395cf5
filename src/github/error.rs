//! Every way in which GitHub cannot be told, each with what to do about it.
//!
//! Main type: [`GithubError`]. No variant holds the token.

use std::time::Duration;

use crate::cancel::StopReason;
use crate::exit::ExitCode;

/// Why something was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GithubError {
    /// What was asked for makes no sense here.
    #[error("{what}")]
    Usage {
        /// In which way.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// No variable holds a token.
    #[error("cannot {attempt}: there is no token")]
    NoToken {
        /// Such as `comment on the pull request`.
        attempt: &'static str,
    },
    /// 401.
    #[error("cannot {attempt}: GitHub does not know the token (401: {message})")]
    Unauthorized {
        /// What was asked of GitHub.
        attempt: String,
        /// GitHub's own words, short and harmless.
        message: String,
    },
    /// 403 that is no rate limit: the token may not.
    #[error("cannot {attempt}: the token may not do that (403: {message})")]
    Forbidden {
        /// What was asked of GitHub.
        attempt: String,
        /// GitHub's own words.
        message: String,
    },
    /// 404.
    #[error(
        "cannot {attempt}: GitHub knows no such thing, or does not show it to this token (404)"
    )]
    NotFound {
        /// What was asked of GitHub.
        attempt: String,
    },
    /// 422.
    #[error("cannot {attempt}: GitHub refuses it (422: {message})")]
    Unprocessable {
        /// What was asked of GitHub.
        attempt: String,
        /// GitHub's own words.
        message: String,
    },
    /// Any other refusal.
    #[error("cannot {attempt}: GitHub answered {status} ({message})")]
    Refused {
        /// What was asked of GitHub.
        attempt: String,
        /// HTTP status.
        status: u16,
        /// GitHub's own words.
        message: String,
    },
    /// The limit on requests, for longer than can be waited.
    #[error(
        "cannot {attempt}: GitHub's limit on requests was reached, and lasts another {} s; \
         {} s were waited, {} s are the most",
        wait.as_secs(), waited.as_secs(), super::client::WAIT_MAX.as_secs()
    )]
    RateLimited {
        /// What was asked of GitHub.
        attempt: String,
        /// How long GitHub asks to wait.
        wait: Duration,
        /// How long was waited before.
        waited: Duration,
    },
    /// 5xx, again and again.
    #[error("cannot {attempt}: GitHub failed with {status} {attempts} times")]
    ServerFailed {
        /// What was asked of GitHub.
        attempt: String,
        /// HTTP status of the last answer.
        status: u16,
        /// How often it was tried.
        attempts: u32,
    },
    /// No answer, again and again.
    #[error("cannot {attempt}: no answer from {host} in {attempts} attempts ({cause})")]
    Unreachable {
        /// What was asked of GitHub.
        attempt: String,
        /// Where.
        host: String,
        /// Why.
        cause: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// An answer that is not GitHub's.
    #[error("cannot {attempt}: the answer makes no sense ({cause})")]
    Answer {
        /// What was asked of GitHub.
        attempt: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Others write the same comment all the time.
    #[error("cannot {attempt}: it was changed by others {rounds} times meanwhile")]
    Contended {
        /// What was asked of GitHub.
        attempt: String,
        /// How often it was tried.
        rounds: u32,
    },
    /// Ctrl-C, or a cancelled job.
    #[error("stopped while telling GitHub")]
    Stopped(StopReason),
}

impl GithubError {
    /// The same, where the caller has tried so often.
    pub(super) fn after(mut self, rounds: u32) -> Self {
        if let Self::ServerFailed { attempts, .. } | Self::Unreachable { attempts, .. } = &mut self
        {
            *attempts = rounds;
        }
        self
    }

    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            GithubError::Usage { .. } => ExitCode::Usage,
            GithubError::Stopped(reason) => (*reason).into(),
            _ => ExitCode::Publish,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            GithubError::Usage { hint, .. } => hint,
            GithubError::NoToken { .. } => {
                "give the action the input `github-token: ${{ github.token }}`, or a step of your own `env: GITHUB_TOKEN: ${{ github.token }}` (BENCH_CI_GITHUB_TOKEN goes before it); --dry-run needs none"
            }
            GithubError::Unauthorized { .. } => {
                "is the action's input `github-token`, or GITHUB_TOKEN (or BENCH_CI_GITHUB_TOKEN), complete, and has it not expired? A job's token ends with the job"
            }
            GithubError::Forbidden { .. } => {
                "the job needs `permissions: pull-requests: write` (statuses: write for --status, checks: write for --check, actions: read for artifacts); of a fork's pull request, comment from a workflow_run job"
            }
            GithubError::NotFound { .. } => {
                "is the repository right, and has the job `permissions: pull-requests: write` and `actions: read`? GitHub says 404 for what a token may not see"
            }
            GithubError::Unprocessable { .. } => {
                "`bench-ci comment --dry-run` shows what would be sent; GitHub also refuses what it takes for spam"
            }
            GithubError::RateLimited { .. } => "run the step again later; the reports are kept",
            GithubError::ServerFailed { .. } | GithubError::Unreachable { .. } => {
                "run the step again; https://www.githubstatus.com says whether GitHub is well. The reports are kept"
            }
            GithubError::Refused { .. } | GithubError::Answer { .. } => {
                "do GITHUB_API_URL and the proxy lead to GitHub?"
            }
            GithubError::Contended { .. } => {
                "comment once, from one job that needs all the others, or give each its own --key"
            }
            GithubError::Stopped(_) => return None,
        };
        Some(hint.to_owned())
    }
}
