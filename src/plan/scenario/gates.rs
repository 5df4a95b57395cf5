//! The thresholds and objectives of a scenario file and of the flags over it.
//!
//! Main functions: [`read`], [`apply`] and [`together`], each a part of its namesake in `scenario`.

use super::super::objective::{Objective, ObjectiveError};
use super::super::percent;
use super::super::problem::{Place, Problem};
use super::super::subject::{Figure, Subject};
use super::super::threshold::{Crossing, Threshold, ThresholdError};
use super::Workload;
use super::reader::Section;

/// A metric that decides a comparison of two servers, as the scenario file has it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Gate {
    /// Its public name.
    pub metric: String,
    /// The slow-down that matters, a fraction above 0; `None` leaves the default.
    pub bar: Option<f64>,
    /// A change below this never matters, in the metric's unit; `None` leaves the default.
    pub floor: Option<f64>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// `[[gate]]`, `[[threshold]]` and `objectives`.
pub(super) fn read(
    workload: &mut Workload,
    top: &mut Section<'_, '_>,
    problems: &mut Vec<Problem>,
) {
    for mut section in top.sections(problems, "threshold").unwrap_or_default() {
        workload.thresholds.extend(threshold(&mut section, problems));
        section.finish(problems);
    }
    for mut section in top.sections(problems, "gate").unwrap_or_default() {
        let metric = section.string(problems, "metric");
        let bar = section.parsed(problems, "bar", percent::parse);
        let floor = section.number(problems, "floor");
        match metric {
            Some(metric) => {
                let place = section.place("metric");
                workload.gates.push(Gate { metric, bar, floor, place });
            }
            None if section.place("metric") == Place::Whole => problems.push(
                Problem::new(section.first_place(), "a gate without metric")
                    .hinting("write metric = \"output_tokens_per_second\" and bar = \"2%\""),
            ),
            None => {}
        }
        section.finish(problems);
    }
    for typed in top.strings(problems, "objectives").unwrap_or_default() {
        match Objective::parse_all(&typed) {
            Ok(read) => workload.objectives.extend(read),
            Err(error) => {
                problems.push(bad_objective(top.place("objectives"), "objectives", &typed, &error));
            }
        }
    }
}

fn threshold(section: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<Threshold> {
    let metric = section.string(problems, "metric");
    let expression = section.string(problems, "expression");
    let abort = section.switch(problems, "abort");
    let delay = section.duration(problems, "delay");
    let crossings = [("fails", Crossing::Fails), ("warns", Crossing::Warns)];
    let crossing = section.choice(problems, "crossing", &crossings);
    for (key, given) in [("metric", &metric), ("expression", &expression)] {
        if given.is_none() && section.place(key) == Place::Whole {
            problems.push(
                Problem::new(section.first_place(), format!("a threshold without {key}"))
                    .hinting("write metric = \"ttft_ms\" and expression = \"p(95) < 200\""),
            );
        }
    }
    let (metric, expression) = (metric?, expression?);
    let read = Threshold::new(&metric, &expression).and_then(|mut threshold| {
        threshold.abort = abort.unwrap_or(threshold.abort);
        threshold.delay = delay.unwrap_or(threshold.delay);
        threshold.crossing = crossing.unwrap_or(threshold.crossing);
        threshold.checked()
    });
    match read {
        Ok(threshold) => Some(threshold),
        Err(error) => {
            let place = match error {
                ThresholdError::UnknownMetric { .. } | ThresholdError::Tags { .. } => "metric",
                _ => "expression",
            };
            let message = format!("invalid threshold \"{metric}: {expression}\": {error}");
            problems.push(Problem::new(section.place(place), message).hinting(error.hint()));
            None
        }
    }
}

fn bad_objective(place: Place, name: &str, typed: &str, error: &ObjectiveError) -> Problem {
    let of =
        if place == Place::Flag("--objective") { String::new() } else { format!(" for {name}") };
    Problem::new(place, format!("invalid value \"{typed}\"{of}: {error}")).hinting(error.hint())
}

/// The flags over what the file says.
pub(super) fn apply(
    workload: &mut Workload,
    thresholds: &[String],
    objectives: &[String],
    problems: &mut Vec<Problem>,
) {
    // Forced to their budget, all answers are truncated: a scenario that warns of that says nothing.
    if workload.request.ignore_eos {
        let truncated = Subject::Own(Figure::TruncatedRatio);
        workload.thresholds.retain(|threshold| {
            threshold.crossing == Crossing::Fails || threshold.subject != truncated
        });
    }
    let mut given = Vec::new();
    for typed in thresholds {
        match Threshold::parse(typed) {
            Ok(threshold) => given.push(threshold),
            Err(error) => {
                let message = format!("invalid value \"{typed}\": {error}");
                problems
                    .push(Problem::new(Place::Flag("--threshold"), message).hinting(error.hint()));
            }
        }
    }
    workload
        .thresholds
        .retain(|threshold| !given.iter().any(|flag| flag.subject == threshold.subject));
    workload.thresholds.extend(given);
    if !objectives.is_empty() {
        workload.objectives.clear();
    }
    for typed in objectives {
        match Objective::parse_all(typed) {
            Ok(read) => workload.objectives.extend(read),
            Err(error) => {
                let place = Place::Flag("--objective");
                problems.push(bad_objective(place, "--objective", typed, &error));
            }
        }
    }
}

/// A threshold on goodput needs to know what is good.
pub(super) fn together(workload: &Workload, problems: &mut Vec<Problem>) {
    let wanting = workload.thresholds.iter().find(|threshold| match threshold.subject {
        Subject::Own(figure) => figure.needs_objectives(),
        Subject::Server(_) => false,
    });
    // Objectives that were given but are wrong are in the list already.
    let already = problems.iter().any(|problem| {
        problem.place == Place::Flag("--objective") || problem.message.contains("objectives")
    });
    if let Some(threshold) = wanting.filter(|_| workload.objectives.is_empty() && !already) {
        problems.push(
            Problem::new(
                Place::Whole,
                format!("the threshold \"{threshold}\" needs an objective, and there is none"),
            )
            .hinting("pass --objective \"ttft_ms < 200\", or set objectives in the scenario"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Origin, Overrides, builtin, workload};
    use super::*;

    fn chat(overrides: &Overrides) -> Workload {
        let origin = Origin::BuiltIn("chat");
        workload(builtin("chat").unwrap(), &origin, overrides).expect("a valid scenario")
    }

    fn shown(workload: &Workload) -> Vec<(String, Crossing)> {
        let thresholds = workload.thresholds.iter();
        thresholds.map(|threshold| (threshold.to_string(), threshold.crossing)).collect()
    }

    #[test]
    fn chat_warns_of_truncated_answers_unless_they_are_forced() {
        let plain = chat(&Overrides::default());
        assert_eq!(shown(&plain), [("truncated_ratio: rate < 0.8".to_owned(), Crossing::Warns)]);
        let forced = chat(&Overrides { ignore_eos: Some(true), ..Overrides::default() });
        assert_eq!(shown(&forced), []);
    }

    #[test]
    fn a_flag_takes_the_place_of_the_scenarios_threshold_on_the_same_metric() {
        let typed = "llamacpp_completions_truncated_rate: rate < 0.5";
        let thresholds = vec![typed.to_owned(), "ttft_ms: avg < 9".to_owned()];
        let found = chat(&Overrides { thresholds, ..Overrides::default() });
        let expected =
            [(typed.to_owned(), Crossing::Fails), ("ttft_ms: avg < 9".to_owned(), Crossing::Fails)];
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn goodput_needs_to_know_what_is_good() {
        let thresholds = vec!["goodput_requests_per_second > 3".to_owned()];
        let with = |objectives| {
            let overrides =
                Overrides { thresholds: thresholds.clone(), objectives, ..Overrides::default() };
            workload(builtin("chat").unwrap(), &Origin::BuiltIn("chat"), &overrides)
        };
        let error = with(Vec::new()).expect_err("no objective");
        assert!(error.to_string().contains("needs an objective, and there is none"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--objective")));
        assert_eq!(with(vec!["ttft_ms < 9".to_owned()]).unwrap().objectives.len(), 1);
        let error = with(vec!["ttft < 9".to_owned()]).expect_err("a typing error, once");
        assert!(!error.to_string().contains("problems"), "{error}");
    }
}
