//! The users of a load, and the stages they go through together. Arrivals are `open`'s business.
//!
//! Main types: [`Stage`], what all users share, and [`run`], which brings them on and off. One
//! thread, no locks: everything here is `Cell` and `RefCell`.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet, spawn_local};

use super::arrivals::spans;
use super::connection::Connection;
use super::conversation::Unsent;
use super::dial::Dialer;
use super::leash::Leash;
use super::live::{LiveCounters, LivePhase};
use super::open;
use super::outcome::{LoadOutcome, Moments, histogram};
use super::pacer::Pacer;
use super::record::{FailureKind, Outcome, Phase, RequestRecord, Stamp};
use super::request::{Errand, Player, blank_record};
use super::schedule::{Ticket, Tickets};
use super::stamp::{Receiver, now, thread_cpu};
use super::workload::{LoadPlan, PlannedBody};
use crate::plan::LoadShape;
use crate::plan::shape;

/// Grain of the limits of a request, and of the event loop's own lag.
const WATCH_EVERY: Duration = Duration::from_millis(10);
/// Pause after the first failure in a row; it doubles up to the longest. A server that refuses at
/// once would otherwise be asked, and recorded, a hundred thousand times a second.
const FIRST_FAILURE_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// What all users share.
pub(super) struct Stage {
    pub(super) plan: LoadPlan,
    pub(super) dialer: Dialer,
    pub(super) receiver: Rc<Receiver>,
    pub(super) pacer: Rc<Pacer>,
    pub(super) live: Arc<LiveCounters>,
    pub(super) head_prefix: Vec<u8>,
    /// Most requests of an open loop at once.
    pub(super) most_in_flight: u32,
    leashes: RefCell<Vec<Rc<Leash>>>,
    pub(super) tickets: RefCell<Tickets>,
    /// Numbers in the first embedding that came.
    dimensions: Cell<Option<u32>>,
    tally: RefCell<Tally>,
    sink: RefCell<Box<dyn FnMut(RequestRecord)>>,
    interrupted: Cell<bool>,
    interruption: Notify,
    measuring: Cell<bool>,
    stopping: Cell<bool>,
    kept_promises: Cell<u64>,
    broken_promises: Cell<u64>,
}

/// What is counted over all users.
struct Tally {
    itl: Histogram<u64>,
    itl_moments: Moments,
    client_delay: Histogram<u64>,
    loop_lag: Histogram<u64>,
    dispatch_lateness: Histogram<u64>,
    dispatch_lateness_moments: Moments,
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
        let warm_up = u64::from(plan.users) * u64::from(plan.warm_up_requests_per_user);
        let conversations = plan.conversations.as_ref();
        let total = conversations.map_or_else(|| plan.requests(), |_| plan.total_requests);
        let tickets = Tickets::new(plan.bodies.len(), warm_up, total);
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
                itl: histogram(),
                itl_moments: Moments::default(),
                client_delay: histogram(),
                loop_lag: histogram(),
                dispatch_lateness: histogram(),
                dispatch_lateness_moments: Moments::default(),
            }),
            sink: RefCell::new(sink),
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

    fn stop_all(&self) {
        self.stopping.set(true);
        for leash in self.leashes.borrow().iter() {
            leash.stop();
        }
    }

    /// Interrupted by the caller.
    fn interrupt(&self) {
        self.interrupted.set(true);
        self.interruption.notify_one();
        self.stop_all();
    }

    /// Completes when the caller has interrupted the run; for one waiter.
    async fn stopped(&self) {
        if !self.interrupted.get() {
            self.interruption.notified().await;
        }
    }

    /// One request of one user, from the moment it is due. `None` if none may start any more.
    async fn next_request(
        self: &Rc<Self>,
        player: &mut Player,
        phase: Phase,
        planned: Stamp,
    ) -> Option<()> {
        if let (Phase::Measured, Some(conversations)) = (phase, &self.plan.conversations) {
            return self.converse(conversations, player, planned).await;
        }
        if phase == Phase::Measured && !self.tickets.borrow().has_more_at(planned) {
            return None;
        }
        player.idle(self, planned).await.ok()?;
        let acted = now();
        let ticket = match phase {
            Phase::WarmUp => self.tickets.borrow_mut().warm_up(),
            Phase::Measured => self.tickets.borrow_mut().measured(acted)?,
        };
        self.perform(player, ticket, planned, acted).await;
        Some(())
    }

    /// The ticket of the next arrival; `None` past the last.
    pub(super) fn arrival(&self) -> Option<Ticket> {
        self.tickets.borrow_mut().measured(Stamp(0))
    }

    /// Sends a request that stands for itself, reads its answer and files the record.
    pub(super) async fn perform(
        self: &Rc<Self>,
        player: &mut Player,
        ticket: Ticket,
        planned: Stamp,
        acted: Stamp,
    ) {
        let errand =
            Errand { ticket, index: ticket.index, body: self.body(ticket).clone(), turn: None };
        self.run_errand(player, &errand, planned, acted).await;
    }

    /// Sends a request, reads its answer and files the record; what became of it.
    pub(super) async fn run_errand(
        self: &Rc<Self>,
        player: &mut Player,
        errand: &Errand,
        planned: Stamp,
        acted: Stamp,
    ) -> Outcome {
        if errand.ticket.phase == Phase::Measured {
            self.live.count_started();
            let lateness = acted.0.saturating_sub(planned.0);
            let mut tally = self.tally.borrow_mut();
            tally.dispatch_lateness.saturating_record(lateness);
            tally.dispatch_lateness_moments.add(lateness);
        }
        self.live.take_off();
        let record = player.play(self, errand, planned).await;
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
        let record = blank_record(ticket, self.body(ticket), 0, planned);
        (self.sink.borrow_mut())(record);
    }

    /// Counts a finished request and hands it to the sink.
    fn file(&self, player: &mut Player, record: RequestRecord) {
        player.failures = match record.outcome {
            Outcome::Failed { .. } => player.failures.saturating_add(1),
            _ => 0,
        };
        match (record.phase, &record.outcome) {
            (Phase::WarmUp, _) => self.live.count_warm_up_ended(),
            (Phase::Measured, Outcome::Completed) => {
                self.live.count_completed();
                let tally = &mut *self.tally.borrow_mut();
                for gap in player.gaps() {
                    tally.itl.saturating_record(*gap);
                    tally.itl_moments.add(*gap);
                }
            }
            (Phase::Measured, Outcome::Failed { .. }) => self.live.count_failed(),
            (Phase::Measured, Outcome::Cut | Outcome::Dropped | Outcome::Cancelled) => {}
        }
        (self.sink.borrow_mut())(record);
    }

    /// How long a user rests before its next request.
    pub(super) fn pause(&self, player: &Player) -> Duration {
        let Some(doublings) = player.failures.checked_sub(1) else { return self.plan.think_time };
        let pause = FIRST_FAILURE_PAUSE * (1 << doublings.min(8));
        pause.min(LONGEST_FAILURE_PAUSE).max(self.plan.think_time)
    }

    async fn warm_up(self: Rc<Self>, mut player: Player) -> Player {
        player.freed = now();
        let mut planned = player.freed;
        for _ in 0..self.plan.warm_up_requests_per_user {
            if self.next_request(&mut player, Phase::WarmUp, planned).await.is_none() {
                break;
            }
            planned = player.freed.after(self.pause(&player));
        }
        player
    }

    async fn measure(self: Rc<Self>, mut player: Player, start: Stamp) -> Player {
        player.failures = 0;
        match &self.plan.shape {
            LoadShape::PerUserIterations { iterations } => {
                self.iterate(&mut player, start, *iterations).await;
            }
            LoadShape::RampingUsers { start: first, stages } => {
                let users = self.plan.users;
                let stages: Vec<shape::Stage<u32>> = stages
                    .iter()
                    .map(|stage| shape::Stage {
                        duration: stage.duration,
                        target: stage.target.of(users),
                    })
                    .collect();
                for span in spans(first.of(users), &stages, player.user_index) {
                    // A request that outlived the user's last span holds up this one.
                    let from = start.after(span.from).max(player.freed);
                    self.repeat(&mut player, from, start.after(span.to)).await;
                }
            }
            _ => self.repeat(&mut player, start, Stamp(u64::MAX)).await,
        }
        player
    }

    /// One request after the other, the first planned for `from`, none for `to` or later.
    async fn repeat(self: &Rc<Self>, player: &mut Player, from: Stamp, to: Stamp) {
        let mut planned = from;
        while planned < to && self.next_request(player, Phase::Measured, planned).await.is_some() {
            planned = player.freed.after(self.pause(player));
        }
    }

    /// So many requests; those that time does not allow are dropped.
    async fn iterate(self: &Rc<Self>, player: &mut Player, start: Stamp, iterations: u64) {
        let mut planned = start;
        for done in 0..iterations {
            if self.next_request(player, Phase::Measured, planned).await.is_none() {
                for _ in done..iterations {
                    let left_over = self.tickets.borrow_mut().left_over();
                    let Some(ticket) = left_over else { return };
                    let record =
                        blank_record(ticket, self.body(ticket), player.user_index, planned);
                    (self.sink.borrow_mut())(record);
                }
                return;
            }
            planned = player.freed.after(self.pause(player));
        }
    }

    /// Pulls requests whose limit has passed, and notes how late it was itself served.
    async fn watch(self: Rc<Self>) {
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

    /// Ends the measuring by time.
    async fn close(self: Rc<Self>, closes: Stamp) {
        self.pacer.until(closes).await;
        self.live.enter(LivePhase::Draining);
        self.pacer.until(closes.after(self.plan.graceful_stop)).await;
        self.stop_all();
    }
}

/// Between warm-up and measuring.
pub(super) struct Gate {
    /// The warm-up is over.
    pub(super) tell: oneshot::Sender<()>,
    /// Measuring may begin, once this is sent or its sender is gone.
    pub(super) wait: oneshot::Receiver<()>,
}

impl Gate {
    async fn pass(self, stage: &Stage) {
        // Nobody need listen.
        let _nobody_listens = self.tell.send(()).is_err();
        tokio::select! {
            _go = self.wait => {}
            () = stage.stopped() => {}
        }
    }
}

/// Plays the whole plan. `stopped` completes when the caller wants an early end.
pub(super) async fn run(
    stage: Rc<Stage>,
    gate: Gate,
    stopped: impl Future<Output = ()> + 'static,
) -> LoadOutcome {
    let cpu_before = thread_cpu();
    let pacer = Rc::clone(&stage.pacer);
    let mut helpers = Helpers::default();
    helpers.add(async move {
        pacer.serve().await.expect("a timer that could be made can be read and set");
    });
    helpers.add(Rc::clone(&stage).watch());
    let interrupting = Rc::clone(&stage);
    helpers.add(async move {
        stopped.await;
        interrupting.interrupt();
    });

    let mut players: Vec<Player> =
        (0..stage.plan.users).map(|index| Player::new(index, stage.new_leash())).collect();
    let mut warm_up_ended = None;
    if stage.plan.warm_up_requests_per_user > 0 {
        stage.live.enter(LivePhase::WarmUp);
        players = together(players, |player| Rc::clone(&stage).warm_up(player)).await;
        warm_up_ended = Some(now());
    }
    let at_once = stage.at_once();
    for index in stage.plan.users..at_once.max(stage.plan.shape.most_users(stage.plan.users)) {
        players.push(Player::new(index, stage.new_leash()));
    }
    gate.pass(&stage).await;
    players = together(players, |mut player| {
        let stage = Rc::clone(&stage);
        async move {
            if player.user_index < at_once {
                player.prepare(&stage).await;
            }
            player
        }
    })
    .await;

    stage.live.plan(stage.plan.requests().unwrap_or(0));
    let started = now();
    if !stage.interrupted.get() {
        stage.live.enter(LivePhase::Measuring);
        stage.measuring.set(true);
        if let Some(duration) = stage.plan.duration {
            let closes = started.after(duration);
            // Every arrival is planned for an earlier instant, and none is lost for being late.
            if stage.plan.schedule.is_none() {
                stage.tickets.borrow_mut().close_at(closes);
            }
            helpers.add(Rc::clone(&stage).close(closes));
        }
        players = match &stage.plan.schedule {
            Some(schedule) => open::play(&stage, schedule, players, started).await,
            None => together(players, |player| Rc::clone(&stage).measure(player, started)).await,
        };
        stage.measuring.set(false);
    }
    let ended = now();
    drop(players);
    helpers.stop();
    stage.drop_left_over(started, ended);
    stage.live.enter(LivePhase::Done);
    stage.outcome(started, ended, warm_up_ended, thread_cpu().saturating_sub(cpu_before))
}

impl Stage {
    /// Position among the measured requests of the one that has this index.
    pub(super) fn ordinal(&self, index: u64) -> u64 {
        let warm_up = u64::from(self.plan.users) * u64::from(self.plan.warm_up_requests_per_user);
        index.saturating_sub(warm_up)
    }

    /// How many connections are needed right at the start of measuring.
    fn at_once(&self) -> u32 {
        match (&self.plan.schedule, &self.plan.shape) {
            (Some(schedule), _) => open::needed_at_once(schedule, self.most_in_flight),
            (None, LoadShape::RampingUsers { start, .. }) => start.of(self.plan.users),
            (None, _) => self.plan.users,
        }
    }

    /// Requests that were counted in and never started are records too.
    fn drop_left_over(&self, started: Stamp, ended: Stamp) {
        loop {
            let left_over = self.tickets.borrow_mut().left_over();
            let Some(ticket) = left_over else { break };
            if let Some(schedule) = &self.plan.schedule {
                let due = schedule.offset(self.ordinal(ticket.index));
                self.drop_arrival(ticket, due.map_or(ended, |due| started.after(due)));
                continue;
            }
            let user_index = (ticket.index % u64::from(self.plan.users)) as u32;
            if let Some(conversations) = &self.plan.conversations {
                let first = Unsent { ticket, from_turn: 1, user_index, planned: ended };
                self.drop_turns(conversations, first, None);
                continue;
            }
            let record = blank_record(ticket, self.body(ticket), user_index, ended);
            (self.sink.borrow_mut())(record);
        }
    }

    fn outcome(
        &self,
        started: Stamp,
        ended: Stamp,
        warm_up_ended: Option<Stamp>,
        thread_cpu: Duration,
    ) -> LoadOutcome {
        let mut tally = self.tally.borrow_mut();
        let mut take = |histogram: fn(&mut Tally) -> &mut Histogram<u64>| {
            std::mem::replace(histogram(&mut tally), crate::load::outcome::histogram())
        };
        let client_delay = if self.receiver.sees_delay() {
            take(|tally| &mut tally.client_delay)
        } else {
            take(|tally| &mut tally.loop_lag)
        };
        LoadOutcome {
            started,
            ended,
            warm_up_ended,
            interrupted: self.interrupted.get(),
            itl: take(|tally| &mut tally.itl),
            client_delay,
            dispatch_lateness: take(|tally| &mut tally.dispatch_lateness),
            itl_moments: tally.itl_moments,
            dispatch_lateness_moments: tally.dispatch_lateness_moments,
            clock_source: self.receiver.source(),
            rejected_stamps: self.receiver.rejected(),
            thread_cpu,
        }
    }
}

/// Lets all users do one thing and waits until the last has done it.
async fn together<F: Future<Output = Player> + 'static>(
    players: Vec<Player>,
    what: impl Fn(Player) -> F,
) -> Vec<Player> {
    let mut tasks = JoinSet::new();
    for player in players {
        tasks.spawn_local(what(player));
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(player) => done.push(player),
            // Nobody cancels users' tasks; a panic is a bug and goes on up to the handle.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    done
}

/// Tasks that serve the users and end with the run.
#[derive(Default)]
struct Helpers(Vec<JoinHandle<()>>);

impl Helpers {
    fn add(&mut self, helper: impl Future<Output = ()> + 'static) {
        self.0.push(spawn_local(helper));
    }

    fn stop(&self) {
        for helper in &self.0 {
            helper.abort();
        }
    }
}
