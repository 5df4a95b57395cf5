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
    let (sender, receiver) = watch::channel(Asked::default());
    (Canceller { sender }, Cancel { receiver })
}

/// What was asked for so far.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    reason: Option<StopReason>,
    at_once: bool,
}

/// The half that asks for the stop.
#[derive(Debug)]
pub struct Canceller {
    sender: watch::Sender<Asked>,
}

impl Canceller {
    /// Asks everybody to stop; the first reason stays.
    pub fn stop(&self, reason: StopReason) {
        self.sender.send_if_modified(|asked| {
            let first = asked.reason.is_none();
            asked.reason.get_or_insert(reason);
            first
        });
    }

    /// Asks whoever is stopping already not to be polite about it.
    pub fn hurry(&self) {
        self.sender.send_modify(|asked| asked.at_once = true);
    }
}

/// The half that rooms are handed. Works on any runtime and any thread.
#[derive(Debug, Clone)]
pub struct Cancel {
    receiver: watch::Receiver<Asked>,
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
        self.receiver.borrow().reason
    }

    /// Completes when a stop is asked for; never, if nobody can ask any more.
    pub async fn cancelled(&self) -> StopReason {
        let mut receiver = self.receiver.clone();
        // Copied out, since a borrowed value would tie the future to its thread.
        let asked =
            receiver.wait_for(|asked| asked.reason.is_some()).await.ok().map(|asked| *asked);
        match asked.and_then(|asked| asked.reason) {
            Some(reason) => reason,
            // The canceller is gone.
            None => std::future::pending().await,
        }
    }

    /// Completes when the stop is to be immediate; never, if nobody can ask any more.
    pub async fn hurried(&self) {
        let mut receiver = self.receiver.clone();
        if receiver.wait_for(|asked| asked.at_once).await.is_err() {
            std::future::pending().await
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

    #[tokio::test]
    async fn to_hurry_is_not_yet_to_stop() {
        let (canceller, cancel) = pair();
        canceller.hurry();
        cancel.hurried().await;
        assert_eq!(cancel.reason(), None);
    }
}
