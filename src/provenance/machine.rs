//! What machine this is.
//!
//! Main type: [`Machine`]. It reads what the system offers without privileges, and starts a vendor's
//! tool only where its library cannot be asked. It measures nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cpu_limit::cgroup_cpu_limit;
use super::{Env, command};
use crate::gpu::Nvml;

/// The machine that everything ran on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Operating system and, where it says so, its release: `Ubuntu 24.04.1 LTS`.
    pub os: String,
    /// Processor architecture, as Rust names it: `x86_64`, `aarch64`.
    pub arch: &'static str,
    /// Kernel release: `6.8.0-1017-azure`.
    pub kernel: Option<String>,
    /// Processor model, as the processor names itself.
    pub cpu_model: Option<String>,
    /// Logical processors that this process may run on (affinity, not quota).
    pub cores: Option<u32>,
    /// Physical memory in bytes.
    pub memory_bytes: Option<u64>,
    /// CPUs that the control group grants; `None` without a limit (then `unknown` has no entry).
    pub cgroup_cpu_limit: Option<f64>,
    /// Graphics processors, in NVML's order; empty where there is none, or where `unknown` says why
    /// they could not be asked.
    pub gpus: Vec<Gpu>,
    /// 16 hex digits of a SHA-256 over system with its major release, processor model, cores, CPU limit,
    /// memory in GiB and graphics processors with driver: reports with different ones are of different machines.
    pub fingerprint: String,
    /// Why something above is `None` or empty: field name and reason.
    pub unknown: BTreeMap<&'static str, String>,
}

/// A graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Product name.
    pub name: String,
    /// Its memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Version of the driver.
    pub driver: Option<String>,
}

/// How long `nvidia-smi` may take. It needs a second on a machine whose driver sleeps; a hung one
/// must not hold up a benchmark.
const GPU_LIMIT: Duration = Duration::from_secs(2);

/// A driver that sleeps wakes for each device in turn.
const NVML_LIMIT: Duration = Duration::from_secs(5);

impl Machine {
    /// Looks at this machine.
    #[must_use]
    pub fn discover(env: Env<'_>) -> Self {
        Self::at(Path::new("/"), env)
    }

    /// Looks at the machine whose `/proc`, `/sys` and `/etc` are below `root`.
    fn at(root: &Path, env: Env<'_>) -> Self {
        let mut unknown = BTreeMap::new();
        let mut known = |field: &'static str, found: Option<String>, reason: &str| {
            if found.is_none() {
                unknown.insert(field, reason.to_owned());
            }
            found
        };
        let kernel = known("kernel", kernel(), "the system does not tell its release");
        let cpu_model =
            known("cpu_model", cpu_model(root), "the processor does not tell its model");
        let cores = cores(root);
        let memory_bytes = memory_bytes(root);
        if memory_bytes.is_none() {
            unknown.insert("memory_bytes", "the system does not tell its memory".to_owned());
        }
        if cores.is_none() {
            unknown.insert("cores", "the system does not tell its processors".to_owned());
        }
        let gpus = graphics_processors(env).unwrap_or_else(|reason| {
            unknown.insert("gpus", reason);
            Vec::new()
        });
        let mut machine = Self {
            os: os(root),
            arch: std::env::consts::ARCH,
            kernel,
            cpu_model,
            cores,
            memory_bytes,
            cgroup_cpu_limit: cgroup_cpu_limit(root),
            gpus,
            fingerprint: String::new(),
            unknown,
        };
        machine.fingerprint = machine.fingerprint_now();
        machine
    }

    /// What must be alike for two reports to be of one kind of machine. Memory is rounded: two
    /// virtual machines of one type differ by some megabytes. The kernel and minor releases are left out,
    /// because a security update would begin a new history every fortnight.
    fn fingerprint_now(&self) -> String {
        const GIB: u64 = 1 << 30;
        let gib = |bytes: u64| (bytes + GIB / 2) / GIB;
        let mut text = format!(
            "bench-ci machine 2\n{}\n{}\n{:?}\n{:?}\n{:?}\n{:?}\n",
            major_release(&self.os),
            self.arch,
            self.cpu_model,
            self.cores,
            self.cgroup_cpu_limit,
            self.memory_bytes.map(gib)
        );
        for gpu in &self.gpus {
            text.push_str(&format!(
                "{}\n{:?}\n{:?}\n",
                gpu.name,
                gpu.memory_bytes.map(gib),
                gpu.driver
            ));
        }
        Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `Ubuntu 24` of `Ubuntu 24.04.1 LTS`.
fn major_release(os: &str) -> &str {
    os.split(['.', '(']).next().unwrap_or(os).trim_end()
}

/// By NVML; by `nvidia-smi` where this build cannot load that. None where there is neither.
fn graphics_processors(env: Env<'_>) -> Result<Vec<Gpu>, String> {
    if let Some(found) = by_nvml() {
        return found;
    }
    let path = env("PATH").map(OsString::from);
    match command::on_path(path.as_deref(), "nvidia-smi") {
        None => Ok(Vec::new()),
        Some(tool) => command::ask(&tool, &GPU_QUESTION, GPU_LIMIT).map(|answer| gpus(&answer)),
    }
}

/// `None` if there is no NVML; an error if it does not answer in time, for its driver may be stuck.
fn by_nvml() -> Option<Result<Vec<Gpu>, String>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let ask = move || {
        let found = Nvml::shared().ok().map(|nvml| {
            let driver = nvml.driver().ok();
            let devices = nvml.devices().map_err(|reason| reason.reason().to_owned())?;
            let gpu = |device: crate::gpu::Device| Gpu {
                name: device.name,
                memory_bytes: device.memory_bytes,
                driver: driver.clone(),
            };
            Ok(devices.into_iter().map(gpu).collect())
        });
        // Nobody listens any more where the limit has passed.
        drop(sender.send(found));
    };
    let thread = std::thread::Builder::new().name("nvml".to_owned()).spawn(ask);
    thread.ok()?;
    receiver.recv_timeout(NVML_LIMIT).unwrap_or_else(|_too_late| {
        Some(Err(format!("NVML did not answer within {} s", NVML_LIMIT.as_secs())))
    })
}

const GPU_QUESTION: [&str; 2] =
    ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];

/// Reads lines such as `NVIDIA L4, 23034 MiB, 550.90.07`.
fn gpus(answer: &str) -> Vec<Gpu> {
    let present = |text: &str| {
        Some(text.trim().to_owned()).filter(|text| !text.is_empty() && !text.starts_with('['))
    };
    answer
        .lines()
        .filter_map(|line| {
            let mut parts = line.rsplitn(3, ',');
            let driver = present(parts.next()?);
            let memory = parts.next()?.trim();
            let name = present(parts.next()?)?;
            let mib: Option<u64> =
                memory.strip_suffix("MiB").and_then(|number| number.trim().parse().ok());
            Some(Gpu { name, memory_bytes: mib.map(|mib| mib << 20), driver })
        })
        .collect()
}

fn os(root: &Path) -> String {
    fs::read_to_string(root.join("etc/os-release"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(line.trim().trim_matches(['"', '\'']).to_owned())
        })
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| std::env::consts::OS.to_owned())
}

#[cfg(unix)]
fn kernel() -> Option<String> {
    let about = nix::sys::utsname::uname().ok()?;
    about.release().to_str().map(str::to_owned)
}

#[cfg(not(unix))]
fn kernel() -> Option<String> {
    None
}

/// The host's own name; `None` where it has none.
#[cfg(unix)]
pub(super) fn host_name() -> Option<String> {
    let about = nix::sys::utsname::uname().ok()?;
    about.nodename().to_str().map(str::to_owned).filter(|name| !name.is_empty() && name != "(none)")
}

/// The host's own name; `None` where it has none.
#[cfg(not(unix))]
pub(super) fn host_name() -> Option<String> {
    None
}

fn cpu_model(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    };
    field("model name")
        .or_else(|| {
            // ARM names no model there, but a board does, and implementer and part tell the core.
            let board = fs::read_to_string(root.join("proc/device-tree/model")).ok();
            let core = field("CPU implementer").zip(field("CPU part"));
            let core =
                core.map(|(implementer, part)| format!("implementer {implementer} part {part}"));
            match (board.map(|board| board.trim_end_matches('\0').trim().to_owned()), core) {
                (Some(board), Some(core)) if !board.is_empty() => Some(format!("{board} ({core})")),
                (_, Some(core)) => Some(core),
                (Some(board), None) if !board.is_empty() => Some(board),
                _ => None,
            }
        })
        .or_else(|| sysctl("machdep.cpu.brand_string"))
}

fn cores(root: &Path) -> Option<u32> {
    let allowed = fs::read_to_string(root.join("proc/self/status")).ok().and_then(|text| {
        let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        cpu_list(list.trim())
    });
    allowed.or_else(|| u32::try_from(std::thread::available_parallelism().ok()?.get()).ok())
}

/// How many numbers a list such as `0-3,8` has.
fn cpu_list(list: &str) -> Option<u32> {
    let mut count: u32 = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

fn memory_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kib.and_then(|kib| kib.checked_mul(1024)).or_else(|| sysctl("hw.memsize")?.parse().ok())
}

/// A value of macOS's sysctl; `None` elsewhere.
fn sysctl(name: &str) -> Option<String> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let answer = command::ask(Path::new("/usr/sbin/sysctl"), &["-n", name], GPU_LIMIT).ok()?;
    Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("inside the tree")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        root
    }

    const INTEL: [(&str, &str); 4] = [
        (
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) @ 2.60GHz\n\nmodel name\t: other\n",
        ),
        ("proc/meminfo", "MemTotal:       16384000 kB\nMemFree: 1 kB\n"),
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2,8\n"),
        ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\n"),
    ];

    #[test]
    fn a_machine_is_read_from_its_files() {
        let machine = Machine::at(tree(&INTEL).path(), &|_| None);
        assert_eq!(machine.os, "Ubuntu 24.04.1 LTS");
        assert_eq!(machine.cpu_model.as_deref(), Some("Intel(R) Xeon(R) @ 2.60GHz"));
        assert_eq!(machine.cores, Some(4));
        assert_eq!(machine.memory_bytes, Some(16_384_000 * 1024));
        assert_eq!(machine.gpus, []);
        assert_eq!(machine.fingerprint.len(), 16);
        assert_eq!(machine.unknown, BTreeMap::new());
    }

    #[test]
    fn an_arm_board_is_named_by_board_and_core() {
        let root = tree(&[
            ("proc/cpuinfo", "processor : 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n"),
            ("proc/device-tree/model", "Raspberry Pi 5\0"),
        ]);
        assert_eq!(
            cpu_model(root.path()).as_deref(),
            Some("Raspberry Pi 5 (implementer 0x41 part 0xd0c)")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_told_is_absent_with_a_reason() {
        let machine = Machine::at(tree(&[]).path(), &|_| None);
        assert_eq!(machine.cpu_model, None);
        assert_eq!(machine.memory_bytes, None);
        assert!(
            machine.unknown.contains_key("cpu_model")
                && machine.unknown.contains_key("memory_bytes")
        );
        assert_eq!(machine.os, "linux");
    }

    #[test]
    fn the_fingerprint_tells_machines_apart_and_ignores_a_few_megabytes() {
        let machine = Machine::at(tree(&INTEL).path(), &|_| None);
        let same = Machine {
            memory_bytes: machine.memory_bytes.map(|bytes| bytes - (4 << 20)),
            os: "Ubuntu 24.04.9 LTS".to_owned(),
            ..machine.clone()
        };
        let machine = Machine { os: "Ubuntu 24.04.1 LTS".to_owned(), ..machine };
        assert_eq!(machine.fingerprint_now(), same.fingerprint_now());
        for other in [
            Machine { os: "Ubuntu 26.04 LTS".to_owned(), ..machine.clone() },
            Machine { os: "Debian GNU/Linux 13 (trixie)".to_owned(), ..machine.clone() },
            Machine { cores: Some(8), ..machine.clone() },
            Machine { cpu_model: None, ..machine.clone() },
            Machine { memory_bytes: Some(32 << 30), ..machine.clone() },
            Machine { cgroup_cpu_limit: Some(1.0), ..machine.clone() },
            Machine { gpus: gpus("NVIDIA L4, 23034 MiB, 550.90.07"), ..machine.clone() },
        ] {
            assert_ne!(machine.fingerprint_now(), other.fingerprint_now());
        }
    }

    #[test]
    fn graphics_processors_are_read_line_by_line() {
        let answer = "NVIDIA L4, 23034 MiB, 550.90.07\nNVIDIA GB10, [N/A], 580.1\nOdd, Name, 1 MiB, 2\n\nnonsense\n";
        let gpu = |name: &str, memory_bytes, driver: &str| Gpu {
            name: name.to_owned(),
            memory_bytes,
            driver: Some(driver.to_owned()),
        };
        assert_eq!(
            gpus(answer),
            [
                gpu("NVIDIA L4", Some(23034 << 20), "550.90.07"),
                gpu("NVIDIA GB10", None, "580.1"),
                gpu("Odd, Name", Some(1 << 20), "2"),
            ]
        );
    }

    #[test]
    fn lists_of_processors_are_counted() {
        for (list, count) in
            [("0", Some(1)), ("0-3", Some(4)), ("0-1,4,6-7", Some(5)), ("", None), ("3-1", None)]
        {
            assert_eq!(cpu_list(list), count, "{list}");
        }
    }
}
