//! Turns SIGINT, SIGTERM and SIGHUP into a request to stop; a second one leaves at once.
//!
//! Main function: [`watch`]. Whoever stops early still writes what was measured; the second signal
//! is for a user who does not want to wait for that. The server never survives either: its
//! watchdog kills it when we are gone.

use tokio::signal::unix::{SignalKind, signal};

use crate::cancel::{Canceller, StopReason};
use crate::error::Error;
use crate::exit::ExitCode;

/// Watches for signals on the current runtime until the runtime ends.
///
/// # Errors
/// The operating system refuses to register the handlers.
pub fn watch(canceller: Canceller) -> Result<(), Error> {
    let register = |kind| {
        signal(kind).map_err(|source| Error::System { attempt: "watch for signals", source })
    };
    let mut interrupt = register(SignalKind::interrupt())?;
    let mut terminate = register(SignalKind::terminate())?;
    let mut hang_up = register(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let reason = tokio::select! {
                _ = interrupt.recv() => StopReason::Interrupted,
                _ = terminate.recv() => StopReason::Terminated,
                _ = hang_up.recv() => StopReason::Terminated,
            };
            if asked {
                std::process::exit(i32::from(ExitCode::from(reason).code()));
            }
            asked = true;
            canceller.stop(reason);
        }
    });
    Ok(())
}
