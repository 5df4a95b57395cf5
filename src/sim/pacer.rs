//! Wakes the engine at absolute instants of `CLOCK_MONOTONIC`.
//!
//! Main type: [`Pacer`]. On Linux a timerfd, which wakes within tens of microseconds; tokio's own
//! timer has a grain of one millisecond and is only the fallback of other systems.

#[cfg(target_os = "linux")]
pub(super) use linux::Pacer;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Pacer;

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// The alarm clock of the engine.
    pub(in crate::sim) struct Pacer {
        timer: AsyncFd<Timer>,
        armed_ns: Cell<u64>,
    }

    struct Timer(TimerFd);

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    #[expect(unsafe_code, reason = "tokio has no safe way to wait for a timerfd")]
    fn register(timer: Timer) -> std::io::Result<AsyncFd<Timer>> {
        // SAFETY: `Timer` owns its descriptor, is never given another one, and is dropped only
        // with the `AsyncFd` that it moves into.
        let registered = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(registered?)
    }

    impl Pacer {
        /// A pacer that is not armed; needs a running tokio runtime.
        pub(in crate::sim) fn new() -> std::io::Result<Pacer> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            Ok(Pacer { timer: register(Timer(timer))?, armed_ns: Cell::new(u64::MAX) })
        }

        /// Wakes [`Pacer::tick`] at `due_ns`, unless it is to be woken earlier already. An instant
        /// that is past wakes it at once.
        pub(in crate::sim) fn arm(&self, due_ns: u64) {
            if due_ns >= self.armed_ns.get() {
                return;
            }
            // An absolute 0 would switch the timer off.
            let due = TimeSpec::from_duration(Duration::from_nanos(due_ns.max(1)));
            let expiration = Expiration::OneShot(due);
            if self.timer.get_ref().0.set(expiration, TimerSetTimeFlags::TFD_TIMER_ABSTIME).is_ok()
            {
                self.armed_ns.set(due_ns);
            }
        }

        /// Waits for the armed instant.
        pub(in crate::sim) async fn tick(&self) {
            if let Ok(mut guard) = self.timer.readable().await {
                // A timer that was armed again after it had fired is not readable; then this is an
                // early wake-up, which the engine survives.
                match guard.try_io(|timer| timer.get_ref().0.wait().map_err(std::io::Error::from)) {
                    Ok(_fired) => self.armed_ns.set(u64::MAX),
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::cell::Cell;
    use std::time::Duration;

    use tokio::sync::Notify;

    use crate::sim::clock::now_ns;

    /// The alarm clock of the engine, with the grain of tokio's timer.
    pub(in crate::sim) struct Pacer {
        armed_ns: Cell<u64>,
        earlier: Notify,
    }

    impl Pacer {
        /// A pacer that is not armed.
        pub(in crate::sim) fn new() -> std::io::Result<Pacer> {
            Ok(Pacer { armed_ns: Cell::new(u64::MAX), earlier: Notify::new() })
        }

        /// Wakes [`Pacer::tick`] at `due_ns`, unless it is to be woken earlier already.
        pub(in crate::sim) fn arm(&self, due_ns: u64) {
            if due_ns < self.armed_ns.get() {
                self.armed_ns.set(due_ns);
                self.earlier.notify_one();
            }
        }

        /// Waits for the armed instant.
        pub(in crate::sim) async fn tick(&self) {
            loop {
                let due = self.armed_ns.get();
                let left =
                    Duration::from_nanos(due.saturating_sub(now_ns()).min(3_600_000_000_000));
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    () = self.earlier.notified() => continue,
                }
                if due != u64::MAX && due <= now_ns() {
                    self.armed_ns.set(u64::MAX);
                    return;
                }
            }
        }
    }
}
