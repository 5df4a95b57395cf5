//! Asks an executable what it is: runs it with `--help` and with `--version`.
//!
//! Main function: [`probe`]. It starts no server; reading the answers is [`super::capabilities`]'s.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::capabilities::Capabilities;
use super::cause::{self, Cause};
use super::error::{ServerError, seconds};
use super::guard::{Guard, MARK_VARIABLE};
use super::resolve;

/// Builds with GPU backends look for devices even for `--help`, which takes a second or two; a
/// program that ignores `--help` and begins to serve must not hold a run up for long.
const LIMIT: Duration = Duration::from_secs(5);

/// More than any help text (60 kB today); a program that floods its output is cut here.
const MOST_BYTES: u64 = 1 << 20;

/// Runs `program --help` and `program --version`, at the same time, once for each executable.
///
/// With a `guard`, neither outlives us, however we end.
///
/// Both output streams are read, and a non-zero exit is accepted, since builds differ in both. A
/// program that does not answer within the limit is stopped, and its capabilities are unknown, with
/// a warning.
///
/// # Errors
/// If the program cannot run at all: it is missing, not executable, or lacks a shared library.
pub async fn probe(program: &Path, guard: Option<&Guard>) -> Result<Capabilities, ServerError> {
    let stamp = Stamp::of(program);
    if let Some(known) = stamp.as_ref().and_then(Stamp::known) {
        return Ok(known);
    }
    let capabilities = ask_anew(program, guard).await?;
    // An answer that did not come this time may come the next.
    if let Some(stamp) = stamp.filter(|_| capabilities.warnings.is_empty()) {
        stamp.remember(&capabilities);
    }
    Ok(capabilities)
}

/// What tells an executable from the one that it was before: a comparison starts two of them dozens of
/// times, and each need be asked once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Stamp {
    path: PathBuf,
    bytes: u64,
    modified: SystemTime,
    inode: u64,
}

/// Answers of this process.
static KNOWN: Mutex<Vec<(Stamp, Capabilities)>> = Mutex::new(Vec::new());

impl Stamp {
    fn of(program: &Path) -> Option<Self> {
        let about = std::fs::metadata(program).ok()?;
        Some(Self {
            path: program.to_owned(),
            bytes: about.len(),
            modified: about.modified().ok()?,
            inode: about.ino(),
        })
    }

    fn known(&self) -> Option<Capabilities> {
        let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(stamp, _)| stamp == self).map(|(_, found)| found.clone())
    }

    fn remember(self, capabilities: &Capabilities) {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(stamp, _)| stamp.path != self.path);
        known.push((self, capabilities.clone()));
    }
}

async fn ask_anew(program: &Path, guard: Option<&Guard>) -> Result<Capabilities, ServerError> {
    let (help, version) =
        tokio::join!(ask(program, "--help", guard), ask(program, "--version", guard));
    let (help, version) = (help?, version?);

    if let Answer::Printed { text, succeeded: false } = &help {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if cause::of_end(&lines, None, None) == Cause::MissingLibrary {
            let line = lines.iter().find(|line| cause::of_line(line).is_some());
            return Err(ServerError::CannotStart {
                program: program.to_owned(),
                why: line.map_or("a shared library is missing", String::as_str).to_owned(),
                source: None,
            });
        }
    }

    let mut capabilities = Capabilities::read(help.text(), version.text());
    for (flag, answer) in [("--help", &help), ("--version", &version)] {
        if matches!(answer, Answer::TooLate) {
            capabilities.warnings.push(format!(
                "\"{}\" did not answer {flag} within {}; its flags are taken to be those of a current llama-server",
                program.display(),
                seconds(LIMIT),
            ));
        }
    }
    if !capabilities.known() && capabilities.warnings.is_empty() {
        capabilities.warnings.push(format!(
            "the help of \"{}\" lists no flags; they are taken to be those of a current llama-server",
            program.display(),
        ));
    }
    Ok(capabilities)
}

enum Answer {
    Printed { text: String, succeeded: bool },
    TooLate,
}

impl Answer {
    fn text(&self) -> &str {
        match self {
            Answer::Printed { text, .. } => text,
            Answer::TooLate => "",
        }
    }
}

async fn ask(program: &Path, flag: &str, guard: Option<&Guard>) -> Result<Answer, ServerError> {
    let mut child = resolve::retry_while_busy(|| {
        Command::new(program)
            .arg(flag)
            .envs(guard.map(|guard| (MARK_VARIABLE, guard.new_mark())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that what a wrapper script starts can be stopped with it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    })
    .await
    .map_err(|error| resolve::cannot_start(program, error))?;
    let mut group = Group(child.id());

    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let read_and_wait = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (mut stdout, mut stderr) = (stdout.take(MOST_BYTES), stderr.take(MOST_BYTES));
        // A broken read leaves what came before it, which is all there is.
        let _broken = tokio::join!(stdout.read_to_end(&mut out), stderr.read_to_end(&mut err));
        drop((stdout, stderr));
        let status = child.wait().await;
        let mut text = String::from_utf8_lossy(&out).into_owned();
        text.push_str(&String::from_utf8_lossy(&err));
        Answer::Printed { text, succeeded: status.is_ok_and(|status| status.success()) }
    };
    let answer = tokio::time::timeout(LIMIT, read_and_wait).await;
    if answer.is_ok() {
        // Reaped, so its number may belong to somebody else by now.
        group.0 = None;
    }
    Ok(answer.unwrap_or(Answer::TooLate))
}

/// Kills the group of a probed program that was given up, whether it was too late or the caller was
/// cancelled. Dropped before the child is reaped, so that the number is still its own.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            super::process::kill_group(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
