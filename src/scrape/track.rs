//! What the server's metrics were over time, kept for the report in memory that does not grow with the
//! run.
//!
//! Main type: [`Tracks`]. Pure. It forms no columns; `stats` does.

use std::collections::BTreeMap;

use super::MOST_KEPT;
use super::metrics::{Kind, Page};
use crate::load::Stamp;

/// More than llama-server has, and as many as anybody looks at.
const MOST_METRICS: usize = 40;

/// Labels that every metric of a server has; others make many series of one metric.
const COMMON_LABELS: [&str; 2] = ["engine", "model_name"];

/// One metric over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Whether it only grows.
    pub is_counter: bool,
    /// Its values, in order of time; `None` where a page did not have it, or no finite one.
    pub points: Vec<(Stamp, Option<f64>)>,
}

/// All metrics that are worth a line, by name with labels.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tracks {
    /// The metrics.
    pub by_name: BTreeMap<String, Track>,
    pages: u64,
    every: u64,
}

impl Tracks {
    /// Takes the next page; `None` if there was none.
    pub(super) fn push(&mut self, at: Stamp, page: Option<&Page>) {
        let every = self.every.max(1);
        let number = self.pages;
        self.pages += 1;
        if !number.is_multiple_of(every) {
            return;
        }
        for sample in page.map(|page| page.samples.as_slice()).unwrap_or_default() {
            let known = self.by_name.contains_key(&sample.name);
            if !known && self.by_name.len() < MOST_METRICS && is_worth_a_line(&sample.name) {
                let track = Track { is_counter: sample.kind == Kind::Counter, points: Vec::new() };
                self.by_name.insert(sample.name.clone(), track);
            }
            if let Some(track) = self.by_name.get_mut(&sample.name)
                && track.points.last().is_none_or(|(before, _)| *before < at)
            {
                track.points.push((at, Some(sample.value).filter(|value| value.is_finite())));
            }
        }
        let mut too_many = false;
        for track in self.by_name.values_mut() {
            if track.points.last().is_none_or(|(before, _)| *before < at) {
                track.points.push((at, None));
            }
            too_many |= track.points.len() > MOST_KEPT;
        }
        if too_many {
            for track in self.by_name.values_mut() {
                let mut index = 0;
                track.points.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
            }
            self.every = every * 2;
        }
    }

    /// One of so many pages is kept.
    #[must_use]
    pub fn every(&self) -> u32 {
        u32::try_from(self.every.max(1)).unwrap_or(u32::MAX)
    }
}

/// Parts of histograms and summaries are many, and no line by themselves.
fn is_worth_a_line(name: &str) -> bool {
    let (bare, labels) = name.split_once('{').unwrap_or((name, ""));
    let is_part = ["_bucket", "_sum", "_count", "_created"].iter().any(|part| bare.ends_with(part));
    let labels = labels.trim_end_matches('}');
    let common = labels.is_empty()
        || labels.split("\",").all(|label| {
            COMMON_LABELS
                .iter()
                .any(|name| label.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
        });
    !is_part && common
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::metrics::read;

    #[test]
    fn metrics_with_labels_of_their_own_and_parts_of_histograms_are_left_out() {
        for (name, worth) in [
            ("llamacpp:requests_processing", true),
            ("vllm:num_requests_running{engine=\"0\",model_name=\"a,b\"}", true),
            ("vllm:request_success_total{engine=\"0\",finished_reason=\"stop\"}", false),
            ("x_bucket{le=\"1\"}", false),
            ("x_sum", false),
            ("x{quantile=\"0.5\"}", false),
        ] {
            assert_eq!(is_worth_a_line(name), worth, "{name}");
        }
    }

    #[test]
    fn a_page_without_a_metric_and_no_page_at_all_are_gaps() {
        let mut tracks = Tracks::default();
        tracks.push(
            Stamp(1),
            Some(&read("# TYPE a gauge\na 1\n# TYPE b_total counter\nb_total 5\n")),
        );
        tracks.push(Stamp(2), None);
        tracks.push(
            Stamp(3),
            Some(&read("# TYPE a gauge\na NaN\n# TYPE b_total counter\nb_total 6\n")),
        );
        let points = |name: &str| tracks.by_name[name].points.clone();
        assert_eq!(points("a"), [(Stamp(1), Some(1.0)), (Stamp(2), None), (Stamp(3), None)]);
        assert_eq!(
            points("b_total"),
            [(Stamp(1), Some(5.0)), (Stamp(2), None), (Stamp(3), Some(6.0))]
        );
        assert!(tracks.by_name["b_total"].is_counter && !tracks.by_name["a"].is_counter);
    }

    #[test]
    fn neither_a_long_run_nor_a_talkative_server_fills_the_memory() {
        let mut tracks = Tracks::default();
        let text: String = (0..100).map(|number| format!("m{number} {number}\n")).collect();
        let page = read(&text);
        for second in 0..10_000 {
            tracks.push(Stamp(second), Some(&page));
        }
        assert_eq!(tracks.by_name.len(), MOST_METRICS);
        assert!(tracks.by_name.values().all(|track| track.points.len() <= MOST_KEPT));
        assert_eq!(tracks.every(), 16);
    }
}
