//! Prometheus in and out: with the real ones, with servers that answer nonsense, and without any.
//!
//! Main types: [`Fake`], a server that answers as it is told, and [`get`], a plain request.

mod asking;
mod examples;
mod real_prometheus;
mod telling;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::run::Bench;

/// A simulator for two users, and nothing that a busy machine could fail.
const BRISK: [&str; 8] = [
    "--server",
    "sim",
    "--scenario",
    "brisk.toml",
    "--max-lateness",
    "1000",
    "--max-client-delay",
    "1000",
];

/// The flags of a short run and these.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&BRISK[..], &["--users", "2", "--n-prompts", "6"], more].concat()
}

/// What a server answers.
#[derive(Clone)]
struct Reply {
    status: u16,
    kind: &'static str,
    body: String,
}

fn reply(status: u16, kind: &'static str, body: &str) -> Reply {
    Reply { status, kind, body: body.to_owned() }
}

/// A server on the loopback that answers by `answer`, and notes the requests' heads.
struct Fake {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(answer: impl Fn(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heads);
        // Ends with the process; it holds nothing but its socket.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let head = whole_request(&mut stream);
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let Reply { status, kind, body } = answer(&path);
                noted.lock().unwrap().push(head);
                let _gone_away = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nLocation: http://elsewhere.invalid/x?key=1\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { url, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// The head, after the body was read too: a connection closed before is a reset.
fn whole_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            if bytes.len() - end >= length.unwrap_or(0) {
                return head.to_owned();
            }
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return text,
        }
    }
}

/// Status, head and body of a request without a body. HTTP/1.0, so that nothing comes in chunks.
fn ask(address: &str, request: &str, headers: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "{request} HTTP/1.0\r\nHost: {address}\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, head.to_owned(), body.to_owned()))
}

/// The body of a page that must be there.
fn get(address: &str, path: &str) -> String {
    let (status, head, body) = ask(address, &format!("GET {path}"), "").unwrap();
    assert_eq!(status, 200, "{path}: {head}\n{body}");
    body
}

/// All that a run left behind, for looking for what must not be in it.
fn everything(bench: &Bench, out: &str) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(bench.path(out)).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        all.push_str(&String::from_utf8_lossy(&bytes));
    }
    all
}

/// The codes and words of a report's warnings.
fn warnings(report: &serde_json::Value) -> Vec<String> {
    let warnings = report["warnings"].as_array().unwrap().iter();
    warnings.map(|it| format!("{}: {}", it["code"], it["message"].as_str().unwrap())).collect()
}
