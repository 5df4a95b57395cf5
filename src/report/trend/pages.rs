//! A trend for people: Markdown, and text for a terminal.
//!
//! Main functions: [`markdown`] and [`text`].

use super::{ADVICE, Run, Series, Trend};
use crate::history::point::About;
use crate::report::escape::{clean, escape};
use crate::report::number::short;

/// The figures of the tables, in their order, and their heads; those that no run has are left out.
const COLUMNS: [(&str, &str); 8] = [
    ("output_tokens_per_second", "output tokens/s"),
    ("requests_per_second", "requests/s"),
    ("embeddings_per_second", "embeddings/s"),
    ("documents_per_second", "documents/s"),
    ("ttft_ms_p50", "TTFT p50, ms"),
    ("ttft_ms_p95", "TTFT p95, ms"),
    ("itl_ms_p50", "ITL p50, ms"),
    ("e2e_ms_p50", "end to end p50, ms"),
];

/// A page. What comes from outside is escaped.
#[must_use]
pub fn markdown(trend: &Trend) -> String {
    let mut page = format!("**Trend:** {}. {ADVICE}\n", count(trend));
    for series in &trend.series {
        page.push_str(&format!("\n### {}\n\n", escape(&title(&series.about))));
        page.push_str(&format!("{}\n\n", escape(&details(&series.about))));
        let (head, rows) = runs(series);
        table(&mut page, &head, &rows);
        if let Some(words) = newest(series) {
            page.push_str(&format!("\n{}\n", escape(&words)));
        }
    }
    if trend.series.len() > 1 {
        page.push_str("\n### Series beside one another\n\n");
        let (head, rows) = beside(trend);
        table(&mut page, &head, &rows);
        page.push_str("\nThe newest run of each that is evidence. They did different work, or on different machines.\n");
    }
    if !trend.skipped.is_empty() {
        page.push_str("\n### Left out\n\n");
        for skipped in &trend.skipped {
            page.push_str(&format!("- {}: {}\n", escape(&skipped.file), escape(&skipped.why)));
        }
    }
    page
}

/// The same for a terminal.
#[must_use]
pub fn text(trend: &Trend) -> String {
    let mut page = format!("{}. {}\n", count(trend), ADVICE.replace('`', ""));
    for series in &trend.series {
        let about = &series.about;
        page.push_str(&format!("\n{}\n  {}\n", clean(&title(about)), clean(&details(about))));
        let (head, rows) = runs(series);
        columns(&mut page, &head, &rows);
        if let Some(words) = newest(series) {
            page.push_str(&format!("  {}\n", clean(&words)));
        }
    }
    if trend.series.len() > 1 {
        page.push_str("\nseries beside one another, the newest run of each that is evidence\n");
        let (head, rows) = beside(trend);
        columns(&mut page, &head, &rows);
    }
    for skipped in &trend.skipped {
        page.push_str(&format!("left out: {}: {}\n", clean(&skipped.file), clean(&skipped.why)));
    }
    page
}

fn count(trend: &Trend) -> String {
    let many = |count: usize, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let mut words = format!(
        "{} in {}",
        many(trend.runs(), "run", "runs"),
        many(trend.series.len(), "series", "series")
    );
    if !trend.skipped.is_empty() {
        words.push_str(&format!(", {} left out", many(trend.skipped.len(), "file", "files")));
    }
    words
}

fn title(about: &About) -> String {
    let server = match about.server.as_str() {
        "sim" => "the simulator, not a real server",
        other => other,
    };
    format!("{} · {} · {server}", about.scenario, about.model)
}

fn details(about: &About) -> String {
    let flags = if about.flags.is_empty() { "none" } else { &about.flags };
    let workload: String = about.workload.chars().take(12).collect();
    format!("{} · flags {flags} · workload {workload}", about.machine)
}

/// Head and rows of the runs of a series, not yet escaped.
fn runs(series: &Series) -> (Vec<String>, Vec<Vec<String>>) {
    let shown = shown(series.runs.iter());
    let mut head: Vec<String> =
        ["began", "name", "branch", "commit", "outcome", "requests"].map(str::to_owned).to_vec();
    head.extend(shown.iter().map(|(_, head)| (*head).to_owned()));
    let rows = series.runs.iter().map(|run| {
        let commit = run.commit.as_deref().map(|commit| commit.chars().take(10).collect());
        let requests = if run.requests_completed == run.requests_planned {
            run.requests_planned.to_string()
        } else {
            format!("{} of {}", run.requests_completed, run.requests_planned)
        };
        let word = run.outcome.split_once(':').map_or("", |(word, _)| word).to_lowercase();
        let outcome = match (run.evidence, word.as_str()) {
            (true, "" | "ok") => "ok".to_owned(),
            // A threshold was crossed; the numbers are what they are.
            (true, _) => "threshold".to_owned(),
            (false, "" | "ok") => "not evidence".to_owned(),
            (false, word) => format!("{word}, not evidence"),
        };
        let mut row = vec![
            run.started_at.chars().take(16).collect::<String>().replace('T', " "),
            run.name.clone(),
            run.branch.clone().unwrap_or_else(missing),
            commit.unwrap_or_else(missing),
            outcome,
            requests,
        ];
        row.extend(cells(run, &shown));
        row
    });
    (head, rows.collect())
}

/// The newest run of each series that is evidence.
fn beside(trend: &Trend) -> (Vec<String>, Vec<Vec<String>>) {
    let newest = |series: &'_ Series| series.runs.iter().rfind(|run| run.evidence).cloned();
    let all: Vec<(&Series, Option<Run>)> =
        trend.series.iter().map(|series| (series, newest(series))).collect();
    let shown = shown(all.iter().filter_map(|(_, run)| run.as_ref()));
    let mut head: Vec<String> =
        ["scenario", "model", "server", "machine", "flags", "runs"].map(str::to_owned).to_vec();
    head.extend(shown.iter().map(|(_, head)| (*head).to_owned()));
    let rows = all.iter().map(|(series, run)| {
        let about = &series.about;
        let mut row = vec![
            about.scenario.clone(),
            about.model.clone(),
            about.server.clone(),
            about.machine.clone(),
            about.flags.clone(),
            series.runs.len().to_string(),
        ];
        match run {
            Some(run) => row.extend(cells(run, &shown)),
            None => row.extend(shown.iter().map(|_| missing())),
        }
        row
    });
    (head, rows.collect())
}

type Column = (&'static str, &'static str);

fn shown<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Vec<Column> {
    COLUMNS
        .into_iter()
        .filter(|(name, _)| runs.clone().any(|run| run.figure(name).is_some()))
        .collect()
}

fn cells(run: &Run, shown: &[Column]) -> Vec<String> {
    let cell =
        |(name, _): &Column| run.figure(name).map_or_else(missing, |figure| short(figure.value));
    shown.iter().map(cell).collect()
}

fn missing() -> String {
    "–".to_owned()
}

/// What is far is for the reader to say; how far it is stands here.
fn newest(series: &Series) -> Option<String> {
    let newest = series.newest.as_ref()?;
    let changes: Vec<String> = COLUMNS
        .iter()
        .filter_map(|(name, head)| {
            let change = newest.changes_pct.iter().find(|change| change.metric == *name)?;
            Some(format!("{head} {:+.1} %", change.change_pct))
        })
        .collect();
    let before = match newest.before {
        1 => "the one before".to_owned(),
        before => format!("the median of the {before} before"),
    };
    (!changes.is_empty()).then(|| format!("The newest against {before}: {}.", changes.join("; ")))
}

fn table(page: &mut String, head: &[String], rows: &[Vec<String>]) {
    let mut line = |cells: Vec<String>| page.push_str(&format!("| {} |\n", cells.join(" | ")));
    line(head.to_vec());
    line(head.iter().map(|_| ":--".to_owned()).collect());
    for row in rows {
        line(row.iter().map(|cell| escape(cell)).collect());
    }
}

fn columns(page: &mut String, head: &[String], rows: &[Vec<String>]) {
    let lines: Vec<Vec<String>> = std::iter::once(head)
        .chain(rows.iter().map(Vec::as_slice))
        .map(|line| line.iter().map(|cell| clean(cell)).collect())
        .collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let blanks = width(column).unwrap_or(0) - cell.chars().count();
                format!("{cell}{}", " ".repeat(blanks))
            })
            .collect();
        page.push_str(format!("  {}", padded.join("  ")).trim_end());
        page.push('\n');
    }
}
