//! What everyone who sends requests shares: the tickets, the turns of the phases, what is counted, and
//! where records go. What users do with it is `users`' business, arrivals are `open`'s.
//!
//! Main type: [`Stage`]. One thread, no locks: everything here is `Cell` and `RefCell`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::Notify;

use super::connection::Connection;
use super::conversation::Unsent;
use super::dial::Dialer;
use super::gaps::GapsOverTime;
use super::leash::{Leash, NEVER};
use super::live::LiveCounters;
use super::outcome::{LoadOutcome, Moments, PhaseOutcome, histogram};
use super::pacer::Pacer;
use super::record::{FailureKind, Outcome, Phase, RequestRecord, Stamp};
use super::request::{Errand, Player, blank_record};
use super::schedule::{Book, Ticket, Tickets};
use super::stamp::{Receiver, now};
use super::workload::{LoadPhase, LoadPlan, PlannedBody};

/// Grain of the limits of a request, and of the event loop's own lag.
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// What all users share.
pub(super) struct Stage {
    pub(super) plan: LoadPlan,
    pub(super) dialer: Dialer,
    pub(super) receiver: Rc<Receiver>,
    pub(super) pacer: Rc<Pacer>,
    pub(super) live: Arc<LiveCounters>,
    pub(super) head_prefix: Vec<u8>,
    /// Most requests of open loops at once that the system allows.
    most_in_flight: u32,
    leashes: RefCell<Vec<Rc<Leash>>>,
    pub(super) tickets: RefCell<Tickets>,
    /// Numbers in the first embedding that came.
    dimensions: Cell<Option<u32>>,
    tally: RefCell<Tally>,
    sink: RefCell<Box<dyn FnMut(RequestRecord)>>,
    /// A phase has begun, or has had its last request begun.
    pub(super) turn: Notify,
    interrupted: Cell<bool>,
    interruption: Notify,
    measuring: Cell<bool>,
    stopping: Cell<bool>,
    kept_promises: Cell<u64>,
    broken_promises: Cell<u64>,
}

/// What is counted over all users.
struct Tally {
    /// Of those that have begun.
    phases: Vec<PhaseOutcome>,
    /// Those of measured requests; `None` before the first phase has begun.
    gaps: Option<GapsOverTime>,
    /// The last measured request so far ended.
    last_end: Option<Stamp>,
    client_delay: Histogram<u64>,
    loop_lag: Histogram<u64>,
}

impl Tally {
    /// The phase of a record or ticket; `None` for the warm-up before the first.
    fn of(&mut self, phase_index: u16) -> Option<&mut PhaseOutcome> {
        self.phases.get_mut(usize::from(phase_index).checked_sub(1)?)
    }
}

impl Stage {
    pub(super) fn new(
        plan: LoadPlan,
        dialer: Dialer,
        receiver: Rc<Receiver>,
        pacer: Rc<Pacer>,
        live: Arc<LiveCounters>,
        most_in_flight: u32,
        sink: Box<dyn FnMut(RequestRecord)>,
    ) -> Self {
        let warm_up = plan.warm_up_requests();
        let of_phase = |phase: &LoadPhase| match &plan.conversations {
            // A ticket stands for a conversation, whatever its length.
            Some(_) => phase.total_requests,
            None => phase.requests(plan.users),
        };
        let books = plan.phases.iter().map(|phase| Book::new(phase.phase, of_phase(phase)));
        let tickets = Tickets::new(plan.bodies.len(), warm_up, books.collect());
        Self {
            dialer,
            receiver,
            pacer,
            live,
            head_prefix: plan.target.head_prefix(plan.connections),
            most_in_flight,
            leashes: RefCell::default(),
            tickets: RefCell::new(tickets),
            dimensions: Cell::new(None),
            tally: RefCell::new(Tally {
                phases: Vec::with_capacity(plan.phases.len()),
                gaps: None,
                last_end: None,
                client_delay: histogram(),
                loop_lag: histogram(),
            }),
            sink: RefCell::new(sink),
            turn: Notify::new(),
            interrupted: Cell::new(false),
            interruption: Notify::new(),
            measuring: Cell::new(false),
            stopping: Cell::new(false),
            kept_promises: Cell::new(0),
            broken_promises: Cell::new(0),
            plan,
        }
    }

    pub(super) fn body(&self, ticket: Ticket) -> &PlannedBody {
        &self.plan.bodies[ticket.body]
    }

    /// A read of a measured request had waited this long, nanoseconds.
    pub(super) fn note_delay(&self, nanos: u64) {
        self.tally.borrow_mut().client_delay.saturating_record(nanos);
    }

    /// A kept connection worked.
    pub(super) fn note_kept_promise(&self) {
        self.kept_promises.set(self.kept_promises.get() + 1);
    }

    /// Some kept connection has worked in this run.
    pub(super) fn has_kept_a_promise(&self) -> bool {
        self.kept_promises.get() > 0
    }

    /// A connection was closed while idle; tells only if an answer had come over it before.
    pub(super) fn note_broken_promise(&self, connection: &Connection) {
        if connection.answers > 0 {
            self.broken_promises.set(self.broken_promises.get() + 1);
        }
    }

    /// Whether this connection is likely to take another request. llama-server announces
    /// `Keep-Alive` and closes after each stream: while more connections were found closed than
    /// worked twice, each request gets a fresh one.
    pub(super) fn trusts(&self, connection: &Connection) -> bool {
        connection.answers == 0 || self.broken_promises.get() <= self.kept_promises.get()
    }

    /// A leash that is swept and stopped with the others.
    pub(super) fn new_leash(&self) -> Rc<Leash> {
        let leash = Rc::<Leash>::default();
        if self.stopping.get() {
            leash.stop();
        }
        self.leashes.borrow_mut().push(Rc::clone(&leash));
        leash
    }

    /// Interrupted by the caller.
    pub(super) fn interrupt(&self) {
        self.interrupted.set(true);
        self.interruption.notify_one();
        self.stopping.set(true);
        for leash in self.leashes.borrow().iter() {
            leash.stop();
        }
    }

    pub(super) fn was_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Completes when the caller has interrupted the run; for one waiter at a time.
    pub(super) async fn stopped(&self) {
        if !self.interrupted.get() {
            self.interruption.notified().await;
        }
    }

    /// The ticket of the next arrival of a phase; `None` past the last.
    pub(super) fn arrival(&self, phase: usize) -> Option<Ticket> {
        // None is lost for being late.
        self.take(phase, Stamp(0))
    }

    pub(super) fn take(&self, phase: usize, now: Stamp) -> Option<Ticket> {
        let mut tickets = self.tickets.borrow_mut();
        let ticket = tickets.next(phase, now);
        if tickets.is_used_up(phase) {
            self.turn.notify_waiters();
        }
        ticket
    }

    /// When a phase began; `None` if it has not yet.
    pub(super) fn started(&self, phase: usize) -> Option<Stamp> {
        self.tally.borrow().phases.get(phase).map(|phase| phase.started)
    }

    /// When a request of this phase is cut, if it began at `begun`.
    pub(super) fn cut_of(&self, phase: usize, begun: Stamp) -> Stamp {
        self.closes(phase, begun).after(self.plan.graceful_stop)
    }

    /// Most requests of an open phase at once.
    pub(super) fn most_in_flight(&self, phase: usize) -> u32 {
        self.plan.phases[phase].shape.max_in_flight().unwrap_or(self.most_in_flight)
    }

    /// Sends a request that stands for itself, reads its answer up to the instant `cut`, and files the record.
    pub(super) async fn perform(
        self: &Rc<Self>,
        player: &mut Player,
        ticket: Ticket,
        planned: Stamp,
        acted: Stamp,
        cut: Stamp,
    ) {
        let errand =
            Errand { ticket, index: ticket.index, body: self.body(ticket).clone(), turn: None };
        self.run_errand(player, &errand, (planned, acted), cut).await;
    }

    /// Sends a request that was planned for one instant and acted upon at another, reads its answer up
    /// to the instant `cut`, and files the record; what became of it.
    pub(super) async fn run_errand(
        self: &Rc<Self>,
        player: &mut Player,
        errand: &Errand,
        (planned, acted): (Stamp, Stamp),
        cut: Stamp,
    ) -> Outcome {
        if errand.ticket.phase == Phase::Measured {
            self.live.count_started();
        }
        if let Some(tally) = self.tally.borrow_mut().of(errand.ticket.phase_index) {
            let lateness = acted.0.saturating_sub(planned.0);
            tally.dispatch_lateness.saturating_record(lateness);
            tally.dispatch_lateness_moments.add(lateness);
        }
        self.live.take_off();
        player.leash.cut_at(cut);
        let record = player.play(self, errand, planned).await;
        player.leash.cut_at(NEVER);
        self.live.land();
        let outcome = record.outcome.clone();
        self.file(player, record);
        outcome
    }

    /// One model has embeddings of one length: where a later answer has another, something else
    /// answered.
    pub(super) fn hold_to_the_first(&self, record: &mut RequestRecord) {
        let Some(dimensions) = record.dimensions.filter(|_| record.is_completed()) else { return };
        let first = self.dimensions.get().unwrap_or(dimensions);
        self.dimensions.set(Some(first));
        if first != dimensions {
            record.outcome = Outcome::Failed {
                failure: FailureKind::Protocol,
                detail: format!(
                    "embeddings of {dimensions} numbers, where the first answer had {first}"
                ),
            };
        }
    }

    /// Hands a record to the sink as it is.
    pub(super) fn file_unsent(&self, record: RequestRecord) {
        (self.sink.borrow_mut())(record);
    }

    /// Files an arrival for which there was nobody to send it.
    pub(super) fn drop_arrival(&self, ticket: Ticket, planned: Stamp) {
        self.file_unsent(blank_record(ticket, self.body(ticket), 0, planned));
    }

    /// Counts a finished request and hands it to the sink.
    fn file(&self, player: &mut Player, record: RequestRecord) {
        player.failures = match record.outcome {
            Outcome::Failed { .. } => player.failures.saturating_add(1),
            _ => 0,
        };
        match (record.phase, &record.outcome) {
            (Phase::WarmUp, _) if record.phase_index == 0 => self.live.count_warm_up_ended(),
            (Phase::Measured, Outcome::Completed) => self.live.count_completed(),
            (Phase::Measured, Outcome::Failed { .. }) => self.live.count_failed(),
            _ => {}
        }
        let measured = record.phase == Phase::Measured;
        if let (true, Some(end)) = (measured, record.end) {
            let mut tally = self.tally.borrow_mut();
            tally.last_end = tally.last_end.max(Some(end));
            self.live.measured_ended(end);
        }
        if record.is_completed() {
            let mut tally = self.tally.borrow_mut();
            if let Some(phase) = tally.of(record.phase_index) {
                for gap in player.gaps() {
                    phase.itl.saturating_record(*gap);
                    phase.itl_moments.add(*gap);
                    if measured {
                        self.live.count_gap(*gap);
                    }
                }
            }
            if let (true, Some(gaps), Some(first)) =
                (measured, &mut tally.gaps, record.first_content)
            {
                gaps.add(first, player.gaps());
            }
        }
        (self.sink.borrow_mut())(record);
    }

    /// Pulls requests whose limit has passed, and notes how late it was itself served.
    pub(super) async fn watch(self: Rc<Self>) {
        let mut due = now();
        loop {
            due = due.after(WATCH_EVERY);
            self.pacer.until(due).await;
            let now = now();
            if self.measuring.get() {
                let lag = now.0.saturating_sub(due.0);
                self.tally.borrow_mut().loop_lag.saturating_record(lag);
            }
            for leash in self.leashes.borrow().iter() {
                leash.sweep(now);
            }
            // Ticks that were missed are one lag, not many.
            due = due.max(Stamp(now.0.saturating_sub(WATCH_EVERY.as_nanos() as u64)));
        }
    }
}

/// The turns of the phases.
impl Stage {
    /// Lets a phase begin, for its own users and for those who wait for it.
    pub(super) fn begin(&self, phase: usize, begun: Stamp) {
        self.measuring.set(true);
        let plan = &self.plan.phases[phase];
        self.live.begin_phase(plan.phase, begun);
        // Every arrival is planned for an earlier instant, and none is lost for being late.
        if let (Some(duration), false) = (plan.duration, plan.shape.is_open()) {
            self.tickets.borrow_mut().close_at(phase, begun.after(duration));
        }
        let mut tally = self.tally.borrow_mut();
        tally.gaps.get_or_insert_with(|| GapsOverTime::since(begun));
        tally.phases.push(PhaseOutcome::beginning(begun));
        drop(tally);
        self.turn.notify_waiters();
    }

    /// Waits until no request of a phase can begin any more, and returns that instant.
    pub(super) async fn until_closed(&self, phase: usize, begun: Stamp) -> Stamp {
        let plan = &self.plan.phases[phase];
        let closes = self.closes(phase, begun);
        // Nobody waits behind the last phase for the time that its arrivals leave.
        let is_last = phase + 1 == self.plan.phases.len();
        let ends_early = plan.ends_with_its_requests();
        let used_up = async {
            while !((ends_early || is_last) && self.tickets.borrow().is_used_up(phase)) {
                self.turn.notified().await;
            }
        };
        tokio::select! {
            biased;
            () = self.pacer.until(closes) => closes,
            () = used_up => if ends_early { now() } else { closes },
        }
    }

    /// When a phase closes at the latest.
    pub(super) fn closes(&self, phase: usize, begun: Stamp) -> Stamp {
        self.plan.phases[phase].duration.map_or(NEVER, |duration| begun.after(duration))
    }

    /// Notes when a phase closed.
    pub(super) fn close(&self, phase: usize, closed: Stamp) {
        if let Some(phase) = self.tally.borrow_mut().phases.get_mut(phase) {
            phase.closed = closed;
        }
    }

    /// Requests that were counted in and never started are records too.
    pub(super) fn drop_left_over(&self, ended: Stamp) {
        for (phase, plan) in self.plan.phases.iter().enumerate() {
            let begun = self.started(phase).unwrap_or(ended);
            loop {
                let left_over = self.tickets.borrow_mut().left_over(phase);
                let Some(ticket) = left_over else { break };
                if let Some(schedule) = &plan.schedule {
                    let due = schedule.offset(ticket.ordinal);
                    self.drop_arrival(ticket, due.map_or(ended, |due| begun.after(due)));
                    continue;
                }
                let users = u64::from(plan.most_users(self.plan.users).max(1));
                let user_index = (ticket.index % users) as u32;
                if let Some(conversations) = &self.plan.conversations {
                    let first = Unsent { ticket, from_turn: 1, user_index, planned: ended };
                    self.drop_turns(conversations, first, None);
                    continue;
                }
                self.file_unsent(blank_record(ticket, self.body(ticket), user_index, ended));
            }
        }
    }

    pub(super) fn outcome(
        &self,
        started: Stamp,
        ended: Stamp,
        warm_up_ended: Option<Stamp>,
        thread_cpu: Duration,
    ) -> LoadOutcome {
        self.measuring.set(false);
        let mut tally = self.tally.borrow_mut();
        let phases = std::mem::take(&mut tally.phases);
        let (measured_from, measured_until) = self.measured_span(&phases, tally.last_end, ended);
        let mut outcome = LoadOutcome {
            phases: Vec::new(),
            started,
            ended,
            measured_from,
            measured_until,
            warm_up_ended,
            interrupted: self.interrupted.get(),
            itl: histogram(),
            itl_moments: Moments::default(),
            itl_over_time: tally.gaps.take().unwrap_or_else(|| GapsOverTime::since(started)),
            client_delay: std::mem::replace(
                if self.receiver.sees_delay() {
                    &mut tally.client_delay
                } else {
                    &mut tally.loop_lag
                },
                histogram(),
            ),
            dispatch_lateness: histogram(),
            dispatch_lateness_moments: Moments::default(),
            clock_source: self.receiver.source(),
            rejected_stamps: self.receiver.rejected(),
            thread_cpu,
        };
        for (phase, plan) in phases.iter().zip(&self.plan.phases) {
            if plan.phase == Phase::Measured {
                let same = "histograms of one kind always add up";
                outcome.itl.add(&phase.itl).expect(same);
                outcome.itl_moments.merge(&phase.itl_moments);
                outcome.dispatch_lateness.add(&phase.dispatch_lateness).expect(same);
                outcome.dispatch_lateness_moments.merge(&phase.dispatch_lateness_moments);
            }
        }
        LoadOutcome { phases, ..outcome }
    }

    /// From when to when it was measured; see [`LoadOutcome::measured_from`].
    fn measured_span(
        &self,
        phases: &[PhaseOutcome],
        last_end: Option<Stamp>,
        ended: Stamp,
    ) -> (Stamp, Stamp) {
        let played = phases.iter().zip(&self.plan.phases);
        let counted = || played.clone().filter(|(_, plan)| plan.phase == Phase::Measured);
        let from = counted().map(|(phase, _)| phase.started).min();
        // A phase of arrivals closes when its time is over, which may be after the last answer.
        let until = counted().map(|(phase, _)| phase.closed.min(ended)).max().max(last_end);
        (from.unwrap_or(ended), until.unwrap_or(ended))
    }
}
