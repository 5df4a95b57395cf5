//! Metrics as Prometheus knows them, before they are written in any format.
//!
//! Main type: [`Family`]. Pure. What is in them is `board`'s.

/// A name and a value.
pub(super) type Label = (String, String);

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows while the run lasts; its sample has the suffix `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; what it says is in its labels. Its sample has the suffix `_info`.
    Info,
    /// Counts by upper end, with sum and count.
    Histogram,
}

/// One metric with all its samples.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    /// Without the suffix of its samples.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The unit that its name ends with; `None` where it has none.
    pub(super) unit: Option<&'static str>,
    /// One line.
    pub(super) help: &'static str,
    pub(super) samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// What the sample's name has behind the family's.
    pub(super) suffix: &'static str,
    pub(super) labels: Vec<Label>,
    pub(super) value: f64,
}

impl Family {
    /// A family of one counter.
    pub(super) fn counter(name: impl Into<String>, help: &'static str, value: f64) -> Self {
        Self::of(name, Kind::Counter, help, vec![Sample::total(Vec::new(), value)])
    }

    /// A family of one gauge.
    pub(super) fn gauge(name: impl Into<String>, help: &'static str, value: f64) -> Self {
        let sample = Sample { suffix: "", labels: Vec::new(), value };
        Self::of(name, Kind::Gauge, help, vec![sample])
    }

    /// A family with these samples.
    pub(super) fn of(
        name: impl Into<String>,
        kind: Kind,
        help: &'static str,
        samples: Vec<Sample>,
    ) -> Self {
        let name = name.into();
        let unit = ["seconds", "bytes"]
            .into_iter()
            .find(|unit| name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')));
        Self { name, kind, unit, help, samples }
    }

    /// Every sample with its whole name.
    pub(super) fn series(&self) -> impl Iterator<Item = (String, &Sample)> {
        self.samples.iter().map(|sample| (format!("{}{}", self.name, sample.suffix), sample))
    }
}

impl Sample {
    /// Of a counter.
    pub(super) fn total(labels: Vec<Label>, value: f64) -> Self {
        Self { suffix: "_total", labels, value }
    }
}

/// Counts by upper end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    /// Ascending, in the unit of the metric.
    bounds: &'static [f64],
    /// One for each bound, and one more for what is above all; not cumulative.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// Nothing yet.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts a value.
    pub(super) fn add(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }

    /// Adds counts that were made elsewhere, by the same bounds.
    pub(super) fn add_counts(&mut self, counts: &[u64], sum: f64) {
        for (own, more) in self.counts.iter_mut().zip(counts) {
            *own += more;
        }
        self.sum += sum;
    }

    /// As a family. Bounds are written as floating-point numbers, `1.0` and not `1`, in every format, so
    /// that they make the same series.
    pub(super) fn family(&self, name: &str, help: &'static str) -> Family {
        let mut cumulative = 0;
        let ends = self.bounds.iter().map(|bound| format!("{bound:?}"));
        let mut samples: Vec<Sample> = ends
            .chain(["+Inf".to_owned()])
            .zip(&self.counts)
            .map(|(end, count)| {
                cumulative += count;
                Sample {
                    suffix: "_bucket",
                    labels: vec![("le".to_owned(), end)],
                    value: cumulative as f64,
                }
            })
            .collect();
        let plain = |suffix, value| Sample { suffix, labels: Vec::new(), value };
        samples.push(plain("_sum", self.sum));
        samples.push(plain("_count", cumulative as f64));
        Family::of(name, Kind::Histogram, help, samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_its_count() {
        let mut histogram = Histogram::new(&[0.5, 1.0]);
        for value in [0.1, 0.5, 0.7, 3.0] {
            histogram.add(value);
        }
        histogram.add_counts(&[1, 0, 1], 2.0);
        let family = histogram.family("x_seconds", "help");
        let values: Vec<(String, Option<&str>, f64)> = family
            .series()
            .map(|(name, sample)| {
                (name, sample.labels.first().map(|(_, end)| end.as_str()), sample.value)
            })
            .collect();
        let expected = [
            ("x_seconds_bucket", Some("0.5"), 3.0),
            ("x_seconds_bucket", Some("1.0"), 4.0),
            ("x_seconds_bucket", Some("+Inf"), 6.0),
            ("x_seconds_sum", None, 6.3),
            ("x_seconds_count", None, 6.0),
        ];
        let expected: Vec<(String, Option<&str>, f64)> =
            expected.map(|(name, end, value)| (name.to_owned(), end, value)).to_vec();
        assert_eq!(values, expected);
        assert_eq!(family.unit, Some("seconds"));
    }
}
