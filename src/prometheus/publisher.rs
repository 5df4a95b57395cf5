//! Tells our own metrics while a run lasts: a thread of its own that serves and pushes them.
//!
//! Main type: [`Publisher`]. It hears of the run as a listener of its events, so that no room knows of
//! it. A push that fails is noted, and told once the run is over; a page that cannot be served is told
//! before anything begins.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::board::Board;
use super::family::{Family, Label};
use super::push::{LIMIT, PushFailure, Pusher, State};
use super::serve::{self, Page};
use crate::cancel::Cancel;
use crate::event::{Event, Events, Listener};
use crate::exit::ExitCode;
use crate::load::{LiveCounters, RequestRecord};
use crate::plan::{PrometheusSpec, Tags};

/// How often the last state is sent if sending fails for a reason that may pass.
const LAST_ATTEMPTS: u32 = 3;

/// Doubled after each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Of the last push once a stop was asked for: nobody should wait long then.
const LIMIT_WHEN_STOPPED: Duration = Duration::from_secs(2);

/// All that the last pushes may take together.
const LIMIT_OF_ALL: Duration = Duration::from_secs(20);

/// Our own metrics cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PrometheusError {
    /// The address of `--serve-metrics` cannot be had.
    #[error("cannot serve metrics at \"{address}\"")]
    Bind {
        /// As it was asked for.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// No client can be made.
    #[error("cannot make a client that pushes metrics: {why}")]
    Client {
        /// Why.
        why: String,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that publishes metrics")]
    Thread(#[source] std::io::Error),
}

impl PrometheusError {
    /// What the process leaves with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            PrometheusError::Bind { .. } => ExitCode::Usage,
            PrometheusError::Client { .. } | PrometheusError::Thread(_) => ExitCode::Tool,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let PrometheusError::Bind { source, .. } = self else { return None };
        Some(
            match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another process listens there: choose another port with --serve-metrics, or 0 for a free one"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: 127.0.0.1 is reached from here, 0.0.0.0 from everywhere"
                }
                std::io::ErrorKind::PermissionDenied => "ports below 1024 are for root: choose another",
                _ => "choose another address with --serve-metrics, such as 127.0.0.1:0",
            }
            .to_owned(),
        )
    }
}

/// What the metrics are tagged with.
#[derive(Debug, Clone)]
pub struct About {
    /// The tags of the run.
    pub tags: Tags,
    /// The scenario's name, or the suite's.
    pub scenario: String,
}

impl About {
    /// The labels of the metric that tells them; what is not known is not there.
    fn labels(&self) -> Vec<Label> {
        let Tags { name, runner_label, branch, commit, dirty: _ } = &self.tags;
        let all = [
            ("name", Some(name)),
            ("scenario", Some(&self.scenario)),
            ("runner_label", runner_label.as_ref()),
            ("branch", branch.as_ref()),
            ("commit", commit.as_ref()),
            ("version", Some(&env!("CARGO_PKG_VERSION").to_owned())),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
            .collect()
    }
}

/// Tells our own metrics until it is dropped.
#[derive(Debug)]
pub struct Publisher {
    listener: Arc<Ear>,
    served: Option<SocketAddr>,
    orders: Option<mpsc::UnboundedSender<Settle>>,
    thread: Option<JoinHandle<()>>,
}

/// The order to push the last state; answered with what could not be told.
#[derive(Debug)]
struct Settle {
    cancel: Cancel,
    reply: oneshot::Sender<Settled>,
}

/// How publishing went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// What a reader should know, one sentence a destination.
    pub warnings: Vec<String>,
    /// Whether the last state did not get where it was asked to go.
    pub failed: bool,
}

/// What hears of the run.
#[derive(Debug)]
struct Ear(Mutex<Board>);

impl Ear {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Counts are whole after each step, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn families(&self) -> Vec<Family> {
        self.board().families()
    }
}

impl Listener for Ear {
    fn on_event(&self, _event: &Event) {}

    fn on_load(&self, live: &Arc<LiveCounters>, users: u32) {
        self.board().begin(Arc::clone(live), users);
    }

    fn on_record(&self, record: &RequestRecord) {
        self.board().add(record);
    }
}

impl Publisher {
    /// Begins to serve and to push, as far as the plan asks for it; `None` if it asks for neither.
    ///
    /// # Errors
    /// If the address cannot be had, or the thread not started. Whether anybody takes what is pushed is
    /// told later.
    pub fn begin(spec: &PrometheusSpec, about: &About) -> Result<Option<Self>, PrometheusError> {
        if !spec.publishes() {
            return Ok(None);
        }
        let listener = Arc::new(Ear(Mutex::new(Board::new(spec.names, about.labels()))));
        let socket = spec.serve.as_deref().map(bind).transpose()?;
        let served = socket.as_ref().and_then(|socket| socket.local_addr().ok());
        let pushers = pushers(spec, about).map_err(|why| PrometheusError::Client { why })?;
        let (orders, ordered) = mpsc::unbounded_channel();
        let work = Work {
            ear: Arc::clone(&listener),
            labels: spec.labels.clone(),
            socket,
            pushers,
            interval: spec.push_interval,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(PrometheusError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || {
                runtime.block_on(work.go_on(ordered));
                runtime.shutdown_background();
            })
            .map_err(PrometheusError::Thread)?;
        Ok(Some(Self { listener, served, orders: Some(orders), thread: Some(thread) }))
    }

    /// The same events, heard by this too. Says where the metrics can be had.
    #[must_use]
    pub fn listening(&self, events: &Events) -> Events {
        if let Some(address) = self.served {
            events.send(&Event::MetricsServed { url: format!("http://{address}/metrics") });
        }
        let ear: Arc<dyn Listener> = Arc::clone(&self.listener) as Arc<dyn Listener>;
        events.with(ear)
    }

    /// Pushes the last state, after the last load. Bounded in time; serving goes on.
    pub async fn settle(&self, cancel: &Cancel) -> Settled {
        let (reply, answer) = oneshot::channel();
        let lost = || Settled {
            warnings: vec!["the thread that publishes metrics ended early".to_owned()],
            failed: true,
        };
        let order = Settle { cancel: cancel.clone(), reply };
        match self.orders.as_ref().map(|orders| orders.send(order)) {
            Some(Ok(())) => answer.await.unwrap_or_else(|_gone| lost()),
            _ => lost(),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // The thread ends with the channel, at once, whatever it is about to send.
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // What panicked there was told by `settle`.
            drop(thread.join());
        }
    }
}

fn bind(address: &str) -> Result<TcpListener, PrometheusError> {
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.map_err(|source| PrometheusError::Bind { address: address.to_owned(), source })
}

fn pushers(spec: &PrometheusSpec, about: &About) -> Result<Vec<Pusher>, String> {
    let mut labels = vec![
        ("job".to_owned(), "bench-ci".to_owned()),
        ("instance".to_owned(), about.tags.runner_label.clone().unwrap_or_default()),
    ];
    for (name, value) in &spec.labels {
        match labels.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.clone_from(value),
            None => labels.push((name.clone(), value.clone())),
        }
    }
    let remote = spec.remote_write.as_ref().map(|at| Pusher::remote_write(at, labels.clone()));
    let gateway = spec.pushgateway.as_ref().map(|at| Pusher::pushgateway(at, labels.clone()));
    remote.into_iter().chain(gateway).collect()
}

/// What the thread does.
struct Work {
    ear: Arc<Ear>,
    labels: Vec<Label>,
    socket: Option<TcpListener>,
    pushers: Vec<Pusher>,
    interval: Duration,
}

/// How one destination fares.
#[derive(Debug, Default)]
struct Fate {
    pushes: u64,
    failures: u64,
    last: Option<PushFailure>,
}

impl Work {
    async fn go_on(self, mut orders: mpsc::UnboundedReceiver<Settle>) {
        if let Some(socket) = self.socket {
            // It was made non-blocking when it was bound.
            if let Ok(socket) = tokio::net::TcpListener::from_std(socket) {
                let (ear, labels) = (Arc::clone(&self.ear), self.labels.clone());
                let page: Page = Arc::new(move |format| format.page(&ear.families(), &labels));
                tokio::spawn(serve::serve(socket, page));
            }
        }
        let mut lanes = Vec::new();
        for pusher in self.pushers {
            let (settle, settled) = mpsc::unbounded_channel();
            let ear = Arc::clone(&self.ear);
            tokio::spawn(push_on(pusher, ear, self.interval, settled));
            lanes.push(settle);
        }
        while let Some(Settle { cancel, reply }) = orders.recv().await {
            let mut answers = Vec::new();
            for lane in &lanes {
                let (reply, answer) = oneshot::channel();
                if lane.send(Settle { cancel: cancel.clone(), reply }).is_ok() {
                    answers.push(answer);
                }
            }
            let all = async {
                let mut settled = Settled::default();
                for answer in answers {
                    let one = answer.await.unwrap_or_else(|_gone| Settled {
                        warnings: vec!["a push of metrics ended early".to_owned()],
                        failed: true,
                    });
                    settled.warnings.extend(one.warnings);
                    settled.failed |= one.failed;
                }
                settled
            };
            let late = Settled {
                warnings: vec![format!(
                    "the last push of metrics was not over after {} s",
                    LIMIT_OF_ALL.as_secs()
                )],
                failed: true,
            };
            let settled = tokio::time::timeout(LIMIT_OF_ALL, all).await.unwrap_or(late);
            // Whoever asked may have gone away.
            drop(reply.send(settled));
        }
    }
}

/// Pushes to one destination at every interval, and the last state when that is ordered.
async fn push_on(
    pusher: Pusher,
    ear: Arc<Ear>,
    every: Duration,
    mut orders: mpsc::UnboundedReceiver<Settle>,
) {
    let mut fate = Fate::default();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let pushing = async {
            ticks.tick().await;
            pusher.push(&State::now(&ear, false), LIMIT).await
        };
        let order = tokio::select! {
            biased;
            // A push that hangs must not hold the last one up, which says more.
            order = orders.recv() => order,
            outcome = pushing => {
                fate.note(outcome);
                continue;
            }
        };
        let Some(Settle { cancel, reply }) = order else { return };
        let last = last_push(&pusher, &ear, &cancel).await;
        fate.note(last);
        // Whoever asked may have gone away.
        drop(reply.send(fate.settled()));
        // What is over is not pushed again, or the end would not be the end.
        return;
    }
}

async fn last_push(pusher: &Pusher, ear: &Ear, cancel: &Cancel) -> Result<(), PushFailure> {
    let state = State::now(ear, true);
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let stopped = cancel.reason().is_some();
        let limit = if stopped { LIMIT_WHEN_STOPPED } else { LIMIT };
        match pusher.push(&state, limit).await {
            Err(failure) if failure.is_passing && !stopped && attempt < LAST_ATTEMPTS => {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = cancel.cancelled() => {}
                }
                pause *= 2;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

impl State {
    fn now(ear: &Ear, is_last: bool) -> Self {
        let at_ms = chrono::Utc::now().timestamp_millis();
        Self { families: ear.families(), at_ms, is_last }
    }
}

impl Fate {
    fn note(&mut self, outcome: Result<(), PushFailure>) {
        self.pushes += 1;
        match outcome {
            Ok(()) => self.last = None,
            Err(failure) => {
                self.failures += 1;
                self.last = Some(failure);
            }
        }
    }

    fn settled(&self) -> Settled {
        let warnings = match (&self.last, self.failures) {
            (Some(failure), _) => vec![failure.words.clone()],
            (None, 0) => Vec::new(),
            (None, failures) => vec![format!(
                "{failures} of {} pushes of metrics failed; the last one did not",
                self.pushes
            )],
        };
        Settled { warnings, failed: self.last.is_some() }
    }
}
