//! k6's `--out csv`: a line a sample.
//!
//! Main function: [`csv`]. Samples that k6 took once an event (`sse_event`) are not there: rows
//! hold how many deltas there were, not the instant of each.

use std::fmt::Write as _;

use super::summary::{STOPPED, TRUNCATED, is_stopped, is_truncated};
use super::{CHECK, Iteration, Samples};
use crate::load::FailureKind;

/// The columns of k6 with its default system tags.
const HEADER: &str = "metric_name,timestamp,metric_value,check,error,error_code,expected_response,\
                      group,method,name,proto,scenario,service,status,subproto,tls_version,url,\
                      extra_tags,metadata\n";

/// Columns behind the value where k6 sets no tag.
const NO_TAGS: &str = ",,,,,,,,,,,,,,,,\n";

/// Those of a custom metric: only the scenario, which k6 calls so.
const CUSTOM: &str = ",,,,,,,,,default,,,,,,,\n";

/// Bytes of a line with its URL, about; so that the text is not copied as it grows.
const LINE_BYTES: usize = 96;

/// The text of `k6-results.csv`: the header, then samples in the order of time, in whole seconds
/// since 1970 as k6 writes them.
#[must_use]
pub fn csv(samples: &Samples<'_>) -> String {
    let lines = samples.iterations.len() * 16 + samples.users_at_work.len() * 2;
    let mut sheet = Sheet {
        text: String::with_capacity(HEADER.len() + lines * LINE_BYTES),
        began_unix_s: samples.began_unix_s,
    };
    sheet.text.push_str(HEADER);
    let checked = format!(",{CHECK}{}", &CUSTOM[1..]);
    let url = quoted(&samples.url);
    let mut second = 0;
    for iteration in &samples.iterations {
        second = sheet.users_until(samples, second, iteration.end_s);
        sheet.iteration(iteration, &checked, &url);
    }
    sheet.users_until(samples, second, f64::INFINITY);
    if samples.dropped > 0 {
        sheet.sample("dropped_iterations", samples.run_s, samples.dropped as f64, CUSTOM);
    }
    sheet.text
}

struct Sheet {
    text: String,
    began_unix_s: f64,
}

impl Sheet {
    fn iteration(&mut self, iteration: &Iteration<'_>, checked: &str, url: &str) {
        let Iteration { row, completed, began_s, end_s, timing } = iteration;
        let at = *end_s;
        let http = http_tags(iteration, url);
        if let Some(timing) = timing {
            self.sample("http_req_sending", *began_s, timing.sending_ms, &http);
        }
        self.sample("http_reqs", at, 1.0, &http);
        if let Some(timing) = timing {
            self.sample("http_req_sending", at, timing.sending_ms, &http);
            self.sample("http_req_duration", at, timing.request_ms, &http);
        }
        let truth = |truth: bool| f64::from(u8::from(truth));
        self.sample("checks", at, truth(*completed), checked);
        if let Some(timing) = timing {
            let values = [
                ("llamacpp_emit_first_token_second", timing.first_token_s),
                ("llamacpp_prompt_processing_second", timing.prompt_tokens_per_second),
                ("llamacpp_tokens_second", timing.tokens_per_second),
                ("llamacpp_prompt_tokens", row.prompt_tokens.map(|count| count as f64)),
                (
                    "llamacpp_prompt_tokens_total_counter",
                    row.prompt_tokens.map(|count| count as f64),
                ),
                ("llamacpp_completion_tokens", row.completion_tokens.map(|count| count as f64)),
                (
                    "llamacpp_completion_tokens_total_counter",
                    row.completion_tokens.map(|count| count as f64),
                ),
            ];
            for (name, value) in values {
                if let Some(value) = value {
                    self.sample(name, at, value, CUSTOM);
                }
            }
        }
        self.sample(TRUNCATED, at, truth(*completed && is_truncated(row)), CUSTOM);
        self.sample(STOPPED, at, truth(*completed && is_stopped(row)), CUSTOM);
        self.sample("data_received", at, row.bytes_received as f64, CUSTOM);
        if let Some(timing) = timing {
            self.sample("iteration_duration", at, timing.iteration_ms, CUSTOM);
        }
        self.sample("iterations", at, 1.0, CUSTOM);
    }

    /// Users at work at each whole second up to `end_s`; says how far it came.
    fn users_until(&mut self, samples: &Samples<'_>, from: usize, end_s: f64) -> usize {
        let mut second = from;
        while let Some(users) = samples.users_at_work.get(second) {
            let at = (second + 1) as f64;
            if at > end_s {
                break;
            }
            self.sample("vus", at, f64::from(*users), NO_TAGS);
            self.sample("vus_max", at, f64::from(samples.users), NO_TAGS);
            second += 1;
        }
        second
    }

    fn sample(&mut self, name: &str, at_s: f64, value: f64, tags: &str) {
        let unix_s = (self.began_unix_s + at_s).floor() as i64;
        let text = &mut self.text;
        // Writing into a String cannot fail.
        let written = if super::summary::is_whole(value) {
            write!(text, "{name},{unix_s},{}.000000", value as i64)
        } else {
            write!(text, "{name},{unix_s},{value:.6}")
        };
        written.expect("a String takes every text");
        text.push_str(tags);
    }
}

/// The columns behind the value of a metric of HTTP.
fn http_tags(iteration: &Iteration<'_>, url: &str) -> String {
    let row = iteration.row;
    let status = row.status.map(|status| status.to_string()).unwrap_or_default();
    let (error, code) = match row.failure {
        Some(failure) => (failure.name(), error_code(failure, row.status).to_string()),
        None => ("", String::new()),
    };
    format!(",,{error},{code},,,,,,default,,{status},,,{url},,\n")
}

/// k6's number for what failed, as near as its list comes.
fn error_code(failure: FailureKind, status: Option<u16>) -> u16 {
    match failure {
        FailureKind::Connect => 1210,
        FailureKind::Tls => 1300,
        FailureKind::TimeoutFirst | FailureKind::TimeoutIdle | FailureKind::TimeoutTotal => 1050,
        FailureKind::Reset => 1220,
        FailureKind::Http4xx | FailureKind::Http5xx => 1000 + status.unwrap_or(0),
        _ => 1000,
    }
}

/// As Go's writer of CSV quotes.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the constants: a line must have as many cells as the header, whatever its tags.
    #[test]
    fn every_kind_of_line_has_the_columns_of_the_header() {
        let columns = HEADER.matches(',').count();
        for tags in [NO_TAGS, CUSTOM] {
            assert_eq!(2 + tags.matches(',').count(), columns, "{tags}");
        }
        let names: Vec<&str> = HEADER.trim_end().split(',').collect();
        let custom: Vec<&str> = CUSTOM.trim_end().split(',').collect();
        // The value stands before the first comma.
        assert_eq!(names[2 + 9], "scenario");
        assert_eq!(custom[9], "default");
    }
}
