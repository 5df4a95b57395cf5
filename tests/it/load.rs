//! The load engine against small raw servers on loopback: what it sends, what it notes, and that
//! every way to fail has its own name.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bench_ci::cancel::{Cancel, StopReason, pair};
use bench_ci::load::{
    ClockSource, FailureKind, HttpTarget, LoadError, LoadHandle, LoadOutcome, LoadPlan, Outcome,
    Phase, PlannedBody, RequestRecord, Stamp, start,
};
use bench_ci::plan::{ClockChoice, Connections, Endpoint, RequestTimeouts, Secret};

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
        users: 1,
        think_time: Duration::ZERO,
        duration: None,
        total_requests: Some(1),
        graceful_stop: Duration::from_secs(20),
        warm_up_requests_per_user: 0,
        timeouts: RequestTimeouts {
            connect: Duration::from_secs(20),
            first: Duration::from_secs(20),
            idle: Duration::from_secs(20),
            total: Duration::from_secs(20),
        },
        connections: Connections::Ahead,
        clock: ClockChoice::Auto,
        endpoint,
        tag_requests: false,
    }
}

fn body(text: &str, prompt_index: u64) -> PlannedBody {
    PlannedBody { body: text.as_bytes().into(), prompt_index, max_tokens: 2, forced: false }
}

type Records = Arc<Mutex<Vec<RequestRecord>>>;

fn begin(plan: LoadPlan, cancel: Cancel) -> (LoadHandle, Records) {
    let records = Records::default();
    let filed = Arc::clone(&records);
    let handle = start(plan, move |record| filed.lock().unwrap().push(record), cancel).unwrap();
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

#[test]
fn a_good_answer_is_a_complete_record_with_stamps_in_order() {
    let server = Server::answering(good_answer());
    let (records, outcome) = play(plan(server.address));
    let record = &records[0];
    assert_eq!(record.outcome, Outcome::Completed);
    // Connected ahead: nothing of that is inside the request.
    assert_eq!((record.connect_started, record.connected), (None, None));
    let stamps = [
        Some(outcome.started),
        Some(record.planned),
        record.written,
        record.headers,
        record.first_content,
        record.last_content,
        record.finish,
        record.end,
        Some(outcome.ended),
    ];
    let stamps: Vec<Stamp> = stamps.into_iter().map(Option::unwrap).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
    assert_eq!(record.status, Some(200));
    assert_eq!(record.finish_reason.as_deref(), Some("length"));
    assert!(record.terminated && !record.resent);
    assert_eq!(record.usage.unwrap().prompt_tokens, 44);
    assert_eq!(record.content_deltas, 2);
    assert_eq!(record.bytes_received, good_answer().len() as u64);
    assert_eq!((outcome.itl.len(), outcome.itl_moments.count()), (1, 1));
    assert_eq!(outcome.dispatch_lateness.len(), 1);
    assert!(!outcome.client_delay.is_empty());
    assert!(outcome.thread_cpu > Duration::ZERO && !outcome.interrupted);
}

#[test]
fn every_answer_that_is_no_success_has_its_own_kind() {
    let error = r#"data: {"error":{"message":"slot lost","code":500}}"#;
    let with = |events: &[&str]| stream_of(events);
    let cut = |answer: Vec<u8>, bytes: usize| answer[..answer.len() - bytes].to_vec();
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for (what, answer, kind, needle) in [
        (
            "400",
            plain("400 Bad", r#"{"error":{"message":"too long"}}"#),
            FailureKind::Http4xx,
            "too long",
        ),
        ("401", plain("401 No", ""), FailureKind::Http4xx, "401"),
        ("429", plain("429 Slow", "slow down"), FailureKind::Http4xx, "slow down"),
        ("500", plain("500 Oops", ""), FailureKind::Http5xx, "500"),
        (
            "503",
            plain("503 X", r#"{"error":{"message":"Loading model"}}"#),
            FailureKind::Http5xx,
            "Loading model",
        ),
        ("301", plain("301 Away", ""), FailureKind::Protocol, "301"),
        ("error first", with(&[error]), FailureKind::StreamError, "slot lost"),
        (
            "error after content",
            with(&[DELTA, error, FINISH, DONE]),
            FailureKind::StreamError,
            "slot lost",
        ),
        ("no finish", with(&[DELTA, DELTA]), FailureKind::Truncated, "2 content deltas"),
        ("closed between chunks", cut(with(&[DELTA]), 5), FailureKind::Truncated, "1 content"),
        ("closed inside a chunk", cut(with(&[DELTA]), 20), FailureKind::Truncated, "inside"),
        ("closed after the head", HEAD.into(), FailureKind::Truncated, "0 content"),
        ("closed inside the head", HEAD[..20].into(), FailureKind::Reset, "head"),
        ("nothing at all", Vec::new(), FailureKind::Reset, "head"),
        ("no content", with(&[ROLE, FINISH, USAGE, DONE]), FailureKind::Empty, "without content"),
        ("bad json", with(&["data: {oops", DONE]), FailureKind::Protocol, "not JSON"),
        ("bad chunk", format!("{HEAD}zz\r\n").into(), FailureKind::Protocol, "chunk size"),
        ("not http", b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), FailureKind::Protocol, "HTTP"),
        ("stream ignored", json.into(), FailureKind::Protocol, "stream"),
    ] {
        let server = Server::new(move |_, mut stream| {
            if read_request(&mut stream).is_some() {
                stream.write_all(&answer).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
        });
        let (records, outcome) = play(plan(server.address));
        let (failed, detail) = failure(&records[0]);
        assert_eq!(failed, kind, "{what}: {detail}");
        assert!(detail.contains(needle), "{what}: {detail}");
        // A failed request must not make the gaps of the run look better.
        assert_eq!((outcome.itl.len(), records[0].resent), (0, false), "{what}");
    }
}

#[test]
fn fewer_tokens_than_forced_are_short() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.bodies[0].forced = true;
    assert_eq!(play_one(plan.clone()).outcome, Outcome::Completed);
    plan.bodies[0].max_tokens = 3;
    let record = play_one(plan);
    assert_eq!(failure(&record).0, FailureKind::Short);
}

#[test]
fn a_reset_is_a_reset_before_and_after_content() {
    for start_of_answer in [Vec::new(), [HEAD.as_bytes(), &chunk(DELTA)].concat()] {
        let begun = !start_of_answer.is_empty();
        let (seen, was_seen) = mpsc::channel::<()>();
        let was_seen = Mutex::new(was_seen);
        let server = Server::new(move |_, mut stream| {
            if read_request(&mut stream).is_none() {
                return;
            }
            stream.write_all(&start_of_answer).unwrap();
            // Reset only what the client has already read.
            let _was_read = was_seen.lock().unwrap().recv_timeout(Duration::from_millis(300));
            reset_on_close(&stream);
        });
        let (handle, records) = begin(plan(server.address), Cancel::never());
        while begun && handle.live.content_deltas() == 0 {
            thread::yield_now();
        }
        seen.send(()).unwrap();
        join(handle).unwrap();
        let records = records.lock().unwrap();
        assert_eq!(failure(&records[0]).0, FailureKind::Reset);
        assert_eq!(records[0].content_deltas, u64::from(begun));
        // The server had taken the request; asking again would hide that it dropped it.
        assert!(!records[0].resent);
    }
}

#[test]
fn nobody_listening_is_a_connect_failure_with_its_own_stamps() {
    let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let record = play_one(plan(address));
    let (kind, detail) = failure(&record);
    assert_eq!(kind, FailureKind::Connect);
    assert!(detail.contains("refused"), "{detail}");
    assert!(record.connect_started.is_some());
    assert_eq!((record.connected, record.written), (None, None));
}

#[test]
fn each_limit_has_its_own_kind() {
    let limit = Duration::from_millis(150);
    let hanging = |start_of_answer: Vec<u8>| {
        Server::new(move |_, mut stream| {
            if read_request(&mut stream).is_some() {
                stream.write_all(&start_of_answer).unwrap();
                // Until the client gives up.
                drop(stream.read(&mut [0]));
            }
        })
    };
    let silent = hanging(Vec::new());
    let mut first = plan(silent.address);
    first.timeouts.first = limit;
    assert_eq!(failure(&play_one(first)).0, FailureKind::TimeoutFirst);

    let role_only = hanging([HEAD.as_bytes(), &chunk(ROLE), &chunk(":")].concat());
    let mut no_content = plan(role_only.address);
    no_content.timeouts.first = limit;
    let record = play_one(no_content);
    assert_eq!(failure(&record).0, FailureKind::TimeoutFirst);
    assert!(record.headers.is_some() && record.first_content.is_none());

    let begun = hanging([HEAD.as_bytes(), &chunk(DELTA)].concat());
    let mut idle = plan(begun.address);
    idle.timeouts.idle = limit;
    let record = play_one(idle);
    assert_eq!(failure(&record).0, FailureKind::TimeoutIdle);
    assert_eq!((record.content_deltas, record.end), (1, None));

    let endless = Server::new(|_, mut stream| {
        if read_request(&mut stream).is_some() {
            stream.write_all(HEAD.as_bytes()).unwrap();
            while stream.write_all(&chunk(DELTA)).is_ok() {}
        }
    });
    let mut total = plan(endless.address);
    total.timeouts.total = limit;
    assert_eq!(failure(&play_one(total)).0, FailureKind::TimeoutTotal);
}

#[test]
fn a_body_that_never_ends_after_the_terminator_does_not_hold_the_user() {
    let server = Server::new(|_, mut stream| {
        if read_request(&mut stream).is_some() {
            let answer = stream_of(&[DELTA, FINISH, DONE]);
            stream.write_all(&answer[..answer.len() - 5]).unwrap();
            drop(stream.read(&mut [0]));
        }
    });
    let record = play_one(plan(server.address));
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.end, record.finish.max(record.last_content));
}

#[test]
fn pings_and_role_only_deltas_are_not_the_first_content() {
    let sent = Arc::new(AtomicU64::new(0));
    let stamp = Arc::clone(&sent);
    let server = Server::new(move |_, mut stream| {
        if read_request(&mut stream).is_some() {
            stream.write_all(HEAD.as_bytes()).unwrap();
            for event in [":", ROLE, r#"data: {"choices":[],"prompt_progress":{}}"#, ":"] {
                stream.write_all(&chunk(event)).unwrap();
            }
            stamp.store(monotonic_now(), Ordering::SeqCst);
            let rest = stream_of(&[DELTA, DELTA, FINISH, DONE]);
            stream.write_all(&rest[HEAD.len()..]).unwrap();
        }
    });
    for clock in [ClockChoice::Auto, ClockChoice::User] {
        let mut plan = plan(server.address);
        plan.clock = clock;
        let record = play_one(plan);
        let first = record.first_content.unwrap();
        assert!(first.0 >= sent.load(Ordering::SeqCst), "{clock:?}: stamped before it was sent");
        assert_eq!((record.content_deltas, record.comments), (2, 2));
    }
}

#[test]
fn a_closed_connection_met_while_idle_is_asked_again_once() {
    // The first answer's connection is kept as promised, and dropped under the second request.
    let server = Server::new(|number, mut stream| {
        let answers = if number == 0 { 1 } else { usize::MAX };
        for _ in 0..answers {
            if read_request(&mut stream).is_none() {
                return;
            }
            stream.write_all(&good_answer()).unwrap();
        }
        read_request(&mut stream);
    });
    let mut plan = plan(server.address);
    plan.total_requests = Some(3);
    let (records, outcome) = play(plan);
    assert!(records.iter().all(RequestRecord::is_completed), "{records:#?}");
    assert_eq!(
        records.iter().map(|record| record.resent).collect::<Vec<_>>(),
        [false, true, false]
    );
    // Stamped anew, on a connection of its own.
    assert!(records[1].connected.unwrap() <= records[1].written.unwrap());
    assert_eq!(outcome.itl_moments.count(), 3);
}

#[test]
fn a_connection_closed_while_idle_is_replaced_unseen() {
    // The second connection is opened during the think time and closed at once.
    let server = Server::new(move |number, mut stream| {
        if number != 1 && read_request(&mut stream).is_some() {
            stream.write_all(&good_answer()).unwrap();
        }
    });
    let mut plan = plan(server.address);
    plan.total_requests = Some(2);
    plan.think_time = Duration::from_millis(300);
    let (records, _) = play(plan);
    assert!(records.iter().all(|record| record.is_completed() && !record.resent), "{records:#?}");
    assert!(records[1].connect_started.is_some(), "opened inside the request, and said so");
}

#[test]
fn a_server_that_keeps_connections_and_drops_a_request_is_not_asked_again() {
    // Every third request is taken and not answered: with resending these would all be successes.
    for reset in [false, true] {
        let requests = Arc::new(AtomicUsize::new(0));
        let server = Server::new(move |_, mut stream| {
            while read_request(&mut stream).is_some() {
                if requests.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                    if reset {
                        reset_on_close(&stream);
                    }
                    return;
                }
                stream.write_all(&good_answer()).unwrap();
            }
        });
        let mut plan = plan(server.address);
        plan.total_requests = Some(9);
        let (records, _) = play(plan);
        let failed: Vec<_> = records.iter().filter(|record| !record.is_completed()).collect();
        assert_eq!(failed.len(), 3, "reset: {reset}");
        for record in failed {
            assert_eq!((failure(record).0, record.resent), (FailureKind::Reset, false));
        }
    }
}

#[test]
fn a_server_that_keeps_connections_gets_all_requests_on_one() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.total_requests = Some(5);
    let (records, _) = play(plan);
    assert!(records.iter().all(RequestRecord::is_completed));
    assert!(records.iter().all(|record| record.connect_started.is_none()));
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_server_that_promises_to_keep_and_closes_costs_no_failure() {
    // llama-server announces Keep-Alive and closes after each stream.
    for think_time in [Duration::ZERO, Duration::from_millis(5)] {
        let server = Server::new(|_, mut stream| {
            if read_request(&mut stream).is_some() {
                stream.write_all(&good_answer()).unwrap();
            }
        });
        let mut plan = plan(server.address);
        plan.users = 4;
        plan.think_time = think_time;
        plan.total_requests = Some(40);
        let (records, _) = play(plan);
        assert_eq!(records.len(), 40);
        assert!(records.iter().all(RequestRecord::is_completed), "{think_time:?}");
        // Each user may fall for it once.
        assert!(records.iter().filter(|record| record.resent).count() <= 4);
    }
}

#[test]
fn a_fresh_connection_is_opened_inside_each_request() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let server = Server::new(move |_, mut stream| {
        while let Some((head, _)) = read_request(&mut stream) {
            seen.lock().unwrap().push(head);
            stream.write_all(&good_answer()).unwrap();
        }
    });
    let mut plan = plan(server.address);
    plan.connections = Connections::Fresh;
    plan.total_requests = Some(3);
    let (records, _) = play(plan);
    for record in &records {
        assert_eq!(record.outcome, Outcome::Completed);
        let connected = record.connected.unwrap();
        assert!(record.connect_started.unwrap() <= connected);
        assert!(connected <= record.written.unwrap());
    }
    assert_eq!(server.connections(), 3);
    assert!(heads.lock().unwrap().iter().all(|head| head.contains("Connection: close\r\n")));
}

#[test]
fn requests_arrive_whole_with_their_headers_bodies_and_tags() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let server = Server::new(move |_, mut stream| {
        while let Some(request) = read_request(&mut stream) {
            seen.lock().unwrap().push(request);
            stream.write_all(&good_answer()).unwrap();
        }
    });
    let large = format!("\"{}\"", "x".repeat(3 << 20));
    let mut plan = plan(server.address);
    let key = Secret::new("sk-secret".to_owned());
    plan.target = HttpTarget::parse(
        &format!("http://{}/x/v1", server.address),
        Endpoint::ChatCompletions.path(),
        &[("X-Own".to_owned(), Secret::new("1".to_owned()))],
        Some(&key),
    )
    .unwrap();
    plan.bodies = vec![body("{\"a\":1}", 7), body(&large, 8)];
    plan.total_requests = Some(2);
    plan.tag_requests = true;
    let (records, _) = play(plan);
    assert_eq!(records.iter().map(|record| record.prompt_index).collect::<Vec<_>>(), [7, 8]);
    let requests = requests.lock().unwrap();
    let (head, small) = &requests[0];
    assert!(head.starts_with("POST /x/v1/chat/completions HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: {}\r\n", server.address)), "{head}");
    assert!(head.contains("Authorization: Bearer sk-secret\r\n"), "{head}");
    assert!(head.contains("X-Own: 1\r\n") && head.contains("x-bench-ci-request: 0\r\n"), "{head}");
    assert_eq!(small, b"{\"a\":1}");
    assert!(requests[1].0.contains("x-bench-ci-request: 1\r\n"));
    assert_eq!(requests[1].1, large.as_bytes());
}

#[test]
fn a_secret_that_the_server_echoes_does_not_reach_the_record() {
    let answer = r#"{"error":{"message":"invalid key sk-secret"}}"#;
    let server = Server::answering(plain("401 No", answer));
    let mut plan = plan(server.address);
    let key = Secret::new("sk-secret".to_owned());
    let base = format!("http://{}", server.address);
    plan.target = HttpTarget::parse(&base, plan.endpoint.path(), &[], Some(&key)).unwrap();
    let record = play_one(plan);
    assert_eq!(failure(&record).1, "status 401: invalid key ***");
}

#[test]
fn every_planned_request_is_one_record_and_every_body_is_sent_in_turn() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.users = 8;
    plan.bodies = (0..10).map(|prompt| body("{}", prompt)).collect();
    plan.total_requests = Some(203);
    plan.warm_up_requests_per_user = 2;
    let (handle, records) = begin(plan, Cancel::never());
    let live = Arc::clone(&handle.live);
    let outcome = join(handle).unwrap();
    let mut records = records.lock().unwrap().clone();
    records.sort_by_key(|record| record.index);
    let indices: Vec<_> = records.iter().map(|record| record.index).collect();
    assert_eq!(indices, (0..16 + 203).collect::<Vec<_>>());
    for record in &records {
        let is_warm_up = record.index < 16;
        assert_eq!(record.phase == Phase::WarmUp, is_warm_up);
        if is_warm_up {
            assert!(record.end.unwrap() <= outcome.started, "measuring waits for all warm-up");
        } else {
            assert_eq!(record.prompt_index, (record.index - 16) % 10);
            assert!(record.planned >= outcome.started);
        }
    }
    // Warm-up is in no figure.
    assert_eq!(outcome.itl_moments.count(), 203);
    assert_eq!(outcome.dispatch_lateness_moments.count(), 203);
    assert!(outcome.warm_up_ended.unwrap() <= outcome.started);
    assert_eq!((live.planned(), live.started(), live.completed()), (203, 203, 203));
    assert_eq!((live.failed(), live.in_flight(), live.warm_up_ended()), (0, 0, 16));
}

#[test]
fn think_time_lies_between_an_answer_and_the_next_plan() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.total_requests = Some(4);
    plan.think_time = Duration::from_millis(20);
    let (records, outcome) = play(plan);
    assert_eq!(records[0].planned, outcome.started);
    for (earlier, later) in records.iter().zip(&records[1..]) {
        assert_eq!(later.planned, earlier.end.unwrap().after(Duration::from_millis(20)));
        assert!(later.written.unwrap() >= later.planned, "never early");
    }
}

#[test]
fn nothing_starts_after_the_duration_and_the_rest_of_the_count_is_dropped() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.users = 2;
    plan.duration = Some(Duration::from_millis(100));
    plan.think_time = Duration::from_millis(10);
    plan.total_requests = Some(1000);
    let (records, outcome) = play(plan);
    assert_eq!(records.len(), 1000);
    let closes = outcome.started.after(Duration::from_millis(100));
    let (dropped, played): (Vec<_>, Vec<_>) =
        records.iter().partition(|record| record.outcome == Outcome::Dropped);
    assert!(!dropped.is_empty() && !played.is_empty());
    assert!(dropped.iter().all(|record| record.written.is_none()));
    assert!(played.iter().all(|record| record.is_completed() && record.planned < closes));
    assert!(!outcome.interrupted);
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

#[test]
fn what_is_in_flight_at_the_end_is_cut_with_its_stamps() {
    let server = endless_server();
    let mut plan = plan(server.address);
    plan.users = 3;
    plan.duration = Some(Duration::from_millis(60));
    plan.graceful_stop = Duration::from_millis(40);
    plan.total_requests = None;
    let (records, outcome) = play(plan);
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!((&record.outcome, record.end), (&Outcome::Cut, None));
        assert!(record.first_content.is_some() && record.content_deltas > 1);
    }
    assert!(outcome.ended >= outcome.started.after(Duration::from_millis(100)));
    assert!(!outcome.interrupted, "the end of the run is no interruption");
    assert_eq!(outcome.itl.len(), 0, "gaps of cut requests are not counted");
}

#[test]
fn a_cancellation_stops_every_phase_at_once() {
    let hanging = || {
        Server::new(|_, mut stream| {
            if read_request(&mut stream).is_some() {
                drop(stream.read(&mut [0]));
            }
        })
    };
    let cancel_when = |plan: LoadPlan, when: &dyn Fn(&LoadHandle) -> bool| {
        let (canceller, cancel) = pair();
        let (handle, records) = begin(plan, cancel);
        while !when(&handle) {
            thread::yield_now();
        }
        canceller.stop(StopReason::Interrupted);
        let outcome = join(handle).unwrap();
        assert!(outcome.interrupted);
        let records = records.lock().unwrap().clone();
        records.into_iter().map(|record| (record.phase, record.outcome)).collect::<Vec<_>>()
    };
    let server = hanging();
    let mut warming = plan(server.address);
    warming.warm_up_requests_per_user = 1;
    warming.total_requests = Some(2);
    assert_eq!(
        cancel_when(warming, &|handle| handle.live.in_flight() == 1),
        [
            (Phase::WarmUp, Outcome::Cut),
            (Phase::Measured, Outcome::Dropped),
            (Phase::Measured, Outcome::Dropped)
        ]
    );

    let server = hanging();
    let mut measuring = plan(server.address);
    measuring.total_requests = None;
    measuring.duration = Some(Duration::from_secs(600));
    assert_eq!(
        cancel_when(measuring, &|handle| handle.live.in_flight() == 1),
        [(Phase::Measured, Outcome::Cut)]
    );

    let server = Server::answering(good_answer());
    let mut thinking = plan(server.address);
    thinking.think_time = Duration::from_secs(600);
    thinking.total_requests = None;
    thinking.duration = Some(Duration::from_secs(3600));
    assert_eq!(
        cancel_when(thinking, &|handle| handle.live.completed() == 1),
        [(Phase::Measured, Outcome::Completed)]
    );

    let server = endless_server();
    let mut draining = plan(server.address);
    draining.duration = Some(Duration::from_millis(20));
    draining.graceful_stop = Duration::from_secs(600);
    let in_drain = |handle: &LoadHandle| handle.live.phase() == bench_ci::load::LivePhase::Draining;
    assert_eq!(cancel_when(draining, &in_drain), [(Phase::Measured, Outcome::Cut)]);
}

#[test]
fn a_dropped_handle_stops_the_run() {
    let server = endless_server();
    let (handle, records) = begin(plan(server.address), Cancel::never());
    let live = Arc::clone(&handle.live);
    while live.content_deltas() == 0 {
        thread::yield_now();
    }
    drop(handle);
    while live.phase() != bench_ci::load::LivePhase::Done {
        thread::yield_now();
    }
    assert_eq!(records.lock().unwrap()[0].outcome, Outcome::Cut);
}

#[test]
fn a_panic_on_the_load_thread_is_an_error_and_not_a_hang() {
    let server = Server::answering(good_answer());
    let handle =
        start(plan(server.address), |_| panic!("sink is broken"), Cancel::never()).unwrap();
    let error = join(handle).unwrap_err();
    assert!(
        matches!(&error, LoadError::Panicked { message } if message == "sink is broken"),
        "{error}"
    );
}

#[test]
fn a_name_without_an_address_is_an_error_before_any_request() {
    let mut plan = plan(SocketAddr::from(([127, 0, 0, 1], 1)));
    plan.target = HttpTarget::parse("http://no.such.host.invalid", "/v1", &[], None).unwrap();
    let (handle, records) = begin(plan, Cancel::never());
    let error = join(handle).unwrap_err();
    assert!(error.to_string().contains("no.such.host.invalid"), "{error}");
    assert!(error.hint().is_some() && records.lock().unwrap().is_empty());
}

#[test]
fn ipv6_and_names_are_loaded_too() {
    let server = Server::answering(good_answer());
    let mut named = plan(server.address);
    let base = format!("http://localhost:{}/v1", server.address.port());
    named.target = HttpTarget::parse(&base, named.endpoint.path(), &[], None).unwrap();
    assert_eq!(play_one(named).outcome, Outcome::Completed);

    // A machine without IPv6 loopback has nothing to test here.
    let Ok(listener) = TcpListener::bind(("::1", 0)) else { return };
    let server = Server::at(listener, |_, mut stream| {
        while read_request(&mut stream).is_some() {
            stream.write_all(&good_answer()).unwrap();
        }
    });
    assert_eq!(play_one(plan(server.address)).outcome, Outcome::Completed);
}

#[test]
fn the_clock_that_was_used_is_told() {
    let server = Server::answering(good_answer());
    let (_, auto) = play(plan(server.address));
    if cfg!(target_os = "linux") && auto.rejected_stamps == 0 {
        assert_eq!(auto.clock_source, ClockSource::Kernel);
    }
    let mut by_user = plan(server.address);
    by_user.clock = ClockChoice::User;
    let (_, by_user) = play(by_user);
    assert_eq!((by_user.clock_source, by_user.rejected_stamps), (ClockSource::User, 0));
}

#[test]
fn a_recorded_answer_split_at_every_byte_gives_the_same_record() {
    // One request for each split; whether the halves arrive in one read or in two is up to the
    // system, and must not matter.
    let answer = Arc::new(good_answer());
    let whole = answer.len();
    let next = Arc::new(AtomicUsize::new(0));
    let (bytes, cuts) = (Arc::clone(&answer), Arc::clone(&next));
    let server = Server::new(move |_, mut stream| {
        while read_request(&mut stream).is_some() {
            let cut = cuts.fetch_add(1, Ordering::SeqCst).min(bytes.len());
            stream.write_all(&bytes[..cut]).unwrap();
            thread::yield_now();
            stream.write_all(&bytes[cut..]).unwrap();
        }
    });
    let mut plan = plan(server.address);
    plan.total_requests = Some(whole as u64 + 1);
    let (records, _) = play(plan);
    assert_eq!(records.len(), whole + 1);
    for record in &records {
        assert_eq!(record.outcome, Outcome::Completed, "cut at {}", record.index);
        assert_eq!((record.content_deltas, record.bytes_received), (2, whole as u64));
        assert_eq!(record.usage, records[0].usage);
    }
}

#[test]
fn hostile_answers_are_failures_and_never_a_panic() {
    let deep = format!("data: {}", "[".repeat(100_000));
    let answers: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 200 OK\r\n\xff\xfe: \x01\r\n\r\n".to_vec(),
        b"HTTP/1.1 999 X\r\n\r\n".to_vec(),
        b"HTTP/1.1 20".to_vec(),
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"\0\0\0\0\0\0\0\0".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\nx".to_vec(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000)).into(),
        format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(1 << 20)).into(),
        b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000),
        format!("HTTP/1.1 200 OK\r\n\r\n{deep}\n\n").into(),
        format!("HTTP/1.1 200 OK\r\n\r\ndata: {}", "x".repeat(20 << 20)).into(),
        b"HTTP/1.1 200 OK\r\n\r\ndata: \xff\xff\n\n".to_vec(),
        b"HTTP/1.1 400 \xff\r\nContent-Length: 3\r\n\r\n\xff\x00\x1b".to_vec(),
    ];
    for answer in answers {
        let shown = answer[..answer.len().min(60)].escape_ascii().to_string();
        let server = Server::new(move |_, mut stream| {
            if read_request(&mut stream).is_some() {
                // It may give up before it has heard all.
                drop(stream.write_all(&answer));
                drop(stream.shutdown(Shutdown::Write));
                drop(stream.read(&mut [0]));
            }
        });
        let record = play_one(plan(server.address));
        let (_, detail) = failure(&record);
        assert!(detail.chars().count() <= 300 && !detail.contains(char::is_control), "{shown}");
    }
}
