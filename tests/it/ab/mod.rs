//! `bench-ci ab`: what its sessions come to, and several of them taken together. What judges times is in
//! `alone`; what is refused, built, interrupted or no evidence whatever the time is beside it.

mod alone;
mod bisect;
mod builds;
mod evidence;
mod interrupted;
mod refused;
mod sessions;

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bench_ci::artifact::{AB_SCHEMA, ab_json_schema, unexplained_nulls};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Two users, and nothing is shown meanwhile.
const SMALL: [&str; 4] = ["--users", "2", "--progress", "none"];

/// Turns as short as they may be, unless a test asks for others.
const SHORT_ANSWERS: [&str; 2] = ["--max-tokens", "24"];

struct Session {
    folder: tempfile::TempDir,
}

struct Ran {
    exit: i32,
    stderr: String,
    report: Option<Value>,
}

impl Session {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BENCH_CI_CACHE", self.folder.path().join("cache"))
            .arg("ab")
            .args(SMALL)
            .args(["--out-dir", "out"]);
        if !arguments.contains(&"--server") {
            command.args(["--server", "sim"]);
        }
        if !arguments.contains(&SHORT_ANSWERS[0]) {
            command.args(SHORT_ANSWERS);
        }
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        let report = std::fs::read(self.out().join("ab.json"))
            .ok()
            .map(|text| serde_json::from_slice(&text).unwrap());
        if let Some(report) = &report {
            sound(report, &self.out());
        }
        Ran {
            exit: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report,
        }
    }
}

impl Session {
    /// The same, carried on where a busy machine left its budget too short for all pairs.
    fn complete(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.run(arguments);
        for _ in 0..4 {
            let short = |report: &Value| report["design"]["stopped_because"] == "budget";
            if !ran.report.as_ref().is_some_and(short) {
                break;
            }
            let again = if arguments.contains(&"--resume") { &[][..] } else { &["--resume"] };
            ran = self.run(&[arguments, again].concat());
        }
        ran
    }

    /// Played until it comes to a conclusion, three times at most: on a busy machine a comparison may
    /// honestly end without one. A wrong conclusion is one all the same, and has no second try.
    fn concluded(&self, arguments: &[&str]) -> Ran {
        let mut ran = self.complete(arguments);
        for _ in 0..2 {
            let concluded = ["regressed", "improved", "no-regression"];
            if concluded.iter().any(|verdict| report(&ran)["verdict"] == *verdict) {
                break;
            }
            ran = self.complete(arguments);
        }
        ran
    }
}

impl Session {
    /// Waits until so many pairs are on disk.
    fn wait_for(&self, child: &mut Child, wanted: usize) {
        let state = self.out().join("ab-state.json");
        let pairs = || {
            let text = std::fs::read(&state).ok()?;
            let state: Value = serde_json::from_slice(&text).ok()?;
            Some(state["pairs"].as_array()?.len())
        };
        let begun = Instant::now();
        while pairs().is_none_or(|pairs| pairs < wanted) {
            assert!(begun.elapsed() < Duration::from_secs(180), "{wanted} pairs never came");
            assert!(child.try_wait().unwrap().is_none(), "it ended before {wanted} pairs");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kept(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.out().join("ab.json")).unwrap()).unwrap()
    }
}

/// What holds of every `ab.json`.
fn sound(report: &Value, out: &Path) {
    let validator = jsonschema::validator_for(&ab_json_schema()).unwrap();
    let violations: Vec<String> =
        validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert_eq!(violations, [""; 0]);
    assert_eq!(unexplained_nulls(report), [""; 0]);
    assert_eq!(report["schema"], AB_SCHEMA);
    assert!(out.join("ab.md").is_file());
    for trial in report["trials"].as_array().unwrap() {
        let folder = out.join(trial["folder"].as_str().unwrap());
        assert!(folder.join("trial.json").is_file(), "{folder:?}");
        assert!(folder.join("requests.jsonl").is_file(), "{folder:?}");
    }
}

fn report(ran: &Ran) -> &Value {
    ran.report.as_ref().unwrap_or_else(|| panic!("no ab.json: {}", ran.stderr))
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}
