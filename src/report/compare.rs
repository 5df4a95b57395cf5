//! Two sides beside one another as text, Markdown and JSON.
//!
//! Main functions: [`text`], [`markdown`] and [`json()`]. The first line is what may be said, and what
//! may not.

use serde_json::{Map, Value, json};

use super::escape::{clean, escape};
use super::number::short;
use crate::compare::{Check, Comparison, Design, Row, Side, SideValue, Trial};
use crate::stats::Better;
use crate::verdict::Role;

/// Name of the JSON of a comparison.
pub const SCHEMA: &str = "bench-ci.compare/1";

/// For a terminal: at most `width` columns, where the names of metrics allow it.
#[must_use]
pub fn text(base: &Side, head: &Side, of: &Comparison, width: usize) -> String {
    let width = width.clamp(60, 200);
    let mut page = String::new();
    let mut line = |words: &str, indent: usize| wrap(&mut page, words, indent, width);
    line(&of.headline, 0);
    for reason in &of.reasons {
        line(&format!("- {reason}"), 2);
    }
    line(&format!("base  {}", runs(base)), 2);
    line(&format!("head  {}", runs(head)), 2);
    line(&how(of), 2);
    for check in &of.checks {
        line(&format!("{:<18}{}", check.what.name(), same(check)), 2);
    }
    page.push('\n');
    let rows: Vec<[String; 5]> = of.rows.iter().map(cells).collect();
    let head_row = ["metric", "base", "head", "change", ""].map(str::to_owned);
    let widths: Vec<usize> = (0..4)
        .map(|column| {
            let all = rows.iter().chain(std::iter::once(&head_row));
            all.map(|row| row[column].chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in std::iter::once(&head_row).chain(&rows) {
        let mut text = format!("  {}", pad(&row[0], widths[0], false));
        for column in 1..4 {
            text.push_str("  ");
            text.push_str(&pad(&row[column], widths[column], true));
        }
        text.push_str("  ");
        text.push_str(&row[4]);
        page.push_str(clean(text.trim_end()).as_str());
        page.push('\n');
    }
    if !of.warnings.is_empty() {
        page.push('\n');
    }
    for warning in &of.warnings {
        wrap(&mut page, &format!("warning: {warning}"), 2, width);
    }
    page
}

/// For a pull request. Text from outside is escaped.
#[must_use]
pub fn markdown(base: &Side, head: &Side, of: &Comparison) -> String {
    let mut page = format!("**Compared:** {}\n\n", escape(&of.headline).replace("\\`", "`"));
    for reason in &of.reasons {
        page.push_str(&format!("- {}\n", escape(reason)));
    }
    if !of.reasons.is_empty() {
        page.push('\n');
    }
    page.push_str("| | metric | base | head | change | |\n|:-:|:--|--:|--:|--:|:--|\n");
    for row in &of.rows {
        let [metric, base, head, change, verdict] = cells(row).map(|cell| escape(&cell));
        let better = match row.rule.better {
            Better::Higher => "↑",
            Better::Lower => "↓",
            Better::None => "",
        };
        page.push_str(&format!(
            "| {} | {metric} {better} | {base} | {head} | {change} | {verdict} |\n",
            mark(row)
        ));
    }
    page.push_str(&format!("\n{}\n\n", escape(&how(of))));
    for (name, side) in [("base", base), ("head", head)] {
        page.push_str(&format!("- {name}: {}\n", escape(&runs(side))));
    }
    for check in &of.checks {
        page.push_str(&format!("- {}: {}\n", check.what.name(), escape(&same(check))));
    }
    for warning in &of.warnings {
        page.push_str(&format!("- **warning:** {}\n", escape(warning)));
    }
    page
}

/// For a program: schema `bench-ci.compare/1`. Every `null` of a metric has its reason in words beside.
#[must_use]
pub fn json(base: &Side, head: &Side, of: &Comparison) -> String {
    let design = match &of.design {
        Design::Single => json!({"kind": "single", "pairs": null, "order": []}),
        Design::Repeated { why_not } => {
            json!({"kind": "repeated", "pairs": null, "order": [], "why_no_verdict": why_not})
        }
        Design::Paired { orders } => {
            let order: Vec<&str> = orders.iter().map(|order| order.name()).collect();
            json!({"kind": "paired", "pairs": order.len(), "order": order})
        }
    };
    let sides: Map<String, Value> = [("base", base), ("head", head)]
        .into_iter()
        .map(|(name, side)| (name.to_owned(), side.trials.iter().map(trial_json).collect()))
        .collect();
    let checks: Vec<Value> = of
        .checks
        .iter()
        .map(|check| {
            json!({
                "what": check.what.name(),
                "same": check.same,
                "base": check.base,
                "head": check.head,
            })
        })
        .collect();
    let document = json!({
        "schema": SCHEMA,
        "headline": of.headline,
        "verdict": of.verdict.map(|verdict| verdict.name()),
        "reasons": of.reasons,
        "warnings": of.warnings,
        "doubts": of.doubts,
        "design": design,
        "sides": sides,
        "checks": checks,
        "comparisons": of.rows.iter().map(row_json).collect::<Vec<Value>>(),
    });
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value always has a text");
    text.push('\n');
    text
}

fn trial_json(trial: &Trial) -> Value {
    json!({
        "file": trial.file,
        "tool": trial.source.name(),
        "run": trial.id,
        "commit": trial.commit,
        "started_at": trial.started_at,
        "requests": trial.work.map(|work| work.requests),
        "failed": trial.work.map(|work| work.failed),
        "evidence": trial.doubts.is_empty(),
        "doubts": trial.doubts,
    })
}

fn row_json(row: &Row) -> Value {
    let side =
        |side: &SideValue| json!({"value": side.value, "spread": side.spread, "runs": side.trials});
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    put("metric", json!(row.rule.metric));
    put("unit", json!(row.rule.unit));
    put("better", json!(row.rule.better));
    put("role", json!(row.rule.role.name()));
    put("bar_pct", json!(100.0 * row.rule.bar));
    put("base", side(&row.base));
    put("head", side(&row.head));
    put("change_pct", json!(row.change_pct));
    put("looks", json!(row.impression.map(|impression| impression.name())));
    if let Some(judged) = &row.judged {
        put("verdict", json!(judged.verdict.map(|verdict| verdict.name())));
        put("ci_pct", json!(judged.ci_pct()));
        put("ci_level", json!(judged.found.as_ref().map(|found| found.interval.level)));
        put("p", json!(judged.found.as_ref().map(|found| found.p)));
        let adjusted = |role: Role| judged.p_adjusted.filter(|_| row.rule.role == role);
        put("p_holm", json!(adjusted(Role::Gate)));
        put("q", json!(adjusted(Role::Observe)));
        put("resolution_pct", json!(judged.resolution_pct()));
        put("mde80_pct", json!(judged.mde80_pct()));
        put("pairs", json!(judged.found.as_ref().map(|found| found.pairs)));
        put("position_effect_pct", json!(judged.position_effect_pct()));
        put("needed_pairs", json!(judged.needed_pairs));
        put("sentence", json!(judged.sentence));
    }
    Value::Object(fields)
}

fn runs(side: &Side) -> String {
    let Some(first) = side.trials.first() else { return "nothing".to_owned() };
    let more = match side.trials.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let commit = first.commit.as_deref().map_or_else(String::new, |commit| {
        format!(", commit {}", commit.get(..10).unwrap_or(commit))
    });
    let work: Vec<_> = side.trials.iter().filter_map(|trial| trial.work).collect();
    let requests: u64 = work.iter().map(|work| work.requests).sum();
    let failed: u64 = work.iter().map(|work| work.failed).sum();
    let done = match work.is_empty() {
        true => String::new(),
        false => format!(", {requests} requests, {failed} failed"),
    };
    format!("{}{more}{commit}{done}", first.file)
}

fn how(of: &Comparison) -> String {
    match &of.design {
        Design::Single => {
            "one run a side: the intervals are of the requests within it, and know nothing of the luck of a start"
                .to_owned()
        }
        Design::Repeated { why_not } => format!("several runs without a verdict: {why_not}"),
        Design::Paired { orders } => format!(
            "{} pairs of runs in turn on one machine, judged as by `bench-ci ab`",
            orders.len()
        ),
    }
}

fn same(check: &Check) -> String {
    match check.same {
        Some(true) => format!("same ({})", check.base),
        Some(false) => format!("DIFFERENT: base {}, head {}", check.base, check.head),
        None => format!("not known: base {}, head {}", check.base, check.head),
    }
}

fn cells(row: &Row) -> [String; 5] {
    let side = |side: &SideValue| {
        let spread = side
            .spread
            .map_or_else(String::new, |[low, high]| format!(" [{} … {}]", short(low), short(high)));
        format!("{}{spread}", short(side.value))
    };
    let name = match row.rule.unit.as_str() {
        unit if row.rule.metric.contains(&format!("_{unit}")) => row.rule.metric.clone(),
        "tokens/s" | "requests/s" if row.rule.metric.contains("_per_second") => {
            row.rule.metric.clone()
        }
        unit => format!("{} ({unit})", row.rule.metric),
    };
    let change =
        row.change_pct.map_or_else(|| "–".to_owned(), |change| format!("{} %", signed(change)));
    let word = match &row.judged {
        Some(judged) => {
            let interval = judged.ci_pct().map_or_else(String::new, |[low, high]| {
                format!(" ({} … {} %)", signed(low), signed(high))
            });
            let verdict = match (row.rule.role, judged.verdict) {
                (Role::Gate, Some(verdict)) => verdict.name(),
                _ => "observed",
            };
            format!("{verdict}{interval}")
        }
        None => row.impression.map_or("no ratio", |impression| impression.name()).to_owned(),
    };
    [name, side(&row.base), side(&row.head), change, word]
}

fn mark(row: &Row) -> &'static str {
    use crate::compare::Impression;
    use crate::verdict::Verdict;
    let verdict = row.judged.as_ref().filter(|_| row.rule.role == Role::Gate);
    match (verdict.and_then(|judged| judged.verdict), row.impression) {
        (Some(Verdict::Regressed), _) => "❌",
        (Some(Verdict::Improved | Verdict::NoRegression), _) => "✅",
        (Some(_), _) => "❔",
        (None, Some(Impression::LooksSlower)) => "▼",
        (None, Some(Impression::LooksFaster)) => "▲",
        _ => "",
    }
}

/// One decimal, with a real minus sign, and a plus where it rises.
fn signed(value: f64) -> String {
    let digits = format!("{:.1}", value.abs());
    match digits.as_str() {
        "0.0" => digits,
        _ if value < 0.0 => format!("−{digits}"),
        _ => format!("+{digits}"),
    }
}

fn pad(text: &str, width: usize, right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(text.chars().count()));
    if right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

/// Words wrapped at the width, later lines indented by two more.
pub(crate) fn wrap(page: &mut String, words: &str, indent: usize, width: usize) {
    let mut line = " ".repeat(indent);
    let mut columns = indent;
    let mut empty = true;
    // Runs of blanks are kept: they align columns.
    for word in clean(words).split(' ') {
        let length = word.chars().count();
        if !empty && columns + 1 + length > width {
            page.push_str(line.trim_end());
            page.push('\n');
            line = " ".repeat(indent + 2);
            columns = indent + 2;
            empty = true;
        }
        if !empty {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += length;
        empty = false;
    }
    page.push_str(line.trim_end());
    page.push('\n');
}
