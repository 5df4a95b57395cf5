//! A scenario file as a suite: what it sweeps, what it searches, and the scenarios that it names.
//!
//! Main type: [`Suite`], made by [`read_suite`] from any scenario file: one without `[[scenario]]`
//! is a suite of itself. It opens no file; those that are named are handed in.

use std::path::Path;

use toml::de::DeValue;

use super::reader::Section;
use super::{Origin, Scenario, read_keys, silent, toml_table};
use crate::plan::matrix::{Axis, Typed, overlay};
use crate::plan::problem::{PlanError, Problem};
use crate::plan::search::{
    BUDGET, FINEST_PRECISION, GOODPUT_RATIO, PRECISION, SearchOver, SearchSpec,
};

/// The keys that make a scenario file a suite.
pub(super) const KEYS: [&str; 3] = ["scenario", "matrix", "search"];

/// Everything that one file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// The file's name for itself.
    pub name: String,
    /// Never empty, no name twice.
    pub entries: Vec<Entry>,
    /// Whether the entries were named one by one, and so belong into the names of cells.
    pub named: bool,
    /// What is searched; `None` where every cell is simply played.
    pub search: Option<SearchSpec>,
}

/// One scenario of a suite, unchecked, with what is swept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its workload.
    pub scenario: Scenario,
    /// What is swept.
    pub axes: Vec<Axis>,
}

/// Where the text of a scenario is had that a suite names: a built-in name, or a path as of the folder
/// of the suite's own file.
type Open<'a> = &'a dyn Fn(&str, Option<&Path>) -> Result<(String, Origin), PlanError>;

/// Reads a scenario file with everything that a suite may hold.
///
/// # Errors
/// [`PlanError::Invalid`] with every mistake, those of the files that it names too.
pub fn read_suite(text: &str, origin: &Origin, open: Open<'_>) -> Result<Suite, PlanError> {
    let table = toml_table(text, origin)?;
    let mut problems = Vec::new();
    let mut top = Section::top(text, table.get_ref());
    let matrix = read_matrix(&mut top, &mut problems);
    let search = read_search(&mut top, &mut problems);
    let sections = top.sections(&mut problems, "scenario");
    let mut own = Scenario { origin: origin.clone(), workload: silent(origin) };
    read_keys(&mut own.workload, &mut top, origin, &mut problems);
    let name = own.workload.scenario.clone();
    let named = sections.is_some();
    let mut entries = Vec::new();
    match sections {
        None => entries.push(Entry { name: name.clone(), scenario: own, axes: matrix }),
        Some(sections) => {
            if sections.is_empty() {
                problems
                    .push(Problem::new(top.place("scenario"), "scenario must hold at least one"));
            }
            for (position, mut section) in sections.into_iter().enumerate() {
                let mut unused = Vec::new();
                let base = base(&mut section, origin, open, &mut problems)?;
                let (mut scenario, mut axes) = base.unwrap_or_else(|| {
                    (Scenario { origin: origin.clone(), workload: silent(origin) }, Vec::new())
                });
                // What stands at the top of the file holds for every scenario; its mistakes are
                // in the list already.
                let mut again = Section::top(text, table.get_ref());
                read_keys(&mut scenario.workload, &mut again, origin, &mut unused);
                scenario.workload.scenario = format!("scenario-{}", position + 1);
                read_keys(&mut scenario.workload, &mut section, origin, &mut problems);
                axes = overlay(&matrix, &overlay(&axes, &read_matrix(&mut section, &mut problems)));
                let name = scenario.workload.scenario.clone();
                if entries.iter().any(|entry: &Entry| entry.name == name) {
                    let message = format!("two scenarios have the name \"{name}\"");
                    problems.push(Problem::new(section.first_place(), message));
                }
                section.finish(&mut problems);
                entries.push(Entry { name, scenario, axes });
            }
        }
    }
    top.finish(&mut problems);
    problems.sort_by_key(|problem| problem.place);
    problems.dedup();
    if problems.is_empty() {
        Ok(Suite { name, entries, named, search })
    } else {
        Err(PlanError::Invalid { subject: origin.subject(), problems })
    }
}

/// The scenario that an entry begins with, and what that one sweeps itself; `None` where it begins
/// with nothing.
fn base(
    section: &mut Section<'_, '_>,
    origin: &Origin,
    open: Open<'_>,
    problems: &mut Vec<Problem>,
) -> Result<Option<(Scenario, Vec<Axis>)>, PlanError> {
    let Some(named) = section.string(problems, "file") else { return Ok(None) };
    let folder = origin.file().and_then(Path::parent);
    let (text, base) = match open(&named, folder) {
        Ok(found) => found,
        Err(error) => {
            let problem = Problem::new(section.place("file"), error.to_string());
            problems.push(match error.hint() {
                Some(hint) => problem.hinting(hint),
                None => problem,
            });
            return Ok(None);
        }
    };
    let inner = read_suite(&text, &base, &|_, _| {
        Err(PlanError::Invalid {
            subject: base.subject(),
            problems: vec![Problem::new(
                crate::plan::problem::Place::Whole,
                "a scenario of a suite cannot be a suite itself",
            )],
        })
    })?;
    let mut entries = inner.entries.into_iter();
    match (inner.named, entries.next()) {
        (false, Some(entry)) => Ok(Some((entry.scenario, entry.axes))),
        _ => {
            let message = format!("\"{named}\" is a suite itself");
            problems.push(
                Problem::new(section.place("file"), message)
                    .hinting("name the files of its scenarios here"),
            );
            Ok(None)
        }
    }
}

fn read_matrix(top: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Vec<Axis> {
    let mut axes = Vec::new();
    for (key, place, value) in top.section(problems, "matrix").entries() {
        let typed = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| typed(item.get_ref())).collect(),
            single => typed(single).map(|single| vec![single]),
        };
        let Some(typed) = typed else {
            let message =
                format!("invalid value for matrix.{key}: expected a list of numbers or strings");
            problems
                .push(Problem::new(place, message).hinting(format!("such as {key} = [1, 2, 4]")));
            continue;
        };
        match Axis::new(key, typed) {
            Ok(axis) => axes.push(axis),
            Err((message, hint)) => {
                let problem = Problem::new(place, message);
                problems.push(match hint {
                    Some(hint) => problem.hinting(hint),
                    None => problem,
                });
            }
        }
    }
    axes
}

fn typed(value: &DeValue<'_>) -> Option<Typed> {
    Some(match value {
        DeValue::String(text) => Typed::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Typed::Text(number.as_str().to_owned()),
        DeValue::Float(number) => Typed::Text(number.as_str().to_owned()),
        DeValue::Boolean(switch) => Typed::Switch(*switch),
        DeValue::Table(table) => {
            let flag = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                match typed(value.get_ref())? {
                    Typed::Flags(_) => None,
                    single => Some((key.to_string(), single)),
                }
            };
            Typed::Flags(table.iter().map(flag).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn read_search(top: &mut Section<'_, '_>, problems: &mut Vec<Problem>) -> Option<SearchSpec> {
    if !top.has("search") {
        return None;
    }
    let mut section = top.section(problems, "search");
    let choices = [("users", SearchOver::Users), ("rate", SearchOver::Rate)];
    let over = section.choice(problems, "over", &choices);
    let over = section.needed(problems, "over", over);
    let mut ratio = |key, above: f64, problems: &mut Vec<Problem>| {
        let found = section.number(problems, key);
        if found.is_some_and(|ratio| ratio <= above || ratio >= 1.0) {
            let message = format!("search.{key} must be above {above} and below 1");
            problems.push(Problem::new(section.place(key), message));
        }
        found
    };
    let goodput_ratio = ratio("goodput_ratio", 0.0, problems).unwrap_or(GOODPUT_RATIO);
    let precision = ratio("precision", FINEST_PRECISION, problems).unwrap_or(PRECISION);
    let at_least = section.number(problems, "at_least");
    let at_most = section.number(problems, "at_most");
    if let (Some(least), Some(most)) = (at_least, at_most)
        && least >= most
    {
        let message = "search.at_least must be below search.at_most";
        problems.push(Problem::new(section.place("at_least"), message));
    }
    let budget = section.duration_above_zero(problems, "budget").unwrap_or(BUDGET);
    section.finish(problems);
    Some(SearchSpec { over: over?, goodput_ratio, precision, at_least, at_most, budget })
}
