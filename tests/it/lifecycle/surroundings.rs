//! What a CI job may do to a run from outside: closed streams, folders, disks, variables, addresses.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Bench, SMALL, with};

/// The writing end of a pipe that nobody reads.
fn nobody_reads() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let bench = Bench::new();
    let mut command = bench.run_command(SMALL);
    command.stdout(nobody_reads());
    bench.start(command).end().code(0).reports("completed");

    let mut command = bench.run_command(&with(SMALL, &["--verbose"]));
    command.stderr(nobody_reads());
    bench.start(command).end().code(0).reports("completed");

    // The error cannot be said, and the code still says it.
    let mut command = bench.run_command(&with(SMALL, &["--model", "nope.gguf"]));
    command.stdout(nobody_reads()).stderr(nobody_reads());
    bench.start(command).end().code(6).reports("failed");
}

#[test]
fn closed_streams_are_no_failure_and_no_file_takes_their_place() {
    let bench = Bench::new();
    let command = bench.shell("exec \"$@\" <&- >&- 2>&-", SMALL);
    bench.start(command).end().code(0).reports("completed");
}

#[test]
fn a_full_stdout_is_code_1() {
    if !PathBuf::from("/dev/full").exists() {
        return;
    }
    let bench = Bench::new();
    let mut command = bench.run_command(SMALL);
    command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let ended = bench.start(command).end();
    let stderr = ended.code(1).stderr();
    assert!(stderr.contains("error: cannot write to stdout: No space left on device"), "{stderr}");
}

#[test]
fn an_out_dir_that_cannot_be_made_is_said_before_anything_starts() {
    let bench = Bench::new();
    std::fs::write(bench.path("file"), "").unwrap();
    let live = bench.start(bench.command(&with(&["--out-dir", "file/out"], SMALL)));
    live.end().code(1).says(&["error: cannot create \"file/out\"", "--out-dir"]);

    let live = bench.start(bench.command(&with(&["--out-dir", "/proc/out"], SMALL)));
    live.end().code(1).says(&["error: cannot create \"/proc/out\""]);
}

#[test]
fn a_full_disk_is_code_1_and_leaves_no_server() {
    // A limit on file size, met in the middle of the load: every write beyond it fails, as on a disk
    // that is full, and needs no rights. The log of the server is the first to meet it.
    let bench = Bench::new();
    let script = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    let args = ["--server", "sim", "--n-prompts", "24", "--max-tokens", "4", "--progress", "none"];
    let command = bench.shell(script, &args);
    let ended = bench.start(command).end();
    ended.code(1).says(&["error: cannot write", "out-dir"]);
    assert!(!bench.path("out/report.json").exists(), "nothing claims to be whole");
}

#[test]
fn files_of_an_earlier_run_are_never_taken_for_today_s() {
    let names = [
        "report.json",
        "report.md",
        "requests.jsonl",
        "requests.csv",
        "requests.partial.jsonl",
        "server-metrics.jsonl",
        "resources.jsonl",
        "server.log",
        "events.jsonl",
    ];
    for (code, args) in [
        (0, SMALL.to_vec()),
        (6, with(SMALL, &["--model", "nope.gguf"])),
        (7, with(SMALL, &["--", "--sim-fault", "die-at-start"])),
        (7, vec!["--server", "/nope/llama-server"]),
        (2, with(SMALL, &["--scenario", "no-such-scenario"])),
    ] {
        let bench = Bench::new();
        std::fs::create_dir(bench.out()).unwrap();
        for name in names {
            std::fs::write(bench.out().join(name), "yesterday").unwrap();
        }
        std::fs::write(bench.out().join("notes.txt"), "mine").unwrap();
        bench.run(&args).code(code);
        for name in names {
            let text = bench.read(&format!("out/{name}"));
            assert!(!text.contains("yesterday"), "{name} after code {code}");
        }
        assert_eq!(bench.read("out/notes.txt"), "mine", "what is not ours stays");
    }
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let benches = [Bench::new(), Bench::new()];
    let lives = [benches[0].begin(SMALL), benches[1].begin(SMALL)];
    let ids = lives.map(|live| {
        let ended = live.end();
        ended.code(0).reports("completed");
        ended.report()["run"]["id"].to_string()
    });
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn every_way_to_listen_works() {
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "::1", "[::1]", "::"] {
        if host.contains(':') && TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        let bench = Bench::new();
        let ended = bench.run(&with(SMALL, &["--host", host]));
        ended.code(0).reports("completed");
        assert_eq!(ended.report()["requests"]["completed"], 4, "{host}");
    }
}

#[test]
fn a_dry_run_starts_nothing_and_writes_nothing() {
    let bench = Bench::new();
    let program = bench.script("llama-server", "#!/bin/sh\ntouch started\n");
    for args in [
        with(SMALL, &["--dry-run", "--model", "synthetic"]),
        vec!["--dry-run", "--server", &program, "--hf-repo", "o/n", "--hf-file", "m.gguf"],
        vec!["--dry-run", "--url", "http://127.0.0.1:9"],
    ] {
        let mut files = bench.files("");
        let ended = bench.run(&args);
        ended.code(0);
        assert!(ended.stdout().contains("all settings:"), "{}", ended.stdout());
        files.retain(|path| !path.ends_with("stdout") && !path.ends_with("stderr"));
        let mut after = bench.files("");
        after.retain(|path| !path.ends_with("stdout") && !path.ends_with("stderr"));
        assert_eq!(after, files);
        assert!(!bench.out().exists());
    }
}

/// CI systems set the variables of absent inputs to nothing.
const VARIABLES: [&str; 11] = [
    "LLAMA_SERVER_BIN_PATH",
    "BENCH_CI_API_KEY",
    "SERVER_BENCH_MODEL_ALIAS",
    "SERVER_BENCH_N_PROMPTS",
    "SERVER_BENCH_MAX_PROMPT_TOKENS",
    "SERVER_BENCH_MAX_TOKENS",
    "SERVER_BENCH_MAX_CONTEXT",
    "SERVER_BENCH_DATASET",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "LLAMA_API_KEY",
];

#[test]
fn an_empty_variable_counts_as_unset() {
    let bench = Bench::new();
    bench.start(bench.run_command(&with(SMALL, &["--dry-run"]))).end().code(0);
    let unset = bench.read("stdout");
    for spelt_out in [&[][..], &["run"]] {
        for empty in ["", " "] {
            let out = bench.out().display().to_string();
            let args = [spelt_out, &["--out-dir", &out], SMALL, &["--dry-run"]].concat();
            let mut command = bench.command(&args);
            for name in VARIABLES {
                command.env(name, empty);
            }
            bench.start(command).end().code(0);
            assert_eq!(bench.read("stdout"), unset);
        }
    }
    // And the server is then looked for on PATH.
    let mut command = bench.run_command(&["--model", "synthetic"]);
    command.env("LLAMA_SERVER_BIN_PATH", "").env("PATH", "/nowhere");
    bench.start(command).end().code(7).says(&["no llama-server to start", "--server sim"]);
}

#[test]
fn a_variable_that_is_no_number_is_named() {
    let bench = Bench::new();
    let mut command = bench.run_command(&["--server", "sim"]);
    command.env("SERVER_BENCH_N_PROMPTS", "many");
    let words = "hint: that is the value of the variable SERVER_BENCH_N_PROMPTS";
    bench.start(command).end().code(2).says(&["invalid value 'many' for '--n-prompts <N>'", words]);
    // What was typed is what is wrong.
    let mut command = bench.run_command(&["--server", "sim", "--n-prompts", "few"]);
    command.env("SERVER_BENCH_N_PROMPTS", "many");
    let ended = bench.start(command).end();
    assert!(!ended.code(2).stderr().contains("SERVER_BENCH"), "{}", ended.stderr());
}

#[test]
fn an_empty_name_is_none() {
    let bench = Bench::new();
    let ended = bench.run(&with(SMALL, &["--name", "", "--runner-label", " "]));
    let run = &ended.code(0).report()["run"];
    assert_eq!(run["name"], "chat");
    assert_ne!(run["runner_label"], " ");
}

#[test]
fn a_model_whose_path_no_command_line_of_ours_can_hold_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let bench = Bench::new();
    let folder = std::path::Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let mut command = bench.run_command(&with(SMALL, &["--model", "synthetic"]));
    command.arg("--model-path-prefix").arg(bench.path("x").with_file_name(folder));
    bench.start(command).end().code(2).says(&["error: the path of the model, ", "is no UTF-8"]);
}

#[test]
fn bench_py_takes_empty_variables_too() {
    let bench = Bench::new();
    let given = "--name n --runner-label l --branch b --commit c --port 0 --n-prompts 2 \
                 --max-prompt-tokens 9 --max-tokens 99 --model synthetic --n-gpu-layers 0 --ctx-size 99 \
                 --parallel 1 --batch-size 9 --ubatch-size 9 --scenario script.js --duration 1s --dry-run";
    let mut command =
        bench.command(&[vec!["bench-py"], given.split_whitespace().collect()].concat());
    for name in VARIABLES {
        command.env(name, "");
    }
    command.env("LLAMA_SERVER_BIN_PATH", bench.script("llama-server", "#!/bin/sh\n"));
    let ended = bench.start(command).end();
    ended.code(0);
    assert!(ended.stdout().contains("--max-tokens 512"), "bench.py's default: {}", ended.stdout());
}

#[test]
fn variables_of_run_are_nothing_to_other_commands() {
    let bench = Bench::new();
    for args in [&["help", "exit-codes"][..], &["completions", "bash"], &["__guard"]] {
        let mut command = bench.command(args);
        command.env("SERVER_BENCH_N_PROMPTS", "abc");
        bench.start(command).end().code(0);
    }
    // For a run it is a mistake, and named.
    let mut command = bench.run_command(&["--server", "sim"]);
    command.env("SERVER_BENCH_N_PROMPTS", "abc");
    let ended = bench.start(command).end();
    ended.code(2);
    assert!(ended.stderr().contains("invalid value 'abc' for '--n-prompts"), "{}", ended.stderr());
}

/// As cargo does with a build that is still running.
#[test]
fn a_build_that_is_removed_meanwhile_goes_on_with_itself() {
    let bench = Bench::new();
    let build = bench.path("build");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_bench-ci")).arg(&build).status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(&build);
    bench.known_environment(&mut command);
    command.arg("--out-dir").arg(bench.out()).args(SMALL);
    let running = bench.start(command);
    std::fs::remove_file(&build).unwrap();
    let ended = running.end();
    ended.code(0).reports("completed");
    assert!(!ended.stderr().contains("no watchdog"), "{}", ended.stderr());
}
