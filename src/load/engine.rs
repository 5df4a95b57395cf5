//! The load thread: started here, joined here.
//!
//! Main types: [`start`] and [`LoadHandle`]. What the thread does is `users`' business.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::dial::Dialer;
use super::error::LoadError;
use super::live::LiveCounters;
use super::outcome::LoadOutcome;
use super::pacer::Pacer;
use super::phases::{Gate, run};
use super::record::RequestRecord;
use super::stage::Stage;
use super::stamp::Receiver;
use super::workload::LoadPlan;
use crate::cancel::Cancel;

/// Descriptors besides the users' connections: runtime, timer, server log, reports, scrapes.
const OTHER_FILES: u64 = 128;
/// Most connections of an open loop that nobody limits: there are no more ports to connect from.
const MOST_CONNECTIONS: u32 = 60_000;

/// A running load. Dropping it stops the run as a cancellation does.
#[derive(Debug)]
pub struct LoadHandle {
    /// How the run stands; may be read at any time, also after the end.
    pub live: Arc<LiveCounters>,
    outcome: oneshot::Receiver<Result<LoadOutcome, LoadError>>,
    /// Sent when the warm-up is over.
    warmed_up: Option<oneshot::Receiver<()>>,
    /// Sent, or dropped, when measuring may begin.
    go: Option<oneshot::Sender<()>>,
    /// Never sent to: its end tells the thread that the handle is gone.
    _present: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl LoadHandle {
    /// Waits for the end of the warm-up. The server is then idle until [`LoadHandle::measure`], so
    /// that its counters can be read between what is measured and what is not. Returns at once the
    /// second time, and if the run ended before.
    pub async fn warmed_up(&mut self) {
        if let Some(warmed_up) = self.warmed_up.take() {
            // Without an answer the thread has ended; `join` says how.
            drop(warmed_up.await);
        }
    }

    /// Lets measuring begin.
    pub fn measure(&mut self) {
        // Without a receiver the thread has ended; `join` says how.
        if let Some(go) = self.go.take() {
            let _thread_has_ended = go.send(()).is_err();
        }
    }

    /// Waits for the end of the run; lets measuring begin if that was not done before.
    ///
    /// # Errors
    ///
    /// The host name has no address, the limit of open files is too low, the system refused a
    /// timer, or the thread panicked (a bug). Failed requests are records, not errors.
    pub async fn join(mut self) -> Result<LoadOutcome, LoadError> {
        self.measure();
        let Self { outcome, _present, thread, .. } = self;
        let outcome = outcome.await.unwrap_or_else(|_sender_is_gone| {
            Err(LoadError::Panicked { message: "it ended without an outcome".to_owned() })
        });
        // The outcome is the last thing that the thread sends, so this does not block for long; a
        // panic is in the outcome already.
        drop(thread.join());
        outcome
    }
}

/// Starts the load on a thread of its own, named `load`.
///
/// `sink` is called on that thread after each request ended, never on the stamping path of that
/// request; it must be quick, since other requests are in flight.
///
/// # Errors
///
/// The plan cannot be played, or the thread cannot be made.
pub fn start(
    plan: LoadPlan,
    sink: impl FnMut(RequestRecord) + Send + 'static,
    cancel: Cancel,
) -> Result<LoadHandle, LoadError> {
    plan.validate()?;
    let live = Arc::new(LiveCounters::default());
    let (sender, outcome) = oneshot::channel();
    let (present, absence) = oneshot::channel();
    let (tell, warmed_up) = oneshot::channel();
    let (go, wait) = oneshot::channel();
    let gate = Gate { tell, wait };
    let counters = Arc::clone(&live);
    let thread = thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
                play(plan, sink, cancel, counters, gate, absence)
            }));
            let outcome =
                played.unwrap_or_else(|panic| Err(LoadError::Panicked { message: said(&*panic) }));
            // Nobody waits any more: then nobody wants the outcome either.
            drop(sender.send(outcome));
        })
        .map_err(|source| LoadError::System { attempt: "start the load thread", source })?;
    Ok(LoadHandle {
        live,
        outcome,
        warmed_up: Some(warmed_up),
        go: Some(go),
        _present: present,
        thread,
    })
}

fn play(
    plan: LoadPlan,
    sink: impl FnMut(RequestRecord) + 'static,
    cancel: Cancel,
    live: Arc<LiveCounters>,
    gate: Gate,
    absence: oneshot::Receiver<()>,
) -> Result<LoadOutcome, LoadError> {
    let system = |attempt| move |source| LoadError::System { attempt, source };
    let most_in_flight = allow_open_files(&plan)?;
    let receiver = Rc::new(Receiver::new(plan.target.clock(plan.clock)));
    let dialer = Dialer::new(&plan.target, plan.timeouts.connect, Rc::clone(&receiver))?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .map_err(system("make the load thread's runtime"))?;
    runtime.block_on(async move {
        let pacer = Pacer::new().map_err(system("make the load thread's timer"))?;
        let stage = Rc::new(Stage::new(
            plan,
            dialer,
            receiver,
            pacer,
            live,
            most_in_flight,
            Box::new(sink),
        ));
        let stopped = async move {
            tokio::select! {
                _reason = cancel.cancelled() => {}
                _gone = absence => {}
            }
        };
        Ok(run(stage, gate, stopped).await)
    })
}

/// Raises the soft limit of open files as far as this plan needs it, and returns how many requests
/// of open loops may be in flight at once where nobody set that.
fn allow_open_files(plan: &LoadPlan) -> Result<u32, LoadError> {
    let users = plan.phases.iter().map(|phase| phase.most_users(plan.users)).max().unwrap_or(0);
    let open = || plan.phases.iter().filter(|phase| phase.shape.is_open());
    let asked = open().map(|phase| phase.shape.max_in_flight().unwrap_or(0)).max().unwrap_or(0);
    // Those of the warm-up are used again by whoever comes first.
    let asked = asked.max(plan.users.saturating_sub(users));
    let unlimited = open().any(|phase| phase.shape.max_in_flight().is_none());
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(if unlimited { MOST_CONNECTIONS } else { asked });
    };
    let most = if unlimited {
        let taken = OTHER_FILES + u64::from(users);
        let room = u32::try_from(hard.saturating_sub(taken)).unwrap_or(u32::MAX);
        room.min(MOST_CONNECTIONS).max(asked)
    } else {
        asked
    };
    let needed = u64::from(most) + u64::from(users) + OTHER_FILES;
    if soft < needed {
        if hard < needed {
            return Err(LoadError::OpenFiles { needed, limit: hard });
        }
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard)
            .map_err(|_refused| LoadError::OpenFiles { needed, limit: soft })?;
    }
    Ok(most)
}

/// What a panic says.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it gave no message".to_owned())
}
