//! Asks a small program one question, for a bounded time.
//!
//! Main function: [`ask`]. It is for what only a vendor's tool knows; nothing that is measured.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where `program` lies on a `PATH`; `None` where it is on none.
pub(super) fn on_path(path: Option<&OsStr>, program: &str) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Answers longer than this are cut: nothing that is asked for here has one.
const LONGEST_ANSWER_BYTES: u64 = 64 * 1024;

/// What the program writes to stdout, if it ends well within `limit`; else why not.
///
/// A program that hangs is killed and left to a thread of its own to be reaped, because a driver
/// that is stuck can hold it beyond any kill.
pub(super) fn ask(program: &Path, arguments: &[&str], limit: Duration) -> Result<String, String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answer = Vec::new();
        let outcome =
            stdout.take(LONGEST_ANSWER_BYTES).read_to_end(&mut answer).map(|_bytes| answer);
        // Nobody listens any more where the limit has passed.
        drop(sender.send(outcome));
    });
    match receiver.recv_timeout(limit) {
        Ok(outcome) => {
            let status =
                child.wait().map_err(|error| format!("{name} cannot be waited for: {error}"))?;
            let answer = outcome.map_err(|error| format!("cannot read from {name}: {error}"))?;
            if status.success() {
                Ok(String::from_utf8_lossy(&answer).into_owned())
            } else {
                Err(format!("{name} failed: {status}"))
            }
        }
        Err(_too_late) => {
            // It may have ended this moment; then there is nothing to kill.
            drop(child.kill());
            std::thread::spawn(move || drop(child.wait()));
            Err(format!("{name} did not answer within {} s", limit.as_secs_f64()))
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_given_up() {
        let shell =
            on_path(Some(OsStr::new("/nowhere:/bin:/usr/bin")), "sh").expect("there is a shell");
        let limit = Duration::from_millis(50);
        let error = ask(&shell, &["-c", "exec sleep 600"], limit).expect_err("it hangs");
        assert_eq!(error, "sh did not answer within 0.05 s");
        let limit = Duration::from_secs(60);
        assert_eq!(ask(&shell, &["-c", "echo one"], limit), Ok("one\n".to_owned()));
        let error = ask(&shell, &["-c", "exit 9"], limit).expect_err("it fails");
        assert!(error.starts_with("sh failed: ") && error.ends_with('9'), "{error}");
    }

    #[test]
    fn a_program_on_no_path_is_not_found() {
        assert_eq!(on_path(None, "sh"), None);
        assert_eq!(on_path(Some(OsStr::new("/nowhere")), "sh"), None);
    }
}
