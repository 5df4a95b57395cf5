//! The load thread: started here, joined here.
//!
//! Main types: [`start`] and [`LoadHandle`]. What the thread does is `worker`'s business.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;

use super::error::LoadError;
use super::live::LiveCounters;
use super::outcome::LoadOutcome;
use super::record::RequestRecord;
use super::workload::LoadPlan;
use crate::cancel::Cancel;

/// A running load. Dropping it stops the run as a cancellation does.
#[derive(Debug)]
pub struct LoadHandle {
    /// How the run stands; may be read at any time, also after the end.
    pub live: Arc<LiveCounters>,
    outcome: oneshot::Receiver<Result<LoadOutcome, LoadError>>,
    thread: thread::JoinHandle<()>,
}

impl LoadHandle {
    /// Waits for the end of the run.
    ///
    /// # Errors
    ///
    /// The host name has no address, the limit of open files is too low, the system refused a
    /// timer, or the thread panicked (a bug). Failed requests are records, not errors.
    pub async fn join(self) -> Result<LoadOutcome, LoadError> {
        let outcome = self.outcome.await.unwrap_or_else(|_sender_is_gone| {
            Err(LoadError::Panicked { message: "it ended without an outcome".to_owned() })
        });
        // The outcome is the last thing the thread sends, so this does not block for long; the
        // panic, if any, is already in the outcome.
        drop(self.thread.join());
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
    let (mut sender, outcome) = oneshot::channel();
    let counters = Arc::clone(&live);
    let thread = thread::Builder::new()
        .name("load".to_owned())
        .spawn(move || {
            let played = std::panic::catch_unwind(AssertUnwindSafe(|| {
                play(plan, sink, &cancel, &counters, &mut sender)
            }));
            let outcome = played.unwrap_or_else(|panic| {
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".to_owned());
                Err(LoadError::Panicked { message })
            });
            // Nobody waits any more: then nobody wants the outcome either.
            drop(sender.send(outcome));
        })
        .map_err(|source| LoadError::System { attempt: "start the load thread", source })?;
    Ok(LoadHandle { live, outcome, thread })
}

fn play(
    _plan: LoadPlan,
    _sink: impl FnMut(RequestRecord),
    _cancel: &Cancel,
    _live: &LiveCounters,
    _handle: &mut oneshot::Sender<Result<LoadOutcome, LoadError>>,
) -> Result<LoadOutcome, LoadError> {
    Err(LoadError::Plan { cause: "the engine is being built" })
}
