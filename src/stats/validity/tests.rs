//! When a run may be believed, and when not.

use std::time::Duration;

use super::*;
use crate::load::{Outcome, RequestRecord, Stamp};
use crate::stats::fixture::{closed_loop, completed, failed, figures, later};
use crate::stats::summarise;

const LIMITS: Limits = Limits {
    max_failed: 0,
    max_lateness_ratio: 0.01,
    max_client_delay_ratio: 0.01,
    min_achieved_rate_ratio: 0.98,
    max_arrival_lateness_ratio: 0.05,
    arrival_lateness_floor: Duration::from_millis(1),
    accept_saturated_client: false,
};

fn verdict(records: &[RequestRecord], load: &LoadFigures, limits: &Limits) -> Validity {
    judge(&summarise(records, load), load, limits, ServerFate::Survived)
}

fn reasons(verdict: &Validity) -> Vec<&'static str> {
    verdict.reasons.iter().map(|reason| reason.code).collect()
}

fn warnings(verdict: &Validity) -> Vec<&'static str> {
    verdict.warnings.iter().map(|warning| warning.code).collect()
}

fn with_delay(nanos: u64, clock: ClockSource) -> LoadFigures {
    let mut load = figures(650.0);
    load.clock = clock;
    load.client_delay_ns.record_n(nanos, 100_000).expect("resizes");
    load
}

#[test]
fn an_idle_client_trips_nothing() {
    for clock in [ClockSource::Kernel, ClockSource::User] {
        let load = LoadFigures { clock, ..figures(650.0) };
        let verdict = verdict(&closed_loop(4, 5), &load, &LIMITS);
        assert_eq!((reasons(&verdict), warnings(&verdict)), (vec![], vec![]));
        assert!(verdict.valid && !verdict.fails_run);
    }
}

#[test]
fn lateness_is_judged_on_both_sides_of_its_limit() {
    // The mean end-to-end latency is 128 ms: 1 % of it is 1.28 ms.
    for (mean_ms, valid) in [(1.27, true), (1.29, false)] {
        let load = LoadFigures { dispatch_lateness_mean_ns: Some(mean_ms * 1e6), ..figures(650.0) };
        let verdict = verdict(&closed_loop(4, 5), &load, &LIMITS);
        assert_eq!(verdict.valid, valid, "{mean_ms} ms");
        assert_eq!(verdict.fails_run, !valid);
    }
}

/// 200 arrivals 10 ms apart, each sent `late_ms` after its instant.
fn open_loop(late_ms: f64, dropped: usize) -> (Vec<RequestRecord>, LoadFigures) {
    let mut records = Vec::new();
    let mut load = LoadFigures { open_loop: true, ..figures(10_000.0) };
    load.dispatch_lateness_ns.reset();
    for index in 0..200_u32 {
        let mut record = later(completed(u64::from(index)), 10.0 * f64::from(index));
        if (100..100 + dropped).contains(&(index as usize)) {
            record.outcome = Outcome::Dropped;
            record.written = None;
        } else {
            let lateness = (late_ms * 1e6) as u64;
            load.dispatch_lateness_ns.record(lateness).expect("resizes");
            record.written = Some(Stamp(record.planned.0 + lateness));
        }
        records.push(record);
    }
    (records, load)
}

#[test]
fn an_open_loop_is_judged_by_the_rate_it_achieved() {
    for (dropped, found) in [(0, vec![]), (3, vec![]), (5, vec!["achieved_rate"])] {
        let (records, load) = open_loop(0.05, dropped);
        assert_eq!(reasons(&verdict(&records, &load, &LIMITS)), found, "{dropped} of 200 dropped");
        let laxer = Limits { min_achieved_rate_ratio: 0.97, ..LIMITS };
        assert!(verdict(&records, &load, &laxer).valid, "{dropped} of 200 dropped");
    }
}

#[test]
fn arrivals_that_never_reached_the_server_are_not_sent_however_many_may_fail() {
    let (mut records, load) = open_loop(0.05, 0);
    for record in &mut records[100..110] {
        let refused = failed(record.index, FailureKind::Connect);
        *record = RequestRecord { planned: record.planned, written: None, ..refused };
    }
    let lax = Limits { max_failed: 10, ..LIMITS };
    let judged = verdict(&records, &load, &lax);
    assert_eq!(reasons(&judged), ["achieved_rate"]);
    let said = &judged.reasons[0].message;
    assert!(said.contains("10 of 200 arrivals never reached the server"), "{said}");
}

#[test]
fn an_open_loop_is_judged_by_its_late_arrivals() {
    // The median time to the first content is about 28 ms, so 5 % of it are above 1 ms.
    let median = {
        let (records, load) = open_loop(0.0, 0);
        let summary = summarise(&records, &load);
        summary.distribution(&TTFT_MS).and_then(|found| found.p50.clone().ok()).expect("known")
    };
    assert!(median * LIMITS.max_arrival_lateness_ratio > 1.0, "{median}");
    for (share, found) in [(0.045, vec![]), (0.06, vec!["dispatch_lateness"])] {
        let (records, load) = open_loop(median * share, 0);
        let judged = verdict(&records, &load, &LIMITS);
        assert_eq!(reasons(&judged), found, "{share} of the median");
        let laxer = Limits { max_arrival_lateness_ratio: 0.07, ..LIMITS };
        assert!(verdict(&records, &load, &laxer).valid, "{share} of the median");
    }
}

#[test]
fn late_arrivals_of_answers_in_one_piece_are_judged_against_their_latency() {
    // The latency of 122 to 125 ms allows about 6.2 ms, not the millisecond that is always allowed.
    for (late_ms, found) in [(5.0, vec![]), (8.0, vec!["dispatch_lateness"])] {
        let (mut records, load) = open_loop(late_ms, 0);
        records.iter_mut().for_each(in_one_piece);
        assert_eq!(reasons(&verdict(&records, &load, &LIMITS)), found, "{late_ms} ms");
    }
}

/// As an answer that is not streamed.
fn in_one_piece(record: &mut RequestRecord) {
    (record.first_content, record.first_answer, record.last_content) = (None, None, None);
    (record.headers, record.content_deltas) = (record.end, 0);
}

#[test]
fn a_quick_server_still_leaves_an_open_loop_a_millisecond() {
    for (late_ms, valid) in [(0.95, true), (1.05, false)] {
        let (mut records, load) = open_loop(late_ms, 0);
        for record in &mut records {
            record.first_content = record.written.map(|at| Stamp(at.0 + 2_000_000));
        }
        assert_eq!(verdict(&records, &load, &LIMITS).valid, valid, "{late_ms} ms");
        let floor = Limits { arrival_lateness_floor: Duration::from_millis(2), ..LIMITS };
        assert!(verdict(&records, &load, &floor).valid, "{late_ms} ms");
    }
}

#[test]
fn lateness_beside_a_long_pause_moves_no_rate_and_is_only_said() {
    // A cycle of 128 + 300 ms: 1 % of it is 4.28 ms.
    let think_time = Duration::from_millis(300);
    for (mean_ms, found) in [(1.27, ""), (1.29, "warning"), (4.27, "warning"), (4.29, "reason")] {
        let load = LoadFigures {
            dispatch_lateness_mean_ns: Some(mean_ms * 1e6),
            think_time,
            ..figures(650.0)
        };
        let verdict = verdict(&closed_loop(4, 5), &load, &LIMITS);
        assert_eq!(reasons(&verdict).contains(&"dispatch_lateness"), found == "reason");
        assert_eq!(warnings(&verdict).contains(&"dispatch_lateness"), found == "warning");
    }
}

#[test]
fn a_user_space_delay_is_judged_against_the_metric_it_sits_in() {
    // The median gap is 10 ms, so 0.1 ms is the limit.
    let below = verdict(&closed_loop(4, 5), &with_delay(90_000, ClockSource::User), &LIMITS);
    assert!(below.valid, "{:?}", below.reasons);
    let above = verdict(&closed_loop(4, 5), &with_delay(110_000, ClockSource::User), &LIMITS);
    assert_eq!(reasons(&above), ["client_delay"]);
}

#[test]
fn a_user_space_delay_of_answers_in_one_piece_is_judged_against_their_latency() {
    // The median latency is 128 ms, so 1.28 ms is the limit.
    let judged = |nanos| {
        let mut load = with_delay(nanos, ClockSource::User);
        (load.stream, load.itl) = (false, crate::load::Moments::default());
        load.itl_ns.reset();
        let mut records = closed_loop(4, 5);
        records.iter_mut().for_each(in_one_piece);
        verdict(&records, &load, &LIMITS)
    };
    let below = judged(1_200_000);
    assert!(below.valid, "{:?}", below.reasons);
    let above = judged(1_400_000);
    assert_eq!(reasons(&above), ["client_delay"]);
    assert!(above.reasons[0].message.contains("of the median e2e_ms"), "{:?}", above.reasons);
}

#[test]
fn with_kernel_stamps_the_same_delay_is_only_a_warning() {
    let starved =
        verdict(&closed_loop(4, 5), &with_delay(50_000_000, ClockSource::Kernel), &LIMITS);
    assert!(starved.valid && !starved.fails_run);
    assert_eq!(warnings(&starved), ["client_delay"]);
}

#[test]
fn first_contents_that_came_with_the_next_are_told_above_one_in_a_hundred() {
    for (late, found) in [(1, vec![]), (2, vec!["first_content_coalesced"])] {
        let mut records = closed_loop(4, 25);
        for record in records.iter_mut().take(late) {
            (record.coalesced_deltas, record.first_content_coalesced) = (1, true);
        }
        let judged = verdict(&records, &figures(3_250.0), &LIMITS);
        assert_eq!((warnings(&judged), judged.valid), (found, true), "{late} of 100");
    }
}

#[test]
fn reasoning_that_is_counted_and_not_streamed_is_told() {
    let mut records = closed_loop(4, 5);
    records[0].usage.as_mut().expect("has usage").reasoning_tokens = Some(4);
    let told = verdict(&records, &figures(650.0), &LIMITS);
    assert_eq!((warnings(&told), told.valid), (vec!["hidden_reasoning"], true));
    assert!(told.warnings[0].message.starts_with("of 1 of 20 completed requests"), "{told:?}");
    records[0].reasoning_deltas = 4;
    assert_eq!(warnings(&verdict(&records, &figures(650.0), &LIMITS)), [""; 0]);
}

#[test]
fn forced_lengths_that_nobody_counted_are_told() {
    let mut records = closed_loop(4, 5);
    records.iter_mut().for_each(|record| record.forced = true);
    assert_eq!(warnings(&verdict(&records, &figures(650.0), &LIMITS)), [""; 0]);
    for record in records.iter_mut().take(2) {
        (record.usage, record.timings) = (None, None);
    }
    let told = verdict(&records, &figures(650.0), &LIMITS);
    assert_eq!((warnings(&told), told.valid), (vec!["forced_length_unchecked"], true));
    assert!(told.warnings[0].message.contains("of 2 of 20 completed requests"), "{told:?}");
    records.iter_mut().for_each(|record| record.forced = false);
    assert_eq!(warnings(&verdict(&records, &figures(650.0), &LIMITS)), [""; 0]);
}

#[test]
fn a_delay_nobody_saw_is_said() {
    let mut load = LoadFigures { clock: ClockSource::User, ..figures(650.0) };
    load.client_delay_ns.reset();
    assert_eq!(warnings(&verdict(&closed_loop(4, 5), &load, &LIMITS)), ["client_delay_unseen"]);
}

#[test]
fn an_accepted_saturated_client_is_invalid_but_does_not_fail() {
    let limits = Limits { accept_saturated_client: true, ..LIMITS };
    let load = LoadFigures { dispatch_lateness_mean_ns: Some(1e9), ..figures(650.0) };
    let excused = verdict(&closed_loop(4, 5), &load, &limits);
    assert!(!excused.valid && !excused.fails_run);
    let mut records = closed_loop(4, 5);
    records.push(failed(20, FailureKind::Reset));
    assert!(verdict(&records, &load, &limits).fails_run, "failures are not the client's to excuse");
}

#[test]
fn failures_are_judged_on_both_sides_of_their_limit() {
    let mut records = closed_loop(4, 5);
    records.push(failed(20, FailureKind::StreamError));
    records.push(failed(21, FailureKind::Http5xx));
    let over = verdict(&records, &figures(650.0), &Limits { max_failed: 1, ..LIMITS });
    assert_eq!(reasons(&over), ["failed_requests"]);
    assert!(
        over.reasons[0].message.contains("2 of 22 requests failed (1 http_5xx, 1 stream_error)")
    );
    let under = verdict(&records, &figures(650.0), &Limits { max_failed: 2, ..LIMITS });
    assert!(under.valid);
    assert_eq!(warnings(&under), ["failed_requests"]);
}

#[test]
fn short_answers_are_not_excused_by_a_number() {
    let mut records = closed_loop(4, 5);
    records.push(failed(20, FailureKind::Short));
    let verdict = verdict(&records, &figures(650.0), &Limits { max_failed: 9, ..LIMITS });
    assert_eq!(reasons(&verdict), ["short_answers"]);
}

#[test]
fn nothing_completed_is_never_evidence() {
    let cut = [RequestRecord { outcome: Outcome::Cut, ..completed(0) }];
    let verdict = verdict(&cut, &figures(650.0), &Limits { max_failed: 100, ..LIMITS });
    assert_eq!(reasons(&verdict), ["nothing_completed"]);
    assert!(verdict.fails_run);
}

#[test]
fn a_server_that_died_is_never_excused() {
    let load = figures(650.0);
    let summary = summarise(&closed_loop(4, 5), &load);
    let limits = Limits { accept_saturated_client: true, max_failed: 100, ..LIMITS };
    for (fate, code) in
        [(ServerFate::Died, "server_died"), (ServerFate::Restarted, "server_restarted")]
    {
        let verdict = judge(&summary, &load, &limits, fate);
        assert_eq!((reasons(&verdict), verdict.fails_run), (vec![code], true));
    }
}
