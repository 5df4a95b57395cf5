//! One TCP connection: opened, asked, listened to.
//!
//! Main types: [`Connection`] and [`Dialer`]. Bytes only; requests and answers are `request`'s
//! business. A TLS layer would stand between `stream` and [`Connection::receive`], which promises
//! no more than plain bytes in the shared buffer and the stamp of the read that completed them.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::{TcpSocket, TcpStream};

use super::record::Stamp;
use super::stamp::{Read, Receiver, ask_for_stamps, now};

/// Opens connections to one server.
#[derive(Debug)]
pub(super) struct Dialer {
    /// In the resolver's order, never empty.
    addresses: Vec<SocketAddr>,
    /// Which one answered last: it is tried first, so that a name with a dead address costs once.
    first: Cell<usize>,
}

impl Dialer {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, first: Cell::new(0) }
    }

    /// Tries each address in turn; the last error if none answers.
    pub(super) async fn dial(&self) -> io::Result<Connection> {
        let mut refused = None;
        let count = self.addresses.len();
        for turn in 0..count {
            let position = (self.first.get() + turn) % count;
            let Some(address) = self.addresses.get(position) else { break };
            let started = now();
            match dial(*address).await {
                Ok(stream) => {
                    self.first.set(position);
                    let opened = now();
                    let round_trip = opened.since(started);
                    return Ok(Connection { stream, opened, round_trip, answers: 0 });
                }
                Err(error) => {
                    refused = Some(io::Error::new(error.kind(), format!("{address}: {error}")))
                }
            }
        }
        Err(refused.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }
}

async fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before connecting, so that no byte can arrive unstamped. Where it is refused every read says
    // so by having no stamp.
    ask_for_stamps(&socket);
    socket.set_nodelay(true)?;
    socket.connect(address).await
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    /// When it became ready.
    pub(super) opened: Stamp,
    /// How long the handshake took: a round trip to the server, and then some.
    pub(super) round_trip: Duration,
    /// Whole answers that came over it.
    pub(super) answers: u64,
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
    pub(super) async fn send(&self, head: &[u8], body: &[u8]) -> Result<Stamp, Unsent> {
        let mut sent = 0;
        let unsent = |sent| move |error| Unsent { any_sent: sent > 0, error };
        loop {
            let head_left = head.get(sent..).unwrap_or_default();
            let body_left = body.get(sent.saturating_sub(head.len())..).unwrap_or_default();
            poll_fn(|context| self.stream.poll_write_ready(context)).await.map_err(unsent(sent))?;
            let parts = [IoSlice::new(head_left), IoSlice::new(body_left)];
            let written = now();
            match self.stream.try_write_vectored(&parts) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(unsent(sent)(error)),
            }
            if sent >= head.len() + body.len() {
                return Ok(written);
            }
        }
    }

    /// Reads whatever came; see [`Receiver::receive`].
    pub(super) async fn receive(&self, receiver: &Receiver) -> io::Result<Read> {
        receiver.receive(&self.stream).await
    }

    /// Completes when the server closes, resets or, unasked, writes to this idle connection.
    pub(super) async fn spoiled(&self) {
        loop {
            if poll_fn(|context| self.stream.poll_read_ready(context)).await.is_err() {
                return;
            }
            if self.is_spoiled() {
                return;
            }
            // Nothing there after all: clear the readiness so that the next poll waits.
            let nothing: io::Result<()> = self
                .stream
                .try_io(tokio::io::Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
            drop(nothing);
        }
    }

    /// The server has closed or reset this idle connection, or has written to it unasked (a
    /// `408 Request Timeout`, say). Reads nothing away.
    pub(super) fn is_spoiled(&self) -> bool {
        let mut byte = [0];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        !matches!(
            recv(self.stream.as_raw_fd(), &mut byte, flags),
            Err(Errno::EAGAIN | Errno::EINTR)
        )
    }

    /// After an end of file without an answer: our request met a socket that was closed already.
    ///
    /// The kernel of a peer whose application has closed answers our bytes with a reset, and a
    /// reset after an end of file leaves EPIPE. An application that took the request and then hung
    /// up leaves nothing: that is a failure and must not be asked again.
    pub(super) fn was_closed_before_our_bytes(&self) -> bool {
        matches!(self.stream.take_error(), Ok(Some(_)))
    }
}
