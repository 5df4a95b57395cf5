//! The first line: what a reader must know before any number.
//!
//! Main type: [`Verdict`]. It judges nothing anew; it reads what the report says and puts the worst
//! of it into one sentence.

use crate::artifact::{Report, RunStatus};
use crate::exit::ExitCode;
use crate::stats::{ServerKind, metric};

use super::number::short;

/// The word that the line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Everything asked for was done, and the numbers are evidence.
    Ok,
    /// The run ended early; what there is may be read with care.
    Partial,
    /// Everything asked for was done, but the numbers are not evidence, which a flag accepted.
    Accepted,
    /// Something failed, or the numbers are not evidence.
    Failed,
}

impl Word {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Word::Ok => "OK",
            Word::Partial => "Partial",
            Word::Accepted => "Not evidence",
            Word::Failed => "Failed",
        }
    }
}

/// Word and sentence, without markup. May hold text from outside: escape before printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The word.
    pub word: Word,
    /// What follows it, without final full stop.
    pub sentence: String,
}

impl Verdict {
    /// Of a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let mut verdict = Self::judged(report);
        if report.server.kind == ServerKind::Sim {
            verdict
                .sentence
                .push_str("; made with the simulator (bench-ci sim), not a real server");
        }
        verdict
    }

    fn judged(report: &Report) -> Self {
        let requests = &report.requests;
        let done = format!("{} of {} requests completed", requests.completed, requests.planned);
        let causes = report.run.causes.join("; ");
        if report.run.status == RunStatus::Failed {
            let why =
                if causes.is_empty() { "the run ended before the load began" } else { &causes };
            return Self { word: Word::Failed, sentence: format!("nothing was measured: {why}") };
        }
        let mut against: Vec<String> =
            report.client.reasons.iter().map(|reason| reason.message.clone()).collect();
        // The death of the server explains the failures, so it comes first; where the cause is known in
        // better words, those stand there already.
        if let Some(position) =
            report.client.reasons.iter().position(|reason| reason.code.starts_with("server_"))
        {
            let death = against.remove(position);
            if causes.is_empty() {
                against.insert(0, death);
            }
        }
        if report.run.status == RunStatus::Partial {
            let why = if causes.is_empty() { "the run ended early" } else { &causes };
            let server_died =
                report.client.reasons.iter().any(|reason| reason.code == "server_died");
            let stopped_by_threshold = report.thresholds.iter().any(|threshold| threshold.aborted);
            let failed = server_died || stopped_by_threshold;
            let word = if failed { Word::Failed } else { Word::Partial };
            let rest = match (report.client.valid, against.is_empty()) {
                (true, _) => "; the figures cover what was done until then".to_owned(),
                (false, true) => ": these numbers are not evidence".to_owned(),
                (false, false) => {
                    format!("; {}: these numbers are not evidence", against.join("; "))
                }
            };
            return Self { word, sentence: format!("{why}; {done}{rest}") };
        }
        if !report.client.valid {
            if against.is_empty() {
                against.push(causes.clone());
            }
            let excused = report.client.limits.accept_saturated_client
                && report.run.exit_code != Some(ExitCode::NotEvidence.code());
            if let Some(crossed) = crossed(report) {
                let sentence =
                    format!("{}: these numbers are not evidence; {crossed}", against.join("; "));
                return Self { word: Word::Failed, sentence };
            }
            // Whoever accepts a slow client has been told, and the run did not fail; but its numbers
            // are no better for that.
            return if excused {
                let sentence = format!(
                    "{done}{}; the numbers are not evidence (accepted by --accept-saturated-client): {}",
                    headline(report),
                    against.join("; ")
                );
                Self { word: Word::Accepted, sentence }
            } else {
                let sentence = format!("{}: these numbers are not evidence", against.join("; "));
                Self { word: Word::Failed, sentence }
            };
        }
        if let Some(sentence) = crossed(report) {
            return Self { word: Word::Failed, sentence };
        }
        if let Some(code) = report.run.exit_code.filter(|code| *code != 0) {
            let meaning = ExitCode::ALL.iter().find(|known| known.code() == code);
            let meaning = meaning.map_or("unknown exit code", |known| known.meaning());
            let why = if causes.is_empty() { meaning } else { &causes };
            return Self {
                word: Word::Failed,
                sentence: format!("{why} (exit code {code}); {done}"),
            };
        }
        Self { word: Word::Ok, sentence: format!("{done}{}", headline(report)) }
    }
}

/// The thresholds that were crossed, in words; `None` where all held.
fn crossed(report: &Report) -> Option<String> {
    let crossed: Vec<&str> = report
        .thresholds
        .iter()
        .filter(|threshold| !threshold.ok)
        .map(|threshold| threshold.expression.as_str())
        .collect();
    let all = report.thresholds.len();
    (!crossed.is_empty())
        .then(|| format!("{} of {all} thresholds crossed: {}", crossed.len(), crossed.join(", ")))
}

/// The two figures that a reader looks for, as far as they are known.
fn headline(report: &Report) -> String {
    let mut text = String::new();
    if requests_cut(report) > 0 {
        text.push_str(&format!(" ({} cut at the end of the run)", requests_cut(report)));
    }
    let ttft = report.metrics.get(metric::TTFT_MS.name);
    if let Some(p50) = ttft.and_then(|found| found.p50) {
        text.push_str(&format!(", TTFT p50 {} ms", short(p50)));
        if let Some(p95) = ttft.and_then(|found| found.p95) {
            text.push_str(&format!(", p95 {} ms", short(p95)));
        }
    }
    if let Some(rate) = report.rates.whole.output_tokens_per_second {
        text.push_str(&format!(", {} output tokens/s", short(rate)));
    }
    text
}

fn requests_cut(report: &Report) -> u64 {
    report.requests.cut
}
