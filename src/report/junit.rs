//! JUnit's XML, which every CI system shows: one suite, a case for each thing that can fail a run.
//!
//! Main function: [`render`]. The names of cases stay the same from run to run, so that a CI system
//! can tell a new failure from an old one. No case fails in a run that left with exit code 0, and at
//! least one does in any other.

use super::Verdict;
use super::escape::clean;
use crate::artifact::{Note, Report, RunStatus};
use crate::exit::ExitCode;
use crate::stats::metric;

/// The class of what `--accept-saturated-client` excuses: all that `stats::Blame::Client` stands for.
const CLIENT: &str = "client";

/// Reasons against a run, by the word the report has for them, and what must hold instead.
const CONDITIONS: [(&str, &str, &str); 8] = [
    ("requests", "nothing_completed", "at least one request completed"),
    ("requests", "failed_requests", "no more requests failed than --max-failed allows"),
    ("requests", "short_answers", "every answer has the tokens that were forced"),
    ("server", "server_died", "the server lived through the load"),
    ("server", "server_restarted", "the server was not restarted under load"),
    (CLIENT, "achieved_rate", "this client kept the planned rate"),
    (CLIENT, "dispatch_lateness", "this client sent in time"),
    (CLIENT, "client_delay", "this client read in time"),
];

struct Case {
    class: &'static str,
    name: String,
    state: State,
}

enum State {
    Passed,
    /// Not judged, or excused; why.
    Skipped(String),
    /// Something asked for does not hold: a stable word, a sentence, more of it.
    Failed(String, String, String),
    /// It could not even be tried.
    Error(String, String),
}

/// The text of `junit.xml`. Its root is `testsuites`, which holds one suite.
#[must_use]
pub fn render(report: &Report) -> String {
    let cases = cases(report);
    let count = |of: fn(&State) -> bool| cases.iter().filter(|case| of(&case.state)).count();
    let run = &report.run;
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let attributes = [
        ("id", "0".to_owned()),
        ("package", "bench-ci".to_owned()),
        ("name", format!("bench-ci {}", run.name)),
        // The schema knows no zone, and its readers take the time for UTC.
        ("timestamp", run.started_at.chars().take(19).collect()),
        ("hostname", run.runner_label.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("tests", cases.len().to_string()),
        ("failures", count(|state| matches!(state, State::Failed(..))).to_string()),
        ("errors", count(|state| matches!(state, State::Error(..))).to_string()),
        ("skipped", count(|state| matches!(state, State::Skipped(_))).to_string()),
        ("time", format!("{:.3}", run.duration_s.unwrap_or(0.0))),
    ];
    text.push_str(&format!("  <testsuite{}>\n    <properties>\n", attribute_list(&attributes)));
    for (name, value) in properties(report) {
        let property = attribute_list(&[("name", name.to_owned()), ("value", value)]);
        text.push_str(&format!("      <property{property}/>\n"));
    }
    text.push_str("    </properties>\n");
    for case in &cases {
        text.push_str(&element(case));
    }
    let verdict = Verdict::of(report);
    let mut said = vec![format!("{}: {}", verdict.word.text(), verdict.sentence)];
    said.extend(report.warnings.iter().map(|warning| format!("warning: {}", warning.message)));
    let said: Vec<String> = said.iter().map(|line| escaped(line)).collect();
    text.push_str(&format!("    <system-out>{}\n</system-out>\n", said.join("\n")));
    text.push_str("    <system-err></system-err>\n  </testsuite>\n</testsuites>\n");
    text
}

fn cases(report: &Report) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let nothing = report.run.status == RunStatus::Failed;
    for (class, code, name) in CONDITIONS {
        let reason = report.client.reasons.iter().find(|reason| reason.code == code);
        cases.push(Case {
            class,
            name: name.to_owned(),
            state: judged(report, class, reason, nothing),
        });
    }
    let known = |note: &&Note| CONDITIONS.iter().any(|(_, code, _)| *code == note.code);
    for reason in report.client.reasons.iter().filter(|reason| !known(reason)) {
        let class = "evidence";
        let state = judged(report, class, Some(reason), nothing);
        cases.push(Case { class, name: reason.code.clone(), state });
    }
    for (kind, count) in &report.requests.by_error {
        let sentence = format!("{count} of {} requests", report.requests.planned);
        let allowed = report.client.limits.max_failed;
        let state = if report.requests.failed > allowed {
            let example = report.requests.error_examples.get(kind).cloned().unwrap_or_default();
            State::Failed(kind.name().to_owned(), sentence, example)
        } else {
            State::Skipped(format!("{sentence}; --max-failed {allowed} allows it"))
        };
        cases.push(Case { class: "requests", name: format!("no {}", kind.name()), state });
    }
    for threshold in &report.thresholds {
        let state = match (threshold.ok, threshold.observed) {
            (true, _) => State::Passed,
            (false, observed) => {
                let observed = observed.map_or("unknown".to_owned(), |value| value.to_string());
                let ended = if threshold.aborted { ", which ended the run" } else { "" };
                let sentence = format!("observed {observed}{ended}");
                State::Failed("threshold".to_owned(), sentence, threshold.expression.clone())
            }
        };
        cases.push(Case { class: "thresholds", name: threshold.expression.clone(), state });
    }
    let blamed =
        cases.iter().any(|case| matches!(case.state, State::Failed(..) | State::Error(..)));
    let run = Case {
        class: "run",
        name: "the run came to its end".to_owned(),
        state: ending(report, blamed),
    };
    cases.insert(0, run);
    cases
}

fn judged(report: &Report, class: &str, reason: Option<&Note>, nothing_measured: bool) -> State {
    let Some(reason) = reason else {
        return if nothing_measured {
            State::Skipped("nothing was measured".to_owned())
        } else {
            State::Passed
        };
    };
    if nothing_measured {
        // The first case says why; a second failure for the same cause would only hide it.
        return State::Skipped(format!("nothing was measured: {}", reason.message));
    }
    if class == CLIENT && report.client.limits.accept_saturated_client {
        return State::Skipped(format!("{}; --accept-saturated-client", reason.message));
    }
    State::Failed(reason.code.clone(), reason.message.clone(), String::new())
}

/// The case of the run itself; it also stands for an exit code that no other case explains.
fn ending(report: &Report, blamed: bool) -> State {
    let causes = report.run.causes.join("; ");
    match report.run.status {
        RunStatus::Failed => State::Error("failed".to_owned(), causes),
        RunStatus::Partial => State::Failed("partial".to_owned(), causes, String::new()),
        RunStatus::Completed => {
            let code = report.run.exit_code.unwrap_or(0);
            if code == 0 || blamed {
                return State::Passed;
            }
            let known = ExitCode::ALL.into_iter().find(|known| known.code() == code);
            let meaning = known.map_or("", ExitCode::meaning);
            State::Failed(
                "exit_code".to_owned(),
                format!("exit code {code}: {meaning}"),
                String::new(),
            )
        }
    }
}

/// What a reader needs to know the run by, and the headline figures.
fn properties(report: &Report) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("id", report.run.id.clone()),
        ("status", format!("{:?}", report.run.status).to_lowercase()),
        ("scenario", report.scenario.name.clone()),
        ("server", report.server.kind.name().to_owned()),
        ("requests_completed", report.requests.completed.to_string()),
        ("requests_failed", report.requests.failed.to_string()),
    ];
    let mut known = |name, value: Option<String>| {
        if let Some(value) = value {
            properties.push((name, value));
        }
    };
    known("exit_code", report.run.exit_code.map(|code| code.to_string()));
    known("branch", report.run.branch.clone());
    known("commit", report.run.commit.clone());
    known("server_version", report.server.version.clone());
    known("model", report.model.as_ref().and_then(|model| model.file.clone()));
    known("workload_hash", report.scenario.workload_hash.clone());
    for (name, metric) in [
        ("ttft_ms_p50", metric::TTFT_MS),
        ("itl_ms_p50", metric::ITL_MS),
        ("e2e_ms_p50", metric::E2E_MS),
    ] {
        let median = report.metrics.get(metric.name).and_then(|metric| metric.p50);
        known(name, median.map(|value| format!("{value:.6}")));
    }
    let rate = report.rates.whole.output_tokens_per_second;
    known("output_tokens_per_second", rate.map(|value| format!("{value:.6}")));
    properties
}

fn element(case: &Case) -> String {
    let name = [
        ("classname", format!("bench-ci.{}", case.class)),
        ("name", case.name.clone()),
        ("time", "0.000".to_owned()),
    ];
    let name = attribute_list(&name);
    let inside = match &case.state {
        State::Passed => return format!("    <testcase{name}/>\n"),
        State::Skipped(why) => {
            format!("<skipped{}/>", attribute_list(&[("message", why.clone())]))
        }
        State::Failed(kind, sentence, more) => {
            let about = attribute_list(&[("type", kind.clone()), ("message", sentence.clone())]);
            format!("<failure{about}>{}</failure>", escaped(more))
        }
        State::Error(kind, sentence) => {
            let about = attribute_list(&[("type", kind.clone()), ("message", sentence.clone())]);
            format!("<error{about}></error>")
        }
    };
    format!("    <testcase{name}>{inside}</testcase>\n")
}

fn attribute_list(attributes: &[(&str, String)]) -> String {
    attributes.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect()
}

/// Text for XML 1.0, which has no way to hold most control characters and no `U+FFFE`.
fn escaped(text: &str) -> String {
    clean(text)
        .replace(['\u{fffe}', '\u{ffff}'], " ")
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
