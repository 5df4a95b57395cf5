//! An HdrHistogram log (`.hlog`): latencies over time, for HistogramLogAnalyzer, wrk2's and jHiccup's
//! plots, and every HdrHistogram library.
//!
//! Main function: [`render`]. Format version 1.3, histograms in V2 compressed form. Values are
//! nanoseconds with three significant digits, the largest of each interval in milliseconds as the
//! readers expect. One tag a metric; each completed request is in the interval in which it ended.

use std::borrow::Borrow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::escape::clean;
use super::figures::title;
use super::verdict::Verdict;
use crate::artifact::{Report, RequestRow, ScrapeRow, began_unix_s};

/// Tag and value of each metric, in milliseconds.
type Latency = (&'static str, fn(&RequestRow) -> Option<f64>);

const LATENCIES: [Latency; 5] = [
    ("ttft", |row| row.ttft_ms),
    ("queue", |row| row.queue_ms),
    ("prefill", |row| row.prefill_ms),
    ("tpot", |row| row.tpot_ms),
    ("e2e", |row| row.e2e_ms),
];

/// No more intervals than this, so that the log of a long run can still be looked at.
const MAX_INTERVALS: f64 = 600.0;

/// The text. Intervals are whole seconds from the begin of the measured load; those in which nothing
/// completed are left out, as an empty histogram would be taken for a fast one by no reader and by
/// no person.
///
/// # Panics
/// Never: values are bounded here, stamps where rows are read, and the text is in memory.
#[must_use]
pub fn render(report: &Report, rows: &[impl Borrow<RequestRow>], scrapes: &[ScrapeRow]) -> String {
    let completed: Vec<(&RequestRow, f64)> = rows
        .iter()
        .map(Borrow::borrow)
        .filter(|row| row.phase == "measured" && row.outcome == "completed")
        .filter_map(|row| Some((row, row.end_s.filter(|end| *end >= 0.0 && end.is_finite())?)))
        .collect();
    let last = completed.iter().map(|(_, end)| *end).fold(0.0, f64::max);
    let step = (last / MAX_INTERVALS).ceil().max(1.0);
    let began = instant(began_unix_s(report, scrapes));

    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let verdict = Verdict::of(report);
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&clean(&format!("[{}: {}]", title(report), verdict.sentence)))
        .add_comment("[Logged with bench-ci; values in nanoseconds, largest in milliseconds]")
        .with_start_time(began)
        .with_base_time(began)
        .with_max_value_divisor(1e6);
    let mut log =
        builder.begin_log_with(&mut bytes, &mut serializer).expect("a vector takes every byte");
    for index in 0..=(last / step) as u64 {
        let (from, to) = (index as f64 * step, (index + 1) as f64 * step);
        let inside = || completed.iter().filter(|(_, end)| *end >= from && *end < to);
        for (tag, of) in LATENCIES {
            let mut values = Histogram::<u64>::new(3).expect("three digits are allowed");
            for milliseconds in inside().filter_map(|(row, _)| of(row)) {
                values.record(nanoseconds(milliseconds)).expect("it resizes up to the largest");
            }
            if values.is_empty() {
                continue;
            }
            let tag = Tag::new(tag).expect("our tags have neither comma nor blank");
            log.write_histogram(
                &values,
                Duration::from_secs_f64(from),
                Duration::from_secs_f64(step),
                Some(tag),
            )
            .expect("a vector takes every byte");
        }
    }
    drop(log);
    String::from_utf8(bytes).expect("what was written are strings")
}

/// At least 1: 0 is what a histogram of delays cannot tell from nothing.
fn nanoseconds(milliseconds: f64) -> u64 {
    /// An hour, so that a damaged row cannot ask for all memory.
    const LONGEST: f64 = 3.6e12;
    (milliseconds * 1e6).round().clamp(1.0, LONGEST) as u64
}

fn instant(unix_s: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(unix_s).unwrap_or_default();
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
