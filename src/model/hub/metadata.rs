//! What the Hub says about a file before it is fetched: commit, etag, size.
//!
//! Main function: [`ask_for`]. hf-hub 1.0 has `get_file_metadata` for this, but it follows the
//! redirect to the Hub's storage, whose answer has none of the Hub's headers, and so fails for
//! every large file; hence our own HEAD request, which stops at the redirect.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, LOCATION};
use reqwest::{Method, Response, Url};

use super::ask::{HubAsk, is_plain_name};
use super::client::Hub;
use super::{HubError, HubFault};
use crate::model::ModelError;
use crate::model::digest::is_sha256;
use crate::model::error::nearest_names;

/// Redirects that are followed before the answer.
const REDIRECTS_MAX: usize = 10;
/// Names that a hint lists at most.
const NEAREST_COUNT: usize = 3;

/// What the Hub says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The commit that the revision stands for.
    pub(super) commit: String,
    /// The content's name in the cache: for large files their sha-256.
    pub(super) etag: String,
    /// The digest, if the etag is one.
    pub(super) sha256: Option<String>,
    /// The announced size; `None` if nobody said.
    pub(super) size_bytes: Option<u64>,
    /// Whether the Hub keeps it in its deduplicating storage.
    pub(super) xet: bool,
}

/// Asks the Hub about the file.
pub(super) async fn ask_for(
    hub: &Hub<'_>,
    ask: &HubAsk,
    attempts: u32,
) -> Result<Metadata, ModelError> {
    let found = hub.repeatedly(ask, attempts, || headers(hub, ask)).await;
    match found {
        Ok(found) => found.into_metadata().map_err(|fault| ask.failed(fault).into()),
        Err(ModelError::Hub(error)) if error.fault == HubFault::NotFound => {
            Err(name_what_is_missing(hub, *error).await.into())
        }
        Err(ModelError::Hub(mut error)) => {
            if let HubFault::FileNotFound { nearest } = &mut error.fault {
                *nearest = files_like(hub, ask).await.unwrap_or_default();
            }
            Err(error.into())
        }
        Err(error) => Err(error),
    }
}

/// The headers seen on the way, the first of each name.
#[derive(Debug, Default)]
struct Found {
    commit: Option<String>,
    etag: Option<String>,
    size_bytes: Option<u64>,
    xet: bool,
}

impl Found {
    fn add(&mut self, headers: &HeaderMap, is_redirect: bool) {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
        self.commit = self.commit.take().or_else(|| text("x-repo-commit"));
        self.etag = self
            .etag
            .take()
            .or_else(|| text("x-linked-etag"))
            .or_else(|| text(ETAG.as_str()))
            .filter(|etag| !etag.is_empty());
        self.xet |= headers.contains_key("x-xet-hash");
        // A redirect's own length is that of its body, not the file's.
        let length = || if is_redirect { None } else { text(CONTENT_LENGTH.as_str()) };
        self.size_bytes =
            self.size_bytes.or_else(|| text("x-linked-size").or_else(length)?.parse().ok());
    }

    fn is_enough(&self) -> bool {
        self.commit.is_some() && self.etag.is_some()
    }

    fn into_metadata(self) -> Result<Metadata, HubFault> {
        let commit = self
            .commit
            .filter(|commit| is_plain_name(commit))
            .ok_or(HubFault::NotAHub { missing: "X-Repo-Commit" })?;
        let etag = self.etag.ok_or(HubFault::NotAHub { missing: "ETag" })?;
        let etag = etag.strip_prefix("W/").unwrap_or(&etag).trim_matches('"').to_owned();
        // It becomes a file's name, so it must be able to be one.
        if !is_plain_name(&etag) {
            return Err(HubFault::NotAHub { missing: "usable ETag" });
        }
        let sha256 = is_sha256(&etag).then(|| etag.to_ascii_lowercase());
        Ok(Metadata { commit, etag, sha256, size_bytes: self.size_bytes, xet: self.xet })
    }
}

/// One HEAD request, with its redirects as far as they are needed.
async fn headers(hub: &Hub<'_>, ask: &HubAsk) -> Result<Found, Attempt> {
    let mut url = ask.resolve_url();
    let mut found = Found::default();
    for hop in 0..=REDIRECTS_MAX {
        let request = hub
            .request(Method::HEAD, &url)
            .header(ACCEPT_ENCODING, "identity")
            .timeout(hub.limits().answer);
        let response = request.send().await.map_err(|error| hub.attempt_failed(&error))?;
        let status = response.status();
        if status.is_redirection() || status.is_success() {
            found.add(response.headers(), status.is_redirection());
        } else if hop > 0 && (found.is_enough() || status.is_client_error()) {
            // The storage behind a redirect may refuse HEAD; what the Hub itself said must do.
            return Ok(found);
        } else {
            return Err(hub.refused(&response));
        }
        if (found.is_enough() && found.size_bytes.is_some()) || !status.is_redirection() {
            return Ok(found);
        }
        url = redirected(&url, &response).ok_or_else(|| {
            let status = status.as_u16();
            Attempt::fatal(HubFault::Status { status, message: None })
        })?;
    }
    let message = Some(format!("more than {REDIRECTS_MAX} redirects"));
    Err(Attempt::fatal(HubFault::Status { status: 302, message }))
}

fn redirected(from: &Url, response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(location).ok()
}

/// A failed attempt, and whether another may help.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) fault: HubFault,
    pub(super) again: Again,
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// It would end the same way.
    Never,
    /// After our own pause.
    AfterPause,
    /// After a pause that the Hub asked for.
    After(Duration),
}

impl Attempt {
    pub(super) fn fatal(fault: HubFault) -> Self {
        Self { fault, again: Again::Never }
    }
}

/// Finds out which of repository, revision and file does not exist, if the Hub's API tells.
async fn name_what_is_missing(hub: &Hub<'_>, error: HubError) -> Box<HubError> {
    let ask = &error.ask;
    if let Some(nearest) = files_like(hub, ask).await {
        return ask.failed(HubFault::FileNotFound { nearest });
    }
    let fault = match hub.info(ask, None).await {
        Some(Ok(_)) => HubFault::RevisionNotFound,
        // Only an answer in the Hub's own manner tells; any web server says 404.
        Some(Err(hf_hub::HFError::RepoNotFound { context: Some(context), .. }))
            if context.error_code.is_some() || context.server_message.is_some() =>
        {
            HubFault::RepoNotFound { status: 404, with_token: hub.has_token() }
        }
        _ => HubFault::NotFound,
    };
    ask.failed(fault)
}

/// Names of the repository's files that are like the wanted one; `None` if it cannot be listed.
async fn files_like(hub: &Hub<'_>, ask: &HubAsk) -> Option<Vec<String>> {
    let info = hub.info(ask, Some(ask.revision())).await?.ok()?;
    let names: Vec<String> =
        info.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename).collect();
    let models: Vec<String> =
        names.iter().filter(|name| name.ends_with(".gguf")).cloned().collect();
    let names = if models.is_empty() { names } else { models };
    Some(nearest_names(&ask.file, names.into_iter(), NEAREST_COUNT))
}
