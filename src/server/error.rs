//! Every way in which a server fails to be there, said in words.
//!
//! Main type: [`ServerError`]. It only words what others found out; the cause of an early death is
//! found by [`super::cause`].

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::cancel::StopReason;
use crate::exit::ExitCode;

use super::cause::Cause;
use super::ports::Stranger;

/// Why there is no healthy server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing was named and nothing was found.
    #[error(
        "no llama-server to start: --server was not given, LLAMA_SERVER_BIN_PATH is not set, and PATH has no llama-server"
    )]
    NoneFound,

    /// The named executable is not there.
    #[error("cannot start llama-server: no such file \"{}\"", path.display())]
    NoSuchFile {
        /// As it was asked for.
        path: PathBuf,
    },

    /// The executable is there and does not run.
    #[error("cannot start \"{}\": {why}", program.display())]
    CannotStart {
        /// What was started.
        program: PathBuf,
        /// The cause in words.
        why: String,
        /// What the operating system said; `None` where the file itself tells.
        #[source]
        source: Option<std::io::Error>,
    },

    /// A flag that the user asked for is not one of this build's.
    #[error("this llama-server{} does not know {flag}", in_parentheses(version.as_deref()))]
    UnknownFlag {
        /// Such as `--ubatch-size`.
        flag: String,
        /// Version text of the build, where it is known.
        version: Option<String>,
    },

    /// A combination of flags with which no run is possible.
    #[error("{problem}")]
    Misuse {
        /// What cannot be done.
        problem: String,
        /// What to do instead.
        cure: String,
    },

    /// Somebody else listens where our server should.
    #[error("port {port} on {host} is taken{}", by(stranger.as_ref()))]
    PortTaken {
        /// The address that our server was told.
        host: String,
        /// The port that our server was told.
        port: u16,
        /// Who it is, as far as that can be seen.
        stranger: Option<Stranger>,
    },

    /// The server ended before it was healthy.
    #[error(
        "llama-server {how} after {:.1} s, before it was healthy{}{}",
        after.as_secs_f64(), because(*cause), log_lines(lines)
    )]
    DiedEarly {
        /// Such as `exited with status 1` or `was killed by SIGSEGV`.
        how: String,
        /// From spawn to end.
        after: Duration,
        /// What its log says about it.
        cause: Cause,
        /// The telling lines of its log, oldest first.
        lines: Vec<String>,
        /// The whole log.
        log: PathBuf,
    },

    /// The server lived but was not healthy in time.
    #[error(
        "llama-server was not healthy within {} (--start-timeout): {last_seen}{}",
        seconds(*limit), log_lines(lines)
    )]
    NeverHealthy {
        /// The limit.
        limit: Duration,
        /// What was seen last, in words.
        last_seen: String,
        /// The last lines of its log, oldest first.
        lines: Vec<String>,
        /// The whole log.
        log: PathBuf,
    },

    /// A stop was asked for while the server was starting; it has been stopped.
    #[error("stopped while llama-server was starting")]
    Cancelled {
        /// Why.
        reason: StopReason,
    },

    /// The Unix socket of `--host` is there already.
    #[error("cannot listen on \"{}\": the file exists", path.display())]
    SocketTaken {
        /// Its path.
        path: PathBuf,
    },

    /// Nobody listens where `--url` points.
    #[error("no server answers at \"{base_url}\": {why}")]
    Unreachable {
        /// As it was given.
        base_url: String,
        /// What the connection came to.
        why: String,
        /// What to do about it, where that is known.
        cure: Option<&'static str>,
    },

    /// The log file cannot be written.
    #[error("cannot write the server's log \"{}\"", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },

    /// No free port could be had from the operating system.
    #[error("cannot get a free port on {host}")]
    NoFreePort {
        /// The address.
        host: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },

    /// The client for health checks cannot be made.
    #[error("cannot make an HTTP client for \"{base_url}\"")]
    Client {
        /// Where it should have gone.
        base_url: String,
        /// Why not.
        #[source]
        source: crate::scrape::http::HttpError,
    },
}

impl ServerError {
    /// What to do about it; printed on its own line.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            ServerError::NoneFound => Some(
                "get llama-server from a llama.cpp release, a package manager or your own build and pass --server PATH, \
                 or try --server sim, the simulator in this binary"
                    .to_owned(),
            ),
            ServerError::NoSuchFile { .. } => {
                Some("pass --server PATH, set LLAMA_SERVER_BIN_PATH, or try --server sim".to_owned())
            }
            ServerError::CannotStart { .. } => {
                Some("pass another --server PATH, or try --server sim".to_owned())
            }
            ServerError::UnknownFlag { flag, .. } => {
                Some(format!("leave {flag} out, or use a build whose --help lists it"))
            }
            ServerError::Misuse { cure, .. } => Some(cure.clone()),
            ServerError::PortTaken { .. } => {
                Some("stop that process, or leave --port out to get a free one".to_owned())
            }
            ServerError::SocketTaken { .. } => Some(
                "stop the server that listens there, or remove the file that one has left behind"
                    .to_owned(),
            ),
            ServerError::DiedEarly { cause, log, .. } => {
                Some(with_log(cause.cure(), log))
            }
            ServerError::NeverHealthy { log, .. } => {
                Some(with_log(Some("raise --start-timeout if the model needs longer to load"), log))
            }
            ServerError::Unreachable { cure, .. } => Some(cure.unwrap_or(
                "start that server first and wait until it is ready, or have bench-ci start one with --server PATH",
            ).to_owned()),
            ServerError::Log { .. } => Some("choose another --out-dir".to_owned()),
            ServerError::Cancelled { .. }
            | ServerError::NoFreePort { .. }
            | ServerError::Client { .. } => None,
        }
    }

    /// With which code bench-ci leaves.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ServerError::UnknownFlag { .. } | ServerError::Misuse { .. } => ExitCode::Usage,
            ServerError::Cancelled { reason: StopReason::Interrupted } => ExitCode::Interrupted,
            ServerError::Cancelled { reason: StopReason::Terminated } => ExitCode::Terminated,
            ServerError::Log { .. } => ExitCode::Tool,
            ServerError::NoneFound
            | ServerError::NoSuchFile { .. }
            | ServerError::CannotStart { .. }
            | ServerError::PortTaken { .. }
            | ServerError::SocketTaken { .. }
            | ServerError::DiedEarly { .. }
            | ServerError::NeverHealthy { .. }
            | ServerError::NoFreePort { .. }
            | ServerError::Unreachable { .. }
            | ServerError::Client { .. } => ExitCode::Server,
        }
    }
}

fn in_parentheses(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn by(stranger: Option<&Stranger>) -> String {
    stranger.map(|stranger| format!(" by {stranger}")).unwrap_or_default()
}

fn because(cause: Cause) -> String {
    cause.words().map(|words| format!(": {words}")).unwrap_or_default()
}

/// Six blanks align the lines with the text behind `error:`.
fn log_lines(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a String cannot fail.
        write!(text, "\n      log: {line}").expect("a String takes every write");
        text
    })
}

fn with_log(cure: Option<&str>, log: &std::path::Path) -> String {
    match cure {
        Some(cure) => format!("{cure}; full log in {}", log.display()),
        None => format!("full log in {}", log.display()),
    }
}

/// `600 s`, or `0.5 s` where a whole number would lie.
pub(super) fn seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
