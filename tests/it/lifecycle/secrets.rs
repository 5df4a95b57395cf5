//! Keys, tokens and header values: sent to whom they are for, and seen nowhere else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Bench, Ended, SMALL, with};
use crate::hub_server::{Behaviour, HubServer};

const KEY: &str = "key-5d41402abc4b2a76";
const HEADER: &str = "header-b9719d911017c592";
const TOKEN: &str = "hf_7d793037a0760186574b";

/// A simulator that was running already.
struct Elsewhere {
    child: Child,
    url: String,
}

impl Elsewhere {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bench-ci"))
            .args(["sim", "--port", "0"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = lines
            .find_map(|line| Some(line.ok()?.split_once("listening on ")?.1.trim().to_owned()))
            .expect("it listens");
        // Read on, so that it can write on.
        std::thread::spawn(move || lines.for_each(drop));
        // Its model is loaded a moment later.
        let until = Instant::now() + super::PATIENCE;
        while !healthy(url.trim_start_matches("http://")) {
            assert!(Instant::now() < until, "never healthy");
            std::thread::sleep(Duration::from_millis(2));
        }
        Self { child, url }
    }
}

fn healthy(address: &str) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    answer.starts_with("HTTP/1.1 200")
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// No file of the folder (caches and streams too) and no name of one holds a secret.
#[track_caller]
fn keeps_secrets(bench: &Bench, secrets: &[&str]) {
    for path in bench.files("") {
        let bytes = std::fs::read(&path).unwrap();
        for secret in secrets {
            let found = memchr::memmem::find(&bytes, secret.as_bytes()).is_some();
            assert!(!found, "{secret} is in {}", path.display());
            assert!(!path.display().to_string().contains(secret));
        }
    }
}

/// No command line of any process holds a secret.
fn command_lines_keep(secret: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command_line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let found = memchr::memmem::find(&command_line, secret.as_bytes()).is_some();
        assert!(!found, "{}", String::from_utf8_lossy(&command_line));
    }
}

fn completed(ended: &Ended<'_>) -> u64 {
    ended.report()["requests"]["completed"].as_u64().unwrap()
}

#[test]
fn a_key_and_headers_reach_the_server_and_no_file() {
    let server = Elsewhere::start(&["--api-key", KEY]);
    let bench = Bench::new();
    let header = format!("X-Secret={HEADER}");
    let args = ["--url", &server.url, "--n-prompts", "4", "--max-tokens", "4", "--header", &header];
    let args = with(&args, &["--verbose", "--max-lateness", "100", "--max-client-delay", "100"]);
    let mut command = bench.run_command(&args);
    command.env("BENCH_CI_API_KEY", KEY);
    let ended = bench.start(command).end();
    assert_eq!(completed(&ended), 4, "the key was sent: {}", ended.report()["requests"]);
    ended.code(0).reports("completed");
    keeps_secrets(&bench, &[KEY, HEADER]);

    // A wrong key, which the server refuses and might repeat.
    let wrong = "wrong-4e07408562bedb8b";
    let ended = bench.run(&with(&args, &["--api-key", wrong]));
    ended.code(5).reports("completed");
    assert_eq!(completed(&ended), 0);
    keeps_secrets(&bench, &[KEY, HEADER, wrong]);

    let ended = bench.run(&with(&args, &["--api-key", KEY, "--dry-run"]));
    ended.code(0);
    keeps_secrets(&bench, &[KEY, HEADER]);
}

#[test]
fn a_key_of_the_started_server_is_shown_nowhere() {
    let bench = Bench::new();
    for args in [
        &["--verbose", "--", "--api-key", KEY][..],
        &["--dry-run", "--", "--api-key", KEY],
        &["--dry-run", "--", &format!("--api-key={KEY}")],
    ] {
        bench.run(&with(SMALL, args)).code(0);
        keeps_secrets(&bench, &[KEY]);
    }
}

#[test]
fn a_server_that_writes_its_keys_to_its_log_has_them_taken_out() {
    let bench = Bench::new();
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    // As `set -x` in a script, or a server that logs its arguments and its environment.
    let words = "echo \"argv ['$*'] key=$BENCH_CI_API_KEY\"; env";
    let wrapper = bench.script("wrapper", &format!("#!/bin/sh\n{words}\nexec {sim} sim \"$@\"\n"));
    let args = ["--server", &wrapper, "--n-prompts", "2", "--max-tokens", "2", "--verbose"];
    let header = format!("X-Secret={HEADER}");
    let keys = format!("first-2fe1c9,{KEY}");
    let more = ["--header", &header, "--accept-saturated-client", "--", "--model", "none"];
    let mut command = bench.run_command(&with(&with(&args, &more), &["--api-key", &keys]));
    command.env("BENCH_CI_API_KEY", "ours-98f13708210194c4").env("HF_TOKEN", TOKEN);
    bench.start(command).end().code(0).reports("completed");
    assert!(bench.read("out/server.log").contains("key=***"), "{}", bench.read("out/server.log"));
    keeps_secrets(&bench, &["first-2fe1c9", KEY, HEADER, TOKEN, "ours-98f13708210194c4"]);
}

#[test]
fn the_keys_of_two_sides_are_shown_nowhere_and_not_in_what_an_interruption_leaves() {
    let (other, variable) = ("key-7d793037a0760186", "variable-6dcd4ce23d88e2ee");
    let bench = Bench::new();
    let out = bench.out().display().to_string();
    let (base, head) = (format!("--api-key {KEY}"), format!("--api-key {other}"));
    let named = format!("X={variable}");
    let ab = |budget: &str| {
        let sides = ["--base-args", &base, "--head-args", &head, "--head-env", &named];
        let size = ["--users", "2", "--max-tokens", "4", "--pairs", "2", "--budget", budget];
        let rest = ["ab", "--server", "sim", "--verbose", "--out-dir", &out];
        bench.start(bench.command(&[&rest[..], &sides, &size].concat()))
    };
    // What it comes to is the machine's affair.
    ab("8s").end();
    keeps_secrets(&bench, &[KEY, other, variable]);
    let report: serde_json::Value = serde_json::from_str(&bench.read("out/ab.json")).unwrap();
    assert_eq!(report["sides"]["base"]["label"], "sim --api-key ***");
    assert_eq!(report["sides"]["head"]["label"], "sim --api-key *** X");

    let live = ab("600s");
    live.until_file_has("out/ab-state.json", "\"plan\"");
    live.signal(nix::sys::signal::Signal::SIGINT);
    live.end().code(130);
    assert!(bench.path("out/ab-state.json").is_file(), "--resume finds it");
    keeps_secrets(&bench, &[KEY, other, variable]);
}

#[test]
fn a_key_from_the_variable_is_on_no_command_line() {
    let key = "variable-ef2d127de37b942b";
    let bench = Bench::new();
    let args = ["--server", "sim", "--duration", "1h"];
    let mut command = bench.run_command(&args);
    command.env("BENCH_CI_API_KEY", key).env("HF_TOKEN", TOKEN);
    let live = bench.start(command);
    live.until_stage("load");
    command_lines_keep(key);
    command_lines_keep(TOKEN);
    live.signal(nix::sys::signal::Signal::SIGINT);
    live.end().code(130);
    keeps_secrets(&bench, &[key, TOKEN]);
}

#[test]
fn a_token_that_the_hub_refuses_is_not_repeated() {
    let hub = HubServer::start();
    hub.add("o/n", "m.gguf", b"GGUF");
    hub.behave(Behaviour { token: Some("another".to_owned()), ..Behaviour::default() });
    let bench = Bench::new();
    let args = ["--hf-repo", "o/n", "--hf-file", "m.gguf", "--verbose"];
    let mut command = bench.run_command(&with(SMALL, &args));
    command.env("HF_ENDPOINT", hub.url()).env("HF_TOKEN", TOKEN);
    let ended = bench.start(command).end();
    ended.code(6).says(&["error: "]).reports("failed");
    keeps_secrets(&bench, &[TOKEN]);
}

#[test]
fn a_password_inside_the_url_is_refused_unseen() {
    let bench = Bench::new();
    for dry in [&[][..], &["--dry-run"]] {
        let args = [&["--url", "http://user:hunter22-secret@127.0.0.1:9"][..], dry].concat();
        bench.run(&args).code(2).says(&["--api-key"]);
        keeps_secrets(&bench, &["hunter22-secret"]);
    }
}

#[test]
fn a_header_that_cannot_be_sent_is_refused_before_anything_starts_and_not_shown() {
    let bench = Bench::new();
    let header = format!("X-Secret={HEADER}\n");
    let ended = bench.run(&with(SMALL, &["--header", &header]));
    ended.code(2).says(&["X-Secret"]);
    keeps_secrets(&bench, &[HEADER]);
    assert!(!bench.out().exists());
}

#[test]
fn the_key_of_a_stranger_on_our_port_is_not_told() {
    let stranger = Elsewhere::start(&["--api-key", KEY]);
    let bench = Bench::new();
    let port = stranger.url.rsplit(':').next().unwrap();
    let ended = bench.run(&with(SMALL, &["--verbose", "--port", port]));
    ended.code(7).says(&["is taken by process", "--api-key ***"]).reports("failed");
    keeps_secrets(&bench, &[KEY]);
}

#[test]
fn of_several_keys_in_the_variable_of_the_server_the_first_is_sent() {
    let bench = Bench::new();
    let sim = env!("CARGO_BIN_EXE_bench-ci");
    let script = format!("#!/bin/sh\nexec {sim} sim --api-key \"$LLAMA_API_KEY\" \"$@\"\n");
    let wrapper = bench.script("wrapper", &script);
    // The flags of SMALL without the simulator, which does not read the variable.
    let args = with(&["--server", &wrapper], &SMALL[2..]);
    let mut command = bench.run_command(&with(&args, &["--", "--model", "none"]));
    command.env("LLAMA_API_KEY", format!("{KEY},another-0c1d7e"));
    let ended = bench.start(command).end();
    ended.code(0);
    assert_eq!(completed(&ended), 4);
}
