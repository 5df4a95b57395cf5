//! How connections are opened, kept, lost and replaced, and what is sent over them.

use super::*;

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
    plan.phases[0].total_requests = Some(3);
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
    plan.phases[0].total_requests = Some(2);
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
        plan.phases[0].total_requests = Some(9);
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
    plan.phases[0].total_requests = Some(5);
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
        plan.phases[0].total_requests = Some(40);
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
    plan.phases[0].total_requests = Some(3);
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
    plan.phases[0].total_requests = Some(2);
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
