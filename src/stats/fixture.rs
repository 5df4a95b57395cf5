//! Records for the tests of this room.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{LoadFigures, ServerCounters, ServerKind};
use crate::load::{
    ClockSource, FailureKind, Moments, Outcome, Phase, RequestRecord, Stamp, Timings, Usage,
};

/// Where the fixtures' clock starts: not at zero, as real ones do not.
pub(crate) const ORIGIN: u64 = 7_000_000_000;

pub(crate) fn at_ms(milliseconds: f64) -> Stamp {
    Stamp(ORIGIN + (milliseconds * 1e6) as u64)
}

/// Planned at 0, written 2, headers 5, content every 10 ms from 25 to 125, end 130.
pub(crate) fn completed(index: u64) -> RequestRecord {
    RequestRecord {
        index,
        prompt_index: index,
        user_index: 0,
        phase: Phase::Measured,
        conversation_index: None,
        turn: None,
        turns: None,
        phase_index: 1,
        outcome: Outcome::Completed,
        dropped_because: None,
        planned: at_ms(0.0),
        connect_started: None,
        connected: None,
        written: Some(at_ms(2.0)),
        headers: Some(at_ms(5.0)),
        first_content: Some(at_ms(25.0)),
        first_answer: Some(at_ms(25.0)),
        last_content: Some(at_ms(125.0)),
        finish: Some(at_ms(126.0)),
        end: Some(at_ms(130.0)),
        status: Some(200),
        server_headers: Default::default(),
        finish_reason: Some("length".to_owned()),
        terminated: true,
        usage: Some(Usage {
            prompt_tokens: 40,
            completion_tokens: 11,
            cached_tokens: Some(8),
            reasoning_tokens: None,
        }),
        timings: Some(Timings {
            cache_n: Some(8),
            prompt_n: Some(32),
            prompt_ms: Some(19.5),
            predicted_n: Some(11),
            predicted_ms: Some(99.0),
            draft_n: None,
            draft_n_accepted: None,
        }),
        max_tokens: 11,
        forced: false,
        content_deltas: 11,
        coalesced_deltas: 0,
        first_content_coalesced: false,
        reasoning_deltas: 0,
        results: None,
        dimensions: None,
        comments: 0,
        bytes_received: 4_000,
        resent: false,
    }
}

/// The same request, `delay` milliseconds later.
pub(crate) fn later(mut record: RequestRecord, delay: f64) -> RequestRecord {
    let delay = Duration::from_secs_f64(delay / 1e3);
    record.planned = record.planned.after(delay);
    for stamp in [
        &mut record.connect_started,
        &mut record.connected,
        &mut record.written,
        &mut record.headers,
        &mut record.first_content,
        &mut record.first_answer,
        &mut record.last_content,
        &mut record.finish,
        &mut record.end,
    ] {
        *stamp = stamp.map(|stamp| stamp.after(delay));
    }
    record
}

/// One that got three deltas and then failed.
pub(crate) fn failed(index: u64, failure: FailureKind) -> RequestRecord {
    RequestRecord {
        outcome: Outcome::Failed { failure, detail: "seen in a test".to_owned() },
        last_content: Some(at_ms(45.0)),
        finish: None,
        end: Some(at_ms(46.0)),
        finish_reason: None,
        terminated: false,
        usage: None,
        timings: None,
        content_deltas: 3,
        ..completed(index)
    }
}

/// `users` users, each sending `rounds` requests one after the other, 130 ms apart.
pub(crate) fn closed_loop(users: u32, rounds: u64) -> Vec<RequestRecord> {
    let mut records = Vec::new();
    for round in 0..rounds {
        for user in 0..users {
            let mut record = later(completed(records.len() as u64), 130.0 * round as f64);
            record.user_index = user;
            records.push(record);
        }
    }
    records
}

/// An idle client with kernel stamps.
pub(crate) fn figures(window_end_ms: f64) -> LoadFigures {
    let mut itl_ns = Histogram::new(3).expect("3 digits");
    let mut client_delay_ns = Histogram::new(3).expect("3 digits");
    let mut dispatch_lateness_ns = Histogram::new(3).expect("3 digits");
    let mut itl = Moments::default();
    for _ in 0..1_000 {
        itl.add(10_000_000);
        itl_ns.record(10_000_000).expect("resizes");
        client_delay_ns.record(20_000).expect("resizes");
        dispatch_lateness_ns.record(60_000).expect("resizes");
    }
    LoadFigures {
        server: ServerKind::LlamaServer,
        itl_ns,
        itl,
        client_delay_ns,
        dispatch_lateness_ns,
        dispatch_lateness_mean_ns: Some(60_000.0),
        think_time: Duration::ZERO,
        clock: ClockSource::Kernel,
        rejected_stamps: 0,
        thread_cpu: Some(Duration::from_millis(12)),
        origin: at_ms(0.0),
        window_start: at_ms(0.0),
        window_end: at_ms(window_end_ms),
        endpoint: crate::plan::Endpoint::ChatCompletions,
        stream: true,
        interrupted: false,
        open_loop: false,
        counters: ServerCounters::default(),
    }
}
