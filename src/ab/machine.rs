//! What the machine itself does around a block, without asking either server.
//!
//! Main types: [`Probe`], a fixed piece of work, and [`Moment`], the system's own counters; [`gpus`], what
//! graphics processors say. They say whether somebody else used the machine; they never see what was
//! measured.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::gpu::{Nvml, Reading};

/// Words of the buffer that is walked through: 32 MiB, above the caches of a core.
const WORDS: usize = 4 << 20;

/// Steps of integer work between two looks at the clock while sizing.
const SIZING_STEPS: u64 = 200_000;

/// A fixed piece of work, the same all through a session: half integer, half memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Probe {
    /// Steps of a chain of integer operations, none of which can begin before the last.
    steps: u64,
    /// Walks through the buffer.
    walks: u64,
}

impl Probe {
    /// About so much work as takes `wanted` now. Blocks; call it off the event loop.
    pub(super) fn sized(wanted: Duration) -> Self {
        let half = wanted / 2;
        let begun = Instant::now();
        let mut steps = 0;
        let mut state = 1;
        while begun.elapsed() < half {
            state = integers(state, SIZING_STEPS);
            steps += SIZING_STEPS;
        }
        let mut buffer = buffer();
        let begun = Instant::now();
        let mut walks = 0;
        while begun.elapsed() < half || walks == 0 {
            state ^= walk(&mut buffer);
            walks += 1;
        }
        std::hint::black_box(state);
        Self { steps, walks }
    }

    /// Does it; says how long it took, milliseconds. Blocks; call it off the event loop.
    pub(super) fn run(self) -> f64 {
        let mut buffer = buffer();
        let begun = Instant::now();
        let mut state = integers(1, self.steps);
        for _ in 0..self.walks {
            state ^= walk(&mut buffer);
        }
        std::hint::black_box(state);
        1e3 * begun.elapsed().as_secs_f64()
    }
}

/// Touched once, so that the kernel's zeroing of pages is not measured.
fn buffer() -> Vec<u64> {
    (0..WORDS as u64).collect()
}

fn integers(mut state: u64, steps: u64) -> u64 {
    for _ in 0..steps {
        state = std::hint::black_box(
            (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(17),
        );
    }
    state
}

fn walk(buffer: &mut [u64]) -> u64 {
    buffer.iter_mut().fold(0, |sum: u64, word| {
        *word = word.wrapping_add(1);
        sum.wrapping_add(*word)
    })
}

/// What the system says at one moment. Absent where it does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    /// All time of all processors, and of that what was stolen, ticks.
    ticks: Option<(u64, u64)>,
    /// Over the last minute.
    pub(super) load_average: Option<f64>,
    /// Mean over the processors.
    pub(super) cpu_mhz: Option<f64>,
}

impl Moment {
    /// Now.
    pub(super) fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Self {
            ticks: read("/proc/stat").and_then(|text| ticks(&text)),
            load_average: read("/proc/loadavg")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            cpu_mhz: read("/proc/cpuinfo").and_then(|text| mean_mhz(&text)),
        }
    }

    /// Time stolen since `earlier`, per cent; `None` where the system does not say.
    pub(super) fn steal_pct_since(&self, earlier: &Moment) -> Option<f64> {
        let ((all, stolen), (all_before, stolen_before)) = self.ticks.zip(earlier.ticks)?;
        let passed = all.checked_sub(all_before).filter(|passed| *passed > 0)?;
        Some(100.0 * stolen.saturating_sub(stolen_before) as f64 / passed as f64)
    }
}

/// What every graphics processor says now, with its number; empty where there is none, or nobody to ask.
pub(super) fn gpus() -> Vec<(u32, Reading)> {
    let Ok(nvml) = Nvml::shared() else { return Vec::new() };
    let devices = nvml.devices().unwrap_or_default();
    devices.iter().map(|device| (device.index, nvml.read(device))).collect()
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal …; guest time is in
/// user already.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Some((fields.iter().take(8).sum(), *fields.get(7)?))
}

fn mean_mhz(cpuinfo: &str) -> Option<f64> {
    let clocks: Vec<f64> = cpuinfo
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect();
    (!clocks.is_empty()).then(|| clocks.iter().sum::<f64>() / clocks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_its_share_of_all_time_between_two_moments() {
        let moment = |text: &str| Moment { ticks: ticks(text), load_average: None, cpu_mhz: None };
        let before = moment("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 1\n");
        let after = moment("cpu  150 0 150 750 0 0 0 150 90 0\n");
        assert_eq!(after.steal_pct_since(&before), Some(25.0));
        assert_eq!(before.steal_pct_since(&before), None);
        assert_eq!(moment("nothing\n").steal_pct_since(&before), None);
    }

    #[test]
    fn the_clock_is_the_mean_over_the_processors() {
        assert_eq!(mean_mhz("cpu MHz\t\t: 2000.0\nx: 1\ncpu MHz : 3000.0\n"), Some(2500.0));
        assert_eq!(mean_mhz("processor : 0\n"), None);
    }
}
