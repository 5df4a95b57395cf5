//! `bench-ci doctor`: the code that a run would end with, what is missing, and nothing touched.

use super::{Bench, Ended};

fn doctor<'a>(bench: &'a Bench, args: &[&str]) -> Ended<'a> {
    let out = bench.out().display().to_string();
    let mut command = bench.command(&[&["doctor", "--out-dir", &out], args].concat());
    command.env("TMPDIR", bench.folder.path()).env("PATH", "/nowhere");
    bench.start(command).end()
}

#[track_caller]
fn lists(ended: &Ended<'_>, lines: &[&str]) {
    let list = ended.stdout();
    for line in lines {
        assert!(list.contains(line), "no {line:?} in:\n{list}");
    }
}

#[test]
fn all_is_well_with_the_simulator_and_the_last_report_stays() {
    let bench = Bench::new();
    std::fs::create_dir(bench.out()).unwrap();
    std::fs::write(bench.out().join("report.json"), "of the last run").unwrap();
    let ended = doctor(&bench, &["--server", "sim"]);
    ended.code(0);
    lists(
        &ended,
        &[
            "ok    machine ",
            "ok    output folder ",
            "note  target         the simulator",
            "ok    server ",
            "ok    one request    answered whole, first token after ",
            "\neverything a run needs is here\n",
        ],
    );
    assert!(!ended.stdout().contains("BAD"));
    assert_eq!(bench.read("out/report.json"), "of the last run");
    assert_eq!(bench.files("out").len(), 1);
    let kept = |path: &std::path::PathBuf| path.display().to_string().contains("bench-ci-doctor");
    assert!(!bench.files("").iter().any(kept), "its temporary folder is gone");
}

#[test]
fn without_a_server_it_says_how_to_get_one() {
    let bench = Bench::new();
    let ended = doctor(&bench, &[]);
    ended.code(7);
    lists(
        &ended,
        &[
            "BAD   server         no llama-server to start",
            "hint: get llama-server from",
            "--server sim",
            "a run would end with exit code 7",
        ],
    );
    assert!(!bench.out().exists(), "nothing is made");
}

#[test]
fn without_a_model_it_is_code_6_or_names_the_three_ways() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--server", "sim", "--model", "nope.gguf"]);
    ended.code(6);
    lists(
        &ended,
        &["BAD   model          cannot use the model: no such file \"nope.gguf\"", "hint: "],
    );

    let program = bench.script("llama-server", "#!/bin/sh\n");
    let ended = doctor(&bench, &["--server", &program]);
    ended.code(2);
    lists(&ended, &["BAD   flags ", "--hf-repo REPO --hf-file FILE", "--model synthetic"]);
}

#[test]
fn a_server_that_dies_is_shown_with_a_log_that_can_be_read() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--server", "sim", "--", "--sim-fault", "die-at-start:gone mad"]);
    ended.code(7);
    lists(&ended, &["BAD   server         llama-server exited with status 1", "log: ", "gone mad"]);
    let list = ended.stdout();
    let log = list.split("full log in ").nth(1).unwrap().lines().next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("gone mad"));
}

#[test]
fn a_request_that_fails_is_not_all_well() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--server", "sim", "--", "--sim-fault", "status:500"]);
    ended.code(5);
    lists(&ended, &["BAD   one request    ", "500", "a run would end with exit code 5"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_said_first() {
    let bench = Bench::new();
    let mut command = bench.command(&["doctor", "--out-dir", "/proc/out", "--server", "sim"]);
    command.env("TMPDIR", bench.folder.path());
    let ended = bench.start(command).end();
    ended.code(1);
    lists(&ended, &["BAD   output folder  cannot write to \"/proc/out\"", "--out-dir"]);
}

#[test]
fn prompts_of_which_none_fits_are_named() {
    let bench = Bench::new();
    let ended = doctor(&bench, &["--server", "sim", "--parallel", "1", "--ctx-size", "16"]);
    ended.code(2);
    lists(&ended, &["BAD   prompts        none of ", "hint: raise --ctx-size"]);
}

#[test]
fn whatever_load_a_run_takes_is_looked_at_with_one_request() {
    let bench = Bench::new();
    std::fs::write(bench.path("trace.jsonl"), "{\"timestamp\": 5, \"prompt\": \"Say 1\"}\n")
        .unwrap();
    let phases = "cool_down = \"1s\"\n[[phase]]\nname = \"a\"\nn_prompts = 3\nusers = 2\n\
                  [[phase]]\nname = \"b\"\nduration = \"9s\"\n[phase.arrivals]\nrate = 3\n";
    std::fs::write(bench.path("phases.toml"), phases).unwrap();
    std::fs::write(bench.path("each.toml"), "iterations_per_user = 7\nusers = 3\n").unwrap();
    for load in [
        &["--scenario", "load"][..],
        &["--scenario", "soak"],
        &["--scenario", "spike"],
        &["--scenario", "breakpoint"],
        &["--scenario", "./phases.toml"],
        &["--scenario", "./each.toml"],
        &["--rate", "5", "--max-in-flight", "2"],
        &["--trace", "trace.jsonl", "--trace-speed", "2x"],
        &["--sweep", "users=1,2", "--sweep", "parallel=1,2"],
        &["--search", "rate", "--objective", "ttft_ms < 500"],
        &["--tpot-difference", "64", "--warm-up", "9"],
        &["--threshold", "completed_requests: count >= 100"],
    ] {
        let ended = doctor(&bench, &[&["--server", "sim"], load].concat());
        lists(
            &ended,
            &["ok    one request    answered whole", "\neverything a run needs is here\n"],
        );
        ended.code(0);
    }
}

#[test]
fn flags_that_a_run_refuses_are_refused() {
    let bench = Bench::new();
    for wrong in [
        &["--users", "0"][..],
        &["--n-prompts", "0"],
        &["--max-tokens", "0"],
        &["--threshold", "nonsense"],
        &["--resume"],
    ] {
        let flags = [&["--server", "sim"], wrong].concat();
        bench.run(&flags).code(2);
        doctor(&bench, &flags).code(2);
    }
    let mut command = bench.command(&["doctor", "--out-dir", "/proc/out", "--users", "0"]);
    command.env("TMPDIR", bench.folder.path());
    let ended = bench.start(command).end();
    ended.code(2);
    lists(&ended, &["BAD   flags ", "--users"]);
}
