//! One connection: asked, listened to, watched over while it is idle.
//!
//! Main type: [`Connection`]. Bytes only; requests and answers are `request`'s business, and how a
//! connection comes about is `dial`'s. Plain, under TLS or in frames, what is received lies as plain
//! bytes in the shared buffer, with the stamp of the read that completed them.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Waker};
use std::time::Duration;

use super::http2::Http2;
use super::record::Stamp;
use super::socket::Socket;
use super::stamp::{Read, Receiver, now};
use super::tls::TlsStream;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// When it became ready.
    pub(super) opened: Stamp,
    /// How long connecting took, TLS left out: a round trip to the server, and then some.
    pub(super) round_trip: Duration,
    /// Whole answers that came over it.
    pub(super) answers: u64,
}

/// What its bytes go through.
#[derive(Debug)]
pub(super) enum Wire {
    /// HTTP/1.1 over the bare socket.
    Plain(Socket),
    /// HTTP/1.1 over TLS.
    Tls(Box<TlsStream>),
    /// HTTP/2 over either.
    Http2(Box<Http2>),
}

/// A request that could not be sent whole.
#[derive(Debug)]
pub(super) struct Unsent {
    /// The kernel had taken some of it.
    pub(super) any_sent: bool,
    pub(super) error: io::Error,
}

impl Connection {
    /// Sends head and body and returns the stamp just before the write that carried the last byte.
    /// HTTP/2 has a head of its own, of which only the `tag` differs from request to request.
    pub(super) async fn send(
        &self,
        head: &[u8],
        body: &[u8],
        tag: Option<u64>,
    ) -> Result<Stamp, Unsent> {
        match &self.wire {
            Wire::Plain(socket) => send_plain(socket, head, body).await,
            Wire::Tls(stream) => {
                let before = stream.sent();
                let unsent = |error| Unsent { any_sent: stream.sent() > before, error };
                stream.take(head).and_then(|()| stream.take(body)).map_err(unsent)?;
                stream.flush().await.map_err(unsent)
            }
            Wire::Http2(stream) => {
                let unsent = |error| Unsent { any_sent: !stream.was_refused(), error };
                stream.send(body, tag).await.map_err(unsent)
            }
        }
    }

    /// Reads whatever came; see [`Receiver::receive`].
    pub(super) async fn receive(&self, receiver: &Receiver) -> io::Result<Read> {
        match &self.wire {
            Wire::Plain(socket) => receiver.receive(socket).await,
            Wire::Tls(stream) => poll_fn(|context| stream.poll_receive(context)).await,
            Wire::Http2(stream) => stream.receive().await,
        }
    }

    /// It takes another request after a whole answer, whatever the answer said.
    pub(super) fn outlives_answers(&self) -> bool {
        matches!(self.wire, Wire::Http2(_))
    }

    /// Completes when the server closes, resets or, unasked, writes to this idle connection.
    pub(super) async fn spoiled(&self) {
        match &self.wire {
            Wire::Plain(socket) => spoiled(socket).await,
            // Tickets and the like are read away; anything else is the end.
            Wire::Tls(stream) => {
                drop(poll_fn(|context| stream.poll_receive(context)).await);
            }
            Wire::Http2(stream) => stream.spoiled().await,
        }
    }

    /// The server has closed or reset this idle connection, or has written to it unasked (a
    /// `408 Request Timeout`, say).
    pub(super) fn is_spoiled(&self) -> bool {
        match &self.wire {
            Wire::Plain(socket) => socket.has_news(),
            Wire::Tls(stream) => {
                // Whoever waits for the connection polls it again before waiting.
                let context = &mut Context::from_waker(Waker::noop());
                stream.poll_receive(context).is_ready()
            }
            Wire::Http2(stream) => stream.is_spoiled(),
        }
    }

    /// After an end of file without an answer: our request met a socket that was closed already.
    ///
    /// The kernel of a peer whose application has closed answers our bytes with a reset, and a
    /// reset after an end of file leaves EPIPE. An application that took the request and then hung
    /// up leaves nothing: that is a failure and must not be asked again. HTTP/2 says it by itself.
    pub(super) fn was_closed_before_our_bytes(&self) -> bool {
        match &self.wire {
            Wire::Plain(socket) => socket.take_error().is_some(),
            Wire::Tls(stream) => stream.socket().take_error().is_some(),
            Wire::Http2(stream) => stream.was_refused() || stream.socket().take_error().is_some(),
        }
    }
}

async fn send_plain(socket: &Socket, head: &[u8], body: &[u8]) -> Result<Stamp, Unsent> {
    let mut sent = 0;
    let unsent = |sent| move |error| Unsent { any_sent: sent > 0, error };
    loop {
        let head_left = head.get(sent..).unwrap_or_default();
        let body_left = body.get(sent.saturating_sub(head.len())..).unwrap_or_default();
        poll_fn(|context| socket.poll_write_ready(context)).await.map_err(unsent(sent))?;
        let parts = [IoSlice::new(head_left), IoSlice::new(body_left)];
        let written = now();
        match socket.try_write(&parts) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(unsent(sent)(error)),
        }
        if sent >= head.len() + body.len() {
            return Ok(written);
        }
    }
}

async fn spoiled(socket: &Socket) {
    loop {
        if poll_fn(|context| socket.poll_read_ready(context)).await.is_err() || socket.has_news() {
            return;
        }
        // Nothing there after all: clear the readiness so that the next poll waits.
        let nothing: io::Result<()> = socket.try_read(|| Err(io::ErrorKind::WouldBlock.into()));
        drop(nothing);
    }
}
