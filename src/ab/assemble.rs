//! From what a session has come to, to `ab.json`.
//!
//! Main function: [`assemble`]. It measures nothing and judges nothing anew; it puts the state, the
//! judgement and what is known of both sides into the types of the wire.

use std::collections::BTreeMap;

use super::checks::checks;
use super::course::AnswerLength;
use super::pair::SideState;
use super::session::{self, Ending};
use super::state::State;
use crate::artifact::{
    AB_SCHEMA, AbReport, AbVerdict, Design, DesignKind, FileEntry, MetricComparison, Note,
    PairSpread, Phase, PlannedLook, Run, RunStatus, Scenario, SideReport, Sides, Unknowns,
};
use crate::exit::ExitCode;
use crate::plan::RunPlan;
use crate::provenance::{self, Provenance};
use crate::run::conclude::server_kind;
use crate::run::sections::{machine, model_section, tool};
use crate::verdict::design::pair_order;
use crate::verdict::looks::{ALPHA, Looks};
use crate::verdict::power::{regression80, stddev};
use crate::verdict::{Comparison, Judgement, Role, Rule, Side, Spread, Stage, Work, slow_down_pct};

/// What a report is made of.
pub(super) struct Parts<'a> {
    pub(super) id: String,
    pub(super) provenance: &'a Provenance,
    pub(super) sides: &'a [SideState; 2],
    pub(super) state: &'a State,
    pub(super) rules: &'a [Rule],
    pub(super) looks: &'a Looks,
    pub(super) aa: bool,
    pub(super) restart: bool,
    pub(super) delta: f64,
    pub(super) budget_s: f64,
    pub(super) elapsed_s: f64,
    pub(super) failures_allowed: u64,
    pub(super) answer: AnswerLength,
    /// `None` where something went wrong before it could end.
    pub(super) ending: Option<Ending>,
    /// Why it could not go on.
    pub(super) causes: Vec<String>,
    pub(super) workload_hash: Option<String>,
    pub(super) dataset: String,
    /// What a reader should know about the choice of the commits.
    pub(super) notes: Vec<String>,
}

/// The report; `exit` is what the process will leave with, given the verdict.
pub(super) fn assemble(parts: &Parts<'_>, exit: impl Fn(AbVerdict) -> ExitCode) -> AbReport {
    let interrupted = parts.ending == Some(Ending::Interrupted);
    let stage = if interrupted { Stage::Interim } else { Stage::Final };
    let judged =
        session::judgement(parts.state, parts.rules, parts.looks, parts.failures_allowed, stage);
    // A session that could not go on proves nothing, whatever its first pairs look like.
    let verdict = if parts.ending.is_none() { AbVerdict::Invalid } else { judged.verdict.into() };
    let exit = exit(verdict);
    let mut reasons = parts.causes.clone();
    reasons.extend(crashes(parts.state));
    reasons.extend(judged.reasons.iter().cloned());
    let plan = &parts.sides[0].plan.plan;
    let mut unknown = Unknowns::none();
    let model = parts.sides[0].findings.model.as_ref().map(|model| {
        let sha256 = model.sha256.clone().or_else(|| parts.state.model_sha256.clone());
        model_section(&model.file, sha256)
    });
    AbReport {
        schema: AB_SCHEMA.to_owned(),
        tool: tool(),
        run: run(parts, exit),
        machine: machine(&parts.provenance.machine),
        model: unknown.option("model", model, "no model was named, or it could not be had"),
        scenario: scenario(plan, parts),
        design: design(parts, &judged),
        sides: Sides { base: side(parts, 0), head: side(parts, 1) },
        trials: parts.state.pairs.iter().flat_map(|record| record.trials.clone()).collect(),
        comparisons: judged
            .comparisons
            .iter()
            .filter_map(|of| comparison(of, regression80_pct(of, &judged, parts.looks)))
            .collect(),
        checks: checks(parts, &judged),
        sessions: Vec::new(),
        heterogeneity: Vec::new(),
        earlier_aa: None,
        verdict,
        reasons,
        warnings: warnings(parts, &judged),
        files: files(),
        unknown,
    }
}

pub(super) fn crashes(state: &State) -> Vec<String> {
    let mut crashes: Vec<String> = state
        .pairs
        .iter()
        .filter_map(|record| record.crash.as_ref())
        .map(|(side, how)| format!("{side}: {how}"))
        .collect();
    crashes.dedup();
    crashes
}

fn run(parts: &Parts<'_>, exit: ExitCode) -> Run {
    let tags = &parts.sides[1].plan.plan.tags;
    let provenance = parts.provenance;
    let mut unknown = Unknowns::none();
    let mut tag = |field: &str, value: &Option<String>| {
        unknown.option(field, value.clone(), provenance.why_not(field))
    };
    let (runner_label, branch, commit) = (
        tag("runner_label", &tags.runner_label),
        tag("branch", &tags.branch),
        tag("commit", &tags.commit),
    );
    let dirty = unknown.option("dirty", tags.dirty, provenance.why_not("dirty"));
    let repository = unknown.option(
        "repository",
        provenance.repository.clone(),
        "only GitHub Actions names one",
    );
    let mut causes = parts.causes.clone();
    if parts.ending == Some(Ending::Interrupted) {
        causes.push(exit.meaning().to_owned());
    }
    let status = match (parts.state.pairs.is_empty(), causes.is_empty()) {
        (_, true) => RunStatus::Completed,
        (false, false) => RunStatus::Partial,
        (true, false) => RunStatus::Failed,
    };
    Run {
        id: parts.id.clone(),
        name: tags.name.clone(),
        repository,
        runner_label,
        branch,
        commit,
        dirty,
        started_at: parts
            .state
            .sittings
            .first()
            .map_or_else(|| provenance.started_at.clone(), |first| first.started_at.clone()),
        finished_at: Some(provenance::now()),
        duration_s: Some(parts.elapsed_s),
        status,
        causes,
        exit_code: Some(exit.code()),
        unknown,
    }
}

fn scenario(plan: &RunPlan, parts: &Parts<'_>) -> Scenario {
    let workload = &plan.workload;
    let sizing = parts.state.sizing.as_ref();
    let mut unknown = Unknowns::none();
    let unsized_yet = "it ended before its first waves";
    let mut of_load = Unknowns::none();
    let users = sizing.map(|sizing| sizing.users).or(workload.users);
    let load = Phase {
        name: "load".to_owned(),
        measured: true,
        shape: match users {
            Some(users) => format!("{users} users in turns, as fast as the server answers"),
            None => "as many users as the servers have slots, in turns".to_owned(),
        },
        users: of_load.option("users", users, unsized_yet),
        duration_s: of_load.option("duration_s", None, "the work is fixed, not the time"),
        requests: of_load.option(
            "requests",
            None,
            "each block holds as many as its share of the budget has room for",
        ),
        think_time_s: 0.0,
        max_tokens: sizing.map_or(workload.request.max_tokens, |sizing| sizing.tokens),
        unknown: of_load,
    };
    Scenario {
        name: workload.scenario.clone(),
        file: unknown.option(
            "file",
            workload.file.as_ref().map(|file| file.display().to_string()),
            "the scenario is built in",
        ),
        workload_hash: unknown.option("workload_hash", parts.workload_hash.clone(), unsized_yet),
        seed: workload.seed,
        endpoint: workload.endpoint,
        stream: true,
        dataset: parts.dataset.clone(),
        prompts: unknown.option("prompts", None, "a comparison does not describe its prompts"),
        objectives: Vec::new(),
        max_prompt_words: unknown.option(
            "max_prompt_words",
            workload.filter.max_prompt_words,
            "no prompt was left out for its length",
        ),
        max_context_words: unknown.option(
            "max_context_words",
            workload.filter.max_context_words,
            "no prompt was left out for the length of it and its answer",
        ),
        phases: vec![load],
        unknown,
    }
}

/// The median over the blocks that count.
fn usual_slice_pairs(state: &State) -> Option<u64> {
    let counting = state.pairs.iter().filter(|record| record.counts());
    let mut slices: Vec<u64> =
        counting.filter_map(|record| Some(record.trials.first()?.slices)).collect();
    slices.sort_unstable();
    slices.get(slices.len() / 2).copied()
}

fn design(parts: &Parts<'_>, judged: &Judgement) -> Design {
    let state = parts.state;
    let sizing = state.sizing.as_ref();
    let restart = sizing.map_or(parts.restart, |sizing| sizing.restart);
    let mut unknown = Unknowns::none();
    let unsized_yet = "it ended before its first waves";
    let most = parts.looks.most_pairs();
    let stopped = parts.ending.and_then(Ending::name).filter(|_| judged.pairs < most);
    let at_the_end = "it came to its last look";
    Design {
        kind: if restart { DesignKind::Restart } else { DesignKind::Blocks },
        aa: parts.aa,
        seed: state.seed,
        order: pair_order(state.seed, most).iter().map(|order| order.name().to_owned()).collect(),
        pairs_planned: most as u64,
        pairs_used: judged.pairs as u64,
        looks: parts
            .looks
            .all()
            .iter()
            .map(|look| PlannedLook { pairs: look.pairs as u64, level: look.level })
            .collect(),
        stopped_at: unknown.option(
            "stopped_at",
            stopped.map(|_| judged.pairs as u64),
            if parts.ending.is_some() { at_the_end } else { "it could not go on" },
        ),
        stopped_because: unknown.option(
            "stopped_because",
            stopped.map(str::to_owned),
            if parts.ending.is_some() { at_the_end } else { "it could not go on" },
        ),
        alpha: ALPHA,
        delta_pct: 100.0 * parts.delta,
        level: judged.level,
        slice_pairs: unknown.option(
            "slice_pairs",
            usual_slice_pairs(parts.state).filter(|_| !restart),
            if restart { "in restart mode a trial is one turn" } else { unsized_yet },
        ),
        requests_per_slice: unknown.option(
            "requests_per_slice",
            sizing.map(|sizing| sizing.requests as u64),
            unsized_yet,
        ),
        tokens_per_request: unknown.option(
            "tokens_per_request",
            sizing.map(|sizing| u64::from(sizing.tokens)),
            unsized_yet,
        ),
        tokens_asked: unknown.option(
            "tokens_asked",
            parts.answer.asked().map(u64::from),
            "it was chosen by the first waves",
        ),
        users: unknown.option("users", sizing.map(|sizing| sizing.users), unsized_yet),
        restart_reason: unknown.option(
            "restart_reason",
            sizing.and_then(|sizing| sizing.restart_reason.clone()),
            if restart { "it was asked for" } else { "both servers ran at once" },
        ),
        budget_s: parts.budget_s,
        plan_digest: state.digest(),
        sittings: state.sittings.clone(),
        unknown,
    }
}

fn side(parts: &Parts<'_>, which: usize) -> SideReport {
    let SideState { plan, findings } = &parts.sides[which];
    let state = parts.state;
    let evidence = session::evidence(state, parts.failures_allowed);
    let work: Work = if which == 0 { evidence.base } else { evidence.head };
    let name = if which == 0 { Side::Base } else { Side::Head }.to_string();
    let mut failures = BTreeMap::new();
    for record in &state.pairs {
        let of_side = if which == 0 { &record.base } else { &record.head };
        for (kind, example) in &of_side.failures {
            failures.entry(kind.clone()).or_insert_with(|| example.clone());
        }
    }
    let mut starts: Vec<f64> = state
        .pairs
        .iter()
        .flat_map(|record| &record.trials)
        .filter(|trial| trial.side == name)
        .map(|trial| trial.start_s)
        .collect();
    starts.sort_by(f64::total_cmp);
    let facts = findings.server.as_ref();
    let mut unknown = Unknowns::none();
    let binary = "it was given as a program, or was not built";
    let no_count = "a request came without a count of tokens";
    SideReport {
        label: plan.label.clone(),
        kind: server_kind(&plan.plan),
        r#ref: unknown.option("ref", plan.commit.as_ref().map(|(typed, _)| typed.clone()), binary),
        commit: unknown.option(
            "commit",
            plan.commit.as_ref().map(|(_, commit)| commit.clone()),
            binary,
        ),
        build: unknown.option("build", plan.build.clone(), binary),
        version: unknown.option(
            "version",
            facts.and_then(|facts| facts.version.as_ref()).map(|version| version.text.clone()),
            "the server does not say, or never ran in this call",
        ),
        command: facts.map(|facts| facts.command.clone()).unwrap_or_default(),
        args: crate::server::command::redacted(&plan.args),
        env: plan.env.clone(),
        start_s: unknown.option(
            "start_s",
            starts.get(starts.len() / 2).copied(),
            "it never became healthy",
        ),
        requests: work.requests,
        failed: work.failed,
        failures,
        prompt_tokens: unknown.option("prompt_tokens", work.prompt_tokens, no_count),
        output_tokens: unknown.option("output_tokens", work.output_tokens, no_count),
        crash: unknown.option(
            "crash",
            state
                .pairs
                .iter()
                .find_map(|record| record.crash.clone().filter(|(side, _)| *side == name))
                .map(|(_, how)| how),
            "it did not die",
        ),
        unknown,
    }
}

/// The smallest slow-down that sessions like this one would call regressed, four times out of five.
fn regression80_pct(of: &Comparison, judged: &Judgement, looks: &Looks) -> Option<f64> {
    let pairs = of.found.as_ref().filter(|_| of.rule.role == Role::Gate)?.pairs;
    let bar = of.rule.slower_bar(of.base.median);
    let level = judged.level / looks.gated() as f64;
    regression80(pairs, stddev(&of.differences)?, bar, level).map(slow_down_pct)
}

/// On the wire; `None` for what has no value in any pair and decides nothing.
pub(super) fn comparison(
    of: &Comparison,
    regression80_pct: Option<f64>,
) -> Option<MetricComparison> {
    let rule = &of.rule;
    let nothing = of.found.is_none() && rule.role != Role::Exact;
    if nothing && rule.role == Role::Observe {
        return None;
    }
    let exact = rule.role == Role::Exact;
    let gate = rule.role == Role::Gate;
    let mut unknown = Unknowns::none();
    let untested = if exact { "it is counted, not measured" } else { "no pair has a value" };
    let mut spread = |field: &str, of: Spread| {
        let spread = PairSpread { median: of.median, min: of.min, max: of.max };
        unknown.option(field, (!nothing).then_some(spread), untested)
    };
    let (base, head) = (spread("base", of.base), spread("head", of.head));
    let mut number = |field: &str, value: Option<f64>, why: &'static str| {
        unknown.option(field, value.filter(|value| value.is_finite()), why)
    };
    let found = of.found.as_ref();
    Some(MetricComparison {
        metric: rule.metric.clone(),
        unit: rule.unit.clone(),
        better: rule.better,
        role: rule.role.into(),
        base,
        head,
        change_pct: number(
            "change_pct",
            of.change_pct(),
            if nothing { untested } else { "base is nothing" },
        ),
        ci_level: number("ci_level", found.map(|found| found.interval.level), untested),
        p: number("p", found.map(|found| found.p), untested),
        p_holm: number("p_holm", of.p_adjusted.filter(|_| gate), "it decides nothing"),
        q: number("q", of.p_adjusted.filter(|_| !gate), "it is for metrics that decide nothing"),
        resolution_pct: number("resolution_pct", of.resolution_pct(), untested),
        mde80_pct: number("mde80_pct", of.mde80_pct(), "it takes two pairs"),
        regression80_pct: number(
            "regression80_pct",
            regression80_pct,
            if gate { "so few pairs never call one" } else { "it decides nothing" },
        ),
        position_effect_pct: number(
            "position_effect_pct",
            of.position_effect_pct(),
            "it takes both orders and three pairs",
        ),
        bar_pct: number("bar_pct", gate.then_some(100.0 * rule.bar), "it decides nothing"),
        floor: rule.floor,
        pairs: found.map_or(0, |found| found.pairs as u64),
        pairs_pct: if exact { Vec::new() } else { of.pairs_pct() },
        outliers: of.outliers as u64,
        ci_pct: unknown.option("ci_pct", of.ci_pct(), untested),
        verdict: unknown.option(
            "verdict",
            of.verdict.filter(|_| gate).map(AbVerdict::from),
            "it decides nothing",
        ),
        needed_pairs: unknown.option(
            "needed_pairs",
            of.needed_pairs.map(|pairs| pairs as u64),
            "there is nothing to settle, or it would take more pairs than a session may have",
        ),
        sentence: of.sentence.clone(),
        unknown,
    })
}

fn warnings(parts: &Parts<'_>, judged: &Judgement) -> Vec<Note> {
    let note =
        |code: &str, message: &String| Note { code: code.to_owned(), message: message.clone() };
    parts
        .state
        .warnings
        .iter()
        .map(|message| note("session", message))
        .chain(failed_cold(parts.state).map(|message| note("warm_up_failed", &message)))
        .chain(parts.notes.iter().map(|message| note("commits", message)))
        .chain(judged.warnings.iter().map(|message| note("verdict", message)))
        .chain(parts.provenance.notes.iter().map(|message| note("provenance", message)))
        .collect()
}

/// Failures that are in no figure of the comparison, because nothing was measured yet: `None` of none.
fn failed_cold(state: &State) -> Option<String> {
    let [base, head] = [Side::Base, Side::Head].map(|side| state.failed_in_warm_up(side));
    (base + head > 0).then(|| {
        format!(
            "requests failed while servers were warmed up, and count nowhere else: base {base}, head {head}; \
             requests.jsonl of the trials has each"
        )
    })
}

fn files() -> Vec<FileEntry> {
    [
        (super::AB_JSON, "this file"),
        (super::AB_MD, "the same for people"),
        (super::AB_HTML, "the same with charts, in one file"),
        (super::TRIALS, "every trial: its figures, requests and server log"),
        (crate::run::watchers::EVENTS_FILE, "what happened, with times"),
    ]
    .into_iter()
    .map(|(name, what)| FileEntry { name: name.to_owned(), what: what.to_owned() })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Better;
    use crate::verdict::{Evidence, MetricPairs, Rule, Session, Stage, judge};

    #[test]
    fn a_gate_without_a_value_has_none_on_either_side() {
        let rule = Rule::by_default("itl_ms_p50", "ms", Better::Lower, Role::Gate);
        let mut lacking = MetricPairs::of(rule, Vec::new());
        lacking.add_without(true, false);
        let judged = judge(&Session {
            metrics: &[lacking],
            looks: &Looks::planned(1),
            evidence: &Evidence::default(),
            stage: Stage::Final,
        });
        let found = comparison(&judged.comparisons[0], None).expect("a gate is always told");
        assert_eq!((found.base, found.head, found.change_pct), (None, None, None));
        for field in ["base", "head", "change_pct"] {
            assert_eq!(found.unknown.reason(field), Some("no pair has a value"), "{field}");
        }
    }
}
