//! What the server's counters say that it did, beside the client's rates.
//!
//! Main types: [`ServerRates`] and [`Drafts`]. Formulas only; the counters are read by `scrape`.

use super::derive::counts;
use super::{CounterSpan, Known, Unknown};
use crate::load::RequestRecord;

/// Growth of the server's counters over the load; `None` where the server has no such counter.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ServerWork {
    /// Which requests lie between the two scrapes.
    pub span: CounterSpan,
    /// Prompt tokens evaluated, without those from the cache.
    pub prompt_tokens: Option<f64>,
    /// Seconds spent on prompts.
    pub prompt_s: Option<f64>,
    /// Tokens generated.
    pub output_tokens: Option<f64>,
    /// Seconds spent generating, added over the slots.
    pub output_s: Option<f64>,
    /// Speculative decoding: tokens drafted, and of those accepted.
    pub drafted: Option<(f64, f64)>,
}

/// Why figures of the server's counters are not put beside those of measured requests.
const ALSO_UNMEASURED: &str = "the server's counters also cover phases that do not count";

/// Tokens per second by the server's counters, over the same window as the client's rates.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerRates {
    /// Generated tokens that the server counted, per second of the client's window.
    pub output_tokens_per_second: Known<f64>,
    /// The client's own figure.
    pub client_output_tokens_per_second: Known<f64>,
    /// (server − client) / client.
    pub output_difference_ratio: Known<f64>,
    /// Evaluated prompt tokens that the server counted, per second of the client's window.
    pub prompt_tokens_per_second: Known<f64>,
    /// The client's: prompt tokens without cached ones, of completed requests.
    pub client_prompt_tokens_per_second: Known<f64>,
    /// (server − client) / client.
    pub prompt_difference_ratio: Known<f64>,
    /// Evaluated prompt tokens per second that the server spent on prompts, in all phases.
    pub prompt_tokens_per_busy_second: Known<f64>,
    /// Generated tokens per second of a slot at work, in all phases.
    pub output_tokens_per_slot_second: Known<f64>,
}

impl ServerRates {
    /// `window_s` is the length of the client's whole window; the tokens are those that the client
    /// counted over completed requests. Where the counters cover more than that window, what they say
    /// of it is unknown.
    #[must_use]
    pub fn of(
        work: &ServerWork,
        window_s: &Known<f64>,
        client_output_tokens: &Known<f64>,
        client_prompt_tokens: &Known<f64>,
    ) -> Self {
        let counted = |tokens: Option<f64>| {
            tokens.ok_or_else(|| {
                Unknown::because("the server's /metrics has no such counter, or was not there")
            })
        };
        let per_second = |tokens: Known<f64>| Ok(tokens? / window_s.clone()?);
        let ratio = |server: &Known<f64>, client: &Known<f64>| match (server, client) {
            (Ok(server), Ok(client)) if *client > 0.0 => Ok((server - client) / client),
            (Ok(_), Ok(_)) => Err(Unknown::because("the client counted none")),
            (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
        };
        let busy = |tokens: Option<f64>, seconds: Option<f64>| {
            let (tokens, seconds) = (counted(tokens)?, counted(seconds)?);
            if seconds > 0.0 {
                Ok(tokens / seconds)
            } else {
                Err(Unknown::because("the server counted no time for it"))
            }
        };
        let in_window = |tokens: Option<f64>| {
            let tokens = counted(tokens)?;
            match work.span {
                CounterSpan::Measured => per_second(Ok(tokens)),
                CounterSpan::AllPhases => Err(Unknown::because(ALSO_UNMEASURED)),
            }
        };
        let output = in_window(work.output_tokens);
        let prompt = in_window(work.prompt_tokens);
        let client_output = per_second(client_output_tokens.clone());
        let client_prompt = per_second(client_prompt_tokens.clone());
        Self {
            output_difference_ratio: ratio(&output, &client_output),
            prompt_difference_ratio: ratio(&prompt, &client_prompt),
            output_tokens_per_second: output,
            client_output_tokens_per_second: client_output,
            prompt_tokens_per_second: prompt,
            client_prompt_tokens_per_second: client_prompt,
            prompt_tokens_per_busy_second: busy(work.prompt_tokens, work.prompt_s),
            output_tokens_per_slot_second: busy(work.output_tokens, work.output_s),
        }
    }
}

/// Speculative decoding over the whole load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drafts {
    /// Whether the sums are of `timings`; else they are of the server's counters, which also count
    /// requests that did not complete.
    pub from_timings: bool,
    /// Tokens drafted.
    pub drafted: f64,
    /// Of those, accepted.
    pub accepted: f64,
}

impl Drafts {
    /// From the completed requests' `timings`; where those do not say, from the counters.
    pub fn of(records: &[RequestRecord], work: &ServerWork) -> Known<Self> {
        let (mut drafted, mut accepted) = (0.0, 0.0);
        for record in records.iter().filter(|record| counts(record)) {
            let said = record.timings.and_then(|timings| {
                Some((timings.draft_n? as f64, timings.draft_n_accepted? as f64))
            });
            if let Some((drafts, kept)) = said {
                drafted += drafts;
                accepted += kept;
            }
        }
        if drafted > 0.0 {
            return Ok(Self { from_timings: true, drafted, accepted });
        }
        match (work.drafted, work.span) {
            (Some((drafted, accepted)), CounterSpan::Measured) if drafted > 0.0 => {
                Ok(Self { from_timings: false, drafted, accepted })
            }
            (Some((drafted, _)), CounterSpan::AllPhases) if drafted > 0.0 => {
                Err(Unknown::because(ALSO_UNMEASURED))
            }
            _ => Err(Unknown::because("the server did not draft tokens")),
        }
    }

    /// accepted / drafted.
    #[must_use]
    pub fn acceptance_ratio(&self) -> f64 {
        self.accepted / self.drafted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fixture::completed;

    const WORK: ServerWork = ServerWork {
        span: CounterSpan::Measured,
        prompt_tokens: Some(1_000.0),
        prompt_s: Some(0.5),
        output_tokens: Some(440.0),
        output_s: Some(4.0),
        drafted: None,
    };

    fn close(left: Known<f64>, right: f64) {
        let left = left.expect("known");
        assert!((left - right).abs() < 1e-9, "{left} is not {right}");
    }

    #[test]
    fn both_sides_are_rates_over_one_window() {
        let rates = ServerRates::of(&WORK, &Ok(2.0), &Ok(400.0), &Ok(1_000.0));
        close(rates.output_tokens_per_second, 220.0);
        close(rates.client_output_tokens_per_second, 200.0);
        close(rates.output_difference_ratio, 0.1);
        close(rates.prompt_difference_ratio, 0.0);
        close(rates.prompt_tokens_per_busy_second, 2_000.0);
        close(rates.output_tokens_per_slot_second, 110.0);
    }

    #[test]
    fn counters_of_more_than_the_window_are_not_divided_by_it() {
        let work = ServerWork { span: CounterSpan::AllPhases, ..WORK };
        let rates = ServerRates::of(&work, &Ok(2.0), &Ok(400.0), &Ok(1_000.0));
        for figure in [
            &rates.output_tokens_per_second,
            &rates.output_difference_ratio,
            &rates.prompt_tokens_per_second,
            &rates.prompt_difference_ratio,
        ] {
            let reason = figure.as_ref().expect_err("they also grew in other phases");
            assert_eq!(reason.reason(), ALSO_UNMEASURED);
        }
        close(rates.client_output_tokens_per_second, 200.0);
        close(rates.client_prompt_tokens_per_second, 500.0);
        // Both halves of these grew in the same phases.
        close(rates.prompt_tokens_per_busy_second, 2_000.0);
        close(rates.output_tokens_per_slot_second, 110.0);
    }

    #[test]
    fn without_counters_nothing_is_zero() {
        let rates = ServerRates::of(&ServerWork::default(), &Ok(2.0), &Ok(400.0), &Ok(0.0));
        assert!(rates.output_tokens_per_second.is_err() && rates.output_difference_ratio.is_err());
        assert!(rates.prompt_tokens_per_busy_second.is_err());
        close(rates.client_output_tokens_per_second, 200.0);
    }

    #[test]
    fn drafts_are_summed_and_not_averaged() {
        let mut records = vec![completed(0), completed(1)];
        for (record, drafts) in records.iter_mut().zip([(90, 30), (10, 10)]) {
            let timings = record.timings.as_mut().expect("has timings");
            (timings.draft_n, timings.draft_n_accepted) = (Some(drafts.0), Some(drafts.1));
        }
        let found = Drafts::of(&records, &ServerWork::default()).expect("drafted");
        assert!(found.from_timings);
        assert!((found.acceptance_ratio() - 0.4).abs() < 1e-12);
    }

    #[test]
    fn counters_stand_in_where_answers_do_not_say() {
        let work = ServerWork { drafted: Some((50.0, 20.0)), ..ServerWork::default() };
        let found = Drafts::of(&[completed(0)], &work).expect("drafted");
        assert!(!found.from_timings);
        assert!((found.acceptance_ratio() - 0.4).abs() < 1e-12);
        let with_others = ServerWork { span: CounterSpan::AllPhases, ..work };
        let reason = Drafts::of(&[completed(0)], &with_others).expect_err("of other requests too");
        assert_eq!(reason.reason(), ALSO_UNMEASURED);
        assert!(Drafts::of(&[completed(0)], &ServerWork::default()).is_err());
    }
}
