//! What k6 with xk6-sse and llama.cpp's `script.js` would have written of this run.
//!
//! Main types: [`Samples`], k6's samples made from our rows, [`Summary`], k6's end-of-test metrics,
//! and the texts [`summary_json`] (`--summary-export`, which bench.py reads), [`csv`] (`--out csv`) and
//! [`json()`] (`--out json`). It does not imitate k6's errors: every value is formed from our stamps.
//!
//! | Metric | k6, xk6-sse and `script.js` | Here |
//! |---|---|---|
//! | `http_req_duration` | open → end, connect and script included, failed ones too | begin of connecting (of the write, where the connection was there) → end; completed requests only, for a server that fails fast is not a fast server |
//! | `http_req_sending` | open → headers, pushed twice a request | the same, twice, so that counts agree |
//! | `http_reqs` | requests that ended | completed + failed |
//! | `iterations`, `iteration_duration` | whole turns of a user, pause included | planned → end, and the pause; the duration of completed ones only |
//! | `dropped_iterations` | planned, never begun | the same |
//! | `checks`, `success completion` | status 200, and no exception in the script | completed by METHODOLOGY.md: an answer of 200 that carries an error fails |
//! | `llamacpp_emit_first_token_second` | open → first event of any kind, pings too, by a clock of 1 ms | begin of connecting → first content |
//! | `llamacpp_prompt_processing_second` | usage.prompt_tokens / that | the same formula |
//! | `llamacpp_tokens_second` | usage.completion_tokens / (end − first event) | the same formula from first content |
//! | `llamacpp_prompt_tokens`, `llamacpp_completion_tokens`, `…_total_counter` | `usage` | the same |
//! | `llamacpp_completions_truncated_rate`, `…_stop_rate` | finish reason `length`, `stop`; failed ones count as false | the same |
//! | `data_received` | bytes of the socket | bytes of the responses, heads included |
//! | `vus`, `vus_max` | users at work, looked at once a second | the same, from the rows |
//! | `rate` of a counter | over the whole test, setup included | over the measured load, last pause included |
//! | `data_sent`, `sse_event` | bytes and events | absent: rows do not hold them |
//!
//! Warm-up requests, which k6 did not have, are in none of them.

mod csv;
mod json;
mod summary;
mod walk;

pub use csv::{csv, write_csv};
pub use json::{json, write_json};
pub(super) use summary::is_whole;
pub use summary::{Metric, Summary, summary_json};

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::artifact::{FURTHEST_S, Report, RequestRow, ScrapeRow, began_unix_s};
use crate::load::FailureKind;

/// The one check of `script.js`.
const CHECK: &str = "success completion";

/// k6's samples of a run, from its rows; rows are looked at once and not kept.
#[derive(Debug)]
pub struct Samples {
    /// Requests that ended by themselves, in the order of their ends.
    iterations: Vec<Iteration>,
    /// Users at work at each whole second of the run; never empty.
    users_at_work: Vec<u32>,
    users: u32,
    /// Planned but never begun.
    dropped: u64,
    /// Response bytes, those of requests that were cut included.
    bytes_received: u64,
    /// Seconds from the begin of the load to the end of what counts. Above 0.
    run_s: f64,
    /// Of them, those from the begin of the first phase that counts: what counters are divided by. Above 0.
    measured_s: f64,
    /// Seconds since 1970 at which the load began.
    began_unix_s: f64,
    /// Where requests were sent.
    url: String,
}

/// A request that ended by itself, well or badly.
#[derive(Debug)]
struct Iteration {
    completed: bool,
    truncated: bool,
    stopped: bool,
    failure: Option<FailureKind>,
    status: Option<u16>,
    /// Seconds since the begin of the load, as all here.
    began_s: f64,
    end_s: f64,
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    bytes_received: u64,
    /// `None` unless completed, as all that follow.
    timing: Option<Timing>,
}

/// What k6 timed of a completed request.
#[derive(Debug)]
struct Timing {
    request_ms: f64,
    /// To the headers.
    sending_ms: f64,
    iteration_ms: f64,
    first_token_s: Option<f64>,
    prompt_tokens_per_second: Option<f64>,
    tokens_per_second: Option<f64>,
}

impl Samples {
    /// Of a finished run. `scrapes` tell the wall time at which the load began; without them it is
    /// taken to have begun with the run.
    #[must_use]
    pub fn of(
        report: &Report,
        rows: impl IntoIterator<Item = impl Borrow<RequestRow>>,
        scrapes: &[ScrapeRow],
    ) -> Self {
        let load = || report.scenario.measured_phases();
        let think_s = load().map(|phase| phase.think_time_s).fold(0.0, f64::max);
        let mut iterations = Vec::new();
        let mut at_work = AtWork::default();
        let mut bytes_received = 0;
        for row in rows {
            let row = row.borrow();
            if row.phase == "measured" {
                iterations.extend(Iteration::of(row, think_s));
                at_work.add(row, think_s);
                bytes_received += row.bytes_received;
            }
        }
        iterations.sort_by(|left, right| left.end_s.total_cmp(&right.end_s));

        let window_end = report.rates.window.map_or(0.0, |window| window.end_s);
        let last_end = iterations.last().map_or(0.0, |last| last.end_s + think_s);
        // At least a nanosecond, so that a rate is a number; at most what rows may say, because a sample
        // is made for each second, and a damaged report must not ask for all memory.
        let length = |from_s, to_s| nanos(from_s, to_s).max(1.0) / 1e9;
        let run_s = length(0.0, window_end.max(last_end).min(FURTHEST_S));
        let measured_from = report.phases.first().map_or(0.0, |phase| phase.started_s);
        // Where one of them is an open loop, the users of the others are not all that there were.
        let users = load().map(|phase| phase.users).collect::<Option<Vec<u32>>>();
        let users = users.and_then(|users| users.into_iter().max());
        let users = users.unwrap_or_else(|| at_work.most_at_once());
        let begun = report.requests.started;
        let planned = load().map(|phase| phase.requests).sum::<Option<u64>>();
        let never_begun = planned.and_then(|planned| planned.checked_sub(begun)).unwrap_or(0);
        Self {
            users_at_work: at_work.each_second(users, run_s),
            users,
            dropped: never_begun.max(report.requests.dropped),
            bytes_received,
            run_s,
            measured_s: length(measured_from, run_s),
            began_unix_s: began_unix_s(report, scrapes),
            url: url(&report.server.base_url, report.scenario.endpoint.path()),
            iterations,
        }
    }

    /// Requests that completed: what bench.py calls iterations.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.iterations.iter().filter(|iteration| iteration.completed).count() as u64
    }
}

impl Iteration {
    /// `None` for a request that was dropped or cut: k6 gives neither a sample.
    fn of(row: &RequestRow, think_s: f64) -> Option<Self> {
        let completed = row.outcome == "completed";
        if !completed && row.outcome != "failed" {
            return None;
        }
        let began_s = row.connect_started_s.or(row.written_s).unwrap_or(row.planned_s);
        // In rows of older versions one that failed may have no end; then it is the last that was seen of it.
        let seen = [row.end_s, row.finish_s, row.last_content_s, row.headers_s, row.written_s];
        let end_s = seen.into_iter().flatten().next().unwrap_or(began_s);
        let timing = completed.then(|| Timing::of(row, began_s, end_s, think_s));
        Some(Self {
            completed,
            truncated: completed && summary::is_truncated(row),
            stopped: completed && summary::is_stopped(row),
            failure: row.failure,
            status: row.status,
            began_s,
            end_s,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            bytes_received: row.bytes_received,
            timing,
        })
    }
}

impl Timing {
    fn of(row: &RequestRow, began_s: f64, end_s: f64, think_s: f64) -> Self {
        let first_token_s = row.first_content_s.map(|first| nanos(began_s, first) / 1e9);
        let decode_s = row.first_content_s.map(|first| nanos(first, end_s) / 1e9);
        let rate = |tokens: Option<u64>, time: Option<f64>| {
            Some(tokens? as f64 / time.filter(|time| *time > 0.0)?)
        };
        Self {
            request_ms: nanos(began_s, end_s) / 1e6,
            sending_ms: nanos(began_s, row.headers_s.unwrap_or(end_s)) / 1e6,
            iteration_ms: (nanos(row.planned_s, end_s) + nanos(0.0, think_s)) / 1e6,
            first_token_s,
            prompt_tokens_per_second: rate(row.prompt_tokens, first_token_s),
            tokens_per_second: rate(row.completion_tokens, decode_s),
        }
    }
}

/// From one stamp of a row to another, in nanoseconds. Stamps are whole ones; what the way through
/// seconds added is rounded off again, so that a value here is the one that the stamps give.
fn nanos(from: f64, to: f64) -> f64 {
    ((to - from) * 1e9).round()
}

/// Who was at work when, gathered row by row.
#[derive(Debug, Default)]
struct AtWork {
    /// Begin and end of each request, seconds, one up and one down.
    changes: Vec<(f64, i8)>,
    /// Of each user, when it was last at work; `None` for one whose request was cut with the run, in rows of
    /// older versions.
    last_of: BTreeMap<u32, Option<f64>>,
}

impl AtWork {
    fn add(&mut self, row: &RequestRow, think_s: f64) {
        if let (Some(written_s), Some(end_s)) = (row.written_s, row.end_s) {
            self.changes.extend([(written_s, 1), (end_s, -1)]);
        }
        let end = row.end_s.map(|end| end + think_s);
        let last = self.last_of.entry(row.user_index).or_insert(end);
        *last = last.zip(end).map(|(last, end)| last.max(end));
    }

    /// Requests in flight at the busiest instant: what k6 would have needed as users where the
    /// arrivals, and not a number of users, make the load.
    fn most_at_once(&mut self) -> u32 {
        let order = |left: &(f64, i8), right: &(f64, i8)| {
            left.0.total_cmp(&right.0).then(left.1.cmp(&right.1))
        };
        self.changes.sort_by(order);
        let (mut now, mut most) = (0_i32, 0_i32);
        for (_, change) in &self.changes {
            now += i32::from(*change);
            most = most.max(now);
        }
        u32::try_from(most).unwrap_or(0)
    }

    /// How many users had not come to their end at each whole second. k6 looks once a second, first
    /// after one; a run that is shorter is taken as it began.
    fn each_second(&self, users: u32, run_s: f64) -> Vec<u32> {
        let mut ends: Vec<f64> = self.last_of.values().map(|end| end.unwrap_or(run_s)).collect();
        ends.sort_by(f64::total_cmp);
        let at_work: Vec<u32> = (1..=run_s as u64)
            .map(|second| (ends.len() - ends.partition_point(|end| *end < second as f64)) as u32)
            .collect();
        if at_work.is_empty() { vec![users] } else { at_work }
    }
}

/// The route that was asked. A query is left out: some gateways take their key in one.
fn url(base: &str, route: &str) -> String {
    let base = base.split(['?', '#']).next().unwrap_or(base).trim_end_matches('/');
    format!("{}{route}", base.strip_suffix("/v1").unwrap_or(base))
}
