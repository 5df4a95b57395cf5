//! Requests to GitHub's API: who we are, how often we try, how long we wait, what a refusal means.
//!
//! Main type: [`Client`]. It knows no comment and no check. The token is sent to the API's own
//! address and nowhere else: redirects are followed by hand, and what lies elsewhere is fetched by a
//! client that has no token.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use super::GithubError;
use super::context::Context;
use crate::cancel::Cancel;
use crate::event::{Event, Events};
use crate::plan::Secret;

/// All waiting of one command together. A limit on requests lasts up to an hour, and no job should
/// sit that out; a secondary limit is over after a minute or two.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(300);
/// What GitHub asks to wait where it names no time for a secondary limit.
const SECONDARY_PAUSE: Duration = Duration::from_secs(60);
/// Doubled each time: 0.5 + 1 + 2 + 4 s.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u32 = 5;
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
/// A page of a hundred comments of 65,536 characters has 26 MB at most.
const MOST_ANSWER_BYTES: u64 = 32 * 1024 * 1024;
/// Of a hundred things each.
const MOST_PAGES: u32 = 100;
const MOST_REDIRECTS: u32 = 3;
const USER_AGENT: &str = concat!("bench-ci/", env!("CARGO_PKG_VERSION"));
const API_VERSION: &str = "2022-11-28";

/// GitHub's API, with one token.
pub(super) struct Client<'run> {
    /// Follows no redirects.
    api: reqwest::Client,
    /// Has no token and follows redirects.
    storage: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    events: &'run Events,
    cancel: &'run Cancel,
    waited: Cell<Duration>,
    /// What was read before, by address, so that reading it again costs GitHub nothing.
    known: RefCell<BTreeMap<String, (HeaderValue, Answer)>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Whether a request may be sent again when nobody knows whether it was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Twice is the same as once.
    Harmless,
    /// A second one would make a second thing; the caller looks what became of the first.
    MakesAnother,
}

impl<'run> Client<'run> {
    /// Opens no connection yet.
    pub(super) fn new(
        context: &Context,
        token: &Secret,
        events: &'run Events,
        cancel: &'run Cancel,
    ) -> Result<Self, GithubError> {
        let unusable = |cause: String| GithubError::Answer {
            attempt: "prepare requests to GitHub".to_owned(),
            cause,
        };
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| GithubError::Usage {
                what: "the token holds characters that no token has".to_owned(),
                hint: "is GITHUB_TOKEN one line, without quotes?",
            })?;
        authorization.set_sensitive(true);
        // A proxy cannot reach our own loopback, whatever the variables say.
        let local = context.api.host_str().is_some_and(is_loopback);
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(USER_AGENT)
                .connect_timeout(CONNECT)
                .timeout(ANSWER);
            if local { builder.no_proxy() } else { builder }
        };
        let api = builder().redirect(reqwest::redirect::Policy::none()).build();
        let storage =
            builder().redirect(reqwest::redirect::Policy::limited(MOST_REDIRECTS as usize)).build();
        Ok(Self {
            api: api.map_err(|error| unusable(in_words(&error)))?,
            storage: storage.map_err(|error| unusable(in_words(&error)))?,
            base: context.api.clone(),
            authorization,
            events,
            cancel,
            waited: Cell::default(),
            known: RefCell::default(),
        })
    }

    /// JSON of one page.
    pub(super) async fn get(&self, attempt: &str, url: &Url) -> Result<Value, GithubError> {
        json(attempt, &self.read(attempt, url).await?)
    }

    /// Every page of a list; `items` finds it in an answer.
    pub(super) async fn list(
        &self,
        attempt: &str,
        first: &Url,
        items: impl Fn(Value) -> Option<Vec<Value>>,
    ) -> Result<Vec<Value>, GithubError> {
        let mut all = Vec::new();
        let mut next = Some(first.clone());
        for _ in 0..MOST_PAGES {
            let Some(url) = next else { return Ok(all) };
            let answer = self.read(attempt, &url).await?;
            let page = items(json(attempt, &answer)?).ok_or_else(|| GithubError::Answer {
                attempt: attempt.to_owned(),
                cause: "it is no list".to_owned(),
            })?;
            all.extend(page);
            next = next_page(&answer.headers, &url);
            if next.as_ref().is_some_and(|next| next.origin() != self.base.origin()) {
                return Err(GithubError::Answer {
                    attempt: attempt.to_owned(),
                    cause: "its next page is at another address".to_owned(),
                });
            }
        }
        Ok(all)
    }

    /// One page as it is; unchanged since the last time costs a 304.
    async fn read(&self, attempt: &str, url: &Url) -> Result<Answer, GithubError> {
        let before = self.known.borrow().get(url.as_str()).cloned();
        let etag = before.as_ref().map(|(etag, _)| etag.clone());
        let answer =
            self.carry_out(attempt, Method::GET, url, None, etag, Repeat::Harmless).await?;
        if let (StatusCode::NOT_MODIFIED, Some((_, before))) = (answer.status, before) {
            return Ok(before);
        }
        let answer = succeeded(attempt, answer)?;
        if let Some(etag) = answer.headers.get(header::ETAG) {
            let known = (etag.clone(), answer.clone());
            self.known.borrow_mut().insert(url.as_str().to_owned(), known);
        }
        Ok(answer)
    }

    /// Sends JSON and expects success.
    pub(super) async fn send(
        &self,
        attempt: &str,
        method: Method,
        url: &Url,
        body: &Value,
        repeat: Repeat,
    ) -> Result<Value, GithubError> {
        let answer = self.carry_out(attempt, method, url, Some(body), None, repeat).await?;
        let answer = succeeded(attempt, answer)?;
        if answer.body.is_empty() { Ok(Value::Null) } else { json(attempt, &answer) }
    }

    /// Asks for it to be gone; it is well if it is gone already.
    pub(super) async fn delete(&self, attempt: &str, url: &Url) -> Result<(), GithubError> {
        let answer =
            self.carry_out(attempt, Method::DELETE, url, None, None, Repeat::Harmless).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(()),
            _ => succeeded(attempt, answer).map(drop),
        }
    }

    /// A file behind a redirect to another host, which must not see the token. `Ok(None)` if it has
    /// more than `most` bytes.
    pub(super) async fn download(
        &self,
        attempt: &str,
        url: &Url,
        most: u64,
    ) -> Result<Option<Vec<u8>>, GithubError> {
        let answer =
            self.carry_out(attempt, Method::GET, url, None, None, Repeat::Harmless).await?;
        if !answer.status.is_redirection() {
            let answer = succeeded(attempt, answer)?;
            return Ok((answer.body.len() as u64 <= most).then_some(answer.body));
        }
        let elsewhere = location(&answer.headers, url).ok_or_else(|| GithubError::Answer {
            attempt: attempt.to_owned(),
            cause: "a redirect to nowhere".to_owned(),
        })?;
        if elsewhere.scheme() != "https" && elsewhere.scheme() != self.base.scheme() {
            return Err(GithubError::Answer {
                attempt: attempt.to_owned(),
                cause: "a redirect to an address without encryption".to_owned(),
            });
        }
        let request = || self.storage.get(elsewhere.clone());
        match self.repeatedly(attempt, &elsewhere, Repeat::Harmless, most, request).await {
            Ok(answer) => Ok(Some(succeeded(attempt, answer)?.body)),
            Err(Failure::TooLong) => Ok(None),
            Err(Failure::Github(error)) => Err(error),
        }
    }

    async fn carry_out(
        &self,
        attempt: &str,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        etag: Option<HeaderValue>,
        repeat: Repeat,
    ) -> Result<Answer, GithubError> {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let request = || {
                let mut request = self
                    .api
                    .request(method.clone(), url.clone())
                    .header(header::AUTHORIZATION, self.authorization.clone())
                    .header(header::ACCEPT, "application/vnd.github+json")
                    .header("X-GitHub-Api-Version", API_VERSION);
                if let Some(etag) = &etag {
                    request = request.header(header::IF_NONE_MATCH, etag.clone());
                }
                match body {
                    Some(body) => request.json(body),
                    None => request,
                }
            };
            let answer = self.repeatedly(attempt, &url, repeat, MOST_ANSWER_BYTES, request).await;
            let answer = answer.map_err(|failure| match failure {
                Failure::Github(error) => error,
                Failure::TooLong => GithubError::Answer {
                    attempt: attempt.to_owned(),
                    cause: format!("it has more than {MOST_ANSWER_BYTES} bytes"),
                },
            })?;
            // A repository that was renamed: its old name leads to the new one, on the same host.
            match location(&answer.headers, &url) {
                Some(next)
                    if answer.status.is_redirection() && next.origin() == self.base.origin() =>
                {
                    url = next;
                }
                _ => return Ok(answer),
            }
        }
        Err(GithubError::Answer {
            attempt: attempt.to_owned(),
            cause: "it redirects in circles".to_owned(),
        })
    }

    /// Tries until there is an answer that another attempt would not change.
    async fn repeatedly(
        &self,
        attempt: &str,
        url: &Url,
        repeat: Repeat,
        most: u64,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Answer, Failure> {
        let mut attempts = 1;
        loop {
            let outcome = tokio::select! {
                outcome = once(request(), most) => outcome,
                reason = self.cancel.cancelled() => return Err(GithubError::Stopped(reason).into()),
            };
            let (wait, error) = match outcome {
                Ok(answer) => match troubles(&answer) {
                    None => return Ok(answer),
                    Some(Trouble::Limited(wait)) => {
                        let attempt = attempt.to_owned();
                        let waited = self.waited.get();
                        (wait, GithubError::RateLimited { attempt, wait, waited })
                    }
                    Some(Trouble::Failed(asked)) => {
                        let (attempt, status) = (attempt.to_owned(), answer.status.as_u16());
                        let error = GithubError::ServerFailed { attempt, status, attempts };
                        if repeat == Repeat::MakesAnother {
                            return Err(error.into());
                        }
                        (asked.unwrap_or_else(|| backoff(attempts)), error)
                    }
                },
                Err(Failed::TooLong) => return Err(Failure::TooLong),
                Err(Failed::NoAnswer(error)) => {
                    let failed = GithubError::Unreachable {
                        attempt: attempt.to_owned(),
                        host: url.host_str().unwrap_or_default().to_owned(),
                        cause: in_words(&error),
                        attempts,
                    };
                    let sent_nothing = error.is_connect() || error.is_builder();
                    if error.is_builder() || (repeat == Repeat::MakesAnother && !sent_nothing) {
                        return Err(failed.into());
                    }
                    (backoff(attempts), failed)
                }
            };
            if attempts >= ATTEMPTS_MAX || self.waited.get() + wait > WAIT_MAX {
                return Err(error.into());
            }
            self.wait(wait, &error).await?;
            attempts += 1;
        }
    }

    /// Waits, and says so if it is long.
    async fn wait(&self, wait: Duration, why: &GithubError) -> Result<(), GithubError> {
        if wait >= Duration::from_secs(5) {
            let message = format!("{why}; trying again in {} s", wait.as_secs());
            self.events.send(&Event::Warning { message });
        }
        self.waited.set(self.waited.get() + wait);
        self.pause(wait).await
    }

    /// Does nothing for a while, unless stopped.
    pub(super) async fn pause(&self, wait: Duration) -> Result<(), GithubError> {
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            reason = self.cancel.cancelled() => Err(GithubError::Stopped(reason)),
        }
    }

    /// Before another round after a failure that left open what happened.
    pub(super) async fn settle(&self, round: u32) -> Result<(), GithubError> {
        self.pause(backoff(round)).await
    }
}

/// Why there is no answer for the caller.
enum Failure {
    Github(GithubError),
    TooLong,
}

impl From<GithubError> for Failure {
    fn from(error: GithubError) -> Self {
        Failure::Github(error)
    }
}

/// Why one attempt brought no answer.
enum Failed {
    NoAnswer(reqwest::Error),
    TooLong,
}

async fn once(request: reqwest::RequestBuilder, most: u64) -> Result<Answer, Failed> {
    let mut response = request.send().await.map_err(Failed::NoAnswer)?;
    let (status, headers) = (response.status(), response.headers().clone());
    if response.content_length().is_some_and(|length| length > most) {
        return Err(Failed::TooLong);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failed::NoAnswer)? {
        // The length header may be absent or a lie.
        if (body.len() + chunk.len()) as u64 > most {
            return Err(Failed::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body })
}

/// What waiting may cure.
enum Trouble {
    /// Too many requests: how long to wait.
    Limited(Duration),
    /// GitHub is unwell: how long it asks to wait, if it does.
    Failed(Option<Duration>),
}

fn troubles(answer: &Answer) -> Option<Trouble> {
    let asked = retry_after(&answer.headers);
    match answer.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::FORBIDDEN => {
            let text = |name: &str| answer.headers.get(name).and_then(|text| text.to_str().ok());
            let number = |name: &str| text(name).and_then(|text| text.trim().parse::<u64>().ok());
            if asked.is_some() {
                return asked.map(Trouble::Limited);
            }
            if number("x-ratelimit-remaining") == Some(0)
                && let Some(reset) = number("x-ratelimit-reset")
            {
                // A second more, since the limit is over at the end of that second.
                let wait = reset.saturating_sub(now(&answer.headers)) + 1;
                return Some(Trouble::Limited(Duration::from_secs(wait)));
            }
            let words = message(answer).to_ascii_lowercase();
            let limited = answer.status == StatusCode::TOO_MANY_REQUESTS
                || ["secondary rate limit", "rate limit exceeded", "abuse detection"]
                    .iter()
                    .any(|said| words.contains(said));
            limited.then_some(Trouble::Limited(SECONDARY_PAUSE))
        }
        StatusCode::REQUEST_TIMEOUT => Some(Trouble::Failed(asked)),
        status if status.is_server_error() => Some(Trouble::Failed(asked)),
        _ => None,
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp();
    Some(Duration::from_secs(u64::try_from(until).ok()?.saturating_sub(now(headers))))
}

/// Seconds since 1970 by GitHub's own clock, which its reset times are of; ours where it is not said.
fn now(headers: &HeaderMap) -> u64 {
    let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok());
    date.and_then(|date| u64::try_from(date.timestamp()).ok()).unwrap_or_else(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    })
}

/// Twice as long each time, and a little different in each process, so that two that failed together
/// do not try together.
fn backoff(attempts: u32) -> Duration {
    let pause = FIRST_PAUSE * 2_u32.saturating_pow(attempts.clamp(1, 6) - 1);
    pause + pause * (std::process::id() % 97) / 400
}

fn succeeded(attempt: &str, answer: Answer) -> Result<Answer, GithubError> {
    let (attempt, message) = (attempt.to_owned(), message(&answer));
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED => Err(GithubError::Unauthorized { attempt, message }),
        StatusCode::FORBIDDEN => Err(GithubError::Forbidden { attempt, message }),
        StatusCode::NOT_FOUND => Err(GithubError::NotFound { attempt }),
        StatusCode::UNPROCESSABLE_ENTITY => Err(GithubError::Unprocessable { attempt, message }),
        status => Err(GithubError::Refused { attempt, status: status.as_u16(), message }),
    }
}

fn json(attempt: &str, answer: &Answer) -> Result<Value, GithubError> {
    serde_json::from_slice(&answer.body).map_err(|error| GithubError::Answer {
        attempt: attempt.to_owned(),
        cause: format!("no JSON at line {}, column {}", error.line(), error.column()),
    })
}

/// GitHub's own words about a refusal, short and harmless.
fn message(answer: &Answer) -> String {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let mut words: Vec<&str> = value.get("message").and_then(Value::as_str).into_iter().collect();
    let errors = value.get("errors").and_then(Value::as_array).into_iter().flatten();
    words.extend(errors.filter_map(|error| {
        error.get("message").and_then(Value::as_str).or_else(|| error.get("code")?.as_str())
    }));
    if words.is_empty() {
        return answer.status.canonical_reason().unwrap_or("no reason given").to_owned();
    }
    let words = words.join("; ");
    let plain = |c: char| if crate::report::is_invisible(c) { ' ' } else { c };
    words.chars().map(plain).take(200).collect()
}

/// `<https://…>; rel="next"`
fn next_page(headers: &HeaderMap, from: &Url) -> Option<Url> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| {
        link.split(';').skip(1).any(|word| matches!(word.trim(), "rel=\"next\"" | "rel=next"))
    })?;
    from.join(next.split(';').next()?.trim().strip_prefix('<')?.strip_suffix('>')?).ok()
}

fn location(headers: &HeaderMap, from: &Url) -> Option<Url> {
    const LOCATION: HeaderName = header::LOCATION;
    let url = from.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The error with its causes, without the address: that of a download holds a signature.
fn in_words(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    match words.pop() {
        Some(deepest) => deepest,
        None if error.is_timeout() => "it took too long".to_owned(),
        None => "the request failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_limit_is_told_from_a_token_that_may_not() {
        let wait = |answer: &Answer| match troubles(answer) {
            Some(Trouble::Limited(wait)) => Some(wait.as_secs()),
            _ => None,
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (said, expected) in [
            (answer(403, &[], r#"{"message":"Resource not accessible by integration"}"#), None),
            (answer(403, &[("x-ratelimit-remaining", "4999")], "{}"), None),
            (answer(403, &[("retry-after", "7")], "{}"), Some(7)),
            (answer(429, &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"), date], ""), Some(10)),
            (
                answer(
                    403,
                    &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111787"), date],
                    "{}",
                ),
                Some(11),
            ),
            (
                answer(403, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#),
                Some(60),
            ),
            (answer(429, &[], ""), Some(60)),
        ] {
            assert_eq!(wait(&said), expected, "{said:?}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let from = Url::parse("https://ghe.corp/api/v3/x?page=1").unwrap();
        let next = |link: &str| next_page(&answer(200, &[("link", link)], "").headers, &from);
        let both = "<https://a.b/x?page=1>; rel=\"prev\", <https://a.b/x?page=3>; rel=\"next\"";
        assert_eq!(next(both).unwrap().as_str(), "https://a.b/x?page=3");
        assert_eq!(next("<https://a.b/x?page=1>; rel=\"first\""), None);
        assert_eq!(next("nonsense"), None);
    }
}
