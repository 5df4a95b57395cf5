//! The child itself: spawned, signalled and reaped.
//!
//! Main type: [`Process`]. Each child has one thread of ours that forks it, waits for it and reaps
//! it. The thread lives exactly as long as the child because `PR_SET_PDEATHSIG` fires when the
//! *thread* that forked ends, not the process: forked from a pool thread, a server could be killed in
//! the middle of a run when the pool shrinks. This room does not know what the child serves.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::sync::{oneshot, watch};

use crate::cancel::Cancel;
use crate::event::Events;
use crate::plan::Secret;

use super::guard::{self, Guard, MARK_VARIABLE};
use super::log::{Log, Tail};
use super::proc;
use super::running::{Ending, ServerExit};

/// How long processes of the group may take to disappear after SIGKILL; only uninterruptible
/// system calls (a broken network disk, a GPU driver) take longer than milliseconds.
const DISAPPEAR: Duration = Duration::from_secs(5);

/// A child in its own process group.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Just before the fork.
    pub(super) spawned: Instant,
    pub(super) tail: Tail,
    shared: Arc<Shared>,
    exit: watch::Receiver<Option<ServerExit>>,
}

/// What the reaping thread and the others share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The number may belong to somebody else: no more signals.
    reaped: bool,
    /// The leader has ended; its group is being cleared, which does its own killing.
    leader_ended: bool,
    /// When a stop was asked for, and how long it may take.
    asked: Option<(Instant, Duration)>,
    killed: bool,
    rss_peak_bytes: Option<u64>,
    cpu_s: f64,
}

/// What is to be spawned.
pub(super) struct Spawn<'a> {
    pub(super) program: &'a Path,
    pub(super) args: &'a [String],
    /// Besides our own environment.
    pub(super) env: &'a [(String, Secret)],
    pub(super) log: File,
    pub(super) events: Option<Events>,
    /// Not to be read in its log.
    pub(super) secrets: Vec<Secret>,
    pub(super) guard: Option<Guard>,
}

impl Process {
    /// Forks and executes.
    ///
    /// # Errors
    /// What the operating system said to the pipe, the thread, the fork or the execution.
    pub(super) async fn spawn(spawn: Spawn<'_>) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let tail = Tail::default();
        let log = Log::start(reader, spawn.log, tail.clone(), spawn.events, spawn.secrets)?;

        let mut command = Command::new(spawn.program);
        command
            .args(spawn.args)
            .envs(spawn.env.iter().map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let guard = spawn.guard.map(|guard| {
            let mark = guard.new_mark();
            command.env(MARK_VARIABLE, &mark);
            (guard, mark)
        });
        die_with_parent(&mut command);

        let shared = Arc::new(Shared::default());
        let (tell_exit, exit) = watch::channel(None);
        let (tell_start, started) = oneshot::channel();
        let reaper = Reaper { shared: Arc::clone(&shared), guard, log };
        std::thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || reaper.run(command, tell_start, &tell_exit))?;
        let (pid, spawned) =
            started.await.map_err(|_| io::Error::other("the thread that starts it ended"))??;
        Ok(Self { pid, spawned, tail, shared, exit })
    }

    /// How it ended, if it has.
    pub(super) fn exited(&self) -> Option<ServerExit> {
        self.exit.borrow().clone()
    }

    /// Completes when it has ended and is reaped, and its log is complete.
    pub(super) async fn wait(&mut self) -> ServerExit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().expect("waited until there is one"),
            Err(_) => unreachable!("the reaping thread tells the exit before it ends"),
        }
    }

    /// SIGINT to the group; what is left after `grace`, or when `cancel` is hurried, is killed;
    /// completes when all are gone.
    pub(super) async fn stop(&mut self, grace: Duration, cancel: &Cancel) -> ServerExit {
        self.sample();
        {
            let mut state = self.shared.lock();
            // One that has ended by itself was not asked, even if that is not told yet.
            if !state.leader_ended {
                state.asked.get_or_insert((Instant::now(), grace));
                kill_group(self.pid, Signal::SIGINT);
            }
        }
        tokio::select! {
            exit = self.wait() => return exit,
            () = tokio::time::sleep(grace) => {}
            () = cancel.hurried() => self.shared.end_grace(),
        }
        if !self.shared.lock().leader_ended {
            self.kill();
        }
        self.wait().await
    }

    /// SIGKILL to the group, at once.
    pub(super) fn kill(&self) {
        let mut state = self.shared.lock();
        if !state.reaped {
            state.asked.get_or_insert((Instant::now(), Duration::ZERO));
            state.killed = true;
            kill_group(self.pid, Signal::SIGKILL);
        }
    }

    /// What the group uses now; remembered for the exit. `None` where it cannot be seen.
    pub(super) fn sample(&self) -> Option<proc::Usage> {
        self.shared.sample(self.pid)
    }

    /// For samplers that live elsewhere.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only for panics and cancelled futures; every other way has stopped it before.
        if self.exited().is_none() {
            self.kill();
            let until = Instant::now() + DISAPPEAR;
            while self.exited().is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl Shared {
    /// What the group of `leader` uses now; `None` once it is reaped or where it cannot be seen.
    pub(super) fn sample(&self, leader: i32) -> Option<proc::Usage> {
        let pids: Vec<i32> = proc::members(leader).iter().map(|member| member.pid).collect();
        self.sample_of(&pids)
    }

    /// The same, for processes that are known already.
    pub(super) fn sample_of(&self, pids: &[i32]) -> Option<proc::Usage> {
        if self.lock().reaped {
            return None;
        }
        let usage = proc::usage(pids)?;
        let mut state = self.lock();
        state.rss_peak_bytes = state.rss_peak_bytes.max(Some(usage.rss_peak_bytes));
        state.cpu_s = state.cpu_s.max(usage.cpu_s);
        Some(usage)
    }

    /// What is left of the group need not be waited for any longer.
    fn end_grace(&self) {
        if let Some((_, grace)) = &mut self.lock().asked {
            *grace = Duration::ZERO;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread of one child.
struct Reaper {
    shared: Arc<Shared>,
    /// With the mark of this child.
    guard: Option<(Guard, String)>,
    log: Log,
}

impl Reaper {
    fn run(
        self,
        mut command: Command,
        tell_start: oneshot::Sender<io::Result<(i32, Instant)>>,
        tell_exit: &watch::Sender<Option<ServerExit>>,
    ) {
        let spawned = Instant::now();
        // The handle is not used to wait: that would reap, and free the number, without the lock.
        let child = spawn_unless_busy(&mut command);
        // The command holds the writing end of the log's pipe.
        drop(command);
        let pid = match child {
            Ok(child) => i32::try_from(child.id()).expect("process numbers are positive i32"),
            Err(error) => {
                self.log.finish();
                // The caller has gone away if nobody receives it, and there is nothing to stop.
                let _nobody_waits = tell_start.send(Err(error));
                return;
            }
        };
        if let Some((guard, _)) = &self.guard {
            guard.watch(pid);
        }
        if tell_start.send(Ok((pid, spawned))).is_err() {
            // Cancelled while starting: nobody will ever stop it.
            self.shared.lock().killed = true;
            kill_group(pid, Signal::SIGKILL);
        }

        wait_without_reaping(pid);
        let died_by_itself = {
            let mut state = self.shared.lock();
            state.leader_ended = true;
            state.asked.is_none()
        };
        let leftovers = self.clear_group(pid);
        if let Some((guard, _)) = &self.guard {
            guard.release(pid);
        }
        let (status, usage) = {
            let mut state = self.shared.lock();
            let reaped = reap(pid);
            state.reaped = true;
            reaped
        };
        self.log.finish();

        let state = self.shared.lock();
        let ending = match (died_by_itself, state.killed || leftovers > 0) {
            (true, _) => Ending::Died,
            (false, true) => Ending::Killed,
            (false, false) => Ending::Asked,
        };
        let signal = libc::WIFSIGNALED(status).then(|| signal_name(libc::WTERMSIG(status)));
        let exit = ServerExit {
            status: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal,
            how: ending,
            rss_peak_bytes: state.rss_peak_bytes,
            cpu_s: state.cpu_s.max(usage),
            alive_s: spawned.elapsed().as_secs_f64(),
            stop_s: state.asked.map(|(at, _)| at.elapsed().as_secs_f64()),
            leftovers,
        };
        drop(state);
        tell_exit.send_replace(Some(exit));
    }

    /// The leader has ended (and is not yet reaped, so that the group's number is still its own):
    /// what is left of its group gets the rest of the grace period, then SIGKILL.
    ///
    /// Returns how many processes had to be killed.
    fn clear_group(&self, leader: i32) -> u32 {
        let others = || {
            proc::members(leader)
                .into_iter()
                .filter(|member| member.pid != leader && !member.is_zombie)
                .map(|member| member.pid)
                .collect::<Vec<i32>>()
        };
        // Asked anew each time: a hurry shortens it.
        let patient = || {
            let asked = self.shared.lock().asked;
            asked.is_some_and(|(at, grace)| Instant::now() < at + grace)
        };
        let mut left = others();
        while !left.is_empty() && patient() {
            std::thread::sleep(Duration::from_millis(2));
            left = others();
        }
        // Where processes cannot be listed this still reaches them; a zombie does not mind.
        kill_group(leader, Signal::SIGKILL);
        let killed = left.len();
        let until = Instant::now() + DISAPPEAR;
        while !left.is_empty() && Instant::now() < until {
            for pid in &left {
                kill_one(*pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(1));
            left = others();
        }
        if let Some((_, mark)) = &self.guard {
            guard::kill_marked(mark);
        }
        u32::try_from(killed).unwrap_or(u32::MAX)
    }
}

/// `SIGKILL` and the like; a number where there is no name (real-time signals).
fn signal_name(number: i32) -> String {
    Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// Sends a signal to a whole process group. That the group is gone already is no error.
pub(super) fn kill_group(group: i32, signal: Signal) {
    // 0 and 1 would mean ourselves and everybody.
    if group > 1 {
        let _gone_already = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), signal);
    }
}

/// Sends a signal to one process. That it is gone already is no error.
pub(super) fn kill_one(pid: i32, signal: Signal) {
    if pid > 1 {
        let _gone_already = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

/// A file that was written a moment ago can still be open for writing elsewhere.
fn spawn_unless_busy(command: &mut Command) -> io::Result<std::process::Child> {
    for _ in 0..25 {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
    command.spawn()
}

/// Has the kernel kill the child when the forking thread ends, and gives it the default reaction to
/// the signals that stop it (a shell's background job ignores SIGINT, and its children inherit that).
fn die_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    let parent = nix::unistd::getpid();
    let prepare = move || {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
            react(signal, SigHandler::SigDfl)?;
        }
        #[cfg(target_os = "linux")]
        {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // We may have ended between the fork and that call; then nobody would kill it.
            if nix::unistd::getppid() != parent {
                return Err(io::Error::from(nix::errno::Errno::ESRCH));
            }
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "the closure runs between fork and exec and makes only async-signal-safe system calls"
    )]
    // SAFETY: sigaction, prctl and getppid are async-signal-safe; nothing allocates or locks.
    unsafe {
        command.pre_exec(prepare);
    }
}

/// The guard must live until its pipe closes.
pub(super) fn ignore_stop_signals() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        // These signals can always be ignored.
        let _always_works = react(signal, SigHandler::SigIgn);
    }
}

fn react(signal: Signal, handler: SigHandler) -> io::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    #[expect(unsafe_code, reason = "installing a signal action is unsafe in general")]
    // SAFETY: the default action and ignoring run no code of ours.
    unsafe {
        sigaction(signal, &action)?;
    }
    Ok(())
}

/// Waits until the child has ended, and leaves it as a zombie, so that its number stays its own.
fn wait_without_reaping(pid: i32) {
    let id = libc::id_t::try_from(pid).expect("process numbers are positive");
    loop {
        #[expect(unsafe_code, reason = "nix has waitid on some systems only")]
        // SAFETY: `siginfo_t` is plain memory, and the call only writes into it.
        let result = unsafe {
            let mut what: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, id, &raw mut what, libc::WEXITED | libc::WNOWAIT)
        };
        if result == 0 || nix::errno::Errno::last() != nix::errno::Errno::EINTR {
            return;
        }
    }
}

/// Reaps the child: its raw wait status, and its CPU time in seconds (user and system, with
/// children that it waited for).
fn reap(pid: i32) -> (i32, f64) {
    #[expect(unsafe_code, reason = "wait4 is the one call that tells what a child used")]
    // SAFETY: both out-parameters are plain memory that the call writes into.
    let (status, usage) = unsafe {
        let mut status = 0;
        let mut usage: libc::rusage = std::mem::zeroed();
        while libc::wait4(pid, &raw mut status, 0, &raw mut usage) < 0
            && nix::errno::Errno::last() == nix::errno::Errno::EINTR
        {}
        (status, usage)
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (status, seconds(usage.ru_utime) + seconds(usage.ru_stime))
}
