//! k6's `--out csv`: a line a sample.
//!
//! Main function: [`write_csv`]. Samples that k6 took once an event (`sse_event`) are not there: rows
//! hold how many deltas there were, not the instant of each.

use std::io::{self, Write};

use super::summary::{STOPPED, TRUNCATED};
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

/// The text of `k6-results.csv`; see [`write_csv`].
#[must_use]
pub fn csv(samples: &Samples) -> String {
    let mut bytes = Vec::new();
    write_csv(samples, &mut bytes).expect("a vector takes every byte");
    String::from_utf8(bytes).expect("what was written are strings")
}

/// Writes `k6-results.csv`: the header, then samples in the order of time, in whole seconds since
/// 1970 as k6 writes them. Line by line, for a long run has a million of them.
///
/// # Errors
///
/// Those of `out`.
pub fn write_csv(samples: &Samples, out: &mut dyn Write) -> io::Result<()> {
    let mut sheet = Sheet { out, began_unix_s: samples.began_unix_s };
    sheet.out.write_all(HEADER.as_bytes())?;
    let checked = format!(",{CHECK}{}", &CUSTOM[1..]);
    let url = quoted(&samples.url);
    let mut second = 0;
    for iteration in &samples.iterations {
        second = sheet.users_until(samples, second, iteration.end_s)?;
        sheet.iteration(iteration, &checked, &url)?;
    }
    sheet.users_until(samples, second, f64::INFINITY)?;
    if samples.dropped > 0 {
        sheet.sample("dropped_iterations", samples.run_s, samples.dropped as f64, CUSTOM)?;
    }
    Ok(())
}

struct Sheet<'a> {
    out: &'a mut dyn Write,
    began_unix_s: f64,
}

impl Sheet<'_> {
    fn iteration(&mut self, iteration: &Iteration, checked: &str, url: &str) -> io::Result<()> {
        let at = iteration.end_s;
        let http = http_tags(iteration, url);
        if let Some(timing) = &iteration.timing {
            self.sample("http_req_sending", iteration.began_s, timing.sending_ms, &http)?;
        }
        self.sample("http_reqs", at, 1.0, &http)?;
        if let Some(timing) = &iteration.timing {
            self.sample("http_req_sending", at, timing.sending_ms, &http)?;
            self.sample("http_req_duration", at, timing.request_ms, &http)?;
        }
        let truth = |truth: bool| f64::from(u8::from(truth));
        self.sample("checks", at, truth(iteration.completed), checked)?;
        if let Some(timing) = &iteration.timing {
            let prompt_tokens = iteration.prompt_tokens.map(|count| count as f64);
            let completion_tokens = iteration.completion_tokens.map(|count| count as f64);
            let values = [
                ("llamacpp_emit_first_token_second", timing.first_token_s),
                ("llamacpp_prompt_processing_second", timing.prompt_tokens_per_second),
                ("llamacpp_tokens_second", timing.tokens_per_second),
                ("llamacpp_prompt_tokens", prompt_tokens),
                ("llamacpp_prompt_tokens_total_counter", prompt_tokens),
                ("llamacpp_completion_tokens", completion_tokens),
                ("llamacpp_completion_tokens_total_counter", completion_tokens),
            ];
            for (name, value) in values {
                if let Some(value) = value {
                    self.sample(name, at, value, CUSTOM)?;
                }
            }
        }
        self.sample(TRUNCATED, at, truth(iteration.truncated), CUSTOM)?;
        self.sample(STOPPED, at, truth(iteration.stopped), CUSTOM)?;
        self.sample("data_received", at, iteration.bytes_received as f64, CUSTOM)?;
        if let Some(timing) = &iteration.timing {
            self.sample("iteration_duration", at, timing.iteration_ms, CUSTOM)?;
        }
        self.sample("iterations", at, 1.0, CUSTOM)
    }

    /// Users at work at each whole second up to `end_s`; says how far it came.
    fn users_until(&mut self, samples: &Samples, from: usize, end_s: f64) -> io::Result<usize> {
        let mut second = from;
        while let Some(users) = samples.users_at_work.get(second) {
            let at = (second + 1) as f64;
            if at > end_s {
                break;
            }
            self.sample("vus", at, f64::from(*users), NO_TAGS)?;
            self.sample("vus_max", at, f64::from(samples.users), NO_TAGS)?;
            second += 1;
        }
        Ok(second)
    }

    fn sample(&mut self, name: &str, at_s: f64, value: f64, tags: &str) -> io::Result<()> {
        let unix_s = (self.began_unix_s + at_s).floor() as i64;
        if super::summary::is_whole(value) {
            write!(self.out, "{name},{unix_s},{}.000000{tags}", value as i64)
        } else {
            write!(self.out, "{name},{unix_s},{value:.6}{tags}")
        }
    }
}

/// The columns behind the value of a metric of HTTP.
fn http_tags(iteration: &Iteration, url: &str) -> String {
    let status = iteration.status.map(|status| status.to_string()).unwrap_or_default();
    let (error, code) = match iteration.failure {
        Some(failure) => (failure.name(), error_code(failure, iteration.status).to_string()),
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
