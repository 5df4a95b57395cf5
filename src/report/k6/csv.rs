//! k6's `--out csv`: a line a sample.
//!
//! Main function: [`write_csv`].

use std::io::{self, Write};

use super::walk::{Tags, walk};
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
/// 1970 as k6 writes them.
///
/// # Errors
///
/// Those of `out`.
pub fn write_csv(samples: &Samples, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(HEADER.as_bytes())?;
    let checked = format!(",{CHECK}{}", &CUSTOM[1..]);
    let url = quoted(&samples.url);
    walk(samples, &mut |sample| {
        let unix_s = (samples.began_unix_s + sample.at_s).floor() as i64;
        write!(out, "{},{unix_s},", sample.name)?;
        if super::is_whole(sample.value) {
            write!(out, "{}.000000", sample.value as i64)?;
        } else {
            write!(out, "{:.6}", sample.value)?;
        }
        match sample.tags {
            Tags::None => out.write_all(NO_TAGS.as_bytes()),
            Tags::Custom => out.write_all(CUSTOM.as_bytes()),
            Tags::Check => out.write_all(checked.as_bytes()),
            Tags::Http(iteration) => out.write_all(http_tags(iteration, &url).as_bytes()),
        }
    })
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
pub(super) fn error_code(failure: FailureKind, status: Option<u16>) -> u16 {
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
