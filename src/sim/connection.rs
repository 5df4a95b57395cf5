//! One client connection: requests off the socket with their receive stamps, bytes onto it.
//!
//! Main types: [`Wire`], the writing half that the engine holds, and [`serve`], the task that
//! reads. A delta is one write straight to the socket; only what the socket does not take is
//! queued.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::Notify;

use super::clock::{Received, now_ns};
use super::engine::SharedEngine;
use super::http::{self, Parsed, Request, Response};
use super::listener::Socket;
use super::routes::{self, Reply};
use super::tls::Session;

/// An idle connection is closed after this long, as the `Keep-Alive` header announces.
const IDLE: Duration = Duration::from_secs(5);
/// A request whose bytes stop coming is given up after this long.
const STUCK: Duration = Duration::from_secs(60);
/// Requests on one connection, as the `Keep-Alive` header announces.
const MOST_REQUESTS: u32 = 100;
/// Read at a time; on the stack, so that idle connections cost no memory.
const READ_BYTES: usize = 16 * 1024;

/// How a response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection stays for the next request.
    KeepAlive,
    /// It is closed once everything queued is written.
    Close,
    /// It is reset (RST) at once.
    Reset,
}

/// The writing half of a connection.
pub(super) struct Wire {
    stream: Socket,
    tls: Option<Session>,
    queued: RefCell<Vec<u8>>,
    ending: Cell<Option<Ending>>,
    /// Wakes the connection's task: bytes were queued, or the response ended.
    changed: Notify,
    pressed: Cell<bool>,
}

impl Wire {
    fn new(stream: Socket, tls: Option<Session>) -> Wire {
        Wire {
            stream,
            tls,
            queued: RefCell::new(Vec::new()),
            ending: Cell::new(None),
            changed: Notify::new(),
            pressed: Cell::new(false),
        }
    }

    /// Writes now; what the socket does not take is queued. A dead socket swallows everything, the
    /// connection's task notices.
    pub(super) fn send(&self, bytes: &[u8]) {
        match &self.tls {
            None => self.push(bytes),
            // A session that is broken has been noticed by whoever reads.
            Some(session) => self.push(&session.seal(bytes).unwrap_or_default()),
        }
    }

    /// Says farewell where that is usual.
    fn close(&self) {
        if let Some(session) = &self.tls {
            self.push(&session.close().unwrap_or_default());
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut queued = self.queued.borrow_mut();
        let mut rest = bytes;
        if queued.is_empty() {
            while !rest.is_empty() {
                match self.stream.try_write(rest) {
                    Ok(0) => break,
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(_broken) => return,
                }
            }
        }
        if !rest.is_empty() {
            queued.extend_from_slice(rest);
            self.pressed.set(true);
            self.changed.notify_one();
        }
    }

    /// Whether bytes wait for the socket.
    pub(super) fn is_full(&self) -> bool {
        !self.queued.borrow().is_empty()
    }

    /// How many bytes wait for the socket.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued.borrow().len()
    }

    /// Whether bytes ever had to wait since this was last asked.
    pub(super) fn take_pressed(&self) -> bool {
        self.pressed.replace(false)
    }

    /// Ends the response.
    pub(super) fn end(&self, ending: Ending) {
        self.ending.set(Some(ending));
        self.changed.notify_one();
    }

    /// Writes queued bytes; an error means that the client is gone.
    fn flush(&self) -> std::io::Result<()> {
        let mut queued = self.queued.borrow_mut();
        while !queued.is_empty() {
            match self.stream.try_write(&queued) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(queued.drain(..written)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // A burst must not pin its memory for the life of the connection.
        *queued = Vec::new();
        Ok(())
    }
}

/// Bytes that arrived and are not a request yet.
struct Inbox {
    bytes: Vec<u8>,
    last: Received,
}

/// What a read found.
enum Read {
    Bytes,
    Nothing,
    Gone,
}

impl Inbox {
    fn receive(&mut self, wire: &Wire) -> Read {
        let mut space = [0_u8; READ_BYTES];
        match wire.stream.receive_stamped(&mut space) {
            Ok((0, _)) => Read::Gone,
            Ok((count, received)) => {
                let bytes = &space[..count];
                match &wire.tls {
                    None => self.bytes.extend_from_slice(bytes),
                    Some(session) => {
                        let opened = session.open(bytes, &mut self.bytes);
                        // What the handshake has to answer, or the alert that says what is wrong.
                        wire.send(&[]);
                        if opened.is_err() {
                            return Read::Gone;
                        }
                    }
                }
                self.last = received;
                Read::Bytes
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Read::Nothing,
            Err(_reset) => Read::Gone,
        }
    }

    /// The next request; `None` when the connection is to be closed.
    async fn request(&mut self, wire: &Wire) -> Option<Box<Request>> {
        loop {
            match http::parse(&self.bytes, self.last) {
                Ok(Parsed::Whole(request, used)) => {
                    self.bytes.drain(..used);
                    if self.bytes.is_empty() {
                        self.bytes = Vec::new();
                    }
                    return Some(request);
                }
                Ok(Parsed::Partial { wants_continue }) => {
                    if wants_continue {
                        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                }
                Err(http::Malformed(status)) => {
                    let response =
                        Response::error(status, "invalid_request_error", "not an HTTP request");
                    wire.send(&response.to_bytes(true));
                    return None;
                }
            }
            let patience = if self.bytes.is_empty() { IDLE } else { STUCK };
            match tokio::time::timeout(patience, wire.stream.ready(Interest::READABLE)).await {
                Ok(Ok(_ready)) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
            if matches!(self.receive(wire), Read::Gone) {
                return None;
            }
        }
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve(stream: Socket, tls: Option<Session>, engine: SharedEngine) {
    let wire = Rc::new(Wire::new(stream, tls));
    let mut inbox = Inbox { bytes: Vec::new(), last: Received::from_kernel(None) };
    for served in 1..=MOST_REQUESTS {
        let Some(request) = inbox.request(&wire).await else { return };
        let ending = match routes::reply(&engine, &request) {
            Reply::Now(response) => {
                let close = response.closes() || !request.keep_alive || served == MOST_REQUESTS;
                wire.send(&response.to_bytes(close));
                wire.end(if close { Ending::Close } else { Ending::KeepAlive });
                finish(&wire, &mut inbox, None).await
            }
            Reply::Generate(generation) => {
                let job = engine.borrow_mut().submit(*generation, &request, Rc::clone(&wire));
                finish(&wire, &mut inbox, Some((&engine, job))).await
            }
        };
        match ending {
            Some(Ending::KeepAlive) => {}
            Some(Ending::Reset) => {
                wire.stream.reset_on_close();
                return;
            }
            Some(Ending::Close) => return wire.close(),
            None => return,
        }
    }
}

/// Waits for the end of a response while the engine writes it; `None` when the client is gone.
async fn finish(
    wire: &Wire,
    inbox: &mut Inbox,
    job: Option<(&SharedEngine, u64)>,
) -> Option<Ending> {
    let gone = || {
        if let Some((engine, job)) = job {
            engine.borrow_mut().client_gone(job);
        }
        None
    };
    loop {
        let full = wire.is_full();
        match wire.ending.get() {
            Some(Ending::Reset) => return Some(Ending::Reset),
            Some(ending) if !full => {
                wire.ending.set(None);
                return Some(ending);
            }
            _ => {}
        }
        tokio::select! {
            biased;
            () = wire.changed.notified() => {}
            ready = wire.stream.ready(if full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE }) => {
                let Ok(ready) = ready else { return gone() };
                if full && ready.is_writable() {
                    if wire.flush().is_err() {
                        return gone();
                    }
                    if let Some((engine, job)) = job && !wire.is_full() {
                        engine.borrow_mut().drained(job, now_ns());
                    }
                }
                if ready.is_readable() && matches!(inbox.receive(wire), Read::Gone) {
                    return gone();
                }
            }
        }
    }
}
