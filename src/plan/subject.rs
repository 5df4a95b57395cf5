//! What a threshold can be about: our metrics, counts, shares and rates, the server's own metrics,
//! and k6's names for those of them that mean the same.
//!
//! Main type: [`Subject`]. It knows names and kinds; the values are formed in `stats`.

use std::time::Duration;

use super::problem::nearest;
use crate::stats::metric::{self, Metric};

/// What goes before the name of a metric that the server itself offers.
pub const SERVER_PREFIX: &str = "server:";

/// What a threshold is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// Something that this client measures.
    Own(Figure),
    /// A metric of the server's `/metrics`, by its name with labels as the page has it.
    Server(String),
}

impl Subject {
    /// The subject of this name.
    ///
    /// # Errors
    /// The known name that was most likely meant, if any is near.
    pub fn named(name: &str) -> Result<Self, Option<&'static str>> {
        if let Some(server) = name.strip_prefix(SERVER_PREFIX).map(str::trim)
            && !server.is_empty()
        {
            return Ok(Subject::Server(server.to_owned()));
        }
        let found = names().find(|(known, _)| *known == name).map(|(_, figure)| figure);
        found.map(Subject::Own).ok_or_else(|| nearest(name, names().map(|(known, _)| known)))
    }

    /// Which methods make sense of it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Subject::Own(figure) => figure.kind(),
            Subject::Server(_) => Kind::Server,
        }
    }
}

/// The kinds of k6, and that of a metric whose kind only the server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value a request.
    Trend,
    /// A sum.
    Counter,
    /// A share of requests.
    Rate,
    /// A single value.
    Gauge,
    /// The server's: a gauge has `value`, `avg`, `min` and `max`, a counter also `count` and `rate`.
    Server,
}

impl Kind {
    /// For a message, with its article.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Kind::Trend => "a trend",
            Kind::Counter => "a counter",
            Kind::Rate => "a rate",
            Kind::Gauge => "a gauge",
            Kind::Server => "a metric of the server",
        }
    }

    /// Its methods, as they are typed.
    #[must_use]
    pub const fn methods(self) -> &'static [&'static str] {
        match self {
            Kind::Trend => &["avg", "min", "max", "med", "p(N)"],
            Kind::Counter => &["count", "rate"],
            Kind::Rate => &["rate"],
            Kind::Gauge => &["value"],
            Kind::Server => &["value", "avg", "min", "max", "count", "rate"],
        }
    }
}

/// Something that this client measures, over the measured requests. Requests that were cut at the
/// end are in none of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    /// A metric of completed requests.
    Metric(&'static Metric),
    /// Response headers minus written, milliseconds, whatever the headers mark.
    WaitingMs,
    /// End of the stream minus response headers, milliseconds.
    ReceivingMs,
    /// Connecting, milliseconds; 0 where the connection was there already.
    ConnectingMs,
    /// script.js: all generated tokens over end minus first content, per second.
    ScriptTokensPerSecond,
    /// script.js: prompt tokens over begin to first content, connecting included, per second.
    ScriptPromptTokensPerSecond,
    /// script.js: begin to first content, connecting included, seconds.
    ScriptFirstTokenSeconds,
    /// Completed and failed requests.
    Requests,
    /// Completed requests.
    CompletedRequests,
    /// Failed requests.
    FailedRequests,
    /// Requests that were planned and never sent.
    DroppedRequests,
    /// Prompt tokens of completed requests.
    PromptTokensTotal,
    /// Generated tokens of completed requests.
    CompletionTokensTotal,
    /// Response bytes, headers included.
    BytesReceived,
    /// Failed of all ended.
    FailedRatio,
    /// Completed of all ended.
    CompletedRatio,
    /// Ended by their token budget (finish reason `length`) of all ended; a failed one is not.
    TruncatedRatio,
    /// Ended by the model or a stop string (finish reason `stop`) of all ended; a failed one is not.
    StoppedRatio,
    /// Completed and met every objective, of all ended.
    ObjectivesMetRatio,
    /// `rates.requests_per_second`.
    RequestsPerSecond,
    /// `rates.prompt_tokens_per_second`.
    PromptTokensPerSecond,
    /// `rates.output_tokens_per_second`.
    OutputTokensPerSecond,
    /// `rates.total_tokens_per_second`.
    TotalTokensPerSecond,
    /// `rates.goodput_requests_per_second`.
    GoodputRequestsPerSecond,
}

/// Our names beside those of [`metric::ALL`].
const OWN: [(&str, Figure); 17] = [
    ("requests", Figure::Requests),
    ("completed_requests", Figure::CompletedRequests),
    ("failed_requests", Figure::FailedRequests),
    ("dropped_requests", Figure::DroppedRequests),
    ("prompt_tokens_total", Figure::PromptTokensTotal),
    ("completion_tokens_total", Figure::CompletionTokensTotal),
    ("bytes_received", Figure::BytesReceived),
    ("failed_ratio", Figure::FailedRatio),
    ("completed_ratio", Figure::CompletedRatio),
    ("truncated_ratio", Figure::TruncatedRatio),
    ("stopped_ratio", Figure::StoppedRatio),
    ("objectives_met_ratio", Figure::ObjectivesMetRatio),
    ("requests_per_second", Figure::RequestsPerSecond),
    ("prompt_tokens_per_second", Figure::PromptTokensPerSecond),
    ("output_tokens_per_second", Figure::OutputTokensPerSecond),
    ("total_tokens_per_second", Figure::TotalTokensPerSecond),
    ("goodput_requests_per_second", Figure::GoodputRequestsPerSecond),
];

/// Names of k6 and of llama.cpp's script.js. k6's `http_req_*` trends hold failed requests too, ours
/// only completed ones; script.js stamps the first event of any kind, we the first with content.
const OF_K6: [(&str, Figure); 19] = [
    ("http_req_duration", Figure::Metric(&metric::E2E_MS)),
    ("http_req_waiting", Figure::WaitingMs),
    ("http_req_receiving", Figure::ReceivingMs),
    ("http_req_connecting", Figure::ConnectingMs),
    ("http_reqs", Figure::Requests),
    ("http_req_failed", Figure::FailedRatio),
    ("iterations", Figure::Requests),
    ("dropped_iterations", Figure::DroppedRequests),
    ("checks", Figure::CompletedRatio),
    ("data_received", Figure::BytesReceived),
    ("llamacpp_prompt_tokens", Figure::Metric(&metric::PROMPT_TOKENS)),
    ("llamacpp_completion_tokens", Figure::Metric(&metric::COMPLETION_TOKENS)),
    ("llamacpp_tokens_second", Figure::ScriptTokensPerSecond),
    ("llamacpp_prompt_processing_second", Figure::ScriptPromptTokensPerSecond),
    ("llamacpp_emit_first_token_second", Figure::ScriptFirstTokenSeconds),
    ("llamacpp_prompt_tokens_total_counter", Figure::PromptTokensTotal),
    ("llamacpp_completion_tokens_total_counter", Figure::CompletionTokensTotal),
    ("llamacpp_completions_truncated_rate", Figure::TruncatedRatio),
    ("llamacpp_completions_stop_rate", Figure::StoppedRatio),
];

/// Every name with what it means: ours first, then k6's.
pub fn names() -> impl Iterator<Item = (&'static str, Figure)> {
    let metrics = metric::ALL.iter().map(|metric| (metric.name, Figure::Metric(metric)));
    metrics.chain(OWN).chain(OF_K6)
}

impl Figure {
    /// Which methods make sense of it.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Figure::Metric(_)
            | Figure::WaitingMs
            | Figure::ReceivingMs
            | Figure::ConnectingMs
            | Figure::ScriptTokensPerSecond
            | Figure::ScriptPromptTokensPerSecond
            | Figure::ScriptFirstTokenSeconds => Kind::Trend,
            Figure::Requests
            | Figure::CompletedRequests
            | Figure::FailedRequests
            | Figure::DroppedRequests
            | Figure::PromptTokensTotal
            | Figure::CompletionTokensTotal
            | Figure::BytesReceived => Kind::Counter,
            Figure::FailedRatio
            | Figure::CompletedRatio
            | Figure::TruncatedRatio
            | Figure::StoppedRatio
            | Figure::ObjectivesMetRatio => Kind::Rate,
            Figure::RequestsPerSecond
            | Figure::PromptTokensPerSecond
            | Figure::OutputTokensPerSecond
            | Figure::TotalTokensPerSecond
            | Figure::GoodputRequestsPerSecond => Kind::Gauge,
        }
    }

    /// Whether it can be looked at while the load runs. The gaps of `itl_ms` are pooled on the load
    /// thread and come out only at its end.
    #[must_use]
    pub fn is_live(self) -> bool {
        self != Figure::Metric(&metric::ITL_MS)
    }

    /// Whether it is about objectives, and so needs some.
    #[must_use]
    pub const fn needs_objectives(self) -> bool {
        matches!(self, Figure::ObjectivesMetRatio | Figure::GoodputRequestsPerSecond)
    }
}

/// How often thresholds are looked at while the load runs; k6's interval.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_its_own() {
        let all: Vec<&str> = names().map(|(name, _)| name).collect();
        for (position, name) in all.iter().enumerate() {
            assert!(!all[position + 1..].contains(name), "{name}");
            assert!(Subject::named(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_metric_of_the_server_keeps_its_labels() {
        let name = "server:vllm:num_requests_running{model=\"a,b\"}";
        let bare = name.strip_prefix(SERVER_PREFIX).unwrap().to_owned();
        assert_eq!(Subject::named(name), Ok(Subject::Server(bare)));
        assert_eq!(Subject::named("server:"), Err(None));
    }
}
