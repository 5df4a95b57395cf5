//! What GitHub sees, and what it is protected from.
//!
//! Main type: [`Step`], the files and variables that the runner gives to one step.

mod action;
mod comment;
mod events;
mod failures;
mod fake;
mod forks;
mod hostile;
mod job;
mod races;
mod summaries;
mod surfaces;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A step of a job on a pull request.
struct Step {
    folder: tempfile::TempDir,
}

impl Step {
    fn new(parent: &Path) -> Self {
        Self { folder: tempfile::tempdir_in(parent).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Nothing of the test's own environment but the path, and what the runner sets.
    fn environment(&self, command: &mut Command) {
        let text = |path: PathBuf| path.display().to_string();
        std::fs::create_dir_all(self.path("temp")).unwrap();
        for file in ["summary", "output", "env"] {
            std::fs::write(self.path(file), "").unwrap();
        }
        command.env_clear().envs([
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", text(self.path("home"))),
            ("CI", "true".to_owned()),
            ("GITHUB_ACTIONS", "true".to_owned()),
            ("GITHUB_EVENT_NAME", "pull_request".to_owned()),
            ("GITHUB_EVENT_PATH", text(events::payload("pull_request"))),
            ("GITHUB_REF", "refs/pull/57/merge".to_owned()),
            ("GITHUB_REF_NAME", "57/merge".to_owned()),
            ("GITHUB_HEAD_REF", "kv-reuse".to_owned()),
            ("GITHUB_BASE_REF", "main".to_owned()),
            ("GITHUB_SHA", "c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f7".to_owned()),
            ("GITHUB_REPOSITORY", events::OWN.to_owned()),
            ("GITHUB_RUN_ID", "19200000999".to_owned()),
            ("GITHUB_RUN_ATTEMPT", "1".to_owned()),
            ("GITHUB_SERVER_URL", "https://github.com".to_owned()),
            ("GITHUB_JOB", "bench".to_owned()),
            ("GITHUB_STEP_SUMMARY", text(self.path("summary"))),
            ("GITHUB_OUTPUT", text(self.path("output"))),
            ("GITHUB_ENV", text(self.path("env"))),
            ("RUNNER_TEMP", text(self.path("temp"))),
            ("RUNNER_NAME", "test-runner".to_owned()),
        ]);
    }

    fn summary(&self) -> String {
        // Whatever a step did, it never wrote to the environment of later ones.
        assert_eq!(std::fs::read_to_string(self.path("env")).unwrap(), "");
        std::fs::read_to_string(self.path("summary")).unwrap()
    }

    fn outputs(&self) -> BTreeMap<String, String> {
        outputs_in(&std::fs::read_to_string(self.path("output")).unwrap())
    }
}

/// Reads a file of outputs as the runner does.
fn outputs_in(text: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let heredoc = line.split_once("<<").filter(|(name, _)| !name.contains('='));
        let (name, value) = match heredoc {
            Some((name, delimiter)) => {
                let mut value = Vec::new();
                loop {
                    let line = lines.next().unwrap_or_else(|| panic!("{name} does not end"));
                    if line == delimiter {
                        break;
                    }
                    value.push(line);
                }
                (name, value.join("\n"))
            }
            None => line.split_once('=').map(|(name, value)| (name, value.to_owned())).unwrap(),
        };
        assert!(outputs.insert(name.to_owned(), value).is_none(), "{name} twice");
    }
    outputs
}
