//! Whether a session may be believed at all.
//!
//! Main types: [`Evidence`], what is known besides the numbers, and [`Invalid`], each reason why
//! they are none. Correctness comes first: a server that fails requests is not fast.

/// One of the two that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// What there was.
    Base,
    /// What is proposed.
    Head,
}

impl std::fmt::Display for Side {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Side::Base => "base",
            Side::Head => "head",
        })
    }
}

/// What one side did, over all pairs that are analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Measured requests that were sent.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Prompt tokens as the server counted them; `None` where a request came without a count.
    pub prompt_tokens: Option<u64>,
    /// Generated tokens, likewise.
    pub output_tokens: Option<u64>,
}

/// What is known about a session besides its numbers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// What base did.
    pub base: Work,
    /// What head did.
    pub head: Work,
    /// How many failed requests of a side are accepted. 0 unless the user says otherwise.
    pub failures_allowed: u64,
    /// Servers that crashed or restarted under load.
    pub crashed: Vec<Side>,
    /// Pairs that were played and could not be used: contaminated, failed, interrupted.
    pub pairs_lost: usize,
    /// Duration of the machine probe next to base and next to head, one for each pair, where each
    /// side has a probe of its own; empty where the probes lie around both.
    pub probes: Vec<(f64, f64)>,
}

/// Why the numbers are not evidence. As text: a fragment for the reader of a report.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Invalid {
    /// More failed requests than are accepted.
    #[error(
        "{side} failed {failed} of {requests} requests, {other} {other_failed} of {other_requests}; \
         {allowed} are accepted"
    )]
    Failures {
        /// The side with more of them.
        side: Side,
        /// Its failures.
        failed: u64,
        /// Its requests.
        requests: u64,
        /// The other side.
        other: Side,
        /// The other side's failures.
        other_failed: u64,
        /// The other side's requests.
        other_requests: u64,
        /// How many are accepted.
        allowed: u64,
    },
    /// A server died.
    #[error("the server of {side} crashed or restarted under load")]
    Crashed {
        /// Whose.
        side: Side,
    },
    /// The sides did not do the same.
    #[error("unequal work: base {base} {what}, head {head}")]
    UnequalWork {
        /// `requests`, `prompt tokens` or `output tokens`.
        what: &'static str,
        /// Of base.
        base: u64,
        /// Of head.
        head: u64,
    },
    /// One side's turns met a slower machine.
    #[error(
        "the machine itself was faster for one side (probes next to head took {pct:+.1} %, p = {p:.3})"
    )]
    ProbeImbalance {
        /// Of the signed-rank test.
        p: f64,
        /// How much longer the probes next to head took, per cent.
        pct: f64,
    },
    /// Enough pairs were played, and too few of them could be used.
    #[error("{metric}: only {valid} pairs could be used, {lost} were lost, {needed} are needed")]
    TooFewPairs {
        /// The gated metric that has the fewest.
        metric: String,
        /// Pairs with numbers.
        valid: usize,
        /// Pairs without.
        lost: usize,
        /// The fewest that can decide.
        needed: usize,
    },
    /// One of the sessions that are put together proves nothing.
    #[error("session {session} is no evidence: {why}")]
    Session {
        /// Its file.
        session: String,
        /// Its own first reason.
        why: String,
    },
    /// Too few sessions with an interval of their own.
    #[error("only {valid} of {given} sessions could be used, {needed} are needed")]
    TooFewSessions {
        /// With figures that count.
        valid: usize,
        /// All.
        given: usize,
        /// The fewest that can decide.
        needed: usize,
    },
}

impl Evidence {
    /// What is wrong as soon as it is seen, worst first. More pairs do not mend it.
    pub(super) fn lasting_faults(&self) -> Vec<Invalid> {
        let mut faults = Vec::new();
        faults.extend(self.failures());
        faults.extend(self.crashed.iter().map(|side| Invalid::Crashed { side: *side }));
        let (base, head) = (self.base, self.head);
        let sums = [
            ("requests", Some(base.requests), Some(head.requests)),
            ("prompt tokens", base.prompt_tokens, head.prompt_tokens),
            ("output tokens", base.output_tokens, head.output_tokens),
        ];
        for (what, base, head) in sums {
            if let (Some(base), Some(head)) = (base, head)
                && base != head
            {
                faults.push(Invalid::UnequalWork { what, base, head });
            }
        }
        faults
    }

    fn failures(&self) -> Option<Invalid> {
        let (base, head) = (self.base, self.head);
        if base.failed.max(head.failed) <= self.failures_allowed {
            return None;
        }
        let (side, worse, other, better) = if head.failed >= base.failed {
            (Side::Head, head, Side::Base, base)
        } else {
            (Side::Base, base, Side::Head, head)
        };
        Some(Invalid::Failures {
            side,
            failed: worse.failed,
            requests: worse.requests,
            other,
            other_failed: better.failed,
            other_requests: better.requests,
            allowed: self.failures_allowed,
        })
    }

    /// The rise in failed requests, as a sentence; `None` where there is none. It is told above all
    /// numbers, accepted or not.
    #[must_use]
    pub fn rise_in_failures(&self) -> Option<String> {
        let (base, head) = (self.base, self.head);
        // As shares, so that sides with unequal numbers of requests are compared fairly.
        let rises = u128::from(head.failed) * u128::from(base.requests.max(1))
            > u128::from(base.failed) * u128::from(head.requests.max(1));
        rises.then(|| {
            format!(
                "head fails more requests: {} of {}, base {} of {}",
                head.failed, head.requests, base.failed, base.requests
            )
        })
    }

    /// Whether it is proven that both sides did the same; a doubt as a sentence otherwise.
    pub(super) fn doubt_about_work(&self) -> Option<String> {
        let sums = [
            ("prompt tokens", self.base.prompt_tokens.and(self.head.prompt_tokens)),
            ("output tokens", self.base.output_tokens.and(self.head.output_tokens)),
        ];
        let unknown: Vec<&str> =
            sums.iter().filter(|(_, sum)| sum.is_none()).map(|(what, _)| *what).collect();
        (!unknown.is_empty()).then(|| {
            format!(
                "it is not known whether both sides did the same work: no count of {}",
                unknown.join(" and ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(requests: u64, failed: u64, tokens: u64) -> Work {
        Work { requests, failed, prompt_tokens: Some(10 * requests), output_tokens: Some(tokens) }
    }

    fn faults(base: Work, head: Work) -> Vec<String> {
        let evidence = Evidence { base, head, ..Evidence::default() };
        evidence.lasting_faults().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn failures_come_before_the_unequal_work_that_they_cause() {
        let found = faults(work(1600, 0, 51_200), work(1600, 16, 50_688));
        assert_eq!(
            found,
            [
                "head failed 16 of 1600 requests, base 0 of 1600; 0 are accepted",
                "unequal work: base 51200 output tokens, head 50688",
            ]
        );
        assert_eq!(faults(work(10, 0, 5), work(10, 0, 5)), [""; 0]);
        assert!(faults(work(10, 2, 5), work(10, 1, 5))[0].starts_with("base failed 2 of 10"));
    }

    #[test]
    fn a_rise_is_told_even_where_it_is_accepted() {
        let accepted = Evidence {
            base: work(100, 1, 50),
            head: work(100, 2, 50),
            failures_allowed: 5,
            ..Evidence::default()
        };
        assert_eq!(accepted.lasting_faults(), []);
        let told = accepted.rise_in_failures().unwrap();
        assert_eq!(told, "head fails more requests: 2 of 100, base 1 of 100");
        let fewer = Evidence { base: accepted.head, head: accepted.base, ..accepted };
        assert_eq!(fewer.rise_in_failures(), None);
    }

    #[test]
    fn work_without_counts_is_a_doubt_and_not_a_difference() {
        let uncounted = Work { output_tokens: None, ..work(10, 0, 5) };
        let evidence = Evidence { base: uncounted, head: work(10, 0, 5), ..Evidence::default() };
        assert_eq!(evidence.lasting_faults(), []);
        assert!(evidence.doubt_about_work().unwrap().ends_with("no count of output tokens"));
    }
}
