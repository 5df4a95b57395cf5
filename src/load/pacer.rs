//! Waiting for an exact instant.
//!
//! Main type: [`Pacer`]. One absolute timerfd serves every user of the thread: tokio's own timer
//! rounds up to whole milliseconds (p99 of its lateness is 2 ms and more), a timerfd is served
//! within some 50 µs.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::record::Stamp;
use super::stamp::now;

/// Wakes tasks of this thread at absolute instants.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: platform::Timer,
    /// Earliest first; the number makes the order total.
    queue: RefCell<BinaryHeap<Reverse<Entry>>>,
    next_number: Cell<u64>,
    armed_for: Cell<Stamp>,
}

const NEVER: Stamp = Stamp(u64::MAX);

#[derive(Debug)]
struct Entry {
    at: Stamp,
    number: u64,
    waker: Rc<RefCell<Option<Waker>>>,
}

impl Pacer {
    /// Must be called inside the runtime whose tasks it wakes.
    pub(super) fn new() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            timer: platform::Timer::new()?,
            queue: RefCell::new(BinaryHeap::new()),
            next_number: Cell::new(0),
            armed_for: Cell::new(NEVER),
        }))
    }

    /// Completes at `at`, never before; at once if that is past.
    pub(super) fn until(self: &Rc<Self>, at: Stamp) -> Until {
        Until { pacer: Rc::clone(self), at, waker: None }
    }

    /// Serves the timer; runs as a task of its own until it is dropped.
    ///
    /// # Errors
    ///
    /// The system refused to set or read the timer.
    pub(super) async fn serve(&self) -> io::Result<()> {
        loop {
            self.timer.expired().await?;
            self.armed_for.set(NEVER);
            let now = now();
            loop {
                let mut queue = self.queue.borrow_mut();
                match queue.peek() {
                    Some(Reverse(entry)) if entry.at <= now => {
                        let entry = queue.pop().map(|Reverse(entry)| entry);
                        drop(queue);
                        if let Some(waker) = entry.and_then(|entry| entry.waker.borrow_mut().take())
                        {
                            waker.wake();
                        }
                    }
                    Some(Reverse(entry)) => {
                        let at = entry.at;
                        drop(queue);
                        self.arm(at)?;
                        break;
                    }
                    None => break,
                }
            }
        }
    }

    fn enqueue(&self, at: Stamp, waker: Waker) -> io::Result<Rc<RefCell<Option<Waker>>>> {
        let waker = Rc::new(RefCell::new(Some(waker)));
        let number = self.next_number.replace(self.next_number.get() + 1);
        self.queue.borrow_mut().push(Reverse(Entry { at, number, waker: Rc::clone(&waker) }));
        if at < self.armed_for.get() {
            self.arm(at)?;
        }
        Ok(waker)
    }

    fn arm(&self, at: Stamp) -> io::Result<()> {
        self.timer.set(at)?;
        self.armed_for.set(at);
        Ok(())
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The future of [`Pacer::until`]. Dropping it forgets the instant.
#[derive(Debug)]
pub(super) struct Until {
    pacer: Rc<Pacer>,
    at: Stamp,
    waker: Option<Rc<RefCell<Option<Waker>>>>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if now() >= self.at {
            return Poll::Ready(());
        }
        if let Some(shared) = &self.waker {
            *shared.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        match self.pacer.enqueue(self.at, context.waker().clone()) {
            Ok(waker) => {
                self.waker = Some(waker);
                Poll::Pending
            }
            // Setting a valid timer cannot fail; waiting for ever would be worse than being early.
            Err(_) => Poll::Ready(()),
        }
    }
}

impl Drop for Until {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            waker.borrow_mut().take();
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, RawFd};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::Stamp;

    #[derive(Debug)]
    pub(super) struct Timer(AsyncFd<Fd>);

    #[derive(Debug)]
    struct Fd(TimerFd);

    impl AsRawFd for Fd {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            #[expect(unsafe_code, reason = "tokio has no safe way to register a descriptor")]
            // SAFETY: `Fd` owns its descriptor, always returns the same one, and closes it only
            // when it is dropped, which `AsyncFd` does after it has deregistered.
            let timer = unsafe { AsyncFd::register_with_interest(Fd(timer), Interest::READABLE) };
            Ok(Self(timer.map_err(io::Error::from)?))
        }

        pub(super) fn set(&self, at: Stamp) -> io::Result<()> {
            // Zero would switch the timer off; an instant beyond i64 seconds does not exist.
            let nanos = at.0.max(1);
            let time = TimeSpec::new(
                i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
                (nanos % 1_000_000_000) as i64,
            );
            let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
            self.0.get_ref().0.set(Expiration::OneShot(time), flags)?;
            Ok(())
        }

        pub(super) async fn expired(&self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                match ready.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                    Ok(result) => return result,
                    Err(_was_set_anew) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::cell::Cell;
    use std::io;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::{NEVER, Stamp, now};

    /// tokio's timer, of one millisecond grain: dispatch lateness in the report says what it costs.
    #[derive(Debug)]
    pub(super) struct Timer {
        at: Cell<Stamp>,
        changed: Notify,
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { at: Cell::new(NEVER), changed: Notify::new() })
        }

        pub(super) fn set(&self, at: Stamp) -> io::Result<()> {
            self.at.set(at);
            self.changed.notify_one();
            Ok(())
        }

        pub(super) async fn expired(&self) -> io::Result<()> {
            loop {
                let left = self.at.get().since(now()).min(Duration::from_secs(3600));
                tokio::select! {
                    () = tokio::time::sleep(left) => {
                        if self.at.get() <= now() {
                            self.at.set(NEVER);
                            return Ok(());
                        }
                    }
                    () = self.changed.notified() => {}
                }
            }
        }
    }
}
