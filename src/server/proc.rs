//! What the operating system says about processes: who belongs to a server, what they use.
//!
//! Main types: [`Member`] and [`Usage`]. Reads `/proc`, so it knows something on Linux and nothing
//! elsewhere, which callers are told by `None` or an empty list, never by zeros. Signals nobody.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::command::redacted;

/// Characters of a command line in a message.
const SHOWN_CHARACTERS: usize = 200;

/// A process of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: i32,
    /// It has ended and waits to be reaped: it holds no memory and no port.
    pub is_zombie: bool,
}

/// What processes use at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Usage {
    /// Resident memory now, in bytes, summed over the processes (shared pages count in each).
    pub rss_bytes: u64,
    /// Largest resident memory of each process so far, in bytes, summed.
    pub rss_peak_bytes: u64,
    /// CPU time so far, user and system, in seconds, with children that were waited for.
    pub cpu_s: f64,
    /// Threads.
    pub threads: u32,
    /// Processes.
    pub processes: u32,
    /// Page faults so far that needed no disk, with those of children that were waited for.
    pub minor_faults: u64,
    /// Page faults so far that did.
    pub major_faults: u64,
    /// Bytes so far that were fetched from storage; `None` where the system does not say, as for
    /// processes of another user.
    pub read_bytes: Option<u64>,
    /// Bytes so far that were sent to storage.
    pub written_bytes: Option<u64>,
}

/// The processes of a server: its process group, and all descendants of `leader` even if they left
/// the group. Empty where there is no `/proc`.
#[must_use]
pub fn members(leader: i32) -> Vec<Member> {
    let all: Vec<Stat> = pids().filter_map(Stat::of).collect();
    let mut ours: HashSet<i32> = all
        .iter()
        .filter(|stat| stat.group == leader || stat.pid == leader)
        .map(|stat| stat.pid)
        .collect();
    // Parents may come behind their children in the listing, so until nothing is added.
    loop {
        let before = ours.len();
        let children = all.iter().filter(|stat| ours.contains(&stat.parent)).map(|stat| stat.pid);
        let children: Vec<i32> = children.collect();
        ours.extend(children);
        if ours.len() == before {
            break;
        }
    }
    all.iter()
        .filter(|stat| ours.contains(&stat.pid))
        .map(|stat| Member { pid: stat.pid, is_zombie: stat.is_zombie() })
        .collect()
}

/// What these processes use together; `None` if none of them could be read.
#[must_use]
pub fn usage(pids: &[i32]) -> Option<Usage> {
    let mut total = Usage::default();
    for stat in pids.iter().filter_map(|pid| Stat::of(*pid)) {
        if stat.is_zombie() {
            continue;
        }
        total.rss_bytes += stat.rss_bytes;
        total.rss_peak_bytes += peak_of(stat.pid).unwrap_or(stat.rss_bytes);
        total.cpu_s += stat.cpu_s;
        total.threads += stat.threads;
        total.minor_faults += stat.minor_faults;
        total.major_faults += stat.major_faults;
        let io = storage_of(stat.pid);
        // One that does not say leaves the sum of all unknown.
        let sum = |so_far: Option<u64>, more: Option<u64>| match total.processes {
            0 => more,
            _ => Some(so_far? + more?),
        };
        total.read_bytes = sum(total.read_bytes, io.map(|(read, _)| read));
        total.written_bytes = sum(total.written_bytes, io.map(|(_, written)| written));
        total.processes += 1;
    }
    (total.processes > 0).then_some(total)
}

/// What this process uses; `None` where there is no `/proc`.
#[must_use]
pub fn own_usage() -> Option<Usage> {
    usage(&[i32::try_from(std::process::id()).ok()?])
}

/// Processor time of a process so far, by its own clock; `None` where it has ended, or the system has
/// no such clock.
#[must_use]
pub fn cpu_time(pid: i32) -> Option<Duration> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).ok()?;
        Some(Duration::from(nix::time::clock_gettime(clock).ok()?))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _no_such_clock = pid;
        None
    }
}

/// The command line of a process without its secrets, arguments parted by blanks, at most 200
/// characters; `None` if it cannot be read.
#[must_use]
pub fn command_of(pid: i32) -> Option<String> {
    let text = shown(&std::fs::read(path(pid, "cmdline")).ok()?);
    if !text.is_empty() {
        return Some(text);
    }
    let name = std::fs::read_to_string(path(pid, "comm")).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The words of `/proc/PID/cmdline` as they may be printed and stored. It is most often another
/// llama-server that holds a port, and its key is nobody's business.
fn shown(raw: &[u8]) -> String {
    let words: Vec<String> = raw
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let text = redacted(&words).join(" ");
    // Cut last, so that a key does not show because its flag was cut off.
    text.trim().chars().filter(|c| !c.is_control()).take(SHOWN_CHARACTERS).collect()
}

/// The processes with an environment entry that begins so (`NAME=value…`), zombies and this process
/// left out.
#[must_use]
pub fn marked(variable: &str) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).ok();
    pids()
        .filter(|pid| Some(*pid) != own)
        .filter(|pid| {
            std::fs::read(path(*pid, "environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|entry| entry.starts_with(variable.as_bytes()))
            })
        })
        .collect()
}

pub(super) fn path(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

pub(super) fn pids() -> impl Iterator<Item = i32> {
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/PID/stat` that we need.
struct Stat {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
    cpu_s: f64,
    threads: u32,
    rss_bytes: u64,
    minor_faults: u64,
    major_faults: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::read(pid, &std::fs::read_to_string(path(pid, "stat")).ok()?)
    }

    fn read(pid: i32, text: &str) -> Option<Self> {
        // The name in parentheses may hold blanks and parentheses; fields are counted behind it.
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Field n of proc(5) is at n − 3 here.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            cpu_s: ticks as f64 / ticks_per_second(),
            threads: u32::try_from(number(20)?).ok()?,
            rss_bytes: number(24)? * page_size(),
            minor_faults: number(10)? + number(11)?,
            major_faults: number(12)? + number(13)?,
        })
    }

    fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// `VmHWM`: the largest resident memory of a process so far.
///
/// Not `ru_maxrss`, which on Linux starts at the size of the process that forked it: ours.
fn peak_of(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(path(pid, "status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Bytes that a process had fetched from storage and sent to it; `None` if it may not be known.
fn storage_of(pid: i32) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(path(pid, "io")).ok()?;
    let number = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok()
    };
    Some((number("read_bytes:")?, number("write_bytes:")?))
}

fn page_size() -> u64 {
    system_value(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096)
}

fn ticks_per_second() -> f64 {
    system_value(nix::unistd::SysconfVar::CLK_TCK).unwrap_or(100) as f64
}

fn system_value(variable: nix::unistd::SysconfVar) -> Option<u64> {
    nix::unistd::sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 7 40 40 0 -1 4194560 1 2 3 4 100 50 30 20 20 0 9 0 5 1000 25 18446744073709551615";
        let stat = Stat::read(42, line).expect("readable");
        assert_eq!((stat.state, stat.parent, stat.group, stat.threads), ('S', 7, 40, 9));
        assert_eq!(stat.rss_bytes, 25 * page_size());
        assert!((stat.cpu_s - 200.0 / ticks_per_second()).abs() < 1e-9);
        assert_eq!((stat.minor_faults, stat.major_faults), (1 + 2, 3 + 4));
    }

    #[test]
    fn the_command_line_of_a_stranger_is_shown_without_its_key() {
        let raw = b"llama-server\0--port\08080\0--api-key\0sk-abc\0--hf-token=hf_abc\0-m\0a b\0";
        assert_eq!(shown(raw), "llama-server --port 8080 --api-key *** --hf-token=*** -m a b");
        let long = [&b"x\0"[..], &b"y\0".repeat(SHOWN_CHARACTERS)].concat();
        assert_eq!(shown(&long).chars().count(), SHOWN_CHARACTERS);
        assert_eq!(shown(b""), "");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_something() {
        let usage = own_usage().expect("Linux has /proc");
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes / 2);
        assert!(usage.threads >= 1 && usage.processes == 1);
        let own = i32::try_from(std::process::id()).expect("process numbers fit");
        assert!(command_of(own).is_some());
    }
}
