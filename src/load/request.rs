//! One request, played from its ticket to its record.
//!
//! Main type: [`Player`], what one user owns. When a request is due is `users`' business; what
//! its answer means is `answer`'s.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::answer::{Answer, Ending, Progress};
use super::connection::{Connection, Unsent};
use super::dial::DialError;
use super::leash::{Leash, Pulled};
use super::limits::Limits;
use super::record::{FailureKind, Outcome, Phase, RequestRecord, Stamp};
use super::schedule::Ticket;
use super::stage::Stage;
use super::stamp::now;
use super::workload::PlannedBody;
use crate::plan::Connections;

/// After the terminator the end of the body is awaited no longer than this: nothing can follow that
/// belongs to the answer, and a server that never ends its body must not hold a user.
const LINGER: Duration = Duration::from_secs(1);
/// A connection for the next request is opened at most this long before it is due: servers give
/// idle connections a few seconds (llama-server five).
const OPEN_AHEAD: Duration = Duration::from_secs(1);

/// How long the refusal of our bytes is awaited, after an end of file without an answer.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(1);
const LONGEST_PATIENCE: Duration = Duration::from_millis(200);

/// What one user owns; all of it is used again for each of its requests.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) user_index: u32,
    pub(super) leash: Rc<Leash>,
    link: Link,
    answer: Answer,
    head: Vec<u8>,
    /// When the user became free: its last answer's end, as received.
    pub(super) freed: Stamp,
    /// When it may send its next request: freed, and the pause. It goes on from phase to phase.
    pub(super) next_due: Stamp,
    /// Failures in a row, for the pause after them.
    pub(super) failures: u32,
}

/// The user's connection between two requests.
enum Link {
    None,
    Opening(Opening),
    Idle(Connection),
}

/// A connection being opened ahead of its request.
struct Opening {
    started: Stamp,
    dialing: Pin<Box<dyn Future<Output = Result<Connection, DialError>>>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Link::None => formatter.write_str("None"),
            Link::Opening(opening) => write!(formatter, "Opening since {:?}", opening.started),
            Link::Idle(connection) => write!(formatter, "Idle({connection:?})"),
        }
    }
}

/// How an exchange ended, and whether it may be tried once more.
struct Exchange {
    ending: Ending,
    /// The connection had been idle, no byte came back, and the server had closed it before it could
    /// have taken the request.
    met_closed_connection: bool,
}

impl Player {
    pub(super) fn new(user_index: u32, leash: Rc<Leash>) -> Self {
        Self {
            user_index,
            leash,
            link: Link::None,
            answer: Answer::default(),
            head: Vec::new(),
            freed: now(),
            next_due: Stamp(0),
            failures: 0,
        }
    }

    /// Whether a connection lies ready that the next request can use.
    pub(super) fn is_connected(&self, stage: &Stage) -> bool {
        matches!(&self.link, Link::Idle(connection) if stage.trusts(connection) && !connection.is_spoiled())
    }

    /// Opens a connection before anything is due. A failure shows when the request needs it.
    pub(super) async fn prepare(&mut self, stage: &Rc<Stage>) {
        if stage.plan.connections == Connections::Fresh {
            return;
        }
        if self.is_connected(stage) {
            return;
        }
        self.leash.arm(now().after(stage.plan.timeouts.connect));
        if let Ok(Ok(connection)) = self.leash.hold(Box::pin(stage.dialer.dial())).await {
            self.link = Link::Idle(connection);
        }
        self.leash.disarm();
    }

    /// Waits for `due`, opening and watching over the connection meanwhile. `Err` if the run was
    /// stopped.
    pub(super) async fn idle(&mut self, stage: &Rc<Stage>, due: Stamp) -> Result<(), Pulled> {
        self.leash.disarm();
        let leash = Rc::clone(&self.leash);
        leash.hold(self.idle_unheld(stage, due)).await
    }

    async fn idle_unheld(&mut self, stage: &Rc<Stage>, due: Stamp) {
        let mut due_now = std::pin::pin!(stage.pacer.until(due));
        let opens_at = Stamp(due.0.saturating_sub(OPEN_AHEAD.as_nanos() as u64));
        // Once: a server that closes every idle connection at once is not to be hammered.
        let mut may_open = stage.plan.connections == Connections::Ahead && due > now();
        loop {
            match &mut self.link {
                Link::Idle(connection) if !stage.trusts(connection) => self.link = Link::None,
                Link::Idle(connection) => {
                    tokio::select! {
                        biased;
                        () = due_now.as_mut() => return,
                        () = connection.spoiled() => {
                            stage.note_broken_promise(connection);
                            self.link = Link::None;
                        }
                    }
                }
                Link::Opening(opening) => {
                    tokio::select! {
                        biased;
                        () = due_now.as_mut() => return,
                        opened = opening.dialing.as_mut() => {
                            self.link = opened.map_or(Link::None, Link::Idle);
                        }
                    }
                }
                Link::None if may_open => {
                    tokio::select! {
                        biased;
                        () = due_now.as_mut() => return,
                        () = stage.pacer.until(opens_at) => {}
                    }
                    may_open = false;
                    self.link = Link::Opening(Opening::begin(stage));
                }
                Link::None => return due_now.await,
            }
        }
    }

    /// Sends the request and reads its answer; always gives a record.
    pub(super) async fn play(
        &mut self,
        stage: &Rc<Stage>,
        errand: &Errand,
        planned: Stamp,
    ) -> RequestRecord {
        let body = &errand.body;
        let mut record = errand.blank_record(self.user_index, planned);
        self.write_head(stage, record.index, body);
        let mut exchange = self.exchange(stage, body, &mut record).await;
        if exchange.met_closed_connection {
            record.resent = true;
            record.connect_started = None;
            record.connected = None;
            record.written = None;
            record.end = None;
            // Another kept connection would have the same chance of being closed.
            self.link = Link::None;
            exchange = self.exchange(stage, body, &mut record).await;
        }
        // One that was given up has no end of its own; it is over when its user is free.
        record.end = record.end.or(Some(self.freed));
        self.leash.disarm();
        self.answer.conclude(&exchange.ending, &mut record);
        stage.hold_to_the_first(&mut record);
        for value in record.server_headers.values_mut() {
            *value = stage.plan.target.without_secrets(value);
        }
        if let Outcome::Failed { detail, .. } = &mut record.outcome {
            *detail = cleaned(detail, stage);
        }
        record
    }

    /// Gaps between the content deltas of the last request, nanoseconds.
    pub(super) fn gaps(&self) -> &[u64] {
        self.answer.gaps()
    }

    /// What the last answer said, once; empty where nobody wants it.
    pub(super) fn take_text(&mut self) -> String {
        self.answer.take_text()
    }

    fn write_head(&mut self, stage: &Stage, index: u64, body: &PlannedBody) {
        use std::io::Write;
        self.head.clear();
        self.head.extend_from_slice(&stage.head_prefix);
        let tagged = stage.plan.tag_requests;
        let written = write!(self.head, "{}\r\n", body.body.len()).and_then(|()| {
            if tagged { write!(self.head, "x-bench-ci-request: {index}\r\n") } else { Ok(()) }
        });
        written.expect("writing to a vector cannot fail");
        self.head.extend_from_slice(b"\r\n");
    }

    async fn exchange(
        &mut self,
        stage: &Rc<Stage>,
        body: &PlannedBody,
        record: &mut RequestRecord,
    ) -> Exchange {
        self.answer.reset(stage.plan.expected(body));
        let (connection, was_idle) = match self.connect(stage, record).await {
            Ok(connected) => connected,
            Err(ending) => {
                self.freed = now();
                return Exchange { ending, met_closed_connection: false };
            }
        };
        let timeouts = &stage.plan.timeouts;
        let limit = timeouts.first.min(timeouts.total);
        self.leash.arm(now().after(limit));
        let tag = stage.plan.tag_requests.then_some(record.index);
        let sent = self.leash.hold(connection.send(&self.head, &body.body, tag)).await;
        let mut refused = None;
        let written = match sent {
            Ok(Ok(written)) => {
                record.written = Some(written);
                written
            }
            // The server may have answered before it hung up: what it said is better than this.
            Ok(Err(unsent)) => {
                refused = Some(unsent);
                now()
            }
            Err(pulled) => {
                self.freed = now();
                let failure = if limit == timeouts.total {
                    FailureKind::TimeoutTotal
                } else {
                    FailureKind::TimeoutFirst
                };
                let ending = match pulled {
                    Pulled::Deadline => Ending::TimedOut(failure, limit),
                    Pulled::Stop => Ending::Stopped,
                };
                return Exchange { ending, met_closed_connection: false };
            }
        };
        let mut ending = self.listen(stage, &connection, written, record).await;
        let gone = matches!(ending, Ending::Closed | Ending::Reset(_));
        let unanswered = was_idle && gone && !record.resent && self.answer.is_untouched();
        let met_closed_connection =
            unanswered && self.was_closed_while_idle(stage, &connection, refused.as_ref()).await;
        if met_closed_connection {
            stage.note_broken_promise(&connection);
        } else if let (true, Some(unsent)) = (gone, refused) {
            ending = Ending::Reset(unsent.error.to_string());
        }
        if ending == Ending::Over {
            self.keep(stage, connection);
        }
        Exchange { ending, met_closed_connection }
    }

    /// Whether the server had closed this connection before our request could reach it.
    ///
    /// Asking again must not hide a server that takes a request and then hangs up, so it takes
    /// evidence: nothing could be written, or the server's kernel refused our bytes. Where there is
    /// none (a server that closes with our bytes unread resets just like one that drops the request)
    /// the server has the benefit of the doubt only on a connection that it promised to keep, and
    /// only until it has once kept such a promise.
    async fn was_closed_while_idle(
        &self,
        stage: &Stage,
        connection: &Connection,
        refused: Option<&Unsent>,
    ) -> bool {
        if refused.is_some_and(|unsent| !unsent.any_sent) {
            return true;
        }
        if connection.answers > 0 && !stage.has_kept_a_promise() {
            return true;
        }
        if connection.was_closed_before_our_bytes() {
            return true;
        }
        // The refusal follows the end of file by a round trip.
        let patience = (connection.round_trip * 2).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE);
        let waited = self.leash.hold(stage.pacer.until(now().after(patience))).await;
        waited.is_ok() && connection.was_closed_before_our_bytes()
    }

    /// A connection to send on, and whether it had been idle before.
    async fn connect(
        &mut self,
        stage: &Rc<Stage>,
        record: &mut RequestRecord,
    ) -> Result<(Connection, bool), Ending> {
        let opening = match std::mem::replace(&mut self.link, Link::None) {
            Link::Idle(connection) if !stage.trusts(&connection) => Opening::begin(stage),
            Link::Idle(connection) if connection.is_spoiled() => {
                stage.note_broken_promise(&connection);
                Opening::begin(stage)
            }
            Link::Idle(connection) => return Ok((connection, true)),
            Link::Opening(opening) => opening,
            Link::None => Opening::begin(stage),
        };
        let limit = stage.plan.timeouts.connect;
        record.connect_started = Some(opening.started);
        self.leash.arm(opening.started.after(limit));
        match self.leash.hold(opening.dialing).await {
            Ok(Ok(connection)) => {
                record.connected = Some(connection.opened);
                Ok((connection, false))
            }
            Ok(Err(error)) => Err(Ending::Unconnected(error.kind, error.detail)),
            Err(Pulled::Deadline) => Err(Ending::Unconnected(
                FailureKind::Connect,
                format!("no connection within {limit:?}"),
            )),
            Err(Pulled::Stop) => Err(Ending::Stopped),
        }
    }

    /// Reads until the answer is over, one way or another.
    async fn listen(
        &mut self,
        stage: &Rc<Stage>,
        connection: &Connection,
        written: Stamp,
        record: &mut RequestRecord,
    ) -> Ending {
        let timeouts = &stage.plan.timeouts;
        let draw = match (record.conversation_index, record.turn) {
            // Users reach their turns in an order that depends on the server; the draw must not.
            (Some(conversation), Some(turn)) => (conversation << 16) + u64::from(turn),
            _ => record.index.saturating_sub(stage.plan.warm_up_requests()),
        };
        let limits = Limits::of(&stage.plan, record.phase, draw, written);
        loop {
            let deadline = match self.answer.latest() {
                _ if !self.answer.is_stream() => Stamp(u64::MAX),
                Some(latest) if self.answer.is_terminated() => {
                    latest.after(timeouts.idle.min(LINGER))
                }
                Some(latest) if self.answer.has_content() => latest.after(timeouts.idle),
                _ => written.after(timeouts.first),
            };
            self.leash.arm(deadline.min(limits.last_instant()));
            let read = match self.leash.hold(connection.receive(&stage.receiver)).await {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    self.freed = now();
                    record.end = Some(self.freed);
                    if error.kind() == io::ErrorKind::InvalidData {
                        self.answer.give_up(error.to_string());
                        return Ending::Broken;
                    }
                    return Ending::Reset(error.to_string());
                }
                Err(Pulled::Stop) => {
                    self.freed = now();
                    return Ending::Stopped;
                }
                Err(Pulled::Deadline) => {
                    self.freed = now();
                    return self.timed_out(stage, &limits, record);
                }
            };
            if read.length == 0 {
                self.freed = read.stamp.max(self.answer.latest().unwrap_or(written));
                record.end = Some(self.freed);
                return if self.answer.ends_by_closing() {
                    limits.end_of_whole(self.freed)
                } else {
                    Ending::Closed
                };
            }
            // The read is stamped; only now is it parsed. No `await` until its bytes are used: the
            // buffer is everybody's.
            let deltas_before = self.answer.content_deltas();
            // Bytes come in order, so a stamp before the last one is the grain of the conversion
            // between the kernel's clock and ours: some nanoseconds.
            let stamp = read.stamp.max(self.answer.latest().unwrap_or(written));
            let progress = self.answer.read(&stage.receiver.bytes(read), stamp);
            stage.live.count_deltas(self.answer.content_deltas() - deltas_before);
            if record.phase == Phase::Measured
                && let Some(delay) = read.delay
            {
                stage.note_delay(delay);
            }
            if progress != Progress::More {
                self.freed = stamp;
                record.end = Some(stamp);
                return match progress {
                    Progress::Over => limits.end_of_whole(stamp),
                    _ => Ending::Broken,
                };
            }
            // A stream that never pauses is never pulled by its deadline.
            let deltas = self.answer.content_deltas();
            if !self.answer.is_terminated()
                && let Some(ending) = limits.end(stamp, deltas)
            {
                self.freed = now();
                return ending;
            }
        }
    }

    fn timed_out(&self, stage: &Stage, limits: &Limits, record: &mut RequestRecord) -> Ending {
        let timeouts = &stage.plan.timeouts;
        if self.answer.is_terminated() {
            record.end = self.answer.latest();
            Ending::Lingered
        } else if let Some(ending) = limits.end(self.freed, self.answer.content_deltas()) {
            ending
        } else if self.answer.has_content() {
            Ending::TimedOut(FailureKind::TimeoutIdle, timeouts.idle)
        } else {
            Ending::TimedOut(FailureKind::TimeoutFirst, timeouts.first)
        }
    }

    /// Keeps the connection for the next request where that is likely to work.
    fn keep(&mut self, stage: &Stage, mut connection: Connection) {
        connection.answers += 1;
        if stage.plan.connections == Connections::Ahead
            && (connection.outlives_answers() || self.answer.may_keep_connection())
            && stage.trusts(&connection)
        {
            if connection.answers > 1 {
                stage.note_kept_promise();
            }
            self.link = Link::Idle(connection);
        }
    }
}

impl Opening {
    fn begin(stage: &Rc<Stage>) -> Self {
        let dialing_stage = Rc::clone(stage);
        Self { started: now(), dialing: Box::pin(async move { dialing_stage.dialer.dial().await }) }
    }
}

/// A turn of a conversation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// Which, from 1.
    pub(super) number: u32,
    /// How many there are.
    pub(super) of: u32,
}

/// One request that is to be sent.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    /// Of a conversation, that of its first turn.
    pub(super) ticket: Ticket,
    /// Position in the order of planning.
    pub(super) index: u64,
    pub(super) body: PlannedBody,
    /// Which turn of its conversation; `None` where it stands for itself.
    pub(super) turn: Option<Turn>,
}

impl Errand {
    /// A record about which nothing is known yet.
    pub(super) fn blank_record(&self, user_index: u32, planned: Stamp) -> RequestRecord {
        let mut record = blank_record(self.ticket, &self.body, user_index, planned);
        record.index = self.index;
        if let Some(turn) = self.turn {
            record.conversation_index = Some(self.ticket.overall);
            (record.turn, record.turns) = (Some(turn.number), Some(turn.of));
        }
        record
    }
}

/// A record of a request about which nothing is known yet.
pub(super) fn blank_record(
    ticket: Ticket,
    body: &PlannedBody,
    user_index: u32,
    planned: Stamp,
) -> RequestRecord {
    RequestRecord {
        index: ticket.index,
        prompt_index: body.prompt_index,
        user_index,
        phase: ticket.phase,
        phase_index: ticket.phase_index,
        conversation_index: None,
        turn: None,
        turns: None,
        outcome: Outcome::Dropped,
        dropped_because: None,
        planned,
        connect_started: None,
        connected: None,
        written: None,
        headers: None,
        first_content: None,
        first_answer: None,
        last_content: None,
        finish: None,
        end: None,
        status: None,
        server_headers: std::collections::BTreeMap::new(),
        finish_reason: None,
        terminated: false,
        usage: None,
        timings: None,
        max_tokens: body.max_tokens,
        forced: body.forced,
        content_deltas: 0,
        coalesced_deltas: 0,
        first_content_coalesced: false,
        reasoning_deltas: 0,
        results: None,
        dimensions: None,
        comments: 0,
        bytes_received: 0,
        resent: false,
    }
}

/// At most 300 characters, none of them a control character, no secret of ours.
fn cleaned(detail: &str, stage: &Stage) -> String {
    let detail = stage.plan.target.without_secrets(detail);
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    detail.chars().map(printable).take(300).collect()
}
