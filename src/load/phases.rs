//! The phases of a load, one after the other: warm-up, gate, first phase, second phase, end.
//!
//! Main function: [`run`]. A phase begins when the one before it closes; nobody waits for the
//! requests that are still in flight, so that the load has no gap and a cool-down cools nothing
//! that counts. What a user does in a phase is `users`' business.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet, spawn_local};

use super::live::LivePhase;
use super::open::{self, Pool};
use super::outcome::LoadOutcome;
use super::record::Stamp;
use super::request::Player;
use super::stage::Stage;
use super::stamp::{now, thread_cpu};
use crate::plan::LoadShape;

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
    let (users, at_once) = (users(&stage), at_once(&stage));
    let first_is_open = stage.plan.phases.first().is_some_and(|phase| phase.shape.is_open());
    let needed_from = if first_is_open { users } else { 0 };
    for index in stage.plan.users..users.max(needed_from + at_once) {
        players.push(Player::new(index, stage.new_leash()));
    }
    gate.pass(&stage).await;
    players = together(players, |mut player| {
        let stage = Rc::clone(&stage);
        async move {
            if (needed_from..needed_from + at_once).contains(&player.user_index) {
                player.prepare(&stage).await;
            }
            player
        }
    })
    .await;

    stage.live.plan(stage.plan.requests().unwrap_or(0));
    let started = now();
    if !stage.was_interrupted() {
        stage.live.enter(LivePhase::Measuring);
        let made = players.len();
        let (users, rest) =
            players.into_iter().partition(|player: &Player| player.user_index < users);
        let pool = Pool::new(&stage, rest, made);
        play(&stage, users, &pool, started).await;
    }
    let ended = now();
    helpers.stop();
    stage.drop_left_over(ended);
    stage.live.enter(LivePhase::Done);
    stage.outcome(started, ended, warm_up_ended, thread_cpu().saturating_sub(cpu_before))
}

/// How many users take part in any closed phase.
fn users(stage: &Stage) -> u32 {
    let plan = &stage.plan;
    plan.phases.iter().map(|phase| phase.most_users(plan.users)).max().unwrap_or(0)
}

/// How many connections are needed right at the start of the first phase.
fn at_once(stage: &Stage) -> u32 {
    let Some(first) = stage.plan.phases.first() else { return 0 };
    let users = first.users.unwrap_or(stage.plan.users);
    match (&first.schedule, &first.shape) {
        (Some(schedule), _) => open::needed_at_once(schedule, stage.most_in_flight(0)),
        (None, LoadShape::RampingUsers { start, .. }) => start.of(users),
        (None, _) => users,
    }
}

/// All phases; returns when the last request of the last one has ended.
async fn play(stage: &Rc<Stage>, users: Vec<Player>, pool: &Rc<Pool>, started: Stamp) {
    let senders = RefCell::new(JoinSet::new());
    let last_is_open = stage.plan.phases.last().is_some_and(|phase| phase.shape.is_open());
    let mut conducting = pin!(conduct(stage, pool, &senders, started));
    let mut attending = pin!(together(users, |player| Rc::clone(stage).attend(player)));
    let mut conducted = false;
    // Connections stay open until all is over: closing one is work for the server.
    let _players = loop {
        tokio::select! {
            biased;
            () = conducting.as_mut(), if !conducted => conducted = true,
            players = attending.as_mut() => break players,
        }
    };
    if !conducted {
        // All users of the last phase are through with it, however long it may still have had.
        if last_is_open {
            conducting.await;
        } else {
            stage.close(stage.plan.phases.len() - 1, now());
        }
    }
    let mut senders = senders.take();
    while let Some(joined) = senders.join_next().await {
        open::passed_on(joined);
    }
}

/// Lets the phases begin one after the other, and returns when the last has closed.
async fn conduct(
    stage: &Rc<Stage>,
    pool: &Rc<Pool>,
    senders: &RefCell<JoinSet<()>>,
    started: Stamp,
) {
    let mut begins = started;
    for (phase, plan) in stage.plan.phases.iter().enumerate() {
        stage.begin(phase, begins);
        if plan.shape.is_open() {
            let playing = open::play(Rc::clone(stage), phase, Rc::clone(pool), begins);
            senders.borrow_mut().spawn_local(playing);
        }
        let preparing = async {
            open::until_ahead(stage, stage.closes(phase, begins)).await;
            open::prepare(stage, phase + 1, pool, &mut senders.borrow_mut());
            pending::<Infallible>().await
        };
        let closed = tokio::select! {
            biased;
            () = stage.stopped() => None,
            closed = stage.until_closed(phase, begins) => Some(closed),
            never = preparing => match never {},
        };
        stage.close(phase, closed.unwrap_or_else(now));
        match closed {
            Some(closed) => begins = closed,
            None => return,
        }
    }
    stage.live.enter(LivePhase::Draining);
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
