//! One way to stop early: a flag that every room can await.
//!
//! Main types: [`Cancel`], the receiving half that rooms are handed, and [`Canceller`], the half
//! that the signal handler (or a test) keeps. It does not know what is being stopped.

use tokio::sync::watch;

/// Why a run is being stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT: Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP: a cancelled job, a closed terminal.
    Terminated,
}

/// Makes a connected pair.
#[must_use]
pub fn pair() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller { sender }, Cancel { receiver })
}

/// The half that asks for the stop.
#[derive(Debug)]
pub struct Canceller {
    sender: watch::Sender<Option<StopReason>>,
}

impl Canceller {
    /// Asks everybody to stop; the first reason stays.
    pub fn stop(&self, reason: StopReason) {
        self.sender.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(reason);
            }
            first
        });
    }
}

/// The half that rooms are handed. Works on any runtime and any thread.
#[derive(Debug, Clone)]
pub struct Cancel {
    receiver: watch::Receiver<Option<StopReason>>,
}

impl Cancel {
    /// One that never stops anybody, for callers without signals.
    #[must_use]
    pub fn never() -> Self {
        pair().1
    }

    /// The reason, if a stop was asked for.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        *self.receiver.borrow()
    }

    /// Completes when a stop is asked for; never, if nobody can ask any more.
    pub async fn cancelled(&self) -> StopReason {
        let mut receiver = self.receiver.clone();
        // Copied out, since a borrowed value would tie the future to its thread.
        let reason = receiver.wait_for(Option::is_some).await.ok().and_then(|reason| *reason);
        match reason {
            Some(reason) => reason,
            // The canceller is gone.
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays() {
        let (canceller, cancel) = pair();
        assert_eq!(cancel.reason(), None);
        canceller.stop(StopReason::Terminated);
        canceller.stop(StopReason::Interrupted);
        assert_eq!(cancel.cancelled().await, StopReason::Terminated);
    }
}
