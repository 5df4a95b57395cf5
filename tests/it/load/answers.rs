//! What is noted about a good answer, and when.

use super::*;

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
    plan.phases[0].total_requests = Some(whole as u64 + 1);
    let (records, _) = play(plan);
    assert_eq!(records.len(), whole + 1);
    for record in &records {
        assert_eq!(record.outcome, Outcome::Completed, "cut at {}", record.index);
        assert_eq!((record.content_deltas, record.bytes_received), (2, whole as u64));
        assert_eq!(record.usage, records[0].usage);
    }
}
