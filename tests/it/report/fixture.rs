//! Reports built in code, through the same path as real ones: records → summary → sections.

use std::collections::BTreeMap;
use std::time::Duration;

use bench_ci::artifact::{
    self, FileEntry, Gguf, Machine, Model, Phase, ProcessUse, Report, Resources, Run, RunStatus,
    Scenario, Server, ServerExit, ServerMetric, Tool, Unknowns,
};
use bench_ci::load::{
    self, ClockSource, FailureKind, Moments, Outcome, RequestRecord, Stamp, Timings, Usage,
};
use bench_ci::plan::{Endpoint, Limits};
use bench_ci::stats::{
    CounterSpan, LoadFigures, ServerCounters, ServerFate, ServerKind, judge, summarise,
};

const ORIGIN: u64 = 3_000_000_000_000;

pub(crate) const LIMITS: Limits = Limits {
    max_failed: 0,
    max_lateness_ratio: 0.01,
    max_client_delay_ratio: 0.01,
    min_achieved_rate_ratio: 0.98,
    max_arrival_lateness_ratio: 0.05,
    arrival_lateness_floor: Duration::from_millis(1),
    accept_saturated_client: false,
};

/// A load of four users whose latencies vary by a fixed pattern.
#[derive(Clone)]
pub(crate) struct Run4 {
    pub(crate) records: Vec<RequestRecord>,
    pub(crate) load: LoadFigures,
    pub(crate) fate: ServerFate,
}

pub(crate) fn record(index: u64, start_ms: f64) -> RequestRecord {
    let at = |milliseconds: f64| Some(Stamp(ORIGIN + ((start_ms + milliseconds) * 1e6) as u64));
    let prefill = 20.0 + (index * 7 % 11) as f64;
    let gap = 9.0 + (index * 5 % 7) as f64 / 3.0;
    let decode = gap * 63.0;
    RequestRecord {
        index,
        prompt_index: index,
        user_index: (index % 4) as u32,
        phase: load::Phase::Measured,
        conversation_index: None,
        turn: None,
        turns: None,
        phase_index: 1,
        outcome: Outcome::Completed,
        dropped_because: None,
        planned: Stamp(ORIGIN + (start_ms * 1e6) as u64),
        connect_started: None,
        connected: None,
        written: at(0.06),
        headers: at(1.0),
        first_content: at(1.0 + prefill),
        first_answer: at(1.0 + prefill),
        last_content: at(1.0 + prefill + decode),
        finish: at(1.2 + prefill + decode),
        end: at(1.5 + prefill + decode),
        status: Some(200),
        server_headers: Default::default(),
        finish_reason: Some("length".to_owned()),
        terminated: true,
        usage: Some(Usage {
            prompt_tokens: 40 + index % 30,
            completion_tokens: 64,
            cached_tokens: Some(0),
            reasoning_tokens: None,
        }),
        timings: Some(Timings {
            cache_n: Some(0),
            prompt_n: Some(40 + index % 30),
            prompt_ms: Some(prefill - 0.4),
            predicted_n: Some(64),
            predicted_ms: Some(decode - 0.1),
            draft_n: None,
            draft_n_accepted: None,
        }),
        max_tokens: 64,
        forced: false,
        content_deltas: 64,
        coalesced_deltas: 0,
        first_content_coalesced: false,
        reasoning_deltas: 0,
        results: None,
        dimensions: None,
        comments: 0,
        bytes_received: 17_000,
        resent: false,
    }
}

/// `rounds` rounds of four requests.
pub(crate) fn run(rounds: u64) -> Run4 {
    let records: Vec<RequestRecord> =
        (0..rounds * 4).map(|index| record(index, (index / 4) as f64 * 800.0)).collect();
    let mut itl_ns = hdrhistogram::Histogram::new(3).expect("3 digits");
    let mut client_delay_ns = hdrhistogram::Histogram::new(3).expect("3 digits");
    let mut dispatch_lateness_ns = hdrhistogram::Histogram::new(3).expect("3 digits");
    let mut itl = Moments::default();
    for index in 0..rounds * 4 {
        for _ in 0..63 {
            let gap = 9_000_000 + (index * 5 % 7) * 333_333;
            itl_ns.record(gap).expect("resizes");
            itl.add(gap);
            client_delay_ns.record(14_000 + gap % 9_000).expect("resizes");
        }
        dispatch_lateness_ns.record(60_000).expect("resizes");
    }
    let prompt: u64 = (0..rounds * 4).map(|index| 40 + index % 30).sum();
    let load = LoadFigures {
        server: ServerKind::LlamaServer,
        itl_ns,
        itl,
        client_delay_ns,
        dispatch_lateness_ns,
        dispatch_lateness_mean_ns: Some(60_000.0),
        think_time: Duration::ZERO,
        clock: ClockSource::Kernel,
        rejected_stamps: 0,
        thread_cpu: Some(Duration::from_millis(183)),
        origin: Stamp(ORIGIN),
        window_start: Stamp(ORIGIN),
        window_end: Stamp(ORIGIN + rounds * 800_000_000),
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        interrupted: false,
        open_loop: false,
        counters: ServerCounters {
            span: CounterSpan::Measured,
            prompt_tokens_delta: Some(prompt as f64),
            cached_tokens_delta: Some(0.0),
            predicted_tokens_delta: Some((rounds * 4 * 64) as f64),
        },
    };
    Run4 { records, load, fate: ServerFate::Survived }
}

impl Run4 {
    /// Turns every `step`-th request into this failure.
    pub(crate) fn fail(mut self, step: usize, failure: FailureKind, detail: &str) -> Self {
        for record in self.records.iter_mut().step_by(step) {
            record.outcome = Outcome::Failed { failure, detail: detail.to_owned() };
            record.finish = None;
            record.finish_reason = None;
            record.terminated = false;
            (record.usage, record.timings) = (None, None);
        }
        self.load.counters = ServerCounters::default();
        self
    }

    pub(crate) fn report(&self) -> Report {
        let summary = summarise(&self.records, &self.load);
        let validity = judge(&summary, &self.load, &LIMITS, self.fate);
        let sections = artifact::sections(&summary, &self.load, &validity, &LIMITS);
        let mut client = sections.client;
        client.rss_peak_bytes = Some(21_400_000);
        Report {
            schema: artifact::SCHEMA.to_owned(),
            tool: Tool {
                name: "bench-ci".to_owned(),
                version: "0.1.0".to_owned(),
                commit: Some("0123456789abcdef".to_owned()),
                unknown: Unknowns::none(),
            },
            run: Run {
                repository: None,
                id: "20261122-061500-ab12".to_owned(),
                name: "phi-2 on cpu".to_owned(),
                runner_label: Some("ubuntu-24.04".to_owned()),
                branch: Some("faster-mul-mat".to_owned()),
                commit: Some("f0e1d2c3b4a5968778695a4b3c2d1e0f00112233".to_owned()),
                dirty: Some(false),
                started_at: "2026-11-22T06:15:00Z".to_owned(),
                finished_at: Some("2026-11-22T06:15:14Z".to_owned()),
                duration_s: Some(14.2),
                status: RunStatus::Completed,
                causes: Vec::new(),
                exit_code: Some(if validity.fails_run { 5 } else { 0 }),
                unknown: Unknowns::none(),
            },
            machine: Machine {
                os: Some("Ubuntu 24.04".to_owned()),
                kernel: Some("6.8.0-45-generic".to_owned()),
                cpu_model: Some("AMD EPYC 7763 64-Core Processor".to_owned()),
                cores: Some(4),
                memory_bytes: Some(16_768_000_000),
                gpus: Vec::new(),
                cgroup_cpu_limit: None,
                fingerprint: Some("9f86d081".to_owned()),
                unknown: Unknowns::none().with("cgroup_cpu_limit", "no limit is set"),
            },
            model: Some(Model {
                source: "hub".to_owned(),
                hf_repo: Some("ggml-org/models".to_owned()),
                hf_file: Some("phi-2/ggml-model-q4_0.gguf".to_owned()),
                revision: Some("7b1b42c1".to_owned()),
                file: Some("ggml-model-q4_0.gguf".to_owned()),
                size_bytes: Some(1_602_000_000),
                sha256: Some("5e884898da28047151d0e56f8dc62927".to_owned()),
                gguf: Some(Gguf {
                    architecture: Some("phi2".to_owned()),
                    parameters: Some(2_779_683_840),
                    quantization: Some("Q4_0".to_owned()),
                    context_length: Some(2_048),
                    unknown: Unknowns::none(),
                }),
                unknown: Unknowns::none(),
            }),
            server: Server {
                kind: ServerKind::LlamaServer,
                version: Some("b4242".to_owned()),
                command: ["llama-server", "--model", "ggml-model-q4_0.gguf", "--parallel", "4"]
                    .map(str::to_owned)
                    .to_vec(),
                base_url: "http://127.0.0.1:34567".to_owned(),
                start_s: Some(0.81),
                total_slots: Some(4),
                slot_context: Some(512),
                exit: Some(ServerExit {
                    code: Some(0),
                    signal: None,
                    requested: true,
                    killed: false,
                    unknown: Unknowns::none().with("signal", "it exited by itself"),
                }),
                unknown: Unknowns::none(),
            },
            scenario: Scenario {
                objectives: Vec::new(),
                name: "chat".to_owned(),
                file: None,
                workload_hash: Some("c0ffee".to_owned()),
                seed: 42,
                endpoint: Endpoint::ChatCompletions,
                stream: true,
                dataset: "builtin".to_owned(),
                prompts: None,
                max_prompt_words: Some(512),
                max_context_words: Some(1_024),
                phases: vec![Phase {
                    name: "load".to_owned(),
                    measured: true,
                    shape: "4 users".to_owned(),
                    users: Some(4),
                    duration_s: None,
                    requests: Some(self.records.len() as u64),
                    think_time_s: 0.3,
                    max_tokens: 64,
                    unknown: Unknowns::none()
                        .with("duration_s", "only a number of requests bounds it"),
                }],
                unknown: Unknowns::none()
                    .with("file", "it is a built-in scenario")
                    .with("prompts", "made up for a test"),
            },
            requests: sections.requests,
            metrics: sections.metrics,
            rates: sections.rates,
            conversations: None,
            phases: Vec::new(),
            reconciliation: sections.reconciliation,
            server_metrics: BTreeMap::from([(
                "llamacpp:tokens_predicted_total".to_owned(),
                ServerMetric {
                    first: Some(16.0),
                    last: Some(4_112.0),
                    delta: Some(4_096.0),
                    min: Some(16.0),
                    mean: Some(2_000.0),
                    max: Some(4_112.0),
                    unknown: Unknowns::none(),
                },
            )]),
            prometheus: None,
            server_headers: Default::default(),
            resources: Resources {
                server: Some(ProcessUse {
                    cpu_s: Some(48.6),
                    rss_peak_bytes: Some(1_910_000_000),
                    ..ProcessUse::default()
                }),
                client: Some(ProcessUse {
                    cpu_s: Some(0.41),
                    rss_peak_bytes: Some(21_400_000),
                    ..ProcessUse::default()
                }),
                gpus: Vec::new(),
                unknown: Unknowns::none(),
            },
            client,
            derived: None,
            timeline: None,
            calibration: None,
            thresholds: Vec::new(),
            warnings: sections.warnings,
            files: vec![FileEntry {
                name: "requests.jsonl".to_owned(),
                what: "one row per planned request".to_owned(),
            }],
            unknown: Unknowns::none(),
        }
    }
}

/// All went well on a real server.
pub(crate) fn ok() -> Report {
    run(16).report()
}

/// A server that answers 200 and then streams an error, every fifth time.
pub(crate) fn failed() -> Report {
    run(16)
        .fail(5, FailureKind::StreamError, "{\"error\":{\"message\":\"slot | gone, see @admin\"}}")
        .report()
}

/// Ctrl-C after 20 of what would have been many.
pub(crate) fn partial() -> Report {
    let mut run = run(6);
    let given_up = Some(run.load.window_end);
    for record in run.records.iter_mut().skip(20) {
        record.outcome = Outcome::Cut;
        (record.end, record.finish, record.usage, record.timings) = (given_up, None, None, None);
    }
    run.load.interrupted = true;
    run.load.counters = ServerCounters::default();
    let mut report = run.report();
    report.run.status = RunStatus::Partial;
    report.run.causes = vec!["interrupted by Ctrl-C".to_owned()];
    report.run.exit_code = Some(130);
    report
}

/// The server died under the load.
pub(crate) fn died() -> Report {
    let mut run = run(16).fail(3, FailureKind::Reset, "connection reset by peer");
    run.fate = ServerFate::Died;
    let mut report = run.report();
    report.run.status = RunStatus::Partial;
    report.run.causes = vec!["llama-server was ended by SIGSEGV during the load".to_owned()];
    report.run.exit_code = Some(7);
    report.server.exit = Some(ServerExit {
        code: None,
        signal: Some("SIGSEGV".to_owned()),
        requested: false,
        killed: false,
        unknown: Unknowns::none().with("code", "it was ended by a signal"),
    });
    report
}

/// Made with the simulator.
pub(crate) fn simulator() -> Report {
    let mut run = run(30);
    run.load.server = ServerKind::Sim;
    let mut report = run.report();
    report.server.kind = ServerKind::Sim;
    report.server.version = Some("bench-ci sim 0.1.0".to_owned());
    report.model = None;
    report.unknown.note("model", "the simulator has no model");
    report
}

/// Someone else's server: no timings, no /metrics, nothing of ours to stop.
pub(crate) fn external() -> Report {
    let mut run = run(16);
    for record in &mut run.records {
        record.timings = None;
        record.usage = record.usage.map(|usage| Usage { cached_tokens: None, ..usage });
    }
    run.load.server = ServerKind::External;
    run.load.counters = ServerCounters::default();
    let mut report = run.report();
    report.server = Server {
        kind: ServerKind::External,
        version: None,
        command: Vec::new(),
        base_url: "http://gateway.example:8000/v1".to_owned(),
        start_s: None,
        total_slots: None,
        slot_context: None,
        exit: None,
        unknown: Unknowns::none(),
    };
    report.model = None;
    report.server_metrics.clear();
    report.resources.server = None;
    report
}

/// Nothing was measured: the server never became healthy.
pub(crate) fn never_began() -> Report {
    let run = Run4 {
        records: Vec::new(),
        load: LoadFigures::nothing(ServerKind::LlamaServer),
        fate: ServerFate::Survived,
    };
    let mut report = run.report();
    report.run.status = RunStatus::Failed;
    report.run.causes = vec!["llama-server exited with status 1 before it was healthy".to_owned()];
    report.run.exit_code = Some(7);
    report
}

/// All of them, by name.
pub(crate) fn all() -> [(&'static str, Report); 7] {
    [
        ("ok", ok()),
        ("failed", failed()),
        ("partial", partial()),
        ("died", died()),
        ("simulator", simulator()),
        ("external", external()),
        ("never_began", never_began()),
    ]
}
