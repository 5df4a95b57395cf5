//! Prompts of asked lengths and traces, through the real binary: what was asked for is what the
//! server counted.

use serde_json::Value;

use super::{Bench, Ran, real_server};

const COMMON: [&str; 8] =
    ["--parallel", "2", "--max-tokens", "4", "--warm-up", "0", "--max-lateness", "1"];

fn run(bench: &Bench, server: &[&str], flags: &[&str]) -> Ran {
    let scenario = ["--scenario", "./this.toml"];
    bench.run("out", &[&["--server"], server, &COMMON, &scenario, flags].concat())
}

fn bench(endpoint: &str) -> Bench {
    let bench = Bench::new();
    let scenario = format!(
        "endpoint = \"{endpoint}\"\nduration = \"60s\"\nseed = 42\n[request]\nmax_tokens = 4\n"
    );
    std::fs::write(bench.path("this.toml"), scenario).unwrap();
    bench
}

/// Prompt and answer tokens of each measured request, as the server counted them, in order.
fn counted(ran: &Ran) -> Vec<(u64, u64)> {
    let rows = std::fs::read_to_string(ran.out.join("requests.jsonl")).unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut rows: Vec<Value> = rows.collect();
    rows.sort_by_key(|row| row["index"].as_u64());
    let tokens = |row: &Value, name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{row}"));
    rows.iter()
        .map(|row| (tokens(row, "prompt_tokens"), tokens(row, "completion_tokens")))
        .collect()
}

fn check_exact(server: &[&str], endpoint: &str, made_by: &str) {
    let bench = bench(endpoint);
    let dataset = "synthetic:input=uniform:60-90,output=uniform:3-9,prefix=30,prefix_groups=2";
    let flags = ["--dataset", dataset, "--n-prompts", "8", "--users", "1"];
    let first = run(&bench, server, &flags).checked(0);
    let report = first.report();
    let prompts = &report["scenario"]["prompts"];
    assert_eq!(prompts["kind"], "synthetic");
    assert_eq!(prompts["made_by"], made_by, "{prompts}");
    assert_eq!(prompts["largest_deviation_tokens"], 0, "{prompts}");
    assert_eq!(prompts["asked_tokens"], prompts["made_tokens"]);
    let counted_first = counted(&first);
    assert_eq!(counted_first.len(), 8);
    let (inputs, outputs): (Vec<u64>, Vec<u64>) = counted_first.iter().copied().unzip();
    assert_eq!(inputs.iter().min().copied(), prompts["asked_tokens"]["min"].as_u64());
    assert_eq!(inputs.iter().max().copied(), prompts["asked_tokens"]["max"].as_u64());
    assert!(inputs.iter().all(|tokens| (90..=120).contains(tokens)), "{inputs:?}");
    assert_eq!(outputs.iter().min().copied(), prompts["answer_tokens"]["min"].as_u64());
    assert!(outputs.iter().any(|tokens| *tokens != outputs[0]), "{outputs:?}");
    // The same seed is the same work, another is another.
    let hash = |ran: &Ran| ran.report()["scenario"]["workload_hash"].clone();
    let first_hash = hash(&first);
    let again = run(&bench, server, &flags).checked(0);
    assert_eq!((hash(&again), counted(&again)), (first_hash.clone(), counted_first));
    let other = run(&bench, server, &[&flags[..], &["--seed", "43"]].concat()).checked(0);
    assert_ne!(hash(&other), first_hash);
}

#[test]
fn asked_lengths_are_exact_on_the_simulator() {
    check_exact(&["sim"], "/completion", "token_ids");
    check_exact(&["sim"], "/v1/completions", "token_ids");
    check_exact(&["sim"], "/v1/chat/completions", "server_tokenizer");
}

/// Prompts that all have to be counted, every fourth of them longer than a slot.
fn long_prompts(bench: &Bench, count: usize) {
    // What the simulator has no word for is a token a byte.
    let prompt = |number: usize| {
        let length = if number.is_multiple_of(4) { 600 } else { 300 };
        format!("{{\"prompt\": \"{number:05} {}\"}}\n", "~".repeat(length))
    };
    let lines: String = (0..count).map(prompt).collect();
    std::fs::write(bench.path("long.jsonl"), lines).unwrap();
}

#[test]
fn a_load_of_a_time_does_not_have_a_whole_dataset_counted() {
    let bench = bench("/completion");
    long_prompts(&bench, 2_100);
    let dataset = ["--dataset", "long.jsonl", "--ctx-size", "1024", "--users", "1"];
    let dataset = [&dataset[..], &["--accept-saturated-client"]].concat();
    let ran = run(&bench, &["sim"], &[&dataset[..], &["--duration", "300ms"]].concat());
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    let only = "only the first 2000 of 2100 prompts were looked at";
    assert!(ran.stderr.contains("dataset: which of 2100 prompts fit 512 tokens"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dataset: 1750 of 2100 prompts looked at"), "{}", ran.stderr);
    assert!(ran.stderr.contains("dataset: 1500 of 2000 prompts fit ("), "{}", ran.stderr);
    let report = ran.report();
    assert!(report["warnings"].to_string().contains(only), "{}", report["warnings"]);
    let prompts = &report["scenario"]["prompts"];
    let counts = ["kept", "not_fitting", "used"].map(|name| prompts[name].as_u64().unwrap());
    assert_eq!(counts, [2_100, 500, 1_500]);

    // Who says how many are sent has as many looked at as that takes.
    long_prompts(&bench, 300);
    let ran = run(&bench, &["sim"], &[&dataset[..], &["--n-prompts", "2"]].concat());
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(!ran.report()["warnings"].to_string().contains("looked at"), "{}", ran.stderr);
}

mod real_llama_server {
    use super::*;

    #[test]
    fn asked_lengths_are_exact() {
        let server = real_server();
        let server = [server.as_str(), "--model", "synthetic"];
        check_exact(&server, "/completion", "token_ids");
        check_exact(&server, "/v1/chat/completions", "server_tokenizer");
    }
}

#[test]
fn a_trace_is_sent_at_its_instants() {
    let bench = bench("/completion");
    let trace = r#"{"timestamp": 100, "input_length": 600, "output_length": 3, "hash_ids": [7, 8]}
{"timestamp": 200, "input_length": 550, "output_length": 4, "hash_ids": [7, 9]}
{"timestamp": 200, "input_length": 30, "output_length": 5, "hash_ids": [1]}
{"timestamp": 900, "input_length": 30, "output_length": 5, "hash_ids": [1]}
"#;
    std::fs::write(bench.path("t.jsonl"), trace).unwrap();
    let flags = ["--trace", "t.jsonl", "--trace-speed", "2x", "--duration", "300ms"];
    let ran = run(
        &bench,
        &["sim"],
        &[&flags[..], &["--ctx-size", "8192", "--accept-saturated-client"]].concat(),
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert_eq!(counted(&ran), [(600, 3), (550, 4), (30, 5)], "the fourth is past the end");
    let rows = std::fs::read_to_string(ran.out.join("requests.jsonl")).unwrap();
    let planned: Vec<f64> = rows
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["planned_s"].as_f64().unwrap() * 1e3
        })
        .collect();
    for (seen, wanted) in planned.iter().zip([0.0, 50.0, 50.0]) {
        assert!((seen - planned[0] - wanted).abs() < 0.001, "{planned:?}");
    }
    let report = ran.report();
    assert_eq!(report["scenario"]["prompts"]["kind"], "trace");
    assert_eq!(report["scenario"]["prompts"]["file_sha256"].as_str().map(str::len), Some(64));
    let faster =
        run(&bench, &["sim"], &["--trace", "t.jsonl", "--trace-speed", "4", "--ctx-size", "8192"]);
    assert_ne!(faster.report()["scenario"]["workload_hash"], report["scenario"]["workload_hash"]);
    assert_eq!(counted(&faster).len(), 4);

    for (flags, words) in [
        (&["--trace-speed", "2x"][..], "--trace"),
        (&["--trace", "t.jsonl", "--rate", "2"], "--rate"),
        (&["--trace", "t.jsonl", "--dataset", "builtin"], "--dataset"),
        (&["--trace", "none.jsonl"], "none.jsonl"),
    ] {
        let ran = run(&bench, &["sim"], flags);
        assert_eq!(ran.exit, 2, "{flags:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{flags:?}: {}", ran.stderr);
    }
}

#[test]
fn a_file_of_the_hub_is_fetched_and_named() {
    let (bench, hub) = (bench("/v1/chat/completions"), crate::hub_server::HubServer::start());
    let lines: String = (0..4)
        .map(|n| format!("{{\"prompt\": \"Say {n}\", \"max_tokens\": {}}}\n", n + 2))
        .collect();
    hub.add("datasets/owner/prompts", "data/a.jsonl", lines.as_bytes());
    let dataset = "hf:owner/prompts/data/a.jsonl";
    let flags = ["--server", "sim", "--scenario", "./this.toml", "--dataset", dataset];
    let load = [
        "--n-prompts",
        "4",
        "--users",
        "1",
        "--warm-up",
        "0",
        "--max-lateness",
        "1",
        "--ignore-eos",
    ];
    let arguments = [&flags[..], &load, &["--out-dir", "out"]].concat();
    let ran = bench.finish("out", super::hub::with_hub(&bench, &hub, &arguments)).checked(0);
    assert!(ran.stderr.contains("dataset: data/a.jsonl: "), "{}", ran.stderr);
    let report = ran.report();
    assert_eq!(report["scenario"]["dataset"], dataset);
    let digest = crate::hub_server::sha256(lines.as_bytes());
    assert_eq!(report["scenario"]["prompts"]["file_sha256"], digest);
    let answers: Vec<u64> = counted(&ran).into_iter().map(|(_, answer)| answer).collect();
    assert_eq!(answers, [2, 3, 4, 5]);
}
