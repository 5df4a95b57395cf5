//! Two sides beside one another as text, Markdown and JSON.
//!
//! Main functions: [`text`], [`markdown`] and [`json()`]. The first line is what may be said, and what
//! may not.

use super::escape::{clean, escape};
use super::number::short;
use crate::artifact::{
    AbVerdict, COMPARE_SCHEMA, CompareCheck, CompareDesign, CompareJudged, CompareReport,
    CompareRow, CompareRun, CompareSides, CompareValue,
};
use crate::compare::{Check, Comparison, Design, Row, Side, SideValue, Trial};
use crate::stats::Better;
use crate::verdict::Role;

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
    let run = |trial: &Trial| CompareRun {
        file: trial.file.clone(),
        tool: trial.source.name().to_owned(),
        run: trial.id.clone(),
        commit: trial.commit.clone(),
        started_at: trial.started_at.clone(),
        requests: trial.work.map(|work| work.requests),
        failed: trial.work.map(|work| work.failed),
        evidence: trial.doubts.is_empty(),
        doubts: trial.doubts.clone(),
    };
    let check = |check: &Check| CompareCheck {
        what: check.what.name().to_owned(),
        same: check.same,
        base: check.base.clone(),
        head: check.head.clone(),
    };
    let report = CompareReport {
        schema: COMPARE_SCHEMA.to_owned(),
        headline: of.headline.clone(),
        verdict: of.verdict.map(AbVerdict::from),
        reasons: of.reasons.clone(),
        warnings: of.warnings.clone(),
        doubts: of.doubts.clone(),
        design: design(&of.design),
        sides: CompareSides {
            base: base.trials.iter().map(run).collect(),
            head: head.trials.iter().map(run).collect(),
        },
        checks: of.checks.iter().map(check).collect(),
        comparisons: of.rows.iter().map(row).collect(),
    };
    let mut text = serde_json::to_string_pretty(&report)
        .expect("keys are strings, and no type here has a serializer that fails");
    text.push('\n');
    text
}

fn design(of: &Design) -> CompareDesign {
    let none = |kind: &str| CompareDesign {
        kind: kind.to_owned(),
        pairs: None,
        order: Vec::new(),
        why_no_verdict: None,
    };
    match of {
        Design::Single => none("single"),
        Design::Repeated { why_not } => {
            CompareDesign { why_no_verdict: Some(why_not.clone()), ..none("repeated") }
        }
        Design::Paired { orders } => CompareDesign {
            pairs: Some(orders.len() as u64),
            order: orders.iter().map(|order| order.name().to_owned()).collect(),
            ..none("paired")
        },
    }
}

fn row(of: &Row) -> CompareRow {
    let side = |side: &SideValue| CompareValue {
        value: side.value,
        spread: side.spread,
        runs: side.trials as u64,
    };
    let judged = of.judged.as_ref().map(|judged| {
        let adjusted = |role: Role| judged.p_adjusted.filter(|_| of.rule.role == role);
        let found = judged.found.as_ref();
        CompareJudged {
            verdict: judged.verdict.map(AbVerdict::from),
            ci_pct: judged.ci_pct(),
            ci_level: found.map(|found| found.interval.level),
            p: found.map(|found| found.p),
            p_holm: adjusted(Role::Gate),
            q: adjusted(Role::Observe),
            resolution_pct: judged.resolution_pct(),
            mde80_pct: judged.mde80_pct(),
            pairs: found.map(|found| found.pairs as u64),
            position_effect_pct: judged.position_effect_pct(),
            needed_pairs: judged.needed_pairs.map(|pairs| pairs as u64),
            sentence: judged.sentence.clone(),
        }
    });
    CompareRow {
        metric: of.rule.metric.clone(),
        unit: of.rule.unit.clone(),
        better: of.rule.better,
        role: of.rule.role.into(),
        bar_pct: 100.0 * of.rule.bar,
        base: side(&of.base),
        head: side(&of.head),
        change_pct: of.change_pct,
        looks: of.impression.map(|impression| impression.name().to_owned()),
        judged,
    }
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
