//! What watching costs: processor time of threads, and of tasks on them.
//!
//! Main function: [`timed`].

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Processor time of this thread so far; zero where the system does not say.
pub(super) fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Plays a task, and adds the processor time of its own steps to `spent`. What it waits for, and
/// other tasks of the same thread, are not in it.
pub(super) async fn timed<T>(task: impl Future<Output = T>, spent: &mut Duration) -> T {
    let mut task = pin!(task);
    std::future::poll_fn(|context| {
        let before = thread_cpu();
        let polled: Poll<T> = task.as_mut().poll(context);
        *spent += thread_cpu().saturating_sub(before);
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_counted_and_waiting_is_not() {
        let mut waiting = Duration::ZERO;
        timed(tokio::time::sleep(Duration::from_millis(200)), &mut waiting).await;
        let mut working = Duration::ZERO;
        let goal = Duration::from_millis(50);
        timed(
            async {
                let began = thread_cpu();
                while thread_cpu() - began < goal {
                    std::hint::spin_loop();
                }
            },
            &mut working,
        )
        .await;
        assert!(working >= goal && waiting < goal, "{waiting:?}, {working:?}");
    }
}
