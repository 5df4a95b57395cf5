//! The run as a whole: who starts when, what is counted, how it ends.

use super::*;

#[test]
fn every_planned_request_is_one_record_and_every_body_is_sent_in_turn() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.users = 8;
    plan.bodies = (0..10).map(|prompt| body("{}", prompt)).collect();
    plan.phases[0].total_requests = Some(203);
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
    plan.phases[0].total_requests = Some(4);
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
    plan.phases[0].duration = Some(Duration::from_millis(100));
    plan.think_time = Duration::from_millis(10);
    plan.phases[0].total_requests = Some(1000);
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

#[test]
fn what_is_in_flight_at_the_end_is_cut_with_its_stamps() {
    let server = endless_server();
    let mut plan = plan(server.address);
    plan.users = 3;
    plan.phases[0].duration = Some(Duration::from_millis(60));
    plan.graceful_stop = Duration::from_millis(40);
    plan.phases[0].total_requests = None;
    let (records, outcome) = play(plan);
    assert_eq!(records.len(), 3);
    for record in &records {
        assert_eq!(record.outcome, Outcome::Cut);
        assert!(record.first_content.is_some() && record.content_deltas > 1);
        // It is over when it is given up, and not when the run is.
        let given_up = record.end.unwrap();
        assert!(given_up >= outcome.started.after(Duration::from_millis(100)));
        assert!(given_up >= record.last_content.unwrap() && given_up <= outcome.ended);
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
    warming.phases[0].total_requests = Some(2);
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
    measuring.phases[0].total_requests = None;
    measuring.phases[0].duration = Some(Duration::from_secs(600));
    assert_eq!(
        cancel_when(measuring, &|handle| handle.live.in_flight() == 1),
        [(Phase::Measured, Outcome::Cut)]
    );

    let server = Server::answering(good_answer());
    let mut thinking = plan(server.address);
    thinking.think_time = Duration::from_secs(600);
    thinking.phases[0].total_requests = None;
    thinking.phases[0].duration = Some(Duration::from_secs(3600));
    assert_eq!(
        cancel_when(thinking, &|handle| handle.live.completed() == 1),
        [(Phase::Measured, Outcome::Completed)]
    );

    let server = endless_server();
    let mut draining = plan(server.address);
    draining.phases[0].duration = Some(Duration::from_millis(20));
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
