//! The child dies with us, however we die: a second process that outlives us by a moment.
//!
//! Main types: [`Guard`], our end, and [`guard_main`], the whole life of the other process (this
//! binary again, as `bench-ci __guard`). The kernel's own means, `PR_SET_PDEATHSIG`, reaches only
//! the process that we started ourselves; a wrapper script's llama-server would live on. So the
//! guard reads a pipe whose other end only we hold. When we end, by `kill -9` too, the kernel closes
//! it, and the guard kills
//!
//! 1. the process groups that were started and not yet reaped, and
//! 2. every process whose environment carries our mark, which even a `setsid` does not shed.
//!
//! The guard has its own process group (Ctrl-C in a terminal does not reach it), ignores SIGINT,
//! SIGTERM and SIGHUP, holds none of our other files (a CI step whose output is a pipe ends when we
//! end), and is gone when the [`Guard`] is dropped. It does not start, watch or restart anything.

use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{proc, process};

/// The hidden subcommand under which main calls [`guard_main`].
pub const GUARD_COMMAND: &str = "__guard";

/// The environment variable that marks every process that a server, or a build of one, starts.
pub const MARK_VARIABLE: &str = "BENCH_CI_SERVER";

/// Our end of the pipe. Cheap to clone; the guard process ends with the last clone.
#[derive(Debug, Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

/// All guards of this process, for [`Guard::kill_all`].
static GUARDS: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Inner {
    /// What all marks of this guard begin with.
    mark: String,
    marks: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// `None` once dropping.
    pipe: Option<ChildStdin>,
    watched: Vec<i32>,
}

impl Guard {
    /// Starts the guard: this binary again.
    ///
    /// # Errors
    /// If no process can be started. A run can go on without a guard: the kernel still kills the
    /// direct child with us.
    pub fn start() -> std::io::Result<Self> {
        let own = super::resolve::own_executable()?;
        Self::start_as(&own, &[GUARD_COMMAND])
    }

    /// Starts the guard as another program that calls [`guard_main`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_as(program: &Path, args: &[&str]) -> std::io::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .env_remove(MARK_VARIABLE)
            .process_group(0)
            .spawn()?;
        let mut pipe = child.stdin.take().expect("stdin is piped");
        let mark = format!("{}-{:016x}", std::process::id(), unguessable());
        // A guard that is already gone is noticed by nobody but the kernel; see `start`.
        let _guard_is_gone = writeln!(pipe, "mark {mark}");
        let state = State { child, pipe: Some(pipe), watched: Vec::new() };
        let inner = Arc::new(Inner { mark, marks: AtomicU64::new(0), state: Mutex::new(state) });
        let mut guards = all_guards();
        guards.retain(|guard| guard.strong_count() > 0);
        guards.push(Arc::downgrade(&inner));
        drop(guards);
        Ok(Self { inner })
    }

    /// Has every guard of this process kill what it watches, now, and waits until that is done: for
    /// leaving at once without leaving a server behind. Nothing may be started afterwards.
    pub fn kill_all() {
        let guards: Vec<Arc<Inner>> = all_guards().iter().filter_map(Weak::upgrade).collect();
        for guard in guards {
            let mut state = guard.lock();
            drop(state.pipe.take());
            // Its exit status says nothing that anybody could act on.
            let _status = state.child.wait();
        }
    }

    /// A value of [`MARK_VARIABLE`] for one child and everything that it starts; a new one each time.
    #[must_use]
    pub fn new_mark(&self) -> String {
        let number = self.inner.marks.fetch_add(1, Ordering::Relaxed);
        // The slash at the end keeps child 1 apart from child 10.
        format!("{}/{number}/", self.inner.mark)
    }

    /// The guard's process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.lock().child.id()
    }

    /// From now on this process group dies with us.
    pub(super) fn watch(&self, group: i32) {
        let mut state = self.inner.lock();
        state.watched.push(group);
        state.tell(&format!("watch {group}"));
    }

    /// The group is gone. Call it before its leader is reaped, while the number is still its own.
    pub(super) fn release(&self, group: i32) {
        let mut state = self.inner.lock();
        state.watched.retain(|watched| *watched != group);
        state.tell(&format!("release {group}"));
    }
}

fn all_guards() -> MutexGuard<'static, Vec<Weak<Inner>>> {
    // A list of weak pointers cannot be left half changed.
    GUARDS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.pipe {
            // If the guard is gone, the direct child still dies with us by the kernel's hand.
            let _guard_is_gone = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // With nothing left to kill it need not look; otherwise closing the pipe lets it.
        if state.watched.is_empty() {
            state.tell("done");
        }
        drop(state.pipe.take());
        // Its exit status says nothing that anybody could act on.
        let _status = state.child.wait();
    }
}

/// 64 bits that differ between two runs, from the keys that the standard library gets from the
/// system for its hash maps. The mark must be unique, not secret.
fn unguessable() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The whole life of the guard process: reads lines from standard input until it ends, then kills.
///
/// Lines: `mark VALUE`, `watch GROUP`, `release GROUP`, and `done`, after which nothing is killed.
#[must_use]
pub fn guard_main() -> std::process::ExitCode {
    process::ignore_stop_signals();
    let mut mark = None;
    let mut groups: Vec<i32> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        match line.split_once(' ') {
            Some(("mark", value)) => mark = Some(format!("{value}/")),
            Some(("watch", group)) => groups.extend(group.parse::<i32>().ok()),
            Some(("release", group)) => {
                let group = group.parse().ok();
                groups.retain(|watched| Some(*watched) != group);
            }
            _ if line == "done" => return std::process::ExitCode::SUCCESS,
            _ => {}
        }
    }
    for group in &groups {
        process::kill_group(*group, Signal::SIGKILL);
    }
    if let Some(mark) = mark {
        kill_marked(&mark);
    }
    std::process::ExitCode::SUCCESS
}

/// Kills every process whose mark begins so, again and again, since one may be forking just now.
pub(super) fn kill_marked(mark: &str) {
    const ROUNDS: u32 = 100;
    let variable = format!("{MARK_VARIABLE}={mark}");
    for _ in 0..ROUNDS {
        let marked = proc::marked(&variable);
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            process::kill_one(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
