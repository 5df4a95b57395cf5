//! From findings to the report and its files, however far the run came.
//!
//! Main function: [`conclude`]. Figures are formed by `stats`, texts by `report`; here they are put
//! together and written, all of them before anything is returned.

use std::path::Path;
use std::time::Duration;

use super::derived;
use super::findings::{Findings, Finished, ServerFacts};
use super::formats;
use super::gates;
use super::page::{self, REPORT_HTML};
use super::phases;
use super::series;
use super::spool::Spool;
use super::stage::Running;
use super::under_load::SERVER_METRICS;
use super::words;
use super::{measure::SERVER_LOG, watchers::EVENTS_FILE};
use crate::artifact::{
    self, FileEntry, Gguf, Note, ProcessUse, Report, RequestRow, RunStatus, Unknowns, store,
};
use crate::cancel::Cancel;
use crate::error::Error;
use crate::event::{Event, Events, Stage};
use crate::exit::ExitCode;
use crate::load::{LoadOutcome, Stamp};
use crate::model::ModelFile;
use crate::plan::{Endpoint, RunPlan, ServerProgram, Target};
use crate::provenance::{self, Machine};
use crate::report;
use crate::scrape::{RESOURCES_FILE, ResourceSummary};
use crate::server::Ending;
use crate::stats::{self, LoadFigures, ServerCounters, ServerFate, ServerKind};

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

    let sections = artifact::sections(&summary, &load, &validity, &plan.limits);
    let finished_at = provenance::now();
    let mut report = Report {
        schema: artifact::SCHEMA.to_owned(),
        tool: tool(),
        run: run(plan, &findings, status, causes, exit, finished_at),
        machine: machine(&findings.provenance.machine),
        model: findings
            .model
            .as_ref()
            .map(|model| model_section(&model.file, model.sha256.clone())),
        server: server(plan, &findings, kind),
        scenario: scenario(plan, &findings),
        requests: sections.requests,
        metrics: sections.metrics,
        rates: sections.rates,
        conversations: sections.conversations,
        phases: phases.iter().map(|phase| phase.figures(load.window_start)).collect(),
        reconciliation: sections.reconciliation,
        server_metrics: server_metrics(&findings),
        prometheus: None,
        server_headers: stats::server_headers(&findings.records)
            .into_iter()
            .map(|(name, figures)| (name, figures.into()))
            .collect(),
        resources: resources(plan, &findings),
        client: sections.client,
        derived: None,
        timeline: None,
        calibration: findings.calibration.clone(),
        thresholds: gates.thresholds,
        warnings: sections.warnings,
        files: Vec::new(),
        unknown: Unknowns::none(),
    };
    derive(plan, &findings, &summary, &mut report);
    report.prometheus = prometheus(plan, &findings, &mut report.unknown);
    if report.model.is_none() {
        report.unknown.note("model", no_model(plan, &findings));
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

    let origin = findings.load.as_ref().map_or(Stamp(0), |load| load.started);
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
    let (figures, warnings) = derived::derived(plan, findings, load, summary);
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

pub(crate) fn tool() -> artifact::Tool {
    let commit = option_env!("BENCH_CI_COMMIT").map(str::to_owned);
    let mut unknown = Unknowns::none();
    let commit = unknown.option("commit", commit, "this build was made without BENCH_CI_COMMIT");
    artifact::Tool {
        name: "bench-ci".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit,
        unknown,
    }
}

fn server_kind(plan: &RunPlan) -> ServerKind {
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
        window_start: load.started,
        window_end: load.ended,
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
        span: if plan.workload.sequence().iter().all(|phase| phase.measured) {
            stats::CounterSpan::Measured
        } else {
            stats::CounterSpan::AllPhases
        },
        prompt_tokens_delta: delta("llamacpp:prompt_tokens_total"),
        cached_tokens_delta: delta("llamacpp:prompt_tokens_cached_total"),
        predicted_tokens_delta: delta("llamacpp:tokens_predicted_total"),
    }
}

fn run(
    plan: &RunPlan,
    findings: &Findings,
    status: RunStatus,
    causes: Vec<String>,
    exit: ExitCode,
    finished_at: String,
) -> artifact::Run {
    let tags = &plan.tags;
    let provenance = &findings.provenance;
    let mut unknown = Unknowns::none();
    let mut tag = |field: &str, value: &Option<String>| {
        unknown.option(field, value.clone(), provenance.why_not(field))
    };
    let (runner_label, branch, commit) = (
        tag("runner_label", &tags.runner_label),
        tag("branch", &tags.branch),
        tag("commit", &tags.commit),
    );
    let repository = unknown.option(
        "repository",
        provenance.repository.clone(),
        "only GitHub Actions names one",
    );
    let dirty = unknown.option("dirty", tags.dirty, provenance.why_not("dirty"));
    artifact::Run {
        id: findings.id.clone(),
        name: tags.name.clone(),
        repository,
        runner_label,
        branch,
        commit,
        dirty,
        started_at: provenance.started_at.clone(),
        finished_at: Some(finished_at),
        duration_s: Some(findings.begun.elapsed().as_secs_f64()),
        status,
        causes,
        exit_code: Some(exit.code()),
        unknown,
    }
}

pub(crate) fn machine(found: &Machine) -> artifact::Machine {
    // Destructured so that a new fact cannot be forgotten here.
    let Machine {
        os,
        arch: _,
        kernel,
        cpu_model,
        cores,
        memory_bytes,
        cgroup_cpu_limit,
        gpus,
        fingerprint,
        unknown: why,
    } = found;
    let mut unknown = Unknowns::none();
    for (field, reason) in why {
        unknown.note(field, reason);
    }
    if cgroup_cpu_limit.is_none() && !why.contains_key("cgroup_cpu_limit") {
        unknown.note("cgroup_cpu_limit", "there is no limit");
    }
    let gpu = |gpu: &provenance::Gpu| {
        let mut unknown = Unknowns::none();
        let silent = "the driver does not say";
        artifact::Gpu {
            name: gpu.name.clone(),
            memory_bytes: unknown.option("memory_bytes", gpu.memory_bytes, silent),
            driver: unknown.option("driver", gpu.driver.clone(), silent),
            unknown,
        }
    };
    artifact::Machine {
        os: Some(os.clone()),
        kernel: kernel.clone(),
        cpu_model: cpu_model.clone(),
        cores: *cores,
        memory_bytes: *memory_bytes,
        gpus: gpus.iter().map(gpu).collect(),
        cgroup_cpu_limit: *cgroup_cpu_limit,
        fingerprint: Some(fingerprint.clone()),
        unknown,
    }
}

pub(crate) fn model_section(model: &ModelFile, sha256: Option<String>) -> artifact::Model {
    let mut unknown = Unknowns::none();
    let not_hub = "the model is not from the Hub";
    let file = model.path.file_name().map(|name| name.to_string_lossy().into_owned());
    artifact::Model {
        source: model.source.clone(),
        hf_repo: unknown.option("hf_repo", model.hf_repo.clone(), not_hub),
        hf_file: unknown.option("hf_file", model.hf_file.clone(), not_hub),
        revision: unknown.option(
            "revision",
            model.revision.clone(),
            "no commit of a Hub repository is known",
        ),
        file: unknown.option("file", file, "the path has no file name"),
        size_bytes: Some(model.size_bytes),
        sha256: unknown.option("sha256", sha256, "the run ended before the digest was taken"),
        gguf: unknown.option(
            "gguf",
            model.gguf.as_ref().map(gguf),
            "the GGUF version is newer than this build",
        ),
        unknown,
    }
}

fn gguf(summary: &crate::model::GgufSummary) -> Gguf {
    let mut unknown = Unknowns::none();
    let silent = "the file does not say";
    Gguf {
        architecture: unknown.option("architecture", summary.architecture.clone(), silent),
        parameters: Some(summary.parameters),
        quantization: Some(summary.quantization.clone()),
        context_length: unknown.option("context_length", summary.context_length, silent),
        unknown,
    }
}

fn no_model(plan: &RunPlan, findings: &Findings) -> &'static str {
    match &plan.target {
        Target::External { .. } => "the server was already running; its model is not ours to know",
        Target::Start(_) if plan.model.is_none() => "no model was named",
        Target::Start(_) if findings.model.is_none() => "the model could not be had",
        Target::Start(_) => "unknown",
    }
}

fn server(plan: &RunPlan, findings: &Findings, kind: ServerKind) -> artifact::Server {
    let mut unknown = Unknowns::none();
    let never = "no server became ready";
    let facts = findings.server.as_ref();
    let identity = findings.identity.as_ref();
    let build = identity.and_then(|identity| identity.build.clone());
    let version = facts
        .and_then(|facts| facts.version.as_ref())
        .map(|version| version.text.clone())
        .or(build);
    let external = matches!(plan.target, Target::External { .. });
    let base_url = match (facts, &plan.target) {
        (Some(ServerFacts { base_url, .. }), _) | (None, Target::External { base_url }) => {
            base_url.clone()
        }
        (None, Target::Start(spec)) if spec.host.ends_with(".sock") => {
            format!("unix:{}", spec.host)
        }
        (None, Target::Start(spec)) => format!("http://{}:{}", spec.host, spec.port),
    };
    let why_no_start = if external { "the server was already running" } else { never };
    let why_no_exit = match facts {
        _ if external => "the server is not ours to stop",
        Some(_) => "the server was kept for further loads",
        None => never,
    };
    artifact::Server {
        kind,
        version: unknown.option(
            "version",
            version,
            if facts.is_some() { "the server does not say" } else { never },
        ),
        command: facts.map(|facts| facts.command.clone()).unwrap_or_default(),
        base_url,
        start_s: unknown.option("start_s", facts.and_then(|facts| facts.start_s), why_no_start),
        total_slots: unknown.option(
            "total_slots",
            identity.and_then(|identity| identity.total_slots),
            if identity.is_some() { "the server has no /props and no /slots" } else { never },
        ),
        slot_context: unknown.option(
            "slot_context",
            identity.and_then(|identity| identity.slot_context),
            if identity.is_some() { "the server has no /props and no /slots" } else { never },
        ),
        exit: unknown.option("exit", findings.server_exit.as_ref().map(server_exit), why_no_exit),
        unknown,
    }
}

pub(crate) fn server_exit(exit: &crate::server::ServerExit) -> artifact::ServerExit {
    let mut unknown = Unknowns::none();
    artifact::ServerExit {
        code: unknown.option("code", exit.status, "a signal ended it"),
        signal: unknown.option("signal", exit.signal.clone(), "it exited by itself"),
        requested: exit.how != Ending::Died,
        killed: exit.how == Ending::Killed,
        unknown,
    }
}

fn scenario(plan: &RunPlan, findings: &Findings) -> artifact::Scenario {
    let workload = &plan.workload;
    let facts = findings.workload.as_ref();
    let mut unknown = Unknowns::none();
    let file = workload.file.as_ref().map(|file| file.display().to_string());
    artifact::Scenario {
        name: workload.scenario.clone(),
        file: unknown.option("file", file, "the scenario is built in"),
        workload_hash: unknown.option(
            "workload_hash",
            facts.map(|facts| facts.hash.clone()),
            "the run ended before the requests were planned",
        ),
        seed: workload.seed,
        objectives: workload.objectives.iter().map(ToString::to_string).collect(),
        endpoint: workload.endpoint,
        stream: workload.request.stream,
        dataset: facts.map_or_else(|| workload.dataset.to_string(), |facts| facts.dataset.clone()),
        prompts: unknown.option(
            "prompts",
            facts.map(|facts| facts.prompts.for_report()),
            "the run ended before the requests were planned",
        ),
        max_prompt_words: unknown.option(
            "max_prompt_words",
            workload.filter.max_prompt_words,
            "no bound was set",
        ),
        max_context_words: unknown.option(
            "max_context_words",
            workload.filter.max_context_words,
            "no bound was set",
        ),
        phases: phases::planned(workload, facts),
        unknown,
    }
}

fn server_metrics(
    findings: &Findings,
) -> std::collections::BTreeMap<String, artifact::ServerMetric> {
    let Some(scrape) = &findings.scrape else { return std::collections::BTreeMap::new() };
    let metric = |series: &crate::scrape::SeriesSummary| {
        let mut unknown = Unknowns::none();
        artifact::ServerMetric {
            first: Some(series.first),
            last: Some(series.last),
            delta: unknown.option("delta", series.delta, "not a counter, or seen only once"),
            min: Some(series.min),
            mean: Some(series.mean),
            max: Some(series.max),
            unknown,
        }
    };
    scrape.series.iter().map(|(name, series)| (name.clone(), metric(series))).collect()
}

fn resources(plan: &RunPlan, findings: &Findings) -> artifact::Resources {
    let scrape = findings.scrape.as_ref();
    let mut unknown = Unknowns::none();
    let used = |resources: ResourceSummary| {
        // Destructured so that a new figure cannot be forgotten here.
        let ResourceSummary {
            cpu_s,
            rss_peak_bytes,
            threads_max,
            minor_faults,
            major_faults,
            read_bytes,
            written_bytes,
        } = resources;
        let mut unknown = Unknowns::none();
        let no_storage = "the system does not say it of every process";
        ProcessUse {
            cpu_s: Some(cpu_s),
            rss_peak_bytes: Some(rss_peak_bytes),
            threads_max: Some(threads_max),
            minor_faults: Some(minor_faults),
            major_faults: Some(major_faults),
            read_bytes: unknown.option("read_bytes", read_bytes, no_storage),
            written_bytes: unknown.option("written_bytes", written_bytes, no_storage),
            unknown,
        }
    };
    artifact::Resources {
        server: unknown.option(
            "server",
            scrape.and_then(|scrape| scrape.server).map(used),
            series::no_server(plan),
        ),
        client: unknown.option(
            "client",
            scrape.and_then(|scrape| scrape.client).map(used),
            "no sample of its processes was taken",
        ),
        gpus: scrape.map(|scrape| series::gpus(&scrape.resources)).unwrap_or_default(),
        unknown,
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
