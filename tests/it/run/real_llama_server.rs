//! The main job on the real llama-server: every count agrees three ways, and the machine's own business
//! makes no run invalid.

use serde_json::Value;

use super::{Bench, Ran, metric, real_server};

fn play(bench: &Bench, more: &[&str]) -> Ran {
    let server = real_server();
    let flags = ["--server", &server, "--model", "synthetic", "--max-tokens", "64"];
    bench.run("out", &[&flags[..], more].concat())
}

/// Client, `timings` and /metrics say the same of every token.
fn every_count_agrees(report: &Value, requests: u64, tokens_each: u64) {
    let tokens = &report["reconciliation"]["tokens"];
    let same = |names: &[&str]| {
        let first = tokens[names[0]].as_u64().unwrap();
        for name in names {
            assert_eq!(tokens[name].as_u64(), Some(first), "{name}: {tokens}");
        }
        first
    };
    let generated = same(&[
        "usage_completion_tokens",
        "timings_completion_tokens",
        "counter_completion_tokens",
    ]);
    assert_eq!(generated, requests * tokens_each);
    // Nothing is cached: the workload asks for that.
    let prompts = same(&[
        "usage_prompt_tokens",
        "timings_prompt_tokens",
        "timings_prompt_tokens_evaluated",
        "counter_prompt_tokens_evaluated",
    ]);
    assert!(prompts > requests * 10);
    let found = report["reconciliation"]["disagreements"].as_array().unwrap();
    assert!(found.is_empty(), "{found:?}");
    // A token that is half a character is held back, so there may be fewer deltas.
    let deltas = tokens["content_deltas"].as_u64().unwrap();
    assert!(deltas <= generated && deltas * 10 >= generated * 9, "{deltas} of {generated}");
}

#[test]
fn sixty_four_prompts_agree_with_the_servers_own_counts() {
    let bench = Bench::new();
    let ran = play(&bench, &["--parallel", "4", "--n-prompts", "64"]).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 64);
    assert_eq!(report["client"]["valid"], true);
    assert_eq!(report["client"]["clock_source"], "kernel");
    every_count_agrees(&report, 64, 64);

    let split = &report["reconciliation"]["ttft"];
    let part = |name: &str| split[name].as_f64().unwrap();
    let sum = part("queue_ms_mean") + part("server_prefill_ms_mean") + part("residual_ms_mean");
    assert!((sum - part("ttft_ms_mean")).abs() < 1e-6, "{split}");
    let (ttft, queue) = (metric(&report, "ttft_ms", "mean"), metric(&report, "queue_ms", "mean"));
    assert!((queue + metric(&report, "prefill_ms", "mean") - ttft).abs() < 1e-6);
    let page = ran.file("report.md");
    for words in ["Mean TTFT ", "+ left over ", "Prefill, client minus server: ", "Decode, client"]
    {
        assert!(page.contains(words), "no \"{words}\" in {page}");
    }
    assert!(!page.contains("The accounts disagree"));
    assert!(page.lines().next().unwrap().starts_with("**OK:** 64 of 64 requests completed, TTFT"));
    assert_eq!(report["server"]["exit"]["code"], 0);
    assert_eq!(report["model"]["gguf"]["architecture"], "llama");
}

/// Guards the split of TTFT and the rule of lateness: answers are so short that a scheduler's
/// millisecond is much of them, and the server uses every core.
#[test]
fn short_answers_on_a_busy_machine_are_evidence_too() {
    let bench = Bench::new();
    let flags = ["--parallel", "1", "--n-prompts", "20", "--max-tokens", "4", "--ignore-eos"];
    let server = real_server();
    let ran = bench
        .run("out", &[&["--server", &server, "--model", "synthetic"][..], &flags].concat())
        .checked(0);
    let report = ran.report();
    every_count_agrees(&report, 20, 4);
    assert!(report["reconciliation"]["ttft"].is_object(), "{}", report["metrics"]["queue_ms"]);
}

#[test]
fn more_users_than_slots_queue_and_the_queue_is_seen() {
    let bench = Bench::new();
    let flags = ["--parallel", "2", "--users", "8", "--n-prompts", "32", "--ignore-eos"];
    let brisk = ["--scenario", "./brisk.toml", "--max-lateness", "1"];
    let ran = play(&bench, &[&flags[..], &brisk].concat()).checked(0);
    let report = ran.report();
    every_count_agrees(&report, 32, 64);
    // Six of eight wait for a slot: longer than a prompt takes.
    let (queue, prefill) =
        (metric(&report, "queue_ms", "p50"), metric(&report, "prefill_ms", "p50"));
    assert!(queue > prefill, "{queue} ms queue, {prefill} ms prefill");
}
