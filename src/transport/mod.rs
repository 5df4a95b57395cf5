//! How a server is reached, for the load and for everything else that asks it: one reading of
//! `--url`, one set of certificates.
//!
//! Main types: [`ServerUrl`] and [`TlsError`]. It opens no connection; `load` and `scrape` do, each
//! in its own way.

pub mod tls;
mod url;

pub use tls::{TlsError, client_config};
pub(crate) use url::without_password;
pub use url::{Place, ServerUrl, UrlProblem};
