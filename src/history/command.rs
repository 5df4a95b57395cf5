//! `bench-ci history`: from flags to the branch and back to text.
//!
//! Main function: [`main`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::assess::{age_days, assess};
use super::point::{self, About, Annotation, Point, month};
use super::remote::{self, Credentials};
use super::series::{Places, Series};
use super::store::{Addition, Branch, HistoryError, ROOT, Shard};
use crate::artifact::{AbReport, Report, store};
use crate::cli::{ChoiceArgs, HistoryCommand, HistoryFailOn, HistoryFormat, PlaceArgs};
use crate::commands::{Done, terminal_width};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::provenance;
use crate::report::history::{self as report, View};

/// The folder of the annotations, beside those of the series.
const ANNOTATIONS: &str = "annotations";
/// The file that says what the points of a series have in common.
const ABOUT: &str = "series.json";
/// Warnings that are told one by one.
const MOST_COMPLAINTS: usize = 20;

/// Carries out `history`.
///
/// # Errors
/// Where the branch or a report cannot be read or written.
pub fn main(command: &HistoryCommand) -> Result<Done, Error> {
    Ok(match command {
        HistoryCommand::Append { reports, push, place } => append(reports, push.as_deref(), place)?,
        HistoryCommand::Check { max_age, fail_on, choice, place } => {
            check(max_age, fail_on, choice, place)?
        }
        HistoryCommand::Show { html, choice, place } => show(html.as_deref(), choice, place)?,
        HistoryCommand::Export { format, choice, place } => {
            let (views, complaints) = views(place, choice)?;
            let text = match format {
                HistoryFormat::Csv => report::csv(&views),
                HistoryFormat::Json => report::json(&views),
            };
            told(&complaints);
            Done::text(text)
        }
        HistoryCommand::Annotate { reason, commit, series, author, push, place } => {
            let mut branch = open(place)?;
            if reason.trim().is_empty() {
                return Err(HistoryError::Usage("--reason says nothing".to_owned()).into());
            }
            let note = Annotation {
                at: provenance::now(),
                commit: commit.as_deref().map(|commit| branch.resolve(commit)).transpose()?,
                series: series.as_deref().map(|key| known_series(&branch, key)).transpose()?,
                author: author.clone().unwrap_or_else(|| branch.author()),
                reason: reason.clone(),
            };
            branch.read()?;
            let addition = Addition {
                folder: ANNOTATIONS.to_owned(),
                month: month(&note.at).unwrap_or("unknown").to_owned(),
                line: note.line(),
                mark: None,
                beside: None,
            };
            branch.append(&[addition], "bench-ci history: a change is accepted")?;
            let pushed = pushed(&mut branch, push.as_deref())?;
            Done::text(format!("a new epoch begins: {reason}{pushed}\n"))
        }
    })
}

/// The sessions with `--aa` that the repository around `dir` remembers, by series.
///
/// # Errors
/// Where there is no history.
pub fn aa_sessions(dir: &Path) -> Result<Vec<Series>, HistoryError> {
    let branch = Branch::open(dir, PlaceArgs::BRANCH)?;
    let (mut series, _) = parse(branch.read()?, &Places::new());
    for series in &mut series {
        series.points.retain(|point| point.aa.is_some());
    }
    Ok(series)
}

fn open(place: &PlaceArgs) -> Result<Branch, HistoryError> {
    let mut branch = Branch::open(&place.repo, &place.history_branch)?;
    if let Some(from) = &place.fetch {
        remote::pull(&mut branch, from, &credentials())?;
    }
    Ok(branch)
}

fn credentials() -> Credentials {
    let (token, server) = provenance::github_access();
    Credentials { token, server }
}

fn pushed(branch: &mut Branch, to: Option<&str>) -> Result<String, HistoryError> {
    let Some(to) = to else { return Ok(String::new()) };
    remote::push(branch, to, &credentials())?;
    Ok("; pushed".to_owned())
}

/// What a point is of.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PointOf {
    /// Of all runs of it that are appended together.
    Commit(String),
    /// Where the commit is not known, nobody can say that two runs were of the same.
    Run(String),
}

fn append(paths: &[PathBuf], push: Option<&str>, place: &PlaceArgs) -> Result<Done, Error> {
    let mut groups: BTreeMap<(String, PointOf), (About, Vec<Report>)> = BTreeMap::new();
    let mut additions = Vec::new();
    for path in paths {
        if let Some(ab) = comparison(path)? {
            let about = About::of_ab(&ab);
            let point = Point::of_ab(&ab).map_err(HistoryError::from)?;
            additions.push(addition(&about.key(), &about, &point)?);
            continue;
        }
        let read = store::read_report(path)?;
        let about = About::of(&read);
        let run = &read.run;
        let what = run.commit.clone().map_or_else(|| PointOf::Run(run.id.clone()), PointOf::Commit);
        let group = groups.entry((about.key(), what));
        group.or_insert_with(|| (about, Vec::new())).1.push(read);
    }
    for ((key, _), (about, reports)) in &groups {
        let mut reports: Vec<&Report> = reports.iter().collect();
        reports.sort_by(|one, other| one.run.id.cmp(&other.run.id));
        reports.dedup_by(|one, other| one.run.id == other.run.id);
        let point = Point::of(&reports).map_err(HistoryError::from)?;
        additions.push(addition(key, about, &point)?);
    }
    let mut branch = open(place)?;
    let message = match additions.len() {
        1 => "bench-ci history: a point".to_owned(),
        count => format!("bench-ci history: {count} points"),
    };
    let new = branch.append(&additions, &message)?;
    let there = match additions.len() - new {
        0 => String::new(),
        old => format!(", {old} there already"),
    };
    let mut keys: Vec<&str> = additions.iter().map(|addition| addition.folder.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let pushed = pushed(&mut branch, push)?;
    let plural = if new == 1 { "" } else { "s" };
    Ok(Done::text(format!(
        "{new} point{plural} appended to {} (series {}){there}{pushed}\n",
        branch.name,
        keys.join(", ")
    )))
}

/// The `ab.json` that a path names, by itself or by its folder; `None` where it names none.
fn comparison(path: &Path) -> Result<Option<AbReport>, HistoryError> {
    let file = if path.is_dir() { path.join("ab.json") } else { path.to_owned() };
    let is_ab = || {
        let text = std::fs::read(&file).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
        value["schema"].as_str().map(|schema| schema.starts_with("bench-ci.ab/"))
    };
    Ok(if is_ab() == Some(true) { Some(store::read_ab(&file)?) } else { None })
}

fn addition(key: &str, about: &About, point: &Point) -> Result<Addition, HistoryError> {
    let Some(month) = month(&point.at) else {
        return Err(HistoryError::Usage(format!("\"{}\" is no date of a run", point.at)));
    };
    let mut text = serde_json::to_string_pretty(about).expect("keys are strings");
    text.push('\n');
    Ok(Addition {
        folder: key.to_owned(),
        month: month.to_owned(),
        line: point.line(),
        mark: Some(format!("\"id\":\"{}\"", point.id)),
        beside: Some((ABOUT, text)),
    })
}

fn check(
    max_age: &str,
    fail_on: &[HistoryFailOn],
    choice: &ChoiceArgs,
    place: &PlaceArgs,
) -> Result<Done, Error> {
    let limit = days(max_age)?;
    let (views, complaints) = views(place, choice)?;
    let series: Vec<Series> = views.iter().map(|view| view.series.clone()).collect();
    let points: usize = series.iter().map(|series| series.points.len()).sum();
    let age = age_days(&series, &provenance::now());
    let stale = age.is_none_or(|age| age > limit);
    let plural = if points == 1 { "" } else { "s" };
    let mut stdout = match age {
        None => "stale: there is no point in the history\n".to_owned(),
        Some(age) if stale => format!(
            "stale: {points} point{plural}, the newest {age:.1} days old, {limit:.1} are allowed; is the job that appends still running?\n"
        ),
        Some(age) => format!("kept: {points} point{plural}, the newest {age:.1} days old\n"),
    };
    let words = report::check(&views, terminal_width());
    if words.is_empty() && points > 0 {
        stdout.push_str("nothing moved\n");
    }
    stdout.push_str(&words);
    told(&complaints);
    let never = fail_on.contains(&HistoryFailOn::Never);
    let worse = views
        .iter()
        .flat_map(|view| &view.courses)
        .any(|course| course.alerts.iter().any(super::assess::Alert::worse));
    let exit = if never {
        ExitCode::Ok
    } else if worse && fail_on.contains(&HistoryFailOn::Regressed) {
        ExitCode::Regressed
    } else if stale && fail_on.contains(&HistoryFailOn::Stale) {
        ExitCode::Publish
    } else {
        ExitCode::Ok
    };
    Ok(Done { stdout, exit })
}

/// `7d`, or what other flags take for a duration.
fn days(text: &str) -> Result<f64, HistoryError> {
    let wrong = || {
        HistoryError::Usage(format!(
            "invalid value \"{text}\" for --max-age: expected a number and d, h, m or s, such as 7d"
        ))
    };
    if let Some(days) = text.strip_suffix('d') {
        let days: f64 = days.parse().map_err(|_| wrong())?;
        return Some(days).filter(|days| days.is_finite() && *days >= 0.0).ok_or_else(wrong);
    }
    let duration = crate::plan::duration::parse(text).map_err(|_| wrong())?;
    Ok(duration.as_secs_f64() / 86_400.0)
}

fn show(html: Option<&Path>, choice: &ChoiceArgs, place: &PlaceArgs) -> Result<Done, Error> {
    let (views, complaints) = views(place, choice)?;
    let stdout = match html {
        Some(file) => {
            store::write(file, report::html::page(&views, &provenance::now()).as_bytes())?;
            format!("{}\n", file.display())
        }
        None if views.is_empty() => "there is no point in the history\n".to_owned(),
        None => report::text(&views, terminal_width()),
    };
    told(&complaints);
    Ok(Done::text(stdout))
}

/// On stderr: what is on stdout may go into a file or another program.
fn told(complaints: &[String]) {
    let mut text = String::new();
    for complaint in complaints.iter().take(MOST_COMPLAINTS) {
        // A path of the branch may hold anything.
        let clean: String =
            complaint.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
        text.push_str(&format!("warning: {clean}\n"));
    }
    if let Some(more) = complaints.len().checked_sub(MOST_COMPLAINTS).filter(|more| *more > 0) {
        text.push_str(&format!("warning: and {more} more\n"));
    }
    // Without a stderr there is nobody to warn.
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// What was asked for, and which lines were skipped.
fn views(place: &PlaceArgs, choice: &ChoiceArgs) -> Result<(Vec<View>, Vec<String>), HistoryError> {
    let branch = open(place)?;
    let (series, complaints) = parse(branch.read()?, &branch.places());
    let wanted = choice.series.as_deref().unwrap_or("");
    let chosen: Vec<Series> =
        series.into_iter().filter(|series| series.key.starts_with(wanted)).collect();
    if chosen.is_empty() && !wanted.is_empty() {
        return Err(HistoryError::Usage(format!(
            "no series has a key that begins with \"{wanted}\""
        )));
    }
    let known: Vec<String> =
        chosen.iter().flat_map(|series| series.metrics()).map(str::to_owned).collect();
    if let Some(unknown) = choice.metric.iter().find(|metric| !known.contains(metric)) {
        return Err(HistoryError::Usage(match nearest(unknown, &known) {
            Some(near) => format!("no series has the metric \"{unknown}\"; there is \"{near}\""),
            None => format!("no series has the metric \"{unknown}\""),
        }));
    }
    let view = |series: Series| {
        let mut courses = assess(&series);
        courses.retain(|course| choice.metric.is_empty() || choice.metric.contains(&course.metric));
        View { series, courses }
    };
    Ok((chosen.into_iter().map(view).collect(), complaints))
}

fn nearest<'a>(wanted: &str, known: &'a [String]) -> Option<&'a String> {
    known.iter().min_by_key(|name| strsim::damerau_levenshtein(wanted, name))
}

fn known_series(branch: &Branch, key: &str) -> Result<String, HistoryError> {
    let (series, _) = parse(branch.read()?, &Places::new());
    let mut matching =
        series.into_iter().map(|series| series.key).filter(|known| known.starts_with(key));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            Err(HistoryError::Usage(format!("no series has a key that begins with \"{key}\"")))
        }
        (Some(_), Some(_)) => Err(HistoryError::Usage(format!(
            "several series have a key that begins with \"{key}\""
        ))),
    }
}

/// All series of the branch by key, and what was wrong with it.
fn parse(shards: Vec<Shard>, places: &Places) -> (Vec<Series>, Vec<String>) {
    let mut complaints = Vec::new();
    let mut annotations = Vec::new();
    let mut found: BTreeMap<String, (Option<About>, Vec<Point>)> = BTreeMap::new();
    for Shard { path, text } in shards {
        let mut complain = |line: usize, why: String| {
            complaints.push(format!("\"{path}\" line {line} is skipped: {why}"));
        };
        let inside =
            path.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')).unwrap_or(&path);
        match inside.split_once('/') {
            Some((ANNOTATIONS, file)) if file.ends_with(".jsonl") => {
                annotations.extend(point::annotations(&text, complain));
            }
            Some((key, file)) if is_key(key) && file.ends_with(".jsonl") => {
                let points = point::points(&text, complain);
                found.entry(key.to_owned()).or_default().1.extend(points);
            }
            Some((key, ABOUT)) if is_key(key) => match serde_json::from_str::<About>(&text) {
                Ok(about) if about.key() == key => {
                    found.entry(key.to_owned()).or_default().0 = Some(about);
                }
                Ok(_) => complain(1, "it describes another series".to_owned()),
                Err(error) => complain(error.line(), error.to_string()),
            },
            _ => complaints.push(format!("\"{path}\" is no file of a history")),
        }
    }
    let series = found
        .into_iter()
        .filter(|(_, (_, points))| !points.is_empty())
        .map(|(key, (about, points))| Series::new(key, about, points, &annotations, places))
        .collect();
    (series, complaints)
}

fn is_key(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_days_or_any_duration() {
        for (text, wanted) in [("7d", 7.0), ("0.5d", 0.5), ("36h", 1.5), ("0d", 0.0)] {
            assert!((days(text).unwrap() - wanted).abs() < 1e-9, "{text}");
        }
        for wrong in ["", "d", "-1d", "NaNd", "week", "7"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }
}
