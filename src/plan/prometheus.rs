//! What a run tells Prometheus and its kin, and what it asks of them.
//!
//! Main type: [`PrometheusSpec`]. It says where and under which names; what is told is in
//! `crate::prometheus`. Nothing here opens a connection.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Secret;

/// Between two pushes: k6's.
pub const PUSH_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that a run has to do with Prometheus; the default is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrometheusSpec {
    /// The Prometheus that is asked after the load; `None`: none is.
    pub query: Option<QuerySpec>,
    /// `host:port` on which our own metrics are served while the run lasts.
    pub serve: Option<String>,
    /// Where they are written to by Prometheus' remote write protocol, the whole address.
    pub remote_write: Option<Destination>,
    /// The Pushgateway that they are put into, its base address without a slash at the end.
    pub pushgateway: Option<Destination>,
    /// What they are called.
    pub names: MetricNames,
    /// Further labels of all of them, by name; each name once.
    pub labels: Vec<(String, String)>,
    /// Between two pushes.
    pub push_interval: Duration,
}

impl Default for PrometheusSpec {
    fn default() -> Self {
        Self {
            query: None,
            serve: None,
            remote_write: None,
            pushgateway: None,
            names: MetricNames::BenchCi,
            labels: Vec::new(),
            push_interval: PUSH_INTERVAL,
        }
    }
}

impl PrometheusSpec {
    /// Whether anything of ours is to be served or pushed.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.serve.is_some() || self.remote_write.is_some() || self.pushgateway.is_some()
    }

    /// Whether there is nothing to do at all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.query.is_none() && !self.publishes()
    }
}

/// A Prometheus that is asked for the server's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuerySpec {
    /// Its base address, without a slash at the end.
    pub at: Destination,
    /// Which of the instances that it scrapes; empty: the only one, or the one of our server's address.
    pub matchers: Vec<Matcher>,
}

/// An address with what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// `http` or `https`, without user and password.
    pub url: String,
    /// The value of the header `Authorization`; `None` where no variable gives one.
    pub authorization: Option<Secret>,
}

/// What our metrics are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricNames {
    /// `bench_ci_…`, with histograms.
    BenchCi,
    /// `k6_…` as k6's Prometheus output has them, with llama.cpp's own.
    K6,
}

/// A condition on a label, as PromQL has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// How it is compared.
    pub operator: MatchOperator,
    /// With what.
    pub value: String,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MatchOperator {
    /// `=`
    #[serde(rename = "=")]
    Equal,
    /// `!=`
    #[serde(rename = "!=")]
    NotEqual,
    /// `=~`
    #[serde(rename = "=~")]
    Matches,
    /// `!~`
    #[serde(rename = "!~")]
    MatchesNot,
}

impl MatchOperator {
    /// Longest first: `=` begins `=~`.
    const ALL: [(MatchOperator, &'static str); 4] = [
        (MatchOperator::NotEqual, "!="),
        (MatchOperator::Matches, "=~"),
        (MatchOperator::MatchesNot, "!~"),
        (MatchOperator::Equal, "="),
    ];

    fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(known, _)| *known == self).map_or("=", |(_, sign)| sign)
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}{}\"{}\"",
            self.label,
            self.operator.sign(),
            escaped_label_value(&self.value)
        )
    }
}

/// A label's value between double quotes, in PromQL and in both text formats.
#[must_use]
pub fn escaped_label_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Reads `instance="host:8080",job=~"llama.*"`, in braces or not. Quotes may be left out around a
/// value without blanks, commas, braces and quotes.
///
/// # Errors
/// What is wrong, as a fragment.
pub fn matchers(text: &str) -> Result<Vec<Matcher>, String> {
    let text = text.trim();
    let text = match text.strip_prefix('{') {
        Some(inside) => inside.strip_suffix('}').ok_or("its brace is not closed")?,
        None => text,
    };
    let mut rest = text.trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_label_char(c)).unwrap_or(rest.len());
        let (label, behind) = rest.split_at(end);
        if !is_label_name(label) {
            return Err(format!("no label's name at \"{}\"", short(rest)));
        }
        let behind = behind.trim_start();
        let (operator, behind) = MatchOperator::ALL
            .iter()
            .find_map(|(operator, sign)| Some((*operator, behind.strip_prefix(sign)?)))
            .ok_or_else(|| format!("no =, !=, =~ or !~ behind \"{label}\""))?;
        let (value, behind) = value(behind.trim_start())?;
        matchers.push(Matcher { label: label.to_owned(), operator, value });
        rest = behind.trim_start();
        if !rest.is_empty() {
            rest = rest
                .strip_prefix(',')
                .ok_or_else(|| format!("no comma before \"{}\"", short(rest)))?
                .trim_start();
        }
    }
    if matchers.is_empty() {
        return Err("it names no label".to_owned());
    }
    Ok(matchers)
}

/// A value and what is behind it.
fn value(text: &str) -> Result<(String, &str), String> {
    let Some(quote) = text.chars().next().filter(|c| ['"', '\''].contains(c)) else {
        let end = text.find([',', '}', '{', '"', '\'']).unwrap_or(text.len());
        let (value, behind) = text.split_at(end);
        let value = value.trim_end();
        if value.is_empty() || value.contains(char::is_whitespace) {
            return Err(format!("no value at \"{}\"", short(text)));
        }
        return Ok((value.to_owned(), behind));
    };
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other @ ('\\' | '"' | '\''))) => value.push(other),
                // A regular expression's own, such as `\d`, is left to Prometheus.
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err("its quote is not closed".to_owned())
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

fn is_label_char(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Whether Prometheus takes it as the name of a label.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    name.chars().all(is_label_char)
        && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(text: &str, expected: &[&str]) {
        let found = matchers(text).expect("matchers");
        let words: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(words, expected, "{text}");
    }

    #[test]
    fn matchers_are_read_as_promql_has_them_and_more_kindly() {
        read("instance=\"127.0.0.1:8080\"", &["instance=\"127.0.0.1:8080\""]);
        read("{job='a b', zone!~\"x|y\",}", &["job=\"a b\"", "zone!~\"x|y\""]);
        read("instance=host:8080 , job=~llama.*", &["instance=\"host:8080\"", "job=~\"llama.*\""]);
        read(r#"a="q\"\\n\n""#, &[r#"a="q\"\\n\n""#]);
        read(r#"a=~"\d+""#, &[r#"a=~"\\d+""#]);
        read("a=\"\"", &["a=\"\""]);
    }

    #[test]
    fn what_is_no_matcher_is_refused_and_cannot_break_out_of_a_query() {
        for text in [
            "",
            "{}",
            "{a=\"b\"",
            "a",
            "a=",
            "1a=b",
            "a~b",
            "a=\"b",
            "a=b c",
            "a=\"b\"} or vector(1)",
            "a=b,,c=d",
            "a=\"b\" c=\"d\"",
            "ä=b",
        ] {
            assert!(matchers(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_is_read_back(value in "[^\\\\]*") {
            let matcher = Matcher { label: "a".to_owned(), operator: MatchOperator::Equal, value };
            proptest::prop_assert_eq!(matchers(&matcher.to_string()), Ok(vec![matcher]));
        }
    }
}
