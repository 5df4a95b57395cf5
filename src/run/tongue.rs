//! What a server speaks that answers nothing in the way in which it was asked.
//!
//! Main function: [`instead`]. It sends no secret: only a question about health, to the same place.

use std::time::Duration;

use crate::plan::{Credentials, HttpVersion, Transport};
use crate::scrape::ControlPlane;
use crate::transport::{Place, ServerUrl};

/// A server on the other way answers at once.
const LIMIT: Duration = Duration::from_secs(2);

/// The other way in which the server answers, and what to do about it; `None` where there is none.
pub(super) async fn instead(
    base_url: &str,
    transport: &Transport,
) -> Option<(String, &'static str)> {
    let url = ServerUrl::parse(base_url).ok()?;
    let other_version = match transport.http_version {
        HttpVersion::Http2 => HttpVersion::Http1,
        HttpVersion::Http1 | HttpVersion::Auto => HttpVersion::Http2,
    };
    let asked_otherwise = Transport { http_version: other_version, ..transport.clone() };
    if answers(base_url, &asked_otherwise).await {
        return Some(match other_version {
            HttpVersion::Http1 => {
                ("it speaks HTTP/1.1 and not HTTP/2".to_owned(), "leave out --http2")
            }
            _ => ("it speaks HTTP/2 and not HTTP/1.1".to_owned(), "pass --http2"),
        });
    }
    if url.secure || matches!(url.place, Place::Unix { .. }) {
        return None;
    }
    let secure = format!("https://{}{}", url.host_and_port(), url.prefix);
    let any_certificate = Transport { insecure: true, ca_file: None, ..transport.clone() };
    let words = "it speaks TLS there and not plain HTTP".to_owned();
    answers(&secure, &any_certificate).await.then_some((words, "begin the URL with https://"))
}

async fn answers(base_url: &str, transport: &Transport) -> bool {
    match ControlPlane::of_external(base_url, &Credentials::default(), transport) {
        Ok(control) => control.get("/health", LIMIT).await.is_ok(),
        Err(_) => false,
    }
}
