//! Phases one after the other: who is in which, what counts, what is cut.

use bench_ci::load::Schedule;
use bench_ci::plan::shape::{Stage, UserTarget};
use bench_ci::plan::{ArrivalProcess, LoadShape};

use super::*;

fn counted(users: u32, requests: u64) -> LoadPhase {
    LoadPhase {
        phase: Phase::Measured,
        shape: LoadShape::ConstantUsers,
        schedule: None,
        users: Some(users),
        duration: None,
        total_requests: Some(requests),
    }
}

fn timed(users: u32, duration: Duration) -> LoadPhase {
    LoadPhase { duration: Some(duration), total_requests: None, ..counted(users, 0) }
}

/// Requests at a constant rate for so long.
fn arrivals(rate_per_second: f64, duration: Duration) -> LoadPhase {
    let shape = LoadShape::Arrivals {
        process: ArrivalProcess::Constant,
        rate_per_second,
        max_in_flight: None,
    };
    let schedule = Schedule::of(&shape, 1, Some(duration), None);
    LoadPhase { shape, schedule, users: None, ..timed(1, duration) }
}

fn of_phase(records: &[RequestRecord], phase_index: u16) -> Vec<&RequestRecord> {
    records.iter().filter(|record| record.phase_index == phase_index).collect()
}

#[test]
fn open_and_closed_phases_follow_each_other_and_only_the_measured_ones_count() {
    let server = Server::answering(good_answer());
    let mut plan = plan(server.address);
    plan.warm_up_requests_per_user = 1;
    plan.users = 2;
    plan.bodies = (0..7).map(|prompt| body("{}", prompt)).collect();
    let warming = LoadPhase { phase: Phase::WarmUp, ..counted(3, 5) };
    let cooling = LoadPhase { phase: Phase::CoolDown, ..timed(2, Duration::from_millis(50)) };
    plan.phases = vec![
        warming,
        arrivals(100.0, Duration::from_millis(105)),
        counted(4, 20),
        arrivals(50.0, Duration::from_millis(61)),
        cooling,
    ];
    assert_eq!(plan.requests(), Some(11 + 20 + 4));
    let (mut records, outcome) = play(plan);
    records.sort_by_key(|record| record.index);
    let indices: Vec<u64> = records.iter().map(|record| record.index).collect();
    assert_eq!(indices, (0..records.len() as u64).collect::<Vec<_>>());
    let counts = [0, 1, 2, 3, 4].map(|phase| of_phase(&records, phase).len());
    assert_eq!(counts, [2, 5, 11, 20, 4]);
    assert!(!of_phase(&records, 5).is_empty());
    for record in &records {
        let expected = match record.phase_index {
            0 | 1 => Phase::WarmUp,
            5 => Phase::CoolDown,
            _ => Phase::Measured,
        };
        assert_eq!(record.phase, expected);
        assert!(record.is_completed(), "{record:?}");
        // Bodies go on from phase to phase.
        if record.phase_index > 0 {
            assert_eq!(record.prompt_index, (record.index - 2) % 7);
        }
    }
    // Each phase begins where the one before it closes, and its requests with it.
    assert_eq!(outcome.phases.len(), 5);
    assert_eq!(outcome.phases[0].started, outcome.started);
    for (earlier, later) in outcome.phases.iter().zip(&outcome.phases[1..]) {
        assert_eq!(earlier.closed, later.started);
    }
    for (position, phase) in outcome.phases.iter().enumerate() {
        let records = of_phase(&records, position as u16 + 1);
        let first = records.iter().map(|record| record.planned).min();
        assert!(first.unwrap() >= phase.started, "phase {position}");
        assert!(records.iter().all(|record| record.planned <= phase.closed), "phase {position}");
        assert_eq!(phase.itl_moments.count(), records.len() as u64, "one gap each");
        assert_eq!(phase.dispatch_lateness.len(), records.len() as u64);
    }
    let length = outcome.phases[1].closed.since(outcome.phases[1].started);
    assert_eq!(length, Duration::from_millis(105), "time bounds it, not its last arrival");
    assert_eq!((outcome.itl.len(), outcome.itl_moments.count()), (35, 35));
    assert_eq!(outcome.dispatch_lateness.len(), 35);
}

#[test]
fn users_go_on_into_the_next_phase_without_a_second_of_them() {
    let server = endless_in_time(Duration::from_millis(30));
    let mut plan = plan(server.address);
    plan.users = 3;
    plan.phases = vec![timed(3, Duration::from_millis(100)), timed(3, Duration::from_millis(100))];
    let (records, outcome) = play(plan);
    assert_eq!(server.connections(), 3);
    let mut spans: Vec<(u32, Stamp, Stamp)> = records
        .iter()
        .map(|record| (record.user_index, record.written.unwrap(), record.end.unwrap()))
        .collect();
    spans.sort();
    for pair in spans.windows(2) {
        assert!(pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1, "two requests of one user");
    }
    // What began before the turn belongs to the first phase, however long it took.
    let turn = outcome.phases[1].started;
    assert!(of_phase(&records, 1).iter().any(|record| record.end.unwrap() > turn));
    assert!(of_phase(&records, 2).iter().all(|record| record.written.unwrap() >= turn));
}

/// A server whose answers take so long.
fn endless_in_time(time: Duration) -> Server {
    Server::new(move |_, mut stream| {
        while read_request(&mut stream).is_some() {
            thread::sleep(time);
            if stream.write_all(&good_answer()).is_err() {
                break;
            }
        }
    })
}

#[test]
fn what_outlives_its_phase_is_cut_after_the_graceful_stop_while_the_next_goes_on() {
    let server = Server::new(|number, mut stream| {
        while read_request(&mut stream).is_some() {
            // The first connection never ends its answer.
            let answer = if number == 0 { HEAD.as_bytes().to_vec() } else { good_answer() };
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
    });
    let mut plan = plan(server.address);
    plan.graceful_stop = Duration::from_millis(60);
    plan.phases = vec![timed(1, Duration::from_millis(40)), timed(1, Duration::from_millis(150))];
    let (records, outcome) = play(plan);
    let first = of_phase(&records, 1);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].outcome, Outcome::Cut);
    let second = of_phase(&records, 2);
    assert!(!second.is_empty() && second.iter().all(|record| record.is_completed()));
    let cut_at = outcome.phases[0].closed.after(Duration::from_millis(60));
    assert!(second[0].planned >= cut_at, "the only user was busy until then");
    assert!(!outcome.interrupted);
}

/// What follows on the phases that count is not in the time that their requests are divided by.
#[test]
fn what_counts_ends_with_its_last_request_while_a_cool_down_goes_on() {
    let asked = AtomicUsize::new(0);
    let server = Server::new(move |_, mut stream| {
        while read_request(&mut stream).is_some() {
            // The second request, which is the only measured one, is never answered to its end.
            let hangs = asked.fetch_add(1, Ordering::SeqCst) == 1;
            let answer = if hangs { HEAD.as_bytes().to_vec() } else { good_answer() };
            if stream.write_all(&answer).is_err() {
                break;
            }
        }
    });
    let mut plan = plan(server.address);
    plan.graceful_stop = Duration::from_millis(60);
    plan.phases = vec![
        LoadPhase { phase: Phase::WarmUp, ..counted(1, 1) },
        timed(1, Duration::from_millis(200)),
        LoadPhase { phase: Phase::CoolDown, ..counted(1, 3) },
    ];
    let (records, outcome) = play(plan);
    let measured = of_phase(&records, 2);
    assert_eq!(measured.len(), 1);
    assert_eq!(measured[0].outcome, Outcome::Cut);
    let given_up = measured[0].end.unwrap();
    assert!(given_up >= outcome.phases[1].closed.after(Duration::from_millis(60)));
    assert_eq!(outcome.measured_from, outcome.phases[1].started);
    assert_eq!(outcome.measured_until, given_up);
    let cooling = of_phase(&records, 3);
    assert_eq!(cooling.len(), 3);
    assert!(
        cooling.iter().all(|record| record.planned >= given_up),
        "its user was busy until then"
    );
    assert!(outcome.started < outcome.measured_from && outcome.measured_until < outcome.ended);
}

#[test]
fn a_user_that_the_ramp_takes_off_is_cut_after_the_graceful_ramp_down() {
    let server = endless_server();
    let mut plan = plan(server.address);
    plan.graceful_ramp_down = Duration::from_millis(50);
    plan.graceful_stop = Duration::from_millis(400);
    let stage = |millis, users| Stage {
        duration: Duration::from_millis(millis),
        target: UserTarget::Count(users),
    };
    let shape = LoadShape::RampingUsers {
        start: UserTarget::Count(2),
        stages: vec![stage(50, 1), stage(350, 1)],
    };
    plan.phases = vec![LoadPhase { shape, ..timed(2, Duration::from_millis(400)) }];
    let (mut records, outcome) = play(plan);
    records.sort_by_key(|record| record.user_index);
    assert_eq!(records.iter().map(|record| record.user_index).collect::<Vec<_>>(), [0, 1]);
    for record in &records {
        assert_eq!(record.outcome, Outcome::Cut);
    }
    // User 1 is taken off at the begin of the first stage, as k6 does, and cut 50 ms later; user 0
    // stays to the end and has the graceful stop.
    let seen = |record: &RequestRecord| record.last_content.unwrap().since(outcome.started);
    assert!(seen(&records[1]) < Duration::from_millis(350), "{:?}", seen(&records[1]));
    assert!(seen(&records[0]) > Duration::from_millis(500), "{:?}", seen(&records[0]));
}

#[test]
fn an_interruption_ends_all_phases_and_what_was_counted_in_is_dropped() {
    let server = endless_server();
    let mut plan = plan(server.address);
    plan.phases = vec![counted(2, 2), arrivals(100.0, Duration::from_millis(95)), counted(1, 3)];
    plan.phases[0].duration = Some(Duration::from_secs(600));
    plan.phases[1].phase = Phase::Measured;
    plan.users = 2;
    let (canceller, cancel) = pair();
    let (handle, records) = begin(plan, cancel);
    while handle.live.content_deltas() == 0 {
        thread::yield_now();
    }
    canceller.stop(StopReason::Interrupted);
    let outcome = join(handle).unwrap();
    assert!(outcome.interrupted);
    let records = records.lock().unwrap().clone();
    assert_eq!(records.len(), 2 + 10 + 3);
    assert!(records.iter().all(|record| matches!(record.outcome, Outcome::Cut | Outcome::Dropped)));
    let mut indices: Vec<u64> = records.iter().map(|record| record.index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..15).collect::<Vec<_>>());
}
