//! Command lines that do not say what is to be done: exit code 2, with nothing started or fetched.

use super::{Bench, SMALL, with};

/// Refused with these words by the plan itself, so that `--dry-run` says so too.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let bench = Bench::new();
    // What the plan finds out needs no server and no network.
    for dry in [&["--dry-run"][..], &[]] {
        bench.run(&with(dry, args)).code(2).says(words);
        assert!(!bench.out().exists(), "{args:?}");
    }
}

#[test]
fn two_models_are_refused() {
    let words = ["--model: the server's own arguments name a model too", "behind --"];
    refused(&["--server", "sim", "--model", "synthetic", "--", "-m", "b.gguf"], &words);
    refused(&["--server", "sim", "--model", "a.gguf", "--", "--models-preset=x.ini"], &words);
    let hub = ["--server", "sim", "--hf-repo", "o/n", "--hf-file", "f", "--", "-hf", "o/m"];
    refused(&hub, &["--hf-repo: the server's own arguments name a model too"]);
    refused(&["--server", "sim", "--model", "a.gguf", "--sweep", "model=b.gguf"], &words[..1]);
}

#[test]
fn a_model_among_the_arguments_of_the_server_is_a_model() {
    let bench = Bench::new();
    let program = bench.script("llama-server", "#!/bin/sh\n");
    for named in [&["-m", "a.gguf"][..], &["--models-preset", "x.ini"], &["--models-dir=m"]] {
        bench.run(&with(&["--dry-run", "--server", &program, "--"], named)).code(0);
    }
    bench.run(&["--dry-run", "--server", &program, "--", "--alias", "-m"]).code(2);
}

#[test]
fn flags_of_a_server_that_is_started_have_no_place_beside_url() {
    let url = ["--url", "http://127.0.0.1:9"];
    for given in [
        ["--server", "sim"],
        ["--host", "127.0.0.1"],
        ["--port", "8080"],
        ["--start-timeout", "1m"],
        ["--stop-grace", "10s"],
        ["--model-path-prefix", "models"],
    ] {
        let said = format!("{}: it is for a server that bench-ci starts", given[0]);
        refused(&with(&url, &given), &[&said]);
    }
    // A variable may be there for other runs.
    let bench = Bench::new();
    let mut command = bench.run_command(&with(&url, &["--dry-run"]));
    command.env("LLAMA_SERVER_BIN_PATH", "/opt/llama-server");
    bench.start(command).end().code(0);
}

#[test]
fn names_that_cannot_be_on_the_hub_are_refused() {
    let hub = |repo, file| ["--server", "sim", "--hf-repo", repo, "--hf-file", file];
    refused(&hub("a/b/c", "f"), &["--hf-repo: invalid value \"a/b/c\"", "OWNER/NAME"]);
    refused(&hub("o/n", "../f"), &["--hf-file: invalid value \"../f\""]);
    let revision = with(&hub("o/n", "f"), &["--hf-revision", "../main"]);
    refused(&revision, &["--hf-revision: invalid value \"../main\""]);
}

#[test]
fn a_shape_that_makes_no_sense_is_refused() {
    let words = ["--model: invalid value \"synthetic:nonsense\"", "tiny, 15m, 100m or 1b"];
    refused(&["--server", "sim", "--model", "synthetic:nonsense"], &words);
}

#[test]
fn an_endpoint_that_is_no_hub_is_code_6() {
    let bench = Bench::new();
    let mut command = bench.run_command(&with(SMALL, &["--hf-repo", "o/n", "--hf-file", "f"]));
    command.env("HF_ENDPOINT", "file://server/x");
    bench.start(command).end().code(6).says(&["HF_ENDPOINT is not an address"]);
}
