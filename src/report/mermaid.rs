//! bench.py's charts of the server's own gauges, as Mermaid `xychart-beta` text.
//!
//! Main function: [`charts`]. bench.py asked a Prometheus server every two seconds; here each scrape
//! of the run is a point. GitHub draws the text where a page holds it in a `mermaid` block.

use super::escape::clean;
use super::results_env::{float, title};
use crate::artifact::{Report, ScrapeRow};

/// The gauges that bench.py drew. `kv_cache_usage_ratio` is gone from newer servers.
pub const GAUGES: [&str; 5] = [
    "prompt_tokens_seconds",
    "predicted_tokens_seconds",
    "kv_cache_usage_ratio",
    "requests_processing",
    "requests_deferred",
];

/// The chart is 900 pixels wide, and Mermaid refuses a text above 50,000 characters.
const MAX_POINTS: usize = 900;

/// One chart for each gauge that the server has, by the gauge's name without its prefix.
#[must_use]
pub fn charts(
    report: &Report,
    iterations: u64,
    scrapes: &[ScrapeRow],
) -> Vec<(&'static str, String)> {
    let title = quoted(&title(report, iterations));
    let chart = |gauge: &'static str| {
        let name = format!("llamacpp:{gauge}");
        let points: Vec<(f64, f64)> = scrapes
            .iter()
            .filter_map(|scrape| Some((scrape.unix_s()?, scrape.value(&name)?)))
            .collect();
        let (first, last) = (points.first()?.0.floor(), points.last()?.0.floor());
        let values: Vec<String> =
            thinned(&points).map(|(_, value)| plain(float(*value, 2))).collect();
        let text = format!(
            "---\nconfig:\n    xyChart:\n        titleFontSize: 12\n        width: 900\n        height: 600\n    \
             themeVariables:\n        xyChart:\n            titleColor: \"#000000\"\n---\nxychart-beta\n    \
             title {title}\n    y-axis \"{name}\"\n    x-axis \"{name}\" {first:.0} --> {last:.0}\n    \
             line [{}]\n",
            values.join(", ")
        );
        Some((gauge, text))
    };
    GAUGES.into_iter().filter_map(chart).collect()
}

/// Every k-th, so that the points stay evenly apart as the chart draws them.
fn thinned<T>(points: &[T]) -> impl Iterator<Item = &T> {
    points.iter().step_by(points.len().div_ceil(MAX_POINTS).max(1))
}

/// `-0.0` is no number to Mermaid's eye.
fn plain(number: String) -> String {
    if number == "-0.0" { "0.0".to_owned() } else { number }
}

/// A Mermaid string. Its entities are read everywhere, also those that a branch's name spells.
pub(super) fn quoted(text: &str) -> String {
    let escaped = clean(text)
        .replace('#', "#35;")
        .replace('"', "#quot;")
        // `%%{…}%%` is a directive wherever it stands.
        .replace('%', "#37;")
        .replace('`', "#96;");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_leave_its_quotes() {
        assert_eq!(quoted("a \"b\"\n%%{init}%%"), "\"a #quot;b#quot; #37;#37;{init}#37;#37;\"");
        assert_eq!(quoted("#quot;"), "\"#35;quot;\"");
    }

    #[test]
    fn a_long_run_is_thinned_evenly() {
        let points: Vec<u32> = (0..2_000).collect();
        let kept: Vec<u32> = thinned(&points).copied().collect();
        assert!(kept.len() <= MAX_POINTS);
        assert!(kept.windows(2).all(|pair| pair[1] - pair[0] == 3));
        assert_eq!(thinned(&points[..900]).count(), 900);
        assert_eq!(thinned::<u32>(&[]).count(), 0);
    }
}
