//! The simulated llama-server, looked at byte for byte through a plain socket.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bench_ci::cancel::{self, Canceller, StopReason};
use bench_ci::sim::{
    ReceiveClock, Sim, SimArgs, SimError, Truth, TruthEnd, TruthRecord, TruthSummary,
};
use serde_json::{Value, json};

/// A simulator on a thread of its own, with a truth file.
struct Running {
    address: SocketAddr,
    canceller: Canceller,
    thread: Option<JoinHandle<Result<TruthSummary, SimError>>>,
    folder: tempfile::TempDir,
}

impl Running {
    /// Starts one that is loaded at once and fast, on a free port.
    fn start(change: impl FnOnce(&mut SimArgs)) -> Running {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut args = SimArgs {
            port: 0,
            parallel: 4,
            ctx_size: 4096,
            metrics: true,
            sim_load_ms: 0.0,
            sim_ttft_ms: Some(2.0),
            sim_itl_ms: Some(0.5),
            sim_truth: Some(folder.path().join("truth.jsonl")),
            ..SimArgs::default()
        };
        change(&mut args);
        let (sim, address) = Sim::bind(args).expect("a free port");
        let (canceller, cancel) = cancel::pair();
        let thread = Some(std::thread::spawn(move || sim.serve(cancel)));
        Running { address, canceller, thread, folder }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    }

    /// Sends a request on a connection of its own and reads until it is closed.
    fn ask(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
        let mut stream = self.connect();
        send(&mut stream, method, path, &format!("{headers}Connection: close\r\n"), body);
        Answer::read(&mut stream)
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", None)
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, "", Some(body))
    }

    fn faulty(&self, fault: &str, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &format!("x-sim-fault: {fault}\r\n"), Some(body))
    }

    /// Stops it; what it says it sent.
    fn stop(mut self) -> (TruthSummary, Truth) {
        self.canceller.stop(StopReason::Interrupted);
        let thread = self.thread.take().expect("stopped once");
        let summary = thread.join().expect("no panic").expect("served");
        let truth = Truth::read(&self.folder.path().join("truth.jsonl")).expect("a truth file");
        assert_eq!(truth.summary.as_ref(), Some(&summary));
        (summary, truth)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.canceller.stop(StopReason::Interrupted);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn send(stream: &mut TcpStream, method: &str, path: &str, headers: &str, body: Option<&Value>) {
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: sim\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("the request is written");
}

/// How a connection ended.
#[derive(Debug, PartialEq)]
enum Close {
    Clean,
    Reset,
    TimedOut,
}

/// Everything that came back.
#[derive(Debug)]
struct Answer {
    head: String,
    /// With the chunked coding taken off as far as it is valid.
    body: Vec<u8>,
    /// The sizes of the chunks, the last one (0) included.
    chunks: Vec<usize>,
    raw: Vec<u8>,
    close: Close,
}

impl Answer {
    fn read(stream: &mut TcpStream) -> Answer {
        let mut raw = Vec::new();
        let mut space = [0_u8; 65_536];
        let close = loop {
            match stream.read(&mut space) {
                Ok(0) => break Close::Clean,
                Ok(count) => raw.extend_from_slice(&space[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    break Close::Reset;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    break Close::TimedOut;
                }
                Err(error) => panic!("{error}"),
            }
        };
        Answer::of(raw, close)
    }

    fn of(raw: Vec<u8>, close: Close) -> Answer {
        let end =
            raw.windows(4).position(|four| four == b"\r\n\r\n").map_or(raw.len(), |at| at + 4);
        let head = String::from_utf8(raw[..end].to_vec()).expect("a head is text");
        let (mut body, mut chunks) = (Vec::new(), Vec::new());
        let mut rest = &raw[end..];
        if head.contains("Transfer-Encoding: chunked") {
            while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
                let size = std::str::from_utf8(&rest[..line])
                    .ok()
                    .and_then(|hex| usize::from_str_radix(hex, 16).ok());
                let Some(size) = size else { break };
                let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
                body.extend_from_slice(chunk);
                chunks.push(size);
                rest = &rest[line + 2 + size + 2..];
            }
        } else {
            body = rest.to_vec();
        }
        Answer { head, body, chunks, raw, close }
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body is UTF-8")
    }

    fn json(&self) -> Value {
        serde_json::from_str(self.text()).expect("a JSON body")
    }

    /// The data of each event.
    fn data(&self) -> Vec<&str> {
        self.text().lines().filter_map(|line| line.strip_prefix("data: ")).collect()
    }

    /// The JSON of each event that is JSON.
    fn events(&self) -> Vec<Value> {
        self.data().iter().filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The text of each event that a client would count as content.
    fn contents(&self) -> Vec<String> {
        self.events()
            .iter()
            .filter_map(|event| {
                [
                    "/choices/0/delta/content",
                    "/choices/0/delta/reasoning_content",
                    "/choices/0/text",
                    "/content",
                ]
                .iter()
                .find_map(|at| event.pointer(at).and_then(Value::as_str))
                .filter(|text| !text.is_empty())
                .or_else(|| {
                    event
                        .pointer("/choices/0/delta/tool_calls/0/function/arguments")
                        .and_then(Value::as_str)
                })
                .map(str::to_owned)
            })
            .collect()
    }

    fn finish_reason(&self) -> Option<String> {
        self.events().iter().find_map(|event| {
            event.pointer("/choices/0/finish_reason").and_then(Value::as_str).map(str::to_owned)
        })
    }

    fn is_terminated(&self) -> bool {
        self.data().last() == Some(&"[DONE]")
    }

    fn ends_with_the_last_chunk(&self) -> bool {
        self.chunks.last() == Some(&0) && self.raw.ends_with(b"0\r\n\r\n")
    }
}

const CHAT: &str = "/v1/chat/completions";

fn chat(tokens: u64) -> Value {
    json!({
        "messages": [{"role": "user", "content": "how fast is this server"}],
        "max_tokens": tokens, "stream": true, "stream_options": {"include_usage": true},
        "cache_prompt": false, "ignore_eos": true,
    })
}

fn llama(tokens: u64) -> Value {
    json!({"prompt": [5, 300, 301, 302], "n_predict": tokens, "stream": true, "ignore_eos": true})
}

#[test]
fn health_is_503_while_loading_and_then_200() {
    let loading =
        Running::start(|args| args.sim_fault = vec!["never-healthy".parse().expect("a fault")]);
    let answer = loading.get("/health");
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.text(),
        r#"{"error":{"message":"Loading model","type":"unavailable_error","code":503}}"#
    );
    assert_eq!(loading.post(CHAT, &chat(1)).status(), 503, "every route waits for the model");

    let loaded = Running::start(|_| {});
    let answer = loaded.get("/health");
    assert_eq!((answer.status(), answer.text()), (200, r#"{"status":"ok"}"#));
}

#[test]
fn a_chat_stream_has_the_events_of_a_real_server_in_their_order() {
    let sim = Running::start(|args| args.alias = Some("m".to_owned()));
    let answer = sim.post(CHAT, &chat(3));
    assert_eq!(
        answer.head,
        "HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nAccess-Control-Allow-Origin: \r\nX-Accel-Buffering: no\r\n\
         Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nKeep-Alive: timeout=5, max=100\r\n\r\n"
    );
    let events = answer.events();
    assert_eq!(events.len(), 6, "role, three tokens, finish, usage: {events:?}");
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    assert_eq!(answer.contents().len(), 3);
    assert_eq!(
        events[4]["choices"][0],
        json!({"finish_reason": "length", "index": 0, "delta": {}})
    );
    assert_eq!(events[4].get("timings"), None, "they are in the usage chunk");
    assert_eq!(events[5]["choices"], json!([]));
    assert_eq!(events[5]["usage"]["completion_tokens"], 3);
    assert_eq!(events[5]["timings"]["predicted_n"], 3);
    assert!(answer.is_terminated() && answer.ends_with_the_last_chunk());
    // Role and first token share a chunk, finish and usage share one, [DONE] and the end are theirs.
    assert_eq!(answer.chunks.len(), 6);
    assert_eq!(answer.close, Close::Clean, "a real server closes after a stream");
    assert!(events.iter().all(|event| event["id"] == events[0]["id"] && event["model"] == "m"));
}

#[test]
fn timings_sit_in_the_finish_chunk_unless_usage_was_asked_for() {
    let sim = Running::start(|_| {});
    let mut body = chat(2);
    body["stream_options"] = json!(null);
    let events = sim.post("/chat/completions", &body).events();
    let last = events.last().expect("events");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["timings"]["predicted_n"], 2);
    assert!(events.iter().all(|event| event.get("usage").is_none()));
}

#[test]
fn completions_and_completion_have_their_own_shapes() {
    let sim = Running::start(|_| {});
    let text =
        sim.post("/v1/completions", &json!({"prompt": "hello", "max_tokens": 2, "stream": true}));
    let events = text.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[2]["usage"]["completion_tokens"], 2);
    assert_eq!(events[2]["timings"]["predicted_n"], 2);
    assert!(text.is_terminated());

    let raw = sim.post("/completion", &llama(2));
    let events = raw.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[0]["stop"], false);
    assert_eq!(events[2]["stop"], true);
    assert_eq!(events[2]["stop_type"], "limit");
    assert_eq!(
        (&events[2]["tokens_evaluated"], &events[2]["tokens_predicted"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(events[2]["timings"]["prompt_n"], 4);
    assert!(!raw.is_terminated(), "/completion has no [DONE]");
    assert!(raw.ends_with_the_last_chunk());
}

#[test]
fn an_answer_that_is_not_streamed_holds_the_same_words_as_one_that_is() {
    let sim = Running::start(|_| {});
    for (path, mut body, at) in [
        (CHAT, chat(5), "/choices/0/message/content"),
        (
            "/completions",
            json!({"prompt": "x", "max_tokens": 5, "stream": true, "seed": 3}),
            "/choices/0/text",
        ),
        ("/completion", llama(5), "/content"),
    ] {
        body["seed"] = json!(3);
        let streamed = sim.post(path, &body).contents().concat();
        body["stream"] = json!(false);
        let whole = sim.post(path, &body).json();
        assert_eq!(whole.pointer(at).and_then(Value::as_str), Some(streamed.as_str()), "{path}");
        assert_eq!(whole["timings"]["predicted_n"], 5);
    }
}

#[test]
fn errors_before_the_stream_are_those_of_a_real_server() {
    let sim = Running::start(|args| {
        args.api_key = Some("key,other".to_owned());
        args.metrics = false;
        args.no_slots = true;
    });
    let ask = |method, path, body| sim.ask(method, path, "Authorization: Bearer other\r\n", body);
    assert_eq!(
        sim.get("/props").text(),
        r#"{"error":{"message":"Invalid API Key","type":"authentication_error","code":401}}"#
    );
    assert_eq!(sim.get("/health").status(), 200, "health needs no key");
    assert_eq!(ask("GET", "/metrics", None).status(), 501);
    assert_eq!(ask("GET", "/slots", None).status(), 501);
    assert_eq!(ask("GET", "/nope", None).status(), 404);
    let nothing = json!({});
    let long = json!({"prompt": vec![300; 1100], "n_predict": 1, "stream": true});
    assert_eq!(ask("POST", "/completion", Some(&nothing)).status(), 400);
    let answer = ask("POST", "/completion", Some(&long));
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.json(),
        json!({"error": {
            "code": 400,
            "message": "request (1100 tokens) exceeds the available context size (1024 tokens), try increasing it",
            "type": "exceed_context_size_error", "n_prompt_tokens": 1100, "n_ctx": 1024,
        }})
    );
    let (_, truth) = sim.stop();
    assert_eq!(truth.records.len(), 1);
    assert_eq!((truth.records[0].end, truth.records[0].status), (TruthEnd::Rejected, Some(400)));
}

#[test]
fn counters_add_up_to_what_usage_and_timings_said() {
    let sim = Running::start(|_| {});
    let mut sums = [0_u64; 3];
    let mut prompt_ms = 0.0;
    for tokens in [1, 4, 9] {
        let mut body = chat(tokens);
        body["cache_prompt"] = json!(true);
        let events = sim.post(CHAT, &body).events();
        let last = events.last().expect("events");
        let (usage, timings) = (&last["usage"], &last["timings"]);
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().expect("a count");
        let prompt = usage["prompt_tokens"].as_u64().expect("a count");
        assert_eq!(timings["prompt_n"].as_u64(), Some(prompt - cached));
        sums[0] += prompt - cached;
        sums[1] += cached;
        sums[2] += usage["completion_tokens"].as_u64().expect("a count");
        prompt_ms += timings["prompt_ms"].as_f64().expect("a time");
    }
    assert!(sums[1] > 0, "the second prompt was cached");
    let answer = sim.get("/metrics");
    assert!(answer.head.contains("Process-Start-Time-Unix: "));
    assert!(answer.head.contains("Content-Type: text/plain; version=0.0.4\r\n"));
    let value = |name: &str| -> f64 {
        let line =
            answer.text().lines().find_map(|line| line.strip_prefix(&format!("llamacpp:{name} ")));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    };
    assert_eq!(value("prompt_tokens_total") as u64, sums[0]);
    assert_eq!(value("prompt_tokens_cached_total") as u64, sums[1]);
    assert_eq!(value("tokens_predicted_total") as u64, sums[2]);
    assert_eq!(value("n_decode_total") as u64, sums[2], "one slot was busy at a time");
    assert!((value("prompt_seconds_total") * 1e3 - prompt_ms).abs() < 1e-6);
    assert_eq!(value("requests_processing") as u64, 0);
}

#[test]
fn a_repeated_prompt_is_cached_but_for_one_token_unless_told_not_to() {
    let sim = Running::start(|_| {});
    let mut body = llama(3);
    let cached =
        |answer: &Answer| answer.events().last().expect("events")["timings"]["cache_n"].as_u64();
    assert_eq!(cached(&sim.post("/completion", &body)), Some(0));
    assert_eq!(cached(&sim.post("/completion", &body)), Some(3));
    body["cache_prompt"] = json!(false);
    assert_eq!(cached(&sim.post("/completion", &body)), Some(0));
}

#[test]
fn a_queued_request_gets_its_headers_when_its_slot_begins() {
    let sim = Running::start(|args| args.parallel = 1);
    let mut first = sim.connect();
    send(&mut first, "POST", CHAT, "x-bench-ci-request: 1\r\n", Some(&chat(40)));
    // The head of the first answer says that the first request has the slot.
    first.read_exact(&mut [0_u8; 16]).expect("headers");
    let mut others: Vec<_> = (2..=4)
        .map(|number| {
            let mut stream = sim.connect();
            send(
                &mut stream,
                "POST",
                CHAT,
                &format!("x-bench-ci-request: {number}\r\n"),
                Some(&chat(3)),
            );
            stream
        })
        .collect();
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).expect("the first answer");
    for stream in &mut others {
        assert!(Answer::read(stream).is_terminated());
    }
    let (summary, truth) = sim.stop();
    assert_eq!((summary.requests, summary.completed), (4, 4));
    let mut records = truth.records;
    records.sort_by_key(|record| record.ordinal);
    for pair in records.windows(2) {
        assert!(pair[0].received_ns <= pair[1].received_ns);
        assert!(
            pair[0].end_ns <= pair[1].started_ns.expect("it had a slot"),
            "one slot, in order of arrival"
        );
    }
    for record in &records {
        assert!(
            record.started_ns <= record.headers_ns
                && record.headers_ns < record.deltas.first().copied()
        );
    }
}

#[test]
fn a_request_may_ask_for_a_slot_that_is_busy_without_holding_up_others() {
    let sim = Running::start(|args| args.parallel = 2);
    let mut hold = sim.connect();
    let mut body = llama(200);
    body["id_slot"] = json!(0);
    send(&mut hold, "POST", "/completion", "", Some(&body));
    hold.read_exact(&mut [0_u8; 16]).expect("headers");
    let mut waits = sim.connect();
    body["n_predict"] = json!(1);
    send(&mut waits, "POST", "/completion", "", Some(&body));
    assert_eq!(sim.post(CHAT, &chat(2)).contents().len(), 2);
    let slots = sim.get("/slots").json();
    assert_eq!(
        (&slots[0]["is_processing"], &slots[1]["is_processing"]),
        (&json!(true), &json!(false))
    );
    drop(hold);
    assert_eq!(Answer::read(&mut waits).contents().len(), 1);
}

fn check_truth(record: &TruthRecord, answer: &Answer, ttft_ns: u64, itl_ns: u64) {
    assert_eq!(record.deltas.len(), answer.contents().len());
    assert!(record.deltas.is_sorted());
    for (index, &delta) in record.deltas.iter().enumerate() {
        let due = record.received_ns + ttft_ns + index as u64 * itl_ns;
        assert!(delta >= due, "delta {index} was {} ns early", due - delta);
    }
    assert!(record.end_ns >= *record.deltas.last().expect("deltas"));
}

#[test]
fn the_truth_has_a_stamp_for_every_delta_and_none_is_early() {
    let sim = Running::start(|_| {});
    let answer = sim.ask("POST", CHAT, "x-bench-ci-request: 77\r\n", Some(&chat(20)));
    let (summary, truth) = sim.stop();
    let [record] = truth.records.as_slice() else { panic!("{truth:?}") };
    check_truth(record, &answer, 2_000_000, 500_000);
    assert_eq!((record.client_request, record.ordinal), (Some(77), 1));
    assert_eq!((record.status, record.end), (Some(200), TruthEnd::Completed));
    assert_eq!(record.finish_reason.as_deref(), Some("length"));
    assert_eq!(record.completion_tokens, 20);
    assert_eq!(summary.itl_ms.count, 19);
    if cfg!(target_os = "linux") {
        assert_eq!(record.received_by, ReceiveClock::Kernel);
    }
    assert_eq!(Value::from(record.id.clone()), answer.events()[0]["id"]);
}

#[test]
fn a_slowdown_stretches_every_deadline() {
    let sim = Running::start(|args| args.sim_slowdown = 50.0);
    let answer = sim.post(CHAT, &chat(10));
    let (_, truth) = sim.stop();
    check_truth(&truth.records[0], &answer, 3_000_000, 750_000);
}

#[test]
fn without_a_fixed_schedule_prefill_and_decode_have_their_rates() {
    let sim = Running::start(|args| {
        args.sim_ttft_ms = None;
        args.sim_itl_ms = None;
        args.sim_prefill_tps = 1000.0;
        args.sim_decode_ms = 1.0;
        args.sim_jitter = 0.5;
    });
    let mut body = llama(10);
    body["cache_prompt"] = json!(false);
    body["prompt"] = json!(vec![300; 7]);
    let answer = sim.post("/completion", &body);
    let (_, truth) = sim.stop();
    check_truth(&truth.records[0], &answer, 7_000_000, 1_000_000);
}

#[test]
fn a_stall_holds_back_what_was_due() {
    let sim = Running::start(|_| {});
    let answer = sim.faulty("stall:40", CHAT, &chat(3));
    let (_, truth) = sim.stop();
    check_truth(&truth.records[0], &answer, 42_000_000, 0);
}

#[test]
fn a_long_silence_is_broken_by_comments() {
    let sim = Running::start(|args| {
        args.sse_ping_interval = 1;
        args.sim_ttft_ms = Some(1_300.0);
    });
    let answer = sim.post(CHAT, &chat(2));
    assert_eq!(answer.text().matches(":\n\n").count(), 1);
    assert_eq!(answer.contents().len(), 2);
}

#[test]
fn a_send_stamp_in_a_comment_is_the_one_in_the_truth() {
    let sim = Running::start(|args| args.sim_stamps = true);
    let mut sent = Vec::new();
    for fault in ["", "coalesce:2"] {
        let answer = sim.faulty(fault, CHAT, &chat(6));
        let stamps: Vec<u64> = answer
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix(": sim-sent-ns "))
            .map(|digits| digits.parse().expect("a stamp"))
            .collect();
        assert_eq!(stamps.len(), 6);
        sent.push(stamps);
    }
    let (_, truth) = sim.stop();
    let deltas: Vec<_> = truth.records.into_iter().map(|record| record.deltas).collect();
    assert_eq!(deltas, sent);
}

#[test]
fn whole_answers_leave_the_connection_open_and_streams_close_it() {
    let sim = Running::start(|_| {});
    let mut stream = sim.connect();
    let mut space = [0_u8; 4096];
    for _ in 0..2 {
        send(&mut stream, "GET", "/health", "", None);
        let count = stream.read(&mut space).expect("an answer");
        assert!(space[..count].ends_with(br#"{"status":"ok"}"#));
    }
    send(&mut stream, "POST", "/completion", "", Some(&llama(1)));
    assert_eq!(Answer::read(&mut stream).close, Close::Clean);

    let sim = Running::start(|args| args.sim_keep_alive = true);
    let mut stream = sim.connect();
    for _ in 0..2 {
        send(&mut stream, "POST", "/completion", "", Some(&llama(1)));
        let mut raw = Vec::new();
        while !raw.ends_with(b"0\r\n\r\n") {
            let count = stream.read(&mut space).expect("an answer");
            assert!(count > 0, "closed");
            raw.extend_from_slice(&space[..count]);
        }
    }
}

#[test]
fn requests_may_come_in_pieces_and_with_a_chunked_body() {
    let sim = Running::start(|_| {});
    let mut stream = sim.connect();
    stream.set_nodelay(true).expect("a socket option");
    let body = llama(1).to_string();
    let (front, back) = body.split_at(9);
    let request = format!(
        "POST /completion HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n",
        front.len(),
        back.len()
    );
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).expect("written");
    }
    assert_eq!(Answer::read(&mut stream).contents().len(), 1);
}

#[test]
fn as_fast_as_the_client_reads_loses_nothing_when_the_client_is_slow() {
    let sim = Running::start(|args| {
        args.parallel = 1;
        args.ctx_size = 60_000;
        args.sim_itl_ms = Some(0.0);
        args.sim_ttft_ms = Some(0.0);
    });
    let mut stream = sim.connect();
    send(&mut stream, "POST", CHAT, "", Some(&chat(50_000)));
    // Other clients are served while this one does not read.
    assert_eq!(sim.get("/health").status(), 200);
    let answer = Answer::read(&mut stream);
    assert_eq!(answer.contents().len(), 50_000);
    assert!(answer.is_terminated());
    let (_, truth) = sim.stop();
    assert_eq!(truth.records[0].deltas.len(), 50_000);
}

#[test]
fn a_crowd_is_served_to_the_last_token() {
    let sim = Running::start(|args| {
        args.parallel = 64;
        args.ctx_size = 64 * 512;
    });
    let mut streams: Vec<_> = (0..200).map(|_| sim.connect()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        send(stream, "POST", CHAT, &format!("x-bench-ci-request: {number}\r\n"), Some(&chat(8)));
    }
    for stream in &mut streams {
        let answer = Answer::read(stream);
        assert_eq!(answer.contents().len(), 8);
        assert!(answer.is_terminated());
    }
    let (summary, truth) = sim.stop();
    assert_eq!((summary.completed, summary.completion_tokens), (200, 1600));
    let mut numbers: Vec<_> =
        truth.records.iter().filter_map(|record| record.client_request).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..200));
}

#[test]
fn a_client_that_leaves_frees_its_slot_and_is_not_counted() {
    let sim = Running::start(|args| args.parallel = 1);
    let mut stream = sim.connect();
    send(&mut stream, "POST", CHAT, "", Some(&chat(900)));
    stream.read_exact(&mut [0_u8; 400]).expect("the beginning");
    drop(stream);
    assert_eq!(sim.post(CHAT, &chat(2)).contents().len(), 2);
    assert!(sim.get("/metrics").text().contains("llamacpp:tokens_predicted_total 2\n"));
    let (summary, truth) = sim.stop();
    assert_eq!((summary.requests, summary.completed), (2, 1));
    assert_eq!(truth.records[0].end, TruthEnd::ClientGone);
}

#[test]
fn answers_may_end_by_themselves_unless_forced_not_to() {
    let sim = Running::start(|args| args.sim_eos = Some(10));
    let mut body = chat(100);
    assert_eq!(sim.post(CHAT, &body).contents().len(), 100, "ignore_eos");
    body["ignore_eos"] = json!(false);
    let answer = sim.post(CHAT, &body);
    assert!((5..=15).contains(&answer.contents().len()));
    assert_eq!(answer.finish_reason().as_deref(), Some("stop"));
}

#[test]
fn an_answer_ends_where_the_context_does() {
    let sim = Running::start(|args| {
        args.parallel = 1;
        args.ctx_size = 30;
    });
    let body =
        json!({"prompt": vec![300; 25], "n_predict": 50, "stream": true, "ignore_eos": true});
    let answer = sim.post("/completion", &body);
    let events = answer.events();
    let last = events.last().expect("events");
    assert_eq!((&last["tokens_predicted"], &last["truncated"]), (&json!(5), &json!(true)));
}

#[test]
fn side_routes_answer_like_a_real_server() {
    let sim = Running::start(|args| args.model = Some("dir/m.gguf".to_owned()));
    let props = sim.get("/props").json();
    assert_eq!(props["total_slots"], 4);
    assert_eq!(props["default_generation_settings"]["n_ctx"], 1024);
    assert_eq!(props["model_path"], "dir/m.gguf");
    assert!(props["chat_template"].is_string() && props["build_info"].is_string());
    assert_eq!(sim.get("/slots").json().as_array().map(Vec::len), Some(4));
    let models = sim.get("/v1/models").json();
    assert_eq!(models["data"][0]["meta"]["n_ctx"], 1024);
    let tokens = sim.post("/tokenize", &json!({"content": "the server is fast"})).json();
    assert_eq!(sim.post("/detokenize", &tokens).json()["content"], "the server is fast");
    let prompt = json!({"prompt": "the server is fast", "n_predict": 1});
    let used = sim.post("/completion", &prompt).json()["tokens_evaluated"].as_u64();
    let counted = tokens["tokens"].as_array().map(|tokens| tokens.len() as u64 + 1);
    assert_eq!(used, counted, "a prompt is its tokens and the one that begins it");
}

// ---- faults -----------------------------------------------------------------------------------

#[test]
fn faults_that_a_client_must_survive_change_the_form_and_not_the_content() {
    let sim = Running::start(|_| {});
    let plain = sim.post(CHAT, &with_seed(8));
    let words = plain.contents().concat();
    for fault in [
        "slow-headers:5",
        "early-headers",
        "no-content-type",
        "ping:8",
        "role-only:5",
        "coalesce:3",
        "multi-delta:3",
        "split-bytes",
        "usage-in-every-chunk",
        "no-usage",
        "no-terminator",
        "reasoning:3",
        "tool-calls",
    ] {
        let answer = sim.faulty(fault, CHAT, &with_seed(8));
        assert_eq!(answer.contents().concat(), words, "{fault}");
        assert!(answer.finish_reason().is_some(), "{fault}");
        assert_eq!(answer.is_terminated(), fault != "no-terminator", "{fault}");
        assert!(answer.ends_with_the_last_chunk(), "{fault}");
        let usage = answer.events().iter().filter(|event| event.get("usage").is_some()).count();
        let expected = match fault {
            "no-usage" => 0,
            "usage-in-every-chunk" => 9,
            _ => 1,
        };
        assert_eq!(usage, expected, "{fault}");
        match fault {
            "no-content-type" => assert!(!answer.head.contains("Content-Type")),
            "ping:8" => assert_eq!(answer.text().matches(":\n\n").count(), 4, "{}", answer.text()),
            "role-only:5" => {
                assert!(answer.chunks[0] < answer.chunks[1] + 60, "the role has a chunk of its own")
            }
            "multi-delta:3" => assert_eq!(answer.contents().len(), 3),
            "reasoning:3" => {
                assert!(answer.events()[3]["choices"][0]["delta"]["reasoning_content"].is_string())
            }
            "tool-calls" => assert_eq!(answer.finish_reason().as_deref(), Some("tool_calls")),
            _ => {}
        }
    }
    let (summary, truth) = sim.stop();
    assert_eq!(summary.requests, summary.completed);
    let coalesced =
        truth.records.iter().find(|record| record.fault.as_deref() == Some("coalesce:3"));
    let deltas = &coalesced.expect("recorded").deltas;
    assert_eq!(deltas.len(), 8);
    assert!(deltas[0] == deltas[2] && deltas[2] < deltas[3], "three share a write");
}

fn with_seed(tokens: u64) -> Value {
    let mut body = chat(tokens);
    body["seed"] = json!(5);
    body
}

#[test]
fn crlf_line_ends_and_split_characters_keep_the_events_whole() {
    let sim = Running::start(|_| {});
    let crlf = sim.faulty("crlf", CHAT, &with_seed(4));
    assert!(crlf.text().contains("}\r\n\r\ndata: "));
    assert!(crlf.text().replace("\r\n", "").find(['\n', '\r']).is_none());
    assert_eq!(crlf.contents().len(), 4);
    let half = sim.faulty("half-utf8", CHAT, &with_seed(6));
    assert_eq!(half.contents().len(), 3, "two tokens a character");
    assert!(half.contents().iter().all(|text| !text.is_ascii()));
    assert_eq!(half.events().last().expect("events")["usage"]["completion_tokens"], 6);
    let (_, truth) = sim.stop();
    assert_eq!(truth.records[1].deltas.len(), 3);
}

#[test]
fn faults_that_a_client_must_notice_break_the_answer_as_they_say() {
    let sim = Running::start(|_| {});
    for fault in [
        "error-in-stream:3",
        "cut:3",
        "cut-raw:3",
        "reset:3",
        "bad-chunk-size:3",
        "not-json:3",
        "no-finish",
        "empty",
        "short:3",
    ] {
        let answer = sim.faulty(fault, CHAT, &with_seed(8));
        let contents = answer.contents().len();
        let done = answer.is_terminated();
        let finish = answer.finish_reason();
        match fault {
            "error-in-stream:3" => {
                assert_eq!((answer.status(), contents, done), (200, 3, false));
                assert!(answer.events().last().expect("events")["error"]["message"].is_string());
                assert!(answer.ends_with_the_last_chunk());
            }
            "cut:3" => {
                assert_eq!((contents, done, finish), (3, false, None));
                assert!(answer.ends_with_the_last_chunk());
            }
            "cut-raw:3" => {
                assert_eq!((contents, done, &answer.close), (3, false, &Close::Clean));
                assert!(!answer.ends_with_the_last_chunk());
            }
            "reset:3" => {
                assert_eq!((done, &answer.close), (false, &Close::Reset));
            }
            "bad-chunk-size:3" => {
                assert_eq!(contents, 3);
                assert!(answer.raw.windows(4).any(|four| four == b"zz\r\n"));
            }
            "not-json:3" => {
                assert_eq!((contents, done), (8, true));
                assert_eq!(
                    answer.data().len(),
                    answer.events().len() + 2,
                    "[DONE] and one broken event"
                );
            }
            "no-finish" => assert_eq!((contents, done, finish), (8, true, None)),
            "empty" => {
                assert_eq!((contents, done, finish.as_deref()), (0, true, Some("stop")));
                assert_eq!(
                    answer.events().last().expect("events")["usage"]["completion_tokens"],
                    0
                );
            }
            "short:3" => assert_eq!((contents, done, finish.as_deref()), (3, true, Some("stop"))),
            _ => unreachable!(),
        }
    }
    let (_, truth) = sim.stop();
    let broken = truth.records.iter().filter(|record| record.end == TruthEnd::Broken).count();
    assert_eq!(broken, 5);
}

#[test]
fn statuses_come_back_as_json_before_any_stream() {
    let sim = Running::start(|_| {});
    for (fault, status) in
        [("status:429", 429), ("status:503", 503), ("error-before", 500), ("error-before:400", 400)]
    {
        let answer = sim.faulty(fault, CHAT, &chat(3));
        assert_eq!(answer.status(), status, "{fault}");
        assert_eq!(answer.json()["error"]["code"], status);
        assert!(answer.head.contains("Connection: close"));
    }
    assert_eq!(sim.faulty("no-such-fault", CHAT, &chat(3)).status(), 400);
}

#[test]
fn a_hanging_request_holds_its_slot_until_its_client_leaves() {
    let sim = Running::start(|args| args.parallel = 1);
    for (fault, seen) in [("hang-before", 0), ("hang-mid:2", 2)] {
        let mut stream = sim.connect();
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        send(&mut stream, "POST", CHAT, &format!("x-sim-fault: {fault}\r\n"), Some(&chat(9)));
        let answer = Answer::read(&mut stream);
        assert_eq!(answer.close, Close::TimedOut);
        assert_eq!(answer.contents().len(), seen);
        drop(stream);
        assert_eq!(sim.post(CHAT, &chat(1)).contents().len(), 1, "the slot is free again");
    }
    let (_, truth) = sim.stop();
    assert_eq!(truth.records.iter().filter(|record| record.end == TruthEnd::Broken).count(), 2);
}

#[test]
fn a_flag_puts_faults_on_chosen_requests() {
    let sim = Running::start(|args| {
        args.sim_fault = vec!["cut:1".parse().expect("a fault")];
        args.sim_fault_every = Some(3);
    });
    let whole: Vec<bool> = (0..6).map(|_| sim.post(CHAT, &chat(2)).is_terminated()).collect();
    assert_eq!(whole, [true, true, false, true, true, false]);
}

#[test]
fn a_stop_cuts_what_is_in_flight_and_says_so() {
    let sim = Running::start(|_| {});
    let mut stream = sim.connect();
    send(&mut stream, "POST", CHAT, "", Some(&chat(900)));
    stream.read_exact(&mut [0_u8; 16]).expect("headers");
    let (summary, truth) = sim.stop();
    assert_eq!((summary.requests, summary.completed), (1, 0));
    assert_eq!(truth.records[0].end, TruthEnd::Stopped);
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let sim = Running::start(|_| {});
    let args = SimArgs { port: sim.address.port(), ..SimArgs::default() };
    let error = Sim::bind(args).expect_err("taken");
    assert!(error.to_string().starts_with("couldn't bind HTTP server socket"));
    assert!(error.hint().is_some_and(|hint| hint.contains("--port 0")));
}

#[test]
fn a_bad_command_line_exits_with_1_and_help_with_0() {
    assert_eq!(bench_ci::sim::main(["--bogus"]), 1);
    assert_eq!(
        bench_ci::sim::main([
            "--port",
            "0",
            "--log-disable",
            "--sim-fault",
            "die-at-start:no memory"
        ]),
        1
    );
}
