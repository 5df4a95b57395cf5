//! Times that servers and gateways tell in their response headers, over the measured requests.
//!
//! Main function: [`figures`]. A header says what it means by itself; nothing here turns it into
//! another unit, and no figure of ours is made from it.

use std::collections::BTreeMap;

use super::quantile;
use crate::load::{Phase, RequestRecord};

/// Names that may be made of one run's headers; a server that invents a new one for every request
/// is no source of figures.
const MOST_NAMES: usize = 64;

/// One header's numbers, in whatever unit the server sends them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeaderFigures {
    /// Requests whose answer had it; at least 1.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The largest.
    pub max: f64,
}

/// By the header's name; an entry of `server-timing` is `server-timing:NAME`. Headers that hold no
/// number are left out.
#[must_use]
pub fn figures(records: &[RequestRecord]) -> BTreeMap<String, HeaderFigures> {
    let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.phase == Phase::Measured) {
        for (name, value) in
            record.server_headers.iter().flat_map(|(name, value)| numbers(name, value))
        {
            if values.len() < MOST_NAMES || values.contains_key(&name) {
                values.entry(name).or_default().push(value);
            }
        }
    }
    values.into_iter().map(|(name, values)| (name, HeaderFigures::of(values))).collect()
}

impl HeaderFigures {
    /// Of at least one value.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let count = values.len();
        Self {
            count: count as u64,
            mean: values.iter().sum::<f64>() / count as f64,
            min: values[0],
            p50: quantile::interpolated(&values, 0.5),
            max: values[count - 1],
        }
    }
}

/// The numbers of one header. `server-timing` is a list of `NAME;dur=MS;desc="…"`.
fn numbers(name: &str, value: &str) -> Vec<(String, f64)> {
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
    if name != "server-timing" {
        // Some write the unit behind it.
        let bare = value.trim().trim_end_matches("ms").trim_end_matches('s');
        return number(bare).map(|value| (name.to_owned(), value)).into_iter().collect();
    }
    let entry = |entry: &str| {
        let mut parts = entry.split(';').map(str::trim);
        let metric = parts.next().filter(|metric| !metric.is_empty())?;
        let duration = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("dur")
                .then(|| number(value.trim().trim_matches('"')))?
        })?;
        Some((format!("server-timing:{metric}"), duration))
    };
    value.split(',').filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::completed;

    fn with(headers: &[(&str, &str)]) -> RequestRecord {
        let mut record = completed(0);
        record.server_headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        record
    }

    #[test]
    fn numbers_are_taken_from_every_form_and_words_are_left_out() {
        let records = [
            with(&[
                ("server-timing", "miss, db;dur=10, app;desc=\"x\";dur=\"2.5\""),
                ("x-request-id", "a"),
            ]),
            with(&[
                ("server-timing", "db;dur=30"),
                ("x-total-time", "7"),
                ("x-process-time", "1.5ms"),
            ]),
        ];
        let found = figures(&records);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["server-timing:app", "server-timing:db", "x-process-time", "x-total-time"]
        );
        let db = found["server-timing:db"];
        assert_eq!((db.count, db.mean, db.min, db.p50, db.max), (2, 20.0, 10.0, 20.0, 30.0));
    }

    #[test]
    fn warm_up_is_in_no_figure() {
        let mut record = with(&[("x-total-time", "7")]);
        record.phase = Phase::WarmUp;
        assert!(figures(&[record]).is_empty());
    }
}
