//! Our own metrics, sent to who keeps them: by remote write, or into a Pushgateway.
//!
//! Main type: [`Pusher`], one a destination. It says how a push went; when to push, and what a failure
//! means, is `publisher`'s.

use std::time::Duration;

use base64::Engine as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::client::{Client, Silence};
use super::family::{Family, Label};
use super::remote_write::write_request;
use super::text::Format;
use crate::plan::prometheus::Destination;

/// Of one push while the run lasts.
pub(super) const LIMIT: Duration = Duration::from_secs(5);

/// Where metrics are sent.
pub(super) struct Pusher {
    client: Client,
    way: Way,
    /// `job`, `instance` and what was asked for besides.
    labels: Vec<Label>,
}

enum Way {
    RemoteWrite,
    Pushgateway,
}

/// One state of the metrics.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) families: Vec<Family>,
    /// Milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Whether it is the last: what follows it is no value.
    pub(super) is_last: bool,
}

/// Why a push failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PushFailure {
    /// With where to.
    pub(super) words: String,
    /// Whether another attempt may go better.
    pub(super) is_passing: bool,
}

impl Pusher {
    /// By remote write.
    pub(super) fn remote_write(at: &Destination, labels: Vec<Label>) -> Result<Self, String> {
        Ok(Self { client: Client::new(at)?, way: Way::RemoteWrite, labels })
    }

    /// Into a Pushgateway, into the group of these labels.
    pub(super) fn pushgateway(at: &Destination, labels: Vec<Label>) -> Result<Self, String> {
        Ok(Self { client: Client::new(at)?, way: Way::Pushgateway, labels })
    }

    /// Sends a state once.
    pub(super) async fn push(&self, state: &State, limit: Duration) -> Result<(), PushFailure> {
        let http = &self.client.http;
        let request = match self.way {
            Way::RemoteWrite => http
                .post(&self.client.url)
                .header(CONTENT_TYPE, "application/x-protobuf")
                .header(CONTENT_ENCODING, "snappy")
                .header("X-Prometheus-Remote-Write-Version", "0.1.0")
                .body(write_request(&state.families, &self.labels, state.at_ms, state.is_last)),
            // PUT replaces the whole group, so that nothing of an earlier run stays in it.
            Way::Pushgateway => http
                .put(format!("{}{}", self.client.url, group_path(&self.labels)))
                .header(CONTENT_TYPE, Format::Plain.content_type())
                .body(Format::Plain.page(&state.families, &[])),
        };
        let failure = |what: &str, is_passing| PushFailure {
            words: format!("metrics could not be pushed to {}: {what}", self.client.url),
            is_passing,
        };
        let answer = self
            .client
            .exchange(request, limit)
            .await
            .map_err(|Silence(why)| failure(&why, true))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let mut words = format!("it {}", answer.in_words());
        if answer.status == 404 && matches!(self.way, Way::RemoteWrite) {
            words.push_str(
                " (a Prometheus takes them if started with --web.enable-remote-write-receiver)",
            );
        }
        // By the protocol: what is refused is refused again, unless it was too much, or the server's fault.
        Err(failure(&words, answer.status == 429 || answer.status >= 500))
    }
}

/// `/metrics/job/NAME/LABEL/VALUE…`; what cannot stand in a path goes as base64, as the Pushgateway has
/// it.
fn group_path(labels: &[Label]) -> String {
    let job = labels.iter().find(|(name, _)| name == "job");
    let others = labels.iter().filter(|(name, _)| name != "job");
    let mut path = "/metrics".to_owned();
    for (name, value) in job.into_iter().chain(others) {
        if value.is_empty() {
            path.push_str(&format!("/{name}@base64/="));
        } else if value.contains('/') || value == "." || value == ".." {
            let value = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value);
            path.push_str(&format!("/{name}@base64/{value}"));
        } else {
            path.push_str(&format!("/{name}/{}", percent_encoded(value)));
        }
    }
    path
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_can_have_any_value() {
        let path = |labels: &[(&str, &str)]| {
            let labels: Vec<Label> = labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            group_path(&labels)
        };
        assert_eq!(
            path(&[("instance", "a b:1%?#ü"), ("job", "bench-ci")]),
            "/metrics/job/bench-ci/instance/a%20b%3A1%25%3F%23%C3%BC"
        );
        assert_eq!(path(&[("job", "a/b")]), "/metrics/job@base64/YS9i");
        assert_eq!(path(&[("job", "x"), ("branch", "")]), "/metrics/job/x/branch@base64/=");
        assert_eq!(path(&[("job", "..")]), "/metrics/job@base64/Li4");
    }
}
