//! What `ab.md` says of several sessions: who said what, and how much they differ.
//!
//! Main functions: [`table`] and [`confirmed_by`].

use super::ab_markdown::{gated, mark, percent, signed};
use super::escape::escape;
use super::number::short;
use crate::artifact::{AbReport, AbVerdict, DesignKind};

/// How many sessions stand behind a verdict that somebody may act on; `None` for one session, and for a
/// verdict that needs no confirmation.
pub(super) fn confirmed_by(report: &AbReport) -> Option<u64> {
    let decided = matches!(report.verdict, AbVerdict::Regressed | AbVerdict::Improved);
    if report.design.kind != DesignKind::Sessions || !decided {
        return None;
    }
    gated(report)
        .filter(|gate| gate.verdict == Some(report.verdict))
        .map(|gate| gate.pairs)
        .max()
        .filter(|sessions| *sessions > 1)
}

/// One row a session, then how much they differ.
pub(super) fn table(report: &AbReport, line: &mut impl FnMut(&str)) {
    let metrics: Vec<&str> = gated(report).map(|gate| gate.metric.as_str()).collect();
    line("");
    line("### Sessions");
    line("");
    let heads: Vec<String> =
        metrics.iter().map(|metric| format!(" `{}` |", escape(metric))).collect();
    line(&format!("| session | machine | pairs |{} by itself |", heads.concat()));
    line(&format!("| :-- | :-- | --: |{} :-- |", " --: |".repeat(metrics.len())));
    for session in &report.sessions {
        let values: Vec<String> = metrics
            .iter()
            .map(|metric| match session.change_pct.get(*metric) {
                Some(change) => {
                    let interval =
                        session.ci_pct.get(*metric).map_or_else(String::new, |[low, high]| {
                            format!(" ({} … {})", signed(*low), signed(*high))
                        });
                    format!(" {}{interval} |", percent(*change))
                }
                None => " – |".to_owned(),
            })
            .collect();
        let label = session.runner_label.as_deref().unwrap_or("–");
        let fingerprint = session.fingerprint.as_deref().unwrap_or("unknown");
        line(&format!(
            "| {} | {} {} | {} |{} {} |",
            escape(&session.file),
            escape(label),
            escape(fingerprint),
            session.pairs,
            values.concat(),
            mark(session.verdict),
        ));
    }
    line("");
    line("How much the change differs between the machines:");
    line("");
    for found in
        report.heterogeneity.iter().filter(|found| metrics.contains(&found.metric.as_str()))
    {
        let how = match found.method.as_str() {
            "both" => "two sessions, so both must say it",
            "one" => "one session",
            _ => "random effects",
        };
        line(&format!(
            "- `{}`: τ {} %, I² {} %, Q {}, median {} ({how})",
            escape(&found.metric),
            short(found.tau_pct),
            short(found.i_squared_pct),
            short(found.q),
            percent(found.median_pct),
        ));
    }
}
