//! From findings to the report and its files, however far the run came.
//!
//! Main function: [`conclude`]. Figures are formed by `stats`, facts by `sections`, texts by `report`; here
//! they are put together and written, all of them before anything is returned.

use std::path::Path;
use std::time::Duration;

use super::derived;
use super::findings::{Findings, Finished};
use super::formats;
use super::gates;
use super::page::{self, REPORT_HTML};
use super::phases::{self, MeasuredPhase};
use super::sections;
use super::series;
use super::spool::Spool;
use super::stage::Running;
use super::under_load::SERVER_METRICS;
use super::words;
use super::{measure::SERVER_LOG, watchers::EVENTS_FILE};
use crate::artifact::{self, FileEntry, Note, Report, RequestRow, RunStatus, Unknowns, store};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::exit::ExitCode;
use crate::load::LoadOutcome;
use crate::plan::{Endpoint, RunPlan, ServerProgram, Target};
use crate::provenance;
use crate::report;
use crate::scrape::RESOURCES_FILE;
use crate::server::Ending;
use crate::stats::{self, CounterSpan, LoadFigures, ServerCounters, ServerFate, ServerKind};

pub(super) const REPORT_JSON: &str = "report.json";
pub(super) const REPORT_MD: &str = "report.md";
pub(super) const REQUESTS_JSONL: &str = "requests.jsonl";
pub(super) const REQUESTS_CSV: &str = "requests.csv";

/// Makes the report, writes all files, and says what to leave with.
pub(crate) fn conclude(
    plan: &RunPlan,
    findings: Findings,
    error: Option<Error>,
    events: &Events,
    cancel: &Cancel,
) -> Result<Finished, Error> {
    let stage = Running::begin(events, Stage::Report, plan.out_dir.display().to_string());
    let kind = server_kind(plan);
    let load = load_figures(plan, &findings, kind);
    let mut summary = stats::summarise(&findings.records, &load);
    summary.rates.judge_objectives(&findings.records, &summary.split, &plan.workload.objectives);
    let gates = gates::judge(plan, &findings, &summary, &load);
    let fate = fate(&findings);
    let phases = phases::measured(plan, &findings, &summary, &load);
    let validity = phases::judge(&phases, &summary, &load, &plan.limits, fate);
    let measured = findings.load.is_some();

    let (mut causes, log_lines) = words::in_lines(error.as_ref());
    let stopped = cancel.reason();
    let exit = match (&error, stopped) {
        // Also that of an early stop; what failed before the stop could end it is still the cause.
        (Some(error), _) => error.exit_code(),
        (None, Some(reason)) => reason.into(),
        (None, None) if fate == ServerFate::Died => ExitCode::Server,
        (None, None) if validity.fails_run => ExitCode::NotEvidence,
        (None, None) if gates.crossed => ExitCode::Threshold,
        (None, None) if findings.published.failed => ExitCode::Publish,
        (None, None) => ExitCode::Ok,
    };
    causes.extend(gates.cause);
    if measured && fate == ServerFate::Died {
        causes.extend(findings.death.clone());
    }
    if measured && stopped.is_some() {
        causes.push(exit.meaning().to_owned());
    }
    let status = match (measured, causes.is_empty()) {
        (true, true) => RunStatus::Completed,
        (true, false) => RunStatus::Partial,
        (false, _) => RunStatus::Failed,
    };

    let formed = artifact::sections(&summary, &load, &validity, &plan.limits);
    let finished_at = provenance::now();
    let mut report = Report {
        schema: artifact::SCHEMA.to_owned(),
        tool: sections::tool(),
        run: sections::run(plan, &findings, status, causes, exit, finished_at),
        machine: sections::machine(&findings.provenance.machine),
        model: findings
            .model
            .as_ref()
            .map(|model| sections::model_section(&model.file, model.sha256.clone())),
        server: sections::server(plan, &findings, kind),
        scenario: sections::scenario(plan, &findings),
        requests: formed.requests,
        metrics: formed.metrics,
        rates: formed.rates,
        conversations: formed.conversations,
        phases: phases.iter().map(MeasuredPhase::figures).collect(),
        reconciliation: formed.reconciliation,
        server_metrics: sections::server_metrics(&findings),
        prometheus: None,
        server_headers: stats::server_headers(&findings.records)
            .into_iter()
            .map(|(name, figures)| (name, figures.into()))
            .collect(),
        resources: sections::resources(plan, &findings),
        client: formed.client,
        derived: None,
        timeline: None,
        calibration: findings.calibration.clone(),
        thresholds: gates.thresholds,
        warnings: formed.warnings,
        files: Vec::new(),
        unknown: Unknowns::none(),
    };
    derive(plan, &findings, &summary, &mut report);
    report.prometheus = prometheus(plan, &findings, &mut report.unknown);
    if report.model.is_none() {
        report.unknown.note("model", sections::no_model(plan, &findings));
    }
    report.client.rss_peak_bytes =
        report.resources.client.as_ref().and_then(|client| client.rss_peak_bytes);
    report.client.sampling_cpu_s =
        findings.scrape.as_ref().map(|scrape| scrape.sampling_cpu.as_secs_f64());
    if report.client.rss_peak_bytes.is_none() {
        report.client.unknown.note("rss_peak_bytes", "no sample of this process was taken");
    }
    report.warnings.extend(gates.warnings);
    report.warnings.extend(words::warnings(&findings));
    for warning in &report.warnings {
        events.send(&Event::Warning { message: warning.message.clone() });
    }

    if let Some(lines) = log_lines {
        // Told on stderr with the error itself.
        let message = format!("{SERVER_LOG} ends with: {lines}");
        report.warnings.push(Note { code: "server_log".to_owned(), message });
    }

    let origin = load.origin;
    // Made anew for each file: all of them at once are several times the records.
    let rows =
        || findings.records.iter().map(|record| RequestRow::new(record, &summary.split, origin));
    let out_dir = &plan.out_dir;
    if measured {
        let path = out_dir.join(REQUESTS_JSONL);
        store::write_with(&path, |file| artifact::write_jsonl(rows(), file))?;
        store::write_with(&out_dir.join(REQUESTS_CSV), |file| artifact::write_csv(rows(), file))?;
        Spool::remove(out_dir);
    }
    let formats = formats::write(out_dir, &mut report, measured.then(rows), plan.bench_py_names);
    report.files = files(out_dir);
    let page = page::write(out_dir, &report, measured.then(rows));
    store::write(&out_dir.join(REPORT_MD), report::markdown::render(&report).as_bytes())?;
    store::write_report(&out_dir.join(REPORT_JSON), &report)?;
    // Only now: what other programs read must not cost the report itself.
    formats?;
    page?;
    stage.done(out_dir.join(REPORT_MD).display().to_string());

    Ok(Finished { report, out_dir: out_dir.clone(), exit, error })
}

/// The sections that are made of others.
fn derive(plan: &RunPlan, findings: &Findings, summary: &stats::Summary, report: &mut Report) {
    if report.calibration.is_none() {
        report.unknown.note("calibration", "it was not asked for; see --calibrate");
    }
    let Some(load) = &findings.load else {
        for field in ["derived", "timeline"] {
            report.unknown.note(field, "the run ended before the load began");
        }
        return;
    };
    let (figures, warnings) = derived::derived(plan, findings, summary);
    report.derived = Some(figures);
    report.warnings.extend(warnings);
    report.timeline = report.unknown.take("timeline", series::timeline(plan, findings, load));
}

fn prometheus(
    plan: &RunPlan,
    findings: &Findings,
    unknown: &mut Unknowns,
) -> Option<artifact::Prometheus> {
    let why_not = match &findings.prometheus {
        Some(Ok(found)) => return Some(found.clone()),
        Some(Err(why)) => why,
        None if plan.prometheus.query.is_some() => "the run ended before it could be asked",
        None => "none was asked; see --prometheus",
    };
    unknown.note("prometheus", why_not);
    None
}

/// What kind of server a plan is about.
pub(crate) fn server_kind(plan: &RunPlan) -> ServerKind {
    match &plan.target {
        Target::External { .. } => ServerKind::External,
        Target::Start(spec) if spec.program == ServerProgram::Sim => ServerKind::Sim,
        Target::Start(_) => ServerKind::LlamaServer,
    }
}

fn fate(findings: &Findings) -> ServerFate {
    if findings.server_exit.as_ref().is_some_and(|exit| exit.how == Ending::Died) {
        ServerFate::Died
    } else if findings.scrape.as_ref().is_some_and(|scrape| scrape.restarted) {
        ServerFate::Restarted
    } else {
        ServerFate::Survived
    }
}

fn load_figures(plan: &RunPlan, findings: &Findings, server: ServerKind) -> LoadFigures {
    let counters = counters(plan, findings);
    match &findings.load {
        Some(load) => LoadFigures {
            // We end the load of a dead server ourselves, and that of a crossed threshold; each is
            // told as what it is.
            interrupted: load.interrupted && findings.death.is_none() && findings.abort.is_none(),
            open_loop: plan.workload.is_open(),
            endpoint: plan.workload.endpoint,
            stream: plan.workload.request.stream,
            ..figures_of(load, server, plan.workload.think_time, counters)
        },
        None => LoadFigures::nothing(server),
    }
}

pub(crate) fn figures_of(
    load: &LoadOutcome,
    server: ServerKind,
    think_time: Duration,
    counters: ServerCounters,
) -> LoadFigures {
    LoadFigures {
        server,
        itl_ns: load.itl.clone(),
        itl: load.itl_moments,
        client_delay_ns: load.client_delay.clone(),
        dispatch_lateness_ns: load.dispatch_lateness.clone(),
        dispatch_lateness_mean_ns: load.dispatch_lateness_moments.mean(),
        think_time,
        clock: load.clock_source,
        rejected_stamps: load.rejected_stamps,
        thread_cpu: Some(load.thread_cpu),
        origin: load.started,
        window_start: load.measured_from,
        window_end: load.measured_until,
        interrupted: load.interrupted,
        open_loop: false,
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        counters,
    }
}

fn counters(plan: &RunPlan, findings: &Findings) -> ServerCounters {
    let Some(scrape) = &findings.scrape else { return ServerCounters::default() };
    let delta = |name: &str| scrape.series.get(name).and_then(|series| series.delta);
    ServerCounters {
        span: counter_span(plan),
        prompt_tokens_delta: delta("llamacpp:prompt_tokens_total"),
        cached_tokens_delta: delta("llamacpp:prompt_tokens_cached_total"),
        predicted_tokens_delta: delta("llamacpp:tokens_predicted_total"),
    }
}

/// Which requests lie between the scrape before the first phase and the one after the last.
pub(super) fn counter_span(plan: &RunPlan) -> CounterSpan {
    if plan.workload.sequence().iter().all(|phase| phase.measured) {
        CounterSpan::Measured
    } else {
        CounterSpan::AllPhases
    }
}

/// What is in the folder, for the report itself.
fn files(out_dir: &Path) -> Vec<FileEntry> {
    let known = [
        (REPORT_MD, "this report for people"),
        (REPORT_HTML, "this report with charts, in one file"),
        (REPORT_JSON, "this report for programs (schema bench-ci.report/1)"),
        (REQUESTS_JSONL, "one row a planned request"),
        (REQUESTS_CSV, "the same for a spreadsheet"),
        (SERVER_METRICS, "every scrape of the server's /metrics"),
        (RESOURCES_FILE, "every sample of processes, machine and graphics processors"),
        (SERVER_LOG, "everything that the server wrote"),
        (EVENTS_FILE, "what happened, in order"),
    ];
    known
        .into_iter()
        .chain(formats::FILES)
        // The reports are about to be written.
        .filter(|(name, _)| {
            [REPORT_MD, REPORT_HTML, REPORT_JSON].contains(name) || out_dir.join(name).exists()
        })
        .map(|(name, what)| FileEntry { name: name.to_owned(), what: what.to_owned() })
        .collect()
}
