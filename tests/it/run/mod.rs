//! The main job end to end: the real binary as a child process, against the simulator, against
//! strangers, against a Hub, and against the real llama-server.
//!
//! Main types: [`Bench`], a folder of its own for everything that a run reads or writes, and [`Ran`],
//! what came of one run. [`Ran::checked`] holds what must be true of the files of every run.

mod alone;
mod faults;
pub(crate) mod hub;
mod prompts;
mod real_llama_server;
mod shows;
pub(crate) mod stranger;
mod strangers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bench_ci::artifact::unexplained_nulls;
use serde_json::Value;

use crate::report::schema_violations;

/// Reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// Users without a pause and no warm-up. Limits far above what a starved machine needs: two spinning
/// threads of a real server on one free core may stand still for seconds.
const BRISK: &str = r#"
name = "brisk"
endpoint = "/v1/chat/completions"
dataset = "builtin"
duration = "60s"
think_time = "0ms"
warm_up_requests_per_user = 0
seed = 42
[request]
max_tokens = 12
ignore_eos = true
[timeouts]
connect = "5s"
first = "60s"
idle = "60s"
total = "60s"
"#;

/// A folder for everything that a run reads or writes.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// What came of one run.
pub(crate) struct Ran {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) out: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("brisk.toml"), BRISK).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of ours that sees nothing of this machine but PATH.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_bench-ci"));
        command.args(arguments);
        command
    }

    /// A line that a shell reads, with `bench-ci` for ours.
    pub(crate) fn shell(&self, line: &str) -> Command {
        let mut command = self.program("sh");
        let function = format!("bench_ci() {{ '{}' \"$@\"; }}", env!("CARGO_BIN_EXE_bench-ci"));
        let line = line.replacen("bench-ci ", "bench_ci ", 1);
        command.args(["-c", &format!("{function}\n{line}")]);
        command
    }

    fn program(&self, path: &str) -> Command {
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("HF_HOME", self.path("hf"))
            .env("BENCH_CI_CACHE", self.path("cache"))
            // The folder of temporary files may lie in somebody's repository.
            .env("GIT_CEILING_DIRECTORIES", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs to the end, with `out` as its folder.
    pub(crate) fn run(&self, out: &str, arguments: &[&str]) -> Ran {
        self.finish(out, self.command(&with_out_dir(out, arguments)))
    }

    /// Runs to the end a command whose folder is `out`.
    pub(crate) fn finish(&self, out: &str, mut command: Command) -> Ran {
        let (stdout, stderr) = (self.path("stdout.txt"), self.path("stderr.txt"));
        // Files and no pipes: a child that outlives ours would hold a pipe open for ever.
        command.stdout(std::fs::File::create(&stdout).unwrap());
        command.stderr(std::fs::File::create(&stderr).unwrap());
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("no end within {PATIENCE:?}: {command:?}\n{}", read(&stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ran {
            exit: status.code().unwrap_or(-1),
            stdout: read(&stdout),
            stderr: read(&stderr),
            out: self.path(out),
        }
    }
}

/// The flags of a run, its folder put in before `--`.
fn with_out_dir<'a>(out: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let end = arguments.iter().position(|argument| *argument == "--").unwrap_or(arguments.len());
    let (ours, servers) = arguments.split_at(end);
    [ours, &["--out-dir", out], servers].concat()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Ran {
    pub(crate) fn file(&self, name: &str) -> String {
        read(&self.out.join(name))
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.file("report.json"))
            .unwrap_or_else(|error| panic!("{error}; {}{}", self.stdout, self.stderr))
    }

    /// The rows of requests.jsonl.
    pub(crate) fn rows(&self) -> Vec<Value> {
        json_lines(&self.file("requests.jsonl"))
    }

    pub(crate) fn first_line(&self) -> String {
        self.file("report.md").lines().next().unwrap_or_default().to_owned()
    }

    /// Asserts the exit code, and everything that holds for the files of any run that measured.
    pub(crate) fn checked(self, exit: i32) -> Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.exit, exit, "{said}");
        let report = self.report();
        assert_eq!(schema_violations(&report), [""; 0], "the schema; {said}");
        assert_eq!(unexplained_nulls(&report), [""; 0], "nulls without a reason; {said}");
        assert_eq!(report["run"]["exit_code"], exit, "the report's own exit code");

        let first = self.first_line();
        let word = if exit == 0 { "**OK:** " } else { "**Failed:** " };
        assert!(first.starts_with(word), "{first}");
        let is_sim = report["server"]["kind"] == "sim";
        assert_eq!(first.contains("simulator"), is_sim, "{first}");

        let counts = &report["requests"];
        let count = |name: &str| counts[name].as_u64().unwrap();
        let parts = count("completed")
            + count("failed")
            + count("dropped")
            + count("cut")
            + count("cancelled");
        assert_eq!(count("planned"), parts, "{counts}");
        let rows = self.rows();
        let measured: Vec<&Value> = rows.iter().filter(|row| row["phase"] == "measured").collect();
        assert_eq!(measured.len() as u64, count("planned"), "one row a planned request");
        for outcome in ["completed", "failed", "cancelled", "dropped", "cut"] {
            let found = measured.iter().filter(|row| row["outcome"] == outcome).count() as u64;
            assert_eq!(found, count(outcome), "rows that are {outcome}");
        }
        assert!(rows.iter().enumerate().all(|(at, row)| row["index"] == at), "rows in order");
        assert_eq!(self.file("requests.csv").lines().count(), rows.len() + 1);

        let events = json_lines(&self.file("events.jsonl"));
        assert!(!events.is_empty(), "no events");
        for entry in report["files"].as_array().unwrap() {
            let name = entry["name"].as_str().unwrap();
            assert!(self.out.join(name).is_file(), "{name} is in the report and not in the folder");
        }
        for entry in std::fs::read_dir(&self.out).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            let known =
                report["files"].as_array().unwrap().iter().any(|file| file["name"] == *name);
            assert!(known, "{name} is in the folder and not in the report");
        }
        self
    }

    /// How many requests failed, by kind.
    pub(crate) fn failures(&self) -> Vec<(String, u64)> {
        let report = self.report();
        let by_error = report["requests"]["by_error"].as_object().unwrap();
        by_error.iter().map(|(kind, n)| (kind.clone(), n.as_u64().unwrap())).collect()
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A figure of a metric, in its unit.
pub(crate) fn metric(report: &Value, name: &str, figure: &str) -> f64 {
    let value = &report["metrics"][name][figure];
    value.as_f64().unwrap_or_else(|| panic!("{name}.{figure}: {}", report["metrics"][name]))
}

/// The real llama-server; its absence fails the test, for a suite that skips proves nothing.
pub(crate) fn real_server() -> String {
    std::env::var("BENCH_CI_TEST_LLAMA_SERVER")
        .expect("BENCH_CI_TEST_LLAMA_SERVER names no llama-server; `cargo xtask test` gets one")
}
