//! Every way to fail has its own name, and none of them is a panic or a hang.

use super::*;

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
    assert!(record.end >= record.connect_started, "when it was given up");
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
    assert_eq!(record.content_deltas, 1);
    assert!(record.end.unwrap() >= record.last_content.unwrap().after(limit), "{record:?}");

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
