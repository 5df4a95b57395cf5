//! A server from its start to its exit.
//!
//! Main types: [`Launch`], what [`start`] needs; [`RunningServer`], what it gives; [`ServerExit`], how
//! it ended. It does not send load and does not read metrics.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cancel::Cancel;
use crate::event::Events;
use crate::plan::{Secret, ServerSpec};
use crate::scrape::http::ControlPlane;

use super::capabilities::{Capabilities, Version};
use super::cause::{self, Cause};
use super::command::{self, ServerCommand};
use super::error::ServerError;
use super::guard::Guard;
use super::health::{self, Unready};
use super::ports::{self, Owner, Stranger};
use super::proc::{self, Usage};
use super::process::{Process, Shared, Spawn};
use super::resolve::{self, Program};

/// How often a picked port may turn out to be taken before we give up.
const PORT_ATTEMPTS: u32 = 5;

/// Lines of the log in a message: enough for llama-server's last words, few enough to be read.
const SHOWN_LINES: usize = 6;

/// What is needed to start a server.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// What the user asked for.
    pub spec: &'a ServerSpec,
    /// The executable, from [`super::resolve_program`].
    pub program: &'a Program,
    /// The model; `None` where none is needed, or where the further arguments name it.
    pub model: Option<&'a Path>,
    /// From [`super::probe()`], or [`Capabilities::of_simulator`].
    pub capabilities: &'a Capabilities,
    /// Where everything that the server writes is kept; made anew.
    pub log: &'a Path,
    /// The first key of `LLAMA_API_KEY`, which the server inherits and obeys.
    pub inherited_api_key: Option<Secret>,
    /// What else is sent or handed on to it and must not be read in its log.
    pub secrets: Vec<Secret>,
    /// Told each line of the log as an event; `None` tells nobody.
    pub log_events: Option<Events>,
    /// Has the server die with us; without it only the kernel's hand on the direct child does.
    pub guard: Option<Guard>,
}

/// A server that is ours, owns its port, and has answered `/health` with 200.
///
/// Dropping it kills its whole process group and waits until it is reaped; that is for panics, every
/// other way should [`RunningServer::stop`] it.
#[derive(Debug)]
pub struct RunningServer {
    /// Such as `http://127.0.0.1:8080`; no slash at the end.
    pub base_url: String,
    /// The key with which it must be asked, if it wants one.
    pub api_key: Option<Secret>,
    /// Its process and process group.
    pub pid: u32,
    /// Seconds from spawn until it listened on its port; `None` where the system does not say.
    pub listening_s: Option<f64>,
    /// Seconds from spawn until `/health` said 200. Includes up to a few ms of our polling.
    pub healthy_s: f64,
    /// What the build says about itself; `None` if it does not.
    pub version: Option<Version>,
    /// Its command line; show [`ServerCommand::display_redacted`].
    pub command: ServerCommand,
    /// Its whole log.
    pub log: PathBuf,
    /// What was adapted, left out or not found out, in words for the report.
    pub warnings: Vec<String>,
    stop_grace: Duration,
    process: Process,
    /// Goes after the process.
    _socket_file: Option<SocketFile>,
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerExit {
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// Name of the signal that ended it, such as `SIGKILL`; `None` if it exited.
    pub signal: Option<String>,
    /// Who began it.
    pub how: Ending,
    /// Largest resident memory of its processes together, in bytes, as of the last sample before the
    /// end; `None` if it was never sampled (no `/proc`, or dead before it was healthy).
    pub rss_peak_bytes: Option<u64>,
    /// CPU time, user and system, in seconds: the larger of what the system says at reaping and of
    /// the last sample of all its processes.
    pub cpu_s: f64,
    /// Seconds from spawn to reaped.
    pub alive_s: f64,
    /// Seconds from the request to stop until all were gone; `None` if it ended by itself.
    pub stop_s: Option<f64>,
    /// Processes of its group that had to be killed after it had ended itself.
    pub leftovers: u32,
}

/// Who began the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// We asked (SIGINT), and it went within its grace period.
    Asked,
    /// We asked, and it, or a process of its group, did not go until it was killed.
    Killed,
    /// It ended by itself, or somebody else ended it.
    Died,
}

impl ServerExit {
    /// The end in words, such as `exited with status 1` or `was killed by SIGSEGV`.
    #[must_use]
    pub fn words(&self) -> String {
        match (&self.signal, self.status) {
            (Some(signal), _) => format!("was killed by {signal}"),
            (None, Some(status)) => format!("exited with status {status}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

/// Starts a server and waits until it is ready.
///
/// Everything is stopped and reaped before an error is returned. A port that we picked and somebody
/// else took in the meantime is replaced by another, a few times.
///
/// # Errors
/// Every way in which there is no healthy server; see [`ServerError`].
pub async fn start(launch: &Launch<'_>, cancel: &Cancel) -> Result<RunningServer, ServerError> {
    let (spec, capabilities) = (launch.spec, launch.capabilities);
    let host = command::listen_host(spec, capabilities).to_owned();
    if let Some(path) = command::socket_of(&host) {
        if Path::new(path).exists() {
            return Err(ServerError::SocketTaken { path: path.into() });
        }
        // The port is given to it all the same, and means nothing.
        let log = create_log(launch.log)?;
        return start_once(launch, spec.port.max(1), &log, cancel).await;
    }
    let fixed = command::fixed_port(spec, capabilities);
    if let Some(port) = fixed {
        check_free(&host, port)?;
    }
    let log = create_log(launch.log)?;

    let mut attempt = 1;
    loop {
        let port = match fixed {
            Some(port) => port,
            None => ports::free(&host)
                .map_err(|source| ServerError::NoFreePort { host: host.clone(), source })?,
        };
        match start_once(launch, port, &log, cancel).await {
            Err(
                // The one is seen in the system's tables, the other read from the child's last words.
                ServerError::PortTaken { .. }
                | ServerError::DiedEarly { cause: Cause::PortTaken, .. },
            ) if fixed.is_none() && attempt < PORT_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// A taken port is said before a model is loaded for nothing.
fn check_free(host: &str, port: u16) -> Result<(), ServerError> {
    match ports::is_free(host, port) {
        Ok(true) => Ok(()),
        Ok(false) => Err(taken(host, port, stranger_on(host, port))),
        // The server itself says best what is wrong with an address; but not with a permission.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(ServerError::Misuse {
                problem: format!("not permitted to listen on port {port}"),
                cure: "choose a --port above 1023, or leave it out to get a free one".to_owned(),
            })
        }
        Err(_) => Ok(()),
    }
}

fn taken(host: &str, port: u16, stranger: Option<Stranger>) -> ServerError {
    ServerError::PortTaken { host: host.to_owned(), port, stranger }
}

fn stranger_on(host: &str, port: u16) -> Option<Stranger> {
    match ports::owner_of(host, port, None) {
        Owner::Stranger(stranger) => Some(stranger),
        Owner::Nobody | Owner::Ours | Owner::Unknown => None,
    }
}

fn create_log(path: &Path) -> Result<File, ServerError> {
    let failed = |source| ServerError::Log { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Appending, so that two attempts do not write over each other.
    let options = OpenOptions::new().append(true).create(true).clone();
    let file = options.open(path).map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    Ok(file)
}

async fn start_once(
    launch: &Launch<'_>,
    port: u16,
    log: &File,
    cancel: &Cancel,
) -> Result<RunningServer, ServerError> {
    let spec = launch.spec;
    let command = command::build(spec, launch.program, launch.model, launch.capabilities, port)?;
    let api_key = command
        .api_key
        .clone()
        .or_else(|| first_key(command.api_key_file.as_deref()?))
        .or_else(|| launch.inherited_api_key.clone());
    let control = ControlPlane::of_child(&command.base_url, api_key.as_ref())
        .map_err(|source| ServerError::Client { base_url: command.base_url.clone(), source })?;

    let socket_file = command.socket.clone().map(SocketFile);
    let log = log
        .try_clone()
        .map_err(|source| ServerError::Log { path: launch.log.to_owned(), source })?;
    let mut process = Process::spawn(Spawn {
        program: &command.program,
        args: &command.args,
        env: &spec.env,
        log,
        events: launch.log_events.clone(),
        secrets: secrets(launch, &command, api_key.as_ref()),
        guard: launch.guard.clone(),
    })
    .await
    .map_err(|error| resolve::cannot_start(&command.program, error))?;

    let ready =
        health::wait_until_ready(&mut process, &command, &control, spec.start_timeout, cancel)
            .await;
    let ready = match ready {
        Ok(ready) => ready,
        Err(Unready::Died(exit)) => return Err(died_early(launch, &command, &process, &exit)),
        Err(unready) => {
            // Its words about the stop that follows are not those that explain anything.
            let lines = process.tail.last(SHOWN_LINES);
            // An impatient caller drops this future, which kills.
            process.stop(spec.stop_grace, cancel).await;
            return Err(match unready {
                Unready::PortTaken(stranger) => {
                    taken(&command.listen_host, command.port, Some(stranger))
                }
                Unready::TooLate { last_seen } => ServerError::NeverHealthy {
                    limit: spec.start_timeout,
                    last_seen,
                    lines,
                    log: launch.log.to_owned(),
                },
                Unready::Cancelled(reason) => ServerError::Cancelled { reason },
                Unready::Died(_) => unreachable!("answered above"),
            });
        }
    };

    let mut warnings = launch.capabilities.warnings.clone();
    warnings.extend(command.warnings.iter().cloned());
    if !ready.owned {
        warnings.push(format!(
            "could not check that port {} belongs to the server that was started",
            command.port
        ));
    }
    // A first figure of its memory, in case it dies before the first sample.
    process.sample();
    Ok(RunningServer {
        base_url: command.base_url.clone(),
        api_key,
        pid: u32::try_from(process.pid).expect("process numbers are positive"),
        listening_s: ready.listening.map(|duration| duration.as_secs_f64()),
        healthy_s: ready.healthy.as_secs_f64(),
        version: launch.capabilities.version.clone(),
        command,
        log: launch.log.to_owned(),
        warnings,
        stop_grace: spec.stop_grace,
        process,
        _socket_file: socket_file,
    })
}

/// Everything that must not be read in its log.
fn secrets(launch: &Launch<'_>, command: &ServerCommand, api_key: Option<&Secret>) -> Vec<Secret> {
    let typed = command::secrets_in(&command.args);
    typed.into_iter().chain(api_key.cloned()).chain(launch.secrets.iter().cloned()).collect()
}

/// The file of a Unix socket that our child makes; servers leave it behind.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone, or never have been made: then there is nothing to do.
        drop(std::fs::remove_file(&self.0));
    }
}

fn died_early(
    launch: &Launch<'_>,
    command: &ServerCommand,
    process: &Process,
    exit: &ServerExit,
) -> ServerError {
    if let Some(why) = resolve::why_not_executable(&command.program) {
        return ServerError::CannotStart { program: command.program.clone(), why, source: None };
    }
    let telling = process.tail.telling();
    let cause = cause::of_end(&telling, exit.status, exit.signal.as_deref());
    if cause == Cause::PortTaken
        && let Some(stranger) = stranger_on(&command.listen_host, command.port)
    {
        return taken(&command.listen_host, command.port, Some(stranger));
    }
    ServerError::DiedEarly {
        how: exit.words(),
        after: Duration::from_secs_f64(exit.alive_s),
        cause,
        lines: shown_lines(&telling, process.tail.last(SHOWN_LINES)),
        log: launch.log.to_owned(),
    }
}

/// The last lines, and before them the first telling one if it is not among them.
fn shown_lines(telling: &[String], last: Vec<String>) -> Vec<String> {
    let first = telling.first().filter(|line| !last.contains(line));
    first.cloned().into_iter().chain(last).collect()
}

fn first_key(path: &Path) -> Option<Secret> {
    let text = std::fs::read_to_string(path).ok()?;
    let key =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Some(Secret::new(key.to_owned()))
}

impl RunningServer {
    /// Completes when the server has ended without being asked; never while it runs. For `select!`
    /// beside the load.
    pub async fn died(&mut self) -> ServerExit {
        self.process.wait().await
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exited(&self) -> Option<ServerExit> {
        self.process.exited()
    }

    /// Stops it: SIGINT to its group, the grace period, SIGKILL to what is left; returns when all are
    /// gone and the log is complete. A server that had died already is told from one that was asked
    /// by [`ServerExit::how`].
    pub async fn stop(self) -> ServerExit {
        self.stop_unless_hurried(&Cancel::never()).await
    }

    /// The same; when [`Cancel::hurried`] completes, the grace period is over.
    pub async fn stop_unless_hurried(mut self, cancel: &Cancel) -> ServerExit {
        self.process.stop(self.stop_grace, cancel).await
    }

    /// The last lines of its log, oldest first, at most 50.
    #[must_use]
    pub fn last_log_lines(&self, count: usize) -> Vec<String> {
        self.process.tail.last(count)
    }

    /// Why the log file is not complete (a full disk), if it is not.
    #[must_use]
    pub fn log_error(&self) -> Option<String> {
        self.process.tail.write_error()
    }

    /// A death in words, with its cause if the log tells it: for the report of a run in which
    /// [`RunningServer::died`] completed.
    #[must_use]
    pub fn death_in_words(&self, exit: &ServerExit) -> String {
        let cause =
            cause::of_end(&self.process.tail.telling(), exit.status, exit.signal.as_deref());
        let words = exit.words();
        match cause.words() {
            // What was written while it started well does not explain a death long after.
            Some(cause) if cause != "it ended by itself instead of serving" => {
                format!("llama-server {words} after {:.1} s: {cause}", exit.alive_s)
            }
            _ => format!("llama-server {words} after {:.1} s", exit.alive_s),
        }
    }

    /// Its processes, for a sampler that lives elsewhere.
    #[must_use]
    pub fn group(&self) -> ServerGroup {
        ServerGroup { leader: self.process.pid, shared: self.process.shared() }
    }
}

/// The clock of the processor time of some processes: nanoseconds, where `/proc` has hundredths.
#[derive(Debug, Clone)]
pub struct CpuClock {
    pids: Vec<i32>,
}

impl CpuClock {
    /// User and system time of all of them so far, children that were waited for left out. `None`
    /// where one has ended or the system has no such clock.
    #[must_use]
    pub fn now(&self) -> Option<Duration> {
        if self.pids.is_empty() {
            return None;
        }
        self.pids.iter().map(|pid| proc::cpu_time(*pid)).sum()
    }
}

/// The processes of a running server, to be sampled from elsewhere; cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerGroup {
    leader: i32,
    shared: Arc<Shared>,
}

impl ServerGroup {
    /// What its processes use now; `None` once it is reaped, or where the system does not say. The
    /// largest memory seen here is the one in [`ServerExit`].
    #[must_use]
    pub fn sample(&self) -> Option<Usage> {
        self.shared.sample(self.leader)
    }

    /// The processes that it has now and that have not ended. To find them, all of the machine are looked at.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let members = proc::members(self.leader);
        members.iter().filter(|member| !member.is_zombie).map(|member| member.pid).collect()
    }

    /// As [`ServerGroup::sample`], of processes that were found by [`ServerGroup::pids`] before.
    #[must_use]
    pub fn sample_of(&self, pids: &[i32]) -> Option<Usage> {
        self.shared.sample_of(pids)
    }

    /// The processor time of the processes that it has now.
    #[must_use]
    pub fn cpu_clock(&self) -> CpuClock {
        CpuClock { pids: proc::members(self.leader).iter().map(|member| member.pid).collect() }
    }
}
