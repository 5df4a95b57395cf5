//! What the whole machine does at one moment, as far as it tells without privileges.
//!
//! Main types: [`MachineReader`] and [`MachineSample`]. Reads `/proc` and `/sys`, so it knows
//! something on Linux and nothing elsewhere, which is `None` and never zero.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// So many processors are asked for their clock and their heat: on some kernels each answer takes a
/// hundredth of a millisecond of somebody's processor, and a mean of 16 is one.
const MOST_PROCESSORS: usize = 16;

/// What the machine does; counters count from its start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct MachineSample {
    /// Load average over one minute.
    pub load_average: Option<f64>,
    /// Seconds that all processors together were not idle.
    pub cpu_busy_s: Option<f64>,
    /// Seconds that the hypervisor gave to others.
    pub cpu_steal_s: Option<f64>,
    /// Seconds of all processors together, idle or not.
    pub cpu_total_s: Option<f64>,
    /// Mean clock of the processors that were asked, MHz.
    pub cpu_frequency_mhz: Option<f64>,
    /// How often the cores that were asked were slowed down for their heat.
    pub thermal_throttles: Option<u64>,
    /// Seconds that this control group was held back for its quota.
    pub quota_throttled_s: Option<f64>,
}

/// Knows which files there are, so that each sample opens only those.
#[derive(Debug)]
pub struct MachineReader {
    root: PathBuf,
    clocks: Vec<PathBuf>,
    throttles: Vec<PathBuf>,
    group: Option<PathBuf>,
}

impl MachineReader {
    /// Looks which files there are.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Path::new("/"))
    }

    /// For a machine whose `/proc` and `/sys` are below `root`.
    fn at(root: &Path) -> Self {
        let processors = processors(&root.join("sys/devices/system/cpu"));
        let of_each = |file: &str| -> Vec<PathBuf> {
            processors.iter().map(|folder| folder.join(file)).filter(|path| path.exists()).collect()
        };
        Self {
            clocks: of_each("cpufreq/scaling_cur_freq"),
            throttles: of_each("thermal_throttle/core_throttle_count"),
            group: group(root),
            root: root.to_owned(),
        }
    }

    /// What it does now.
    #[must_use]
    pub fn sample(&self) -> MachineSample {
        let read = |path: &str| fs::read_to_string(self.root.join(path)).ok();
        let processors = read("proc/stat").and_then(|text| Processors::read(&text));
        let clocks = numbers(&self.clocks);
        let throttles = numbers(&self.throttles);
        MachineSample {
            load_average: read("proc/loadavg")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            cpu_busy_s: processors.map(|all| all.busy_s),
            cpu_steal_s: processors.and_then(|all| all.steal_s),
            cpu_total_s: processors.map(|all| all.total_s),
            cpu_frequency_mhz: (!clocks.is_empty())
                .then(|| clocks.iter().sum::<u64>() as f64 / clocks.len() as f64 / 1e3),
            // Of some only, the sum would fall when one of them is taken away.
            thermal_throttles: (!throttles.is_empty() && throttles.len() == self.throttles.len())
                .then(|| throttles.iter().sum()),
            quota_throttled_s: self.group.as_deref().and_then(throttled_s),
        }
    }
}

impl Default for MachineReader {
    fn default() -> Self {
        Self::new()
    }
}

/// At most 16 of the folders `cpu0`, `cpu1` …, evenly over all.
fn processors(folder: &Path) -> Vec<PathBuf> {
    let number = |path: &Path| path.file_name()?.to_str()?.strip_prefix("cpu")?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((number(&path)?, path))
        })
        .collect();
    found.sort();
    let every = found.len().div_ceil(MOST_PROCESSORS).max(1);
    found.into_iter().step_by(every).map(|(_, path)| path).collect()
}

fn numbers(paths: &[PathBuf]) -> Vec<u64> {
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).collect()
}

/// The first line of `/proc/stat`.
#[derive(Clone, Copy)]
struct Processors {
    busy_s: f64,
    steal_s: Option<f64>,
    total_s: f64,
}

impl Processors {
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // user nice system idle iowait irq softirq steal; guests are in user and nice already.
        let total: u64 = ticks.iter().take(8).sum();
        let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second();
        Some(Self {
            busy_s: seconds(total - idle),
            steal_s: ticks.get(7).map(|ticks| seconds(*ticks)),
            total_s: seconds(total),
        })
    }
}

fn ticks_per_second() -> f64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    ticks.map_or(100.0, |ticks| ticks as f64)
}

/// The `cpu.stat` of this process's control group of version 2, if it has a quota's figures.
fn group(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = root.join("sys/fs/cgroup");
    // In a container the path may be the host's, and the mount's own top is the group.
    [mount.join(own.trim_start_matches('/')), mount]
        .into_iter()
        .map(|folder| folder.join("cpu.stat"))
        .find(|path| throttled_s(path).is_some())
}

fn throttled_s(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("throttled_usec"))?;
    Some(line.trim().parse::<u64>().ok()? as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(String, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("inside the tree")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn a_machine_is_read_from_its_files() {
        let mut files = vec![
            ("proc/loadavg".to_owned(), "1.25 0.50 0.10 2/345 6789\n"),
            ("proc/stat".to_owned(), "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3\n"),
            ("proc/self/cgroup".to_owned(), "0::/a/b\n"),
            ("sys/fs/cgroup/a/b/cpu.stat".to_owned(), "usage_usec 5\nthrottled_usec 2500000\n"),
            ("sys/devices/system/cpu/cpufreq/x".to_owned(), ""),
        ];
        for cpu in 0..40 {
            let folder = format!("sys/devices/system/cpu/cpu{cpu}");
            files.push((format!("{folder}/cpufreq/scaling_cur_freq"), "2400000\n"));
            files.push((format!("{folder}/thermal_throttle/core_throttle_count"), "3\n"));
        }
        let root = tree(&files);
        let reader = MachineReader::at(root.path());
        assert!((10..=16).contains(&reader.clocks.len()), "{}", reader.clocks.len());
        let sample = reader.sample();
        let close = |found: Option<f64>, wanted: f64| {
            assert!((found.unwrap() - wanted).abs() < 1e-9, "{found:?} is not {wanted}");
        };
        close(sample.load_average, 1.25);
        close(sample.cpu_frequency_mhz, 2400.0);
        close(sample.quota_throttled_s, 2.5);
        let ticks = ticks_per_second();
        close(sample.cpu_busy_s, 171.0 / ticks);
        close(sample.cpu_steal_s, 8.0 / ticks);
        close(sample.cpu_total_s, 621.0 / ticks);
        assert_eq!(sample.thermal_throttles, Some(3 * reader.throttles.len() as u64));
    }

    #[test]
    fn what_is_not_told_is_absent() {
        let reader = MachineReader::at(tree(&[]).path());
        assert_eq!(reader.sample(), MachineSample::default());
        let odd = tree(&[
            ("proc/stat".to_owned(), "cpu x y\n"),
            ("proc/loadavg".to_owned(), ""),
            ("proc/self/cgroup".to_owned(), "0::/\n"),
            ("sys/fs/cgroup/cpu.stat".to_owned(), "usage_usec 1\n"),
        ]);
        assert_eq!(MachineReader::at(odd.path()).sample(), MachineSample::default());
    }

    #[test]
    fn an_old_kernel_that_knows_no_steal_says_so() {
        let all = Processors::read("cpu  1 2 3 4\n").unwrap();
        assert_eq!(all.steal_s, None);
    }

    #[test]
    fn in_a_container_the_mount_is_the_group() {
        let root = tree(&[
            ("proc/self/cgroup".to_owned(), "0::/host/path\n"),
            ("sys/fs/cgroup/cpu.stat".to_owned(), "throttled_usec 7\n"),
        ]);
        assert!(MachineReader::at(root.path()).sample().quota_throttled_s.is_some());
    }
}
