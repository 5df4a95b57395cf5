//! Where requests go: address, path and headers, checked and pre-built before the run.
//!
//! Main type: [`HttpTarget`]. It opens no connection; `connection` does.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::ServerName;

use super::error::LoadError;
use super::http2::Template;
use crate::plan::{ClockChoice, Connections, HttpVersion, Secret, Transport};
use crate::transport::{Place, ServerUrl, UrlProblem, without_password};

/// Headers of ours, besides those that name the server; names as HTTP/2 wants them.
const OURS: [(&str, &str); 4] = [
    ("user-agent", concat!("bench-ci/", env!("CARGO_PKG_VERSION"))),
    ("accept", "text/event-stream, application/json"),
    ("accept-encoding", "identity"),
    ("content-type", "application/json"),
];

/// Headers that frame the message or the connection: ours alone.
const FRAMING_HEADERS: [&str; 6] =
    ["content-length", "transfer-encoding", "connection", "expect", "upgrade", "trailer"];

/// One HTTP server, the route that is asked, and the way there.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    url: ServerUrl,
    /// Path and query, starting with `/`.
    path: String,
    /// Name and value, in the order in which they are sent; framing headers excluded.
    headers: Vec<(String, Secret)>,
    transport: Transport,
}

impl HttpTarget {
    /// Reads a base URL such as `http://host:8000/v1` and the route below it.
    ///
    /// A path prefix is kept; one `/v1` at its end is not doubled: `http://h/x/v1` and `http://h/x`
    /// both ask `/x/v1/chat/completions`. A query is kept (some gateways want `?api-version=`).
    /// `headers` replace our own of the same name; `api_key` becomes `Authorization: Bearer …`
    /// unless `headers` hold one.
    ///
    /// # Errors
    ///
    /// A URL that is none, an unknown scheme, credentials inside the URL, or a header that would
    /// break the message.
    pub fn parse(
        base_url: &str,
        endpoint_path: &str,
        headers: &[(String, Secret)],
        api_key: Option<&Secret>,
    ) -> Result<Self, LoadError> {
        let shown = || without_password(base_url);
        let url = ServerUrl::parse(base_url).map_err(|problem| match problem {
            UrlProblem::Unreadable(cause) => LoadError::Url { url: shown(), cause },
            UrlProblem::Scheme(scheme) => LoadError::Scheme { url: shown(), scheme },
            UrlProblem::Credentials => LoadError::Credentials { url: shown() },
        })?;
        let mut path = format!("{}{endpoint_path}", url.prefix);
        if let Some(query) = &url.query {
            path.push('?');
            path.push_str(query);
        }
        let headers = all_headers(headers, api_key)?;
        Ok(Self { url, path, headers, transport: Transport::default() })
    }

    /// The same, reached this way.
    ///
    /// # Errors
    ///
    /// A proxy where there can be none: before a Unix socket, or between us and plain HTTP/2.
    pub fn through(self, transport: &Transport) -> Result<Self, LoadError> {
        if transport.proxy.is_some() {
            let cause = match (&self.url.place, self.url.secure, transport.http_version) {
                (Place::Unix { .. }, _, _) => "a Unix socket is not behind a proxy",
                (_, false, HttpVersion::Http2) => {
                    "a proxy does not pass on HTTP/2 over plain http, only over https"
                }
                _ => return Ok(Self { transport: transport.clone(), ..self }),
            };
            return Err(LoadError::Proxy { cause });
        }
        Ok(Self { transport: transport.clone(), ..self })
    }

    /// The way there.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The name that the server's certificate must hold; `None` without TLS.
    pub(super) fn tls_name(&self) -> Result<Option<ServerName<'static>>, LoadError> {
        if !self.url.secure {
            return Ok(None);
        }
        let host = self.url.host().to_owned();
        ServerName::try_from(host)
            .map(Some)
            .map_err(|error| LoadError::Url { url: self.url.root(), cause: error.to_string() })
    }

    /// The Unix socket; `None` where it is a host.
    pub(super) fn socket_path(&self) -> Option<&Path> {
        match &self.url.place {
            Place::Unix { path } => Some(path),
            Place::Tcp { .. } => None,
        }
    }

    /// What a proxy is asked before anything else; `None` where there is none, or where it passes on
    /// each request by itself.
    pub(super) fn tunnel(&self) -> Option<String> {
        let proxy = self.transport.proxy.as_ref().filter(|_| self.url.secure)?;
        let place = self.url.host_and_port();
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(secret) = &proxy.authorization {
            request.push_str(&format!("Proxy-Authorization: {}\r\n", secret.expose()));
        }
        request.push_str("\r\n");
        Some(request)
    }

    /// Which clock can stamp: the kernel stamps nothing that comes through a Unix socket.
    pub(super) fn clock(&self, wanted: ClockChoice) -> ClockChoice {
        if self.socket_path().is_some() { ClockChoice::User } else { wanted }
    }

    /// The path and query of the request line.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, as the `Host` header carries it (no port where it is the scheme's own).
    #[must_use]
    pub fn authority(&self) -> String {
        self.url.authority()
    }

    /// The text with every header value of ours taken out: a server may echo what it was sent.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let proxys = self.transport.proxy.iter().filter_map(|proxy| proxy.authorization.as_ref());
        for value in self.headers.iter().map(|(_, value)| value).chain(proxys) {
            let value = value.expose();
            for secret in [value, value.rsplit(' ').next().unwrap_or(value)] {
                // Shorter ones are words, and taking them out would garble the message.
                if secret.len() >= 4 {
                    text = text.replace(secret, "***");
                }
            }
        }
        text
    }

    /// Asks the resolver for the server, or for the proxy before it; blocks. Addresses in its order,
    /// never empty.
    pub(super) fn resolve(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let (host, port) = match (&self.transport.proxy, &self.url.place) {
            (Some(proxy), _) => (proxy.host.as_str(), proxy.port),
            (None, Place::Tcp { host, port }) => (host.as_str(), *port),
            (None, Place::Unix { .. }) => return Ok(Vec::new()),
        };
        let unknown = |source| LoadError::Resolve { host: host.to_owned(), source };
        let found = (host, port).to_socket_addrs().map_err(|error| unknown(Some(error)))?;
        let addresses: Vec<_> = found.collect();
        if addresses.is_empty() { Err(unknown(None)) } else { Ok(addresses) }
    }

    /// Everything of a request head that is the same for every request: up to, but without, the
    /// value of `Content-Length`, which is the last fixed header.
    pub(super) fn head_prefix(&self, connections: Connections) -> Vec<u8> {
        // A proxy that passes on plain requests is told whose they are.
        let proxy = self.transport.proxy.as_ref().filter(|_| !self.url.secure);
        let origin = proxy.map_or_else(String::new, |_| format!("http://{}", self.authority()));
        let mut head = format!("POST {origin}{} HTTP/1.1\r\n", self.path);
        let given = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let mut ours = |name: &str, value: &str| {
            if !given(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        ours("Host", &self.authority());
        for (name, value) in OURS {
            ours(name, value);
        }
        if let Some(secret) = proxy.and_then(|proxy| proxy.authorization.as_ref()) {
            ours("Proxy-Authorization", secret.expose());
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
        if connections == Connections::Fresh {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("Content-Length: ");
        head.into_bytes()
    }

    /// The same for HTTP/2.
    pub(super) fn template(&self) -> Result<Template, LoadError> {
        let mut headers = HeaderMap::new();
        for (name, value) in OURS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut given = HeaderMap::new();
        let mut authority = self.authority();
        for (name, value) in &self.headers {
            let refused = |cause| LoadError::Header { name: name.clone(), cause };
            if name.eq_ignore_ascii_case("host") {
                authority = value.expose().to_owned();
                continue;
            }
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| refused("its name has a character that no header name may have"))?;
            let mut value = HeaderValue::from_bytes(value.expose().as_bytes())
                .map_err(|_| refused("its value has a control character"))?;
            // Kept out of the table of headers that a compression attack could probe.
            value.set_sensitive(true);
            given.append(name, value);
        }
        for name in given.keys() {
            headers.remove(name);
        }
        headers.extend(given);
        let scheme = if self.url.secure { "https" } else { "http" };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(self.path.as_str())
            .build()
            .map_err(|error| LoadError::Url { url: self.url.root(), cause: error.to_string() })?;
        Ok(Template { uri, headers })
    }
}

fn all_headers(
    headers: &[(String, Secret)],
    api_key: Option<&Secret>,
) -> Result<Vec<(String, Secret)>, LoadError> {
    let mut all = headers.to_vec();
    let has_own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    if let Some(key) = api_key
        && !has_own
    {
        all.push(("Authorization".to_owned(), Secret::new(format!("Bearer {}", key.expose()))));
    }
    for (name, value) in &all {
        let refuse = |cause| LoadError::Header { name: name.escape_default().to_string(), cause };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(refuse("its name has a character that no header name may have"));
        }
        if FRAMING_HEADERS.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
            return Err(refuse("it frames the message and is set by bench-ci alone"));
        }
        if value.expose().bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
            return Err(refuse("its value has a control character"));
        }
    }
    Ok(all)
}

/// RFC 9110 `tchar`.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(base: &str, endpoint: &str) -> String {
        HttpTarget::parse(base, endpoint, &[], None).unwrap().path().to_owned()
    }

    #[test]
    fn prefixes_are_kept_and_v1_is_not_doubled() {
        let chat = "/v1/chat/completions";
        assert_eq!(path_of("http://host:8000/v1", chat), chat);
        assert_eq!(path_of("http://host:8000/v1/", chat), chat);
        assert_eq!(path_of("http://host:8000", chat), chat);
        assert_eq!(path_of("http://h/x/v1", chat), "/x/v1/chat/completions");
        assert_eq!(path_of("http://h/x", chat), "/x/v1/chat/completions");
        assert_eq!(path_of("http://h/v1", "/completion"), "/completion");
        assert_eq!(
            path_of("http://h/v1?api-version=2", chat),
            "/v1/chat/completions?api-version=2"
        );
        assert_eq!(path_of("http://h/av1", chat), "/av1/v1/chat/completions");
    }

    #[test]
    fn the_host_header_is_right() {
        let authority =
            |base: &str| HttpTarget::parse(base, "/completion", &[], None).unwrap().authority();
        assert_eq!(authority("http://localhost:8080"), "localhost:8080");
        assert_eq!(authority("http://localhost"), "localhost");
        assert_eq!(authority("http://[::1]:8080"), "[::1]:8080");
        assert_eq!(authority("http://[::1]"), "[::1]");
        assert_eq!(authority("http://127.0.0.1:80"), "127.0.0.1");
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_without_showing_a_secret() {
        let refused = |base: &str| {
            let error = HttpTarget::parse(base, "/completion", &[], None).unwrap_err();
            format!("{error}\n{}", error.hint().unwrap_or_default())
        };
        insta::assert_snapshot!(refused("http://me:pass@host/v1"), @r#"
        cannot load "http://***@host/v1": a user name or password inside the URL is not supported
        pass --api-key, or --header Authorization=…
        "#);
        assert!(refused("ftp://host").contains("unknown scheme \"ftp\""));
        assert!(refused("host:8080").contains("unknown scheme \"host\""));
        assert!(refused("127.0.0.1:8080").contains("cannot read the server's URL"));
        assert!(refused("http://me:pass@host:x/").contains("***@host"));
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let header = |name: &str, value: &str| {
            let headers = [(name.to_owned(), Secret::new(value.to_owned()))];
            HttpTarget::parse("http://h", "/completion", &headers, None)
        };
        assert!(header("X-A", "fine").is_ok());
        assert!(header("X-A", "a\r\nX-B: b").is_err());
        assert!(header("X A", "a").is_err());
        assert!(header("", "a").is_err());
        assert!(header("content-length", "3").is_err());
        let error = header("X-A", "hush\n").unwrap_err().to_string();
        assert!(!error.contains("hush"), "{error}");
    }

    #[test]
    fn given_headers_replace_our_own() {
        let headers = [
            ("host".to_owned(), Secret::new("other".to_owned())),
            ("authorization".to_owned(), Secret::new("Basic x".to_owned())),
        ];
        let key = Secret::new("k".to_owned());
        let target =
            HttpTarget::parse("http://h:1/v1", "/completion", &headers, Some(&key)).unwrap();
        let head = String::from_utf8(target.head_prefix(Connections::Fresh)).unwrap();
        assert_eq!(head.to_lowercase().matches("host:").count(), 1, "{head}");
        assert_eq!(head.to_lowercase().matches("authorization:").count(), 1, "{head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
        assert!(head.starts_with("POST /completion HTTP/1.1\r\n"), "{head}");
    }

    #[test]
    fn an_api_key_becomes_a_bearer_and_is_never_shown() {
        let key = Secret::new("sk-secret".to_owned());
        let target = HttpTarget::parse("http://h", "/completion", &[], Some(&key)).unwrap();
        let head = String::from_utf8(target.head_prefix(Connections::Ahead)).unwrap();
        assert!(head.contains("Authorization: Bearer sk-secret\r\n"));
        assert!(!format!("{target:?}").contains("secret"));
    }
}
