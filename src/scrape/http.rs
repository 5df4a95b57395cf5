//! The HTTP client for everything but the load: health, metrics, identity.
//!
//! Main type: [`ControlPlane`]. Plain request and answer with a limit on time and size; it does not
//! retry, does not follow redirects (they would carry the key elsewhere), and is never used on the
//! measured path.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::plan::{Credentials, HttpVersion, Secret, Transport};
use crate::transport::{Place, ServerUrl, tls};

/// Far above any metrics page or model list; a stream that never ends is cut here.
const MOST_BYTES: usize = 16 << 20;

/// A client for one server. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct ControlPlane {
    client: reqwest::Client,
    root: String,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, at most 16 MiB of it.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// A header cannot be sent. The value is not shown, as it may be a secret.
    #[error("header \"{name}\" has a name or value that cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// The client cannot be made.
    #[error("the client cannot be made")]
    Client(#[source] reqwest::Error),
    /// The URL names no server, or its certificates cannot be had. Found earlier by whoever plans.
    #[error("{0}")]
    Way(String),
    /// No answer in time.
    #[error("no answer within {} s", limit.as_secs_f64())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// The request failed. The URL is not shown, as it may hold a password.
    #[error("{}", innermost(.0))]
    Request(#[source] reqwest::Error),
}

impl HttpError {
    /// Whether the limit was reached.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, HttpError::Timeout { .. })
    }

    /// Whether there was not even a connection: refused, no route, no such host.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(self, HttpError::Request(error) if error.is_connect())
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        match self {
            HttpError::Request(error) => tls_cause(error).and_then(|cause| tls::in_words(cause).1),
            _ => None,
        }
    }
}

/// reqwest's own message says only that sending failed; the reason is at the end of the chain.
fn innermost(error: &reqwest::Error) -> String {
    if let Some(cause) = tls_cause(error) {
        return tls::in_words(cause).0;
    }
    let mut source: &dyn std::error::Error = error;
    while let Some(next) = source.source() {
        source = next;
    }
    source.to_string()
}

/// What TLS has against the connection. An `io::Error` is not asked for its source but for what it
/// wraps.
fn tls_cause(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

impl ControlPlane {
    /// For a server that we started ourselves, on this machine.
    ///
    /// Its identity is proven by its process, so a self-signed certificate is accepted.
    ///
    /// # Errors
    /// If the key cannot be sent in a header.
    pub fn of_child(base_url: &str, api_key: Option<&Secret>) -> Result<Self, HttpError> {
        Self::new(base_url, api_key, &[], &Transport::default().to_child())
    }

    /// For a server that is already running.
    ///
    /// # Errors
    /// If the key or a header cannot be sent, or certificates cannot be loaded.
    pub fn of_external(
        base_url: &str,
        credentials: &Credentials,
        transport: &Transport,
    ) -> Result<Self, HttpError> {
        Self::new(base_url, credentials.api_key.as_ref(), &credentials.headers, transport)
    }

    fn new(
        base_url: &str,
        api_key: Option<&Secret>,
        headers: &[(String, Secret)],
        transport: &Transport,
    ) -> Result<Self, HttpError> {
        let url = ServerUrl::parse(base_url)
            .map_err(|problem| HttpError::Way(format!("no URL of a server: {problem:?}")))?;
        // The same way as the load: HTTP_PROXY must not divert what goes there.
        let mut builder = reqwest::Client::builder()
            .default_headers(header_map(api_key, headers)?)
            .user_agent(concat!("bench-ci/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true);
        if let Some(proxy) = &transport.proxy {
            builder = builder.proxy(through(proxy).map_err(HttpError::Client)?);
        }
        if let Place::Unix { path } = &url.place {
            builder = builder.unix_socket(path.clone());
        }
        builder = match (transport.http_version, url.secure) {
            (HttpVersion::Http2, _) => builder.http2_prior_knowledge(),
            (HttpVersion::Auto, true) => builder,
            (HttpVersion::Http1, _) | (HttpVersion::Auto, false) => builder.http1_only(),
        };
        builder = if url.secure {
            let config =
                tls::client_config(transport).map_err(|error| HttpError::Way(error.to_string()))?;
            builder.tls_backend_preconfigured((*config).clone())
        } else {
            // Loading the system's certificates takes milliseconds that nobody needs here.
            builder.tls_certs_only([])
        };
        let client = builder.build().map_err(HttpError::Client)?;
        Ok(Self { client, root: url.root() })
    }

    /// The server's root, such as `http://127.0.0.1:8080`, without `/v1` and without a slash at the end.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// `GET` of a path below the root, such as `/health`, answered within `limit`, body included.
    ///
    /// # Errors
    /// If there is no answer. Any status is an answer.
    pub async fn get(&self, path: &str, limit: Duration) -> Result<Answer, HttpError> {
        self.exchange(self.client.get(format!("{}{path}", self.root)), limit).await
    }

    /// `POST` of a JSON body to a path below the root, such as `/tokenize`, as [`ControlPlane::get`].
    ///
    /// # Errors
    /// If there is no answer. Any status is an answer.
    pub async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        self.exchange(self.client.post(format!("{}{path}", self.root)).json(body), limit).await
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        limit: Duration,
    ) -> Result<Answer, HttpError> {
        let exchange = async {
            let mut response =
                request.send().await.map_err(|error| HttpError::Request(error.without_url()))?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let mut body = Vec::new();
            while let Some(chunk) =
                response.chunk().await.map_err(|error| HttpError::Request(error.without_url()))?
            {
                let room = MOST_BYTES - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == MOST_BYTES {
                    break;
                }
            }
            Ok(Answer { status, headers, body })
        };
        tokio::time::timeout(limit, exchange).await.unwrap_or(Err(HttpError::Timeout { limit }))
    }
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand, since the client's headers hold the key.
        formatter.debug_struct("ControlPlane").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Answer {
    /// The body as text; bytes that are not UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `None` if it is not.
    #[must_use]
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// `error.message` of a JSON error body, at most 200 characters; `None` if there is none.
    #[must_use]
    pub fn error_message(&self) -> Option<String> {
        let body = self.json()?;
        let error = body.get("error")?;
        let message = error.get("message").unwrap_or(error).as_str()?;
        Some(message.chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

fn header_map(
    api_key: Option<&Secret>,
    headers: &[(String, Secret)],
) -> Result<HeaderMap, HttpError> {
    let mut map = HeaderMap::new();
    if let Some(key) = api_key {
        let value = sensitive(&format!("Bearer {}", key.expose()));
        let name = || "Authorization".to_owned();
        map.insert(AUTHORIZATION, value.ok_or_else(|| HttpError::Header { name: name() })?);
    }
    for (name, value) in headers {
        let refused = || HttpError::Header { name: name.clone() };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        map.insert(header, sensitive(value.expose()).ok_or_else(refused)?);
    }
    Ok(map)
}

fn through(proxy: &crate::plan::Proxy) -> Result<reqwest::Proxy, reqwest::Error> {
    let way = reqwest::Proxy::all(format!("http://{}", proxy.authority()))?;
    let secret = proxy.authorization.as_ref().and_then(|secret| sensitive(secret.expose()));
    Ok(match secret {
        Some(secret) => way.custom_http_auth(secret),
        None => way,
    })
}

fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_cannot_be_sent_is_refused_and_not_shown() {
        let key = Secret::new("line\nbreak".to_owned());
        let error = ControlPlane::of_child("http://127.0.0.1:1", Some(&key)).expect_err("refused");
        assert!(!format!("{error} {error:?}").contains("break"));
        let key = Secret::new("hidden".to_owned());
        let control = ControlPlane::of_child("http://127.0.0.1:1", Some(&key)).expect("sendable");
        assert!(!format!("{control:?}").contains("hidden"));
    }
}
