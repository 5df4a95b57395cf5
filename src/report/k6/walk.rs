//! k6's samples in the order of time, for the outputs that hold a line a sample.
//!
//! Main function: [`walk`]. Samples that k6 took once an event (`sse_event`) are not there: rows hold
//! how many deltas there were, not the instant of each.

use std::io;

use super::summary::{STOPPED, TRUNCATED};
use super::{Iteration, Samples};

/// One sample.
pub(super) struct Sample<'a> {
    pub(super) name: &'static str,
    /// Seconds since the begin of the measured load.
    pub(super) at_s: f64,
    pub(super) value: f64,
    pub(super) tags: Tags<'a>,
}

/// What k6 tags a sample with.
#[derive(Clone, Copy)]
pub(super) enum Tags<'a> {
    /// Nothing.
    None,
    /// Only the scenario, which k6 calls `default`.
    Custom,
    /// The one check, and the scenario.
    Check,
    /// A metric of HTTP, of this request.
    Http(&'a Iteration),
}

/// Hands every sample to `take`, one by one, for a long run has a million of them.
///
/// # Errors
///
/// Those of `take`; then no further sample comes.
pub(super) fn walk<'a>(
    samples: &'a Samples,
    take: &mut dyn FnMut(Sample<'a>) -> io::Result<()>,
) -> io::Result<()> {
    let mut second = 0;
    for iteration in &samples.iterations {
        second = users_until(samples, second, iteration.end_s, take)?;
        of_iteration(iteration, take)?;
    }
    users_until(samples, second, f64::INFINITY, take)?;
    if samples.dropped > 0 {
        take(Sample {
            name: "dropped_iterations",
            at_s: samples.run_s,
            value: samples.dropped as f64,
            tags: Tags::Custom,
        })?;
    }
    Ok(())
}

fn of_iteration<'a>(
    iteration: &'a Iteration,
    take: &mut dyn FnMut(Sample<'a>) -> io::Result<()>,
) -> io::Result<()> {
    let at_s = iteration.end_s;
    let http = Tags::Http(iteration);
    let mut sample = |name, at_s, value, tags| take(Sample { name, at_s, value, tags });
    if let Some(timing) = &iteration.timing {
        sample("http_req_sending", iteration.began_s, timing.sending_ms, http)?;
    }
    sample("http_reqs", at_s, 1.0, http)?;
    if let Some(timing) = &iteration.timing {
        sample("http_req_sending", at_s, timing.sending_ms, http)?;
        sample("http_req_duration", at_s, timing.request_ms, http)?;
    }
    let truth = |truth: bool| f64::from(u8::from(truth));
    sample("checks", at_s, truth(iteration.completed), Tags::Check)?;
    if let Some(timing) = &iteration.timing {
        let prompt_tokens = iteration.prompt_tokens.map(|count| count as f64);
        let completion_tokens = iteration.completion_tokens.map(|count| count as f64);
        let values = [
            ("llamacpp_emit_first_token_second", timing.first_token_s),
            ("llamacpp_prompt_processing_second", timing.prompt_tokens_per_second),
            ("llamacpp_tokens_second", timing.tokens_per_second),
            ("llamacpp_prompt_tokens", prompt_tokens),
            ("llamacpp_prompt_tokens_total_counter", prompt_tokens),
            ("llamacpp_completion_tokens", completion_tokens),
            ("llamacpp_completion_tokens_total_counter", completion_tokens),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                sample(name, at_s, value, Tags::Custom)?;
            }
        }
    }
    sample(TRUNCATED, at_s, truth(iteration.truncated), Tags::Custom)?;
    sample(STOPPED, at_s, truth(iteration.stopped), Tags::Custom)?;
    sample("data_received", at_s, iteration.bytes_received as f64, Tags::Custom)?;
    if let Some(timing) = &iteration.timing {
        sample("iteration_duration", at_s, timing.iteration_ms, Tags::Custom)?;
    }
    sample("iterations", at_s, 1.0, Tags::Custom)
}

/// Users at work at each whole second up to `end_s`; says how far it came.
fn users_until<'a>(
    samples: &'a Samples,
    from: usize,
    end_s: f64,
    take: &mut dyn FnMut(Sample<'a>) -> io::Result<()>,
) -> io::Result<usize> {
    let mut second = from;
    while let Some(users) = samples.users_at_work.get(second) {
        let at_s = (second + 1) as f64;
        if at_s > end_s {
            break;
        }
        let mut sample = |name, users: u32| {
            take(Sample { name, at_s, value: f64::from(users), tags: Tags::None })
        };
        sample("vus", *users)?;
        sample("vus_max", samples.users)?;
        second += 1;
    }
    Ok(second)
}
