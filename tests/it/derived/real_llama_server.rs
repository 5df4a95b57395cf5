//! Utilization of the real llama-server, against the shape of its model counted by hand.

use super::bench;
use crate::run::{metric, real_server};

/// Matrices of the model below: the output, 64 × 512, and in each of two layers four of attention,
/// 64 × 64, and three of the feed-forward part, 64 × 128.
const MATRIX_WEIGHTS: f64 = 32_768.0 + 2.0 * (4.0 * 4_096.0 + 3.0 * 8_192.0);
/// Five vectors of 64 that scale.
const VECTOR_WEIGHTS: f64 = 320.0;
/// Two layers, four heads, keys and values of 16 numbers each.
const CACHED_NUMBERS: f64 = 2.0 * 4.0 * 32.0;

#[test]
fn utilization_is_that_of_the_models_own_shape() {
    let bench = bench();
    let server = real_server();
    let shape = "synthetic:layers=2,embd=64,heads=4,ff=128,vocab=512,ctx=2048,type=f32";
    let flags = ["--server", &server, "--model", shape, "--n-prompts", "12", "--parallel", "2"];
    let more = ["--max-tokens", "24", "--ignore-eos", "--max-lateness", "1"];
    let peaks = ["--peak-bandwidth", "10GB/s", "--peak-flops", "100GFLOPS"];
    let ran = bench.run("out", &[&flags[..], &more, &peaks].concat()).checked(0);
    let report = ran.report();
    let found = &report["derived"]["utilization"];
    let figure = |name: &str| found[name].as_f64().unwrap_or_else(|| panic!("{name}: {found}"));
    let close = |name: &str, expected: f64| {
        let seen = figure(name);
        assert!((seen / expected - 1.0).abs() < 1e-9, "{name}: {seen} is not {expected}");
    };
    let prompt = metric(&report, "prompt_tokens", "mean");
    let answer = metric(&report, "completion_tokens", "mean");
    let tpot_s = metric(&report, "tpot_ms", "mean") / 1e3;
    let context = prompt + answer / 2.0;
    let rate = |name: &str| report["rates"][name].as_f64().unwrap();
    let decoding = rate("output_tokens_per_second") * tpot_s;
    close("decoding_mean", decoding);
    close("weight_bytes_per_step", 4.0 * (MATRIX_WEIGHTS + VECTOR_WEIGHTS));
    // F16 unless the server is told otherwise.
    close("kv_bytes_per_step", 2.0 * CACHED_NUMBERS * context * decoding);
    close("flops_per_output_token", 2.0 * MATRIX_WEIGHTS + 2.0 * CACHED_NUMBERS * context);
    let bytes = figure("weight_bytes_per_step") + figure("kv_bytes_per_step");
    close("bytes_per_second", bytes / tpot_s);
    close("mbu", figure("bytes_per_second") / 10e9);
    close("mfu", figure("flops_per_second") / 100e9);
    let prompts = rate("prompt_tokens_per_second");
    let per_prompt_token = 2.0 * MATRIX_WEIGHTS + 2.0 * CACHED_NUMBERS * prompt / 2.0;
    let output = rate("output_tokens_per_second") * figure("flops_per_output_token");
    close("flops_per_second", output + prompts * per_prompt_token);
    let assumptions = found["assumptions"].to_string();
    assert!(assumptions.contains("--peak-bandwidth") && assumptions.contains("F16"), "{found}");
    assert!(ran.file("report.md").contains("% of 10.0 GB/s"), "{}", ran.file("report.md"));
}

#[test]
fn without_a_peak_the_parts_are_known_and_the_share_is_not() {
    let bench = bench();
    let server = real_server();
    let flags = ["--server", &server, "--model", "synthetic", "--n-prompts", "4"];
    let more = ["--max-tokens", "8", "--ignore-eos", "--max-lateness", "1"];
    let ran = bench.run("out", &[&flags[..], &more].concat()).checked(0);
    let found = ran.report()["derived"]["utilization"].clone();
    assert!(found["bytes_per_second"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["mbu"].is_null() && found["mfu"].is_null(), "{found}");
    let reason = found["unknown"]["mbu"].as_str().unwrap();
    assert!(reason.contains("--peak-bandwidth") && reason.contains("--measure-peaks"), "{reason}");
}
