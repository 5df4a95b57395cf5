//! The combined table of a suite: Markdown for people, CSV for spreadsheets, text for a terminal.
//!
//! Main functions: [`markdown`], [`csv`] and [`text`], each from `suite.json` alone.

use super::escape::{clean, escape};
use super::number::{seconds, short};
use super::terminal::{Screen, Tone};
use crate::artifact::{CellStatus, SearchKind, SearchReport, SuiteCell, SuiteReport};
use crate::exit::ExitCode;
use crate::stats::ServerKind;
use crate::stats::metric::{self, Better};

/// A column of figures.
struct Column {
    head: &'static str,
    better: Better,
    value: fn(&SuiteCell) -> Option<f64>,
}

/// What the table compares; the rest is in `suite.csv` and in the cells' own reports.
const COLUMNS: [Column; 7] = [
    Column {
        head: "TTFT p50 (ms)",
        better: Better::Lower,
        value: |cell| p50(cell, metric::TTFT_MS.name),
    },
    Column {
        head: "TTFT p95 (ms)",
        better: Better::Lower,
        value: |cell| p95(cell, metric::TTFT_MS.name),
    },
    Column {
        head: "TPOT p50 (ms)",
        better: Better::Lower,
        value: |cell| p50(cell, metric::TPOT_MS.name),
    },
    Column {
        head: "latency p50 (ms)",
        better: Better::Lower,
        value: |cell| p50(cell, metric::E2E_MS.name),
    },
    Column {
        head: "output tokens/s",
        better: Better::Higher,
        value: |cell| cell.rates.as_ref()?.figures.output_tokens_per_second,
    },
    Column {
        head: "requests/s",
        better: Better::Higher,
        value: |cell| cell.rates.as_ref()?.figures.requests_per_second,
    },
    Column {
        head: "goodput/s",
        better: Better::Higher,
        value: |cell| cell.rates.as_ref()?.figures.goodput_requests_per_second,
    },
];

fn p50(cell: &SuiteCell, name: &str) -> Option<f64> {
    cell.metrics.get(name)?.p50
}

fn p95(cell: &SuiteCell, name: &str) -> Option<f64> {
    cell.metrics.get(name)?.p95
}

/// A cell whose figures may be compared: it was played to its end and is evidence.
fn counts(cell: &SuiteCell) -> bool {
    let evidence = [ExitCode::Ok.code(), ExitCode::Threshold.code()];
    cell.status == CellStatus::Completed
        && cell.exit_code.is_some_and(|code| evidence.contains(&code))
}

/// The cells as a table of texts: head, and a row a cell. Best figures are marked by `mark`.
fn table(suite: &SuiteReport, mark: fn(&str) -> String) -> (Vec<String>, Vec<Vec<String>>) {
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| suite.cells.iter().any(|cell| (column.value)(cell).is_some()))
        .collect();
    let by_scenario = suite.cells.iter().any(|cell| cell.scenario != suite.cells[0].scenario);
    let mut head: Vec<String> = Vec::new();
    if by_scenario || suite.axes.is_empty() {
        head.push("scenario".to_owned());
    }
    head.extend(suite.axes.iter().cloned());
    head.extend(["requests".to_owned(), "outcome".to_owned()]);
    head.extend(shown.iter().map(|column| column.head.to_owned()));
    // Cells of different scenarios did different work, so each scenario has its own best.
    let best = |column: &Column, scenario: &str| {
        let values = || {
            suite
                .cells
                .iter()
                .filter(|cell| counts(cell) && cell.scenario == scenario)
                .filter_map(column.value)
        };
        let several = values().count() > 1;
        let best = match column.better {
            Better::Lower => values().min_by(f64::total_cmp),
            _ => values().max_by(f64::total_cmp),
        };
        best.filter(|_| several)
    };
    let rows = suite.cells.iter().map(|cell| {
        let mut row = Vec::new();
        if by_scenario || suite.axes.is_empty() {
            row.push(cell.scenario.clone());
        }
        for axis in &suite.axes {
            let here = cell.axes.iter().find(|here| here.name == *axis);
            row.push(here.map_or_else(|| "–".to_owned(), |here| here.value.clone()));
        }
        row.push(requests(cell));
        row.push(outcome(cell));
        for column in &shown {
            let value = (column.value)(cell);
            let text = value.map_or_else(|| "–".to_owned(), short);
            let is_best = value.is_some_and(|value| {
                counts(cell)
                    && best(column, &cell.scenario)
                        .is_some_and(|best| best.total_cmp(&value).is_eq())
            });
            row.push(if is_best { mark(&text) } else { text });
        }
        row
    });
    (head, rows.collect())
}

fn requests(cell: &SuiteCell) -> String {
    let requests = &cell.requests;
    let lost = requests.failed + requests.dropped + requests.cut;
    if requests.planned == 0 {
        "–".to_owned()
    } else if lost == 0 {
        requests.completed.to_string()
    } else {
        format!("{} of {}", requests.completed, requests.planned)
    }
}

fn outcome(cell: &SuiteCell) -> String {
    match (cell.status, cell.exit_code) {
        (CellStatus::NotRun, _) => "not run".to_owned(),
        (CellStatus::Completed, Some(0)) => "ok".to_owned(),
        (CellStatus::Completed, Some(99)) => "threshold".to_owned(),
        (CellStatus::Completed, Some(5)) => "no evidence".to_owned(),
        (CellStatus::Partial, _) => "partial".to_owned(),
        (_, Some(code)) => format!("failed ({code})"),
        (_, None) => "failed".to_owned(),
    }
}

/// The first line: what became of it all.
pub(super) fn verdict(suite: &SuiteReport) -> (bool, String) {
    let of = |status| suite.cells.iter().filter(|cell| cell.status == status).count();
    let all = suite.cells.len();
    let good = suite.cells.iter().filter(|cell| cell.exit_code == Some(0)).count();
    let what = if suite.search.is_some() { "trials" } else { "cells" };
    let mut words = match &suite.search {
        Some(search) => found(search),
        None => format!("{good} of {all} {what} without a complaint"),
    };
    let (failed, not_run) =
        (of(CellStatus::Failed) + of(CellStatus::Partial), of(CellStatus::NotRun));
    if failed > 0 {
        words.push_str(&format!(", {failed} failed"));
    }
    if not_run > 0 {
        words.push_str(&format!(", {not_run} not run"));
    }
    if suite.cells.iter().any(|cell| cell.server_kind == Some(ServerKind::Sim)) {
        words.push_str("; made with the simulator (bench-ci sim), not a real server");
    }
    (suite.suite.exit_code == Some(0), words)
}

/// What a search found, as a sentence.
fn found(search: &SearchReport) -> String {
    let unit = match search.over.name() {
        "rate" => " requests/s",
        _ => " users",
    };
    let interval = search.interval.map_or_else(String::new, |[low, high]| {
        format!(" (interval {} … {})", short(low), short(high))
    });
    let at_least = if search.client_limit.is_some() { "at least " } else { "" };
    let limit = search.client_limit.map_or_else(String::new, |load| {
        format!("; at {}{unit} this client was the limit and not the server", short(load))
    });
    match (search.kind, search.value) {
        (SearchKind::Goodput, Some(value)) => format!(
            "bears {at_least}{}{unit}{interval} with {} % of requests within: {}{limit}",
            short(value),
            short(search.goodput_ratio.unwrap_or_default() * 100.0),
            search.objectives.join(" and ")
        ),
        (SearchKind::Knee, Some(value)) => {
            format!("the knee is at {}{unit}{interval}{limit}", short(value))
        }
        (_, None) => format!("nothing was found: {}", search.reasons.join("; ")),
    }
}

fn servers(suite: &SuiteReport) -> String {
    match suite.servers.len() {
        0 => "The server was already running; none was started.".to_owned(),
        1 => "One server was started for all of them.".to_owned(),
        starts => format!(
            "Servers were started {starts} times; {} are needed where none fails.",
            suite.suite.planned_server_starts
        ),
    }
}

/// `suite.md`.
#[must_use]
pub fn markdown(suite: &SuiteReport) -> String {
    let (good, words) = verdict(suite);
    let word = if good {
        "OK"
    } else if suite.suite.finished_at.is_none() {
        "Partial"
    } else {
        "Failed"
    };
    let mut text = format!("**{word}:** {}\n\n# {}\n\n", escape(&words), escape(&suite.suite.name));
    let tags = [&suite.suite.branch, &suite.suite.commit, &suite.suite.runner_label];
    let tags: Vec<String> = tags.into_iter().flatten().map(|tag| escape(tag)).collect();
    if !tags.is_empty() {
        text.push_str(&format!("{}. ", tags.join(", ")));
    }
    text.push_str(&format!("{}\n\n", servers(suite)));
    let failed: Vec<&SuiteCell> = suite
        .cells
        .iter()
        .filter(|cell| !cell.causes.is_empty() || cell.status == CellStatus::Failed)
        .collect();
    if !failed.is_empty() && suite.search.is_none() {
        text.push_str("## What went wrong\n\n");
        for cell in failed {
            let causes = cell.causes.join("; ");
            text.push_str(&format!("- {}: {}\n", escape(&cell.name), escape(&causes)));
        }
        text.push('\n');
    }
    if let Some(search) = &suite.search {
        points(search, &mut text);
    }
    let (head, rows) = table(suite, |best| format!("**{best}**"));
    text.push_str(if suite.search.is_some() { "## Trials\n\n" } else { "## Cells\n\n" });
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    text.push_str(&line(&head.iter().map(|head| escape(head)).collect::<Vec<_>>()));
    text.push_str(&line(&vec!["---".to_owned(); head.len()]));
    for row in rows {
        // The marks are ours; everything else may come from a file.
        let safe = |cell: &String| match cell
            .strip_prefix("**")
            .and_then(|rest| rest.strip_suffix("**"))
        {
            Some(inner) => format!("**{}**", escape(inner)),
            None => escape(cell),
        };
        text.push_str(&line(&row.iter().map(safe).collect::<Vec<_>>()));
    }
    text.push_str("\nBold: the best of its column, among cells that are evidence");
    let several = suite.cells.iter().any(|cell| cell.scenario != suite.cells[0].scenario);
    text.push_str(if several { ", within its scenario" } else { "" });
    text.push_str(
        ". One run a cell: a difference of a few per cent between two cells shows nothing.\n",
    );
    for warning in &suite.warnings {
        text.push_str(&format!("\n> {}\n", escape(&warning.message)));
    }
    text
}

fn points(search: &SearchReport, text: &mut String) {
    for reason in &search.reasons {
        text.push_str(&format!("- {}\n", escape(reason)));
    }
    let is_goodput = search.kind == SearchKind::Goodput;
    text.push_str(&format!("\n| {} | trials | requests |", search.over.name()));
    text.push_str(if is_goodput { " good | 95 % interval | verdict |" } else { "" });
    text.push_str(" requests/s |\n| --- | --- | --- |");
    text.push_str(if is_goodput { " --- | --- | --- |" } else { "" });
    text.push_str(" --- |\n");
    for point in &search.points {
        text.push_str(&format!(
            "| {} | {} | {} |",
            short(point.load),
            point.trials.len(),
            point.requests
        ));
        if is_goodput {
            let share = point.good as f64 / (point.requests.max(1)) as f64 * 100.0;
            let interval = point.ratio_interval.map_or_else(
                || "–".to_owned(),
                |[low, high]| format!("{:.1} … {:.1} %", low * 100.0, high * 100.0),
            );
            let verdict = point.verdict.as_deref().unwrap_or("–").replace('_', " ");
            text.push_str(&format!(" {share:.1} % | {interval} | {verdict} |"));
        }
        text.push_str(&format!(
            " {} |\n",
            point.requests_per_second.map_or_else(|| "–".to_owned(), short)
        ));
    }
    text.push('\n');
}

/// `suite.csv`: a row a cell, every metric and rate; what is unknown is empty.
#[must_use]
pub fn csv(suite: &SuiteReport) -> String {
    let mut head: Vec<String> = ["cell", "scenario"].map(str::to_owned).to_vec();
    head.extend(suite.axes.iter().cloned());
    head.extend(
        ["status", "exit_code", "server_index", "planned", "completed", "failed", "dropped", "cut"]
            .map(str::to_owned),
    );
    type Rate = fn(&crate::artifact::CellRates) -> Option<f64>;
    let rates: [(&str, Rate); 5] = [
        ("requests_per_second", |rates| rates.figures.requests_per_second),
        ("prompt_tokens_per_second", |rates| rates.figures.prompt_tokens_per_second),
        ("output_tokens_per_second", |rates| rates.figures.output_tokens_per_second),
        ("total_tokens_per_second", |rates| rates.figures.total_tokens_per_second),
        ("goodput_requests_per_second", |rates| rates.figures.goodput_requests_per_second),
    ];
    head.extend(rates.iter().map(|(name, _)| (*name).to_owned()));
    let figures = ["mean", "p50", "p90", "p95", "p99"];
    for metric in metric::ALL {
        head.extend(figures.iter().map(|figure| format!("{}_{figure}", metric.name)));
    }
    let mut text = row(&head);
    for cell in &suite.cells {
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let mut fields = vec![cell.name.clone(), cell.scenario.clone()];
        for axis in &suite.axes {
            let here = cell.axes.iter().find(|here| here.name == *axis);
            fields.push(here.map_or_else(String::new, |here| here.value.clone()));
        }
        let status = serde_json::to_value(cell.status).ok();
        fields.push(status.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned());
        fields.push(cell.exit_code.map_or_else(String::new, |code| code.to_string()));
        let requests = &cell.requests;
        let counts = [
            cell.server_index,
            requests.planned,
            requests.completed,
            requests.failed,
            requests.dropped,
            requests.cut,
        ];
        fields.extend(counts.map(|count| count.to_string()));
        fields.extend(rates.iter().map(|(_, rate)| number(cell.rates.as_ref().and_then(rate))));
        for metric in metric::ALL {
            let found = cell.metrics.get(metric.name);
            let values = found.map_or([None; 5], |found| {
                [found.mean, found.p50, found.p90, found.p95, found.p99]
            });
            fields.extend(values.map(number));
        }
        text.push_str(&row(&fields));
    }
    text
}

fn row(fields: &[String]) -> String {
    let quoted = |field: &String| {
        // A spreadsheet takes a text that begins so for a formula.
        let field = if field.starts_with(['=', '+', '-', '@']) && field.parse::<f64>().is_err() {
            format!("'{field}")
        } else {
            field.clone()
        };
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    };
    format!("{}\n", fields.iter().map(quoted).collect::<Vec<_>>().join(","))
}

/// The summary on a terminal of so many columns (at least 60, at most 200 are used). Columns of the
/// table that do not fit are left out, the last first, and named as such.
#[must_use]
pub fn text(suite: &SuiteReport, width: usize) -> String {
    let (good, words) = verdict(suite);
    let mut screen = Screen::new(width, false);
    let (label, tone) = if good { ("OK:", Tone::Good) } else { ("not OK:", Tone::Bad) };
    screen.paragraph(label, tone, &words, 0);
    screen.paragraph("", Tone::Plain, &servers(suite), 2);
    screen.text.push('\n');
    let (head, rows) = table(suite, |best| format!("{best}*"));
    let lines: Vec<Vec<String>> = [head]
        .into_iter()
        .chain(rows)
        .map(|row| row.iter().map(|cell| clean(cell)).collect())
        .collect();
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut taken = 0;
    let fitting = widths.iter().take_while(|width| {
        taken += **width + 2;
        taken <= screen.width
    });
    let fitting = fitting.count().max(columns.min(1));
    for line in &lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .take(fitting)
            .map(|(cell, width)| format!("{}{cell}", " ".repeat(width - cell.chars().count())))
            .collect();
        screen.text.push_str(&format!("  {}\n", padded.join("  ")));
    }
    screen.text.push_str("  * the best of its column\n");
    if fitting < columns {
        let left_out = columns - fitting;
        let words = format!("{left_out} more columns are in suite.md, or on a wider terminal");
        screen.paragraph("", Tone::Plain, &words, 2);
    }
    for cell in suite.cells.iter().filter(|cell| !cell.causes.is_empty() && suite.search.is_none())
    {
        screen.paragraph(&format!("{}:", clean(&cell.name)), Tone::Bad, &cell.causes.join("; "), 2);
    }
    for server in &suite.servers {
        if let Some(start_s) = server.start_s {
            let words = format!("healthy after {}", seconds(start_s));
            screen.paragraph(&format!("{}:", clean(&server.log)), Tone::Plain, &words, 2);
        }
    }
    screen.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Unknowns;
    use crate::plan::search::SearchOver;

    #[test]
    fn what_was_borne_below_the_clients_own_limit_is_told_as_a_bound() {
        let mut search = SearchReport {
            over: SearchOver::Rate,
            kind: SearchKind::Goodput,
            objectives: vec!["ttft_ms < 60".to_owned()],
            goodput_ratio: Some(0.95),
            value: Some(2000.0),
            client_limit: None,
            interval: None,
            precise: false,
            reasons: Vec::new(),
            points: Vec::new(),
            unknown: Unknowns::none(),
        };
        let kept_up = "bears 2,000 requests/s with 95.0 % of requests within: ttft_ms < 60";
        assert_eq!(found(&search), kept_up);
        search.client_limit = Some(4000.0);
        let bound = kept_up.replacen("bears", "bears at least", 1);
        let limit = "; at 4,000 requests/s this client was the limit and not the server";
        assert_eq!(found(&search), bound + limit);
    }
}
