//! Both accounts, agreeing and not.

use super::*;
use crate::load::FailureKind;
use crate::stats::fixture::{at_ms, closed_loop, completed, failed};

fn compare(records: &[RequestRecord], counters: &ServerCounters) -> Reconciliation {
    Reconciliation::of(records, &HeaderSplit::Marked, counters)
}

fn true_counters(requests: f64) -> ServerCounters {
    ServerCounters {
        span: CounterSpan::Measured,
        prompt_tokens_delta: Some(32.0 * requests),
        cached_tokens_delta: Some(8.0 * requests),
        predicted_tokens_delta: Some(11.0 * requests),
    }
}

fn codes(reconciliation: &Reconciliation) -> Vec<&'static str> {
    reconciliation.disagreements.iter().map(|found| found.code).collect()
}

#[test]
fn agreement_is_silent_and_adds_up() {
    let result = compare(&closed_loop(4, 5), &true_counters(20.0));
    assert_eq!(result.disagreements, []);
    assert_eq!(result.tokens.usage_completion_tokens, Ok(220));
    assert_eq!(result.tokens.timings_completion_tokens, Ok(220));
    assert_eq!(result.tokens.counter_completion_tokens, Ok(220));
    assert_eq!(result.tokens.usage_prompt_tokens, Ok(800));
    assert_eq!(result.tokens.timings_prompt_tokens, Ok(800));
    assert_eq!(result.tokens.counter_prompt_tokens_evaluated, Ok(640));
    let split = result.ttft.expect("all parts");
    assert!((split.ttft_ms - 23.0).abs() < 1e-9 && (split.queue_ms - 3.0).abs() < 1e-9);
    assert!((split.residual_ms - 0.5).abs() < 1e-9, "{split:?}");
    assert!((result.prefill_residual.p50_ms.expect("known") - 0.5).abs() < 1e-9);
    assert!((result.decode_residual.max_ms.expect("known") - 1.0).abs() < 1e-9);
}

#[test]
fn one_wrong_count_among_many_is_named() {
    let mut records = closed_loop(4, 5);
    records[7].usage.as_mut().expect("has usage").completion_tokens = 12;
    records[7].max_tokens = 12;
    let result = compare(&records, &ServerCounters::default());
    assert_eq!(codes(&result), ["completion_tokens"]);
    assert!(result.disagreements[0].message.starts_with("in 1 of 20 completed requests"));
}

#[test]
fn fewer_deltas_than_tokens_is_normal_and_more_is_not() {
    let mut record = completed(0);
    record.content_deltas = 7;
    assert_eq!(codes(&compare(&[record.clone()], &ServerCounters::default())), [""; 0]);
    record.content_deltas = 12;
    assert_eq!(codes(&compare(&[record], &ServerCounters::default())), ["more_deltas_than_tokens"]);
}

#[test]
fn counters_that_moved_otherwise_are_named() {
    let records = closed_loop(4, 5);
    let counters = ServerCounters { predicted_tokens_delta: Some(231.0), ..true_counters(20.0) };
    assert_eq!(codes(&compare(&records, &counters)), ["counter_completion_tokens"]);
}

#[test]
fn the_counters_of_a_real_llama_server_agree_with_its_timings() {
    // Guards the meaning of each counter: tests/fixtures/llama-server, eight requests, the
    // difference of metrics-after and metrics-before.
    let counters = ServerCounters {
        span: CounterSpan::Measured,
        prompt_tokens_delta: Some(256.0),
        cached_tokens_delta: Some(51.0),
        predicted_tokens_delta: Some(256.0),
    };
    let timings = [
        (51, 1, 0.175, 8, 0.571),
        (0, 52, 0.835, 200, 23.953),
        (0, 52, 1.378, 8, 0.717),
        (0, 52, 0.812, 8, 0.636),
        (0, 52, 0.993, 8, 0.76),
        (0, 5, 0.237, 8, 0.581),
        (0, 21, 0.343, 8, 0.869),
        (0, 21, 0.378, 8, 0.85),
    ];
    let records: Vec<RequestRecord> = (0..)
        .zip(timings)
        .map(|(index, (cached, prompt_n, prompt_ms, predicted_n, predicted_ms))| {
            let mut record = completed(index);
            record.usage = None;
            record.max_tokens = 200;
            record.content_deltas = 1;
            record.timings = Some(Timings {
                cache_n: Some(cached),
                prompt_n: Some(prompt_n),
                prompt_ms: Some(prompt_ms),
                predicted_n: Some(predicted_n),
                predicted_ms: Some(predicted_ms),
                draft_n: None,
                draft_n_accepted: None,
            });
            record
        })
        .collect();
    assert_eq!(compare(&records, &counters).disagreements, []);
}

#[test]
fn unmeasured_phases_are_counted_where_the_counters_cover_them() {
    let mut records = closed_loop(4, 5);
    records.push(RequestRecord { phase: Phase::WarmUp, phase_index: 0, ..completed(20) });
    records.push(RequestRecord { phase: Phase::WarmUp, phase_index: 1, ..completed(21) });
    assert_eq!(codes(&compare(&records, &true_counters(20.0))), [""; 0]);
    let counters = ServerCounters { span: CounterSpan::AllPhases, ..true_counters(21.0) };
    assert_eq!(codes(&compare(&records, &counters)), [""; 0]);
    let counters = ServerCounters { span: CounterSpan::Measured, ..true_counters(21.0) };
    assert!(!codes(&compare(&records, &counters)).is_empty());
}

#[test]
fn a_failed_request_may_have_moved_the_counters_up_but_not_down() {
    let mut records = closed_loop(4, 5);
    records.push(failed(20, FailureKind::Reset));
    let more = ServerCounters { predicted_tokens_delta: Some(223.0), ..true_counters(20.0) };
    assert_eq!(codes(&compare(&records, &more)), [""; 0]);
    let fewer = ServerCounters { predicted_tokens_delta: Some(219.0), ..true_counters(20.0) };
    assert_eq!(codes(&compare(&records, &fewer)), ["counter_completion_tokens"]);
}

#[test]
fn stamps_out_of_order_are_named() {
    let mut record = completed(0);
    record.headers = Some(at_ms(1.0));
    assert_eq!(codes(&compare(&[record], &ServerCounters::default())), ["stamps_out_of_order"]);
}

#[test]
fn counts_that_add_up_to_too_much_do_not_panic() {
    let mut records = closed_loop(2, 1);
    for record in &mut records {
        record.usage.as_mut().expect("has usage").prompt_tokens = u64::MAX;
        record.timings.as_mut().expect("has timings").prompt_n = Some(u64::MAX);
    }
    let result = compare(&records, &true_counters(2.0));
    assert_eq!(result.tokens.usage_prompt_tokens, Ok(u64::MAX));
    assert_eq!(result.tokens.timings_prompt_tokens, Ok(u64::MAX));
}

#[test]
fn what_timings_leave_out_disagrees_with_nothing() {
    let mut records = closed_loop(4, 5);
    for record in &mut records {
        record.timings = Some(Timings { prompt_n: Some(32), ..Timings::default() });
    }
    let result = compare(&records, &ServerCounters::default());
    assert_eq!(result.disagreements, []);
    assert_eq!(result.tokens.timings_prompt_tokens_evaluated, Ok(640));
    assert!(result.tokens.timings_completion_tokens.is_err() && result.ttft.is_err());
    assert_eq!((result.prefill_residual.count, result.decode_residual.count), (0, 0));
}

#[test]
fn nothing_to_compare_is_unknown() {
    let result = compare(&[], &ServerCounters::default());
    assert!(result.tokens.usage_completion_tokens.is_err() && result.ttft.is_err());
    assert_eq!(result.prefill_residual.count, 0);
    assert!(result.tokens.counter_completion_tokens.is_err());
}
