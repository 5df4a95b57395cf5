//! When the numbers are not evidence.
//!
//! Main type: [`Validity`], made by [`judge`]. The limits are the plan's; nothing here decides an
//! exit code, it only says whether the run may be believed and why not.

use super::metric::{E2E_MS, ITL_MS, Metric, TTFT_MS};
use super::quantile::Percentile;
use super::summary::{LoadFigures, Summary};
use crate::load::{ClockSource, FailureKind};
use crate::plan::Limits;

/// Whose doing a reason is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// Our own: the client lagged. The only one that `Limits::accept_saturated_client` excuses.
    Client,
    /// The requests: they failed, fell short, or there were none.
    Requests,
    /// The server died or restarted.
    Server,
}

/// Why the numbers are not evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A stable word for machines.
    pub code: &'static str,
    /// The sentence, with observed and allowed value.
    pub message: String,
    /// Whose doing it is.
    pub blame: Blame,
}

/// Something a reader should know that does not make the numbers worthless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caution {
    /// A stable word for machines.
    pub code: &'static str,
    /// The sentence.
    pub message: String,
}

/// What became of the server during the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerFate {
    /// It ran to the end, as far as anybody can tell.
    #[default]
    Survived,
    /// Our child exited while it was loaded.
    Died,
    /// It is another process than at the start.
    Restarted,
}

/// Whether the numbers are evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validity {
    /// False if there is any reason, even an excused one.
    pub valid: bool,
    /// Whether the run must end with the exit code for "not evidence": a reason that nobody excused.
    pub fails_run: bool,
    /// Why not; empty where `valid`.
    pub reasons: Vec<Reason>,
    /// What else a reader should know.
    pub warnings: Vec<Caution>,
}

/// One measured phase: whether it was paced as planned is asked of each by itself, since users who
/// wait and arrivals that do not are judged by different rules.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its requests alone.
    pub summary: &'a Summary,
    /// Its figures alone.
    pub load: &'a LoadFigures,
}

/// Judges a load of one phase.
#[must_use]
pub fn judge(summary: &Summary, load: &LoadFigures, limits: &Limits, fate: ServerFate) -> Validity {
    judge_parts(summary, load, &[Part { name: "load", summary, load }], limits, fate)
}

/// Judges a load.
#[must_use]
pub fn judge_parts(
    summary: &Summary,
    load: &LoadFigures,
    parts: &[Part<'_>],
    limits: &Limits,
    fate: ServerFate,
) -> Validity {
    let mut verdict =
        Validity { valid: true, fails_run: false, reasons: Vec::new(), warnings: Vec::new() };
    judge_requests(summary, limits, &mut verdict);
    judge_server(fate, &mut verdict);
    for part in parts {
        let (reasons, warnings) = (verdict.reasons.len(), verdict.warnings.len());
        if part.load.open_loop {
            judge_arrivals(part.summary, part.load, limits, &mut verdict);
        } else {
            judge_lateness(part.summary, part.load, limits, &mut verdict);
        }
        if parts.len() > 1 {
            let reasons = verdict.reasons.iter_mut().skip(reasons).map(|said| &mut said.message);
            let warnings = verdict.warnings.iter_mut().skip(warnings).map(|said| &mut said.message);
            for message in reasons.chain(warnings) {
                *message = format!("in phase \"{}\" {message}", part.name);
            }
        }
    }
    judge_client_delay(summary, load, limits, &mut verdict);
    warn(summary, load, &mut verdict);
    verdict.valid = verdict.reasons.is_empty();
    verdict.fails_run = verdict
        .reasons
        .iter()
        .any(|reason| reason.blame != Blame::Client || !limits.accept_saturated_client);
    verdict
}

impl Validity {
    fn because(&mut self, blame: Blame, code: &'static str, message: String) {
        self.reasons.push(Reason { code, message, blame });
    }

    fn caution(&mut self, code: &'static str, message: String) {
        self.warnings.push(Caution { code, message });
    }
}

fn judge_requests(summary: &Summary, limits: &Limits, verdict: &mut Validity) {
    let requests = &summary.requests;
    let short = requests.by_error.get(&FailureKind::Short).copied().unwrap_or(0);
    if requests.failed > limits.max_failed {
        let kinds: Vec<String> = requests
            .by_error
            .iter()
            .map(|(kind, count)| format!("{count} {}", kind.name()))
            .collect();
        verdict.because(
            Blame::Requests,
            "failed_requests",
            format!(
                "{} of {} requests failed ({}){}",
                requests.failed,
                requests.planned,
                kinds.join(", "),
                match limits.max_failed {
                    0 => String::new(),
                    allowed => format!(", at most {allowed} are allowed"),
                }
            ),
        );
    } else if short > 0 {
        // Unequal work is never excused by a number of failures that is.
        verdict.because(
            Blame::Requests,
            "short_answers",
            format!("{short} of {} requests got less than was asked for", requests.planned),
        );
    } else if requests.failed > 0 {
        verdict.caution(
            "failed_requests",
            format!(
                "{} of {} requests failed, at most {} are allowed",
                requests.failed, requests.planned, limits.max_failed
            ),
        );
    }
    if requests.completed == 0 {
        verdict.because(
            Blame::Requests,
            "nothing_completed",
            format!("none of {} planned requests completed", requests.planned),
        );
    }
}

fn judge_server(fate: ServerFate, verdict: &mut Validity) {
    match fate {
        ServerFate::Survived => {}
        ServerFate::Died => verdict.because(
            Blame::Server,
            "server_died",
            "the server died while it was loaded".to_owned(),
        ),
        ServerFate::Restarted => verdict.because(
            Blame::Server,
            "server_restarted",
            "the server restarted while it was loaded".to_owned(),
        ),
    }
}

/// Lateness cannot be in `ttft_ms`, `itl_ms` or `e2e_ms`, which begin when the request is written.
/// What it moves is how often a user asks, and so every rate: by its share of the user's cycle of
/// latency and pause. It is also inside the `*_scheduled_ms`, by definition; that is only said.
fn judge_lateness(summary: &Summary, load: &LoadFigures, limits: &Limits, verdict: &mut Validity) {
    let e2e = summary.distribution(&E2E_MS).and_then(|found| found.mean.clone().ok());
    let (Some(mean_ns), Some(e2e)) = (load.dispatch_lateness_mean_ns, e2e) else { return };
    let late_ms = mean_ns / 1e6;
    let of_cycle = late_ms / (e2e + load.think_time.as_secs_f64() * 1e3);
    let of_latency = late_ms / e2e;
    let sent = format!("the client sent requests {late_ms:.3} ms late on average");
    // A ratio that is not a number counts against us.
    if of_cycle.is_nan() || of_cycle > limits.max_lateness_ratio {
        verdict.because(
            Blame::Client,
            "dispatch_lateness",
            format!(
                "{sent}, {} of a user's mean cycle of latency and pause, allowed is {}",
                percent(of_cycle),
                percent(limits.max_lateness_ratio)
            ),
        );
    } else if of_latency > limits.max_lateness_ratio {
        verdict.caution(
            "dispatch_lateness",
            format!(
                "{sent}, {} of the mean end-to-end latency; it is in the latencies from the schedule and in no other",
                percent(of_latency)
            ),
        );
    }
}

/// An open loop is what was planned only if it kept the rate and the instants.
fn judge_arrivals(summary: &Summary, load: &LoadFigures, limits: &Limits, verdict: &mut Validity) {
    if let Some(arrivals) = &summary.arrivals
        && (arrivals.ratio.is_nan() || arrivals.ratio < limits.min_achieved_rate_ratio)
    {
        let of_all = |count: u64, what: &str| match count {
            0 => String::new(),
            count => format!(", {count} of {} arrivals {what}", arrivals.planned),
        };
        let dropped = of_all(arrivals.dropped, "were dropped because too many were in flight");
        let unsent = of_all(arrivals.unsent, "never reached the server");
        verdict.because(
            Blame::Client,
            "achieved_rate",
            format!(
                "{:.3} requests/s were sent where {:.3} were planned ({}, at least {} are needed){dropped}{unsent}",
                arrivals.achieved_per_second,
                arrivals.planned_per_second,
                percent(arrivals.ratio),
                percent(limits.min_achieved_rate_ratio),
            ),
        );
    }
    let lateness = &load.dispatch_lateness_ns;
    if lateness.is_empty() {
        return;
    }
    // p99 as far as n carries it; with fewer requests the largest stands in, which errs against us.
    let p99 = Percentile::P99.of_histogram(lateness).unwrap_or(lateness.max() as f64);
    // What comes in one piece has no first content, and is waited for as a whole.
    let answered = [&TTFT_MS, &E2E_MS].into_iter().find_map(|metric| median(summary, metric));
    let floor_ms = limits.arrival_lateness_floor.as_secs_f64() * 1e3;
    let allowed = floor_ms.max(answered.unwrap_or(0.0) * limits.max_arrival_lateness_ratio);
    let p99_ms = p99 / 1e6;
    if p99_ms > allowed {
        verdict.because(
            Blame::Client,
            "dispatch_lateness",
            format!(
                "the client sent requests up to {p99_ms:.3} ms (p99) later than planned, allowed are {allowed:.3} ms"
            ),
        );
    }
}

/// A read this late is unremarkable on a shared machine while the figures hold the kernel's stamps.
const WORTH_SAYING_MS: f64 = 1.0;

fn judge_client_delay(
    summary: &Summary,
    load: &LoadFigures,
    limits: &Limits,
    verdict: &mut Validity,
) {
    let delay = &load.client_delay_ns;
    if delay.is_empty() {
        if load.clock == ClockSource::User && summary.requests.completed > 0 {
            verdict.caution(
                "client_delay_unseen",
                "stamps were taken in user space and the client's own delay could not be seen, so it may be in the figures".to_owned(),
            );
        }
        return;
    }
    // p99 as far as n carries it; with fewer reads the largest stands in, which errs against us.
    let p99_ms = Percentile::P99.of_histogram(delay).unwrap_or(delay.max() as f64) / 1e6;
    for (metric, median) in delayed(summary) {
        if p99_ms <= limits.max_client_delay_ratio * median {
            continue;
        }
        let seen = format!(
            "the client read data up to {p99_ms:.3} ms (p99) after it arrived, {} of the median {}",
            percent(p99_ms / median),
            metric.name
        );
        let allowed = percent(limits.max_client_delay_ratio);
        match load.clock {
            ClockSource::User => verdict.because(
                Blame::Client,
                "client_delay",
                format!("{seen}, allowed is {allowed} because stamps were taken in user space"),
            ),
            // It is in no stamp of a read that brought one delta, and of the others `warn_of_coalescing`
            // tells: so a reader is told only of what could mean trouble on this machine.
            ClockSource::Kernel if p99_ms > WORTH_SAYING_MS => verdict.caution(
                "client_delay",
                format!("{seen}; stamps are the kernel's, so it is in the figures only where a read brought several deltas"),
            ),
            ClockSource::Kernel => {}
        }
        return; // once is enough: the second metric would say the same of the same delay
    }
}

/// The metrics in which a late read sits, with their medians: the times between the arrivals of a stream.
/// What comes in one piece has none, and there it sits in the latency.
fn delayed(summary: &Summary) -> Vec<(&'static Metric, f64)> {
    let known = |metric: &'static Metric| Some((metric, median(summary, metric)?));
    let streamed: Vec<_> = [&TTFT_MS, &ITL_MS].into_iter().filter_map(known).collect();
    if streamed.is_empty() { known(&E2E_MS).into_iter().collect() } else { streamed }
}

fn median(summary: &Summary, metric: &Metric) -> Option<f64> {
    summary.distribution(metric)?.p50.clone().ok()
}

fn warn(summary: &Summary, load: &LoadFigures, verdict: &mut Validity) {
    if load.rejected_stamps > 0 {
        verdict.caution(
            "rejected_stamps",
            format!(
                "{} impossible kernel stamps were replaced by the client's own clock",
                load.rejected_stamps
            ),
        );
    }
    let warm_up = summary.requests.warm_up;
    if warm_up.failed > 0 {
        verdict.caution(
            "warm_up_failed",
            format!("{} of {} warm-up requests failed", warm_up.failed, warm_up.planned),
        );
    }
    if summary.requests.cut > 0 {
        verdict.caution(
            "cut_requests",
            format!(
                "{} of {} requests were cut at the end of the run; the slowest ones are the likeliest to be among them, so latencies may be too low",
                summary.requests.cut, summary.requests.planned
            ),
        );
    }
    if summary.repeated_prompts > 0 {
        verdict.caution(
            "repeated_prompts",
            format!(
                "{} of {} completed requests repeated an earlier prompt; a server that caches prompts answers those sooner",
                summary.repeated_prompts, summary.requests.completed
            ),
        );
    }
    warn_of_coalescing(summary, verdict);
    warn_of_counts(summary, verdict);
    if load.interrupted {
        verdict.caution(
            "interrupted",
            "the run was interrupted; the figures cover what was done until then".to_owned(),
        );
    }
    for found in &summary.reconciliation.disagreements {
        verdict.caution("reconciliation", found.message.clone());
    }
}

fn warn_of_coalescing(summary: &Summary, verdict: &mut Validity) {
    let (coalesced, deltas) = summary.coalesced;
    // Above a tenth, the gaps of zero weigh on the percentiles of itl_ms.
    if deltas > 0 && coalesced * 10 > deltas {
        verdict.caution(
            "coalesced_deltas",
            format!("{coalesced} of {deltas} content deltas came in one read with an earlier one, so their gap is 0 in itl_ms"),
        );
    }
    let (late, streamed) = summary.first_content_coalesced;
    // Up to one in a hundred lies beyond the highest percentile of ttft_ms that is given.
    if late * 100 > streamed {
        verdict.caution(
            "first_content_coalesced",
            format!("in {late} of {streamed} streamed answers the second content delta came in one read with the first and has one stamp with it, so their ttft_ms may be too high: either the server wrote several deltas at once, or the client read late"),
        );
    }
}

fn warn_of_counts(summary: &Summary, verdict: &mut Validity) {
    let completed = summary.requests.completed;
    if summary.with_hidden_tokens > 0 {
        verdict.caution(
            "hidden_reasoning",
            format!(
                "of {} of {completed} completed requests the server counted reasoning tokens that it did not stream; they are in its counts, in the token rates and in the wait for the first content, and not in tpot_ms and decode_tokens_per_second",
                summary.with_hidden_tokens
            ),
        );
    }
    if summary.forced_uncounted > 0 {
        verdict.caution(
            "forced_length_unchecked",
            format!(
                "the forced lengths of {} of {completed} completed requests could not be checked, because the server counts no tokens; they were taken on its finish reason or their number of content deltas",
                summary.forced_uncounted
            ),
        );
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.3} %", ratio * 100.0)
}

#[cfg(test)]
mod tests;
