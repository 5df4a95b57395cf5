//! The HTTP side: clients, bounded retries, and what a refusal means.
//!
//! Main type: [`Hub`]. It keeps no files.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::ask::{HubAsk, RepoKind};
use super::metadata::{Again, Attempt};
use super::{HubFault, HubLimits};
use crate::cancel::Cancel;
use crate::event::{Event, Events};
use crate::model::ModelError;
use crate::model::environment::Environment;

/// Characters of the Hub's own words that a message takes over.
const MESSAGE_CHARACTERS_MAX: usize = 200;
/// How we name ourselves to the Hub.
const USER_AGENT: &str = concat!("bench-ci/", env!("CARGO_PKG_VERSION"));

/// A Hub, ready to be asked.
pub(super) struct Hub<'run> {
    pub(super) environment: &'run Environment,
    pub(super) events: &'run Events,
    pub(super) cancel: &'run Cancel,
    /// The crate that knows the Hub's API, its cache and its deduplicating storage.
    pub(super) crate_client: hf_hub::HFClient,
    /// Follows redirects; drops the token where they leave the Hub.
    following: reqwest::Client,
    /// Stops at redirects.
    stopping: reqwest::Client,
    base: Url,
}

impl<'run> Hub<'run> {
    /// Opens no connection yet.
    pub(super) fn new(
        ask: &HubAsk,
        environment: &'run Environment,
        events: &'run Events,
        cancel: &'run Cancel,
    ) -> Result<Self, ModelError> {
        let limits = &environment.hub_limits;
        // A proxy cannot reach our own loopback, whatever the variables say.
        let local = ask.base.host_str().is_some_and(is_loopback);
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(limits.connect)
                .read_timeout(limits.idle);
            if local { builder.no_proxy() } else { builder }
        };
        let failed = |error: reqwest::Error| ask.failed(HubFault::Client(in_words(&error)));
        let following = builder().build().map_err(failed)?;
        let stopping =
            builder().redirect(reqwest::redirect::Policy::none()).build().map_err(failed)?;
        let mut crate_client = hf_hub::HFClient::builder()
            .endpoint(ask.base.as_str().trim_end_matches('/'))
            .cache_dir(&environment.hub_cache)
            .client(following.clone())
            // The retries, their limits and their words are ours.
            .retry_max_attempts(0);
        if let Some(token) = &environment.hub_token {
            crate_client = crate_client.token(token.expose());
        }
        let crate_client = crate_client
            .build()
            .map_err(|error| ask.failed(HubFault::Client(error.to_string())))?;
        let base = ask.base.clone();
        Ok(Self { environment, events, cancel, crate_client, following, stopping, base })
    }

    pub(super) fn limits(&self) -> &HubLimits {
        &self.environment.hub_limits
    }

    pub(super) fn has_token(&self) -> bool {
        self.environment.hub_token.is_some()
    }

    pub(super) fn warn(&self, message: String) {
        self.events.send(&Event::Warning { message });
    }

    /// A request with the token, if the address is the Hub's own. GET follows redirects.
    pub(super) fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        let client = if method == Method::GET { &self.following } else { &self.stopping };
        let request = client.request(method, url.clone());
        match &self.environment.hub_token {
            Some(token) if url.origin() == self.base.origin() => {
                request.bearer_auth(token.expose())
            }
            _ => request,
        }
    }

    /// What the Hub's API says about a model's repository; `None` if it did not answer in time.
    pub(super) async fn info(
        &self,
        ask: &HubAsk,
        revision: Option<&str>,
    ) -> Option<hf_hub::HFResult<hf_hub::repository::ModelInfo>> {
        let (owner, name) = hf_hub::split_id(&ask.repo);
        (ask.kind == RepoKind::Model).then_some(())?;
        let repository = self.crate_client.model(owner, name);
        let asked = repository.info().maybe_revision(revision).send();
        tokio::time::timeout(self.limits().answer, asked).await.ok()
    }

    /// Tries until it works, it cannot work, or it was tried so often.
    pub(super) async fn repeatedly<T, F: Future<Output = Result<T, Attempt>>>(
        &self,
        ask: &HubAsk,
        attempts_max: u32,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, ModelError> {
        let mut attempts = 1;
        let mut waited = Duration::ZERO;
        loop {
            let outcome = tokio::select! {
                outcome = attempt() => outcome,
                reason = self.cancel.cancelled() => return Err(ModelError::Cancelled(reason)),
            };
            let Attempt { fault, again } = match outcome {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match self.pause(again, attempts, waited) {
                Some(pause) if attempts < attempts_max => {
                    self.wait(pause).await?;
                    waited += pause;
                }
                _ => return Err(ask.failed(self.counted(fault, attempts, waited)).into()),
            }
            attempts += 1;
        }
    }

    /// How long to wait before another attempt; `None` if there should be none.
    pub(super) fn pause(&self, again: Again, attempts: u32, waited: Duration) -> Option<Duration> {
        let limits = self.limits();
        match again {
            Again::Never => None,
            Again::AfterPause => Some(limits.pause * 2u32.saturating_pow(attempts.min(8) - 1)),
            // The Hub may ask for more than any clock holds.
            Again::After(asked) => {
                (waited.saturating_add(asked) <= limits.wait_max).then_some(asked)
            }
        }
    }

    pub(super) async fn wait(&self, pause: Duration) -> Result<(), ModelError> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            reason = self.cancel.cancelled() => Err(ModelError::Cancelled(reason)),
        }
    }

    /// The fault with the number of attempts in it, and how long was waited between them.
    pub(super) fn counted(&self, mut fault: HubFault, made: u32, pauses: Duration) -> HubFault {
        if let HubFault::RateLimited { waited, .. } = &mut fault {
            *waited = pauses;
        }
        if let HubFault::RateLimited { attempts, .. }
        | HubFault::ServerFailed { attempts, .. }
        | HubFault::Unreachable { attempts, .. }
        | HubFault::Cut { attempts, .. } = &mut fault
        {
            *attempts = made;
        }
        fault
    }

    /// A request that brought no answer.
    pub(super) fn attempt_failed(&self, error: &reqwest::Error) -> Attempt {
        if error.is_builder() || error.is_redirect() {
            return Attempt::fatal(HubFault::Client(in_words(error)));
        }
        if error.is_timeout() && !error.is_connect() {
            let fault = HubFault::TimedOut { limit: self.limits().answer };
            return Attempt { fault, again: Again::AfterPause };
        }
        let cause = in_words(error);
        let proxy_variables = match self.base.host_str() {
            Some(host) if is_loopback(host) => Vec::new(),
            _ => self.environment.proxy_variables.clone(),
        };
        if cause.contains("proxy authorization required") {
            return Attempt::fatal(HubFault::ProxyRefused { proxy_variables });
        }
        let fault = HubFault::Unreachable { attempts: 0, cause, proxy_variables };
        Attempt { fault, again: Again::AfterPause }
    }

    /// An answer that is a refusal.
    pub(super) fn refused(&self, response: &Response) -> Attempt {
        let headers = response.headers();
        let status = response.status();
        let message = self.message(headers);
        let with_token = self.has_token();
        let from_hub = response.url().origin() == self.base.origin();
        let code = headers.get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or("");
        let number = status.as_u16();
        let fault = match (number, code) {
            (401 | 403, "GatedRepo") => HubFault::Gated { status: number, with_token, message },
            (401 | 404, "RepoNotFound") => HubFault::RepoNotFound { status: number, with_token },
            (404, "RevisionNotFound") => HubFault::RevisionNotFound,
            (404, "EntryNotFound") => HubFault::FileNotFound { nearest: Vec::new() },
            (404, _) => HubFault::NotFound,
            // The storage behind the Hub never sees the token: there it is a stale address.
            (401 | 403, _) if !from_hub => {
                let fault = HubFault::Status { status: number, message };
                return Attempt { fault, again: Again::AfterPause };
            }
            (401, _) if !with_token => HubFault::TokenMissing { message },
            (403, _) if !with_token => HubFault::Forbidden { message },
            (401 | 403, _) => HubFault::TokenRefused { status: number, message },
            (407, _) => {
                HubFault::ProxyRefused { proxy_variables: self.environment.proxy_variables.clone() }
            }
            (429, _) => {
                let asked_wait = retry_after(headers);
                let wait_max = self.limits().wait_max;
                let waited = Duration::ZERO;
                let fault = HubFault::RateLimited { attempts: 0, asked_wait, waited, wait_max };
                let again = asked_wait.map_or(Again::AfterPause, Again::After);
                return Attempt { fault, again };
            }
            (408 | 500..=599, _) => {
                let fault = HubFault::ServerFailed { status: number, attempts: 0, message };
                let again = match retry_after(headers) {
                    // A failing server's wish is heard, but small enough not to end the attempts.
                    Some(asked) => Again::After(asked.min(self.limits().wait_max / 8)),
                    None => Again::AfterPause,
                };
                return Attempt { fault, again };
            }
            _ => HubFault::Status { status: number, message: message.or_else(|| reason(status)) },
        };
        Attempt::fatal(fault)
    }

    /// The Hub's own words, made safe to print.
    fn message(&self, headers: &HeaderMap) -> Option<String> {
        let text = String::from_utf8_lossy(headers.get("x-error-message")?.as_bytes()).into_owned();
        // A server that repeats what it was sent must not make us print it.
        let text = match &self.environment.hub_token {
            Some(token) => text.replace(token.expose(), "***"),
            None => text,
        };
        let text: String = text
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .take(MESSAGE_CHARACTERS_MAX)
            .collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }
}

fn reason(status: StatusCode) -> Option<String> {
    status.canonical_reason().map(str::to_owned)
}

/// The pause that was asked for, in whole seconds; the form with a date is not used by the Hub.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A transport error without its address (which may be signed), down to its innermost cause.
pub(super) fn in_words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut dns = false;
    let mut refused = String::new();
    while let Some(source) = cause.source() {
        cause = source;
        let text = cause.to_string();
        dns |= text.contains("dns error");
        if text.contains("proxy authorization required") {
            refused.clone_from(&text);
        }
    }
    if !refused.is_empty() {
        return refused;
    }
    let innermost = match error.source() {
        None => "no answer".to_owned(),
        Some(_) => cause.to_string(),
    };
    if dns { format!("its name cannot be resolved: {innermost}") } else { innermost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_no_clock_holds_is_not_waited_for() {
        let environment = Environment::from_variables(|_| None);
        let ask = HubAsk::new(RepoKind::Model, "o/n", "f", None, &environment).unwrap();
        let (events, cancel) = (Events::default(), Cancel::never());
        let hub = Hub::new(&ask, &environment, &events, &cancel).unwrap();
        // As after an earlier, shorter one.
        let (asked, waited) = (Duration::from_secs(u64::MAX), Duration::from_secs(1));
        assert_eq!(hub.pause(Again::After(asked), 2, waited), None);
        let wait_max = Duration::from_secs(60);
        let asked_wait = Some(asked);
        let fault = HubFault::RateLimited { attempts: 2, asked_wait, waited, wait_max };
        assert!(fault.to_string().contains("asks to wait 18446744073709551615 s"), "{fault}");
    }
}
