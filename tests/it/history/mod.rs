//! The history: its numbers against those of others, its branch under many writers, its pages.

mod appending;
mod golden;
mod noise;
mod pages;
pub(crate) mod remotes;
mod sensitivity;

use std::path::{Path, PathBuf};
use std::process::Command;

use bench_ci::artifact::Report;

/// A repository, and reports to append to its history.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What a call of the real binary came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) exit: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        git2::Repository::init_bare(place.path("repository.git")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A report of this run, commit and day of November, with its output rate as given.
    pub(crate) fn report(&self, run: &str, commit: char, day: u32, rate: f64) -> PathBuf {
        let mut report = crate::report::fixture::ok();
        report.run.id = run.to_owned();
        report.run.commit = Some(commit.to_string().repeat(40));
        report.run.started_at = format!("2026-11-{day:02}T12:00:00.000Z");
        report.rates.whole.output_tokens_per_second = Some(rate);
        self.write(&format!("{run}.json"), &report)
    }

    pub(crate) fn write(&self, name: &str, report: &Report) -> PathBuf {
        let file = self.path(name);
        std::fs::write(&file, report.to_json()).unwrap();
        file
    }

    /// `bench-ci history …` on the repository of the place.
    pub(crate) fn history(&self, words: &[&str]) -> Said {
        self.history_in(&self.path("repository.git"), words)
    }

    pub(crate) fn history_in(&self, repository: &Path, words: &[&str]) -> Said {
        said(self.command(repository, words))
    }

    pub(crate) fn command(&self, repository: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bench-ci"));
        command.arg("history").args(words).arg("--repo").arg(repository);
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        command
    }

    /// Every line of the points in the branch.
    pub(crate) fn lines(&self, repository: &Path) -> Vec<String> {
        let branch =
            bench_ci::history::store::Branch::open(repository, "bench-ci-history").unwrap();
        let points = |path: &str| path.ends_with(".jsonl") && !path.contains("annotations");
        let shards = branch.read().unwrap();
        let text = shards.into_iter().filter(|shard| points(&shard.path));
        text.flat_map(|shard| shard.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

pub(crate) fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    Said {
        exit: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
