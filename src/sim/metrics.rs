//! The counters behind `/metrics`, in the text that a real llama-server answers.
//!
//! Main type: [`Counters`]. The names, help texts and order are those of a real server; sums are
//! exact, so that a client's own sums can be held against them.

use std::fmt::Write as _;

/// What `/metrics` is made of.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    prompt_tokens: u64,
    prompt_cached: u64,
    prompt_ns: u64,
    predicted_tokens: u64,
    predicted_ns: u64,
    /// One decode call serves all busy slots, so that each token is a part of a call.
    decodes: f64,
    busy_slots: u64,
    tokens_max: u64,
    bucket: Bucket,
}

/// What the gauges average over: everything since the last scrape.
#[derive(Debug, Clone, Default)]
struct Bucket {
    prompt_tokens: u64,
    prompt_ns: u64,
    predicted_tokens: u64,
    predicted_ns: u64,
}

impl Counters {
    /// A slot has finished a prompt.
    pub(super) fn prompt(&mut self, processed: u64, cached: u64, took_ns: u64) {
        self.prompt_tokens += processed;
        self.prompt_cached += cached;
        self.prompt_ns += took_ns;
        self.bucket.prompt_tokens += processed;
        self.bucket.prompt_ns += took_ns;
    }

    /// A slot has finished an answer.
    pub(super) fn answer(&mut self, predicted: u64, took_ns: u64, sequence: u64) {
        self.predicted_tokens += predicted;
        self.predicted_ns += took_ns;
        self.bucket.predicted_tokens += predicted;
        self.bucket.predicted_ns += took_ns;
        self.tokens_max = self.tokens_max.max(sequence);
    }

    /// A slot has got one token while `busy` slots were busy.
    pub(super) fn decode(&mut self, busy: usize) {
        self.decodes += 1.0 / busy.max(1) as f64;
        self.busy_slots += 1;
    }

    /// The text of one scrape; starts a new bucket.
    pub(super) fn scrape(&mut self, processing: usize, deferred: usize) -> String {
        let bucket = std::mem::take(&mut self.bucket);
        // Half a nanosecond of rounding in the sum of fractions must not look like a lost call.
        let decodes = (self.decodes - 1e-6).ceil().max(0.0);
        let busy = if decodes > 0.0 { self.busy_slots as f64 / decodes } else { 0.0 };
        let mut text = String::with_capacity(2_700);
        let mut one = |name: &str, kind: &str, help: &str, value: f64| {
            writeln!(
                text,
                "# HELP llamacpp:{name} {help}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {value}"
            )
            .expect("writing to a string cannot fail");
        };
        let mut counter = |name: &str, help: &str, value: f64| one(name, "counter", help, value);
        counter(
            "prompt_tokens_total",
            "Number of prompt tokens processed, excluding cached tokens",
            self.prompt_tokens as f64,
        );
        counter(
            "prompt_tokens_cached_total",
            "Number of prompt tokens reused from the cache",
            self.prompt_cached as f64,
        );
        counter(
            "prompt_seconds_total",
            "Total time spent processing prompts",
            seconds(self.prompt_ns),
        );
        counter(
            "tokens_predicted_total",
            "Number of generation tokens processed",
            self.predicted_tokens as f64,
        );
        counter(
            "tokens_predicted_seconds_total",
            "Total time spent generating tokens",
            seconds(self.predicted_ns),
        );
        counter(
            "n_decode_total",
            "Total number of llama_decode() calls, excluding speculative decoding and multimodal decoding",
            decodes,
        );
        counter(
            "n_tokens_max",
            "Largest observed sequence length (prompt + generation)",
            self.tokens_max as f64,
        );
        counter(
            "spec_decode_num_draft_tokens_total",
            "Speculative: Total draft tokens generated",
            0.0,
        );
        counter(
            "spec_decode_num_accepted_tokens_total",
            "Speculative: Total draft tokens accepted by the target model",
            0.0,
        );
        counter(
            "spec_decode_num_drafts_total",
            "Speculative: Total speculative decoding verification steps",
            0.0,
        );
        let mut gauge = |name: &str, help: &str, value: f64| one(name, "gauge", help, value);
        gauge(
            "prompt_tokens_seconds",
            "Average prompt throughput in tokens/s",
            per_second(bucket.prompt_tokens, bucket.prompt_ns),
        );
        gauge(
            "predicted_tokens_seconds",
            "Average generation throughput in tokens/s",
            per_second(bucket.predicted_tokens, bucket.predicted_ns),
        );
        gauge("requests_processing", "Number of requests processing", processing as f64);
        gauge("requests_deferred", "Number of requests deferred", deferred as f64);
        gauge(
            "n_busy_slots_per_decode",
            "Average number of busy slots per llama_decode() call",
            busy,
        );
        text
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn per_second(tokens: u64, ns: u64) -> f64 {
    if tokens == 0 || ns == 0 { 0.0 } else { tokens as f64 / seconds(ns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_every_name_of_a_real_server_and_starts_a_new_bucket() {
        let mut counters = Counters::default();
        counters.prompt(40, 4, 500_000_000);
        counters.answer(10, 2_000_000_000, 54);
        for _ in 0..9 {
            counters.decode(3);
        }
        let text = counters.scrape(1, 2);
        for line in [
            "llamacpp:prompt_tokens_total 40",
            "llamacpp:prompt_tokens_cached_total 4",
            "llamacpp:prompt_seconds_total 0.5",
            "llamacpp:tokens_predicted_total 10",
            "llamacpp:tokens_predicted_seconds_total 2",
            "llamacpp:n_decode_total 3",
            "llamacpp:n_tokens_max 54",
            "llamacpp:prompt_tokens_seconds 80",
            "llamacpp:predicted_tokens_seconds 5",
            "llamacpp:requests_processing 1",
            "llamacpp:requests_deferred 2",
            "llamacpp:n_busy_slots_per_decode 3",
            "# TYPE llamacpp:n_busy_slots_per_decode gauge",
        ] {
            assert!(text.lines().any(|seen| seen == line), "no {line:?} in\n{text}");
        }
        let next = counters.scrape(0, 0);
        assert!(next.contains("llamacpp:prompt_tokens_total 40\n"), "counters stay");
        assert!(next.contains("llamacpp:prompt_tokens_seconds 0\n"), "gauges start afresh");
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 15);
    }
}
