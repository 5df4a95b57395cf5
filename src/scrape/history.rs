//! What was sampled, kept for the report in memory that does not grow with the run.
//!
//! Main type: [`ResourceHistory`]. It forms no columns; `stats` does.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::MOST_KEPT;
use super::machine::MachineSample;
use crate::gpu::{Device, Reading};
use crate::load::Stamp;
use crate::server::proc::Usage;
use crate::stats::{Known, Unknown};

/// All that was seen at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When.
    pub at: Stamp,
    /// The server's processes; `None` if they are not ours, have ended, or the system does not say.
    pub server: Option<Usage>,
    /// This process.
    pub client: Option<Usage>,
    /// The machine.
    pub machine: MachineSample,
    /// The graphics processors, in the order of [`ResourceHistory::gpus`].
    pub gpus: Vec<GpuPoint>,
}

/// A graphics processor at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GpuPoint {
    /// 0 to 1.
    pub utilization_ratio: Option<f64>,
    /// Bytes.
    pub memory_used_bytes: Option<f64>,
    /// Watts.
    pub power_w: Option<f64>,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
    /// MHz.
    pub sm_clock_mhz: Option<f64>,
    /// MHz.
    pub memory_clock_mhz: Option<f64>,
}

impl From<&Reading> for GpuPoint {
    fn from(reading: &Reading) -> Self {
        let number = |known: &Known<f64>| known.as_ref().ok().copied();
        Self {
            utilization_ratio: number(&reading.utilization_ratio),
            memory_used_bytes: reading.memory_used_bytes.as_ref().ok().map(|bytes| *bytes as f64),
            power_w: number(&reading.power_w),
            temperature_c: number(&reading.temperature_c),
            sm_clock_mhz: number(&reading.sm_clock_mhz),
            memory_clock_mhz: number(&reading.memory_clock_mhz),
        }
    }
}

/// What is known of a graphics processor over all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuHistory {
    /// NVML's number of it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Why it did not say something, at the last time that it did not.
    pub silence: GpuSilence,
    /// Whether a process of the server was seen on it.
    pub used_by_server: Known<bool>,
    /// The most memory that the server's processes had on it, bytes.
    pub server_memory_peak_bytes: Known<u64>,
}

/// Why a graphics processor did not say something; `None` where it always did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GpuSilence {
    /// As in [`GpuPoint`].
    pub utilization_ratio: Option<Unknown>,
    /// As in [`GpuPoint`].
    pub memory_used_bytes: Option<Unknown>,
    /// As in [`GpuPoint`].
    pub power_w: Option<Unknown>,
    /// As in [`GpuPoint`].
    pub temperature_c: Option<Unknown>,
    /// As in [`GpuPoint`].
    pub sm_clock_mhz: Option<Unknown>,
    /// As in [`GpuPoint`].
    pub memory_clock_mhz: Option<Unknown>,
}

/// What processes used between the first and the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ResourceSummary {
    /// CPU time, user and system, in seconds, used between the first and the last sample.
    pub cpu_s: f64,
    /// Largest resident memory so far, in bytes, from the start of the processes.
    pub rss_peak_bytes: u64,
    /// Largest number of threads at a sample.
    pub threads_max: u32,
    /// Page faults between the first and the last sample that needed no disk.
    pub minor_faults: u64,
    /// Those that did.
    pub major_faults: u64,
    /// Bytes fetched from storage between the first and the last sample; `None` where the system does
    /// not say.
    pub read_bytes: Option<u64>,
    /// Bytes sent to storage.
    pub written_bytes: Option<u64>,
}

/// Everything that was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceHistory {
    /// Time between two samples, as asked for.
    pub interval: Duration,
    /// Samples that were taken.
    pub taken: u64,
    /// Those that are kept, in order of time, evenly over all.
    pub samples: Vec<Sample>,
    /// One of so many is kept.
    pub every: u32,
    /// One moment on both clocks; `None` without a sample.
    pub wall: Option<(Stamp, DateTime<Utc>)>,
    /// The graphics processors, or why there are none.
    pub gpus: Known<Vec<GpuHistory>>,
    /// Processor time of the thread that samples.
    pub sampling_cpu: Duration,
    /// What the user should know, in words.
    pub warnings: Vec<String>,
    /// The last one, if it was not kept.
    last: Option<Sample>,
    server: Option<Span>,
    client: Option<Span>,
}

impl Default for ResourceHistory {
    fn default() -> Self {
        Self::beginning(Duration::ZERO, &[], Some("nothing was sampled".to_owned()))
    }
}

impl ResourceHistory {
    pub(super) fn beginning(
        interval: Duration,
        devices: &[Device],
        no_gpus: Option<String>,
    ) -> Self {
        let gpu = |device: &Device| GpuHistory {
            index: device.index,
            name: device.name.clone(),
            silence: GpuSilence::default(),
            used_by_server: Err(Unknown::because("the server is not a process of this run")),
            server_memory_peak_bytes: Err(Unknown::because(
                "the server is not a process of this run",
            )),
        };
        Self {
            interval,
            taken: 0,
            samples: Vec::new(),
            every: 1,
            wall: None,
            gpus: match no_gpus {
                Some(reason) => Err(Unknown::because(reason)),
                None => Ok(devices.iter().map(gpu).collect()),
            },
            sampling_cpu: Duration::ZERO,
            warnings: Vec::new(),
            last: None,
            server: None,
            client: None,
        }
    }

    /// Nothing is known, and why.
    pub(super) fn lost(interval: Duration, reason: String) -> Self {
        let mut lost = Self::beginning(interval, &[], Some(reason.clone()));
        lost.warnings.push(reason);
        lost
    }

    /// Takes the next sample.
    pub(super) fn push(&mut self, sample: Sample, wall: DateTime<Utc>) {
        self.wall.get_or_insert((sample.at, wall));
        for (span, usage) in [(&mut self.server, sample.server), (&mut self.client, sample.client)]
        {
            let Some(usage) = usage else { continue };
            span.get_or_insert_with(|| Span::begin(usage)).push(usage);
        }
        self.last = if self.taken.is_multiple_of(u64::from(self.every)) {
            self.samples.push(sample);
            None
        } else {
            Some(sample)
        };
        self.taken += 1;
        if self.samples.len() > MOST_KEPT {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.every *= 2;
        }
    }

    /// No sample follows: the last one is kept whatever its number.
    pub(super) fn close(&mut self) {
        self.samples.extend(self.last.take());
    }

    /// Takes what the devices did not say, and whose processes were on them. `server`: the server's
    /// processes; `None` if it is not ours.
    pub(super) fn notice(&mut self, readings: &[Reading], server: Option<&Vec<i32>>) {
        let Ok(gpus) = &mut self.gpus else { return };
        for (gpu, reading) in gpus.iter_mut().zip(readings) {
            gpu.silence.hear(reading);
            let Some(pids) = server else { continue };
            let processes = match &reading.processes {
                Ok(processes) => processes,
                Err(reason) => {
                    if gpu.used_by_server.is_err() {
                        gpu.used_by_server = Err(reason.clone());
                        gpu.server_memory_peak_bytes = Err(reason.clone());
                    }
                    continue;
                }
            };
            let ours: Vec<_> = processes
                .iter()
                .filter(|process| i32::try_from(process.pid).is_ok_and(|pid| pids.contains(&pid)))
                .collect();
            let before = matches!(gpu.used_by_server, Ok(true));
            gpu.used_by_server = Ok(before || !ours.is_empty());
            let memory: Option<u64> = ours.iter().map(|process| process.memory_bytes).sum();
            let peak = gpu.server_memory_peak_bytes.as_ref().ok().copied();
            gpu.server_memory_peak_bytes = match (memory, peak) {
                (Some(memory), peak) => Ok(memory.max(peak.unwrap_or(0))),
                (None, Some(peak)) => Ok(peak),
                (None, None) => {
                    Err(Unknown::because("the driver does not say how much memory a process has"))
                }
            };
        }
    }

    /// What the server's processes used; `None` for a server that we did not start, or without
    /// `/proc`.
    #[must_use]
    pub fn server(&self) -> Option<ResourceSummary> {
        self.server.map(Span::summary)
    }

    /// What this process used; `None` without `/proc`.
    #[must_use]
    pub fn client(&self) -> Option<ResourceSummary> {
        self.client.map(Span::summary)
    }

    /// For how long a sample is believed where the next is missing.
    #[must_use]
    pub fn believed(&self) -> Duration {
        (self.interval * self.every).mul_f64(2.5)
    }

    /// The wall time of an instant; `None` without a sample.
    #[must_use]
    pub fn wall_time(&self, at: Stamp) -> Option<DateTime<Utc>> {
        let (stamp, wall) = self.wall?;
        let offset = i64::try_from(i128::from(at.0) - i128::from(stamp.0)).ok()?;
        wall.checked_add_signed(chrono::TimeDelta::nanoseconds(offset))
    }
}

impl GpuSilence {
    fn hear(&mut self, reading: &Reading) {
        fn note<T>(silence: &mut Option<Unknown>, known: &Known<T>) {
            if let Err(reason) = known {
                *silence = Some(reason.clone());
            }
        }
        note(&mut self.utilization_ratio, &reading.utilization_ratio);
        note(&mut self.memory_used_bytes, &reading.memory_used_bytes);
        note(&mut self.power_w, &reading.power_w);
        note(&mut self.temperature_c, &reading.temperature_c);
        note(&mut self.sm_clock_mhz, &reading.sm_clock_mhz);
        note(&mut self.memory_clock_mhz, &reading.memory_clock_mhz);
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    first: Usage,
    last: Usage,
    threads_max: u32,
    rss_peak_bytes: u64,
}

impl Span {
    fn begin(first: Usage) -> Self {
        Self { first, last: first, threads_max: 0, rss_peak_bytes: 0 }
    }

    fn push(&mut self, usage: Usage) {
        self.last = usage;
        self.threads_max = self.threads_max.max(usage.threads);
        self.rss_peak_bytes = self.rss_peak_bytes.max(usage.rss_peak_bytes);
    }

    fn summary(self) -> ResourceSummary {
        let Self { first, last, threads_max, rss_peak_bytes } = self;
        let grown = |first: Option<u64>, last: Option<u64>| Some(last?.saturating_sub(first?));
        ResourceSummary {
            // A process of the group that ended takes its time with it.
            cpu_s: (last.cpu_s - first.cpu_s).max(0.0),
            rss_peak_bytes,
            threads_max,
            minor_faults: last.minor_faults.saturating_sub(first.minor_faults),
            major_faults: last.major_faults.saturating_sub(first.major_faults),
            read_bytes: grown(first.read_bytes, last.read_bytes),
            written_bytes: grown(first.written_bytes, last.written_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(second: u64, cpu_s: f64) -> Sample {
        let usage = Usage { cpu_s, threads: 3, rss_peak_bytes: second, ..Usage::default() };
        Sample {
            at: Stamp(second * 1_000_000_000),
            server: Some(usage),
            client: None,
            machine: MachineSample::default(),
            gpus: Vec::new(),
        }
    }

    #[test]
    fn a_long_run_keeps_fewer_samples_and_all_of_its_figures() {
        let mut history = ResourceHistory::beginning(Duration::from_secs(1), &[], None);
        for second in 0..20_000 {
            history.push(sample(second, second as f64 / 2.0), Utc::now());
        }
        assert_eq!((history.taken, history.every), (20_000, 32));
        assert!(history.samples.len() <= MOST_KEPT);
        history.close();
        assert_eq!(history.samples.pop().map(|sample| sample.at.0), Some(19_999_000_000_000));
        let gaps: std::collections::BTreeSet<u64> =
            history.samples.windows(2).map(|pair| pair[1].at.0 - pair[0].at.0).collect();
        assert_eq!(gaps, [32_000_000_000].into());
        assert_eq!(history.believed(), Duration::from_secs(80));
        let server = history.server().unwrap();
        assert!((server.cpu_s - 9_999.5).abs() < 1e-9);
        assert_eq!((server.rss_peak_bytes, server.threads_max), (19_999, 3));
        assert_eq!(server.read_bytes, None);
        assert_eq!(history.client(), None);
    }

    #[test]
    fn an_instant_has_a_wall_time_before_and_after_the_first_sample() {
        let mut history = ResourceHistory::default();
        assert_eq!(history.wall_time(Stamp(5)), None);
        let wall: DateTime<Utc> = "2026-11-22T12:00:10Z".parse().unwrap();
        history.push(sample(10, 0.0), wall);
        let at = |second: u64| history.wall_time(Stamp(second * 1_000_000_000)).unwrap();
        assert_eq!(at(8).to_rfc3339(), "2026-11-22T12:00:08+00:00");
        assert_eq!(at(11).to_rfc3339(), "2026-11-22T12:00:11+00:00");
    }
}
