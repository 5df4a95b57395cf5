//! The HTTP client of what runs beside the run: a request, an answer, limits on time and size.
//!
//! Main type: [`Client`]. It follows no redirects, which would carry a password elsewhere, and shows
//! neither headers nor the query of an address. Whether to try again is the caller's.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{RequestBuilder, Url};

use crate::plan::prometheus::Destination;

/// Far above a thousand points of twenty series.
const MOST_BYTES: usize = 16 << 20;

/// Of an answer's own words in a message.
const MOST_WORDS: usize = 200;

/// For one destination. Cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    authorization: Option<HeaderValue>,
    /// For messages.
    pub(super) url: String,
}

/// What was answered, whatever the status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The kind of its content, without parameters; empty where it does not say.
    pub(super) kind: String,
    pub(super) body: Vec<u8>,
    location: Option<String>,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence(pub(super) String);

impl Client {
    /// Opens no connection yet.
    pub(super) fn new(at: &Destination) -> Result<Self, String> {
        let url = Url::parse(&at.url).map_err(|error| error.to_string())?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("bench-ci/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none());
        // A proxy cannot reach our own loopback, whatever the variables say.
        if url.host_str().is_some_and(is_loopback) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // Loading the system's certificates takes time that nobody needs here.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| innermost(&error))?;
        let authorization = at.authorization.as_ref().map(|secret| {
            let mut value = HeaderValue::try_from(secret.expose())
                .expect("what makes no header was refused when it was read");
            value.set_sensitive(true);
            value
        });
        Ok(Self { http, authorization, url: at.url.clone() })
    }

    /// Sends it, and reads the answer to its end, all within `limit`.
    pub(super) async fn exchange(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Answer, Silence> {
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        };
        let exchange = async {
            let failed = |error: reqwest::Error| Silence(innermost(&error.without_url()));
            let mut response = request.send().await.map_err(failed)?;
            let text = |name| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.to_owned())
            };
            let kind: Option<String> = text(CONTENT_TYPE);
            let kind = kind.as_deref().and_then(|kind| kind.split(';').next()).unwrap_or_default();
            let kind = kind.trim().to_ascii_lowercase();
            let (status, location) = (response.status().as_u16(), text(LOCATION));
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(failed)? {
                if body.len() + chunk.len() > MOST_BYTES {
                    return Err(Silence(format!("its answer has more than {MOST_BYTES} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, kind, body, location })
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer,
            Err(_late) => Err(Silence(format!("no answer within {} s", limit.as_secs_f64()))),
        }
    }
}

impl Answer {
    /// `answered 404: not found`, with the words of the answer as far as they are plain.
    pub(super) fn in_words(&self) -> String {
        let mut words = format!("answered {}", self.status);
        if (300..400).contains(&self.status) {
            let to = self.location.as_deref().unwrap_or("nowhere");
            let to = to.split(['?', '#']).next().unwrap_or_default();
            words.push_str(&format!(", a redirect to \"{}\", which is not followed", plain(to)));
            return words;
        }
        if let Some(said) = self.said() {
            words.push_str(&format!(": {said}"));
        }
        words
    }

    /// What a person wrote into the answer; `None` where it is a page, or nothing.
    fn said(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body);
        let json: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let said = match &json {
            Some(value) => value["error"].as_str()?.to_owned(),
            None if self.kind == "text/html" || text.trim_start().starts_with('<') => return None,
            None => text.into_owned(),
        };
        Some(plain(&said)).filter(|said| !said.is_empty())
    }
}

/// In one line of bounded length.
pub(super) fn plain(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(MOST_WORDS).collect::<String>().trim().to_owned()
}

/// reqwest's own message says only that sending failed; the reason is at the end of the chain.
fn innermost(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
