//! The names of the metrics of one request: one constant each.
//!
//! Main type: [`Metric`]. The same string stands in JSON, in tables, in flags and in METHODOLOGY.md.
//! The formulas are in `derive`; this file only names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which direction is good news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Smaller is better.
    Lower,
    /// Larger is better.
    Higher,
    /// Neither: it describes the work, not the speed.
    None,
}

/// One metric of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// The public name; ends with its unit where that is a time.
    pub name: &'static str,
    /// `ms`, `tokens`, `tokens/s` or `ratio`.
    pub unit: &'static str,
    /// Which direction is good news.
    pub better: Better,
    /// One line for a reader.
    pub meaning: &'static str,
}

macro_rules! metrics {
    ($($constant:ident = $name:literal, $unit:literal, $better:ident, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Metric =
                Metric { name: $name, unit: $unit, better: Better::$better, meaning: $meaning };
        )*

        /// Every metric, in the order of tables.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    TTFT_MS = "ttft_ms", "ms", Lower, "first content minus the write of the last request byte";
    TTFT_SCHEDULED_MS = "ttft_scheduled_ms", "ms", Lower, "first content minus the planned start: what a user waits";
    TIME_TO_FIRST_ANSWER_MS = "time_to_first_answer_ms", "ms", Lower, "first content that is no reasoning minus written";
    QUEUE_MS = "queue_ms", "ms", Lower, "response headers minus written: waiting for a slot";
    PREFILL_MS = "prefill_ms", "ms", Lower, "first content minus response headers: working on the prompt";
    ITL_MS = "itl_ms", "ms", Lower, "gap between consecutive content deltas (a delta is not a token), pooled over requests";
    TPOT_MS = "tpot_ms", "ms", Lower, "(last minus first content) / (streamed tokens - 1)";
    E2E_MS = "e2e_ms", "ms", Lower, "end of the stream minus written";
    E2E_SCHEDULED_MS = "e2e_scheduled_ms", "ms", Lower, "end of the stream minus the planned start";
    PROMPT_TOKENS = "prompt_tokens", "tokens", None, "prompt tokens as the server counted them, cached ones included";
    CACHED_TOKENS = "cached_tokens", "tokens", None, "prompt tokens that the server took from its cache";
    COMPLETION_TOKENS = "completion_tokens", "tokens", None, "generated tokens as the server counted them";
    PREFILL_TOKENS_PER_SECOND = "prefill_tokens_per_second", "tokens/s", Higher, "(prompt - cached tokens) / prefill";
    DECODE_TOKENS_PER_SECOND = "decode_tokens_per_second", "tokens/s", Higher, "(streamed tokens - 1) / (last minus first content)";
    SERVER_PREFILL_MS = "server_prefill_ms", "ms", Lower, "the server's own timings.prompt_ms";
    SERVER_DECODE_MS = "server_decode_ms", "ms", Lower, "the server's own timings.predicted_ms";
    DRAFT_ACCEPTANCE = "draft_acceptance", "ratio", Higher, "drafted tokens accepted / drafted, in speculative decoding";
}

/// The metric with this public name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_unit() {
        for (position, metric) in ALL.iter().enumerate() {
            assert!(by_name(metric.name).is_some_and(|found| found == *metric));
            assert!(ALL[position + 1..].iter().all(|other| other.name != metric.name));
            match metric.unit {
                "ms" => assert!(metric.name.ends_with("_ms"), "{}", metric.name),
                "tokens" => assert!(metric.name.ends_with("_tokens"), "{}", metric.name),
                "tokens/s" => {
                    assert!(metric.name.ends_with("_tokens_per_second"), "{}", metric.name)
                }
                other => assert_eq!((other, metric.name), ("ratio", "draft_acceptance")),
            }
        }
    }
}
