//! bench.py's command lines, said in the words of `run`.
//!
//! Main function: [`translate`]. The translation is a command line, parsed like one that a user
//! typed, so that what is printed as equivalent is what is run.

use std::path::{Path, PathBuf};

use crate::cli::{BenchPyArgs, RunArgs};
use crate::error::Error;
use crate::plan::problem::{Place, PlanError, Problem};

/// Where bench.py's k6 script looked for the dataset when no variable named one.
const DATASET_IN_WORKING_DIRECTORY: &str = "ShareGPT_V3_unfiltered_cleaned_split.json";

/// Where bench.py looked for the server when no variable named one.
const SERVER_BESIDE_BENCH_PY: &str = "../../../build/bin/llama-server";

/// The threshold of script.js: most answers should end by themselves. After a minute it ends the load,
/// and fails; a run shorter than that is only warned, since a model of random weights never ends one.
const TRUNCATED: &str = "llamacpp_completions_truncated_rate: rate < 0.8,abort,delay=1m,warn";

/// The equivalent `run` command, as text that a shell reads back, and parsed.
///
/// # Errors
/// A scenario that is neither bench.py's own nor one of ours.
pub fn translate(args: &BenchPyArgs) -> Result<(String, RunArgs), Error> {
    let words = run_words(args, &|path| path.is_file());
    let line = words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    let argv = words.iter().map(Into::into).collect();
    let parsed = crate::commands::parse(argv).map_err(|error| PlanError::Invalid {
        subject: "the equivalent command".to_owned(),
        problems: vec![Problem::new(Place::Whole, error.to_string())],
    })?;
    let mut run = parsed.run;
    // These never travel through the printed line: they are this run's business, not the workload's.
    run.limits = args.limits.clone();
    run.client_limits = args.client_limits.clone();
    run.output = args.output.clone();
    run.output.bench_py_names = true;
    Ok((line, run))
}

/// The equivalent command, for a reader.
pub(crate) fn equivalent(command_line: &str) -> String {
    format!("equivalent command:\n  {command_line}")
}

/// The words of the equivalent command. `is_file` is asked for bench.py's implicit files.
fn run_words(args: &BenchPyArgs, is_file: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut words = vec!["bench-ci".to_owned()];
    let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    if let Some(server) = &args.server {
        flag("server", server.clone());
    } else if is_file(Path::new(SERVER_BESIDE_BENCH_PY)) {
        flag("server", SERVER_BESIDE_BENCH_PY.to_owned());
    }
    flag("name", args.name.clone());
    flag("runner-label", args.runner_label.clone());
    flag("branch", args.branch.clone());
    flag("commit", args.commit.clone());
    flag("host", args.host.clone());
    flag("port", args.port.to_string());
    if let Some(model) = &args.model {
        flag("model", model.clone());
    }
    if let (Some(repo), Some(file)) = (&args.hf_repo, &args.hf_file) {
        // bench.py's README pastes with a tab behind the repository; a shell eats it, a YAML list may not.
        flag("hf-repo", repo.trim().to_owned());
        flag("hf-file", file.trim().to_owned());
        flag("model-path-prefix", args.model_path_prefix.display().to_string());
    }
    flag("n-gpu-layers", args.n_gpu_layers.to_string());
    flag("ctx-size", args.ctx_size.to_string());
    flag("parallel", args.parallel.to_string());
    flag("batch-size", args.batch_size.to_string());
    flag("ubatch-size", args.ubatch_size.to_string());
    flag("scenario", scenario(&args.scenario));
    // k6 was given --vus PARALLEL, --iterations N_PROMPTS and --duration as its longest time.
    flag("users", args.parallel.to_string());
    flag("n-prompts", args.n_prompts.to_string());
    flag("duration", args.duration.clone());
    flag("max-prompt-tokens", args.max_prompt_tokens.to_string());
    // bench.py's --max-tokens bounds prompt + answer; the answer's own budget is the variable's.
    flag("max-context", args.max_tokens.to_string());
    flag("max-tokens", args.answer_tokens.to_string());
    flag("connections", "fresh".to_owned());
    flag("dataset", dataset(args, is_file));
    flag("threshold", TRUNCATED.to_owned());
    words.extend(
        [
            "--",
            "--n-predict",
            &args.max_tokens.saturating_mul(2).to_string(),
            "--cont-batching",
            "--metrics",
            "--flash-attn",
        ]
        .map(str::to_owned),
    );
    words
}

/// `script.js`, wherever it lies, is the workload that `chat` reproduces.
fn scenario(asked: &str) -> String {
    let is_script = Path::new(asked).file_name().is_some_and(|name| name == "script.js");
    if is_script { "chat".to_owned() } else { asked.to_owned() }
}

fn dataset(args: &BenchPyArgs, is_file: &dyn Fn(&Path) -> bool) -> String {
    match &args.dataset {
        Some(named) if !named.is_empty() => named.clone(),
        _ if is_file(&PathBuf::from(DATASET_IN_WORKING_DIRECTORY)) => {
            DATASET_IN_WORKING_DIRECTORY.to_owned()
        }
        _ => "sharegpt".to_owned(),
    }
}

/// The word as a POSIX shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    /// The command line of llama.cpp's README, values as it has them.
    const README: &[&str] = &[
        "bench-ci",
        "bench-py",
        "--runner-label",
        "local",
        "--name",
        "local",
        "--branch",
        "master",
        "--commit",
        "abc",
        "--scenario",
        "script.js",
        "--duration",
        "5m",
        "--hf-repo",
        "ggml-org/models\t",
        "--hf-file",
        "phi-2/ggml-model-q4_0.gguf",
        "--model-path-prefix",
        "models",
        "--parallel",
        "4",
        "--n-gpu-layers",
        "33",
        "--batch-size",
        "2048",
        "--ubatch-size",
        "256",
        "--ctx-size",
        "4096",
        "--n-prompts",
        "200",
        "--max-prompt-tokens",
        "256",
        "--max-tokens",
        "256",
    ];

    fn args() -> BenchPyArgs {
        let Some(crate::cli::Command::BenchPy(args)) = Cli::try_parse_from(README).unwrap().command
        else {
            panic!("not bench-py");
        };
        *args
    }

    #[test]
    fn the_readme_command_keeps_bench_pys_meaning() {
        let (line, run) = translate(&args()).unwrap();
        assert_eq!(run.workload.max_context, Some(256), "--max-tokens bounds prompt + answer");
        assert_eq!(
            run.workload.max_tokens,
            Some(512),
            "the answer's budget is the variable's default"
        );
        assert_eq!(run.workload.n_prompts, Some(200));
        assert_eq!(run.workload.users, Some(4), "k6's users are the slots");
        assert_eq!(run.workload.scenario, "chat");
        assert_eq!(run.workload.thresholds, [TRUNCATED]);
        assert_eq!(run.server.host, "0.0.0.0");
        assert_eq!(run.server.port, 8080);
        assert_eq!(run.model.hf_repo.as_deref(), Some("ggml-org/models"));
        let tail = ["--n-predict", "512", "--cont-batching", "--metrics", "--flash-attn"];
        assert_eq!(run.server.extra_args, tail);
        assert!(
            line.ends_with("-- --n-predict 512 --cont-batching --metrics --flash-attn"),
            "{line}"
        );
    }

    #[test]
    fn a_number_of_any_size_is_translated() {
        let mut asked = args();
        asked.max_tokens = u64::MAX;
        let (line, _) = translate(&asked).unwrap();
        assert!(line.contains(&format!("--n-predict {}", u64::MAX)), "{line}");
    }

    #[test]
    fn the_dataset_is_the_variable_then_the_file_then_the_hub() {
        let mut asked = args();
        asked.dataset = Some("own.json".to_owned());
        assert_eq!(dataset(&asked, &|_| true), "own.json");
        asked.dataset = None;
        assert_eq!(dataset(&asked, &|_| true), DATASET_IN_WORKING_DIRECTORY);
        assert_eq!(dataset(&asked, &|_| false), "sharegpt");
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("phi-2/model.gguf"), "phi-2/model.gguf");
    }
}
