//! Stopping a user from outside: at a limit of its request, or because the run is over.
//!
//! Main type: [`Leash`], one per user, swept by a watchdog every few milliseconds. Limits of
//! seconds need no timer of their own: moving a timer on every event would cost more than reading
//! the event.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use super::record::Stamp;

pub(super) const NEVER: Stamp = Stamp(u64::MAX);

/// Why a user was pulled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pulled {
    /// The deadline passed.
    Deadline,
    /// The run is over, or the time that this request was given.
    Stop,
}

/// What holds one user.
#[derive(Debug)]
pub(super) struct Leash {
    deadline: Cell<Stamp>,
    expired: Cell<bool>,
    stopped: Cell<bool>,
    /// When the request in flight is cut.
    cut_at: Cell<Stamp>,
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Leash {
    fn default() -> Self {
        Self {
            deadline: Cell::new(NEVER),
            expired: Cell::new(false),
            stopped: Cell::new(false),
            cut_at: Cell::new(NEVER),
            cut: Cell::new(false),
            waker: RefCell::new(None),
        }
    }
}

impl Leash {
    /// Sets or moves the deadline; one that had passed is forgotten.
    pub(super) fn arm(&self, deadline: Stamp) {
        self.deadline.set(deadline);
        self.expired.set(false);
    }

    pub(super) fn disarm(&self) {
        self.arm(NEVER);
    }

    /// From here on stops the user at `instant`, until that is set anew: the end of the time that a
    /// request may take after its phase, or its user's part in a ramp, is over.
    pub(super) fn cut_at(&self, instant: Stamp) {
        self.cut_at.set(instant);
        self.cut.set(false);
    }

    /// Pulls for good.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        self.wake();
    }

    /// Called by the watchdog.
    pub(super) fn sweep(&self, now: Stamp) {
        if self.deadline.get() <= now && !self.expired.get() {
            self.expired.set(true);
            self.wake();
        }
        if self.cut_at.get() <= now && !self.cut.get() {
            self.cut.set(true);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Awaits `future` unless pulled. What is ready wins over a deadline: an answer that waited for
    /// a busy client is not late. A stop wins over what is ready: a stream that never pauses must
    /// end too.
    pub(super) async fn hold<T>(&self, future: impl Future<Output = T>) -> Result<T, Pulled> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if self.stopped.get() || self.cut.get() {
                return Poll::Ready(Err(Pulled::Stop));
            }
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if self.expired.get() {
                return Poll::Ready(Err(Pulled::Deadline));
            }
            let mut waker = self.waker.borrow_mut();
            match &mut *waker {
                Some(waker) if waker.will_wake(context.waker()) => {}
                waker => *waker = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_deadline_pulls_only_what_is_not_ready_and_a_stop_pulls_all() {
        let leash = Leash::default();
        leash.arm(Stamp(10));
        leash.sweep(Stamp(9));
        assert_eq!(leash.hold(ready(1)).await, Ok(1));
        leash.sweep(Stamp(10));
        assert_eq!(leash.hold(ready(1)).await, Ok(1));
        assert_eq!(leash.hold(pending::<()>()).await, Err(Pulled::Deadline));
        leash.cut_at(Stamp(11));
        leash.sweep(Stamp(10));
        assert_eq!(leash.hold(ready(1)).await, Ok(1));
        leash.sweep(Stamp(11));
        assert_eq!(leash.hold(ready(1)).await, Err(Pulled::Stop));
        leash.cut_at(NEVER);
        assert_eq!(leash.hold(ready(1)).await, Ok(1), "the next request is not cut");
        leash.arm(Stamp(20));
        leash.stop();
        assert_eq!(leash.hold(ready(1)).await, Err(Pulled::Stop));
    }
}
