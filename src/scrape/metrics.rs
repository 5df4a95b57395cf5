//! One `/metrics` page: asked for, and read with prometheus-parse.
//!
//! Main function: [`scrape`]; main type: [`Page`]. It keeps no history; that is [`super::series`]'s.
//!
//! prometheus-parse takes `\w+` for a metric name and splits labels at every comma and `=`, so it
//! silently ignores `llamacpp:prompt_tokens_total` and mangles `{path="a,b"}`. Each line is therefore
//! written in a form that it reads (see `encode`) and turned back afterwards.

use std::fmt::Write as _;
use std::time::Duration;

use prometheus_parse::{Scrape as Parsed, Value};

use super::http::{ControlPlane, HttpError};

/// What a request for `/metrics` came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Scrape {
    /// A page.
    Page(Page),
    /// The server has no metrics (404, 405, 501); asking again is useless.
    Absent {
        /// Why, in words.
        reason: String,
    },
    /// No page this time.
    Failed {
        /// Why, in words.
        reason: String,
    },
}

/// The samples of one page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// In the order of the page, but for histograms and summaries, which come last.
    pub samples: Vec<Sample>,
    /// The header `Process-Start-Time-Unix` as it is; `None` if the server does not say. Only good for
    /// telling two processes apart: llama-server does not send a UNIX time in it.
    pub process_start: Option<String>,
    /// Lines that are neither comments nor samples.
    pub unreadable_lines: u64,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The name with its labels in alphabetical order, such as
    /// `llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"}`.
    pub name: String,
    /// What its `TYPE` line says.
    pub kind: Kind,
    /// May be infinite or not a number, as the format allows.
    pub value: f64,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// There is no `TYPE` line, and the name does not tell.
    Unknown,
}

/// Asks for `/metrics` once, answered within `limit`.
pub async fn scrape(control: &ControlPlane, limit: Duration) -> Scrape {
    let answer = match control.get("/metrics", limit).await {
        Ok(answer) => answer,
        Err(error @ HttpError::Timeout { .. }) => {
            return Scrape::Failed { reason: format!("/metrics gave {error}") };
        }
        Err(error) => return Scrape::Failed { reason: format!("/metrics: {error}") },
    };
    match answer.status {
        200 => {}
        404 | 405 | 501 => {
            let reason = format!("/metrics answered {}: this server offers none", answer.status);
            return Scrape::Absent { reason };
        }
        status => return Scrape::Failed { reason: format!("/metrics answered {status}") },
    }
    let mut page = read(&answer.text());
    if page.samples.is_empty() && page.unreadable_lines > 0 {
        return Scrape::Failed {
            reason: "/metrics answered something else than metrics".to_owned(),
        };
    }
    let process_start = answer.headers.get("process-start-time-unix");
    page.process_start =
        process_start.and_then(|value| Some(value.to_str().ok()?.trim().to_owned()));
    Scrape::Page(page)
}

/// Reads the text of a page. Never fails: what cannot be read is counted.
#[must_use]
pub fn read(text: &str) -> Page {
    let mut sample_lines: u64 = 0;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter_map(|line| {
            if let Some(comment) = line.strip_prefix('#') {
                return encode_type(comment);
            }
            sample_lines += 1;
            encode(line)
        })
        .collect();
    let parsed = Parsed::parse(lines.into_iter().map(Ok))
        .expect("reading from memory cannot fail, and the parser reports nothing else");

    let mut samples = Vec::new();
    for sample in &parsed.samples {
        let labels = |extra: Option<(&str, f64)>| {
            let mut labels: Vec<(String, String)> =
                sample.labels.iter().map(|(name, value)| (name.clone(), decode(value))).collect();
            labels.extend(extra.map(|(name, value)| (name.to_owned(), bound(value))));
            labels.sort();
            labels
        };
        let name = decode_name(&sample.metric);
        match &sample.value {
            Value::Counter(value) => {
                samples.push((series(&name, &labels(None)), Kind::Counter, *value))
            }
            Value::Gauge(value) => {
                samples.push((series(&name, &labels(None)), Kind::Gauge, *value))
            }
            Value::Untyped(value) => {
                samples.push((series(&name, &labels(None)), kind_by_name(&name), *value));
            }
            Value::Histogram(buckets) => samples.extend(buckets.iter().map(|bucket| {
                let labels = labels(Some(("le", bucket.less_than)));
                (series(&format!("{name}_bucket"), &labels), Kind::Counter, bucket.count)
            })),
            Value::Summary(quantiles) => samples.extend(quantiles.iter().map(|quantile| {
                let labels = labels(Some(("quantile", quantile.quantile)));
                (series(&name, &labels), Kind::Gauge, quantile.count)
            })),
        }
    }
    let unreadable_lines = sample_lines.saturating_sub(samples.len() as u64);
    let samples =
        samples.into_iter().map(|(name, kind, value)| Sample { name, kind, value }).collect();
    Page { samples, process_start: None, unreadable_lines }
}

/// OpenMetrics types a counter under its name without `_total`; histograms have untyped sums.
fn kind_by_name(name: &str) -> Kind {
    if ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end)) {
        Kind::Counter
    } else {
        Kind::Unknown
    }
}

fn series(name: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            format!("{name}=\"{value}\"")
        })
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn bound(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

/// Stands for `:` inside names on the way through the parser: U+02D0, which counts as a letter for
/// its pattern and which no metric name may contain.
const COLON: char = 'ː';

fn encode_name(name: &str) -> String {
    name.replace(':', &COLON.to_string())
}

fn decode_name(name: &str) -> String {
    name.replace(COLON, ":")
}

/// ` TYPE llamacpp:x counter` in the parser's form; `None` for other comments, which say nothing
/// that we keep.
fn encode_type(comment: &str) -> Option<String> {
    let mut words = comment.split_whitespace();
    if words.next()? != "TYPE" {
        return None;
    }
    Some(format!("# TYPE {} {}", encode_name(words.next()?), words.next()?))
}

/// A sample line in the parser's form: no colon in the name, nothing in a label's value that it
/// would take for a delimiter. `None` if the line is broken.
fn encode(line: &str) -> Option<String> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let mut encoded = encode_name(name);
    let rest = match rest.strip_prefix('{') {
        None => rest,
        Some(rest) => {
            let (labels, rest) = split_labels(rest)?;
            if !labels.is_empty() {
                let labels: Vec<String> = labels
                    .iter()
                    .map(|(name, value)| format!("{name}=\"{}\"", percent_encoded(value)))
                    .collect();
                write!(encoded, "{{{}}}", labels.join(",")).expect("a String takes every write");
            }
            rest
        }
    };
    Some(format!("{encoded} {}", rest.trim_start()))
}

/// The labels up to the closing brace, values unescaped, and what is behind it.
fn split_labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once('=')?;
        let quoted = behind.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        rest = loop {
            match chars.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((name.trim(), value));
    }
}

/// The value in letters, digits and a few marks that mean nothing to the parser.
fn percent_encoded(value: &str) -> String {
    value.chars().fold(String::new(), |mut encoded, c| {
        if c.is_alphanumeric() || "._-/+: ".contains(c) {
            encoded.push(c);
        } else {
            write!(encoded, "%{:x};", u32::from(c)).expect("a String takes every write");
        }
        encoded
    })
}

fn decode(value: &str) -> String {
    let mut decoded = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once('%') {
        decoded.push_str(before);
        let (code, next) = behind.split_once(';').unwrap_or((behind, ""));
        decoded.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
        rest = next;
    }
    decoded.push_str(rest);
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, Kind, f64)]) {
        let page = read(text);
        let found: Vec<(&str, Kind, f64)> =
            page.samples.iter().map(|s| (s.name.as_str(), s.kind, s.value)).collect();
        assert_eq!(found, expected);
        assert_eq!(page.unreadable_lines, 0);
    }

    #[test]
    fn every_name_of_llama_server_is_read() {
        // Guards against the parser's pattern, which has no colon in it.
        for name in [
            "prompt_tokens_total",
            "prompt_tokens_cached_total",
            "prompt_seconds_total",
            "tokens_predicted_total",
            "tokens_predicted_seconds_total",
            "n_decode_total",
            "n_tokens_max",
            "spec_decode_num_draft_tokens_total",
            "spec_decode_num_accepted_tokens_total",
            "spec_decode_num_drafts_total",
        ] {
            let name = format!("llamacpp:{name}");
            let text = format!(
                "# HELP {name} Some help: with colons.\n# TYPE {name} counter\n{name} 12.5\n"
            );
            check(&text, &[(&name, Kind::Counter, 12.5)]);
        }
        for name in [
            "prompt_tokens_seconds",
            "predicted_tokens_seconds",
            "requests_processing",
            "requests_deferred",
            "n_busy_slots_per_decode",
            "kv_cache_usage_ratio",
            "kv_cache_tokens",
        ] {
            let name = format!("llamacpp:{name}");
            check(&format!("# TYPE {name} gauge\n{name} 3"), &[(&name, Kind::Gauge, 3.0)]);
        }
        check(
            "# TYPE llamacpp:spec_decode_num_accepted_tokens_per_pos_total counter\n\
             llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position=\"0\"} 7\n\
             llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position=\"1\"} 4\n",
            &[
                (
                    r#"llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"}"#,
                    Kind::Counter,
                    7.0,
                ),
                (
                    r#"llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"}"#,
                    Kind::Counter,
                    4.0,
                ),
            ],
        );
    }

    #[test]
    fn the_recorded_page_is_read_whole() {
        let recorded = include_str!("../../tests/fixtures/llama-server/metrics-11434.txt");
        let page = read(recorded);
        assert_eq!((page.samples.len(), page.unreadable_lines), (15, 0));
        let of = |kind| page.samples.iter().filter(|sample| sample.kind == kind).count();
        assert_eq!((of(Kind::Counter), of(Kind::Gauge)), (10, 5));
        assert!(page.samples.iter().all(|sample| sample.name.starts_with("llamacpp:")));
    }

    #[test]
    fn labels_survive_whatever_is_in_them() {
        check(
            r#"m{b="x,y=z}",a="C:\\dir \"q\" % ;"} 1 1395066363000"#,
            &[(r#"m{a="C:\\dir \"q\" % ;",b="x,y=z}"}"#, Kind::Unknown, 1.0)],
        );
        check("m{} 1", &[("m", Kind::Unknown, 1.0)]);
        check(r#"m{ a = "1" , } 2"#, &[(r#"m{a="1"}"#, Kind::Unknown, 2.0)]);
        check(r#"m{a=""} 2"#, &[(r#"m{a=""}"#, Kind::Unknown, 2.0)]);
    }

    #[test]
    fn special_values_and_unknown_names_are_kept() {
        let page = read("a NaN\nb +Inf\nc -Inf\nnew:thing_total 1e3\n");
        assert_eq!(page.samples.len(), 4);
        assert!(page.samples[0].value.is_nan());
        assert!(page.samples[1].value.is_infinite() && page.samples[1].value > 0.0);
        assert_eq!((page.samples[3].kind, page.samples[3].value), (Kind::Counter, 1000.0));
    }

    #[test]
    fn histograms_and_summaries_become_plain_series() {
        let page = read(
            "# TYPE v:e2e histogram\nv:e2e_bucket{le=\"0.5\",m=\"x\"} 2\nv:e2e_bucket{le=\"+Inf\",m=\"x\"} 3\n\
             v:e2e_sum{m=\"x\"} 1.5\nv:e2e_count{m=\"x\"} 3\n# TYPE s summary\ns{quantile=\"0.5\"} 4\n",
        );
        let mut names: Vec<&str> = page.samples.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "s{quantile=\"0.5\"}",
                "v:e2e_bucket{le=\"+Inf\",m=\"x\"}",
                "v:e2e_bucket{le=\"0.5\",m=\"x\"}",
                "v:e2e_count{m=\"x\"}",
                "v:e2e_sum{m=\"x\"}",
            ]
        );
        assert_eq!(page.unreadable_lines, 0);
    }

    #[test]
    fn broken_lines_are_counted_and_do_not_hide_the_others() {
        let page = read("good 1\n<html>\nbad{a=\"\nworse abc\n\n# comment\nalso_good 2\n");
        let names: Vec<&str> = page.samples.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["good", "also_good"]);
        assert_eq!(page.unreadable_lines, 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let page = read(&text);
            proptest::prop_assert!(page.samples.len() <= text.lines().count());
        }

        #[test]
        fn any_label_value_comes_back(value in "[^\r\n]*") {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"");
            let page = read(&format!("m{{a=\"{escaped}\"}} 1"));
            proptest::prop_assert_eq!(&page.samples[0].name, &format!("m{{a=\"{escaped}\"}}"));
        }
    }
}
