//! k6's `--out json`: a line that declares each metric before its first sample, and a line a sample.
//!
//! Main function: [`write_json`]. Keys and their order are those of `output/json/wrapper.go` in k6.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::csv::error_code;
use super::summary::{Metric, Summary, TRUNCATED, TRUNCATED_THRESHOLD};
use super::walk::{Tags, walk};
use super::{CHECK, Samples};

/// The text; see [`write_json`].
#[must_use]
pub fn json(samples: &Samples) -> String {
    let mut bytes = Vec::new();
    write_json(samples, &mut bytes).expect("a vector takes every byte");
    String::from_utf8(bytes).expect("what was written are strings")
}

/// Writes the lines in the order of time, which is that of k6.
///
/// # Errors
///
/// Those of `out`.
pub fn write_json(samples: &Samples, out: &mut dyn Write) -> io::Result<()> {
    let summary = Summary::of(samples);
    let mut declared = BTreeSet::new();
    walk(samples, &mut |sample| {
        if declared.insert(sample.name) {
            writeln!(out, "{}", declaration(sample.name, &summary))?;
        }
        let tags = match sample.tags {
            Tags::None => Value::Null,
            Tags::Custom => json!({"scenario": "default"}),
            Tags::Check => json!({"check": CHECK, "scenario": "default"}),
            Tags::Http(iteration) => {
                let mut tags = Map::new();
                if let Some(failure) = iteration.failure {
                    let code = error_code(failure, iteration.status);
                    tags.insert("error".to_owned(), failure.name().into());
                    tags.insert("error_code".to_owned(), code.to_string().into());
                }
                tags.insert("scenario".to_owned(), "default".into());
                if let Some(status) = iteration.status {
                    tags.insert("status".to_owned(), status.to_string().into());
                }
                tags.insert("url".to_owned(), samples.url.as_str().into());
                Value::Object(tags)
            }
        };
        let point = json!({
            "metric": sample.name,
            "type": "Point",
            "data": {
                "time": time(samples.began_unix_s + sample.at_s),
                "value": super::summary::number(sample.value),
                "tags": tags,
            },
        });
        writeln!(out, "{point}")
    })
}

fn declaration(name: &str, summary: &Summary) -> Value {
    let kind = match summary.iter().find(|(known, _)| *known == name) {
        Some((_, Metric::Trend { .. })) => "trend",
        Some((_, Metric::Gauge { .. })) => "gauge",
        Some((_, Metric::Rate { .. })) => "rate",
        // Whatever is sampled and in no summary would be counted.
        Some((_, Metric::Counter { .. })) | None => "counter",
    };
    let contains = match name {
        "http_req_duration" | "http_req_sending" | "iteration_duration" => "time",
        "data_received" => "data",
        _ => "default",
    };
    let thresholds = if name == TRUNCATED { json!([TRUNCATED_THRESHOLD]) } else { json!([]) };
    json!({
        "type": "Metric",
        "data": {
            "name": name,
            "type": kind,
            "contains": contains,
            "thresholds": thresholds,
            "submetrics": null,
        },
        "metric": name,
    })
}

/// RFC 3339 in UTC, to the microsecond that a number of seconds since 1970 still holds.
fn time(unix_s: f64) -> String {
    let micros = (unix_s * 1e6).round() as i64;
    chrono::DateTime::from_timestamp_micros(micros)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_microseconds() {
        assert_eq!(time(1_795_328_101.5), "2026-11-22T06:15:01.500000Z");
    }
}
