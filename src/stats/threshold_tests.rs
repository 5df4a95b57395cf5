//! k6's rules of evaluation, rule by rule.

use super::*;
use crate::load::FailureKind;
use crate::stats::fixture::{at_ms, completed, failed, figures, later};
use crate::stats::summarise;

fn thresholds(typed: &[&str]) -> Vec<Threshold> {
    typed.iter().map(|typed| Threshold::parse(typed).unwrap()).collect()
}

fn board(typed: &[&str], records: &[RequestRecord]) -> Board {
    let mut board = Board::new(&thresholds(typed), &[], HeaderSplit::Marked);
    records.iter().for_each(|record| board.add(record));
    board
}

/// What an evaluation while running says after so many seconds.
fn live(typed: &[&str], records: &[RequestRecord], seconds: u64) -> Vec<Option<Judged>> {
    let elapsed = Duration::from_secs(seconds);
    let server = BTreeMap::new();
    board(typed, records).judge(&Moment { elapsed, measured: elapsed, server: &server, end: None })
}

/// What the evaluation at the end says.
fn last(typed: &[&str], records: &[RequestRecord]) -> Vec<Judged> {
    let load = figures(10_000.0);
    let summary = summarise(records, &load);
    let server = BTreeMap::new();
    let end = End { rates: &summary.rates.whole, itl_ns: &load.itl_ns, itl: &load.itl };
    let elapsed = Duration::from_secs(10);
    let moment = Moment { elapsed, measured: elapsed, server: &server, end: Some(end) };
    let answers = board(typed, records).judge(&moment);
    answers.into_iter().map(|answer| answer.expect("at the end everything is judged")).collect()
}

/// Requests whose E2E latency is 10, 20, … milliseconds.
fn ladder(count: u64) -> Vec<RequestRecord> {
    (0..count)
        .rev() // out of order, as they come
        .map(|step| {
            let mut record = completed(step);
            record.end = Some(at_ms(2.0 + 10.0 * (step + 1) as f64));
            record
        })
        .collect()
}

fn observed(judged: &Judged) -> f64 {
    *judged.observed.as_ref().expect("known")
}

#[test]
fn trends_interpolate_at_q_times_n_minus_one() {
    let records = ladder(10);
    for (method, expected) in [
        ("avg", 55.0),
        ("min", 10.0),
        ("max", 100.0),
        ("med", 55.0),
        ("p(50)", 55.0),
        ("p(0)", 10.0),
        ("p(100)", 100.0),
        ("p(90)", 91.0),
        ("p(95)", 95.5),
        ("p(99.9)", 99.91),
    ] {
        let typed = format!("http_req_duration: {method} < 1");
        let found = observed(&last(&[&typed], &records)[0]);
        assert!((found - expected).abs() < 1e-9, "{method}: {found} is not {expected}");
        let while_running = live(&[&typed], &records, 2).remove(0).expect("there are samples");
        assert!((observed(&while_running) - expected).abs() < 1e-9, "{method} while running");
    }
    let one = last(&["http_req_duration: p(99) > 1"], &ladder(1));
    assert!((observed(&one[0]) - 10.0).abs() < 1e-9, "one sample is itself");
}

#[test]
fn every_operator_compares_as_it_says() {
    let records = ladder(3); // count is 3
    for (expression, ok) in [
        ("count < 3", false),
        ("count <= 3", true),
        ("count > 3", false),
        ("count >= 3", true),
        ("count == 3", true),
        ("count === 3", true),
        ("count != 3", false),
        ("count < 4", true),
        ("count > 2", true),
        ("count == 2", false),
        ("count != 2", true),
    ] {
        let judged = last(&[&format!("http_reqs: {expression}")], &records);
        assert_eq!(judged[0].ok, ok, "{expression}");
    }
}

#[test]
fn a_counters_rate_is_per_second_of_load() {
    let judged = last(&["http_reqs: rate > 1.9", "http_reqs: count == 20"], &ladder(20));
    assert!((observed(&judged[0]) - 2.0).abs() < 1e-9, "20 in 10 s");
    assert!(judged.iter().all(|judged| judged.ok));
}

#[test]
fn while_running_what_has_no_sample_is_skipped() {
    let typed = [
        "http_req_duration: avg < 0",
        "http_reqs: count > 5",
        "failed_ratio: rate < 0",
        "requests_per_second: value > 5",
        "server:nothing: value > 5",
        "itl_ms: avg < 0",
    ];
    assert_eq!(live(&typed, &[], 60), vec![None; typed.len()]);
    let warm_up = RequestRecord { phase: Phase::WarmUp, ..completed(0) };
    let cut = RequestRecord { outcome: Outcome::Cut, ..completed(1) };
    assert_eq!(live(&typed, &[warm_up, cut], 60), vec![None; typed.len()]);
}

#[test]
fn at_the_end_an_empty_trend_or_counter_is_zero_and_an_empty_share_passes() {
    for (typed, ok) in [
        ("http_req_duration: avg < 1", true),
        ("http_req_duration: avg > 1", false),
        ("http_req_duration: p(95) <= 0", true),
        ("http_req_duration: min == 0", true),
        ("http_reqs: count == 0", true),
        ("http_reqs: count > 0", false),
        ("http_reqs: rate == 0", true),
        ("http_req_failed: rate < 0.01", true),
        ("http_req_failed: rate > 0.99", true),
    ] {
        let judged = last(&[typed], &[]);
        assert_eq!(judged[0].ok, ok, "{typed}");
    }
    let judged = last(&["http_req_duration: avg < 1"], &[]);
    let reason = judged[0].observed.clone().expect_err("a zero that nobody measured");
    assert_eq!(reason.reason(), "nothing completed; judged as 0, as in k6");
}

#[test]
fn truncated_is_the_finish_reason_length_and_a_failed_request_is_not() {
    let length = completed(0); // the fixture ends by length
    let stop = RequestRecord { finish_reason: Some("stop".to_owned()), ..completed(1) };
    let records =
        [length.clone(), length.clone(), length, stop, failed(4, FailureKind::StreamError)];
    let judged = last(
        &[
            "llamacpp_completions_truncated_rate: rate < 0.8",
            "llamacpp_completions_stop_rate: rate >= 0.2",
            "http_req_failed: rate < 0.1",
            "checks: rate > 0.9",
        ],
        &records,
    );
    let found: Vec<(bool, f64)> = judged.iter().map(|one| (one.ok, observed(one))).collect();
    assert_eq!(found, [(true, 0.6), (true, 0.2), (false, 0.2), (false, 0.8)]);
}

#[test]
fn a_delayed_abort_waits_until_the_load_is_longer_than_its_delay() {
    let typed = ["http_reqs: count < 1", "http_req_failed: rate > 1,abort,delay=1m"];
    let board = board(&typed, &[]);
    let crossed = Judged { ok: false, observed: Ok(0.0) };
    let held = Judged { ok: true, observed: Ok(0.0) };
    let abort = |second: Option<&Judged>, seconds| {
        let answers = [Some(crossed.clone()), second.cloned()];
        board.aborting(&answers, Duration::from_secs(seconds))
    };
    assert_eq!(abort(Some(&crossed), 59), None);
    assert_eq!(abort(Some(&crossed), 60), None, "longer, not as long");
    assert_eq!(abort(Some(&crossed), 61), Some(1), "the first crosses too, but does not abort");
    assert_eq!(abort(Some(&held), 61), None);
    assert_eq!(abort(None, 61), None);
}

#[test]
fn without_delay_an_abort_comes_at_once() {
    let board = board(&["http_reqs: count < 1,abort"], &[]);
    let crossed = Some(Judged { ok: false, observed: Ok(1.0) });
    assert_eq!(board.aborting(&[crossed], Duration::from_millis(1)), Some(0));
}

#[test]
fn a_metric_of_the_server_is_read_by_its_methods() {
    let server = BTreeMap::from([(
        "llamacpp:tokens_predicted_total".to_owned(),
        ServerReading { last: 30.0, min: 10.0, mean: 20.0, max: 30.0, delta: Some(20.0) },
    )]);
    for (method, expected) in [
        ("value", 30.0),
        ("min", 10.0),
        ("avg", 20.0),
        ("max", 30.0),
        ("count", 20.0),
        ("rate", 2.0),
    ] {
        let typed = format!("server:llamacpp:tokens_predicted_total: {method} > 0");
        let elapsed = Duration::from_secs(10);
        let moment = Moment { elapsed, measured: elapsed, server: &server, end: None };
        let judged = board(&[&typed], &[]).judge(&moment).remove(0).expect("it is there");
        assert!((observed(&judged) - expected).abs() < 1e-9, "{method}");
    }
}

/// Ten seconds of load, of which four count: the server's counters grew in all of them.
#[test]
fn a_rate_is_over_the_time_in_which_its_count_could_grow() {
    const COUNTER: &str = "llamacpp:tokens_predicted_total";
    let reading = ServerReading { last: 30.0, min: 10.0, mean: 20.0, max: 30.0, delta: Some(20.0) };
    let server = BTreeMap::from([(COUNTER.to_owned(), reading)]);
    let (elapsed, measured) = (Duration::from_secs(10), Duration::from_secs(4));
    let of_server = format!("server:{COUNTER}: rate > 0");
    let typed = ["http_reqs: rate > 0", of_server.as_str()];
    let moment = Moment { elapsed, measured, server: &server, end: None };
    let judged = board(&typed, &ladder(8)).judge(&moment);
    let rates: Vec<f64> = judged.iter().flatten().map(observed).collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| (rate - 2.0).abs() < 1e-9), "{rates:?}");
    // Before the first phase that counts there is no rate that could be crossed.
    let moment = Moment { measured: Duration::ZERO, ..moment };
    assert_eq!(board(&typed, &ladder(8)).judge(&moment)[0], None);
}

#[test]
fn what_cannot_be_known_does_not_pass() {
    let judged = last(&["server:llamacpp:x: value < 5", "goodput_requests_per_second < 5"], &[]);
    assert!(judged.iter().all(|one| !one.ok && one.observed.is_err()), "{judged:?}");
    let silent = RequestRecord { usage: None, timings: None, ..completed(0) };
    let judged = last(&["completion_tokens_total: count < 5", "tpot_ms: avg < 5"], &[silent]);
    for one in judged {
        let reason = one.observed.expect_err("nobody counted");
        assert_eq!((one.ok, reason.reason()), (false, "1 completed requests have no value"));
    }
}

#[test]
fn gaps_are_judged_at_the_end() {
    let judged = last(&["itl_ms: avg < 10.5", "itl_ms: p(99) < 9"], &ladder(3));
    assert!(judged[0].ok && !judged[1].ok, "all gaps are 10 ms: {judged:?}");
}

#[test]
fn script_figures_follow_the_script() {
    // 11 tokens over the 105 ms from first content to the end; 40 prompt tokens over 23 ms.
    let judged = last(
        &[
            "llamacpp_tokens_second: avg > 0",
            "llamacpp_prompt_processing_second: avg > 0",
            "llamacpp_emit_first_token_second: avg > 0",
            "http_req_waiting: avg > 0",
            "http_req_receiving: avg > 0",
            "http_req_connecting: avg == 0",
        ],
        &[completed(0), later(completed(1), 200.0)],
    );
    let expected = [11.0 / 0.105, 40.0 / 0.023, 0.023, 3.0, 125.0, 0.0];
    for (judged, expected) in judged.iter().zip(expected) {
        assert!(judged.ok && (observed(judged) - expected).abs() < 1e-6, "{judged:?} {expected}");
    }
}
