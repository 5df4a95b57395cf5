//! The life of a whole run, through the real binary: every way to fail, every way to be stopped.
//!
//! Main types: [`Bench`], a folder in which bench-ci runs, [`Live`], a run that can be signalled, and
//! [`Ended`], what is left of it. Every end is checked for the same things: no process, no
//! temporary file, a report that keeps its schema and names the code with which the process left.

mod doctor;
mod failures;
mod real_llama_server;
mod refused;
mod secrets;
mod signals;
mod surroundings;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bench_ci::server::proc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a starved machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Inherited by every process that a run starts, the watchdog too.
const MARK: &str = "LIFECYCLE_TEST";

/// A small run on the simulator. A starved client is no failure here.
const SMALL: &[&str] = &[
    "--server",
    "sim",
    "--max-tokens",
    "4",
    "--warm-up",
    "0",
    "--max-lateness",
    "100",
    "--max-client-delay",
    "100",
    "--n-prompts",
    "4",
];

/// The same with more requests.
const LONGER: &[&str] = &[
    "--server",
    "sim",
    "--max-tokens",
    "4",
    "--warm-up",
    "0",
    "--max-lateness",
    "100",
    "--max-client-delay",
    "100",
    "--n-prompts",
    "20",
];

/// A folder with an `--out-dir`, caches and models of its own.
pub(crate) struct Bench {
    folder: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// An executable script.
    fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// bench-ci with these arguments and a known environment.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        self.known_environment(&mut command);
        command.args(args);
        command
    }

    /// The same through `sh -c`, where `"$@"` is the command line of a run.
    fn shell(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        self.known_environment(&mut command);
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_bench-ci")]);
        command.args(["--out-dir", &self.out().display().to_string()]).args(args);
        command
    }

    fn known_environment(&self, command: &mut Command) {
        let ours = ["SERVER_BENCH_", "GITHUB_", "HF_", "BENCH_CI_", "LLAMA_"];
        for (name, _) in std::env::vars_os() {
            if ours.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env(MARK, self.folder.path())
            .env("HF_HOME", self.path("hub"))
            .env("BENCH_CI_CACHE", self.path("cache"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(self.path("stdout")).unwrap())
            .stderr(File::create(self.path("stderr")).unwrap());
    }

    /// A run with `--out-dir` and these arguments.
    fn run_command(&self, args: &[&str]) -> Command {
        let out = self.out().display().to_string();
        self.command(&[&["--out-dir", &out], args].concat())
    }

    /// Runs to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended<'_> {
        self.start(self.run_command(args)).end()
    }

    /// Begins a run.
    fn begin(&self, args: &[&str]) -> Live<'_> {
        self.start(self.run_command(args))
    }

    fn start(&self, mut command: Command) -> Live<'_> {
        let child = command.spawn().unwrap();
        Live { bench: self, child: Some(child) }
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The processes that a run of this folder started, itself too.
    fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.folder.path().display());
        let describe = |pid: &i32| format!("{pid}: {}", proc::command_of(*pid).unwrap_or_default());
        proc::marked(&mark).iter().map(describe).collect()
    }

    /// All files below `folder`.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }

    /// Waits for what the run itself brings about.
    #[track_caller]
    fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < until,
                "never: {what}\nstderr: {}\nprocesses: {:?}",
                self.read("stderr"),
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A run that has not ended.
pub(crate) struct Live<'a> {
    bench: &'a Bench,
    child: Option<Child>,
}

impl<'a> Live<'a> {
    fn pid(&self) -> Pid {
        let child = self.child.as_ref().expect("it runs");
        Pid::from_raw(i32::try_from(child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Until this stage has begun, as the log of events tells.
    #[track_caller]
    fn until_stage(&self, stage: &str) {
        let begun = format!("\"event\":\"stage_started\",\"stage\":\"{stage}\"");
        self.bench.eventually(&begun, || self.bench.read("out/events.jsonl").contains(&begun));
    }

    #[track_caller]
    fn until_file_has(&self, name: &str, text: &str) {
        self.bench.eventually(&format!("{name} has {text:?}"), || {
            self.bench.path(name).exists() && self.bench.read(name).contains(text)
        });
    }

    /// Waits for its end. What it started must be gone at that very moment.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended<'a> {
        let mut child = self.child.take().expect("it runs");
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it did not end\nstderr: {}", self.bench.read("stderr"));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let left = self.bench.processes();
        let ended = Ended { bench: self.bench, status };
        if status.signal().is_none() {
            assert_eq!(left, Vec::<String>::new(), "processes left\n{}", ended.stderr());
            ended.no_temporary_files();
        }
        ended
    }

    /// Kills bench-ci, and waits until nothing that it started is left.
    #[track_caller]
    fn kill_9(self) -> Ended<'a> {
        self.signal(Signal::SIGKILL);
        let bench = self.bench;
        let ended = self.end();
        bench.eventually("no process is left", || bench.processes().is_empty());
        ended
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        // Only for a test that fails: its watchdog takes the server along.
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A run that is over.
pub(crate) struct Ended<'a> {
    bench: &'a Bench,
    status: ExitStatus,
}

impl Ended<'_> {
    pub(crate) fn stderr(&self) -> String {
        self.bench.read("stderr")
    }

    fn stdout(&self) -> String {
        self.bench.read("stdout")
    }

    /// Left with this code.
    #[track_caller]
    pub(crate) fn code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{:?}\n{}", self.status, self.stderr());
        self
    }

    /// Says each of these on stderr, and what to do about it.
    #[track_caller]
    fn says(&self, words: &[&str]) -> &Self {
        let stderr = self.stderr();
        for word in words {
            assert!(stderr.contains(word), "no {word:?} in:\n{stderr}");
        }
        assert!(stderr.contains("\nhint: ") || stderr.starts_with("hint: "), "no hint:\n{stderr}");
        self
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.bench.read("out/report.json")).expect("report.json is there")
    }

    /// Has a report with this status, of the code with which the process left, that keeps the schema.
    #[track_caller]
    fn reports(&self, status: &str) -> &Self {
        let report = self.report();
        let schema = include_str!("../../../schema/bench-ci.report.1.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let broken: Vec<String> = validator.iter_errors(&report).map(|e| e.to_string()).collect();
        assert_eq!(broken, Vec::<String>::new());
        assert_eq!(
            bench_ci::artifact::unexplained_nulls(&report),
            [""; 0],
            "nulls without a reason"
        );
        let code = self.status.code().expect("it was not killed");
        assert_eq!(report["run"]["exit_code"], code, "{}", report["run"]);
        assert_eq!(report["run"]["status"], status, "{}", report["run"]);
        for cause in report["run"]["causes"].as_array().unwrap() {
            assert!(!cause.as_str().unwrap().contains('\n'), "{cause}");
        }
        let log = self.bench.read("out/requests.jsonl");
        let rows: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).expect("a whole row")).collect();
        let measured = rows.iter().filter(|row| row["phase"] == "measured").count() as u64;
        assert_eq!(measured, report["requests"]["planned"].as_u64().unwrap());
        assert!(!self.bench.path("out/requests.partial.jsonl").exists());
        for file in report["files"].as_array().unwrap() {
            let name = file["name"].as_str().unwrap();
            assert!(self.bench.out().join(name).exists(), "{name} is listed and missing");
        }
        self
    }

    /// report.md begins so, and has these words in its first line.
    #[track_caller]
    fn first_line(&self, word: &str, words: &[&str]) -> &Self {
        let page = self.bench.read("out/report.md");
        let first = page.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("**{word}:** ")), "{first}");
        for word in words {
            assert!(first.contains(word), "no {word:?} in: {first}");
        }
        self
    }

    #[track_caller]
    fn no_temporary_files(&self) {
        let temporary = |path: &Path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
        };
        let left: Vec<PathBuf> =
            self.bench.files("out").into_iter().filter(|path| temporary(path)).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

/// Arguments in front of a `--`.
fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}
