//! Requests that did not complete, by kind.
//!
//! Main function: [`section`].

use super::page::Page;
use crate::artifact::Report;
use crate::load::FailureKind;
use crate::report::escape::escape;
use crate::report::number::whole;

pub(super) fn section(report: &Report, page: &mut Page) {
    let requests = &report.requests;
    if requests.failed + requests.dropped + requests.cut + requests.cancelled == 0 {
        return;
    }
    page.heading("Requests that did not complete");
    let mut rows: Vec<Vec<String>> = FailureKind::ALL
        .iter()
        .filter_map(|kind| {
            let count = requests.by_error.get(kind)?;
            let example = requests.error_examples.get(kind).map_or("", String::as_str);
            Some(vec![format!("`{}`", kind.name()), whole(*count), escape(example)])
        })
        .collect();
    for (name, count, meaning) in [
        ("dropped", requests.dropped, "planned, but never sent"),
        ("cut", requests.cut, "still in flight when the run ended"),
        ("cancelled", requests.cancelled, "hung up on purpose, as the workload says"),
    ] {
        if count > 0 {
            rows.push(vec![format!("`{name}`"), whole(count), meaning.to_owned()]);
        }
    }
    page.table(&["Kind", "requests", "for example"], &rows);
}
