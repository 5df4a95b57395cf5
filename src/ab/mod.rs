//! `bench-ci ab`: two servers on one machine, in randomised pairs, and a verdict.
//!
//! Main function: [`main`]. The way of a session:
//!
//! ```text
//! flags ─ sides, build ─▶ two SidePlans ─ session ─▶ pairs (pair, turn, course, machine) ─▶ State on disk
//!                                          └─ verdict::judge, at planned looks ─▶ enough?
//! State ─ assemble ─▶ artifact::AbReport ─▶ ab.json, ab.md
//! ```
//!
//! The statistics are `verdict`'s; this room plays what they ask for, within a budget, and loses
//! nothing when it is interrupted.

mod assemble;
pub(crate) mod bisect;
mod build;
mod checks;
mod course;
mod error;
mod essence;
mod machine;
mod metrics;
mod notes;
mod pair;
mod session;
mod sessions;
mod sides;
mod state;
mod turn;
mod words;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub use error::AbError;

use crate::artifact::{AbReport, AbVerdict, store};
use crate::cancel::{self, Cancel, StopReason};
use crate::cli::{AbArgs, BothArgs, DesignArgs, FailOn, OutputArgs};
use crate::commands::Done;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::exit::ExitCode;
use crate::history::{self, noise::earlier_aa};
use crate::plan::problem::PlanError;
use crate::plan::{RunPlan, duration};
use crate::provenance::Provenance;
use crate::run::conclude::server_kind;
use crate::run::findings::Findings;
use crate::run::{dry, measure, watchers};
use crate::verdict::looks::Looks;
use crate::verdict::{Role, Rule, Side};
use crate::{report, run, signals};
use assemble::Parts;
use build::Ready;
use course::AnswerLength;
use pair::SideState;
use session::{Ending, Table};
use sides::{SideChoice, SidePlan};
use state::State;
use turn::Until;

pub(crate) const AB_JSON: &str = "ab.json";
pub(crate) const AB_HTML: &str = "report.html";

pub(crate) const AB_MD: &str = "ab.md";
/// What a later reader of the folder would take for the outcome.
pub(crate) const REPORTS: [&str; 5] =
    [AB_JSON, AB_MD, AB_HTML, bisect::BISECT_JSON, bisect::BISECT_MD];
pub(crate) const TRIALS: &str = "trials";

/// Of the budget, so much is kept for the last stop and the reports.
const TEARDOWN: Duration = Duration::from_millis(2500);

/// A session as it was asked for, checked.
struct Order<'a> {
    args: &'a AbArgs,
    rules: Vec<Rule>,
    /// Of the gates that this workload cannot have.
    warnings: Vec<String>,
    looks: Looks,
    choices: [SideChoice; 2],
    provenance: Provenance,
    begun: Instant,
}

/// The `ab` command.
///
/// # Errors
/// What kept the comparison from being carried out, after everything there is to report was written.
/// A verdict is not an error but a [`Done`] with its exit code.
pub fn main(args: &AbArgs) -> Result<Done, Error> {
    let begun = Instant::now();
    let provenance = Provenance::here();
    if !args.sessions.sessions.is_empty() {
        return sessions::main(args, &provenance, begun);
    }
    let order = match order(args, provenance, begun) {
        Ok(order) => order,
        Err(error) => {
            if !args.run.output.dry_run && !args.design.resume {
                run::forget_earlier(&sides::out_dir(args));
            }
            return Err(error);
        }
    };
    let surroundings = run::surroundings(&order.provenance)?;
    if args.run.output.dry_run {
        return show(&order, &surroundings).map(Done::text);
    }
    let out_dir = sides::out_dir(args);
    prepare(&out_dir, args.design.resume)?;
    let events = watchers::listen(&args.run.output, &out_dir)?;
    let runtime = run::runtime()?;
    let finished = runtime.block_on(async {
        let (canceller, cancel) = cancel::pair();
        signals::watch(canceller)?;
        play(&order, &surroundings, &out_dir, &events, &cancel).await
    });
    runtime.shutdown_background();
    drop(events);
    let (report, error) = finished?;
    if let Some(error) = error {
        return Err(error);
    }
    let width = crate::commands::terminal_width();
    let stdout = report::ab_terminal::render(&report, width, console::colors_enabled());
    let exit = exit_code(&report, args.design.fail_on, None);
    Ok(Done { stdout, exit })
}

/// Checks everything that can be checked before anything is built or started.
fn order(args: &AbArgs, provenance: Provenance, begun: Instant) -> Result<Order<'_>, Error> {
    let mut problems = sides::problems(args);
    let choices = sides::choices(args);
    let surroundings = run::surroundings(&provenance)?;
    let (mut gates, mut longest_answer) = (Vec::new(), u32::MAX);
    if problems.is_empty() {
        // What `run` would refuse is refused before a build of minutes.
        let base = sides::plan(Side::Base, args, &choices[0], None, &surroundings)?;
        sides::plan(Side::Head, args, &choices[1], None, &surroundings)?;
        longest_answer = base.plan.workload.request.max_tokens;
        gates = base.plan.workload.gates;
    }
    let mut rules = metrics::rules(&args.design, &gates, &mut problems);
    if !problems.is_empty() {
        return Err(PlanError::Invalid { subject: "this command line".to_owned(), problems }.into());
    }
    let warnings = metrics::let_go_of_gaps(&mut rules, longest_answer);
    let gated = rules.iter().filter(|rule| rule.role == Role::Gate).count();
    let looks = looks(args.design.pairs, gated);
    Ok(Order { args, rules, warnings, looks, choices, provenance, begun })
}

/// Looks at the usual places, or for another number of pairs at its half, three quarters and whole.
fn looks(pairs: Option<u32>, gated: usize) -> Looks {
    let usual = Looks::planned(gated);
    let Some(pairs) = pairs.map(|pairs| pairs as usize) else { return usual };
    let mut at: Vec<usize> = if pairs > usual.most_pairs() {
        vec![pairs / 2, 3 * pairs / 4]
    } else {
        usual.all().iter().map(|look| look.pairs).filter(|look| *look < pairs).collect()
    };
    at.push(pairs);
    Looks::at(&at, gated)
}

/// Plays the session and writes the reports, however far it came.
async fn play(
    order: &Order<'_>,
    surroundings: &crate::plan::resolve::Surroundings,
    out_dir: &Path,
    events: &Events,
    cancel: &Cancel,
) -> Result<(AbReport, Option<Error>), Error> {
    let args = order.args;
    let deadline = order.begun + args.design.budget.saturating_sub(TEARDOWN);
    let until = Until { deadline, cancel: cancel.clone() };
    let built = build::sides(args, &order.choices, surroundings, out_dir, events, &until).await;
    // What was built stays where it is until nothing of it is played any more.
    let (Ready { plans: [mut base, mut head], notes, held: _held }, unbuilt) = match built {
        Ok(ready) => (ready, None),
        // What an earlier call has played is not to be written over by a report of nothing.
        Err(error) if args.design.resume => return Err(error),
        Err(error) => {
            let plans = as_asked_for(order, surroundings)?;
            (Ready { plans, notes: Vec::new(), held: Vec::new() }, Some(error))
        }
    };
    let is_built = unbuilt.is_none();
    sides::even_out(&mut base, &mut head);
    warn_of_ignored(args, events);

    let plan_value = plan_value(order, &base, &head);
    let mut state = if args.design.resume {
        State::resume(out_dir, &plan_value)?
    } else {
        State::begin(plan_value, seed(args))
    };
    state.warn(&order.warnings);
    let server_kind = server_kind(&base.plan);
    let answer = answer_length(args, &base.plan);
    let begin =
        |plan: SidePlan| SideState { plan, findings: Findings::begin(order.provenance.clone()) };
    let mut sides = [begin(base), begin(head)];
    let id = sides[0].findings.id.clone();
    // Before anything is played: a long history takes time that the end of the budget does not have.
    let remembered = history::aa_sessions(Path::new(".")).map_err(|error| {
        error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}"))
    });
    let mut prompts = None;
    let played = async {
        if let Some(error) = unbuilt {
            return Err(error);
        }
        let found = in_time(&until, args.design.budget, async |cancel| {
            for side in &mut sides {
                side.findings.model = measure::model(&side.plan.plan, events, cancel).await?;
            }
            measure::prompts(&sides[0].plan.plan, events, cancel).await
        })
        .await?;
        let prompts = prompts.insert(found);
        let mut table = Table {
            sides: &mut sides,
            prompts,
            out_dir,
            events,
            until: &until,
            answer,
            server_kind,
            rules: &order.rules,
            looks: &order.looks,
            failures_allowed: args.run.limits.max_failed,
            restart: args.design.restart_mode,
            aa: args.sides.aa,
            begun: order.begun,
            begun_at: order.provenance.started_at.clone(),
        };
        session::play(&mut table, &mut state).await
    }
    .await;
    let (ending, error) = match played {
        Ok(Ending::Budget) if state.pairs.is_empty() => {
            (None, Some(AbError::no_time(args.design.budget).into()))
        }
        Ok(ending) => (Some(ending), None),
        // Without a server there is nothing that --resume could carry on.
        Err(Error::Stopped { .. }) if is_built => (Some(Ending::Interrupted), None),
        Err(error) => (None, Some(error)),
    };
    let workload_hash =
        state.sizing.as_ref().zip(prompts.as_ref()).and_then(|(sizing, prompts)| {
            course::Course::of(&sides[0].plan.plan, prompts, server_kind, sizing).hash()
        });
    let causes = error
        .as_ref()
        .map(|error| error.chain().lines().map(str::trim).collect::<Vec<_>>().join("; "));
    let parts = Parts {
        id,
        provenance: &order.provenance,
        sides: &sides,
        state: &state,
        rules: &order.rules,
        looks: &order.looks,
        aa: args.sides.aa,
        restart: args.design.restart_mode,
        delta: args.design.delta.unwrap_or(Rule::BAR),
        budget_s: args.design.budget.as_secs_f64(),
        elapsed_s: order.begun.elapsed().as_secs_f64(),
        failures_allowed: args.run.limits.max_failed,
        answer,
        ending,
        causes: causes.into_iter().collect(),
        workload_hash,
        dataset: prompts.as_ref().map_or_else(
            || sides[0].plan.plan.workload.dataset.to_string(),
            |prompts| prompts.source.clone(),
        ),
        notes,
    };
    let mut report = assemble::assemble(&parts, |verdict| {
        error.as_ref().map_or_else(
            || {
                exit_of(
                    verdict,
                    args.design.fail_on,
                    cancel.reason().filter(|_| ending == Some(Ending::Interrupted)),
                )
            },
            Error::exit_code,
        )
    });
    let earlier = remembered.as_ref().ok().and_then(|series| earlier_aa(series, &report));
    let why_not = remembered.err().unwrap_or_else(|| {
        "the history knows no session with --aa of this runner and this question".to_owned()
    });
    report.earlier_aa = report.unknown.option("earlier_aa", earlier, &why_not);
    store::write(&out_dir.join(AB_MD), report::ab_markdown::render(&report).as_bytes())?;
    store::write(&out_dir.join(AB_HTML), report::html::ab(&report).as_bytes())?;
    store::write_ab(&out_dir.join(AB_JSON), &report)?;
    for warning in &report.warnings {
        events.send(&Event::Warning { message: warning.message.clone() });
    }
    events.send(&Event::StageDone {
        stage: Stage::Report,
        outcome: out_dir.join(AB_MD).display().to_string(),
        elapsed_s: order.begun.elapsed().as_secs_f64(),
    });
    if ending.is_some_and(|ending| ending != Ending::Interrupted && ending != Ending::Budget) {
        // Nothing is left to be resumed. One that stays does no harm: its plan is checked.
        drop(std::fs::remove_file(out_dir.join(state::FILE)));
    }
    Ok((report, error))
}

/// Both sides as far as they are known before anything is built.
fn as_asked_for(
    order: &Order<'_>,
    surroundings: &crate::plan::resolve::Surroundings,
) -> Result<[SidePlan; 2], Error> {
    let plan = |side, choice| sides::plan(side, order.args, choice, None, surroundings);
    let [base, head] = &order.choices;
    Ok([plan(Side::Base, base)?, plan(Side::Head, head)?])
}

/// What comes of `work`, which is asked to stop when the budget is spent too.
///
/// # Errors
/// Its own; and that there is no time left, which stands above what it says of having been stopped.
async fn in_time<T>(
    until: &Until,
    budget: Duration,
    work: impl AsyncFnOnce(&Cancel) -> Result<T, Error>,
) -> Result<T, Error> {
    let (canceller, cancel) = cancel::pair();
    let deadline = tokio::time::Instant::from_std(until.deadline);
    let mut working = std::pin::pin!(work(&cancel));
    let mut asked = false;
    let done = loop {
        tokio::select! {
            done = &mut working => break done,
            reason = until.cancel.cancelled(), if !asked => {
                asked = true;
                canceller.stop(reason);
            }
            () = tokio::time::sleep_until(deadline), if !asked => {
                asked = true;
                canceller.stop(StopReason::Terminated);
            }
        }
    };
    if until.cancel.reason().is_none() && Instant::now() >= until.deadline {
        return Err(AbError::no_time(budget).into());
    }
    done
}

fn exit_code(report: &AbReport, fail_on: FailOn, stopped: Option<StopReason>) -> ExitCode {
    report
        .run
        .exit_code
        .and_then(|code| ExitCode::ALL.into_iter().find(|known| known.code() == code))
        .unwrap_or_else(|| exit_of(report.verdict, fail_on, stopped))
}

fn exit_of(verdict: AbVerdict, fail_on: FailOn, stopped: Option<StopReason>) -> ExitCode {
    if let Some(reason) = stopped {
        return reason.into();
    }
    fail_on.exit(verdict.into())
}

/// Drawn for each session, unless the user wants the same again.
fn seed(args: &AbArgs) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    args.run.workload.seed.unwrap_or_else(|| {
        // Keyed by the system's randomness. Half the bits: JSON readers keep whole numbers up to 2^53.
        std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
    })
}

/// The answer's length is the user's where it was said or forced, else ours up to the scenario's.
fn answer_length(args: &AbArgs, plan: &RunPlan) -> AnswerLength {
    let most = plan.workload.request.max_tokens.max(1);
    let typed = args.run.workload.max_tokens.is_some() || plan.workload.request.ignore_eos;
    if typed { AnswerLength::Fixed(most) } else { AnswerLength::UpTo(most) }
}

fn warn_of_ignored(args: &AbArgs, events: &Events) {
    let BothArgs { workload, request, output, .. } = &args.run;
    let ignored = [
        (
            "--duration",
            workload.duration.is_some(),
            "the work is fixed, not the time; --budget bounds the call",
        ),
        ("--warm-up", workload.warm_up.is_some(), "each server is warmed up until it has settled"),
        (
            "--threshold",
            !workload.thresholds.is_empty(),
            "a comparison is judged by --bar and --floor",
        ),
        ("--objective", !workload.objectives.is_empty(), "a comparison has no goodput"),
        ("--turns", request.turns.is_some(), "every request of a comparison stands for itself"),
        ("--deadline", request.deadline.is_some(), "nobody hangs up; what is slow is compared"),
        ("--no-stream", request.no_stream, "answers are streamed, so that first tokens are seen"),
        ("--temperature", request.temperature.is_some(), "both sides are asked at temperature 0"),
        ("--cache-prompt", request.cache_prompt == Some(true), "both sides read every prompt anew"),
        (
            "--scrape-interval",
            duration::parse(OutputArgs::SCRAPE_INTERVAL)
                .is_ok_and(|usual| usual != output.scrape_interval),
            "nothing else looks at a server while it is loaded",
        ),
    ];
    for (flag, given, why) in ignored {
        if given {
            events.send(&Event::Warning { message: format!("{flag} is without effect: {why}") });
        }
    }
}

/// Everything that must stay the same for a session to be carried on.
fn plan_value(order: &Order<'_>, base: &SidePlan, head: &SidePlan) -> Value {
    let of_side = |side: &SidePlan| {
        let mut value = essence::essence(&side.plan);
        value["commit"] = json!(side.commit.as_ref().map(|(_, commit)| commit));
        value
    };
    let rules: Vec<Value> = order
        .rules
        .iter()
        .map(|rule| json!([rule.metric, rule.role.name(), rule.bar, rule.floor]))
        .collect();
    json!({
        "base": of_side(base),
        "head": of_side(head),
        "seed": order.args.run.workload.seed,
        "gates": rules,
        "pairs": order.looks.all().iter().map(|look| look.pairs).collect::<Vec<_>>(),
        "restart_mode": order.args.design.restart_mode,
    })
}

/// Makes the folder; forgets an earlier comparison in it unless that is carried on.
fn prepare(out_dir: &Path, resume: bool) -> Result<(), Error> {
    run::prepare(out_dir)?;
    if resume {
        return Ok(());
    }
    let failed =
        |attempt, path: &Path, source| Error::Output { attempt, path: path.to_owned(), source };
    let state = out_dir.join(state::FILE);
    match std::fs::remove_file(&state) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("replace", &state, source));
        }
        _ => {}
    }
    let trials = out_dir.join(TRIALS);
    if !trials.is_dir() {
        return Ok(());
    }
    let entries = std::fs::read_dir(&trials).map_err(|source| failed("read", &trials, source))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Only what we made: somebody else's folder of that name is left alone.
        let ours = name.starts_with(|letter: char| letter.is_ascii_digit())
            && (name.ends_with("-base") || name.ends_with("-head"));
        if ours {
            let path = entry.path();
            std::fs::remove_dir_all(&path).map_err(|source| failed("replace", &path, source))?;
        }
    }
    Ok(())
}

/// `--dry-run`.
fn show(
    order: &Order<'_>,
    surroundings: &crate::plan::resolve::Surroundings,
) -> Result<String, Error> {
    let args = order.args;
    let DesignArgs { budget, restart_mode, .. } = &args.design;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name:<10} {value}\n"));
    let pairs = order.looks.most_pairs();
    let kind = if *restart_mode {
        "one server at a time, started anew for each trial"
    } else {
        "blocks: both servers started anew, then loaded in short turns"
    };
    line("design", kind);
    let looks: Vec<String> = order
        .looks
        .all()
        .iter()
        .map(|look| format!("{} (level {:.4})", look.pairs, look.level))
        .collect();
    line("pairs", &format!("{pairs} at most, looked at after {}", looks.join(", ")));
    line("budget", &format!("{} s", budget.as_secs_f64()));
    for rule in order.rules.iter().filter(|rule| rule.role == Role::Gate) {
        let floor = if rule.floor > 0.0 {
            format!(", floor {} {}", rule.floor, rule.unit)
        } else {
            String::new()
        };
        let bar_pct = (1e4 * rule.bar).round() / 100.0;
        line("gate", &format!("{}: bar {bar_pct} %{floor}", rule.metric));
    }
    for warning in &order.warnings {
        line("warning", warning);
    }
    for (side, choice) in [Side::Base, Side::Head].into_iter().zip(&order.choices) {
        text.push_str(&format!("\n--- {side} ---\n"));
        if let SideChoice::Reference(reference) = choice {
            text.push_str(&format!(
                "built from {reference} by: {}\n",
                args.sides.build.as_deref().unwrap_or_default()
            ));
        }
        let plan = sides::plan(side, args, choice, None, surroundings)?;
        text.push_str(&dry::show(&plan.plan)?);
    }
    Ok(text)
}
