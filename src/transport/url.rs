//! What `--url` names: a scheme, a place to connect to, and a path below which the API lies.
//!
//! Main type: [`ServerUrl`]. It looks up no name.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use reqwest::Url;

use crate::plan::transport::percent_decoded;

/// The host that is named to a server on a Unix socket, as curl names it.
const HOST_OF_SOCKETS: &str = "localhost";

/// A server's base URL, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// TLS is spoken.
    pub secure: bool,
    /// Where connections go.
    pub place: Place,
    /// Path without a slash at its end, and without one `/v1` there; empty at the root.
    pub prefix: String,
    /// Without its question mark.
    pub query: Option<String>,
}

/// Where connections go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A host, over TCP.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix {
        /// Its file.
        path: PathBuf,
    },
}

/// What is wrong with a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlProblem {
    /// It is none; what the parser said.
    Unreadable(String),
    /// Another scheme.
    Scheme(String),
    /// A user name or password inside.
    Credentials,
}

impl ServerUrl {
    /// Reads `http://host:8000/v1`, `https://…`, `unix:/path/to.sock` or
    /// `http+unix://%2Fpath%2Fto.sock/v1`.
    ///
    /// # Errors
    /// [`UrlProblem`]; it holds nothing of the URL but its scheme.
    pub fn parse(typed: &str) -> Result<Self, UrlProblem> {
        let typed = typed.trim();
        if let Some(path) = without_scheme(typed, "unix:") {
            // `unix:///run/x.sock` as Docker writes it, `unix:/run/x.sock` as nginx does.
            let path = path.strip_prefix("//").unwrap_or(path);
            return Self::of_socket(path.into(), String::new(), None);
        }
        let url = Url::parse(typed).map_err(|error| UrlProblem::Unreadable(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlProblem::Credentials);
        }
        let no_host = || UrlProblem::Unreadable("it names no host".to_owned());
        let host = url.host_str().filter(|host| !host.is_empty());
        let path = url.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/').to_owned();
        let query = url.query().map(str::to_owned);
        match url.scheme() {
            "http" | "https" => {
                let host = host.ok_or_else(no_host)?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let port = url.port_or_known_default().unwrap_or(80);
                let secure = url.scheme() == "https";
                Ok(Self { secure, place: Place::Tcp { host, port }, prefix, query })
            }
            "http+unix" => {
                let bytes = percent_decoded(host.ok_or_else(no_host)?);
                let path = std::ffi::OsString::from_vec(bytes).into();
                Self::of_socket(path, prefix, query)
            }
            scheme => Err(UrlProblem::Scheme(scheme.to_owned())),
        }
    }

    fn of_socket(path: PathBuf, prefix: String, query: Option<String>) -> Result<Self, UrlProblem> {
        if path.as_os_str().is_empty() {
            return Err(UrlProblem::Unreadable("it names no socket".to_owned()));
        }
        if nix::sys::socket::UnixAddr::new(&path).is_err() {
            return Err(UrlProblem::Unreadable("the path is too long for a socket".to_owned()));
        }
        Ok(Self { secure: false, place: Place::Unix { path }, prefix, query })
    }

    /// Host name or address as certificates name it, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Tcp { host, .. } => host,
            Place::Unix { .. } => HOST_OF_SOCKETS,
        }
    }

    /// `host:port`, as the `Host` header has it: no port where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let Place::Tcp { port, .. } = &self.place else { return HOST_OF_SOCKETS.to_owned() };
        let own = if self.secure { 443 } else { 80 };
        if *port == own { self.bracketed_host() } else { self.host_and_port() }
    }

    /// `host:port`, always with the port.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        match &self.place {
            Place::Tcp { port, .. } => format!("{}:{port}", self.bracketed_host()),
            Place::Unix { .. } => HOST_OF_SOCKETS.to_owned(),
        }
    }

    /// `http://host:port/prefix`, without a slash at its end: what a path is put behind.
    #[must_use]
    pub fn root(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    /// Whether the way to it never leaves this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match &self.place {
            Place::Unix { .. } => true,
            Place::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.to_canonical().is_loopback())
            }
        }
    }

    fn bracketed_host(&self) -> String {
        let host = self.host();
        if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
    }
}

fn without_scheme<'a>(typed: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = typed.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The URL for a message: what stands between `//` and the last `@` of the authority is replaced.
#[must_use]
pub(crate) fn without_password(url: &str) -> String {
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

    fn read(typed: &str) -> ServerUrl {
        ServerUrl::parse(typed).unwrap_or_else(|problem| panic!("{typed}: {problem:?}"))
    }

    #[test]
    fn every_way_to_name_a_server_is_read() {
        for (typed, root, socket) in [
            ("http://h:1/v1", "http://h:1", None),
            ("http://h:80/openai/v1/", "http://h/openai", None),
            ("https://h/v1", "https://h", None),
            ("https://h:444", "https://h:444", None),
            ("http://[::1]:8", "http://[::1]:8", None),
            ("unix:/run/x.sock", "http://localhost", Some("/run/x.sock")),
            ("unix:///run/x.sock", "http://localhost", Some("/run/x.sock")),
            ("unix:x.sock", "http://localhost", Some("x.sock")),
            ("http+unix://%2Frun%2Fx.sock/a/v1", "http://localhost/a", Some("/run/x.sock")),
        ] {
            let url = read(typed);
            assert_eq!(url.root(), root, "{typed}");
            let path = match &url.place {
                Place::Unix { path } => path.to_str(),
                Place::Tcp { .. } => None,
            };
            assert_eq!(path, socket, "{typed}");
        }
    }

    #[test]
    fn what_names_no_server_is_refused() {
        for wrong in
            ["", "h:8080", "127.0.0.1:80", "ftp://h", "unix:", "http+unix:///v1", "http://"]
        {
            assert!(ServerUrl::parse(wrong).is_err(), "{wrong}");
        }
        let long = format!("unix:/{}", "x".repeat(200));
        assert!(matches!(ServerUrl::parse(&long), Err(UrlProblem::Unreadable(_))));
        assert_eq!(ServerUrl::parse("http://me@h"), Err(UrlProblem::Credentials));
    }

    #[test]
    fn loopback_is_known_in_every_spelling() {
        for near in ["http://127.0.0.1:8", "http://127.8.8.8", "http://[::1]:8", "unix:/x.sock"] {
            assert!(read(near).is_loopback(), "{near}");
        }
        assert!(read("http://localhost").is_loopback());
        assert!(!read("http://example.org").is_loopback());
        assert!(!read("http://127.0.0.1.example.org").is_loopback());
    }
}
