//! An open loop: each arrival is sent at its instant, whatever became of the ones before.
//!
//! Main function: [`play`]; main type [`Pool`], which open phases share. Connections lie ready ahead of the arrivals that will need them, so
//! that connecting delays nobody; the instants are `arrivals`' business, a request is `request`'s.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::arrivals::Schedule;
use super::record::Stamp;
use super::request::Player;
use super::stage::Stage;
use super::stamp::now;
use crate::plan::{ClockChoice, Connections};

/// A connection lies ready so long before the arrival that will use it: longer than a handshake
/// over any network, shorter than the patience of any server with an idle connection.
const AHEAD: Duration = Duration::from_millis(250);
/// The thread is woken so long before an arrival and spins for the rest: a thread that sleeps is
/// served by the kernel's timer 50 to 100 µs late, one that is awake within a microsecond.
const SPIN: Duration = Duration::from_micros(100);
/// Above this mean rate nobody spins, for it would take more than a tenth of a processor.
const FASTEST_SPINNING: f64 = 1_000.0;
/// Arrivals so close together are provided for in one go.
const BATCH: Duration = Duration::from_millis(50);

/// Connections for the arrivals right at the start.
pub(super) fn needed_at_once(schedule: &Schedule, most_in_flight: u32) -> u32 {
    let within = schedule.nanos().partition_point(|offset| u128::from(*offset) <= AHEAD.as_nanos());
    u32::try_from(within).unwrap_or(u32::MAX).min(most_in_flight)
}

/// The players of open phases that are not in flight. `Vec`s are stacks: the connection used last is used next,
/// since it is the least likely to have been closed.
pub(super) struct Pool {
    ready: RefCell<Vec<Player>>,
    /// Without a connection, or with one that may not be used again.
    bare: RefCell<Vec<Player>>,
    opening: Cell<usize>,
    in_flight: Cell<u32>,
    /// Players ever made.
    made: Cell<u32>,
}

impl Pool {
    /// Of players that are there already; more are made as they are needed, numbered from `made`.
    pub(super) fn new(stage: &Stage, players: Vec<Player>, made: usize) -> Rc<Self> {
        let made = u32::try_from(made).expect("players are numbered with 32 bits");
        let pool = Self {
            ready: RefCell::default(),
            bare: RefCell::default(),
            opening: Cell::new(0),
            in_flight: Cell::new(0),
            made: Cell::new(made),
        };
        for player in players {
            pool.take_back(stage, player);
        }
        Rc::new(pool)
    }

    fn take_back(&self, stage: &Stage, player: Player) {
        let connected = player.is_connected(stage);
        let shelf = if connected { &self.ready } else { &self.bare };
        shelf.borrow_mut().push(player);
    }

    fn bare_player(&self, stage: &Stage) -> Player {
        let bare = self.bare.borrow_mut().pop();
        bare.unwrap_or_else(|| {
            let index = self.made.replace(self.made.get() + 1);
            Player::new(index, stage.new_leash())
        })
    }

    /// A player for an arrival that is due; `None` where too many are in flight.
    fn take(&self, stage: &Stage, most: u32) -> Option<Player> {
        if self.in_flight.get() >= most {
            return None;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        let ready = self.ready.borrow_mut().pop();
        Some(ready.unwrap_or_else(|| self.bare_player(stage)))
    }

    /// Puts a connection aside that was closed while it lay in reserve; `place` counts from the one
    /// that will be used next.
    fn check(&self, stage: &Stage, place: usize) {
        let mut ready = self.ready.borrow_mut();
        let Some(position) = ready.len().checked_sub(place + 1) else { return };
        if ready.get(position).is_some_and(|player| !player.is_connected(stage)) {
            self.bare.borrow_mut().push(ready.remove(position));
        }
    }

    /// Opens connections until `needed` lie ready.
    fn provide(
        self: &Rc<Self>,
        needed: usize,
        most: u32,
        stage: &Rc<Stage>,
        tasks: &mut JoinSet<()>,
    ) {
        for _ in 0..self.missing(needed, most) {
            let mut player = self.bare_player(stage);
            let (stage, pool) = (Rc::clone(stage), Rc::clone(self));
            pool.opening.set(pool.opening.get() + 1);
            tasks.spawn_local(async move {
                player.prepare(&stage).await;
                pool.opening.set(pool.opening.get() - 1);
                pool.take_back(&stage, player);
            });
        }
    }

    /// How many more connections are to be opened so that `needed` lie ready.
    fn missing(&self, needed: usize, most: u32) -> usize {
        let reserve = self.ready.borrow().len() + self.opening.get();
        let room = most.saturating_sub(self.in_flight.get()) as usize;
        needed.min(room).saturating_sub(reserve)
    }
}

/// Waits for the instant at which connections for a phase that begins at `begins` are opened.
pub(super) async fn until_ahead(stage: &Rc<Stage>, begins: Stamp) {
    stage.pacer.until(before(begins, AHEAD)).await;
}

/// Opens the connections of the first arrivals of a phase that is about to begin; nothing for a
/// closed phase, and behind the last.
pub(super) fn prepare(stage: &Rc<Stage>, phase: usize, pool: &Rc<Pool>, tasks: &mut JoinSet<()>) {
    let next = stage.plan.phases.get(phase).and_then(|phase| phase.schedule.as_ref());
    if let (Some(schedule), Connections::Ahead) = (next, stage.plan.connections) {
        let most = stage.most_in_flight(phase);
        pool.provide(needed_at_once(schedule, most) as usize, most, stage, tasks);
    }
}

/// Sends every arrival of a phase and returns when the last answer has come.
pub(super) async fn play(stage: Rc<Stage>, phase: usize, pool: Rc<Pool>, begun: Stamp) {
    let Some(schedule) = &stage.plan.phases[phase].schedule else { return };
    let instant = |index: u64| schedule.offset(index).map(|offset| begun.after(offset));
    let most = stage.most_in_flight(phase);
    let cut = stage.cut_of(phase, begun);
    let ahead = stage.plan.connections == Connections::Ahead;
    let lead = lead(schedule, stage.plan.clock);
    let leash = stage.new_leash();
    let mut tasks = JoinSet::new();
    // Arrivals before `next` were sent; for those before `provided` a connection lies ready.
    let (mut next, mut provided) = (0, 0);
    while let Some(due) = instant(next) {
        let provide_at = instant(provided).filter(|_| ahead).map(|at| before(at, AHEAD));
        let wake = provide_at.map_or(due, |at| at.min(due));
        if leash.hold(stage.pacer.until(before(wake, lead))).await.is_err() {
            break;
        }
        if due <= now().after(lead) {
            spin_until(due);
        }
        let sent_before = next;
        while let Some(due) = instant(next).filter(|due| *due <= now()) {
            let Some(ticket) = stage.arrival(phase) else { break };
            next += 1;
            match pool.take(&stage, most) {
                Some(player) => {
                    let (stage, pool) = (Rc::clone(&stage), Rc::clone(&pool));
                    tasks.spawn_local(async move {
                        send(&stage, &pool, player, ticket, due, cut).await;
                    });
                }
                None => stage.drop_arrival(ticket, due),
            }
        }
        if next > sent_before {
            // They go out first; all below costs system calls.
            tokio::task::yield_now().await;
        }
        if ahead {
            let horizon = now().after(AHEAD + BATCH);
            provided = provided.max(next);
            while instant(provided).is_some_and(|due| due <= horizon) {
                pool.check(&stage, (provided - next) as usize);
                provided += 1;
            }
            pool.provide((provided - next) as usize, most, &stage, &mut tasks);
        }
        while let Some(joined) = tasks.try_join_next() {
            passed_on(joined);
        }
    }
    while let Some(joined) = tasks.join_next().await {
        passed_on(joined);
    }
}

/// How long before an arrival the thread is to be awake; zero where it must not spin.
fn lead(schedule: &Schedule, clock: ClockChoice) -> Duration {
    let nanos = schedule.nanos();
    let span_s =
        nanos.last().zip(nanos.first()).map_or(0.0, |(last, first)| (last - first) as f64 / 1e9);
    // A single processor belongs to the server, which may be about to answer.
    let alone = std::thread::available_parallelism().is_ok_and(|processors| processors.get() < 2);
    let fast = nanos.len() as f64 > FASTEST_SPINNING * span_s.max(1.0);
    // Reads wait for the spinning, which our own clock would take for the server's time.
    let would_show = clock == ClockChoice::User;
    if alone || fast || would_show { Duration::ZERO } else { SPIN }
}

/// At most [`SPIN`]; reads that wait meanwhile have their stamps from the kernel.
fn spin_until(due: Stamp) {
    while now() < due {
        std::hint::spin_loop();
    }
}

async fn send(
    stage: &Rc<Stage>,
    pool: &Pool,
    mut player: Player,
    ticket: super::schedule::Ticket,
    due: Stamp,
    cut: Stamp,
) {
    stage.perform(&mut player, ticket, due, now(), cut).await;
    pool.in_flight.set(pool.in_flight.get() - 1);
    pool.take_back(stage, player);
}

fn before(at: Stamp, lead: Duration) -> Stamp {
    let lead = u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX);
    Stamp(at.0.saturating_sub(lead))
}

/// Nobody cancels these tasks; a panic is a bug and goes on up to the handle.
pub(super) fn passed_on(joined: Result<(), tokio::task::JoinError>) {
    if let Err(error) = joined {
        std::panic::resume_unwind(error.into_panic());
    }
}
