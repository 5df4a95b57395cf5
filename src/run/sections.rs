//! The sections of a report that are facts rather than figures: what was run, where, on which model, by
//! which server, and what it used.
//!
//! Each function forms one section from findings and gives a reason for everything that it does not know.

use std::collections::BTreeMap;

use super::findings::{Findings, ServerFacts};
use super::phases;
use super::series;
use crate::artifact::{self, Gguf, ProcessUse, RunStatus, Unknowns};
use crate::exit::ExitCode;
use crate::model::ModelFile;
use crate::plan::{RunPlan, Target};
use crate::provenance::{self, Machine};
use crate::scrape::ResourceSummary;
use crate::server::Ending;
use crate::server::command::client_host;
use crate::stats::ServerKind;

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

pub(super) fn run(
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

pub(super) fn no_model(plan: &RunPlan, findings: &Findings) -> &'static str {
    match &plan.target {
        Target::External { .. } => "the server was already running; its model is not ours to know",
        Target::Start(_) if plan.model.is_none() => "no model was named",
        Target::Start(_) if findings.model.is_none() => "the model could not be had",
        Target::Start(_) => "unknown",
    }
}

pub(super) fn server(plan: &RunPlan, findings: &Findings, kind: ServerKind) -> artifact::Server {
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
        (None, Target::Start(spec)) => {
            let host = client_host(&spec.host).unwrap_or_else(|_no_address| spec.host.clone());
            format!("http://{host}:{}", spec.port)
        }
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

pub(super) fn scenario(plan: &RunPlan, findings: &Findings) -> artifact::Scenario {
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

pub(super) fn server_metrics(findings: &Findings) -> BTreeMap<String, artifact::ServerMetric> {
    let Some(scrape) = &findings.scrape else { return BTreeMap::new() };
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

pub(super) fn resources(plan: &RunPlan, findings: &Findings) -> artifact::Resources {
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
