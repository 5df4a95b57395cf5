//! Against the real llama-server.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{scenario, turns};
use crate::run::{Bench, Ran, metric, real_server};

fn on_real(bench: &Bench, lines: &str, tables: &str, more: &[&str]) -> Ran {
    let (scenario, server) = (scenario(bench, lines, tables), real_server());
    let flags = ["--server", &server, "--model", "synthetic", "--scenario", &scenario];
    bench.run("out", &[&flags[..], &["--max-lateness", "1000"], more].concat())
}

fn agrees(report: &Value) {
    let found = report["reconciliation"]["disagreements"].as_array().unwrap();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn cached_tokens_grow_as_the_conversation_does() {
    let bench = Bench::new();
    let tables = "[conversation]\nturns = 4\n[request]\nmax_tokens = 16\nignore_eos = true\n[filter]\nmax_prompt_words = 30\n";
    let flags = ["--n-prompts", "4", "--users", "2", "--parallel", "2", "--ctx-size", "4096"];
    let ran = on_real(&bench, "", tables, &flags).checked(0);
    let report = ran.report();
    assert_eq!(report["requests"]["completed"], 16);
    let turns = turns(&report);
    assert_eq!(turns.len(), 4, "{turns:?}");
    for (earlier, later) in turns.iter().zip(&turns[1..]) {
        assert!(later.0 > earlier.0 && later.1 > earlier.1, "{turns:?}");
        // All that an earlier turn asked is in the cache of the next.
        assert!(later.0 + 1.0 >= earlier.1, "{turns:?}");
    }
    agrees(&report);
}

#[test]
fn embeddings_and_scores_come_from_the_real_server() {
    let prompts = "[filter]\nmax_prompt_words = 30\n";
    for (endpoint, rate) in
        [("/v1/embeddings", "embeddings_per_second"), ("/rerank", "documents_per_second")]
    {
        let bench = Bench::new();
        let lines = format!("endpoint = \"{endpoint}\"");
        let flags =
            ["--n-prompts", "6", "--users", "2", "--parallel", "2", "--inputs-per-request", "2"];
        let ran = on_real(&bench, &lines, prompts, &flags).checked(0);
        let report = ran.report();
        assert_eq!(report["requests"]["completed"], 6, "{endpoint}");
        assert!(report["rates"][rate].as_f64().unwrap() > 0.0, "{}", report["rates"]);
        assert!(report["rates"]["prompt_tokens_per_second"].as_f64().unwrap() > 0.0);
        agrees(&report);
        if endpoint == "/v1/embeddings" {
            assert!(ran.rows().iter().all(|row| row["dimensions"] == 64 && row["results"] == 2));
        }
    }
}

#[test]
fn whole_answers_have_their_counts_and_no_first_token() {
    for endpoint in ["/v1/chat/completions", "/v1/completions", "/completion"] {
        let bench = Bench::new();
        let lines = format!("endpoint = \"{endpoint}\"");
        let tables = "[request]\nmax_tokens = 8\nignore_eos = true\n";
        let flags = ["--n-prompts", "4", "--users", "2", "--parallel", "2", "--no-stream"];
        let ran = on_real(&bench, &lines, tables, &flags).checked(0);
        let report = ran.report();
        assert_eq!(report["requests"]["completed"], 4, "{endpoint}");
        assert_eq!(report["reconciliation"]["tokens"]["usage_completion_tokens"], 32);
        assert!(metric(&report, "server_decode_ms", "mean") > 0.0);
        assert!(report["metrics"]["ttft_ms"]["mean"].is_null());
        agrees(&report);
    }
}

/// A llama-server of the test's own, ended with it.
struct Own {
    child: Child,
    port: u16,
}

impl Own {
    fn start(bench: &Bench, flags: &[&str]) -> Self {
        // Port 0 is not offered by every build: one that was free a moment ago is.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let model = model(bench);
        let child = Command::new(real_server())
            .args(["--model", &model, "--port", &port.to_string(), "--host", "127.0.0.1"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let own = Self { child, port };
        let begun = Instant::now();
        while !own.get("/health").is_some_and(|answer| answer.contains("\"ok\"")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it never became healthy");
            std::thread::sleep(Duration::from_millis(20));
        }
        own
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn slots(&self) -> Value {
        let answer = self.get("/slots").unwrap();
        let start = answer.find('[').unwrap();
        let end = answer.rfind(']').unwrap();
        serde_json::from_str(&answer[start..=end]).unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The synthetic model, made by a dry run's elder brother: a run of one request.
fn model(bench: &Bench) -> String {
    let server = real_server();
    let flags =
        ["--server", &server, "--model", "synthetic", "--n-prompts", "1", "--max-tokens", "1"];
    bench.run("made", &flags).checked(0);
    let models = bench.path("cache").join("models");
    let file = std::fs::read_dir(models)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    file.unwrap().display().to_string()
}

#[test]
fn hanging_up_frees_the_slot_of_the_real_server() {
    let bench = Bench::new();
    let server = Own::start(&bench, &["--parallel", "1", "--ctx-size", "32768", "--slots"]);
    let url = format!("http://127.0.0.1:{}", server.port);
    // Each would take twenty thousand tokens; the next can only begin once the slot is free.
    let tables =
        "[cancel]\nshare = 1\nafter_tokens = 5\n[request]\nmax_tokens = 20000\nignore_eos = true\n";
    let scenario = scenario(&bench, "", tables);
    let flags = ["--url", &url, "--scenario", &scenario, "--users", "1", "--n-prompts", "5"];
    let ran = bench.run("out", &[&flags[..], &["--max-lateness", "1000"]].concat()).checked(5);
    let report = ran.report();
    assert_eq!(report["requests"]["cancelled"], 5, "{}", report["requests"]);
    assert_eq!(report["requests"]["failed"], 0);
    // The last of them is let go too.
    let begun = Instant::now();
    while server.slots().as_array().unwrap().iter().any(|slot| slot["is_processing"] == true) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", server.slots());
        std::thread::sleep(Duration::from_millis(20));
    }
    // And the server works on as if nothing had been.
    let scenario = super::scenario(&bench, "", "[request]\nmax_tokens = 4\n");
    let flags = ["--url", &url, "--scenario", &scenario, "--users", "1", "--n-prompts", "2"];
    bench.run("after", &[&flags[..], &["--max-lateness", "1000"]].concat()).checked(0);
}

#[test]
fn a_deadline_frees_the_slot_too() {
    let bench = Bench::new();
    let tables = "[request]\nmax_tokens = 20000\nignore_eos = true\n";
    let flags = ["--users", "1", "--n-prompts", "2", "--parallel", "1", "--ctx-size", "32768"];
    let more = ["--deadline", "1s", "--max-failed", "2"];
    let ran = on_real(&bench, "", tables, &[&flags[..], &more].concat()).checked(5);
    assert_eq!(ran.failures(), [("deadline".to_owned(), 2)]);
    let rows = ran.rows();
    // llama-server sends headers when a slot begins: the first must have let go of the only one.
    assert!(rows.iter().all(|row| row["headers_s"].is_number()), "{rows:?}");
}
