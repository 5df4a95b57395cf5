//! Turns SIGINT, SIGTERM and SIGHUP into a request to stop; a second one into haste.
//!
//! Main function: [`watch`]. Whoever stops early still writes what was measured. The second signal
//! kills the server instead of waiting for it; what is not done a second later, and whatever a
//! third signal finds, is left undone. A CI system that cancels a job gives about ten seconds
//! between its first signal and SIGKILL, so that even then there is a report. The server survives
//! none of this: its watchdog is waited for.

use std::time::Duration;

use nix::libc;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cancel::{Canceller, StopReason};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::server::Guard;

/// After the second signal. Killing a server and writing the reports takes a tenth of it.
const LAST_MOMENTS: Duration = Duration::from_secs(1);

/// Watches for signals until the process ends, on a thread of its own: a run that is busy or stuck
/// must be stoppable too.
///
/// # Errors
/// The operating system refuses to register the handlers or to start the thread.
pub fn watch(canceller: Canceller) -> Result<(), Error> {
    let failed = |source| Error::System { attempt: "watch for signals", source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let signals = {
        let _inside = runtime.enter();
        Signals::register().map_err(failed)?
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(obey(signals, &canceller)))
        .map_err(failed)?;
    Ok(())
}

async fn obey(mut signals: Signals, canceller: &Canceller) {
    let reason = signals.next().await;
    canceller.stop(reason);
    signals.next().await;
    canceller.hurry();
    let code = i32::from(ExitCode::from(reason).code());
    tokio::select! {
        _ = signals.next() => {}
        () = tokio::time::sleep(LAST_MOMENTS) => {}
    }
    Guard::kill_all();
    std::process::exit(code);
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where whoever started us wants it ignored, as `nohup` does.
    hang_up: Option<Signal>,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if hang_up_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) -> StopReason {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => StopReason::Interrupted,
            _ = self.terminate.recv() => StopReason::Terminated,
            _ = hang_up => StopReason::Terminated,
        }
    }
}

fn hang_up_is_ignored() -> bool {
    #[expect(unsafe_code, reason = "nix cannot ask for a signal's action without changing it")]
    // SAFETY: `sigaction` is plain memory, and with no new action the call only writes into it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
