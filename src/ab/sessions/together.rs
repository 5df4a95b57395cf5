//! From several reports to one.
//!
//! Main function: [`together`]. What the first session says about model, workload and sides stands for
//! all, since they were found to agree; figures are pooled, counts are sums.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{Entry, LEAST_PAIRS, belong};
use crate::ab::{assemble, exit_of};
use crate::artifact::{
    AB_SCHEMA, AbReport, AbVerdict, Check, ComparisonRole, Design, DesignKind, FileEntry,
    Heterogeneity, MetricComparison, Note, Run, RunStatus, Scenario, SessionSummary, SideReport,
    Sides, Unknowns,
};
use crate::cli::AbArgs;
use crate::provenance::{self, Provenance};
use crate::run::findings::Findings;
use crate::run::sections::tool;
use crate::stats::Better;
use crate::verdict::looks::ALPHA;
use crate::verdict::sessions::{SessionEstimate, SessionMetric, Together, judge_sessions};
use crate::verdict::signed_rank::Interval;
use crate::verdict::{Evidence, Invalid, Role, Rule, Work, change_pct, slow_down_pct};

/// The one report. There is at least one entry.
pub(super) fn together(
    args: &AbArgs,
    entries: &[Entry],
    provenance: &Provenance,
    elapsed_s: f64,
) -> AbReport {
    let first = &entries.first().expect("sessions were read").report;
    let metrics = metrics(entries);
    let evidence = evidence(entries);
    let judged = judge_sessions(&metrics, &evidence, faults(entries, args.sessions.matrix));
    let verdict = AbVerdict::from(judged.judgement.verdict);
    let mut warnings: Vec<Note> = belong::warnings(entries)
        .into_iter()
        .chain(judged.judgement.warnings.iter().cloned())
        .map(|message| Note { code: "sessions".to_owned(), message })
        .collect();
    for entry in entries {
        warnings.extend(entry.report.warnings.iter().map(|note| Note {
            code: note.code.clone(),
            message: format!("{}: {}", entry.file, note.message),
        }));
    }
    let mut unknown = Unknowns::none();
    AbReport {
        schema: AB_SCHEMA.to_owned(),
        tool: tool(),
        run: run(args, entries, provenance, elapsed_s, verdict),
        machine: first.machine.clone(),
        model: unknown.option("model", first.model.clone(), "the sessions name none"),
        scenario: scenario(entries),
        design: design(entries),
        sides: Sides {
            base: side(entries, |report| &report.sides.base),
            head: side(entries, |report| &report.sides.head),
        },
        trials: Vec::new(),
        comparisons: comparisons(&judged),
        checks: checks(entries, &judged, &evidence),
        sessions: entries.iter().map(summary).collect(),
        heterogeneity: heterogeneity(&judged),
        earlier_aa: unknown.option("earlier_aa", None, "each session has its own runner"),
        verdict,
        reasons: judged.judgement.reasons.clone(),
        warnings,
        files: vec![
            FileEntry { name: super::AB_JSON.to_owned(), what: "this file".to_owned() },
            FileEntry { name: super::AB_MD.to_owned(), what: "the same for people".to_owned() },
        ],
        unknown,
    }
}

fn usable(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.is_usable())
}

fn named(metric: &str, cell: &str) -> String {
    if cell.is_empty() { metric.to_owned() } else { format!("{metric} [{cell}]") }
}

/// Every metric of every cell: gates first, in the order of the sessions.
fn metrics(entries: &[Entry]) -> Vec<SessionMetric> {
    let mut cells: Vec<&str> = Vec::new();
    for entry in entries {
        if !cells.contains(&entry.cell.as_str()) {
            cells.push(&entry.cell);
        }
    }
    let mut metrics: Vec<SessionMetric> = Vec::new();
    for cell in cells {
        for entry in entries.iter().filter(|entry| entry.cell == cell) {
            for comparison in &entry.report.comparisons {
                let name = named(&comparison.metric, cell);
                if !metrics.iter().any(|metric| metric.rule.metric == name) {
                    metrics
                        .push(SessionMetric { rule: rule(comparison, name), sessions: Vec::new() });
                }
            }
        }
    }
    for entry in usable(entries) {
        for comparison in &entry.report.comparisons {
            let name = named(&comparison.metric, &entry.cell);
            let metric = metrics.iter_mut().find(|metric| metric.rule.metric == name);
            if let (Some(metric), Some(found)) = (metric, estimate(comparison, entry)) {
                metric.sessions.push(found);
            }
        }
    }
    metrics.sort_by_key(|metric| match metric.rule.role {
        Role::Gate => 0,
        Role::Observe => 1,
        Role::Exact => 2,
    });
    metrics
}

fn rule(of: &MetricComparison, metric: String) -> Rule {
    let role = match of.role {
        ComparisonRole::Gate => Role::Gate,
        ComparisonRole::Observe => Role::Observe,
        ComparisonRole::Exact => Role::Exact,
    };
    let usual = Rule::by_default(&of.metric, &of.unit, of.better, role);
    Rule { metric, bar: of.bar_pct.map_or(usual.bar, |bar| bar / 100.0), floor: of.floor, ..usual }
}

/// What a session says about a metric; `None` where it has no interval of it.
fn estimate(of: &MetricComparison, entry: &Entry) -> Option<SessionEstimate> {
    let (base, head) = of.medians()?;
    if of.role == ComparisonRole::Exact {
        let nothing = Interval { low: 0.0, high: 0.0, level: 0.95 };
        let estimate = SessionEstimate {
            estimate: 0.0,
            interval: nothing,
            p: 1.0,
            level: ALPHA,
            pairs: 0,
            base,
            head,
        };
        return Some(estimate);
    }
    // What people read, back to the scale of the differences: positive is slower.
    let difference = |percent: f64| {
        let size = (percent / 100.0).ln_1p();
        let size = if of.better == Better::Higher { -size } else { size };
        size.is_finite().then_some(size)
    };
    let [one, other] = of.ci_pct?;
    let (one, other) = (difference(one)?, difference(other)?);
    if of.pairs < LEAST_PAIRS {
        return None;
    }
    Some(SessionEstimate {
        estimate: difference(of.change_pct?)?,
        interval: Interval { low: one.min(other), high: one.max(other), level: of.ci_level? },
        p: of.p?,
        level: entry.report.design.level,
        pairs: usize::try_from(of.pairs).unwrap_or(usize::MAX),
        base,
        head,
    })
}

/// Counts of all sessions together, those that are no evidence too: a failure is one wherever it was.
fn evidence(entries: &[Entry]) -> Evidence {
    let work = |of: fn(&AbReport) -> &SideReport| {
        let mut sum = Work { prompt_tokens: Some(0), output_tokens: Some(0), ..Work::default() };
        let add = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        for entry in entries {
            let side = of(&entry.report);
            sum.requests = sum.requests.saturating_add(side.requests);
            sum.failed = sum.failed.saturating_add(side.failed);
            sum.prompt_tokens = add(sum.prompt_tokens, side.prompt_tokens);
            sum.output_tokens = add(sum.output_tokens, side.output_tokens);
        }
        sum
    };
    Evidence {
        base: work(|report| &report.sides.base),
        head: work(|report| &report.sides.head),
        // Each session has judged its own, with its own limit.
        failures_allowed: u64::MAX,
        ..Evidence::default()
    }
}

fn faults(entries: &[Entry], matrix: bool) -> Vec<Invalid> {
    let mut faults: Vec<Invalid> = entries
        .iter()
        .filter(|entry| entry.report.verdict == AbVerdict::Invalid)
        .map(|entry| Invalid::Session {
            session: entry.file.clone(),
            why: entry
                .report
                .reasons
                .first()
                .cloned()
                .unwrap_or_else(|| "it does not say why".to_owned()),
        })
        .collect();
    let valid = usable(entries).count();
    let needed = if matrix { 1 } else { 2 };
    if valid < needed && faults.is_empty() {
        faults.push(Invalid::TooFewSessions { valid, given: entries.len(), needed });
    }
    faults
}

fn run(
    args: &AbArgs,
    entries: &[Entry],
    provenance: &Provenance,
    elapsed_s: f64,
    verdict: AbVerdict,
) -> Run {
    let tags = &args.run.tags;
    let mut unknown = Unknowns::none();
    let mut common = |field: &str, of: fn(&Run) -> Option<&String>, typed: Option<&String>| {
        let first = entries.first().and_then(|entry| of(&entry.report.run));
        let same = entries.iter().all(|entry| of(&entry.report.run) == first);
        let value = typed.or(first.filter(|_| same)).cloned();
        unknown.option(
            field,
            value,
            if same { "the sessions do not say" } else { "the sessions differ" },
        )
    };
    let repository = common("repository", |run| run.repository.as_ref(), None);
    let runner_label =
        common("runner_label", |run| run.runner_label.as_ref(), tags.runner_label.as_ref());
    let branch = common("branch", |run| run.branch.as_ref(), tags.branch.as_ref());
    let commit = common("commit", |run| run.commit.as_ref(), tags.commit.as_ref());
    let dirty = entries
        .iter()
        .map(|entry| entry.report.run.dirty)
        .reduce(|one, other| Some(one? || other?));
    let dirty = unknown.option("dirty", dirty.flatten(), "the sessions do not say");
    let first = entries.first().map(|entry| &entry.report.run);
    let started_at = entries.iter().map(|entry| entry.report.run.started_at.clone()).min();
    Run {
        id: Findings::begin(provenance.clone()).id,
        name: tags.name.clone().or_else(|| first.map(|run| run.name.clone())).unwrap_or_default(),
        repository,
        runner_label,
        branch,
        commit,
        dirty,
        started_at: started_at.unwrap_or_else(|| provenance.started_at.clone()),
        finished_at: Some(provenance::now()),
        duration_s: Some(elapsed_s),
        status: RunStatus::Completed,
        causes: Vec::new(),
        exit_code: Some(exit_of(verdict, args.design.fail_on, None).code()),
        unknown,
    }
}

fn scenario(entries: &[Entry]) -> Scenario {
    let mut scenario = entries.first().expect("sessions were read").report.scenario.clone();
    let hash = |entry: &Entry| entry.report.scenario.workload_hash.clone();
    let first = scenario.workload_hash.clone();
    if entries.iter().any(|entry| hash(entry) != first) {
        scenario.workload_hash =
            scenario.unknown.option("workload_hash", None, "each machine sized its own turns");
    }
    scenario
}

fn design(entries: &[Entry]) -> Design {
    let first = &entries.first().expect("sessions were read").report.design;
    let several = "several sessions are put together";
    let mut unknown = Unknowns::none();
    let mut digest = Sha256::new();
    for entry in entries {
        digest.update(entry.report.run.id.as_bytes());
        digest.update([0]);
    }
    let common = |of: fn(&Design) -> Option<u64>| {
        let value = of(first);
        value.filter(|_| entries.iter().all(|entry| of(&entry.report.design) == value))
    };
    Design {
        kind: DesignKind::Sessions,
        aa: first.aa,
        seed: 0,
        order: Vec::new(),
        pairs_planned: entries.len() as u64,
        pairs_used: usable(entries).count() as u64,
        looks: Vec::new(),
        stopped_at: unknown.option("stopped_at", None, several),
        stopped_because: unknown.option("stopped_because", None, several),
        alpha: ALPHA,
        delta_pct: first.delta_pct,
        level: ALPHA,
        slice_pairs: unknown.option("slice_pairs", common(|design| design.slice_pairs), several),
        requests_per_slice: unknown.option(
            "requests_per_slice",
            common(|design| design.requests_per_slice),
            several,
        ),
        tokens_per_request: unknown.option(
            "tokens_per_request",
            common(|design| design.tokens_per_request),
            several,
        ),
        tokens_asked: unknown.option(
            "tokens_asked",
            common(|design| design.tokens_asked),
            "not all sessions were asked for the same",
        ),
        users: unknown.option("users", first.users, "the first session does not say"),
        restart_reason: unknown.option("restart_reason", None, several),
        budget_s: entries.iter().map(|entry| entry.report.design.budget_s).sum(),
        plan_digest: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        sittings: Vec::new(),
        unknown,
    }
}

fn side(entries: &[Entry], of: fn(&AbReport) -> &SideReport) -> SideReport {
    let mut sum = of(&entries.first().expect("sessions were read").report).clone();
    for entry in &entries[1..] {
        let side = of(&entry.report);
        let add = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
        sum.requests = sum.requests.saturating_add(side.requests);
        sum.failed = sum.failed.saturating_add(side.failed);
        sum.prompt_tokens = add(sum.prompt_tokens, side.prompt_tokens);
        sum.output_tokens = add(sum.output_tokens, side.output_tokens);
        for (kind, example) in &side.failures {
            sum.failures.entry(kind.clone()).or_insert_with(|| example.clone());
        }
        sum.crash = sum.crash.take().or_else(|| side.crash.clone());
    }
    sum
}

fn comparisons(judged: &Together) -> Vec<MetricComparison> {
    let several = "it is of one session; see there";
    judged
        .judgement
        .comparisons
        .iter()
        .filter_map(|comparison| assemble::comparison(comparison, None))
        .map(|mut comparison| {
            for field in ["mde80_pct", "regression80_pct", "position_effect_pct"] {
                comparison.unknown.forget(field);
                let _none: Option<f64> = comparison.unknown.option(field, None, several);
            }
            comparison
        })
        .collect()
}

fn heterogeneity(judged: &Together) -> Vec<Heterogeneity> {
    let comparisons = judged.judgement.comparisons.iter().zip(&judged.pooled);
    comparisons
        .filter(|(comparison, _)| comparison.rule.role != Role::Exact)
        .filter_map(|(comparison, pooled)| {
            let pooled = pooled.as_ref()?;
            Some(Heterogeneity {
                metric: comparison.rule.metric.clone(),
                sessions: pooled.sessions as u64,
                method: match pooled.sessions {
                    1 => "one",
                    2 => "both",
                    _ => "random-effects",
                }
                .to_owned(),
                tau_pct: slow_down_pct(pooled.heterogeneity.tau),
                i_squared_pct: 100.0 * pooled.heterogeneity.i_squared,
                q: pooled.heterogeneity.q,
                median_pct: change_pct(comparison.rule.better, pooled.median),
            })
        })
        .collect()
}

fn checks(entries: &[Entry], judged: &Together, evidence: &Evidence) -> Vec<Check> {
    let check = |name: &str, ok: bool, detail: String| Check { name: name.to_owned(), ok, detail };
    let (base, head) = (evidence.base, evidence.head);
    let invalid = entries.iter().filter(|entry| entry.report.verdict == AbVerdict::Invalid).count();
    let mut checks = vec![
        check(
            "failed_requests",
            base.failed.max(head.failed) == 0,
            format!(
                "base {} of {}, head {} of {}",
                base.failed, base.requests, head.failed, head.requests
            ),
        ),
        check(
            "sessions_are_evidence",
            invalid == 0,
            format!("{invalid} of {} sessions are no evidence", entries.len()),
        ),
        check(
            "sessions_used",
            usable(entries).count() == entries.len(),
            format!("{} of {} sessions are pooled", usable(entries).count(), entries.len()),
        ),
    ];
    let gates = judged.judgement.comparisons.iter().zip(&judged.pooled);
    let worst = gates
        .filter(|(comparison, _)| comparison.rule.role == Role::Gate)
        .filter_map(|(comparison, pooled)| Some((comparison, pooled.as_ref()?)))
        .filter(|(_, pooled)| pooled.sessions > 1)
        .max_by(|one, other| one.1.heterogeneity.tau.total_cmp(&other.1.heterogeneity.tau));
    if let Some((comparison, pooled)) = worst {
        let heterogeneity = pooled.heterogeneity;
        checks.push(check(
            "machines_agree",
            heterogeneity.tau <= comparison.rule.bar.ln_1p(),
            format!(
                "the change in {} differs between machines by ±{:.1} % (τ), I² {:.0} %",
                comparison.rule.metric,
                slow_down_pct(heterogeneity.tau),
                100.0 * heterogeneity.i_squared
            ),
        ));
    }
    checks
}

fn summary(entry: &Entry) -> SessionSummary {
    let report = &entry.report;
    let mut unknown = Unknowns::none();
    let gates = || report.comparisons.iter().filter(|one| one.role == ComparisonRole::Gate);
    let of = |gate: &MetricComparison| named(&gate.metric, &entry.cell);
    let change_pct: BTreeMap<String, f64> =
        gates().filter_map(|gate| Some((of(gate), gate.change_pct?))).collect();
    SessionSummary {
        file: entry.file.clone(),
        cell: entry.cell.clone(),
        id: report.run.id.clone(),
        runner_label: unknown.option(
            "runner_label",
            report.run.runner_label.clone(),
            "the session does not say",
        ),
        fingerprint: unknown.option(
            "fingerprint",
            report.machine.fingerprint.clone(),
            "the session does not say",
        ),
        pairs: report.design.pairs_used,
        verdict: report.verdict,
        change_pct,
        ci_pct: gates().filter_map(|gate| Some((of(gate), gate.ci_pct?))).collect(),
        unknown,
    }
}
