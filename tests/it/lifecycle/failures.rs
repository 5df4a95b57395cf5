//! A server or a model that is not what it should be: the right code, the cause in words, a report
//! where a run had begun, and no process left.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use super::{Bench, LONGER, SMALL, with};

#[test]
fn a_missing_model_is_code_6() {
    let bench = Bench::new();
    let ended = bench.run(&with(SMALL, &["--model", "nope.gguf"]));
    ended.code(6).says(&["error: cannot use the model: no such file \"nope.gguf\""]);
    ended.reports("failed").first_line("Failed", &["nothing was measured", "nope.gguf"]);
}

#[test]
fn the_equivalent_of_a_bench_py_line_is_told_where_it_fails_too() {
    let bench = Bench::new();
    let line = "bench-py --server sim --model nope.gguf --name n --runner-label r --scenario script.js \
                --duration 1m --parallel 2 -ngl 0 --batch-size 512 --ubatch-size 256 --ctx-size 4096 \
                --n-prompts 4 --max-prompt-tokens 256 --max-tokens 256 --out-dir out";
    let words: Vec<&str> = line.split_whitespace().collect();
    let ended = bench.start(bench.command(&words)).end();
    ended.code(6).says(&[
        "error: cannot use the model: no such file \"nope.gguf\"",
        "\nequivalent command:\n  bench-ci --server sim --name n ",
    ]);
    ended.reports("failed");
}

#[test]
fn a_corrupt_model_is_code_6_before_any_server_is_started() {
    for (content, cause) in [
        (&b"this is not a model, whatever its name says"[..], "not a GGUF file"),
        (b"", "empty"),
        (b"GGUF\x03\0\0\0", ""),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.path("bad.gguf"), content).unwrap();
        let ended = bench.run(&with(SMALL, &["--model", "bad.gguf"]));
        ended.code(6).says(&["error: cannot use the model \"bad.gguf\"", cause]);
        ended.reports("failed").first_line("Failed", &["bad.gguf"]);
        assert!(!bench.path("out/server.log").exists(), "no server was started");
    }
}

#[test]
fn a_model_cut_in_the_middle_is_code_6() {
    let bench = Bench::new();
    let path = bench.path("whole.gguf").display().to_string();
    bench.start(bench.command(&["model", "make", "tiny", &path])).end().code(0);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(bench.path("cut.gguf"), &whole[..whole.len() / 2]).unwrap();
    let ended = bench.run(&with(SMALL, &["--model", "cut.gguf"]));
    ended.code(6).says(&["error: cannot use the model \"cut.gguf\""]).reports("failed");
}

#[test]
fn a_server_that_is_not_there_is_code_7() {
    let bench = Bench::new();
    let ended = bench.run(&["--server", "/nope/llama-server", "--model", "synthetic"]);
    ended.code(7).says(&["error: cannot start llama-server: no such file \"/nope/llama-server\""]);
}

#[test]
fn a_server_that_cannot_run_is_code_7() {
    let bench = Bench::new();
    let program = bench.script("llama-server", "#!/nope/interpreter\n");
    let ended = bench.run(&["--server", &program, "--model", "synthetic"]);
    ended.code(7).says(&["its interpreter \"/nope/interpreter\" does not exist"]);
    ended.reports("failed").first_line("Failed", &["interpreter"]);
}

#[test]
fn a_flag_that_the_server_does_not_know_is_named() {
    let bench = Bench::new();
    let ended = bench.run(&with(SMALL, &["--", "--no-such-flag"]));
    ended.code(7).says(&[
        "it does not know one of its arguments",
        "log: error: invalid argument: --no-such-flag",
        "hint: check the arguments behind -- against this build's --help",
    ]);
    ended.reports("failed").first_line("Failed", &["it does not know one of its arguments"]);
}

#[test]
fn a_port_of_a_stranger_who_answers_health_is_refused_and_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    // It says that it is healthy, as often as it is asked.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 4096]));
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{\"status\":\"ok\"}";
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    let bench = Bench::new();
    let ended = bench.run(&with(SMALL, &["--port", &port]));
    let own = format!("is taken by process {}", std::process::id());
    ended.code(7).says(&[&format!("port {port} on 127.0.0.1"), &own, "leave --port out"]);
    ended.reports("failed").first_line("Failed", &["is taken by process"]);
}

#[test]
fn a_server_that_never_gets_healthy_is_code_7_with_its_limit() {
    let bench = Bench::new();
    let ended =
        bench.run(&with(SMALL, &["--start-timeout", "1s", "--", "--sim-fault", "never-healthy"]));
    ended.code(7).says(&[
        "llama-server was not healthy within 1 s (--start-timeout)",
        "/health answered 503 (\"Loading model\")",
        "hint: raise --start-timeout",
    ]);
    assert!(!ended.stderr().contains("cleaning up"), "our own stop explains nothing");
    ended.reports("failed").first_line("Failed", &["not healthy within 1 s"]);
}

#[test]
fn a_server_that_dies_at_start_is_code_7_with_its_last_words() {
    let bench = Bench::new();
    let ended =
        bench.run(&with(SMALL, &["--", "--sim-fault", "die-at-start:unable to allocate 9 GiB"]));
    ended.code(7).says(&["memory ran out", "log: ", "unable to allocate 9 GiB", "out/server.log"]);
    ended.reports("failed").first_line("Failed", &["memory ran out"]);
    let first = bench.read("out/report.md").lines().next().unwrap().to_owned();
    assert!(!first.contains("load_model"), "the log does not belong into the verdict: {first}");
    assert!(bench.read("out/report.md").contains("unable to allocate 9 GiB"));
}

#[test]
fn the_address_of_a_server_that_was_never_ready_is_an_address() {
    let bench = Bench::new();
    let ended = bench.run(&with(SMALL, &["--host", "::1", "--", "--sim-fault", "die-at-start"]));
    // Where the machine has no such address, it is no more ready than that.
    ended.code(7).reports("failed");
    assert_eq!(ended.report()["server"]["base_url"], "http://[::1]:0");
}

#[test]
fn a_dataset_of_which_nothing_fits_is_code_2_and_says_so() {
    let small = ["--parallel", "1", "--ctx-size", "16"];
    let words = ["error: none of ", " fits the 16 tokens of a slot", "hint: raise --ctx-size"];
    for more in [&[][..], &["--turns", "2"]] {
        let bench = Bench::new();
        let ended = bench.run(&with(&with(SMALL, &small), more));
        ended.code(2).says(&words).reports("failed").first_line("Failed", &["none of "]);
    }
}

#[test]
fn a_server_that_dies_under_load_leaves_a_partial_report() {
    let bench = Bench::new();
    let ended = bench.run(&with(LONGER, &["--", "--sim-fault", "crash:10"]));
    ended.code(7).reports("partial");
    ended.first_line("Failed", &["was killed by SIGABRT", "of 20 requests completed"]);
    let report = ended.report();
    assert!(report["requests"]["completed"].as_u64().unwrap() > 0);
    assert!(report["requests"]["failed"].as_u64().unwrap() > 0);
    assert_eq!(report["server"]["exit"]["requested"], false);
    let codes: Vec<&str> = report["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|warning| warning["code"].as_str())
        .collect();
    assert!(!codes.contains(&"interrupted"), "nobody interrupted it: {codes:?}");
}

#[test]
fn a_server_that_ignores_sigint_is_killed_and_the_report_says_so() {
    let bench = Bench::new();
    let ended =
        bench.run(&with(SMALL, &["--stop-grace", "200ms", "--", "--sim-fault", "refuse-stop"]));
    ended.code(0).reports("completed").first_line("OK", &["4 of 4 requests completed"]);
    let report = ended.report();
    assert_eq!(report["server"]["exit"]["killed"], true);
    assert_eq!(report["server"]["exit"]["signal"], "SIGKILL");
    assert!(report["warnings"].to_string().contains("did not stop within 0.2 s of SIGINT"));
}

#[test]
fn behind_a_wrapper_script_it_is_all_the_same() {
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    for launcher in ["", "setsid "] {
        for (fault, code, status) in
            [("ping", 0, "completed"), ("crash:10", 7, "partial"), ("refuse-stop", 0, "completed")]
        {
            let bench = Bench::new();
            let wrapper =
                bench.script("wrapper", &format!("#!/bin/sh\n{launcher}{sim} sim \"$@\"\n"));
            let args = ["--server", &wrapper, "--n-prompts", "16", "--max-tokens", "4"];
            let more =
                ["--stop-grace", "500ms", "--max-lateness", "100", "--max-client-delay", "100"];
            let behind = ["--", "--model", "none", "--sim-fault", fault];
            let ended = bench.run(&with(&with(&args, &more), &behind));
            ended.code(code).reports(status);
        }
    }
}

#[test]
fn a_server_that_goes_into_the_background_is_told_from_one_that_serves() {
    let bench = Bench::new();
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    let wrapper = bench.script("wrapper", &format!("#!/bin/sh\nsetsid {sim} sim \"$@\" &\n"));
    let ended = bench.run(&["--server", &wrapper, "--n-prompts", "4", "--", "--model", "none"]);
    ended.code(7).says(&["exited with status 0", "it ended by itself instead of serving"]);
}

#[test]
fn a_url_where_nobody_listens_is_code_7_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let bench = Bench::new();
    let ended = bench.run(&["--url", &url, "--duration", "10m"]);
    ended.code(7).says(&[&format!("error: no server answers at \"{url}\""), "start that server"]);
    ended.reports("failed").first_line("Failed", &["no server answers"]);
}

#[test]
fn a_load_whose_records_can_no_longer_be_written_ends() {
    let bench = Bench::new();
    // No file may grow beyond 1 MiB: what a full disk does, to this process alone.
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    let args = ["--server", "sim", "--parallel", "8", "--max-tokens", "2", "--duration", "1h"];
    let fast = ["--", "--sim-ttft-ms", "1", "--sim-itl-ms", "0"];
    let run = bench.shell(script, &with(&args, &fast));
    let ended = bench.start(run).end();
    ended.code(1).says(&["error: cannot write", "requests.partial.jsonl"]);
}
