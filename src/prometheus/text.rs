//! Metrics as text: OpenMetrics 1.0.0, and Prometheus' own format 0.0.4; and which of them is asked for.
//!
//! Main type: [`Format`]. Pure.

use std::fmt::Write as _;

use super::family::{Family, Kind, Label};
use crate::plan::prometheus::escaped_label_value;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Plain,
}

impl Format {
    /// The one that a header `Accept` prefers; without one, Prometheus' own.
    pub(super) fn preferred(accept: Option<&str>) -> Self {
        let (mut open, mut plain) = (0.0_f64, 0.0_f64);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match kind.as_str() {
                // Of 0.0.1, which is not quite the same, we know nothing.
                "application/openmetrics-text" if version.is_none_or(|it| it == "1.0.0") => {
                    open = open.max(quality);
                }
                "text/plain" | "text/*" | "*/*" => plain = plain.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Format::OpenMetrics } else { Format::Plain }
    }

    /// The value of `Content-Type`.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The page; each sample has `labels` besides its own.
    pub(super) fn page(self, families: &[Family], labels: &[Label]) -> String {
        let mut page = String::new();
        for family in families {
            self.write(family, labels, &mut page).expect("a String takes every write");
        }
        if self == Format::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }

    fn write(self, family: &Family, labels: &[Label], page: &mut String) -> std::fmt::Result {
        // In OpenMetrics the family has its name, in the older format the sample.
        let name = match (self, family.kind) {
            (Format::Plain, Kind::Counter) => format!("{}_total", family.name),
            (Format::Plain, Kind::Info) => format!("{}_info", family.name),
            _ => family.name.clone(),
        };
        let kind = match (self, family.kind) {
            (_, Kind::Counter) => "counter",
            (Format::OpenMetrics, Kind::Info) => "info",
            (_, Kind::Gauge | Kind::Info) => "gauge",
            (_, Kind::Histogram) => "histogram",
        };
        writeln!(page, "# TYPE {name} {kind}")?;
        if let (Format::OpenMetrics, Some(unit)) = (self, family.unit) {
            writeln!(page, "# UNIT {name} {unit}")?;
        }
        let mut help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        if self == Format::OpenMetrics {
            help = help.replace('"', "\\\"");
        }
        writeln!(page, "# HELP {name} {help}")?;
        for (name, sample) in family.series() {
            page.push_str(&name);
            let own = &sample.labels;
            let further =
                labels.iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name));
            let written: Vec<String> = own
                .iter()
                .chain(further)
                .map(|(name, value)| format!("{name}=\"{}\"", escaped_label_value(value)))
                .collect();
            if !written.is_empty() {
                write!(page, "{{{}}}", written.join(","))?;
            }
            writeln!(page, " {}", number(sample.value))?;
        }
        Ok(())
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::{Histogram, Sample};
    use super::*;

    fn label(name: &str, value: &str) -> Label {
        (name.to_owned(), value.to_owned())
    }

    fn families() -> Vec<Family> {
        let mut histogram = Histogram::new(&[1.0]);
        histogram.add(0.5);
        let info = Sample {
            suffix: "_info",
            labels: vec![label("branch", "a\"b\\c\nd"), label("job", "own")],
            value: 1.0,
        };
        vec![
            Family::of("run", Kind::Info, "Say \"what\".", vec![info]),
            Family::counter("requests", "Back\\slash.", 3.0),
            Family::gauge("busy", "Now.", f64::NAN),
            histogram.family("ttft_seconds", "Time."),
        ]
    }

    #[test]
    fn a_page_of_open_metrics() {
        let page = Format::OpenMetrics.page(&families(), &[]);
        assert_eq!(
            page,
            "# TYPE run info\n# HELP run Say \\\"what\\\".\n\
             run_info{branch=\"a\\\"b\\\\c\\nd\",job=\"own\"} 1\n\
             # TYPE requests counter\n# HELP requests Back\\\\slash.\nrequests_total 3\n\
             # TYPE busy gauge\n# HELP busy Now.\nbusy NaN\n\
             # TYPE ttft_seconds histogram\n# UNIT ttft_seconds seconds\n# HELP ttft_seconds Time.\n\
             ttft_seconds_bucket{le=\"1.0\"} 1\nttft_seconds_bucket{le=\"+Inf\"} 1\n\
             ttft_seconds_sum 0.5\nttft_seconds_count 1\n# EOF\n"
        );
    }

    #[test]
    fn a_page_of_the_older_format_names_samples_and_knows_no_info() {
        let page = Format::Plain.page(&families(), &[label("job", "x")]);
        assert!(
            page.starts_with("# TYPE run_info gauge\n# HELP run_info Say \"what\".\n"),
            "{page}"
        );
        assert!(page.contains(",job=\"own\"} 1\n"), "a sample's own label goes first: {page}");
        assert!(page.contains("# TYPE requests_total counter\n"), "{page}");
        assert!(page.contains("requests_total{job=\"x\"} 3\n"), "{page}");
        assert!(page.contains("ttft_seconds_bucket{le=\"1.0\",job=\"x\"} 1\n"), "{page}");
        assert!(!page.contains("UNIT") && !page.contains("EOF"), "{page}");
    }

    #[test]
    fn what_is_preferred_is_what_is_sent() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                            version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (Some(prometheus_2), Format::OpenMetrics),
            (Some(prometheus_3), Format::OpenMetrics),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (Some("application/openmetrics-text; version=\"1.0.0\""), Format::OpenMetrics),
            (Some("application/openmetrics-text;version=0.0.1"), Format::Plain),
            (Some("application/openmetrics-text;q=0"), Format::Plain),
            (Some("application/openmetrics-text;q=0.2,text/plain"), Format::Plain),
            (Some("*/*"), Format::Plain),
            (Some("text/html"), Format::Plain),
            (Some(""), Format::Plain),
            (None, Format::Plain),
        ] {
            assert_eq!(Format::preferred(accept), expected, "{accept:?}");
        }
    }
}
