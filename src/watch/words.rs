//! The sentences that the live view and the plain lines share.

use crate::event::{ComparisonProgress, LiveQuantiles, LoadProgress, LoadStep};
use crate::report::number::{binary_bytes, short};

/// `812/4000 requests, 2 FAILED, 8 in flight, 812 deltas/s, TTFT p50 41.2, p95 88.0 ms, 1:05 left`.
pub(super) fn load_sentence(progress: &LoadProgress) -> String {
    let ended = progress.completed + progress.failed;
    let mut parts = vec![match progress.planned {
        Some(planned) => format!("{ended}/{planned} requests"),
        None => format!("{ended} requests"),
    }];
    if progress.failed > 0 {
        parts.push(format!("{} FAILED", progress.failed));
    }
    parts.push(format!("{} in flight", progress.in_flight));
    parts.push(format!("{:.0} deltas/s", progress.deltas_per_second));
    if let Some(ttft) = progress.latency.and_then(|latency| latency.ttft_ms) {
        parts.push(format!("TTFT p50 {}, p95 {} ms", short(ttft.p50), short(ttft.p95)));
    }
    match (progress.step, progress.remaining_s) {
        (LoadStep::Draining, _) => parts.push("waiting for the last answers".to_owned()),
        (_, Some(left)) => parts.push(format!("{} left", clock(left))),
        (_, None) => {}
    }
    parts.join(", ")
}

/// `server   ready (0.6 s)`.
pub(super) fn done_sentence(stage: &str, outcome: &str, elapsed_s: f64) -> String {
    format!("{stage}: {outcome} ({elapsed_s:.1} s)")
}

/// `500 of 2100 prompts looked at`.
pub(super) fn fitting_sentence(prompts: u64, total_prompts: u64) -> String {
    format!("{prompts} of {total_prompts} prompts looked at")
}

/// `cell 3 of 18: users=4`; in a search `trial 3: rate=8,trial=1`.
pub(super) fn cell_sentence(number: u64, cells: Option<u64>, name: &str) -> String {
    match cells {
        Some(cells) => format!("cell {number} of {cells}: {name}"),
        None => format!("trial {number}: {name}"),
    }
}

/// The sentence for a state of a comparison: `5 of 16 pairs, 2:10 left: base first ·
/// output_tokens_per_second −2.7 % (−3.4 … −2.0)`.
pub(super) fn comparison_sentence(progress: &ComparisonProgress) -> String {
    let pairs = match progress.pairs_planned {
        Some(planned) => format!("{} of {planned} pairs", progress.pairs),
        None => "ab".to_owned(),
    };
    let mut sentence = format!("{pairs}, {} left: {}", clock(progress.remaining_s), progress.doing);
    for standing in &progress.metrics {
        let [low, high] = standing.ci_pct;
        sentence.push_str(&format!(
            " · {} {:+.1} % ({low:+.1} … {high:+.1})",
            standing.metric, standing.change_pct
        ));
    }
    sentence
}

/// `41.2/88.0`.
pub(super) fn two(quantiles: LiveQuantiles) -> String {
    format!("{}/{}", short(quantiles.p50), short(quantiles.p95))
}

/// `65.2` → `1:06`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped at 0; years would not overflow"
    )]
    let whole = whole as u64;
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// `1536` → `1.50 KiB`.
pub(super) fn size(bytes: u64) -> String {
    binary_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LiveLatency;

    #[test]
    fn failures_stand_out_in_the_sentence() {
        let quantiles = LiveQuantiles { p50: 41.23, p95: 88.0 };
        let mut progress = LoadProgress {
            elapsed_s: 2.0,
            remaining_s: Some(64.2),
            completed: 10,
            failed: 2,
            in_flight: 4,
            deltas_per_second: 99.6,
            ..LoadProgress::default()
        };
        assert_eq!(
            load_sentence(&progress),
            "12 requests, 2 FAILED, 4 in flight, 100 deltas/s, 1:05 left"
        );
        let ttft_ms = Some(quantiles);
        progress.latency = Some(LiveLatency { ttft_ms, tpot_ms: None, e2e_ms: quantiles });
        progress.step = LoadStep::Draining;
        assert_eq!(
            load_sentence(&progress),
            "12 requests, 2 FAILED, 4 in flight, 100 deltas/s, TTFT p50 41.2, p95 88.0 ms, waiting for the last answers"
        );
    }
}
