//! Metrics, changes and names as the page and the status line write them.

use crate::artifact::{EarlierAa, MetricComparison, PairSpread};
use crate::report::ab_markdown::in_words;
use crate::report::escape::escape;
use crate::report::number::short;
use crate::stats::Better;

/// A blank that keeps a number and its sign of per cent on one line.
const NO_BREAK: char = '\u{a0}';

/// The longest name of a configuration, label or host that a page shows.
const LONGEST_NAME: usize = 80;

/// A metric's name as a reader says it: `output tok/s`, `TTFT p50`.
pub(super) fn label(metric: &str) -> String {
    let metric = clip(metric, LONGEST_NAME);
    let metric = metric.as_str();
    let (name, quantile) = match metric.rsplit_once([':', '.', ' ']) {
        Some((name, quantile)) => (name, Some(quantile)),
        None => match metric.rsplit_once("_p") {
            Some((name, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (name, metric.get(name.len() + 1..))
            }
            _ => (metric, None),
        },
    };
    let known = match name {
        "output_tokens_per_second" => "output tok/s",
        "prompt_tokens_per_second" => "prompt tok/s",
        "total_tokens_per_second" => "total tok/s",
        "requests_per_second" => "requests/s",
        "decode_tokens_per_second" => "decode tok/s",
        "prefill_tokens_per_second" => "prefill tok/s",
        "ttft_ms" | "ttft" => "TTFT",
        "ttft_scheduled_ms" => "TTFT from schedule",
        "itl_ms" | "inter_token_ms" => "inter-token",
        "tpot_ms" => "TPOT",
        "e2e_ms" => "end to end",
        "server_cpu_ms_per_output_token" => "server CPU per token",
        other => return name_of(&other.replace('_', " "), quantile),
    };
    name_of(known, quantile)
}

fn name_of(name: &str, quantile: Option<&str>) -> String {
    match quantile {
        Some(quantile) => format!("{} {}", escape(name), escape(quantile)),
        None => escape(name),
    }
}

/// How far verdicts of the runner can be believed.
pub(super) fn earlier_aa(earlier: &EarlierAa) -> String {
    let runner = clip(&earlier.runner, LONGEST_NAME);
    escape(&in_words(&EarlierAa { runner, ..earlier.clone() }))
}

/// Which way is good.
pub(super) const fn arrow(better: Better) -> &'static str {
    match better {
        Better::Higher => " ↑",
        Better::Lower => " ↓",
        Better::None => "",
    }
}

/// A value with the unit that its label does not say: `41.2 ms`, `812`; a dash where there is none.
pub(super) fn value(side: Option<PairSpread>, of: &MetricComparison) -> String {
    let Some(number) = side.map(|spread| spread.median) else { return "–".to_owned() };
    match of.unit.as_str() {
        "" => short(number),
        unit if unit.contains("/s") || unit.contains("per second") => short(number),
        unit => format!("{}{NO_BREAK}{}", short(number), escape(&clip(unit, 16))),
    }
}

/// `2 %` or `1.2 %`: a size, without sign.
pub(super) fn share(size: f64) -> String {
    let text = format!("{size:.1}");
    format!("{}{NO_BREAK}%", text.strip_suffix(".0").unwrap_or(&text))
}

/// `−3.4 %`, with a sign that is as wide as a plus.
pub(super) fn percent(change: f64) -> String {
    format!("{}{NO_BREAK}%", signed(change))
}

/// `−3.4` or `+0.6`; what rounds to nothing has no sign.
pub(super) fn signed(change: f64) -> String {
    let text = format!("{:.1}", change.abs());
    match (text.as_str(), change < 0.0) {
        ("0.0", _) => text,
        (_, true) => format!("−{text}"),
        (_, false) => format!("+{text}"),
    }
}

/// The interval, if it has the level of one: a single pair has an interval of no width and level 0,
/// which would look like certainty.
fn interval(of: &MetricComparison) -> Option<[f64; 2]> {
    of.ci_pct.filter(|_| level(of) >= 0.5)
}

/// The level that the interval really has; from about 95 % on it is said as 95 %.
fn level(of: &MetricComparison) -> f64 {
    of.ci_level.map_or(0.95, |level| if level >= 0.945 { 0.95 } else { level })
}

/// Whether an interval says what it must.
pub(super) fn is_evidence(of: &MetricComparison) -> bool {
    interval(of).is_some()
}

/// `−3.4 % (−4.6 … −2.3)`; a change without interval stands alone, none is a dash.
pub(super) fn change(of: &MetricComparison) -> String {
    match (of.change_pct, interval(of)) {
        (Some(change), Some([low, high])) => {
            format!("{} ({} … {})", percent(change), signed(low), signed(high))
        }
        (Some(change), None) => percent(change),
        (None, _) => "–".to_owned(),
    }
}

/// `−3.4 % (95 % CI −4.6 … −2.3)`, for a sentence.
pub(super) fn change_in_full(of: &MetricComparison) -> String {
    match (of.change_pct, interval(of)) {
        (Some(change), Some([low, high])) => {
            let level = 100.0 * level(of);
            format!(
                "{} ({level:.0}{NO_BREAK}% CI {} … {})",
                percent(change),
                signed(low),
                signed(high)
            )
        }
        _ => change(of),
    }
}

/// A name from outside, short and harmless.
pub(super) fn name(text: &str) -> String {
    escape(&clip(text, LONGEST_NAME))
}

/// At most so many characters; what is cut ends in `…`.
pub(super) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The first digits of a commit, if that is what it is: nothing else may stand in its place.
pub(super) fn commit(text: &str) -> Option<&str> {
    let is_hash =
        (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| text.get(..7)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_names_that_people_use() {
        for (metric, said) in [
            ("output_tokens_per_second", "output tok/s"),
            ("ttft_ms", "TTFT"),
            ("ttft_ms_p50", "TTFT p50"),
            ("ttft_ms:p50", "TTFT p50"),
            ("itl_ms_p50", "inter-token p50"),
            ("a_new_one_ms", "a new one ms"),
            ("max_pool", "max pool"),
            ("<b>", "&lt;b&gt;"),
        ] {
            assert_eq!(label(metric), said, "{metric}");
        }
    }

    #[test]
    fn changes_are_signed_and_nothing_is_not() {
        assert_eq!(signed(-3.44), "−3.4");
        assert_eq!(signed(0.6), "+0.6");
        assert_eq!(signed(-0.04), "0.0");
    }

    #[test]
    fn only_a_hash_passes_for_a_commit() {
        assert_eq!(commit("0123456789abcdef0123456789abcdef01234567"), Some("0123456"));
        for wrong in ["", "abc", "--> <script>", "zzzzzzzz", "0123456\n"] {
            assert_eq!(commit(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn clipping_counts_characters_and_keeps_them_whole() {
        assert_eq!(clip("größer", 6), "größer");
        assert_eq!(clip("größer", 4), "grö…");
    }
}
