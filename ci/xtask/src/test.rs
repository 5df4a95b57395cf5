//! `cargo xtask test`: everything the tests need, then every test, then sums that can be trusted.
//!
//! Each test binary is asked for its list first and then run by us, in its package's folder like
//! cargo does, so that its list, its summary and its exit status can be held against each other
//! (see [`crate::tally`]). Tests that judge times are played after the others, one at a time. Doctests
//! have no binary and run through cargo.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::parts::{PARTS, Part, Scope};
use crate::shell::{self, shown};
use crate::tally::{self, Seen, Tally};

/// A binary that runs longer than this hangs. The slowest takes a few minutes on two cores.
const TIME_LIMIT: Duration = Duration::from_secs(40 * 60);

/// What the path of a test contains whose assertions are about time: nothing of ours runs beside it.
const ALONE: &str = "alone::";

/// How long after a test binary ends its output may stay open. What holds it open is a process
/// that a test left behind.
const LEFT_OPEN: Duration = Duration::from_secs(15);

/// Runs everything. Every failure is in the tally, and told on the terminal.
pub(crate) fn run(scope: &Scope) -> Tally {
    let mut tally = Tally::default();
    let tell = |step: &str, failure: Failure| {
        eprintln!("{failure}");
        let mut failed = Tally::default();
        failed.step_failed(step);
        failed
    };

    let mut had = Vec::new();
    for part in PARTS.iter().filter(|part| scope.has(part)) {
        match (part.ensure)() {
            Ok(path) => {
                eprintln!("{}: {}", part.name, path.display());
                had.push((part, path));
            }
            // The other tests still say what they have to say; those that need it will fail.
            Err(failure) => tally.add(tell(&format!("getting the real {}", part.name), failure)),
        }
    }

    for package in ["bench-ci", "xtask"] {
        match binaries(package) {
            Ok(binaries) => {
                for binary in binaries {
                    match run_binary(&binary, scope, &had) {
                        Ok(part) => tally.add(part),
                        Err(failure) => tally.add(tell(&binary.name, failure)),
                    }
                }
            }
            Err(failure) => {
                tally.add(tell(&format!("building the tests of {package}"), failure));
            }
        }
    }
    match doctests() {
        Ok(part) => tally.add(part),
        Err(failure) => tally.add(tell("doctests", failure)),
    }
    tally
}

/// A part that could be had, and where it is.
type Had = (&'static Part, PathBuf);

/// A built test executable.
#[derive(Debug, PartialEq, Eq)]
struct TestBinary {
    /// For the reader: `bench-ci (test it)`.
    name: String,
    package: String,
    /// The folder in which its tests expect to run.
    folder: PathBuf,
    executable: PathBuf,
}

/// Builds the test executables of a package.
fn binaries(package: &str) -> Result<Vec<TestBinary>> {
    let mut build = shell::cargo();
    build.args(["test", "--locked", "--no-run", "--package", package]);
    build.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", shown(&build));
    Ok(shell::output(&mut build)?.lines().filter_map(|line| test_binary(package, line)).collect())
}

/// Reads one line of cargo's JSON messages; `None` if it does not announce a test executable.
fn test_binary(package: &str, line: &str) -> Option<TestBinary> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let kind = message["target"]["kind"][0].as_str()?;
    let target = message["target"]["name"].as_str()?;
    let name = format!("{package} ({kind} {target})");
    let folder = manifest.parent()?.to_path_buf();
    Some(TestBinary { name, package: package.to_owned(), folder, executable })
}

impl TestBinary {
    fn command(&self, had: &[Had]) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).stdin(Stdio::null());
        // As under cargo: what our own cargo told us is about xtask.
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        // A file that differs from what is committed is a failure, never a new file.
        command.env("INSTA_UPDATE", "no").env_remove("UPDATE_SCHEMA");
        // In our own CI the tests' runs are none of the job's.
        command.env_remove("GITHUB_ACTIONS");
        for part in &PARTS {
            command.env_remove(part.variable);
        }
        command.envs(had.iter().map(|(part, path)| (part.variable, path)));
        command
    }
}

fn run_binary(binary: &TestBinary, scope: &Scope, had: &[Had]) -> Result<Tally> {
    // The list is of all tests, those that will be left out too.
    let mut list = binary.command(had);
    let list = shell::output(list.args(["--list", "--format", "terse"]))?;
    let (listed, alone) = (tally::count_listed(&list, ""), tally::count_listed(&list, ALONE));
    println!("\n== {}: {listed} tests", binary.name);
    let passes: [(&[&str], u64); 2] =
        [(&["--skip", ALONE], listed - alone), (&[ALONE, "--test-threads=1"], alone)];
    let mut tally = Tally::default();
    for (filter, of_it) in passes.into_iter().filter(|(_, of_it)| *of_it > 0) {
        let mut play = binary.command(had);
        play.args(filter);
        for part in PARTS.iter().filter(|part| !scope.has(part)) {
            play.args(["--skip", part.marker]);
        }
        let ran = watch(&mut play)?;
        tally.add(tally::count(Seen {
            binary: &binary.name,
            listed: Some(of_it),
            elsewhere: listed - of_it,
            output: &ran.output,
            success: ran.success,
        }));
        if ran.left_open {
            tally.step_failed(format!("{}: a test left a process running", binary.name));
        }
    }
    Ok(tally)
}

fn doctests() -> Result<Tally> {
    let mut command = shell::cargo();
    command.args(["test", "--locked", "--doc", "--package", "bench-ci", "--no-fail-fast"]);
    println!("\n== bench-ci (doctests)");
    let ran = watch(&mut command)?;
    Ok(tally::count(Seen {
        binary: "bench-ci (doctests)",
        listed: None,
        elsewhere: 0,
        output: &ran.output,
        success: ran.success,
    }))
}

/// What came of a command whose output was shown while it ran.
struct Ran {
    output: String,
    success: bool,
    /// Its output was still held open by another process after it had ended.
    left_open: bool,
}

/// Runs the command, shows its standard output line by line and keeps it.
fn watch(command: &mut Command) -> Result<Ran> {
    let line = shown(command);
    let cannot = |error| Failure::new(format!("cannot run {line}: {error}"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(cannot)?;
    let stdout = child.stdout.take().expect("standard output was asked for as a pipe");

    let (sender, lines) = mpsc::channel::<Vec<u8>>();
    // Not joined: where a process was left behind it would wait for that one.
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            if sender.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });

    let started = Instant::now();
    let mut output = String::new();
    let mut ended: Option<(Instant, bool)> = None;
    let left_open = loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                print!("{text}");
                output.push_str(&text);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                if let Some((at, _)) = ended
                    && at.elapsed() > LEFT_OPEN
                {
                    break true;
                }
            }
        }
        if ended.is_none() {
            if let Some(status) = child.try_wait().map_err(cannot)? {
                ended = Some((Instant::now(), status.success()));
            } else if started.elapsed() > TIME_LIMIT {
                let limit = TIME_LIMIT.as_secs() / 60;
                eprintln!("error: {line} ran longer than {limit} minutes and is killed");
                child.kill().map_err(cannot)?;
            }
        }
    };
    let success = match ended {
        Some((_, success)) => success,
        None => child.wait().map_err(cannot)?.success(),
    };
    Ok(Ran { output, success, left_open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_executable_is_taken_from_cargos_messages() {
        let test = r#"{"reason":"compiler-artifact","manifest_path":"/r/Cargo.toml","target":{"kind":["test"],"name":"it"},"profile":{"test":true},"executable":"/t/it-1"}"#;
        let found = test_binary("bench-ci", test).expect("a test executable");
        assert_eq!(found.name, "bench-ci (test it)");
        assert_eq!(found.folder, Path::new("/r"));
        assert_eq!(test_binary("bench-ci", &test.replace("\"test\":true", "\"test\":false")), None);
        assert_eq!(test_binary("bench-ci", &test.replace("\"/t/it-1\"", "null")), None);
        assert_eq!(test_binary("bench-ci", "   Compiling bench-ci"), None);
    }

    #[test]
    fn output_is_kept_and_the_exit_status_is_its_own() {
        let ran =
            watch(Command::new("sh").args(["-c", "echo one; echo two; exit 3"])).expect("ran");
        assert_eq!(ran.output, "one\ntwo\n");
        assert!(!ran.success);
        assert!(!ran.left_open);
    }
}
