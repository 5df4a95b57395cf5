//! Why a load run could not be made at all.
//!
//! Main type: [`LoadError`]. A request that fails is *not* an error of the run: it is a record with
//! a failure kind.

use std::io;

/// The load could not be planned, started or finished.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The base URL is not a URL.
    #[error("cannot read the server's URL \"{url}\": {cause}")]
    Url {
        /// As given, without a password.
        url: String,
        /// What the parser said.
        cause: String,
    },
    /// Certificates that cannot be read.
    #[error(transparent)]
    Tls(#[from] crate::transport::TlsError),
    /// A proxy where there can be none.
    #[error("cannot use --proxy: {cause}")]
    Proxy {
        /// Why not.
        cause: &'static str,
    },
    /// None of `http`, `https`, `unix` and `http+unix`.
    #[error("cannot load \"{url}\": unknown scheme \"{scheme}\", expected http, https or unix")]
    Scheme {
        /// As given, without a password.
        url: String,
        /// The scheme.
        scheme: String,
    },
    /// User name or password inside the URL.
    #[error("cannot load \"{url}\": a user name or password inside the URL is not supported")]
    Credentials {
        /// As given, without the password.
        url: String,
    },
    /// A header that cannot be sent. The value is never shown: it may be a secret.
    #[error("cannot send the header \"{name}\": {cause}")]
    Header {
        /// The header's name, control characters escaped.
        name: String,
        /// What is wrong with its name or value.
        cause: &'static str,
    },
    /// A plan that cannot be played.
    #[error("cannot play the load plan: {cause}")]
    Plan {
        /// What is wrong with it.
        cause: &'static str,
    },
    /// The host name has no address.
    #[error("cannot find the address of \"{host}\"")]
    Resolve {
        /// The host name.
        host: String,
        /// What the resolver said; absent when it answered with nothing.
        #[source]
        source: Option<io::Error>,
    },
    /// The limit of open files is too low for so many users.
    #[error("cannot open {needed} connections: the limit of open files is {limit}")]
    OpenFiles {
        /// Descriptors needed.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// The thread, its runtime or its timer could not be made, or broke.
    #[error("cannot {attempt}")]
    System {
        /// What was tried.
        attempt: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A bug: the load thread panicked.
    #[error("the load thread panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

impl LoadError {
    /// What the user can do about it, if anything.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            LoadError::Url { .. } | LoadError::Scheme { .. } => {
                Some("pass a URL such as http://127.0.0.1:8080/v1".to_owned())
            }
            LoadError::Tls(error) => error.hint(),
            LoadError::Proxy { .. } => Some("leave --proxy out".to_owned()),
            LoadError::Credentials { .. } => {
                Some("pass --api-key, or --header Authorization=…".to_owned())
            }
            LoadError::Header { .. } => Some(
                "pass --header NAME=VALUE with a plain name and a value on one line".to_owned(),
            ),
            LoadError::Resolve { .. } => {
                Some("check the host name, or pass the server's address".to_owned())
            }
            LoadError::OpenFiles { needed, .. } => {
                Some(format!("raise the limit with ulimit -n {needed}, or lower --users"))
            }
            LoadError::Plan { .. } | LoadError::System { .. } | LoadError::Panicked { .. } => None,
        }
    }
}
