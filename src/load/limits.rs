//! How long one request may take, and whether and when its user hangs up on purpose.
//!
//! Main type: [`Limits`]. It is asked for instants and told what came; it hangs up nothing itself.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::answer::Ending;
use super::record::{FailureKind, Phase, Stamp};
use super::workload::LoadPlan;
use crate::plan::{CancelAfter, CancelSpec};

/// The limits of one request that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longer than this no request takes, whatever comes.
    give_up: Stamp,
    /// What it is then, and what it was longer than.
    overrun: (FailureKind, Duration),
    /// The deadline is a promise about the answer, so one that came later has not kept it.
    is_deadline: bool,
    cancel_at: Option<Stamp>,
    cancel_after_deltas: Option<u64>,
}

impl Limits {
    /// Those of a measured request, which has this number among the draws, or of one of the warm-up,
    /// which has no deadline: it is there to be slow in place of others.
    pub(super) fn of(plan: &LoadPlan, phase: Phase, draw: u64, written: Stamp) -> Self {
        let total = plan.timeouts.total;
        let mut limits = Self {
            give_up: written.after(total),
            overrun: (FailureKind::TimeoutTotal, total),
            is_deadline: false,
            cancel_at: None,
            cancel_after_deltas: None,
        };
        if phase == Phase::WarmUp {
            return limits;
        }
        if let Some(deadline) = plan.deadline.filter(|deadline| *deadline < total) {
            limits.give_up = written.after(deadline);
            limits.overrun = (FailureKind::Deadline, deadline);
            limits.is_deadline = true;
        }
        match plan.cancel.filter(|cancel| is_chosen(cancel, plan.seed, draw)) {
            Some(CancelSpec { after: CancelAfter::AfterTokens(tokens), .. }) => {
                limits.cancel_after_deltas = Some(u64::from(tokens));
            }
            Some(CancelSpec { after: CancelAfter::After(time), .. }) => {
                limits.cancel_at = Some(written.after(time));
            }
            None => {}
        }
        limits
    }

    /// The instant at which the request is to be looked at, whatever came.
    pub(super) fn last_instant(&self) -> Stamp {
        self.cancel_at.map_or(self.give_up, |cancel_at| cancel_at.min(self.give_up))
    }

    /// The end of a request that is still unanswered at `now`, after so many content deltas.
    pub(super) fn end(&self, now: Stamp, deltas: u64) -> Option<Ending> {
        if self.cancel_after_deltas.is_some_and(|most| deltas >= most) {
            return Some(Ending::Cancelled);
        }
        if self.cancel_at.is_some_and(|at| at <= now && at <= self.give_up) {
            return Some(Ending::Cancelled);
        }
        (now >= self.give_up).then(|| self.overrun())
    }

    /// The end of an answer that was whole at `stamp`: too late for its deadline, or in time.
    pub(super) fn end_of_whole(&self, stamp: Stamp) -> Ending {
        if self.is_deadline && stamp > self.give_up { self.overrun() } else { Ending::Over }
    }

    fn overrun(&self) -> Ending {
        let (failure, limit) = self.overrun;
        Ending::TimedOut(failure, limit)
    }
}

/// Whether the request of this number is one of those that are hung up. Each request has a draw of
/// its own, so that which are chosen does not depend on how fast the server is.
fn is_chosen(cancel: &CancelSpec, seed: u64, number: u64) -> bool {
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    random.set_stream(number);
    let draw = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    draw < cancel.share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_are_the_same_for_a_seed_and_about_as_many_as_wanted() {
        let chosen = |share, seed| -> Vec<u64> {
            let cancel = CancelSpec { share, after: CancelAfter::AfterTokens(1) };
            (0..4_000).filter(|ordinal| is_chosen(&cancel, seed, *ordinal)).collect()
        };
        assert_eq!(chosen(0.0, 42), [0; 0]);
        assert_eq!(chosen(1.0, 42).len(), 4_000);
        let tenth = chosen(0.1, 42);
        // Five standard deviations of a binomial count around 400.
        assert!((305..=495).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(chosen(0.1, 42), tenth);
        assert_ne!(chosen(0.1, 43), tenth);
        assert!(tenth.iter().all(|ordinal| chosen(0.2, 42).contains(ordinal)));
    }
}
