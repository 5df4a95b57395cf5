//! bench.py's own command line, as llama.cpp's README has it, on the real llama-server.

use crate::hub_server::HubServer;
use crate::run::hub::{sharegpt, tiny_gguf, with_hub};
use crate::run::{Bench, Ran, real_server};

/// The README's line but for its time and number of prompts; the port is free and not 8080, which may be taken here.
const README: &str = "--runner-label local --name local --branch branch --commit commit \
    --scenario script.js --duration 5m --hf-repo ggml-org/models --hf-file phi-2/ggml-model-q4_0.gguf \
    --model-path-prefix models --parallel 4 -ngl 33 --batch-size 2048 --ubatch-size 256 --ctx-size 4096 \
    --n-prompts 12 --max-prompt-tokens 256 --max-tokens 256 --port 0";

fn stage() -> (Bench, HubServer) {
    let (bench, hub) = (Bench::new(), HubServer::start());
    hub.add("ggml-org/models", "phi-2/ggml-model-q4_0.gguf", &tiny_gguf());
    std::fs::write(bench.path("sharegpt.json"), sharegpt(40)).unwrap();
    (bench, hub)
}

fn play(bench: &Bench, hub: &HubServer, line: &str) -> Ran {
    let words: Vec<&str> = ["bench-py"].into_iter().chain(line.split_whitespace()).collect();
    let mut command = with_hub(bench, hub, &[&words[..], &["--out-dir", "out"]].concat());
    command
        .env("LLAMA_SERVER_BIN_PATH", real_server())
        .env("SERVER_BENCH_DATASET", "sharegpt.json")
        .env("SERVER_BENCH_MAX_TOKENS", "16");
    bench.finish("out", command)
}

#[test]
fn the_readme_line_works_on_the_real_llama_server_and_so_does_what_it_prints() {
    let (bench, hub) = stage();
    let ran = play(&bench, &hub, README).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 12);
    assert_eq!(report["client"]["valid"], true, "{}", report["client"]["reasons"]);
    // Random weights never end an answer by themselves; in a run of seconds that is told, no more.
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("llamacpp_completions_truncated_rate"), "{warnings}");
    assert_eq!(report["run"]["name"], "local");
    assert_eq!(report["run"]["commit"], "commit");
    assert_eq!(report["scenario"]["phases"][1]["max_tokens"], 16, "the variable's, not the flag's");
    assert_eq!(report["scenario"]["phases"][1]["users"], 4);
    assert!(report["scenario"]["dataset"].to_string().contains("sharegpt.json"));
    // Bare, as bench.py passes it; today's server wants a value.
    let command = report["server"]["command"].as_array().unwrap();
    let at = command.iter().position(|word| word == "--flash-attn").unwrap();
    assert_eq!(command[at + 1], "on", "{command:?}");
    for (flag, value) in [("--n-gpu-layers", "33"), ("--parallel", "4"), ("--ctx-size", "4096")] {
        let at = command.iter().position(|word| word == flag).unwrap();
        assert_eq!(command[at + 1], value, "{command:?}");
    }
    // A folder of its own for models, as bench.py had.
    assert!(bench.path("models").is_dir());

    let printed = ran.stdout.lines().find(|line| line.trim_start().starts_with("bench-ci "));
    let printed = printed.unwrap_or_else(|| panic!("no equivalent command in {}", ran.stdout));
    let elsewhere = printed.trim().replacen(" -- ", " --out-dir again -- ", 1);
    let mut command = bench.shell(&elsewhere);
    command.env("HF_ENDPOINT", hub.url());
    let again = bench.finish("again", command).checked(0);
    assert_eq!(
        again.report()["scenario"]["workload_hash"],
        report["scenario"]["workload_hash"],
        "the printed command is the same work"
    );
}

#[test]
fn names_may_be_abbreviated_as_argparse_allows() {
    let (bench, hub) = stage();
    let short = README
        .replace("--runner-label", "--runner")
        .replace("--scenario", "--scen")
        .replace("--max-prompt-tokens", "--max-p")
        .replace("--n-prompts 12", "--n-p=4")
        .replace("--model-path-prefix", "--model-path");
    let ran = play(&bench, &hub, &short).checked(0);
    assert_eq!(ran.report()["requests"]["completed"], 4);
    // argparse refuses what could be two flags.
    let ambiguous = README.replace("--max-prompt-tokens", "--max");
    let ran = play(&bench, &hub, &ambiguous);
    assert_eq!(ran.exit, 2, "{}", ran.stderr);
}
