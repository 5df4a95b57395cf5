//! The users of a load, and what each does in every phase that has a place for it.
//!
//! Main functions: [`Stage::warm_up`] and [`Stage::attend`], the whole life of one user.

use std::rc::Rc;
use std::time::Duration;

use super::arrivals::spans;
use super::leash::NEVER;
use super::record::Stamp;
use super::request::{Player, blank_record};
use super::stage::Stage;
use super::stamp::now;
use crate::plan::LoadShape;
use crate::plan::shape;

/// Pause after the first failure in a row; it doubles up to the longest. A server that refuses at
/// once would otherwise be asked, and recorded, a hundred thousand times a second.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_millis(100);

impl Stage {
    pub(super) async fn warm_up(self: Rc<Self>, mut player: Player) -> Player {
        player.freed = now();
        let mut planned = player.freed;
        for _ in 0..self.plan.warm_up_requests_per_user {
            if player.idle(&self, planned).await.is_err() {
                break;
            }
            let ticket = self.tickets.borrow_mut().warm_up();
            self.perform(&mut player, ticket, planned, now(), NEVER).await;
            planned = player.freed.after(self.pause(&player));
        }
        player.failures = 0;
        player
    }

    /// One user through every closed phase that has a place for it.
    pub(super) async fn attend(self: Rc<Self>, mut player: Player) -> Player {
        for (phase, plan) in self.plan.phases.iter().enumerate() {
            if player.user_index >= plan.most_users(self.plan.users) {
                continue;
            }
            let Some(begun) = self.begun(phase, &mut player).await else { break };
            self.measure(&mut player, phase, begun).await;
        }
        player
    }

    /// When a phase began, once it has; `None` if the run was stopped before.
    async fn begun(self: &Rc<Self>, phase: usize, player: &mut Player) -> Option<Stamp> {
        loop {
            let begun = self.started(phase);
            if begun.is_some() {
                return begun;
            }
            let leash = Rc::clone(&player.leash);
            let turn = self.turn.notified();
            match self.will_begin(phase).filter(|at| *at > now()) {
                // A connection is opened meanwhile.
                Some(at) => tokio::select! {
                    biased;
                    () = turn => {}
                    idled = player.idle(self, at) => idled.ok()?,
                },
                None => leash.hold(turn).await.ok()?,
            }
        }
    }

    /// When a phase is going to begin at the latest; `None` as long as nobody can tell.
    fn will_begin(&self, phase: usize) -> Option<Stamp> {
        let before = phase.checked_sub(1)?;
        let begun = self.started(before)?;
        Some(begun.after(self.plan.phases[before].duration?))
    }

    /// What one user does in one phase.
    async fn measure(self: &Rc<Self>, player: &mut Player, phase: usize, begun: Stamp) {
        let plan = &self.plan.phases[phase];
        let cut = self.cut_of(phase, begun);
        let first = begun.max(player.next_due);
        match &plan.shape {
            LoadShape::PerUserIterations { iterations } => {
                self.iterate(player, phase, first, *iterations, cut).await;
            }
            LoadShape::RampingUsers { start, stages } => {
                let users = plan.users.unwrap_or(self.plan.users);
                let stages: Vec<shape::Stage<u32>> = stages
                    .iter()
                    .map(|stage| shape::Stage {
                        duration: stage.duration,
                        target: stage.target.of(users),
                    })
                    .collect();
                let whole: Duration = stages.iter().map(|stage| stage.duration).sum();
                for span in spans(start.of(users), &stages, player.user_index) {
                    // A request that outlived the user's last span holds up this one.
                    let from = begun.after(span.from).max(first).max(player.freed);
                    let to = begun.after(span.to);
                    // The users of the ramp's end are stopped with the phase, not taken off by it.
                    let taken_off = span.to < whole;
                    let grace = to.after(self.plan.graceful_ramp_down);
                    let cut = if taken_off { cut.min(grace) } else { cut };
                    self.repeat(player, phase, from, to, cut).await;
                }
            }
            _ => self.repeat(player, phase, first, NEVER, cut).await,
        }
    }

    /// One request after the other, the first planned for `from`, none for `to` or later.
    async fn repeat(
        self: &Rc<Self>,
        player: &mut Player,
        phase: usize,
        from: Stamp,
        to: Stamp,
        cut: Stamp,
    ) {
        let mut planned = from;
        while planned < to && self.next_request(player, phase, planned, cut).await.is_some() {
            planned = player.freed.after(self.pause(player));
            player.next_due = planned;
        }
    }

    /// So many requests; those that time does not allow are dropped.
    async fn iterate(
        self: &Rc<Self>,
        player: &mut Player,
        phase: usize,
        from: Stamp,
        iterations: u64,
        cut: Stamp,
    ) {
        let mut planned = from;
        for done in 0..iterations {
            if self.next_request(player, phase, planned, cut).await.is_none() {
                for _ in done..iterations {
                    let left_over = self.tickets.borrow_mut().left_over(phase);
                    let Some(ticket) = left_over else { return };
                    let user_index = player.user_index;
                    self.file_unsent(blank_record(ticket, self.body(ticket), user_index, planned));
                }
                return;
            }
            planned = player.freed.after(self.pause(player));
            player.next_due = planned;
        }
    }

    /// One request of one user in a phase, from the moment it is due. `None` if none may start any
    /// more.
    async fn next_request(
        self: &Rc<Self>,
        player: &mut Player,
        phase: usize,
        planned: Stamp,
        cut: Stamp,
    ) -> Option<()> {
        if let Some(conversations) = &self.plan.conversations {
            return self.converse(conversations, player, (phase, cut), planned).await;
        }
        if !self.tickets.borrow().has_more_at(phase, planned) {
            return None;
        }
        player.idle(self, planned).await.ok()?;
        let acted = now();
        let ticket = self.take(phase, acted)?;
        self.perform(player, ticket, planned, acted, cut).await;
        Some(())
    }

    /// How long a user rests before its next request.
    pub(super) fn pause(&self, player: &Player) -> Duration {
        let Some(doublings) = player.failures.checked_sub(1) else { return self.plan.think_time };
        let pause = FIRST_FAILURE_PAUSE * (1 << doublings.min(8));
        pause.min(LONGEST_FAILURE_PAUSE).max(self.plan.think_time)
    }
}
