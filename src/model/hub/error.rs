//! Every way in which the Hub can fail to give a file.
//!
//! Main types: [`HubError`], what was asked and what went wrong, and [`HubFault`], the latter
//! alone. No message ever holds the token or a signed address.

use std::path::PathBuf;
use std::time::Duration;

use super::ask::{BadName, HubAsk, RepoKind};
use crate::model::error::quoted_list;

/// A file that the Hub did not give.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {ask}: {fault}")]
pub struct HubError {
    /// What was asked for.
    pub ask: HubAsk,
    /// What went wrong.
    pub fault: HubFault,
}

/// What went wrong with the Hub.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HubFault {
    /// What the user typed cannot be a name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT is not an address: {reason}")]
    BadEndpoint {
        /// Why not.
        reason: String,
    },
    /// 401 without a token.
    #[error("the Hub wants a token (status 401{})", said(message))]
    TokenMissing {
        /// The Hub's own words.
        message: Option<String>,
    },
    /// 401 or 403 with a token.
    #[error("the Hub refuses the token (status {status}{})", said(message))]
    TokenRefused {
        /// 401 or 403.
        status: u16,
        /// The Hub's own words.
        message: Option<String>,
    },
    /// The repository's terms must be accepted first.
    #[error("the repository is gated (status {status}{})", said(message))]
    Gated {
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
        /// The Hub's own words.
        message: Option<String>,
    },
    /// 403 without a token.
    #[error("the Hub forbids it (status 403{})", said(message))]
    Forbidden {
        /// The Hub's own words.
        message: Option<String>,
    },
    /// No such repository, or a private one.
    #[error("there is no such repository, or it is private (status {status})")]
    RepoNotFound {
        /// 404, or 401 as the Hub answers without a token.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// No such branch, tag or commit.
    #[error("there is no such revision in the repository (status 404)")]
    RevisionNotFound,
    /// No such file in the repository.
    #[error("there is no such file in the repository (status 404)")]
    FileNotFound {
        /// Files of the repository with names like it, the nearest first; may be empty.
        nearest: Vec<String>,
    },
    /// Not found, and the Hub does not say what.
    #[error("the Hub knows no such repository, revision or file (status 404)")]
    NotFound,
    /// 429, again and again.
    #[error(
        "the Hub limits our rate (status 429) after {attempts} attempts{}",
        asked_to_wait(*asked_wait, *waited, *wait_max)
    )]
    RateLimited {
        /// How often it was asked.
        attempts: u32,
        /// The last `Retry-After`; `None` if there was none.
        asked_wait: Option<Duration>,
        /// How long was waited between the attempts.
        waited: Duration,
        /// How long is waited in all.
        wait_max: Duration,
    },
    /// 5xx, again and again.
    #[error("the Hub failed with status {status}{} in each of {attempts} attempts", said(message))]
    ServerFailed {
        /// The last status.
        status: u16,
        /// How often it was asked.
        attempts: u32,
        /// The Hub's own words.
        message: Option<String>,
    },
    /// A status that no Hub should give.
    #[error("the Hub answered with status {status}{}", said(message))]
    Status {
        /// The status.
        status: u16,
        /// The Hub's own words.
        message: Option<String>,
    },
    /// The answer lacks what every Hub sends.
    #[error("the answer is not a Hub's: it has no {missing} header")]
    NotAHub {
        /// The missing header.
        missing: &'static str,
    },
    /// No connection.
    #[error("the Hub cannot be reached after {attempts} attempts: {cause}")]
    Unreachable {
        /// How often it was tried.
        attempts: u32,
        /// The system's own words.
        cause: String,
        /// Variables that send requests through a proxy; empty if none is set.
        proxy_variables: Vec<String>,
    },
    /// 407.
    #[error("the proxy wants a user and password (status 407)")]
    ProxyRefused {
        /// Variables that name the proxy; may be empty.
        proxy_variables: Vec<String>,
    },
    /// No answer in time.
    #[error("the Hub did not answer within {} s", limit.as_secs())]
    TimedOut {
        /// How long was waited for each answer.
        limit: Duration,
    },
    /// The transfer ended early, again and again.
    #[error(
        "the transfer was cut after {received_bytes} of {} bytes, {attempts} attempts in all: {cause}",
        expected_bytes.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string())
    )]
    Cut {
        /// Bytes on disk when it was given up.
        received_bytes: u64,
        /// The file's size; `None` if nobody said.
        expected_bytes: Option<u64>,
        /// How often it was tried.
        attempts: u32,
        /// How the last attempt ended.
        cause: String,
    },
    /// The size is not the announced one.
    #[error("the size is wrong: {found_bytes} bytes{}, expected the announced {announced_bytes}",
        if *at_least { " or more" } else { "" })]
    WrongSize {
        /// What the Hub announced for the file.
        announced_bytes: u64,
        /// What it then offered or sent.
        found_bytes: u64,
        /// Whether it was stopped at that number.
        at_least: bool,
    },
    /// The bytes are not the announced ones.
    #[error("the content is wrong: its sha-256 is \"{found}\", expected \"{expected}\"")]
    WrongDigest {
        /// The digest that the Hub announced.
        expected: String,
        /// The digest of what came.
        found: String,
    },
    /// The parts of a split model are of different commits.
    #[error("the revision moved from commit \"{from}\" to \"{to}\" between two parts of the model")]
    RevisionMoved {
        /// Commit of the earlier part.
        from: String,
        /// Commit of the later part.
        to: String,
    },
    /// `HF_HUB_OFFLINE` is set and the file is not in the cache.
    #[error("HF_HUB_OFFLINE is set and \"{}\" does not have it", place.display())]
    Offline {
        /// Where it was looked for.
        place: PathBuf,
    },
    /// Another process is fetching the same file.
    #[error(
        "another process has held \"{}\" for {} s",
        lock.display(),
        limit.as_secs()
    )]
    Locked {
        /// The lock's file.
        lock: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// hf-hub failed in a way that has no name here.
    #[error("{0}")]
    Client(String),
}

impl HubError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let HubAsk { repo, file, revision, endpoint, .. } = &self.ask;
        Some(match &self.fault {
            HubFault::RepoNotFound { .. }
            | HubFault::RevisionNotFound
            | HubFault::FileNotFound { .. }
            | HubFault::NotFound
            | HubFault::Offline { .. }
            | HubFault::Unreachable { .. }
            | HubFault::TimedOut { .. }
                if self.ask.kind == RepoKind::Dataset =>
            {
                "use --dataset FILE, or --dataset builtin, which needs no download".to_owned()
            }
            HubFault::BadName(_) => BadName::HINT.to_owned(),
            HubFault::BadEndpoint { .. } => {
                "set HF_ENDPOINT to an address such as https://huggingface.co, or unset it".to_owned()
            }
            HubFault::TokenMissing { .. } | HubFault::Forbidden { .. } => {
                "set HF_TOKEN to a token that may read the repository; in CI, from a secret".to_owned()
            }
            HubFault::TokenRefused { .. } => {
                "check that the token in HF_TOKEN is valid and may read the repository; \
                 unset HF_TOKEN for a public one"
                    .to_owned()
            }
            HubFault::Gated { with_token: false, .. } => format!(
                "accept the terms at {endpoint}/{repo}, then set HF_TOKEN to a token of that account"
            ),
            HubFault::Gated { with_token: true, .. } => format!(
                "accept the terms at {endpoint}/{repo} with the account that HF_TOKEN belongs to"
            ),
            HubFault::RepoNotFound { with_token: false, .. } => {
                format!("check --hf-repo \"{repo}\"; for a private repository set HF_TOKEN")
            }
            HubFault::RepoNotFound { with_token: true, .. } => format!(
                "check --hf-repo \"{repo}\", and that the token in HF_TOKEN may read it"
            ),
            HubFault::RevisionNotFound => format!(
                "check --hf-revision \"{}\"; without it the branch main is used",
                revision.as_deref().unwrap_or("main")
            ),
            HubFault::FileNotFound { nearest } if !nearest.is_empty() => {
                format!("the repository has {}", quoted_list(nearest))
            }
            HubFault::FileNotFound { .. } => {
                format!("check --hf-file \"{file}\" against the files at {endpoint}/{repo}")
            }
            HubFault::NotFound => format!(
                "check --hf-repo \"{repo}\", --hf-file \"{file}\", --hf-revision and HF_ENDPOINT"
            ),
            HubFault::RateLimited { .. } => {
                "wait a while, set HF_TOKEN for a higher limit, or keep the cache folder between runs"
                    .to_owned()
            }
            HubFault::ServerFailed { .. } | HubFault::Status { .. } => {
                "run again later; what was already fetched is kept and resumed".to_owned()
            }
            HubFault::NotAHub { .. } => format!(
                "check that HF_ENDPOINT \"{endpoint}\" is a Hub and that no proxy answers in its place"
            ),
            HubFault::Unreachable { proxy_variables, .. } if !proxy_variables.is_empty() => format!(
                "requests go through the proxy in {}; check it, or name the host in NO_PROXY",
                proxy_variables.join(", ")
            ),
            HubFault::Unreachable { .. } | HubFault::TimedOut { .. } => format!(
                "check the network and HF_ENDPOINT \"{endpoint}\"; or use --model FILE, or --model synthetic"
            ),
            HubFault::ProxyRefused { proxy_variables } if !proxy_variables.is_empty() => format!(
                "put user and password into {} as http://user:password@host:port",
                proxy_variables.join(", ")
            ),
            HubFault::ProxyRefused { .. } => "set HTTPS_PROXY to http://user:password@host:port".to_owned(),
            HubFault::Cut { .. } => "run again: what arrived is kept and resumed".to_owned(),
            HubFault::WrongSize { .. } | HubFault::WrongDigest { .. } => {
                "nothing was kept; run again, and if it stays wrong, look for a proxy or mirror \
                 that changes files"
                    .to_owned()
            }
            HubFault::RevisionMoved { .. } => {
                "run again, or pin a commit with --hf-revision".to_owned()
            }
            HubFault::Offline { .. } => {
                "unset HF_HUB_OFFLINE once to fetch it, or use --model FILE, or --model synthetic"
                    .to_owned()
            }
            HubFault::Locked { lock, .. } => format!(
                "wait for the other process to finish; if there is none, delete \"{}\"",
                lock.display()
            ),
            HubFault::Client(_) => return None,
        })
    }
}

fn said(message: &Option<String>) -> String {
    message.as_ref().map(|message| format!(": \"{message}\"")).unwrap_or_default()
}

fn asked_to_wait(asked: Option<Duration>, waited: Duration, wait_max: Duration) -> String {
    match asked {
        Some(asked) if waited.saturating_add(asked) > wait_max => format!(
            ", and asks to wait {} s where at most {} s are waited in all",
            asked.as_secs(),
            wait_max.as_secs()
        ),
        Some(asked) => format!(", each time asking to wait {} s", asked.as_secs()),
        None => String::new(),
    }
}
