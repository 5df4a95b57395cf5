//! The load engine against small raw servers on loopback: what it sends, what it notes, and that
//! every way to fail has its own name.

mod answers;
mod connections;
mod failures;
mod phases;
mod run;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bench_ci::cancel::{Cancel, StopReason, pair};
use bench_ci::load::{
    ClockSource, FailureKind, HttpTarget, LoadError, LoadHandle, LoadOutcome, LoadPhase, LoadPlan,
    Outcome, Phase, PlannedBody, RequestRecord, Stamp, start,
};
use bench_ci::plan::{ClockChoice, Connections, Endpoint, LoadShape, RequestTimeouts, Secret};

const HEAD: &str = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=100\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const ROLE: &str = r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}"#;
const DELTA: &str =
    r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"we"}}]}"#;
const FINISH: &str = r#"data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}]}"#;
const USAGE: &str =
    r#"data: {"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":44,"total_tokens":46}}"#;
const DONE: &str = "data: [DONE]";

/// A server whose connections each get a thread; gone when dropped.
struct Server {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn new(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind(("127.0.0.1", 0)).unwrap(), serve)
    }

    fn at(listener: TcpListener, serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let closing = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let (closed, count) = (Arc::clone(&closing), Arc::clone(&connections));
        let serve = Arc::new(serve);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if closed.load(Ordering::SeqCst) {
                    break;
                }
                let number = count.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(number, stream));
            }
        });
        Self { address, closing, connections }
    }

    /// Answers every request on every connection with these bytes.
    fn answering(answer: Vec<u8>) -> Self {
        Self::new(move |_, mut stream| {
            while read_request(&mut stream).is_some() {
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

/// Head and body of one request; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn chunk(event: &str) -> Vec<u8> {
    let event = format!("{event}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// A whole streamed answer.
fn stream_of(events: &[&str]) -> Vec<u8> {
    let mut answer = HEAD.as_bytes().to_vec();
    for event in events {
        answer.extend(chunk(event));
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

fn good_answer() -> Vec<u8> {
    stream_of(&[ROLE, DELTA, DELTA, FINISH, USAGE, DONE])
}

fn plain(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Closing this socket sends a reset instead of an end of file.
fn reset_on_close(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
}

fn monotonic_now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// One user, one request, generous limits.
fn plan(address: SocketAddr) -> LoadPlan {
    let endpoint = Endpoint::ChatCompletions;
    LoadPlan {
        target: HttpTarget::parse(&format!("http://{address}/v1"), endpoint.path(), &[], None)
            .unwrap(),
        bodies: vec![body("{}", 0)],
        conversations: None,
        phases: vec![LoadPhase {
            phase: Phase::Measured,
            shape: LoadShape::ConstantUsers,
            schedule: None,
            users: None,
            duration: None,
            total_requests: Some(1),
        }],
        users: 1,
        think_time: Duration::ZERO,
        graceful_stop: Duration::from_secs(20),
        graceful_ramp_down: Duration::from_secs(20),
        warm_up_requests_per_user: 0,
        timeouts: RequestTimeouts {
            connect: Duration::from_secs(20),
            first: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            total: Duration::from_secs(20),
        },
        deadline: None,
        cancel: None,
        seed: 42,
        connections: Connections::Ahead,
        clock: ClockChoice::Auto,
        endpoint,
        stream: true,
        tag_requests: false,
    }
}

fn body(text: &str, prompt_index: u64) -> PlannedBody {
    PlannedBody {
        body: text.as_bytes().into(),
        prompt_index,
        max_tokens: 2,
        forced: false,
        results: None,
    }
}

type Records = Arc<Mutex<Vec<RequestRecord>>>;

fn begin(plan: LoadPlan, cancel: Cancel) -> (LoadHandle, Records) {
    let records = Records::default();
    let filed = Arc::clone(&records);
    let mut handle = start(plan, move |record| filed.lock().unwrap().push(record), cancel).unwrap();
    // Nobody scrapes between warm-up and measuring here; without this a test that looks on waits for ever.
    handle.measure();
    (handle, records)
}

fn join(handle: LoadHandle) -> Result<LoadOutcome, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(limit, handle.join()).await }).expect("a hang")
}

fn play(plan: LoadPlan) -> (Vec<RequestRecord>, LoadOutcome) {
    let (handle, records) = begin(plan, Cancel::never());
    let outcome = join(handle).unwrap();
    let records = std::mem::take(&mut *records.lock().unwrap());
    (records, outcome)
}

fn play_one(plan: LoadPlan) -> RequestRecord {
    let (mut records, _) = play(plan);
    assert_eq!(records.len(), 1);
    records.remove(0)
}

fn failure(record: &RequestRecord) -> (FailureKind, &str) {
    match &record.outcome {
        Outcome::Failed { failure, detail } => (*failure, detail),
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// A server that streams deltas without end.
fn endless_server() -> Server {
    Server::new(|_, mut stream| {
        if read_request(&mut stream).is_some() {
            stream.write_all(HEAD.as_bytes()).unwrap();
            while stream.write_all(&chunk(DELTA)).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    })
}
