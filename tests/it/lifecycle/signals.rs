//! Ctrl-C in each stage, SIGTERM, SIGHUP, and `kill -9`: the partial report is kept, and no server.

use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};

use super::{Bench, SMALL, with};
use crate::hub_server::{Behaviour, HubServer};

/// A load that nobody waits for the end of.
const ENDLESS: &[&str] =
    &["--server", "sim", "--duration", "1h", "--max-lateness", "100", "--max-client-delay", "100"];

/// Accepts connections and never answers.
fn hanging_hub() -> HubServer {
    let hub = HubServer::start();
    hub.behave(Behaviour { hang: true, ..Behaviour::default() });
    hub
}

#[test]
fn ctrl_c_while_the_model_is_fetched() {
    let (bench, hub) = (Bench::new(), hanging_hub());
    let mut command = bench.run_command(&with(SMALL, &["--hf-repo", "o/n", "--hf-file", "m.gguf"]));
    command.env("HF_ENDPOINT", hub.url());
    let live = bench.start(command);
    live.until_stage("model");
    live.signal(SIGINT);
    let ended = live.end();
    ended.code(130).reports("failed").first_line("Failed", &["stopped while getting the model"]);
}

#[test]
fn ctrl_c_while_the_model_is_made_leaves_no_half_model() {
    let bench = Bench::new();
    let live = bench.begin(&with(SMALL, &["--model", "synthetic:1b"]));
    live.until_file_has("out/events.jsonl", "\"event\":\"transfer\"");
    live.signal(SIGINT);
    live.end().code(130).reports("failed");
    assert_eq!(bench.files("cache"), Vec::<std::path::PathBuf>::new());
}

#[test]
fn ctrl_c_while_the_dataset_is_fetched() {
    let (bench, hub) = (Bench::new(), hanging_hub());
    let mut command = bench.run_command(&with(SMALL, &["--dataset", "sharegpt"]));
    command.env("HF_ENDPOINT", hub.url());
    let live = bench.start(command);
    live.until_stage("dataset");
    live.signal(SIGINT);
    live.end().code(130).reports("failed").first_line("Failed", &["stopped"]);
}

#[test]
fn ctrl_c_while_a_program_does_not_say_what_it_is() {
    let bench = Bench::new();
    let program = bench.script("llama-server", "#!/bin/sh\ntouch asked\nsleep 1000\n");
    let live = bench.begin(&["--server", &program, "--model", "synthetic"]);
    bench.eventually("it is asked", || bench.path("asked").exists());
    live.signal(SIGINT);
    live.end().code(130).reports("failed");
}

#[test]
fn ctrl_c_while_the_server_loads() {
    let bench = Bench::new();
    let live = bench.begin(&with(SMALL, &["--", "--sim-fault", "never-healthy"]));
    live.until_file_has("out/server.log", "listening");
    live.signal(SIGINT);
    let ended = live.end();
    ended.code(130).reports("failed").first_line("Failed", &["while llama-server was starting"]);
}

#[test]
fn ctrl_c_while_the_server_is_asked_what_it_is() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let bench = Bench::new();
    let live = bench.begin(&["--url", &url, "--n-prompts", "4"]);
    // Connected, and left without an answer.
    let _connection = listener.accept().unwrap();
    live.signal(SIGINT);
    live.end().code(130).reports("failed");
}

#[test]
fn ctrl_c_during_warm_up() {
    let bench = Bench::new();
    let live = bench.begin(&with(ENDLESS, &["--warm-up", "9", "--", "--sim-fault", "hang-before"]));
    live.until_stage("warm_up");
    live.signal(SIGINT);
    live.end().code(130).reports("partial").first_line("Partial", &["interrupted"]);
}

#[test]
fn ctrl_c_under_load_keeps_what_was_measured() {
    let bench = Bench::new();
    let live = bench.begin(ENDLESS);
    live.until_file_has("out/requests.partial.jsonl", "\"phase\":\"measured\"");
    live.signal(SIGINT);
    let ended = live.end();
    ended.code(130).reports("partial").first_line("Partial", &["interrupted", "completed"]);
    assert!(ended.report()["requests"]["completed"].as_u64().unwrap() > 0);
    assert!(ended.stdout().contains("nterrupted"), "the summary is still shown");
}

#[test]
fn sigterm_and_sighup_are_code_143() {
    for signal in [SIGTERM, SIGHUP] {
        let bench = Bench::new();
        let live = bench.begin(ENDLESS);
        live.until_stage("load");
        live.signal(signal);
        live.end().code(143).reports("partial").first_line("Partial", &["terminated"]);
    }
}

#[test]
fn nohup_is_obeyed() {
    let bench = Bench::new();
    let args = with(SMALL, &["--", "--sim-load-ms", "1500"]);
    let live = bench.start(bench.shell("trap '' HUP; exec \"$@\"", &args));
    live.until_file_has("out/server.log", "listening");
    live.signal(SIGHUP);
    live.end().code(0).reports("completed");
}

#[test]
fn ctrl_c_while_the_server_is_stopped() {
    let bench = Bench::new();
    let more = ["--stop-grace", "1s", "--", "--sim-fault", "refuse-stop"];
    let live = bench.begin(&with(SMALL, &more));
    live.until_stage("stop");
    live.signal(SIGINT);
    let ended = live.end();
    ended.code(130).reports("partial").first_line("Partial", &["4 of 4 requests completed"]);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_server_that_refuses_to_stop() {
    let bench = Bench::new();
    let more = ["--stop-grace", "1h", "--", "--sim-fault", "refuse-stop"];
    let live = bench.begin(&with(ENDLESS, &more));
    live.until_file_has("out/requests.partial.jsonl", "\"phase\":\"measured\"");
    live.signal(SIGINT);
    live.until_stage("stop");
    live.signal(SIGTERM);
    // A job that is cancelled in CI gets SIGINT, then SIGTERM; there is a report even so.
    let ended = live.end();
    ended.code(130).reports("partial").first_line("Partial", &["interrupted"]);
    assert_eq!(ended.report()["server"]["exit"]["killed"], true);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_loading_server_either() {
    let bench = Bench::new();
    let program = bench.script(
        "llama-server",
        "#!/bin/sh\ncase \"$*\" in *--help* | *--version*) exit 0 ;; esac\n\
         trap 'touch asked' INT\ntouch begun\nwhile :; do sleep 0.05; done\n",
    );
    let live = bench.begin(&["--server", &program, "--model", "synthetic", "--stop-grace", "1h"]);
    bench.eventually("it begins", || bench.path("begun").exists());
    live.signal(SIGINT);
    bench.eventually("it is asked to stop", || bench.path("asked").exists());
    live.signal(SIGINT);
    live.end().code(130).reports("failed");
}

#[test]
fn a_third_ctrl_c_finds_nothing_to_wait_for() {
    // Three at once may count as one or two; whichever, it leaves and takes the server along.
    let bench = Bench::new();
    let live =
        bench.begin(&with(ENDLESS, &["--stop-grace", "2s", "--", "--sim-fault", "refuse-stop"]));
    live.until_stage("load");
    for _ in 0..3 {
        live.signal(SIGINT);
    }
    live.end().code(130);
}

#[test]
fn kill_9_leaves_no_server_in_any_stage() {
    for (file, text, fault) in [
        ("out/server.log", "listening", "never-healthy"),
        ("out/events.jsonl", "\"stage\":\"warm_up\"", "hang-before"),
        ("out/events.jsonl", "\"stage\":\"load\"", "ping"),
        ("out/events.jsonl", "\"stage\":\"load\"", "refuse-stop"),
    ] {
        let bench = Bench::new();
        let live = bench.begin(&with(ENDLESS, &["--warm-up", "1", "--", "--sim-fault", fault]));
        live.until_file_has(file, text);
        live.kill_9();
    }
}

#[test]
fn kill_9_while_the_server_is_stopped_leaves_none() {
    let bench = Bench::new();
    let live =
        bench.begin(&with(SMALL, &["--stop-grace", "1h", "--", "--sim-fault", "refuse-stop"]));
    live.until_stage("stop");
    live.kill_9();
}

#[test]
fn kill_9_takes_a_wrapped_server_along_even_from_another_session() {
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    for launcher in ["", "setsid "] {
        let bench = Bench::new();
        let wrapper = bench.script("wrapper", &format!("#!/bin/sh\n{launcher}{sim} sim \"$@\"\n"));
        let args = ["--server", &wrapper, "--duration", "1h", "--", "--model", "none"];
        let live = bench.begin(&args);
        live.until_stage("load");
        live.kill_9();
    }
}

#[test]
fn kill_9_keeps_the_rows_that_were_written() {
    let bench = Bench::new();
    let live = bench.begin(ENDLESS);
    live.until_file_has("out/requests.partial.jsonl", "\"phase\":\"measured\"");
    live.kill_9();
    let rows = bench.read("out/requests.partial.jsonl");
    let (whole, _half) = rows.rsplit_once('\n').unwrap();
    for row in whole.lines() {
        let row: serde_json::Value = serde_json::from_str(row).expect("a whole row");
        assert!(row["index"].is_u64(), "{row}");
    }
    assert!(!bench.path("out/report.json").exists(), "nothing claims to be whole");
}

#[test]
fn a_variable_that_a_flag_cannot_read_does_not_disarm_the_watchdog() {
    // The flag wins over the variable in our own process, but the watchdog has no flags.
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    let bench = Bench::new();
    let wrapper = bench.script("wrapper", &format!("#!/bin/sh\n{sim} sim \"$@\"\n"));
    let args = ["--server", &wrapper, "--n-prompts", "100000", "--", "--model", "none"];
    let mut command = bench.run_command(&args);
    command.env("SERVER_BENCH_N_PROMPTS", "abc");
    let live = bench.start(command);
    live.until_stage("load");
    live.kill_9();
}
