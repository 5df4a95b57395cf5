//! What the client reported against what the simulator really sent.
//!
//! Main function: [`compare`].

use std::collections::HashSet;
use std::time::Duration;

use super::Load;
use crate::artifact::{CalibrationStep, ErrorFigures, MetricSummary, Report, RequestRow, Unknowns};
use crate::sim::{Truth, TruthRecord, quantile};
use crate::stats::metric;

/// Share of a true median by which the reported one may be off: the limit by which a run judges its
/// own delays.
const MOST_ERROR: f64 = 0.01;

/// Processor time of this process so far, all threads; `None` where the system does not say.
pub(super) fn process_cpu() -> Option<Duration> {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeVal;
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let duration = |time: TimeVal| {
        let (seconds, micros) = (time.tv_sec(), time.tv_usec());
        let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
        Some(seconds + Duration::from_micros(u64::try_from(micros).ok()?))
    };
    Some(duration(usage.user_time())? + duration(usage.system_time())?)
}

/// Joins the client's rows with the simulator's records by the number that each request carried, and
/// takes the same quantiles of both.
pub(super) fn compare(
    load: Load,
    report: &Report,
    rows: &[RequestRow],
    truth: &Truth,
    cpu: Option<Duration>,
) -> CalibrationStep {
    let measured: HashSet<u64> = rows
        .iter()
        .filter(|row| row.phase == "measured" && row.outcome == "completed")
        .map(|row| row.index)
        .collect();
    let sent: Vec<&TruthRecord> = truth
        .records
        .iter()
        .filter(|record| record.client_request.is_some_and(|index| measured.contains(&index)))
        .collect();
    let ms = |earlier: u64, later: u64| later.saturating_sub(earlier) as f64 / 1e6;
    let mut ttft: Vec<f64> = sent
        .iter()
        .filter_map(|record| Some(ms(record.received_ns, *record.deltas.first()?)))
        .collect();
    let mut itl: Vec<f64> = sent
        .iter()
        .flat_map(|record| record.deltas.windows(2).map(|pair| ms(pair[0], pair[1])))
        .collect();
    ttft.sort_by(f64::total_cmp);
    itl.sort_by(f64::total_cmp);
    let ttft_error_ms = error(report.metrics.get(metric::TTFT_MS.name), &ttft);
    let itl_error_ms = error(report.metrics.get(metric::ITL_MS.name), &itl);

    let client = &report.client;
    let mut reasons: Vec<String> =
        client.reasons.iter().map(|reason| reason.message.clone()).collect();
    if sent.len() != measured.len() {
        reasons.push(format!(
            "the simulator knows {} of the {} requests that the client calls completed",
            sent.len(),
            measured.len()
        ));
    }
    for (name, error) in [("ttft_ms", &ttft_error_ms), ("itl_ms", &itl_error_ms)] {
        if let Some((off, real)) = error.p50.zip(error.true_p50)
            && off.abs() > MOST_ERROR * real
        {
            reasons.push(format!(
                "the reported median of {name} is off by {off:+.3} ms, more than 1 % of {real:.3} ms"
            ));
        }
    }

    let deltas: u64 = rows.iter().map(|row| row.content_deltas).sum();
    let mut unknown = Unknowns::none();
    let (users, rate) = match load {
        Load::Users(users) => (Some(users), None),
        Load::Rate(rate) => (None, Some(rate)),
    };
    let too_few = "not enough requests for it";
    CalibrationStep {
        users: unknown.option("users", users, "an open loop has a rate"),
        rate_per_second: unknown.option("rate_per_second", rate, "a closed loop has users"),
        valid: reasons.is_empty(),
        reasons,
        requests: measured.len() as u64,
        deltas,
        ttft_error_ms,
        itl_error_ms,
        cpu_us_per_delta: unknown.option(
            "cpu_us_per_delta",
            cpu.filter(|_| deltas > 0).map(|cpu| cpu.as_secs_f64() * 1e6 / deltas as f64),
            "no content arrived, or this system does not say how much processor time was used",
        ),
        achieved_per_second: unknown.option(
            "achieved_per_second",
            client.arrivals.map(|arrivals| arrivals.achieved_per_second),
            if users.is_some() { "a closed loop has users" } else { too_few },
        ),
        lateness_us_p50: unknown.option(
            "lateness_us_p50",
            client.dispatch_lateness_us.p50,
            too_few,
        ),
        lateness_us_p99: unknown.option(
            "lateness_us_p99",
            client.dispatch_lateness_us.p99,
            too_few,
        ),
        client_delay_us_p99: unknown.option(
            "client_delay_us_p99",
            client.client_delay_us.p99,
            "not enough reads for it",
        ),
        unknown,
    }
}

/// Reported minus true; `truth` is in ascending order.
fn error(reported: Option<&MetricSummary>, truth: &[f64]) -> ErrorFigures {
    let mut unknown = Unknowns::none();
    let mut minus = |field, told: Option<f64>, q: f64| {
        let error = told.zip(quantile(truth, q)).map(|(told, sent)| told - sent);
        unknown.option(field, error, "not enough values for it")
    };
    let p50 = minus("p50", reported.and_then(|found| found.p50), 0.5);
    let p99 = minus("p99", reported.and_then(|found| found.p99), 0.99);
    let true_p50 = unknown.option("true_p50", quantile(truth, 0.5), "nothing was sent");
    ErrorFigures { true_p50, p50, p99, unknown }
}
