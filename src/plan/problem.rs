//! What is wrong with a plan: all of it at once, each with where it stands and what to do.
//!
//! Main types: [`PlanError`] and [`Problem`]. It does not decide what is a problem.

use thiserror::Error;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The scenario or its overrides do not make a workload. Never empty; in the order of the file,
    /// then of the flags.
    #[error("{}", sentence(.subject, .problems))]
    Invalid {
        /// What was read, for a person: `scenario "chat"`.
        subject: String,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// There is no built-in scenario of that name.
    #[error("there is no built-in scenario \"{name}\"; known are {}", quoted(.known))]
    UnknownScenario {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
}

impl PlanError {
    /// What to do about it, for a line of its own. With several problems each hint stands beside
    /// its problem in the message instead, and this is `None`.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            PlanError::Invalid { problems, .. } => match problems.as_slice() {
                [only] => only.hint.clone(),
                _ => None,
            },
            PlanError::UnknownScenario { name, known } => {
                Some(match nearest(name, known.iter().copied()) {
                    Some(near) => {
                        format!("did you mean \"{near}\"? A scenario file is given by its path")
                    }
                    None => "a scenario file is given by its path, such as ./my-scenario.toml"
                        .to_owned(),
                })
            }
        }
    }
}

/// Where something is wrong; ordered as a person would work through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the scenario file, from 1.
    Line(usize),
    /// A flag, such as `--users`.
    Flag(&'static str),
    /// No single place is at fault: things do not fit together.
    Whole,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, as a fragment.
    pub message: String,
    /// What to do; `None` where the message says it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    /// The same with what to do about it.
    pub(crate) fn hinting(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.place {
            Place::Line(line) => write!(formatter, "line {line}: ")?,
            Place::Flag(flag) => write!(formatter, "{flag}: ")?,
            Place::Whole => {}
        }
        formatter.write_str(&self.message)
    }
}

/// What these problems of a command line, and of the scenario that it names, are about: a line number says
/// nothing without its file.
pub(crate) fn subject_of(scenario: &str, problems: &[Problem]) -> String {
    const TYPED: &str = "this command line";
    let any = |is: fn(&Place) -> bool| problems.iter().any(|problem| is(&problem.place));
    let of_file = any(|place| matches!(place, Place::Line(_)));
    let of_flags = any(|place| matches!(place, Place::Flag(_)));
    match (of_file, of_flags) {
        (false, _) => TYPED.to_owned(),
        (true, false) => scenario.to_owned(),
        (true, true) => format!("{TYPED} with {scenario}"),
    }
}

/// The message of [`PlanError::Invalid`]: one line for one problem, a list for several.
fn sentence(subject: &str, problems: &[Problem]) -> String {
    if let [only] = problems {
        return format!("{subject}: {only}");
    }
    let mut text = format!("{subject} has {} problems", problems.len());
    for problem in problems {
        text.push_str(&format!("\n  {problem}"));
        if let Some(hint) = &problem.hint {
            text.push_str(&format!(" ({hint})"));
        }
    }
    text
}

/// The known name that a mistyped one most likely meant; `None` where nothing is near.
///
/// Near means at most a third of the letters wrong (and always one), by Damerau-Levenshtein, so
/// that swapped letters count once; or one name contains the other.
pub(crate) fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let lower = name.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| {
            let plain = candidate.to_lowercase().replace('-', "_");
            let distance = strsim::damerau_levenshtein(&lower, &plain);
            let contains = lower.len() >= 4
                && (plain.contains(&lower) || (plain.len() >= 4 && lower.contains(&plain)));
            (candidate, distance, contains)
        })
        .filter(|(candidate, distance, contains)| {
            *contains || *distance <= (candidate.len() / 3).max(1)
        })
        .min_by_key(|(_, distance, _)| *distance)
        .map(|(candidate, _, _)| candidate)
}

/// `"a", "b" and "c"`.
pub(crate) fn quoted(names: &[&str]) -> String {
    joined(names, "and")
}

/// `"a", "b" or "c"`.
pub(crate) fn any_of(names: &[&str]) -> String {
    joined(names, "or")
}

fn joined(names: &[&str], word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        None => "none".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, first)) => format!("{} {word} {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_neighbour_and_nonsense_finds_none() {
        let known = ["max_tokens", "max_prompt_words", "seed", "users", "think_time"];
        for (typed, near) in [
            ("max_token", Some("max_tokens")),
            ("max-tokens", Some("max_tokens")),
            ("sede", Some("seed")),
            ("Users", Some("users")),
            ("thinktime", Some("think_time")),
            ("prompt_words", Some("max_prompt_words")),
            ("banana", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known), near, "{typed}");
        }
    }

    #[test]
    fn lines_are_those_of_a_file_that_is_named() {
        let places = |places: &[Place]| {
            let problems: Vec<Problem> =
                places.iter().map(|place| Problem::new(*place, "wrong")).collect();
            subject_of("scenario file \"x.toml\"", &problems)
        };
        let (line, flag) = (Place::Line(3), Place::Flag("--users"));
        assert_eq!(places(&[line, Place::Whole]), "scenario file \"x.toml\"");
        assert_eq!(places(&[flag, line]), "this command line with scenario file \"x.toml\"");
        assert_eq!(places(&[flag, Place::Whole]), "this command line");
    }

    #[test]
    fn several_problems_are_listed_with_their_hints() {
        let error = PlanError::Invalid {
            subject: "scenario \"x\"".to_owned(),
            problems: vec![
                Problem::new(Place::Line(3), "a is wrong").hinting("do b"),
                Problem::new(Place::Flag("--users"), "c"),
            ],
        };
        assert_eq!(
            error.to_string(),
            "scenario \"x\" has 2 problems\n  line 3: a is wrong (do b)\n  --users: c"
        );
        assert_eq!(error.hint(), None);
    }
}
