//! The step that this process runs in: noticed by itself, told what the run came to.
//!
//! Main type: [`Job`]. Workflow commands go to stderr, which is the log; the runner reads both streams.

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::command::{Command, harmless};
use super::outputs::{Found, artifact_key, assignment, files};
use super::summary::{append, append_summary};
use crate::artifact::store::{self, Stored};
use crate::artifact::{SuiteCell, SuiteReport};
use crate::cli::{self, Cli, LogFormat, OutputArgs, RunArgs, ServerArgs};
use crate::exit::ExitCode;
use crate::github::inputs;
use crate::provenance::{CiContext, Env};
use crate::report::comment::{Cell, Content, Origin, WorkflowRun};

/// The step, if this is one: it is told what there is to say, and nothing printed commands its runner.
/// Else it does nothing.
#[derive(Debug, Default)]
pub struct Job {
    inside: Option<Inside>,
    /// A runner reads what is printed, and somebody else may have written some of it.
    is_read: bool,
}

#[derive(Debug)]
struct Inside {
    context: CiContext,
    summary: Option<PathBuf>,
    output: Option<PathBuf>,
    /// What the configuration is called.
    name: String,
    is_comparison: bool,
    out_dir: PathBuf,
    /// The reports of an earlier run, which must not be taken for this one's; as `files` has them.
    earlier: Vec<Option<Stamp>>,
    /// stderr belongs to a program, so that no line of ours may stand in it.
    silent: bool,
    /// Ends the time in which nothing is obeyed; `None` where it has not begun, or is over.
    token: Option<String>,
}

/// Tells one file from the next one of the same name.
type Stamp = (u64, i64, i64, u64);

impl Job {
    /// Looks whether this is a step of GitHub Actions, and a command that leaves a report behind. If
    /// so: masks the secrets, folds what follows, and keeps the runner from obeying any line of it.
    #[must_use]
    pub fn begin(argv: &[OsString]) -> Self {
        let env = |name: &str| std::env::var(name).ok();
        let inside = Inside::of(argv, &env);
        let is_read = inside.is_some() || (is_step(&env) && shows_reports(argv));
        Self { inside, is_read }.begun()
    }

    fn begun(self) -> Self {
        if let Some(inside) = &self.inside
            && let Some(token) = &inside.token
        {
            let what = if inside.is_comparison { "bench-ci ab" } else { "bench-ci run" };
            tell(&[Command::Group(what.to_owned()), Command::Stop(token.clone())]);
        }
        self
    }

    /// The end of what is folded.
    pub fn unfold(&mut self) {
        if let Some(token) = self.inside.as_mut().and_then(|inside| inside.token.take()) {
            tell(&[Command::Resume(token), Command::EndGroup]);
        }
    }

    /// Text for the log, with no line in it that a runner obeys; outside a step as it is.
    #[must_use]
    pub fn harmless(&self, text: &str) -> String {
        if self.is_read { harmless(text) } else { text.to_owned() }
    }

    /// Writes summary, outputs and annotations. `failure` is what kept the run from its end.
    pub fn finish(mut self, exit: ExitCode, failure: Option<&str>) {
        self.unfold();
        let Some(inside) = self.inside else { return };
        let found = inside.found(exit, failure);
        for warning in inside.write(&found) {
            say(&format!("warning: {warning}"));
        }
        if !inside.silent {
            tell(&found.annotations());
        }
    }
}

impl Inside {
    fn of(argv: &[OsString], env: Env<'_>) -> Option<Self> {
        let variable = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        if !is_step(env) {
            return None;
        }
        let is_action = argv.get(1).is_some_and(|word| word == inputs::COMMAND);
        let argv =
            if is_action { inputs::argv(env, &|path| path.is_file()).ok()? } else { argv.to_vec() };
        let cli = crate::commands::parse(argv).ok()?;
        let subject = Subject::of(&cli)?;
        if subject.output.no_github || subject.output.dry_run {
            return None;
        }
        let out_dir = subject.output.out_dir.clone();
        let silent = subject.output.log_format == LogFormat::Json;
        let quiet =
            silent || subject.output.quiet || subject.output.progress == cli::ProgressMode::None;
        if !silent {
            let masks: Vec<Command> =
                secrets(&subject, env).into_iter().map(Command::Mask).collect();
            tell(&masks);
        }
        let wants_summary = !is_action || inputs::wants_summary(env);
        let matrix = variable("BENCH_CI_MATRIX").and_then(|text| serde_json::from_str(&text).ok());
        let job = variable("GITHUB_JOB").unwrap_or_else(|| "bench".to_owned());
        let name = match variable("BENCH_CI_KEY") {
            Some(key) => artifact_key(key.trim(), None),
            None => artifact_key(&job, matrix.as_ref().filter(|matrix: &&Value| !matrix.is_null())),
        };
        let earlier =
            files(subject.is_comparison, &out_dir).iter().map(|[json, _]| stamp(json)).collect();
        Some(Self {
            context: CiContext::read(env).unwrap_or_default(),
            summary: variable("GITHUB_STEP_SUMMARY").filter(|_| wants_summary).map(PathBuf::from),
            output: variable("GITHUB_OUTPUT").map(PathBuf::from),
            name,
            is_comparison: subject.is_comparison,
            out_dir,
            earlier,
            silent,
            token: (!quiet).then(random),
        })
    }

    fn found(&self, exit: ExitCode, failure: Option<&str>) -> Found {
        let ours = files(self.is_comparison, &self.out_dir)
            .into_iter()
            .zip(&self.earlier)
            .find(|([json, _], earlier)| stamp(json).is_some_and(|now| Some(now) != **earlier))
            .map(|(files, _)| files);
        let cell = |content| vec![Cell { name: self.name.clone(), content }];
        let nothing = |why: &str| cell(Content::Nothing(why.to_owned()));
        let Some([json, markdown]) = ours else {
            let cells = nothing(failure.unwrap_or("no report was written"));
            return Found { name: self.name.clone(), cells, exit, json: None, markdown: None };
        };
        let cells = match store::read(&json) {
            Ok(Stored::Suite(suite)) => self.cells_of_suite(&suite),
            Ok(Stored::Ab(report)) => cell(Content::Comparison(report)),
            Ok(Stored::Run(report)) => cell(Content::Run(report)),
            Err(error) => nothing(&error.to_string()),
        };
        Found {
            name: self.name.clone(),
            cells,
            exit,
            json: Some(json),
            markdown: Some(markdown).filter(|path| path.is_file()),
        }
    }

    fn cells_of_suite(&self, suite: &SuiteReport) -> Vec<Cell> {
        let cell = |cell: &SuiteCell| {
            let report = store::read_report(&self.out_dir.join(&cell.folder).join("report.json"));
            let content = match report {
                Ok(report) => Content::Run(Box::new(report)),
                Err(_) if !cell.causes.is_empty() => Content::Nothing(cell.causes.join("; ")),
                Err(error) => Content::Nothing(error.to_string()),
            };
            Cell { name: cell.name.clone(), content }
        };
        suite.cells.iter().map(cell).collect()
    }

    /// What could not be written, in words.
    fn write(&self, found: &Found) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(path) = &self.summary {
            warnings.extend(append_summary(path, &self.origin(), &found.cells).err());
        }
        if let Some(path) = &self.output {
            let text: String = found
                .outputs()
                .iter()
                .map(|(name, value)| {
                    loop {
                        // A value that holds 128 bits drawn after it was made: once is enough in practice.
                        if let Some(text) =
                            assignment(name, value, &format!("bench_ci_{}", random()))
                        {
                            break text;
                        }
                    }
                })
                .collect();
            warnings.extend(append("GITHUB_OUTPUT", path, &text).err());
        }
        warnings
    }

    fn origin(&self) -> Origin {
        let context = &self.context;
        let run = context.run_id.zip(context.run_page()).map(|(id, url)| WorkflowRun {
            id,
            attempt: context.run_attempt.unwrap_or(1),
            url,
        });
        Origin {
            key: self.name.clone(),
            head: context.commit.clone(),
            base: context.base_commit.clone(),
            run,
            fork: context.fork().map(str::to_owned),
            before: None,
        }
    }
}

/// What of a command line matters to a job.
struct Subject<'a> {
    server: Option<&'a ServerArgs>,
    output: &'a OutputArgs,
    is_comparison: bool,
}

impl<'a> Subject<'a> {
    /// `None` for a command that leaves no report behind.
    fn of(cli: &'a Cli) -> Option<Self> {
        let of_run = |run: &'a RunArgs| {
            Some(Self { server: Some(&run.server), output: &run.output, is_comparison: false })
        };
        match &cli.command {
            None => of_run(&cli.run),
            Some(cli::Command::Run(run)) => of_run(run),
            Some(cli::Command::Ab(args)) => Some(Self {
                server: Some(&args.run.server),
                output: &args.run.output,
                is_comparison: true,
            }),
            Some(cli::Command::BenchPy(args)) => {
                Some(Self { server: None, output: &args.output, is_comparison: false })
            }
            _ => None,
        }
    }
}

fn is_step(env: Env<'_>) -> bool {
    env("GITHUB_ACTIONS").as_deref() == Some("true")
}

/// Whether a command that measures nothing shows reports of others in a log: `comment`, and whatever the
/// action is asked for. Of any other the output may be meant for a file or a program, and stays as it is.
fn shows_reports(argv: &[OsString]) -> bool {
    argv.get(1).is_some_and(|word| word == inputs::COMMAND || word == "comment")
}

/// What must not be read in a log: the keys that were given, by flag or variable.
fn secrets(subject: &Subject<'_>, env: Env<'_>) -> Vec<String> {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["auth", "key", "token", "secret", "cookie", "password"]
            .iter()
            .any(|part| name.contains(part))
    };
    let mut secrets: Vec<String> = ["HF_TOKEN", "LLAMA_API_KEY", "BENCH_CI_API_KEY"]
        .iter()
        .chain(&crate::plan::resolve::prometheus::SECRET_VARIABLES)
        .filter_map(|name| env(name))
        .collect();
    // It may hold several, and each by itself is one.
    let keys = env("LLAMA_API_KEY").unwrap_or_default();
    secrets.extend(keys.split(',').map(str::to_owned));
    if let Some(server) = subject.server {
        secrets.extend(server.api_key.clone());
        let headers = server.headers.iter().filter_map(|header| header.split_once('='));
        secrets
            .extend(headers.filter(|(name, _)| is_secret(name)).map(|(_, value)| value.to_owned()));
    }
    secrets.retain(|secret| !secret.trim().is_empty());
    secrets.sort();
    secrets.dedup();
    secrets
}

/// 128 bits that nobody knows beforehand: the standard library's hashers are keyed by the system.
fn random() -> String {
    let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.mtime(), about.mtime_nsec(), about.len()))
}

/// Tells the runner.
pub(in crate::github) fn tell(commands: &[Command]) {
    for command in commands {
        say(&command.to_string());
    }
}

fn say(line: &str) {
    // A log that is gone is no reason to fail.
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
