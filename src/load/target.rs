//! Where requests go: address, path and headers, checked and pre-built before the run.
//!
//! Main type: [`HttpTarget`]. It opens no connection; `connection` does.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use reqwest::Url;

use super::error::LoadError;
use crate::plan::{Connections, Secret};

/// Headers that frame the message or the connection: ours alone.
const FRAMING_HEADERS: [&str; 6] =
    ["content-length", "transfer-encoding", "connection", "expect", "upgrade", "trailer"];

/// One HTTP server and the route that is asked.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    /// Host name or address, without brackets.
    host: String,
    port: u16,
    /// Path and query, starting with `/`.
    path: String,
    /// Name and value, in the order in which they are sent; framing headers excluded.
    headers: Vec<(String, Secret)>,
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
    /// A URL that is none, `https` (for now), another scheme, credentials inside the URL, or a
    /// header that would break the message.
    pub fn parse(
        base_url: &str,
        endpoint_path: &str,
        headers: &[(String, Secret)],
        api_key: Option<&Secret>,
    ) -> Result<Self, LoadError> {
        let url = Url::parse(base_url.trim()).map_err(|error| LoadError::Url {
            url: without_password(base_url),
            cause: error.to_string(),
        })?;
        let shown = || without_password(base_url);
        match url.scheme() {
            "http" => {}
            "https" => return Err(LoadError::HttpsUnsupported { url: shown() }),
            scheme => {
                return Err(LoadError::Scheme { url: shown(), scheme: scheme.to_owned() });
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LoadError::Credentials { url: shown() });
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(LoadError::Url { url: shown(), cause: "it names no host".to_owned() });
        };
        let prefix = url.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        let mut path = format!("{prefix}{endpoint_path}");
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(80),
            path,
            headers: all_headers(headers, api_key)?,
        })
    }

    /// The path and query of the request line.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, as the `Host` header carries it (no port where it is 80).
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }

    /// The text with every header value of ours taken out: a server may echo what it was sent.
    pub(super) fn without_secrets(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (_, value) in &self.headers {
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

    /// Asks the resolver; blocks. Addresses in its order, never empty.
    pub(super) fn resolve(&self) -> Result<Vec<SocketAddr>, LoadError> {
        match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(found) => {
                let addresses: Vec<_> = found.collect();
                if addresses.is_empty() {
                    return Err(LoadError::Resolve { host: self.host.clone(), source: None });
                }
                Ok(addresses)
            }
            Err(error) => Err(LoadError::Resolve { host: self.host.clone(), source: Some(error) }),
        }
    }

    /// Everything of a request head that is the same for every request: up to, but without, the
    /// value of `Content-Length`, which is the last fixed header.
    pub(super) fn head_prefix(&self, connections: Connections) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\n", self.path);
        let given = |name: &str| self.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let mut ours = |name: &str, value: &str| {
            if !given(name) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        ours("Host", &self.authority());
        ours("User-Agent", concat!("bench-ci/", env!("CARGO_PKG_VERSION")));
        ours("Accept", "text/event-stream, application/json");
        ours("Accept-Encoding", "identity");
        ours("Content-Type", "application/json");
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {}\r\n", value.expose()));
        }
        if connections == Connections::Fresh {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("Content-Length: ");
        head.into_bytes()
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

/// The URL for an error message: what stands between `//` and the last `@` of the authority is
/// replaced.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("//") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_credentials, host)) => format!("{scheme}//***@{host}{tail}"),
        None => url.to_owned(),
    }
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
        insta::assert_snapshot!(refused("https://host/v1"), @r#"
        cannot load "https://host/v1": https is not supported yet, expected http
        load the server's plain http port, or put a local proxy that ends TLS in front of it
        "#);
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
