//! What a report shows over time: the records, the server's metrics and the samples, on one clock.
//!
//! Main functions: [`timeline`] and [`gpus`]. Columns are formed by `stats`; why one has gaps is put
//! into words here, where it is known.

use super::findings::Findings;
use crate::artifact::timeline::{
    Column, GpuColumns, MachineColumns, MetricColumn, ProcessColumns, ResourceColumns,
};
use crate::artifact::{GpuUse, Timeline, Unknowns};
use crate::load::{LoadOutcome, Stamp};
use crate::plan::{Course, LoadShape, RunPlan, Target};
use crate::scrape::{GpuHistory, GpuPoint, ResourceHistory, Sample, ScrapeSummary};
use crate::server::proc::Usage;
use crate::stats::{self, Known, Steps, Unknown};

/// The requests that llama-server is at work on: its slots that are taken.
const AT_WORK: &str = "llamacpp:requests_processing";

/// The load over time: requests beside their plan, the server's metrics, and what was used.
pub(super) fn timeline(plan: &RunPlan, findings: &Findings, load: &LoadOutcome) -> Known<Timeline> {
    let course = course(plan, findings);
    let line = stats::Timeline::of(
        &findings.records,
        &load.itl_over_time,
        course.as_ref().map_err(Clone::clone),
        plan.workload.think_time,
        (load.started, load.ended),
    )?;
    let mut timeline = Timeline::from(&line);
    let Some(scrape) = &findings.scrape else {
        for field in ["started_at", "slots_busy_ratio", "resources"] {
            timeline.unknown.note(field, "the load ended before its end was sampled");
        }
        return Ok(timeline);
    };
    let history = &scrape.resources;
    let started_at = history.wall_time(load.started);
    timeline.started_at = timeline.unknown.option(
        "started_at",
        started_at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
        "no sample has a wall time",
    );
    timeline.server_metrics = server_metrics(scrape, plan, &line.steps);
    let slots = findings.identity.as_ref().and_then(|identity| identity.total_slots);
    let busy = timeline.server_metrics.get(AT_WORK).zip(slots.filter(|slots| *slots > 0));
    let busy = busy.map(|(at_work, slots)| {
        at_work.values.iter().map(|at_work| Some((*at_work)? / f64::from(slots))).collect()
    });
    timeline.slots_busy_ratio = match busy {
        Some(column) => keep(&mut timeline.unknown, "slots_busy_ratio", column, NO_SCRAPE),
        None => {
            let why = "the server does not say how many slots it has, or how many are taken";
            timeline.unknown.note("slots_busy_ratio", why);
            None
        }
    };
    timeline.resources = Some(resources(history, plan, &line.steps));
    Ok(timeline)
}

const NO_SCRAPE: &str = "no scrape had it";
const NO_SAMPLE: &str = "no sample has it";

fn course(plan: &RunPlan, findings: &Findings) -> Known<Course> {
    let workload = &plan.workload;
    if workload.sequence().len() > 1 {
        return Err(Unknown::because("the load has several phases, each with a course of its own"));
    }
    if matches!(workload.shape, LoadShape::Trace { .. }) {
        let why = "the course of a trace is in its file, and each request has its planned instant";
        return Err(Unknown::because(why));
    }
    let users = findings.workload.as_ref().map_or(0, |facts| facts.users);
    Ok(Course::of(&workload.shape, users, workload.duration))
}

/// A column with the reason for its gaps; `None` with that reason if there is nothing else.
fn keep(unknown: &mut Unknowns, name: &str, column: stats::Column, why: &str) -> Option<Column> {
    crate::artifact::timeline::column_with_gaps(unknown, name, &column, why)
}

fn server_metrics(
    scrape: &ScrapeSummary,
    plan: &RunPlan,
    steps: &Steps,
) -> std::collections::BTreeMap<String, MetricColumn> {
    let believed = (plan.scrape_interval * scrape.tracks.every()).mul_f64(2.5);
    let metric = |(name, track): (&String, &crate::scrape::Track)| {
        let points = track.points.iter().copied();
        let column = match track.is_counter {
            true => steps.growth(points),
            false => steps.held(points, believed),
        };
        let mut unknown = Unknowns::none();
        let values = keep(&mut unknown, "values", column, NO_SCRAPE)?;
        Some((name.clone(), MetricColumn { per_second: track.is_counter, values, unknown }))
    };
    scrape.tracks.by_name.iter().filter_map(metric).collect()
}

/// What is formed of the samples.
struct Columns<'a> {
    history: &'a ResourceHistory,
    steps: &'a Steps,
}

impl Columns<'_> {
    fn growth(&self, value: impl Fn(&Sample) -> Option<f64>) -> stats::Column {
        self.steps.growth(self.readings(value))
    }

    fn held(&self, value: impl Fn(&Sample) -> Option<f64>) -> stats::Column {
        self.steps.held(self.readings(value), self.history.believed())
    }

    fn readings(
        &self,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> impl Iterator<Item = (Stamp, Option<f64>)> {
        self.history.samples.iter().map(move |sample| (sample.at, value(sample)))
    }
}

fn resources(history: &ResourceHistory, plan: &RunPlan, steps: &Steps) -> ResourceColumns {
    let columns = Columns { history, steps };
    let mut unknown = Unknowns::none();
    let server = history.server().map(|_| process(&columns, |sample| sample.server));
    let client = history.client().map(|_| process(&columns, |sample| sample.client));
    let gpus = unknown.take("gpus", history.gpus.clone());
    ResourceColumns {
        interval_s: history.interval.as_secs_f64(),
        samples: history.taken,
        server: unknown.option("server", server, no_server(plan)),
        client: unknown.option("client", client, NO_PROC),
        machine: unknown.option(
            "machine",
            (history.taken > 0).then(|| machine(&columns)),
            NO_SAMPLE,
        ),
        gpus: gpus.map(|gpus| {
            gpus.iter().enumerate().map(|(position, gpu)| columns.gpu(position, gpu)).collect()
        }),
        unknown,
    }
}

const NO_PROC: &str = "the system does not say what a process uses";

/// Why nothing is known of the server's processes.
pub(super) fn no_server(plan: &RunPlan) -> &'static str {
    match plan.target {
        Target::External { .. } => "the server is not a process of this run",
        Target::Start(_) => "no sample of its processes was taken",
    }
}

fn process(columns: &Columns<'_>, usage: impl Fn(&Sample) -> Option<Usage>) -> ProcessColumns {
    let mut unknown = Unknowns::none();
    let of = |value: fn(Usage) -> Option<f64>| {
        let usage = &usage;
        move |sample: &Sample| value(usage(sample)?)
    };
    let mut keep =
        |name: &str, column: stats::Column, why: &str| self::keep(&mut unknown, name, column, why);
    let no_storage = "the system does not say it of every process";
    ProcessColumns {
        cpu_cores: keep("cpu_cores", columns.growth(of(|used| Some(used.cpu_s))), NO_SAMPLE),
        rss_bytes: keep(
            "rss_bytes",
            columns.held(of(|used| Some(used.rss_bytes as f64))),
            NO_SAMPLE,
        ),
        rss_peak_bytes: keep(
            "rss_peak_bytes",
            columns.held(of(|used| Some(used.rss_peak_bytes as f64))),
            NO_SAMPLE,
        ),
        threads: keep("threads", columns.held(of(|used| Some(f64::from(used.threads)))), NO_SAMPLE),
        minor_faults_per_second: keep(
            "minor_faults_per_second",
            columns.growth(of(|used| Some(used.minor_faults as f64))),
            NO_SAMPLE,
        ),
        major_faults_per_second: keep(
            "major_faults_per_second",
            columns.growth(of(|used| Some(used.major_faults as f64))),
            NO_SAMPLE,
        ),
        read_bytes_per_second: keep(
            "read_bytes_per_second",
            columns.growth(of(|used| Some(used.read_bytes? as f64))),
            no_storage,
        ),
        written_bytes_per_second: keep(
            "written_bytes_per_second",
            columns.growth(of(|used| Some(used.written_bytes? as f64))),
            no_storage,
        ),
        unknown,
    }
}

fn machine(columns: &Columns<'_>) -> MachineColumns {
    let mut unknown = Unknowns::none();
    let mut keep =
        |name: &str, column: stats::Column, why: &str| self::keep(&mut unknown, name, column, why);
    let total = columns.growth(|sample| sample.machine.cpu_total_s);
    let share = |part: stats::Column| -> stats::Column {
        let of_total = |(part, total): (&Option<f64>, &Option<f64>)| {
            Some((*part)? / (*total).filter(|total| *total > 0.0)?)
        };
        part.iter().zip(&total).map(of_total).collect()
    };
    let no_stat = "the system does not say what its processors do";
    MachineColumns {
        load_average: keep(
            "load_average",
            columns.held(|sample| sample.machine.load_average),
            "the system has no load average",
        ),
        cpu_busy_ratio: keep(
            "cpu_busy_ratio",
            share(columns.growth(|sample| sample.machine.cpu_busy_s)),
            no_stat,
        ),
        steal_ratio: keep(
            "steal_ratio",
            share(columns.growth(|sample| sample.machine.cpu_steal_s)),
            no_stat,
        ),
        cpu_frequency_mhz: keep(
            "cpu_frequency_mhz",
            columns.held(|sample| sample.machine.cpu_frequency_mhz),
            "the system does not say how fast its processors run, as most virtual machines",
        ),
        thermal_throttles_per_second: keep(
            "thermal_throttles_per_second",
            columns.growth(|sample| Some(sample.machine.thermal_throttles? as f64)),
            "the system does not count how often it is slowed down for its heat",
        ),
        quota_throttled_ratio: keep(
            "quota_throttled_ratio",
            columns.growth(|sample| sample.machine.quota_throttled_s),
            "this process is in no control group that is held back for a quota",
        ),
        unknown,
    }
}

impl Columns<'_> {
    fn gpu(&self, position: usize, gpu: &GpuHistory) -> GpuColumns {
        let mut unknown = Unknowns::none();
        let silence = &gpu.silence;
        let mut keep = |name: &str, value: fn(&GpuPoint) -> Option<f64>, why: &Option<Unknown>| {
            let column = self.held(|sample| value(sample.gpus.get(position)?));
            let why = why.as_ref().map_or(NO_SAMPLE, Unknown::reason);
            self::keep(&mut unknown, name, column, why)
        };
        GpuColumns {
            index: gpu.index,
            name: gpu.name.clone(),
            utilization_ratio: keep(
                "utilization_ratio",
                |point| point.utilization_ratio,
                &silence.utilization_ratio,
            ),
            memory_used_bytes: keep(
                "memory_used_bytes",
                |point| point.memory_used_bytes,
                &silence.memory_used_bytes,
            ),
            power_w: keep("power_w", |point| point.power_w, &silence.power_w),
            temperature_c: keep(
                "temperature_c",
                |point| point.temperature_c,
                &silence.temperature_c,
            ),
            sm_clock_mhz: keep("sm_clock_mhz", |point| point.sm_clock_mhz, &silence.sm_clock_mhz),
            memory_clock_mhz: keep(
                "memory_clock_mhz",
                |point| point.memory_clock_mhz,
                &silence.memory_clock_mhz,
            ),
            unknown,
        }
    }
}

/// What each graphics processor did over the load, summed up.
pub(super) fn gpus(history: &ResourceHistory) -> Vec<GpuUse> {
    let Ok(gpus) = &history.gpus else { return Vec::new() };
    let sum_up = |(position, gpu): (usize, &GpuHistory)| {
        let mut unknown = Unknowns::none();
        let values = |value: fn(&GpuPoint) -> Option<f64>| -> Vec<f64> {
            let points = history.samples.iter().filter_map(|sample| sample.gpus.get(position));
            points.filter_map(value).collect()
        };
        let mean = |values: Vec<f64>| {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let most = |values: Vec<f64>| values.into_iter().reduce(f64::max);
        let why = |silence: &Option<Unknown>| {
            silence.as_ref().map_or(NO_SAMPLE, Unknown::reason).to_owned()
        };
        let silence = &gpu.silence;
        GpuUse {
            index: Some(gpu.index),
            name: gpu.name.clone(),
            used_by_server: unknown.take("used_by_server", gpu.used_by_server.clone()),
            utilization_mean: unknown.option(
                "utilization_mean",
                mean(values(|point| point.utilization_ratio)),
                &why(&silence.utilization_ratio),
            ),
            memory_peak_bytes: unknown.option(
                "memory_peak_bytes",
                most(values(|point| point.memory_used_bytes)).map(|bytes| bytes as u64),
                &why(&silence.memory_used_bytes),
            ),
            server_memory_peak_bytes: unknown
                .take("server_memory_peak_bytes", gpu.server_memory_peak_bytes.clone()),
            power_mean_w: unknown.option(
                "power_mean_w",
                mean(values(|point| point.power_w)),
                &why(&silence.power_w),
            ),
            temperature_max_c: unknown.option(
                "temperature_max_c",
                most(values(|point| point.temperature_c)),
                &why(&silence.temperature_c),
            ),
            unknown,
        }
    };
    gpus.iter().enumerate().map(sum_up).collect()
}
