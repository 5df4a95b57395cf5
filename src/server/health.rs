//! When a started server is ready: our child lives, owns its port, and says so on `/health`.
//!
//! Main function: [`wait_until_ready`]. All three are needed: a process that was on the port before
//! answers `/health` with 200 as well, while our own child is dying of the taken port. It stops
//! nobody; that is the caller's.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use crate::cancel::{Cancel, StopReason};
use crate::scrape::http::ControlPlane;

use super::ServerExit;
use super::command::ServerCommand;
use super::error::seconds;
use super::ports::{self, Owner, Stranger};
use super::process::Process;

/// How long one `/health` request may take. A server that loads a model answers at once; one that
/// does not answer at all is asked again.
const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// The longest pause between two looks.
const MOST_PAUSE: Duration = Duration::from_millis(50);

/// A server that is ready.
#[derive(Debug)]
pub(super) struct Ready {
    /// From spawn to the port being ours; `None` where the system does not say.
    pub(super) listening: Option<Duration>,
    /// From spawn to `/health` saying 200.
    pub(super) healthy: Duration,
    /// The system confirmed that the port is our child's.
    pub(super) owned: bool,
}

/// Why it is not.
#[derive(Debug)]
pub(super) enum Unready {
    /// The child has ended.
    Died(ServerExit),
    /// The port is somebody else's.
    PortTaken(Stranger),
    /// The limit is reached.
    TooLate {
        /// What was seen last, in words.
        last_seen: String,
    },
    /// A stop was asked for.
    Cancelled(StopReason),
}

/// Waits until the server is ready, or will not be.
pub(super) async fn wait_until_ready(
    process: &mut Process,
    command: &ServerCommand,
    control: &ControlPlane,
    limit: Duration,
    cancel: &Cancel,
) -> Result<Ready, Unready> {
    let address = match &command.socket {
        Some(path) => path.display().to_string(),
        None => format!("{}:{}", command.listen_host, command.port),
    };
    let last_seen = RefCell::new(format!("nothing listened on {address}"));
    let deadline = Instant::from_std(process.spawned) + limit;
    let pid = process.pid;
    let watch = Watch { pid, spawned: process.spawned, command, control, last_seen: &last_seen };
    tokio::select! {
        // In this order: a death explains everything else.
        biased;
        exit = process.wait() => Err(Unready::Died(exit)),
        reason = cancel.cancelled() => Err(Unready::Cancelled(reason)),
        () = tokio::time::sleep_until(deadline) => {
            let mut last_seen = last_seen.into_inner();
            let elsewhere = ports::ports_of(pid);
            if !elsewhere.is_empty() && !elsewhere.contains(&command.port) {
                let ports: Vec<String> = elsewhere.iter().map(u16::to_string).collect();
                last_seen.push_str(&format!("; it listens on port {} instead", ports.join(", ")));
            }
            Err(Unready::TooLate { last_seen })
        }
        result = watch.run() => result,
    }
}

struct Watch<'a> {
    pid: i32,
    spawned: std::time::Instant,
    command: &'a ServerCommand,
    control: &'a ControlPlane,
    last_seen: &'a RefCell<String>,
}

impl Watch<'_> {
    async fn run(&self) -> Result<Ready, Unready> {
        let mut listening = None;
        let mut strangers = 0;
        loop {
            let looked = std::time::Instant::now();
            match self.owner(listening.is_some()) {
                Owner::Nobody => {}
                Owner::Stranger(stranger) => {
                    // Twice, since a process can be between two states when it is looked at.
                    strangers += 1;
                    if strangers > 1 {
                        return Err(Unready::PortTaken(stranger));
                    }
                }
                owner @ (Owner::Ours | Owner::Unknown) => {
                    let owned = owner == Owner::Ours;
                    if owned && listening.is_none() {
                        listening = Some(self.spawned.elapsed());
                    }
                    if self.is_healthy().await {
                        let healthy = self.spawned.elapsed();
                        // The answer may have been a stranger's who shares the port.
                        match self.owner(false) {
                            Owner::Stranger(stranger) => {
                                return Err(Unready::PortTaken(stranger));
                            }
                            Owner::Nobody if owned => {}
                            _ => return Ok(Ready { listening, healthy, owned }),
                        }
                    }
                }
            }
            // Where looking is slow, do not spend the server's CPU on it.
            let pause = pause(self.spawned.elapsed()).max(looked.elapsed() * 3);
            tokio::time::sleep(pause.min(MOST_PAUSE)).await;
        }
    }

    /// `seen_before`: the port was ours a moment ago, and stays so while the child lives.
    fn owner(&self, seen_before: bool) -> Owner {
        let (host, port) = (self.command.listen_host.as_str(), self.command.port);
        if seen_before {
            return Owner::Ours;
        }
        if let Some(path) = &self.command.socket {
            return ports::owner_of_socket(path, self.pid);
        }
        match ports::anybody_listens(host, port) {
            None => Owner::Unknown,
            Some(false) => Owner::Nobody,
            Some(true) => ports::owner_of(host, port, Some(self.pid)),
        }
    }

    async fn is_healthy(&self) -> bool {
        let seen = match self.control.get("/health", REQUEST_LIMIT).await {
            Ok(answer) if answer.status == 200 && says_ok(&answer.text()) => return true,
            Ok(answer) => match answer.error_message() {
                Some(message) => format!("/health answered {} (\"{message}\")", answer.status),
                None => format!("/health answered {}", answer.status),
            },
            Err(error) if error.is_timeout() => {
                format!("/health gave no answer within {}", seconds(REQUEST_LIMIT))
            }
            Err(error) => format!("/health could not be asked: {error}"),
        };
        self.last_seen.replace(seen);
        false
    }
}

/// A 200 counts unless the body is JSON with a status other than `ok` (servers of other makers
/// answer with an empty body).
fn says_ok(body: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(value) => {
            value.get("status").and_then(|status| status.as_str()).is_none_or(|s| s == "ok")
        }
        Err(_) => true,
    }
}

/// Fast at first, so that a small model's start is not measured in our pauses; then slower, so that
/// a long load is not disturbed by our questions.
fn pause(since_spawn: Duration) -> Duration {
    match since_spawn.as_millis() {
        0..250 => Duration::from_millis(1),
        250..2000 => Duration::from_millis(5),
        2000..10_000 => Duration::from_millis(20),
        _ => MOST_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_status_other_than_ok_speaks_against_a_200() {
        assert!(says_ok(r#"{"status":"ok"}"#));
        assert!(says_ok(""));
        assert!(says_ok("OK"));
        assert!(says_ok("{}"));
        assert!(!says_ok(r#"{"status":"loading model"}"#));
    }
}
