//! The inputs of `action.yml`, said as a command line.
//!
//! Main function: [`argv`]. The action hands each input on as a variable `INPUT_NAME` and calls
//! `bench-ci action`; no shell ever sees a value, and each becomes an argument of its own here, so that
//! quotes, blanks and dollar signs in it mean nothing.

use std::ffi::OsString;
use std::path::Path;

use crate::plan::problem::{Place, PlanError, Problem};
use crate::provenance::Env;

/// The command that the action calls.
pub const COMMAND: &str = "action";

/// The scenario that is taken where it is there and no other is asked for.
const USUAL_CONFIG: &str = "bench-ci.toml";

/// What the action can do.
const MODES: [&str; 6] = ["run", "ab", "aa", "report", "comment", "history"];

/// Inputs that become a flag of the same meaning, in every mode that measures.
const MEASURING: [(&str, &str); 6] = [
    ("model", "--model"),
    ("hf-repo", "--hf-repo"),
    ("hf-file", "--hf-file"),
    ("hf-revision", "--hf-revision"),
    ("runner-label", "--runner-label"),
    ("out-dir", "--out-dir"),
];

/// The same for `ab`.
const SIDES: [(&str, &str); 6] = [
    ("base-bin", "--base-server"),
    ("head-bin", "--head-server"),
    ("base-ref", "--base-ref"),
    ("head-ref", "--head-ref"),
    ("build-command", "--build"),
    ("server-path", "--server-path"),
];

/// The same for `ab`, A-A included.
const DESIGN: [(&str, &str); 4] =
    [("budget", "--budget"), ("pairs", "--pairs"), ("delta", "--delta"), ("fail-on", "--fail-on")];

/// The command line that the inputs ask for, program included.
///
/// # Errors
/// A mode that there is not, or inputs that do not go with it.
pub fn argv(env: Env<'_>, is_file: &dyn Fn(&Path) -> bool) -> Result<Vec<OsString>, PlanError> {
    let input = |name: &str| value(env, name);
    let mode = input("mode").unwrap_or_else(|| "ab".to_owned());
    let mut words = vec!["bench-ci".to_owned()];
    let out_dir = input("out-dir").unwrap_or_else(|| "bench-out".to_owned());
    match mode.as_str() {
        "run" => {
            words.push("run".to_owned());
            if input("server").is_some() && input("head-bin").is_some() {
                return Err(wrong("the inputs server and head-bin both name the server to run"));
            }
            if let Some(server) = input("server").or_else(|| input("head-bin")) {
                push(&mut words, "--server", server);
            }
            measuring(&mut words, env, is_file);
        }
        "ab" | "aa" => {
            words.push("ab".to_owned());
            if mode == "aa" {
                words.push("--aa".to_owned());
                if let Some(server) = input("server").or_else(|| input("head-bin")) {
                    push(&mut words, "--server", server);
                }
            } else {
                if let Some(server) = input("server") {
                    push(&mut words, "--server", server);
                }
                flags(&mut words, env, &SIDES);
            }
            flags(&mut words, env, &DESIGN);
            measuring(&mut words, env, is_file);
        }
        "report" => {
            words.extend(["report".to_owned(), out_dir]);
            words.extend(lines(&input("args").unwrap_or_default()));
        }
        "comment" => {
            words.extend(["comment".to_owned()]);
            if input("out-dir").is_some_and(|folder| folder != "bench-out") {
                words.push(out_dir);
            }
            flags(&mut words, env, &[("key", "--key"), ("when", "--when")]);
            words.extend(lines(&input("args").unwrap_or_default()));
        }
        "history" => {
            words.extend(["history", "append"].map(str::to_owned));
            words.push(out_dir);
            words.extend(["--fetch", "--push"].map(str::to_owned));
            words.extend(lines(&input("args").unwrap_or_default()));
        }
        other => {
            return Err(wrong(&format!(
                "the input mode is \"{}\"; expected one of {}",
                other.escape_debug(),
                MODES.join(", ")
            )));
        }
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// Whether the page of the run belongs into the job's summary.
pub(super) fn wants_summary(env: Env<'_>) -> bool {
    value(env, "summary").as_deref() != Some("false")
}

fn value(env: Env<'_>, name: &str) -> Option<String> {
    env(&variable(name)).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `base-ref` → `INPUT_BASE_REF`.
#[must_use]
pub fn variable(input: &str) -> String {
    format!("INPUT_{}", input.to_ascii_uppercase().replace('-', "_"))
}

fn measuring(words: &mut Vec<String>, env: Env<'_>, is_file: &dyn Fn(&Path) -> bool) {
    flags(words, env, &MEASURING);
    match value(env, "config") {
        // Named by the action's default, so that it need not be there.
        Some(config) if config == USUAL_CONFIG && !is_file(Path::new(&config)) => {}
        Some(config) => {
            // A name without a folder would be taken for that of a built-in scenario.
            let is_bare = is_file(Path::new(&config)) && !config.contains('/');
            push(words, "--scenario", if is_bare { format!("./{config}") } else { config });
        }
        None => {}
    }
    words.extend(lines(&value(env, "args").unwrap_or_default()));
    let server_args = lines(&value(env, "server-args").unwrap_or_default());
    if !server_args.is_empty() {
        words.push("--".to_owned());
        words.extend(server_args);
    }
}

fn flags(words: &mut Vec<String>, env: Env<'_>, table: &[(&str, &str)]) {
    for (input, flag) in table {
        if let Some(value) = value(env, input) {
            push(words, flag, value);
        }
    }
}

/// As one word, so that a value that begins with a dash is no flag.
fn push(words: &mut Vec<String>, flag: &str, value: String) {
    words.push(format!("{flag}={value}"));
}

/// One argument a line; a flag may have its value behind it, up to the end of the line. Nothing is
/// quoted, because nothing is split any further.
fn lines(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(char::is_whitespace) {
            Some((flag, value)) if line.starts_with('-') => {
                words.extend([flag.to_owned(), value.trim_start().to_owned()]);
            }
            _ => words.push(line.to_owned()),
        }
    }
    words
}

fn wrong(message: &str) -> PlanError {
    PlanError::Invalid {
        subject: "the inputs of the action".to_owned(),
        problems: vec![Problem::new(Place::Whole, message)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(inputs: &[(&str, &str)]) -> Vec<String> {
        let env = |name: &str| {
            inputs
                .iter()
                .find(|(input, _)| variable(input) == name)
                .map(|(_, value)| (*value).to_owned())
        };
        argv(&env, &|path| path == Path::new("bench-ci.toml"))
            .unwrap()
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn each_mode_is_a_command_line() {
        assert_eq!(
            words(&[
                ("mode", "ab"),
                ("base-ref", "merge-base"),
                ("head-ref", "HEAD"),
                ("build-command", "cmake -B build && cmake --build build"),
                ("server-path", "build/bin/llama-server"),
                ("budget", "10m"),
                ("fail-on", "regressed"),
                ("config", "bench-ci.toml"),
                ("server-args", "--threads 4\n\n--flash-attn\n"),
            ]),
            [
                "bench-ci",
                "ab",
                "--base-ref=merge-base",
                "--head-ref=HEAD",
                "--build=cmake -B build && cmake --build build",
                "--server-path=build/bin/llama-server",
                "--budget=10m",
                "--fail-on=regressed",
                "--scenario=./bench-ci.toml",
                "--",
                "--threads",
                "4",
                "--flash-attn",
            ]
        );
        // What belongs to a comparison is no business of a run, and has defaults in the action.
        assert_eq!(
            words(&[
                ("mode", "run"),
                ("server", "sim"),
                ("budget", "10m"),
                ("fail-on", "regressed"),
                ("args", "--n-prompts 64"),
                ("out-dir", "out"),
            ]),
            ["bench-ci", "run", "--server=sim", "--out-dir=out", "--n-prompts", "64"]
        );
        assert_eq!(
            words(&[("mode", "aa"), ("server", "x")]),
            ["bench-ci", "ab", "--aa", "--server=x"]
        );
        assert_eq!(
            words(&[("mode", "report"), ("out-dir", "out"), ("args", "--format text")]),
            ["bench-ci", "report", "out", "--format", "text"]
        );
        assert_eq!(
            words(&[("mode", "history")]),
            ["bench-ci", "history", "append", "bench-out", "--fetch", "--push"]
        );
        assert_eq!(
            words(&[("mode", "comment"), ("key", "cuda"), ("out-dir", "reports")]),
            ["bench-ci", "comment", "reports", "--key=cuda"]
        );
    }

    #[test]
    fn no_value_becomes_more_than_one_word_or_another_flag() {
        let hostile = "--out-dir=/x; $(touch y) `z` \"q\" 'r'";
        let found = words(&[("mode", "run"), ("model", hostile), ("runner-label", "a\nb")]);
        assert_eq!(
            found,
            ["bench-ci", "run", &format!("--model={hostile}"), "--runner-label=a\nb"]
        );
    }

    #[test]
    fn an_unknown_mode_names_those_there_are() {
        let error = argv(&|name| (name == "INPUT_MODE").then(|| "fast".to_owned()), &|_| false)
            .unwrap_err();
        assert!(error.to_string().contains("run, ab, aa, report, comment, history"), "{error}");
    }

    #[test]
    fn what_a_mode_says_is_a_command_that_there_is() {
        use clap::CommandFactory;
        let command = crate::cli::Cli::command();
        for mode in MODES {
            let said =
                words(&[("mode", mode), ("server", "sim"), ("key", "k"), ("when", "always")]);
            command.clone().try_get_matches_from(&said).unwrap();
        }
    }
}
