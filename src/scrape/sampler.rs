//! Samples processes, machine and graphics processors at an interval, on a thread of its own.
//!
//! Main type: [`Sampler`]. Every sample is a line of `resources.jsonl`. The thread counts its own
//! processor time, so that what sampling costs can be told. It asks no server; that is
//! [`super::scraper`]'s.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use super::cost::thread_cpu;
use super::history::{GpuPoint, ResourceHistory, Sample};
use super::machine::{MachineReader, MachineSample};
use crate::gpu::{Device, GpuProcess, Nvml, Reading};
use crate::load::now;
use crate::server::ServerGroup;
use crate::server::proc::{self, Usage};
use crate::stats::Known;

/// To find the processes of a server all of the machine are looked at, which costs more than all
/// else; so it is done at every tenth sample, and whenever one is gone.
const SAMPLES_PER_SEARCH: u64 = 10;

/// A driver that takes longer to answer is stuck, and nobody waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// The running thread. Dropping it lets the thread end by itself.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Dropped to ask for the last sample.
    stop: Option<mpsc::Sender<()>>,
    done: oneshot::Receiver<ResourceHistory>,
    interval: Duration,
}

impl Sampler {
    /// Takes a first sample, and one at every `interval` from then on. `sink`: the file for one JSON
    /// line a sample, made anew.
    ///
    /// # Errors
    /// If the file or the thread cannot be made.
    pub(super) async fn begin(
        group: Option<ServerGroup>,
        interval: Duration,
        sink: &Path,
    ) -> std::io::Result<Self> {
        let sink = File::create(sink)?;
        let (stop, stopped) = mpsc::channel();
        let (tell_first, first) = oneshot::channel();
        let (tell_done, done) = oneshot::channel();
        std::thread::Builder::new().name("sampling".to_owned()).spawn(move || {
            let mut recorder = Recorder::new(group, interval, sink);
            recorder.sample();
            // Nobody listens any more where the limit has passed.
            let _nobody = tell_first.send(());
            recorder.until(&stopped, interval);
            drop(tell_done.send(recorder.finish()));
        })?;
        // Late is as good as never here: the load does not wait for a driver.
        drop(tokio::time::timeout(LIMIT, first).await);
        Ok(Self { stop: Some(stop), done, interval })
    }

    /// Takes a last sample and tells what was found.
    pub(super) async fn finish(mut self) -> ResourceHistory {
        drop(self.stop.take());
        match tokio::time::timeout(LIMIT, &mut self.done).await {
            Ok(Ok(history)) => history,
            _ => ResourceHistory::lost(
                self.interval,
                format!("the sampling thread did not end within {} s", LIMIT.as_secs()),
            ),
        }
    }
}

/// One line of `resources.jsonl`.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since the first sample.
    t_s: f64,
    /// Wall time.
    at: String,
    /// `null` if it is not ours, has ended, or the system does not say.
    server: Option<Usage>,
    client: Option<Usage>,
    machine: MachineSample,
    gpus: Vec<GpuLine<'a>>,
}

/// One device in a line.
#[derive(Serialize)]
struct GpuLine<'a> {
    index: u32,
    name: &'a str,
    utilization_ratio: Option<f64>,
    memory_used_bytes: Option<u64>,
    power_w: Option<f64>,
    temperature_c: Option<f64>,
    sm_clock_mhz: Option<f64>,
    memory_clock_mhz: Option<f64>,
    processes: Option<&'a [GpuProcess]>,
    /// Why a field is `null`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    unknown: BTreeMap<&'static str, &'a str>,
}

impl<'a> GpuLine<'a> {
    fn new(device: &'a Device, reading: &'a Reading) -> Self {
        // Destructured so that a new reading cannot be forgotten here.
        let Reading {
            utilization_ratio,
            memory_used_bytes,
            power_w,
            temperature_c,
            sm_clock_mhz,
            memory_clock_mhz,
            processes,
        } = reading;
        let mut unknown = BTreeMap::new();
        fn take<'a, T>(
            field: &'static str,
            known: &'a Known<T>,
            unknown: &mut BTreeMap<&'static str, &'a str>,
        ) -> Option<&'a T> {
            known.as_ref().map_err(|reason| unknown.insert(field, reason.reason())).ok()
        }
        Self {
            index: device.index,
            name: &device.name,
            utilization_ratio: take("utilization_ratio", utilization_ratio, &mut unknown).copied(),
            memory_used_bytes: take("memory_used_bytes", memory_used_bytes, &mut unknown).copied(),
            power_w: take("power_w", power_w, &mut unknown).copied(),
            temperature_c: take("temperature_c", temperature_c, &mut unknown).copied(),
            sm_clock_mhz: take("sm_clock_mhz", sm_clock_mhz, &mut unknown).copied(),
            memory_clock_mhz: take("memory_clock_mhz", memory_clock_mhz, &mut unknown).copied(),
            processes: take("processes", processes, &mut unknown).map(Vec::as_slice),
            unknown,
        }
    }
}

struct Recorder {
    group: Option<ServerGroup>,
    pids: Vec<i32>,
    machine: MachineReader,
    nvml: Option<&'static Nvml>,
    devices: Vec<Device>,
    sink: File,
    sink_error: Option<String>,
    began: Instant,
    history: ResourceHistory,
}

impl Recorder {
    fn new(group: Option<ServerGroup>, interval: Duration, sink: File) -> Self {
        let found = Nvml::shared().map_err(str::to_owned).and_then(|nvml| {
            let devices = nvml.devices().map_err(|reason| reason.reason().to_owned())?;
            Ok((nvml, devices))
        });
        let (nvml, devices, no_gpus) = match found {
            Ok((_, devices)) if devices.is_empty() => {
                (None, devices, Some("NVML knows no graphics processor".to_owned()))
            }
            Ok((nvml, devices)) => (Some(nvml), devices, None),
            Err(reason) => (None, Vec::new(), Some(reason)),
        };
        Self {
            history: ResourceHistory::beginning(interval, &devices, no_gpus),
            pids: Vec::new(),
            group,
            machine: MachineReader::new(),
            nvml,
            devices,
            sink,
            sink_error: None,
            began: Instant::now(),
        }
    }

    fn until(&mut self, stopped: &mpsc::Receiver<()>, interval: Duration) {
        // An interval of zero would be a busy loop.
        let interval = interval.max(Duration::from_millis(10));
        let mut next = self.began + interval;
        let until = |next: Instant| next.saturating_duration_since(Instant::now());
        // Dropping the sender is the message, and ends this.
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(until(next)) {
            self.sample();
            // Samples that were missed are not made up for.
            let now = Instant::now();
            while next <= now {
                next += interval;
            }
        }
        self.pids.clear(); // whoever came late is in the last sample
        self.sample();
    }

    fn sample(&mut self) {
        let (t_s, at, stamp) = (self.began.elapsed().as_secs_f64(), chrono::Utc::now(), now());
        let server = self.server();
        let client = proc::own_usage();
        let machine = self.machine.sample();
        let readings: Vec<Reading> = match self.nvml {
            Some(nvml) => self.devices.iter().map(|device| nvml.read(device)).collect(),
            None => Vec::new(),
        };
        let pairs = self.devices.iter().zip(&readings);
        let line = Line {
            t_s,
            at: at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            server,
            client,
            machine,
            gpus: pairs.map(|(device, reading)| GpuLine::new(device, reading)).collect(),
        };
        let mut text = serde_json::to_string(&line).expect("a line has only plain values");
        text.push('\n');
        // One write a line, so that an interrupted run leaves whole lines.
        if let Err(error) = self.sink.write_all(text.as_bytes()) {
            self.sink_error.get_or_insert_with(|| error.to_string());
        }
        let gpus: Vec<GpuPoint> = readings.iter().map(GpuPoint::from).collect();
        self.history.notice(&readings, self.group.is_some().then_some(&self.pids));
        self.history.push(Sample { at: stamp, server, client, machine, gpus }, at);
    }

    fn server(&mut self) -> Option<Usage> {
        let group = self.group.as_ref()?;
        if self.pids.is_empty() || self.history.taken.is_multiple_of(SAMPLES_PER_SEARCH) {
            self.pids = group.pids();
        }
        let usage = group.sample_of(&self.pids);
        // One that is gone, or has not been waited for, leaves fewer than were found.
        if usage.is_none_or(|usage| usage.processes as usize != self.pids.len()) {
            self.pids = group.pids();
            return group.sample_of(&self.pids);
        }
        usage
    }

    fn finish(mut self) -> ResourceHistory {
        if let Some(error) = self.sink_error {
            self.history.warnings.push(format!("resources.jsonl is not complete: {error}"));
        }
        self.history.close();
        self.history.sampling_cpu = thread_cpu();
        self.history
    }
}
