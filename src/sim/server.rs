//! The simulator as a process and as a library: binds, serves, stops.
//!
//! Main types: [`Sim`], for whoever serves it on a thread of their own (tests, calibration), and
//! [`main`] and [`run`], the child process `bench-ci sim`.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::args::{CommandLineEnd, SimArgs};
use super::clock::{ms_to_ns, now_ns};
use super::connection;
use super::engine::{Engine, SharedEngine, drive};
use super::fault::FaultKind;
use super::listener::{Listener, Serving};
use super::pacer::Pacer;
use super::tls;
use super::truth::{TruthSummary, TruthWriter};
use crate::cancel::{Cancel, StopReason};

/// The runtime looks at the sockets after so many steps of tasks.
const STEPS_BETWEEN_POLLS: u32 = 16;

/// Why the simulator could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The host has no address.
    #[error("cannot listen on \"{host}\": not an address of this machine")]
    Host {
        /// As typed.
        host: String,
        /// Why; `None` where the name has no addresses.
        source: Option<std::io::Error>,
    },
    /// The port could not be bound.
    #[error("couldn't bind HTTP server socket, hostname: {}, port: {}", address.ip(), address.port())]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The Unix socket could not be bound.
    #[error("couldn't bind HTTP server socket, hostname: {}", path.display())]
    Socket {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Key or certificate could not be read.
    #[error("cannot use the key \"{}\" and the certificate \"{}\"", key.display(), certificate.display())]
    Tls {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificates.
        certificate: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The truth file could not be opened.
    #[error("cannot open truth file \"{}\"", path.display())]
    Truth {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The fault `die-at-start`.
    #[error("{message}")]
    Died {
        /// The fault's message.
        message: String,
    },
    /// The event loop could not be set up.
    #[error("cannot set up the event loop of the simulator")]
    Runtime {
        /// Why.
        source: std::io::Error,
    },
}

impl SimError {
    /// What to do; `None` where there is nothing to be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            SimError::Host { .. } => {
                Some("use an address of this machine, such as 127.0.0.1".to_owned())
            }
            SimError::Bind { .. } => {
                Some("another process has the port; --port 0 picks a free one".to_owned())
            }
            SimError::Socket { .. } => {
                Some("remove a file that a server has left there, or choose another".to_owned())
            }
            SimError::Tls { .. } => Some("both are files in PEM".to_owned()),
            SimError::Truth { .. } => Some("the folder must exist and be writable".to_owned()),
            SimError::Died { .. } => {
                Some("this was asked for with --sim-fault die-at-start".to_owned())
            }
            SimError::Runtime { .. } => None,
        }
    }
}

/// A simulator that listens but does not serve yet.
///
/// ```no_run
/// use bench_ci::{cancel, sim::{Sim, SimArgs}};
///
/// let args = SimArgs { port: 0, metrics: true, ..SimArgs::default() };
/// let (sim, address) = Sim::bind(args).expect("a free port");
/// let (canceller, cancel) = cancel::pair();
/// let serving = std::thread::spawn(move || sim.serve(cancel));
/// // … load http://{address} …
/// canceller.stop(cancel::StopReason::Interrupted);
/// let summary = serving.join().expect("no panic").expect("served");
/// # let _ = (address, summary);
/// ```
#[derive(Debug)]
pub struct Sim {
    args: SimArgs,
    listener: Listener,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Sim {
    /// Binds the port; connections made from now on are answered once [`Sim::serve`] runs.
    ///
    /// # Errors
    ///
    /// [`SimError::Host`], also for a Unix socket, [`SimError::Bind`] and [`SimError::Tls`].
    pub fn bind(args: SimArgs) -> Result<(Sim, SocketAddr), SimError> {
        let wanted = (args.host.as_str(), args.port)
            .to_socket_addrs()
            .map_err(|source| SimError::Host { host: args.host.clone(), source: Some(source) })?
            .next()
            .ok_or_else(|| SimError::Host { host: args.host.clone(), source: None })?;
        let tls = tls_config(&args)?;
        let (listener, address) =
            Listener::tcp(wanted).map_err(|source| SimError::Bind { address: wanted, source })?;
        Ok((Sim { args, listener, tls }, address))
    }

    /// Binds the port or the Unix socket, and says where, as a real server's log does.
    ///
    /// # Errors
    ///
    /// As [`Sim::bind`], and [`SimError::Socket`].
    pub fn listen(args: SimArgs) -> Result<(Sim, String), SimError> {
        if let Some(path) = args.socket() {
            let tls = tls_config(&args)?;
            let listener = Listener::unix(path)
                .map_err(|source| SimError::Socket { path: path.to_owned(), source })?;
            let place = format!("unix://{}", path.display());
            return Ok((Sim { args, listener, tls }, place));
        }
        let (sim, address) = Sim::bind(args)?;
        let scheme = if sim.tls.is_some() { "https" } else { "http" };
        Ok((sim, format!("{scheme}://{address}")))
    }

    /// Serves on this thread until `cancel`; the exact figures of what was sent.
    ///
    /// Requests in flight are cut. The fault `crash` aborts the whole process, so it is of no use
    /// here.
    ///
    /// # Errors
    ///
    /// [`SimError::Truth`] and [`SimError::Runtime`].
    pub fn serve(self, cancel: Cancel) -> Result<TruthSummary, SimError> {
        let Sim { args, listener, tls } = self;
        let truth = match &args.sim_truth {
            Some(path) => Some(
                TruthWriter::open(path)
                    .map_err(|source| SimError::Truth { path: path.clone(), source })?,
            ),
            None => None,
        };
        let failed = |source| SimError::Runtime { source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .event_interval(STEPS_BETWEEN_POLLS)
            .build()
            .map_err(failed)?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let pacer = Rc::new(Pacer::new().map_err(failed)?);
            let listener = listener.serve().map_err(failed)?;
            let engine: SharedEngine =
                Rc::new(RefCell::new(Engine::new(args, Rc::clone(&pacer), truth)));
            tokio::select! {
                _reason = cancel.cancelled() => {}
                () = drive(Rc::clone(&engine), pacer) => {}
                () = accept(&listener, tls, Rc::clone(&engine)) => {}
            }
            let summary = engine.borrow_mut().stop();
            Ok(summary)
        })
    }
}

/// A real server takes the one without the other for neither.
fn tls_config(args: &SimArgs) -> Result<Option<Arc<rustls::ServerConfig>>, SimError> {
    let (Some(key), Some(certificate)) = (&args.ssl_key_file, &args.ssl_cert_file) else {
        return Ok(None);
    };
    tls::config(key, certificate).map(Some).map_err(|source| SimError::Tls {
        key: key.clone(),
        certificate: certificate.clone(),
        source,
    })
}

async fn accept(
    listener: &Serving,
    config: Option<Arc<rustls::ServerConfig>>,
    engine: SharedEngine,
) {
    loop {
        let accepted = listener.accept().await.and_then(|socket| {
            let session = config.as_ref().map(tls::Session::new).transpose()?;
            Ok((socket, session))
        });
        match accepted {
            Ok((socket, session)) => {
                let serving = connection::serve(socket, session, Rc::clone(&engine));
                tokio::task::spawn_local(serving);
            }
            // Out of file descriptors, or the client went away: others may still be served.
            Err(_refused) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// `bench-ci sim ARGUMENTS…` as a process: what follows `sim`, to the exit code. Blocks.
///
/// Usage and errors are printed as a real llama-server prints them.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> u8 {
    let args = match SimArgs::from_command_line(arguments) {
        Ok(args) => args,
        Err(CommandLineEnd::Help(text)) => {
            // A closed pipe (`--help | head`) is no error.
            drop(std::io::stdout().write_all(text.as_bytes()));
            return 0;
        }
        Err(CommandLineEnd::Version(text)) => {
            drop(std::io::stderr().write_all(text.as_bytes()));
            return 0;
        }
        Err(CommandLineEnd::Bad(text)) => {
            drop(std::io::stderr().write_all(text.as_bytes()));
            return 1;
        }
    };
    u8::from(run(args).is_err())
}

/// Runs the simulator as this process until SIGINT or SIGTERM. Logs to stderr, like a real server.
///
/// # Errors
///
/// [`SimError`]; it has been logged already.
pub fn run(args: SimArgs) -> Result<(), SimError> {
    let log = Log { quiet: args.log_disable, began_ns: now_ns() };
    let faults = args.process_faults();
    if let Some(ms) = faults.number(FaultKind::ListenLate, 0.0) {
        std::thread::sleep(Duration::from_nanos(ms_to_ns(ms)));
    }
    raise_file_limit();
    log.line('I', "srv  llama_server: initializing ...");
    let (sim, place) = match Sim::listen(args.clone()) {
        Ok(bound) => bound,
        Err(error) => {
            log.line('E', &format!("srv  llama_server: {error}"));
            log.line('E', "srv  llama_server: exiting due to HTTP server error");
            return Err(error);
        }
    };
    log.line('I', &format!("srv    load_model: loading model '{}'", args.model_name()));
    if let Some(fault) = faults.find(FaultKind::DieAtStart) {
        let message = fault.text.clone().unwrap_or_else(|| "simulated failure".to_owned());
        log.line('E', &format!("srv    load_model: {message}"));
        log.line('E', &format!("srv    load_model: failed to load model, '{}'", args.model_name()));
        log.line('E', "srv  llama_server: exiting due to model loading error");
        return Err(SimError::Died { message });
    }
    // From here on a signal is a stop; before, it ends the process as it ends any other.
    let (canceller, cancel) = crate::cancel::pair();
    let signals = watch_signals(canceller, faults.has(FaultKind::RefuseStop))?;
    log.always(&format!("main: server is listening on {place}"));
    log.line(
        'I',
        &format!(
            "srv    load_model: initializing, n_slots = {}, n_ctx_slot = {}, kv_unified = '{}'",
            args.slot_count(),
            args.slot_context(),
            args.parallel <= 0,
        ),
    );
    log.line(
        'I',
        "srv  llama_server: this is bench-ci sim: no model is loaded and nothing is computed",
    );
    let served = sim.serve(cancel);
    log.line('I', "srv  llama_server: cleaning up before exit...");
    // The thread sleeps in the kernel until a signal; the process ends without it.
    drop(signals);
    served.map(|_summary| ())
}

/// A thread that turns SIGINT and SIGTERM into a stop, or swallows them.
fn watch_signals(
    canceller: crate::cancel::Canceller,
    refuses_stop: bool,
) -> Result<std::thread::JoinHandle<()>, SimError> {
    use tokio::signal::unix::{SignalKind, signal};

    let failed = |source| SimError::Runtime { source };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let (mut interrupted, mut terminated) = {
        let _entered = runtime.enter();
        (
            signal(SignalKind::interrupt()).map_err(failed)?,
            signal(SignalKind::terminate()).map_err(failed)?,
        )
    };
    std::thread::Builder::new()
        .name("sim-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    let reason = tokio::select! {
                        _ = interrupted.recv() => StopReason::Interrupted,
                        _ = terminated.recv() => StopReason::Terminated,
                    };
                    if !refuses_stop {
                        canceller.stop(reason);
                    }
                }
            });
        })
        .map_err(failed)
}

/// A crowd needs a descriptor each, and the usual soft limit is 1,024.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    // Refused: then fewer connections fit, and `accept` lets the others wait.
    getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_soft, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
        .unwrap_or_default();
}

/// Log lines in the layout of a real server.
struct Log {
    quiet: bool,
    began_ns: u64,
}

impl Log {
    fn line(&self, level: char, text: &str) {
        if self.quiet {
            return;
        }
        let us = now_ns().saturating_sub(self.began_ns) / 1_000;
        let (minutes, seconds) = (us / 60_000_000, us / 1_000_000 % 60);
        let (millis, micros) = (us / 1_000 % 1_000, us % 1_000);
        self.always(&format!("{minutes}.{seconds:02}.{millis:03}.{micros:03} {level} {text}"));
    }

    fn always(&self, text: &str) {
        // Nobody reads the log: the simulator goes on, as a real server does.
        drop(writeln!(std::io::stderr(), "{text}"));
    }
}
