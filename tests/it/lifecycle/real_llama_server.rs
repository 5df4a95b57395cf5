//! The same with the real llama-server, where it can show the case.

use nix::sys::signal::Signal::SIGINT;

use super::{Bench, with};

fn llama_server() -> String {
    std::env::var("BENCH_CI_TEST_LLAMA_SERVER")
        .expect("BENCH_CI_TEST_LLAMA_SERVER is set: run `cargo xtask test`")
}

/// Without repacking: for it llama.cpp takes matrix instructions that the processor announces, and
/// that some virtual machines then refuse.
const CAREFUL: &[&str] = &["--", "--no-repack", "--threads", "2"];

fn args<'a>(server: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let base = ["--server", server, "--n-prompts", "4", "--max-tokens", "4", "--ctx-size", "4096"];
    let base =
        with(&base, &["--parallel", "2", "--max-lateness", "100", "--max-client-delay", "100"]);
    with(&with(&base, more), CAREFUL)
}

#[test]
fn a_missing_or_corrupt_model_in_its_own_words() {
    let server = llama_server();
    let bench = Bench::new();
    std::fs::write(bench.path("bad.gguf"), "garbage, garbage, garbage").unwrap();
    for (model, cause) in [
        ("nope.gguf", "the model file does not exist"),
        ("bad.gguf", "the model could not be loaded"),
    ] {
        // Behind `--` it is the server's own business, and the server says what is wrong.
        let ended = bench.run(&with(&args(&server, &[]), &["--model", model]));
        ended.code(7).says(&[cause, "log: ", model]).reports("failed");
        ended.first_line("Failed", &[cause]);
        // As our own flag nothing is started for it.
        let ended = bench.run(&args(&server, &["--model", model]));
        ended.code(6).says(&["error: cannot use the model", model]).reports("failed");
    }
}

#[test]
fn an_unknown_flag_and_a_taken_port_in_its_own_words() {
    let server = llama_server();
    let bench = Bench::new();
    let ended =
        bench.run(&with(&args(&server, &["--model", "synthetic"]), &["--no-such-flag-at-all"]));
    ended.code(7).says(&["it does not know one of its arguments", "--no-such-flag-at-all"]);
    ended.reports("failed");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ended = bench.run(&args(&server, &["--model", "synthetic", "--port", &port]));
    ended.code(7).says(&[&format!("port {port}"), "is taken by process"]).reports("failed");
}

#[test]
fn a_whole_run_directly_and_behind_a_wrapper() {
    let server = llama_server();
    for launcher in [None, Some(""), Some("setsid ")] {
        let bench = Bench::new();
        let program = launcher.map_or_else(
            || server.clone(),
            |launcher| bench.script("wrapper", &format!("#!/bin/sh\n{launcher}{server} \"$@\"\n")),
        );
        let ended = bench.run(&args(&program, &["--model", "synthetic"]));
        ended.code(0).reports("completed").first_line("OK", &["4 of 4 requests completed"]);
    }
}

#[test]
fn ctrl_c_and_kill_9_while_it_loads_and_while_it_works() {
    let server = llama_server();
    // Large enough to be caught while it loads, mostly; wherever it is caught, the end is the same.
    let large = "synthetic:layers=4,embd=1024,heads=8,ff=2816,vocab=4096,ctx=4096,type=f32";
    let bench = Bench::new();
    let run = with(&["--duration", "1h"], &["--model", large]);
    let run = with(&["--warm-up", "0", "--max-tokens", "8"], &run);
    let run = with(&["--server", &server, "--parallel", "2"], &run);
    let run = with(&run, CAREFUL);

    let live = bench.begin(&run);
    live.until_file_has("out/server.log", "load");
    live.signal(SIGINT);
    let ended = live.end();
    ended.code(130);
    let status = ended.report()["run"]["status"].as_str().unwrap().to_owned();
    ended.reports(&status);

    let live = bench.begin(&run);
    live.until_file_has("out/server.log", "load");
    live.kill_9();

    let live = bench.begin(&run);
    live.until_stage("load");
    live.signal(SIGINT);
    live.end().code(130).reports("partial").first_line("Partial", &["interrupted"]);

    let live = bench.begin(&run);
    live.until_stage("load");
    live.kill_9();
}

#[test]
fn doctor_is_content() {
    let server = llama_server();
    let bench = Bench::new();
    let args = with(&["doctor", "--server", &server, "--model", "synthetic"], CAREFUL);
    let mut command = bench.command(&args);
    command.env("TMPDIR", bench.folder.path());
    let ended = bench.start(command).end();
    ended.code(0);
    assert!(ended.stdout().contains("one request    answered whole"), "{}", ended.stdout());
}
